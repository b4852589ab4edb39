"""Plan: which solver and why, in which batches, at what cost in memory and arithmetic.

Over 450 lines: what a plan says of itself stands with what it does, so that both change together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn import __version__
from unigrn.backend import free_memory, largest_array, precision
from unigrn.binding import laid, places
from unigrn.check import check_number, check_whole
from unigrn.columns import Column
from unigrn.data import Data
from unigrn.ladder import PlanError, select
from unigrn.leftout import left_out
from unigrn.moments import padded
from unigrn.probes import Profile
from unigrn.problem import COARSE, FINE, Batch, Problem, batches, build, chunk_size
from unigrn.replicates import Over
from unigrn.solvers import columns
from unigrn.solvers.solver import Solver
from unigrn.spec import Shape, Slots, Spec
from unigrn.terms import Along, PriorView, View, local, parts

__all__ = ["Plan", "PlanError", "plan"]

MEMORY = 1 << 30  # bytes that the moments of one pass over the cells may take
CHUNK = 1 << 27  # bytes that one compiled call may gather
FITS = 1 << 14  # fits in one compiled call that forms no matrix of each
MAPPED = 1280  # and in one that does
EDGE = 172  # bytes that an edge takes while the table of edges is made, measured
COMPILING = 150e6  # bytes that XLA takes to compile the calls of a plan, measured


@dataclass(frozen=True, eq=False)
class Plan:
    """What will be run; `explain` says why, `unigrn.fit` runs it."""

    spec: Spec
    data: Data
    problem: Problem
    solver: Solver
    refused: tuple[tuple[Solver, list[str]], ...]
    shape: Shape
    tolerance: float
    max_iterations: int
    hyperparameters: dict[str, Any]
    history: bool = False
    weighted: bool = False  # every loss uses the weights of cells
    exact: str = ""  # the term for whose sake lists and cells are not padded
    notes: tuple[str, ...] = ()

    @property
    def rung(self) -> Solver:
        """The solver: its place on the ladder."""
        return self.solver

    @property
    def sparse(self) -> bool:
        """True where zeros mean that there is no edge."""
        return any(t.kink for t in parts(self.spec.regularizer)) or any(
            t.allows is None for t in parts(self.spec.constraint)
        )

    @property
    def dtype(self) -> str:
        """Precision of the arithmetic."""
        exact = self.solver.double or any(t.double for t in self.spec.terms)
        return "float64" if exact else self.data.dtype

    @property
    def sizes(self) -> tuple[int, ...]:
        """Padded sizes that lists of candidates come in; none where they are not padded."""
        if self.exact:
            return ()
        return COARSE if self.gathers else FINE

    @property
    def gathers(self) -> bool:
        """Whether the matrices of a fit are gathered piece by piece and never formed."""
        batch, room = self.solver.batch, self.solver.room
        return batch is not None and room is None and self.solver.reads == "moments"

    @property
    def members(self) -> int:
        """Fits of each target in each group."""
        return self.spec.members

    @cached_property
    def systems(self) -> int:
        """Weightings of the cells of a group, those of held-out cells included."""
        return weightings(self.spec, self.data)

    @property
    def copies(self) -> int:
        """Orders of the cells in which the targets are fitted."""
        return math.prod(o.size for o in self.spec.over if reorders(o))

    def fit_sizes(self) -> np.ndarray:
        """Count the regulators in one fit of each target."""
        sizes = self.problem.sizes
        for over in self.spec.over:
            sizes = over.sizes(sizes)
        return sizes

    def batches(self) -> list[Batch]:
        """Targets by padded size."""
        return list(batches(self.problem, self.fit_sizes(), self.sizes))

    def provenance(self, seed: int) -> dict[str, Any]:
        """Return what is needed to run it again."""
        data = self.data
        return {
            "method": self.spec.name,
            "formula": str(self.spec),
            "hyperparameters": dict(self.hyperparameters) or self.spec.hyperparameters,
            "seed": int(seed),
            "dtype": data.dtype,
            "solver": self.solver.name,
            "tolerance": self.tolerance,
            "max_iterations": self.max_iterations,
            "data": {
                **{k: v for k, v in data.origin.items() if v not in (None, [], 0)},
                "cells": int(data.cells),
                "genes": len(data.genes),
                "groups": None
                if data.groups is None
                else dict(zip(data.groups, map(int, data.group_sizes), strict=True)),
            },
            "versions": {"unigrn": __version__, "jax": jax.__version__, "numpy": np.__version__},
        }

    def explain(self) -> str:
        """Say in plain text which solver was chosen and why, and what it will cost."""
        problem, data = self.problem, self.data
        q, p = len(problem.regulators), len(problem.targets)
        groups = 1 if data.groups is None else len(data.groups)
        lines = [f"{self.spec.name}: {self.spec}", "", f"solver: {self.solver.name}"]
        lines += [f"  holds: {need.text}" for need in self.solver.needs]
        for rung, lacking in self.refused:
            lines.append(f"  not {rung.name}: {'; '.join(lacking)}")
        lines += [
            "",
            f"problem: {q:,} regulators x {p:,} targets, "
            f"{len(problem.candidate):,} candidate edges, {data.cells:,} cells"
            + (f" in {groups} groups" if data.groups is not None else "")
            + "".join(f", {o.name} of {o.size}" for o in self.spec.over),
        ]
        for name, count in problem.dropped.items():
            if count:
                lines.append(f"  deleted by {name}: {count:,} entries")
        if self.exact:
            lines.append(f"nothing is padded: {self.exact} would notice")
        lines += [f"note: {note}" for note in self.notes]
        if self.solver.whole:
            lines += self._sweeping()
        else:
            lines += self._batching(groups)
        lines.append(self._peak(groups))
        device = jax.devices()[0]
        lines.append(f"device: {device.platform} ({device.device_kind}), {data.dtype}")
        return "\n".join(lines)

    def memory(self) -> dict[str, float]:
        """Bytes at the peak, above what the process holds before: by what they are for."""
        data, spec, item = self.data, self.spec, np.dtype(self.dtype).itemsize
        q, p = len(self.problem.regulators), len(self.problem.targets)
        groups, entries = len(data.group_sizes), len(self.problem.candidate)
        if self.solver.whole:
            inputs, terms, each = self.footprint
            held = inputs + terms + max(terms, self.together() * each)
            held += data.cells * (q + p * self.copies) * item
            calls = 0.0
            if self.solver.room is not None:
                wide, tall, _ = self.widths(0)
                calls = self.solver.room(wide * tall, wide * tall, groups) * item
        else:
            calls = 0.0
            for batch in self.batches():
                fits = self.chunk(batch, len(batch.targets)) * self.members
                calls = max(calls, fits * self._per_fit(batch))
            # One call a core; rows stand there as gathered, turned, and turned back for slopes.
            calls *= 2 * (6 if self.solver.reads == "rows" else 1)
            held = self._moments()[0]
            if self.solver.reads == "rows" or any(o.by_candidates for o in spec.over):
                held += 2 * data.cells * (q + p * self.copies) * item
        within = spec.over and spec.over[0].compiled and not self.solver.whole
        outer = self.members // (spec.over[0].size if within else 1)
        results = entries * (8.0 * outer + groups * item + 60)
        return {
            "compiling": COMPILING * (2.5 if self.solver.in_turn else 1),  # two solvers in one
            "data": held,
            "compiled calls": calls,
            "results": results,
            "the table of edges": float(EDGE * entries * groups),
        }

    def check_memory(self) -> None:
        """Refuse what needs more memory than there is, before the machine runs out of it.

        Raises
        ------
        ValueError
            With the largest part, and what the machine has.
        """
        parts, free = self.memory(), free_memory()
        need = sum(parts.values())
        if self.solver.whole:  # a sweep holds several copies of each block
            need += self.start_peak + 6 * self.footprint[2]
        if free is not None and need > free:
            most = max(parts, key=parts.__getitem__)
            raise ValueError(
                f"this needs about {need / 1e9:,.1f} GB of memory, mostly for {most}, and "
                f"{free / 1e9:,.1f} GB are free; give fewer bags, permutations, factors or "
                "targets, or go on all the same: --force, in Python force=True"
            )

    def _peak(self, groups: int) -> str:
        parts = self.memory()
        shown = ", ".join(f"{k} {v / 1e6:,.0f}" for k, v in parts.items() if v >= 5e5)
        return f"memory at the peak: about {sum(parts.values()) / 1e6:,.0f} MB ({shown})"

    def _batching(self, groups: int) -> list[str]:
        """Lines on the compiled calls of a method that separates over targets."""
        flops, lines = 0.0, ["batches (targets x padded regulators):"]
        for batch in self.batches():
            total = len(batch.targets)
            step = self.chunk(batch, total)
            calls = groups * math.ceil(total / step)
            lines.append(
                f"  {len(batch.targets):,} x {batch.k}: {calls} "
                f"call{'s' if calls > 1 else ''} of {self.members} x {step} fits"
            )
            flops += float((batch.sizes.astype(float) ** 3 / 3).sum()) * self.members * groups
        lines += self._reading()
        if self.solver.reads != "rows":
            lines.append(f"arithmetic: {flops / 1e9:,.2f} GFLOP per factorisation of all fits")
        return lines

    def _sweeping(self) -> list[str]:
        """Lines on a method that takes the whole network at once."""
        lines = [
            "the whole network is one problem"
            + (f", {self.members} fits" if self.members > 1 else "")
        ]
        rules = self.shape.rules
        if self.solver.drive is not None and not self.solver.brings:
            lines += [f"  step {s}" for s in self.spec.steps]
            stops = [
                None if value is None else f"changes by {text.format(value)}"
                for value, text in (
                    (rules and rules.relative, "at most {:g} (1 + |objective|)"),
                    (rules and rules.absolute, "less than {:g}"),
                )
            ]
            stops = " or ".join(r for r in stops if r)
            after = f"after {self.max_iterations:,} sweeps"
            lines.append(
                f"  stops where the objective {stops}, or {after}" if stops else f"  stops {after}"
            )
        if self.spec.loss.iterates is not None:
            lines.append(
                f"  nothing is minimised: it ends with a change of at most {self.tolerance:g}, "
                f"or after {self.max_iterations:,} steps"
            )
        some, (inputs, terms, each) = self.together(), self.footprint
        # While the terms are prepared they stand beside what they are made of.
        size = inputs + terms + max(terms, some * each)
        lines.append(
            f"memory: about {size / 1e6:,.0f} MB for {some} start"
            f"{'s' if some > 1 else ''} at a time"
        )
        return lines

    def widths(self, cells: int) -> tuple[int, int, int]:
        """Regulators, targets and cells of a whole network as the solver gets it."""
        q, p = len(self.problem.regulators), len(self.problem.targets)
        return (q, p, cells) if self.exact else (padded(q), padded(p), padded(cells))

    @property
    def footprint(self) -> tuple[int, int, int]:
        """Bytes that a whole network takes: data and prior, prepared terms, and each start."""
        return self._traced[:3]

    @property
    def start_peak(self) -> int:
        """Bytes of the largest array on the way to the start of a whole network."""
        return self._traced[3]

    @cached_property
    def _traced(self) -> tuple[int, int, int, int]:
        q, p, cells = self.widths(int(self.data.group_sizes.max()))
        item = np.dtype(self.dtype).itemsize

        def begin(x, y, weight, layers, sign, mask, key):
            view = View(x=x, y=y, weight=weight, key=key, extra=extra)
            prior = PriorView(
                mask,
                sum(layers.values(), jnp.zeros_like(mask, weight.dtype)),
                sign,
                mask,
                mask,
                layers,
            )
            bare = tuple(t.prepare(view, prior) for t in whole)
            return (view, prior), bare, Slots(self.shape, bare).start(view, prior)

        def array(*shape, dtype: Any = self.dtype):
            return jax.ShapeDtypeStruct(shape, np.dtype(dtype))

        whole, extra = self.network_terms(np.arange(int(self.data.group_sizes.max())))
        with precision(self.dtype):
            program, held = jax.make_jaxpr(begin, return_shape=True)(
                array(cells, q),
                array(cells, p),
                array(cells),
                {name: array(q, p) for name in self.problem.prior.layers},
                array(q, p, dtype=np.int32),
                array(q, p, dtype=bool),
                jax.random.key(0),
            )
        inputs, terms, each = (
            sum(v.size * v.dtype.itemsize for v in jax.tree.leaves(part)) for part in held
        )
        # A sweep holds about a dozen arrays of the network's size, and one piece of a product.
        each += 12 * q * p * item + min(p * p, columns.CHUNK) * item
        return inputs, terms, each, largest_array(program.jaxpr)

    def network_terms(self, cells: np.ndarray) -> tuple[tuple, dict[str, Any]]:
        """Terms and external arrays as a whole network takes them, cut to the given cells."""
        q, p, rows = self.widths(len(cells))
        both = laid(
            (self.problem.terms, self.problem.extra),
            {"regulators": q, "targets": p},
            cells,
            rows,
            self.dtype,
        )
        return local_whole(both)

    def together(self) -> int:
        """Count the starts that one compiled call fits side by side."""
        starts = math.prod(o.size for o in self.spec.over if o.starts)
        if starts == 1:
            return 1
        inputs, terms, each = self.footprint
        return min(starts, max(1, (MEMORY - inputs - terms) // each))

    def width(self) -> int:
        """Targets per pass over the cells: as many as keep the moments within memory.

        At least as many as regulators, so that the Gram matrices, which every pass sums again, stay
        the smaller part of the work.
        """
        q, item = padded(len(self.problem.regulators) + 1), np.dtype(self.dtype).itemsize
        room = MEMORY // (self.systems * len(self.data.group_sizes) * item * q) - q
        return max(64, q, room // self.copies)

    def _reading(self) -> list[str]:
        """Lines on memory and arithmetic of the pass over the cells."""
        data = self.data
        q, p = len(self.problem.regulators), len(self.problem.targets)
        item, copies = np.dtype(self.dtype).itemsize, self.copies
        if self.solver.reads == "rows":
            return [f"memory: rows {data.cells * (q + p * copies) * item / 1e6:,.0f} MB"]
        size, grams, held = self._moments()
        work = 2.0 * q * (q * grams + p * copies) * data.cells * self.systems
        return [
            f"memory: moments {size / 1e6:,.0f} MB{held}",
            f"arithmetic: {work / 1e9:,.2f} GFLOP for the moments ({grams} "
            f"pass{'es' if grams > 1 else ''} over the cells)",
        ]

    def _moments(self) -> tuple[float, int, str]:
        """Bytes of the moments, how often they are summed, and what they need beside them."""
        data, spec = self.data, self.spec
        q, p = len(self.problem.regulators), len(self.problem.targets)
        item, copies = np.dtype(self.dtype).itemsize, self.copies
        width, systems = min(self.width(), p), self.systems * len(data.group_sizes)
        if any(o.by_candidates for o in spec.over):
            grams, width, systems = len(np.unique(self.problem.sizes)), p, self.systems
            held = f" and rows {data.cells * (q + p) * item / 1e6:,.0f} MB"
        else:
            grams, held = math.ceil(p / width), ", whatever the number of cells"
        size = systems * padded(q + 1) * (padded(q + 1) + padded(width * copies)) * item
        return float(size), grams, held

    def _per_fit(self, batch: Batch) -> float:
        """Bytes that a compiled call gathers for one fit."""
        item = np.dtype(self.dtype).itemsize
        if self.solver.reads == "rows":
            return int(self.data.group_sizes.max()) * batch.k * item
        if self.gathers and not self.spec.columns:
            # Its matrices are never formed; of fits in turn only what they found is kept.
            arrays = 5 + 24 / self.members if self.solver.in_turn else 12
            return arrays * batch.k * item
        across = len(self.data.group_sizes) if self.solver.across else 1
        if self.solver.room is not None:
            return self.solver.room(batch.k, places(len(self.problem.regulators)), across) * item
        return batch.k * batch.k * item * across

    def chunk(self, batch: Batch, total: int) -> int:
        """Targets in one compiled call."""
        per_fit = self._per_fit(batch)
        # Several calls run side by side, one a core, so a call takes part of the targets only.
        fits = min(CHUNK / per_fit, FITS if self.gathers else MAPPED)
        return chunk_size(total, fits / self.members)


def plan(
    spec: Spec,
    data: Data,
    regulators: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    *,
    tolerance: float | None = None,
    max_iterations: int | None = None,
    solver: Solver | str | None = None,
    history: bool = False,
    hyperparameters: dict[str, Any] | None = None,
) -> Plan:
    """Join a spec and data, and choose the solver. No cell is read but by stages that bring sizes.

    Parameters
    ----------
    spec
        The method.
    data
        Expression with names.
    regulators, targets
        Names to keep; by default the prior's measured sources, and its measured targets where the
        constraint is its support, otherwise every gene.
    tolerance
        A fit is "converged" where the residual of the whole problem (see
        `unigrn.solvers.optimality`) is at most this, relative to the gradient at theta = 0; by
        default 1e-9 in float64 and 1e-6 in float32. A method without an objective has its own.
    max_iterations
        Cap of iterative solvers: by default 5000, or the sweeps that the spec declares.
    solver
        A `Solver`, or the name of one of the ladder; by default the first that takes the spec.
    history
        Keep the objective after every sweep of a method in several blocks.

    Raises
    ------
    PlanError
        No solver takes the spec.
    AlignmentError
        Names of prior and data do not match.
    """
    if not isinstance(spec, Spec):
        raise TypeError(f"plan needs a Spec, got {type(spec).__name__}")
    source = data
    if any(o.leaves_out for o in spec.over):
        data = left_out(data)
        source = data.own or data  # as it is read: every cell once
        if tolerance is None and spec.loss.iterates is None:
            tolerance = max(1e-9 * float(data.share().min()), 1e-12)
    if (declared := spec.loss.iterates) is not None:
        if tolerance is not None:
            raise ValueError(
                f"the map of {spec.name} comes to rest by a tolerance of its own, "
                f"{float(declared.tolerance):g}, got tolerance={tolerance!r}: give the method's "
                "parameter for it"
            )
        tolerance = float(declared.tolerance)
    if tolerance is None:
        tolerance = 1e-9 if data.dtype == "float64" else 1e-6
    tolerance = check_number("tolerance", tolerance)
    problem = build(spec, source, regulators, targets)
    with precision(data.dtype):
        profile = profiled(spec, data, problem)
        choice = select(profile, solver)
        exact, kinks, shape = profile.padding, profile.kinks, profile.shape
        weighted = profile.weighted
    if max_iterations is None:
        max_iterations = 5000 if spec.sweeps is None else spec.sweeps.most
    max_iterations = check_whole("max_iterations", max_iterations)
    for term in spec.terms:
        term.check(problem.prior)
        term.check_extra(problem.extra)
    for term in (t for t in problem.terms if t.across):
        held = jax.tree.leaves(term, is_leaf=lambda v: isinstance(v, Along))
        if any(isinstance(v, Along) and "cells" in v.axes for v in held):
            raise ValueError(
                f"{term.kind} {term.formula} couples the groups and holds an array along cells: "
                "bring it as external data (data.with_extra), which it sees groups first"
            )
    for column in spec.columns:
        if isinstance(column, Column) and (why := column.lacking(spec)):
            raise PlanError(f"{spec.name!r} ({spec}) has no column {column.label}: {why}", why)
    for name in spec.blocks:
        if name not in dict(shape.axes) and choice.solver.name != "evidence maximisation":
            raise PlanError(
                f"nobody can say what the axes of the block {name} are: give "
                f'Spec(axes={{"{name}": ("factors", "cells")}}), say, with a word for each axis'
            )
    return Plan(
        spec,
        data,
        problem,
        choice.solver,
        choice.refused,
        shape,
        tolerance,
        max_iterations,
        dict(hyperparameters or {}),
        bool(history),
        weighted,
        exact,
        kinks,
    )


def profiled(spec: Spec, data: Data, problem: Problem) -> Profile:
    """Trace the terms of a spec with the shapes of a problem."""
    q, p = len(problem.regulators), len(problem.targets)
    cells = np.arange(int(data.group_sizes[0]))
    sizes = {"regulators": q, "targets": p, "cells": len(cells)}
    lay = (
        {"regulators": q, "targets": p}
        if not spec.separable
        else {"regulators": places(q), "targets": places(p)}
    )
    terms, extra = laid((problem.terms, problem.extra), lay, cells, len(cells), data.dtype)
    if not spec.separable:
        terms, extra = local_whole((terms, extra))
    return Profile(spec, terms, extra, sizes, data.weights is not None)


def local_whole(tree: Any) -> Any:
    """Take the arrays of a whole network out of their wrapping."""
    return local(tree, View())


def weightings(spec: Spec, data: Data) -> int:
    """Count the weightings of the cells: of those fitted, and of those held out."""
    fitted = math.prod(o.size for o in spec.over if reweights(o))
    return fitted + math.prod(o.size for o in spec.over if holds_out(o)) * holds(spec)


def reweights(over: Over) -> bool:
    """Whether the members of an axis differ in the weights of cells."""
    return type(over).cells is not Over.cells


def reorders(over: Over) -> bool:
    """Whether the members of an axis differ in the order of the targets' cells."""
    return type(over).order is not Over.order


def holds_out(over: Over) -> bool:
    """Whether the members of an axis are judged on cells of their own."""
    return type(over).held is not Over.held


def holds(spec: Spec) -> bool:
    """Whether any axis holds out cells."""
    return any(holds_out(o) for o in spec.over)
