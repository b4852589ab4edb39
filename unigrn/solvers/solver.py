"""Solver: what it needs, what it reads, and how it solves one fit.

A solver is a function with a name and a list of what it needs. The ladder (`unigrn.ladder`) is a
list of them; `unigrn.plan(spec, data, solver=...)` takes any, one of ours or one of your own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unigrn.solvers.optimality import Fit, Options
from unigrn.spec import Slots
from unigrn.terms import PriorView, View

READS = ("moments", "groups", "rows", "network", "networks")


@dataclass(frozen=True)
class Requirement:
    """One condition of a solver: what it asks, and what a spec lacks (an empty list if nothing)."""

    text: str
    lacking: Callable[[Any], list[str]]


@dataclass(frozen=True)
class Solver:
    """How to solve, and what for.

    Parameters
    ----------
    name
        In words, for plans and provenance.
    reads
        "moments" (one pass over the cells, then none is needed), "groups" (the same, all groups of
        cells at once), "rows" (all cells of a group),
        "network" (all cells, all targets as one problem) or "networks" (the same, all groups of
        cells at once).
    solve
        Function ``(terms, view, prior, options) -> Fit`` of one fit: ``terms`` has the slots
        ``loss``, ``regularizer`` and ``constraint``, and ``terms.start(view, prior)``. A ``Fit``
        whose status is None is certified by the residual of the whole problem
        (`unigrn.solvers.optimality.certify`).
    needs
        `Requirement` objects: what the solver asks of a spec (`unigrn.ladder` has those of ours).
    double
        Works in double precision whatever the data's.
    batch
        Instead of mapping ``solve``: a function of all fits of a compiled call at once.
    in_turn
        Solves members that differ in hyperparameters alone one after the other.
    drive
        Instead of compiling ``solve`` for a whole network: a function on the host.
    brings
        Blocks that the solver gives beside those of the terms, with their axes.
    room
        Of a batch that forms matrices: a function of the candidates of a fit, of all regulators
        (both padded) and of the groups fitted at once, the numbers that it holds for one fit.
    """

    name: str
    reads: str
    solve: Callable[[Slots, View, PriorView, Options], Fit] | None
    needs: tuple[Requirement, ...] = ()
    double: bool = False
    batch: Callable[..., Fit] | None = None
    in_turn: bool = False
    drive: Callable[..., Fit] | None = None
    brings: tuple[tuple[str, tuple[str, ...]], ...] = ()
    room: Callable[[int, int, int], float] | None = None

    def __post_init__(self):
        if self.reads not in READS:
            raise ValueError(f"a solver reads one of {', '.join(READS)}, got {self.reads!r}")
        if self.solve is None and self.batch is None and self.drive is None:
            raise ValueError(f"the solver {self.name!r} has no function to solve with")

    @property
    def whole(self) -> bool:
        """Whether all targets are one problem."""
        return self.reads in ("network", "networks")

    @property
    def across(self) -> bool:
        """Whether all groups of cells are one problem."""
        return self.reads in ("groups", "networks")

    def lacking(self, profile: Any) -> list[str]:
        """Every requirement that fails, as text."""
        out = []
        for need in self.needs:
            if what := need.lacking(profile):
                more = f" (and {len(what) - 1} more)" if len(what) > 1 else ""
                out.append(f"{need.text}: {what[0]}{more}")
        return out
