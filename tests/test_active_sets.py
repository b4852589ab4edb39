"""Active sets on moments: every answer judged by its optimality conditions, in NumPy."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import unigrn
from unigrn import Data, PlanError, Spec, box, gaussian, l1, least_squares, nonnegative, ridge
from unigrn.run.separable import chains_of
from unigrn.solvers import active_sets, linear
from unigrn.status import Status

REGULATORS, TARGETS = 12, 5
NAME = "active sets on moments"


def draw(kind="plain", cells=40, seed=0):
    """Regulators and targets of one kind."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(cells, REGULATORS))
    if kind == "repeated":
        x[:, 6:] = x[:, :6]
    elif kind == "alike":
        x += 6 * rng.normal(size=(cells, 1))
    elif kind == "units":
        x *= 10.0 ** rng.integers(-3, 4, size=REGULATORS)
    elif kind == "constant":
        x[:, :4] = 3.0
    theta = rng.normal(size=(REGULATORS, TARGETS)) / np.maximum(x.std(axis=0), 1e-9)[:, None]
    y = x @ theta + rng.normal(size=(cells, TARGETS))
    y[:, -1] = 1.0
    return x, y


def solve(spec, x, y, dtype="float64", **options):
    names = [f"r{j:02d}" for j in range(REGULATORS)], [f"t{t}" for t in range(TARGETS)]
    data = Data.from_arrays(np.c_[x, y], sum(names, []), dtype=dtype)
    return unigrn.fit(spec, data, regulators=names[0], targets=names[1], **options)


def off(x, y, theta, price=0.0, alpha=0.0, low=-np.inf, high=np.inf):
    """How far theta is from minimising |y - x theta|^2 + price |theta|_1 + alpha |theta|^2.

    By the directional derivatives of every coefficient, relative to the largest slope at 0.
    """
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    slope = 2 * x.T @ (x @ theta - y) + 2 * alpha * theta
    rise = slope + np.where(theta >= 0, price, -price)
    fall = -slope + np.where(theta <= 0, price, -price)
    worst = np.maximum(
        np.where(theta < high, np.maximum(-rise, 0), 0),
        np.where(theta > low, np.maximum(-fall, 0), 0),
    )
    assert (theta >= low).all() and (theta <= high).all()
    return (worst.max(axis=0) / np.maximum(np.abs(2 * x.T @ y).max(axis=0), 1e-9)).max()


def prices(x, y, count=9, least=1e-4):
    top = 2 * np.abs((x - x.mean(axis=0)).T @ (y - y.mean(axis=0))).max()
    return top * np.geomspace(1, least, count)


@pytest.mark.parametrize("kind", ["plain", "repeated", "alike", "units", "constant", "few cells"])
def test_every_penalty_of_a_path_is_solved_exactly(kind):
    """In any order, down to a ten-thousandth, with more regulators than cells too."""
    x, y = draw(kind, cells=8 if kind == "few cells" else 40)
    values = np.random.default_rng(1).permutation(prices(x, y))
    spec = unigrn.path(Spec(least_squares(), l1(1.0)), "L1.strength", values, choose=None)
    found = solve(spec, x, y)
    assert found.plan.solver.name == NAME
    assert set(found.status.ravel()) <= {Status.CONVERGED, Status.CONSTANT_TARGET}
    edges = []
    for value in np.sort(values):
        theta = found.statistics[f"weight[{value:g}]"].reshape(TARGETS, REGULATORS).T
        assert off(x, y, theta, value) < 1e-8, value
        edges.append(int((theta != 0).sum()))
    assert edges[0] > 10 and edges[-1] <= 1  # at the largest slope itself rounding decides


@pytest.mark.parametrize(
    ("penalty", "constraint", "more"),
    [
        (l1(6.0) + ridge(3.0), None, {"price": 6.0, "alpha": 3.0}),
        (l1(2.0), box(-0.3, 0.2), {"price": 2.0, "low": -0.3, "high": 0.2}),
        (None, nonnegative(), {"low": 0.0}),
        (l1(6.0) + l1(1.0), nonnegative() + box(0.0, 0.4), {"price": 7.0, "low": 0.0, "high": 0.4}),
    ],
    ids=["elastic net", "bounds", "signs alone", "sums"],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ridges_and_bounds_are_exact_beside_it(penalty, constraint, more, dtype):
    x, y = draw("alike")
    x = x / x.std(axis=0)
    spec = Spec(least_squares(), penalty, constraint)
    found = solve(spec, x, y, dtype)
    assert found.plan.solver.name == NAME
    theta = found.theta[0].astype(np.float64)
    if dtype == "float32":
        more = {k: float(np.float32(v)) for k, v in more.items()}
    assert off(x, y, theta, **more) < (1e-8 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize(
    ("penalty", "constraint"),
    [(l1(9.0), None), (unigrn.elastic_net(4.0, 2.0), None), (l1(3.0), box(-0.2, 0.3))],
    ids=["lasso", "elastic net", "bounds"],
)
def test_every_solver_that_accepts_gives_the_same_objective(penalty, constraint):
    x, y = draw()
    spec = Spec(least_squares(), penalty, constraint)
    names = (NAME, "proximal gradient on moments", "proximal gradient on rows")
    values = [
        solve(spec, x, y, solver=name, max_iterations=20_000).targets["objective"][0]
        for name in names
    ]
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], rtol=1e-6, atol=1e-6)


def test_steps_that_do_not_succeed_are_cut(monkeypatch):
    """With a single round for a step the way to every problem has to be gone in short ones."""
    x, y = draw("alike")
    values = prices(x, y, 3, 1e-3)
    spec = unigrn.path(Spec(least_squares(), l1(1.0)), "L1.strength", values, choose=None)
    jax.clear_caches()
    whole = solve(spec, x, y)
    monkeypatch.setattr(active_sets, "TRIAL", 2)
    jax.clear_caches()
    cut = solve(spec, x, y)
    jax.clear_caches()
    for value in values:
        theta = cut.statistics[f"weight[{value:g}]"].reshape(TARGETS, REGULATORS).T
        assert off(x, y, theta, value) < 1e-8
    assert cut.iterations.max() != whole.iterations.max()  # another way to the same points


def test_rounds_are_limited_and_what_is_not_solved_says_so():
    x, y = draw("alike")
    found = solve(Spec(least_squares(), l1(1.0)), x, y, max_iterations=1)
    assert Status.MAX_ITERATIONS in found.status
    wrong = found.status.ravel() == Status.MAX_ITERATIONS
    assert (found.residual.ravel()[wrong] > 1e-9).all()


def test_bags_of_a_path_are_each_solved():
    """Members of other cells are chains of their own; within a chain the penalties follow."""
    x, y = draw()
    values = prices(x, y, 4, 1e-2)
    inner = unigrn.bagging(Spec(least_squares(), l1(1.0)), bags=3)
    whole = solve(unigrn.path(inner, "L1.strength", values, choose=None), x, y)
    for value in values:
        alone = solve(unigrn.bagging(Spec(least_squares(), l1(value)), bags=3), x, y)
        shown = whole.statistics[f"weight[{value:g}]"]
        np.testing.assert_allclose(shown, alone.weights, atol=1e-9)


def test_chains_are_the_members_of_one_kind():
    kind = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])
    np.testing.assert_array_equal(chains_of(kind), [[1, 3], [0, 2]])


def test_what_it_does_not_take_goes_to_the_next_rung():
    x, y = draw()
    for spec in (
        Spec(least_squares(intercept=False), l1(1.0)),
        Spec(least_squares(), unigrn.l0(1.0)),
    ):
        with pytest.raises(PlanError, match="active sets"):
            solve(spec, x, y, solver=NAME)
        assert solve(spec, x, y).plan.solver.name == "proximal gradient on moments"
    assert solve(Spec(gaussian(2.0), l1(1.0)), x, y).plan.solver.name == NAME


def test_right_hand_sides_can_be_given_to_gathered_systems():
    rng = np.random.default_rng(2)
    a = rng.normal(size=(20, 8))
    gram = (a.T @ a)[None]
    index = np.array([[1, 4, 6], [0, 2, 0]], np.int32)
    valid = np.array([3, 2], np.int32)
    right = rng.normal(size=(2, 3))
    zero = np.zeros(2, np.int32)
    with jax.enable_x64(True):
        found = linear.solve_gathered(gram, right, index, valid, zero, zero, 0.5)
    for x, at, count, b in zip(found.x, index, valid, right, strict=True):
        at, b = at[:count], b[:count]
        want = np.linalg.solve(gram[0][np.ix_(at, at)] + 0.5 * np.eye(count), b)
        np.testing.assert_allclose(x[:count], want, rtol=1e-10)
        assert (np.asarray(x[count:]) == 0).all()
