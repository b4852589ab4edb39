"""Claims about methods that choose along a path: each of its values is solved by all signs."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np

from unigrn.methods import get
from unigrn.verify.claims.common import Search, apart, claimed, fit
from unigrn.verify.claims.methods import NO_THEOREM, divided, few_cells, genes
from unigrn.verify.instances import Instance
from unigrn.verify.search import Finding


def _least(gram: np.ndarray, cross: np.ndarray, price: float, ridge: float) -> np.ndarray:
    """Minimise theta' (G + ridge) theta - 2 c' theta + price |theta|_1, by all its signs."""
    q = len(cross)
    signs = np.array(list(product((-1, 0, 1), repeat=q)), float)
    used = signs != 0
    matrix = (gram + ridge * np.eye(q)) * used[:, :, None] * used[:, None, :]
    matrix += np.eye(q) * ~used[:, None, :]
    theta = np.linalg.solve(matrix, ((cross - price / 2 * signs) * used)[:, :, None])[:, :, 0]
    value = np.einsum("ni,ij,nj->n", theta, gram, theta) - 2 * theta @ cross
    value += price * np.abs(theta).sum(axis=1) + ridge * (theta**2).sum(axis=1)
    # A point of any sign pattern is a point of the problem: the least of them is its minimum.
    return theta[np.argmin(value)]


def _twin(
    instance: Instance,
    *,
    ridge: float = 0.01,
    gamma: float = 0.5,
    first: float = 2.0,
    ddof: int = 0,
    own: bool = False,
    per_cell: bool = True,
) -> np.ndarray:
    known, _, values = genes(instance)
    values = divided(values, ddof)
    weight = instance.weight / (instance.weight.sum() if per_cell else 1)
    values = values - weight @ values / weight.sum()
    cells, regulators = int((instance.weight > 0).sum()), known.shape[1]
    out = np.zeros(known.shape[::-1])
    for t in range(len(known)):
        kept = np.ones(regulators, bool)
        if t < regulators and not own:
            kept[t] = False
        x, y = values[:, :regulators][:, kept], values[:, t]
        if not kept.any():
            continue
        gram, cross = (x.T * weight) @ x, (x.T * weight) @ y
        best = np.inf
        for price in first * np.geomspace(1, 0.01, 20):
            theta = _least(gram, cross, price, ridge)
            rss = max(weight @ (y - x @ theta) ** 2, np.finfo(float).tiny)
            edges = (np.abs(theta) > 1e-9 * np.abs(theta).max()).sum()
            fine = edges * (np.log(cells) + 2 * gamma * np.log(kept.sum()))
            score = cells * np.log(rss / cells) + fine
            if score < best - 1e-9 * abs(score):
                best, out[kept, t] = score, theta
    return out


def _elastic_net(instance: Instance, **change: Any) -> list[Finding]:
    known, names, values = genes(instance)
    found = fit(
        get("elastic_net").function(None),
        values,
        names[: known.shape[1]],
        names,
        known.T,
        weights=instance.weight,
    )
    return [apart("minimiser", found.theta[0], _twin(instance, **change))]


CLAIMS = (
    claimed(
        "methods.elastic_net",
        "the fit is the elastic net on all regulators but the gene itself, at the strength of the "
        "path that the extended BIC chooses",
        (),
        Search("elastic_net", partial(_elastic_net), (few_cells,), 1e-8).slipped,
        {
            "no ridge beside the L1": {"ridge": 0.0001},
            "the plain BIC": {"gamma": 0.0},
            "a path from half as far": {"first": 1.0},
            "sample standard deviations": {"ddof": 1},
            "edges of genes to themselves": {"own": True},
            "penalties not relative to the number of cells": {"per_cell": False},
        },
        reason=NO_THEOREM,
        share=0.5,
    ),
)
