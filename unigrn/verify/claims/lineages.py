"""Claims about groups of cells along a lineage: fused fits, solved on the side of the dual."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear

import unigrn as u
from unigrn.data import Data
from unigrn.methods.graphical_lasso import graphical_lasso
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


def _posed(at: Lineage) -> tuple[Data, Any, list[str]]:
    """Return the cells as data, the known edges as a prior, and the genes."""
    values, group, weight = at.data()
    names = [*SOURCES, *TARGETS[1:]]
    own: Any = weight if at.weighted else None
    labels = [GROUPS[g] for g in group]
    data = Data.from_arrays(values, names, groups=labels, dtype="float64", weights=own)
    prior = prior_of(at.known, SOURCES, TARGETS)
    return data, prior, names


def _tree_fused(at: Lineage, **change: Any) -> list[Finding]:
    data, prior, names = _posed(at)
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


# ------------------------------------------------------------------ methods.graphical_lasso, fused


def _precisions(S: np.ndarray, moves: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return (S + U)^-1 of the largest sum of log dets, U = sum_r u_r moves_r, |u_r| <= most_r.

    Newton's method within the bounds, which a barrier keeps off, -m sum log(most^2 - u^2) with m
    falling to 1e-15. Source: Boyd and Vandenberghe, Convex Optimization (2004), chapter 11.
    """
    moves, most = moves[most > 0], most[most > 0]
    u = 0 * most

    def matrices(u):
        return S + np.einsum("r,rkij->kij", u, moves)

    def cost(u, m):
        sign, size = np.linalg.slogdet(matrices(u))
        if (sign <= 0).any() or (np.abs(u) >= most).any():
            return np.inf
        return -size.sum() - m * np.sum(np.log((most - u) * (most + u)))

    for m in 10.0 ** np.arange(-1, -16, -1) if len(most) else ():
        for _ in range(50):
            half = np.einsum("kij,rkjl->rkil", np.linalg.inv(matrices(u)), moves)
            low, high = m / (most + u), m / (most - u)
            slope = -np.einsum("rkii->r", half) + high - low
            hess = np.einsum("rkij,skji->rs", half, half) + np.diag((low**2 + high**2) / m)
            root = 1 / np.sqrt(np.diag(hess))
            step = -root * np.linalg.solve(hess * root[:, None] * root, root * slope)
            now, length = cost(u, m), 1.0
            while cost(u + length * step, m) > now + 1e-4 * length * (slope @ step):
                length /= 2
                if length < 1e-10:
                    break
            if length < 1e-10:
                break
            u = u + length * step
            if -(slope @ step) < 1e-6 * m:
                break
    return np.linalg.inv(matrices(u))


def _graphs_twin(
    at: Lineage,
    *,
    tree: tuple = TREE,
    ddof: int = 0,
    even: bool = False,
    diagonal: bool = True,
    cells: bool = False,
    priced: bool = False,
    half: bool = False,
) -> np.ndarray:
    values, group, weight = at.data()
    values = divided(values, ddof)
    known = np.zeros((5, 5))
    known[np.ix_(range(3), [0, 3, 4])] = at.known
    price = at.strength * np.where(known + known.T > 0, 0.5, 1.0)
    live = np.ptp(values, axis=0) > 1e-9
    rows = np.flatnonzero(live)
    size, S = len(rows), []
    for g in range(len(GROUPS)):
        w = weight[group == g] / weight[group == g].sum()
        x = values[group == g][:, rows]
        x = x - w @ x
        S.append((x.T * w) @ x)
    share = np.bincount(group) * len(GROUPS) / len(group) if cells else np.ones(len(GROUPS))
    moves, most = [], []
    for i, j in zip(*np.triu_indices(size), strict=True):
        pair = np.zeros((size, size))
        pair[i, j] = pair[j, i] = 1
        for g in range(len(GROUPS)):
            moves.append((np.arange(len(GROUPS)) == g)[:, None, None] * pair / share[g])
            most.append(price[rows[i], rows[j]] * (i != j or priced))
        for a, b, worth in tree:
            ends = np.zeros(len(GROUPS))
            ends[GROUPS.index(a)], ends[GROUPS.index(b)] = 1, -1
            moves.append((ends / share)[:, None, None] * pair)
            worth = at.fusion * (1.0 if even else worth) * (0.5 if half else 1)
            most.append(worth * (i != j or diagonal))
    out = np.zeros((len(GROUPS), 5, 5))
    out[:, rows[:, None], rows] = _precisions(np.array(S), np.array(moves), np.array(most))
    return out


def _graphs(at: Lineage, **change: Any) -> list[Finding]:
    data, prior, names = _posed(at)
    spec = graphical_lasso(prior, at.strength, 0.5, at.fusion, list(TREE))
    found = u.fit(u.plan(spec, data, names, names, tolerance=1e-11))
    theta = placed(found, found.weights, names, names)
    return [
        apart("minimiser", theta, _graphs_twin(at, **change)),
        Finding("converged", 0.0 if found.converged.all() else np.inf),
    ]


def _graph_lineages():
    from hypothesis import strategies as st

    return st.builds(
        Lineage,
        seed=st.integers(0, 2**16),
        sizes=st.sampled_from(((12, 30, 15, 20), (60, 14, 11, 12))),
        fusion=st.sampled_from((0.02, 0.1, 0.5)),
        strength=st.sampled_from((0.05, 0.1, 0.3)),
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
    claimed(
        "methods.graphical_lasso_fused",
        "with groups fused along a tree the fit is the least of the likelihoods of all groups, the "
        "price of pairs and that of all differences, the diagonal's included",
        (),
        Search("graphical_lasso", _graphs, (_graph_lineages,), 1e-7).slipped,
        {
            "differences of the diagonal are free": {"diagonal": False},
            "groups by their number of cells": {"cells": True},
            "weights of the tree left out": {"even": True},
            "every pair of groups paid for by half": {"half": True},
            "a price on the diagonal": {"priced": True},
            "the groups in a row": {
                "tree": (("left", "mid", 1.0), ("mid", "right", 1.0), ("right", "root", 1.0))
            },
            "sample standard deviations": {"ddof": 1},
        },
        reason=NO_THEOREM,
        share=0.5,
    ),
)
