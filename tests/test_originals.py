from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests import more_originals as more
from tests.support import KEY, compare_links, more_cells_than_regulators, read_case
from unigrn.verify import originals as o

SHAPES = [(50, 10), (80, 41), (8, 12), (101, 5), (30, 1), (30, 2)]
CASES = ["edge_cases", "three_clusters"]


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    """Many small systems: further threads only wait for each other on a busy machine."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    with threadpool_limits(1, user_api="blas"):
        yield


def problem(n, p, seed=0, noise=0.5):
    """Correlated, shifted regulators and a target that a few of them drive."""
    r = np.random.default_rng(seed)
    X = r.normal(size=(n, p)) @ (np.eye(p) + 0.3 * r.normal(size=(p, p)) / np.sqrt(p)) + 2.0
    b = r.normal(size=p) * (r.random(p) < 0.5)
    return X, X @ b + noise * r.normal(size=n) + 1.0


def small_table(seed=0, n=40):
    """Three groups, eight genes; the prior names itself, strangers and duplicates."""
    r = np.random.default_rng(seed)
    genes = [f"g{j}" for j in range(8)]
    E = np.maximum(r.normal(size=(n, 8)) + r.normal(size=(n, 1)) + 0.5, 0.0)
    groups = np.array(["b", "a", "10", "b"])[np.arange(n) % 4]
    prior = {
        "g0": ["g3", "g1", "g2", "g1", "nowhere"],
        "g1": ["g1"],
        "g2": ["g2", "g7", "g4"],
        "g5": ["g6", "g2", "g0"],
        "g6": ["g5", "g1"],
        "stranger": ["g1"],
        "g7": [],
    }
    return E, genes, prior, groups


# ------------------------------------------------------------------ bags


@pytest.mark.parametrize(
    ("p", "features", "rows"),
    [
        (10, [9, 7, 1, 3, 2, 5, 0, 6], [26, 28, 10, 10, 6, 34]),
        (11, [10, 9, 3, 6, 1, 2, 7, 5], [10, 10, 6, 34, 4, 17]),
        (1, [0], [4, 24, 0, 26, 47, 1]),
    ],
)
def test_first_bag_of_fifty_cells_is_the_recorded_one(p, features, rows):
    f, i = o.released_bag_indices(50, p, 20)
    assert f[0].tolist() == features
    assert i[0, : len(rows)].tolist() == rows


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_bags_and_coefficients_are_those_of_scikit_learn(n, p):
    from sklearn.ensemble import BaggingRegressor
    from sklearn.linear_model import Ridge

    X, y = problem(n, p)
    model = BaggingRegressor(
        Ridge(alpha=10.0, solver="auto", random_state=123),
        n_estimators=20,
        bootstrap=True,
        max_features=0.8,
        random_state=123,
    ).fit(X, y)
    features, rows = o.released_bag_indices(n, p, 20)
    assert_array_equal(features, model.estimators_features_)
    assert_array_equal(rows, model.estimators_samples_)
    expected = np.full((20, p), np.nan)
    for b, fitted in enumerate(model.estimators_):
        expected[b, model.estimators_features_[b]] = fitted.coef_
    ours = o.celloracle_bags(X, y, alpha=10.0, bags=20)
    assert_allclose(ours, expected, rtol=0, atol=1e-9 * np.nanmax(np.abs(expected)))


def test_fewer_bags_are_the_first_of_many_and_rows_depend_on_regulators():
    few, many = o.released_bag_indices(30, 10, 5), o.released_bag_indices(30, 10, 20)
    assert_array_equal(few[0], many[0][:5])
    assert_array_equal(few[1], many[1][:5])
    assert (o.released_bag_indices(30, 11, 5)[1] != few[1]).any()


def test_integer_weights_are_rows_repeated():
    X, y = problem(40, 6)
    C = o.celloracle_bags(X, y, alpha=3.0, bags=4)
    features, rows = o.released_bag_indices(40, 6, 4)
    for b in range(4):
        repeated = o.ridge(X[np.ix_(rows[b], features[b])], y[rows[b]], 3.0)
        assert_allclose(C[b, features[b]], repeated, rtol=1e-11)


# ------------------------------------------------------------------ statistics


def test_statistics_are_those_of_the_t_test():
    from scipy.stats import ttest_1samp

    r = np.random.default_rng(3)
    C = r.normal(size=(20, 30)) + r.normal(size=30)
    C[r.random(C.shape) < 0.3] = np.nan
    mean, p, m = o.celloracle_statistics(C)
    for j in range(30):
        drawn = C[~np.isnan(C[:, j]), j]
        assert_allclose(mean[j], drawn.mean(), rtol=1e-13)
        assert_allclose(p[j], ttest_1samp(drawn, 0).pvalue, rtol=1e-10)
        assert m[j] == len(drawn)


def test_statistics_of_degenerate_columns():
    nan = np.nan
    C = np.array([[0.0, 2.0, 1.5, nan], [0.0, 2.0, nan, nan], [nan, 2.0, nan, nan]])
    mean, p, m = o.celloracle_statistics(C)
    assert_array_equal(mean, [0.0, 2.0, 1.5, nan])
    assert_array_equal(p, [nan, 0.0, nan, nan])
    assert_array_equal(m, [2, 3, 1, 0])


@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([-1e3, -1.0, 1e-3, 7.0]))
def test_statistics_follow_the_scale(seed, factor):
    r = np.random.default_rng(seed)
    C = r.normal(size=(12, 9)) + r.normal(size=9)
    C[r.random(C.shape) < 0.4] = np.nan
    mean, p, m = o.celloracle_statistics(C)
    mean_scaled, p_scaled, m_scaled = o.celloracle_statistics(factor * C)
    assert_allclose(mean_scaled, factor * mean, rtol=1e-12)
    assert_allclose(p_scaled, p, rtol=1e-9)
    assert_array_equal(m_scaled, m)


# ------------------------------------------------------------------ Bayesian ridge


@pytest.mark.parametrize(("n", "p"), [(50, 10), (80, 41), (12, 12), (101, 5), (30, 1), (8, 12)])
@pytest.mark.parametrize("seed", [0, 1])
def test_bayesian_ridge_is_that_of_scikit_learn(n, p, seed):
    from scipy.stats import norm
    from sklearn.linear_model import BayesianRidge

    X, y = problem(n, p, seed)
    model = BayesianRidge().fit(X, y)
    fit = o.bayesian_ridge(X, y)
    # A near-perfect fit (n <= p) divides by a residual of rounding size.
    rtol = 1e-8 if n > p else 1e-5
    assert fit.iterations == model.n_iter_
    assert_allclose(fit.coefficients, model.coef_, rtol=0, atol=rtol * np.abs(model.coef_).max())
    if n > p:
        assert_allclose(fit.variance, np.diag(model.sigma_), rtol=1e-8)
        sd = np.sqrt(np.diag(model.sigma_))
        assert_allclose(fit.p, 2 * norm.cdf(0, np.abs(model.coef_), sd), rtol=1e-6)
        assert_allclose([fit.noise_precision, fit.weight_precision], [model.alpha_, model.lambda_])


@pytest.mark.parametrize(("n", "p"), [(40, 6), (8, 12)])
def test_full_variance_inverts_the_precision_and_thin_misses_the_unseen(n, p):
    X, y = problem(n, p, noise=3.0)
    full, thin = o.bayesian_ridge(X, y), o.bayesian_ridge(X, y, variance="thin")
    a, lam = full.noise_precision, full.weight_precision
    Xc = X - X.mean(axis=0)
    assert_allclose(full.variance, np.diag(np.linalg.inv(a * Xc.T @ Xc + lam * np.eye(p))), 1e-6)
    unseen = np.diag(np.eye(p) - np.linalg.pinv(Xc) @ Xc) / lam
    if n > p:
        assert_allclose(thin.variance, full.variance, rtol=1e-10)
    else:
        assert (thin.variance < 0.999 * full.variance).any()
        # The thin SVD of n centred cells keeps one direction of singular value zero.
        assert (thin.variance + unseen >= full.variance * (1 - 1e-9)).all()


def test_constant_regulator_and_constant_target():
    X, y = problem(40, 5)
    X[:, 2] = 0.1
    fit = o.bayesian_ridge(X, y)
    assert fit.coefficients[2] == 0 and fit.p[2] == 1
    assert_allclose(fit.variance[2], 1 / fit.weight_precision, rtol=1e-12)
    fit = o.bayesian_ridge(X, np.full(40, 0.1))
    assert_array_equal(fit.coefficients, 0)
    assert_array_equal(fit.p, 1)
    C = o.celloracle_bags(X, np.full(40, 0.1), 10.0, 20)
    assert_array_equal(C[~np.isnan(C)], 0)
    C = o.celloracle_bags(X, y, 10.0, 20)[:, 2]
    assert_array_equal(C[~np.isnan(C)], 0)


@pytest.mark.parametrize(("n", "p"), [(40, 6), (8, 12)])
@pytest.mark.parametrize("h", [1e-6, 0.3])
def test_evidence_gradient_is_the_slope_of_the_objective(n, p, h):
    X, y = problem(n, p)
    r = np.random.default_rng(5)
    b, a, lam = r.normal(size=p), 0.7, 1.9
    db, da, dl = o.evidence_gradient(X, y, b, a, lam, h)
    at = np.concatenate([b, [a, lam]])
    for j, slope in enumerate([*db, da, dl]):
        step = 1e-6 * np.eye(p + 2)[j]
        up, down = (
            o.evidence_objective(X, y, v[:p], v[p], v[p + 1], h) for v in (at + step, at - step)
        )
        assert_allclose((up - down) / 2e-6, slope, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize(("n", "p"), [(40, 6), (80, 41)])
def test_evidence_fixed_point_is_stationary(n, p):
    X, y = problem(n, p)

    def slopes(fit):
        a, lam = fit.noise_precision, fit.weight_precision
        db, da, dl = o.evidence_gradient(X, y, fit.coefficients, a, lam)
        pull = 2 * a * np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max()
        return np.abs(db).max() / pull, abs(a * da) / n, abs(lam * dl) / p

    tight = o.bayesian_ridge(X, y, tolerance=1e-13, max_iterations=10_000)
    assert tight.converged
    assert max(slopes(tight)) < 1e-10
    loose = o.bayesian_ridge(X, y, tolerance=1e-1)
    assert max(slopes(loose)) > 1e3 * max(slopes(tight))
    off = tight._replace(weight_precision=1.01 * tight.weight_precision)
    assert max(slopes(off)) > 1e-4


def test_unmet_tolerance_is_reported():
    X, y = problem(40, 6)
    fit = o.bayesian_ridge(X, y, max_iterations=1)
    assert fit.iterations == 1 and not fit.converged
    assert o.bayesian_ridge(X, y).converged


# ------------------------------------------------------------------ ridge, LASSO, their conditions


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_ridge_is_that_of_scikit_learn_and_its_gradient_vanishes(n, p):
    from sklearn.linear_model import Ridge

    X, y = problem(n, p)
    b = o.ridge(X, y, 2.5)
    assert_allclose(b, Ridge(alpha=2.5).fit(X, y).coef_, rtol=0, atol=1e-10 * np.abs(b).max())
    size = np.abs(o.ridge_gradient(X, y, np.zeros(p), 2.5)).max()
    assert np.abs(o.ridge_gradient(X, y, b, 2.5)).max() < 1e-10 * size
    assert np.abs(o.ridge_gradient(X, y, 1.01 * b, 2.5)).max() > 1e-4 * size


def test_simulation_ridge_fits_raw_expression_on_the_prior():
    E, genes, prior, _ = small_table()
    B = more.simulation_ridge(E, genes, prior, alpha=1.0)
    assert_allclose(B[[1, 2, 3], 0], o.ridge(E[:, [1, 2, 3]], E[:, 0], 1.0), rtol=1e-14)
    assert_array_equal(np.diag(B), 0)
    supported = {(1, 0), (2, 0), (3, 0), (4, 2), (7, 2), (0, 5), (2, 5), (6, 5), (1, 6), (5, 6)}
    assert {tuple(at) for at in np.argwhere(B != 0).tolist()} == supported


@pytest.mark.parametrize(("n", "p"), [(50, 10), (80, 41), (101, 5), (30, 1)])
@pytest.mark.parametrize("share", [0.02, 0.3, 1.5])
def test_lasso_is_that_of_scikit_learn(n, p, share):
    from sklearn.linear_model import Lasso

    X, y = problem(n, p)
    s2 = 0.7
    pull = np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / s2
    strength = share * pull
    b = o.masked_lasso(X, y, strength, s2)
    assert o.lasso_kkt_violation(X, y, b, strength, s2) < 1e-11 * pull
    peer = Lasso(alpha=strength * s2 / n, tol=1e-14, max_iter=100_000).fit(X, y).coef_
    assert_allclose(b, peer, rtol=0, atol=1e-9 * max(np.abs(b).max(), 1e-3))
    if share > 1:
        assert_array_equal(b, 0)
        return
    assert o.lasso_kkt_violation(X, y, b + 1e-3, strength, s2) > 1e-4 * pull
    best = o.lasso_objective(X, y, b, strength, s2)
    r = np.random.default_rng(0)
    for _ in range(20):
        other = b + 0.01 * r.normal(size=p)
        assert o.lasso_objective(X, y, other, strength, s2) > best


def test_weighted_prices_are_rescaled_columns():
    X, y = problem(60, 8)
    w = np.linspace(5.0, 40.0, 8)
    b = o.masked_lasso(X / w, y, 1.0, 0.5) / w
    assert 0 < np.sum(b != 0)
    pull = np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / 0.5
    assert o.weighted_l1_kkt_violation(X, y, b, w, 0.5) < 1e-11 * pull
    assert o.weighted_l1_kkt_violation(X, y, b, w[::-1], 0.5) > 1e-3


@pytest.mark.parametrize("positive", [False, True])
def test_elastic_net_conditions_accept_scikit_learn_only_at_the_optimum(positive):
    from sklearn.linear_model import ElasticNet

    n, s2, l1, l2 = 60, 0.5, 12.0, 3.0
    X, y = problem(n, 10)
    model = ElasticNet(
        alpha=s2 * (l1 + l2) / n,
        l1_ratio=l1 / (l1 + l2),
        positive=positive,
        tol=1e-14,
        max_iter=100_000,
    )
    b = model.fit(X, y).coef_
    violation = o.nonnegative_kkt_violation if positive else o.elastic_net_kkt_violation
    assert 0 < np.sum(b != 0) < 10 or not positive
    assert violation(X, y, b, l1, l2, s2) < 1e-6
    assert violation(X, y, 1.001 * b, l1, l2, s2) > 1e-3
    assert violation(X, y, b, 1.01 * l1, l2, s2) > 1e-3
    assert violation(X, y, b, l1, 1.5 * l2, s2) > 1e-3
    if positive:
        # The sign constraint binds: the same coefficients are not optimal without it.
        assert o.elastic_net_kkt_violation(X, y, b, l1, l2, s2) > 1e-3
        assert violation(X, y, -b, l1, l2, s2) == np.inf


def test_nonnegative_least_squares():
    from scipy.optimize import nnls

    X, y = problem(60, 10)
    Xc, yc = X - X.mean(axis=0), y - y.mean()
    b, _ = nnls(Xc, yc)
    assert 0 < np.sum(b == 0) < 10
    assert o.nonnegative_kkt_violation(X, y, b) < 1e-8 * np.abs(Xc.T @ yc).max()
    assert o.nonnegative_kkt_violation(X, y, np.zeros(10)) > 1.0


# ------------------------------------------------------------------ tables of links


@pytest.mark.parametrize("links", [more.celloracle_links, o.grouped_celloracle_links])
def test_links_follow_the_rules_of_the_prior(links):
    E, genes, prior, groups = small_table()
    table = links(E, genes, prior, groups)
    per_group = {("g0", 3), ("g2", 2), ("g5", 3), ("g6", 2)}
    sizes = table.groupby(["group", "target"]).size()
    assert {(t, n) for (_, t), n in sizes.items()} == per_group
    assert list(table["group"].unique()) == ["10", "a", "b"]
    assert (table["source"] != table["target"]).all()
    assert table.equals(table.sort_values(["group", "target", "source"], ignore_index=True))

    scaled = E / E.std(axis=0)  # over all cells
    cells = groups == "b"
    C = o.celloracle_bags(scaled[cells][:, [1, 2, 3]], E[cells, 0], 10.0, 20)
    mean, p, m = o.celloracle_statistics(C)
    rows = table[(table["group"] == "b") & (table["target"] == "g0")]
    assert rows["source"].tolist() == ["g1", "g2", "g3"]
    assert_allclose(rows["weight"], mean, rtol=1e-12)
    assert_allclose(rows["p"], p, rtol=1e-9)
    assert_array_equal(rows["bags_drawn"], m)


def test_links_do_not_depend_on_the_order_of_genes_or_of_the_prior():
    E, genes, prior, groups = small_table()
    order = np.random.default_rng(1).permutation(8)
    backwards = {t: list(reversed(s)) for t, s in reversed(prior.items())}
    table = more.celloracle_links(E, genes, prior, groups)
    again = more.celloracle_links(E[:, order], [genes[j] for j in order], backwards, groups)
    assert again[[*KEY, "bags_drawn"]].equals(table[[*KEY, "bags_drawn"]])
    assert_allclose(again["weight"], table["weight"], rtol=1e-10)
    assert_allclose(again["p"], table["p"], rtol=1e-8)


def test_constant_gene_in_one_group_has_zero_weight_and_no_p():
    E, genes, prior, groups = small_table()
    E[groups == "a", 1] = 0.3  # a regulator of g0 and g6
    E[groups == "10", 5] = 0.7  # a target
    for links in (more.celloracle_links, o.grouped_celloracle_links):
        table = links(E, genes, prior, groups).set_index(["group", "target", "source"])
        for at in [("a", "g0", "g1"), ("a", "g6", "g1"), ("10", "g5", "g6")]:
            assert table.loc[at, "weight"] == 0 and np.isnan(table.loc[at, "p"])
        assert table.loc[("b", "g0", "g1"), "weight"] != 0


def test_scale_is_that_of_scikit_learn():
    from sklearn.preprocessing import StandardScaler

    E = small_table()[0]
    E[:, 3], E[:, 4] = 0.1, 0.0
    assert_allclose(o.global_scale(E), StandardScaler(with_mean=False).fit(E).scale_, rtol=1e-13)


@pytest.mark.parametrize("groups", [True, False])
def test_grouped_version_gives_the_same_links(groups):
    r = np.random.default_rng(0)
    genes = [f"g{j:02d}" for j in range(30)]
    E = np.maximum(r.normal(size=(60, 30)) @ r.normal(size=(30, 30)) * 0.2 + 1, 0)
    prior = {t: r.choice(genes[:14], size=r.integers(1, 14), replace=False) for t in genes}
    labels = np.arange(60) % 3 if groups else None
    plain = more.celloracle_links(E, genes, prior, labels)
    fast = o.grouped_celloracle_links(E, genes, prior, labels)
    assert plain[[*KEY, "bags_drawn"]].equals(fast[[*KEY, "bags_drawn"]])
    figures = compare_links(fast, plain)
    assert figures["weight"] < 1e-12 and figures["log10_p"] < 1e-9 and figures["p_undefined"] == 0


def test_no_fitted_target_gives_an_empty_table():
    E, genes, _, groups = small_table()
    for links in (more.celloracle_links, o.grouped_celloracle_links, more.bayesian_links):
        table = links(E, genes, {"g1": ["g1"]}, groups)
        assert len(table) == 0 and list(table.columns[:4]) == [
            "group",
            "source",
            "target",
            "weight",
        ]


# ------------------------------------------------------------------ recorded outputs


@pytest.mark.parametrize("links", [more.celloracle_links, o.grouped_celloracle_links])
@pytest.mark.parametrize("name", CASES)
def test_bagging_reproduces_the_recorded_links(shared, name, links):
    case = read_case(shared, name)
    ours = links(case.expression, case.genes, case.prior, case.groups, case.alpha, case.bags)
    figures = compare_links(ours, case.bagging)
    assert figures["edges"] == len(case.bagging)
    exact = ["missing", "extra", "p_undefined", "noise_weight", "top_2000", "top_10000"]
    assert {key: figures[key] for key in exact} == dict.fromkeys(exact, 0)
    assert figures["weight"] <= 1e-5
    assert figures["log10_p"] <= 1e-3


@pytest.mark.parametrize("name", CASES)
def test_bayesian_ridge_reproduces_the_recorded_links(shared, name):
    case = read_case(shared, name)
    ours = more.bayesian_links(case.expression, case.genes, case.prior, case.groups)
    figures = compare_links(ours, case.bayesian)
    assert (figures["edges"], figures["missing"], figures["extra"]) == (len(case.bayesian), 0, 0)
    figures = compare_links(
        more_cells_than_regulators(ours, case.groups),
        more_cells_than_regulators(case.bayesian, case.groups),
    )
    assert figures["edges"] > 0.8 * len(case.bayesian)
    assert (figures["missing"], figures["extra"]) == (0, 0)
    assert figures["weight"] <= 1e-4
    assert figures["log10_p"] <= 1e-3
    assert figures["noise_weight"] <= 1e-12
    assert (figures["top_2000"], figures["top_10000"]) == (0, 0)


# ------------------------------------------------------------------ the comparison itself


def compared(change):
    E, genes, prior, groups = small_table()
    table = more.celloracle_links(E, genes, prior, groups)
    other = table.copy()
    other = change(other)
    return compare_links(other, table, top=(2,), p_cut=1.0)


def test_comparison_of_a_table_with_itself_finds_nothing():
    figures = compared(lambda t: t.sample(frac=1.0, random_state=0))
    assert figures.pop("edges") == 30
    assert set(figures.values()) == {0}


def test_comparison_sees_each_kind_of_difference():
    def weight(t):
        t.loc[3, "weight"] += 0.5
        return t

    def p(t):
        t.loc[3, "p"] = t.loc[3, "p"] * 10
        return t

    def undefined(t):
        t.loc[3, "p"] = np.nan
        return t

    def swap(t):
        t["weight"] = -t["weight"].to_numpy()[::-1]
        return t

    assert compared(weight)["weight"] > 0.01
    assert_allclose(compared(p)["log10_p"], 1.0)
    assert compared(undefined)["p_undefined"] == 1
    assert compared(lambda t: t.drop(index=5))["missing"] == 1
    assert compared(lambda t: t.assign(group=t["group"].replace("a", "z")))["extra"] == 10
    assert compared(swap)["top_2"] > 0


def test_comparison_keeps_noise_apart_but_does_not_hide_it():
    E, genes, prior, groups = small_table()
    E[groups == "a", 1] = 0.3
    table = more.celloracle_links(E, genes, prior, groups)
    recorded = table.copy()
    constant = recorded["p"].isna()
    recorded.loc[constant, ["weight", "p"]] = [1e-14, 0.02]
    figures = compare_links(table, recorded)
    assert figures["noise_edges"] == constant.sum() == 2
    assert figures["p_undefined"] == figures["weight"] == figures["noise_weight"] == 0
    wrong = table.copy()
    wrong.loc[constant, "weight"] = 0.1
    assert compare_links(wrong, recorded)["noise_weight"] > 1e-3


def test_comparison_refuses_what_it_cannot_compare():
    E, genes, prior, groups = small_table()
    table = more.celloracle_links(E, genes, prior, groups)
    with pytest.raises(ValueError, match="lacks the columns"):
        compare_links(table.drop(columns="p"), table)
    with pytest.raises(ValueError, match="twice"):
        compare_links(table.iloc[[0, 0]], table)
    with pytest.raises(ValueError, match="undefined"):
        compare_links(table.assign(weight=np.nan), table)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, y: o.ridge(X, y[:-1], 1.0), "same n"),
        (lambda X, y: o.ridge(X[:, 0], y, 1.0), "shape"),
        (lambda X, y: o.ridge(X, np.full(20, np.nan), 1.0), "finite"),
        (lambda X, y: o.ridge(X, y, 0.0), "alpha"),
        (lambda X, y: o.celloracle_bags(X, y, -1.0, 20), "alpha"),
        (lambda X, y: o.celloracle_bags(X, y, 1.0, 0), "bags=0"),
        (lambda X, y: o.released_bag_indices(10, 10, 5, max_features=1.2), "max_features"),
        (lambda X, y: o.released_bag_indices(10, 1000, 5, max_features=0.001), "between 0.01"),
        (lambda X, y: o.bayesian_ridge(X, y, variance="fast"), "'full' or 'thin'"),
        (lambda X, y: o.masked_lasso(X, y, -1.0), "strength"),
        (lambda X, y: o.masked_lasso(X, y, 1.0, 0.0), "noise_variance"),
        (lambda X, y: o.celloracle_statistics(y), "bags, regulators"),
        (lambda X, y: more.celloracle_links(X, ["a", "b"], {}), "2 gene names"),
        (lambda X, y: more.celloracle_links(X, ["a", "b", "a"], {}), "duplicate"),
        (lambda X, y: more.celloracle_links(X, ["a", "b", "c"], {}, ["x"]), "1 group labels"),
        (lambda X, y: more.celloracle_links(X * np.nan, ["a", "b", "c"], {}), "finite"),
    ],
)
def test_bad_input_is_refused_with_a_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call(*problem(20, 3))


def test_unmet_lasso_tolerance_is_an_error():
    with pytest.raises(RuntimeError, match="sweeps"):
        o.masked_lasso(*problem(80, 41), strength=0.1, max_sweeps=1)
