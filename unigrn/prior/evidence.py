"""What a table says as evidence: an edge table or a base GRN table, as names and codes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from unigrn import tables
from unigrn.check import counted, listed

if TYPE_CHECKING:
    import pandas as pd

FORMS = (
    "source,target[,weight[,sign]] (or tf,target[,score]), or a base GRN table with "
    "gene_short_name and one 0/1 column per TF"
)
_EXAMPLES = 5  # ignored columns that a note names
_UNNAMED = re.compile(r"(unnamed: \d+)?", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Layer:
    """Edges from one source of evidence, as codes into the names of a `Prior`.

    Sorted by (target, source); each pair occurs once.

    Attributes
    ----------
    source : (e,) int32
        Positions in `Prior.regulators`.
    target : (e,) int32
        Positions in `Prior.targets`.
    weight : (e,) float64
        Strength of the evidence, positive, in the unit of its source.
    sign : (e,) int8
        +1 activation, -1 repression, 0 unknown.
    """

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    sign: np.ndarray


class Evidence(NamedTuple):
    """One layer, the names that it has codes of, and what was dropped, merged or ignored."""

    regulators: np.ndarray
    targets: np.ndarray
    layer: Layer
    notes: tuple[str, ...]


def layer_of(source: np.ndarray, target: np.ndarray, weight: np.ndarray, sign: np.ndarray) -> Layer:
    """Make a layer of arrays that nobody may change."""
    arrays = (
        np.asarray(source, np.int32),
        np.asarray(target, np.int32),
        np.asarray(weight, np.float64),
        np.asarray(sign, np.int8),
    )
    for array in arrays:
        array.setflags(write=False)
    return Layer(*arrays)


def distinct(values: np.ndarray) -> np.ndarray:
    """Distinct values of a sorted array."""
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def of_table(table: pd.DataFrame, name: str, label: str) -> Evidence:
    """Read whichever of the two forms a table has; see `Prior.from_edges`, `from_base_grn`."""
    at = _header(table.columns)[1]
    return (of_edges if _is_edge_table(at) else of_base_grn)(table, name, label)


def of_edges(table: pd.DataFrame, name: str, label: str) -> Evidence:
    """Read an edge table; see `Prior.from_edges`."""
    header, at = _header(table.columns)
    if not _is_edge_table(at):
        raise _no_columns(header, label)
    used: set[int] = set()

    def column(*names: str) -> pd.Series | None:
        for wanted in names:
            if wanted in at:
                if len(at[wanted]) > 1:
                    raise ValueError(
                        f"{label}: column {wanted!r} occurs {len(at[wanted])} times "
                        "(letter case does not count); keep one"
                    )
                used.add(at[wanted][0])
                return table.iloc[:, at[wanted][0]]
        return None

    source, target = column("source", "tf"), column("target")
    assert source is not None and target is not None
    weights, signs = column("weight", "score"), column("sign")
    if not len(table):
        raise ValueError(f"{label}: has no rows, so there is no edge; give at least one")
    regulators, s = codes(source, "source", label)
    targets, t = codes(target, "target", label)
    weight = np.ones(len(s)) if weights is None else _weights(weights, label)
    negative = weight < 0
    ignored = [
        header[i] for i in range(len(header)) if i not in used and not _UNNAMED.fullmatch(header[i])
    ]
    notes = []
    if ignored:
        shown = ", ".join(ignored[:_EXAMPLES]) + (", ..." if len(ignored) > _EXAMPLES else "")
        notes.append(f"{counted(len(ignored), 'other column')} ignored ({shown})")
    if signs is not None:
        sign = _signs(signs, label)
        against = negative & (sign >= 0)
        if against.any():
            row = int(np.argmax(against))
            raise ValueError(
                f"{label}: data row {row + 1:,} has weight {weight[row]:g} but sign "
                f"{sign[row]:d}; leave out the sign column, or write weights without a sign"
            )
    elif negative.any():
        sign = np.sign(weight).astype(np.int8)
        notes.append(f"signs taken from the weights ({int(negative.sum()):,} are negative)")
    else:
        sign = np.zeros(len(s), np.int8)
    return build(name, label, regulators, targets, s, t, np.abs(weight), sign, notes)


def of_base_grn(table: pd.DataFrame, name: str, label: str) -> Evidence:
    """Read a base GRN table; see `Prior.from_base_grn`."""
    header, at = _header(table.columns)
    if len(at.get("gene_short_name", ())) != 1:
        raise _no_columns(header, label)
    if not len(table):
        raise ValueError(f"{label}: has no rows, so there is no edge; give at least one")
    gene = at["gene_short_name"][0]
    aside = {gene, *at.get("peak_id", ())}
    columns = [
        i for i in range(len(header)) if i not in aside and not _UNNAMED.fullmatch(header[i])
    ]
    if not columns:
        raise ValueError(f"{label}: has no TF column; needs one 0/1 column per TF")
    genes, code = codes(table.iloc[:, gene], "gene_short_name", label)
    rows = [_ones(table.iloc[:, i], header[i], label) for i in columns]
    sizes = [len(row) for row in rows]
    if not sum(sizes):
        raise ValueError(f"{label}: every TF column is 0, so there is no edge; check the table")
    regulators, tf = np.unique([header[i] for i in columns], return_inverse=True)
    # Peaks of one gene say the same pair again: an OR, so no duplicates to note.
    key = distinct(np.sort(code[np.concatenate(rows)] * len(regulators) + np.repeat(tf, sizes)))
    t, s = np.divmod(key, len(regulators))
    notes = []
    without = len(regulators) - len(np.unique(s)), len(genes) - len(np.unique(t))
    if any(without):
        notes.append(
            f"{counted(without[0], 'TF')} and {counted(without[1], 'gene')} without a 1 left out"
        )
    weight, sign = np.ones(len(key)), np.zeros(len(key), np.int8)
    return build(name, label, regulators, genes, s, t, weight, sign, notes)


def build(
    name: str,
    label: str,
    regulators: np.ndarray,
    targets: np.ndarray,
    s: np.ndarray,
    t: np.ndarray,
    weight: np.ndarray,
    sign: np.ndarray,
    notes: list[str],
) -> Evidence:
    """Make a layer of codes: drop zeros, merge duplicates, keep the names that have edges."""
    keep = weight != 0
    if not keep.all():
        if not keep.any():
            raise ValueError(f"{label}: every weight is 0, so there is no edge; check the weights")
        s, t, weight, sign = s[keep], t[keep], weight[keep], sign[keep]
        notes.append(f"{counted(int((~keep).sum()), 'row')} of weight 0 dropped")
    key = t * len(regulators) + s
    order = np.argsort(key, kind="stable")
    key, weight, sign = key[order], weight[order], sign[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    if merged := len(key) - len(starts):
        up, down = np.maximum.reduceat(sign, starts), np.minimum.reduceat(sign, starts)
        conflict = int(((up > 0) & (down < 0)).sum())
        weight, key = np.maximum.reduceat(weight, starts), key[starts]
        sign = np.where(up > 0, up, 0) + np.where(down < 0, down, 0)
        notes.append(
            f"{counted(merged, 'duplicate row')} merged, the largest weight of a pair kept"
        )
        if conflict:
            notes.append(f"{counted(conflict, 'pair')} with conflicting signs, sign set to 0")
    t, s = np.divmod(key, len(regulators))
    has_edge = np.bincount(s, minlength=len(regulators)) > 0
    regulators, s = regulators[has_edge], (np.cumsum(has_edge) - 1)[s]
    has_edge = np.bincount(t, minlength=len(targets)) > 0
    targets, t = targets[has_edge], (np.cumsum(has_edge) - 1)[t]
    layer = layer_of(s, t, weight, sign)
    return Evidence(regulators, targets, layer, tuple(f"{name}: {note}" for note in notes))


def _header(columns: Iterable[object]) -> tuple[list[str], dict[str, list[int]]]:
    header = [str(column).strip() for column in columns]
    at: dict[str, list[int]] = {}
    for i, column in enumerate(header):
        at.setdefault(column.casefold(), []).append(i)
    return header, at


def _is_edge_table(at: Mapping[str, list[int]]) -> bool:
    return "target" in at and ("source" in at or "tf" in at)


def _no_columns(header: list[str], label: str) -> ValueError:
    advice = "rename the columns, or add a header line if there is none"
    if len(header) == 1:
        for mark, kind in (("\t", "tabs"), (",", "commas"), (";", "semicolons")):
            if mark in header[0]:
                advice = f"it looks separated by {kind}: .tsv is for tabs, .csv for commas"
                break
    return ValueError(f"{label}: found columns {listed(header, 8)}; needs {FORMS}; {advice}")


def codes(column: pd.Series, what: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Sorted names of a column, stripped, and the code of each row."""
    names, code = tables.names(column, f"{label}: {what}", strip=True)
    if (empty := code < 0).any():
        raise ValueError(
            f"{label}: the {what} name in data row {np.argmax(empty) + 1:,} is empty "
            f"({counted(int(empty.sum()), 'such row')}); fill it in or remove the row"
        )
    return names, code


def _weights(column: pd.Series, label: str) -> np.ndarray:
    values, _ = tables.numbers(column)
    if (bad := ~np.isfinite(values)).any():
        raise ValueError(
            f"{label}: the weight in {_first(column, bad)} "
            f"({counted(int(bad.sum()), 'such row')}), weights must be finite numbers; "
            "correct or remove it"
        )
    return values.astype(np.float64, copy=False)


def _signs(column: pd.Series, label: str) -> np.ndarray:
    values, bad = tables.signs(column)
    if (bad := bad | np.isnan(values)).any():
        raise ValueError(
            f"{label}: the sign in {_first(column, bad)}; write -1, 0 or 1 "
            "(or + and -), with 0 for unknown"
        )
    return values.astype(np.int8)


def _ones(column: pd.Series, tf: str, label: str) -> np.ndarray:
    """Rows where a TF column says 1."""
    values, _ = tables.numbers(column)
    if (bad := (values != 0) & (values != 1)).any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{label}: column {tf!r} holds {_shown(column, row)} in data row {row + 1:,}; "
            "the TF columns of a base GRN must hold 0 and 1: drop other columns, or write an edge "
            "table for weights"
        )
    return np.flatnonzero(values)


def _first(column: pd.Series, bad: np.ndarray) -> str:
    row = int(np.argmax(bad))
    return f"data row {row + 1:,} is {_shown(column, row)}"


def _shown(column: pd.Series, row: int) -> str:
    value = column.iloc[row]
    return repr(value.item() if isinstance(value, np.generic) else value)
