"""What makes generated requests useful: a model that is there, and answers that are short."""

import os

import schemathesis

MODEL = os.environ.get("ARGAND_MODEL", "")
BOUNDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def whole(value):
    """JSON Schema takes 2.0 for an integer; the server wants whole numbers without a point."""
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    body, path = whole(body), context.operation.path
    if isinstance(body.get("model"), str) and body["model"] and path.startswith(("/v1/", "/tokenize", "/detokenize")):
        body["model"] = MODEL
    for bound in BOUNDS:
        if type(body.get(bound)) is int and body[bound] > 4:
            body[bound] = 4
    if type(body.get("n")) is int and body["n"] > 2:
        body["n"] = min(body["n"], 2) if body["n"] <= 16 else body["n"]
    missing = {"/v1/chat/completions": "max_tokens", "/v1/responses": "max_output_tokens"}.get(path)
    if missing and not any(bound in body for bound in BOUNDS):
        body[missing] = 4
    return body
