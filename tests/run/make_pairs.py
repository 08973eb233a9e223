#!/usr/bin/env python3
"""Writes COUNT small PNG pictures with captions (NAME.png, NAME.txt) into DIR: coloured squares on coloured grounds.
Only the standard library, so that the tests need nothing else."""
import os
import struct
import sys
import zlib

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 220), "yellow": (230, 220, 40),
           "white": (240, 240, 240), "black": (15, 15, 15), "purple": (140, 40, 160), "orange": (240, 140, 20)}
PLACES = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}


def png(pixels, size):
    raw = b"".join(b"\0" + bytes(v for p in row for v in p) for row in pixels)

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def main():
    directory, count, size = sys.argv[1], int(sys.argv[2]), 24
    os.makedirs(directory, exist_ok=True)
    names = sorted(COLOURS)
    made = 0
    for ground in names:
        for colour in names:
            for place, (down, right) in PLACES.items():
                if colour == ground or made == count:
                    continue
                top, left = 2 + 11 * down, 2 + 11 * right
                pixels = [[COLOURS[colour] if top <= y < top + 9 and left <= x < left + 9 else COLOURS[ground]
                           for x in range(size)] for y in range(size)]
                stem = os.path.join(directory, f"{made:04d}")
                with open(stem + ".png", "wb") as file:
                    file.write(png(pixels, size))
                with open(stem + ".txt", "w", encoding="utf-8") as file:
                    file.write(f"a {colour} square at the {place} of a {ground} ground\n")
                made += 1
    assert made == count, f"only {made} different pictures exist"


main()
