#!/usr/bin/env python3
import english

english.write_amounts("replace_synonyms", english.replace)
