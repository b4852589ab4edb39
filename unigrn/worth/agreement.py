"""How well a network predicts edges that it has not seen, in bits per edge over chance.

Chance is the regulator's own share of the targets. A calibrated probability of an edge is that
share times a lift, which does not fall with the rank of the edge's score among the targets of its
regulator, and is learnt on other targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

BINS = 200  # of ranks
SMOOTH = 1.0  # edges expected and seen that each bin has beside its own
LEAST = 1e-6  # probability of an edge, and of none


def ranks(score: np.ndarray) -> np.ndarray:
    """Return the place of each score among the targets of its regulator, between 0 and 1.

    Equal scores share the mean of their places; (regulators, targets) in and out.
    """
    from scipy.stats import rankdata

    return (rankdata(score, axis=1) - 0.5) / score.shape[1]


@dataclass(frozen=True)
class Calibration:
    """Probabilities of edges: ``share`` (regulators,) times ``lift`` (bins,) of the rank.

    Among listed edges only: where a list misses edges, probabilities are of being listed, and the
    true ones are larger by 1 / (share of the true edges that are listed), if which are listed does
    not depend on the score (Elkan and Noto, KDD (2008) 213, doi:10.1145/1401890.1401920).
    """

    share: np.ndarray
    lift: np.ndarray

    def probability(self, rank: np.ndarray) -> np.ndarray:
        """Return the probability of every pair, (regulators, targets)."""
        at = np.minimum((rank * len(self.lift)).astype(int), len(self.lift) - 1)
        return np.clip(self.share[:, None] * self.lift[at], LEAST, 1 - LEAST)

    @property
    def chance(self) -> np.ndarray:
        """Probability of every pair of a regulator where its score is not read."""
        return np.clip(self.share, LEAST, 1 - LEAST)


def calibrated(rank: np.ndarray, label: np.ndarray, valid: np.ndarray) -> Calibration:
    """Learn the lift of edges by rank.

    Parameters
    ----------
    rank
        (regulators, targets) between 0 and 1; see `ranks`.
    label
        The same, True where the edge is listed.
    valid
        The same, False where regulator and target are one gene.
    """
    number = valid.sum(axis=1)
    whole = (label & valid).sum() / max(valid.sum(), 1)
    # Each regulator has one pair of the common share beside its own: none is impossible.
    share = ((label & valid).sum(axis=1) + whole) / (number + 1)
    at = np.minimum((rank * BINS).astype(int), BINS - 1)[valid]
    seen = np.bincount(at, label[valid].astype(float), BINS) + SMOOTH
    due = np.bincount(at, np.broadcast_to(share[:, None], label.shape)[valid], BINS) + SMOOTH
    lift = isotonic_regression(seen / due, weights=due).x
    return Calibration(share, lift)


def bits_per_edge(
    known: Calibration, rank: np.ndarray, label: np.ndarray, valid: np.ndarray
) -> float:
    """Return the gain in log2 probability over chance, summed over pairs, per listed edge."""
    found = known.probability(rank)
    chance = np.broadcast_to(known.chance[:, None], found.shape)
    gain = np.where(label, np.log2(found / chance), np.log2((1 - found) / (1 - chance)))
    return float(gain[valid].sum() / max((label & valid).sum(), 1))
