"""Proximal Newton for a precision matrix: -log det and a penalty on single entries.

minimise F(T) = -b log det T + tr(S T) + sum_ij c_ij |T_ij| over symmetric positive definite T. With
W = T^-1, each step minimises the quadratic model of the smooth part plus the penalty,

    min over D of  tr((S - b W) D) + b/2 tr(W D W D) + sum_ij c_ij |T_ij + D_ij|,

by accelerated proximal gradient in units in which W has a diagonal of 1 (two matrix products a
step, and these are the iterations that are counted), then goes along D until T is positive definite
and F falls enough. The start is the better one of that of the spec and of (S + c I)^-1, c the
largest price. The certificate is the larger of the residual of the stationarity conditions relative
to the largest |S_ij|, and the duality gap relative to 1 + |F|,

    gap = F(T) - b (log det(V / b) + p),  V = S + U,  U = bW - S clipped to |U_ij| <= c_ij,

infinite where V is not positive definite: no symmetric positive definite matrix is lower than F(T)
by more than that.
Sources: Hsieh, Sustik, Dhillon and Ravikumar, J. Mach. Learn. Res. 15 (2014) 2911; Lee, Sun and
Saunders, SIAM J. Optim. 24 (2014) 1420, doi:10.1137/130921428; Banerjee, El Ghaoui and
d'Aspremont, J. Mach. Learn. Res. 9 (2008) 485 (the dual).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from unigrn.solvers import optimality
from unigrn.solvers.optimality import Fit, Options
from unigrn.status import Status
from unigrn.terms import Array, Blocks, LogDet, PriorView, View, soft_threshold

INNER = 1000  # steps on one quadratic model, at most
SHARE = 0.1  # of the residual that a model is solved to
HALVINGS = 40  # of a step, before rounding is blamed


def _inverse(matrix: Array) -> Array:
    """Return the inverse of a symmetric positive definite matrix; not a number of others."""
    eye = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    half = jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(matrix), eye, lower=True)
    return half.T @ half


def _direction(
    theta: Array, slope: Array, inverse: Array, price: Array, aim: Array
) -> tuple[Array, Array]:
    """Minimise the quadratic model to a largest residual of ``aim``; return the move, and steps."""
    root = jnp.sqrt(jnp.diagonal(inverse))
    unit = root[:, None] * root[None, :]
    even = inverse / unit
    bound = (1 + 1e-6) * jnp.linalg.eigvalsh(even)[-1] ** 2

    def forward(z):
        """One proximal step from z = T + D, and by how much the model is not stationary there."""
        g = slope + inverse @ (z - theta) @ inverse
        step = 1 / (bound * unit**2)
        new = soft_threshold(z - step * g, step * price)
        return (new + new.T) / 2, jnp.max(jnp.abs(z - new) * bound * unit**2)

    def body(state):
        x, y, momentum, _, count = state
        new, size = forward(y)
        uphill = jnp.sum((y - new) * (new - x) * unit**2) > 0
        now = jnp.where(uphill, 1, momentum)
        following = (1 + jnp.sqrt(1 + 4 * now**2)) / 2
        share = jnp.where(uphill, 0, (now - 1) / following)
        return new, new + share * (new - x), following, size, count + 1

    def proceed(state):
        return (state[3] > aim) & (state[4] < INNER)

    one = jnp.ones((), theta.dtype)
    start = (theta, theta, one, jnp.inf * one, jnp.zeros((), jnp.int32))
    found, *_, count = jax.lax.while_loop(proceed, body, start)
    return found - theta, count


def certificate(form: LogDet, price: Array, theta: Array, inverse: Array, value: Array) -> Array:
    """Return the relative stationarity residual and the relative duality gap, (2,)."""
    both = form.live[:, None] & form.live[None, :]
    matrix = jnp.where(both, form.matrix, 0)
    slope = jnp.where(both, matrix - form.weight * inverse, 0)
    on = jnp.abs(slope + price * jnp.sign(theta))
    off = jnp.maximum(jnp.abs(slope) - price, 0)
    size = jnp.maximum(jnp.max(jnp.abs(matrix)), jnp.finfo(theta.dtype).tiny)
    still = jnp.max(jnp.where(both, jnp.where(theta != 0, on, off), 0)) / size
    dual = matrix + jnp.clip(-slope, -price, price)
    dual = jnp.where(both, dual / form.weight, 0) + jnp.diag(jnp.where(form.live, 0.0, 1.0))
    count = jnp.sum(form.live.astype(theta.dtype))
    root = jnp.diagonal(jnp.linalg.cholesky(dual))
    gap = value - form.weight * (2 * jnp.sum(jnp.log(root)) + count)
    # Rounding may make the gap negative; what it makes of it is told by its size.
    gap = jnp.abs(gap) / (1 + jnp.abs(value))
    return jnp.stack([still, jnp.where(jnp.isfinite(gap), gap, jnp.inf)]).astype(theta.dtype)


def solve(terms: Any, view: View, prior: PriorView, options: Options) -> Fit:
    """Solve one network of genes by genes: from its start, or a diagonal where there is none."""
    form: LogDet = terms.loss.log_det(view, prior)
    dtype = form.matrix.dtype
    both = form.live[:, None] & form.live[None, :]
    price = jnp.zeros_like(form.matrix)
    if terms.regularizer is not None:
        price = jnp.where(both, terms.regularizer.absolute(view, prior), 0)
    price = (price + price.T) / 2  # of a symmetric matrix both entries move together
    eps = jnp.finfo(dtype).eps

    if terms.shape.start is None:
        diagonal = jnp.diagonal(form.matrix) + jnp.diagonal(price)
        begin = jnp.diag(form.weight / jnp.where(form.live, diagonal, 1))
    else:
        begin = terms.start(view, prior).theta

    def total(theta):
        return form.value(theta) + jnp.sum(price * jnp.abs(theta))

    def judged(theta):
        inverse = _inverse(form.whole(theta))
        value = total(theta)
        return inverse, value, certificate(form, price, theta, inverse, value)

    def better(first, second):
        return jnp.where(total(second) < total(first), second, first)

    begin = jnp.where(both, (begin + begin.T) / 2, 0)
    wide = form.whole(form.matrix / form.weight) + jnp.diag(
        jnp.where(form.live, jnp.max(price) / form.weight, 0)
    )
    begin = better(begin, jnp.where(both, _inverse(wide), 0))

    def body(state):
        theta, inverse, value, residual, count, _ = state
        slope = jnp.where(both, form.matrix / form.weight - inverse, 0)
        size = jnp.max(jnp.abs(jnp.where(both, form.matrix, 0))) / form.weight
        aim = jnp.maximum(SHARE * jnp.minimum(residual[0], 1), 8 * eps) * size
        step, steps = _direction(theta, slope, inverse, price / form.weight, aim)
        step = jnp.where(both, step, 0)
        change = jnp.abs(theta + step) - jnp.abs(theta)
        fall = form.weight * jnp.sum(slope * step) + jnp.sum(price * change)

        def fails(tried):
            length, number = tried
            after = total(theta + length * step)
            enough = value + 1e-4 * length * fall + 64 * eps * (1 + jnp.abs(value))
            return ~(after <= enough) & (number < HALVINGS)  # not a number: not definite

        one, zero = jnp.ones((), dtype), jnp.zeros((), jnp.int32)
        length, number = jax.lax.while_loop(fails, lambda t: (t[0] / 2, t[1] + 1), (one, zero))
        new = theta + length * step
        inverse_new, value_new, residual_new = judged(new)
        # Once values differ by rounding alone, a residual has to fall.
        flat = value - value_new <= 64 * eps * (1 + jnp.abs(value))
        stuck = (number >= HALVINGS) | (flat & ~jnp.any(residual_new < residual))
        kept = (theta, inverse, value, residual)
        after = (new, inverse_new, value_new, residual_new)
        kept = (jnp.where(stuck, a, b) for a, b in zip(kept, after, strict=True))
        return (*kept, count + steps, stuck)

    def proceed(state):
        *_, residual, count, stuck = state
        return jnp.any(residual > options.tolerance) & (count < options.most) & ~stuck

    no = jnp.zeros((), bool)
    state = (begin, *judged(begin), jnp.zeros((), jnp.int32), no)
    theta, _, value, residual, count, _ = jax.lax.while_loop(proceed, body, state)
    params, residual = Blocks(theta=theta), jnp.max(residual)
    stopped = jnp.where(count < options.most, Status.STALLED, Status.MAX_ITERATIONS)
    status = optimality.ended((params, value), residual, options.tolerance, stopped)
    status = optimality.within_sets(terms, params, view, prior, status)
    return Fit(params, status, residual, count, value)
