#!/usr/bin/env python3
"""What the gguf package reads of a file: its metadata, and every tensor as float32.

    python3 -m pip install -r tools/requirements-interop.txt
    python3 tools/interop/gguf_read.py FILE.gguf OUT.safetensors

OUT holds the tensors under the names of the file, in float32, as the package dequantizes them. Standard output is one
JSON object: `gguf` (the package's version), `architecture`, `types` (how many tensors there are of each type), and
`fields` (each key with its value; lists by their length).

The package does not know I2_S, which is bitnet.cpp's own: it is told the type's number and sizes, and what is in the
blocks is decoded here, from the layout alone: 128 codes in 32 bytes, the first 32 in the top two bits of each, and the
scale as a float32 after the last block.
"""

import argparse
import json
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType
from safetensors.numpy import save_file

I2_S = 36
I2_S_BLOCK, I2_S_BYTES = 128, 32


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()

    add_i2_s()
    reader = gguf.GGUFReader(arguments.file)
    save_file({tensor.name: values(reader, tensor) for tensor in reader.tensors}, arguments.out)
    report = {
        "gguf": version("gguf"),
        "architecture": reader.fields["general.architecture"].contents(),
        "types": Counter(tensor.tensor_type.name for tensor in reader.tensors),
        "fields": {key: shown(field.contents()) for key, field in reader.fields.items()},
    }
    print(json.dumps(report, ensure_ascii=False))
    return 0


def add_i2_s() -> None:
    """Makes the package know the number and the sizes of I2_S."""
    member = int.__new__(GGMLQuantizationType, I2_S)
    member._name_, member._value_ = "I2_S", I2_S
    GGMLQuantizationType._value2member_map_[I2_S] = member
    gguf.GGML_QUANT_SIZES[member] = (I2_S_BLOCK, I2_S_BYTES)
    gguf.constants.GGML_QUANT_SIZES[member] = (I2_S_BLOCK, I2_S_BYTES)


def values(reader: gguf.GGUFReader, tensor: gguf.ReaderTensor) -> np.ndarray:
    """The tensor in float32; the file has the sizes the other way round."""
    shape = [int(size) for size in reversed(tensor.shape)]
    if tensor.tensor_type.value == I2_S:
        return i2_s(reader, tensor).reshape(shape)
    return np.ascontiguousarray(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32).reshape(shape)


def i2_s(reader: gguf.GGUFReader, tensor: gguf.ReaderTensor) -> np.ndarray:
    count = tensor.n_elements * I2_S_BYTES // I2_S_BLOCK
    begin = tensor.data_offset
    data = np.frombuffer(reader.data, np.uint8, count, begin).reshape(-1, I2_S_BYTES)
    (scale,) = np.frombuffer(reader.data, np.float32, 1, begin + count)
    codes = np.stack([data >> shift & 3 for shift in (6, 4, 2, 0)], axis=1)
    return (codes.reshape(-1).astype(np.float32) - 1) * scale


def shown(value: object) -> object:
    return len(value) if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
