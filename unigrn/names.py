"""Lists of gene names: read from a file with one name per line or a column of them, or made up."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


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
    label = f"the file of {what} {str(path)!r}"
    if not path.exists() or path.is_dir():
        raise ValueError(f"{label} does not exist; give one name per line, or a table")
    if path.suffix.lower() == ".parquet":
        header, rows = _parquet(path, label)
    else:
        header, rows = _text(path, label)
    column = next((name for name in columns if name in header), None)
    if column is not None:
        at = header.index(column)
        names = [row[at] for row in rows if len(row) > at]
    elif len(header) > 1:
        raise ValueError(
            f"{label} is a table with the columns {', '.join(header)}; it needs a "
            f"column {' or '.join(columns)}, or one name per line"
        )
    else:
        names = [row[0] for row in [header, *rows]]
    names = [name for name in names if name]
    if not names:
        raise ValueError(f"{label} is empty; give one name per line")
    return list(dict.fromkeys(names))


def _text(path: Path, label: str) -> tuple[list[str], list[list[str]]]:
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = [line for line in file.read().splitlines() if line.strip()]
    except OSError as error:
        raise ValueError(f"{label} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise ValueError(f"{label} is not text: {error}") from None
    delimiter = next((mark for mark in "\t," if lines and mark in lines[0]), "\t")
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    return (rows[0], rows[1:]) if rows else ([""], [])


def _parquet(path: Path, label: str) -> tuple[list[str], list[list[str]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{label} is not a parquet table: {error}") from None
    columns = [[str(v) for v in column.to_pylist() if v is not None] for column in table.columns]
    header = list(table.column_names)
    if len(header) == 1:
        return header, [[name] for name in columns[0]]
    longest = max(map(len, columns), default=0)
    return header, [[c[i] if i < len(c) else "" for c in columns] for i in range(longest)]
