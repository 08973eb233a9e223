#!/usr/bin/env python3
"""Writes tests/golden/captions/NAME.json: captions, and what a study's own cleaning makes of them. Only the standard
library; the steps and their order are those of the released code (misc/caption_dataset.py of Flame-Chasers/TBPS-CLIP)."""
import json
import os
import re

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "captions")


def tbps(caption, max_words=77):
    caption = re.sub(r"([.!\"()*#:;~])", " ", caption.lower())
    caption = re.sub(r"\s{2,}", " ", caption)
    caption = caption.rstrip("\n").strip(" ")
    words = caption.split(" ")
    return " ".join(words[:max_words]) if len(words) > max_words else caption


CAPTIONS = [
    "A man in a BLACK coat.", "The woman (left) wears: a red hat; blue jeans!", "a\tsingle tab and\na newline stay",
    "two  blanks\t\tand  tabs", "ends with newline\n", "ends with two\n\n", " \n mixed ends \n ", '"quoted" #1 *star* ~tilde~',
    "commas, hyphen-ated, apostrophe's, slash/es, what? & more", "...", "", "ÄÖÜ İSTANBUL ΟΔΟΣ ΣΑΣ Straße ﬁ Ǆ",
    "no\u00a0break  space\u2003\u2003em", "one\u2003em", " ".join(f"w{i}" for i in range(90)),
    " ".join(f"w{i}." for i in range(77)), " ".join(f"w{i}" for i in range(77)) + " \t tail", "a\x1c\x1db", "a . b.c",
]

if __name__ == "__main__":
    os.makedirs(HERE, exist_ok=True)
    with open(os.path.join(HERE, "tbps.json"), "w", encoding="ascii") as out:
        json.dump([[caption, tbps(caption)] for caption in CAPTIONS], out, indent=0)
        out.write("\n")
