"""False discovery rates from permuted copies."""

from __future__ import annotations

import numpy as np


def false_discovery_rate(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Share of false edges among those at least as strong, from permuted copies.

    fdr(t) = min over s <= t of  (1 + #{null >= s}) / R  /  #{observed >= s}, at most 1, with R
    copies. Source: Storey and Tibshirani, PNAS 100 (2003) 9440, doi:10.1073/pnas.1530509100; the
    added 1 as in Barber and Candes, Ann. Stat. 43 (2015) 2055, doi:10.1214/15-AOS1337.

    Parameters
    ----------
    observed
        (entries,) sizes of the edges.
    null
        (R, entries) sizes of the same edges to permuted targets.
    """
    defined = ~np.isnan(observed)
    order = np.argsort(-observed[defined], kind="stable")
    sizes = observed[defined][order]
    pool = np.sort(null[:, defined].ravel())
    above = len(pool) - np.searchsorted(pool, sizes, side="left")
    # Ties share the number of edges at least as strong.
    rank = np.searchsorted(-sizes, -sizes, side="right")
    rate = np.minimum((1 + above) / len(null) / rank, 1)
    rate = np.minimum.accumulate(rate[::-1])[::-1]
    out = np.full(len(observed), np.nan)
    out[np.flatnonzero(defined)[order]] = rate
    return out
