"""Plan: which solver and why, in which batches; and the run itself.

`RUNGS` is one ordered ladder; a plan takes the first rung whose every requirement holds.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn import __version__, progress
from unigrn.data import Data
from unigrn.ensembles import bag_statistics
from unigrn.moments import GeneStatistics, GroupSums, gather, padded, padded_rows
from unigrn.problem import (
    COARSE,
    FINE,
    Batch,
    Entries,
    Problem,
    Tasks,
    batches,
    build,
    chunk_size,
)
from unigrn.solution import FAILED, Solution, Status
from unigrn.solvers import batching, closed_form, evidence, gradient, proximal
from unigrn.solvers.batching import Fit
from unigrn.solvers.split import is_kink, split
from unigrn.spec import Spec
from unigrn.terms import Blocks, Moments, PriorView, View, parts

MEMORY = 1 << 30  # bytes that the moments of one job may take
CHUNK = 1 << 27  # bytes that one compiled call may gather
NUISANCE = ("intercept", "theta")


class PlanError(ValueError):
    """No solver takes the spec; the message goes through the ladder."""


@dataclass(frozen=True)
class Requirement:
    """One condition of a rung: what it asks, and what a spec lacks (an empty list if nothing)."""

    text: str
    lacking: Callable[[Spec], list[str]]


@dataclass(frozen=True)
class Rung:
    """A solver, what it reads, and what it needs."""

    name: str
    reads: str  # "moments", "rows" or "network"
    solve: Callable[..., Fit]
    needs: tuple[Requirement, ...]
    sizes: tuple[int, ...] = FINE

    def lacking(self, spec: Spec) -> list[str]:
        """Every requirement that fails, as text."""
        return [f"{r.text}: {'; '.join(what)}" for r in self.needs if (what := r.lacking(spec))]


def _each(capability: str, *slots: str) -> Callable[[Spec], list[str]]:
    def lacking(spec: Spec) -> list[str]:
        return [f"{t.kind} {t.formula} has no {capability}" for slot in slots
                for t in parts(getattr(spec, slot)) if getattr(t, capability) is None]

    return lacking


def _only_theta(allowed: tuple[str, ...]) -> Callable[[Spec], list[str]]:
    def lacking(spec: Spec) -> list[str]:
        return [f"there is also the block {b}" for b in spec.blocks if b not in allowed]

    return lacking


def _separates(spec: Spec) -> list[str]:
    return [f"{t.kind} {t.formula} couples the targets" for t in spec.terms
            if t.separable is None]


def _has_prox(spec: Spec) -> list[str]:
    found = split(spec.loss, spec.regularizer, spec.constraint)
    return [] if found.prox is not None else [found.why]


def _lipschitz_or_kink(spec: Spec) -> list[str]:
    if any(is_kink(t) for t in parts(spec.regularizer)):
        return []
    return [f"{t.kind} {t.formula} has no lipschitz constant" for t in parts(spec.loss)
            if t.lipschitz is None]


def _smooth(spec: Spec) -> list[str]:
    return [f"regularizer {t.formula} is not differentiable" for t in parts(spec.regularizer)
            if is_kink(t)]


def _reachable(spec: Spec) -> list[str]:
    return [f"constraint {t.formula} has no bijector" for t in parts(spec.constraint)
            if t.allows is None and t.bijector is None]


def _bags_rows(spec: Spec) -> list[str]:
    if spec.ensemble is None:
        return []
    return [f"loss {t.formula} does not use cell weights, which bags need"
            for t in parts(spec.loss) if not t.weighted]


def _no_bags(spec: Spec) -> list[str]:
    return [] if spec.ensemble is None else ["bags of a coupled method are not mapped"]


def _has_evidence(spec: Spec) -> list[str]:
    terms = parts(spec.loss)
    if len(terms) == 1 and terms[0].evidence is not None and spec.regularizer is None:
        return []
    return [f"{t.kind} {t.formula} has no evidence" for t in terms + parts(spec.regularizer)
            if t.evidence is None] or ["an evidence loss stands alone"]


SEPARATES = Requirement("separates over targets", _separates)
DELETES = Requirement("the constraint only removes regulators", _each("allows", "constraint"))


def _closed(spec: Spec, moments, tasks, entries, options) -> Fit:
    return closed_form.solve(spec.loss, spec.regularizer, moments, tasks, entries)


def _evidence(spec: Spec, moments, tasks, entries, options) -> Fit:
    view, prior = batching.moment_views(moments, tasks, entries)
    return batching.over_fits(lambda v, p: evidence.solve(spec.loss, v, p), view, prior)


def _start(spec: Spec, prior: PriorView, targets: tuple[int, ...] = ()) -> Blocks:
    zero = jnp.zeros_like(prior.weight)
    blocks = {"theta": zero}
    if "intercept" in spec.blocks:
        blocks["intercept"] = jnp.zeros(targets, zero.dtype)
    return Blocks(**blocks)


def _proximal(spec: Spec, view: View, prior: PriorView, options) -> Fit:
    tolerance, most = options
    pieces = split(spec.loss, spec.regularizer, spec.constraint)

    def one(v, p):
        return proximal.solve(pieces, _start(spec, p), v, p, tolerance, most)

    return batching.over_fits(one, view, prior)


def _proximal_moments(spec: Spec, moments, tasks, entries, options) -> Fit:
    return _proximal(spec, *batching.moment_views(moments, tasks, entries), options)


def _proximal_rows(spec: Spec, rows, tasks, entries, options) -> Fit:
    return _proximal(spec, *batching.row_views(*rows, tasks, entries), options)


def _gradient_rows(spec: Spec, rows, tasks, entries, options) -> Fit:
    tolerance, most = options
    pieces, bijector = _unconstrained(spec)

    def one(v, p):
        return gradient.solve(pieces, bijector, _start(spec, p), v, p, tolerance, most)

    return batching.over_fits(one, *batching.row_views(*rows, tasks, entries))


def _unconstrained(spec: Spec):
    rest = tuple(t for t in parts(spec.constraint) if t.allows is None)
    constraint = sum(rest) if rest else None
    pieces = split(spec.loss, spec.regularizer, constraint)
    return pieces, None if constraint is None else constraint.bijector


def _gradient_network(spec: Spec, view: View, prior: PriorView, options) -> Fit:
    tolerance, most = options
    pieces, bijector = _unconstrained(spec)
    start = _start(spec, prior, view.y.shape[1:])
    return gradient.solve(pieces, bijector, start, view, prior, tolerance, most)


RUNGS = (
    # Exact, one factorisation a fit: a quadratic in theta once constraints have deleted entries.
    Rung("closed form", "moments", _closed, (
        SEPARATES,
        Requirement("only the block theta", _only_theta(("theta",))),
        Requirement("every term is quadratic", _each("quadratic", "loss", "regularizer")),
        DELETES,
    ), COARSE),
    # Hyperparameters of a Gaussian model by their own fixed point, one factorisation a fit.
    Rung("evidence maximisation", "moments", _evidence, (
        SEPARATES, Requirement("the loss is an evidence", _has_evidence), DELETES,
    )),
    # A quadratic loss with a penalty or set that has a prox: cost independent of the cells.
    Rung("proximal gradient on moments", "moments", _proximal_moments, (
        SEPARATES,
        Requirement("only the block theta", _only_theta(("theta",))),
        Requirement("the loss is quadratic", _each("quadratic", "loss")),
        Requirement("regularizer and constraint have a joint prox", _has_prox),
    )),
    # Other smooth losses: rows are needed, steps come from the constant or from backtracking.
    Rung("proximal gradient on rows", "rows", _proximal_rows, (
        SEPARATES,
        Requirement("only the blocks theta and intercept", _only_theta(NUISANCE)),
        Requirement("the loss has a lipschitz constant, or a kink rules gradients out",
                    _lipschitz_or_kink),
        Requirement("regularizer and constraint have a joint prox", _has_prox),
        Requirement("bags are weights", _bags_rows),
    )),
    # Anything differentiable, target by target.
    Rung("gradient (optax L-BFGS)", "rows", _gradient_rows, (
        SEPARATES,
        Requirement("only the blocks theta and intercept", _only_theta(NUISANCE)),
        Requirement("every regularizer is differentiable", _smooth),
        Requirement("the constraint deletes or has a bijector", _reachable),
        Requirement("bags are weights", _bags_rows),
    )),
    # Anything differentiable that couples the targets: the whole network is one problem.
    Rung("gradient (optax L-BFGS) on the whole network", "network", _gradient_network, (
        Requirement("only the blocks theta and intercept", _only_theta(NUISANCE)),
        Requirement("every regularizer is differentiable", _smooth),
        Requirement("the constraint deletes or has a bijector", _reachable),
        Requirement("no bags", _no_bags),
    )),
)


def select(spec: Spec) -> tuple[Rung, list[tuple[Rung, list[str]]]]:
    """Return the first rung that takes the spec, and why those above it do not."""
    refused = []
    for rung in RUNGS:
        lacking = rung.lacking(spec)
        if not lacking:
            return rung, refused
        refused.append((rung, lacking))
    ladder = "; ".join(f"{rung.name} needs: {lacking[0]}" for rung, lacking in refused)
    raise PlanError(f"no solver takes {spec.name!r} ({spec}): {ladder}")


@partial(jax.jit, static_argnames=("solve", "slots"))
def _run(solve, slots, terms, source, tasks: Tasks, entries: Entries, options) -> Fit:
    """One compiled call: terms and data are arguments, so new numbers do not recompile."""
    return solve(_Terms(*slots, terms), source, tasks, entries, options)


@partial(jax.jit, static_argnames=("solve", "slots"))
def _run_network(solve, slots, terms, view: View, prior: PriorView, options) -> Fit:
    return solve(_Terms(*slots, terms), view, prior, options)


class _Terms:
    """The three slots of a spec, rebuilt from traced terms."""

    def __init__(self, losses: int, regularizers: int, constraints: int, terms: tuple):
        cuts = np.cumsum([0, losses, regularizers, constraints])
        slots = [terms[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        self.loss, self.regularizer, self.constraint = (
            sum(s[1:], s[0]) if s else None for s in slots)
        self.blocks = tuple(sorted({"theta", *(b for t in terms for b in t.blocks)}))


@dataclass(frozen=True, eq=False)
class Plan:
    """What will be run; `explain` says why, `solve` runs it."""

    spec: Spec
    data: Data
    problem: Problem
    rung: Rung
    refused: list[tuple[Rung, list[str]]]
    tolerance: float
    max_iterations: int
    hyperparameters: dict[str, Any]

    @property
    def sparse(self) -> bool:
        """True where zeros mean that there is no edge."""
        return any(is_kink(t) for t in parts(self.spec.regularizer))

    @property
    def bags(self) -> int:
        """Fits of each target in each group."""
        return 1 if self.spec.ensemble is None else self.spec.ensemble.bags

    def fit_sizes(self) -> np.ndarray:
        """Number of regulators in one fit of each target."""
        sizes = self.problem.sizes
        if self.spec.ensemble is None:
            return sizes
        return np.where(sizes > 0, self.spec.ensemble.size(np.maximum(sizes, 1)), 0)

    def batches(self) -> list[Batch]:
        """Targets by padded size."""
        return list(batches(self.problem, self.fit_sizes(), self.rung.sizes))

    def provenance(self, seed: int) -> dict[str, Any]:
        """What is needed to run it again."""
        data = self.data
        return {
            "method": self.spec.name,
            "formula": str(self.spec),
            "hyperparameters": dict(self.hyperparameters),
            "seed": int(seed),
            "dtype": data.dtype,
            "solver": self.rung.name,
            "tolerance": self.tolerance,
            "data": {
                **{k: v for k, v in data.origin.items() if v not in (None, [], 0)},
                "cells": int(data.cells),
                "genes": len(data.genes),
                "groups": None if data.groups is None else dict(
                    zip(data.groups, map(int, data.group_sizes), strict=True)),
            },
            "versions": {"unigrn": __version__, "jax": jax.__version__,
                         "numpy": np.__version__},
        }

    def explain(self) -> str:
        """Say in plain text which solver was chosen and why, and what it will cost."""
        problem, data = self.problem, self.data
        q, p = len(problem.regulators), len(problem.targets)
        item = np.dtype(data.dtype).itemsize
        groups = 1 if data.groups is None else len(data.groups)
        lines = [f"{self.spec.name}: {self.spec}", "", f"solver: {self.rung.name}"]
        lines += [f"  holds: {need.text}" for need in self.rung.needs]
        for rung, lacking in self.refused:
            lines.append(f"  not {rung.name}: {'; '.join(lacking)}")
        lines += ["", f"problem: {q:,} regulators x {p:,} targets, "
                  f"{len(problem.candidate):,} candidate edges, {data.cells:,} cells"
                  + (f" in {groups} groups" if data.groups is not None else "")
                  + (f", {self.bags} bags" if self.bags > 1 else "")]
        for name, count in problem.dropped.items():
            if count:
                lines.append(f"  deleted by {name}: {count:,} entries")
        flops = 0.0
        lines.append("batches (targets x padded regulators):")
        for batch in self.batches():
            step = self._chunk(batch)
            calls = math.ceil(len(batch.targets) / step)
            lines.append(f"  {len(batch.targets):,} x {batch.k}: {calls} calls of "
                         f"{self._systems()} systems x {step} targets")
            flops += float((batch.sizes.astype(float) ** 3 / 3).sum()) * self.bags * groups
        if self.rung.reads == "moments":
            weight = 2.0 * q * (q + p) * data.cells * self.bags
            lines.append(f"memory: moments {self._moment_bytes() / 1e6:,.0f} MB at a time, "
                         f"whatever the number of cells")
            lines.append(f"arithmetic: {weight / 1e9:,.2f} GFLOP for the moments (one pass), "
                         f"{flops / 1e9:,.2f} GFLOP per factorisation of all fits")
        else:
            lines.append(f"memory: rows {data.cells * (q + p) * item / 1e6:,.0f} MB")
        device = jax.devices()[0]
        lines.append(f"device: {device.platform} ({device.device_kind}), {data.dtype}")
        return "\n".join(lines)

    def solve(self, seed: int = 0) -> Solution:
        """Run the plan. The same seed gives the same solution."""
        if isinstance(seed, bool) or int(seed) != seed or seed < 0:
            raise ValueError(f"seed must be a whole number >= 0, got {seed!r}")
        with precision(self.data.dtype):
            return _Run(self, int(seed)).solution()

    def _systems(self) -> int:
        return self.bags

    def _moment_bytes(self) -> int:
        q, p = padded(len(self.problem.regulators) + 1), padded(len(self.problem.targets))
        item = np.dtype(self.data.dtype).itemsize
        groups = len(self.data.group_sizes)
        return groups * self.bags * q * (q + p) * item

    def _chunk(self, batch: Batch) -> int:
        item = np.dtype(self.data.dtype).itemsize
        if self.rung.reads == "rows":
            per_fit = int(self.data.group_sizes.max()) * batch.k * item
        elif self.rung.name == "closed form":
            per_fit = 12 * batch.k * item
        else:
            per_fit = batch.k * batch.k * item
        return chunk_size(per_fit * self.bags, len(batch.targets), CHUNK)


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Run JAX in double precision where asked for, and leave its settings as they were."""
    with jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext():
        yield


def plan(
    spec: Spec,
    data: Data,
    regulators: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    *,
    tolerance: float | None = None,
    max_iterations: int = 5000,
    hyperparameters: dict[str, Any] | None = None,
) -> Plan:
    """Join a spec and data, and choose the solver. No cell is read.

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
        Iterative solvers stop at this stationarity, relative to the gradient at 0; by default
        1e-9 in float64 and 1e-5 in float32.
    max_iterations
        Their cap.

    Raises
    ------
    PlanError
        No solver takes the spec.
    AlignmentError
        Names of prior and data do not match.
    """
    if not isinstance(spec, Spec):
        raise TypeError(f"plan needs a Spec, got {type(spec).__name__}")
    rung, refused = select(spec)
    if data.weights is not None:
        lost = [t.formula for t in parts(spec.loss) if not t.weighted]
        if lost:
            raise PlanError(f"the cells have weights, which the loss {lost[0]} does not say it "
                            "uses; wrap it by unigrn.loss(function, weighted=True)")
    if tolerance is None:
        tolerance = 1e-9 if data.dtype == "float64" else 1e-5
    problem = build(spec, data, regulators, targets)
    return Plan(spec, data, problem, rung, refused, float(tolerance), int(max_iterations),
                dict(hyperparameters or {}))


class _Run:
    """One execution of a plan: accumulators on the host, filled job by job."""

    def __init__(self, plan: Plan, seed: int):
        self.plan, self.seed = plan, seed
        self.spec, self.data, self.problem = plan.spec, plan.data, plan.problem
        groups = len(self.data.group_sizes)
        shape = (groups, len(self.problem.targets))
        entries = len(self.problem.candidate)
        dtype = self.data.dtype
        self.draws = np.zeros((groups, plan.bags, entries), dtype)
        self.drawn = None if self.spec.ensemble is None else np.zeros(
            (groups, plan.bags, entries), bool)
        self.status = np.full(shape, Status.NO_CANDIDATES, np.int32)
        self.residual = np.full(shape, np.nan)
        self.iterations = np.zeros(shape, np.int64)
        self.extra: dict[str, np.ndarray] = {}
        self.entries = self.problem.entries(dtype)
        slots = (self.spec.loss, self.spec.regularizer, self.spec.constraint)
        self.slots = tuple(len(parts(s)) for s in slots)
        self.terms = self.spec.terms
        self.options = (np.asarray(plan.tolerance, dtype), np.int32(plan.max_iterations))
        genes = np.union1d(self.problem.regulators, self.problem.targets)
        self.genes = genes
        self.columns = self.data.columns(genes)
        self.x = np.searchsorted(genes, self.problem.regulators)
        self.y = np.searchsorted(genes, self.problem.targets)
        self.statistics: GeneStatistics | None = None

    # ---------------------------------------------------------------- reading

    def solution(self) -> Solution:
        reads = self.plan.rung.reads
        if reads == "moments":
            self._moments()
        elif reads == "rows":
            self._rows()
        else:
            self._network()
        return self._finish()

    def _check(self, overall: GeneStatistics, by_group: list[GeneStatistics]) -> None:
        if overall.bad is not None:
            names = self.genes[overall.bad]
            raise ValueError(f"{len(names)} genes hold NaN or infinite values, e.g. "
                             f"{', '.join(names[:3])}; remove or impute them first")
        self.statistics, self.by_group = overall, by_group

    def _scales(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors that regulators and targets are multiplied by."""
        one_x, one_y = np.ones(len(self.x)), np.ones(len(self.y))
        if self.spec.scale is None:
            return one_x, one_y
        factor = 1 / self.statistics.deviation
        return factor[self.x], factor[self.y] if self.spec.scale == "both" else one_y

    def _moments(self) -> None:
        if self.spec.ensemble is not None and self.spec.ensemble.draws == "released":
            self._released()
            return
        data, groups = self.data, len(self.data.group_sizes)
        q = padded(len(self.x) + 1)
        width = self._target_width(q)
        for first in range(0, len(self.y), width):
            part = np.arange(first, min(first + width, len(self.y)))
            sums = [GroupSums(q, padded(len(part)), data.dtype) for _ in range(groups)]
            weights = [self._weights(g) for g in range(groups)]
            done = 0

            def feed(block, sums=sums, weights=weights, part=part):
                nonlocal done
                weight = weights[block.group](block.start, block.start + len(block.values))
                sums[block.group].add(block, weight, self.x, self.y[part])
                done += len(block.values)
                progress.report("reading cells", done, data.cells)

            self._check(*gather(data.blocks(self.columns), feed, len(self.genes), groups))
            scale_x, scale_y = self._scales()
            for g in range(groups):
                moments = sums[g].finish(self.x, self.y[part], scale_x, scale_y[part])
                sums[g] = None
                self._solve_moments(g, moments, part)
                progress.report("groups solved", g + 1, groups)

    def _target_width(self, q: int) -> int:
        """Targets per pass over the cells, so that the moments stay within memory."""
        item = np.dtype(self.data.dtype).itemsize
        systems = self.plan.bags * len(self.data.group_sizes)
        room = MEMORY // (systems * item * q) - q
        return max(256, room)

    def _weights(self, group: int) -> Callable[[int, int], np.ndarray]:
        """Weights of the cells at positions start..stop-1 of a group, (systems, cells)."""
        own = None
        if self.data.weights is not None:
            own = self.data.weights[self.data.positions(group)]
        if self.spec.ensemble is None:
            if own is None:
                return lambda start, stop: np.ones((1, stop - start), self.data.dtype)
            return lambda start, stop: own[None, start:stop]
        cells = int(self.data.group_sizes[group])
        counts = self.spec.ensemble.counts(cells, group, self.seed)
        if own is None:
            return counts.read
        return lambda start, stop: counts.read(start, stop) * own[None, start:stop]

    def _released(self) -> None:
        """Bags of the released program: cell weights depend on the number of candidates."""
        ensemble, data = self.spec.ensemble, self.data
        groups = len(data.group_sizes)
        held: list[list[np.ndarray]] = [[] for _ in range(groups)]
        self._check(*gather(data.blocks(self.columns),
                            lambda block: held[block.group].append(block), len(self.genes),
                            groups))
        scale_x, scale_y = self._scales()
        q = padded(len(self.x) + 1)
        sizes = np.unique(self.problem.sizes[self.problem.sizes > 0])
        for g in range(groups):
            cells = int(data.group_sizes[g])
            own = None if data.weights is None else data.weights[data.positions(g)]
            for i, candidates in enumerate(sizes):
                part = np.flatnonzero(self.problem.sizes == candidates)
                weight = ensemble.released_counts(cells, int(candidates))
                weight = weight if own is None else weight * own
                sums = GroupSums(q, chunk_size(1, len(part), CHUNK), data.dtype)
                for block in held[g]:
                    stop = block.start + len(block.values)
                    sums.add(block, weight[:, block.start:stop], self.x, self.y[part])
                moments = sums.finish(self.x, self.y[part], scale_x, scale_y[part])
                self._solve_moments(g, moments, part)
                progress.report("fitting", g * len(sizes) + i + 1, groups * len(sizes))

    def _held_rows(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return all rows of each group: (cells, regulators) and (cells, targets), scaled."""
        groups = len(self.data.group_sizes)
        held: list[list[np.ndarray]] = [[] for _ in range(groups)]
        self._check(*gather(self.data.blocks(self.columns),
                            lambda b: held[b.group].append(b.values), len(self.genes), groups))
        scale_x, scale_y = self._scales()
        dtype = self.data.dtype
        out = []
        for values in held:
            rows = np.concatenate(values)
            out.append(((rows[:, self.x] * scale_x).astype(dtype),
                        (rows[:, self.y] * scale_y).astype(dtype)))
        return out

    def _rows(self) -> None:
        weighted = bool(self.spec.loss.weighted)
        part = np.arange(len(self.y))
        for g, (x, y) in enumerate(self._held_rows()):
            rows, weight = len(x), None
            if weighted:
                # Rows of weight 0 bring the number of cells to one of few sizes.
                rows = padded_rows(len(x))
                own = self._weights(g)(0, len(x))
                weight = np.zeros((own.shape[0], rows), self.data.dtype)
                weight[:, :len(x)] = own
            wide = np.zeros((rows, padded(x.shape[1] + 1)), self.data.dtype)
            wide[:len(x), :x.shape[1]] = x
            tall = np.zeros((rows, padded(y.shape[1])), self.data.dtype)
            tall[:len(y), :y.shape[1]] = y
            self._solve(g, (wide, tall, weight), part, self.plan.bags)
            progress.report("groups solved", g + 1, len(self.data.group_sizes))

    def _network(self) -> None:
        problem, dtype = self.problem, self.data.dtype
        q, p = len(problem.regulators), len(problem.targets)
        where = (problem.candidate, problem.entry_target)

        def dense(values, kind):
            out = np.zeros((q, p), kind)
            out[where] = values
            return out

        v = problem.prior
        prior = PriorView(dense(v.support, bool), dense(v.weight, dtype), dense(v.sign, np.int32),
                          dense(v.self_edge, bool), dense(True, bool),
                          {k: dense(layer, dtype) for k, layer in v.layers.items()})
        for g, (x, y) in enumerate(self._held_rows()):
            weight = self._weights(g)(0, len(x))[0].astype(dtype)
            fit = _run_network(self.plan.rung.solve, self.slots, self.terms,
                               View(None, x, y, weight), prior, self.options)
            self.draws[g, 0] = np.asarray(fit.theta)[where]
            live = problem.sizes > 0
            self.status[g, live] = int(fit.status)
            self.residual[g, live] = float(fit.residual)
            self.iterations[g, live] = int(fit.iterations)
            for name, values in fit.extra.items():
                self._extra(name, (len(self.data.group_sizes), p))[g] = np.asarray(values)

    # ---------------------------------------------------------------- solving

    def _solve_moments(self, group: int, moments: Moments, part: np.ndarray) -> None:
        self._solve(group, moments, part, moments.count.shape[0])

    def _tables(self, k: int, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict]:
        """Positions of each number of candidates: table (rows, k), first row of each size."""
        ensemble = self.spec.ensemble
        rows, first = [np.full((1, k), -1, np.int32)], {}
        count = 1
        for size in np.unique(sizes):
            if ensemble is None:
                own = np.arange(size)[None, :]
            else:
                own = np.sort(ensemble.features(int(size), self.seed), axis=1)
            first[int(size)] = (count, own)
            table = np.full((len(own), k), -1, np.int32)
            table[:, :own.shape[1]] = own
            rows.append(table)
            count += len(own)
        table = np.full((padded(count), k), -1, np.int32)
        table[:count] = np.concatenate(rows)
        return table, first

    def _solve(self, group: int, source: Any, part: np.ndarray, systems: int) -> None:
        """Fit the targets ``part`` (columns of ``source``) in every system, bucket by bucket."""
        plan, problem = self.plan, self.problem
        column = np.full(len(problem.targets), -1)
        column[part] = np.arange(len(part))
        fits = []
        for batch in plan.batches():
            chosen = batch.targets[column[batch.targets] >= 0]
            if not len(chosen):
                continue
            # Fits of like size side by side: padding within a compiled call costs little.
            chosen = chosen[np.argsort(problem.sizes[chosen], kind="stable")]
            table, first = self._tables(batch.k, problem.sizes[chosen])
            step = min(plan._chunk(batch), chunk_size(1, len(chosen), CHUNK))
            for start in range(0, len(chosen), step):
                own = chosen[start:start + step]
                tasks = self._tasks(own, column, table, first, systems, step)
                fit = _run(plan.rung.solve, self.slots, self.terms, source, tasks, self.entries,
                           self.options)
                fits.append((own, first, fit))
        for own, first, fit in fits:
            self._store(group, own, first, systems, fit)

    def _tasks(self, own, column, table, first, systems: int, step: int) -> Tasks:
        row = np.zeros((systems, step), np.int32)
        begin = np.array([first[s][0] for s in self.problem.sizes[own]], np.int32)
        bag = np.arange(systems)[:, None] if self.spec.ensemble is not None else 0
        row[:, :len(own)] = begin[None, :] + bag
        target = np.zeros(step, np.int32)
        target[:len(own)] = column[own]
        start = np.zeros(step, np.int32)
        start[:len(own)] = self.problem.indptr[own]
        return Tasks(target, start, row, table)

    def _store(self, group: int, own, first, systems: int, fit: Fit) -> None:
        """Put the fits of a batch back to their entries."""
        problem = self.problem

        def shaped(values):
            values = np.asarray(values)
            return values.reshape(systems, -1, *values.shape[1:])[:, :len(own)]

        theta = shaped(fit.theta)
        sizes = problem.sizes[own]
        per_entry = {n: shaped(v) for n, v in fit.extra.items() if v.ndim == 2}
        per_target = {n: shaped(v) for n, v in fit.extra.items() if v.ndim == 1}
        for size in np.unique(sizes):
            mine = np.flatnonzero(sizes == size)
            places = first[int(size)][1]  # (bags or 1, k)
            entry = problem.indptr[own[mine]][None, :, None] + places[:, None, :]
            bag = np.arange(systems)[:, None, None]
            width = places.shape[1]
            self.draws[group, bag, entry] = theta[:, mine, :width]
            if self.drawn is not None:
                self.drawn[group, bag, entry] = True
            for name, values in per_entry.items():
                out = self._extra(name, (len(self.draws), self.draws.shape[-1]))
                out[group, entry[0]] = values[0][mine, :width]
        for name, values in per_target.items():
            self._extra(name, self.status.shape)[group, own] = values[0]
        status = shaped(fit.status)
        worst = status.max(axis=0)
        self.status[group, own] = worst
        self.residual[group, own] = shaped(fit.residual).max(axis=0)
        self.iterations[group, own] = shaped(fit.iterations).max(axis=0)

    def _extra(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return self.extra.setdefault(name, np.full(shape, np.nan))

    # -------------------------------------------------------------- finishing

    def _finish(self) -> Solution:
        spec, dtype = self.spec, self.data.dtype
        constant_y = np.stack([s.constant[self.y] for s in self.by_group])
        found = (self.status != Status.NO_CANDIDATES) & (self.status != Status.NOT_FINITE)
        self.status[constant_y & found] = Status.CONSTANT_TARGET
        entries = self.draws.shape[-1]
        statistics: dict[str, np.ndarray] = {}
        if spec.ensemble is None:
            weights = self.draws[:, 0]
        else:
            flat = [bag_statistics(d, m) for d, m in zip(self.draws, self.drawn, strict=True)]
            stacked = {k: np.stack([f[k] for f in flat]) for k in flat[0]}
            weights = stacked.pop("weight").astype(dtype)
            statistics.update(stacked)
        bad = self.status == Status.NOT_FINITE
        if bad.any():
            weights = np.where(bad[:, self.problem.entry_target], np.nan, weights)
        per_entry = {k: v for k, v in self.extra.items() if v.shape[1] == entries
                     and k == "variance"}
        blocks = {k: v for k, v in self.extra.items() if k not in per_entry}
        statistics.update(per_entry)
        if spec.readout is not None:
            statistics.update(spec.readout({"weight": weights, **statistics}))
        return Solution(self.plan, weights, statistics, blocks, self.status, self.residual,
                        self.iterations, self.seed, *self._remarks(weights, statistics))

    def _remarks(self, weights, statistics) -> tuple[list, list[str]]:
        """Lines for the report: what is constant, undefined, small or not converged."""
        lines: list[tuple[str, int, str, tuple[str, ...]]] = []
        data, problem = self.data, self.problem
        names = [None] if data.groups is None else list(data.groups)

        def where(group):
            return "" if group is None else f" in group {group}"

        for group in data.origin.get("empty_groups", []):
            lines.append(("group empty", 1, f"group {group} has no cell: no edges", ()))
        without = data.origin.get("cells_without_group", 0)
        if without:
            lines.append(("cells without group", without,
                          f"{without:,} cells have no group and are left out", ()))
        for g, group in enumerate(names):
            size = int(data.group_sizes[g])
            if size == 1:
                lines.append(("group with one cell", 1, f"one cell only{where(group)}: every "
                              "coefficient is 0 and p is undefined", ()))
            else:
                for what, columns, label in (("regulators", self.x, problem.regulators),
                                             ("targets", self.y, problem.targets)):
                    flat = self.by_group[g].constant[columns]
                    if flat.any():
                        lines.append((f"constant {what}", int(flat.sum()),
                                      f"{int(flat.sum()):,} {what} are constant{where(group)}: "
                                      "their coefficients are 0", tuple(label[flat][:5].tolist())))
            failed = np.isin(self.status[g], FAILED)
            for code in np.unique(self.status[g][failed]):
                hit = self.status[g] == code
                lines.append((f"fits {Status(code).name.lower()}", int(hit.sum()),
                              f"{int(hit.sum()):,} targets{where(group)}: "
                              f"{Status(code).message}", tuple(problem.targets[hit][:5].tolist())))
        if "p" in statistics:
            shown = ~np.isnan(weights)
            undefined = int((np.isnan(statistics["p"]) & shown).sum())
            if undefined:
                lines.append(("p undefined", undefined, f"{undefined:,} of {int(shown.sum()):,} "
                              "edges have no defined p: left empty", ()))
        if self.drawn is not None:
            never = int((~self.drawn.any(axis=1)).sum())
            if never:
                lines.append(("edges never drawn", never,
                              f"{never:,} candidate edges were drawn in no bag: left out", ()))
        return lines, self._suspicions()

    def _suspicions(self) -> list[str]:
        """What looks wrong for the method."""
        out = []
        s, expects = self.statistics, self.spec.expects
        values = s.cells * len(self.genes)
        zeros = 1 - s.nonzero / values
        low, high = float(s.minimum.min()), float(s.maximum.max())
        if "log" in expects:
            if not s.fractional and low >= 0 and high > 1:
                out.append(f"{self.spec.name} expects log-normalised, imputed expression, but "
                           "every value is a whole number: these look like raw counts; give "
                           "--layer (layer=) the normalised or imputed layer")
            elif high > 100 and low >= 0:
                out.append(f"{self.spec.name} expects log-scale expression, but values reach "
                           f"{high:,.0f}: this looks unlogged; use log1p of normalised counts")
        if "imputed" in expects and zeros > 0.5 and (s.fractional or high <= 1):
            out.append(f"{100 * zeros:.0f} % of the values are zero: far sparser than the "
                       f"imputed layer that {self.spec.name} was made for; give the layer "
                       "after k-nearest-neighbour smoothing")
        return out


__all__ = ["Plan", "PlanError", "Requirement", "Rung", "RUNGS", "plan", "precision", "select"]
