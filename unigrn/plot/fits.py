"""A figure of what a fit gave: its strongest edges, its scores, and how good it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.plot.panels import heat_map, legend, make_room
from unigrn.plot.style import BLUE, GREY, LINES, RED, STYLE, need, one_group, save

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from unigrn.network import Network

MOST = 20_000  # points of a panel: more only make files large


def fit_figure(
    network: Network,
    path: str | os.PathLike[str] | None = None,
    *,
    group: str | None = None,
    regulators: int = 10,
    targets: int = 20,
) -> Figure:
    """Draw what a method gave, in up to four panels.

    (1) The strongest regulators of one group and the strongest targets of each, as a heat map of
    weights. (2) How many edges score at least so much. (3) Where the network has certificates:
    the share of the fits whose residual, relative to the scale of the problem, is at most so much,
    and which ended elsewhere than at an optimum. (4) Where edges have a ``frequency``: how often
    they were selected, against their weights.

    Parameters
    ----------
    network
        What `unigrn.infer` returned, or `Network.read`.
    path
        Where to save the figure; the suffix says the format. By default it is not saved.
    group
        Group of the heat map; by default the first. The other panels show up to six groups apart.
    regulators, targets
        At most so many rows and columns of the heat map.

    Returns
    -------
    matplotlib.figure.Figure
        With axes labelled "heat_map", "colour_bar", "scores", and "convergence" and "stability"
        where there is one.

    Raises
    ------
    ImportError
        Where matplotlib is missing.
    ValueError
        Where the network has no edge, or a group is unknown.
    """
    matplotlib = need("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from unigrn.edges import edge_score

    if regulators < 1 or targets < 1:
        raise ValueError(
            f"regulators is {regulators} and targets is {targets}; needed 1 or more of each"
        )
    edges = network.edges
    if not len(edges):
        raise ValueError("the network has no edge; there is nothing to draw")
    shown = one_group(edges, group)
    score = np.nan_to_num(edge_score(edges).astype(float), nan=0.0)
    fits = network.certificate
    panels = ["heat_map", "scores"]
    panels += ["convergence"] if fits is not None and len(fits) else []
    panels += ["stability"] if "frequency" in edges else []

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.0 + 4.2 * (len(panels) - 1), 4.9), layout="constrained")
        FigureCanvasAgg(figure)
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.12, h_pad=0.06)
        widths = (1.45,) + (1.0,) * (len(panels) - 1)
        drawn = figure.subplots(1, len(panels), width_ratios=widths).tolist()
        for axes, name in zip(drawn, panels, strict=True):
            axes.set_label(name)
        heat_map(drawn[0], edges, score, shown, regulators, targets, "no edge")
        _scores(drawn[1], edges, score)
        for axes in drawn[2:]:
            if axes.get_label() == "convergence":
                assert fits is not None
                _convergence(axes, fits, network.provenance.get("tolerance"))
            else:
                _stability(axes, edges)
        make_room(*drawn)
        if path is not None:
            save(figure, path)
    return figure


def _by_group(table: pd.DataFrame) -> list[tuple[str, np.ndarray]]:
    """Names and rows of the groups; of all together where there are more than colours."""
    every = np.ones(len(table), bool)
    if "group" not in table:
        return [("", every)]
    of_row = table["group"].to_numpy(str)
    groups = np.unique(of_row).tolist()
    if len(groups) > len(LINES):
        return [(f"all {len(groups)} groups", every)]
    return [(name, of_row == name) for name in groups]


def _scores(axes: Axes, edges: pd.DataFrame, score: np.ndarray) -> None:
    for (name, rows), (colour, dashes) in zip(_by_group(edges), LINES, strict=False):
        values = np.sort(score[rows & (score > 0)])[::-1]
        count = np.arange(1, len(values) + 1)
        kept = np.unique(np.geomspace(1, max(len(values), 1), MOST).astype(int)) - 1
        kept = kept[kept < len(values)]
        axes.plot(
            values[kept], count[kept], color=colour, linestyle=dashes, linewidth=1.8, label=name
        )
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_xlabel("score" if "score" in edges else "size of the weight")
    axes.set_ylabel("edges that score at least so much")
    legend(axes, *_named(axes))
    axes.set_title("How many edges are how strong")


def _named(axes: Axes) -> tuple[list[Any], list[str]]:
    """Return handles and labels of the curves that have a name."""
    pairs = zip(*axes.get_legend_handles_labels(), strict=True)
    named = [(handle, label) for handle, label in pairs if label]
    return [handle for handle, _ in named], [label for _, label in named]


def _convergence(axes: Axes, fits: pd.DataFrame, tolerance: float | None) -> None:
    residual = fits["residual"].to_numpy(float)
    right = fits["status"].to_numpy(str) == "converged"
    finite = np.isfinite(residual)
    least = min(residual[finite & (residual > 0)].min(initial=1.0), tolerance or 1.0) / 10
    for (name, rows), (colour, dashes) in zip(_by_group(fits), LINES, strict=False):
        values = np.sort(np.maximum(residual[rows & finite], least))
        share = np.arange(1, len(values) + 1) / rows.sum()
        axes.step(
            values, share, where="post", color=colour, linestyle=dashes, linewidth=1.8, label=name
        )
        wrong = rows & finite & ~right
        if wrong.any():
            at = np.maximum(residual[wrong], least)
            axes.plot(
                at,
                np.searchsorted(values, at, side="right") / rows.sum(),
                linestyle="none",
                marker="x",
                color=RED,
                markersize=5,
            )
    if tolerance:
        axes.axvline(tolerance, color=GREY, linewidth=1, linestyle=(0, (2, 2)), label="tolerance")
    count = int((~right).sum())
    if count:
        label = f"not converged: {count:,} of {len(fits):,}"
        axes.plot([], [], linestyle="none", marker="x", color=RED, markersize=5, label=label)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("residual, relative to the scale of the problem")
    axes.set_ylabel("share of the fits")
    legend(axes, *_named(axes))
    axes.set_title("How far fits are from their optimum")


def _stability(axes: Axes, edges: pd.DataFrame) -> None:
    weight = np.abs(edges["weight"].to_numpy(float))
    frequency = edges["frequency"].to_numpy(float)
    defined = np.flatnonzero(np.isfinite(weight) & np.isfinite(frequency))
    strongest = defined[np.argsort(-weight[defined], kind="stable")[:MOST]]
    axes.scatter(
        weight[strongest], frequency[strongest], s=12, color=BLUE, alpha=0.35, linewidths=0
    )
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("size of the weight")
    axes.set_ylabel("share of the fits that select the edge")
    axes.set_title("How often edges are selected")
