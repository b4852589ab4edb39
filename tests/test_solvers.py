"""Solvers against each other, against NumPy's optimality conditions and against other programs.

Shapes are few: six regulators, at most 32 cells a group and at most 16 targets share one compiled
program per spec, whatever the numbers.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import unigrn
from unigrn import (
    Data,
    Prior,
    Spec,
    backend,
    box,
    elastic_net,
    gaussian,
    huber,
    l1,
    least_squares,
    nonnegative,
    ridge,
    sign,
)
from unigrn.ladder import LADDER, select
from unigrn.methods.celloracle import celloracle, celloracle_bayesian
from unigrn.methods.masked import masked_lasso
from unigrn.replicates import false_discovery_rate
from unigrn.verify import originals

CELLS, REGULATORS, TARGETS = 30, 6, 3
CONVERGED = "converged"
LIMIT = "not converged: iteration limit"
TOLERANCE = 1e-9  # the library's default in float64


# ------------------------------------------------------------------ instances and small helpers


def draw(seed=0, cells=CELLS, regulators=REGULATORS, targets=TARGETS):
    """Correlated regulators with a mean, and targets that are sparse combinations plus noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(cells, regulators)) + 0.5 * rng.normal(size=(cells, 1)) + 1.0
    effect = rng.normal(size=(regulators, targets)) * (rng.random((regulators, targets)) < 0.6)
    y = x @ effect + 0.5 * rng.normal(size=(cells, targets)) + 2.0
    return x, y


def names(x, y):
    return [f"r{j}" for j in range(x.shape[1])], [f"y{t}" for t in range(y.shape[1])]


def solve(spec, x, y, *, seed=0, groups=None, weights=None, dtype="float64", **options):
    """Fit every column of y on all columns of x."""
    regulators, targets = names(x, y)
    data = Data.from_arrays(
        np.c_[x, y], regulators + targets, groups=groups, weights=weights, dtype=dtype
    )
    return unigrn.fit(spec, data, seed, regulators=regulators, targets=targets, **options)


def edges(pairs, weight=None, sign=None):
    """Table of edges from (source, target) pairs."""
    frame = pd.DataFrame(pairs, columns=["source", "target"])
    frame["weight"] = 1.0 if weight is None else np.asarray(weight, float)
    if sign is not None:
        frame["sign"] = sign
    return frame


def distance(ours, theirs):
    """Largest difference relative to the largest coefficient."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs))


def status(solution):
    return list(solution.certificate["status"])


def says(solution, words):
    """True where some line of the report holds the words."""
    return any(words in line for line in solution.network().alignment.lines())


def weighted_squares(params, data, prior):
    """The loss of `least_squares`, as a plain function."""
    r = data.y - data.x @ params.theta
    r = r - jnp.sum(data.weight * r) / jnp.sum(data.weight)
    return jnp.sum(data.weight * r**2)


PLAIN = unigrn.loss(weighted_squares, weighted=True)


def slope(x, y, b, weight=None, intercept=True):
    """Gradient of the weighted residual sum of squares in b, from rows."""
    w = np.ones(len(y)) if weight is None else weight
    r = y - x @ b
    if intercept:
        r = r - (w @ r) / w.sum()
        x = x - (w @ x) / w.sum()
    return -2 * x.T @ (w * r)


def violations(gradient, b, price=0.0, low=-np.inf, high=np.inf):
    """Distance of 0 from gradient + price d|b| + normal cone of [low, high], entry by entry."""
    down = gradient + price * np.where(b > 0, 1.0, -1.0)
    up = gradient + price * np.where(b < 0, -1.0, 1.0)
    down = np.where(b <= low, -np.inf, down)
    up = np.where(b >= high, np.inf, up)
    return np.maximum(np.maximum(down, -up), 0.0)


def violation(*arguments, **more):
    """Their largest."""
    return float(np.max(violations(*arguments, **more), initial=0.0))


def largest(values):
    return float(np.max(np.abs(values)))


# ------------------------------------------------------------------ one problem, three solvers

SOLVERS = {
    "closed form": (least_squares(), lambda a: ridge(a), None),
    "active sets on moments": (least_squares(), lambda a: ridge(a), box(-1e6, 1e6)),
    "proximal gradient on moments": (least_squares(), lambda a: ridge(a), box(-1e6, 1e6)),
    "gradient (L-BFGS)": (PLAIN, lambda a: ridge(a), None),
}
INSTANCES = ("random", "other", "repeated", "wide", "scales", "groups", "weights")


def instance(kind):
    """x, y, ridge strength, and what else the data brings."""
    x, y = draw(INSTANCES.index(kind))
    more = {}
    if kind == "repeated":
        x[:, 3] = x[:, 0]
    elif kind == "wide":
        x, y = x[:4], y[:4]
    elif kind == "scales":
        x = x * np.array([0.1, 1.0, 10.0, 0.3, 3.0, 1.0])
    elif kind == "groups":
        more["groups"] = np.array(["b", "a"])[(np.arange(CELLS) % 3 == 0).astype(int)]
    elif kind == "weights":
        more["weights"] = np.random.default_rng(9).uniform(0, 3, CELLS)
        more["weights"][[0, 7]] = 0
    return x, y, 0.7, more


def exact(x, y, alpha, groups=None, weights=None):
    """Normal equations in NumPy, group by group."""
    labels = np.zeros(len(x), int) if groups is None else groups
    out = []
    for label in np.unique(labels):
        here = labels == label
        w = np.ones(here.sum()) if weights is None else weights[here]
        xc, yc = x[here] - w @ x[here] / w.sum(), y[here] - w @ y[here] / w.sum()
        gram = xc.T @ (w[:, None] * xc)
        out.append(np.linalg.solve(gram + alpha * np.eye(len(gram)), xc.T @ (w[:, None] * yc)))
    return np.array(out)


@pytest.mark.parametrize("kind", INSTANCES)
@pytest.mark.parametrize("name", list(SOLVERS))
def test_the_same_convex_problem_has_one_answer(name, kind):
    loss, penalty, constraint = SOLVERS[name]
    x, y, alpha, more = instance(kind)
    spec = Spec(loss, penalty(alpha), constraint)
    found = solve(spec, x, y, solver=name, max_iterations=20_000, **more)
    assert found.plan.rung.name == name
    assert set(status(found)) == {CONVERGED}
    assert distance(found.theta, exact(x, y, alpha, **more)) < 1e-6


def _unlike(params, data, prior):
    return jnp.sum((params.theta - jnp.mean(params.theta, axis=-1, keepdims=True)) ** 2)


def _of_squares(x, y, b, c):
    return np.sum((y - y.mean(0) - (x - x.mean(0)) @ b) ** 2)


def _of_huber(x, y, b, c):
    r = np.abs(y - c - x @ b)
    return np.sum(np.where(r <= 1, r**2, 2 * r - 1))


# A spec, its objective from rows, and how many rungs of the ladder take it at least.
SHARED = {
    "ridge": (
        Spec(least_squares(), ridge(0.7)),
        lambda x, y, b, c: _of_squares(x, y, b, c) + 0.7 * np.sum(b**2),
        7,
    ),
    "lasso in a box": (
        Spec(least_squares(), l1(2.0), box(-0.3, 0.2)),
        lambda x, y, b, c: _of_squares(x, y, b, c) + 2 * np.sum(abs(b)),
        5,
    ),
    "elastic net": (
        Spec(least_squares(mean=True), elastic_net(0.1, 0.02)),
        lambda x, y, b, c: (
            _of_squares(x, y, b, c) / len(x) + 0.1 * np.sum(abs(b)) + 0.02 * np.sum(b**2)
        ),
        5,
    ),
    "targets alike": (
        Spec(least_squares(), l1(1.0) + unigrn.regularizer(_unlike, coupled=True, convex=True)),
        lambda x, y, b, c: (
            _of_squares(x, y, b, c)
            + np.sum(abs(b))
            + np.sum((b - b.mean(axis=1, keepdims=True)) ** 2)
        ),
        1,
    ),
    "huber with l1": (
        Spec(huber(1.0), l1(2.0)),
        lambda x, y, b, c: _of_huber(x, y, b, c) + 2 * np.sum(abs(b)),
        2,
    ),
    "huber in a box": (
        Spec(huber(1.0), ridge(0.7), box(-0.3, 0.2)),
        lambda x, y, b, c: _of_huber(x, y, b, c) + 0.7 * np.sum(b**2),
        2,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_every_solver_that_takes_a_spec_finds_the_same_objective(name):
    spec, objective, least = SHARED[name]
    x, y = draw(50)
    found = {}
    for rung in LADDER:
        try:
            select(spec, rung.name)
        except unigrn.PlanError:
            continue
        one = solve(spec, x, y, solver=rung.name, max_iterations=20_000)
        assert set(status(one)) == {CONVERGED}, rung.name
        intercept = one.blocks["intercept"][0] if "intercept" in one.blocks else 0.0
        found[rung.name] = objective(x, y, one.theta[0], intercept)
    assert len(found) >= least, list(found)
    assert max(found.values()) - min(found.values()) < 1e-9 * min(found.values()), found


def test_a_penalty_of_no_weight_changes_the_solver_only():
    x, y, alpha, _ = instance("random")
    found = solve(Spec(gaussian(0.5), elastic_net(0.0, alpha)), x, y)
    assert found.plan.rung.name == "active sets on moments"
    assert distance(found.theta, exact(x, y, alpha)) < 1e-6


def test_multiples_and_sums_of_terms_are_solved_exactly():
    x, y, _, _ = instance("random")
    found = solve(Spec(2 * least_squares(), ridge(0.4) + ridge(1.0)), x, y)
    assert found.plan.rung.name == "closed form"
    assert distance(found.theta, exact(x, y, 0.7)) < 1e-9


def test_a_loss_multiplied_by_zero_has_no_say():
    x, y = draw()
    found = solve(Spec(0 * least_squares(), ridge(1.0) + ridge(0.0)), x, y)
    assert not found.theta.any()


def test_gaussian_takes_the_variance_of_each_target():
    x, y = draw(3)
    units = np.array([1.0, 10.0, 0.1])
    y = y * units
    found = solve(Spec(gaussian(), l1(2.0)), x, y, max_iterations=20_000).theta[0]
    for t in range(TARGETS):
        want = originals.masked_lasso(x, y[:, t], 2.0, noise_variance=y[:, t].var())
        np.testing.assert_allclose(found[:, t] / units[t], want / units[t], atol=1e-6)
    assert (np.abs(found).max(axis=0) > 0.01 * units).sum() >= 2


def test_without_intercept_the_line_passes_the_origin():
    x, y = draw(2)
    want = np.linalg.solve(x.T @ x + 0.7 * np.eye(REGULATORS), x.T @ y)
    origin = least_squares(intercept=False)
    closed = solve(Spec(origin, ridge(0.7)), x, y)
    assert closed.plan.rung.name == "closed form"
    assert distance(closed.theta[0], want) < 1e-9
    assert distance(want, exact(x, y, 0.7)[0]) > 1e-3


def test_without_intercept_on_supports_of_different_sizes():
    """The matrices are formed then, and padded for the targets with fewer candidates."""
    x, y = draw(2)
    own = {0: [0, 1, 2, 3, 5], 1: [4], 2: [1, 3]}
    prior = Prior.from_dict({f"y{t}": [f"r{j}" for j in js] for t, js in own.items()})
    found = solve(Spec(least_squares(intercept=False), ridge(0.7), unigrn.support(), prior), x, y)
    assert found.plan.rung.name == "closed form"
    assert set(status(found)) == {CONVERGED}
    for t, js in own.items():
        want = np.linalg.solve(x[:, js].T @ x[:, js] + 0.7 * np.eye(len(js)), x[:, js].T @ y[:, t])
        assert distance(found.theta[0][js, t], want) < 1e-9


def test_float32_agrees_to_its_precision():
    x, y, alpha, _ = instance("random")
    found = solve(Spec(least_squares(), ridge(alpha)), x, y, dtype="float32")
    assert found.weights.dtype == np.float32
    assert 1e-9 < distance(found.theta, exact(x, y, alpha)) < 1e-4


@pytest.mark.parametrize("scale", [None, "regulators", "both"])
def test_scale_divides_by_the_population_deviation_over_all_cells(scale):
    x, y = draw(4)
    x, y = x * np.array([1, 5, 0.2, 1, 1, 3.0]), y * np.array([1, 4, 0.5])
    groups = np.array(["a", "b"])[(np.arange(CELLS) % 2)]
    found = solve(Spec(least_squares(), ridge(0.7), scale=scale), x, y, groups=groups)
    sx = x if scale is None else x / x.std(axis=0)
    sy = y / y.std(axis=0) if scale == "both" else y
    assert distance(found.theta, exact(sx, sy, 0.7, groups)) < 1e-9


# ------------------------------------------------------------------ certificates

PRICES = np.array([2.0, 0.6, 2.0, 0.6, 2.0, 1.3])
SIGNS = np.array([1, -1, 0, 1, -1, 0])


def priced():
    """Prior over r0..r5 for every target, in two layers: prices `PRICES`, signs `SIGNS`."""
    first = [(f"r{j}", f"y{t}") for t in range(TARGETS) for j in (1, 3)]
    second = [(f"r{j}", f"y{t}") for t in range(TARGETS) for j in (1, 5)]
    return Prior.combine(
        [
            Prior.from_edges(edges(first), name="motif"),
            Prior.from_edges(edges(second, [0.4, 0.5] * TARGETS), name="chip"),
        ]
    )


def signed():
    table = [(f"r{j}", f"y{t}", int(SIGNS[j])) for t in range(TARGETS) for j in range(REGULATORS)]
    frame = pd.DataFrame(table, columns=["source", "target", "sign"])
    frame["weight"] = 1.0
    return Prior.from_edges(frame)


def _zero(x):
    return np.zeros(x.shape[1])


def _squares(price=0.0, alpha=0.0, low=-np.inf, high=np.inf):
    """Reference for least_squares + price |.|_1 + alpha |.|^2 in a box: (violation, at zero)."""

    def reference(x, y, b):
        g = slope(x, y, b) + 2 * alpha * b
        return violation(g, b, price, low, high), largest(slope(x, y, _zero(x)))

    return reference


def _from_originals(function, variance, **options):
    def reference(x, y, b):
        return function(x, y, b, noise_variance=variance, **options), largest(
            slope(x, y, _zero(x))
        ) / (2 * variance)

    return reference


CASES = {
    "ridge by steps": (
        lambda: Spec(least_squares(), ridge(0.7), box(-1e6, 1e6)),
        lambda x, y, b: (
            largest(originals.ridge_gradient(x, y, b, 0.7)),
            largest(originals.ridge_gradient(x, y, 0 * b, 0.7)),
        ),
    ),
    "lasso": (
        lambda: Spec(gaussian(2.0), elastic_net(5.0, 0.0)),
        _from_originals(originals.lasso_kkt_violation, 2.0, strength=5.0),
    ),
    "elastic net": (
        lambda: Spec(gaussian(0.5), elastic_net(8.0, 1.5)),
        _from_originals(originals.elastic_net_kkt_violation, 0.5, l1=8.0, l2=3.0),
    ),
    "nonnegative": (
        lambda: Spec(gaussian(1.0), elastic_net(0.0, 0.0), nonnegative()),
        _from_originals(originals.nonnegative_kkt_violation, 1.0),
    ),
    "nonnegative elastic net": (
        lambda: Spec(gaussian(1.0), elastic_net(3.0, 0.5), nonnegative()),
        _from_originals(originals.nonnegative_kkt_violation, 1.0, l1=3.0, l2=1.0),
    ),
    "prior_l1": (
        lambda: Spec(gaussian(1.0), unigrn.prior_l1(2.0, bias=0.3), prior=priced()),
        _from_originals(originals.weighted_l1_kkt_violation, 1.0, weights=PRICES),
    ),
    "sign": (
        lambda: Spec(least_squares(), l1(3.0), sign(), prior=signed()),
        _squares(
            price=3.0, low=np.where(SIGNS > 0, 0, -np.inf), high=np.where(SIGNS < 0, 0, np.inf)
        ),
    ),
    "box": (
        lambda: Spec(least_squares(), ridge(0.2), box(-0.3, 0.5)),
        _squares(alpha=0.2, low=-0.3, high=0.5),
    ),
    "plain": (
        lambda: Spec(PLAIN, ridge(0.7)),
        lambda x, y, b: (
            largest(originals.ridge_gradient(x, y, b, 0.7)),
            largest(originals.ridge_gradient(x, y, 0 * b, 0.7)),
        ),
    ),
}
SMOOTH = ("ridge by steps", "plain")  # nothing but a gradient: the certificate is its size
# The same conditions entry by entry: price, ridge, bounds, and the factor of the squares.
ENTRIES = {
    "ridge by steps": dict(alpha=0.7),
    "lasso": dict(price=5.0, factor=0.25),
    "elastic net": dict(price=8.0, alpha=1.5, factor=1.0),
    "nonnegative": dict(low=0.0, factor=0.5),
    "nonnegative elastic net": dict(price=3.0, alpha=0.5, low=0.0, factor=0.5),
    "prior_l1": dict(price=PRICES, factor=0.5),
    "sign": dict(
        price=3.0, low=np.where(SIGNS > 0, 0, -np.inf), high=np.where(SIGNS < 0, 0, np.inf)
    ),
    "box": dict(alpha=0.2, low=-0.3, high=0.5),
    "plain": dict(alpha=0.7),
}


def by_entry(name, x, y, b):
    """The conditions of a case, (regulators,), and the slope at 0."""
    own = dict(ENTRIES[name])
    factor, alpha = own.pop("factor", 1.0), own.pop("alpha", 0.0)
    g = factor * slope(x, y, b) + 2 * alpha * b
    return violations(g, b, **own), factor * slope(x, y, 0 * b)


def in_both_units(entries, at_zero, x, centred=True):
    """The largest relative entry, in the units of the regulators and in those of equal spread."""
    spread = x.std(axis=0) if centred else np.sqrt((x**2).sum(axis=0))
    spread = spread / spread.max()
    return max(largest(entries / u) / largest(at_zero / u) for u in (1.0, spread))


@pytest.mark.parametrize("name", list(CASES))
def test_certificate_equals_the_optimality_conditions(name):
    build, reference = CASES[name]
    for seed in range(3):
        x, y = draw(seed)
        found = solve(build(), x, y, max_iterations=20_000)
        assert set(status(found)) == {CONVERGED}
        assert found.require_converged() is found
        for t in range(TARGETS):
            b = found.theta[0, :, t]
            off, at_zero = reference(x, y[:, t], b)
            assert found.residual[0, t] <= TOLERANCE
            assert off / at_zero < 3 * TOLERANCE, (seed, t)
            assert in_both_units(*by_entry(name, x, y[:, t], b), x) < 3 * TOLERANCE, (seed, t)


@pytest.mark.parametrize("name", list(CASES))
def test_certificate_is_honest_after_one_step(name):
    build, reference = CASES[name]
    x, y = draw(5)
    found = solve(build(), x, y, max_iterations=1)
    assert (found.iterations == 1).all()
    assert LIMIT in status(found)
    with pytest.raises(unigrn.ConvergenceError, match="y.*iteration limit.*max_iterations"):
        found.require_converged()
    assert says(found, LIMIT)
    for t in range(TARGETS):
        b = found.theta[0, :, t]
        off, at_zero = reference(x, y[:, t], b)
        entries, zero = by_entry(name, x, y[:, t], b)
        assert largest(entries) == pytest.approx(off, rel=1e-9)
        assert largest(zero) == pytest.approx(at_zero, rel=1e-9)
        # A plain function shows no intercept beside which its regulators would be centred.
        size, reported = in_both_units(entries, zero, x, name != "plain"), found.residual[0, t]
        if status(found)[t] == CONVERGED:  # every coefficient may sit at a bound at once
            assert off / at_zero < 3 * TOLERANCE
            continue
        assert not found.converged[0, t]
        # One step may be refused (the step was too long): the point is 0, distance unknown.
        if np.isinf(reported):
            assert not found.theta[0, :, t].any()
            continue
        assert reported > 1e-3
        if name in SMOOTH:
            assert reported == pytest.approx(size, rel=1e-6)
        else:
            # A coefficient that the next step would set to 0 counts by its size, not its slope.
            assert reported <= size * (1 + 1e-9)


def test_closed_form_reports_the_relative_gradient():
    x, y, alpha, _ = instance("scales")
    found = solve(Spec(least_squares(), ridge(alpha)), x, y)
    assert (found.residual < 1e-12).all()
    # In float32 the gradient at the reported point is rounding that NumPy can see.
    rough = solve(Spec(least_squares(), ridge(alpha)), x, y, dtype="float32")
    for t in range(TARGETS):
        g = originals.ridge_gradient(x, y[:, t], rough.theta[0, :, t].astype(float), alpha)
        at_zero = originals.ridge_gradient(x, y[:, t], _zero(x), alpha)
        assert largest(g) / largest(at_zero) < 1e-4
        assert 0 < rough.residual[0, t] < 1e-5


def huber_parts(x, y, b, c, delta):
    """Value and gradient in (b, intercept)."""
    r = y - c - x @ b
    clipped = np.clip(r, -delta, delta)
    value = np.sum(np.where(np.abs(r) <= delta, r**2, 2 * delta * np.abs(r) - delta**2))
    return value, np.r_[-2 * x.T @ clipped, -2 * clipped.sum()]


def outliers(seed):
    x, y = draw(seed)
    y[:4] += 15.0 * np.array([1, -1, 1, 1])[:, None]
    return x - 1.0, y - 2.0


def test_huber_agrees_with_scipy_and_with_its_conditions():
    from scipy.optimize import minimize

    for seed in range(2):
        x, y = outliers(seed)
        found = solve(Spec(huber(0.8)), x, y, max_iterations=20_000)
        assert found.plan.rung.name == "gradient (L-BFGS)"
        assert set(status(found)) == {CONVERGED}
        name = "proximal gradient on rows"
        other = solve(Spec(huber(0.8)), x, y, max_iterations=20_000, solver=name)
        assert other.plan.rung.name == name and set(status(other)) == {CONVERGED}
        assert distance(other.theta, found.theta) < 1e-6
        for t in range(TARGETS):

            def both(p, y=y[:, t], x=x):
                return huber_parts(x, y, p[:-1], p[-1], 0.8)

            want = minimize(
                both,
                np.zeros(REGULATORS + 1),
                jac=True,
                method="L-BFGS-B",
                options={"gtol": 1e-11, "ftol": 1e-16, "maxiter": 5000},
            ).x
            b, c = found.theta[0, :, t], found.blocks["intercept"][0, t]
            assert distance(np.r_[b, c], want) < 1e-6
            g = huber_parts(x, y[:, t], b, c, 0.8)[1]
            at_zero = huber_parts(x, y[:, t], 0 * b, 0.0, 0.8)[1]
            assert largest(g) / largest(at_zero) < 3 * TOLERANCE


def test_huber_with_a_penalty_and_a_box_meets_its_conditions():
    x, y = outliers(3)
    spec = Spec(huber(0.8), l1(4.0), box(-0.2, 0.4))
    found = solve(spec, x, y, max_iterations=20_000)
    early = solve(spec, x, y, max_iterations=1)
    assert set(status(found)) == {CONVERGED} and set(status(early)) == {LIMIT}
    # The slope in the intercept counts in the units of the regulator of the largest spread.
    level = np.r_[np.ones(x.shape[1]), x.std(axis=0).max()]
    for solution, most in ((found, 3 * TOLERANCE), (early, np.inf)):
        for t in range(TARGETS):
            b, c = solution.theta[0, :, t], solution.blocks["intercept"][0, t]
            g = level * huber_parts(x, y[:, t], b, c, 0.8)[1]
            at_zero = largest(level * huber_parts(x, y[:, t], 0 * b, 0.0, 0.8)[1])
            off = max(violation(g[:-1], b, 4.0, -0.2, 0.4), abs(g[-1])) / at_zero
            assert off < most
            if solution is early and np.isfinite(early.residual[0, t]):
                assert abs(g[-1]) / at_zero <= early.residual[0, t] * (1 + 1e-9)
                assert early.residual[0, t] <= off * (1 + 1e-9)


def test_huber_of_a_large_delta_is_least_squares():
    x, y, alpha, _ = instance("weights")
    w = np.random.default_rng(9).uniform(0, 3, CELLS)
    found = solve(Spec(huber(1e6), ridge(alpha)), x, y, weights=w, max_iterations=20_000)
    assert distance(found.theta, exact(x, y, alpha, weights=w)) < 1e-6


def test_evidence_reports_the_stationarity_of_both_precisions():
    x, y = draw(7)
    h = 1e-6
    loose, tight = (
        solve(Spec(unigrn.gaussian_evidence(h, tolerance)), x, y) for tolerance in (1e-3, 1e-14)
    )
    early = solve(Spec(unigrn.gaussian_evidence(h, 1e-14, max_iterations=1)), x, y)
    assert set(status(loose)) == {"stopped by the method's own rule"}
    assert set(status(early)) == {LIMIT}
    for found in (loose, tight, early):
        for t in range(TARGETS):
            b = found.theta[0, :, t]
            a, lam = (found.blocks[k][0, t] for k in ("noise_precision", "weight_precision"))
            gb, ga, gl = originals.evidence_gradient(x, y[:, t], b, a, lam, h)
            assert largest(gb) < 1e-9 * largest(2 * a * slope(x, y[:, t], 0 * b))
            xc, yc = x - x.mean(0), y[:, t] - y[:, t].mean()
            rss = np.sum((yc - xc @ b) ** 2)
            want = max(abs(ga) / (rss + 2 * h), abs(gl) / (b @ b + 2 * h))
            assert found.residual[0, t] == pytest.approx(want, rel=1e-5, abs=1e-12)
    assert (tight.residual < 1e-7).all()
    assert (early.residual > 1e-5).all() and early.residual.max() > 1e-2


@pytest.mark.parametrize("columns", ["zero", "repeated", "sum"])
@pytest.mark.parametrize("cells", [6, 12])
def test_evidence_of_a_constant_target_is_that_of_the_original(columns, cells):
    """A huge noise precision must not make directions of the rounding of the Gram matrix."""
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=(cells, 5))
        x[:, 1] = {"zero": 0 * x[:, 0], "repeated": x[:, 0], "sum": x[:, 0] + x[:, 2]}[columns]
        found = solve(Spec(unigrn.gaussian_evidence()), x, np.full((cells, 1), 0.1))
        want = originals.bayesian_ridge(x - x.mean(0), np.zeros(cells))
        np.testing.assert_allclose(found.theta[0, :, 0], want.coefficients, atol=1e-12)
        assert not found.statistics  # a column only where the method reads it off
        variance = found.blocks["variance"][0, :, 0]
        np.testing.assert_allclose(variance, want.variance, rtol=1e-8)


def test_plain_loss_with_a_bound_reaches_it():
    from scipy.optimize import nnls

    x, y = draw(8)
    found = solve(Spec(PLAIN, None, nonnegative()), x, y, max_iterations=20_000)
    assert found.plan.rung.name == "proximal gradient on rows"
    assert set(status(found)) == {CONVERGED}
    for t in range(TARGETS):
        want = nnls(x - x.mean(0), y[:, t] - y[:, t].mean())[0]
        assert (found.theta[0, :, t] >= 0).all()
        np.testing.assert_allclose(found.theta[0, :, t], want, atol=1e-6)


def test_a_bound_does_not_hide_a_large_gradient():
    # In units of thousands the coefficients are thousandths: their own size is no distance from
    # optimality. The start of the change of variables, theta = log 2, is far from it.
    x, y = draw(8)
    for most in (0, 1, 300):
        found = solve(
            Spec(PLAIN, None, nonnegative()), 1e3 * x, y, tolerance=1e-5, max_iterations=most
        )
        for t, word in enumerate(status(found)):
            b = found.theta[0, :, t]
            at_bound = b <= 1e-4 * np.max(b)
            g = slope(1e3 * x, y[:, t], b)
            off = np.max(np.where(at_bound, np.maximum(-g, 0), np.abs(g)))
            start = np.full(REGULATORS, np.log(2))
            off /= max(largest(slope(1e3 * x, y[:, t], b)) for b in (_zero(x), start))
            assert word != CONVERGED or off < 1e-2, (most, t, off)


# ------------------------------------------------------------------ other programs


def test_penalised_fits_agree_with_scikit_learn():
    from sklearn.linear_model import ElasticNet, Lasso

    for seed in (11, 12):
        x, y = draw(seed)
        options = {"tol": 1e-14, "max_iter": 200_000}
        for spec, other in (
            (Spec(gaussian(0.5), elastic_net(9.0, 0.0)), Lasso(9.0 / (2 * CELLS), **options)),
            (
                Spec(gaussian(0.5), elastic_net(9.0, 0.0), nonnegative()),
                Lasso(9.0 / (2 * CELLS), positive=True, **options),
            ),
            # a r = l1 / 2n and a (1 - r) = l2 / n with l1 = 6, l2 = 3: a = 6 / n, r = 1/2.
            (
                Spec(gaussian(0.5), elastic_net(6.0, 3.0)),
                ElasticNet(6.0 / CELLS, l1_ratio=0.5, **options),
            ),
            (
                Spec(gaussian(0.5), elastic_net(6.0, 3.0), nonnegative()),
                ElasticNet(6.0 / CELLS, l1_ratio=0.5, positive=True, **options),
            ),
        ):
            found = solve(spec, x, y, max_iterations=20_000).theta[0]
            want = np.stack([other.fit(x, y[:, t]).coef_ for t in range(TARGETS)], axis=1)
            assert distance(found, want) < 1e-6
            assert ((found == 0) == (np.abs(want) < 1e-9)).all()


def test_nonnegative_least_squares_agree_with_scipy():
    from scipy.optimize import nnls

    for seed in (13, 14):
        x, y = draw(seed)
        found = solve(
            Spec(least_squares(intercept=False), None, nonnegative()),
            x,
            y - 3.0,
            max_iterations=20_000,
        ).theta[0]
        want = np.stack([nnls(x, y[:, t] - 3.0)[0] for t in range(TARGETS)], axis=1)
        assert (want == 0).any()
        assert distance(found, want) < 1e-6


def test_masked_lasso_agrees_with_coordinate_descent():
    x, y = draw(15)
    pairs = [
        ("r0", "y0"),
        ("r2", "y0"),
        ("r5", "y0"),
        ("r1", "y1"),
        ("r0", "y2"),
        ("r1", "y2"),
        ("r2", "y2"),
        ("r3", "y2"),
        ("r4", "y2"),
        ("r5", "y2"),
    ]
    sx, sy = x / x.std(0), y / y.std(0)
    spec = masked_lasso(Prior.from_edges(edges(pairs)), strength=4.0, noise_variance=0.4)
    found = solve(spec, x, y, max_iterations=20_000)
    for t in range(TARGETS):
        own = [int(s[1]) for s, target in pairs if target == f"y{t}"]
        want = np.zeros(REGULATORS)
        want[own] = originals.masked_lasso(sx[:, own], sy[:, t], 4.0, 0.4)
        assert distance(found.theta[0, :, t], want) < 1e-6
    table = found.network().edges
    assert (table["weight"] != 0).all()
    assert set(zip(table["source"], table["target"], strict=True)) <= set(pairs)


def test_bayesian_ridge_agrees_with_scikit_learn():
    from sklearn.linear_model import BayesianRidge

    x, y = draw(16)
    pairs = [(f"r{j}", f"y{t}") for t in range(TARGETS) for j in range(REGULATORS - t)]
    found = solve(celloracle_bayesian(Prior.from_edges(edges(pairs))), x, y)
    sx = x / x.std(0)
    for t in range(TARGETS):
        k = REGULATORS - t
        other = BayesianRidge().fit(sx[:, :k], y[:, t])
        mine = found.plan.problem.entry_target == t
        assert distance(found.weights[0, mine], other.coef_) < 1e-8
        assert distance(found.statistics["variance"][0, mine], np.diag(other.sigma_)) < 1e-8
        assert found.blocks["noise_precision"][0, t] == pytest.approx(other.alpha_, rel=1e-8)
        assert found.blocks["weight_precision"][0, t] == pytest.approx(other.lambda_, rel=1e-8)
        assert found.iterations[0, t] == other.n_iter_


def test_released_bags_agree_with_scikit_learn():
    from sklearn.ensemble import BaggingRegressor
    from sklearn.linear_model import Ridge

    x, y = draw(17)
    y = y[:, :2]
    pairs = [(f"r{j}", f"y{t}") for t in range(2) for j in range(REGULATORS - t)]
    prior, most = Prior.from_edges(edges(pairs)), 3
    # Bags are the same whatever their number, so sums over b + 1 and b bags tell bag b alone.
    totals = [np.zeros(len(pairs))]
    for bags in range(1, most + 1):
        found = solve(celloracle(prior, alpha=2.0, bags=bags, draws="released"), x, y, seed=bags)
        mean, drawn = found.weights[0], found.statistics["bags_drawn"][0]
        totals.append(np.where(drawn > 0, drawn * np.nan_to_num(mean), 0.0))
    ours = np.diff(totals, axis=0)
    sx = x / x.std(0)
    for t in range(2):
        k = REGULATORS - t
        other = BaggingRegressor(
            Ridge(2.0), n_estimators=most, max_features=0.8, bootstrap=True, random_state=123
        ).fit(sx[:, :k], y[:, t])
        want = np.zeros((most, k))
        for b in range(most):
            want[b, other.estimators_features_[b]] = other.estimators_[b].coef_
        mine = ours[:, found.plan.problem.entry_target == t]
        assert distance(mine, want) < 1e-9
        reference = originals.celloracle_bags(sx[:, :k], y[:, t], 2.0, most)
        assert distance(mine, np.nan_to_num(reference)) < 1e-9
    # The p value of the whole ensemble, from its own formula.
    mean, p, drawn = originals.celloracle_statistics(reference)
    here = found.plan.problem.entry_target == 1
    assert np.array_equal(found.statistics["bags_drawn"][0, here], drawn)
    np.testing.assert_allclose(found.statistics["p"][0, here], p, rtol=1e-7)


# ------------------------------------------------------------------ priors and constraints


def test_prior_l1_prices_by_layer():
    x, y = draw(18)
    prior = priced()
    for layer, price in ((None, PRICES), ("chip", np.array([2.0, 1.44, 2.0, 2.0, 2.0, 1.3]))):
        spec = Spec(gaussian(1.0), unigrn.prior_l1(2.0, bias=0.3, layer=layer), prior=prior)
        found = solve(spec, x, y, max_iterations=20_000).theta[0]
        for t in range(TARGETS):
            off = originals.weighted_l1_kkt_violation(x, y[:, t], found[:, t], price)
            assert off < 1e-7 * largest(slope(x, y[:, t], _zero(x)))


def test_support_of_one_layer():
    x, y = draw(19)
    prior = priced()
    for layer, own in ((None, [1, 3, 5]), ("chip", [1, 5])):
        found = solve(Spec(least_squares(), ridge(0.7), unigrn.support(layer), prior), x, y)
        want = np.zeros((REGULATORS, TARGETS))
        want[own] = exact(x[:, own], y, 0.7)[0]
        assert distance(found.theta[0], want) < 1e-9
        assert len(found.network().edges) == len(own) * TARGETS


def test_no_gene_explains_itself():
    x, _ = draw(20)
    genes = [f"g{j}" for j in range(REGULATORS)]
    data = Data.from_arrays(x, genes, dtype="float64")
    found = unigrn.fit(Spec(least_squares(), ridge(0.7), unigrn.no_self()), data).theta[0]
    assert not np.diag(found).any()
    for t in range(REGULATORS):
        own = np.arange(REGULATORS) != t
        assert distance(found[own, t], originals.ridge(x[:, own], x[:, t], 0.7)) < 1e-9


def test_constraints_join():
    x, y = draw(21)
    prior = priced()
    spec = Spec(least_squares(), ridge(0.7), unigrn.support("motif") + nonnegative(), prior)
    found = solve(spec, x, y, max_iterations=20_000).theta[0]
    assert not found[[0, 2, 4, 5]].any() and (found >= 0).all()
    for t in range(TARGETS):
        own = found[[1, 3], t]
        g = slope(x[:, [1, 3]], y[:, t], own) + 1.4 * own
        assert violation(g, own, low=0.0) < 1e-6


def test_steps_do_not_depend_on_the_units_of_the_target():
    """The same number of steps, to coefficients in the other units."""
    x, y = draw(8)
    one = solve(Spec(least_squares(), ridge(0.7), nonnegative()), x, y)
    many = solve(Spec(least_squares(), ridge(0.7), nonnegative()), x, 2.0**20 * y)
    few = solve(Spec(least_squares(), ridge(0.7), nonnegative()), x, 2.0**-20 * y)
    assert one.plan.rung.name == "active sets on moments"
    for other, unit in ((many, 2.0**20), (few, 2.0**-20)):
        assert set(status(other)) == {CONVERGED}
        np.testing.assert_array_equal(other.iterations, one.iterations)
        assert distance(other.theta / unit, one.theta) < 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_certificates_hold_in_all_units_of_the_target(dtype):
    x, y = draw(8)
    plain = solve(Spec(least_squares(), l1(4.0)), x, y).theta
    for unit in (1e-9, 1e6, 1e9, 1e12):
        found = solve(Spec(least_squares(), l1(4.0 * unit)), x, unit * y, dtype=dtype)
        assert set(status(found)) == {CONVERGED}
        assert distance(found.theta.astype(float) / unit, plain) < 1e-5
        for t in range(TARGETS):
            b = found.theta[0, :, t].astype(float) / unit
            off = violation(slope(x, y[:, t], b), b, 4.0) / largest(slope(x, y[:, t], 0 * b))
            assert off < (1e-5 if dtype == "float32" else 3 * TOLERANCE)


def test_a_start_where_the_smooth_part_is_flat_is_not_the_answer():
    """The minimum without the penalty, where the gradient is 0: the lasso is elsewhere."""
    x = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1], [1, 1], [-1, -1]])
    best = np.array([[3.0], [1.0]])

    def there(data, prior, key, terms):
        return unigrn.Blocks(theta=jnp.zeros_like(prior.weight).at[:2].set(best[:, 0]))

    found = solve(Spec(least_squares(), l1(4.0), start=there), x, x @ best)
    assert set(status(found)) == {CONVERGED}
    assert distance(found.theta[0], best - 0.25) < 1e-8


def rooted(params, data, prior, slope):
    """Undefined below 0, where the first step goes."""
    return jnp.sum(10 * params.theta**1.5 - slope * params.theta)


def test_where_no_step_was_accepted_the_residual_is_that_of_the_start():
    x, y = draw(8)

    def ones(data, prior, key, terms):
        return unigrn.Blocks(theta=10 * jnp.ones_like(prior.weight))

    spec = Spec(unigrn.loss(rooted, slope=2.5), l1(1.0), start=ones)
    found = solve(spec, x, y, max_iterations=1)
    assert set(status(found)) == {LIMIT} and (found.theta == 10).all()
    assert np.isfinite(found.residual).all() and (found.residual > 1e-3).all()
    assert solve(spec, x, y).theta == pytest.approx(0.01, rel=1e-5)


# ------------------------------------------------------------------ plain functions


def shared_strength(params, data, prior, strength):
    """Squares of the whole network, and of each regulator's summed effect on all targets."""
    r = data.y - data.x @ params.theta
    r = r - jnp.mean(r, axis=0, keepdims=True)
    return jnp.sum(r**2) + strength * jnp.sum(jnp.sum(params.theta, axis=1) ** 2)


def test_a_coupled_loss_is_solved_as_one_problem():
    x, y = draw(22)
    found = solve(Spec(unigrn.loss(shared_strength, coupled=True, strength=3.0)), x, y)
    assert found.plan.rung.reads == "network"
    xc, yc = x - x.mean(0), y - y.mean(0)
    ones = np.ones((TARGETS, TARGETS))
    matrix = np.kron(xc.T @ xc, np.eye(TARGETS)) + 3.0 * np.kron(np.eye(REGULATORS), ones)
    want = np.linalg.solve(matrix, (xc.T @ yc).ravel()).reshape(REGULATORS, TARGETS)
    assert set(status(found)) == {CONVERGED}
    assert distance(found.theta[0], want) < 1e-6
    spread = np.linalg.norm(x, axis=0)[:, None]  # as they are: no intercept stands beside theta

    def off(b):
        """The slope relative to that at 0, in the worse of both units."""
        g = 2 * (xc.T @ (xc @ b - yc) + 3.0 * b.sum(axis=1, keepdims=True))
        zero = 2 * xc.T @ yc
        return max(largest(g) / largest(zero), largest(g / spread) / largest(zero / spread))

    assert off(found.theta[0]) < 3 * TOLERANCE
    early = solve(
        Spec(unigrn.loss(shared_strength, coupled=True, strength=3.0)), x, y, max_iterations=1
    )
    assert set(status(early)) == {LIMIT}
    assert early.residual[0, 0] == pytest.approx(off(early.theta[0]), rel=1e-6)


def towards(params, data, prior, strength, centre):
    return strength * jnp.sum((params.theta - centre) ** 2)


def test_a_plain_regularizer_joins_the_moments():
    x, y = draw(23)
    spec = Spec(least_squares(), unigrn.regularizer(towards, strength=2.0, centre=0.5))
    found = solve(spec, x, y, max_iterations=20_000)
    assert found.plan.rung.name == "proximal gradient on moments"
    xc, yc = x - x.mean(0), y - y.mean(0)
    want = np.linalg.solve(xc.T @ xc + 2 * np.eye(REGULATORS), xc.T @ yc + 1.0)
    assert distance(found.theta[0], want) < 1e-6


def broken(params, data, prior):
    return jnp.sum(params.theta) * jnp.log(-jnp.ones_like(jnp.sum(data.y)))


@pytest.mark.parametrize("regularizer", [None, l1(1.0)], ids=["gradient", "proximal"])
def test_a_loss_that_is_not_a_number_fails_and_gives_no_edge(regularizer):
    x, y = draw(24)
    found = solve(Spec(unigrn.loss(broken, weighted=True), regularizer), x, y, max_iterations=5)
    assert set(status(found)) == {"failed: not finite"}
    network = found.network()
    assert len(network.edges) == 0
    assert says(found, "failed: not finite")
    assert np.isnan(found.theta).all()
    with pytest.raises(unigrn.ConvergenceError, match="not finite"):
        found.require_converged()


# ------------------------------------------------------------------ degenerate data


def test_a_singular_problem_is_flagged_and_finite():
    x, y = draw(25)
    x[:, 3] = x[:, 0]
    x[:, 5] = x[:, 1] + x[:, 2]
    found = solve(Spec(least_squares(), ridge(0.0)), x, y)
    assert set(status(found)) == {"singular: coefficients are not unique"}
    assert np.isfinite(found.weights).all()
    # What is left still is a least-squares fit.
    for t in range(TARGETS):
        g = slope(x, y[:, t], found.theta[0, :, t])
        assert largest(g) < 1e-8 * largest(slope(x, y[:, t], _zero(x)))
    assert says(found, "not unique")
    with pytest.raises(unigrn.ConvergenceError, match="not unique.*add a ridge"):
        found.require_converged()
    wide = solve(Spec(least_squares(), ridge(0.0)), x[:4], y[:4])
    assert set(status(wide)) == {"singular: coefficients are not unique"}
    assert np.isfinite(wide.weights).all()


def test_constant_genes_have_no_edge_of_weight():
    x, y = draw(26)
    x[:, 2], y[:, 1] = 3.3, 5.7
    for spec in (
        Spec(least_squares(), ridge(0.7)),
        Spec(gaussian(), l1(1.0)),
        Spec(unigrn.gaussian_evidence()),
    ):
        found = solve(spec, x, y, max_iterations=20_000)
        assert np.isfinite(found.weights).all()
        assert np.abs(found.theta[0, 2]).max() < 1e-12 and not found.theta[0, :, 1].any()
        assert status(found)[1] == "target is constant"
        assert status(found)[0] != "target is constant"
        assert found.theta[0, [0, 1, 3, 4, 5]][:, [0, 2]].any()
        assert says(found, "1 regulator is constant") and says(found, "1 target is constant")
    kept = np.delete(np.arange(REGULATORS), 2)
    ours = solve(Spec(least_squares(), ridge(0.7)), x, y).theta[0]
    assert distance(ours[kept][:, [0, 2]], exact(x[:, kept], y[:, [0, 2]], 0.7)[0]) < 1e-9


def test_a_regulator_that_is_constant_in_one_group_is_zero_there():
    x, y = draw(27)
    groups = np.array(["a", "b"])[(np.arange(CELLS) % 2)]
    x[groups == "b", 4] = 0.1
    found = solve(Spec(least_squares(), ridge(0.7)), x, y, groups=groups).theta
    assert found[0, 4].all() and not found[1, 4].any()
    assert distance(found, exact(x, y, 0.7, groups)) < 1e-9


def test_constant_regulators_are_zero_for_losses_on_rows():
    x, y = draw(26)
    x[:, 2] = 3.3
    found = solve(Spec(huber(0.8)), x, y, max_iterations=20_000)
    # The report says so, and beside an intercept nothing else is determined.
    assert says(found, "1 regulator is constant")
    assert np.max(np.abs(found.theta[0, 2])) < 1e-9


def test_one_cell_has_no_coefficients():
    x, y = draw(28)
    groups = np.array(["many"] * (CELLS - 1) + ["one"])
    for spec in (
        Spec(least_squares(), ridge(0.7)),
        Spec(gaussian(), l1(1.0)),
        Spec(unigrn.gaussian_evidence()),
        Spec(huber(0.8)),
    ):
        found = solve(spec, x, y, groups=groups, max_iterations=20_000)
        assert found.theta[0].any() and not found.theta[1].any()
        assert np.isfinite(found.weights).all()
        assert says(found, "one cell only in group one")


def test_a_target_without_candidates_is_told():
    x, y = draw(29)
    prior = Prior.from_edges(edges([("r0", "y0"), ("r1", "y0"), ("r0", "y2"), ("z", "y1")]))
    found = solve(Spec(least_squares(), ridge(0.7), unigrn.support(), prior), x, y)
    table = found.certificate.set_index("target")
    for target in found.plan.problem.targets:
        alone = target == "y1"
        assert (table.loc[target, "status"] == "no candidate regulators") == alone
        assert (table.loc[target, "candidates"] == 0) == alone
    assert set(found.network().edges["target"]) == {"y0", "y2"}
    assert found.require_converged() is found


# ------------------------------------------------------------------ false discovery rate


def naive_rate(observed, null):
    """The same rate by counting, one edge at a time."""
    null = np.asarray(null)
    at = [min((1 + np.sum(null >= s)) / len(null) / np.sum(observed >= s), 1.0) for s in observed]
    return np.array(
        [min(r for r, s in zip(at, observed, strict=True) if s <= own) for own in observed]
    )


def test_rate_equals_its_definition():
    rng = np.random.default_rng(0)
    for copies in (1, 3):
        observed = np.round(np.abs(rng.normal(size=40)) * 2, 1)  # with ties
        null = np.round(np.abs(rng.normal(size=(copies, 40))), 1)
        found = false_discovery_rate(observed, null)
        np.testing.assert_allclose(found, naive_rate(observed, null), rtol=1e-12)
        assert (np.diff(found[np.argsort(-observed, kind="stable")]) >= 0).all()
    observed[5] = np.nan
    assert np.isnan(false_discovery_rate(observed, null)).tolist() == np.isnan(observed).tolist()


GENES = 16


def signal(seed, strength):
    """Sixteen targets of which every other has one true regulator out of six."""
    rng = np.random.default_rng((seed, 77))
    x = rng.normal(size=(CELLS, REGULATORS))
    truth = np.zeros((REGULATORS, GENES), bool)
    truth[rng.integers(0, REGULATORS, GENES // 2), np.arange(0, GENES, 2)] = True
    return x, strength * x @ truth + rng.normal(size=(CELLS, GENES)), truth


def test_rate_is_calibrated():
    spec = unigrn.permuted(Spec(least_squares(), ridge(1.0)), 15)
    false, noise, power = [], [], []
    for seed in range(12):
        x, y, truth = signal(seed, 1.5)
        found = solve(spec, x, y, seed=seed)
        real = np.array(
            [
                truth[int(r[1:]), int(t[1:])]
                for r, t in zip(
                    found.plan.problem.regulators[found.plan.problem.candidate],
                    found.plan.problem.targets[found.plan.problem.entry_target],
                    strict=True,
                )
            ]
        )
        hit = found.statistics["fdr"][0] <= 0.1
        false.append(hit[~real].sum() / max(hit.sum(), 1))
        power.append(hit[real].mean())
        noisy = solve(spec, x, np.random.default_rng(seed).normal(size=y.shape), seed=seed)
        noise.append((noisy.statistics["fdr"][0] <= 0.1).mean())
    assert np.mean(noise) < 0.01
    assert np.mean(power) > 0.8
    assert np.mean(false) < 0.15
    # Targets without a regulator give some: a rate that is 0 everywhere is no rate.
    assert np.mean(false) > 0.005


def test_copies_leave_the_fit_as_it_was():
    x, y, _ = signal(0, 1.5)
    with_null = solve(unigrn.permuted(Spec(least_squares(), ridge(1.0)), 15), x, y)
    without = solve(Spec(least_squares(), ridge(1.0)), x, y)
    assert "fdr" not in without.statistics and "fdr" not in without.network().edges
    assert "fdr" in with_null.network().edges
    np.testing.assert_allclose(with_null.weights, without.weights, rtol=1e-12)
    same(with_null, solve(unigrn.permuted(Spec(least_squares(), ridge(1.0)), 15), x, y))
    assert not np.array_equal(
        solve(unigrn.permuted(Spec(least_squares(), ridge(1.0)), 15), x, y, seed=1).statistics[
            "fdr"
        ],
        with_null.statistics["fdr"],
    )


def test_rate_compares_targets_in_their_own_units():
    x, y, _ = signal(1, 1.5)
    units = 10.0 ** np.random.default_rng(3).integers(-3, 4, GENES)
    spec = unigrn.permuted(Spec(least_squares(), ridge(1.0)), 15)
    np.testing.assert_allclose(
        solve(spec, x, y * units).statistics["fdr"], solve(spec, x, y).statistics["fdr"], rtol=1e-9
    )


# ------------------------------------------------------------------ axes of fits against loops

AXIS_CELLS = np.array(["b", "a"])[(np.arange(CELLS) % 3 == 0).astype(int)]
STRENGTHS = (0.5, 4.0, 30.0)


def lasso(strength=4.0):
    return Spec(least_squares(), l1(strength))


def robust(strength=4.0):
    return Spec(huber(0.8), l1(strength))


def squares(alpha=0.7):
    return Spec(least_squares(), ridge(alpha))


KINDS = {
    "closed form": (squares, "Ridge.alpha"),
    "active sets on moments": (lasso, "L1.strength"),
    "proximal gradient on rows": (robust, "L1.strength"),
}


def axis_fit(spec, x, y, **more):
    return solve(spec, x, y, groups=AXIS_CELLS, max_iterations=20_000, **more)


def member_weights(axis, held=False, seed=0):
    """Weights of the cells of all members of an axis, (members, cells), group by group."""
    out = np.zeros((axis.size, CELLS))
    for group, label in enumerate(sorted(set(AXIS_CELLS))):
        here = np.flatnonzero(AXIS_CELLS == label)
        read = axis.held if held else partial(axis.cells, candidates=None)
        out[:, here] = read(len(here), group, seed)(0, len(here))
    return out


def loop(spec, axis, x, y, seed=0):
    """One fit for every member, to cells weighted as the member has them."""
    return [axis_fit(spec, x, y, weights=w) for w in member_weights(axis, seed=seed)]


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7 * np.abs(theirs).max())


@pytest.mark.parametrize("name", list(KINDS))
def test_a_path_is_a_loop_over_its_values(name):
    spec_of, parameter = KINDS[name]
    x, y = draw(31)
    found = axis_fit(unigrn.path(spec_of(), parameter, STRENGTHS, choose=None), x, y)
    assert found.plan.solver.name == name and set(status(found)) == {CONVERGED}
    alone = [axis_fit(spec_of(v), x, y) for v in STRENGTHS]
    assert set(found.statistics) == {f"weight[{v:g}]" for v in STRENGTHS}
    for value, other in zip(STRENGTHS, alone, strict=True):
        close(found.statistics[f"weight[{value:g}]"], other.weights)
    close(found.weights, alone[0].weights)
    assert np.abs(alone[0].weights - alone[2].weights).max() > 0.01


def test_a_path_chooses_by_the_criterion_target_by_target():
    x, y = draw(32)
    values = (0.1, 2.0, 20.0, 60.0)
    found = axis_fit(unigrn.path(lasso(), "L1.strength", values), x, y)
    alone = [axis_fit(lasso(v), x, y) for v in values]
    for g, label in enumerate(sorted(set(AXIS_CELLS))):
        here = AXIS_CELLS == label
        n = here.sum()
        for t in range(TARGETS):
            scores = []
            for other in alone:
                b = other.theta[g, :, t]
                r = y[here, t] - x[here] @ b
                rss, k = np.sum((r - r.mean()) ** 2), np.count_nonzero(b)
                scores.append(
                    n * np.log(rss / n) + k * np.log(n) + 2 * 0.5 * k * np.log(REGULATORS)
                )
            best = int(np.argmin(scores))
            own = found.plan.problem.entry_target == t
            close(found.theta[g, :, t], alone[best].theta[g, :, t])
            assert set(found.statistics["strength"][g, own]) == {values[best]}
            assert found.targets["score"][g, t] == pytest.approx(scores[best], rel=1e-6)
    assert len(np.unique(found.statistics["strength"])) > 1


def test_a_path_takes_a_rule_of_ones_own():
    x, y = draw(32)

    def densest(found):
        used = (found.edges["weight"] != 0).astype(float)
        return np.stack([-np.bincount(found.target, row, TARGETS) for row in used])

    found = solve(unigrn.path(lasso(), "L1.strength", STRENGTHS, choose=densest), x, y)
    # Of ties the first counts, and a smaller price leaves no fewer edges here.
    assert set(found.statistics["strength"].ravel()) == {STRENGTHS[0]}
    close(found.weights, solve(lasso(STRENGTHS[0]), x, y).weights)


def held_out_loss(name, alone, kept_out, x, y):
    """Loss of a fit on the cells of weight ``kept_out``, (groups, targets)."""
    out = np.zeros((2, TARGETS))
    for g, label in enumerate(sorted(set(AXIS_CELLS))):
        here = AXIS_CELLS == label
        w = kept_out[here]
        for t in range(TARGETS):
            r = y[here, t] - x[here] @ alone.theta[g, :, t]
            if "rows" in name:
                r = np.abs(r - alone.blocks["intercept"][g, t])
                size = np.where(r <= 0.8, r**2, 2 * 0.8 * r - 0.8**2)
                out[g, t] = np.sum(w * size)
            else:
                # Moments have no intercept of their own: it is that of the cells at hand.
                out[g, t] = np.sum(w * (r - np.sum(w * r) / w.sum()) ** 2)
    return out


@pytest.mark.parametrize("name", list(KINDS))
def test_folds_are_a_loop_over_their_parts(name):
    spec_of, _ = KINDS[name]
    x, y = draw(33)
    spec = unigrn.folds(spec_of(), 3)
    found, (axis,) = axis_fit(spec, x, y), spec.over
    assert found.plan.solver.name == name and set(status(found)) == {CONVERGED}
    kept_out = member_weights(axis, held=True)
    np.testing.assert_array_equal(kept_out.sum(axis=0), 1)  # every cell once
    np.testing.assert_array_equal(kept_out + member_weights(axis), 1)
    alone = loop(spec_of(), axis, x, y)
    close(found.weights, axis_fit(spec_of(), x, y).weights)  # of all cells
    judging = list(zip(alone, kept_out, strict=True))[1:]
    want = sum(held_out_loss(name, o, w, x, y) for o, w in judging)
    np.testing.assert_allclose(found.targets["heldout"], want, rtol=1e-6)


@pytest.mark.parametrize("name", list(KINDS))
def test_a_path_over_folds_chooses_as_a_loop_does(name):
    spec_of, parameter = KINDS[name]
    x, y = draw(34)
    inner = unigrn.folds(spec_of(), 3)
    found = axis_fit(unigrn.path(inner, parameter, STRENGTHS, choose="heldout"), x, y)
    alone = [axis_fit(unigrn.folds(spec_of(v), 3), x, y) for v in STRENGTHS]
    loss = np.array([o.targets["heldout"] for o in alone])
    best = loss.argmin(axis=0)
    np.testing.assert_allclose(found.targets["score"], loss.min(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.targets["heldout"], loss.min(axis=0), rtol=1e-6)
    for g in range(2):
        for t in range(TARGETS):
            own = found.plan.problem.entry_target == t
            close(found.theta[g, :, t], alone[best[g, t]].theta[g, :, t])
            chosen = found.statistics[parameter.rpartition(".")[2]][g, own]
            assert set(chosen) == {STRENGTHS[best[g, t]]}
    assert len(np.unique(best)) > 1


@pytest.mark.parametrize("by", ["network", "hidden"])
@pytest.mark.parametrize("name", ["closed form", "proximal gradient on rows"])
def test_a_path_chooses_for_several_targets_at_once(name, by):
    spec_of, parameter = KINDS[name]
    x, y = draw(34)
    values = (0.1, 1.0, 3.0, 9.0, 30.0, 90.0)
    inner = unigrn.folds(spec_of(), 3)
    found = axis_fit(unigrn.path(inner, parameter, values, "heldout", by), x, y)
    alone = [axis_fit(unigrn.folds(spec_of(v), 3), x, y) for v in values]
    loss = np.array([o.targets["heldout"] for o in alone])  # (values, groups, targets)
    if name == "closed form":  # squares, of targets in any unit
        loss = (
            np.log(loss)
            * np.array([np.sum(AXIS_CELLS == g) for g in sorted(set(AXIS_CELLS))])[None, :, None]
        )
    part = np.random.default_rng((6, TARGETS)).permutation(np.arange(TARGETS) % 5)
    for g in range(2):
        for t in range(TARGETS):
            judges = np.ones(TARGETS, bool) if by == "network" else part != part[t]
            assert judges[t] == (by == "network")
            best = int(loss[:, g, judges].sum(axis=1).argmin())
            close(found.theta[g, :, t], alone[best].theta[g, :, t])
            assert found.targets["chosen"][g, t] == values[best]
            np.testing.assert_allclose(found.targets["score"][g, t], loss[best, g, t], rtol=1e-6)
    for v, own in zip(values, loss, strict=True):
        np.testing.assert_allclose(found.targets[f"score[{v:g}]"], own, rtol=1e-6)
    assert says(found, f"{parameter}: ") and says(found, "mean score by value: 0.1 ")
    # Of subsets of the cells what was chosen is a mean, and no line calls it a choice.
    spec = unigrn.stability(unigrn.path(inner, parameter, values, "heldout", by), 3)
    assert not says(axis_fit(spec, x, y), "mean score by value")


def test_units_of_targets_do_not_choose_for_the_network():
    """A target in units a million times larger has no more of a say."""
    x, y = draw(36, cells=60, targets=8)
    spec = unigrn.path(
        unigrn.folds(Spec(least_squares(), ridge(1.0))),
        "Ridge.alpha",
        STRENGTHS,
        "heldout",
        "network",
    )
    before = solve(spec, x, y).targets["chosen"]
    after = solve(spec, x, y * np.array([1e6, *np.ones(7)])).targets["chosen"]
    assert (before == after).all() and len(np.unique(before)) == 1


def test_no_target_has_a_say_in_what_it_is_given():
    """A leak is planted: a rule by which one target wants what no other does."""
    x, y = draw(36, cells=60, targets=8)
    part = np.random.default_rng((6, 8)).permutation(np.arange(8) % 5)
    told = int(np.flatnonzero(part == part[0])[-1])

    def wants(found):
        score = np.tile(np.arange(3.0)[:, None], (1, 8))  # all others prefer the first value
        score[:, told] = [1e6, 0.0, -1e6]
        return score

    inner = Spec(least_squares(), ridge(1.0))
    chosen = {}
    for by in ("target", "hidden", "network"):
        found = solve(unigrn.path(inner, "Ridge.alpha", STRENGTHS, wants, by), x, y)
        chosen[by] = found.statistics["alpha"].reshape(8, -1)[:, 0]
    assert chosen["target"][told] == STRENGTHS[2] and chosen["network"][told] == STRENGTHS[2]
    assert (chosen["hidden"][part == part[told]] == STRENGTHS[0]).all()
    assert (chosen["hidden"][part != part[told]] == STRENGTHS[2]).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"by": "everyone"}, "by must be one of target, network, hidden, got 'everyone'"),
        ({"choose": None, "by": "network"}, "choose=None chooses nothing"),
        ({"choose": "heldout", "by": "hidden"}, "needs folds inside"),
    ],
)
def test_who_chooses_is_said_and_checked(given, message):
    x, y = draw(34)
    with pytest.raises(ValueError, match=message):
        solve(unigrn.path(squares(), "Ridge.alpha", STRENGTHS, **given), x, y)


def test_choosing_by_held_out_cells_needs_folds_inside():
    x, y = draw(34)
    with pytest.raises(ValueError, match=r"needs folds inside of the path: path\(folds"):
        solve(unigrn.path(squares(), "Ridge.alpha", STRENGTHS, choose="heldout"), x, y)


@pytest.mark.parametrize("name", list(KINDS))
def test_the_jackknife_is_a_loop_over_its_blocks(name):
    spec_of, _ = KINDS[name]
    x, y = draw(35)
    spec = unigrn.jackknife(spec_of(), 4)
    found, (axis,) = axis_fit(spec, x, y), spec.over
    whole, *parts = loop(spec_of(), axis, x, y)
    close(found.weights, whole.weights)
    close(found.weights, axis_fit(spec_of(), x, y).weights)
    left = np.array([o.weights for o in parts])
    error = np.sqrt(3 / 4 * np.sum((left - left.mean(axis=0)) ** 2, axis=0))
    close(found.statistics["standard_error"], error)
    assert error.max() > 0.01
    np.testing.assert_array_equal((1 - member_weights(axis)[1:]).sum(axis=0), 1)


@pytest.mark.parametrize("name", ["active sets on moments", "proximal gradient on rows"])
def test_stability_is_a_loop_over_its_subsamples(name):
    spec_of, _ = KINDS[name]
    x, y = draw(36)
    spec = unigrn.stability(spec_of(6.0), 5, 0.6)
    found, (axis,) = axis_fit(spec, x, y), spec.over
    alone = np.array([o.weights for o in loop(spec_of(6.0), axis, x, y)])
    close(found.weights, alone.mean(axis=0))
    np.testing.assert_allclose(found.statistics["frequency"], (alone != 0).mean(axis=0))
    assert (found.statistics["frequency"] % 1 > 0).any()
    for label in set(AXIS_CELLS):
        here = AXIS_CELLS == label
        assert set(member_weights(axis)[:, here].sum(axis=1)) == {int(0.6 * here.sum())}


def test_permuted_bags_are_bags_of_permuted_targets():
    """The bags are reduced first; the copies give the rate, in units of the targets' spread."""
    x, y = draw(37)
    inner = unigrn.bagging(squares(), bags=4)
    outer = unigrn.permuted(inner, 3)
    found, axis = solve(outer, x, y, seed=5), outer.over[-1]
    whole = solve(inner, x, y, seed=5)
    np.testing.assert_allclose(found.weights, whole.weights, rtol=1e-12)
    np.testing.assert_array_equal(found.statistics["bags_drawn"], whole.statistics["bags_drawn"])
    sizes = []
    for member in range(4):
        order = axis.order(member, 0, 0, CELLS, 5)
        assert (order is None) == (member == 0)
        moved = y if order is None else y[order]
        alone = solve(inner, x, moved, seed=5)
        spread = y.std(axis=0)[alone.plan.problem.entry_target]
        sizes.append(np.abs(alone.weights[0]) / spread)
    want = false_discovery_rate(sizes[0], np.array(sizes[1:]))
    np.testing.assert_allclose(found.statistics["fdr"][0], want, rtol=1e-9)
    assert len(np.unique(want)) > 2


def test_bags_of_a_plain_spec_give_mean_and_number():
    x, y = draw(38)
    spec = unigrn.bagging(squares(), bags=6, max_features=0.5)
    found, (axis,) = solve(spec, x, y, seed=2), spec.over
    assert set(found.statistics) == {"bags_drawn"}
    counts = axis.cells(CELLS, 0, 2, None)(0, CELLS)
    np.testing.assert_array_equal(counts.sum(axis=1), CELLS)
    chosen = axis.candidates(REGULATORS, 2)
    assert chosen.shape == (6, 3)
    total, drawn = np.zeros((REGULATORS, TARGETS)), np.zeros(REGULATORS)
    for own, w in zip(chosen, counts, strict=True):
        total[own] += exact(x[:, own], y, 0.7, weights=w)[0]
        drawn[own] += 1
    want = total / np.maximum(drawn, 1)[:, None]
    np.testing.assert_allclose(found.theta[0], want, rtol=1e-8, atol=1e-10)
    problem = found.plan.problem
    np.testing.assert_array_equal(found.statistics["bags_drawn"][0], drawn[problem.candidate])
    assert np.isnan(found.weights[0][drawn[problem.candidate] == 0]).all()


AXES = {
    "plain": lambda: squares(),
    "bags": lambda: unigrn.permuted(unigrn.bagging(squares(), 3), 2),
    "path": lambda: unigrn.path(unigrn.folds(lasso(), 3), "L1.strength", STRENGTHS, "heldout"),
    "stability": lambda: unigrn.stability(robust(), 3),
    "jackknife": lambda: unigrn.jackknife(lasso(), 3),
}


def contents(solution):
    """Every number of a solution, as bytes."""
    arrays = {"weights": solution.weights, "status": solution.status}
    arrays |= {"residual": solution.residual, "iterations": solution.iterations}
    arrays |= {f"s {k}": v for k, v in solution.statistics.items()}
    arrays |= {f"b {k}": np.asarray(v) for k, v in solution.blocks.items()}
    arrays |= {f"t {k}": v for k, v in solution.targets.items()}
    return {k: v.tobytes() for k, v in arrays.items()}


@pytest.mark.parametrize("name", list(AXES))
def test_a_seed_repeats_the_bytes_and_plans_and_solutions_travel(name):
    import pickle

    x, y = draw(39)
    found = axis_fit(AXES[name](), x, y, seed=7)
    want = contents(found)
    assert contents(axis_fit(AXES[name](), x, y, seed=7)) == want
    if name != "plain":
        assert contents(axis_fit(AXES[name](), x, y, seed=8)) != want
    plan = pickle.loads(pickle.dumps(found.plan))
    assert plan.explain() == found.plan.explain()
    assert contents(unigrn.fit(plan, seed=7)) == want
    copy = pickle.loads(pickle.dumps(found))
    assert contents(copy) == want and repr(copy) == repr(found)
    pd.testing.assert_frame_equal(copy.network().edges, found.network().edges)
    pd.testing.assert_frame_equal(copy.certificate, found.certificate)


# --------------------------------------------------------- a solver by name, or of one's own


def test_a_solver_can_be_asked_for_by_name():
    x, y = draw(40)
    for spec, names_of in (
        (Spec(PLAIN, ridge(0.7)), ("gradient (L-BFGS)", "proximal gradient on rows")),
        (squares(), ("closed form", "proximal gradient on moments", "gradient (L-BFGS)")),
    ):
        for name in names_of:
            found = solve(spec, x, y, solver=name, max_iterations=20_000)
            assert found.plan.solver.name == name == found.plan.provenance(0)["solver"]
            assert set(status(found)) == {CONVERGED}
            assert distance(found.theta, exact(x, y, 0.7)) < 1e-6


def by_normal_equations(share):
    """A solver as a user writes it; ``share`` of the way from 0 to the answer."""

    def solve_one(terms, view, prior, options):
        start = terms.start(view, prior)
        if view.moments is not None:
            gram, cross = view.moments.gram, view.moments.cross
        else:
            w = view.weight
            rows = w.reshape(-1, *[1] * (view.y.ndim - 1))
            x = view.x - (w @ view.x / w.sum())[None, :]
            y = view.y - jnp.sum(rows * view.y, axis=0, keepdims=True) / w.sum()
            gram, cross = x.T @ (w[:, None] * x), x.T @ (y * rows)
        eye = 0.7 * jnp.eye(gram.shape[0], dtype=gram.dtype)
        theta = share * jnp.linalg.solve(gram + eye, cross)
        return unigrn.Fit(
            start.replace(theta=theta), None, None, jnp.int32(1), jnp.zeros((), theta.dtype)
        )

    return solve_one


@pytest.mark.parametrize("reads", ["moments", "rows", "network"])
def test_a_solver_of_ones_own_is_certified_by_the_residual_of_the_problem(reads):
    x, y = draw(41)
    spec = squares()
    for share, word in ((1.0, CONVERGED), (0.75, LIMIT)):
        mine = unigrn.Solver("mine", reads, by_normal_equations(share))
        found = solve(spec, x, y, solver=mine)
        assert found.plan.solver is mine and found.plan.provenance(0)["solver"] == "mine"
        assert "solver: mine" in found.plan.explain()
        assert set(status(found)) == {word}
        assert distance(found.theta, share * exact(x, y, 0.7)) < 1e-9
        for t in range(TARGETS):
            b = found.theta[0, :, t]
            g = slope(x, y[:, t], b) + 1.4 * b
            if share < 1 and reads != "network":
                # The gradient of a quadratic falls in proportion, in whatever units.
                want = in_both_units(g, slope(x, y[:, t], 0 * b), x)
                assert found.residual[0, t] == pytest.approx(want, rel=1e-6)
                assert found.residual[0, t] == pytest.approx(0.25, rel=1e-6)
        if share < 1:
            assert found.residual.max() == pytest.approx(0.25, rel=1e-6)
            with pytest.raises(unigrn.ConvergenceError):
                found.require_converged()


def test_a_solver_of_ones_own_says_what_it_needs():
    x, y = draw(41)

    def no_prior(profile):
        return [] if profile.spec.prior is None else ["there is a prior"]

    need = unigrn.Requirement("no prior", no_prior)
    mine = unigrn.Solver("mine", "moments", by_normal_equations(1.0), (need,))
    assert set(status(solve(squares(), x, y, solver=mine))) == {CONVERGED}
    with pytest.raises(unigrn.PlanError, match="mine does not take.*no prior: there is a prior"):
        solve(squares().replace(prior=priced()), x, y, solver=mine)


# ------------------------------------------------------------------ one program, many data sets


def named(seed, cells, regulators, targets, label):
    x, y = draw(seed, cells, regulators, targets)
    sources = [f"{label}r{j}" for j in range(regulators)]
    genes = sources + [f"{label}y{t}" for t in range(targets)]
    return Data.from_arrays(np.c_[x, y], genes, dtype="float64"), sources, genes[regulators:]


PROGRAMS = {
    "closed form": lambda v, prior: Spec(
        least_squares(), ridge(v), unigrn.support() + unigrn.no_self(), prior, scale="regulators"
    ),
    "bags": lambda v, prior: unigrn.bagging(
        Spec(least_squares(), ridge(v), unigrn.support(), prior), bags=3, max_features=0.5 + v / 9
    ),
    "lasso": lambda v, prior: Spec(gaussian(v), l1(2 * v)),
    "evidence": lambda v, prior: Spec(unigrn.gaussian_evidence(1e-6 * v, 1e-3 * v)),
    "huber": lambda v, prior: Spec(huber(v), ridge(v)),
}


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_another_data_set_does_not_compile(name, count_compilations):
    # Padded sizes agree: 3 and 6 regulators and targets (8), 18 edges, 20 and 29 cells (32).
    for seed, (cells, q, p) in enumerate(((20, 6, 3), (29, 3, 6))):
        data, sources, targets = named(seed, cells, q, p, "ab"[seed])
        prior = Prior.from_edges(edges([(s, t) for s in sources for t in targets]))
        spec = PROGRAMS[name](1.0 + seed, prior)
        with count_compilations() as compiled:
            found = unigrn.fit(
                spec, data, seed, regulators=sources, targets=targets, max_iterations=500 + seed
            )
        assert np.isfinite(found.theta).all()
    assert compiled.total == 0, compiled.names


# ------------------------------------------------------------------ determinism

PAIRS = [(f"r{j}", f"y{t}") for t in range(TARGETS) for j in range(REGULATORS - t)]
GROUPS = np.array(["b", "a", "c"])[np.random.default_rng(5).integers(0, 3, 70)]


def bagged():
    return celloracle(Prior.from_edges(edges(PAIRS)), alpha=1.0, bags=3)


def same(one, other):
    """Every array of two solutions is equal, bit by bit."""
    for a, b in (
        (one.weights, other.weights),
        (one.residual, other.residual),
        (one.status, other.status),
        *((one.statistics[k], other.statistics[k]) for k in one.statistics),
    ):
        np.testing.assert_array_equal(a, b)


def fitted(matrix, spec=None, *, seed=3, reader=None, genes=None):
    genes = (
        [f"r{j}" for j in range(REGULATORS)] + [f"y{t}" for t in range(TARGETS)]
        if genes is None
        else genes
    )
    if reader is None:
        data = Data.from_arrays(matrix, genes, groups=GROUPS, dtype="float64")
    else:
        data = Data.from_blocks(len(matrix), genes, reader, groups=GROUPS, dtype="float64")
    return unigrn.fit(bagged() if spec is None else spec, data, seed)


@pytest.fixture(scope="module")
def counts():
    """Whole numbers, many of them 0, cells x genes."""
    rng = np.random.default_rng(6)
    x = rng.poisson(1.0, (len(GROUPS), REGULATORS))
    return np.c_[x, rng.poisson(1.0, (len(GROUPS), TARGETS)) + x[:, :TARGETS]]


def test_the_same_call_gives_the_same_arrays(counts):
    once, again = fitted(counts.astype(float)), fitted(counts.astype(float))
    same(once, again)
    assert not np.array_equal(fitted(counts.astype(float), seed=4).weights, once.weights)


def test_the_order_of_genes_does_not_matter(counts):
    genes = np.array([f"r{j}" for j in range(REGULATORS)] + [f"y{t}" for t in range(TARGETS)])
    order = np.random.default_rng(7).permutation(len(genes))
    moved = fitted(counts.astype(float)[:, order], genes=genes[order])
    plain = fitted(counts.astype(float))
    same(plain, moved)
    pd.testing.assert_frame_equal(plain.network().edges, moved.network().edges)


def test_the_order_of_cells_changes_rounding_only(counts):
    spec = Spec(least_squares(), ridge(0.7), unigrn.support(), Prior.from_edges(edges(PAIRS)))
    order = np.random.default_rng(8).permutation(len(GROUPS))
    genes = [f"r{j}" for j in range(REGULATORS)] + [f"y{t}" for t in range(TARGETS)]
    moved = Data.from_arrays(
        counts[order].astype(float), genes, groups=GROUPS[order], dtype="float64"
    )
    one, other = fitted(counts.astype(float), spec), unigrn.fit(spec, moved, 3)
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-10, atol=1e-12)


def chopped(monkeypatch, size):
    """Read the cells in blocks of ``size``."""
    read = Data.blocks
    monkeypatch.setattr(Data, "blocks", lambda self, columns: read(self, columns, size))


def test_how_the_matrix_is_stored_does_not_matter(counts, tmp_path):
    import anndata
    import scipy.sparse

    plain = fitted(counts.astype(float))
    for matrix in (
        counts,
        counts.astype(np.int16),
        counts.astype(np.float32),
        np.asfortranarray(counts),
        scipy.sparse.csr_matrix(counts),
        scipy.sparse.csc_matrix(counts.astype(float)),
        scipy.sparse.csr_array(counts),
    ):
        same(plain, fitted(matrix))
    genes = [f"r{j}" for j in range(REGULATORS)] + [f"y{t}" for t in range(TARGETS)]
    for number, matrix in enumerate(
        (counts.astype(float), scipy.sparse.csr_matrix(counts.astype(float)))
    ):
        path = tmp_path / f"{number}.h5ad"
        anndata.AnnData(
            matrix,
            pd.DataFrame({"g": GROUPS}, index=[f"c{i}" for i in range(70)]),
            pd.DataFrame(index=genes),
        ).write_h5ad(path)
        data = Data.from_anndata(path, groupby="g", dtype="float64")
        same(plain, unigrn.fit(bagged(), data, 3))


def test_how_the_cells_are_read_does_not_matter(counts, monkeypatch):
    matrix = counts.astype(float)
    plain = fitted(matrix)
    streamed = fitted(matrix, reader=lambda start, stop: matrix[start:stop])
    same(plain, streamed)
    chopped(monkeypatch, 9)
    for found in (fitted(matrix), fitted(matrix, reader=lambda a, b: matrix[a:b])):
        np.testing.assert_allclose(found.weights, plain.weights, rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(
            found.statistics["bags_drawn"], plain.statistics["bags_drawn"]
        )


def test_the_null_does_not_depend_on_how_the_cells_are_read(counts, monkeypatch):
    # A small group in a streamed file has a cell or two in each block: permuting those within
    # their block would leave them where they are, and the null would be the observed target.
    matrix = counts.astype(float)
    prior = Prior.from_edges(edges(PAIRS))
    spec = unigrn.permuted(Spec(least_squares(), ridge(0.7), unigrn.support(), prior), 3)
    plain = fitted(matrix, spec)
    chopped(monkeypatch, 2)
    streamed = fitted(matrix, spec, reader=lambda a, b: matrix[a:b])
    np.testing.assert_allclose(streamed.weights, plain.weights, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(streamed.statistics["fdr"], plain.statistics["fdr"], rtol=1e-8)


def test_values_that_are_not_finite_are_refused(counts):
    matrix = counts.astype(float)
    matrix[3, 2] = np.nan
    with pytest.raises(ValueError, match="1 genes? hold.* r2"):
        fitted(matrix)


# ------------------------------------------------------------------ LAPACK on threads that wait


def shrunk(params, data, prior):
    """A term of a user's that solves a system for every target."""
    gram = data.x.T @ data.x + jnp.eye(data.x.shape[1], dtype=data.x.dtype)
    return params.theta @ jnp.linalg.solve(gram, params.theta)


def test_programs_with_lapack_are_recognised_inside_loops_and_branches():
    square = jnp.eye(3)

    def looped(a):
        return jax.lax.fori_loop(0, 3, lambda i, b: jnp.linalg.cholesky(b), a)

    def branched(a):
        return jax.lax.cond(a[0, 0] > 0, lambda b: jnp.linalg.eigh(b)[1], lambda b: b, a)

    def lapack(f):
        return backend.uses_lapack(jax.make_jaxpr(f)(square).jaxpr)

    for f in (
        looped,
        branched,
        jax.jit(looped),
        lambda a: jax.vmap(branched)(a[None]),
        jax.grad(lambda a: jnp.linalg.slogdet(a)[1]),
    ):
        assert lapack(f)
    assert not any(
        map(
            lapack,
            (
                lambda a: a @ a,
                lambda a: jax.lax.while_loop(lambda b: b[0, 0] < 3, lambda b: b + 1, a),
                jnp.linalg.norm,
            ),
        )
    )


HANG = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, unigrn
from unigrn import Data, Prior, Spec, huber, regularizer, support
from unigrn.methods.celloracle import celloracle_bayesian
from test_solvers import shrunk

rng = np.random.default_rng(0)
cells, regulators, targets = 40, 30, 1000
names = [f"g{i}" for i in range(regulators + targets)]
data = Data.from_arrays(rng.normal(size=(cells, len(names))), names, dtype="float64")
prior = Prior.from_dict({t: list(rng.choice(names[:regulators], rng.integers(1, regulators),
                                            replace=False)) for t in names[regulators:]})
for _ in range(8):
    unigrn.fit(celloracle_bayesian(prior), data)
    unigrn.fit(Spec(huber(), regularizer(shrunk), support(), prior), data, max_iterations=3)
print("through")
"""


def test_fits_that_call_lapack_do_not_wait_for_each_other_for_ever():
    """XLA's threads that run LAPACK on batches side by side never come back (jaxlib 0.10)."""
    folder = Path(__file__).parent
    ran = subprocess.run(
        [sys.executable, "-c", HANG, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder.parent,
    )
    assert ran.stdout == "through\n", ran.stderr
