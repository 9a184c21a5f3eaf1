#!/usr/bin/env python3
"""lm-evaluation-harness with its `local-completions` model asks `tercet serve`, over the project's own documents.

    python3 tools/clients/lm_eval_client.py URL KEY DOCUMENTS TASKS CONTEXT [TOKENIZER]

DOCUMENTS has `TASK_SPLIT.jsonl` in the form of the data sets; TASKS are parted by commas; CONTEXT is the model's. The
harness's own task files are used as they are. It tokenizes by the server's routes, which it finds by itself and asks
for no special tokens; or by the folder TOKENIZER, with the token that begins a text. Prints one JSON object:

    versions     by package
    tokenizer    what the harness tokenizes with
    tasks        by name: for each document its requests, [log-likelihood, whether greedy]
"""

import json
import os
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

URL, KEY, DOCUMENTS, TASKS, CONTEXT, *TOKENIZER = sys.argv[1:]
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["OPENAI_API_KEY"] = KEY

import datasets  # noqa: E402
import lm_eval  # noqa: E402
import lm_eval.api.task  # noqa: E402
from lm_eval.api.registry import get_model  # noqa: E402

# Data set of the harness, and how its files begin here.
SETS = {
    ("allenai/ai2_arc", "ARC-Easy"): "arc_easy",
    ("allenai/ai2_arc", "ARC-Challenge"): "arc_challenge",
    ("baber/piqa", None): "piqa",
    ("Rowan/hellaswag", None): "hellaswag",
    ("allenai/winogrande", "winogrande_xl"): "winogrande",
    ("allenai/openbookqa", "main"): "openbookqa",
    ("EleutherAI/lambada_openai", "default"): "lambada_openai",
}


def load_dataset(path, name=None, **_):
    start = SETS[path, name]
    splits = {}
    for split in ("train", "validation", "test"):
        file = Path(DOCUMENTS) / f"{start}_{split}.jsonl"
        if file.exists():
            lines = file.read_text(encoding="utf-8").splitlines()
            splits[split] = datasets.Dataset.from_list([json.loads(line) for line in lines])
    return datasets.DatasetDict(splits)


def served_model():
    request = urllib.request.Request(f"{URL}/v1/models", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["data"][0]["id"]


def main():
    lm_eval.api.task.datasets.load_dataset = load_dataset
    own = {"tokenizer_backend": "huggingface", "tokenizer": TOKENIZER[0], "add_bos_token": True} if TOKENIZER else {}
    model = get_model("local-completions")(
        base_url=f"{URL}/v1/completions",
        model=served_model(),
        auth_token=KEY,
        batch_size=8,
        num_concurrent=3,
        max_retries=1,
        max_length=int(CONTEXT),
        **own,
    )
    found = lm_eval.simple_evaluate(model=model, tasks=TASKS.split(","), log_samples=True, bootstrap_iters=0)
    tasks = {
        name: [
            [list(response) for response in sample["filtered_resps"]]
            for sample in sorted(samples, key=lambda sample: sample["doc_id"])
        ]
        for name, samples in found["samples"].items()
    }
    versions = {"lm_eval": version("lm_eval")}
    json.dump({"versions": versions, "tokenizer": model.tokenizer_backend, "tasks": tasks}, sys.stdout)


if __name__ == "__main__":
    main()
