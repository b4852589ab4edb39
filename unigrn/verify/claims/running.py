"""A run is its parts: groups, weights, bags, permuted copies and passes, one after the other.

The original is plain NumPy and knows of no blocks, batches or sums: it draws, permutes, scales and
solves one target of one bag of one copy of one group at a time. Of the method it shares what makes
the draws reproducible: the seeds of the streams.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from unigrn.api import fit
from unigrn.constraints import no_self, support
from unigrn.data import Data
from unigrn.ensembles import bagging, permuted
from unigrn.losses import least_squares
from unigrn.planner import Plan, plan
from unigrn.regularizers import ridge
from unigrn.spec import Spec
from unigrn.verify.claims import Claim
from unigrn.verify.claims.common import Search, apart, claimed, defined, placed, prior_of
from unigrn.verify.instances import described
from unigrn.verify.search import Finding

SIZES = (4300, 60, 17)  # cells of the groups: more than one stretch of draws and of permutations
SMALL = (60, 62, 50)  # where the fit is iterative: sizes that one program serves
UNITS, MEANS = (1.0, 3.0, 0.5), (2.0, -1.0, 7.0)  # of the groups
SOURCES, TARGETS = tuple(f"r{i}" for i in range(5)), ("r0", "r1", "t0", "t1", "t2")
GENES = tuple(dict.fromkeys((*SOURCES, *TARGETS)))
KNOWN = np.array(  # regulators x targets, self-edges among them: shapes that compile once
    [[1, 1, 1, 0, 1], [1, 1, 0, 0, 1], [1, 0, 1, 1, 1], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1]]
)
BOOTSTRAP, PERMUTED = 4096, 1024  # cells whose draws, and whose order, have a stream of their own
SHARE, ALPHA, PART = 0.6, 2.0, 2  # regulators of a bag, ridge, targets of a pass


@dataclass(frozen=True)
class Run:
    """A small data set of three groups, and how it is fitted."""

    seed: int = 0
    scale: str | None = None
    intercept: bool = True
    weighted: bool = False
    bags: int = 3
    copies: int = 2

    def __repr__(self) -> str:
        return described(self)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Cells of each group."""
        return SMALL if self.scale == "standard" and not self.intercept else SIZES

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
        """Values (cells, genes), group of each cell, weights or None, and the prior."""
        rng = np.random.default_rng((self.seed, 8))
        group = rng.permutation(np.repeat(np.arange(len(self.sizes)), self.sizes))
        mixing = rng.normal(size=(len(GENES), len(GENES))) / 2 + np.eye(len(GENES))
        values = rng.normal(size=(len(group), len(GENES))) @ mixing
        values = values * np.array(UNITS)[group, None] + np.array(MEANS)[group, None]
        weights = rng.uniform(0.2, 3, len(group)) if self.weighted else None
        return values, group, weights, KNOWN


class _InParts(Plan):
    """A plan whose passes over the cells take few targets each."""

    def width(self) -> int:
        """Targets of a pass."""
        return PART


def _shipped(run: Run) -> dict[str, np.ndarray]:
    """Weight, bags_drawn and fdr, (groups, regulators, targets), by plan and solver."""
    values, group, weights, known = run.data()
    own: Any = weights
    base = Spec(
        least_squares(intercept=run.intercept),
        ridge(ALPHA),
        support() + no_self(),
        prior=prior_of(known, SOURCES, TARGETS),
        scale=run.scale,
    )
    data = Data.from_arrays(
        values, GENES, groups=[f"g{g}" for g in group], dtype="float64", weights=own
    )
    whole = plan(
        permuted(bagging(base, run.bags, SHARE), run.copies),
        data,
        regulators=SOURCES,
        targets=TARGETS,
    )
    found = fit(_InParts(**{f.name: getattr(whole, f.name) for f in dataclasses.fields(Plan)}))
    columns = {"weight": found.weights, **found.statistics}
    return {
        name: placed(found, columns[name], SOURCES, TARGETS, np.nan)
        for name in ("weight", "bags_drawn", "fdr")
    }


def _counts(run: Run, n: int, group: int, stretches: bool = True) -> np.ndarray:
    """How often each bag draws each cell: as many as there are, stretch by stretch, (bags, n)."""
    sizes = [min(BOOTSTRAP, n - first) for first in range(0, n, BOOTSTRAP)]
    stream = np.random.default_rng((0, 0, group, 0))
    totals = stream.multinomial(n, np.array(sizes) / n, size=run.bags)
    parts = []
    for block, size in enumerate(sizes):
        stream = np.random.default_rng((0, 0, group, 1, block if stretches else 0))
        drawn = [stream.integers(0, size, total) for total in totals[:, block]]
        parts.append(np.stack([np.bincount(d, minlength=size) for d in drawn]))
    return np.concatenate(parts, axis=1)


def _order(n: int, group: int, copy: int, member: bool = True) -> np.ndarray:
    """Cells of a group as copy number ``copy`` of the targets has them; 0 as they are."""
    if copy == 0:
        return np.arange(n)
    places = []
    for first in range(0, n, PERMUTED):
        stream = np.random.default_rng((0, 2, group, first, copy if member else 1))
        places.append(first + stream.permutation(min(PERMUTED, n - first)))
    return np.concatenate(places)


def _rates(observed: np.ndarray, null: np.ndarray, divided: bool = True) -> np.ndarray:
    """Count false discovery rates, for each edge the least over the thresholds below it."""
    copies = len(null) if divided else 1
    raw = np.array([(1 + (null >= s).sum()) / copies / (observed >= s).sum() for s in observed])
    return np.array([min(1.0, raw[observed <= s].min()) for s in observed])


def _original(
    run: Run,
    streams: bool = True,
    stretches: bool = True,
    use_weights: bool = True,
    members: bool = True,
    moved: bool = True,
    divided: bool = True,
    own_units: bool = True,
    own_mean: bool = True,
) -> dict[str, np.ndarray]:
    """Give the same columns, one fit at a time, with the slip asked for."""
    values, group, weights, known = run.data()
    column = {gene: i for i, gene in enumerate(GENES)}
    sources = np.array([column[s] for s in SOURCES])
    deviation = values.std(0)
    unit = {
        None: np.ones((2, len(GENES))),
        "regulators": np.stack([1 / deviation, np.ones(len(GENES))]),
    }.get(run.scale, np.stack([1 / deviation] * 2))
    shape = (len(SIZES), len(SOURCES), len(TARGETS))
    out = {name: np.full(shape, np.nan) for name in ("weight", "bags_drawn", "fdr")}
    for g, n in enumerate(run.sizes):
        rows = np.flatnonzero(group == g)
        mean = values[rows if own_mean else group == 0].mean(0) if run.scale == "standard" else 0.0
        x, y = ((values[rows] - mean) * u for u in unit)
        counts = _counts(run, n, g if streams else 0, stretches)
        cells = counts * (weights[rows] if weights is not None and use_weights else 1.0)
        spread = values[rows if own_units else group == 0].std(0)
        sizes: list[list[float]] = [[] for _ in range(1 + run.copies)]
        edges: list[tuple[int, int]] = []
        for t, name in enumerate(TARGETS):
            own = [s for s in range(len(SOURCES)) if known[s, t] and SOURCES[s] != name]
            if not own:
                continue
            draw = np.random.default_rng((0, 1, len(own))).random((run.bags, len(own)))
            taken = np.argsort(draw, axis=1)[:, : max(1, int(SHARE * len(own)))]
            drawn = np.array([np.isin(np.arange(len(own)), bag) for bag in taken]).sum(0)
            for copy in range(1 + run.copies):
                place = _order(n, g, copy if moved else 0, members)
                fits = np.full((run.bags, len(own)), np.nan)
                for b, bag in enumerate(taken):
                    a, target = x[:, sources[own]][:, bag], y[place, column[name]]
                    w = cells[b]
                    if run.intercept:
                        a, target = a - w @ a / w.sum(), target - w @ target / w.sum()
                    gram = (a.T * w) @ a + ALPHA * np.eye(len(bag))
                    fits[b, bag] = np.linalg.solve(gram, (a.T * w) @ target)
                total = np.nansum(fits, axis=0)
                weight = np.where(drawn > 0, total / np.maximum(drawn, 1), np.nan)
                if copy == 0:
                    out["weight"][g, own, t], out["bags_drawn"][g, own, t] = weight, drawn
                    edges += [(s, t) for s in np.array(own)[drawn > 0]]
                sizes[copy] += list(np.abs(weight[drawn > 0]) / spread[column[name]])
        rates = _rates(np.array(sizes[0]), np.array(sizes[1:]), divided)
        for (s, t), rate in zip(edges, rates, strict=True):
            out["fdr"][g, s, t] = rate
    return out


def _compared(run: Run, **slip: Any) -> list[Finding]:
    found, wanted = _shipped(run), _original(run, **slip)
    return [apart(name, *defined(found[name], want)) for name, want in wanted.items()]


def _runs() -> Any:
    from hypothesis import strategies as st

    units = [(None, True), ("both", True), ("standard", False), ("regulators", False)]
    return st.builds(
        lambda units, **rest: Run(scale=units[0], intercept=units[1], **rest),
        units=st.sampled_from(units),
        seed=st.integers(0, 2**16),
        weighted=st.booleans(),
    )


def _claim() -> Claim:
    return claimed(
        "methods.run",
        "a run over groups, weighted cells, bags, permuted copies and several passes is its fits "
        "taken one by one, fdr and all",
        (),
        lambda **slip: Search(
            "a run = its fits", lambda run: _compared(run, **slip), (_runs,), 1e-8
        ),
        {
            "one stream of draws for all groups": {"streams": False},
            "one stream of draws for all stretches": {"stretches": False},
            "weights of cells left out of the bags": {"use_weights": False},
            "copies that share their permutation": {"members": False},
            "copies that are not permuted": {"moved": False},
            "rates not divided by the copies": {"divided": False},
            "rates in units of the first group": {"own_units": False},
            "centred by the mean of the first group": {"own_mean": False},
        },
        reason="that a run keeps its books is checked, not proved",
        share=0.3,
    )


CLAIMS = (_claim(),)
