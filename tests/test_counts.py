"""Losses of counts, shares and quantiles as they are fitted: against scipy's minimisers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

import unigrn as u

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
