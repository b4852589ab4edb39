"""The commands and snippets of README.md run, in their order, in an empty folder.

Blocks fenced as ``python`` share one namespace. Of ``console`` blocks the lines after ``$ `` are
commands and the others their output, which is not compared; ``bash`` blocks are all commands.
A ``unigrn`` command must exit 0, and a ``make`` command must name a target of the Makefile (to run
it here would run this test in itself). A block below ``<!-- no-test: reason -->`` is left out and
counted.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^(`{3,})(\w*)[^`]*$")
SKIP = re.compile(r"<!--\s*no-test:\s*(.*?)\s*-->")


@dataclass(frozen=True)
class Block:
    language: str
    line: int  # of its first line of text, counted from 1
    text: str
    skip: str | None = None  # the reason


def blocks(markdown: str) -> list[Block]:
    """Fenced blocks of a Markdown text, each with the no-test comment that stands above it."""
    found: list[Block] = []
    fence, language, start, body, reason = "", "", 0, [], None
    for number, line in enumerate(markdown.splitlines(), 1):
        opening = FENCE.match(line)
        if fence:
            if line.rstrip() == fence:
                found.append(Block(language, start, "\n".join(body) + "\n", reason))
                fence, reason = "", None
            else:
                body.append(line)
        elif opening:
            fence, language, start, body = opening[1], opening[2], number + 1, []
        elif skip := SKIP.search(line):
            reason = skip[1]
        elif line.strip():
            reason = None  # the comment belongs to the block right below it only
    assert not fence, f"line {start - 1}: the fence is never closed"
    return found


def commands(block: Block) -> list[tuple[int, str]]:
    """Command lines of a console or bash block, continuation lines joined, comments left out."""
    found, number, pending = [], 0, ""
    for offset, line in enumerate(block.text.splitlines()):
        if not pending:
            if block.language == "console":
                if not line.startswith("$ "):
                    continue
                line = line[2:]
            number = block.line + offset
        pending += line.removesuffix("\\")
        if not line.endswith("\\"):
            if words := shlex.split(pending, comments=True):
                found.append((number, shlex.join(words)))
            pending = ""
    return found


def steps(markdown: str) -> tuple[list[tuple[str, int, str]], list[str]]:
    """What to do, as (kind, line, text) with kind python, unigrn or make, and what was left out."""
    todo, left_out = [], []
    for block in blocks(markdown):
        if block.language not in {"python", "console", "bash"}:
            continue
        if block.skip is not None:
            left_out.append(f"line {block.line}: {block.skip}")
        elif block.language == "python":
            todo.append(("python", block.line, block.text))
        else:
            for number, command in commands(block):
                program = command.split()[0]
                assert program in {"unigrn", "make"}, (
                    f"line {number}: no way to test {command!r}; "
                    "put <!-- no-test: reason --> above the block"
                )
                todo.append((program, number, command))
    return todo, left_out


# Runs in a child, so that the snippets see JAX's own settings and not the strict ones of the tests.
RUNNER = """
import json, os, shlex, subprocess, sys, traceback

namespace = {"__name__": "__main__"}
for kind, line, text in json.load(open("steps.json")):
    print(f"-- README.md:{line} {kind}", flush=True)
    if kind == "python":
        # Blank lines first: the traceback then names the line of README.md.
        exec(compile("\\n" * (line - 1) + text, "README.md", "exec"), namespace)
    elif kind == "unigrn":
        done = subprocess.run([sys.executable, "-m", "unigrn", *shlex.split(text)[1:]])
        if done.returncode:
            sys.exit(f"README.md:{line}: {text!r} exited {done.returncode}")
"""


def run(todo: list[tuple[str, int, str]], folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "steps.json").write_text(json.dumps(todo))
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        # The package under test, wherever it is installed from.
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, "-c", RUNNER],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )


def test_readme_runs(tmp_path: Path) -> None:
    todo, left_out = steps((ROOT / "README.md").read_text(encoding="utf-8"))
    kinds = [kind for kind, _, _ in todo]
    print(f"{len(todo)} snippets and commands, {len(left_out)} left out", *left_out, sep="\n  ")
    assert "python" in kinds, "README.md shows no Python snippet that is tested"
    assert "unigrn" in kinds, "README.md shows no unigrn command that is tested"

    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    for kind, line, text in todo:
        if kind == "make":
            unknown = [w for w in text.split()[1:] if "=" not in w and w not in targets]
            assert not unknown, f"README.md:{line}: the Makefile has no target {unknown[0]!r}"

    done = run(todo, tmp_path)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]


def test_readme_names_the_two_commands_of_the_makefile() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text


EXAMPLE = """
```python
a = 1
```
<!-- no-test: needs a cluster -->
```bash
srun unigrn infer
```
```console
$ unigrn methods \\
    --json   # comment
[{"name": 1}]
$ make test
```
```text
not run
```
"""


def test_extraction() -> None:
    todo, left_out = steps(EXAMPLE)
    assert todo == [
        ("python", 3, "a = 1\n"),
        ("unigrn", 10, "unigrn methods --json"),
        ("make", 13, "make test"),
    ]
    assert left_out == ["line 7: needs a cluster"]


def test_a_command_that_cannot_be_tested_is_refused() -> None:
    with pytest.raises(AssertionError, match="no way to test 'curl"):
        steps("```bash\ncurl x\n```\n")


@pytest.mark.parametrize(
    ("todo", "said"),
    [
        ([("python", 7, "a = 1\n"), ("python", 9, "assert a == 2\n")], 'File "README.md", line 9'),
        ([("unigrn", 4, "unigrn no-such-command")], "README.md:4"),
    ],
)
def test_a_broken_snippet_fails_and_names_its_line(todo, said, tmp_path: Path) -> None:
    done = run(todo, tmp_path)
    assert done.returncode != 0
    assert said in done.stdout
