"""Tools: whatever the model, a call that was asked for is a call with valid arguments."""

import json
from typing import Literal

import openai
import pytest
from jsonschema import validate
from pydantic import BaseModel, ConfigDict

WEATHER = {
    "type": "object",
    "properties": {"city": {"enum": ["Bonn", "Rome", "Oslo"]}, "unit": {"enum": ["c", "f"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
SUM = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
SCHEMAS = {"weather": WEATHER, "sum": SUM}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": f"The {name}.", "parameters": schema}}
    for name, schema in SCHEMAS.items()
]
QUESTION = "What is the weather in Rome, and in Oslo?"


@pytest.fixture
def call(say):
    return lambda **options: say(QUESTION, **{"tools": TOOLS, "max_tokens": 120, **options})


def check(calls):
    assert calls and len({call.id for call in calls}) == len(calls)
    for call in calls:
        assert call.type == "function" and call.id.startswith("call_")
        validate(json.loads(call.function.arguments), SCHEMAS[call.function.name])


def test_required(call):
    choice = call(tool_choice="required").choices[0]
    check(choice.message.tool_calls)
    assert choice.finish_reason in ("tool_calls", "length")


@pytest.mark.parametrize("name", ["weather", "sum"])
def test_named(call, name):
    choice = call(tool_choice={"type": "function", "function": {"name": name}}).choices[0]
    check(choice.message.tool_calls)
    assert {call.function.name for call in choice.message.tool_calls} == {name}


def test_auto(call):
    message = call(tool_choice="auto").choices[0].message
    assert message.content or message.tool_calls
    if message.tool_calls:
        check(message.tool_calls)


def test_none(call):
    choice = call(tool_choice="none").choices[0]
    assert choice.message.tool_calls is None and choice.message.content and choice.finish_reason != "tool_calls"


def test_one_at_a_time(call):
    choice = call(tool_choice="required", parallel_tool_calls=False).choices[0]
    check(choice.message.tool_calls)
    assert len(choice.message.tool_calls) == 1 and choice.finish_reason == "tool_calls" and choice.message.content is None


@pytest.mark.parametrize("seed", range(4))
def test_hot_models_call_validly_too(call, seed):
    choice = call(tool_choice="required", parallel_tool_calls=False, temperature=2, seed=seed).choices[0]
    check(choice.message.tool_calls)


def test_several_choices(call):
    for choice in call(tool_choice="required", parallel_tool_calls=False, n=2, temperature=1, seed=1).choices:
        check(choice.message.tool_calls)


def streamed(stream):
    """Calls that a stream adds up to, as clients add them."""
    calls, ends = {}, []
    for chunk in stream:
        for choice in chunk.choices:
            ends += [choice.finish_reason] * bool(choice.finish_reason)
            for part in choice.delta.tool_calls or []:
                if part.index not in calls:
                    assert part.index == len(calls) and part.id and part.function.name and part.type == "function"
                    calls[part.index] = [part.function.name, ""]
                else:
                    assert part.id is None and part.function.name is None
                assert isinstance(part.function.arguments, str)
                calls[part.index][1] += part.function.arguments
    return list(calls.values()), ends


def test_streamed(call):
    options = {"tool_choice": "required", "parallel_tool_calls": False}
    calls, ends = streamed(call(stream=True, **options))
    [whole] = call(**options).choices[0].message.tool_calls
    assert calls == [[whole.function.name, whole.function.arguments]] and ends == ["tool_calls"]


def test_streamed_in_parallel(call):
    calls, ends = streamed(call(stream=True, tool_choice="required"))
    assert calls and len(ends) == 1
    for name, arguments in calls:
        validate(json.loads(arguments), SCHEMAS[name])


def test_results_are_read(say):
    calls = [
        {"id": f"call_{i}", "type": "function", "function": {"name": "sum", "arguments": json.dumps({"a": i, "b": 1})}}
        for i in (1, 2)
    ]
    results = [{"role": "tool", "tool_call_id": f"call_{i}", "content": str(i + 1)} for i in (1, 2)]
    messages = [{"role": "user", "content": "1 + 1 and 2 + 1?"}, {"role": "assistant", "content": None, "tool_calls": calls}]
    answer = say(messages=[*messages, *results], tools=TOOLS, tool_choice="none")
    alone = say(messages=messages[:1], tools=TOOLS, tool_choice="none")
    assert answer.choices[0].message.content and answer.usage.prompt_tokens > alone.usage.prompt_tokens + 10


def test_a_loop_of_calls(say, call):
    first = call(tool_choice="required", parallel_tool_calls=False).choices[0].message
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "12 degrees"}
    messages = [{"role": "user", "content": QUESTION}, first, result]
    assert say(messages=messages, tools=TOOLS, tool_choice="none").choices[0].message.content


class Weather(BaseModel):
    """The weather somewhere."""

    model_config = ConfigDict(extra="forbid")
    city: Literal["Bonn", "Rome"]
    days: Literal[1, 2, 3]


def test_pydantic(client, model):
    answer = client.chat.completions.parse(
        model=model, messages=[{"role": "user", "content": QUESTION}], tools=[openai.pydantic_function_tool(Weather)],
        tool_choice="required", parallel_tool_calls=False, max_tokens=120,
    )
    assert isinstance(answer.choices[0].message.tool_calls[0].function.parsed_arguments, Weather)


def test_a_tool_without_arguments(say):
    now = [{"type": "function", "function": {"name": "now"}}]
    answer = say("What time is it?", tools=now, tool_choice="required", parallel_tool_calls=False, max_tokens=100)
    [called] = answer.choices[0].message.tool_calls
    assert called.function.name == "now" and isinstance(json.loads(called.function.arguments), dict)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nothing"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
    ],
)
def test_wrong(say, options, param):
    with pytest.raises(openai.BadRequestError) as error:
        say(**options)
    assert error.value.param == param
