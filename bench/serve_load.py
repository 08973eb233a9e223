#!/usr/bin/env python3
"""Load on a tandem serve: throughput, p50 and p99 by number of clients, and whether memory grows. Standard library only.

    tandem serve --model RUN --gallery DIR --split test --rate 0 &
    bench/serve_load.py http://127.0.0.1:8080 --clients 1,8 --requests 10000

Each client keeps one connection and asks for the next thing when it has the answer. Kinds of requests: `text`, each text
another one, so that every one is embedded; `row`, more like a picture of the gallery; `image`, a picture that is sent,
each another one; `thumbnail`. `--mix text=6,row=2,image=1,thumbnail=1` is a share of each. Any answer but 200 is an error.
Memory and batches are the server's own, from /metrics; the growth is that from a fifth of the requests on, when caches
have filled.
"""
import argparse
import http.client
import json
import random
import re
import statistics
import struct
import threading
import time
import urllib.parse
import zlib

WORDS = ("red blue green yellow black white small large round square happy sad old new wooden metal bright dark cat dog "
         "bird fish car boat tree flower house face hand heart star moon sun cloud book clock key cup chair hat").split()


def png(rng):
    """A picture of 64 × 64 random blocks of 8."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    lines = []
    for _ in range(8):
        blocks = b"".join(bytes(rng.randrange(256) for _ in range(3)) * 8 for _ in range(8))
        lines += [b"\0" + blocks] * 8
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(b"".join(lines), 1)) + chunk(b"IEND", b""))


class Client(threading.Thread):
    def __init__(self, place, count, mix, images, seed):
        super().__init__()
        self.place, self.count, self.images = place, count, images
        self.rng = random.Random(seed)
        self.kinds, self.weights = list(mix), list(mix.values())
        self.took = []
        self.errors = {}

    def next_request(self):
        rng = self.rng
        kind = rng.choices(self.kinds, self.weights)[0]
        if kind == "text":
            text = " ".join(rng.choices(WORDS, k=4)) + f" {rng.randrange(10**6)}"
            return "GET", "/api/search?k=24&q=" + urllib.parse.quote_plus(text), None, {}
        if kind == "row":
            return "GET", f"/api/search?k=24&row={rng.randrange(self.images)}", None, {}
        if kind == "image":
            return "POST", "/api/search?k=24", png(rng), {"Content-Type": "image/png"}
        return "GET", f"/thumbnail/{rng.randrange(self.images)}", None, {}

    def run(self):
        connection = http.client.HTTPConnection(*self.place, timeout=120)
        for _ in range(self.count):
            method, path, body, headers = self.next_request()
            begin = time.perf_counter()
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
                connection.close()
            self.took.append(time.perf_counter() - begin)
            if status != 200:
                self.errors[status] = self.errors.get(status, 0) + 1
        connection.close()


def get(place, path):
    connection = http.client.HTTPConnection(*place, timeout=120)
    connection.request("GET", path)
    data = connection.getresponse().read().decode()
    connection.close()
    return data


def figure(text, name):
    return float(re.search(rf"^{name} (\S+)$", text, re.M)[1])


def run(place, clients, requests, mix, images):
    shares = [requests // clients + (i < requests % clients) for i in range(clients)]
    threads = [Client(place, share, mix, images, 1000 * clients + i) for i, share in enumerate(shares)]
    before = get(place, "/metrics")
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    early = None
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
        if early is None and sum(len(thread.took) for thread in threads) >= requests / 5:
            early = figure(get(place, "/metrics"), "process_resident_memory_bytes")
    took_s = time.perf_counter() - begin
    after = get(place, "/metrics")
    took = sorted(t for thread in threads for t in thread.took)
    errors = {}
    for thread in threads:
        for status, count in thread.errors.items():
            errors[status] = errors.get(status, 0) + count
    cuts = statistics.quantiles(took, n=100)
    batches = {name: figure(after, f"tandem_search_batch_size_{name}") - figure(before, f"tandem_search_batch_size_{name}")
               for name in ("sum", "count")}
    late = figure(after, "process_resident_memory_bytes")
    return {"clients": clients, "requests": requests, "errors": errors, "requests_per_s": round(requests / took_s, 1),
            "p50_ms": round(cuts[49] * 1e3, 2), "p99_ms": round(cuts[98] * 1e3, 2), "max_ms": round(took[-1] * 1e3, 1),
            "mean_batch": round(batches["sum"] / max(1, batches["count"]), 2), "resident_mb": round(late / 2**20, 1),
            "growth_mb": round((late - (early or late)) / 2**20, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="of the server")
    parser.add_argument("--clients", default="1,8", help="how many at a time, one run for each")
    parser.add_argument("--requests", type=int, default=10000, help="in each run")
    parser.add_argument("--mix", default="text=1", help="kinds of requests with their shares")
    args = parser.parse_args()
    url = urllib.parse.urlsplit(args.url)
    place = (url.hostname, url.port)
    mix = {kind: float(share) for kind, share in (part.split("=") for part in args.mix.split(","))}
    images = json.loads(get(place, "/api/gallery"))["images"]
    for clients in map(int, args.clients.split(",")):
        print(json.dumps(run(place, clients, args.requests, mix, images)), flush=True)


if __name__ == "__main__":
    main()
