"""What several figures share: precision and recall, the strongest regulators, and legends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.plot.style import GREY, INK, LINES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def precision_panel(
    axes: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray, Any]], chance: float
) -> None:
    """Draw precision against recall: name -> precision and recall by threshold, and the area."""
    axes.axhline(chance, color=GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    highest = chance
    for place, (name, (precision, recall, area)) in enumerate(curves.items()):
        recall, precision = np.append(0.0, recall), np.append(precision[0], precision)
        colour, dashes = LINES[place % len(LINES)]
        axes.plot(
            recall,
            precision,
            color=colour,
            linestyle=dashes,
            linewidth=2.2 if place == 0 else 1.6,
            drawstyle="steps-pre",
            label=f"{name}, AP {_short(area)}",
            zorder=3 if place == 0 else 2,
        )
        # The first few edges say little: one hit is 100 %.
        highest = max(highest, precision[recall >= 0.01].max())
    dotted = (0, (2, 2))
    axes.plot([], [], color=GREY, linewidth=1, linestyle=dotted, label=f"chance, {_short(chance)}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, min(1.02, 1.12 * highest))
    axes.set_xlabel("true edges found (recall)")
    axes.set_ylabel("listed edges that are true (precision)")
    legend(axes, *axes.get_legend_handles_labels(), handlelength=2.6)
    axes.set_title("How many of the strongest edges are true")


def _short(share: float) -> str:
    """Two decimals, or two digits of what is less than a tenth."""
    return f"{share:.2f}" if share >= 0.095 or share == 0 else f"{share:.2g}"


def heat_map(
    axes: Axes,
    pairs: pd.DataFrame,
    score: np.ndarray,
    group: str | None,
    most_regulators: int,
    most_targets: int,
    absent: str = "not a candidate",
) -> None:
    """Draw weights of the strongest regulators on their targets, true ones ringed where known."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if group is not None:
        here: Any = (pairs["group"] == group).to_numpy()
        shown: Any = pairs[here]
        pairs, score = shown, score[here]
    weight = pairs["weight"].to_numpy()
    both = pairs[["source", "target"]].to_numpy(str)
    names, codes = np.unique(both, return_inverse=True)
    source, target = codes.reshape(both.shape).T

    # Regulators with the most among the strongest edges, then the best targets of each in turn:
    # the strongest edges alone would often show one hub.
    order = np.lexsort((target, source, -score))
    size = len(names)
    best = order[: 8 * most_regulators]
    total = np.bincount(source[best], weights=score[best], minlength=size)
    rows = np.argsort(-total, kind="stable")[:most_regulators]
    rows = rows[np.isin(rows, source[best])]
    order = order[np.isin(source[order], rows)]
    by_source = order[np.argsort(source[order], kind="stable")]
    start = np.searchsorted(source[by_source], source[by_source])
    turn = np.arange(len(by_source)) - start  # 0 for a regulator's best target, 1 for the next
    in_turn = by_source[np.lexsort((-score[by_source], turn))]
    listed, first = np.unique(target[in_turn], return_index=True)
    columns = listed[np.argsort(first, kind="stable")][:most_targets]

    position = np.full(size, -1)
    position[rows] = np.arange(len(rows))
    row = position[source]
    position[:] = -1
    position[columns] = np.arange(len(columns))
    column = position[target]
    drawn = (row >= 0) & (column >= 0)
    image = np.full((len(rows), len(columns)), np.nan)
    image[row[drawn], column[drawn]] = weight[drawn]
    # Columns with the same main regulator stand together.
    main = np.abs(np.nan_to_num(image)).argmax(axis=0)
    strongest = np.abs(np.nan_to_num(image)).max(axis=0)
    sort = np.lexsort((-strongest, main))
    image, columns = image[:, sort], columns[sort]

    limit = max(float(np.nanmax(np.abs(image))), 1e-12)
    axes.set_facecolor("#E4E4E4")
    picture = axes.imshow(
        image, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
    )
    handles: list[Any] = []
    if "true" in pairs:
        ringed, back = drawn & pairs["true"].to_numpy(), np.argsort(sort)
        ring: dict[str, Any] = dict(
            linestyle="none",
            marker="o",
            markersize=5.5,
            markerfacecolor="none",
            markeredgecolor=INK,
            markeredgewidth=1.1,
        )
        axes.plot(back[column[ringed]], row[ringed], **ring)
        handles.append(Line2D([], [], label="true edge", **ring))
    axes.set_xticks(range(len(columns)), names[columns], rotation=90)
    axes.set_yticks(range(len(rows)), names[rows])
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("target")
    axes.set_ylabel("regulator")
    axes.set_title("The strongest regulators" + ("" if group is None else f" of {group}"))
    if np.isnan(image).any():
        handles.append(Patch(facecolor="#E4E4E4", label=absent))
    legend(axes, handles, [handle.get_label() for handle in handles])
    bar = axes.figure.colorbar(picture, ax=axes, fraction=0.035, pad=0.02)
    bar.ax.set_label("colour_bar")
    bar.outline.set_visible(False)
    bar.set_label("weight")


def legend(axes: Axes, handles: list[Any], labels: list[str], **style: Any) -> None:
    """Put a legend between the title and the axes: inside, it might cover data."""
    if not labels:
        return
    axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=_columns(labels),
        borderaxespad=0.3,
        borderpad=0.1,
        **style,
    )


def _columns(labels: list[str]) -> int:
    return 2 if max(map(len, labels)) <= 22 else 1


def make_room(*panels: Axes) -> None:
    """Lift the titles, all to one height, above the tallest legend."""
    rows = []
    for axes in panels:
        own = axes.get_legend()
        labels = [] if own is None else [text.get_text() for text in own.get_texts()]
        rows.append(-(-len(labels) // _columns(labels)) if labels else 0)
    for axes in panels:
        axes.set_title(axes.get_title(loc="left"), pad=10 + 13 * max(rows))
