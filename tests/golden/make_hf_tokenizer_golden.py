#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/: Hugging Face's files of the vocabulary of merges.bpe, with ids in another order, and what
Hugging Face's tokenizers makes of every third line of lines.txt.

  vocab.json, pair.ids      with merges.bpe as merges.txt: as Transformers 5 reads the two, <|mask|> being a mask_token
  tokenizer.json, json.ids  as older releases wrote it: marks are found in the cleaned text, and two more added tokens

Needs Python with transformers (5 or newer); run make_tokenizer_golden.py before."""
import json
import os
import random
import shutil
import tempfile

from tokenizers import Tokenizer
from transformers import CLIPTokenizerFast

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer")
START, END, MASK = "<|startoftext|>", "<|endoftext|>", "<|mask|>"
STEP = 3
MARKS = r"<\|startoftext\|>|<\|endoftext\|>|"


def letters():
    good = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    return [chr(b) for b in good] + [chr(256 + i) for i in range(256 - len(good))]


def dump(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as out:
        json.dump(value, out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")


def write_ids(name, rows):
    with open(os.path.join(HERE, name), "w") as out:
        out.writelines(" ".join(map(str, row)) + "\n" for row in rows)


def main():
    merges = open(os.path.join(HERE, "merges.bpe"), encoding="utf-8").read().split("\n")[1:-1]
    lines = open(os.path.join(HERE, "lines.txt"), encoding="utf-8", newline="\n").read().split("\n")[:-1][::STEP]
    tokens = letters() + [c + "</w>" for c in letters()] + [m.replace(" ", "") for m in merges]
    tokens = list(dict.fromkeys(tokens)) + [MASK, START, END]
    random.Random(5).shuffle(tokens)
    vocab = {token: i for i, token in enumerate(tokens)}
    dump("vocab.json", vocab)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(os.path.join(HERE, "vocab.json"), folder)
        shutil.copy(os.path.join(HERE, "merges.bpe"), os.path.join(folder, "merges.txt"))
        json.dump({"mask_token": MASK, "tokenizer_class": "CLIPTokenizer"},
                  open(os.path.join(folder, "tokenizer_config.json"), "w"))
        tokenizer = CLIPTokenizerFast.from_pretrained(folder)
        write_ids("pair.ids", tokenizer(lines)["input_ids"])
        root = json.loads(tokenizer.backend_tokenizer.to_str())
    root["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = \
        root["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"].replace(MARKS, "")
    plain = {"single_word": False, "lstrip": False, "rstrip": False}
    root["added_tokens"] = [{"id": vocab[mark], "content": mark, **plain, "normalized": True, "special": True}
                            for mark in (START, END)]
    root["added_tokens"] += [
        {"id": len(vocab), "content": "ＡＢ", **plain, "normalized": True, "special": False},
        {"id": len(vocab) + 1, "content": "I'm", **plain, "normalized": False, "special": True}]
    root["model"]["merges"] = merges
    dump("tokenizer.json", root)
    older = Tokenizer.from_str(json.dumps(root))
    write_ids("json.ids", [older.encode(line).ids for line in lines])
    print("pair and json differ in", sum(a != b for a, b in zip(
        [r.ids for r in tokenizer.backend_tokenizer.encode_batch(lines)], [older.encode(line).ids for line in lines])), "lines")


main()
