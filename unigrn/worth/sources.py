"""Sources of prior edges, lined up with the data and with each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.api import prior_of
from unigrn.check import listed
from unigrn.data import Data
from unigrn.evaluate import load_gold

if TYPE_CHECKING:
    import pandas as pd

LEAST_CELLS, LEAST_TARGETS = 20, 20


@dataclass(frozen=True)
class Sources:
    """Sources as codes of pairs: bit s where source s has the edge."""

    names: tuple[str, ...]
    regulators: np.ndarray
    targets: np.ndarray
    code: np.ndarray
    gold: np.ndarray | None = None  # 1 of true edges, 0 of others, -1 of what the gold leaves out
    row: np.ndarray | None = None  # whose activity a regulator is, where it is one

    @classmethod
    def of(
        cls, data: Data, priors: Mapping[str, Any], regulators: Any, targets: Any, least: int = 2
    ) -> Sources:
        """Read the sources, and keep what the data measures."""
        if not isinstance(priors, Mapping) or len(priors) < least:
            got = f"{len(priors)}" if isinstance(priors, Mapping) else type(priors).__name__
            raise ValueError(
                "prior_gain compares sources by name and needs at least two, got "
                f"{got}: give {{'motif': ..., 'binding': ...}} (--prior motif=FILE --prior ...), "
                "or ask prior_strength how far to believe one (unigrn strength)"
            )
        edges: dict[str, pd.DataFrame] = {}
        for name, prior in priors.items():
            if (one := prior_of(prior)) is None:
                raise ValueError(f"the source {name} is None; give a prior, or leave it out")
            edges[name] = one.edges.loc[:, ["source", "target"]].drop_duplicates()
        measured = set(data.genes)

        def ends(end: str, given: Any) -> np.ndarray:
            every = set().union(*(e[end] for e in edges.values())) if given is None else set(given)
            return np.array(sorted(every & measured), dtype=str)

        rows, columns = ends("source", regulators), ends("target", targets)
        code = np.zeros((len(rows), len(columns)), np.int32)
        for bit, (name, table) in enumerate(edges.items()):
            i, j = (
                places(np.array(table[end], dtype=str), axis)
                for end, axis in (("source", rows), ("target", columns))
            )
            here = (i >= 0) & (j >= 0) & np.array(table["source"] != table["target"])
            if not here.any():
                raise ValueError(
                    f"the source {name} has no edge between measured regulators and targets: "
                    f"{len(table):,} edges, such as {table.iloc[0, 0]} -> {table.iloc[0, 1]}; the "
                    f"genes are {listed(data.genes, 3)}"
                )
            np.bitwise_or.at(code, (i[here], j[here]), 1 << bit)
        for a in range(len(edges)):
            for b in range(a):
                if ((code >> a & 1) == (code >> b & 1)).all():
                    first, second = list(edges)[b], list(edges)[a]
                    raise ValueError(
                        f"the sources {first} and {second} have the same edges here; nothing tells "
                        "them apart: leave one out"
                    )
        return cls(tuple(edges), rows, columns, code)

    def judged_by(self, gold: Any) -> Sources:
        """Add the gold standard's edges between these regulators and targets."""
        if gold is None:
            return self
        table = load_gold(gold)
        i, j = (
            places(np.array(table[end], dtype=str), axis)
            for end, axis in (("source", self.regulators), ("target", self.targets))
        )
        label = table["label"].to_numpy() if "label" in table else np.ones(len(table), np.int8)
        state = np.full(self.code.shape, -1, np.int8)
        if "label" not in table:  # all pairs of its regulators and its targets
            state[np.ix_(np.unique(i[i >= 0]), np.unique(j[j >= 0]))] = 0
        here = (i >= 0) & (j >= 0)
        state[i[here], j[here]] = label[here]
        itself = np.flatnonzero(self.own >= 0)
        state[self.own[itself], itself] = -1
        if (state == 1).sum() < LEAST_TARGETS:
            raise ValueError(
                f"{int((state == 1).sum())} edges of the gold standard join the regulators and "
                f"{len(self.targets)} targets that are looked at; needed at least {LEAST_TARGETS}: "
                "look at more targets (most), or leave the gold out"
            )
        return replace(self, gold=state)

    def some(self, which: np.ndarray) -> Sources:
        """Keep some targets."""
        gold = None if self.gold is None else self.gold[:, which]
        return replace(self, targets=self.targets[which], code=self.code[:, which], gold=gold)

    def on(self, row: np.ndarray, code: np.ndarray, which: np.ndarray) -> Sources:
        """Put activities in the regulators' place, and keep some targets."""
        return replace(self.some(which), code=code, row=row)

    def sizes(self, of: np.ndarray) -> np.ndarray:
        """Return the size of each pair of regulator and target: of activities the largest."""
        if self.row is None:
            return of
        out = np.zeros((len(self.regulators), of.shape[1]), of.dtype)
        np.maximum.at(out, self.row, of)
        return out

    def check(self, data: Data, count: int) -> None:
        """Raise where there is too little to hide."""
        if len(self.targets) < LEAST_TARGETS:
            raise ValueError(
                f"{len(self.targets)} targets are measured and vary, and half are hidden in turn: "
                f"give at least {LEAST_TARGETS}"
            )
        cells = int(data.group_sizes.sum())
        if cells < max(LEAST_CELLS, 2 * count):
            raise ValueError(
                f"{cells} cells are too few for {count} folds: give at least {LEAST_CELLS} cells, "
                "and two for each fold (splits / 2)"
            )

    @property
    def own(self) -> np.ndarray:
        """Position of each target among the regulators, or -1; activities are no gene."""
        if self.row is not None:
            return np.full(len(self.targets), -1)
        return places(self.targets, self.regulators)


def places(names: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Return the positions of names in a sorted array, -1 where they are not."""
    at = np.minimum(np.searchsorted(within, names), max(len(within) - 1, 0))
    return np.where(within[at] == names, at, -1) if len(within) else np.full(len(names), -1)
