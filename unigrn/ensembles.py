"""Ensembles: transformations of a spec that fit it many times, mapped, not looped.

A bag is a weight for every cell and a subset of every target's candidate regulators: both are data
of the same spec, so a bagged method is the spec with one more mapped axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from unigrn.check import check_number, check_whole
from unigrn.spec import Spec
from unigrn.terms import Array

DRAWS = ("shared", "released")
BLOCK = 4096  # cells per independent stretch of the bootstrap stream


def consensus(spec: Spec, runs: int = 10) -> Spec:
    """Fit a method that starts at random from several starts, and join what they find.

    All starts run in one compiled program. Columns of the edge table are means over the starts;
    ``score_sd`` is the standard deviation of the score, ``frequency`` the share of the starts that
    have the edge. For a method that couples the targets and whose start draws from a key.
    """
    return spec.replace(restarts=check_whole("runs", runs, low=1))


@dataclass(frozen=True)
class Bagging:
    """Bootstrap of the cells and subsets of the regulators; see `bagging`."""

    bags: int
    max_features: float
    draws: str
    random_state: int = 123

    @property
    def formula(self) -> str:
        """The ensemble as text."""
        return f"mean over {self.bags} bags"

    def size(self, candidates: np.ndarray) -> np.ndarray:
        """How many of a target's candidates a bag draws: max(1, floor(share x candidates))."""
        return np.maximum(1, (self.max_features * np.asarray(candidates)).astype(np.int64))

    def features(self, candidates: int, seed: int) -> np.ndarray:
        """Drawn positions for a target with that many candidates, (bags, size).

        Targets with equally many candidates share them, as in the released program.
        """
        if self.draws == "released":
            return released_draws(0, candidates, self.bags, self.max_features, self.random_state)[0]
        k = int(self.size(np.array([candidates]))[0])
        rng = np.random.default_rng((seed, 1, candidates))
        return np.argsort(rng.random((self.bags, candidates)), axis=1)[:, :k]

    def counts(self, cells: int, group: int, seed: int) -> Bootstrap:
        """How often each bag draws each cell of a group, as a stream over positions."""
        return Bootstrap(self.bags, cells, (seed, 0, group))

    def released_counts(self, cells: int, candidates: int) -> np.ndarray:
        """How often the released program's bags draw each cell, (bags, cells)."""
        _, rows = released_draws(cells, candidates, self.bags, self.max_features, self.random_state)
        offset = np.arange(self.bags)[:, None] * cells
        flat = np.bincount((rows + offset).ravel(), minlength=self.bags * cells)
        return flat.reshape(self.bags, cells)


class Bootstrap:
    """Multinomial bootstrap counts of ``cells`` cells, produced stretch by stretch.

    The number of draws that fall into each stretch of `BLOCK` positions is drawn first, then the
    cells within it: the counts are exactly multinomial, and a million cells need the memory of one
    stretch. They are a function of the position, however the cells are read.
    """

    def __init__(self, bags: int, cells: int, entropy: tuple[int, ...]):
        self.bags, self.cells, self.entropy = bags, cells, entropy
        sizes = np.full(-(-cells // BLOCK), BLOCK)
        sizes[-1] = cells - BLOCK * (len(sizes) - 1)
        self.sizes = sizes
        rng = np.random.default_rng((*entropy, 0))
        self.totals = rng.multinomial(cells, sizes / cells, size=bags)
        self._at: tuple[int, np.ndarray] = (-1, np.empty((bags, 0)))

    def _stretch(self, block: int) -> np.ndarray:
        if self._at[0] != block:
            rng = np.random.default_rng((*self.entropy, 1, block))
            size, totals = int(self.sizes[block]), self.totals[:, block]
            bag = np.repeat(np.arange(self.bags), totals)
            flat = bag * size + rng.integers(0, size, len(bag))
            counts = np.bincount(flat, minlength=self.bags * size)
            self._at = (block, counts.reshape(self.bags, size))
        return self._at[1]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the counts of cells start..stop-1 of the group, (bags, stop - start)."""
        out = []
        while start < stop:
            block = start // BLOCK
            end = min(stop, (block + 1) * BLOCK)
            out.append(self._stretch(block)[:, start - block * BLOCK : end - block * BLOCK])
            start = end
        return np.concatenate(out, axis=1) if len(out) != 1 else out[0]


def released_draws(
    cells: int, candidates: int, bags: int, max_features: float, random_state: int
) -> tuple[np.ndarray, np.ndarray]:
    """Index streams of the released program: features (bags, k) and rows (bags, cells).

    One legacy Mersenne Twister a bag, seeded from ``random_state``; it draws the features first,
    so the rows depend on the number of candidates too. See ``proofs/`` and the method's page.
    """
    seeds = np.random.RandomState(random_state).randint(np.iinfo(np.int32).max, size=bags)
    k = max(1, int(max_features * candidates))
    features = np.empty((bags, k), np.int64)
    rows = np.empty((bags, cells), np.int64)
    for b, seed in enumerate(seeds):
        stream = np.random.RandomState(seed)
        features[b] = stream.permutation(candidates)[:k] if k < candidates else np.arange(k)
        if cells:
            rows[b] = stream.randint(0, cells, cells)
    return features, rows


def dispersion(values: Array, drawn: Array) -> dict[str, Array]:
    """Mean, variance (denominator m - 1) and number m of the bags that drew an edge.

    Parameters
    ----------
    values
        (bags, targets, candidates), anything where not drawn.
    drawn
        The same shape, True where the bag drew the candidate.
    """
    m = jnp.sum(drawn, axis=0, dtype=values.dtype)
    values = jnp.where(drawn, values, 0)
    mean = jnp.sum(values, axis=0) / jnp.maximum(m, 1)
    deviation = jnp.where(drawn, values - mean[None], 0)
    variance = jnp.sum(deviation**2, axis=0) / jnp.maximum(m - 1, 1)
    # Bags that agree to rounding agree: their mean differs from them by rounding only.
    same = jnp.max(jnp.abs(deviation), axis=0) <= 4 * jnp.finfo(values.dtype).eps * jnp.abs(mean)
    return {"mean": mean, "variance": jnp.where(same, 0, variance), "bags_drawn": m}


def bag_statistics(
    mean: np.ndarray, variance: np.ndarray, bags_drawn: np.ndarray
) -> dict[str, np.ndarray]:
    """Edge statistics of the released program from the dispersion over bags.

    With m drawn values of mean c and variance s^2, t = c / sqrt(s^2 / m) and p = 2 T_{m-1}(-|t|).
    p is undefined (NaN) for m = 1 and where all drawn values are 0; it is 0 where they agree on
    another value. It shrinks as bags grow: a measure of dispersion over bags, not a calibrated
    test of the edge. The weight is undefined where no bag drew the edge.
    """
    from scipy.special import stdtr

    m = bags_drawn.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.abs(mean.astype(np.float64)) / np.sqrt(variance / m)
        p = 2 * stdtr(np.maximum(m - 1, 1), -t)
    return {
        "weight": np.where(m > 0, mean, np.nan),
        "p": np.where(m > 1, p, np.nan),
        "bags_drawn": m.astype(np.int64),
    }


def bagging(spec: Spec, bags: int = 20, max_features: float = 0.8, draws: str = "shared") -> Spec:
    """Fit a spec on bootstrap samples of the cells and random subsets of the regulators.

    Each bag draws as many cells as the group has, with replacement, and for each target
    max(1, floor(max_features x candidates)) of its candidates. The edge's weight is the mean over
    the bags that drew it. A regulator that no bag drew has no edge.

    Parameters
    ----------
    spec
        Any spec whose loss has moments or uses cell weights.
    bags
        Number of bags, >= 1.
    max_features
        Share of a target's candidates in each bag, in (0, 1].
    draws
        "shared": one bootstrap of the cells per bag for all targets, so that one pass serves all.
        "released": the index streams of the released CellOracle, which depend on the number of
        candidates; they ignore the seed. Both have the same distribution for each target.

    References
    ----------
    Breiman, Mach. Learn. 24 (1996) 123, doi:10.1007/BF00058655.
    """
    bags = check_whole("bags", bags, low=1)
    max_features = check_number("max_features", max_features, strict=True)
    if max_features > 1:
        raise ValueError(f"max_features must lie in (0, 1], got {max_features:g}")
    if draws not in DRAWS:
        raise ValueError(f"draws must be one of {', '.join(DRAWS)}, got {draws!r}")
    # A read-out of one fit says nothing of an ensemble, which has statistics of its own.
    return spec.replace(ensemble=Bagging(bags, max_features, draws), readout=None)
