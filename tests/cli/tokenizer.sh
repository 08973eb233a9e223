#!/usr/bin/env bash
# tandem tokenize and tandem tokenizer --train against the golden files, and what they say about bad input.
. "$(dirname "$0")/common.sh"
golden=$TANDEM_SOURCE_DIR/tests/golden/tokenizer

run 0 tokenize --tokenizer "$golden/merges.bpe" --context 4096 <"$golden/lines.txt"
cmp "$work/out" "$golden/merges.ids" || fail "ids differ"
[ ! -s "$work/err" ] || fail "tokenize says: $(cat "$work/err")"

run 0 tokenizer --train --vocab-size 1024 --out "$work/own.bpe" "$golden/lines.txt"
cmp "$work/own.bpe" "$golden/merges.bpe" || fail "merges differ"
has "$work/err" 'own\.bpe: a vocabulary of 1024 tokens from 503 captions$'

# the same from two files and a gzip of the result
head -200 "$golden/lines.txt" >"$work/a.txt"
tail -n +201 "$golden/lines.txt" >"$work/b.txt"
run 0 tokenizer --train --vocab-size 1024 --out "$work/two.bpe" "$work/b.txt" "$work/a.txt"
cmp "$work/two.bpe" "$golden/merges.bpe" || fail "merges of two files differ"
gzip -k "$work/two.bpe"
run 0 tokenize --tokenizer "$work/two.bpe.gz" --context 4096 <"$golden/lines.txt"
cmp "$work/out" "$golden/merges.ids" || fail "ids with the gzip file differ"

# fewer merges than asked for: what there is, and a warning
printf 'ab ab\n' >"$work/few.txt"
run 0 tokenizer --train --vocab-size 9000 --out "$work/few.bpe" "$work/few.txt"
has "$work/err" 'warning: .*few\.bpe: the text yields a vocabulary of 515 tokens, not 9000'
[ "$(cat "$work/few.bpe")" = "$(printf '#version: 0.2\na b</w>')" ] || fail "few.bpe: $(cat "$work/few.bpe")"

# cut lines keep their end token and are counted; a last line without newline, an empty line, broken UTF-8
printf 'a b c d\n\nx\377' >"$work/in"
run 0 tokenize --tokenizer "$work/few.bpe" --context 4 <"$work/in"
[ "$(cat "$work/out")" = "$(printf '513 320 321 514\n513 514\n513 343 171 514')" ] || fail "ids: $(cat "$work/out")"
has "$work/err" 'warning: 2 of 3 lines were cut to 4 tokens'

# a byte order mark is no text, before the lines and before a tokenizer's file; a NUL ends no line in silence
printf '\xef\xbb\xbfa b c d\n\nx\377' >"$work/in"
run 0 tokenize --tokenizer "$work/few.bpe" --context 4 <"$work/in"
[ "$(cat "$work/out")" = "$(printf '513 320 321 514\n513 514\n513 343 171 514')" ] || fail "ids behind a mark: $(cat "$work/out")"
for file in merges.bpe tokenizer.json; do
    run 0 tokenize --tokenizer "$golden/$file" --context 4096 <"$golden/lines.txt"
    mv "$work/out" "$work/plain"
    { printf '\xef\xbb\xbf' && cat "$golden/$file"; } >"$work/marked"
    run 0 tokenize --tokenizer "$work/marked" --context 4096 <"$golden/lines.txt"
    cmp "$work/out" "$work/plain" || fail "$file with a byte order mark gives other ids"
done
refuse_in() { # PATTERN BYTES: as standard input
    local code=0
    printf '%b' "$2" | "$TANDEM" tokenize --tokenizer "$work/few.bpe" >"$work/out" 2>"$work/err" || code=$?
    [ "$code" -eq 1 ] || fail "tokenize of $2: exit code $code"
    has "$work/err" "^tandem: standard input: $1"
}
refuse_in 'line 2: holds a NUL, which text does not \(offset 6\)' 'a b\na \0 b\n'
refuse_in 'line 1: is UTF-16, not UTF-8 \(offset 1\)' 'a\0 \0b\0\n\0'
refuse_in 'line 1: is UTF-16, not UTF-8 \(offset 3\)' '\xff\xfea\0\n\0'
printf 'ab ab\nab\0ab\n' >"$work/nul.txt"
refuse 1 'nul\.txt: line 2: holds a NUL' tokenizer --train --vocab-size 600 --out "$work/x" "$work/nul.txt"
printf '\xef\xbb\xbfab ab\n' >"$work/marked.txt"
run 0 tokenizer --train --vocab-size 9000 --out "$work/marked.bpe" "$work/marked.txt"
cmp "$work/marked.bpe" "$work/few.bpe" || fail "merges of a file with a byte order mark differ"

printf '{"not": "merges"}\n' >"$work/json"
refuse 1 'json: has no "model": neither a tokenizer.json' tokenize --tokenizer "$work/json"
printf '#version: 0.2\na b\nxy z\n' >"$work/unknown.bpe"
refuse 1 'unknown\.bpe: line 3: "xy" is neither' tokenize --tokenizer "$work/unknown.bpe"
head -c 500 "$work/two.bpe.gz" >"$work/cut.gz"
refuse 1 'cut\.gz: the gzip data end too early' tokenize --tokenizer "$work/cut.gz"
refuse 1 'cannot (open|read)' tokenize --tokenizer "$work"

# Hugging Face's files: a folder, either file of a pair, tokenizer.json; and what is missing
mkdir "$work/hf"
cp "$golden/vocab.json" "$work/hf"
awk 'NR % 3 == 1' "$golden/lines.txt" >"$work/third.txt"
refuse 1 'vocab\.json: there is no merges\.txt beside it' tokenize --tokenizer "$work/hf/vocab.json"
cp "$golden/merges.bpe" "$work/hf/merges.txt"
for path in "$work/hf" "$work/hf/" "$work/hf/vocab.json" "$work/hf/merges.txt"; do
    run 0 tokenize --tokenizer "$path" --context 4096 <"$work/third.txt"
    cmp "$work/out" "$golden/pair.ids" || fail "ids of $path differ"
done
(cd "$work/hf" && "$TANDEM" tokenize --tokenizer vocab.json --context 4096 <"$work/third.txt" >"$work/out")
cmp "$work/out" "$golden/pair.ids" || fail "ids of a relative path differ"
run 0 tokenize --tokenizer "$golden/tokenizer.json" --context 4096 <"$work/third.txt"
cmp "$work/out" "$golden/json.ids" || fail "ids of tokenizer.json differ"
mkdir "$work/nomask"
sed 's/<|mask|>/<|mark|>/g' "$golden/tokenizer.json" >"$work/nomask/tokenizer.json"
refuse 1 'tokenizer\.json: the vocabulary has no <\|mask\|>' tokenize --mask-token --tokenizer "$work/nomask/tokenizer.json"

# <|mask|> in place of the last merge
printf 'a <|mask|> b\n' >"$work/in"
run 0 tokenize --mask-token --tokenizer "$golden/merges.bpe" <"$work/in"
[ "$(cat "$work/out")" = '1022 320 1021 321 1023' ] || fail "ids with a mask: $(cat "$work/out")"

refuse 2 'tokenizer: say --train' tokenizer --vocab-size 600 --out "$work/x" "$work/a.txt"
refuse 2 'tokenizer: name a SOURCE' tokenizer --train --vocab-size 600 --out "$work/x"
refuse 2 '--vocab-size 513: must be from 514' tokenizer --train --vocab-size 513 --out "$work/x" "$work/a.txt"
refuse 1 'absent\.txt: cannot open' tokenizer --train --vocab-size 600 --out "$work/x" "$work/absent.txt"
refuse 1 'missing/x' tokenizer --train --vocab-size 600 --out "$work/missing/x" "$work/a.txt"
refuse 1 'dataset\.h5' tokenizer --train --vocab-size 600 --out "$work/x" "$work"
: >"$work/empty.txt"
refuse 1 'empty\.txt: no caption' tokenizer --train --vocab-size 600 --out "$work/x" "$work/empty.txt"
[ ! -e "$work/x" ] || fail "a failed training left a file"

if [ -c /dev/full ]; then
    code=0
    "$TANDEM" tokenize --tokenizer "$work/few.bpe" <"$golden/lines.txt" >/dev/full 2>"$work/err" || code=$?
    [ "$code" -eq 1 ] || fail "a full disk: exit code $code"
    has "$work/err" 'standard output: cannot write'
fi
