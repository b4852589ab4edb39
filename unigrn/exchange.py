"""Tables of edges as other programs read them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn import files
from unigrn.check import listed, meant
from unigrn.files.sif import interactions
from unigrn.methods.celloracle import to_celloracle
from unigrn.network import Network, edge_score

if TYPE_CHECKING:
    import pandas as pd


def cytoscape(network: Network) -> pd.DataFrame:
    """Cytoscape's table import: source, interaction, target, then group and all statistics."""
    table: Any = network.rank()
    table.insert(0, "interaction", interactions(table))
    first = ["source", "interaction", "target"]
    return table[[*first, *(name for name in table.columns if name not in first)]]


def pyscenic(network: Network) -> pd.DataFrame:
    """PySCENIC's adjacencies: TF, target, importance (what edges rank by, >= 0)."""
    table: Any = network.rank()
    score = edge_score(table)
    if (score < 0).any():
        raise ValueError(
            "the score of this network has negative values, and pySCENIC's importance has none; "
            "filter with --score 0 first, or convert to decoupler"
        )
    table = table.assign(TF=table["source"], importance=score)[["TF", "target", "importance"]]
    return table[score > 0].reset_index(drop=True)


def decoupler(network: Network) -> pd.DataFrame:
    """Decoupler's network: source, target, weight (signed)."""
    table: Any = network.rank()
    return table[["source", "target", "weight"]]


def celloracle(network: Network) -> pd.DataFrame:
    """CellOracle's links, those of its methods only: [cluster,] source, target, coef_mean, ..."""
    import pandas as pd

    links = to_celloracle(network)
    if network.groups is None:
        return links["all"]
    parts = [table.assign(cluster=name) for name, table in links.items()]
    table: Any = pd.concat(parts, ignore_index=True)
    return table[["cluster", *(name for name in table.columns if name != "cluster")]]


def genernib(network: Network) -> pd.DataFrame:
    """GeneRNIB's prediction: source, target, weight, the edges that rank first on top."""
    table: Any = network.rank()
    return table[["source", "target", "weight"]]


def beeline(network: Network) -> pd.DataFrame:
    """Beeline's ranked edges: Gene1, Gene2, EdgeWeight (it ranks by the absolute value)."""
    table: Any = network.rank()
    score: Any = np.abs(edge_score(table))
    table = table.assign(EdgeWeight=np.where(table["weight"] < 0, -score, score))
    return table.rename(columns={"source": "Gene1", "target": "Gene2"})[
        ["Gene1", "Gene2", "EdgeWeight"]
    ]


TOOLS: dict[str, Callable[[Network], pd.DataFrame]] = {
    tool.__name__: tool for tool in (cytoscape, pyscenic, decoupler, celloracle, genernib, beeline)
}
_GROUPED = ("cytoscape", "celloracle")  # the tables of the others have no place for groups


def convert(network: Network, to: str) -> pd.DataFrame:
    """Give a network's edges as another program reads them.

    Parameters
    ----------
    network : Network
    to : str
        One of `TOOLS`; the function of that name says which columns.

    Returns
    -------
    DataFrame
        One row per edge, those that rank first on top.

    Raises
    ------
    ValueError
        Where no such program is known, its table has no place for several groups, or the network
        lacks what it needs.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"source": ["A", "B"], "target": ["C", "C"], "weight": [0.5, -2.0]})
    >>> print(convert(Network(table, ["A", "B"], ["C"]), "beeline"))
      Gene1 Gene2  EdgeWeight
    0     B     C        -2.0
    1     A     C         0.5
    """
    if to not in TOOLS:
        raise ValueError(f"no program {to!r}{meant(to, TOOLS)}; needed one of {listed(TOOLS)}")
    if network.groups is not None and len(network.groups) > 1 and to not in _GROUPED:
        raise ValueError(
            f"{to} has no place for groups and the network has {listed(network.groups, 20)}; "
            "choose one: --group NAME, in Python network.subset(name)"
        )
    return TOOLS[to](network)


def write(network: Network, to: str, path: str | os.PathLike) -> None:
    """Write what `convert` gives as `.tsv`, `.txt` or `.csv` (also `.gz`).

    ``path + ".meta.json"`` says how the network was inferred.

    Raises
    ------
    ValueError
        As `convert`; or where the suffix is another, or the file cannot be written.
    """
    files.write_table(convert(network, to), path, network.document() | {"converted_to": to})
