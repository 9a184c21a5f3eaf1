#!/usr/bin/env python3
"""Trains a model in plain PyTorch, to compare validation losses with tercet's trainer.

    python3 -m pip install -r tools/requirements-reference.txt
    python3 tools/compare_training.py FOLDER TRAIN VALIDATION --sequence-length 256 \\
        --micro-batch 8 --steps 1000 --learning-rate 1e-3 --schedule cosine [--out TRAINED_FOLDER]

FOLDER is a Hugging Face folder with float masters, the start of both. TRAIN and VALIDATION are
tokens, little-endian u32 without a header. The model is that of the golden files
(`reference/decoder.py`) in float32; the optimizer AdamW with clipping to a global norm of 1
(`reference/optimizers.py`); the schedules tercet's (`reference/schedule.py`).

Standard output is JSON, one object a line:

    {"parameters": …, "train_tokens": …, "validation_tokens": …, "torch": …, "arguments": {…}}
    {"step": 0, "validation_loss": 8.31}
    {"step": 100, "loss": 4.02, "learning_rate": 0.001, "gradient_norm": 1.1, "seconds": 61.2}
    {"step": 200, "validation_loss": 3.77}

`step` counts finished steps, `loss` is the mean of those since the last such line, in nats a token.
Every epoch takes TRAIN as a ring, cuts it into sequences at a new offset and shuffles them, as
tercet does; within a sequence every token sees all before it. Validation takes consecutive windows of the sequence length from the start of VALIDATION, so
that every token but the first is predicted once, with at most a window before it; its loss is the
mean over these tokens. Seconds are of the wall clock, validation left out.
"""

import os

# Threads that wait by spinning make a step ten times slower on a machine that does something else.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from reference import files, optimizers, schedule
from reference.decoder import Decoder
from reference.schedule import Schedule

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    model = load(arguments.folder)
    vocab_size, at_least = model.config["vocab_size"], arguments.sequence_length + 1
    train_tokens = read_tokens(arguments.train, vocab_size, at_least)
    validation_tokens = read_tokens(arguments.validation, vocab_size, at_least)

    report(
        parameters=sum(value.numel() for value in model.parameters.values()),
        train_tokens=len(train_tokens),
        validation_tokens=len(validation_tokens),
        torch=torch.__version__,
        arguments={name: str(value) for name, value in vars(arguments).items()},
    )
    train(arguments, model, train_tokens, validation_tokens)
    if arguments.out:
        save(arguments.out, model)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="Hugging Face folder with float masters")
    parser.add_argument("train", type=Path, help="little-endian u32 tokens")
    parser.add_argument("validation", type=Path, help="little-endian u32 tokens")
    parser.add_argument("--sequence-length", type=int, required=True)
    parser.add_argument("--micro-batch", type=int, required=True)
    parser.add_argument("--accumulation", type=int, default=1, help="micro-batches of a step")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True, help="the peak")
    parser.add_argument("--warmup-steps", type=int, default=0)
    parser.add_argument("--schedule", choices=schedule.KINDS, default="two-stage")
    parser.add_argument("--weight-decay", type=float, default=optimizers.WEIGHT_DECAY)
    parser.add_argument(
        "--second-weight-decay",
        type=float,
        help="from half of the steps on (0 in two stages of a ternary model, else the same)",
    )
    parser.add_argument("--quantization-warmup-steps", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log-every", type=int, default=10)
    parser.add_argument("--validate-every", type=int, default=0, help="0: at both ends only")
    parser.add_argument("--out", type=Path, help="takes the trained masters")
    return parser.parse_args()


def train(
    arguments: argparse.Namespace, model: Decoder, train_tokens: np.ndarray, validation: np.ndarray
) -> None:
    """All steps, reporting as they go."""
    second_weight_decay = arguments.second_weight_decay
    if second_weight_decay is None:
        ends = arguments.schedule == "two-stage" and model.is_ternary
        second_weight_decay = 0.0 if ends else arguments.weight_decay
    rates = Schedule(
        arguments.schedule,
        arguments.steps,
        min(arguments.warmup_steps, arguments.steps),
        arguments.learning_rate,
        (arguments.weight_decay, second_weight_decay),
    )
    parameters = list(model.parameters.values())
    optimizer = optimizers.adamw(parameters)
    batches = shuffled_windows(arguments, train_tokens)

    def validate(step: int) -> None:
        model.quantization = quantization(arguments, step)
        report(step=step, validation_loss=validation_loss(arguments, model, validation))

    validate(0)
    seconds, losses = 0.0, []
    for step in range(arguments.steps):
        began = time.perf_counter()
        model.quantization = quantization(arguments, step)
        for group in optimizer.param_groups:
            group["lr"] = rates.learning_rate(step)
            if group["params"][0].dim() == 2:
                group["weight_decay"] = rates.weight_decay(step)
        loss = 0.0
        for _ in range(arguments.accumulation):
            inputs, targets = next(batches)
            part = F.cross_entropy(model.forward(inputs).flatten(0, 1), targets.flatten())
            part = part / arguments.accumulation
            part.backward()
            loss += part.item()
        norm = torch.nn.utils.clip_grad_norm_(parameters, optimizers.CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss)
        seconds += time.perf_counter() - began

        finished = step + 1
        if finished % arguments.log_every == 0 or finished == arguments.steps:
            report(
                step=finished,
                loss=sum(losses) / len(losses),
                learning_rate=rates.learning_rate(step),
                gradient_norm=norm.item(),
                seconds=round(seconds, 2),
            )
            losses.clear()
        is_due = arguments.validate_every and finished % arguments.validate_every == 0
        if is_due or finished == arguments.steps:
            validate(finished)


def quantization(arguments: argparse.Namespace, step: int) -> float:
    """λ of a step: from 0 to 1 over the warm-up of quantization."""
    warmup = arguments.quantization_warmup_steps
    return 1.0 if step >= warmup else step / warmup


def shuffled_windows(
    arguments: argparse.Namespace, tokens: np.ndarray
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets [micro_batch, sequence_length], epoch after epoch without end."""
    length, micro_batch = arguments.sequence_length, arguments.micro_batch
    random = np.random.default_rng(arguments.seed)
    windows = np.empty((0, length + 1), dtype=tokens.dtype)
    while True:
        while len(windows) < micro_batch:
            ring = np.roll(tokens, -random.integers(len(tokens)))
            starts = length * random.permutation((len(ring) - 1) // length)
            epoch = np.stack([ring[at : at + length + 1] for at in starts])
            windows = np.concatenate([windows, epoch])
        batch, windows = torch.from_numpy(windows[:micro_batch]), windows[micro_batch:]
        yield batch[:, :-1], batch[:, 1:]


@torch.no_grad()
def validation_loss(arguments: argparse.Namespace, model: Decoder, tokens: np.ndarray) -> float:
    """Nats a token over consecutive windows; the last one is shorter."""
    length, predicted = arguments.sequence_length, len(tokens) - 1
    whole = predicted // length
    inputs = torch.from_numpy(tokens[: whole * length].reshape(whole, length))
    targets = torch.from_numpy(tokens[1 : whole * length + 1].reshape(whole, length))
    batches = list(
        zip(inputs.split(arguments.micro_batch), targets.split(arguments.micro_batch), strict=True)
    )
    if predicted > whole * length:
        rest = torch.from_numpy(tokens[whole * length :])[None]
        batches.append((rest[:, :-1], rest[:, 1:]))
    nats = 0.0
    for inputs, targets in batches:
        logits = model.forward(inputs).flatten(0, 1)
        nats += F.cross_entropy(logits, targets.flatten(), reduction="sum").item()
    return nats / predicted


def load(folder: Path) -> Decoder:
    """The model of a folder, in one file or in shards, as float32 leaves."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shards = [WEIGHTS]
    if (folder / WEIGHTS_INDEX).exists():
        index = json.loads((folder / WEIGHTS_INDEX).read_text(encoding="utf-8"))
        shards = sorted(set(index["weight_map"].values()))
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        tensors |= load_file(folder / shard)
    for name, value in tensors.items():
        if not value.is_floating_point():
            raise SystemExit(f"{folder}: `{name}` is {value.dtype}, expected float masters")
    if config["tie_word_embeddings"]:
        tensors.pop("lm_head.weight", None)
    return Decoder(config, tensors).copy(torch.float32)


def save(folder: Path, model: Decoder) -> None:
    """Writes the masters as the folder they came from has them, without a tokenizer."""
    tensors = {name: value.detach() for name, value in model.parameters.items()}
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps(model.config, indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(config, encoding="utf-8")
    files.write_safetensors(folder / WEIGHTS, tensors, {"format": "pt"})


def read_tokens(path: Path, vocab_size: int, at_least: int) -> np.ndarray:
    """The tokens of a file, I64 [n], checked."""
    size_bytes = path.stat().st_size
    if size_bytes % 4:
        raise SystemExit(f"{path}: {size_bytes} bytes, expected a multiple of 4")
    tokens = np.fromfile(path, dtype="<u4").astype(np.int64)
    if len(tokens) < at_least:
        raise SystemExit(f"{path}: {len(tokens)} tokens, expected at least {at_least}")
    if tokens.max() >= vocab_size:
        raise SystemExit(f"{path}: token {tokens.max()}, expected less than {vocab_size}")
    return tokens


def report(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
