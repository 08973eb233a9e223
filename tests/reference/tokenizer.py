#!/usr/bin/env python3
"""`tandem tokenize` against the originals, line by line: OpenAI's, Hugging Face's and TBPS-CLIP's tokenizers.

    TANDEM=build/tandem $TANDEM_PYTHON tests/reference/tokenizer.py --merges bpe_simple_vocab_16e6.txt.gz \\
        --emojibase DIR [--clip CLONE] [--tbps CLONE] [--folder DIR]

DIR of --emojibase is the unpacked npm package emojibase-data: labels and tags in 28 languages; hand-made hard lines
and random mixtures of them follow. CLONE of --clip and --tbps: github.com/openai/CLIP and .../Flame-Chasers/TBPS-CLIP.
Hugging Face's files are made here from the merges as theirs were: ids in OpenAI's order, and once more shuffled.
--folder names a Hugging Face folder to compare as well. What is not installed or not named is skipped, and said.

Two differences are meant, and left out of the lines for OpenAI's and TBPS-CLIP's tokenizer: ftfy's guesses at wrongly
decoded text (lines that `fix_encoding` changes), and for the latter lines on which the original fails with a KeyError,
since the token of the last merge ("jekyll") has given way to <|mask|>. Both are counted."""
import argparse
import glob
import gzip
import html.entities
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile

CONTEXT = 1 << 16  # no line is cut, but where cutting is compared
CLIP_MERGES = 49152 - 256 - 2
START, END, MASK = "<|startoftext|>", "<|endoftext|>", "<|mask|>"
SHORT = 16

HARD = """'|'s|'S|'ſ|'ſ|'re|'LL| | |\t|\xa0|\u3000|\u180e|\x1c|\x1f|\x85|ΟΔΟΣ|ΑΣ|σ.|ΣΑΣ|Σ|İ|Iı|ﬁ|ŉ|ﬆ|Ǆ|ａｂ|Ｂ|ｶﾞ|ﾊﾟ|￣|“|”|’|ʼ|e\u0301
a\u0323\u0302|\u0302\u0323|\u0345|ᾳ|\x1b[31m|\x1b[|\x07|\x0b|\x93|\u2028|\ufeff|\ufffd|<|<|startoftext|>|<|ENDOFTEXT|>|<|endoftext|>|<|mask|>
<|MASK|>|<|StartOfText|>!|!<|endoftext|>'s|<|ſtartoftext|>|&#65;|&#x41|&#x1F600;|&#0;|&#128;|&#59;|&#xD800;|&#1;|&#65a;|&#;|&amp;lt;
&amp;amp;eacute;|&EACUTE;|&SZLIG;|&AMPER;|&COPYX;|&notit;|&notin;|&ampé|&lt|&|&nbsp;|1|²|Ⅷ|½|٣|12345|3.14|1,000|中文|日本語|한국어|각|ไทย
हिन्दी|العربية|עברית|বাংলা|😀|👩‍👩‍👧|🇩🇪|👍🏽|☺\ufe0f|DON'T|I'm|We'LL|you'd've|!!!|...|--|ß|ẞ|K|Å|ǅ|Crème Brûlée|naïve café|the quick brown fox|x;y
2024-01-31|C++|#hashtag|@user|https://example.com/?a=1&b=2|a_b|\U0001d400|\U00020000|\u0378|\ud7ff|jekyll|Dr. Jekyll|\u200b|\u00ad|\u0131'S"""


def skip(why):
    print(f"skipped: {why}")


def lines_of(emojibase, seed=7):
    """(language, line); in each line no NUL, no line break."""
    rows = []
    for path in sorted(glob.glob(os.path.join(emojibase, "*", "data.json"))):
        language = os.path.basename(os.path.dirname(path))
        for row in json.load(open(path, encoding="utf-8")):
            rows.append((language, row["label"]))
            if row.get("tags"):
                rows.append((language, f"{row.get('emoji', '')} {row['label'].title()}: " + ", ".join(row["tags"])))
    rng = random.Random(seed)
    parts = [p.encode("utf-8", "ignore").decode() for p in HARD.replace("\n", "|").split("|")]
    parts += [START, END, MASK, "<|", "|>", "|"]
    names = list(html.entities.html5)
    for part in parts:
        rows.append(("hard", part))
    for _ in range(4000):
        made = []
        for _ in range(rng.randint(2, 9)):
            if rng.random() < 0.1:
                made.append("&" + rng.choice(names) + rng.choice(["", ";", "x"]))
            elif rng.random() < 0.1:
                made.append(chr(rng.choice([rng.randrange(1, 0x3000), rng.randrange(0x1F000, 0x1FB00),
                                            rng.randrange(0xE000, 0x10000)])))
            else:
                made.append(rng.choice(parts))
            made.append(rng.choice(["", "", " "]))
        rows.append(("hard", "".join(made)))
    for n in (63, 64, 65, 300, 3000):
        rows.append(("hard", "".join(rng.choice("abcdeinorst") for _ in range(n))))
        rows.append(("hard", "ha" * n + " " + "a" * n + " " + "ß" * n + "!" * n))
    return [(language, line.replace("\n", " ").replace("\0", " ")) for language, line in rows]


def tandem(path, lines, *options, context=CONTEXT):
    command = [os.environ["TANDEM"], "tokenize", "--tokenizer", path, "--context", str(context), *options]
    text = "".join(line + "\n" for line in lines)
    done = subprocess.run(command, input=text.encode("utf-8"), capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.decode()}")
    return [[int(i) for i in row.split()] for row in done.stdout.decode().split("\n")[:-1]]


class Report:
    failed = False

    def compare(self, name, rows, want, got):
        """want: None where the original fails."""
        failing = sum(w is None for w in want)
        different = [i for i, w in enumerate(want) if w is not None and w != got[i]]
        languages = len({language for language, _ in rows} - {"hard"})
        failures = f", {failing} on which the original fails" if failing else ""
        print(f"{name}: {len(rows)} lines in {languages} languages and hard ones, {len(different)} different{failures}")
        for i in different[:5]:
            print(f"  {rows[i][0]} {rows[i][1]!r}\n    want {want[i]}\n    got  {got[i]}")
        self.failed |= bool(different)


# ---- OpenAI and TBPS-CLIP ----

def load_module(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def original_ids(tokenizer, line):
    try:
        return [tokenizer.encoder[START], *tokenizer.encode(line), tokenizer.encoder[END]]
    except KeyError:
        return None


def compare_original(report, name, path, merges, rows, *options):
    try:
        import ftfy
        import regex  # noqa: F401
    except ImportError as missing:
        return skip(f"{name}: {missing}")
    if not os.path.exists(path):
        return skip(f"{name}: {path} is not there")
    kept = [r for r in rows if ftfy.fix_text(r[1]) == ftfy.fix_text(r[1], fix_encoding=False)]
    if len(kept) < len(rows):
        print(f"{name}: {len(rows) - len(kept)} lines left out, of which ftfy guesses another encoding")
    tokenizer = load_module(path, name.replace(" ", "_").replace("-", "_")).SimpleTokenizer(merges)
    want = [original_ids(tokenizer, line) for _, line in kept]
    report.compare(name, kept, want, tandem(merges, [line for _, line in kept], *options))
    cut = [w if w is None or len(w) <= SHORT else w[:SHORT - 1] + w[-1:] for w in want]
    report.compare(f"{name}, cut to {SHORT}", kept, cut,
                   tandem(merges, [line for _, line in kept], *options, context=SHORT))


# ---- Hugging Face ----

def make_folder(merges_path, folder, shuffled, mask=False):
    """vocab.json and merges.txt, as Hugging Face's conversion of OpenAI's file."""
    opened = gzip.open if merges_path.endswith(".gz") else open
    merges = [line.split() for line in opened(merges_path, "rt", encoding="utf-8").read().split("\n")[1:CLIP_MERGES + 1]]
    if mask:
        merges.pop()
    good = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    letters = [chr(b) for b in good] + [chr(256 + i) for i in range(256 - len(good))]
    tokens = letters + [c + "</w>" for c in letters] + ["".join(pair) for pair in merges]
    tokens += ([MASK] if mask else []) + [START, END]
    if shuffled:
        random.Random(3).shuffle(tokens)
    os.makedirs(folder)
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as out:
        json.dump({token: i for i, token in enumerate(tokens)}, out, ensure_ascii=False)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as out:
        out.write("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in merges))
    return folder


def compare_hugging_face(report, name, folder, path, rows, *options):
    from transformers import CLIPTokenizerFast
    tokenizer = CLIPTokenizerFast.from_pretrained(folder)
    lines = [line for _, line in rows]
    report.compare(name, rows, tokenizer(lines)["input_ids"], tandem(path, lines, *options))
    report.compare(f"{name}, cut to {SHORT}", rows, tokenizer(lines, truncation=True, max_length=SHORT)["input_ids"],
                   tandem(path, lines, *options, context=SHORT))
    return tokenizer


def compare_all_hugging_face(report, merges, rows, own):
    try:
        import transformers
    except ImportError as missing:
        return skip(f"Hugging Face: {missing}")
    version = transformers.__version__
    with tempfile.TemporaryDirectory() as work:
        for shuffled in (False, True):
            name = f"Transformers {version}{', shuffled ids' if shuffled else ''}"
            folder = make_folder(merges, os.path.join(work, f"pair-{shuffled}"), shuffled)
            tokenizer = compare_hugging_face(report, f"{name}, vocab.json and merges.txt", folder, folder, rows)
            saved = os.path.join(work, f"saved-{shuffled}")
            tokenizer.save_pretrained(saved)
            compare_hugging_face(report, f"{name}, tokenizer.json", saved, os.path.join(saved, "tokenizer.json"), rows)
        path = os.path.join(work, "older")
        make_older(saved, path)
        compare_backend(report, "tokenizers, a tokenizer.json of Transformers 4", path, rows)
        mask = make_folder(merges, os.path.join(work, "mask"), False, mask=True)
        json.dump({"mask_token": MASK, "tokenizer_class": "CLIPTokenizer"},
                  open(os.path.join(mask, "tokenizer_config.json"), "w"))
        compare_hugging_face(report, f"Transformers {version}, {MASK} as mask_token", mask, mask, rows, "--mask-token")
    if own:
        compare_hugging_face(report, own, own, own, rows)


def make_older(saved, folder):
    """tokenizer.json as older releases wrote it: the pattern without the marks, marks found in the cleaned text."""
    os.makedirs(folder)
    root = json.load(open(os.path.join(saved, "tokenizer.json"), encoding="utf-8"))
    split = root["pre_tokenizer"]["pretokenizers"][0]["pattern"]
    split["Regex"] = split["Regex"].replace(
        r"<\|startoftext\|>|<\|endoftext\|>|", "")
    root["truncation"] = root["padding"] = None
    for token in root["added_tokens"]:
        token["normalized"] = True
    last = max(root["model"]["vocab"].values()) + 1
    root["added_tokens"].append({"id": last, "content": "brown fox", "single_word": False, "lstrip": False, "rstrip": False,
                                 "normalized": True, "special": False})
    root["added_tokens"].append({"id": last + 1, "content": "Crème", "single_word": False, "lstrip": False, "rstrip": False,
                                 "normalized": False, "special": False})
    root["model"]["merges"] = [" ".join(pair) if isinstance(pair, list) else pair for pair in root["model"]["merges"]]
    json.dump(root, open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8"), ensure_ascii=False)


def compare_backend(report, name, folder, rows):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    lines = [line for _, line in rows]
    report.compare(name, rows, [e.ids for e in tokenizer.encode_batch(lines)], tandem(folder, lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--merges", required=True)
    parser.add_argument("--emojibase", required=True)
    parser.add_argument("--clip")
    parser.add_argument("--tbps")
    parser.add_argument("--folder")
    parser.add_argument("--lines", type=int, default=40000, help="at most; 0: all, more than 110,000")
    options = parser.parse_args()
    rows = lines_of(options.emojibase)
    if 0 < options.lines < len(rows):
        rows = random.Random(1).sample(rows, options.lines)
    report = Report()
    if options.clip:
        compare_original(report, "OpenAI", os.path.join(options.clip, "clip", "simple_tokenizer.py"), options.merges, rows)
    else:
        skip("OpenAI: no --clip")
    if options.tbps:
        compare_original(report, "TBPS-CLIP", os.path.join(options.tbps, "text_utils", "simple_tokenizer.py"),
                         options.merges, rows, "--mask-token")
    else:
        skip("TBPS-CLIP: no --tbps")
    compare_all_hugging_face(report, options.merges, rows, options.folder)
    sys.exit(report.failed)


if __name__ == "__main__":
    main()
