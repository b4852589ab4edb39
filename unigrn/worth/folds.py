"""Moments of cells that are fitted and of cells that are hidden, for every fold of the cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unigrn.data import Data
from unigrn.moments import GeneStatistics, gather, pool


@dataclass(frozen=True)
class Half:
    """Moments of some cells around the means of the cells that are fitted; x and y are scaled.

    ``gram`` (regulators, regulators), ``cross`` (regulators, targets), ``square`` (targets,),
    ``count`` the sum of the cells' weights.
    """

    gram: np.ndarray
    cross: np.ndarray
    square: np.ndarray
    count: float


@dataclass(frozen=True)
class Fold:
    """One fold: cells that are fitted, and cells that are hidden from the fit."""

    fitted: Half
    hidden: Half


@dataclass
class Sums:
    """Sums over the cells of one fold, around the means of their groups."""

    gram: np.ndarray
    cross: np.ndarray
    square: np.ndarray
    x: np.ndarray
    y: np.ndarray
    count: float = 0.0

    @classmethod
    def zeros(cls, q: int, p: int) -> Sums:
        """Return sums of no cells."""
        return cls(np.zeros((q, q)), np.zeros((q, p)), np.zeros(p), np.zeros(q), np.zeros(p))

    def add(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> None:
        """Add cells."""
        heavy = x * weight[:, None]
        self.gram += heavy.T @ x
        self.cross += heavy.T @ y
        self.square += weight @ y**2
        self.x += weight @ x
        self.y += weight @ y
        self.count += float(weight.sum())

    def __add__(self, other: Sums) -> Sums:
        own: Any = vars(self)
        return Sums(**{name: own[name] + vars(other)[name] for name in own})

    def around(self, x: np.ndarray, y: np.ndarray) -> Half:
        """Return the moments around other means."""
        n = self.count
        return Half(
            self.gram - np.outer(self.x, x) - np.outer(x, self.x) + n * np.outer(x, x),
            self.cross - np.outer(self.x, y) - np.outer(x, self.y) + n * np.outer(x, y),
            self.square - 2 * self.y * y + n * y**2,
            n,
        )


@dataclass(frozen=True)
class Dealt:
    """Cells dealt to folds at random, group by group, and what their genes are like.

    Parameters
    ----------
    data
        Group g, fold f of the cells is its group g * count + f.
    names
        Genes.
    count
        Number of folds.
    parts
        Statistics of each group and fold.
    """

    data: Data
    names: np.ndarray
    count: int
    parts: list[GeneStatistics]

    @classmethod
    def of(cls, data: Data, names: np.ndarray, count: int, seed: int) -> Dealt:
        """Deal the cells, and read the genes once."""
        rng, groups = np.random.default_rng(seed), len(data.group_sizes)
        codes = np.full(data.cells, -1)
        for group in range(groups):
            own = data.positions(group)
            codes[own] = group * count + rng.permutation(len(own)) % count
        labels = tuple(map(str, range(groups * count)))
        split = replace(data, codes=codes, groups=labels)
        columns = split.columns(names)
        _, parts = gather(split.blocks(columns), lambda block: None, len(names), len(labels))
        for own in parts:
            if own.bad is not None:
                raise ValueError(
                    f"the expression of {names[own.bad][0]} holds values that are not finite; "
                    "leave such cells or genes out"
                )
        return cls(split, names, count, parts)

    @property
    def overall(self) -> GeneStatistics:
        """Statistics of all cells."""
        return pool(self.parts, len(self.names))

    def varying(self) -> np.ndarray:
        """Return which genes vary among the fitted cells of every fold."""
        none = np.zeros(len(self.names))
        squares = [none if p.squares is None else p.squares * ~p.constant for p in self.parts]
        by_fold = np.array(squares).reshape(-1, self.count, len(self.names)).sum(axis=0)
        whole = by_fold.sum(axis=0)
        return np.all(whole - by_fold > 1e-9 * np.maximum(whole, 1e-30), axis=0)

    def folds(self, regulators: np.ndarray, targets: np.ndarray) -> list[Fold]:
        """Return the moments of every fold.

        Genes are scaled to variance 1 over all cells, around the mean of each group of cells.
        """
        row, column = (np.searchsorted(self.names, own) for own in (regulators, targets))
        starts = range(0, len(self.parts), self.count)
        groups = [pool(self.parts[s : s + self.count], len(self.names)) for s in starts]
        squares = sum(g.squares for g in groups if g.cells)
        scale = np.sqrt(squares / sum(g.cells for g in groups))
        scale[np.all([g.constant for g in groups if g.cells], axis=0) | (scale == 0)] = 1
        data, sums = self.data, [Sums.zeros(len(row), len(column)) for _ in range(self.count)]
        weights = np.ones(data.cells) if data.weights is None else np.asarray(data.weights, float)
        for block in data.blocks(data.columns(self.names)):
            own = data.positions(block.group)[block.start : block.start + len(block.values)]
            values = (block.values - groups[block.group // self.count].mean) / scale
            part = sums[block.group % self.count]
            part.add(values[:, row], values[:, column], weights[own])
        out = []
        for hidden in range(self.count):
            rest = [s for i, s in enumerate(sums) if i != hidden]
            fitted = sum(rest[1:], rest[0])
            center = fitted.x / fitted.count, fitted.y / fitted.count
            out.append(Fold(fitted.around(*center), sums[hidden].around(*center)))
        return out
