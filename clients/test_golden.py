"""Streams byte for byte, once ids, times and the version are taken out; GOLDEN=write makes the files anew."""

import json
import os
import re
from pathlib import Path

import httpx
import pytest
from conftest import SECONDS, URL
from test_tools import TOOLS, WEATHER

FOLDER = Path(__file__).parent / "golden"
ASK = [{"role": "user", "content": "Name three colours."}]
FORM = {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER}}
WEATHER_TOOL = {"name": "weather", "input_schema": WEATHER}
ONE = {"tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 100}

CASES = {
    "plain": ("/v1/chat/completions", {"messages": ASK}),
    "usage": ("/v1/chat/completions", {"messages": ASK, "stream_options": {"include_usage": True}}),
    "logprobs": ("/v1/chat/completions", {"messages": ASK, "logprobs": True, "max_tokens": 3}),
    "stop": ("/v1/chat/completions", {"messages": ASK, "stop": [","], "max_tokens": 30}),
    "n2": ("/v1/chat/completions", {"messages": ASK, "n": 2}),
    "tools": ("/v1/chat/completions", {"messages": ASK, "tools": TOOLS[:1], **ONE}),
    "json": ("/v1/chat/completions", {"messages": ASK, "response_format": FORM, "max_tokens": 60}),
    "completions": ("/v1/completions", {"prompt": "Once upon a time", "echo": True}),
    "anthropic": ("/v1/messages", {"messages": ASK}),
    "anthropic-tools": (
        "/v1/messages",
        {
            "messages": ASK, "tools": [WEATHER_TOOL], "max_tokens": 100,
            "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        },
    ),
    "responses": ("/v1/responses", {"input": "Name three colours."}),
    "responses-tools": (
        "/v1/responses",
        {
            "input": "Name three colours.", "tools": [{"type": "function", "name": "weather", "parameters": WEATHER}],
            "tool_choice": "required", "parallel_tool_calls": False, "max_output_tokens": 100,
        },
    ),
}


def settled(text: str, model: str) -> str:
    """What must not change: without ids, times, the version and the name of the model."""
    ids = {}

    def name(found):
        return ids.setdefault(found[0], f"{found[1]}{len(ids)}")

    text = re.sub(r"\b(chatcmpl-|cmpl-|call_|resp_|msg_|fc_|rs_|item_|toolu_)[0-9a-f]{16,}", name, text)
    text = re.sub(r'"(created|created_at|completed_at)":\d+', r'"\1":0', text)
    text = re.sub(r"argand-\d+\.\d+\.\d+", "argand-0", text).replace(json.dumps(model), '"model"')
    text = re.sub(r'"logprob":-?[0-9.e-]+', '"logprob":0', text)
    # Comments only show that the connection lives.
    events = [event for event in text.split("\n\n") if not event.startswith(":")]
    # Choices are computed side by side; only the order within one is a promise.
    index = lambda event: int(found[1]) if (found := re.search(r'"choices":\[\{"index":(\d+)', event)) else 99
    if any(index(event) == 1 for event in events):
        events.sort(key=index)
    return "\n\n".join(events)


@pytest.mark.parametrize("case", CASES)
def test_bytes(case, admin, model):
    path, body = CASES[case]
    most = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    body = {"model": model, "stream": True, "temperature": 0, most: 8, **body}
    # A key of its own, so that nothing of the prompt is there already.
    headers = {"authorization": f"Bearer {admin.make_key()['secret']}"}
    answer = httpx.post(URL + path, json=body, headers=headers, timeout=SECONDS)
    assert answer.status_code == 200, answer.text
    text, file = settled(answer.text, model), FOLDER / f"{case}.sse"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()
