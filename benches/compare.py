#!/usr/bin/env python3
"""Argand beside other programs: speed of generation and prompts, start to first token, memory.

    benches/compare.py --peer PATH/llama-bench MODEL.gguf
    benches/compare.py --peer 'one=PATH/llama-bench -fa 1' --peer 'two=PATH/llama-bench' --json FILE MODEL.gguf ...

Every measurement is a process of its own, on the same pinned processors. In each repetition every program has its
turn, and who begins rotates, because hosts drift. Ratios are of medians, in brackets the smallest and largest of the
repetitions; above 1, Argand is better. A program that fails is shown as `failed`, its reason on standard error. Start
to first token is the wall time of a process that reads about 128 tokens and generates one. Needs Python alone.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Callable

# About 128 tokens in the vocabularies of SmolLM2, Qwen2.5 and Gemma.
PROMPT = (
    "An Argand lamp is a type of oil lamp invented in 1780 by Aime Argand. Its output is six to ten candelas, brighter "
    "than that of earlier lamps. Its more complete combustion of the candle wick and oil than in other lamps required "
    "much less frequent trimming of the wick. The lamp had a circular wick mounted between two cylindrical metal tubes "
    "so that air flows both through the centre of the wick and outside of it before being drawn into a cylindrical "
    "chimney which steadies the flame and improves the flow of air. Early models used ground glass which was sometimes "
    "tinted around the wick. The principle was also used"
)
# Arguments that say 1 in llama-bench, and nothing in llama-cli.
SWITCHES = ("-rtr", "--run-time-repack")


class Failed(Exception):
    """A program gave no figure; the text says why."""


def run(command, threads, limit):
    """Standard output, wall seconds and peak resident bytes of a command on the first `threads` processors."""
    pinned = sorted(os.sched_getaffinity(0))[:threads]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = perf_counter()
        child = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            preexec_fn=lambda: os.sched_setaffinity(0, pinned),
        )
        watch = threading.Timer(limit, child.kill)
        watch.start()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = perf_counter() - start
        watch.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        told, complaint = (file.seek(0) or file.read().decode(errors="replace") for file in (out, err))
    if child.returncode != 0:
        last = "\n    ".join([line for line in complaint.splitlines() if line.strip()][-4:])
        over = f", over the limit of {limit} s" if seconds >= limit else ""
        raise Failed(f"exit {child.returncode}{over}: {shlex.join(map(str, command[:4]))} ...\n    {last}")
    return told, seconds, usage.ru_maxrss * 1024


class Argand:
    name = "argand"

    def __init__(self, path, threads):
        self.path, self.threads = path, threads

    def bench(self, model, pp, tg, batch="1"):
        sizes = ["--pp", pp, "--tg", tg, "--batch", batch]
        return [self.path, "bench", model, "--plain", "--reps", 1, "--threads", self.threads, *sizes]

    def rate(self, out):
        return float(out.split()[1])

    def first(self, model):
        return [self.path, "run", model, "--raw", PROMPT, "-n", 1, "--temperature", 0, "--threads", self.threads]


class Peer:
    """`[NAME=]COMMAND`: llama-bench, or whatever understands its arguments and writes its JSON."""

    def __init__(self, spec, threads):
        # A name ends before the first `=` of the first word, if no path has begun there.
        name, equals, rest = spec.partition("=")
        named = bool(equals) and not set(name) & set("/ ")
        self.command = shlex.split(rest if named else spec)
        self.threads = threads
        if not self.command or shutil.which(self.command[0]) is None:
            sys.exit(f"--peer {spec!r}: no program there that can be run; expected [NAME=]PATH/llama-bench [ARGUMENTS]")
        program = Path(shutil.which(self.command[0]))
        self.name = name if named else program.name
        is_llama = program.name.startswith("llama-bench")
        self.complete = completion_beside(program, self.command[1:]) if is_llama else self.command

    def bench(self, model, pp, tg):
        return [*self.command, "-m", model, "-p", pp, "-n", tg, "-r", 1, "-t", self.threads, "-o", "json"]

    def rate(self, out):
        return float(json.loads(out[out.index("[\n") :])[0]["avg_ts"])

    def first(self, model):
        options = ["-m", model, "-p", PROMPT, "-n", 1, "--temp", 0, "-t", self.threads]
        return self.complete and [*self.complete, *options]


def completion_beside(bench, arguments):
    """llama-completion or llama-cli beside llama-bench, made to answer once and at once; None without them."""
    tool = next((t for t in (bench.with_name(n) for n in ("llama-completion", "llama-cli")) if t.exists()), None)
    if tool is None:
        return None
    told = subprocess.run([tool, "--help"], capture_output=True, text=True)
    # An empty run before the prompt would only cost it time.
    known = [option for option in ("-no-cnv", "--no-warmup") if option in told.stdout + told.stderr]
    kept = (a for before, a in zip(["", *arguments], arguments) if a != "1" or before not in SWITCHES)
    return [tool, *known, *kept]


@dataclass
class Test:
    name: str
    unit: str
    command: Callable  # of a program and a model; None where the program has no such thing
    figures: Callable  # of a program, its output and its wall seconds: figures by name


def tests_of(args):
    def speed(name, pp, tg):
        return Test(name, "tok/s", lambda p, model: p.bench(model, pp, tg), lambda p, out, _: {name: p.rate(out)})

    if args.tg:
        yield speed(f"tg{args.tg}", 0, args.tg)
    if args.pp:
        yield speed(f"pp{args.pp}", args.pp, 0)
    yield Test("first token", "s", lambda p, model: p.first(model), lambda p, out, seconds: {"first token": seconds})
    if args.tg and args.batch != "0":
        # In one process, so that one sequence and many see the same minute.
        sizes = f"1,{args.batch}"
        together = lambda p, model: p.bench(model, 0, args.tg, sizes) if isinstance(p, Argand) else None
        rates = lambda p, out, _: {f"batch{n}": p.rate(line) for n, line in zip(sizes.split(","), out.splitlines())}
        yield Test("batch", "tok/s", together, rates)


def measure(args, programs, model, test):
    """Yields a record of each figure, repetition by repetition. A program that failed is not tried again."""
    running = [p for p in programs if test.command(p, model)]
    for rep in range(args.reps):
        turn = rep % max(len(running), 1)
        for program in running[turn:] + running[:turn]:
            record = {"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), "model": Path(model).name,
                      "file_bytes": Path(model).stat().st_size, "program": program.name, "rep": rep, "unit": test.unit}
            try:
                out, seconds, peak = run(test.command(program, model), args.threads, args.limit)
                for name, value in test.figures(program, out, seconds).items():
                    yield record | {"test": name, "value": value, "seconds": seconds, "peak_bytes": peak}
            except (Failed, LookupError, ValueError) as reason:
                running = [p for p in running if p is not program]
                yield record | {"test": test.name, "failed": f"failed: {reason}"}


def tables(records, peers):
    """Speeds and memory beside every peer, as Markdown."""
    rows, speeds, memory = {}, [], []
    for record in records:
        programs = rows.setdefault((record["model"], record["test"]), {})
        programs.setdefault(record["program"], []).append(record)
    for (model, test), row in rows.items():
        first = next(iter(row.values()))[0]
        unit, size = first["unit"], first["file_bytes"]
        good = {name: [r["value"] for r in runs] for name, runs in row.items() if "failed" not in runs[-1]}
        mine = good.pop(Argand.name, None)
        # Many sequences have no rival but one sequence.
        many = test.startswith("batch") and test != "batch1"
        alone = rows.get((model, "batch1"), {}).get(Argand.name) if many else None
        rivals = {"batch1": [r["value"] for r in alone]} if alone else good
        ratios = {name: ratio(mine, theirs, unit) for name, theirs in rivals.items() if mine}
        best = (max if unit == "tok/s" else min)(ratios, key=lambda name: median(rivals[name]), default=None)
        shown = {name: f"{figure(median(theirs))}; {ratios.get(name, '-')}" for name, theirs in good.items()}
        shown[Argand.name] = figure(median(mine)) if mine else "failed"
        peaks = {name: max(r.get("peak_bytes", 0) for r in runs) for name, runs in row.items()}
        held = {name: f"{peak / 1e6:.0f}" if peak else "failed" for name, peak in peaks.items()}
        in_order = lambda cells: [cells.get(name, "failed" if name in row else "-") for name in (Argand.name, *peers)]
        speeds.append([model, f"{test}, {unit}", *in_order(shown), f"{ratios[best]} {best}" if best else "-"])
        if not test.startswith("batch"):
            to_file = f"{peaks[Argand.name] / size:.2f}" if mine else "-"
            memory.append([model, test, f"{size / 1e6:.0f}", to_file, *in_order(held)])
    speed_head = ["model", "test", "argand", *(f"{name}; ratio" for name in peers), "ratio to the best"]
    memory_head = ["model", "peak MB during", "file MB", "argand / file", "argand", *peers]
    return f"{markdown(speed_head, speeds)}\n\n{markdown(memory_head, memory)}"


def ratio(mine, theirs, unit):
    """How many times better mine are than theirs: by the medians, and the smallest and largest of repetitions."""
    better = lambda a, b: a / b if unit == "tok/s" else b / a
    each = [better(a, b) for a, b in zip(mine, theirs)]
    return f"{better(median(mine), median(theirs)):.2f} ({min(each):.2f}-{max(each):.2f})"


def figure(x):
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def markdown(head, rows):
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths)] for row in [head, *rows]]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--argand", default="target/release/argand")
    parser.add_argument("--peer", action="append", default=[], metavar="[NAME=]COMMAND",
                        help="llama-bench and its arguments, or what understands and answers as it does; repeatable")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--pp", type=int, default=512, help="tokens of the prompt; 0 for no such test")
    parser.add_argument("--tg", type=int, default=128, help="tokens to generate; 0 for no such test")
    parser.add_argument("--batch", default="8,32", help="sequences that Argand runs together; 0 for no such test")
    parser.add_argument("--limit", type=int, default=900, metavar="SECONDS", help="when a process is given up")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement, one JSON object a line")
    args = parser.parse_args()
    if shutil.which(args.argand) is None:
        sys.exit(f"{args.argand} cannot be run; build it with `cargo build --release` or name it with --argand")
    programs = [Argand(args.argand, args.threads), *(Peer(spec, args.threads) for spec in args.peer)]
    names = [p.name for p in programs]
    if len(set(names)) < len(names):
        sys.exit(f"two programs have the same name: {', '.join(names)}; tell them apart with --peer NAME=COMMAND")

    records = []
    with open(args.json or os.devnull, "w", buffering=1) as file:
        for model in args.models:
            for test in tests_of(args):
                for record in measure(args, programs, model, test):
                    records.append(record)
                    print(json.dumps(record), file=file)
                    value = f"{figure(record['value'])} {record['unit']}" if "value" in record else record["failed"]
                    print(*(record[key] for key in ("model", "test", "rep", "program")), value, file=sys.stderr)
    print(tables(records, names[1:]))


if __name__ == "__main__":
    main()
