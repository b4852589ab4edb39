"""SIF, which Cytoscape opens: one line per edge, `source`, what it does, `target`; no numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from unigrn.files.delimited import content, joined, slices, texts, unquoted

if TYPE_CHECKING:
    import pandas as pd


def interactions(edges: pd.DataFrame) -> np.ndarray:
    """Say what each edge does, by the sign of its weight: an (e,) array of words."""
    sign = np.sign(edges["weight"].to_numpy()).astype(int)
    return np.array(["regulates", "activates", "represses"], dtype=object)[sign]


def rendered(edges: pd.DataFrame) -> Iterator[bytes]:
    """Give the lines; where there are groups, "activates in GROUP".

    Raises
    ------
    ValueError
        Where a name holds a tab or a line break.
    """
    does = interactions(edges)
    if "group" in edges.columns:
        does = does + " in " + edges["group"].to_numpy(dtype=object)
    table = edges[["source", "target"]].assign(does=does)
    columns = [texts(table[name], unquoted(".sif")) for name in ("source", "does", "target")]
    for rows in slices(len(edges)):
        line = joined([column(rows) for column in columns], "\t")
        yield content(joined([line, ""], "\n"))
