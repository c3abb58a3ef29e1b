"""A thousand generations under fifty schemas through the API: every one that was not cut must be valid.

    ARGAND_URL=http://127.0.0.1:8080 ARGAND_KEY=... python json_validity.py [GENERATIONS]
"""

import asyncio
import json
import sys
import time
from collections import Counter

import openai
from conftest import async_client
from jsonschema import Draft202012Validator
from schemas import SCHEMAS

AT_ONCE = 16


async def main(generations: int) -> int:
    tasks = [(name, seed) for seed in range(-(-generations // len(SCHEMAS))) for name in SCHEMAS][:generations]
    checks = {name: Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER) for name, schema in SCHEMAS.items()}
    verdicts, wrong, tokens, start = {name: Counter() for name in SCHEMAS}, [], 0, time.monotonic()
    places = asyncio.Semaphore(AT_ONCE)
    async with async_client(max_retries=3) as client:
        model = (await client.models.list()).data[0].id

        async def one(name, seed):
            nonlocal tokens
            form = {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMAS[name]}}
            question = [{"role": "user", "content": f"Give an example of: {name}."}]
            async with places:
                try:
                    answer = await client.chat.completions.create(
                        model=model, messages=question, response_format=form, max_tokens=300, temperature=1, seed=seed
                    )
                except openai.APIError as error:
                    wrong.append(f"{name}, seed {seed}: {error}")
                    return "error"
            choice = answer.choices[0]
            tokens += answer.usage.completion_tokens
            if choice.finish_reason == "length":
                return "cut"
            try:
                if checks[name].is_valid(json.loads(choice.message.content)):
                    return "valid"
            except ValueError:
                pass
            wrong.append(f"{name}, seed {seed}: {choice.message.content!r}")
            return "invalid"

        async def counted(name, seed):
            verdicts[name][await one(name, seed)] += 1

        await asyncio.gather(*(counted(name, seed) for name, seed in tasks))
    total = sum(verdicts.values(), Counter())
    for name, count in verdicts.items():
        if set(count) - {"valid"}:
            print(f"{name}: {dict(count)}")
    print(*wrong[:50], sep="\n")
    seconds = time.monotonic() - start
    print(f"{len(tasks)} generations under {len(SCHEMAS)} schemas: {dict(total)}; {tokens} tokens in {seconds:.0f} s")
    return 0 if not total["invalid"] and not total["error"] else 1


sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)))
