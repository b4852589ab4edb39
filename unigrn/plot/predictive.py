"""A figure of a predictive check: what was observed beside what draws of the guide predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.plot.panels import legend, make_room
from unigrn.plot.style import BLUE, GREY, RED, STYLE, need, save
from unigrn.predicted import STATISTICS, PredictiveCheck

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 3000  # targets of a panel, taken evenly: more only make files large
TITLES = {"mean": "Mean", "variance": "Variance over cells", "zeros": "Share of zeros"}


def predictive_figure(
    check: PredictiveCheck, path: str | os.PathLike[str] | None = None, *, group: str | None = None
) -> Figure:
    """Draw what was observed of every target against what replicates predict, in three panels.

    Mean, variance and share of zeros: the mean over replicates and their 95 % interval, up and
    down, at the observed value; on the line both are the same. Targets outside are red. Below
    stands what Pareto k says of the guide. Where all values are above 0 and span more than a factor
    of 30, axes are logarithmic.

    Parameters
    ----------
    check
        What `unigrn.predictive_check` returned, or `Network.predictive`.
    path
        Where to save the figure; the suffix says the format. By default it is not saved.
    group
        Cells to draw; by default those of all groups, a point for each target and group.

    Returns
    -------
    matplotlib.figure.Figure
        With axes labelled "mean", "variance" and "zeros".

    Raises
    ------
    ImportError
        Where matplotlib is missing.
    TypeError
        Where it is no check.
    ValueError
        Where a group is unknown.
    """
    if not isinstance(check, PredictiveCheck):
        raise TypeError(
            f"predictive_figure draws a PredictiveCheck, got {type(check).__name__}; give "
            "unigrn.predictive_check(...), or Network.predictive of infer(..., predictive=400)"
        )
    matplotlib = need("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if group is not None:
        check = check.subset(group)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13.2, 4.9), layout="constrained")
        FigureCanvasAgg(figure)
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.12, h_pad=0.06)
        panels = figure.subplots(1, 3)
        for axes, name in zip(panels, STATISTICS, strict=True):
            axes.set_label(name)
            _panel(axes, check, name)
        make_room(*panels)
        figure.supxlabel(check.quality(), fontsize=8, x=0.012, ha="left")
        if path is not None:
            save(figure, path)
    return figure


def _panel(axes: Axes, check: PredictiveCheck, name: str) -> None:
    """Draw one statistic."""
    keys = (name, *(f"{name}_{end}" for end in ("predicted", "lower", "upper")))
    values, outside = check.table[list(keys)].to_numpy(float), check.outside(name)
    known = np.flatnonzero(np.isfinite(values).all(axis=1))
    axes.set_title(TITLES[name])
    axes.set_xlabel("observed")
    axes.set_ylabel(f"predicted by {check.draws:,} draws")
    count = len(known)
    if not count:
        axes.text(0.5, 0.5, "undefined: values are centred", ha="center", transform=axes.transAxes)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    known = known[np.unique(np.linspace(0, count - 1, MOST).astype(int))]
    shown = values[known]
    low, high = float(shown.min()), float(shown.max())
    if low > 0 and high > 30 * low:
        axes.set_xscale("log")
        axes.set_yscale("log")
        ends = (low / 1.25, high * 1.25)
    else:
        margin = 0.05 * (high - low) or 0.05 * max(abs(high), 1.0)
        ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    for rows, colour, marker, label in (
        (~outside[known], BLUE, "o", "inside the 95 % interval"),
        (outside[known], RED, "x", f"outside: {int(outside.sum()):,} of {count:,}"),
    ):
        if not rows.any():
            continue
        at, middle, lower, upper = shown[rows].T
        axes.vlines(at, lower, upper, color=colour, alpha=0.35, linewidth=1, zorder=2)
        axes.plot(
            at,
            middle,
            linestyle="none",
            marker=marker,
            markersize=4 if marker == "o" else 5,
            markeredgewidth=0 if marker == "o" else 1.1,
            color=colour,
            alpha=0.8,
            label=label,
            zorder=3,
        )
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    legend(axes, *axes.get_legend_handles_labels())
