#!/usr/bin/env python3
import english

english.write_amounts("swap_words", english.swap)
