#!/usr/bin/env python3
"""Exact top-10 search of FAISS on random unit vectors like those of eval_bench, whose peer it is.

    python3 peer_faiss.py --rows 20000 --dim 512 --threads 2 [--index panorama] --json FILE

FAISS finds the ten best rows of every query and no metric; eval_bench does the same, and the metrics of all ranks beside it.
IndexFlatIP is FAISS's plain exact search, IndexFlatIPPanorama prunes by norms of parts of the rows.
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
parser.add_argument("--index", default="flat", choices=["flat", "panorama"])
parser.add_argument("--levels", type=int, default=8, help="of panorama")
parser.add_argument("--json", help="written here, else printed")
args = parser.parse_args()

faiss.omp_set_num_threads(args.threads)
random = numpy.random.default_rng(0)
shared = 0.6 * (random.random((args.rows, args.dim), dtype=numpy.float32) - 0.5)
query, gallery = (shared + random.random((args.rows, args.dim), dtype=numpy.float32) - 0.5 for _ in range(2))
for side in (query, gallery):
    side /= numpy.linalg.norm(side, axis=1, keepdims=True)
index = (faiss.IndexFlatIP(args.dim) if args.index == "flat" else
         faiss.IndexFlatIPPanorama(args.dim, args.levels))
index.add(gallery)
rates = []
for _ in range(args.repeats):
    begin = time.perf_counter()
    index.search(query, 10)
    rates.append(args.rows / (time.perf_counter() - begin))
result = json.dumps({"peer": "faiss", "faiss": faiss.__version__, "index": args.index, "rows": args.rows, "dim": args.dim,
                     "threads": args.threads, "queries_per_s": rates})
if args.json:
    with open(args.json, "w") as file:
        file.write(result + "\n")
else:
    print(result)
