from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("networkx")

from unigrn import plot  # noqa: E402
from unigrn.datasets import linear, simulate  # noqa: E402
from unigrn.evaluate import evaluate, precision_recall, ranking_metrics  # noqa: E402
from unigrn.evaluate.judged import judge  # noqa: E402
from unigrn.network import Network  # noqa: E402


@pytest.fixture(scope="module")
def data():
    return simulate(200, 12, 80, 2, parents=(1, 3), prior_false=2.0)


@pytest.fixture(scope="module")
def network(data):
    return data.correlations("true_expression")


@pytest.fixture(scope="module")
def figure(data, network):
    baselines = {"prior alone": data.prior, "|Pearson|": data.correlations()}
    return plot.evaluation_figure(network, data.truth, baselines, name="method")


def axes_of(figure):
    return {axes.get_label(): axes for axes in figure.axes}


def test_evaluation_figure_has_its_panels(figure):
    axes = axes_of(figure)
    assert set(axes) == {"precision_recall", "heat_map", "strength", "colour_bar"}
    for name in ("precision_recall", "heat_map", "strength"):
        assert axes[name].get_title(loc="left")
        assert axes[name].get_xlabel() and axes[name].get_ylabel()
    assert "group_1" in axes["heat_map"].get_title(loc="left")


def test_average_precision_in_the_legend_is_that_of_the_reference(figure, data, network):
    from sklearn.metrics import average_precision_score

    label = np.concatenate([data.gold(g)["label"] for g in ("group_1", "group_2")])
    tables = {
        "method": network["weight"].abs(),
        "prior alone": pd.concat([data.prior["weight"]] * 2),
        "|Pearson|": data.correlations()["weight"].abs(),
    }
    legend = axes_of(figure)["precision_recall"].get_legend()
    found = [text.get_text() for text in legend.get_texts()]
    expected = [f"{n}, AP {average_precision_score(label, s):.2f}" for n, s in tables.items()]
    assert found == [*expected, f"chance, {label.mean():.2f}"]


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_curve_treats_a_tie_as_one_threshold(levels):
    from sklearn.metrics import average_precision_score, precision_recall_curve

    rng = np.random.default_rng(levels)
    score, true = rng.integers(0, levels, 300) / levels, rng.random(300) < 0.2
    precision, recall = precision_recall(true, score)
    average = ranking_metrics(true, score)["auprc"]
    assert average == pytest.approx(average_precision_score(true, score))
    reference = precision_recall_curve(true, score)
    np.testing.assert_allclose(recall, reference[1][:-1][::-1])
    np.testing.assert_allclose(precision, reference[0][:-1][::-1])


def test_edges_that_a_table_does_not_list_share_its_last_place():
    truth = pd.DataFrame({"source": ["A", "A"], "target": ["x", "y"]})
    network = pd.DataFrame(
        {"source": ["A", "A", "A"], "target": ["x", "z", "A"], "weight": [-3, 1, 9]}
    )
    other = pd.DataFrame({"source": ["A"] * 4, "target": list("wxyz"), "score": [4.0, 3, 2, 1]})
    pairs, scores = judge({"network": network, "other": other}, truth, [None])
    assert pairs["target"].tolist() == ["w", "x", "y", "z"]  # no self-edge
    assert pairs["true"].tolist() == [False, True, True, False]
    assert scores["network"].tolist() == [0, 3, 0, 1]
    assert scores["other"].tolist() == [4, 3, 2, 1]
    assert pairs["weight"].tolist() == [0, -3, 0, 1]


def test_labels_define_the_judged_edges(data, network):
    gold = data.gold().iloc[:60]
    judged, _ = judge({"network": network}, gold, ["group_1", "group_2"])
    assert len(judged["true"]) == 120
    assert judged["true"].sum() == 2 * gold["label"].sum()
    figure = plot.evaluation_figure(network, gold)
    assert "Scores" in axes_of(figure)["strength"].get_title(loc="left")


def test_heat_map_shows_the_weights_and_rings_the_true_edges(figure, data, network):
    axes = axes_of(figure)["heat_map"]
    image = np.ma.filled(axes.images[0].get_array(), np.nan)
    rows = [text.get_text() for text in axes.get_yticklabels()]
    columns = [text.get_text() for text in axes.get_xticklabels()]
    assert image.shape == (len(rows), len(columns)) == (10, 20)
    assert len(set(columns)) == 20
    group = network[network["group"] == "group_1"].set_index(["source", "target"])["weight"]
    truth = data.truth[data.truth["group"] == "group_1"]
    true = set(zip(truth["source"], truth["target"], strict=True))
    expected = set()
    for i, source in enumerate(rows):
        for j, target in enumerate(columns):
            listed = (source, target) in group.index
            assert np.isnan(image[i, j]) != listed
            if listed:
                assert image[i, j] == pytest.approx(group[source, target])
                if (source, target) in true:
                    expected.add((j, i))
    ringed = set(
        zip(*(axis.astype(int).tolist() for axis in axes.lines[0].get_data()), strict=True)
    )
    assert ringed == expected and ringed


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_figures_are_written(data, network, tmp_path, suffix):
    plot.evaluation_figure(network, data.truth, path=tmp_path / f"a.{suffix}", group="group_2")
    plot.network_figure(network, path=tmp_path / f"b.{suffix}")
    assert (tmp_path / f"a.{suffix}").stat().st_size > 5_000
    assert (tmp_path / f"b.{suffix}").stat().st_size > 5_000


def boxes(figure, texts):
    renderer = figure.canvas.get_renderer()
    return [
        text.get_window_extent(renderer) for text in texts if text.get_text() and text.get_visible()
    ]


def test_no_text_of_the_evaluation_overlaps_or_leaves_the_page(figure):
    figure.canvas.draw()
    texts = []
    for axes in figure.axes:
        legend = axes.get_legend()
        # The title on the left; each pair of axes holds three title objects.
        texts += [axes.xaxis.label, axes.yaxis.label, axes._left_title]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [text for tick in ticks for text in (tick.label1, tick.label2)]
        texts += legend.get_texts() if legend else []
    found = boxes(figure, texts)
    assert len(found) > 60
    page = figure.bbox
    for i, one in enumerate(found):
        assert page.x0 <= one.x0 and one.x1 <= page.x1 and page.y0 <= one.y0 and one.y1 <= page.y1
        for two in found[i + 1 :]:
            wide = min(one.x1, two.x1) - max(one.x0, two.x0)
            high = min(one.y1, two.y1) - max(one.y0, two.y0)
            assert min(wide, high) < 1.5, (one, two)


@pytest.fixture(scope="module")
def fitted(data):
    import unigrn

    spec = unigrn.stability(unigrn.Spec(unigrn.least_squares(), unigrn.l1(20.0)), 8, 0.5)
    return unigrn.infer(data.to_anndata(), data.prior, spec, groupby="group")


def test_fit_figure_shows_scores_convergence_and_stability(fitted, tmp_path):
    figure = plot.fit_figure(fitted, tmp_path / "fit.png")
    axes = axes_of(figure)
    assert set(axes) == {"heat_map", "colour_bar", "scores", "convergence", "stability"}
    assert (tmp_path / "fit.png").stat().st_size > 5_000
    edges, fits = fitted.edges, fitted.certificate
    for place, group in enumerate(("group_1", "group_2")):
        own = edges["group"] == group
        weights, count = axes["scores"].lines[place].get_data()
        assert np.allclose(weights, np.sort(edges.loc[own, "weight"].abs())[::-1])
        assert count.tolist() == list(range(1, int(own.sum()) + 1))
        residual, share = axes["convergence"].lines[place].get_data()
        want = fits.loc[fits["group"] == group, "residual"]
        assert len(residual) == len(want) and residual.max() == want.max()
        assert share[-1] == 1
    assert axes["convergence"].lines[-1].get_xdata()[0] == fitted.provenance["tolerance"]
    points = np.asarray(axes["stability"].collections[0].get_offsets())
    assert len(points) == len(edges)
    assert set(points[:, 1]) == set(edges["frequency"])


def test_fit_figure_marks_fits_that_did_not_converge(data):
    import unigrn

    spec = unigrn.Spec(unigrn.huber(1.0), unigrn.l1(2.0))
    prior, cells = unigrn.Prior.from_edges(data.prior), unigrn.Data.from_anndata(data.to_anndata())
    plan = unigrn.plan(spec.replace(prior=prior), cells, max_iterations=2)
    network = unigrn.fit(plan).network()
    wrong = (network.certificate["status"] != "converged").sum()
    assert wrong
    legend = axes_of(plot.fit_figure(network))["convergence"].get_legend()
    labels = [text.get_text() for text in legend.get_texts()]
    assert f"not converged: {wrong} of {len(network.certificate)}" in labels


def test_fit_figure_of_plain_edges_and_of_many_groups(network):
    def whole(table):
        groups = table["group"].unique().tolist() if "group" in table else None
        return Network(
            table, np.unique(network["source"]), np.unique(network["target"]), groups=groups
        )

    plain = whole(network.drop(columns="group").drop_duplicates(["source", "target"]))
    assert set(axes_of(plot.fit_figure(plain))) == {"heat_map", "colour_bar", "scores"}
    copies = [network[network["group"] == "group_1"].assign(group=f"g{i}") for i in range(9)]
    many = plot.fit_figure(whole(pd.concat(copies)))
    labels = [text.get_text() for text in axes_of(many)["scores"].get_legend().get_texts()]
    assert labels == ["all 9 groups"]
    with pytest.raises(ValueError, match="the network has no edge"):
        plot.fit_figure(whole(plain.edges.iloc[:0]))
    with pytest.raises(ValueError, match="regulators is 0"):
        plot.fit_figure(plain, regulators=0)


def test_comparison_figure_has_the_numbers_of_the_evaluation(data, network, tmp_path):
    found = evaluate(network, data.gold("group_1"), data.prior, expression=data.to_anndata())
    figure = plot.comparison_figure(found, tmp_path / "a.svg", name="mine")
    axes = axes_of(figure)
    rows = {"mine": found.metrics, **found.baselines}
    for line, name in zip(
        axes["precision_recall"].lines[1:], ("mine", "prior alone", "|Pearson|"), strict=False
    ):
        recall, precision = line.get_data()
        assert line.get_label().startswith(f"{name}, AP ")
        area = np.sum(np.diff(recall) * precision[1:])
        assert area == pytest.approx(rows[name]["auprc"], rel=1e-12)
    labels = [text.get_text() for text in axes["over_chance"].get_yticklabels()]
    assert labels == [*rows, "group group_1", "group group_2"]
    drawn = [bar.lines[0].get_xdata()[0] for bar in axes["over_chance"].containers]
    assert drawn[: len(rows)] == [row["auprc_ratio"] for row in rows.values()]


def test_network_figure_draws_the_strongest_edges_of_the_group(data):
    network = data.correlations("normalized")  # noisy enough for false edges among the best
    figure = plot.network_figure(network, top=15, group="group_2", truth=data.truth)
    (axes,) = figure.axes
    assert axes.get_label() == "network"
    assert axes.get_title(loc="left") == "The 15 strongest edges in group_2"
    group = network[network["group"] == "group_2"]
    strongest = group.loc[group["weight"].abs().nlargest(15).index]
    nodes = set(strongest["source"]) | set(strongest["target"])
    assert {text.get_text() for text in axes.texts} == nodes
    truth = data.truth[data.truth["group"] == "group_2"]
    wrong = len(strongest) - len(strongest.merge(truth, on=["source", "target"]))
    assert wrong > 0
    assert len(axes.patches) == 15 + wrong  # dashes over the edges that are not true
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "not in the true network" in legend


@pytest.mark.parametrize("top", [1, 40, 120])
def test_network_figure_keeps_regulators_apart(network, top):
    figure = plot.network_figure(network, top=top)
    (axes,) = figure.axes
    figure.canvas.draw()
    places = axes.transData.transform(axes.collections[0].get_offsets()) * 72 / figure.dpi
    radius = np.sqrt(axes.collections[0].get_sizes()) / 2
    for i in range(len(places)):
        for j in range(i):
            apart = np.hypot(*(places[i] - places[j]))
            assert apart > radius[i] + radius[j]


def test_network_figure_of_one_hub_and_of_plain_edges():
    data = linear(10, 5, 30, (2, 4))
    one = data.truth[data.truth["source"] == "TF1"]
    figure = plot.network_figure(one, top=5)
    assert figure.axes[0].get_title(loc="left") == "The 5 strongest edges"
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), [[0, 0]], atol=1e-12)
    titled = plot.network_figure(data.truth, title="What drives what")
    assert titled.axes[0].get_title(loc="left") == "What drives what"


def test_figures_take_a_network_as_well_as_its_table(data, network, tmp_path):
    whole = Network(
        network,
        network["source"].unique(),
        network["target"].unique(),
        tuple(network["group"].unique()) if "group" in network else None,
    )
    plot.network_figure(whole, path=tmp_path / "a.png")
    plot.network_figure(network, path=tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    plot.evaluation_figure(whole, data.truth, {"itself": whole}, path=tmp_path / "c.svg")
    assert "unigrn" in (tmp_path / "c.svg").read_text()


def test_edges_rank_by_score_where_there_is_one():
    edges = pd.DataFrame(
        {"source": list("AB"), "target": list("xy"), "weight": [5.0, 0.1], "score": [1.0, 2.0]}
    )
    figure = plot.network_figure(edges, top=1)
    assert {text.get_text() for text in figure.axes[0].texts} == {"B", "y"}


def test_the_same_edges_draw_the_same_figure(network, tmp_path):
    shuffled = network.sample(frac=1, random_state=0)
    plot.network_figure(network, path=tmp_path / "a.png")
    plot.network_figure(shuffled, path=tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_global_state_changes(data, network):
    before = dict(matplotlib.rcParams)
    pyplot = sys.modules.get("matplotlib.pyplot")
    plot.evaluation_figure(network, data.truth)
    plot.network_figure(network)
    assert dict(matplotlib.rcParams) == before
    assert sys.modules.get("matplotlib.pyplot") is pyplot, "pyplot keeps figures; not needed here"
    if pyplot is not None:
        assert not pyplot.get_fignums()


@pytest.mark.parametrize("module", ["matplotlib", "networkx"])
def test_a_missing_extra_says_how_to_get_it(network, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{module}.*pip install "unigrn\[plot\]"'):
        plot.network_figure(network)


def test_errors_say_what_is_needed(data, network):
    with pytest.raises(ValueError, match="network has columns .*; needed weight too"):
        plot.evaluation_figure(network.drop(columns="weight"), data.truth)
    with pytest.raises(ValueError, match="truth has columns .*; needed target too"):
        plot.evaluation_figure(network, data.truth.drop(columns="target"))
    with pytest.raises(ValueError, match="prior has no rows"):
        plot.evaluation_figure(network, data.truth, {"prior": data.prior.iloc[:0]})
    with pytest.raises(ValueError, match="group is 'liver'; the edges have group_1, group_2"):
        plot.evaluation_figure(network, data.truth, group="liver")
    with pytest.raises(ValueError, match="the edges have no groups"):
        plot.network_figure(network.drop(columns="group"), group="liver")
    with pytest.raises(ValueError, match="none of the judged edges is true"):
        plot.evaluation_figure(network, data.truth.assign(source="nobody"))
    with pytest.raises(ValueError, match="a baseline is named 'network'"):
        plot.evaluation_figure(network, data.truth, {"network": network})
    with pytest.raises(ValueError, match="top is 0"):
        plot.network_figure(network, top=0)
    with pytest.raises(ValueError, match="no edge has a weight other than 0"):
        plot.network_figure(network.assign(weight=0.0))
    with pytest.raises(ValueError, match="regulators is 0"):
        plot.evaluation_figure(network, data.truth, regulators=0)
