#!/usr/bin/env python3
"""Draws the results of `tandem search --html` as one SVG, docs/search.svg: a row per sheet, pictures inside.

    for text in "grinning cat" "man running" "police car" "red heart"; do
        build/tandem search --model runs/quickstart --gallery demo/shards --split test --html "$text.html" "$text"; done
    scripts/make_search_picture.py --most 6 "grinning cat.html" "man running.html" "police car.html" "red heart.html" > docs/search.svg
"""
import argparse
import html
import re

SIDE, GAP, LEFT, LINE, TOP = 72, 26, 168, 128, 12

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--most", type=int, default=7, help="pictures of a row")
parser.add_argument("sheets", nargs="+", metavar="HTML")
args = parser.parse_args()


def text(x, y, size, colour, value, anchor="middle"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">'
            f"{html.escape(value)}</text>")


def in_lines(value, longest=17, most=2):
    """At most two lines; what is left out is marked."""
    lines = [""]
    for word in value.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > longest:
            lines.append(word)
        else:
            lines[-1] = (lines[-1] + " " + word).strip()
    return lines if len(lines) <= most else lines[: most - 1] + [lines[most - 1] + " …"]


shapes = []
for row, path in enumerate(args.sheets):
    with open(path, encoding="utf-8") as file:
        sheet = file.read()
    query = html.unescape(re.search(r"<h2>(.*?)</h2>", sheet)[1])
    items = re.findall(
        r'<img alt="" [^>]*?src="([^"]+)".*?class="score">([-.\d]+)</span>.*?<div>(.*?)</div>', sheet, re.S)
    y = TOP + row * LINE
    shapes.append(text(16, y + SIDE / 2 + 5, 15, "#1f2328", f"“{query}”", "start"))
    for i, (source, score, caption) in enumerate(items[: args.most]):
        x = LEFT + i * (SIDE + GAP)
        shapes.append(f'<image x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" href="{source}"/>')
        for k, line in enumerate(in_lines(html.unescape(caption))):
            shapes.append(text(x + SIDE / 2, y + SIDE + 14 + 12 * k, 10, "#59636e", line))
        shapes.append(text(x + SIDE / 2, y + SIDE + 39, 10, "#0969da", score))

width, height = LEFT + args.most * (SIDE + GAP) - 8, TOP + len(args.sheets) * LINE
print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
      'font-family="system-ui, sans-serif">')
print("<!-- Pictures: Fluent Emoji, (c) Microsoft Corporation, MIT licence. Found by Tandem; the score is the cosine. -->")
print(f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>')
print("\n".join(shapes))
print("</svg>")
