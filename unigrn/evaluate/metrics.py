"""Rankings and their metrics: equal scores are one threshold, what is unlisted is the last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unigrn.evaluate.gold import ABSENT, POSITIVE, Universe

METRICS = ("auprc", "auprc_ratio", "epr", "auroc", "macro_auroc", "n_universe", "n_positive")
"""Names of the metrics, in the order in which they are reported."""

MACRO_POSITIVES = 5
"""Positives that a TF needs for its AUROC to enter ``macro_auroc``."""


@dataclass(frozen=True)
class Ranking:
    """Listed pairs from the best to the worst, with the bounds of their ties.

    Permuting target names changes neither, so that one sort serves all permutations.

    ``row``, ``col`` (n,): the pairs; ``start``: where each tie begins. ``by_row`` (n,): the same
    order, regulators one after another; ``row_start``, ``row_of``: ties within regulators.
    """

    row: np.ndarray
    col: np.ndarray
    start: np.ndarray
    by_row: np.ndarray
    row_start: np.ndarray
    row_of: np.ndarray


def rank(row: np.ndarray, col: np.ndarray, score: np.ndarray) -> Ranking:
    """Order listed pairs by their scores."""
    order = np.argsort(-score, kind="stable").astype(small(score.size), copy=False)
    score, row, col = score[order], row[order], col[order]
    by_row = np.argsort(row, kind="stable").astype(small(score.size), copy=False)
    start = starts(score)
    tie = np.zeros(score.size, small(score.size))
    tie[start[1:]] = 1
    tie = np.cumsum(tie, dtype=tie.dtype)[by_row]
    rows = row[by_row]
    changed = np.ones(score.size, bool)
    changed[1:] = (rows[1:] != rows[:-1]) | (tie[1:] != tie[:-1])
    row_start = np.flatnonzero(changed)
    return Ranking(row, col, start, by_row, row_start, rows[row_start])


def small(largest: int) -> type[np.signedinteger]:
    """Give the narrowest type of positions up to the largest."""
    return np.int32 if largest < np.iinfo(np.int32).max else np.int64


def starts(values: np.ndarray) -> np.ndarray:
    """Positions at which a new value begins in a sorted array."""
    new = np.ones(values.size, bool)
    new[1:] = values[1:] != values[:-1]  # not a difference: infinite scores tie too
    return np.flatnonzero(new)


def count(flags: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Count the True flags of each tie."""
    if not start.size:
        return np.zeros(0, np.int64)
    return np.add.reduceat(flags, start, dtype=np.int64)


def metrics_of(
    ranking: Ranking, universe: Universe, permutation: np.ndarray | None = None
) -> dict[str, float | int | None]:
    """Compute the seven metrics of a ranking; `permutation` (p,) renames its targets."""
    state = universe.state
    col = ranking.col if permutation is None else permutation[ranking.col]
    hit = state[ranking.row, col]
    positive, listed = hit == POSITIVE, hit != ABSENT
    positives = (state == POSITIVE).sum(axis=1, dtype=np.int64)
    totals = (state != ABSENT).sum(axis=1, dtype=np.int64)
    found, seen = count(positive, ranking.start), count(listed, ranking.start)
    values = _threshold_metrics(found, seen, int(positives.sum()), int(totals.sum()))
    values["macro_auroc"] = _macro_auroc(
        ranking.row_of,
        count(positive[ranking.by_row], ranking.row_start),
        count(listed[ranking.by_row], ranking.row_start),
        positives,
        totals,
    )
    return {name: values[name] for name in METRICS}


def curve_of(ranking: Ranking, universe: Universe) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall at every threshold, (n,) each; what is unlisted is the last one."""
    state = universe.state
    hit = state[ranking.row, ranking.col]
    found, seen = count(hit == POSITIVE, ranking.start), count(hit != ABSENT, ranking.start)
    positives, total = int((state == POSITIVE).sum()), int((state != ABSENT).sum())
    found, seen = _with_unlisted(found, seen, positives, total)
    true = np.cumsum(found)
    return true / np.cumsum(seen), true / true[-1]


def _with_unlisted(
    found: np.ndarray, seen: np.ndarray, positives: int, total: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positives and pairs per tie, best first, with what is unlisted as one last tie."""
    found = np.append(found, positives - found.sum())
    seen = np.append(seen, total - seen.sum())
    return found[seen > 0], seen[seen > 0]


def _threshold_metrics(
    found: np.ndarray, seen: np.ndarray, positives: int, total: int
) -> dict[str, float | int | None]:
    """Metrics from positives and pairs per tie, best first."""
    found, seen = _with_unlisted(found, seen, positives, total)
    true, ranked = np.cumsum(found), np.cumsum(seen)
    negatives = total - positives
    prevalence = positives / total
    auprc = float(np.sum(found / positives * (true / ranked)))
    # The tie that straddles rank k gives its share: the expectation over random orders.
    at = int(np.searchsorted(ranked, positives))
    before, above = (int(true[at - 1]), int(ranked[at - 1])) if at else (0, 0)
    top = before + (positives - above) * int(found[at]) / int(seen[at])
    auroc = None
    if negatives:
        auroc = float(np.sum((seen - found) * (true - found / 2)) / (positives * negatives))
    return {
        "auprc": auprc,
        "auprc_ratio": auprc / prevalence,
        "epr": top / positives / prevalence,
        "auroc": auroc,
        "n_universe": total,
        "n_positive": positives,
    }


def _macro_auroc(
    row: np.ndarray, found: np.ndarray, seen: np.ndarray, positives: np.ndarray, totals: np.ndarray
) -> float | None:
    """Mean AUROC over regulators with enough positives; ties are ordered within regulators."""
    q = positives.size
    listed_found = np.zeros(q, np.int64)
    listed_seen = np.zeros(q, np.int64)
    np.add.at(listed_found, row, found)
    np.add.at(listed_seen, row, seen)
    # Positives above each tie, within its regulator.
    true = np.cumsum(found) - (np.cumsum(listed_found) - listed_found)[row]
    wins = np.bincount(row, weights=(seen - found) * (true - found / 2), minlength=q)
    rest_found = positives - listed_found
    rest_seen = totals - listed_seen
    wins = wins + (rest_seen - rest_found) * (listed_found + rest_found / 2)
    negatives = totals - positives
    usable = (positives >= MACRO_POSITIVES) & (negatives > 0)
    if not usable.any():
        return None
    return float(np.mean(wins[usable] / (positives[usable] * negatives[usable])))


def ranking_metrics(label: np.ndarray, score: np.ndarray) -> dict[str, float | int | None]:
    """Metrics of one list of scored pairs, every pair listed.

    With the pairs ordered from the highest score down, equal scores being one threshold n that
    adds the recall R_n - R_{n-1} at precision P_n:

        auprc = sum over n of (R_n - R_{n-1}) P_n          (scikit-learn's average precision)
        auroc = P(score of a positive > of a negative) + P(equal) / 2
        epr   = precision among the first k / prevalence   (k = number of positives; a tie across
                rank k counts with the share of it that random order puts above)

    Parameters
    ----------
    label
        (n,) 0 or 1, or bool.
    score
        (n,) higher is better; may be infinite, not NaN.

    Returns
    -------
    dict
        ``auprc``, ``auprc_ratio``, ``epr``, ``auroc`` (None without a negative), ``n_universe``
        and ``n_positive``.

    Raises
    ------
    ValueError
        When shapes differ, a score is NaN or there is no positive.

    Examples
    --------
    >>> metrics = ranking_metrics([1, 0, 1, 0], [3.0, 2.0, 2.0, 1.0])
    >>> round(metrics["auprc"], 4), metrics["epr"], metrics["auroc"]
    (0.8333, 1.5, 0.875)
    """
    label, score = _checked(label, score)
    return _threshold_metrics(*_per_tie(label, score), int(label.sum()), label.size)


def _checked(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    label, score = np.asarray(label).astype(bool), np.asarray(score, dtype=np.float64)
    if label.ndim != 1 or label.shape != score.shape:
        raise ValueError(
            f"Labels have the shape {label.shape} and scores {score.shape}; give one of each per "
            "pair."
        )
    if np.isnan(score).any():
        raise ValueError(f"{int(np.isnan(score).sum())} scores are NaN; leave these pairs out.")
    if not label.any():
        raise ValueError("No label is positive; there is nothing to score against.")
    return label, score


def precision_recall(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of one list of scored pairs, one point per threshold.

    Parameters
    ----------
    label, score
        As in `ranking_metrics`, whose ``auprc`` is the area under these steps.

    Returns
    -------
    precision, recall : (number of distinct scores,) float
        From the highest score down.

    Examples
    --------
    >>> precision_recall([1, 0, 1, 0], [3.0, 2.0, 2.0, 1.0])[1]
    array([0.5, 1. , 1. ])
    """
    found, seen = _per_tie(*_checked(label, score))
    true = np.cumsum(found)
    return true / np.cumsum(seen), true / true[-1]


def _per_tie(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and pairs of each tie, best first."""
    order = np.argsort(-score, kind="stable")
    start = starts(score[order])
    return count(label[order], start), np.diff(np.append(start, score.size))


def best(cell: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct cells with the highest of their scores, cells ascending."""
    order = np.lexsort((-score, cell))
    cell, score = cell[order], score[order]
    first = starts(cell)
    return cell[first], score[first]


def ranks_above_unlisted(score: np.ndarray, grid: int) -> np.ndarray:
    """Mid-rank of each listed score in the whole grid, less the mid-rank of what is unlisted."""
    order = np.argsort(score, kind="stable")
    start = starts(score[order])
    end = np.append(start[1:], score.size)
    rank = np.empty(score.size)
    rank[order] = np.repeat((start + end + 1) / 2, end - start)
    return rank + (grid - score.size - 1) / 2
