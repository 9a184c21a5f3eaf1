#!/usr/bin/env python3
"""OpenAI's own client for Python asks `tercet serve`.

    python3 tools/clients/openai_client.py URL KEY NARROW_URL

URL has a model with a chat template behind a key; NARROW_URL one place to work and one to wait, without a key.
"""

import base64
import json
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import openai
from checks import Checks, equal, raises
from pydantic import BaseModel, Field

URL, KEY, NARROW_URL = sys.argv[1:]
PROMPT = "Once upon a time"
MESSAGES = [{"role": "system", "content": "Tell stories."}, {"role": "user", "content": "The cat"}]

check = Checks("openai")
client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=60)
MODEL = client.models.list().data[0].id

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"enum": [1, 2]}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    },
}


class Animal(BaseModel):
    name: Literal["cat", "dog"]
    legs: int = Field(ge=0, le=9)
    is_big: bool


def complete(**fields):
    return client.completions.create(**{"model": MODEL, "prompt": PROMPT, "max_tokens": 24, "seed": 7} | fields)


def chat(**fields):
    return client.chat.completions.create(
        **{"model": MODEL, "messages": MESSAGES, "max_tokens": 24, "seed": 7} | fields
    )


def error(found, status, param=None, code=None):
    """Checks what an error of the client tells."""
    equal(found.status_code, status)
    assert found.body["message"] and found.body["type"], found.body
    if param is not None:
        equal(found.param, param)
    if code is not None:
        equal(found.code, code)
    assert found.request_id, "no x-request-id"


@check
def models_are_listed_and_found_by_name():
    models = client.models.list().data
    equal([model.object for model in models], ["model"] * len(models))
    found = client.models.retrieve(MODEL)
    equal((found.id, found.object), (MODEL, "model"))
    assert found.created > 1_700_000_000, found
    assert found.meta["n_ctx"] > 0, found
    error(raises(openai.NotFoundError, lambda: client.models.retrieve("no/such-model")), 404, code="model_not_found")


@check
def a_wrong_key_is_an_authentication_error():
    other = client.with_options(api_key="wrong")
    error(raises(openai.AuthenticationError, other.models.list), 401, code="invalid_api_key")
    other = client.with_options(api_key=KEY[:-1])
    ask = lambda: other.completions.create(model=MODEL, prompt=PROMPT)  # noqa: E731
    error(raises(openai.AuthenticationError, ask), 401, code="invalid_api_key")


@check
def a_completion_has_every_field():
    found = complete()
    choice = found.choices[0]
    equal((found.object, found.model, len(found.choices)), ("text_completion", MODEL, 1))
    assert choice.text and choice.finish_reason in ("stop", "length"), choice
    usage = found.usage
    equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
    assert 0 < usage.completion_tokens <= 24, usage
    assert usage.prompt_tokens_details.cached_tokens >= 0, usage
    assert found._request_id, "no x-request-id"


@check
def a_seed_gives_the_same_text_again_and_another_another():
    texts = [complete(seed=seed, temperature=1.0).choices[0].text for seed in (1, 1, 2, 3)]
    equal(texts[0], texts[1])
    assert len(set(texts)) > 1, texts


@check
def a_streamed_completion_is_the_whole_one():
    whole = complete(logprobs=3)
    pieces = list(complete(logprobs=3, stream=True, stream_options={"include_usage": True}))
    equal({piece.id for piece in pieces}, {pieces[0].id})
    equal("".join(piece.choices[0].text for piece in pieces if piece.choices), whole.choices[0].text)
    equal([piece.usage for piece in pieces[:-1]], [None] * (len(pieces) - 1))
    equal((pieces[-1].choices, pieces[-1].usage.total_tokens), ([], whole.usage.total_tokens))
    reasons = [piece.choices[0].finish_reason for piece in pieces[:-1]]
    equal(reasons[-1], whole.choices[0].finish_reason)
    equal(set(reasons[:-1]), {None})
    streamed = [piece.choices[0].logprobs for piece in pieces[:-1] if piece.choices[0].logprobs]
    equal(sum((found.tokens for found in streamed), []), whole.choices[0].logprobs.tokens)
    equal(sum((found.token_logprobs for found in streamed), []), whole.choices[0].logprobs.token_logprobs)
    equal(sum((found.text_offset for found in streamed), []), whole.choices[0].logprobs.text_offset)


@check
def a_streamed_chat_is_the_whole_one():
    whole = chat(logprobs=True, top_logprobs=2)
    pieces = list(chat(logprobs=True, top_logprobs=2, stream=True, stream_options={"include_usage": True}))
    equal({(piece.id, piece.object) for piece in pieces}, {(pieces[0].id, "chat.completion.chunk")})
    equal(pieces[0].choices[0].delta.role, "assistant")
    deltas = [piece.choices[0].delta.content or "" for piece in pieces if piece.choices]
    equal("".join(deltas), whole.choices[0].message.content)
    equal((pieces[-1].choices, pieces[-1].usage.completion_tokens), ([], whole.usage.completion_tokens))
    streamed = [piece.choices[0].logprobs.content for piece in pieces if piece.choices and piece.choices[0].logprobs]
    numbers = [token.logprob for token in sum(streamed, [])]
    equal(numbers, [token.logprob for token in whole.choices[0].logprobs.content])


@check
def the_helper_for_streams_gathers_the_whole_chat():
    # The helper takes an answer that was cut for an error.
    whole = chat(stop=["e"], max_tokens=200)
    with client.chat.completions.stream(
        model=MODEL, messages=MESSAGES, max_tokens=200, seed=7, stop=["e"]
    ) as stream:
        for _ in stream:
            pass
        found = stream.get_final_completion()
    equal(found.choices[0].message.content, whole.choices[0].message.content)
    equal(found.choices[0].finish_reason, whole.choices[0].finish_reason)


@check
def log_probabilities_of_a_chat_are_those_of_its_tokens():
    found = chat(logprobs=True, top_logprobs=5, temperature=0)
    tokens = found.choices[0].logprobs.content
    equal(len(tokens), found.usage.completion_tokens)
    for token in tokens:
        equal(len(token.top_logprobs), 5)
        values = [top.logprob for top in token.top_logprobs]
        equal(values, sorted(values, reverse=True))
        equal(token.logprob, values[0])
        assert -9999.0 <= token.logprob <= 0, token
    data = b"".join(bytes(token.bytes) for token in tokens)
    # The end-of-text token may stand behind the text.
    assert data.decode("utf-8", "replace").startswith(found.choices[0].message.content), data


@check
def an_echoed_prompt_has_log_probabilities_but_of_the_first():
    found = complete(echo=True, logprobs=2, max_tokens=1, temperature=0)
    told = found.choices[0].logprobs
    count = found.usage.prompt_tokens + 1
    equal([len(told.tokens), len(told.token_logprobs), len(told.top_logprobs), len(told.text_offset)], [count] * 4)
    equal((told.token_logprobs[0], told.top_logprobs[0]), (None, None))
    assert found.choices[0].text.startswith(PROMPT), found.choices[0].text
    for number, top in zip(told.token_logprobs[1:], told.top_logprobs[1:]):
        assert number <= max(top.values()), (number, top)
    equal(told.token_logprobs[-1], max(told.top_logprobs[-1].values()))
    alone = complete(echo=True, logprobs=2, max_tokens=0)
    equal(alone.choices[0].logprobs.token_logprobs, told.token_logprobs[:-1])


@check
def prompts_and_choices_are_in_order():
    found = complete(prompt=[PROMPT, "The cat"], n=2, temperature=1.0)
    equal([choice.index for choice in found.choices], [0, 1, 2, 3])
    equal(found.choices[0].text, complete(temperature=1.0).choices[0].text)
    equal(found.choices[2].text, complete(prompt="The cat", temperature=1.0).choices[0].text)
    assert found.choices[0].text != found.choices[1].text, found.choices
    equal(len(chat(n=3, temperature=1.0).choices), 3)


@check
def a_prompt_may_be_tokens():
    text = complete(temperature=0).choices[0].text
    answer = client.post(f"{URL}/tokenize", cast_to=object, body={"prompt": PROMPT, "add_special_tokens": True})
    equal(complete(prompt=answer["tokens"], temperature=0).choices[0].text, text)
    both = complete(prompt=[answer["tokens"], answer["tokens"]], temperature=0)
    equal([choice.text for choice in both.choices], [text, text])


@check
def a_text_ends_before_a_stop():
    text = complete(temperature=0, max_tokens=40).choices[0].text
    stop = text[len(text) // 2 :][:3]
    found = complete(temperature=0, max_tokens=40, stop=["never seen", stop]).choices[0]
    equal((found.text, found.finish_reason), (text[: text.index(stop)], "stop"))
    pieces = list(complete(temperature=0, max_tokens=40, stop=stop, stream=True))
    equal("".join(piece.choices[0].text for piece in pieces), text[: text.index(stop)])
    # lm-eval sends more than the four of OpenAI.
    complete(stop=["a1", "b1", "c1", "d1", "e1", "f1"])


@check
def a_bias_makes_a_token_the_likeliest():
    answer = client.post(f"{URL}/tokenize", cast_to=object, body={"prompt": "dog", "add_special_tokens": False})
    token = str(answer["tokens"][-1])
    plain = complete(temperature=0, max_tokens=3, logprobs=1).choices[0].logprobs.tokens
    found = complete(temperature=0, max_tokens=3, logprobs=1, logit_bias={token: 100}).choices[0].logprobs.tokens
    equal(len(set(found)), 1)
    assert found != plain, found


@check
def a_schema_gives_an_object_of_it():
    found = client.chat.completions.parse(
        model=MODEL, messages=MESSAGES, max_tokens=200, seed=3, temperature=1.0, response_format=Animal
    )
    animal = found.choices[0].message.parsed
    assert animal.name in ("cat", "dog") and 0 <= animal.legs <= 9, animal
    equal(found.choices[0].finish_reason, "stop")


@check
def a_json_object_is_one_or_is_cut():
    found = chat(response_format={"type": "json_object"}, max_tokens=300, temperature=0).choices[0]
    if found.finish_reason == "stop":
        assert isinstance(json.loads(found.message.content), dict), found
    else:
        equal(found.finish_reason, "length")
        assert found.message.content.lstrip().startswith("{"), found


@check
def a_required_tool_is_called():
    fields = {"tools": [WEATHER, CLOCK], "tool_choice": "required", "parallel_tool_calls": False}
    found = chat(**fields, max_tokens=200, temperature=1.0).choices[0]
    equal(found.finish_reason, "tool_calls")
    call = found.message.tool_calls[0]
    assert call.id and call.function.name in ("weather", "clock"), call
    json.loads(call.function.arguments)


@check
def a_named_tool_is_called_and_its_pieces_join():
    choice = {"type": "function", "function": {"name": "weather"}}
    fields = {"tools": [WEATHER, CLOCK], "tool_choice": choice, "parallel_tool_calls": False}
    fields |= {"max_tokens": 200, "temperature": 1.0}
    whole = chat(**fields).choices[0]
    call = whole.message.tool_calls[0]
    equal(call.function.name, "weather")
    arguments = json.loads(call.function.arguments)
    assert arguments["city"] in ("Oslo", "Rome") and arguments["days"] in (1, 2), arguments
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES, seed=7, **fields) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    equal([(found.function.name, found.function.arguments) for found in streamed],
          [(found.function.name, found.function.arguments) for found in whole.message.tool_calls])


@check
def what_a_tool_told_may_follow():
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
        ]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
    ]
    found = chat(messages=messages, tools=[CLOCK], tool_choice="none")
    equal(found.choices[0].message.tool_calls, None)
    assert found.choices[0].message.content, found


@check
def content_may_be_parts_of_text():
    parts = [{"role": "user", "content": [{"type": "text", "text": "The "}, {"type": "text", "text": "cat"}]}]
    assert chat(messages=parts).choices[0].message.content
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    found = raises(openai.BadRequestError, lambda: chat(messages=image))
    assert "image_url" in found.body["message"], found.body


@check
def embeddings_in_base64_are_those_in_numbers():
    texts = ["The cat", "A dog"]
    found = client.embeddings.create(model=MODEL, input=texts)
    numbers = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    equal([entry.index for entry in found.data], [0, 1])
    packed = lambda vector: struct.pack(f"<{len(vector)}f", *vector)  # noqa: E731
    equal([packed(entry.embedding) for entry in found.data], [packed(entry.embedding) for entry in numbers.data])
    for entry in found.data:
        assert abs(sum(number * number for number in entry.embedding) - 1) < 1e-4, "its length is 1"
    raw = client.embeddings.with_raw_response.create(model=MODEL, input="The cat", encoding_format="base64")
    text = json.loads(raw.text)["data"][0]["embedding"]
    equal(base64.b64decode(text, validate=True), packed(numbers.data[0].embedding))
    assert found.usage.prompt_tokens > 0 and found.usage.total_tokens == found.usage.prompt_tokens, found.usage


@check
def what_is_wrong_is_named():
    for fields, param in [
        ({"temperature": 3}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"n": 9}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"logprobs": 21}, "logprobs"),
        ({"stop": [""]}, "stop"),
        ({"logit_bias": {"nine": 1}}, "logit_bias"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
    ]:
        error(raises(openai.BadRequestError, lambda fields=fields: complete(**fields)), 400, param=param)
    error(raises(openai.NotFoundError, lambda: complete(model="gpt-4o")), 404, "model", "model_not_found")
    error(raises(openai.BadRequestError, lambda: chat(messages=[])), 400, "messages")


@check
def too_long_a_prompt_is_a_context_error_with_numbers():
    found = raises(openai.BadRequestError, lambda: complete(prompt="cat " * 2000))
    error(found, 400, code="context_length_exceeded")
    assert any(character.isdigit() for character in found.body["message"]), found.body
    error(raises(openai.BadRequestError, lambda: complete(max_tokens=100_000)), 400, code="context_length_exceeded")


@check
def an_unknown_path_and_method_are_errors_of_one_shape():
    error(raises(openai.NotFoundError, lambda: client.post("/no/such/route", cast_to=object, body={})), 404)
    found = raises(openai.APIStatusError, lambda: client.get("/completions", cast_to=object))
    error(found, 405)


@check
def unknown_fields_are_ignored():
    found = complete(extra_body={"some_day": {"a": [1]}, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1})
    assert found.choices[0].text, found
    chat(user="someone", metadata={"a": "b"}, store=False, service_tier="auto", parallel_tool_calls=True, tools=[CLOCK])


@check
def a_full_queue_is_a_rate_limit_error_and_retries_come_through():
    narrow = openai.OpenAI(base_url=f"{NARROW_URL}/v1", api_key="none", max_retries=0, timeout=120)
    model = narrow.models.list().data[0].id

    def ask(at, retries):
        asking = narrow.with_options(max_retries=retries)
        try:
            return asking.completions.create(
                model=model, prompt=PROMPT, max_tokens=200, seed=at, extra_body={"ignore_eos": True}
            )
        except openai.RateLimitError as refused:
            return refused

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda at: ask(at, 0), range(12)))
    refused = [answer for answer in found if isinstance(answer, openai.RateLimitError)]
    assert 0 < len(refused) < 12, f"{len(refused)} of 12 are refused"
    for answer in refused:
        error(answer, 429)
        assert float(answer.response.headers["retry-after"]) > 0, answer.response.headers
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda at: ask(at, 20), range(12)))
    equal([answer.usage.completion_tokens for answer in found], [200] * 12)


@check
def a_client_who_leaves_a_stream_leaves_nothing():
    for _ in range(5):
        stream = complete(stream=True, max_tokens=300, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
    assert complete().choices[0].text


check.run()
