#!/usr/bin/env python3
import english

english.write_amounts("insert_synonyms", english.insert)
