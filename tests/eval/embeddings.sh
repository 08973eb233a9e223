#!/usr/bin/env bash
# tandem eval --query FILE --gallery FILE: NumPy's figures, a run and a table that do not depend on the ranks, and one line
# for each bad input. The files are made by tests/reference/embeddings.py.
. "$(dirname "$0")/../run/common.sh"
cp "$here"/../golden/embeddings/* "$here"/../golden/rerank/* "$work"
cd "$work"

refuse() { # PATTERN CODE ARG…
    local pattern=$1 want=$2 code=0
    shift 2
    "$TANDEM" eval "$@" >out 2>err || code=$?
    [ "$code" -eq "$want" ] || fail "eval $*: exit code $code: $(cat err)"
    [ "$(wc -l <err)" -eq 1 ] || fail "eval $*: not one line: $(cat err)"
    grep -qF -- "$pattern" err || fail "eval $*: no \"$pattern\" in: $(cat err)"
}
# figures JSON EXPECTED: 15 digits, since sums of NumPy have another order
figures() {
    awk 'NR == FNR { want[$1] = $2; n++; next }
         { gsub(/[",:]/, ""); if ($1 in want) { d = $2 - want[$1]; if (d < 0) d = -d; if (d <= 1e-12 * (1 + want[$1])) seen++; else print $1, $2, want[$1] } }
         END { if (n < 15 || seen != n) { print seen + 0, "of", n, "agree"; exit 1 } }' "$2" "$1" || fail "$1 is not $2"
}

both=(--query query.npy --gallery gallery.npy)
judged=("${both[@]}" --query-ids query_ids.txt --gallery-ids gallery_ids.npy --qrels qrels)
for n in 1 2; do
    ranks "$n" eval "${judged[@]}" --json "qrels$n.json" --run-out "run$n" --depth 7 --per-query "each$n.csv" 2>log ||
        fail "eval on $n ranks: $(cat log)"
done
for file in qrels1.json run1 each1.csv; do cmp "$file" "${file/1/2}" || fail "$file depends on the ranks"; done
figures qrels1.json expected_qrels.txt
for word in '"of_unknown_queries": 1' '"of_documents_not_in_gallery": 2' '"queries_without_judgement": 1' '"positives": "qrels"'; do
    grep -qF "$word" qrels1.json || fail "no $word in $(cat qrels1.json)"
done
grep -q "documents that are not in the gallery, first gone/" log || fail "no unknown documents in: $(cat log)"
[ "$(wc -l <run1)" -eq 63 ] || fail "run: $(wc -l <run1) lines"
grep -q '^q000 Q0 doc/[0-9]* 1 [0-9.e-]* tandem$' run1 || fail "run: $(head -1 run1)"
grep -q '^q004,,,' each1.csv || fail "a query without judgement has figures"
"$TANDEM" eval "${both[@]}" --query-labels query_labels.txt --gallery-labels gallery_labels.txt --distance euclidean \
    --per-query each.h5 >labels.json 2>log || fail "labels: $(cat log)"
figures labels.json expected_labels.txt
# Labels as groups, their folds, several labels of a row: NumPy's figures, the same bytes on two ranks.
one=("${both[@]}" --query-labels query_labels.txt --gallery-labels gallery_labels.txt --distance euclidean)
several=("${one[@]}" --query-labels query_sets.txt --gallery-labels gallery_sets.npy --label-separator '|')
junk=("${one[@]}" --query-cameras query_cameras.npy --gallery-cameras gallery_cameras.txt --junk-label "class 0")
for n in 1 2; do
    ranks "$n" eval "${junk[@]}" --json "junk$n.json" --run-out "junkrun$n" --depth 5 2>log || fail "junk: $(cat log)"
    ranks "$n" eval "${one[@]}" --per-class --macro --folds 2 --json "one$n.json" 2>log || fail "folds: $(cat log)"
    ranks "$n" eval "${several[@]}" --per-class --macro --json "several$n.json" 2>log || fail "several: $(cat log)"
done
[ "$(wc -l <junkrun1)" -eq 45 ] || fail "a run without junk: $(cat junkrun1)"
for file in one1.json several1.json junk1.json junkrun1; do cmp "$file" "${file/1/2}" || fail "$file depends on the ranks"; done
python3 - <<'PY' || fail "groups: $(cat one1.json several1.json)"
import json
expected = json.load(open("expected_groups.json"))
def check(got, want, what):
    for key, value in want.items():
        assert abs(got[key] - value) <= 1e-12 * (1 + abs(value)), (what, key, got[key], value)
junk = expected.pop("junk")
result = json.load(open("junk1.json"))
assert result["junk"] == {"label": "class 0", "gallery_rows_left_out": 23 - junk["gallery"],
                          "pairs_of_one_camera": junk.pop("pairs")}
check(result["query_to_gallery"], junk, "junk")
for name, want in expected.items():
    result = json.load(open(f"{name}1.json"))
    got = result["query_to_gallery"]
    check(got, want["means"], name)
    check(got["macro"], want["macro"], f"{name}, macro")
    table = {line["class"]: line for line in got["per_class"] if line["queries"]}
    assert table.keys() == want["by_label"].keys() and got["macro"]["groups"] == len(got["per_class"])
    for label, values in want["by_label"].items():
        check(table[label], values, f"{name}, {label}")
    if "folds" in want:
        check(result["folds"]["query_to_gallery"], want["mean_of_folds"], "mean of folds")
        assert [len(result["folds"]["each"]), result["folds"]["queries_in_no_fold"]] == [2, 0]
        for fold, values in zip(result["folds"]["each"], want["folds"]):
            check(fold["query_to_gallery"], values, "fold")
plain = json.load(open("labels.json"))
one = json.load(open("one1.json"))
del one["folds"], one["query_to_gallery"]["macro"], one["query_to_gallery"]["per_class"]
assert json.dumps(one) == json.dumps(plain)
PY
"$TANDEM" eval --query query.npy --gallery query.npy --query-labels query_labels.txt --gallery-labels query_labels.txt \
    --exclude-self >self.json 2>log || fail "--exclude-self: $(cat log)"
grep -q '"self": true' self.json || fail "--exclude-self: $(cat self.json)"
# Figures that are asked for stand behind the others, which stay as they are.
asked=recall_at_2,recall_all_at_5,map_at_3_r,ndcg_at_4,r_precision
for n in 1 2; do
    ranks "$n" eval "${judged[@]}" --metrics "$asked" --json "asked$n.json" --per-query "more$n.csv" 2>log ||
        fail "eval --metrics on $n ranks: $(cat log)"
    ranks "$n" eval "${judged[@]}" --json "sure$n.json" --per-query "sure$n.csv" --intervals 0.95 --resamples 200 \
        --query-clusters query_labels.txt 2>log || fail "eval --intervals on $n ranks: $(cat log)"
done
for file in asked1.json more1.csv sure1.json sure1.csv; do
    cmp "$file" "${file/1./2.}" || fail "figures that were asked for depend on the ranks: $file"
done
figures asked1.json expected_qrels.txt
python3 - "$asked" <<'PY' || fail "--metrics $asked: $(cat asked1.json)"
import csv, json, sys
asked = sys.argv[1].split(",")
plain, more = (json.load(open(name))["query_to_gallery"] for name in ("qrels1.json", "asked1.json"))
sure = json.load(open("sure1.json"))["query_to_gallery"]
between = sure.pop("intervals")
assert sure == plain and list(sure) == list(plain)
assert list(more) == list(plain) + asked and {name: more[name] for name in plain} == plain
rows = list(csv.DictReader(open("more1.csv")))
assert list(rows[0])[-len(asked):] == asked
groups = list(csv.DictReader(open("sure1.csv")))
kept = [row for row in groups if row["map"]]
assert [row["cluster"] for row in groups] == open("query_labels.txt").read().split("\n")[:len(groups)]
assert between["clusters_by"] == "cluster" and between["clusters"] == len({row["cluster"] for row in kept}) < len(kept)
for name in asked:
    values = [float(row[name]) for row in rows if row[name]]
    assert len(values) == more["queries"] - more["without_positive"]
    assert abs(sum(values) / len(values) - more[name]) < 1e-15, name
PY
# A gallery in pieces, of half a MiB, and in memory; and one that goes on from what is finished.
python3 - <<'PY'
import array, random
random.seed(4)
rows, width = 70000, 5
head = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (rows, width)
head += " " * (128 - 11 - len(head)) + "\n"
with open("large.npy", "wb") as f:
    f.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode())
    f.write(array.array("f", [random.randint(-9, 9) or 1 for _ in range(rows * width)]).tobytes())
PY
for n in 1 2; do
    [ "$n" = 1 ] && distance=cosine || distance=euclidean
    large=(--query query.npy --gallery large.npy --distance "$distance")
    "$TANDEM" eval "${large[@]}" --json whole.json --run-out whole.run --depth 9 2>log || fail "large: $(cat log)"
    TANDEM_PROGRESS_S=0 ranks "$n" eval "${large[@]}" --memory 1 --json pieces.json --run-out pieces.run --depth 9 2>log ||
        fail "large, in pieces, on $n ranks: $(cat log)"
    for kind in json run; do cmp whole.$kind pieces.$kind || fail "the pieces change the $kind on $n ranks"; done
    grep -q "^ranking: [0-9]* % done, about [0-9]* s left$" log || fail "no progress in: $(cat log)"
done
for memory in 1 64; do
    "$TANDEM" eval "${large[@]}" --memory "$memory" --resume kept.h5 --json kept.json 2>log || fail "--resume: $(cat log)"
    cmp whole.json kept.json || fail "--resume changes the figures"
done
grep -qF "kept.h5: 9 of 9 queries were ranked before" log || fail "nothing was kept: $(cat log)"
"$TANDEM" info kept.h5 >info.txt 2>&1 || fail "kept.h5: $(cat info.txt)"
refuse "kept.h5: is of another evaluation" 1 "${both[@]}" --resume kept.h5
refuse "run1" 1 "${both[@]}" --resume run1

# Other orders stand beside the plain one, which stays as it is.
people=(--query people_query.npy --gallery people_gallery.npy --query-labels people_query_labels.txt
    --gallery-labels people_gallery_labels.txt)
"$TANDEM" eval "${people[@]}" --json plain.json 2>log || fail "people: $(cat log)"
for n in 1 2; do
    mkdir "re$n"
    ranks "$n" eval "${people[@]}" --rerank "k_reciprocal,query_expansion(k=4), k_reciprocal(k1=3)" --run-out "re$n/best.trec" \
        --per-query "re$n/each.csv" --depth 40 --json "re$n/json" 2>log || fail "eval --rerank on $n ranks: $(cat log)"
done
diff -r re1 re2 || fail "re-ranking depends on the ranks"
grep -q 'k_reciprocal(k1=20, k2=6, lambda=0.3, candidates=0): R@1' log || fail "no re-ranked figures in: $(cat log)"
python3 - <<'PY' || fail "--rerank: $(cat re1/json)"
import csv, json, os
plain, result = (json.load(open(name)) for name in ("plain.json", "re1/json"))
entries = result.pop("reranked")
assert result == plain
assert [entry["name"] for entry in entries] == ["k_reciprocal", "query_expansion", "k_reciprocal"]
assert {key: entries[2][key] for key in ("k1", "k2", "lambda")} == {"k1": 3, "k2": 6, "lambda": 0.3}
for entry in entries[:2]:
    for line in open(f"expected_{entry['name']}.txt"):
        key, value = line.split()
        got = entry["query_to_gallery"][key]
        assert abs(got - float(value)) <= 1e-12 * (1 + abs(got)), (entry["name"], key, got, value)
names = ["", ".k_reciprocal", ".query_expansion", ".k_reciprocal_2"]
assert sorted(os.listdir("re1")) == sorted(["json"] + [f"best{n}.trec" for n in names] + [f"each{n}.csv" for n in names])
for name, figures in zip(names, [plain["query_to_gallery"]] + [entry["query_to_gallery"] for entry in entries]):
    lines = [line.split() for line in open(f"re1/best{name}.trec")]
    assert len(lines) == 24 * 40
    for before, line in zip(lines, lines[1:]):
        assert line[0] != before[0] or float(line[4]) <= float(before[4])
    values = [float(row["map"]) for row in csv.DictReader(open(f"re1/each{name}.csv")) if row["map"]]
    assert abs(sum(values) / len(values) - figures["map"]) < 1e-15
PY
# A model fused with itself ranks as before, and one that counts nothing changes nothing.
for weight in 2 0; do
    other=query.npy && [ "$weight" = 2 ] || other=people_query.npy
    gallery=gallery.npy && [ "$weight" = 2 ] || gallery=people_gallery.npy
    rows=(--query people_query.npy --gallery people_gallery.npy) && [ "$weight" = 0 ] || rows=("${both[@]}")
    ranks 2 eval "${rows[@]}" --distance euclidean --fuse-query "$other" --fuse-gallery "$gallery" --fuse-weight "$weight" \
        --run-out pair.trec --json pair.json 2>log || fail "--fuse-query: $(cat log)"
    cut -d' ' -f1-4 pair.trec >pair.want
    cut -d' ' -f1-4 pair.fused.trec | cmp - pair.want || fail "weight $weight: the order"
    python3 - <<'PY' || fail "--fuse-query: $(cat pair.json)"
import json
result = json.load(open("pair.json"))
assert result["fused"]["query_to_gallery"] == result["query_to_gallery"]
PY
done
grep -v -e gone/ -e nobody qrels >there # what a run does not list is missed, what a gallery has not is left out
"$TANDEM" eval "${judged[@]/#qrels/there}" --json there.json 2>log || fail "judgements that are there: $(cat log)"
# A run with all of the gallery has the figures that it comes from, and so has what it is fused to with itself.
"$TANDEM" eval "${judged[@]}" --run-out full.trec --depth 100 >/dev/null 2>log || fail "a full run: $(cat log)"
for n in 1 2; do
    ranks "$n" eval --runs full.trec,full.trec --qrels there --fuse "rrf(k=10),comb_mnz" --run-out "fused$n.trec" \
        --per-query "fused$n.csv" --json "fused$n.json" 2>log || fail "eval --runs on $n ranks: $(cat log)"
    [ "$(wc -l <"fused$n.comb_mnz.trec")" -eq 207 ] || fail "a fused run: $(wc -l "fused$n.comb_mnz.trec")"
done
for file in fused1.json fused1.rrf.csv fused1.rrf.trec; do
    cmp "$file" "${file/1/2}" || fail "$file depends on the ranks"
done
python3 - <<'PY' || fail "--runs: $(cat fused1.json)"
import json
plain, result = (json.load(open(name)) for name in ("there.json", "fused1.json"))
want = plain["query_to_gallery"]
for entry in result["runs"] + result["fused"][:1]:
    assert entry["query_to_gallery"] == want, entry
assert result["qrels"] == plain["qrels"] and result["fused"][0]["k"] == 10
for key, value in want.items():  # ties of two runs stay ties
    assert result["fused"][1]["query_to_gallery"][key] == value, key
PY
# One that is cut short misses what it does not list, and so do judged queries that it has not.
head -3 full.trec >short.trec
"$TANDEM" eval --runs short.trec --qrels qrels --json short.json 2>log || fail "a short run: $(cat log)"
python3 - <<'PY' || fail "a short run: $(cat short.json)"
import json
figures = json.load(open("short.json"))["runs"][0]
positives = {}
for query, _, document, grade in (line.split() for line in open("qrels") if line.strip()):
    positives.setdefault(query, set())
    if int(grade) > 0:
        positives[query].add(document)
found = [line.split()[2] in positives["q000"] for line in open("short.trec")]
ap = sum(sum(found[: i + 1]) / (i + 1) for i in range(3) if found[i]) / len(positives["q000"])
having = sum(bool(p) for p in positives.values())
assert figures["lines"] == 3 and figures["queries_without_lines"] == len(positives) - 1
figures = figures["query_to_gallery"]
assert abs(figures["map"] - ap / having) < 1e-15 and figures["mean_rank"] is None
assert figures["queries"] - figures["without_positive"] == having
PY
"$TANDEM" info each.h5 >info.txt 2>&1 || fail "each.h5: $(cat info.txt)"

refuse "tandem eval: --gallery FILE is missing" 2 --query query.npy
refuse "eval: --data DIR is missing" 2 --split val
refuse "--query needs --task embeddings" 2 --task retrieval "${both[@]}"
refuse "--curves needs --task retrieval" 2 "${both[@]}" --curves
refuse "--model belongs to" 2 "${both[@]}" --model x
refuse 'did you mean recall_all_at_20?' 2 "${both[@]}" --metrics map,recal_all_at_20
refuse "r_sum is made of two directions" 2 "${both[@]}" --metrics r_sum
printf "a\n%.0s" 1 2 3 4 5 6 7 8 9 >nine
refuse "--folds: which fold a row is in goes by its label" 2 "${several[@]}" --folds 2
refuse "--query-cameras and --gallery-cameras go together" 2 "${one[@]}" --query-cameras query_cameras.npy
refuse "--exclude-self goes by the numbers of the rows" 2 "${both[@]}" --exclude-self
refuse "--junk-label goes by labels, --qrels has none" 2 "${judged[@]}" --junk-label x
refuse "--query-cameras: which rows are of one identity" 2 "${several[@]}" --query-cameras query_cameras.npy \
    --gallery-cameras gallery_cameras.txt
refuse "all 9 rows of the gallery have it" 1 --query query.npy --gallery query.npy --gallery-labels nine --junk-label a
refuse "--macro goes by labels, --qrels has none" 2 "${judged[@]}" --macro
refuse "--folds 4 of 3 labels" 2 "${one[@]}" --folds 4
refuse "row 0, column 0 is 2; a matrix of labels" 1 "${both[@]}" --query-labels query.npy --gallery-labels gallery_labels.txt
refuse "both --qrels and --query-labels" 2 "${judged[@]}" --query-labels query_labels.txt
refuse 'there is no "k_reciprocl", did you mean k_reciprocal?' 2 "${both[@]}" --rerank k_reciprocl
refuse "k_reciprocal is defined for --distance cosine and euclidean" 2 "${both[@]}" --distance dot --rerank k_reciprocal
refuse "--rerank takes queries and gallery as different rows" 2 "${both[@]}" --rerank k_reciprocal --exclude-self
refuse "--fuse-query and --fuse-gallery belong together" 2 "${both[@]}" --fuse-query query.npy
refuse "--fuse-query: gallery.npy: has 23 rows, --query has 9" 1 "${both[@]}" --fuse-query gallery.npy --fuse-gallery gallery.npy
refuse "--runs needs --qrels" 2 --runs full.trec
refuse "--data does not go with --runs" 2 --runs full.trec --qrels qrels --data .
refuse 'there is no "combsum", did you mean comb_sum?' 2 --runs full.trec --qrels qrels --fuse combsum
refuse "absent: cannot open" 1 --runs full.trec,absent --qrels qrels
printf 'q0 Q0 d 1 0.5\n' >bad
refuse "--runs: bad: line 1 has 5 fields" 1 --runs bad --qrels qrels
printf 'q0 Q0 d 1 0.5 x\n\nq0 Q0 e 2 nan x\n' >bad
refuse 'bad: line 3: the score "nan" is no finite number' 1 --runs bad --qrels qrels
printf 'q0 Q0 d 1 0.5 x\nq0 Q0 e 2 0.4 x\nq0 Q0 d 3 0.1 x\n' >bad
refuse "bad: lines 1 and 3 both have query q0 and document d" 1 --runs bad --qrels qrels
refuse "--gallery: absent.npy: no such file" 1 --query query.npy --gallery absent.npy
refuse "--gallery: qrels: is no .npy" 1 --query query.npy --gallery qrels
refuse "--gallery: gallery_ids.npy: is text of 1 dimensions" 1 --query query.npy --gallery gallery_ids.npy
refuse "each.h5:/map: has 1 dimensions" 1 --query query.npy --gallery each.h5:/map
refuse "which data set?" 2 --query query.npy --gallery each.h5
refuse "--gallery-ids: query_ids.txt: has 9 lines, --gallery has 23 rows" 1 "${both[@]}" --gallery-ids query_ids.txt
refuse 'row 0 has the id "class' 1 "${both[@]}" --query-ids query_labels.txt
{ head -8 query_ids.txt && echo q003; } >twice
refuse 'rows 3 and 8 have the same id "q003"' 1 "${both[@]}" --query-ids twice
printf 'q000 0 doc/1 1\nq000 doc/2 1\n' >bad
refuse "bad: line 2 has 3 fields" 1 "${judged[@]}" --qrels bad
printf 'q000 0 doc/1 high\n' >bad
refuse 'bad: line 1: the grade "high"' 1 "${judged[@]}" --qrels bad
printf 'q000 0 doc/1 1\n\nq000 0 doc/1 2\n' >bad
refuse "bad: lines 1 and 3 judge the same pair" 1 "${judged[@]}" --qrels bad
printf 'q0 0 doc/1 1\nq000 0 d1 1\n' >bad
refuse "queries not there: q0; documents not there: d1" 1 "${judged[@]}" --qrels bad
# Row 2 becomes NaN, then all zeros, behind the 128 bytes of the header; the width becomes 3.
{ head -c 168 query.npy && printf '\0\0\300\177' && tail -c +173 query.npy; } >nan.npy
refuse "nan.npy: row 2 holds a NaN" 1 --query nan.npy --gallery gallery.npy
{ head -c 168 query.npy && head -c 20 /dev/zero && tail -c +189 query.npy; } >zero.npy
refuse "zero.npy: row 2 is all zeros" 1 --query zero.npy --gallery gallery.npy
LC_ALL=C sed 's/(9, 5)/(15, 3)/' query.npy | LC_ALL=C sed 's/(15, 3), }  /(15, 3), } /' >narrow.npy
refuse "--query narrow.npy has rows of 3, --gallery gallery.npy of 5" 1 --query narrow.npy --gallery gallery.npy
head -c 200 query.npy >cut.npy
refuse "cut.npy" 1 --query cut.npy --gallery gallery.npy
echo "embeddings from files are evaluated"
