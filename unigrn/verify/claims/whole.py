"""Claims about methods that take the whole network at once.

Each runs through plan and solver on named genes, in double precision, and is compared with an
original in NumPy that shares nothing with it.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from unigrn.methods import get
from unigrn.verify.claims import Claim
from unigrn.verify.claims.common import Search, apart, claimed, fit, placed, prior_of
from unigrn.verify.instances import Instance, instances
from unigrn.verify.search import Finding
from unigrn.views import along

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


# ------------------------------------------------------------------ methods.otter


def _matched(
    instance: Instance,
    late: int = 1,
    correlated: bool = True,
    exchanged: bool = False,
    unit: bool = True,
    count: int = 60,
) -> list[Finding]:
    weight = np.array(instance.prior.weight)
    weight[0, 0] = max(weight[0, 0], 1)
    q, p = weight.shape
    names = [f"r{j}" for j in range(q)], [f"t{j}" for j in range(p)]
    P = np.eye(q)
    if instance.seed % 2:
        root = instance.rng(23).normal(size=(q, q))
        P = np.eye(q) + root @ root.T / q
    given = None if not instance.seed % 2 else along(P, "regulators", "regulators", names=names[0])
    values = np.c_[instance.x, instance.y]
    spec = get("otter").function(None, given)
    found = fit(spec, values, *names, weight, weights=instance.weight)
    w = instance.weight / instance.weight.sum()
    y = instance.y - w @ instance.y
    C = (y.T * w) @ y
    root = np.sqrt(np.diag(C))
    some = root > 1e-10 * np.abs(instance.y).max(axis=0)
    C = np.where(np.outer(some, some), C, 0)
    if correlated:
        C = C / np.where(np.outer(some, some), np.outer(root, root), 1)
    P, C = P / np.trace(P), C / max(np.trace(C), 1e-300)
    theta = weight / (np.linalg.norm(weight) if unit else 1)
    share = 0.965 if exchanged else 0.035
    mean = square = np.zeros_like(theta)
    for t in range(1, count + 1):
        pull = (1 - share) * P @ theta + share * theta @ C
        g = 4 * (theta @ theta.T @ theta - pull + 0.335 * theta)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g * g
        size = np.sqrt(square / (1 - 0.999 ** (t + late))) + 1e-8
        theta = theta - 1e-5 * mean / (1 - 0.9 ** (t + late)) / size
    # Of gradients that are rounding alone the sign, and with it a step, is anyone's.
    firm = np.abs(g) > 1e-10 * np.abs(g).max()
    return [
        apart("iterates", np.where(firm, found.theta[0], theta), theta),
        apart("score", placed(found, found.statistics["score"])[0], found.theta[0]),
    ]


def _matched_claim() -> Claim:
    return claimed(
        "methods.otter",
        "the fit is the released descent: sixty late steps of Adam from the prior on both matches",
        (),
        Search("otter", _matched, (_cells,), 1e-8).slipped,
        {
            "corrections of Adam that are not late": {"late": 0},
            "covariance in place of correlation": {"correlated": False},
            "the weights of both matches exchanged": {"exchanged": True},
            "a start in the prior's own units": {"unit": False},
            "one step more": {"count": 61},
        },
        reason=NO_THEOREM,
        share=0.5,
    )


# ------------------------------------------------------------------ methods.dagma


def _acyclic_costs(
    S: np.ndarray, price: np.ndarray, allowed: np.ndarray
) -> dict[tuple[int, ...], float]:
    """Least cost of every order of the genes: a lasso of each on those before it."""
    out = {}
    for order in itertools.permutations(range(len(S))):
        total = 0.0
        for k, j in enumerate(order):
            before = [i for i in order[:k] if allowed[i, j] and S[i, i] > 1e-12]
            b, gram = np.zeros(len(before)), S[np.ix_(before, before)]
            if before:
                b = _coordinate(gram, S[before, j], price[before, j], b)
            total += (
                S[j, j] / 2 - S[before, j] @ b + b @ gram @ b / 2 + price[before, j] @ np.abs(b)
            )
        out[order] = total
    return out


def _acyclic(
    instance: Instance,
    alone: bool = False,
    turned: bool = False,
    whole: bool = False,
    unit: bool = True,
    free: bool = False,
) -> list[Finding]:
    """Compare with the best of all orders that the edges of the fit allow, and of all orders."""
    names, values, weight = _measured(instance)
    names, values, weight = names[:4], values[:, :4], weight[:4, :4].copy()
    weight[0, 1] = max(weight[0, 1], 1)
    strength, bias = instance.rng(22).uniform(0.02, 0.3), (0.3, 0.5)[instance.seed % 2]
    mask = instance.seed % 3 == 0
    spec = get("dagma").function(prior_of(weight, names, names), strength, bias, mask)
    found = fit(spec, values, names, names, weight, weights=instance.weight, tolerance=1e-10)
    w, theta = instance.weight, found.theta[0]
    x = _in_units(values, w) if unit else values - w @ values / w.sum()
    S = (x.T * w) @ x / w.sum()
    evidence = np.minimum(weight.T if alone else weight, 1)
    price = strength * (1 - (1 - bias) * (1 - evidence if turned else evidence))
    price = price / 2 if whole else price
    allowed = (weight > 0) & (not free) if mask else np.ones(theta.shape, bool)
    costs = _acyclic_costs(S, price, allowed | free)
    edges = list(zip(*np.nonzero(theta), strict=True))
    along = [c for o, c in costs.items() if all(o.index(i) < o.index(j) for i, j in edges)]
    rest = np.eye(4) - theta
    cost = np.trace(rest.T @ S @ rest) / 2 + np.sum(price * np.abs(theta))
    if not along:
        return [Finding("cycles", np.inf)]
    size = 1 + abs(min(along))
    return [
        Finding("converged", 0.0 if found.converged.all() else np.inf),
        Finding("minimum", abs(cost - min(along)) / size),
        Finding("objective", abs(np.nanmax(found.targets["objective"]) - cost) / size),
        Finding("bound", max(min(costs.values()) - cost, 0.0) / size),
        Finding("forbidden", float(np.abs(theta[~(allowed | free)]).max(initial=0))),
    ]


def _acyclic_claim() -> Claim:
    return claimed(
        "methods.dagma",
        "the fit has no cycle, and no network without cycles that has all its edges has a lower "
        "cost, of all orders of the genes",
        (),
        Search("dagma", _acyclic, (_cells,), 1e-8).slipped,
        {
            "evidence of the reversed edge": {"alone": True},
            "edges of the prior dearer": {"turned": True},
            "half the penalty": {"whole": True},
            "genes in their own units": {"unit": False},
            "no mask": {"free": True},
        },
        "brute force",
        reason=NO_THEOREM,
        share=0.34,
    )


CLAIMS = (_graphical_claim(), _matched_claim(), _acyclic_claim())
