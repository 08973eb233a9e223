#!/usr/bin/env bash
# tandem augment: operations on a picture and on words, a sheet, and what is refused.
. "$(dirname "$0")/common.sh"

# a picture of 6 x 4, a BMP of 24 bits: rows from below, blue first
python3 - "$work/in.bmp" <<'END'
import struct, sys
width, height = 6, 4
rows = b"".join(b"".join(bytes((7 * x * y, 60 * y, 40 * x)) for x in range(width)).ljust((width * 3 + 3) // 4 * 4, b"\0")
                for y in reversed(range(height)))
open(sys.argv[1], "wb").write(b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) +
                              struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0) + rows)
END
in=$work/in.bmp
png_size() { python3 -c 'import struct,sys; print(*struct.unpack(">II", open(sys.argv[1], "rb").read()[16:24]))' "$1"; }

# once round is nowhere; twice inverted too; the first operation comes first
run 0 augment --op invert --op invert "$in" --out "$work/twice.png"
run 0 augment --op tensor "$in" --out "$work/plain.png"
cmp "$work/twice.png" "$work/plain.png" || fail "inverted twice is not the picture"
run 0 augment --op rotate:min=180,max=180 --op flip --op vflip "$in" --out "$work/round.png"
cmp "$work/round.png" "$work/plain.png" || fail "half a turn and both flips are not the picture"
run 0 augment --op "crop:box=[1,2,2,3]" --size 5x7 "$in" --out "$work/crop.png"
[ "$(png_size "$work/crop.png")" = "7 5" ] || fail "--size 5x7 makes $(png_size "$work/crop.png")"
run 0 augment --op flip:p=0 "$in" --out "$work/none.png"
cmp "$work/none.png" "$work/plain.png" || fail "p=0 changed the picture"
run 0 augment --op "pool:of=[flip(p=1),invert],k=2,replace=false" --op invert --op flip "$in" --out "$work/pool.png"
cmp "$work/pool.png" "$work/plain.png" || fail "a pool of two is not both of them"

# seeds
run 0 augment --op trivial_augment --seed 1 "$in" --out "$work/a.png"
run 0 augment --op trivial_augment --seed 1 "$in" --out "$work/b.png"
cmp "$work/a.png" "$work/b.png" || fail "equal seeds, other pictures"
words="one two three four five six seven eight nine ten"
run 0 augment --op delete_words:p=0.5 --seed 1 --text "$words"
cp "$work/out" "$work/first"
run 0 augment --op delete_words:p=0.5 --seed 2 --text "$words"
cmp -s "$work/out" "$work/first" && fail "two seeds delete the same words"
run 0 augment --op delete_words:p=0 --text "$words"
[ "$(cat "$work/out")" = "$words" ] || fail "words became $(cat "$work/out")"

# every operation on images by itself, and behind tensor where it can stand
"$TANDEM" augment --help | sed -n '/^Operations on images/,/^$/s/^  \([a-z_]*\).*/\1/p' >"$work/operations"
[ "$(wc -l <"$work/operations")" -ge 25 ] || fail "--help lists $(wc -l <"$work/operations") operations"
while read -r name <&3; do
    run 0 augment --op "$name" "$in" --out "$work/one.png"
done 3<"$work/operations"

refuse 2 'there is no operation "flop"; did you mean flip\?' augment --op flop "$in" --out "$work/x.png"
refuse 1 'augment.rotate has no option "mix" \(did you mean min\?\)' augment --op rotate:mix=3 "$in" --out "$work/x.png"
refuse 1 'augment.rotate.min = 500 is out of range' augment --op rotate:min=500 "$in" --out "$work/x.png"
refuse 1 'rotate: min = 30 is larger than max = 15' augment --op rotate:min=30 "$in" --out "$work/x.png"
refuse 2 'expected NAME or NAME:key=value' augment --op 'flip(p=1)' "$in" --out "$work/x.png"
refuse 2 'delete_words works on texts' augment --op delete_words "$in" --out "$work/x.png"
refuse 2 'flip works on images' augment --op flip --text words
refuse 2 'an operation works on tokens' augment --op mask --text words
refuse 1 'blur works on 8 bits, it cannot stand behind tensor' augment --op tensor --op blur "$in" --out "$work/x.png"
refuse 2 'needs one IMAGE or --text' augment --op flip --out "$work/x.png"
refuse 2 'out FILE.png is missing' augment --op flip "$in"
refuse 2 'size 3x: must be HxW' augment --op flip --size 3x "$in" --out "$work/x.png"
refuse 2 'a sheet needs both --config FILE and --html FILE' augment --html "$work/x.html"
refuse 2 'do not go with' augment --config a --html b --op flip
refuse 2 'for a sheet, or --op NAME' augment
refuse 1 'absent: cannot open' augment --op flip "$work/absent" --out "$work/x.png"
[ ! -e "$work/x.png" ] || fail "a refused operation left a file"

# a sheet, from a data set of eight pictures
mkdir -p "$work/pictures"
for i in 1 2 3 4 5 6 7 8; do cp "$in" "$work/pictures/$i.bmp"; echo "picture number $i <b>" >"$work/pictures/$i.txt"; done
run 0 pack --format folder --out "$work/data" "$work/pictures"
cat >"$work/a.cfg" <<END
data: { dir = "$work/data"; };
model: { tokenizer = "$work/m.bpe"; image: { height_px = 32; width_px = 16; patch_px = 16; }; };
views: { aug_1: { augment = ["resize(interpolation=bilinear)", "tensor", "pool", "delete_words(p=0.2)"]; }; };
END
echo '#version: 0.2' >"$work/m.bpe"
run 0 augment --config "$work/a.cfg" --set model.text.vocab_size=514 --html "$work/sheet.html" --samples 3
[ "$(grep -c '<section>' "$work/sheet.html")" -eq 3 ] || fail "not three samples"
[ "$(grep -c '<h3>image.aug_1</h3>' "$work/sheet.html")" -eq 3 ] || fail "not one image view of each"
[ "$(grep -o '<li>' "$work/sheet.html" | wc -l)" -eq 24 ] || fail "not eight draws of each text view"
[ "$(grep -o '<div class="thumb"><img' "$work/sheet.html" | wc -l)" -eq 24 ] || fail "not eight draws of each image view"
grep -q 'picture number 1 <b>' "$work/sheet.html" && fail "a caption is not escaped"
refuse 1 'unknown augmentation "flop" \(did you mean flip\?\)' augment --config "$work/a.cfg" \
    --set 'views.aug_1.augment=[flop]' --html "$work/x.html"
echo "augment: passed"
