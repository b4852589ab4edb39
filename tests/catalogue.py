"""The hostile catalogue: losses x regularizers x constraints, on small and degenerate data.

Shipped terms and terms as a user writes them are drawn into specs, fitted, and compared with an
oracle that shares no code with the package: `Piece` holds every term three times, as the term that
is fitted, as a NumPy function that values it at any point, and as a cvxpy expression. A fit is
called WRONG only beside a witness: its own point is infeasible, or another point, feasible and in
the same NumPy function, is better.

    python tests/catalogue.py 300           # draw 300 combinations and print what became of them
    python tests/catalogue.py 300 WRONG     # and every one that was WRONG (or crash, honest, ...)
    python tests/catalogue.py --only 17     # one of them, with its numbers
    python tests/catalogue.py 300 --later   # of the terms that came last, each more often
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.special import gammaln
from scipy.stats import norm

import unigrn
from unigrn.terms import Constraint, Regularizer, pytree

VARIANTS = 4  # combinations that share the structure of a spec, and so what was compiled for it
CLOSE = 1e-6  # how much worse than the oracle an objective may be, relative to 1 + |F|
LOOSE = 1e-5  # how far from feasible a point may be, relative to its scale
ORDER = ("crash", "WRONG", "unchecked", "near", "honest", "right")  # the worst first


# ------------------------------------------------------------------ terms as users write them


def _wide(values, like):
    """One number a target beside an array that ends in targets."""
    return jnp.broadcast_to(values, like.shape)


def _rows(data, like):
    """Weight of every cell, shaped like the residuals."""
    if data.weight is None:
        return jnp.ones_like(like)
    weight = data.weight if like.ndim == 1 else data.weight[:, None]
    return jnp.broadcast_to(weight, like.shape)


def _linear(params, data):
    fitted = data.x @ params.theta
    return fitted + _wide(params.intercept, fitted)


def squared(params, data, prior):
    return jnp.sum((data.y - _linear(params, data)) ** 2)


def squared_weighted(params, data, prior):
    r = data.y - _linear(params, data)
    return jnp.sum(_rows(data, r) * r**2)


def squared_plain(params, data, prior):
    return jnp.sum((data.y - data.x @ params.theta) ** 2)


def logistic(params, data, prior):
    e = _linear(params, data)
    return jnp.sum(jax.nn.softplus(e) - jax.nn.sigmoid(data.y) * e)


def logcosh(params, data, prior):
    r = data.y - _linear(params, data)
    return jnp.sum(jnp.logaddexp(r, -r) - jnp.log(2.0))


def logcosh_weighted(params, data, prior):
    r = data.y - _linear(params, data)
    return jnp.sum(_rows(data, r) * (jnp.logaddexp(r, -r) - jnp.log(2.0)))


def poisson(params, data, prior):
    e = _linear(params, data)
    return jnp.sum(jnp.exp(e) - jnp.abs(data.y) * e)


def plain_ridge(params, data, prior, strength):
    return strength * jnp.sum(params.theta**2)


def plain_abs(params, data, prior, strength):
    return strength * jnp.sum(jnp.abs(params.theta))


def mean_ridge(params, data, prior, strength):
    return strength * jnp.mean(params.theta**2)


def variance_ridge(params, data, prior, strength):
    spread = jnp.var(data.x, axis=0)
    spread = spread if params.theta.ndim == 1 else spread[:, None]
    return strength * jnp.sum(jnp.broadcast_to(spread, params.theta.shape) * params.theta**2)


def smooth_fused(params, data, prior, strength):
    both = prior.valid[1:] & prior.valid[:-1]
    return strength * jnp.sum(jnp.where(both, (params.theta[1:] - params.theta[:-1]) ** 2, 0.0))


def kinked_fused(params, data, prior, strength):
    both = prior.valid[1:] & prior.valid[:-1]
    return strength * jnp.sum(jnp.where(both, jnp.abs(params.theta[1:] - params.theta[:-1]), 0.0))


def pull(params, data, prior, strength):
    """Each regulator's coefficients towards their mean over the targets it may act on."""
    valid = prior.valid.astype(params.theta.dtype)
    count = jnp.maximum(jnp.sum(valid, axis=1, keepdims=True), 1.0)
    mean = jnp.sum(valid * params.theta, axis=1, keepdims=True) / count
    return strength * jnp.sum(valid * (params.theta - mean) ** 2)


def _soft(v, amount):
    return jnp.sign(v) * jnp.maximum(jnp.abs(v) - amount, 0.0)


def _shrink(v, amount, axis=0):
    size = jnp.sqrt(jnp.sum(v**2, axis=axis, keepdims=True))
    return v * jnp.maximum(1.0 - amount / jnp.maximum(size, 1e-300), 0.0)


def _onto_simplex(v, total):
    """Nearest point with entries >= 0 that sum to ``total``, along the first axis."""
    u = -jnp.sort(-v, axis=0)
    finite = jnp.isfinite(u)
    rank = jnp.arange(1, v.shape[0] + 1, dtype=v.dtype).reshape((-1,) + (1,) * (v.ndim - 1))
    excess = jnp.cumsum(jnp.where(finite, u, 0.0), axis=0) - total
    keep = finite & (u - excess / rank > 0)
    last = jnp.maximum(jnp.sum(keep, axis=0, keepdims=True) - 1, 0)
    cut = jnp.take_along_axis(excess / rank, last, axis=0)
    return jnp.where(jnp.isfinite(v), jnp.maximum(v - cut, 0.0), 0.0)


def _onto_l1_ball(v, radius, axis=0):
    v = jnp.moveaxis(v, axis, 0)
    inside = jnp.sum(jnp.abs(v), axis=0, keepdims=True) <= radius
    out = jnp.where(inside, v, jnp.sign(v) * _onto_simplex(jnp.abs(v), radius))
    return jnp.moveaxis(out, 0, axis)


@pytree
class Group(Regularizer):
    strength: float
    separable = "targets"
    convex = True
    formula = "group norm"

    def __call__(self, params, data, prior):
        return self.strength * jnp.sum(jnp.sqrt(jnp.sum(params.theta**2, axis=0)))

    def prox(self, v, step, data, prior, params=None):
        return _shrink(v, step * self.strength)


@pytree
class Pairs(Regularizer):
    """Groups of two neighbouring regulators."""

    strength: float
    separable = "targets"
    convex = True
    formula = "norms of pairs"

    def _split(self, v):
        odd = v.shape[0] % 2
        v = jnp.concatenate([v, jnp.zeros_like(v[:1])]) if odd else v
        return v.reshape((-1, 2, *v.shape[1:]))

    def __call__(self, params, data, prior):
        return self.strength * jnp.sum(jnp.sqrt(jnp.sum(self._split(params.theta) ** 2, axis=1)))

    def prox(self, v, step, data, prior, params=None):
        out = _shrink(self._split(v), step * self.strength, axis=1)
        return out.reshape((-1, *v.shape[1:]))[: v.shape[0]]


@pytree
class SparseGroup(Regularizer):
    entry: float
    group: float
    separable = "targets"
    convex = True
    formula = "sparse group norm"

    def __call__(self, params, data, prior):
        norms = jnp.sqrt(jnp.sum(params.theta**2, axis=0))
        return self.entry * jnp.sum(jnp.abs(params.theta)) + self.group * jnp.sum(norms)

    def prox(self, v, step, data, prior, params=None):
        return _shrink(_soft(v, step * self.entry), step * self.group)


@pytree
class Nuclear(Regularizer):
    strength: float
    convex = True
    formula = "nuclear norm"

    def __call__(self, params, data, prior):
        return self.strength * jnp.sum(jnp.linalg.svd(params.theta, compute_uv=False))

    def prox(self, v, step, data, prior, params=None):
        u, s, w = jnp.linalg.svd(v, full_matrices=False)
        return (u * jnp.maximum(s - step * self.strength, 0.0)[None, :]) @ w


@pytree
class Largest(Regularizer):
    """The largest coefficient of a target."""

    strength: float
    separable = "targets"
    convex = True
    formula = "largest norm"

    def __call__(self, params, data, prior):
        return self.strength * jnp.sum(jnp.max(jnp.abs(params.theta), axis=0))

    def prox(self, v, step, data, prior, params=None):
        return v - _onto_l1_ball(v, step * self.strength)


@pytree
class RowLargest(Regularizer):
    """The largest coefficient of a regulator, summed: targets are coupled."""

    strength: float
    convex = True
    formula = "L1/Linf norm"

    def __call__(self, params, data, prior):
        return self.strength * jnp.sum(jnp.max(jnp.abs(params.theta), axis=1))

    def prox(self, v, step, data, prior, params=None):
        return v - _onto_l1_ball(v, step * self.strength, axis=1)


@pytree
class Concave(Regularizer):
    """The minimax concave penalty: |theta| near 0, constant beyond bend * strength."""

    strength: float
    bend: float
    separable = "entries"
    formula = "minimax concave penalty"

    def __call__(self, params, data, prior):
        a = jnp.minimum(jnp.abs(params.theta), self.bend * self.strength)
        return jnp.sum(self.strength * a - a**2 / (2 * self.bend))

    def prox(self, v, step, data, prior, params=None):
        firm = _soft(v, step * self.strength) / jnp.maximum(1.0 - step / self.bend, 1e-300)
        firm = jnp.where(jnp.abs(v) <= self.bend * self.strength, firm, v)
        hard = jnp.where(jnp.abs(v) > self.strength * jnp.sqrt(step * self.bend), v, 0.0)
        return jnp.where(step < self.bend, firm, hard)


class _Set(Constraint):
    separable = "targets"
    convex = True

    def __call__(self, params, data, prior):
        return jnp.max(jnp.abs(params.theta - self.project(params.theta, prior)))


@pytree
class Simplex(_Set):
    total: float
    formula = "simplex"

    def project(self, v, prior):
        return _onto_simplex(jnp.where(prior.valid, v, -jnp.inf), self.total)


@pytree
class NaiveSimplex(_Set):
    """The projection of a text book: it takes every entry it is given for a regulator."""

    total: float
    formula = "naive simplex"

    def project(self, v, prior):
        return _onto_simplex(v, self.total)


@pytree
class TopK(_Set):
    count: float
    convex = None
    formula = "at most K a target"

    def project(self, v, prior):
        rank = jnp.argsort(jnp.argsort(-jnp.abs(v), axis=0), axis=0)
        return jnp.where(rank.astype(v.dtype) < self.count, v, 0.0)


@pytree
class Ball(_Set):
    radius: float
    formula = "L2 ball"

    def project(self, v, prior):
        size = jnp.sqrt(jnp.sum(v**2, axis=0, keepdims=True))
        return v * jnp.minimum(1.0, self.radius / jnp.maximum(size, 1e-300))


@pytree
class Cube(_Set):
    radius: float
    separable = "entries"
    formula = "Linf ball"

    def project(self, v, prior):
        return jnp.clip(v, -self.radius, self.radius)


@pytree
class SumTo(_Set):
    total: float
    formula = "sum of coefficients"

    def project(self, v, prior):
        v = jnp.where(prior.valid, v, 0.0)
        count = jnp.maximum(jnp.sum(prior.valid.astype(v.dtype), axis=0, keepdims=True), 1.0)
        lack = self.total - jnp.sum(v, axis=0, keepdims=True)
        return jnp.where(prior.valid, v + lack / count, 0.0)


# ------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class World:
    """Expression and a prior, as arrays of regulators x targets."""

    x: np.ndarray
    y: np.ndarray
    regulators: list[str]
    targets: list[str]
    self_edge: np.ndarray
    support: np.ndarray  # False throughout where there is no prior
    weight: np.ndarray
    sign: np.ndarray
    prior: unigrn.Prior | None
    data: unigrn.Data
    label: str
    # What the constraints leave of the entries, and how a term that depends on positions is read:
    # on the whole network ("full"), on pairs of candidates that are neighbours in it ("masked"), or
    # on the list of candidates of each target ("compact").
    allowed: np.ndarray = None
    reading: str = "masked"

    def allow(self, constraints):
        mask = np.ones(self.self_edge.shape, bool)
        for c in constraints:
            if c.name == "support":
                mask = mask & self.support
            if c.name == "no_self":
                mask = mask & ~self.self_edge
        return dataclasses.replace(self, allowed=mask)

    @property
    def valid(self):
        return np.ones_like(self.allowed) if self.reading == "full" else self.allowed

    def neighbours(self):
        """Pairs of consecutive regulators of each target."""
        q, p = self.allowed.shape
        for t in range(p):
            if self.reading == "compact":
                own = np.flatnonzero(self.allowed[:, t])
                yield from ((i, j, t) for i, j in itertools.pairwise(own))
            else:
                for j in range(q - 1):
                    if self.valid[j, t] and self.valid[j + 1, t]:
                        yield j, j + 1, t

    def pairs(self):
        """Groups of two regulators of each target."""
        q, p = self.allowed.shape
        for t in range(p):
            own = np.flatnonzero(self.allowed[:, t]) if self.reading == "compact" else np.arange(q)
            yield from ((own[i : i + 2], t) for i in range(0, len(own), 2))


SHAPES = ((24, 5, 3), (14, 7, 4), (40, 3, 2), (5, 6, 3))  # cells, regulators, targets
FLAVOURS = ("plain", "constant regulator", "collinear", "units", "constant target", "no noise")
PRIORS = ("partial", "full", "sparse", "none")


def make_world(rng, shape, flavour, kind, counts=False) -> World:
    n, q, p = shape
    own = min(2, p - 1)  # regulators that are targets too
    x = rng.normal(size=(n, q)) + 0.7 * rng.normal(size=(n, 1))
    theta = rng.normal(size=(q, p)) * (rng.random((q, p)) < 0.6)
    if flavour == "constant regulator":
        x[:, q - 1] = 3.0
    if flavour == "collinear":
        x[:, q - 1] = x[:, q - 2]
        if q > 4:
            x[:, q - 3] = -2 * x[:, q - 2]
    x = x + 0.5
    noise = 0.0 if flavour == "no noise" else 0.5
    y = x @ theta + noise * rng.normal(size=(n, p)) + 1.0
    if flavour == "units":
        x[:, q - 1] *= 1e3
        x[:, q - 2] *= 1e-3
    if flavour == "constant target":
        y[:, p - 1] = 2.0
    if counts:  # of small means, so that the regulators among the targets are small too
        y = np.rint(np.minimum(np.abs(y), 9))
        x[:, :own] = np.rint(np.minimum(np.abs(x[:, :own]), 9))
    regulators = [f"r{j}" for j in range(q)]
    targets = regulators[:own] + [f"y{t}" for t in range(own, p)]
    y[:, :own] = x[:, :own]
    self_edge = np.array([[r == t for t in targets] for r in regulators])
    support = {
        "partial": rng.random((q, p)) < 0.6,
        "full": np.ones((q, p), bool),
        "sparse": rng.random((q, p)) < 0.3,
        "none": np.zeros((q, p), bool),
    }[kind]
    if kind == "sparse":
        support[:, p - 1] = False  # a target that nothing may regulate
        support[q - 1, 0] = True
    if kind == "partial":
        support[1, p - 1] = True
    weight = np.where(support, rng.choice([0.3, 1.0, 2.0], size=(q, p)), 0.0)
    sign = np.where(support, rng.integers(-1, 2, size=(q, p)), 0)
    prior = None
    if kind != "none":
        j, t = np.nonzero(support)
        edges = {"source": np.array(regulators)[j], "target": np.array(targets)[t]}
        edges |= {"weight": weight[j, t], "sign": sign[j, t]}
        prior = unigrn.Prior.from_edges(pd.DataFrame(edges))
    genes = regulators + targets[own:]
    data = unigrn.Data.from_arrays(np.c_[x, y[:, own:]], genes, dtype="float64")
    label = f"{n} cells, {q} regulators, {p} targets, {flavour}, prior {kind}"
    return World(
        x, y, regulators, targets, self_edge, support, weight, sign, prior, data, label
    ).allow(())


# ------------------------------------------------- every term as a term, in NumPy and in cvxpy


class Piece:
    """A term, drawn with numbers: ``term()``, ``value(T, b, w)`` a target, ``cvx(T, b, w)``."""

    coupled = False  # over targets
    positional = False  # means something else on a list of candidates than on the network
    needs_prior = False
    convex = True

    def __init__(self, name, term, numbers=(), value=None, cvx=None, **facts):
        self.name, self._term, self.numbers = name, term, tuple(numbers)
        if value is not None:
            self.value = value
        if cvx is not None:
            self.cvx = cvx
        for key, fact in facts.items():
            setattr(self, key, fact)

    def term(self):
        return self._term()

    def __str__(self):
        return f"{self.name}({', '.join(f'{n:.4g}' for n in self.numbers)})"


def _softplus(e):
    return np.logaddexp(0, e)


def _sigmoid(e):
    return np.exp(-np.logaddexp(0, -e))


class LossPiece(Piece):
    """A sum of psi(y, eta) over cells; ``free`` says whose the intercept is."""

    def __init__(self, name, term, numbers, free, psi, dpsi, bend, cvx, factor=None, plus=None):
        super().__init__(name, term, numbers)
        self.free, self.psi, self.dpsi, self.bend, self.cvx_of = free, psi, dpsi, bend, cvx
        self.factor = factor or (lambda w: np.ones(w.y.shape[1]))
        self.plus = plus or (lambda w: np.zeros(w.y.shape[1]))

    def _eta(self, T, b, w):
        eta = w.x @ T
        if self.free == "own":  # squares: the best intercept is the mean of the residuals
            return eta + np.mean(w.y - eta, axis=0)
        return eta + b if self.free == "block" else eta

    def value(self, T, b, w):
        with np.errstate(over="ignore"):
            out = self.psi(w.y, self._eta(T, b, w)).sum(axis=0) * self.factor(w) + self.plus(w)
        return np.where(w.allowed.any(axis=0), out, 0)  # a target without candidates has no fit

    def gradient(self, T, b, w):
        with np.errstate(over="ignore"):
            return w.x.T @ self.dpsi(w.y, self._eta(T, b, w)) * self.factor(w)

    def curvature(self, T, b, w):
        """Bound the largest eigenvalue of the Hessian in theta and intercept, by its trace."""
        size = np.sum(w.x**2) + len(w.x)
        return self.bend(w.y, self._eta(T, b, w)) * size * self.factor(w)

    def cvx(self, T, b, w):
        import cvxpy as cp

        eta = w.x @ T
        live = w.allowed.any(axis=0)
        if self.free == "own":
            b = cp.Variable(w.y.shape[1])
        if self.free is not None:
            eta = eta + np.ones((len(w.x), 1)) @ cp.reshape(b, (1, w.y.shape[1]), order="F")
        parts = [
            self.factor(w)[t] * self.cvx_of(w.y[:, t], eta[:, t]) + self.plus(w)[t]
            for t in np.flatnonzero(live)
        ]
        return sum(parts)


def losses(rng, w):
    """Every loss, with numbers; a list of pieces each, which are added."""
    import cvxpy as cp

    both = ("intercept", "theta")

    def squares(name, term, numbers=(), free="own", factor=None, plus=None):
        return LossPiece(
            name,
            term,
            numbers,
            free,
            lambda y, e: (y - e) ** 2,
            lambda y, e: -2 * (y - e),
            lambda y, e: 2.0,
            lambda y, e: cp.sum_squares(y - e),
            factor,
            plus,
        )

    def plain(function, name=None, **kw):
        return lambda: unigrn.loss(function, **kw)

    n, p = w.y.shape
    v, d, c = (float(f) for f in rng.choice([0.3, 1.0, 2.5], 3))

    def fixed(value):
        return lambda w: np.full(p, value)

    def own_variance(w):
        spread = w.y.var(axis=0)
        return np.where(spread > 1e-20, spread, 1.0)

    def huber(c=1.0, factor=None):
        def psi(y, e):
            r = np.abs(y - e)
            return np.minimum(r, d) * (2 * r - np.minimum(r, d))

        return LossPiece(
            f"{c:g} huber" if c != 1 else "huber",
            (lambda: unigrn.huber(d)) if c == 1 else (lambda: c * unigrn.huber(d)),
            (d,),
            "block",
            psi,
            lambda y, e: -2 * np.clip(y - e, -d, d),
            lambda y, e: 2.0,
            lambda y, e: cp.sum(cp.huber(y - e, d)),
            None if c == 1 else fixed(c),
        )

    def cosh(name, function, **kw):
        return LossPiece(
            name,
            plain(function, convex=True, blocks=both, **kw),
            (),
            "block",
            lambda y, e: np.logaddexp(y - e, e - y) - np.log(2),
            lambda y, e: -np.tanh(y - e),
            lambda y, e: 1.0,
            lambda y, e: cp.sum(cp.logistic(2 * (e - y)) + y - e) - len(y) * np.log(2),
        )

    gauss = squares(
        "gaussian",
        lambda: unigrn.gaussian(v),
        (v,),
        factor=fixed(1 / (2 * v)),
        plus=fixed(n / 2 * np.log(2 * np.pi * v)),
    )
    half = squares("0.5 least_squares", lambda: 0.5 * unigrn.least_squares(), factor=fixed(0.5))
    r = 1 / d
    level, cut = float(rng.choice([0.2, 0.5, 0.9])), float(np.median(w.y))

    def on(y):
        return (y > cut).astype(float)

    def check(cp_, y, e, positive):
        """The rounded check function as two Huber functions of the parts of the residual."""
        up, down = positive(y - e), positive(e - y)
        return (cp_(up, c * level) + cp_(down, c * (1 - level))) / (2 * c)

    def npy_huber(p, m):
        return np.where(p <= m, p**2, 2 * m * p - m**2)

    counted = {
        "counts poisson": [
            LossPiece(
                "poisson",
                unigrn.poisson,
                (),
                "block",
                lambda y, e: np.exp(e) - y * e + gammaln(y + 1),
                lambda y, e: np.exp(e) - y,
                lambda y, e: float(np.exp(np.clip(e, None, 50)).max()),
                lambda y, e: cp.sum(cp.exp(e) - cp.multiply(y, e)) + gammaln(y + 1).sum(),
            )
        ],
        "counts negative binomial": [
            LossPiece(
                "negative_binomial",
                lambda: unigrn.negative_binomial(d),
                (d,),
                "block",
                lambda y, e: (
                    (y + r) * _softplus(e - np.log(r))
                    - y * (e - np.log(r))
                    + gammaln(r)
                    + gammaln(y + 1)
                    - gammaln(y + r)
                ),
                lambda y, e: (y + r) * _sigmoid(e - np.log(r)) - y,
                lambda y, e: 0.25 * float((y + r).max()),
                lambda y, e: (
                    cp.sum(
                        cp.multiply(y + r, cp.logistic(e - np.log(r)))
                        - cp.multiply(y, e - np.log(r))
                    )
                    + np.sum(gammaln(r) + gammaln(y + 1) - gammaln(y + r))
                ),
            )
        ],
        "logistic of a threshold": [
            LossPiece(
                "logistic(threshold)",
                lambda: unigrn.logistic(cut),
                (cut,),
                "block",
                lambda y, e: _softplus(e) - on(y) * e,
                lambda y, e: _sigmoid(e) - on(y),
                lambda y, e: 0.25,
                lambda y, e: cp.sum(cp.logistic(e) - cp.multiply(on(y), e)),
            )
        ],
        "quantile": [
            LossPiece(
                "quantile",
                lambda: unigrn.quantile(level, c),
                (level, c),
                "block",
                lambda y, e: check(npy_huber, y, e, lambda v: np.maximum(v, 0)),
                lambda y, e: -np.clip((y - e) / c, level - 1, level),
                lambda y, e: 1 / c,
                lambda y, e: cp.sum(check(cp.huber, y, e, cp.pos)),
            )
        ],
    }
    return counted | {
        "ls": [squares("least_squares", unigrn.least_squares)],
        "ls through 0": [
            squares(
                "least_squares(no intercept)",
                lambda: unigrn.least_squares(intercept=False),
                free=None,
            )
        ],
        "ls mean": [
            squares(
                "least_squares(mean)", lambda: unigrn.least_squares(mean=True), factor=fixed(1 / n)
            )
        ],
        "half ls": [half],
        "gaussian": [gauss],
        "gaussian own": [
            squares(
                "gaussian(None)",
                unigrn.gaussian,
                factor=lambda w: 1 / (2 * own_variance(w)),
                plus=lambda w: n / 2 * np.log(2 * np.pi * own_variance(w)),
            )
        ],
        "huber": [huber()],
        "huber + half ls": [huber(), half],
        "gaussian + huber": [gauss, huber(c)],
        "squared": [squares("squared", plain(squared, convex=True, blocks=both), free="block")],
        "squared weighted": [
            squares(
                "squared, weighted",
                plain(squared_weighted, convex=True, weighted=True, blocks=both),
                free="block",
            )
        ],
        "squared plain": [squares("squared through 0", plain(squared_plain), free=None)],
        "logistic": [
            LossPiece(
                "logistic",
                plain(logistic, convex=True, blocks=both),
                (),
                "block",
                lambda y, e: _softplus(e) - _sigmoid(y) * e,
                lambda y, e: _sigmoid(e) - _sigmoid(y),
                lambda y, e: 0.25,
                lambda y, e: cp.sum(cp.logistic(e) - cp.multiply(_sigmoid(y), e)),
            )
        ],
        "logcosh": [cosh("log cosh", logcosh)],
        "logcosh weighted": [cosh("log cosh, weighted", logcosh_weighted, weighted=True)],
        "poisson": [
            LossPiece(
                "poisson",
                plain(poisson, convex=True, blocks=both),
                (),
                "block",
                lambda y, e: np.exp(e) - np.abs(y) * e,
                lambda y, e: np.exp(e) - np.abs(y),
                lambda y, e: float(np.exp(np.clip(e, None, 50)).max()),
                lambda y, e: cp.sum(cp.exp(e) - cp.multiply(np.abs(y), e)),
            )
        ],
    }


def regularizers(rng, w, size):
    """Every regularizer, with numbers of a size that matters beside the loss."""
    import cvxpy as cp

    n, q, p = *w.x.shape, w.y.shape[1]
    slope, bend = size

    def some(unit):
        return float(unit * rng.choice([0.0, 0.02, 0.1, 0.4, 1.0], p=[0.06, 0.2, 0.34, 0.25, 0.15]))

    def columns(f):
        return lambda T, b, w: np.array([f(T[:, t]) for t in range(p)])

    def norms(T):
        return sum(cp.norm(T[:, t], 2) for t in range(p))

    def kin(w, threshold, signed):
        y = w.y - w.y.mean(axis=0)
        length = np.sqrt((y**2).sum(axis=0))
        unit = np.where(length > 1e-10, y / np.where(length > 1e-10, length, 1), 0)
        r = unit.T @ unit
        return [
            (g, h, abs(r[g, h]), np.sign(r[g, h]) if signed else 1.0)
            for g, h in itertools.combinations(range(p), 2)
            if abs(r[g, h]) > threshold
        ]

    def simple(name, strength, term, value, cvx, **facts):
        return Piece(
            name,
            term,
            (strength,),
            columns(lambda u: strength * value(u)),
            lambda T, b, w: strength * cvx(T),
            **facts,
        )

    a, s, s2, c0 = some(bend), some(slope), some(slope), some(slope) ** 2 / bend
    e1, e2, f1 = some(slope), some(bend), some(slope)
    bias, threshold, signed = float(rng.choice([0.0, 0.5, 1.0])), 0.3, bool(rng.random() < 0.5)
    g1, pr1, sg1, sg2, nu, la, rl = (some(slope) for _ in range(7))
    lp, sf, kf, pu, ri, ab, vr = (some(u) for u in (bend, bend, slope, bend, bend, slope, n))
    mc, gamma = some(slope), float(rng.choice([0.5, 2.0, 20.0]) / bend)
    on, off = float(1 / bend), float(0.1 / bend)

    def price(w):
        return s2 * (1 - (1 - bias) * np.minimum(w.weight, 1))

    def widths(w):
        return np.where(w.support, on, off)

    def concave(T):
        t = np.minimum(np.abs(T), gamma * mc)
        return np.sum(mc * t - t**2 / (2 * gamma), axis=0)

    def laplace(T, w):
        return lp * sum(v * np.sum((T[:, g] - z * T[:, h]) ** 2) for g, h, v, z in kin_of(w))

    def kin_of(w):
        return kin(w, threshold, signed)

    def towards(T, w):
        out = 0.0
        for j in range(q):
            own = T[j, w.valid[j]]
            out += np.sum((own - own.mean()) ** 2) if len(own) else 0.0
        return pu * out

    def towards_cvx(T, b, w):
        out = 0
        for j in range(q):
            own = np.flatnonzero(w.valid[j])
            if len(own) > 1:
                centre = np.eye(len(own)) - 1 / len(own)
                out = out + cp.sum_squares(centre @ T[j, own])
        return pu * out

    def differences(w):
        rows = list(w.neighbours()) or [(0, 0, 0)]
        out = np.zeros((len(rows), q * p))
        for row, (i, j, t) in zip(out, rows, strict=True):
            row[t * q + j] += 1
            row[t * q + i] -= 1
        return out

    def by_target(items):
        out = np.zeros(p)
        for t, value in items:
            out[t] += value
        return out

    def spread(w):
        return w.x.var(axis=0)

    # What came later draws later, so that the numbers above stay as they are.
    mm, so, gl, s1, s3, ro, gt, gr, ps, pa, hi, ad, p1, p2, nn = (
        some(u)
        for u in (
            *(slope, slope, slope, slope, slope, slope, bend, bend),
            *(bend, slope, bend, slope, slope, bend, slope),
        )
    )
    turn, rate, margin = float(rng.choice([0.5, 2.0, 20.0]) / bend), 0.3, slope / bend
    given = rng.normal(size=(q, p)) * (slope / bend) * (rng.random((q, p)) < 0.5)
    network = pd.DataFrame(given, index=w.regulators, columns=w.targets)
    halves = [np.arange(0, q, 2), np.arange(1, q, 2)]
    groups = {f"g{i}": [w.regulators[j] for j in half] for i, half in enumerate(halves)}

    def chained(names):
        return [
            (a, b, weight)
            for (a, b), weight in zip(
                itertools.pairwise(names), itertools.cycle((1.0, -0.5)), strict=False
            )
        ]

    def along_targets(w):
        for g, (_, _, weight) in enumerate(chained(w.targets)):
            for j in np.flatnonzero(w.allowed[:, g] & w.allowed[:, g + 1]):
                yield (j, g), (j, g + 1), weight

    def along_regulators(w):
        for j, (_, _, weight) in enumerate(chained(w.regulators)):
            for t in np.flatnonzero(w.allowed[j] & w.allowed[j + 1]):
                yield (j, t), (j + 1, t), weight

    def differences_of(edges, w):
        rows = list(edges(w))
        out = np.zeros((max(len(rows), 1), q * p))
        for row, (a, b, weight) in zip(out, rows, strict=False):
            row[a[1] * q + a[0]] += np.sqrt(abs(weight))
            row[b[1] * q + b[0]] -= np.sign(weight) * np.sqrt(abs(weight))
        return out

    def graph(name, strength, edges, term, **facts):
        def value(T, b, w):
            found = [
                (a[1], strength * abs(v) * (T[a] - np.sign(v) * T[b]) ** 2) for a, b, v in edges(w)
            ]
            return np.full(p, sum(v for _, v in found) / p) if facts else by_target(found)

        def cvx(T, b, w):
            return strength * cp.sum_squares(differences_of(edges, w) @ cp.vec(T, order="F"))

        return Piece(name, term, (strength,), value, cvx, **facts)

    def roots(w, t):
        return [(half, np.sqrt(w.allowed[half, t].sum())) for half in halves]

    def grouped(name, entry, group, term):
        return Piece(
            name,
            term,
            (entry, group),
            lambda T, b, w: np.array(
                [
                    entry * np.abs(T[:, t]).sum()
                    + group * sum(n * np.linalg.norm(T[half, t]) for half, n in roots(w, t))
                    for t in range(p)
                ]
            ),
            lambda T, b, w: (
                entry * cp.norm1(T)
                + group
                * sum(n * cp.norm(T[half, t], 2) for t in range(p) for half, n in roots(w, t))
            ),
        )

    def ranks(w, t):
        n = max(int(w.allowed[:, t].sum()), 1)
        weights = norm.ppf(1 - np.arange(1, n + 1) * rate / (2 * n))
        return so * weights / weights[0]

    def sorted_cvx(T, b, w):
        out = 0
        for t in range(p):
            steps = -np.diff(np.r_[ranks(w, t), 0])
            own = np.flatnonzero(w.allowed[:, t])
            for k, step in enumerate(steps[: len(own)], 1):
                out = out + step * cp.sum_largest(cp.abs(T[own, t]), k)
        return out

    def sorted_value(T, b, w):
        sizes = [np.sort(np.abs(T[w.allowed[:, t], t]))[::-1] for t in range(p)]
        return np.array([ranks(w, t)[: len(u)] @ u for t, u in enumerate(sizes)])

    def bent(T):
        t = np.minimum(np.abs(T), turn * mm)
        return np.sum(mm * t - t**2 / (2 * turn), axis=0)

    def apart(T, w):
        return np.where(w.allowed, T - given, 0)

    def apart_cvx(T, w):
        return cp.multiply(w.allowed.astype(float), T - given)

    def dear(w):
        return np.log(np.clip(w.weight, 0.1, 1)) / np.log(0.1)

    first = ad * (slope / bend) / (np.abs(given) + 0.3 * slope / bend)
    later = [
        Piece(
            "minimax_concave",
            lambda: unigrn.minimax_concave(mm, turn),
            (mm, turn),
            lambda T, b, w: bent(T),
            convex=False,
            slope=lambda at: -np.sign(at) * np.minimum(np.abs(at) / turn, mm),
            strength=mm,
        ),
        Piece("slope", lambda: unigrn.slope(so, rate), (so, rate), sorted_value, sorted_cvx),
        grouped("group_lasso", 0.0, gl, lambda: unigrn.group_lasso(gl, groups)),
        grouped("sparse_group", s1, s3, lambda: unigrn.sparse_group(s1, s3, groups)),
        Piece(
            "l1_linf",
            lambda: unigrn.l1_linf(ro),
            (ro,),
            lambda T, b, w: np.full(p, ro * np.abs(T).max(axis=1).sum() / p),
            lambda T, b, w: ro * cp.sum(cp.max(cp.abs(T), axis=1)),
            coupled=True,
        ),
        graph(
            "graph of targets",
            gt,
            along_targets,
            lambda: unigrn.graph_laplacian(gt, chained(w.targets)),
            coupled=True,
        ),
        graph(
            "graph of regulators",
            gr,
            along_regulators,
            lambda: unigrn.graph_laplacian(gr, chained(w.regulators), "regulators"),
        ),
        Piece(
            "pull to a network",
            lambda: unigrn.pull(ps, network),
            (ps,),
            lambda T, b, w: ps * np.sum(apart(T, w) ** 2, axis=0),
            lambda T, b, w: ps * cp.sum_squares(apart_cvx(T, w)),
        ),
        Piece(
            "absolute pull",
            lambda: unigrn.pull(pa, network, absolute=True),
            (pa,),
            lambda T, b, w: pa * np.sum(np.abs(apart(T, w)), axis=0),
            lambda T, b, w: pa * cp.sum(cp.abs(apart_cvx(T, w))),
        ),
        Piece(
            "squared_hinge",
            lambda: unigrn.squared_hinge(hi, margin),
            (hi, margin),
            lambda T, b, w: (
                hi
                * np.sum(
                    (w.allowed & (w.sign != 0)) * np.maximum(margin - w.sign * T, 0) ** 2, axis=0
                )
            ),
            lambda T, b, w: (
                hi
                * cp.sum_squares(
                    cp.multiply(
                        (w.allowed & (w.sign != 0)).astype(float),
                        cp.pos(margin - cp.multiply(w.sign.astype(float), T)),
                    )
                )
            ),
            needs_prior=True,
        ),
        Piece(
            "adaptive_l1",
            lambda: unigrn.adaptive_l1(ad * slope / bend, network, 1.0, 0.3 * slope / bend),
            (ad,),
            lambda T, b, w: np.sum(first * np.abs(T), axis=0),
            lambda T, b, w: cp.sum(cp.multiply(first, cp.abs(T))),
        ),
        Piece(
            "prior_elastic_net",
            lambda: unigrn.prior_elastic_net(p1, p2, "log", floor=0.1, contrary=2.0),
            (p1, p2),
            lambda T, b, w: np.sum(
                dear(w) * (p1 * np.abs(T) + p2 * T**2) + 2 * p1 * np.maximum(-w.sign * T, 0), axis=0
            ),
            lambda T, b, w: cp.sum(
                cp.multiply(p1 * dear(w), cp.abs(T))
                + cp.multiply(p2 * dear(w), cp.square(T))
                + 2 * p1 * cp.pos(cp.multiply(-w.sign.astype(float), T))
            ),
            needs_prior=True,
        ),
        Piece(
            "nuclear",
            lambda: unigrn.nuclear(nn),
            (nn,),
            lambda T, b, w: np.full(p, nn * np.linalg.svd(T, compute_uv=False).sum() / p),
            lambda T, b, w: nn * cp.normNuc(T),
            coupled=True,
        ),
    ]
    every = [
        *later,
        simple("ridge", a, lambda: unigrn.ridge(a), lambda u: u @ u, cp.sum_squares),
        simple("l1", s, lambda: unigrn.l1(s), lambda u: np.abs(u).sum(), lambda T: cp.norm1(T)),
        Piece(
            "elastic_net",
            lambda: unigrn.elastic_net(e1, e2),
            (e1, e2),
            columns(lambda u: e1 * np.abs(u).sum() + e2 * u @ u),
            lambda T, b, w: e1 * cp.norm1(T) + e2 * cp.sum_squares(T),
        ),
        Piece(
            "prior_l1",
            lambda: unigrn.prior_l1(s2, bias),
            (s2, bias),
            lambda T, b, w: np.sum(price(w) * np.abs(T), axis=0),
            lambda T, b, w: cp.sum(cp.multiply(price(w), cp.abs(T))),
            needs_prior=True,
        ),
        Piece(
            "l0",
            lambda: unigrn.l0(c0),
            (c0,),
            lambda T, b, w: c0 * np.sum(T != 0, axis=0),
            convex=False,
        ),
        Piece(
            "laplacian",
            lambda: unigrn.laplacian(lp, threshold, signed),
            (lp, threshold, signed),
            lambda T, b, w: np.full(p, laplace(T, w) / p),
            lambda T, b, w: (
                lp * sum(v * cp.sum_squares(T[:, g] - z * T[:, h]) for g, h, v, z in kin_of(w))
            ),
            coupled=True,
        ),
        Piece(
            "gaussian_prior",
            lambda: unigrn.gaussian_prior(on, off),
            (on, off),
            lambda T, b, w: np.sum(T**2 / (2 * widths(w)), axis=0),
            lambda T, b, w: cp.sum(cp.multiply(1 / (2 * widths(w)), cp.square(T))),
            needs_prior=True,
        ),
        simple(
            "0.5 l1",
            0.5 * f1,
            lambda: 0.5 * unigrn.l1(f1),
            lambda u: np.abs(u).sum(),
            lambda T: cp.norm1(T),
        ),
        simple("Group", g1, lambda: Group(g1), np.linalg.norm, norms),
        simple("3 Group", 3 * g1, lambda: 3 * Group(g1), np.linalg.norm, norms),
        Piece(
            "Pairs",
            lambda: Pairs(pr1),
            (pr1,),
            lambda T, b, w: by_target((t, pr1 * np.linalg.norm(T[own, t])) for own, t in w.pairs()),
            lambda T, b, w: pr1 * sum(cp.norm(T[own, t], 2) for own, t in w.pairs()),
            positional=True,
        ),
        Piece(
            "SparseGroup",
            lambda: SparseGroup(sg1, sg2),
            (sg1, sg2),
            columns(lambda u: sg1 * np.abs(u).sum() + sg2 * np.linalg.norm(u)),
            lambda T, b, w: sg1 * cp.norm1(T) + sg2 * norms(T),
        ),
        Piece(
            "Nuclear",
            lambda: Nuclear(nu),
            (nu,),
            lambda T, b, w: np.full(p, nu * np.linalg.svd(T, compute_uv=False).sum() / p),
            lambda T, b, w: nu * cp.normNuc(T),
            coupled=True,
        ),
        simple(
            "Largest",
            la,
            lambda: Largest(la),
            lambda u: np.abs(u).max(),
            lambda T: cp.sum(cp.max(cp.abs(T), axis=0)),
        ),
        Piece(
            "RowLargest",
            lambda: RowLargest(rl),
            (rl,),
            lambda T, b, w: np.full(p, rl * np.abs(T).max(axis=1).sum() / p),
            lambda T, b, w: rl * cp.sum(cp.max(cp.abs(T), axis=1)),
            coupled=True,
        ),
        Piece(
            "smooth_fused",
            lambda: unigrn.regularizer(smooth_fused, strength=sf),
            (sf,),
            lambda T, b, w: by_target(
                (t, sf * (T[j, t] - T[i, t]) ** 2) for i, j, t in w.neighbours()
            ),
            lambda T, b, w: sf * cp.sum_squares(differences(w) @ cp.vec(T, order="F")),
            positional=True,
        ),
        Piece(
            "kinked_fused",
            lambda: unigrn.regularizer(kinked_fused, strength=kf),
            (kf,),
            lambda T, b, w: by_target(
                (t, kf * abs(T[j, t] - T[i, t])) for i, j, t in w.neighbours()
            ),
            lambda T, b, w: kf * cp.norm1(differences(w) @ cp.vec(T, order="F")),
            positional=True,
        ),
        Piece(
            "pull",
            lambda: unigrn.regularizer(pull, coupled=True, strength=pu),
            (pu,),
            lambda T, b, w: np.full(p, towards(T, w) / p),
            towards_cvx,
            coupled=True,
            positional=True,
        ),
        simple(
            "plain_ridge",
            ri,
            lambda: unigrn.regularizer(plain_ridge, strength=ri),
            lambda u: u @ u,
            cp.sum_squares,
        ),
        simple(
            "plain_abs",
            ab,
            lambda: unigrn.regularizer(plain_abs, strength=ab),
            lambda u: np.abs(u).sum(),
            lambda T: cp.norm1(T),
        ),
        Piece(
            "variance_ridge",
            lambda: unigrn.regularizer(variance_ridge, strength=vr),
            (vr,),
            lambda T, b, w: vr * spread(w) @ T**2,
            lambda T, b, w: vr * cp.sum_squares(np.diag(np.sqrt(spread(w))) @ T),
        ),
        Piece(
            "Concave",
            lambda: Concave(mc, gamma),
            (mc, gamma),
            lambda T, b, w: concave(T),
            convex=False,
            # |theta| plus a smooth concave rest: value and expression with the rest linearised.
            slope=lambda at: -np.sign(at) * np.minimum(np.abs(at) / gamma, mc),
            strength=mc,
        ),
    ]
    return {piece.name: piece for piece in every}


class SetPiece(Piece):
    """A constraint: ``violation(T, w)`` a target, ``nearest(T, w)``, ``cvx(T, w)``."""

    size = 0.0
    cap = None  # at most so many entries a target, or in the network where coupled


def constraints(rng, w, size):
    import cvxpy as cp

    q, p = w.x.shape[1], w.y.shape[1]
    unit = float(size)
    low, high, total, radius, cube, to = (
        float(unit * rng.choice(v))
        for v in ([0, 0.3, 1, 5], [0.1, 0.3, 2, 50], [0.5, 1, 3], [0.3, 1, 5], [0.3, 1, 5], [-1, 2])
    )
    if rng.random() < 0.2:
        to = 0.0
    most, few = int(rng.integers(1, q)), int(rng.integers(1, q * p))

    def clip(lower, upper, name, term, numbers=(), size=0.0, **facts):
        """Bounds that may depend on the prior: functions of the world."""

        def bounds(w):
            return (np.broadcast_to(np.asarray(f(w), float), (q, p)) for f in (lower, upper))

        def nearest(T, w):
            return np.clip(T, *bounds(w))

        def cvx(T, w):
            lo, hi = bounds(w)
            out = []
            for held, sense in ((lo, -1), (hi, 1)):
                finite = np.isfinite(held)
                if finite.any():
                    edge = np.where(finite, held, 0)
                    out.append(sense * cp.multiply(finite.astype(float), T - edge) <= 0)
            return out

        return SetPiece(
            name,
            term,
            numbers,
            violation=lambda T, w: np.abs(T - nearest(T, w)).max(axis=0),
            nearest=nearest,
            cvx=cvx,
            size=size,
            **facts,
        )

    def off(mask):
        return lambda w: -np.where(mask(w), np.inf, 0), lambda w: np.where(mask(w), np.inf, 0)

    def onto_simplex(u):
        order = np.sort(u)[::-1]
        excess = (np.cumsum(order) - total) / np.arange(1, len(u) + 1)
        return np.maximum(u - excess[np.flatnonzero(order > excess)[-1]], 0)

    def on_columns(f):
        def nearest(T, w):
            out = np.zeros_like(T)
            for t in range(p):
                own = w.allowed[:, t]
                if own.any():
                    out[own, t] = f(T[own, t])
            return out

        return nearest

    def live(w):
        return np.flatnonzero(w.allowed.any(axis=0))

    def simplex(name, cls):
        return SetPiece(
            name,
            lambda: cls(total),
            (total,),
            violation=lambda T, w: np.maximum(
                np.maximum(-T, 0).max(axis=0), np.abs(T.sum(axis=0) - total)
            ),
            nearest=on_columns(onto_simplex),
            cvx=lambda T, w: [T >= 0] + [cp.sum(T[:, t]) == total for t in live(w)],
            size=total,
        )

    sums = rng.choice([-2.0, -1.0, 0.5, 1.0], size=q)
    at = float(unit * rng.choice([0.0, 0.5, -1.0]))

    def equal(T, w):
        rows = sums[:, None] * w.allowed
        length = np.maximum(np.linalg.norm(rows, axis=0), 1e-300)
        return np.where(w.allowed.any(axis=0), (rows * T).sum(axis=0) - at, 0) / length

    def plane(T, w):
        rows = sums[:, None] * w.allowed
        length = np.maximum(np.linalg.norm(rows, axis=0), 1e-300)
        return T - rows / length * equal(T, w)

    def sized(T, count):
        keep = np.argsort(-np.abs(T), kind="stable")[:count]
        out = np.zeros_like(T)
        out[keep] = T[keep]
        return out

    every = [
        clip(*off(lambda w: w.support), "support", unigrn.support, needs_prior=True),
        clip(*off(lambda w: ~w.self_edge), "no_self", unigrn.no_self),
        clip(lambda w: 0.0, lambda w: np.inf, "nonnegative", unigrn.nonnegative),
        clip(
            lambda w: np.where(w.sign > 0, 0, -np.inf),
            lambda w: np.where(w.sign < 0, 0, np.inf),
            "sign",
            unigrn.sign,
            needs_prior=True,
        ),
        clip(
            lambda w: -low,
            lambda w: high,
            "box",
            lambda: unigrn.box(-low, high),
            (-low, high),
            size=max(low, high),
        ),
        SetPiece(
            "budget",
            lambda: unigrn.budget(few),
            (few,),
            violation=lambda T, w: np.full(p, np.inf if np.count_nonzero(T) > few else 0.0),
            nearest=lambda T, w: sized(T.ravel(), few).reshape(T.shape),
            coupled=True,
            convex=False,
            needs_prior=True,
            cap=few,
        ),
        simplex("simplex", unigrn.simplex),
        SetPiece(
            "cardinality",
            lambda: unigrn.cardinality(most),
            (most,),
            violation=lambda T, w: np.where(np.count_nonzero(T, axis=0) > most, np.inf, 0.0),
            nearest=lambda T, w: np.stack([sized(T[:, t], most) for t in range(p)], axis=1),
            convex=False,
            cap=most,
        ),
        SetPiece(
            "linear_equality",
            lambda: unigrn.linear_equality(dict(zip(w.regulators, sums, strict=True)), at),
            (at,),
            violation=lambda T, w: np.abs(equal(T, w)),
            nearest=plane,
            cvx=lambda T, w: [
                sums[w.allowed[:, t]] @ T[np.flatnonzero(w.allowed[:, t]), t] == at for t in live(w)
            ],
            size=abs(at),
        ),
        simplex("Simplex", Simplex),
        simplex("NaiveSimplex", NaiveSimplex),
        SetPiece(
            "TopK",
            lambda: TopK(float(most)),
            (most,),
            violation=lambda T, w: np.where(np.count_nonzero(T, axis=0) > most, np.inf, 0.0),
            nearest=lambda T, w: np.stack([sized(T[:, t], most) for t in range(p)], axis=1),
            convex=False,
            cap=most,
        ),
        SetPiece(
            "Ball",
            lambda: Ball(radius),
            (radius,),
            violation=lambda T, w: np.maximum(np.linalg.norm(T, axis=0) - radius, 0),
            nearest=lambda T, w: (
                T * np.minimum(1, radius / np.maximum(np.linalg.norm(T, axis=0), 1e-300))
            ),
            cvx=lambda T, w: [cp.norm(T[:, t], 2) <= radius for t in range(p)],
            size=radius,
        ),
        clip(lambda w: -cube, lambda w: cube, "Cube", lambda: Cube(cube), (cube,), size=cube),
        SetPiece(
            "SumTo",
            lambda: SumTo(to),
            (to,),
            violation=lambda T, w: np.abs(T.sum(axis=0) - to),
            nearest=on_columns(lambda u: u + (to - u.sum()) / len(u)),
            cvx=lambda T, w: [cp.sum(T[:, t]) == to for t in live(w)],
            size=abs(to),
        ),
    ]
    return {piece.name: piece for piece in every}


# ------------------------------------------------------------------------------ combinations


@dataclass(frozen=True)
class Combination:
    number: int
    world: World
    loss: list[LossPiece]
    regularizer: list[Piece]
    constraint: list[SetPiece]

    def spec(self):
        slots = [[p.term() for p in s] for s in (self.loss, self.regularizer, self.constraint)]
        loss, regularizer, constraint = (sum(s[1:], s[0]) if s else None for s in slots)
        return unigrn.Spec(loss, regularizer, constraint, prior=self.world.prior)

    @property
    def costs(self):
        return self.loss + self.regularizer

    @property
    def pieces(self):
        return self.loss + self.regularizer + self.constraint

    @property
    def coupled(self):
        return any(p.coupled for p in self.pieces)

    @property
    def convex(self):
        return all(p.convex for p in self.pieces)

    @property
    def structure(self):
        return tuple(p.name for p in self.pieces)

    def __str__(self):
        costs = " + ".join(map(str, self.costs))
        sets = " & ".join(map(str, self.constraint))
        return f"#{self.number} {costs}" + (f"  s.t. {sets}" if sets else "")


LOSSES = (
    *("ls", "ls through 0", "ls mean", "half ls", "gaussian", "gaussian own", "huber"),
    *("huber + half ls", "gaussian + huber", "squared", "squared weighted", "squared plain"),
    *("logistic", "logcosh", "logcosh weighted", "poisson", "ls", "ls", "huber"),
    *("counts poisson", "counts negative binomial", "logistic of a threshold", "quantile"),
)
REGULARIZERS = (
    *("ridge", "l1", "elastic_net", "prior_l1", "l0", "laplacian", "gaussian_prior", "0.5 l1"),
    *("Group", "3 Group", "Pairs", "SparseGroup", "Nuclear", "Largest", "RowLargest"),
    *("smooth_fused", "kinked_fused", "pull", "plain_ridge", "plain_abs", "variance_ridge"),
    *("Concave", "ridge", "l1"),
    *("minimax_concave", "slope", "group_lasso", "sparse_group", "l1_linf", "graph of targets"),
    *("graph of regulators", "pull to a network", "absolute pull", "squared_hinge"),
    *("adaptive_l1", "prior_elastic_net", "nuclear"),
)
CONSTRAINTS = (
    *("support", "no_self", "nonnegative", "sign", "box", "budget", "Simplex", "NaiveSimplex"),
    *("TopK", "Ball", "Cube", "SumTo", "support", "no_self"),
    *("simplex", "cardinality", "linear_equality"),
)


DECKS = (LOSSES, REGULARIZERS, CONSTRAINTS)
# Those that came last, each more often, beside a few that all meet.
LATER = (
    (*LOSSES[-4:], "ls", "ls", "ls mean", "huber"),
    (*REGULARIZERS[-13:], "ridge", "l1"),
    (*CONSTRAINTS[-3:], "support", "no_self", "nonnegative", "sign", "box"),
)


def _card(names, index, salt):
    """Deal names so that each comes up once in every round, in another order."""
    lap, place = divmod(index, len(names))
    return names[np.random.default_rng([salt, lap]).permutation(len(names))[place]]


def _names(structure, decks=DECKS):
    """Which terms a structure has: the first of each slot is dealt, the others are drawn."""
    rng = np.random.default_rng([7, structure])
    loss = _card(decks[0], structure, 1)
    slots = []
    for names, salt, share in (
        (decks[1], 2, [0.12, 0.48, 0.3, 0.1]),
        (decks[2], 3, [0.28, 0.44, 0.2, 0.08]),
    ):
        count = int(rng.choice(4, p=share))
        more = [str(n) for n in rng.choice(names, 3)]
        slots.append(list(dict.fromkeys([_card(names, structure, salt), *more]))[:count])
    return loss, *slots


def _sizes(world, loss):
    """Slope and curvature of a loss at 0, and how large coefficients are."""
    T, b = np.zeros(world.self_edge.shape), world.y.mean(axis=0)
    if any(piece.free == "block" for piece in loss):
        b = np.zeros_like(b)
    slope = np.median(np.abs(sum(p.gradient(T, b, world) for p in loss)))
    energy = np.median((world.x**2).sum(axis=0))
    bend = energy * np.median(
        sum(p.bend(world.y, p._eta(T, b, world)) * p.factor(world) for p in loss)
    )
    return (max(float(slope), 1e-3), max(float(bend), 1e-3))


def draw(number: int, decks=DECKS) -> Combination:
    """The combination with this number: the same whatever else is drawn."""
    structure, variant = divmod(number, VARIANTS)
    names = _names(structure, decks)
    rng = np.random.default_rng([11, structure, variant])
    shape = SHAPES[structure % len(SHAPES)]
    flavour = str(rng.choice(FLAVOURS))
    kind = str(rng.choice(PRIORS[:3], p=[0.6, 0.2, 0.2]))
    needs = {"support", "sign", "budget", "prior_l1", "gaussian_prior"}
    needs |= {"squared_hinge", "prior_elastic_net"}
    if structure % 5 == 4 and not needs & {*names[1], *names[2]}:
        kind = "none"
    counts = names[0].startswith("counts")
    return assemble(number, make_world(rng, shape, flavour, kind, counts), names, rng)


def assemble(number, world, names, rng) -> Combination:
    loss = losses(rng, world)[names[0]]
    size = _sizes(world, loss)
    costs = regularizers(rng, world, size)
    sets = constraints(rng, world, 1.0 if rng.random() < 0.7 else 0.05)
    constraint = [sets[n] for n in names[2]]
    return Combination(
        number, world.allow(constraint), loss, [costs[n] for n in names[1]], constraint
    )


# ----------------------------------------------------------------------------------- oracle


class NoAnswer(Exception):
    """The oracle has nothing to say; the text says why."""


def feasible(constraint, T, w, rounds=300):
    """A point near T within all sets, by cyclic projections, and how far it still is from them."""
    T = np.where(w.allowed, T, 0)
    for _ in range(rounds):
        for c in constraint:
            T = np.where(w.allowed, c.nearest(T, w), 0)
        if violation(constraint, T, w).max() <= 1e-14 * max(np.abs(T).max(), 1e-300):
            break
    return T, violation(constraint, T, w)


def violation(constraint, T, w):
    """How far from feasible each target is, entries that are deleted included."""
    live = w.allowed.any(axis=0)
    out = np.zeros(T.shape[1])
    for c in constraint:
        gap = c.violation(T, w)
        # What a target without candidates would have to sum to is not asked of the fit.
        out = np.maximum(out, np.where(live | (c.name in ("support", "no_self")), gap, 0))
    return out


def solve(costs, constraint, w, mask=None, linear=None, weight=None):
    """Minimise convex pieces by an interior-point method: T and b, cleaned up to be feasible.

    ``mask`` holds more entries at 0; ``linear`` (q, p) and ``weight`` of |T| are what is left of
    a concave penalty.
    """
    import cvxpy as cp

    q, p = w.allowed.shape
    unit = np.sqrt((w.x**2).mean(axis=0))
    unit = 1 / np.where(unit > 0, unit, 1)
    Z, b = cp.Variable((q, p)), cp.Variable(p)
    T = np.diag(unit) @ Z
    goal = sum(c.cvx(T, b, w) for c in costs)
    if linear is not None:
        goal = goal + cp.sum(cp.multiply(linear, T)) + weight * cp.norm1(T)
    held = ~w.allowed if mask is None else ~(w.allowed & mask)
    rules = [cp.multiply(held.astype(float), Z) == 0] if held.any() else []
    rules += [b == 0] if not any(getattr(c, "free", None) == "block" for c in costs) else []
    rules += [r for c in constraint for r in c.cvx(T, w) if c.name not in ("support", "no_self")]
    zero = sum(c.value(np.zeros((q, p)), w.y.mean(axis=0) * 0, w).sum() for c in costs)
    problem = cp.Problem(cp.Minimize(goal / (1 + abs(zero))), rules)
    for tolerance in (1e-11, 1e-8):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                problem.solve(
                    solver=cp.CLARABEL,
                    tol_gap_abs=tolerance,
                    tol_gap_rel=tolerance,
                    tol_feas=tolerance,
                    max_iter=300,
                )
            except cp.SolverError:
                continue
        if problem.status in ("optimal", "optimal_inaccurate") and Z.value is not None:
            break
    if problem.status not in ("optimal", "optimal_inaccurate") or Z.value is None:
        raise NoAnswer(problem.status)
    found = np.where(held, 0, unit[:, None] * Z.value)
    inner = dataclasses.replace(w, allowed=~held)
    found, gap = feasible(constraint, found, inner)
    return found, b.value, gap


def objective(costs, T, b, w):
    return sum(c.value(T, b, w) for c in costs)


# ------------------------------------------------------------------------------------- judge


@dataclass
class Report:
    number: int
    verdict: str
    text: str
    combination: str
    seconds: float = 0.0
    above: float | None = None  # of a nonconvex fit, how far above the global optimum
    beaten: bool = False  # the oracle was beaten by more than the tolerance
    reading: str = ""

    def __str__(self):
        return f"{self.verdict:8} {self.combination}\n         {self.text}"


def attempt(combination: Combination):
    """Fit: a verdict and a text where that ends early, else the solution."""
    refusals = (unigrn.PlanError, ValueError, TypeError)
    w = combination.world
    try:
        plan = unigrn.plan(combination.spec(), w.data, regulators=w.regulators, targets=w.targets)
    except refusals as error:
        return "refused", f"{type(error).__name__}: {error}"
    except Exception as error:
        return "crash", f"planning: {type(error).__name__}: {error}"
    try:
        return unigrn.fit(plan, seed=0)
    except unigrn.PlanError as error:
        return "refused", f"{type(error).__name__}: {error}"
    except Exception as error:
        return "crash", f"solving: {type(error).__name__}: {error}"


def read(solution, w):
    """theta, intercept, status in the order of the world; what was left out is 0 and absent."""
    network = solution.network()
    at = [w.regulators.index(r) for r in network.regulators]
    to = [w.targets.index(t) for t in network.targets]
    T = np.zeros((len(w.regulators), len(w.targets)))
    T[np.ix_(at, to)] = np.asarray(solution.theta[0])
    b, status = np.zeros(len(w.targets)), np.full(len(w.targets), "absent", object)
    if "intercept" in solution.blocks:
        b[to] = np.asarray(solution.blocks["intercept"][0]).reshape(-1)[: len(to)]
    table = solution.certificate
    for target, word in zip(table["target"], table["status"], strict=True):
        status[w.targets.index(target)] = word
    return T, b, status


def judge(combination: Combination, best: bool = False) -> Report:
    """Fit a combination and say what became of it; ``best`` looks for the global optimum too."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = attempt(combination)
        w = combination.world
        if isinstance(outcome, tuple):
            report = Report(combination.number, *outcome, str(combination))
        else:
            T, b, status = read(outcome, w)
            report = _judge(combination, T, b, status)
            if best and report.verdict == "right" and not combination.convex:
                report.above = _above(combination, T, b)
            words = " | ".join(f"{k} x {v}" if v > 1 else k for k, v in Counter(status).items())
            report.text += f"; {words}; {outcome.plan.provenance(0).get('solver', '')}"
    report.text += f"; {w.label}"
    report.seconds = time.perf_counter() - began
    return report


def _judge(combination, T, b, status) -> Report:
    w = combination.world
    sure = status == "converged"
    report = Report(combination.number, "honest", "", str(combination))
    if not sure.any():
        return report
    if np.isnan(T[:, sure]).any():
        report.verdict, report.text = "crash", "NaN under the status converged"
        return report
    if combination.coupled and not (sure | ~w.allowed.any(axis=0)).all():
        return report
    T, b = np.nan_to_num(T), np.nan_to_num(b)
    readings = ["masked"]
    if any(p.positional for p in combination.pieces) and not w.allowed.all():
        readings = ["masked", "compact", "full"]
    found = []
    for reading in readings:
        view = dataclasses.replace(w, reading=reading)
        found.append((*_compare(combination, view, T, b, sure), reading))
        if found[-1][0] in ("right", "near"):
            break
    verdict, text, beaten, reading = max(found, key=lambda f: ORDER.index(f[0]))
    done = (sure | np.isin(status, ("target is constant", "no candidate regulators", "absent")))[
        w.allowed.any(axis=0)
    ].all()
    report.verdict = "honest" if verdict in ("right", "near") and not done else verdict
    report.text, report.beaten = text, beaten
    report.reading = reading if len(readings) > 1 else ""
    return report


def _compare(combination, w, T, b, sure):
    """Hold a certified point against the oracle: verdict, text, whether the oracle was beaten."""
    constraint = combination.constraint
    gap = violation(constraint, T, w)
    sizes = np.maximum(np.abs(T).max(axis=0), max([c.size for c in constraint], default=0.0))
    sizes = np.maximum(sizes, 1e-12)
    far = np.where(sure, gap / sizes, 0)
    if (far > LOOSE).any():
        return "WRONG", f"infeasible by {far.max():.1e} of its scale", False
    near = (far > CLOSE).any()
    # Nonconvex terms: the convex problem that is left at the point's own zero pattern.
    costs = [c for c in combination.costs if c.convex]
    sets = [c for c in constraint if c.convex]
    bends = [c for c in combination.costs if hasattr(c, "slope")]
    mask, linear, weight = None, None, 0.0
    if bends:
        linear = sum(c.slope(T) for c in bends)
        weight = sum(c.strength for c in bends)
    if not combination.convex:
        mask = _free(combination, w, T)
    try:
        at, a, off = solve(costs, sets, w, mask, linear, weight)
    except NoAnswer as error:
        return ("near" if near else "unchecked"), f"oracle: {error}", False

    def total(T, b):
        out = objective(costs, T, b, w)
        if linear is not None:
            out = out + np.sum(linear * T + weight * np.abs(T), axis=0)
        return out if not combination.coupled else np.full_like(out, out.sum())

    mine, theirs = total(T, b), total(at, a)
    # What the oracle may have gained by what it lacks to be feasible.
    force = np.abs(sum(c.gradient(at, a, w) for c in combination.loss)).sum(axis=0)
    force = force.sum() if combination.coupled else force
    off = off.max() if combination.coupled else off
    allowance = CLOSE * (1 + np.abs(theirs)) + force * off
    worse = np.where(sure, mine - theirs, 0)
    beaten = bool((worse < -CLOSE * (1 + np.abs(theirs))).any())
    trusted = off <= 1e-9 * np.maximum(sizes, np.abs(at).max(axis=0))
    if not np.isfinite(mine[sure]).all():
        return "WRONG", "the objective is not finite", beaten
    t = int(np.argmax(np.where(sure, worse / allowance, -np.inf)))
    if worse[t] > allowance[t]:
        kind = "objective" if combination.convex else "objective on its own zero pattern"
        text = f"{kind} {mine[t]:.9g}, oracle {theirs[t]:.9g} ({w.targets[t]})"
        again = total(T, _intercept(combination.loss, T, w))
        if again[t] - theirs[t] <= allowance[t]:
            text += "; right but for the intercept that is reported"
        return ("WRONG" if np.all(trusted) else "unchecked"), text, beaten
    if not combination.convex:
        text = _moves(combination, w, T, b, sure)
        if text:
            return "WRONG", text, beaten
    text = f"worse by {max(worse[t] / (1 + abs(theirs[t])), 0):.1e}"
    return ("near" if near else "right"), text, beaten


def _intercept(loss, T, w):
    """The best intercept of each target beside given coefficients, by bisection."""
    own = [c for c in loss if c.free == "block"]
    high = 10 * (1 + np.abs(w.y).max(axis=0) + np.abs(w.x @ T).max(axis=0))
    low = -high
    for _ in range(80):
        b = (low + high) / 2
        up = sum((c.dpsi(w.y, w.x @ T + b).sum(axis=0) * c.factor(w) for c in own), 0 * b) < 0
        low, high = np.where(up, b, low), np.where(up, high, b)
    return b


def _free(combination, w, T):
    """Entries that the restricted problem may use: the support, and all where no cap can bind."""
    q, p = T.shape
    free = np.ones((q, p), bool)
    if any(c.name == "l0" and c.numbers[0] > 0 for c in combination.regularizer):
        free = T != 0
    for c in combination.constraint:
        if c.cap is not None:
            room = w.allowed.sum() if c.coupled else w.allowed.sum(axis=0)
            slack = np.broadcast_to(c.cap >= room, (q, p))
            free = free & ((T != 0) | slack)
    return free


def _moves(combination, w, T, b, sure):
    """A move of one entry, or an exchange of two, that a proximal step would take; "" for none.

    The step is 1 / L with L twice a bound by the trace: a solver with a longer step passes where
    it is stationary, one with a shorter step may be stationary at more points.
    """
    g = sum(c.gradient(T, b, w) for c in combination.loss)
    L = 2 * sum(c.curvature(T, b, w) for c in combination.loss)

    def rest(point):
        return sum(c.value(point, b, w).sum() for c in combination.regularizer)

    def fits(point):
        return violation(combination.constraint, point, w).max() <= 1e-12

    base = rest(T)
    start = violation(combination.constraint, T, w).max() <= 1e-12
    value = objective(combination.costs, T, b, w)
    allow = 1e-5 * (1 + (np.abs(value.sum()) if combination.coupled else np.abs(value)))
    allow = np.broadcast_to(allow, value.shape)
    capped = any(c.cap is not None for c in combination.constraint)
    if not start:
        return ""
    for t in np.flatnonzero(sure):
        for j in np.flatnonzero(w.allowed[:, t]):
            swaps = [None]
            if capped and T[j, t] == 0:
                own = np.argwhere(T != 0) if combination.coupled else np.argwhere(T[:, [t]] != 0)
                if len(own):
                    pick = min(own, key=lambda e: abs(T[e[0], e[1] if combination.coupled else t]))
                    swaps.append((pick[0], pick[1] if combination.coupled else t))
            for swap in swaps:
                point = T.copy()
                model = 0.0
                if swap is not None:
                    i, s = swap
                    if not sure[s]:
                        continue
                    model = -g[i, s] * T[i, s] + L[s] / 2 * T[i, s] ** 2
                    point[i, s] = 0
                ends = [0.0, T[j, t], T[j, t] - g[j, t] / L[t]]
                low, high = min(ends), max(ends)
                for _ in range(3):
                    grid = np.unique(np.r_[np.linspace(low, high, 17), 0.0 if low <= 0 else low])
                    gains = np.full(len(grid), np.inf)
                    for k, u in enumerate(grid):
                        point[j, t] = u
                        if fits(point):
                            d = u - T[j, t]
                            gains[k] = g[j, t] * d + L[t] / 2 * d**2 + model + (rest(point) - base)
                    k = int(np.argmin(gains))
                    if gains[k] < -allow[t]:
                        what = "exchange" if swap else "drop" if grid[k] == 0 else "move"
                        return (
                            f"not stationary: to {what} {w.regulators[j]} of {w.targets[t]} "
                            f"gains {-gains[k]:.2e} in the proximal model"
                        )
                    low, high = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)]
    return ""


def _above(combination, T, b):
    """How far above the global optimum, relative to 1 + |F|, by enumeration of supports; or None.

    For prices and caps only, and where there are few supports.
    """
    w = combination.world
    q, p = T.shape
    coupled = combination.coupled
    if any(hasattr(c, "slope") for c in combination.costs) or (q * p if coupled else q) > 6:
        return None
    costs = [c for c in combination.costs if c.convex]
    sets = [c for c in combination.constraint if c.convex]

    def total(T, b):
        out = objective(combination.costs, T, b, w)
        return out.sum(keepdims=True) if coupled else out

    best = np.full(1 if coupled else p, np.inf)
    for pattern in itertools.product((False, True), repeat=q * p if coupled else q):
        mask = np.broadcast_to(np.array(pattern).reshape(q, -1), (q, p))
        if any((violation([c], 1.0 * mask, w) > 0).any() for c in combination.constraint if c.cap):
            continue
        try:
            at, a, _ = solve(costs, sets, w, mask)
        except NoAnswer:
            continue
        best = np.minimum(best, total(at, a))
    mine = total(T, b)
    live = np.isfinite(best)
    return float(np.max((mine - best)[live] / (1 + np.abs(best[live])), initial=0.0))


# --------------------------------------------------------------------------------------- run


def run(count: int, best: int = 6, each=None, decks=DECKS) -> list[Report]:
    """Judge the first ``count`` combinations; of ``best`` nonconvex ones the global optimum too."""
    reports = []
    for number in range(count):
        if number % 80 == 79:
            jax.clear_caches()  # programs of structures that do not come again
        report = judge(draw(number, decks), best=best > 0)
        best -= report.above is not None
        reports.append(report)
        if each is not None:
            each(report)
    return reports


def summary(reports: list[Report]) -> str:
    """The shares of the verdicts, in a few lines."""
    count = Counter(r.verdict for r in reports)
    names = ("right", "honest", "refused", "WRONG", "crash", "near", "unchecked")
    lines = [
        ", ".join(f"{n} {count[n]} ({100 * count[n] / len(reports):.0f} %)" for n in names),
        f"{sum(r.seconds for r in reports):.0f} s; "
        f"{sum(r.beaten for r in reports)} with a lower objective than the oracle's",
    ]
    readings = Counter(r.reading for r in reports if r.reading)
    if readings:
        lines.append(
            "positions beside deletions: " + ", ".join(f"{k} {v}" for k, v in readings.items())
        )
    above = [r.above for r in reports if r.above is not None]
    if above:
        lines.append(
            f"nonconvex, above the global optimum: median {np.median(above):.1e}, "
            f"largest {max(above):.1e} of {len(above)}"
        )
    return "\n".join(lines)


def main(arguments):
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    decks = LATER if "--later" in arguments else DECKS
    arguments = [a for a in arguments if a != "--later"]
    if arguments[:1] == ["--only"]:
        print(judge(draw(int(arguments[1]), decks), best=True))
        return
    count = int(arguments[0]) if arguments else int(os.environ.get("UNIGRN_CATALOGUE", "300"))
    shown = set(arguments[1:])
    show = lambda r: print(r, flush=True) if r.verdict in shown else None  # noqa: E731
    reports = run(count, each=show, decks=decks)
    print(summary(reports))


if __name__ == "__main__":
    main(sys.argv[1:])
