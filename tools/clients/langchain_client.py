#!/usr/bin/env python3
"""LangChain's clients of OpenAI's interface ask `tercet serve`.

    python3 tools/clients/langchain_client.py URL KEY

URL has a model with a chat template behind a key.
"""

import sys
from typing import Literal

import openai
from checks import Checks, equal, raises
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

URL, KEY = sys.argv[1:]
COMMON = {"base_url": f"{URL}/v1", "api_key": KEY, "max_retries": 0}
MODEL = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY).models.list().data[0].id
MESSAGES = [SystemMessage("Tell stories."), HumanMessage("The cat")]

check = Checks("langchain-openai")
chat = ChatOpenAI(model=MODEL, max_tokens=24, seed=7, temperature=1.0, **COMMON)


class Animal(BaseModel):
    """An animal."""

    name: Literal["cat", "dog"]
    legs: Literal[2, 4]


@tool
def weather(city: Literal["Oslo", "Rome"]) -> str:
    """The weather of a city."""
    return f"rain in {city}"


@check
def a_streamed_chat_is_the_whole_one():
    whole = chat.invoke(MESSAGES)
    assert whole.content, whole
    pieces = list(chat.stream(MESSAGES, stream_usage=True))
    equal("".join(piece.content for piece in pieces), whole.content)
    joined = pieces[0]
    for piece in pieces[1:]:
        joined += piece
    equal(joined.usage_metadata["total_tokens"], whole.usage_metadata["total_tokens"])


@check
def many_are_asked_at_once():
    texts = [answer.content for answer in chat.batch([MESSAGES, [HumanMessage("A dog")], MESSAGES])]
    equal(texts[0], texts[2])
    equal(texts[0], chat.invoke(MESSAGES).content)


@check
def log_probabilities_come_along():
    found = chat.bind(logprobs=True, top_logprobs=2).invoke(MESSAGES)
    tokens = found.response_metadata["logprobs"]["content"]
    equal(len(tokens), found.usage_metadata["output_tokens"])


@check
def structured_output_is_of_its_class():
    for method in ("json_schema", "function_calling"):
        asking = ChatOpenAI(model=MODEL, max_tokens=200, seed=7, temperature=1.0, **COMMON)
        # Without `strict` other fields may follow, and a model of stories thinks of many.
        found = asking.with_structured_output(Animal, method=method, strict=True).invoke(MESSAGES)
        assert isinstance(found, Animal), (method, found)


@check
def a_tool_is_called_and_told_of():
    asking = ChatOpenAI(model=MODEL, max_tokens=200, seed=7, temperature=1.0, **COMMON)
    asking = asking.bind_tools([weather], tool_choice="weather", strict=True, parallel_tool_calls=False)
    called = asking.invoke(MESSAGES)
    call = called.tool_calls[0]
    equal(call["name"], "weather")
    assert call["args"]["city"] in ("Oslo", "Rome"), call
    told = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
    asked = [*MESSAGES, AIMessage("", tool_calls=[call]), told]
    assert chat.bind_tools([weather], tool_choice="none").invoke(asked).content


@check
def a_completion_is_streamed_as_it_is_whole():
    asking = OpenAI(model=MODEL, max_tokens=24, seed=7, temperature=1.0, **COMMON)
    whole = asking.invoke("Once upon a time")
    assert whole, "a text"
    equal("".join(asking.stream("Once upon a time")), whole)


@check
def embeddings_of_texts_are_vectors():
    asking = OpenAIEmbeddings(model=MODEL, check_embedding_ctx_length=False, **COMMON)
    cat, dog = asking.embed_documents(["The cat", "A dog"])
    equal(asking.embed_query("The cat"), cat)
    assert len(cat) == len(dog) and cat != dog, (len(cat), len(dog))


@check
def embeddings_of_foreign_tokens_are_refused_with_what_to_do():
    # What LangChain posts unless told otherwise: tokens of OpenAI's models, not of this one.
    foreign = [[791, 8415], [32, 5679]]
    asking = OpenAIEmbeddings(model=MODEL, **COMMON)
    found = raises(openai.BadRequestError, lambda: asking.client.create(model=MODEL, input=foreign))
    assert "check_embedding_ctx_length=False" in found.body["message"], found.body


check.run()
