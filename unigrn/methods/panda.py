"""PANDA: messages between a network, interactions of its regulators and coexpression."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.methods.otter import as_score, correlations, known_of, of_names
from unigrn.prior import Prior
from unigrn.spec import Spec
from unigrn.terms import Array, Blocks, Iterates, Loss, PriorView, View, pytree


def panda(
    prior: Prior | None, interactions: Any = None, alpha: float = 0.1, tolerance: float = 1e-3
) -> Spec:
    """PANDA: pass messages between network, interactions and coexpression until they rest.

    With T(x, y)_ij = x_i y_j / sqrt(|x_i|^2 + |y_j|^2 - |x_i y_j|) of rows x_i and columns y_j,
    from W the prior's weights, P the interactions and C the correlations of the targets, each
    normalised to (z by column + z by row) / sqrt(2), in step t = 0, 1, ...

        V = (T(P, W) + T(W, C)) / 2,           W <- (1 - a) W + a V,
        P <- (1 - a) P + a S(W, W'),           C <- (1 - a) C + a S(W', W),

    the last two from the new W. S is T but for its diagonal: the standard deviation of the rest of
    the column, times the number of its entries and e^(2 a t). The last step is the first in which
    mean |W - V| was at most the tolerance. It is an iteration without an objective.

    Parameters
    ----------
    prior
        Edges with weights: where W starts.
    interactions
        Symmetric table of the regulators' interactions by name (a pandas DataFrame), or an array
        with axes (`unigrn.along`); None for the identity.
    alpha
        a, the share of the messages in a step, > 0 and at most 1.
    tolerance
        Of mean |W - V|, at which it rests.

    Notes
    -----
    Take it to refine a motif network by coexpression and interactions, as the published program
    does; it expects log-normalised values, three regulators and three targets at least, and a prior
    that does not name all edges alike. Nothing is minimised: there is no certificate of an optimum,
    and the status is "fixed point" where the map has come to rest. That it does is by construction,
    for the growing diagonals turn it into the identity; how soon they do is up to alpha and the
    tolerance, which so are part of the answer. W is dense, on the scale of z scores.

    References
    ----------
    Glass, Huttenhower, Quackenbush and Yuan, PLoS ONE 8 (2013) e64832,
    doi:10.1371/journal.pone.0064832.
    """
    alpha = check_number("alpha", alpha, strict=True)
    if alpha > 1:
        raise ValueError(f"alpha must be at most 1, got {alpha:g}")
    return Spec(
        loss=Messages(
            alpha, check_number("tolerance", tolerance, strict=True), of_names(interactions, False)
        ),
        prior=prior,
        name="panda",
        expects=("log",),
        start=normalised,
        columns=as_score,
        notes={
            "weight": "entry of the network, about as large as z scores; no edge where negative",
            "score": "the weight: the larger, the more likely the edge",
        },
    )


@pytree
class Messages(Loss):
    """The map of `panda`, of the blocks theta (W), interactions (P) and coexpression (C)."""

    alpha: Array
    tolerance: Array
    interactions: Any = None

    blocks = ("coexpression", "interactions", "theta")
    axes = {  # noqa: RUF012
        "coexpression": ("targets", "targets"),
        "interactions": ("regulators", "regulators"),
    }
    needs_prior = True
    separable = None
    weighted = True
    double = True  # when it comes to rest is decided by a threshold

    @property
    def iterates(self) -> Iterates:
        """One step of messages, and how far W is from what they say."""
        return Iterates(self.step, self.tolerance)

    def step(
        self, params: Blocks, number: Array, data: View, prior: PriorView
    ) -> tuple[Blocks, Array]:
        """Return W, P and C after the step, and mean |W - V|."""
        w, known, alike = params.theta, params.interactions, params.coexpression
        rows, columns = (jnp.any(prior.valid, axis=axis) for axis in (1, 0))
        said = (similar(known, w) + similar(w, alike)) / 2
        change = jnp.sum(jnp.abs(w - said)) / jnp.sum(rows).astype(w.dtype)
        change = change / jnp.sum(columns).astype(w.dtype)
        growth = jnp.exp(2 * self.alpha * number.astype(w.dtype))

        def mixed(old, new):
            return (1 - self.alpha) * old + self.alpha * new

        w = mixed(w, said)
        known = mixed(known, own_diagonal(similar(w, w.T), rows, growth))
        alike = mixed(alike, own_diagonal(similar(w.T, w), columns, growth))
        return Blocks(theta=w, interactions=known, coexpression=alike), change

    formula = property(lambda self: "θ ← (1 − α) θ + α (T(P, θ) + T(θ, C)) / 2, P and C likewise")


def similar(x: Array, y: Array) -> Array:
    """Return T(x, y) of the rows of x and the columns of y; 0 of two that are 0."""
    product = x @ y
    size = jnp.sum(x**2, axis=1)[:, None] + jnp.sum(y**2, axis=0)[None, :] - jnp.abs(product)
    return jnp.where(size == 0, 0, product / jnp.sqrt(jnp.where(size == 0, 1, size)))


def own_diagonal(x: Array, real: Array, growth: Array) -> Array:
    """Put the deviation of the rest of each column, times its size and growth, on the diagonal."""
    itself = jnp.eye(len(x), dtype=bool)
    rest = real[:, None] & real[None, :] & ~itself
    count = jnp.maximum(jnp.sum(rest, axis=0), 1).astype(x.dtype)
    mean = jnp.sum(jnp.where(rest, x, 0), axis=0) / count
    square = jnp.sum(jnp.where(rest, (x - mean[None, :]) ** 2, 0), axis=0) / count
    size = jnp.sqrt(square) * jnp.sum(real).astype(x.dtype) * growth
    return jnp.where(itself, jnp.where(real, size, 0)[None, :], x)


def normalised(data: View, prior: PriorView, key: Array, terms: tuple) -> Blocks:
    """Return W, P and C as they start: the sum of z scores by column and by row, over sqrt(2).

    In a row or column that is constant the z score over all entries serves; where all entries are
    alike there is none, and the start is not a number.
    """
    own = next((t for t in terms if isinstance(t, Messages)), None)
    if own is None:
        raise ValueError("the map of panda is no cost: it is not multiplied by a number")
    rows, columns = (jnp.any(prior.valid, axis=axis) for axis in (1, 0))
    alike = correlations(data)
    itself = jnp.diag(columns.astype(alike.dtype))
    return Blocks(
        theta=_standard(prior.weight, rows, columns),
        interactions=_standard(known_of(own.interactions, prior), rows, rows),
        coexpression=_standard(jnp.where(itself > 0, itself, alike), columns, columns),
    )


def _standard(x: Array, rows: Array, columns: Array) -> Array:
    """Normalise the entries that are no padding."""
    there = rows[:, None] & columns[None, :]

    def scores(axis):
        count = jnp.maximum(jnp.sum(there, axis, keepdims=True), 1).astype(x.dtype)
        mean = jnp.sum(jnp.where(there, x, 0), axis, keepdims=True) / count
        apart = jnp.where(there, x - mean, 0)
        deviation = jnp.sqrt(jnp.sum(apart**2, axis, keepdims=True) / count)
        most = jnp.max(jnp.where(there, jnp.abs(x), 0), axis, keepdims=True)
        flat = deviation <= 32 * jnp.finfo(x.dtype).eps * most
        return jnp.where(flat, jnp.nan, apart / jnp.where(flat, 1, deviation))

    every = scores(None)
    by_column, by_row = (jnp.where(jnp.isnan(z), every, z) for z in map(scores, (0, 1)))
    return jnp.where(there, (by_column + by_row) / jnp.sqrt(jnp.asarray(2, x.dtype)), 0)
