#!/usr/bin/env python3
"""Argand beside a peer that has llama.cpp's tools: speed, start to first token, peak memory.

    benches/compare.py --argand target/release/argand --llama-bench PATH/llama-bench MODEL.gguf [MODEL.gguf ...]

Runs of both are interleaved on the same pinned threads, because hosts drift; medians and the ratio of medians are
printed, with the smallest and largest ratio of pairs. A ratio above 1 says that Argand is better. Start to first token
is the wall time of a process that reads a prompt of about 128 tokens and generates one token; it needs llama-completion
or llama-cli beside llama-bench, or --llama-cli. Only Python's standard library is used.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# About 128 tokens in the vocabularies of SmolLM2, Qwen2.5 and Gemma.
PROMPT = (
    "An Argand lamp is a type of oil lamp invented in 1780 by Aime Argand. Its output is six to ten candelas, brighter "
    "than that of earlier lamps. Its more complete combustion of the candle wick and oil than in other lamps required "
    "much less frequent trimming of the wick. The lamp had a circular wick mounted between two cylindrical metal tubes "
    "so that air flows both through the centre of the wick and outside of it before being drawn into a cylindrical "
    "chimney which steadies the flame and improves the flow of air. Early models used ground glass which was sometimes "
    "tinted around the wick. The principle was also used"
)


def run(command, threads):
    """Standard output, wall seconds and peak resident bytes of a command on the first `threads` processors."""
    pinned = sorted(os.sched_getaffinity(0))[:threads]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            preexec_fn=lambda: os.sched_setaffinity(0, pinned),
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))} failed:\n{err.read().decode(errors='replace')[-2000:]}")
        return out.read().decode(errors="replace"), seconds, usage.ru_maxrss * 1024


def ours_bench(args, model, kind, tokens):
    sizes = {"pp": ["--pp", tokens, "--tg", "0"], "tg": ["--pp", "0", "--tg", tokens]}[kind]
    command = [args.argand, "bench", model, "--plain", "--reps", "1", "--threads", args.threads, *sizes]
    out, _, memory = run([str(c) for c in command], args.threads)
    return float(out.split()[1]), memory


def peer_bench(args, model, kind, tokens):
    sizes = {"pp": ["-p", tokens, "-n", "0"], "tg": ["-p", "0", "-n", tokens]}[kind]
    command = [args.llama_bench, "-m", model, "-r", "1", "-t", args.threads, "-o", "json", *sizes, *args.peer_args]
    out, _, memory = run([str(c) for c in command], args.threads)
    return json.loads(out[out.index("["):])[0]["avg_ts"], memory


def ours_first(args, model):
    command = [args.argand, "run", model, "--raw", PROMPT, "-n", "1", "--temperature", "0", "--threads", args.threads]
    return run([str(c) for c in command], args.threads)[1:]


def peer_first(args, model):
    command = [args.llama_cli, "-m", model, "-p", PROMPT, "-n", "1", "--temp", "0", "-t", args.threads]
    return run([str(c) for c in [*command, *args.one_shot, *args.peer_args]], args.threads)[1:]


def one_shot(tool):
    """What keeps the tool from beginning a conversation; older ones have no such argument and need none."""
    told = subprocess.run([str(tool), "--help"], capture_output=True, text=True)
    return ["-no-cnv"] if "-no-cnv" in told.stdout + told.stderr else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--argand", default="target/release/argand")
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--llama-cli", help="llama-completion or llama-cli; beside llama-bench unless given")
    parser.add_argument("--peer-args", nargs="*", default=[], help="more arguments for both tools of the peer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--pp", type=int, default=512)
    parser.add_argument("--tg", type=int, default=128)
    parser.add_argument("--json", action="store_true", help="write all measurements as JSON")
    args = parser.parse_args()
    beside = [Path(args.llama_bench).with_name(name) for name in ("llama-completion", "llama-cli")]
    args.llama_cli = args.llama_cli or next((p for p in beside if p.exists()), None)
    args.one_shot = one_shot(args.llama_cli) if args.llama_cli else []
    if shutil.which(args.argand) is None:
        sys.exit(f"{args.argand} cannot be run; build it with `cargo build --release` or name it with --argand")

    rows, table = [], []
    for model in args.models:
        size = Path(model).stat().st_size
        # (test, ours, the peer's, whether larger is better)
        tests = [
            (f"{kind}{n}", lambda k=kind, n=n: ours_bench(args, model, k, n), lambda k=kind, n=n: peer_bench(args, model, k, n), True)
            for kind, n in (("tg", args.tg), ("pp", args.pp))
            if n > 0
        ]
        if args.llama_cli:
            tests.append(("first token s", lambda: ours_first(args, model), lambda: peer_first(args, model), False))
        for name, ours, peer, larger in tests:
            pairs = []
            for rep in range(args.reps):
                # Who goes first changes from pair to pair, so that a drift favours nobody.
                if rep % 2 == 0:
                    a, b = ours(), peer()
                else:
                    b, a = peer(), ours()
                pairs.append((a, b))
            values = [[pair[i][0] for pair in pairs] for i in (0, 1)]
            memory = [max(pair[i][1] for pair in pairs) for i in (0, 1)]
            ratio = lambda a, b: a / b if larger else b / a
            ratios = sorted(ratio(a, b) for a, b in zip(*values))
            mine, theirs = (statistics.median(v) for v in values)
            rows.append({"model": Path(model).name, "bytes": size, "test": name, "argand": values[0], "peer": values[1],
                         "argand_peak_bytes": memory[0], "peer_peak_bytes": memory[1]})
            table.append([Path(model).name, name, f"{mine:.3g}", f"{theirs:.3g}", f"{ratio(mine, theirs):.2f}",
                          f"{ratios[0]:.2f}-{ratios[-1]:.2f}", *(f"{m / 1e6:.0f}" for m in memory), f"{size / 1e6:.0f}"])
            print(" ".join(table[-1]), file=sys.stderr)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    head = ["model", "test", "argand", "peer", "ratio", "pairs", "argand MB", "peer MB", "file MB"]
    widths = [max(len(row[i]) for row in [head, *table]) for i in range(len(head))]
    for row in [head, *table]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


if __name__ == "__main__":
    main()
