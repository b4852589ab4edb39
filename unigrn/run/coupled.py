"""Whole networks: one group, one weighting of its cells, one order of its targets at a time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from unigrn import progress
from unigrn.backend import over_starts
from unigrn.binding import laid
from unigrn.columns import read
from unigrn.problem import device_kind
from unigrn.run import reading
from unigrn.run.finish import finish_group
from unigrn.run.state import State, kept
from unigrn.solvers import batching
from unigrn.solvers.optimality import Fit
from unigrn.spec import Slots
from unigrn.terms import PriorView, View, local


def dense_prior(state: State) -> PriorView:
    """Return the prior of a whole network, padded."""
    problem = state.problem
    size = state.plan.widths(0)[:2]

    def dense(values):
        out = np.zeros(size, device_kind(values, state.dtype))
        out[problem.candidate, problem.entry_target] = values
        return out

    return problem.prior.map(dense)


def laid_rows(values: np.ndarray, rows: int, width: int, dtype: Any) -> np.ndarray:
    """Pad rows of cells."""
    out = np.zeros((rows, width), dtype)
    out[: len(values), : values.shape[1]] = values
    return out


def all_networks(state: State) -> None:
    """Solve the whole networks of all groups as one problem, by what its loss is of each group."""
    plan, dtype, size = state.plan, state.dtype, state.plan.widths(0)[:2]
    prior, views, terms = dense_prior(state), [], ()
    sizes = {"regulators": size[0], "targets": size[1]}
    given = (state.problem.terms, state.problem.extra)
    for group, (x, y) in enumerate(reading.held_rows(state)):
        rows = plan.widths(len(x))[2]
        terms, extra = local(laid(given, sizes, state.data.positions(group), rows, dtype), View())
        weight = reading.weights(state, group)(0, len(x))[0]
        views.append(
            View(
                x=laid_rows(x, rows, size[0], dtype),
                y=laid_rows(y, rows, size[1], dtype),
                weight=laid_rows(weight[:, None], rows, 1, dtype)[:, 0],
                extra=extra,
            )
        )
    keys = [
        jax.vmap(partial(jax.random.fold_in, state.key(g)))(np.zeros(1, np.uint32))
        for g in range(state.groups)
    ]
    posed = [
        stated(plan.shape, terms, view.replace(key=own[0]), prior)
        for view, own in zip(views, keys, strict=True)
    ]
    posed = jax.tree.map(lambda *v: jnp.stack(v), *posed)
    with threadpool_limits(1, "blas"):
        fit = jax.block_until_ready(
            together(plan.solver, plan.shape, terms, posed, prior, state.options)
        )
    where = (state.problem.candidate, state.problem.entry_target)
    for group, view in enumerate(views):
        one = replace(fit, params=jax.tree.map(lambda v, g=group: v[g], fit.params))
        one = jax.tree.map(lambda v: v[None], one)
        found = read_off(
            replace(plan.shape, rules=None), terms, one.params, view, prior, keys[group], None
        )
        _, columns, numbers = found
        keep(state, np.zeros(1, int), one, columns, numbers, where)
        finish_group(state, group)


@partial(jax.jit, static_argnames=("shape",))
def stated(shape, terms, view: View, prior: PriorView) -> Any:
    """Return what the loss is of the cells of one group, and where it starts."""
    slots = Slots(shape, terms)
    return slots.loss.log_det(view, prior), slots.start(view, prior).theta


@partial(jax.jit, static_argnames=("solver", "shape"))
def together(solver, shape, terms, posed, prior: PriorView, options) -> Fit:
    """Fit the networks of all groups."""
    return solver.batch(Slots(shape, terms), *posed, prior, options)


def networks(state: State) -> None:
    """Solve the whole network of every group as one problem."""
    problem, dtype, plan = state.problem, state.dtype, state.plan
    p, size = len(problem.targets), plan.widths(0)[:2]
    where = (problem.candidate, problem.entry_target)
    prior = dense_prior(state)
    kinds = np.stack([state.system, state.held, state.copy, state.variant], axis=1)
    for group, (x, y) in enumerate(reading.held_rows(state)):
        rows = plan.widths(len(x))[2]
        weights = reading.weights(state, group)(0, len(x))

        def lay(values, width, rows=rows):
            return laid_rows(values, rows, width, dtype)

        terms, extra = laid(
            (problem.terms, problem.extra),
            {"regulators": size[0], "targets": size[1]},
            state.data.positions(group),
            rows,
            dtype,
        )
        varied = state.varied(terms)
        extra = local(extra, View())
        for kind in np.unique(kinds, axis=0):
            members = np.flatnonzero((kinds == kind).all(axis=1))
            system, held, copy, variant = map(int, kind)
            view = View(
                x=lay(x, size[0]),
                y=lay(y[:, copy * p : (copy + 1) * p], size[1]),
                weight=lay(weights[system][:, None], 1)[:, 0],
                extra=extra,
            )
            slots = batching.terms_of(plan.shape, terms, varied, np.int32(variant), View())
            apart = None
            if state.held_out.over:
                apart = lay(weights[state.systems.size + held][:, None], 1)[:, 0]
            one_kind(state, group, members, slots.terms, view, prior, where, apart)
        finish_group(state, group)
        progress.report("fitting groups", group + 1, state.groups)


@partial(jax.jit, static_argnames=("solver", "shape"))
def compiled(solver, shape, terms, view: View, prior: PriorView, keys, options) -> Fit:
    """Fit a whole network from every start."""

    def one(key):
        return batching.certified(
            solver, Slots(shape, terms), view.replace(key=key), prior, options
        )

    return over_starts(one, keys)


@partial(jax.jit, static_argnames=("shape",))
def read_off(shape, terms, params, view: View, prior: PriorView, keys, held) -> Any:
    """Blocks of every start in their gauge, columns of the edge table, and the loss."""
    slots = Slots(shape, terms)
    loss = slots.loss

    def one(params, key):
        own = view.replace(key=key)
        numbers = {} if loss.iterates is not None else {"loss": loss(params, own, prior)}
        if held is not None:
            numbers["heldout"] = loss(params, own.replace(weight=held), prior)
        params = params if shape.gauge is None else shape.gauge(params, own, prior)
        columns = {"weight": params.theta}
        columns |= read(shape.columns, params, own, prior, slots)
        return params, columns, numbers

    return jax.vmap(one)(params, keys)


def one_kind(
    state: State,
    group: int,
    members: np.ndarray,
    terms: tuple,
    view: View,
    prior: PriorView,
    where: tuple[np.ndarray, np.ndarray],
    held: Any,
) -> None:
    """Fit the members that differ in their starts only, and keep what they gave."""
    plan = state.plan
    keys = jax.vmap(partial(jax.random.fold_in, state.key(group)))(
        members.astype(np.uint32) if state.spec.over else np.zeros(1, np.uint32)
    )
    length = -(-plan.max_iterations // 8) * 8 if plan.history else 0

    def report(done: int, most: int) -> None:
        progress.report("sweeps of one network", done, most)

    together = plan.together()
    for first in range(0, len(members), together):
        stretch = slice(first, first + together)
        if plan.solver.drive is not None:
            fit = plan.solver.drive(
                plan.shape, terms, view, prior, keys[stretch], state.options, length, report
            )
        else:
            # LAPACK's own threads would only wait for those of the compiled program.
            with threadpool_limits(1, "blas"):
                fit = compiled(
                    plan.solver, plan.shape, terms, view, prior, keys[stretch], state.options
                )
                fit = jax.block_until_ready(fit)
        # Numbers of the sweeps' rules are no part of this program.
        params, columns, numbers = read_off(
            replace(plan.shape, rules=None), terms, fit.params, view, prior, keys[stretch], held
        )
        keep(state, members[stretch], fit, columns, numbers, where)
        if plan.history and fit.history is not None:
            state.runs.append(np.asarray(fit.history)[:, : int(jnp.max(fit.iterations))])
        if 0 in members:  # blocks are those of the first kind's start of lowest objective
            value = np.asarray(fit.value)
            best = int(np.argmin(np.where(np.isnan(value), np.inf, value)))
            if state.best is None or value[best] < state.best[0]:
                blocks = {b: np.asarray(params[b][best]) for b in params if b != "theta"}
                state.best = (value[best], cut(state, group, blocks))


def keep(state: State, members, fit: Fit, columns, numbers, where) -> None:
    """Keep the columns, and the numbers of the fits, of some members."""
    for name, values in columns.items():
        table = kept(state.edges, name, (state.grid.size, len(where[0])))
        table[members] = np.asarray(values)[:, where[0], where[1]]
    numbers |= {
        "objective": fit.value,
        "status": fit.status,
        "residual": fit.residual,
        "iterations": fit.iterations,
    }
    for name, values in numbers.items():
        values = np.asarray(values)
        shape = (state.grid.size, len(state.problem.targets))
        kept(state.numbers, name, shape, values.dtype)[members] = values[:, None]


def cut(state: State, group: int, blocks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take the padding off blocks."""
    real = {
        "regulators": len(state.x),
        "targets": len(state.y),
        "cells": int(state.data.group_sizes[group]),
    }
    axes = dict(state.plan.shape.axes) | dict(state.plan.solver.brings)
    return {
        name: block[tuple(slice(real.get(axis)) for axis in axes[name])]
        for name, block in blocks.items()
    }
