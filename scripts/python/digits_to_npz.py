#!/usr/bin/env python3
"""Writes data/digits-train.npz and data/digits-test.npz from scikit-learn's copy of the digits.

    pip download scikit-learn==1.9.1 --no-deps
    unzip -p scikit_learn-*.whl sklearn/datasets/data/digits.csv.gz > digits.csv.gz
    python scripts/python/digits_to_npz.py digits.csv.gz

Needs the standard library alone. A second run writes the same bytes.
"""

import gzip
import struct
import sys
import zipfile
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data"
TEST = 360  # the last images: mostly of other writers than those before


def npy(descr, shape, data):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def save(path, rows):
    pixels = [float(v) for row in rows for v in row[:64]]
    arrays = {
        "input": npy("<f2", (len(rows), 8, 8), struct.pack(f"<{len(pixels)}e", *pixels)),
        "target": npy("|u1", (len(rows),), bytes(row[64] for row in rows)),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, 9)
    print(f"{path.relative_to(DATA.parent)}: {len(rows)} images, {path.stat().st_size} bytes")


def main():
    with gzip.open(sys.argv[1], "rt") as lines:
        rows = [[int(cell) for cell in line.split(",")] for line in lines]
    assert len(rows) == 1797 and all(len(row) == 65 for row in rows)
    save(DATA / "digits-train.npz", rows[:-TEST])
    save(DATA / "digits-test.npz", rows[-TEST:])


main()
