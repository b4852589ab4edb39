"""geneRNIB's metrics against scikit-learn, in loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.preprocessing import RobustScaler

from unigrn.evaluate import REGRESSION, regression_metrics


def draw(seed=0, cells=60, q=7, p=12):
    rng = np.random.default_rng(seed)
    names = [f"g{j:02d}" for j in range(p)]
    values = rng.gamma(2.0, 1.0, (cells, p))
    values[:, q:] += 0.6 * values[:, :q] @ (rng.random((q, p - q)) < 0.4)
    return values, names, names[:q], rng.integers(0, 4, cells), rng


def edges_of(score, tfs, names):
    rows = [
        (tfs[i], names[j], score[i, j])
        for i in range(len(tfs))
        for j in range(len(names))
        if score[i, j] and tfs[i] != names[j]
    ]
    return pd.DataFrame(rows, columns=["source", "target", "weight"])


def by_scikit_learn(score, count, values, groups):
    """R^2 of every gene that has regulators, from its best ones."""
    x = RobustScaler(with_centering=False).fit_transform(values)
    found = []
    for j in range(values.shape[1]):
        if not count[j]:
            continue
        own = np.abs(score[:, j])
        best = np.argsort(-own, kind="stable")[: count[j]]
        each = []
        for fit, left in LeaveOneGroupOut().split(x, groups=groups):
            model = Ridge(alpha=1.0).fit(x[fit][:, best], x[fit, j])
            each.append(r2_score(x[left, j], model.predict(x[left][:, best])))
        found.append(np.clip(np.mean(each), 0, 1))
    return np.mean(found)


def test_the_metrics_are_scikit_learns():
    values, names, tfs, groups, rng = draw()
    scores = {}
    for name, share in (("one", 0.5), ("two", 0.8), ("three", 1.0)):
        score = rng.normal(size=(len(tfs), len(names))) * (
            rng.random((len(tfs), len(names))) < share
        )
        score[np.arange(len(tfs)), np.arange(len(tfs))] = 0
        scores[name] = score
    networks = {name: edges_of(score, tfs, names) for name, score in scores.items()}
    found = regression_metrics(networks, (values, names), tfs, groups=groups)
    assert list(found) == list(REGRESSION)
    degree = np.stack([(s != 0).sum(axis=0) for s in scores.values()])
    low, high = (np.round(np.quantile(degree, q, axis=0)).astype(int) for q in (0.25, 0.75))
    at = {"r_precision": low, "r_recall": high}
    for i, (name, score) in enumerate(scores.items()):
        raw = np.where(degree[i] > 2, degree[i], 0)
        expected = by_scikit_learn(score, raw, values, groups)
        assert found.loc[name, "r2_raw"] == pytest.approx(expected, rel=1e-12), name
        for metric, count in at.items():
            if (count <= degree[i]).all():  # no regulator is drawn at random
                expected = by_scikit_learn(score, count, values, groups)
                assert found.loc[name, metric] == pytest.approx(expected, rel=1e-12), name
    assert (high <= degree[2]).all() and (low <= degree[1]).all(), "something was compared"


def test_true_regulators_explain_more_than_others():
    values, names, tfs, _, rng = draw(3, cells=400)
    noise = rng.normal(size=(400, 3))
    values = np.concatenate([noise[:, :2], noise[:, :1] + 0.1 * noise[:, 2:]], axis=1)
    network = {
        "right": pd.DataFrame({"source": ["a"], "target": ["c"], "weight": [1.0]}),
        "wrong": pd.DataFrame({"source": ["b"], "target": ["c"], "weight": [1.0]}),
    }
    found = regression_metrics(network, (values, ["a", "b", "c"]))
    assert found.loc["right", "r_precision"] > 0.95
    assert found.loc["wrong", "r_precision"] < 0.05
    assert found["r2_raw"].isna().all(), "no gene has more than two regulators"


def test_scores_that_tie_and_regulators_that_are_drawn_follow_the_seed():
    values, names, tfs, _, _ = draw(1)
    full = pd.DataFrame(
        [(a, b, 1.0) for a in tfs for b in names if a != b], columns=["source", "target", "weight"]
    )
    networks = {"few": full[full["source"] == tfs[0]], "all": full}
    once, again = (regression_metrics(networks, (values, names), seed=1) for _ in range(2))
    pd.testing.assert_frame_equal(once, again)
    other = regression_metrics(networks, (values, names), seed=2)
    assert not other.equals(once)
    # All regulators of a gene enter: nothing is drawn, whatever ties.
    whole = regression_metrics({"all": full}, (values, names), groups=np.arange(60) % 3, seed=5)
    same = regression_metrics({"all": full}, (values, names), groups=np.arange(60) % 3, seed=6)
    np.testing.assert_allclose(whole, same, rtol=1e-9)


def test_only_the_strongest_edges_are_looked_at():
    values, names, tfs, groups, rng = draw(2)
    score = np.abs(rng.normal(size=(len(tfs), len(names)))) + 0.1
    network = edges_of(score, tfs, names)
    cut = network.sort_values("weight", ascending=False).head(20)
    given = {"groups": groups, "seed": 0}
    ours = regression_metrics({"a": network}, (values, names), tfs, top=20, **given)
    pd.testing.assert_frame_equal(
        ours, regression_metrics({"a": cut}, (values, names), tfs, **given)
    )


def test_what_does_not_fit_is_said():
    values, names, _, _, _ = draw()
    edge = pd.DataFrame({"source": ["x"], "target": ["y"], "weight": [1.0]})
    with pytest.raises(ValueError, match="share no edge"):
        regression_metrics({"a": edge}, (values, names))
    with pytest.raises(ValueError, match="no network"):
        regression_metrics({}, (values, names))
    good = pd.DataFrame({"source": ["g00"], "target": ["g08"], "weight": [1.0]})
    with pytest.raises(ValueError, match="60 cells in one group"):
        regression_metrics({"a": good}, (values, names), groups=["x"] * 60)
    with pytest.raises(ValueError, match="groups has 3 entries"):
        regression_metrics({"a": good}, (values, names), groups=[1, 2, 3])
