"""The first steps of a run: batches, losses and the weights after the last, computed twice.

Batches are chosen while the run goes on, so that in no step a code hangs on the order of float32
sums: neither those of the activations of this batch nor those of the weights that its update makes.
The float64 twin takes the same batches and has to find the same codes in every step.
"""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from . import cases, check, decoder, losses, optimizers, robust
from .cases import Case
from .decoder import Decoder, Seen
from .models import Model

# Greatest differences between the float32 run and the float64 one: of losses and norms, relative to
# the value; of a parameter's way, ‖found - final‖ / ‖final - initial‖.
TOLERANCE = 1e-5
WAY_TOLERANCE = 2e-4

BATCHES = 40  # tried in one step


@dataclass
class Trainer:
    """Weights on their way, and what the steps so far reported."""

    case: Case
    model: Decoder
    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)  # of activations, in codes
    weight_margins: list[float] = field(default_factory=list)
    codes: list[list[Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        parameters = self.model.parameters
        is_muons = {
            name: self.case.optimizer == "muon" and decoder.is_linear(name) for name in parameters
        }
        self.muon = optimizers.Muon([parameters[name] for name in parameters if is_muons[name]])
        rest = [parameters[name] for name in parameters if not is_muons[name]]
        self.adamw = optimizers.adamw(rest)
        for group in self.adamw.param_groups:
            group["lr"] = self.case.learning_rate

    def step(self, batch: Tensor) -> None:
        """One step on ids [rows + 1]: each is the target of the one before."""
        seen = Seen()
        self.weight_margins.append(decoder.weight_margin(self.model))
        logits = self.model.forward(batch[None, :-1], list(self.case.segments), seen)[0]
        loss = losses.loss(logits, batch[1:], torch.ones(self.case.rows))
        for value in self.model.parameters.values():
            value.grad = None
        loss.backward()
        parameters = self.model.parameters.values()
        norm = torch.nn.utils.clip_grad_norm_(parameters, optimizers.CLIP, foreach=False)
        self.muon.step(self.case.learning_rate)
        self.adamw.step()

        self.losses.append(loss.item())
        self.gradient_norms.append(norm.item())
        self.margins.append(min([0.5, *(value.min().item() for value in seen.margins)]))
        self.codes.append(seen.codes)


@dataclass(frozen=True)
class TrainedRun:
    """A model to start from, and what reference.safetensors holds of its run."""

    model: Model
    tensors: dict[str, Tensor]
    worst: float  # difference from float64 of losses and norms
    worst_way: float  # and of the ways of parameters


def robust_run(case: Case) -> TrainedRun:
    """The run of the first seed that stays far from ties."""
    seed = 0
    while True:
        model, start = robust.first_model(case, seed)
        trained = _train(case, model.seed, start.copy(torch.float32))
        if trained is not None:
            break
        seed = model.seed + 1
    trainer, batches = trained

    exact = Trainer(case, start.copy(torch.float64))
    for step, batch in enumerate(batches):
        exact.step(batch)
        for a, b in zip(trainer.codes[step], exact.codes[step], strict=True):
            assert torch.equal(a, b), f"{case.name}: codes of step {step} differ"
    assert min(exact.margins) >= robust.CODE_MARGIN / 2
    worst = max(
        check.difference(torch.tensor(found), torch.tensor(expected, dtype=torch.float64))
        for found, expected in (
            (trainer.losses, exact.losses),
            (trainer.gradient_norms, exact.gradient_norms),
        )
    )
    assert worst <= TOLERANCE, f"{case.name}: losses or norms differ by {worst:.1e}"
    final = {name: value.detach() for name, value in trainer.model.parameters.items()}
    worst_way = 0.0
    for name, value in final.items():
        expected = exact.model.parameters[name].detach()
        way = (expected - model.tensors[name]).norm()
        found = ((value - expected).norm() / way).item()
        assert found <= WAY_TOLERANCE, f"{case.name}: {name} differs by {found:.1e} of its way"
        worst_way = max(worst_way, found)

    tensors = {
        "batches": torch.stack(batches),
        "losses": torch.tensor(trainer.losses),
        "gradient_norms": torch.tensor(trainer.gradient_norms),
        **{f"final.{name}": value for name, value in final.items()},
    }
    if start.is_ternary:
        tensors["margins"] = torch.tensor(trainer.margins)
        tensors["weight_margins"] = torch.tensor(trainer.weight_margins)
    return TrainedRun(model, tensors, worst, worst_way)


def _train(case: Case, seed: int, start: Decoder) -> tuple[Trainer, list[Tensor]] | None:
    """The run from a start, or None if at some step no batch keeps it far from ties."""
    trainer, batches = Trainer(case, start), []
    for step in range(case.steps):
        for attempt in range(BATCHES):
            random = cases.draws(case, seed).generator(f"batch.{step}.{attempt}")
            input_ids = robust.tokens(trainer.model, case.segments, random)
            if input_ids is None:
                continue
            last = torch.from_numpy(random.integers(0, case.vocab_size, 1))
            batch = torch.cat((input_ids, last))
            next_trainer = copy.deepcopy(trainer)
            next_trainer.step(batch)
            if decoder.weight_margin(next_trainer.model) >= robust.WEIGHT_MARGIN:
                break
        else:
            return None
        trainer = next_trainer
        batches.append(batch)
    return trainer, batches
