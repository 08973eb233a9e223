#!/usr/bin/env bash
# tandem serve on a small trained model: what it answers, what it refuses, and how it ends; on one rank and on two.
. "$(dirname "$0")/../run/common.sh"
: "${MAKE_SHAPES:?path of make_shapes}"
server=''
trap '[ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME=$work/cache

ask() { "${CLIENT_PYTHON:-python3}" "$here/../serve/client.py" "$url" "$@" || fail "$*: $(tail -3 log)"; }

# begin RANKS ARG…: a server at a free port; $url, $server (the launcher, if there is one)
begin() {
    local n=$1 launcher=()
    shift
    [ "$n" -eq 1 ] || launcher=("$MPIEXEC" --oversubscribe -n "$n")
    : >log
    "${launcher[@]}" "$TANDEM" serve --model run --port 0 --rate 0 --max-body 1 "$@" 2>log &
    server=$!
    until url=$(sed -n 's|^serving \(http://[^/]*/\).*|\1|p' log) && [ -n "$url" ]; do
        kill -0 "$server" 2>/dev/null || fail "serve $*: $(cat log)"
        sleep 0.05
    done
    url=${url/\/\/*:/\/\/127.0.0.1:}
}
# end CODE [PID]: SIGTERM ends it with this code; PID gone: it has got it already
end() {
    local code=0
    [ "${2:-}" = gone ] || kill -TERM "${2:-$server}"
    wait "$server" || code=$?
    server=''
    [ "$code" -eq "$1" ] || fail "exit code $code, not $1: $(cat log)"
}
refuse() {
    local pattern=$1 code=0
    shift
    "$TANDEM" serve --model run "$@" 2>err || code=$?
    [ "$code" -ne 0 ] || fail "serve $*: not refused"
    [ "$(grep -c '^tandem: ' err)" -eq 1 ] || fail "serve $*: not one line: $(cat err)"
    grep -qF -- "$pattern" err || fail "serve $*: no \"$pattern\" in: $(cat err)"
}

"$MAKE_SHAPES" data
"$TANDEM" tokenizer --train --vocab-size 560 --out bpe.txt data 2>log || fail "tokenizer: $(cat log)"
cat >run.cfg <<CFG
seed = 5;
data: { dir = "data"; split = "train"; workers = 1; };
model: {
  name = "tiny"; embed_dim = 32; activation = "gelu"; tokenizer = "bpe.txt";
  image: { height_px = 32; width_px = 32; patch_px = 8; width = 32; layers = 1; heads = 2; };
  text: { context_length = 16; vocab_size = $(($(grep -vc '^#' bpe.txt) + 514)); width = 32; layers = 1; heads = 2; };
};
train: { batch = 64; steps = 20; precision = "f32"; log_every = 20; };
optim: { lr = 3e-3; warmup_steps = 10; };
checkpoint: { every_minutes = 0.0; };
CFG
"$TANDEM" train --config run.cfg --out run 2>log || fail "train: $(tail -3 log)"
"$TANDEM" search --model run --gallery data --split test -k 20 --json told.json "a red disc" >found.txt 2>log || fail "search: $(cat log)"

begin 1 --gallery data --split test --access-log access.txt
ask answers told.json
ask hostile
ask many
ask dump one.json
if [ -n "${CLIENT_PYTHON:-}" ]; then # of tests/reference/serve.py
    end 0
    exit
fi
ask stop "$server"
end 0 gone
grep -q '"GET /api/search?q=a+red+disc.*" 200 ' access.txt || fail "access log: $(head -3 access.txt)"

begin 1 --gallery data --split test --timeout 0.5
ask slow 5
end 0
begin 1 --gallery data --split test --rate 5
ask rate
end 0
begin 1 --gallery data --split test --address 0.0.0.0 --token-file token
ask token token
end 0
! grep -q "$(cat token)" log || fail "the log shows the token of a file: $(cat log)"

# a folder of pictures
mkdir folder
python3 - "$here" <<'PY'
import struct, zlib
def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
for i, colour in enumerate((b"\xff\0\0", b"\0\xff\0", b"\0\0\xff")):
    rows = (b"\0" + colour * 40) * 40
    open(f"folder/{i}.png", "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 40, 8, 2, 0, 0, 0)) +
                                        chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
PY
begin 1 --gallery folder
found=$(curl -sf "$url"api/search?q=red) || fail "a folder: $(cat log)"
[ "$(grep -o '"name":"[0-2].png"' <<<"$found" | sort -u | wc -l)" -eq 3 ] || fail "a folder: $found"
curl -sf "$url"image/1 | cmp - folder/1.png || fail "a folder's picture"
end 0

# two ranks: the same answers; the request to stop may go to any of them
ranks 2 embed --model run --data data --split test --out embeddings 2>log || fail "embed: $(tail -3 log)"
begin 2 --gallery embeddings
ask dump two.json
for n in one two; do sed 's/"gallery": "[^"]*"/"gallery": ""/; s/"title": "[^"]*"/"title": ""/' $n.json >$n.txt; done
cmp one.txt two.txt || fail "two ranks answer otherwise"
mapfile -t pid < <(pgrep -P "$server" -f "tandem serve")
[ ${#pid[@]} -eq 2 ] || fail "not two ranks: ${pid[*]}"
end 0 "${pid[1]}"
# one that is silent ends the job
begin 2 --gallery embeddings --stall 1
mapfile -t pid < <(pgrep -P "$server" -f "tandem serve")
kill -STOP "${pid[1]}"
code=0
wait "$server" || code=$?
server=''
[ "$code" -ne 0 ] || fail "a silent rank: exit code 0: $(cat log)"
grep -q "has not answered for 1 s (--stall)" log || fail "a silent rank: $(cat log)"

refuse "must be a numeric address" --gallery data --split test --address nowhere
refuse "cannot make the token file" --gallery data --split test --token-file none/token --port 0
refuse "cannot write the access log" --gallery data --split test --access-log none/log --port 0
refuse "train, test" --gallery data --split val
begin 1 --gallery data --split test
refuse "Address already in use" --gallery data --split test --port "$(sed 's|.*:||; s|/||' <<<"$url")"
end 0
echo "the server answers, refuses and ends as it should"
