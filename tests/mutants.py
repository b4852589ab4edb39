"""Mutation score: how many small wrong changes of the code the claims and the tests see.

    python tests/mutants.py --sample 600 --seed 0

Every mutant is one small change of one module, in memory: nothing on disk changes. A process
forked for it imports the package with that module replaced, and runs what was recorded to run the
changed lines, up to the first that fails: the quick tests, then the claims of `unigrn verify` (not
their false variants: those test the check), then more tests; of each kind first what has killed
mutants of that module, then the quick. Recording is done once for each state of the sources, and
leaves XLA's programs in a cache that all processes read. Several commands share one sample with
`--share 0/2` and `--share 1/2`.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import importlib.machinery
import importlib.util
import itertools
import json
import os
import random
import resource
import select
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mutations import sites

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "mutants"
CLAIMS = "unigrn.verify.claims"
MODULES = (
    "methods/* terms losses/* regularizers/* constraints/* neighbours precision cycles columns "
    "moments replicates ensembles problem run/* solvers/*"
)
TESTS = (
    "frame methods linear api generative terms promise solvers plan extend celloracle splitting "
    "active_sets graphs stars books known_targets pmf_grn network tfa posterior defaults across "
    "penalties implicit counts lioness strength optimality steps statistics believed subsets "
    "scode netrex"
)
DEFAULTS = "default"  # in the names of tests of what is left out in a call
LONG = 20.0  # seconds of a test or claim that is left out
QUICK, MOST, CLAIMED = 8.0, 40.0, 60.0  # seconds of the first tests, of all, and of the claims
SPARE, WALL = 30.0, 1200.0  # seconds that one may take beyond 5 times its own, and a mutant at all
MEMORY = 8 << 30  # bytes that a mutant may take

Say = Callable[[str], None]
Evidence = dict[str, tuple[float, dict[str, list[int]]]]  # seconds, and lines of each module

# ------------------------------------------------------------------ mutants


class Mutant(NamedTuple):
    """One change of one module; ``number`` is its place among the `sites`."""

    module: str
    line: int
    column: int
    before: str
    after: str
    number: int

    @property
    def key(self) -> tuple[str, ...]:
        """What results are kept under."""
        return (self.module, str(self.line), str(self.column), self.before, self.after)


def files() -> dict[str, Path]:
    """Return the modules that are changed, and their files."""
    found = [p for m in MODULES.split() for p in sorted((ROOT / "unigrn").glob(f"{m}.py"))]
    return {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in found}


def mutants(module: str) -> list[Mutant]:
    """Return every change of a module, each once."""
    out: dict[tuple[str, ...], Mutant] = {}
    for number, (_, node, new) in enumerate(sites(ast.parse(files()[module].read_text()))):
        at: Any = node if hasattr(node, "lineno") else next(ast.iter_child_nodes(node))
        texts = (ast.unparse(node), ast.unparse(new))
        mutant = Mutant(module, at.lineno, at.col_offset, *texts, number)
        out.setdefault(mutant.key, mutant)
    return list(out.values())


def sample(count: int, seed: int, only: str = "") -> list[Mutant]:
    """Draw mutants, of each module in proportion to its number; a larger sample has the smaller."""
    ranked = []
    for module in (m for m in files() if only in m):
        drawn = mutants(module)
        random.Random(f"{seed} {module}").shuffle(drawn)
        ranked += [((i + 0.5) / len(drawn), m) for i, m in enumerate(drawn)]
    return [m for _, m in sorted(ranked)[:count]]


class Changed(importlib.machinery.SourceFileLoader):
    """Finds and loads the one module that is changed."""

    def __init__(self, mutant: Mutant):
        super().__init__(mutant.module.removesuffix(".__init__"), str(files()[mutant.module]))
        self.number = mutant.number

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def get_code(self, fullname):
        tree = ast.parse(Path(self.path).read_text())
        _, node, new = sites(tree)[self.number]

        class Change(ast.NodeTransformer):
            def visit(self, at):
                return ast.copy_location(new, at) if at is node else self.generic_visit(at)

        changed: Any = ast.fix_missing_locations(Change().visit(tree))
        return compile(changed, self.path, "exec")


# ------------------------------------------------------------------ processes


def forked(work: Callable[[Say], None], wall: float = WALL, fill: bool = False) -> list[str]:
    """Run ``work(say)`` in a process of its own; return what it said, and how it ended last."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            _prepare(fill)
            with os.fdopen(writer, "w") as pipe:
                try:
                    work(lambda text: print(text, file=pipe, flush=True))
                except BaseException as error:  # whatever a changed program raises
                    print(f"raises {type(error).__name__}", file=pipe)
        finally:
            os._exit(0)
    os.close(writer)
    said, end = b"", time.monotonic() + wall
    while select.select([reader], [], [], max(0, end - time.monotonic()))[0]:
        if not (more := os.read(reader, 1 << 16)):
            break
        said += more
    else:
        os.kill(child, signal.SIGKILL)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    return said.decode().splitlines() + ([f"signal {status & 127}"] if status else [])


def _prepare(fill: bool) -> None:
    """Read XLA's programs from the cache, and write them there only where nothing is changed."""
    import jax
    from hypothesis.internal.conjecture.engine import ConjectureRunner

    jax.config.update("jax_compilation_cache_dir", str(CACHE / "xla"))
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0 if fill else 1e9)
    for name in list(vars(ConjectureRunner)):
        if name.startswith("shrink_interesting"):  # any failure will do, large or small
            setattr(ConjectureRunner, name, lambda self: None)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def allow(seconds: float) -> None:
    """End this process by a signal once it has taken so much more of a processor."""
    most = int(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def check_claim(name: str) -> bool:
    """Check a claim as `unigrn verify` does."""
    from unigrn.verify import claims, table

    claim = claims.claims()[name.removeprefix("claim ")]
    return claim.check(max(2, round(table.EXAMPLES * claim.share)), 0).holds


def run_tests(plugin: Any, *arguments: str) -> bool:
    """Run tests of pytest in this process."""
    import pytest

    quiet = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return pytest.main([*quiet, *arguments], [plugin]) == 0


# ------------------------------------------------------------------ which lines run


class Recorder:
    """A plugin of pytest that says what every test takes and runs of the modules."""

    def __init__(self, say: Say):
        self.say = say
        self.names = {str(path): module for module, path in files().items()}
        self.lines: dict[str, set[int]] = {}
        self.function: Any = None
        self.began = time.process_time()
        threading.settrace(self.trace)
        sys.settrace(self.trace)
        for module in self.names.values():
            importlib.import_module(module.removesuffix(".__init__"))
        importlib.import_module(CLAIMS).claims()
        self.tell("import")

    def trace(self, frame, event, argument):
        """Trace the functions of the modules, line by line."""
        if (module := self.names.get(frame.f_code.co_filename)) is None:
            return None
        self.lines.setdefault(module, set()).add(frame.f_lineno)
        return self.trace

    def tell(self, name: str) -> None:
        """Say what ran since the last call."""
        lines, self.lines = self.lines, {}
        seconds, self.began = time.process_time() - self.began, time.process_time()
        self.say(json.dumps([name, round(seconds, 2), {m: sorted(n) for m, n in lines.items()}]))

    def pytest_runtest_setup(self, item):
        if item.function is not self.function:
            import jax

            jax.clear_caches()  # what is compiled does not run its lines again
        self.function = item.function
        self.tell("setup")

    def pytest_runtest_call(self, item):
        self.tell("setup")

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.tell(report.nodeid if report.outcome == "passed" else "")


def record(tests: list[str]) -> Evidence:
    """Return seconds and lines of each claim and each test that passes."""
    listed = forked(
        lambda say: say("\n".join(f"claim {n}" for n in importlib.import_module(CLAIMS).claims()))
    )
    source = b"".join(p.read_bytes() for p in sorted((ROOT / "unigrn").rglob("*.py")))
    out: Evidence = {}
    for name in ["import", *listed, *(f"tests/test_{test}.py" for test in tests)]:
        text = (ROOT / name).read_bytes() if name.endswith(".py") else b""
        digest = hashlib.sha256(source + text).hexdigest()[:16]
        place = CACHE / "lines" / f"{name.replace('/', '.')} {digest}.json"
        if not place.exists():
            print(f"{time.strftime('%X')} recording {name}", flush=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(_recorded(name)))
        out |= json.loads(place.read_text())
    return {name: entry for name, entry in out.items() if entry[0] < LONG}


def _recorded(name: str) -> Evidence:
    """Record a claim, or a file of tests; what its fixtures run counts for each of its tests."""

    def work(say):
        recorder = Recorder(say)
        if name.endswith(".py"):
            run_tests(recorder, name)
        elif name != "import":
            recorder.tell(name if check_claim(name) else "")

    said = forked(work, 10 * WALL, fill=True)
    if not said or not said[-1].startswith("["):
        raise RuntimeError(f"{name} of the unchanged package ended in {said[-1:]}")
    entries = [json.loads(line) for line in said]
    fixtures = [lines for kind, _, lines in entries if kind == "setup"]
    out: Evidence = {}
    for key, seconds, lines in entries:
        if key == name or key.startswith("tests/"):
            ran = {m: {n for e in (lines, *fixtures) for n in e.get(m, ())} for m in files()}
            out[key] = (seconds, {m: sorted(numbers) for m, numbers in ran.items() if numbers})
    return out


def relevant(mutant: Mutant, evidence: Evidence, killed: Counter[str]) -> list[str]:
    """Return what runs the changed lines, what ``killed`` most first, then the quick.

    What only an import runs, everything may show.
    """
    runs = {n: set(lines.get(mutant.module, ())) for n, (_, lines) in evidence.items()}
    ran: set[str] = set()
    stated = next(_lines(mutant)) & set(evidence.get("import", (0.0, {}))[1].get(mutant.module, ()))
    for wanted in _lines(mutant):
        ran = {n for n, lines in runs.items() if wanted & lines}
        if ran - {"import"}:
            break
    if ran == {"import"}:
        ran = set(evidence)
    if stated:  # defaults are read off, not run
        ran |= {n for n in evidence if DEFAULTS in n}
    return sorted(ran - {"import"}, key=lambda n: (-killed[n], evidence[n][0]))


def _lines(mutant: Mutant) -> Iterator[set[int]]:
    """Give lines that stand for a mutant, the narrowest first.

    For one that runs on import these are those of its function or class, then those that name it.
    """
    tree = ast.parse(files()[mutant.module].read_text())
    statement, node, _ = sites(tree)[mutant.number]
    body = getattr(statement, "body", None)
    yield _range(node) if hasattr(node, "lineno") else {mutant.line}
    yield (
        {statement.lineno, *range(statement.lineno, body[0].lineno)} if body else _range(statement)
    )
    around = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.FunctionDef | ast.ClassDef) and _range(n) >= _range(statement)
    ]
    if not any(isinstance(n, ast.FunctionDef) and n is not statement for n in around):
        yield set().union(*map(_range, around))
        names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
        made = {n.id for n in names if n.lineno in _range(statement)}
        yield {n.lineno for n in names if n.id in made}
        yield set(range(tree.body[-1].end_lineno or 0))


def _range(node: Any) -> set[int]:
    return set(range(node.lineno, node.end_lineno + 1))


# ------------------------------------------------------------------ the trial


class Teller:
    """A plugin of pytest that says which test begins."""

    def __init__(self, begin: Say):
        self.begin = begin

    def pytest_runtest_logstart(self, nodeid, location):
        self.begin(nodeid)


def trial(mutant: Mutant | None, names: list[str], evidence: Evidence) -> tuple[str, str]:
    """Run evidence on a mutant: what kind of it kills, and which and how; or "survived"."""
    tests = _within([n for n in names if n.startswith("tests/")], evidence, MOST)
    quick = _within(tests, evidence, QUICK)
    claims = _within([n for n in names if n.startswith("claim ")], evidence, CLAIMED)

    def work(say, group):
        def begin(name):
            say(name)
            allow(SPARE + 5 * evidence.get(name, (SPARE, {}))[0])

        if mutant is not None:
            sys.meta_path.insert(0, Changed(mutant))
        begin("import")
        importlib.import_module(CLAIMS).claims()
        if group is not claims:
            begin("collection")
            return say("passes" if run_tests(Teller(begin), "-x", *group) else "fails")
        for name in claims:
            begin(name)
            if not check_claim(name):
                return say("fails")
        say("passes")

    for kind, group in (("test", quick), ("claim", claims), ("test", tests[len(quick) :])):
        if group:
            *begun, how = forked(lambda say, group=group: work(say, group))
            if how != "passes":
                return "import" if begun[-1] == "import" else kind, f"{begun[-1]}: {how}"
    return "survived", ""


def _within(names: list[str], evidence: Evidence, most: float) -> list[str]:
    """Return the first names whose seconds together stay below ``most``."""
    total = itertools.accumulate(evidence[n][0] for n in names)
    return [n for n, seconds in zip(names, total, strict=True) if seconds < most]


def report(rows: list[list[str]]) -> str:
    """Return the score, of all and of each module, and the survivors."""
    lines = ["module  mutants  by claims  by tests  on import  survived  not run  killed"]
    for module in ["all", *files()]:
        kinds = Counter(r[5] for r in rows if module in ("all", r[0]))
        if total := sum(kinds.values()):
            counts = [kinds[k] for k in ("claim", "test", "import", "survived", "not run")]
            cells = [module, total, *counts, f"{100 * sum(counts[:3]) / total:.1f} %"]
            lines.append("  ".join(map(str, cells)))
    left = sorted(r for r in rows if r[5] in ("survived", "not run"))
    return "\n".join(lines + [f"{r[0]}:{r[1]} {r[5]}: {r[3]}  ->  {r[4]}" for r in left])


def ready() -> None:
    """Load what no mutant changes, before a process is forked."""
    os.environ |= {"JAX_PLATFORMS": "cpu", "CI": "1", "HYPOTHESIS_STORAGE_DIRECTORY": str(CACHE)}
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
    for name in "jax optax scipy.stats pandas anndata rich typer pytest hypothesis".split():
        importlib.import_module(name)


def main(arguments: list[str] | None = None) -> None:
    """Run a sample, or go on with one, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", type=int, default=600, help="mutants, 600 by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="modules whose name has this in it")
    parser.add_argument("--tests", default=TESTS, help="which files of tests")
    parser.add_argument("--out", type=Path, default=CACHE / "results.tsv")
    parser.add_argument("--share", default="0/1", help="of a sample, every nth mutant: 0/2, 1/2")
    parser.add_argument("--list", action="store_true", help="print the mutants only")
    parser.add_argument("--control", action="store_true", help="change nothing: all must survive")
    given = parser.parse_args(arguments)
    drawn = sample(given.sample, given.seed, given.only)
    if given.list:
        return print("\n".join("\t".join(m.key) for m in drawn))
    ready()
    evidence = record(given.tests.split())
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("a+") as file:
        file.seek(0)
        known = {tuple(row[:5]): row for row in (line.rstrip("\n").split("\t") for line in file)}
        share, shares = map(int, given.share.split("/"))
        for i, mutant in enumerate(m for m in drawn[share::shares] if m.key not in known):
            killed = Counter(r[6].split(": ")[0] for r in known.values() if r[0] == mutant.module)
            began, names = time.monotonic(), relevant(mutant, evidence, killed)
            subject = None if given.control else mutant
            kind, by = trial(subject, names, evidence) if names else ("not run", "")
            row = [*mutant.key, kind, by, f"{time.monotonic() - began:.1f}"]
            known[mutant.key] = row
            print("\t".join(row), file=file, flush=True)
            print(i + 1, *row, flush=True)
    print(report([known[m.key] for m in drawn if m.key in known]))


if __name__ == "__main__":
    main()
