"""Means over targets and folds of cells, with intervals for both; Shapley values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import t as student

Subset = tuple[int, ...]


def interval(values: np.ndarray, level: float = 0.9) -> tuple[float, float, float]:
    """Return the mean of values (folds, targets) and an interval for it.

    Targets and folds are random effects of a two-way layout without repeats: the variance of the
    mean is at most var(targets) / p + var(folds) / F, variances of the means of each. What noise
    adds to both is left in: folds share cells, and targets the strengths that were chosen for
    them, which no unbiased estimate takes account of (Bengio and Grandvalet, J. Mach. Learn. Res. 5
    (2004) 1089). Degrees of freedom by Satterthwaite. A source that is adopted by a narrow margin
    is worth less than the interval says more often than it is worth more.

    Source: Satterthwaite, Biometrics Bull. 2 (1946) 110, doi:10.2307/3002019.
    """
    folds, targets = values.shape
    mean = float(values.mean())
    if targets < 2:
        return mean, -math.inf, math.inf
    of_target, of_fold = values.mean(axis=0), values.mean(axis=1)
    first = float(of_target.var(ddof=1)) / targets
    second = float(of_fold.var(ddof=1)) / folds if folds > 1 else 0.0
    total = first + second
    if total == 0:
        return mean, mean, mean
    freedom = total**2 / (first**2 / (targets - 1) + second**2 / max(folds - 1, 1))
    wide = float(student.ppf(0.5 + level / 2, freedom)) * math.sqrt(total)
    return mean, mean - wide, mean + wide


def shapley(value: Mapping[Subset, np.ndarray], sources: int) -> list[np.ndarray]:
    """Return the Shapley value of every source from the values of all subsets.

    phi_s = sum over T without s of |T|! (K - |T| - 1)! / K! (v(T + s) - v(T)).

    Source: Shapley, Ann. Math. Stud. 28 (1953) 307.
    """
    out = []
    for source in range(sources):
        others = [s for s in range(sources) if s != source]
        total: np.ndarray = np.zeros(())
        for size in range(sources):
            factor = 1 / (sources * math.comb(sources - 1, size))
            for subset in itertools.combinations(others, size):
                both = tuple(sorted((*subset, source)))
                total = total + factor * (value[both] - value[subset])
        out.append(total)
    return out


def sampled(
    value: Callable[[Subset], np.ndarray], sources: int, orders: Sequence[Sequence[int]]
) -> list[np.ndarray]:
    """Return Shapley values as means over orders in which sources join, and over their reverses."""
    out: list[np.ndarray] = [np.zeros(()) for _ in range(sources)]
    both = [o for order in orders for o in (tuple(order), tuple(reversed(order)))]
    for order in both:
        for i, source in enumerate(order):
            gain = value(tuple(sorted(order[: i + 1]))) - value(tuple(sorted(order[:i])))
            out[source] = out[source] + gain / len(both)
    return out
