"""Terms: what each claims of itself is checked against its definition, in NumPy.

`CASES` holds an instance of every built-in term, alone, scaled and summed. Each test asks the
instances which of them claim a capability, and checks those; a new class, a new constructor or a
new capability without a place here fails a test of its own.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from scipy import stats
from scipy.optimize import linprog
from scipy.special import digamma
from scipy.stats import norm

import unigrn
from unigrn import constraints, filtering, losses, neighbours, regularizers
from unigrn.binding import Names, bind
from unigrn.constraints import (
    box,
    budget,
    cardinality,
    linear_equality,
    no_self,
    nonnegative,
    rank,
    sign,
    simplex,
    support,
)
from unigrn.filtering import Collaborative, collaborative, collaborative_sketch
from unigrn.losses import (
    Huber,
    component_analysis,
    expected_gaussian,
    gaussian,
    gaussian_evidence,
    huber,
    least_squares,
    logistic,
    loss,
    marginal_squares,
    negative_binomial,
    poisson,
    prior_squares,
    quantile,
    subset_bic,
)
from unigrn.methods.symphony import Regulation
from unigrn.neighbours import alike, known_edges
from unigrn.processes import generative
from unigrn.regularizers import (
    L1,
    Ridge,
    adaptive_l1,
    dirty,
    elastic_net,
    fused,
    gaussian_prior,
    graph_laplacian,
    group_lasso,
    kl_gaussian,
    l0,
    l1,
    l1_linf,
    laplacian,
    minimax_concave,
    nuclear,
    prior_elastic_net,
    prior_l1,
    pull,
    regularizer,
    ridge,
    slope,
    sparse_group,
    squared_hinge,
)
from unigrn.solvers import columns, optimality
from unigrn.spec import Spec
from unigrn.terms import (
    AXES,
    CAPABILITIES,
    Along,
    Blocks,
    Constraint,
    Loss,
    Moments,
    PriorView,
    Quadratic,
    Regularizer,
    Scaled,
    Squares,
    Sum,
    Term,
    View,
    add,
    hard_threshold,
    joint,
    largest,
    local,
    parts,
    pytree,
    real_rows,
    scale,
)
from unigrn.verify import checks
from unigrn.verify.checks import TERM_CHECKS
from unigrn.verify.checks import world as small

pytestmark = pytest.mark.usefixtures("x64")

# Four different sizes, so that a transposed array does not pass.
CELLS, CANDIDATES, TARGETS, FACTORS = 7, 4, 3, 2
SIZES = {"cells": CELLS, "regulators": CANDIDATES, "targets": TARGETS, "factors": FACTORS}
BLOCKS = {
    **AXES,
    "log_variance": AXES["theta"],
    "noise_precision": ("targets",),
    "weight_precision": ("targets",),
}
BATCH = 6  # points in one compiled call
PAD = 3

# The x64 fixture is a switch that stays on for all examples of a test.
# An example is a world with a batch of points; a case is compiled once for all its examples.
EXAMPLES = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


# --- The data ---------------------------------------------------------------------------------


def moments_of(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> Moments:
    """Weighted, centred sums, as `Moments` defines them."""
    count = w.sum()
    mean_x, mean_y = w @ x / count, w @ y / count
    x, y = x - mean_x, y - mean_y
    return Moments(
        (x.T * w) @ x, (x.T * w) @ y, w @ y**2, np.asarray(count), mean_x, np.asarray(mean_y)
    )


def axes(block: str, whole: bool) -> tuple[str, ...]:
    """Axes of a block, for the whole network or for one target."""
    return tuple(a for a in BLOCKS[block] if whole or a != "targets")


class World:
    """Cells, targets, a prior and random numbers, all from one seed."""

    def __init__(self, seed: int, offset: float):
        self.seed, self.offset = seed, offset
        self.rng = rng = np.random.default_rng(seed)
        shared = rng.normal(size=(CELLS, 1)) * rng.choice([0.0, 3.0])
        self.x = (
            rng.normal(size=(CELLS, CANDIDATES)) + shared + offset * rng.normal(size=CANDIDATES)
        )
        self.y = (
            self.x @ rng.normal(size=(CANDIDATES, TARGETS))
            + rng.normal(size=(CELLS, TARGETS))
            + offset * rng.normal(size=TARGETS)
        )
        self.weight = rng.integers(0, 4, CELLS).astype(float)
        self.weight[:3] += 1
        shape = (CANDIDATES, TARGETS)
        evidence = np.where(rng.random(shape) < 0.6, rng.choice([0.3, 1.0, 2.5], shape), 0)
        evidence[0, 0] = 1.0
        atac = evidence * rng.choice([0, 0.5, 1], shape)
        self.table = PriorView(
            support=evidence > 0,
            weight=evidence,
            sign=np.where(evidence > 0, rng.integers(-1, 2, shape), 0).astype(np.int32),
            self_edge=np.arange(CANDIDATES)[:, None] == rng.integers(0, 2 * CANDIDATES, TARGETS),
            valid=np.ones(shape, bool),
            layers={"atac": atac, "motif": evidence - atac},
        )
        # A whole network has gaps where a regulator is no candidate of a target.
        valid = rng.random(shape) < 0.8
        valid[range(CANDIDATES), np.arange(CANDIDATES) % TARGETS] = True
        self.gaps = jax.tree.map(lambda a: np.where(valid, a, np.zeros((), a.dtype)), self.table)

    def __repr__(self) -> str:
        return f"World(seed={self.seed}, offset={self.offset})"

    def prior(self, target: int | None = 0) -> PriorView:
        """One target's column of the prior; all of it, with gaps, for None."""
        return self.gaps if target is None else jax.tree.map(lambda a: a[:, target], self.table)

    def rows(self, target: int | None = 0) -> View:
        key = np.array([0, self.seed], np.uint32)
        y = self.y if target is None else self.y[:, target]
        return View(None, self.x, y, self.weight, key, **self.place(target))

    def place(self, target: int | None) -> dict[str, np.ndarray]:
        """Whose entries of arrays a term sees: of one target's candidates."""
        if target is None:
            return {}
        return {"regulators": np.arange(CANDIDATES), "target": np.asarray(target)}

    def moments(self, target: int | None = 0) -> View:
        w, y = self.weight, self.y if target is None else self.y[:, target]
        return View(moments_of(self.x, y, w), **self.place(target))

    def view(self, kind: str, target: int | None = 0) -> View:
        return self.rows(target) if kind == "rows" else self.moments(target)

    def theta(self, *shape: int) -> np.ndarray:
        """Coefficients, some of them 0 and some of them whole numbers."""
        out = self.rng.normal(size=shape) * self.rng.choice([0.1, 1.0, 3.0])
        return np.where(self.rng.random(shape) < 0.2, np.rint(out), out)

    def params(self, term: Term, whole: bool | None = None) -> Blocks:
        """Blocks of a batch of points: ``theta`` and what else the term needs."""
        whole = term.separable is None if whole is None else whole
        out = {}
        for name in ("theta", *sorted(set(term.blocks) - {"theta"})):
            value = self.theta(BATCH, *(SIZES[a] for a in axes(name, whole)))
            out[name] = np.exp(value) if name.endswith("precision") else value
        if whole:
            out["theta"] = np.where(self.gaps.valid, out["theta"], 0)
        return Blocks(**out)


worlds = st.builds(World, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 30.0]))
entries = st.floats(-4, 4, width=16)
vectors = hnp.arrays(np.float64, CANDIDATES, elements=entries, fill=st.nothing())
steps = st.floats(0.05, 3.0)


# --- The terms and their definitions ----------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """A term, and its definition in NumPy: ``value(theta, rows, prior, blocks)`` for one target.

    ``views`` are the forms of data it takes for one target, ``network`` those it takes for all. A
    term that couples the targets is defined for all of them.
    """

    name: str
    term: Term
    value: Callable[..., float]
    views: tuple[str, ...] = ("rows",)
    network: tuple[str, ...] = ("rows",)
    bounds: Callable[[PriorView], tuple[np.ndarray, np.ndarray]] | None = None
    most: tuple[Callable[[PriorView], tuple[np.ndarray, int]], ...] = ()

    target = property(lambda self: None if self.term.separable is None else 0)

    def seen(self, world: World) -> World:
        """The world with expression of targets for which the term is defined."""
        outcome = self.term.outcome
        if outcome is None:
            return world
        out = copy.copy(world)
        out.x = world.x / (1 + np.abs(world.x).max())  # exponentials stay finite
        size = np.abs(world.y)
        out.y = np.rint(np.minimum(size, 60)) if math.isinf(outcome[1]) else size / (1 + size)
        return out


def squares(theta, rows, intercept=True):
    residual = rows.y - rows.x @ theta
    if intercept:
        residual = residual - np.average(residual, weights=rows.weight)
    return rows.weight @ residual**2


def definition(value):
    """A definition whose constants are given first."""
    return lambda *constants: lambda *point: value(*point, *constants)


@definition
def of_least_squares(theta, rows, prior, blocks, intercept=True, mean=False):
    return squares(theta, rows, intercept) / (rows.weight.sum() if mean else 1)


@definition
def of_gaussian(theta, rows, prior, blocks, variance=None):
    count = rows.weight.sum()
    s2 = squares(0 * theta, rows) / count if variance is None else variance
    return squares(theta, rows) / (2 * s2) + count / 2 * math.log(2 * math.pi * s2)


@definition
def of_marginal(theta, rows, prior, blocks):
    return sum(
        squares(theta[j : j + 1], rows.replace(x=rows.x[:, j : j + 1]))
        for j in np.flatnonzero(prior.valid)
    )


@definition
def of_subset(theta, rows, prior, blocks, on, off):
    n, used = rows.weight.sum(), np.flatnonzero(theta)
    root = np.sqrt(rows.weight)
    x, y = ((v - rows.weight @ v / n).T * root for v in (rows.x, rows.y))
    # Where they depend on each other: the least in units of their sizes.
    size = np.linalg.norm(x[used], axis=1)
    size[size == 0] = 1
    b = np.linalg.lstsq((x[used] / size[:, None]).T, y, rcond=3e-5)[0] / size
    b = b / np.sqrt(1 + np.where(prior.support, on, off)[used])
    s = (squares(theta, rows) + np.sum((x.T[:, used] @ b) ** 2)) / 2
    return n * (math.log(s) - digamma(n / 2)) + len(used) * math.log(n)


@definition
def of_prior(theta, rows, prior, blocks):
    sign = np.where(np.asarray(prior.sign) == 0, 1, prior.sign)
    return np.sum(((theta - prior.weight * sign) ** 2)[np.asarray(prior.valid)])


@definition
def of_huber(theta, rows, prior, blocks, delta):
    r = np.abs(rows.y - blocks["intercept"] - rows.x @ theta)
    return rows.weight @ np.where(r <= delta, r**2, 2 * delta * r - delta**2)


@definition
def of_quantile(theta, rows, prior, blocks, level, width):
    # The Moreau envelope by its definition: the best of many points beside r, on both pieces.
    r = rows.y - blocks["intercept"] - rows.x @ theta
    at = np.stack([0 * r, np.maximum(r - width * level, 0), np.minimum(r + width * (1 - level), 0)])
    check = np.maximum(level * at, (level - 1) * at)
    return rows.weight @ np.min(check + (at - r) ** 2 / (2 * width), axis=0)


@definition
def of_poisson(theta, rows, prior, blocks):
    mean = np.exp(blocks["intercept"] + rows.x @ theta)
    return -rows.weight @ stats.poisson.logpmf(rows.y, mean)


@definition
def of_negative_binomial(theta, rows, prior, blocks, dispersion):
    mean, r = np.exp(blocks["intercept"] + rows.x @ theta), 1 / dispersion
    return -rows.weight @ stats.nbinom.logpmf(rows.y, r, r / (r + mean))


@definition
def of_logistic(theta, rows, prior, blocks, threshold):
    on = rows.y if threshold is None else rows.y > threshold
    eta = blocks["intercept"] + rows.x @ theta
    return -rows.weight @ (on * stats.logistic.logcdf(eta) + (1 - on) * stats.logistic.logsf(eta))


@definition
def of_evidence(theta, rows, prior, blocks, h):
    a, lam = blocks["noise_precision"], blocks["weight_precision"]
    w, k = rows.weight, int(np.sum(prior.valid))
    x = (rows.x - w @ rows.x / w.sum())[:, prior.valid]
    _, logdet = np.linalg.slogdet(a * (x.T * w) @ x + lam * np.eye(k))
    return (
        a * squares(theta, rows)
        + lam * theta @ theta
        + logdet
        - w.sum() * np.log(a)
        - k * np.log(lam)
        + 2 * h * (a + lam)
        - 2 * h * (np.log(a) + np.log(lam))
    )


def smooth_error(params, data, prior, width):
    r = (data.y - data.x @ params.theta) / width
    value = jnp.sqrt(1 + r**2) - 1
    return jnp.sum(data.weight * value if value.ndim == 1 else data.weight[:, None] * value)


def of_smooth_error(theta, rows, prior, blocks):
    return rows.weight @ (np.sqrt(1 + ((rows.y - rows.x @ theta) / 2.0) ** 2) - 1)


def smooth_price(params, data, prior, strength):
    return strength * jnp.sum((1 + prior.weight) * (jnp.sqrt(1 + params.theta**2) - 1))


def of_smooth_price(theta, rows, prior, blocks):
    return 0.7 * np.sum((1 + prior.weight) * (np.sqrt(1 + theta**2) - 1))


@definition
def of_expected(theta, rows, prior, blocks, variance=None):
    # A quadratic has the same mean over theta +- its standard deviations as over a Gaussian.
    spread = np.exp(blocks["log_variance"] / 2)
    return np.mean(
        [
            of_gaussian(variance)(theta + spread * signs, rows, prior, blocks)
            for signs in itertools.product([-1, 1], repeat=theta.size)
        ]
    )


def of_components(theta, rows, prior, blocks):
    return np.sum((rows.y - blocks["A"].T @ theta) ** 2)


@definition
def of_laplacian(theta, rows, prior, blocks, strength, threshold, signed=True):
    cov, total = np.cov(rows.y.T, aweights=rows.weight), 0
    for g, h in itertools.combinations(range(TARGETS), 2):
        w = cov[g, h] / math.sqrt(cov[g, g] * cov[h, h])
        same = np.sign(w) if signed else 1
        if abs(w) > threshold:
            total += abs(w) * np.sum((theta[:, g] - same * theta[:, h]) ** 2)
    return strength * total


@definition
def of_known(theta, rows, prior, blocks, layer=None, graded=False):
    weight = prior.weight if layer is None else prior.layers[layer]
    known = np.where(prior.valid, weight if graded else weight > 0, 0)
    apart = np.where(prior.valid, theta - known, 0) ** 2
    return np.sum(apart[:, known.any(axis=0)]) if theta.ndim == 2 else known.any() * apart.sum()


@definition
def of_alike(theta, rows, prior, blocks, strength, width, even=0.0):
    y = rows.y - rows.weight @ rows.y / rows.weight.sum()
    y = y * np.sqrt(rows.weight)[:, None]
    u, s, v = np.linalg.svd(y / np.linalg.norm(y, axis=0), full_matrices=False)
    y = (s ** (1 - even))[:, None] * v
    y = y / np.linalg.norm(y, axis=0)
    apart = 1 - y.T @ y
    middle = np.median(apart[np.triu_indices(len(apart), 1)])
    near = (1 - 1e-4) * np.exp(-apart / (width * middle))
    np.fill_diagonal(near, 1)
    return strength * np.trace(theta @ np.linalg.inv(near) @ theta.T)


@definition
def of_filter(theta, rows, prior, blocks, weights):
    p, c, b, eta = weights(prior)
    z = (theta != 0).astype(float)
    return np.sum((c + b * z) * (z + (1 - z) * p - blocks["V"].T @ blocks["U"]) ** 2 + eta * z)


def counted(evidence, strength, boost, floor, per_target=200):
    """P, c, b and eta of `collaborative`, edge by edge."""

    def weights(prior):
        layers = list(prior.layers.values())
        by_count = np.array([0, *evidence[-len(layers) :]])
        c = by_count[sum((v > 0).astype(int) for v in layers)]
        c = c * sum(v / max(v.max(), 1e-300) for v in layers)
        rank = np.argsort(np.argsort(-c, axis=0, kind="stable"), axis=0)
        p = ((c > 0) & (rank < per_target)).astype(float)
        alpha, beta = np.where(p, c, 1), np.where(p, boost * c, c.max() - 1)
        eta = floor + strength * (1 - p) * alpha * (1 + alpha / beta)
        return p, strength * alpha * prior.valid, strength * beta * prior.valid, eta

    return weights


def sketched(slope, on, off):
    """The same of `collaborative_sketch`."""

    def weights(prior):
        known = (prior.weight > 0).astype(float)
        c = (1 + slope * sum(prior.layers.values())) * prior.valid
        return known, c, on * c * known + off * (1 - known) * prior.valid, 0

    return weights


_rng = np.random.default_rng(3)
GIVEN = (
    _rng.integers(0, 2, (CANDIDATES, TARGETS)).astype(float),
    *_rng.gamma(2, 1, (2, CANDIDATES, TARGETS)),
    0.2,
)  # P, c, b and the floor


def as_given(prior):
    p, c, b, floor = GIVEN
    return p, c, b, floor + (1 - p) * c * (1 + c / b)


@definition
def of_gaussian_prior(theta, rows, prior, blocks, on, off):
    log = norm.logpdf(theta, 0, np.sqrt(np.where(prior.support, on, off)))
    return -np.sum(log, where=prior.valid)


@definition
def of_kl(theta, rows, prior, blocks, on, off):
    # The mean of log q - log p under q; three nodes are exact for a quadratic.
    nodes, share = np.polynomial.hermite_e.hermegauss(3)
    width, sd = np.sqrt(np.where(prior.support, on, off)), np.exp(blocks["log_variance"] / 2)
    at = theta + sd * nodes[:, None]
    ratio = norm.logpdf(at, theta, sd) - norm.logpdf(at, 0, width)
    return share @ ratio @ prior.valid / share.sum()


def price(strength, bias, layer=None):
    """Weights of prior_l1: full without evidence, ``bias`` times that from weight 1 on."""

    def weights(prior):
        p = np.minimum(prior.weight if layer is None else prior.layers[layer], 1)
        return strength * ((1 - p) + p * bias)

    return weights


of_ridge = definition(
    lambda theta, rows, prior, blocks, alpha, block="theta": alpha * np.sum(blocks[block] ** 2)
)
of_l0 = definition(lambda theta, rows, prior, blocks, cost: cost * np.count_nonzero(theta))
of_l1 = definition(lambda theta, rows, prior, blocks, strength: strength * np.abs(theta).sum())
of_prior_l1 = definition(
    lambda theta, rows, prior, blocks, *args: np.sum(price(*args)(prior) * np.abs(theta))
)
of_pull = definition(
    lambda theta, rows, prior, blocks, strength, centre: strength * np.sum((theta - centre) ** 2)
)


REGULATORS = [f"r{j:03d}" for j in range(CANDIDATES)]
NETWORK = pd.DataFrame(
    np.random.default_rng(4).normal(size=(CANDIDATES, TARGETS)),
    index=REGULATORS,
    columns=[f"t{k:03d}" for k in range(TARGETS)],
)
GROUPS = {"family": ["r002", "r000"], "other": ["r001", "r003"]}
MEMBERS = [[0, 2], [1, 3]]
AMONG_TARGETS = [("t000", "t002", 0.5), ("t002", "t001", -2.0)]
AMONG_REGULATORS = [("r003", "r000", 0.5), ("r001", "r000", -2.0)]
EQUATIONS = np.array([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 1.0, 3.0]])
VALUES = np.array([0.5, -1.0])


def placed(term: Term) -> Term:
    """The term with its arrays in the order of the problem."""
    targets = np.array(NETWORK.columns)
    names = Names(np.array(REGULATORS), targets, {"regulators": [], "targets": []}, CELLS, False)
    return bind((term,), names)[0]


def at(network, theta):
    """The given network beside coefficients of the first target, or of all."""
    return network.to_numpy()[:, 0] if theta.ndim == 1 else network.to_numpy()


@definition
def of_concave(theta, rows, prior, blocks, lam, gamma):
    # The integral of its slope, by the trapezium rule, which is exact on straight pieces.
    size = np.abs(theta)
    inner = np.minimum(size, lam * gamma)
    return np.sum(inner * (lam + np.maximum(lam - inner / gamma, 0)) / 2)


@definition
def of_slope(theta, rows, prior, blocks, strength, rate):
    n = int(prior.valid.sum())
    weights = norm.ppf(1 - np.arange(1, n + 1) * rate / (2 * n)) if n else np.zeros(0)
    weights = strength * weights / norm.ppf(1 - rate / (2 * max(n, 1)))
    return weights @ np.sort(np.abs(theta[prior.valid]))[::-1]


@definition
def of_groups(theta, rows, prior, blocks, entry, group):
    norms = [math.sqrt(prior.valid[g].sum()) * np.linalg.norm(theta[g]) for g in MEMBERS]
    return entry * np.abs(theta).sum() + group * sum(norms)


@definition
def of_rows(theta, rows, prior, blocks, strength):
    return strength * sum(max(abs(row)) for row in theta)


@definition
def of_target_graph(theta, rows, prior, blocks, strength):
    total = 0.0
    for g, h, a in AMONG_TARGETS:
        g, h = int(g[1:]), int(h[1:])
        both = prior.valid[:, g] & prior.valid[:, h]
        total += abs(a) * np.sum(both * (theta[:, g] - np.sign(a) * theta[:, h]) ** 2)
    return strength * total


@definition
def of_regulator_graph(theta, rows, prior, blocks, strength):
    total = 0.0
    for j, k, a in AMONG_REGULATORS:
        j, k = int(j[1:]), int(k[1:])
        if prior.valid[j] and prior.valid[k]:
            total += abs(a) * (theta[j] - np.sign(a) * theta[k]) ** 2
    return strength * total


@definition
def of_distance(theta, rows, prior, blocks, strength, power):
    return strength * np.sum(np.abs(theta - at(NETWORK, theta)) ** power, where=prior.valid)


@definition
def of_hinge(theta, rows, prior, blocks, strength, margin):
    return strength * sum(
        max(0, margin - s * t) ** 2 for s, t in zip(prior.sign, theta, strict=True) if s
    )


@definition
def of_adaptive(theta, rows, prior, blocks, strength, power, floor):
    first = np.abs(NETWORK.to_numpy()[:, 0]) + floor
    return strength * np.sum(np.abs(theta) / first**power)


def share_linear(prior):
    return 1 - 0.75 * np.minimum(prior.weight, 1)


def share_log(prior):
    return -np.log(np.clip(prior.layers["atac"], 0.01, 1)) / -np.log(0.01)


def share_logistic(prior):
    return 1 / (1 + np.exp(2 * prior.layers["atac"] - prior.layers["motif"] - 0.3))


@definition
def of_shared(theta, rows, prior, blocks, share, lasso, ridge, contrary=0.0):
    c = share(prior)
    against = np.maximum(-prior.sign * theta, 0).sum()
    return np.sum(c * (lasso * np.abs(theta) + ridge * theta**2)) + lasso * contrary * against


@definition
def of_nuclear(theta, rows, prior, blocks, strength):
    return strength * np.sqrt(np.maximum(np.linalg.eigvalsh(theta.T @ theta), 0)).sum()


@definition
def of_simplex(theta, rows, prior, blocks, total):
    return max(np.max(-theta), abs(theta.sum() - total), 0)


@definition
def of_cardinality(theta, rows, prior, blocks, most):
    return max(np.count_nonzero(theta) - most, 0)


@definition
def of_rank(theta, rows, prior, blocks, most):
    return np.sort(np.linalg.svd(theta)[1])[::-1][most]


def of_equality(theta, rows, prior, blocks):
    rows = EQUATIONS * prior.valid
    return np.max(np.abs(rows @ theta - VALUES) / np.linalg.norm(rows, axis=1))


def times(factor, value):
    return lambda *args: factor * value(*args)


def plus(*values):
    return lambda *args: sum(value(*args) for value in values)


@pytree
class Pull(Regularizer):
    """A ridge towards ``centre``: diagonal and linear parts, and no prox of its own."""

    strength: Any
    centre: Any

    separable = "entries"
    convex = True

    def __call__(self, params, data, prior):
        return self.strength * jnp.sum((params.theta - self.centre) ** 2)

    def quadratic(self, data, prior):
        one = jnp.ones_like(prior.weight)
        return Quadratic(
            jnp.zeros(()),
            one * self.strength,
            self.strength * self.centre**2 * jnp.sum(one),
            one * self.strength * self.centre,
        )


@definition
def of_set(theta, rows, prior, blocks, bounds, most, block):
    """The largest distance from an interval, or excess over a budget."""
    low, high = bounds(prior)
    over = [np.sum(mask & (theta != 0)) - count for mask, count in (m(prior) for m in most)]
    return max(0, np.max(low - blocks[block]), np.max(blocks[block] - high), *over)


def only(mask):
    return lambda prior: (np.where(mask(prior), -np.inf, 0), np.where(mask(prior), np.inf, 0))


def between(low, high, *shape):
    def bounds(prior):
        return tuple(np.full(shape or prior.weight.shape, float(b)) for b in (low, high))

    return bounds


def at_most(count=0, share=0.0, within="all", less=0.0):
    """The entries of a budget, and how many of them may differ from 0."""

    def most(prior):
        mask = {"all": prior.valid, "prior": prior.support, "new": prior.valid & ~prior.support}[
            within
        ]
        edges = int(prior.support.sum())
        return mask, count + round(share * edges) - round(less * edges)

    return most


def signed(prior):
    return np.where(prior.sign > 0, 0, -np.inf), np.where(prior.sign < 0, 0, np.inf)


def meet(*bounds):
    def both(prior):
        low, high = zip(*(b(prior) for b in bounds), strict=True)
        return np.max(low, axis=0), np.min(high, axis=0)

    return both


on_support, on_layer = only(lambda p: p.support), only(lambda p: p.layers["atac"] > 0)
off_self = only(lambda p: ~p.self_edge)
anything = between(-np.inf, np.inf)


def constraint_case(name: str, term: Term, bounds: Callable = anything, *most: Callable) -> Case:
    return Case(name, term, of_set(bounds, most, term.block), bounds=bounds, most=most)


BOTH, ROWS, MOMENTS = ("rows", "moments"), ("rows",), ("moments",)

CASES = (
    Case("least_squares", least_squares(), of_least_squares(), BOTH, BOTH),
    Case(
        "least_squares, no intercept",
        least_squares(intercept=False),
        of_least_squares(False),
        BOTH,
        ROWS,
    ),
    Case("least_squares, mean", least_squares(mean=True), of_least_squares(True, True), BOTH, BOTH),
    Case(
        "least_squares, mean, no intercept",
        least_squares(intercept=False, mean=True),
        of_least_squares(False, True),
        BOTH,
        ROWS,
    ),
    Case("gaussian, variance given", gaussian(0.4), of_gaussian(0.4), BOTH, ROWS),
    Case("gaussian, variance estimated", gaussian(), of_gaussian(), BOTH, ROWS),
    Case("marginal_squares", marginal_squares(), of_marginal(), BOTH, BOTH),
    Case("0.5 * marginal_squares", 0.5 * marginal_squares(), times(0.5, of_marginal()), BOTH, BOTH),
    Case("subset_bic", subset_bic(3, 2.0, 0.5), of_subset(2.0, 0.5), MOMENTS, MOMENTS),
    Case("prior_squares", prior_squares(), of_prior(), BOTH, BOTH),
    Case("huber", huber(0.8), of_huber(0.8)),
    Case("huber, wide", huber(1e4), of_huber(1e4)),
    Case("quantile", quantile(0.3, 0.7), of_quantile(0.3, 0.7)),
    Case("poisson", poisson(), of_poisson()),
    Case("negative_binomial", negative_binomial(0.4), of_negative_binomial(0.4)),
    Case("logistic", logistic(), of_logistic(None)),
    Case("logistic, threshold", logistic(0.2), of_logistic(0.2)),
    Case(
        "0.5 * poisson + negative_binomial",
        0.5 * poisson() + negative_binomial(2.0),
        plus(times(0.5, of_poisson()), of_negative_binomial(2.0)),
    ),
    Case("gaussian_evidence", gaussian_evidence(0.3), of_evidence(0.3), MOMENTS, ()),
    Case(
        "function loss", loss(smooth_error, weighted=True, convex=True, width=2.0), of_smooth_error
    ),
    Case("expected_gaussian", expected_gaussian(), of_expected()),
    Case("expected_gaussian, draws", expected_gaussian(0.4, 3), of_expected(0.4), network=()),
    Case("component_analysis", component_analysis(), of_components),
    Case(
        "2 * component_analysis + component_analysis",
        2 * component_analysis() + component_analysis(),
        times(3, of_components),
    ),
    Case("0.5 * least_squares", 0.5 * least_squares(), times(0.5, of_least_squares()), BOTH, BOTH),
    Case("0 * gaussian", 0 * gaussian(0.4), times(0, of_gaussian(0.4)), BOTH, ROWS),
    Case(
        "2 * least_squares + gaussian",
        2 * least_squares(intercept=False) + gaussian(),
        plus(times(2, of_least_squares(False)), of_gaussian()),
        BOTH,
        ROWS,
    ),
    Case(
        "0.5 * huber + least_squares",
        0.5 * huber(0.8) + least_squares(),
        plus(times(0.5, of_huber(0.8)), of_least_squares()),
    ),
    Case("ridge", ridge(0.7), of_ridge(0.7)),
    Case("ridge 0", ridge(0), of_ridge(0)),
    Case("l1", l1(0.6), of_l1(0.6)),
    Case("elastic_net", elastic_net(0.6, 0.3), plus(of_l1(0.6), of_ridge(0.3))),
    Case("prior_l1", prior_l1(0.9, 0.25), of_prior_l1(0.9, 0.25)),
    Case("prior_l1, layer", prior_l1(0.9, 0, "atac"), of_prior_l1(0.9, 0, "atac")),
    Case("function regularizer", regularizer(smooth_price, strength=0.7), of_smooth_price),
    Case("pull", Pull(0.4, 1.5), of_pull(0.4, 1.5)),
    Case("ridge of A", ridge(0.7, "A"), of_ridge(0.7, "A")),
    Case("l0", l0(0.6), of_l0(0.6)),
    Case("laplacian", laplacian(0.8, 0.3), of_laplacian(0.8, 0.3)),
    Case("laplacian, unsigned", laplacian(0.8, 0.3, False), of_laplacian(0.8, 0.3, False)),
    Case("collaborative", collaborative(), of_filter(counted((1, 60, 90), 5, 9, 1e-7))),
    Case(
        "collaborative, truncated",
        collaborative((7, 1.5, 4), 0.3, 2, 0.1, 2),
        of_filter(counted((7, 1.5, 4), 0.3, 2, 0.1, 2)),
    ),
    Case(
        "collaborative_sketch", collaborative_sketch(0.7, 3, 0.5), of_filter(sketched(0.7, 3, 0.5))
    ),
    Case("collaborative, arrays", Collaborative(*GIVEN), of_filter(as_given)),
    Case("minimax_concave", minimax_concave(0.7, 1.5), of_concave(0.7, 1.5)),
    Case("2 * minimax_concave", 2 * minimax_concave(0.7, 0.4), times(2, of_concave(0.7, 0.4))),
    Case("slope", slope(0.8, 0.2), of_slope(0.8, 0.2)),
    Case("group_lasso", placed(group_lasso(0.6, GROUPS)), of_groups(0, 0.6)),
    Case("sparse_group", placed(sparse_group(0.3, 0.6, GROUPS)), of_groups(0.3, 0.6)),
    Case("l1_linf", l1_linf(0.6), of_rows(0.6)),
    Case("graph of targets", placed(graph_laplacian(0.6, AMONG_TARGETS)), of_target_graph(0.6)),
    Case(
        "graph of regulators",
        placed(graph_laplacian(0.6, AMONG_REGULATORS, "regulators")),
        of_regulator_graph(0.6),
        BOTH,
    ),
    Case("pull to a network", placed(pull(0.6, NETWORK)), of_distance(0.6, 2), BOTH),
    Case("absolute pull", placed(pull(0.6, NETWORK, absolute=True)), of_distance(0.6, 1)),
    Case("squared_hinge", squared_hinge(0.6, 0.3), of_hinge(0.6, 0.3)),
    Case("adaptive_l1", placed(adaptive_l1(0.6, NETWORK, 2, 0.1)), of_adaptive(0.6, 2, 0.1)),
    Case(
        "prior_elastic_net",
        prior_elastic_net(0.6, 0.4, bias=0.25),
        of_shared(share_linear, 0.6, 0.4),
    ),
    Case(
        "prior_elastic_net, log",
        prior_elastic_net(0.6, 0.4, "log", floor=0.01, layer="atac", contrary=2),
        of_shared(share_log, 0.6, 0.4, 2),
    ),
    Case(
        "prior_elastic_net, logistic",
        prior_elastic_net(0.6, mapping="logistic", slopes={"atac": 2, "motif": -1}, offset=0.3),
        of_shared(share_logistic, 0.6, 0),
    ),
    Case(
        "ridge by the prior",
        parts(prior_elastic_net(0.6, 0.4, bias=0.25))[1],
        of_shared(share_linear, 0, 0.4),
        BOTH,
    ),
    Case("nuclear", nuclear(0.6), of_nuclear(0.6)),
    Case(
        "0.5 * nuclear + ridge",
        0.5 * nuclear(0.6) + ridge(0.3),
        plus(of_nuclear(0.3), of_ridge(0.3)),
    ),
    Case("gaussian_prior", gaussian_prior(1.5, 0.2), of_gaussian_prior(1.5, 0.2), BOTH),
    Case("kl_gaussian", kl_gaussian(1.5, 0.2), of_kl(1.5, 0.2)),
    Case("3 * ridge", 3 * ridge(0.7), of_ridge(2.1)),
    Case("0 * l1", 0 * l1(0.6), of_l1(0)),
    Case("2 * prior_l1", prior_l1(0.9) * 2, of_prior_l1(1.8, 0.5)),
    Case("2 * elastic_net", 2 * elastic_net(0.6, 0.3), plus(of_l1(1.2), of_ridge(0.6))),
    Case("ridge + 0.5 * ridge", ridge(0.7) + 0.5 * ridge(1.0), of_ridge(1.2)),
    Case(
        "l1 + pull + prior_l1 + ridge",
        l1(0.2) + Pull(0.4, 1.5) + prior_l1(0.9, 0.25) + 2 * ridge(0.1),
        plus(of_l1(0.2), of_pull(0.4, 1.5), of_prior_l1(0.9, 0.25), of_ridge(0.2)),
    ),
    Case("0.5 * l0 + l0", 0.5 * l0(0.6) + l0(0.2), of_l0(0.5)),
    Case(
        "l0 + l1 + pull",
        l0(0.4) + 2 * l1(0.1) + Pull(0.4, 1.5),
        plus(of_l0(0.4), of_l1(0.2), of_pull(0.4, 1.5)),
    ),
    Case("2 * collaborative, arrays", 2 * Collaborative(*GIVEN), times(2, of_filter(as_given))),
    Case("0.5 * kl_gaussian", 0.5 * kl_gaussian(1.5, 0.2), times(0.5, of_kl(1.5, 0.2))),
    Case(
        "ridge + l1 + 0.5 * collaborative",
        ridge(0.3) + l1(0.2) + 0.5 * collaborative((3, 4), 0.3, 2, 0.1),
        plus(of_ridge(0.3), of_l1(0.2), times(0.5, of_filter(counted((3, 4), 0.3, 2, 0.1)))),
    ),
    Case(
        "ridges + 0.5 * collaborative + sketch",
        ridge(0.3, "U")
        + ridge(0.2, "V")
        + 0.5 * collaborative((3, 4), 0.3, 2, 0.1)
        + collaborative_sketch(),
        plus(
            of_ridge(0.3, "U"),
            of_ridge(0.2, "V"),
            of_filter(sketched(1, 9, 1)),
            times(0.5, of_filter(counted((3, 4), 0.3, 2, 0.1))),
        ),
    ),
    Case(
        "2 * laplacian + ridge + ridge of A",
        2 * laplacian(0.8, 0.3) + ridge(0.3) + ridge(0.2, "A"),
        plus(of_laplacian(1.6, 0.3), of_ridge(0.3), of_ridge(0.2, "A")),
    ),
    Case(
        "l1 + function",
        l1(0.6) + regularizer(smooth_price, strength=0.7),
        plus(of_l1(0.6), of_smooth_price),
    ),
    Case("simplex", simplex(1.5), of_simplex(1.5), bounds=anything),
    Case("cardinality", cardinality(2), of_cardinality(2), bounds=anything),
    Case("rank", rank(2), of_rank(2), bounds=anything),
    Case(
        "linear_equality",
        placed(linear_equality(pd.DataFrame(EQUATIONS, columns=REGULATORS), VALUES)),
        of_equality,
        bounds=anything,
    ),
    Case("known edges", known_edges(), of_known(), BOTH, BOTH),
    Case("known edges, graded", known_edges(layer="atac", graded=True), of_known("atac", True)),
    Case("2 known edges", 2.0 * known_edges(), times(2.0, of_known())),
    Case("alike", alike(0.7, 2.0), of_alike(0.7, 2.0)),
    Case("2 alike, evened", 2.0 * alike(0.7, 2.0, 0.5), times(2.0, of_alike(0.7, 2.0, 0.5))),
    constraint_case("support", support(), on_support),
    constraint_case("support, layer", support("atac"), on_layer),
    constraint_case("no_self", no_self(), off_self),
    constraint_case("nonnegative", nonnegative(), between(0, np.inf)),
    constraint_case("sign", sign(), signed),
    constraint_case("box", box(-0.5, 2), between(-0.5, 2)),
    constraint_case("box from below", box(-0.5, math.inf), between(-0.5, np.inf)),
    constraint_case("box from above", box(-math.inf, 0.25), between(-np.inf, 0.25)),
    constraint_case("box of everything", box(-math.inf, math.inf), between(-np.inf, np.inf)),
    constraint_case("box of 0", box(0, 0), between(0, 0)),
    constraint_case("support + no_self", support() + no_self(), meet(on_support, off_self)),
    constraint_case(
        "support + sign + box",
        support() + sign() + box(-0.5, 2),
        meet(on_support, signed, between(-0.5, 2)),
    ),
    constraint_case("nonnegative + box", nonnegative() + box(-0.5, 2), between(0, 2)),
    constraint_case("box of A", box(-0.5, 2, "A"), between(-0.5, 2, CANDIDATES, CELLS)),
    constraint_case("budget", budget(3), anything, at_most(3)),
    constraint_case(
        "budget of prior edges", budget(1, 0.5, "prior"), anything, at_most(1, 0.5, "prior")
    ),
    constraint_case(
        "budget of new edges",
        budget(1, 0.7, "new", less=0.4),
        anything,
        at_most(1, 0.7, "new", 0.4),
    ),
    constraint_case("no new edges", budget(within="new"), anything, at_most(within="new")),
    constraint_case(
        "sign + box + budget",
        sign() + box(-0.5, 2) + budget(3),
        meet(signed, between(-0.5, 2)),
        at_most(3),
    ),
    constraint_case(
        "budgets + box",
        budget(share=0.4, within="prior") + box(-0.5, 1) + budget(0, 0.7, "new", less=0.4),
        between(-0.5, 1),
        at_most(share=0.4, within="prior"),
        at_most(0, 0.7, "new", 0.4),
    ),
)
LOSSES = [case for case in CASES if case.term.kind == "loss"]
SETS = [case for case in CASES if case.term.kind == "constraint"]
EXACT = [case for case in CASES if not case.term.noisy]
NAMED = {case.name: case for case in CASES}


def each(cases) -> Any:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def claimants(capability: str) -> list[Case]:
    return [case for case in CASES if getattr(case.term, capability) is not None]


def claiming(capability: str) -> Any:
    return each(claimants(capability))


def in_views(cases) -> Any:
    pairs = [(case, kind) for case in cases for kind in case.views]
    return pytest.mark.parametrize(
        ("case", "kind"), pairs, ids=[f"{case.name}-{kind}" for case, kind in pairs]
    )


# --- Compiled once for each structure of a term ------------------------------------------------


def compiled(function: Callable) -> Callable:
    """Compile without optimisation: the programs are small, and there are many of them."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def home(term, params, view):
    """The term with the entries of its arrays, padded like the points, that are its own."""
    shape = params.theta.shape[1:]
    sizes = dict(zip(("regulators", "targets"), shape, strict=False))
    if view.regulators is not None:  # one empty place at the end of every axis
        sizes = {"regulators": CANDIDATES + 1, "targets": TARGETS + 1}

    def lay(leaf):
        if not isinstance(leaf, Along):
            return leaf
        width = [
            (0, sizes.get(a, n) - n) for a, n in zip(leaf.axes, leaf.values.shape, strict=True)
        ]
        return Along(jnp.pad(jnp.asarray(leaf.values), width), leaf.axes)

    laid = jax.tree.map(lay, term, is_leaf=lambda leaf: isinstance(leaf, Along))
    return local((laid,), view)[0]


@compiled
def values(term, params, view, prior):
    term = home(term, params, view)
    return jax.vmap(lambda p: term(p, view, prior))(params)


@compiled
def bends(term, params, view, prior):
    """Hessians over all blocks at once."""
    term = home(term, params, view)

    def hessian(params):
        flat, back = ravel_pytree(params)
        return jax.hessian(lambda f: term(back(f), view, prior))(flat)

    return jax.vmap(hessian)(params)


@compiled
def seen(term, params, view, prior):
    """Values of a term at a batch of points, and what it offers there; quadratics need moments."""
    term = home(term, params, view)
    out = {"value": jax.vmap(lambda p: term(p, view, prior))(params)}
    for name in ("absolute", "lipschitz", *(("quadratic",) if view.moments is not None else ())):
        if getattr(term, name) is not None:
            out[name] = getattr(term, name)(view, prior)
    for name in ("interval", "allows", "budget"):
        if getattr(term, name) is not None:
            out[name] = getattr(term, name)(prior)
    if term.price is not None:
        out["price"] = jax.vmap(lambda p: term.price(p, view, prior))(params)
    if term.prox is not None:
        out["prox"] = jax.vmap(lambda p: term.prox(p[term.block], 0.5, view, prior, p))(params)
    if term.project is not None:
        out["project"] = jax.vmap(lambda p: term.project(p[term.block], prior))(params)
    if term.squares is not None and prior.valid.ndim == 2:
        for block in term.linear:

            def both(p, block=block):
                found = term.squares(block, p, view, prior)
                return found, found.value(p[block])

            out[f"squares of {block}"] = jax.vmap(both)(params)
    return out


def defined(case: Case, world: World, params: Blocks, prior: PriorView | None = None) -> np.ndarray:
    """The definition at each point of a batch."""
    rows = world.rows(case.target)
    prior = world.prior(case.target) if prior is None else prior
    return np.array(
        [
            case.value(params.theta[i], rows, prior, {b: params[b][i] for b in params})
            for i in range(len(params.theta))
        ]
    )


def close(got, want, tolerance=1e-9):
    """Equal, relative to 1 + the size of what is compared."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.all(np.isfinite(got))
    size = 1 + np.max(np.abs(want), initial=0)
    assert np.max(np.abs(got - want), initial=0) <= tolerance * size, (got, want)


# --- Nothing is left out ------------------------------------------------------------------------


def summands(term: Term) -> list[Term]:
    """The term, and every term inside it."""
    inner = getattr(term, "terms", None) or ([term.term] if isinstance(term, Scaled) else [])
    return [term, *(t for each in inner for t in summands(each))]


def test_padded_regulators_do_not_lengthen_the_norms_that_set_the_steps(x64):
    def norms(pad):
        on = np.pad(np.random.default_rng(0).random((5, 4)) < 0.5, ((0, pad), (0, 0)))
        valid = np.pad(np.ones((5, 4), bool), ((0, pad), (0, 0)))
        prior = PriorView(on, on * 1.0, on.astype(np.int32), on & False, valid)
        params = Blocks(theta=jnp.zeros(on.shape))
        view = View(None, None, jnp.zeros((3, 4)), None)
        first, second = (
            term.squares("theta", params, view, prior)
            for term in (ridge(0.7), gaussian_prior(1.0, 0.1))
        )
        return columns.frobenius(first + second)

    np.testing.assert_allclose(norms(3), norms(0), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e4])
def test_a_constant_target_has_the_fallback_variance_on_rows_too(x64, dtype, value):
    """The rounding of its mean is no variance, and a small variance is one."""
    y = np.full((40, 2), value, dtype)
    y[:, 1] += np.random.default_rng(0).normal(size=40).astype(dtype) * (1e-3 + abs(value) * 1e-3)
    view = View(None, jnp.zeros((40, 1), dtype), jnp.asarray(y), None)
    params = Blocks(theta=jnp.zeros((1, 2), dtype))
    got = gaussian()(params, view, None)
    variance = np.array([1.0, np.var(y[:, 1].astype("float64"))])
    want = 20 * np.sum(np.log(2 * np.pi * variance)) + 20
    np.testing.assert_allclose(got, want, rtol=1e-9 if dtype == "float64" else 1e-3)


def within(thing: Any, module: Any) -> bool:
    """Whether a module, or a file of a package, defines something."""
    return f"{thing.__module__}.".startswith(f"{module.__name__}.")


@pytest.mark.parametrize(
    "module", [losses, regularizers, filtering, constraints, neighbours], ids=lambda m: m.__name__
)
def test_every_class_has_an_instance(module):
    classes = {
        name
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Term) and within(cls, module) and not name.startswith("_")
    }
    others = (*GENES_BY_GENES, *ACROSS_GROUPS)
    alone = {type(t).__name__ for t in (*(case.term for case in CASES), *others)}
    assert classes and classes <= alone, sorted(classes - alone)


def test_every_class_that_is_scaled_or_summed_is_reached():
    inside = {type(t).__name__ for case in CASES for t in summands(case.term)[1:]}
    assert {"LeastSquares", "Gaussian", "Huber", "Ridge", "L1", "PriorL1", "Scaled"} <= inside
    assert {
        "ComponentAnalysis",
        "L0",
        "Laplacian",
        "EvidenceFiltering",
        "SketchFiltering",
        "KlGaussian",
    } <= inside
    assert {"Support", "NoSelf", "Sign", "Nonnegative", "Box", "Budget"} <= inside


# Plain facts, each tested below by name; what a term offers is checked by the checks of unigrn.
# What takes networks of genes by genes, as no view here is; tests/test_whole.py has the terms.
# Of networks of genes by genes, which no view of one target shows.
GENES_BY_GENES = (
    unigrn.gaussian_graph(),
    unigrn.pair_l1(1),
    unigrn.positive_definite(),
    unigrn.acyclic(),
    unigrn.acyclicity(1),
)
# Of all groups of cells at once; tests/test_splitting.py solves them.
ACROSS_GROUPS = (fused(2.0), fused(2.0, [("a", "b"), ("b", "c", 0.5)]), dirty(0.7, 1.1, 3.0))
SQUARE = dict.fromkeys(
    ("acyclic", "definite", "log_det", "ordered", "square"),
    "test_facts_of_networks_of_genes_by_genes",
)
FACTS = SQUARE | {
    "across": "test_facts_of_constraints_and_losses",
    "axes": "test_axes_of_blocks_are_those_that_a_term_brings",
    "block": "test_facts_of_constraints_and_losses",
    "blocks": "test_blocks_of_a_sum_are_those_of_its_summands",
    "double": "test_a_fit_is_made_in_double_precision_where_one_term_asks_for_it",
    "entrywise": "test_entrywise_is_a_sum_over_the_entries_of_a_block",
    "evidence": "test_evidence",
    "guided": "test_only_terms_of_a_guide_name_means_and_deviations",
    "intercept": "test_facts_of_constraints_and_losses",
    "iterates": "test_a_map_has_no_value_and_is_part_of_no_sum",
    "kink": "test_a_kink_has_a_prox_and_no_gradient_everywhere",
    "layer": "test_facts_of_constraints_and_losses",
    "lines": "test_facts_of_terms_across_groups",
    "linear": "test_a_sum_is_linear_in_the_blocks_in_which_its_summands_are",
    "needs_prior": "test_facts_of_constraints_and_losses",
    "outcome": "test_a_loss_says_which_expression_it_takes",
    "on_prior": "test_facts_of_constraints_and_losses",
    "subsets": "test_subsets",
    "within": "test_facts_of_constraints_and_losses",
}
# Of all groups of cells, of a method's own term or of a process: no case here claims them.
ELSEWHERE = ("across", "lines", "double", "iterates", "guided")
OFFERED = tuple(name for name in CAPABILITIES if getattr(Term, name, "") is None)


def test_every_capability_is_claimed_and_tested():
    assert {*OFFERS, *FACTS} - {"feasible"} == set(CAPABILITIES)
    assert all(test in globals() for test in FACTS.values())
    for name in CAPABILITIES:
        assert hasattr(Term, name)
        assert claimants(name) or name in (*ELSEWHERE, *SQUARE)


def test_facts_of_terms_across_groups():
    every, some, _ = ACROSS_GROUPS
    names = Names(np.array([]), np.array([]), {}, 0, False, np.array(["c", "b", "a"], object))
    some = local(bind((some,), names), View(regulators=np.arange(4), target=0))[0]
    theta = np.random.default_rng(0).normal(size=(3, 4))
    mask = np.ones((3, 4), bool)
    prior = PriorView(mask, mask * 1.0, mask * 1, mask, mask)
    apart = np.abs(theta[:, None] - theta[None]).sum(axis=2)
    want = {"all": apart.sum() / 2, "some": apart[2, 1] + 0.5 * apart[1, 0]}
    for term, cost in ((every, want["all"]), (some, want["some"])):
        assert term.across and term.kink and term.convex and term.separable == "targets"
        assert term.prox is term.quadratic is term.absolute is None and not term.entrywise
        for factor, own in ((1, term), (3, 3 * term)):
            close(own(Blocks(theta=theta), View(), prior), 2 * factor * cost)
            found = own.lines(View(), prior)
            close(found.price @ np.abs(found.matrix @ theta).sum(axis=1), 2 * factor * cost)
            assert set(np.unique(found.matrix)) == {-1, 0, 1}
    assert (every + l1(1)).lines is None and (every + l1(1)).across and (every + l1(1)).kink
    assert l1(1).lines is None and not every.entrywise


def dirty_value(theta, price, shared):
    """The least of a linear program in the shared part, the size of the own part and the largest.

    All of one regulator: theta (groups,), the price of the own part and that of the largest.
    """
    many = len(theta)
    eye, none = np.eye(many), np.zeros((many, many))
    high = np.ones((many, 1))
    # |theta - b| <= s and |b| <= m
    rows = np.block(
        [[eye, -eye, 0 * high], [-eye, -eye, 0 * high], [eye, none, -high], [-eye, none, -high]]
    )
    ends = np.r_[theta, -theta, np.zeros(2 * many)]
    cost = np.r_[np.zeros(many), np.full(many, price), shared]
    low = [(None, None)] * many + [(0, None)] * (many + 1)
    return linprog(cost, rows, ends, bounds=low).fun


@pytest.mark.parametrize("groups", [1, 2, 5])
@pytest.mark.parametrize("constants", [(0.7, 1.1), (0.7, None), (0.7, 0.5), (0.2, 3.0), (0.0, 1.0)])
def test_dirty_is_the_least_of_a_linear_program_and_its_prox_is_nearest(groups, constants):
    own, shared = constants
    rng = np.random.default_rng(groups)
    on = np.tile([True, False, False, True], (groups, 1))
    valid = np.tile([True, True, False, True], (groups, 1))
    prior = PriorView(on, on * 2.0, on * 1, 0 * on > 1, valid)
    phi = np.array([1 / 3, 1, 0, 1 / 3]) / np.mean([1 / 3, 1, 1 / 3])
    largest = own * groups**0.5 if shared is None else shared
    for factor in (1.0, 0.4):
        term = factor * dirty(own, shared, 3.0)
        assert term.across and term.kink and term.convex and term.separable == "targets"
        assert term.lines is term.quadratic is None and not term.entrywise

        def value(theta, term=term):
            return float(term(Blocks(theta=theta), View(), prior))

        for size in (0.5, 3.0):
            v = np.where(valid, size * rng.normal(size=(groups, 4)), 0)
            v[0, :2] = v[-1, :2]  # a tie
            want = sum(dirty_value(v[:, j], own * phi[j], largest) for j in (0, 1, 3))
            close(value(v), factor * want)
            for step in (0.1, 0.8):
                u = np.asarray(term.prox(v, step, View(), prior))
                assert not u[:, 2].any()
                # v - u is a slope at u: what it takes off u is the whole price of u, and of no
                # other point more.
                slope = (v - u) / step
                close(np.sum(slope * u), value(u))
                size_of = np.abs(slope) <= factor * own * phi * (1 + 1e-9) + 1e-12
                assert size_of.all()
                assert (np.abs(slope).sum(axis=0) <= factor * largest * (1 + 1e-9) + 1e-12).all()


def test_facts_of_networks_of_genes_by_genes():
    graph, pairs, definite, order, _ = GENES_BY_GENES
    assert all(t.square and t.separable is None for t in GENES_BY_GENES)
    triangular = generative(Regulation(0.05, 4.5), None, draws=1).loss
    assert triangular.ordered and (2 * triangular).ordered and triangular.square
    assert (triangular + least_squares()).ordered and not least_squares().ordered
    assert (pairs + l1(1)).square and (2 * pairs).square and not l1(1).square
    assert definite.definite and unigrn.positive_definite(0.1).definite is None
    assert (definite + definite).definite and (definite + no_self()).definite is None
    assert order.acyclic and (order + no_self()).acyclic is None and definite.acyclic is None
    rng = np.random.default_rng(0)
    root, mask = rng.normal(size=(4, 4)), np.ones((4, 4), bool)
    theta = jnp.asarray(root @ root.T + np.eye(4))
    prior = PriorView(mask, mask * 1.0, mask * 1, np.eye(4, dtype=bool), mask)
    view = View(x=jnp.asarray(rng.normal(size=(9, 4))))
    for term in (graph, 3 * graph, graph + 2 * graph):
        found = term.log_det(view, prior)
        assert float(found.value(theta)) == pytest.approx(
            float(term(Blocks(theta=theta), view, prior)), rel=1e-5
        )
        size = float(found.weight)
        S = np.cov(np.asarray(view.x).T, bias=True)
        want = size * (np.sum(S * np.asarray(theta)) - np.linalg.slogdet(np.asarray(theta))[1])
        assert float(found.value(theta)) == pytest.approx(want, rel=1e-4)
    assert (graph + least_squares()).log_det is None


def test_a_fit_is_made_in_double_precision_where_one_term_asks_for_it():
    class Fine(type(ridge(1.0))):
        double = True

    exact, plain = Fine(1.0, "theta"), ridge(1.0)
    assert (exact + plain).double and (3 * exact).double and not (plain + plain).double
    data = unigrn.Data.from_arrays(np.eye(4), list("abcd"))
    for penalty, dtype in ((exact, "float64"), (plain, "float32")):
        plan = unigrn.plan(unigrn.Spec(least_squares(), penalty), data)
        assert plan.dtype == dtype


def test_only_terms_of_a_guide_name_means_and_deviations():
    """tests/test_processes.py has what they are."""
    own = unigrn.methods.get("bitfam").function(None)
    assert least_squares().guided is None and (2 * (ridge(1) + ridge(2))).guided is None
    assert own.loss.guided is None and own.regularizer.guided is not None
    view, yes = View(x=jnp.ones((5, 2)), y=jnp.ones((5, 3))), jnp.ones((2, 3), bool)
    prior = PriorView(yes, yes.astype(float), yes.astype(int), ~yes, yes)
    once = own.regularizer.guided(view, prior)
    thrice = (3 * own.regularizer + ridge(1)).guided(view, prior)
    assert set(once) == {"theta", "activity", "precision", "noise"}
    for name, (log_sd, count) in once.items():
        assert thrice[name][0] == log_sd == f"log_sd_{name}"
        np.testing.assert_array_equal(thrice[name][1], 3 * count)


def test_a_map_has_no_value_and_is_part_of_no_sum():
    own = unigrn.methods.get("panda").function(None).loss
    assert float(own.iterates.tolerance) == 1e-3 and least_squares().iterates is None
    assert (own + least_squares()).iterates is None and (2 * own).iterates is None
    for term in (own, 2 * own, own + least_squares()):
        with pytest.raises(TypeError, match="a map without an objective"):
            term(Blocks(theta=jnp.zeros((2, 3))), View(), None)


def test_every_capability_is_described():
    assert all(row.meaning for row in CAPABILITIES.values())
    own = {n for n, v in vars(Term).items() if not n.startswith("_") and not inspect.isfunction(v)}
    assert own - {"kind", "formula"} == set(CAPABILITIES)


@pytest.mark.parametrize(
    "module", [losses, regularizers, filtering, constraints, neighbours], ids=lambda m: m.__name__
)
def test_every_constructor_has_rows_in_the_tables(module):
    functions = {
        name
        for name, f in inspect.getmembers(module, inspect.isfunction)
        if within(f, module) and name in unigrn.__all__
    }
    assert functions
    listed = {build.__name__ for build, *_ in RIGHT}
    assert functions <= listed, sorted(functions - listed)
    takes = {name for name in functions if inspect.signature(getattr(module, name)).parameters}
    refused = {build.__name__ for build, *_ in WRONG}
    lenient = {"least_squares", "support"}  # truth values, and a name that only the prior can check
    assert takes - lenient <= refused, sorted(takes - lenient - refused)


# --- Values ------------------------------------------------------------------------------------


# They pull a padded entry away from 0.
PULLS = ("pull", "l1 + pull + prior_l1 + ridge", "l0 + l1 + pull")


@in_views(EXACT)
@EXAMPLES
@given(world=worlds)
def test_the_value_is_the_definition(case, kind, world):
    world = case.seen(world)
    params = world.params(case.term)
    got = seen(case.term, params, world.view(kind, case.target), world.prior(case.target))
    close(got["value"], defined(case, world, params))


@in_views([case for case in EXACT if case.name not in PULLS])
@EXAMPLES
@given(world=worlds)
def test_padding_changes_nothing(case, kind, world):
    term, target, world = case.term, case.target, case.seen(world)
    prior, view, params = world.prior(target), world.view(kind, target), world.params(term)

    def pad(array, names):
        return np.pad(array, [(0, PAD * (n in ("regulators", "targets"))) for n in names])

    def axes_of(block):
        return ("points", *axes(block, target is None))

    wide_prior = jax.tree.map(lambda a: pad(a, axes("theta", target is None)), prior)
    assert not wide_prior.valid[-PAD:].any()
    wide = Blocks(**{b: pad(params[b], axes_of(b)) for b in params})
    # What is given edge by edge is padded with 0, as its documentation asks.
    wide_term = jax.tree.map(
        lambda a: pad(a, axes("theta", True)) if np.ndim(a) == 2 else a,
        term,
        is_leaf=lambda a: isinstance(a, Along),  # `home` pads these
    )
    if kind == "rows":
        wide_view = View(
            None,
            pad(view.x, ("cells", "regulators")),
            pad(view.y, ("cells", "targets")[: view.y.ndim]),
            view.weight,
            view.key,
        )
    else:
        m, one = view.moments, ("regulators",)
        wide_view = View(
            Moments(
                pad(m.gram, 2 * one),
                pad(m.cross, one),
                m.square,
                m.count,
                pad(m.mean_x, one),
                m.mean_y,
            )
        )
    if target is not None:  # padding has the empty place of arrays
        place = np.pad(np.arange(CANDIDATES), (0, PAD), constant_values=CANDIDATES)
        wide_view = wide_view.replace(regulators=place, target=view.target)
    narrow = seen(term, params, view, prior)
    padded = seen(wide_term, wide, wide_view, wide_prior)
    assert set(narrow) == set(padded)
    close(padded["value"], narrow["value"])
    for name in {"prox", "project"} & set(narrow):
        # A padded entry stays 0.
        close(padded[name], pad(np.asarray(narrow[name]), axes_of(term.block)))
    if "absolute" in narrow:
        close(padded["absolute"][:CANDIDATES], narrow["absolute"])
    if "price" in narrow:
        close(padded["price"][tuple(map(slice, narrow["price"].shape))], narrow["price"])
    if "lipschitz" in narrow:
        close(padded["lipschitz"], narrow["lipschitz"])
    if "budget" in narrow:
        mask, count = narrow["budget"]
        np.testing.assert_array_equal(padded["budget"][0], pad(mask, axes("theta", target is None)))
        close(padded["budget"][1], count)
    for name in (name for name in narrow if name.startswith("squares")):
        close(padded[name][1], narrow[name][1])
    if "quadratic" in narrow:
        for name in ("scale", "constant"):
            got, want = (getattr(q["quadratic"], name) for q in (padded, narrow))
            assert (got is None) == (want is None)
            if want is not None:
                close(got, want)
        close(padded["quadratic"].diagonal[:CANDIDATES], narrow["quadratic"].diagonal)


@in_views([case for case in CASES if case.name in PULLS])
def test_padding_is_noticed_by_a_term_that_moves_padded_entries(case, kind):
    # The test above can fail: `Pull` is no sum over terms that vanish at theta 0.
    with pytest.raises(AssertionError):
        test_padding_changes_nothing.hypothesis.inner_test(case, kind, World(0, 0.0))


# --- Capabilities --------------------------------------------------------------------------------


CHECKS = {check.__name__: check for check in TERM_CHECKS}
OFFERS = (*set(CHECKS) & set(CAPABILITIES), "feasible")


def start(data, prior, key, terms):
    zero = jnp.zeros_like(prior.weight)
    return Blocks(theta=zero, log_variance=zero)


def spec_of(term: Term) -> Spec:
    """A method that the term is part of."""
    blocks, error = set(term.blocks), least_squares()
    if blocks & {"A", "U", "V"}:
        error = component_analysis()
    elif "log_variance" in blocks:
        error = expected_gaussian()
    slots = {"loss": error, term.kind: term}
    return Spec(**slots, start=start if "log_variance" in {*blocks, *error.blocks} else None)


def asked(term: Term, whole: bool) -> dict[str, checks.Result]:
    """What the checks of `check_spec` say of what a term offers, target by target or whole."""
    spec = spec_of(term)
    own = small.fitted_to(spec, whole)
    shapes, unknown = small.shapes_of(spec, whole, own)
    drawn = small.World(spec, small.instances_for(spec, 3, 0)[0], 0, shapes, whole, own)
    case = small.Case(term, spec, drawn, drawn, whole, unknown)
    made = (checks._made(CHECKS[name], case, case.name) for name in sorted(OFFERS))
    found = {result.name: result for results in made for result in results}
    for program in (small.look, small.offer, small.sum_of_squares):
        program.clear_cache()  # no other case runs them, and together they fill the memory
    return found


def forms() -> list[tuple[Case, bool]]:
    """Cases target by target, and whole: where they couple targets, on moments, for squares."""
    out = []
    for case in CASES:
        blocks = set(case.term.blocks)
        alone = case.target == 0 and not blocks & {"A", "U", "V"}
        out += [(case, False)] * alone
        # On rows the checks of one target look at the network too.
        network = case.network == BOTH if case.term.kind == "loss" else bool(case.term.squares)
        out += [(case, True)] * (not alone or network)
    return out


@pytest.mark.parametrize(
    ("case", "whole"),
    forms(),
    ids=lambda v: v.name if isinstance(v, Case) else ("alone", "whole")[v],
)
def test_what_a_term_offers_is_what_it_says(case, whole):
    found, term = asked(case.term, whole), case.term
    assert not [r.message for r in found.values() if r.failed]
    assert {name for name in OFFERS if getattr(term, name, None) is not None} <= set(found)
    skipped = {name for name, r in found.items() if r.skipped}
    # Moments may be those of one target only; squares are asked of whole networks.
    told = {"quadratic"} if whole else {"squares"}
    if term.noisy or case.views == MOMENTS:
        told |= {"weighted", "separable"}
    assert skipped <= told, found
    assert not term.linear or set(term.linear) <= set(term.blocks)


def twin(term: Term, **slip: Any) -> Term:
    """The same term of another class, in which something is wrong."""
    cls = pytree(type(f"Wrong{type(term).__name__}", (type(term),), {**slip, "__doc__": "Wrong."}))
    return cls(*(getattr(term, f.name) for f in dataclasses.fields(term)))


def more(term: Term, name: str, factor: float = 1.01) -> Term:
    """What it offers under that name is a little larger."""
    own = getattr(type(term), name)

    def offer(self, *args):
        return jax.tree.map(lambda a: factor * a, own(self, *args))

    return twin(term, **{name: offer})


def unweighted(self, params, data, prior):
    return Huber.__call__(
        self, params, dataclasses.replace(data, weight=0 * data.weight + 1), prior
    )


def longer(self, v, step, *more):
    return L1.prox(self, v, 1.1 * step, *more)


SLIPS = (
    ("quadratic", False, more(least_squares(), "quadratic")),
    ("quadratic", True, more(least_squares(), "quadratic")),
    ("quadratic", False, more(ridge(0.7), "quadratic")),
    ("quadratic", False, more(gaussian(0.4), "quadratic")),
    ("absolute", False, more(l1(0.6), "__call__")),
    ("absolute", False, more(prior_l1(0.9, 0.25), "absolute", -1.0)),
    ("price", True, more(Collaborative(*GIVEN), "price")),
    ("squares", True, more(ridge(0.7), "squares")),
    ("squares", True, more(component_analysis(), "squares")),
    ("prox", False, more(l0(0.6), "prox")),
    ("prox", False, twin(l1(0.6), prox=longer)),
    ("prox", True, more(Collaborative(*GIVEN), "prox")),
    ("project", False, more(box(-0.5, 2), "project", 1.1)),
    ("project", False, more(box(-0.5, 2), "project", 0.9)),
    ("project", False, more(support(), "project", -1.0)),
    ("interval", False, more(box(-0.5, 2), "interval", 1.1)),
    ("lipschitz", False, more(ridge(0.7), "lipschitz", 0.9)),
    ("lipschitz", False, more(kl_gaussian(1.5, 0.2), "lipschitz", 0.9)),
    ("separable", False, twin(huber(0.8), separable="entries")),
    ("separable", False, twin(huber(0.8), separable="rows")),
    ("separable", True, twin(laplacian(0.8, 0.3), separable="targets")),
    ("convex", False, twin(l0(0.6), convex=True)),
    ("weighted", False, twin(huber(0.8), __call__=unweighted)),
    ("noisy", False, twin(huber(0.8), noisy=True)),
)


@pytest.mark.parametrize(("check", "whole", "term"), SLIPS)
def test_what_is_wrong_is_seen(check, whole, term):
    assert asked(term, whole)[check].failed


def test_noise_that_is_not_declared_is_found():
    found = asked(twin(expected_gaussian(0.4, 3), noisy=None), False)["noisy"]
    assert found.passed and "found by tracing" in found.message


@each([case for case in CASES if case.network == BOTH])
@EXAMPLES
@given(world=worlds)
def test_moments_of_a_network_are_those_of_its_targets(case, world):
    params = world.params(case.term, True)
    one, other = (values(case.term, params, world.view(kind, None), world.table) for kind in BOTH)
    close(one, other)


@each([case for case in claimants("lipschitz") if "moments" in case.views])
@EXAMPLES
@given(world=worlds)
def test_lipschitz_on_moments(case, world):
    view, prior, params = world.moments(), world.prior(), world.params(case.term)
    bound = float(seen(case.term, params, view, prior)["lipschitz"])
    assert np.isfinite(bound) and bound >= 0
    steepest = np.linalg.norm(bends(case.term, params, view, prior), 2, axis=(1, 2))
    assert np.all(steepest <= bound * (1 + 1e-9) + 1e-12)


def test_the_value_of_a_quadratic_is_its_formula():
    world, rng = World(0, 1.0), np.random.default_rng(0)
    theta, m = world.theta(CANDIDATES), world.moments().moments
    half = rng.normal(size=(CANDIDATES, CANDIDATES))
    for matrix, linear in itertools.product((None, half + half.T), (None, half[0])):
        q = Quadratic(np.asarray(0.7), half[1], np.asarray(0.3), linear, matrix)
        want = 0.7 * (theta @ m.gram @ theta - 2 * m.cross @ theta + m.square) + 0.3
        want += half[1] @ theta**2
        want += 0 if matrix is None else theta @ matrix @ theta
        want -= 0 if linear is None else 2 * linear @ theta
        close(q.value(theta, m), want)


@each(SETS)
@EXAMPLES
@given(world=worlds)
def test_a_set_is_its_definition(case, world):
    prior, params = world.prior(case.target), world.params(case.term)
    got = seen(case.term, params, world.rows(case.target), prior)
    low, high = case.bounds(prior)
    if "interval" in got:
        np.testing.assert_array_equal(got["interval"][0], low)
        np.testing.assert_array_equal(got["interval"][1], high)
        assert np.all(low <= 0) and np.all(high >= 0)
    if "allows" in got:
        assert got["allows"].dtype == bool
        np.testing.assert_array_equal(got["allows"], np.isinf(low))
    if "budget" in got and case.most:
        mask, count = got["budget"]
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, case.most[0](prior)[0])
        assert count == case.most[0](prior)[1]


@each([case for case in claimants("project") if case.most])
@EXAMPLES
@given(world=worlds)
def test_project_onto_budgets(case, world):
    # Against every choice of entries that the budgets allow.
    prior, params = world.prior(None), world.params(case.term)
    low, high = (b.reshape(-1) for b in case.bounds(prior))
    got = seen(case.term, params, world.rows(None), prior)["project"]
    again = seen(case.term, params.replace(theta=got), world.rows(None), prior)
    np.testing.assert_array_equal(again["project"], got)
    assert not np.any(again["value"])
    found, v = (np.asarray(a).reshape(BATCH, -1) for a in (got, params.theta))
    chosen = np.array(list(itertools.product([False, True], repeat=v.shape[1])))
    for mask, count in (most(prior) for most in case.most):
        chosen = chosen[chosen @ mask.reshape(-1).astype(int) <= count]
        assert np.all(np.sum((found != 0) & mask.reshape(-1), axis=1) <= count)
    assert np.all(low <= found) and np.all(found <= high)
    best = np.min((v - np.clip(v, low, high)) ** 2 @ chosen.T + v**2 @ ~chosen.T, axis=1)
    close(np.sum((v - found) ** 2, axis=1), best)


@pytest.mark.parametrize(
    "name",
    ["least_squares, no intercept", "gaussian, variance given", "gaussian, variance estimated"],
)
def test_moments_that_belong_to_one_target_refuse_a_network(name):
    world = World(0, 1.0)
    with pytest.raises(TypeError, match="target by target"):
        NAMED[name].term.quadratic(world.moments(None), world.prior(None))


def test_every_loss_that_takes_both_forms_takes_a_network():
    # What is not in `network` is refused above, or is an evidence.
    for case in LOSSES:
        assert case.network or case.term.evidence is not None or case.term.noisy


def test_a_loss_says_which_expression_it_takes():
    assert poisson().outcome == negative_binomial().outcome == (0, math.inf)
    assert logistic().outcome == (0, 1) and logistic(0.0).outcome is None
    assert (2 * poisson()).outcome == (0, math.inf)
    assert (poisson() + logistic() + huber()).outcome == (0, 1)
    assert (huber() + least_squares()).outcome is None
    data = unigrn.Data.from_arrays(np.array([[1.0, -2], [0, 3], [2, 1]]), ["a", "b"])
    for term in (poisson(), negative_binomial(), logistic()):
        with pytest.raises(ValueError, match="needs the expression of targets .*got -2 to 3 for b"):
            unigrn.fit(Spec(term, ridge(1.0)), data, regulators=["a"], targets=["b"])
        with pytest.raises(unigrn.PlanError, match="changes the targets"):
            unigrn.plan(Spec(term, scale="standard"), data, regulators=["a"], targets=["b"])


UNWEIGHTED = "function loss"  # this function wants weights


@each([case for case in claimants("weighted") if "rows" in case.views and case.name != UNWEIGHTED])
@EXAMPLES
@given(world=worlds)
def test_no_weights_are_weights_of_1(case, world):
    world = case.seen(world)
    params, rows, prior = world.params(case.term), world.rows(), world.prior()
    ones = dataclasses.replace(rows, weight=np.ones(CELLS))
    none = dataclasses.replace(rows, weight=None)
    without = seen(case.term, params, none, prior)
    for name, got in seen(case.term, params, ones, prior).items():
        close(without[name], got)


@claiming("evidence")
@EXAMPLES
@given(world=worlds)
def test_evidence(case, world):
    # min over theta of the loss is twice the negative log evidence, from the cells' covariance.
    h, tolerance, most = case.term.evidence()
    assert (h, tolerance, most) == (0.3, 1e-3, 300)
    world.weight[:] = 1
    a, lam = np.exp(world.rng.normal(size=2))
    view, prior = world.moments(), world.prior()
    m = view.moments
    theta = np.linalg.solve(a * m.gram + lam * np.eye(CANDIDATES), a * m.cross)
    params = Blocks(
        theta=np.tile(theta, (BATCH, 1)),
        noise_precision=np.full(BATCH, a),
        weight_precision=np.full(BATCH, lam),
    )
    got = seen(case.term, params, view, prior)["value"][0]
    x, y = world.x - world.x.mean(axis=0), world.y[:, 0] - world.y[:, 0].mean()
    covariance = np.eye(CELLS) / a + x @ x.T / lam
    _, logdet = np.linalg.slogdet(covariance)
    want = y @ np.linalg.solve(covariance, y) + logdet
    want += 2 * h * (a + lam - np.log(a) - np.log(lam))
    close(got, want, 1e-7)
    one = jax.tree.map(lambda a: a[0], params)
    close(ascent(one, case.term, view, prior).theta, np.zeros(CANDIDATES), 1e-6)


@claiming("subsets")
@EXAMPLES
@given(world=worlds, drawn=st.integers(1, 2**CANDIDATES - 1))
def test_subsets(case, world, drawn):
    # Least, given the regulators in use, at least squares on these; there it is the criterion.
    cost, view, prior = case.term.subsets(), world.moments(), world.prior()
    m, used = view.moments, np.flatnonzero(drawn >> np.arange(CANDIDATES) & 1)
    assert cost.candidates >= 1
    gram = m.gram[np.ix_(used, used)]
    if np.linalg.cond(gram) > 1e6:
        return  # copies: the least is of no one point
    theta = np.zeros(CANDIDATES)
    theta[used] = np.linalg.solve(gram, m.cross[used])
    shrunk = theta * np.asarray(cost.shrinkage(prior))
    rss = theta @ m.gram @ theta - 2 * m.cross @ theta + m.square
    want = cost.criterion(jnp.asarray(rss), shrunk @ m.gram @ shrunk, len(used), m.count)
    steps = world.rng.normal(size=(BATCH, CANDIDATES)) * (theta != 0)
    steps[0] = 0
    values = seen(case.term, Blocks(theta=theta + steps), view, prior)["value"]
    close(values[0], want, 1e-8)
    assert np.all(values[1:] >= values[0] - 1e-8 * (1 + abs(values[0])))


ascent = compiled(jax.grad(lambda params, term, view, prior: term(params, view, prior)))


@compiled
def drawn(term, params, view, prior, keys):
    def at(key):
        return term(params, dataclasses.replace(view, key=key), prior)

    return jax.vmap(at)(keys)


@claiming("noisy")
def test_noisy(case):
    # A fixed seed: the mean is within 4 standard errors of the expectation, or it never is.
    world, keys = World(1, 1.0), jax.random.split(jax.random.key(0), 4000)
    params = world.params(case.term)
    one = jax.tree.map(lambda a: a[0], params)
    got, again = (
        np.asarray(drawn(case.term, one, world.rows(), world.prior(), keys)) for _ in range(2)
    )
    np.testing.assert_array_equal(got, again)
    assert len(np.unique(got)) == len(keys)
    error = np.std(got) / math.sqrt(len(got))
    assert abs(np.mean(got) - defined(case, world, params)[0]) <= 4 * error


def test_draws_are_independent_of_one_another():
    world, keys = World(1, 1.0), jax.random.split(jax.random.key(0), 4000)
    one = jax.tree.map(lambda a: a[0], world.params(expected_gaussian()))
    alone, mean = (
        np.var(drawn(expected_gaussian(0.4, draws), one, world.rows(), world.prior(), keys))
        for draws in (1, 4)
    )
    assert 3.3 < alone / mean < 4.7


# --- What composites offer, and what they must not ----------------------------------------------


@pytree
class GroupNorm(Regularizer):
    """A penalty on the norm of a target's coefficients: it has a prox, entries do not separate."""

    strength: Any

    separable = "targets"
    convex = True

    def __call__(self, params, data, prior):
        return self.strength * jnp.sqrt(jnp.sum(params.theta**2))

    def prox(self, v, step, data, prior, params=None):
        size = jnp.sqrt(jnp.sum(v**2))
        return v * jnp.maximum(1 - step * self.strength / jnp.maximum(size, 1e-30), 0)


@pytree
class Ball(Constraint):
    """Unit ball: it has a projection, no interval."""

    separable = "targets"

    def __call__(self, params, data, prior):
        return jnp.maximum(jnp.sqrt(jnp.sum(params.theta**2)) - 1, 0)

    def project(self, v, prior):
        return v / jnp.maximum(jnp.sqrt(jnp.sum(v**2)), 1)


@pytree
class Odd(Constraint):
    """A set of which nothing is known."""

    def __call__(self, params, data, prior):
        return jnp.abs(jnp.sum(params.theta))


def has(term: Term) -> set[str]:
    return {name for name in OFFERED if getattr(term, name) is not None}


@each([case for case in CASES if isinstance(case.term, Sum)])
def test_a_sum_offers_no_more_than_its_summands(case):
    shared = set.intersection(*(has(t) for t in case.term.terms))
    by_rule = {"prox", "squares", "noisy", "on_prior"} & has(case.term)
    assert has(case.term) <= shared | by_rule | {"project"}
    if case.term.kind == "constraint":
        assert "project" in has(case.term) and "budget" not in has(case.term)
        for name in ("interval", "allows"):
            assert (name in has(case.term)) == (name in shared)
    else:
        assert not {"interval", "project", "allows"} & has(case.term)


@pytest.mark.parametrize(
    "term",
    [
        elastic_net(1, 1) + GroupNorm(0.5),
        l1(1) + GroupNorm(0.5),
        ridge(1) + GroupNorm(0.5),
        l1(1) + regularizer(smooth_price, strength=1.0),
        GroupNorm(0.5) + GroupNorm(0.5),
        l0(1) + GroupNorm(0.5),
        l1(1) + ridge(1, "A"),
        l0(1) + laplacian(1),
    ],
    ids=lambda term: term.formula,
)
def test_a_sum_without_a_rule_has_no_prox(term):
    assert term.prox is None


def test_a_scaled_term_offers_what_the_term_offers():
    for case in CASES:
        if case.term.kind != "constraint" and not isinstance(case.term, Sum):
            assert has(0.5 * case.term) == has(case.term) - {"evidence", "subsets"}
            for name in ("blocks", "block", "linear", "kink", "needs_prior"):
                assert getattr(0.5 * case.term, name) == getattr(case.term, name), name


def test_sums_of_sets_without_a_rule_have_no_projection():
    for term in (
        support() + Ball(),
        Ball() + Ball(),
        Odd() + nonnegative(),
        budget(1) + Ball(),
        budget(1) + budget(2),
        budget(1) + budget(1, within="new"),
        box(-1, 1) + box(-1, 1, "A"),
        budget(1, within="new") + budget(2, within="new"),
    ):
        assert term.project is None and term.interval is None
        assert term.allows is None


def test_a_sum_is_linear_in_the_blocks_in_which_its_summands_are():
    every = ridge(1) + ridge(1, "A") + 0.5 * collaborative() + ridge(1, "V")
    assert every.linear == ("A", "U", "V")  # an edge is there or not: not linear in theta
    assert (laplacian(1) + ridge(1, "A")).linear == ("A",)
    assert (l1(1) + ridge(1)).linear == () and (l1(1) + ridge(1)).squares is None
    assert (2 * component_analysis()).linear == component_analysis().linear == ("A", "theta")


def test_a_sum_is_as_separable_as_its_least_separable_summand():
    coupled = regularizer(smooth_price, coupled=True, strength=1.0)
    assert coupled.separable is None
    assert (l1(1) + ridge(1)).separable == "entries"
    assert (l1(1) + GroupNorm(1.0) + ridge(1)).separable == "targets"
    assert (l1(1) + coupled).separable is None
    assert (GroupNorm(1.0) + 2 * coupled).separable is None


def test_a_sum_is_convex_and_weighted_where_every_summand_is():
    plain = loss(smooth_error, width=1.0)
    assert plain.convex is None and plain.weighted is None
    assert (plain + least_squares()).convex is None and (plain + least_squares()).weighted is None
    assert (huber() + least_squares()).convex is True
    assert (huber() + least_squares()).weighted is True
    assert (gaussian_evidence() + least_squares()).convex is None
    # But one summand that draws noise is enough.
    assert (least_squares() + 2 * expected_gaussian(draws=2)).noisy is True
    assert (least_squares() + expected_gaussian()).noisy is None


def test_blocks_of_a_sum_are_those_of_its_summands():
    assert (huber() + least_squares()).blocks == ("intercept", "theta")
    assert (0.5 * huber()).blocks == ("intercept", "theta")
    assert least_squares().blocks == ("theta",)


def test_entrywise_is_a_sum_over_the_entries_of_a_block():
    assert l1(1).entrywise and (2 * ridge(1, "A")).entrywise and box(-1, 1, "A").entrywise
    assert (l1(1) + ridge(1)).entrywise is True and (l1(1) + GroupNorm(1.0)).entrywise is None
    assert not GroupNorm(1.0).entrywise and not budget(1).entrywise


def test_axes_of_blocks_are_those_that_a_term_brings():
    @pytree
    class Mixed(Regularizer):
        blocks = ("Z", "theta")
        axes = {"Z": ("factors", "cells")}

    want = {"Z": ("factors", "cells")}
    assert Mixed().axes == (2 * Mixed()).axes == (Mixed() + ridge(1)).axes == want
    assert Spec(least_squares(), Mixed() + ridge(1)).axes == want
    assert ridge(1).axes == (l1(1) + ridge(1)).axes == {}


def test_facts_of_constraints_and_losses():
    assert support().on_prior and (no_self() + support()).on_prior and no_self().on_prior is None
    assert [budget(1, within=w).within for w in ("all", "prior", "new")] == ["all", "prior", "new"]
    assert not budget(5).needs_prior and budget(0, 0.5).needs_prior
    assert budget(5, within="new").needs_prior and budget(5, within="prior").needs_prior
    assert (box(-1, 1) + support()).needs_prior and not box(-1, 1).needs_prior
    assert least_squares(intercept=False).intercept is False
    assert (2 * least_squares(intercept=False)).intercept is False
    assert least_squares().intercept is not False
    assert support("chip").layer == (2 * prior_l1(1, 0, "chip")).layer == "chip"
    assert (support("chip") + no_self()).layer is None  # each part tells its own
    tied = regularizer(smooth_price, across=True, strength=1.0)
    assert tied.across and (2 * tied).across and (tied + l1(1)).across and l1(1).across is None
    assert ridge(1, "A").block == (2 * ridge(1, "A")).block == "A" and l1(1).block == "theta"


# --- What is worked out once ---------------------------------------------------------------------


WORKED_OUT = ("Laplacian", "EvidenceFiltering", "SketchFiltering")
prepared = compiled(lambda term, view, prior: term.prepare(view, prior))


@each(CASES)
def test_a_prepared_term_is_the_same_term(case):
    world, of = World(5, 1.0), case.target
    view, prior, term = world.view(case.views[0], of), world.prior(of), case.term
    if not any(type(t).__name__ in WORKED_OUT for t in summands(term)):
        same = jax.tree.map(lambda a, b: a is b, term, term.prepare(view, prior))
        assert jax.tree.all(same)
        return
    params, ready = world.params(term), prepared(term, view, prior)
    before, after = seen(term, params, view, prior), seen(ready, params, view, prior)
    assert set(before) == set(after)
    jax.tree.map(close, after, before)
    # It no longer looks at what it was prepared from.
    blank = dataclasses.replace(jax.tree.map(np.zeros_like, prior), valid=prior.valid)
    blind = seen(ready, params, jax.tree.map(np.zeros_like, view), blank)
    close(blind["value"], before["value"])


def test_kin_of_targets():
    # Targets 0 and 1 are opposite, 2 goes its own way; constant ones have no kin.
    x = np.random.default_rng(0).normal(size=(31, 2))
    y = np.stack([x[:, 0], 3 - 2 * x[:, 0], x[:, 1], *np.full((3, 31), [[1e5 + 0.1], [7.3], [0]])])
    for dtype, (end, signed_) in itertools.product(
        (np.float32, np.float64), ((1, True), (-1, False))
    ):
        term = prepared(laplacian(2.0, 0.9, signed_), View(y=y.T.astype(dtype)), None)
        want = np.zeros((6, 6))
        want[:2, :2] = [[1, end], [end, 1]]
        np.testing.assert_allclose(term.matrix, want, atol=1e-6)


def test_variances_in_the_gaps_of_a_network_do_not_count():
    world = World(2, 1.0)
    for term in (expected_gaussian(), kl_gaussian(), expected_gaussian(1, 2)):
        params = world.params(term, True)
        wild = params.replace(log_variance=np.where(world.gaps.valid, params.log_variance, 9.0))
        got, want = (values(term, p, world.rows(None), world.gaps) for p in (wild, params))
        close(got, want)


# --- Collaborative filtering ---------------------------------------------------------------------


def layered(*layers) -> PriorView:
    """One target's prior from its layers."""
    layers = {str(i): np.array(v, float) for i, v in enumerate(layers)}
    total = sum(layers.values())
    some = total > 0
    return PriorView(some, total, np.zeros(CANDIDATES, np.int32), ~some, some | True, layers)


@pytest.mark.parametrize(
    ("layers", "want"),
    [
        ([[5, 2.5, 0, 0]], [4, 2, 0, 0]),  # one layer alone has the last multiplier
        ([[5, 2.5, 0, 0], [0, 0.5, 1, 0]], [3, 4 * (0.5 + 0.5), 3, 0]),
        ([[5, 0, 0, 0], [0.1, 0.1, 0, 0], [1, 1, 2, 0]], [4 * 2.5, 3 * 1.5, 2, 0]),
        ([[5, 2.5, 0, 0], [0, 0, 0, 0]], [3, 1.5, 0, 0]),  # a layer without an edge here
    ],
)
def test_confidence_counts_the_layers_that_name_an_edge(layers, want):
    # Each layer counts relative to its largest weight; without layers, the weights are one.
    close(collaborative((2, 3, 4)).confidence(layered(*layers)), want)
    prior = dataclasses.replace(layered(layers[0]), layers={})
    close(collaborative(7).confidence(prior), 7 * prior.weight / 5)


def test_of_equal_confidence_the_first_edges_are_kept():
    prior = jax.tree.map(lambda a: a[:, None], layered([1, 2, 1, 1]))
    for most, kept in ((1, [0, 1, 0, 0]), (3, [1, 1, 1, 0]), (9, [1] * 4)):
        found = prepared(collaborative(4, per_target=most), View(), prior)
        np.testing.assert_array_equal(found.preference[:, 0], kept)


def test_a_filter_refuses_a_prior_that_it_trusts_no_more_than_none():
    prior = layered([2, 1, 0, 0])
    for term in (
        collaborative(1),
        collaborative((9, 0.25)),
        3 * collaborative(0.5),
        ridge(1) + collaborative(1),
    ):
        with pytest.raises(ValueError, match=r"largest confidence.* is (1|0.25|0.5),.*got \["):
            term.check(prior)
    for term in (
        collaborative(1.5),
        collaborative(),
        3 * collaborative(2),
        ridge(1),
        budget(1),
        collaborative_sketch(0),
        2 * l1(1) + collaborative(2),
        component_analysis(),
    ):
        assert term.check(prior) is None


# --- Choosing the largest entries ----------------------------------------------------------------


every_count = compiled(jax.vmap(largest, (None, 0)))
counts = np.array([*range(11), 2**31 - 1], np.int32)
sizes = st.sampled_from([0.0, 1e-30, 1.0, 1.5, 2.0, math.inf]) | st.floats(
    0, 4, width=32, allow_subnormal=False
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@EXAMPLES
@given(size=hnp.arrays(np.float64, (3, 3), elements=sizes))
def test_largest(dtype, size):
    with jax.enable_x64(dtype == "float64"):
        size = size.astype(dtype)
        found = np.asarray(every_count(size, counts)).reshape(-1, 9)
    order = np.argsort(-size.reshape(-1), kind="stable")
    for count, chosen in zip(counts, found, strict=True):
        want = np.isin(np.arange(9), order[:count]) & (size.reshape(-1) > 0)
        np.testing.assert_array_equal(chosen, want, err_msg=str(count))


def test_hard_threshold():
    v = np.array([-2.0, -1.0, 0.0, 0.5, 1.0, np.nextafter(1, 2), 3.0])
    np.testing.assert_array_equal(hard_threshold(v, 0.5, 1.0), np.where(np.abs(v) > 1, v, 0))
    for price_ in (0.0, -1.0):
        np.testing.assert_array_equal(hard_threshold(v, 0.5, price_), v)


def test_a_budget_beyond_all_entries_allows_all():
    world, term = World(0, 0.0), budget(10**20)
    params = world.params(term)
    got = seen(term, params, world.rows(None), world.prior(None))
    np.testing.assert_array_equal(got["project"], params.theta)
    assert not np.any(got["value"])


def test_a_budget_keeps_what_costs_most_however_far_beyond_the_box():
    prior, term = jax.tree.map(lambda a: a[:1], World(0, 0.0).table), box(-1, 1) + budget(1)
    for v, want in (([3.0, 1e17, -2.0], [0, 1, 0]), ([0.5, 1e-9, 0.4], [0.5, 0, 0])):
        got = compiled(lambda v: term.project(v, prior))(np.array([v]))
        np.testing.assert_array_equal(got, [want])


# --- Squares of residuals ------------------------------------------------------------------------


def test_squares_add_and_scale():
    rng = np.random.default_rng(0)
    block = rng.normal(size=(FACTORS, TARGETS))

    def some(rows, weight):
        return Squares(
            rng.normal(size=(FACTORS, rows)),
            rng.normal(size=(rows, TARGETS)),
            rng.gamma(2, 1, (rows, TARGETS)) if weight else None,
            rng.gamma(2, 1),
            rng.gamma(2, 1, (FACTORS, 1)),
        )

    @compiled
    def both(kinds):
        return [
            ((a + b.times(0.7) + a).value(block), 2 * a.value(block) + 0.7 * b.value(block))
            for a, b in itertools.product(kinds, repeat=2)
        ]

    kinds = [some(4, True), some(5, False), Squares(ridge=0.3)]
    for joined, apart in both(kinds):
        close(joined, apart)
    for squares in kinds:
        want = np.sum(squares.ridge * block**2)
        if squares.design is not None:
            error = (squares.target - squares.design.T @ block) ** 2
            weight = 1 if squares.weight is None else squares.weight
            want += squares.scale * np.sum(weight * error)
        close(squares.value(block), want)


def test_real_rows():
    prior = World(0, 0.0).gaps
    prior.valid[2] = False
    for block, names in AXES.items():
        want = [[1.0], [1.0], [0.0], [1.0]] if names[0] == "regulators" else 1
        np.testing.assert_array_equal(real_rows(block, prior), want)
        found = ridge(0.5, block).squares(block, Blocks(), View(), prior).ridge
        np.testing.assert_array_equal(found, 0.5 * np.array(want))
    assert real_rows("theta", World(0, 0.0).prior(0)) == 1  # one target: rows are candidates


# --- The joint prox of kinks, diagonal quadratics and an interval --------------------------------


KINDS = [
    # term; weights of |u|; weight of u^2; weight of -2 u; price of u != 0
    (l1(0.6), lambda p: 0.6, 0, 0, 0),
    (prior_l1(0.9, 0.25) + l1(0.2), lambda p: price(0.9, 0.25)(p) + 0.2, 0, 0, 0),
    (elastic_net(0.6, 0.3), lambda p: 0.6, 0.3, 0, 0),
    (
        0.5 * prior_l1(0.9, 0.25, "motif") + ridge(0.2) + 2 * ridge(0.3),
        lambda p: price(0.45, 0.25, "motif")(p),
        0.8,
        0,
        0,
    ),
    (l1(0.6) + Pull(0.4, 1.5) + 0.5 * Pull(1.0, -1.0), lambda p: 0.6, 0.9, 0.1, 0),
    (l0(0.7), lambda p: 0, 0, 0, 0.7),
    (0.5 * l0(0.4) + l0(0.3) + prior_l1(0.9, 0.25) + ridge(0.3), price(0.9, 0.25), 0.3, 0, 0.5),
    (l0(0.3) + Pull(0.4, 1.5) + l1(0.1), lambda p: 0.1, 0.4, 0.6, 0.3),
]
INTERVALS = [None, nonnegative(), box(-0.5, 2), sign() + support(), no_self() + box(-0.25, 9)]
JOINED = [(*kind, c) for kind in KINDS for c in INTERVALS]


def kinks_of(term: Term | None) -> tuple[Term, ...]:
    return tuple(t for t in parts(term) if t.kink)


@compiled
def joined(regularizer, constraint, v, step, view, prior):
    """The joint prox of all terms and the set; and that of the kinks alone and the set."""
    every = joint(parts(regularizer), parts(constraint))
    found = joint(kinks_of(regularizer), parts(constraint))
    return every.prox(v, step, view, prior), found.prox(v, step, view, prior)


@compiled
def in_turn(regularizer, constraint, v, step, view, prior):
    """The prox of the sum, then the projection: the same for convex functions of one number."""
    return constraint.project(regularizer.prox(v, step, view, prior), prior)


@pytest.mark.parametrize(
    ("term", "amount", "diagonal", "linear", "fee", "constraint"),
    JOINED,
    ids=[f"{term.formula}-{c.formula if c else 'anything'}" for term, *_, c in JOINED],
)
@EXAMPLES
@given(world=worlds, v=vectors, step=steps)
def test_joint_prox_against_a_grid(term, amount, diagonal, linear, fee, constraint, world, v, step):
    view, prior = world.rows(), world.prior()
    everything = (np.full(CANDIDATES, -np.inf), np.full(CANDIDATES, np.inf))
    low, high = (
        everything if constraint is None else (np.asarray(b) for b in constraint.interval(prior))
    )
    fraction = np.linspace(0, 1, 4001)[:, None]
    start, stop = np.maximum(low, -8), np.minimum(high, 8)
    grid = start + fraction * (stop - start)
    weights = np.broadcast_to(amount(prior), CANDIDATES)

    def check(found, diagonal, linear):
        def objective(u):
            return (
                weights * np.abs(u)
                + diagonal * u**2
                - 2 * linear * u
                + fee * (u != 0)
                + (u - v) ** 2 / (2 * step)
            )

        found = np.asarray(found)
        assert np.all((low <= found) & (found <= high))
        assert np.all(objective(found) <= objective(grid).min(axis=0) + 1e-12)
        nearest = np.take_along_axis(grid, objective(grid).argmin(axis=0)[None], axis=0)[0]
        assert fee or np.max(np.abs(found - nearest)) <= 16 / 4000  # 0 and another may tie

    whole, kinks = joined(term, constraint, v, step, view, prior)
    check(whole, diagonal, linear)
    check(kinks, 0, 0)  # solvers leave the quadratics to the smooth part
    if constraint is not None and not fee:
        close(in_turn(term, constraint, v, step, view, prior), whole)


@compiled
def limited(kinks, sets, v, step, view, prior):
    return joint(kinks, sets).prox(v, step, view, prior)


@pytest.mark.parametrize(
    ("kinks", "sets", "amount", "fee", "low"),
    [
        ((l1(0.6),), (budget(2),), 0.6, 0, -np.inf),
        ((l0(0.4),), (budget(2),), 0, 0.4, -np.inf),
        ((l0(0.3), l1(0.2)), (budget(1), nonnegative()), 0.2, 0.3, 0),
        ((), (budget(2), nonnegative()), 0, 0, 0),
    ],
    ids=lambda v: " ".join(t.formula for t in v) if isinstance(v, tuple) else None,
)
@EXAMPLES
@given(world=worlds, v=vectors, step=steps)
def test_joint_prox_with_a_budget_is_the_best_of_all_supports(
    kinks, sets, amount, fee, low, world, v, step
):
    got = np.asarray(limited(kinks, sets, v, step, world.rows(), world.prior()))
    most = int(sets[0].count)

    def cost(u):
        return np.sum(amount * np.abs(u) + fee * (u != 0) + (u - v) ** 2 / (2 * step), axis=-1)

    best = np.maximum(np.sign(v) * np.maximum(np.abs(v) - step * amount, 0), low)
    rivals = [
        np.where(np.isin(np.arange(len(v)), own), best, 0)
        for k in range(most + 1)
        for own in itertools.combinations(range(len(v)), k)
    ]
    assert (got != 0).sum() <= most and np.all(got >= low)
    assert cost(got) <= cost(np.array(rivals)).min() * (1 + 1e-9) + 1e-12


# --- The objective: what is smooth, and what has a prox -----------------------------------------


def split(penalty: Term | None, constraint: Term | None) -> optimality.Objective:
    return optimality.objective(Spec(least_squares(), penalty, constraint))


def test_objective_puts_kinks_into_the_prox_and_the_rest_into_the_smooth_part():
    world = World(3, 1.0)
    params = Blocks(theta=world.theta(CANDIDATES))
    found = split(elastic_net(0.6, 0.3) + prior_l1(0.5), None)
    assert not found.why and found.convex and found.monotone and set(found.joints) == {"theta"}
    want = (least_squares() + 0 * least_squares())(params, world.rows(), world.prior())
    want += ridge(0.3)(params, world.rows(), world.prior())
    close(found.smooth(params, world.rows(), world.prior()), want)
    every = l1(0.6) + prior_l1(0.5)
    close(
        found.total(params, world.rows(), world.prior()),
        want + every(params, world.rows(), world.prior()),
    )


class Pulled(Pull):
    prox = Ridge.prox  # beside a quadratic


def test_a_kink_has_a_prox_and_no_gradient_everywhere():
    smooth_terms = (
        ridge(1),
        2 * ridge(1),
        ridge(1, "A"),
        0.5 * ridge(1, "A"),
        Pull(1.0, 0.0),
        Pulled(1.0, 0.0),
        regularizer(smooth_price, strength=1.0),
        gaussian_prior(),
        kl_gaussian(),
        laplacian(1),
        least_squares(),
        component_analysis(),
    )
    kinks = (
        l1(1),
        prior_l1(1),
        0.5 * l1(1),
        GroupNorm(1.0),
        l0(1),
        2 * l0(1),
        collaborative(),
        0.5 * collaborative_sketch(),
        NAMED["collaborative, arrays"].term,
    )
    for term in kinks + smooth_terms:
        assert term.kink is (term in kinks), term.formula


@pytest.mark.parametrize(
    ("penalty", "constraint", "accelerate"),
    [
        (None, None, True),
        (ridge(1), None, True),
        (l1(1), nonnegative(), True),
        (None, support() + box(-1, 1), True),
        (l0(1), None, False),
        (l1(1) + 2 * l0(1), None, False),
        (l0(1) + ridge(1), support(), False),
        (collaborative(), None, False),
        (ridge(1), budget(2), False),
        (None, budget(2) + box(-1, 1), False),
        (None, Ball(), False),
    ],
)
def test_momentum_needs_a_convex_prox_part(penalty, constraint, accelerate):
    found = split(penalty, constraint)
    assert not found.why and found.convex is accelerate


@pytest.mark.parametrize(
    ("penalty", "constraint", "why"),
    [
        (l1(1) + GroupNorm(1.0), None, "joint prox of λ ‖θ‖₁ [+] GroupNorm"),
        (GroupNorm(1.0), nonnegative(), "GroupNorm and θ ≥ 0"),
        (l0(1) + GroupNorm(1.0), None, "joint prox of η ‖θ‖₀ [+] GroupNorm"),
        (GroupNorm(1.0), budget(3), "GroupNorm and ‖θ‖₀ ≤ 3"),
        (l1(1), Ball(), "λ ‖θ‖₁ and Ball"),
        (l1(1), Odd(), "λ ‖θ‖₁ and Odd"),
        (None, Odd(), "Odd has no projection"),
        (None, nonnegative() + Ball(), "projection onto θ ≥ 0 ∩ Ball"),
        (None, budget(1) + budget(2), "no rule gives the projection"),
        (l1(1), budget(1) + budget(2), "no rule joins"),
    ],
)
def test_objective_says_why_there_is_no_prox(penalty, constraint, why):
    found = split(penalty, constraint)
    assert found.joints["theta"].prox is None and re.search(why, found.why)


def test_a_deletion_is_no_set_of_the_objective():
    found = split(l1(1), support() + no_self())
    assert found.joints["theta"].prox is not None and found.convex
    assert optimality.proximal_terms(Spec(least_squares(), None, support() + Ball()), "theta") == (
        (),
        (Ball(),),
    )


def test_objective_takes_a_projection_without_an_interval():
    found = split(ridge(1), Ball())
    v = np.array([3.0, 0, 4.0, 0])
    prox = found.joints["theta"].prox
    close(prox(v, 0.5, World(0, 0.0).rows(), World(0, 0.0).prior()), v / 5)


def test_the_residual_is_0_at_the_optimum_and_only_there():
    world = World(5, 0.0)
    view, prior = world.moments(), world.prior()
    found = split(l1(2.0), nonnegative())

    @jax.jit
    def of(theta, bound, prior):
        params = Blocks(theta=theta)
        gradient = optimality.slope(found, view, prior)
        spread = optimality.units(params, view)
        sizes = optimality.scale(gradient, params, 1e-9, spread)
        return optimality.residual(
            found, params, gradient(params), bound, sizes, spread, 1e-9, view, prior
        )

    # As many coordinate steps as it takes: an independent, slow solver.
    m, theta = view.moments, np.zeros(CANDIDATES)
    for _ in range(2000):
        for j in range(CANDIDATES):
            rest = m.cross[j] - m.gram[j] @ theta + m.gram[j, j] * theta[j]
            theta[j] = max(rest - 1.0, 0) / m.gram[j, j]
    for step in (0.01, 0.1):

        def residual(theta, step=step):
            return float(of(theta, 1 / step, prior))

        assert residual(theta) < 1e-9
        assert residual(theta + 0.1) > 1e-3
        off = np.where(np.arange(CANDIDATES) == 1, 0.3, 0.0)
        assert residual(theta + off) > 1e-3
    # A padded entry does not count while it is 0, as it has to be.
    blind = dataclasses.replace(prior, valid=np.zeros(CANDIDATES, bool))
    assert of(np.zeros(CANDIDATES), 10.0, blind) == 0


# --- The algebra ---------------------------------------------------------------------------------


BY_KIND = {
    "loss": (least_squares(), huber(0.8), 0.5 * gaussian()),
    "regularizer": (ridge(0.7), l1(0.6), 2 * prior_l1(0.9)),
    "constraint": (support(), sign(), box(-0.5, 2)),
}


def at_a_point(term: Term) -> float:
    world = World(11, 1.0)
    return float(values(term, world.params(term), world.rows(), world.prior())[0])


@pytest.mark.parametrize("kind", BY_KIND)
def test_plus_is_associative_and_commutes_up_to_value(kind):
    a, b, c = BY_KIND[kind]
    left, right = (a + b) + c, a + (b + c)
    assert left == right
    assert len(parts(left)) == 3 and left.kind == kind
    close(at_a_point(left), at_a_point(right))
    close(at_a_point(c + b + a), at_a_point(left))


@pytest.mark.parametrize("kind", BY_KIND)
def test_sum_works(kind):
    terms = BY_KIND[kind]
    total = sum(terms)
    assert parts(total) == terms and total.kind == kind
    assert sum(terms[:1]) is terms[0]


@pytest.mark.parametrize("kind", ["loss", "regularizer"])
def test_the_value_of_a_sum_is_the_sum_of_values(kind):
    terms = BY_KIND[kind]
    close(at_a_point(sum(terms)), sum(at_a_point(t) for t in terms))


@each([case for case in EXACT if case.term.kind != "constraint" and "rows" in case.views])
def test_scaling(case):
    world, term, of = case.seen(World(11, 1.0)), case.term, case.target
    params, rows, prior = world.params(term), world.rows(of), world.prior(of)
    want = defined(case, world, params)
    for factor in (0, 1, 3.5):
        assert (factor * term).kind == term.kind
        close(values(factor * term, params, rows, prior), factor * want)


def test_factors_of_any_number_type():
    for half in (0.5, np.float64(0.5), np.float32(0.5), jnp.asarray(0.5), np.asarray(0.5)):
        for term in (half * ridge(0.7), ridge(0.7) * half):
            assert isinstance(term, Scaled)
            close(at_a_point(term), 0.5 * at_a_point(ridge(0.7)))
    close(at_a_point(2 * ridge(0.7)), 2 * at_a_point(ridge(0.7)))
    close(at_a_point(0.25 * (elastic_net(1, 2) * 2)), 0.5 * at_a_point(elastic_net(1, 2)))


def test_a_factor_may_be_traced():
    world = World(11, 1.0)
    params = Blocks(theta=world.theta(CANDIDATES))

    @jax.jit
    def value(factor):
        return (factor * elastic_net(0.6, 0.3))(params, world.rows(), world.prior())

    close(value(2.0), 2 * float(elastic_net(0.6, 0.3)(params, world.rows(), world.prior())))


@pytest.mark.parametrize(
    "factor", [-1, -1e-300, float("nan"), float("inf"), -float("inf"), np.float32("nan")]
)
def test_factors_out_of_range_are_refused(factor):
    for term in (ridge(1), least_squares(), elastic_net(1, 1)):
        with pytest.raises(ValueError, match="finite number >= 0"):
            factor * term
        with pytest.raises(ValueError, match="finite number >= 0"):
            term * factor


@pytest.mark.parametrize(
    "factor",
    [
        "2",
        "a",
        b"2",
        None,
        [1.0],
        (1.0,),
        {},
        1j,
        np.array([1.0, 2.0]),
        np.array([2.0]),
        jnp.array([1.0, 2.0]),
        ridge(1),
        least_squares(),
        max,
    ],
    ids=repr,
)
def test_factors_that_are_no_numbers_are_refused(factor):
    with pytest.raises(TypeError, match="number"):
        factor * ridge(1)
    with pytest.raises(TypeError, match="number"):
        ridge(1) * factor


def test_a_constraint_has_no_scale():
    for term in (support(), box(-1, 2), support() + no_self()):
        for factor in (2, 1, 0, 0.5):
            with pytest.raises(
                TypeError, match="constraint has no scale.*" + re.escape(term.formula)
            ):
                factor * term
            with pytest.raises(TypeError, match="constraint has no scale"):
                term * factor
    with pytest.raises(TypeError):
        scale(2, "ridge")


KIND_PAIRS = [(a, b) for a in BY_KIND for b in BY_KIND if a != b]


@pytest.mark.parametrize(("first", "second"), KIND_PAIRS)
def test_kinds_do_not_mix(first, second):
    for a, b in zip(BY_KIND[first], BY_KIND[second], strict=True):
        for left, right in ((a, b), (a + a, b), (a, b + b)):
            with pytest.raises(TypeError) as caught:
                left + right
            message = str(caught.value)
            assert first in message and second in message
            assert left.formula in message and right.formula in message
            assert "Spec(" in message
    with pytest.raises(TypeError):
        sum([BY_KIND[first][0], BY_KIND[second][0]])


@pytest.mark.parametrize(
    "other", [1, 2.5, "ridge", None, abs, np.ones(2)], ids=lambda value: type(value).__name__
)
def test_only_terms_are_added(other):
    with pytest.raises(TypeError, match=f"joins terms, got {type(other).__name__}"):
        ridge(1) + other
    with pytest.raises(TypeError):
        other + ridge(1)
    with pytest.raises(TypeError, match="joins terms"):
        add(ridge(1), other)


def test_a_function_is_refused_in_a_sum_with_the_way_to_wrap_it():
    with pytest.raises(TypeError, match=r"unigrn\.regularizer\(function\)"):
        ridge(1) + smooth_price


def test_terms_do_not_subtract():
    with pytest.raises(TypeError):
        ridge(1) - ridge(1)
    with pytest.raises(TypeError):
        -ridge(1)


def test_a_bare_term_says_that_it_has_no_value():
    with pytest.raises(TypeError, match="Term does not say how it is evaluated"):
        Term()(Blocks(theta=1.0), View(), None)


def test_parts():
    assert parts(None) == ()
    assert parts(ridge(1)) == (ridge(1),)
    assert [type(t).__name__ for t in parts(2 * elastic_net(1, 1))] == ["Scaled", "Scaled"]


# --- Constructors --------------------------------------------------------------------------------


RIGHT = [
    (least_squares, (), {}),
    (least_squares, (), {"intercept": False, "mean": True}),
    (gaussian, (), {}),
    (gaussian, (2,), {}),
    (gaussian, (1e-8,), {}),
    (gaussian, (None,), {}),
    (component_analysis, (), {}),
    (expected_gaussian, (), {}),
    (expected_gaussian, (2, 3), {}),
    (expected_gaussian, (), {"draws": 5.0}),
    (marginal_squares, (), {}),
    (prior_squares, (), {}),
    (subset_bic, (), {}),
    (subset_bic, (12, 0, 3.5), {}),
    (huber, (), {}),
    (huber, (0.1,), {}),
    (huber, (np.float32(2),), {}),
    (quantile, (), {}),
    (quantile, (0.9, 2), {}),
    (poisson, (), {}),
    (poisson, ("depth",), {}),
    (negative_binomial, (), {}),
    (negative_binomial, (0.1, "depth"), {}),
    (negative_binomial, (unigrn.along([1.0, 2.0], "targets"),), {}),
    (logistic, (), {}),
    (logistic, (-1,), {}),
    (gaussian_evidence, (), {}),
    (gaussian_evidence, (1e-12, 0, 1), {}),
    (gaussian_evidence, (1e-6, 1e-3, 50.0), {}),
    (loss, (smooth_error,), {"width": 1.0}),
    (loss, (least_squares(),), {}),
    (ridge, (0,), {}),
    (ridge, (10,), {}),
    (ridge, (np.int64(3),), {}),
    (ridge, (np.ones(()),), {}),
    (ridge, (1, "A"), {}),
    (l0, (0,), {}),
    (l0, (3.5,), {}),
    (laplacian, (1,), {}),
    (laplacian, (0, 0), {}),
    (laplacian, (1, 1, False), {}),
    (collaborative, (), {}),
    (collaborative, (5,), {}),
    (collaborative, (np.float32(5),), {}),
    (collaborative, ([2, 3.5], 1, 1, 1, 1), {}),
    (collaborative, (np.array([2, 3]),), {}),
    (collaborative_sketch, (), {}),
    (collaborative_sketch, (0, 1, 2), {}),
    (gaussian_prior, (), {}),
    (gaussian_prior, (1, 2), {}),
    (kl_gaussian, (0.1, 1e-6), {}),
    (l1, (0,), {}),
    (l1, (1e6,), {}),
    (elastic_net, (0, 0), {}),
    (elastic_net, (1, 2), {}),
    (prior_l1, (1,), {}),
    (prior_l1, (1, 0), {}),
    (prior_l1, (1, 1), {}),
    (prior_l1, (1, 0.5, "atac"), {}),
    (unigrn.pair_l1, (1,), {}),
    (unigrn.pair_l1, (1, 0), {}),
    (unigrn.pair_l1, (1, 0.5, "atac"), {}),
    (regularizer, (smooth_price,), {"strength": 1.0}),
    (regularizer, (ridge(1),), {}),
    (minimax_concave, (1,), {}),
    (minimax_concave, (0, 0.1), {}),
    (slope, (1,), {}),
    (slope, (1, 0.9), {}),
    (group_lasso, (1, GROUPS), {}),
    (group_lasso, (1, pd.Series({"a": "one", "b": "two"})), {}),
    (fused, (1,), {}),
    (dirty, (1,), {}),
    (dirty, (0, 0, 0.5), {}),
    (fused, (0, {"b": "a"}, True), {}),
    (fused, (1, [("a", "b"), ("b", "c", 2), (1, "a")]), {}),
    (fused, (1, pd.DataFrame({"a": ["x"], "b": ["y"], "w": [0.5]})), {}),
    (sparse_group, (1, 0, GROUPS), {}),
    (l1_linf, (0,), {}),
    (graph_laplacian, (1, AMONG_TARGETS), {}),
    (graph_laplacian, (1, pd.DataFrame({"a": ["x"], "b": ["y"]}), "regulators"), {}),
    (pull, (1, NETWORK), {}),
    (pull, (1, NETWORK, True), {}),
    (pull, (1, pd.DataFrame({"source": ["a"], "target": ["b"], "weight": [2]})), {}),
    (adaptive_l1, (1, NETWORK), {}),
    (adaptive_l1, (1, unigrn.along(np.ones((2, 2)), "regulators", "targets"), 2, 1), {}),
    (squared_hinge, (1,), {}),
    (squared_hinge, (1, 2), {}),
    (prior_elastic_net, (1,), {}),
    (prior_elastic_net, (1, 2, "log"), {"contrary": 0}),
    (prior_elastic_net, (1, 2, "logistic"), {"slopes": {"atac": -1}, "offset": -2}),
    (nuclear, (1,), {}),
    (known_edges, (), {}),
    (known_edges, (), {"layer": "atac", "graded": True, "together": pd.Series({"x": 1, "y": 2})}),
    (known_edges, (), {"together": np.array(["a", "a", "b"])}),
    (alike, (), {}),
    (alike, (0.1, 2, 1), {}),
    (alike, ([0.1, 1], (1.0,), np.array([0.0, 0.5])), {}),
    (simplex, (), {}),
    (simplex, (3,), {}),
    (cardinality, (0,), {}),
    (cardinality, (5.0,), {}),
    (rank, (1,), {}),
    (linear_equality, ({"a": 1},), {}),
    (linear_equality, (pd.Series({"a": 1, "b": 2}), 3), {}),
    (linear_equality, (unigrn.along(np.ones((2, 3)), "equations", "regulators"), [1, 2]), {}),
    (support, (), {}),
    (support, ("atac",), {}),
    (no_self, (), {}),
    (nonnegative, (), {}),
    (sign, (), {}),
    (box, (-1, 1), {}),
    (box, (0, 0), {}),
    (box, (-math.inf, math.inf), {}),
    (box, (0, 5), {}),
    (box, (-5, 0), {}),
    (box, (-1, 1, "A"), {}),
    (budget, (), {}),
    (budget, (3, 0.5, "prior"), {}),
    (budget, (0, 0.5), {"less": 0.5}),
    (budget, (2.0,), {}),
    (budget, (10**10,), {"within": "new"}),
]
WRONG = [
    (gaussian, (0,), "variance"),
    (gaussian, (-1,), "variance"),
    (gaussian, ("a",), "variance"),
    (gaussian, (math.nan,), "variance"),
    (gaussian, (math.inf,), "variance"),
    (subset_bic, (0,), "candidates"),
    (subset_bic, (13,), "candidates"),
    (subset_bic, (3, -1), "on"),
    (subset_bic, (3, 1, math.nan), "off"),
    (huber, (0,), "delta"),
    (huber, (-1,), "delta"),
    (huber, (None,), "delta"),
    (huber, (math.inf,), "delta"),
    (quantile, (0,), "level"),
    (quantile, (1,), "level"),
    (quantile, (0.5, 0), "width"),
    (poisson, (3,), "size"),
    (negative_binomial, (0,), "dispersion"),
    (negative_binomial, (unigrn.along([1.0, 0.0], "targets"),), "dispersion"),
    (negative_binomial, (1, 3), "size"),
    (logistic, (math.nan,), "threshold"),
    (logistic, ("on",), "threshold"),
    (gaussian_evidence, (-1,), "hyperprior"),
    (gaussian_evidence, (0,), "hyperprior"),
    (gaussian_evidence, (1, -1), "tolerance"),
    (gaussian_evidence, (1, math.nan), "tolerance"),
    (gaussian_evidence, (1, 1, 0), "max_iterations"),
    (gaussian_evidence, (1, 1, 2.5), "max_iterations"),
    (gaussian_evidence, (1, 1, -3), "max_iterations"),
    (gaussian_evidence, (1, 1, "a"), "max_iterations"),
    (gaussian_evidence, (1, 1, None), "max_iterations"),
    (gaussian_evidence, (1, 1, math.nan), "max_iterations"),
    (gaussian_evidence, (1, 1, math.inf), "max_iterations"),
    (expected_gaussian, (0,), "variance"),
    (expected_gaussian, ("a",), "variance"),
    (expected_gaussian, (1, -1), "draws"),
    (expected_gaussian, (1, 1.5), "draws"),
    (expected_gaussian, (1, True), "draws"),
    (expected_gaussian, (1, None), "draws"),
    (l0, (-1,), "cost"),
    (l0, (math.inf,), "cost"),
    (l0, ("a",), "cost"),
    (laplacian, (-1,), "strength"),
    (laplacian, (1, -0.1), "threshold"),
    (laplacian, (1, 1.1), "threshold"),
    (laplacian, (1, None), "threshold"),
    (collaborative, ((),), "evidence"),
    (collaborative, (0,), "evidence"),
    (collaborative, ((1, -1),), "evidence"),
    (collaborative, ("abc",), "evidence"),
    (collaborative, (None,), "evidence"),
    (collaborative, ([[1, 2]],), "evidence"),
    (collaborative, (2, 0), "strength"),
    (collaborative, (2, 1, 0), "boost"),
    (collaborative, (2, 1, 1, 0), "floor"),
    (collaborative, (2, 1, 1, 1, 0), "per_target"),
    (collaborative, (2, 1, 1, 1, 1.5), "per_target"),
    (collaborative_sketch, (-1,), "slope"),
    (collaborative_sketch, (1, 0), "on"),
    (collaborative_sketch, (1, 1, 0), "off"),
    (gaussian_prior, (0,), "on"),
    (gaussian_prior, (1, -1), "off"),
    (kl_gaussian, (math.nan,), "on"),
    (kl_gaussian, (1, 0), "off"),
    (budget, (-1,), "count"),
    (budget, (2.5,), "count"),
    (budget, ("a",), "count"),
    (budget, (True,), "count"),
    (budget, (math.inf,), "count"),
    (budget, (1, -1), "share must"),
    (budget, (1, math.nan), "share"),
    (budget, (1, "a"), "share"),
    (budget, (1, None), "share"),
    (budget, (1, 0, "old"), "within"),
    (budget, (1, 0, None), "within"),
    (minimax_concave, (-1,), "strength"),
    (minimax_concave, (1, 0), "bend"),
    (slope, (-1,), "strength"),
    (slope, (1, 1), "rate"),
    (slope, (1, 0), "rate"),
    (group_lasso, (-1, GROUPS), "strength"),
    (group_lasso, (1, [["a"], ["b"]]), "groups"),
    (group_lasso, (1, {"g": "ab"}), "group 'g'"),
    (group_lasso, (1, {"g": ["a"], "h": ["a"]}), "'a'"),
    (group_lasso, (1, {}), "groups"),
    (fused, (-1,), "strength"),
    (dirty, (-1,), "own"),
    (dirty, (1, -1), "shared"),
    (dirty, (1, math.inf), "shared"),
    (dirty, (1, 1, 0), "prior_weight"),
    (fused, (1, {}), "pairs of groups"),
    (fused, (1, "ab"), "pairs of groups"),
    (fused, (1, [("a",)]), "pairs of groups"),
    (fused, (1, [("a", "b", 1, 2)]), "pairs of groups"),
    (fused, (1, {"a": ["b"]}), "two names"),
    (fused, (1, [("a", "a")]), "itself"),
    (fused, (1, [("a", "b"), ("b", "a")]), "before"),
    (fused, (1, [("a", "b", 0)]), "weight of a pair"),
    (fused, (1, [("a", "b", math.inf)]), "weight of a pair"),
    (fused, (1, [("a", "b"), ("b", "c"), ("c", "a")], True), "no circle"),
    (fused, (1, [("a", "b"), ("c", "d")], True), "in one piece"),
    (sparse_group, (-1, 1, GROUPS), "l1_strength"),
    (sparse_group, (1, math.nan, GROUPS), "group_strength"),
    (l1_linf, (-1,), "strength"),
    (graph_laplacian, (-1, AMONG_TARGETS), "strength"),
    (graph_laplacian, (1, AMONG_TARGETS, "cells"), "over"),
    (graph_laplacian, (1, "ab"), "graph"),
    (graph_laplacian, (1, []), "graph"),
    (graph_laplacian, (1, [("a",)]), "graph"),
    (graph_laplacian, (1, [("a", "a")]), "itself"),
    (graph_laplacian, (1, [("a", "b"), ("b", "a")]), "before"),
    (graph_laplacian, (1, [("a", "b", math.nan)]), "weight"),
    (pull, (-1, NETWORK), "strength"),
    (pull, (1, np.ones((2, 2))), "network"),
    (pull, (1, NETWORK * math.nan), "finite"),
    (
        pull,
        (1, pd.DataFrame({"source": "a", "target": "b", "weight": 1.0, "group": ["x", "y"]})),
        "one group",
    ),
    (adaptive_l1, (-1, NETWORK), "strength"),
    (adaptive_l1, (1, NETWORK, 0), "power"),
    (adaptive_l1, (1, NETWORK, 1, 0), "floor"),
    (squared_hinge, (-1,), "strength"),
    (squared_hinge, (1, -1), "margin"),
    (prior_elastic_net, (-1,), "l1_strength"),
    (prior_elastic_net, (1, -1), "ridge_strength"),
    (prior_elastic_net, (1, 1, "power"), "mapping"),
    (prior_elastic_net, (1, 1, "logistic"), "slopes"),
    (nuclear, (-1,), "strength"),
    (simplex, (0,), "total"),
    (cardinality, (-1,), "count"),
    (cardinality, (1.5,), "count"),
    (rank, (0,), "count"),
    (linear_equality, ([1, 2],), "coefficients"),
    (linear_equality, ({},), "coefficients"),
    (linear_equality, ({"a": math.nan},), "coefficients"),
    (linear_equality, ({"a": 1}, [1, 2]), "value"),
    (linear_equality, ({"a": 1}, math.inf), "value"),
    (ridge, (-1,), "alpha"),
    (ridge, ("a",), "alpha"),
    (ridge, (None,), "alpha"),
    (ridge, (math.nan,), "alpha"),
    (ridge, (math.inf,), "alpha"),
    (ridge, ([1, 2],), "alpha"),
    (ridge, (np.ones(2),), "alpha"),
    (l1, (-0.1,), "strength"),
    (l1, ("a",), "strength"),
    (l1, (math.nan,), "strength"),
    (elastic_net, (-1, 1), ""),
    (elastic_net, (1, -1), ""),
    (elastic_net, (1, "a"), ""),
    (prior_l1, (-1,), "strength"),
    (unigrn.pair_l1, (-1,), "strength"),
    (unigrn.pair_l1, (1, 2), "bias"),
    (prior_l1, (1, 2), "bias"),
    (prior_l1, (1, -0.1), "bias"),
    (prior_l1, (1, math.nan), "bias"),
    (prior_l1, ("a",), "strength"),
    (box, (1, 2), "box"),
    (box, (-2, -1), "box"),
    (box, (1, -1), "box"),
    (box, (math.nan, 1), "box"),
    (box, (-1, math.nan), "box"),
    (box, ("a", 1), "box"),
    (box, (None, 1), "box"),
    (box, (-1, [1, 2]), "box"),
    (known_edges, {"together": np.ones((2, 2))}, "together"),
    (alike, (0,), "strength"),
    (alike, ("a",), "strength"),
    (alike, ([],), "strength"),
    (alike, ([1, math.nan],), "strength"),
    (alike, (1, 0), "width"),
    (alike, (1, math.inf), "width"),
    (alike, (1, 1, -0.5), "even"),
    (alike, (1, 1, [0, 1.5]), "even"),
    (loss, (3,), TypeError),
    (loss, ("least_squares",), TypeError),
    (loss, (None,), TypeError),
    (loss, (ridge(1),), TypeError),
    (loss, (elastic_net(1, 1),), TypeError),
    (loss, (support(),), TypeError),
    (regularizer, (3,), TypeError),
    (regularizer, ("ridge",), TypeError),
    (regularizer, (least_squares(),), TypeError),
    (regularizer, (2 * huber(),), TypeError),
    (regularizer, (nonnegative(),), TypeError),
]


def written(row) -> str:
    build, args = row[:2]
    # No memory addresses: the workers of a parallel run must name the tests alike.
    return f"{build.__name__}{args!r}".partition(" at 0x")[0]


@pytest.mark.parametrize("row", RIGHT, ids=written)
def test_right_arguments(row):
    build, args, more = row
    term = build(*args, **more)
    assert isinstance(term, Term) and term.formula
    kinds = {
        losses.__name__: "loss",
        regularizers.__name__: "regularizer",
        filtering.__name__: "regularizer",
        constraints.__name__: "constraint",
        f"{neighbours.__name__}.known_edges": "loss",
        f"{neighbours.__name__}.alike": "regularizer",
    }
    own = f"{build.__module__}.{build.__name__}."
    (kind,) = [kind for name, kind in kinds.items() if own.startswith(f"{name}.")]
    assert term.kind == kind


@pytest.mark.parametrize("row", WRONG, ids=written)
def test_wrong_arguments(row):
    build, args, named = row
    error = named if isinstance(named, type) else ValueError
    with pytest.raises(error) as caught:
        build(**args) if isinstance(args, dict) else build(*args)
    message = str(caught.value)
    assert "got" in message  # what was got, beside what is needed
    if isinstance(named, str):
        assert named in message


@pytest.mark.parametrize("less", [-1, 0.6, math.nan, "a", None])
def test_a_budget_takes_no_more_off_than_its_share(less):
    with pytest.raises(ValueError, match="less must be .*got"):
        budget(9, 0.5, less=less)


def test_a_constructor_gives_back_a_term_of_its_kind():
    for term in (least_squares(), 0.5 * huber(), least_squares() + gaussian()):
        assert loss(term) is term
    for term in (ridge(1), 0.5 * l1(1), elastic_net(1, 1)):
        assert regularizer(term) is term


def test_arguments_become_floats():
    # An integer leaf would compile again for a float.
    for term in (
        ridge(1),
        l1(2),
        prior_l1(1, 0),
        huber(1),
        gaussian(1),
        box(-1, 1),
        gaussian_evidence(1, 1),
        2 * ridge(1),
        elastic_net(1, 1),
        l0(1),
        budget(3, 1),
        laplacian(1, 1),
        collaborative((2, 3), 1, 1, 1),
        collaborative_sketch(1, 1, 1),
        gaussian_prior(1, 1),
        kl_gaussian(1, 1),
        expected_gaussian(1, 2),
        alike(1, 2, 1),
    ):
        leaves = jax.tree.leaves(term)
        assert leaves and all(type(leaf) is float for leaf in leaves)


# --- Spec ----------------------------------------------------------------------------------------


KEPT = [
    (least_squares(), None, None),
    (0.5 * least_squares(), elastic_net(1, 1), support() + no_self()),
    (least_squares() + 2 * huber(), 3 * ridge(1), box(-1, 1)),
    (gaussian(), prior_l1(1) + ridge(1), sign()),
]


@pytest.mark.parametrize("slots", KEPT, ids=lambda slots: slots[0].formula)
def test_spec_keeps_the_terms_it_is_given(slots):
    spec = Spec(*slots)
    assert (spec.loss, spec.regularizer, spec.constraint) == slots
    for got, given_ in zip((spec.loss, spec.regularizer, spec.constraint), slots, strict=True):
        assert got is given_
    assert spec.terms == sum((parts(t) for t in slots), ())
    assert spec.separable is True


WRONG_SLOTS = [
    ("loss", "regularizer", ridge(1)),
    ("loss", "regularizer", elastic_net(1, 1)),
    ("loss", "regularizer", 2 * l1(1)),
    ("loss", "constraint", support()),
    ("loss", "constraint", support() + sign()),
    ("regularizer", "loss", least_squares()),
    ("regularizer", "loss", 0.5 * huber()),
    ("regularizer", "constraint", no_self()),
    ("constraint", "regularizer", ridge(1)),
    ("constraint", "loss", least_squares()),
    ("constraint", "function", smooth_price),
    ("constraint", "str", "support"),
    ("loss", "int", 3),
    ("loss", "str", "least_squares"),
    ("loss", "NoneType", None),
    ("regularizer", "float", 0.5),
    ("regularizer", "str", "ridge"),
    ("constraint", "bool", True),
]


@pytest.mark.parametrize(
    ("slot", "kind", "term"), WRONG_SLOTS, ids=[f"{slot}={kind}" for slot, kind, _ in WRONG_SLOTS]
)
def test_spec_refuses_a_term_of_another_kind(slot, kind, term):
    with pytest.raises(TypeError) as caught:
        Spec(**{"loss": least_squares(), slot: term})
    assert slot in str(caught.value) and kind in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("scale", "targets"), ("scale", True), ("scale", ["regulators"])]
)
def test_spec_refuses_other_settings(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be .*got"):
        Spec(least_squares(), **{name: value})


def test_spec_wraps_plain_functions():
    def fit(params, data, prior):
        return jnp.sum((data.y - data.x @ params.theta) ** 2)

    def penalty(params, data, prior):
        return jnp.sum(params.theta**4)

    spec = Spec(fit, penalty, nonnegative())
    assert isinstance(spec.loss, Loss) and isinstance(spec.regularizer, Regularizer)
    assert spec.loss.quadratic is None and spec.regularizer.prox is None
    assert spec.separable and spec.blocks == ("theta",)
    assert str(spec) == "argmin_θ  fit(θ, data)  +  penalty(θ, P)   s.t.  θ ≥ 0"
    world = World(2, 1.0)
    theta = world.theta(CANDIDATES)
    got = spec.objective(Blocks(theta=theta), world.rows(), world.prior())
    close(got, np.sum((world.y[:, 0] - world.x @ theta) ** 2) + np.sum(theta**4))


def test_hyperparameters_of_plain_functions_are_passed_on():
    penalty = regularizer(smooth_price, strength=0.7)
    assert jax.tree.leaves(penalty) == [0.7]
    assert Spec(least_squares(), penalty).regularizer is penalty
    assert loss(smooth_error, coupled=True, width=1.0).separable is None
    assert loss(smooth_error, blocks=("theta", "intercept"), width=1.0).blocks == (
        "intercept",
        "theta",
    )


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (Spec(least_squares()), "argmin_θ  Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)²"),
        (
            Spec(least_squares(mean=True, intercept=False), l1(1)),
            "argmin_θ  Σᵢ wᵢ (yᵢ − xᵢθ)² / Σᵢ wᵢ  +  λ ‖θ‖₁",
        ),
        (
            Spec(huber(), ridge(1), box(-1, 2.5)),
            "argmin_θ  Σᵢ wᵢ huber_δ(yᵢ − θ₀ − xᵢθ)  +  α ‖θ‖²   s.t.  -1 ≤ θ ≤ 2.5",
        ),
        (
            Spec(gaussian(), None, support() + no_self()),
            "argmin_θ  Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)² / 2s² + ½ W log 2πs²"
            "   s.t.  supp θ ⊆ supp P ∩ θ_gg = 0",
        ),
        (
            Spec(
                component_analysis(),
                laplacian(1) + ridge(1, "A"),
                box(-1, 1, "A") + budget(0, 0.5) + budget(1, 0.5, "prior") + budget(within="new"),
            ),
            "argmin_θ,A  ‖Y − Aᵀθ‖²  +  κ Σ |w_gh| ‖θ_g − sign(w_gh) θ_h‖² + α ‖A‖²   s.t.  "
            "-1 ≤ A ≤ 1 ∩ ‖θ‖₀ ≤ 0.5 |P| ∩ ‖P∘θ‖₀ ≤ 1 + 0.5 |P| ∩ ‖(1−P)∘θ‖₀ ≤ 0",
        ),
    ],
    ids=str,
)
def test_str_of_a_spec_reads_as_mathematics(spec, text):
    assert str(spec) == text


def test_str_of_a_spec_shows_sums_and_factors():
    text = str(Spec(0.5 * least_squares(), 2 * elastic_net(1, 3)))
    assert text == "argmin_θ  0.5 Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)²  +  2 λ ‖θ‖₁ + 2 α ‖θ‖²"
    assert "0.5 (" in str(Spec(0.5 * gaussian()))  # a factor in front of a sum is bracketed


@each(CASES)
def test_formulas_are_one_line_without_addresses(case):
    formula = case.term.formula
    assert formula.strip() == formula and "\n" not in formula
    assert " at 0x" not in formula and "Traced" not in formula


def test_formulas_are_readable_under_a_trace():
    # A message may be written while a term is compiled.
    terms = tuple(case.term for case in CASES)
    seen = []

    def look(terms):
        seen.extend(t.formula for t in terms)
        return 0

    jax.make_jaxpr(look)(terms)
    assert len(seen) == len(CASES) and all(seen)


def test_objective_and_violation():
    world = World(4, 1.0)
    rows, prior = world.rows(), world.prior()
    theta = np.array([-1.5, 0.25, 3.0, 0.0])
    params = Blocks(theta=theta)
    spec = Spec(least_squares(), elastic_net(1, 2), nonnegative() + box(-1, 2))
    close(
        spec.objective(params, rows, prior),
        squares(theta, rows) + np.abs(theta).sum() + 2 * theta @ theta,
    )
    assert float(spec.violation(params, rows, prior)) == 1.5
    assert float(spec.replace(constraint=None).violation(params, rows, prior)) == 0
    assert float(spec.violation(Blocks(theta=np.abs(theta) / 2), rows, prior)) == 0


def test_hard_mask_is_seen_in_a_sum():
    assert Spec(least_squares(), None, support()).hard_mask
    assert Spec(least_squares(), None, no_self() + support()).hard_mask
    assert not Spec(least_squares(), None, no_self() + sign()).hard_mask
    assert not Spec(least_squares()).hard_mask


# --- Blocks --------------------------------------------------------------------------------------


def test_blocks_are_a_mapping_in_the_order_of_the_names():
    blocks = Blocks(theta=1.0, intercept=2.0)
    assert list(blocks) == ["intercept", "theta"] and len(blocks) == 2
    assert blocks.theta == blocks["theta"] == 1.0
    assert dict(blocks) == {"intercept": 2.0, "theta": 1.0}
    assert "theta" in blocks and "variance" not in blocks
    assert repr(blocks) == "Blocks(intercept=2.0, theta=1.0)"


def test_blocks_are_immutable():
    blocks = Blocks(theta=1.0)
    with pytest.raises(AttributeError, match="immutable"):
        blocks.theta = 2.0
    with pytest.raises(AttributeError, match="immutable"):
        blocks.other = 2.0
    with pytest.raises(TypeError):
        blocks["theta"] = 2.0
    changed = blocks.replace(theta=3.0, intercept=0.0)
    assert (changed.theta, changed.intercept, blocks.theta) == (3.0, 0.0, 1.0)
    assert "intercept" not in blocks


def test_a_missing_block_is_an_attribute_error_that_lists_the_names():
    with pytest.raises(AttributeError, match="'loadings'.*the blocks are intercept, theta"):
        _ = Blocks(theta=1.0, intercept=2.0).loadings
    with pytest.raises(KeyError):
        _ = Blocks(theta=1.0)["loadings"]
    assert not hasattr(Blocks(theta=1.0), "loadings")


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_blocks_can_be_copied(again):
    blocks = Blocks(theta=1.0, intercept=2.0)
    assert dict(again(blocks)) == dict(blocks)


def test_blocks_go_through_jax():
    blocks = Blocks(theta=np.arange(3.0), intercept=np.ones(()))
    leaves, structure = jax.tree.flatten(blocks)
    assert [leaf.shape for leaf in leaves] == [(), (3,)]
    again = jax.tree.unflatten(structure, leaves)
    assert isinstance(again, Blocks) and list(again) == ["intercept", "theta"]
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(blocks)]
    assert names == [".intercept", ".theta"]
    doubled = jax.jit(lambda b: jax.tree.map(lambda a: 2 * a, b))(blocks)
    close(doubled.theta, 2 * blocks.theta)
    slope = jax.grad(lambda b: jnp.sum(b.theta**2) + b.intercept)(blocks)
    close(slope.theta, 2 * blocks.theta)
    assert jax.tree.structure(Blocks(a=1, b=2)) == jax.tree.structure(Blocks(b=2, a=1))
    assert jax.tree.structure(Blocks(a=1)) != jax.tree.structure(Blocks(b=1))


# --- Terms as pytrees ----------------------------------------------------------------------------


def test_terms_go_through_jit_unchanged():
    terms = tuple(case.term for case in CASES)
    through = jax.jit(lambda terms: terms)(terms)
    for before, after in zip(terms, through, strict=True):
        assert type(before) is type(after)
        assert jax.tree.structure(before) == jax.tree.structure(after)
        assert has(before) == has(after)
        assert before.kind == after.kind and before.blocks == after.blocks
        again = jax.tree.unflatten(*reversed(jax.tree.flatten(before)))
        for other in (after, again):
            jax.tree.map(np.testing.assert_array_equal, before, other)


def test_structures_of_different_classes_differ():
    # The key of a compiled program: were two equal, one term would now and then be run as another.
    alone = [case.term for case in CASES if not isinstance(case.term, Sum | Scaled)]
    for wrap in (lambda t: t, lambda t: Scaled(2.0, t), lambda t: Sum((t, t)), lambda t: {"a": t}):
        for a in alone:
            for b in alone:
                same = type(a) is type(b) and (
                    dataclasses.replace(a, **dict.fromkeys(leaf_names(a), 0.0))
                    == dataclasses.replace(b, **dict.fromkeys(leaf_names(b), 0.0))
                )
                equal = jax.tree.structure(wrap(a)) == jax.tree.structure(wrap(b))
                assert equal is same, (a, b)


def leaf_names(term: Term) -> list[str]:
    """Fields of a term that are numbers, not part of its structure."""
    return [
        f.name
        for f in dataclasses.fields(term)
        if isinstance(getattr(term, f.name), float | np.ndarray | Along)
    ]


def test_no_term_runs_the_program_of_another():
    # A program remembers the class that it was traced with.
    @jax.jit
    def traced_as(term):
        names.append(type(term).__name__)
        return len(names) - 1

    names = []
    alone = [case.term for case in CASES if not isinstance(case.term, Sum | Scaled)]
    for term in alone * 2:
        assert names[int(traced_as(term))] == type(term).__name__


def test_terms_are_rebuilt_around_anything():
    # JAX rebuilds terms with tracers and placeholders: construction must check nothing.
    for case in CASES:
        leaves, structure = jax.tree.flatten(case.term)
        jax.tree.unflatten(structure, [object()] * len(leaves))


def test_hyperparameters_are_leaves():
    counts = {
        least_squares(): 0,
        gaussian(): 0,
        gaussian(1): 1,
        huber(): 1,
        gaussian_evidence(): 2,
        ridge(1): 1,
        l1(1): 1,
        elastic_net(1, 1): 2,
        prior_l1(1): 2,
        support(): 0,
        no_self(): 0,
        nonnegative(): 0,
        sign(): 0,
        box(-1, 1): 2,
        2 * ridge(1): 2,
        2 * elastic_net(1, 1): 4,
        component_analysis(): 0,
        expected_gaussian(1, 3): 1,
        ridge(1, "A"): 1,
        l0(1): 1,
        laplacian(1): 2,
        collaborative(): 6,
        collaborative_sketch(): 3,
        gaussian_prior(): 2,
        kl_gaussian(): 2,
        box(-1, 1, "A"): 2,
        budget(3): 3,
    }
    for term, count in counts.items():
        assert len(jax.tree.leaves(term)) == count, term


PAIRS = [
    (gaussian(0.5), gaussian(2)),
    (huber(0.5), huber(3)),
    (quantile(0.2, 1), quantile(0.5, 2)),
    (logistic(-100.0), logistic(100.0)),
    (ridge(1), ridge(20)),
    (l1(1), l1(0)),
    (elastic_net(1, 2), elastic_net(3, 4)),
    (prior_l1(1, 0.5), prior_l1(2, 0)),
    (0.5 * ridge(1), 3 * ridge(2)),
    (2 * (l1(1) + ridge(1)), 0 * (l1(2) + ridge(3))),
    (box(-1, 1), box(0, math.inf)),
    (loss(smooth_error, width=1.0), loss(smooth_error, width=2.0)),
    (gaussian_evidence(0.1, 1e-3), gaussian_evidence(0.2, 1e-5)),
    (expected_gaussian(0.5), expected_gaussian(2)),
    (ridge(1, "A"), ridge(2, "A")),
    (l0(1), l0(2)),
    (minimax_concave(1, 1), minimax_concave(2, 3)),
    (slope(1, 0.1), slope(2, 0.5)),
    (squared_hinge(1, 1), squared_hinge(2, 3)),
    (placed(pull(1, NETWORK)), placed(pull(2, -NETWORK))),
    (nuclear(1), nuclear(2)),
    (prior_elastic_net(1, 1), prior_elastic_net(2, 3, bias=0.1)),
    (cardinality(1), cardinality(0)),
    (laplacian(1, 0.2), laplacian(1, 0.9)),
    (budget(1), budget(0, 0.3)),
    (collaborative((2, 3), 1), collaborative((3, 4), 2)),
    (kl_gaussian(), kl_gaussian(2, 1)),
    (gaussian_prior(), gaussian_prior(2, 1)),
    (box(-1, 1, "A"), box(0, 2, "A")),
]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[a.formula for a, _ in PAIRS])
def test_changing_a_hyperparameter_does_not_recompile(first, second, count_compilations):
    world, target = World(1, 1.0), None if first.separable is None else 0
    params, prior = world.params(first), world.prior(target)
    view = world.moments() if first.evidence is not None else world.rows(target)
    before = np.asarray(values(first, params, view, prior))
    with count_compilations() as compiled:
        after = np.asarray(values(second, params, view, prior))
    assert compiled.total == 0, compiled.names
    assert not np.array_equal(before, after)


def test_another_structure_compiles(count_compilations):
    # The counter counts: the test above can fail.
    world = World(1, 1.0)
    params = Blocks(theta=world.theta(CANDIDATES))

    @jax.jit
    def fresh(term):
        return term(params, world.rows(), world.prior())

    fresh(ridge(1))
    with count_compilations() as compiled:
        fresh(least_squares(mean=True))
    assert compiled.of("fresh") == 1


def test_a_vector_of_hyperparameters_is_a_mapped_axis():
    world = World(6, 1.0)
    params, rows, prior = Blocks(theta=world.theta(CANDIDATES)), world.rows(), world.prior()
    terms = [0.5 * elastic_net(a, 2.0) + prior_l1(a, 0.5) for a in (0.1, 1.0, 7.0)]
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(leaves), *terms)
    got = jax.vmap(lambda term: term(params, rows, prior))(stacked)
    close(got, [float(term(params, rows, prior)) for term in terms])


def test_hyperparameters_have_gradients():
    world = World(6, 1.0)
    theta = world.theta(CANDIDATES)
    slope = jax.grad(lambda term: term(Blocks(theta=theta), world.rows(), world.prior()))(
        2.0 * Ridge(3.0)
    )
    close(slope.factor, 3.0 * theta @ theta)
    close(slope.term.alpha, 2.0 * theta @ theta)


def test_terms_with_array_leaves_need_no_hash():
    term = jax.tree.map(jnp.asarray, 2 * ridge(1) + l1(1))
    with pytest.raises(TypeError):
        hash(term)
    assert np.isfinite(at_a_point(term))
    assert isinstance(jax.jit(lambda t: t)(term), Sum)


def test_terms_are_frozen():
    for term, name in ((Ridge(1.0), "alpha"), (L1(1.0), "strength"), (Huber(1.0), "delta")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(term, name, 2.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each([case for case in CASES if case.name != "pull"])
def test_the_dtype_is_that_of_the_data(case, dtype):
    # Nothing is computed in another precision than asked for, whatever JAX's default is.
    world = World(8, 1.0)

    def cast(tree):
        return jax.tree.map(
            lambda a: a.astype(dtype) if getattr(a, "dtype", None) == np.float64 else a, tree
        )

    prior, params = cast(world.prior(case.target)), cast(world.params(case.term))
    shapes, more = [], MOMENTS if case.term.quadratic is not None and case.name not in PULLS else ()
    for kind in dict.fromkeys(case.views + more):
        view = cast(world.view(kind, case.target))
        if case.name != UNWEIGHTED:
            view = dataclasses.replace(view, weight=None)
        found = jax.eval_shape(seen, cast(case.term), params, view, prior)
        shapes += [
            found["value"],
            *(a for a in jax.tree.leaves(found) if jnp.issubdtype(a.dtype, jnp.floating)),
        ]
    # A weak type takes that of what it meets.
    assert {str(s.dtype) for s in shapes if not s.weak_type} <= {dtype}
    assert str(shapes[0].dtype) == dtype
