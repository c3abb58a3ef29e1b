"""Decisions: questions about an input, answered by probabilities."""

import openai
import pytest

INPUT = "The delivery came two weeks late and the box was broken."
PREDICATE = {"type": "predicate", "name": "late", "instructions": "The delivery was late."}
CHOICE = {
    "type": "choice", "instructions": "What is the text about?",
    "choices": [{"value": "delivery", "description": "How a parcel came."}, {"value": "weather"}, {"value": True}],
}
SCORE = {"type": "score", "instructions": "How happy is the writer?", "levels": [{"label": word} for word in ("not", "a little", "very")]}


@pytest.fixture
def decide(client, model):
    return lambda **options: client.decisions.create(**{"model": model, "input": INPUT, "questions": [PREDICATE, CHOICE, SCORE], **options})


def test_every_kind(decide, model):
    answer = decide()
    predicate, choice, score = answer.answers
    assert answer.model == model and (predicate.type, predicate.name) == ("predicate", "late")
    assert 0 <= predicate.probability <= 1
    chances = [one.probability for one in choice.probabilities]
    assert sum(chances) == pytest.approx(1) and choice.confidence == max(chances)
    assert [one.value for one in choice.probabilities] == ["delivery", "weather", True] and choice.choice in ("delivery", "weather", True)
    levels = score.probabilities
    assert score.score == pytest.approx(sum(one.value * one.probability for one in levels)) and 1 <= score.score <= 3
    assert answer.usage.input_tokens > 0 and answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_the_same_again_and_alone(decide):
    together, alone = decide().answers, [decide(questions=[question]).answers[0] for question in (PREDICATE, CHOICE, SCORE)]
    assert together[0].probability == pytest.approx(alone[0].probability, rel=1e-3)
    assert together[2].score == pytest.approx(alone[2].score, rel=1e-3)


def test_items(decide):
    items = [{"type": "message", "role": "user", "content": "Where is my parcel?"}, {"role": "assistant", "content": "Lost."}]
    assert 0 <= decide(input=items, questions=[PREDICATE]).answers[0].probability <= 1


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"input": ""}, "input"),
        ({"questions": []}, "questions"),
        ({"questions": [{"type": "guess", "instructions": "x"}]}, "questions[0].type"),
        ({"questions": [{"type": "predicate"}]}, "questions[0].instructions"),
        ({"questions": [{**CHOICE, "choices": [{"value": "one"}]}]}, "questions[0].choices"),
        ({"questions": [{**CHOICE, "choices": [{"value": "a"}, {"value": "a"}]}]}, "questions[0].choices[1].value"),
        ({"input": "long " * 20000}, "input"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong(decide, options, param):
    with pytest.raises(openai.BadRequestError) as error:
        decide(**options)
    assert error.value.param == param
