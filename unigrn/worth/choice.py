"""How strongly each source is believed: chosen on some of the targets, for every subset."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from unigrn.worth.regression import Edges, Regression

OFF = 10.0 ** np.arange(-5, 1.01, 0.5)  # variances of every coefficient, in units of the noise
STRENGTHS = (0.0, *(10.0 ** np.linspace(-4.5, 1.2, 20)))  # what an edge of a source adds to it
Setting = tuple[int, ...]  # place in OFF, then for every source in STRENGTHS: 0 leaves it out


class Table:
    """Bits of every target at any setting, each worked out once.

    Parameters
    ----------
    regression
        Of one fold of cells.
    code
        (regulators, targets) which sources have an edge, a bit each.
    sources
        Number of sources.
    """

    def __init__(self, regression: Regression, code: np.ndarray, sources: int):
        self.regression, self.edges, self.sources = regression, Edges(code), sources
        self.known: dict[Setting, np.ndarray] = {}

    def price(self, setting: Setting) -> np.ndarray:
        """Return the variance that an edge adds, by the code of its sources."""
        codes = np.arange(1 << self.sources)
        bits = (codes[:, None] >> np.arange(self.sources)) & 1
        return bits @ np.array([STRENGTHS[level] for level in setting[1:]])

    def at(self, setting: Setting) -> np.ndarray:
        """Return the bits of every target."""
        if setting not in self.known:
            off, price = OFF[setting[0]], self.price(setting)
            if price.any():
                self.known[setting] = self.regression.with_edges(off, self.edges, price)
            else:
                self.known[setting] = self.regression.without(off)
        return self.known[setting]

    def weights(self, setting: Setting) -> np.ndarray:
        """Return the network at a setting, (regulators, targets)."""
        return self.regression.weights(OFF[setting[0]], self.edges, self.price(setting))


class Choice:
    """The settings that some targets prefer, subset by subset; they alone are looked at.

    A subset starts from the best setting of the subsets that lack one of its sources, climbs
    along the strength of that source, and then along the variance of all other coefficients. What
    is gained by less than its standard error over the targets is left.
    """

    def __init__(self, table: Table, targets: np.ndarray):
        self.table, self.targets = table, targets
        self.found: dict[tuple[int, ...], Setting] = {}

    def score(self, setting: Setting) -> float:
        """Return the mean bits of the targets that choose."""
        return float(np.mean(self.table.at(setting)[self.targets]))

    def path(self, source: int) -> list[Setting]:
        """Return every strength of one source alone, none first."""
        start = self.setting(())
        return [_with(start, source + 1, level) for level in range(len(STRENGTHS))]

    def setting(self, subset: tuple[int, ...]) -> Setting:
        """Return the setting of a subset of the sources."""
        if subset not in self.found:
            self.found[subset] = self._choose(subset)
        return self.found[subset]

    def _choose(self, subset: tuple[int, ...]) -> Setting:
        if not subset:
            every = [(i, *([0] * self.table.sources)) for i in range(len(OFF))]
            return max(every, key=self.score)
        if len(subset) == 1:
            best = max(self.path(subset[0]), key=self.score)
            return self._better(self.setting(()), self._climb(best, 0))
        fewer = {s: self.setting(tuple(r for r in subset if r != s)) for s in subset}
        source, best = max(fewer.items(), key=lambda item: self.score(item[1]))
        alone = self.setting((source,))[source + 1]
        start = max([best, _with(best, source + 1, alone)], key=self.score)
        return self._better(best, self._climb(self._climb(start, source + 1), 0))

    def _better(self, known: Setting, found: Setting) -> Setting:
        """Return what was found if it gains more than the standard error of the gain."""
        gain = (self.table.at(found) - self.table.at(known))[self.targets]
        return found if gain.mean() > gain.std(ddof=1) / len(gain) ** 0.5 else known

    def _climb(self, setting: Setting, place: int) -> Setting:
        """Move along one axis while the score rises."""
        most = len(STRENGTHS if place else OFF)
        best = self.score(setting)
        for step in (-1, 1):
            while 0 <= setting[place] + step < most:
                next_ = _with(setting, place, setting[place] + step)
                if (score := self.score(next_)) <= best:
                    break
                setting, best = next_, score
        return setting


def _with(setting: Setting, place: int, value: int) -> Setting:
    return (*setting[:place], value, *setting[place + 1 :])


def subsets(sources: Iterable[int]) -> list[tuple[int, ...]]:
    """Return all subsets, the small first."""
    own = tuple(sources)
    return [s for size in range(len(own) + 1) for s in itertools.combinations(own, size)]
