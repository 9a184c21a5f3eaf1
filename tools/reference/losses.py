"""The loss of a training step: cross-entropy, optionally with a teacher's part.

    cross[i]   = -log softmax(logits[i])[targets[i]]
    teacher[i] = τ² Σ_v p_v (log p_v - log q_v),   p = softmax(teacher / τ), q = softmax(logits / τ)
    loss       = R((1 - w) cross + w teacher)

R is the mean or the sum over the rows that count; τ is the temperature and w the teacher's weight.
Knows no model.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Distillation:
    """A teacher's logits [rows, vocab], and how they enter the loss."""

    teacher_logits: Tensor
    weight: float
    temperature: float


def loss(
    logits: Tensor,
    targets: Tensor,
    counts: Tensor,
    reduction: str = "mean",
    distillation: Distillation | None = None,
) -> Tensor:
    """The loss of logits [rows, vocab]; `counts` [rows] is 1 for rows that count, else 0."""
    rows = F.cross_entropy(logits, targets, reduction="none")
    if distillation:
        temperature, weight = distillation.temperature, distillation.weight
        log_p = (distillation.teacher_logits.to(logits.dtype) / temperature).log_softmax(-1)
        log_q = (logits / temperature).log_softmax(-1)
        divergence = (log_p.exp() * (log_p - log_q)).sum(-1) * temperature**2
        rows = (1 - weight) * rows + weight * divergence
    counted = rows[counts.bool()]
    return counted.sum() if reduction == "sum" else counted.mean()
