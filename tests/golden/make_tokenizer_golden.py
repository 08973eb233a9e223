#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/: lines of text, and what CLIP's tokenizer makes of them.

usage: make_tokenizer_golden.py EMOJIBASE_DIR [CLIP_MERGES.txt.gz]
  EMOJIBASE_DIR  the unpacked npm package emojibase-data (MIT licence; labels of the Unicode CLDR)
Needs Python with `regex` and `ftfy`. An independent, slow statement of the algorithm of openai/CLIP's
clip/simple_tokenizer.py and of the trainer's rule; nothing of Tandem is used.

  lines.txt   labels in 28 languages, then lines made to be awkward
  merges.bpe  1,024 - 514 merges learnt from lines.txt
  merges.ids  the ids of each line with merges.bpe
  clip.ids    the ids of each line with CLIP's own merges
"""
import collections
import glob
import gzip
import html
import html.entities
import json
import os
import random
import sys

import ftfy
import regex

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer")
VOCAB = 1024
SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
PATTERN = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE)


def byte_letters():
    good = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    letters = {b: chr(b) for b in good}
    letters.update({b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in good)})
    return letters  # in CLIP's order: good bytes first


LETTER = byte_letters()


def words(line):
    # the heuristics that guess a wrong encoding are the one part of ftfy that Tandem leaves out
    text = ftfy.fix_text(line, fix_encoding=False)
    text = html.unescape(html.unescape(text)).strip()
    text = regex.sub(r"\s+", " ", text).strip().lower()
    return PATTERN.findall(text)


def symbols(word):
    letters = [LETTER[b] for b in word.encode()]
    return tuple(letters[:-1]) + (letters[-1] + "</w>",)


def merge(pieces, pair):
    out, i = [], 0
    while i < len(pieces):
        both = tuple(pieces[i:i + 2]) == pair
        out.append(pieces[i] + pieces[i + 1] if both else pieces[i])
        i += 2 if both else 1
    return tuple(out)


class Tokenizer:
    def __init__(self, merges):
        self.rank = {pair: i for i, pair in enumerate(merges)}
        base = list(LETTER.values())
        vocab = base + [s + "</w>" for s in base] + ["".join(pair) for pair in merges] + SPECIAL
        self.id = {s: i for i, s in enumerate(vocab)}

    def word(self, word):
        if word in SPECIAL:
            return [self.id[word]]
        pieces = symbols(word)
        while len(pieces) > 1:
            pair = min(zip(pieces, pieces[1:]), key=lambda p: self.rank.get(p, len(self.rank)))
            if pair not in self.rank:
                break
            pieces = merge(pieces, pair)
        return [self.id[p] for p in pieces]

    def line(self, line):
        return [self.id[SPECIAL[0]]] + [i for w in words(line) for i in self.word(w)] + [self.id[SPECIAL[1]]]


def train(lines):
    count = collections.Counter(symbols(w) for line in lines for w in words(line) if w not in SPECIAL)
    merges = []
    while len(merges) < VOCAB - 514:
        pairs = collections.Counter()
        for pieces, n in count.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += n
        most = max(pairs.values(), default=0)
        if most < 2:
            break
        merges.append(min((p for p in pairs if pairs[p] == most), key=lambda p: " ".join(p).encode()))
        merged = collections.Counter()
        for pieces, n in count.items():
            merged[merge(pieces, merges[-1])] += n
        count = merged
    return merges


def labels(root):
    for path in sorted(glob.glob(os.path.join(root, "*", "data.json"))):
        with open(path) as file:
            rows = [row["label"] + ": " + ", ".join(row.get("tags", [])[:3]) for row in json.load(file)]
        yield from random.sample(rows, 10)


AWKWARD = """'|'s|'S|'ſ|'re|'LL| | |\t|\xa0|\u3000|ΟΔΟΣ|ΑΣ|σ.|ΣΑΣ|İ|Iı|ﬁ|ŉ|ﬆ|Ǆ|ａｂ|Ｂ|ｶﾞ|ﾊﾟ|￣|“|”|’|ʼ|e\u0301|a\u0323\u0302|\u0302\u0323|\u0345|ᾳ
\x1b[31m|\x1b[|\x07|\x0b|\x85|\x93|\u2028|\ufeff|<|<|startoftext|>|<|ENDOFTEXT|>|&#65;|&#x41|&#x1F600;|&#0;|&#128;|&#59;|&#xD800;|&#1;|&#65a;|&#;
&amp;lt;|&amp;amp;eacute;|&EACUTE;|&SZLIG;|&AMPER;|&COPYX;|&notit;|&notin;|&ampé|&lt|&|&nbsp;|1|²|Ⅷ|½|٣|中文|日本語|한국어|각|ไทย|हिन्दी|العربية
😀|👩‍👩‍👧|🇩🇪|👍🏽|DON'T|I'm|We'LL|!!!|ß|ẞ|K|Å|ǅ|Crème Brûlée|the quick brown fox|x;y|2024-01-31|3.14""".replace("\n", "|").split("|")


def awkward():
    names = list(html.entities.html5)
    for _ in range(210):
        parts = []
        for _ in range(random.randint(2, 8)):
            if random.random() < 0.15:
                parts.append("&" + random.choice(names) + random.choice(["", ";", "x"]))
            else:
                parts.append(random.choice(AWKWARD))
            parts.append(random.choice(["", "", " "]))
        yield "".join(parts)
    for n in (64, 65, 300):  # long words
        yield "".join(random.choice("abcdeinorst") for _ in range(n))
        yield "ha" * n + " " + "a" * n + " " + "ß" * n
    yield from ["", " ", "a photo of a cat", "A PHOTO OF A CAT.", "I'd've said: \"that's 100% it's!\"",
                "<|startoftext|>a<|endoftext|>", "<b>bold</b> &amp; more"]


def write(name, text):
    with open(os.path.join(OUT, name), "w", newline="") as out:
        out.write(text)


def main():
    random.seed(20)
    os.makedirs(OUT, exist_ok=True)
    lines = [line.replace("\n", " ") for line in [*labels(sys.argv[1]), *awkward()]]
    write("lines.txt", "".join(line + "\n" for line in lines))
    merges = train(lines)
    write("merges.bpe", "#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in merges))
    own = Tokenizer(merges)
    write("merges.ids", "".join(" ".join(map(str, own.line(line))) + "\n" for line in lines))
    if len(sys.argv) > 2:
        rows = gzip.open(sys.argv[2]).read().decode().split("\n")[1:49152 - 256 - 2 + 1]
        clip = Tokenizer([tuple(row.split()) for row in rows])
        write("clip.ids", "".join(" ".join(map(str, clip.line(line))) + "\n" for line in lines))


main()
