#!/usr/bin/env python3
"""The calls that Open WebUI makes to a server of OpenAI's interface: when it is added, when it lists, when one chats.

    python3 tools/clients/open_webui_client.py URL KEY

They are replayed with the standard library, for the page itself is too large to install. URL has a model with a chat
template behind a key. Its server asks, not the browser; where a user lets the browser ask directly, the server must
have been told of the page (`--cors-origins`), and by itself answers no page.
"""

import json
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from checks import Checks, equal, raises

URL, KEY = sys.argv[1:]
HEADERS = {
    "Authorization": f"Bearer {KEY}",
    "Content-Type": "application/json",
    "Accept": "*/*",
    "User-Agent": "Python/3.11 aiohttp/3.12",
    "X-OpenWebUI-User-Name": "someone",
    "X-OpenWebUI-User-Role": "admin",
}

check = Checks()


def call(path, body=None, headers=HEADERS, method=None):
    data = None if body is None else json.dumps(body).encode()
    return urlopen(Request(URL + path, data=data, headers=headers, method=method), timeout=60)


def model():
    return json.load(call("/v1/models"))["data"][0]["id"]


@check
def a_connection_is_verified_by_the_list_of_models():
    for path in ("/models", "/v1/models"):
        with call(path) as answer:
            equal(answer.headers["content-type"].split(";")[0], "application/json")
            found = json.load(answer)
        equal(found["object"], "list")
        for entry in found["data"]:
            assert {"id", "object", "created", "owned_by"} <= entry.keys(), entry


@check
def a_connection_with_another_key_is_refused_in_json():
    other = HEADERS | {"Authorization": "Bearer other"}
    found = raises(HTTPError, lambda: call("/models", headers=other))
    equal(found.code, 401)
    assert json.load(found)["error"]["message"], "a message to show"


@check
def a_chat_streams_as_the_page_asks_for_it():
    body = {
        "stream": True,
        "model": model(),
        "messages": [{"role": "user", "content": "The cat"}],
        "max_tokens": 24,
        "stream_options": {"include_usage": True},
    }
    for path in ("/chat/completions", "/v1/chat/completions"):
        with call(path, body) as answer:
            equal(answer.headers["content-type"].split(";")[0], "text/event-stream")
            lines = [line.decode().rstrip("\n") for line in answer]
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        equal(data[-1], "[DONE]")
        pieces = [json.loads(line) for line in data[:-1]]
        assert "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces if piece["choices"])
        assert pieces[-1]["usage"]["total_tokens"] > 0, pieces[-1]


@check
def a_title_is_asked_for_whole():
    prompt = "### Task:\nGenerate a concise title for the chat as JSON."
    messages = [{"role": "user", "content": prompt}]
    body = {"model": model(), "messages": messages, "stream": False, "max_completion_tokens": 20}
    with call("/chat/completions", body | {"metadata": {"task": "title_generation"}}) as answer:
        found = json.load(answer)
    equal(found["object"], "chat.completion")
    equal(found["choices"][0]["message"]["role"], "assistant")


@check
def embeddings_of_documents_are_numbers_on_request():
    with call("/embeddings", {"model": model(), "input": ["The cat", "A dog"], "encoding_format": "float"}) as answer:
        found = json.load(answer)
    equal([len(entry["embedding"]) > 0 for entry in found["data"]], [True, True])


@check
def no_page_may_ask_unless_it_is_allowed():
    asked = {"Origin": "http://elsewhere.example", "Access-Control-Request-Method": "POST"}
    found = raises(HTTPError, lambda: call("/v1/chat/completions", headers=asked, method="OPTIONS"))
    assert 400 <= found.code < 500, found.code
    equal(found.headers["access-control-allow-origin"], None)


check.run()
