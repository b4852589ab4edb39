"""From moments of all regulators to the view that each fit has of its own candidates.

Fits form a grid of S systems (groups, bags) by T targets; they are laid out system by system along
one batch axis N = S T.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unigrn.problem import Entries, Tasks
from unigrn.terms import Array, Moments, PriorView, View, pytree


@pytree
class Fit:
    """Outcome of a batch of fits; leaves have the batch as their first axis."""

    theta: Array
    status: Array
    residual: Array
    iterations: Array
    by_entry: dict[str, Array]  # statistics of every coefficient
    by_target: dict[str, Array]  # nuisance blocks


def positions(tasks: Tasks, entries: Entries) -> tuple[Array, Array, PriorView]:
    """Return regulator index (N, k), validity (N, k) and prior view (N, k) of each fit."""
    place = jnp.take(tasks.table, tasks.row.reshape(-1), axis=0)
    valid = place >= 0
    empty = entries.candidate.shape[0] - 1
    start = jnp.tile(tasks.start, tasks.row.shape[0])
    flat = jnp.where(valid, start[:, None] + place, empty)
    index = jnp.take(entries.candidate, flat)
    prior = jax.tree.map(lambda v: jnp.take(v, flat), entries.prior)
    return index, valid, prior


def grid(tasks: Tasks) -> tuple[Array, Array]:
    """System and target of each fit, (N,)."""
    systems, targets = tasks.row.shape
    return (
        jnp.repeat(jnp.arange(systems, dtype=jnp.int32), targets),
        jnp.tile(tasks.target, systems),
    )


def scalars(moments: Moments, tasks: Tasks, index: Array) -> Moments:
    """Moments of each fit without the Gram matrix, which closed forms gather on their own."""
    s, t = grid(tasks)
    return Moments(
        gram=None,
        cross=moments.cross[s[:, None], index, t[:, None]],
        square=moments.square[s, t],
        count=moments.count[s],
        mean_x=moments.mean_x[s[:, None], index],
        mean_y=moments.mean_y[s, t],
    )


def with_gram(small: Moments, moments: Moments, tasks: Tasks, index: Array) -> Moments:
    """Add the gathered Gram matrices, (N, k, k)."""
    s, _ = grid(tasks)
    gram = moments.gram[s[:, None, None], index[:, :, None], index[:, None, :]]
    return Moments(gram, small.cross, small.square, small.count, small.mean_x, small.mean_y)


def moment_views(moments: Moments, tasks: Tasks, entries: Entries) -> tuple[View, PriorView]:
    """Return views of all fits of a batch, with their moments."""
    index, _, prior = positions(tasks, entries)
    small = scalars(moments, tasks, index)
    return View(with_gram(small, moments, tasks, index)), prior


def row_views(
    x: Array, y: Array, weight: Array | None, key: Array, tasks: Tasks, entries: Entries
) -> tuple[View, PriorView]:
    """Return views of all fits of a batch, with rows ``x`` (cells, q) and ``y`` (cells, p).

    ``weight`` is (systems, cells) or None. Every fit has a key of its own.
    """
    index, _, prior = positions(tasks, entries)
    s, t = grid(tasks)
    own = jnp.moveaxis(jnp.take(x, index, axis=1), 1, 0)
    response = jnp.take(y, t, axis=1).T
    keys = jax.vmap(lambda i, j: jax.random.fold_in(jax.random.fold_in(key, i), j))(s, t)
    return View(None, own, response, None if weight is None else weight[s], keys), prior
