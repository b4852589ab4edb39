"""Moments of cells that are fitted and of cells that are hidden, for every fold of the cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unigrn.data import Data
from unigrn.moments import GeneStatistics, gather


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

    def some(self, targets: np.ndarray) -> Fold:
        """Keep some targets."""
        return Fold(
            *(
                Half(h.gram, h.cross[:, targets], h.square[targets], h.count)
                for h in (self.fitted, self.hidden)
            )
        )


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


def folds(
    data: Data, regulators: np.ndarray, targets: np.ndarray, count: int, seed: int
) -> list[Fold]:
    """Return the moments of every fold of the cells.

    Genes are scaled to variance 1 over all cells, around the mean of each group of cells; cells
    are dealt to folds at random, group by group.
    """
    names = np.union1d(regulators, targets)
    columns = data.columns(names)
    row, column = np.searchsorted(names, regulators), np.searchsorted(names, targets)
    by_group = statistics(data, names)
    means = [s.mean for s in by_group]
    squares = sum(s.squares for s in by_group if s.squares is not None)
    live = np.any([~s.constant for s in by_group if s.cells], axis=0)
    scale = np.where(live, np.sqrt(np.maximum(squares, 0) / sum(s.cells for s in by_group)), 1)
    scale[scale == 0] = 1
    split = dealt(data, count, seed)
    weights = np.ones(data.cells) if data.weights is None else np.asarray(data.weights, float)
    sums = [Sums.zeros(len(row), len(column)) for _ in range(count)]
    for block in split.blocks(columns):
        own = split.positions(block.group)[block.start : block.start + len(block.values)]
        values = (block.values - means[block.group // count]) / scale
        sums[block.group % count].add(values[:, row], values[:, column], weights[own])
    out = []
    for hidden in range(count):
        rest = [s for i, s in enumerate(sums) if i != hidden]
        fitted = sum(rest[1:], rest[0])
        center = fitted.x / fitted.count, fitted.y / fitted.count
        out.append(Fold(fitted.around(*center), sums[hidden].around(*center)))
    return out


def statistics(data: Data, names: np.ndarray) -> list[GeneStatistics]:
    """Return the statistics of genes in each group of cells, or refuse what is not finite."""
    columns = data.columns(names)
    groups = len(data.group_sizes)
    _, found = gather(data.blocks(columns), lambda block: None, len(names), groups)
    for own in found:
        if own.bad is not None:
            raise ValueError(
                f"the expression of {names[own.bad][0]} holds values that are not finite; leave "
                "such cells or genes out"
            )
    return found


def dealt(data: Data, count: int, seed: int) -> Data:
    """Deal the cells of every group to folds: group g, fold f is group g * count + f."""
    rng = np.random.default_rng(seed)
    codes = np.full(data.cells, -1)
    for group in range(len(data.group_sizes)):
        own = data.positions(group)
        codes[own] = group * count + rng.permutation(len(own)) % count
    groups = tuple(map(str, range(len(data.group_sizes) * count)))
    return replace(data, codes=codes, groups=groups)


def varying(data: Data, names: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return which genes vary among the fitted cells of every fold."""
    found = statistics(dealt(data, count, seed), names)
    none = np.zeros(len(names))
    parts = np.array([none if s.squares is None else s.squares * ~s.constant for s in found])
    by_fold = parts.reshape(-1, count, len(names)).sum(axis=0)
    return np.all(
        by_fold.sum(axis=0) - by_fold > 1e-9 * np.maximum(by_fold.sum(axis=0), 1e-30), axis=0
    )
