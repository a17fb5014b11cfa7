#!/usr/bin/env python3
"""Writes the files that fuzzing starts from, small and without other packages.

Per target a few valid files of different features and a few that are slightly broken. Run from the
project's folder: python3 fuzz/make_corpus.py
"""

import io
import json
import pathlib
import struct
import zipfile

ROOT = pathlib.Path(__file__).parent / "corpus"


def put(target: str, name: str, data: bytes) -> None:
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def safetensors(tensors: dict, metadata: dict | None = None, dtype: str = "F32") -> bytes:
    """Every tensor is given by its shape; values count up in quarters."""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = {"wgpu_rnn": json.dumps(metadata)}
    size = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8}[dtype]
    pack = {"F32": "<f", "F16": "<e", "BF16": "<e", "F64": "<d"}[dtype]
    for name, shape in tensors.items():
        count = 1
        for axis in shape:
            count *= axis
        values = b"".join(struct.pack(pack, (i % 9 - 4) / 4) for i in range(count))
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [len(data), len(data) + count * size],
        }
        data += values
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def layer(gates: int, hidden: int, inputs: int, prefix: str = "rnn.", end: str = "l0", bias: bool = True) -> dict:
    tensors = {
        f"{prefix}weight_ih_{end}": [gates * hidden, inputs],
        f"{prefix}weight_hh_{end}": [gates * hidden, hidden],
    }
    if bias:
        tensors[f"{prefix}bias_ih_{end}"] = [gates * hidden]
        tensors[f"{prefix}bias_hh_{end}"] = [gates * hidden]
    return tensors


def meta(layers: list, **more) -> dict:
    return {"version": 1, "input": {"kind": "dense", "size": 2}, "recurrent": "rnn", "layers": layers, **more}


def models() -> None:
    fc = {"fc.weight": [3, 2], "fc.bias": [3]}
    lstm = layer(4, 2, 2)
    both = layer(3, 2, 2) | layer(3, 2, 2, end="l0_reverse")
    put("safetensors", "state_dict_lstm_fc", safetensors(lstm | fc))
    put("safetensors", "state_dict_gru_both_f16", safetensors(both, dtype="F16"))
    put("safetensors", "state_dict_rnn_f64_bf16", safetensors(layer(1, 2, 3, bias=False), dtype="F64"))
    stack = layer(4, 2, 3, "lstm1.") | layer(3, 2, 2, "gru2.") | {"emb.weight": [5, 3]}
    put("safetensors", "state_dict_stack_embedding", safetensors(stack))
    projected = {
        "rnn.weight_ih_l0": [8, 2], "rnn.weight_hh_l0": [8, 1], "rnn.weight_hr_l0": [1, 2],
        "rnn.bias_ih_l0": [8], "rnn.bias_hh_l0": [8],
    }
    put("safetensors", "state_dict_projection", safetensors(projected))
    entry = {"cell": "lstm", "hidden_size": 2, "direction": "forward", "bias": True, "proj_size": 0}
    head = {"tensor": "fc", "activation": "softmax", "steps": "last"}
    info = {"columns": ["x", "y"], "outputs": ["a", "b", "c"], "description": "made up", "command": "none"}
    whole = safetensors(lstm | fc, meta([entry], head=head, **info))
    put("safetensors", "metadata_lstm", whole)
    options = entry | {
        "functions": [[{"name": "hard-sigmoid", "alpha": 0.2, "beta": 0.5}, {"name": "softsign"}, {"name": "tanh"}]],
        "clip": 3.0, "cell_clip": [-1.0, 2.0], "peephole": True, "input_forget": True,
    }
    put("safetensors", "metadata_options", safetensors(lstm | {"rnn.peephole_l0": [6]}, meta([options])))
    tokens = meta(
        [{"cell": "rnn-relu", "hidden_size": 2}],
        vocabulary={"unit": "char", "tokens": ["a", "b", "c"]}, forecast=True,
    ) | {"input": {"kind": "one-hot", "vocab": 3}}
    put("safetensors", "metadata_tokens", safetensors(layer(1, 2, 3), tokens))
    put("safetensors", "broken_cut", whole[:-7])
    put("safetensors", "broken_header_length", struct.pack("<Q", 1 << 62) + whole[8:])
    put("safetensors", "broken_sizes", safetensors(lstm | {"fc.weight": [3, 5]}, meta([entry], head=head)))
    put("safetensors", "broken_version", safetensors(lstm, meta([entry]) | {"version": 9}))
    huge = meta([entry | {"hidden_size": 1 << 40}])
    put("safetensors", "broken_huge", safetensors(lstm, huge))


def npy(descr: str, shape: tuple, data: bytes, order: bool = False, version: int = 1) -> bytes:
    text = str({"descr": descr, "fortran_order": order, "shape": shape})
    room = 10 if version == 1 else 12
    text += " " * (63 - (room + len(text)) % 64) + "\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + data


def floats(code: str, *values: float) -> bytes:
    return struct.pack(f"{code[0]}{len(values)}{code[1]}", *values)


DENSE = npy("<f4", (2, 3, 2), floats("<f", *range(12)))
TOKENS = npy("<i8", (2, 2), floats("<q", 0, 1, 2, 1))


def arrays() -> None:
    put("npy", "f4_3d", DENSE)
    put("npy", "f8_big_endian", npy(">f8", (3, 1), floats(">d", 0.5, float("nan"), 1e300)))
    put("npy", "f2_fortran", npy("<f2", (2, 2), floats("<e", 1, 2, 3, 4), order=True))
    put("npy", "i8_tokens", TOKENS)
    put("npy", "u1_version2", npy("|u1", (3,), bytes([0, 1, 2]), version=2))
    put("npy", "scalar", npy("<f4", (), floats("<f", 1)))
    put("npy", "empty", npy("<f4", (2, 0, 2), b""))
    put("npy", "broken_cut", DENSE[:-3])
    put("npy", "broken_shape", npy("<f4", (1 << 62, 4), b"1234"))
    put("npy", "broken_type", npy("<c16", (1,), bytes(16)))
    put("npy", "broken_header", DENSE[:40])
    put("npy", "many_empty", npy("<f4", (1 << 62, 0), b""))


def zipped(entries: dict, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            archive.writestr(info, data)
    return file.getvalue()


def archives() -> None:
    lengths = npy("<i8", (2,), floats("<q", 3, 1))
    state = npy("<f4", (2, 2, 2), floats("<f", *range(8)))
    layers = {f"{s}_0_l{n}": npy("<f4", (1, 2, 2), bytes(16)) for s in "hc" for n in range(2)}
    whole = zipped({"input": DENSE, "lengths": lengths, "h_0": state, "c_0": state})
    put("npz", "states", whole)
    put("npz", "deflated", zipped({"input": DENSE, "lengths": lengths}, zipfile.ZIP_DEFLATED))
    put("npz", "layers", zipped({"input": DENSE, **layers}))
    put("npz", "broken_cut", whole[:-30])
    put("npz", "broken_middle", whole.replace(b"NUMPY", b"NUMPI"))
    put("npz", "broken_crc", whole.replace(floats("<f", 5, 6), floats("<f", 6, 5)))
    put("npz", "no_input", zipped({"x": DENSE, "h_n": state}))


def texts() -> None:
    put("csv", "numbers", b"1,2\n3,4\n5,6\n7,8\n")
    put("csv", "header", b"year;x;y\r\n1990;0.5;1e3\r\n1991;nan;-inf\r\n")
    put("csv", "tabs_quotes", b'"x"\t"y"\n" 1 "\t2\n')
    put("csv", "tokens", b"token\n0\n2\n1\n")
    put("csv", "marked", "\ufeffx,y\n1,2\n".encode())
    put("csv", "broken_rows", b"1,2\n3\n4,5,6\n")
    put("csv", "broken_lines", b"1\n\n2\r\r3\n")
    put("csv", "broken_quote", b'x,y\n"1,2\n3,4\n')
    put("csv", "broken_text", b"\xff\xfe1\x00,\x002")
    put("jsonl", "dense", b'{"id": 1, "input": [[1, 2], [3.5, -4e2]]}\n\n[[5, 6]]\n')
    put("jsonl", "single", b'[1, [2], 3]\n{"input": []}\n')
    put("jsonl", "tokens", b'{"tokens": [0, 1, 2], "label": "x"}\n[2, 1]\n{"text": "ab\\u00e9"}\n')
    put("jsonl", "broken_json", b'{"input": [[1, 2]\n')
    put("jsonl", "broken_values", b'{"input": [[1, null]]}\n[[1e60, 0]]\n{"tokens": [-1]}\n')
    put("jsonl", "deep", b"[" * 300)
    put("txt", "lines", "abé\n\nba\r\n".encode())
    put("txt", "marked", "\ufeffa\nb".encode())
    put("txt", "broken", b"abx\n\xff\n")
    put("lengths", "text", b"3\n 0\r\n\n12")
    put("lengths", "marked", "\ufeff1\n2\n".encode())
    put("lengths", "npy", npy("<i4", (3,), floats("<i", 1, -2, 3)))
    put("lengths", "broken", b"3\nx\n")
    put("lengths", "huge", b"9" * 60)


models()
arrays()
archives()
texts()
