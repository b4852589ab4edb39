"""Plan: which solver and why, and in which batches.

`RUNGS` is one ordered ladder; a plan takes the first rung whose every requirement holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn import __version__
from unigrn.data import Data
from unigrn.losses import check_number, check_whole
from unigrn.moments import padded
from unigrn.problem import (
    COARSE,
    FINE,
    Batch,
    Problem,
    batches,
    build,
    chunk_size,
)
from unigrn.solution import Solution
from unigrn.solvers import batching, closed_form, evidence, gradient, proximal
from unigrn.solvers.batching import Fit
from unigrn.solvers.split import is_kink, split
from unigrn.spec import Spec
from unigrn.terms import Blocks, PriorView, View, parts

MEMORY = 1 << 30  # bytes that the moments of one pass over the cells may take
CHUNK = 1 << 27  # bytes that one compiled call may gather
FITS = 10240  # fits in one compiled call
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
    double: bool = False  # works in double precision whatever the data's

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


def _free_draws(spec: Spec) -> list[str]:
    released = spec.ensemble is not None and spec.ensemble.draws == "released"
    return ["released draws are made for moments"] if released else []


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
    ), double=True),  # the residual variance is a small difference of large sums
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
        Requirement("shared draws", _free_draws),
    )),
    # Anything differentiable, target by target.
    Rung("gradient (optax L-BFGS)", "rows", _gradient_rows, (
        SEPARATES,
        Requirement("only the blocks theta and intercept", _only_theta(NUISANCE)),
        Requirement("every regularizer is differentiable", _smooth),
        Requirement("the constraint deletes or has a bijector", _reachable),
        Requirement("bags are weights", _bags_rows),
        Requirement("shared draws", _free_draws),
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
    def dtype(self) -> str:
        """Precision of the arithmetic."""
        return "float64" if self.rung.double else self.data.dtype

    @property
    def bags(self) -> int:
        """Fits of each target in each group."""
        return 1 if self.spec.ensemble is None else self.spec.ensemble.bags

    def fit_sizes(self) -> np.ndarray:
        """Count the regulators in one fit of each target."""
        sizes = self.problem.sizes
        if self.spec.ensemble is None:
            return sizes
        return np.where(sizes > 0, self.spec.ensemble.size(np.maximum(sizes, 1)), 0)

    def batches(self) -> list[Batch]:
        """Targets by padded size."""
        return list(batches(self.problem, self.fit_sizes(), self.rung.sizes))

    def provenance(self, seed: int) -> dict[str, Any]:
        """Return what is needed to run it again."""
        data = self.data
        return {
            "method": self.spec.name,
            "formula": str(self.spec),
            "hyperparameters": dict(self.hyperparameters) or self.spec.hyperparameters,
            "seed": int(seed),
            "dtype": data.dtype,
            "solver": self.rung.name,
            "tolerance": self.tolerance,
            "max_iterations": self.max_iterations,
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
            total = len(batch.targets) * (1 + self.spec.permutations)
            step = self.chunk(batch, total)
            calls = groups * math.ceil(total / step)
            lines.append(f"  {len(batch.targets):,} x {batch.k}: {calls} "
                         f"call{'s' if calls > 1 else ''} of {self.bags} x {step} fits")
            flops += float((batch.sizes.astype(float) ** 3 / 3).sum()) * self.bags * groups
        lines += self._reading()
        if self.rung.reads == "moments":
            lines.append(f"arithmetic: {flops / 1e9:,.2f} GFLOP per factorisation of all fits")
        device = jax.devices()[0]
        lines.append(f"device: {device.platform} ({device.device_kind}), {data.dtype}")
        return "\n".join(lines)

    def solve(self, seed: int = 0) -> Solution:
        """Run the plan. The same seed gives the same solution."""
        from unigrn.run import precision, run

        seed = check_whole("seed", seed)
        with precision(self.dtype):
            return run(self, seed)

    def width(self) -> int:
        """Targets per pass over the cells: as many as keep the moments within memory.

        At least as many as regulators, so that the Gram matrices, which every pass sums again, stay
        the smaller part of the work.
        """
        q, item = padded(len(self.problem.regulators) + 1), np.dtype(self.dtype).itemsize
        room = MEMORY // (self.bags * len(self.data.group_sizes) * item * q) - q
        return max(64, q, room // (1 + self.spec.permutations))

    def _reading(self) -> list[str]:
        """Lines on memory and arithmetic of the pass over the cells."""
        data, spec = self.data, self.spec
        q, p = len(self.problem.regulators), len(self.problem.targets)
        item, copies = np.dtype(self.dtype).itemsize, 1 + spec.permutations
        if self.rung.reads != "moments":
            return [f"memory: rows {data.cells * (q + p * copies) * item / 1e6:,.0f} MB"]
        grams, width, systems = 1, min(self.width(), p), self.bags * len(data.group_sizes)
        held = ""
        if spec.ensemble is not None and spec.ensemble.draws == "released":
            grams, width, systems = len(np.unique(self.problem.sizes)), p, self.bags
            held = f" and rows {data.cells * (q + p) * item / 1e6:,.0f} MB"
        else:
            grams = math.ceil(p / width)
            held = ", whatever the number of cells"
        size = systems * padded(q + 1) * (padded(q + 1) + padded(width * copies)) * item
        work = 2.0 * q * (q * grams + p * copies) * data.cells * self.bags
        return [f"memory: moments {size / 1e6:,.0f} MB{held}",
                f"arithmetic: {work / 1e9:,.2f} GFLOP for the moments ({grams} "
                f"pass{'es' if grams > 1 else ''} over the cells)"]

    def chunk(self, batch: Batch, total: int) -> int:
        """Targets in one compiled call."""
        item = np.dtype(self.dtype).itemsize
        if self.rung.reads == "rows":
            per_fit = int(self.data.group_sizes.max()) * batch.k * item
        elif self.rung.sizes is COARSE:
            per_fit = 12 * batch.k * item  # its matrices are never formed
        else:
            per_fit = batch.k * batch.k * item
        # Several calls run side by side, one a core, so a call takes part of the targets only.
        fits = min(CHUNK / per_fit, FITS if self.rung.sizes is COARSE else FITS / 8)
        return chunk_size(total, fits / self.bags)


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
        1e-9 in float64 and 1e-6 in float32.
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
        tolerance = 1e-9 if data.dtype == "float64" else 1e-6
    tolerance = check_number("tolerance", tolerance)
    max_iterations = check_whole("max_iterations", max_iterations)
    problem = build(spec, data, regulators, targets)
    return Plan(spec, data, problem, rung, refused, tolerance, max_iterations,
                dict(hyperparameters or {}))
