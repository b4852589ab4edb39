"""Stability selection of a penalty: the least one at which subsamples agree on the edges.

Two axes: all cells beside random subsets of them, and within each a path of penalties, whose fits
are solved in turn. Only how often an edge was chosen leaves the compiled program.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.check import counted
from unigrn.replicates import Found, Over, Path, Reader, named
from unigrn.terms import Array

PENALTY, INSTABILITY = "penalty", "instability"  # numbers of every target


@dataclass(frozen=True)
class Subsets(Over):
    """All cells of a group, and subsets of them drawn without replacement; see `unigrn.stars`.

    The cells of a subset of k of n cells count n / k times, so that a penalty weighs as much beside
    their loss as beside that of all cells.
    """

    samples: int
    taken: int | None
    disjoint: bool

    size = property(lambda self: 1 + self.samples)
    speaks = slice(0, 1)

    @property
    def formula(self) -> str:
        """The axis as text."""
        return f"all cells, and {self.samples} {'disjoint ' * self.disjoint}subsets of them,"

    def count(self, cells: int) -> int:
        """Say how many of a group's cells a subset has."""
        if self.disjoint:
            return cells // self.samples
        if self.taken is not None:
            return self.taken
        return math.isqrt(100 * cells) if cells > 144 else 4 * cells // 5

    def cells(self, count: int, group: int, seed: int, candidates: int | None) -> Reader:
        """1 for all cells, then n / k for those of every subset and 0 for the others."""
        k = max(1, self.count(count))
        if self.taken is not None and k >= count:
            raise ValueError(
                f"stars() got cells={k}, and a group has {count}: a subset leaves out cells of "
                "every group; give fewer, or None for a number that follows the group"
            )
        taken = np.zeros((self.samples, count), bool)
        for sample in range(self.samples):
            draw = 0 if self.disjoint else sample
            order = np.random.default_rng((seed, 6, group, draw)).permutation(count)
            first = k * sample if self.disjoint else 0
            taken[sample, order[first : first + k]] = True
        whole = np.ones((1, count))
        return lambda start, stop: np.concatenate(
            [whole[:, start:stop], taken[:, start:stop] * (count / k)]
        )

    def compiled(self, values: Array, drawn: Array) -> dict[str, Array]:
        """Weight in all cells, and the share of subsets in which it is not 0."""
        return {
            "weight": values[0],
            "frequency": jnp.mean((values[1:] != 0).astype(values.dtype), axis=0),
        }

    def reduce(self, found: Found) -> Found:
        """Keep what the compiled program found."""
        return found


@dataclass(frozen=True, eq=False)
class Stars(Path):
    """The least of several penalties that is stable enough; see `unigrn.stars`.

    ``values`` fall. ``choose`` is None: the choice is not that of a score.
    """

    subsets: Subsets
    threshold: float

    @property
    def formula(self) -> str:
        """The path as text."""
        return (
            f"least stable {self.parameter} of {len(self.values)} (D <= {self.threshold:g}, by "
            f"{self.by})"
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What provenance keeps."""
        return {
            "parameter": self.parameter,
            "values": list(self.values),
            "threshold": self.threshold,
            "by": self.by,
        }

    def instability(self, found: Found) -> np.ndarray:
        """Return the largest D of any penalty at least as large, (values, ..., targets).

        D is the mean of 2 f (1 - f) over the candidates of a target, or of the network; undefined
        where a subset has one cell only, in which nothing can be chosen.
        """
        count = found.targets["objective"].shape[-1]
        if self.subsets.count(found.cells) < 2:
            return np.full((*found.edges["weight"].shape[:-1], count), np.nan)
        often = found.edges["frequency"]
        size = np.maximum(np.bincount(found.target, minlength=count), 1)
        mean = np.empty((*often.shape[:-1], count))
        for place in np.ndindex(often.shape[:-1]):  # few rows of many entries
            f = np.rint(often[place].astype(np.float64) * self.subsets.samples)
            apart = 2 * f * (self.subsets.samples - f) / self.subsets.samples**2
            if self.by == "network":
                mean[place] = apart.mean()
            else:
                mean[place] = np.bincount(found.target, apart, count) / size
        return np.maximum.accumulate(mean, axis=0)

    def reduce(self, found: Found) -> Found:
        """Take for every target the last penalty before the instability exceeds the threshold.

        None is stable where that of the largest does: the target has no edge, as at a penalty
        without bound.
        """
        frequency = found.edges["frequency"].reshape(self.size, -1)
        often = frequency[[0, -1]].sum(axis=1, dtype=np.float64)
        if often[0] > 1.1 * often[-1] + 1:  # single edges may come and go along a lasso path
            raise ValueError(
                f"stars() takes a penalty, of which a larger one chooses fewer edges; at "
                f"{self.parameter} {self.values[0]:g} {often[0]:,.1f} were chosen on average, and "
                f"{often[-1]:,.1f} at {self.values[-1]:g}"
            )
        unstable = self.instability(found)
        # Rounding leaves a mean that equals the threshold within a few digits of it.
        steps = (unstable <= self.threshold + 1e-12).sum(axis=0)
        place = np.maximum(steps - 1, 0)
        by_edge = place[..., found.target]
        none = (steps == 0)[..., found.target]

        def taken(values, place):
            return np.take_along_axis(values, place[None], axis=0)[0]

        values = np.asarray(self.values)
        penalty = np.where(steps > 0, values[place], np.nan)
        spread = taken(unstable, place)
        edges = {name: np.where(none, 0, taken(v, by_edge)) for name, v in found.edges.items()}
        edges |= {
            self.parameter.rpartition(".")[2]: penalty[..., found.target],
            INSTABILITY: spread[..., found.target],
        }
        targets = {
            name: np.where(steps > 0, taken(v, place), np.nan) for name, v in found.targets.items()
        }
        targets |= {PENALTY: penalty, INSTABILITY: spread}
        return dataclasses.replace(found, edges=edges, targets=targets)

    def decisive(self, targets: dict[str, np.ndarray]) -> np.ndarray:
        """Penalties down to the one taken, and the next, which was not stable."""
        values, penalty = np.asarray(self.values), targets[PENALTY]
        taken = np.where(np.isnan(penalty), np.inf, penalty)
        above = (values[:, None] >= taken).sum(axis=0)
        return np.arange(self.size)[:, None] <= above

    def remarks(self, targets: dict[str, np.ndarray], fitted: np.ndarray) -> list[tuple]:
        """Say where no penalty was stable, and where the least was."""
        if PENALTY not in targets:
            return []
        penalty = targets[PENALTY][fitted]
        none, last = int(np.isnan(penalty).sum()), int((penalty == self.values[-1]).sum())
        fits = counted(penalty.size, "fit")
        return [
            (
                "no stable penalty",
                none,
                f"{none:,} of {fits}: subsets of the cells disagree at every "
                f"{self.parameter}, or have one cell only; no edge",
            ),
            (
                "least penalty stable",
                last,
                f"{last:,} of {fits}: {self.parameter} {self.values[-1]:g}, the least of the path, "
                "is stable; a smaller one may be too",
            ),
        ]


def penalties(terms: tuple) -> list[str]:
    """Name the numbers of the regularizers that choose edges, as `Spec.hyperparameters` does."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(terms)
    return [
        named(terms, path)
        for path, _ in leaves
        if (term := terms[path[0].idx]).kind == "regularizer" and term.kink
    ]
