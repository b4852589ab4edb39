"""Instances: small problems that Hypothesis draws, among them those that users meet and fear.

An instance is described by a few plain values, from which its arrays follow; Hypothesis shrinks the
description, and its `repr` can be pasted to see the same problem again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from unigrn.terms import Blocks, Moments, PriorView, View

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

REGULATORS, TARGETS = 4, 3
CELLS = (8, 3, 1)  # the middle one has fewer cells than regulators
SUPPORTS = ("mixed", "full", "one", "empty")
WEIGHTS = ("ones", "counts", "some zero")
SHAPES = (  # regulators, targets and cells, from one to beyond 40; the first is the smallest plain
    (REGULATORS, TARGETS, 8), (4, 3, 3), (4, 3, 1), (1, 1, 8), (6, 5, 8), (43, 3, 8), (2, 41, 50),
)  # fmt: skip
PAD = 2  # places of padding
COLUMNS = ("plain", "zero", "repeated", "constant", "nearly repeated")


@dataclass(frozen=True)
class Instance:
    """One regression problem: cells, regulators, targets, a prior, weights, in double precision.

    Parameters
    ----------
    seed
        Of the random numbers that fill the arrays.
    cells
        Number of cells.
    columns
        What is odd about the regulators: one is zero, repeats another (exactly or to 1e-6), or is
        constant.
    constant_target
        The first target has one value in all cells.
    support
        Which edges the prior names: some, all, one of each target, or none.
    weights
        Weights of the cells: 1, bootstrap counts, or numbers of which some are 0.
    scale, offset
        Unit and shift of the expression.
    whole
        Whole numbers only, so that exact zeros and ties occur.
    strength
        A positive hyperparameter.
    regulators, targets
        Their numbers.
    square
        The targets are the regulators.
    selves
        So many targets, from the first, are regulators themselves.
    trust, unlike
        Unit of the prior's weights, and by how much its layer "chip" is weighed more than "motif".
    likeness
        How large the correlations between targets are, about; None leaves them as they come.
    mass
        Unit of the cells' weights.
    """

    seed: int = 0
    cells: int = 8
    columns: str = "plain"
    constant_target: bool = False
    support: str = "mixed"
    weights: str = "ones"
    scale: float = 1.0
    offset: float = 0.0
    whole: bool = False
    strength: float = 1.0
    regulators: int = REGULATORS
    targets: int = TARGETS
    square: bool = False
    selves: int = 0
    trust: float = 1.0
    unlike: float = 1.0
    likeness: float | None = None
    mass: float = 1.0

    def __repr__(self) -> str:
        return described(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of regulators, targets and cells."""
        return self.regulators, self.targets, self.cells

    def _numbers(self, salt: int, *shape: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, salt))
        values = rng.normal(size=shape)
        return np.rint(2 * values) if self.whole else values

    @cached_property
    def x(self) -> np.ndarray:
        """Regulators, (cells, regulators)."""
        out = self._numbers(1, self.cells, self.regulators) + self.offset
        if self.columns == "zero":
            out[:, 1] = 0
        elif self.columns == "constant":
            out[:, 1] = 1 + self.offset
        elif self.columns == "repeated":
            out[:, 2] = out[:, 0]
        elif self.columns == "nearly repeated":
            out[:, 2] = out[:, 0] + 1e-6 * out[:, 1]
        return self.scale * out

    @cached_property
    def y(self) -> np.ndarray:
        """Targets, (cells, targets)."""
        if self.square:
            return self.x
        out = self._numbers(2, self.cells, self.targets) + self.offset
        out = out + (self.x / self.scale) @ self._numbers(3, self.regulators, self.targets)
        if self.likeness is not None:
            self._make_alike(out, self.likeness)
        if self.constant_target:
            out[:, 0] = 1 + self.offset
        out = self.scale * out
        same = np.arange(min(self.selves, self.regulators, self.targets))
        out[:, same] = self.x[:, same]
        return out

    def _make_alike(self, y: np.ndarray, likeness: float) -> None:
        """Give every target after the first a correlation with it of about so much."""
        rng = np.random.default_rng((self.seed, 6))
        root = np.sqrt(self.weight / self.weight.sum())
        centred = (y - root**2 @ y) * root[:, None]
        size = np.linalg.norm(centred, axis=0)
        first = centred[:, 0] / max(size[0], 1e-300)
        for j in range(1, self.targets):
            rest = centred[:, j] - first * (first @ centred[:, j])
            r = np.clip(1 - (1 - likeness) * rng.uniform(0.6, 1.4), -1, 1)
            r = r * rng.choice([-1, 1])
            norm = np.linalg.norm(rest)
            if norm > 1e-6 * size[j] and (root > 0).all():
                mixed = r * first + np.sqrt(1 - r**2) * rest / norm
                y[:, j] = size[j] * mixed / root + root**2 @ y[:, j]

    @cached_property
    def weight(self) -> np.ndarray:
        """Weights of the cells, (cells,); their sum is positive."""
        rng = np.random.default_rng((self.seed, 4))
        if self.weights == "ones":
            return np.full(self.cells, self.mass)
        if self.weights == "counts":
            drawn = rng.integers(0, self.cells, self.cells)
            return self.mass * np.bincount(drawn, minlength=self.cells)
        out = np.where(rng.random(self.cells) < 0.4, 0, rng.uniform(0.1, 3, self.cells))
        out[0] = 1
        return self.mass * out

    @cached_property
    def prior(self) -> PriorView:
        """The prior of the whole network; no gene regulates itself."""
        rng = np.random.default_rng((self.seed, 5))
        shape = (self.regulators, self.targets)
        named = {
            "mixed": rng.random(shape) < 0.5,
            "full": np.ones(shape, bool),
            "empty": np.zeros(shape, bool),
            "one": np.arange(self.regulators)[:, None]
            == rng.integers(0, self.regulators, self.targets),
        }
        support = named[self.support]
        weight = np.where(support, self.trust * rng.choice([0.25, 1.0, 3.0], shape), 0)
        share = rng.choice([0, 0.5, 1], shape)
        layers = {"motif": share * weight, "chip": self.unlike * (1 - share) * weight}
        sign = np.where(support, rng.integers(-1, 2, shape), 0).astype(np.int32)
        itself = np.eye(*shape, dtype=bool) & (np.arange(self.targets) < self.selves)
        if self.unlike != 1:
            weight = layers["motif"] + layers["chip"]
        return PriorView(support, weight, sign, itself, np.ones(shape, bool), layers)

    def padded(self) -> tuple[View, PriorView]:
        """Return rows and prior with places of padding after the regulators."""

        def pad(values):
            return np.pad(values, ((0, PAD), (0, 0)))

        return self.rows().replace(x=pad(self.x.T).T), jax.tree.map(pad, self.prior)

    def column(self, target: int) -> PriorView:
        """Return the prior of one target."""
        v = self.prior
        return PriorView(
            v.support[:, target],
            v.weight[:, target],
            v.sign[:, target],
            v.self_edge[:, target],
            v.valid[:, target],
            {k: w[:, target] for k, w in v.layers.items()},
        )

    def rows(self, target: int | None = None) -> View:
        """Return the data as rows; of one target or of all."""
        return View(x=self.x, y=self.y if target is None else self.y[:, target], weight=self.weight)

    def moments(self, target: int) -> View:
        """Return the data of one target as weighted, centred sums."""
        w, x, y = self.weight, self.x, self.y[:, target]
        count = w.sum()
        mean_x, mean_y = w @ x / count, w @ y / count
        x, y = x - mean_x, y - mean_y
        return View(
            Moments(
                (x.T * w) @ x,
                (x.T * w) @ y,
                w @ y**2,
                np.asarray(count),
                mean_x,
                np.asarray(mean_y),
            )
        )

    def rng(self, salt: int) -> np.random.Generator:
        """Further random numbers of this instance."""
        return np.random.default_rng((self.seed, 100 + salt))


@dataclass(frozen=True)
class Point:
    """Where two formulations are compared: coefficients with exact zeros and ties.

    ``zeros`` is the share of exact zeros, ``whole`` rounds to whole numbers, ``outside`` leaves
    entries off the prior's support as they are, so that the point is not feasible. With ``exact``
    half of the entries are that number, of either sign.
    """

    seed: int = 0
    zeros: float = 0.0
    whole: bool = False
    outside: bool = False
    size: float = 1.0
    exact: float | None = None

    def __repr__(self) -> str:
        return described(self)

    def others(self) -> list[Point]:
        """Further points for the same instance: nearer, as far, and farther away."""
        zeros = min(self.zeros, 0.9)
        return [
            dataclasses.replace(self, seed=self.seed + 2 + i, zeros=zeros, size=self.size * far)
            for i, far in enumerate((0.03, 1.0, 30.0))
        ]

    def rng(self, salt: int) -> np.random.Generator:
        """Random numbers of this point."""
        return np.random.default_rng((self.seed, salt))

    def array(self, *shape: int, salt: int = 0) -> np.ndarray:
        """Numbers of any shape."""
        rng = self.rng(salt)
        out = self.size * rng.normal(size=shape)
        if self.whole:
            out = np.rint(2 * out)
        if self.exact is not None:
            out = np.where(rng.random(shape) < 0.5, self.exact * np.copysign(1, out), out)
        return np.where(rng.random(shape) < self.zeros, 0, out)

    def theta(self, instance: Instance) -> np.ndarray:
        """Coefficients, (regulators, targets)."""
        out = self.array(instance.regulators, instance.targets)
        return out if self.outside else np.where(instance.prior.support, out, 0)

    def blocks(self, instance: Instance) -> Blocks:
        """Return the coefficients as parameter blocks."""
        return Blocks(theta=self.theta(instance))


def described(item: Any) -> str:
    """How to make it again: the fields that differ from their defaults."""
    told = [
        f"{f.name}={getattr(item, f.name)!r}"
        for f in dataclasses.fields(item)
        if getattr(item, f.name) != f.default
    ]
    return f"{type(item).__name__}({', '.join(told)})"


@dataclass(frozen=True, repr=False)
class Example:
    """What a claim is looked at on, made from a seed; it prints as what makes it again."""

    seed: int = 0

    def __repr__(self) -> str:
        return described(self)

    def rng(self, salt: int) -> np.random.Generator:
        """Random numbers of this example."""
        return np.random.default_rng((self.seed, salt))


def instances(**fixed: Any) -> SearchStrategy[Instance]:
    """Draw instances; what is given by name is fixed, or drawn from the strategy given."""
    from hypothesis import strategies as st

    drawn = {
        "seed": st.integers(0, 2**16),
        "cells": st.sampled_from(CELLS),
        "columns": st.sampled_from(COLUMNS),
        "constant_target": st.booleans(),
        "support": st.sampled_from(SUPPORTS),
        "weights": st.sampled_from(WEIGHTS),
        "scale": st.sampled_from([1.0, 1e-3, 1e3]),
        "offset": st.sampled_from([0.0, 10.0]),
        "whole": st.booleans(),
        "strength": st.sampled_from([1.0, 0.01, 100.0]),
    }
    for name, value in fixed.items():
        drawn[name] = value if isinstance(value, st.SearchStrategy) else st.just(value)
    return st.builds(Instance, **drawn)


def shapes_near(constants: Sequence[float] = ()) -> list[tuple[int, int, int]]:
    """Give `SHAPES`, and one with more edges than the largest whole number of the ``constants``."""
    counts = [int(c) for c in constants if c == int(c) and 60 < c <= 2000]
    return [*SHAPES, *2 * [(8, c // 4 + 2, 4) for c in sorted(counts)[-1:]]]


def wide(
    constants: Sequence[float] = (), shapes: Sequence[tuple[int, int, int]] = SHAPES, **fixed: Any
) -> SearchStrategy[Instance]:
    """Draw instances of all that the problem of a spec may depend on.

    Beside what `instances` has: other numbers of regulators, targets and cells, regulators that
    are targets, prior weights over decades, layers of unlike scale, targets that are alike; and
    weights and correlations near the ``constants``. ``shapes`` are numbers of regulators, targets
    and cells.
    """
    from hypothesis import strategies as st

    alike = [c for c in constants if 0 < c < 1]
    drawn = {
        "selves": st.sampled_from([0, 1, 3]),
        "trust": st.sampled_from([1.0, 1e-3, 1e3, *constants]),
        "unlike": st.sampled_from([1.0, 1e3]),
        "likeness": st.sampled_from([None, 0.5, 0.9, 0.99, *alike]),
    } | fixed

    def of_shape(shape: tuple[int, int, int]) -> SearchStrategy[Instance]:
        sizes = dict(zip(("regulators", "targets", "cells"), shape, strict=True))
        odd = COLUMNS if shape[0] > 2 else COLUMNS[:1]
        return instances(**{"columns": st.sampled_from(odd)} | sizes | drawn)

    return st.sampled_from(shapes).flatmap(of_shape)


def points(**fixed: Any) -> SearchStrategy[Point]:
    """Draw points, as `instances` does."""
    from hypothesis import strategies as st

    drawn = {
        "seed": st.integers(0, 2**16),
        "zeros": st.sampled_from([0.0, 0.4, 1.0]),
        "whole": st.booleans(),
        "outside": st.booleans(),
        "size": st.sampled_from([1.0, 1e-3, 1e3]),
    }
    for name, value in fixed.items():
        drawn[name] = value if isinstance(value, st.SearchStrategy) else st.just(value)
    return st.builds(Point, **drawn)


def wide_points(constants: Sequence[float] = ()) -> SearchStrategy[Point]:
    """Draw points of sizes over decades, and of those of the ``constants``."""
    from hypothesis import strategies as st

    sizes = [1.0, 1e-3, 1e3, 1e-6, 1e6, *constants]
    return points(zeros=st.sampled_from([0.0, 0.4, 0.9, 1.0]), size=st.sampled_from(sizes))


NAMES = [f"r{i}" for i in range(REGULATORS)] + [f"t{i}" for i in range(TARGETS)]
