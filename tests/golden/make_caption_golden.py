#!/usr/bin/env python3
"""Writes tests/golden/captions/NAME.json: captions, and what a study's own cleaning makes of them. Only the standard
library; the steps and their order are those of the released code (misc/caption_dataset.py of Flame-Chasers/TBPS-CLIP,
load_original_data of zhixiongz/CLIP4CMR)."""
import json
import os
import re
import string

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "captions")


def tbps(caption, max_words=77):
    caption = re.sub(r"([.!\"()*#:;~])", " ", caption.lower())
    caption = re.sub(r"\s{2,}", " ", caption)
    caption = caption.rstrip("\n").strip(" ")
    words = caption.split(" ")
    return " ".join(words[:max_words]) if len(words) > max_words else caption


def cmr(caption, max_words=50):
    """load_original_data of zhixiongz/CLIP4CMR, written out."""
    caption = " ".join(caption.split(" ")[:max_words])
    caption = re.sub("[{}]".format(string.punctuation), "", caption)
    return re.sub(r"\d", "", caption)


CAPTIONS = [
    "A man in a BLACK coat.", "The woman (left) wears: a red hat; blue jeans!", "a\tsingle tab and\na newline stay",
    "two  blanks\t\tand  tabs", "ends with newline\n", "ends with two\n\n", " \n mixed ends \n ", '"quoted" #1 *star* ~tilde~',
    "commas, hyphen-ated, apostrophe's, slash/es, what? & more", "...", "", "ÄÖÜ İSTANBUL ΟΔΟΣ ΣΑΣ Straße ﬁ Ǆ",
    "no\u00a0break  space\u2003\u2003em", "one\u2003em", " ".join(f"w{i}" for i in range(90)),
    " ".join(f"w{i}." for i in range(77)), " ".join(f"w{i}" for i in range(77)) + " \t tail", "a\x1c\x1db", "a . b.c",
    "black-and-white, [1999] a\\b ^_` {x|y}", "\u0663\u0664 x\u00b2 \u2460 \uff15", " ".join(f"{i}w" for i in range(60)),
]

if __name__ == "__main__":
    os.makedirs(HERE, exist_ok=True)
    for clean in tbps, cmr:
        with open(os.path.join(HERE, clean.__name__ + ".json"), "w", encoding="ascii") as out:
            json.dump([[caption, clean(caption)] for caption in CAPTIONS], out, indent=0)
            out.write("\n")
