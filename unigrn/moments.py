"""Moments: the sufficient statistics of Gaussian losses, from one pass over the cells.

For every system s (a group, or a bag of a group) with cell weights w and total W::

    gram_s = sum w (x - m_x)(x - m_x)'      cross_s = sum w (x - m_x)(y - m_y)'

Sums are taken around a pivot (the mean of the group's first thousand cells), so that they lose no
digits to a large mean, and each block's sum is added with compensation, so that float32 stays
accurate over any number of cells. Shapes are padded to a few sizes: another data set does not
recompile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.data import Block
from unigrn.terms import Array, Moments, pytree

PIVOT = 1024  # cells that the pivot is taken from


def padded(size: int, least: int = 8) -> int:
    """Round up to one of eight sizes per octave: at most an eighth is wasted."""
    size = max(int(size), least)
    step = max(1 << max(size.bit_length() - 4, 0), 1)
    return -(-size // step) * step


def padded_rows(rows: int) -> int:
    """Round up to a power of two."""
    return max(32, 1 << (int(rows) - 1).bit_length())


@pytree
class Sums:
    """Running sums around the pivot, for S systems, q regulators, p targets."""

    gram: Array  # (S, q, q)
    cross: Array  # (S, q, p)
    square: Array  # (S, p)
    x: Array  # (S, q)
    y: Array  # (S, p)
    count: Array  # (S,)

    @staticmethod
    def zeros(systems: int, q: int, p: int, dtype: str) -> Sums:
        """Return empty sums."""
        shapes = (
            (systems, q, q),
            (systems, q, p),
            (systems, p),
            (systems, q),
            (systems, p),
            (systems,),
        )
        return Sums(*(jnp.zeros(shape, dtype) for shape in shapes))


# Full float32 products on accelerators too, where the default may drop to fewer digits.
dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def _block_sums(x: Array, y: Array, weight: Array) -> Sums:
    def one(w):
        wx = x * w[:, None]
        return Sums(dot(wx.T, x), dot(wx.T, y), dot(w, y * y), dot(w, x), dot(w, y), jnp.sum(w))

    return jax.lax.map(one, weight)


@jax.jit
def _first(x: Array, y: Array, weight: Array) -> Sums:
    return _block_sums(x, y, weight)


@partial(jax.jit, donate_argnums=(0, 1))
def _accumulate(total: Sums, lost: Sums, x: Array, y: Array, weight: Array) -> tuple[Sums, Sums]:
    """Add a block by compensated (Kahan) summation."""
    block = _block_sums(x, y, weight)
    corrected = jax.tree.map(jnp.subtract, block, lost)
    new = jax.tree.map(jnp.add, total, corrected)
    lost = jax.tree.map(lambda n, t, c: (n - t) - c, new, total, corrected)
    return new, lost


@jax.jit
def _centre(sums: Sums, pivot_x: Array, pivot_y: Array, scale_x: Array, scale_y: Array) -> Moments:
    """Centre the sums exactly, scale them, and clear what is constant in a system."""
    count = jnp.maximum(sums.count, jnp.finfo(sums.x.dtype).tiny)
    mx, my = sums.x / count[:, None], sums.y / count[:, None]
    gram = sums.gram - count[:, None, None] * mx[:, :, None] * mx[:, None, :]
    cross = sums.cross - count[:, None, None] * mx[:, :, None] * my[:, None, :]
    square = sums.square - count[:, None] * my**2
    # A gene whose variance is rounding noise of its own sum of squares is constant here.
    noise = 64 * jnp.finfo(sums.x.dtype).eps
    raw = jnp.diagonal(sums.gram, axis1=1, axis2=2)
    live_x = (jnp.diagonal(gram, axis1=1, axis2=2) > noise * raw).astype(gram.dtype)
    live_y = (square > noise * sums.square).astype(gram.dtype)
    fx, fy = live_x * scale_x[None], live_y * scale_y[None]
    return Moments(
        gram * fx[:, :, None] * fx[:, None, :],
        cross * fx[:, :, None] * fy[:, None, :],
        square * fy**2,
        sums.count,
        (mx + pivot_x[None]) * scale_x[None],
        (my + pivot_y[None]) * scale_y[None],
    )


@dataclass
class GroupSums:
    """Sums of the cells of one group for all its systems, fed block by block."""

    q: int
    p: int
    dtype: str
    pivot: tuple[np.ndarray, np.ndarray] | None = None
    total: Sums | None = None
    lost: Sums | None = None
    held: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    def add(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> None:
        """Add a block: ``x`` (cells, regulators), ``y`` (cells, targets), ``weight`` (S, cells)."""
        if self.pivot is not None:
            self._add(x, y, weight)
            return
        # The pivot needs enough cells that count: one odd cell would cost digits of all sums.
        self.held.append((x, y, weight))
        if sum(np.count_nonzero(w.any(axis=0)) for *_, w in self.held) >= PIVOT:
            self._open()

    def _open(self) -> None:
        """Take the pivot from the cells held so far, by weight, and add them."""
        held, self.held = self.held, []
        use = np.concatenate([w.sum(axis=0, dtype=np.float64) for *_, w in held])
        use = use if use.any() else np.ones_like(use)
        x, y = (
            np.average(np.concatenate([block[i] for block in held]), axis=0, weights=use)
            for i in (0, 1)
        )
        self.pivot = x, y
        for block in held:
            self._add(*block)

    def _add(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> None:
        assert self.pivot is not None
        rows = padded_rows(len(x))
        # The pivot is subtracted in double precision: a large mean costs no digits.
        wide, tall = (
            self._pad(values - pivot, (rows, width))
            for values, pivot, width in zip((x, y), self.pivot, (self.q, self.p), strict=True)
        )
        weight = self._pad(weight, (weight.shape[0], rows))
        if self.total is None:
            self.total = _first(wide, tall, weight)
        else:
            if self.lost is None:
                self.lost = jax.tree.map(jnp.zeros_like, self.total)
            # One block in flight: reading ahead of the arithmetic would fill the memory.
            jax.block_until_ready(self.total)
            self.total, self.lost = _accumulate(self.total, self.lost, wide, tall, weight)

    def finish(self, scale_x: np.ndarray, scale_y: np.ndarray) -> Moments:
        """Centre, scale and clear; ``scale_*`` are the factors each gene is multiplied by."""
        if self.pivot is None:
            self._open()
        assert self.pivot is not None
        px, py = self.pivot
        return _centre(
            self.total,
            self._pad(px, self.q),
            self._pad(py, self.p),
            self._pad(scale_x, self.q),
            self._pad(scale_y, self.p),
        )

    def _pad(self, values: np.ndarray, shape: tuple[int, int] | int) -> np.ndarray:
        out = np.zeros(shape, self.dtype)
        out[tuple(slice(0, n) for n in values.shape)] = values
        return out


@dataclass
class GeneStatistics:
    """Per-gene statistics over all cells that have a group, gathered while the data is read.

    The arrays are None before the first cell, and ``bad`` where every value is finite.
    """

    columns: int
    cells: int = 0
    mean: Array = None
    squares: Array = None
    minimum: Array = None
    maximum: Array = None
    nonzero: int = 0
    fractional: Array = None
    bad: Array = None

    def add(self, values: np.ndarray) -> None:
        """Add a block of cells."""
        low, high = values.min(axis=0), values.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            bad = ~np.isfinite(values).all(axis=0)
            return self.join(GeneStatistics(self.columns, bad=bad))
        n, mean = len(values), values.mean(axis=0, dtype=np.float64)
        centred = values - mean.astype(values.dtype)
        squares = np.einsum("ij,ij->j", centred, centred, dtype=np.float64)
        squares -= n * (mean - mean.astype(values.dtype)) ** 2
        known = np.zeros(values.shape[1], bool) if self.fractional is None else self.fractional
        whole, fractional = np.flatnonzero(~known), known.copy()  # of logarithms few are so far
        if whole.size:
            own = values if whole.size == values.shape[1] else values[:, whole]
            fractional[whole] = (own != np.rint(own)).any(axis=0)
        nonzero = int(np.count_nonzero(values))
        self.join(GeneStatistics(self.columns, n, mean, squares, low, high, nonzero, fractional))

    def join(self, other: GeneStatistics) -> None:
        """Add other cells, by their statistics (Chan's parallel update of mean and squares)."""
        if other.bad is not None:
            self.bad = other.bad if self.bad is None else self.bad | other.bad
        if not other.cells:
            return
        if not self.cells:
            self.mean, self.squares = other.mean, other.squares
            self.minimum, self.maximum = other.minimum, other.maximum
            self.fractional = other.fractional
        else:
            share, shift = other.cells / (self.cells + other.cells), other.mean - self.mean
            self.squares = self.squares + other.squares + shift**2 * self.cells * share
            self.mean = self.mean + shift * share
            self.minimum = np.minimum(self.minimum, other.minimum)
            self.maximum = np.maximum(self.maximum, other.maximum)
            self.fractional = self.fractional | other.fractional
        self.cells += other.cells
        self.nonzero += other.nonzero

    @property
    def deviation(self) -> np.ndarray:
        """Population standard deviation, 1 for constant genes."""
        variance = np.maximum(self.squares, 0) / self.cells
        eps = np.finfo(np.float64).eps
        bound = self.cells * eps * variance + (self.cells * self.mean * eps) ** 2
        constant = (variance <= bound) | (self.minimum == self.maximum)
        return np.where(constant, 1.0, np.sqrt(variance))

    @property
    def constant(self) -> np.ndarray:
        """True for genes with one value in all cells."""
        return self.minimum == self.maximum


def gather(
    blocks: Iterable[Block], feed: Callable[[Block], None], columns: int, groups: int
) -> tuple[GeneStatistics, list[GeneStatistics]]:
    """Read every block once: feed it on, and gather statistics over all cells and by group."""
    by_group = [GeneStatistics(columns) for _ in range(groups)]
    for block in blocks:
        by_group[block.group].add(block.values)
        if by_group[block.group].bad is None:
            feed(block)
    return pool(by_group, columns), by_group


def pool(parts: list[GeneStatistics], columns: int) -> GeneStatistics:
    """Join the statistics of several groups."""
    out = GeneStatistics(columns)
    for part in parts:
        out.join(part)
    return out
