"""Plain tables: `.tsv`, `.csv`, and both with `.gz`."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from unigrn import tables
from unigrn.files.text import content, joined, slices, texts

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("group", "source", "target", "Source", "tf", "TF", "regulator", "Regulator", "Target")
_NUMBERS = ("weight", "score", "p")


def rendered(edges: pd.DataFrame, separator: str) -> Iterator[bytes]:
    """Give the header and the lines of a table."""

    def quoted(text: str) -> str:
        if any(mark in text for mark in (separator, '"', "\n", "\r")):
            return '"' + text.replace('"', '""') + '"'
        return text

    columns = [texts(edges[name], quoted) for name in edges.columns]
    yield (separator.join(map(quoted, edges.columns)) + "\n").encode()
    for rows in slices(len(edges)):
        line = joined([column(rows) for column in columns], separator)
        yield content(joined([line, ""], "\n"))


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Compress; the header holds neither a time nor a name."""
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def read(path: str | os.PathLike, types: Iterable[list[str]]) -> pd.DataFrame:
    """Read a table; columns have the given types, or that of what they hold."""
    import pyarrow as pa

    kinds = dict.fromkeys(NAMES, pa.string()) | dict.fromkeys(_NUMBERS, pa.float64())
    try:
        kinds |= {
            name: pa.string() if kind == "text" else pa.from_numpy_dtype(kind)
            for name, kind in types
        }
    except (TypeError, ValueError, pa.ArrowException):
        raise tables.TableError(
            f"its .meta.json gives the columns the types {types!r:.60}"
        ) from None
    return tables.frame(tables.read(path, kinds), keep_empty=("group", "source", "target"))
