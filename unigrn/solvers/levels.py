"""Blocks in units of their own: curvatures, and residuals in which units have no say.

Activities and the coefficients that multiply them share one objective and no unit: beside slopes in
one block those in another may be next to nothing. Over the root of a block's curvature h both are
alike, and

    max over blocks b of  apart_b / h_b^(1/2)  relative to  max over b of  |grad_b f(0)| / h_b^(1/2)

is the same number in every unit. Entries of the diagonal of the Hessian are estimated from random
signs v of one block at a time: |mean of v (H v)|, and no less than its standard error,
(mean of (H v)^2 / PROBES)^(1/2).
Source: Hutchinson, Commun. Stat. Simul. 19 (1990) 433, doi:10.1080/03610919008812866.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from unigrn.solvers.optimality import Objective, largest
from unigrn.terms import Array, Blocks, PriorView, View

PROBES = 4  # draws of signs of each block, whose turned slopes tell its curvatures


def uneven(params: Any) -> bool:
    """Whether there are blocks whose units are their own."""
    return not set(params) <= {"theta", "intercept"}


def diagonal(gradient: Callable[[Blocks], Blocks], at: Blocks, names: Any, key: Array) -> Blocks:
    """Estimate the diagonal of the Hessian in the blocks ``names``, 0 elsewhere."""
    z, unravel = ravel_pytree(at)
    place = {n: jnp.full_like(v, i, int) for i, (n, v) in enumerate(at.items())}
    place = ravel_pytree(Blocks(**place))[0]
    turn = jax.linearize(lambda z: ravel_pytree(gradient(unravel(z)))[0], z)[1]

    def one(sums, draw):
        key, block = draw
        signs = jnp.where(place == block, jax.random.rademacher(key, z.shape, z.dtype), 0)
        turned = jnp.where(place == block, turn(signs), 0)
        return (sums[0] + signs * turned, sums[1] + turned**2), None

    blocks = jnp.asarray([i for i, n in enumerate(at) if n in names] * PROBES)
    draws = jax.random.split(key, blocks.size), blocks
    (along, squares), _ = jax.lax.scan(one, (jnp.zeros_like(z), jnp.zeros_like(z)), draws)
    out = jnp.maximum(jnp.abs(along), jnp.sqrt(squares)) / PROBES
    return unravel(jnp.where(jnp.isfinite(out), out, 0))


def curvatures(gradient: Callable[[Blocks], Blocks], at: Blocks) -> dict[str, Array]:
    """Return one curvature of every block, that of the others where it shows none."""
    own = diagonal(gradient, at, list(at), jax.random.key(0))
    bends = {b: jnp.sqrt(jnp.mean(v**2)) for b, v in own.items()}
    most = jnp.max(jnp.stack(list(bends.values())))
    return {b: jnp.where(h > 0, h, jnp.where(most > 0, most, 1)) for b, h in bends.items()}


def relative(apart: Any, slopes: Any, still: Any, begin: Any, bends: Any) -> Array:
    """Return the largest of ``apart`` relative to slopes at theta = 0, over roots of curvatures.

    Where these are undefined, or exactly those of the point, as where theta does not matter, those
    at the start serve.
    """

    def size(some):
        return largest({b: some[b] / jnp.sqrt(jnp.where(h > 0, h, 1)) for b, h in bends.items()})

    out, zero, first = size(apart), size(still), size(begin)
    matters = size({b: still[b] - slopes[b] for b in bends}) > 0
    level = jnp.where(jnp.isfinite(zero) & matters, zero, first)
    return out / jnp.maximum(level, jnp.finfo(out.dtype).tiny)


def asked(
    obj: Objective,
    gradient: Callable[[Blocks], Blocks],
    at: Blocks,
    start: Blocks,
    sizes: Array,
    bound: Array,
    tolerance: Array,
    view: View,
    prior: PriorView,
) -> Array:
    """Return ``sizes``, or less where blocks in units of their curvature are further off.

    ``bound`` is the curvature of the steps that led here: whether a prox that is not convex stays
    depends on how long they are.
    """
    if not uneven(at):
        return sizes
    bends, g = curvatures(gradient, at), gradient(at)
    taken = {b: bends[b] if j.convex else bound for b, j in obj.joints.items()}
    moved = at.replace(**{b: at[b] - g[b] / h for b, h in taken.items()})
    steps = at.replace(**{b: jnp.full_like(at[b], 1 / h) for b, h in taken.items()})
    steps = steps.replace(**{b: 1 / taken[b] for b, j in obj.joints.items() if not j.entrywise})
    after = obj.prox(moved, steps, view, prior)
    apart = dict(g) | {b: (at[b] - after[b]) * h for b, h in taken.items()}
    still = gradient(at.replace(theta=jnp.zeros_like(at.theta)))
    off = relative(apart, g, still, gradient(start), bends)
    less = sizes * jnp.clip(0.5 * tolerance / jnp.maximum(off, tolerance), 1e-4, 1)
    return jnp.where(off > tolerance, less, sizes).astype(sizes.dtype)
