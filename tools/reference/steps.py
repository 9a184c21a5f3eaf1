"""One training step of a case: logits, loss and gradients, computed twice and checked."""

from dataclasses import dataclass

import torch
from torch import Tensor

from . import cases, check, losses, robust
from .cases import Case
from .decoder import Decoder, Offsets, Seen
from .losses import Distillation
from .models import Model

# Greatest difference between a derivative and its central difference in float64, relative to the
# magnitudes of what the derivative is a sum of. The width is small since the second derivative of
# relu2 jumps, and a norm of values that are nearly all zero makes the jump large.
DIFFERENCE_TOLERANCE = 1e-5
WIDTH = 1e-8
DIRECTIONS = 4


@dataclass(frozen=True)
class Batch:
    """What a step is given; a row each token."""

    input_ids: Tensor
    targets: Tensor
    counts: Tensor
    segments: list[int]
    reduction: str
    distillation: Distillation | None

    def loss(
        self, model: Decoder, seen: Seen | None = None, offsets: Offsets | None = None
    ) -> tuple[Tensor, Tensor]:
        """The loss and the logits [rows, vocab] of the model."""
        logits = model.forward(self.input_ids[None], self.segments, seen, offsets)[0]
        targets, counts = self.targets, self.counts
        return losses.loss(logits, targets, counts, self.reduction, self.distillation), logits


@dataclass(frozen=True)
class Step:
    """A model, a batch, and what the step computes in float32."""

    model: Model
    batch: Batch
    tensors: dict[str, Tensor]
    margin: float
    worst: float  # difference from float64


def robust_step(case: Case) -> Step:
    """The step of the first seed with codes that are far from ties."""
    seed = 0
    while True:
        model, decoder = robust.first_model(case, seed)
        seed = model.seed
        random = cases.draws(case, seed).generator("tokens")
        input_ids = robust.tokens(decoder, case.segments, random)
        if input_ids is not None:
            break
        seed += 1
    targets = torch.from_numpy(random.integers(0, case.vocab_size, case.rows))
    distillation = None
    if case.teacher_weight:
        teacher = cases.teacher_logits(case, seed)
        distillation = Distillation(teacher, case.teacher_weight, case.temperature)
    counts, segments = cases.counts(case, seed), list(case.segments)
    batch = Batch(input_ids, targets, counts, segments, case.reduction, distillation)

    seen = Seen()
    tensors = _compute(decoder, batch, seen)
    exact_seen = Seen()
    exact = decoder.copy(torch.float64)
    exact_tensors = _compute(exact, batch, exact_seen)
    _assert_same_codes(case.name, seen, exact_seen)
    margin = min([0.5, *(value.min().item() for value in exact_seen.margins)])
    assert margin >= robust.CODE_MARGIN
    worst = 0.0
    for name, value in tensors.items():
        found = check.difference(value, exact_tensors[name])
        assert found <= check.TOLERANCE, f"{case.name}: {name} differs by {found:.1e}"
        worst = max(worst, found)
    assert_central_differences(case, exact, batch)
    return Step(model, batch, tensors, margin, worst)


def assert_central_differences(case: Case, model: Decoder, batch: Batch) -> None:
    """The gradients are those of the loss with what quantization added held constant."""
    offsets = Offsets() if model.is_ternary else None
    loss, _ = batch.loss(model, offsets=offsets)
    gradients = torch.autograd.grad(loss, list(model.parameters.values()))
    random = torch.Generator().manual_seed(0)
    for _ in range(DIRECTIONS):
        direction = {
            name: torch.randn(value.shape, generator=random, dtype=torch.float64)
            for name, value in model.parameters.items()
        }
        moved = []
        for width in (WIDTH, -WIDTH):
            parameters = {
                name: value.detach() + width * direction[name]
                for name, value in model.parameters.items()
            }
            if offsets is not None:
                offsets.rewind()
            other = Decoder(model.config, parameters, model.quantization)
            moved.append(batch.loss(other, offsets=offsets)[0].item())
        expected = (moved[0] - moved[1]) / (2 * WIDTH)
        parts = zip(gradients, direction.values(), strict=True)
        terms = torch.stack([(gradient * along).sum() for gradient, along in parts])
        error = abs(terms.sum().item() - expected) / terms.abs().sum().item()
        assert error <= DIFFERENCE_TOLERANCE, f"{case.name}: a derivative is off by {error:.1e}"


def _compute(model: Decoder, batch: Batch, seen: Seen) -> dict[str, Tensor]:
    """What reference.safetensors holds of the results."""
    loss, logits = batch.loss(model, seen)
    gradients = torch.autograd.grad(loss, list(model.parameters.values()))
    names = (f"grad.{name}" for name in model.parameters)
    found = {"logits": logits.detach(), "loss": loss.detach()[None]}
    return found | dict(zip(names, gradients, strict=True))


def _assert_same_codes(name: str, found: Seen, expected: Seen) -> None:
    for a, b in zip(found.codes, expected.codes, strict=True):
        assert torch.equal(a, b), f"{name}: codes of float32 and float64 differ"
