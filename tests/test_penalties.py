"""Penalties and sets as they are fitted: beside a mask, by name, and against closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import unigrn as u

pytestmark = pytest.mark.usefixtures("x64")

CELLS, Q, P = 40, 5, 4
REGULATORS, TARGETS = [f"r{j}" for j in range(Q)], [f"t{k}" for k in range(P)]
GROUPS = {"even": ["r0", "r2", "r4"], "odd": ["r1", "r3"]}


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(CELLS, Q))
    y = x @ rng.normal(size=(Q, P)) + rng.normal(size=(CELLS, P))
    on = rng.random((Q, P)) < 0.6
    on[:2] = True
    return x, y, on


def fitted(drawn, regularizer=None, constraint=None, masked=False):
    x, y, on = drawn
    j, k = np.nonzero(on)
    edges = pd.DataFrame({"source": np.take(REGULATORS, j), "target": np.take(TARGETS, k)})
    if masked:
        constraint = u.support() if constraint is None else u.support() + constraint
    spec = u.Spec(u.least_squares(), regularizer, constraint, prior=u.Prior.from_edges(edges))
    data = u.Data.from_arrays(np.c_[x, y], REGULATORS + TARGETS, dtype="float64")
    found = u.fit(spec, data, regulators=REGULATORS, targets=TARGETS)
    assert set(found.certificate["status"]) == {"converged"}
    return np.asarray(found.theta[0])


def slope_of(x, y, theta):
    """The gradient of the squares, the intercept at its best."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return -2 * x.T @ (y - x @ theta)


@pytest.mark.parametrize("term", [u.nuclear(1.0), u.rank(2)], ids=str)
def test_what_fills_deleted_entries_is_refused_beside_a_mask(drawn, term):
    slot = {term.kind: term}
    with pytest.raises(u.PlanError, match="fills entries that the constraint deletes"):
        fitted(drawn, **slot, masked=True)


def test_a_rank_is_reduced_rank_regression(drawn):
    x, y, _ = drawn
    theta = fitted(drawn, constraint=u.rank(2))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    full = np.linalg.lstsq(x, y, rcond=None)[0]
    right = np.linalg.svd(x @ full)[2][:2]
    np.testing.assert_allclose(theta, full @ right.T @ right, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_shares_meet_the_conditions_of_the_simplex(drawn, masked):
    x, y, on = drawn
    theta = fitted(drawn, constraint=u.simplex(1.5), masked=masked)
    on = on if masked else np.ones_like(on)
    g = slope_of(x, y, theta)
    np.testing.assert_allclose(theta.sum(axis=0), 1.5)
    assert (theta >= 0).all() and not theta[~on].any()
    for k in range(P):  # all used regulators have one slope, no other a lower one
        used = theta[:, k] > 0
        level = g[used, k].mean()
        np.testing.assert_allclose(g[used, k], level, atol=1e-5 * np.abs(g).max())
        assert (g[on[:, k], k] >= level - 1e-5 * np.abs(g).max()).all()


@pytest.mark.parametrize("masked", [False, True])
def test_equalities_are_met_on_the_candidates(drawn, masked):
    x, y, on = drawn
    theta = fitted(drawn, constraint=u.linear_equality({"r0": 1.0, "r1": -2.0}, 0.5), masked=masked)
    np.testing.assert_allclose(theta[0] - 2 * theta[1], 0.5)
    g, on = slope_of(x, y, theta), on if masked else np.ones_like(on)
    np.testing.assert_allclose(g[1], -2 * g[0], atol=1e-5 * np.abs(g[0]).max() + 1e-6)
    np.testing.assert_allclose(np.where(on, g, 0)[2:], 0, atol=1e-6)


def test_equalities_without_a_common_solution_are_no_fit(drawn):
    two = pd.DataFrame({"r0": [1.0, 2.0], "r1": [1.0, 2.0]})
    with pytest.raises(AssertionError, match="outside the constraint"):
        fitted(drawn, constraint=u.linear_equality(two, [1.0, 3.0]))


@pytest.mark.parametrize("masked", [False, True])
def test_groups_meet_their_conditions(drawn, masked):
    x, y, on = drawn
    theta = fitted(drawn, u.group_lasso(20.0, GROUPS), masked=masked)
    on, g = on if masked else np.ones_like(on), slope_of(x, y, theta)
    for members, k in ((m, k) for m in GROUPS.values() for k in range(P)):
        own = [int(r[1:]) for r in members if on[int(r[1:]), k]]
        size, price = np.linalg.norm(theta[own, k]), 20 * np.sqrt(len(own))
        if size > 0:
            np.testing.assert_allclose(g[own, k], -price * theta[own, k] / size, atol=1e-4)
        else:
            assert np.linalg.norm(g[own, k]) <= price * (1 + 1e-9)


@pytest.mark.parametrize("masked", [False, True])
def test_a_graph_of_regulators_is_solved_in_closed_form(drawn, masked):
    x, y, on = drawn
    term = u.graph_laplacian(
        7.0, [("r1", "r0"), ("r0", "r3", -0.5), ("r4", "elsewhere")], "regulators"
    )
    theta = fitted(drawn, term, masked=masked)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    for k in range(P):
        own = on[:, k] if masked else np.ones(Q, bool)
        matrix = np.zeros((Q, Q))
        for a, b, w in ((0, 1, 1.0), (0, 3, -0.5)):
            if own[a] and own[b]:
                row = np.zeros(Q)
                row[a], row[b] = 1, -np.sign(w)
                matrix += 7 * abs(w) * np.outer(row, row)
        gram = (x.T @ x + matrix)[np.ix_(own, own)]
        np.testing.assert_allclose(theta[own, k], np.linalg.solve(gram, x[:, own].T @ y[:, k]))


def test_a_pull_meets_its_network_halfway(drawn):
    x, y, _ = drawn
    network = pd.DataFrame({"source": ["r0", "r9"], "target": ["t1", "t1"], "weight": [2.0, 5.0]})
    theta = fitted(drawn, u.pull(7.0, network))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    centre = np.zeros((Q, P))
    centre[0, 1] = 2.0
    want = np.linalg.solve(x.T @ x + 7 * np.eye(Q), x.T @ y + 7 * centre)
    np.testing.assert_allclose(theta, want)


@pytest.mark.parametrize(
    ("term", "why"),
    [
        (lambda: u.group_lasso(1.0, {"g": ["r0"]}), "no value for 4 regulators"),
        (lambda: u.pull(1.0, pd.DataFrame([[1.0]], ["r0"], ["other"])), "no value for 4 targets"),
        (lambda: u.graph_laplacian(1.0, [("a", "b")]), "no value for 4 targets"),
        (lambda: u.prior_elastic_net(1.0, mapping="logistic", slopes={"atac": 1}), "'atac'"),
    ],
)
def test_names_of_another_problem_are_refused(drawn, term, why):
    with pytest.raises(ValueError, match=why):
        fitted(drawn, term())
