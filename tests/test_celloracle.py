"""CellOracle: against the recorded outputs of the released program, and what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from support import compare_links, more_cells_than_regulators, read_case

import unigrn
from unigrn.datasets import linear
from unigrn.methods.celloracle import filter_links, to_celloracle

HERE = Path(__file__).parent


@pytest.fixture(scope="module", params=["edge_cases", "three_clusters"])
def recorded(request):
    """A recorded case and its folder; the small one travels with the tests."""
    if request.param == "edge_cases":
        root = HERE
    else:
        root = request.getfixturevalue("shared")
    return read_case(root, request.param), root / "fixtures" / "celloracle" / request.param


def run(folder, method, dtype="float64", **hyper):
    with warnings.catch_warnings():
        # Cluster C of the small case has 8 cells, which is said; see the tests of few cells.
        warnings.filterwarnings("ignore", "1 group .*too few for the p", unigrn.UnigrnWarning)
        return unigrn.infer(
            folder / "expression.h5ad",
            folder / "prior.tsv",
            method,
            groupby="cluster",
            dtype=dtype,
            **hyper,
        )


def test_bagging_ridge_is_the_released_one(recorded):
    case, folder = recorded
    figures = compare_links(run(folder, "celloracle", draws="released").edges, case.bagging)
    assert figures["edges"] == len(case.bagging)
    assert figures["missing"] == figures["extra"] == 0
    assert figures["weight"] <= 1e-5
    assert figures["noise_weight"] <= 1e-9
    assert figures["log10_p"] <= 1e-3
    assert figures["p_undefined"] == 0
    assert figures["decisions"] == 0
    assert figures["top_2000"] == figures["top_10000"] == 0


def test_filter_keeps_the_recorded_top(recorded):
    case, folder = recorded
    network = run(folder, "celloracle", draws="released")
    for top in (2000, 10000):
        kept = filter_links(network, top=top).edges
        theirs = case.bagging[case.bagging["p"] <= 1e-3]
        theirs = theirs.assign(size=theirs["weight"].abs()).sort_values("size", ascending=False)
        theirs = theirs.groupby("group").head(top)
        key = ["group", "source", "target"]
        assert set(kept[key].itertuples(index=False, name=None)) == set(
            theirs[key].itertuples(index=False, name=None)
        )


def test_bayesian_ridge_is_the_released_one(recorded):
    case, folder = recorded
    ours = more_cells_than_regulators(run(folder, "celloracle_bayesian").edges, case.groups)
    theirs = more_cells_than_regulators(case.bayesian, case.groups)
    figures = compare_links(ours, theirs)
    assert figures["edges"] == len(theirs)
    assert figures["missing"] == figures["extra"] == 0
    assert figures["weight"] <= 1e-4
    assert figures["log10_p"] <= 1e-3


def test_links_in_the_released_form(recorded):
    case, folder = recorded
    links = to_celloracle(run(folder, "celloracle", draws="released"))
    assert sorted(links) == sorted(set(case.groups))
    for table in links.values():
        assert list(table.columns) == ["source", "target", "coef_mean", "coef_abs", "p", "-logp"]
        assert np.isfinite(table["-logp"]).all() or (table["p"] == 0).any()
        assert (table.loc[table["p"].isna(), "-logp"] == 0).all()


@pytest.mark.parametrize(
    "method, hyper",
    [
        ("celloracle", {"draws": "released"}),
        ("celloracle", {}),
        ("celloracle_bayesian", {}),
        ("masked_lasso", {"strength": 1.0}),
        ("masked_ridge", {}),
    ],
)
def test_single_precision_is_near_double(recorded, method, hyper):
    case, folder = recorded
    key = ["group", "source", "target"]
    single, double = (run(folder, method, dtype, **hyper).edges for dtype in ("float32", "float64"))
    if method in ("celloracle_bayesian", "masked_lasso"):
        # With about as many regulators as cells their answers are not stable under rounding.
        single, double = (t[t["group"] != "C"] for t in (single, double))
    both = double.merge(single, on=key, how="outer", suffixes=("", "_single")).fillna(
        {"weight": 0, "weight_single": 0}
    )
    largest = both["weight"].abs().groupby([both["group"], both["target"]]).transform("max")
    gap = (both["weight"] - both["weight_single"]).abs()
    assert (gap <= 1e-4 * largest + 1e-12).all()


def prior_of(data):
    return unigrn.Prior.from_edges(data.prior)


@pytest.mark.parametrize("draws", ["shared", "released"])
def test_shared_and_released_draws_have_one_distribution(draws):
    """Means over 200 bags agree within Monte-Carlo error; other ways of drawing do not."""
    data = linear(60, 12, 40, (4, 9), noise=1.0, seed=4)
    adata, prior = data.to_anndata(), prior_of(data)

    def bags(**hyper):
        edges = (
            unigrn.infer(adata, prior, "celloracle", dtype="float64", bags=200, **hyper)
            .edges.set_index(["source", "target"])
            .sort_index()
        )
        # The released p gives back the standard error of the mean over bags.
        from scipy.stats import t

        size = t.isf(edges["p"] / 2, edges["bags_drawn"] - 1)
        return edges["weight"], edges["weight"].abs() / size

    def misfit(a, b):
        z = (a[0] - b[0]) / np.sqrt(a[1] ** 2 + b[1] ** 2)
        z = z[np.isfinite(z)]
        assert len(z) > 200
        return float((z**2).mean())

    released = bags(draws="released")
    if draws == "shared":
        # Edges of a bag share its cells, so z^2 is averaged over few independent draws: over
        # seeds it stays between 0.6 and 1.6, where a wrong distribution gives 3 and more.
        values = [misfit(bags(draws="shared", seed=seed), released) for seed in range(4)]
        assert 0.6 < np.mean(values) < 1.5, values
    else:
        wrong = bags(draws="shared", max_features=1.0)
        assert misfit(wrong, released) > 3
        wrong = bags(draws="shared", alpha=20.0)
        assert misfit(wrong, released) > 3


def test_the_same_call_gives_the_same_bytes(tmp_path):
    """Whatever Python's hash seed, in separate processes."""
    folder = HERE / "fixtures" / "celloracle" / "edge_cases"
    digests = set()
    for seed in ("0", "1"):
        out = tmp_path / f"network{seed}.tsv"
        code = (
            f"import unigrn; unigrn.infer({str(folder / 'expression.h5ad')!r}, "
            f"{str(folder / 'prior.tsv')!r}, 'celloracle', groupby='cluster', permutations=1)"
            f".write({str(out)!r})"
        )
        env = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], check=True, env=env, cwd=HERE.parent
        )
        meta = Path(f"{out}.meta.json").read_bytes()
        digests.add((out.read_bytes(), meta))
    assert len(digests) == 1


def test_permuting_genes_changes_no_number():
    data = linear(80, 12, 30, (4, 9), seed=1)
    adata, prior = data.to_anndata(), prior_of(data)
    other = adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy()
    for method in ("celloracle", "celloracle_bayesian"):
        first, second = (unigrn.infer(a, prior, method).edges for a in (adata, other))
        pd.testing.assert_frame_equal(first, second)


def test_permuting_cells_changes_unbagged_methods_by_rounding():
    data = linear(80, 12, 30, (4, 9), seed=1)
    adata, prior = data.to_anndata(), prior_of(data)
    other = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    key = ["source", "target"]
    for method in ("celloracle_bayesian", "masked_ridge"):
        first, second = (
            unigrn.infer(a, prior, method, dtype="float64").edges.sort_values(key)
            for a in (adata, other)
        )
        np.testing.assert_allclose(first["weight"], second["weight"], rtol=0, atol=1e-10)


def test_another_seed_draws_other_bags():
    data = linear(80, 12, 30, (4, 9), seed=1)
    adata, prior = data.to_anndata(), prior_of(data)
    weights = [
        unigrn.infer(adata, prior, "celloracle", seed=s).edges["weight"].sum() for s in (0, 1)
    ]
    assert weights[0] != weights[1]
    released = [
        unigrn.infer(adata, prior, "celloracle", seed=s, draws="released").edges for s in (0, 1)
    ]
    pd.testing.assert_frame_equal(*released)


def test_prior_as_a_dict_of_candidates():
    data = linear(80, 12, 30, (4, 9), seed=1)
    adata = data.to_anndata()
    table = {t: sorted(g["source"]) for t, g in data.prior.groupby("target")}
    first = unigrn.infer(adata, table, "celloracle").edges
    second = unigrn.infer(adata, data.prior, "celloracle").edges
    pd.testing.assert_frame_equal(first, second)


def test_groups_with_little_to_say():
    """One cell, an empty category, cells without a group, a target without candidates."""
    data = linear(50, 6, 10, (2, 4), seed=3)
    adata = data.to_anndata()
    labels = pd.Series(["many"] * 45 + ["single"] + [None] * 4, dtype="category")
    adata.obs["state"] = labels.cat.add_categories(["nobody"]).to_numpy()
    adata.obs["state"] = pd.Categorical(adata.obs["state"], categories=["many", "nobody", "single"])
    prior = data.prior
    lonely = prior["target"].iloc[0]
    prior = prior[prior["target"] != lonely]
    prior = pd.concat(
        [prior, pd.DataFrame({"source": [lonely], "target": [lonely], "weight": [1.0]})]
    )
    with pytest.warns(unigrn.UnigrnWarning, match="1 group .*1 cells.* too few for the p"):
        network = unigrn.infer(adata, prior, "celloracle", groupby="state")
    assert network.groups == ("many", "single")
    alone = network.edges[network.edges["group"] == "single"]
    assert (alone["weight"] == 0).all() and alone["p"].isna().all()
    many = network.edges[network.edges["group"] == "many"]
    assert (many["weight"] != 0).any() and np.isfinite(many["weight"]).all()
    text = "\n".join(network.alignment.lines())
    for said in (
        "group nobody has no cell",
        "4 cells have no group",
        "one cell only",
        lonely,
        "no defined p",
    ):
        assert said in text
    status = network.certificate.set_index(["group", "target"])["status"]
    assert status["many", lonely] == "no candidate regulators"


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda x: np.round(np.expm1(np.abs(x) * 3)), "raw counts"),
        (lambda x: np.expm1(np.abs(x) * 3) + 0.5, "unlogged"),
        (lambda x: np.where(x < np.quantile(x, 0.8), 0, np.abs(x)), "sparser"),
        (lambda x: x - x.mean(0), "values go down to -"),
    ],
)
def test_input_that_looks_wrong_is_said(change, said):
    data = linear(60, 6, 10, (2, 4), seed=3)
    adata = data.to_anndata()
    adata.X = change(np.asarray(adata.X, dtype=np.float64))
    with pytest.warns(unigrn.UnigrnWarning, match=said):
        network = unigrn.infer(adata, data.prior, "celloracle")
    assert any(said in text for text in network.provenance["warnings"])


def positive(data):
    """Move the expression of simulated cells above 0."""
    adata = data.to_anndata()
    adata.X = adata.X - adata.X.min()
    return adata


def test_good_input_raises_no_warning():
    data = linear(60, 12, 30, (4, 9), seed=1)
    network = unigrn.infer(positive(data), data.prior, "celloracle")
    assert network.provenance["warnings"] == []


@pytest.mark.parametrize("method", ["celloracle", "celloracle_bayesian"])
@pytest.mark.parametrize(
    "cells, candidates, few", [(19, 4, True), (20, 4, False), (24, 25, True), (25, 25, False)]
)
def test_few_cells_are_said_where_p_looks_small(method, cells, candidates, few):
    """Below 20 cells, or below the candidates of a target."""
    data = linear(cells, 26, 6, (candidates, candidates), seed=2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        network = unigrn.infer(positive(data), data.prior, method)
    texts = [str(w.message) for w in said if w.category is unigrn.UnigrnWarning]
    texts = [text for text in texts if "look swapped" not in text]  # 26 regulators of 6 targets
    assert len(texts) == few and texts == network.provenance["warnings"]
    if few:
        assert f"the {cells} cells are too few for the p of" in texts[0]
        assert "permutations=1" in texts[0] and len(texts[0]) <= 300


def test_permuted_targets_stand_beside_p_unless_the_bags_are_the_released_ones():
    data = linear(200, 12, 60, (4, 9), noise=0.5, seed=1)
    network = unigrn.infer(data.to_anndata(), data.prior, "celloracle")
    above = int((network.edges["fdr"] <= 0.05).sum())
    assert 0 < above < len(network.edges)
    said = "\n".join(network.alignment.lines())
    assert f"{above:,} of {len(network.edges):,} edges stand above permuted targets" in said
    cells = data.to_anndata()
    cells.obs["half"] = ["u", "v"] * (cells.n_obs // 2)
    halves = unigrn.infer(cells, data.prior, "celloracle", groupby="half")
    parts = [f"{g} {(t['fdr'] <= 0.05).sum():,}" for g, t in halves.edges.groupby("group")]
    assert f"(fdr <= 0.05) ({', '.join(parts)})" in "\n".join(halves.alignment.lines())
    plain = unigrn.infer(data.to_anndata(), data.prior, "celloracle", permutations=0).edges
    assert "fdr" not in plain
    key = ["source", "target"]
    both = network.edges.merge(plain, on=key, suffixes=("", "_plain"))
    np.testing.assert_allclose(both["weight"], both["weight_plain"], rtol=1e-5, atol=1e-6)
    released = unigrn.infer(data.to_anndata(), data.prior, "celloracle", draws="released")
    assert "fdr" not in released.edges


@pytest.mark.parametrize(
    "hyper",
    [
        {"alpha": -1},
        {"alpha": float("nan")},
        {"alpha": "x"},
        {"bags": 0},
        {"bags": 1.5},
        {"max_features": 0},
        {"max_features": 1.1},
        {"draws": "mine"},
        {"permutations": -1},
        {"permutation": 1},
    ],
)
def test_hyperparameters_are_checked(hyper):
    data = linear(30, 6, 10, (2, 4), seed=3)
    with pytest.raises(ValueError, match=next(iter(hyper))):
        unigrn.infer(data.to_anndata(), data.prior, "celloracle", **hyper)


# ------------------------------------------------------------------------------------- real data


def scored(shared, name, network, **evaluate):
    from unigrn.evaluate import evaluate as score

    return score(network, shared / "datasets" / name / "gold.tsv", **evaluate)


def test_masked_ridge_on_yeast_reproduces_the_reference(shared):
    """Alpha = 0.1 n on z-scored genes in the motif prior: AUPRC ratio 3.3, EPR 6.1."""
    folder = shared / "datasets" / "yeast_stress"
    network = unigrn.infer(
        folder / "expression.h5ad", folder / "prior.tsv.gz", "masked_ridge", alpha=0.1
    )
    found = scored(
        shared,
        "yeast_stress",
        network,
        prior=folder / "prior.tsv.gz",
        expression=folder / "expression.h5ad",
    )
    assert found.metrics["auprc_ratio"] == pytest.approx(3.3, rel=0.05)
    assert found.metrics["epr"] == pytest.approx(6.1, rel=0.05)
    assert {"prior alone", "|Pearson|", "permuted targets"} <= set(found.baselines)


def test_hidden_targets_of_bsubtilis_get_no_edge_from_a_hard_mask(shared):
    """The prior of the held-out protocol names no test target, so a hard mask cannot score."""
    folder = shared / "datasets" / "bsubtilis"
    network = unigrn.infer(folder / "expression.h5ad", folder / "prior.tsv.gz", "celloracle")
    found = scored(
        shared,
        "bsubtilis",
        network,
        prior=folder / "prior.tsv.gz",
        targets=folder / "heldout_targets.txt",
    )
    assert found.metrics["auprc_ratio"] == pytest.approx(1.0)
    assert found.edges["in_universe"] == 0


def test_full_ridge_on_hidden_targets_of_bsubtilis_reproduces_the_reference(shared):
    """Ridge on all TFs, alpha = n, no self: AUPRC ratio 12.7, EPR 23.8, macro AUROC .76."""
    folder = shared / "datasets" / "bsubtilis"
    network = unigrn.infer(
        folder / "expression.h5ad",
        folder / "prior.tsv.gz",
        "full_ridge",
        regulators=folder / "tfs.txt",
        targets=folder / "heldout_targets.txt",
    )
    found = scored(
        shared,
        "bsubtilis",
        network,
        prior=folder / "prior.tsv.gz",
        targets=folder / "heldout_targets.txt",
    ).metrics
    assert found["auprc_ratio"] == pytest.approx(12.7, rel=0.01)
    assert found["epr"] == pytest.approx(23.8, rel=0.01)
    assert found["macro_auroc"] == pytest.approx(0.76, abs=0.01)


def test_data_objects_of_anndata_in_every_form():
    """Dense, CSR, CSC, integer, view and backed matrices give one network."""
    import scipy.sparse as sp

    data = linear(60, 6, 10, (2, 4), seed=3)
    values = np.round(np.abs(np.asarray(data.to_anndata().X)) * 4)
    genes = data.to_anndata().var_names
    prior = prior_of(data)
    forms = [
        values,
        values.astype(np.int32),
        values.astype(np.float32),
        sp.csr_matrix(values),
        sp.csc_matrix(values),
    ]
    networks = []
    for form in forms:
        adata = anndata.AnnData(form, var=pd.DataFrame(index=genes))
        adata.layers["again"] = adata.X.copy()
        for layer in (None, "again"):
            with pytest.warns(unigrn.UnigrnWarning, match="raw counts"):
                networks.append(unigrn.infer(adata, prior, "masked_ridge", layer=layer).edges)
    for other in networks[1:]:
        pd.testing.assert_frame_equal(networks[0], other)


@pytest.mark.parametrize("sparse", [None, "csr", "csc"])
def test_a_backed_file_gives_the_network_of_memory(tmp_path, sparse, monkeypatch):
    import scipy.sparse as sp

    data = linear(90, 6, 10, (2, 4), seed=3)
    adata = data.to_anndata()
    adata.obs["state"] = np.array(["a", "b", "c"])[np.arange(90) % 3]
    if sparse:
        adata.X = sp.csr_matrix(np.asarray(adata.X)).asformat(sparse)
    adata.write_h5ad(tmp_path / "data.h5ad")
    in_memory = unigrn.infer(adata, data.prior, "celloracle", groupby="state", dtype="float64")
    from_file = unigrn.infer(
        tmp_path / "data.h5ad", data.prior, "celloracle", groupby="state", dtype="float64"
    )
    first, second = (
        n.edges.sort_values(["group", "source", "target"]).reset_index(drop=True)
        for n in (in_memory, from_file)
    )
    pd.testing.assert_frame_equal(first, second, rtol=1e-9, atol=1e-12)
