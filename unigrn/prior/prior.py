"""The prior: evidence over its own names, and its arrays for chosen regulators and targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from unigrn.check import counted
from unigrn.prior import evidence
from unigrn.prior.evidence import Layer, distinct, layer_of

if TYPE_CHECKING:
    import pandas as pd


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
    def of(cls, name: str, table: evidence.Evidence) -> Prior:
        """Make a prior of one layer from what a table says."""
        return cls(table.regulators, table.targets, {name: table.layer}, table.notes)

    @classmethod
    def from_edges(cls, edges: pd.DataFrame, name: str = "prior") -> Prior:
        """Build a prior of one layer from a table of edges.

        Parameters
        ----------
        edges : pandas.DataFrame
            One edge per row. Columns `source` or `tf`; `target`; optionally `weight` or `score`
            (1 without it); optionally `sign` (-1, 0, 1, "+", "-", "Activation", "Repression",
            "Unknown"); or the names that other programs give them, as
            `unigrn.edgelists.SYNONYMS` lists. What was taken from such a name is noted; other
            columns are ignored and noted. Without a sign column, negative weights make the
            weights signed: weight |w|, sign of w; `mor` and `coef_mean` always are. Of a repeated
            pair the largest weight stays, and signs that conflict become 0. Rows of weight 0 are
            no edges. Self-edges stay.
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
        table = _table(edges, label, "from_dict for a dictionary")
        return cls.of(name, evidence.of_table(table, name, label))

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
        sources, s = evidence.codes(flat, "source", label)
        names, codes = evidence.codes(pd.Series(list(candidates), dtype=object), "target", label)
        notes = []
        if empty := int((sizes == 0).sum()):
            notes.append(f"{counted(empty, 'target')} without a regulator left out")
        t = np.repeat(codes, sizes)
        weight, sign = np.ones(len(s)), np.zeros(len(s), np.int8)
        return cls.of(name, evidence.build(name, label, sources, names, s, t, weight, sign, notes))

    @classmethod
    def from_base_grn(cls, table: pd.DataFrame, name: str = "prior") -> Prior:
        """Build a prior of one layer from a base GRN table, or another matrix of genes and TFs.

        Parameters
        ----------
        table : pandas.DataFrame
            Column `gene_short_name`, usually `peak_id`, and one column of numbers per TF. A gene
            has a TF as candidate if any of its rows is not 0. Or a first column `target` (or
            `gene`), and one per TF; or a first column `tf`, and one per gene: its numbers other
            than 0 are weights, negative ones signed. Columns of text, and those of
            `unigrn.edgelists.ASIDE`, are ignored and noted. An unnamed index column is dropped.
            A table `tf_name`, `gene_short_name` is an edge table, and read as one.
        name : str
            Name of the layer.

        Returns
        -------
        Prior
            Of a base GRN: weights 1, signs 0.

        Raises
        ------
        ValueError
            Without such a column, without TF columns, without rows, without an edge, for an empty
            name, or for a column that holds something else than numbers in some rows (the message
            names it).
        """
        label = f"prior {_layer_name(name)!r}"
        table = _table(table, label, "from_dict for a TFdict")
        return cls.of(name, evidence.of_table(table, name, label))

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
                layers[name] = layer_of(r[layer.source], t[layer.target], layer.weight, layer.sign)
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

    def only(self, name: str) -> Prior:
        """Keep one layer."""
        return Prior(self.regulators, self.targets, {name: self.layers[name]}, self.notes)

    def union(self) -> Layer:
        """Merge the layers: weights add up, signs that disagree become 0."""
        whole = self._whole
        return Layer(whole.index, whole.target, whole.weight, whole.sign)

    def support(self) -> np.ndarray:
        """Return the (regulators, targets) mask over the prior's own names: True at an edge."""
        return self._whole.support()

    def align(
        self, regulators: Sequence[str] | np.ndarray, targets: Sequence[str] | np.ndarray
    ) -> AlignedPrior:
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
        row, column = places(self.regulators, regulators), places(self.targets, targets)
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
            key = distinct(np.sort(np.concatenate(keys), kind="stable"))
        total = np.zeros(len(key))
        up, down = np.zeros(len(key), np.int8), np.zeros(len(key), np.int8)
        layers = {}
        for name, layer_key, weight, sign in zip(self.layers, keys, weights, signs, strict=True):
            at = np.searchsorted(key, layer_key) if len(keys) > 1 else slice(None)
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
            f"Prior({counted(len(self.regulators), 'regulator')}, "
            f"{counted(len(self.targets), 'target')}, {counted(self.n_edges, 'edge')}; "
            f"layers: {', '.join(self.layers)})"
        )


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


def texts(names: Sequence[str] | np.ndarray, what: str) -> np.ndarray:
    """Names as an array of text."""
    if isinstance(names, str | bytes):
        raise ValueError(f"{what} must be a list of names, got the single text {names!r}")
    names = names if isinstance(names, np.ndarray) else list(names)
    return np.asarray(names, dtype=str).reshape(-1)


def _names(names: Sequence[str] | np.ndarray, what: str) -> np.ndarray:
    names = texts(names, what)
    unique, counts = np.unique(names, return_counts=True)
    if len(unique) != len(names):
        raise ValueError(
            f"{what} must be unique, {counted(int((counts > 1).sum()), 'name')} occur more than "
            f"once, such as {str(unique[np.argmax(counts > 1)])!r}; give each once"
        )
    return names


def places(names: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Position of each name of a sorted array within another list; -1 where it is absent."""
    positions = np.full(len(names), -1, dtype=np.int64)
    at = np.searchsorted(names, within)
    known = at < len(names)
    known[known] = names[at[known]] == within[known]
    positions[at[known]] = np.flatnonzero(known)
    return positions
