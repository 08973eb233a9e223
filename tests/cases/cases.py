#!/usr/bin/env python3
"""Inputs that real use brings, packed by the built program: a table of what each should give and what it gave.

    TANDEM=build/tandem SHOW=build/show_shards tests/cases/cases.py [PATTERN]

A case names the samples that must be packed, exactly: {name: captions}. With `says` something of the input is bad:
packing must end with code 1 and one line that matches; with --skip-bad it must pack `samples` and tell the same in
pack-report.json. With `warns` the console must mention it, and nothing is bad. With `fails` there is nothing to pack.
The inputs were made by hand, the digests of pixels by Pillow 13 (convert("RGB"))."""
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent
tandem, show = os.environ["TANDEM"], os.environ["SHOW"]

CASES = []


def case(source, samples=None, *, says=None, warns=None, fails=None, options=(), extra=(), **check):
    """check: identity, classes, split or pixels by name."""
    CASES.append(dict(source=source, samples=samples, says=says, warns=warns, fails=fails, options=list(options),
                      extra=list(extra), check=check))


plain = {"im1.png": ["plain"]}
case("csv/a_quoted.csv", {"im0.png": ['two\nlines, and "quotes"'], **plain})
case("csv/b_leadquote.tsv", plain, says=r"b_leadquote\.tsv.*\b2\b.*quot")
case("csv/c_unbalanced.tsv", {"im1.png": ["plain one"], "im2.png": ["plain two"]}, says=r"c_unbalanced\.tsv.*\b2\b.*quot")
case("csv/d_bomcrlf.csv", {"im0.png": ["a cat"], "im1.png": ["a dog"]})
case("csv/e_utf16.csv", {"im0.png": ["a cat"]}, warns=r"e_utf16\.csv.*UTF-16")
case("csv/e_utf16.csv", {"im0.png": ["a cat"]}, options=["--encoding", "utf-16"])
case("csv/f_latin1.csv", plain, says=r"f_latin1\.csv.*\b26\b")
case("csv/f_latin1.csv", {"im0.png": ["caf\u00e9 noir"], **plain}, options=["--encoding", "latin-1"])
case("csv/g_nul.csv", plain, says=r"g_nul\.csv.*(NUL|zero byte)")
case("csv/i_url.csv", says=r"i_url\.csv.*fetch", fails=r"i_url\.csv.*fetch")
for name in "k_semicolon", "l_header":
    case(f"csv/{name}.csv", fails=rf"{name}\.csv.*--image-column.*(filepath;title|image.*caption)")
case("csv/k_semicolon.csv", fails=r"--delimiter")
case("csv/k_semicolon.csv", {"im0.png": ["a cat"]}, options=["--delimiter", ";"])
case("csv/l_header.csv", {"im0.png": ["a cat"]}, options=["--image-column", "image", "--caption-column", "caption"])
case("csv/m2_short.csv", plain, says=r"m2_short\.csv.*\b2\b.*1 field.*2")
case("csv/m3_unquotedcomma.csv", plain, says=r"m3_unquotedcomma\.csv.*\b2\b.*3 field.*2")
case("csv/w_nbsp.csv", {"im1.png": ["ok"]}, says=r"im0\.png.*empty")
case("csv/y_ident.csv", {"im0.png": ["a cat"]}, warns="identity.*class")
case("csv/y_ident.csv", {"im0.png": ["a cat"]}, options=["--identity-column", "identity", "--class-column", "class"],
     identity={"im0.png": 7}, classes={"im0.png": ["cat"]})

case("folder/d_utf16", {"good.png": None, "b.png": None})
case("folder/d3_utf16nobom", {"good.png": None}, says=r"b\.(txt|png).*(NUL|zero byte)")
case("folder/f_nul", {"good.png": None, "b.png": ["line two"]}, says=r"b\.(txt|png).*(NUL|zero byte)")
case("folder/h2_tif", {"good.png": None}, says=r"b\.tif.*TIFF")
case("folder/h3_avif", {"good.png": None}, says=r"b\.avif.*AVIF")
case("folder/h_jfif", {"good.png": None, "b.jfif": None})
case("folder/h4_noext", {"good.png": None, "b": None})
case("folder/i_nocap", {"good.png": None}, says=r"b\.png.*caption")
case("folder/k_emptytxt", {"good.png": None}, says=r"b\.(png|txt).*(caption|empty)")
case("folder/b_upper_txt", {"good.png": None, "B.JPG": None})

one = {"0001.jpg": None}
both = {"0001.jpg": None, "0002.jpg": None}
case("webdataset/a_dup.tar", one, says=r"a_dup\.tar.*0001")
case("webdataset/b_jsonlist.tar", {"0001.jpg": None, "0002.jpg": ["one", "two"]})
for name in "c_nan", "d_surrogate", "d2_nulescape", "c2_nan_only":
    case(f"webdataset/{name}.tar", both)
# its .txt is Latin-1, too
case("webdataset/d3_latin.tar", one, says=r"d3_latin\.tar: 0002\.txt.*UTF-8")
case("webdataset/d3_latin.tar", {"0001.jpg": None, "0002.jpg": ["caf\u00e9"]}, options=["--encoding", "latin-1"])
case("webdataset/e3_nultxt.tar", one, says=r"0002.*(NUL|zero byte)")
case("webdataset/g_hardlink.tar", both)
case("webdataset/w_gnutar_hardlink.tar", {"1.jpg": None, "2.jpg": None})
case("webdataset/k_empty.tar", one, extra=["webdataset/r_dotslash.tar"], warns=r"k_empty\.tar")
case("webdataset/l_trunc.tar", both, says=r"l_trunc\.tar.*(cut|trunc|0003)")
case("webdataset/n_upper.tar", {"0001.jpg": None, "0002.JPG": None})
case("webdataset/o_twoimg.tar", one, says=r"o_twoimg\.tar.*0002.*left.*right")
case("webdataset/o_twoimg.tar", {"0001.jpg": None, "0002.right.jpg": None}, options=["--image-field", "right.jpg,jpg"])
case("webdataset/r_dotslash.tar", one)
case("webdataset/s_avif.tar", one, says=r"0002.*AVIF")
case("webdataset/t_notxt_many.tar", one, says=r"0002.*image")

caps = lambda i: [f"cap {i}", f"second {i}"]  # noqa: E731
case("karpathy/a_ok.json", {f"im{i}.jpg": caps(i) for i in range(5)}, split={"im2.jpg": "val", "im4.jpg": "restval"})
case("karpathy/d_emptyraw.json", {"im0.jpg": caps(0), "im1.jpg": ["ok"]}, says=r"im1\.jpg.*caption 2.*empty")
case("karpathy/e_noraw.json", {"im0.jpg": caps(0)}, says=r"images\[1\].*sentences\[0\].*raw")
case("karpathy/k_nan.json", {"im0.jpg": caps(0)})
case("karpathy/l_nul.json", {"im1.jpg": ["ok"]}, says=r"im0\.jpg.*(NUL|zero byte)")
case("karpathy/p_reid.json", fails=r"p_reid\.json.*CUHK-PEDES")

PIXELS = {
    "anim.webp": "8c4958b0baa4f676e6d59efd69dfab2bb5b04f48b58d745fecaba23ba7bc7c6c",
    "bmp555.bmp": "31e9d7c11b2cb1dd7b68e7dec26cff52b8c99a5fb88045eecf996bc2a5bd1dcb",
    "bmp_rle8.bmp": "a833f7331304f6715599ea92672f04f7f73c513bda6e182a5d777e08d176ed0b",
    "bmp_top.bmp": "a7d62dbf861149a8dcb79f97127da9d85775c20ddbf305c31ec2799746f67789",
    "bmp_topdown.bmp": "9307067a32a0dc0709fd6bbf38e939260e4db00a3652a2d7adfc5a20ecf4317f",
    "crit.png": "e251ce2f65dfab5bea0aac00e71a8072fcefc94844e9f452959aef9e3f3e7d9b",
    "png_badcrc.png": "aae207387a81918d52ffcfaa38f2ee7b2a06d7d7e6144f5b8699787e1c93e079",
}
for name, digest in PIXELS.items():
    case(f"images/{name}", {name: None}, pixels={name: digest})


def pack(one, out, work, *flags):
    source = here / one["source"]
    kind = one["source"].split("/")[0]
    sources = [str(source)] + [str(here / extra) for extra in one["extra"]]
    if kind == "images":  # a folder of that picture alone
        folder = work / "one"
        folder.mkdir(exist_ok=True)
        (folder / source.name).write_bytes(source.read_bytes())
        (folder / source.with_suffix(".txt").name).write_text("a picture\n")
        kind, sources = "folder", [str(folder)]
    done = subprocess.run([tandem, "pack", "--format", kind, "--out", str(out), *one["options"], *flags, *sources],
                          capture_output=True, text=True, errors="replace", timeout=60, check=False)
    return done.returncode, done.stderr


def packed(out):
    rows = subprocess.run([show, str(out)], capture_output=True, text=True, check=True).stdout
    return {row["name"].removeprefix("./"): row for row in map(json.loads, rows.splitlines())}


def differences(one, out):
    """What is in the shards against what should be."""
    rows, wrong = packed(out), []
    if sorted(rows) != sorted(one["samples"]):
        wrong.append(f"packed {sorted(rows)}, not {sorted(one['samples'])}")
        return wrong
    for name, captions in one["samples"].items():
        if captions is not None and rows[name]["captions"] != captions:
            wrong.append(f"{name}: captions {rows[name]['captions']}")
        if not rows[name]["captions"]:
            wrong.append(f"{name}: no caption")
    for field, wanted in one["check"].items():
        for name, value in wanted.items():
            if rows[name][field] != value:
                wrong.append(f"{name}: {field} is {rows[name][field]}")
    return wrong


def refused(one, pattern, code, err):
    lines = [line for line in err.splitlines() if line.startswith("tandem: ")]
    if code != 1 or len(lines) != 1:
        return [f"exit code {code}: {err.strip()[-200:]!r}"]
    return [] if re.search(pattern, lines[0]) else [f"says: {lines[0]}"]


def run(one, work):
    out = work / "out"
    code, err = pack(one, out, work)
    if one["fails"]:
        return refused(one, one["fails"], code, err)
    wrong = []
    if one["says"]:
        wrong = refused(one, one["says"], code, err)
        if (out / "dataset.h5").exists():
            wrong.append("an index was left behind")
        out = work / "skipped"
        code, err = pack(one, out, work, "--skip-bad")
    if code != 0:
        return wrong + [f"exit code {code}: {err.strip().splitlines()[-1:]}"]
    report = (out / "pack-report.json").read_text()
    document = json.loads(report)
    if one["says"] and not re.search(one["says"], json.dumps(document, ensure_ascii=False)):
        wrong.append(f"the report does not say it: {report[:300]}")
    if one["says"] and not re.search(r"\b1\b", err):
        wrong.append(f"the console does not count it: {err[-300:]}")
    if one["warns"] and not re.search(one["warns"], err):
        wrong.append(f"no word about it: {err[-300:]}")
    return wrong + differences(one, out)


def expected(one):
    if one["fails"]:
        return "refused"
    return f"{len(one['samples'])} packed" + (", rest named" if one["says"] else ", mentioned" if one["warns"] else "")


def run_in_scratch(one):
    with tempfile.TemporaryDirectory() as work:
        return run(one, pathlib.Path(work))


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    failed = 0
    chosen = [one for one in CASES if pattern in one["source"]]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(run_in_scratch, chosen))
    for one, wrong in zip(chosen, results):
        failed += bool(wrong)
        title = " ".join([one["source"], *one["options"]])
        print(f"{'FAIL' if wrong else 'ok':4}  {title:68}  {expected(one):22}  {'; '.join(wrong) if wrong else 'as expected'}")
    print(f"{len(chosen) - failed} of {len(chosen)} as expected")
    sys.exit(failed > 0 or not chosen)


main()
