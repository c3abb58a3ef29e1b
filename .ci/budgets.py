#!/usr/bin/env python3
"""Measures the tree against its budgets, prints the numbers and whatever is over, and fails if anything is.

    .ci/budgets.py

It reads the files that git tracks and asks `cargo tree` for the packages; it needs nothing but Python's standard library.
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FILE_LINES = 1000
# Files that are tables from top to bottom may be longer.
TABLES: set[str] = set()
PAGES, PAGE_LINES = "crates/argand-models/src/pages/", 120
RUN_LINES, DUPLICATED_PERCENT = 6, 5.0
# Six of them read PNG and JPEG, which nobody should write anew, and seven are a machine for grammars and what it stands on.
# Seventy-one are the ledger's database: sqlx with SQLite and PostgreSQL, tokio under it, and jiff for its calendar. The lock file
# holds idna_adapter at 1.1, because 1.2 would bring twenty more for names of hosts.
# Twenty of them are the HTTP server (hyper, axum and what they stand on) and the reader of its TOML.
PACKAGES = 254
# Kernels may use `unsafe`, and the one file that maps others into memory.
UNSAFE_ALLOWED = ("crates/argand-kernels/", "crates/argand-cpu/", "crates/argand-weights/src/source.rs")
SOURCE = (".rs", ".py", ".sh")
MACHINE_PATH = re.compile(r"(?<![\w.~$}-])/(?:home|root|Users|tmp|work)/[\w.-]+")

RUST_TOKEN = re.compile(
    r"""
      (?P<line>//[^\n]*)
    | (?P<block>/\*)
    | (?P<raw>\bb?r(?P<hashes>\#*)".*?"(?P=hashes))
    | (?P<string>\bb?"(?:\\.|[^"\\])*" | "(?:\\.|[^"\\])*")
    | (?P<char>'(?:\\(?:u\{[0-9a-fA-F]+\}|x..|.)|[^'\\\n])')
    """,
    re.VERBOSE | re.DOTALL,
)


def rust_without(text: str, strings: bool) -> str:
    """Rust source without comments, and without the insides of strings if so asked. Line breaks stay where they are."""

    def blank(part: str) -> str:
        return "\n" * part.count("\n")

    out, at = [], 0
    while match := RUST_TOKEN.search(text, at):
        out.append(text[at : match.start()])
        at = match.end()
        if match["block"]:
            depth = 1
            while depth and (edge := re.compile(r"/\*|\*/").search(text, at)):
                depth += 1 if edge[0] == "/*" else -1
                at = edge.end()
            out.append(blank(text[match.start() : at]))
        elif match["line"]:
            pass
        elif strings:
            out.append('""' + blank(match[0]))
        else:
            out.append(match[0])
    return "".join(out) + text[at:]


def script_without_comments(text: str) -> str:
    return re.sub(r"(?m)^\s*#.*$", "", text)


def tracked() -> dict[str, str]:
    """Every tracked text file by its path."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = {}
    for name in filter(None, names.split("\0")):
        try:
            files[name] = (ROOT / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
    return files


def code_lines(name: str, text: str) -> list[tuple[int, str]]:
    """The lines that hold code, with their numbers, white space folded."""
    stripped = rust_without(text, strings=False) if name.endswith(".rs") else script_without_comments(text)
    lines = ((i, " ".join(line.split())) for i, line in enumerate(stripped.split("\n"), 1))
    return [(i, line) for i, line in lines if line]


def duplicates(code: dict[str, list[tuple[int, str]]]) -> tuple[float, list[str]]:
    """The share of lines that stand in a run of RUN_LINES lines found more than once, and where the longest runs are."""
    places = defaultdict(list)
    for name, lines in code.items():
        for i in range(len(lines) - RUN_LINES + 1):
            places["\n".join(line for _, line in lines[i : i + RUN_LINES])].append((name, i))
    repeated = defaultdict(set)
    for found in places.values():
        if len(found) > 1:
            for name, i in found:
                repeated[name].update(range(i, i + RUN_LINES))
    runs = []
    for name, marked in repeated.items():
        order = sorted(marked)
        start = order[0]
        for here, after in zip(order, order[1:] + [None]):
            if after != here + 1:
                runs.append((here - start + 1, f"{name}:{code[name][start][0]}-{code[name][here][0]}"))
                start = after
    total = sum(map(len, code.values()))
    percent = 100 * sum(map(len, repeated.values())) / max(total, 1)
    return percent, [f"{place}: {length} lines" for length, place in sorted(runs, reverse=True)]


def bad_unsafe(name: str, text: str) -> list[str]:
    """Uses of `unsafe` in the wrong place, and blocks and implementations without a SAFETY line before them."""
    code, lines = rust_without(text, strings=True).split("\n"), text.split("\n")
    found = []
    for i, line in enumerate(code):
        if not re.search(r"\bunsafe\b", line):
            continue
        if not name.startswith(UNSAFE_ALLOWED):
            found.append(f"{name}:{i + 1}: `unsafe` outside kernels and memory maps")
        elif re.search(r"\bunsafe\s*(\{|impl\b)", line) and not explained(lines, code, i):
            found.append(f"{name}:{i + 1}: no SAFETY line")
    return found


def explained(lines: list[str], code: list[str], i: int) -> bool:
    """Whether a SAFETY comment stands before the statement that line `i` belongs to, or on the line itself."""
    while i >= 0:
        if "SAFETY:" in lines[i]:
            return True
        i -= 1
        # A line before belongs to the same statement, to its comment, or ends another one.
        if code[i].strip() and re.search(r"[;}]\s*$", code[i]) and "SAFETY:" not in lines[i]:
            return False
        if not lines[i].strip():
            return False
    return False


def packages() -> tuple[int, int]:
    """Packages that the binary is made of, own ones included, and how many are our own."""
    command = ["cargo", "tree", "--locked", "-p", "argand", "-e", "normal", "--prefix", "none", "--no-dedupe"]
    tree = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = {" ".join(line.split()[:2]) for line in tree.splitlines() if line.strip()}
    return len(names), sum(name.startswith(("argand ", "argand-")) for name in names)


def main() -> int:
    files = tracked()
    source = {name: text for name, text in files.items() if name.endswith(SOURCE) or text.startswith("#!")}
    over: list[str] = []

    def report(title: str, value: str, offenders: list[str]) -> None:
        print(f"{title:<34}{value}")
        for offender in offenders[:20]:
            print(f"    {offender}")
        if len(offenders) > 20:
            print(f"    and {len(offenders) - 20} more")
        if offenders:
            over.append(title)

    length = {name: text.count("\n") for name, text in source.items()}
    long = [f"{n}: {c} lines" for n, c in length.items() if c > FILE_LINES and n not in TABLES]
    median = sorted(length.values())[len(length) // 2]
    report("longest file", f"{max(length.values())} lines of {FILE_LINES}; median {median}", long)

    pages = {name: lines for name, lines in length.items() if name.startswith(PAGES)}
    long = [f"{n}: {c} lines" for n, c in pages.items() if c > PAGE_LINES]
    report("longest model page", f"{max(pages.values(), default=0)} lines of {PAGE_LINES}, {len(pages)} pages", long)

    code = {name: code_lines(name, text) for name, text in source.items()}
    percent, runs = duplicates(code)
    shown = runs if percent > DUPLICATED_PERCENT else []
    lines = sum(map(len, code.values()))
    report("duplicated lines", f"{percent:.2f} % of {lines}, {DUPLICATED_PERCENT:g} % allowed", shown)
    if not shown:
        print("".join(f"    longest: {run}\n" for run in runs[:4]), end="")

    wrong = [bad for name, text in source.items() if name.endswith(".rs") for bad in bad_unsafe(name, text)]
    report("unsafe without reason", str(len(wrong)), wrong)

    named = [
        f"{name}:{i}: {found[0]}"
        for name, text in files.items()
        if "/golden" not in name and not name.endswith(".lock") and name != ".ci/budgets.py"
        for i, line in enumerate(text.split("\n"), 1)
        if (found := MACHINE_PATH.search(line))
    ]
    report("paths of one machine", str(len(named)), named)

    count, own = packages()
    foreign = count - own
    many = [f"{foreign} packages beside our own {own}"] if foreign > PACKAGES else []
    report("packages of the binary", f"{foreign} of {PACKAGES}, and {own} of our own", many)

    print(f"over budget: {', '.join(over)}" if over else "all within budget")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
