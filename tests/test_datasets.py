from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unigrn import datasets
from unigrn.datasets import linear, simulate, stream

SMALL = {"cells": 150, "regulators": 12, "genes": 60, "groups": 2, "parents": (1, 3)}
MIDDLE = {"cells": 240, "regulators": 25, "genes": 160, "groups": 2}
ARRAYS = ("counts", "normalized", "imputed", "components", "true_expression", "groups")


@pytest.fixture(scope="module")
def demo():
    return simulate()


@pytest.fixture(scope="module")
def middle():
    return simulate(**MIDDLE)


@pytest.fixture(scope="module")
def small():
    return simulate(**SMALL)


def digest(data) -> str:
    print_of = hashlib.sha256()
    for name in ARRAYS:
        print_of.update(np.ascontiguousarray(getattr(data, name)).tobytes())
    for table in (data.truth, data.prior):
        print_of.update(table.to_csv(index=False).encode())
    return print_of.hexdigest()


def average_precision(true, score) -> float:
    from sklearn.metrics import average_precision_score

    return average_precision_score(true, score)


# --- the network and the prior ----------------------------------------------------------------


def test_shapes_and_types(small):
    assert small.genes.shape == (60,) and small.regulators.shape == (12,)
    assert small.genes[:12].tolist() == small.regulators.tolist()
    assert small.genes.tolist() == sorted(set(small.genes.tolist()))
    for name in ("counts", "normalized", "imputed", "true_expression"):
        values = getattr(small, name)
        assert values.shape == (150, 60)
        assert np.isfinite(values).all() and (values >= 0).all()
    assert small.counts.dtype == np.int32
    assert small.normalized.dtype == small.imputed.dtype == np.float32
    assert small.components.shape == (150, 20)
    assert np.unique(small.groups, return_counts=True)[1].tolist() == [75, 75]


def test_every_target_has_as_many_regulators_as_asked_in_every_group(demo):
    truth = demo.truth
    assert list(truth) == ["group", "source", "target", "weight"]
    assert set(truth["source"]) <= set(demo.regulators)
    assert not (truth["source"] == truth["target"]).any()
    assert not truth.duplicated(["group", "source", "target"]).any()
    assert truth["weight"].abs().between(1.5, 4.0).all()
    plain = truth[~truth["target"].isin(demo.regulators)]
    degree = plain.groupby(["group", "target"]).size()
    assert len(degree) == 3 * 360
    assert degree.min() == 2 and degree.max() == 6


def test_masters_are_the_regulators_that_nothing_regulates(demo):
    regulated = set(demo.truth["target"]) & set(demo.regulators)
    assert len(demo.regulators) - len(regulated) == 10


def test_regulators_differ_in_their_number_of_targets(demo):
    out = demo.truth[demo.truth["group"] == "group_1"].groupby("source").size()
    assert out.max() > 3 * out.median()


def test_without_feedback_the_regulators_form_an_acyclic_network():
    networkx = pytest.importorskip("networkx")
    for feedback, acyclic in ((0.0, True), (1.0, False)):
        data = simulate(60, 15, 40, 2, feedback=feedback, parents=(1, 3), seed=3)
        edges = data.truth[data.truth["target"].isin(data.regulators)]
        graph = networkx.DiGraph(list(zip(edges["source"], edges["target"], strict=True)))
        assert networkx.is_directed_acyclic_graph(graph) is acyclic


@pytest.mark.parametrize("rewired", [0.0, 0.2])
def test_groups_share_a_core_and_swap_the_share_asked_for(rewired):
    truth = simulate(**SMALL, rewired=rewired).truth
    one, two = (
        set(zip(table["source"], table["target"], strict=True))
        for _, table in truth.groupby("group")
    )
    assert len(one) == len(two)
    shared = len(one & two) / len(one)
    # Each swaps a fifth; both lose it, unless they swap the same edge.
    assert shared == 1.0 if rewired == 0 else 0.55 <= shared <= 0.75
    again = truth.groupby(["source", "target"])["weight"].nunique()
    assert (again == 1).all(), "an edge has the same weight in every group that has it"


@given(
    missing=st.sampled_from([0.0, 0.2, 0.5]),
    false=st.sampled_from([0.0, 0.5, 1.3, 3.0]),
    seed=st.integers(0, 50),
)
def test_prior_lacks_and_adds_as_many_edges_as_asked(missing, false, seed):
    data = simulate(
        40, 10, 30, 2, parents=(1, 2), steps=1, prior_missing=missing, prior_false=false, seed=seed
    )
    union = data.truth.drop_duplicates(["source", "target"])
    label = data.gold()["label"]
    kept = len(union) - round(missing * len(union))
    assert label.sum() == kept
    assert (label == 0).sum() == round(false * kept)
    prior = data.prior
    assert not prior.duplicated(["source", "target"]).any()
    assert not (prior["source"] == prior["target"]).any()
    assert prior["weight"].between(0, 1, inclusive="neither").all()
    assert prior[["target", "source"]].equals(
        prior[["target", "source"]].sort_values(["target", "source"])
    ), "the order of the prior's edges must not tell which are true"


def test_gold_labels_are_membership_in_the_truth(small):
    for group, truth in [
        (None, small.truth),
        ("group_2", small.truth[small.truth["group"] == "group_2"]),
    ]:
        true = set(zip(truth["source"], truth["target"], strict=True))
        gold = small.gold(group)
        expected = [pair in true for pair in zip(gold["source"], gold["target"], strict=True)]
        assert (gold["label"] == expected).all()
    assert small.gold("group_2")["label"].sum() < small.gold()["label"].sum()


def test_prior_weight_says_a_little_and_as_much_as_asked():
    from sklearn.metrics import roc_auc_score

    for auroc in (0.5, 0.6, 0.9):
        data = simulate(60, 40, 600, 1, steps=1, prior_auroc=auroc, prior_false=2.0)
        found = roc_auc_score(data.gold()["label"], data.prior["weight"])
        assert found == pytest.approx(auroc, abs=0.04)


def test_degrees_in_the_prior_do_not_give_the_truth_away(demo):
    from sklearn.metrics import roc_auc_score

    label = demo.gold()["label"]
    for side in ("source", "target"):
        degree = demo.prior.groupby(side)[side].transform("size")
        assert abs(roc_auc_score(label, degree) - 0.5) < 0.12


# --- the data ---------------------------------------------------------------------------------


def test_counts_look_like_those_of_droplets(demo):
    counts = demo.counts
    mean, variance = counts.mean(axis=0), counts.var(axis=0)
    assert 0.6 < (counts == 0).mean() < 0.9
    assert 0.6 * 400 < counts.sum(axis=1).mean() < 1.2 * 400
    assert 0.25 < np.log(counts.sum(axis=1)).std() < 0.5
    assert np.median(variance / mean) > 1.3
    assert (variance > mean)[mean > 0.5].all()
    assert mean.max() / np.median(mean) > 8, "few genes hold most transcripts"
    zero = (counts == 0).mean(axis=0)
    assert np.corrcoef(np.log(mean), zero)[0, 1] < -0.9
    middling = (mean > 0.5) & (mean < 5)
    assert (zero > np.exp(-mean))[middling].all(), "more zeros than a Poisson distribution"


def test_normalized_is_log1p_of_ten_thousand_per_cell(demo):
    total = np.expm1(demo.normalized.astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(total, 1e4, rtol=1e-5)
    assert ((demo.normalized == 0) == (demo.counts == 0)).all()


def test_imputed_is_the_mean_over_the_nearest_cells(small):
    far = ((small.components[:, None].astype(float) - small.components) ** 2).sum(axis=2)
    near = np.argsort(far, axis=1)[:, :10]  # at least ten, for so few cells
    np.testing.assert_allclose(
        small.imputed, small.normalized[near].mean(axis=1), rtol=1e-4, atol=1e-5
    )
    assert simulate(**SMALL, neighbours=1).imputed == pytest.approx(small.normalized)


def test_components_are_those_of_the_normalized_layer(small):
    centred = small.normalized.astype(float) - small.normalized.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    expected = np.abs(left * size)[:, :20]
    np.testing.assert_allclose(np.abs(small.components), expected, rtol=1e-2, atol=2e-2)
    wide = simulate(**SMALL | {"cells": 40})  # fewer cells than genes
    assert wide.components.shape == (40, 20)
    assert np.ptp(wide.components[:, 0]) > np.ptp(wide.components[:, 19]) > 0


def test_groups_differ(demo):
    means = np.stack(
        [demo.components[demo.groups == g].mean(axis=0) for g in np.unique(demo.groups)]
    )
    nearest = ((demo.components[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    right = (np.unique(demo.groups)[nearest] == demo.groups).mean()
    assert 0.8 < right < 1.0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_dropout_hides_the_share_of_entries_asked_for(share):
    plain = simulate(**SMALL, depth=8.0, dropout=0.0).counts
    hidden = simulate(**SMALL, depth=8.0, dropout=share).counts
    assert (hidden <= plain).all()
    same = hidden == plain
    assert same[plain == 0].all()
    # Entries that were zero already cannot be seen to drop out, and low ones drop out most.
    assert (~same).mean() <= share + 0.01
    assert (~same).mean() >= 0.4 * share


def test_inference_is_neither_trivial_nor_hopeless(demo):
    ratio = {"imputed": [], "normalized": [], "true_expression": [], "prior": []}
    for group in np.unique(demo.groups):
        label = demo.gold(group)["label"]
        for layer, found in ratio.items():
            table = demo.prior if layer == "prior" else demo.correlations(layer, group)
            found.append(average_precision(label, table["weight"].abs()) / label.mean())
    ratio = {layer: np.mean(found) for layer, found in ratio.items()}
    assert 1.05 < ratio["prior"] < 1.5
    assert 1.5 < ratio["imputed"] < 3.0
    assert 1.5 < ratio["normalized"] < 3.0
    assert ratio["true_expression"] > 3.0, "sampling noise is what makes it hard"


def test_averaging_neighbours_inflates_correlations_of_false_edges(demo):
    false = np.concatenate([demo.gold(g)["label"] == 0 for g in np.unique(demo.groups)])
    raw = demo.correlations("normalized")["weight"].abs()[false].median()
    averaged = demo.correlations("imputed")["weight"].abs()[false].median()
    assert averaged > 3 * raw


def test_correlations_are_pearsons(small):
    table = small.correlations("normalized")
    assert list(table) == ["group", "source", "target", "weight"]
    assert len(table) == 2 * len(small.prior)
    index = {name: i for i, name in enumerate(small.genes)}
    for row in table.iloc[::37].itertuples():
        values = small.normalized[small.groups == row.group].astype(float)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a gene that does not vary
            pair = np.corrcoef(values[:, index[row.source]], values[:, index[row.target]])
        assert row.weight == pytest.approx(np.nan_to_num(pair[0, 1]), abs=1e-9)


# --- kinetics ---------------------------------------------------------------------------------


def test_a_knockout_moves_direct_targets_against_the_sign_of_the_edge(middle):
    index = {name: i for i, name in enumerate(middle.genes)}
    right = []
    for name in middle.truth.groupby("source").size().nlargest(3).index:
        silenced = simulate(**MIDDLE, knockout=name)
        assert silenced.knockout == (name,)
        pd.testing.assert_frame_equal(silenced.truth, middle.truth)
        pd.testing.assert_frame_equal(silenced.prior, middle.prior)
        assert silenced.true_expression[:, index[name]].max() < 5  # noise at zero, no production
        for group, edges in middle.truth[middle.truth["source"] == name].groupby("group"):
            here = middle.groups == group
            target = [index[gene] for gene in edges["target"]]
            change = (silenced.true_expression - middle.true_expression)[here][:, target].mean(
                axis=0
            )
            right.extend(np.sign(change) == -np.sign(edges["weight"]))
    assert len(right) > 100
    # Not all: an indirect effect may outweigh the direct one.
    assert np.mean(right) > 0.9


def test_a_knockout_of_a_leaf_changes_its_targets_and_nothing_else(middle):
    networkx = pytest.importorskip("networkx")
    graph = networkx.DiGraph(list(zip(middle.truth["source"], middle.truth["target"], strict=True)))
    name = min(middle.regulators, key=lambda name: len(networkx.descendants(graph, name)))
    downstream = networkx.descendants(graph, name) | {name}
    assert len(downstream) < 100
    silenced = simulate(**MIDDLE, knockout=[name])
    same = (silenced.true_expression == middle.true_expression).all(axis=0)
    assert set(middle.genes[~same]) == downstream


def test_without_noise_expression_rests_where_production_is_decay():
    settings = SMALL | {"feedback": 0.0}
    short = simulate(**settings, intrinsic=0.0, steps=200).true_expression
    long = simulate(**settings, intrinsic=0.0, steps=600).true_expression
    np.testing.assert_allclose(short, long, rtol=0.02)
    noisy = simulate(**settings).true_expression
    assert np.abs(noisy / long - 1).mean() > 0.05


def test_extreme_kinetics_stay_finite():
    data = simulate(
        **SMALL, strength=(50.0, 90.0), hill=10.0, extrinsic=3.0, intrinsic=3.0, dispersion=0.0
    )
    assert np.isfinite(data.true_expression).all() and (data.true_expression >= 0).all()
    assert np.isfinite(data.normalized).all()
    empty = simulate(**SMALL, depth=1e-3)
    assert (empty.counts.sum(axis=1) == 0).any()
    assert np.isfinite(empty.normalized).all() and np.isfinite(empty.imputed).all()


# --- the same seed, the same bytes ------------------------------------------------------------


def test_same_seed_same_bytes_other_seed_other_bytes(small):
    assert digest(simulate(**SMALL)) == digest(small)
    assert digest(simulate(**SMALL, seed=1)) != digest(small)


def test_independent_of_the_hash_seed(small):
    code = (
        "from unigrn.datasets import simulate; import hashlib;"
        f"d = simulate(**{SMALL!r});"
        "print(hashlib.sha256(d.counts.tobytes() + d.prior.to_csv().encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = hashlib.sha256(small.counts.tobytes() + small.prior.to_csv().encode()).hexdigest()
    assert found == {here}


def test_one_stage_does_not_disturb_another(small):
    other = simulate(**SMALL, prior_false=1.0, prior_missing=0.5, depth=0.5)
    pd.testing.assert_frame_equal(other.truth, small.truth)
    assert (other.true_expression == small.true_expression).all()


def test_anndata(small):
    from scipy import sparse

    data = small.to_anndata()
    assert data.shape == (150, 60)
    assert sparse.issparse(data.X) and data.X.format == "csr"
    assert (data.X.toarray() == small.counts).all()
    assert set(data.layers) == {"counts", "normalized", "imputed"}
    assert (data.layers["counts"].toarray() == small.counts).all()
    assert (data.layers["normalized"].toarray() == small.normalized).all()
    assert (data.layers["imputed"] == small.imputed).all()
    assert isinstance(data.obs["group"].dtype, pd.CategoricalDtype)
    assert data.obs["group"].tolist() == small.groups.tolist()
    assert data.obsm["X_pca"].shape == (150, 20)
    assert data.var_names[data.var["is_regulator"]].tolist() == small.regulators.tolist()


def test_anndata_survives_a_file(small, tmp_path):
    import anndata

    small.to_anndata().write_h5ad(tmp_path / "demo.h5ad")
    again = anndata.read_h5ad(tmp_path / "demo.h5ad")
    assert (again.layers["imputed"] == small.imputed).all()
    assert again.obs["group"].tolist() == small.groups.tolist()


# --- linear data ------------------------------------------------------------------------------


def test_linear_follows_its_formula():
    data = linear(4000, 20, 50, (4, 9), noise=0.7, seed=5, active=3)
    assert data.X.shape == (4000, 20) and data.Y.shape == (4000, 50)
    assert data.X.dtype == data.Y.dtype == data.coefficients.dtype == np.float32
    signal = data.X @ data.coefficients
    np.testing.assert_allclose(signal.var(axis=0), 1.0, atol=0.12)
    np.testing.assert_allclose((data.Y - signal).std(axis=0), 0.7, atol=0.05)
    np.testing.assert_allclose(data.X.var(axis=0), 1.0, atol=0.12)
    exact = linear(200, 20, 50, (4, 9), noise=0.0)
    np.testing.assert_allclose(exact.Y, exact.X @ exact.coefficients, atol=1e-5)


def test_linear_correlation_comes_from_shared_factors():
    def mean_square(correlation):
        together = np.corrcoef(linear(3000, 20, 5, 5, correlation=correlation).X.T)
        return (together[np.triu_indices(20, 1)] ** 2).mean()

    assert mean_square(0.0) < 0.002 < 0.05 < mean_square(0.8)


def test_linear_candidates_hold_the_true_regulators():
    data = linear(10, 30, 80, (3, 12), active=4)
    counts = np.diff(data.indptr)
    assert counts.min() >= 3 and counts.max() <= 12 and len(np.unique(counts)) > 5
    for j in range(80):
        candidates = data.index[data.indptr[j] : data.indptr[j + 1]]
        true = np.flatnonzero(data.coefficients[:, j])
        assert (np.diff(candidates) > 0).all()
        assert len(true) == min(4, len(candidates)) and set(true) <= set(candidates)
    prior, truth = data.prior, data.truth
    assert len(prior) == data.indptr[-1] and (prior["weight"] == 1).all()
    assert len(truth) == (data.coefficients != 0).sum()
    assert len(truth.merge(prior, on=["source", "target"])) == len(truth)
    row = truth.iloc[17]
    place = (
        data.regulators.tolist().index(row["source"]),
        data.targets.tolist().index(row["target"]),
    )
    assert data.coefficients[place] == np.float32(row["weight"])


def test_linear_anndata():
    data = linear(25, 6, 9, (2, 4))
    found = data.to_anndata()
    assert found.var_names.tolist() == data.genes.tolist()
    assert (found.X == np.concatenate([data.X, data.Y], axis=1)).all()
    assert found.var["is_regulator"].sum() == 6


def test_linear_is_the_head_of_the_stream():
    settings = {"regulators": 7, "targets": 11, "candidates": (2, 5), "seed": 3}
    data, source = linear(700, **settings), stream(10_000, **settings)
    assert (np.concatenate([data.X, data.Y], axis=1) == source.read(0, 700)).all()
    pd.testing.assert_frame_equal(data.truth, source.truth)
    pd.testing.assert_frame_equal(data.prior, source.prior)


@pytest.fixture(scope="module")
def source():
    return stream(9_000, 4, 6, (2, 3), seed=8)


@pytest.fixture(scope="module")
def whole(source):
    return source.read(0, 9_000)


@given(start=st.integers(0, 9_000), length=st.integers(0, 9_000))
def test_stream_gives_the_same_rows_in_any_blocking(source, whole, start, length):
    stop = min(9_000, start + length)
    rows = source.read(start, stop)
    assert rows.dtype == np.float32 and rows.shape == (stop - start, 10)
    assert rows.tobytes() == whole[start:stop].tobytes()


def test_stream_rows_are_fresh_in_every_block(source, whole):
    assert source.shape == whole.shape == (9_000, 10)
    assert len(np.unique(whole[:, 0])) > 8_990
    assert not (stream(9_000, 4, 6, (2, 3), seed=9).read(0, 10) == whole[:10]).any()
    longer = stream(1_000_000, 4, 6, (2, 3), seed=8)
    assert (longer.read(0, 9_000) == whole).all(), "the number of cells changes no row"
    assert longer.read(999_990, 1_000_000).shape == (10, 10)


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cells": -5}, "cells is -5; needed 2 or more"),
        ({"cells": 10.5}, "cells is 10.5; needed a whole number"),
        ({"regulators": 50, "genes": 40}, "regulators is 50 and genes is 40"),
        ({"groups": 0}, "groups is 0; needed 1 or more"),
        ({"cells": 4, "groups": 5}, "needed a cell in every group"),
        ({"parents": (0, 3)}, r"parents is \(0, 3\)"),
        ({"parents": (5, 3)}, r"parents is \(5, 3\); needed low <= high"),
        ({"parents": 4}, "parents is 4; needed two numbers"),
        ({"rewired": 1.5}, "rewired is 1.5; needed a number 0 to 1"),
        ({"repressors": -0.1}, "repressors is -0.1"),
        ({"feedback": float("nan")}, "feedback is nan"),
        ({"dropout": 1.0}, "dropout is 1.0; needed a number 0 to 1, below 1"),
        ({"prior_missing": 1.0}, "prior_missing is 1.0"),
        ({"prior_auroc": 0.3}, "prior_auroc is 0.3; needed a number 0.5 to 1"),
        ({"prior_false": -1.0}, "prior_false is -1.0; needed a number 0 or more"),
        ({"prior_false": 500.0}, "prior_false is 500, .* so needed at most"),
        ({"dispersion": float("inf")}, "dispersion is inf"),
        ({"depth": 0}, "depth is 0; needed a positive number"),
        ({"hill": 11.0}, "hill is 11.0; needed a number 0 to 10"),
        ({"strength": (3.0, 1.0)}, r"strength is \(3.0, 1.0\); needed low <= high"),
        ({"neighbours": 151}, "neighbours is 151; needed at most the 150 cells"),
        ({"steps": 0}, "steps is 0"),
        ({"knockout": "gene01"}, "knockout names 'gene01'; needed regulators, TF01 to TF12"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": "one"}, "seed is 'one'"),
    ],
)
def test_simulate_refuses_nonsense_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        simulate(**SMALL | {"steps": 1} | arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("function", [linear, stream])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cells": 0}, "cells is 0; needed 1 or more"),
        ({"targets": -1}, "targets is -1"),
        ({"candidates": (5, 31)}, "needed 1 <= fewest <= most <= regulators = 30"),
        ({"candidates": 0}, r"candidates is \(0, 0\)"),
        ({"candidates": (1.5, 2)}, "candidates is 1.5; needed a whole number"),
        ({"noise": -1.0}, "noise is -1.0"),
        ({"correlation": 1.0}, "correlation is 1.0"),
        ({"active": 0}, "active is 0"),
    ],
)
def test_linear_and_stream_refuse_nonsense_in_one_line(function, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        function(**{"cells": 100} | arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (6, 5), (0, 9_001)])
def test_stream_refuses_rows_it_does_not_have(source, start, stop):
    with pytest.raises(ValueError, match="needed 0 <= start <= stop <= 9000"):
        source.read(start, stop)


def test_unknown_groups_and_layers_are_named(small):
    with pytest.raises(ValueError, match="group is 'group_9'; needed one of group_1, group_2"):
        small.gold("group_9")
    with pytest.raises(ValueError, match="group is 'group_9'"):
        small.correlations(group="group_9")
    with pytest.raises(ValueError, match="layer is 'raw'; needed one of counts"):
        small.correlations("raw")


def test_the_module_imports_nothing_heavy():
    # By path: the package around it may import more.
    code = (
        "import sys, importlib.util as u;"
        f"s = u.spec_from_file_location('datasets', {datasets.__file__!r});"
        "m = sys.modules['datasets'] = u.module_from_spec(s); s.loader.exec_module(m);"
        "print([m for m in ('pandas', 'anndata', 'scipy', 'jax') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
