"""Many at once: the same answers as alone, and every token in the books."""

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import anthropic
import pytest
from conftest import SECONDS, URL, async_client, openai_client


def question(text):
    return [{"role": "user", "content": text}]


async def ask(client, model, text, **options):
    answer = await client.chat.completions.create(
        model=model, messages=question(text), **{"max_tokens": 16, "temperature": 0, **options}
    )
    return answer.choices[0].message.content


def test_twenty_at_once(model):
    async def all_of_them():
        async with async_client() as client:
            texts = [f"Say something about the number {i}." for i in range(20)]
            together = await asyncio.gather(*(ask(client, model, text) for text in texts))
            alone = [await ask(client, model, text) for text in texts[:3]]
            assert together[:3] == alone and all(together)

    asyncio.run(all_of_them())


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_seed_says_the_same_alone_and_in_company(model, temperature):
    async def compare():
        async with async_client() as client:
            options = {"temperature": temperature, "seed": 11, "max_tokens": 48}
            text = "Tell a story about a lighthouse."
            alone = await ask(client, model, text, **options)
            others = [
                ask(client, model, f"Count from {i}. " * (i * 7 + 1), temperature=1.2, seed=i, max_tokens=30 + 5 * i)
                for i in range(8)
            ]
            first, *_ = await asyncio.gather(ask(client, model, text, **options), *others)
            # And once more after the others have begun, so that it joins in the middle.
            late = asyncio.gather(*(ask(client, model, f"{i} sheep", seed=i, temperature=1, max_tokens=64) for i in range(8)))
            await asyncio.sleep(0.3)
            second = await ask(client, model, text, **options)
            await late
            assert alone == first == second

    asyncio.run(compare())


def test_an_async_stream(model):
    async def read():
        async with async_client() as client:
            stream = await client.chat.completions.create(
                model=model, messages=question("Hello."), stream=True, max_tokens=8, temperature=0
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            assert text == await ask(client, model, "Hello.", max_tokens=8)

    asyncio.run(read())


@pytest.mark.alone
def test_an_async_task_is_cancelled(model, admin):
    async def cancel():
        async with async_client() as client:
            task = asyncio.create_task(ask(client, model, "Count.", max_tokens=5000, extra_body={"ignore_eos": True}))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancel())
    admin.wait_until_idle()


def test_messages_at_once(model):
    async def several():
        async with anthropic.AsyncAnthropic(base_url=URL, api_key=openai_client().api_key, timeout=SECONDS) as client:
            answers = await asyncio.gather(
                *(client.messages.create(model=model, max_tokens=8, messages=question(f"Number {i}?")) for i in range(6))
            )
            assert all(answer.content[0].text for answer in answers)

    asyncio.run(several())


def test_a_bounded_number_at_once(admin, model):
    import openai

    client = openai_client(admin.make_key(limits={"concurrent": 2})["secret"])
    gate = threading.Barrier(6)

    def one(i):
        gate.wait()
        try:
            client.chat.completions.create(model=model, messages=question(f"Story {i}."), max_tokens=64)
            return 200
        except openai.RateLimitError as error:
            assert int(error.response.headers["retry-after"]) >= 1
            return 429

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(one, range(6)))
    assert 2 <= answers.count(200) < 6 and answers.count(200) + answers.count(429) == 6


def test_usage_is_what_the_books_say(admin, model):
    """Every protocol, whole and streamed, n and tools; the sum of what clients were told is what is on record."""
    key = admin.make_key()
    client = openai_client(key["secret"])
    claude = anthropic.Anthropic(base_url=URL, api_key=key["secret"], max_retries=0, timeout=SECONDS)
    told = {"requests": 0, "input": 0, "output": 0}

    def count(read, written):
        told["requests"] += 1
        told["input"] += read
        told["output"] += written

    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}}]
    for options in ({}, {"n": 3, "temperature": 1}, {"stop": "e"}, {"logprobs": True}, {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False}):
        usage = client.chat.completions.create(model=model, messages=question("Hello."), max_tokens=30, **options).usage
        count(usage.prompt_tokens, usage.completion_tokens)
        stream = client.chat.completions.create(
            model=model, messages=question("Hello."), max_tokens=30, stream=True, stream_options={"include_usage": True}, **options
        )
        usage = [chunk.usage for chunk in stream][-1]
        count(usage.prompt_tokens, usage.completion_tokens)
    for prompt in ("Once", ["Once upon a time", "The"]):
        usage = client.completions.create(model=model, prompt=prompt, n=2).usage
        count(usage.prompt_tokens, usage.completion_tokens)
    usage = client.responses.create(model=model, input="Hello.", max_output_tokens=9).usage
    count(usage.input_tokens, usage.output_tokens)
    usage = list(client.responses.create(model=model, input="Hello.", max_output_tokens=9, stream=True))[-1].response.usage
    count(usage.input_tokens, usage.output_tokens)
    usage = claude.messages.create(model=model, max_tokens=9, messages=question("Hello.")).usage
    count(usage.input_tokens + usage.cache_read_input_tokens, usage.output_tokens)
    with claude.messages.stream(model=model, max_tokens=9, messages=question("Hello.")) as stream:
        usage = stream.get_final_message().usage
    count(usage.input_tokens + (usage.cache_read_input_tokens or 0), usage.output_tokens)
    for wrong in ({"temperature": 9}, {"model": "absent"}):
        with pytest.raises(Exception):
            client.chat.completions.create(**{"model": model, "messages": question("x"), **wrong})
    books = admin.usage(key)
    assert {name: books[name] for name in told} == told


@pytest.mark.alone
def test_what_was_left_is_in_the_books(admin, model):
    """A client that goes away pays for what was computed: at least what it saw, at most what it asked for."""
    key = admin.make_key()
    client = openai_client(key["secret"])
    seen = 0
    dice = random.Random(1)
    for _ in range(6):
        stream = client.chat.completions.create(
            model=model, messages=question("Count."), stream=True, max_tokens=400, extra_body={"ignore_eos": True}, logprobs=True
        )
        wanted = dice.randint(1, 12)
        while wanted > 0:
            chunk = next(stream)
            got = len(chunk.choices[0].logprobs.content) if chunk.choices[0].logprobs else 0
            wanted, seen = wanted - got, seen + got
        stream.close()
    admin.wait_until_idle()
    books = admin.usage(key)
    assert books["requests"] == 6 and seen <= books["output"] < 6 * 400 and books["input"] > 0


@pytest.mark.alone
def test_metrics_are_what_the_books_say(admin, http, model):
    def counters():
        lines = http.get("/metrics").text.splitlines()
        value = lambda name: sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))
        return value("argand_prompt_tokens_total"), value("argand_generated_tokens_total")

    key = admin.make_key()
    admin.wait_until_idle()
    before = counters()
    with ThreadPoolExecutor(8) as pool:
        client = openai_client(key["secret"])
        ask = lambda i: client.chat.completions.create(model=model, messages=question(f"{i}?"), max_tokens=8, n=1 + i % 2)
        list(pool.map(ask, range(16)))
    admin.wait_until_idle()
    after, books = counters(), admin.usage(key)
    assert (after[0] - before[0], after[1] - before[1]) == (books["input"], books["output"])
