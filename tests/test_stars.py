"""StARS: a penalty by the stability of its edges, against loops over subsets and penalties."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import unigrn
from unigrn import Data, Spec, huber, l1, least_squares, no_self, ridge, slope, stars
from unigrn.selection import Subsets

REGULATORS, TARGETS = [f"r{i}" for i in range(6)], [f"t{i}" for i in range(5)]
LABELS = np.repeat(["a", "b", "c"], [160, 50, 31])
VALUES = tuple((8 * np.geomspace(1, 0.01, 9)).tolist())
SAMPLES = 12


def expression(seed=0, labels=LABELS):
    """Regulators and targets of a sparse network, (cells, genes)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(labels), len(REGULATORS)))
    theta = rng.normal(size=(len(REGULATORS), len(TARGETS)))
    theta *= rng.random(theta.shape) < 0.4
    return np.c_[x, x @ theta + 1.5 * rng.normal(size=(len(labels), len(TARGETS)))]


def data(values: Any, labels: Any = LABELS, weights: Any = None) -> Data:
    return Data.from_arrays(
        values, [*REGULATORS, *TARGETS], groups=labels, dtype="float64", weights=weights
    )


def fitted(spec: Spec, given: Data, **options: Any) -> Any:
    return unigrn.fit(spec, given, regulators=REGULATORS, targets=TARGETS, **options)


def lasso(strength=1.0, **changes):
    return Spec(least_squares(mean=True), l1(strength), **changes)


def subsets(count, group, seed=0, samples=SAMPLES):
    """Cells of every subset, from the definition."""
    b = math.floor(10 * math.sqrt(count)) if count > 144 else math.floor(0.8 * count)
    draws = (np.random.default_rng((seed, 6, group, s)) for s in range(samples))
    return [np.sort(rng.permutation(count)[:b]) for rng in draws]


def by_hand(
    fit_one, values, weights, by="target", seed=0, path=VALUES, labels=LABELS, samples=SAMPLES
):
    """Weight, frequency, penalty and instability, (groups, regulators, targets), (groups, targets).

    ``fit_one`` (rows, weights, penalty) -> coefficients (regulators, targets).
    """
    out = []
    for g, label in enumerate(np.unique(labels)):
        at = np.flatnonzero(label == labels)
        draws = subsets(len(at), g, seed, samples)
        worst = np.zeros(len(TARGETS))
        chosen: list[Any] = [None] * len(TARGETS)
        none = np.zeros(len(REGULATORS))
        for penalty in sorted(path, reverse=True):
            whole = fit_one(values[at], weights[at], penalty)
            parts = []
            for rows in draws:
                times = np.isin(np.arange(len(at)), rows) * len(at) / len(rows)
                parts.append(fit_one(values[at], weights[at] * times, penalty))
            f = np.mean([part != 0 for part in parts], axis=0)
            d = (2 * f * (1 - f)).mean(axis=0)
            worst = np.maximum(worst, d if by == "target" else np.full(len(TARGETS), d.mean()))
            for t in range(len(TARGETS)):
                if chosen[t] is None:
                    chosen[t] = (none, none, np.nan, worst[t])
                if worst[t] <= 0.05:
                    chosen[t] = (whole[:, t], f[:, t], penalty, worst[t])
        out.append([np.stack([c[i] for c in chosen], axis=-1) for i in range(4)])
    return [np.stack([group[i] for group in out]) for i in range(4)]


def same(found, want):
    """Compare a solution with what was found by hand, every column."""
    weight, frequency, penalty, instability = want
    problem = found.plan.problem
    np.testing.assert_allclose(found.theta, weight, atol=1e-7)
    at = (slice(None), problem.candidate, problem.entry_target)
    np.testing.assert_allclose(found.statistics["frequency"], frequency[at], atol=1e-12)
    np.testing.assert_allclose(found.statistics["strength"], penalty[:, problem.entry_target])
    np.testing.assert_allclose(found.targets["penalty"], penalty)
    np.testing.assert_allclose(found.targets["instability"], instability, atol=1e-12)
    assert len(np.unique(penalty)) > (2 if np.ptp(penalty[0]) else 1)


def scikit_learn(rows, weights, penalty):
    """Lasso of every target by coordinate descent, on weighted cells."""
    from sklearn.linear_model import Lasso

    x, y = rows[:, : len(REGULATORS)], rows[:, len(REGULATORS) :]
    model = Lasso(alpha=penalty / 2, tol=1e-12, max_iter=100_000)
    return model.fit(x, y, sample_weight=weights).coef_.T


@pytest.mark.parametrize("by", ["target", "network"])
def test_stars_is_a_loop_over_subsets_and_penalties_of_scikit_learn(by):
    """Groups of unlike size, cells with weights, penalties in any order."""
    values, rng = expression(), np.random.default_rng(5)
    weights = rng.uniform(0.5, 2, len(values))
    shuffled = rng.permutation(VALUES)
    found = fitted(
        stars(lasso(), "L1.strength", shuffled, SAMPLES, by=by), data(values, weights=weights)
    )
    assert found.plan.solver.name == "active sets on moments" and found.converged.all()
    same(found, by_hand(scikit_learn, values, weights, by))
    if by == "network":
        assert (np.ptp(found.targets["penalty"], axis=1) == 0).all()


def test_a_penalty_weighs_alike_beside_a_sum_over_the_cells_of_a_subset():
    values = expression(1)[:160]
    mean = fitted(stars(lasso(), "L1.strength", VALUES, SAMPLES), data(values, None))
    total = Spec(least_squares(), l1(1.0))
    tall = fitted(stars(total, "L1.strength", np.array(VALUES) * 160, SAMPLES), data(values, None))
    np.testing.assert_allclose(tall.weights, mean.weights, atol=1e-8)
    np.testing.assert_array_equal(tall.statistics["frequency"], mean.statistics["frequency"])
    np.testing.assert_allclose(tall.targets["penalty"], mean.targets["penalty"] * 160)


def softly(params, data, prior, strength):
    middle = jnp.mean(params.theta, axis=1, keepdims=True)
    return strength * jnp.sum((params.theta - middle) ** 2)


@pytest.mark.parametrize(
    ("spec", "by", "solver"),
    [
        (Spec(huber(1.0), l1(0.5)), "target", "proximal gradient on rows"),
        (
            lasso().replace(
                regularizer=l1(0.5) + unigrn.regularizer(softly, coupled=True, strength=0.3)
            ),
            "network",
            "proximal gradient on the whole network",
        ),
    ],
    ids=["rows", "network"],
)
def test_stars_on_other_solvers_is_a_loop_over_their_fits(spec, by, solver):
    values, labels = expression(2)[:40], np.repeat("a", 40)
    path = (80.0, 20.0, 5.0) if by == "target" else (2.0, 0.5, 0.1)
    found = fitted(stars(spec, "L1.strength", path, 3, by=by), data(values, labels), seed=3)
    assert found.plan.solver.name == solver and found.converged.all()

    def alone(rows, weights, penalty):
        others = tuple(t for t in unigrn.terms.parts(spec.regularizer)[1:])
        own = spec.replace(regularizer=sum(others, l1(penalty)))
        return fitted(own, data(rows, None, weights)).theta[0]

    weight, frequency, penalty, instability = by_hand(
        alone, values, np.ones(len(values)), by, 3, path, labels, 3
    )
    np.testing.assert_allclose(found.theta, weight, atol=1e-5)
    problem = found.plan.problem
    at = (slice(None), problem.candidate, problem.entry_target)
    np.testing.assert_allclose(found.statistics["frequency"], frequency[at], atol=1e-12)
    np.testing.assert_allclose(found.targets["penalty"], penalty)


# ------------------------------------------------------------------ subsets


def drawn(axis, count, group=0, seed=0):
    return axis.cells(count, group, seed, None)(0, count)


@pytest.mark.parametrize(
    ("cells", "b"), [(2, 1), (3, 2), (10, 8), (144, 115), (145, 120), (10_000, 1000)]
)
def test_a_subset_has_as_many_cells_as_the_paper_says(cells, b):
    axis = Subsets(7, None, False)
    assert axis.count(cells) == b
    weights = drawn(axis, cells)
    assert weights.shape == (8, cells) and (weights[0] == 1).all()
    assert ((weights[1:] != 0).sum(axis=1) == b).all()
    np.testing.assert_allclose(weights.sum(axis=1), cells)


def test_disjoint_subsets_share_no_cell():
    axis = Subsets(6, None, True)
    weights = drawn(axis, 50)[1:] != 0
    assert (weights.sum(axis=0) <= 1).all() and (weights.sum(axis=1) == 8).all()


@pytest.mark.parametrize(
    "axis", [Subsets(5, None, False), Subsets(5, 9, False), Subsets(5, None, True)]
)
def test_draws_follow_seed_and_group_and_no_piece_of_them_is_another(axis):
    first = drawn(axis, 40, group=1, seed=4)
    np.testing.assert_array_equal(drawn(axis, 40, group=1, seed=4), first)
    parts = [axis.cells(40, 1, 4, None)(s, e) for s, e in ((0, 13), (13, 40))]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), first)
    for other in (drawn(axis, 40, 2, 4), drawn(axis, 40, 1, 5)):
        assert (other[1:] != first[1:]).any(axis=1).all()
    assert len(np.unique(first[1:], axis=0)) == 5


# ------------------------------------------------------------------ odd cases


def test_where_no_penalty_is_stable_there_is_no_edge():
    values, labels = expression(3, LABELS), np.where(np.arange(len(LABELS)) < 2, "few", "many")
    labels[2] = "one"
    found = fitted(
        stars(lasso(), "L1.strength", [0.1, 0.05], 20, threshold=0.0), data(values, labels)
    )
    # Subsets of a group of one or two cells have one cell: they agree on nothing but nothing.
    few, many, one = found.theta
    assert not few.any() and not one.any()
    assert np.isnan(found.targets["penalty"][[0, 2]]).all()
    assert np.isnan(found.targets["instability"][[0, 2]]).all()
    some = np.isnan(found.targets["penalty"][1])
    assert some.any() and not many[:, some].any()
    assert (found.targets["instability"][1][some] > 0).all()
    none = int(some.sum()) + 10
    report = str(found.network().alignment)
    assert f"{none} of 15 fits: subsets of the cells disagree at every L1.strength" in report
    assert set(found.network().edges["group"]) <= {"many"}


def test_a_constant_target_has_no_edge_and_one_penalty_is_taken_or_not():
    values = expression(4)[:160]
    values[:, len(REGULATORS)] = 3.0
    found = fitted(stars(lasso(), "L1.strength", [1.0], 20), data(values, None))
    assert not found.theta[0, :, 0].any()
    assert found.certificate["status"][0] == "target is constant"
    assert set(found.targets["penalty"][0][~np.isnan(found.targets["penalty"][0])]) == {1.0}
    report = str(found.network().alignment)
    assert "L1.strength 1, the least of the path, is stable; a smaller one may be too" in report


def test_subsets_as_large_as_a_group_are_refused():
    spec = stars(lasso(), "L1.strength", VALUES, SAMPLES, cells=31)
    with pytest.raises(ValueError, match="got cells=31, and a group has 31"):
        fitted(spec, data(expression()))
    assert fitted(spec, data(expression()[:210], LABELS[:210])).converged.all()


def test_a_hyperparameter_that_falls_as_edges_do_is_refused():
    spec = Spec(least_squares(mean=True), slope(1.2))
    with pytest.raises(ValueError, match="a larger one chooses fewer edges; at Slope.rate"):
        fitted(stars(spec, "Slope.rate", [1e-6, 0.9], SAMPLES), data(expression()))


def test_permuted_copies_go_around_stars():
    values = expression(6)
    spec = stars(lasso(), "L1.strength", VALUES, SAMPLES)
    inner, outer = fitted(spec, data(values)), fitted(unigrn.permuted(spec, 2), data(values))
    np.testing.assert_allclose(outer.weights, inner.weights, atol=1e-12)
    for name in ("frequency", "strength", "instability"):
        np.testing.assert_allclose(outer.statistics[name], inner.statistics[name])
    assert "fdr" in outer.statistics


def test_provenance_has_the_path_and_what_was_chosen():
    network = fitted(
        stars(lasso(), "L1.strength", VALUES, SAMPLES, threshold=0.1), data(expression())
    )
    hyper = network.network().provenance["hyperparameters"]
    assert hyper["stars.values"] == list(VALUES) and hyper["stars.threshold"] == 0.1
    assert hyper["subsets.samples"] == SAMPLES and hyper["stars.by"] == "target"


# ------------------------------------------------------------------ arguments

LASSO = lasso()
WRONG = [
    (lambda: stars(LASSO, "L1.cost", VALUES), "penalty 'L1.cost'.*are: L1.strength"),
    (
        lambda: stars(Spec(least_squares(), ridge(1.0)), "Ridge.alpha", VALUES),
        "'Ridge.alpha'.*none, as no regularizer of the spec has a kink",
    ),
    (lambda: stars(LASSO, "L1.strength", []), "at least one value"),
    (lambda: stars(LASSO, "L1.strength", [-1.0]), "L1.strength must be a finite number >= 0"),
    (lambda: stars(LASSO, "L1.strength", [float("nan")]), "finite number"),
    (
        lambda: stars(LASSO, "L1.strength", VALUES, threshold=0.5),
        "threshold.*less than 0.5, got 0.5",
    ),
    (lambda: stars(LASSO, "L1.strength", VALUES, threshold=-0.1), "threshold.*-0.1"),
    (lambda: stars(LASSO, "L1.strength", VALUES, samples=1), "samples.*>= 2, got 1"),
    (lambda: stars(LASSO, "L1.strength", VALUES, cells=1), "cells.*>= 2, got 1"),
    (lambda: stars(LASSO, "L1.strength", VALUES, cells=9, disjoint=True), "cells=9 and disjoint"),
    (lambda: stars(LASSO, "L1.strength", VALUES, by="edge"), "by must be target or network"),
    (
        lambda: stars(unigrn.bagging(LASSO), "L1.strength", VALUES),
        r"fitted once, got one over bagging.*permuted\(stars\(",
    ),
    (
        lambda: stars(lasso(columns=(unigrn.columns.drop_one(),)), "L1.strength", VALUES),
        "columns of its own",
    ),
    (
        lambda: stars(
            LASSO.replace(regularizer=l1(1.0) + unigrn.nuclear(1.0)), "L1.strength", VALUES
        ),
        'couples the targets: take by="network"',
    ),
    (
        lambda: stars(
            LASSO.replace(
                regularizer=l1(1.0)
                + unigrn.regularizer(softly, across=True, convex=True, strength=1.0)
            ),
            "L1.strength",
            VALUES,
        ),
        "couples the groups",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_arguments_are_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_ways_say_whether_a_penalty_can_be_chosen_by_stability():
    rows = lasso(constraint=no_self()).ways()
    assert rows["stable penalty"].solver == "active sets on moments"
    assert 'stars(spec, "L1.strength", [...])' in str(rows)
    row = Spec(least_squares(), ridge(1.0)).ways()["stable penalty"]
    assert row.solver is None and "has a kink" in row.why
