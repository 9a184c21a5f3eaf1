#!/usr/bin/env python3
"""Writes the golden files: small models of every published family, and what a reference
implementation computes on them.

    python3 -m pip install -r tools/requirements-reference.txt
    python3 tools/reference.py crates/tercet/tests/data/golden

Each model becomes OUT_FOLDER/<family>-<shape>/, a Hugging Face model folder without a tokenizer
(`config.json` in the classic published form, `model.safetensors` or three shards and an index),
plus `reference.safetensors`. The reference is the class of transformers that its metadata names,
in float32 on the CPU with eager attention, on one prompt of t = 9 pseudo-random token ids:

    input_ids               I64 [t]
    logits                  F32 [t, vocab]
    layers.{i}.input        F32 [t, hidden]   the residual stream entering block i
    layers.{i}.output       F32 [t, hidden]   and leaving it
    layers.0.{L}.input      F32 [t, k]        what enters the linear L, before its own optional
                                              rms_norm and before activation quantization
    layers.0.{L}.codes      I8  [t, k]        the int8 activations (not in dense models)
    layers.0.{L}.output     F32 [t, n]        after the scales

L is q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj. Linears are recorded in layer 0
only. `input` and `codes` of k_proj and v_proj are left out where they equal those of q_proj, and
those of up_proj where they equal those of gate_proj: a missing tensor means "the same". (With a
norm inside each linear the inputs are equal and the codes are not.)

Metadata of `reference.safetensors`: `torch` and `transformers` (versions), `class`, `script`,
`seed`, `tolerance` (greatest difference of a recorded tensor, relative to its greatest magnitude,
that the plain formula was allowed) and `read_as` where the class did not read this folder itself
but another with the same meaning:

- 1bitllm: transformers has no class. `BitNetForCausalLM` with SiLU is the same function, so it
  reads the same tensors with the two extra norms renamed.
- bitnet-ternary-valued: transformers takes absmean of any unpacked weight, and mean|W| of values
  {-s, 0, +s} is less than s. The packed class reads the same codes with weight_scale = s.

What makes the files worth comparing with (each is asserted):

- The plain formula in float64 (`reference/formula.py`), reading the stored tensors with its own
  unpacking, agrees with every recorded tensor within the tolerance and with every code exactly.
- No activation lies within CODE_MARGIN of a rounding tie and no master weight within WEIGHT_MARGIN
  of one, in any layer. So an honest float32 implementation, whatever its order of sums, finds the
  same codes, and the rest differs by rounding only. Seeds are tried in order until one does this.
- Reading one config field wrongly (epsilon, theta, activation, absmean of ternary values) moves
  some recorded tensor by far more than the tolerance.

Running twice writes the same bytes: headers are written here, because the safetensors package
writes metadata in a random order.

Obstacles of transformers 5.23 on a CPU: its bitnet quantizer demands the accelerate package (and
warns that there is no GPU); its linears are wrapped in `torch.compile`, which
TORCHDYNAMO_DISABLE=1 turns off; offline autobitlinear passes every `*.weight` through its
unpacking step, which drops the dtype asked for, so that embeddings and norms stay bfloat16 and are
cast to float32 after loading.
"""

import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import argparse
from pathlib import Path

import torch

from reference import check, files, models, observe
from reference.shapes import SHAPES, Shape

PROMPT_TOKENS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out_folder", type=Path)
    out_folder = parser.parse_args().out_folder

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    observe.silence_transformers()

    print("| family | shape | class | seed | bytes | max difference | max abs logit |")
    print("|---|---|---|--:|--:|--:|--:|")
    for shape in SHAPES:
        print(write_golden(shape, out_folder), flush=True)


def write_golden(shape: Shape, out_folder: Path) -> str:
    """Writes the folder of one shape and returns its row of the table."""
    model, input_ids, formula_run = check.first_robust_model(shape, PROMPT_TOKENS)
    folder = out_folder / f"{shape.family}-{shape.name}"
    files.write_model(folder, model)

    seen = observe.run(folder, model, input_ids)
    max_difference = check.assert_agreement(formula_run, seen.tensors)
    check.assert_mistakes_show(model, input_ids, formula_run)

    metadata = {
        "class": seen.class_name,
        "script": "tools/reference.py",
        "seed": str(model.seed),
        "tolerance": str(check.TOLERANCE),
        **observe.versions(),
    }
    if seen.read_as:
        metadata["read_as"] = seen.read_as
    files.write_safetensors(
        folder / "reference.safetensors", models.without_repeats(seen.tensors), metadata
    )

    size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    max_logit = seen.tensors["logits"].abs().max().item()
    return (
        f"| {shape.family} | {shape.name} | {seen.class_name} | {model.seed} | {size_bytes} "
        f"| {max_difference:.1e} | {max_logit:.2f} |"
    )


if __name__ == "__main__":
    main()
