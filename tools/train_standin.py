"""Trains the small story model that stands in for a full-size BitNet b1.58 model, on a CPU, in minutes.

    python3 tools/train_standin.py train RUN_FOLDER --valid VALID_TEXT --minutes 55 TEXT...
    python3 tools/train_standin.py export RUN_FOLDER MODEL_FOLDER

`train` makes a tokenizer, trains and keeps the checkpoint with the fewest bits per byte on VALID_TEXT in
RUN_FOLDER; `--resume` goes on after an interruption. `export` writes the best checkpoint so far as a Hugging Face
folder (see standin_export.py) and may run meanwhile. Minutes are of processor time for each thread, so that the
schedule stands still while others use the machine. Needs torch, tokenizers and safetensors.
"""

import argparse
import json
import math
import os
import random
import re
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from standin_export import END_OF_TEXT_ID, export
from standin_model import BitLinear, BitNet, Config, generate

END_OF_TEXT = "<|endoftext|>"
PEAK_LEARNING_RATE = 3e-3
TOKENS_PER_STEP = 4096
STORY_START = re.compile(r"\n(?!\n)(?<!\n\n)")
# Quotation marks that were written as UTF-8, read as Windows-1252 and written as UTF-8 again; then the plain ones.
QUOTES = {"â€œ": '"', "â€\x9d": '"', "â€": '"', "â€™": "'", "â€˜": "'", "“": '"', "”": '"', "’": "'", "‘": "'"}


def read_stories(path):
    """The stories of a file, their paragraphs parted by an empty line and their quotation marks plain.

    In a file with <|endoftext|> lines those part the stories; in one without, a single newline does.
    """
    text = Path(path).read_text(encoding="utf-8")
    for mark, plain in QUOTES.items():
        text = text.replace(mark, plain)
    stories = text.split(END_OF_TEXT) if END_OF_TEXT in text else STORY_START.split(text)
    stories = ("\n\n".join(line.strip() for line in story.split("\n") if line.strip()) for story in stories)
    return [story for story in stories if story]


def train_tokenizer(stories, vocab_size):
    """A byte-level BPE whose token 0 begins every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(stories, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A",
        pair=f"{END_OF_TEXT} $A {END_OF_TEXT} $B",
        special_tokens=[(END_OF_TEXT, END_OF_TEXT_ID)],
    )
    return tokenizer


class Batches:
    """Random windows over the stories, laid end to end in an order shuffled anew for each pass.

    Half of the windows begin where a story begins. One batch in four has windows of the full context, the
    others of half of it.
    """

    def __init__(self, stories, config, seed):
        self.stories = stories  # each begins with END_OF_TEXT_ID
        self.context = config.max_position_embeddings
        self.random = random.Random(seed)
        self.unread = 0

    def shuffle(self):
        self.random.shuffle(self.stories)
        self.ids = torch.tensor([token for story in self.stories for token in story])
        self.starts = (self.ids == END_OF_TEXT_ID).nonzero().flatten().tolist()
        self.unread = len(self.ids)

    def next(self):
        """Inputs and targets, each [windows, length]."""
        if self.unread <= 0:
            self.shuffle()
        self.unread -= TOKENS_PER_STEP
        length = self.context if self.random.random() < 0.25 else self.context // 2
        last = len(self.ids) - length - 1
        offsets = (
            min(last, self.random.choice(self.starts)) if self.random.random() < 0.5 else self.random.randint(0, last)
            for _ in range(TOKENS_PER_STEP // length)
        )
        windows = torch.stack([self.ids[offset : offset + length + 1] for offset in offsets])
        return windows[:, :-1], windows[:, 1:]


def learning_rate_and_decay(progress):
    """The two-stage schedule of BitNet b1.58: a high linear stage with weight decay, then a lower one without."""
    warmup = min(1.0, progress / 0.01)
    if progress < 0.5:
        return PEAK_LEARNING_RATE * warmup * (1 - progress), 0.1
    return PEAK_LEARNING_RATE * (2 / 3) * (1 - progress), 0.0


@torch.no_grad()
def evaluate(model, tokenizer, path):
    """Bits per byte of a file's blocks (parted by empty lines), each on its own after END_OF_TEXT, in float32."""
    blocks = [block for block in Path(path).read_text(encoding="utf-8").split("\n\n") if block.strip()]
    encoded = sorted((tokenizer.encode(block).ids for block in blocks), key=len)
    assert len(encoded[-1]) <= model.config.max_position_embeddings, "evaluate: a block is longer than the context"
    model.eval()
    nats = 0.0
    for i in range(0, len(encoded), 16):
        batch = [torch.tensor(ids) for ids in encoded[i : i + 16]]
        targets = torch.nn.utils.rnn.pad_sequence([ids[1:] for ids in batch], batch_first=True, padding_value=-100)
        inputs = torch.nn.utils.rnn.pad_sequence([ids[:-1] for ids in batch], batch_first=True)
        nats += F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum").item()
    model.train()
    return nats / math.log(2) / sum(len(block.encode()) for block in blocks)


def save(state, path):
    temporary = path.with_suffix(".partial")
    torch.save(state, temporary)
    os.replace(temporary, path)


def train(args):
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.run.mkdir(parents=True, exist_ok=True)
    config = Config()
    stories = [story for path in args.text for story in read_stories(path)]
    if args.resume:
        tokenizer = Tokenizer.from_file(str(args.run / "tokenizer.json"))
    else:
        tokenizer = train_tokenizer(stories, config.vocab_size)
        tokenizer.save(str(args.run / "tokenizer.json"), pretty=False)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(stories)]

    model = BitNet(config, args.dropout)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    gains = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices}, {"params": gains, "weight_decay": 0.0}], betas=(0.9, 0.95))
    done = {
        "corpus_stories": len(encoded),
        "corpus_tokens": sum(map(len, encoded)),
        "seconds": 0.0,
        "steps": 0,
        "tokens": 0,
        "best_bits_per_byte": math.inf,
    }
    if args.resume:
        last = torch.load(args.run / "last.pt")
        model.load_state_dict(last["model"])
        optimizer.load_state_dict(last["optimizer"])
        done = last["done"]
    print(json.dumps(asdict(config) | done), flush=True)
    batches = Batches(encoded, config, args.seed + done["steps"])
    compiled = torch.compile(model, dynamic=False) if args.compile else model

    next_check, losses = done["seconds"] + 60 * args.check_minutes, []
    clock = time.process_time() / args.threads
    while True:
        now = time.process_time() / args.threads
        done["seconds"] += now - clock
        clock = now
        progress = done["seconds"] / (60 * args.minutes)
        if progress >= 1 or done["seconds"] >= next_check:
            next_check = done["seconds"] + 60 * args.check_minutes
            bits = check(args, model, tokenizer, optimizer, done)
            recent = sum(losses) / max(1, len(losses))
            losses.clear()
            print(f"{done['seconds'] / 60:.1f} min, step {done['steps']}, loss {recent:.4f}, valid {bits:.4f} b/B", flush=True)
            if progress >= 1:
                break

        learning_rate, weight_decay = learning_rate_and_decay(progress)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.param_groups[0]["weight_decay"] = weight_decay
        inputs, targets = batches.next()
        BitLinear.operand_dtype = torch.bfloat16
        loss = F.cross_entropy(compiled(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        done["steps"] += 1
        done["tokens"] += targets.numel()


def check(args, model, tokenizer, optimizer, done):
    """Evaluates as stored, prints a greedy continuation and saves the last and, if it is the best yet, the best state."""
    BitLinear.operand_dtype = torch.float32
    bits = evaluate(model, tokenizer, args.valid)
    if bits < done["best_bits_per_byte"]:
        done["best_bits_per_byte"] = bits
        save({"model": model.state_dict(), "done": dict(done)}, args.run / "best.pt")
    save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "done": done}, args.run / "last.pt")
    model.eval()
    ids = generate(model, tokenizer.encode("Once upon a time").ids, 60, END_OF_TEXT_ID)
    model.train()
    print("  " + tokenizer.decode(ids).replace("\n", " / "), flush=True)
    return bits


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("train", help="train or go on training")
    command.add_argument("run", type=Path, metavar="RUN_FOLDER")
    command.add_argument("text", nargs="+", metavar="TEXT")
    command.add_argument("--valid", required=True, metavar="VALID_TEXT")
    command.add_argument("--minutes", type=float, default=55)
    command.add_argument("--check-minutes", type=float, default=3)
    command.add_argument("--threads", type=int, default=2)
    command.add_argument("--dropout", type=float, default=0.0)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--compile", action="store_true")
    command.add_argument("--resume", action="store_true")
    command.set_defaults(run_command=train)
    command = commands.add_parser("export", help="write the best checkpoint as a Hugging Face folder")
    command.add_argument("run", type=Path, metavar="RUN_FOLDER")
    command.add_argument("out", type=Path, metavar="MODEL_FOLDER")
    command.set_defaults(run_command=lambda args: export(args.run, args.out))
    args = parser.parse_args()
    args.run_command(args)


if __name__ == "__main__":
    main()
