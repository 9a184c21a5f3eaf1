#!/usr/bin/env python3
"""Writes the golden files of training: small models, what a step computes on them, short runs.

    python3 -m pip install -r tools/requirements-reference.txt
    python3 tools/reference_training.py crates/train/tests/data/golden

The reference is our own decoder in plain PyTorch with autograd (`reference/decoder.py`, which
states every formula), in float32 on one thread of a CPU. Each case becomes OUT_FOLDER/<name>/, a
Hugging Face model folder with float32 masters (`config.json`, `model.safetensors`), plus
`reference.safetensors`. Of a step, with one row a token:

    input_ids         I64 [rows]
    targets           I64 [rows]
    counts            U8  [rows]         1 if the row's target counts, else 0
    segments          I64 [n]            lengths that add up to rows; tokens attend only within
                                         theirs, positions begin anew at 0
    teacher_logits    F32 [rows, vocab]  in `distillation` only
    logits            F32 [rows, vocab]
    loss              F32 [1]            `reference/losses.py` has the formula
    grad.<parameter>  F32, of the parameter's shape; a tied embedding sums both its uses

Its metadata: `lambda` (of x + λ (x_hat - x)), `reduction` (mean or sum over the rows that count),
`teacher_weight`, `temperature`, `tolerance` (greatest difference of a tensor, relative to its
greatest magnitude, that float64 was allowed), `difference` (the one found), `code_margin` (the
least distance of an activation to a rounding tie, in codes), `seed`, `script`, `torch`.

Of a run (`run-<name>`), every step on one sequence as one segment, all targets counted, the mean:

    batches            I64 [steps, rows + 1]  inputs are [:-1], targets are [1:]
    losses             F32 [steps]            before the step's update
    gradient_norms     F32 [steps]            before clipping, over all parameters
    final.<parameter>  F32                    after the last step
    margins            F32 [steps]            least distance of an activation to a tie, in codes;
    weight_margins     F32 [steps]            least distance of |W| / scale to 0.5, before the
                                              update; both in ternary models only

Its metadata: `optimizer` (adamw, or muon for the layers' linears and adamw for the rest),
`learning_rate` (constant, no warm-up), `weight_decay` (of matrices: linears, embedding and untied
head; gains of norms have none), `betas`, `eps`, `clip`, `momentum`, `tolerance` and `difference` of
losses and gradient norms, relative to the value; `way_tolerance` and `way_difference` of final
parameters: ‖found - final‖ / ‖final - initial‖ over a parameter, Frobenius norms. A single element
may be off by more of its way than that where its gradient is nearly zero, because AdamW divides by
its magnitude. `reference/optimizers.py` states the formulas.

What makes the files worth comparing with (each is asserted):

- No activation lies within `robust.CODE_MARGIN` of a rounding tie and no master within
  `robust.WEIGHT_MARGIN` of one, in no layer and no step. So an honest float32 implementation finds
  the same codes whatever its order of sums, and the rest differs by rounding only. Tokens are
  chosen one by one for this (`reference/robust.py`).
- The same in float64 finds the same codes, and agrees within the tolerance.
- Central differences of the float64 loss, with what quantization added to weights and activations
  held constant, agree with the gradients in random directions. So they are the straight-through
  gradients by definition, whatever autograd does.

Running twice on a machine writes the same bytes. Another processor may round sums in another way,
and then write other last digits.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from reference import cases, check, files, optimizers, runs, steps
from reference.cases import Case
from reference.models import Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out_folder", type=Path)
    out_folder = parser.parse_args().out_folder
    torch.set_num_threads(1)

    print("| case | seed | bytes | loss | max difference |")
    print("|---|--:|--:|--:|--:|")
    for case in cases.STEPS:
        print(write_step(case, out_folder), flush=True)
    for case in cases.RUNS:
        print(write_run(case, out_folder), flush=True)


def write_step(case: Case, out_folder: Path) -> str:
    """Writes the folder of a step and returns its row of the table."""
    step = steps.robust_step(case)
    batch = step.batch
    tensors = {
        "input_ids": batch.input_ids,
        "targets": batch.targets,
        "counts": batch.counts,
        "segments": torch.tensor(batch.segments),
        **step.tensors,
    }
    if batch.distillation:
        tensors["teacher_logits"] = batch.distillation.teacher_logits
    metadata = {
        "code_margin": f"{step.margin:.2e}",
        "difference": f"{step.worst:.1e}",
        "lambda": str(case.quantization),
        "reduction": case.reduction,
        "teacher_weight": str(case.teacher_weight),
        "temperature": str(case.temperature),
        "tolerance": str(check.TOLERANCE),
    }
    size_bytes = write_folder(case, out_folder, step.model, tensors, metadata)
    loss = step.tensors["loss"].item()
    return f"| {case.name} | {step.model.seed} | {size_bytes} | {loss:.4f} | {step.worst:.1e} |"


def write_run(case: Case, out_folder: Path) -> str:
    """Writes the folder of a run and returns its row of the table."""
    run = runs.robust_run(case)
    metadata = {
        "betas": ",".join(map(str, optimizers.BETAS)),
        "clip": str(optimizers.CLIP),
        "difference": f"{run.worst:.1e}",
        "eps": str(optimizers.EPS),
        "lambda": str(case.quantization),
        "learning_rate": str(case.learning_rate),
        "momentum": str(optimizers.MOMENTUM),
        "optimizer": case.optimizer,
        "tolerance": str(runs.TOLERANCE),
        "way_difference": f"{run.worst_way:.1e}",
        "way_tolerance": str(runs.WAY_TOLERANCE),
        "weight_decay": str(optimizers.WEIGHT_DECAY),
    }
    size_bytes = write_folder(case, out_folder, run.model, run.tensors, metadata)
    losses = run.tensors["losses"]
    return (
        f"| {case.name} | {run.model.seed} | {size_bytes} | {losses[0]:.4f} to {losses[-1]:.4f} "
        f"| {run.worst:.1e}, of the way {run.worst_way:.1e} |"
    )


def write_folder(
    case: Case, out_folder: Path, model: Model, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> int:
    """Writes a model and its reference.safetensors; returns their bytes."""
    folder = out_folder / case.name
    files.write_model(folder, model)
    metadata |= {
        "script": "tools/reference_training.py",
        "seed": str(model.seed),
        "torch": torch.__version__.split("+")[0],
    }
    files.write_safetensors(folder / "reference.safetensors", tensors, metadata)
    return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    main()
