"""Checks of what a term claims to offer, each against the definition in `unigrn.terms.Term`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import jax
import numpy as np

from unigrn.tracing import first_line
from unigrn.verify.checks.report import Absent, Fault, Skip
from unigrn.verify.checks.world import (
    LOOSE,
    POINTS,
    TIGHT,
    Case,
    agree,
    jit,
    lengths,
    look,
    moments_of,
    refute,
    rung_name,
    still,
    sum_all,
    sum_of_squares,
)


def _claims(case: Case, name: str) -> None:
    if getattr(case.term, name) is None:
        raise Absent


def _theta(case: Case) -> np.ndarray:
    return case.form(case.world)[0].theta


def quadratic(case: Case) -> str:
    """Check that the quadratic is the value."""
    _claims(case, "quadratic")
    view, theta = None, _theta(case)
    if case.term.kind == "loss":
        view = moments_of(case.world, None if case.coupled else 0)
    try:
        q = case.offer("quadratic", view=view)
    except TypeError as error:
        if case.coupled:
            raise Skip(first_line(error)) from error
        raise
    m = None if view is None else view.moments
    got = _quadratic_values(q, theta, m)
    agree(
        case,
        got,
        case.values,
        "the quadratic of {term} gives {b} where the term is {a}: it "
        "must equal the term, constant included",
    )
    if m is not None:
        try:
            by_moments = case.at(view=view)
        except Exception as error:
            if "proximal" in rung_name(case.spec):
                raise Fault(
                    f"{case.name} has a quadratic but cannot be evaluated on moments, "
                    f"which its solver does ({first_line(error)}): return self.quadratic("
                    "data, prior).value(params.theta, data.moments) where data.moments "
                    "is not None"
                ) from error
            return ""
        agree(case, by_moments, case.values, "{term} is {a} on rows and {b} on moments")
    return ""


def spread(case: Case) -> str:
    """Check that the quadratic of means and the cost of variances add up to the value."""
    _claims(case, "spread")
    if case.coupled:
        raise Skip("variances are solved for target by target")
    view = moments_of(case.world, 0) if case.term.kind == "loss" else None
    found = case.offer("spread", view=view)
    params = case.form(case.world)[0]
    got = _quadratic_values(found.quadratic, params.theta, None if view is None else view.moments)
    got = got + _costs(found, params.log_variance)
    agree(case, got, case.values, "the spread of {term} gives {b} where the term is {a}")
    return ""


@jit
def _costs(found, log_variance):
    return jax.vmap(lambda f, v: jax.vmap(f.cost)(v))(found, log_variance)


@jit
def _quadratic_values(q, theta, moments):
    def one(q, theta, moments):
        return jax.vmap(lambda t: q.value(t, moments))(theta)

    return jax.vmap(one)(q, theta, moments)


def absolute(case: Case) -> str:
    """Check that the term is sum_j c_j |theta_j|."""
    _claims(case, "absolute")
    c = case.offer("absolute")
    if (c < 0).any():
        raise Fault(f"absolute of {case.name} gives the weight {c.min():.6g}: weights are >= 0")
    want = sum_all(np.abs(_theta(case)) * c[:, None])
    agree(
        case, want, case.values, "absolute of {term} says sum c |theta| = {b} where the term is {a}"
    )
    return ""


def lines(case: Case) -> str:
    """Check that the term is a sum of weighted differences between pairs of groups."""
    _claims(case, "lines")
    found, theta = case.offer("lines"), _theta(case)
    matrix, price = found.matrix, found.price
    if (price < 0).any():
        raise Fault(f"lines of {case.name} gives the price {price.min():.6g}: prices are >= 0")
    pairs = (np.sort(matrix, axis=2)[:, :, [0, -1]] == [-1, 1]).all()
    if not pairs or (np.abs(matrix).sum(axis=2) != 2).any():
        raise Fault(
            f"a row of the lines of {case.name} must be 1 at one group, -1 at another and 0 at the "
            f"others, got {matrix[0][:3].tolist()}"
        )
    many = np.cos(np.arange(matrix.shape[2]))[:, None] * theta[:, :, None]
    apart = np.abs(np.einsum("neg,nrgk->nrek", matrix, many))
    want = np.einsum("ne,nrek->nr", price, apart)
    agree(
        case,
        want,
        case.values,
        "lines of {term} say that the differences cost {b} where the term is {a}",
    )
    return ""


def price(case: Case) -> str:
    """Check that at theta the term is the prices of the entries that are not 0 more than at 0."""
    _claims(case, "price")
    h, theta = case.offer("price"), _theta(case)
    values = case.at(still(case).replace(theta=theta))
    want = sum_all((theta != 0) * h[:, None])
    agree(
        case,
        want,
        values - case.at(still(case).replace(theta=0 * theta)),
        "price of {term} says that the edges cost {b} more than theta = 0, and they cost {a}",
    )
    return ""


def observed(case: Case) -> str:
    """Check that the term is the squares of theta beside the observed columns."""
    _claims(case, "observed")
    found, theta = case.offer("observed"), _theta(case)
    if (found.weight < 0).any():
        raise Fault(
            f"observed of {case.name} has the weight {found.weight.min():.6g}: they are >= 0"
        )
    apart = np.sum((theta - found.values[:, None]) ** 2, axis=2)
    want = sum_all(found.weight[:, None] * apart)
    agree(
        case,
        want,
        case.values,
        "observed of {term} says that the squares are {b} where the term is {a}",
    )
    return ""


def kernel(case: Case) -> str:
    """Check that the term is strength tr(theta K^-1 theta'), and K positive definite."""
    _claims(case, "kernel")
    found, theta = case.offer("kernel"), _theta(case)
    if found.strengths.shape[-1] != 1 or found.settings.shape[-2] != 1:
        raise Skip("is a choice among several kernels, no number")
    least = np.linalg.eigvalsh(found.matrix)
    if (least <= 0).any():
        raise Fault(f"the kernel of {case.name} has the eigenvalue {least.min():.6g}: needed > 0")
    half = np.linalg.solve(found.matrix[:, None], np.swapaxes(theta, -1, -2))
    want = found.strengths * sum_all(np.swapaxes(theta, -1, -2) * half)
    agree(
        case,
        want,
        case.values,
        "kernel of {term} says strength tr(theta K^-1 theta') = {b} where the term is {a}",
    )
    return ""


def interval(case: Case) -> str:
    """Check that the constraint is lower <= theta <= upper."""
    _claims(case, "interval")
    low, high = case.offer("interval")
    block = case.term.block
    theta, values = case.form(case.world)[0][block], case.values
    want = theta[:, 0].shape
    if any(b.shape not in (want, want[:1]) for b in (low, high)) or (low > high).any():
        raise Fault(
            f"interval of {case.name} must give lower <= upper of the shape of {block}, or one "
            f"number each, got shapes {low.shape[1:]} and {high.shape[1:]}"
        )
    low, high = (
        np.broadcast_to(b.reshape(*b.shape, *[1] * (len(want) - b.ndim)), want) for b in (low, high)
    )
    _member(case, "interval", (low[:, None] <= theta) & (theta <= high[:, None]), values)
    inside = np.clip(theta, low[:, None], high[:, None])
    _member(case, "interval", np.ones_like(inside, bool), _values_at(case, inside))
    return ""


def _values_at(case: Case, values: np.ndarray) -> np.ndarray:
    """Evaluate where the term's block has other values."""
    return case.at(case.form(case.world)[0].replace(**{case.term.block: values}))


def _member(case: Case, name: str, inside: np.ndarray, values: np.ndarray) -> None:
    """Check that the value is 0 just where every entry is inside."""
    whole = np.asarray(inside.reshape(*inside.shape[:2], -1).all(2))
    wrong = np.argwhere(whole != (values == 0))
    if len(wrong):
        n, r = wrong[0]
        if whole[n, r]:
            raise Fault(
                f"{case.name} is {values[n, r]:.6g} at a point that its {name} allows: it "
                "must be exactly 0 on the set"
            )
        raise Fault(
            f"{case.name} is 0 at a point that its {name} forbids: its value is the "
            "distance from the set, positive outside"
        )


def allows(case: Case) -> str:
    """Check that the constraint is theta = 0 outside the mask."""
    _claims(case, "allows")
    mask = case.offer("allows")
    if mask.dtype != bool:
        raise Fault(f"allows of {case.name} must give a mask of truth values, got {mask.dtype}")
    theta = _theta(case)
    _member(case, "mask (allows)", mask[:, None] | (theta == 0), case.values)
    on = np.where(mask[:, None], theta, 0)
    _member(case, "mask (allows)", np.ones_like(on, bool), _values_at(case, on))
    return ""


def budget(case: Case) -> str:
    """Check that the constraint is at most K entries within the mask."""
    _claims(case, "budget")
    mask, count = case.offer("budget")
    theta = _theta(case)
    few = sum_all((theta != 0) & mask[:, None]) <= count.reshape(-1, 1)
    _member(case, "budget", few[..., None], case.values)
    return ""


def squares(case: Case) -> str:
    """Check that the term is its squares in each block of ``linear``, up to a constant."""
    term, world = case.term, case.world
    if term.squares is None or not term.linear:
        raise Absent
    if not case.coupled:
        raise Skip("asked for in methods with several blocks only")
    points, view, prior = case.form(world)
    for block in term.linear:
        params = jax.tree.map(lambda v: v[:, 0], points)
        base = still(case)
        values = case.at(base.replace(**{block: points[block]}))
        got = np.asarray(sum_of_squares(case.bound, block, params, points[block], view, prior))
        agree(
            case,
            got - got[:, :1],
            values - values[:, :1],
            "squares of {term} in "
            + block
            + " change by {b} where the term changes by {a}: they may differ by what does not "
            f"depend on {block} only",
        )
    return ""


def _rivals(case: Case, u: np.ndarray, v: np.ndarray) -> Iterator[np.ndarray]:
    """Points near u, and others that differ from it in one entry, or that tend to v or 0."""
    rng, shape = case.rng, u.shape
    for size in (1e-4, 1e-2, 0.3, 3.0):
        yield u + size * (1 + np.abs(u)) * rng.normal(size=shape)
    lead = (*shape[:2], *[1] * (len(shape) - 2))
    yield u + rng.choice([0.01, 0.1, 0.5, 1.0], lead) * (v - u)
    yield u * rng.choice([0, 0.9, 1.1], lead)
    entries = int(np.prod(shape[2:]))
    for grid in (0.0, 1.0, v, -v, *np.linspace(-2, 2, 6)):
        one = (np.arange(entries) == rng.integers(entries, size=(*shape[:2], 1))).reshape(shape)
        yield np.where(one, grid, u)


def prox(case: Case) -> str:
    """Check that the prox minimises term(u) + |u - v|^2 / (2 step)."""
    _claims(case, "prox")
    block = case.term.block
    points, base = case.form(case.world)[0], still(case)
    v = points[block]
    v = np.where(case.rng.random(v.shape) < 0.2, np.rint(v), v)
    if case.term.price is not None:  # at a price below 0 and v = 0 no minimum is attained
        v = np.where(v == 0, 0.3, v)
    for step in (0.05, 1.0):
        u = case.offer("prox", v, step)
        if u.shape != v.shape:
            raise Fault(f"prox of {case.name} gives shape {u.shape[2:]}, needed {v.shape[2:]}")

        def cost(w, step=step):
            return case.at(base.replace(**{block: w})) + sum_all((w - v) ** 2) / (2 * step)

        best = cost(u)
        scale = 1 + np.abs(best)
        for rival in _rivals(case, u, v):
            other = cost(rival)
            better = np.where(case.world.plain[:, None], (best - other) / scale, 0)
            refute(
                case,
                better - LOOSE,
                f"prox of {{term}} does not minimise term(u) + |u - v|^2 "
                f"/ (2 step) at step {step:g}: {{best}} where another u gives {{other}}; check "
                "the factor of the step",
                best=best,
                other=other,
            )
        if np.isnan(u).any():
            raise Fault(f"prox of {case.name} is not a number at step {step:g}")
    return ""


def project(case: Case) -> str:
    """Check that the projection is feasible, idempotent, nearest and, if convex, not expansive."""
    _claims(case, "project")
    v = case.form(case.world)[0][case.term.block]
    u = case.offer("project", v)
    size = 1 + lengths(v)
    left = _values_at(case, u)
    refute(
        case,
        left - TIGHT * size,
        "project of {term} gives a point that is not feasible: the "
        "term is {left} there, which must be 0",
        left=left,
    )
    moved = lengths(case.offer("project", u) - u)
    refute(
        case,
        moved - TIGHT * size,
        "project of {term} is not idempotent: a second projection "
        "moves the point by {moved}; a feasible point stays where it is",
        moved=moved,
    )
    distance = lengths(u - v)
    for rival in itertools.chain(_rivals(case, u, v), _thinned(case, v), (v,)):
        nearer = distance - lengths(rival - v)
        nearer = np.where(_values_at(case, rival) <= 0, nearer, -1)
        refute(
            case,
            nearer - LOOSE * size,
            "project of {term} is not the nearest feasible point: "
            "it moves v by {moved}, another feasible point is {nearer} nearer",
            moved=distance,
            nearer=nearer,
        )
    if case.term.convex:
        for other in (np.roll(v, 1, 1), v + 0.1 * case.rng.normal(size=v.shape)):
            apart, after = lengths(other - v), lengths(case.offer("project", other) - u)
            refute(
                case,
                after - apart - TIGHT * (size + apart),
                "project of {term} expands: "
                "points {apart} apart are {after} apart afterwards, which a projection onto a "
                "convex set never does; leave convex out, or mend the projection",
                apart=apart,
                after=after,
            )
    return ""


def _thinned(case: Case, v: np.ndarray) -> Iterator[np.ndarray]:
    for keep in (0.3, 0.6, 0.9):
        yield np.where(case.rng.random(v.shape) < keep, v, 0)


def feasible(case: Case) -> str:
    """Check that a constraint is 0 on its set and positive elsewhere."""
    if case.term.kind != "constraint":
        raise Absent
    values = case.values
    if (values < 0).any():
        raise Fault(
            f"{case.name} is {values.min():.6g} at a point: a constraint is a distance, "
            "0 where the point is feasible"
        )
    if case.term.project is None:
        if (values > 0).all():
            raise Skip("no feasible point was found")
        return ""
    v = case.form(case.world)[0][case.term.block]
    moved = np.abs(case.offer("project", v) - v)
    moved = moved.reshape(*moved.shape[:2], -1).max(2)
    wrong = (moved > 1e-6) & (values == 0)
    if wrong.any():
        raise Fault(
            f"{case.name} is 0 at a point that its projection moves by "
            f"{moved[wrong].max():.6g}: its value must be positive off the set"
        )
    return ""


def lipschitz(case: Case) -> str:
    """Gradients differ by at most L times the distance."""
    _claims(case, "lipschitz")
    block, points = case.term.block, case.form(case.world)[0]
    bound = case.offer("lipschitz").reshape(-1, 1)
    start = case.slopes()[1][block]
    way = case.rng.normal(size=start.shape)
    axes = [1] * (start.ndim - 2)

    for _ in range(12):  # towards the direction of largest curvature
        way = way / np.maximum(lengths(way), 1e-300).reshape(*way.shape[:2], *axes)
        turn = case.slopes(points.replace(**{block: points[block] + way}))[1][block]
        turn = turn - start
        size = lengths(turn)
        over = size - bound * (1 + LOOSE) - 1e-11 * (1 + lengths(start))
        refute(
            case,
            np.where(case.world.plain[:, None], over, -1),
            "lipschitz of {term} gives "
            "{bound}, but gradients in " + block + " differ by {size} times the distance: "
            "return a bound on the largest eigenvalue of the second derivative (|theta|^2 has "
            "2)",
            bound=bound,
            size=size,
        )
        way = np.where(size.reshape(*way.shape[:2], *axes) > 0, turn, way)
    return ""


def separable(case: Case) -> str:
    """Check that it is a sum over entries, or over targets, as it says."""
    kind, term = case.term.separable, case.term
    if kind is None:
        raise Absent
    if kind not in ("entries", "targets"):
        raise Fault(f"separable of {case.name} is {kind!r}: it is 'entries', 'targets' or None")
    join = (lambda v: v.max(-1)) if term.kind == "constraint" else (lambda v: v.sum(-1))
    if kind == "entries":
        base = still(case)
        theta, shape = base.theta, base.theta.shape
        entries = min(int(np.prod(shape[2:])), POINTS - 2)
        theta = np.where(np.arange(np.prod(shape[2:])).reshape(shape[2:]) < entries, theta, 0)
        # One entry alone, of each instance; then all, then none.
        alone = np.arange(np.prod(shape[2:])) == np.arange(POINTS)[:, None]
        alone[entries], alone[entries + 1] = True, False
        values = case.at(
            base.replace(theta=np.where(alone.reshape(1, POINTS, *shape[2:]), theta, 0))
        )
        zero = 0 if term.kind == "constraint" else values[:, entries + 1, None]
        agree(
            case,
            join(values[:, :entries] - zero)[:, None],
            values[:, entries, None] - (0 if term.kind == "constraint" else zero),
            "{term} says that it is a sum over entries, but changes by {a} where the entries "
            "alone add up to {b}: declare separable = 'targets'",
        )
    if case.noisy:
        return ""
    try:
        whole = case.network
    except Skip as reason:
        if case.coupled:
            raise
        return str(reason)
    if (
        case.coupled
        and term.kind != "constraint"
        and not set(term.blocks) <= {"theta", "intercept"}
    ):
        return ""
    each = []
    for t in range(case.world.targets):
        points, view, prior = case.world.of(t)
        if case.on_moments:
            raise Skip("works on moments of one target only")
        each.append(np.asarray(look(case.bound, points, view, prior, False)[0]))
    agree(
        case,
        join(np.stack(each, -1)),
        whole,
        "{term} says that targets separate, but on the "
        "whole network it is {b} and target by target {a}: declare separable = None "
        "(coupled=True for a function), or sum over targets",
    )
    return ""


def convex(case: Case) -> str:
    """Check that the value between two points is no more than that of the chord."""
    if not case.term.convex:
        raise Absent
    block = case.term.block
    points, base = case.form(case.world)[0], still(case)
    a = points[block]
    ends = case.at(base.replace(**{block: a}))
    lead = (*a.shape[:2], *[1] * (a.ndim - 2))
    for b in (np.roll(a, 1, 1), 3 * np.roll(a, 5, 1), a + 0.1 * case.rng.normal(size=a.shape)):
        other = case.at(base.replace(**{block: b}))
        t = case.rng.choice([0.5, 0.25, 0.9], ends.shape)
        middle = case.at(base.replace(**{block: t.reshape(lead) * a + (1 - t.reshape(lead)) * b}))
        chord = t * ends + (1 - t) * other
        over = (middle - chord) / (1 + np.abs(ends) + np.abs(other)) - LOOSE
        refute(
            case,
            np.where(case.world.plain[:, None], over, -1),
            "{term} says that it is convex,"
            " but between two points it is {middle} where the chord is {chord}: leave convex "
            "out",
            middle=middle,
            chord=chord,
        )
    return ""


CHECKS = (
    quadratic,
    spread,
    absolute,
    lines,
    price,
    observed,
    kernel,
    interval,
    allows,
    budget,
    squares,
    prox,
    project,
    feasible,
    lipschitz,
    separable,
    convex,
)
