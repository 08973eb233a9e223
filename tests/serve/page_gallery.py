#!/usr/bin/env python3
"""Makes what the page is tested with: pictures with hostile captions and classes as CSV, one more picture to search by,
and facts.json, which says what there is.

    page_gallery.py DIR
"""
import csv
import json
import os
import struct
import sys
import zlib

IMAGES = 40
HOSTILE = [
    "<script>document.title='pwned'</script> a disc",
    "\"><img src=x onerror=\"document.title='pwned'\"> a disc",
    "a disc '\"&amp;&lt; ]]> <!-- </li></ol></main>",
    "\u05d3\u05d9\u05e1\u05e7 \u202e evil disc \u0628\u0631\u062a\u0642\u0627\u0644\u064a",
    "w" * 700 + " disc",
    "javascript:alert(1) ${7*7} {{7*7}} %s%n disc",
]
LABELS = ["red <i>things", 'blue "things" & more', "\u05d9\u05e8\u05d5\u05e7"]


def png(width, height, colour, seed):
    rows = b""
    for y in range(height):
        row = b""
        for x in range(width):
            near = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) * (0.3 + 0.01 * (seed % 10))) ** 2
            row += bytes(colour) if near else bytes((240 - seed, 240, 200 + seed))
        rows += b"\0" + row
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))  # fmt: skip


def main():
    folder = sys.argv[1]
    captions, of_label_0 = {}, []
    with open(os.path.join(folder, "pairs.csv"), "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(("filepath", "title", "category"))
        for i in range(IMAGES):
            label = LABELS[i % len(LABELS)]
            colour = [(220, 30, 30), (30, 60, 220), (30, 160, 60)][i % len(LABELS)]
            name = f"<b>'{i}\".png" if i % 5 == 2 else f"{i}.png"
            with open(os.path.join(folder, name), "wb") as picture:
                picture.write(png(32 + 16 * (i % 3), 40, colour, i))
            captions[i] = HOSTILE[i // 3 % len(HOSTILE)] if i % 3 == 1 else f"a disc, number {i}"
            of_label_0 += [i] if i % len(LABELS) == 0 else []
            out.writerow((name, captions[i], label))
    with open(os.path.join(folder, "ask.png"), "wb") as picture:
        picture.write(png(48, 48, (200, 40, 40), 5))
    with open(os.path.join(folder, "no picture.png"), "wb") as file:
        file.write(b"\x89PNG no picture")
    with open(os.path.join(folder, "facts.json"), "w", encoding="utf-8") as file:
        json.dump({"images": IMAGES, "captions": captions, "labels": LABELS, "of_label_0": of_label_0,
                   "picture": os.path.abspath(os.path.join(folder, "ask.png")),
                   "no_picture": os.path.abspath(os.path.join(folder, "no picture.png"))}, file)  # fmt: skip


main()
