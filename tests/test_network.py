"""Networks: what they hold, how they are filtered, and that files give them back."""

from __future__ import annotations

import gzip
import io as stdio
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import read_recorded

from unigrn import UnigrnWarning, exchange, files, read_prior
from unigrn.files import WriteError, atomic, delimited, graphml
from unigrn.methods.celloracle import filter_links, to_celloracle
from unigrn.network import Network, edge_score, plain, read_edges, varp_key
from unigrn.prior import AlignmentReport
from unigrn.status import FAILED, Status

ROOT = Path(__file__).resolve().parent.parent
TEXT = (".tsv", ".tsv.gz", ".txt", ".csv", ".csv.gz")
ALL = (*TEXT, ".parquet", ".graphml", ".h5ad")
NASTY = [
    *("NA", "nan", "NaN", "null", "None", "1", "1.0", "-0", "true", "1e5", "inf", "#N/A", "#x"),
    *("a\nb", "a\tb", "a\r\nb", "\r", "a,b", 'say "x"', "'", '"', '""', " ", " a ", "=1+1", "@x"),
    *("<script>alert(1)</script>", "&amp;", "]]>", "a/b", "%2F", "../x", ".", "é", "e\u0301"),
    *(
        "基因",
        "\U0001f9ec",
        "\ufeff",
        "\u2028",
        "HLA-A",
        "Nkx2.1",
        "_index",
        "source",
        "2020-01-01",
    ),
]


def build(
    names=("A", "B", "C"),
    groups=("g1", "g2"),
    method="celloracle",
    dtype=np.float32,
    seed=0,
    density=0.8,
    **more,
) -> Network:
    """A network of some regulators on all names, with every kind of column."""
    rng = np.random.default_rng(seed)
    names = list(names)
    regulators = names[: max(1, len(names) // 2 + 1)]
    rows = [
        (group, source, target)
        for group in groups or [None]
        for source in regulators
        for target in names
        if source != target and rng.random() < density
    ]
    table = pd.DataFrame(rows, columns=["group", "source", "target"], dtype=object)
    if groups is None:
        table = table.drop(columns="group")
    n = len(table)
    table["weight"] = rng.normal(size=n).astype(dtype)
    table["p"] = np.where(rng.random(n) < 0.3, np.nan, rng.random(n) ** 8)
    table["variance"] = rng.random(n).astype(np.float32)
    table["bags_drawn"] = rng.integers(1, 20, n)
    table["known"] = rng.random(n) < 0.5
    table["note"] = [None if flip else "x,\t" for flip in rng.random(n) < 0.5]
    certificate = pd.DataFrame(
        [
            (group, target, "converged" if number % 3 else "stalled", 10.0**-number, number)
            for number, (group, target) in enumerate(
                (group, target) for group in groups or [None] for target in names
            )
        ],
        columns=["group", "target", "status", "residual", "iterations"],
    )
    if groups is None:
        certificate = certificate.drop(columns="group")
    given = {
        "alignment": AlignmentReport().add("summary", 3, "3 genes", ["A"]),
        "provenance": {
            "method": method,
            "hyperparameters": {"alpha": np.float32(0.1), "limit": np.inf},
            "seed": 0,
            "versions": {"unigrn": "0"},
            "warnings": ["few cells <&>"],
        },
        "columns": {"p": "dispersion over bags, uncalibrated", "absent": "not there"},
    }
    given.update(more)
    return Network(table, regulators, names, groups, certificate, **given)


def assert_same(one: Network, other: Network, partial: bool = False) -> None:
    pd.testing.assert_frame_equal(one.edges, other.edges)
    np.testing.assert_array_equal(one.regulators, other.regulators)
    np.testing.assert_array_equal(one.targets, other.targets)
    assert one.groups == other.groups
    assert one.provenance == other.provenance
    assert one.columns == other.columns
    assert one.alignment == other.alignment
    assert one.certificate_summary() == other.certificate_summary()
    pd.testing.assert_frame_equal(one.not_converged(), other.not_converged())
    if not partial:
        pd.testing.assert_frame_equal(one.certificate, other.certificate)


# Construction


def test_parts_come_into_one_form():
    table = pd.DataFrame(
        {
            "weight": [1, -2],
            "target": pd.Categorical(["NA", "1"]),
            "source": ["b", "a"],
            "n": pd.array([1, None], dtype="Int64"),
            "ok": pd.array([True, False], dtype="boolean"),
        }
    )
    network = Network(table, ["b", "a"], np.array(["NA", "1"]))
    assert list(network.edges.columns) == ["source", "target", "weight", "n", "ok"]
    assert network.edges["weight"].dtype == np.float64
    assert network.edges["ok"].dtype == bool
    assert network.edges["n"].isna().tolist() == [False, True]
    assert network.edges["target"].tolist() == ["NA", "1"]
    assert network.edges["target"].dtype == object
    assert network.regulators.tolist() == ["a", "b"]
    assert network.targets.tolist() == ["1", "NA"]
    assert len(network.certificate) == 0
    assert table["weight"].dtype == np.int64  # the caller's table is left alone


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weight_keeps_its_precision(dtype):
    network = build(dtype=dtype)
    assert network.edges["weight"].dtype == dtype
    assert network.filter(p=None).edges["weight"].dtype == dtype
    assert network.matrix("g1").to_numpy().dtype == dtype


EDGE = {"source": ["a"], "target": ["c"], "weight": [1.0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": pd.DataFrame({"source": ["a"], "target": ["c"]})}, "lacks the column 'weight'"),
        ({"edges": [1]}, "needed a pandas DataFrame"),
        ({"edges": pd.DataFrame(EDGE | {"source": ["x"]})}, "not among the network's regulators"),
        ({"edges": pd.DataFrame(EDGE | {"target": [None]})}, "not among the network's targets"),
        ({"edges": pd.DataFrame(EDGE | {"source": [1]})}, "as text"),
        ({"edges": pd.DataFrame(EDGE | {"weight": [np.nan]})}, "not finite"),
        ({"edges": pd.DataFrame(EDGE | {"weight": [np.inf]})}, "'a' -> 'c' is inf"),
        ({"edges": pd.DataFrame(EDGE | {"weight": ["1"]})}, "needed numbers"),
        ({"edges": pd.DataFrame(EDGE | {"x": [1j]})}, "column 'x'"),
        ({"edges": pd.DataFrame(EDGE | {"x/y": [1]})}, "no '/' in names"),
        ({"edges": pd.DataFrame({k: v * 2 for k, v in EDGE.items()})}, "one row per edge"),
        ({"edges": pd.DataFrame(EDGE | {"group": ["g"]})}, "column 'group'"),
        ({"groups": ("g",)}, "lacks the column 'group'"),
        ({"groups": "g"}, "needed a sequence"),
        ({"groups": ("g", "g")}, "more than once"),
        ({"regulators": ["a", "a"]}, "regulators hold 'a' more than once"),
        ({"regulators": ["a", ""]}, "not empty"),
        ({"regulators": ["a", 1]}, "needed names that are text"),
        ({"targets": ["c", "d\0"]}, "NUL"),
        ({"targets": ["c", "\ud800"]}, "not valid Unicode"),
        ({"certificate": pd.DataFrame({"target": ["c"]})}, "certificate lacks the column 'status'"),
        (
            {"certificate": pd.DataFrame({"target": ["x"], "status": ["ok"]})},
            "certificate has 1 rows whose target",
        ),
        ({"certificate": pd.DataFrame({"target": ["c"], "status": [None]})}, "no text"),
        ({"provenance": {"alignment": 1}}, "'alignment'"),
    ],
)
def test_wrong_parts_are_refused(change, message):
    given = {"edges": pd.DataFrame(EDGE), "regulators": ["a", "b"], "targets": ["c"]}
    with pytest.raises(ValueError, match=message) as caught:
        Network(**(given | change))
    assert "\n" not in str(caught.value)


def test_a_network_without_edges_is_a_network(tmp_path):
    empty = Network(pd.DataFrame(EDGE).iloc[:0], ["a"], ["c", "d"])
    assert empty.matrix().to_numpy().tolist() == [[0, 0]]
    assert len(empty.rank()) == 0
    assert len(empty.filter(p=None).edges) == 0
    for suffix in ALL:
        empty.write(tmp_path / f"x{suffix}")
        assert_same(empty, Network.read(tmp_path / f"x{suffix}"))
        assert len(read_edges(tmp_path / f"x{suffix}")) == 0


def test_summary_says_what_a_reader_needs():
    network = build()
    text = str(network)
    assert f"{len(network.edges)} edges, 2 groups, 2 regulators, 3 targets" in text
    assert f"p: {network.edges['p'].isna().sum()} undefined; dispersion over bags" in text
    assert "uncalibrated" in text
    assert "certificate: 4 converged, 2 stalled; worst residual 1 (g1 / A)" in text
    assert "warning: few cells" in text
    assert repr(network) == (
        f"Network({len(network.edges)} edges, 2 groups, 2 regulators x 3 targets, celloracle)"
    )


def test_not_converged_are_the_failed_ones():
    targets = [f"t{status:d}" for status in Status]
    words = [status.message for status in Status]
    rows = pd.DataFrame({"target": targets, "status": words})
    network = Network(pd.DataFrame(EDGE | {"target": ["t0"]}), ["a"], targets, certificate=rows)
    assert network.not_converged()["status"].tolist() == [status.message for status in FAILED]


def test_infinite_residual_survives(tmp_path):
    rows = pd.DataFrame(
        {"target": ["c", "d", "e"], "status": ["failed", "failed", "exact"]}
    ).assign(residual=[np.inf, np.nan, 0.0])
    network = Network(pd.DataFrame(EDGE), ["a"], ["c", "d", "e"], certificate=rows)
    assert "worst residual inf (c)" in str(network)
    for suffix in (".tsv", ".parquet"):
        network.write(tmp_path / f"x{suffix}")
        back = Network.read(tmp_path / f"x{suffix}")
        assert_same(network, back, partial=True)
        assert str(back) == str(network)


def test_plain_values():
    def doubled(x):
        return 2 * x

    given = {
        "a": np.float32(0.1),
        2: (np.int64(3), np.bool_(True), np.nan, -np.inf),
        "set": {"b", "a"},
        "array": np.array([0.1, np.nan], np.float32),
        "names": np.array(["x"]),
        "scalar": np.array(2.5),
        "path": Path("x"),
        "function": doubled,
        "object": object(),
    }
    want = {
        "a": 0.1,
        "2": [3, True, None, "-inf"],
        "set": ["a", "b"],
        "array": [0.1, None],
        "names": ["x"],
        "scalar": 2.5,
        "path": "x",
        "function": f"{__name__}.test_plain_values.<locals>.doubled",
        "object": "builtins.object",
    }
    assert plain(given) == want
    assert plain(want) == want
    assert type(plain(np.str_("x"))) is str


# Order, filter, matrix


def test_score_leads_where_there_is_one():
    table = pd.DataFrame({"weight": [3.0, -5.0, 1.0], "score": [1.0, np.nan, 2.0]})
    np.testing.assert_array_equal(edge_score(table), [1, np.nan, 2])
    np.testing.assert_array_equal(edge_score(table[["weight"]]), [3, 5, 1])
    assert edge_score(table[["weight"]].astype(np.int64)).dtype == np.float64
    with pytest.raises(ValueError, match="'score' or 'weight'"):
        edge_score(table.rename(columns={"weight": "w", "score": "s"}))
    with pytest.raises(ValueError, match="needed numbers"):
        edge_score(pd.DataFrame({"score": ["a"]}))


@st.composite
def tied_networks(draw) -> Network:
    """Small networks with few distinct values, so that ties are common."""
    groups = draw(st.sampled_from([None, ("x",), ("y", "x")]))
    pairs = [(s, t) for s in "cab" for t in "dbe"]
    places = [(g, *pair) for g in groups or [None] for pair in pairs]
    chosen = draw(st.permutations(places))[: draw(st.integers(0, len(places)))]
    table = pd.DataFrame(chosen, columns=["group", "source", "target"], dtype=object)
    n = len(table)
    values = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0]), min_size=n, max_size=n)
    table["weight"] = np.array(draw(values), np.float64)
    p = st.lists(st.sampled_from([0.0, 0.001, 0.5, 1.0, np.nan]), min_size=n, max_size=n)
    table["p"] = np.array(draw(p), np.float64)
    if draw(st.booleans()):
        table["score"] = np.array(draw(values), np.float64)
    if groups is None:
        table = table.drop(columns="group")
    return Network(table, list("abc"), list("bde"), groups)


def naive_order(network: Network, rows: list[dict], key) -> list[dict]:
    ordered = []
    for group in network.groups or [None]:
        part = [row for row in rows if row.get("group") == group]
        ordered.append(sorted(part, key=lambda row: (-key(row), row["source"], row["target"])))
    return ordered


@given(tied_networks())
@settings(deadline=None)
def test_rank_is_the_naive_order(network):
    rows = network.edges.to_dict("records")
    scored = "score" in network.edges.columns
    parts = naive_order(network, rows, lambda r: r["score"] if scored else abs(r["weight"]))
    want = [(r["source"], r["target"], r.get("group")) for part in parts for r in part]
    got = network.rank()
    have = [(r["source"], r["target"], r.get("group")) for r in got.to_dict("records")]
    assert have == want
    assert got.index.tolist() == list(range(len(got)))


@given(
    tied_networks(),
    st.sampled_from([None, 0.0, 0.001, 0.5, 1.0]),
    st.sampled_from([None, 0, 1, 2, 5, 100]),
    st.sampled_from([None, ["a"], ["c", "a", "absent"]]),
    st.sampled_from([None, ["b", "e"]]),
)
@settings(deadline=None)
def test_filter_is_the_naive_filter(network, p, top, sources, targets):
    rows = network.edges.to_dict("records")
    if sources is not None:
        rows = [row for row in rows if row["source"] in sources]
    if targets is not None:
        rows = [row for row in rows if row["target"] in targets]
    if p is not None:
        rows = [row for row in rows if row["p"] <= p]  # false for NaN
    parts = naive_order(network, rows, lambda row: abs(row["weight"]))
    want = [row for part in parts for row in (part if top is None else part[:top])]
    got = network.filter(p=p, top=top, sources=sources, targets=targets)
    np.testing.assert_equal(got.edges.to_dict("records"), want)
    assert got.targets.tolist() == network.targets.tolist()
    step = got.provenance["filters"][-1]
    assert (step["p"], step["top"], step["by"]) == (p, top, "weight")


def test_filter_by_another_column():
    network = build(groups=None)
    got = network.filter(p=None, top=2, by="bags_drawn").edges["bags_drawn"].tolist()
    assert got == sorted(network.edges["bags_drawn"], reverse=True)[:2]


@pytest.mark.parametrize("by", ["p", "fdr", "variance", "score_sd"])
def test_filter_keeps_the_smallest_of_what_is_best_small(by):
    edges = pd.DataFrame(
        {"source": list("aaa"), "target": list("xyz"), "weight": 1.0, by: [0.5, 0.1, np.nan]}
    )
    network = Network(edges, ["a"], list("xyz"))
    assert network.filter(top=1, by=by).edges["target"].tolist() == ["y"]
    assert network.filter(by=by).edges["target"].tolist() == ["y", "x", "z"]


def test_filter_has_a_threshold_for_what_a_method_may_give():
    edges = pd.DataFrame({"source": list("aaa"), "target": list("xyz"), "weight": [3.0, 2, 1]})
    edges = edges.assign(fdr=[0.5, 0.01, np.nan], score=[1.0, 2, 3], probability=[0.1, 0.9, 0.8])
    network = Network(edges, ["a"], list("xyz"))
    assert network.filter(fdr=0.05).edges["target"].tolist() == ["y"]
    assert network.filter(score=2).edges["target"].tolist() == ["y", "z"]
    kept = network.filter(probability=0.8, fdr=1.0)
    assert kept.edges["target"].tolist() == ["y"]
    assert kept.provenance["filters"][-1]["fdr"] == 1.0


def test_a_filtered_network_can_drop_genes_without_an_edge(tmp_path):
    import networkx

    network = build(groups=None)
    kept = network.filter(top=1)
    assert kept.targets.tolist() == network.targets.tolist()
    used = set(kept.edges["source"]) | set(kept.edges["target"])
    kept.write(tmp_path / "x.graphml")
    assert set(networkx.read_graphml(tmp_path / "x.graphml")) == used != set(network.genes())
    assert_same(kept, Network.read(tmp_path / "x.graphml"), partial=True)
    bare = network.filter(top=1, connected=True)
    assert set(bare.genes()) == used
    assert set(bare.certificate["target"]) <= used


def test_filters_add_up_in_the_provenance():
    twice = build().filter(p=0.5, top=None).filter(p=None, top=1, sources=["A"])
    assert [step["p"] for step in twice.provenance["filters"]] == [0.5, None]
    assert twice.provenance["filters"][1]["sources"] == ["A"]


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"p": 2}, "from 0 to 1"),
        ({"p": float("nan")}, "from 0 to 1"),
        ({"top": -1}, "whole number"),
        ({"top": 1.5}, "whole number"),
        ({"by": "x"}, "needed one of"),
        ({"fdr": 0.05}, "gives no fdr.*permutations=2"),
        ({"score": 1}, "gives no score"),
        ({"by": "note"}, "needed numbers"),
        ({"sources": "A"}, "needed a list"),
        ({"sources": ["x"]}, "none of the 1 names in sources"),
        ({"targets": []}, "none of the 0 names in targets"),
    ],
)
def test_filter_refuses(given_, message):
    with pytest.raises(ValueError, match=message):
        build().filter(**given_)


def test_filter_by_p_needs_a_p():
    network = Network(pd.DataFrame(EDGE), ["a"], ["c"], provenance={"method": "masked_lasso"})
    for refused in (lambda: network.filter(p=0.001), lambda: filter_links(network)):
        with pytest.raises(ValueError, match="masked_lasso gives no p.*p=None"):
            refused()
    assert len(network.filter().edges) == 1


def test_filter_keeps_all_by_default_and_the_released_one_does_not():
    network = build()
    pd.testing.assert_frame_equal(network.filter().edges, network.filter(p=None, top=None).edges)
    assert len(network.filter().edges) == len(network.edges)
    kept = filter_links(network)
    pd.testing.assert_frame_equal(kept.edges, network.filter(p=0.001, top=2000).edges)
    step = kept.provenance["filters"][-1]
    assert (step["p"], step["top"], step["by"]) == (0.001, 2000, "weight")


def test_matrix_is_the_naive_matrix():
    network = build(names="DACBE")
    for group in network.groups:
        for value, absent in (("weight", 0.0), ("p", np.nan), ("bags_drawn", np.nan)):
            want = pd.DataFrame(absent, list("ACD"), list("ABCDE"))
            for row in network.edges.to_dict("records"):
                if row["group"] == group:
                    want.loc[row["source"], row["target"]] = row[value]
            got = network.matrix(group, value)
            pd.testing.assert_frame_equal(got.astype(float), want.astype(float))


def test_matrix_needs_a_known_group():
    network = build()
    with pytest.raises(ValueError, match="which group.*'g1', 'g2'"):
        network.matrix()
    with pytest.raises(ValueError, match="no group 'x'; there are 'g1', 'g2'"):
        network.matrix("x")
    with pytest.raises(ValueError, match="no column 'q'.*'weight'"):
        network.matrix("g1", "q")
    with pytest.raises(ValueError, match="needed numbers"):
        network.matrix("g1", "note")
    with pytest.raises(ValueError, match="were not grouped"):
        build(groups=None).matrix("g1")
    assert build(groups=("only",)).matrix().shape == (2, 3)


def test_subset_is_one_group(tmp_path):
    network = build()
    part = network.subset("g2")
    assert part.groups == ("g2",)
    assert set(part.edges["group"]) == set(part.certificate["group"]) == {"g2"}
    pd.testing.assert_frame_equal(part.matrix(), network.matrix("g2"))
    network.write(tmp_path / "x.tsv")  # keeps only some rows of the certificate
    again = Network.read(tmp_path / "x.tsv").subset("g2")
    assert again.certificate_summary() == part.certificate_summary()
    with pytest.raises(ValueError, match="no group 'x'"):
        network.subset("x")
    with pytest.raises(ValueError, match="not grouped"):
        build(groups=None).subset("g1")


# CellOracle's form


def test_celloracle_bagging_links():
    network = build(names="DACB")
    links = to_celloracle(network)
    assert list(links) == ["g1", "g2"]
    columns = ["source", "target", "coef_mean", "coef_abs", "p", "-logp"]
    assert any(table["p"].isna().any() for table in links.values())
    for group, table in links.items():
        assert list(table.columns) == columns
        assert table["coef_mean"].dtype == table["coef_abs"].dtype == np.float32
        keys = list(zip(table["target"], table["source"], strict=True))
        assert keys == sorted(keys)
        assert len(table) == (network.edges["group"] == group).sum()
        undefined = table["p"].isna()
        assert (table.loc[undefined, "-logp"] == 0).all()
        np.testing.assert_array_equal(
            table.loc[~undefined, "-logp"], -np.log10(table.loc[~undefined, "p"])
        )
        np.testing.assert_array_equal(table["coef_abs"], table["coef_mean"].abs())


def test_celloracle_bayesian_links():
    network = build(groups=None, method="celloracle_bayesian")
    table = network.edges.copy()
    table.loc[0, "p"] = 0.0
    links = to_celloracle(
        Network(table, network.regulators, network.targets, provenance=network.provenance)
    )
    assert list(links) == ["all"]
    columns = ["source", "target", "coef_mean", "coef_abs", "coef_variance", "p", "-logp"]
    assert list(links["all"].columns) == columns
    p, score = links["all"]["p"], links["all"]["-logp"]
    assert np.isinf(score[p == 0]).all()
    np.testing.assert_array_equal(score[p > 0], -np.log(p[p > 0]))
    np.testing.assert_array_equal(score.isna(), p.isna())


def test_only_celloracle_has_that_form():
    with pytest.raises(ValueError, match="netrex has no CellOracle form; only celloracle and"):
        to_celloracle(build(method="netrex"))
    with pytest.raises(ValueError, match="lack 'variance'"):
        bare = build(method="celloracle_bayesian")
        to_celloracle(
            Network(
                bare.edges.drop(columns="variance"),
                bare.regulators,
                bare.targets,
                bare.groups,
                provenance=bare.provenance,
            )
        )


@pytest.mark.parametrize("case", ["edge_cases", "three_clusters"])
@pytest.mark.parametrize("method", ["celloracle", "celloracle_bayesian"])
def test_celloracle_form_of_the_recorded_links(shared, case, method):
    name = {"celloracle": "bagging", "celloracle_bayesian": "bayesian"}[method]
    path = shared / "fixtures" / "celloracle" / case / f"links_{name}_ridge.tsv.gz"
    recorded = read_recorded(path)
    table = recorded.drop(columns=["-logp", "coef_abs"]).sample(frac=1, random_state=0)
    groups = tuple(sorted(set(table["group"])))
    network = Network(
        table,
        sorted(set(table["source"])),
        sorted(set(table["target"])),
        groups,
        provenance={"method": method},
    )
    links = to_celloracle(network)
    recorded = recorded.sort_values(["group", "target", "source"])
    for group in groups:
        want = recorded[recorded["group"] == group].reset_index(drop=True)
        np.testing.assert_array_equal(links[group]["source"], want["source"])
        # Recorded with nine digits, so -logp of a p near 1 has fewer.
        np.testing.assert_allclose(links[group]["-logp"], want["-logp"], rtol=1e-6, atol=1e-8)
        np.testing.assert_array_equal(links[group]["p"].isna(), want["p"].isna())
    kept = to_celloracle(filter_links(network, top=50))
    for group in groups:
        rows = recorded[(recorded["group"] == group) & (recorded["p"] <= 0.001)]
        rows = rows.sort_values("coef_abs", ascending=False, kind="stable").head(50)
        np.testing.assert_allclose(
            np.sort(kept[group]["coef_abs"])[::-1], rows["coef_abs"], rtol=1e-12
        )


# Files give the network back


@pytest.mark.parametrize("groups", [None, ("only",), ("b/c", "a %2F", "NA")])
@pytest.mark.parametrize("suffix", ALL)
def test_round_trip(suffix, groups, tmp_path):
    network = build(names="DACBE", groups=groups)
    network.write(tmp_path / f"x{suffix}")
    back = Network.read(tmp_path / f"x{suffix}")
    assert_same(network, back, partial=suffix not in (".parquet", ".h5ad"))
    # A network that was read gives the same file, though it may know less of the certificate.
    os.mkdir(tmp_path / "again")
    back.write(tmp_path / "again" / f"x{suffix}")
    for name in os.listdir(tmp_path / "again"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()
    edges = read_edges(tmp_path / f"x{suffix}")
    assert set(edges.columns) == set(network.edges.columns)
    for column in network.edges.columns:
        if suffix in TEXT and column in ("weight", "variance"):
            np.testing.assert_array_equal(
                edges[column].astype(np.float32), network.edges[column], err_msg=column
            )
        else:
            np.testing.assert_array_equal(edges[column], network.edges[column], err_msg=column)


nasty = st.lists(
    st.sampled_from(NASTY)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    min_size=2,
    max_size=6,
    unique=True,
)


@pytest.mark.parametrize("suffix", ALL)
@given(names=nasty, groups=st.none() | nasty)
@example(names=["NA", "nan"], groups=["NA", "nan", "\x1f"])
@settings(deadline=None, max_examples=15)
def test_nasty_names_round_trip(suffix, names, groups):
    network = build(names=names, groups=None if groups is None else tuple(groups))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        # A group without an edge is named in the description only, which escapes it.
        told = "".join([*names, *(network.edges["group"].unique() if groups else [])])
        if suffix == ".graphml" and graphml.FORBIDDEN.search(told):
            with pytest.raises(ValueError, match="GraphML cannot"):
                network.write(path)
            assert os.listdir(folder) == []
            return
        network.write(path)
        assert_same(network, Network.read(path), partial=suffix not in (".parquet", ".h5ad"))
        edges = read_edges(path)
        for column in ("source", "target"):
            assert edges[column].tolist() == network.edges[column].tolist()


@pytest.mark.parametrize("suffix", ALL)
def test_every_nasty_name_round_trips(suffix, tmp_path):
    network = build(names=NASTY, groups=("NA", "=1\n"), density=0.05)
    network.write(tmp_path / f"x{suffix}")
    assert_same(
        network, Network.read(tmp_path / f"x{suffix}"), partial=suffix not in (".parquet", ".h5ad")
    )


@pytest.mark.parametrize("suffix", [".tsv", ".csv.gz", ".graphml"])
@given(
    single=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=25)
def test_numbers_come_back_bit_for_bit(suffix, single, seed):
    rng = np.random.default_rng(seed)
    n = len(single)
    double = rng.integers(0, 2**63, n).view(np.float64)
    table = pd.DataFrame({"source": "a", "target": [f"t{i}" for i in range(n)]})
    table["weight"] = np.array(single, np.float32)
    table["score"] = double
    table["q"] = np.where(np.arange(n) % 2, -np.inf, np.nan).astype(np.float32)
    table["count"] = rng.integers(-(2**63), 2**63 - 1, n)
    network = Network(table, ["a"], table["target"].tolist())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        network.write(path)
        back = Network.read(path).edges
    np.testing.assert_array_equal(
        back["weight"].to_numpy().view(np.int32), network.edges["weight"].to_numpy().view(np.int32)
    )
    number = ~np.isnan(double)
    np.testing.assert_array_equal(
        back["score"].to_numpy()[number].view(np.int64), double[number].view(np.int64)
    )
    assert back["score"].isna().tolist() == (~number).tolist()
    pd.testing.assert_frame_equal(back[["q", "count"]], network.edges[["q", "count"]])


def test_text_tables_are_plain(tmp_path):
    table = pd.DataFrame(
        {
            "source": ["NA", "a\tb"],
            "target": ["1", 'x"y'],
            "weight": np.array([0.1, -1e-10], np.float32),
            "p": [np.nan, 0.1],
            "known": [True, False],
        }
    )
    network = Network(table, ["NA", "a\tb"], ["1", 'x"y'])
    network.write(tmp_path / "x.tsv")
    network.write(tmp_path / "x.csv")
    assert (tmp_path / "x.tsv").read_bytes().decode() == (
        'source\ttarget\tweight\tp\tknown\nNA\t1\t0.1\t\ttrue\n"a\tb"\t"x""y"\t-1e-10\t0.1\tfalse\n'
    )
    assert (tmp_path / "x.csv").read_bytes().decode() == (
        'source,target,weight,p,known\nNA,1,0.1,,true\na\tb,"x""y",-1e-10,0.1,false\n'
    )


def as_objects(table):
    """Text as objects, None where there is none: pandas 3 reads it as a type of its own."""
    texts = [n for n in table if not pd.api.types.is_numeric_dtype(table[n])]
    return table.assign(**{n: table[n].astype(object).where(table[n].notna(), None) for n in texts})


@pytest.mark.parametrize("suffix", TEXT)
def test_pandas_reads_the_text_tables(suffix, tmp_path):
    network = build(names=["NA", "a,b", "c\td", 'e"f', "g\nh", "1"])
    network.write(tmp_path / f"x{suffix}")
    got = pd.read_csv(
        tmp_path / f"x{suffix}",
        sep="," if suffix.startswith(".csv") else "\t",
        keep_default_na=False,
        na_values={name: [""] for name in ("p", "note")},
        dtype={"target": str, "source": str},
    ).astype({"weight": np.float32, "variance": np.float32})
    pd.testing.assert_frame_equal(as_objects(got), network.edges, rtol=1e-12)


def test_gzip_is_of_any_time_and_name(tmp_path):
    build().write(tmp_path / "x.tsv.gz")
    build().write(tmp_path / "x.tsv")
    data = (tmp_path / "x.tsv.gz").read_bytes()
    assert data[3] == 0 and data[4:8] == b"\0\0\0\0"  # no name, no time
    assert gzip.decompress(data) == (tmp_path / "x.tsv").read_bytes()


def test_the_document(tmp_path):
    network = build()
    network.write(tmp_path / "x.csv")
    text = (tmp_path / "x.csv.meta.json").read_text()
    about = json.loads(text)
    assert list(about) == sorted(about)
    assert about["method"] == "celloracle"
    assert about["hyperparameters"] == {"alpha": 0.1, "limit": "inf"}
    assert about["seed"] == 0
    assert about["versions"] == {"unigrn": "0"}
    assert about["alignment"]["lines"] == network.alignment.lines()
    assert about["undefined_p"] == network.edges["p"].isna().sum() > 0
    assert about["columns"]["p"] == "dispersion over bags, uncalibrated"
    assert "absent" not in about["columns"]
    counted = about["certificates"]
    assert counted["rows"] == 6
    assert counted["counts"] == {"converged": 4, "stalled": 2}
    assert counted["worst_residual"] == 1
    assert counted["worst"] == {"group": "g1", "target": "A"}
    assert [row["target"] for row in counted["not_converged"]] == ["A", "A"]
    assert "NaN" not in text and "Infinity" not in text


def test_the_document_is_inside_the_other_formats(tmp_path):
    import anndata
    import networkx
    import pyarrow.parquet

    network = build()
    want = network.document()
    network.write(tmp_path / "x.parquet")
    metadata = pyarrow.parquet.read_schema(tmp_path / "x.parquet").metadata
    assert json.loads(metadata[b"unigrn"]) == want
    network.write(tmp_path / "x.graphml")
    assert json.loads(networkx.read_graphml(tmp_path / "x.graphml").graph["unigrn"]) == want
    network.write(tmp_path / "x.h5ad")
    entry = anndata.read_h5ad(tmp_path / "x.h5ad").uns["unigrn"]
    assert json.loads(entry["provenance"]) == want


def test_parquet_is_a_plain_table(tmp_path):
    import pyarrow.parquet

    network = build()
    network.write(tmp_path / "x.parquet")
    got = pd.read_parquet(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(as_objects(got), network.edges)
    column = pyarrow.parquet.read_table(tmp_path / "x.parquet")["p"]
    assert column.null_count == network.edges["p"].isna().sum() > 0


def test_networkx_reads_the_graphml(tmp_path):
    import networkx

    network = build(names=["A", "b <&> 'c'", 'd\n"e"', " f "])
    network.write(tmp_path / "x.graphml")
    graph = networkx.read_graphml(tmp_path / "x.graphml")
    assert graph.is_directed() and graph.is_multigraph()
    assert set(graph) == set(network.genes())
    assert all(graph.nodes[name]["name"] == name for name in graph)
    assert {name for name in graph if graph.nodes[name]["regulator"]} == set(network.regulators)
    want = {(r["group"], r["source"], r["target"]): r for r in network.edges.to_dict("records")}
    assert graph.number_of_edges() == len(want)
    for source, target, found in graph.edges(data=True):
        row = want[found["group"], source, target]
        assert np.float32(found["weight"]) == row["weight"]
        assert ("p" in found) == (not np.isnan(row["p"]))
        assert found["known"] is row["known"]
        assert found["bags_drawn"] == row["bags_drawn"]


@pytest.mark.parametrize("suffix", ALL)
def test_the_same_network_gives_the_same_bytes(suffix, tmp_path):
    for name in ("a", "b"):
        os.mkdir(tmp_path / name)
        build(names="DACBE").write(tmp_path / name / f"x{suffix}")
    assert sorted(os.listdir(tmp_path / "a")) == sorted(os.listdir(tmp_path / "b"))
    for name in os.listdir(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_bytes_do_not_depend_on_the_hash_seed(tmp_path):
    code = """
import sys, warnings
import numpy as np, pandas as pd
from unigrn.network import Network
names = sorted("ABCDEFGH")
table = pd.DataFrame([(g, s, t) for g in "xy" for s in names[:4] for t in names if s != t],
                     columns=["group", "source", "target"])
table["weight"] = np.linspace(-1, 1, len(table), dtype=np.float32)
table["p"] = np.linspace(0, 1, len(table))
table["note"] = np.where(np.arange(len(table)) % 3, "one", "two")
rows = pd.DataFrame({"group": "x", "target": names, "status": ["a", "b"] * 4, "residual": 0.1})
settings = {name: 1 for name in set(names)}  # in the order of the hashes
network = Network(table, set(names[:4]), set(names), ("x", "y"), rows,
                  provenance={"method": "m", "hyperparameters": settings, "chosen": set(names)})
for suffix in sys.argv[2:]:
    network.write(f"{sys.argv[1]}/x{suffix}")
"""
    for seed in ("1", "2"):
        os.mkdir(tmp_path / seed)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / seed), *ALL],
            env=environment,
            check=True,
            timeout=120,
        )
    names = sorted(os.listdir(tmp_path / "1"))
    assert len(names) == len(ALL) + len(TEXT)
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


# AnnData


@pytest.mark.parametrize("groups", [None, ("HSC/MPP", "B")])
def test_to_anndata(groups, tmp_path):
    import anndata

    network = build(names="DACB", groups=groups)
    genes = list("XDCYBA")
    adata = anndata.AnnData(np.ones((2, 6), np.float32))
    adata.obs_names, adata.var_names = ["c1", "c2"], genes
    assert network.to_anndata(adata) is adata
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = anndata.read_h5ad(tmp_path / "x.h5ad")
    for group in groups or [None]:
        dense = pd.DataFrame(back.varp[varp_key(group)].toarray(), genes, genes)
        assert back.varp[varp_key(group)].dtype == np.float32
        inner = network.matrix(group)
        pd.testing.assert_frame_equal(dense.loc[inner.index, inner.columns], inner)
        assert dense.to_numpy().astype(bool).sum() == inner.to_numpy().astype(bool).sum()
    assert str(back.uns["unigrn"]["edges"]["source"].dtype) == "category"
    assert_same(network, Network.read(tmp_path / "x.h5ad"))
    assert len(read_edges(tmp_path / "x.h5ad")) == len(network.edges)


def test_to_anndata_forgets_the_earlier_network():
    import anndata

    adata = anndata.AnnData(var=pd.DataFrame(index=list("ABC")))
    build().to_anndata(adata)
    assert sorted(adata.varp) == ["unigrn_weight_g1", "unigrn_weight_g2"]
    build(groups=None).to_anndata(adata)
    assert sorted(adata.varp) == ["unigrn_weight"]


def test_to_anndata_on_a_subset_of_the_genes(tmp_path):
    import anndata

    network, genes = build(), ["C", "X", "A"]
    adata = anndata.AnnData(var=pd.DataFrame(index=genes))
    with pytest.warns(UnigrnWarning, match="lacks 1 of the network's 3 genes .'B'.*in uns only"):
        network.to_anndata(adata)
    for group in network.groups:
        inner = network.matrix(group).reindex(index=genes, columns=genes, fill_value=0)
        np.testing.assert_array_equal(adata.varp[varp_key(group)].toarray(), inner)
    adata.write_h5ad(tmp_path / "x.h5ad")
    assert_same(network, Network.read(tmp_path / "x.h5ad"))  # uns holds all edges
    whole = anndata.AnnData(var=pd.DataFrame(index=["C", "X", "A", "B"]))
    view = network.to_anndata(whole[:, ["B", "A", "C"]])  # a view becomes data of its own
    assert not view.is_view and "unigrn" in view.uns and "unigrn" not in whole.uns


def test_to_anndata_needs_every_gene_once():
    import anndata

    adata = anndata.AnnData(var=pd.DataFrame(index=["a", "c"]))
    with pytest.raises(ValueError, match="lacks 3 of the network's 3 genes .'A'"):
        build().to_anndata(adata)
    assert not adata.uns and not adata.varp
    with pytest.warns(UserWarning, match="not unique"):
        adata = anndata.AnnData(var=pd.DataFrame(index=["A", "B", "B", "C"]))
    with pytest.raises(ValueError, match="names 'B' twice"):
        build().to_anndata(adata)


@given(st.lists(st.text(st.sampled_from("a/%2F5"), min_size=1), min_size=2, unique=True))
def test_groups_have_keys_of_their_own(groups):
    keys = [varp_key(group) for group in groups]
    assert len(set(keys)) == len(keys)
    assert not any("/" in key for key in keys)


# Tables of other programs


def test_read_edges_takes_the_names_of_others(tmp_path):
    (tmp_path / "x.csv").write_text("tf,target,score,day\nNA,1,2,2020-01-01\nnull,nan,,\n")
    got = read_edges(tmp_path / "x.csv")
    assert list(got.columns) == ["source", "target", "score", "day"]
    assert got["source"].tolist() == ["NA", "null"]
    assert got["target"].tolist() == ["1", "nan"]
    np.testing.assert_array_equal(got["score"], [2, np.nan])
    (tmp_path / "x.tsv").write_bytes(b"\xef\xbb\xbfTF\ttarget\tweight\r\n001\t1e5\t-1\r\n")
    got = read_edges(tmp_path / "x.tsv")
    assert got.to_dict("records") == [{"source": "001", "target": "1e5", "weight": -1.0}]


def test_read_edges_of_parquet_and_graphml_by_others(tmp_path):
    import networkx

    table = pd.DataFrame(
        {
            "source": pd.Categorical(["NA", "b"]),
            "target": [1, 2],
            "weight": np.array([1, 2]),
            "group": ["x", "y"],
        }
    )
    table.to_parquet(tmp_path / "x.parquet")
    got = read_edges(tmp_path / "x.parquet")
    assert list(got.columns) == ["group", "source", "target", "weight"]
    assert got["target"].tolist() == ["1", "2"]
    assert got["weight"].dtype == np.float64
    graph = networkx.DiGraph()
    graph.add_edge("NA", "a <b>", weight=0.5, sure=True)
    graph.add_edge("a <b>", "1", weight=-1.0)
    networkx.write_graphml(graph, tmp_path / "x.graphml")
    got = read_edges(tmp_path / "x.graphml")
    assert got["source"].tolist() == ["NA", "a <b>"]
    assert got["target"].tolist() == ["a <b>", "1"]
    assert got["weight"].tolist() == [0.5, -1]
    with pytest.raises(ValueError, match="does not say how it was inferred"):
        Network.read(tmp_path / "x.graphml")
    networkx.write_graphml(networkx.Graph(graph), tmp_path / "u.graphml")
    with pytest.raises(ValueError, match="undirected"):
        read_edges(tmp_path / "u.graphml")


ENTITIES = (
    b'<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "x">]><graphml><graph edgedefault="directed">'
    b'<edge source="&a;" target="b"/></graph></graphml>'
)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.tsv", b"", "empty"),
        ("x.tsv", b"a\tb\n1\t2\n", "needs source and target"),
        ("x.tsv", b"source\ttarget\tweight\na\tb\n", "Expected 3 columns"),
        ("x.tsv", b"source\ttarget\tweight\na\tb\tmany\n", "many"),
        ("x.tsv", b"source\ttarget\tweight\n\tb\t1\n", "1 rows without a source.*row 1"),
        ("x.tsv", b"source\tsource\ttarget\na\ta\tb\n", "twice"),
        ("x.tsv", b"source\ttarget\tx\n\xff\tb\t1\n", "UTF"),
        ("x.csv.gz", b"\x1f\x8b\x08broken", "cannot read"),
        ("x.parquet", b"PAR1", "cannot read"),
        ("x.graphml", b"<graphml>", "no valid XML"),
        ("x.graphml", b'<graphml><graph><edge source="a"/></graph></graphml>', "'target'"),
        ("x.graphml", ENTITIES, "entities"),
        ("x.h5ad", b"HDF", "cannot read"),
        ("x.xlsx", b"source\ttarget\n", "no known suffix.*.tsv.gz"),
        ("x", b"", "no known suffix"),
    ],
)
def test_what_is_no_table_is_refused(name, data, message, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        read_edges(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, UnicodeError)


@pytest.mark.parametrize("suffix", ALL)
def test_a_file_that_is_not_there(suffix, tmp_path):
    for read in (read_edges, Network.read):
        with pytest.raises(ValueError, match="No such file"):
            read(tmp_path / f"x{suffix}")


def test_text_in_a_column_of_numbers_is_refused(tmp_path):
    pd.DataFrame(EDGE | {"weight": ["many"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="'many' in the column weight"):
        read_edges(tmp_path / "x.parquet")


def test_a_table_and_its_document_belong_together(tmp_path):
    path = tmp_path / "x.tsv"
    build().write(path)
    path.write_text(path.read_text() + "g1\tC\tA\t1\t\t\t1\ttrue\t\n")
    with pytest.raises(ValueError, match="belongs to another version.*read_edges"):
        Network.read(path)
    assert len(read_edges(path)) == len(build().edges) + 1
    os.unlink(tmp_path / "x.tsv.meta.json")
    with pytest.raises(ValueError, match="has no 'x.tsv.meta.json' beside it"):
        Network.read(path)
    (tmp_path / "x.tsv.meta.json").write_text("{")
    with pytest.raises(ValueError, match="no valid JSON"):
        Network.read(path)
    (tmp_path / "x.tsv.meta.json").write_text("[]")
    with pytest.raises(ValueError, match="does not describe a network"):
        Network.read(path)


def test_a_document_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "x.tsv"
    changes = [{"layout": 99}, {"groups": 3}, {"targets_without_edges": None}]
    changes += [{"types": types} for types in ([["source", "float32"]], None, [["p", "x"]])]
    for change in changes:
        build().write(path)
        about = json.loads((tmp_path / "x.tsv.meta.json").read_text())
        about["network"].update(change)
        (tmp_path / "x.tsv.meta.json").write_text(json.dumps(about))
        with pytest.raises(ValueError, match="x.tsv"):
            Network.read(path)


def test_an_anndata_without_a_network(tmp_path):
    import anndata

    anndata.AnnData(np.ones((2, 2))).write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(ValueError, match="Network.to_anndata"):
        read_edges(tmp_path / "x.h5ad")
    for entry in ({"edges": np.ones(3)}, {"edges": pd.DataFrame(EDGE), "provenance": np.ones(2)}):
        adata = anndata.AnnData(np.ones((2, 2)), uns={"unigrn": entry})
        adata.write_h5ad(tmp_path / "x.h5ad")
        with pytest.raises(ValueError, match="x.h5ad"):
            read_edges(tmp_path / "x.h5ad")


# A file is the old one or the new one


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


@pytest.mark.parametrize("suffix", ALL)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_leaves_the_old_files(suffix, error, tmp_path, monkeypatch):
    path = tmp_path / f"x{suffix}"
    build().write(path)
    before = contents(tmp_path)
    original = atomic._write_new

    def interrupted(temporary, old, pieces, locks):
        def some():
            yield next(iter(pieces))
            raise error

        return original(temporary, old, some(), locks)

    monkeypatch.setattr(atomic, "_write_new", interrupted)
    with pytest.raises(error):
        build(seed=1).write(path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("failing", ["fsync", "replace", "open"])
def test_a_failure_of_the_system_leaves_the_old_files(failing, tmp_path, monkeypatch):
    path = tmp_path / "x.tsv"
    build().write(path)
    before = contents(tmp_path)

    def fail(*_args, **_kwargs):
        raise OSError(5, "Input/output\nerror")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(WriteError, match="cannot write .*x.tsv.*Input/output error") as caught:
        build(seed=1).write(path)
    monkeypatch.undo()
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_the_second_file_is_complete_before_the_first_is_replaced(tmp_path, monkeypatch):
    path = tmp_path / "x.tsv"
    build().write(path)
    before = contents(tmp_path)

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "readable", fail)
    with pytest.raises(WriteError, match="x.tsv.meta.json.*No space left.*free some space"):
        build(seed=1).write(path)
    assert contents(tmp_path) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_device(tmp_path, monkeypatch):
    path = tmp_path / "x.tsv"
    build().write(path)
    before = contents(tmp_path)
    monkeypatch.setattr(atomic, "_open_new", lambda *_: open("/dev/full", "wb"))
    with pytest.raises(WriteError, match="No space left.*free some space"):
        build(seed=1).write(path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("suffix", [".tsv", ".csv.gz", ".parquet", ".graphml", ".h5ad"])
def test_a_limit_on_the_size_of_files(suffix, tmp_path):
    pytest.importorskip("resource", reason="no limits on this system")
    path = tmp_path / f"x{suffix}"
    build().write(path)
    before = contents(tmp_path)
    code = """
import resource, sys
import numpy as np, pandas as pd
from unigrn.files import WriteError
from unigrn.network import Network
names = [f"gene{i}" for i in range(20000)]
rng = np.random.default_rng(0)
table = pd.DataFrame({"source": "gene0", "target": names, "weight": rng.normal(size=20000)})
network = Network(table, ["gene0"], names)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    network.write(sys.argv[1])
except WriteError as error:
    print(error)
    sys.exit(7)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 7, done.stderr
    assert "File too large; free some space" in done.stdout
    assert done.stdout.count("\n") == 1
    assert contents(tmp_path) == before


def test_places_that_cannot_be_written(tmp_path):
    network = build()
    with pytest.raises(WriteError, match="No such file.*create the folder"):
        network.write(tmp_path / "absent" / "x.tsv")
    os.mkdir(tmp_path / "folder.parquet")
    with pytest.raises(WriteError, match="directory"):
        network.write(tmp_path / "folder.parquet")
    os.mkdir(tmp_path / "x.tsv.meta.json")
    with pytest.raises(WriteError, match="x.tsv.meta.json.*directory"):
        network.write(tmp_path / "x.tsv")
    with pytest.raises(ValueError, match="no known suffix") as caught:
        network.write(tmp_path / "x.xlsx")
    for suffix in ALL:
        assert suffix in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["folder.parquet", "x.tsv.meta.json"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere"
)
def test_places_without_permission(tmp_path):
    build().write(tmp_path / "x.parquet")
    os.chmod(tmp_path / "x.parquet", 0o444)
    with pytest.raises(WriteError, match="read-only"):
        build().write(tmp_path / "x.parquet")
    os.chmod(tmp_path, 0o555)
    try:
        with pytest.raises(WriteError, match="Permission denied"):
            build().write(tmp_path / "y.parquet")
    finally:
        os.chmod(tmp_path, 0o755)


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links(tmp_path):
    before = os.umask(0o027)
    try:
        build().write(tmp_path / "x.tsv")
    finally:
        os.umask(before)
    for name in ("x.tsv", "x.tsv.meta.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640
    os.chmod(tmp_path / "x.tsv", 0o604)
    build(seed=1).write(tmp_path / "x.tsv")
    assert stat.S_IMODE((tmp_path / "x.tsv").stat().st_mode) == 0o604

    os.mkdir(tmp_path / "real")
    os.symlink(tmp_path / "real" / "y.parquet", tmp_path / "y.parquet")
    build().write(tmp_path / "y.parquet")
    assert (tmp_path / "y.parquet").is_symlink()
    assert_same(build(), Network.read(tmp_path / "real" / "y.parquet"))

    os.mkfifo(tmp_path / "pipe.parquet")
    with pytest.raises(WriteError, match="not a regular file"):
        build().write(tmp_path / "pipe.parquet")
    assert stat.S_ISFIFO((tmp_path / "pipe.parquet").stat().st_mode)


def test_a_long_name_leaves_room_for_the_temporary_file(tmp_path):
    path = tmp_path / ("x" * 247 + ".parquet")
    build().write(path)
    assert os.listdir(tmp_path) == [path.name]


def test_text_is_rendered_in_pieces(monkeypatch):
    network = build(names="DACBE")
    whole = b"".join(delimited.rendered(network.edges, "\t"))
    monkeypatch.setattr(delimited, "ROWS", 3)
    assert b"".join(delimited.rendered(network.edges, "\t")) == whole
    assert len(pd.read_csv(stdio.BytesIO(whole), sep="\t")) == len(network.edges)


# Other files, and whose they are


def test_sif_says_what_each_edge_does(tmp_path):
    edges = pd.DataFrame({"source": list("ab"), "target": ["x y", "z"], "weight": [1.0, -2.0]})
    network = Network(edges, list("ab"), ["x y", "z"])
    network.write(tmp_path / "x.sif")
    assert (tmp_path / "x.sif").read_text() == "a\tactivates\tx y\nb\trepresses\tz\n"
    grouped = Network(edges.assign(group="g"), list("ab"), ["x y", "z"], ("g",))
    grouped.write(tmp_path / "x.sif")
    assert (tmp_path / "x.sif").read_text().splitlines()[0] == "a\tactivates in g\tx y"
    with pytest.raises(ValueError, match="tab or a line break.*rename"):
        Network(edges.replace("z", "z\t"), list("ab"), ["x y", "z\t"]).write(tmp_path / "y.sif")
    assert not (tmp_path / "y.sif").exists()
    found = read_edges(tmp_path / "x.sif")
    assert found[["source", "target"]].values.tolist() == [["a", "x y"], ["b", "z"]]


def test_gmt_holds_the_targets_of_each_regulator(tmp_path):
    edges = pd.DataFrame(
        {"source": list("abaa"), "target": ["x y", "z", "z", "b"], "weight": [1.0, -2.0, 3.0, 0.0]}
    )
    network = Network(edges, list("ab"), ["x y", "z", "b"])
    network.write(tmp_path / "x.gmt")
    want = "a\ttargets of a\tx y\tz\nb\ttargets of b\tz\n"
    assert (tmp_path / "x.gmt").read_text() == want
    found = read_prior(tmp_path / "x.gmt").edges[["source", "target"]]
    assert sorted(found.values.tolist()) == [["a", "x y"], ["a", "z"], ["b", "z"]]
    grouped = Network(edges.assign(group="g"), list("ab"), ["x y", "z", "b"], ("g",))
    grouped.write(tmp_path / "x.gmt")
    assert (tmp_path / "x.gmt").read_text().startswith("a in g\ttargets of a, group g\tx y\tz\n")
    found = read_prior(tmp_path / "x.gmt").edges[["source", "target"]]
    assert sorted(found.values.tolist()) == [["a", "x y"], ["a", "z"], ["b", "z"]]
    alike = edges.assign(group=["x in y", "y", "y", "y"], source=["a", "a in x", "a", "a"])
    alike = Network(alike, ["a", "a in x"], ["x y", "z", "b"], ("y", "x in y"))
    with pytest.raises(ValueError, match="two gene sets would be named 'a in x in y'"):
        alike.write(tmp_path / "y.gmt")
    with pytest.raises(ValueError, match="tab or a line break.*gmt"):
        Network(edges.replace("z", "z\t"), list("ab"), ["x y", "z\t", "b"]).write(
            tmp_path / "y.gmt"
        )
    assert not (tmp_path / "y.gmt").exists()


@pytest.mark.parametrize("suffix", [*ALL, ".sif", ".gmt"])
def test_own_files_are_known_and_others_are_not(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    assert not files.is_own(path)
    path.write_bytes(b"mine\n")
    assert not files.is_own(path)
    build().write(path)
    assert files.is_own(path)
    if suffix not in (".parquet", ".graphml", ".h5ad"):
        path.write_bytes(path.read_bytes() + b"a line of the user's own\n")
        assert not files.is_own(path)


def test_data_that_hold_a_network_are_not_a_file_of_ours(tmp_path):
    network = build()
    cells = anndata.AnnData(
        np.ones((3, network.genes().size), np.float32), var=pd.DataFrame(index=network.genes())
    )
    network.to_anndata(cells).write_h5ad(tmp_path / "x.h5ad")
    assert not files.is_own(tmp_path / "x.h5ad")


@pytest.mark.skipif(atomic.fcntl is None, reason="locks of files are a Unix thing")
def test_a_kill_at_any_moment_leaves_whole_files_and_the_next_run_tidies_up(tmp_path):
    path, generator = tmp_path / "x.tsv", np.random.default_rng(0)
    build().write(path)
    code = (
        "import sys; from unigrn.network import Network; n = Network.read(sys.argv[1]);"
        "print(flush=True)\nwhile True: n.write(sys.argv[1])"
    )
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        with writer:
            assert writer.stdout is not None and writer.stdout.readline()
            time.sleep(generator.uniform(0.02, 0.2))
            writer.kill()
        assert len(read_edges(path)) == len(build().edges)
        build().write(path)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tsv", "x.tsv.meta.json"]
    (tmp_path / ".unigrn-0123456789abcdef.tmp").write_bytes(b"half")
    build().write(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tsv", "x.tsv.meta.json"]


def test_what_another_process_writes_is_not_a_leftover(tmp_path):
    other = tmp_path / "other.tsv"

    def contents(_):
        build().write(other)  # another writer, in the middle of this one
        yield b"whole\n"

    atomic.write_whole([(str(tmp_path / "x.txt"), contents)])
    assert (tmp_path / "x.txt").read_bytes() == b"whole\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_files_waits_for_the_second(tmp_path, monkeypatch, number):
    class Ended(BaseException):
        pass

    def end(*_):
        raise Ended

    def replace(*places):
        kept(*places)
        signal.raise_signal(number)

    kept, before = os.replace, signal.signal(number, end)
    try:
        build().write(tmp_path / "x.tsv")
        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(Ended):
            build(groups=None).write(tmp_path / "x.tsv")
        assert signal.getsignal(number) is end
    finally:
        signal.signal(number, before)
    assert_same(build(groups=None), Network.read(tmp_path / "x.tsv"), partial=True)
    assert sorted(os.listdir(tmp_path)) == ["x.tsv", "x.tsv.meta.json"]


# As other programs read it


def test_tables_of_other_programs(tmp_path):
    edges = pd.DataFrame({"source": list("abc"), "target": list("xxy"), "weight": [1.0, -3.0, 0.0]})
    network = Network(edges, list("abc"), list("xy"))
    want = {
        "cytoscape": [["b", "represses", "x", -3.0], ["a", "activates", "x", 1.0]]
        + [["c", "regulates", "y", 0.0]],
        "pyscenic": [["b", "x", 3.0], ["a", "x", 1.0]],
        "decoupler": [["b", "x", -3.0], ["a", "x", 1.0], ["c", "y", 0.0]],
        "genernib": [["b", "x", -3.0], ["a", "x", 1.0], ["c", "y", 0.0]],
        "beeline": [["b", "x", -3.0], ["a", "x", 1.0], ["c", "y", 0.0]],
    }
    columns = {
        "cytoscape": ["source", "interaction", "target", "weight"],
        "pyscenic": ["TF", "target", "importance"],
        "decoupler": ["source", "target", "weight"],
        "genernib": ["source", "target", "weight"],
        "beeline": ["Gene1", "Gene2", "EdgeWeight"],
    }
    assert set(exchange.TOOLS) == {*want, "celloracle"}
    for name, rows in want.items():
        table = exchange.convert(network, name)
        assert list(table.columns) == columns[name]
        assert table.to_numpy().tolist() == rows, name
        exchange.write(network, name, tmp_path / f"{name}.csv")
        assert files.is_own(tmp_path / f"{name}.csv")
        with pytest.raises(ValueError, match=f"made for {name}; give the network"):
            Network.read(tmp_path / f"{name}.csv")
        back = pd.read_csv(tmp_path / f"{name}.csv")
        assert back.to_numpy().tolist() == rows
    with pytest.raises(ValueError, match="no CellOracle form"):
        exchange.convert(network, "celloracle")
    with pytest.raises(ValueError, match="did you mean cytoscape"):
        exchange.convert(network, "cytoscap")


def test_a_score_ranks_the_tables_of_other_programs():
    edges = pd.DataFrame({"source": list("ab"), "target": list("xx"), "weight": [1.0, -3.0]})
    network = Network(edges.assign(score=[0.9, 0.2]), list("ab"), ["x"])
    assert exchange.convert(network, "pyscenic")["importance"].tolist() == [0.9, 0.2]
    assert exchange.convert(network, "beeline")["EdgeWeight"].tolist() == [0.9, -0.2]
    single = network.edges.astype({"weight": np.float32, "score": np.float32})
    single = exchange.convert(Network(single, list("ab"), ["x"]), "beeline")
    assert single["EdgeWeight"].dtype == np.float32  # 0.2 stays 0.2 in a file
    assert exchange.convert(network, "decoupler")["weight"].tolist() == [1.0, -3.0]
    negative = Network(edges.assign(score=[0.9, -0.2]), list("ab"), ["x"])
    with pytest.raises(ValueError, match="negative"):
        exchange.convert(negative, "pyscenic")


def test_groups_stay_where_the_program_has_a_place_for_them():
    network = build()
    assert set(exchange.convert(network, "cytoscape")["group"]) == set(network.edges["group"])
    links = exchange.convert(network, "celloracle")
    assert list(links.columns[:3]) == ["cluster", "source", "target"]
    assert len(links) == len(network.edges)
    with pytest.raises(ValueError, match="no place for groups.*--group"):
        exchange.convert(network, "beeline")
    group = network.groups[0]
    assert len(exchange.convert(network.subset(group), "beeline"))
