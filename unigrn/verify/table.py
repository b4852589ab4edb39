"""The verification table: every claim checked, every false variant refuted."""

from __future__ import annotations

import difflib
import gc
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import jax

from unigrn import progress
from unigrn.backend import one_blas_thread
from unigrn.check import check_whole
from unigrn.verify.claims import Claim, claims
from unigrn.verify.search import Report

EXAMPLES = 30


@dataclass(frozen=True)
class Row:
    """What became of one claim."""

    claim: Claim
    report: Report
    variants: dict[str, Report]

    @property
    def holds(self) -> bool:
        """True where no counterexample was found, and every false variant was refuted."""
        return self.report.holds and all(r.refuted for r in self.variants.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "claim": self.claim.name,
            "statement": self.claim.statement,
            "kind": self.claim.kind,
            "page": f"proofs/{self.claim.page}.md",
            "theorem": list(self.claim.theorem),
            "theorem_covers": self.claim.covers or ("all" if self.claim.theorem else None),
            "examples": int(self.report.examples),
            "worst": _finite(self.report.deviation),
            "tolerance": _finite(self.report.tolerance),
            "seed": int(self.report.seed),
            "holds": bool(self.holds),
            "false_variants": [
                {"name": name, "refuted": bool(report.refuted)}
                for name, report in self.variants.items()
            ],
            "counterexample": None if self.report.holds else str(self.report),
        }


def _finite(value: Any) -> float | None:
    """Return a number as JSON has it: None where it is not finite."""
    value = float(value)
    return value if math.isfinite(value) else None


def chosen(names: Iterable[str]) -> list[Claim]:
    """Claims by name; the name of a page stands for all its parts."""
    known = claims()
    out = []
    for name in names:
        own = [c for c in known.values() if name in (c.name, c.page)]
        if not own:
            near = difflib.get_close_matches(name, known, n=1)
            pages = ", ".join(dict.fromkeys(c.page for c in known.values()))
            hint = f"did you mean {near[0]}?" if near else f"there are {pages}"
            raise ValueError(f"no claim {name!r}; {hint}")
        out += [c for c in own if c not in out]
    return out or list(known.values())


def verify(
    names: Iterable[str] = (), examples: int | None = None, seed: int = 0, processes: int = 1
) -> list[Row]:
    """Check claims and refute their false variants.

    Parameters
    ----------
    names
        Claims, or pages that stand for their claims; all where none is given.
    examples
        Examples of each search, by default 30. Slow claims take a share of them.
    seed
        The same seed draws the same examples.
    processes
        Number of processes that share the claims; the rows are the same. With more than one, a
        script that calls this needs ``if __name__ == "__main__"``, as for any `multiprocessing`.
    """
    examples = EXAMPLES if examples is None else check_whole("examples", examples, low=1)
    seed = check_whole("seed", seed)
    processes = check_whole("processes", processes, low=1)
    some = chosen(names)
    counts = [max(2, round(examples * claim.share)) for claim in some]
    rows = []
    for claim, (report, variants) in zip(
        some, _reports(some, counts, seed, processes), strict=True
    ):
        rows.append(Row(claim, report, variants))
        progress.report("claims", len(rows), len(some))
    return rows


_Reports = tuple[Report, dict[str, Report]]


def _reports(some: list[Claim], counts: list[int], seed: int, processes: int) -> Iterator[_Reports]:
    """Give the reports of claims in their order, whichever process checked them."""
    if min(processes, len(some)) < 2:
        yield from (_checked(claim, count, seed) for claim, count in zip(some, counts, strict=True))
        return
    # Not forked: JAX has threads, and a copy of them would wait for ever.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(some)), context, _compile_quickly, (flags(),))
    try:
        # The slow ones, which take a small share of the examples, come first.
        order = sorted(range(len(some)), key=lambda i: some[i].share)
        calls = {i: pool.submit(_checked_by_name, some[i].name, counts[i], seed) for i in order}
        yield from (calls[i].result() for i in range(len(some)))
    finally:
        pool.shutdown(cancel_futures=True)


# Spare XLA what makes large systems quick: small ones take longer to compile than to fit.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


def flags() -> str:
    """Return those of `QUICK` that this XLA knows, for XLA_FLAGS: it aborts at an unknown one."""
    known = []
    for name, value in QUICK.items():
        with suppress(jax.errors.JaxRuntimeError):
            jax.jit(lambda x: x, compiler_options={name: value})(0.0)
            known.append(f"--{name}={str(value).lower()}")
    return " ".join(known)


def _compile_quickly(own: str) -> None:
    """Set flags of XLA, and look for garbage less: what JAX keeps of its programs is none."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    # The last of equal flags counts: what the user has set.
    os.environ["XLA_FLAGS"] = f"{own} {os.environ.get('XLA_FLAGS', '')}"


def _checked_by_name(name: str, count: int, seed: int) -> _Reports:
    return _checked(claims()[name], count, seed)


def _checked(claim: Claim, count: int, seed: int) -> _Reports:
    """Check one claim; the fits within it are no news, and their systems are small."""
    with progress.listening(None), one_blas_thread():
        variants = {v.name: _asked(v.check, v.name, count, seed) for v in claim.variants}
        return _asked(claim.check, claim.name, count, seed), variants


def _asked(check: Callable[[int, int], Report], name: str, count: int, seed: int) -> Report:
    """Check, or report that the check stopped: then nothing is shown, and nothing refuted."""
    try:
        return check(count, seed)
    except Exception as error:  # whatever goes wrong in a claim, the others have their say
        told = f"{type(error).__name__}: {error}".splitlines()
        reason = f"the check stopped: {told[0] if told else type(error).__name__}"
        return Report(name, False, 0.0, 0, seed, reason=reason, missing=("anything",))


def markdown() -> str:
    """Return the claims as the table that stands in proofs/README.md."""
    lines = ["| claim | in one line | evidence | wrong variants | proof |", "|---|---|---|---|---|"]
    for claim in claims().values():
        proof = f"[page]({claim.page}.md)" + (", Coq" if claim.theorem else "")
        proof += f" ({claim.covers})" if claim.covers else ""
        cells = (f"`{claim.name}`", claim.statement, claim.kind, str(len(claim.variants)), proof)
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)
