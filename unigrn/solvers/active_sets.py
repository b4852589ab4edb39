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
optimum. What even that does not reach, such as some problems with more regulators than cells, is
left to proximal gradient. Every fit is at a place of its own on its path: none waits for another.

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

from unigrn.solvers import batching, linear, proximal
from unigrn.solvers.batching import Members
from unigrn.solvers.optimality import SPREAD, Fit, Options
from unigrn.spec import Shape
from unigrn.status import Status
from unigrn.terms import Array, Blocks, Moments, Quadratic, View, parts

TRIAL = 8  # rounds of one step before it is cut
REFINED = 6  # rounds after which a set that stays is left with what rounding makes of its residual
ROUNDING = 1e3  # times the tolerance that rounding may leave of it
TILE = 32  # systems that are factored side by side
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
    assert chains is not None
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

    low, high = _bounds(shape, terms, members, where, prior, table[:, 0], valid)
    bounded = any(t.kind == "constraint" and t.allows is None for t in terms)
    product = _product(moments, lanes, index, count)
    even = _even(moments, lanes, index, valid)
    tiny = jnp.finfo(dtype).tiny

    def slopes(numbers: Statement, theta: Array) -> Array:
        """Return half the downhill slopes of the quadratic."""
        out = numbers.right - numbers.scale[:, None] * product(theta) - numbers.ridge * theta
        return jnp.where(valid, out, 0)

    def sizes(v: Array) -> Array:
        """Return the largest entry in the units as they are, and in even ones, (2, N)."""
        v = jnp.where(valid, jnp.abs(v), 0)
        return jnp.stack([jnp.max(v, axis=1), jnp.max(v / even, axis=1)])

    zero = jnp.clip(jnp.zeros_like(small.cross), low, high)
    numbers = stated(table[:, 0])
    ahead = slopes(numbers, zero)
    dear = jnp.maximum(numbers.price, jnp.abs(ahead))  # prices at which nothing leaves 0
    begin = Point(zero, ahead, jnp.sum(dear, axis=1))

    def number(job: Array) -> Array:
        at = jnp.clip(job, 0, jobs - 1)[:, None]
        return jnp.take_along_axis(table, at, axis=1)[:, 0]

    def on_the_way(job: Array, share: Array) -> Statement:
        """Return the problem so far on the way from the job before, or from nothing, to this."""
        this, last = stated(number(job)), stated(number(job - 1))
        last = _choose(job == 0, this._replace(price=dear), last)

        def mixed(a, b):
            part = share if a.ndim == 1 else share[:, None]
            return jnp.where(part == 1, b, a + part * (b - a))

        return jax.tree.map(mixed, last, this)

    def body(walk: Walk) -> Walk:
        live = walk.job < jobs
        numbers = on_the_way(walk.job, walk.share)
        total = jnp.sum(numbers.price, axis=1)
        fresh = walk.rounds == 0
        point = _choose(fresh, _foretold(walk.last, walk.before, total, low, high), walk.trial)
        active, sign = _classified(point, numbers.price, low, high, valid)
        active = active & (live & (numbers.scale > 0))[:, None]
        # A first round solves for whole coefficients, the following ones for what is left of them.
        held = jnp.where(active, 0, point.theta)
        left = slopes(numbers, held) if bounded else numbers.right
        base, left = _choose(fresh, (held, left), (point.theta, point.slope))
        left = left - numbers.price * sign
        new = base + _systems(moments, lanes, index, active, left, numbers)
        new = jnp.clip(jnp.where(active & (new * sign <= 0), 0, new), low, high)
        here = Point(new, slopes(numbers, new), total)

        up, down = _pressures(here, numbers.price, low, high)
        relative = sizes(2 * jnp.maximum(up, down)) / jnp.maximum(sizes(2 * numbers.right), tiny)
        residual = jnp.max(relative, axis=0)
        following, signs = _classified(here, numbers.price, low, high, valid)
        same = jnp.all((following == active) & (~following | (signs == sign)), axis=1)
        rounds, steps = walk.rounds + 1, walk.steps + 1
        near = residual <= ROUNDING * options.tolerance
        done = (residual <= options.tolerance) | (same & near & (rounds >= REFINED))
        done = done | (~(numbers.scale > 0) & jnp.isfinite(residual))
        failed = ~done & ((rounds >= TRIAL) | ~jnp.isfinite(residual))
        stride = walk.share - walk.reached
        over = (failed & (stride <= SHORTEST)) | (~done & (steps >= options.most))
        ends = live & ((done & (walk.share == 1)) | over)
        moved = live & done

        value = 2 * numbers.price * jnp.abs(new) - new * (numbers.right + here.slope)
        value = jnp.sum(value, axis=1) + numbers.constant
        place = jnp.where(ends, walk.job, jobs)
        lane = jnp.arange(place.shape[0], dtype=jnp.int32)
        found = jax.tree.map(
            lambda whole, v: whole.at[place, lane].set(v.astype(whole.dtype), mode="drop"),
            walk.found,
            (new, residual, steps, value, over),
        )
        share = jnp.where(failed, walk.reached + stride / 4, walk.share)
        share = jnp.where(moved, jnp.minimum(1, walk.share + 2 * stride), share)
        return Walk(
            walk.job + ends.astype(jnp.int32),
            jnp.where(ends, 1, share).astype(dtype),
            jnp.where(ends, 0, jnp.where(moved, walk.share, walk.reached)).astype(dtype),
            _choose(moved, here, walk.last),
            _choose(moved, walk.last, walk.before),
            here,
            jnp.where(ends | moved | failed, 0, rounds),
            jnp.where(ends, 0, steps),
            found,
        )

    n, k = index.shape
    none, nought = jnp.zeros((n,), jnp.int32), jnp.zeros((n,), dtype)
    found = (
        jnp.zeros((jobs, n, k), dtype),
        jnp.full((jobs, n), jnp.nan, dtype),
        jnp.zeros((jobs, n), jnp.int32),
        jnp.zeros((jobs, n), dtype),
        jnp.zeros((jobs, n), bool),
    )
    walk = Walk(none, nought + 1, nought, begin, begin, begin, none, none, found)
    walk = jax.lax.while_loop(lambda w: jnp.any(w.job < jobs), body, walk)

    # Back to the order of the members.
    back = jnp.argsort(chains[:, order].reshape(-1))

    def laid(v: Array) -> Array:
        v = jnp.moveaxis(v.reshape(jobs, count, targets, *v.shape[2:]), 0, 1)
        v = v.reshape(count * jobs, targets, *v.shape[3:])
        return jnp.take(v, back, axis=0).reshape(-1, *v.shape[2:])

    theta, residual, steps, value, given_up = (laid(v) for v in walk.found)
    status = jnp.where(given_up, Status.MAX_ITERATIONS, Status.INACCURATE)
    status = jnp.where(residual <= options.tolerance, Status.CONVERGED, status)
    status = jnp.where(jnp.isfinite(residual), status, Status.NOT_FINITE)
    empty = jnp.any(valid & (low > high), axis=1)  # bounds without a point between them
    empty = laid(jnp.broadcast_to(empty, (jobs, n)))
    status = jnp.where(empty, Status.INFEASIBLE, status).astype(jnp.int32)
    fit = Fit(Blocks(theta=theta), status, residual, steps, value)
    return _mended(
        fit, given_up & (status != Status.CONVERGED), shape, terms, moments, members, options
    )


def _mended(fit: Fit, failed: Array, shape, terms, moments, members: Members, options) -> Fit:
    """Solve what was given up by proximal gradient, one fit after the other."""
    tasks = members.tasks
    order = jnp.argsort(~failed)
    targets = tasks.row.shape[1]

    def again(i: Array, fit: Fit) -> Fit:
        place = order[i]
        member, column = place // targets, place % targets
        lone = tasks.of(member[None], column[None])
        some = Members(lone, members.entries, members.key, members.varied)
        view, prior = jax.tree.map(lambda v: v[0], batching.views(moments, some))
        slots = batching.terms_of(shape, terms, members.varied, tasks.variant[member], view)
        other = proximal.solve(slots, view, prior, options)
        better = (other.status == Status.CONVERGED) | ~(other.residual >= fit.residual[place])
        return jax.tree.map(
            lambda whole, v: whole.at[place].set(jnp.where(better, v, whole[place])), fit, other
        )

    return jax.lax.fori_loop(0, jnp.sum(failed, dtype=jnp.int32), again, fit)


def _choose(yes: Array, a: Any, b: Any) -> Any:
    """Choose fit by fit between two trees of arrays (N, ...)."""

    def pick(u, w):
        return jnp.where(yes.reshape(-1, *(1,) * (u.ndim - 1)), u, w)

    return jax.tree.map(pick, a, b)


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


def _pressures(at: Point, price: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Say by how much the slope exceeds the price of going up, and of going down; at least 0."""
    theta, slope = at.theta, at.slope
    up = slope - jnp.where(theta >= 0, price, -price)
    down = -slope - jnp.where(theta <= 0, price, -price)
    return (
        jnp.where(theta < high, jnp.maximum(up, 0), 0),
        jnp.where(theta > low, jnp.maximum(down, 0), 0),
    )


def _classified(at: Point, price: Array, low: Array, high: Array, valid: Array):
    """Say which coefficients are neither 0 nor at a bound or would leave it, and their signs."""
    theta = at.theta
    up, down = _pressures(at, price, low, high)
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


def _even(moments: Moments, lanes: Any, index: Array, valid: Array) -> Array:
    """Return the units of `unigrn.solvers.optimality.units`: relative spreads of regulators."""
    system, _ = batching.grid(lanes)
    square = jnp.diagonal(moments.gram, axis1=1, axis2=2)[system[:, None], index]
    square = jnp.where(valid, square, 0)
    most, info = jnp.max(square, axis=1, keepdims=True), jnp.finfo(square.dtype)
    share = square / jnp.maximum(most, info.tiny)
    return jnp.sqrt(jnp.where(share > 0, jnp.clip(share, SPREAD, 1), 1))


def _product(moments: Moments, lanes: Any, index: Array, chains: int):
    """Return theta -> G theta, (N, k): by whole Gram matrices, or gathered ones if far smaller."""
    n, k = index.shape
    q = moments.gram.shape[1]
    if 8 * k * k <= q * q:
        system, _ = batching.grid(lanes)
        gram = moments.gram[system[:, None, None], index[:, :, None], index[:, None, :]]
        return lambda theta: jnp.einsum("nij,nj->ni", gram, theta)
    grams = moments.gram
    if grams.shape[0] > 1:
        grams = jnp.take(grams, lanes.system, axis=0)
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
    """Solve (G + D / s)_AA x = right_A / s for every fit; 0 elsewhere."""
    n, k = index.shape
    system, target = batching.grid(lanes)
    count = jnp.sum(active, axis=1, dtype=jnp.int32)
    place = _counted(active) - 1
    # Fits of like size side by side; those without an active coefficient cost nothing.
    rank = jnp.argsort(count)
    rows = jnp.arange(n, dtype=jnp.int32)[:, None]
    entry = jnp.broadcast_to(jnp.arange(k, dtype=jnp.int32), (n, k))
    listed = (
        jnp.zeros((n, k), jnp.int32).at[rows, jnp.where(active, place, k)].set(entry, mode="drop")
    )
    scale = jnp.where(numbers.scale > 0, numbers.scale, 1)[:, None]
    right, ridge = right / scale, numbers.ridge / scale
    back = jnp.argsort(rank)[:, None]

    def solved(width: int):
        def run(_):
            lane = rank[:, None]
            some = listed[lane, jnp.arange(width, dtype=jnp.int32)[None, :]]
            x = linear.solve_gathered(
                moments.gram,
                right[lane, some],
                index[lane, some],
                count[rank],
                system[rank],
                target[rank],
                ridge[lane, some],
                tile=TILE,
            ).x
            return jnp.where(active, x[back, jnp.clip(place, 0, width - 1)], 0)

        return run

    widths = [w for w in WIDTHS if w < k] + [k]
    most = jnp.sum(count[rank[-1]] > jnp.asarray(widths[:-1], jnp.int32), dtype=jnp.int32)
    return jax.lax.switch(most, [solved(w) for w in widths], None)
