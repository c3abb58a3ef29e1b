"""Structured outputs: what a schema, a pattern or a list allows, and nothing else."""

import json
import re
from enum import Enum
from typing import Literal

import openai
import pytest
from conftest import async_client
from jsonschema import validate
from pydantic import BaseModel, Field


class Colour(str, Enum):
    red = "red"
    green = "green"


class Part(BaseModel):
    name: Literal["wheel", "door"]
    count: int = Field(ge=0, le=9)


class Car(BaseModel):
    colour: Colour
    electric: bool
    doors: int | None = Field(ge=1, le=5)
    parts: list[Part] = Field(max_length=2)


QUESTION = [{"role": "user", "content": "Describe a car."}]


def schema_of(schema, name="car"):
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def test_parse(client, model):
    answer = client.chat.completions.parse(model=model, messages=QUESTION, response_format=Car, max_tokens=200)
    assert isinstance(answer.choices[0].message.parsed, Car) and answer.choices[0].finish_reason == "stop"


def test_parse_several(client, model):
    answer = client.chat.completions.parse(
        model=model, messages=QUESTION, response_format=Car, max_tokens=200, n=3, temperature=1.5, seed=2
    )
    assert all(isinstance(choice.message.parsed, Car) for choice in answer.choices)


def test_parse_a_stream(client, model):
    with client.chat.completions.stream(model=model, messages=QUESTION, response_format=Car, max_tokens=200) as stream:
        assert any(event.type == "content.delta" for event in stream)
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Car)


async def parse_later(model):
    async with async_client() as client:
        return await client.chat.completions.parse(model=model, messages=QUESTION, response_format=Car, max_tokens=200)


def test_parse_async(model):
    import asyncio

    assert isinstance(asyncio.run(parse_later(model)).choices[0].message.parsed, Car)


def test_any_object(say):
    choice = say("Give me a car as JSON.", response_format={"type": "json_object"}, max_tokens=200).choices[0]
    assert choice.message.content.lstrip().startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)


def test_text_is_free(say):
    assert say(response_format={"type": "text"}).choices[0].message.content == say().choices[0].message.content


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": ["a", "b", 3, None]},
        {"const": {"x": [1, 2]}},
        {"type": "boolean"},
        {"type": "integer", "minimum": 10, "maximum": 20},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "maxItems": 3},
        {"type": "string", "pattern": "^[a-c]{2,4}$"},
        {"type": "string", "format": "date"},
        {"anyOf": [{"type": "boolean"}, {"enum": ["maybe"]}]},
        {"$ref": "#/$defs/yes", "$defs": {"yes": {"const": "yes"}}},
    ],
    ids=lambda schema: "-".join(schema),
)
def test_schemas(say, schema):
    choice = say(response_format=schema_of(schema), max_tokens=100, temperature=1, seed=1).choices[0]
    assert choice.finish_reason == "stop"
    validate(json.loads(choice.message.content), schema)


def test_a_schema_in_vllms_words(say):
    answer = say(extra_body={"structured_outputs": {"json": {"type": "boolean"}}})
    assert json.loads(answer.choices[0].message.content) in (True, False)


def test_choice(say):
    names = ["positive", "negative", "neither of the two"]
    assert say(extra_body={"structured_outputs": {"choice": names}}).choices[0].message.content in names


def test_regex(say):
    answer = say(extra_body={"structured_outputs": {"regex": "[A-Z]{3}-[0-9]{4}"}}, max_tokens=40)
    assert re.fullmatch("[A-Z]{3}-[0-9]{4}", answer.choices[0].message.content)


def test_grammar(say):
    lark = 'start: verb " the " noun\nverb: "open" | "close"\nnoun: "door" | "window"'
    answer = say(extra_body={"structured_outputs": {"grammar": lark}}, max_tokens=40)
    assert re.fullmatch("(open|close) the (door|window)", answer.choices[0].message.content)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format.json_schema.schema"),
        ({"response_format": schema_of({"type": "strin"})}, "response_format"),
        ({"response_format": schema_of({"$ref": "#/$defs/absent"})}, "response_format"),
        ({"response_format": schema_of(False)}, "response_format"),
        ({"extra_body": {"structured_outputs": {"regex": "("}}}, "structured_outputs"),
        ({"extra_body": {"structured_outputs": {"choice": []}}}, "structured_outputs"),
        ({"extra_body": {"structured_outputs": {"regex": "a", "choice": ["b"]}}}, "structured_outputs"),
        ({"extra_body": {"structured_outputs": {}}}, "structured_outputs"),
        ({"extra_body": {"structured_outputs": {"grammar": "start: ("}}}, "structured_outputs"),
    ],
)
def test_wrong(say, options, param):
    with pytest.raises(openai.BadRequestError) as error:
        say(**options)
    assert error.value.param == param
