"""Claims about edges that groups of cells share: the dirty model, solved as a least distance."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

import unigrn as u
from unigrn.data import Data
from unigrn.methods.amusr import amusr
from unigrn.verify.claims.common import Search, apart, claimed, placed, prior_of
from unigrn.verify.claims.methods import NO_THEOREM, divided
from unigrn.verify.search import Finding

GENES = ("r0", "r1", "t0", "t1", "t2", "t3")
TARGETS = ("r0", "r1")
FACTORS = ("r0", "r1", "u0", "u1")  # r1 has no target but itself; the last are not measured
GROUPS = ("a", "b", "c")


@dataclass(frozen=True)
class Tasks:
    """Cells of three groups that share part of a network, and the prices of the method."""

    seed: int = 0
    sizes: tuple[int, ...] = (9, 30, 12)
    own: float = 0.05
    shared: float = 0.08
    prior_weight: float = 2.0
    weighted: bool = False

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values of the genes, group and weight of every cell."""
        rng = np.random.default_rng(self.seed)
        group = np.repeat(np.arange(3), self.sizes)
        x = rng.normal(size=(len(group), 4)) + rng.normal(size=(len(group), 1))
        theta = rng.normal(size=(4, 4)) + 0.5 * rng.normal(size=(3, 4, 4))
        y = np.einsum("nq,nqp->np", x, theta[group]) + rng.normal(size=(len(group), 4))
        weight = rng.integers(1, 4, len(group)) if self.weighted else np.ones(len(group))
        return np.c_[x[:, :2], y] * 10.0 ** rng.integers(-1, 2, 6), group, weight.astype(float)

    @property
    def edges(self) -> np.ndarray:
        """Signed weights of the prior, factors x genes; all but r1 have genes of their own."""
        rng = np.random.default_rng(self.seed + 1)
        size = rng.uniform(0.5, 1.5, (4, 6)) * rng.choice([-1, 1], (4, 6))
        known = rng.random((4, 6)) < 0.4
        known[0, 2] = known[2, 3] = known[3, 4] = True
        known[1] = np.arange(6) == 1
        return np.where(known, size, 0)


def _nearest(hess: np.ndarray, right: np.ndarray, atoms: np.ndarray, price: np.ndarray):
    """Minimise x' H x / 2 - c' x + the least sum of price_k w_k over w >= 0 with x = atoms' w.

    Its dual is min (c - v)' H^-1 (c - v) / 2 over atoms v <= price: with H = L L' and v = c - L z
    the shortest z with atoms L z >= atoms c - price, which is nonnegative least squares; then
    x = L'^-1 z. Source: Lawson and Hanson, Solving Least Squares Problems (1974), chapter 23.
    """
    root = np.linalg.cholesky(hess)
    low = atoms @ right - price
    tall = np.r_[(atoms @ root).T, low[None]]
    aim = np.r_[np.zeros(len(hess)), 1.0]
    left = tall @ nnls(tall, aim, maxiter=10**4)[0] - aim
    return np.linalg.solve(root.T, -left[:-1] / left[-1])


def _twin(
    at: Tasks,
    *,
    ddof: int = 0,
    half: float = 0.5,
    even: bool = True,
    both: bool = False,
    prior: bool = True,
    alone: bool = False,
    length: bool = False,
    selves: bool = False,
) -> np.ndarray:
    values, group, weight = at.data()
    edges = at.edges.copy()
    edges[[0, 1], [0, 1]] = 0
    named = edges.any(axis=1)
    made = np.linalg.lstsq(edges[named].T, values.T, rcond=None)[0].T
    x = np.zeros((len(values), 4))
    x[:, ~named], x[:, named] = values[:, :4][:, ~named], made
    x, y, out = divided(x, ddof), divided(values, ddof)[:, :2], np.zeros((3, 4, 2))
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    for t in range(2):
        kept = [j for j in range(4) if selves or FACTORS[j] != TARGETS[t]]
        k = len(kept)
        phi = np.where((at.edges[kept, t] != 0) & prior, 1 / at.prior_weight, 1.0)
        phi = phi / (phi.mean() if even else 1)
        hess, right = np.zeros((3, k, 3, k)), np.zeros((3, k))
        for g in range(3):
            cells = group == g
            w = weight[cells] / weight[cells].sum()
            dx, dy = (v - w @ v for v in (x[cells][:, kept], y[cells, t]))
            hess[g, :, g], right[g] = 2 * half * (dx.T * w) @ dx, 2 * half * (dx.T * w) @ dy
        atoms, price = [], []
        for j in range(k):
            for row, cost in (
                *((r, at.own * phi[j]) for r in (*np.eye(3), *-np.eye(3))),
                *((r, at.shared * (phi[j] if both else 1)) for r in signs * (not alone)),
            ):
                atoms.append(np.outer(row, np.arange(k) == j).ravel())
                price.append(cost * (np.linalg.norm(row) if length else 1))
        theta = _nearest(
            hess.reshape(3 * k, 3 * k), right.ravel(), np.array(atoms), np.array(price)
        )
        out[:, kept, t] = theta.reshape(3, k)
    return out


def _amusr(at: Tasks, **change: Any) -> list[Finding]:
    values, group, weight = at.data()
    own: Any = weight if at.weighted else None
    labels = [GROUPS[g] for g in group]
    data = Data.from_arrays(values, list(GENES), groups=labels, dtype="float64", weights=own)
    spec = amusr(prior_of(at.edges, FACTORS, GENES), at.own, at.shared, at.prior_weight)
    found = u.fit(u.plan(spec, data, list(FACTORS), list(TARGETS), tolerance=1e-11))
    theta = placed(found, found.weights, FACTORS, TARGETS)
    return [apart("minimiser", theta, _twin(at, **change))]


def _tasks():
    from hypothesis import strategies as st

    return st.builds(
        Tasks,
        seed=st.integers(0, 2**16),
        sizes=st.sampled_from(((9, 30, 12), (40, 7, 25))),
        own=st.sampled_from((0.01, 0.05, 0.2)),
        shared=st.sampled_from((0.02, 0.04, 0.08, 0.3)),
        prior_weight=st.sampled_from((1.0, 2.0, 5.0, 0.5)),
        weighted=st.booleans(),
    )


CLAIMS = (
    claimed(
        "methods.amusr",
        "the fit is the least of the squares of all groups with the shared and the own part at "
        "their prices, on activities, the prior cheapening the own part alone",
        (),
        Search("amusr", _amusr, (_tasks,), 1e-7).slipped,
        {
            "nothing is shared": {"alone": True},
            "the shared part by its length, a group norm": {"length": True},
            "the shared part cheaper along the prior too": {"both": True},
            "prices along the prior not renormalised": {"even": False},
            "the prior has no say": {"prior": False},
            "whole squares": {"half": 1.0},
            "sample standard deviations": {"ddof": 1},
            "edges of factors to their own genes": {"selves": True},
        },
        reason=NO_THEOREM,
        share=0.5,
    ),
)
