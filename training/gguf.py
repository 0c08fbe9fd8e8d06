"""GGUF version 3, the small part that this model needs: F32 and Q8_0 tensors, metadata of plain values and arrays. Write and read.

Layout (ggml's docs/gguf.md): magic, version, counts; key/value pairs; tensor headers; padding to 32 bytes; tensor data.
"""
import struct

import numpy as np

ALIGNMENT = 32
F32, Q8_0 = 0, 8
U32, FLOAT, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
BLOCK = 32


class Float(float):
    """A metadata value stored as a 32-bit float; plain ints are stored as 32-bit unsigned."""


def quantize(matrix):
    """float32 [rows, columns] -> bytes of Q8_0: per 32 values one half-precision scale and 32 signed bytes."""
    rows, columns = matrix.shape
    assert columns % BLOCK == 0, f"{columns} columns are no multiple of {BLOCK}"
    blocks = np.asarray(matrix, np.float32).reshape(-1, BLOCK)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    packed = np.zeros(len(blocks), dtype=[("scale", "<f2"), ("values", "i1", BLOCK)])
    packed["scale"] = scale[:, 0]
    packed["values"] = np.rint(blocks * inverse)
    return packed.tobytes()


def dequantize(data, rows, columns):
    packed = np.frombuffer(data, dtype=[("scale", "<f2"), ("values", "i1", BLOCK)])
    return (packed["scale"].astype(np.float32)[:, None] * packed["values"]).reshape(rows, columns)


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value_type(value):
    if isinstance(value, bool):
        return BOOL
    return STRING if isinstance(value, str) else FLOAT if isinstance(value, Float) else ARRAY if isinstance(value, list) else U32


def encode_value(value):
    kind = value_type(value)
    if kind == ARRAY:
        return struct.pack("<IQ", value_type(value[0]), len(value)) + b"".join(map(encode_value, value))
    return string(value) if kind == STRING else struct.pack({BOOL: "<?", FLOAT: "<f", U32: "<I"}[kind], value)


def write(path, metadata, tensors):
    """tensors: {name: float32 array}; matrices become Q8_0, vectors stay F32. Returns the file's size in bytes."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        head.append(string(key) + struct.pack("<I", value_type(value)) + encode_value(value))
    offset, data = 0, []
    for name, array in tensors.items():
        packed = quantize(array) if array.ndim == 2 else np.asarray(array, "<f4").tobytes()
        sizes = array.shape[::-1]  # the fastest dimension first
        head.append(string(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, Q8_0 if array.ndim == 2 else F32, offset))
        data.append(packed + bytes(-len(packed) % ALIGNMENT))
        offset += len(data[-1])
    head = b"".join(head)
    path.write_bytes(head + bytes(-len(head) % ALIGNMENT) + b"".join(data))
    return path.stat().st_size


class Reader:
    """Reads what `write` writes: metadata and dequantised tensors."""

    def __init__(self, path):
        self.data, self.at = path.read_bytes(), 0
        assert self.data[:4] == b"GGUF", f"{path} is no GGUF file"
        self.at = 4
        version, n_tensors, n_pairs = self.take("<IQQ")
        assert version == 3, f"GGUF version {version} is not read here"
        self.metadata = {}
        for _ in range(n_pairs):
            key = self.text()
            self.metadata[key] = self.value(*self.take("<I"))
        headers = []
        for _ in range(n_tensors):
            name = self.text()
            (n_dims,) = self.take("<I")
            *sizes, kind, offset = self.take(f"<{n_dims}QIQ")
            headers.append((name, sizes, kind, offset))
        start = self.at + -self.at % ALIGNMENT
        self.tensors = {name: self.tensor(sizes, kind, start + offset) for name, sizes, kind, offset in headers}

    def take(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def text(self):
        (size,) = self.take("<Q")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def value(self, kind):
        if kind == ARRAY:
            item, n = self.take("<IQ")
            return [self.value(item) for _ in range(n)]
        return self.text() if kind == STRING else self.take({BOOL: "<?", FLOAT: "<f", U32: "<I"}[kind])[0]

    def tensor(self, sizes, kind, at):
        n = int(np.prod(sizes))
        if kind == F32:
            return np.frombuffer(self.data, "<f4", n, at).reshape(sizes[::-1])
        assert kind == Q8_0, f"tensor type {kind} is not read here"
        return dequantize(self.data[at : at + n // BLOCK * (BLOCK + 2)], *sizes[::-1])
