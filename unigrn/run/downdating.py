"""Moments of all cells but a unit's, as those of all less its own: one pass, whatever the units.

Sums are taken around one pivot for all. Where a gene's variance is nearly all that of one unit, the
difference would lose its digits: the sums without such a unit are taken from the cells.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.leftout import LeftOut
from unigrn.moments import PIVOT, GroupSums, Sums, padded
from unigrn.run import reading
from unigrn.run.state import State
from unigrn.terms import Moments

LEAST = 1e-4  # share of a gene's squares that has to be left for a difference


def moments(state: State, part: np.ndarray) -> Iterator[Moments]:
    """Yield the moments without each unit, and last of all cells, for some of the targets."""
    q, p = padded(len(state.x) + 1), padded(len(part))
    assert isinstance(state.data, LeftOut) and state.data.own is not None
    groups, own = range(state.groups), state.data.own
    weights = np.ones(state.data.cells) if own.weights is None else own.weights
    weights = [weights[own.positions(g)] for g in groups]

    def fresh() -> GroupSums:
        return GroupSums(q, p, state.dtype, pivot)

    def read(feed):
        def fed(block):
            rows = slice(block.start, block.start + len(block.values))
            feed(
                block.group,
                block.values[:, state.x],
                block.values[:, state.y[part]],
                weights[block.group][None, rows],
            )

        reading.read(state, fed)

    pivot = None
    waiting, sums = [], []

    def opened():
        nonlocal pivot, sums
        pivot = tuple(np.concatenate([w[i] for w in waiting]).mean(axis=0) for i in (1, 2))
        sums = [fresh() for _ in groups]
        while waiting:
            group, *block = waiting.pop(0)
            sums[group].add(*block)

    def feed(group, *block):
        if pivot is not None:
            sums[group].add(*block)
            return
        waiting.append((group, *block))
        if sum(len(w[1]) for w in waiting) >= PIVOT:
            opened()

    read(feed)
    if waiting:
        opened()
    each = [Sums.zeros(1, q, p, state.dtype) if s.total is None else s.total for s in sums]
    total = each[0]
    for more in each[1:]:
        total = jax.tree.map(jnp.add, total, more)
    scale_x, scale_y = reading.scales(state)

    def without(group: int) -> Sums:
        return jax.tree.map(jnp.subtract, total, each[group])

    def squares(of: Sums, centred: bool) -> list[np.ndarray]:
        """Return squares of regulators and targets, around their means or the pivot."""
        count = float(of.count[0]) if centred else np.inf
        pairs = (jnp.diagonal(of.gram[0]), of.x[0]), (of.square[0], of.y[0])
        sizes = len(state.x), len(part)
        return [np.asarray(v - m**2 / count)[:n] for (v, m), n in zip(pairs, sizes, strict=True)]

    def poor(group: int) -> bool:
        """Whether a gene that varies without the unit is left with too few of its squares."""
        varies = ~state.by_group[group].constant
        left, of = squares(without(group), True), squares(total, False)
        genes = state.x, state.y[part]
        both = zip(left, of, genes, strict=True)
        return any(((v < LEAST * t) & varies[g]).any() for v, t, g in both)

    # Around a pivot of their own: that of all may be far from what is left.
    again = {g: GroupSums(q, p, state.dtype) for g in groups[:-1] if poor(g)}
    if again:
        read(lambda group, *block: [s.add(*block) for g, s in again.items() if g != group])
    for group in groups:
        made = again.get(group, fresh())
        if group not in again:
            made.total = total if group == state.groups - 1 else without(group)
        varies = ~state.by_group[group].constant
        yield made.finish(scale_x * varies[state.x], scale_y[part] * varies[state.y[part]])
