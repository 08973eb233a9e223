#!/usr/bin/env bash
# tandem eval --compare: what it writes, that ranks and kinds of files do not matter, and one line for each bad input.
. "$(dirname "$0")/../run/common.sh"
cd "$work"

refuse() { # PATTERN CODE ARG…
    local pattern=$1 want=$2 code=0
    shift 2
    "$TANDEM" eval "$@" >out 2>err || code=$?
    [ "$code" -eq "$want" ] || fail "eval $*: exit code $code: $(cat err)"
    [ "$(wc -l <err)" -eq 1 ] || fail "eval $*: not one line: $(cat err)"
    grep -qF -- "$pattern" err || fail "eval $*: no \"$pattern\" in: $(cat err)"
}

# Forty queries in another order, one name that needs quotes and escapes, one query in each file alone, one without values.
python3 - <<'PY'
import csv, random
random.seed(7)
queries = [f"q{i}" for i in range(40)] + ['a, "50%" <b>']
base = {q: (random.random() < 0.5, random.randint(1, 30)) for q in queries}
def write(name, better, extra, clusters):
    rows = [(q, *base[q]) for q in queries]
    random.shuffle(rows)
    with open(name, "w", newline="") as out:
        w = csv.writer(out)
        w.writerow(["query"] + ["cluster"] * clusters + ["recall_at_1", "mean_rank", "median_rank", "own score", name])
        for q, hit, rank in rows:
            better_rank = max(1, rank - random.randint(0, 12)) if better else rank
            cluster = [f"group {queries.index(q) // 2}"] * clusters
            w.writerow([q] + cluster + [float(better_rank < 4), better_rank, better_rank, 5 + 1 / better_rank, 0])
        w.writerow([extra] + ["alone"] * clusters + [1, 1, 1, 1, 1])
        w.writerow(["empty"] + ["nothing"] * clusters + ["", "", "", "", ""])
write("a.csv", False, "only a", True)
write("b.csv", True, "only b", True)
write("plain.csv", True, "only c", False)
PY

compare=(--compare base=a.csv "new & 100%=b.csv" plain.csv --permutations 20000 --resamples 500 --changed 3)
for n in 1 2; do
    ranks "$n" eval "${compare[@]}" --json "c$n.json" --html "c$n.html" --latex "c$n.tex" 2>log || fail "compare on $n ranks: $(cat log)"
done
for kind in json html tex; do cmp "c1.$kind" "c2.$kind" || fail "c.$kind depends on the ranks"; done
for word in "new & 100% against base:" "largest gains in R@1:" "41 queries in 21 clusters; 20000 permutations" \
    "a.csv: 1 of 43 queries are not in all files and are left out, first only a" "1 queries have no value"; do
    grep -qF -- "$word" log || fail "no \"$word\" in: $(cat log)"
done
python3 - <<'PY' || fail "comparison: $(head -c 4000 c1.json)"
import csv, json
c = json.load(open("c1.json"))
table = {name: {row["query"]: row for row in csv.DictReader(open(name))} for name in ("a.csv", "b.csv")}
shared = [q for q in table["a.csv"] if q in table["b.csv"] and q != "empty"]
assert c["queries"] == len(shared) == 41 and c["clusters"] == 21 and c["without_value"] == 1 and c["tests"] == 6
assert [s["name"] for s in c["systems"]] == ["base", "new & 100%", "plain.csv"]
assert [s["not_in_all_files"] for s in c["systems"]] == [1, 1, 1]
one = c["comparisons"][0]
assert list(one["metrics"]) == ["recall_at_1", "median_rank", "mean_rank", "own score"]
for name, metric in one["metrics"].items():
    before, after = ([float(table[t][q][name]) for q in shared] for t in table)
    difference = [b - a for a, b in zip(before, after)]
    sign = -1 if name.endswith("rank") else 1
    assert metric["better"] == sum(sign * d > 0 for d in difference)
    assert metric["worse"] == sum(sign * d < 0 for d in difference)
    assert metric["equal"] == sum(d == 0 for d in difference)
    low, high = metric["interval"]
    if name == "median_rank":
        assert metric["p"] is None and metric["p_holm"] is None
        continue
    assert abs(metric["difference"] - sum(difference) / 41) < 1e-12 and low <= metric["difference"] <= high
    if name != "recall_at_1":
        assert metric["p"] == 1 / 20001 and metric["p_holm"] == 6 / 20001 and not metric["exact"]
gain = one["gains"]
assert 0 < len(gain) <= 3 and all((g["before"], g["after"]) == (0, 1) for g in gain) and not one["losses"]
# The same files without clusters: queries alone.
assert c["comparisons"][1]["metrics"].keys() == one["metrics"].keys()
PY
grep -qF '& base & new \& 100\% &' c1.tex || fail "LaTeX: $(cat c1.tex)"
grep -qF 'new &amp; 100%' c1.html || fail "HTML lacks the name"
"$TANDEM" eval "${compare[@]}" --alone --changed-by mean_rank --json alone.json 2>log || fail "--alone: $(cat log)"
grep -q '"clusters": 41' alone.json || fail "--alone: $(cat alone.json)"
grep -q '"changed_by": "mean_rank"' alone.json || fail "--changed-by: $(cat alone.json)"
"$TANDEM" eval --compare a.csv b.csv --metrics recall_at_1 --json one.json 2>log || fail "--metrics: $(cat log)"
grep -q '"tests": 1,' one.json || fail "--metrics: $(cat one.json)"

# HDF5 and CSV say the same; queries that nothing happened to have p = 1.
cp "$here"/../golden/embeddings/* .
for kind in csv h5; do
    for distance in cosine euclidean; do
        "$TANDEM" eval --query query.npy --gallery gallery.npy --query-labels query_labels.txt --gallery-labels gallery_labels.txt \
            --query-clusters query_labels.txt --distance "$distance" --per-query "$distance.$kind" >/dev/null 2>&1
    done
    "$TANDEM" eval --compare "a=cosine.$kind" "b=euclidean.$kind" "c=cosine.$kind" >"$kind.json" 2>log || fail "$kind: $(cat log)"
    sed -i "s/\.$kind//" "$kind.json"
done
cmp csv.json h5.json || fail "HDF5 and CSV differ"
python3 -c '
import json
result = json.load(open("csv.json"))
one, same = result["comparisons"][0]["metrics"], result["comparisons"][1]["metrics"].values()
# Precision at 1 is Recall at 1: one test.
assert one["recall_at_1"] == one["precision_at_1"] and 1 < result["tests"] < 17
assert all(m["p"] in (1, None) and m["interval"] == [0, 0] and m["better"] == m["worse"] == 0 for m in same)
' || fail "a system against itself: $(cat csv.json)"

refuse "--compare takes two files or more" 2 --compare a.csv
refuse 'takes options only, not "b.csv"' 2 --query a.npy --gallery b.npy b.csv
refuse "--latex needs --task compare" 2 --query a.npy --gallery b.npy --latex x.tex
refuse "--compare takes files of --per-query" 2 --compare a.csv b.csv --split test
refuse "absent.csv: no such file" 1 --compare a.csv absent.csv
refuse "query.npy: is neither a CSV nor HDF5" 1 --compare a.csv query.npy
refuse 'not all files have a column "map"' 2 --compare a.csv b.csv --metrics map
refuse "recall_at_1 stands there twice" 2 --compare a.csv b.csv --metrics recall_at_1,recall_at_1
refuse '--changed-by: "map" is not among' 2 --compare a.csv b.csv --metrics recall_at_1 --changed-by map
refuse "--permutations 0: must be from 1" 2 --compare a.csv b.csv --permutations 0
bad() { # PATTERN TEXT
    printf '%b' "$2" >bad.csv
    refuse "$1" 1 --compare bad.csv bad.csv
}
bad 'has no column "query"' 'id,map\n1,2\n'
bad "holds 0 queries and 1 metrics" 'query,map\n'
bad "line 3 has 3 fields, the first line has 2" 'query,map\n1,2\n2,3,4\n'
bad 'line 2, column map: "high" is not a finite number' 'query,map\n1,high\n'
bad 'line 2, column map: "inf"' 'query,map\n1,inf\n'
bad "line 3: a quote is not closed" 'query,map\n1,1\n"2,2\n'
bad "line 2: text behind a closing quote" 'query,map\n"1"x,1\n'
bad 'has the query "1" twice' 'query,map\n1,1\n1,2\n'
bad 'has the column "map" twice' 'query,map,map\n1,1,2\n'
bad "no query has values in all files" 'query,map\n1,\n'
bad "holds a NUL" 'query,map\n1,\0\n'
printf 'query,cluster,map\n1,x,1\n2,y,1\n' >one.csv
printf 'query,cluster,map\n1,x,1\n2,x,1\n' >two.csv
refuse "query 2 belongs to cluster y in one.csv, to x in two.csv" 1 --compare one.csv two.csv
head -c 900 cosine.h5 >cut.h5
refuse "cut.h5" 1 --compare cosine.h5 cut.h5
echo "systems are compared"
