"""Proximal alternating linearised minimisation (PALM): block after block, whole network.

One sweep updates each block in turn, given the newest others. A step is either

``point``   B <- argmin F(B) + (s/2) |B - B_k|^2, where F is a sum of squares in the block: it
            lowers F by at least (s/2) |step|^2, whatever s >= 0;
``linear``  B <- prox_{g/m}(B_k - grad f(B_k) / m), f the smooth and g the other terms: it does not
            raise F where m is at least the Lipschitz constant of grad f.

Source: Bolte, Sabach and Teboulle, Math. Program. 146 (2014) 459, doi:10.1007/s10107-013-0701-9.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.backend import one_blas_thread, over_starts
from unigrn.solvers import columns, levels, optimality
from unigrn.solvers.optimality import Fit, Options, proximal_terms
from unigrn.spec import Slots, Step
from unigrn.status import Status
from unigrn.terms import Array, Blocks, PriorView, Squares, Term, View, joint, parts, pytree


@pytree
class State:
    """Where a run of PALM stands."""

    params: Blocks
    value: Array
    change: Array
    count: Array
    done: Array
    scale: Array  # what residuals are relative to
    history: Array  # objective after each sweep, as far as asked for
    steep: Array = None  # slope that the next sweep starts with, where its first step has one


@pytree
class Limits:
    """When sweeps end: changes of the objective (below 0: never), the residual, their number."""

    relative: Array
    absolute: Array
    tolerance: Array
    most: Array
    declared: Array  # whether the first two are the method's own


def smooth_terms(spec: Any, block: str) -> tuple[Term, ...]:
    """Terms that a linearised step of the block meets by their gradient."""
    by_prox = {id(t) for t in kinks(spec, block)}
    return tuple(
        t
        for t in parts(spec.loss) + parts(spec.regularizer)
        if block in t.blocks and id(t) not in by_prox
    )


def kinks(spec: Any, block: str) -> tuple[Term, ...]:
    """Terms that a linearised step meets by their prox: what has a kink, and nuisance ridges."""
    return tuple(
        t
        for t in parts(spec.regularizer)
        if t.block == block and t.prox is not None and (t.kink or block != "theta")
    )


def _squares(terms: tuple[Term, ...], block, params, view, prior) -> Squares:
    found: list[Squares] = [t.squares(block, params, view, prior) for t in terms]
    return sum(found[1:], found[0])


def _point(spec, step: Step, params, view, prior, chosen) -> Array:
    costs = tuple(t for t in parts(spec.loss) + parts(spec.regularizer) if step.block in t.blocks)
    squares, block = _squares(costs, step.block, params, view, prior), params[step.block]
    if chosen is None:
        return columns.step(squares, block, step.weight)
    weight = squares.weight
    part = Squares(
        squares.design,
        squares.target[:, chosen],
        None if weight is None else weight[:, chosen],
        squares.scale,
        squares.ridge,
    )
    return block.at[:, chosen].set(columns.step(part, block[:, chosen], step.weight))


def bound(spec, step: Step, params, view, prior) -> Array:
    """Bound the Lipschitz constant of the gradient of the smooth terms in the block."""
    smooth = smooth_terms(spec, step.block)
    linear = tuple(t for t in smooth if step.block in t.linear)
    total = sum((t.lipschitz(view, prior) for t in smooth if step.block not in t.linear), 0.0)
    if linear:
        squares = _squares(linear, step.block, params, view, prior)
        total = total + columns.curvature(squares, step.bound == "safe")
    return total


def slope(spec, block: str, params, view, prior):
    """Return the gradient of the smooth terms as a function of one block.

    Squares whose residuals are more than the block has rows take their matrix, which the step's
    bound asks for as well, instead of the residuals.
    """
    smooth = smooth_terms(spec, block)
    linear = tuple(t for t in smooth if block in t.linear)
    squares = _squares(linear, block, params, view, prior) if linear else Squares()
    design = squares.design
    if design is None or squares.weight is not None or design.shape[0] >= design.shape[1]:
        linear = ()
    met = {id(t) for t in linear}
    rest = tuple(t for t in smooth if id(t) not in met)

    def g(b):
        found = jnp.zeros_like(b)
        if rest:
            found = jax.grad(
                lambda b: sum(t(params.replace(**{block: b}), view, prior) for t in rest)
            )(b)
        if linear:
            found = found + columns.slope(squares, b)
        # Entries without candidate are no variables: their slope must not reach a prox.
        return jnp.where(prior.valid, found, 0) if block == "theta" else found

    return g


def _moved(spec, block: str, params, view, prior, length, steep=None) -> Array:
    """Return a linearised step of a block, before entries without candidate are cut."""
    if steep is None:
        steep = slope(spec, block, params, view, prior)(params[block])
    new = params[block] - length * steep
    own, sets = kinks(spec, block), proximal_terms(spec, block)[1]
    return joint(own, sets).prox(new, length, view, prior, params) if own or sets else new


def _linear(spec, step: Step, params, view, prior, chosen, steep=None) -> Array:
    old = params[step.block]
    tiny = jnp.finfo(old.dtype).tiny
    length = 1 / jnp.maximum(step.weight * bound(spec, step, params, view, prior), tiny)
    new = _moved(spec, step.block, params, view, prior, length, steep)
    if step.block == "theta":
        new = jnp.where(prior.valid, new, 0)
    return new if chosen is None else old.at[:, chosen].set(new[:, chosen])


def sweep(
    spec, params: Blocks, view: View, prior: PriorView, chosen: dict[str, Array], steep=None
) -> Blocks:
    """Update every block once; ``chosen`` names the columns that move, all where it is silent.

    ``steep`` is the slope in the first block, where it is known already.
    """
    for step in spec.steps:
        moving = chosen.get(step.block)
        if step.kind == "point":
            new = _point(spec, step, params, view, prior, moving)
        else:
            new = _linear(spec, step, params, view, prior, moving, steep)
        params, steep = params.replace(**{step.block: new}), None
    return params


def objective(spec, params: Blocks, view: View, prior: PriorView) -> Array:
    """Evaluate loss plus regularizer."""
    return sum(t(params, view, prior) for t in parts(spec.loss) + parts(spec.regularizer))


def ahead(spec, params: Blocks, view: View, prior: PriorView) -> tuple[Array, Array | None]:
    """Evaluate the objective, and beside it the slope that a linearised first step starts with."""
    first = spec.steps[0]
    if first.kind != "linear":
        return objective(spec, params, view, prior), None
    smooth = smooth_terms(spec, first.block)
    met = {id(t) for t in smooth}

    def at(block):
        moved = params.replace(**{first.block: block})
        return sum((t(moved, view, prior) for t in smooth), jnp.zeros((), block.dtype))

    value, steep = jax.value_and_grad(at)(params[first.block])
    others = (t for t in parts(spec.loss) + parts(spec.regularizer) if id(t) not in met)
    value = sum((t(params, view, prior) for t in others), value)
    return value, jnp.where(prior.valid, steep, 0) if first.block == "theta" else steep


def slopes(spec, params: Blocks, view: View, prior: PriorView) -> dict[str, Array]:
    """Return the gradient of the smooth terms in every block, at the newest others."""
    return {
        b: slope(spec, b, params, view, prior)(params[b])
        for b in params
        if any(b in t.blocks for t in spec.terms)
    }


def residual(
    spec, params: Blocks, view: View, prior: PriorView, scale: Array, tolerance: Array
) -> Array:
    """Return the relative residual of the whole problem (see `optimality`).

    Block by block, at the newest others: where the prox of one depends on another block, this is
    what stationary means.
    """

    def gradient(params):
        found = slopes(spec, params, view, prior)
        return params.replace(**{b: found.get(b, jnp.zeros_like(v)) for b, v in params.items()})

    def apart(block, bound):
        return (params[block] - _moved(spec, block, params, view, prior, 1 / bound)) * bound

    g = slopes(spec, params, view, prior)
    bent = [b for b in g if kinks(spec, b) or proximal_terms(spec, b)[1]]
    plain = dict(g)
    for block in bent:
        own = slope(spec, block, params, view, prior)
        bound = optimality.curvature(own, params[block], g[block])
        bound = optimality.resolved(bound, params[block], scale, tolerance)
        plain[block] = apart(block, bound)
    out = optimality.largest(plain) / scale
    if levels.uneven(params):
        bends = {b: h for b, h in levels.curvatures(gradient, params).items() if b in g}
        # Whether a prox that is not convex stays depends on the step: theirs is that of above.
        convex = [b for b in bent if all(t.convex is True for t in kinks(spec, b))]
        even = plain | {b: apart(b, bends[b]) for b in convex}
        still = gradient(params.replace(theta=jnp.zeros_like(params.theta)))
        out = jnp.maximum(out, levels.relative(even, g, still, g, bends))
    return out.astype(params.theta.dtype)


def _draw(spec, prior: PriorView, key, count) -> dict[str, Array]:
    """Draw the columns that a sub-sampled sweep moves."""
    chosen = {}
    for i, step in enumerate(spec.steps):
        if step.sample is None:
            continue
        axis = 0 if spec.axes[step.block][-1] == "targets" else 1
        valid = jnp.any(prior.valid, axis=axis)
        own = jax.random.fold_in(jax.random.fold_in(key, count), i)
        order = jnp.argsort(jnp.where(valid, jax.random.uniform(own, valid.shape), 2))
        chosen[step.block] = order[: step.sample]
    return chosen


def begin(slots, terms, view: View, prior: PriorView, keys, history: int = 0):
    """Prepare the terms and start every restart; returns (terms, states)."""
    terms = tuple(t.compact() for t in prepared(terms, view, prior))
    return terms, started(slots, terms, view, prior, keys, history)


@jax.jit
def prepared(terms, view: View, prior: PriorView) -> tuple[Term, ...]:
    """Prepare the terms."""
    return tuple(t.prepare(view, prior) for t in terms)


@partial(jax.jit, static_argnames=("slots", "history"))
def started(slots, terms, view: View, prior: PriorView, keys, history: int) -> State:
    """Start every restart."""
    spec = Slots(slots, terms)

    def one(key):
        # A start may be arrays of the user's: the compiler would work them out for seconds.
        params = jax.lax.optimization_barrier(spec.start(view.replace(key=key), prior))
        value, steep = ahead(spec, params, view, prior)
        zero = jnp.zeros((), jnp.int32)
        still = params.replace(theta=jnp.zeros_like(params.theta))
        at_zero, at_start = (
            optimality.largest(slopes(spec, p, view, prior)) for p in (still, params)
        )
        at_zero = jnp.where(jnp.isfinite(at_zero) & (at_zero > 0), at_zero, at_start)
        return State(
            params,
            value,
            jnp.full_like(value, jnp.inf),
            zero,
            zero > 0,
            jnp.maximum(at_zero, jnp.finfo(at_zero.dtype).tiny),
            jnp.full((history,), jnp.nan, value.dtype),
            steep,
        )

    return over_starts(one, keys)


@partial(jax.jit, static_argnames=("slots",), donate_argnames=("states",))
def advance(slots, terms, states: State, view, prior, keys, limits: Limits, until, orders=None):
    """Sweep every restart until it stops or has made ``until`` sweeps.

    orders: for each sub-sampled block the columns of every sweep, (sweeps, sample), else drawn.
    """
    spec = Slots(slots, terms)

    def one(state, key):
        def body(state):
            if orders is None:
                chosen = _draw(spec, prior, key, state.count)
            else:
                chosen = {b: o[state.count] for b, o in orders.items()}
            params = sweep(spec, state.params, view, prior, chosen, state.steep)
            value, steep = ahead(spec, params, view, prior)
            change = jnp.abs(state.value - value)
            done = (change <= limits.relative * (1 + jnp.abs(value))) | (change < limits.absolute)
            done = done | jnp.logical_not(jnp.isfinite(value))
            history = state.history
            if history.shape[0]:
                history = history.at[state.count].set(value, mode="drop")
            count = state.count + 1
            return State(params, value, change, count, done, state.scale, history, steep)

        def proceed(state):
            return jnp.logical_not(state.done) & (state.count < jnp.minimum(until, limits.most))

        if state.steep is None:
            state = replace(state, steep=ahead(spec, state.params, view, prior)[1])
        return jax.lax.while_loop(proceed, body, state)

    return over_starts(one, states, keys)


@partial(jax.jit, static_argnames=("slots",))
def finish(slots, terms, states: State, view, prior, limits: Limits) -> Fit:
    """Certify by the residual of the whole problem; a stop by change of the objective is named."""
    spec = Slots(slots, terms)

    def one(state):
        params = state.params
        size = residual(spec, params, view, prior, state.scale, limits.tolerance)
        rule = jnp.where(limits.declared, Status.RELEASED_RULE, Status.STALLED)
        stopped = jnp.where(state.done, rule, Status.MAX_ITERATIONS)
        status = optimality.ended((params, state.value), size, limits.tolerance, stopped)
        status = optimality.within_sets(spec, params, view, prior, status)
        return Fit(params, status, size, state.count, state.value, state.history)

    return over_starts(one, states)


def solve(shape, terms, view, prior, keys, options: Options, history: int, report: Any) -> Fit:
    """Solve a whole network from every start, leaving the compiled loop about once a second.

    That is for progress and interrupts. A spec that declares no rule of its own sweeps until the
    objective stands still.
    """
    rules = shape.rules
    dtype = view.y.dtype
    still = 4 * float(np.finfo(dtype).eps)

    def rule(value):
        return np.asarray(-1.0 if value is None else value, dtype)

    limits = Limits(
        rule(still if rules is None else rules.relative),
        rule(None if rules is None else rules.absolute),
        options.tolerance,
        options.most,
        np.asarray(rules is not None),
    )
    shape = replace(shape, rules=None, columns=(), gauge=None)
    with one_blas_thread():
        terms, states = begin(shape, terms, view, prior, keys, history)
        done, stretch = 0, 1
        while True:
            began = time.perf_counter()
            states = advance(
                shape, terms, states, view, prior, keys, limits, np.int32(done + stretch)
            )
            done = int(jnp.max(states.count))
            report(done, int(options.most))
            if bool(jnp.all(states.done)) or done >= int(options.most):
                break
            stretch = max(1, int(stretch * min(4.0, 1 / (time.perf_counter() - began + 1e-9))))
        return jax.block_until_ready(finish(shape, terms, states, view, prior, limits))
