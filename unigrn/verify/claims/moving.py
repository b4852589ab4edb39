"""Claims about methods of cells along time: the objective by least squares, polished by SciPy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import optimize

from unigrn.methods import get
from unigrn.verify.claims.common import Search, apart, claimed
from unigrn.verify.claims.methods import NO_THEOREM
from unigrn.verify.instances import Example
from unigrn.verify.search import Finding

GENES = 6
MODES = 2  # few of them, so that few cells do


@dataclass(frozen=True, repr=False)
class Moving(Example):
    """Cells along a pseudotime of any unit, of genes that follow few exponential modes.

    Parameters
    ----------
    seed
        Of the random numbers.
    cells
        Number of cells: more than genes, or fewer.
    odd
        What is odd: nothing, one gene is constant, one is 0, or pairs of cells have the same time.
    weighted
        Cells have weights, one of them 0.
    noise
        Standard deviation of what is no mode.
    """

    seed: int = 0
    cells: int = 8
    odd: str = "plain"
    weighted: bool = False
    noise: float = 0.1

    @cached_property
    def time(self) -> np.ndarray:
        """Pseudotime, (cells,)."""
        out = 40 * self.rng(1).random(self.cells) - 7
        if self.odd == "ties":
            out[1::2] = out[: len(out[1::2]) * 2 : 2]
        return out

    @cached_property
    def values(self) -> np.ndarray:
        """Expression, (cells, genes)."""
        rng = self.rng(2)
        t = (self.time - self.time.min()) / np.ptp(self.time)
        out = np.exp(t[:, None] * [-3.0, 1.0]) @ rng.normal(size=(2, GENES))
        out += self.noise * rng.normal(size=out.shape)
        if self.odd == "constant":
            out[:, 1] = 2.0
        if self.odd == "zero":
            out[:, 1] = 0.0
        return out

    @cached_property
    def weight(self) -> np.ndarray:
        """Weights of the cells."""
        out = self.rng(3).uniform(0.5, 2, self.cells) if self.weighted else np.ones(self.cells)
        out[-1] *= not self.weighted
        return out


def _moving():
    from hypothesis import strategies as st

    return st.builds(
        Moving,
        seed=st.integers(0, 2**16),
        cells=st.sampled_from([8, 5]),
        odd=st.sampled_from(["plain", "constant", "zero", "ties"]),
        weighted=st.booleans(),
        noise=st.sampled_from([0.1, 1.0]),
    )


@dataclass(frozen=True)
class _Original:
    """The objective as a function of the rates; every other field is a slip."""

    example: Moving
    per_cell: bool = True
    ridge: float = 1e-6 / 3
    unit: bool = True
    velocity: bool = True
    turned: bool = True
    upper: float = 2.0

    def modes(self, rates: np.ndarray) -> tuple[np.ndarray, float]:
        """Return W (genes, modes) and the cost."""
        kept = self.example.weight > 0
        time, w = self.example.time[kept], self.example.weight[kept]
        time = (time - time.min()) / (np.ptp(time) if self.unit else 10.0)
        z, size = np.exp(np.outer(time, rates)), w.sum() if self.per_cell else 1.0
        tall = np.r_[np.sqrt(w)[:, None] * z, np.sqrt(self.ridge * size) * np.eye(len(rates))]
        right = np.r_[np.sqrt(w)[:, None] * self.example.values[kept], np.zeros((MODES, GENES))]
        found = np.linalg.lstsq(tall, right, rcond=None)[0]
        return found.T, float(np.sum((right - tall @ found) ** 2))

    def network(self, rates: np.ndarray) -> np.ndarray:
        """Return A = W B W^+, from sources (rows) to targets."""
        w, _ = self.modes(rates)
        out = (w * (rates if self.velocity else 1.0)) @ np.linalg.pinv(w)
        return out.T if self.turned else out

    def lowered(self, rates: np.ndarray) -> float:
        """By what share of the cost at the best constant rates SciPy can still go down."""
        bounds = [(-10.0, self.upper)] * len(rates)
        start = np.clip(rates, *bounds[0])
        found = optimize.minimize(lambda b: self.modes(b)[1], start, method="SLSQP", bounds=bounds)
        most = self.modes(np.zeros(len(rates)))[1]
        return abs(self.modes(rates)[1] - found.fun) / max(most, np.finfo(float).tiny)


def fitted(example: Moving, **hyper: Any) -> Any:
    """Fit the shipped method."""
    import unigrn

    data = unigrn.Data.from_arrays(
        example.values,
        [f"g{i}" for i in range(GENES)],
        dtype="float64",
        weights=example.weight if example.weighted else None,
    )
    spec = get("scode").function(None, modes=MODES, **hyper)
    return unigrn.fit(spec, data.with_extra(pseudotime=example.time), seed=example.seed)


def _scode(example: Moving, **slip: Any) -> list[Finding]:
    found = fitted(example, runs=1)
    rates, original = found.blocks["rates"][0], _Original(example, **slip)
    return [
        apart("minimiser", found.theta[0], original.network(rates)),
        Finding("objective", original.lowered(rates)),
    ]


CLAIMS = (
    claimed(
        "methods.scode",
        "the fit is a minimum over the rates of the squares beside the best modes, and the network "
        "is the smallest that moves the modes at their rates",
        (),
        Search("scode", _scode, (_moving,), 1e-6).slipped,
        {
            "pseudotime in units of its own": {"unit": False},
            "a ridge a hundred times as large": {"ridge": 1e-4 / 3},
            "modes that do not move": {"velocity": False},
            "from targets to sources": {"turned": False},
            "rates of decay alone": {"upper": 0.0},
        },
        reason=NO_THEOREM,
        share=0.3,
    ),
)
