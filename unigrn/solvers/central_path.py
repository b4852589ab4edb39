"""Acyclic networks: a central path to an order of the genes, then the optimum of that order.

minimise F(W) = loss + penalty over (p, p) networks W without directed cycles.

1. For m = 1, .1, ..., 1e-4 and s = 1, .9, ..., .6, each from the last: minimise
   m F(W) - log det(sI - W o W) by proximal gradient. What is left of cycles is small.
2. Gene after gene with the least that enters it from those that are left: an order.
3. Minimise F over the edges that go along the order, to the tolerance.
4. An edge that would lower F and close no cycle, but runs against the order: take an order that has
   it, and all edges there are, and go on with 3. F falls every time.

The certificate is the residual of F over every entry (i, j) with no path of edges from j to i.
Where these are stationary and F is convex, no network without cycles that has all the edges of this
one is better: a local minimum among acyclic networks. It need not be the global one.
Sources: Bello, Aragam and Ravikumar, NeurIPS 35 (2022) 8226, arXiv:2209.08037 (1); Wei, Gao and Yu,
NeurIPS 33 (2020) 3895, arXiv:2010.09133 (the conditions of 4).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.cycles import Acyclicity, closure
from unigrn.solvers import optimality, proximal
from unigrn.solvers.optimality import Fit, Options
from unigrn.spec import Shape, Slots
from unigrn.status import Status
from unigrn.terms import Array, Blocks, Moments, PriorView, View, parts

PATH = ((1.0, 1.0), (0.1, 0.9), (0.01, 0.8), (0.001, 0.7), (0.0001, 0.6))  # m and s
LOOSE, STEPS = 1e-5, 2000  # residual of a stage of the path, and its steps at most


def moments_of(view: View) -> View:
    """Return the moments of a whole network in place of its rows."""
    x, y = view.x, view.y
    weight = jnp.ones_like(x[:, 0]) if view.weight is None else view.weight
    count = jnp.sum(weight)
    mean_x, mean_y = weight @ x / count, weight @ y / count
    x, y = x - mean_x[None, :], y - mean_y[None, :]
    rows = weight[:, None]
    sums = Moments(x.T @ (rows * x), x.T @ (rows * y), weight @ y**2, count, mean_x, mean_y)
    return View(moments=sums, extra=view.extra)


def order(weight: Array) -> Array:
    """Place genes so that little enters from later ones; return which pairs run forward, (p, p).

    Where the positive entries of ``weight`` have no cycle, all of them do.
    """
    count = weight.shape[0]

    def place(k, state):
        rank, left = state
        entering = jnp.where(left, left.astype(weight.dtype) @ weight, jnp.inf)
        first = jnp.argmin(entering)
        return rank.at[first].set(k), left.at[first].set(False)

    zero = jnp.zeros((), jnp.int32)
    start = (jnp.zeros(count, jnp.int32), jnp.ones(count, bool))
    rank, _ = jax.lax.fori_loop(zero, jnp.asarray(count, jnp.int32), place, start)
    return rank[:, None] < rank[None, :]


def _slots(loss: tuple, penalties: tuple, theta: Array) -> Slots:
    """Put terms into slots, with a start."""
    shape = Shape((len(loss), len(penalties), 0), start=lambda *_: Blocks(theta=theta))
    return Slots(shape, (*loss, *penalties))


def solve(terms: Any, view: View, prior: PriorView, options: Options) -> Fit:
    """Solve one network from its start, 0 where the spec has none."""
    own = moments_of(view)
    loss, penalties = parts(terms.loss), parts(terms.regularizer)
    begin = optimality.masked(terms.start(view, prior), prior).theta
    dtype = begin.dtype
    one, zero = jnp.ones((), dtype), jnp.zeros((), jnp.int32)

    def stage(theta, at):
        scaled = [tuple(at[0] * t for t in slot) for slot in (loss, penalties)]
        slots = _slots(scaled[0], (*scaled[1], Acyclicity(one, at[1])), theta)
        limits = Options(jnp.asarray(LOOSE, dtype), jnp.asarray(STEPS, jnp.int32))
        fit = proximal.solve(slots, own, prior, limits)
        found = jnp.where(jnp.all(jnp.isfinite(fit.params.theta)), fit.params.theta, theta)
        return found, fit.iterations

    theta, steps = jax.lax.scan(stage, begin, jnp.asarray(PATH, dtype))
    forward = order(theta**2)

    def allowed(theta):
        """Entries that close no cycle with the edges there are."""
        back = closure((theta != 0).astype(dtype)).T > 0
        return prior.valid & ~back & ~jnp.eye(theta.shape[0], dtype=bool)

    def judged(theta):
        """Residual over the allowed entries, and by how much each is not stationary."""
        mask = replace(prior, valid=allowed(theta))
        slots = _slots(loss, penalties, jnp.zeros_like(theta))
        obj = optimality.objective(slots)
        params = Blocks(theta=theta)
        start = slots.start(own, mask)
        status, residual = optimality.certify(slots, params, start, own, mask, options)
        g = optimality.slope(obj, own, mask)(params)
        bound = optimality.curvature(optimality.slope(obj, own, mask), params, g)
        ahead = params.replace(theta=theta - g.theta / bound)
        moved = obj.prox(ahead, Blocks(theta=1 / bound), own, mask).theta
        return residual, status, jnp.where(mask.valid, jnp.abs(theta - moved), 0)

    def body(state):
        theta, forward, _, _, count, number, _ = state
        slots = _slots(loss, penalties, jnp.where(forward, theta, 0))
        within = replace(prior, valid=prior.valid & forward)
        fit = proximal.solve(slots, own, within, replace(options, most=options.most - count))
        theta = jnp.where(within.valid, fit.params.theta, 0)
        residual, status, miss = judged(theta)
        against = jnp.where(forward, 0, miss)
        worst = jnp.max(against)
        # What there is stays forward, and so does what misses most; of the rest what fits.
        first = jnp.argmax(against) == jnp.arange(against.size).reshape(against.shape)
        heavy = jnp.asarray(4 * theta.size, dtype)
        share = against / jnp.where(worst > 0, worst, 1)
        new = order(jnp.where((theta != 0) | (first & (worst > 0)), heavy, share))
        more = (residual > options.tolerance) & (worst > 0) & (fit.status == Status.CONVERGED)
        new = jnp.where(more, new, forward)
        return theta, new, residual, status, count + fit.iterations, number + 1, more

    def proceed(state):
        *_, count, number, more = state
        return more & (count < options.most) & (number < 4 * theta.shape[0])

    no = jnp.asarray(Status.MAX_ITERATIONS, jnp.int32)
    state = (theta, forward, jnp.inf * one, no, zero, zero, jnp.ones((), bool))
    theta, _, residual, status, count, *_ = jax.lax.while_loop(proceed, body, state)
    params = Blocks(theta=theta)
    cost = sum(t(params, own, prior) for t in (*loss, *penalties))
    status = optimality.within_sets(terms, params, view, prior, status)
    return Fit(params, status, residual, count + jnp.sum(steps, dtype=jnp.int32), cost)
