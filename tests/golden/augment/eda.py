#!/usr/bin/env python3
"""One of the four for each text."""
import english
from stream import Stream, hexed, write


def eda(stream, text, alpha):
    chosen = stream.below(4)
    if chosen == 3:
        return english.delete(stream, text, alpha)
    words = text.split()
    n = english.amount(alpha, 0, words)
    return " ".join((english.replace, english.insert, english.swap)[chosen](stream, words, n))


cases = []
for entry, alpha, p in ("eda", 0.05, 1), ("eda(alpha=0.2)", 0.2, 1), ("eda(alpha=0.4,p=0.5)", 0.4, 0.5):
    for sample in range(12):
        for text in english.TEXTS:
            stream = Stream(1, 2, sample, 7)
            changed = eda(stream, text, alpha) if stream.uniform() < p else text
            cases.append(("words", 1, 2, sample, 7, entry, hexed(text), hexed(changed)))
write("eda", cases)
