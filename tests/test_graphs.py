"""Precision matrices of all groups at once: against duals and limits worked out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import unigrn as u
from unigrn import Data, PlanError
from unigrn.ladder import select
from unigrn.methods.graphical_lasso import graphical_lasso
from unigrn.status import Status
from unigrn.verify import check_spec
from unigrn.verify.claims.lineages import _precisions
from unigrn.verify.claims.whole import _by_columns

pytestmark = pytest.mark.usefixtures("x64")

GROUPS = ("a", "b", "c")
SIZES = (30, 14, 60)
GENES = [f"g{i}" for i in range(5)]
TREE = {"b": "a", "c": "a"}


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(7)
    mix = np.eye(5) + 0.6 * rng.normal(size=(5, 5))
    return rng.normal(size=(sum(SIZES), 5)) @ mix


def data_of(values, dtype="float64"):
    groups = np.repeat(GROUPS, SIZES).tolist()
    return Data.from_arrays(values, GENES, groups=groups, dtype=dtype)


def covariances(values):
    group = np.repeat(np.arange(3), SIZES)
    values = values / values.std(axis=0)
    return np.array([np.cov(values[group == g].T, bias=True) for g in range(3)])


def fitted(values, spec, dtype="float64", **options):
    return u.fit(u.plan(spec, data_of(values, dtype), **options))


def objective(theta, S, strength, fusion):
    """Of all pairs of groups."""
    off = ~np.eye(5, dtype=bool)
    value = sum(np.sum(a * b) - np.linalg.slogdet(a)[1] for a, b in zip(theta, S, strict=True))
    apart = sum(np.abs(theta[a] - theta[b]).sum() for a, b in ((0, 1), (0, 2), (1, 2)))
    return value + strength * np.abs(theta[:, off]).sum() + fusion * apart


@pytest.mark.parametrize(("strength", "fusion"), [(0.1, 0.05), (0.3, 0.02), (0.0, 0.1)])
def test_all_pairs_of_groups_are_fused_as_the_dual_says(values, strength, fusion):
    found = fitted(values, graphical_lasso(None, strength, fusion=fusion))
    assert found.plan.solver.name == "splitting of precision matrices across groups"
    assert (found.status == Status.CONVERGED).all()
    moves, most = [], []
    for i, j in zip(*np.triu_indices(5), strict=True):
        pair = np.zeros((5, 5))
        pair[i, j] = pair[j, i] = 1
        ways = [*np.eye(3), np.r_[1, -1, 0], np.r_[1, 0, -1], np.r_[0, 1, -1]]
        moves += [way[:, None, None] * pair for way in ways]
        most += [strength * (i != j)] * 3 + [fusion] * 3
    S = covariances(values)
    want = _precisions(S, np.array(moves), np.array(most))
    np.testing.assert_allclose(found.theta, want, atol=1e-7 * np.abs(want).max())
    np.testing.assert_array_equal(found.theta, np.swapaxes(found.theta, 1, 2))
    value = np.asarray(found.targets["objective"])
    np.testing.assert_allclose(value, objective(want, S, strength, fusion), rtol=1e-9)


def test_far_fused_groups_share_one_graph(values):
    found = fitted(values, graphical_lasso(None, 0.1, fusion=50.0, tree=TREE))
    price = 0.1 * ~np.eye(5, dtype=bool)
    want = _by_columns(covariances(values).mean(axis=0), price)
    for theta in found.theta:
        np.testing.assert_allclose(theta, want, atol=1e-7)
        np.testing.assert_array_equal(theta, found.theta[0])


def test_hardly_fused_groups_are_fitted_by_themselves(values):
    alone, found = (fitted(values, graphical_lasso(None, 0.1, fusion=f)) for f in (0.0, 1e-9))
    assert alone.plan.solver.name == "proximal Newton on a precision matrix"
    np.testing.assert_allclose(found.theta, alone.theta, atol=1e-6)
    score = found.statistics["score"]
    np.testing.assert_allclose(score, alone.statistics["score"], atol=1e-6)


def test_the_residual_bounds_how_far_the_objective_is_from_its_least(values):
    spec = graphical_lasso(None, 0.1, fusion=0.05)
    best = fitted(values, spec, tolerance=1e-12).targets["objective"][0, 0]
    S, gaps = covariances(values), []
    for most in (10, 20, 30, 40):
        found = fitted(values, spec, tolerance=1e-12, max_iterations=most)
        assert (found.status == Status.MAX_ITERATIONS).all()
        value = objective(found.theta, S, 0.1, 0.05)
        gaps.append(value - best)
        assert gaps[-1] <= found.residual.max() * (1 + abs(value))
    assert gaps[0] > 1e-9


def test_what_has_no_minimum_does_not_converge(values):
    same = values.copy()
    same[:, 3] = same[:, 2]
    found = fitted(same, graphical_lasso(None, 0.0, fusion=0.1), max_iterations=500)
    assert (found.status == Status.MAX_ITERATIONS).all()
    found = fitted(same, graphical_lasso(None, 0.1, fusion=0.1))
    assert (found.status == Status.CONVERGED).all()


def test_a_gene_that_does_not_vary_in_one_group_has_no_edges(values):
    still = values.copy()
    still[: SIZES[0], 2] = 1.5
    found = fitted(still, graphical_lasso(None, 0.1, fusion=0.05))
    others = np.arange(5) != 2
    assert not found.theta[:, 2].any() and not found.theta[:, :, 2].any()
    assert (found.theta[:, others][:, :, others].diagonal(0, 1, 2) > 0).all()


def test_single_precision_is_solved_in_double(values):
    spec = graphical_lasso(None, 0.1, fusion=0.05)
    found, want = (fitted(values, spec, dtype) for dtype in ("float32", "float64"))
    assert (found.status == Status.CONVERGED).all() and found.theta.dtype == np.float32
    np.testing.assert_allclose(found.theta, want.theta, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: u.bagging(s, 3), "axis of fits of one group"),
        (lambda s: s.replace(constraint=u.positive_definite(0.1)), "has no definite"),
        (lambda s: s.replace(regularizer=u.ridge(1.0) + u.fused(0.1)), "has no absolute"),
        (lambda s: s.replace(gauge=lambda params, data, prior: params), "a gauge"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    with pytest.raises(PlanError) as refused:
        select(change(graphical_lasso(None, 0.1, fusion=0.1)))
    lacking = refused.value.ladder["splitting of precision matrices across groups"]
    assert words in "; ".join(lacking)


def test_a_tree_needs_a_price(values):
    with pytest.raises(ValueError, match="fusion=0"):
        graphical_lasso(None, tree=TREE)
    with pytest.raises(ValueError, match="in one piece|no value for"):
        fitted(values, graphical_lasso(None, fusion=0.1, tree={"b": "a"}))


def test_the_plan_counts_what_all_groups_need(values):
    one, all_groups = (
        u.plan(graphical_lasso(None, fusion=f), data_of(values)).memory() for f in (0.0, 0.1)
    )
    assert all_groups["compiled calls"] > one["compiled calls"] == 0
    assert "all networks at once" in _refusal(values)


def _refusal(values):
    from unigrn.certify import check_certifiable

    with pytest.raises(PlanError) as refused:
        check_certifiable(u.plan(graphical_lasso(None, fusion=0.1), data_of(values)))
    return str(refused.value)


@pytest.mark.slow
def test_the_method_keeps_what_its_terms_promise():
    report = check_spec("graphical_lasso", examples=5, fusion=0.1)
    assert report, str(report)
