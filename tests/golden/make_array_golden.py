#!/usr/bin/env python3
"""Writes arrays/* and array_folder/*: features as NumPy, SciPy (MATLAB 5), h5py (MATLAB 7.3) and pickle write them, all with the same content,
which tests/data_prep/test_features.c makes by the same formulas:

    image[i][k] = (10 i + k) / 16, [7][5];  text[i][k] = (1000 + 10 i + k) / 16, [7][3]
    label[i] = 1 + i % 3;  class[i][c] = (c == i % 3);  ids[i] = "set/é-i"
    the test split: rows 4 … 6, the train split: rows 0 … 3

Needs NumPy, SciPy and h5py. CLIP4CMR's pickles are {'image', 'text', 'label', 'ids'} (main.py's load_features of
github zhixiongz/CLIP4CMR); old names of NumPy's modules are those before its version 2."""
import io
import os
import pickle

import h5py
import numpy as np
import scipy.io

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "arrays")
N, D, E = 7, 5, 3
rows = np.arange(N)
image = (10 * rows[:, None] + np.arange(D)) / 16
text = (1000 + 10 * rows[:, None] + np.arange(E)) / 16
label = 1 + rows % 3
bits = (np.arange(3) == (rows % 3)[:, None]).astype(np.uint8)
ids = [f"set/é-{i}" for i in rows]
train, test = slice(0, 4), slice(4, N)


def path(name):
    return os.path.join(HERE, name)


def dump(name, value, protocol, old=False):
    data = io.BytesIO()
    pickle.dump(value, data, protocol=protocol)
    raw = data.getvalue()
    if old and protocol < 4:  # names are lines there, so that their length is free
        raw = raw.replace(b"numpy._core.", b"numpy.core.")
    with open(path(name), "wb") as f:
        f.write(raw)


def part(rows_of, **types):
    return {"image": image[rows_of].astype(types.get("image", "f4")), "text": text[rows_of].astype(types.get("text", "f4")),
            "label": label[rows_of], "ids": ids[rows_of]}


# CLIP4CMR's two files: fp16 as extracted on a GPU, ids as a list.
dump("clip_train.pkl", part(train, image="f2", text="f2"), 4)
dump("clip_test.pkl", part(test, image="f2", text="f2"), 4)
whole = part(slice(None))
dump("protocol2.pkl", whole, 2, old=True)
dump("protocol3.pkl", dict(whole, ids=np.array(ids)), 3, old=True)
dump("protocol5.pkl", dict(whole, image=np.asfortranarray(image), ids=np.array(ids, dtype=object)), 5)
dump("big_endian.pkl", dict(whole, image=image.astype(">f8")), 4)
dump("lists.pkl", dict(whole, image=[row for row in image]), 4)
os.makedirs(path("../array_folder"), exist_ok=True)
np.save(path("../array_folder/image.npy"), np.asfortranarray(image))
np.save(path("../array_folder/text.npy"), text.astype(">f4"))
np.save(path("../array_folder/label.npy"), label.astype(np.int16)[:, None])
np.save(path("../array_folder/ids.npy"), np.array(ids))
np.savez(path("stored.npz"), image=image.astype("f2"), text=text, label=bits)
np.savez_compressed(path("deflated.npz"), image=image, text=text, label=label, note=np.array(["a", {}], dtype=object))
cells = np.array(ids, dtype=object)
splits = {"I_tr": image[train], "I_te": image[test], "T_tr": text[train], "T_te": text[test], "L_tr": label[train],
          "L_te": label[test], "sparse": scipy.sparse.csc_matrix(image), "struct": {"a": 1}}
scipy.io.savemat(path("splits.mat"), splits, do_compression=True)
scipy.io.savemat(path("plain.mat"), {"image": image.astype("f4"), "text": text, "label": label.astype("u1"), "ids": cells})
scipy.io.savemat(path("chars.mat"), {"image": image, "text": text, "label": bits, "ids": [i.replace("é", "e") for i in ids]})
for name in ("splits.mat", "plain.mat", "chars.mat"):  # the header holds the time
    with open(path(name), "r+b") as f:
        f.write(b"MATLAB 5.0 MAT-file, written for tests".ljust(116))
with h5py.File(path("v73.mat"), "w", userblock_size=512, libver="earliest") as f:
    f.create_dataset("image", data=image.T)
    f.create_dataset("text", data=text.T.astype("f4"))
    f.create_dataset("label", data=label[None, :].astype("f8"))
    f.create_dataset("names", data=np.frombuffer("abc".encode("utf-16le"), np.uint16)[:, None])
with open(path("v73.mat"), "r+b") as f:
    f.write(b"MATLAB 7.3 MAT-file, written for tests".ljust(124) + b"\x00\x02IM")
