#!/usr/bin/env python3
"""What transformers computes on a model folder: its logits, and its tokenizer's ids and text.

    python3 -m pip install -r tools/requirements-interop.txt
    python3 tools/interop/transformers_logits.py FOLDER IDS_JSON OUT.safetensors [--text TEXT]

IDS_JSON is a file with a list of token ids, or `-` for none; then OUT is not written. OUT holds
`input_ids` I64 [t] and `logits` F32 [t, vocab] of AutoModelForCausalLM, in float32 on the CPU with
eager attention. Standard output is one JSON object:

    {"class": "BitNetForCausalLM", "transformers": "5.23.0", "tokens": 9, "missing": [], …
     "ids": [0, 17, 4], "decoded": "<|endoftext|>the text", "decoded_plain": "the text"}

`missing`, `unexpected` and `mismatched` are the tensors that the class lacked, did not want, or
wanted in another shape; any of them makes the exit code 1. `ids` is what AutoTokenizer encodes TEXT
to, with its special tokens; `decoded` is the text of those ids, `decoded_plain` that without
special tokens; spaces are not tidied up.

Two placements of norms are no class of transformers. It gives a model whose norms are only inside
its linears `input_layernorm`s of gain 1 (named in `missing`), which changes the logits by little
more than the epsilon; and it ignores the extra norms of 1bitllm (named in `unexpected`).

It runs offline and no code of the folder. How transformers is kept from its GPU habits is said in
tools/reference.py: no torch.compile, accelerate installed, and what offline autobitlinear leaves in
the stored type cast to float32 after loading.
"""

import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import argparse
import json
import sys
import warnings
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("ids_json", help="a file with a list of token ids, or - for none")
    parser.add_argument("out", type=Path)
    parser.add_argument("--text", help="also encode and decode this")
    arguments = parser.parse_args()

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)

    report: dict = {"transformers": transformers.__version__}
    if arguments.ids_json != "-":
        ids = json.loads(Path(arguments.ids_json).read_text(encoding="utf-8"))
        report |= write_logits(arguments.folder, ids, arguments.out)
    if arguments.text is not None:
        report |= encode(arguments.folder, arguments.text)
    print(json.dumps(report, ensure_ascii=False))
    return 1 if any(report.get(kind) for kind in LOADING.values()) else 0


# What transformers calls the tensors it could not place, and what the report does.
LOADING = {
    "missing_keys": "missing",
    "unexpected_keys": "unexpected",
    "mismatched_keys": "mismatched",
}


@torch.no_grad()
def write_logits(folder: Path, ids: list[int], out: Path) -> dict:
    """Runs the ids and writes the logits; returns what there is to say about it."""
    network, loading = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
        trust_remote_code=False,
    )
    network.eval()
    for parameter in network.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.float()
    input_ids = torch.tensor(ids, dtype=torch.int64)
    logits = network(input_ids[None], use_cache=False).logits[0]
    save_file({"input_ids": input_ids, "logits": logits.contiguous()}, out)
    report = {"class": type(network).__name__, "tokens": len(ids)}
    return report | {ours: sorted(map(str, loading[theirs])) for theirs, ours in LOADING.items()}


def encode(folder: Path, text: str) -> dict:
    """What AutoTokenizer makes of a text, and of what it made."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    ids = tokenizer(text)["input_ids"]
    return {
        "tokenizer": type(tokenizer).__name__,
        "ids": ids,
        "decoded": tokenizer.decode(ids, clean_up_tokenization_spaces=False),
        "decoded_plain": tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        ),
    }


if __name__ == "__main__":
    sys.exit(main())
