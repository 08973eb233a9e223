#!/usr/bin/env python3
"""Writes src/text/text_entities.inc: HTML5's named character references as html.unescape knows them.

usage: scripts/make_html_entities.py > src/text/text_entities.inc
Source: Python's html.entities.html5 (the WHATWG list). Rows are sorted by name, byte-wise; the last column says
whether the reference also stands without its semicolon.
"""
from html.entities import html5

print("/* Made by scripts/make_html_entities.py; name without '&' and ';', code points, valid without ';'. */")
cell = ""
for name in sorted(n[:-1] for n in html5 if n.endswith(";")):
    points = [ord(c) for c in html5[name + ";"]] + [0]
    row = '{"%s", {0x%x, 0x%x}, %d},' % (name, points[0], points[1], name in html5)
    if len(cell) + len(row) > 108:
        print(cell)
        cell = ""
    cell += (" " if cell else "") + row
print(cell)
