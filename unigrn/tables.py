"""The one reader of tables in files, and the parsers of a column of names, numbers or signs.

A caller knows what its table is for and words the errors: a file that is no table is a
`TableError` whose text is the reason alone, and a parser says which rows are wrong.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# A pandas Series. To pandas' own annotations, what is selected from a table may be a table.
Column = Any

_UNDEFINED = ("", "NA", "NaN", "nan", "None", "null")
_SIGNS = {"+": 1.0, "-": -1.0}


class TableError(Exception):
    """Why a file is no table; the caller adds its name."""


class EmptyError(TableError):
    """A file without a header."""


# Files


@contextmanager
def reasons() -> Iterator[None]:
    """Turn what readers raise into `TableError`."""
    import pyarrow as pa

    try:
        yield
    except UnicodeDecodeError:
        raise TableError("it is not text in UTF-8") from None
    except (OSError, EOFError, zlib.error, ValueError, csv.Error, pa.ArrowException) as error:
        raise TableError(" ".join(str(error).split()) or type(error).__name__) from None


def content(path: str | os.PathLike) -> bytes:
    """Give the bytes of a file, or say why not as a `TableError`."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TableError(error.strerror or str(error)) from None


def _unzipped(path: str | os.PathLike) -> bytes:
    """Give the bytes of a text file, decompressed and without a byte order mark."""
    data = content(path)
    if os.fspath(path).lower().endswith(".gz") or data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return data.removeprefix(b"\xef\xbb\xbf")


def text(path: str | os.PathLike) -> str:
    """Give the text of a file (also `.gz`), or say why not as a `TableError`."""
    with reasons():
        return _unzipped(path).decode()


def read(
    path: str | os.PathLike, types: Mapping[str, Any] | None = None, separator: str | None = None
) -> pa.Table:
    """Read a table whose suffix says its format: `.parquet`, `.csv`, else tabs (also `.gz`).

    Parameters
    ----------
    path
        File.
    types
        Of text: Arrow types of some columns, the others by what they hold; by default all are
        text, as it is written.
    separator
        Of text whose suffix does not say it.

    Raises
    ------
    TableError
        Where the file cannot be read, or its rows are not those of its header.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = os.fspath(path).lower()
    with reasons():
        if not name.endswith(".parquet"):
            if separator is None:
                separator = "," if name.removesuffix(".gz").endswith(".csv") else "\t"
            return _parse(_unzipped(path), separator, types)
        with pq.ParquetFile(pa.BufferReader(content(path))) as file:
            table = file.read()
        # An index that pandas wrote without a name holds numbers of rows.
        return table.drop_columns([c for c in table.column_names if c.startswith("__index_level_")])


def _parse(data: bytes, separator: str, types: Mapping[str, Any] | None) -> pa.Table:
    """Parse text with a header; see `read`."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    data = data.lstrip(b"\r\n")
    if b"\n" not in data:
        data += b"\n"  # a header alone needs an end
    lines = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")
    header = next(csv.reader(lines, delimiter=separator), None)
    if not header:
        raise EmptyError("it is empty; needed a header")
    wrong: list[Any] = []

    def refuse(row: Any) -> str:
        wrong.append(row)
        return "error"

    if types is None:
        types = dict.fromkeys(header, pa.dictionary(pa.int32(), pa.string()))
    try:
        return arrow.read_csv(
            pa.BufferReader(data),
            # One thread: the same file gives the same table, and rows have numbers.
            arrow.ReadOptions(use_threads=False, column_names=header, skip_rows_after_names=1),
            arrow.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=refuse
            ),
            arrow.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        if not wrong:
            raise
    row = wrong[0]
    size, place = len(header), f"data row {row.number - 1:,}"
    if row.actual_columns < size:
        raise TableError(
            f"Expected {size} columns as in the header, but the {header[row.actual_columns]} in "
            f"{place} is missing"
        )
    raise TableError(
        f"the header has {size} columns, the rows have {row.actual_columns}, as {place}; give "
        "every column a name (row names too, or leave them out)"
    )


def frame(table: pa.Table, keep_empty: Collection[str] | None = None) -> pd.DataFrame:
    """Turn an Arrow table into numbers, and text as objects with None where undefined.

    An empty text is undefined too, but in the columns `keep_empty`; by default it is kept in all.
    """
    import pyarrow as pa

    columns = {}
    for place, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        kind = column.type
        coded = pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)
        if pa.types.is_dictionary(kind) and not coded:
            column, kind = column.cast(kind.value_type), kind.value_type
        if pa.types.is_null(kind):
            columns[place] = np.full(len(column), np.nan)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            columns[place] = column.to_numpy()
        else:
            column = column if coded else column.cast(pa.string()).dictionary_encode()
            if not column.num_chunks:
                columns[place] = np.empty(0, dtype=object)
                continue
            codes = column.unify_dictionaries().combine_chunks()
            texts = np.array([*codes.dictionary.to_pylist(), None], dtype=object)
            if keep_empty is not None and name not in keep_empty:
                texts[texts == ""] = None
            columns[place] = texts[codes.indices.fill_null(len(texts) - 1).to_numpy()]
    whole = build(columns)
    whole.columns = table.column_names
    return whole


def build(columns: Mapping[Any, np.ndarray]) -> pd.DataFrame:
    """Build a DataFrame that keeps text as objects."""
    import pandas as pd

    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=object) if values.dtype == object else values
            for name, values in columns.items()
        }
    )


# Columns


def is_number(column: Column) -> bool:
    """Whether the type of a column is that of real numbers or booleans."""
    import pandas as pd

    return pd.api.types.is_numeric_dtype(column.dtype) and column.dtype.kind != "c"


def numbers(
    column: Column, marks: Mapping[str, float] = MappingProxyType({})
) -> tuple[np.ndarray, np.ndarray]:
    """Parse a column of numbers, or of their texts.

    Parameters
    ----------
    column
        (n,) values; a column of floats keeps its precision.
    marks
        Texts that stand for a number.

    Returns
    -------
    values : (n,) float
        NaN where undefined: absent, empty or a word such as "NA".
    wrong : (n,) bool
        Where there is something else than a number.
    """
    import pandas as pd

    if is_number(column):
        values = column.to_numpy()
        if values.dtype.kind != "f":
            values = column.to_numpy(np.float64, na_value=np.nan)
        return values, np.zeros(len(values), dtype=bool)
    codes, distinct = pd.factorize(column)
    # The last of each is what the code -1 of an absent value points to.
    values, wrong = np.full(len(distinct) + 1, np.nan), np.zeros(len(distinct) + 1, dtype=bool)
    with suppress(TypeError, ValueError):
        # As float() of each text: exact, unlike pandas' own parser.
        values[:-1] = np.asarray(distinct, dtype=object).astype(np.float64)
        return values[codes], wrong[codes]
    for place, value in enumerate(distinct):
        text = value.strip() if isinstance(value, str) else value
        if isinstance(text, str) and text in _UNDEFINED:
            continue
        try:
            values[place] = marks[text] if text in marks else float(text)
        except (TypeError, ValueError):
            wrong[place] = True
    return values[codes], wrong[codes]


def signs(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Parse a column of signs: 1 or "+", -1 or "-", 0; undefined and wrong as in `numbers`."""
    values, wrong = numbers(column, _SIGNS)
    return values, wrong | ~(np.isnan(values) | np.isin(values, (-1, 0, 1)))


def names(column: Column, label: str, strip: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Parse a column of names; a whole number counts as one.

    Parameters
    ----------
    column
        (n,) values.
    label
        What to call the column in an error.
    strip
        Whether spaces around a name are no part of it.

    Returns
    -------
    distinct : (k,) str, sorted
    codes : (n,) int
        The name of each row; -1 where it is absent or empty.

    Raises
    ------
    ValueError
        For a value of another kind.
    """
    import pandas as pd

    codes, values = pd.factorize(column)
    texts = []
    for value in values:
        if isinstance(value, str):
            texts.append(value.strip() if strip else value)
        elif isinstance(value, int | np.integer) and not isinstance(value, bool):
            texts.append(str(value))
        else:
            raise ValueError(
                f"{label} {value!r} is {type(value).__name__}, names must be text; "
                "read that column as text"
            )
    distinct, places = np.unique(np.array(texts, dtype=str), return_inverse=True)
    if distinct.size and distinct[0] == "":
        distinct, places = distinct[1:], places - 1
    return distinct, np.append(places, -1)[codes]
