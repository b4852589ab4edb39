"""Methods in which network, interactions and coexpression speak to each other."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import unigrn
from unigrn import Blocks, Data, Loss, PlanError, Prior, Spec, pytree
from unigrn.certify import check_certifiable
from unigrn.ladder import LADDER
from unigrn.methods import get
from unigrn.terms import Iterates, PriorView, View
from unigrn.verify import check_spec, equivalent

FACTORS, TARGETS = ["a", "b", "c"], [f"t{k}" for k in range(6)]
KNOWN = np.random.default_rng(0).random((3, 6)) < 0.5


def prior_of_known():
    i, j = np.nonzero(KNOWN)
    table = {"source": [FACTORS[k] for k in i], "target": [TARGETS[k] for k in j]}
    return Prior.from_edges(pd.DataFrame(table))


def expression(cells=20, seed=0):
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(size=(cells, 3)))
    return np.c_[values, values @ (KNOWN * rng.normal(size=(3, 6))) + 3 + rng.random((cells, 6))]


def data_of(values, dtype="float64", **more):
    return Data.from_arrays(values, [*FACTORS, *TARGETS], dtype=dtype, **more)


INTERACTIONS = pd.DataFrame(np.eye(3) + 0.5, index=FACTORS, columns=FACTORS)


# ------------------------------------------------------------------ GIRAFFE


def cost(theta, A, values, P, weights, unit):
    """The five terms of the formula, one cell and one pair at a time."""
    y = values[:, 3:] / (np.linalg.norm(values[:, 3:]) if unit else 1)
    P, C = P / np.trace(P), np.corrcoef(values[:, 3:].T) / 6
    terms = [
        sum(((y[c] - theta.T @ A[:, c]) ** 2).sum() for c in range(len(y))),
        sum((theta[i] @ theta[j] - P[i, j]) ** 2 for i in range(3) for j in range(3)),
        sum((theta[:, i] @ theta[:, j] - C[i, j]) ** 2 for i in range(6) for j in range(6)),
        sum((A[i] @ A[j] - P[i, j]) ** 2 for i in range(3) for j in range(3)),
        (theta**2).sum(),
    ]
    return np.dot(weights, terms)


@pytest.mark.parametrize("unit", [True, False])
def test_giraffe_ends_where_no_small_move_lowers_the_formula(unit):
    values, weights = expression(), (1.0, 0.4, 0.3, 2.0, 0.1)
    table = INTERACTIONS.loc[FACTORS[::-1], FACTORS[::-1]] if unit else None
    spec = get("giraffe").function(prior_of_known(), table, weights, unit)
    found = unigrn.fit(spec, data_of(values), targets=TARGETS, max_iterations=30000)
    assert found.converged.all() and "proximal gradient" in found.plan.solver.name
    theta, A = found.theta[0], found.blocks["A"][0]
    given = (values, INTERACTIONS.to_numpy() if unit else np.eye(3), weights, unit)
    here = cost(theta, A, *given)
    assert found.targets["objective"][0, 0] == pytest.approx(here)
    assert (A >= 0).all() and (A == 0).any() == unit
    rng = np.random.default_rng(1)
    for step in 1e-4 * rng.choice([-1, 1], (20, theta.size + A.size)):
        move = step[: theta.size].reshape(theta.shape), step[theta.size :].reshape(A.shape)
        near = cost(theta + move[0], np.maximum(A + move[1], 0), *given)
        assert near > here - 1e-9 * (1 + here)


def test_giraffe_in_single_precision_and_the_best_of_its_starts():
    values = expression()
    ends = [
        unigrn.fit(
            get("giraffe").function(prior_of_known(), runs=runs), data_of(values, dtype), seed=3
        )
        for runs, dtype in ((1, "float64"), (1, "float32"), (4, "float64"))
    ]
    assert all(f.converged.all() for f in ends)
    np.testing.assert_allclose(ends[1].theta, ends[0].theta, atol=1e-4)
    assert ends[2].targets["objective"].max() <= ends[0].targets["objective"].max() + 1e-9


def test_a_fit_cut_short_is_not_called_converged():
    found = unigrn.fit(
        get("giraffe").function(prior_of_known()), data_of(expression()), max_iterations=5
    )
    assert not found.converged.any()


def test_giraffe_passes_the_checks():
    assert check_spec(get("giraffe").function(prior_of_known()), examples=6)


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"weights": (1, 2, 3)}, "five numbers"),
        ({"weights": (1, 1, -1, 1, 1)}, "weights.2."),
        ({"weights": 2.0}, "five numbers"),
        ({"runs": 0}, "runs"),
    ],
)
def test_wrong_settings_of_giraffe_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        get("giraffe").function(None, **wrong)


# ------------------------------------------------------------------ PANDA

RESTS = "fixed point of the method's map, which minimises nothing"
SHORT = "not converged: iteration limit"


def panda(**more):
    return get("panda").function(prior_of_known(), INTERACTIONS, **more)


def words(solution):
    return set(solution.certificate.status)


def test_panda_rests_at_a_fixed_point_and_has_no_objective():
    found = unigrn.fit(panda(), data_of(expression()), targets=TARGETS)
    assert words(found) == {RESTS} and "converged" not in RESTS
    assert 5e-4 < found.residual.max() <= 1e-3 and found.iterations.min() > 5
    assert np.isnan(found.targets["objective"]).all()
    assert found.block("interactions").index.tolist() == FACTORS
    assert found.block("coexpression").shape == (6, 6)
    # Whose next step would move it as little as its last: it is the map's own rest.
    finer = unigrn.fit(panda(tolerance=1e-6), data_of(expression()), targets=TARGETS)
    assert words(finer) == {RESTS} and finer.iterations.min() > found.iterations.max()
    assert 1e-5 < np.abs(finer.theta - found.theta).max() < 0.05


def test_panda_cut_short_is_at_no_fixed_point():
    found = unigrn.fit(panda(), data_of(expression()), targets=TARGETS, max_iterations=4)
    assert words(found) == {SHORT} and found.residual.min() > 1e-3
    assert not found.converged.any()


def test_panda_counts_cells_by_their_weights_and_groups_apart():
    values, times = expression(), np.random.default_rng(2).integers(1, 4, 20)
    weighted = unigrn.fit(panda(), data_of(values, weights=1.0 * times), targets=TARGETS)
    repeated = unigrn.fit(panda(), data_of(np.repeat(values, times, axis=0)), targets=TARGETS)
    np.testing.assert_allclose(weighted.theta, repeated.theta, atol=1e-9)
    other = expression(seed=5)
    both = data_of(np.r_[values, other], groups=["u"] * 20 + ["v"] * 20)
    apart = unigrn.fit(panda(), both, targets=TARGETS)
    for group, alone in enumerate((values, other)):
        one = unigrn.fit(panda(), data_of(alone), targets=TARGETS)
        np.testing.assert_allclose(apart.theta[group], one.theta[0], atol=1e-9)
    single = unigrn.fit(panda(), data_of(values, "float32"), targets=TARGETS)
    exact = unigrn.fit(panda(), data_of(values), targets=TARGETS)
    np.testing.assert_allclose(single.theta, exact.theta, atol=1e-4)


def test_a_prior_whose_edges_are_all_alike_is_no_start():
    table = {"source": np.repeat(FACTORS, 6), "target": TARGETS * 3}
    spec = get("panda").function(Prior.from_edges(pd.DataFrame(table)))
    found = unigrn.fit(spec, data_of(expression()), targets=TARGETS)
    assert words(found) == {"failed: not finite"} and not found.converged.any()


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda spec: unigrn.folds(spec, 4), "folds judges by the loss"),
        (lambda spec: unigrn.consensus(spec, 3), "without an objective none of them is better"),
        (lambda spec: unigrn.consensus(spec, 3, best=True), "without an objective none"),
        (lambda spec: unigrn.permuted(spec), "permuted copies"),
        (lambda spec: unigrn.bagging(spec), "draws candidates"),
        (lambda spec: spec.replace(regularizer=unigrn.ridge(1.0)), "beside a map"),
        (lambda spec: spec.replace(constraint=unigrn.support()), "beside a map"),
        (lambda spec: spec.replace(loss=2 * spec.loss), "not multiplied by a number"),
        (lambda spec: spec.replace(loss=spec.loss + unigrn.least_squares()), "a map without one"),
        (lambda spec: spec.replace(start=None), "has no start"),
        (lambda spec: spec.replace(sweeps=unigrn.Sweeps()), "sweeps that the spec declares"),
        (lambda spec: spec.replace(minibatch=unigrn.Minibatch()), "minibatches"),
        (lambda spec: spec.replace(columns=(unigrn.drop_one(),)), "no column"),
    ],
)
def test_what_a_map_has_no_use_for_is_refused(change, says):
    with pytest.raises(PlanError, match=says):
        unigrn.plan(change(panda()), data_of(expression()), targets=TARGETS)


def test_no_other_solver_takes_a_map():
    spec, data = panda(), data_of(expression())
    took = []
    for rung in LADDER:
        try:
            unigrn.plan(spec, data, targets=TARGETS, solver=rung.name)
            took.append(rung.name)
        except PlanError:
            continue
    assert took == ["declared iteration without an objective"]
    assert "nothing is minimised" in unigrn.plan(spec, data).explain()
    with pytest.raises(PlanError, match="no map of the blocks"):
        ridge = Spec(unigrn.least_squares(), unigrn.ridge(1.0))
        unigrn.plan(ridge, data, solver=took[0])


def test_nothing_asks_a_map_for_a_value():
    spec, data = panda(), data_of(expression())
    assert str(spec).startswith("iterate_") and str(spec).endswith("(no objective)")
    with pytest.raises(TypeError, match="no value"):
        spec.objective(Blocks(theta=np.zeros((3, 6))), View(), PriorView(*[None] * 5))
    with pytest.raises(TypeError, match="without an objective"):
        equivalent(spec, spec)
    with pytest.raises(PlanError, match="no objective says"):
        check_certifiable(unigrn.plan(spec, data))
    with pytest.raises(ValueError, match="a tolerance of its own"):
        unigrn.plan(spec, data, tolerance=1e-3)
    with pytest.raises(ValueError, match="ebic"):
        unigrn.fit(unigrn.path(spec, "Messages.alpha", [0.1, 0.2]), data)
    mask = np.ones((3, 6), bool)
    prior = PriorView(mask, mask * 1.0, mask * 1, ~mask, mask)
    with pytest.raises(PlanError, match="a map without one"):
        unigrn.solve(spec.replace(columns=()), View(x=np.ones((4, 3)), y=np.ones((4, 6))), prior)


def test_ways_that_do_without_an_objective_are_taken():
    data = data_of(expression())
    parts = unigrn.fit(unigrn.stability(panda(), 3), data, targets=TARGETS)
    assert words(parts) == {RESTS} and (parts.statistics["frequency"] == 1).all()
    every = unigrn.path(panda(), "Messages.alpha", (0.1, 0.3), choose=None)
    columns = unigrn.fit(every, data, targets=TARGETS).statistics
    for alpha in (0.1, 0.3):
        one = unigrn.fit(panda(alpha=alpha), data, targets=TARGETS)
        np.testing.assert_allclose(columns[f"weight[{alpha}]"], one.weights, atol=1e-9)
    looser = unigrn.path(panda(), "Messages.tolerance", (1e-3, 1e-1), choose=None)
    columns = unigrn.fit(looser, data, targets=TARGETS).statistics
    one = unigrn.fit(panda(tolerance=1e-1), data, targets=TARGETS)
    np.testing.assert_allclose(columns["weight[0.1]"], one.weights, atol=1e-9)


@pytree
class Towards(Loss):
    """theta <- factor theta + 1 - factor: rests at 1 for factors below 1."""

    factor: float

    separable = None
    weighted = True
    iterates = property(lambda self: Iterates(self.step, 1e-8))

    def step(self, params, number, data, prior):
        moved = self.factor * params.theta + (1 - self.factor)
        return params.replace(theta=moved), jnp.max(jnp.abs(moved - params.theta))


@pytest.mark.parametrize(
    "factor, ends", [(0.5, RESTS), (-1.0, SHORT), (-2e9, "failed: not finite")]
)
def test_a_map_of_ones_own_ends_as_it_does(factor, ends):
    data = data_of(expression())
    found = unigrn.fit(Spec(Towards(factor)), data, targets=TARGETS, regulators=FACTORS)
    assert words(found) == {ends}
    if ends is RESTS:
        np.testing.assert_allclose(found.theta, 1, atol=1e-7)


def test_panda_passes_what_can_be_checked():
    report = check_spec("panda", examples=3)
    assert report and "fixed point" in str(report)


@pytest.mark.parametrize(
    "wrong, says",
    [({"alpha": 0}, "alpha"), ({"alpha": 1.5}, "at most 1"), ({"tolerance": 0}, "tolerance")],
)
def test_wrong_settings_of_panda_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        get("panda").function(None, **wrong)
