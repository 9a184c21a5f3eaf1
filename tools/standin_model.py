"""The BitNet b1.58 2B4T architecture at any size, in plain PyTorch, for quantization-aware training.

Holds the config, the layers and greedy or sampled decoding; knows neither text nor files.

    h = x + o_proj(attn_sub_norm(attention(input_layernorm(x))))
    y = h + down_proj(ffn_sub_norm(relu(gate_proj(z))^2 * up_proj(z))),  z = post_attention_layernorm(h)

Every `*_proj` is a `BitLinear`. The output projection is the embedding, rounded to bfloat16 as it is stored.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

SCALE_MIN = 1e-5


@dataclass
class Config:
    """The fields of `config.json` that shape the model, under their Hugging Face names."""

    vocab_size: int = 512
    hidden_size: int = 128
    intermediate_size: int = 384
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    max_position_embeddings: int = 512
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    @property
    def head_dim(self):
        return self.hidden_size // self.num_attention_heads


def absmean(weight):
    """Ternary weights and their scale: `scale = max(mean|W|, 1e-5)`, `T = clip(round(W / scale), -1, 1)`.

    The mean is of a float64 sum, so that it does not depend on the order of summation.
    """
    mean = weight.abs().sum(dtype=torch.float64) / weight.numel()
    scale = mean.clamp(min=SCALE_MIN).float()
    return (weight / scale).round().clamp(-1, 1), scale


def absmax(x):
    """Int8 activations a token and the factor that made them: `q = clip(round(x * f), -128, 127)`, `f = 127 / max|x|`."""
    factor = 127.0 / x.abs().amax(-1, keepdim=True).clamp(min=SCALE_MIN)
    return (x * factor).round().clamp(-128, 127), factor


def straight_through(rounded, x):
    """The value of `rounded` with the gradient of `x`; adding an exact zero keeps the integers exact."""
    return rounded.detach() + (x - x.detach())


class BitLinear(nn.Linear):
    """`y = (q T^T) * scale / f`: integers times ternary weights, so bfloat16 operands are exact."""

    operand_dtype = torch.float32

    def __init__(self, in_features, out_features):
        super().__init__(in_features, out_features, bias=False)

    def forward(self, x):
        with torch.no_grad():
            ternary, scale = absmean(self.weight)
            quantized, factor = absmax(x)
        ternary = straight_through(ternary, self.weight / scale).to(self.operand_dtype)
        quantized = straight_through(quantized, x * factor).to(self.operand_dtype)
        return F.linear(quantized, ternary).float() * (scale / factor)


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def rotate_half(x, cos, sin):
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        hidden, head = config.hidden_size, config.head_dim
        self.q_proj = BitLinear(hidden, config.num_attention_heads * head)
        self.k_proj = BitLinear(hidden, config.num_key_value_heads * head)
        self.v_proj = BitLinear(hidden, config.num_key_value_heads * head)
        self.o_proj = BitLinear(config.num_attention_heads * head, hidden)
        self.attn_sub_norm = RMSNorm(hidden, config.rms_norm_eps)

    def forward(self, x, cos, sin):
        def split(y):  # [batch, seq, heads * head] -> [batch, heads, seq, head]
            return y.unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)

        q = rotate_half(split(self.q_proj(x)), cos, sin).to(BitLinear.operand_dtype)
        k = rotate_half(split(self.k_proj(x)), cos, sin).to(BitLinear.operand_dtype)
        v = split(self.v_proj(x)).to(BitLinear.operand_dtype)
        group = self.config.num_attention_heads // self.config.num_key_value_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y.float().transpose(1, 2).flatten(-2)  # [batch, seq, hidden]
        return self.o_proj(self.attn_sub_norm(y))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = BitLinear(config.hidden_size, config.intermediate_size)
        self.up_proj = BitLinear(config.hidden_size, config.intermediate_size)
        self.down_proj = BitLinear(config.intermediate_size, config.hidden_size)
        self.ffn_sub_norm = RMSNorm(config.intermediate_size, config.rms_norm_eps)

    def forward(self, x):
        return self.down_proj(self.ffn_sub_norm(F.relu(self.gate_proj(x)).square() * self.up_proj(x)))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x, cos, sin, dropout):
        x = x + F.dropout(self.self_attn(self.input_layernorm(x), cos, sin), dropout, self.training)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), dropout, self.training)


class BitNet(nn.Module):
    """Token ids [batch, seq] to logits [batch, seq, vocab]."""

    def __init__(self, config, dropout=0.0):
        super().__init__()
        self.config = config
        self.dropout = dropout
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.05)
        pairs = torch.arange(0, config.head_dim, 2).float() / config.head_dim
        angles = torch.outer(torch.arange(config.max_position_embeddings).float(), config.rope_theta**-pairs)
        angles = torch.cat((angles, angles), -1)  # [position, head_dim]
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids):
        table = self.embed_tokens.weight
        table = straight_through(table.bfloat16().float(), table)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x = F.dropout(F.embedding(ids, table), self.dropout, self.training)
        for layer in self.layers:
            x = layer(x, cos, sin, self.dropout)
        dtype = BitLinear.operand_dtype
        return F.linear(self.norm(x).to(dtype), table.to(dtype)).float()


@torch.no_grad()
def generate(model, ids, new_tokens, eos, temperature=0.0, seed=0):
    """Continues `ids` by up to `new_tokens`, greedily at temperature 0; stops at `eos`, which it leaves out."""
    generator = torch.Generator().manual_seed(seed)
    ids = list(ids)
    for _ in range(new_tokens):
        logits = model(torch.tensor([ids[-model.config.max_position_embeddings :]]))[0, -1]
        if temperature == 0:
            chosen = logits.argmax().item()
        else:
            chosen = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator).item()
        if chosen == eos:
            break
        ids.append(chosen)
    return ids
