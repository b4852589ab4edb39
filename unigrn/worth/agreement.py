"""How well a network predicts edges that it has not seen, in bits per edge over chance.

Chance is the regulator's own share of the targets. The calibrated odds of an edge are those of
that share times a lift, which does not fall with the rank of the edge's score among the targets of
its regulator, and is learnt on other targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

MOST, EACH = 200, 8  # bins of ranks, and edges that are due in each of them where there are fewer
SMOOTH = 0.5  # edges expected and seen that each bin has beside its own
LEAST = 1e-6  # probability of an edge, and of none


def ranks(score: np.ndarray) -> np.ndarray:
    """Return the place of each score among the targets of its regulator, between 0 and 1.

    Equal scores share the mean of their places; (regulators, targets) in and out.
    """
    from scipy.stats import rankdata

    return (rankdata(score, axis=1) - 0.5) / score.shape[1]


@dataclass(frozen=True)
class Calibration:
    """Odds of edges: those of ``share`` (regulators,) times ``lift`` (bins,) of the rank.

    Among listed edges only: where a list misses edges, probabilities are of being listed, and the
    true ones are larger by 1 / (share of the true edges that are listed), if which are listed does
    not depend on the score (Elkan and Noto, KDD (2008) 213, doi:10.1145/1401890.1401920).
    """

    share: np.ndarray
    lift: np.ndarray

    def probability(self, rank: np.ndarray) -> np.ndarray:
        """Return the probability of every pair, (regulators, targets)."""
        at = np.minimum((rank * len(self.lift)).astype(int), len(self.lift) - 1)
        odds = (self.share / (1 - self.share))[:, None] * self.lift[at]
        return np.clip(odds / (1 + odds), LEAST, 1 - LEAST)

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
    share = np.clip(share, LEAST, 1 - LEAST)
    bins = int(np.clip((label & valid).sum() / EACH, 1, MOST))
    at = np.minimum((rank * bins).astype(int), bins - 1)
    pairs = np.zeros((len(share), bins))
    np.add.at(
        pairs, (np.broadcast_to(np.arange(len(share))[:, None], at.shape)[valid], at[valid]), 1
    )
    seen = np.bincount(at[valid], label[valid].astype(float), bins) + SMOOTH
    due = share @ pairs + SMOOTH
    blocks = isotonic_regression(seen / due, weights=due).blocks  # neighbours that share a lift
    of = np.repeat(np.arange(len(blocks) - 1), np.diff(blocks))
    seen, pairs = np.bincount(of, seen), np.add.reduceat(pairs, blocks[:-1], axis=1)
    return Calibration(share, _lift(seen, pairs, share, SMOOTH * np.bincount(of))[of])


def _lift(seen: np.ndarray, pairs: np.ndarray, share: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Return the lifts at which as many edges are due as were seen, by bisection of logarithms."""
    odds = (share / (1 - share))[:, None]
    low, high = np.full(len(seen), -12.0), np.full(len(seen), 12.0)
    for _ in range(50):
        middle = (low + high) / 2
        lift = np.exp(middle)
        due = (pairs * (odds * lift / (1 + odds * lift))).sum(axis=0) + more * lift
        low, high = np.where(due < seen, middle, low), np.where(due < seen, high, middle)
    return np.exp((low + high) / 2)


def bits_per_edge(
    known: Calibration, rank: np.ndarray, label: np.ndarray, valid: np.ndarray
) -> float:
    """Return the gain in log2 probability over chance, summed over pairs, per listed edge."""
    found = known.probability(rank)
    chance = np.broadcast_to(known.chance[:, None], found.shape)
    gain = np.where(label, np.log2(found / chance), np.log2((1 - found) / (1 - chance)))
    return float(gain[valid].sum() / max((label & valid).sum(), 1))
