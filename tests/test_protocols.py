from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon
from sklearn.metrics import average_precision_score

import unigrn
from unigrn.evaluate import evaluate
from unigrn.protocols import Case, Hidden, Protocol, process, protocols, read_protocol, run, splits
from unigrn.protocols.report import PERMUTED, holm

TOML = """
[protocol]
about = "eight regulators"
metrics = ["auprc", "auprc_ratio", "epr_beeline", "auroc", "r_precision", "r2_raw", "spurious"]
methods = ["masked_ridge alpha=0.5", "full_ridge", "scode"]

[[set]]
name = "small"
expression = "data.h5ad"
gold = "gold.tsv"
prior = "prior.tsv"
regulators = "tfs.txt"

[[set]]
name = "hidden"
expression = "data.h5ad"
gold = "gold.tsv"
prior = "gold"
regulators = "tfs.txt"
hidden = { table = "folds.tsv", column = "fold", folds = [0, 1] }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files of a protocol: 8 regulators, 24 targets, 60 cells."""
    folder = tmp_path_factory.mktemp("protocol")
    rng = np.random.default_rng(0)
    tfs = [f"tf{i}" for i in range(8)]
    genes = [f"g{i:02d}" for i in range(24)]
    true = rng.random((8, 24)) < 0.25
    true[:, 0] = True
    x = rng.normal(size=(60, 8))
    y = x @ (true * rng.uniform(0.5, 1.5, true.shape)) + rng.normal(size=(60, 24))
    values = np.concatenate([x, y], axis=1).astype(np.float32)
    adata = anndata.AnnData(values, var=pd.DataFrame(index=pd.Index([*tfs, *genes])))
    adata.write_h5ad(folder / "data.h5ad")

    def edges(flags):
        return pd.DataFrame(
            [(tfs[i], genes[j]) for i, j in np.argwhere(flags)], columns=["tf", "target"]
        )

    edges(true).to_csv(folder / "gold.tsv", sep="\t", index=False)
    noisy = true ^ (rng.random(true.shape) < 0.15)
    edges(noisy).assign(score=1.0).to_csv(folder / "prior.tsv", sep="\t", index=False)
    (folder / "tfs.txt").write_text("\n".join(tfs) + "\n")
    fold = pd.DataFrame({"target": genes, "fold": np.arange(24) % 3})
    fold.to_csv(folder / "folds.tsv", sep="\t", index=False)
    (folder / "genes.txt").write_text("\n".join(genes) + "\n")
    (folder / "own.toml").write_text(TOML)
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return unigrn.benchmark(folder / "own.toml")


# ------------------------------------------------------------------ what is declared


@pytest.mark.parametrize("name", protocols())
def test_shipped_protocols_are_read(name):
    own = read_protocol(name)
    assert own.name == name and own.about and own.cases
    for method in own.methods:
        run._call(method)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("methods =", "method =", r"\[protocol\] has the key 'method' \(did you mean methods\?\)"),
        ('"auroc"', '"auc"', "asks for the metric 'auc'; those there are: auprc"),
        ("prior =", "priors =", r"set 'small' has the key 'priors' \(did you mean prior\?\)"),
        ('name = "hidden"', 'name = "small"', "needed one or more, each with a name of its own"),
        ('gold = "gold.tsv"\nprior = "prior.tsv"', "", "set 'small' has no gold"),
        ('expression = "data.h5ad"\ngold', "gold", "neither expression nor scores"),
        ('column = "fold", ', "", "needs the column of its folds"),
        ('table = "folds.tsv", column = "fold", folds = [0, 1]', "", "hidden has nothing"),
        ('regulators = "tfs.txt"\n\n', 'pairs = "some"\n\n', "pairs is 'some'; one of gold, nodes"),
        ("[protocol]", "[protocol", "is no TOML"),
    ],
)
def test_a_mistake_in_a_protocol_is_one_line(tmp_path, old, new, message):
    path = tmp_path / "own.toml"
    assert old in TOML
    path.write_text(TOML.replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as caught:
        read_protocol(path)
    assert "\n" not in str(caught.value)


def test_a_protocol_that_is_not_there():
    with pytest.raises(ValueError, match=r"no protocol 'beelin' \(did you mean beeline\?\)"):
        read_protocol("beelin")


# ------------------------------------------------------------------ what is hidden and scored


def only(case, folder, tmp_path):
    (split,) = splits.splits(case, folder, tmp_path)
    return split


def pairs(table):
    return set(zip(table["source"], table["target"], strict=True))


@pytest.mark.parametrize(
    "hidden",
    [
        Hidden(table="folds.tsv", column="fold"),
        Hidden(genes="genes.txt", shown=18, seeds=(42, 43)),
        Hidden(parts=4, seed=1),
    ],
)
@pytest.mark.parametrize("prior", ["gold", "prior.tsv"])
def test_no_edge_of_a_hidden_target_reaches_the_fit(folder, tmp_path, hidden, prior):
    case = Case("a", "data.h5ad", "gold.tsv", prior, "tfs.txt", hidden=hidden)
    made = list(splits.splits(case, folder, tmp_path))
    gold = pd.read_csv(folder / "gold.tsv", sep="\t")
    assert len(made) == {"folds.tsv": 3, None: 2 if hidden.genes else 4}[hidden.table]
    for split in made:
        assert len(split.targets) and not set(split.prior["target"]) & set(split.targets)
        assert set(split.wanted) >= set(split.targets)
        permuted = split.permuted().prior
        assert not set(permuted["target"]) & set(split.targets)
        pd.testing.assert_series_equal(
            permuted["source"].value_counts(), split.prior["source"].value_counts()
        )
    if hidden.genes is None:  # every target is hidden once
        every = np.concatenate([split.targets for split in made])
        assert sorted(every) == sorted(gold["target"].unique())


def test_genes_are_hidden_by_the_legacy_shuffle(folder, tmp_path):
    hidden = Hidden(genes="genes.txt", shown=18, seeds=(42,))
    split = only(Case("a", "data.h5ad", "gold.tsv", "gold", hidden=hidden), folder, tmp_path)
    genes = (folder / "genes.txt").read_text().split()
    order = list(range(24))
    np.random.RandomState(42).shuffle(order)
    assert sorted(split.targets) == sorted(genes[i] for i in order[18:])


@pytest.mark.parametrize("kind", ["nodes", "regulators", "all"])
def test_universes_are_those_of_loops(tmp_path, kind):
    gold = [("a", "x"), ("a", "b"), ("b", "y"), ("a", "a")]
    pd.DataFrame(gold, columns=["tf", "target"]).to_csv(tmp_path / "g.tsv", sep="\t", index=False)
    (tmp_path / "r.txt").write_text("a\nb\nc\n")
    pd.DataFrame({"source": ["a"], "target": ["x"], "score": [1.0]}).to_csv(
        tmp_path / "s.tsv", sep="\t", index=False
    )
    case = Case("a", gold="g.tsv", regulators="r.txt", pairs=kind, scores={"one": "s.tsv"})
    table = only(case, tmp_path, tmp_path).gold
    tfs, genes = {"nodes": ("ab", "abxy"), "regulators": ("abc", "abxy"), "all": ("abc", "abxy")}[
        kind
    ]
    every = {(r, t) for r in tfs for t in genes if r != t or kind == "all"}
    assert pairs(table) == every
    true = every & set(gold)
    assert pairs(table[table["label"] == 1]) == true
    # They are the pairs that are scored, too.
    row = unigrn.benchmark(Protocol("own", (case,)), data=tmp_path).results.iloc[0]
    assert (row["n_universe"], row["n_positive"]) == (len(every), len(true))


def test_files_that_are_not_there_are_named(folder, tmp_path):
    case = Case("small", "other.h5ad", "gold.tsv")
    with pytest.raises(ValueError, match=r"set 'small': expression '.*other.h5ad' is not there"):
        only(case, folder, tmp_path)
    lost = Hidden(table="folds.tsv", column="part")
    with pytest.raises(ValueError, match="has the columns target, fold; needed part"):
        only(Case("a", "data.h5ad", "gold.tsv", "gold", hidden=lost), folder, tmp_path)


def test_baselines_are_their_definitions(folder, tmp_path):
    split = only(Case("a", "data.h5ad", "gold.tsv", "prior.tsv", "tfs.txt"), folder, tmp_path)
    prior = pd.read_csv(folder / "prior.tsv", sep="\t")
    count = prior.groupby("tf").size()
    for row in splits.degrees(split).itertuples():
        assert row.score == count[row.source]
    values = anndata.read_h5ad(folder / "data.h5ad").to_df().astype(float)
    for row in splits.correlations(split).sample(20, random_state=0).itertuples():
        expected = abs(np.corrcoef(values[row.source], values[row.target])[0, 1])
        assert row.score == pytest.approx(expected, rel=1e-9)


# ------------------------------------------------------------------ what is run


def test_a_row_is_what_infer_and_evaluate_say(folder, found):
    network = unigrn.infer(
        folder / "data.h5ad",
        folder / "prior.tsv",
        "masked_ridge",
        regulators=folder / "tfs.txt",
        alpha=0.5,
    )
    expected = evaluate(network, folder / "gold.tsv").metrics
    rows = found.results[found.results["set"] == "small"].set_index("network")
    row = rows.loc["masked_ridge alpha=0.5"]
    for metric in ("auprc", "auprc_ratio", "epr", "auroc", "n_positive"):
        assert row[metric] == pytest.approx(expected[metric], rel=1e-9), metric
    assert row["converged"] == 1 and row["problem"] == ""
    assert row["seconds"] > row["cpu_seconds"] / 8 > 0 and row["mib"] > 50
    assert 0 < row["r_precision"] < 1


def test_a_fit_that_fails_is_a_row_that_says_why(found):
    rows = found.results[found.results["network"] == "scode"]
    assert len(rows) == 3 and rows["auprc"].isna().all()
    assert rows["problem"].str.contains("min_W").all()
    assert "scode" not in set(found.means["network"])
    assert any("small, scode: " in line for line in found.table())


def test_a_permuted_prior_is_fitted_once_and_where_it_matters(found):
    rows = found.results.set_index("network")
    assert set(rows.loc[["masked_ridge alpha=0.5" + PERMUTED], "split"]) == {"all", "fold 0"}
    assert "full_ridge" + PERMUTED not in rows.index


def test_the_prior_is_at_chance_on_hidden_targets_and_not_elsewhere(found):
    ratio = found.means.set_index(["set", "network"])["auprc_ratio"]
    assert ratio["hidden", "prior alone"] == pytest.approx(1)
    assert ratio["hidden", "masked_ridge alpha=0.5"] == pytest.approx(1)
    assert ratio["small", "prior alone"] > 1.5
    assert ratio["hidden", "full_ridge"] > 1.2
    assert any("hidden" in text and "beats" in text for text in found.warnings) == (
        ratio["hidden"][["full_ridge"]].max()
        <= ratio["hidden"][["|Pearson|", "regulator degree", "prior alone"]].max()
    )


def test_what_lists_no_hidden_pair_is_at_chance(folder):
    hidden = Hidden(genes="genes.txt", shown=18, seeds=(1,))
    case = Case("a", "data.h5ad", "gold.tsv", "gold", "tfs.txt", pairs="all", hidden=hidden)
    protocol = Protocol("own", (case,))
    means = unigrn.benchmark(protocol, ["masked_ridge"], data=folder, null=False).means
    ratio = means.set_index("network")[["auprc_ratio", "listed"]]
    for name in ("prior alone", "masked_ridge"):
        assert ratio.loc[name].tolist() == pytest.approx([1, 0]), name


def test_means_are_over_splits(found):
    own = found.results.query("set == 'hidden' and network == 'full_ridge'")
    row = found.means.query("set == 'hidden' and network == 'full_ridge'").iloc[0]
    assert row["splits"] == 2
    assert row["auprc"] == pytest.approx(own["auprc"].mean())
    assert row["sd"] == pytest.approx(own["auprc_ratio"].std(ddof=1))


def test_paired_tests_are_scipys(folder, found):
    network = unigrn.infer(
        folder / "data.h5ad", folder / "prior.tsv", "full_ridge", regulators=folder / "tfs.txt"
    )
    scored = evaluate(
        network, folder / "gold.tsv", folder / "prior.tsv", expression=folder / "data.h5ad"
    )
    row = found.tests.query("set == 'small' and network == 'full_ridge' and other == '|Pearson|'")
    apart = scored.by_regulator["network"] - scored.by_regulator["|Pearson|"]
    assert row["regulators"].item() == 8
    assert row["better"].item() == (apart > 1e-12).sum()
    assert row["p"].item() == pytest.approx(wilcoxon(apart).pvalue, rel=1e-6)


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_p_are_those_of_steps_down(p):
    order, last, expected = sorted(range(len(p)), key=lambda i: p[i]), 0.0, {}
    for place, i in enumerate(order):
        last = max(last, min(1.0, p[i] * (len(p) - place)))
        expected[i] = last
    np.testing.assert_allclose(holm(p), [expected[i] for i in range(len(p))], rtol=1e-12)


def test_networks_of_others_are_scored_without_a_fit(folder, tmp_path):
    gold = pd.read_csv(folder / "gold.tsv", sep="\t")
    gold.assign(score=1.0).to_csv(tmp_path / "right.tsv", sep="\t", index=False)
    gold.to_csv(tmp_path / "gold.tsv", sep="\t", index=False)
    case = Case("others", gold="gold.tsv", scores={"right": "right.tsv"})
    one = unigrn.benchmark(Protocol("own", (case,)), data=tmp_path)
    assert one.means["auprc"].tolist() == [1.0]
    assert not any("MiB" in text for text in one.notes)


def test_a_peer_that_is_not_installed_says_so_and_one_that_is_runs(folder, monkeypatch):
    monkeypatch.setitem(run.PEERS, "grnboost2", "no_such_package")
    made = unigrn.benchmark(
        folder / "own.toml", ["grnboost2", "genie3"], sets=["small"], null=False
    )
    rows = made.results.set_index("network")
    assert rows.loc["grnboost2", "problem"] == "no_such_package is not installed"
    assert rows.loc["genie3", "problem"] == "" and rows.loc["genie3", "auprc_ratio"] > 1.3


def test_a_set_that_cannot_be_read_does_not_cost_the_others(folder, tmp_path):
    gold = folder / "gold.tsv"
    pd.read_csv(gold, sep="\t").assign(score=1.0).to_csv(tmp_path / "s.tsv", sep="\t", index=False)
    (tmp_path / "gold.tsv").write_text(gold.read_text())
    good = Case("good", gold="gold.tsv", scores={"right": "s.tsv"})
    lost = Case("lost", gold="other.tsv", scores={"right": "s.tsv"})
    made = unigrn.benchmark(Protocol("own", (lost, good)), data=tmp_path)
    assert made.means["set"].tolist() == ["good"]
    assert any("lost, all: set 'lost': gold" in line for line in made.table())
    with pytest.raises(ValueError, match="no set of own can be read; set 'lost'"):
        other = Case("other", gold="third.tsv", scores={"right": "s.tsv"})
        unigrn.benchmark(Protocol("own", (lost, other)), data=tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sets": ["tiny"]}, "no set 'tiny' in own; its sets are small, hidden"),
        ({"methods": []}, "names no method"),
        ({"methods": ["masked_ridg"]}, r"masked_ridg.*did you mean masked_ridge"),
        ({"methods": ["full_ridge alpha"]}, "'alpha' is not KEY=VALUE"),
        ({"methods": ["full_ridge alfa=1"]}, r"no parameter 'alfa' \(did you mean alpha\?\)"),
        ({"methods": ['full_ridge "']}, "cannot be read: No closing quotation"),
        ({"methods": ["genie3 trees=3"]}, "takes no parameters"),
        ({"data": "nowhere"}, "data 'nowhere' is no folder"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is(folder, given, message):
    with pytest.raises(ValueError, match=message):
        unigrn.benchmark(folder / "own.toml", **given)


def test_a_process_that_takes_too_long_is_stopped():
    took = process.measured("timeit", ["-n1", "-r1", "import time; time.sleep(60)"], limit=1)
    assert took.problem == "stopped after 1 seconds" and took.seconds == 1
    assert process.measured("timeit", ["-n1", "-r1", "pass"]).problem == ""


def test_a_sweep_varies_one_argument(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        """
[protocol]
metrics = ["auprc", "missed", "spurious"]
methods = ["correlation"]
[[set]]
name = "cells"
simulate = { cells = 60, regulators = 6, genes = 20, groups = 1, parents = [1, 2], steps = 20 }
[[sweep]]
name = "share of regulators not measured"
argument = "hidden_regulators"
values = [0, 0.5]
"""
    )
    made = unigrn.benchmark(path, null=False)
    table = made.curves("n_positive")["share of regulators not measured"]
    assert list(table) == [0, 0.5]
    assert (table[0.5] < table[0]).all(), "true edges of hidden regulators do not count"
    assert {"correlation", "|Pearson|", "prior alone"} <= set(table.index)
    # The method is the baseline of its name, but for rounding in single precision.
    ratio = made.curves("auprc")["share of regulators not measured"]
    np.testing.assert_allclose(ratio.loc["correlation"], ratio.loc["|Pearson|"], rtol=1e-2)
    figure = unigrn.plot.benchmark_figure(made)
    assert "spurious, share of regulators not measured" in {a.get_label() for a in figure.axes}
    assert "auprc over chance by share of regulators not measured" in made.table()


# ------------------------------------------------------------------ metrics by regulator, BEELINE's


@given(seed=st.integers(0, 10_000))
def test_precision_by_regulator_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    true = rng.random((4, 7)) < 0.4
    score = rng.integers(0, 4, (4, 7)).astype(float)  # 0 is not listed
    if not true.any() or not score.any():
        return
    every = [(f"r{i}", f"t{j}") for i in range(4) for j in range(7)]
    gold = pd.DataFrame(every, columns=["tf", "target"]).assign(label=true.ravel().astype(int))
    network = pd.DataFrame(every, columns=["source", "target"]).assign(score=score.ravel())
    found = evaluate(network[network["score"] > 0], gold).by_regulator["network"]
    expected = {
        f"r{i}": average_precision_score(true[i], score[i])
        for i in range(4)
        if 0 < true[i].sum() < 7
    }
    assert found.to_dict() == pytest.approx(expected, rel=1e-12)
    # BEELINE: every listed pair that ties with the kth, and no other.
    k, listed = int(true.sum()), np.sort(score[score > 0])[::-1]
    taken = score >= max(listed[-1], listed[min(k, listed.size) - 1])
    expected = true[taken].mean() / true.mean()
    given = evaluate(network, gold).epr_beeline["network"]
    assert given == pytest.approx(expected, rel=1e-12)


# ------------------------------------------------------------------ the command


def test_the_command_lists_shows_and_runs(folder, tmp_path, capsys):
    from unigrn.cli import main

    assert main(["benchmark"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in protocols())
    assert main(["benchmark", "beeline", "--show"]) == 0
    assert capsys.readouterr().out == protocols()["beeline"].read_text()
    out, figure = tmp_path / "rows.tsv", tmp_path / "f.png"
    own = [str(folder / "own.toml"), "--set", "small", "--method", "masked_ridge", "--no-null"]
    code = main(["benchmark", *own, "-o", str(out), "--figure", str(figure)])
    told = capsys.readouterr()
    assert code == 0 and "masked_ridge" in told.out and str(figure) in told.out
    table = pd.read_csv(out, sep="\t")
    assert list(table["network"]) == [
        "masked_ridge",
        "prior alone",
        "regulator degree",
        "|Pearson|",
    ]
    assert json.loads(Path(f"{out}.meta.json").read_text())["protocol"] == "own"
    assert figure.stat().st_size > 5_000
    assert main(["benchmark", *own, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert rows[0]["network"] == "masked_ridge" and rows[-1]["seconds"] is None


def test_a_benchmark_without_any_network_still_reports(tmp_path):
    (tmp_path / "gold.tsv").write_text("tf\ttarget\nA\tb\nB\tc\n")
    (tmp_path / "other.tsv").write_text("source\ttarget\tscore\nx\ty\t1\n")
    case = Case("=other", gold="gold.tsv", scores={"+one": "other.tsv"})
    made = unigrn.benchmark(Protocol("own", (case,)), data=tmp_path)
    assert made.means.empty and made.tests.empty
    assert any("=other, +one: " in line and "share no" in line for line in made.table())
    json.dumps(made.to_dict(), allow_nan=False)
    with pytest.raises(ValueError, match="nothing to draw"):
        unigrn.plot.benchmark_figure(made)


def test_the_command_refuses_in_one_line(folder, tmp_path, capsys):
    from unigrn.cli import main

    mine = tmp_path / "mine.tsv"
    mine.write_text("mine\n")
    own = str(folder / "own.toml")
    for arguments, message in (
        (["nowhere"], "no protocol 'nowhere'"),
        ([own, "-o", "-"], "for stdout take --json"),
        ([own, "-o", str(mine)], "not as unigrn wrote it"),
        ([own, "-o", "rows.parquet"], "has no known suffix"),
        ([own, "--set", "tiny"], "no set 'tiny'"),
        (["beeline", "--data", str(tmp_path)], "is not there"),
    ):
        assert main(["benchmark", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert mine.read_text() == "mine\n"
