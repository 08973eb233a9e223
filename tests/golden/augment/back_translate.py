#!/usr/bin/env python3
"""With probability p any of the other wordings; an empty one never."""
from stream import Stream, hexed, write


def back_translate(stream, text, others, p):
    if stream.uniform() >= p or not others:
        return text
    return others[stream.below(len(others))] if len(others) > 1 else others[0]


cases = []
for entry, p in ("back_translate", 0.1), ("back_translate(p=1)", 1.0), ("back_translate(p=0.5)", 0.5):
    for sample in range(12):
        for text, others in (("a man", ["one man"]), ("a man", []), ("", ["a", "b c", "d\u00e9"]), ("x  y", ["  z "]),
                             ("a man", [" "])):
            stream = Stream(1, 2, sample, 7)
            changed = back_translate(stream, text, others, p)
            changed = changed if changed.strip() else text
            cases.append(["words", 1, 2, sample, 7, entry, hexed(text), hexed(changed)] + [hexed(o) for o in others])
write("back_translate", cases)
