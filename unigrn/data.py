"""Data: expression of cells x genes, names on the host, read in blocks of cells.

The matrix is never copied whole: dense, sparse and backed matrices, and plain block readers, are
all read block by block, so that memory does not grow with the number of cells.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.check import listed
from unigrn.containers import array_of, check_sparse, native, numbers_of, open_expression
from unigrn.grouping import grouping, weighted
from unigrn.views import Along, along

if TYPE_CHECKING:
    import anndata

DTYPES = ("float32", "float64")
BLOCK = 4096  # cells read at a time


@dataclass(frozen=True)
class Block:
    """Consecutive cells of one group: ``values`` (cells, columns), first position ``start``."""

    group: int
    start: int
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Data:
    """Expression with gene names, and optionally groups and weights of cells.

    Build it by `from_anndata`, `from_arrays` or `from_blocks`.

    Attributes
    ----------
    genes
        Gene names, unique, in the order of the matrix columns.
    cells
        Number of cells (observations).
    groups
        Names of the groups of cells, sorted; None where the cells are not grouped.
    codes
        Group of each cell (-1: none), or None.
    weights
        Weight of each cell, or None.
    other_names
        Names that could have been asked for, by the argument of `from_anndata` and its value:
        ("names", column of ``var``), ("raw", True).
    """

    genes: np.ndarray
    cells: int
    matrix: Any
    dtype: str = "float32"
    groups: tuple[str, ...] | None = None
    codes: np.ndarray | None = None
    weights: np.ndarray | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Along] = field(default_factory=dict)
    other_names: dict[tuple[str, Any], np.ndarray] = field(default_factory=dict)

    def with_extra(self, **arrays: Any) -> Data:
        """Bring external data: a term finds them by name in ``data.extra``.

        Parameters
        ----------
        **arrays
            `unigrn.along` arrays, or plain ones of one number a cell. Cells come in the order of
            the data; a term sees those of its group, or of the batch at hand.

        Examples
        --------
        >>> data = Data.from_arrays([[1.0], [3.0]], ["a"]).with_extra(depth=[1.0, 2.0])
        >>> data.extra["depth"].axes
        ('cells',)
        """
        extra = dict(self.extra)
        for name, values in arrays.items():
            if not isinstance(values, Along):
                array = np.asarray(values)
                if array.shape != (self.cells,):
                    raise ValueError(
                        f"{name} has shape {array.shape}: external data without axes are one "
                        f"number for each of the {self.cells} cells; otherwise say what its axes "
                        "are by unigrn.along(values, ...)"
                    )
                values = along(array, "cells")
            if np.asarray(values.values).dtype.kind not in "fiub":
                raise ValueError(f"{name} must hold numbers, got {values.values.dtype}")
            extra[name] = values
        return replace(self, extra=extra)

    @classmethod
    def from_arrays(
        cls,
        expression: Any,
        genes: Sequence[str],
        *,
        groups: Sequence[Any] | None = None,
        weights: Sequence[float] | None = None,
        dtype: str = "float32",
    ) -> Data:
        """Wrap a dense or sparse matrix of cells x genes.

        Raises
        ------
        ValueError
            Shapes that do not fit, duplicate or empty gene names, a matrix that is not numeric,
            weights that are negative or not finite, or all 0 in a group.

        Examples
        --------
        >>> data = Data.from_arrays([[1.0, 2.0], [3.0, 4.0]], ["a", "b"])
        >>> data.cells, data.genes.tolist()
        (2, ['a', 'b'])
        """
        if not hasattr(expression, "shape"):
            expression = np.asarray(expression)
        if len(expression.shape) != 2:
            raise ValueError(
                f"expression must be a matrix of cells x genes, got shape {expression.shape}"
            )
        if not _is_callable(expression) and getattr(expression, "dtype", None) is not None:
            kind = np.dtype(expression.dtype).kind
            if kind not in "fiub":
                raise ValueError(f"expression must hold numbers, got dtype {expression.dtype}")
        if getattr(expression, "format", None) not in (None, "csr", "csc"):
            expression = expression.tocsr()
        expression = native(expression)
        return cls._checked(
            expression, expression.shape[0], expression.shape[1], genes, groups, weights, dtype, {}
        )

    @classmethod
    def from_blocks(
        cls,
        cells: int,
        genes: Sequence[str],
        read: Callable[[int, int], np.ndarray],
        *,
        groups: Sequence[Any] | None = None,
        weights: Sequence[float] | None = None,
        dtype: str = "float32",
    ) -> Data:
        """Wrap a function ``read(start, stop)`` that returns the rows start..stop-1, all genes."""
        return cls._checked(read, int(cells), len(genes), genes, groups, weights, dtype, {})

    @classmethod
    def from_anndata(
        cls,
        adata: anndata.AnnData | str | os.PathLike,
        layer: str | None = None,
        groupby: str | None = None,
        *,
        weights: str | None = None,
        dtype: str = "float32",
        names: str | None = None,
        raw: bool = False,
        extra: Mapping[str, str] | None = None,
    ) -> Data:
        """Take expression, gene names and groups from an AnnData object or a file of one.

        Parameters
        ----------
        adata
            AnnData, also backed, or a path: see `unigrn.containers.open_expression`.
        layer
            Name of the layer; None is ``X``.
        groupby
            Column of ``obs`` with the groups of cells; cells without a value are left out.
        weights
            Column of ``obs`` with a weight >= 0 for each cell.
        dtype
            "float32" or "float64": precision of everything that follows.
        names
            Column of ``var`` with the names of the genes; None is its index.
        raw
            Take matrix and genes from ``.raw``, where scanpy keeps all genes.
        extra
            Columns of ``obs`` with one number a cell, by the name that a method asks for:
            ``{"pseudotime": "dpt_pseudotime"}``; or arrays ``varp/KEY`` (regulators, targets) and
            ``uns/KEY`` (axes of their own); see `with_extra`.

        Raises
        ------
        ValueError
            A missing file, layer or column (the message lists what there is), duplicate names; a
            column of ``extra`` that holds no numbers, or none for some cell of a group.
        """
        _check_dtype(dtype)
        origin: dict[str, Any] = {"layer": layer, "groupby": groupby}
        if raw and layer is not None:
            raise ValueError(f"raw has no layers, and layer={layer!r} was asked for; give one")
        if isinstance(adata, str | os.PathLike):
            origin["file"] = Path(adata).name
            adata = open_expression(adata, layer, raw)
        if raw and adata.raw is None:
            raise ValueError("the data has no .raw; leave it out to use X")
        if raw:
            matrix, var = adata.raw.X, adata.raw.var
        elif layer is None:
            matrix, var = adata.X, adata.var
        elif layer in adata.layers:
            matrix, var = adata.layers[layer], adata.var
        else:
            raise ValueError(
                f"there is no layer {layer!r}; the layers are: "
                f"{listed(_layers(adata), 12)} (leave the layer out to use X)"
            )
        if matrix is None:
            raise ValueError(
                "the data has no X; name one of its layers: " + listed(_layers(adata), 12)
            )
        genes = var.index
        if names is not None:
            genes, origin["names"] = _named(var, names), names
        own = adata.var.index if names is None or raw else genes
        columns, arrays = {}, {}
        for name, place in (extra or {}).items():
            if (found := array_of(adata, place)) is not None:
                by_gene = (own, own) if "targets" in found[1] else None
                arrays[name] = along(found[0], *found[1], names=by_gene)
        of_cells = {n: c for n, c in (extra or {}).items() if n not in arrays}
        asked = [("groupby", groupby), ("weights", weights)]
        for role, name in asked + [(f"extra {n}", column) for n, column in of_cells.items()]:
            if name is None:
                continue
            if name not in adata.obs.columns:
                raise ValueError(
                    f"there is no obs column {name!r} for {role}; the columns are: "
                    f"{listed(adata.obs.columns, 12)}"
                )
            columns[role] = adata.obs[name]
        groups = columns.get("groupby")
        if groups is not None and groups.isna().all():
            raise ValueError(f"obs column {groupby!r} has no value for any cell")
        origin |= {"raw": True} if raw else {}
        origin |= {"extra": dict(extra)} if extra else {}
        data = cls._checked(
            native(matrix),
            adata.n_obs,
            len(var),
            genes,
            groups,
            columns.get("weights"),
            dtype,
            origin,
        )
        data = replace(data, other_names=_other_names(adata, var, names, raw))
        used = np.ones(data.cells, bool) if data.codes is None else data.codes >= 0
        named = {n: (c, columns[f"extra {n}"]) for n, c in of_cells.items()}
        numbers = {n: numbers_of(*pair, used) for n, pair in named.items()}
        return data.with_extra(**arrays, **numbers)

    @classmethod
    def _checked(cls, matrix, cells, columns, genes, groups, weights, dtype, origin) -> Data:
        _check_dtype(dtype)
        names = np.asarray([str(g) for g in genes], dtype=str)
        if len(names) != columns:
            raise ValueError(f"got {len(names)} gene names for {columns} columns")
        if (np.char.str_len(names) == 0).any():
            raise ValueError("a gene has an empty name; name every gene")
        if cells < 1 or columns < 1:
            raise ValueError(f"the data is empty: {cells} cells x {columns} genes")
        if hasattr(matrix, "tocsr") and hasattr(matrix, "indices"):
            minor = matrix.shape[1] if matrix.format == "csr" else matrix.shape[0]
            check_sparse(matrix.indptr, len(matrix.data), [matrix.indices], minor, "the matrix")
        unique, counts = np.unique(names, return_counts=True)
        if len(unique) < len(names):
            twice = unique[counts > 1]
            raise ValueError(
                f"{len(twice)} gene names occur more than once, e.g. {', '.join(twice[:3])}; make "
                "them unique (adata.var_names_make_unique()) or sum their columns"
            )
        codes = names_of_groups = None
        if groups is not None:
            names_of_groups, codes, empty = grouping(groups, cells)
            origin = {
                **origin,
                "empty_groups": empty,
                "cells_without_group": int((codes < 0).sum()),
            }
        if weights is not None:
            weights = weighted(weights, cells, names_of_groups, codes)
        return cls(names, cells, matrix, dtype, names_of_groups, codes, weights, origin)

    def __repr__(self) -> str:
        text = f"Data({self.cells:,} cells x {len(self.genes):,} genes, {self.dtype}"
        return text + (f", {len(self.groups)} groups)" if self.groups else ")")

    @property
    def group_sizes(self) -> np.ndarray:
        """Number of cells in each group (one group where the cells are not grouped)."""
        if self.codes is None:
            return np.array([self.cells])
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.groups or ()))

    def columns(self, names: np.ndarray) -> np.ndarray:
        """Positions of genes by name."""
        order = np.argsort(self.genes)
        return order[np.searchsorted(self.genes, names, sorter=order)]

    def blocks(self, columns: np.ndarray, size: int = BLOCK) -> Iterator[Block]:
        """Read the given columns block by block, each block within one group.

        Blocks of one group come in the order of its cells. In memory the cells are visited group
        by group; backed and streamed data is read once, from the first cell to the last.
        """
        if self._sequential:
            yield from self._stream(columns, size)
            return
        matrix, rest = self.matrix, columns
        if hasattr(matrix, "tocsr"):
            matrix = matrix[:, columns].tocsr()
            rest = slice(None)
        for group, count in enumerate(self.group_sizes):
            rows = None if self.codes is None else np.flatnonzero(self.codes == group)
            for start in range(0, count, size):
                stop = min(start + size, count)
                take = slice(start, stop) if rows is None else rows[start:stop]
                yield Block(group, start, self._dense(matrix[take], rest))

    @property
    def _sequential(self) -> bool:
        return _is_callable(self.matrix) or not (
            isinstance(self.matrix, np.ndarray) or hasattr(self.matrix, "tocsr")
        )

    def _stream(self, columns: np.ndarray, size: int) -> Iterator[Block]:
        seen = np.zeros(len(self.group_sizes), np.int64)
        for start in range(0, self.cells, size):
            stop = min(start + size, self.cells)
            rows = (
                self.matrix(start, stop) if _is_callable(self.matrix) else self.matrix[start:stop]
            )
            if rows.shape != (stop - start, len(self.genes)):
                raise ValueError(
                    f"reading cells {start}..{stop - 1} gave shape {rows.shape}, "
                    f"needed {(stop - start, len(self.genes))}"
                )
            values = self._dense(rows, columns)
            codes = np.zeros(stop - start, int) if self.codes is None else self.codes[start:stop]
            for group in np.unique(codes[codes >= 0]):
                part = values if self.codes is None else values[codes == group]
                yield Block(int(group), int(seen[group]), part)
                seen[group] += len(part)

    def _dense(self, rows: Any, columns: Any) -> np.ndarray:
        if hasattr(rows, "tocsr"):
            rows = rows[:, columns].toarray() if not isinstance(columns, slice) else rows.toarray()
        else:
            rows = np.asarray(rows)
            rows = rows[:, columns]
        return np.ascontiguousarray(rows, dtype=self.dtype)

    def positions(self, group: int) -> np.ndarray:
        """Rows of the cells of one group, in order."""
        return np.arange(self.cells) if self.codes is None else np.flatnonzero(self.codes == group)


def aligned(blocks: Iterable[Block], sizes: np.ndarray, stretch: int) -> Iterator[Block]:
    """Cut and join blocks so that each starts at a multiple of ``stretch`` in its group.

    All but a group's last block then hold whole stretches, however the cells were read.
    """
    waiting: dict[int, list[Block]] = {}
    for block in blocks:
        queue = waiting.setdefault(block.group, [])
        queue.append(block)
        end = block.start + len(block.values)
        last = end == sizes[block.group]
        cut = end if last else end - end % stretch
        if cut <= queue[0].start:
            continue
        start = queue[0].start
        values = queue[0].values if len(queue) == 1 else np.concatenate([b.values for b in queue])
        yield Block(block.group, start, values[: cut - start])
        waiting[block.group] = [] if last else [Block(block.group, cut, values[cut - start :])]


def _is_callable(matrix: Any) -> bool:
    return callable(matrix) and not hasattr(matrix, "shape")


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")


def _layers(adata: Any) -> list[str]:
    """Names of the layers; newest anndata has X among them, as None."""
    return [name for name in adata.layers if name is not None]


def _named(var: Any, column: str) -> list[str]:
    """Return the names of the genes that a column of var holds."""
    if column not in var.columns:
        raise ValueError(
            f"there is no var column {column!r} for names; the columns are: "
            f"{listed(var.columns, 12)}"
        )
    lacking = int(var[column].isna().sum())
    if lacking:
        raise ValueError(
            f"var column {column!r} has no name for {lacking:,} of {len(var):,} genes; leave them "
            "out, or name them"
        )
    return [str(name) for name in var[column]]


def _other_names(adata: Any, var: Any, names: str | None, raw: bool) -> dict[Any, np.ndarray]:
    """Collect the names that genes have elsewhere; see `Data.other_names`."""
    found: dict[Any, Any] = {} if names is None else {("names", None): var.index}
    for column in var.columns:
        if column != names and getattr(var[column].dtype, "kind", "O") == "O":
            found["names", column] = var[column].dropna()
    if not raw and adata.raw is not None:
        found["raw", True] = adata.raw.var_names
    return {how: np.array([str(name) for name in found[how]], dtype=str) for how in found}
