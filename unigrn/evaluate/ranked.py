"""The edges of a network as they are ranked: by which column, and in which direction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn import edgelists
from unigrn.check import listed, shown
from unigrn.evaluate.gold import edge_columns, floats, names
from unigrn.files import matrix_edges, read_edges

if TYPE_CHECKING:
    import pandas as pd

    from unigrn.network import Network


@dataclass(frozen=True)
class RankedEdges:
    """A network's rows: names, score and weight (NaN where undefined), group code."""

    source: np.ndarray
    target: np.ndarray
    score: np.ndarray
    weight: np.ndarray | None
    group: np.ndarray
    groups: tuple[str, ...]


# Columns of which less is better.
ASCENDING = (
    *("p", "fdr", "variance", "rank", "pval", "pvalue", "p_value", "p_val", "padj", "p_adj"),
    *("q", "qval", "qvalue", "q_value"),
)


def _ranked_by(table: pd.DataFrame, score: str | None) -> tuple[np.ndarray, str]:
    """Give the score of each edge, and what it is; of a column where one is named."""
    places: dict[str, int] = {}
    for place, name in enumerate(table.columns):
        places.setdefault(edgelists.key_of(name), place)
    known = ("score", *edgelists.SYNONYMS["weight"])
    if score is None:
        key = next((name for name in known if name in places), None)
        if key is None:
            raise ValueError(
                "The network has neither 'score' nor 'weight'; its columns are "
                f"{listed(table.columns, 8)}. Name the one to rank by: --score COLUMN, in Python "
                "score=."
            )
    else:
        key = edgelists.key_of(score)
        if score not in table.columns and key not in places:
            raise ValueError(
                f"The network has no column {listed([score])}; its columns are "
                f"{listed(table.columns, 8)}."
            )
    exact = list(table.columns).index(score) if score in table.columns else places[key]
    column = str(table.columns[exact])
    values = floats(table.iloc[:, exact], "network", column)
    if key in known:
        signed = key not in edgelists.UNSIGNED
        return (np.abs(values), f"|{column}|") if signed else (values, column)
    return (-values, f"{column}, the least first") if key in ASCENDING else (values, column)


def read_ranked(
    edges: Network | pd.DataFrame | str | Path, group: str | None, score: str | None
) -> tuple[RankedEdges, list[str]]:
    """Read a network, or one group of it, and rank its edges; with notes on what ranks them."""
    import pandas as pd

    table: Any
    if isinstance(edges, pd.DataFrame):
        table = edges
    elif isinstance(edges, (str, Path)):
        table = read_edges(edges)
    elif hasattr(edges, "edges"):
        table = edges.edges
    else:
        raise ValueError(
            f"The network is a {type(edges).__name__}; a Network, an edge table or a path is "
            "needed."
        )
    if edgelists.matrix_of(table):
        table = matrix_edges(table, "The network")
    at = edge_columns(table, "network", "'source' (or 'tf'), 'target', and 'score' or 'weight'").at
    groups: tuple[str, ...] = ()
    code = np.zeros(len(table), dtype=np.int64)
    if "group" in table.columns:
        of_row = names(table["group"], "network", "group")
        known, code = np.unique(of_row.astype(str), return_inverse=True)
        groups = tuple(map(str, known))
    if group is not None:
        if str(group) not in groups:
            raise ValueError(
                f"The network has no group {str(group)!r}; "
                + (f"its groups are {listed(groups)}." if groups else "it has no groups.")
            )
        table = table[code == groups.index(str(group))]
        code, groups = np.zeros(len(table), dtype=np.int64), ()
    weight = None
    place = at.get("weight")
    if place is not None and edgelists.key_of(table.columns[place]) not in edgelists.UNSIGNED:
        weight = floats(table.iloc[:, place], "network", str(table.columns[place]))
    ranks, by = _ranked_by(table, score)
    if not len(table):
        raise ValueError("The network has no edge; there is nothing to score.")
    source, target = (
        names(table.iloc[:, at[end]], "network", str(table.columns[at[end]]))
        for end in ("source", "target")
    )
    usual = by in ("score", "|weight|")
    notes = [] if usual else [f"network: edges are ranked by {shown(by, 60)}"]
    return RankedEdges(source, target, ranks.astype(np.float64), weight, code, groups), notes
