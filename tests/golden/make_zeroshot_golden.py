#!/usr/bin/env python3
"""Makes zeroshot_golden.h: zero-shot accuracies from NumPy.

    python3 make_zeroshot_golden.py > zeroshot_golden.h

Features are small integers, whose scores are exact in f32 and often equal: np.argsort(kind="stable") on the negated
scores puts the lower class first.
"""

import numpy as np

rng = np.random.default_rng(20240611)


def array(ctype, name, values, form="{}"):
    values = [form.format(v) for v in np.asarray(values, dtype=object).ravel()]
    lines, line = [], ""
    for value in values:
        if len(line) + len(value) > 96:
            lines.append(line)
            line = ""
        line += value + ", "
    lines.append(line)
    return f"static const {ctype} {name}[] = {{\n    " + "\n    ".join(l.rstrip() for l in lines) + "\n};\n"


def accuracy(image, classes, label):
    order = np.argsort(-(image @ classes.T), axis=1, kind="stable")
    hit_1 = np.take_along_axis(label, order[:, :1], 1).any(1)
    hit_5 = np.take_along_axis(label, order[:, :5], 1).any(1)
    labelled = label.any(1)
    count = label.sum(0)
    with np.errstate(invalid="ignore"):
        per_class = (label & hit_1[:, None]).sum(0) / count
    return {
        "without": int((~labelled).sum()), "several": int((label.sum(1) > 1).sum()), "empty": int((count == 0).sum()),
        "top_1": hit_1[labelled].mean(), "top_5": hit_5[labelled].mean(), "mean": np.nanmean(per_class),
        "per_class": np.stack([count, (label & hit_1[:, None]).sum(0), (label & hit_5[:, None]).sum(0)], 1),
    }


def case(name, images, classes, d, prototypes_of):
    feature = rng.integers(-2, 3, (classes, d))
    label = prototypes_of(images, classes)
    image = label @ feature + rng.integers(-4, 5, (images, d))
    a = accuracy(image, feature, label.astype(bool))
    bits = [sum(1 << int(c) for c in np.flatnonzero(row)) for row in label]
    words = (classes + 63) // 64
    bits = [b >> (64 * w) & (2**64 - 1) for b in bits for w in range(words)]
    print(array("int8_t", f"{name}_class", feature))
    print(array("int8_t", f"{name}_image", image))
    print(array("uint64_t", f"{name}_label", bits, "{:#x}U"))
    print(array("int64_t", f"{name}_per_class", a["per_class"]))
    rows.append(f'    {{"{name}", {images}, {classes}, {d}, {name}_class, {name}_image, {name}_label, {name}_per_class, '
                f'{a["without"]}, {a["several"]}, {a["empty"]}, {a["top_1"]!r}, {a["top_5"]!r}, {a["mean"]!r}}},'
                .replace("np.float64(", "").replace(")", ""))


def one_label(images, classes):
    return np.eye(classes, dtype=int)[rng.integers(0, classes, images)]


def some_labels(images, classes):
    """None, one, two or three classes; the last two classes never."""
    label = np.zeros((images, classes), int)
    for row in label:
        row[rng.choice(classes - 2, rng.integers(0, 4), replace=False)] = 1
    return label


print("/* Made by make_zeroshot_golden.py with NumPy; do not edit. */")
print("#ifndef TANDEM_ZEROSHOT_GOLDEN_H\n#define TANDEM_ZEROSHOT_GOLDEN_H\n\n#include <stdint.h>\n")

rows = []
case("single", 37, 9, 6, one_label)
case("few", 11, 3, 4, one_label)
case("several", 53, 70, 8, some_labels)
print("""typedef struct zeroshot_golden {
    const char *name;
    int64_t images, classes, d;
    const int8_t *class_feature, *image;
    const uint64_t *label;
    const int64_t *per_class; /* [classes][3]: images, found at 1, at 5 */
    int64_t without, several, empty;
    double top_1, top_5, mean_per_class;
} zeroshot_golden;

static const zeroshot_golden zeroshot_goldens[] = {""")
print("\n".join(rows))
print("};\n\n#endif")
