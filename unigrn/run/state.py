"""State of a run: names, the grid of members, and results on the host, filled group by group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from unigrn.moments import GeneStatistics
from unigrn.planner import Plan, holds_out, reorders, reweights
from unigrn.replicates import Over
from unigrn.solvers.batching import Varied
from unigrn.solvers.optimality import Options
from unigrn.status import Status
from unigrn.terms import Array


@dataclass(frozen=True)
class Grid:
    """Members of the axes of a spec, the innermost axis last, and what differs between them."""

    over: tuple[Over, ...]  # outermost first

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes, outermost first."""
        return tuple(o.size for o in self.over)

    @property
    def size(self) -> int:
        """Number of members."""
        return math.prod(self.shape)

    def places(self) -> np.ndarray:
        """Position of every member along every axis, (members, axes)."""
        if not self.over:
            return np.zeros((1, 0), int)
        return np.stack(np.unravel_index(np.arange(self.size), self.shape), axis=1)

    def part(self, differs: Any) -> tuple[Grid, np.ndarray]:
        """Return the grid of some axes, and where every member stands in it, (members,)."""
        chosen = [i for i, o in enumerate(self.over) if differs(o)]
        small = Grid(tuple(self.over[i] for i in chosen))
        if not chosen:
            return small, np.zeros(self.size, np.int32)
        where = np.ravel_multi_index(tuple(self.places()[:, chosen].T), small.shape)
        return small, np.asarray(where, np.int32)

    @property
    def certified(self) -> np.ndarray:
        """Members whose certificates count, (members,)."""
        counts = np.zeros(self.shape, bool)
        counts[tuple(o.certified for o in self.over)] = True
        return counts.ravel()


def draws_candidates(over: Over) -> bool:
    """Whether the members of an axis have candidates of their own."""
    return type(over).candidates is not Over.candidates


def varies_terms(over: Over) -> bool:
    """Whether the members of an axis have hyperparameters of their own."""
    return type(over).terms is not Over.terms


class State:
    """One execution of a plan."""

    def __init__(self, plan: Plan, seed: int):
        self.plan, self.seed = plan, seed
        self.spec, self.data, self.problem = plan.spec, plan.data, plan.problem
        self.dtype = dtype = plan.dtype
        self.groups = len(self.data.group_sizes)
        self.grid = Grid(tuple(reversed(self.spec.over)))
        # The innermost axis, where it is reduced inside the compiled program.
        last = self.grid.over[-1] if self.grid.over and not plan.solver.whole else None
        self.inner = last if last is not None and last.compiled is not None else None
        self.systems, self.system = self.grid.part(reweights)
        self.held_out, self.held = self.grid.part(holds_out)
        self.copies, self.copy = self.grid.part(reorders)
        self.variants, self.variant = self.grid.part(varies_terms)
        self.drawing, self.draw = self.grid.part(draws_candidates)
        targets, entries = len(self.problem.targets), len(self.problem.candidate)
        # What the members of a group found: (outer members, entries), and (members, targets).
        self.edges: dict[str, np.ndarray] = {}
        self.numbers: dict[str, np.ndarray] = {}
        self.weights = np.zeros((self.groups, entries), self.data.dtype)
        self.statistics: dict[str, np.ndarray] = {}
        self.targets: dict[str, np.ndarray] = {}
        self.blocks: dict[str, Any] = {}
        self.by_entry: dict[str, np.ndarray] = {}
        self.status = np.full((self.groups, targets), Status.NO_CANDIDATES, np.int32)
        self.residual = np.full((self.groups, targets), np.nan)
        self.iterations = np.zeros((self.groups, targets), np.int64)
        self.entries = self.problem.entries(dtype)
        self.options = Options(np.asarray(plan.tolerance, dtype), np.int32(plan.max_iterations))
        self.history: list[np.ndarray] = []
        self.level: np.ndarray | None = None  # of constant regulators, taken out of the rows
        self.runs: list[np.ndarray] = []  # objectives by sweep of the starts of one group
        self.best: tuple[float, dict[str, np.ndarray]] | None = None
        self.overall: GeneStatistics
        self.by_group: list[GeneStatistics]
        self._name_columns()

    def _name_columns(self) -> None:
        """Say which genes are read, and which columns of a block are regulators and targets."""
        problem, spec = self.problem, self.spec
        self.made = [s.regulators(spec.prior, self.data.genes) for s in spec.stages]
        if spec.stages:
            self.genes = np.sort(self.data.genes)
            names = np.concatenate(self.made)
            first = {name: i for i, name in reversed(list(enumerate(names.tolist())))}
            # What no stage makes falls back on the column of its gene.
            gene = np.searchsorted(self.genes, problem.regulators)
            made = [first.get(name, -1) for name in problem.regulators.tolist()]
            self.x = np.where(np.array(made) < 0, gene, len(self.genes) + np.array(made))
        else:
            self.genes = np.union1d(problem.regulators, problem.targets)
            self.x = np.searchsorted(self.genes, problem.regulators)
        self.y = np.searchsorted(self.genes, problem.targets)
        self.columns = self.data.columns(self.genes)
        self.width = len(self.genes) + sum(map(len, self.made))

    def key(self, group: int) -> Array:
        """Return the key of a group."""
        return jax.random.fold_in(jax.random.key(self.seed), group)

    def varied(self, terms: tuple) -> Varied:
        """Stack the hyperparameters that differ, by the number of their leaf."""
        base = jax.tree.leaves(terms)
        values: dict[int, np.ndarray] = {}
        places = self.variants.places()
        for axis, over in enumerate(self.variants.over):
            leaves = jax.tree.leaves(over.terms(terms))
            for i, (old, new) in enumerate(zip(base, leaves, strict=True)):
                if np.shape(new) != np.shape(old):
                    kind = self.dtype if np.asarray(new).dtype.kind == "f" else None
                    values[i] = np.asarray(new, kind)[places[:, axis]]
        return Varied(values)


def kept(
    table: dict[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: Any = np.float64
) -> np.ndarray:
    """Return the named array, made on first use and filled with what is undefined."""
    if name not in table:
        whole = np.issubdtype(dtype, np.integer)
        table[name] = np.zeros(shape, dtype) if whole else np.full(shape, np.nan, dtype)
    return table[name]
