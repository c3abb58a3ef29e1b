"""Plain completions: text and tokens that go on."""

import openai
import pytest

TEXT = "Once upon a time there was"


@pytest.fixture
def go_on(client, model):
    def go_on(prompt=TEXT, **options):
        return client.completions.create(**{"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 8, **options})

    return go_on


def encode(http, text):
    return http.post("/tokenize", json={"content": text, "add_special": True, "parse_special": False}).json()["tokens"]


def test_text(go_on, model):
    answer = go_on()
    assert answer.id.startswith("cmpl-") and answer.object == "text_completion" and answer.model == model
    [choice] = answer.choices
    assert choice.text and choice.finish_reason == "length" and answer.usage.completion_tokens == 8


def test_sixteen_tokens_unless_told(client, model):
    assert client.completions.create(model=model, prompt=TEXT, temperature=0).usage.completion_tokens <= 16


def test_tokens(go_on, http):
    tokens = encode(http, TEXT)
    answer = go_on(tokens)
    assert answer.choices[0].text == go_on().choices[0].text and answer.usage.prompt_tokens == len(tokens)


def test_texts(go_on):
    texts = [TEXT, "The capital of France is"]
    answer = go_on(texts)
    assert [choice.text for choice in answer.choices] == [go_on(text).choices[0].text for text in texts]
    assert answer.usage.prompt_tokens == sum(go_on(text).usage.prompt_tokens for text in texts)


def test_lists_of_tokens(go_on, http):
    texts = [TEXT, "The capital of France is"]
    assert [c.text for c in go_on([encode(http, text) for text in texts]).choices] == [c.text for c in go_on(texts).choices]


def test_several_of_each(go_on):
    answer = go_on([TEXT, "The sea"], n=2, temperature=1, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]


def test_echo(go_on, http):
    assert go_on(echo=True).choices[0].text == TEXT + go_on().choices[0].text
    assert go_on(encode(http, TEXT), echo=True).choices[0].text == TEXT + go_on().choices[0].text


def test_probabilities(go_on):
    answer = go_on(logprobs=3)
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == 8
    assert "".join(logprobs.tokens) == answer.choices[0].text and all(p <= 0 for p in logprobs.token_logprobs)
    for token, offset in zip(logprobs.tokens, logprobs.text_offset):
        assert answer.choices[0].text[offset:].startswith(token)


def test_offsets_of_a_stream(go_on):
    chunks = [chunk.choices[0] for chunk in go_on(logprobs=1, stream=True) if chunk.choices]
    offsets = [offset for choice in chunks if choice.logprobs for offset in choice.logprobs.text_offset]
    assert offsets == go_on(logprobs=1).choices[0].logprobs.text_offset


@pytest.mark.parametrize("echo", [False, True])
def test_stream(go_on, echo):
    chunks = list(go_on(stream=True, echo=echo, stream_options={"include_usage": True}))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == go_on(echo=echo).choices[0].text
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert ends == ["length"] and chunks[-1].usage.completion_tokens == 8 and chunks[-1].choices == []


def test_stop(go_on):
    whole = go_on(max_tokens=16).choices[0].text
    stop = whole[len(whole) // 2 :][:3]
    choice = go_on(max_tokens=16, stop=stop).choices[0]
    assert choice.text == whole[: whole.index(stop)] and choice.finish_reason == "stop"


def test_a_seed_repeats(go_on):
    assert len({go_on(temperature=1, seed=9).choices[0].text for _ in range(3)}) == 1


def test_more_tokens_than_there_is_room_for(go_on):
    # The bound is a bound; what ends the answer earlier is the length of the context.
    answer = go_on(max_tokens=2**63, stop=[" ", "\n", ".", ","])
    assert answer.usage.completion_tokens < 100


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[], [1]]}, "prompt"),
        ({"prompt": [["a"]]}, "prompt"),
        ({"prompt": [10**9]}, "prompt"),
        ({"prompt": TEXT, "max_tokens": -1}, "max_tokens"),
        ({"prompt": "a " * 20000}, "prompt"),
        ({"n": 1000}, "n"),
        ({"logprobs": 100}, "logprobs"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong(go_on, options, param):
    with pytest.raises(openai.BadRequestError) as error:
        go_on(**options)
    assert error.value.param == param
