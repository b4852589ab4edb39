"""From moments or rows of all regulators to the view that each fit has of its own candidates.

Fits form a grid of M members of the spec's axes by T targets; they are laid out member by member
along one batch axis N = M T.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.backend import over_fits
from unigrn.problem import Entries, Tasks
from unigrn.solvers.optimality import Fit, Options, certify, objective
from unigrn.solvers.solver import Solver
from unigrn.spec import Shape, Slots
from unigrn.status import Status
from unigrn.terms import Array, Blocks, Moments, PriorView, View, local, pytree


@pytree
class Rows:
    """All cells of a group: ``x`` (cells, q), ``y`` (cells, responses), their weights."""

    x: Array
    y: Array
    weight: Array | None
    extra: dict[str, Any]


@pytree
class Varied:
    """Hyperparameters that differ between members: values by the number of their leaf."""

    values: dict[int, Array]


@pytree
class Members:
    """The grid of a compiled call."""

    tasks: Tasks
    entries: Entries
    key: Array
    varied: Varied


def terms_of(shape: Shape, terms: tuple, varied: Varied, variant: Array, view: View) -> Slots:
    """Return the terms of one fit: its hyperparameters, its entries of arrays."""
    if varied.values:
        leaves, structure = jax.tree.flatten(terms)
        leaves = [
            varied.values[i][variant] if i in varied.values else leaf
            for i, leaf in enumerate(leaves)
        ]
        terms = jax.tree.unflatten(structure, leaves)
    return Slots(shape, local(terms, view))


def positions(tasks: Tasks, entries: Entries) -> tuple[Array, Array, PriorView]:
    """Return regulator index (N, k), validity (N, k) and prior view (N, k) of each fit."""
    place = jnp.take(tasks.table, tasks.row.reshape(-1), axis=0)
    valid = place >= 0
    empty = entries.candidate.shape[0] - 1
    start = jnp.tile(tasks.start, tasks.row.shape[0])
    flat = jnp.where(valid, start[:, None] + place, empty)
    index = jnp.take(entries.candidate, flat)
    return index, valid, entries.prior.map(lambda v: jnp.take(v, flat, axis=0))


def grid(tasks: Tasks, held: bool = False) -> tuple[Array, Array]:
    """System and response of each fit, (N,)."""
    system = tasks.held if held else tasks.system
    assert system is not None
    return jnp.repeat(system, tasks.row.shape[1]), tasks.target.reshape(-1)


def by_fit(tasks: Tasks, index: Array) -> View:
    """Where each fit stands: its regulators (N, k) and its target (N,)."""
    return View(regulators=index, target=jnp.tile(tasks.number, tasks.row.shape[0]))


def scalars(moments: Moments, tasks: Tasks, index: Array, held: bool = False) -> Moments:
    """Moments of each fit without the Gram matrix, which closed forms gather on their own."""
    s, t = grid(tasks, held)
    return Moments(
        gram=None,
        cross=moments.cross[s[:, None], index, t[:, None]],
        square=moments.square[s, t],
        count=moments.count[s],
        mean_x=moments.mean_x[s[:, None], index],
        mean_y=moments.mean_y[s, t],
        own=moments.gram[s[:, None], index, index],
    )


def with_gram(small: Moments, moments: Moments, tasks: Tasks, index: Array, held=False) -> Moments:
    """Add the gathered Gram matrices, (N, k, k)."""
    s, _ = grid(tasks, held)
    gram = moments.gram[s[:, None, None], index[:, :, None], index[:, None, :]]
    return Moments(gram, small.cross, small.square, small.count, small.mean_x, small.mean_y)


def views(source: Any, members: Members, held: bool = False) -> tuple[View, PriorView]:
    """Return views of all fits of a batch, each with a key of its own."""
    tasks = members.tasks
    index, _, prior = positions(tasks, members.entries)
    where = by_fit(tasks, index)
    rows = jnp.arange(tasks.row.shape[0], dtype=jnp.int32)
    member = jnp.repeat(rows, tasks.row.shape[1])
    keys = jax.vmap(lambda i, j: jax.random.fold_in(jax.random.fold_in(members.key, i), j))(
        member, where.target
    )
    s, t = grid(tasks, held)
    if isinstance(source, Moments):
        small = scalars(source, tasks, index, held)
        return where.replace(moments=with_gram(small, source, tasks, index, held), key=keys), prior
    return where.replace(
        x=jnp.moveaxis(jnp.take(source.x, index, axis=1), 1, 0),
        y=jnp.take(source.y, t, axis=1).T,
        weight=None if source.weight is None else source.weight[s],
        key=keys,
    ), prior


def solve(
    solver: Solver, shape: Shape, terms: tuple, source: Any, members: Members, options: Options
) -> Fit:
    """Solve all fits of a batch."""
    if solver.batch is not None:
        return solver.batch(shape, terms, source, members, options)
    extra = {} if isinstance(source, Moments) else source.extra

    def one(view, prior, variant):
        view = view.replace(extra=local(extra, view))
        slots = terms_of(shape, terms, members.varied, variant, view)
        return certified(solver, slots, view, prior, options)

    return over_fits(one, *views(source, members), variants(members.tasks))


def certified(solver: Solver, slots: Slots, view: View, prior: PriorView, options: Options) -> Fit:
    """Solve one fit, and judge it where the solver does not.

    What no parameter of a term changes is worked out once, before.
    """
    assert solver.solve is not None
    slots = Slots(slots.shape, tuple(t.prepare(view, prior) for t in slots.terms))
    fit = solver.solve(slots, view, prior, options)
    if fit.status is None:
        status, residual = certify(
            slots, fit.params, slots.start(view, prior), view, prior, options
        )
        fit = replace(fit, status=status, residual=residual)
    return without_minimum(slots, view, prior, fit)


def without_minimum(slots: Slots, view: View, prior: PriorView, fit: Fit) -> Fit:
    """Take theta = 0 for a target that is constant at an end of what its loss allows.

    No count at all, say: the intercept then leaves all bounds, and theta with it. That theta = 0
    is no worse, with an intercept further out, is tried.
    """
    outcome = slots.loss.outcome
    if outcome is None or view.y is None or view.y.ndim != 1 or "intercept" not in fit.params:
        return fit
    counts = True if view.weight is None else view.weight > 0
    total = objective(slots).total
    for end, far in zip(outcome, (-100.0, 100.0), strict=True):
        if not math.isfinite(end):
            continue
        trial = fit.params.replace(
            theta=jnp.zeros_like(fit.params.theta), intercept=fit.params.intercept + far
        )
        bound = jnp.all((view.y == end) | ~jnp.asarray(counts))
        free = slots.constraint is None or slots.constraint(trial, view, prior) <= 0
        value = total(trial, view, prior)
        taken = bound & free & (value <= fit.value)
        fit = replace(
            fit,
            params=jax.tree.map(lambda a, b, t=taken: jnp.where(t, a, b), trial, fit.params),
            status=jnp.where(taken, Status.CONSTANT_TARGET, fit.status),
            value=jnp.where(taken, value, fit.value),
        )
    return fit


def losses(
    shape: Shape, terms: tuple, moments: Moments, members: Members, theta: Array, held: bool = False
) -> Array:
    """Return quadratic losses at theta (N, k), member by member, by whole Gram matrices."""
    tasks, q = members.tasks, moments.gram.shape[1]
    count, targets = tasks.row.shape
    theta = theta.reshape(count, targets, -1)

    def one(small, view, where, variant, theta, product):
        slots = terms_of(shape, terms, members.varied, variant, where)
        quadratic = slots.loss.quadratic(View(small), view)
        rest = quadratic.value(theta, None)
        if quadratic.scale is None:
            return rest
        fit = jnp.sum(theta * (product - 2 * small.cross)) + small.square
        return quadratic.scale * fit + rest

    def of_member(number):
        lanes = tasks.at(number[None])
        index, _, prior = positions(lanes, members.entries)
        small = scalars(moments, lanes, index, held)
        rows = jnp.arange(targets, dtype=jnp.int32)[:, None]
        wide = jnp.zeros((targets, q), theta.dtype).at[rows, index].add(theta[number])
        system, _ = grid(lanes, held)
        wide = jnp.matmul(wide, moments.gram[system[0]], precision=jax.lax.Precision.HIGHEST)
        product = jnp.take_along_axis(wide, index, axis=1)
        where = by_fit(lanes, index)
        return jax.vmap(one)(small, prior, where, variants(lanes), theta[number], product)

    return jax.lax.map(of_member, jnp.arange(count, dtype=jnp.int32)).reshape(-1)


def variants(tasks: Tasks) -> Array:
    """Hyperparameters of each fit, by number."""
    return jnp.repeat(tasks.variant, tasks.row.shape[1])


def looked_at(
    look: Callable[[Slots, Blocks, View, PriorView], Any],
    shape: Shape,
    terms: tuple,
    source: Any,
    members: Members,
    params: Blocks,
    held: bool = False,
) -> Any:
    """Apply a function of terms, blocks and data to every fit of a batch."""
    extra = {} if isinstance(source, Moments) else source.extra

    def one(view, prior, variant, own):
        view = view.replace(extra=local(extra, view))
        return look(terms_of(shape, terms, members.varied, variant, view), own, view, prior)

    return over_fits(one, *views(source, members, held), variants(members.tasks), params)
