"""Claims about methods on activities of factors, and about the baselines beside them.

The other side is built from definitions: activities cell by cell, a ridge as rows that are added to
a least-squares problem, and what an edge explains by fitting again without it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import digamma

from unigrn.methods import get
from unigrn.verify.claims import Claim
from unigrn.verify.claims.common import Search, apart, claimed, defined, placed, prior_of
from unigrn.verify.instances import Example
from unigrn.verify.search import Finding

if TYPE_CHECKING:
    from unigrn.solution import Solution

NO_THEOREM = "what a program does from units to table: a definition, no theorem"
GENES = 8
FACTORS = ("g0", "g1", "g2", "u0", "u1")  # the last two are not measured


@dataclass(frozen=True, repr=False)
class Factors(Example):
    """Cells, genes and a signed prior of factors, measured or not, some without any target.

    Parameters
    ----------
    seed
        Of the random numbers.
    cells
        Number of cells: more than factors, fewer, or one.
    odd
        What is odd: nothing, one gene is constant, or one repeats another.
    bare
        So many measured factors, from the first, have no target but themselves.
    weighted
        Cells have weights.
    offset
        Mean of the genes.
    strength
        A positive hyperparameter.
    """

    seed: int = 0
    cells: int = 12
    odd: str = "plain"
    bare: int = 1
    weighted: bool = False
    offset: float = 0.0
    strength: float = 1.0

    @cached_property
    def values(self) -> np.ndarray:
        """Expression, (cells, genes)."""
        rng = self.rng(1)
        out = rng.normal(size=(self.cells, 3)) @ rng.normal(size=(3, GENES))
        out = (out + 0.5 * rng.normal(size=out.shape)) * rng.uniform(0.5, 2, GENES) + self.offset
        if self.odd == "constant":
            out[:, 4] = 1.0
        if self.odd == "repeated":
            out[:, 5] = out[:, 2]
        return out

    @cached_property
    def weight(self) -> np.ndarray:
        """Weights of the cells."""
        return self.rng(2).uniform(0.5, 2, self.cells) if self.weighted else np.ones(self.cells)

    @cached_property
    def prior(self) -> np.ndarray:
        """Signed weights, (factors, genes); every measured factor names itself."""
        rng = self.rng(3)
        size = rng.uniform(0.5, 1.5, (len(FACTORS), GENES)) * rng.choice([-1, 1], (5, GENES))
        known = rng.random(size.shape) < 0.4
        known[:, 3:] |= np.eye(len(FACTORS), dtype=bool)  # each has one target of its own
        known[: self.bare] = False
        known[np.arange(3), np.arange(3)] = True
        return np.where(known, size, 0)


def _factors(odd: tuple[str, ...] = ("plain", "constant", "repeated")):
    from hypothesis import strategies as st

    return st.builds(
        Factors,
        seed=st.integers(0, 2**16),
        cells=st.sampled_from([12, 4, 1]),
        odd=st.sampled_from(odd),
        bare=st.integers(0, 3),
        weighted=st.booleans(),
        offset=st.sampled_from([0.0, 5.0]),
        strength=st.sampled_from([0.1, 1.0, 20.0]),
    )


def _distinct():
    """Without repeated genes: of two equal factors rounding takes one."""
    return _factors(("plain", "constant"))


def _many():
    """More cells, which subsets leave some of."""
    from hypothesis import strategies as st

    return st.builds(
        Factors,
        seed=st.integers(0, 2**16),
        cells=st.sampled_from([24, 12, 5, 1]),
        odd=st.sampled_from(["plain", "constant"]),
        bare=st.integers(0, 3),
        weighted=st.booleans(),
        offset=st.sampled_from([0.0, 5.0]),
    )


def _fit(example: Factors, method: str, sources: list[str] | None = None, **hyper: Any) -> Solution:
    import unigrn

    genes = [f"g{i}" for i in range(GENES)]
    data = unigrn.Data.from_arrays(
        example.values, genes, dtype="float64", weights=example.weight if example.weighted else None
    )
    spec = get(method).function(prior_of(example.prior, FACTORS, genes), **hyper)
    return unigrn.fit(spec, data, regulators=sources)


def _divided(values: np.ndarray) -> np.ndarray:
    """Divide by standard deviations over all cells; what does not vary is left."""
    size = np.abs(values).max(axis=0)
    varies = np.ptp(values, axis=0) > 1e-9 * np.where(size > 0, size, 1)
    return values / np.where(varies, values.std(axis=0), 1)


def _ridge(x: np.ndarray, y: np.ndarray, alpha: float) -> tuple[np.ndarray, float, float]:
    """Return coefficients, residual squares and least objective of rows and alpha as rows."""
    k = x.shape[1]
    tall, right = np.r_[x, np.sqrt(alpha) * np.eye(k)], np.r_[y, np.zeros(k)]
    b = np.linalg.lstsq(tall, right, rcond=None)[0]
    rss = np.sum((y - x @ b) ** 2)
    return b, rss, rss + alpha * b @ b


def _regressors(example: Factors, fallback: bool, selves: bool, zeros: bool) -> dict[str, Any]:
    """Return activities, cell by cell, and expression of factors without one, by name."""
    prior = example.prior.copy()
    if not selves:
        prior[np.arange(3), np.arange(3)] = 0
    named = prior.any(axis=1)
    made = np.stack(
        [np.linalg.lstsq(prior[named].T, cell, rcond=None)[0] for cell in example.values]
    )
    names = np.array(FACTORS)
    out = {name: made[:, i] for i, name in enumerate(names[named].tolist())}
    for i, name in enumerate(FACTORS[:3]):
        if name not in out and fallback:
            out[name] = 0 * example.values[:, i] if zeros else example.values[:, i]
    return dict(sorted(out.items()))


def _rows(
    example: Factors, fallback: bool, selves: bool = False, zeros: bool = False, unit: bool = True
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return regulators, and rows of them and of the genes: centred, each by its weight."""
    made = _regressors(example, fallback, selves, zeros)
    x, y = np.stack(list(made.values()), axis=1), example.values
    if unit:
        x, y = _divided(x), _divided(y)
    root = np.sqrt(example.weight)[:, None]
    x, y = ((v - np.average(v, axis=0, weights=example.weight)) * root for v in (x, y))
    # What rounding leaves of a constant is nothing.
    x, y = (np.where(np.abs(v).max(axis=0) > 1e-12, v, 0) for v in (x, y))
    return list(made), x, y


def _tfa_twin(
    example: Factors,
    alpha: float,
    fallback: bool,
    selves: bool = False,
    zeros: bool = False,
    unit: bool = True,
    per_cell: bool = False,
    refit: bool = True,
    total: bool = False,
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return regulators, coefficients and scores, (regulators, genes)."""
    names, x, y = _rows(example, fallback, selves, zeros, unit)
    alpha = alpha * (example.weight.sum() if per_cell else 1)
    theta, score = np.zeros((len(names), GENES)), np.zeros((len(names), GENES))
    for t in range(GENES):
        kept = [j for j, name in enumerate(names) if name != f"g{t}"]
        b, rss, least = _ridge(x[:, kept], y[:, t], alpha)
        theta[kept, t] = b
        for i, j in enumerate(kept):
            if refit:
                rise = _ridge(x[:, [k for k in kept if k != j]], y[:, t], alpha)[2] - least
            else:
                without = np.where(np.arange(len(b)) == i, 0, b)
                rise = np.sum((y[:, t] - x[:, kept] @ without) ** 2) - rss
            whole = np.sum(y[:, t] ** 2) if total else rss + rise
            score[j, t] = max(rise, 0) / whole if whole > 1e-12 else 0
    return names, theta, score


def _tfa(example: Factors, **change: Any) -> list[Finding]:
    default = example.seed % 2 == 0
    alpha, fallback = (1.0, True) if default else (example.strength, example.seed % 4 == 1)
    hyper = {} if default else {"alpha": alpha, "fallback": fallback}
    found = _fit(example, "tfa_ridge", **hyper)
    names, theta, score = _tfa_twin(example, alpha, fallback, **change)
    if found.plan.problem.regulators.tolist() != names:
        return [Finding("regulators", np.inf)]
    scores = placed(found, found.statistics["score"])[0]
    return [apart("minimiser", found.theta[0], theta), apart("score", scores, score)]


# ------------------------------------------------------------------ methods.inferelator_bbsr


@dataclass(frozen=True)
class _Criterion:
    """The expected criterion of subsets of the columns of ``x``, for one target ``y``."""

    x: np.ndarray
    y: np.ndarray
    g: np.ndarray
    n: float
    price: float | None
    shrunk: bool

    def fitted(self, subset: tuple[int, ...]) -> np.ndarray | None:
        """Least squares on a subset; None where one column is determined by the others."""
        x = self.x[:, subset]
        size = np.linalg.norm(x, axis=0)
        if len(subset) and (size.min() == 0 or np.linalg.cond(x / size) > 3e4):
            return None
        return np.linalg.lstsq(x, self.y, rcond=None)[0]

    def __call__(self, subset: tuple[int, ...]) -> float:
        """Evaluate; infinite where a column is determined by the others."""
        b = self.fitted(subset)
        if b is None:
            return np.inf
        x = self.x[:, subset]
        s = np.sum((self.y - x @ b) ** 2)
        if self.shrunk:
            s += np.sum((x @ (b / np.sqrt(1 + self.g[list(subset)]))) ** 2)
        price = np.log(self.n) if self.price is None else self.price
        s = max(s / 2, np.finfo(float).tiny)
        return self.n * (np.log(s) - digamma(self.n / 2)) + len(subset) * price


def _screened(f: _Criterion, named: np.ndarray, count: int) -> list[int]:
    """Return the candidates whose subsets are tried."""
    size = np.linalg.norm(f.x, axis=0) * np.linalg.norm(f.y)
    r = np.abs(f.x.T @ f.y) / np.where(size > 0, size, 1)
    live = [j for j in range(len(r)) if np.any(f.x[:, j])]
    others = sorted((j for j in live if not named[j]), key=lambda j: -r[j])[:count]
    pool = sorted({j for j in live if named[j]} | set(others))
    if len(pool) <= count:
        return pool
    total = dict.fromkeys(pool, 0.0)
    for j in pool:
        total[j] = f((j,))
        for other in pool:
            if other != j:
                two = f((j, other))
                total[j] += two if np.isfinite(two) else f((j,)) + np.log(f.n)
    return sorted(sorted(pool, key=total.__getitem__)[:count])


def _bbsr(
    example: Factors,
    screen: bool = True,
    price: float | None = None,
    shrunk: bool = True,
    total: bool = False,
    even: bool = False,
) -> list[Finding]:
    default = example.seed % 2 == 0
    hyper: dict[str, Any] = {"candidates": 10, "weight": 1.0, "other": 1.0, "fallback": True}
    if not default:
        hyper = {"candidates": 2, "weight": 5 * example.strength, "other": 0.5, "fallback": True}
    names, x, y = _rows(example, True)
    theta, score = np.zeros((len(names), GENES)), np.zeros((len(names), GENES))
    for t in range(GENES):
        at = [j for j, name in enumerate(names) if name != f"g{t}"]
        named = np.array([example.prior[FACTORS.index(names[j]), t] != 0 for j in at])
        g = np.where(named & (not even), hyper["weight"], hyper["other"])
        f = _Criterion(x[:, at], y[:, t], g, example.weight.sum(), price, shrunk)
        kept = _screened(f, named, hyper["candidates"]) if screen else list(range(len(at)))
        subsets = (s for k in range(len(kept) + 1) for s in itertools.combinations(kept, k))
        best = min(subsets, key=f)
        b = f.fitted(best)
        assert b is not None
        rss = np.sum((y[:, t] - f.x[:, best] @ b) ** 2)
        for i, j in enumerate(best):
            rest = best[:i] + best[i + 1 :]
            without = np.sum((y[:, t] - f.x[:, rest] @ f.fitted(rest)) ** 2)
            theta[at[j], t] = b[i]
            score[at[j], t] = (without - rss) / (np.sum(y[:, t] ** 2) if total else without)
    found = _fit(example, "inferelator_bbsr", **({} if default else hyper))
    if found.plan.problem.regulators.tolist() != names:
        return [Finding("regulators", np.inf)]
    scores = placed(found, found.statistics["score"])[0]
    return [apart("minimiser", found.theta[0], theta), apart("score", scores, score)]


# ------------------------------------------------------------------ methods chosen by stability

PATH, DRAWS = 5, 4  # penalties and subsets


def _subsets(example: Factors, disjoint: bool, one: bool) -> np.ndarray:
    """Weights of cells: of all, and of every subset, (1 + subsets, cells)."""
    n = example.cells
    b = n // DRAWS if disjoint else int(np.floor(0.8 * n))
    out: list[Any] = [np.ones(n)]
    for k in range(DRAWS):
        own = 0 if disjoint or one else k
        order = np.random.default_rng((0, 6, 0, own)).permutation(n)
        rows = order[k * b : (k + 1) * b] if disjoint else order[:b]
        out.append(np.isin(np.arange(n), rows) * 1.0)
    return np.stack(out) * example.weight


def _lassos(x: np.ndarray, y: np.ndarray, weight: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Minimise the mean of squares plus prices |theta|, by all signs of theta.

    ``x`` (cells, q), ``y`` (cells,), ``weight`` (cells,), ``prices`` (penalties, q), infinite
    where there is no candidate; returns (penalties, q).
    """
    w = weight / weight.sum()
    x, y = x - w @ x, y - w @ y
    x, y = (np.where(np.abs(v).max(axis=0) > 1e-9, v, 0) for v in (x, y))
    gram, cross = (x.T * w) @ x, (x.T * w) @ y
    kept = np.isfinite(prices[0])
    signs = np.array([s for s in itertools.product((-1, 0, 1), repeat=len(kept))])
    signs = signs[~signs[:, ~kept].any(axis=1)]
    used = signs != 0
    matrix = gram * used[:, :, None] * used[:, None, :]
    live = np.diagonal(gram) + (np.diagonal(gram) == 0)
    matrix += np.where(used[:, None, :], 0, np.diag(live))
    # Of columns that depend on each other a minimum does without one.
    size = np.sqrt(live)
    sound = np.linalg.cond(matrix / size[:, None] / size) < 1e9
    signs, used, inverse = signs[sound], used[sound], np.linalg.inv(matrix[sound])
    cost = np.where(kept, prices, 0)
    right = (cross - cost[:, None, :] / 2 * signs) * used  # (penalties, signs, q)
    theta = np.einsum("sij,lsj->lsi", inverse, right)
    value = np.einsum("lsi,ij,lsj->ls", theta, gram, theta) - 2 * theta @ cross
    value += np.einsum("lsi,li->ls", np.abs(theta), cost)
    best = theta[np.arange(len(prices)), np.argmin(value, axis=1)]
    return np.where(np.abs(best) > 1e-9, best, 0)


def _stable(
    example: Factors,
    method: str,
    hyper: dict[str, Any],
    path: np.ndarray,
    bias: float = 1.0,
    disjoint: bool = False,
    one: bool = False,
    lone: bool = False,
    ends: bool = True,
    half: bool = False,
    even: bool = False,
) -> list[Finding]:
    names, x, y = _unweighted(example)
    weights = _subsets(example, disjoint, one)
    edges = np.zeros((PATH, 1 + DRAWS, len(names), GENES))
    own = np.array([[name == f"g{t}" for t in range(GENES)] for name in names])
    for t in range(GENES):
        known = np.abs(np.array([example.prior[FACTORS.index(name), t] for name in names]))
        share = np.ones(len(names)) if even else 1 - (1 - bias) * np.minimum(known, 1)
        prices = np.where(own[:, t], np.inf, path[:, None] * share)
        for k, w in enumerate(weights):
            if w.sum() > 0:
                edges[:, k, :, t] = _lassos(x, y[:, t], w, prices)
    often = (edges[:, 1:] != 0).mean(axis=1)
    apart_by = (2 - half) * often * (1 - often)
    count = np.maximum((~own).sum(axis=0), 1)
    unstable = apart_by.sum(axis=1) / count
    if not lone:
        unstable = np.maximum.accumulate(unstable, axis=0)
    if (weights[1] > 0).sum() < 2:
        unstable[:] = np.nan
    theta, f, taken = edges[0, 0] * 0, often[0] * 0, np.full(GENES, np.nan)
    for t in range(GENES):
        good = np.flatnonzero(unstable[:, t] <= hyper["threshold"] + 1e-12)
        if len(good):
            last = good[-1] if ends else good[0]
            theta[:, t], f[:, t] = edges[last, 0, :, t], often[last, :, t]
            taken[t] = path[last]
    found = _fit(example, method, **hyper, penalties=PATH, samples=DRAWS)
    if found.plan.problem.regulators.tolist() != names:
        return [Finding("regulators", np.inf)]
    got = placed(found, found.statistics["frequency"])[0]
    return [
        apart("minimiser", found.theta[0], theta),
        apart("frequency", got, np.where(own, 0, f)),
        apart("strength", *defined(found.targets["penalty"][0], taken)),
    ]


def _unweighted(example: Factors) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return regulators, and rows of them and of the genes, in units over all cells."""
    made = _regressors(example, True, False, False)
    return list(made), _divided(np.stack(list(made.values()), axis=1)), _divided(example.values)


def _prior_lasso(example: Factors, **change: Any) -> list[Finding]:
    hyper = {"bias": 0.25 if example.seed % 3 else 0.5, "threshold": 0.1, "smallest": 0.02}
    path = 2 / hyper["bias"] * np.geomspace(1, 0.02, PATH)
    return _stable(example, "prior_lasso", hyper, path, **{"bias": hyper["bias"], **change})


def _inferelator_stars(example: Factors, **change: Any) -> list[Finding]:
    hyper = {"threshold": 0.1, "largest": 2.0, "smallest": 0.04}
    path = np.geomspace(2, 0.04, PATH)
    return _stable(example, "inferelator_stars", hyper, path, **{"disjoint": True, **change})


# ------------------------------------------------------------------ methods.baselines


def _baselines(
    example: Factors, ranks: bool = False, shrunk: bool = True, positive: bool = False
) -> list[Finding]:
    sources: list[str] = list(FACTORS[:3])
    w = example.weight / example.weight.sum()
    values = _divided(example.values)
    centred = values - w @ values
    if ranks:
        centred = np.argsort(np.argsort(centred, axis=0), axis=0) - (example.cells - 1) / 2
    joint = (centred.T * w) @ centred
    own = ~np.eye(3, GENES, dtype=bool)
    size = np.sqrt(np.diag(joint))
    product = size[:3, None] * size
    r = np.where(product > 1e-12, joint[:3] / np.where(product > 1e-12, product, 1), 0)
    found = _fit(example, "correlation", sources)
    got = placed(found, found.statistics["score"])[0]
    out = [apart("correlation", got, np.abs(r) * own)]

    alpha, want = 0.1 if example.seed % 2 else example.strength, np.zeros((3, GENES))
    for t in range(GENES):
        kept = [j for j in range(3) if j != t]
        at = [*kept, t]
        whole = joint[np.ix_(at, at)] + np.diag([alpha * shrunk] * len(kept) + [0])
        if joint[t, t] > 1e-12:
            k = np.linalg.pinv(whole, hermitian=True)
            want[kept, t] = -k[:-1, -1] / np.sqrt(np.diag(k)[:-1] * k[-1, -1])
    found = _fit(example, "partial_correlation", sources, alpha=alpha)
    got = placed(found, found.statistics["partial"])[0]
    out.append(apart("partial correlation", *defined(got, want)))

    prior = np.abs(example.prior) if positive else example.prior
    if (example.prior[:3] * own).any():
        found = _fit(example, "prior_only")
        named = found.plan.problem.regulators.tolist(), found.plan.problem.targets.tolist()
        rows = [FACTORS.index(name) for name in named[0]]
        at = [int(name[1:]) for name in named[1]]
        apart_from = (prior[:3] * own)[np.ix_(rows, at)]
        out.append(apart("prior", found.theta[0], apart_from))
    return out


CLAIMS: tuple[Claim, ...] = (
    claimed(
        "methods.tfa_ridge",
        "the fit is a ridge on standardised activities, which are least squares on the prior cell "
        "by cell, and the score is what the objective rises when an edge is left out",
        (),
        Search("tfa_ridge", _tfa, (_factors,), 1e-8).slipped,
        {
            "a factor's gene counts among its targets": {"selves": True},
            "factors without targets have activity 0": {"zeros": True},
            "activities and genes in their own units": {"unit": False},
            "alpha relative to the number of cells": {"per_cell": True},
            "an edge left out without fitting again": {"refit": False},
            "relative to the total sum of squares": {"total": True},
        },
        reason=NO_THEOREM,
        share=0.5,
    ),
    claimed(
        "methods.inferelator_bbsr",
        "the fit is least squares on the subset of candidates with the least expected criterion of "
        "all, its candidates those of the prior and the best correlated, and the score is what "
        "leaving an edge out costs",
        (),
        Search("inferelator_bbsr", _bbsr, (_distinct,), 1e-7).slipped,
        {
            "every candidate's subsets, without a screen": {"screen": False},
            "two a coefficient in place of log n": {"price": 2.0},
            "no g-prior in the criterion": {"shrunk": False},
            "the prior's edges at the price of others": {"even": True},
            "relative to the total sum of squares": {"total": True},
        },
        reason=NO_THEOREM,
        share=0.5,
    ),
    claimed(
        "methods.prior_lasso",
        "the fit is the lasso on activities, cheaper along the prior, at the least strength of the "
        "path at which subsets of the cells agree on a target's edges, and frequency how many do",
        (),
        Search("prior_lasso", _prior_lasso, (_many,), 1e-7).slipped,
        {
            "an instability that may fall again": {"lone": True},
            "the largest stable strength": {"ends": False},
            "f (1 - f) without its factor": {"half": True},
            "the prior's edges at the price of others": {"even": True},
            "one subset of the cells, many times": {"one": True},
        },
        reason=NO_THEOREM,
        share=0.5,
    ),
    claimed(
        "methods.inferelator_stars",
        "the fit is the lasso on activities at the least strength of the path at which disjoint "
        "subsets of the cells agree on a target's edges, and frequency is how many do",
        (),
        Search("inferelator_stars", _inferelator_stars, (_many,), 1e-7).slipped,
        {
            "subsets that share cells": {"disjoint": False},
            "an instability that may fall again": {"lone": True},
            "the largest stable strength": {"ends": False},
            "f (1 - f) without its factor": {"half": True},
        },
        reason=NO_THEOREM,
        share=0.5,
    ),
    claimed(
        "methods.baselines",
        "correlation is Pearson's, partial_correlation that of the inverse of the ridged joint "
        "covariance, and prior_only the prior with its signs",
        (),
        Search("baselines", _baselines, (_factors,), 1e-8).slipped,
        {
            "correlation of ranks": {"ranks": True},
            "no ridge on the covariance": {"shrunk": False},
            "signs of the prior left out": {"positive": True},
        },
        reason=NO_THEOREM,
        share=0.5,
    ),
)
