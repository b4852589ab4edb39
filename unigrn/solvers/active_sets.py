"""Active sets on moments: exact lasso and elastic net, along a path, for many targets at once.

minimise over low <= theta <= high   s (theta' G theta - 2 c' theta) + sum_j d_j theta_j^2
- 2 l_j theta_j + a_j |theta_j|, with the moments G, c of the cells.

Given which coefficients are neither 0 nor at a bound, and their signs, the rest is one linear
system::

    (s G + D)_AA theta_A = (s c + l - a sign / 2)_A - (s G theta)_A of coefficients at a bound

Coefficients whose sign does not hold leave the set A, those whose slope exceeds its price enter:
a semismooth Newton method, which ends in finitely many steps at the optimum where it starts next
to it. It does so along a path: between two penalties the optimum is a line but for few kinks, so
that the last two solutions foretell set and signs of the next. Where a step to the next problem
does not succeed within `TRIAL` rounds a quarter of it is taken, and so on (continuation in all
numbers of the problem); the first problem is reached from penalties so large that theta = 0 is its
optimum. Every fit is at a place of its own on its path, so that none waits for another.

One round costs a product of the Gram matrix with the coefficients of all fits and one small
Cholesky factorisation each (`unigrn.solvers.linear`). The residual is the distance of the slopes
from the subdifferential, no less than that of `unigrn.solvers.optimality` at any step length.
Sources: Hintermueller, Ito and Kunisch, SIAM J. Optim. 13 (2002) 865,
doi:10.1137/S1052623401383558; Osborne, Presnell and Turlach, IMA J. Numer. Anal. 20 (2000) 389,
doi:10.1093/imanum/20.3.389.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unigrn.solvers import batching, linear
from unigrn.solvers.batching import Members
from unigrn.solvers.optimality import Fit, Options
from unigrn.spec import Shape
from unigrn.status import Status
from unigrn.terms import Array, Blocks, Moments, Quadratic, View, parts

TRIAL = 8  # rounds of one step before it is cut
SHORTEST = 1e-4  # of the way between two problems: a shorter step is given up
WIDTHS = (32, 96, 192)  # of workspaces for so many active coefficients


class Statement(NamedTuple):
    """Numbers of the problems of all fits: (N, k), and (N,) where marked."""

    scale: Array  # (N,)
    ridge: Array
    right: Array  # s c + l
    price: Array  # a / 2
    constant: Array  # (N,)


class Point(NamedTuple):
    """Coefficients, half their downhill slopes, and the sum of the prices they were solved for."""

    theta: Array
    slope: Array
    total: Array


class Walk(NamedTuple):
    """Where all fits are: job and share of the way to it, the last two solutions, a trial."""

    job: Array
    share: Array
    reached: Array
    last: Point
    before: Point
    trial: Point
    rounds: Array  # of the trial
    steps: Array  # of the job
    found: Any  # (jobs, N, ...) theta, residual, steps, value, and whether it was given up


def solve(shape: Shape, terms: tuple, moments: Moments, members: Members, options: Options) -> Fit:
    """Solve a batch of fits; members that differ in hyperparameters alone are solved in turn."""
    tasks = members.tasks
    chains = tasks.chains
    count, jobs = chains.shape
    targets = tasks.row.shape[1]
    first = chains[:, 0]
    lanes = tasks.at(first)
    index, valid, prior = batching.positions(lanes, members.entries)
    small = batching.scalars(moments, lanes, index)
    where = batching.by_fit(lanes, index)
    dtype = small.cross.dtype

    def one(sums, view, where, variant):
        slots = batching.terms_of(shape, terms, members.varied, variant, where)
        q: Quadratic = slots.loss.quadratic(View(sums), view)
        price = jnp.zeros_like(q.diagonal)
        for term in parts(slots.regularizer):
            if term.absolute is not None:
                price = price + term.absolute(View(sums), view)
            else:
                q = q + term.quadratic(View(sums), view)
        if q.matrix is not None:
            raise TypeError("active sets take a diagonal beside the moments, and got a matrix")
        right = q.scale * sums.cross
        right = right if q.linear is None else right + q.linear
        constant = q.scale * sums.square + q.constant
        return Statement(q.scale, q.diagonal, right, price / 2, constant)

    def stated(variant: Array) -> Statement:
        out = jax.vmap(one)(small, prior, where, variant)
        ridge, right, price = (jnp.where(valid, v, 0) for v in (out.ridge, out.right, out.price))
        return out._replace(ridge=ridge, right=right, price=price)

    # From the largest penalty to the smallest.
    table = tasks.variant[chains]

    def weight(variant: Array) -> Array:
        numbers = stated(jnp.repeat(variant, targets))
        return jnp.sum(numbers.price) + jnp.sum(numbers.ridge)

    order = jnp.argsort(-jax.lax.map(weight, table.T))
    table = jnp.repeat(table[:, order], targets, axis=0)

    bounds = _bounds(shape, terms, members, where, prior, table[:, 0], valid)
    product = _product(moments, lanes, index, count)
    spread = jnp.sqrt(_diagonal(moments, lanes, index))
    most = jnp.max(jnp.where(valid, spread, 0), axis=1, keepdims=True)
    eps, tiny = jnp.finfo(dtype).eps, jnp.finfo(dtype).tiny
    even = jnp.where(spread > 0, jnp.clip(spread / jnp.maximum(most, tiny), eps, 1), 1)

    def sizes(v: Array) -> Array:
        v = jnp.where(valid, jnp.abs(v), 0)
        return jnp.stack([jnp.max(v, axis=1), jnp.max(v / even, axis=1)])

    def number(job: Array) -> Array:
        at = jnp.minimum(job, jobs - 1)[:, None]
        return jnp.take_along_axis(table, at, axis=1)[:, 0]

    def blended(job: Array, share: Array) -> Statement:
        """Return the problem on the way from the job before to this one."""
        this, prior_job = stated(number(job)), stated(number(jnp.maximum(job - 1, 0)))
        begin = (job == 0)[:, None]
        lone = this._replace(price=jnp.maximum(this.price, start.price))
        start_of = jax.tree.map(
            lambda a, b: jnp.where(begin if a.ndim == 2 else begin[:, 0], a, b), lone, prior_job
        )

        def mix(a, b):
            part = share if a.ndim == 1 else share[:, None]
            return jnp.where(part == 1, b, a + part * (b - a))

        return jax.tree.map(mix, start_of, this)

    def slopes(numbers: Statement, theta: Array) -> Array:
        out = numbers.right - numbers.scale[:, None] * product(theta) - numbers.ridge * theta
        return jnp.where(valid, out, 0)

    low, high = bounds
    zero = jnp.clip(jnp.zeros_like(small.cross), low, high)
    numbers = stated(table[:, 0])
    ahead = slopes(numbers, zero)
    start = numbers._replace(price=jnp.maximum(numbers.price, jnp.abs(ahead)))
    begin = Point(zero, ahead, jnp.sum(start.price, axis=1))

    def body(walk: Walk) -> Walk:
        live = walk.job < jobs
        numbers = blended(walk.job, walk.share)
        total = jnp.sum(numbers.price, axis=1)
        fresh = (walk.rounds == 0)[:, None]
        guess = _foretold(walk.last, walk.before, total, low, high)
        theta = jnp.where(fresh, guess.theta, walk.trial.theta)
        slope = jnp.where(fresh, guess.slope, walk.trial.slope)
        active, sign = _classified(theta, slope, numbers.price, low, high, valid)
        active = active & (live & (numbers.scale > 0))[:, None]
        # A first round solves for the whole coefficients, the following ones for what is left.
        held = jnp.where(active, 0, theta)
        plain = numbers.right
        if shape_bounded:
            plain = slopes(numbers, held)
        base = jnp.where(fresh, held, theta)
        right = jnp.where(fresh, plain, slope) - numbers.price * sign
        move = _systems(moments, lanes, index, active, right, numbers)
        new = base + move
        new = jnp.where(active & (new * sign <= 0), 0, new)
        new = jnp.clip(new, low, high)
        after = slopes(numbers, new)
        up, down = _pressures(new, after, numbers.price, low, high)
        residual = jnp.max(sizes(2 * jnp.maximum(up, down)) / scale_of(numbers), axis=0)
        again, signs = _classified(new, after, numbers.price, low, high, valid)
        same = jnp.all((again == active) & (~again | (signs == sign)), axis=1)
        rounds, steps = walk.rounds + 1, walk.steps + 1
        done = (residual <= options.tolerance) | (same & (rounds >= 6)) | ~(numbers.scale > 0)
        # Not a number: no further round would help.
        lost = ~jnp.isfinite(residual)
        failed = ~done & (rounds >= TRIAL)
        stride = walk.share - walk.reached
        over = lost | (failed & (stride <= SHORTEST)) | (~done & (steps >= options.most))
        there = live & ((done & (walk.share == 1)) | over)
        moved = live & done & ~lost
        value = jnp.sum(
            2 * numbers.price * jnp.abs(new) - new * (numbers.right + after), axis=1
        ) + numbers.constant
        place = jnp.where(there, walk.job, jobs)
        every = jnp.arange(place.shape[0], dtype=jnp.int32)
        gives = (new, residual, steps, value, over)
        found = jax.tree.map(
            lambda a, v: a.at[place, every].set(v.astype(a.dtype), mode="drop"), walk.found, gives
        )

        def choose(yes, a, b):
            return jax.tree.map(
                lambda u, w: jnp.where(yes.reshape(-1, *(1,) * (u.ndim - 1)), u, w), a, b
            )

        last = choose(moved, Point(new, after, total), walk.last)
        before = choose(moved, walk.last, walk.before)
        new_job = walk.job + there
        reached = jnp.where(there, 0, jnp.where(moved, walk.share, walk.reached))
        wider = jnp.minimum(1, walk.share + 2 * stride)
        share = jnp.where(failed, walk.reached + stride / 4, walk.share)
        share = jnp.where(there, 1, jnp.where(moved, wider, share)).astype(dtype)
        again_from = jnp.where(there | moved | failed, 0, rounds)
        return Walk(
            new_job,
            share,
            reached.astype(dtype),
            last,
            before,
            Point(new, after, total),
            again_from,
            jnp.where(there, 0, steps),
            found,
        )

    def scale_of(numbers: Statement) -> Array:
        return jnp.maximum(sizes(2 * numbers.right), tiny)

    shape_bounded = _bounded(shape, terms)
    n, k = index.shape
    none = jnp.zeros((n,), jnp.int32)
    found = (
        jnp.zeros((jobs, n, k), dtype),
        jnp.full((jobs, n), jnp.nan, dtype),
        jnp.zeros((jobs, n), jnp.int32),
        jnp.zeros((jobs, n), dtype),
        jnp.zeros((jobs, n), bool),
    )
    one_, nought = jnp.ones((n,), dtype), jnp.zeros((n,), dtype)
    walk = Walk(none, one_, nought, begin, begin, begin, none, none, found)
    walk = jax.lax.while_loop(lambda w: jnp.any(w.job < jobs), body, walk)

    # Back to the order of the members.
    back = jnp.argsort(chains[:, order].reshape(-1))

    def laid(v: Array) -> Array:
        v = jnp.moveaxis(v.reshape(jobs, count, targets, *v.shape[2:]), 0, 1)
        v = v.reshape(count * jobs, targets, *v.shape[3:])
        return jnp.take(v, back, axis=0).reshape(-1, *v.shape[2:])

    theta, residual, steps, value, given_up = (laid(v) for v in walk.found)
    status = jnp.where(residual <= options.tolerance, Status.CONVERGED, Status.INACCURATE)
    status = jnp.where(given_up & (status != Status.CONVERGED), Status.MAX_ITERATIONS, status)
    status = jnp.where(jnp.isfinite(residual), status, Status.NOT_FINITE)
    empty = jnp.any(valid & (low > high), axis=1)
    empty = laid(jnp.broadcast_to(empty, (jobs, n)))
    status = jnp.where(empty, Status.INFEASIBLE, status).astype(jnp.int32)
    return Fit(Blocks(theta=theta), status, residual, steps, value)


def _bounded(shape: Shape, terms: tuple) -> bool:
    """Whether a constraint is more than a deletion."""
    return any(t.kind == "constraint" and t.allows is None for t in terms)


def _bounds(shape, terms, members: Members, where: View, prior, variant, valid):
    """Return the smallest and the largest value of every coefficient; 0 where there is none."""

    def one(view, where, variant):
        slots = batching.terms_of(shape, terms, members.varied, variant, where)
        low = jnp.full_like(view.weight, -jnp.inf)
        high = -low
        for term in parts(slots.constraint):
            if term.allows is None:
                below, above = term.interval(view)
                low, high = jnp.maximum(low, below), jnp.minimum(high, above)
        return low, high

    low, high = jax.vmap(one)(prior, where, variant)
    return jnp.where(valid, low, 0), jnp.where(valid, high, 0)


def _pressures(theta: Array, slope: Array, price: Array, low: Array, high: Array):
    """By how much the slope exceeds the price of going up, and of going down, at least 0."""
    up = slope - jnp.where(theta >= 0, price, -price)
    down = -slope - jnp.where(theta <= 0, price, -price)
    return (
        jnp.where(theta < high, jnp.maximum(up, 0), 0),
        jnp.where(theta > low, jnp.maximum(down, 0), 0),
    )


def _classified(theta: Array, slope: Array, price: Array, low: Array, high: Array, valid: Array):
    """Which coefficients are neither 0 nor at a bound or want to leave it, and their signs."""
    up, down = _pressures(theta, slope, price, low, high)
    inside = (theta != 0) & (theta > low) & (theta < high)
    active = (inside | (up > 0) | (down > 0)) & valid
    sign = jnp.where(theta != 0, jnp.sign(theta), jnp.where(up > down, 1.0, -1.0))
    return active, sign.astype(theta.dtype)


def _foretold(last: Point, before: Point, total: Array, low: Array, high: Array) -> Point:
    """Continue the line through the last two solutions; what changes its sign is 0."""
    fall = before.total - last.total
    ahead = jnp.where(fall > 0, (last.total - total) / jnp.where(fall > 0, fall, 1), 0)
    ahead = jnp.clip(ahead, 0, 4)[:, None]
    theta = last.theta + ahead * (last.theta - before.theta)
    theta = jnp.where(theta * last.theta > 0, jnp.clip(theta, low, high), 0)
    theta = jnp.where(last.theta == 0, last.theta, theta)
    slope = last.slope + ahead * (last.slope - before.slope)
    return Point(theta, slope, total)


def _grams(moments: Moments, lanes: Any) -> Array:
    """The Gram matrix of every chain, (1, q, q) where they share one."""
    if moments.gram.shape[0] == 1:
        return moments.gram
    return jnp.take(moments.gram, lanes.system, axis=0)


def _diagonal(moments: Moments, lanes: Any, index: Array) -> Array:
    whole = jnp.diagonal(moments.gram, axis1=1, axis2=2)
    system, _ = batching.grid(lanes)
    return whole[system[:, None], index]


def _product(moments: Moments, lanes: Any, index: Array, chains: int):
    """Return theta -> G theta, (N, k): by whole Gram matrices, or gathered ones if far smaller."""
    n, k = index.shape
    q = moments.gram.shape[1]
    if 8 * k * k <= q * q:
        system, _ = batching.grid(lanes)
        gram = moments.gram[system[:, None, None], index[:, :, None], index[:, None, :]]
        return lambda theta: jnp.einsum("nij,nj->ni", gram, theta)
    grams = _grams(moments, lanes)
    rows = jnp.arange(n, dtype=jnp.int32)[:, None]

    def product(theta: Array) -> Array:
        # Padding has coefficient 0 and adds nothing.
        wide = jnp.zeros((n, q), theta.dtype).at[rows, index].add(theta)
        if grams.shape[0] == 1:
            wide = jnp.matmul(wide, grams[0], precision=jax.lax.Precision.HIGHEST)
        else:
            wide = jnp.matmul(
                wide.reshape(chains, -1, q), grams, precision=jax.lax.Precision.HIGHEST
            ).reshape(n, q)
        return jnp.take_along_axis(wide, index, axis=1)

    return product


def _counted(yes: Array) -> Array:
    """Count along the last axis up to each entry: in stretches of 16, by a product each."""
    n, k = yes.shape
    wide = jnp.pad(yes.astype(jnp.float32), ((0, 0), (0, -k % 16))).reshape(n, -1, 16)
    inner = wide @ jnp.tri(16, dtype=jnp.float32).T
    ends = inner[:, :, -1]
    before = jnp.cumsum(ends, axis=1) - ends
    return (inner + before[:, :, None]).reshape(n, -1)[:, :k].astype(jnp.int32)


def _systems(moments, lanes, index: Array, active: Array, right: Array, numbers: Statement):
    """Solve for the active coefficients of every fit; 0 elsewhere."""
    n, k = index.shape
    system, target = batching.grid(lanes)
    count = jnp.sum(active, axis=1, dtype=jnp.int32)
    place = _counted(active) - 1
    # Fits of like size side by side; those without an active coefficient cost nothing.
    rank = jnp.argsort(count)
    rows = jnp.arange(n, dtype=jnp.int32)[:, None]
    entry = jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32), (n, k))
    listed = jnp.zeros((n, k), jnp.int32).at[rows, jnp.where(active, place, k)].set(
        entry, mode="drop"
    )
    scale = jnp.where(numbers.scale > 0, numbers.scale, 1)[:, None]

    def solved(width: int):
        def run(_):
            some = jnp.take(listed[:, :width], rank, axis=0)
            pick = lambda v: jnp.take_along_axis(jnp.take(v, rank, axis=0), some, axis=1)  # noqa: E731
            found = linear.solve_gathered(
                moments.gram,
                pick(right / scale),
                pick(index),
                count[rank],
                system[rank],
                target[rank],
                pick(numbers.ridge / scale),
                tile=32,
            )
            back = jnp.argsort(rank)
            x = jnp.take(found.x, back, axis=0)
            x = jnp.take_along_axis(x, jnp.clip(place, 0, width - 1), axis=1)
            return jnp.where(active, x, 0)

        return run

    widths = [w for w in WIDTHS if w < k] + [k]
    most = jnp.sum(count[rank[-1]] > jnp.asarray(widths[:-1], jnp.int32), dtype=jnp.int32)
    return jax.lax.switch(most, [solved(w) for w in widths], None)
