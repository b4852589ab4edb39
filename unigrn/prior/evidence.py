"""What a table says as evidence: an edge table or a matrix of genes and TFs, as names and codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from unigrn import edgelists, tables
from unigrn.check import counted, listed, shown

if TYPE_CHECKING:
    import pandas as pd

FORMS = "source,target[,weight[,sign]], or gene_short_name and a column for each TF"
_BINARY = ("yes", "no", "y", "n", "+", "-")  # words that mean 1 and 0


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
    """Read whichever form a table has; see `Prior.from_edges`, `from_base_grn`."""
    if edgelists.matrix_of(table):
        return of_matrix(table, name, label)
    return of_edges(edgelists.with_signs(table), name, label)


def of_edges(table: pd.DataFrame, name: str, label: str) -> Evidence:
    """Read an edge table; see `Prior.from_edges`."""
    at, found = edgelists.columns_of(table, label, ("source", "target", "weight", "sign"))
    if not {"source", "target"} <= at.keys():
        raise edgelists.no_columns(table.columns, label, FORMS)
    if not len(table):
        raise ValueError(f"{label}: has no rows, so there is no edge; give at least one")
    regulators, s = codes(table.iloc[:, at["source"]], "source", label)
    targets, t = codes(table.iloc[:, at["target"]], "target", label)
    weight, called = np.ones(len(s)), None
    if "weight" in at:
        weight = _weights(table.iloc[:, at["weight"]], label)
        called = edgelists.key_of(table.columns[at["weight"]])
        edgelists.check_forces(called, weight, label)
    notes = list(found)
    if "sign" in at:
        sign = _signs(table.iloc[:, at["sign"]], label)
        against = (weight < 0) & (sign >= 0)
        if against.any():
            row = int(np.argmax(against))
            raise ValueError(
                f"{label}: data row {row + 1:,} has weight {weight[row]:g} but sign "
                f"{sign[row]:d}; leave out the sign column, or write weights without a sign"
            )
    else:
        sign = _signs_of(weight, called in edgelists.SIGNED, notes)
    return build(name, label, regulators, targets, s, t, np.abs(weight), sign, notes)


def _signs_of(weight: np.ndarray, signed: bool, notes: list[str]) -> np.ndarray:
    """Signs of weights, where some are negative or all have one by their name; else 0."""
    negative = int((weight < 0).sum())
    if not (negative or signed):
        return np.zeros(len(weight), np.int8)
    notes.append(f"signs taken from the weights ({negative:,} are negative)")
    return np.sign(weight).astype(np.int8)


def of_matrix(table: pd.DataFrame, name: str, label: str) -> Evidence:
    """Read a matrix of genes and TFs, such as a base GRN table; see `Prior.from_base_grn`."""
    shape = edgelists.matrix_of(table)
    if shape is None:
        raise edgelists.no_columns(table.columns, label, FORMS)
    if not len(table):
        raise ValueError(f"{label}: has no rows, so there is no edge; give at least one")
    rows, place = shape
    header = [str(column).strip() for column in table.columns]
    base_grn = edgelists.key_of(header[place]) == "gene_short_name"
    side = "TF" if rows == "target" else "gene"
    columns, values, aside = [], [], []
    for i, column in enumerate(header):
        if i == place or edgelists.is_unnamed(column):
            continue
        key = edgelists.key_of(column)
        if key in edgelists.ASIDE or (number := _cells(table.iloc[:, i], column, label)) is None:
            aside += [column] * (key != "peak_id")
            continue
        columns.append(column)
        values.append(number)
    if not columns and not base_grn:
        raise edgelists.no_columns(table.columns, label, FORMS)
    if not columns:
        raise ValueError(
            f"{label}: has no {side} column; needs a column of numbers for each {side}"
        )
    names, code = codes(table.iloc[:, place], header[place], label)
    at = [np.flatnonzero(number) for number in values]
    sizes = [len(row) for row in at]
    if not sum(sizes):
        raise ValueError(f"{label}: every {side} column is 0, so there is no edge; check the table")
    others, other = np.unique(columns, return_inverse=True)
    row, column = code[np.concatenate(at)], np.repeat(other, sizes)
    weight = np.concatenate([number[where] for number, where in zip(values, at, strict=True)])
    what = "gene" if rows == "target" else "TF"
    notes = edgelists.ignored(aside)
    notes.insert(0, f"a matrix with {what}s in rows ({shown(header[place])}), {side}s in columns")
    if base_grn:
        notes = notes[1:]
        if (weight != 1).any():
            notes.append("numbers other than 0 count as 1")
        # Peaks of one gene say the same pair again: an OR, so no duplicates to note.
        key = distinct(np.sort(row * len(others) + column))
        row, column = np.divmod(key, len(others))
        weight = np.ones(len(key))
    without = len(others) - len(np.unique(column)), len(names) - len(np.unique(row))
    if any(without):
        notes.append(
            f"{counted(without[0], side)} and {counted(without[1], what)} without a 1 left out"
        )
    sign = _signs_of(weight, False, notes)
    ends = (others, names, column, row) if rows == "target" else (names, others, row, column)
    return build(name, label, *ends, np.abs(weight), sign, notes)


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


def _cells(column: pd.Series, name: str, label: str) -> np.ndarray | None:
    """Numbers of a column of a matrix; None where it is text beside the matrix."""
    values, wrong = tables.flags(column)
    if wrong.all() and not column.astype(str).str.strip().str.casefold().isin(_BINARY).any():
        return None
    if (bad := ~np.isfinite(values)).any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{label}: column {listed([name])} holds {_shown(column, row)} in data row "
            f"{row + 1:,}; the columns of a matrix must hold numbers, 0 for no edge: drop other "
            "columns, or write an edge table"
        )
    return values.astype(np.float64, copy=False)


def _first(column: pd.Series, bad: np.ndarray) -> str:
    row = int(np.argmax(bad))
    return f"data row {row + 1:,} is {_shown(column, row)}"


def _shown(column: pd.Series, row: int) -> str:
    value = column.iloc[row]
    if isinstance(value, str):
        return listed([value])
    return shown(repr(value.item() if isinstance(value, np.generic) else value))
