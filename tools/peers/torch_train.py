#!/usr/bin/env python3
"""Tokens a second of training a ternary model (BitNet b1.58) in PyTorch, by fake quantisation.

    python3 -m pip install -r tools/peers/requirements.txt
    python3 tools/peers/torch_train.py s --threads 2 --dtype bf16 --compile

The sizes are tercet's presets `s`, `m` and `l`. A step is forward, backward, clipping and AdamW; the
speed is the median of some, after two to warm up. Prints one JSON object, named as by `tercet bench`.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve a busy machine

import argparse
import json
import statistics
import time
from types import SimpleNamespace as Size

import torch
import torch.nn.functional as F
from torch import Tensor, nn


FIELDS = ("hidden", "intermediate", "layers", "heads", "vocabulary", "sequences", "length")
SHAPES = {
    "s": (256, 688, 8, 8, 4096, 8, 256),
    "m": (512, 1376, 12, 8, 8192, 4, 512),
    "l": (768, 2048, 12, 12, 32000, 2, 512),
}


class BitLinear(nn.Linear):
    """y = norm(x) quantised to int8 a token · W quantised to {-1, 0, +1}, both with their scales."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.rms_norm(x, x.shape[-1:])
        x_scale = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        w_scale = 1 / self.weight.abs().mean().clamp(min=1e-5)
        x_hat = (x * x_scale).round().clamp(-128, 127) / x_scale
        w_hat = (self.weight * w_scale).round().clamp(-1, 1) / w_scale
        return F.linear(x + (x_hat - x).detach(), self.weight + (w_hat - self.weight).detach())


class Layer(nn.Module):
    def __init__(self, size: Size, linear: type[nn.Linear]) -> None:
        super().__init__()
        n, m, self.heads = size.hidden, size.intermediate, size.heads
        self.q, self.k, self.v, self.o = (linear(n, n, bias=False) for _ in range(4))
        self.gate, self.up, self.down = (linear(*shape, bias=False) for shape in ((n, m), (n, m), (m, n)))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.o(attended.transpose(1, 2).flatten(2))
        return x + self.down(F.silu(self.gate(x)) * self.up(x))


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = heads.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Model(nn.Module):
    def __init__(self, size: Size, linear: type[nn.Linear]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.vocabulary, size.hidden)
        self.layers = nn.ModuleList(Layer(size, linear) for _ in range(size.layers))
        half = size.hidden // size.heads // 2
        angles = torch.outer(torch.arange(size.length), 10_000.0 ** -(torch.arange(half) / half))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = F.linear(F.rms_norm(x, x.shape[-1:]), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("size", choices=SHAPES)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of PyTorch")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="bf16: by autocast")
    parser.add_argument("--compile", action="store_true", help="with torch.compile")
    parser.add_argument("--dense", action="store_true", help="full-precision linears: the baseline")
    parser.add_argument("--repetitions", type=int, default=5, help="steps that are timed")
    arguments = parser.parse_args()
    size = Size(**dict(zip(FIELDS, SHAPES[arguments.size], strict=True)))
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = Model(size, nn.Linear if arguments.dense else BitLinear)
    run = torch.compile(model) if arguments.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    samples = []
    for _ in range(2 + arguments.repetitions):
        batch = torch.randint(size.vocabulary, (size.sequences, size.length + 1))
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.dtype == "bf16"):
            loss = run(batch[:, :-1], batch[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        samples.append(size.sequences * size.length / (time.perf_counter() - started))
    del samples[:2]
    row = {"engine": "torch", "version": torch.__version__, "compiled": arguments.compile}
    row |= {"test": f"train {arguments.size}", "preset": arguments.size}
    row |= {"linears": "dense" if arguments.dense else "ternary", "dtype": arguments.dtype}
    row |= {"threads": arguments.threads, "tokens_per_step": size.sequences * size.length}
    row |= {"tokens_per_s": statistics.median(samples), "samples": samples}
    row |= {"stddev": statistics.stdev(samples) if len(samples) > 1 else None}
    row |= {"params": sum(parameter.numel() for parameter in model.parameters())}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
