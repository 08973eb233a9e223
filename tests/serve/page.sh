#!/usr/bin/env bash
# The page of tandem serve over a gallery with hostile captions, classes and file names.
#   page.sh html      without a browser: page.py
#   page.sh browser   in Chromium: page_browser.py; exit code 77 where there is none
. "$(dirname "$0")/../cli/common.sh"
here=$(dirname "$(readlink -f "$0")")
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

python3 "$here/page_gallery.py" "$work"
if [ "${1:-}" = browser ]; then
    python3 "$here/page_browser.py" --find || exit 77
fi
run 0 pack --format csv --class-column category --class-separator '' --split val --out "$work/data" "$work/pairs.csv"
run 0 tokenizer --train --vocab-size 600 --split val --out "$work/bpe" "$work/data"
cat >"$work/run.cfg" <<'CFG'
model: { name = "tiny"; embed_dim = 32; activation = "gelu";
  image: { height_px = 32; width_px = 32; patch_px = 8; width = 32; layers = 1; heads = 2; };
  text: { context_length = 24; vocab_size = 600; width = 32; layers = 1; heads = 2; }; };
train: { batch = 8; steps = 2; precision = "f32"; };
CFG
run 0 train --config "$work/run.cfg" --set "data.dir=$work/data" --set data.split=val --set "model.tokenizer=$work/bpe" --out "$work/run"

"$TANDEM" serve --model "$work/run" --gallery "$work/data" --title "Discs & <more>" --port 0 --rate 0 --max-body 1 2>"$work/log" &
server=$!
url=
for _ in $(seq 600); do
    url=$(sed -n 's/.*serving \(http:[^ ]*\)/\1/p' "$work/log")
    [ -z "$url" ] || break
    kill -0 "$server" 2>/dev/null || fail "tandem serve ended: $(cat "$work/log")"
    sleep 0.1
done
[ -n "$url" ] || fail "tandem serve says no address: $(cat "$work/log")"

if [ "${1:-}" = browser ]; then
    python3 "$here/page_browser.py" "$url" "$work/facts.json" "${@:2}" || fail "in the browser; the server: $(cat "$work/log")"
else
    python3 "$here/page.py" "$url" "$work/facts.json" || fail "the page; the server: $(cat "$work/log")"
fi
kill "$server"
wait "$server" || fail "tandem serve ends with an error: $(cat "$work/log")"
server=
