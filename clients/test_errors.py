"""Errors: each of the client's classes, with the field that is at fault."""

import time

import httpx
import openai
import pytest
from conftest import URL, openai_client

QUESTION = [{"role": "user", "content": "Hello."}]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"logit_bias": {"999999999": 1}}, "logit_bias"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "word " * 20000}]}, "messages"),
        ({"extra_body": {"colour": "red"}}, "colour"),
        ({"extra_body": {"top_k": -2}}, "top_k"),
        ({"extra_body": {"chat_template_kwargs": 5}}, "chat_template_kwargs"),
        ({"extra_body": {"stream_options": 5}, "stream": True}, "stream_options"),
        ({"extra_body": {"model": 5}}, "model"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_field_is_at_fault(say, options, param):
    with pytest.raises(openai.BadRequestError) as error:
        say(**options)
    assert error.value.param == param and error.value.type == "invalid_request_error" and error.value.message
    assert set(error.value.body) == {"message", "type", "param", "code"}


def test_words_for_programs(say):
    for options, code in (
        ({"extra_body": {"colour": "red"}}, "unknown_parameter"),
        ({"audio": {"voice": "x"}}, "unsupported_parameter"),
        ({"messages": [{"role": "user", "content": "word " * 20000}]}, "context_length_exceeded"),
    ):
        with pytest.raises(openai.BadRequestError) as error:
            say(**options)
        assert error.value.code == code


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b"\xff\xfe", b"null", b'{"model": 1e999}', b"[" * 5000])
def test_no_json(http, body):
    answer = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"


def test_no_key(model):
    with pytest.raises(openai.AuthenticationError) as error:
        openai_client("wrong").chat.completions.create(model=model, messages=QUESTION)
    assert error.value.code == "invalid_api_key" and error.value.response.headers["www-authenticate"] == "Bearer"


def test_a_revoked_key(admin, http, model):
    key = admin.make_key()
    client = openai_client(key["secret"])
    assert client.chat.completions.create(model=model, messages=QUESTION, max_tokens=1).choices
    assert http.delete(f"/admin/v1/keys/{key['id']}").json()["revoked"]
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model=model, messages=QUESTION, max_tokens=1)


def test_not_for_this(admin):
    client = openai_client(admin.make_key(scopes=["embeddings"])["secret"])
    with pytest.raises(openai.PermissionDeniedError) as error:
        client.chat.completions.create(model="any", messages=QUESTION)
    assert error.value.type == "permission_error"


def test_not_this_model(admin, model):
    client = openai_client(admin.make_key(models=["another"])["secret"])
    assert client.models.list().data == []
    for ask in (
        lambda: client.chat.completions.create(model=model, messages=QUESTION),
        lambda: client.completions.create(model=model, prompt="x"),
        lambda: client.responses.create(model=model, input="x"),
        lambda: client.models.retrieve(model),
    ):
        with pytest.raises((openai.PermissionDeniedError, openai.NotFoundError)):
            ask()


def test_not_this_model_either(admin):
    key = admin.make_key(models=["another"])["secret"]
    for path, body in (("/tokenize", {"content": "x"}), ("/detokenize", {"tokens": [1]})):
        assert httpx.post(URL + path, json=body, headers={"authorization": f"Bearer {key}"}).status_code in (403, 404)


def test_no_such_model(say):
    with pytest.raises(openai.NotFoundError) as error:
        say(model="absent")
    assert error.value.code == "model_not_found" and error.value.param == "model"


def test_no_such_place(http):
    for path in ("/v1/absent", "/absent", "/v1/files", "/v1//models"):
        answer = http.get(path)
        assert answer.status_code == 404 and answer.json()["error"]["message"], path


def test_no_such_method(http):
    answer = http.get("/v1/chat/completions")
    assert answer.status_code == 405 and answer.json()["error"]["code"] == "method_not_allowed"
    assert "POST" in answer.headers["allow"]


def test_the_same_request_twice(admin, model):
    client = openai_client(admin.make_key()["secret"])
    headers = {"Idempotency-Key": "the same"}
    assert client.chat.completions.create(model=model, messages=QUESTION, max_tokens=1, extra_headers=headers).choices
    with pytest.raises(openai.ConflictError) as error:
        client.chat.completions.create(model=model, messages=QUESTION, max_tokens=1, extra_headers=headers)
    assert error.value.response.headers["x-should-retry"] == "false"


def test_too_large(http):
    try:
        answer = http.post("/v1/chat/completions", content=b'{"model": "' + b"x" * (33 << 20) + b'"}')
        assert answer.status_code == 413 and answer.json()["error"]["message"]
    except httpx.WriteError:
        pytest.skip("the server closed the connection before the body was sent")


def test_too_many(admin, model):
    client = openai_client(admin.make_key(limits={"requests_per_minute": 2})["secret"])
    with pytest.raises(openai.RateLimitError) as error:
        for _ in range(3):
            client.chat.completions.create(model=model, messages=QUESTION, max_tokens=1)
    assert 1 <= int(error.value.response.headers["retry-after"]) <= 60 and error.value.code == "rate_limit_exceeded"


def test_a_spent_quota(admin, model):
    client = openai_client(admin.make_key(limits={"period_tokens": 60, "period": "day"})["secret"])
    with pytest.raises(openai.RateLimitError) as error:
        for _ in range(10):
            client.chat.completions.create(model=model, messages=QUESTION, max_tokens=4)
    assert error.value.code == "insufficient_quota"


def test_limits_are_told(admin, model):
    client = openai_client(admin.make_key(limits={"requests_per_minute": 5})["secret"])
    raw = client.chat.completions.with_raw_response.create(model=model, messages=QUESTION, max_tokens=1)
    assert raw.headers["x-ratelimit-limit-requests"] == "5" and raw.headers["x-ratelimit-remaining-requests"] == "4"


def test_the_client_tries_again_when_it_may(admin, model):
    # The official client honours Retry-After; here the second try would come too late, so only its patience is seen.
    client = openai_client(admin.make_key(limits={"concurrent": 0})["secret"], max_retries=1)
    start = time.monotonic()
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model=model, messages=QUESTION, max_tokens=1)
    assert time.monotonic() - start > 0.4


def test_nobody_listens_there():
    with pytest.raises(openai.APIConnectionError):
        openai.OpenAI(base_url=URL.rsplit(":", 1)[0] + ":9/v1", api_key="x", max_retries=0).models.list()


def test_methods_of_administration(http, admin):
    answer = http.post("/admin/v1/keys", json={"name": "x", "scopes": ["king"]})
    assert answer.status_code == 400
    assert http.post("/admin/v1/keys", json={}).json()["error"]["param"] == "name"
    assert http.delete("/admin/v1/keys/absent").status_code == 404
    assert http.get("/admin/v1/usage", params={"by": "moon"}).status_code == 400
    assert http.get("/admin/v1/usage", params={"from": "yesterday"}).status_code == 400
    assert http.get("/admin/v1/usage", params=[("by", "day"), ("by", "key")]).headers["content-type"] == "application/json"
    assert http.get("/v1/models/%ff").headers["content-type"] == "application/json"
