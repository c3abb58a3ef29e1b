"""Messages by Anthropic's client."""

import json

import anthropic
import pytest
from conftest import SECONDS, URL
from jsonschema import validate
from test_tools import SCHEMAS, WEATHER

TOOLS = [{"name": name, "description": f"The {name}.", "input_schema": schema} for name, schema in SCHEMAS.items()]


@pytest.fixture
def tell(claude, model):
    def tell(text="Name three colours.", **options):
        # The client of today has no name for sampling any more; servers still do.
        body = {"temperature": 0, **options.pop("extra_body", {})}
        options = {"model": model, "max_tokens": 16, "extra_body": body, **options}
        options.setdefault("messages", [{"role": "user", "content": text}])
        return claude.messages.create(**options)

    return tell


def test_plain(tell, model):
    message = tell()
    assert message.id.startswith("msg_") and message.type == "message" and message.role == "assistant" and message.model == model
    assert [block.type for block in message.content] == ["text"] and message.content[0].text
    assert message.stop_reason == "max_tokens" and message.stop_sequence is None
    assert message.usage.output_tokens == 16 and message.usage.input_tokens + message.usage.cache_read_input_tokens > 0


def test_the_same_as_chat(tell, say):
    assert tell().content[0].text == say().choices[0].message.content


@pytest.mark.parametrize("system", ["Speak of the sea.", [{"type": "text", "text": "Speak of the sea."}]])
def test_system(tell, say, system):
    messages = [{"role": "system", "content": "Speak of the sea."}, {"role": "user", "content": "Hello."}]
    assert tell("Hello.", system=system).content[0].text == say(messages=messages).choices[0].message.content


def test_many_turns(tell):
    turns = [("user", "Hello."), ("assistant", "Hello!"), ("user", [{"type": "text", "text": "Colours?"}])]
    assert tell(messages=[{"role": role, "content": content} for role, content in turns]).content[0].text


def test_stop_sequences(tell):
    whole = tell(max_tokens=24).content[0].text
    stop = whole[len(whole) // 2 :][:3]
    message = tell(max_tokens=24, stop_sequences=["never said", stop])
    assert message.stop_reason == "stop_sequence" and message.stop_sequence == stop
    assert message.content[0].text == whole[: whole.index(stop)]


def test_top_k(tell):
    assert tell(extra_body={"temperature": 1, "top_k": 1}).content[0].text == tell().content[0].text


def test_fields_without_effect(tell):
    assert tell(metadata={"user_id": "x"}, service_tier="auto").content[0].text == tell().content[0].text


def test_stream(claude, model, tell):
    question = [{"role": "user", "content": "Name three colours."}]
    with claude.messages.stream(model=model, max_tokens=16, messages=question, extra_body={"temperature": 0}) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    whole = tell()
    assert text == final.content[0].text == whole.content[0].text and final.stop_reason == "max_tokens"
    assert final.usage.output_tokens == 16


def test_events(tell):
    events = list(tell(stream=True))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"] or kinds[1] == "ping"
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    start, delta = events[0].message, events[-2]
    assert start.content == [] and start.stop_reason is None and start.usage.input_tokens > 0
    assert delta.delta.stop_reason == "max_tokens" and delta.usage.output_tokens == 16


def test_tools(tell):
    message = tell(tools=TOOLS, tool_choice={"type": "any", "disable_parallel_tool_use": True}, max_tokens=120)
    [call] = message.content
    assert call.type == "tool_use" and call.id.startswith("toolu_") and message.stop_reason == "tool_use"
    validate(call.input, SCHEMAS[call.name])


def test_one_tool(tell):
    choice = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    [call] = tell(tools=TOOLS, tool_choice=choice, max_tokens=120).content
    assert call.name == "weather"


def test_no_tool(tell):
    message = tell(tools=TOOLS, tool_choice={"type": "none"})
    assert [block.type for block in message.content] == ["text"]


def test_tools_in_a_stream(claude, model):
    choice = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    question = [{"role": "user", "content": "Weather in Rome?"}]
    with claude.messages.stream(model=model, max_tokens=120, messages=question, tools=TOOLS, tool_choice=choice) as stream:
        parts = [e.delta.partial_json for e in stream if e.type == "content_block_delta" and e.delta.type == "input_json_delta"]
        [call] = stream.get_final_message().content
    assert json.loads("".join(parts)) == call.input
    validate(call.input, WEATHER)


def test_results_of_tools(tell):
    call = {"type": "tool_use", "id": "toolu_1", "name": "sum", "input": {"a": 1, "b": 2}}
    for content in ("3", [{"type": "text", "text": "3"}]):
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
        turns = [("user", "1 + 2?"), ("assistant", [call]), ("user", [result])]
        messages = [{"role": role, "content": content} for role, content in turns]
        assert tell(messages=messages, tools=TOOLS, tool_choice={"type": "none"}).content[0].text


def test_schema(tell):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
    body = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    validate(json.loads(tell(extra_body=body, max_tokens=60).content[0].text), schema)


def test_count_tokens(claude, model, tell):
    question = [{"role": "user", "content": "Name three colours."}]
    counted = claude.messages.count_tokens(model=model, messages=question).input_tokens
    usage = tell().usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens
    assert claude.messages.count_tokens(model=model, messages=question, system="Be kind.", tools=TOOLS).input_tokens > counted


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0]"),
        ({"extra_body": {"temperature": 5}}, "temperature"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "absent"}}, "absent"),
        ({"extra_body": {"colour": "red"}}, "colour"),
        ({"extra_body": {"mcp_servers": [{"url": "x"}]}}, "mcp_servers"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong(tell, options, words):
    with pytest.raises(anthropic.BadRequestError) as error:
        tell(**options)
    body = error.value.body
    assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error"
    assert words in body["error"]["message"]


def test_unknown_model(tell):
    with pytest.raises(anthropic.NotFoundError) as error:
        tell(model="absent")
    assert error.value.body["error"]["type"] == "not_found_error"


def test_wrong_key(model):
    with pytest.raises(anthropic.AuthenticationError) as error:
        anthropic.Anthropic(base_url=URL, api_key="wrong", max_retries=0, timeout=SECONDS).messages.create(
            model=model, max_tokens=1, messages=[{"role": "user", "content": "x"}]
        )
    assert error.value.body["type"] == "error" and error.value.body["error"]["type"] == "authentication_error"


def test_a_request_has_a_name(tell):
    assert tell(max_tokens=1)._request_id


@pytest.mark.alone
def test_whoever_leaves_early_is_not_served_on(tell, admin):
    stream = tell("Count.", stream=True, max_tokens=5000)
    next(iter(stream))
    stream.close()
    admin.wait_until_idle()
