"""One fold of the cells: half of the targets choose, and the other half judges."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrn.evaluate import ranking_metrics
from unigrn.worth.agreement import bits_per_edge, calibrated, ranks
from unigrn.worth.choice import STRENGTHS, Choice, Setting, Table, subsets
from unigrn.worth.intervals import Subset
from unigrn.worth.regression import Regression
from unigrn.worth.sources import Sources

WHOLE = 6  # sources up to which every subset is looked at
ORDERS = 8  # in which more sources join, and as many reversed


class Judge:
    """One fold of the cells: tables of real and permuted sources, halves of the targets."""

    def __init__(self, known: Sources, fold: Any, seed: Any):
        self.known, self.fold, self.seed = known, fold, seed
        rng = np.random.default_rng(seed)
        p, self.count = len(known.targets), len(known.names)
        order = rng.permutation(p)
        self.halves = order[: p // 2], order[p // 2 :]
        self.order = rng.permutation(p)
        self.orders = [rng.permutation(self.count).tolist() for _ in range(ORDERS)]
        self.bits: dict[tuple[str, Subset], np.ndarray] = {}
        self.settings: dict[Subset, list[Setting]] = {}
        self.path = np.zeros((self.count, len(STRENGTHS), p))
        self.agreement: dict[tuple[int, str], list[float]] = {}
        self.gold: dict[Subset, list[dict[str, Any]]] = {}

    def run(self) -> None:
        """Judge each half of the targets by settings that the other half chose."""
        known = self.known
        regression = Regression(self.fold, known.own)
        # A permuted list may name a regulator as its own target: never an edge.
        itself = known.own >= 0
        mixed = known.code[:, self.order].copy()
        mixed[known.own[itself], np.flatnonzero(itself)] = 0
        self.table = real = Table(regression, known.code, self.count)
        null = Table(regression, mixed, self.count)
        for choosing, judged in (self.halves, self.halves[::-1]):
            choice = Choice(real, choosing)
            none = real.at(choice.setting(()))
            for subset in self.looked_at():
                setting = choice.setting(subset)
                self.settings.setdefault(subset, []).append(setting)
                self._note("real", subset, judged, real.at(setting) - none)
            permuted = Choice(null, choosing)
            for subset in self.looked_at():
                found = null.at(permuted.setting(subset))
                self._note("null", subset, judged, found - none)
            for source in range(self.count):
                for i, setting in enumerate(choice.path(source)):
                    self.path[source, i, judged] = (real.at(setting) - none)[judged]
            networks = Networks(real)
            self._agree(choice, networks, choosing, judged)
            if known.gold is not None:
                state = known.gold[:, judged]
                for subset in self.looked_at():
                    size = known.sizes(networks.at(choice.setting(subset)))
                    size = size[:, judged][state >= 0]
                    found = ranking_metrics(state[state >= 0], size)
                    self.gold.setdefault(subset, []).append(found)

    def looked_at(self) -> list[Subset]:
        """Return the subsets that are looked at, the small first."""
        if self.count <= WHOLE:
            return subsets(range(self.count))
        every = range(self.count)
        out = {(), tuple(every), *((s,) for s in every)}
        out |= {tuple(r for r in every if r != s) for s in every}
        for order in self.orders:
            for way in (order, order[::-1]):
                out |= {tuple(sorted(way[:i])) for i in range(self.count + 1)}
        return sorted(out, key=lambda s: (len(s), s))

    def _note(self, kind: str, subset: Subset, judged: np.ndarray, bits: np.ndarray) -> None:
        own = self.bits.setdefault((kind, subset), np.zeros(len(bits)))
        own[judged] = bits[judged]

    def _agree(
        self, choice: Choice, networks: Networks, choosing: np.ndarray, judged: np.ndarray
    ) -> None:
        """Predict hidden edges of every source from expression, and with the other sources."""
        known = self.known
        for source in range(self.count):
            label = (known.code >> source & 1).astype(bool)
            rows = np.flatnonzero(label.any(axis=1))
            others = tuple(s for s in range(self.count) if s != source)
            for kind, subset in (("expression", ()), ("others", others)):
                size = networks.at(choice.setting(subset))[rows]
                self._score(source, kind, size, label[rows], rows, choosing, judged)

    def _score(
        self,
        source: int,
        kind: str,
        size: np.ndarray,
        label: np.ndarray,
        rows: np.ndarray,
        choosing: np.ndarray,
        judged: np.ndarray,
    ) -> None:
        """Note how sizes (regulators, targets) rank a source's edges to judged targets."""
        valid, rank = self.known.own[None, :] != rows[:, None], ranks(size)
        learnt = calibrated(rank[:, choosing], label[:, choosing], valid[:, choosing])
        some, own = valid[:, judged], label[:, judged]
        bits = bits_per_edge(learnt, rank[:, judged], own, some)
        found = ranking_metrics(own[some], size[:, judged][some])
        mixed = own[:, np.random.default_rng(source).permutation(len(judged))]
        permuted = ranking_metrics(mixed[some], size[:, judged][some])
        values: Any = (bits, found["auprc_ratio"], permuted["auprc_ratio"])
        for name, value in zip(("bits", "ratio", "permuted"), values, strict=True):
            self.agreement.setdefault((source, f"{kind} {name}"), []).append(value)


class Networks:
    """Sizes of all coefficients at settings, each worked out once."""

    def __init__(self, table: Table):
        self.table = table
        self.known: dict[Setting, np.ndarray] = {}

    def at(self, setting: Setting) -> np.ndarray:
        """Return |coefficients|, (regulators, targets)."""
        if setting not in self.known:
            self.known[setting] = np.abs(self.table.weights(setting)).astype(np.float32)
        return self.known[setting]
