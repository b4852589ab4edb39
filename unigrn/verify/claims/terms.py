"""Terms are their formulas: values, what each offers of itself, its prox and its projection.

The other side is plain NumPy on the whole network: sums as they stand in the docstrings, and a prox
by trying every candidate of every entry, and every way of spending a budget.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from types import SimpleNamespace as Names
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln, ndtri

import unigrn as u
from unigrn.binding import laid
from unigrn.filtering import collaborative, collaborative_sketch
from unigrn.terms import Along, Blocks, PriorView, View, joint, local
from unigrn.verify.claims import Claim
from unigrn.verify.claims.common import Search, claimed
from unigrn.verify.formulations import jit
from unigrn.verify.instances import PAD, Instance, Point, instances, points
from unigrn.verify.search import Finding

FACTORS, LAYERS = 2, (2, 4, 1)
OF_TARGETS = {"theta", "intercept", "log_variance", "noise_precision", "weight_precision"}
EVIDENCE = (0.7, 3.0, 8.0)  # multipliers of edges by the number of their layers
SHAPES = ("network", "target", "moments")  # what a term is asked on: padded, plain, padded
NO_THEOREM = "that a function computes its formula is checked, not proved"

Formula = Callable[[Names, Names, Any], Any]  # (hyperparameters, data, blocks) -> number


class Stated(NamedTuple):
    """A shipped term of its hyperparameters, and its formula on the whole network."""

    term: Callable[[Names], Any]
    formula: Formula


# ------------------------------------------------------------------ formulas


def _residual(d: Names, v: Any, intercept: bool = True) -> np.ndarray:
    r = d.y - d.x @ v.theta
    return r - d.w @ r / d.w.sum() if intercept else r


def _squares(h: Names, d: Names, v: Any, intercept: bool = True) -> np.ndarray:
    return d.w @ _residual(d, v, intercept) ** 2


def _marginal(h: Names, d: Names, v: Any) -> float:
    """Take every pair as a regression of its own."""
    total = 0.0
    for j, t in itertools.product(range(d.x.shape[1]), range(d.y.shape[1])):
        r = d.y[:, t] - d.x[:, j] * v.theta[j, t]
        total += d.w @ (r - d.w @ r / d.w.sum()) ** 2
    return h.strength * total


def _plus(d: Names) -> np.ndarray:
    """Return the prior's signs, plus where it gives none."""
    return np.where(d.sign == 0, 1, d.sign)


def _variance(d: Names, ddof: int = 0) -> np.ndarray:
    """Weighted variance of each target; 1 of a constant one."""
    s2 = d.w @ (d.y - d.w @ d.y / d.w.sum()) ** 2 / (d.w.sum() - ddof)
    return np.where(s2 > 1e-20 * np.abs(d.y).max(axis=0) ** 2, s2, 1)


def _likelihood(h: Names, d: Names, v: Any, s2: Any = None, spread: Any = 0.0) -> float:
    s2 = _variance(d) if s2 is None else s2
    squares = _squares(h, d, v) + spread
    return np.sum(squares / (2 * s2) + d.w.sum() / 2 * np.log(2 * np.pi * s2))


def _expected(h: Names, d: Names, v: Any, s2: Any = None) -> float:
    own = d.w @ (d.x - d.w @ d.x / d.w.sum()) ** 2
    return _likelihood(h, d, v, s2, own @ np.exp(v.log_variance))


def _huber(h: Names, d: Names, v: Any, half: float = 1.0) -> float:
    r = np.abs(d.y - d.x @ v.theta - v.intercept)
    far = 2 * h.delta * r - h.delta**2
    return half * np.sum(d.w @ np.where(r <= h.delta, r**2, far))


def _eta(d: Names, v: Any) -> np.ndarray:
    return v.intercept + d.x @ v.theta


def _quantile(h: Names, d: Names, v: Any) -> float:
    """Return a square near 0, and far out the line less what its rounding takes off."""
    r, k, t = d.y - _eta(d, v), h.delta, h.share
    far = np.where(r > 0, t * r - k * t**2 / 2, (t - 1) * r - k * (1 - t) ** 2 / 2)
    inner = (k * (t - 1) <= r) & (r <= k * t)
    return np.sum(d.w @ np.where(inner, r**2 / (2 * k), far))


def _poisson(h: Names, d: Names, v: Any) -> float:
    mean = np.exp(_eta(d, v))
    return np.sum(d.w @ (mean - d.y * np.log(mean) + gammaln(d.y + 1)))


def _negative_binomial(h: Names, d: Names, v: Any) -> float:
    r, mean = 1 / h.share, np.exp(_eta(d, v))
    hit, miss = np.log(mean / (mean + r)), np.log(r / (mean + r))
    ways = gammaln(d.y + r) - gammaln(r) - gammaln(d.y + 1)
    return -np.sum(d.w @ (ways + r * miss + d.y * hit))


def _logistic(h: Names, d: Names, v: Any) -> float:
    on, eta = d.y > 0, _eta(d, v)
    return np.sum(d.w @ np.logaddexp(0, np.where(on, -eta, eta)))


def _concave(h: Names, d: Names, v: Any) -> float:
    size = np.abs(v.theta)
    near = h.strength * size - size**2 / (2 * h.on)
    return np.sum(np.where(size <= h.on * h.strength, near, h.on * h.strength**2 / 2))


def _sorted(h: Names, d: Names, v: Any, largest: bool = True) -> float:
    n = len(v.theta)
    weights = ndtri(1 - np.arange(1, n + 1) * h.share / (2 * n))
    sizes = np.sort(np.abs(v.theta), axis=0)
    return h.strength * np.sum(weights / weights[0] @ (sizes[::-1] if largest else sizes))


def _halves(h: Names) -> list[np.ndarray]:
    return [np.arange(0, len(h.network), 2), np.arange(1, len(h.network), 2)]


def _by_name(h: Names) -> dict[str, list[str]]:
    return {f"g{len(half)}{half[:1]}": [f"r{j}" for j in half] for half in _halves(h) if len(half)}


def _codes(h: Names, term: Any) -> Any:
    """Return a term of groups with its regulators in the order of the network."""
    codes = np.arange(len(h.network)) % 2
    return replace(term, codes=Along(codes.astype(float), ("regulators",)))


def _norms(h: Names, d: Names, v: Any, l1: float = 0.0, rooted: bool = True) -> float:
    total = l1 * np.sum(np.abs(v.theta))
    for half in _halves(h):
        size = np.sqrt(len(half)) if rooted else 1.0
        total += h.strength * size * np.sum(np.linalg.norm(v.theta[half], axis=0))
    return total


def _chain(count: int) -> list[tuple[str, str, float]]:
    return [(f"n{i}", f"n{i + 1}", 0.5 if i % 2 else -2.0) for i in range(count - 1)]


def _linked(h: Names, d: Names, v: Any, axis: int, signed: bool = True) -> float:
    theta = np.moveaxis(v.theta, axis, 0)
    total = 0.0
    for i, (_, _, a) in enumerate(_chain(len(theta))):
        total += abs(a) * np.sum((theta[i] - (np.sign(a) if signed else 1) * theta[i + 1]) ** 2)
    return h.strength * total


def _given(h: Names, d: Names) -> np.ndarray:
    return h.network[:, : d.y.shape[1]]


def _named(h: Names) -> Along:
    return Along(h.network, ("regulators", "targets"))


def _wrong_sides(h: Names, d: Names, v: Any) -> float:
    return np.sum(np.where(d.sign != 0, np.maximum(h.share - d.sign * v.theta, 0), 0) ** 2)


def _log_share(d: Names) -> np.ndarray:
    return np.log(np.clip(d.weight, 0.05, 1)) / np.log(0.05)


def _priced(h: Names, d: Names, v: Any) -> float:
    c = _log_share(d)
    return np.sum(
        c * (h.strength * np.abs(v.theta) + h.share * v.theta**2)
        + h.strength * h.on * np.maximum(-d.sign * v.theta, 0)
    )


def _evidence(h: Names, d: Names, v: Any) -> float:
    """-2 log posterior of theta and both precisions, and the determinant, of one target."""
    centred = d.x - d.w @ d.x / d.w.sum()
    gram, k = (centred.T * d.w) @ centred, len(v.theta)
    a, lam = (float(np.squeeze(p)) for p in (v.noise_precision, v.weight_precision))
    fit = a * np.sum(_squares(h, d, v)) + lam * np.sum(v.theta**2)
    det = np.linalg.slogdet(a * gram + lam * np.eye(k))[1] - d.w.sum() * np.log(a)
    return fit + det - k * np.log(lam) + 2 * h.share * (a + lam - np.log(a * lam))


def _weight(d: Names, layer: str | None) -> np.ndarray:
    return d.weight if layer is None else d.layers[layer]


def _prior_l1(h: Names, d: Names, v: Any, layer: str | None = None) -> float:
    cheap = np.minimum(_weight(d, layer), 1)  # of the way from full price to the biased one
    return h.strength * np.sum(((1 - cheap) + h.share * cheap) * np.abs(v.theta))


def _kin(h: Names, d: Names, v: Any, signed: bool = True) -> float:
    """Sum over pairs of targets whose weighted correlation is large."""
    e = np.sqrt(d.w)[:, None] * (d.y - d.w @ d.y / d.w.sum())
    total = 0.0
    for g, k in itertools.combinations(range(d.y.shape[1]), 2):
        size = np.linalg.norm(e[:, g]) * np.linalg.norm(e[:, k])
        r = e[:, g] @ e[:, k] / size if size > 0 else 0.0
        if abs(r) > h.threshold:
            sign = np.sign(r) if signed else 1.0
            total += abs(r) * np.sum((v.theta[:, g] - sign * v.theta[:, k]) ** 2)
    return h.strength * total


def _known(h: Names, d: Names, v: Any, layer: str | None = None, named: bool = True) -> float:
    """Squares of what is missed of the known edges; of targets without one nothing."""
    weight = _weight(d, layer)
    P = 1.0 * (weight > 0) if layer is None else weight
    return np.sum((v.theta - P)[:, weight.any(axis=0) | (not named)] ** 2)


def _alike(h: Names, d: Names, v: Any, even: float = 0.0, unit: bool = True) -> float:
    """Take singular vectors of the profiles of genes that vary, and the inverse of the kernel."""
    e = np.sqrt(d.w)[:, None] * (d.y - d.w @ d.y / d.w.sum())
    _, s, r = np.linalg.svd(e / np.linalg.norm(e, axis=0), full_matrices=False)
    kept = s > 1e-6 * s[0]
    r = s[kept, None] ** (1 - even) * r[kept]
    r = r / np.linalg.norm(r, axis=0)
    far, n = 1 - r.T @ r, r.shape[1]
    middle = np.median(far[np.triu_indices(n, 1)]) if unit else 1.0
    K = (1 - 1e-4) * np.exp(-far / (h.on * middle)) + 1e-4 * np.eye(n)
    return h.strength * np.trace(v.theta @ np.linalg.solve(K, v.theta.T))


def _widths(h: Names, d: Names) -> np.ndarray:
    return np.where(d.support, h.on, h.off)


def _log_density(h: Names, d: Names, v: Any) -> float:
    t2 = _widths(h, d)
    return np.sum(v.theta**2 / (2 * t2) + np.log(2 * np.pi * t2) / 2)


def _divergence(h: Names, d: Names, v: Any) -> float:
    t2, s2 = _widths(h, d), np.exp(v.log_variance)
    return np.sum((s2 + v.theta**2) / t2 - 1 - np.log(s2 / t2)) / 2


def _counted(
    h: Names, d: Names, kept: int, together: bool = False, first: bool = False
) -> tuple[np.ndarray, ...]:
    """Return P and confidence of every edge: how many layers name it, times its scaled weights."""
    layers = np.array([d.layers[name] for name in sorted(d.layers)])
    tops = layers.max(axis=(1, 2), keepdims=True)
    tops = np.broadcast_to(tops.max() if together else tops, tops.shape)
    scaled = np.divide(layers, tops, out=np.zeros_like(layers), where=tops > 0)
    known = [EVIDENCE[0]] * max(len(layers) - len(EVIDENCE), 0) + list(EVIDENCE)
    known = known[: len(layers)] if first else known[len(known) - len(layers) :]
    count = (layers > 0).sum(axis=0)
    c = np.array([0.0, *known])[count] * scaled.sum(axis=0)
    rank = np.argsort(np.argsort(-c, axis=0, kind="stable"), axis=0)
    return ((c > 0) & (rank < kept)).astype(float), c


def _filtered(
    h: Names, d: Names, v: Any, kept: int = 200, released: bool = False, **slip: Any
) -> float:
    P, c = _counted(h, d, kept, **slip)
    own = c > 0 if released else P > 0
    a = h.strength * np.where(own, c, 1.0)
    b = h.strength * np.where(own, h.on * c, c.max() - 1)
    Z = (v.theta != 0).astype(float)
    fit = (a + b * Z) * (Z + (1 - Z) * P - v.V.T @ v.U) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        price = h.off + np.where(P > 0, 0, a * (1 + a / b))
    return np.sum(fit) + np.sum(price[Z > 0])


def _sketched(h: Names, d: Names, v: Any) -> float:
    C, B, Z = 1 + h.share * d.weight, 1.0 * (d.weight > 0), 1.0 * (v.theta != 0)
    omega = h.on * C * Z * B + h.off * Z * (1 - B) + C
    return np.sum(omega * (Z + (1 - Z) * B - v.V.T @ v.U) ** 2)


def _outside(h: Names, d: Names, v: Any, low: Any, high: Any) -> float:
    return np.max(np.maximum(np.maximum(low - v.theta, v.theta - high), 0), initial=0)


def _signs(d: Names) -> tuple[np.ndarray, np.ndarray]:
    return np.where(d.sign > 0, 0, -np.inf), np.where(d.sign < 0, 0, np.inf)


def _only(allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(allowed, -np.inf, 0), np.where(allowed, np.inf, 0)


def _within(d: Names, within: str) -> np.ndarray:
    if within.startswith("target"):
        return np.broadcast_to(np.arange(d.y.shape[1]) == int(within[6:]), d.support.shape)
    return {"all": d.support | ~d.support, "prior": d.support, "new": ~d.support}[within]


def _most(h: Names, d: Names, count: int, share: float, less: float) -> float:
    edges = d.support.sum()
    return count + np.round(share * edges) - np.round(less * edges)


def _over(
    h: Names, d: Names, v: Any, count: int, share: float, within: str, less: float = 0.0
) -> float:
    used = np.count_nonzero(v.theta[_within(d, within)])
    return max(used - _most(h, d, count, share, less), 0)


def _log_det(h: Names, d: Names, v: Any, ddof: int = 0) -> float:
    """Of the symmetric part, over genes that vary."""
    e = d.x - d.w @ d.x / d.w.sum()
    S, T = (e.T * d.w) @ e / (d.w.sum() - ddof), (v.theta + v.theta.T) / 2
    some = np.diag(S) > 1e-20 * np.abs(d.x).max(axis=0) ** 2
    S, T = S[np.ix_(some, some)], T[np.ix_(some, some)]
    return h.strength * (np.trace(S @ T) - np.log(np.linalg.eigvalsh(T)).sum())


def _pairs(h: Names, d: Names, v: Any, join: Any = np.maximum) -> float:
    cheap = np.minimum(join(d.weight, d.weight.T), 1)
    price = h.strength * ((1 - cheap) + h.share * cheap)
    return np.sum((price * np.abs(v.theta))[~np.eye(len(price), dtype=bool)])


def _indefinite(h: Names, d: Names, v: Any) -> float:
    even = (v.theta + v.theta.T) / 2
    return max(np.abs(v.theta - even).max(), h.on - np.linalg.eigvalsh(even).min(), 0)


def _entries(weights: Callable[[Names, Names], Any], power: int = 1) -> Formula:
    return lambda h, d, v: np.sum(weights(h, d) * np.abs(v.theta) ** power)


STATED: dict[str, Stated] = {
    "least_squares": Stated(
        lambda h: u.least_squares(), lambda h, d, v: np.sum(_squares(h, d, v))
    ),
    "least_squares without intercept": Stated(
        lambda h: u.least_squares(intercept=False),
        lambda h, d, v: np.sum(_squares(h, d, v, False)),
    ),
    "least_squares, mean": Stated(
        lambda h: h.strength * u.least_squares(mean=True),
        lambda h, d, v: h.strength * np.sum(_squares(h, d, v)) / d.w.sum(),
    ),
    "gaussian": Stated(lambda h: u.gaussian(), _likelihood),
    "gaussian of a variance": Stated(
        lambda h: u.gaussian(h.on), lambda h, d, v: _likelihood(h, d, v, h.on)
    ),
    "marginal_squares": Stated(lambda h: h.strength * u.marginal_squares(), _marginal),
    "prior_squares": Stated(
        lambda h: u.prior_squares(), lambda h, d, v: np.sum((v.theta - d.weight * _plus(d)) ** 2)
    ),
    "huber": Stated(lambda h: u.huber(h.delta), _huber),
    "quantile": Stated(lambda h: u.quantile(h.share, h.delta), _quantile),
    "logistic": Stated(lambda h: u.logistic(0.0), _logistic),
    "gaussian_evidence": Stated(lambda h: u.gaussian_evidence(h.share), _evidence),
    "component_analysis": Stated(
        lambda h: h.strength * u.component_analysis(),
        lambda h, d, v: h.strength * np.sum((d.y - v.A.T @ v.theta) ** 2),
    ),
    "expected_gaussian": Stated(lambda h: u.expected_gaussian(), _expected),
    "expected_gaussian of a variance": Stated(
        lambda h: u.expected_gaussian(h.on), lambda h, d, v: _expected(h, d, v, h.on)
    ),
    "ridge": Stated(lambda h: u.ridge(h.strength), _entries(lambda h, d: h.strength, 2)),
    "ridge of the activities": Stated(
        lambda h: u.ridge(h.strength, "A"), lambda h, d, v: h.strength * np.sum(v.A**2)
    ),
    "l1": Stated(lambda h: u.l1(h.strength), _entries(lambda h, d: h.strength)),
    "elastic_net": Stated(
        lambda h: h.on * u.elastic_net(h.strength, h.share),
        lambda h, d, v: h.on * np.sum(h.strength * np.abs(v.theta) + h.share * v.theta**2),
    ),
    "prior_l1": Stated(lambda h: u.prior_l1(h.strength, h.share), _prior_l1),
    "l0": Stated(lambda h: u.l0(h.strength), lambda h, d, v: h.strength * np.sum(v.theta != 0)),
    "minimax_concave": Stated(lambda h: u.minimax_concave(h.strength, h.on), _concave),
    "slope": Stated(lambda h: u.slope(h.strength, h.share), _sorted),
    "group_lasso": Stated(
        lambda h: _codes(h, u.group_lasso(h.strength, _by_name(h))), _norms
    ),
    "sparse_group": Stated(
        lambda h: _codes(h, u.sparse_group(0.7, h.strength, _by_name(h))), partial(_norms, l1=0.7)
    ),
    "l1_linf": Stated(
        lambda h: u.l1_linf(h.strength),
        lambda h, d, v: h.strength * np.sum(np.abs(v.theta).max(axis=1)),
    ),
    "graph_laplacian": Stated(
        lambda h: u.graph_laplacian(h.strength, _chain(h.network.shape[1])),
        partial(_linked, axis=1),
    ),
    "graph_laplacian over regulators": Stated(
        lambda h: u.graph_laplacian(h.strength, _chain(len(h.network)), "regulators"),
        partial(_linked, axis=0),
    ),
    "pull": Stated(
        lambda h: u.pull(h.strength, _named(h)),
        lambda h, d, v: h.strength * np.sum((v.theta - _given(h, d)) ** 2),
    ),
    "pull, absolute": Stated(
        lambda h: u.pull(h.strength, _named(h), absolute=True),
        lambda h, d, v: h.strength * np.sum(np.abs(v.theta - _given(h, d))),
    ),
    "squared_hinge": Stated(
        lambda h: u.squared_hinge(h.strength, h.share),
        lambda h, d, v: h.strength * _wrong_sides(h, d, v),
    ),
    "adaptive_l1": Stated(
        lambda h: u.adaptive_l1(h.strength, _named(h), 2.0, h.off),
        lambda h, d, v: h.strength * np.sum(np.abs(v.theta) / (np.abs(_given(h, d)) + h.off) ** 2),
    ),
    "prior_elastic_net": Stated(
        lambda h: u.prior_elastic_net(h.strength, h.share, "log", floor=0.05, contrary=h.on),
        _priced,
    ),
    "nuclear": Stated(
        lambda h: u.nuclear(h.strength),
        lambda h, d, v: h.strength * np.linalg.norm(v.theta, "nuc"),
    ),
    "laplacian": Stated(lambda h: u.laplacian(h.strength, h.threshold), _kin),
    "laplacian without signs": Stated(
        lambda h: u.laplacian(h.strength, h.threshold, signed=False), partial(_kin, signed=False)
    ),
    "known_edges": Stated(lambda h: u.known_edges(), _known),
    "alike": Stated(lambda h: u.alike(h.strength, h.on), _alike),
    "alike, evened": Stated(
        lambda h: u.alike(h.strength, h.on, 0.5), partial(_alike, even=0.5)
    ),
    "gaussian_prior": Stated(
        lambda h: h.strength * u.gaussian_prior(h.on, h.off),
        lambda h, d, v: h.strength * _log_density(h, d, v),
    ),
    "kl_gaussian": Stated(lambda h: u.kl_gaussian(h.on, h.off), _divergence),
    "collaborative_sketch": Stated(
        lambda h: collaborative_sketch(h.share, h.on, h.off), _sketched
    ),
    "support": Stated(lambda h: u.support(), lambda h, d, v: _outside(h, d, v, *_only(d.support))),
    "no_self": Stated(
        lambda h: u.no_self(), lambda h, d, v: _outside(h, d, v, *_only(~d.self_edge))
    ),
    "nonnegative": Stated(
        lambda h: u.nonnegative(), lambda h, d, v: _outside(h, d, v, 0.0, np.inf)
    ),
    "sign": Stated(lambda h: u.sign(), lambda h, d, v: _outside(h, d, v, *_signs(d))),
    "box": Stated(
        lambda h: u.box(-h.delta, h.strength),
        lambda h, d, v: _outside(h, d, v, -h.delta, h.strength),
    ),
    "simplex": Stated(
        lambda h: u.simplex(h.on),
        lambda h, d, v: max(np.max(-v.theta), np.max(np.abs(v.theta.sum(axis=0) - h.on)), 0),
    ),
    "cardinality": Stated(
        lambda h: u.cardinality(2),
        lambda h, d, v: max(np.max(np.count_nonzero(v.theta, axis=0)) - 2, 0),
    ),
    "rank": Stated(
        lambda h: u.rank(2), lambda h, d, v: np.linalg.svd(v.theta)[1][2:].max(initial=0)
    ),
    "linear_equality": Stated(
        lambda h: u.linear_equality(Along(h.network.T, ("equations", "regulators")), h.on),
        lambda h, d, v: np.max(
            np.abs(h.network.T @ v.theta - h.on)
            / np.linalg.norm(h.network, axis=0)[:, None]
        ),
    ),
    "budget": Stated(lambda h: u.budget(5), lambda h, d, v: _over(h, d, v, 5, 0, "all")),
    "budget on the prior": Stated(
        lambda h: u.budget(1, 0.3, "prior"), lambda h, d, v: _over(h, d, v, 1, 0.3, "prior")
    ),
    "budget of new edges": Stated(
        lambda h: u.budget(0, 0.75, "new", less=0.65),
        lambda h, d, v: _over(h, d, v, 0, 0.75, "new", 0.65),
    ),
}  # fmt: skip
# Those that look at the layers: a program for each number of layers.
LAYERED: dict[str, Stated] = {
    "prior_l1 of a layer": Stated(
        lambda h: u.prior_l1(h.strength, h.share, "layer0"), partial(_prior_l1, layer="layer0")
    ),
    "known_edges of a layer, graded": Stated(
        lambda h: u.known_edges(layer="layer0", graded=True), partial(_known, layer="layer0")
    ),
    "support of a layer": Stated(
        lambda h: u.support("layer0"),
        lambda h, d, v: _outside(h, d, v, *_only(d.layers["layer0"] > 0)),
    ),
    "prior_elastic_net of a layer": Stated(
        lambda h: u.prior_elastic_net(
            h.strength, mapping="logistic", slopes={"layer0": h.on}, offset=h.off
        ),
        lambda h, d, v: h.strength
        * np.sum(np.abs(v.theta) / (1 + np.exp(h.on * d.layers["layer0"] - h.off))),
    ),
    "collaborative": Stated(
        lambda h: collaborative(EVIDENCE, h.strength, h.on, h.off), _filtered
    ),
    "collaborative, two edges a target": Stated(
        lambda h: collaborative(EVIDENCE, h.strength, h.on, h.off, 2), partial(_filtered, kept=2)
    ),
    "collaborative, two edges a target, released": Stated(
        lambda h: collaborative(EVIDENCE, h.strength, h.on, h.off, 2, released=True),
        partial(_filtered, kept=2, released=True),
    ),
}  # fmt: skip
# Those of counts: small regulators, or exponentials leave all bounds.
COUNTED: dict[str, Stated] = {
    "poisson": Stated(lambda h: u.poisson(), _poisson),
    "negative_binomial": Stated(lambda h: u.negative_binomial(h.share), _negative_binomial),
}  # fmt: skip

# Those of genes by genes, on networks whose regulators are their targets.
SQUARE: dict[str, Stated] = {
    "gaussian_graph": Stated(lambda h: h.strength * u.gaussian_graph(), _log_det),
    "pair_l1": Stated(lambda h: u.pair_l1(h.strength, h.share), _pairs),
    "positive_definite": Stated(lambda h: u.positive_definite(h.on), _indefinite),
}  # fmt: skip


# ------------------------------------------------------------------ data, points, hyperparameters


def _counted_data(d: Names, at: list[Blocks]) -> tuple[Names, list[Blocks]]:
    """Return counts in place of expression, and points at which their means are moderate."""
    reach = 1 + max(np.abs(d.x).max() * np.abs(v.theta).sum(axis=0).max() for v in at)
    few = [v.replace(intercept=np.clip(v.intercept, -3, 3)) for v in at]
    y = np.rint(np.minimum(np.abs(d.y), 40))
    return Names(**vars(d) | {"x": 2 * d.x / reach, "y": y}), few


def _data(instance: Instance, layers: int) -> Names:
    """Give what the formulas see: layers of unlike units add up to the prior's weight."""
    prior, rng = instance.prior, instance.rng(11)
    raw = rng.uniform(0.2, 1.5, (layers, *prior.weight.shape))
    raw = raw * (rng.random(raw.shape) < 0.6) * rng.choice([1.0, 5.0, 0.3], (layers, 1, 1))
    raw[0] = np.where(raw.any(axis=0), raw[0], 1.0)
    named = np.where(prior.support, raw, 0)
    return Names(
        x=instance.x,
        y=instance.y,
        w=instance.weight,
        support=prior.support,
        weight=named.sum(axis=0),
        sign=prior.sign,
        self_edge=np.eye(*prior.weight.shape, dtype=bool),
        layers={f"layer{k}": v for k, v in enumerate(named)},
    )


def _hyper(instance: Instance) -> Names:
    """Drawn numbers; a threshold that no correlation is near."""
    rng = instance.rng(12)
    return Names(
        strength=rng.uniform(0.3, 3.0),
        share=rng.uniform(0.1, 0.9),
        on=rng.uniform(1.5, 3.0),
        off=rng.uniform(0.05, 0.5),
        delta=float(rng.choice([0.3, 2.0])) * instance.scale,
        threshold=rng.uniform(0.2, 0.8),
        network=rng.normal(size=(instance.regulators, instance.targets)),
    )


def _blocks(instance: Instance, point: Point) -> list[Blocks]:
    """Four points: two drawn, and two on both sides of the first along steep directions."""
    q, p, n = instance.regulators, instance.targets, instance.cells

    def drawn(salt):
        return Blocks(
            theta=point.array(q, p, salt=salt),
            intercept=point.array(p, salt=salt + 1),
            log_variance=np.clip(point.array(q, p, salt=salt + 2), -3, 3),
            A=point.array(q, n, salt=salt + 3),
            U=replace(point, zeros=0.0, size=1.0).array(FACTORS, p, salt=salt + 4),
            V=replace(point, zeros=0.0, size=1.0).array(FACTORS, q, salt=salt + 5),
            noise_precision=np.exp(point.rng(salt + 6).normal(size=p)),
            weight_precision=np.exp(point.rng(salt + 7).normal(size=p)),
        )

    first = drawn(0)
    root = np.sqrt(instance.weight)[:, None] * np.c_[instance.x, np.ones(n)]
    steep = np.linalg.svd(root)[2][0]
    ahead = {"theta": np.tile(steep[:q, None], p), "intercept": np.tile(steep[q], p)}
    sides = [
        first.replace(**{k: first[k] + s * point.size * v for k, v in ahead.items()})
        for s in (1, -1)
    ]
    return [first, drawn(10), *sides]


def _cut(d: Names, at: list[Blocks]) -> tuple[Names, list[Blocks]]:
    """Return data and points of target 0, as a network of one."""
    own = {
        name: getattr(d, name)[:, :1] for name in ("y", "support", "weight", "sign", "self_edge")
    }
    layers = {k: v[:, :1] for k, v in d.layers.items()}
    few = [Blocks(**{b: v[..., :1] for b, v in v.items() if b in OF_TARGETS}) for v in at]
    return Names(**vars(d) | own | {"layers": layers}), few


def _shaped(shape: str, instance: Instance, d: Names, at: list[Blocks], layered: bool) -> tuple:
    """Return points, view and prior as terms see them on one shape, padding included."""
    pad = 0 if shape == "target" else PAD
    flat = (lambda v: v) if shape == "network" else (lambda v: v[..., 0])

    def longer(v, axis=0):
        return np.pad(v, [(0, pad * (k == axis)) for k in range(v.ndim)])

    prior = PriorView(
        d.support,
        d.weight,
        d.sign,
        d.self_edge,
        np.ones(d.weight.shape, bool),
        d.layers if layered else {},
    ).map(lambda v: longer(flat(v)))
    place = {}
    if shape != "network":  # padding has the empty place of arrays
        q = len(d.weight)
        regulators = np.r_[np.arange(q), np.full(pad, q)].astype(np.int32)
        place = {"regulators": regulators, "target": np.zeros((), np.int32)}
    if shape == "moments":
        m = instance.moments(0)
        assert m.moments is not None
        own = {name: longer(getattr(m.moments, name)) for name in ("cross", "mean_x")}
        view = View(replace(m.moments, gram=np.pad(m.moments.gram, (0, pad)), **own), **place)
    else:
        view = View(None, longer(d.x, 1), flat(d.y), d.w, **place)
    ends = {"theta": 0, "log_variance": 0, "A": 0, "V": 1}
    stacked = jax.tree.map(lambda *v: np.stack(v), *at)
    made = {b: v if shape == "network" else v[..., 0] for b, v in stacked.items()}
    return (
        Blocks(**{b: longer(v, 1 + ends[b]) if b in ends else v for b, v in made.items()}),
        view,
        prior,
    )


def _genes(instance: Instance, point: Point, layers: int) -> tuple[Names, list[Blocks], tuple]:
    """Return data, points and padded views of a network of genes by genes, positive definite."""
    instance = replace(instance, targets=instance.regulators, square=True)
    d, q = _data(instance, layers), instance.regulators
    at = []
    for salt in range(4):
        root, odd = (point.array(q, q, salt=20 + 2 * salt + k) / point.size for k in (0, 1))
        at.append(Blocks(theta=root @ root.T + np.eye(q) + (odd - odd.T) * (salt % 2)))

    def larger(v, axes):
        return np.pad(v, [(0, PAD * (k in axes)) for k in range(v.ndim)])

    mask = np.ones((q, q), bool)
    prior = PriorView(d.support, d.weight, d.sign, d.self_edge, mask)
    padded = Blocks(theta=larger(np.stack([v.theta for v in at]), (1, 2)))
    x = larger(d.x, (1,))
    return d, at, (padded, View(None, x, x, d.w), prior.map(lambda v: larger(v, (0, 1))))


# ------------------------------------------------------------------ terms.values


def _readings(term: Any, view: View, prior: PriorView) -> dict[str, Callable[[Blocks], Any]]:
    """Return the value of a term at a point, as its call has it and by whatever it offers."""
    out: dict[str, Callable[[Blocks], Any]] = {"value": lambda v: term(v, view, prior)}
    if term.quadratic is not None and (view.moments is not None or term.kind != "loss"):
        q = term.quadratic(view, prior)
        out["quadratic"] = lambda v: q.value(v.theta, view.moments)
    if term.absolute is not None:
        c = term.absolute(view, prior)
        out["absolute"] = lambda v: jnp.sum(c * jnp.abs(v.theta))
    if term.interval is not None:
        low, high = term.interval(prior)
        out["interval"] = lambda v: jnp.max(jnp.abs(v.theta - jnp.clip(v.theta, low, high)))
    if term.allows is not None:
        allowed = term.allows(prior)
        out["allows"] = lambda v: jnp.max(jnp.where(allowed, 0, jnp.abs(v.theta)))
    if term.budget is not None:
        mask, most = term.budget(prior)
        along = 0 if jnp.ndim(most) else None  # of each target, or of the network
        out["budget"] = lambda v: jnp.max(
            jnp.maximum(
                jnp.sum((mask & (v.theta != 0)).astype(v.theta.dtype), axis=along) - most, 0
            )
        )
    return out


@jit
def _offered(terms, at, view, prior):
    """Read every term at all points; prices, squares and bounds at the first."""
    first, second = (jax.tree.map(lambda v, k=k: v[k], at) for k in (0, 1))
    out = []
    for term in local(terms, view):
        ready = term.prepare(view, prior)
        found = {k: jax.vmap(f)(at) for k, f in _readings(ready, view, prior).items()}
        if ready.price is not None:
            price = jnp.where(first.theta != 0, ready.price(first, view, prior), 0)
            found["price"] = jnp.sum(price)
        for b in ready.linear:
            if first[b].ndim == 2 and first.theta.ndim == 2:
                squares = ready.squares(b, first, view, prior)
                found[f"squares {b}"] = squares.value(second[b]) - squares.value(first[b])
        if ready.lipschitz is not None:
            found["lipschitz"] = ready.lipschitz(view, prior)
        out.append(found)
    return out


def _asked(stated: dict[str, Stated], h: Names, shape: str) -> dict[str, Any]:
    """Terms that can be asked on a shape."""
    out = {name: one.term(h) for name, one in stated.items()}
    if shape == "network":
        return {name: t for name, t in out.items() if "noise_precision" not in t.blocks}
    out = {n: t for n, t in out.items() if t.separable is not None and set(t.blocks) <= OF_TARGETS}
    by_moments = shape == "moments"
    return {
        name: t
        for name, t in out.items()
        if t.kind != "loss"
        or (t.quadratic is not None or not by_moments) != ("noise_precision" in t.blocks)
    }


def _valued(
    instance: Instance,
    point: Point,
    layers: int,
    wrong: Mapping[str, Formula] = MappingProxyType({}),
) -> list[Finding]:
    """Compare every term on every shape; ``wrong`` holds formulas with a slip."""
    d, h, at = _data(instance, layers), _hyper(instance), _blocks(instance, point)
    out: list[Finding] = []
    every = (*((shape, STATED) for shape in SHAPES), ("network", LAYERED))
    for shape, stated in (*every, ("network", COUNTED), ("target", COUNTED)):
        terms = _asked(stated, h, shape)
        own, seen = _counted_data(d, at) if stated is COUNTED else (d, at)
        own, seen = (own, seen) if shape == "network" else _cut(own, seen)
        shaped = _shaped(shape, instance, own, seen, stated is LAYERED)
        ends = (PAD, 0) if shape == "network" else (1, 1)
        placed = _laid(tuple(terms.values()), h, *ends)
        got = jax.tree.map(np.asarray, _offered(placed, *shaped))
        for name, found in zip(terms, got, strict=True):
            if "U" in terms[name].blocks and stated is LAYERED and not _trusted(h, d):
                continue  # refused: no prior edge is trusted more than a missing one
            formula = partial(wrong.get(name, stated[name].formula), h, own)
            out += _one(name, found, formula, seen, terms[name])
    own, seen, shaped = _genes(instance, point, layers)
    terms = {name: one.term(h) for name, one in SQUARE.items()}
    got = jax.tree.map(np.asarray, _offered(tuple(terms.values()), *shaped))
    for name, found in zip(terms, got, strict=True):
        formula = partial(wrong.get(name, SQUARE[name].formula), h, own)
        out += _one(name, found, formula, seen, terms[name])
    return out


def _laid(terms: Any, h: Names, regulators: int, targets: int) -> Any:
    """Terms with so many more places in their arrays."""
    q, p = h.network.shape
    sizes = {"regulators": q + regulators, "targets": p + targets}
    return laid(terms, sizes, None, 0, "float64")


def _trusted(h: Names, d: Names) -> bool:
    return _counted(h, d, 200)[1].max() > 1


def _one(name: str, found: dict[str, Any], f: Any, at: list[Blocks], term: Any) -> list[Finding]:
    """Compare one term with its formula, whatever it offers."""
    want = np.array([float(np.sum(f(v))) for v in at])
    size = 1 + np.abs(want).max()
    out = []
    for kind, got in found.items():
        wanted, what = want, kind.partition(" ")[0]
        if what == "price":  # more than at theta = 0
            wanted = want[0] - float(f(at[0].replace(theta=np.zeros_like(at[0].theta))))
        elif what == "squares":  # up to what is not in the block
            block = kind.removeprefix("squares ")
            wanted = float(np.sum(f(at[0].replace(**{block: at[1][block]})))) - want[0]
        elif what == "lipschitz":
            if term.block != "theta":
                continue
            reach = sum(np.sum((at[2][b] - at[0][b]) ** 2) for b in term.blocks)
            got, wanted = np.maximum(want[2] + want[3] - 2 * want[0] - got * reach, 0), 0.0
        gap = np.abs(got - wanted).max() / (size + np.max(np.abs(wanted)))
        out.append(Finding(name if kind == "value" else f"{name}: {kind}", float(gap)))
    return out


def _cases(**fixed: Any):
    return instances(cells=8, constant_target=False, **fixed)


def _numbers_of_layers():
    from hypothesis import strategies as st

    return st.sampled_from(LAYERS)


def _values_claim() -> Claim:
    filters = [name for name in LAYERED if name.startswith("coll")]
    return claimed(
        "terms.values",
        "every shipped loss, regularizer and constraint is its formula, on rows, moments and "
        "padded entries, and so is whatever it offers of itself",
        (),
        lambda **wrong: Search(
            "terms = formulas", partial(_valued, **wrong), (_cases, points, _numbers_of_layers)
        ),
        {
            what: {"wrong": wrong}
            for what, wrong in {
                "l1 times the prior's weight": {"l1": _entries(lambda h, d: h.strength * d.weight)},
                "layers scaled by the top of them all": dict.fromkeys(
                    filters, partial(_filtered, together=True)
                ),
                "with few layers the first multipliers": {
                    "collaborative": partial(_filtered, first=True)
                },
                "the bias the other way round": {
                    "prior_l1": lambda h, d, v: _prior_l1(
                        Names(**vars(h) | {"share": 1 - h.share}), d, v
                    )
                },
                "half of huber": {"huber": partial(_huber, half=0.5)},
                "sample variance of the target": {
                    "gaussian": lambda h, d, v: _likelihood(h, d, v, _variance(d, 1))
                },
                "a mean over cells in place of weights": {
                    "least_squares, mean": lambda h, d, v: (
                        h.strength * np.sum(_squares(h, d, v)) / len(d.w)
                    )
                },
                "signs the other way round": {
                    "sign": lambda h, d, v: _outside(h, d, v, *(-b for b in reversed(_signs(d))))
                },
                "both shares of a budget rounded together": {
                    "budget of new edges": lambda h, d, v: _over(h, d, v, 0, 0.1, "new")
                },
                "a penalty on pairs that both directions name": {
                    "pair_l1": partial(_pairs, join=np.minimum)
                },
                "norms of groups without the roots of their sizes": {
                    "group_lasso": partial(_norms, rooted=False)
                },
                "the largest coefficient the cheapest": {"slope": partial(_sorted, largest=False)},
                "neighbours of opposite sign pulled together": {
                    "graph_laplacian": partial(_linked, axis=1, signed=False)
                },
                "Poisson counts in place of the negative binomial": {"negative_binomial": _poisson},
                "targets without a known edge observed too": {
                    "known_edges": partial(_known, named=False)
                },
                "distances not in units of their median": {"alike": partial(_alike, unit=False)},
                "targets of opposite expression pulled together": {
                    "laplacian": partial(_kin, signed=False)
                },
            }.items()
        },
        reason=NO_THEOREM,
    )


# ------------------------------------------------------------------ terms.prox


class Piece(NamedTuple):
    """A shipped term, and what it is entry by entry.

    c |u| + q u^2 + price 1[u != 0], where low <= u <= high and at most ``most`` of ``among`` are
    not 0.
    """

    term: Callable[[Names], Any]
    entries: Callable[[Names, Names], dict[str, Any]]


def _bounds(pair: tuple[Any, Any]) -> dict[str, Any]:
    return {"low": pair[0], "high": pair[1]}


PIECES = {
    "ridge": Piece(lambda h: u.ridge(h.share), lambda h, d: {"q": h.share}),
    "l1": Piece(lambda h: h.on * u.l1(h.strength), lambda h, d: {"c": h.on * h.strength}),
    "elastic_net": Piece(
        lambda h: u.elastic_net(h.strength, h.share), lambda h, d: {"c": h.strength, "q": h.share}
    ),
    "prior_l1": Piece(
        lambda h: u.prior_l1(h.strength, h.share),
        lambda h, d: {"c": h.strength * (1 - (1 - h.share) * np.minimum(d.weight, 1))},
    ),
    "gaussian_prior": Piece(
        lambda h: u.gaussian_prior(h.on, h.off), lambda h, d: {"q": 0.5 / _widths(h, d)}
    ),
    "adaptive_l1": Piece(
        lambda h: u.adaptive_l1(h.strength, _named(h), 1.0, h.on),
        lambda h, d: {"c": h.strength / (np.abs(h.network) + h.on)},
    ),
    "prior_elastic_net": Piece(
        lambda h: u.prior_elastic_net(h.strength, h.share, "log", floor=0.05),
        lambda h, d: {"c": h.strength * _log_share(d), "q": h.share * _log_share(d)},
    ),
    "cardinality": Piece(
        lambda h: u.cardinality(2),
        lambda h, d: {"spent": [(f"target {k}", 2) for k in range(d.y.shape[1])]},
    ),
    "l0": Piece(lambda h: u.l0(h.strength), lambda h, d: {"price": h.strength}),
    "sign": Piece(lambda h: u.sign(), lambda h, d: _bounds(_signs(d))),
    "nonnegative": Piece(lambda h: u.nonnegative(), lambda h, d: _bounds((0.0, np.inf))),
    "box": Piece(lambda h: u.box(-h.off, h.on), lambda h, d: _bounds((-h.off, h.on))),
    "support": Piece(lambda h: u.support(), lambda h, d: _bounds(_only(d.support))),
    "sign and box": Piece(
        lambda h: u.sign() + u.box(-h.on, h.off),
        lambda h, d: _bounds(
            (np.maximum(_signs(d)[0], -h.on), np.minimum(_signs(d)[1], h.off))
        ),
    ),
    "budget": Piece(lambda h: u.budget(4), lambda h, d: {"spent": [("all", 4)]}),
    "budget on the prior": Piece(
        lambda h: u.budget(1, 0.3, "prior"),
        lambda h, d: {"spent": [("prior", _most(h, d, 1, 0.3, 0))]},
    ),
    "budget of new edges": Piece(
        lambda h: u.budget(0, 0.75, "new", less=0.65),
        lambda h, d: {"spent": [("new", _most(h, d, 0, 0.75, 0.65))]},
    ),
}  # fmt: skip
JOINS = (
    *((name,) for name in PIECES),
    ("l1", "ridge"),
    ("prior_l1", "gaussian_prior", "sign"),
    ("l1", "sign and box"),
    ("l0", "l1", "ridge", "box"),
    ("adaptive_l1", "ridge", "cardinality", "sign"),
    ("nonnegative", "box"),
    ("support", "sign"),
    ("budget on the prior", "budget of new edges", "box"),
    ("l1", "ridge", "budget", "box"),
    ("l0", "budget on the prior", "budget of new edges"),
)


@jit
def _moved(joins, v, step, steps, prior):
    """Prox of every join: entries that act alone have steps of their own."""
    out = []
    for terms in joins:
        kinks = tuple(t for t in terms if t.kind == "regularizer")
        sets = tuple(t for t in terms if t.kind == "constraint")
        alone = all(t.budget is None for t in sets)
        out.append(joint(kinks, sets).prox(v, steps if alone else step, None, prior))
    return out


@functools.cache
def _ways(size: int, most: int) -> np.ndarray:
    """Every choice of at most so many of a few entries, one a row."""
    every = np.array(list(itertools.product([False, True], repeat=size)), bool).reshape(
        2**size, size
    )
    return every[every.sum(axis=1) <= most]


def _least(v: np.ndarray, step: np.ndarray, d: Names, own: dict[str, Any]) -> tuple[Any, float]:
    """Return the cost of any point, and the least of all, by trying out what can be least."""
    c, q, price, low, high = (np.broadcast_to(own[k], v.shape) for k in ENTRIES)

    def cost(w):
        return c * np.abs(w) + q * w**2 + price * (w != 0) + (w - v) ** 2 / (2 * step)

    still = [(v - s * step * c) / (1 + 2 * step * q) for s in (-1, 1)]
    tried = [np.clip(w, low, high) for w in (*still, np.zeros_like(v))]
    tried += [np.where(np.isfinite(b), b, 0) for b in (low, high)]
    best, empty = np.min([cost(w) for w in tried], axis=0), cost(np.zeros_like(v))
    free, total = np.ones(v.shape, bool), 0.0
    for within, most in own["spent"]:
        mask = _within(d, within)
        free &= ~mask
        ways = _ways(int(mask.sum()), int(most))
        total += empty[mask].sum() + (ways @ (best - empty)[mask]).min(initial=0)
    return cost, total + best[free].sum()


ENTRIES = {"c": np.add, "q": np.add, "price": np.add, "low": np.maximum, "high": np.minimum}
NOTHING = {"c": 0.0, "q": 0.0, "price": 0.0, "low": -np.inf, "high": np.inf}


def _nearest(
    instance: Instance, point: Point, wrong: Mapping[str, Any] = MappingProxyType({})
) -> list[Finding]:
    """Compare every join with the best of all candidates; ``wrong`` holds pieces with a slip."""
    d, h, rng = _data(instance, 2), _hyper(instance), point.rng(7)
    v = point.array(instance.regulators, instance.targets)
    step = float(0.5 * point.size ** rng.choice([0, 1, 2]) / np.sqrt(instance.strength))
    steps = step * rng.uniform(0.3, 2, v.shape)
    joins = tuple(tuple(PIECES[name].term(h) for name in names) for names in JOINS)
    joins = local(_laid(joins, h, PAD, 0), View())
    view = _shaped("network", instance, d, [Blocks(theta=w) for w in (v, steps)], False)
    padded, _, prior = view
    lengths = np.where(prior.valid, padded.theta[1], step)
    got = jax.tree.map(np.asarray, _moved(joins, padded.theta[0], np.float64(step), lengths, prior))
    out = []
    for names, found in zip(JOINS, got, strict=True):
        own: dict[str, Any] = dict(NOTHING) | {"spent": []}
        for piece in names:
            for k, values in (wrong.get(piece) or PIECES[piece].entries)(h, d).items():
                own[k] = own[k] + values if k == "spent" else ENTRIES[k](own[k], values)
        inside, beyond = found[: len(v)], found[len(v) :]
        length = np.full(v.shape, step) if own["spent"] else steps
        cost, least = _least(v, length, d, own)
        far = np.maximum(own["low"] - inside, inside - own["high"]).max(initial=0)
        over = [np.count_nonzero(inside[_within(d, m)]) - k for m, k in own["spent"]]
        unit = (v**2 / (2 * length)).sum() + 1e-30
        gaps = (abs(cost(inside).sum() - least) / unit, far / point.size, *over, *np.abs(beyond).T)
        out.append(Finding(", ".join(names), float(np.max(np.hstack(gaps)))))
    return out


def _prox_claim() -> Claim:
    return claimed(
        "terms.prox",
        "the prox of terms and the projection onto sets, alone and joined, is the least of all "
        "candidates, budgets spent in every way",
        (),
        lambda **wrong: Search(
            "prox = the best candidate", partial(_nearest, **wrong), (_cases, points)
        ),
        {
            what: {"wrong": wrong}
            for what, wrong in {
                "half the ridge": {"ridge": lambda h, d: {"q": h.share / 2}},
                "the step of a term for that of its multiple": {
                    "l1": lambda h, d: {"c": h.strength}
                },
                "the Gaussian prior twice as strong": {
                    "gaussian_prior": lambda h, d: {"q": 1 / _widths(h, d)}
                },
                "an absolute value in place of a price": {"l0": lambda h, d: {"c": h.strength}},
                "one more regulator a target": {
                    "cardinality": lambda h, d: {
                        "spent": [(f"target {k}", 3) for k in range(d.y.shape[1])]
                    }
                },
                "signs not asked for": {"sign and box": lambda h, d: _bounds((-h.on, h.off))},
                "one edge more than the budget has": {
                    "budget": lambda h, d: {"spent": [("all", 5)]}
                },
                "evidence that makes an edge dearer": {
                    "prior_l1": lambda h, d: {
                        "c": h.strength * (h.share + (1 - h.share) * np.minimum(d.weight, 1))
                    }
                },
            }.items()
        },
        "brute force",
        reason=NO_THEOREM,
    )


CLAIMS = (_values_claim(), _prox_claim())
