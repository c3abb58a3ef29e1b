"""Streams of chat completions: every chunk as OpenAI's clients expect it."""

import json

import pytest


@pytest.fixture
def stream(say):
    return lambda *text, **options: list(say(*text, stream=True, **options))


def text_of(chunks, index=0):
    choices = (choice for chunk in chunks for choice in chunk.choices if choice.index == index)
    return "".join(choice.delta.content or "" for choice in choices)


def ends_of(chunks, index=0):
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return [choice for choice in choices if choice.finish_reason]


def test_chunks(stream, model):
    chunks = stream()
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"} and {chunk.model for chunk in chunks} == {model}
    assert len({chunk.id for chunk in chunks}) == 1 and len({chunk.created for chunk in chunks}) == 1
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)


def test_one_end_in_an_empty_chunk(stream):
    chunks = stream()
    [end] = ends_of(chunks)
    assert end is chunks[-1].choices[0] and end.finish_reason == "length"
    assert end.delta.model_dump(exclude_none=True) == {}


def test_the_same_text(stream, say):
    assert text_of(stream()) == say().choices[0].message.content


def test_usage_in_a_chunk_of_its_own(stream, say):
    chunks = stream(stream_options={"include_usage": True})
    assert chunks[-1].choices == [] and all(chunk.usage is None for chunk in chunks[:-1])
    usage, whole = chunks[-1].usage, say().usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (whole.prompt_tokens, whole.completion_tokens)


def test_no_usage_unless_asked(stream):
    assert all(chunk.usage is None and chunk.choices for chunk in stream())


def test_several_choices(stream, say):
    options = {"n": 3, "temperature": 1, "seed": 5}
    chunks = stream(**options)
    for choice in say(**options).choices:
        assert text_of(chunks, choice.index) == choice.message.content
        [end] = ends_of(chunks, choice.index)
        assert end.finish_reason == choice.finish_reason
        roles = [one.delta.role for chunk in chunks for one in chunk.choices if one.index == choice.index]
        assert roles == ["assistant"] + [None] * (len(roles) - 1)


def test_a_stop_is_never_shown(stream):
    whole = text_of(stream(max_tokens=24))
    stop = whole[len(whole) // 2 :][:4]
    chunks = stream(max_tokens=24, stop=stop)
    assert text_of(chunks) == whole[: whole.index(stop)] and ends_of(chunks)[0].finish_reason == "stop"


def test_probabilities(stream, say):
    chunks = stream(logprobs=True, top_logprobs=2)
    streamed = [token for chunk in chunks for choice in chunk.choices if choice.logprobs for token in choice.logprobs.content]
    whole = say(logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert [token.token for token in streamed] == [token.token for token in whole]
    assert b"".join(bytes(token.bytes) for token in streamed).decode() == text_of(chunks)


def test_lines(http, model):
    body = {"model": model, "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 4, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream") and answer.headers["cache-control"] == "no-cache"
        events = "".join(answer.iter_text()).split("\n\n")
    assert events.pop() == "" and events.pop() == "data: [DONE]"
    assert all(json.loads(event.removeprefix("data: "))["choices"] for event in events if not event.startswith(":"))


def test_letters_are_never_cut(stream):
    # Characters of several tokens come whole; only what the bound on tokens has cut may end in half of one.
    chunks = stream("Repeat after me: 🦀🦀🦀 日本語", temperature=0, max_tokens=24)
    assert "🦀" in text_of(chunks) and "�" not in text_of(chunks)[:-1]


def test_the_client_adds_up(client, model):
    # The client takes a cut answer for an error, so this one ends by itself.
    shape = {"structured_outputs": {"choice": ["red, green and blue"]}}
    with client.chat.completions.stream(
        model=model, messages=[{"role": "user", "content": "Name three colours."}], extra_body=shape
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds and "content.done" in kinds
    assert final.choices[0].message.content == "red, green and blue"


@pytest.mark.alone
def test_whoever_leaves_early_is_not_served_on(say, admin):
    before = admin.state()["requests"]["total"]
    stream = say("Count to a thousand.", stream=True, max_tokens=5000, extra_body={"ignore_eos": True})
    for _, _chunk in zip(range(3), stream):
        pass
    stream.close()
    admin.wait_until_idle()
    assert admin.state()["requests"]["total"] > before


def test_errors_have_their_status_before_the_stream(say):
    import openai

    with pytest.raises(openai.BadRequestError):
        say(stream=True, temperature=7)
    with pytest.raises(openai.BadRequestError) as error:
        say(stream_options={"include_usage": True})
    assert error.value.param == "stream_options"
