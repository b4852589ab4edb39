"""Proximal gradient with acceleration (FISTA), adaptive restart and backtracking.

minimise f(params) + g(theta), f smooth, g with a prox. From an extrapolated point y::

    x+ = prox_{g/L}(y - grad f(y) / L),   t+ = (1 + sqrt(1 + 4 t^2)) / 2,
    y+ = x+ + (t - 1) / t+ (x+ - x)

L starts from the curvature along the gradient and doubles whenever a step shows more curvature
than L, so that no constant needs to be known; momentum restarts when it points uphill.
Sources: Beck and Teboulle, SIAM J. Imaging Sci. 2 (2009) 183, doi:10.1137/080716542; O'Donoghue
and Candes, Found. Comput. Math. 15 (2015) 715, doi:10.1007/s10208-013-9150-3.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unigrn.solvers.batching import Fit
from unigrn.solvers.split import Split, stationarity
from unigrn.status import Status
from unigrn.terms import Array, Blocks, PriorView, View


def _dot(a: Blocks, b: Blocks) -> Array:
    return sum(jnp.sum(a[name] * b[name]) for name in a)


def _minus(a: Blocks, b: Blocks) -> Blocks:
    return jax.tree.map(jnp.subtract, a, b)


def solve(
    parts: Split, start: Blocks, view: View, prior: PriorView, tolerance: Array, most: Array
) -> Fit:
    """Solve one fit from ``start`` to a relative stationarity of ``tolerance``."""
    dtype = start.theta.dtype
    slope = jax.grad(parts.smooth)
    mask = prior.valid.astype(dtype)

    def gradient(params):
        g = slope(params, view, prior)
        return g.replace(theta=g.theta * mask)

    def forward(params, g, bound):
        moved = jax.tree.map(lambda v, s: v - s / bound, params, g)
        theta = parts.prox(moved.theta, 1 / bound, view, prior)
        return moved.replace(theta=theta * mask)

    tiny = jnp.finfo(dtype).tiny
    g0, zero = gradient(start), start.replace(theta=jnp.zeros_like(start.theta))
    # Relative to the larger of the gradients at 0 and at the start: either may be a minimum.
    largest = [jnp.max(jnp.abs(g), initial=0) for g in jax.tree.leaves((g0, gradient(zero)))]
    at_zero = jnp.max(jnp.stack(largest))
    probe = jax.tree.map(lambda v, g: v - g / jnp.maximum(at_zero, tiny), start, g0)
    turn = _minus(gradient(probe), g0)
    bound0 = jnp.sqrt(_dot(turn, turn) / jnp.maximum(_dot(g0, g0), tiny)) * at_zero
    bound0 = jnp.maximum(bound0, 1e-6 * jnp.maximum(at_zero, 1)).astype(dtype)

    def residual_at(params, g, bound):
        out = stationarity(params.theta, g.theta, 1 / bound, at_zero, parts.prox, view, prior)
        others = [jnp.max(jnp.abs(g[b]), initial=0) for b in params if b != "theta"]
        for other in others:
            out = jnp.maximum(out, other / jnp.maximum(at_zero, tiny))
        return out

    def body(state):
        x, y, gy, momentum, bound, step, _ = state
        new = forward(y, gy, bound)
        g_new = gradient(new)
        move = _minus(new, y)
        length = _dot(move, move)
        curvature = _dot(_minus(g_new, gy), move)
        noise = 8 * jnp.finfo(dtype).eps * jnp.sqrt(_dot(gy, gy) * length)
        accept = curvature <= bound * length + noise
        uphill = (_dot(_minus(y, new), _minus(new, x)) > 0) | (not parts.accelerate)
        now = jnp.where(uphill, 1, momentum)
        following = (1 + jnp.sqrt(1 + 4 * now**2)) / 2
        weight = jnp.where(uphill, 0, (now - 1) / following)
        ahead = jax.tree.map(lambda a, b: a + weight * (a - b), new, x)

        def choose(a, b):
            return jax.tree.map(lambda u, w: jnp.where(accept, u, w), a, b)

        x_next, y_next = choose(new, x), choose(ahead, y)
        g_next = choose(gradient(ahead), gy)
        residual = jnp.where(accept, residual_at(new, g_new, bound), jnp.inf)
        return (
            x_next,
            y_next,
            g_next,
            jnp.where(accept, following, momentum),
            jnp.where(accept, bound, 2 * bound),
            step + 1,
            residual.astype(dtype),
        )

    def proceed(state):
        *_, step, residual = state
        return (residual > tolerance) & (step < most)

    begin = residual_at(start, g0, bound0).astype(dtype)
    state = (start, start, g0, jnp.ones((), dtype), bound0, jnp.zeros((), jnp.int32), begin)
    x, _, _, _, _, steps, residual = jax.lax.while_loop(proceed, body, state)
    # An infinite residual means a rejected step; a NaN means that the terms are not finite.
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves((x, at_zero))]))
    finite = finite & jnp.logical_not(jnp.isnan(residual))
    status = jnp.where(residual <= tolerance, Status.CONVERGED, Status.MAX_ITERATIONS)
    status = jnp.where(finite, status, Status.NOT_FINITE).astype(jnp.int32)
    return Fit(x.theta, status, residual, steps, {}, {b: x[b] for b in x if b != "theta"})
