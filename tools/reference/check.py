"""What is demanded of a golden model before it is written."""

import copy

import torch
from torch import Tensor

from . import formula, models
from .formula import Run
from .models import Model
from .shapes import MASTER_FAMILIES, Shape

# Greatest difference between the float64 formula and float32 arithmetic, relative to the greatest
# magnitude of the tensor.
TOLERANCE = 5e-6

# A recorded tensor moves by at least this much when one field of the config is read wrongly.
MISTAKE = 50 * TOLERANCE

# Least distance of x · 127 / absmax to a rounding tie, in codes. Errors of float32 activations were
# seen to stay below 1e-6 of the greatest, which is 1.3e-4 codes.
CODE_MARGIN = 2.5e-4

# Least distance of |W| / mean|W| to the tie at 0.5. Two orders of an f32 sum differ by about 1e-7.
WEIGHT_MARGIN = 5e-7

SEEDS = 5000


def first_robust_model(shape: Shape, prompt_tokens: int) -> tuple[Model, Tensor, Run]:
    """The first seed whose codes do not hang on the order of float32 sums."""
    for seed in range(SEEDS):
        model = models.build(shape, seed)
        input_ids = models.prompt(shape, seed, prompt_tokens)
        run = formula.forward(model.config, model.tensors, input_ids)
        weights_are_safe = (
            shape.family not in MASTER_FAMILIES or run.weight_margin >= WEIGHT_MARGIN
        )
        if run.margin >= CODE_MARGIN and weights_are_safe:
            return model, input_ids, run
    raise RuntimeError(f"{shape.family}-{shape.name}: no robust seed below {SEEDS}")


def assert_agreement(formula_run: Run, seen: dict[str, Tensor]) -> float:
    """Every recorded tensor is the formula's; returns the greatest relative difference."""
    assert set(seen) == {*formula_run.tensors, "input_ids"}
    worst = 0.0
    for name, expected in formula_run.tensors.items():
        if name.endswith(".codes"):
            assert torch.equal(seen[name], expected), f"{name}: codes differ"
        else:
            found = difference(seen[name], expected)
            assert found <= TOLERANCE, f"{name}: differs by {found:.1e}"
            worst = max(worst, found)
    return worst


def assert_mistakes_show(model: Model, input_ids: Tensor, right: Run) -> None:
    """A reader that takes one field wrongly is far outside the tolerance."""
    for mistake, config in _mistaken_configs(model.config):
        _assert_moved(mistake, right, formula.forward(config, model.tensors, input_ids))
    if model.shape.family == "bitnet-ternary-valued":
        wrong = formula.forward(model.config, model.tensors, input_ids, exact_ternary=False)
        _assert_moved("absmean", right, wrong)


def difference(found: Tensor, expected: Tensor) -> float:
    """Greatest difference, relative to the greatest magnitude expected."""
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


def _mistaken_configs(config: dict):
    def changed(**fields):
        return copy.deepcopy(config) | fields

    eps = config["rms_norm_eps"]
    yield "rms_norm_eps", changed(rms_norm_eps=1e-6 if eps > 5e-6 else 1e-5)
    theta = 500000.0 if formula.rope_theta(config) == 10000.0 else 10000.0
    yield "rope_theta", changed(rope_theta=theta, rope_parameters={"rope_theta": theta})
    activation = "silu" if config["hidden_act"] == "relu2" else "relu2"
    yield "hidden_act", changed(hidden_act=activation)
    quantization = config.get("quantization_config", {})
    if quantization.get("use_rms_norm"):
        for wrong in {0.0, 1e-6, 1e-5} - {quantization["rms_norm_eps"]}:
            wrong_quantization = quantization | {"rms_norm_eps": wrong}
            yield f"inner eps {wrong}", changed(quantization_config=wrong_quantization)


def _assert_moved(mistake: str, right: Run, wrong: Run) -> None:
    moved = max(
        difference(wrong.tensors[name], expected)
        for name, expected in right.tensors.items()
        if not name.endswith(".codes")
    )
    assert moved >= MISTAKE, f"a wrong {mistake} moves the result by {moved:.1e} only"
