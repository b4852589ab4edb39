"""Certificates without rounding: the exact duality gap of every target of a convex fit.

After the fit the cells are read once more, in double precision, for the moments of every group.
Their factor F (F'F = G, F'z = c) and what the terms say of penalties and bounds state the problem
of a target in numbers; `unigrn.exact` then computes how far the reported coefficients are from its
optimum. The dual vector comes from the coefficients, improved by one Newton step where a penalty
has a kink or they do not do: it need not be good, and nothing is trusted that it claims.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn import progress
from unigrn.backend import one_blas_thread, precision
from unigrn.exact import Proof, prove
from unigrn.planner import Plan, PlanError
from unigrn.run.separable import laid_out, passes, places_of
from unigrn.run.state import State
from unigrn.solution import Solution
from unigrn.solvers import batching
from unigrn.solvers.batching import Members
from unigrn.spec import Shape, Slots
from unigrn.terms import Blocks, Moments, PriorView, View, parts

WHOLE = {
    "rows": "rows of cells",
    "network": "the whole network",
    "groups": "all groups at once",
    "networks": "all networks at once",
}
Sums = tuple[np.ndarray, ...]  # of a pass: gram, cross, square, count, means of x and of y
NEAR = 1e-12  # relative gap that is no better by a Newton step
AGREE = 1e-6  # relative difference of the stated problem's objective from that of the terms


def check_certifiable(plan: Plan) -> None:
    """Refuse a plan whose fits are not convex problems of the kind that `unigrn.exact` states.

    Raises
    ------
    PlanError
        With the reason.
    """
    spec = plan.spec
    why = None
    if spec.loss.iterates is not None:
        why = "it is an iteration, and no objective says what would be optimal"
    elif spec.over:
        why = (
            f"its weights are made of many fits ({spec.over[0].name}), and are the optimum of none"
        )
    elif plan.solver.reads != "moments":
        why = f"it is solved on {WHOLE[plan.solver.reads]}, a proof on moments of one target"
    elif spec.blocks != ("theta",):
        why = f"it has the blocks {', '.join(spec.blocks)} beside theta"
    for term in parts(spec.loss):
        if term.quadratic is None:
            why = why or f"the loss {term.formula} is no quadratic function of the coefficients"
    for term in parts(spec.regularizer):
        known = term.quadratic is not None or term.absolute is not None
        if not known or not term.entrywise or term.convex is not True:
            why = why or f"{term.formula} is no sum of |theta| and theta^2, each with a weight"
    for term in parts(spec.constraint):
        if term.allows is None and term.interval is None:
            why = why or f"{term.formula} bounds no single coefficient"
    if why:
        raise PlanError(
            f"{spec.name} cannot be certified exactly: {why}; leave certify (--certify) out, or "
            "take a ridge or a lasso, such as full_ridge, masked_ridge or masked_lasso"
        )


def certify(solution: Solution) -> Proof:
    """Compute the exact duality gap of every target.

    Raises
    ------
    PlanError
        Where the method is not of that kind (`check_certifiable`), or the terms' own values are not
        those of the problem that their capabilities state.
    """
    plan = solution.plan
    check_certifiable(plan)
    plan = replace(plan, data=replace(plan.data, dtype="float64"))
    problem = plan.problem
    with precision("float64"):
        state = State(plan, solution.seed)
        g, p, n = state.groups, len(problem.targets), len(problem.candidate)
        names = ("l1", "l2", "low", "high")
        stated: dict[str, Any] = {name: np.zeros((g, n)) for name in names}
        stated |= {"scale": np.zeros((g, p)), "uncentred": False}
        taken: list[list[Sums]] = [[] for _ in range(g)]
        for part, sums, _ in passes(state):
            for group, moments in enumerate(sums):
                _state_problem(state, group, moments, part, solution.weights[group], stated)
                taken[group].append(_sums(moments, len(state.x), len(part)))
                progress.report("stating problems", group + 1, g)
    with one_blas_thread():  # sums that do not depend on the cores
        factors, responses = zip(*(_factored(s, stated["uncentred"]) for s in taken), strict=True)
    factor, response = (
        np.stack([np.pad(v, ((0, max(map(len, factors)) - len(v)), (0, 0))) for v in some])
        for some in (factors, responses)
    )
    proof = Proof(
        problem.regulators,
        problem.targets,
        np.array([""] if plan.data.groups is None else plan.data.groups, dtype=str),
        problem.indptr.astype(np.int64),
        problem.candidate.astype(np.int32),
        factor,
        response,
        stated["scale"],
        *(stated[name] for name in names),
        theta=solution.weights,
        dual=solution.weights.astype(np.float64),
        shrink=np.ones((g, p)),
        gap=np.full((g, p), np.inf),
        worth=np.full((g, p), np.inf),
    )
    try:
        proof.check_form()
    except ValueError as error:
        raise PlanError(f"{plan.spec.name} cannot be certified exactly: {error}") from None
    with one_blas_thread():
        proof = _with_duals(proof)
    gap, worth = prove(proof)
    return replace(proof, gap=gap, worth=worth)


@partial(jax.jit, static_argnames=("shape",))
def _statements(shape: Shape, terms: tuple, source: Any, members: Members, theta: Any) -> Any:
    """Return what the terms say of every fit: numbers, (N, k) or (N,)."""

    def look(slots: Slots, own: Blocks, view: View, prior: PriorView) -> dict[str, Any]:
        zero = jnp.zeros_like(prior.weight)
        loss = slots.loss.quadratic(view, prior)
        if loss.scale is None:
            raise PlanError(
                f"{slots.loss.formula} cannot be certified exactly: a proof is about the squares "
                "of one regression of each target; leave certify (--certify) out"
            )
        l1, l2, linear = zero, zero + loss.diagonal, zero
        total = slots.loss(own, view, prior)
        at_zero = slots.loss(own.replace(theta=zero), view, prior)
        for term in parts(slots.regularizer):
            total = total + term(own, view, prior)
            at_zero = at_zero + term(own.replace(theta=zero), view, prior)
            if term.absolute is not None:
                l1 = l1 + term.absolute(view, prior)
            else:
                q = term.quadratic(view, prior)
                l2 = l2 + q.diagonal
                linear = linear if q.linear is None else linear + q.linear
        low, high = zero - jnp.inf, zero + jnp.inf
        for term in parts(slots.constraint):
            if term.interval is not None:
                below, above = term.interval(prior)
                low, high = jnp.maximum(low, below), jnp.minimum(high, above)
        m = view.moments
        gram, cross = m.gram, m.cross
        if loss.matrix is not None:  # sums of squares that are not taken around the mean
            gram = gram + m.count * m.mean_x[:, None] * m.mean_x[None, :]
            cross = cross + m.count * m.mean_x * m.mean_y
        value = loss.scale * (own.theta @ gram @ own.theta - 2 * cross @ own.theta)
        value = value + jnp.sum(l1 * jnp.abs(own.theta) + l2 * own.theta**2)
        apart = jnp.abs(value - (total - at_zero)) + jnp.max(jnp.abs(linear), initial=0)
        size = jnp.abs(value) + loss.scale * m.square
        about = (jnp.zeros(()) if loss.matrix is None else jnp.ones(()), apart, size)
        return {
            "l1": l1,
            "l2": l2,
            "low": jnp.broadcast_to(low, zero.shape),
            "high": jnp.broadcast_to(high, zero.shape),
            "scale": loss.scale,
            "about": jnp.stack(about),
        }

    return batching.looked_at(look, shape, terms, source, members, Blocks(theta=theta))


def _state_problem(
    state: State, group: int, moments: Moments, part: np.ndarray, weights: np.ndarray, stated: Any
) -> None:
    """Note the penalties, bounds and factors of the targets ``part``."""
    problem = state.problem
    for own, terms, source, members in laid_out(state, group, moments, part):
        k, count = members.tasks.table.shape[1], len(own)
        inside, entry = places_of(problem, own, k)
        theta = np.zeros((members.tasks.row.size, k))
        theta[:count][inside] = np.nan_to_num(weights[entry])
        found = _statements(state.plan.shape, terms, source, members, theta)
        found = {name: np.asarray(v)[:count] for name, v in found.items()}
        for name in ("l1", "l2", "low", "high"):
            # Bounds are those of the fit: a coefficient at 0.1 of its own precision is within 0.1.
            kind = weights.dtype if name in ("low", "high") else np.float64
            stated[name][group, entry] = found[name][inside].astype(kind)
        stated["scale"][group, own] = found["scale"]
        plain, apart, size = found["about"].T
        stated["uncentred"] |= bool(plain.any())
        if (apart > AGREE * size).any():
            worst = str(problem.targets[own[np.argmax(apart / np.maximum(size, 1e-300))]])
            raise PlanError(
                f"{state.spec.name} cannot be certified exactly: for target {worst!r} the values "
                "of the terms are not those of the quadratic, absolute and interval that they "
                "offer; compare them by unigrn.verify.check_spec"
            )


def _sums(moments: Moments, q: int, p: int) -> Sums:
    """Take the moments of one pass to the host, without padding."""
    m = moments
    gram, cross, square, count, x, y = (
        np.asarray(v, np.float64)[0]
        for v in (m.gram, m.cross, m.square, m.count, m.mean_x, m.mean_y)
    )
    return gram[:q, :q], cross[:q, :p], square[:p], count, x[:q], y[:p]


def _factored(passes: list[Sums], uncentred: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return F (r, q) and z (r, p) with F'F the Gram matrix and F'z the cross moments."""
    gram, _, _, count, x, _ = passes[0]  # every pass has the regulators' own
    cross, square, y = (np.concatenate([s[i] for s in passes], axis=-1) for i in (1, 2, 5))
    if uncentred:
        gram = gram + count * np.outer(x, x)
        cross, square = cross + count * np.outer(x, y), square + count * y**2
    # Eigenvalues are exact to rounding of the largest one: units of regulators must not decide it.
    unit = np.sqrt(np.maximum(np.diag(gram), 0))[:, None]
    unit[unit == 0] = 1
    values, vectors = np.linalg.eigh(gram / unit / unit.T)
    keep = values > 1e-3 * np.finfo(float).eps * max(values[-1], 0) if len(values) else values > 0
    root = np.sqrt(values[keep])[:, None]
    factor = root * vectors[:, keep].T * unit.T
    response = (vectors[:, keep].T @ (cross / unit)) / root
    # What rounding makes of directions without cells is no more than a target has in all.
    most = np.sqrt(square)[None, :]
    return _rounded(factor), _rounded(np.clip(response, -most, most))


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round every column to multiples of 2^-52 of its largest number: short whole numbers."""
    largest = np.max(np.abs(values), axis=0, initial=0)
    unit = np.ldexp(1.0, np.maximum(np.frexp(largest)[1] - 52, -1074))
    return np.rint(values / unit) * unit


def _with_duals(proof: Proof) -> Proof:
    """Choose dual vectors: by a Newton step where coefficients do not do, shrunk where due."""
    g, p = proof.scale.shape
    dual, shrink = proof.dual.copy(), proof.shrink.copy()
    kinks = proof.l1.any() or np.isfinite(proof.low).any() or np.isfinite(proof.high).any()
    for group in range(g):
        for t in range(p):
            stretch = slice(proof.indptr[t], proof.indptr[t + 1])
            f = proof.factor[group][:, proof.candidate[stretch]]
            z, a = proof.response[group, :, t], proof.scale[group, t]
            price, ridge, below, above = (
                v[group, stretch] for v in (proof.l1, proof.l2, proof.low, proof.high)
            )
            b = np.nan_to_num(dual[group, stretch])
            v = 2 * a * (f.T @ (z - f @ b))
            far = np.divide((v - 2 * ridge * b) ** 2, ridge, where=ridge > 0, out=np.zeros_like(v))
            if kinks or np.sum(far) > NEAR * a * (z @ z):
                b = _stepped(f, z, a, price, ridge, below, above, b)
            dual[group, stretch] = b
            v = 2 * a * (f.T @ (z - f @ b))
            open_ = (ridge == 0) & np.where(v > 0, np.isinf(above), np.isinf(below))
            if open_.any():
                # Without a ridge or a bound a slope may not exceed its price, rounding included.
                size = 2 * a * (np.abs(f).T @ (np.abs(z) + np.abs(f) @ np.abs(b)))
                steep = np.abs(v) + 4 * np.finfo(float).eps * size
                over = open_ & (steep > price)
                shrink[group, t] = np.min(price[over] / steep[over], initial=1)
    return replace(proof, dual=dual, shrink=shrink)


def _stepped(f, z, a, price, ridge, below, above, b: np.ndarray) -> np.ndarray:
    """Solve for the coefficients that are neither 0 nor at a bound; ``b`` where signs change."""
    on = (b != 0) & (b > below) & (b < above)
    if not on.any():
        return b
    held = np.where(on, 0, b)
    design, sign = f[:, on], np.sign(b[on])
    matrix = 2 * a * design.T @ design + 2 * np.diag(ridge[on])
    right = 2 * a * design.T @ (z - f @ held) - price[on] * sign
    unit = np.sqrt(np.diag(matrix))
    unit[unit == 0] = 1  # of a regulator without cells or ridge
    new = np.linalg.lstsq(matrix / unit / unit[:, None], right / unit, rcond=None)[0] / unit
    out = held.copy()
    out[on] = new
    same = np.isfinite(new).all() and (new * sign > 0).all()
    return out if same and (below <= out).all() and (out <= above).all() else b
