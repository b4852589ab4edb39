"""Stochastic gradient through optax: Adam on a loss known by drawn gradients only.

Drawn is fresh noise (``data.key``), a few random cells (`unigrn.spec.Minibatch`), or both. The step
length falls along a cosine, and the parameters are averaged over the last half of the steps. The
certificate is the gradient averaged over fresh draws, beside its own standard error; with
minibatches the residual is that of all cells, taken block by block of BLOCK cells; of guided
entries it is in nats, as in `unigrn.solvers.gradient`, and NATS the most that any may still gain.
Sources: Kingma and Ba, ICLR (2015), arXiv:1412.6980; Polyak and Juditsky, SIAM J. Control Optim. 30
(1992) 838, doi:10.1137/0330046.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from unigrn.solvers import gradient, optimality
from unigrn.solvers.optimality import Fit, Options
from unigrn.spec import Slots
from unigrn.status import Status
from unigrn.terms import Array, PriorView, View, outside, parts

LENGTH = 0.05  # of the first steps, in units of the parameters
CHECKS = 128  # fresh draws for the certificate
SETTLED = 0.03  # a slope of all cells above so much of that at 0 is no noise, whatever draws say
NATS = 0.5  # of a guided entry: alone, it is within one deviation of where it ends
SIGMAS = 5.0  # a gradient within so many standard errors of 0 counts as noise
BLOCK = 4096  # cells whose loss is worked out at once, where it is that of all of them


def taken(view: View, place: Array) -> View:
    """Return some cells of a view, by their places."""
    assert view.x is not None
    cells = view.x.shape[0]

    def cut(values):
        return jnp.take(values, place, axis=0)

    extra = {k: cut(v) if v.shape[:1] == (cells,) else v for k, v in view.extra.items()}
    weight = None if view.weight is None else cut(view.weight)
    return view.replace(x=cut(view.x), y=cut(view.y), weight=weight, extra=extra)


def drawn(view: View, key: Array, size: int) -> tuple[View, Array]:
    """Return ``size`` cells of a view, drawn from those that count, with replacement; and which."""
    cells = view.x.shape[0]
    if view.weight is None:
        place = jax.random.randint(key, (size,), 0, cells)
    else:
        real = view.weight > 0
        order = jnp.argsort(jnp.logical_not(real))
        count = jnp.sum(real, dtype=jnp.int32)
        place = order[jax.random.randint(key, (size,), 0, count)]

    return taken(view, place), place


def solve(terms: Slots, view: View, prior: PriorView, options: Options) -> Fit:
    """Solve one fit, or one whole network: ``options.most`` steps, or the minibatch's epochs."""
    obj, batch = optimality.objective(terms), terms.shape.minibatch
    start = optimality.masked(terms.start(view, prior), prior)
    dtype, tolerance, most = start.theta.dtype, options.tolerance, options.most
    cells = jnp.asarray(view.x.shape[0], dtype)
    if view.weight is not None:
        cells = jnp.sum((view.weight > 0).astype(dtype))
    if batch is not None:
        most = jnp.ceil(batch.epochs * cells / batch.size).astype(jnp.int32)

    def loss(params, few, place):
        own = {
            name: jnp.take(params[name], place, axis=axes.index("cells"))
            for name, axes in terms.axes.items()
            if name in params and "cells" in axes
        }
        return terms.loss(params.replace(**own), few, prior)

    def rest(params):
        return sum((t(params, view, prior) for t in parts(terms.regularizer)), jnp.zeros((), dtype))

    def objective(params, key):
        if batch is None:
            return obj.smooth(params, view.replace(key=key), prior)
        pick, noise = jax.random.split(key)
        few, place = drawn(view, pick, batch.size)
        value = loss(params, few.replace(key=noise), place)
        value = value * (cells / batch.size)
        return value + rest(params)

    def of_all(params, key):
        """Return the objective of all cells and its gradient, block by block."""
        every = view.x.shape[0]
        own = jax.value_and_grad(lambda b, few, place: loss(b, few, place).astype(dtype))

        def block(total, first, size):
            place = first + jnp.arange(size, dtype=jnp.int32)
            few = taken(view, place).replace(key=jax.random.fold_in(key, first))
            return jax.tree.map(jnp.add, total, own(params, few, place))

        total = jax.value_and_grad(lambda b: rest(b).astype(dtype))(params)
        # Ours are sums over cells; what another loss makes of a block is not known.
        ours = not any(outside(t) for t in parts(terms.loss))
        size = min(every, BLOCK) if ours else every
        whole, left = divmod(every, size)
        if whole:
            first = size * jnp.arange(whole, dtype=jnp.int32)
            total, _ = jax.lax.scan(lambda t, f: (block(t, f, size), None), total, first)
        if left:
            total = block(total, jnp.asarray(every - left, jnp.int32), left)
        return total

    slope = jax.grad(objective)

    def sloped(params, key):
        return optimality.masked(slope(params, key), prior)

    solver = optax.scale_by_adam(b1=0.9, b2=0.99)
    late = most // 2
    walk, check = jax.random.split(view.key)

    def body(carry):
        params, mean, state, count = carry
        g = sloped(params, jax.random.fold_in(walk, count))
        share = count.astype(dtype) / most.astype(dtype)
        length = LENGTH * 0.5 * (1 + jnp.cos(jnp.pi * share)).astype(dtype)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, state = solver.update(g, state)
        params = jax.tree.map(lambda p, u: p - length * u, params, updates)
        weight = jnp.where(count < late, 1, 1 / (count - late + 1)).astype(dtype)
        mean = jax.tree.map(lambda m, p: m + weight * (p - m), mean, params)
        return params, mean, state, count + 1

    zero = jnp.zeros((), jnp.int32)
    _, params, _, steps = jax.lax.while_loop(
        lambda carry: carry[3] < most, body, (start, start, solver.init(start), zero)
    )
    keys = jax.random.split(check, CHECKS)

    def gathered(carry, next_):
        """Mean and sum of squares about it, one gradient after the other: all take much room."""
        (mean, squares), (key, share) = carry, next_
        g = sloped(params, key)
        ahead = jax.tree.map(lambda m, v: m + share * (v - m), mean, g)
        squares = jax.tree.map(lambda q, m, a, v: q + (v - m) * (v - a), squares, mean, ahead, g)
        return (ahead, squares), None

    none, shares = jax.tree.map(jnp.zeros_like, params), 1 / jnp.arange(1, CHECKS + 1, dtype=dtype)
    (mean, squares), _ = jax.lax.scan(gathered, (none, none), (keys, shares))

    plain = optimality.Units(jnp.ones_like(start.theta), jnp.ones((), dtype))

    def whole(b):
        if batch is None:
            return sloped(b, keys[0])
        return optimality.masked(of_all(b, keys[0])[1], prior)

    scale = optimality.scale(whole, start, tolerance, plain)[0]
    # Of all cells where they can be had: whatever minibatches make of a loss, this is its slope.
    if batch is not None:
        mean = whole(params)

    def noise(mean, squares):
        error = jnp.sqrt(squares) / jnp.asarray(CHECKS, dtype)
        return jnp.all(jnp.abs(mean) <= SIGMAS * error + tolerance * scale)

    # Points, which have no log deviation, tell no curvature: they are judged by the relative slope.
    every = gradient.guides(terms, view, prior) if batch is not None else {}
    guided = {name: pair for name, pair in every.items() if pair[0] is not None}
    relative = optimality.largest(gradient.unguided(guided, mean)) / scale
    left = jnp.zeros((), dtype)
    if guided:
        left = gradient.nats(guided, mean, gradient.curvatures(guided, params, mean, none))
    residual = jnp.maximum(relative, left).astype(dtype)
    within = jnp.all(jnp.stack(jax.tree.leaves(jax.tree.map(noise, mean, squares))))
    within = within & ((batch is None) | ((relative <= SETTLED) & (left <= NATS)))
    # Drawn gradients can show that a point is no worse than their noise, and no more.
    status = jnp.where(within, Status.WITHIN_NOISE, Status.MAX_ITERATIONS)
    status = optimality.ended(
        params, jnp.where(jnp.isfinite(residual), jnp.inf, jnp.nan), tolerance, status
    )
    params = optimality.masked(params, prior)
    value = objective(params, keys[0]) if batch is None else of_all(params, keys[0])[0]
    return Fit(params, status, residual, steps, value)
