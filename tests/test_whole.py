"""Methods that take the whole network at once: precision matrices, matchings, acyclic graphs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import unigrn
from unigrn import (
    Blocks,
    Data,
    PlanError,
    Prior,
    Spec,
    Sweeps,
    acyclic,
    acyclicity,
    gaussian_graph,
    l1,
    least_squares,
    no_self,
    pair_l1,
    positive_definite,
    ridge,
)
from unigrn.methods import get
from unigrn.terms import PriorView, View
from unigrn.verify import check_spec

GENES = [f"g{k:02d}" for k in range(12)]


def expression(cells=40, genes=12, seed=0):
    rng = np.random.default_rng(seed)
    mix = np.eye(genes) + 0.5 * rng.normal(size=(genes, genes)) * (rng.random((genes, genes)) < 0.2)
    return rng.normal(size=(cells, genes)) @ mix


def data_of(values, **more):
    return Data.from_arrays(values, GENES[: values.shape[1]], **{"dtype": "float64", **more})


def some_prior():
    edges = {"source": GENES[:4], "target": GENES[4:8], "weight": [0.5, 1.0, 3.0, 1.0]}
    return Prior.from_edges(pd.DataFrame(edges))


def optimal(theta, S, price):
    """By how much the conditions of the optimum of -log det + tr + sum price |theta| are missed."""
    slope = S - np.linalg.inv(theta)
    on = np.abs(slope + price * np.sign(theta))
    return np.where(theta != 0, on, np.maximum(np.abs(slope) - price, 0)).max()


@pytest.mark.parametrize("cells, strength", [(40, 0.1), (8, 0.05), (300, 0.01), (40, 2.0)])
@pytest.mark.parametrize("prior", [None, "some"])
def test_the_graphical_lasso_meets_the_conditions_of_its_optimum(cells, strength, prior):
    values = expression(cells)
    prior = prior and some_prior()
    found = unigrn.fit(get("graphical_lasso").function(prior, strength, 0.3), data_of(values))
    assert found.converged.all() and found.residual.max() <= 1e-9
    theta = found.theta[0]
    price = np.full((12, 12), strength) * (1 - np.eye(12))
    if prior:
        for (a, b), w in zip([(0, 4), (1, 5), (2, 6), (3, 7)], [0.5, 1, 1, 1], strict=True):
            price[a, b] = price[b, a] = strength * (1 - 0.7 * w)
    assert optimal(theta, np.corrcoef(values.T), price) < 1e-8
    np.testing.assert_array_equal(theta, theta.T)
    assert np.linalg.eigvalsh(theta)[0] > 0
    edges = found.network().edges
    assert (edges.source != edges.target).all()
    root = np.sqrt(np.diag(theta))
    for row in edges.head(4).itertuples():
        i, j = GENES.index(row.source), GENES.index(row.target)
        assert row.partial_correlation == pytest.approx(-theta[i, j] / (root[i] * root[j]))
        assert row.score == abs(row.partial_correlation)


def test_it_agrees_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.covariance")
    values = expression(60)
    want = sklearn.graphical_lasso(np.corrcoef(values.T), 0.1, tol=1e-9, enet_tol=1e-10)[1]
    found = unigrn.fit(get("graphical_lasso").function(None, 0.1), data_of(values))
    np.testing.assert_allclose(found.theta[0], want, atol=1e-6)


def test_without_a_penalty_it_is_the_inverse_or_refuses_to_say_converged():
    values = expression(60)
    found = unigrn.fit(get("graphical_lasso").function(None, 0.0), data_of(values))
    np.testing.assert_allclose(found.theta[0], np.linalg.inv(np.corrcoef(values.T)), atol=1e-7)
    few = unigrn.fit(
        get("graphical_lasso").function(None, 0.0), data_of(values[:8]), max_iterations=300
    )
    assert not few.converged.any()  # fewer cells than genes: no minimum is attained


def test_genes_that_do_not_vary_have_no_part_in_it():
    values = expression()
    values[:, 3] = 7.0
    found = unigrn.fit(get("graphical_lasso").function(None), data_of(values))
    assert found.certificate.status[3] == "target is constant"
    assert not found.theta[0][3].any() and not found.theta[0][:, 3].any()
    rest = np.delete(np.arange(12), 3)
    own = unigrn.fit(
        get("graphical_lasso").function(None), data_of(values), targets=[GENES[i] for i in rest]
    )
    np.testing.assert_allclose(found.theta[0][np.ix_(rest, rest)], own.theta[0], atol=1e-7)


def test_a_multiple_and_a_sum_of_log_dets_is_solved():
    values = expression()
    S = np.cov(values.T, bias=True)
    spec = Spec(2 * gaussian_graph() + gaussian_graph(), l1(0.2) + pair_l1(0.1))
    found = unigrn.fit(spec, data_of(values))
    assert found.converged.all()
    price = 0.2 + 0.1 * (1 - np.eye(12))
    assert optimal(found.theta[0], S, price / 3) < 1e-7


def test_groups_and_single_precision():
    values = expression(80)
    groups = np.repeat(["a", "b"], 40)
    spec = get("graphical_lasso").function(None, 0.2)
    both = unigrn.fit(spec.replace(scale=None), data_of(values, groups=groups))
    for g in (0, 1):
        own = unigrn.fit(spec.replace(scale=None), data_of(values[40 * g : 40 * g + 40]))
        np.testing.assert_allclose(both.theta[g], own.theta[0], atol=1e-8)
    single = unigrn.fit(spec, data_of(values, dtype="float32"))
    double = unigrn.fit(spec, data_of(values))
    assert single.converged.all()
    np.testing.assert_allclose(single.theta, double.theta, atol=1e-4)


def test_regulators_are_the_targets():
    spec, data = get("graphical_lasso").function(some_prior()), data_of(expression())
    found = unigrn.fit(spec, data, targets=GENES[2:6])
    assert found.theta.shape == (1, 4, 4)
    with pytest.raises(ValueError, match="regulators that are the targets themselves"):
        unigrn.fit(spec, data, regulators=GENES[:2], targets=GENES[2:6])


@pytest.mark.parametrize(
    "change, lacks",
    [
        ({"constraint": positive_definite() + no_self()}, "no definite"),
        ({"constraint": positive_definite(0.1)}, "joint prox"),
        ({"regularizer": pair_l1(0.1) + ridge(0.1)}, "joint prox"),
        ({"constraint": no_self()}, "fills entries that the constraint deletes"),
    ],
)
def test_what_is_not_solved_is_refused(change, lacks):
    spec = get("graphical_lasso").function(None).replace(**change)
    with pytest.raises((PlanError, ValueError), match=lacks):
        unigrn.fit(spec, data_of(expression()))


def test_a_floor_of_eigenvalues_is_met_by_projection():
    values = expression()
    spec = Spec(0.5 * least_squares(mean=True), ridge(0.1), positive_definite(0.3))
    found = unigrn.fit(spec, data_of(values))
    assert found.converged.all()
    theta = found.theta[0]
    assert np.linalg.eigvalsh(theta)[0] >= 0.3 - 1e-9
    np.testing.assert_allclose(theta, theta.T, atol=1e-12)
    S = np.cov(values.T, bias=True)
    slope = S @ theta - S + 0.2 * theta
    slope = (slope + slope.T) / 2
    values, vectors = np.linalg.eigh(theta - slope)
    moved = (vectors * np.maximum(values, 0.3)) @ vectors.T
    np.testing.assert_allclose(moved, theta, atol=1e-7)


def test_the_projection_is_the_nearest_definite_matrix_and_leaves_padding():
    rng = np.random.default_rng(0)
    v = np.zeros((6, 6))
    v[:4, :4] = rng.normal(size=(4, 4))
    mask = np.zeros((6, 6), bool)
    mask[:4, :4] = True
    prior = PriorView(mask, mask * 1.0, mask * 1, mask & np.eye(6, dtype=bool), mask)
    term = positive_definite(0.2)
    found = np.asarray(term.project(v, prior))
    values, vectors = np.linalg.eigh((v[:4, :4] + v[:4, :4].T) / 2)
    np.testing.assert_allclose(
        found[:4, :4], (vectors * np.maximum(values, 0.2)) @ vectors.T, atol=1e-6
    )
    assert not found[4:].any() and not found[:, 4:].any()
    assert float(term(Blocks(theta=found), View(), prior)) < 1e-6
    assert float(term(Blocks(theta=v), View(), prior)) > 0.1


def test_the_prox_of_pairs_is_a_soft_threshold():
    rng = np.random.default_rng(1)
    v, weight = rng.normal(size=(4, 4)), np.diag(np.ones(3), 1)
    yes = np.ones((4, 4), bool)
    prior = PriorView(weight > 0, weight, (weight > 0) * 1, np.eye(4, dtype=bool), yes)
    amount = 0.5 * 0.4 * (1 - 0.7 * np.maximum(weight, weight.T)) * (1 - np.eye(4))
    want = np.sign(v) * np.maximum(np.abs(v) - amount, 0)
    np.testing.assert_allclose(pair_l1(0.4, 0.3).prox(v, 0.5, View(), prior), want, atol=1e-6)


def test_its_terms_pass_the_checks():
    assert check_spec(get("graphical_lasso").function(some_prior()), examples=6)


@pytest.mark.parametrize(
    "make", [lambda: pair_l1(-1), lambda: pair_l1(1, 1.5), lambda: positive_definite(-0.1)]
)
def test_wrong_numbers_are_refused(make):
    with pytest.raises(ValueError, match="strength|bias|floor"):
        make()


# ------------------------------------------------------------------ OTTER

FACTORS, TARGETS = GENES[:3], GENES[3:]


def motifs(seed=0):
    known = np.random.default_rng(seed).random((3, 9)) < 0.5
    i, j = np.nonzero(known)
    table = {"source": [FACTORS[k] for k in i], "target": [TARGETS[k] for k in j]}
    return known * 1.0, Prior.from_edges(pd.DataFrame(table))


def test_stationary_otter_descends_to_where_its_gradient_is_0():
    known, prior = motifs()
    values = expression()
    P = np.eye(3) + 0.3
    table = pd.DataFrame(P, index=FACTORS, columns=FACTORS)
    shuffled = table.loc[FACTORS[::-1], FACTORS[::-1]]
    spec = get("otter").function(prior, shuffled, shrinkage=0.01, steps="stationary")
    found = unigrn.fit(spec, data_of(values), targets=TARGETS)
    assert found.converged.all()
    C = np.corrcoef(values[:, 3:].T) / 9
    W, W0, P = found.theta[0], known / np.linalg.norm(known), P / np.trace(P)
    pull = 0.965 * P @ W + 0.035 * W @ C
    assert np.abs(W @ W.T @ W - pull + 0.01 * W).max() < 1e-8

    def cost(W):
        match = 0.965 * ((W @ W.T - P) ** 2).sum() + 0.035 * ((W.T @ W - C) ** 2).sum()
        return match + 0.02 * (W**2).sum()

    assert cost(W) < cost(W0)
    assert found.targets["objective"][0, 0] == pytest.approx(cost(W))


def test_released_otter_says_that_it_ended_by_its_own_number_of_steps():
    known, prior = motifs()
    found = unigrn.fit(get("otter").function(prior), data_of(expression()), targets=TARGETS)
    assert set(found.certificate.status) == {
        "ended after the method's own number of sweeps, before it converged"
    }
    assert found.iterations.max() == 60 and found.residual.min() > 0.01
    moved = np.abs(found.theta[0] - known / np.linalg.norm(known))
    assert 1e-5 < moved.max() < 1e-3  # sixty steps of 1e-5 each
    fewer = unigrn.fit(
        get("otter").function(prior), data_of(expression()), targets=TARGETS, max_iterations=10
    )
    assert not fewer.converged.any()


def test_a_network_that_shrinks_to_0_is_not_called_converged():
    _, prior = motifs()
    spec = get("otter").function(prior, shrinkage=1.0, steps="stationary")
    found = unigrn.fit(spec, data_of(expression()), targets=TARGETS)
    assert np.abs(found.theta).max() < 1e-3 and not found.converged.any()


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"steps": "few"}, "released or stationary"),
        ({"coexpression": 1.5}, "between 0 and 1"),
        ({"count": 0}, "count"),
        ({"length": 0}, "weight"),
    ],
)
def test_wrong_settings_of_otter_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        get("otter").function(None, **wrong)


def test_steps_of_adam_are_declared_alone():
    _, prior = motifs()
    spec = get("otter").function(prior)
    for sweeps in (Sweeps(spec.sweeps.steps, 60), Sweeps(spec.sweeps.steps * 2, 60, None, None)):
        with pytest.raises(PlanError, match="Adam"):
            unigrn.plan(spec.replace(sweeps=sweeps), data_of(expression()), targets=TARGETS)
    with pytest.raises(PlanError):
        unigrn.plan(spec.replace(regularizer=l1(0.1)), data_of(expression()), targets=TARGETS)
    assert "declared steps of Adam" in unigrn.plan(spec, data_of(expression())).explain()
    assert "corrections 1 late" in str(spec.sweeps.steps[0])


# ------------------------------------------------------------------ acyclic networks


def cascade(genes=8, cells=400, seed=0):
    """Expression of a random cascade whose genes stand in no order, and its edges."""
    rng = np.random.default_rng(seed)
    edges = np.triu(rng.uniform(0.6, 1.4, (genes, genes)) * (rng.random((genes, genes)) < 0.3), 1)
    place = rng.permutation(genes)
    edges = edges[np.ix_(place, place)] * rng.choice([-1, 1], (genes, genes))
    return edges, rng.normal(size=(cells, genes)) @ np.linalg.inv(np.eye(genes) - edges)


def reach(edges):
    """Which genes a path of edges leads to."""
    out = edges != 0
    for _ in range(len(edges)):
        out = out | ((out.astype(int) @ out.astype(int)) > 0)
    return out


@pytest.mark.parametrize("seed", [0, 1])
def test_a_cascade_is_found_and_certified(seed):
    edges, values = cascade(seed=seed)
    found = unigrn.fit(get("dagma").function(None, 0.05, scale=None), data_of(values))
    theta = found.theta[0]
    assert found.converged.all() and "central path" in found.plan.solver.name
    assert not np.diagonal(reach(theta)).any()
    h = -np.linalg.slogdet(np.eye(8) - theta**2)[1]
    assert abs(h) <= 1e-8
    assert ((np.abs(theta) > 0.3) == (edges != 0)).all()
    # Where no path leads back, the conditions of the lasso hold.
    x = values - values.mean(axis=0)
    slope = x.T @ (x @ theta - x) / len(x)
    on = np.abs(slope + 0.05 * np.sign(theta))
    miss = np.where(theta != 0, on, np.maximum(np.abs(slope) - 0.05, 0))
    may = ~reach(theta).T & ~np.eye(8, dtype=bool)
    assert miss[may].max() < 1e-7


def test_a_mask_and_a_prior_are_kept():
    edges, values = cascade()
    i, j = np.nonzero(edges)
    some = pd.DataFrame({"source": [GENES[k] for k in i], "target": [GENES[k] for k in j]})
    prior = Prior.from_edges(some.iloc[:-1])
    found = unigrn.fit(
        get("dagma").function(prior, 0.02, mask=True), data_of(values), regulators=GENES[:8]
    )
    assert found.converged.all()
    assert not found.theta[0][(edges == 0)].any() and not found.theta[0][i[-1], j[-1]]
    cyclic = Prior.from_edges(
        pd.concat([some, some.rename(columns={"source": "target", "target": "source"})])
    )
    both = unigrn.fit(
        get("dagma").function(cyclic, 0.02, mask=True), data_of(values), regulators=GENES[:8]
    )
    assert both.converged.all() and not np.diagonal(reach(both.theta[0])).any()


def test_acyclicity_as_a_penalty_makes_cycles_weak():
    _, values = cascade()
    data = data_of(values)
    loss = 0.5 * least_squares(mean=True)
    still = []
    for strength in (0.0, 1.0, 100.0):
        spec = Spec(loss, l1(0.05) + acyclicity(strength, "trace"), no_self(), scale="standard")
        found = unigrn.fit(spec, data)
        theta = found.theta[0]
        still.append(np.trace(np.linalg.matrix_power(np.abs(theta), 2)))
    assert still[0] > still[1] > still[2] and still[2] < 0.5 * still[0]


@pytest.mark.parametrize("form", ["log det", "trace"])
def test_the_measures_of_cycles_are_their_formulas(form):
    rng = np.random.default_rng(3)
    theta = 0.3 * rng.normal(size=(5, 5))
    term = acyclicity(0.7, form, 1.3)
    yes = np.ones((5, 5), bool)
    prior = PriorView(yes, yes * 1.0, yes * 1, np.eye(5, dtype=bool), yes)
    got = float(term(Blocks(theta=theta), View(), prior))
    squares = theta**2
    if form == "trace":
        want, power = 0.0, np.eye(5)
        for k in range(1, 30):
            power = power @ squares / k
            want += np.trace(power)
    else:
        want = 5 * np.log(1.3) - np.log(np.linalg.det(1.3 * np.eye(5) - squares))
        assert np.isnan(float(term(Blocks(theta=9 * theta), View(), prior)))
    assert got == pytest.approx(0.7 * want, rel=1e-4)
    upper = np.triu(9 * theta, 1)
    assert abs(float(term(Blocks(theta=upper), View(), prior))) < 1e-3


def test_the_distance_from_acyclic_networks_is_the_strongest_cycle():
    theta = np.zeros((4, 4))
    theta[0, 1], theta[1, 2], theta[2, 0], theta[2, 3] = 3, -0.5, 2, 9
    value = lambda t: float(acyclic()(Blocks(theta=t), View(), None))  # noqa: E731
    assert value(theta) == 0.5
    theta[1, 0] = 1.0
    assert value(theta) == 1.0
    assert value(np.triu(np.ones((4, 4)), 1)) == 0 and value(np.eye(4)) == 1


@pytest.mark.parametrize(
    "change, lacks",
    [
        ({"loss": unigrn.huber()}, "acyclic networks of a quadratic loss"),
        ({"loss": unigrn.gaussian()}, "acyclic networks of a quadratic loss"),
        ({"constraint": acyclic() + unigrn.budget(3)}, "not that of acyclic networks"),
    ],
)
def test_other_acyclic_problems_are_refused(change, lacks):
    spec = get("dagma").function(None).replace(**change)
    with pytest.raises(PlanError) as refusal:
        unigrn.plan(spec, data_of(expression()))
    ladder = refusal.value.ladder["central path to an acyclic network"]
    assert any(lacks in line for line in ladder)


def test_acyclic_terms_pass_the_checks():
    assert check_spec(get("dagma").function(some_prior()), examples=6)
    soft = Spec(0.5 * least_squares(mean=True), acyclicity(0.1, "trace"), no_self())
    assert check_spec(soft, examples=6)
    with pytest.raises(ValueError, match="no prior"):
        get("dagma").function(None, mask=True)
