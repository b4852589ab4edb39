"""Proximal gradient with acceleration (FISTA), adaptive restart and backtracking, in all blocks.

minimise f(params) + g(params), f smooth, g with a prox. From an extrapolated point y::

    x+ = prox_{d g/L}(y - d grad f(y) / L),   t+ = (1 + sqrt(1 + 4 t^2)) / 2,
    y+ = x+ + (t - 1) / t+ (x+ - x)

L starts from the curvature next to the start, doubles whenever a step shows more curvature than L,
and falls where steps show less, so that no constant needs to be known. d evens out the units: of
single regulators where g acts entry by entry, of whole blocks otherwise. Momentum restarts when it
points uphill, and is left out where g is not convex. An intercept moves along with theta, as if
regulators were centred: a change of variables that leaves the problem as it is.
Sources: Beck and Teboulle, SIAM J. Imaging Sci. 2 (2009) 183, doi:10.1137/080716542; O'Donoghue
and Candes, Found. Comput. Math. 15 (2015) 715, doi:10.1007/s10208-013-9150-3.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.solvers import levels, optimality
from unigrn.solvers.optimality import Fit, Options, dot
from unigrn.terms import Array, Blocks, PriorView, View

LATE = 200  # steps that single precision takes beyond its tolerance, at most


def _minus(a: Blocks, b: Blocks) -> Blocks:
    return jax.tree.map(jnp.subtract, a, b)


def _choose(yes: Array, a: Any, b: Any) -> Any:
    return jax.tree.map(lambda u, w: jnp.where(yes, u, w), a, b)


def solve(terms: Any, view: View, prior: PriorView, options: Options) -> Fit:
    """Solve one fit, or one whole network, from its start."""
    obj = optimality.objective(terms)
    start = optimality.masked(terms.start(view, prior), prior)
    dtype, tolerance = start.theta.dtype, options.tolerance
    eps = jnp.finfo(dtype).eps
    slope = optimality.slope(obj, view, prior)
    means = optimality.shear(start, view, obj.joints)
    even = optimality.units(start, view, means is not None)

    def natural(z: Blocks) -> Blocks:
        return z if means is None else z.replace(intercept=z.intercept - means @ z.theta)

    def sheared(g: Blocks) -> Blocks:
        """Turn a gradient in the parameters into one in what is moved."""
        if means is None:
            return g
        theta = g.theta - jnp.multiply.outer(means, g.intercept)
        return optimality.masked(g.replace(theta=theta), prior)

    def gradient(z: Blocks) -> Blocks:
        return sheared(slope(natural(z)))

    begin = start
    if means is not None:
        begin = start.replace(intercept=start.intercept + means @ start.theta)
    sizes = optimality.scale(slope, start, tolerance, even)
    plain0 = slope(start)
    g0 = sheared(plain0)

    def bend(name: str) -> Array:
        """Curvature along the gradient of one block."""
        lone = jax.tree.map(jnp.zeros_like, g0).replace(**{name: g0[name]})
        return jnp.where(jnp.any(g0[name] != 0), optimality.curvature(gradient, begin, lone), 0)

    apart = "theta" not in obj.joints or obj.joints["theta"].entrywise
    units = even.steps**2 if apart else jnp.ones_like(even.theta)
    bends = {b: bend(b) for b in begin}
    bound0 = jnp.max(jnp.stack(list(bends.values())))
    bound0 = jnp.where(bound0 > 0, bound0, 1).astype(dtype)
    at_start = optimality.residual(obj, start, plain0, bound0, sizes, even, tolerance, view, prior)
    # 1 / d of every block; where a block shows no curvature of its own it takes that of the others.
    weight = Blocks(
        **{
            b: jnp.where(bends[b] > 0, jnp.clip(bends[b] / bound0, 1e-2, 1), 1).astype(dtype)
            * (units if b == "theta" else jnp.ones_like(begin[b]))
            for b in begin
        }
    )

    def forward(params: Blocks, g: Blocks, bound: Array) -> Blocks:
        steps = jax.tree.map(lambda w: 1 / (bound * w), weight)
        moved = jax.tree.map(lambda v, s, t: v - s * t, params, g, steps)
        # A prox that is not entrywise takes one step for its block, which all entries have then.
        steps = steps.replace(
            **{b: jnp.max(steps[b]) for b, j in obj.joints.items() if not j.entrywise}
        )
        return optimality.masked(obj.prox(moved, steps, view, prior), prior)

    def body(sizes, state):
        x, y, gy, momentum, bound, (top, cut), step, best, least, late = state
        new = forward(y, gy, bound)
        params = natural(new)
        plain = slope(params)
        g_new = sheared(plain)
        move = _minus(new, y)
        length = dot(jax.tree.map(jnp.multiply, weight, move), move)
        turned = dot(_minus(g_new, gy), move)
        # Slopes near 0 still carry the rounding of what they are the difference of.
        noise = 8 * eps * (jnp.sqrt(dot(gy, gy)) + sizes[0]) * jnp.sqrt(dot(move, move))
        accept = turned <= bound * length + noise
        if obj.monotone:  # otherwise the step left the domain in which f is what it says
            accept = accept & (turned >= -100 * noise - 0.01 * bound * length)
        uphill = (dot(_minus(y, new), _minus(new, x)) > 0) | (not obj.convex)
        now = jnp.where(uphill, 1, momentum)
        following = (1 + jnp.sqrt(1 + 4 * now**2)) / 2
        share = jnp.where(uphill, 0, (now - 1) / following)
        ahead = jax.tree.map(lambda a, b: a + share * (a - b), new, x)

        g_ahead = gradient(ahead)
        inside = jnp.isfinite(optimality.largest(g_ahead))  # momentum may leave the domain of f
        x_next, y_next, g_next = _choose(
            accept, (new, *_choose(inside, (ahead, g_ahead), (new, g_new))), (x, y, gy)
        )
        # Residuals are taken with the curvature that was seen, not that of a step cut short.
        seen = jnp.where(accept & (turned > 64 * noise), turned / dot(move, move), 0)
        top = jnp.maximum(top, seen).astype(dtype)
        curve = jnp.where(top > 0, top, bound)
        residual = optimality.residual(
            obj, params, plain, curve, sizes, even, tolerance, view, prior
        )
        better = accept & (residual < least)
        flat = turned < 0.5 * bound * length
        # Until a step was too long, the first guess may be far too short.
        longer = jnp.where(cut, 0.95, 0.5)
        bound = jnp.where(accept, jnp.where(flat, longer * bound, bound), 2 * bound).astype(dtype)
        return (
            x_next,
            y_next,
            g_next,
            jnp.where(accept, following, momentum),
            bound,
            (top, cut | ~accept),
            step + 1,
            _choose(better, new, best),
            jnp.where(better, residual, least).astype(dtype),
            late + (least <= tolerance).astype(jnp.int32),
        )

    def proceed(state):
        bound, _, step, _, least, late = state[4:]
        going = ~(least <= aim) & (late < LATE) & (step < options.most)
        return going & jnp.isfinite(bound)

    # Single precision goes on for a while: where the system is ill-conditioned, a small residual
    # alone leaves coefficients far from those of double precision.
    aim = 0.01 * tolerance if dtype == jnp.float32 else tolerance
    one, zero = jnp.ones((), dtype), jnp.zeros((), jnp.int32)
    far = jnp.asarray(jnp.inf, dtype)

    def attempt(state, sizes):
        at, g, bound, _, steps = state
        state = (at, at, g, one, bound, (0 * one, zero > 0), steps, at, far, zero)
        *_, bound, _, steps, x, residual, _ = jax.lax.while_loop(
            proceed, partial(body, sizes), state
        )
        return x, gradient(x), bound, residual, steps

    def asked(state, sizes):
        at = natural(state[0])
        less = optimality.nearby(slope, at, start, sizes, even)
        own = levels.asked(obj, slope, at, start, sizes, state[2], tolerance, view, prior)
        return jnp.minimum(less, own)

    x, _, _, residual, steps = optimality.in_rounds(
        attempt, asked, (begin, g0, bound0, far, zero), sizes, options
    )
    params = natural(x)
    value = obj.total(params, view, prior)
    # Where no step was accepted the slope at the start says whether anything is a number.
    known = jnp.isfinite(value) & jnp.isfinite(optimality.largest(g0))
    residual = jnp.where(known, residual, jnp.nan)
    status = optimality.ended(params, residual, tolerance)
    status = optimality.with_kinks(terms, slope, params, sizes, options, status)
    status = optimality.off_minimum(obj, params, sizes, options, view, prior, status)
    status = optimality.within_sets(terms, params, view, prior, status)
    # Where no step was accepted the residual is that of the start.
    residual = jnp.where(jnp.isposinf(residual), at_start, residual).astype(dtype)
    return Fit(params, status, residual, steps, value)
