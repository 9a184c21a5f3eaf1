#!/usr/bin/env python3
"""Writes what lm-evaluation-harness asks in conversations, of tasks that are made up.

    python3 -m pip install -r tools/requirements-eval.txt
    python3 tools/reference_eval_chat.py crates/eval/tests/data/chat

The folder holds the tasks as tercet has them, and their documents; TASKS below are the same tasks as the
harness has them. `asked.json` is written beside them:

    harness   the version of the harness
    cases     what the first document of a task is asked:
      task, shots, system       the task, the number of few-shot examples, the system instruction or null
      template, multiturn       a template of crates/chat/tests/data/templates, or null for text; whether
                                examples are turns
      contexts                  one, or one for each of several contexts
      continuations             after each context; for a text that is written, what ends it
      sha256                    of the tokens of the requests as compact JSON: [context, continuation] each,
                                or [context]

The harness's own `fewshot_context`, `construct_requests`, `apply_chat_template` and `_encode_pair` run, with
the tokenizer of the small model inside tercet, which begins a text with a token. No model computes anything.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

import datasets  # noqa: E402
import lm_eval  # noqa: E402
import lm_eval.api.task  # noqa: E402
import transformers  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

HARNESS = "0.4.13"
ROOT = Path(__file__).parent.parent
TEMPLATES = ROOT / "crates/chat/tests/data/templates"
TOKENIZER = ROOT / "crates/tercet/models/stories"
SYSTEM = "Be brief."

# Few-shot examples, system instruction, template, whether they are turns.
CASES = [
    (0, SYSTEM, None, False),
    (2, None, None, False),
    (2, SYSTEM, None, False),
    (0, None, "chatml", True),
    (0, SYSTEM, "chatml", False),
    (2, None, "chatml", True),
    (2, None, "chatml", False),
    (2, SYSTEM, "chatml", True),
    (2, SYSTEM, "chatml", False),
    # It refuses a system message, takes the white space around a message, and begins with a token.
    (0, None, "gemma", True),
    (2, SYSTEM, "gemma", True),
    (2, SYSTEM, "gemma", False),
]

COMMON = {
    "dataset_path": "made up",
    "test_split": "test",
    "fewshot_split": "train",
    "metadata": {"version": 0},
}
CHOICE = {"output_type": "multiple_choice", "metric_list": [{"metric": "acc"}]}
WRITTEN = {
    "output_type": "generate_until",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "do_sample": False, "temperature": 0.0},
    "metric_list": [{"metric": "exact_match"}],
}
TASKS = {
    "choice": CHOICE
    | {
        "description": "Answer with one of the options.\n\n",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "options",
        "doc_to_target": "right",
    },
    "choice_begun": CHOICE
    | {
        "description": "Choose wisely.",
        "gen_prefix": "The answer to this is",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "options",
        "doc_to_target": "right",
    },
    "sentence": CHOICE
    | {"doc_to_text": "which", "doc_to_choice": "sentences", "doc_to_target": "{{answer}}."},
    "last_word": {
        "output_type": "loglikelihood",
        "description": "Riddles: ",
        "doc_to_text": "{{question}} It is",
        "doc_to_target": " {{answer}}",
        "metric_list": [{"metric": "acc"}],
    },
    # The context ends within a token.
    "rest_of_word": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{question}} It is {{answer[:3]}}",
        "doc_to_target": "{{answer[3:]}}",
        "metric_list": [{"metric": "acc"}],
    },
    "written": WRITTEN | {"doc_to_text": "Q: {{question}}\nA:", "fewshot_delimiter": "\n---\n"},
    "written_begun": WRITTEN
    | {"doc_to_text": "Q: {{question}}\n", "gen_prefix": "Of {{options|length}} options I take "},
}


def replace_data_sets(folder):
    def load_dataset(*_, **__):
        def documents(file):
            lines = (folder / file).read_text(encoding="utf-8").splitlines()
            return datasets.Dataset.from_list([json.loads(line) for line in lines])

        return datasets.DatasetDict({"test": documents("questions.jsonl"), "train": documents("solved.jsonl")})

    lm_eval.api.task.datasets.load_dataset = load_dataset


def make_model():
    """The harness's `hf` model, without the model."""
    model = object.__new__(HFLM)
    model.tokenizer = transformers.AutoTokenizer.from_pretrained(TOKENIZER)
    model.tokenizer.pad_token = model.tokenizer.eos_token
    model.chat_template_args = {}
    model.add_bos_token = None
    model.custom_prefix_token_id = None
    model.backend = "causal"
    return model


def unique(values):
    return list(dict.fromkeys(values))


def tokens(model, instance):
    if instance.request_type == "generate_until":
        return [model.tok_batch_encode([instance.args[0]])[0][0].tolist()]
    return [list(part) for part in model._encode_pair(*instance.args)]


def asked(model, name, shots, system, template, multiturn):
    task = lm_eval.api.task.ConfigurableTask(config=COMMON | TASKS[name] | {"task": name, "num_fewshot": shots})
    task.set_fewshot_seed(1234)
    if template is not None:
        model.tokenizer.chat_template = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    task.build_all_requests(
        limit=1,
        system_instruction=system,
        apply_chat_template=template is not None,
        fewshot_as_multiturn=multiturn,
        chat_template=model.apply_chat_template if template is not None else None,
    )
    instances = task.instances
    if task.OUTPUT_TYPE == "generate_until":
        continuations = instances[0].args[1]["until"]
    else:
        continuations = unique(instance.args[1] for instance in instances)
    encoded = json.dumps([tokens(model, instance) for instance in instances], separators=(",", ":"))
    return {
        "task": name,
        "shots": shots,
        "system": system,
        "template": template,
        "multiturn": multiturn,
        "contexts": unique(instance.args[0] for instance in instances),
        "continuations": continuations,
        "sha256": hashlib.sha256(encoded.encode("utf-8")).hexdigest(),
    }


def main(folder):
    assert lm_eval.__version__ == HARNESS, lm_eval.__version__
    folder = Path(folder)
    replace_data_sets(folder)
    model = make_model()
    cases = [asked(model, name, *case) for name in TASKS for case in CASES]
    text = json.dumps({"harness": HARNESS, "cases": cases}, ensure_ascii=False, indent=1)
    (folder / "asked.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
