"""Claims about groups of cells along a lineage: fused fits, solved on the side of the dual."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear

import unigrn as u
from unigrn.data import Data
from unigrn.methods.tree_fused import tree_fused
from unigrn.verify.claims.common import Search, apart, claimed, placed, prior_of
from unigrn.verify.claims.methods import NO_THEOREM, divided
from unigrn.verify.search import Finding

SOURCES, TARGETS = ("r0", "r1", "r2"), ("r0", "t0", "t1")
TREE = (("mid", "root", 1.0), ("left", "mid", 2.0), ("right", "mid", 0.5))
GROUPS = ("left", "mid", "right", "root")  # in the order of the data


@dataclass(frozen=True)
class Lineage:
    """Cells of four groups along a tree, and the strengths of the method."""

    seed: int = 0
    sizes: tuple[int, ...] = (9, 30, 12, 20)
    fusion: float = 0.05
    strength: float = 0.05
    ridge: float = 0.01
    weighted: bool = False
    constant: bool = False

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values of r0, r1, r2, t0, t1, group and weight of every cell."""
        rng = np.random.default_rng(self.seed)
        group = np.repeat(np.arange(len(GROUPS)), self.sizes)
        x = rng.normal(size=(len(group), 3)) + rng.normal(size=(len(group), 1))
        if self.constant:
            x[:, 2] = 1.5
        theta = rng.normal(size=(3, 2)) + 0.5 * rng.normal(size=(len(GROUPS), 3, 2))
        y = np.einsum("nq,nqp->np", x, theta[group]) + rng.normal(size=(len(group), 2))
        weight = rng.integers(1, 4, len(group)) if self.weighted else np.ones(len(group))
        return np.c_[x, y] * 10.0 ** rng.integers(-1, 2, 5), group, weight.astype(float)

    @property
    def known(self) -> np.ndarray:
        """Edges of the prior, regulators x targets: two of each target, and r0 to itself."""
        order = np.random.default_rng(self.seed + 1).permuted(np.tile(np.arange(3), (3, 1)), axis=1)
        known = order.T < 2
        known[:, 0] = True
        return known


def _dual(hess: np.ndarray, right: np.ndarray, rows: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Minimise x' H x - 2 c' x + sum_r price_r |a_r x| by its dual.

    With H = L L', max over |u_r| <= price_r of -|L^-1 (c - A'u / 2)|^2 is bounded least squares in
    u, solved by sets of free entries; then x = H^-1 (c - A'u / 2).
    """
    rows, price = rows[price > 0], price[price > 0]
    if not len(price):
        return np.linalg.solve(hess, right)
    root = np.linalg.cholesky(hess)
    design, target = np.linalg.solve(root, rows.T) / 2, np.linalg.solve(root, right)
    u = lsq_linear(design, target, (-price, price), method="bvls", tol=1e-15, max_iter=10**4).x
    return np.linalg.solve(hess, right - rows.T @ u / 2)


def _twin(
    at: Lineage,
    *,
    tree: tuple = TREE,
    own: bool = False,
    per_cell: bool = True,
    ddof: int = 0,
    squared: bool = False,
    apart: bool = False,
    even: bool = False,
) -> np.ndarray:
    values, group, weight = at.data()
    values = divided(values, ddof)
    x, y = values[:, :3], values[:, [0, 3, 4]]
    many, out = len(GROUPS), np.zeros((len(GROUPS), 3, 3))
    pairs = np.zeros((len(tree), many))
    for row, (a, b, _) in zip(pairs, tree, strict=True):
        row[GROUPS.index(a)], row[GROUPS.index(b)] = 1, -1
    worth = at.fusion * np.array([1.0 if even else w for *_, w in tree]) * (not apart)
    for t in range(3):
        kept = np.flatnonzero(at.known[:, t] & (own | (np.arange(3) != t) | (t > 0)))
        k = len(kept)
        hess, right = np.zeros((many * k, many * k)), np.zeros(many * k)
        for g in range(many):
            cells = group == g
            w = weight[cells] / (weight[cells].sum() if per_cell else 1)
            dx, dy = (v - w @ v / w.sum() for v in (x[cells][:, kept], y[cells, t]))
            part = slice(g * k, (g + 1) * k)
            hess[part, part], right[part] = (dx.T * w) @ dx, (dx.T * w) @ dy
        hess += at.ridge * np.eye(many * k)
        lines: list[Any] = [np.eye(many * k)]
        price: list[Any] = [np.full(many * k, at.strength)]
        if squared:
            hess += np.kron((pairs.T * worth) @ pairs, np.eye(k))
        else:
            lines.append(np.kron(pairs, np.eye(k)))
            price.append(np.repeat(worth, k))
        theta = _dual(hess, right, np.concatenate(lines), np.concatenate(price))
        out[:, kept, t] = theta.reshape(many, k)
    return out


def _tree_fused(at: Lineage, **change: Any) -> list[Finding]:
    values, group, weight = at.data()
    names = [*SOURCES, *TARGETS[1:]]
    own: Any = weight if at.weighted else None
    labels = [GROUPS[g] for g in group]
    data = Data.from_arrays(values, names, groups=labels, dtype="float64", weights=own)
    prior = prior_of(at.known, SOURCES, TARGETS)
    spec = tree_fused(prior, list(TREE), at.fusion, at.strength, at.ridge)
    found = u.fit(u.plan(spec, data, list(SOURCES), list(TARGETS), tolerance=1e-11))
    theta = placed(found, found.weights, SOURCES, TARGETS, 0.0)
    return [apart("minimiser", theta, _twin(at, **change))]


def _lineages():
    from hypothesis import strategies as st

    prices = st.sampled_from((0.0, 0.02, 0.1, 0.4))
    return st.builds(
        Lineage,
        seed=st.integers(0, 2**16),
        sizes=st.sampled_from(((9, 30, 12, 20), (2, 40, 1, 25), (60, 8, 3, 3))),
        fusion=st.sampled_from((0.0, 0.05, 0.2, 1e4)),
        strength=prices,
        ridge=st.sampled_from((0.01, 0.3)),
        weighted=st.booleans(),
        constant=st.booleans(),
    )


CLAIMS = (
    claimed(
        "methods.tree_fused",
        "the fit is the least of the squares of all groups with L1, ridge and the priced "
        "differences along the tree, whatever the strengths, exact ties included",
        (),
        Search("tree_fused", partial(_tree_fused), (_lineages,), 1e-7).slipped,
        {
            "groups fitted by themselves": {"apart": True},
            "squared differences": {"squared": True},
            "weights of the tree left out": {"even": True},
            "the groups in a row": {
                "tree": (("left", "mid", 1.0), ("mid", "right", 1.0), ("right", "root", 1.0))
            },
            "sample standard deviations": {"ddof": 1},
            "penalties not relative to the number of cells": {"per_cell": False},
            "edges of genes to themselves": {"own": True},
        },
        reason=NO_THEOREM,
        share=0.5,
    ),
)
