#!/usr/bin/env python3
"""Which operations of a pool come about, in which order: with replacement as numpy.random.choice (needs torch)."""
from stream import pixel_cases, tensor_cases, write

P = (1.0, 0.5, 0.7, 1.0)


def pool(stream, image, change, k=2, replace=True):
    left, chosen = list(range(len(change))), []
    for i in range(k):
        if replace:
            chosen.append(stream.below(len(change)))
        else:  # the first k of a shuffle
            at = i + stream.below(len(left) - i)
            left[i], left[at] = left[at], left[i]
            chosen.append(left[i])
    for i in chosen:
        if stream.uniform() < P[i]:
            image = change[i](image)
            if i == 3:  # its strength, from a range of one value
                stream.uniform()
    return image


def pixels(stream, image, **options):
    return pool(stream, image, [
        lambda im: [row[::-1] for row in im], lambda im: im[::-1],
        lambda im: [[[255 - v for v in pixel] for pixel in row] for row in im],
        lambda im: [[[v & 0xf0 for v in pixel] for pixel in row] for row in im]], **options)


def tensor(stream, image, **options):
    def gray(im):
        return (0.2989 * im[0] + 0.587 * im[1] + 0.114 * im[2])[None].expand(3, -1, -1).contiguous()
    return pool(stream, image, [lambda im: im.flip(-1), lambda im: im.flip(-2), gray,
                                lambda im: (im * 0.5).clamp(0, 1)], **options)


def entries(third, fourth):
    of = "pool(of=[flip(p=1),vflip(p=0.5),%s,%s]" % (third, fourth)
    return {of + ")": {}, of + ",k=3,replace=false)": {"k": 3, "replace": False},
            of + ",k=5)": {"k": 5}, of + ",k=4,replace=false)": {"k": 4, "replace": False}}


write("pool", pixel_cases(pixels, entries("invert(p=0.7)", "posterize(min=4,max=4)"), ((5, 4), (3, 7)), 20) +
      tensor_cases(tensor, entries("gray(p=0.7)", "brightness(min=0.5,max=0.5)"), ((5, 4), (3, 7)), 10))
