"""Plan: which solver and why, and in which batches.

`RUNGS` is one ordered ladder; a plan takes the first rung whose every requirement holds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from unigrn import __version__
from unigrn.backend import over_fits, precision
from unigrn.check import check_number, check_whole
from unigrn.data import Data
from unigrn.moments import padded
from unigrn.problem import COARSE, FINE, Batch, Problem, batches, build, chunk_size
from unigrn.solution import Solution
from unigrn.solvers import (
    batching,
    closed_form,
    columns,
    evidence,
    gradient,
    palm,
    proximal,
    stochastic,
)
from unigrn.solvers.batching import Fit
from unigrn.solvers.split import split
from unigrn.spec import Slots, Spec, Sweeps
from unigrn.terms import AXES, Blocks, PriorView, View, joint_project, joint_prox, parts

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
    pads: bool = False  # takes a whole network that is padded to one of few sizes

    def lacking(self, spec: Spec) -> list[str]:
        """Every requirement that fails, as text."""
        out = []
        for need in self.needs:
            if what := need.lacking(spec):
                more = f" (and {len(what) - 1} more)" if len(what) > 1 else ""
                out.append(f"{need.text}: {what[0]}{more}")
        return out


def _each(capability: str, *slots: str) -> Callable[[Spec], list[str]]:
    def lacking(spec: Spec) -> list[str]:
        return [
            f"{t.kind} {t.formula} has no {capability}"
            for slot in slots
            for t in parts(getattr(spec, slot))
            if getattr(t, capability) is None
        ]

    return lacking


def _only_theta(spec: Spec) -> list[str]:
    return [f"there is also the block {b}" for b in spec.blocks if b != "theta"]


def _started(spec: Spec) -> list[str]:
    if spec.start is not None:
        return []
    if spec.restarts > 1:
        return [f"{spec.restarts} restarts need a start that draws"]
    return [
        f"there is also the block {b}, which has no start" for b in spec.blocks if b not in NUISANCE
    ]


def _no_shift(spec: Spec) -> list[str]:
    loose = [t for t in parts(spec.loss) if not getattr(t, "intercept", True)]
    if spec.scale in ("standard", "range") and loose:
        return [f"scale {spec.scale!r} centres the genes, and {loose[0].formula} has no intercept"]
    return []


def _quiet(spec: Spec) -> list[str]:
    return [f"{t.kind} {t.formula} draws noise" for t in parts(spec.loss) if t.noisy]


def _draws_noise(spec: Spec) -> list[str]:
    return [] if any(t.noisy for t in parts(spec.loss)) else ["no loss draws noise"]


def _one_start(spec: Spec) -> list[str]:
    return [] if spec.restarts == 1 else [f"{spec.restarts} restarts need a whole network"]


def _no_copies(spec: Spec) -> list[str]:
    if not spec.permutations:
        return []
    return [
        "permuted copies of all cells alike leave a method without regulators' expression unchanged"
    ]


def _swept(spec: Spec) -> list[str]:
    out = [f"block {b} has no step" for b in spec.blocks if b not in {s.block for s in spec.steps}]
    for step in spec.steps:
        b = step.block
        if step.sample is not None and AXES.get(b, ("",))[-1] not in ("targets", "regulators"):
            out.append(f"block {b} has no columns of targets or regulators to sample")
        if step.kind == "point":
            out += [
                f"{t.kind} {t.formula} is no sum of squares in {b}"
                for t in spec.terms
                if b in t.blocks and (t.kind == "constraint" or b not in t.linear)
            ]
            continue
        out += [
            f"{t.kind} {t.formula} has neither squares nor a lipschitz constant in {b}"
            for t in palm.smooth_terms(spec, b)
            if b not in t.linear and (t.lipschitz is None or t.block != b)
        ]
        kinks, sets = palm.proximal_terms(spec, b), palm.constraints(spec, b)
        if kinks and joint_prox(kinks) is None:
            out.append(f"no rule gives the joint prox of {' + '.join(t.formula for t in kinks)}")
        if sets and joint_project(sets) is None:
            out.append(f"no rule gives the projection onto {' ∩ '.join(t.formula for t in sets)}")
        if sets and any(
            t.price is not None or (t.budget is not None and kinks) for t in (*kinks, *sets)
        ):
            out.append(
                "no rule joins the prox of "
                f"{' + '.join(t.formula for t in kinks)} and {sets[0].formula}"
            )
    return out


def _separates(spec: Spec) -> list[str]:
    return [f"{t.kind} {t.formula} couples the targets" for t in spec.terms if t.separable is None]


def _has_prox(spec: Spec) -> list[str]:
    found = split(spec.loss, spec.regularizer, spec.constraint)
    return [] if found.prox is not None else [found.why]


def _lipschitz_or_kink(spec: Spec) -> list[str]:
    if any(t.kink for t in parts(spec.regularizer)):
        return []
    return [
        f"{t.kind} {t.formula} has no lipschitz constant"
        for t in parts(spec.loss)
        if t.lipschitz is None
    ]


def _smooth(spec: Spec) -> list[str]:
    return [
        f"regularizer {t.formula} is not differentiable" for t in parts(spec.regularizer) if t.kink
    ]


def _reachable(spec: Spec) -> list[str]:
    return [
        f"constraint {t.formula} has no bijector"
        for t in parts(spec.constraint)
        if t.allows is None and t.bijector is None
    ]


def _bags_rows(spec: Spec) -> list[str]:
    if spec.ensemble is None:
        return []
    return [
        f"loss {t.formula} does not use cell weights, which bags need"
        for t in parts(spec.loss)
        if not t.weighted
    ]


def _free_draws(spec: Spec) -> list[str]:
    released = spec.ensemble is not None and spec.ensemble.draws == "released"
    return ["released draws are made for moments"] if released else []


def _no_bags(spec: Spec) -> list[str]:
    return [] if spec.ensemble is None else ["bags of a coupled method are not mapped"]


def _has_evidence(spec: Spec) -> list[str]:
    terms = parts(spec.loss)
    if len(terms) == 1 and terms[0].evidence is not None and spec.regularizer is None:
        return []
    return [
        f"{t.kind} {t.formula} has no evidence"
        for t in terms + parts(spec.regularizer)
        if t.evidence is None
    ] or ["an evidence loss stands alone"]


SEPARATES = Requirement("separates over targets", _separates)
STARTED = Requirement("every block has a start", _started)
QUIET = Requirement("the loss draws no noise", _quiet)
ONE = Requirement("one start", _one_start)
DELETES = Requirement("the constraint only removes regulators", _each("allows", "constraint"))


def _closed(spec: Slots, moments, tasks, entries, options) -> Fit:
    return closed_form.solve(spec.loss, spec.regularizer, moments, tasks, entries)


def _evidence(spec: Slots, moments, tasks, entries, options) -> Fit:
    view, prior = batching.moment_views(moments, tasks, entries)
    return over_fits(lambda v, p: evidence.solve(spec.loss, v, p), view, prior)


def _proximal(spec: Slots, view: View, prior: PriorView, options) -> Fit:
    tolerance, most, _ = options
    pieces = split(spec.loss, spec.regularizer, spec.constraint)

    def one(v, p):
        return proximal.solve(pieces, spec.start(v, p, v.key), v, p, tolerance, most)

    return over_fits(one, view, prior)


def _proximal_moments(spec: Slots, moments, tasks, entries, options) -> Fit:
    return _proximal(spec, *batching.moment_views(moments, tasks, entries), options)


def _proximal_rows(spec: Slots, rows, tasks, entries, options) -> Fit:
    return _proximal(spec, *batching.row_views(*rows, options[-1], tasks, entries), options)


def _gradient_rows(spec: Slots, rows, tasks, entries, options) -> Fit:
    tolerance, most, key = options
    pieces, bijector = _unconstrained(spec)

    def one(v, p):
        return gradient.solve(pieces, bijector, spec.start(v, p, v.key), v, p, tolerance, most)

    return over_fits(one, *batching.row_views(*rows, key, tasks, entries))


def _stochastic_rows(spec: Slots, rows, tasks, entries, options) -> Fit:
    tolerance, most, key = options
    pieces = split(spec.loss, spec.regularizer, None)

    def one(v, p):
        return stochastic.solve(pieces.smooth, spec.start(v, p, v.key), v, p, tolerance, most)

    return over_fits(one, *batching.row_views(*rows, key, tasks, entries))


def _unconstrained(spec: Slots):
    rest = tuple(t for t in parts(spec.constraint) if t.allows is None)
    constraint = sum(rest) if rest else None
    pieces = split(spec.loss, spec.regularizer, constraint)
    return pieces, None if constraint is None else constraint.bijector


@partial(jax.jit, static_argnames=("shape",))
def _gradient_fits(shape, terms, view: View, prior: PriorView, keys, options) -> palm.Outcome:
    tolerance, most, *_ = options
    spec = Slots(shape, terms)
    pieces, bijector = _unconstrained(spec)

    def one(key):
        start = spec.start(view, prior, key)
        found = gradient.solve(pieces, bijector, start, view, prior, tolerance, most)
        params = Blocks(theta=found.theta, **found.by_entry, **found.by_target)
        value = pieces.smooth(params, view, prior)
        return palm.Outcome(
            params, found.status, found.residual, found.iterations, value, jnp.zeros(0, value.dtype)
        )

    return palm.over_starts(one, keys)


def _gradient_network(shape, terms, view, prior, keys, options, history, report):
    return _gradient_fits(shape, terms, view, prior, keys, options)


def _palm_network(shape, terms, view, prior, keys, options, history, report):
    relative, most, absolute = options
    limits = (relative, absolute, most)
    # LAPACK's own threads would only wait for those of the compiled program.
    with threadpool_limits(1, "blas"):
        terms, states = palm.begin(shape, terms, view, prior, keys, history)
        # The compiled loop is left about once a second, for progress and interrupts.
        done, stretch = 0, 1
        while True:
            began = time.perf_counter()
            states = palm.advance(
                shape, terms, states, view, prior, keys, limits, np.int32(done + stretch)
            )
            done = int(jnp.max(states.count))
            report(done, int(most))
            if bool(jnp.all(states.done)) or done >= int(most):
                break
            stretch = max(1, int(stretch * min(4.0, 1 / (time.perf_counter() - began + 1e-9))))
        return palm.finish(shape, terms, states, view, prior, limits)


RUNGS = (
    # Exact, one factorisation a fit: a quadratic in theta once constraints have deleted entries.
    Rung(
        "closed form",
        "moments",
        _closed,
        (
            SEPARATES,
            Requirement("only the block theta", _only_theta),
            Requirement("moments do", _no_shift),
            Requirement("every term is quadratic", _each("quadratic", "loss", "regularizer")),
            DELETES,
        ),
        COARSE,
    ),
    # Hyperparameters of a Gaussian model by their own fixed point, one factorisation a fit.
    Rung(
        "evidence maximisation",
        "moments",
        _evidence,
        (SEPARATES, Requirement("the loss is an evidence", _has_evidence), DELETES),
        double=True,
    ),  # the residual variance is a small difference of large sums
    # A quadratic loss with a penalty or set that has a prox: cost independent of the cells.
    Rung(
        "proximal gradient on moments",
        "moments",
        _proximal_moments,
        (
            SEPARATES,
            Requirement("only the block theta", _only_theta),
            Requirement("moments do", _no_shift),
            Requirement("the loss is quadratic", _each("quadratic", "loss")),
            Requirement("regularizer and constraint have a joint prox", _has_prox),
        ),
    ),
    # Other smooth losses: rows are needed, steps come from the constant or from backtracking.
    Rung(
        "proximal gradient on rows",
        "rows",
        _proximal_rows,
        (
            SEPARATES,
            STARTED,
            Requirement(
                "the loss has a lipschitz constant, or a kink rules gradients out",
                _lipschitz_or_kink,
            ),
            Requirement("regularizer and constraint have a joint prox", _has_prox),
            Requirement("bags are weights", _bags_rows),
            Requirement("shared draws", _free_draws),
            QUIET,
            ONE,
        ),
    ),
    # Anything differentiable, target by target.
    Rung(
        "gradient (optax L-BFGS)",
        "rows",
        _gradient_rows,
        (
            SEPARATES,
            STARTED,
            Requirement("every regularizer is differentiable", _smooth),
            Requirement("the constraint deletes or has a bijector", _reachable),
            Requirement("bags are weights", _bags_rows),
            Requirement("shared draws", _free_draws),
            QUIET,
            ONE,
        ),
    ),
    # A loss that draws noise, such as a sampled ELBO: only its mean gradient is known.
    Rung(
        "stochastic gradient (optax Adam)",
        "rows",
        _stochastic_rows,
        (
            SEPARATES,
            Requirement("the loss draws noise", _draws_noise),
            STARTED,
            Requirement("every regularizer is differentiable", _smooth),
            DELETES,
            Requirement("bags are weights", _bags_rows),
            Requirement("shared draws", _free_draws),
            ONE,
        ),
    ),
    # Several blocks, or coupled targets: each block exactly or linearised, in turn.
    Rung(
        "PALM over blocks of the whole network",
        "network",
        _palm_network,
        (
            Requirement("every block has a step, and what the step needs", _swept),
            STARTED,
            Requirement("no bags", _no_bags),
            Requirement("no permuted copies", _no_copies),
            QUIET,
        ),
        pads=True,
    ),
    # Anything differentiable that couples the targets: the whole network is one problem.
    Rung(
        "gradient (optax L-BFGS) on the whole network",
        "network",
        _gradient_network,
        (
            STARTED,
            Requirement("every regularizer is differentiable", _smooth),
            Requirement("the constraint deletes or has a bijector", _reachable),
            Requirement("no bags", _no_bags),
            QUIET,
        ),
    ),
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
    absolute: float | None = None
    history: bool = False

    @property
    def sparse(self) -> bool:
        """True where zeros mean that there is no edge."""
        return any(t.kink for t in parts(self.spec.regularizer)) or any(
            t.budget is not None for t in parts(self.spec.constraint)
        )

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
        lines = [f"{self.spec.name}: {self.spec}", "", f"solver: {self.rung.name}"]
        lines += [f"  holds: {need.text}" for need in self.rung.needs]
        for rung, lacking in self.refused:
            lines.append(f"  not {rung.name}: {'; '.join(lacking)}")
        lines += [
            "",
            f"problem: {q:,} regulators x {p:,} targets, "
            f"{len(problem.candidate):,} candidate edges, {data.cells:,} cells"
            + (f" in {groups} groups" if data.groups is not None else "")
            + (f", {self.bags} bags" if self.bags > 1 else ""),
        ]
        for name, count in problem.dropped.items():
            if count:
                lines.append(f"  deleted by {name}: {count:,} entries")
        if self.rung.reads == "network":
            lines += self._sweeping()
        else:
            lines += self._batching(groups)
        device = jax.devices()[0]
        lines.append(f"device: {device.platform} ({device.device_kind}), {data.dtype}")
        return "\n".join(lines)

    def _batching(self, groups: int) -> list[str]:
        """Lines on the compiled calls of a method that separates over targets."""
        flops, lines = 0.0, ["batches (targets x padded regulators):"]
        for batch in self.batches():
            total = len(batch.targets) * (1 + self.spec.permutations)
            step = self.chunk(batch, total)
            calls = groups * math.ceil(total / step)
            lines.append(
                f"  {len(batch.targets):,} x {batch.k}: {calls} "
                f"call{'s' if calls > 1 else ''} of {self.bags} x {step} fits"
            )
            flops += float((batch.sizes.astype(float) ** 3 / 3).sum()) * self.bags * groups
        lines += self._reading()
        if self.rung.reads == "moments":
            lines.append(f"arithmetic: {flops / 1e9:,.2f} GFLOP per factorisation of all fits")
        return lines

    def _sweeping(self) -> list[str]:
        """Lines on a method that takes the whole network at once."""
        lines = [
            "the whole network is one problem"
            + (f", {self.spec.restarts} starts" if self.spec.restarts > 1 else "")
        ]
        if self.rung.pads:
            lines += [f"  step {s}" for s in self.spec.steps]
            rules = [
                f"changes by at most {self.tolerance:g} (1 + |objective|)"
                if self.tolerance >= 0
                else None,
                f"changes by less than {self.absolute:g}" if self.absolute is not None else None,
            ]
            rules = " or ".join(r for r in rules if r)
            after = f"after {self.max_iterations:,} sweeps"
            lines.append(
                f"  stops where the objective {rules}, or {after}" if rules else f"  stops {after}"
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
        sizes = len(self.problem.regulators), len(self.problem.targets), cells
        return tuple(map(padded, sizes)) if self.rung.pads else sizes

    @cached_property
    def footprint(self) -> tuple[int, int, int]:
        """Bytes that a whole network takes: data and prior, prepared terms, and each start."""
        q, p, cells = self.widths(int(self.data.group_sizes.max()))
        item = np.dtype(self.dtype).itemsize

        def begin(x, y, weight, layers, sign, mask, key):
            view = View(None, x, y, weight, key)
            prior = PriorView(
                mask,
                sum(layers.values(), jnp.zeros_like(mask, weight.dtype)),
                sign,
                mask,
                mask,
                layers,
            )
            terms = tuple(t.prepare(view, prior) for t in self.spec.terms)
            return (view, prior), terms, Slots(self.spec.shape, terms).start(view, prior, key)

        def array(*shape, dtype=self.dtype):
            return jax.ShapeDtypeStruct(shape, np.dtype(dtype))

        with precision(self.dtype):
            held = jax.eval_shape(
                begin,
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
        return inputs, terms, each + 12 * q * p * item + min(p * p, columns.CHUNK) * item

    def together(self) -> int:
        """Restarts that one compiled call fits side by side."""
        if self.spec.restarts == 1:
            return 1
        inputs, terms, each = self.footprint
        return min(self.spec.restarts, max(1, (MEMORY - inputs - terms) // each))

    def solve(self, seed: int = 0) -> Solution:
        """Run the plan. The same seed gives the same solution."""
        from unigrn.run import run

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
        return [
            f"memory: moments {size / 1e6:,.0f} MB{held}",
            f"arithmetic: {work / 1e9:,.2f} GFLOP for the moments ({grams} "
            f"pass{'es' if grams > 1 else ''} over the cells)",
        ]

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
    max_iterations: int | None = None,
    history: bool = False,
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
        1e-9 in float64 and 1e-6 in float32. For a method in several blocks, the relative change
        of the objective over a sweep; by default what the spec says.
    max_iterations
        Their cap: by default 5000, or what the spec says.
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
    rung, refused = select(spec)
    if data.weights is not None:
        lost = [t.formula for t in parts(spec.loss) if not t.weighted]
        if lost:
            raise PlanError(
                f"the cells have weights, which the loss {lost[0]} does not say it "
                "uses; wrap it by unigrn.loss(function, weighted=True)"
            )
    sweeps = (spec.sweeps or Sweeps()) if rung.pads else None
    if tolerance is not None:
        tolerance = check_number("tolerance", tolerance)
    elif sweeps is not None:
        tolerance = -1.0 if sweeps.relative is None else sweeps.relative
    else:
        tolerance = 1e-9 if data.dtype == "float64" else 1e-6
    if max_iterations is None:
        max_iterations = 5000 if sweeps is None else sweeps.most
    max_iterations = check_whole("max_iterations", max_iterations)
    problem = build(spec, data, regulators, targets)
    for term in spec.terms:
        term.check(problem.prior)
    return Plan(
        spec,
        data,
        problem,
        rung,
        refused,
        tolerance,
        max_iterations,
        dict(hyperparameters or {}),
        None if sweeps is None else sweeps.absolute,
        bool(history),
    )
