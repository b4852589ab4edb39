"""Prior evidence: which regulator may act on which target, how strongly, and with which sign.

A `Prior` holds one `Layer` of edges per evidence source (motifs, ChIP, a database), over its own
names. `resolve` meets those names with the measured genes and writes down what was lost;
`Prior.align` turns the evidence into arrays for a chosen order of regulators and targets.
`read_prior` reads edge tables and base GRN tables.

Names are compared exactly: no folding of case, no stripping of version suffixes. Where that would
have matched more names, the report or the error says so.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AlignedPrior",
    "AlignmentError",
    "AlignmentReport",
    "Entry",
    "Layer",
    "Prior",
    "read_prior",
    "resolve",
]

_EXAMPLES = 5  # names shown per line of a report
_LEAST_OVERLAP = 0.05  # below this share, prior and data speak different vocabularies
_WORTH_A_HINT = 0.05  # extra share of names that another spelling must bring
_UNNAMED = re.compile(r"(unnamed: \d+)?", re.IGNORECASE)
_VERSION = re.compile(r"\.\d+$")
_ENSEMBL = re.compile(r"ENS[A-Z]{0,4}G\d{6,}")
_FORMS = (
    "source,target[,weight[,sign]] (or tf,target[,score]), or a base GRN table with "
    "gene_short_name and one 0/1 column per TF"
)


class AlignmentError(ValueError):
    """The names of the prior, or the names asked for, are not those of the measured genes."""


# --- the prior -----------------------------------------------------------------------------------


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


@dataclass(frozen=True, eq=False)
class AlignedPrior:
    """A prior over chosen regulators and targets, compressed by target.

    The candidates of target j are `index[indptr[j]:indptr[j + 1]]`, ascending.

    Attributes
    ----------
    indptr : (p + 1,) int64
        Where the candidates of each target begin and end.
    index : (nnz,) int32
        Positions of the candidate regulators.
    weight : (nnz,) float64
        Sum of the layers' weights.
    sign : (nnz,) int8
        The sign the layers agree on; 0 where they disagree or give none.
    layers : dict of str to (nnz,) float64
        Weight of each layer; 0 where it has no such edge.
    n_regulators : int
        q, the number of regulators that `index` points into.
    """

    indptr: np.ndarray
    index: np.ndarray
    weight: np.ndarray
    sign: np.ndarray
    layers: dict[str, np.ndarray]
    n_regulators: int

    @property
    def target(self) -> np.ndarray:
        """Position of the target of each edge, (nnz,) int32."""
        return np.repeat(np.arange(len(self.indptr) - 1, dtype=np.int32), np.diff(self.indptr))

    def dense(self, values: np.ndarray | None = None) -> np.ndarray:
        """Return a (regulators, targets) matrix of `weight`, or of other values per edge.

        Parameters
        ----------
        values : (nnz,) array, optional
            What to write, such as `sign` or `layers["motif"]`. Default: `weight`.

        Returns
        -------
        (q, p) array
            Zero where the prior has no edge; the dtype is that of the values.
        """
        values = self.weight if values is None else np.asarray(values)
        matrix = np.zeros((self.n_regulators, len(self.indptr) - 1), dtype=values.dtype)
        matrix[self.index, self.target] = values
        return matrix

    def support(self) -> np.ndarray:
        """Return the (regulators, targets) mask: True where the prior has an edge."""
        return self.dense(np.ones(len(self.index), dtype=bool))


@dataclass(frozen=True, repr=False, eq=False)
class Prior:
    """Evidence on which regulator acts on which target, one layer per source.

    Build it with `from_edges`, `from_dict`, `from_base_grn` or `read_prior`; join several with
    `combine`.

    Attributes
    ----------
    regulators : (q,) str, sorted
        Every source of an edge.
    targets : (p,) str, sorted
        Every target of an edge.
    layers : dict of str to Layer
        One per source of evidence, in the order given.
    notes : tuple of str
        What building dropped, merged or ignored.

    Examples
    --------
    >>> Prior.from_dict({"KLF1": ["GATA1", "TAL1"], "SPI1": ["GATA1"]}, name="motif")
    Prior(2 regulators, 2 targets, 3 edges; layers: motif)
    """

    regulators: np.ndarray
    targets: np.ndarray
    layers: dict[str, Layer]
    notes: tuple[str, ...] = ()

    @classmethod
    def from_edges(cls, edges: pd.DataFrame, name: str = "prior") -> Prior:
        """Build a prior of one layer from a table of edges.

        Parameters
        ----------
        edges : pandas.DataFrame
            One edge per row. Columns `source` or `tf`; `target`; optionally `weight` or `score`
            (1 without it); optionally `sign` (-1, 0, 1, "+", "-"). Letter case of the header does
            not matter; other columns are ignored and noted. Without a sign column, negative
            weights make the weights signed: weight |w|, sign of w. Of a repeated pair the largest
            weight stays, and signs that conflict become 0. Rows of weight 0 are no edges.
            Self-edges stay.
        name : str
            Name of the layer.

        Returns
        -------
        Prior

        Raises
        ------
        ValueError
            For missing or doubled columns, no rows, no edge of nonzero weight, an empty name, a
            weight that is not a finite number, another sign, or a sign that contradicts its
            negative weight.

        Examples
        --------
        >>> import pandas as pd
        >>> table = pd.DataFrame({"tf": ["GATA1", "TAL1"], "target": "KLF1", "score": [2, -1]})
        >>> Prior.from_edges(table).edges["sign"].tolist()
        [1, -1]
        """
        label = f"prior {_layer_name(name)!r}"
        return _from_edge_table(_table(edges, label, "from_dict for a dictionary"), name, label)

    @classmethod
    def from_dict(cls, candidates: Mapping[str, Iterable[str]], name: str = "prior") -> Prior:
        """Build a prior of one layer from the candidate regulators of each target.

        Parameters
        ----------
        candidates : mapping of str to iterable of str
            Target to its regulators (CellOracle calls this a TFdict). Weights are 1, signs 0.
        name : str
            Name of the layer.

        Returns
        -------
        Prior

        Raises
        ------
        ValueError
            For something else than a mapping to lists of names, an empty name, or no edge.
        """
        import pandas as pd

        label = f"prior {_layer_name(name)!r}"
        if not isinstance(candidates, Mapping):
            raise ValueError(
                f"{label}: needs a dictionary of target to its regulators, "
                f"got {type(candidates).__name__}; use from_edges for a table"
            )
        lists = []
        for target, regulators in candidates.items():
            if isinstance(regulators, str | bytes) or not isinstance(regulators, Iterable):
                raise ValueError(
                    f"{label}: target {target!r} needs a list of regulators, got {regulators!r}; "
                    "write a list also for a single name"
                )
            lists.append(list(regulators))
        sizes = np.array([len(regulators) for regulators in lists], dtype=np.int64)
        if not sizes.sum():
            raise ValueError(f"{label}: has no edge; give at least one target with a regulator")
        flat = pd.Series(list(chain.from_iterable(lists)), dtype=object)
        sources, s = _codes(flat, "source", label)
        names, codes = _codes(pd.Series(list(candidates), dtype=object), "target", label)
        notes = []
        if empty := int((sizes == 0).sum()):
            notes.append(f"{_count(empty, 'target')} without a regulator left out")
        t = np.repeat(codes, sizes)
        one = np.ones(len(s))
        return _build(name, label, sources, names, s, t, one, np.zeros(len(s), np.int8), notes)

    @classmethod
    def from_base_grn(cls, table: pd.DataFrame, name: str = "prior") -> Prior:
        """Build a prior of one layer from a base GRN table.

        Parameters
        ----------
        table : pandas.DataFrame
            Column `gene_short_name`, usually `peak_id`, and one 0/1 column per TF. A gene has a TF
            as candidate if any of its rows says 1. An unnamed index column is dropped.
        name : str
            Name of the layer.

        Returns
        -------
        Prior
            Weights 1, signs 0.

        Raises
        ------
        ValueError
            Without `gene_short_name`, without TF columns, without rows, without a 1, for an empty
            name, or for a TF column with other values than 0 and 1 (the message names it).
        """
        label = f"prior {_layer_name(name)!r}"
        return _from_base_grn_table(_table(table, label, "from_dict for a TFdict"), name, label)

    @classmethod
    def combine(cls, priors: Iterable[Prior]) -> Prior:
        """Join priors into one that has all their layers.

        Parameters
        ----------
        priors : iterable of Prior
            Their layer names must differ.

        Returns
        -------
        Prior
            Over the union of the names.

        Raises
        ------
        ValueError
            For no prior, or for a layer name that occurs twice.
        """
        priors = list(priors)
        if not priors:
            raise ValueError("combine needs at least one prior, got none")
        regulators = np.unique(np.concatenate([prior.regulators for prior in priors]))
        targets = np.unique(np.concatenate([prior.targets for prior in priors]))
        layers: dict[str, Layer] = {}
        for prior in priors:
            # Both vocabularies are sorted, so the codes keep their order and the edges theirs.
            r = np.searchsorted(regulators, prior.regulators).astype(np.int32)
            t = np.searchsorted(targets, prior.targets).astype(np.int32)
            for name, layer in prior.layers.items():
                if name in layers:
                    raise ValueError(
                        f"two prior layers are named {name!r}; give each its own name "
                        "(name= in Python, NAME=PATH for files)"
                    )
                layers[name] = _layer(r[layer.source], t[layer.target], layer.weight, layer.sign)
        notes = tuple(chain.from_iterable(prior.notes for prior in priors))
        return cls(regulators, targets, layers, notes)

    @cached_property
    def _whole(self) -> AlignedPrior:
        return self.align(self.regulators, self.targets)

    @property
    def n_edges(self) -> int:
        """Number of distinct (source, target) pairs over all layers, self-edges included."""
        return len(self._whole.index)

    @property
    def edges(self) -> pd.DataFrame:
        """One row per edge and layer: layer, source, target, weight, sign."""
        import pandas as pd

        names = list(self.layers)
        sizes = [len(layer.source) for layer in self.layers.values()]
        regulators, targets = self.regulators.astype(object), self.targets.astype(object)
        parts = list(self.layers.values())
        return pd.DataFrame(
            {
                "layer": np.repeat(np.array(names, dtype=object), sizes),
                "source": np.concatenate([regulators[part.source] for part in parts]),
                "target": np.concatenate([targets[part.target] for part in parts]),
                "weight": np.concatenate([part.weight for part in parts]),
                "sign": np.concatenate([part.sign for part in parts]),
            }
        )

    def union(self) -> Layer:
        """Merge the layers: weights add up, signs that disagree become 0."""
        whole = self._whole
        return Layer(whole.index, whole.target, whole.weight, whole.sign)

    def support(self) -> np.ndarray:
        """Return the (regulators, targets) mask over the prior's own names: True at an edge."""
        return self._whole.support()

    def align(self, regulators: Sequence[str], targets: Sequence[str]) -> AlignedPrior:
        """Arrange the prior for given names, compressed by target.

        Parameters
        ----------
        regulators : (q,) names
            In any order. Names that the prior lacks have no edges.
        targets : (p,) names
            In any order, likewise.

        Returns
        -------
        AlignedPrior
            Edges whose two ends were given; weights summed over layers; self-edges included.

        Raises
        ------
        ValueError
            For a name given twice.

        Examples
        --------
        >>> prior = Prior.from_dict({"KLF1": ["GATA1", "TAL1"], "SPI1": ["GATA1"]})
        >>> prior.align(["TAL1", "GATA1"], ["SPI1", "KLF1"]).dense()
        array([[0., 1.],
               [1., 1.]])
        """
        regulators, targets = _names(regulators, "regulators"), _names(targets, "targets")
        q, p = len(regulators), len(targets)
        row, column = _places(self.regulators, regulators), _places(self.targets, targets)
        keys, weights, signs = [], [], []
        for layer in self.layers.values():
            s, t = row[layer.source], column[layer.target]
            keep = (s >= 0) & (t >= 0)
            key = t[keep] * q + s[keep]
            weight, sign = layer.weight[keep], layer.sign[keep]
            if not np.all(key[1:] > key[:-1]):
                order = np.argsort(key)
                key, weight, sign = key[order], weight[order], sign[order]
            keys.append(key)
            weights.append(weight)
            signs.append(sign)
        if len(keys) == 1:
            key = keys[0]
        else:
            # Timsort merges the sorted runs; np.unique would hash, ten times slower.
            key = _distinct(np.sort(np.concatenate(keys), kind="stable"))
        total = np.zeros(len(key))
        up, down = np.zeros(len(key), np.int8), np.zeros(len(key), np.int8)
        layers = {}
        for name, own, weight, sign in zip(self.layers, keys, weights, signs, strict=True):
            at = np.searchsorted(key, own) if len(keys) > 1 else slice(None)
            layers[name] = np.zeros(len(key))
            layers[name][at] = weight
            total += layers[name]
            up[at] = np.maximum(up[at], sign)
            down[at] = np.minimum(down[at], sign)
        target, index = np.divmod(key, max(q, 1))
        indptr = np.zeros(p + 1, np.int64)
        np.cumsum(np.bincount(target, minlength=p), out=indptr[1:])
        # +1 beside -1 cancels; beside 0 either stays.
        return AlignedPrior(indptr, index.astype(np.int32), total, up + down, layers, q)

    def __repr__(self) -> str:
        """Sizes and the names of the layers."""
        return (
            f"Prior({_count(len(self.regulators), 'regulator')}, "
            f"{_count(len(self.targets), 'target')}, {_count(self.n_edges, 'edge')}; "
            f"layers: {', '.join(self.layers)})"
        )


# --- building ------------------------------------------------------------------------------------


def _distinct(values: np.ndarray) -> np.ndarray:
    """Distinct values of a sorted array."""
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def _layer_name(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"the name of a prior layer must be a non-empty text, got {name!r}")
    return name


def _table(table: pd.DataFrame, label: str, instead: str) -> pd.DataFrame:
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise ValueError(
            f"{label}: needs a pandas DataFrame, got {type(table).__name__}; use {instead}"
        )
    return table


def _layer(source: np.ndarray, target: np.ndarray, weight: np.ndarray, sign: np.ndarray) -> Layer:
    arrays = (
        np.asarray(source, np.int32),
        np.asarray(target, np.int32),
        np.asarray(weight, np.float64),
        np.asarray(sign, np.int8),
    )
    for array in arrays:
        array.setflags(write=False)
    return Layer(*arrays)


def _build(
    name: str,
    label: str,
    regulators: np.ndarray,
    targets: np.ndarray,
    s: np.ndarray,
    t: np.ndarray,
    weight: np.ndarray,
    sign: np.ndarray,
    notes: list[str],
) -> Prior:
    """Make the prior from codes: drop zeros, merge duplicates, keep the names that have edges."""
    keep = weight != 0
    if not keep.all():
        if not keep.any():
            raise ValueError(f"{label}: every weight is 0, so there is no edge; check the weights")
        s, t, weight, sign = s[keep], t[keep], weight[keep], sign[keep]
        notes.append(f"{_count(int((~keep).sum()), 'row')} of weight 0 dropped")
    key = t * len(regulators) + s
    order = np.argsort(key, kind="stable")
    key, weight, sign = key[order], weight[order], sign[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    if merged := len(key) - len(starts):
        up, down = np.maximum.reduceat(sign, starts), np.minimum.reduceat(sign, starts)
        conflict = int(((up > 0) & (down < 0)).sum())
        weight, key = np.maximum.reduceat(weight, starts), key[starts]
        sign = np.where(up > 0, up, 0) + np.where(down < 0, down, 0)
        notes.append(f"{_count(merged, 'duplicate row')} merged, the largest weight of a pair kept")
        if conflict:
            notes.append(f"{_count(conflict, 'pair')} with conflicting signs, sign set to 0")
    t, s = np.divmod(key, len(regulators))
    has_edge = np.bincount(s, minlength=len(regulators)) > 0
    regulators, s = regulators[has_edge], (np.cumsum(has_edge) - 1)[s]
    has_edge = np.bincount(t, minlength=len(targets)) > 0
    targets, t = targets[has_edge], (np.cumsum(has_edge) - 1)[t]
    layer = _layer(s, t, weight, sign)
    return Prior(regulators, targets, {name: layer}, tuple(f"{name}: {note}" for note in notes))


def _codes(column: pd.Series, what: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Sorted names of a column, stripped, and the code of each row."""
    import pandas as pd

    codes, values = pd.factorize(column)
    names = []
    for value in values:
        if isinstance(value, str):
            names.append(value.strip())
        elif isinstance(value, int | np.integer) and not isinstance(value, bool):
            names.append(str(value))
        else:
            raise ValueError(
                f"{label}: {what} {value!r} is {type(value).__name__}, names must be text; "
                "read that column as text"
            )
    names = np.array(names, dtype=str)
    empty = codes < 0
    if (names == "").any():
        empty |= np.isin(codes, np.flatnonzero(names == ""))
    if empty.any():
        raise ValueError(
            f"{label}: the {what} name in data row {np.argmax(empty) + 1:,} is empty "
            f"({_count(int(empty.sum()), 'such row')}); fill it in or remove the row"
        )
    names, inverse = np.unique(names, return_inverse=True)
    return names, inverse[codes].astype(np.int64)


def _weights(column: pd.Series, label: str) -> np.ndarray:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        try:
            # float() of each text is exact, unlike pandas' own parser.
            values = column.to_numpy(dtype=object, na_value=np.nan).astype(np.float64)
        except (TypeError, ValueError):
            values = np.array([_float(value) for value in column])
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{label}: the weight in data row {row + 1:,} is {_shown(column.iloc[row])} "
            f"({_count(int(bad.sum()), 'such row')}), weights must be finite numbers; "
            "correct or remove it"
        )
    return values


def _float(value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _signs(column: pd.Series, label: str) -> np.ndarray:
    import pandas as pd

    codes, values = pd.factorize(column)
    signs = []
    for code, value in enumerate(values):
        text = value.strip() if isinstance(value, str) else value
        number = {"+": 1.0, "-": -1.0}.get(text) if isinstance(text, str) else None
        number = _float(text) if number is None else number
        if number not in (-1, 0, 1):
            _bad_sign(value, int(np.argmax(codes == code)), label)
        signs.append(int(number))
    if (codes < 0).any():
        _bad_sign("missing", int(np.argmax(codes < 0)), label)
    return np.array(signs, dtype=np.int8)[codes]


def _bad_sign(value: object, row: int, label: str) -> None:
    raise ValueError(
        f"{label}: the sign in data row {row + 1:,} is {_shown(value)}; write -1, 0 or 1 "
        "(or + and -), with 0 for unknown"
    )


def _header(columns: Iterable[object]) -> tuple[list[str], dict[str, list[int]]]:
    header = [str(column).strip() for column in columns]
    at: dict[str, list[int]] = {}
    for i, column in enumerate(header):
        at.setdefault(column.casefold(), []).append(i)
    return header, at


def _is_edge_table(at: Mapping[str, list[int]]) -> bool:
    return "target" in at and ("source" in at or "tf" in at)


def _no_columns(header: list[str], label: str) -> ValueError:
    found = ", ".join(repr(column) for column in header[:8]) + (", ..." if len(header) > 8 else "")
    advice = "rename the columns, or add a header line if there is none"
    if len(header) == 1:
        for mark, kind in (("\t", "tabs"), (",", "commas"), (";", "semicolons")):
            if mark in header[0]:
                advice = f"it looks separated by {kind}: .tsv is for tabs, .csv for commas"
                break
    return ValueError(f"{label}: found columns {found or 'none'}; needs {_FORMS}; {advice}")


def _from_edge_table(table: pd.DataFrame, name: str, label: str) -> Prior:
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
    weights, signs = column("weight", "score"), column("sign")
    if not len(table):
        raise ValueError(f"{label}: has no rows, so there is no edge; give at least one")
    regulators, s = _codes(source, "source", label)
    targets, t = _codes(target, "target", label)
    weight = np.ones(len(s)) if weights is None else _weights(weights, label)
    negative = weight < 0
    ignored = [
        header[i] for i in range(len(header)) if i not in used and not _UNNAMED.fullmatch(header[i])
    ]
    notes = []
    if ignored:
        shown = ", ".join(ignored[:_EXAMPLES]) + (", ..." if len(ignored) > _EXAMPLES else "")
        notes.append(f"{_count(len(ignored), 'other column')} ignored ({shown})")
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
    return _build(name, label, regulators, targets, s, t, np.abs(weight), sign, notes)


def _from_base_grn_table(table: pd.DataFrame, name: str, label: str) -> Prior:
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
    genes, code = _codes(table.iloc[:, gene], "gene_short_name", label)
    rows = [_ones(table.iloc[:, i], header[i], label) for i in columns]
    sizes = [len(row) for row in rows]
    if not sum(sizes):
        raise ValueError(f"{label}: every TF column is 0, so there is no edge; check the table")
    regulators, tf = np.unique([header[i] for i in columns], return_inverse=True)
    # Peaks of one gene say the same pair again: an OR, so no duplicates to note.
    key = _distinct(np.sort(code[np.concatenate(rows)] * len(regulators) + np.repeat(tf, sizes)))
    t, s = np.divmod(key, len(regulators))
    notes = []
    without = len(regulators) - len(np.unique(s)), len(genes) - len(np.unique(t))
    if any(without):
        notes.append(
            f"{_count(without[0], 'TF')} and {_count(without[1], 'gene')} without a 1 left out"
        )
    one = np.ones(len(key))
    return _build(name, label, regulators, genes, s, t, one, np.zeros(len(key), np.int8), notes)


def _ones(column: pd.Series, tf: str, label: str) -> np.ndarray:
    """Rows where a TF column says 1."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = np.array([_float(value) for value in column])
    bad = (values != 0) & (values != 1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{label}: column {tf!r} holds {_shown(column.iloc[row])} in data row {row + 1:,}; "
            "the TF columns of a base GRN must hold 0 and 1: drop other columns, or write an edge "
            "table for weights"
        )
    return np.flatnonzero(values)


# --- reading -------------------------------------------------------------------------------------


def read_prior(source: str | os.PathLike | Iterable[str | os.PathLike]) -> Prior:
    """Read a prior from one file, or from several as one layer each.

    Parameters
    ----------
    source : path, "NAME=PATH", or a list of them
        Files `.tsv` or `.csv` (both also with `.gz`) or `.parquet`. Columns as in
        `Prior.from_edges`, or a base GRN table as in `Prior.from_base_grn`. NAME names the layer;
        by default the file's name without its suffixes. A text that is the path of an existing
        file is a path, whatever "=" it holds. Names are read as text: a gene may be called "NA".

    Returns
    -------
    Prior

    Raises
    ------
    ValueError
        For a missing or unreadable file, another suffix, other columns, no rows, two layers of
        one name, and whatever `from_edges` and `from_base_grn` refuse. The message names the file.
    """
    if isinstance(source, str | os.PathLike):
        source = [source]
    source = list(source)
    if not source:
        raise ValueError("no prior file given; name at least one")
    named = [_name_and_path(item) for item in source]
    seen: dict[str, Path] = {}
    for name, path in named:
        if name in seen:
            raise ValueError(
                f"two prior layers are named {name!r} ({seen[name]} and {path}); "
                "give each its own name as NAME=PATH"
            )
        seen[name] = path
    priors = [_read(name, path) for name, path in named]
    return priors[0] if len(priors) == 1 else Prior.combine(priors)


def _name_and_path(item: str | os.PathLike) -> tuple[str, Path]:
    path, name = Path(item), None
    if isinstance(item, str) and "=" in item and not path.exists():
        before, _, after = item.partition("=")
        if not re.search(r"[/\\]", before):  # else the "=" belongs to a folder or file name
            name, path = before.strip(), Path(after)
            if not name or not after.strip():
                raise ValueError(f"prior {item!r} lacks a name or a path; write NAME=PATH or PATH")
    return name or _format(path)[0], path


def _format(path: Path) -> tuple[str, str]:
    """Name without suffixes, and the suffix that says the format."""
    found = re.fullmatch(r"(.+?)(\.(?:tsv|csv)(?:\.gz)?|\.parquet)", path.name, re.IGNORECASE)
    if not found:
        raise ValueError(
            f"prior {str(path)!r} has the wrong suffix; needs .tsv, .csv (also .gz) or .parquet"
        )
    return found[1], found[2].lower()


def _read(name: str, path: Path) -> Prior:
    import pandas as pd

    label = f"prior {str(path)!r}"
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(f"{label} {what}; give the path of a prior file")
    suffix = _format(path)[1]
    try:
        table = _read_parquet(path) if suffix == ".parquet" else _read_text(path, suffix, label)
    except pd.errors.EmptyDataError:
        raise ValueError(f"{label}: has no rows, so there is no edge; give at least one") from None
    except (
        OSError,
        EOFError,
        zlib.error,
        UnicodeDecodeError,
        csv.Error,
        pd.errors.ParserError,
    ) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{label} cannot be read as {suffix}: {reason}; write it anew") from error
    at = _header(table.columns)[1]
    read = _from_base_grn_table if not _is_edge_table(at) else _from_edge_table
    return read(table, name, label)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # One file, not a data set: folders named KEY=VALUE must not become columns.
        with pq.ParquetFile(path) as file:
            table = file.read().to_pandas()
    except pa.ArrowException as error:
        raise OSError(str(error)) from error
    return table.reset_index() if table.index.name is not None else table


def _read_text(path: Path, suffix: str, label: str) -> pd.DataFrame:
    import pandas as pd

    sep = "\t" if suffix.startswith(".tsv") else ","
    opened: Callable = gzip.open if suffix.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        # The header is read apart: pandas would rename doubled columns and guess an index.
        columns = next((row for row in csv.reader(file, delimiter=sep) if any(row)), None)
        if columns is None:
            raise ValueError(f"{label}: is empty; needs {_FORMS}")
        header, at = _header(columns)
        if _is_edge_table(at):
            dtype = str
        elif "gene_short_name" in at:
            dtype = {i: str for i in at["gene_short_name"] + at.get("peak_id", [])}
        else:
            raise _no_columns(header, label)
        table = pd.read_csv(
            file, sep=sep, header=None, dtype=dtype, na_filter=False, low_memory=False
        )
    if table.shape[1] != len(header):
        raise ValueError(
            f"{label}: the header has {len(header)} columns, the rows have {table.shape[1]}; "
            "give every column a name (row names too, or leave them out)"
        )
    table.columns = columns
    return table


# --- names meet the data -------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One finding about names or edges.

    Attributes
    ----------
    kind : str
        A stable short name, see `resolve`.
    count : int
        How many names, edges or notes it is about.
    message : str
        The finding in one line.
    examples : tuple of str
        A few of the names or edges.
    """

    kind: str
    count: int
    message: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Message and examples."""
        if not self.examples:
            return self.message
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.message} ({', '.join(self.examples)}{more})"


# Kinds of entries whose figures the summary's line has too.
_SUMMED = ("regulators measured", "targets measured", "edges used")


@dataclass(frozen=True)
class AlignmentReport:
    """What became of the prior's names and edges, the summary first.

    Examples
    --------
    >>> report = AlignmentReport().add("constant genes", 2, "2 genes are constant", ["A", "B"])
    >>> print(report)
    2 genes are constant (A, B)
    """

    entries: tuple[Entry, ...] = ()

    def add(
        self, kind: str, count: int, message: str, examples: Iterable[str] = ()
    ) -> AlignmentReport:
        """Return a report with one more entry; at most five examples are kept."""
        shown = tuple(str(example) for _, example in zip(range(_EXAMPLES), examples, strict=False))
        return AlignmentReport((*self.entries, Entry(kind, int(count), message, shown)))

    def count(self, kind: str) -> int:
        """Sum of the counts of one kind; 0 where there is no such entry."""
        return sum(entry.count for entry in self.entries if entry.kind == kind)

    def lines(self) -> list[str]:
        """One line per entry, without those that count nothing or that the summary has said."""
        said = _SUMMED if any(entry.kind == "summary" for entry in self.entries) else ()
        return [
            str(entry)
            for entry in self.entries
            if entry.kind == "summary" or (entry.count > 0 and entry.kind not in said)
        ]

    def to_dict(self) -> dict:
        """Return every entry, also those that count nothing, in plain types for JSON."""
        return {
            "entries": [
                {
                    "kind": entry.kind,
                    "count": entry.count,
                    "message": entry.message,
                    "examples": list(entry.examples),
                }
                for entry in self.entries
            ]
        }

    def __str__(self) -> str:
        """Return the lines as one text."""
        return "\n".join(self.lines())


def resolve(
    prior: Prior,
    genes: Sequence[str],
    regulators: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    hard_mask: bool = True,
    self_edges: bool = False,
) -> tuple[np.ndarray, np.ndarray, AlignmentReport]:
    """Decide which regulators and targets enter a fit, and say what was lost on the way.

    The kinds of the report's entries, in order: "summary"; "regulators measured", "regulators
    not measured"; the same two for targets; "genes without prior edge" (as its target);
    where names were asked for, "requested regulators not measured", "requested regulators without
    prior edge", "requested targets not measured"; with a hard mask "target without candidates";
    "edges used", "edges dropped: source not measured", "edges dropped: target not measured",
    "edges dropped: self-edge", "edges dropped: not requested" (an edge counts under the first that
    applies, over distinct pairs, so that the five add up to `prior.n_edges`); "hint"; "note" for
    each of the prior's own notes.

    Parameters
    ----------
    prior : Prior
    genes : (g,) names
        The measured genes, each once.
    regulators : names, optional
        Default: the prior's regulators that are measured.
    targets : names, optional
        Default: with a hard mask the prior's targets that are measured, otherwise every gene.
    hard_mask : bool
        Whether the method allows only the prior's edges.
    self_edges : bool
        Whether the method allows a gene to regulate itself; otherwise such edges are dropped.

    Returns
    -------
    regulators : (q,) str, sorted
    targets : (p,) str, sorted
    report : AlignmentReport

    Raises
    ------
    AlignmentError
        When no regulator of the prior is measured; with a hard mask, no target; when fewer than
        5 % of the prior's names are measured and these are fewer than 5 % of the genes; or when
        nothing that was asked for is measured. The message shows names of both sides and says
        whether letter case, version suffixes, Ensembl identifiers against symbols, or swapped
        columns explain it.
    """
    genes = np.unique(_text(genes, "genes"))
    if not len(genes):
        raise ValueError("no measured gene given; the data need at least one named gene")
    sources_in, targets_in = np.isin(prior.regulators, genes), np.isin(prior.targets, genes)
    names = np.union1d(prior.regulators, prior.targets)
    _check_overlap(prior, names, genes, sources_in, targets_in, hard_mask)

    asked_regulators = None if regulators is None else _requested(regulators, "regulators")
    asked_targets = None if targets is None else _requested(targets, "targets")
    default_targets = prior.targets[targets_in] if hard_mask else genes
    chosen_regulators = _chosen(asked_regulators, prior.regulators[sources_in], genes, "regulators")
    chosen_targets = _chosen(asked_targets, default_targets, genes, "targets")

    edges = prior.union()
    lost_source, lost_target = ~sources_in[edges.source], ~targets_in[edges.target]
    self_edge = _places(prior.regulators, prior.targets)[edges.source] == edges.target
    self_edge &= not self_edges
    asked = np.isin(prior.regulators, chosen_regulators)[edges.source]
    asked &= np.isin(prior.targets, chosen_targets)[edges.target]
    fate = np.select([lost_source, lost_target, self_edge, ~asked], [1, 2, 3, 4], default=0)
    used = fate == 0

    report = AlignmentReport().add(
        "summary",
        used.sum(),
        f"prior: {sources_in.sum():,} of {_count(len(sources_in), 'regulator')} and "
        f"{targets_in.sum():,} of {_count(len(targets_in), 'target')} are measured; "
        f"{used.sum():,} of {_count(len(used), 'edge')} usable",
    )
    for what, own, measured in (
        ("regulators", prior.regulators, sources_in),
        ("targets", prior.targets, targets_in),
    ):
        whole = f"{what} in the prior"
        report = _add(report, f"{what} measured", own[measured], own, whole, "measured", show=False)
        report = _add(report, f"{what} not measured", own[~measured], own, whole, "not measured")
    untouched = genes[~np.isin(genes, prior.targets)]
    kind, text = "genes without prior edge", "the target of no prior edge"
    report = _add(report, kind, untouched, genes, "measured genes", text)
    if asked_regulators is not None:
        whole = "requested regulators"
        missing = asked_regulators[~np.isin(asked_regulators, genes)]
        kind = f"{whole} not measured"
        report = _add(report, kind, missing, asked_regulators, whole, "not measured")
        unknown = chosen_regulators[~np.isin(chosen_regulators, prior.regulators)]
        kind, text = f"{whole} without prior edge", "the source of no prior edge"
        report = _add(report, kind, unknown, asked_regulators, whole, text)
    if asked_targets is not None:
        missing = asked_targets[~np.isin(asked_targets, genes)]
        whole = "requested targets"
        kind = f"{whole} not measured"
        report = _add(report, kind, missing, asked_targets, whole, "not measured")
    if hard_mask:
        reached = prior.targets[np.bincount(edges.target[used], minlength=len(prior.targets)) > 0]
        alone = chosen_targets[~np.isin(chosen_targets, reached)]
        whole = "targets" if asked_targets is None else "requested targets"
        text = "without a candidate regulator in the prior, so no edge can be found"
        report = _add(report, "target without candidates", alone, chosen_targets, whole, text)
    for code, kind in enumerate(
        (
            "edges used",
            "edges dropped: source not measured",
            "edges dropped: target not measured",
            "edges dropped: self-edge",
            "edges dropped: not requested",
        )
    ):
        which = np.flatnonzero(fate == code)
        pairs = [
            f"{prior.regulators[edges.source[i]]} -> {prior.targets[edges.target[i]]}"
            for i in which[: _EXAMPLES if code else 0]
        ]
        text = f"{_count(len(which), 'prior edge')} {kind.removeprefix('edges ')}"
        report = report.add(kind, len(which), text, pairs)
    if spelling := _other_spelling(names, genes):
        gain, text, examples = spelling
        report = report.add(
            "hint",
            gain,
            f"a further {gain:,} of {_count(len(names), 'name')} in the prior {text}",
            examples,
        )
    if _looks_swapped(prior):
        report = report.add("hint", 1, _swapped(prior))
    for note in prior.notes:
        report = report.add("note", 1, note)
    return chosen_regulators, chosen_targets, report


def _check_overlap(
    prior: Prior,
    names: np.ndarray,
    genes: np.ndarray,
    sources_in: np.ndarray,
    targets_in: np.ndarray,
    hard_mask: bool,
) -> None:
    shared = int(np.isin(names, genes).sum())
    share = max(shared / len(names), shared / len(genes))
    if sources_in.any() and (targets_in.any() or not hard_mask) and share >= _LEAST_OVERLAP:
        return
    if not sources_in.any():
        own, other = prior.regulators, "regulator"
    elif not targets_in.any() and hard_mask:
        own, other = prior.targets, "target"
    else:
        own, other = names, ""
    problem = f"no {other} of the prior is measured" if other else "the prior hardly fits the data"
    advice = _advice(own, genes, "prior")
    if _looks_swapped(prior):
        advice += f"; {_swapped(prior)}"
    raise AlignmentError(
        f"{problem}: {sources_in.sum():,} of {_count(len(sources_in), 'regulator')} and "
        f"{targets_in.sum():,} of {_count(len(targets_in), 'target')} are among the "
        f"{_count(len(genes), 'gene')} of the data; {advice}"
    )


def _requested(names: Sequence[str], what: str) -> np.ndarray:
    names = np.unique(_text(names, what))
    if not len(names):
        raise ValueError(f"the list of requested {what} is empty; name some, or leave it out")
    return names


def _chosen(
    asked: np.ndarray | None, default: np.ndarray, genes: np.ndarray, what: str
) -> np.ndarray:
    if asked is None:
        return default
    found = asked[np.isin(asked, genes)]
    if not len(found):
        raise AlignmentError(
            f"none of the {len(asked):,} requested {what} is among the "
            f"{_count(len(genes), 'gene')} of the data; {_advice(asked, genes, 'requested')}"
        )
    return found


def _add(
    report: AlignmentReport,
    kind: str,
    names: np.ndarray,
    among: np.ndarray,
    whole: str,
    what: str,
    show: bool = True,
) -> AlignmentReport:
    verb = "is" if len(names) == 1 else "are"
    message = f"{len(names):,} of {len(among):,} {whole} {verb} {what}"
    return report.add(kind, len(names), message, names[:_EXAMPLES] if show else ())


def _advice(names: np.ndarray, genes: np.ndarray, whose: str) -> str:
    """Both vocabularies by example, and what would explain that they differ."""
    text = f"{whose} names: {', '.join(names[:3])}; gene names: {', '.join(genes[:3])}"
    spelling = _other_spelling(names, genes)
    ours, theirs = _share_of_ensembl(names), _share_of_ensembl(genes)
    if spelling:
        gain, how, examples = spelling
        text += f"; {gain:,} of {len(names):,} {whose} names {how} ({', '.join(examples[:3])})"
        return text + ": write both the same way"
    if max(ours, theirs) >= 0.5 and min(ours, theirs) <= 0.1:
        side = (f"the {whose} names", "the gene names")
        ensembl, symbols = side if ours > theirs else side[::-1]
        return f"{text}; {ensembl} look like Ensembl identifiers, {symbols} do not: translate one"
    return text + ": use one species, annotation and kind of name for both"


def _share_of_ensembl(names: np.ndarray) -> float:
    return float(np.mean([_ENSEMBL.match(name) is not None for name in names]))


def _other_spelling(
    names: np.ndarray, genes: np.ndarray
) -> tuple[int, str, tuple[str, ...]] | None:
    """Names that would match under another spelling, if they are worth a word."""
    exact = np.isin(names, genes)
    if 1 - exact.mean() < _WORTH_A_HINT:
        return None  # nearly all match as they are
    genes_exact = int(np.isin(genes, names).sum())
    best, best_gain = None, 0.0
    for how, change in (
        ("would match if letter case were ignored", str.casefold),
        ("would match without version suffixes", lambda name: _VERSION.sub("", name)),
        (
            "would match without version suffixes and letter case",
            lambda name: _VERSION.sub("", name).casefold(),
        ),
    ):
        ours, theirs = _respelled(names, change), _respelled(genes, change)
        new = np.isin(ours, theirs[theirs != ""]) & ~exact
        matched = max(int(np.isin(theirs, ours[ours != ""]).sum()) - genes_exact, 0)
        gain = max(new.sum() / len(names), matched / len(genes))
        if gain >= best_gain + _WORTH_A_HINT:
            examples = []
            for i in np.flatnonzero(new)[:_EXAMPLES]:
                examples.append(f"{names[i]} / {genes[np.argmax(theirs == ours[i])]}")
            best, best_gain = (int(new.sum()), how, tuple(examples)), gain
    return best


def _respelled(names: np.ndarray, change: Callable[[str], str]) -> np.ndarray:
    """Names after a change; empty where that makes two names one.

    In some annotations the digits after the dot tell genes apart, so stripping them proves nothing.
    """
    changed = np.array([change(name) for name in names], dtype=str)
    _, inverse, counts = np.unique(changed, return_inverse=True, return_counts=True)
    return np.where(counts[inverse] == 1, changed, "")


def _looks_swapped(prior: Prior) -> bool:
    # In every organism few genes regulate many; the reverse is a table read the wrong way round.
    return len(prior.regulators) >= 20 and len(prior.regulators) > 3 * len(prior.targets)


def _swapped(prior: Prior) -> str:
    return (
        f"the prior has {_count(len(prior.regulators), 'regulator')} for "
        f"{_count(len(prior.targets), 'target')}: its source and target columns look swapped"
    )


# --- names ---------------------------------------------------------------------------------------


def _text(names: Sequence[str], what: str) -> np.ndarray:
    if isinstance(names, str | bytes):
        raise ValueError(f"{what} must be a list of names, got the single text {names!r}")
    names = names if isinstance(names, np.ndarray) else list(names)
    return np.asarray(names, dtype=str).reshape(-1)


def _names(names: Sequence[str], what: str) -> np.ndarray:
    names = _text(names, what)
    unique, counts = np.unique(names, return_counts=True)
    if len(unique) != len(names):
        raise ValueError(
            f"{what} must be unique, {_count(int((counts > 1).sum()), 'name')} occur more than "
            f"once, such as {str(unique[np.argmax(counts > 1)])!r}; give each once"
        )
    return names


def _places(names: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Position of each name of a sorted array within another list; -1 where it is absent."""
    places = np.full(len(names), -1, dtype=np.int64)
    at = np.searchsorted(names, within)
    found = at < len(names)
    found[found] = names[at[found]] == within[found]
    places[at[found]] = np.flatnonzero(found)
    return places


def _shown(value: object) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
