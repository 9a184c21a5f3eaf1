#!/usr/bin/env python3
"""Writes what lm-evaluation-harness asks and measures, with its own task files, over the project's
own documents.

    python3 -m pip install -r tools/requirements-eval.txt
    python3 tools/reference_eval.py crates/eval/documents crates/eval/tests/data/requests

Its data sets are replaced by the files of the first folder, `<task>_<split>.jsonl`; nothing else of
it is. Each task becomes OUT_FOLDER/<task>.json:

    harness    the version of the harness
    version    the version of the task
    shots      for 0 and 5 few-shot examples:
      documents    a document each, in order:
        requests       its requests: [context, continuation], [text], or [context, until]; with few-shot
                       examples only of the first FULL documents, for the rest would be repetition
        sha256         of its requests as compact JSON
        hashes         of the document, the first prompt and the target, as the harness logs them
        values         the metrics by filter, for the responses below
      metrics      [name, filter, value, standard error or null] over all documents

The subjects of MMLU differ in a description: mmlu.json has the requests of the first subject and, for
each, one SHA-256 over those of its documents.

Responses are pseudo-random, from one `random.Random(42)` a number of examples, in order of documents:
-10 random() for a log-likelihood, and for a continuation then random() < 0.5 for whether it is greedy.
A generated text is one of TEXTS by the number of its document, with the answer of the document put
in. Standard errors are those of means; the harness draws samples at random for others.
"""

import json
import os
import random
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

import datasets  # noqa: E402
import lm_eval.api.task  # noqa: E402
from lm_eval.api.metrics import mean, mean_stderr  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402
from lm_eval.utils import handle_non_serializable, hash_string  # noqa: E402

HARNESS = "0.4.13"
TASKS = [
    "arc_challenge",
    "arc_easy",
    "boolq",
    "c4",
    "commonsense_qa",
    "copa",
    "gsm8k",
    "hellaswag",
    "lambada_openai",
    "openbookqa",
    "piqa",
    "sciq",
    "social_iqa",
    "wikitext",
    "winogrande",
    "wsc273",
]
SHOTS = [0, 5]
FULL = 2
TEXTS = [
    " Let us see.\n#### {}",
    " It is {} in all.",
    " #### {}.\nNo, wait: 7",
    " I do not know.",
    " First 12, then ${}",
]

# The data sets whose names are not those of their tasks.
STEMS = {
    ("allenai/ai2_arc", "ARC-Easy"): "arc_easy",
    ("allenai/ai2_arc", "ARC-Challenge"): "arc_challenge",
    ("Rowan/hellaswag", None): "hellaswag",
    ("aps/super_glue", "boolq"): "boolq",
    ("aps/super_glue", "copa"): "copa",
    ("allenai/openbookqa", "main"): "openbookqa",
    ("baber/piqa", None): "piqa",
    ("allenai/winogrande", "winogrande_xl"): "winogrande",
    ("EleutherAI/lambada_openai", "default"): "lambada_openai",
    ("allenai/sciq", None): "sciq",
    ("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1"): "wikitext",
    ("allenai/c4", "en"): "c4",
    ("openai/gsm8k", "main"): "gsm8k",
    ("tau/commonsense_qa", None): "commonsense_qa",
    ("lighteval/siqa", None): "social_iqa",
    ("lighteval/winograd_wsc", "wsc273"): "wsc273",
}


def replace_data_sets(folder):
    def load_dataset(path, name=None, **_):
        stem = "mmlu" if path == "cais/mmlu" else STEMS[path, name]
        splits = {}
        for split in ("train", "validation", "test", "dev"):
            file = folder / f"{stem}_{split}.jsonl"
            if file.exists():
                lines = file.read_text(encoding="utf-8").splitlines()
                splits[split] = datasets.Dataset.from_list([json.loads(line) for line in lines])
        # The harness takes a training split of what it never draws examples from.
        splits.setdefault("train", next(iter(splits.values())))
        return datasets.DatasetDict(splits)

    lm_eval.api.task.datasets.load_dataset = load_dataset


def arguments(instance):
    if instance.request_type == "generate_until":
        context, options = instance.args
        return [context, options["until"]]
    return list(instance.args)


def respond(task, instances, number, generator):
    for instance in instances:
        if instance.request_type == "generate_until":
            answer = task.doc_to_target(instance.doc).split("#### ")[-1]
            instance.resps = [TEXTS[number % len(TEXTS)].format(answer)]
        elif instance.request_type == "loglikelihood_rolling":
            instance.resps = [-10 * generator.random()]
        else:
            instance.resps = [(-10 * generator.random(), generator.random() < 0.5)]


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def measured(task, shots):
    task.set_config("num_fewshot", shots)
    task.set_fewshot_seed(1234)
    task.build_all_requests(limit=None)
    by_document = {}
    for instance in task.instances:
        by_document.setdefault(instance.doc_id, []).append(instance)
    generator = random.Random(42)
    for number, instances in by_document.items():
        respond(task, instances, number, generator)
    task.apply_filters()

    documents = []
    items = {}
    for number, instances in by_document.items():
        document = instances[0].doc
        requests = [arguments(instance) for instance in instances]
        values = {}
        for name in instances[0].filtered_resps:
            responses = [instance.filtered_resps[name] for instance in instances]
            found = task.process_results(document, responses)
            values[name] = {metric: value for metric, value in found.items()}
            for metric, value in found.items():
                items.setdefault((metric, name), []).append(value)
        dumped = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
        entry = {
            "sha256": hash_string(compact(requests)),
            "hashes": [
                hash_string(dumped),
                hash_string(instances[0].arguments[0]),
                hash_string(str(task.doc_to_target(document))),
            ],
            "values": values,
        }
        if shots == 0 or number < FULL:
            entry["requests"] = requests
        documents.append(entry)
    metrics = []
    for (metric, name), values in items.items():
        aggregation = task.aggregation()[metric]
        stderr = mean_stderr(values) if aggregation is mean else None
        metrics.append([metric, name, aggregation(values), stderr])
    return {"documents": documents, "metrics": metrics}


def plain(value):
    """Numbers as JSON has them."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(type(value))


def write(path, value):
    # A document a line.
    text = json.dumps(value, ensure_ascii=False, default=plain, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def main(folder, out):
    assert lm_eval.__version__ == HARNESS, lm_eval.__version__
    replace_data_sets(Path(folder))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    manager = TaskManager()
    for name, task in manager.load(TASKS)["tasks"].items():
        shots = {str(shots): measured(task, shots) for shots in SHOTS}
        write(out / f"{name}.json", {"harness": HARNESS, "version": str(task.VERSION), "shots": shots})

    subjects = {}
    first = None
    for name, task in sorted(manager.load(["mmlu"])["tasks"].items()):
        shots = {str(shots): measured(task, shots) for shots in SHOTS}
        if first is None:
            first = {"harness": HARNESS, "version": str(task.VERSION), "shots": shots}
        subjects[name] = {
            shots: hash_string("".join(entry["sha256"] for entry in found["documents"]))
            for shots, found in shots.items()
        }
    assert len(subjects) == 57, len(subjects)
    write(out / "mmlu.json", first | {"subjects": subjects})


if __name__ == "__main__":
    main(*sys.argv[1:])
