#!/usr/bin/env bash
# tandem pack under mpirun: shards, index and report are the same bytes, and errors the same line, on 1 to 4 ranks.
# shellcheck source=../cli/common.sh
. "$(dirname "$0")/../cli/common.sh"
export OMPI_MCA_btl_vader_single_copy_mechanism=none

python3 "$TANDEM_SOURCE_DIR/tests/run/make_pairs.py" "$work/raw" 61
python3 - "$work" <<'EOF'
"""The same pairs as CSV, Karpathy JSON, two tar files and an emoji set."""
import json, pathlib, sys, tarfile
work = pathlib.Path(sys.argv[1])
pairs = [(png, png.with_suffix(".txt").read_text().split("\n")[0]) for png in sorted((work / "raw").glob("*.png"))]
with open(work / "raw/pairs.csv", "w") as out:
    out.write("filepath\ttitle\n")
    for png, caption in pairs:
        out.write(f'{png.name}\t{caption}\n{png.name}\t"again: {caption}"\n')
splits = ["train", "restval", "val", "test"]
(work / "raw/set.json").write_text(json.dumps({"images": [
    {"filename": png.name, "split": splits[i % 4], "sentences": [{"raw": caption}]}
    for i, (png, caption) in enumerate(pairs)]}))
(work / "raw/emoji.json").write_text(json.dumps({
    "concepts": [{"label": caption, "tags": ["tag"], "subgroup": caption.split()[-1]} for _, caption in pairs],
    "images": [{"file": png.name, "artist": ["google", "twitter", "openmoji", "fluent"][i % 4], "concept": i // 4}
               for i, (png, _) in enumerate(pairs)]}))
for part, form in ((0, tarfile.PAX_FORMAT), (1, tarfile.GNU_FORMAT)):
    with tarfile.open(work / f"{part}.tar", "w", format=form) as tar:
        for png, _ in pairs[part::2]:
            tar.add(png, png.name)
            tar.add(png.with_suffix(".txt"), png.with_suffix(".txt").name)
EOF

# packed N FORMAT ARG…: on N ranks into $work/N; its digests to stdout
packed() {
    local n=$1 format=$2 launcher=("$MPIEXEC" --oversubscribe -n "$1")
    shift 2
    [ "$n" -gt 1 ] || launcher=()
    rm -rf "${work:?}/$n"
    timeout 120 "${launcher[@]}" "$TANDEM" pack --format "$format" --out "$work/$n" --shard-size 7 "$@" \
        >"$work/out" 2>"$work/err" || fail "pack $format on $n ranks: $(cat "$work/err")"
    (cd "$work/$n" && sha256sum -- *)
}

# same RANKS WANTED_FILES FORMAT ARG…: as on one rank
same() {
    local ranks=$1 want=$2 format=$3 n
    shift 3
    packed 1 "$format" "$@" >"$work/digests"
    [ "$(wc -l <"$work/digests")" -eq "$want" ] || fail "$format: not $want files: $(cat "$work/digests")"
    for n in $ranks; do
        packed "$n" "$format" "$@" >"$work/others"
        cmp "$work/digests" "$work/others" >&2 || fail "$format: other files on $n ranks than on one: $(cat "$work/others")"
    done
    "$TANDEM" info --verify "$work/$n" >"$work/out" 2>&1 || fail "$format: info --verify: $(cat "$work/out")"
}

# 61 images in shards of 7: 9 shards, index, report
same "2 3 4" 11 folder "$work/raw"
same 2 11 csv --split train "$work/raw/pairs.csv"
same 3 11 csv --split train=0.8,val=0.2 --seed 3 --image-size 16 "$work/raw/pairs.csv"
same 4 10 karpathy --split train=train+restval,test "$work/raw/set.json"
same 3 11 webdataset "$work/0.tar" "$work/1.tar"
same 2 12 emoji "$work/raw"

# bad images: the same report, the same error from whichever rank
echo "no image" >"$work/raw/0020.png"
echo "no image" >"$work/raw/0008.png"
: >"$work/raw/0055.txt"
same "2 3 4" 11 folder --skip-bad "$work/raw"
jq -e '[.bad[].name] == ["0008.png", "0020.png", "0055.png"] and .images == 58' "$work/4/pack-report.json" >/dev/null ||
    fail "the report: $(cat "$work/4/pack-report.json")"
for n in 1 4; do
    code=0
    rm -rf "${work:?}/$n"
    timeout 60 "$MPIEXEC" --oversubscribe -n "$n" "$TANDEM" pack --format folder --out "$work/$n" --shard-size 7 \
        "$work/raw" >"$work/out" 2>"$work/err" || code=$?
    [ "$code" -eq 1 ] || fail "a bad image on $n ranks: exit code $code: $(cat "$work/err")"
    [ "$(grep '^tandem: ' "$work/err" | grep -vc '^tandem: warning: ')" -eq 1 ] || fail "a bad image on $n ranks: not one line: $(cat "$work/err")"
    has "$work/err" '^tandem: .*0008\.png'
    [ ! -e "$work/$n/dataset.h5" ] || fail "a failed packing left an index"
done

# images alone and captions alone
rm "$work/raw/0030.png" "$work/raw/0031.txt"
same "2 3" 11 folder --skip-bad --unpaired keep "$work/raw"
jq -e '[.bad[].name] == ["0008.png", "0020.png"] and .images == 58 and .images_only == 2 and .texts_only == 1' \
    "$work/3/pack-report.json" >/dev/null || fail "the report: $(cat "$work/3/pack-report.json")"
has "$work/err" '2 of the images have no caption; 1 samples are captions without an image'
same 2 11 folder --skip-bad "$work/raw"
jq -e '[.bad[].name] == ["0008.png", "0020.png", "0030.txt", "0031.png", "0055.png"] and .texts_only == 0' \
    "$work/2/pack-report.json" >/dev/null || fail "the report: $(cat "$work/2/pack-report.json")"
printf 'filepath\ttitle\n0001.png\ta\n\tb\n0002.png\t\n' >"$work/raw/few.csv"
same 2 3 csv --unpaired keep "$work/raw/few.csv"
refuse 1 'few.csv:3: has no image \(--unpaired keep packs it\)' pack --format csv --out "$work/x" "$work/raw/few.csv"

# bad rows and captions, labels and a split of their own: the same shards and report on any number of ranks
python3 - "$work/raw/odd.csv" <<'EOF'
import sys
rows = [b"filepath,title,who,what,fold"]
for i in list(range(8)) + list(range(9, 20)):
    rows.append(b"%04d.png,caption %d,p%d,even|all,%s" % (i, i, i // 2, b"test" if i % 3 == 0 else b"train"))
rows.insert(4, b"0003.png,too,many,fields,in,it")
rows.insert(7, b'0009.png,"never closed,p1,all,train')
rows.insert(9, b"0010.png,caf\xe9,p5,even|all,train")
rows.insert(12, b"0011.png,other split,p5,all,val")
rows.insert(15, b"http://example.org/x.png,address,p1,all,train")
open(sys.argv[1], "wb").write(b"\n".join(rows) + b"\n")
EOF
same "2 3 4" 5 csv --skip-bad --identity-column who --class-column what --split-column fold "$work/raw/odd.csv"
jq -e '(.bad | length) == 4 and (.bad_captions | length) == 1 and .images == 18 and
    [.splits[] | [.name, .identities, .classes]] == [["test", 7, 2], ["train", 9, 2]]' \
    "$work/4/pack-report.json" >/dev/null || fail "the report: $(cat "$work/4/pack-report.json")"

# tar files and folders with something wrong: the same shards and report on any number of ranks
python3 - "$work" <<'EOF'
import io, pathlib, sys, tarfile
work = pathlib.Path(sys.argv[1])
pngs = [png for png in sorted((work / "raw").glob("*.png")) if png.read_bytes()[:4] == b"\x89PNG"]
def add(tar, name, data=b"", link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = (tarfile.LNKTYPE if link else tarfile.REGTYPE), link, len(data)
    tar.addfile(info, io.BytesIO(data))
with tarfile.open(work / "odd.tar", "w") as tar:
    for i, png in enumerate(pngs[:20]):
        if i % 5 == 3:
            add(tar, f"./{i:04}.jpg", link=f"{i - 1:04}.png")
        else:
            add(tar, f"{i:04}.png", png.read_bytes())
        add(tar, f"{i:04}.JSON", b'{"captions": ["of %d", "%s"], "who": "p%d", "n": NaN}' % (i, b"" if i % 7 == 1 else b"x", i // 2))
        add(tar, f"{i:04}.cls", b"even" if i % 2 == 0 else b"odd|prime")
        add(tar, f"{i:04}.npy", b"foreign")
    add(tar, "0004.png", pngs[4].read_bytes())
    add(tar, "0021.png", pngs[0].read_bytes())
    add(tar, "0022.png", link="nothing.png")
data = (work / "odd.tar").read_bytes()
(work / "cut.tar").write_bytes(data[: len(data) // 2 // 512 * 512 - 100])
(work / "empty.tar").write_bytes(b"\0" * 10240)
for i, png in enumerate(pngs[:12]):
    folder = work / "tree" / ("train" if i % 3 else "val") / f"class{i % 2}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{i}{['', '.jfif', '.png'][i % 3]}").write_bytes(png.read_bytes())
    (folder / f"{i}.md").write_text("foreign")
(work / "tree/train/class0/loop").symlink_to("..")
EOF
same "2 3 4" 5 webdataset --skip-bad --identity-field who "$work/empty.tar" "$work/odd.tar"
has "$work/err" 'empty\.tar: holds no images and no captions'
has "$work/err" '20 members that are not used: 20 \.npy'
jq -e '[.bad[].name] == ["0004.png", "0021.png", "0022.png"] and (.bad_captions | length) == 3 and .images == 20 and
    [.splits[] | [.name, .images, .identities, .classes]] == [["train", 20, 10, 3]] and
    .left_out == [{"kind": "members that are not used", "extension": ".npy", "count": 20, "listed": .left_out[0].listed}] and
    (.empty_sources | length) == 1' "$work/4/pack-report.json" >/dev/null || fail "the report: $(cat "$work/4/pack-report.json")"
same "2 3" 7 webdataset --skip-bad "$work/odd.tar" "$work/cut.tar"
refuse 1 'odd.tar: captions\[1\]|odd\.tar: 0001' pack --format webdataset --out "$work/x" "$work/odd.tar"
same "2 3" 5 folder --skip-bad --unpaired keep --split-level 1 --class-level 2 "$work/tree"
has "$work/err" 'split train: 8 images, 0 captions, 2 classes'
has "$work/err" 'left out: 12 files that are neither an image nor captions: 12 \.md'

# what SOURCE is not
refuse 1 'is an address: files are read, not fetched' pack --format webdataset --out "$work/x" https://example.org/0.tar
refuse 1 'the shell expands' pack --format webdataset --out "$work/x" "$work/{0..1}.tar"
refuse 2 'is a folder, and --format csv reads files, .*--format folder' pack --format csv --out "$work/x" "$work/raw"
refuse 1 '0\.tar: is a tar file: --format webdataset' pack --format folder --out "$work/x" "$work/0.tar"
refuse 2 '0\.tar: is given twice' pack --format webdataset --out "$work/x" "$work/0.tar" "$work/1.tar" "$work/0.tar"
gzip -k "$work/0.tar"
refuse 1 '0\.tar\.gz: is compressed with gzip' pack --format webdataset --out "$work/x" "$work/0.tar.gz"
printf 'PAR1....' >"$work/set.parquet"
refuse 1 'set\.parquet: is a Parquet file' pack --format csv --out "$work/x" "$work/set.parquet"
printf 'PK\003\004....' >"$work/set.zip"
refuse 1 'set\.zip: is a zip archive' pack --format folder --out "$work/x" "$work/set.zip"

# options of a format: shown, taken, refused with another one
sed 's/^filepath\ttitle/photo\tenglish/' "$work/raw/pairs.csv" >"$work/raw/other.csv"
refuse 1 'no column "filepath"' pack --format csv --out "$work/x" "$work/raw/other.csv"
refuse 1 'no column "title"' pack --format csv --out "$work/x" --image-column photo "$work/raw/other.csv"
same 2 11 csv --skip-bad --image-column=photo --caption-column english "$work/raw/other.csv"
refuse 2 'pack: --image-column is an option of --format csv, not of folder' \
    pack --format folder --out "$work/x" --image-column=photo "$work/raw"
refuse 2 'unknown option --image-colum; did you mean --image-column' pack --out "$work/x" --image-colum a --format=csv "$work/raw"
refuse 2 'pack: --unpaired maybe: must be one of refuse\|keep' pack --format folder --out "$work/x" --unpaired maybe "$work/raw"
run 0 pack --help
has "$work/out" '^    --caption-column VALUE +column of the captions'
# no format's option has the name of one of pack's own
sed -n '1,/^Formats/s/^  \(--[a-z-]*\).*/\1/p' "$work/out" | sort -u >"$work/own"
sed -n '/^Formats/,$s/^    \(--[a-z-]*\).*/\1/p' "$work/out" | sort -u >"$work/theirs"
[ -z "$(comm -12 "$work/own" "$work/theirs")" ] || fail "hidden by pack's own option: $(comm -12 "$work/own" "$work/theirs")"

refuse 2 'format' pack --format foldr --out "$work/x" "$work/raw"
refuse 2 'skip-bad' pack --format folder --out "$work/x" --skip-bda "$work/raw"
