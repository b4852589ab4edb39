"""Plain tables: `.tsv`, `.csv`, and both with `.gz`."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn import edgelists, tables

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS = 65536  # rows that are rendered at a time: bounds the memory of the text formats
_NAMES = ("group", *edgelists.SYNONYMS["source"], *edgelists.SYNONYMS["target"])
_NUMBERS = (*edgelists.SYNONYMS["weight"], "p")


def texts(column: tables.Column, escape: Callable[[str], str]) -> Callable[[slice], pa.Array]:
    """Give a function that renders rows of a column as text, undefined values as null."""
    import pandas as pd
    import pyarrow as pa

    if column.dtype == object:
        codes, names = pd.factorize(column)
        known = pa.array([escape(name) for name in names], pa.string())
        return lambda rows: known.take(pa.array(codes[rows], mask=codes[rows] < 0))
    values = column.to_numpy()
    return lambda rows: pa.array(values[rows], from_pandas=True).cast(pa.string())


def unquoted(suffix: str) -> Callable[[str], str]:
    """Give a function that passes texts on, for a layout that has no quotes.

    It raises ValueError where a text holds a tab or a line break.
    """

    def plain(text: str) -> str:
        if any(mark in text for mark in "\t\n\r"):
            raise ValueError(
                f"the name {text!r} holds a tab or a line break, which {suffix} cannot; rename it "
                "or write .tsv, .parquet or .graphml"
            )
        return text

    return plain


def joined(pieces: list, between: str = "") -> pa.Array:
    """Concatenate columns of text row by row, null as nothing."""
    import pyarrow.compute as pc

    compute: Any = pc  # its functions are made as it loads
    return compute.binary_join_element_wise(
        *pieces, between, null_handling="replace", null_replacement=""
    )


def content(texts: pa.Array) -> bytes:
    """Give the rows of a column of text one after the other."""
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return b""
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return bytes(memoryview(data)[ends[0] : ends[-1]])


def slices(rows: int) -> Iterator[slice]:
    """Give the pieces that so many rows are rendered in."""
    return (slice(start, start + ROWS) for start in range(0, rows, ROWS))


def rendered(edges: pd.DataFrame, separator: str) -> Iterator[bytes]:
    """Give the header and the lines of a table."""

    def quoted(text: str) -> str:
        text = tables.guarded(text)
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

    try:
        written = {
            name: pa.string() if kind == "text" else pa.from_numpy_dtype(kind)
            for name, kind in types
        }
    except (TypeError, ValueError, pa.ArrowException):
        raise tables.TableError(
            f"its .meta.json gives the columns the types {types!r:.60}"
        ) from None

    def kinds(header: list[str]) -> dict[str, Any]:
        found = dict.fromkeys((n for n in header if edgelists.key_of(n) in _NAMES), pa.string())
        found |= dict.fromkeys((n for n in header if edgelists.key_of(n) in _NUMBERS), pa.float64())
        return found | written

    return edgelists.read(path, kinds, keep_empty=("group", "source", "target"))
