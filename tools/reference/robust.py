"""Finds weights and tokens whose codes do not hang on the order of float32 sums.

Attention is causal, so the codes of a token depend on the tokens before it only. A sequence is
chosen from left to right: of the vocabulary, in a random order, the first token that brings no
activation near a tie. That finds long sequences where whole ones drawn at random never would do.
"""

import numpy as np
import torch
from torch import Tensor

from . import cases, decoder
from .cases import Case
from .decoder import Decoder, Seen
from .models import Model

# Least distance of x · 127 / absmax to a rounding tie, in codes: four times what tools/reference.py
# demands, since gradients and later steps hang on the codes as well.
CODE_MARGIN = 1e-3

# Least distance of |W| / mean|W| to the tie at 0.5. Two orders of an f32 sum differ by about 1e-7.
WEIGHT_MARGIN = 1e-5

SEEDS = 200
CANDIDATES = 8  # tokens tried in one forward pass


def first_model(case: Case, first_seed: int = 0) -> tuple[Model, Decoder]:
    """The model of the first seed whose weights are far from ties."""
    for seed in range(first_seed, first_seed + SEEDS):
        model = cases.build(case, seed)
        found = Decoder(model.config, dict(model.tensors), case.quantization).copy(torch.float32)
        if decoder.weight_margin(found) >= WEIGHT_MARGIN:
            return model, found
    raise RuntimeError(f"{case.name}: no robust weights in {SEEDS} seeds")


@torch.no_grad()
def tokens(model: Decoder, segments: tuple[int, ...], random: np.random.Generator) -> Tensor | None:
    """Token ids [rows] that are far from ties, or None if no token can follow at some place."""
    exact = model.copy(torch.float64)
    vocab_size = model.config["vocab_size"]
    chosen = torch.empty(0, dtype=torch.int64)
    for row in range(sum(segments)):
        order = torch.from_numpy(random.permutation(vocab_size))
        token = _first_safe(exact, chosen, order, _prefix(segments, row + 1))
        if token is None:
            return None
        chosen = torch.cat((chosen, token[None]))
    return chosen


def _first_safe(exact: Decoder, chosen: Tensor, order: Tensor, segments: list[int]):
    for candidates in order.split(CANDIDATES):
        rows = torch.cat((chosen.expand(len(candidates), -1), candidates[:, None]), 1)
        seen = Seen()
        exact.forward(rows, segments, seen)
        if not seen.margins:
            return candidates[0]
        margins = torch.stack([margin[:, -1] for margin in seen.margins]).amin(0)
        safe = candidates[margins >= CODE_MARGIN]
        if len(safe):
            return safe[0]
    return None


def _prefix(segments: tuple[int, ...], rows: int) -> list[int]:
    """The lengths of the segments that the first rows lie in, the last one cut."""
    found = []
    for length in segments:
        if rows:
            found.append(min(length, rows))
            rows -= found[-1]
    return found
