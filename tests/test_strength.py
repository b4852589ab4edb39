"""How strongly a prior is believed: chosen on some targets, judged on others."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import unigrn
from unigrn.plot import strength_figure
from unigrn.worth import gain, strength

Q, P = 12, 90
TFS, GENES = [f"r{i:02d}" for i in range(Q)], [f"t{i:02d}" for i in range(P)]


def network(seed=0):
    rng = np.random.default_rng(seed)
    exists = rng.random((Q, P)) < 0.15
    return exists, exists * rng.normal(size=(Q, P)) * 0.5


def cells(theta, count, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, Q))
    y = x @ theta + rng.normal(size=(count, P))
    return pd.DataFrame(np.c_[x, y], columns=[*TFS, *GENES])


def edges(flags):
    i, j = np.nonzero(flags)
    return pd.DataFrame({"source": np.array(TFS)[i], "target": np.array(GENES)[j]})


@pytest.fixture(scope="module")
def right():
    exists, theta = network()
    table = cells(theta, 50, 1)
    rng = np.random.default_rng(2)
    # It lacks a third of the edges, so that a mask loses them.
    prior = edges(exists & (rng.random(exists.shape) < 0.67) | (rng.random(exists.shape) < 0.04))
    return table, theta, prior, unigrn.prior_strength(table, prior)


@pytest.fixture(scope="module")
def worthless():
    exists, theta = network()
    prior = edges(np.random.default_rng(3).permutation(exists.ravel()).reshape(exists.shape))
    return prior, unigrn.prior_strength(cells(theta, 50, 1), prior)


def bits(found):
    return found.judged.set_index("belief")["bits"]


def test_a_right_prior_is_believed_and_gains_on_targets_that_did_not_choose(right):
    found = right[-1]
    assert found.on > 3 * found.off
    own = found.judged.set_index("belief")
    assert own.loc["chosen", "lower"] > 0.01
    assert own.loc["chosen", "bits"] > own.loc["worst fixed", "bits"]
    assert own.loc["chosen", "bits"] >= own.loc["best fixed", "bits"] - 0.01
    assert own.loc["no prior"].tolist() == [0, 0, 0]
    assert abs(own.loc["permuted prior", "bits"]) < 0.2 * own.loc["chosen", "bits"]


def test_a_worthless_prior_is_not_believed_and_nothing_is_lost(worthless):
    found = worthless[-1]
    assert found.on == found.off
    own = bits(found)
    assert abs(own["chosen"]) < 0.005
    assert own["hard mask"] < -0.05 and own["worst fixed"] < 0


def test_what_is_chosen_predicts_fresh_cells_better_than_either_end(right):
    table, theta, prior, found = right
    fresh = cells(theta, 2000, 9)
    level = table.mean(), table.std(ddof=0)

    def loss(**given):
        fitted = unigrn.infer(
            table, prior, "linear_gaussian", targets=GENES, regulators=TFS, form="map", **given
        ).edges
        weight = fitted.pivot_table("weight", "source", "target").reindex(
            index=TFS, columns=GENES, fill_value=0
        )
        scaled = (fresh - level[0]) / level[1]
        rest = scaled[GENES].to_numpy() - scaled[TFS].to_numpy() @ weight.fillna(0).to_numpy()
        return float((rest**2).mean())

    chosen = loss(**found.parameters)
    none = min(loss(on=v, off=v) for v in (0.001, 0.003, 0.01, 0.03, 0.1))
    assert chosen < none - 0.005
    assert chosen < loss(on=found.on, mask="hard")


def test_the_curve_begins_at_no_prior_and_has_the_best_and_the_worst(right):
    found = right[-1]
    assert found.curve["strength"].iloc[0] == 0 and found.curve["bits"].iloc[0] == 0
    own = bits(found)
    assert found.curve["bits"].max() == pytest.approx(own["best fixed"])
    assert found.curve["bits"].min() == pytest.approx(own["worst fixed"])


def test_no_choice_sees_what_it_is_judged_on(right, monkeypatch):
    """The targets that judge the first fold are spoilt: what the others chose must not move."""
    table, _, prior, _ = right

    def judge(values):
        given = dict.fromkeys(("regulators", "targets", "groupby", "layer", "names"))
        sources = {"prior": prior}
        known, judges, _ = gain.judged(
            values, sources, "expression", 4, None, 0.9, 0, raw=False, least=1, **given
        )
        return known, judges[0]

    known, before = judge(table)
    spoilt = table.copy()
    for target in known.targets[before.halves[1]]:
        spoilt[target] = np.random.default_rng(5).permutation(spoilt[target])
    (first, second), (same, other) = (own.settings[(0,)] for own in (before, judge(spoilt)[1]))
    assert same == first and other != second

    class Leaking(strength.Choice):
        def __init__(self, known, targets):
            super().__init__(known, np.arange(len(known.at((0, 0)))))

    monkeypatch.setattr("unigrn.worth.judge.Choice", Leaking)
    leaks = [judge(values)[1].settings[(0,)][0] for values in (table, spoilt)]
    assert leaks[0] != leaks[1], "which the test would catch"


def test_the_report_is_plain_data_and_a_call(right):
    found = right[-1]
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["on"] == found.on and len(told["curve"]) == 21
    assert found.table()[-1].endswith(f"--param on={found.on:.6g} --param off={found.off:.6g}")


def test_the_figure_has_its_lines(right, tmp_path):
    figure = strength_figure(right[-1], tmp_path / "s.png")
    (axes,) = figure.axes
    assert axes.get_label() == "strength"
    assert len(axes.get_legend().get_texts()) == 4
    assert (tmp_path / "s.png").stat().st_size > 5_000


def test_the_command_says_the_same(right, tmp_path, capsys):
    from unigrn.cli import main

    table, _, prior, found = right
    import anndata

    path, list_ = tmp_path / "d.h5ad", tmp_path / "p.tsv"
    anndata.AnnData(table.to_numpy(), var=pd.DataFrame(index=table.columns)).write_h5ad(path)
    prior.to_csv(list_, sep="\t", index=False)
    assert main(["strength", str(path), "--prior", str(list_), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["on"] == pytest.approx(found.on) and told["off"] == pytest.approx(found.off)
    assert main(["strength", str(path), "--prior", str(list_), "--splits", "5"]) == 2
    assert "splits must be even" in capsys.readouterr().err
    assert main(["priors", str(path), "--prior", f"a={list_}"]) == 2
    assert "unigrn strength" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": None}, "the source prior is None"),
        ({"prior": pd.DataFrame({"source": ["x"], "target": ["y"]})}, "has no edge between"),
        ({"targets": GENES[:5]}, "5 targets are measured"),
        ({"level": 1.0}, "level must be between 0 and 1"),
    ],
)
def test_bad_input_is_one_line(right, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        unigrn.prior_strength(right[0], **{"prior": right[2], **change})
    assert "\n" not in str(caught.value)
