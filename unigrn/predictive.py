"""Posterior predictive checks: replicates of the data from a fitted guide, beside the data.

The cells are read once more, in double precision. A replicate draws every latent from the guide and
then the expression of the same cells; kept of it are three numbers a target. Where the spec has
minibatches the cells are gone over block by block.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn import progress
from unigrn.backend import make_room, precision
from unigrn.binding import laid
from unigrn.check import check_whole, counted
from unigrn.leftout import LeftOut
from unigrn.planner import Plan, PlanError
from unigrn.predicted import STATISTICS, PredictiveCheck, compared, limit_of_k, pareto_k
from unigrn.processes.elbo import Share, log_sd, share_of
from unigrn.processes.process import Process, entries
from unigrn.processes.replicates import observed, replicated, views_of
from unigrn.run import reading
from unigrn.run.coupled import dense_prior, laid_rows
from unigrn.run.state import State
from unigrn.solution import Solution
from unigrn.solvers.stochastic import BLOCK, taken
from unigrn.terms import Array, Blocks, PriorView, View, local, parts

FEWEST = 40  # draws: one is outside an interval on either side
TOGETHER = 32  # draws of one compiled call
TAKE = "take pmf_grn, bitfam, tiger or a spec of unigrn.processes.generative"


def check_predictable(plan: Plan) -> Process:
    """Return the process of a plan, or refuse one without a guide of cells by targets.

    Raises
    ------
    PlanError
        With the reason.
    """
    spec, why, process = plan.spec, None, None
    try:
        share = share_of(spec.terms)
    except ValueError:
        why = "it is not declared as a generative process, and makes no data to compare with"
    else:
        process = share.process
        shown = ", ".join(f"{n} ({', '.join(a) or 'sums'})" for n, a in process.observed.items())
        if share.form != "variational":
            why = "it is fitted at its mode (form='map'), which has no spread to draw from"
        elif not views_of(process):
            why = f"it observes no cells by targets, but {shown}"
        elif isinstance(plan.data, LeftOut) or spec.over:
            why = "its weights are made of many fits, and belong to the guide of none"
    if why or process is None:
        raise PlanError(
            f"{spec.name} has no predictive check: {why}; leave predictive (--predictive) out, or "
            f"{TAKE}"
        )
    return process


def predictive_check(solution: Solution, draws: int = 400, seed: int = 0) -> PredictiveCheck:
    """Compare expression with what draws of a fitted guide predict, and judge the guide.

    A replicate is y_rep ~ p(y | latents), latents ~ q: the same cells, once more. Of T the mean and
    the variance over cells, and the share of zeros, of every target::

        p = P(T(y_rep) > T(y)) + P(T(y_rep) = T(y)) / 2

    The data have been used for the guide, so that p of a right process lie closer to 1/2 than
    uniform numbers. Cells count by their weights in the data and in the replicates. A process
    whose values are continuous has no zeros: with zeros in the data its p is 0, as it should be.

    How good the guide is says Pareto k of the ratios p(latents, data) / q(latents): up to
    min(1 - 1 / log10 draws, 0.7) the guide could stand in for the posterior by importance weights.
    It is about all latents together. Small errors add up over them, so that a mean-field guide of
    thousands hardly ever passes: a large k does not say that means are wrong, or that every spread
    is, but that nothing vouches for them.

    Parameters
    ----------
    solution
        What `unigrn.fit` returned for a generative spec; `unigrn.infer` does the same where
        ``predictive`` gives draws.
    draws
        Draws of the guide, 40 or more.
    seed
        Of the draws.

    Returns
    -------
    PredictiveCheck
        A ``table`` of targets by statistics, ``guide`` with k, and ``lines()`` that say what there
        is to say; `unigrn.plot.predictive_figure` draws it.

    Raises
    ------
    PlanError
        A method that is no generative process, or is fitted at its mode; one that observes sums of
        cells alone (symphony); axes of many fits (bagging, starts).
    ValueError
        Few draws; a guide that is not finite.

    Examples
    --------
    >>> import numpy as np, unigrn
    >>> y = np.random.default_rng(0).gamma(2.0, size=(60, 4))
    >>> data = unigrn.Data.from_arrays(y, list("abcd"))
    >>> prior = unigrn.Prior.from_dict({"c": ["a"], "d": ["a", "b"]})
    >>> found = unigrn.fit(unigrn.methods.get("pmf_grn").function(prior), data, targets=["c", "d"])
    >>> unigrn.predictive_check(found, draws=100).table["target"].tolist()
    ['c', 'd']

    References
    ----------
    Meng, Ann. Statist. 22 (1994) 1142, doi:10.1214/aos/1176325622; Yao, Vehtari, Simpson and
    Gelman, ICML (2018), arXiv:1802.02538.
    """
    if not isinstance(solution, Solution):
        raise TypeError(
            f"predictive_check takes what unigrn.fit returned, got {type(solution).__name__}; of a "
            "network give unigrn.infer(..., predictive=400)"
        )
    draws, seed = check_whole("draws", draws, low=FEWEST), check_whole("seed", seed)
    process = check_predictable(solution.plan)
    names = views_of(process)
    plan = replace(solution.plan, data=replace(solution.plan.data, dtype="float64"))
    groups, tables, guides = plan.data.groups, [], []
    notes: dict[str, None] = {}
    make_room()
    with precision("float64"):
        state = State(plan, seed)
        prior = jax.tree.map(jnp.asarray, dense_prior(state))
        for group, (x, y) in enumerate(reading.held_rows(state)):
            share, view, size = _laid(state, group, x, y)
            params = _params(solution, share, group, view)
            keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), group), draws)
            call = partial(_draw, share.process, params, view, prior, size=size)
            measured, drawn, ratios = _called(call, keys, group, state.groups)
            label = {} if groups is None else {"group": groups[group]}
            for name in names:
                site = {} if len(names) == 1 else {"site": name}
                tables.append(_table(state, label | site, measured[name], drawn[name]))
            why = _unjudged(plan, share.process, view)
            k = np.nan if why else pareto_k(ratios)
            latents = sum(
                int(jnp.sum(jnp.broadcast_to(entries(axes, view, prior) > 0, params[n].shape)))
                for n, axes in share.process.latents.items()
            )
            guides.append({**label, "latents": latents, "pareto_k": k, "limit": limit_of_k(draws)})
            notes |= dict.fromkeys([why] if why else [])
    import pandas as pd

    table = pd.concat(tables, ignore_index=True)
    return PredictiveCheck(table, pd.DataFrame(guides), draws, tuple(notes))


def _laid(state: State, group: int, x: np.ndarray, y: np.ndarray) -> tuple[Share, View, int]:
    """Return the terms' share, padded cells, and how many of them come at once."""
    plan, problem, cells = state.plan, state.problem, len(x)
    q, p, rows = plan.widths(cells)
    size = rows
    if plan.spec.minibatch is not None:
        size = min(rows, BLOCK)
        rows = -(-rows // size) * size
    weight = reading.weights(state, group)(0, cells)[0]
    terms, extra = local(
        laid(
            (problem.terms, problem.extra),
            {"regulators": q, "targets": p},
            state.data.positions(group),
            rows,
            "float64",
        ),
        View(),
    )
    view = View(
        x=laid_rows(x, rows, q, np.float64),
        y=laid_rows(y, rows, p, np.float64),
        weight=laid_rows(weight[:, None], rows, 1, np.float64)[:, 0],
        extra=extra,
    )
    return share_of(terms), jax.tree.map(jnp.asarray, view), size


def _params(solution: Solution, share: Share, group: int, view: View) -> Blocks:
    """Return the guide of a group, padded."""
    process: Process = share.process
    blocks: dict[str, Any] = solution.blocks | {"theta": solution.location}
    (cells, regulators), targets = view.x.shape, view.y.shape[1]
    padded = {"cells": cells, "regulators": regulators, "targets": targets}
    out = {}
    for name, axes in process.latents.items():
        for block in (name, log_sd(name)):
            values = np.asarray(blocks[block][group], np.float64)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"the guide has {block} that are not finite, and cannot be drawn from: see the "
                    "certificate"
                )
            shape = [padded.get(a, n) for a, n in zip(axes, values.shape, strict=True)]
            wide = np.zeros(shape)
            wide[tuple(map(slice, values.shape))] = values
            out[block] = jnp.asarray(wide)
    return Blocks(**out)


@partial(jax.jit, static_argnames=("size",))
def _draw(
    process: Any, params: Blocks, view: View, prior: PriorView, keys: Array, size: int
) -> Any:
    """Return what was observed, what replicates have, and log ratios."""
    whole = view.x.shape[0]
    along = {n: axes.index("cells") for n, axes in process.latents.items() if "cells" in axes}

    def blocks(function, latents, key):
        if size == whole:
            return function(view, latents, key)

        def block(first):
            place = first + jnp.arange(size, dtype=jnp.int32)
            own = {n: jnp.take(latents[n], place, axis=axis) for n, axis in along.items()}
            return function(taken(view, place), latents | own, jax.random.fold_in(key, first))

        first = size * jnp.arange(whole // size, dtype=jnp.int32)
        total = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), jax.eval_shape(block, first[0]))
        return jax.lax.scan(
            lambda total, f: (jax.tree.map(jnp.add, total, block(f)), None), total, first
        )[0]

    measured, center = observed(process, blocks, prior, params, view)
    return measured, *replicated(process, params, view, prior, keys, blocks, center)


def _called(call: Any, keys: Array, group: int, groups: int) -> Any:
    """Draw some replicates at a time."""
    count, measured, drawn, ratios = len(keys), {}, [], []
    keys = jnp.concatenate([keys, keys[: -count % TOGETHER]])  # one shape, compiled once
    calls = len(keys) // TOGETHER
    for i in range(calls):
        measured, some, ratio = call(keys[i * TOGETHER : (i + 1) * TOGETHER])
        drawn.append(jax.tree.map(np.asarray, some))
        ratios.append(np.asarray(ratio))
        progress.report("drawing replicates", group * calls + i + 1, groups * calls)
    whole = {name: np.concatenate([d[name] for d in drawn])[:count] for name in measured}
    return jax.tree.map(np.asarray, measured), whole, np.concatenate(ratios)[:count]


def _table(state: State, label: dict, measured: np.ndarray, drawn: np.ndarray) -> Any:
    """Return one row for each target."""
    import pandas as pd

    count = len(state.problem.targets)
    columns: dict[str, Any] = {name: [value] * count for name, value in label.items()}
    columns["target"] = state.problem.targets.astype(object)
    centred = state.spec.scale in ("standard", "range")
    for i, name in enumerate(STATISTICS):
        value, some = measured[i, :count], drawn[:, i, :count]
        if name == "zeros" and centred:  # they are no zeros any more
            value, some = np.full_like(value, np.nan), np.full_like(some, np.nan)
        columns[name] = value
        columns |= {f"{name}_{key}": v for key, v in compared(value, some).items()}
    return pd.DataFrame(columns)


def _unjudged(plan: Plan, process: Process, view: View) -> str | None:
    """Say why k is not defined, where it is not."""
    terms = parts(plan.spec.loss) + parts(plan.spec.regularizer)
    others = [t for t in terms if not isinstance(getattr(t, "term", t), Share)]
    if others:
        return (
            f"k is left out: {plan.spec.name} has {counted(len(others), 'term')} beside its "
            f"process, such as {others[0].formula}"
        )
    weight = np.asarray(view.weight)
    by_cell = [name for name, axes in process.latents.items() if "cells" in axes]
    if by_cell and not np.isin(weight, (0, 1)).all():
        return (
            f"k is left out: cells have weights, and latents of their own ({by_cell[0]}), so that "
            "a weight stands for cells that were not drawn"
        )
    return None
