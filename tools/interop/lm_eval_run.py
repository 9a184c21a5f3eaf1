#!/usr/bin/env python3
"""Runs lm-evaluation-harness with its `hf` model in f32 over local documents, and prints what it found.

    python3 tools/interop/lm_eval_run.py MODEL_FOLDER DATA_FOLDER TASKS LIMIT [--threads N] [--batch-size N]
        [--apply-chat-template] [--system-instruction TEXT]

DATA_FOLDER is like the folder of a user of `tercet eval --data`: `TASK_SPLIT.jsonl`, ready documents or
those of the data set, and `wiki.test.raw`. The harness's own task files are used as they are: ready documents
get the fields of their data set back. TASKS are parted by commas; LIMIT 0 takes all documents.

Prints one JSON object:

    harness, transformers, torch   versions
    seconds      of the evaluation, without loading the model
    tasks        by name: metrics, and for each document its requests' log-likelihoods and whether greedy
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import datasets  # noqa: E402
import lm_eval  # noqa: E402
import lm_eval.api.task  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

LABELS = "ABCDEFGH"


def arc(doc):
    count = len(doc["choices"])
    return {
        "id": str(doc["id"]),
        "question": doc["ctx"].removeprefix("Question: ").removesuffix("\nAnswer:"),
        "choices": {"text": doc["choices"], "label": list(LABELS[:count])},
        "answerKey": LABELS[doc["gold"]],
    }


def piqa(doc):
    goal = doc["ctx"].removeprefix("Question: ").removesuffix("\nAnswer:")
    return {"goal": goal, "sol1": doc["choices"][0], "sol2": doc["choices"][1], "label": doc["gold"]}


def winogrande(doc):
    before = os.path.commonprefix(doc["ctxs"])
    options = [ctx[len(before) :] for ctx in doc["ctxs"]]
    return {
        "sentence": f"{before}_ {doc['continuation']}",
        "option1": options[0],
        "option2": options[1],
        "answer": str(doc["gold"] + 1),
    }


def lambada(doc):
    return {"text": f"{doc['context']} {doc['continuation']}"}


def pages(text):
    """The documents of WikiText: a heading of the first level begins one."""
    page = []
    for line in text.split("\n"):
        heading = line.replace("= = =", "===").replace("= =", "==").strip()
        if heading.startswith("= ") and heading.endswith(" ="):
            if "\n".join(page).strip():
                yield {"page": "\n".join(page)}
            page = []
        page.append(line)
    yield {"page": "\n".join(page)}


# Data set of the harness: file, and how a ready document becomes one of it.
SETS = {
    ("allenai/ai2_arc", "ARC-Easy"): ("arc_easy_test.jsonl", arc),
    ("allenai/ai2_arc", "ARC-Challenge"): ("arc_challenge_test.jsonl", arc),
    ("baber/piqa", None): ("piqa_val.jsonl", piqa),
    ("allenai/winogrande", "winogrande_xl"): ("winogrande_val.jsonl", winogrande),
    ("EleutherAI/lambada_openai", "default"): ("lambada_openai_test.jsonl", lambada),
    ("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1"): ("wiki.test.raw", None),
}


def replace_data_sets(folder):
    def load_dataset(path, name=None, **_):
        file, restore = SETS[path, name]
        text = next(folder.rglob(file)).read_text(encoding="utf-8")
        if restore is None:
            documents = list(pages(text))
        else:
            documents = [restore(json.loads(line)) for line in text.splitlines()]
        documents = datasets.Dataset.from_list(documents)
        return datasets.DatasetDict({split: documents for split in ("train", "validation", "test")})

    lm_eval.api.task.datasets.load_dataset = load_dataset


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("tasks")
    parser.add_argument("limit", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--apply-chat-template", action="store_true")
    parser.add_argument("--system-instruction")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    replace_data_sets(arguments.data)
    model = HFLM(
        pretrained=str(arguments.model),
        device="cpu",
        dtype="float32",
        batch_size=arguments.batch_size,
    )
    started = time.perf_counter()
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=arguments.tasks.split(","),
        limit=arguments.limit or None,
        log_samples=True,
        bootstrap_iters=0,
        apply_chat_template=arguments.apply_chat_template,
        system_instruction=arguments.system_instruction,
    )
    seconds = time.perf_counter() - started
    tasks = {
        name: {
            "metrics": {key: value for key, value in found["results"][name].items() if isinstance(value, float)},
            "documents": [
                [list(response) if isinstance(response, tuple) else [response] for response in sample["filtered_resps"]]
                for sample in sorted(samples, key=lambda sample: sample["doc_id"])
            ],
        }
        for name, samples in found["samples"].items()
    }
    versions = {"harness": lm_eval.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    json.dump(versions | {"seconds": seconds, "tasks": tasks}, sys.stdout)


if __name__ == "__main__":
    main()
