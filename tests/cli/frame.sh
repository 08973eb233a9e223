#!/usr/bin/env bash
# The frame of the command line: help, version, unknown commands and options, exit codes, ranks.
. "$(dirname "$0")/common.sh"

run 0 --version
has "$work/out" '^tandem [0-9]+\.[0-9]+\.[0-9]+$'
run 0 --help
has "$work/out" '^usage: tandem COMMAND'
[ ! -s "$work/err" ] || fail "--help writes to stderr"

# every command explains itself, every option has a help text
sed -n 's/^  [* ] \([a-z][a-z]*\) .*/\1/p' "$work/out" >"$work/commands"
while read -r command <&3; do
    run 0 "$command" --help
    has "$work/out" "^usage: tandem $command "
    has "$work/out" '^  -h, --help +'
    echo "$command: $(grep -c '^  -' "$work/out") options"
    refuse 2 'unknown option --helpp; did you mean --help\?' "$command" --helpp
done 3<"$work/commands"

refuse 2 'which command'
refuse 2 'unknown command "tokenise"; did you mean tokenize\?' tokenise
refuse 2 'unknown command "zzzzzzzzzzzz"; .*--help' zzzzzzzzzzzz

file=$work/m.bpe
echo '#version: 0.2' >"$file"
refuse 2 'tokenize: --tokenizer FILE is missing' tokenize
refuse 2 'tokenize: unknown option --tokeniser; did you mean --tokenizer\?' tokenize --tokeniser x
refuse 2 'tokenize: unknown option --qqqqqqqqqqqqqqqqq; .*--help' tokenize --qqqqqqqqqqqqqqqqq=1
refuse 2 'tokenize: --tokenizer needs a value \(FILE\)' tokenize --tokenizer
refuse 2 'tokenize: --tokenizer needs a value \(FILE\)' tokenize --tokenizer --context 5
refuse 2 'tokenize: --context 1: must be from 2 to [0-9]+ tokens' tokenize --tokenizer "$file" --context 1
refuse 2 'tokenize: --context 5x: is not a whole number' tokenize --tokenizer "$file" --context 5x
refuse 2 'tokenize: --context : is not a whole number' tokenize --tokenizer "$file" --context=
refuse 2 'tokenize: --context 99999999999999999999: is not' tokenize --tokenizer "$file" --context 99999999999999999999
refuse 2 'tokenizer: --train takes no value' tokenizer --train=yes
refuse 2 'tokenize: takes no arguments' tokenize --tokenizer "$file" -- --context
refuse 1 'absent: cannot open' tokenize --tokenizer "$work/absent"
run 0 tokenize --tokenizer="$file" --context=2 </dev/null

# whatever multiplies, compares or decodes reads TANDEM_ISA in the same way: one message, before any work
for command in pack train eval embed search bench tokenize; do
    TANDEM_ISA=sse9 refuse 1 'environment: TANDEM_ISA is "sse9", not one of generic, avx2, avx512, avx512_bf16' "$command" --out "$work/isa"
done
[ ! -e "$work/isa" ] || fail "an unknown TANDEM_ISA was refused after the work had begun"
TANDEM_ISA=generic run 0 bench --help

# a command for one rank refuses two: one line, every rank leaves with code 2
code=0
timeout 60 "$MPIEXEC" --oversubscribe -n 2 "$TANDEM" tokenize --tokenizer "$file" </dev/null >"$work/out" 2>"$work/err" || code=$?
[ "$code" -eq 2 ] || fail "two ranks: exit code $code: $(cat "$work/err")"
[ "$(grep -c '^tandem: ' "$work/err")" -eq 1 ] || fail "two ranks: not one line: $(cat "$work/err")"
has "$work/err" '^tandem: rank 0/2 on .*: tandem tokenize runs on one rank, not on 2'

# what other programs call these options
refuse 2 'train: unknown option --output; did you mean --out\?' train --output x
refuse 2 'train: unknown option --output-dir; did you mean --out\?' train --output-dir x
refuse 2 'eval: unknown option --checkpoint; did you mean --model\?' eval --checkpoint x
refuse 2 'eval: unknown option --dataset; did you mean --data\?' eval --dataset x
refuse 2 'embed: unknown option --gallery; did you mean --data\?' embed --gallery x
refuse 2 'embed: unknown option --batch-size; did you mean --batch\?' embed --batch-size 3
refuse 2 'search: unknown option --topk; did you mean --top\?' search --topk 3
refuse 2 'import: unknown option --weights; did you mean --from\?' import --weights x
refuse 2 'export: unknown option --out; did you mean --to\?' export --out x
# search takes its gallery as --data, too
refuse 1 'absent' search --data "$work/absent" --model "$work/absent" "red"
