#!/usr/bin/env python3
"""Random deletion of TBPS-CLIP, of all words or of all but stop words."""
import english
from stream import Stream, hexed, write

TEXTS = ["a man with a red coat", "one", "", "  two\twords ", "d\u00e9j\u00e0\u00a0vu, \u6f22\u5b57\u3000end"]
cases = []
for entry, p, content in (("delete_words", 0.05, False), ("delete_words(p=0.4)", 0.4, False),
                          ("delete_words(p=1)", 1.0, False), ("delete_words(p=0.4,words=content)", 0.4, True),
                          ("delete_words(p=1,words=content)", 1.0, True)):
    for sample in range(6):
        for text in TEXTS + (["The of", "of the Red coat"] if content else []):
            changed = english.delete(Stream(1, 2, sample, 7), text, p, content)
            cases.append(("words", 1, 2, sample, 7, entry, hexed(text), hexed(changed)))
write("delete_words", cases)
