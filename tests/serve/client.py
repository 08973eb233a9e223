#!/usr/bin/env python3
"""Asks a tandem serve and checks what it answers. Standard library only.

    client.py URL answers GALLERY_JSON    searches, pages, pictures, errors, headers; every JSON against /api/schema
    client.py URL hostile                 what is no proper request is refused, and the server lives
    client.py URL slow SECONDS            who sends or reads too slowly is cut off within so many seconds
    client.py URL many                    8 clients at once
    client.py URL rate                    more than the rate
    client.py URL token FILE              what needs a token, and how it is given
    client.py URL stop PID                what is under way when the server is told to stop
    client.py URL dump FILE               some answers, without what differs between runs
"""
import base64
import http.client
import json
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
import urllib.parse
import zlib

try:  # where they are there, they are asked as well (tests/reference/serve.py)
    import jsonschema
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    jsonschema = None

URL = urllib.parse.urlsplit(sys.argv[1])


def request(method, path, body=None, headers=None, want=None):
    connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    fields = {name.lower(): value for name, value in answer.getheaders()}
    if want is not None:
        assert answer.status == want, f"{method} {path}: {answer.status}, not {want}: {data[:500]}"
    if path.startswith("/api/") and method not in ("HEAD", "OPTIONS"):
        assert fields["content-type"] == "application/json", fields
    return answer.status, fields, data


# ---- JSON Schema, as much of it as /api/schema uses ----

TYPES = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}


def is_type(value, name):
    if name in ("integer", "number"):
        kinds = (int, float) if name == "number" else int
        return isinstance(value, kinds) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def check(value, schema, root, where="answer"):
    known = {"$ref", "type", "enum", "const", "required", "properties", "additionalProperties", "items", "minimum",
             "maximum", "pattern", "description"}
    assert set(schema) <= known, f"the schema has {set(schema) - known}"
    if "$ref" in schema:
        check(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, where)
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert any(is_type(value, name) for name in names), f"{where} is {value!r}, not {names}"
    if "enum" in schema:
        assert value in schema["enum"], f"{where} is {value!r}"
    if "const" in schema:
        assert value == schema["const"], f"{where} is {value!r}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value), f"{where} is {value}"
    if isinstance(value, str) and "pattern" in schema:
        assert re.search(schema["pattern"], value), f"{where} is {value!r}"
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema.get("required", [])) <= set(value), f"{where} lacks {set(schema['required']) - set(value)}"
        assert set(value) <= set(schema["properties"]), f"{where} has {set(value) - set(schema['properties'])}"
        for name, own in value.items():
            check(own, schema["properties"][name], root, f"{where}.{name}")
    if isinstance(value, list):
        for i, own in enumerate(value):
            check(own, schema.get("items", {}), root, f"{where}[{i}]")


def schema():
    if not hasattr(schema, "root"):
        schema.root = json.loads(request("GET", "/api/schema", want=200)[2])
    return schema.root


def checked(kind, data):
    value = json.loads(data)
    check(value, {"$ref": f"#/$defs/{kind}"}, schema())
    if jsonschema is not None:
        jsonschema.Draft202012Validator.check_schema(schema())
        jsonschema.validate(value, {**schema(), "oneOf": [{"$ref": f"#/$defs/{kind}"}]}, jsonschema.Draft202012Validator)
        jsonschema.validate(value, schema(), jsonschema.Draft202012Validator)
    return value


def search(want=200, **fields):
    data = request("GET", "/api/search?" + urllib.parse.urlencode(fields, doseq=True), want=want)[2]
    return checked("search" if want == 200 else "error", data)


def form(fields, image=None):
    """multipart/form-data: body and header"""
    parts = [f'--xx\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
             for key, value in fields.items()]
    if image is not None:
        parts.append('--xx\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
                     "Content-Type: image/png\r\n\r\n".encode() + image + b"\r\n")
    return b"".join(parts) + b"--xx--\r\n", {"Content-Type": "multipart/form-data; boundary=xx"}


def rows(found):
    return [(r["row"], r["caption_row"], r["score"]) for r in found["results"]]


# ---- What it answers ----


def check_pages(gallery, **query):
    """Pages cover the gallery, in the order of one long page."""
    whole = search(k=200, **query)
    assert whole["total"] == len(whole["results"]) == gallery and whole["next_offset"] is None
    paged, offset = [], 0
    while offset is not None:
        page = search(k=9, offset=offset, **query)
        assert [r["rank"] for r in page["results"]] == list(range(offset + 1, offset + len(page["results"]) + 1))
        paged += rows(page)
        offset = page["next_offset"]
    assert paged == rows(whole)
    place = 1 if query.get("find") == "captions" else 0
    assert all(a[2] > b[2] or (a[2] == b[2] and a[place] < b[place]) for a, b in zip(paged, paged[1:]))
    assert search(k=9, offset=gallery + 5, **query)["results"] == []
    return whole


def check_searches(told):
    facts = checked("gallery", request("GET", "/api/gallery", want=200)[2])
    whole = check_pages(facts["images"], q="a red disc")
    assert [r["image"] for r in told["results"]] == [r["row"] for r in whole["results"][:len(told["results"])]]
    assert all(abs(a["score"] - b["score"]) < 1e-6 for a, b in zip(told["results"], whole["results"]))
    assert whole["results"][0]["caption"] == told["results"][0]["caption"]
    assert search(q="a red disc", find="captions")["results"][0]["caption"] == "a red disc"
    check_pages(facts["captions"], q="a red disc", find="captions")
    assert search(q="word " * 100)["query"]["cut"] and not whole["query"]["cut"]
    # classes: exactly those of the whole list that have one of them
    two = facts["classes"][:2]
    wanted = [r for r in rows(whole) if set(by_row(whole)[r[0]]["class"]) & set(two)]
    assert 0 < len(wanted) < len(whole["results"])
    assert rows(search(q="a red disc", k=200, **{"class": two})) == wanted
    assert search(400, q="x", **{"class": "no such"})["error"]["code"] == "unknown_class"
    # near-duplicates: a part of the list in its order
    unique = check_unique(whole)
    assert len(unique) < len(whole["results"]), "there are equal pictures"


def by_row(found):
    return {r["row"]: r for r in found["results"]}


def check_unique(whole):
    unique = search(q="a red disc", k=200, unique=1)["results"]
    places = [rows(whole).index((r["row"], r["caption_row"], r["score"])) for r in unique]
    assert places == sorted(places) and places[0] == 0
    paged = search(q="a red disc", k=3, offset=2, unique=1)["results"]
    assert [r["row"] for r in paged] == [r["row"] for r in unique[2:5]]
    return unique


def check_pictures():
    first = search(q="a red disc", k=1)["results"][0]
    status, fields, picture = request("GET", first["image"], want=200)
    assert fields["content-type"].startswith("image/") and picture[:4] == b"\x89PNG"
    assert request("GET", first["thumbnail"], want=200)[1]["content-type"].startswith("image/")
    assert request("GET", first["image"], headers={"If-None-Match": fields["etag"]}, want=304)[2] == b""
    assert request("HEAD", first["image"], want=200)[2] == b""
    request("GET", "/image/100000", want=404)
    # a picture finds itself, however it is sent
    ways = [request("POST", "/api/search?k=5", picture, {"Content-Type": "image/png"}, 200)[2],
            request("POST", "/api/search", *form({"k": "5", "q": "", "upload": ""}, picture), want=200)[2],
            request("POST", "/api/search", json.dumps({"image": base64.b64encode(picture).decode(), "k": 5}),
                    {"Content-Type": "application/json"}, 200)[2]]
    found = [checked("search", data) for data in ways]
    assert found[0]["results"][0]["score"] > 0.999
    assert all(rows(f) == rows(found[0]) and f["query"]["upload"] == found[0]["query"]["upload"] for f in found)
    upload = found[0]["query"]["upload"]
    assert rows(search(upload=upload, k=5)) == rows(found[0])
    assert request("GET", f"/upload/{upload}", want=200)[1]["content-type"] == "image/jpeg"
    assert search(404, upload="0" * 32)["error"]["code"] == "upload_gone"
    row = found[0]["results"][0]["row"]
    like = search(row=row, k=5)
    assert like["results"][0]["score"] > 0.999 and search(404, row=100000)["error"]["code"] == "not_found"
    # a text and a picture: between the two
    both = [search(q="a blue ring", row=row, weight=w, k=200) for w in (0, 0.5, 1)]
    assert rows(both[0]) == rows(search(q="a blue ring", k=200)) and rows(both[2]) == rows(search(row=row, k=200))
    assert rows(both[1]) != rows(both[0]) and rows(both[1]) != rows(both[2])
    assert both[1]["query"]["weight"] == 0.5 and like["query"]["weight"] is None
    # the page does the same without a script
    leads_to = request("POST", "/", *form({"k": "5"}, picture), want=303)[1]["location"]
    page = request("GET", leads_to, want=200)[2].decode()
    assert page.count("/thumbnail/") >= 5 and f"upload={upload}" in page


def check_errors():
    for path in ("/nothing", "/api", "/image/", "/image/x", "/image/../../etc/passwd", "/%2e%2e/etc/passwd", "/image/-1",
                 "/style.css/..", "/upload/../x"):
        error = checked("error", request("GET", path, want=404)[2])
        assert error["error"]["code"] == "not_found"
    for query in ("", "q=", "k=5", "q=a&k=0", "q=a&k=x", "q=a&kk=1", "q=%ff", "q=a&q=b", "row=1&upload=" + "0" * 32,
                  "q=a&offset=10000", "q=" + "a" * 2001):
        checked("error", request("GET", "/api/search?" + query, want=400)[2])
    _, fields, _ = request("DELETE", "/api/search", want=405)
    assert fields["allow"] == "GET, HEAD, POST, OPTIONS"
    assert request("POST", "/image/1", "", want=405)[1]["allow"] == "GET, HEAD, OPTIONS"
    assert request("OPTIONS", "/metrics", want=204)[1]["allow"] == "GET, HEAD, OPTIONS"
    checked("error", request("POST", "/api/search", "x", {"Content-Type": "text/plain"}, 415)[2])
    checked("error", request("POST", "/api/search", "no picture", {"Content-Type": "image/png"}, 415)[2])
    checked("error", request("POST", "/api/search", "{", {"Content-Type": "application/json"}, 400)[2])
    # 12,000 × 12,000 pixels in a few bytes: refused by the header
    head = b"IHDR" + struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0" * 64
    error = checked("error", request("POST", "/api/search", bomb, {"Content-Type": "image/png"}, 413)[2])
    assert error["error"]["code"] == "picture_too_large"
    # more than --max-body, said before and not
    error = checked("error", request("POST", "/api/search", b"x" * (1 << 20 | 1), {"Content-Type": "image/png"}, 413)[2])
    assert error["error"]["code"] == "body_too_large"
    chunks = (b"x" * 65536 for _ in range(20))
    request("POST", "/api/search", chunks, {"Content-Type": "image/png"}, want=413)
    # other sites
    assert request("GET", "/", headers={"Host": "evil.example"}, want=403)[1]["content-type"].startswith("text/html")
    request("POST", "/api/search?q=a", "", {"Origin": "http://evil.example", "Content-Type": "image/png"}, want=403)


def check_headers():
    for path in ("/", "/?q=a", "/api/search?q=a", "/style.css", "/page.js", "/image/0", "/metrics", "/nothing"):
        _, fields, _ = request("GET", path)
        assert fields["x-content-type-options"] == "nosniff" and fields["referrer-policy"] == "same-origin"
        assert "default-src 'none'" in fields["content-security-policy"]
        assert "unsafe" not in fields["content-security-policy"]
        assert "access-control-allow-origin" not in fields
    _, fields, page = request("GET", "/?" + urllib.parse.urlencode({"q": "<script>alert(1)</script>\"'"}), want=200)
    assert b"<script>alert" not in page and fields["content-type"] == "text/html; charset=utf-8"
    assert checked("health", request("GET", "/api/health", want=200)[2])["status"] == "ok"


# ---- Prometheus ----

SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z]+="[^"]*",?)*)\})? (-?[0-9.e+-]+|\+Inf|NaN)$')


def metrics():
    """{name: {labels: value}}, checked as text format 0.0.4"""
    _, fields, data = request("GET", "/metrics", want=200)
    assert fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found, kind = {}, {}
    assert data.endswith(b"\n")
    for line in data.decode().splitlines():
        if line.startswith("#"):
            _, what, name, rest = line.split(" ", 3)
            assert what in ("HELP", "TYPE") and rest
            if what == "TYPE":
                assert name not in kind
                kind[name] = rest
            continue
        name, labels, value = SAMPLE.match(line).groups()
        base = re.sub("_(bucket|sum|count)$", "", name) if name not in kind else name
        assert base in kind, name
        assert labels not in found.setdefault(name, {}), line
        found[name][labels] = float(value)
    for name, of in kind.items():
        if of == "histogram":
            check_histogram(found, name)
    if jsonschema is not None:
        compare_samples(found, data.decode())
    return found


def compare_samples(found, text):
    """The same by Prometheus's own parser."""
    theirs = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items()) or None
            theirs.setdefault(sample.name, {})[labels] = sample.value
    assert theirs == found


def check_histogram(found, name):
    series = {}
    for labels, value in found[name + "_bucket"].items():
        rest, bound = labels.rsplit('le="', 1)
        series.setdefault(rest.rstrip(","), []).append((float(bound.rstrip('"')), value))
    for labels, buckets in series.items():
        assert buckets == sorted(buckets) and buckets[-1][0] == float("inf")
        assert all(a[1] <= b[1] for a, b in zip(buckets, buckets[1:]))
        assert buckets[-1][1] == found[name + "_count"][labels or None]


def requests_of(found, route, status):
    return found["tandem_http_requests_total"].get(f'route="{route}",status="{status}"', 0)


def check_metrics():
    before = metrics()
    for _ in range(3):
        search(q="a")
    request("GET", "/nothing", want=404)
    for _ in range(50):  # an answer is counted when it has been sent, which is a little later
        after = metrics()
        if requests_of(after, "none", 404) > requests_of(before, "none", 404):
            break
        time.sleep(0.05)
    assert requests_of(after, "/api/search", 200) - requests_of(before, "/api/search", 200) == 3
    assert requests_of(after, "none", 404) - requests_of(before, "none", 404) == 1
    assert after["tandem_search_batch_size_sum"][None] - before["tandem_search_batch_size_sum"][None] == 3
    assert after["tandem_gallery_rows"]['what="images"'] > 0 and after["tandem_uptime_seconds"][None] > 0
    assert list(after["tandem_build_info"].values()) == [1.0]


# ---- What is no proper request ----


def raw(data):
    """Sends bytes, returns all that comes until the connection ends; the server may end it at any time."""
    with socket.create_connection((URL.hostname, URL.port), timeout=30) as connection:
        answer = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while True:
                piece = connection.recv(65536)
                if not piece:
                    break
                answer += piece
        except TimeoutError:
            raise
        except OSError:  # reset, broken pipe, or no longer connected (ENOTCONN, which is no ConnectionError)
            pass
        return answer


def hostile():
    host = b"Host: localhost\r\n"
    bad = [b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n" + host + b"\r\n", b"GET / HTTP/1.1\r\n\r\n",
           b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), b"\0" * 1000,
           b"GET / HTTP/1.1\r\n" + host + b"X: " + b"a" * 100000 + b"\r\n\r\n",
           b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n" + host + b"\r\n",
           b"GET / HTTP/1.1\r\n" + host + b"".join(b"H%d: x\r\n" % i for i in range(20000)) + b"\r\n",
           b"GET / HTTP/1.1\r\n" + host + b"no colon\r\n\r\n",
           b"POST /api/search HTTP/1.1\r\n" + host + b"Content-Type: image/png\r\nContent-Length: -5\r\n\r\nabc",
           b"POST /api/search HTTP/1.1\r\n" + host + b"Content-Type: image/png\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
           b"POST /api/search HTTP/1.1\r\n" + host + b"Content-Type: image/png\r\nContent-Length: x\r\n\r\nabc",
           b"POST /api/search HTTP/1.1\r\n" + host + b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
           b"POST /api/search HTTP/1.1\r\n" + host + b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
           b"POST /api/search HTTP/1.1\r\n" + host + b"Content-Type: image/png\r\nContent-Length: 50\r\n\r\ncut off",
           b"POST /api/search HTTP/1.1\r\n" + host + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 5\r\n\r\n--x\r\n",
           b"BREW /coffee HTTP/1.1\r\n" + host + b"\r\n"]
    for data in bad:
        answer = raw(data)
        status = re.match(rb"HTTP/1\.[01] (\d+)", answer)
        assert answer == b"" or (status and 400 <= int(status[1]) < 600), (data[:80], answer[:200])
    # bytes that change on the way
    good = (b"POST /api/search?k=3 HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 72\r\n\r\n--x\r\nContent-Disposition: form-data; name=q\r\n\r\na red disc\r\n--x--\r\n    ")
    seed = 1
    for _ in range(300):
        data = bytearray(good)
        for _ in range(3):
            seed = (seed * 1103515245 + 12345) % 2**31
            data[(seed >> 8) % len(data)] = seed >> 16 & 255
        raw(bytes(data))
    request("GET", "/api/health", want=200)


# ---- Slow clients ----


def until_closed(connection, drip, limit_s):
    """Sends a byte now and then until the server has ended the connection."""
    begin = time.monotonic()
    connection.settimeout(0.1)
    while time.monotonic() - begin < limit_s:
        try:
            if drip:
                connection.sendall(drip)
            if connection.recv(1) == b"":
                return
        except TimeoutError:
            continue
        except ConnectionError:
            return
    raise AssertionError(f"still open after {limit_s} s")


def slow(limit_s):
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    body = (b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n")
    clients = [(head, b"X"), (body, b"x"), (body, b"")]
    failed = []

    def one(begin, drip):
        try:
            with socket.create_connection((URL.hostname, URL.port)) as connection:
                connection.sendall(begin)
                until_closed(connection, drip, limit_s)
        except AssertionError as error:
            failed.append((begin[:10], drip, error))

    threads = [threading.Thread(target=one, args=client) for client in clients]
    for thread in threads:
        thread.start()
    request("GET", "/api/health", want=200)  # others are not held up
    for thread in threads:
        thread.join()
    assert not failed, failed


# ---- Several, too many, strangers ----


def many():
    expected = {q: rows(search(q=q, k=5)) for q in ("a red disc", "a blue ring", "square")}
    failed = []

    def client(number):
        try:
            for i in range(20):
                q = list(expected)[(number + i) % 3]
                assert rows(search(q=q, k=5)) == expected[q]
        except Exception as error:  # pylint: disable=broad-except
            failed.append(repr(error))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


def rate():
    answers = [request("GET", "/api/health") for _ in range(60)]
    late = [(fields, data) for status, fields, data in answers if status == 429]
    assert {status for status, _, _ in answers} == {200, 429}, "some pass, some do not"
    assert int(late[0][0]["retry-after"]) >= 1
    time.sleep(1.2)
    assert checked("error", late[0][1])["error"]["code"] == "too_many_requests"


def token(path):
    secret = open(path, encoding="ascii").read().strip()
    for path in ("/", "/api/search?q=a", "/image/0", "/metrics", "/api/gallery", "/nothing", "/api/search?kk=1"):
        status, fields, data = request("GET", path)
        assert status == 401 and fields["www-authenticate"].startswith("Bearer"), (path, status)
        assert b"disc" not in data and b"unknown" not in data, data
    for path in ("/api/health", "/style.css", "/page.js", "/api/schema"):
        request("GET", path, want=200)
    request("GET", "/metrics", headers={"Authorization": f"Bearer {secret}"}, want=200)
    request("GET", "/metrics", headers={"Authorization": f"Bearer {secret[:-1]}"}, want=401)
    assert b"disc" in request("GET", f"/api/gallery?token={secret}", want=200)[2]
    request("GET", f"/?token={secret}x", want=401)
    _, fields, _ = request("GET", f"/?q=a+dog&token={secret}&k=3", want=303)
    assert fields["location"] == "/?q=a%20dog&k=3"
    cookie, *attributes = fields["set-cookie"].split("; ")
    assert "HttpOnly" in attributes and "SameSite=Lax" in attributes
    assert b"<form" in request("GET", "/", headers={"Cookie": cookie, "Host": "any.example"}, want=200)[2]


def stop(pid):
    """Asks on and on while the server is told to stop: an answer is whole, or there is none."""
    outcomes, wrong = [], []

    def client():
        while True:
            try:
                status, _, data = request("GET", "/api/search?k=200&q=a+red+disc")
            except (ConnectionError, http.client.BadStatusLine):
                outcomes.append(None)
                return
            except Exception as error:  # pylint: disable=broad-except
                wrong.append(repr(error))
                return
            outcomes.append(status)
            checked("search" if status == 200 else "error", data)

    schema()
    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(outcomes) < 20:
        time.sleep(0.01)
    os.kill(int(pid), signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert not wrong and set(outcomes) <= {200, 503, None}, (wrong, set(outcomes))


def dump(path):
    out = []
    for query in ("q=a+red+disc&k=30", "q=ring&find=captions&offset=3", "row=3&unique=1&k=50", "q=blue&row=5&weight=0.3",
                  "q=a+red+disc&class=ring&class=disc"):
        found = checked("search", request("GET", "/api/search?" + query, want=200)[2])
        del found["took_ms"]
        out.append(found)
    out.append(checked("gallery", request("GET", "/api/gallery", want=200)[2]))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(out, file, indent=1)


def answers(path):
    check_searches(json.load(open(path, encoding="utf-8")))
    check_pictures()
    check_errors()
    check_headers()
    check_metrics()


COMMANDS = {"answers": answers, "hostile": hostile, "slow": lambda s: slow(float(s)), "many": many, "rate": rate,
            "token": token, "stop": stop, "dump": dump}
COMMANDS[sys.argv[2]](*sys.argv[3:])
print(f"{sys.argv[2]}: as it should be")
