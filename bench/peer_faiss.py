#!/usr/bin/env python3
"""Exact top-10 search of FAISS (IndexFlatIP) on random unit vectors: the peer of eval_bench.

    python3 peer_faiss.py --rows 20000 --dim 512 --threads 2 --json FILE

FAISS finds the ten best rows of every query and no metric; eval_bench does the same, and the metrics of all ranks beside it.
Writes {"queries_per_s": [one per repetition]}.
"""

import argparse
import json
import time

import faiss
import numpy

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--rows", type=int, default=20000, help="queries, and gallery")
parser.add_argument("--dim", type=int, default=512)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--json", help="written here, else printed")
args = parser.parse_args()

faiss.omp_set_num_threads(args.threads)
random = numpy.random.default_rng(0)
query, gallery = (random.standard_normal((args.rows, args.dim), dtype=numpy.float32) for _ in range(2))
for side in (query, gallery):
    side /= numpy.linalg.norm(side, axis=1, keepdims=True)
index = faiss.IndexFlatIP(args.dim)
index.add(gallery)
rates = []
for _ in range(args.repeats):
    begin = time.perf_counter()
    index.search(query, 10)
    rates.append(args.rows / (time.perf_counter() - begin))
result = json.dumps({"peer": "faiss", "faiss": faiss.__version__, "rows": args.rows, "dim": args.dim,
                     "threads": args.threads, "queries_per_s": rates})
if args.json:
    with open(args.json, "w") as file:
        file.write(result + "\n")
else:
    print(result)
