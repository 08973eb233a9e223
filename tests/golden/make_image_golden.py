#!/usr/bin/env python3
"""Writes images/*: one small file per image format and variant, and image_golden.h: what Pillow makes of them.

  drop     open, convert("RGB")
  small    open, resize (bicubic), convert("RGB"), in the order of OpenAI's and open_clip's preprocessing
  white    transparency over white, of the files that have any

Needs Pillow 13 and NumPy. YCCK is a CMYK file whose Adobe segment says so."""
import io
import os
import struct
import zlib

import numpy as np
import PIL
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "images")
HEIGHT, WIDTH, SMALL_HEIGHT, SMALL_WIDTH = 10, 13, 4, 6


def smooth(channels, seed):
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    rng = np.random.default_rng(seed)
    planes = []
    for _ in range(channels):
        a, b, c = rng.uniform(0.1, 0.5, 2).tolist() + [rng.uniform(0, 6)]
        planes.append(127.5 + 120 * np.sin(a * x + b * y + c))
    return np.stack(planes, -1).round().astype(np.uint8)


def over_white(image):
    rgba = np.asarray(image.convert("RGBA")).astype(np.int64)
    alpha = rgba[..., 3:]
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def save(name, image, **options):
    image.save(os.path.join(FOLDER, name), **options)


def write(name, data):
    with open(os.path.join(FOLDER, name), "wb") as out:
        out.write(data)


def saved(image, **options):
    out = io.BytesIO()
    image.save(out, **options)
    return out.getvalue()


def png(name, depth, colour, rows, *chunks):
    """rows: bytes of each row"""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", WIDTH, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    write(name, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunk(*c) for c in chunks)
          + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def packed(values, depth):
    """[WIDTH] numbers of `depth` bits"""
    bits = "".join(format(int(v), f"0{depth}b") for v in values)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def deep(array):
    return [row.astype(">u2").tobytes() for row in array]


def make_png():
    rgb, gray = smooth(3, 1), smooth(1, 3)[..., 0]
    save("rgb.png", Image.fromarray(rgb))
    save("rgba.png", Image.fromarray(smooth(4, 2)))
    save("gray.png", Image.fromarray(gray))
    save("gray_alpha.png", Image.fromarray(smooth(2, 4)))
    palette = Image.fromarray(rgb).quantize(16)
    save("palette.png", palette)
    save("palette_alpha.png", palette, transparency=3)
    save("palette_alphas.png", Image.fromarray(rgb).quantize(200), transparency=bytes(range(0, 200)))
    save("palette_1.png", Image.fromarray(rgb).quantize(2), bits=1)
    save("palette_2.png", Image.fromarray(rgb).quantize(4), bits=2)
    for depth in (1, 2, 4):
        png(f"gray_{depth}.png", depth, 0, [packed(row >> (8 - depth), depth) for row in gray])
    png("gray_key.png", 8, 0, [row.tobytes() for row in gray], (b"tRNS", struct.pack(">H", int(gray[4, 5]))))
    key = b"".join(struct.pack(">H", int(v)) for v in rgb[4, 5])
    png("rgb_key.png", 8, 2, [row.tobytes() for row in rgb], (b"tRNS", key))
    wide = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    png("gray_16.png", 16, 0, deep(gray.astype(np.int64) * 2 + wide % 2))  # some below 256, where Pillow shows shades
    png("rgb_16.png", 16, 2, deep(rgb.astype(np.int64) * 256 + wide[..., None]))
    png("rgba_16.png", 16, 6, deep(smooth(4, 2).astype(np.int64) * 256 + 255 - wide[..., None]))
    png("gray_alpha_16.png", 16, 4, deep(smooth(2, 4).astype(np.int64) * 256 + wide[..., None]))


def make_jpeg():
    rgb = Image.fromarray(smooth(3, 1))
    save("baseline.jpg", rgb, quality=95, subsampling=0)
    save("progressive.jpg", rgb, quality=95, subsampling=0, progressive=True)
    save("subsampled.jpg", rgb, quality=80, subsampling=2)
    save("half.jpg", rgb, quality=60, subsampling=1, progressive=True)
    save("restart.jpg", rgb, quality=90, restart_marker_blocks=1)
    save("gray.jpg", Image.fromarray(smooth(1, 3)[..., 0]), quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn right
    save("rotated.jpg", rgb, quality=90, exif=exif)
    cmyk = saved(Image.fromarray(smooth(4, 6), "CMYK"), format="JPEG", quality=95, subsampling=0)
    write("cmyk.jpg", cmyk)
    at = cmyk.index(b"\xff\xee\x00\x0eAdobe") + 15
    assert cmyk[at] == 0
    write("ycck.jpg", cmyk[:at] + b"\2" + cmyk[at + 1:])


def make_others():
    rgb, rgba = Image.fromarray(smooth(3, 1)), Image.fromarray(smooth(4, 2))
    palette = rgb.quantize(16)
    save("plain.gif", palette)
    save("transparent.gif", palette, transparency=3)
    save("straight.gif", palette, interlace=0)
    save("gray.gif", Image.fromarray(smooth(1, 3)[..., 0]))
    # a frame that leaves a border of the canvas
    gif = bytearray(saved(palette.resize((9, 7)), format="GIF", interlace=0))
    gif[6:10] = struct.pack("<HH", WIDTH, HEIGHT)
    at = gif.index(b",\0\0\0\0")
    gif[at + 1:at + 5] = struct.pack("<HH", 3, 2)
    write("offset.gif", bytes(gif))
    save("rgb.bmp", rgb)
    save("palette.bmp", palette)
    save("gray.bmp", Image.fromarray(smooth(1, 3)[..., 0]))
    save("one.bmp", Image.fromarray(smooth(1, 3)[..., 0]).convert("1"))
    save("rgba.bmp", rgba)
    save("lossless.webp", rgb, lossless=True)
    save("alpha.webp", rgba, lossless=True, exact=True)
    save("lossy.webp", rgb, quality=90)
    save("lossy_alpha.webp", rgba, quality=90)


def hexadecimal(image):
    data = np.asarray(image, dtype=np.uint8).tobytes().hex()
    return "\n     ".join(f'"{data[i:i + 104]}"' for i in range(0, len(data), 104))


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for name in os.listdir(FOLDER):
        os.remove(os.path.join(FOLDER, name))
    make_png()
    make_jpeg()
    make_others()
    with open(os.path.join(HERE, "image_golden.h"), "w") as out:
        out.write("/* Made by make_image_golden.py with Pillow %s. */\n/* clang-format off */\n" % PIL.__version__)
        out.write("enum { GOLDEN_IMAGE_HEIGHT = %d, GOLDEN_IMAGE_WIDTH = %d, GOLDEN_SMALL_HEIGHT = %d, GOLDEN_SMALL_WIDTH = %d };\n"
                  % (HEIGHT, WIDTH, SMALL_HEIGHT, SMALL_WIDTH))
        out.write("static const struct golden_image {\n    const char *file;\n"
                  "    const char *drop, *small, *white; /* hexadecimal RGB; white NULL: nothing is transparent */\n"
                  "} GOLDEN_IMAGE[] = {\n")
        for name in sorted(os.listdir(FOLDER)):
            image = Image.open(os.path.join(FOLDER, name))
            image.load()
            small = image.resize((SMALL_WIDTH, SMALL_HEIGHT), Image.BICUBIC).convert("RGB")
            clear = image.mode in ("RGBA", "LA") or "transparency" in image.info
            out.write('    {"%s", /* %s */\n     %s,\n     %s,\n     %s},\n'
                      % (name, image.mode, hexadecimal(image.convert("RGB")), hexadecimal(small),
                         hexadecimal(over_white(image)) if clear else "NULL"))
        out.write("};\n")


if __name__ == "__main__":
    main()
