"""The decoder as it is trained: plain formulas with autograd, in float32 or float64.

Knows no files, no optimizer and no loss. Parameters are a dict under Hugging Face's names; which of
the optional norms there are decides which are computed. `ternary` says whether the linears of the
layers are quantized:

    s_w   = 1 / scale                scale = max(mean|W|, 1e-5), the mean an f64 sum, rounded once
    T     = clip(rte(W · s_w), -1, 1)                     W_hat = T · scale
    s_x   = 127 / absmax             absmax = max(max|x|, 1e-5), per token
    q     = clip(rte(x · s_x), -128, 127)                 x_hat = q · (absmax / 127)
    x_q   = x + λ (x_hat - x)        W_q = W + λ (W_hat - W)
    y     = x_q · W_qᵀ

The gradient of x_q goes to x as it is, and that of W_q to W: straight through, none through the
scales, and clipping masks nothing. An optional norm inside a linear is applied to its input first.

    h = x + o_proj(sub_norm(attention(input_layernorm(x))))
    y = h + down_proj(sub_norm(act(gate_proj(z)) · up_proj(z))),   z = post_attention_layernorm(h)
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from . import formula

LAYER_LINEARS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
SUB_NORMS = {
    "self_attn": ("self_attn.attn_sub_norm", "self_attn.inner_attn_ln"),
    "mlp": ("mlp.ffn_sub_norm", "mlp.ffn_layernorm"),
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu2": lambda gate: gate.relu().square(),
}


def is_ternary(config: dict) -> bool:
    """Whether config.json says that the linears of the layers are quantized when loaded."""
    return "quantization_config" in config or "weight_bits" in config


@dataclass
class Seen:
    """What a forward pass saw. Lists grow in the order of computation."""

    margins: list[Tensor] = field(default_factory=list)  # [batch, t] to the next tie, in codes
    codes: list[Tensor] = field(default_factory=list)  # I8 [batch, t, k], and of the weights [n, k]


@dataclass
class Offsets:
    """x_hat - x and W_hat - W of one pass, to be added unchanged in others.

    With these held constant the forward pass is a smooth function, whose true gradient is by
    definition the straight-through one.
    """

    values: list[Tensor] = field(default_factory=list)
    used: int = 0
    are_known: bool = False

    def next(self, x: Tensor, quantized: Tensor) -> Tensor:
        """What stands for x: x plus the offset of this place."""
        if not self.are_known:
            self.values.append((quantized - x).detach())
        self.used += 1
        return x + self.values[self.used - 1]

    def rewind(self) -> None:
        """Begins another pass with the offsets of the first."""
        self.used, self.are_known = 0, True


@dataclass
class Decoder:
    """A model to train: `parameters` are leaves of autograd, all of one float type."""

    config: dict
    parameters: dict[str, Tensor]
    quantization: float = 1.0  # λ

    def __post_init__(self) -> None:
        self.is_ternary = is_ternary(self.config)
        self.heads = self.config["num_attention_heads"]
        self.kv_heads = self.config["num_key_value_heads"]
        self.head_dim = self.config.get("head_dim") or self.config["hidden_size"] // self.heads

    def copy(self, dtype: torch.dtype) -> "Decoder":
        """The same numbers in another type, as new leaves."""
        parameters = {
            name: value.detach().clone().to(dtype).requires_grad_()
            for name, value in self.parameters.items()
        }
        return Decoder(self.config, parameters, self.quantization)

    def forward(
        self,
        input_ids: Tensor,
        segments: list[int] | None = None,
        seen: Seen | None = None,
        offsets: Offsets | None = None,
    ) -> Tensor:
        """Logits [batch, t, vocab] of ids [batch, t].

        `segments` are lengths that add up to t: tokens attend only within theirs and positions
        begin anew. Without them a row is one segment, and torch's own attention is used.
        """
        embedding = self.parameters["model.embed_tokens.weight"]
        x = F.embedding(input_ids, embedding)  # [batch, t, hidden]
        rotary, mask = self._positions(input_ids.shape[1], segments, x.dtype)
        pass_ = _Pass(self, rotary, mask, seen, offsets)
        for layer in range(self.config["num_hidden_layers"]):
            block = f"model.layers.{layer}"
            x = x + pass_.attention(block, pass_.norm(x, f"{block}.input_layernorm"))
            x = x + pass_.mlp(block, pass_.norm(x, f"{block}.post_attention_layernorm"))
        x = pass_.norm(x, "model.norm")
        tied = self.config["tie_word_embeddings"]
        return F.linear(x, embedding if tied else self.parameters["lm_head.weight"])

    def _positions(self, t: int, segments: list[int] | None, dtype: torch.dtype):
        """cos and sin [t, head_dim / 2] of the rotary angles; which keys a query sees [t, t]."""
        lengths = torch.tensor(segments or [t])
        assert lengths.sum() == t, "forward: segments add up to the row"
        positions = torch.cat([torch.arange(length) for length in lengths.tolist()])
        half = self.head_dim // 2
        theta = formula.rope_theta(self.config)
        frequency = theta ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = positions[:, None] * frequency
        mask = None
        if segments:
            of = torch.arange(len(segments)).repeat_interleave(lengths)
            mask = (of[:, None] == of) & torch.ones(t, t, dtype=torch.bool).tril()
        return (angle.cos().to(dtype), angle.sin().to(dtype)), mask


@dataclass
class _Pass:
    """One forward pass: the model and what is the same for all its layers."""

    model: Decoder
    rotary: tuple[Tensor, Tensor]
    mask: Tensor | None
    seen: Seen | None
    offsets: Offsets | None

    def attention(self, block: str, x: Tensor) -> Tensor:
        model = self.model
        q, k, v = self.linears(x, *(f"{block}.self_attn.{name}_proj" for name in "qkv"))
        q, k, v = (y.unflatten(-1, (-1, model.head_dim)).transpose(1, 2) for y in (q, k, v))
        q, k = self.rotate(q), self.rotate(k)  # [batch, heads, t, head_dim]
        k = k.repeat_interleave(model.heads // model.kv_heads, dim=1)
        v = v.repeat_interleave(model.heads // model.kv_heads, dim=1)
        if self.mask is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(2, 3) / model.head_dim**0.5  # [batch, heads, t, t]
            y = scores.masked_fill(~self.mask, -torch.inf).softmax(-1) @ v
        y = self.sub_norm(y.transpose(1, 2).flatten(2), block, "self_attn")
        return self.linears(y, f"{block}.self_attn.o_proj")[0]

    def mlp(self, block: str, x: Tensor) -> Tensor:
        gate, up = self.linears(x, f"{block}.mlp.gate_proj", f"{block}.mlp.up_proj")
        y = ACTIVATIONS[self.model.config["hidden_act"]](gate) * up
        return self.linears(self.sub_norm(y, block, "mlp"), f"{block}.mlp.down_proj")[0]

    def rotate(self, x: Tensor) -> Tensor:
        """RoPE: element j turns with element j + head_dim / 2."""
        cos, sin = self.rotary
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def sub_norm(self, x: Tensor, block: str, module: str) -> Tensor:
        for name in SUB_NORMS[module]:
            x = self.norm(x, f"{block}.{name}")
        return x

    def norm(self, x: Tensor, name: str) -> Tensor:
        """x / sqrt(mean(x²) + eps) · gain, or x if the model has no such norm."""
        gain = self.model.parameters.get(f"{name}.weight")
        if gain is None:
            return x
        of = self.model.config
        if name.endswith(".rms_norm"):
            of = of["quantization_config"]
        return x * (x.square().mean(-1, keepdim=True) + of["rms_norm_eps"]).rsqrt() * gain

    def linears(self, x: Tensor, *names: str) -> list[Tensor]:
        """The linears that share an input; it is quantized once unless each has its own norm."""
        outputs = []
        x_q = None
        for name in names:
            has_norm = f"{name}.rms_norm.weight" in self.model.parameters
            if has_norm or x_q is None:
                x_q = self.quantized(self.norm(x, f"{name}.rms_norm"), absmax)
            weight = self.quantized(self.model.parameters[f"{name}.weight"], absmean)
            outputs.append(F.linear(x_q, weight))
        return outputs

    def quantized(self, x: Tensor, quantize: Callable[[Tensor], "_Quantized"]) -> Tensor:
        """x + λ (x_hat - x), with the gradient straight through; x in a dense model."""
        model = self.model
        if not model.is_ternary:
            return x
        with torch.no_grad():
            found = quantize(x)
            value = found.value
            if model.quantization != 1.0:
                value = x + model.quantization * (value - x)
        if self.seen is not None:
            self.seen.codes.append(found.codes.to(torch.int8))
            if quantize is absmax:
                tie = found.scaled - found.scaled.floor() - 0.5
                self.seen.margins.append(tie.abs().amin(-1))
        if self.offsets is not None:
            return self.offsets.next(x, value)
        return _StraightThrough.apply(x, value)


@dataclass(frozen=True)
class _Quantized:
    """x · inv_scale, that rounded and clipped, and codes · scale."""

    scaled: Tensor
    codes: Tensor
    value: Tensor


def absmean(weight: Tensor) -> _Quantized:
    """Ternary weights by their mean magnitude."""
    mean = weight.abs().sum(dtype=torch.float64) / weight.numel()
    scale = mean.clamp(min=formula.QUANTIZE_MIN).float().to(weight.dtype)
    scaled = weight * (1 / scale)
    codes = scaled.round().clamp(-1, 1)
    return _Quantized(scaled, codes, codes * scale)


def absmax(x: Tensor) -> _Quantized:
    """Int8 activations by the greatest magnitude of each token."""
    greatest = x.abs().amax(-1, keepdim=True).clamp(min=formula.QUANTIZE_MIN)
    scaled = x * (127 / greatest)
    codes = scaled.round().clamp(-128, 127)
    return _Quantized(scaled, codes, codes * (greatest / 127))


class _StraightThrough(torch.autograd.Function):
    """The second argument as value, the gradient to the first."""

    @staticmethod
    def forward(context, x, value):
        return value.clone()

    @staticmethod
    def backward(context, d_value):
        return d_value, None


def weight_margin(decoder: Decoder) -> float:
    """The least distance of |W| / scale to the tie at 0.5, of all ternary matrices."""
    if not decoder.is_ternary:
        return 0.5
    return min(
        formula.absmean(value.detach()).margin
        for name, value in decoder.parameters.items()
        if is_linear(name)
    )


def is_linear(name: str) -> bool:
    """Whether a parameter is the matrix of a layer's linear."""
    return name.removesuffix(".weight").endswith(LAYER_LINEARS)
