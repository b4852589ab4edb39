"""Figures: how good a network is, and what it looks like.

Needs the extra `plot` (matplotlib, networkx). Every function returns a matplotlib Figure that
belongs to nobody: no window opens and no global setting changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.evaluate.judged import Judged, defined_score, in_group, judge, true_edges
from unigrn.evaluate.metrics import precision_recall, ranking_metrics

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["evaluation_figure", "network_figure"]

# Okabe and Ito's palette, distinct with every common kind of colour blindness.
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
_GREY = "#8C8C8C"
_INK = "#262626"
_LINES = (  # colour and dashes, so that curves differ in print too
    (_BLUE, "-"),
    (_ORANGE, (0, (5, 1.5))),
    (_GREEN, (0, (1.2, 1.2))),
    (_PURPLE, (0, (5, 1.5, 1.2, 1.5))),
    (_RED, (0, (3, 3))),
    (_SKY, "-"),
)
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.4,
    "axes.labelsize": 9,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


def evaluation_figure(
    network_edges: pd.DataFrame,
    truth: pd.DataFrame,
    baselines: Mapping[str, pd.DataFrame] | None = None,
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
        Table [group,] source, target, weight[, score]; edges rank by score, else by |weight|.
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
    matplotlib = _need("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if name in (baselines or {}):
        raise ValueError(f"a baseline is named {name!r} like the network; needed another name")
    if regulators < 1 or targets < 1:
        raise ValueError(
            f"regulators is {regulators} and targets is {targets}; needed 1 or more of each"
        )
    tables = {name: network_edges, **(baselines or {})}
    for label, table in tables.items():
        _check(table, label, "weight" if label == name or "score" not in table else "score")
    _check(truth, "truth")
    groups = _groups(network_edges)
    shown = _one_group(network_edges, group)
    judged = judge(tables, truth, groups)
    if not judged.pairs["true"].any():
        raise ValueError(
            "none of the judged edges is true; needed tables and truth with the same names"
        )

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.0, 4.9), layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.06)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.45, 1.0))
        left.set_label("precision_recall")
        middle.set_label("heat_map")
        right.set_label("strength")
        _precision_recall(left, judged)
        _heat_map(middle, judged, name, shown, regulators, targets)
        _strength(right, judged, name)
        _make_room(left, middle, right)
        if path is not None:
            figure.savefig(path)
    return figure


def network_figure(
    edges: pd.DataFrame,
    top: int = 40,
    group: str | None = None,
    *,
    truth: pd.DataFrame | None = None,
    title: str | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw the strongest edges of one group: regulators on an inner ring, genes around them.

    Every gene stands beside its strongest regulator. Arrows activate, bars repress; the width of
    a line grows with |weight|, the size of a regulator with its number of drawn targets.

    Parameters
    ----------
    edges
        Table [group,] source, target, weight[, score]; edges rank by score, else by |weight|.
    top
        Number of edges.
    group
        Group to draw; by default the first.
    truth
        Table [group,] source, target[, label] of true edges: the others are drawn dotted.
    title
        Title; by default says what is drawn.
    path
        Where to save the figure; the suffix says the format. By default it is not saved.

    Returns
    -------
    matplotlib.figure.Figure
        With one pair of axes, labelled "network".

    Raises
    ------
    ImportError
        Where matplotlib or networkx is missing.
    ValueError
        Where a table lacks a column or is empty, a group is unknown, or `top` is below 1.
    """
    matplotlib = _need("matplotlib")
    networkx = _need("networkx")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    _check(edges, "edges", "weight")
    if top < 1:
        raise ValueError(f"top is {top}; needed 1 or more")
    shown = _one_group(edges, group)
    chosen = in_group(edges, shown)
    chosen = chosen.assign(rank_by=defined_score(chosen))
    chosen = chosen[(chosen["source"] != chosen["target"]) & (chosen["rank_by"] > 0)]
    chosen = chosen.sort_values(
        ["rank_by", "source", "target"], ascending=[False, True, True], kind="stable"
    ).head(top)
    if not len(chosen):
        raise ValueError("no edge has a weight other than 0; needed at least one to draw")
    true = None
    if truth is not None:
        _check(truth, "truth")
        edges = true_edges(in_group(truth, shown))
        true = set(zip(edges["source"], edges["target"], strict=True))

    graph = networkx.DiGraph()
    for row in chosen.itertuples():
        known = True if true is None else (row.source, row.target) in true
        graph.add_edge(row.source, row.target, weight=row.weight, score=row.rank_by, known=known)

    with matplotlib.rc_context(_STYLE):
        # Larger where there are many names to read.
        hubs = sum(graph.out_degree(node) > 0 for node in graph)
        side = 8.0 * float(np.clip((len(graph) + 2 * hubs) / 130, 1.0, 2.5))
        figure = Figure(figsize=(side, side + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_label("network")
        where = "" if shown is None else f" in {shown}"
        _hubs(axes, graph, networkx)
        axes.set_title(title or f"The {len(chosen)} strongest edges{where}")
        if path is not None:
            figure.savefig(path)
    return figure


# --- panels -----------------------------------------------------------------------------------


def _precision_recall(axes: Axes, judged: Judged) -> None:
    true = judged.pairs["true"].to_numpy()
    share = true.mean()
    axes.axhline(share, color=_GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    highest = share
    for place, (name, score) in enumerate(judged.scores.items()):
        precision, recall = precision_recall(true, score)
        recall, precision = np.append(0.0, recall), np.append(precision[0], precision)
        colour, dashes = _LINES[place % len(_LINES)]
        axes.plot(
            recall,
            precision,
            color=colour,
            linestyle=dashes,
            linewidth=2.2 if place == 0 else 1.6,
            drawstyle="steps-pre",
            label=f"{name}, AP {ranking_metrics(true, score)['auprc']:.2f}",
            zorder=3 if place == 0 else 2,
        )
        # The first few edges say little: one hit is 100 %.
        highest = max(highest, precision[recall >= 0.01].max())
    axes.plot([], [], color=_GREY, linewidth=1, linestyle=(0, (2, 2)), label=f"chance, {share:.2f}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, min(1.02, 1.12 * highest))
    axes.set_xlabel("true edges found (recall)")
    axes.set_ylabel("listed edges that are true (precision)")
    _legend(axes, *axes.get_legend_handles_labels(), handlelength=2.6)
    axes.set_title("How many of the strongest edges are true")


def _heat_map(
    axes: Axes,
    judged: Judged,
    name: str,
    group: str | None,
    most_regulators: int,
    most_targets: int,
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    here = np.ones(len(judged.pairs), bool) if group is None else judged.pairs["group"] == group
    pairs, score = judged.pairs[here], judged.scores[name][here]
    weight, true = pairs["weight"].to_numpy(), pairs["true"].to_numpy()
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
    back = np.argsort(sort)

    limit = max(float(np.nanmax(np.abs(image))), 1e-12)
    axes.set_facecolor("#E4E4E4")
    picture = axes.imshow(
        image, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
    )
    ringed = drawn & true
    axes.plot(
        back[column[ringed]],
        row[ringed],
        linestyle="none",
        marker="o",
        markersize=5.5,
        markerfacecolor="none",
        markeredgecolor=_INK,
        markeredgewidth=1.1,
    )
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
    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker="o",
            markersize=5.5,
            markerfacecolor="none",
            markeredgecolor=_INK,
            label="true edge",
        )
    ]
    if np.isnan(image).any():
        handles.append(Patch(facecolor="#E4E4E4", label="not a candidate"))
    _legend(axes, handles, [handle.get_label() for handle in handles])
    bar = axes.figure.colorbar(picture, ax=axes, fraction=0.035, pad=0.02)
    bar.ax.set_label("colour_bar")
    bar.outline.set_visible(False)
    bar.set_label("weight")


def _strength(axes: Axes, judged: Judged, name: str) -> None:
    true, weight = judged.pairs["true"].to_numpy(), judged.pairs["weight"].to_numpy()
    if "strength" not in judged.pairs:
        score = judged.scores[name]
        edges = np.linspace(0, max(float(np.quantile(score, 0.995)), 1e-12), 41)
        for rows, colour, label, fill in (
            (~true, _GREY, "false", True),
            (true, _BLUE, "true", False),
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
        _legend(axes, *axes.get_legend_handles_labels())
        axes.set_title("Scores of true and of false edges")
        return

    x, y = judged.pairs["strength"].to_numpy()[true], weight[true]
    top = 1.06 * max(float(np.abs(x).max()), 1e-12)
    limit = 1.06 * max(float(np.abs(y).max()), 1e-12)
    axes.axhline(0, color=_GREY, linewidth=0.8, zorder=1)
    axes.axvline(0, color=_GREY, linewidth=0.8, zorder=1)
    found = y != 0
    right = found & (np.sign(x) == np.sign(y))
    false = weight[~true]
    if len(false):
        # Where the false edges lie: a band of their middle 90 %.
        low, high = np.quantile(false, [0.05, 0.95])
        axes.axhspan(low, high, color=_GREY, alpha=0.22, linewidth=0, zorder=0)
    for rows, colour, marker in ((right, _BLUE, "o"), (found & ~right, _RED, "x")):
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
        Line2D([], [], linestyle="none", marker="o", color=_BLUE, markersize=4, alpha=0.8),
        Line2D([], [], linestyle="none", marker="x", color=_RED, markersize=4.5),
        Patch(facecolor=_GREY, alpha=0.3),
    ]
    labels = [f"right sign ({share:.0%})", "wrong sign", "false edges (90 %)"]
    count = 3 if len(false) else 2
    _legend(axes, handles[:count], labels[:count])
    axes.set_title("Weight against true strength")


def _legend(axes: Axes, handles: list[Any], labels: list[str], **style: Any) -> None:
    """Put a legend between the title and the axes: inside, it might cover data."""
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


def _make_room(*panels: Axes) -> None:
    """Lift the titles, all to one height, above the tallest legend."""
    rows = []
    for axes in panels:
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        rows.append(-(-len(labels) // _columns(labels)))
    for axes in panels:
        axes.set_title(axes.get_title(loc="left"), pad=10 + 13 * max(rows))


def _hubs(axes: Axes, graph: Any, networkx: Any) -> None:
    """Draw regulators on an inner ring and each gene outside, beside its strongest regulator."""
    from matplotlib import patheffects
    from matplotlib.lines import Line2D
    from matplotlib.patches import FancyArrowPatch

    hubs = sorted(node for node in graph if graph.out_degree(node))
    genes = sorted(node for node in graph if not graph.out_degree(node))
    owner = {
        gene: max(
            graph.predecessors(gene), key=lambda hub, gene=gene: graph.edges[hub, gene]["score"]
        )
        for gene in genes
    }
    # Regulators that share genes or regulate each other stand side by side.
    spot = networkx.spring_layout(graph.to_undirected(), seed=0, weight=None)
    centre = np.mean(list(spot.values()), axis=0)
    hubs.sort(key=lambda hub: (np.arctan2(*(spot[hub] - centre)[::-1]), hub))
    longest = max((len(str(gene)) for gene in genes), default=0)
    reach = 1.1 + 0.21 * max(longest, 3) / axes.figure.get_figwidth()
    inner = 0.0 if len(hubs) == 1 else 0.58
    point_per_unit = axes.figure.get_figwidth() * 72 / (2 * reach)

    # A wedge for every regulator: wide enough for its disc and for its genes.
    size = {hub: 560.0 + 60 * graph.out_degree(hub) for hub in hubs}
    mine = {hub: [gene for gene in genes if owner[gene] == hub] for hub in hubs}
    count = np.array([len(mine[hub]) for hub in hubs])
    wide = np.array([max(np.sqrt(size[hub]), 5.2 * len(hub)) + 9 for hub in hubs])
    disc = wide / (max(inner, 0.1) * point_per_unit)
    shrink = min(1.0, 0.9 * 2 * np.pi / disc.sum()) if len(hubs) > 1 else 1.0
    disc *= shrink
    size = {hub: area * shrink**2 for hub, area in size.items()}
    low, high = 0.0, 2 * np.pi
    for _ in range(60):  # bisect for the angle of one gene at which the wedges fill the circle
        slot = (low + high) / 2
        wedge = np.maximum((count + 0.7 * (len(hubs) > 1)) * slot, disc)
        low, high = (slot, high) if wedge.sum() < 2 * np.pi else (low, slot)
    middle = np.cumsum(wedge) - wedge / 2
    angle = dict(zip(hubs, middle, strict=True))
    for hub in hubs:
        for i, gene in enumerate(mine[hub]):
            angle[gene] = angle[hub] + (i - (len(mine[hub]) - 1) / 2) * slot
    point = {
        node: (inner if node in size else 1.0) * np.array([np.cos(a), np.sin(a)])
        for node, a in angle.items()
    }
    size |= dict.fromkeys(genes, 46.0)
    letters = float(np.clip(0.8 * slot * point_per_unit, 4.5, 8.0))

    largest = max(abs(facts["weight"]) for *_, facts in graph.edges(data=True)) or 1.0
    for hub, gene, facts in sorted(graph.edges(data=True), key=lambda edge: edge[:2]):
        activates = facts["weight"] >= 0
        width = 0.7 + 2.0 * abs(facts["weight"]) / largest
        ends = {
            "posA": point[hub],
            "posB": point[gene],
            "connectionstyle": f"arc3,rad={_bend(point[hub], point[gene], gene in mine):.3f}",
            "mutation_scale": 11,
            # Half the marker's diameter, in points, and a little air.
            "shrinkA": np.sqrt(size[hub]) / 2 + 1,
        }
        air = np.sqrt(size[gene]) / 2 + 2.5
        head = "-|>,head_length=0.55,head_width=0.26" if activates else "-[,widthB=0.36,lengthB=0"
        axes.add_patch(
            FancyArrowPatch(
                **ends,
                arrowstyle=head,
                shrinkB=air,
                color=_BLUE if activates else _RED,
                linewidth=width,
                zorder=1,
            )
        )
        if not facts["known"]:  # white dashes on the line; dashes would spoil the head
            axes.add_patch(
                FancyArrowPatch(
                    **ends,
                    arrowstyle="-",
                    shrinkB=air + 9,
                    color="white",
                    linewidth=width + 0.8,
                    linestyle=(0, (1.2, 1.2)),
                    capstyle="butt",
                    zorder=1.5,
                )
            )
    for nodes, colour, edge in ((hubs, "#FFF3D6", _INK), (genes, "white", _INK)):
        if nodes:
            axes.scatter(
                *np.array([point[node] for node in nodes]).T,
                s=[size[node] for node in nodes],
                color=colour,
                edgecolors=edge,
                linewidths=0.9,
                zorder=3,
            )
    halo = [patheffects.withStroke(linewidth=2.4, foreground="white", alpha=0.9)]
    for hub in hubs:
        axes.text(
            *point[hub],
            hub,
            ha="center",
            va="center",
            fontsize=max(5.0, 8 * shrink),
            fontweight="bold",
            zorder=4,
            path_effects=halo,
        )
    for gene in genes:
        turn = np.degrees(angle[gene]) % 360
        flip = 90 < turn < 270
        axes.text(
            *(1.045 * point[gene]),
            gene,
            rotation=turn - 180 if flip else turn,
            rotation_mode="anchor",
            ha="right" if flip else "left",
            va="center",
            fontsize=letters,
            zorder=4,
        )
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set_axis_off()
    facts = [facts for *_, facts in graph.edges(data=True)]
    handles = []
    if any(fact["weight"] >= 0 for fact in facts):
        handles.append(Line2D([], [], color=_BLUE, linewidth=1.8, label="activates (arrow)"))
    if any(fact["weight"] < 0 for fact in facts):
        handles.append(Line2D([], [], color=_RED, linewidth=1.8, label="represses (bar)"))
    if not all(fact["known"] for fact in facts):
        handles.append(
            Line2D(
                [],
                [],
                color=_INK,
                linewidth=1.6,
                linestyle=(0, (1, 1.2)),
                label="not in the true network",
            )
        )
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, fontsize=8.5
    )


def _bend(start: np.ndarray, stop: np.ndarray, between_hubs: bool) -> float:
    """Return how far an edge bends; between regulators inwards, the more the closer they are."""
    if not between_hubs:
        return 0.1
    along = stop - start
    inwards = np.sign(np.dot((along[1], -along[0]), -(start + stop))) or 1.0
    return float(inwards * np.clip(0.25 / max(np.hypot(*along), 1e-9), 0.15, 0.9))


# --- tables ----------------------------------------------------------------------------------


def _groups(edges: pd.DataFrame) -> list[str | None]:
    if "group" not in edges:
        return [None]
    return np.unique(edges["group"].to_numpy(str)).tolist()


def _one_group(edges: pd.DataFrame, group: str | None) -> str | None:
    groups = _groups(edges)
    if group is None:
        return groups[0]
    if str(group) not in groups:
        known = "no groups" if groups == [None] else ", ".join(map(str, groups))
        raise ValueError(f"group is {group!r}; the edges have {known}")
    return str(group)


def _check(edges: pd.DataFrame, name: str, *more: str) -> None:
    needed = ["source", "target", *more]
    missing = [column for column in needed if column not in edges]
    if missing:
        raise ValueError(
            f"{name} has columns {', '.join(map(str, edges.columns))}; "
            f"needed {', '.join(missing)} too"
        )
    if not len(edges):
        raise ValueError(f"{name} has no rows; needed at least one edge")


def _need(module: str) -> Any:
    """Import a module of the extra `plot`, or say how to get it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'figures need {module}, which is missing: pip install "unigrn[plot]"'
        ) from error
