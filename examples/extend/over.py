"""An axis of one's own: the Poisson bootstrap, reduced to the median and its spread.

Every member weights each cell by a Poisson(1) count: a bootstrap for cells that arrive one by one.
What differs between members is said by one method, what becomes of them by another; the fits
themselves are mapped by unigrn, whatever the spec.
Source: Hanley and MacGibbon, Comput. Methods Programs Biomed. 83 (2006) 57,
doi:10.1016/j.cmpb.2006.04.006.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from unigrn import Over, Spec, least_squares, no_self, over, ridge


@dataclass(frozen=True)
class PoissonBootstrap(Over):
    """``samples`` fits with Poisson weights."""

    samples: int

    size = property(lambda self: self.samples)

    def cells(self, count, group, seed, candidates):
        """Return a function: weights of the cells start..stop-1 of the group, (size, cells)."""
        rng = np.random.default_rng((seed, 99, group))
        weights = rng.poisson(1.0, (self.samples, count)).astype(float)
        return lambda start, stop: weights[:, start:stop]

    def reduce(self, found):
        """Take the median over the members, which are the first axis of every column."""
        weight = found.edges["weight"]
        low, middle, high = np.quantile(weight, [0.25, 0.5, 0.75], axis=0)
        return dataclasses.replace(
            found.mean(), edges={"weight": middle, "interquartile": high - low}
        )


def resampled(prior, alpha: float = 1.0, samples: int = 20) -> Spec:
    """Ridge on all candidates, with the median over Poisson bootstraps."""
    return over(
        Spec(least_squares(), ridge(alpha), no_self(), prior=prior), PoissonBootstrap(int(samples))
    )
