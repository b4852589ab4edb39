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

    ``row``, ``col`` (n,): the pairs; ``start``: where each tie begins, ``value`` its score.
    ``by_row`` (n,): the same order, regulators one after another; ``row_start``, ``row_of``: ties
    within regulators.
    """

    row: np.ndarray
    col: np.ndarray
    start: np.ndarray
    value: np.ndarray
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
    return Ranking(row, col, start, score[start], by_row, row_start, rows[row_start])


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
    found, seen = count(positive, ranking.start), count(listed, ranking.start)
    own = _within(ranking, positive, listed, universe)
    values = _threshold_metrics(found, seen, int(own.positives.sum()), int(own.totals.sum()))
    values["macro_auroc"] = _macro_auroc(own)
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


@dataclass(frozen=True)
class _Within:
    """Ties of every regulator of its own, best first, and what it has beyond its listed pairs.

    ``row``, ``found``, ``seen``, ``true``, ``ranked`` (ties,): the regulator, positives and pairs
    of the tie, and of all down to it. The others are (q,).
    """

    row: np.ndarray
    found: np.ndarray
    seen: np.ndarray
    true: np.ndarray
    ranked: np.ndarray
    positives: np.ndarray
    totals: np.ndarray
    rest_found: np.ndarray
    rest_seen: np.ndarray


def _within(
    ranking: Ranking, positive: np.ndarray, listed: np.ndarray, universe: Universe
) -> _Within:
    positives = (universe.state == POSITIVE).sum(axis=1, dtype=np.int64)
    totals = (universe.state != ABSENT).sum(axis=1, dtype=np.int64)
    row = ranking.row_of
    found = count(positive[ranking.by_row], ranking.row_start)
    seen = count(listed[ranking.by_row], ranking.row_start)

    def running(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        own = np.zeros(positives.size, np.int64)
        np.add.at(own, row, values)
        return np.cumsum(values) - (np.cumsum(own) - own)[row], own

    (true, of_found), (ranked, of_seen) = running(found), running(seen)
    rest = positives - of_found, totals - of_seen
    return _Within(row, found, seen, true, ranked, positives, totals, *rest)


def _macro_auroc(own: _Within) -> float | None:
    """Mean AUROC over regulators with enough positives; ties are ordered within regulators."""
    q = own.positives.size
    lost = (own.seen - own.found) * (own.true - own.found / 2)
    wins = np.bincount(own.row, weights=lost, minlength=q)
    wins = wins + (own.rest_seen - own.rest_found) * (
        own.positives - own.rest_found + own.rest_found / 2
    )
    negatives = own.totals - own.positives
    usable = (own.positives >= MACRO_POSITIVES) & (negatives > 0)
    if not usable.any():
        return None
    return float(np.mean(wins[usable] / (own.positives[usable] * negatives[usable])))


def precision_by_regulator(ranking: Ranking, universe: Universe) -> np.ndarray:
    """Average precision among the pairs of each regulator, (q,); NaN where all or none are true."""
    hit = universe.state[ranking.row, ranking.col]
    own = _within(ranking, hit == POSITIVE, hit != ABSENT, universe)
    area = np.bincount(
        own.row,
        weights=own.found * (own.true / np.maximum(own.ranked, 1)),
        minlength=own.positives.size,
    )
    area = area + own.rest_found * (own.positives / np.maximum(own.totals, 1))
    mixed = (own.positives > 0) & (own.positives < own.totals)
    return np.where(mixed, area / np.maximum(own.positives, 1), np.nan)


def early_precision_beeline(ranking: Ranking, universe: Universe) -> float | None:
    """Early precision over prevalence by the rule of BEELINE for ties and short lists.

    With k positives, all listed pairs that score at least as much as the kth listed one are taken
    (all listed pairs where there are fewer than k; a score of 0 is not listed): their precision,
    over the prevalence. None where no pair is listed. Source: Pratapa et al. 2020,
    doi:10.1038/s41592-019-0690-6, whose program also rounds scores to six decimals, which is not
    done here.
    """
    hit = universe.state[ranking.row, ranking.col]
    found, seen = count(hit == POSITIVE, ranking.start), count(hit != ABSENT, ranking.start)
    true, ranked = (np.cumsum(v[ranking.value != 0]) for v in (found, seen))
    if not ranked.size or not ranked[-1]:
        return None
    positives, total = (
        int((universe.state == POSITIVE).sum()),
        int((universe.state != ABSENT).sum()),
    )
    at = min(int(np.searchsorted(ranked, positives)), ranked.size - 1)
    return float(true[at] / ranked[at] / (positives / total))


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
