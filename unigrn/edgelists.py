"""What the columns of an edge table mean: the names that this field's programs give them.

One table of names serves priors, gold standards and networks. Letter case does not count, nor do
blanks, dots, hyphens and underscores between words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from unigrn import tables
from unigrn.check import counted, listed, shown

if TYPE_CHECKING:
    import pandas as pd

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    # OmniPath's symbols stand before its accession numbers.
    "source": (
        "source_genesymbol", "source", "tf", "regulator", "tf_name", "gene1", "from", "column_1",
    ),  # the last of each: a table without a header
    "target": (
        "target_genesymbol", "target", "tg", "gene2", "to", "gene_short_name", "gene", "column_2",
    ),
    # decoupler and DoRothEA: mor; pySCENIC: importance; CellOracle: coef_mean; PANDA: force
    "weight": (
        "weight", "score", "mor", "importance", "coef_mean", "edgeweight", "force", "column_3",
    ),
    "sign": (
        "sign", "consensus_stimulation_inhibition", "is_stimulation_inhibition", "column_3_(sign)",
    ),
    "label": ("label",),
}  # fmt: skip
"""Names of the columns of each meaning; of several in one table the first is taken."""

SIGN_WORDS = ("type", "mode", "mode_of_regulation", "regulation", "effect")
"""Columns that are signs where all that they hold are words for signs (TRRUST, BEELINE)."""

SIGNED = ("mor", "coef_mean")
"""Weights whose sign means activation or repression, also where all are positive."""

UNSIGNED = ("score", "importance", "force")
"""Weights of which more is better, and whose sign says nothing of activation or repression."""

ASIDE = ("peak_id", "peak", "chr", "chrom", "chromosome", "start", "end", "strand", "score")
"""Columns of a matrix of genes x TFs that are no TF."""

SUFFIXES = (".tsv", ".csv", ".txt", ".sif", ".gmt")
"""Suffixes of text, each also with `.gz`; `.parquet` beside them."""

_HALVES = ("stimulation", "inhibition")  # OmniPath's two columns of a sign
# What needs no word, as the forms that the documentation leads with.
_PLAIN = ("source", "target", "tf", "weight", "score", "sign", "label")
_UNNAMED = re.compile(r"(unnamed: \d+)?", re.IGNORECASE)
_EXAMPLES = 5  # columns that a note names
_REGULON = re.compile(r"[ _]?\(([+-])\)$")  # pySCENIC writes a regulon as GATA1(+)
# A relation of SIF and a description of GMT as they are written here of several groups.
_GROUPED = re.compile(r"(regulates|activates|represses) in .*")
_SET = re.compile(r"targets of (.*), group (.*)")


class Columns(NamedTuple):
    """Where the meanings of a table's columns are.

    Attributes
    ----------
    at : dict of str to int
        Meaning -> position, of those that the table has.
    notes : tuple of str
        What was taken from which column, and which columns were not read.
    """

    at: dict[str, int]
    notes: tuple[str, ...]


def suffix_of(path: str | os.PathLike) -> str | None:
    """Give the suffix that says the format of an edge table, in lower case; None for others.

    Examples
    --------
    >>> suffix_of("a.b.TSV.gz"), suffix_of("a.xlsx")
    ('.tsv.gz', None)
    """
    name = os.path.basename(os.fspath(path)).lower()
    if name.endswith(".parquet"):
        return ".parquet"
    stem = name.removesuffix(".gz")
    kind = next((suffix for suffix in SUFFIXES if stem.endswith(suffix)), None)
    return None if kind is None else kind + name[len(stem) :]


def key_of(name: object) -> str:
    """Give the form of a column's name by which names are compared."""
    return re.sub(r"[\s._-]+", "_", str(name).strip().casefold())


def is_unnamed(name: object) -> bool:
    """Whether a column has no name, as an index that was written."""
    return _UNNAMED.fullmatch(str(name).strip()) is not None


def with_signs(table: pd.DataFrame) -> pd.DataFrame:
    """Join OmniPath's two columns of a sign, such as `is_stimulation` and `is_inhibition`, to one.

    Its value is 1, -1, or 0 where both or none is set. A table without such columns, or in which
    they hold something else than 0 and 1, is returned as it is.
    """
    at = {key_of(name): i for i, name in enumerate(table.columns)}
    for kind in ("consensus", "is"):
        places = [at[name] for half in _HALVES if (name := f"{kind}_{half}") in at]
        if len(places) < 2 or not all(_is_01(table.iloc[:, place]) for place in places):
            continue
        up, down = (tables.flags(table.iloc[:, place])[0] for place in places)
        rest = table.iloc[:, [i for i in range(table.shape[1]) if i not in places]]
        return rest.assign(**{f"{kind}_{'_'.join(_HALVES)}": (up - down).astype(np.int8)})
    return table


def columns_of(table: pd.DataFrame, label: str, meanings: Iterable[str] = SYNONYMS) -> Columns:
    """Find what the columns of an edge table mean.

    Parameters
    ----------
    table
        With one edge a row; its header is looked at, and those columns that may be signs.
    label
        What the table is, for messages.
    meanings
        Of `SYNONYMS`, those that the caller reads.

    Raises
    ------
    ValueError
        Where a column that is read occurs twice.
    """
    header = [str(name).strip() for name in table.columns]
    places: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        places.setdefault(key_of(name), []).append(place)
    symbols = {"source_genesymbol", "target_genesymbol"}
    at: dict[str, int] = {}
    taken, beside = [], []
    for meaning in meanings:
        known = [
            name
            for name in SYNONYMS[meaning]
            if name in places and (name not in symbols or symbols <= places.keys())
        ]
        if meaning == "sign":
            known += [w for w in SIGN_WORDS if w in places and _holds_signs(table, places[w])]
        if not known:
            continue
        if len(places[known[0]]) > 1:
            raise ValueError(
                f"{label}: column {known[0]!r} occurs {len(places[known[0]])} times (letter case "
                "does not count); keep one"
            )
        at[meaning] = places[known[0]][0]
        if known[0] not in _PLAIN:
            taken.append(f"{meaning} from {shown(header[at[meaning]])}")
        if len(known) > 1:
            beside.append(
                f"{meaning} from {shown(header[at[meaning]])}, not from "
                f"{' or '.join(shown(header[places[name][0]]) for name in known[1:])}"
            )
    notes = [f"read {', '.join(taken)}"] if taken else []
    notes += [f"of several columns: {', '.join(beside)}"] if beside else []
    other = [
        header[i] for i in range(len(header)) if i not in at.values() and not is_unnamed(header[i])
    ]
    return Columns(at, (*notes, *ignored(other)))


def ignored(names: list[str]) -> list[str]:
    """Give the note that names columns which were not read; none where there are none."""
    if not names:
        return []
    more = ", ..." if len(names) > _EXAMPLES else ""
    examples = ", ".join(map(shown, names[:_EXAMPLES])) + more
    return [f"{counted(len(names), 'other column')} ignored ({examples})"]


def _holds_signs(table: pd.DataFrame, places: list[int]) -> bool:
    values, wrong = tables.signs(table.iloc[:, places[0]])
    return len(places) == 1 and not wrong.any() and bool((~np.isnan(values)).any())


def check_forces(name: object, weight: np.ndarray, label: str) -> None:
    """Refuse negative weights of PANDA, which are no signs: `name` is that of their column."""
    if key_of(name) == "force" and (negative := int((weight < 0).sum())):
        raise ValueError(
            f"{label}: {counted(negative, 'row')} of negative force, which in PANDA's tables "
            "speaks against an edge; keep the rows above a bound, or rename motif to weight"
        )


def headerless(row: list[str]) -> list[str] | None:
    """Give names for the columns of a table whose first row is an edge, else None.

    They are among `SYNONYMS`, and say that there was no header. Such are motif priors (source,
    target, number), DREAM's golds and TRRUST's table (source, target, mode[, references]).

    Examples
    --------
    >>> headerless(["GATA1", "KLF1", "1.0"])
    ['column 1', 'column 2', 'column 3']
    """
    import pandas as pd

    known = {name for names in SYNONYMS.values() for name in names}
    first, second = [*row, "", ""][:2]
    if not 3 <= len(row) <= 4 or known & set(map(key_of, row)):
        return None
    if not (first.strip() and second.strip()) or not any(c.isalpha() for c in first + second):
        return None
    third: Any = pd.Series([row[2]], dtype=object)
    if len(row) == 3 and np.isfinite(tables.numbers(third)[0][0]):
        return ["column 1", "column 2", "column 3"]
    if np.isfinite(tables.signs(third)[0][0]) and not row[2].strip().isdigit():
        return ["column 1", "column 2", "column 3 (sign)", "column 4"][: len(row)]
    return None


def read(path: str | os.PathLike, types: tables.Types = None, **options: Any) -> pd.DataFrame:
    """Read a table of edges from a file whose suffix is one of `SUFFIXES` or `.parquet`.

    Parameters
    ----------
    path
        `.sif` holds source, relation and targets in a line; `.gmt` a regulator, a description and
        its targets. Others are tables with a header, or as in `headerless`.
    types, **options
        As for `unigrn.tables.load`.

    Raises
    ------
    unigrn.tables.TableError
        Where the file is no such table.
    """
    kind = (suffix_of(path) or "").removesuffix(".gz")
    if kind in (".sif", ".gmt"):
        return (_sif if kind == ".sif" else _gmt)(tables.text(path).splitlines())
    return tables.load(path, types, headerless=headerless, **options)


def _sif(lines: list[str]) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(lines, 1):
        fields = [field.strip() for field in line.split("\t" if "\t" in line else None)]
        if len(fields) == 2:
            raise tables.TableError(
                f"line {number} has two fields; needed source, relation, target"
            )
        grouped = _GROUPED.fullmatch(fields[1]) if len(fields) > 2 else None
        relation = grouped[1] if grouped else "".join(fields[1:2])
        rows += [(fields[0], target, relation) for target in fields[2:]]
    return _frame(rows, "type")


def _gmt(lines: list[str]) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(lines, 1):
        name, *fields = (field.strip() for field in line.split("\t"))
        if name and len(fields) < 2:
            raise tables.TableError(f"line {number} names no gene; needed name, description, genes")
        of = _SET.fullmatch(fields[0]) if fields else None
        if of and name == f"{of[1]} in {of[2]}":
            name = of[1]
        sign = _REGULON.search(name)
        rows += [
            (_REGULON.sub("", name), target, sign[1] if sign else "0")
            for target in fields[1:]
            if target
        ]
    return _frame(rows, "sign")


def _frame(rows: list[tuple[str, str, str]], third: str) -> pd.DataFrame:
    if not rows:
        raise tables.EmptyError("it is empty; needed an edge")
    names = ("source", "target", third)
    return tables.build(
        {
            name: np.array(column, dtype=object)
            for name, column in zip(names, zip(*rows, strict=True), strict=True)
        }
    )


def matrix_of(table: pd.DataFrame) -> tuple[str, int] | None:
    """Whether a table is a matrix of genes and TFs, and what its rows are.

    Parameters
    ----------
    table
        A column with the names of the rows, called as targets or regulators are, and one column
        of numbers for each name of the other side. A table that has both ends of an edge is no
        matrix, but where all its other columns are 0 or 1 and the genes are in `gene_short_name`.

    Returns
    -------
    rows : "target" or "source"
    place : int
        The column that names them.
    None
        Where it is none.
    """
    at = {key_of(name): i for i, name in reversed(list(enumerate(table.columns)))}
    found = {
        meaning: next((at[name] for name in SYNONYMS[meaning] if name in at), None)
        for meaning in ("target", "source")
    }
    target, source = found["target"], found["source"]
    if target is not None and target == at.get("gene_short_name"):
        if source is None or _is_numbers(table.iloc[:, source]):
            return "target", target
        known = {name for names in SYNONYMS.values() for name in names} | set(ASIDE)
        rest = [
            table.iloc[:, i]
            for i, name in enumerate(table.columns)
            if key_of(name) not in known and not is_unnamed(name)
        ]
        return ("target", target) if rest and all(map(_is_01, rest)) else None
    place = next((i for i, name in enumerate(table.columns) if not is_unnamed(name)), -1)
    other = any(name in at for meaning in ("weight", "sign", "label") for name in SYNONYMS[meaning])
    if place not in (target, source) or table.shape[1] - place < 2 or other:
        return None
    if target is not None and source is not None:
        # A gene of a wide matrix may be called TF or TG.
        wide = table.shape[1] - place > 6
        if not wide or not all(
            _is_numbers(table.iloc[:, i]) for i in range(place + 1, table.shape[1])
        ):
            return None
    return ("target" if place == target else "source"), place


def _is_numbers(column: tables.Column) -> bool:
    return not tables.flags(column)[1].any()


def _is_01(column: tables.Column) -> bool:
    values, _ = tables.flags(column)
    return bool(len(values)) and bool(np.isin(values, (0, 1)).all())


def no_columns(header: Iterable[object], label: str, forms: str) -> ValueError:
    """Give the error for a table in which there are no edges, with what explains it."""
    header = [str(name) for name in header]
    advice = "rename the columns, or add a header line"
    if len(header) == 1:
        for mark, kind in (("\t", "tabs"), (",", "commas"), (";", "semicolons"), (" ", "blanks")):
            if mark in header[0]:
                advice = f"it looks separated by {kind}: .tsv is for tabs, .csv for commas"
                break
    elif len(header) > 3 and is_unnamed(header[0]):
        advice = "of a matrix call the first column target where its rows are genes, tf where TFs"
    return ValueError(f"{label}: found columns {listed(header, 4)}; needs {forms}; {advice}")
