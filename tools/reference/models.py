"""Seeded tensors of a shape, as its family stores them. Knows no files and no forward pass."""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import formula
from .shapes import LINEARS, Shape, config_of

# Standard deviations of the master weights. v_proj is small, so that the variance that the norm
# before o_proj sees is small and the epsilon of that norm shows.
MASTER_STD = {
    "q_proj": 0.1,
    "k_proj": 0.1,
    "v_proj": 0.02,
    "o_proj": 0.08,
    "gate_proj": 0.1,
    "up_proj": 0.06,
    "down_proj": 0.04,
}
SMALL_V_PROJ_STD = 0.003  # where the inner norm is the only one that sees it
EMBEDDING_STD = 0.05
LM_HEAD_STD = 0.1


@dataclass(frozen=True)
class Model:
    """What a model folder holds, and where it came from."""

    shape: Shape
    seed: int
    config: dict
    tensors: dict[str, Tensor]


def build(shape: Shape, seed: int) -> Model:
    """The model of this shape and seed."""
    dtype = getattr(torch, shape.dtype)
    draw = Draws(f"{shape.family}-{shape.name}", seed)
    vocabulary = (shape.vocab_size, shape.hidden_size)

    tensors = {
        "model.embed_tokens.weight": draw.normal("embed", vocabulary, EMBEDDING_STD),
        "model.norm.weight": draw.gains("norm", shape.hidden_size),
    }
    if not shape.tie_word_embeddings:
        tensors["lm_head.weight"] = draw.normal("lm_head", vocabulary, LM_HEAD_STD)
    for layer in range(shape.num_hidden_layers):
        block = f"model.layers.{layer}"
        for norm, size in _norm_sizes(shape).items():
            tensors[f"{block}.{norm}.weight"] = draw.gains(f"{block}.{norm}", size)
        for linear in LINEARS:
            name = f"{block}.{formula.path_of(linear)}"
            std = MASTER_STD[linear]
            if linear == "v_proj" and shape.linear_rms_norm_eps is not None:
                std = SMALL_V_PROJ_STD
            size = linear_size(shape, linear)
            master_weight = draw.normal(name, size, std * draw.factor(name))
            tensors.update(_stored(shape, name, master_weight))
            if shape.linear_rms_norm_eps is not None:
                gains = draw.gains(f"{name}.rms_norm", size[1])
                tensors[f"{name}.rms_norm.weight"] = gains

    for name, value in tensors.items():
        if value.is_floating_point() and not name.endswith(".weight_scale"):
            tensors[name] = value.to(dtype)
    return Model(shape, seed, config_of(shape), tensors)


def prompt(shape: Shape, seed: int, tokens: int) -> Tensor:
    """The token ids of the prompt, I64 [tokens]."""
    draw = Draws(f"{shape.family}-{shape.name}", seed)
    return torch.from_numpy(draw.generator("prompt").integers(0, shape.vocab_size, tokens))


def linear_size(shape: Shape, linear: str) -> tuple[int, int]:
    """(n, k) of a linear: its outputs and inputs."""
    hidden, intermediate = shape.hidden_size, shape.intermediate_size
    queries = shape.num_attention_heads * shape.head_dim
    keys = shape.num_key_value_heads * shape.head_dim
    return {
        "q_proj": (queries, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, queries),
        "gate_proj": (intermediate, hidden),
        "up_proj": (intermediate, hidden),
        "down_proj": (hidden, intermediate),
    }[linear]


def pack(weights: Tensor) -> Tensor:
    """Packs [n, k] of -1, 0, 1 into U8 [n/4, k].

    Row r goes to byte row r mod n/4, bits 2·(r div n/4): four planes of rows.
    """
    rows, columns = weights.shape
    assert rows % 4 == 0, rows
    planes = (weights.to(torch.int64) + 1).reshape(4, rows // 4, columns)
    packed = sum(planes[plane] << 2 * plane for plane in range(4))
    return packed.to(torch.uint8)


def without_repeats(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leaves out inputs and codes of k, v and up that equal those of q and gate."""
    same_as = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}
    kept = {}
    for name, value in tensors.items():
        parts = name.split(".")
        if parts[-1] in ("input", "codes") and parts[-2] in same_as:
            first = ".".join([*parts[:-2], same_as[parts[-2]], parts[-1]])
            if torch.equal(value, tensors[first]):
                continue
        kept[name] = value
    return kept


def _norm_sizes(shape: Shape) -> dict[str, int]:
    """The norms of a block and their sizes."""
    norms = {
        "input_layernorm": shape.hidden_size,
        "post_attention_layernorm": shape.hidden_size,
    }
    if shape.family.startswith("bitnet"):
        norms["self_attn.attn_sub_norm"] = shape.hidden_size
        norms["mlp.ffn_sub_norm"] = shape.intermediate_size
    elif shape.family == "1bitllm":
        norms["self_attn.inner_attn_ln"] = shape.hidden_size
        norms["mlp.ffn_layernorm"] = shape.intermediate_size
    return norms


def _stored(shape: Shape, name: str, master_weight: Tensor) -> dict[str, Tensor]:
    """The tensors that stand for one linear in the family's files."""
    ternary = formula.absmean(master_weight)
    if shape.family in ("bitnet-packed", "llama-bitlinear", "llama-bitlinear-rmsnorm"):
        divides = shape.family != "bitnet-packed"
        scale = 1.0 / ternary.scale if divides else ternary.scale
        scale_dtype = getattr(torch, shape.weight_scale_dtype)
        return {
            f"{name}.weight": pack(ternary.weights),
            f"{name}.weight_scale": torch.tensor([scale]).to(scale_dtype),
        }
    if shape.family == "bitnet-ternary-valued":
        scale = torch.tensor(ternary.scale).to(getattr(torch, shape.dtype)).float()
        return {f"{name}.weight": ternary.weights * scale}
    return {f"{name}.weight": master_weight}


class Draws:
    """Random tensors of a model, each from its own generator: none depends on which others were
    drawn."""

    def __init__(self, model: str, seed: int):
        self.model, self.seed = model, seed

    def generator(self, name: str) -> np.random.Generator:
        key = f"{self.model}/{name}"
        return np.random.default_rng([self.seed, zlib.crc32(key.encode())])

    def normal(self, name: str, size: tuple[int, ...], std: float) -> Tensor:
        values = self.generator(name).standard_normal(size) * std
        return torch.from_numpy(values.astype(np.float32))

    def gains(self, name: str, size: int) -> Tensor:
        """Norm gains: around 1 ± 0.2."""
        return 1.0 + self.normal(name, (size,), 0.2)

    def factor(self, name: str) -> float:
        """A size for one tensor: 0.5 to 2, evenly in the logarithm."""
        return float(2.0 ** self.generator(f"{name}.factor").uniform(-1.0, 1.0))
