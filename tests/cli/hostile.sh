#!/usr/bin/env bash
# Names and captions with escape sequences, quotes, markup and bytes that are no UTF-8: nothing of it reaches a terminal
# raw, and what is written as JSON or HTML is valid UTF-8 and well formed.
. "$(dirname "$0")/common.sh"
cd "$work"

evil=$'e\x1b]0;pwned\x07\x1b[2J "q\' <script>alert(1)</script> ]]>&amp; \xff\xc2\x9b31m\xe2\x80\xaegnp'
python3 - "$evil" <<'PY'
import os, struct, sys, zlib
evil = os.fsencode(sys.argv[1])
def png(colour):
    rows = b"".join(b"\0" + bytes(colour) * 32 for _ in range(32))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
folder = b"raw " + evil.replace(b"/", b"_")
os.mkdir(folder)
# a caption must be UTF-8, but may hold any character of it
caption = (evil.replace(b"\xff", b"") + b" a red disc \x1b[31m\x7f\n")
for i in range(8):
    stem = folder + b"/" + evil.replace(b"/", b"_") + b"\n" + str(i).encode()
    open(stem + b".png", "wb").write(png((30 * i, 20, 200)))
    open(stem + b".txt", "wb").write(caption)
open(folder + b"/broken\x1b[5m\xff.png", "wb").write(b"no picture")
open(folder + b"/broken\x1b[5m\xff.txt", "wb").write(b"a caption\n")
PY
name=${evil//\//_}
data="data $name" run_dir="run $name"

# clean FILE…: valid UTF-8 where it is to be shown, and no control character but line feeds and tabs
clean() {
    python3 - "$@" <<'PY' || fail "$* is not clean"
import sys, unicodedata
for path in sys.argv[1:]:
    text = open(path, encoding="utf-8", newline="").read()
    bad = {c for c in text if (unicodedata.category(c) == "Cc" and c not in "\n\t") or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
    if bad:
        sys.exit(f"{path}: {bad!r}\n{text[:2000]!r}")
PY
}
# quiet WANTED_CODE ARG…: runs tandem; what it says is clean
quiet() {
    run "$@"
    clean "$work/out" "$work/err"
}

quiet 0 pack --format folder --split train --skip-bad --out "$data" "raw $name"
mv "$data/pack-report.json" report.json
quiet 1 pack --format folder --split train --out "again $name" "raw $name"
has "$work/err" 'broken\\x1b\[5m\\xff'
quiet 0 tokenizer --train --vocab-size 530 --out "bpe $name" "$data"
cat >run.cfg <<'CFG'
model: { name = "tiny"; embed_dim = 32; activation = "gelu";
  image: { height_px = 32; width_px = 32; patch_px = 8; width = 32; layers = 1; heads = 2; };
  text: { context_length = 24; vocab_size = 530; width = 32; layers = 1; heads = 2; }; };
train: { batch = 4; steps = 2; precision = "f32"; };
CFG
quiet 0 train --config run.cfg --set "data.dir=$data" --set data.split=train --set "model.tokenizer=bpe $name" \
    --set eval.split=train --set "model.name=$name" --out "$run_dir"
mv "$run_dir/metrics.jsonl" metrics.jsonl
mv "$run_dir/report.html" run.html
quiet 0 eval --model "$run_dir" --data "$data" --split train --json eval.json --html eval.html
quiet 0 eval --model "$run_dir" --data "$data" --split train
cp "$work/out" printed.json
quiet 0 embed --model "$run_dir" --data "$data" --split train --out "emb $name"
quiet 0 search --model "$run_dir" --gallery "emb $name" -k 3 --json search.json --html search.html "$evil"
has "$work/out" 'a red disc \\x1b\[31m\\x7f'
quiet 0 search --model "$run_dir" --gallery "emb $name" --find captions -k 3 "$evil"
quiet 0 info "$run_dir" --json run.json
quiet 0 info "$data"
quiet 0 info "emb $name" --json emb.json
quiet 0 export --model "$run_dir" --to "hf $name"
quiet 0 import --from "hf $name" --out "back $name"
quiet 0 info "hf $name"
quiet 1 info "absent $name"
quiet 2 "$name"
quiet 2 search "--$name"
quiet 1 eval --model "$name" --data "$data" --split train
quiet 1 train --config "$name" --out x
quiet 1 import --from "$name" --out x
cp "hf $name/open_clip_config.json" open_clip_config.json
clean report.json eval.json printed.json search.json run.json emb.json metrics.jsonl open_clip_config.json \
    run.html eval.html search.html
python3 - <<'PY'
import html.parser, json
for name in ("report", "eval", "printed", "search", "run", "emb", "open_clip_config"):
    json.load(open(f"{name}.json", encoding="utf-8"))
lines = [json.loads(line) for line in open("metrics.jsonl", encoding="utf-8")]
assert lines
report = json.load(open("report.json"))
assert "\ufffd" in report["bad"][0]["name"] and "\x1b[5m" in report["bad"][0]["name"], report["bad"]
found = json.load(open("search.json"))
assert found["model"] and found["gallery"].startswith("emb e\x1b]0;pwned\x07") and "\ufffd\x9b31m\u202egnp" in found["gallery"]
assert found["text"].startswith("e\x1b") and all("\x7f" in r["caption"] and "<script>" in r["name"] for r in found["results"])
assert json.load(open("eval.json"))["data"].startswith("data e\x1b")

class Page(html.parser.HTMLParser):
    def handle_starttag(self, tag, attributes):
        assert tag != "script"
        assert all(key in "lang charset name content class src alt style width height viewbox role aria-label x y x1 x2 y1 y2 "
                   "text-anchor points fill stroke transform d cx cy r colspan open title dominant-baseline preserveaspectratio"
                   .split() for key, _ in attributes), (tag, attributes)
    def handle_data(self, data):
        self.text = getattr(self, "text", "") + data
for name in ("run", "eval", "search"):
    page = Page()
    page.feed(open(f"{name}.html", encoding="utf-8").read())
    assert "<script>alert(1)<" in page.text and "script> ]]>&amp;" in page.text, name
PY
