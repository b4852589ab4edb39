"""Whether a network ranks true edges better than a baseline: a difference, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from unigrn.evaluate.gold import ABSENT, POSITIVE, Universe
from unigrn.evaluate.metrics import Ranking, count

RESAMPLES = 500
"""Bootstrap samples of the targets or regulators."""

_FEW = 20  # targets, below which regulators are resampled where there are more of them
_FEWEST = 5  # targets or regulators with a true edge, below which an interval says nothing
_DIGITS = 12  # of a difference; what is smaller is rounding
_PERMUTATIONS = (2, 20)  # least and most, fewer where many pairs are ranked
_PAIRS = 10_000_000  # that all permutations of one ranking go through


def influence(
    ranking: Ranking,
    universe: Universe,
    by_target: bool = True,
    permutation: np.ndarray | None = None,
) -> tuple[float, np.ndarray]:
    """Average precision, and how it moves where single targets or regulators count more often.

    Parameters
    ----------
    ranking, universe, permutation
        As in `unigrn.evaluate.metrics.metrics_of`.
    by_target
        Whether to weigh targets, else regulators.

    Returns
    -------
    value : float
        AP = sum over positives i of T_i / R_i / K: T_i positives among the R_i pairs that rank at
        least as high, K positives in all.
    slope : (p,) or (q,) float
        Derivative of AP with respect to the weight of each name, where all weights are 1; the sum
        is 0.
    """
    col = ranking.col if permutation is None else permutation[ranking.col]
    name = col if by_target else ranking.row
    state = universe.state[ranking.row, col]
    hit, listed = state == POSITIVE, state != ABSENT
    axis = 0 if by_target else 1
    positives = (universe.state == POSITIVE).sum(axis=axis)
    pairs = (universe.state != ABSENT).sum(axis=axis)
    # Per tie, the unlisted last.
    found, seen = count(hit, ranking.start), count(listed, ranking.start)
    found = np.append(found, positives.sum() - found.sum())
    seen = np.append(seen, pairs.sum() - seen.sum())
    true, ranked = np.cumsum(found), np.maximum(np.cumsum(seen), 1)
    precision, total = true / ranked, int(positives.sum())
    value = float(np.sum(found * precision)) / total
    # A pair adds to T and R of every positive that ranks no higher than it.
    gain = np.cumsum((found / ranked)[::-1])[::-1] + precision
    loss = np.cumsum((found * precision / ranked)[::-1])[::-1]
    tie = np.zeros(name.size, np.int32 if name.size < 2**31 else np.int64)
    tie[ranking.start[1:]] = 1
    np.cumsum(tie, out=tie)
    size = positives.size
    hits, at = name[hit], tie[hit]
    slope = np.bincount(hits, weights=gain[at], minlength=size).astype(np.float64)
    slope += gain[-1] * (positives - np.bincount(hits, minlength=size))
    name, tie = name[listed], tie[listed]
    slope -= np.bincount(name, weights=loss[tie], minlength=size)
    slope -= loss[-1] * (pairs - np.bincount(name, minlength=size))
    return value, (slope - value * positives) / total


def differences(
    ranking: Ranking, baselines: Mapping[str, Ranking], universe: Universe, seed: int
) -> dict[str, dict[str, float | int | str]]:
    """Compare average precisions, with an interval from resampled targets or regulators.

    Regulators are resampled where targets are few. A sample's difference is that of all pairs,
    and the derivatives of `influence` times how often the sample has each name more than once.

    Parameters
    ----------
    ranking
        Of the network.
    baselines
        Name -> its ranking. Beside them stands ``permuted targets``, the mean over permutations.
    universe
        The pairs that are scored, with a positive and a negative.
    seed
        Of the samples and the permutations.

    Returns
    -------
    dict
        Baseline -> ``auprc`` (that of the network less the baseline's), ``low`` and ``high`` (95 %
        bootstrap interval), ``resamples``, ``over`` (what is resampled), ``with_true_edges`` (how
        many of those have one). Differences below 1e-12 are 0.
    """
    q, p = universe.state.shape
    by_target = p >= min(_FEW, q)
    rng = np.random.default_rng(seed)
    permutations = int(np.clip(_PAIRS // max(ranking.row.size, 1), *_PERMUTATIONS))
    moved = [
        influence(ranking, universe, by_target, rng.permutation(p)) for _ in range(permutations)
    ]
    others = {
        "permuted targets": (
            float(np.mean([value for value, _ in moved])),
            np.mean([slope for _, slope in moved], axis=0),
        )
    }
    others |= {name: influence(other, universe, by_target) for name, other in baselines.items()}
    value, slope = influence(ranking, universe, by_target)
    names = list(others)
    slopes = np.stack([slope - others[name][1] for name in names])
    size = slopes.shape[1]
    informed = int((universe.state == POSITIVE).any(axis=0 if by_target else 1).sum())
    samples = np.empty((RESAMPLES, len(names)))
    for sample in samples:
        sample[:] = slopes[:, rng.integers(size, size=size)].sum(axis=1)
    out: dict[str, dict[str, float | int | str]] = {}
    for place, name in enumerate(names):
        gap = value - others[name][0]
        low, high = gap + np.quantile(samples[:, place], (0.025, 0.975))
        gap, low, high = (round(float(value), _DIGITS) for value in (gap, low, high))
        out[name] = {
            "auprc": gap,
            "low": low,
            "high": high,
            "resamples": RESAMPLES,
            "over": "targets" if by_target else "regulators",
            "with_true_edges": informed,
        }
    return out


def verdict(found: Mapping[str, Mapping[str, float | int | str]]) -> str:
    """Say in one sentence what `differences` found; empty where it found nothing.

    Examples
    --------
    >>> row = {"auprc": -0.2, "low": -0.3, "high": -0.1, "resamples": 500, "over": "targets"}
    >>> verdict({"prior alone": row | {"with_true_edges": 40}})
    'verdict: the network ranks true edges worse than the prior alone (auprc -0.2, 95 % interval \
-0.3 to -0.1 over targets)'
    """
    for row in found.values():
        if int(row["with_true_edges"]) < _FEWEST:
            return (
                f"verdict: none; {row['with_true_edges']} {row['over']} with true edges are too "
                "few to tell the network from a baseline"
            )
    parts = []
    for name, article in (("permuted targets", ""), ("prior alone", "the ")):
        if name not in found:
            continue
        row = found[name]
        low, high = float(row["low"]), float(row["high"])
        word = "better" if low > 0 else "worse" if high < 0 else "no better"
        parts.append(
            f"{word} than {article}{name} (auprc {float(row['auprc']):+.2g}, 95 % interval "
            f"{low:.2g} to {high:.2g} over {row['over']})"
        )
    return f"verdict: the network ranks true edges {' and '.join(parts)}" if parts else ""
