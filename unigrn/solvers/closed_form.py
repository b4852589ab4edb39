"""Closed form on moments: (s G + D + M) theta = s c + l, batched Cholesky over all fits.

The quadratic of the spec is s times the moments plus what the terms add (`unigrn.terms.Quadratic`).
Where the terms add a diagonal only, the matrices are gathered inside the factorisation and never
formed.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unigrn.problem import Entries, Tasks
from unigrn.solvers import batching, linear
from unigrn.solvers.batching import Fit
from unigrn.status import Status
from unigrn.terms import Moments, Quadratic, View


def quadratics(loss, regularizer, small: Moments, prior) -> Quadratic:
    """Return the quadratic of every fit; leaves have the batch as their first axis."""

    def one(moments, view):
        q = loss.quadratic(View(moments), view)
        return q if regularizer is None else q + regularizer.quadratic(View(moments), view)

    return jax.vmap(one)(small, prior)


def solve(loss, regularizer, moments: Moments, tasks: Tasks, entries: Entries) -> Fit:
    """Solve a batch of fits exactly; singular systems are solved without dependent regulators."""
    index, valid, prior = batching.positions(tasks, entries)
    small = batching.scalars(moments, tasks, index)
    q = quadratics(loss, regularizer, small, prior)
    if q.matrix is None and q.linear is None:
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
        matrix = gram * q.scale[:, None, None]
        if q.matrix is not None:
            matrix = matrix + q.matrix
        both = (valid[:, :, None] & valid[:, None, :]).astype(gram.dtype)
        matrix = matrix * both + jax.vmap(jnp.diag)(jnp.where(valid, q.diagonal, 1))
        found = linear.solve_spd(matrix, _right(q, small) * valid.astype(gram.dtype))
        theta = found.x
    residual = residuals(theta, q, moments, tasks, index, valid, small)
    # Rounding alone leaves far less than this; more means an ill-conditioned system.
    exact = residual <= 100 * index.shape[1] * jnp.finfo(theta.dtype).eps
    status = jnp.where(exact, Status.CONVERGED, Status.INACCURATE)
    status = jnp.where(found.ok, status, Status.SINGULAR).astype(jnp.int32)
    return Fit(theta, status, residual, jnp.ones_like(status), {}, {})


def _right(q: Quadratic, small: Moments) -> jax.Array:
    """Minus half the gradient at 0."""
    right = small.cross * q.scale[:, None]
    return right if q.linear is None else right + q.linear


def residuals(theta, q: Quadratic, moments, tasks, index, valid, small) -> jax.Array:
    """Return |A theta - b|_inf / |b|_inf: the gradient, relative to the gradient at 0."""
    mask = valid.astype(theta.dtype)
    rest = q.scale[:, None] * _apply_gram(theta, moments, tasks, index) + q.diagonal * theta
    if q.matrix is not None:
        rest = rest + jnp.einsum("nij,nj->ni", q.matrix, theta)
    right = _right(q, small) * mask
    at_zero = jnp.maximum(jnp.max(jnp.abs(right), axis=1), jnp.finfo(theta.dtype).tiny)
    return jnp.max(jnp.abs(rest * mask - right), axis=1) / at_zero


def _apply_gram(theta, moments: Moments, tasks: Tasks, index) -> jax.Array:
    """G[I, I] theta for every fit, by one product with each system's whole Gram matrix."""
    systems, targets = tasks.row.shape
    q = moments.gram.shape[1]
    rows = jnp.arange(theta.shape[0])[:, None]
    wide = jnp.zeros((theta.shape[0], q), theta.dtype).at[rows, index].add(theta)
    wide = jnp.matmul(
        wide.reshape(systems, targets, q), moments.gram, precision=jax.lax.Precision.HIGHEST
    )
    return jnp.take_along_axis(wide.reshape(-1, q), index, axis=1)
