# shows: one host has other files under the same path: data, tokenizer, pretrained weights, checkpoint, run directory
#   (the short form: data and checkpoint)
# expected: refused before the first step with one message, exit code 1
# form: short
hosts 2
train h1:1 first --set train.steps=5
cp -r first resumed
train h1:1 second --set train.steps=5 --set seed=6

# differs CASE RUN ARG…: such a run is refused
wrong=''
differs() {
    train h1:1,h2:1 "$2" --set train.steps=10 "${@:3}"
    echo "$1: exit code $code, $(grep '^tandem: ' "$2.log" || echo 'not a word')"
    if [ "$code" -eq 0 ]; then
        wrong+="$1: exit code 0; "
    elif [ "$code" -ne 1 ] || log_says "$2" '^step ' || [ "$(grep -c '^tandem: ' "$2.log")" -ne 1 ]; then
        wrong+="$1: exit code $code, but not with one message before the first step; "
    fi
}
# instead FIRST SECOND: h2 sees the second of $shared in the place of the first
instead() { on h2 mount --bind "$shared/$2" "$shared/$1"; }

instead data other
differs "data" r1
on h2 umount "$shared/data"

instead resumed second
differs "checkpoint" resumed

if [ -z "$short" ]; then
    instead bpe.txt other.txt
    differs "tokenizer" r2
    on h2 umount "$shared/bpe.txt"

    cp -r first weights
    instead weights second
    differs "pretrained weights" r3 --set "model.pretrained=$shared/weights"

    mkdir r5
    private h2 r5
    differs "run directory" r5
fi

[ -z "$wrong" ] || fail "$wrong"
outcome "refused with a message, each"
