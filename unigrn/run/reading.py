"""Reading: cells become moments or rows; genes are scaled, copies permuted, systems weighted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from unigrn import progress
from unigrn.check import listed
from unigrn.data import Block, aligned
from unigrn.leftout import LeftOut, complements
from unigrn.moments import gather
from unigrn.replicates import STRETCH
from unigrn.run.state import Grid, State
from unigrn.terms import parts


def read(state: State, feed: Callable[[Block], None]) -> None:
    """Read every block once, make the regressors of stages, and look at what the columns hold."""
    done = 0
    makers = regressors(state)

    def fed(block: Block) -> None:
        nonlocal done
        feed(block)
        done += len(block.values)
        progress.report("reading cells", done, state.data.cells)

    blocks = state.data.blocks(state.columns)
    if state.copies.size > 1:
        blocks = aligned(blocks, state.data.group_sizes, STRETCH)
    if makers:
        blocks = (
            Block(b.group, b.start, np.concatenate([b.values, *(m(b.values) for m in makers)], 1))
            for b in blocks
        )
    overall, by_group = gather(blocks, fed, state.width, state.groups)
    if isinstance(state.data, LeftOut) and overall.bad is None:
        by_group = complements(by_group, state.width)
    if overall.bad is not None:
        names = np.concatenate([state.genes, *state.made])[overall.bad]
        raise ValueError(
            f"{len(names)} genes hold NaN or infinite values, e.g. "
            f"{', '.join(names[:3])}; remove or impute them first"
        )
    _check_outcomes(state, overall)
    state.overall, state.by_group = overall, by_group


def _check_outcomes(state: State, overall: Any) -> None:
    """Refuse a loss that is not defined for the expression of some target, and no counts."""
    if "counts" in state.spec.expects and (wrong := overall.fractional[state.y]).any():
        raise ValueError(
            f"{state.spec.name} needs counts, whole numbers, got fractions up to "
            f"{overall.maximum[state.y][wrong].max():g} for "
            f"{listed(state.genes[state.y[wrong]], 3)}; name the layer of the raw counts (layer=, "
            "--layer), round corrected ones, or take a method for normalised values"
        )
    for term in parts(state.spec.loss):
        if term.outcome is None:
            continue
        low, high = term.outcome
        least, most = overall.minimum[state.y], overall.maximum[state.y]
        wrong = (least < low) | (most > high)
        if wrong.any():
            names = state.genes[state.y[wrong]]
            needed = f"between {low:g} and {high:g}" if np.isfinite(high) else f">= {low:g}"
            raise ValueError(
                f"loss {term.formula} needs the expression of targets {needed}, got "
                f"{least[wrong].min():g} to {most[wrong].max():g} for {', '.join(names[:3])}; give "
                "the layer of the data that holds such values, or another loss"
            )


def regressors(state: State) -> list[Callable[[np.ndarray], np.ndarray]]:
    """Prepare the stages; one that needs to know the genes first has a pass of its own."""
    stages, statistics = state.spec.stages, None
    if any(s.statistics for s in stages):
        blocks = state.data.blocks(state.columns)
        statistics, _ = gather(blocks, lambda block: None, len(state.genes), state.groups)
    return [s.prepare(state.spec.prior, state.genes, statistics) for s in stages]


def scales(state: State) -> tuple[np.ndarray, np.ndarray]:
    """Return the factors that regulators and targets are multiplied by."""
    one_x, one_y = np.ones(len(state.x)), np.ones(len(state.y))
    if state.spec.scale is None:
        return one_x, one_y
    if state.spec.scale == "range":
        reach = (state.overall.maximum - state.overall.minimum).astype(np.float64)
        factor = 2 / np.where(state.overall.constant, 2, reach)
    else:
        factor = 1 / state.overall.deviation
    return factor[state.x], one_y if state.spec.scale == "regulators" else factor[state.y]


def middles(state: State, group: int) -> np.ndarray:
    """Return what is taken from every column of a group before it is scaled."""
    genes = state.by_group[group]
    if state.spec.scale == "standard":
        return genes.mean
    if state.spec.scale == "range":
        return (genes.maximum.astype(np.float64) + genes.minimum) / 2
    return np.zeros(state.width)


def responses(state: State, block: Block, part: np.ndarray) -> np.ndarray:
    """Targets of a block, and their copies in other orders: (cells, copies x targets)."""
    values = block.values[:, state.y[part]]
    if state.copies.size == 1:
        return values
    copies = []
    for places in state.copies.places():
        copy = values
        for over, member in zip(state.copies.over, places, strict=True):
            order = over.order(int(member), block.group, block.start, len(values), state.seed)
            copy = copy if order is None else copy[order]
        copies.append(copy)
    return np.concatenate(copies, axis=1)


def weights(
    state: State, group: int, candidates: int | None = None
) -> Callable[[int, int], np.ndarray]:
    """Weights of the cells at positions start..stop-1 of a group, (systems, cells).

    The systems that are fitted come first, then those that are held out.
    """
    count, own = int(state.data.group_sizes[group]), None
    if state.data.weights is not None:
        own = state.data.weights[state.data.positions(group)]
    fitted = [o.cells(count, group, state.seed, candidates) for o in state.systems.over]
    held = [o.held(count, group, state.seed) for o in state.held_out.over]

    def read_weights(start: int, stop: int) -> np.ndarray:
        out = product(state.systems, fitted, start, stop)
        if held:
            out = np.concatenate([out, product(state.held_out, held, start, stop)])
        return out if own is None else out * own[None, start:stop]

    return read_weights


def product(grid: Grid, readers: list[Any], start: int, stop: int) -> np.ndarray:
    """Weights of cells in every place of a grid: those of its axes, multiplied."""
    if len(readers) == 1:
        return readers[0](start, stop)
    out = np.ones((grid.size, stop - start))
    for axis, reader in enumerate(readers):
        out = out * reader(start, stop)[grid.places()[:, axis]]
    return out


def counted(state: State, group: int) -> np.ndarray:
    """How many cells every member is fitted to, draws counted as often as drawn, (members,)."""
    count = int(state.data.group_sizes[group])
    readers = [o.cells(count, group, state.seed, None) for o in state.systems.over]
    rows = product(state.systems, readers, 0, count)
    if state.data.weights is not None:
        rows = rows * (state.data.weights[state.data.positions(group)] > 0)
    return rows.sum(axis=1)[state.system]


def held_rows(state: State) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All rows of each group: (cells, regulators) and (cells, responses), scaled."""
    held: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(state.groups)]
    part = np.arange(len(state.y))
    read(state, lambda b: held[b.group].append((b.values[:, state.x], responses(state, b, part))))
    scale_x, scale_y = scales(state)
    scale_y = np.tile(scale_y, state.copies.size)
    if isinstance(state.data, LeftOut):
        yield from _without(state, held, (scale_x, scale_y))
        return
    for group, rows in enumerate(held):
        middle = middles(state, group)
        ends = ((middle[state.x], scale_x), (np.tile(middle[state.y], state.copies.size), scale_y))
        count = sum(len(r[0]) for r in rows)
        wide = tuple(np.empty((count, len(factor)), state.dtype) for _, factor in ends)
        start = 0
        while rows:  # block by block in double precision, and each is let go
            block = rows.pop(0)
            stretch = slice(start, start + len(block[0]))
            for whole, values, (centre, factor) in zip(wide, block, ends, strict=True):
                whole[stretch] = (values - centre) * factor
            start = stretch.stop
        yield wide[0], wide[1]


def _without(state: State, held: list[Any], factors: Any) -> Iterator[tuple[Any, Any]]:
    """All rows but those of each unit, and last all rows: made as they are asked for."""
    data = state.data
    assert isinstance(data, LeftOut) and data.own is not None
    whole = tuple(np.empty((data.cells, len(f)), state.dtype) for f in factors)
    for group, blocks in enumerate(held):
        if blocks:
            for rows, own in zip(whole, zip(*blocks, strict=True), strict=True):
                rows[data.own.positions(group)] = np.concatenate(own)
    held.clear()
    for group in range(state.groups):
        middle, cells = middles(state, group), data.positions(group)
        x, y = (
            (rows[cells] - middle[at]) * factor
            for rows, at, factor in zip(whole, (state.x, state.y), factors, strict=True)
        )
        yield x, y
