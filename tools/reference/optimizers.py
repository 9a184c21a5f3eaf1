"""What changes the weights: clipping, AdamW and Muon. Knows no model and no data.

At step t = 1, 2, … with learning rate η, in this order:

    n = sqrt(Σ g²) over all parameters;  g ← g · min(1, clip / (n + 1e-6))

AdamW (arXiv:1711.05101), as torch.optim.AdamW:

    p ← p (1 - η d)                        d = weight decay for matrices, 0 for gains
    m ← β₁ m + (1 - β₁) g                  v ← β₂ v + (1 - β₂) g²
    p ← p - η / (1 - β₁ᵗ) · m / (sqrt(v) / sqrt(1 - β₂ᵗ) + ε)

Muon (arXiv:2502.16982), for a matrix [rows, columns]:

    M ← μ M + g                            U = g + μ M          (Nesterov)
    X = U / (‖U‖ + 1e-7)                   the Frobenius norm; X is transposed if rows > columns
    5 times:  A = X Xᵀ;  X ← a X + (b A + c A²) X             (a, b, c) = (3.4445, -4.7750, 2.0315)
    p ← p (1 - η d)
    p ← p - η · 0.2 sqrt(max(rows, columns)) · X                X transposed back

All in the type of the parameters, where it is float32 also the iteration. A matrix is a parameter
of two dimensions: the layers' linears, the embedding and an untied head. A gain is one of one
dimension. Muon takes the layers' linears only; the embedding, the head and the gains are AdamW's.
"""

import torch
from torch import Tensor

BETAS = (0.9, 0.95)
EPS = 1e-8
WEIGHT_DECAY = 0.1
CLIP = 1.0
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
NEWTON_SCHULZ_EPS = 1e-7


def adamw(parameters: list[Tensor], weight_decay: float = WEIGHT_DECAY) -> torch.optim.AdamW:
    """AdamW whose weight decay spares what has one dimension. Its learning rate is set later."""
    matrices = [value for value in parameters if value.dim() == 2]
    gains = [value for value in parameters if value.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": gains, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=BETAS, eps=EPS)


class Muon:
    """Orthogonalised momentum for matrices."""

    def __init__(self, matrices: list[Tensor]):
        self.matrices = matrices
        self.momenta = [torch.zeros_like(value) for value in matrices]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        for value, momentum in zip(self.matrices, self.momenta, strict=True):
            momentum.mul_(MOMENTUM).add_(value.grad)
            update = orthogonalised(value.grad + MOMENTUM * momentum)
            value.mul_(1 - learning_rate * WEIGHT_DECAY)
            value.sub_(learning_rate * 0.2 * max(value.shape) ** 0.5 * update)


def orthogonalised(update: Tensor) -> Tensor:
    """About U Vᵀ of update = U S Vᵀ, by five Newton-Schulz iterations."""
    a, b, c = NEWTON_SCHULZ
    x = update / (update.norm() + NEWTON_SCHULZ_EPS)
    is_tall = x.shape[0] > x.shape[1]
    if is_tall:
        x = x.T
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if is_tall else x
