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


def bmp(name, bits, rows, *, header=40, compression=0, masks=b"", palette=b"", colours=0, down=False, height=HEIGHT,
        offset=None):
    """rows: bytes of each from the top, or all of them; masks: behind the first 40 bytes of the header"""
    if isinstance(rows, list):
        rows = b"".join(row + bytes(-len(row) % 4) for row in (rows if down else rows[::-1]))
    if header == 12:
        head = struct.pack("<IHHHH", header, WIDTH, height, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", header, WIDTH, -height if down else height, 1, bits, compression, len(rows),
                           2835, 2835, colours, 0)
        head += masks + bytes(max(0, header - 40 - len(masks)))
    start = 14 + len(head) + len(palette)
    write(name, b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start if offset is None else offset) + head
          + palette + rows)


def runs(row, four):
    """One row of indices as run lengths: equal ones as a run, others as they are, where that is allowed."""
    out, at = b"", 0
    while at < len(row):
        same = 1
        while at + same < len(row) and row[at + same] == row[at]:
            same += 1
        rest = len(row) - at
        if same > 1 or rest < 3:
            out += bytes([same, row[at] * 17 if four else row[at]])
            at += same
        else:
            part = list(row[at:at + 5]) if rest >= 5 else list(row[at:])
            data = packed_row(part, 4) if four else bytes(part)
            out += bytes([0, len(part)]) + data + bytes(len(data) % 2)
            at += len(part)
    return out


def packed_row(values, depth):
    values = list(values) + [0] * (-len(values) % (8 // depth))
    step = 8 // depth
    return bytes(sum(v << (8 - depth * (k + 1)) for k, v in enumerate(values[i:i + step]))
                 for i in range(0, len(values), step))


def make_bmp():
    rgb, rgba = smooth(3, 1), smooth(4, 2)
    few = Image.fromarray(rgb).quantize(16)
    index, colours = np.asarray(few), np.asarray(few.getpalette()[:48], dtype=np.uint8).reshape(16, 3)
    four = colours[:, ::-1]
    padded = np.concatenate([four, np.zeros((16, 1), np.uint8)], 1).tobytes()
    plain = [row[:, ::-1].tobytes() for row in rgb]
    bmp("down.bmp", 24, plain, down=True)
    bmp("core.bmp", 24, plain, header=12)
    bmp("core_palette.bmp", 8, [row.tobytes() for row in index], header=12,
        palette=four.tobytes() + bytes(3 * 240))
    for header in (52, 56, 64, 108, 124):
        bmp(f"header_{header}.bmp", 24, plain, header=header)
    bmp("palette_down.bmp", 8, [row.tobytes() for row in index], palette=padded, colours=16, down=True)
    bmp("palette_4.bmp", 4, [packed_row(row, 4) for row in index], palette=padded)
    bmp("palette_4_few.bmp", 4, [packed_row(row, 4) for row in index % 5], palette=padded[:20], colours=5)
    bmp("palette_1.bmp", 1, [packed_row(row % 2, 1) for row in index], palette=padded[8:16])
    bmp("beyond.bmp", 8, [row.tobytes() for row in index], palette=padded[:40], colours=10)
    bmp("no_offset.bmp", 8, [row.tobytes() for row in index], palette=padded, colours=16, offset=0)
    bmp("early_offset.bmp", 8, [row.tobytes() for row in index], palette=padded, colours=16, offset=54)
    runs_8 = [runs(row, False) for row in index // 4 * 4]
    end = b"\0\1"
    bmp("rle8.bmp", 8, b"\0\0".join(runs_8[::-1]) + end, compression=1, palette=padded, colours=16)
    bmp("rle8_down.bmp", 8, b"\0\0".join(runs_8) + end, compression=1, palette=padded, colours=16, down=True)
    # a run beyond its row, and a step to the right and up
    bmp("rle8_delta.bmp", 8, b"\x28\3\0\0\4\5\0\2\4\1" + b"\7\6" + b"\0\0"
        + b"\0\0".join(runs_8[:HEIGHT - 3]) + end, compression=1, palette=padded, colours=16)
    bmp("rle4.bmp", 4, b"\0\0".join(runs(row, True) for row in (index // 3)[::-1]) + end, compression=2, palette=padded)
    bmp("rle4_pairs.bmp", 4, b"".join(bytes([WIDTH, y * 16 + 15 - y, 0, 0]) for y in range(HEIGHT)), compression=2,
        palette=padded)
    c = rgb.astype(np.uint16) >> 3
    bits_555 = [row.astype("<u2").tobytes() for row in (c[..., 0] << 10 | c[..., 1] << 5 | c[..., 2])]
    green = rgb[..., 1].astype(np.uint16) >> 2
    bits_565 = [row.astype("<u2").tobytes() for row in (c[..., 0] << 11 | green << 5 | c[..., 2])]
    bmp("bits_555.bmp", 16, bits_555)
    bmp("bits_555_masks.bmp", 16, bits_555, compression=3, masks=struct.pack("<III", 0x7c00, 0x3e0, 0x1f))
    bmp("bits_565.bmp", 16, bits_565, compression=3, masks=struct.pack("<III", 0xf800, 0x7e0, 0x1f))
    bmp("bits_565_down.bmp", 16, bits_565, header=108, compression=3, down=True,
        masks=struct.pack("<IIII", 0xf800, 0x7e0, 0x1f, 0))
    bmp("bits_24_masks.bmp", 24, plain, compression=3, masks=struct.pack("<III", 0xff0000, 0xff00, 0xff))
    bgra = [row[:, [2, 1, 0, 3]].tobytes() for row in rgba]
    bmp("bits_32.bmp", 32, bgra)  # what could be alpha is none
    for name, masks in {"bgrx": (0xff0000, 0xff00, 0xff), "xbgr": (0xff000000, 0xff0000, 0xff00),
                        "bgxr": (0xff000000, 0xff00, 0xff), "nothing": (0, 0, 0)}.items():
        bmp(f"bits_32_{name}.bmp", 32, bgra, compression=3, masks=struct.pack("<III", *masks))
    for name, masks in {"abgr": (0xff000000, 0xff0000, 0xff00, 0xff), "rgba": (0xff, 0xff00, 0xff0000, 0xff000000),
                        "bgra": (0xff0000, 0xff00, 0xff, 0xff000000), "bgar": (0xff000000, 0xff00, 0xff, 0xff0000),
                        "opaque": (0xff0000, 0xff00, 0xff, 0)}.items():
        bmp(f"bits_32_{name}.bmp", 32, bgra, header=56, compression=3, masks=struct.pack("<IIII", *masks))


def frames(seed, channels=3, count=3):
    return [Image.fromarray(smooth(channels, seed + i)) for i in range(count)]


def webp_frame(name, base, top, left):
    """A copy of the animation `base` whose first frame leaves a border of the canvas."""
    data = bytearray(base)
    assert data[12:16] == b"VP8X" and data[30:34] == b"ANIM"
    data[24:27], data[27:30] = (WIDTH - 1).to_bytes(3, "little"), (HEIGHT - 1).to_bytes(3, "little")
    at = data.index(b"ANMF") + 8
    data[at:at + 3], data[at + 3:at + 6] = (left // 2).to_bytes(3, "little"), (top // 2).to_bytes(3, "little")
    write(name, bytes(data))


def make_animations():
    def animated(images, **options):
        return saved(images[0], save_all=True, append_images=images[1:], duration=50, **options)
    save_all = dict(save_all=True, duration=50)
    rgb, rgba = frames(11), frames(21, 4)
    save("animated.webp", rgb[0], append_images=rgb[1:], lossless=True, **save_all)
    save("animated_lossy.webp", rgb[0], append_images=rgb[1:], quality=90, **save_all)
    save("animated_alpha.webp", rgba[0], append_images=rgba[1:], lossless=True, exact=True, **save_all)
    save("animated_lossy_alpha.webp", rgba[0], append_images=rgba[1:], quality=90, **save_all)
    for name, images in (("animated_offset.webp", rgb), ("animated_offset_alpha.webp", rgba)):
        small = [image.resize((8, 6)) for image in images]
        webp_frame(name, animated(small, format="WEBP", lossless=True, exact=True, background=(200, 10, 60, 255)), 2, 4)
    few = [image.quantize(16) for image in rgb]
    save("animated.gif", few[0], append_images=few[1:], disposal=2, **save_all)
    save("animated.png", rgb[0], append_images=rgb[1:], **save_all)
    save("animated_default.png", rgba[0], append_images=rgba[1:], default_image=True, **save_all)
    # the same palette as the frame's own, and another as the file's
    gif = bytearray(saved(few[0], format="GIF", interlace=0))
    assert gif[10] & 0x87 == 0x83
    own = bytes(gif[13:61])
    at = gif.index(b",\0\0\0\0")
    gif[at + 9] |= 0x83
    gif[at + 10:at + 10] = own
    write("local.gif", bytes(gif[:13]) + own[::-1] + bytes(gif[61:]))
    write("local_only.gif", bytes(gif[:10]) + bytes([gif[10] & 0x7f]) + bytes(gif[11:13]) + bytes(gif[61:]))


def chunks(data):
    """Of a PNG: [type, content, checksum]"""
    at, out = 8, []
    while at < len(data):
        n, = struct.unpack(">I", data[at:at + 4])
        out.append([data[at + 4:at + 8], data[at + 8:at + 8 + n], data[at + 8 + n:at + 12 + n]])
        at += 12 + n
    return out


def write_chunks(name, parts):
    write(name, b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(c)) + t + c + s for t, c, s in parts))


def summed(kind, data):
    return [kind, data, struct.pack(">I", zlib.crc32(kind + data))]


PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def interlace(name, depth, colour, samples, *before):
    """samples: [HEIGHT][WIDTH][n]; each row of a pass has the next of the five filters, over zeros"""
    data, kind = b"", 0
    for top, left, down, right in PASSES:
        above = None
        for row in samples[top::down, left::right]:
            flat = row.reshape(-1)
            line = flat.astype(">u2").tobytes() if depth == 16 else packed_row(flat.tolist(), depth)
            step = max(1, samples.shape[-1] * depth // 8)
            data += bytes([kind]) + filtered(line, above or bytes(len(line)), step, kind)
            above, kind = line, (kind + 1) % 5
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, 1)
    write_chunks(name, [summed(b"IHDR", head)] + list(before) + [summed(b"IDAT", zlib.compress(data, 9)), summed(b"IEND", b"")])


def filtered(line, above, step, kind):
    """The bytes that filter `kind` writes."""
    out = bytearray()
    for i, value in enumerate(line):
        left, corner = (line[i - step], above[i - step]) if i >= step else (0, 0)
        guess = left + above[i] - corner
        paeth = min((left, above[i], corner), key=lambda x: abs(guess - x))
        out.append((value - (0, left, above[i], (left + above[i]) // 2, paeth)[kind]) % 256)
    return bytes(out)


def make_odd_png():
    rgb = smooth(3, 1)
    parts = chunks(saved(Image.fromarray(rgb), format="PNG"))
    data = parts[1][1]
    wrong = [[t, c, bytes([s[0] ^ 1]) + s[1:] if t == b"IDAT" else s] for t, c, s in parts]
    write_chunks("sum_idat.png", wrong)
    write_chunks("unknown_critical.png", parts[:1] + [summed(b"ABCD", b"x")] + parts[1:])
    write_chunks("trailing.png", parts + [[b"junk", b"behind the end", b"0000"]])
    write_chunks("no_end.png", parts[:2])
    more = zlib.compress(zlib.decompress(data) + b"behind the last pixel")
    write_chunks("more_data.png", parts[:1] + [summed(b"IDAT", more)] + parts[2:])
    pieces = [summed(b"IDAT", data[i:i + 50]) for i in range(0, len(data), 50)]
    write_chunks("pieces.png", parts[:1] + pieces[:2] + [summed(b"IDAT", b"")] + pieces[2:] + parts[2:])
    few = Image.fromarray(rgb).quantize(16)
    parts = chunks(saved(few, format="PNG"))
    colours = parts[1]
    parts[1] = summed(b"PLTE", colours[1][:30])
    write_chunks("beyond.png", parts)
    wide = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1)
    gray = smooth(1, 3)
    interlace("interlaced.png", 8, 2, rgb)
    interlace("interlaced_alpha.png", 8, 6, smooth(4, 2))
    interlace("interlaced_palette.png", 4, 3, np.asarray(few)[..., None], colours)
    interlace("interlaced_beyond.png", 4, 3, np.asarray(few)[..., None], parts[1])
    interlace("interlaced_gray_1.png", 1, 0, gray >> 7)
    interlace("interlaced_gray_2.png", 2, 0, gray >> 6)
    interlace("interlaced_gray_alpha_16.png", 16, 4, smooth(2, 4).astype(np.int64) * 256 + wide)
    interlace("interlaced_rgba_16.png", 16, 6, smooth(4, 2).astype(np.int64) * 256 + 255 - wide)
    interlace("interlaced_key.png", 8, 2, rgb, summed(b"tRNS", b"".join(struct.pack(">H", int(v)) for v in rgb[4, 5])))


def make_odd_jpeg():
    rgb = Image.fromarray(smooth(3, 1))
    data = saved(rgb, format="JPEG", quality=90)
    write("trailing.jpg", data + b"behind the end\xff\xd8")
    save("cmyk_progressive.jpg", Image.fromarray(smooth(4, 6), "CMYK"), quality=90, progressive=True)
    save("keep_rgb.jpg", rgb, quality=90, keep_rgb=True)


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
    make_bmp()
    make_animations()
    make_odd_png()
    make_odd_jpeg()
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
