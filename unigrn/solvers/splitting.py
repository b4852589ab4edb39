"""Splitting: penalties and sets that no prox joins, each with a copy of the coefficients of its own.

minimise f(theta) + h(theta) + sum_i g_i(K_i theta), f the quadratic of the cells, h what acts entry
by entry (weighted |theta| and theta^2, bounds, and which entries there are), g_i the others. Each
of them gets its own x_i = K_i z and takes its prox in turn, all tied by multipliers y_i = rho M_i
u_i (the alternating direction method of multipliers over all parts at once)::

    x_i = prox_{g_i / (rho M_i)}(K_i z - u_i),   h_i = a x_i + (1 - a) K_i z,
    z = (sum_i K_i' M_i K_i)^-1 sum_i K_i' M_i (h_i + u_i),   u_i = u_i + h_i - K_i z

K_i is the identity, or acts along the groups of cells (`unigrn.kernels.Lines`), so that the matrix
of z is groups by groups. M evens out the units of groups and regulators; rho, one number a fit,
moves to where copies and multipliers settle equally fast. The prox of f is two products with the
eigenvectors of the moments, which serve every rho, and every target where all take their candidates
from one list.

The certificate does not ask how a point was found. With y_i of the parts and what is left of the
slope, y_h = -grad f(theta) - sum_i K_i' y_i, theta is optimal where K_i theta = prox_{t g_i}(K_i
theta + t y_i) for all parts, h included: then every y_i is a slope of g_i there, and they sum to 0.
The residual is the largest difference of the two sides over t, relative to grad f(0) of the group;
with one part it is that of `unigrn.solvers.optimality`.
Sources: Boyd, Parikh, Chu, Peleato and Eckstein, Found. Trends Mach. Learn. 3 (2011) 1,
doi:10.1561/2200000016; Setzer, Steidl and Teuber, J. Vis. Commun. Image Represent. 21 (2010) 193,
doi:10.1016/j.jvcir.2009.10.006 (parts side by side).
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

RELAXED = 1.6  # a above: between 1 and 2 the copies reach ahead
ROUND = 10  # steps from one look at the residual to the next
WIDE = 0.4  # share of the regulators from which on fits take them all, and share eigenvectors
FAR = 3.0  # times by which copies and multipliers may differ before rho moves
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
        return 30.0 * groups * width
    return groups * (30.0 * k + 3.0 * k * k)


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
    place = systems[:, None] if apart else systems[:, None] + tasks.offset[None, :]
    where, variants = batching.by_fit(tasks, index), batching.variants(tasks)
    fits, k = index.shape
    width, count = moments.gram.shape[1], place.shape[1]

    one_list = moments.gram.shape[0] == count and k >= WIDE * width
    one_list = one_list and not _adds_matrix(shape, terms, moments, members, prior)
    back = index
    if one_list:
        rows = jnp.arange(fits, dtype=jnp.int32)[:, None]

        def spread(v):
            return jnp.zeros((fits, width), v.dtype).at[rows, index].set(
                jnp.where(valid, v, jnp.zeros((), v.dtype))
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
    own = jax.vmap(jnp.diagonal)(moments.gram)  # (systems, width)
    tiny = jnp.finfo(own.dtype).tiny
    # Groups and regulators in units in which they curve alike.
    scale = jnp.exp(jnp.mean(jnp.log(jnp.maximum(statement.scale, tiny)), axis=0))
    free = not any(_in_own_part(t) and not t.across for t in terms)
    level = scale * jnp.mean(own.reshape(-1, count, width), axis=(0, 2)) if count > 1 else None
    m = jnp.ones(count, own.dtype)
    if level is not None:
        top = jnp.maximum(jnp.max(level), tiny)
        m = jnp.where(level > 0, jnp.clip(level / top, 1e-4, 1), 1).astype(own.dtype)
    even = jnp.mean(own.reshape(-1, width), axis=0)
    even = jnp.maximum(even / jnp.maximum(jnp.max(even), tiny), 1e-6) if free else 0 * even + 1

    def spectrum(gram, root):
        values, vectors = jnp.linalg.eigh(gram / (root[:, None] * root[None, :]))
        return jnp.maximum(values, 0), vectors / root[:, None]

    # LAPACK is called for one matrix after the other: see `unigrn.backend.over_fits`.
    if one_list:
        root = jnp.sqrt(even)
        shared = jax.lax.map(lambda g: spectrum(g, root), moments.gram)
        rows_of = jnp.max(jnp.sum(jnp.abs(moments.gram), axis=2), axis=1)
        extra: tuple = ()
    else:
        root = jnp.sqrt(even)[index]

        def gathered(place, index, valid, statement, root):
            gram = moments.gram[place][:, index[:, None], index[None, :]]
            gram = statement.scale[:, None, None] * gram
            gram = gram if statement.hessian is None else gram + statement.hessian
            gram = jnp.where((valid[:, None] & valid[None, :])[None], gram, 0)
            return gram, jax.lax.map(lambda g: spectrum(g, root), gram)

        shared, rows_of = None, None
        given = (place, index, prior.valid, statement, root)
        extra = jax.lax.map(lambda each: gathered(*each), given)

    def parts_of(place, where, variant, target, prior):
        slots, small = slots_of(where, variant), sums(place, where.regulators, target)
        stacked = prior.map(lambda v: jnp.broadcast_to(v, (count, *v.shape)))
        return _parts(slots, View(small), prior, stacked, m, even[where.regulators])

    first = jax.tree.map(lambda v: v[0], lists)
    inverse = _inverse(parts_of(*first), m, even[first[1].regulators])

    def one(place, where, variant, target, prior, statement, *extra):
        slots, small = slots_of(where, variant), sums(place, where.regulators, target)
        each = Slots(shape, lifted(slots.terms))
        stacked = prior.map(lambda v: jnp.broadcast_to(v, (count, *v.shape)))
        view = View(small)
        d = even[where.regulators]
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
        others = _parts(slots, view, prior, stacked, m, d)
        theta, residual, steps = _run(problem, others, inverse, small.own, options)
        params = Blocks(theta=theta)
        value = problem.value(theta)
        for term in (*parts(slots.loss), *parts(slots.regularizer)):
            if not by_entry(term):
                lift = lifted((term,))[0]
                value = value + lift(params, view, stacked)
        status = optimality.ended(params, residual, options.tolerance)
        status = optimality.within_sets(each, params, view, stacked, status)
        return Fit(params, status, residual, steps, value)

    fit = over_fits(one, *lists, statement, *extra)
    theta = fit.params.theta
    if one_list:
        theta = jnp.take_along_axis(theta, back[:, None, :], axis=2)
        theta = jnp.where(valid[:, None, :], theta, 0)
    theta = theta[:, 0] if apart else theta
    return Fit(Blocks(theta=theta), fit.status, fit.residual, fit.iterations, fit.value)


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


def _in_own_part(term: Term) -> bool:
    """Whether a term gets a copy of its own."""
    return not by_entry(term)


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
        """f + h."""
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
        right = 2 * n.right + rho * m * self.d * v
        turned = jnp.einsum("gji,gj->gi", self.vectors, right, precision=HIGHEST)
        turned = turned / (2 * n.scale[:, None] * self.values + rho * m)
        return jnp.einsum("gij,gj->gi", self.vectors, turned, precision=HIGHEST)

    def prox_h(self, v: Array, step: Array) -> Array:
        """Prox of h: entry by entry."""
        n = self.numbers
        best = soft_threshold(v, step * n.price) / (1 + 2 * step * n.ridge)
        return jnp.where(self.valid, jnp.clip(best, n.low, n.high), 0)


def _parts(slots, view, prior, stacked, m, d) -> list[Part]:
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
            weight, price = row[:, None] * d, found.price[:, None]

            def prox(v, step, price=price):
                return soft_threshold(v, step * price)

            out.append(Part(found.matrix, weight, prox))
            continue
        weight = m[:, None] * d
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


def _inverse(others: list[Part], m: Array, d: Array) -> Array:
    """Return (sum K' M K)^-1 up to the units of the regulators, its diagonal where that is all."""
    count = 2 + sum(p.matrix is None for p in others)
    if all(p.matrix is None for p in others):
        return 1 / (count * m)
    normal = jnp.diag(count * m)
    for p in others:
        if p.matrix is not None:
            normal = normal + _dot(p.matrix.T * (p.weight[:, 0] / d[0]), p.matrix)
    return jnp.linalg.inv(normal)


def _run(problem: Problem, others: list[Part], inverse: Array, own: Array, options: Options):
    """Return theta, its residual and the steps taken."""
    n, m, d = problem.numbers, problem.m, problem.d
    dtype = n.right.dtype
    tiny, eps = jnp.finfo(dtype).tiny, jnp.finfo(dtype).eps
    both = m[:, None] * d
    plain = [Part(None, both, problem.prox_f), Part(None, both, problem.prox_h)]
    whole = [*plain, *others]

    def gathered(images: list[Array]) -> Array:
        total = sum(p.back(p.weight / d * v) for p, v in zip(whole, images, strict=True))
        return _dot(inverse, total) if inverse.ndim == 2 else inverse[:, None] * total

    def proxes(z, us, rho):
        moved = [p.of(z) - u for p, u in zip(whole, us, strict=True)]
        found = [problem.prox_f(moved[0], rho)]
        found += [
            p.prox(v, 1 / (rho * p.weight)) for p, v in zip(whole[1:], moved[1:], strict=True)
        ]
        return moved, found

    def step(_, state):
        z, us, rho, _ = state
        _, found = proxes(z, us, rho)
        ahead = [
            RELAXED * x + (1 - RELAXED) * p.of(z) for p, x in zip(whole, found, strict=True)
        ]
        new = gathered([h + u for h, u in zip(ahead, us, strict=True)])
        us = [u + h - p.of(new) for p, u, h in zip(whole, us, ahead, strict=True)]
        return new, us, rho, z

    # ---- what residuals are relative to: the slope at 0 of each group, in both units.
    spread = jnp.sqrt(jnp.clip(own / jnp.maximum(jnp.max(own, axis=1, keepdims=True), tiny), SPREAD, 1))
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

    def look(z, us, rho):
        moved, found = proxes(z, us, rho)
        theta = found[1]
        bound = optimality.resolved(
            jnp.maximum(problem.bound, tiny), theta, jnp.max(sizes[0]), options.tolerance
        )
        left = -problem.slope(theta)
        worst = jnp.zeros((), dtype)
        for p, v, x in zip(others, moved[2:], found[2:], strict=True):
            y = rho * p.weight * (v - x)
            left = left - p.back(y)
            image = p.of(theta)
            apart = (image - p.prox(image + y / bound, jnp.full_like(p.weight, 1) / bound)) * bound
            worst = jnp.maximum(worst, measured(p, apart))
        left = jnp.where(problem.valid, left, 0)
        apart = (theta - problem.prox_h(theta + left / bound, 1 / bound)) * bound
        return theta, jnp.maximum(worst, measured(plain[1], apart)).astype(dtype)

    def norm(images):
        return jnp.sqrt(sum(jnp.sum(p.weight * v**2) for p, v in zip(whole, images, strict=True)))

    def balanced(z, us, rho, last, rounds):
        _, found = proxes(z, us, rho)
        images = [p.of(z) for p in whole]
        primal = norm([x - i for x, i in zip(found, images, strict=True)])
        dual = norm([p.of(z - last) for p in whole])
        size = jnp.maximum(norm(found), norm(images))
        ratio = (primal / jnp.maximum(size, tiny)) / jnp.maximum(
            dual / jnp.maximum(norm(us), tiny), tiny
        )
        factor = jnp.clip(jnp.sqrt(ratio), 1 / 5, 5)
        far = (ratio > FAR) | (ratio < 1 / FAR)
        due = jax.lax.population_count(rounds) == 1  # the 1st, 2nd, 4th, 8th ... look
        factor = jnp.where(far & due & jnp.isfinite(factor), factor, 1).astype(dtype)
        return rho * factor, [u / factor for u in us]

    def body(state):
        z, us, rho, rounds, theta, residual = state
        z, us, rho, last = jax.lax.fori_loop(0, ROUND, step, (z, us, rho, z))
        theta, residual = look(z, us, rho)
        rounds = rounds + 1
        rho, us = balanced(z, us, rho, last, rounds)
        return z, us, rho, rounds, theta, residual

    def proceed(state):
        *_, rounds, _, residual = state
        return (residual > options.tolerance) & (rounds * ROUND < options.most)

    z = jnp.zeros_like(n.right)
    us = [jnp.zeros_like(p.of(z)) for p in whole]
    curve = jnp.mean(n.scale * jnp.mean(problem.values, axis=1) / m)
    rho = jnp.where(curve > 0, curve, 1).astype(dtype)
    theta = problem.prox_h(z, jnp.ones((), dtype) + 0 * both)
    state = (z, us, rho, jnp.zeros((), jnp.int32), theta, jnp.asarray(jnp.inf, dtype))
    *_, rounds, theta, residual = jax.lax.while_loop(proceed, body, state)
    return theta, residual, rounds * ROUND
