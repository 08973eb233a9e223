#!/usr/bin/env python3
"""Random deletion of TBPS-CLIP; a text from which nothing is deleted keeps its white space."""
from stream import Stream, hexed, write


def delete_words(stream, text, p):
    words = text.split()
    kept = [word for word in words if stream.uniform() >= p]
    if len(kept) == len(words):
        return text
    return " ".join(kept) if kept else words[stream.below(len(words))]


TEXTS = ["a man with a red coat", "one", "", "  two\twords ", "d\u00e9j\u00e0\u00a0vu, \u6f22\u5b57\u3000end"]
cases = []
for entry, p in ("delete_words", 0.05), ("delete_words(p=0.4)", 0.4), ("delete_words(p=1)", 1.0):
    for sample in range(6):
        for text in TEXTS:
            changed = delete_words(Stream(1, 2, sample, 7), text, p)
            cases.append(("words", 1, 2, sample, 7, entry, hexed(text), hexed(changed)))
write("delete_words", cases)
