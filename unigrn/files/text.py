"""Columns as text, a piece of the rows at a time: what the text formats have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS = 65536  # rows that are rendered at a time: bounds the memory of the text formats


def texts(column: pd.Series, escape: Callable[[str], str]) -> Callable[[slice], pa.Array]:
    """Give a function that renders rows of a column as text, undefined values as null."""
    import pandas as pd
    import pyarrow as pa

    if column.dtype == object:
        codes, names = pd.factorize(column)
        known = pa.array([escape(name) for name in names], pa.string())
        return lambda rows: known.take(pa.array(codes[rows], mask=codes[rows] < 0))
    values = column.to_numpy()
    return lambda rows: pa.array(values[rows], from_pandas=True).cast(pa.string())


def joined(pieces: list, between: str = "") -> pa.Array:
    """Concatenate columns of text row by row, null as nothing."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(
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
