"""Writes safetensors files and Hugging Face model folders, the same bytes each time."""

import json
import shutil
import struct
from pathlib import Path

import torch
from torch import Tensor

from .models import Model

DTYPE_NAMES = {
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.int64: "I64",
    torch.int8: "I8",
    torch.uint8: "U8",
}


def write_model(folder: Path, model: Model) -> None:
    """Replaces the folder by config.json and the tensors, in as many shards as the shape says."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write_json(folder / "config.json", model.config)
    metadata = {"format": "pt"}
    if model.shape.shards == 1:
        write_safetensors(folder / "model.safetensors", model.tensors, metadata)
        return

    names, shards = sorted(model.tensors), model.shape.shards
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        write_safetensors(folder / file, {name: model.tensors[name] for name in part}, metadata)
        weight_map |= {name: file for name in part}
    total_size = sum(value.nbytes for value in model.tensors.values())
    index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Widest types first, then by name, as the safetensors package does: all are aligned."""
    header: dict = {"__metadata__": dict(sorted(metadata.items()))}
    data = bytearray()
    for name, value in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        raw = value.contiguous().view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": DTYPE_NAMES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
