"""Figures of how well a network finds the true edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.evaluate.judged import judge
from unigrn.evaluate.metrics import precision_recall, ranking_metrics
from unigrn.plot.panels import heat_map, legend, make_room, precision_panel
from unigrn.plot.style import (
    BLUE,
    GREY,
    RED,
    STYLE,
    check,
    groups_of,
    need,
    one_group,
    save,
    table_of,
)

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from unigrn.network import Network


def evaluation_figure(
    network_edges: Network | pd.DataFrame,
    truth: pd.DataFrame,
    baselines: Mapping[str, Network | pd.DataFrame] | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    name: str = "network",
    group: str | None = None,
    regulators: int = 10,
    targets: int = 20,
) -> Figure:
    """Draw how well a network finds the true edges, in three panels.

    (1) Precision against recall, for the network and each baseline, with average precision
    AP = sum_k (R_k - R_(k-1)) P_k, a tie being one threshold. (2) The strongest regulators of one
    group and the strongest targets of each as a heat map, true edges ringed. (3) Weight against
    true strength, or the distribution of scores where the truth has no weights.

    Judged are the edges that any of the tables lists, group by group where the network has
    groups: with the prior among the baselines, the prior's edges. Edges that a table does not
    list share its last place. A `label` column in the truth says instead which edges are judged.
    A table without groups holds for all of them. Self-edges are left out.

    Parameters
    ----------
    network_edges
        A network, or a table [group,] source, target, weight[, score]; edges rank by score, else
        by |weight|.
    truth
        Table [group,] source, target[, weight] of true edges, or with a column label of 0 and 1.
    baselines
        Name to edge table, such as {"prior alone": prior, "|Pearson|": correlations}.
    path
        Where to save the figure; the suffix says the format. By default it is not saved.
    name
        What to call the network in the legend.
    group
        Group of the heat map; by default the first.
    regulators, targets
        At most so many rows and columns of the heat map.

    Returns
    -------
    matplotlib.figure.Figure
        With axes labelled "precision_recall", "heat_map", "strength" and "colour_bar".

    Raises
    ------
    ImportError
        Where matplotlib is missing.
    ValueError
        Where a table lacks a column or is empty, a group is unknown, or no judged edge is true.
    """
    matplotlib = need("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if name in (baselines or {}):
        raise ValueError(f"a baseline is named {name!r} like the network; needed another name")
    if regulators < 1 or targets < 1:
        raise ValueError(
            f"regulators is {regulators} and targets is {targets}; needed 1 or more of each"
        )
    network_edges = table_of(network_edges)
    tables = {name: network_edges}
    tables |= {label: table_of(table) for label, table in (baselines or {}).items()}
    for label, table in tables.items():
        check(table, label, "weight" if label == name or "score" not in table else "score")
    check(truth, "truth")
    groups = groups_of(network_edges)
    shown = one_group(network_edges, group)
    pairs, scores = judge(tables, truth, groups)
    if not pairs["true"].to_numpy().any():
        raise ValueError(
            "none of the judged edges is true; needed tables and truth with the same names"
        )

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(14.0, 4.9), layout="constrained")
        FigureCanvasAgg(figure)
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.12, h_pad=0.06)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.45, 1.0))
        left.set_label("precision_recall")
        middle.set_label("heat_map")
        right.set_label("strength")
        true = pairs["true"].to_numpy()
        curves = {
            label: (*precision_recall(true, score), ranking_metrics(true, score)["auprc"])
            for label, score in scores.items()
        }
        precision_panel(left, curves, float(true.mean()))
        heat_map(middle, pairs, scores[name], shown, regulators, targets)
        _strength(right, pairs, scores[name], name)
        make_room(left, middle, right)
        if path is not None:
            save(figure, path)
    return figure


def _strength(axes: Axes, pairs: pd.DataFrame, score: np.ndarray, name: str) -> None:
    true, weight = pairs["true"].to_numpy(), pairs["weight"].to_numpy()
    if "strength" not in pairs:
        edges: Any = np.linspace(0, max(float(np.quantile(score, 0.995)), 1e-12), 41)
        for rows, colour, label, fill in (
            (~true, GREY, "false", True),
            (true, BLUE, "true", False),
        ):
            if rows.any():
                axes.hist(
                    np.minimum(score[rows], edges[-1]),
                    edges,
                    weights=np.full(rows.sum(), 1 / rows.sum()),
                    histtype="stepfilled" if fill else "step",
                    color=colour,
                    alpha=0.55 if fill else 1.0,
                    linewidth=1.8,
                    label=f"{label} edges",
                )
        axes.set_xlabel("score of the network")
        axes.set_ylabel("share of edges")
        legend(axes, *axes.get_legend_handles_labels())
        axes.set_title("Scores of true and of false edges")
        return

    x, y = pairs["strength"].to_numpy()[true], weight[true]
    top = 1.06 * max(float(np.abs(x).max()), 1e-12)
    limit = 1.06 * max(float(np.abs(y).max()), 1e-12)
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    found = y != 0
    right = found & (np.sign(x) == np.sign(y))
    false = weight[~true]
    if len(false):
        # Where the false edges lie: a band of their middle 90 %.
        low, high = np.quantile(false, [0.05, 0.95])
        axes.axhspan(low, high, color=GREY, alpha=0.22, linewidth=0, zorder=0)
    for rows, colour, marker in ((right, BLUE, "o"), (found & ~right, RED, "x")):
        axes.scatter(
            x[rows],
            y[rows],
            s=13 if marker == "o" else 15,
            color=colour,
            marker=marker,
            alpha=0.55,
            linewidths=0 if marker == "o" else 0.9,
            zorder=2,
        )
    axes.set_xlim(-top, top)
    axes.set_ylim(-limit, limit)
    axes.set_xlabel("true strength")
    axes.set_ylabel(f"weight in the {name}" if name == "network" else f"weight, {name}")
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    share = right.sum() / max(int(found.sum()), 1)
    handles = [
        Line2D([], [], linestyle="none", marker="o", color=BLUE, markersize=4, alpha=0.8),
        Line2D([], [], linestyle="none", marker="x", color=RED, markersize=4.5),
        Patch(facecolor=GREY, alpha=0.3),
    ]
    labels = [f"right sign ({share:.0%})", "wrong sign", "false edges (90 %)"]
    count = 3 if len(false) else 2
    legend(axes, handles[:count], labels[:count])
    axes.set_title("Weight against true strength")
