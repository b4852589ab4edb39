"""Claims about methods whose network is one of genes by genes.

Each runs through plan and solver on named genes, in double precision, and is compared with an
original in NumPy that shares nothing with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrn.methods import get
from unigrn.verify.claims import Claim
from unigrn.verify.claims.common import Search, apart, claimed, fit, placed
from unigrn.verify.instances import Instance, instances
from unigrn.verify.search import Finding

NO_THEOREM = "what a program does from units to table: a definition, no theorem"
GENES = 5


def _measured(instance: Instance) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, expression and prior weights, (from, to), of a few genes."""
    rng = instance.rng(21)
    x, y = instance.x, instance.y
    known = {"mixed": rng.random((GENES, GENES)) < 0.4, "full": np.ones((GENES, GENES), bool)}
    some = known.get(instance.support, np.zeros((GENES, GENES), bool)) & ~np.eye(GENES, dtype=bool)
    weight = np.where(some, rng.choice([0.25, 0.75, 2.0], some.shape), 0)
    return [f"g{k}" for k in range(GENES)], np.c_[x, y][:, :GENES], weight


def _in_units(values: np.ndarray, w: np.ndarray, ddof: int = 0) -> np.ndarray:
    """Divide by the deviation over all cells, and centre by the weighted mean; constant genes 0."""
    some = np.ptp(values, axis=0) > 1e-9 * np.abs(values).max(axis=0)
    values = np.where(some, values / np.where(some, values.std(axis=0, ddof=ddof), 1), 0)
    return values - w @ values / w.sum()


def _cells(**fixed: Any):
    from hypothesis import strategies as st

    return instances(
        offset=st.sampled_from([0.0, 2.0]), weights=st.sampled_from(["ones", "counts"]), **fixed
    )


# ------------------------------------------------------------------ methods.graphical_lasso


def _coordinate(gram: np.ndarray, cross: np.ndarray, price: np.ndarray, b: np.ndarray):
    """Minimise b'Gb / 2 - c'b + sum price |b|, one coefficient after the other."""
    for _ in range(10000):
        largest = 0.0
        for j in range(len(b)):
            rest = cross[j] - gram[j] @ b + gram[j, j] * b[j]
            new = np.sign(rest) * max(abs(rest) - price[j], 0) / gram[j, j]
            largest, b[j] = max(largest, abs(new - b[j])), new
        if largest < 1e-14:
            break
    return b


def _by_columns(S: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Graphical lasso, column after column of the estimated covariance; returns its inverse."""
    p = len(S)
    off = ~np.eye(p, dtype=bool)
    share = np.min(np.where(off & (S != 0), price / np.where(S != 0, np.abs(S), 1), 1), initial=1)
    W = np.where(off, min(share, 0.9) * S, S + np.diag(np.diag(price)))
    B = np.zeros((p, p))
    for _ in range(5000):
        before = W.copy()
        for j in range(p):
            rest = np.flatnonzero(off[j])
            inner = W[np.ix_(rest, rest)]
            B[rest, j] = _coordinate(inner, S[rest, j], price[rest, j], B[rest, j])
            W[rest, j] = W[j, rest] = inner @ B[rest, j]
        if np.abs(W - before).max(initial=0) < 1e-14:
            break
    theta = np.zeros((p, p))
    for j in range(p):
        rest = np.flatnonzero(off[j])
        theta[j, j] = 1 / (W[j, j] - W[rest, j] @ B[rest, j])
        theta[rest, j] = -B[rest, j] * theta[j, j]
    return theta


def _graphical(
    instance: Instance,
    ddof: int = 0,
    diagonal: bool = False,
    directed: bool = False,
    half: bool = False,
    turned: bool = False,
) -> list[Finding]:
    names, values, weight = _measured(instance)
    strength, bias = instance.rng(22).uniform(0.05, 0.5), (0.3, 0.5)[instance.seed % 2]
    found = fit(
        get("graphical_lasso").function(None, strength, bias),
        values,
        names,
        names,
        weight,
        weights=instance.weight,
        tolerance=1e-12,
    )
    w = instance.weight
    x = _in_units(values, w, ddof)
    S = (x.T * w) @ x / w.sum()
    evidence = np.minimum(weight if directed else np.maximum(weight, weight.T), 1)
    price = strength * (1 - (1 - bias) * (1 - evidence if turned else evidence))
    price = (price + price.T) / (4 if half else 2)
    price[np.diag_indices(GENES)] = strength * diagonal
    some = np.diag(S) > 1e-12
    want = np.zeros((GENES, GENES))
    want[np.ix_(some, some)] = _by_columns(S[np.ix_(some, some)], price[np.ix_(some, some)])
    root = np.sqrt(np.where(some, np.diag(want), 1))
    partial = np.where(np.eye(GENES, dtype=bool), 0, -want / np.outer(root, root))
    got = np.nan_to_num(placed(found, found.statistics["score"])[0])
    return [
        apart("minimiser", found.theta[0], want),
        apart("score", got, np.abs(partial)),
        Finding("converged", 0.0 if found.converged.all() else np.inf),
    ]


def _graphical_claim() -> Claim:
    return claimed(
        "methods.graphical_lasso",
        "the fit is the graphical lasso of the genes' correlations, pairs of the prior cheaper, "
        "and its scores are partial correlations",
        (),
        Search("graphical_lasso", _graphical, (_cells,), 1e-7).slipped,
        {
            "sample standard deviations": {"ddof": 1},
            "a penalty on the diagonal": {"diagonal": True},
            "evidence of one direction for that of either": {"directed": True},
            "every pair paid for once": {"half": True},
            "pairs of the prior dearer": {"turned": True},
        },
        reason=NO_THEOREM,
        share=0.5,
    )


CLAIMS = (_graphical_claim(),)
