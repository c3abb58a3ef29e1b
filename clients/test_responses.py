"""Responses: kept, gone on from, streamed in numbered events."""

import json

import openai
import pytest
from conftest import openai_client
from jsonschema import validate
from pydantic import BaseModel
from test_tools import SCHEMAS, WEATHER


@pytest.fixture
def respond(client, model):
    def respond(input="Name three colours.", **options):
        options = {"model": model, "temperature": 0, "max_output_tokens": 16, **options}
        return client.responses.create(input=input, **options)

    return respond


TOOLS = [{"type": "function", "name": name, "parameters": schema, "strict": True} for name, schema in SCHEMAS.items()]


def test_text(respond, model):
    response = respond()
    assert response.id.startswith("resp_") and response.object == "response" and response.model == model
    [item] = response.output
    assert item.type == "message" and item.role == "assistant" and item.content[0].type == "output_text"
    assert response.output_text and response.error is None
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"
    assert response.usage.output_tokens == 16
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_completed(respond):
    response = respond(text={"format": {"type": "json_schema", "name": "b", "schema": {"type": "boolean"}}})
    assert response.status == "completed" and response.incomplete_details is None
    assert response.output[0].status == "completed" and json.loads(response.output_text) in (True, False)


def test_the_same_as_chat(respond, say):
    assert respond().output_text == say().choices[0].message.content
    assert respond().usage.input_tokens == say().usage.prompt_tokens


def test_items(respond):
    items = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Name three colours."}]},
    ]
    assert respond(items).usage.input_tokens > respond().usage.input_tokens


def test_instructions(respond, say):
    messages = [{"role": "system", "content": "Speak of the sea."}, {"role": "user", "content": "Hello."}]
    response = respond("Hello.", instructions="Speak of the sea.")
    assert response.instructions == "Speak of the sea."
    assert response.output_text == say(messages=messages).choices[0].message.content


def test_what_was_asked_is_repeated(respond):
    response = respond(metadata={"a": "b"}, tools=TOOLS, tool_choice="none", top_p=0.5)
    assert response.metadata == {"a": "b"} and response.top_p == 0.5 and response.temperature == 0
    assert [tool.name for tool in response.tools] == list(SCHEMAS) and response.tool_choice == "none"
    assert response.max_output_tokens == 16 and response.parallel_tool_calls is True


def test_goes_on(respond):
    first = respond()
    second = respond("And three more?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens


def test_instructions_do_not_go_on(respond):
    instructions = "Speak of the sea, of ships and of harbours. " * 4
    first = respond("Hello.", instructions=instructions)
    again = respond("Go on.", previous_response_id=first.id, instructions=instructions)
    assert respond("Go on.", previous_response_id=first.id).usage.input_tokens < again.usage.input_tokens


def test_retrieve_and_delete(client, respond):
    response = respond()
    assert client.responses.retrieve(response.id).output_text == response.output_text
    client.responses.delete(response.id)
    for ask in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            ask(response.id)


def test_nothing_is_kept_unless_wanted(client, respond):
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(respond(store=False).id)


def test_others_do_not_see_it(respond, admin, model):
    other = openai_client(admin.make_key()["secret"])
    mine = respond()
    for ask in (other.responses.retrieve, other.responses.delete):
        with pytest.raises(openai.NotFoundError):
            ask(mine.id)
    with pytest.raises(openai.NotFoundError) as error:
        other.responses.create(model=model, input="x", previous_response_id=mine.id)
    assert error.value.param == "previous_response_id"


def test_input_items(client, respond):
    response = respond([{"role": "user", "content": "One."}, {"role": "user", "content": "Two."}])
    items = client.responses.input_items.list(response.id, order="asc").data
    assert [item.content[0].text for item in items] == ["One.", "Two."]
    assert all(item.id and item.type == "message" and item.role == "user" for item in items)
    newest = client.responses.input_items.list(response.id, order="desc", limit=1)
    assert [item.content[0].text for item in newest.data] == ["Two."] and newest.has_more
    # The client asks for further pages itself.
    assert [item.content[0].text for item in newest] == ["Two.", "One."]


def test_input_tokens(client, respond, model):
    counted = client.responses.input_tokens.count(model=model, input="Name three colours.")
    assert counted.object == "response.input_tokens" and counted.input_tokens == respond().usage.input_tokens


def test_cancel(client, respond):
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(respond().id)


def events_of(stream):
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    return events, kinds


def test_stream(respond):
    events, kinds = events_of(respond(stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert kinds[2:4] == ["response.output_item.added", "response.content_part.added"]
    assert kinds[4:-4] == ["response.output_text.delta"] * len(deltas)
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete",
    ]
    last = events[-1].response
    assert "".join(deltas) == events[-4].text == last.output_text == respond().output_text
    assert events[0].response.status == "in_progress" and events[0].response.id == last.id and last.usage.output_tokens == 16
    assert {event.item_id for event in events[4:-4]} == {last.output[0].id}


def test_a_stream_is_kept(client, respond):
    last = list(respond(stream=True))[-1].response
    assert client.responses.retrieve(last.id).output_text == last.output_text


def test_the_client_adds_up(client, model):
    # The client takes only a completed response for final, so this one ends by itself.
    form = {"format": {"type": "json_schema", "name": "b", "schema": {"type": "boolean"}}}
    with client.responses.stream(model=model, input="Yes or no?", text=form) as stream:
        for _event in stream:
            pass
        assert stream.get_final_response().output_text in ("true", "false")


def test_schema(client, model):
    class Car(BaseModel):
        electric: bool
        doors: int

    response = client.responses.parse(model=model, input="A car.", text_format=Car, max_output_tokens=200)
    assert isinstance(response.output_parsed, Car) and response.text.format.type == "json_schema"


def test_tools(respond):
    response = respond(tools=TOOLS, tool_choice="required", parallel_tool_calls=False, max_output_tokens=120)
    [call] = response.output
    assert call.type == "function_call" and call.call_id and call.id and call.id != call.call_id and call.status == "completed"
    validate(json.loads(call.arguments), SCHEMAS[call.name])


def test_tools_in_a_stream(respond):
    choice = {"type": "function", "name": "weather"}
    stream = respond(tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, max_output_tokens=120, stream=True)
    events, kinds = events_of(stream)
    arguments = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    validate(json.loads(arguments), WEATHER)
    assert arguments == done.arguments == events[-1].response.output[0].arguments
    assert kinds[2] == "response.output_item.added" and kinds[-2:] == ["response.output_item.done", "response.completed"]


def test_results_of_tools(respond):
    first = respond("Weather in Rome?", tools=TOOLS, tool_choice="required", parallel_tool_calls=False, max_output_tokens=120)
    output = {"type": "function_call_output", "call_id": first.output[0].call_id, "output": "12 degrees"}
    second = respond([output], previous_response_id=first.id, tools=TOOLS, tool_choice="none")
    assert second.output_text
    whole = [{"role": "user", "content": "Weather in Rome?"}, first.output[0].model_dump(exclude_none=True), output]
    assert respond(whole, tools=TOOLS, tool_choice="none").output_text == second.output_text


def test_probabilities(respond):
    response = respond(include=["message.output_text.logprobs"], top_logprobs=2)
    tokens = response.output[0].content[0].logprobs
    assert len(tokens) == 16 and all(len(token.top_logprobs) == 2 for token in tokens)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": 5}, "input"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "strin"}}}}, "text.format.schema"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"extra_body": {"colour": "red"}}, "colour"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong(respond, options, param):
    with pytest.raises(openai.BadRequestError) as error:
        respond(**options)
    assert error.value.param == param
