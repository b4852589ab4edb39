"""The one reader of tables in files, and the parsers of a column of names, numbers or signs.

A file may not use more memory than it seems to: a line, a name and what is unpacked have bounds.
A caller knows what its table is for and words the errors: a file that is no table is a
`TableError` whose text is the reason alone, and a parser says which rows are wrong.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.check import listed, shown

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Arrow types by column, or a function of the header that gives them.
Types = Mapping[str, Any] | Callable[[list[str]], Mapping[str, Any]] | None
# Names for the columns of a file whose first row is data, else None.
Headerless = Callable[[list[str]], list[str] | None]
# A pandas Series. To pandas' own annotations, what is selected from a table may be a table.
Column = Any

_UNDEFINED = ("", "NA", "NaN", "nan", "None", "null")
_SIGNS: dict[str, float] = {
    **dict.fromkeys(("+", "activation", "activates", "stimulation", "positive"), 1.0),
    **dict.fromkeys(("-", "repression", "represses", "inhibition", "negative"), -1.0),
    **dict.fromkeys(("unknown", "?"), 0.0),
}
_FLAGS = {"true": 1.0, "false": 0.0}

LINE = 2**24  # bytes of a line
NAME = 1000  # characters of a name
COLUMNS = 100_000  # of a table: a matrix of all genes of an organism has fewer
UNPACKED = 2**27  # bytes that any packed file may unpack to,
RATIO = 300  # and how many times its size a larger one: real tables stay far below
_REASON = 120  # characters of a reason that another library gives


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
        reason = " ".join(str(error).split())
        raise TableError(shown(reason, _REASON) or type(error).__name__) from None


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
        data = _decompressed(data)
    else:
        _check_lines(data, 0)
    return data.removeprefix(b"\xef\xbb\xbf")


def _decompressed(packed: bytes) -> bytes:
    """Unpack, as far as the bounds allow."""
    pieces, size, line, most = [], 0, 0, max(UNPACKED, RATIO * len(packed))
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
        while piece := file.read(2**20):
            size += len(piece)
            line = _check_lines(piece, line)
            if size > most:
                raise TableError(
                    f"it unpacks to more than {most // 2**20:,} MiB, far more than a table of its "
                    "size; unpack it yourself if that is right"
                )
            pieces.append(piece)
    return b"".join(pieces)


def _check_lines(data: bytes, before: int) -> int:
    """Refuse a line that is too long; give the length of the last, which began `before` earlier."""
    start = -before
    while len(data) - start > LINE:
        # The last break that is near enough: short lines are not looked at one by one.
        end = max(data.rfind(mark, max(start, 0), start + LINE) for mark in (b"\n", b"\r"))
        if end < 0:
            raise TableError(
                f"it has a line of more than {LINE // 2**20} MiB; needed lines of rows"
            )
        start = end + 1
    last = max(data.rfind(b"\n"), data.rfind(b"\r"))
    return len(data) - (start if last < 0 else max(last + 1, start))


def text(path: str | os.PathLike) -> str:
    """Give the text of a file (also `.gz`), or say why not as a `TableError`."""
    with reasons():
        return _unzipped(path).decode()


def load(
    path: str | os.PathLike,
    types: Types = None,
    separator: str | None = None,
    keep_empty: Collection[str] | None = None,
    headerless: Headerless | None = None,
) -> pd.DataFrame:
    """Read a table as `read` does, into a DataFrame as `frame` does, formulas as `unguarded`."""
    table = read(path, types, separator, headerless)
    with reasons():
        plain = frame(table, keep_empty)
        if not os.fspath(path).lower().endswith(".parquet"):
            for place in range(plain.shape[1]):
                values = plain.iloc[:, place]
                if values.dtype == object and any(_is_guarded(value) for value in values.unique()):
                    plain.isetitem(place, values.map(unguarded, na_action="ignore"))
    return plain


def read(
    path: str | os.PathLike,
    types: Types = None,
    separator: str | None = None,
    headerless: Headerless | None = None,
) -> pa.Table:
    """Read a table whose suffix says its format: `.parquet`, `.csv`, else tabs (also `.gz`).

    Parameters
    ----------
    path
        File. A `.txt` without a tab in its first line is separated by commas.
    types
        Of text: Arrow types of some columns, or a function of the header that gives them, the
        other columns by what they hold; by default all are text, as it is written.
    separator
        Of text whose suffix does not say it.
    headerless
        A function of the first row: names for the columns where that row is data, else None.

    Raises
    ------
    TableError
        Where the file cannot be read, its rows are not those of its header, or it is beyond a
        bound.
    """
    name = os.fspath(path).lower()
    with reasons():
        if name.endswith(".parquet"):
            return _parquet(content(path))
        data = _unzipped(path).lstrip(b"\r\n")
        stem = name.removesuffix(".gz")
        if separator is None:
            first = io.BytesIO(data).readline()
            comma = stem.endswith(".txt") and b"," in first and b"\t" not in first
            separator = "," if comma or stem.endswith(".csv") else "\t"
        return _parse(data, separator, types, headerless)


def _parquet(data: bytes) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if data[:4] != b"PAR1":
        raise TableError("it does not begin as a parquet file does")
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        for field in file.schema_arrow:
            if pa.types.is_nested(field.type):
                raise TableError(
                    f"its column {listed([field.name])} holds {shown(str(field.type))}; needed "
                    "one value a row: drop it"
                )
        size = file.metadata.num_rows * file.metadata.num_columns * 8
        if size > max(2**4 * UNPACKED, RATIO * len(data)):
            raise TableError(f"it unpacks to {size // 2**20:,} MiB, far more than its own size")
        table = file.read()
    table.validate(full=True)
    # An index that pandas wrote without a name holds numbers of rows.
    return table.drop_columns([c for c in table.column_names if c.startswith("__index_level_")])


def _parse(data: bytes, separator: str, types: Types, headerless: Headerless | None) -> pa.Table:
    """Parse text; see `read`."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    data += b"" if b"\n" in data else b"\n"  # a header alone needs an end
    lines = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")
    header = next(csv.reader(lines, delimiter=separator), None)
    if not header:
        raise EmptyError("it is empty; needed a header")
    if len(header) > COLUMNS:
        raise TableError(f"it has {len(header):,} columns; needed {COLUMNS:,} at most")
    names = headerless(header) if headerless else None
    first_row = 0 if names else 1
    header = names or header
    wrong: list[Any] = []

    def refuse(row: Any) -> str:
        wrong.append(row)
        return "error"

    if types is None:
        types = dict.fromkeys(header, pa.dictionary(pa.int32(), pa.string()))
    elif callable(types):
        types = types(header)
    try:
        return arrow.read_csv(
            pa.BufferReader(data),
            # One thread: the same file gives the same table, and rows have numbers.
            arrow.ReadOptions(
                use_threads=False, column_names=header, skip_rows_after_names=first_row
            ),
            arrow.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=refuse
            ),
            arrow.ConvertOptions(column_types=types, strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        if not wrong:
            raise
    row = wrong[0]
    size, place = len(header), f"data row {row.number - first_row:,}"
    if row.actual_columns < size:
        missing = shown(header[row.actual_columns])
        raise TableError(
            f"Expected {size} columns as in the header, but the {missing} in {place} is missing"
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
        Texts in lower case that stand for a number, whatever their case.

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
        mark = marks.get(text.casefold()) if isinstance(text, str) else None
        try:
            values[place] = float(text) if mark is None else mark
        except (TypeError, ValueError):
            wrong[place] = True
    return values[codes], wrong[codes]


def flags(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Parse a column of numbers, or of the words true and false; as in `numbers`."""
    return numbers(column, _FLAGS)


def signs(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Parse a column of signs: 1, "+" or "Activation", -1, "-" or "Repression", 0 or "Unknown".

    Undefined and wrong as in `numbers`.
    """
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
                f"{label} {shown(str(value))} is {type(value).__name__}, names must be text; "
                "read that column as text"
            )
        if len(texts[-1]) > NAME:
            raise ValueError(
                f"{label} {listed([texts[-1]])} has {len(texts[-1]):,} characters, names may have "
                f"{NAME:,}; check the separators and quotes of the table"
            )
    distinct, places = np.unique(np.array(texts, dtype=str), return_inverse=True)
    if distinct.size and distinct[0] == "":
        distinct, places = distinct[1:], places - 1
    return distinct, np.append(places, -1)[codes]


# Formulas


def guarded(text: str) -> str:
    """Give a text that a spreadsheet does not run: one that begins a formula gets an apostrophe."""
    return "'" + text if _begins_formula(text.lstrip("'")) else text


def unguarded(text: str) -> str:
    """Undo `guarded`."""
    return text[1:] if _is_guarded(text) else text


def _is_guarded(value: Any) -> bool:
    return isinstance(value, str) and value[:1] == "'" and _begins_formula(value.lstrip("'"))


def _begins_formula(text: str) -> bool:
    if len(text) < 2 or text[0] not in "=+-@\t\r":
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False  # a number is what it looks like
