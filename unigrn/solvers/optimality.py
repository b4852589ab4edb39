"""What every solver minimises, and the one measure of how far a point is from optimal.

The objective is f(params) + g(params), f smooth and g with a prox block by block. The residual of a
point is that of the whole problem,

    max over blocks b and entries of  |b - prox_{t g}(b - t grad_b f)| / t

relative to |grad f(0)|, or to what the slopes next to the point make of it where that is less than
half as much, with t one over the curvature. It vanishes at a stationary point of f + g
only, constraints included; where the problem is convex it is the distance from the KKT conditions.
Target by target it must be small in the units of the regulators and in units of equal spread; the
slope in an intercept counts as that in a regulator of the largest spread. Where a problem has
further blocks, whose units have nothing to do with each other, it must be small with every block
in units of the root of its own curvature, too (`unigrn.solvers.levels`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.status import Status
from unigrn.terms import Array, Blocks, Joint, PriorView, Term, View, joint, outside, parts, pytree

SPREAD = 1e-30  # of squares that moments still tell apart, relative to the largest
ROUNDS = 8  # of solving on with a smaller residual, at most


@pytree
class Fit:
    """Outcome of a fit, or of a batch of fits along the first axis of every leaf."""

    params: Blocks
    status: Array
    residual: Array
    iterations: Array
    value: Array
    history: Array | None = None


@pytree
class Options:
    """How long a solver works: the residual it aims at, and its cap on iterations."""

    tolerance: Array
    most: Array


@dataclass(frozen=True)
class Objective:
    """f + g of a spec, inside a compiled function; ``joints`` holds the prox of each block."""

    smooth: Callable[[Blocks, View, PriorView], Array]
    joints: dict[str, Joint]
    total: Callable[[Blocks, View, PriorView], Array]
    monotone: bool = False  # f is convex, so that its slopes grow along every step
    guarded: bool = False  # a term from outside may be undefined where its gradient is a number

    @property
    def why(self) -> str:
        """What stands in the way of a prox, or nothing."""
        return next((j.why for j in self.joints.values() if j.prox is None), "")

    @property
    def convex(self) -> bool:
        """Whether momentum is safe: every prox is that of a convex function."""
        return all(j.convex for j in self.joints.values())

    def prox(self, params: Blocks, steps: Blocks, view: View, prior: PriorView) -> Blocks:
        """Apply the prox of every block that has one."""
        moved = {
            b: j.prox(params[b], steps[b], view, prior, params) for b, j in self.joints.items()
        }
        return params.replace(**moved)


def proximal_terms(terms: Any, block: str) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
    """Regularizers with a kink, and sets, of a block; what deletion has met is no set."""
    kinks = tuple(t for t in parts(terms.regularizer) if t.block == block and t.kink)
    sets = tuple(t for t in parts(terms.constraint) if t.block == block and t.allows is None)
    return kinks, sets


def objective(terms: Any) -> Objective:
    """Put differentiable terms into f, the others into the prox of their block."""
    blocks = sorted({t.block for t in terms.terms if t.kink or t.kind == "constraint"})
    joints, met = {}, set()
    for block in blocks:
        kinks, sets = proximal_terms(terms, block)
        if kinks or sets:
            joints[block] = joint(kinks, sets)
            met |= {id(t) for t in kinks}
    costs = parts(terms.loss) + parts(terms.regularizer)

    def smooth(params, data, prior):
        return sum(t(params, data, prior) for t in costs if id(t) not in met)

    def total(params, data, prior):
        return sum(t(params, data, prior) for t in costs)

    monotone = all(t.convex is True for t in costs if id(t) not in met)
    guarded = any(outside(t) for t in costs if id(t) not in met)
    return Objective(smooth, joints, total, monotone, guarded)


def largest(params: Any) -> Array:
    """Return the largest absolute entry of all blocks."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(v), initial=0) for v in jax.tree.leaves(params)]))


def dot(a: Any, b: Any) -> Array:
    """Return the inner product over all blocks."""
    return sum(jnp.sum(u * v) for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def masked(params: Blocks, prior: PriorView) -> Blocks:
    """Put theta to 0 where there is no candidate."""
    return params.replace(theta=jnp.where(prior.valid, params.theta, 0))


@pytree
class Units:
    """What evens out the units of blocks: spreads like theta, and that of an intercept's column."""

    theta: Array
    intercept: Array

    @property
    def steps(self) -> Array:
        """Units in which theta is moved: a whole network's may treat rows and columns alike."""
        return self.theta if self.theta.ndim == 1 else jnp.ones_like(self.theta)

    def sizes(self, g: Any) -> Array:
        """Return the largest entry of a slope in the units as they are, and in even ones, (2,)."""
        plain = dict(g)
        if "intercept" in plain:
            plain |= {"intercept": plain["intercept"] * self.intercept}
        even = plain | {"theta": plain["theta"] / self.theta}
        return jnp.stack([largest(plain), largest(even)])


def units(params: Blocks, view: View, centred: bool = True) -> Units:
    """Return the roots of the regulators' sums of squares, relative to the largest, like theta.

    That of an intercept is the largest root itself, over that of the number of cells.
    """
    theta, one = params.theta, jnp.ones((), params.theta.dtype)
    least = jnp.finfo(theta.dtype).eps ** 2  # of rows: less may be the rounding of a constant
    if view.moments is not None and theta.ndim == 1:
        square, count, least = jnp.diagonal(view.moments.gram), None, SPREAD
    elif view.x is not None and theta.shape[:1] == view.x.shape[1:]:
        rows, means = _weighted(view)
        square = rows @ (view.x - (means if centred else 0 * means)[None, :]) ** 2
        count = jnp.sum(rows)
    else:
        return Units(jnp.ones_like(theta), one)
    info = jnp.finfo(square.dtype)
    most = jnp.max(square, initial=0)
    level = one
    if count is not None:
        level = jnp.where(most > 0, jnp.sqrt(most / jnp.maximum(count, info.tiny)), one)
    share = square / jnp.maximum(most, info.tiny)
    spread = jnp.sqrt(jnp.where(share > 0, jnp.clip(share, least, 1), 1))
    wide = spread.reshape(spread.shape + (1,) * (theta.ndim - 1))
    return Units(jnp.broadcast_to(wide, theta.shape), level)


def _weighted(view: View) -> tuple[Array, Array]:
    """Return the weights of the cells, and the weighted means of the regulators."""
    assert view.x is not None
    rows = jnp.ones(view.x.shape[0], view.x.dtype) if view.weight is None else view.weight
    return rows, rows @ view.x / jnp.maximum(jnp.sum(rows), jnp.finfo(view.x.dtype).tiny)


def shear(params: Blocks, view: View, joints: dict[str, Joint]) -> Array | None:
    """Return the means of the regulators, along which an intercept can move with theta, or None."""
    free = "intercept" in params and "intercept" not in joints
    if not free or view.x is None or params.theta.shape[:1] != view.x.shape[1:]:
        return None
    return _weighted(view)[1]


def slope(obj: Objective, view: View, prior: PriorView) -> Callable[[Blocks], Blocks]:
    """Return the gradient of f, 0 at entries that are no candidates.

    Beside a term from outside it is undefined wherever f is: the gradient of a logarithm, say, goes
    on being a number where the logarithm is none.
    """
    if not obj.guarded:
        gradient = jax.grad(obj.smooth)
        return lambda params: masked(gradient(params, view, prior), prior)
    both = jax.value_and_grad(obj.smooth)

    def guarded(params):
        value, g = both(params, view, prior)
        return masked(jax.tree.map(lambda v: jnp.where(jnp.isnan(value), jnp.nan, v), g), prior)

    return guarded


def resolved(bound: Array, at: Any, size: Array, tolerance: Array) -> Array:
    """Return a curvature no larger than one at which rounding would hide what is asked for.

    A step g / bound is added to the point and taken off again: of it eps |point| bound is lost,
    which has to stay below tolerance times size.
    """
    eps, tiny = jnp.finfo(bound.dtype).eps, jnp.finfo(bound.dtype).tiny
    share = jnp.maximum(tolerance / eps, 1) / 4
    most = share * (size / jnp.maximum(largest(at), tiny))
    return jnp.clip(bound, tiny, jnp.maximum(most, tiny))


def scale(
    gradient: Callable[[Blocks], Blocks], start: Blocks, tolerance: Array, units: Units
) -> Array:
    """Return what residuals are relative to: the largest gradient at theta = 0, in both units.

    Where that is 0 or undefined, the gradient at the start serves. Rounding of the gradient at the
    start is never asked to be undercut.
    """
    dtype = start.theta.dtype
    still = start.replace(theta=jnp.zeros_like(start.theta))
    both = jax.tree.map(lambda *v: jnp.stack(v), start, still)

    begin, zero = jax.lax.map(lambda at: units.sizes(gradient(at)), both)
    zero = jnp.where(jnp.isfinite(zero), zero, 0)
    begin = jnp.where(jnp.isfinite(begin), begin, 0)
    floor = 32 * jnp.finfo(dtype).eps / jnp.maximum(tolerance, jnp.finfo(dtype).eps)
    out = jnp.where(zero > 0, jnp.maximum(zero, floor * begin), begin)
    return jnp.maximum(out, jnp.finfo(dtype).tiny).astype(dtype)


def nearby(
    gradient: Callable[[Blocks], Blocks], at: Any, start: Any, sizes: Array, units: Units
) -> Array:
    """Return ``sizes``, or less where the slopes next to a point say so.

    Slopes an eighth of the way from the point to theta = 0 are continued along a line: of a
    quadratic f they give the gradient at 0. Where f is far steeper there than around the point (an
    exponential, a logarithm), that gradient would let any point pass.
    """
    still = start.replace(theta=jnp.zeros_like(start.theta))
    ahead = jax.tree.map(lambda v, s: v + (s - v) / 8, at, still)
    g = gradient(at)
    far = jax.tree.map(lambda s, t: s + 8 * (t - s), g, gradient(ahead))
    local = units.sizes(far)
    less = jnp.isfinite(local) & (local > 0) & (local < 0.5 * sizes)
    return jnp.where(jnp.all(less), local, sizes).astype(sizes.dtype)


def in_rounds(attempt: Callable, measure: Callable, state: Any, sizes: Array, options: Any) -> Any:
    """Solve, and solve on from there while the point itself asks for a smaller residual.

    ``attempt(state, sizes)`` returns a state that ends in its residual and its steps; ``measure``
    gives the sizes that a state asks for. The residual of a state that asks still is infinite.
    """

    def body(carry):
        state, sizes, _, count = carry
        state = attempt(state, sizes)
        asked = measure(state, sizes)
        more = (state[-2] <= options.tolerance) & jnp.any(asked < sizes)
        return state, jnp.where(more, asked, sizes), more, count + 1

    def proceed(carry):
        state, _, more, count = carry
        return more & (count < ROUNDS) & ((count == 0) | (state[-1] < options.most))

    first = (state, sizes, jnp.ones((), bool), jnp.zeros((), jnp.int32))
    (*state, out, steps), _, more, _ = jax.lax.while_loop(proceed, body, first)
    return (*state, jnp.where(more, jnp.inf, out).astype(out.dtype), steps)


def curvature(gradient: Callable[[Any], Any], at: Any, g: Any) -> Array:
    """Estimate the curvature of f along its gradient, by a short probe.

    A first probe finds how far the minimum may be; the second is that much longer, so that neither
    the units of the parameters nor rounding decide.
    """
    dtype = jax.tree.leaves(at)[0].dtype
    tiny, eps = jnp.finfo(dtype).tiny, jnp.finfo(dtype).eps
    size, steep = largest(at), jnp.maximum(largest(g), tiny)

    def probe(reach):
        ahead = jax.tree.map(lambda v, s: v - reach * s, at, g)
        turn = jax.tree.map(jnp.subtract, gradient(ahead), g)
        move = jax.tree.map(jnp.subtract, ahead, at)
        bend = largest(turn) / jnp.maximum(largest(move), tiny)
        square = dot(turn, turn) / jnp.maximum(dot(move, move), tiny)
        bend = jnp.where(jnp.isfinite(square) & (square > 0), jnp.sqrt(square), bend)
        return jnp.where(jnp.isfinite(bend) & (bend > 0), bend, 1).astype(dtype)

    rough = probe(jnp.sqrt(eps) * (1 + size) / steep)
    # A power of 2: rounding of the first probe has no say in the second.
    reach = jnp.maximum(jnp.sqrt(eps) * size / steep, jnp.sqrt(eps) / rough)
    far = probe(jnp.exp2(jnp.round(jnp.log2(reach))).astype(dtype))
    # Far away a loss may be flat: rounding alone does not make the first probe so much larger.
    return jnp.where(far < 1e-3 * rough, rough, far)


def residual(
    obj: Objective,
    params: Blocks,
    g: Blocks,
    bound: Array,
    sizes: Array,
    units: Units,
    tolerance: Array,
    view: View,
    prior: PriorView,
) -> Array:
    """Return the relative residual of a point; ``bound`` is the curvature 1 / t."""
    bound = resolved(bound, params, sizes[0], tolerance)
    moved = jax.tree.map(lambda v, s: v - s / bound, params, g)
    steps = jax.tree.map(lambda v: 1 / bound, params)
    after = obj.prox(moved, steps, view, prior)
    # Entries that are no candidates count: a prox that fills them is not that of this problem.
    apart = {b: (params[b] - after[b]) * bound if b in obj.joints else g[b] for b in params}
    return relative(apart, sizes, units)


def relative(apart: Any, sizes: Array, units: Units) -> Array:
    """Return the largest entry relative to what `scale` gave, in the worse of both units."""
    return jnp.max(units.sizes(apart) / sizes)


def certify(
    terms: Any, params: Blocks, start: Blocks, view: View, prior: PriorView, options: Options
) -> tuple[Array, Array]:
    """Return the status and the relative residual of a point, whatever found it."""
    obj = objective(terms)
    gradient = slope(obj, view, prior)
    g = gradient(params)
    bound = curvature(gradient, params, g)
    even = units(params, view, shear(params, view, obj.joints) is not None)
    sizes = scale(gradient, start, options.tolerance, even)
    out = residual(obj, params, g, bound, sizes, even, options.tolerance, view, prior)
    out = out.astype(params.theta.dtype)
    status = ended(params, out, options.tolerance)
    return within_sets(terms, params, view, prior, status), out


def ended(
    params: Any, residual: Array, tolerance: Array, otherwise: Any = Status.MAX_ITERATIONS
) -> Array:
    """Say how a fit, whose numbers are the leaves of ``params``, ended from its residual alone."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves(params)]))
    status = jnp.where(residual <= tolerance, Status.CONVERGED, otherwise)
    return jnp.where(finite & ~jnp.isnan(residual), status, Status.NOT_FINITE).astype(jnp.int32)


def within_sets(terms: Any, at: Blocks, view: View, prior: PriorView, status: Array) -> Array:
    """Return the status, or `Status.INFEASIBLE` where a set of the constraint is left.

    Projections in turn onto sets without a common point come to rest, at a point of none.
    """
    sets = [t for t in parts(terms.constraint) if t.allows is None]
    if not sets:
        return status
    allow = jnp.maximum(jnp.sqrt(jnp.finfo(at.theta.dtype).eps), 1e-6) * largest(at)
    out = [jnp.any(t(at, view, prior) > allow) for t in sets]
    for t in sets:
        if t.interval is not None:
            low, high = t.interval(prior)
            out.append(jnp.any(prior.valid & (low > high)))
    out = jnp.stack(out)
    failed = jnp.any(out) & (status != Status.NOT_FINITE)
    return jnp.where(failed, Status.INFEASIBLE, status).astype(jnp.int32)


def off_minimum(obj: Objective, at: Blocks, sizes: Array, options: Options, view, prior, status):
    """Return the status, or `Status.SADDLE` where points next to a stationary one are lower.

    Asked of smooth objectives with terms from outside that are not known to be convex: one that
    starts at a maximum has nowhere to go by its gradient. The slope that the tolerance leaves, and
    rounding, may lower the objective by ``allow``.
    """
    if obj.joints or obj.monotone or not obj.guarded:
        return status
    eps = jnp.finfo(at.theta.dtype).eps
    reach = jnp.sqrt(jnp.sqrt(eps)) * (1 + largest(at))
    ends = jnp.asarray([(s, k) for k in (1, 2, 1 << 30) for s in (1, -1)], at.theta.dtype)

    def value(end):
        moved = jax.tree.map(lambda v: v + end[0] * reach * _signs(v, end[1]), at)
        return obj.total(masked(moved, prior), view, prior)

    here = obj.total(at, view, prior)
    lowest = jnp.min(jax.lax.map(value, ends))
    count = sum(v.size for v in jax.tree.leaves(at))
    allow = 2 * reach * count * options.tolerance * jnp.max(sizes) + 256 * eps * jnp.abs(here)
    lower = (here - lowest > allow) & (status == Status.CONVERGED)
    return jnp.where(lower, Status.SADDLE, status).astype(jnp.int32)


def _signs(v: Array, run: Array) -> Array:
    """Return 1 and -1 in turn, ``run`` entries of each, like v."""
    odd = (jnp.arange(v.size, dtype=jnp.int32) // run.astype(jnp.int32)) % 2 == 1
    return jnp.where(odd, -1, 1).reshape(v.shape).astype(v.dtype)


def with_kinks(
    terms: Any,
    gradient: Callable[[Blocks], Blocks],
    at: Blocks,
    sizes: Array,
    options: Options,
    status: Array,
) -> Array:
    """Return the status, or `Status.KINK` where the gradients on two sides of a point disagree.

    However near they are taken: the jump of a smooth function shrinks with the distance, that of a
    kink stays. Asked of terms that are not ours only.
    """
    if not any(outside(t) for t in terms.terms):
        return status
    dtype = at.theta.dtype
    reach = jnp.sqrt(jnp.finfo(dtype).eps) * (1 + largest(at))
    ends = jnp.asarray([(e, s, k) for k in (1, 2, 1 << 30) for e in (1, 0.125) for s in (1, -1)])

    def side(end):
        def moved(v):
            return v + end[0] * end[1] * reach * _signs(v, end[2])

        return gradient(jax.tree.map(moved, at))

    sides = jax.lax.map(side, ends.astype(dtype))
    jumps = jnp.max(
        jnp.stack(
            [
                jnp.max(jnp.abs(v[::2] - v[1::2]).reshape(6, -1), axis=1, initial=0)
                for v in jax.tree.leaves(sides)
            ]
        ),
        axis=0,
    )
    far, near = jumps[::2], jumps[1::2]
    floor = jnp.maximum(1e-5, 1e3 * options.tolerance).astype(dtype) * sizes[0]
    kink = jnp.any((near > 0.5 * far) & (near > floor)) & (status != Status.NOT_FINITE)
    return jnp.where(kink, Status.KINK, status).astype(jnp.int32)
