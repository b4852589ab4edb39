"""Pulls: towards a given network, or towards the signs of the prior."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from unigrn.check import check_number, listed
from unigrn.terms import (
    Along,
    Array,
    Blocks,
    PriorView,
    Quadratic,
    Regularizer,
    View,
    along,
    pytree,
    soft_threshold,
)


def coefficients(network: Any) -> Along:
    """Return a given network as an array (regulators, targets), 0 where it has no edge.

    Parameters
    ----------
    network
        A table of edges (source, target, weight), something with such a table in ``.edges`` (a
        `unigrn.Network`), a DataFrame of regulators x targets, or a `unigrn.along` array.
    """
    if isinstance(network, Along):
        return network
    table = getattr(network, "edges", network)
    if not (hasattr(table, "columns") and hasattr(table, "to_numpy")):
        raise ValueError(
            "a network is a table of edges (source, target, weight), a DataFrame of regulators x "
            f"targets or a unigrn.Network, got {type(network).__name__}"
        )
    if {"source", "target", "weight"} <= set(table.columns):
        twice = table.duplicated(["source", "target"])
        if twice.any():
            several = "of one group" if "group" in table.columns else "once"
            pairs = [f"{a} -> {b}" for a, b in table[twice][["source", "target"]].to_numpy()]
            raise ValueError(
                f"an edge of the network is given {several}, got several weights for "
                f"{listed(pairs, 3)}"
            )
        table = table.pivot(index="source", columns="target", values="weight").fillna(0.0)
    values = table.to_numpy(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the weights of the network must be finite numbers, got others")
    names = [list(map(str, table.index)), list(map(str, table.columns))]
    return along(values, "regulators", "targets", names=names, fill=0.0)


class _Towards(Regularizer):
    """A distance from a given network."""

    strength: Array
    centre: Array

    separable = "entries"
    convex = True

    def _centre(self, prior: PriorView) -> Array:
        centre = jnp.asarray(self.centre, prior.weight.dtype)
        return jnp.where(prior.valid, jnp.broadcast_to(centre, prior.weight.shape), 0)


@pytree
class SquaredPull(_Towards):
    """Squared distance from a given network; see `pull`."""

    strength: Array
    centre: Array

    kink = False

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return self.strength * jnp.sum((params.theta - self._centre(prior)) ** 2)

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return the diagonal lambda, and what is linear."""
        centre = self._centre(prior)
        return Quadratic(
            None,
            jnp.full_like(centre, 1) * self.strength,
            self.strength * jnp.sum(centre**2),
            self.strength * centre,
        )

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Return (v + 2 t lambda N) / (1 + 2 t lambda)."""
        pull = 2 * step * self.strength
        return (v + pull * self._centre(prior)) / (1 + pull)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Return 2 lambda."""
        return 2 * self.strength

    formula = property(lambda self: "λ ‖θ − N‖²")


@pytree
class AbsolutePull(_Towards):
    """Absolute distance from a given network; see `pull`."""

    strength: Array
    centre: Array

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return self.strength * jnp.sum(jnp.abs(params.theta - self._centre(prior)))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Soft threshold around the network."""
        centre = self._centre(prior)
        return centre + soft_threshold(v - centre, step * self.strength)

    formula = property(lambda self: "λ ‖θ − N‖₁")


def pull(strength: float, network: Any, absolute: bool = False) -> SquaredPull | AbsolutePull:
    """Pull towards a given network N, such as one of another tissue, species or method.

    R(theta) = strength sum_j (theta_j - N_j)^2, or strength sum_j |theta_j - N_j|, over the
    candidates: the latter keeps most coefficients at those of N, and changes few.

    Parameters
    ----------
    strength
        lambda >= 0, in units of the loss per squared unit of theta, or per unit of theta.
    network
        A table of edges (source, target, weight) of one group, a `unigrn.Network`, or a DataFrame
        of regulators x targets, in units of theta. Edges that it lacks are 0.
    absolute
        Absolute in place of squared distances.

    Raises
    ------
    ValueError
        No such table, an edge given twice; a network with none of the regulators, or none of the
        targets, of the problem (when it is bound).

    References
    ----------
    Li and Li, Ann. Appl. Stat. 4 (2010) 1498, doi:10.1214/10-AOAS332 (penalties from known
    networks); Li, Cai and Li, J. R. Stat. Soc. B 84 (2022) 149, doi:10.1111/rssb.12479 (transfer).
    """
    kind = AbsolutePull if absolute else SquaredPull
    return kind(check_number("strength", strength), coefficients(network))


@pytree
class SquaredHinge(Regularizer):
    """Squared hinge on the signs of the prior; see `squared_hinge`."""

    strength: Array
    margin: Array

    needs_prior = True
    separable = "entries"
    convex = True
    kink = False

    def _short(self, v: Array, prior: PriorView) -> Array:
        """By how much an entry falls short of the margin on the side of its sign."""
        sign = prior.sign.astype(v.dtype)
        return jnp.where(sign != 0, jnp.maximum(self.margin - sign * v, 0), 0)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return self.strength * jnp.sum(self._short(params.theta, prior) ** 2)

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Make up for the share 2 t lambda / (1 + 2 t lambda) of what is short."""
        pull = 2 * step * self.strength
        return v + prior.sign.astype(v.dtype) * self._short(v, prior) * pull / (1 + pull)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Return 2 lambda."""
        return 2 * self.strength

    formula = property(lambda self: "λ Σⱼ max(0, m − sⱼθⱼ)²")


def squared_hinge(strength: float, margin: float = 0.0) -> SquaredHinge:
    """Squared hinge on signs: edges are pulled to the side of the prior's sign, without a bar.

    R(theta) = strength sum over edges with a sign s_j of max(0, margin - s_j theta_j)^2. With a
    margin of 0 it is the soft form of `unigrn.sign`; with a margin above 0 it learns theta from
    signed edges alone. It reads no expression, and so stands among the regularizers: beside any
    loss, on moments too, and in bags of cells.

    Parameters
    ----------
    strength
        lambda >= 0, in units of the loss per squared unit of theta.
    margin
        m >= 0, in units of theta: how far on its side an edge is left alone.

    References
    ----------
    Chang, Hsieh and Lin, J. Mach. Learn. Res. 9 (2008) 1369 (the L2 loss of support vectors).
    """
    return SquaredHinge(check_number("strength", strength), check_number("margin", margin))
