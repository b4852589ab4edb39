"""Observed columns beside a kernel over targets: one system for all regulators, in closed form.

For  sum_t w_t |theta_t - P_t|^2 + lambda tr(theta K^-1 theta')  with observed targets V, w_t > 0,

    theta = a K_V.,    a = P_V G^-1,    G = K_VV + lambda diag(1 / w_V),

(the representer theorem): K is factorised on V only, and inverted nowhere. Of targets B that are
left out together the prediction from the others is exact without another fit,

    theta_B without B = P_B - a_B (G^-1)_BB^-1,

for one target P_t - a_t / (G^-1)_tt. Of several strengths or kinds of kernel that pair is taken
whose left-out predictions rank the known edges best (average precision). The certificate is the
residual of the stationarity conditions, w_t (theta_t - P_t) + lambda a_t = 0 for t in V, relative
to max |w P|, with theta computed anew from a.

Sources: Kimeldorf and Wahba, J. Math. Anal. Appl. 33 (1971) 82, doi:10.1016/0022-247X(71)90184-3;
Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press (2006), section 5.4.2.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from unigrn.backend import one_blas_thread
from unigrn.solvers import optimality
from unigrn.solvers.optimality import Fit, Options
from unigrn.spec import Slots
from unigrn.terms import Array, Blocks, PriorView, View

FOLDS = 10  # parts of the observed targets that are left out in turn
ENOUGH = 1536  # observed targets by which strength and width are chosen, at most
STEP = 128  # sizes of compiled systems are multiples of it

# Blocks beside theta: predictions without a target's own edges (theta itself where none are
# known), the part in which a target was left out (-1: not observed), and what was chosen.
BRINGS = (
    ("left_out", ("regulators", "targets")),
    ("part", ("targets",)),
    ("strength", ()),
    ("kernel", ("settings",)),
)


def parts_of(group: np.ndarray | None, chosen: np.ndarray) -> np.ndarray:
    """Assign the chosen targets to parts, (chosen,): groups in turn, never split."""
    group = chosen if group is None else np.asarray(group)[chosen]
    _, first, place = np.unique(group, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))  # groups in the order in which they first come
    return order[place] % min(FOLDS, len(first))


def members_of(part: np.ndarray) -> np.ndarray:
    """Positions of every part, (parts, most), -1 where a part is shorter."""
    lists = [np.flatnonzero(part == b) for b in range(part.max() + 1)]
    most = -(-max(map(len, lists)) // 32) * 32
    return np.stack([np.pad(own, (0, most - len(own)), constant_values=-1) for own in lists])


@partial(jax.jit, static_argnames=("shape",))
def look(shape: Any, terms: tuple, view: View, prior: PriorView) -> Any:
    """Return what is observed."""
    return Slots(shape, terms).loss.observed(view, prior)


@partial(jax.jit, static_argnames=("shape",))
def matrix(shape: Any, terms: tuple, view: View, prior: PriorView, rows: Array, kind: Any) -> Any:
    """Return rows of one kind of the kernel."""
    return Slots(shape, terms).regularizer.kernel(view, prior, rows, kind)


@jax.jit
def system(
    kernel: Array, strength: Array, values: Array, weight: Array, members: Array
) -> tuple[Array, Array]:
    """Return a and the left-out predictions, both (regulators, V), of a kernel (V, V).

    A weight of 0 is padding: its row of G is that of the identity.
    """
    real = weight > 0
    both = real[:, None] & real[None, :]
    own = jnp.where(real, strength / jnp.where(real, weight, 1), 1)
    lower = jnp.linalg.cholesky(jnp.where(both, kernel, 0) + jnp.diag(own))
    inverse = solve_triangular(lower, jnp.eye(len(own), dtype=kernel.dtype), lower=True)
    inverse = inverse.T @ inverse
    dual = jnp.where(real[None, :], values, 0) @ inverse

    def without(place):
        there = place >= 0
        block = inverse[place][:, place]
        block = jnp.where(
            there[:, None] & there[None, :], block, jnp.eye(len(place), dtype=block.dtype)
        )
        turned = jnp.linalg.solve(block, jnp.where(there[:, None], dual.T[place], 0))
        return values.T[place] - turned

    found = jax.lax.map(without, members)  # (parts, most, regulators)
    place = jnp.where(members >= 0, members, len(own)).reshape(-1)
    out = values.T.at[place].set(found.reshape(-1, values.shape[0]), mode="drop")
    return dual, out.T


@jax.jit
def precision(scores: Array, values: Array, counted: Array) -> Array:
    """Average precision of the scores that count, with known edges as positives; padding is none.

    All three (regulators, V).
    """
    order = jnp.argsort(-jnp.where(counted, scores, -jnp.inf).reshape(-1))
    hit = (jnp.where(counted, values, 0) > 0).reshape(-1)[order]
    hits = jnp.cumsum(hit)
    share = hits.astype(scores.dtype) / jnp.arange(1, hit.size + 1, dtype=scores.dtype)
    return jnp.sum(jnp.where(hit, share, 0)) / jnp.maximum(hits[-1], 1).astype(scores.dtype)


@jax.jit
def finish(
    near: Array, columns: Array, strength: Array, dual: Array, out: Array, seen: Any, place: Array
) -> tuple[Blocks, Array, Array]:
    """Return theta with the left-out predictions, the residual and the objective.

    ``near`` (V, targets) are rows of K, ``place`` (V,) the targets they belong to.
    """
    theta = dual @ near
    weight = jnp.where(place < theta.shape[1], seen.weight[place], 0)
    values = seen.values[:, place]
    weighted = weight[None, :] * (theta[:, place] - values) + strength * dual
    apart = jnp.where(weight[None, :] > 0, weighted, 0)
    size = jnp.max(jnp.abs(weight[None, :] * values), initial=0)
    residual = jnp.max(jnp.abs(apart), initial=0) / jnp.where(size > 0, size, 1)
    fit = jnp.sum(weight * jnp.sum((theta[:, place] - values) ** 2, axis=0))
    value = fit + strength * jnp.sum(dual * (dual @ columns))
    target = jnp.where(weight > 0, place, theta.shape[1])
    left_out = theta.at[:, target].set(out, mode="drop")
    return Blocks(theta=theta, left_out=left_out), residual, value


def padded(chosen: np.ndarray, targets: int) -> np.ndarray:
    """Positions at one of few lengths; what is padded stands beyond the last target."""
    length = -(-len(chosen) // STEP) * STEP
    return np.pad(chosen, (0, length - len(chosen)), constant_values=targets).astype(np.int32)


def solve(shape, terms, view, prior, keys, options: Options, history: int, report: Any) -> Fit:
    """Solve a whole network; every start gives the same answer."""
    shape = dataclasses.replace(shape, rules=None, columns=(), gauge=None)
    view = view.replace(key=None)
    with one_blas_thread():
        fit = jax.block_until_ready(_solve(shape, terms, view, prior, options, report))
    return jax.tree.map(lambda v: jnp.broadcast_to(v, (keys.shape[0], *jnp.shape(v))), fit)


def _solve(shape, terms, view, prior, options: Options, report: Any) -> Fit:
    seen = look(shape, terms, view, prior)
    weight, targets = np.asarray(seen.weight), seen.values.shape[1]
    chosen = np.flatnonzero(weight > 0)
    if not len(chosen):
        raise ValueError(
            "no target has a known edge; this method learns from targets whose regulators the "
            "prior names: give a prior whose targets are measured and among --targets"
        )
    group = None if seen.group is None else np.asarray(seen.group)
    part = parts_of(group, chosen)

    def at(rows: np.ndarray):
        """Return padded positions, and what is observed there."""
        wide = padded(rows, targets)
        there = wide < targets
        safe = np.where(there, wide, 0)
        return wide, safe, np.asarray(seen.values)[:, safe] * there, weight[safe] * there

    rows = partial(matrix, shape, terms, view, prior)
    # Evenly spaced targets choose where there are many; their number is the price of a step.
    few = slice(None, None, -(-len(chosen) // ENOUGH))
    _, safe, values, own = at(chosen[few])
    form = jax.eval_shape(rows, safe, 0)
    count = form.strengths.shape[0] * form.settings.shape[0]
    best, scores = (0, 0), {}
    if count > 1 and part.max() < 1:
        raise ValueError(
            "strength and kernel are chosen by leaving out targets with known edges, and there is "
            "one group of them; give one of each"
        )
    if count > 1:
        members = members_of(part[few])
        counted = np.asarray(prior.valid)[:, safe] & (own > 0)
        for kind in range(form.settings.shape[0]):
            found = rows(safe, np.int32(kind))
            near = found.matrix[:, safe]
            for s in range(form.strengths.shape[0]):
                _, out = system(near, found.strengths[s], values, own, members)
                scores[kind, s] = float(precision(out, values, counted))
                report(len(scores), count + 1)
        best = max(scores, key=lambda pair: np.nan_to_num(scores[pair], nan=-1.0))
    wide, safe, values, own = at(chosen)
    found = rows(safe, np.int32(best[0]))
    near, strength = found.matrix, found.strengths[best[1]]
    columns = near[:, safe]
    dual, out = system(columns, strength, values, own, members_of(part))
    params, residual, value = finish(near, columns, strength, dual, out, seen, wide)
    if part.max() < 1:  # nothing is left to learn from without the one group there is
        params = params.replace(left_out=params.left_out.at[:, chosen].set(jnp.nan))
    parts = np.full(targets, -1, np.int32)
    parts[chosen] = part
    params = params.replace(part=parts, strength=strength, kernel=found.settings[best[0]])
    status = optimality.ended((params.theta, value), residual, options.tolerance)
    report(count + 1, count + 1)
    return Fit(params, status, residual.astype(params.theta.dtype), np.int32(1), value)
