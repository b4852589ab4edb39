"""Gradient descent through optax: L-BFGS with a zoom line search, for any differentiable spec.

An interval constraint is met by the change of variables theta = bijector(z).
Sources: Liu and Nocedal, Math. Program. 45 (1989) 503, doi:10.1007/BF01589116; DeepMind et al.,
optax.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unigrn.solvers.batching import Fit
from unigrn.solvers.split import Split, stationarity
from unigrn.status import Status
from unigrn.terms import Array, Blocks, PriorView, View


def solve(
    parts: Split,
    bijector,
    start: Blocks,
    view: View,
    prior: PriorView,
    tolerance: Array,
    most: Array,
) -> Fit:
    """Solve one fit, or one whole network, from ``start``."""
    dtype = start.theta.dtype
    mask = prior.valid.astype(dtype)

    def natural(z: Blocks) -> Blocks:
        theta = z.theta if bijector is None else bijector(z.theta, prior)
        return z.replace(theta=theta * mask)

    def objective(z):
        return parts.smooth(natural(z), view, prior)

    solver = optax.lbfgs(memory_size=10)
    advance = optax.value_and_grad_from_state(objective)
    slope = jax.grad(parts.smooth)

    def largest(g):
        return jnp.max(jnp.stack([jnp.max(jnp.abs(v), initial=0) for v in jax.tree.leaves(g)]))

    zero = start.replace(theta=jnp.zeros_like(start.theta))
    g0 = slope(zero, view, prior)
    first = slope(natural(start), view, prior)
    # Relative to the larger of the gradients at 0 and at the start: 0 may be the solution.
    at_zero = largest([g.replace(theta=g.theta * mask) for g in (g0, first)])
    tiny = jnp.finfo(dtype).tiny
    # Step of the projected gradient: one over the curvature along the first gradient.
    ahead = first.theta * mask / jnp.maximum(at_zero, tiny)
    turn = slope(natural(start).replace(theta=natural(start).theta + ahead), view, prior).theta
    bend = jnp.sqrt(jnp.sum(((turn - first.theta) * mask) ** 2))
    length = jnp.sqrt(jnp.sum(ahead**2))
    step = jnp.where(bend > 0, length / jnp.maximum(bend, tiny), 1).astype(dtype)

    def residual_at(z):
        params = natural(z)
        g = slope(params, view, prior)
        g = g.replace(theta=g.theta * mask)
        out = stationarity(params.theta, g.theta, step, at_zero, parts.prox, view, prior)
        for block in params:
            if block != "theta":
                other = jnp.max(jnp.abs(g[block]), initial=0)
                out = jnp.maximum(out, other / jnp.maximum(at_zero, tiny))
        return out

    def body(carry):
        z, state, count, _ = carry
        # optax relies on implicit promotion, whatever the user's own setting.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            value, g = advance(z, state=state)
            updates, state = solver.update(g, state, z, value=value, grad=g, value_fn=objective)
            z = optax.apply_updates(z, updates)
        return z, state, count + 1, residual_at(z).astype(dtype)

    def proceed(carry):
        *_, count, residual = carry
        return (residual > tolerance) & (count < most)

    begin = (start, solver.init(start), jnp.zeros((), jnp.int32), residual_at(start).astype(dtype))
    z, _, steps, residual = jax.lax.while_loop(proceed, body, begin)
    params = natural(z)
    finite = jnp.all(
        jnp.stack([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves((params, residual, at_zero))])
    )
    status = jnp.where(residual <= tolerance, Status.CONVERGED, Status.MAX_ITERATIONS)
    status = jnp.where(finite, status, Status.NOT_FINITE).astype(jnp.int32)
    return Fit(params.theta, status, residual, steps, *blocks_by_shape(params))


def blocks_by_shape(params: Blocks) -> tuple[dict[str, Array], dict[str, Array]]:
    """Nuisance blocks with one number an edge, shaped like theta, and those with one a target."""
    others = {b: params[b] for b in params if b != "theta"}
    by_entry = {b: v for b, v in others.items() if v.shape == params.theta.shape}
    return by_entry, {b: v for b, v in others.items() if b not in by_entry}
