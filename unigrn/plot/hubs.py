"""A network as a figure: regulators on an inner ring, genes around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.evaluate.judged import defined_score, in_group, true_edges
from unigrn.plot.style import BLUE, INK, RED, STYLE, check, need, one_group, save, table_of

if TYPE_CHECKING:
    import os

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from unigrn.network import Network


def network_figure(
    edges: Network | pd.DataFrame,
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
        A network, or a table [group,] source, target, weight[, score]; edges rank by score, else
        by |weight|.
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
    matplotlib = need("matplotlib")
    networkx = need("networkx")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    edges = table_of(edges)
    check(edges, "edges", "weight")
    if top < 1:
        raise ValueError(f"top is {top}; needed 1 or more")
    shown = one_group(edges, group)
    chosen: Any = in_group(edges, shown)
    chosen = chosen.assign(rank_by=defined_score(chosen))
    chosen = chosen[(chosen["source"] != chosen["target"]) & (chosen["rank_by"] > 0)]
    chosen = chosen.sort_values(
        ["rank_by", "source", "target"], ascending=[False, True, True], kind="stable"
    ).head(top)
    if not len(chosen):
        raise ValueError("no edge has a weight other than 0; needed at least one to draw")
    true = None
    if truth is not None:
        check(truth, "truth")
        held = true_edges(in_group(truth, shown))
        true = set(zip(held["source"], held["target"], strict=True))

    graph = networkx.DiGraph()
    for row in chosen.itertuples():
        known = True if true is None else (row.source, row.target) in true
        graph.add_edge(row.source, row.target, weight=row.weight, score=row.rank_by, known=known)

    with matplotlib.rc_context(STYLE):
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
            save(figure, path)
    return figure


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
    figure: Any = axes.figure
    reach = 1.1 + 0.21 * max(longest, 3) / figure.get_figwidth()
    inner = 0.0 if len(hubs) == 1 else 0.58
    point_per_unit = figure.get_figwidth() * 72 / (2 * reach)

    # A wedge for every regulator: wide enough for its disc and for its genes.
    size = {hub: 560.0 + 60 * graph.out_degree(hub) for hub in hubs}
    genes_of = {hub: [gene for gene in genes if owner[gene] == hub] for hub in hubs}
    count = np.array([len(genes_of[hub]) for hub in hubs])
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
        for i, gene in enumerate(genes_of[hub]):
            angle[gene] = angle[hub] + (i - (len(genes_of[hub]) - 1) / 2) * slot
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
            "connectionstyle": f"arc3,rad={_bend(point[hub], point[gene], gene in genes_of):.3f}",
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
                color=BLUE if activates else RED,
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
    for nodes, colour, edge in ((hubs, "#FFF3D6", INK), (genes, "white", INK)):
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
        across, up = point[hub]
        axes.text(
            across,
            up,
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
        across, up = 1.045 * point[gene]
        axes.text(
            across,
            up,
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
        handles.append(Line2D([], [], color=BLUE, linewidth=1.8, label="activates (arrow)"))
    if any(fact["weight"] < 0 for fact in facts):
        handles.append(Line2D([], [], color=RED, linewidth=1.8, label="represses (bar)"))
    if not all(fact["known"] for fact in facts):
        handles.append(
            Line2D(
                [],
                [],
                color=INK,
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
