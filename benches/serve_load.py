#!/usr/bin/env python3
"""Loads servers that speak OpenAI's protocol, one after the other in rounds, and prints what each gives.

    benches/serve_load.py --model NAME --server 'argand=http://127.0.0.1:8080' --key argand=KEY \\
        --server 'llama.cpp=http://127.0.0.1:8081' --concurrent 8 32

Every request is a stream of /v1/completions with a prompt of its own, so that no server can find it in its cache; prompts have the
same number of words for all servers. The first server is the one that the others are compared with. It needs nothing but
Python's standard library.
"""

import argparse
import asyncio
import json
import random
import statistics
import time
from urllib.parse import urlparse

WORDS = "time year people way day man thing woman life child world school state family student group country problem hand part place case week company system program question work government number night point home water room mother area money story fact month lot right study book eye job word business issue side kind head house service friend father power hour game line end member law car city community name".split()


async def stream(url, key, body):
    """One request: seconds to the first token and to the end, and how many tokens came; None when it was refused."""
    at = urlparse(url)
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    data = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    if key:
        head += f"Authorization: Bearer {key}\r\n"
    writer.write(head.encode() + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    await writer.drain()
    first, tokens, usage = None, 0, None
    status = int((await reader.readline()).split()[1])
    async for line in reader:
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        if event.get("choices") and event["choices"][0].get("text"):
            first = first or time.perf_counter()
            tokens += 1
    writer.close()
    if status != 200 or first is None:
        return None
    return first - start, time.perf_counter() - start, (usage or {}).get("completion_tokens", tokens)


async def load(url, key, model, concurrent, requests, words, tokens, seed):
    """So many at once until all are done; what it took together."""
    rng = random.Random(seed)
    bodies = [
        {
            "model": model, "prompt": " ".join(rng.choices(WORDS, k=words)), "max_tokens": tokens, "temperature": 0, "seed": 1,
            "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True,
        }
        for _ in range(requests)
    ]
    results, start = [], time.perf_counter()

    async def worker():
        while bodies:
            results.append(await stream(url, key, bodies.pop()))

    await asyncio.gather(*(worker() for _ in range(concurrent)))
    took = time.perf_counter() - start
    good = [result for result in results if result]
    firsts = sorted(first for first, _, _ in good)
    return {
        "tokens_per_s": sum(n for _, _, n in good) / took,
        "first_p50_s": statistics.median(firsts) if firsts else None,
        "first_p99_s": firsts[min(len(firsts) - 1, int(len(firsts) * 0.99))] if firsts else None,
        "failed": len(results) - len(good),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", required=True, metavar="NAME=URL")
    parser.add_argument("--key", action="append", default=[], metavar="NAME=KEY")
    parser.add_argument("--model", required=True)
    parser.add_argument("--concurrent", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per", type=int, default=2, help="requests for each of those at once")
    parser.add_argument("--words", type=int, default=120, help="words of a prompt, a token each or a little more")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    servers = dict(one.split("=", 1) for one in args.server)
    keys = dict(one.split("=", 1) for one in args.key)
    results = {}
    for concurrent in args.concurrent:
        for turn in range(args.rounds):
            for name, url in servers.items():
                # Another seed each time: nothing is found in a cache of an earlier round.
                seed = f"{concurrent} {turn}"
                figures = asyncio.run(
                    load(url, keys.get(name), args.model, concurrent, concurrent * args.per, args.words, args.tokens, seed)
                )
                results.setdefault((concurrent, name), []).append(figures)
    first, table = next(iter(servers)), []
    for (concurrent, name), rounds in results.items():
        median = lambda what, rounds=rounds: statistics.median(r[what] for r in rounds if r[what] is not None)
        own = statistics.median(r["tokens_per_s"] for r in results[concurrent, first])
        row = {what: median(what) for what in ("tokens_per_s", "first_p50_s", "first_p99_s", "failed")}
        table.append({"concurrent": concurrent, "server": name, **row, "ratio": own / row["tokens_per_s"]})
        spread = [round(r["tokens_per_s"]) for r in rounds]
        print(
            f"{concurrent:3d} at once  {name:12s} {row['tokens_per_s']:7.0f} tokens/s {spread}  first token p50 {row['first_p50_s']:.2f} s"
            f"  p99 {row['first_p99_s']:.2f} s  failed {row['failed']:.0f}  {first}/{name} {own / row['tokens_per_s']:.2f}"
        )
    if args.json:
        with open(args.json, "w") as out:
            json.dump(table, out, indent=1)


if __name__ == "__main__":
    main()
