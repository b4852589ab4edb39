"""What the figures share: colours, style, and checks of the tables that they draw."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.network import Network

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Okabe and Ito's palette, distinct with every common kind of colour blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
GREY = "#8C8C8C"
INK = "#262626"
LINES = (  # colour and dashes, so that curves differ in print too
    (BLUE, "-"),
    (ORANGE, (0, (5, 1.5))),
    (GREEN, (0, (1.2, 1.2))),
    (PURPLE, (0, (5, 1.5, 1.2, 1.5))),
    (RED, (0, (3, 3))),
    (SKY, "-"),
)
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.4,
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


# What a file of each suffix calls the program that wrote it.
AUTHOR = {".png": "Software", ".pdf": "Creator", ".svg": "Creator"}


def table_of(network: Network | pd.DataFrame) -> pd.DataFrame:
    """Give the table of edges of a network; a table is its own."""
    return network.edges if isinstance(network, Network) else network


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Save a figure, and say in the file who drew it, where the format has a place for that."""
    key = AUTHOR.get(os.path.splitext(os.fspath(path))[1].lower())
    figure.savefig(path, metadata=None if key is None else {key: "unigrn"})


def is_own(path: str | os.PathLike[str]) -> bool:
    """Whether a figure says that `save` wrote it."""
    with open(path, "rb") as file:
        content = file.read()
    starts = (b"\x89PNG", b"%PDF", b"<?xml")
    return content.startswith(starts) and any(
        mark in content for mark in (b"Software\0unigrn", b"/Creator (unigrn)", b">unigrn<")
    )


def groups_of(edges: pd.DataFrame) -> list[str | None]:
    """Give the groups of a table, or None alone."""
    if "group" not in edges:
        return [None]
    return np.unique(edges["group"].to_numpy(str)).tolist()


def one_group(edges: pd.DataFrame, group: str | None) -> str | None:
    """Give the group asked for, by default the first."""
    groups = groups_of(edges)
    if group is None:
        return groups[0]
    if str(group) not in groups:
        known = "no groups" if groups == [None] else ", ".join(map(str, groups))
        raise ValueError(f"group is {group!r}; the edges have {known}")
    return str(group)


def check(edges: pd.DataFrame, name: str, *more: str) -> None:
    """Refuse a table that lacks columns or rows."""
    needed = ["source", "target", *more]
    missing = [column for column in needed if column not in edges]
    if missing:
        raise ValueError(
            f"{name} has columns {', '.join(map(str, edges.columns))}; "
            f"needed {', '.join(missing)} too"
        )
    if not len(edges):
        raise ValueError(f"{name} has no rows; needed at least one edge")


def need(module: str) -> Any:
    """Import a module of the extra `plot`, or say how to get it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'figures need {module}, which is missing: pip install "unigrn[plot]"'
        ) from error
