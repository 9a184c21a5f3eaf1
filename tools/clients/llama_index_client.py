#!/usr/bin/env python3
"""LlamaIndex's client of OpenAI-like servers asks `tercet serve`.

    python3 tools/clients/llama_index_client.py URL KEY

URL has a model with a chat template behind a key.
"""

import sys

import openai
from checks import Checks, equal, raises
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

URL, KEY = sys.argv[1:]
MODEL = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY).models.list().data[0]
COMMON = {
    "model": MODEL.id,
    "api_base": f"{URL}/v1",
    "api_key": KEY,
    "context_window": MODEL.meta["n_ctx"],
    "max_tokens": 24,
    "temperature": 1.0,
    "max_retries": 0,
    "additional_kwargs": {"seed": 7},
}
MESSAGES = [ChatMessage(role="system", content="Tell stories."), ChatMessage(role="user", content="The cat")]

check = Checks("llama-index-llms-openai-like")
base = OpenAILike(**COMMON)
chat = OpenAILike(is_chat_model=True, **COMMON)


@check
def a_streamed_completion_is_the_whole_one():
    whole = base.complete("Once upon a time").text
    assert whole, "a text"
    pieces = list(base.stream_complete("Once upon a time"))
    equal("".join(piece.delta for piece in pieces), whole)
    equal(pieces[-1].text, whole)


@check
def a_streamed_chat_is_the_whole_one():
    whole = chat.chat(MESSAGES).message.content
    assert whole, "a text"
    pieces = list(chat.stream_chat(MESSAGES))
    equal("".join(piece.delta or "" for piece in pieces), whole)
    equal(pieces[-1].message.content, whole)


@check
def messages_without_a_template_of_the_server_are_a_completion():
    assert base.chat(MESSAGES).message.content, "a text"


@check
def a_wrong_key_is_an_authentication_error():
    other = OpenAILike(**(COMMON | {"api_key": "wrong"}))
    raises(openai.AuthenticationError, lambda: other.complete("Once upon a time"))


check.run()
