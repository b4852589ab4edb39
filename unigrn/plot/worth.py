"""Figures of what sources of prior edges are worth, and of how reliable probabilities are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.plot.panels import legend, make_room
from unigrn.plot.style import GREY, INK, LINES, STYLE, need, save

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from unigrn.worth import Calibrated, PriorGain, PriorStrength

MOST = 12  # sources: more do not fit


def worth_figure(gain: PriorGain, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw what `unigrn.prior_gain` found.

    (1) Shapley value of each source, in bits per hidden cell and target, with its interval. (2)
    Bits over no prior against the strength of each source alone, on targets that did not choose it.
    (3) Bits per hidden edge over chance, from expression and from expression and other sources.

    Parameters
    ----------
    gain
        What `unigrn.prior_gain` returned.
    path
        Where to save the figure; the suffix says the format. By default it is not saved.

    Returns
    -------
    matplotlib.figure.Figure
        With axes labelled "shapley", "strength" and "agreement".

    Raises
    ------
    ImportError
        Where matplotlib is missing.
    """
    matplotlib = need("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = gain.shapley.iloc[:MOST]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.4, 2.2 + 0.34 * max(len(rows), 4)), layout="constrained")
        FigureCanvasAgg(figure)
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.12, h_pad=0.06)
        left, middle, right = figure.subplots(1, 3)
        for axes, label in ((left, "shapley"), (middle, "strength"), (right, "agreement")):
            axes.set_label(label)
        styles = dict(zip(rows["source"], LINES * len(rows), strict=False))
        _shapley(left, rows, styles)
        _strength(middle, gain.curve, styles)
        _agreement(right, rows, styles)
        make_room(left, middle, right)
        if path is not None:
            save(figure, path)
    return figure


def _names(axes: Axes, rows: Any) -> np.ndarray:
    """Label the rows with the sources, the first on top."""
    at = np.arange(len(rows))
    axes.set_yticks(at, [_short(name) for name in rows["source"]])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.axvline(0, color=GREY, linewidth=0.8)
    return at


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def _shapley(axes: Axes, rows: Any, styles: dict[str, Any]) -> None:
    at = _names(axes, rows)
    for i, (_, row) in zip(at, rows.iterrows(), strict=True):
        colour = styles[row["source"]][0]
        axes.plot([row["lower"], row["upper"]], [i, i], color=colour, linewidth=1.6)
        axes.plot(row["bits"], i, "o", color=colour, markersize=5)
    axes.locator_params(axis="x", nbins=4)
    axes.ticklabel_format(axis="x", scilimits=(-3, 3))
    axes.set_title("worth of each source")
    axes.set_xlabel("bits per hidden cell and target")


def _strength(axes: Axes, curve: Any, styles: dict[str, Any]) -> None:
    best = max(float(curve["bits"].max()), 1e-6)
    for name, own in curve[curve["strength"] > 0].groupby("source", sort=False):
        if name in styles:
            colour, dashes = styles[name]
            axes.plot(
                own["strength"], own["bits"], color=colour, linestyle=dashes, label=_short(name)
            )
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_xscale("log")
    # What too much trust costs would flatten what the right one gains.
    axes.set_ylim(-2.5 * best, 1.3 * best)
    axes.ticklabel_format(axis="y", scilimits=(-3, 3))
    axes.set_title("strength of one source")
    axes.set_xlabel("variance that an edge adds, over the noise's")
    axes.set_ylabel("bits over no prior")
    legend(axes, *axes.get_legend_handles_labels())


def _agreement(axes: Axes, rows: Any, styles: dict[str, Any]) -> None:
    at = _names(axes, rows)
    for i, (_, row) in zip(at, rows.iterrows(), strict=True):
        colour = styles[row["source"]][0]
        ends = row["agreement"], row["agreement_others"]
        axes.plot(ends, [i, i], color=colour, linewidth=1.0)
        axes.plot(ends[0], i, "o", color=colour, markersize=5, markerfacecolor="white")
        axes.plot(ends[1], i, "o", color=colour, markersize=5)
    for fill, label in (("white", "expression"), (INK, "and the other sources")):
        axes.plot([], [], "o", color=INK, markerfacecolor=fill, markersize=5, label=label)
    axes.set_title("hidden edges of each source")
    axes.set_xlabel("bits per edge over chance")
    legend(axes, *axes.get_legend_handles_labels())


def strength_figure(found: PriorStrength, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw how bits depend on the strength of a prior, on targets that did not choose it.

    Parameters
    ----------
    found
        What `unigrn.prior_strength` returned. The line: one strength for all targets, with its
        interval. Level lines: chosen on other targets, and a hard mask. 0 is no prior.
    path
        Where to save the figure; the suffix says the format. By default it is not saved.

    Returns
    -------
    matplotlib.figure.Figure
        With axes labelled "strength".

    Raises
    ------
    ImportError
        Where matplotlib is missing.
    """
    matplotlib = need("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    whole: Any = found.curve
    rows: Any = found.judged.set_index("belief")
    curve = whole[whole["strength"] > 0]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_label("strength")
        axes.axhline(0, color=GREY, linewidth=0.8, label="no prior")
        colour = LINES[0][0]
        axes.plot(curve["strength"], curve["bits"], color=colour, label="one strength for all")
        axes.fill_between(
            curve["strength"], curve["lower"], curve["upper"], color=colour, alpha=0.2, linewidth=0
        )
        for name, (shade, dashes) in zip(("chosen", "hard mask"), LINES[1:], strict=False):
            level = rows.loc[name, "bits"]
            axes.axhline(level, color=shade, linestyle=dashes, linewidth=1.4,
                         label=f"{name}, {level:.2g}")  # fmt: skip
        best = max(float(curve["upper"].max()), float(rows.loc["chosen", "upper"]), 1e-6)
        least = min(float(curve["lower"].min()), float(rows.loc["hard mask", "bits"]), -0.1 * best)
        axes.set_xscale("log")
        # What too much trust costs would flatten what the right one gains.
        axes.set_ylim(max(1.1 * least, -2.5 * best), 1.2 * best)
        axes.ticklabel_format(axis="y", scilimits=(-3, 3))
        axes.set_title("how strongly to believe the prior")
        axes.set_xlabel("variance that an edge of the prior adds")
        axes.set_ylabel("bits per hidden cell and target")
        legend(axes, *axes.get_legend_handles_labels())
        make_room(axes)
        if path is not None:
            save(figure, path)
    return figure


def reliability_figure(found: Calibrated, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw how often pairs of a probability are listed, with 90 % intervals.

    Parameters
    ----------
    found
        What `unigrn.edge_probabilities` returned. Probabilities are those of being listed.
    path
        Where to save the figure; the suffix says the format. By default it is not saved.

    Returns
    -------
    matplotlib.figure.Figure
        With axes labelled "reliability".

    Raises
    ------
    ImportError
        Where matplotlib is missing.
    """
    matplotlib = need("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = found.reliability
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_label("reliability")
        ends = table[["probability", "lower"]].to_numpy().min(), table["upper"].max()
        span = [max(ends[0], 1e-4) / 1.3, min(1.0, ends[1] * 1.3)]
        axes.plot(span, span, color=GREY, linewidth=1)
        below, above = (abs(table[end] - table["listed"]).to_numpy() for end in ("lower", "upper"))
        axes.errorbar(
            table["probability"],
            table["listed"],
            yerr=[below, above],
            fmt="o",
            color=LINES[0][0],
            markersize=5,
            linewidth=1.4,
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(*span)
        axes.set_ylim(*span)
        axes.set_title("hidden prior edges")
        axes.set_xlabel("probability of being listed")
        axes.set_ylabel("share that is listed")
        if path is not None:
            save(figure, path)
    return figure
