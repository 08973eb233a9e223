"""What the scripts of this folder share: the project's random streams, written once more, and cases of a golden file.

A golden file NAME.txt holds cases of the augmentation NAME, a line each, words between blanks:

  pixels HEIGHT WIDTH SEED STEP SAMPLE PURPOSE ENTRY HEX      what becomes of synthetic(HEIGHT, WIDTH)
  tensor HEIGHT WIDTH SEED STEP SAMPLE PURPOSE ENTRY HEX      the same behind `tensor`: float32 [3][HEIGHT][WIDTH]
  box HEIGHT WIDTH SEED STEP SAMPLE PURPOSE ENTRY BOX         TOP,LEFT,HEIGHT,WIDTH of the part it chooses
  words SEED STEP SAMPLE PURPOSE ENTRY HEX HEX HEX…           a text (UTF-8 in hexadecimal) before and after; its
                                                              other wordings, if it has any
  tokens SEED STEP SAMPLE PURPOSE ENTRY IDS IDS IDS           start,end,mask,size,token… before; tokens; targets

ENTRY is what stands in the list of a view, without blanks."""
import os

MASK = 0xFFFFFFFF


def philox(counter, key):
    """Philox4x32-10: Salmon et al., SC'11."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK, (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


class Stream:
    def __init__(self, seed, step, sample, purpose):
        name = [step & MASK, (step >> 32) ^ (purpose * 0x9E3779B9 & MASK), sample & MASK, (sample >> 32) ^ purpose]
        mixed = philox(name, [seed & MASK, seed >> 32])
        self.key, self.high, self.count, self.block = mixed[:2], mixed[2:], 0, []

    def u32(self):
        if not self.block:
            self.block = philox([self.count & MASK, self.count >> 32] + self.high, self.key)
            self.count += 1
        return self.block.pop(0)

    def uniform(self):
        return self.u32() * 2.0**-32

    def range(self, low, high):
        return low + (high - low) * self.uniform()

    def below(self, n):
        reject = 2**64 % n
        while True:
            value = self.u32() << 32
            value |= self.u32()
            if value >= reject:
                return value % n


    def shuffled(self, items):
        """In random order, one after the other: who stops early draws no further."""
        items = list(items)
        for i in range(len(items)):
            j = i + self.below(len(items) - i)
            items[i], items[j] = items[j], items[i]
            yield items[i]


def synthetic(height, width):
    """Pixels [height][width][3] as golden_source() of tests/image/image_case.h makes them."""
    def value(y, x, c):
        noise = (x * 73 + y * 151 + c * 37 + x * y * 29) % 61
        edge = 120 if (x // (5 + c) + y // 7) % 2 == 0 else 20
        return (edge + noise + x * (c + 1)) % 256
    return [[[value(y, x, c) for c in range(3)] for x in range(width)] for y in range(height)]


def round_half_even(x):
    return int(round(x))


def write(name, cases):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".txt"), "w", encoding="utf-8") as out:
        out.writelines(" ".join(str(word) for word in case) + "\n" for case in cases)


def pixel_cases(change, entries, sizes=((6, 7), (9, 4), (1, 5)), samples=6):
    """change(stream, pixels, **options) for entries {"erase(p=1)": {"p": 1}}; purpose 6 is that of tests."""
    cases = []
    for height, width in sizes:
        for entry, options in entries.items():
            for sample in range(samples):
                pixels = change(Stream(1, 2, sample, 6), synthetic(height, width), **options)
                line = bytes(v for row in pixels for pixel in row for v in pixel).hex()
                cases.append(("pixels", height, width, 1, 2, sample, 6, entry, line))
    return cases


def tensor_cases(change, entries, sizes=((6, 7), (9, 4), (1, 5)), samples=3):
    """change(stream, tensor, **options) of a torch tensor [3, height, width] (needs torch)."""
    import torch
    cases = []
    for height, width in sizes:
        for entry, options in entries.items():
            for sample in range(samples):
                tensor = torch.tensor(synthetic(height, width)).permute(2, 0, 1).contiguous().float() / 255
                tensor = change(Stream(1, 2, sample, 6), tensor, **options)
                line = tensor.numpy().astype("<f4").tobytes().hex()
                cases.append(("tensor", height, width, 1, 2, sample, 6, entry, line))
    return cases


def image_change(change):
    """A change of Pillow's images as one of pixels (needs Pillow and NumPy)."""
    def changed(stream, pixels, **options):
        import numpy as np
        from PIL import Image
        return np.asarray(change(stream, Image.fromarray(np.array(pixels, np.uint8)), **options)).tolist()
    return changed


def write_pixels(name, change, entries, **how):
    write(name, pixel_cases(change, entries, **how))


def hexed(text):
    return text.encode().hex() or "-"
