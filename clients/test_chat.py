"""Chat completions by OpenAI's client: shapes, sampling, accounting."""

import time

import openai
import pytest


def tokens_of(http, text):
    return http.post("/tokenize", json={"content": text, "parse_special": False}).json()["tokens"]


def test_plain(say, model):
    answer = say()
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion" and answer.model == model
    assert abs(answer.created - time.time()) < 120
    [choice] = answer.choices
    assert choice.index == 0 and choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length") and choice.logprobs is None and choice.message.tool_calls is None
    assert answer.system_fingerprint


def test_usage_adds_up(say):
    usage = say().usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens == 16
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 <= usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens
    assert usage.completion_tokens_details.reasoning_tokens == 0


def test_ids_differ(say):
    assert say(max_tokens=1).id != say(max_tokens=1).id


def test_many_turns(say):
    turns = [("user", "Hello."), ("assistant", "Hello!"), ("user", "How are you?"), ("assistant", "Well."), ("user", "Good.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    long, short = say(messages=messages), say(messages=messages[:1])
    assert long.choices[0].message.content and long.usage.prompt_tokens > short.usage.prompt_tokens


def test_developer_is_system(say):
    def ask(role):
        return say(messages=[{"role": role, "content": "Speak of the sea."}, {"role": "user", "content": "Hello."}])

    system, developer = ask("system"), ask("developer")
    assert system.choices[0].message.content == developer.choices[0].message.content
    assert system.usage.prompt_tokens == developer.usage.prompt_tokens


def test_parts_are_the_text(say):
    parts = [{"type": "text", "text": "Name three "}, {"type": "text", "text": "colours."}]
    assert say(messages=[{"role": "user", "content": parts}]).choices[0].message.content == say().choices[0].message.content


def test_any_script(say):
    assert say("Übersetze: 日本語 🦀 العربية").choices[0].message.content is not None


def test_an_empty_question(say):
    assert say("").usage.prompt_tokens > 0


def test_names_of_speakers(say):
    assert say(messages=[{"role": "user", "name": "ada", "content": "Hello."}]).choices


def test_several_choices(say):
    answer = say(n=3, temperature=1, seed=7)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    assert answer.usage.completion_tokens <= 3 * 16
    assert answer.usage.prompt_tokens == say(n=1).usage.prompt_tokens


def test_a_seed_repeats_all_choices(say):
    def ask():
        return [choice.message.content for choice in say(n=3, temperature=1, seed=7).choices]

    assert ask() == ask()


@pytest.mark.parametrize("seed", [0, 1, 2**40, -1])
def test_a_seed_repeats(say, seed):
    assert say(temperature=1, seed=seed).choices[0].message.content == say(temperature=1, seed=seed).choices[0].message.content


def test_other_seeds_say_something_else(say):
    texts = {say(temperature=1.5, seed=seed, max_tokens=24).choices[0].message.content for seed in range(3)}
    assert len(texts) > 1


def test_cold_is_greedy(say):
    texts = {say(seed=seed).choices[0].message.content for seed in (1, 2, 3)}
    assert texts == {say(temperature=1, extra_body={"top_k": 1}).choices[0].message.content}


def test_a_stop_ends_before_it(say):
    whole = say(max_tokens=24).choices[0].message.content
    stop = whole[len(whole) // 2 :][:3]
    choice = say(max_tokens=24, stop=stop).choices[0]
    assert choice.message.content == whole[: whole.index(stop)] and choice.finish_reason == "stop"


def test_the_first_of_several_stops(say):
    whole = say(max_tokens=24).choices[0].message.content
    stops = [whole[15:18], whole[4:7], "never said"]
    ends = min(whole.index(stop) for stop in stops[:2])
    assert say(max_tokens=24, stop=stops).choices[0].message.content == whole[:ends]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_bound_of_tokens(client, model, field):
    question = [{"role": "user", "content": "Tell a long story."}]
    answer = client.chat.completions.create(model=model, messages=question, temperature=0, **{field: 5})
    assert answer.usage.completion_tokens == 5 and answer.choices[0].finish_reason == "length"


def test_probabilities(say):
    answer = say(logprobs=True, top_logprobs=5)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens
    text = b"".join(bytes(token.bytes) for token in tokens).decode()
    assert answer.choices[0].message.content == text
    for token in tokens:
        top = [one.logprob for one in token.top_logprobs]
        assert token.logprob <= 0 and len(top) == 5 and top == sorted(top, reverse=True)
        # Greedy, so the chosen token is the most probable.
        assert token.top_logprobs[0].token == token.token and abs(top[0] - token.logprob) < 1e-4


def test_probabilities_without_alternatives(say):
    tokens = say(logprobs=True, max_tokens=4).choices[0].logprobs.content
    assert len(tokens) == 4 and all(token.top_logprobs == [] for token in tokens)


def test_probabilities_of_every_choice(say):
    for choice in say(logprobs=True, n=2, temperature=1, seed=3, max_tokens=6).choices:
        assert 0 < len(choice.logprobs.content) <= 6


def test_bias_forbids_a_token(say, http):
    first = say(logprobs=True, max_tokens=1).choices[0].logprobs.content[0].token
    [token] = tokens_of(http, first)
    assert not say(logit_bias={str(token): -100}, max_tokens=1).choices[0].message.content.startswith(first)


def test_bias_forces_a_token(say, http):
    [token] = tokens_of(http, " sea")
    assert say(logit_bias={str(token): 100}, max_tokens=4).choices[0].message.content.strip() == "sea sea sea sea"


def test_penalties_change_the_answer(say, http):
    [token] = tokens_of(http, " sea")
    bias = {"logit_bias": {str(token): 40}, "max_tokens": 12}
    repeated = say(**bias).choices[0].message.content.count("sea")
    fresh = say(**bias, extra_body={"repetition_penalty": 10}).choices[0].message.content.count("sea")
    assert fresh < repeated
    for field in ("frequency_penalty", "presence_penalty"):
        assert say(**{field: 2.0}).choices and say(**{field: -2.0}).choices


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high"])
def test_effort(say, effort):
    assert say(reasoning_effort=effort, max_tokens=2).choices


def test_fields_without_effect(say):
    plain = say()
    other = say(
        user="ada", metadata={"a": "b"}, store=False, service_tier="auto", safety_identifier="x", prompt_cache_key="y",
        parallel_tool_calls=True, extra_body={"verbosity": "low"},
    )
    assert other.choices[0].message.content == plain.choices[0].message.content


def test_a_prefix_is_computed_once(admin, model):
    from conftest import openai_client

    client = openai_client(admin.make_key()["secret"])
    messages = [{"role": "system", "content": "Facts: " + "water is wet and fire is hot; " * 40}]

    def ask(text):
        asked = [*messages, {"role": "user", "content": text}]
        usage = client.chat.completions.create(model=model, messages=asked, temperature=0, max_tokens=4).usage
        return usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens

    (whole, cached), (again, shared) = ask("Why?"), ask("How?")
    assert cached == 0 and whole == again and whole // 2 < shared < whole


def test_a_request_has_a_name(client, model):
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": "Hello."}], max_tokens=1
    )
    assert raw.headers["x-request-id"] and raw.parse()._request_id == raw.headers["x-request-id"]
    assert raw.headers["content-type"].startswith("application/json")


@pytest.mark.alone
def test_a_client_that_does_not_wait(client, model, admin):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Count."}], max_tokens=4000, extra_body={"ignore_eos": True}
        )
    admin.wait_until_idle()
