#!/usr/bin/env bash
# [PYTHON=python with h5py] tests/golden/compat/make.sh TANDEM: writes data/, run/ and embedding/ beside this script with the given binary. They were
# written by version 0.1.0 before the views, and tests/run/compat.sh opens them with the present one; so this is run again
# only to add files of a later version, with that version's binary and into another folder.
set -euo pipefail
tandem=$(realpath "${1:?usage: make.sh TANDEM}")
cd "$(dirname "$0")"
rm -rf data run embedding tmp
mkdir tmp
trap 'rm -rf tmp' EXIT
export OMP_NUM_THREADS=1

python3 - <<'PY'
import struct, zlib
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
for i in range(6):
    row = [bytes([0]) + bytes((37 * i + 11 * x * (y + 1) + 90 * c) % 256 for x in range(16) for c in range(3)) for y in range(16)]
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(row), 9)) + chunk(b"IEND", b"")
    open(f"tmp/{i}.png", "wb").write(png)
    open(f"tmp/{i}.txt", "w").write(f"picture {'abcdef'[i]}\nthe number {i} of six\n")
PY
"$tandem" tokenizer --train --vocab-size 516 --out tmp/bpe.txt tmp/*.txt
"$tandem" pack --format folder --name compat --split train --tokenizer tmp/bpe.txt --context 12 --out data tmp
cp tmp/bpe.txt bpe.txt
"$tandem" train --config run.cfg --out run
rm -f run/report.html data/pack-report.json
# What comes next: one more step of the run, and two steps that see the augmentations.
cp -r run tmp/resumed
"$tandem" train --config run.cfg --set train.steps=3 --resume auto --out tmp/resumed
sed 's/image_view = "plain";//' run.cfg >tmp/augmented.cfg
"$tandem" train --config tmp/augmented.cfg --out tmp/augmented
cat tmp/resumed/metrics.jsonl tmp/augmented/metrics.jsonl | sed -n 's/.*"step": *\([0-9]*\),.*"loss": *\([0-9.]*\).*/\1 \2/p' >losses.txt
"$tandem" eval --model run --data data --split train --json eval.json
"$tandem" embed --model run --data data --split train --out embedding
# The data's absolute path means nothing elsewhere. The test finds them beside the embeddings, as "data".
"${PYTHON:-python3}" - <<'PY'
import glob, h5py
for part in glob.glob("embedding/*.h5"):
    with h5py.File(part, "r+") as file:
        file.attrs.modify("source", b"data")
PY
"$tandem" search --model run --gallery embedding -k 3 "picture c" >search.txt
du -sh data run embedding
