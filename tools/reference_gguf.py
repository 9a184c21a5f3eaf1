"""Blocks of GGUF's types and their values, by gguf-py: `reference_gguf.py FOLDER`.

Writes blocks.json: for each type some blocks in hexadecimal, and the values that gguf-py reads from them as the
bits of f32. The ternary types are also made by gguf-py from values, the others from random bytes with scales of a
usual size. "Q8_0 of values" has values, and the blocks that gguf-py makes of them.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

BLOCKS = 3
SCALES = {Type.Q4_0: slice(0, 2), Type.Q8_0: slice(0, 2), Type.Q6_K: slice(208, 210)}


def random_blocks(rng: np.random.Generator, tensor_type: Type) -> np.ndarray:
    _, size = gguf.GGML_QUANT_SIZES[tensor_type]
    blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
    scales = rng.uniform(-0.1, 0.1, BLOCKS).astype(np.float16)
    blocks[:, SCALES[tensor_type]] = scales.view(np.uint8).reshape(BLOCKS, 2)
    return blocks


def ternary_blocks(rng: np.random.Generator, tensor_type: Type) -> np.ndarray:
    codes = rng.integers(-1, 2, (BLOCKS, 256)).astype(np.float32)
    scales = rng.uniform(0.01, 2.0, (BLOCKS, 1)).astype(np.float16).astype(np.float32)
    return gguf.quants.quantize(codes * scales, tensor_type)


def hexadecimal(values: np.ndarray) -> str:
    return values.astype("<f4").tobytes().hex()


def q8_0_of_values(rng: np.random.Generator) -> dict[str, str]:
    """Usual values, those of other sizes, zeros, and halves between two steps."""
    normal = rng.standard_normal((4, 32), dtype=np.float32)
    halves = np.arange(-16, 16, dtype=np.float32) + np.float32(0.5)
    halves[0] = 127
    sizes = np.float32([[1], [1e-3], [1e-9], [3e4]])
    values = np.concatenate([normal * sizes, np.zeros((1, 32), np.float32), halves[None]])
    return {"blocks": gguf.quants.quantize(values, Type.Q8_0).tobytes().hex(), "values": hexadecimal(values)}


def main() -> None:
    rng = np.random.default_rng(1)
    cases = {}
    for tensor_type in (Type.Q4_0, Type.Q8_0, Type.Q6_K, Type.TQ1_0, Type.TQ2_0):
        make = random_blocks if tensor_type in SCALES else ternary_blocks
        blocks = make(rng, tensor_type)
        values = gguf.quants.dequantize(blocks, tensor_type).astype(np.float32)
        cases[tensor_type.name] = {
            "blocks": blocks.tobytes().hex(),
            "values": hexadecimal(values),
        }
    cases["Q8_0 of values"] = q8_0_of_values(rng)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blocks.json").write_text(json.dumps(cases, indent=1) + "\n")


main()
