"""Closed form on moments: (s G + D + M) theta = s c + l, batched Cholesky over all fits.

The quadratic of the spec is s times the moments plus what the terms add (`unigrn.terms.Quadratic`).
Where the terms add a diagonal only, the matrices are gathered inside the factorisation and never
formed.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from unigrn.solvers import batching, linear
from unigrn.solvers.batching import Members
from unigrn.solvers.optimality import Fit, Options
from unigrn.spec import Shape
from unigrn.status import Status
from unigrn.terms import Blocks, Moments, Quadratic, View


def quadratics(
    shape: Shape, terms: tuple, members: Members, small: Moments, prior, where, kind="quadratic"
) -> Any:
    """Return the quadratic of every fit, or its spread; the batch is the first axis of leaves."""

    def one(moments, view, where, variant):
        slots = batching.terms_of(shape, terms, members.varied, variant, where)
        q = getattr(slots.loss, kind)(View(moments), view)
        if slots.regularizer is None:
            return q
        return q + getattr(slots.regularizer, kind)(View(moments), view)

    return jax.vmap(one)(small, prior, where, batching.variants(members.tasks))


def solve(shape: Shape, terms: tuple, moments: Moments, members: Members, options: Options) -> Fit:
    """Solve a batch of fits exactly; singular systems are solved without dependent regulators."""
    tasks = members.tasks
    index, valid, prior = batching.positions(tasks, members.entries)
    small = batching.scalars(moments, tasks, index)
    q = quadratics(shape, terms, members, small, prior, batching.by_fit(tasks, index))
    return exact(q, moments, members, small, index, valid)


def spreads(
    shape: Shape, terms: tuple, moments: Moments, members: Members, options: Options
) -> Fit:
    """Solve for means as above, and for each variance, v_j = count_j / rate_j, apart from them."""
    tasks = members.tasks
    index, valid, prior = batching.positions(tasks, members.entries)
    small = batching.scalars(moments, tasks, index)
    where = batching.by_fit(tasks, index)
    found = quadratics(shape, terms, members, small, prior, where, "spread")
    fit = exact(found.quadratic, moments, members, small, index, valid)
    live = valid & (found.count > 0) & (found.rate > 0)
    share = jnp.where(live, found.count, 1) / jnp.where(live, found.rate, 1)
    log_variance = jnp.where(live, jnp.log(share), 0)
    cost = jnp.where(live, found.rate * jnp.exp(log_variance) - found.count * log_variance, 0)
    # Without a price, or a log, there is no least variance.
    bounded = jnp.all(live | jnp.logical_not(valid), axis=1)
    status = jnp.where(bounded, fit.status, Status.SINGULAR).astype(jnp.int32)
    params = fit.params.replace(log_variance=log_variance)
    value = fit.value + jnp.sum(cost, axis=1)
    return Fit(params, status, fit.residual, fit.iterations, value)


def exact(q: Quadratic, moments: Moments, members: Members, small: Moments, index, valid) -> Fit:
    """Minimise the quadratic of every fit."""
    tasks = members.tasks
    if q.matrix is None and q.scale is None:
        # Entry by entry: no matrix at all. An entry that nothing depends on stays at 0.
        live = valid & (q.diagonal > 0)
        theta = jnp.where(live, _right(q, small) / jnp.where(live, q.diagonal, 1), 0)
        found = linear.Solved(theta, jnp.all(jnp.isfinite(theta), axis=1))
    elif q.matrix is None and q.linear is None:
        assert q.scale is not None
        # (G + D / s) theta = c; without data (s = 0) the minimum is at 0.
        live = q.scale[:, None] > 0
        found = linear.solve_gathered(
            moments.gram,
            moments.cross,
            index,
            valid,
            *batching.grid(tasks),
            jnp.where(live, q.diagonal / jnp.where(live, q.scale[:, None], 1), 1),
        )
        theta = jnp.where(live, found.x, 0)
    else:
        gram = batching.with_gram(small, moments, tasks, index).gram
        matrix = 0 * gram if q.scale is None else gram * q.scale[:, None, None]
        if q.matrix is not None:
            matrix = matrix + q.matrix
        both = (valid[:, :, None] & valid[:, None, :]).astype(gram.dtype)
        matrix = matrix * both + jax.vmap(jnp.diag)(jnp.where(valid, q.diagonal, 1))
        found = linear.solve_spd(matrix, _right(q, small) * valid.astype(gram.dtype))
        theta = found.x
    residual, value = residuals(theta, q, moments, members, index, valid, small)
    # Rounding alone leaves far less than this; more means an ill-conditioned system.
    exact = residual <= 100 * index.shape[1] * jnp.finfo(theta.dtype).eps
    status = jnp.where(exact, Status.CONVERGED, Status.INACCURATE)
    status = jnp.where(found.ok, status, Status.SINGULAR).astype(jnp.int32)
    return Fit(Blocks(theta=theta), status, residual, jnp.ones_like(status), value)


def _right(q: Quadratic, small: Moments) -> jax.Array:
    """Minus half the gradient at 0."""
    if q.scale is None:
        return jnp.zeros_like(small.cross) if q.linear is None else q.linear
    right = small.cross * q.scale[:, None]
    return right if q.linear is None else right + q.linear


def residuals(theta, q: Quadratic, moments, members: Members, index, valid, small):
    """Return |A theta - b|_inf / |b|_inf, the gradient relative to that at 0, and the objective."""
    mask = valid.astype(theta.dtype)
    rest = q.diagonal * theta
    if q.scale is not None:
        rest = rest + q.scale[:, None] * _apply_gram(theta, moments, members, index)
    if q.matrix is not None:
        rest = rest + jnp.einsum("nij,nj->ni", q.matrix, theta)
    right = _right(q, small) * mask
    at_zero = jnp.maximum(jnp.max(jnp.abs(right), axis=1), jnp.finfo(theta.dtype).tiny)
    value = jnp.sum(theta * (rest * mask - 2 * right), axis=1) + q.constant
    if q.scale is not None:
        value = value + q.scale * small.square
    return jnp.max(jnp.abs(rest * mask - right), axis=1) / at_zero, value


def _apply_gram(theta, moments: Moments, members: Members, index) -> jax.Array:
    """G[I, I] theta for every fit, by one product with each system's whole Gram matrix."""
    fits, targets = members.tasks.row.shape
    q = moments.gram.shape[1]
    rows = jnp.arange(theta.shape[0])[:, None]
    wide = jnp.zeros((theta.shape[0], q), theta.dtype).at[rows, index].add(theta)
    gram = (
        moments.gram
        if fits == 1 and moments.gram.shape[0] == 1
        else jnp.take(moments.gram, members.tasks.system, axis=0)
    )
    wide = jnp.matmul(wide.reshape(fits, targets, q), gram, precision=jax.lax.Precision.HIGHEST)
    return jnp.take_along_axis(wide.reshape(-1, q), index, axis=1)
