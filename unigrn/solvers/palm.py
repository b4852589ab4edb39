"""Proximal alternating linearised minimisation (PALM): block after block, whole network.

One sweep updates each block in turn, given the newest others. A step is either

``point``   B <- argmin F(B) + (s/2) |B - B_k|^2, where F is a sum of squares in the block: it
            lowers F by at least (s/2) |step|^2, whatever s >= 0;
``linear``  B <- prox_{g/m}(B_k - grad f(B_k) / m), f the smooth and g the other terms: it does not
            raise F where m is at least the Lipschitz constant of grad f.

Source: Bolte, Sabach and Teboulle, Math. Program. 146 (2014) 459, doi:10.1007/s10107-013-0701-9.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.solvers import columns
from unigrn.spec import Slots, Step
from unigrn.status import Status
from unigrn.terms import (
    AXES,
    Array,
    Blocks,
    PriorView,
    Squares,
    Term,
    View,
    joint_project,
    joint_prox,
    parts,
    pytree,
)


@pytree
class State:
    """Where a run of PALM stands."""

    params: Blocks
    value: Array
    change: Array
    count: Array
    done: Array
    history: Array  # objective after each sweep, as far as asked for


@pytree
class Outcome:
    """What a run of PALM found."""

    params: Blocks
    status: Array
    residual: Array
    iterations: Array
    value: Array
    history: Array


def smooth_terms(spec: Any, block: str) -> tuple[Term, ...]:
    """Terms that a linearised step of the block meets by their gradient."""
    by_prox = {id(t) for t in proximal_terms(spec, block)}
    return tuple(
        t
        for t in parts(spec.loss) + parts(spec.regularizer)
        if block in t.blocks and id(t) not in by_prox
    )


def proximal_terms(spec: Any, block: str) -> tuple[Term, ...]:
    """Terms that a linearised step meets by their prox: what has a kink, and nuisance ridges."""
    return tuple(
        t
        for t in parts(spec.regularizer)
        if t.block == block and t.prox is not None and (t.kink or block != "theta")
    )


def constraints(spec: Any, block: str) -> tuple[Term, ...]:
    """Constraints on the block beyond deleted entries."""
    return tuple(t for t in parts(spec.constraint) if t.block == block and t.allows is None)


def valid_columns(block: str, prior: PriorView) -> Array | None:
    """Which columns of a block are no padding, or None where all are taken."""
    axis = AXES.get(block, ("", ""))[-1]
    if axis == "targets":
        return jnp.any(prior.valid, axis=0)
    return jnp.any(prior.valid, axis=1) if axis == "regulators" else None


def _squares(terms: tuple[Term, ...], block, params, view, prior) -> Squares:
    found = [t.squares(block, params, view, prior) for t in terms]
    return sum(found[1:], found[0])


def _point(spec, step: Step, params, view, prior, chosen) -> Array:
    own = tuple(t for t in parts(spec.loss) + parts(spec.regularizer) if step.block in t.blocks)
    squares, block = _squares(own, step.block, params, view, prior), params[step.block]
    if chosen is None:
        return columns.step(squares, block, step.weight)
    weight = squares.weight
    some = Squares(
        squares.design,
        squares.target[:, chosen],
        None if weight is None else weight[:, chosen],
        squares.scale,
        squares.ridge,
    )
    return block.at[:, chosen].set(columns.step(some, block[:, chosen], step.weight))


def bound(spec, step: Step, params, view, prior) -> Array:
    """Bound the Lipschitz constant of the gradient of the smooth terms in the block."""
    own = smooth_terms(spec, step.block)
    linear = tuple(t for t in own if step.block in t.linear)
    total = sum((t.lipschitz(view, prior) for t in own if step.block not in t.linear), 0.0)
    if linear:
        squares = _squares(linear, step.block, params, view, prior)
        total = total + columns.curvature(squares, step.bound == "safe")
    return total


def _linear(spec, step: Step, params, view, prior, chosen) -> Array:
    block, own = step.block, smooth_terms(spec, step.block)

    def smooth(b):
        return sum(t(params.replace(**{block: b}), view, prior) for t in own)

    old = params[block]
    tiny = jnp.finfo(old.dtype).tiny
    length = 1 / jnp.maximum(step.weight * bound(spec, step, params, view, prior), tiny)
    new = old - length * jax.grad(smooth)(old)
    kinks, sets = proximal_terms(spec, block), constraints(spec, block)
    if kinks:
        new = joint_prox(kinks)(new, length, view, prior, params)
    if sets:
        new = joint_project(sets)(new, prior)
    if block == "theta":
        new = jnp.where(prior.valid, new, 0)
    return new if chosen is None else old.at[:, chosen].set(new[:, chosen])


def sweep(spec, params: Blocks, view: View, prior: PriorView, chosen: dict[str, Array]) -> Blocks:
    """Update every block once; ``chosen`` names the columns that move, all where it is silent."""
    for step in spec.steps:
        update = _point if step.kind == "point" else _linear
        new = update(spec, step, params, view, prior, chosen.get(step.block))
        params = params.replace(**{step.block: new})
    return params


def objective(spec, params: Blocks, view: View, prior: PriorView) -> Array:
    """Evaluate loss plus regularizer."""
    return sum(t(params, view, prior) for t in parts(spec.loss) + parts(spec.regularizer))


def _draw(spec, prior: PriorView, key, count) -> dict[str, Array]:
    """Draw the columns that a sub-sampled sweep moves."""
    chosen = {}
    for i, step in enumerate(spec.steps):
        if step.sample is None:
            continue
        valid = valid_columns(step.block, prior)
        own = jax.random.fold_in(jax.random.fold_in(key, count), i)
        order = jnp.argsort(jnp.where(valid, jax.random.uniform(own, valid.shape), 2))
        chosen[step.block] = order[: step.sample]
    return chosen


def over_starts(one, *arrays):
    """Map a function over the restarts.

    On CPU one after the other, as fits with LAPACK work are, see `backend.over_fits`.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda each: one(*each), arrays)
    return jax.vmap(one)(*arrays)


@partial(jax.jit, static_argnames=("slots", "history"))
def begin(slots, terms, view: View, prior: PriorView, keys, history: int = 0):
    """Prepare the terms and start every restart; returns (terms, states)."""
    ready = tuple(t.prepare(view, prior) for t in terms)
    spec = Slots(slots, ready)

    def one(key):
        params = spec.start(view, prior, key)
        value = objective(spec, params, view, prior)
        zero = jnp.zeros((), jnp.int32)
        return State(
            params,
            value,
            jnp.full_like(value, jnp.inf),
            zero,
            zero > 0,
            jnp.full((history,), jnp.nan, value.dtype),
        )

    return ready, over_starts(one, keys)


@partial(jax.jit, static_argnames=("slots",), donate_argnames=("states",))
def advance(slots, terms, states: State, view, prior, keys, options, until, orders=None):
    """Sweep every restart until it stops or has made ``until`` sweeps.

    options: (relative tolerance, absolute tolerance, most sweeps); a tolerance below 0 is off.
    orders: for each sub-sampled block the columns of every sweep, (sweeps, sample), else drawn.
    """
    spec = Slots(slots, terms)
    relative, absolute, most = options

    def one(state, key):
        def body(state):
            if orders is None:
                chosen = _draw(spec, prior, key, state.count)
            else:
                chosen = {b: o[state.count] for b, o in orders.items()}
            params = sweep(spec, state.params, view, prior, chosen)
            value = objective(spec, params, view, prior)
            change = jnp.abs(state.value - value)
            done = (change <= relative * (1 + jnp.abs(value))) | (change < absolute)
            done = done | jnp.logical_not(jnp.isfinite(value))
            history = state.history
            if history.shape[0]:
                history = history.at[state.count].set(value, mode="drop")
            return State(params, value, change, state.count + 1, done, history)

        def proceed(state):
            return jnp.logical_not(state.done) & (state.count < jnp.minimum(until, most))

        return jax.lax.while_loop(proceed, body, state)

    return over_starts(one, states, keys)


@partial(jax.jit, static_argnames=("slots",))
def finish(slots, terms, states: State, view, prior, options) -> Outcome:
    """Certify: how far one more full sweep would move each block, relative to its size."""
    spec = Slots(slots, terms)
    relative, *_ = options

    def one(state):
        params = state.params
        after = sweep(spec, params, view, prior, {})

        def moved(b):
            size = jnp.sqrt(jnp.sum(params[b] ** 2))
            return jnp.sqrt(jnp.sum((after[b] - params[b]) ** 2)) / jnp.maximum(
                size, jnp.finfo(size.dtype).tiny
            )

        residual = jnp.max(jnp.stack([moved(s.block) for s in spec.steps]))
        finite = jnp.all(
            jnp.stack([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves((params, state.value))])
        )
        still = residual <= jnp.sqrt(jnp.maximum(relative, 0))
        status = jnp.where(
            state.done & still,
            Status.CONVERGED,
            jnp.where(state.done, Status.RELEASED_RULE, Status.MAX_ITERATIONS),
        )
        status = jnp.where(finite, status, Status.NOT_FINITE).astype(jnp.int32)
        return Outcome(params, status, residual, state.count, state.value, state.history)

    return over_starts(one, states)
