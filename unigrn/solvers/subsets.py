"""Best subset of a few candidates: every subset is tried, so that the least is the least.

With the joint matrix M = [[G, c], [c', s]] of candidates and target, sweeping M on the candidates
of a subset leaves the least-squares coefficients and their residual sum of squares in its last
column. All subsets of the last candidates are made from one another, one sweep each; those of the
first are gone through in turn, so that memory stays small.

Where a target has more candidates than the criterion takes, the pool (candidates that the prior
names, and as many others with the largest |correlation| as it takes; at most `POOL`, the prior's
and then the largest first) is ranked by the sum of the criterion over all subsets of one and two of
the pool that hold a candidate, and the least stay. The certificate is about the subsets of those.
A subset is left out where one of it is determined by the others up to 1e-9 of its squares.
Sources: Greenfield, Hafemeister and Bonneau, Bioinformatics 29 (2013) 1060,
doi:10.1093/bioinformatics/btt099; Furnival and Wilson, Technometrics 16 (1974) 499.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.losses.subsets import DEPENDENT
from unigrn.solvers.optimality import Fit, Options
from unigrn.spec import Slots
from unigrn.status import Status
from unigrn.terms import Array, Blocks, Moments, PriorView, View

POOL = 32
TOGETHER = 6  # candidates whose subsets are held at a time


def _swept(matrix: Array, j: int) -> tuple[Array, Array]:
    """Sweep matrices (..., k + 1, k + 1) on candidate j; also their pivots."""
    pivot = matrix[..., j, j]
    row = matrix[..., j, :] / jnp.where(pivot > 0, pivot, 1)[..., None]
    out = matrix - matrix[..., :, j, None] * row[..., None, :]
    return out.at[..., j, :].set(row), pivot


def screened(loss: Any, m: Moments, prior: PriorView, count: int) -> tuple[Array, Array]:
    """Return positions of the candidates that stay, (count,), and which of these are real."""
    own = jnp.diagonal(m.gram)
    size = jnp.sqrt(own * m.square)
    r = jnp.where(size > 0, jnp.abs(m.cross) / jnp.where(size > 0, size, 1), 0)
    live = prior.valid & (own > 0)
    place = jnp.argsort(jnp.argsort(jnp.where(live & ~prior.support, -r, 1), stable=True))
    inside = live & (prior.support | (place < count))
    order = jnp.where(inside, r + 2 * prior.support.astype(r.dtype), -1)
    pool = jnp.argsort(-order, stable=True)[:POOL]
    real = inside[pool]
    if pool.shape[0] <= count:
        return pool, real
    # The criterion of every subset of one and two of the pool.
    g, c = m.gram[pool[:, None], pool[None, :]], m.cross[pool]
    h, d = loss.shrinkage(prior)[pool], jnp.where(real, own[pool], 1)
    alone = c / d
    one = loss.criterion(
        jnp.maximum(m.square - alone * c, 0), (h * alone) ** 2 * d, jnp.ones_like(d), m.count
    )
    det = d[:, None] * d[None, :] - g**2
    free = det > DEPENDENT * d[:, None] * d[None, :]
    a = (c[:, None] * d[None, :] - c[None, :] * g) / jnp.where(free, det, 1)
    u = h[:, None] * a
    rss = m.square - a * c[:, None] - a.T * c[None, :]
    shrunk = u**2 * d[:, None] + u.T**2 * d[None, :] + 2 * u * u.T * g
    two = loss.criterion(jnp.maximum(rss, 0), shrunk, jnp.full_like(g, 2), m.count)
    # A pair of which one determines the other is the one, with a coefficient more to pay for.
    two = jnp.where(free, two, one[:, None] + jnp.log(jnp.maximum(m.count, 1)))
    both = real[:, None] & real[None, :] & ~jnp.eye(len(pool), dtype=bool)
    total = jnp.where(real, one + jnp.sum(jnp.where(both, two, 0), axis=1), jnp.inf)
    # What fits into the subsets stays, however the others rank.
    keep = jnp.argsort(total, stable=True)[:count]
    return pool[keep], real[keep]


def solve(terms: Slots, view: View, prior: PriorView, options: Options) -> Fit:
    """Solve one fit, whose loss is a criterion of subsets, by trying every subset."""
    loss, m = terms.loss.subsets(), view.moments
    k = min(loss.candidates, m.cross.shape[0])
    kept, real = screened(loss, m, prior, k)
    g = jnp.where(real[:, None] & real[None, :], m.gram[kept[:, None], kept[None, :]], 0)
    c = jnp.where(real, m.cross[kept], 0)
    h = loss.shrinkage(prior)[kept]
    joint = jnp.block([[g, c[:, None]], [c[None, :], m.square[None, None]]])
    least = DEPENDENT * jnp.diagonal(g)
    head = max(k - TOGETHER, 0)

    def sweep(j, matrix):
        """Return swept matrices, and whether their new candidate is none that others determine."""
        new, pivot = _swept(matrix, j)
        return new, (pivot > least[j]) & real[j]

    def go(best, number):
        """Try all subsets of the last candidates, beside one of the first."""
        matrix, sound = joint, jnp.ones((), bool)
        bits = (number >> jnp.arange(max(head, 1))) & 1
        for j in range(head):
            new, good = sweep(j, matrix)
            matrix = jnp.where(bits[j] > 0, new, matrix)
            sound = sound & (good | (bits[j] == 0))
        used = jnp.zeros((1, k), bool).at[0, :head].set(bits[:head] > 0)
        matrix, sound = matrix[None], sound[None]
        for j in range(head, k):
            new, good = sweep(j, matrix)
            matrix = jnp.concatenate([matrix, new])
            sound = jnp.concatenate([sound, sound & good])
            used = jnp.concatenate([used, used.at[:, j].set(True)])
        beta = jnp.where(used, matrix[:, :k, k], 0)
        u = beta * h[None]
        shrunk = jnp.sum(u * (u @ g), axis=1)
        rss = jnp.maximum(matrix[:, k, k], 0)
        value = loss.criterion(rss, shrunk, jnp.sum(used, axis=1).astype(rss.dtype), m.count)
        value = jnp.where(sound & jnp.isfinite(value), value, jnp.inf)
        at = jnp.argmin(value)
        found = (value[at], beta[at], used[at], rss[at])
        return jax.tree.map(partial(jnp.where, found[0] < best[0]), found, best), None

    none = (jnp.full((), jnp.inf, g.dtype), jnp.zeros_like(c), jnp.zeros(k, bool), m.square)
    (value, beta, used, rss), _ = jax.lax.scan(go, none, jnp.arange(2**head))
    return _fitted(m, g, c, kept, beta, used, rss, value)


def _fitted(m: Moments, g, c, kept, beta, used, rss, value) -> Fit:
    """Put the best subset back among all candidates, with what each edge of it explains."""
    both = used[:, None] & used[None, :]
    inverse = jnp.linalg.inv(jnp.where(both, g, jnp.eye(len(c), dtype=g.dtype)))
    rise = jnp.where(used, beta**2 / jnp.diagonal(inverse), 0)
    whole = rss + rise
    share = jnp.where(whole > 0, rise / jnp.where(whole > 0, whole, 1), 0)
    theta, explained = (jnp.zeros_like(m.cross).at[kept].add(v) for v in (beta, share))
    # Least squares on its support: the slope there, relative to that at 0.
    slope = jnp.max(jnp.where(used, jnp.abs(g @ beta - c), 0))
    residual = slope / jnp.maximum(jnp.max(jnp.abs(m.cross)), jnp.finfo(g.dtype).tiny)
    exact = residual <= 1e4 * len(c) * jnp.finfo(g.dtype).eps
    status = jnp.where(exact, Status.CONVERGED, Status.INACCURATE)
    status = jnp.where(jnp.isfinite(value), status, Status.NOT_FINITE).astype(jnp.int32)
    params = Blocks(theta=theta, explained=explained)
    return Fit(params, status, residual, jnp.ones((), jnp.int32), value)
