"""What sources of prior edges are worth: closed forms, choices, intervals, the report."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

import unigrn
from unigrn.worth import edge_probabilities, prior_gain
from unigrn.worth.activities import activities, turned
from unigrn.worth.agreement import bits_per_edge, calibrated, ranks
from unigrn.worth.choice import Choice, Table, subsets
from unigrn.worth.folds import Dealt, Fold, Half
from unigrn.worth.gain import BY
from unigrn.worth.intervals import interval, sampled, shapley
from unigrn.worth.regression import Edges, Regression
from unigrn.worth.sources import Sources

Q, P, N = 12, 60, 90
TFS = [f"r{i:02}" for i in range(Q)]
GENES = [f"t{i:03}" for i in range(P)]


def table_of(edges):
    i, j = np.nonzero(edges)
    return pd.DataFrame({"source": np.array(TFS)[i], "target": np.array(GENES)[j]})


def simulated(seed=0):
    """Expression of a linear network, and sources that know much, little and nothing of it."""
    rng = np.random.default_rng(seed)
    exists = rng.random((Q, P)) < 0.15
    x = rng.normal(size=(N, Q))
    y = x @ (exists * rng.normal(size=(Q, P))) + rng.normal(size=(N, P))

    def source(right, wrong):
        return table_of(np.where(exists, rng.random((Q, P)) < right, rng.random((Q, P)) < wrong))

    priors = {"much": source(0.9, 0.02), "little": source(0.4, 0.1), "nothing": source(0.15, 0.15)}
    return pd.DataFrame(np.c_[x, y], columns=TFS + GENES), priors, table_of(exists)


# ------------------------------------------------------------------ closed forms


def halves(x, y, fitted):
    """Moments of fitted and hidden cells around the fitted means."""
    x, y = x - x[:fitted].mean(0), y - y[:fitted].mean(0)

    def half(a, b):
        return Half(a.T @ a, a.T @ b, (b**2).sum(0), len(a))

    return Fold(half(x[:fitted], y[:fitted]), half(x[fitted:], y[fitted:])), x, y


@pytest.mark.parametrize("sized", [7, 40])
def test_bits_and_weights_are_those_of_the_dense_formulas(sized):
    """Every target by its own covariance of cells, in NumPy; two targets are regulators."""
    rng = np.random.default_rng(0)
    q, p, n, hidden, off = sized, 9, 60, 15, 0.05
    x = rng.normal(size=(n + hidden, q))
    y = x @ (rng.normal(size=(q, p)) * (rng.random((q, p)) < 0.4))
    y = y + rng.normal(size=y.shape)
    own = np.full(p, -1)
    own[:2] = 2, 5
    y[:, :2] = x[:, own[:2]]
    fold, x, y = halves(x, y, n)
    code = rng.integers(0, 4, (q, p))
    code[own[:2], [0, 1]] = 0
    code[:, 3] = 0  # a target that no source knows
    price = np.array([0.0, 0.5, 1.5, 2.0])
    regression = Regression(fold, own)
    found = regression.with_edges(off, Edges(code), price), regression.without(off)
    weights = regression.weights(off, Edges(code), price)
    for t, known in itertools.product(range(p), (True, False)):
        v = off + known * price[code[:, t]]
        if own[t] >= 0:
            v[own[t]] = 0
        cov = np.eye(n) + (x[:n] * v) @ x[:n].T
        inverse = np.linalg.inv(cov)
        quad = y[:n, t] @ inverse @ y[:n, t]
        weight = v * (x[:n].T @ inverse @ y[:n, t])
        spread = np.diag(v) - (v[:, None] * x[:n].T) @ inverse @ (x[:n] * v)
        lever = np.einsum("ij,jk,ik->i", x[n:], spread, x[n:]).mean()
        variance = quad / (n - 3) * (1 + 1 / n + lever)
        rest = ((y[n:, t] - x[n:] @ weight) ** 2).mean()
        bits = -0.5 * (np.log(2 * np.pi * variance) + rest / variance) / np.log(2)
        # Systems of prior edges are solved in single precision.
        tolerance = 3e-6 if known else 1e-9
        assert found[0 if known else 1][t] == pytest.approx(bits, abs=tolerance)
        if known:
            np.testing.assert_allclose(weights[:, t], weight, atol=1e-5 * np.abs(weight).max())


def test_folds_hide_each_cell_once_around_the_means_of_the_others():
    frame, _, _ = simulated()
    groups = np.where(np.arange(N) % 3 == 0, "a", "b")
    weights = np.random.default_rng(1).uniform(0.5, 2, N)
    data = unigrn.Data.from_arrays(
        frame.to_numpy(), list(frame.columns), groups=groups, weights=weights, dtype="float64"
    )
    dealt = Dealt.of(data, np.array(sorted(frame.columns)), 3, 0)
    found = dealt.folds(np.array(TFS), np.array(GENES))
    part = dealt.data.codes
    assert all(np.isin(part[groups == g] // 3, i).all() for i, g in enumerate("ab"))
    values = frame.to_numpy()
    for g in "ab":
        values[groups == g] -= values[groups == g].mean(axis=0)
    values /= np.sqrt((values**2).mean(axis=0))
    for fold, own in enumerate(found):
        fitted = part % 3 != fold
        center = weights[fitted] @ values[fitted] / weights[fitted].sum()
        for half, cells in ((own.fitted, fitted), (own.hidden, ~fitted)):
            around = values[cells] - center
            heavy = around * weights[cells][:, None]
            assert half.count == pytest.approx(weights[cells].sum())
            np.testing.assert_allclose(half.gram, (heavy.T @ around)[:Q, :Q], atol=1e-9)
            np.testing.assert_allclose(half.cross, (heavy.T @ around)[:Q, Q:], atol=1e-9)
            np.testing.assert_allclose(half.square, (heavy * around).sum(axis=0)[Q:], atol=1e-9)


def test_a_gene_that_varies_in_the_cells_of_one_fold_alone_is_left_out():
    frame, priors, _ = simulated()
    data = unigrn.Data.from_arrays(frame.to_numpy(), list(frame.columns), dtype="float64")
    part = Dealt.of(data, np.array(GENES), 2, 0).data.codes
    frame.loc[part == 1, "t007"] = 0.0
    data = unigrn.Data.from_arrays(frame.to_numpy(), list(frame.columns), dtype="float64")
    varies = Dealt.of(data, np.array(GENES), 2, 0).varying()
    assert list(np.flatnonzero(~varies)) == [7]
    found = prior_gain(data, priors, splits=4)
    assert found.settings["targets"] == P - 1
    assert np.isfinite(found.worth["bits"]).all()


def test_activities_are_the_ridge_solution_over_the_targets_that_build():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, P))
    fold, y, _ = halves(values, values, 40)
    code = rng.integers(0, 4, (Q, P)).astype(np.int32)
    builders = np.arange(0, P, 2)
    names = np.array(GENES)
    known = Sources(("a", "b"), np.array(TFS), names, code)
    turn, on = activities(known, builders)
    others = np.arange(1, P, 2)
    assert list(on.targets) == list(names[others]) and (on.own == -1).all()
    fitted = Fold(
        *(
            Half(
                h.gram[np.ix_(builders, builders)],
                h.cross[np.ix_(builders, others)],
                h.square[others],
                h.count,
            )
            for h in (fold.fitted, fold.hidden)
        )
    )
    found = turned(fitted, turn)
    column = 0
    for s in range(2):
        p = (code[:, builders] >> s & 1).astype(float)
        z = y[:, builders] @ p.T @ np.linalg.inv(p @ p.T + np.eye(Q))
        z = z / np.sqrt((z[:40] ** 2).mean(axis=0))
        own = slice(column, column + Q)
        np.testing.assert_allclose(found.fitted.gram[own, own], z[:40].T @ z[:40], atol=1e-9)
        hidden = z[40:].T @ y[40:, others]
        np.testing.assert_allclose(found.hidden.cross[own], hidden, atol=1e-9)
        assert (on.code[own] == code[:, others] & (1 << s)).all()
        assert (on.row[own] == np.arange(Q)).all()
        column += Q
    sizes = rng.random((2 * Q, len(others)))
    np.testing.assert_array_equal(on.sizes(sizes), np.maximum(sizes[:Q], sizes[Q:]))


def test_activities_show_the_worth_that_expression_of_regulators_hides():
    rng = np.random.default_rng(0)
    q, p, n = 8, 160, 60
    tfs, genes = TFS[:q], [f"g{i:03}" for i in range(p)]
    exists = rng.random((q, p)) < 0.2
    active = rng.normal(size=(n, q))
    y = active @ (exists * rng.uniform(0.7, 1.3, (q, p))) + rng.normal(size=(n, p))
    frame = pd.DataFrame(np.c_[rng.normal(size=(n, q)), y], columns=tfs + genes)
    priors = {}
    for name, edges in (("true", exists), ("false", rng.permuted(exists, axis=1))):
        i, j = np.nonzero(edges)
        priors[name] = pd.DataFrame({"source": np.array(tfs)[i], "target": np.array(genes)[j]})
    by = {how: prior_gain(frame, priors, by=how, splits=4, gold=priors["true"]) for how in BY}
    worth = {how: found.shapley.set_index("source") for how, found in by.items()}
    assert worth["activity"]["lower"]["true"] > 0.002
    assert abs(worth["expression"]["bits"]["true"]) < 0.1 * worth["activity"]["bits"]["true"]
    assert abs(worth["activity"]["bits"]["false"]) < 0.1 * worth["activity"]["bits"]["true"]
    assert (
        worth["activity"]["agreement"]["true"]
        > 0.5
        > 0.1
        > worth["expression"]["agreement"]["true"]
    )
    ratio = by["activity"].gold.set_index("sources")["auprc_ratio"]
    assert ratio["none"] > 1.5, "activities rank edges that no judged target was told"


# ------------------------------------------------------------------ choices


@pytest.fixture(scope="module")
def tabled():
    frame, priors, _ = simulated()
    values = frame.to_numpy()
    fold, *_ = halves(values[:, :Q], values[:, Q:] / values[:, Q:].std(0), 60)
    code = np.zeros((Q, P), np.int32)
    for bit, edges in enumerate(priors.values()):
        i = edges["source"].map({n: k for k, n in enumerate(TFS)}).to_numpy()
        j = edges["target"].map({n: k for k, n in enumerate(GENES)}).to_numpy()
        code[i, j] |= 1 << bit
    return Table(Regression(fold, np.full(P, -1)), code, 3)


def test_no_choice_looks_at_what_judges(tabled):
    """A leak is planted: the judged targets' bits favour nonsense. Choices must not move."""
    choosing = np.arange(0, P, 2)
    honest = Choice(tabled, choosing)
    before = {s: honest.setting(s) for s in subsets(range(3))}

    class Leaking(Table):
        def at(self, setting):
            bits = super().at(setting).copy()
            bits[1::2] = 1e3 * sum(setting)
            return bits

    planted = Leaking(tabled.regression, tabled.edges.code, 3)
    again = Choice(planted, choosing)
    assert {s: again.setting(s) for s in before} == before
    leaks = Choice(planted, np.arange(P))  # which the test would catch
    assert {s: leaks.setting(s) for s in before} != before


def test_a_source_that_knows_is_believed_and_one_that_does_not_is_left(tabled):
    choice = Choice(tabled, np.arange(P))
    assert choice.setting((0,))[1] > 0 and choice.setting((2,))[3] == 0
    score = {s: choice.score(choice.setting(s)) for s in subsets(range(3))}
    for s, t in itertools.product(score, score):
        if set(s) < set(t):
            assert score[t] >= score[s], (s, t)
    best = max(choice.path(0), key=choice.score)
    assert choice.score(choice.setting((0,))) >= choice.score(best)


# ------------------------------------------------------------------ numbers


def test_shapley_values_are_means_over_all_orders():
    rng = np.random.default_rng(0)
    value = {s: rng.normal(size=3) for s in subsets(range(4))}
    want = np.zeros((4, 3))
    orders = list(itertools.permutations(range(4)))
    for order in orders:
        for i, s in enumerate(order):
            before, after = tuple(sorted(order[:i])), tuple(sorted(order[: i + 1]))
            want[s] += (value[after] - value[before]) / len(orders)
    np.testing.assert_allclose(shapley(value, 4), want, atol=1e-12)
    np.testing.assert_allclose(sampled(value.__getitem__, 4, orders), want, atol=1e-12)
    np.testing.assert_allclose(np.sum(want, axis=0), value[0, 1, 2, 3] - value[()], atol=1e-12)


@pytest.mark.parametrize("folded", [0.0, 0.1, 1.0])
def test_intervals_hold_their_coverage(folded):
    """Targets, folds and noise are random effects: 90 % intervals cover the mean."""
    rng = np.random.default_rng(0)
    inside, trials = 0, 400
    for _ in range(trials):
        values = rng.normal(size=(5, 1)) * folded + rng.normal(size=(1, 50))
        mean, low, high = interval(values + rng.normal(size=(5, 50)))
        assert low <= mean <= high
        inside += low <= 0 <= high
    assert 0.85 <= inside / trials <= 0.97, inside / trials
    assert interval(np.zeros((5, 50))) == (0, 0, 0)


def test_bits_per_edge_are_those_of_known_probabilities():
    """Labels of probabilities share times lift: their bits, and none of permuted ones."""
    rng = np.random.default_rng(0)
    score = rng.normal(size=(30, 4000))
    rank, valid = ranks(score), np.ones(score.shape, bool)
    share = rng.uniform(0.02, 0.1, 30)[:, None]
    truth = share * 3 * rank**2  # of mean lift 1
    label = rng.random(score.shape) < truth
    learn, judge = slice(0, 2000), slice(2000, None)
    known = calibrated(rank[:, learn], label[:, learn], valid[:, learn])
    assert (np.diff(known.lift) >= 0).all()
    found = bits_per_edge(known, rank[:, judge], label[:, judge], valid[:, judge])
    p, y = truth[:, judge], label[:, judge]
    chance = np.broadcast_to(share, p.shape)
    want = np.where(y, np.log2(p / chance), np.log2((1 - p) / (1 - chance))).sum() / y.sum()
    assert found == pytest.approx(want, abs=0.02) and found > 0.3
    mixed = rng.permuted(label, axis=1)
    other = calibrated(rank[:, learn], mixed[:, learn], valid[:, learn])
    assert abs(bits_per_edge(other, rank[:, judge], mixed[:, judge], valid[:, judge])) < 0.02
    close = known.probability(rank[:, judge]).mean() / y.mean()
    assert close == pytest.approx(1, abs=0.05)


# ------------------------------------------------------------------ the report


@pytest.fixture(scope="module")
def gain():
    frame, priors, gold = simulated(3)
    return prior_gain(frame, priors, splits=4, gold=gold, seed=1)


def test_sources_are_ordered_by_what_they_know(gain):
    own = gain.shapley.set_index("source")
    assert own["bits"]["much"] > own["bits"]["little"] > own["bits"]["nothing"] - 1e-9
    assert own["lower"]["much"] > 0
    assert own["lower"]["nothing"] <= 0 <= own["upper"]["nothing"]
    assert own["agreement"]["much"] > 0.2 > 0.05 > abs(own["agreement"]["nothing"])
    assert own["agreement_others"]["little"] > own["agreement"]["little"]
    worth = gain.worth.set_index("sources")
    assert len(worth) == 7 and len(gain.gold) == 8
    # Shapley values share out what all sources give together.
    whole = worth["bits"]["much + little + nothing"]
    assert own["bits"].sum() == pytest.approx(whole, abs=1e-9)
    assert abs(worth["permuted_over_none"]).max() < 0.2 * worth["bits"]["much"]
    curve = gain.curve[gain.curve["source"] == "much"]
    assert len(curve) == 21 and curve["bits"].iloc[0] == 0
    best = curve["bits"].max()
    assert 0 < best and curve["strength"][curve["bits"].idxmax()] > 1e-3
    ratio = gain.gold.set_index("sources")["auprc_ratio"]
    assert ratio["much"] > ratio["little"] > 1.2 and ratio["much"] > ratio["none"]
    assert any("much holds" in text for text in gain.warnings)


def test_the_same_seed_gives_the_same_report(gain):
    frame, priors, gold = simulated(3)
    again = prior_gain(frame, priors, splits=4, gold=gold, seed=1)
    for name in ("worth", "shapley", "curve", "gold"):
        pd.testing.assert_frame_equal(getattr(gain, name), getattr(again, name))
    assert json.loads(json.dumps(again.to_dict(), allow_nan=False))["sources"] == list(priors)


def test_counts_are_pointed_out():
    frame, priors, _ = simulated()
    counts = np.round(3 * abs(frame))
    found = prior_gain(counts, priors, splits=4)
    assert any("every value is a whole number" in text for text in found.warnings)
    assert not prior_gain(frame, priors, splits=4).warnings


def test_many_sources_are_sampled():
    frame, priors, _ = simulated(4)
    rng = np.random.default_rng(0)
    for i in range(4):
        priors[f"more {i}"] = table_of(rng.random((Q, P)) < 0.1)
    found = prior_gain(frame, priors, splits=4)
    own = found.shapley.set_index("source")["bits"]
    assert own["much"] == own.max() and len(found.worth) < 100
    whole = found.worth.set_index("sources")["bits"][" + ".join(priors)]
    assert own.sum() == pytest.approx(whole, abs=1e-9)


def test_the_figure_has_three_panels(gain, tmp_path):
    pytest.importorskip("matplotlib")
    from unigrn.plot import worth_figure

    figure = worth_figure(gain, tmp_path / "worth.png")
    assert [a.get_label() for a in figure.axes] == ["shapley", "strength", "agreement"]
    assert (tmp_path / "worth.png").stat().st_size > 10_000


# ------------------------------------------------------------------ bad input


def other_names(table):
    return table.assign(source="absent")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"priors": lambda p: {"much": p["much"]}}, "needs at least two, got 1"),
        ({"priors": lambda p: [p["much"]]}, "needs at least two, got list"),
        (
            {"priors": lambda p: {"a": p["much"], "b": p["much"]}},
            "a and b have the same edges here",
        ),
        ({"priors": lambda p: p | {"x": other_names(p["much"])}}, "source x has no edge between"),
        ({"priors": lambda p: p | {"x": None}}, "the source x is None"),
        ({"splits": 5}, "splits must be even"),
        ({"splits": 2}, "splits must be"),
        ({"targets": GENES[:5]}, "5 targets are measured and vary"),
        ({"by": "counts"}, "by must be one of expression, activity, got 'counts'"),
        ({"level": 1.0}, "level must be between 0 and 1"),
        ({"most": 10}, "most must be"),
        ({"gold": pd.DataFrame({"source": ["r00"], "target": ["t000"]})}, "1 edges of the gold"),
    ],
)
def test_bad_input_is_one_clear_line(change, message):
    frame, priors, _ = simulated()
    given = {"priors": lambda p: p} | change
    given["priors"] = given["priors"](priors)
    with pytest.raises(ValueError, match=message) as caught:
        prior_gain(frame, **given)
    assert "\n" not in str(caught.value)


def test_cells_must_be_enough_and_finite():
    frame, priors, _ = simulated()
    with pytest.raises(ValueError, match="12 cells are too few for 5 folds"):
        prior_gain(frame.iloc[:12], priors)
    frame.iloc[3, 4] = np.nan
    with pytest.raises(ValueError, match="r04 holds values that are not finite"):
        prior_gain(frame, priors)


def test_the_command_line_prints_the_same(tmp_path, capsys):
    anndata = pytest.importorskip("anndata")
    from unigrn.cli import app

    frame, priors, _ = simulated(3)
    anndata.AnnData(frame.set_axis(frame.index.map(str))).write_h5ad(tmp_path / "data.h5ad")
    options = []
    for name, edges in priors.items():
        edges.to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
        options += ["--prior", f"{name}={tmp_path / name}.tsv"]
    run = ["priors", str(tmp_path / "data.h5ad"), *options, "--splits", "4", "--quiet"]
    app(run, standalone_mode=False)
    text = capsys.readouterr().out
    assert "worth of each source" in text and "much + little + nothing" in text
    app([*run, "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    want = prior_gain(str(tmp_path / "data.h5ad"), priors, splits=4)
    assert found == json.loads(json.dumps(want.to_dict()))


# ------------------------------------------------------------------ probabilities of edges


@pytest.fixture(scope="module")
def probable():
    rng = np.random.default_rng(0)
    q, p, n = 12, 240, 100
    exists = rng.random((q, p)) < rng.uniform(0.05, 0.25, (q, 1))
    x = rng.normal(size=(n, q))
    y = x @ (exists * rng.normal(size=(q, p)) * 0.5) + rng.normal(size=(n, p))
    genes = [f"g{i:03}" for i in range(p)]
    i, j = np.nonzero(exists & (rng.random((q, p)) < 0.8))
    prior = pd.DataFrame({"source": np.array(TFS)[i], "target": np.array(genes)[j]})
    return pd.DataFrame(np.c_[x, y], columns=TFS + genes), prior, exists


def test_probabilities_of_edges_are_as_often_true(probable):
    frame, prior, exists = probable
    options = {"folds": 3, "targets": [n for n in frame.columns if n.startswith("g")]}
    found = edge_probabilities(frame, prior, "full_ridge", **options)
    table = found.reliability
    assert table["pairs"].sum() == exists.size == len(found.edges)
    assert abs(table["probability"] - table["listed"]).max() < 0.25
    error = (table["pairs"] * abs(table["probability"] - table["listed"])).sum()
    assert error / exists.size < 0.03
    assert found.bits > 0.8 and found.auprc_ratio > 3
    assert found.edges["probability"].is_monotonic_decreasing
    assert found.edges["known"].sum() == len(prior) == found.network.edges["known"].sum()
    assert not found.warnings and "most probable" in found.table()
    assert (found.network.edges["score"] == found.network.edges["probability"]).all()
    assert set(found.network.columns) <= set(found.network.edges)
    # Off the hidden folds nothing but the fit enters the weight, here the same whatever is hidden.
    plain = unigrn.infer(frame, prior, "full_ridge", regulators=TFS, targets=options["targets"])
    pairs = plain.edges.merge(found.network.edges, on=["source", "target"])
    np.testing.assert_allclose(pairs["weight_x"], pairs["weight_y"], rtol=1e-5)
    # The whole truth, where a share of 0.8 of it is listed.
    whole = edge_probabilities(frame, prior, "full_ridge", share_listed=0.8, **options)
    ratio = whole.edges["probability"] / found.edges["probability"]
    assert ((abs(ratio - 1.25) < 1e-9) | (whole.edges["probability"] == 1)).all()
    assert whole.edges["probability"].mean() == pytest.approx(exists.mean(), rel=0.1)


def test_the_reliability_figure_has_its_bins(probable, tmp_path):
    pytest.importorskip("matplotlib")
    from unigrn.plot import reliability_figure

    frame, prior, _ = probable
    found = edge_probabilities(frame, prior, "full_ridge", folds=2)
    figure = reliability_figure(found, tmp_path / "reliability.png")
    assert [a.get_label() for a in figure.axes] == ["reliability"]
    assert (tmp_path / "reliability.png").stat().st_size > 10_000


def test_probabilities_say_nothing_where_edges_are_permuted(probable):
    frame, prior, _ = probable
    rng = np.random.default_rng(1)
    mixed = prior.assign(target=rng.permutation(prior["target"])).drop_duplicates()
    found = edge_probabilities(frame, mixed, "full_ridge", folds=3)
    assert abs(found.bits) < 0.1 and found.auprc_ratio < 1.5
    odd = found.bits <= 0.01
    assert odd == any("say little of hidden prior edges" in line for line in found.warnings)


def test_no_edge_of_a_target_is_seen_by_its_own_score(probable):
    """More edges to one target of a fold move the scores of the other folds' targets alone."""
    frame, prior, _ = probable
    target = "g005"
    more = pd.DataFrame({"source": TFS, "target": target})
    both = pd.concat([prior, more]).drop_duplicates()
    scores = []
    for known in (prior, both):
        edges = edge_probabilities(frame, known, "known_targets", folds=2).edges
        scores.append(edges[edges["target"] == target].set_index("source")["score"].sort_index())
    np.testing.assert_allclose(*scores, rtol=1e-6)
    assert len(scores[0]) == Q


def test_the_command_writes_a_network_of_all_pairs(probable, tmp_path, capsys):
    import anndata

    from unigrn.cli import main

    frame, prior, _ = probable
    data, edges, out, fewer = (tmp_path / n for n in ("d.h5ad", "p.tsv", "e.tsv", "f.tsv"))
    anndata.AnnData(frame.to_numpy(), var=pd.DataFrame(index=frame.columns)).write_h5ad(data)
    prior.to_csv(edges, sep="\t", index=False)
    asked = ["calibrate", str(data), "--prior", str(edges), "--method", "full_ridge"]
    asked += ["--folds", "3", "--param", "alpha=2", "--json", "-o", str(out)]
    assert main(asked) == 0
    told = json.loads(capsys.readouterr().out)
    found = edge_probabilities(data, edges, "full_ridge", folds=3, alpha=2)
    assert told["bits"] == pytest.approx(found.bits) and told["settings"]["folds"] == 3
    written = unigrn.Network.read(out)
    pd.testing.assert_frame_equal(written.edges, found.network.edges, rtol=1e-6, check_dtype=False)
    assert written.provenance["calibrated"]["bits"] == pytest.approx(found.bits)
    assert written.provenance["hyperparameters"]["alpha"] == 2
    assert main(["filter", str(out), "--probability", "0.5", "-o", str(fewer)]) == 0
    assert unigrn.Network.read(fewer).edges["probability"].min() >= 0.5
    capsys.readouterr()
    for more, message in (
        (["-o", "-"], "every row goes to a file"),
        (["--folds", "1"], "folds must be"),
        (["--param", "alpha"], "alpha"),
    ):
        assert main([*asked, *more]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "masked_ridge"}, "scores only pairs that the prior names"),
        ({"prior": None}, "there are none: give a prior"),
        ({"share_listed": 0.0}, "share_listed must be above 0"),
        ({"folds": 1}, "folds must be"),
        ({"targets": ["g000", "g001"]}, "2 targets with"),
    ],
)
def test_probabilities_of_bad_input_are_one_clear_line(probable, change, message):
    frame, prior, _ = probable
    given = {"prior": prior, "method": "full_ridge"} | change
    with pytest.raises(ValueError, match=message) as caught:
        edge_probabilities(frame, **given)
    assert "\n" not in str(caught.value)
    data = unigrn.Data.from_arrays(
        frame.to_numpy(), list(frame.columns), groups=np.arange(len(frame)) % 2
    )
    with pytest.raises(ValueError, match="takes one group of cells, and the data has 2"):
        edge_probabilities(data, prior, "full_ridge")
