"""Losses of counts, shares and quantiles as they are fitted: against scipy's minimisers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

import unigrn as u
from unigrn.verify.claims import counted

pytestmark = pytest.mark.usefixtures("x64")

CELLS, Q, P = 60, 3, 3
REGULATORS, TARGETS = [f"r{j}" for j in range(Q)], [f"t{k}" for k in range(P)]
ALPHA = np.array([0.3, 0.6, 1.0])
GROUPS = {"a": slice(0, 40), "b": slice(40, CELLS)}


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    x, depth = rng.normal(size=(CELLS, Q)), rng.uniform(0.5, 3, CELLS)
    eta = np.log(depth)[:, None] + 0.3 + x @ (0.5 * rng.normal(size=(Q, P)))
    return x, rng.poisson(np.exp(eta)).astype(float), depth


def of_data(x, y, depth):
    names = ["a"] * 40 + ["b"] * 20
    data = u.Data.from_arrays(np.c_[x, y], REGULATORS + TARGETS, groups=names, dtype="float64")
    return data.with_extra(depth=depth)


def poisson(y, eta, k):
    return -stats.poisson.logpmf(y, np.exp(eta)).sum()


def negative_binomial(y, eta, k):
    r = 1 / ALPHA[k]
    return -stats.nbinom.logpmf(y, r, r / (r + np.exp(eta))).sum()


def logistic(y, eta, k):
    return -np.where(y > 1, stats.logistic.logcdf(eta), stats.logistic.logsf(eta)).sum()


def check(y, eta, k):
    """The rounded check function, piece by piece."""
    r, h, tau = y - eta, 0.5, 0.3
    up, down = tau * r - h * tau**2 / 2, (tau - 1) * r - h * (1 - tau) ** 2 / 2
    return np.where(r > h * tau, up, np.where(r < h * (tau - 1), down, r**2 / (2 * h))).sum()


LOSSES = {
    "poisson": (lambda: u.poisson("depth"), poisson, True),
    "negative binomial": (
        lambda: u.negative_binomial(u.along(ALPHA, "targets", names=TARGETS), "depth"),
        negative_binomial,
        True,
    ),
    "logistic": (lambda: u.logistic(1.0), logistic, False),
    "quantile": (lambda: u.quantile(0.3, 0.5), check, False),
}
PENALTIES = {
    "ridge": (lambda: u.ridge(1.0), lambda t: t @ t),
    "l1": (lambda: u.l1(2.0), lambda t: 2 * np.abs(t).sum()),
}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", LOSSES)
def test_a_fit_is_the_minimum_of_each_target_in_each_group(drawn, name, penalty):
    (term, loss, sized), (regularizer, price) = LOSSES[name], PENALTIES[penalty]
    x, y, depth = drawn
    spec = u.Spec(term(), regularizer())
    fitted = u.fit(spec, of_data(x, y, depth), regulators=REGULATORS, targets=TARGETS)
    assert set(fitted.certificate["status"]) == {"converged"}
    for g, cells in enumerate(GROUPS.values()):
        offset = np.log(depth[cells]) if sized else 0.0
        for k in range(P):

            def total(z, cells=cells, offset=offset, k=k):
                eta = offset + z[0] + x[cells] @ z[1:]
                return loss(y[cells, k], eta, k) + price(z[1:])

            got = total(np.r_[fitted.blocks["intercept"][g][k], fitted.theta[g][:, k]])
            start = np.zeros(Q + 1)
            options = {"xtol": 1e-10, "ftol": 1e-13, "maxfev": 10**5, "maxiter": 10**5}
            best = optimize.minimize(total, start, method="Powell", options=options).fun
            assert got <= best + 1e-8 * (1 + abs(best))


def test_a_cell_without_a_size_is_no_fit(drawn):
    x, y, depth = drawn
    data = of_data(x, y, np.where(np.arange(CELLS) == 3, 0, depth))
    spec = u.Spec(u.poisson("depth"), u.ridge(1.0))
    table = u.fit(spec, data, regulators=REGULATORS, targets=TARGETS).certificate
    status = table.groupby("group")["status"].unique().map(list).to_dict()
    assert status == {"a": ["failed: not finite"], "b": ["converged"]}


def test_sizes_that_the_data_do_not_bring_are_asked_for(drawn):
    spec = u.Spec(u.negative_binomial(size="library"), u.ridge(1.0))
    with pytest.raises(u.PlanError, match=r"library.*with_extra"):
        u.fit(spec, of_data(*drawn), regulators=REGULATORS, targets=TARGETS)


def test_the_rounded_quantile_lies_below_the_check_function_by_at_most_what_is_said():
    r, level, width = np.linspace(-3, 3, 601), 0.3, 0.4
    near = np.clip(r / width, level - 1, level)
    rounded = near * r - width * near**2 / 2
    gap = np.maximum(level * r, (level - 1) * r) - rounded
    assert -1e-15 <= gap.min()
    assert math.isclose(gap.max(), width * max(level, 1 - level) ** 2 / 2)


# --- poisson_glm: counts as they come -------------------------------------------------------------


@pytest.mark.parametrize("masked", [True, False])
def test_a_poisson_regression_with_l1_is_its_original(masked):
    for cells in (20, 3):
        example = counted.Counted(seed=5, cells=cells, odd="silent target", weighted=True)
        got = counted.fitted(example, alpha=0.7, strength=4.0, masked=masked)
        want = counted.twin(example, 0.7, 4.0, masked)
        assert np.abs(got - want).max() <= 1e-6
        assert (got[:, 3] == 0).all()
        zero = (want == 0) & (counted.twin(example, 0.7, 0.0, masked) != 0)
        assert (got[zero] == 0).all() and zero.any()  # the penalty is at work


NAMES = ["r0", "r1", "t0", "t1"]
EDGES = {"t0": ["r0", "r1"], "t1": ["r0", "r1"]}


def counts(cells, seed=0):
    return np.random.default_rng(seed).poisson(3.0, (cells, 4)) + 1.0


def glm(values, prior=EDGES, genes=NAMES, groups=None, extra=None, **hyper):
    data = u.Data.from_arrays(values, genes, dtype="float64", groups=groups)
    data = data.with_extra(**extra) if extra else data
    prior = u.Prior.from_dict(prior)
    return u.fit(u.methods.get("poisson_glm").function(prior, **hyper), data)


@pytest.mark.parametrize(
    ("cell", "value", "said"),
    [
        (2, 1.5, r"needed counts.*got 1\.5 for t0 in cell 3.*--layer"),
        (0, -2.0, r"needed counts.*got -2 for t0 in cell 1"),
        (1, np.nan, "1 genes hold NaN or infinite values, e.g. t0"),
    ],
)
def test_what_is_no_count_is_refused_in_one_line(cell, value, said):
    values = counts(6)
    values[cell, 2] = value
    with pytest.raises(ValueError, match=said) as error:
        glm(values)
    assert "\n" not in str(error.value)


def test_cells_without_a_count_are_refused():
    values = counts(6)
    values[[1, 4]] = 0
    with pytest.raises(
        ValueError, match=r"2 of 6 cells have no count at all, e\.g\. cell '2', '5'"
    ):
        glm(values)


def test_a_prior_none_of_whose_regulators_is_measured_is_refused():
    with pytest.raises(ValueError, match="x0"):
        glm(counts(6), {"t0": ["x0"]})


def test_a_ridge_of_zero_is_refused():
    with pytest.raises(ValueError, match="alpha must be > 0"):
        u.methods.get("poisson_glm").function(None, alpha=0.0)


@pytest.mark.parametrize("cells", [1, 2, 40])
def test_few_cells_and_constant_genes_end_in_an_answer(cells):
    values = counts(cells)
    values[:, 1] = 0
    values[:, 2] = 0
    found = glm(values)
    status = dict(zip(found.certificate["target"], found.certificate["status"], strict=True))
    assert status["t0"] == "target is constant" and status["t1"] in (
        "converged",
        "target is constant",
    )
    assert np.isfinite(found.theta).all() and (found.theta[0][:, 0] == 0).all()
    # Log-normalised expression of a silent regulator is 0 in every cell.
    assert found.theta[0][1, 1] == 0


def test_groups_and_sparse_matrices_have_the_sizes_of_all_cells():
    from scipy import sparse

    values = counts(30)
    groups = ["b", "a", "b"] * 10
    found = glm(values, groups=groups)
    again = glm(sparse.csr_matrix(values), groups=groups)
    assert np.array_equal(found.theta, again.theta)
    size = values.sum(axis=1) / values.sum(axis=1).mean()
    own = glm(values, groups=groups, extra={"library": size})
    assert np.abs(own.theta - found.theta).max() <= 1e-9
    other = glm(values, groups=groups, extra={"library": np.ones(30)})
    assert np.abs(other.theta - found.theta).max() > 1e-3


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_target_at_the_end_of_its_loss_has_no_edge(drawn, end):
    x, y, depth = drawn
    y = np.c_[np.full(CELLS, end), y[:, 1] > 0, y[:, 2] > 0]
    spec = u.Spec(u.logistic(), u.ridge(1.0))
    fitted = u.fit(spec, of_data(x, y, depth), regulators=REGULATORS, targets=TARGETS)
    assert (fitted.theta[:, :, 0] == 0).all() and (fitted.theta[:, :, 1:] != 0).all()
    assert set(fitted.certificate["status"]) == {"converged", "target is constant"}


def test_such_a_target_has_the_edges_that_a_penalty_pulls_to(drawn):
    x, y, depth = drawn
    y = np.c_[np.zeros(CELLS), y[:, 1:]]
    wanted = u.along(np.ones((Q, P)), "regulators", "targets", names=[REGULATORS, TARGETS])
    spec = u.Spec(u.poisson(), u.pull(1.0, wanted))
    fitted = u.fit(spec, of_data(x, y, depth), regulators=REGULATORS, targets=TARGETS)
    assert np.abs(fitted.theta[:, :, 0] - 1).max() < 1e-3
