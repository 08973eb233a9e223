#!/usr/bin/env python3
"""Writes corpus/safetensors, corpus/zip and corpus/pickle: small good inputs, and some that are wrong in one place.
The pickles are those of tests/golden/tensors. Needs nothing but Python."""
import io
import json
import os
import pickle
import struct
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden", "tensors")


def write(target, name, data):
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as out:
        out.write(data)


def row(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors():
    headers = {
        "types": {t: row(t, [n], at, at + n * b) for t, n, b, at in
                  (("F64", 1, 8, 0), ("F32", 2, 4, 8), ("F16", 2, 2, 16), ("BF16", 1, 2, 20), ("I64", 1, 8, 22),
                   ("I32", 1, 4, 30), ("I16", 1, 2, 34), ("I8", 1, 1, 36), ("U8", 1, 1, 37), ("BOOL", 2, 1, 38))},
        "metadata": {"__metadata__": {"format": "pt"}, "visual.proj": row("F32", [2, 3], 0, 24)},
        "scalar": {"s": row("F32", [], 0, 4), "empty": row("F32", [0, 5], 4, 4)},
        "overlap": {"a": row("F32", [2], 0, 8), "b": row("F32", [1], 4, 8)},
        "hole": {"a": row("F16", [2], 0, 4), "b": row("F16", [1], 6, 8)},
        "float8": {"a": row("F8_E4M3", [4], 0, 4)},
        "huge": {"a": row("F32", [2**40, 2**40], 0, 4), "b": row("F32", [1], 0, 2**63 - 1)},
        "deep": {"a": {"dtype": [[[[[]]]]], "shape": {"x": [1]}, "data_offsets": [[0], 4]}},
    }
    for name, header in headers.items():
        text = json.dumps(header, separators=(",", ":")).encode()
        ends = [r["data_offsets"][1] for k, r in header.items() if k != "__metadata__"]
        size = max(e if isinstance(e, int) and e < 250 else 4 for e in ends)
        write("safetensors", name, bytes([size]) + text)
    text = json.dumps(headers["metadata"]).encode()
    write("safetensors", "raw", b"r" + struct.pack("<Q", len(text)) + text + bytes(24))
    write("safetensors", "raw_long", b"r" + struct.pack("<Q", 2**63) + text)
    write("safetensors", "raw_index", b"r" + json.dumps({"weight_map": {"a": "none.safetensors"}}).encode())


def tensor_pickle(shape=b"K\x02K\x02\x86", strides=b"K\x02K\x01\x86"):
    storage = (b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" b"0X\x03\0\0\0cpuK\x04tQ")
    return (b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + shape + strides +
            b"\x89ccollections\nOrderedDict\n)RtRs.")


def archive(data, method=zipfile.ZIP_STORED, prefix="x/", extra=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, content in [("data.pkl", data), ("data/0", bytes(range(16))), *extra]:
            z.writestr(zipfile.ZipInfo(prefix + name), content, method)
    return out.getvalue()


def zips():
    good = archive(tensor_pickle())
    write("zip", "good", good)
    write("zip", "comment", good[:-2] + b"\x05\0hello")
    write("zip", "deflated", archive(tensor_pickle(), zipfile.ZIP_DEFLATED))
    write("zip", "big_endian", archive(tensor_pickle(), extra=[("byteorder", b"big")]))
    write("zip", "little_endian", archive(tensor_pickle(), extra=[("byteorder", b"little")]))
    write("zip", "no_prefix", archive(tensor_pickle(), prefix=""))
    write("zip", "cut", good[:-30])
    end = good.rindex(b"PK\5\6")
    entries, size, at = struct.unpack("<HII", good[end + 10:end + 20])
    end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, entries, entries, size, at)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, end, 1)
    write("zip", "zip64", good[:end] + end64 + locator + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xffff, 0xffff,
                                                                                  0xffffffff, 0xffffffff, 0))
    # one entry whose sizes and place stand in the extra field
    row_at = good.index(b"PK\1\2")
    name = b"x/data.pkl"
    size = struct.unpack("<I", good[row_at + 24:row_at + 28])[0]
    row = bytearray(good[row_at:row_at + 46])
    row[20:28] = b"\xff" * 8
    row[30:32] = struct.pack("<H", 28)
    row[42:46] = b"\xff" * 4
    extra = struct.pack("<HHQQQ", 1, 24, size, size, 0)
    rest = good[row_at + 46 + len(name):end]
    wide = good[:row_at] + bytes(row) + name + extra + rest
    write("zip", "zip64_entry", wide + good[end:end + 12] + struct.pack("<IIH", len(wide) - row_at, row_at, 0))


def pickles():
    for file in sorted(os.listdir(GOLDEN)):
        path = os.path.join(GOLDEN, file)
        if not file.endswith((".pt", ".pth")) or not zipfile.is_zipfile(path):
            continue
        with zipfile.ZipFile(path) as z:
            name = next(n for n in z.namelist() if n.endswith("/data.pkl"))
            data = z.read(name)
        if len(data) < 3000:
            write("pickle", file.split(".")[0], data)
    write("pickle", "tensor", tensor_pickle())
    write("pickle", "expanded", tensor_pickle(b"K\x09K\x04\x86", b"K\0K\x01\x86"))
    write("pickle", "transposed", tensor_pickle(strides=b"K\x01K\x02\x86"))
    loop = {"a": [1, (2, 3)], "b": {1.5, None}, "c": 2**70, "d": b"x" * 300, "e": "é" * 300, 5: -(2**40)}
    loop["self"] = [loop]
    for protocol in (2, 3, 4, 5):
        write("pickle", f"protocol{protocol}_plain", pickle.dumps(loop, protocol))
    write("pickle", "object", b"\x80\x02cargparse\nNamespace\n)\x81q\0}(X\x01\0\0\0ph\0X\x01\0\0\0nK\x01ub.")
    write("pickle", "shared", b"]q\0" + b"".join(b"]q%ch%cah%ca" % (i, i - 1, i - 1) for i in range(1, 12)) + b".")
    write("pickle", "opcodes", b"\x80\x02(K\x01M\x01\x02J\xff\xff\xff\xffN\x88\x89G" + bytes(8) +
          b"\x8a\x02\x01\x80U\x01aT\x01\0\0\0b(NN12000]\x94K\x01a0tq\x05h\x05\x85.")


def main():
    safetensors()
    zips()
    pickles()


if __name__ == "__main__":
    main()
