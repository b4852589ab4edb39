"""Whole networks: one group, one weighting of its cells, one order of its targets at a time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn import progress
from unigrn.backend import UNSPLIT, one_blas_thread, over_starts
from unigrn.binding import laid
from unigrn.columns import read
from unigrn.problem import device_kind
from unigrn.processes.elbo import log_sd
from unigrn.run import reading
from unigrn.run.finish import finish_group
from unigrn.run.state import State, kept
from unigrn.solvers import batching
from unigrn.solvers.optimality import Fit
from unigrn.spec import Slots
from unigrn.terms import Blocks, PriorView, View, local, parts


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
    """Solve the whole networks of all groups as one problem: views and terms with groups first."""
    plan, dtype, size = state.plan, state.dtype, state.plan.widths(0)[:2]
    prior, found = dense_prior(state), []
    sizes = {"regulators": size[0], "targets": size[1]}
    rows = plan.widths(int(state.data.group_sizes.max()))[2]
    given = (state.problem.terms, state.problem.extra)
    for group, (x, y) in enumerate(reading.held_rows(state)):
        terms, extra = local(laid(given, sizes, state.data.positions(group), rows, dtype), View())
        weight = reading.weights(state, group)(0, len(x))[0]
        view = View(
            x=laid_rows(x, rows, size[0], dtype),
            y=laid_rows(y, rows, size[1], dtype),
            weight=laid_rows(weight[:, None], rows, 1, dtype)[:, 0],
            key=jax.random.fold_in(state.key(group), 0),
            extra=extra,
        )
        found.append((terms, view))
    terms, views = jax.tree.map(lambda *v: jnp.stack(v), *found)
    with one_blas_thread():
        fit = together(plan.solver, plan.shape, terms, views, prior, state.options)
        read = jax.block_until_ready(
            read_groups(replace(plan.shape, rules=None), terms, fit.params, views, prior)
        )
    where = (state.problem.candidate, state.problem.entry_target)
    for group in range(state.groups):
        params, columns, numbers = jax.tree.map(lambda v, g=group: v[g][None], read)
        one = jax.tree.map(lambda v: v[None], replace(fit, params=None))
        keep(state, np.zeros(1, int), replace(one, params=params), columns, numbers, where)
        state.best = (0.0, cut(state, group, beside(params, 0)))
        finish_group(state, group)


@partial(jax.jit, static_argnames=("solver", "shape"), compiler_options=UNSPLIT)
def together(solver, shape, terms, views: View, prior: PriorView, options) -> Fit:
    """Fit the networks of all groups."""
    return solver.batch(Slots(shape, terms), views, prior, options)


@partial(jax.jit, static_argnames=("shape",), compiler_options=UNSPLIT)
def read_groups(shape, terms, params, views: View, prior: PriorView) -> Any:
    """Blocks, columns of the edge table and the loss of its own cells, of every group."""

    def one(terms, params, view):
        slots = Slots(shape, terms)
        own = [t for t in parts(slots.loss) if not t.across]
        columns = {"weight": params.theta} | read(shape.columns, params, view, prior, slots)
        return params, columns, {"loss": sum(t(params, view, prior) for t in own)}

    return jax.vmap(one)(terms, params, views)


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


@partial(jax.jit, static_argnames=("solver", "shape"), compiler_options=UNSPLIT)
def compiled(solver, shape, terms, view: View, prior: PriorView, keys, options) -> Fit:
    """Fit a whole network from every start."""

    def one(key):
        return batching.certified(
            solver, Slots(shape, terms), view.replace(key=key), prior, options
        )

    return over_starts(one, keys)


@partial(jax.jit, static_argnames=("shape",), compiler_options=UNSPLIT)
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
            with one_blas_thread():
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
                state.best = (value[best], cut(state, group, beside(params, best)))


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


def beside(params: Blocks, member: int) -> dict[str, np.ndarray]:
    """Return the blocks of a member beside theta; theta too where a guide spreads it.

    There the weights are read off the guide, and are not where it stands.
    """
    guided = log_sd("theta") in params
    return {b: np.asarray(params[b][member]) for b in params if b != "theta" or guided}


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
