#!/usr/bin/env bash
# tandem eval (both tasks), embed and search on a small trained model: the same results on 1 to 4 ranks, from a data set
# or from stored embeddings; and one line for each bad input.
. "$(dirname "$0")/../run/common.sh"
: "${MAKE_SHAPES:?path of make_shapes}"
cd "$work"

# refuse PATTERN CODE ARG…: exit code CODE and exactly one line on standard error, which holds PATTERN
refuse() {
    local pattern=$1 want=$2 code=0
    shift 2
    "$TANDEM" "$@" >out 2>err || code=$?
    [ "$code" -eq "$want" ] || fail "tandem $*: exit code $code: $(cat err)"
    [ "$(wc -l <err)" -eq 1 ] || fail "tandem $*: not one line: $(cat err)"
    grep -qF -- "$pattern" err || fail "tandem $*: no \"$pattern\" in: $(cat err)"
}
has() {
    grep -qF -- "$2" "$1" || fail "$1 does not hold \"$2\": $(head -c 2000 "$1")"
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
train: { batch = 64; steps = 60; precision = "f32"; log_every = 20; };
optim: { lr = 3e-3; warmup_steps = 10; };
eval: { positives = "identity"; dir = "data"; split = "train"; every_epochs = 0; metrics = "recall_at_20,nDCG@3,r_sum"; };
checkpoint: { every_minutes = 0.0; best_metric = "r_sum"; };
CFG
"$TANDEM" train --config run.cfg --out run 2>log || fail "train: $(tail -3 log)"
has run/report.html "<svg"
has run/report.html ">Recall@20</td>"
for word in '"recall_at_20":' '"ndcg_at_3":' '"r_sum":'; do has run/metrics.jsonl "$word"; done

# Metrics and pages do not depend on the ranks.
for n in 1 2 3 4; do
    ranks "$n" eval --model run --data data --split test --json "eval$n.json" --html "eval$n.html" --queries 5 -k 6 \
        --per-class --curves --projection pca,tsne --points 150 --intervals 0.9 --resamples 300 --per-query "each$n.csv" 2>log ||
        fail "eval on $n ranks: $(tail -3 log)"
    cmp eval1.json "eval$n.json" || fail "eval.json on $n ranks differs"
    cmp eval1.html "eval$n.html" || fail "page on $n ranks differs"
    for way in text_to_image image_to_text; do
        cmp "each1.$way.csv" "each$n.$way.csv" || fail "figures of each query on $n ranks differ"
    done
    has log "runs on 1 node x $n rank"
done
# Folds, macro averages and other orders stand beside the others, which stay as they are.
for n in 1 3; do
    ranks "$n" eval --model run --data data --split test --json "folds$n.json" --per-class --curves --macro --folds 3 \
        --rerank "k_reciprocal(k1=6), query_expansion(k=2)" --html "folds$n.html" --queries 2 -k 2 2>log ||
        fail "eval --folds on $n ranks: $(tail -3 log)"
done
cmp folds1.html folds3.html || fail "the page with other orders depends on the ranks"
has log "k_reciprocal(k1=6, k2=6, lambda=0.3, candidates=0), image to text: R@1"
cmp folds1.json folds3.json || fail "folds, macro averages or other orders depend on the ranks"
python3 - <<'PY' || fail "folds, macro averages and orders: $(head -c 3000 folds1.json)"
import json
plain, more = (json.load(open(name)) for name in ("eval1.json", "folds1.json"))
folds = more.pop("folds")
orders = more.pop("reranked")
assert [order["name"] for order in orders] == ["k_reciprocal", "query_expansion"]
for order in orders:
    for direction in ("text_to_image", "image_to_text"):
        assert order[direction]["queries"] == plain[direction]["queries"]
    assert abs(order["average"]["map"] - (order["text_to_image"]["map"] + order["image_to_text"]["map"]) / 2) < 1e-15
assert any(order[d]["map"] != plain[d]["map"] for d in ("text_to_image", "image_to_text"))  # of the second
page = open("folds1.html").read()
columns = [one[d] for d in ("text_to_image", "image_to_text") for one in (plain, *orders)]
assert page.count("<th>plain</th><th>k_reciprocal(k1=6, ") == 2
assert "<td>mAP</td>" + "".join("<td>%.4f</td>" % one["map"] for one in columns) in page
both, sides = more["average"].pop("macro"), [more[d]["macro"] for d in ("text_to_image", "image_to_text")]
assert both.pop("by") == "class" and set(both) == set(sides[0]) - {"by", "groups", "without_positive"}
for key in both:
    assert abs(both[key] - (sides[0][key] + sides[1][key]) / 2) < 1e-12, key
means, each = folds["text_to_image"], folds["each"]
assert folds["count"] == len(each) == 3 and [f["text_to_image"]["gallery"] for f in each] == [22, 21, 21]
for direction in ("text_to_image", "image_to_text"):
    macro = more[direction].pop("macro")
    classes = [c for c in more[direction]["per_class"] if c["queries"]]
    assert macro["by"] == "class" and macro["groups"] == len(classes) and "median_rank" not in macro
    assert sum(f[direction]["queries"] for f in each) == more[direction]["queries"]
    for key in ("recall_at_1", "map", "mean_rank"):
        assert abs(macro[key] - sum(c[key] for c in classes) / len(classes)) < 1e-12, key
        assert abs(folds[direction][key] - sum(f[direction][key] for f in each) / 3) < 1e-12, key
    assert folds[direction]["recall_at_1"] >= more[direction]["recall_at_1"]  # there are fewer to beat
assert abs(folds["average"]["map"] - (folds["text_to_image"]["map"] + folds["image_to_text"]["map"]) / 2) < 1e-15
for direction in ("text_to_image", "image_to_text"):
    del plain[direction]["intervals"]
assert json.dumps(more) == json.dumps(plain)
PY
for key in model data split text_to_image image_to_text queries gallery without_positive recall_at_1 recall_at_5 recall_at_10 \
    median_rank mean_rank map map_at_r minp; do
    has eval1.json "\"$key\":"
done
has eval1.json '"positives": "identity"'
sed -n '/<h2>Some queries/,/<h2>Worst failures/p' eval1.html >sheet.html
[ "$(grep -o '<img' sheet.html | wc -l)" -eq 30 ] || fail "the sheet does not hold 5 × 6 thumbnails"
[ "$(grep -c '<foreignObject' eval1.html)" -eq 150 ] || fail "the picture does not hold 150 points"
[ "$(grep -o '<foreignObject[^>]*><div><img' eval1.html | wc -l)" -eq "$(grep -c 'href="#image-mark"' eval1.html)" ] ||
    fail "a picture's point has no thumbnail"
for word in "In brackets: 90 % bootstrap intervals" "a random sample: 150 of 192 images and texts, coloured by class" "Precision and scope" "<td>square</td>"; do
    has eval1.html "$word"
done
! grep -q 'https\?://' eval1.html || fail "the sheet refers to the network"
# Chance is 2 in 64 for the first image; 60 steps are far above it.
python3 - <<'PY' || fail "the trained model is no better than chance: $(cat eval1.json)"
import json
m = json.load(open("eval1.json"))["text_to_image"]
assert m["recall_at_5"] > 0.4 and m["queries"] == 128 and m["gallery"] == 64
# Each query has one class. Each scope is as wide as its rank.
by_class = m["per_class"]
assert [c["class"] for c in by_class] == ["square", "disc", "cross", "ring"]
assert abs(sum(c["queries"] * c["map"] for c in by_class) / 128 - m["map"]) < 1e-12
assert [p["rank"] for p in m["precision_scope"]] == [1, 2, 5, 10, 20, 50, 64]
assert m["precision_scope"][0]["precision"] == m["recall_at_1"] and m["precision_recall"][-1]["recall"] == 1
# The figures of each query make those of all; identities are drawn again where they decide what is right.
import csv
for way in ("text_to_image", "image_to_text"):
    m, rows = json.load(open("eval1.json"))[way], list(csv.DictReader(open(f"each1.{way}.csv")))
    between = m["intervals"]
    assert [row["query"] for row in rows] == [str(i) for i in range(m["queries"])]
    assert between["clusters_by"] == "identity" and between["clusters"] == len({row["cluster"] for row in rows}), between
    assert list(between["of"]) == list(rows[0])[2:] and between["resamples"] == 300 and between["level"] == 0.9
    for name, (low, high) in between["of"].items():
        assert low <= m[name] <= high, name
        if name != "median_rank":
            assert abs(sum(float(row[name]) for row in rows) / len(rows) - m[name]) < 1e-12, name
PY
"$TANDEM" eval --model run --data data --split test --positives class --per-class --metrics r_sum,recall_at_3,r_precision \
    >asked.json 2>log || fail "eval --metrics: $(cat log)"
has log "R@3 0."
has log "R-sum "
"$TANDEM" eval --model run --data data --split test --positives class >class.json 2>log || fail "eval by class: $(cat log)"
python3 - <<'PY' || fail "--metrics: $(cat asked.json)"
import json
asked, plain = json.load(open("asked.json")), json.load(open("class.json"))
assert list(asked) == list(plain)[:list(plain).index("average") + 1] + ["r_sum"] + list(plain)[list(plain).index("average") + 1:]
sides = [asked[side] for side in ("text_to_image", "image_to_text")]
assert abs(asked["r_sum"] - sum(side[f"recall_at_{k}"] for side in sides for k in (1, 5, 10))) < 1e-15
for name in ("recall_at_3", "r_precision"):
    assert abs(asked["average"].pop(name) - sum(side.pop(name) for side in sides) / 2) < 1e-15
    assert all(name in row for side in sides for row in side["per_class"])
assert all(side.pop("per_class") for side in sides)
assert {key: asked[key] for key in plain} == plain
PY
has class.json '"positives": "class"'
"$TANDEM" eval --model run --data data --split test --positives class --distance euclidean >far.json 2>log ||
    fail "eval by distance: $(tail -3 log)"
# Unit vectors: the same order, but where two of a gallery are equally near to within a rounding.
python3 - <<'PY' || fail "distance gives another order than cosine: $(cat far.json)"
import json
near, far = json.load(open("class.json")), json.load(open("far.json"))
assert near["distance"] == "cosine" and far["distance"] == "euclidean"
assert all(abs(near[d]["map"] - far[d]["map"]) < 1e-3 for d in ("text_to_image", "image_to_text"))
PY

# In int8: the same on any number of ranks and in any batches, close to f32, and for inference alone.
for n in 1 3; do
    ranks "$n" eval --model run --data data --split test --precision int8 --batch $((40 / n)) --json "int8_$n.json" 2>log ||
        fail "eval in int8 on $n ranks: $(tail -3 log)"
    has log "the first 64 texts embedded in "
    cmp int8_1.json "int8_$n.json" || fail "int8 on $n ranks differs"
done
TANDEM_ISA=avx2 "$TANDEM" embed --model run --data data --split test --precision int8 --out emb8 2>log || fail "embed in int8: $(tail -3 log)"
has log "the first 64 images embedded in "
"$TANDEM" search --model run --gallery emb8 -k 3 --precision int8 --find captions "a red disc" >int8.txt 2>log || fail "search in int8: $(cat log)"
has log "the first 1 texts embedded in "
has int8.txt "a red disc"
"$TANDEM" search --model run --gallery data --split test -k 3 --precision int8 "a red disc" >int8.txt 2>log || fail "search of packed data in int8: $(cat log)"
has log "images embedded in f32, too: cosine mean 0.99"
"$TANDEM" eval --task zeroshot --model run --data data --split test --precision int8 >zero8.json 2>log || fail "zero-shot in int8: $(cat log)"
python3 - <<'PY' || fail "int8: $(cat int8_1.json zero8.json)"
import json
m, plain = json.load(open("int8_1.json")), json.load(open("eval1.json"))
assert m["precision"] == "int8" and plain["precision"] == "f32" and set(m) - set(plain) == {"int8"}
for side in ("image", "text"):
    r = m["int8"][side]
    # Trained for a minute, 32 wide, one block: the error of a real model is a tenth of that.
    assert r["rows"] == 64 and 0.995 < r["cosine_min"] <= r["cosine_mean"] < 1, r
assert abs(m["average"]["map"] - plain["average"]["map"]) < 0.02
assert json.load(open("zero8.json"))["int8"] == m["int8"]
PY
refuse "\"int8\" is not one of auto|f32|bf16" 1 train --config run.cfg --set train.precision=int8 --out never
refuse "--precision int8" 2 probe --model run --data data --split test --precision int8 --out never

# Zero-shot classification: the same on any number of ranks, from the data set's class names or renamed ones.
printf '# prompts\n\na {}\n{} of colour red\n' >templates.txt
printf 'square\ndisc\ncross\nring\n' >names.txt
"$MAKE_SHAPES" mixed mixed
for n in 1 2 3 4; do
    ranks "$n" eval --task zeroshot --model run --data mixed --split mixed --templates templates.txt \
        --json "zero$n.json" --html "zero$n.html" 2>log || fail "zero-shot on $n ranks: $(tail -3 log)"
    has log "6 of 48 images have no class and are left out"
    cmp zero1.json "zero$n.json" || fail "zero-shot JSON on $n ranks differs"
    cmp zero1.html "zero$n.html" || fail "table of classes on $n ranks differs"
    has log "runs on 1 node x $n rank"
done
has zero1.html "By class"
"$TANDEM" eval --task zeroshot --model run --data mixed --split mixed --templates templates.txt --classes names.txt \
    >named.json 2>log || fail "zero-shot with names: $(tail -3 log)"
cmp zero1.json named.json || fail "the data set's own names give another result"
"$TANDEM" eval --task zeroshot --model run --data data --split test >zero.json 2>log || fail "zero-shot: $(tail -3 log)"
python3 - <<'PY' || fail "zero-shot results are wrong: $(cat zero1.json zero.json)"
import json, math
m = json.load(open("zero1.json"))
assert m["task"] == "zeroshot" and m["split"] == "mixed" and m["images"] == 48 and m["without_class"] == 6
assert m["classes"] == len(m["per_class"]) == 4 and m["templates"] == 2 and m["several_classes"] > 0
assert m["top_5"] == 1 and m["classes_without_images"] == 0
assert sum(c["images"] for c in m["per_class"]) == 42 + m["several_classes"]
assert math.isclose(m["mean_per_class"], sum(c["top_1"] for c in m["per_class"]) / 4)
t = json.load(open("zero.json"))
assert [c["name"] for c in t["per_class"]] == ["square", "disc", "cross", "ring"]
assert t["templates"] == 1 and t["images"] == 64 and t["without_class"] == 0
assert math.isclose(t["top_1"], sum(c["top_1"] * c["images"] for c in t["per_class"]) / 64)
PY
# Another name gives another result, and a class of which there are no pictures counts in no mean.
printf 'square\ndisc\ncross\ncross\n' >names.txt
"$TANDEM" eval --task zeroshot --model run --data data --split test --classes names.txt >renamed.json 2>log ||
    fail "zero-shot, renamed: $(tail -3 log)"
has renamed.json '"name": "cross"'
python3 -c 'import json; c = json.load(open("renamed.json"))["per_class"]; assert c[3]["top_1"] == 0' ||
    fail "of two classes of one name the lower one wins: $(cat renamed.json)"

# The same answers from stored embeddings, of any number of ranks, and from the data set itself.
for n in 1 3; do
    ranks "$n" embed --model run --data data --split test --out "emb$n" 2>log || fail "embed on $n ranks: $(tail -3 log)"
    "$TANDEM" search --model run --gallery "emb$n" -k 7 --json "found$n.json" --html "found$n.html" "a red disc" >"found$n.txt" 2>log ||
        fail "search: $(cat log)"
done
# The metrics, too, as of any other embeddings: cosine leaves unit vectors as they are.
"$TANDEM" eval --model run --data data --split test --positives pair --json pair.json 2>log || fail "pairs: $(tail -3 log)"
for n in 1 2; do
    ranks "$n" eval --query emb3:text --gallery emb3:image --json stored.json 2>log || fail "stored: $(tail -3 log)"
    sed -n '/query_to_gallery/,/}/p' stored.json | grep '[0-9],*$' | tr -d , >stored.txt
    sed -n '/text_to_image/,/}/p' pair.json | grep '[0-9],*$' | tr -d , | diff - stored.txt || fail "stored embeddings on $n ranks"
done
[ -e emb3/test-00002.h5 ] || fail "embed on 3 ranks did not write three files"
cmp found1.txt found3.txt || fail "search depends on how many ranks embedded"
"$TANDEM" search --model run --gallery data --split test -k 7 "a red disc" >found0.txt 2>log || fail "search in data: $(cat log)"
cmp found1.txt found0.txt || fail "search in a data set differs from search in its embeddings"
[ "$(wc -l <found1.txt)" -eq 8 ] || fail "not seven results: $(cat found1.txt)"
has found1.html "a red disc"
has found1.json '"rank": 7'
# An image finds itself; captions can be looked for as well.
python3 - <<'PY'
import base64, re
page = open("found1.html").read()
open("query.png", "wb").write(base64.b64decode(re.search(r'<img alt="" src="data:image/png;base64,([^"]*)"', page)[1]))
PY
"$TANDEM" search --model run --gallery emb1 -k 1 --image query.png --html image.html >image.txt 2>log || fail "search by image: $(cat log)"
has image.txt " 1.0000 "
"$TANDEM" search --model run --gallery emb1 -k 3 --find captions "a red disc" >caption.txt 2>log || fail "search of captions: $(cat log)"
has caption.txt " 1.0000 "
has caption.txt "a red disc"
# Without the source the rows are still found.
mv data gone
"$TANDEM" search --model run --gallery emb1 -k 2 "a red disc" >bare.txt 2>log || fail "search without source: $(cat log)"
has log "no captions, names and thumbnails"
[ "$(cut -c1-24 bare.txt)" = "$(head -3 found1.txt | cut -c1-24)" ] || fail "other rows without the source"
mv gone data

# A folder of pictures is what packing it gives, on 1 and 2 ranks; the second call embeds nothing.
export XDG_CACHE_HOME=$work/kept
python3 - <<'PY'
import base64, os, re
for i, png in enumerate(re.findall(r'<img alt="" src="data:image/png;base64,([^"]*)"', open("found1.html").read())):
    name = f"pictures/{'even' if i % 2 == 0 else 'odd'}/\u00fc {i}\n.png"
    os.makedirs(os.path.dirname(name), exist_ok=True)
    open(name, "wb").write(base64.b64decode(png))
    open(name[:-4] + ".txt", "w").write(f"caption {i}\nanother\n")
open("pictures/broken.jpg", "w").write("no picture")
open("queries.txt", "w").write('a red disc\n\nimage:query.png\n{"id": "both", "text": "a red disc", "image": "query.png", "weight": 0.25}\n')
PY
"$TANDEM" pack --format folder --split all --skip-bad --class-level 1 --out packed pictures 2>log || fail "pack: $(tail -3 log)"
"$TANDEM" search --model run --gallery packed -k 7 "a red disc" >packed.txt 2>log || fail "search: $(tail -3 log)"
folder=(search --model run --gallery pictures --class-level 1)
for n in 1 2; do
    ranks "$n" "${folder[@]}" -k 7 --json "folder$n.json" --html folder.html "a red disc" >folder.txt 2>log || fail "folder: $(tail -3 log)"
    cmp packed.txt folder.txt || fail "a folder on $n ranks differs from packing it"
    has log "$([ "$n" = 1 ] && echo "7 embedded now" || echo "0 embedded now"); 0 gone, 1 unreadable"
    has log "unreadable: pictures/broken.jpg: "
done
cmp folder1.json folder2.json || fail "JSON on 2 ranks differs"
[ "$(grep -o '<img' folder.html | wc -l)" -eq 7 ] || fail "the sheet of a folder does not hold 7 thumbnails"
cp "pictures/even/ü 0
.png" pictures/odd/copy.png
"$TANDEM" "${folder[@]}" --class odd --hide-duplicates -k 9 --image query.png --json odd.json >odd.txt 2>log || fail "filter: $(tail -3 log)"
has log "8 pictures: " && has log " 0 embedded now; 0 gone"
for n in 1 2; do
    ranks "$n" "${folder[@]}" -k 3 --queries - --json "many$n.json" --html many.html <queries.txt >many.txt 2>log || fail "queries: $(tail -3 log)"
done
cmp many1.json many2.json || fail "a file of queries on 2 ranks differs"
"$TANDEM" "${folder[@]}" -k 3 --no-cache "a red disc" >one.txt 2>log || fail "--no-cache: $(tail -3 log)"
has log "8 embedded now"
python3 - <<'PY' || fail "search in a folder: $(cat folder1.json odd.json many1.json)"
import json
folder, odd, many = (json.load(open(name)) for name in ("folder1.json", "odd.json", "many1.json"))
assert [one["name"] for one in folder["unreadable"]] == ["broken.jpg"] and folder["split"] == ""
assert folder["results"][0]["caption"].startswith("caption ")
assert odd["classes"] == ["odd"] and all(r["name"].startswith("odd/") for r in odd["results"])
assert odd["results"][0]["score"] > 0.999 and odd["results"][0]["name"] == "odd/copy.png"
assert len(odd["results"]) + odd["hidden"] == 4
text, image, both = many["queries"]
assert image["results"][0]["score"] > 0.999 and both["id"] == "both" and both["weight"] == 0.25
best = {r["name"]: r["score"] for r in text["results"]}
assert [line.split()[1] for line in open("one.txt").read().splitlines()[1:]] == [f"{v:.4f}" for v in best.values()]
PY
has many.txt "query both: a red disc, image query.png"
refuse 'there is no class "disk"; did you mean "disc"?' 2 search --model run --gallery emb1 --class "ring,disk" "a red disc"
refuse '"x" is no number of an identity' 2 search --model run --gallery emb1 --identity x "a red disc"
refuse "has no split" 2 "${folder[@]}" --split test "a red disc"
refuse "no folder is a class" 2 search --model run --gallery emb1 --class-level 1 "a red disc"
printf 'a disc\n{"text": 3}\n' >bad.txt
refuse 'bad.txt: line 2: "text" must be a text' 1 search --model run --gallery emb1 --queries bad.txt
printf 'image:absent.png\n' >bad.txt
refuse "bad.txt: line 1: absent.png: cannot open" 1 search --model run --gallery emb1 --queries bad.txt
printf '\n' >bad.txt
refuse "bad.txt: holds no query" 1 search --model run --gallery emb1 --queries bad.txt
refuse "takes the place of a text" 2 search --model run --gallery emb1 --queries bad.txt "a red disc"

# Every task, metric and way of matching is in the help.
"$TANDEM" eval --help >help.txt
for word in "--task retrieval:" "--task zeroshot:" --templates --positives identity map_at_r mrr --projection: tsne; do has help.txt "$word"; done

# Bad input.
refuse 'did you mean "text_to_image.recall_at_1"?' 1 train --config run.cfg --out bad \
    --set checkpoint.best_metric=text_to_image.recall_at_2
refuse 'eval.metrics: there is no metric "map_at_3"; did you mean map_at_3_hits' 1 train --config run.cfg --out bad \
    --set eval.metrics=map_at_3
refuse "eval.positives friend: must be pair, identity or class" 1 train --config run.cfg --out bad --set eval.positives=friend
refuse "must be pair, identity or class" 2 eval --model run --data data --split test --positives friend
zeroshot=(eval --task zeroshot --model run --data data --split test)
refuse "did you mean zeroshot?" 2 eval --task zershot --model run --data data --split test
refuse "must be one of retrieval|zeroshot" 2 eval --task 17 --model run --data data --split test
refuse "--projection needs --html" 2 eval --model run --data data --split test --projection pca
refuse 'there is no "umap"' 2 eval --model run --data data --split test --html x.html --projection pca,umap
refuse "--templates needs --task zeroshot" 2 eval --model run --data data --split test --templates templates.txt
refuse "--classes needs --task zeroshot" 2 eval --model run --data data --split test --classes names.txt
refuse "--top needs --task retrieval" 2 "${zeroshot[@]}" -k 3
refuse "--positives needs --task retrieval" 2 "${zeroshot[@]}" --positives class
printf 'a {}\na picture\n' >bad.txt
refuse 'bad.txt:2: template "a picture" has no {}' 1 "${zeroshot[@]}" --templates bad.txt
printf '# nothing\n' >bad.txt
refuse "bad.txt: holds no template" 1 "${zeroshot[@]}" --templates bad.txt
printf 'square\ndisc\n' >bad.txt
refuse "bad.txt: holds 2 class names, the data set has 4 classes" 1 "${zeroshot[@]}" --classes bad.txt
refuse "absent.txt" 1 "${zeroshot[@]}" --templates absent.txt
refuse "train, test" 1 eval --task zeroshot --model run --data data --split val
mkdir plain && cp query.png plain/one.png && echo "a red disc" >plain/one.txt
"$TANDEM" pack --format folder --split test --out classless plain 2>log || fail "pack: $(cat log)"
refuse "has no classes to tell apart" 1 eval --task zeroshot --model run --data classless --split test
refuse "nosuch" 1 eval --model nosuch --data data --split test
refuse "train, test" 1 eval --model run --data data --split val
refuse "--split" 2 search --model run --gallery data "a red disc"
refuse "give one text, --image FILE, both, or --queries FILE" 2 search --model run --gallery emb1
refuse "the text is empty" 2 search --model run --gallery emb1 "  "
refuse "run.cfg" 1 search --model run --gallery emb1 --image run.cfg
refuse "neither embeddings" 1 search --model run --gallery run "a red disc"
refuse "packed data set" 2 embed --model run --data data --split test --out data
head -c 3000 emb3/test-00001.h5 >short && mv short emb3/test-00001.h5
refuse "emb3/test-00001.h5" 1 search --model run --gallery emb3 "a red disc"
sed 's/seed = 5/seed = 6/; s/steps = 60/steps = 1/' run.cfg >other.cfg
"$TANDEM" train --config other.cfg --out other 2>log || fail "train: $(tail -3 log)"
refuse "another model" 1 search --model other --gallery emb1 "a red disc"

# The page shows the worst failures, and what has changed most since another run.
"$TANDEM" eval --model other --data data --split test --positives pair --per-query other.csv >/dev/null 2>log || fail "eval: $(tail -3 log)"
for n in 1 2; do
    ranks "$n" eval --model run --data data --split test --positives pair --per-query run.csv --compare-with other.csv \
        --html "changes$n.html" -k 2 --queries 3 --failures 5 --changed 4 >/dev/null 2>log || fail "changes: $(tail -3 log)"
done
cmp changes1.html changes2.html || fail "the page of changes on 2 ranks differs"
python3 - <<'PY' || fail "the page of changes: $(grep -o '<span>[^<]*</span>' changes1.html)"
import csv, re
page = open("changes1.html").read()
def of(name): return list(csv.DictReader(open(f"{name}.text_to_image.csv")))
now, before = of("run"), of("other")
part = dict(re.findall(r"<h2>(Some queries|Worst failures|Largest gains|Largest losses)</h2>(.*?)(?=<h2>(?:Worst|Largest)|$)", page, re.S))
def notes(title): return re.findall(r"</h2><span>([^<]*)</span>", part[title])
worst = sorted((-float(row["mean_rank"]), int(row["query"])) for row in now)[:5]
assert notes("Worst failures") == [f"first match at rank {-rank:.0f}" for rank, _ in worst if rank < -1]
gain = [float(a["map"]) - float(b["map"]) for a, b in zip(now, before)]
for way, title in ((-1, "Largest gains"), (1, "Largest losses")):
    order = [q for q in sorted(range(len(gain)), key=lambda q: (way * gain[q], q)) if way * gain[q] < 0][:4]
    assert notes(title) == [f"map {float(now[q]['map']):.4g}, was {float(before[q]['map']):.4g}" for q in order], title
assert part["Some queries"].count("<section>") == 3 and len(notes("Largest gains")) == 4
PY
refuse "--compare-with needs --html" 2 eval --model run --data data --split test --compare-with other.csv
refuse "has no column ndcg" 1 eval --model run --data data --split test --compare-with other.csv --html x.html --changed-by ndcg
refuse "absent.csv" 1 eval --model run --data data --split test --compare-with absent.csv --html x.html
echo "eval, embed and search agree"
