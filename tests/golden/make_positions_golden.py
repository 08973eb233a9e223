#!/usr/bin/env python3
"""Writes positions_golden.h: position embeddings resized by torch.nn.functional.interpolate. Needs PyTorch.

The calls are those of open_clip's resize_pos_embed and resize_text_pos_embed, of Transformers'
interpolate_pos_encoding and of TBPS-CLIP's resize_pos_embed and interpolate_text. Every result is checked against the
same in double precision, so that the golden values are PyTorch's own up to rounding."""
import os

import torch
import torch.nn.functional as F

WIDTH = 3


def source(rows):
    """As golden_source() in tests/checkpoint/test_positions.c: integers, then an exact division."""
    index = torch.arange(rows * WIDTH, dtype=torch.int64)
    return ((index * index * 31 + index * 17) % 257).to(torch.float32).reshape(rows, WIDTH) / 256 - 0.5


def image(method, rows, old, new):
    kind = {"open_clip": dict(mode="bicubic", antialias=True, align_corners=False),
            "huggingface": dict(mode="bicubic", align_corners=False),
            "tbps_clip": dict(mode="bilinear")}[method]
    grid = rows[1:].reshape(1, old[0], old[1], WIDTH).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=new, **kind)
    return torch.cat([rows[:1], grid.permute(0, 2, 3, 1).reshape(-1, WIDTH)])


def linear(rows, new):
    return F.interpolate(rows.t().unsqueeze(0), size=new, mode="linear", align_corners=False)[0].t()


def text(method, rows, new):
    if method == "tbps_clip":
        return torch.cat([rows[:1], linear(rows[1:-1], new - 2), rows[-1:]])
    return linear(rows, new)


def literal(tensor):
    return ",".join("%.9g" % value for value in tensor.flatten().tolist())


def main():
    images = [("open_clip", (7, 7), (12, 4)), ("open_clip", (7, 7), (3, 5)), ("open_clip", (4, 4), (4, 9)),
              ("huggingface", (7, 7), (12, 4)), ("huggingface", (5, 5), (3, 3)), ("huggingface", (2, 2), (5, 5)),
              ("tbps_clip", (7, 7), (12, 4)), ("tbps_clip", (4, 4), (9, 3)), ("open_clip", (6, 2), (3, 8)),
              ("huggingface", (1, 1), (2, 3))]
    texts = [("open_clip", 9, 5), ("open_clip", 9, 20), ("huggingface", 9, 13), ("tbps_clip", 9, 13),
             ("tbps_clip", 9, 4)]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "positions_golden.h")
    with open(path, "w") as out:
        out.write("/* Made by make_positions_golden.py with PyTorch %s. */\n/* clang-format off */\n" % torch.__version__)
        out.write("static const struct golden_image {\n    const char *method;\n"
                  "    int64_t from_h, from_w, to_h, to_w;\n    const float *value;\n} GOLDEN_IMAGE[] = {\n")
        for method, old, new in images:
            rows = source(1 + old[0] * old[1])
            made = image(method, rows, old, new)
            assert (made - image(method, rows.double(), old, new)).abs().max() < 1e-6
            out.write('    {"%s", %d, %d, %d, %d,\n     (const float[]){%s}},\n' % (method, *old, *new, literal(made)))
        out.write("};\n\nstatic const struct golden_text {\n    const char *method;\n    int64_t from, to;\n"
                  "    const float *value;\n} GOLDEN_TEXT[] = {\n")
        for method, old, new in texts:
            out.write('    {"%s", %d, %d,\n     (const float[]){%s}},\n' %
                      (method, old, new, literal(text(method, source(old), new))))
        out.write("};\n")


if __name__ == "__main__":
    main()
