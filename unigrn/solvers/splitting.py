"""Splitting: penalties and sets that no prox joins, each with its own copy of the coefficients.

minimise f(theta) + h(theta) + sum_i g_i(K_i theta), f the quadratic of the cells, h what acts entry
by entry (weighted |theta| and theta^2, bounds, and which entries there are), g_i the others. Each
of them gets its own x_i = K_i z and takes its prox in turn, all tied by multipliers y_i = rho M_i
u_i (the alternating direction method of multipliers over all parts at once)::

    x_i = prox_{g_i / (rho M_i)}(K_i z - u_i),   h_i = a x_i + (1 - a) K_i z,
    z = (sum_i K_i' M_i K_i)^-1 sum_i K_i' M_i (h_i + u_i),   u_i = u_i + h_i - K_i z

K_i is the identity, or acts along the groups of cells (`unigrn.kernels.Lines`), so that the matrix
of z is groups by groups; with the identity g_i may be of one group or of all. M evens out the units
of groups and regulators; rho, one number a fit, moves to where copies and multipliers settle
equally fast. The prox of f is two products with the eigenvectors of the moments, which serve every
rho, and every target where all take their candidates from one list.

The certificate does not ask how a point was found. With y_i of the parts and what is left of the
slope, y_h = -grad f(theta) - sum_i K_i' y_i, theta is optimal where K_i theta = prox_{t g_i}(K_i
theta + t y_i) for all parts, h included: then every y_i is a slope of g_i there, and they sum to 0.
The residual is the largest difference of the two sides over t, relative to grad f(0) of the group;
with one part it is that of `unigrn.solvers.optimality`.
Sources: Boyd, Parikh, Chu, Peleato and Eckstein, Found. Trends Mach. Learn. 3 (2011) 1,
doi:10.1561/2200000016; Setzer, Steidl and Teuber, J. Vis. Commun. Image Represent. 21 (2010) 193,
doi:10.1016/j.jvcir.2009.10.006 (parts side by side).

Over 450 lines: the iteration, its certificate and what fits of a batch share are one argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unigrn.backend import over_fits
from unigrn.solvers import batching, optimality
from unigrn.solvers.across import lifted
from unigrn.solvers.batching import Members
from unigrn.solvers.optimality import SPREAD, Fit, Options
from unigrn.spec import Shape, Slots
from unigrn.terms import Array, Blocks, Moments, PriorView, Term, View, parts, soft_threshold

RELAXED = 1.5  # a above: between 1 and 2 the copies reach ahead
KEPT = 5  # rounds that are combined
ROUND = 10  # steps from one look at the residual to the next
WIDE = 0.4  # share of the regulators from which on fits take them all, and share eigenvectors
EARLY = 10  # looks after each of which rho may move
FAR = 1.5  # times by which copies and multipliers may differ before rho moves
HIGHEST = jax.lax.Precision.HIGHEST


class Statement(NamedTuple):
    """Numbers of one fit: f(x) = x' H x - 2 right' x + constant, H = scale G or ``hessian``.

    h(x) = sum price |x| + ridge x^2 over low <= x <= high. All (groups, k) but ``scale``,
    ``constant`` (groups,) and ``hessian`` (groups, k, k) or None.
    """

    scale: Array
    hessian: Array | None
    right: Array
    constant: Array
    ridge: Array
    price: Array
    low: Array
    high: Array


class Part(NamedTuple):
    """One g: its K (rows, groups) or None, its M, and its prox by (v, 1 / (rho M))."""

    matrix: Array | None
    weight: Array
    prox: Callable[[Array, Array], Array]

    def of(self, theta: Array) -> Array:
        """K theta."""
        return theta if self.matrix is None else _dot(self.matrix, theta)

    def back(self, y: Array) -> Array:
        """K' y."""
        return y if self.matrix is None else _dot(self.matrix.T, y)


def room(k: int, width: int, groups: int) -> float:
    """Count the numbers held for one fit: copies, multipliers, and matrices of its own."""
    if k >= WIDE * width:
        return 45.0 * groups * width
    return groups * (45.0 * k + 3.0 * k * k)


class Memory(NamedTuple):
    """What the last rounds were: differences of what they left, of where they ended, and those."""

    turns: list[Array]
    moves: list[Array]
    left: list[Array]
    new: list[Array]
    size: Array
    count: Array


def _dot(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=HIGHEST)


def by_entry(term: Term) -> bool:
    """Whether a term belongs to h, or to f as a quadratic."""
    if term.across:
        return False
    if term.kind == "constraint":
        return term.interval is not None or term.allows is not None
    return (term.absolute is not None and bool(term.entrywise)) or term.quadratic is not None


def stated(slots: Any, view: View, prior: PriorView) -> Statement:
    """Return the numbers of one group."""
    valid, dtype = prior.valid, prior.weight.dtype
    zero = jnp.zeros(valid.shape, dtype)
    scale, constant, right, ridge, price, hessian = zero[0] * 0, zero[0] * 0, zero, zero, zero, None
    for term in (*parts(slots.loss), *parts(slots.regularizer)):
        if not by_entry(term):
            continue
        if term.quadratic is None:
            price = price + term.absolute(view, prior)
            continue
        q = term.quadratic(view, prior)
        constant = constant + q.constant
        if q.scale is not None:
            scale, right = scale + q.scale, right + q.scale * view.moments.cross
            constant = constant + q.scale * view.moments.square
        right = right if q.linear is None else right + q.linear
        if q.matrix is None:
            ridge = ridge + q.diagonal
        else:  # a matrix may be positive semidefinite with its diagonal only
            both = q.matrix + jnp.diag(q.diagonal)
            hessian = both if hessian is None else hessian + both
    low, high = jnp.full_like(zero, -jnp.inf), jnp.full_like(zero, jnp.inf)
    for term in parts(slots.constraint):
        if term.allows is None and term.interval is not None:
            ends = term.interval(prior)
            low, high = jnp.maximum(low, ends[0]), jnp.minimum(high, ends[1])
    right, ridge, price, low, high = (
        jnp.where(valid, v, 0) for v in (right, ridge, price, low, high)
    )
    return Statement(scale, hessian, right, constant, ridge, price, low, high)


def solve(shape: Shape, terms: tuple, moments: Moments, members: Members, options: Options) -> Fit:
    """Solve a batch of fits, of one group each or of all groups at once."""
    tasks, entries = members.tasks, members.entries
    index, valid, prior = batching.positions(tasks, entries)
    systems, targets = batching.grid(tasks)
    apart = tasks.offset is None
    place = systems[:, None]
    if tasks.offset is not None:
        place = place + tasks.offset[None, :]
    where, variants = batching.by_fit(tasks, index), batching.variants(tasks)
    fits, k = index.shape
    width, count = moments.gram.shape[1], place.shape[1]

    one_list = moments.gram.shape[0] == count and k >= WIDE * width
    one_list = one_list and not _adds_matrix(shape, terms, moments, members, prior)
    back = index
    if one_list:
        rows = jnp.arange(fits, dtype=jnp.int32)[:, None]

        def spread(v):
            return (
                jnp.zeros((fits, width), v.dtype)
                .at[rows, index]
                .set(jnp.where(valid, v, jnp.zeros((), v.dtype)))
            )

        prior = prior.map(spread)
        index = jnp.broadcast_to(jnp.arange(width, dtype=index.dtype), (fits, width))
        where = where.replace(regulators=index)

    def sums(place, index, target) -> Moments:
        """Return what terms may read of all groups of one fit: no matrix."""
        return Moments(
            gram=None,
            cross=moments.cross[place][:, index, target],
            square=moments.square[place, target],
            count=moments.count[place],
            mean_x=moments.mean_x[place][:, index],
            mean_y=moments.mean_y[place, target],
            own=jax.vmap(jnp.diagonal)(moments.gram[place])[:, index],
        )

    def slots_of(view, variant) -> Slots:
        return batching.terms_of(shape, terms, members.varied, variant, view)

    def numbers(place, where, variant, target, prior) -> Statement:
        slots, small = slots_of(where, variant), sums(place, where.regulators, target)
        return jax.vmap(lambda m: stated(slots, View(m), prior))(small)

    lists = (place, where, variants, targets, prior)
    statement = jax.vmap(numbers)(*lists)
    free = all(by_entry(t) or t.lines is not None for t in terms)
    m, d = _units(statement, moments, place, prior, index, one_list, free)

    def spectrum(gram, root):
        values, vectors = jnp.linalg.eigh(gram / (root[:, None] * root[None, :]))
        return jnp.maximum(values, 0), vectors / root[:, None]

    # LAPACK is called for one matrix after the other: see `unigrn.backend.over_fits`.
    if one_list:
        root = jnp.sqrt(d[0])
        shared = jax.lax.map(lambda g: spectrum(g, root), moments.gram)
        rows_of = jnp.max(jnp.sum(jnp.abs(moments.gram), axis=2), axis=1)
        extra: tuple = ()
    else:

        def gathered(place, index, valid, statement, root):
            gram = moments.gram[place][:, index[:, None], index[None, :]]
            gram = statement.scale[:, None, None] * gram
            gram = gram if statement.hessian is None else gram + statement.hessian
            gram = jnp.where((valid[:, None] & valid[None, :])[None], gram, 0)
            return gram, jax.lax.map(lambda g: spectrum(g, root), gram)

        shared: Any = ()
        rows_of: Any = 0.0
        given = (place, index, prior.valid, statement, jnp.sqrt(d))
        extra = jax.lax.map(lambda each: gathered(*each), given)

    def parts_of(place, where, variant, target, prior, d):
        slots, small = slots_of(where, variant), sums(place, where.regulators, target)
        stacked = prior.map(lambda v: jnp.broadcast_to(v, (count, *v.shape)))
        return others_of(slots, View(small), prior, stacked, m, d)

    first = jax.tree.map(lambda v: v[0], (*lists, d))
    inverse = inverse_of(parts_of(*first), m, d[0])

    def one(place, where, variant, target, prior, d, statement, *extra):
        slots, small = slots_of(where, variant), sums(place, where.regulators, target)
        each = Slots(shape, lifted(slots.terms))
        stacked = prior.map(lambda v: jnp.broadcast_to(v, (count, *v.shape)))
        view = View(small)
        if one_list:
            values, vectors = shared
            own_scale, gram = statement.scale, moments.gram
            bound = 2 * jnp.max(own_scale * rows_of)
        else:
            (gram, (values, vectors)) = extra
            own_scale = jnp.ones_like(statement.scale)
            bound = 2 * jnp.max(jnp.sum(jnp.abs(gram), axis=2))
        problem = Problem(
            statement._replace(scale=own_scale), gram, values, vectors, bound, m, d, stacked.valid
        )
        others = others_of(slots, view, prior, stacked, m, d)
        theta, residual, steps = run(problem, others, inverse, small.own, options)
        params = Blocks(theta=theta)
        value = problem.value(theta)
        for term in (*parts(slots.loss), *parts(slots.regularizer)):
            if not by_entry(term):
                lift = lifted((term,))[0]
                value = value + lift(params, view, stacked)
        status = optimality.ended(params, residual, options.tolerance)
        status = optimality.within_sets(each, params, view, stacked, status)
        return Fit(params, status, residual, steps, value)

    fit = over_fits(one, *lists, d, statement, *extra)
    theta = fit.params.theta
    if one_list:
        theta = jnp.take_along_axis(theta, back[:, None, :], axis=2)
        theta = jnp.where(valid[:, None, :], theta, 0)
    theta = theta[:, 0] if apart else theta
    return Fit(Blocks(theta=theta), fit.status, fit.residual, fit.iterations, fit.value)


def _units(statement, moments, place, prior, index, one_list: bool, free: bool):
    """Return the units of the groups (groups,) and of each fit's regulators (fits, k).

    They are such that f and h curve alike; those of regulators where ``free``, since a prox that
    does not act entry by entry takes one step for all of them.
    """
    own = jax.vmap(jnp.diagonal)(moments.gram)  # (systems, width)
    curve = statement.scale[:, :, None] * own[place[:, :, None], index[:, None, :]]
    if statement.hessian is not None:
        curve = curve + jnp.diagonal(statement.hessian, axis1=2, axis2=3)
    valid = prior.valid[:, None, :]
    curve = jnp.where(valid, jnp.maximum(curve, 0) + statement.ridge, 0)
    tiny = jnp.finfo(curve.dtype).tiny
    known = jnp.maximum(jnp.sum(valid, axis=(0, 2), dtype=curve.dtype), 1)
    level = jnp.sum(curve, axis=(0, 2)) / known
    top = jnp.maximum(jnp.max(level), tiny)
    m = jnp.where(level > 0, jnp.clip(level / top, 1e-4, 1), 1).astype(curve.dtype)
    d = jnp.mean(curve / m[None, :, None], axis=1)
    if one_list:
        times = jnp.maximum(jnp.sum(prior.valid, axis=0, dtype=curve.dtype), 1)
        d = jnp.broadcast_to(jnp.sum(d, axis=0) / times, d.shape)
    most = jnp.maximum(jnp.max(d, axis=1, keepdims=True), tiny)
    d = jnp.where(d > 0, jnp.maximum(d / most, 1e-12), 1).astype(curve.dtype)
    return m, d if free else jnp.ones_like(d)


def _adds_matrix(shape, terms, moments, members, prior) -> bool:
    """Whether a quadratic has a matrix beside that of the moments."""

    def find(terms, prior, moments):
        view = View(regulators=jnp.zeros(prior.valid.shape[1], jnp.int32), target=jnp.int32(0))
        slots = batching.terms_of(shape, terms, members.varied, jnp.int32(0), view)
        small = Moments(
            None,
            moments.cross[0, :1, 0] + jnp.zeros(prior.valid.shape[1], moments.cross.dtype),
            moments.square[0, 0],
            moments.count[0],
            moments.mean_x[0, :1] + jnp.zeros(prior.valid.shape[1], moments.cross.dtype),
            moments.mean_y[0, 0],
            moments.mean_x[0, :1] + jnp.zeros(prior.valid.shape[1], moments.cross.dtype),
        )
        return stated(slots, View(small), prior.map(lambda v: v[0]))

    return jax.eval_shape(find, terms, prior, moments).hessian is not None


class Problem(NamedTuple):
    """f and h of one fit, the spectrum of f in even units, and those units."""

    numbers: Statement
    gram: Array  # (groups, k, k)
    values: Array
    vectors: Array
    bound: Array
    m: Array  # (groups,)
    d: Array  # (k,)
    valid: Array

    def value(self, theta: Array) -> Array:
        """F + h."""
        n = self.numbers
        out = jnp.sum(theta * (self.product(theta) - 2 * n.right)) + jnp.sum(n.constant)
        return out + jnp.sum(n.price * jnp.abs(theta)) + jnp.sum(n.ridge * theta**2)

    def product(self, theta: Array) -> Array:
        """H theta."""
        n = self.numbers
        return n.scale[:, None] * jnp.einsum("gij,gj->gi", self.gram, theta, precision=HIGHEST)

    def slope(self, theta: Array) -> Array:
        """Gradient of f."""
        return jnp.where(self.valid, 2 * (self.product(theta) - self.numbers.right), 0)

    def prox_f(self, v: Array, rho: Array) -> Array:
        """Prox of f at 1 / (rho M)."""
        n, m = self.numbers, self.m[:, None]
        right = 2 * n.right + rho * m * self.d[None, :] * v
        turned = jnp.einsum("gji,gj->gi", self.vectors, right, precision=HIGHEST)
        turned = turned / (2 * n.scale[:, None] * self.values + rho * m)
        return jnp.einsum("gij,gj->gi", self.vectors, turned, precision=HIGHEST)

    def gap(self, theta: Array, others: list[Part], multipliers: list[Array]) -> Array:
        """Return what is asked for beside the residual: nothing."""
        return jnp.zeros((), theta.dtype)

    def prox_h(self, v: Array, step: Array) -> Array:
        """Prox of h: entry by entry."""
        n = self.numbers
        best = soft_threshold(v, step * n.price) / (1 + 2 * step * n.ridge)
        return jnp.where(self.valid, jnp.clip(best, n.low, n.high), 0)


def others_of(slots, view, prior, stacked, m, d) -> list[Part]:
    """List what does not act entry by entry, of the regularizer and the constraint."""
    out = []
    for term in (*parts(slots.regularizer), *parts(slots.constraint)):
        if by_entry(term):
            continue
        if term.lines is not None:
            found = term.lines(view, stacked)
            share = jnp.abs(found.matrix)
            total = jnp.maximum(jnp.sum(share, axis=1), 1e-30)
            row = jnp.exp(_dot(share, jnp.log(m)[:, None])[:, 0] / total)
            weight, price = row[:, None] * d[None, :], found.price[:, None]

            def prox(v, step, price=price):
                return soft_threshold(v, step * price)

            out.append(Part(found.matrix, weight, prox))
            continue
        if term.across:  # one step for all of them
            level = jnp.exp(jnp.mean(jnp.log(m)))
            weight = jnp.full((m.shape[0], d.shape[0]), level)

            def whole(v, step, term=term):
                return term.prox(v, step[0, 0], view, stacked, None)

            out.append(Part(None, weight, whole))
            continue
        weight = m[:, None] * d[None, :]
        inner = term.prox if term.kind == "regularizer" else None

        def apply(v, step, inner=inner, term=term):
            if inner is None:
                return jax.vmap(lambda one: term.project(one, prior))(v)
            step = jnp.broadcast_to(step, v.shape)[:, 0]
            return jax.vmap(lambda one, t, data: inner(one, t, View(data), prior, None))(
                v, step, view.moments
            )

        out.append(Part(None, weight, apply))
    return out


def inverse_of(others: list[Part], m: Array, d: Array) -> Array:
    """Return (sum K' M K)^-1 up to the units of the regulators, its diagonal where that is all."""
    plain = 2 * m + sum(p.weight[:, 0] / d[0] for p in others if p.matrix is None)
    if all(p.matrix is None for p in others):
        return 1 / plain
    normal = jnp.diag(plain)
    for p in others:
        if p.matrix is not None:
            normal = normal + _dot(p.matrix.T * (p.weight[:, 0] / d[0])[None, :], p.matrix)
    return jnp.linalg.inv(normal)


def run(problem: Any, others: list[Part], inverse: Array, own: Array, options: Options, start=None):
    """Return theta, its residual and the steps taken; None starts at 0."""
    n, m, d = problem.numbers, problem.m, problem.d
    dtype = n.right.dtype
    tiny, eps = jnp.finfo(dtype).tiny, jnp.finfo(dtype).eps
    both = m[:, None] * d[None, :]
    plain = [Part(None, both, problem.prox_f), Part(None, both, problem.prox_h)]
    whole = [*plain, *others]

    def gathered(images: list[Array]) -> Array:
        total = sum(p.back(p.weight / d[None, :] * v) for p, v in zip(whole, images, strict=True))
        return _dot(inverse, total) if inverse.ndim == 2 else inverse[:, None] * total

    def images(z):
        """K z of every part; that of the identity is z itself."""
        return [p.of(z) for p in whole]

    def proxes(at, us, rho):
        moved = [i - u for i, u in zip(at, us, strict=True)]
        found = [problem.prox_f(moved[0], rho)]
        found += [
            p.prox(v, 1 / (rho * p.weight)) for p, v in zip(whole[1:], moved[1:], strict=True)
        ]
        return moved, found

    def apart_of(ahead):
        """Return K z, and the multipliers, of what was gathered."""
        at = images(gathered(ahead))
        return at, [h - i for h, i in zip(ahead, at, strict=True)]

    def step(_, state):
        ahead, _, rho = state
        at, us = apart_of(ahead)
        _, found = proxes(at, us, rho)
        ahead = [RELAXED * x + (1 - RELAXED) * i + u for x, i, u in zip(found, at, us, strict=True)]
        return ahead, at, rho

    # ---- what residuals are relative to: the slope at 0 of each group, in both units.
    spread = jnp.sqrt(
        jnp.clip(own / jnp.maximum(jnp.max(own, axis=1, keepdims=True), tiny), SPREAD, 1)
    )
    spread = jnp.where(own > 0, spread, 1)
    zero_slope = jnp.abs(2 * n.right)
    sizes = jnp.stack([jnp.max(zero_slope, axis=1), jnp.max(zero_slope / spread, axis=1)])
    floor = 32 * eps / jnp.maximum(options.tolerance, eps)
    sizes = jnp.maximum(sizes, jnp.minimum(floor, 1) * jnp.max(sizes, axis=1, keepdims=True))
    sizes = jnp.maximum(sizes, tiny)

    def measured(part: Part, apart: Array) -> Array:
        if part.matrix is None:
            size, wide = sizes, spread
        else:
            joins = part.matrix != 0
            size = jnp.min(jnp.where(joins[None], sizes[:, None, :], jnp.inf), axis=2)
            wide = jnp.max(jnp.where(joins[:, :, None], spread[None], 0), axis=1)
        plain = jnp.max(jnp.abs(apart), axis=1, initial=0) / size[0]
        even = jnp.max(jnp.abs(apart) / wide, axis=1, initial=0) / size[1]
        return jnp.maximum(jnp.max(plain, initial=0), jnp.max(even, initial=0))

    def certified(theta, multipliers):
        """Return the residual of a point with the multipliers of the parts."""
        bound = optimality.resolved(
            jnp.maximum(problem.bound, tiny), theta, jnp.max(sizes[0]), options.tolerance
        )
        left = -problem.slope(theta)
        worst = jnp.zeros((), dtype)
        for p, y in zip(others, multipliers, strict=True):
            left = left - p.back(y)
            image = p.of(theta)
            apart = (image - p.prox(image + y / bound, jnp.full_like(p.weight, 1) / bound)) * bound
            worst = jnp.maximum(worst, measured(p, apart))
        left = jnp.where(problem.valid, left, 0)
        apart = (theta - problem.prox_h(theta + left / bound, 1 / bound)) * bound
        worst = jnp.maximum(worst, measured(plain[1], apart))
        return jnp.maximum(worst, problem.gap(theta, others, multipliers)).astype(dtype)

    def look(at, us, rho):
        moved, found = proxes(at, us, rho)
        ys = [
            rho * p.weight * (v - x) for p, v, x in zip(others, moved[2:], found[2:], strict=True)
        ]
        return found[1], certified(found[1], ys), found, ys

    def norm(values):
        return jnp.sqrt(dot(values, values))

    def dot(a, b):
        return sum(jnp.sum(p.weight * v * w) for p, v, w in zip(whole, a, b, strict=True))

    def balanced(at, us, rho, last, found, rounds):
        """Move rho to where copies and multipliers change by as much, relative to their sizes."""
        primal = norm([x - i for x, i in zip(found, at, strict=True)])
        dual = norm([i - j for i, j in zip(at, last, strict=True)])
        size = jnp.maximum(norm(found), norm(at))
        ratio = (primal / jnp.maximum(size, tiny)) / jnp.maximum(
            dual / jnp.maximum(norm(us), tiny), tiny
        )
        factor = jnp.clip(jnp.sqrt(ratio), 1 / 5, 5)
        far = (ratio > FAR) | (ratio < 1 / FAR)
        due = (rounds < EARLY) | (jax.lax.population_count(rounds) == 1)  # then 16, 32 ...
        return jnp.where(far & due & jnp.isfinite(factor), factor, 1).astype(dtype)

    def forth(memory: Memory, ahead, new, size):
        """Combine the last rounds so that what they leave is least (Anderson's extrapolation)."""
        left = [g - w for g, w in zip(new, ahead, strict=True)]
        slot = memory.count % KEPT - 1

        def kept(old, new, last):
            change = jnp.where(memory.count > 0, (new - last).astype(old.dtype), old[slot])
            return old.at[slot].set(change)

        turns = [kept(o, v, w) for o, v, w in zip(memory.turns, left, memory.left, strict=True)]
        moves = [kept(o, v, w) for o, v, w in zip(memory.moves, new, memory.new, strict=True)]
        wide = [t.astype(dtype) for t in turns]
        heavy = [p.weight[None] * t for p, t in zip(whole, wide, strict=True)]
        matrix = sum(jnp.einsum("iab,jab->ij", h, t) for h, t in zip(heavy, wide, strict=True))
        right = sum(jnp.einsum("iab,ab->i", h, v) for h, v in zip(heavy, left, strict=True))
        share = _solved(matrix, right)
        guess = [
            g - jnp.einsum("i,iab->ab", share, v.astype(dtype))
            for g, v in zip(new, moves, strict=True)
        ]
        return guess, Memory(turns, moves, left, new, size, memory.count + 1)

    def body(state):
        ahead, rho, rounds, memory, *_ = state
        new, last, _ = jax.lax.fori_loop(0, ROUND, step, (ahead, ahead, rho))
        size = norm([g - w for g, w in zip(new, ahead, strict=True)])
        # Without extrapolation what a round leaves never grows; where it does, back to the last.
        worse = (memory.count > 0) & ~(size <= memory.size)
        at, us = apart_of(new)
        theta, residual, found, ys = look(at, us, rho)
        rounds = rounds + 1
        factor = balanced(at, us, rho, last, found, rounds)
        guess, grown = forth(memory, ahead, new, size)
        changed = factor != 1
        scaled = [i + u / factor for i, u in zip(at, us, strict=True)]
        ahead = _choose(worse, memory.new, _choose(changed, scaled, guess))
        blank = jax.tree.map(jnp.zeros_like, memory)
        memory = _choose(worse | changed, blank, grown)
        rho = jnp.where(worse, rho, rho * factor)
        tied = [x == 0 for x in found[2:]]
        return ahead, rho, rounds, memory, (ys, tied), theta, residual

    def proceed(state):
        _, _, rounds, *_, residual = state
        return (residual > options.tolerance) & (rounds * ROUND < options.most)

    zero = images(jnp.zeros_like(n.right) if start is None else start)
    stack = [jnp.zeros((KEPT, *v.shape), jnp.float32) for v in zero]  # in half the room
    memory = Memory(stack, stack, zero, zero, jnp.zeros((), dtype), jnp.zeros((), jnp.int32))
    curve = jnp.mean(n.scale * jnp.mean(problem.values, axis=1) / m)
    rho = jnp.where(curve > 0, 2 * curve, 1).astype(dtype)
    theta = problem.prox_h(zero[0], jnp.ones((), dtype) + 0 * both)
    far = jnp.asarray(jnp.inf, dtype)
    ends = (zero[2:], [jnp.zeros(v.shape, bool) for v in zero[2:]])
    state = (zero, rho, jnp.zeros((), jnp.int32), memory, ends, theta, far)
    _, _, rounds, _, (ys, tied), theta, residual = jax.lax.while_loop(proceed, body, state)
    # What is tied or 0 but for rounding is made so, where that is as good a point.
    snapped = theta
    for p, same in zip(others, tied, strict=True):
        alone = p.matrix is None
        snapped = jnp.where(same, 0, snapped) if alone else _together(snapped, p.matrix, same)
    snapped = jnp.clip(snapped, n.low, n.high)  # a mean of equal numbers may be off by rounding
    exact = certified(snapped, ys)
    better = exact <= jnp.maximum(residual, options.tolerance)
    theta, residual = _choose(better, (snapped, exact), (theta, residual))
    return theta, residual, rounds * ROUND


def _together(theta: Array, matrix: Array, tied: Array) -> Array:
    """Give groups that are tied, (rows, k), their mean, or 0 where one of them has it."""
    groups = theta.shape[0]
    ends = [jnp.argmax(s * matrix, axis=1) for s in (1, -1)]
    column = jnp.arange(theta.shape[1])[None, :]

    def spread(state):
        label, _ = state
        low = jnp.where(tied, jnp.minimum(label[ends[0]], label[ends[1]]), groups)
        new = label
        for end in ends:
            new = new.at[end].min(low)
        new = jnp.take_along_axis(new, new, axis=0)  # labels lead on to labels
        return new, jnp.any(new != label)

    first = jnp.broadcast_to(jnp.arange(groups)[:, None], theta.shape)
    label, _ = jax.lax.while_loop(lambda s: s[1], spread, (first, jnp.array(True)))
    total = jnp.zeros_like(theta).at[label, column].add(theta)
    count = jnp.zeros_like(theta).at[label, column].add(1)
    none = jnp.zeros_like(theta).at[label, column].add(jnp.where(theta == 0, 1.0, 0.0))
    mean = jnp.where(none > 0, 0, total / jnp.maximum(count, 1))
    alone = jnp.take_along_axis(count, label, axis=0) == 1
    return jnp.where(alone, theta, jnp.take_along_axis(mean, label, axis=0))


def _choose(yes: Array, a: Any, b: Any) -> Any:
    return jax.tree.map(lambda v, w: jnp.where(yes, v, w), a, b)


def _solved(matrix: Array, right: Array) -> Array:
    """Solve a small positive semidefinite system by elimination, a little off where singular."""
    size = matrix.shape[0]
    eps = jnp.finfo(matrix.dtype).eps
    lift = 1e2 * eps * jnp.trace(matrix)
    lift = jnp.where(lift > 0, lift, 1)
    rows = jnp.concatenate([matrix + lift * jnp.eye(size, dtype=matrix.dtype), right[:, None]], 1)

    def clear(i, rows):
        row = rows[i] / rows[i, i]
        rows = rows - jnp.where(jnp.arange(size) == i, 0, rows[:, i])[:, None] * row[None, :]
        return rows.at[i].set(row)

    rows = jax.lax.fori_loop(0, size, clear, rows)
    return rows[:, -1]
