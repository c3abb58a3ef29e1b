"""LiteLLM, which stands between many programs and their servers."""

import asyncio
import json

import pytest
from conftest import KEY, SECONDS, URL
from test_tools import TOOLS

litellm = pytest.importorskip("litellm")
litellm.suppress_debug_info = True
litellm.telemetry = False

QUESTION = [{"role": "user", "content": "Name three colours."}]


@pytest.fixture
def options(model):
    return {
        "model": f"openai/{model}", "api_base": f"{URL}/v1", "api_key": KEY, "messages": QUESTION, "max_tokens": 16,
        "temperature": 0, "timeout": SECONDS, "num_retries": 0, "max_retries": 0,
    }


def test_plain(options, say):
    answer = litellm.completion(**options)
    assert answer.choices[0].message.content == say().choices[0].message.content and answer.usage.completion_tokens == 16


def test_stream(options, say):
    chunks = list(litellm.completion(**options, stream=True, stream_options={"include_usage": True}))
    whole = litellm.stream_chunk_builder(chunks, messages=QUESTION)
    assert whole.choices[0].message.content == say().choices[0].message.content and whole.usage.completion_tokens == 16


def test_tools(options):
    options |= {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 120}
    call = litellm.completion(**options).choices[0].message.tool_calls[0]
    chunks = list(litellm.completion(**options, stream=True))
    streamed = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == json.loads(streamed.function.arguments)


def test_schema(options):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "boolean"}}}
    assert json.loads(litellm.completion(**options, response_format=form).choices[0].message.content) in (True, False)


def test_text(options, model):
    options = {name: value for name, value in options.items() if name not in ("model", "messages")}
    answer = litellm.text_completion(model=f"text-completion-openai/{model}", prompt="Once upon a time", **options)
    assert answer.choices[0].text


def test_messages(options, model):
    options |= {"model": f"anthropic/{model}", "api_base": URL}
    assert litellm.completion(**options).choices[0].message.content


def test_responses(options, model):
    answer = litellm.responses(
        model=f"openai/{model}", input="Hello.", api_base=f"{URL}/v1", api_key=KEY, max_output_tokens=16, timeout=SECONDS
    )
    assert answer.output[0].content[0].text and answer.usage.output_tokens <= 16


def test_async(options):
    assert asyncio.run(litellm.acompletion(**options)).choices[0].message.content


def test_errors(options):
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(**{**options, "model": "openai/absent"})
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(**{**options, "api_key": "wrong"})
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**{**options, "temperature": 9})
