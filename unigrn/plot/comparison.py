"""A figure of what `unigrn.evaluate` found, with the numbers that it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unigrn.plot.panels import make_room, precision_panel
from unigrn.plot.style import GREY, INK, LINES, STYLE, need, save

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from unigrn.evaluate import Evaluation

MOST = 14  # rows: more groups than fit are left to the table


def comparison_figure(
    evaluation: Evaluation, path: str | os.PathLike[str] | None = None, *, name: str = "network"
) -> Figure:
    """Draw a network beside its baselines, on the universe and with the metrics of an evaluation.

    (1) Precision against recall of the network, the prior alone and |Pearson|, as far as they were
    scored; the areas are their ``auprc``. (2) ``auprc_ratio``, the same over chance, of each, of
    permuted targets (mean, and two standard deviations to either side), and of the groups.

    Parameters
    ----------
    evaluation
        What `unigrn.evaluate` returned.
    path
        Where to save the figure; the suffix says the format. By default it is not saved.
    name
        What to call the network in the legend.

    Returns
    -------
    matplotlib.figure.Figure
        With axes labelled "precision_recall" and "over_chance".

    Raises
    ------
    ImportError
        Where matplotlib is missing.
    """
    matplotlib = need("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = {"network": evaluation.metrics} | evaluation.baselines
    curves = {
        name if of == "network" else of: (*curve, rows[of]["auprc"])
        for of, curve in evaluation.curves.items()
    }
    positive, total = (evaluation.metrics[key] or 0 for key in ("n_positive", "n_universe"))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.9), layout="constrained")
        FigureCanvasAgg(figure)
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.12, h_pad=0.06)
        left, right = figure.subplots(1, 2)
        left.set_label("precision_recall")
        right.set_label("over_chance")
        precision_panel(left, curves, positive / total)
        _over_chance(right, evaluation, name)
        make_room(left, right)
        if path is not None:
            save(figure, path)
    return figure


def _over_chance(axes: Axes, evaluation: Evaluation, name: str) -> None:
    """Draw one row for each ranking, the network above."""
    rows: list[tuple[str, Any]] = [(name, evaluation.metrics), *evaluation.baselines.items()]
    rows += [(f"group {group}", row) for group, row in evaluation.groups.items()]
    rows = [(label, row) for label, row in rows if row["auprc_ratio"] is not None][:MOST]
    colours = dict(zip(evaluation.curves, LINES, strict=False))
    axes.axvline(1, color=GREY, linewidth=1, linestyle=(0, (2, 2)))
    for place, (label, row) in enumerate(rows):
        colour = colours.get("network" if place == 0 else label, (INK, "-"))[0]
        spread = 2 * ((row.get("sd") or {}).get("auprc_ratio") or 0.0)
        axes.errorbar(
            row["auprc_ratio"],
            place,
            xerr=spread or None,
            marker="o",
            markersize=7 if place == 0 else 5.5,
            color=colour,
            capsize=3,
        )
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    most = max([row["auprc_ratio"] for _, row in rows], default=1.0)
    axes.set_xlim(0, 1.08 * max(most, 1.0))
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("average precision over chance (dotted: chance)")
    axes.set_title("How much better than chance")
