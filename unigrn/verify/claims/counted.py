"""Claims about methods of counts: Newton's method on the likelihood as it is written down."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from unigrn.methods import get
from unigrn.verify.claims.common import Search, apart, claimed, prior_of
from unigrn.verify.claims.methods import NO_THEOREM
from unigrn.verify.instances import Example
from unigrn.verify.search import Finding

REGULATORS = ("r0", "r1", "r2")
TARGETS = (*REGULATORS, "t0", "t1", "t2")
GENES = (*TARGETS, "u0", "u1")  # the last two are in the totals only


@dataclass(frozen=True, repr=False)
class Counted(Example):
    """Counts of cells of unlike depth, and a prior with edges of genes to themselves.

    Parameters
    ----------
    seed
        Of the random numbers.
    cells
        Number of cells: more than regulators, fewer, or one.
    odd
        What is odd: nothing, a target without a count, a regulator without one, one target has a
        single count, or counts are in the hundreds.
    weighted
        Cells have weights.
    """

    seed: int = 0
    cells: int = 20
    odd: str = "plain"
    weighted: bool = False

    @cached_property
    def counts(self) -> np.ndarray:
        """Counts, (cells, genes); no cell is empty."""
        rng = self.rng(1)
        hidden = rng.normal(size=(self.cells, 2)) @ rng.normal(size=(2, len(GENES)))
        depth = rng.lognormal(0.0, 0.7, self.cells)[:, None]
        mean = depth * np.exp(0.5 * hidden + rng.normal(0.5, 1, len(GENES)))
        out = 1.0 * rng.poisson(mean * (30 if self.odd == "hundreds" else 1))
        out[:, -1] += 1
        if self.odd == "silent target":
            out[:, 3] = 0
        if self.odd == "silent regulator":
            out[:, 1] = 0
        if self.odd == "one count":
            out[:, 4] = np.arange(self.cells) == 0
        return out

    @cached_property
    def weight(self) -> np.ndarray:
        """Weights of the cells."""
        return self.rng(2).uniform(0.5, 2, self.cells) if self.weighted else np.ones(self.cells)

    @cached_property
    def prior(self) -> np.ndarray:
        """Weights, (regulators, genes): each target has two edges, one of a regulator to itself."""
        rng = self.rng(3)
        size = rng.uniform(0.2, 1.5, (len(REGULATORS), len(GENES)))
        rank = rng.random(size.shape) - 2 * np.eye(*size.shape)
        known = rank.argsort(axis=0).argsort(axis=0) < 2  # as many each: one program
        return np.where(known & (np.arange(len(GENES)) < len(TARGETS)), size, 0)


def _counted():
    from hypothesis import strategies as st

    return st.builds(
        Counted,
        seed=st.integers(0, 2**16),
        cells=st.sampled_from([20, 3, 1]),
        odd=st.sampled_from(
            ["plain", "silent target", "silent regulator", "one count", "hundreds"]
        ),
        weighted=st.booleans(),
    )


def _shrunk(matrix: np.ndarray, right: np.ndarray, prices: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Minimise z' M z / 2 - b' z + sum_j c_j |z_j|, coordinate after coordinate."""
    if not prices.any():
        return np.linalg.solve(matrix, right)
    z = z.copy()
    for _ in range(10_000):
        before = z.copy()
        for j in range(len(z)):
            rest = right[j] - matrix[j] @ z + matrix[j, j] * z[j]
            z[j] = np.sign(rest) * max(abs(rest) - prices[j], 0) / matrix[j, j]
        if np.abs(z - before).max() <= 1e-15 * (1 + np.abs(z).max()):
            break
    return z


def newton(
    x: np.ndarray,
    counts: np.ndarray,
    offset: np.ndarray,
    weight: np.ndarray,
    ridge: np.ndarray,
    prices: np.ndarray,
) -> np.ndarray:
    """Minimise the penalised Poisson deviance in (intercept, theta) by Newton's method.

    ``x`` (cells, k + 1) has a column of ones first; ``ridge`` and ``prices`` are (k + 1,).
    """

    def value(z):
        eta = offset + x @ z
        cost = weight @ (np.exp(eta) - counts * eta)
        return cost + ridge @ z**2 + prices @ np.abs(z)

    z = np.zeros(x.shape[1])
    z[0] = np.log(weight @ counts / (weight @ np.exp(offset)))
    for _ in range(200):
        mean = weight * np.exp(offset + x @ z)
        slope = x.T @ (mean - weight * counts) + 2 * ridge * z
        bend = (x.T * mean) @ x + 2 * np.diag(ridge)
        move = _shrunk(bend, bend @ z - slope, prices, z) - z
        length = 1.0
        while length > 1e-10 and not value(z + length * move) <= value(z):
            length /= 2
        z = z + length * move
        if length < 1e-10 or np.abs(move).max() <= 1e-13 * (1 + np.abs(z).max()):
            break
    return z


def twin(
    example: Counted,
    alpha: float = 1.0,
    strength: float = 0.0,
    masked: bool = True,
    offset: bool = True,
    logarithms: bool = False,
    bare: bool = True,
    depth: bool = True,
    own: bool = False,
    ddof: int = 0,
) -> np.ndarray:
    """Return theta of the formula, target by target."""
    counts, weight = example.counts, example.weight
    total = counts.sum(axis=1)
    x = np.log1p(1e4 * counts[:, :3] / (total[:, None] if depth else total.mean()))
    spread = x.std(axis=0, ddof=ddof if len(x) > 1 else 0)
    x = x / np.where(np.ptp(x, axis=0) > 1e-9 * np.abs(x).max(), spread, 1)
    size = np.log(total / total.mean()) if offset else np.zeros(len(total))
    out = np.zeros((3, len(TARGETS)))
    for t in range(len(TARGETS)):
        kept = example.prior[:, t] > 0 if masked else np.ones(3, bool)
        if t < 3 and not own:
            kept[t] = False
        y = np.log1p(counts[:, t]) if logarithms else counts[:, t]
        if not kept.any() or not y.any():
            continue
        prices = strength * (1 - 0.5 * np.minimum(example.prior[kept, t], 1))
        level = x[:, kept] - x[:, kept].mean(axis=0)  # the intercept makes up for it
        if not bare:
            level = x[:, kept]
        columns = np.c_[np.ones(len(x)), level]
        ridge = np.r_[0.0 if bare else alpha, np.full(kept.sum(), alpha)]
        out[kept, t] = newton(columns, y, size, weight, ridge, np.r_[0.0, prices])[1:]
    return out


def fitted(example: Counted, **hyper: Any) -> np.ndarray:
    """Return theta of the shipped method, (regulators, targets)."""
    import unigrn

    data = unigrn.Data.from_arrays(
        example.counts, GENES, dtype="float64", weights=example.weight if example.weighted else None
    )
    spec = get("poisson_glm").function(prior_of(example.prior, REGULATORS, GENES), **hyper)
    return unigrn.fit(spec, data, regulators=REGULATORS, targets=TARGETS).theta[0]


def _poisson(example: Counted, **change: Any) -> list[Finding]:
    return [apart("minimiser", fitted(example), twin(example, **change))]


CLAIMS = (
    claimed(
        "methods.poisson_glm",
        "the fit is the penalised Poisson regression of counts on scaled normalised logarithms, "
        "with the size of the cell as an offset",
        (),
        Search("poisson_glm", _poisson, (_counted,), 1e-6).slipped,
        {
            "the offset left out": {"offset": False},
            "log(1 + counts) in place of counts": {"logarithms": True},
            "the intercept penalised": {"bare": False},
            "regulators not divided by the cell's total": {"depth": False},
            "sample standard deviations": {"ddof": 1},
            "edges of genes to themselves": {"own": True},
        },
        reason=NO_THEOREM,
        share=0.5,
    ),
)
