"""GIRAFFE: expression as a network times activities, both beside interactions of regulators."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.check import check_number, check_whole
from unigrn.constraints import box
from unigrn.ensembles import consensus
from unigrn.methods.otter import Matching, as_score, motif, of_names
from unigrn.prior import Prior
from unigrn.regularizers import ridge
from unigrn.spec import Spec
from unigrn.terms import Array, Blocks, Loss, PriorView, View, pytree, static


def giraffe(
    prior: Prior | None,
    interactions: Any = None,
    weights: tuple[float, ...] | None = None,
    unit: bool = True,
    runs: int = 1,
) -> Spec:
    """GIRAFFE: a network and activities that explain expression and match interactions.

    min over theta and A >= 0 of  w1 |Y - A' theta|^2 + w2 |theta theta' - P|^2
    + w3 |theta' theta - C|^2 + w4 |A A' - P|^2 + w5 |theta|^2, Frobenius norms, with expression Y
    (cells, targets), activities A (regulators, cells), interactions P of the regulators and the
    correlation C of the targets, each of these two divided by its trace. The start is the prior's
    weights, and uniform draws from 0 to 1 for A, each divided by its norm. Not convex, and the
    prior enters by the start alone.

    Parameters
    ----------
    prior
        Edges with weights: the start.
    interactions
        Symmetric table of the regulators' interactions by name (a pandas DataFrame), or an array
        with axes (`unigrn.along`); None for the identity.
    weights
        w1 to w5, numbers >= 0. None takes w4 = w5 = 1 and, of the first three values L_k at the
        start with all activities alike, w_k = 1 - L_k / (L1 + L2 + L3 + |theta|^2), held from
        there.
    unit
        Divide Y by its norm, as theta is at the start: otherwise what |A A' - P| and
        |theta theta' - P| allow explains next to nothing of expression in large units. False takes
        it as it is, as the published program does.
    runs
        Number of random starts; the best is taken.

    Notes
    -----
    Take it where the activity of a regulator is not its expression, and interactions of regulators
    are known. It expects log-normalised values. The published program weighs the terms anew at
    every step, by the formula above at the step's own point. What it follows is then the gradient
    of no function, and where it ends is no minimum of one; so here the weights are fixed, given
    or those of the start, and the fit is a stationary point of what they make. It writes |A| where
    A >= 0 stands here: the values are the same. Its steps of Adam, its penalty on |theta| and its
    covariates are left out. A large w2, w3 or w5 beside a small w1 leaves theta = 0.

    References
    ----------
    Micheletti, GIRAFFE, in netZooPy, https://github.com/netZoo/netZooPy; Weighill et al.,
    AAAI 35 (2021) 10263, doi:10.1609/aaai.v35i11.17228, for the match of interactions.
    """
    interactions = of_names(interactions)
    if weights is not None:
        if np.shape(weights) != (5,):
            raise ValueError(f"weights must be five numbers, w1 to w5, or None, got {weights!r}")
        names = [f"weights[{k}]" for k in range(5)]
        weights = tuple(map(check_number, names, weights))
    spec = Spec(
        loss=Explained(interactions, None if weights is None else weights[:4], bool(unit)),
        regularizer=ridge(1.0 if weights is None else weights[4]),
        constraint=box(0, np.inf, "A"),
        prior=prior,
        name="giraffe",
        expects=("log",),
        start=begin,
        columns=as_score,
        notes={
            "weight": "entry of the network: change of the target per unit of the hidden activity",
            "score": "the weight: the larger, the more likely the edge",
        },
    )
    return consensus(spec, check_whole("runs", runs, low=1), best=True)


@pytree
class Explained(Loss):
    """The first four terms of `giraffe`, weighted."""

    interactions: Any = None
    weights: tuple[Array, ...] | None = None
    unit: bool = static(default=True)
    wanted: tuple[Array, ...] | None = None  # P, C and the factor of Y, worked out by `prepare`

    blocks = ("A", "theta")
    axes = {"A": ("regulators", "cells")}  # noqa: RUF012
    needs_prior = True
    separable = None
    weighted = True
    double = True  # squares of squares: their terms differ by many digits

    def prepare(self, data: View, prior: PriorView) -> Explained:
        """Work out P, C and the units of Y, and the weights where they are those of the start."""
        if self.wanted is not None:
            return self
        wanted = Matching(0.5, self.interactions).prepare(data, prior).wanted
        assert wanted is not None
        factor = jnp.ones((), data.y.dtype)
        if self.unit:
            factor = _inverse(jnp.sqrt(jnp.sum(_cells(data)[:, None] * data.y**2)))
        wanted, weights = (*wanted, factor), self.weights
        if weights is None:
            at = begin(data, prior, None, ())
            first = (*_values(wanted, at, data)[:3], jnp.sum(at.theta**2))
            weights = (*(1 - v * _inverse(sum(first)) for v in first[:3]), 1.0)
        return Explained(self.interactions, weights, self.unit, wanted)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        own = self.prepare(data, prior)
        assert own.weights is not None
        values = _values(own.wanted, params, data)
        return sum(w * v for w, v in zip(own.weights, values, strict=True))

    @property
    def formula(self) -> str:
        """The terms as text."""
        y = "Y / ‖Y‖" if self.unit else "Y"
        return f"w₁ ‖{y} − Aᵀθ‖² + w₂ ‖θθᵀ − P‖² + w₃ ‖θᵀθ − C‖² + w₄ ‖AAᵀ − P‖²"


def _cells(data: View) -> Array:
    return jnp.ones_like(data.y[:, 0]) if data.weight is None else data.weight


def _inverse(size: Array) -> Array:
    return jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 1)


def _values(wanted: Any, params: Blocks, data: View) -> tuple[Array, ...]:
    """Return the four terms."""
    theta, a, cells = params.theta, params.A, _cells(data)
    known, alike, factor = wanted
    return (
        jnp.sum(cells[:, None] * (factor * data.y - a.T @ theta) ** 2),
        jnp.sum((theta @ theta.T - known) ** 2),
        jnp.sum((theta.T @ theta - alike) ** 2),
        jnp.sum((a @ (cells[:, None] * a.T) - known) ** 2),
    )


def begin(data: View, prior: PriorView, key: Array | None, terms: tuple) -> Blocks:
    """Return the scaled prior, and activities drawn from 0 to 1 (without a key, all 1), scaled."""
    theta = motif(data, prior, key, terms).theta
    a = jnp.ones((theta.shape[0], data.y.shape[0]), theta.dtype)
    if key is not None:
        a = jax.random.uniform(key, a.shape, a.dtype)
    cells = _cells(data)[None, :]
    a = jnp.where(jnp.any(prior.valid, axis=1)[:, None] & (cells > 0), a, 0)
    return Blocks(theta=theta, A=a * _inverse(jnp.sqrt(jnp.sum(cells * a**2))))
