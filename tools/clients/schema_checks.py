"""What schemathesis wants of every answer of `tercet serve`, beside its own checks: errors in OpenAI's shape."""

import schemathesis

FIELDS = {"message", "type", "param", "code"}


@schemathesis.check
def errors_have_the_shape_of_openai(ctx, response, case):
    if not 400 <= response.status_code < 600:
        return
    # A question for the head alone has no body.
    if case.method.upper() == "HEAD":
        return
    body = response.json()
    assert isinstance(body, dict) and body.keys() == {"error"}, f"an error is {body!r}"
    error = body["error"]
    assert isinstance(error, dict) and error.keys() >= FIELDS, f"an error has {error!r}"
    assert isinstance(error["message"], str) and error["message"], f"an error says {error['message']!r}"
    assert isinstance(error["type"], str), f"an error has the type {error['type']!r}"


@schemathesis.check
def requests_have_an_id(ctx, response, case):
    assert response.headers.get("x-request-id"), "no x-request-id"
