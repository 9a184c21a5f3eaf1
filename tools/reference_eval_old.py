#!/usr/bin/env python3
"""Writes digests of what version 0.3.0 of lm-evaluation-harness asks, over the project's documents.

    python3 -m pip install -r tools/requirements-eval.txt
    git clone --branch v0.3.0 https://github.com/EleutherAI/lm-evaluation-harness OLD_FOLDER
    python3 tools/reference_eval_old.py OLD_FOLDER crates/eval/documents crates/eval/tests/data/old.json

Its tasks and its `fewshot_context` run as they are; the data sets are the files of the documents'
folder, and the loop over documents is that of its `evaluator.evaluate`: shuffled by a generator of
seed 42, which then draws the few-shot examples. For each task and 0 and 5 of those, the file has
SHA-256 of its requests, [context, continuation] each, as compact JSON.
"""

import hashlib
import importlib
import json
import random
import sys
import types
from pathlib import Path

TASKS = {
    "arc_easy": ("arc", "ARCEasy"),
    "arc_challenge": ("arc", "ARCChallenge"),
    "hellaswag": ("hellaswag", "HellaSwag"),
    "boolq": ("superglue", "BoolQ"),
    "openbookqa": ("openbookqa", "OpenBookQA"),
    "piqa": ("piqa", "PiQA"),
    "winogrande": ("winogrande", "Winogrande"),
}
SHOTS = [0, 5]


def task_class(old, module, name):
    # The package of all tasks wants what none of these does.
    package = types.ModuleType("lm_eval.tasks")
    package.__path__ = [str(Path(old) / "lm_eval/tasks")]
    sys.modules["lm_eval.tasks"] = package
    # Its file of SuperGLUE has tasks with a metric that transformers no longer has.
    for gone in ("transformers.data.metrics", "transformers.data.metrics.squad_metrics"):
        sys.modules[gone] = types.ModuleType(gone)
    sys.modules["transformers.data.metrics"].squad_metrics = sys.modules[gone]
    return getattr(importlib.import_module(f"lm_eval.tasks.{module}"), name)


def digest(task, shots):
    documents = list(task.test_docs() if task.has_test_docs() else task.validation_docs())
    generator = random.Random()
    generator.seed(42)
    generator.shuffle(documents)
    requests = []
    for document in documents:
        context = task.fewshot_context(doc=document, num_fewshot=shots, rnd=generator, description="")
        found = task.construct_requests(document, context)
        requests += [list(request.args) for request in found]
    text = json.dumps(requests, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def main(old, folder, out):
    sys.path.insert(0, old)
    digests = {}
    for name, (module, class_name) in TASKS.items():
        kind = task_class(old, module, class_name)

        def download(self, *_, stem=name, **__):
            self.dataset = {}
            for file in Path(folder).glob(f"{stem}_*.jsonl"):
                split = file.stem.removeprefix(f"{stem}_")
                lines = file.read_text(encoding="utf-8").splitlines()
                self.dataset[split] = [json.loads(line) for line in lines]

        kind.download = download
        digests[name] = {str(shots): digest(kind(), shots) for shots in SHOTS}
    Path(out).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
