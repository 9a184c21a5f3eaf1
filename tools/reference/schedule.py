"""Learning rate and weight decay of a step. Knows no weights; needs the standard library alone.

The schedules of tercet's trainer: N steps counted from 0, W of them linear warm-up, the peak
reached exactly at the step P = max(W, 1) - 1; T is the turn, half of N, rounded half to even.

    s <= P      peak(s) · (s + 1) / max(W, 1)
    two-stage   peak(s) · left,        left = (N - s) / (N - P);  peak(s) = 2/3 peak from T on
    cosine      peak · (0.1 + 0.9 · (1 + cos(π (1 - left))) / 2)
    constant    peak

Weight decay is the first before T and the second from T on.
"""

import math
from dataclasses import dataclass

KINDS = ("two-stage", "cosine", "constant")
SECOND_PEAK = 2 / 3
COSINE_MIN = 0.1


@dataclass(frozen=True)
class Schedule:
    """The rates of all steps of a run."""

    kind: str
    steps: int
    warmup_steps: int
    peak: float
    weight_decays: tuple[float, float]

    @property
    def turn(self) -> int:
        return round(self.steps / 2)

    def learning_rate(self, step: int) -> float:
        is_second = self.kind == "two-stage" and step >= self.turn
        peak = self.peak * (SECOND_PEAK if is_second else 1.0)
        warmup = max(self.warmup_steps, 1)
        if step < warmup:
            return peak * (step + 1) / warmup
        left = (self.steps - step) / (self.steps - (warmup - 1))
        if self.kind == "two-stage":
            return peak * left
        if self.kind == "cosine":
            half_cosine = (1 + math.cos(math.pi * (1 - left))) / 2
            return peak * (COSINE_MIN + (1 - COSINE_MIN) * half_cosine)
        return peak

    def weight_decay(self, step: int) -> float:
        return self.weight_decays[step >= self.turn]
