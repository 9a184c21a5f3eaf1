#!/usr/bin/env python3
"""Renders chat templates as transformers renders them, with Python's jinja2.

    python3 -m pip install -r tools/requirements-templates.txt
    python3 tools/reference_templates.py crates/chat/tests/data

The folder holds `templates/*.jinja` and `conversations.json`; `rendered.json` is written beside them:

    {"jinja2": …, "rendered": {TEMPLATE: {CONVERSATION: {"text": …} or {"raised": …} or {"failed": …}}}}

The environment is that of transformers' `utils/chat_template_utils.py`: sandboxed, blocks trimmed, `break` and
`continue`, a tag `generation` whose body is a scope of its own, `tojson` by `json.dumps` without escapes for HTML,
`raise_exception`, and `strftime_now`, whose present is always the same.
"""

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime(2024, 7, 26, 12, 24, 5)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": ["<|pad|>"]}
# Templates that look into the parts of a message; the others want a text.
TAKE_PARTS = {"parts"}
CONTINUES = "CONTINUE_FINAL_MESSAGE_TAG "


class Raised(Exception):
    """What a template refuses with."""


class Generation(Extension):
    """The tag `generation`: the same text, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser: Any) -> nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Any) -> str:
        return caller()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder

    data = json.loads((folder / "conversations.json").read_text("utf-8"))
    environment = make_environment()
    rendered: dict[str, dict[str, dict[str, str]]] = {}
    for path in sorted((folder / "templates").glob("*.jinja")):
        template = environment.from_string(path.read_text("utf-8"))
        rendered[path.stem] = {
            conversation["name"]: outcome(template, path.stem, conversation, data["tools"])
            for conversation in data["conversations"]
        }
    made = {"jinja2": jinja2.__version__, "rendered": rendered}
    text = json.dumps(made, ensure_ascii=False, indent=1) + "\n"
    (folder / "rendered.json").write_text(text, "utf-8")


def make_environment() -> ImmutableSandboxedEnvironment:
    def raise_exception(message: str) -> None:
        raise Raised(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = NOW.strftime
    return environment


def outcome(
    template: jinja2.Template, name: str, conversation: dict[str, Any], tools: list[dict[str, Any]]
) -> dict[str, str]:
    messages = [shaped(message, name in TAKE_PARTS) for message in conversation["messages"]]
    continues = conversation.get("continue_final_message", False)
    if continues:
        messages[-1] = messages[-1] | {"content": messages[-1]["content"] + CONTINUES}
    variables = TOKENS | {
        "messages": messages,
        "tools": tools if conversation.get("with_tools") else None,
        "documents": None,
        "add_generation_prompt": conversation.get("add_generation_prompt", False),
    }
    try:
        text = template.render(variables | conversation.get("variables", {}))
    except Raised as error:
        return {"raised": str(error)}
    except (jinja2.TemplateError, TypeError, AttributeError, ValueError) as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    if continues:
        if CONTINUES.strip() not in text:
            return {"failed": "the last message is not in the text"}
        text, after = text[: text.rindex(CONTINUES.strip())], text[text.rindex(CONTINUES.strip()) :]
        if not after.startswith(CONTINUES):
            # The template took the space, and those of the message.
            text = text.rstrip()
    return {"text": text}


def shaped(message: dict[str, Any], takes_parts: bool) -> dict[str, Any]:
    content = message.get("content")
    if takes_parts or not isinstance(content, list):
        return message
    return message | {"content": "\n".join(part["text"] for part in content)}


if __name__ == "__main__":
    main()
