"""Fits that separate over targets: bucket by bucket, in compiled calls of few shapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn import progress
from unigrn.backend import UNSPLIT, side_by_side
from unigrn.binding import laid, places
from unigrn.columns import read
from unigrn.data import Block
from unigrn.leftout import LeftOut
from unigrn.moments import GroupSums, padded, padded_rows
from unigrn.problem import Problem, Tasks, bucket, chunk_size
from unigrn.replicates import condensed
from unigrn.run import downdating, reading
from unigrn.run.finish import finish_group
from unigrn.run.state import State, kept
from unigrn.solvers import batching
from unigrn.solvers.batching import Members, Rows
from unigrn.solvers.optimality import Fit
from unigrn.spec import Slots, Spec
from unigrn.terms import Array, Moments, outside, parts, pytree


@pytree
class Outcome:
    """What one compiled call gives back: of M members and T targets with up to K candidates."""

    edges: dict[str, Array]  # (M or outer members, T, K)
    blocks: dict[str, Array]  # (M, T, ...)
    numbers: dict[str, Array]  # (M, T)
    status: Array
    residual: Array
    iterations: Array


@partial(jax.jit, static_argnames=("solver", "shape", "inner", "wants"), compiler_options=UNSPLIT)
def fits(solver, shape, inner, wants, terms, source, members: Members, options) -> Outcome:
    """One compiled call: terms and data are arguments, so new numbers do not recompile."""
    tasks = members.tasks
    fit: Fit = batching.solve(solver, shape, terms, source, members, options)
    look = partial(batching.looked_at, shape=shape, terms=terms, source=source, members=members)
    params = fit.params
    if shape.gauge is not None:
        params = look(lambda slots, own, view, prior: shape.gauge(own, view, prior), params=params)
    columns = {"weight": params.theta}
    if shape.columns:
        columns |= look(
            lambda slots, own, view, prior: read(shape.columns, own, view, prior, slots),
            params=params,
        )
    numbers = {"objective": fit.value, "residual": fit.residual}
    whole = isinstance(source, Moments) and set(params) == {"theta"}
    for name, held in wants:
        if whole and Slots(shape, terms).loss.quadratic is not None:
            numbers[name] = batching.losses(shape, terms, source, members, params.theta, held)
            continue
        numbers[name] = look(
            lambda slots, own, view, prior: slots.loss(own, view, prior), params=params, held=held
        )

    def by_member(values):
        return values.reshape(*tasks.row.shape, *values.shape[1:])

    edges = {name: by_member(values) for name, values in columns.items()}
    drawn = None
    if tasks.inverse is not None:
        # From the candidates of each member to all candidates of the target.
        place = tasks.inverse[tasks.row]
        drawn = place >= 0
        edges = {
            name: jnp.where(
                drawn, jnp.take_along_axis(values, jnp.maximum(place, 0), axis=2), jnp.nan
            )
            for name, values in edges.items()
        }
    if inner is not None:
        theta = edges["weight"]
        drawn = jnp.ones(theta.shape, bool) if drawn is None else drawn

        def split(values):
            return values.reshape(-1, inner.size, *values.shape[1:])

        edges = {name: split(values) for name, values in edges.items()}
        edges = jax.vmap(partial(condensed, inner))(edges, split(drawn))
    blocks = (
        {}
        if tasks.inverse is not None
        else {b: by_member(params[b]) for b in params if b != "theta"}
    )
    return Outcome(
        edges,
        blocks,
        jax.tree.map(by_member, numbers),
        *(by_member(v) for v in (fit.status, fit.residual, fit.iterations)),
    )


def on_moments(state: State) -> None:
    """One pass over the cells for the moments of all groups, then no cell is needed."""
    if any(o.by_candidates for o in state.spec.over):
        by_candidates(state)
        return
    # What the members of each group found, until the last pass has gone over its targets.
    found: list[Any] = [({}, {}) for _ in range(state.groups)]
    for part, sums, last in passes(state):
        for group, moments in enumerate(sums):
            state.edges, state.numbers = found[group]
            solve(state, group, moments, part)
            if last:
                found[group] = None
                finish_group(state, group)
            progress.report("fitting groups", group + 1, state.groups)


def on_groups(state: State) -> None:
    """Fit all groups at once, one after the other in the systems of the moments."""
    kept_back: list[tuple[np.ndarray, Outcome]] = []
    for part, sums, _ in passes(state):
        moments = jax.tree.map(lambda *v: jnp.concatenate(v), *sums)
        kept_back += solve(state, None, moments, part)
    for group in range(state.groups):
        for own, outcome in kept_back:
            edges = {name: values[..., group, :] for name, values in outcome.edges.items()}
            store(state, group, own, replace(outcome, edges=edges))
        finish_group(state, group)


def passes(state: State) -> Iterator[tuple[np.ndarray, Iterator[Moments], bool]]:
    """Yield parts of the targets, the moments of every group for them, and whether it is the last.

    Each part is one pass over the cells; the sums of a group are let go once it is fitted.
    """
    plan, count = state.plan, len(state.y)
    q, width = padded(len(state.x) + 1), plan.width()
    for start in range(0, count, width):
        part = np.arange(start, min(start + width, count))
        if isinstance(state.data, LeftOut):
            yield part, downdating.moments(state, part), start + width >= count
            continue
        sums = [
            GroupSums(q, padded(len(part) * state.copies.size), state.dtype)
            for _ in range(state.groups)
        ]
        weights = [reading.weights(state, g) for g in range(state.groups)]

        def feed(block: Block, sums=sums, weights=weights, part=part) -> None:
            weight = weights[block.group](block.start, block.start + len(block.values))
            sums[block.group].add(
                block.values[:, state.x], reading.responses(state, block, part), weight
            )

        reading.read(state, feed)
        scale_x, scale_y = reading.scales(state)

        def finished(sums=sums, scale_x=scale_x, scale_y=scale_y, part=part) -> Iterator[Moments]:
            while sums:
                yield sums.pop(0).finish(scale_x, np.tile(scale_y[part], state.copies.size))

        yield part, finished(), start + width >= count


def by_candidates(state: State) -> None:
    """Weights of cells that depend on the number of candidates: one number after the other."""
    held: list[list[Block]] = [[] for _ in range(state.groups)]
    reading.read(state, lambda block: held[block.group].append(block))
    scale_x, scale_y = reading.scales(state)
    q = padded(len(state.x) + 1)
    sizes = np.unique(state.problem.sizes[state.problem.sizes > 0])
    for group in range(state.groups):
        for i, candidates in enumerate(sizes):
            part = np.flatnonzero(state.problem.sizes == candidates)
            weights = reading.weights(state, group, int(candidates))
            sums = GroupSums(q, chunk_size(len(part) * state.copies.size, np.inf), state.dtype)
            for block in held[group]:
                sums.add(
                    block.values[:, state.x],
                    reading.responses(state, block, part),
                    weights(block.start, block.start + len(block.values)),
                )
            moments = sums.finish(scale_x, np.tile(scale_y[part], state.copies.size))
            solve(state, group, moments, part)
            progress.report("fitting", group * len(sizes) + i + 1, state.groups * len(sizes))
        finish_group(state, group)


def on_rows(state: State) -> None:
    """Solve on rows: for losses that have no moments."""
    plan, dtype = state.plan, state.dtype
    weighted = plan.weighted
    for group, (x, y) in enumerate(reading.held_rows(state)):
        rows, weight = len(x), None
        if weighted:
            # Rows of weight 0 bring the number of cells to one of few sizes.
            rows = len(x) if plan.exact else padded_rows(len(x))
            own = reading.weights(state, group)(0, len(x))
            weight = np.zeros((own.shape[0], rows), dtype)
            weight[:, : len(x)] = own
        wide = np.zeros((rows, padded(x.shape[1] + 1)), dtype)
        # With an intercept a constant regulator is taken out, as the moments do.
        flat = state.by_group[group].constant[state.x] & free_intercept(state.spec)
        wide[: len(x), : x.shape[1]] = np.where(flat, 0, x)
        state.level = np.where(flat, x[0], 0)
        tall = np.zeros((rows, padded(y.shape[1])), dtype)
        tall[: len(y), : y.shape[1]] = y
        solve(state, group, Rows(wide, tall, weight, {}), np.arange(len(state.y)))
        finish_group(state, group)
        progress.report("fitting groups", group + 1, state.groups)


def free_intercept(spec: Spec) -> bool:
    """Whether a constant regulator changes nothing that the intercept could not make up for."""
    priced = parts(spec.regularizer) + parts(spec.constraint)
    return (
        "intercept" in spec.blocks
        and not any("intercept" in t.blocks for t in priced)
        and not any(outside(t) for t in parts(spec.loss))
    )


def tables(state: State, k: int, sizes: np.ndarray):
    """Positions of the candidates that enter a fit, for each number of candidates.

    Returns the table (rows, k), its inverse (rows, K) or None, and the first row of each size.
    """
    kinds = np.unique(sizes)
    drawing = state.drawing.over
    if drawing:
        rows = [np.sort(drawing[0].candidates(int(size), state.seed), axis=1) for size in kinds]
    else:
        rows = [np.arange(size)[None, :] for size in kinds]
    first = np.concatenate([[1], 1 + np.cumsum([len(r) for r in rows])])
    table = np.full((padded(first[-1]), k), -1, np.int32)
    for begin, positions in zip(first, rows, strict=False):
        table[begin : begin + len(positions), : positions.shape[1]] = positions
    inverse = None
    if drawing:
        width = (
            bucket(int(kinds[-1]), state.plan.sizes) if state.plan.exact else bucket(int(kinds[-1]))
        )
        inverse = np.full((len(table), width), -1, np.int32)
        row, place = np.nonzero(table >= 0)
        inverse[row, table[row, place]] = place
    return table, inverse, first[np.searchsorted(kinds, sizes)]


def solve(
    state: State, group: int | None, source: Any, part: np.ndarray
) -> list[tuple[np.ndarray, Outcome]]:
    """Fit the targets ``part``, whose responses are the columns of ``source``.

    What a group gave is stored; of all groups at once (None) it is returned.
    """
    plan = state.plan
    wants = tuple(
        [("loss", False)] * any(o.loss for o in state.spec.over)
        + [("heldout", True)] * bool(state.held_out.over)
    )
    program = partial(fits, plan.solver, plan.shape, state.inner, wants)
    calls = [
        (own, partial(program, terms, given, members, state.options))
        for own, terms, given, members in laid_out(state, group, source, part)
    ]
    outcomes = side_by_side([call for _, call in calls], state.dtype)
    found = [(own, outcome) for (own, _), outcome in zip(calls, outcomes, strict=True)]
    if group is None:
        return found
    for own, outcome in found:
        store(state, group, own, outcome)
    return []


def laid_out(
    state: State, group: int | None, source: Any, part: np.ndarray
) -> Iterator[tuple[np.ndarray, tuple, Any, Members]]:
    """Yield targets, terms, data and the grid of fits of every compiled call."""
    plan, problem = state.plan, state.problem
    column = np.full(len(problem.targets), -1)
    column[part] = np.arange(len(part))
    sizes = {"regulators": places(len(problem.regulators)), "targets": places(len(problem.targets))}
    rows = source.x.shape[0] if isinstance(source, Rows) else 0
    by_rows = isinstance(source, Rows)
    at = None if group is None or not by_rows else state.data.positions(group)
    terms, extra = laid((problem.terms, problem.extra), sizes, at, rows, state.dtype)
    if isinstance(source, Rows):
        source = Rows(source.x, source.y, source.weight, extra)
    varied = state.varied(terms)
    for batch in plan.batches():
        chosen = batch.targets[column[batch.targets] >= 0]
        if not len(chosen):
            continue
        # Fits of like size side by side: padding within a compiled call costs little.
        chosen = chosen[np.argsort(problem.sizes[chosen], kind="stable")]
        table, inverse, first = tables(state, batch.k, problem.sizes[chosen])
        step = plan.chunk(batch, len(chosen))
        for start in range(0, len(chosen), step):
            stretch = slice(start, start + step)
            own = chosen[stretch]
            tasks = tasks_of(
                state, own, column[own], len(part), first[stretch], table, inverse, step
            )
            yield own, terms, source, Members(tasks, state.entries, state.key(group or 0), varied)


def tasks_of(state: State, own, columns, width: int, first, table, inverse, step: int) -> Tasks:
    """Lay out the fits of some targets by all members."""
    members, count = state.grid.size, len(own)
    target, row = np.zeros((members, step), np.int32), np.zeros((members, step), np.int32)
    row[:, :count] = first[None, :] + state.draw[:, None]
    target[:, :count] = columns[None, :] + state.copy[:, None] * width
    number, start = np.zeros(step, np.int32), np.zeros(step, np.int32)
    number[:count] = own
    start[:count] = state.problem.indptr[own]
    held = state.systems.size + state.held if state.held_out.over else None
    per_group = state.systems.size + (state.held_out.size if state.held_out.over else 0)
    offset = np.arange(state.groups, dtype=np.int32) * per_group if state.spec.across else None
    system, variant = state.system, state.variant
    chains = chains_of(np.stack([system, state.copy, state.draw], axis=1))
    return Tasks(target, number, start, row, table, system, variant, held, offset, inverse, chains)


def chains_of(kind: np.ndarray) -> np.ndarray:
    """Numbers of the members of each kind (a row of ``kind`` each), (kinds, members of each)."""
    _, place, size = np.unique(kind, axis=0, return_inverse=True, return_counts=True)
    return np.argsort(place.reshape(-1), kind="stable").reshape(len(size), -1).astype(np.int32)


def places_of(problem: Problem, own: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where rows of ``width`` padded candidates are real, (targets, width), and their entries."""
    inside = np.arange(width)[None, :] < problem.sizes[own][:, None]
    return inside, (problem.indptr[own][:, None] + np.arange(width))[inside]


def store(state: State, group: int, own: np.ndarray, outcome: Outcome) -> None:
    """Put what a compiled call gave back to its entries."""
    problem, count = state.problem, len(own)
    for name, values in outcome.edges.items():
        values = np.asarray(values)[:, :count]
        inside, entry = places_of(problem, own, values.shape[2])
        table = kept(state.edges, name, (len(values), len(problem.candidate)), values.dtype)
        table[:, entry] = values[:, inside]
    numbers = outcome.numbers | {
        name: getattr(outcome, name) for name in ("status", "residual", "iterations")
    }
    for name, values in numbers.items():
        values = np.asarray(values)
        table = kept(state.numbers, name, (len(values), len(problem.targets)), values.dtype)
        table[:, own] = values[:, :count]
    for name, values in outcome.blocks.items():
        store_block(state, group, name, own, np.asarray(values)[0, :count])


def store_block(state: State, group: int, name: str, own: np.ndarray, values: np.ndarray) -> None:
    """Keep a nuisance block of the first member: one number an edge, or an array a target."""
    problem = state.problem
    axes = dict(state.plan.shape.axes).get(name, ())
    per_edge = axes[:1] == ("regulators",) or (not axes and values.ndim == 2)
    if per_edge and values.ndim == 2:
        inside, entry = places_of(problem, own, values.shape[1])
        table = kept(state.by_entry, name, state.weights.shape, values.dtype)
        table[group, entry] = values[inside]
        return
    if "cells" in axes:
        values = values[..., : int(state.data.group_sizes[group])]
    shape = (*values.shape[1:], len(problem.targets))
    if name not in state.blocks:
        state.blocks[name] = [np.full(shape, np.nan, values.dtype) for _ in range(state.groups)]
    if state.blocks[name][group].shape != shape:
        state.blocks[name][group] = np.full(shape, np.nan, values.dtype)
    state.blocks[name][group][..., own] = np.moveaxis(values, 0, -1)
