"""The forward pass of every family as plain formulas in float64, read from the stored tensors.

Only the integers (weights and activation codes) and the weight scales are what the files and the
definition of quantization say; everything between is exact up to float64. So the difference to a
float32 implementation is that implementation's rounding.

    T   = clip(rte(W / scale), -1, 1)          scale = max(mean|W|, 1e-5), the mean an f64 sum
    q   = clip(rte(x · 127 / absmax), -128, 127)   absmax = max(max|x|, 1e-5), per token
    y   = (q · Tᵀ) · scale · absmax / 127
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

QUANTIZE_MIN = 1e-5


@dataclass(frozen=True)
class Ternary:
    """A matrix [n, k] of -1, 0, 1 and its scale: real = weight · scale."""

    weights: Tensor
    scale: float
    margin: float = 1.0  # distance of |W / scale| to the tie at 0.5, the least


@dataclass
class Run:
    """What a forward pass computed; `margin` is the least distance of x · 127 / absmax to a tie."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    margin: float = 1.0
    weight_margin: float = 1.0


def forward(config: dict, stored: dict[str, Tensor], input_ids: Tensor, exact_ternary=True) -> Run:
    """Runs a model folder's tensors on a prompt, recording what reference.safetensors holds.

    `exact_ternary=False` is the mistake of taking absmean of weights that are {-s, 0, +s}.
    """
    run = Run()
    eps = config["rms_norm_eps"]
    embedding = stored["model.embed_tokens.weight"].double()
    x = embedding[input_ids]  # [t, hidden]
    for layer in range(config["num_hidden_layers"]):
        block = _Block(config, stored, f"model.layers.{layer}", layer, run, exact_ternary)
        run.tensors[f"layers.{layer}.input"] = x
        x = x + block.attention(block.norm(x, "input_layernorm"))
        x = x + block.mlp(block.norm(x, "post_attention_layernorm"))
        run.tensors[f"layers.{layer}.output"] = x
    x = rms_norm(x, stored["model.norm.weight"], eps)
    head = embedding if config["tie_word_embeddings"] else stored["lm_head.weight"].double()
    run.tensors["logits"] = x @ head.T  # [t, vocab]
    return run


class _Block:
    """One decoder block. Its norms are those that the files hold."""

    def __init__(self, config, stored, name, layer, run, exact_ternary):
        self.config, self.stored, self.name = config, stored, name
        self.layer, self.run, self.exact_ternary = layer, run, exact_ternary

    def attention(self, x: Tensor) -> Tensor:
        heads = self.config["num_attention_heads"]
        kv_heads = self.config["num_key_value_heads"]
        head_dim = self.config.get("head_dim") or self.config["hidden_size"] // heads
        t = x.shape[0]

        q = self.linear(x, "q_proj").reshape(t, heads, head_dim).transpose(0, 1)
        k = self.linear(x, "k_proj").reshape(t, kv_heads, head_dim).transpose(0, 1)
        v = self.linear(x, "v_proj").reshape(t, kv_heads, head_dim).transpose(0, 1)
        theta = rope_theta(self.config)
        q, k = rotate(q, theta), rotate(k, theta)
        k = k.repeat_interleave(heads // kv_heads, dim=0)
        v = v.repeat_interleave(heads // kv_heads, dim=0)

        scores = q @ k.transpose(1, 2) / head_dim**0.5  # [heads, t, t]
        future = torch.ones(t, t, dtype=torch.bool).triu(1)
        probabilities = scores.masked_fill(future, -torch.inf).softmax(-1)
        y = (probabilities @ v).transpose(0, 1).reshape(t, heads * head_dim)
        y = self.norm(y, "self_attn.attn_sub_norm", "self_attn.inner_attn_ln")
        return self.linear(y, "o_proj")

    def mlp(self, x: Tensor) -> Tensor:
        gate = self.linear(x, "gate_proj")
        act = {"silu": torch.nn.functional.silu, "relu2": lambda g: g.relu() ** 2}
        y = act[self.config["hidden_act"]](gate) * self.linear(x, "up_proj")
        y = self.norm(y, "mlp.ffn_sub_norm", "mlp.ffn_layernorm")
        return self.linear(y, "down_proj")

    def norm(self, x: Tensor, *names: str) -> Tensor:
        """The norm under whichever of the names is stored, or none."""
        for name in names:
            gain = self.stored.get(f"{self.name}.{name}.weight")
            if gain is not None:
                return rms_norm(x, gain, self.config["rms_norm_eps"])
        return x

    def linear(self, x: Tensor, linear: str) -> Tensor:
        name = f"{self.name}.{path_of(linear)}"
        recorded = {"input": x}
        gain = self.stored.get(f"{name}.rms_norm.weight")
        if gain is not None:
            x = rms_norm(x, gain, self.config["quantization_config"]["rms_norm_eps"])
        weight = read_weight(self.config, self.stored, name, self.exact_ternary)
        if isinstance(weight, Ternary):
            absmax = x.abs().amax(-1, keepdim=True).clamp(min=QUANTIZE_MIN)
            scaled = x * 127 / absmax
            codes = scaled.round().clamp(-128, 127)  # [t, k]
            y = codes @ weight.weights.double().T * (weight.scale * absmax / 127)
            recorded["codes"] = codes.to(torch.int8)
            self.run.margin = min(self.run.margin, distance_to_tie(scaled))
            self.run.weight_margin = min(self.run.weight_margin, weight.margin)
        else:
            y = x @ weight.T
        recorded["output"] = y
        if self.layer == 0:
            for part, value in recorded.items():
                self.run.tensors[f"layers.0.{linear}.{part}"] = value
        return y


def read_weight(config, stored, name, exact_ternary=True) -> Ternary | Tensor:
    """A linear's weight as its family means it; a plain float64 matrix if the model is dense."""
    weight = stored[f"{name}.weight"]
    quantization = config.get("quantization_config")
    if weight.dtype == torch.uint8:
        scale = stored[f"{name}.weight_scale"].double().item()
        multiplies = quantization.get("linear_class") == "autobitlinear"
        return Ternary(unpack(weight), scale if multiplies else 1 / scale)
    if quantization is None and "weight_bits" not in config:
        return weight.double()
    magnitudes = weight.abs().float().unique()
    if exact_ternary and magnitudes.numel() == 2 and magnitudes[0] == 0:
        return Ternary(weight.sign().to(torch.int8), magnitudes[1].item())
    return absmean(weight)


def absmean(master_weight: Tensor) -> Ternary:
    """The weights and the scale of a master matrix, of any float type."""
    mean = master_weight.double().abs().mean().clamp(min=QUANTIZE_MIN)
    scale = mean.float().item()  # rounded once
    scaled = master_weight.double() / scale
    margin = (scaled.abs() - 0.5).abs().min().item()
    return Ternary(scaled.round().clamp(-1, 1).to(torch.int8), scale, margin)


def unpack(packed: Tensor) -> Tensor:
    """[n, k] of -1, 0, 1 from U8 [n/4, k]: the four planes of rows, lowest bits first."""
    planes = [(packed >> 2 * plane) & 3 for plane in range(4)]
    return torch.cat(planes).to(torch.int8) - 1


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * gain.double()


def rotate(x: Tensor, theta: float) -> Tensor:
    """RoPE of [heads, t, head_dim]: element j turns with element j + head_dim/2 ("rotate half")."""
    _, t, head_dim = x.shape
    half = head_dim // 2
    frequency = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(t, dtype=torch.float64)[:, None] * frequency  # [t, half]
    a, b = x[..., :half], x[..., half:]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def rope_theta(config: dict) -> float:
    return config.get("rope_parameters", config)["rope_theta"]


def distance_to_tie(scaled: Tensor) -> float:
    """The least distance of a value to the middle between two integers."""
    return (scaled - scaled.floor() - 0.5).abs().min().item()


def path_of(linear: str) -> str:
    """The name of a linear within its block: `self_attn.q_proj`, `mlp.up_proj`."""
    module = "mlp" if linear in ("gate_proj", "up_proj", "down_proj") else "self_attn"
    return f"{module}.{linear}"
