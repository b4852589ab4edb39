"""Precision matrices of all groups of cells at once, coupled by penalties, by splitting.

minimise F(T) = sum_k b_k (-log det T_k) + tr(S_k T_k) + sum_kij c_ij |T_kij| + sum_e g_e(K_e T)
over symmetric positive definite T_k, g_e norms of what groups differ by, or have together. The
copies, their multipliers and how they settle are those of `unigrn.solvers.splitting`, with theta of
a group all its entries, and for f the prox of the log det,

    prox_{f / r}(V) = Q diag(d + (d^2 + 4 r b)^1/2) Q' / (2 r),   Q diag(d) Q' = r V - S_k.

The certificate is the larger of the residual there and the duality gap relative to 1 + |F|: with
multipliers Y_e of the norms cut to slopes that these have somewhere, and what is left of the slope
of f cut to |C_kij| <= c_ij,

    gap = F(T) - sum_k b_k (log det(V_k / b_k) + p),   V_k = S_k + C_k + (sum_e K_e' Y_e)_k,

infinite where a V_k is not positive definite: no symmetric positive definite matrices are lower
than F(T) by more than that.
Source: Danaher, Wang and Witten, J. R. Stat. Soc. B 76 (2014) 373, doi:10.1111/rssb.12033.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unigrn.solvers import optimality
from unigrn.solvers.across import first
from unigrn.solvers.optimality import Fit, Options
from unigrn.solvers.splitting import Part, Statement, inverse_of, others_of, run
from unigrn.spec import Slots
from unigrn.terms import Array, Blocks, LogDet, PriorView, View, parts, soft_threshold


def room(k: int, width: int, groups: int) -> float:
    """Count the numbers held: copies, multipliers and rounds of them."""
    return 60.0 * groups * k


class Graphs(NamedTuple):
    """f and h of the matrices of all groups, (groups, p p) end to end; see `splitting.Problem`."""

    form: LogDet  # of all groups
    numbers: Statement
    values: Array
    bound: Array
    m: Array
    d: Array
    valid: Array
    penalty: Callable[[Array], Array]

    def whole(self, theta: Array) -> Array:
        """Return the matrices, (groups, p, p)."""
        size = self.form.matrix.shape
        return theta.reshape(size)

    def flat(self, matrices: Array) -> Array:
        """Return entries end to end, those of genes that do not vary 0."""
        return jnp.where(self.valid, matrices.reshape(self.valid.shape), 0)

    def total(self, theta: Array) -> Array:
        """F."""
        n = self.numbers
        smooth = jax.vmap(lambda form, one: form.value(one))(self.form, self.whole(theta))
        return jnp.sum(smooth) + jnp.sum(n.price * jnp.abs(theta)) + self.penalty(theta)

    def slope(self, theta: Array) -> Array:
        """Gradient of f; as steep as can be where it has none."""

        def one(form, matrix):
            eye = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
            root = jnp.linalg.cholesky(form.whole(matrix))
            half = jax.scipy.linalg.solve_triangular(root, eye, lower=True)
            return form.matrix - form.weight * half.T @ half

        found = self.flat(jax.vmap(one)(self.form, self.whole(theta)))
        return jnp.where(jnp.isfinite(found), found, jnp.finfo(found.dtype).max ** 0.25)

    def prox_f(self, v: Array, rho: Array) -> Array:
        """Prox of f at 1 / rho."""

        def one(form, matrix):
            values, vectors = jnp.linalg.eigh(rho * (matrix + matrix.T) / 2 - form.matrix)
            root = jnp.sqrt(values**2 + 4 * rho * form.weight)
            far = 2 * form.weight / (root - values)  # without cancellation below 0
            moved = jnp.where(values < 0, far, (root + values) / (2 * rho))
            return (vectors * moved[None, :]) @ vectors.T

        matrices = self.whole(jnp.where(self.valid, v, 0))
        return self.flat(jax.vmap(one)(self.form, matrices))

    def prox_h(self, v: Array, step: Array) -> Array:
        """Prox of the prices: entry by entry."""
        return jnp.where(self.valid, soft_threshold(v, step * self.numbers.price), 0)

    def gap(self, theta: Array, others: list[Part], multipliers: list[Array]) -> Array:
        """Return the duality gap relative to 1 + |F|."""
        price = self.numbers.price
        dual = jnp.zeros_like(theta)
        for p, y in zip(others, multipliers, strict=True):
            dual = dual + p.back(y - p.prox(y, jnp.ones_like(y)))  # the nearest slope of a norm
        dual = jnp.where(self.valid, dual, 0)
        dual = dual + jnp.clip(-self.slope(theta) - dual, -price, price)

        def one(form, matrix):
            both = form.whole((form.matrix + matrix) / form.weight)
            root = jnp.diagonal(jnp.linalg.cholesky(both))
            count = jnp.sum(form.live.astype(root.dtype))
            return form.weight * (2 * jnp.sum(jnp.log(root)) + count)

        value = self.total(theta)
        gap = value - jnp.sum(jax.vmap(one)(self.form, self.whole(dual)))
        gap = jnp.abs(gap) / (1 + jnp.abs(value))
        return jnp.where(jnp.isfinite(gap), gap, jnp.inf).astype(theta.dtype)


def solve(slots: Slots, views: View, prior: PriorView, options: Options) -> Fit:
    """Solve the networks of all groups, from a start; terms and views have groups first."""

    def stated(terms, view):
        own = Slots(slots.shape, terms)
        return own.loss.log_det(view, prior), own.start(view, prior).theta

    form, start = jax.vmap(stated)(slots.terms, views)
    slots = Slots(slots.shape, first(slots.terms))
    groups, size, _ = form.matrix.shape
    dtype = form.matrix.dtype
    live = jnp.all(form.live, axis=0)  # in every group, or their differences mean nothing
    both = live[:, None] & live[None, :]
    form = LogDet(
        form.weight, jnp.where(both, form.matrix, 0), jnp.broadcast_to(live, form.live.shape)
    )
    price = jnp.zeros((size, size), dtype)
    alone = [t for t in parts(slots.regularizer) if not t.across]
    for term in alone:
        price = price + term.absolute(View(), prior)
    price = jnp.where(both, (price + price.T) / 2, 0)

    def stacked(v):
        return jnp.broadcast_to(v.reshape(-1), (groups, size * size))

    flat, many = prior.map(lambda v: v.reshape(-1)), prior.map(stacked)
    coupling = tuple(t for t in parts(slots.regularizer) if t.across)
    m, d = jnp.ones(groups, dtype), jnp.ones(size * size, dtype)
    joined = SimpleNamespace(regularizer=sum(coupling[1:], coupling[0]), constraint=None)
    others = others_of(joined, View(), flat, many, m, d)

    def penalty(theta):
        return sum(t(Blocks(theta=theta), View(), many) for t in coupling)

    matrix = form.matrix.reshape(groups, -1)
    zero = jnp.zeros_like(matrix)
    far = jnp.full_like(matrix, jnp.inf)
    statement = Statement(
        form.weight, None, matrix / 2, form.weight * 0, zero, stacked(price), -far, far
    )
    steep = jnp.max(jnp.sum(jnp.abs(form.matrix), axis=2) / form.weight[:, None])
    bound = jnp.max(form.weight) * steep**2
    problem = Graphs(
        form, statement, zero + 0.5, bound, m, d, stacked(both.astype(dtype)) > 0, penalty
    )
    inverse = inverse_of(others, m, d)
    theta, residual, steps = run(problem, others, inverse, zero + 1, options, problem.flat(start))
    found = problem.whole(theta)
    turned = jnp.swapaxes(found, 1, 2)  # the same but for rounding
    theta = jnp.where((found == 0) | (turned == 0), 0, (found + turned) / 2).reshape(theta.shape)
    value = problem.total(theta)
    params = Blocks(theta=problem.whole(theta))
    status = optimality.ended((params, value), residual, options.tolerance)
    return Fit(params, status, residual, steps, value)
