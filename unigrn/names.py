"""Lists of gene names: read from a file with one name per line or a column of them, or made up."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unigrn import edgelists, tables
from unigrn.check import listed

_HEADERS = ("gene", "genes", "name", "names")  # that a list may have beside those asked for


def numbered_names(stem: str, count: int) -> np.ndarray:
    """Return count names, zero-padded so that their order is alphabetic."""
    width = len(str(count))
    return np.array([f"{stem}{i + 1:0{width}d}" for i in range(count)], dtype=str)


def read_names(
    path: str | os.PathLike, what: str = "names", columns: Sequence[str] = ("target",)
) -> list[str]:
    """Read distinct names, in the order of the file.

    Parameters
    ----------
    path
        Text (also ``.gz``) with one name per line, or a ``.tsv``, ``.csv`` or ``.parquet`` table.
    what
        What the names are, for messages.
    columns
        Columns that may hold them; the first that the table has is taken.

    Raises
    ------
    ValueError
        No such file, not text, a table without such a column, or no name at all.
    """
    path = Path(path)
    label = f"the file of {what} {listed([path], size=80)}"
    if not path.exists() or path.is_dir():
        raise ValueError(f"{label} does not exist; give one name per line, or a table")
    try:
        names = _names(path, columns, label)
    except tables.TableError as error:
        raise ValueError(f"{label} cannot be read: {error}") from None
    names = [name for name in map(str.strip, names) if name]
    if max(map(len, names), default=0) > tables.NAME:
        raise ValueError(
            f"{label} has a name of more than {tables.NAME:,} characters; give one name per line"
        )
    if not names:
        raise ValueError(f"{label} is empty; give one name per line")
    return list(dict.fromkeys(names))


def _names(path: Path, columns: Sequence[str], label: str) -> list[str]:
    separator = None
    if path.suffix.lower() != ".parquet":
        lines = [line for line in tables.text(path).splitlines() if line.strip()]
        separator = next((mark for mark in "\t," if lines and mark in lines[0]), None)
        if separator is None:
            if max(map(len, lines), default=0) > 2 * tables.NAME:
                raise tables.TableError(
                    f"it has a line of more than {2 * tables.NAME:,} characters"
                )
            names = [row[0].strip() for row in csv.reader(lines, delimiter="\t")]
            return names[1:] if names and names[0] in (*columns, *_HEADERS) else names
    table = tables.load(path, separator=separator)
    header = [edgelists.key_of(name) for name in table.columns]
    wanted = [n for c in columns for n in (c, *edgelists.SYNONYMS.get(c, ()))]
    column = next((name for name in (*wanted, *_HEADERS) if name in header), None)
    if column is None and len(header) > 1:
        raise ValueError(
            f"{label} is a table with the columns {listed(table.columns, 4)}; it needs a "
            f"column {' or '.join(columns)}, or one name per line"
        )
    place = header.index(column) if column is not None else 0
    distinct, codes = tables.names(table.iloc[:, place], f"{label}: the name", strip=True)
    return distinct[codes[codes >= 0]].tolist()
