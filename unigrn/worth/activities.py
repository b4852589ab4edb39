"""Activities of regulators in place of their expression: what other genes say of them."""

from __future__ import annotations

import numpy as np

from unigrn.worth.folds import Fold, Half
from unigrn.worth.sources import Sources

RIDGE = 1.0  # of activities, in units of an edge


def activities(known: Sources, builders: np.ndarray) -> tuple[np.ndarray, Sources]:
    """Return how activities are built, and the sources of the other targets on them.

    Every source has activities of its own, the ridge solution of Y = Z P with its edges P to the
    targets that build: Z = Y P' (P P' + 1)^-1. Its edges to other targets are edges from these.

    Returns
    -------
    turn : (builders, activities) float
        Z = Y turn.
    sources : Sources
        Of the other targets, with activities as regulators; ``row`` says whose each is.
    """
    others = np.setdiff1d(np.arange(len(known.targets)), builders)
    parts, rows, codes = [], [], []
    for s, name in enumerate(known.names):
        edges = (known.code[:, builders] >> s & 1) > 0
        row = np.flatnonzero(edges.any(axis=1))
        if not len(row):
            raise ValueError(
                f"the source {name} has no edge to the targets that build activities, half of all: "
                "look at more targets (most), or leave it out"
            )
        p = edges[row].astype(float)
        parts.append(np.linalg.solve(p @ p.T + RIDGE * np.eye(len(p)), p).T)
        rows.append(row)
        codes.append(known.code[np.ix_(row, others)] & (1 << s))
    return np.concatenate(parts, axis=1), known.on(
        np.concatenate(rows), np.concatenate(codes), others
    )


def turned(fold: Fold, turn: np.ndarray) -> Fold:
    """Return moments of activities Y turn in place of those of Y, scaled to variance 1."""
    fitted = fold.fitted
    variance = np.einsum("gj,gj->j", turn, fitted.gram @ turn) / fitted.count
    turn = turn / np.sqrt(np.where(variance > 1e-12 * variance.max(), variance, np.inf))

    def of(half: Half) -> Half:
        return Half(turn.T @ half.gram @ turn, turn.T @ half.cross, half.square, half.count)

    return Fold(of(fitted), of(fold.hidden))
