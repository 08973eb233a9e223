#!/usr/bin/env python3
"""Token masking of TBPS-CLIP: one uniform number for each token that may be masked, split 80/10/10."""
from stream import Stream, write

START, END, MASK, SIZE = 57, 58, 56, 59


def mask(stream, tokens, p, share=(0.8, 0.1), masked=MASK):
    out, target = [], []
    for token in tokens:
        u = stream.uniform() if token not in (START, END, masked) else 1.0
        target.append(token if u < p else -1)
        if u < p * share[0]:
            token = masked
        elif u < p * (share[0] + share[1]):
            token = stream.below(SIZE)
        out.append(token)
    return out, target


def ids(values):
    return ",".join(map(str, values))


cases = []
for entry, options in {
        "mask": {"p": 0.15},
        "mask(p=0.6,mask_share=0.3,random_share=0.5)": {"p": 0.6, "share": (0.3, 0.5)},
        "mask(p=1,token=3)": {"p": 1.0, "masked": 3}}.items():
    for sample in range(8):
        tokens = [START] + [(7 * i + sample) % 56 for i in range(24)] + [MASK, 3, END]
        out, target = mask(Stream(1, 2, sample, 7), tokens, **options)
        cases.append(("tokens", 1, 2, sample, 7, entry, ids([START, END, MASK, SIZE] + tokens), ids(out), ids(target)))
write("mask", cases)
