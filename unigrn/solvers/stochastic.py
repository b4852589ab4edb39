"""Stochastic gradient through optax: Adam on a loss that draws fresh noise at every step.

The step length falls along a cosine, and the parameters are averaged over the last half of the
steps. The certificate is the gradient averaged over fresh noise, beside its own standard error.
Sources: Kingma and Ba, ICLR (2015), arXiv:1412.6980; Polyak and Juditsky, SIAM J. Control Optim. 30
(1992) 838, doi:10.1137/0330046.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unigrn.solvers.batching import Fit
from unigrn.solvers.gradient import blocks_by_shape
from unigrn.status import Status
from unigrn.terms import Array, Blocks, PriorView, View

LENGTH = 0.05  # of the first steps, in units of the parameters
CHECKS = 128  # fresh draws for the certificate
SIGMAS = 5.0  # a gradient within so many standard errors of 0 counts as noise


def solve(
    objective, start: Blocks, view: View, prior: PriorView, tolerance: Array, most: Array
) -> Fit:
    """Take ``most`` steps from ``start``; ``objective`` draws its noise from ``view.key``."""
    dtype = start.theta.dtype
    mask = prior.valid.astype(dtype)
    slope = jax.grad(objective)

    def gradient(params, key):
        g = slope(params, View(view.moments, view.x, view.y, view.weight, key), prior)
        return g.replace(theta=g.theta * mask)

    solver = optax.scale_by_adam(b1=0.9, b2=0.99)
    late = most // 2

    walk, check = jax.random.split(view.key)

    def body(carry):
        params, mean, state, count = carry
        g = gradient(params, jax.random.fold_in(walk, count))
        share = count.astype(dtype) / most.astype(dtype)
        length = LENGTH * 0.5 * (1 + jnp.cos(jnp.pi * share)).astype(dtype)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, state = solver.update(g, state)
        params = jax.tree.map(lambda p, u: p - length * u, params, updates)
        weight = jnp.where(count < late, 1, 1 / (count - late + 1)).astype(dtype)
        mean = jax.tree.map(lambda m, p: m + weight * (p - m), mean, params)
        return params, mean, state, count + 1

    zero = jnp.zeros((), jnp.int32)
    _, params, _, steps = jax.lax.while_loop(
        lambda carry: carry[3] < most, body, (start, start, solver.init(start), zero)
    )
    keys = jax.random.split(check, CHECKS)
    draws = jax.lax.map(lambda k: gradient(params, k), keys)
    at_start = jax.tree.map(lambda g: jnp.max(jnp.abs(g), initial=0), gradient(start, keys[0]))
    scale = jnp.maximum(jnp.max(jnp.stack(jax.tree.leaves(at_start))), jnp.finfo(dtype).tiny)

    def judge(g):
        mean = jnp.mean(g, axis=0)
        error = jnp.std(g, axis=0) / jnp.sqrt(jnp.asarray(CHECKS, dtype))
        noise = jnp.abs(mean) <= SIGMAS * error + tolerance * scale
        return jnp.max(jnp.abs(mean), initial=0), jnp.all(noise)

    judged = [judge(g) for g in jax.tree.leaves(draws)]
    residual = (jnp.max(jnp.stack([r for r, _ in judged])) / scale).astype(dtype)
    finite = jnp.all(
        jnp.stack([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves((params, residual))])
    )
    within = jnp.all(jnp.stack([n for _, n in judged]))
    status = jnp.where(
        residual <= tolerance,
        Status.CONVERGED,
        jnp.where(within, Status.WITHIN_NOISE, Status.MAX_ITERATIONS),
    )
    status = jnp.where(finite, status, Status.NOT_FINITE).astype(jnp.int32)
    params = params.replace(theta=params.theta * mask)
    return Fit(params.theta, status, residual, steps, *blocks_by_shape(params))
