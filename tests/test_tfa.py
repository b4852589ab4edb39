"""Activities as regressors, columns of quadratic problems, and the methods that stand on both."""

from __future__ import annotations

import importlib.util
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma

import unigrn
from unigrn import Data, Prior, Spec, columns, least_squares, no_self, ridge
from unigrn.methods.tfa_ridge import tfa_ridge

GENES = [f"g{i}" for i in range(9)]
EDGES = [("F", "g0", 1, 1), ("F", "g1", 2, -1), ("g2", "g2", 1, 1), ("g2", "g3", 1, 1)]
EDGES += [("g2", "g4", 0.5, 1), ("H", "g4", 1, 0), ("H", "g5", 1, 0), ("g6", "g6", 1, 1)]


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 9)) @ rng.normal(size=(9, 9)) + 3
    edges = pd.DataFrame(EDGES, columns=pd.Index(["source", "target", "weight", "sign"]))
    return values, Prior.from_edges(edges)


def data_of(values, **more):
    return Data.from_arrays(values, GENES, dtype="float64", **more)


def activities(values, ridge=0.0):
    """Activities of F, H and g2 by their formula; without its edge to itself g6 has none."""
    p = np.zeros((3, 9))
    p[0, :2], p[1, 4:6], p[2, 3:5] = [1, -2], 1, [1, 0.5]
    inverse = np.linalg.pinv(p) if not ridge else p.T @ np.linalg.inv(p @ p.T + ridge * np.eye(3))
    return values @ inverse


def scored(values):
    values = values - values.mean(0)
    return values / values.std(0)


def fitted(spec, data, **options):
    solution = unigrn.fit(spec, data, **options)
    assert set(solution.certificate["status"]) == {"converged"}
    return solution


@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_activities_fall_back_on_expression(drawn, strength):
    values, prior = drawn
    spec = Spec(
        least_squares(),
        ridge(1.0),
        prior=prior,
        scale="both",
        stages=unigrn.activity(strength, fallback=True),
    )
    names = ["F", "H", "g2", "g6", "g8"]
    solution = fitted(spec, data_of(values), regulators=names[::-1], targets=GENES)
    assert solution.plan.problem.regulators.tolist() == names
    x, y = scored(np.c_[activities(values, strength), values[:, [6, 8]]]), scored(values)
    want = np.linalg.solve(x.T @ x + np.eye(5), x.T @ y)
    np.testing.assert_allclose(solution.theta[0], want, atol=1e-9)
    (entry,) = [e for e in solution.network().alignment.entries if e.kind.endswith("by expression")]
    assert entry.count == 2 and entry.examples == ("g6", "g8")
    # Nothing asked for: the sources of the prior that have an activity or a measured gene.
    assert fitted(spec, data_of(values)).plan.problem.regulators.tolist() == names[:4]


def test_without_fallback_a_factor_without_targets_is_left_out_and_said_so(drawn):
    values, prior = drawn
    spec = Spec(least_squares(), ridge(1.0), prior=prior, stages=unigrn.activity())
    solution = fitted(spec, data_of(values), regulators=["F", "g6", "g8"])
    assert solution.plan.problem.regulators.tolist() == ["F"]
    (entry,) = [e for e in solution.network().alignment.entries if e.kind == "regulators not made"]
    assert entry.count == 2
    with pytest.raises(ValueError, match="the stages make none of the 2 regulators"):
        unigrn.plan(spec, data_of(values), regulators=["g6", "g8"])
    with pytest.raises(ValueError, match="need a prior"):
        unigrn.plan(spec.replace(prior=None), data_of(values))


def test_activities_stream_and_lose_no_digits_in_single_precision(drawn):
    values, prior = drawn
    values = np.repeat(values, 3, axis=0) + 1000
    spec = tfa_ridge(prior)
    double = unigrn.fit(spec, data_of(values)).theta[0]
    single = unigrn.fit(spec, Data.from_arrays(values.astype("f4"), GENES)).theta[0]
    np.testing.assert_allclose(single, double, atol=2e-3)  # of values with seven digits


# ------------------------------------------------------------------ columns


def refitted(x, y, alpha, j, intercept=True):
    """Least objective and its residual sum of squares, without candidate j (None: with all)."""
    keep = np.arange(x.shape[1]) != j
    if intercept:
        x, y = x - x.mean(0), y - y.mean(0)
    x = x[:, keep]
    b = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ y)
    rss = ((y - x @ b) ** 2).sum()
    return rss + alpha * b @ b, rss


SPECS = {
    "ridge": (lambda a: Spec(least_squares(), ridge(a), no_self()), 1.0, True),
    "mean": (lambda a: Spec(least_squares(mean=True), ridge(a / 40), no_self()), 1.0, True),
    "likelihood": (lambda a: Spec(2.0 * least_squares(), 2 * ridge(a)), 1.0, True),
    "through 0": (lambda a: Spec(least_squares(intercept=False), ridge(a)), 1.0, False),
    "no penalty": (lambda a: Spec(least_squares()), 0.0, True),
}


@pytest.mark.parametrize("name", SPECS)
def test_columns_are_what_a_second_fit_without_the_edge_says(drawn, name):
    values, _ = drawn
    make, alpha, intercept = SPECS[name]
    spec = make(alpha * 30).replace(
        columns=(columns.drop_one(), columns.partial_correlation(), columns.t_statistic())
    )
    sources, targets = GENES[:4], GENES[3:]
    some = sources if name in ("ridge", "mean") else GENES[:3]
    solution = fitted(spec, data_of(values), regulators=some, targets=targets)
    edges = solution.network().edges.set_index(["source", "target"])
    for target in targets:
        candidates = [s for s in some if s != target]
        x, y = values[:, [GENES.index(s) for s in candidates]], values[:, GENES.index(target)]
        if intercept:
            x, y = x - x.mean(0), y - y.mean(0)
        least, rss = refitted(x, y, alpha * 30, None, intercept)
        h = np.linalg.inv(x.T @ x + alpha * 30 * np.eye(x.shape[1]))
        hat = x @ h @ x.T
        left = len(x) - intercept - 2 * np.trace(hat) + np.trace(hat @ hat)
        spread = h @ x.T @ x @ h * rss / left
        for j, source in enumerate(candidates):
            row = edges.loc[(source, target)]
            rise = refitted(x, y, alpha * 30, j, intercept)[0] - least
            assert row["drop_one"] == pytest.approx(rise / (rss + rise), abs=1e-8)
            partial = np.sign(row["weight"]) * np.sqrt(rise / (least + rise))
            assert row["partial"] == pytest.approx(partial, abs=1e-7)
            assert row["t"] == pytest.approx(row["weight"] / np.sqrt(spread[j, j]), rel=1e-6)


def test_columns_of_least_squares_are_those_of_scipy():
    import scipy.stats

    rng = np.random.default_rng(1)
    values = rng.normal(size=(30, 2))
    spec = Spec(least_squares(), columns=(columns.t_statistic(), columns.partial_correlation()))
    data = Data.from_arrays(values, ["a", "b"], dtype="float64")
    edge = fitted(spec, data, regulators=["a"], targets=["b"]).network().edges.iloc[0]
    want: Any = scipy.stats.linregress(values[:, 0], values[:, 1])
    assert edge["t"] == pytest.approx(want.slope / want.stderr, rel=1e-9)
    assert edge["partial"] == pytest.approx(want.rvalue, rel=1e-9)


def test_columns_are_undefined_where_regulators_repeat_each_other(drawn):
    values, _ = drawn
    values = np.c_[values[:, :8], values[:, 0]]
    spec = Spec(least_squares(), columns=columns.drop_one())
    solution = unigrn.fit(spec, data_of(values), regulators=["g0", "g1", "g8"], targets=["g3"])
    assert not solution.converged.any() and np.isnan(solution.statistics["drop_one"]).all()
    some = fitted(spec.replace(regularizer=ridge(1.0)), data_of(values), targets=["g3"])
    assert np.isfinite(some.statistics["drop_one"]).all()


def test_columns_without_degrees_of_freedom_or_of_constant_targets(drawn):
    values = drawn[0].copy()
    values[:, 8] = 2.0
    every = (columns.drop_one(), columns.t_statistic(), columns.partial_correlation())
    spec = Spec(least_squares(), ridge(1.0), columns=every)
    flat = unigrn.fit(spec, data_of(values), regulators=GENES[:3], targets=["g8"])
    assert all((flat.statistics[c] == 0).all() for c in ("drop_one", "t", "partial"))
    few = Spec(least_squares(), columns=every)
    exact = unigrn.fit(few, data_of(values[:4]), regulators=GENES[:3], targets=["g4"])
    assert np.isnan(exact.statistics["t"]).all()  # three coefficients, four cells


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Spec(unigrn.huber(), ridge(1.0)), "is not quadratic"),
        (Spec(least_squares(), unigrn.l1(1.0)), "is not quadratic"),
        (Spec(least_squares(), ridge(1.0), unigrn.nonnegative()), "is more than a deletion"),
        (Spec(least_squares(), unigrn.laplacian(1.0, 0.5)), "has no column drop_one"),
    ],
)
def test_columns_of_what_is_no_quadratic_are_refused(drawn, spec, words):
    with pytest.raises(unigrn.PlanError, match=words):
        unigrn.plan(spec.replace(columns=columns.drop_one()), data_of(drawn[0]))


def test_columns_do_not_take_the_memory_of_all_matrices_at_once():
    data = Data.from_arrays(np.zeros((2, 3000)), [f"g{i:04d}" for i in range(3000)])
    names = data.genes[:200].tolist()
    spec = Spec(least_squares(), ridge(1.0))
    plain = unigrn.plan(spec, data, regulators=names)
    looking = unigrn.plan(spec.replace(columns=columns.drop_one()), data, regulators=names)
    (batch,) = looking.batches()
    step = looking.chunk(batch, 3000)
    assert step < plain.chunk(batch, 3000) and step * batch.k**2 * 4 <= 1 << 27


def test_other_numbers_do_not_compile_again(drawn):
    from unigrn.run.separable import fits

    values, prior = drawn
    unigrn.fit(tfa_ridge(prior), data_of(values))
    compiled: Any = fits
    before = compiled._cache_size()
    unigrn.fit(tfa_ridge(prior, alpha=7.0), data_of(values[::-1] + 1))
    assert compiled._cache_size() == before


# ------------------------------------------------------------------ baselines


@pytest.mark.parametrize("groups", [None, ["a"] * 15 + ["b"] * 25])
def test_correlation_is_pearsons(drawn, groups):
    values = drawn[0].copy()
    values[:, 8] = 1.0
    data = data_of(values, groups=groups)
    solution = unigrn.fit(unigrn.methods.get("correlation").function(None), data)
    edges = solution.network().edges.set_index(["source", "target"])
    for name in (None,) if groups is None else ("a", "b"):
        own = np.ones(40, bool) if groups is None else np.array(groups) == name
        some = edges if groups is None else edges[edges["group"] == name]
        assert len(some) == 9 * 8
        with np.errstate(invalid="ignore"):
            r = np.nan_to_num(np.corrcoef(values[own].T))
        for (source, target), row in some.iterrows():
            want = r[GENES.index(source), GENES.index(target)]
            assert row["score"] == pytest.approx(abs(want), abs=1e-10)
            if groups is None:
                assert row["weight"] == pytest.approx(want, abs=1e-10)


def test_marginal_squares_meet_a_ridge_and_a_lasso_entry_by_entry(drawn):
    x = drawn[0] - drawn[0].mean(0)
    g, c = (x**2).sum(0)[:4, None], x[:, :4].T @ x[:, 4:]
    ways = dict(regulators=GENES[:4], targets=GENES[4:])
    for penalty, want in [
        (ridge(30.0), c / (g + 30)),
        (unigrn.l1(60.0), np.sign(c) * np.maximum(np.abs(c) - 30, 0) / g),
    ]:
        solution = fitted(Spec(unigrn.marginal_squares(), penalty), data_of(drawn[0]), **ways)
        np.testing.assert_allclose(solution.theta[0], want, atol=1e-8)
    with pytest.raises(unigrn.PlanError, match="cannot be certified exactly"):
        unigrn.infer(data_of(drawn[0]), None, "correlation", certify=True)
    with pytest.raises(ValueError, match="no residuals"):
        spec = Spec(unigrn.marginal_squares(), columns=columns.drop_one())
        unigrn.fit(spec, data_of(drawn[0]), **ways)


def test_prior_only_is_the_prior(drawn):
    values, prior = drawn
    edges = unigrn.infer(data_of(values), prior, "prior_only").edges
    assert edges[["source", "target", "weight"]].values.tolist() == [
        ["g2", "g3", 1.0],
        ["g2", "g4", 0.5],
    ]
    signed = prior.edges.assign(source="g8", sign=-1)[:2]
    network = unigrn.infer(data_of(values), Prior.from_edges(signed), "prior_only")
    assert network.edges["weight"].tolist() == [-2.0, -1.0]


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_partial_correlation_is_that_of_the_inverse_covariance(drawn, alpha):
    values, _ = drawn
    spec = unigrn.methods.get("partial_correlation").function(None, alpha=alpha)
    solution = fitted(spec, data_of(values), regulators=GENES[:4])
    edges = solution.network().edges.set_index(["source", "target"])
    for target in GENES:
        names = [g for g in GENES[:4] if g != target]
        joint = np.corrcoef(values[:, [GENES.index(g) for g in [*names, target]]].T)
        k = np.linalg.inv(joint + np.diag([alpha] * len(names) + [0]))
        for j, name in enumerate(names):
            want = -k[j, -1] / np.sqrt(k[j, j] * k[-1, -1])
            assert edges.loc[(name, target), "partial"] == pytest.approx(want, abs=1e-8)
            assert edges.loc[(name, target), "score"] == pytest.approx(abs(want), abs=1e-8)


# ------------------------------------------------------------------ best subsets


def least_subset(x, y, g, most):
    """The least criterion over all subsets of at most ``most`` columns, one by one."""
    n, best = len(x), (np.inf, (), np.zeros(0))
    for size in range(most + 1):
        for subset in itertools.combinations(range(x.shape[1]), size):
            b = np.linalg.lstsq(x[:, subset], y, rcond=None)[0]
            s = np.sum((y - x[:, subset] @ b) ** 2)
            s += np.sum((x[:, subset] @ (b / np.sqrt(1 + g[list(subset)]))) ** 2)
            value = n * (np.log(s / 2) - digamma(n / 2)) + size * np.log(n)
            best = min(best, (value, subset, b), key=lambda item: item[0])
    return best


@pytest.mark.parametrize("count", [3, 8, 9])
def test_the_best_subset_is_the_least_of_all(count):
    rng = np.random.default_rng(count)
    x = rng.normal(size=(30, 8)) + rng.normal(size=(30, 1))
    y = x @ (rng.normal(size=(8, 3)) * (rng.random((8, 3)) < 0.5)) + rng.normal(size=(30, 3))
    names, targets = [f"r{i}" for i in range(8)], ["t0", "t1", "t2"]
    prior = Prior.from_dict({"t0": ["r1", "r5"], "t1": names[:3], "t2": ["r7"]})
    data = Data.from_arrays(np.c_[x, y], names + targets, dtype="float64")
    spec = Spec(unigrn.subset_bic(count, 4.0, 0.5), constraint=no_self(), prior=prior)
    solution = fitted(spec, data, regulators=names, targets=targets)
    assert solution.plan.solver.name == "enumeration of subsets"
    x, y = x - x.mean(0), y - y.mean(0)
    known = prior.align(names, targets).support()
    for t in range(3):
        value, subset, b = least_subset(x, y[:, t], np.where(known[:, t], 4.0, 0.5), 8)
        objective = solution.targets["objective"][0, t]
        assert (solution.theta[0][:, t] != 0).sum() <= count
        if count >= 8:
            want = np.zeros(8)
            want[list(subset)] = b
            np.testing.assert_allclose(solution.theta[0][:, t], want, atol=1e-10)
            assert objective == pytest.approx(value, abs=1e-9)
        else:  # the screen leaves three, whose best subset cannot be below the best of all
            assert objective >= value - 1e-9


def test_repeated_and_constant_candidates_do_not_disturb_the_subset():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(25, 3))
    values = np.c_[x, x[:, 0], np.full(25, 2.0), x @ [1.0, -1, 0] + 0.1 * rng.normal(size=25)]
    names = [f"r{i}" for i in range(5)]
    data = Data.from_arrays(np.c_[values, np.ones(25)], [*names, "y", "flat"], dtype="float64")
    spec = Spec(unigrn.subset_bic())
    solution = fitted(spec, data, regulators=names, targets=["y"])
    used = set(np.flatnonzero(solution.theta[0][:, 0]))
    assert used in ({0, 1}, {1, 3})
    x = x - x.mean(0)
    y = values[:, 5] - values[:, 5].mean()
    want = least_subset(x, y, np.ones(3), 3)
    assert solution.targets["objective"][0, 0] == pytest.approx(want[0], abs=1e-9)
    flat = unigrn.fit(spec, data, regulators=names, targets=["flat"])
    assert not flat.theta.any() and flat.certificate["status"][0] == "target is constant"


def test_a_criterion_of_subsets_stands_alone():
    data = Data.from_arrays(np.zeros((3, 2)), ["a", "b"])
    for spec in (
        Spec(unigrn.subset_bic() + least_squares()),
        Spec(unigrn.subset_bic(), ridge(1.0)),
        Spec(unigrn.subset_bic(), constraint=unigrn.nonnegative()),
    ):
        with pytest.raises(unigrn.PlanError):
            unigrn.plan(spec, data)


# ------------------------------------------------------------------ the Inferelator's protocol


@pytest.fixture(scope="module")
def protocol():
    folder = os.environ.get("UNIGRN_SHARED")
    path = Path(folder or "../shared") / "datasets" / "bsubtilis"
    if not (path / "inferelator_gold.tsv").is_file():
        pytest.skip("no data of the protocol: UNIGRN_SHARED is not a folder that has datasets")
    script = Path(__file__).parents[1] / "examples" / "benchmarks" / "inferelator.py"
    spec = importlib.util.spec_from_file_location("inferelator_protocol", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, module.measured(path, "float32")


# By NumPy, without the factor that is the target itself: .3686, and .416 with the factors of the
# prior only.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("hyper", "low", "high"), [({}, 0.366, 0.372), ({"fallback": False}, 0.412, 0.418)]
)
def test_tfa_ridge_has_the_recorded_precision_on_hidden_genes(protocol, hyper, low, high):
    module, given = protocol
    row = module.judge(given, 42, "tfa_ridge", hyper)
    assert low < row["aupr"] < high and row["converged"]
    assert row["factors"] == 239 if not hyper else row["factors"] < 160


def test_columns_over_bags_and_subsamples_are_means_over_the_fits_that_have_the_edge(drawn):
    values, prior = drawn
    spec = Spec(
        least_squares(), ridge(1.0), prior=prior, scale="both", columns=(columns.drop_one(),)
    )
    alone = fitted(spec, data_of(values)).statistics
    (name,) = alone
    whole = fitted(unigrn.stability(spec, 2, 1.0), data_of(values)).statistics[name]
    np.testing.assert_allclose(whole, alone[name], atol=1e-9)
    some = fitted(unigrn.bagging(spec, 2, 0.5), data_of(values))
    drew, score = some.statistics["bags_drawn"], some.statistics[name]
    assert (drew == 0).any() and np.isnan(score[drew == 0]).all()
    assert ((score >= 0) & (score <= 1))[drew > 0].all()
    assert name in some.network().edges
    # Also on the host, where such axes nest.
    nested = fitted(unigrn.bagging(unigrn.stability(spec, 2, 1.0), 2, 0.5), data_of(values))
    np.testing.assert_allclose(nested.statistics[name], score, atol=1e-9)
    assert set(nested.statistics) == {"frequency", "bags_drawn", name}
