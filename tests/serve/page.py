#!/usr/bin/env python3
"""The page of a running tandem serve as a browser without a script gets it. Only the standard library.

    page.py URL FACTS

FACTS: JSON of page_gallery.py, what the gallery holds. Checks that each page is well formed, that its parts belong
together (labels, headings, anchors), that nothing in it is fetched from elsewhere or executed, that what comes from
outside is shown to the letter, and that the links lead through all of the gallery.
"""
import html.parser
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
CONTROLS = {"input", "select", "textarea", "button"}


def fail(message):
    sys.exit(f"FAILED: {message}")


def need(condition, message):
    if not condition:
        fail(message)


class Page(html.parser.HTMLParser):
    """A tree: {"tag", "attrs", "children", "parent"}; text is a str among the children."""

    def __init__(self, url, text):
        super().__init__(convert_charrefs=True)
        self.url, self.problems = url, []
        self.root = self.at = {"tag": "", "attrs": {}, "children": [], "parent": None}
        self.feed(text)
        self.close()
        if self.at is not self.root:
            self.problems.append(f"<{self.at['tag']}> is not closed")

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.problems.append(f"<{tag}> has an attribute twice: {names}")
        node = {"tag": tag, "attrs": {n: v or "" for n, v in attrs}, "children": [], "parent": self.at}
        self.at["children"].append(node)
        if tag not in VOID:
            self.at = node

    def handle_endtag(self, tag):
        if tag in VOID or self.at["tag"] != tag:
            self.problems.append(f"</{tag}> where <{self.at['tag']}> is open, line {self.getpos()[0]}")
        if self.at["tag"] == tag:
            self.at = self.at["parent"]

    def handle_data(self, data):
        self.at["children"].append(data)

    def handle_comment(self, data):
        self.problems.append(f"a comment: {data[:40]}")

    def all(self, tag=None, **attrs):
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            if (tag is None or node["tag"] == tag) and all(node["attrs"].get(n) == v for n, v in attrs.items()):
                yield node
            waiting += [c for c in reversed(node["children"]) if not isinstance(c, str)]

    def one(self, tag=None, **attrs):
        found = list(self.all(tag, **attrs))
        need(len(found) == 1, f"{self.url}: {len(found)} of {tag} {attrs}, not one")
        return found[0]

    def maybe(self, tag=None, **attrs):
        return next(self.all(tag, **attrs), None)


def text_of(node):
    return "".join(c if isinstance(c, str) else text_of(c) for c in node["children"])


def inside(node, cls):
    """The first element in node of that class, or None."""
    for child in node["children"]:
        if isinstance(child, str):
            continue
        if cls in child["attrs"].get("class", "").split():
            return child
        found = inside(child, cls)
        if found:
            return found
    return None


def check(page):
    """Whatever holds for every page."""
    need(not page.problems, f"{page.url}: {'; '.join(page.problems)}")
    ids = [n["attrs"]["id"] for n in page.all() if "id" in n["attrs"]]
    need(len(ids) == len(set(ids)), f"{page.url}: an id stands twice: {sorted(ids)}")
    need(page.one("html")["attrs"].get("lang") == "en", f"{page.url}: no language")
    need(text_of(page.one("title")).strip(), f"{page.url}: no title")
    for tag in ("main", "header", "h1"):
        page.one(tag)
    labelled = {n["attrs"]["for"] for n in page.all("label") if "for" in n["attrs"]}
    for node in page.all():
        tag, attrs = node["tag"], node["attrs"]
        where = f"{page.url}: <{tag} {attrs}>"
        need(tag != "style" and "style" not in attrs, f"{where}: a style that the policy forbids")
        need(not any(name.startswith("on") for name in attrs), f"{where}: a script that the policy forbids")
        need(tag != "script" or (attrs.get("src") and not text_of(node)), f"{where}: a script within the page")
        for name in ("src", "href", "action"):
            need(name not in attrs or attrs[name].startswith(("/", "#")) and not attrs[name].startswith("//"),
                 f"{where}: {name} leads elsewhere")  # fmt: skip
        need(tag != "img" or "alt" in attrs, f"{where}: no alternative text")
        for name in ("aria-labelledby", "for", "form"):
            need(name not in attrs or attrs[name] in ids, f"{where}: {name} names nothing")
        if attrs.get("href", "").startswith("#"):
            need(attrs["href"][1:] in ids, f"{where}: leads to nothing")
        if tag in CONTROLS and attrs.get("type") != "hidden":
            within, named = node, text_of(node) if tag == "button" else ""
            while within and not named:
                named = within["tag"] == "label" or attrs.get("id") in labelled or attrs.get("aria-label")
                within = within["parent"]
            need(named, f"{where}: has no name")


class NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def ask(base, target, body=None, headers=None, follow=True):
    """status, headers, text"""
    handlers = [urllib.request.ProxyHandler({})] + ([] if follow else [NoRedirection()])
    opener = urllib.request.build_opener(*handlers)
    request = urllib.request.Request(base + target, data=body, headers=headers or {})
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def kind_of(base, target):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(base + target, timeout=60) as answer:
        return answer.headers["Content-Type"]


def open_page(base, target, status=200):
    got, headers, text = ask(base, target)
    need(got == status, f"{target}: status {got}, not {status}: {text[:300]}")
    need(headers["Content-Type"] == "text/html; charset=utf-8", f"{target}: is {headers['Content-Type']}")
    policy = headers["Content-Security-Policy"]
    need("default-src 'none'" in policy and "unsafe" not in policy, f"{target}: policy {policy}")
    page = Page(target, text)
    check(page)
    return page


def shown(text):
    """What turns the direction of the text around it is left out."""
    return text.translate({0x202E: None})


def rows_of(page):
    return [int(item["attrs"]["data-row"]) for item in page.all("li") if "data-row" in item["attrs"]]


def walk(base, target):
    """Rows of all the pages behind "More", in their order."""
    rows, pages = [], 0
    while target:
        page = open_page(base, target)
        rows += rows_of(page)
        more = page.maybe("a", id="more")
        target = more and more["attrs"]["href"]
        pages += 1
    return rows, pages


def multipart(fields, name, data):
    mark = "kd93jf0s"
    parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode() for n, v in fields]
    parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
                 "Content-Type: image/png\r\n\r\n".encode() + data + f"\r\n--{mark}--\r\n".encode())  # fmt: skip
    return b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={mark}"}


def send_picture(base, fields, name, data):
    """The address to which a picture leads."""
    body, headers = multipart(fields, name, data)
    status, headers, text = ask(base, "/", body, headers, follow=False)
    need(status == 303, f"a picture that was sent: status {status}, not 303: {text[:300]}")
    return headers["Location"]


def main():
    base, facts = sys.argv[1].rstrip("/"), json.load(open(sys.argv[2], encoding="utf-8"))
    picture = open(facts["picture"], "rb").read()
    every = list(range(facts["images"]))

    rows, _ = walk(base, "/?k=16")
    need(rows == every, f"the front page does not show the gallery in its order: {rows}")
    rows, pages = walk(base, "/?q=a+red+disc&k=7")
    need(sorted(rows) == every and pages == -(-len(every) // 7), f"{pages} pages have {rows}")

    page = open_page(base, f"/?q=a+red+disc&k={facts['images']}")
    captions = {int(i["attrs"]["data-row"]): inside(i, "caption") for i in page.all("li") if "data-row" in i["attrs"]}
    for row, want in facts["captions"].items():
        got = text_of(captions[int(row)])
        need(shown(want) in got, f"caption {row} is {got!r}, not {want!r}")
    need(len(list(page.all("script"))) == 1, "a caption is a script")

    for text in ("<script>alert(1)</script>", "\"'><b>&amp;", "\u202eabc \u05e9", "w" * 1900, "a & b = c + d % é"):
        page = open_page(base, "/?q=" + urllib.parse.quote(text))
        need(page.one(id="q")["attrs"]["value"] == shown(text), f"the box holds {page.one(id='q')['attrs']['value']!r}")
        need(shown(text) in text_of(page.one("h1")), f"the heading is {text_of(page.one('h1'))!r}")

    label = facts["labels"][0]
    page = open_page(base, "/?q=disc&class=" + urllib.parse.quote(label))
    need(rows_of(page) and set(rows_of(page)) <= set(facts["of_label_0"]), f"class {label}: {rows_of(page)}")
    need(page.one("input", type="checkbox", name="class")["attrs"]["value"] == label, "the class is not chosen")

    page = open_page(base, "/?row=3&q=red&weight=0.25")
    need(page.one(id="weight")["attrs"]["value"] == "0.25", "the weight is not shown")
    need("disc" in text_of(page.one(id="picture")), "the picture that is asked for has no caption")
    need(open_page(base, "/?row=3").maybe(id="q")["attrs"]["value"] == "", "a text that nobody asked for")

    target = send_picture(base, [("q", "a & b"), ("class", label), ("row", "3")], "x.png", picture)
    need("upload=" in target and "q=a" in target and "class=" in target and "row=" not in target, f"leads to {target}")
    page = open_page(base, target)
    source = next(i["attrs"]["src"] for i in page.all("img") if i["attrs"].get("src", "").startswith("/upload/"))
    need(kind_of(base, source).startswith("image/"), f"{source} is no picture")
    need(rows_of(page), "a picture that was sent finds nothing")
    target = send_picture(base, [], "x.png", picture)
    rows, _ = walk(base, target)
    need(sorted(rows) == every, f"{target} and what follows: {rows}")

    for target, status in (("/?row=999999", 404), ("/?k=0", 400), ("/?class=none+such", 400),
                           ("/?upload=" + "0" * 32, 404), ("/?q=" + "a" * 2500, 400)):  # fmt: skip
        page = open_page(base, target, status)
        need(inside(page.one("main"), "fault"), f"{target}: no words for what went wrong")
        need(page.maybe(id="q"), f"{target}: no way on")
    body, headers = multipart([], "x.png", b"no picture")
    status, _, text = ask(base, "/", body, headers)
    need(status == 415, f"what is no picture: status {status}")
    page = Page("POST /", text)
    check(page)
    need(inside(page.one("main"), "fault"), "what is no picture: no words")
    print(f"the page is well formed; {facts['images']} rows, {len(facts['captions'])} captions to the letter")


if __name__ == "__main__":
    main()
