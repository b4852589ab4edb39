"""The search for where two things part: findings, a report, and Hypothesis between them."""

from __future__ import annotations

import atexit
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from unigrn.check import counted

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

KINDS = ("feasibility", "objective", "gradient", "prox", "minimiser", "iterates")


@dataclass(frozen=True)
class Finding:
    """One comparison: its kind and deviation, relative to the scale of what was compared."""

    kind: str
    deviation: float
    trivial: bool = False  # at theta = 0, where much is equal that is not the same


@dataclass(frozen=True)
class Report:
    """What a search found; it prints as a table, and with the counterexample where there is one."""

    name: str
    holds: bool
    tolerance: float
    examples: int
    seed: int
    worst: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    counterexample: tuple[Any, ...] | None = None
    reason: str = ""
    missing: tuple[str, ...] = ()  # what was to be compared and never was
    notes: tuple[str, ...] = ()  # how it was compared, and what was not
    beyond: str = ""  # where it holds, of one that fails beyond

    @property
    def deviation(self) -> float:
        """The largest deviation seen, of any kind."""
        return max(self.worst.values(), default=0.0)

    @property
    def refuted(self) -> bool:
        """True where it fails; what was not compared is neither shown nor refuted."""
        return not self.holds and not self.missing and not self.beyond

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "REFUTED" if self.refuted else "NOT SHOWN"
        lines = [
            f"{self.name}: {verdict} on {counted(self.examples, 'example')} (seed {self.seed})"
        ]
        kinds = sorted(self.worst, key=lambda k: (*KINDS, k).index(k))  # a check's own kinds last
        lines += [
            f"  {kind:12s} worst {self.worst[kind]:.1e}, allowed {self.tolerance:.0e}, "
            f"{counted(self.counts.get(kind, 0), 'comparison')}"
            for kind in kinds
        ]
        if self.beyond:
            lines.append(f"  no difference with {self.beyond}; beyond:")
        if self.counterexample is not None:
            lines.append(f"  {self.reason}; the smallest counterexample:")
            kinds = {type(item).__name__: type(item).__module__ for item in self.counterexample}
            ours = [kind for kind, home in kinds.items() if home == "unigrn.verify.instances"]
            lines += [f"    from unigrn.verify import {', '.join(ours)}"] * bool(ours)
            lines += [f"    {item!r}" for item in self.counterexample]
        elif self.reason:
            lines.append(f"  {self.reason}")
        if self.missing:
            lines.append(f"  no example compared {', '.join(self.missing)}")
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)


def largest(tree: Any) -> float:
    """Largest absolute number in a tree of arrays; infinite where one is not a number."""
    sizes = [float(np.max(np.abs(v), initial=0)) for v in map(np.asarray, jax.tree.leaves(tree))]
    size = max(sizes, default=0.0)
    return size if np.isfinite(sizes).all() else float("inf")


def dot(a: Any, b: Any) -> float:
    """Inner product of two trees of arrays."""
    return float(
        sum(
            np.sum(np.asarray(x) * np.asarray(y))
            for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        )
    )


def search(
    name: str,
    check: Callable[..., list[Finding]],
    drawn_from: tuple[SearchStrategy, ...],
    tolerance: float,
    examples: int,
    seed: int,
    needed: tuple[str, ...] = (),
    shrink: bool = True,
    aimed: Iterable[tuple[Any, ...]] = (),
) -> Report:
    """Look for an example at which ``check`` finds a deviation above the tolerance.

    A deviation that is not a number counts as infinite. The same seed draws the same examples,
    as long as neither Hypothesis nor the source (which it takes constants from) changes.
    Where nothing was compared, or one of the ``needed`` kinds was not, nothing is shown. Without
    ``shrink`` the first counterexample is reported as it was drawn. Examples that are ``aimed`` are
    looked at after those that are drawn, and reported as they are.
    """
    from hypothesis import HealthCheck, Phase, given, settings, strategies
    from hypothesis import seed as fixed_seed

    _keep_out_of_the_way()

    worst: dict[str, float] = {}
    counts: dict[str, int] = {}
    failed: list[tuple[Any, ...]] = []
    reasons: list[str] = []
    drawn = 0

    @fixed_seed(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]  # stub
        report_multiple_bugs=False,
    )
    @given(strategies.tuples(*drawn_from))
    def run(drawings):
        nonlocal drawn
        drawn += not failed
        look(drawings)

    def look(drawings):
        for finding in check(*drawings):
            deviation = np.inf if np.isnan(finding.deviation) else finding.deviation
            worst[finding.kind] = max(worst.get(finding.kind, 0.0), deviation)
            if not failed and not finding.trivial:
                counts[finding.kind] = counts.get(finding.kind, 0) + 1
            if deviation > tolerance:
                failed.append(drawings)
                reasons.append(
                    f"{finding.kind} differs by {deviation:.1e}, more than {tolerance:.0e}"
                )
                raise _Parted(reasons[-1])

    try:
        run()
        for drawings in aimed:
            look(drawings)
    except _Parted:
        return Report(name, False, tolerance, drawn, seed, worst, counts, failed[-1], reasons[-1])
    missing = tuple(k for k in needed if k not in counts)
    if not counts:
        missing = ("anything but theta = 0",) if worst else ("anything",)
    return Report(name, not missing, tolerance, drawn, seed, worst, counts, missing=missing)


@functools.cache
def _keep_out_of_the_way() -> None:
    """Let Hypothesis keep its files elsewhere than in the user's folder, unless that is said."""
    if "HYPOTHESIS_STORAGE_DIRECTORY" not in os.environ and "pytest" not in sys.modules:
        place = tempfile.TemporaryDirectory(prefix="unigrn-")
        atexit.register(place.cleanup)
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = place.name


class _Parted(AssertionError):
    """Raised inside a search, for Hypothesis to shrink."""
