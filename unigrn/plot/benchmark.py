"""Figures of what a benchmark found: networks beside baselines, and curves of what gets worse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.plot.panels import legend, make_room
from unigrn.plot.style import GREY, LINES, STYLE, need, save
from unigrn.protocols.report import BASELINES, PERMUTED

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from unigrn.protocols import Benchmarked

ACROSS = 3  # panels in a row
MOST = 14  # rows of a panel
KINDS = ("auprc", "missed", "spurious", "indirect", "reversed")


def benchmark_figure(found: Benchmarked, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw what `unigrn.benchmark` found.

    A panel for each set: average precision over chance of every network, best first, with one
    standard deviation over the splits; hollow, the network on permuted target names; in grey the
    baselines, and methods with a permuted prior. Of a sweep instead, a column of panels for each:
    average precision, and what the wrong edges are, against the value.

    Parameters
    ----------
    found
        What `unigrn.benchmark` returned.
    path
        Where to save the figure; the suffix says the format. By default it is not saved.

    Returns
    -------
    matplotlib.figure.Figure
        With axes labelled by their sets, or "METRIC, SWEEP".

    Raises
    ------
    ImportError
        Where matplotlib is missing.
    ValueError
        Where no network was scored.
    """
    if not len(found.means):
        raise ValueError("no network was scored; there is nothing to draw")
    matplotlib = need("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.1, h_pad=0.08)
        means: Any = found.means
        if means["sweep"].notna().any():
            _curves(figure, found, means)
        else:
            _sets(figure, means)
        if path is not None:
            save(figure, path)
    return figure


def _sets(figure: Figure, means: Any) -> None:
    sets = list(means.groupby("set", sort=False))
    across = min(ACROSS, len(sets))
    down = -(-len(sets) // across)
    sizes = [min(len(own), MOST) for _, own in sets]
    rows = [max(sizes[i : i + across]) for i in range(0, len(sets), across)]
    heights = [1.1 + 0.27 * count for count in rows]
    figure.set_size_inches(1.2 + 4.4 * across, sum(heights) + 0.3)
    panels = figure.subplots(down, across, squeeze=False, height_ratios=heights).ravel()
    for place, (axes, (name, own)) in enumerate(zip(panels, sets, strict=False)):
        axes.set_label(str(name))
        _panel(axes, str(name), own.iloc[:MOST], rows[place // across])
    for axes in panels[len(sets) :]:
        axes.set_visible(False)
    for fill, colour, label in (
        (LINES[0][0], LINES[0][0], "network"),
        ("white", LINES[0][0], "targets permuted"),
        (GREY, GREY, "baseline"),
    ):
        panels[0].plot([], [], "o", color=colour, markerfacecolor=fill, markersize=5, label=label)
    legend(panels[0], *panels[0].get_legend_handles_labels())
    make_room(*panels[:across])
    for axes in panels[max(0, len(sets) - across) : len(sets)]:
        axes.set_xlabel("average precision over chance")


def _panel(axes: Axes, name: str, own: Any, rows: int) -> None:
    axes.axvline(1, color=GREY, linewidth=1, linestyle=(0, (2, 2)))
    for place, row in enumerate(own.itertuples()):
        other = row.network in BASELINES or row.network.endswith(PERMUTED)
        colour = GREY if other else LINES[0][0]
        spread = None if np.isnan(row.sd) else row.sd
        axes.errorbar(row.auprc_ratio, place, xerr=spread, fmt="o", color=colour, capsize=2)
        axes.plot(row.permuted, place, "o", color=colour, markerfacecolor="white", markersize=4)
    axes.set_yticks(range(len(own)), [_short(n) for n in own["network"]])
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlim(0, 1.08 * max(1.0, (own["auprc_ratio"] + own["sd"].fillna(0)).max()))
    axes.set_title(name)


def _short(name: str) -> str:
    name = name.replace(PERMUTED, ", permuted")
    return name if len(name) <= 30 else name[:29] + "…"


def _curves(figure: Figure, found: Benchmarked, means: Any) -> None:
    tables = {kind: found.curves(kind) for kind in KINDS if means[kind].notna().any()}
    sweeps = list(tables["auprc"])
    figure.set_size_inches(0.8 + 3.0 * len(sweeps), 0.8 + 2.1 * len(tables))
    panels = figure.subplots(len(tables), len(sweeps), squeeze=False, sharey="row", sharex="col")
    names = list(dict.fromkeys(n for t in tables["auprc"].values() for n in t.index))
    usual = [n for n in names if not n.endswith(PERMUTED) and n not in BASELINES]
    styles: dict[str, Any] = dict(zip(usual, LINES * len(usual), strict=False))
    greys = ["-", (0, (5, 1.5)), (0, (1, 1.2))]
    styles |= dict(
        zip([b for b in BASELINES if b in names], [(GREY, d) for d in greys], strict=False)
    )
    for row, (kind, of) in zip(panels, tables.items(), strict=True):
        for axes, sweep in zip(row, sweeps, strict=True):
            axes.set_label(f"{kind}, {sweep}")
            for name, (colour, dashes) in styles.items():
                if name in of[sweep].index:
                    line = of[sweep].loc[name]
                    axes.plot(line.index, line, color=colour, linestyle=dashes, marker="o",
                              markersize=3, label=_short(name))  # fmt: skip
            if max(map(float, of[sweep].columns)) > 20:
                axes.set_xscale("log")
        row[0].set_ylim(bottom=0)  # of the whole row, once all is drawn
        row[0].set_ylabel(
            "average precision" if kind == "auprc" else f"{kind},\nshare of true edges"
        )
    for axes, sweep in zip(panels[-1], sweeps, strict=True):
        axes.set_xlabel(sweep)
    legend(panels[0][0], *panels[0][0].get_legend_handles_labels())
    make_room(panels[0][0])
