"""Penalties that are not convex, or depend on the order of sizes: few edges."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.terms import Array, Blocks, PriorView, Regularizer, View, hard_threshold, pytree


@pytree
class L0(Regularizer):
    """cost times the number of edges; see `l0`."""

    cost: Array

    separable = "entries"

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return jnp.sum(jnp.where(params.theta != 0, self.price(params, data, prior), 0))

    def price(self, params: Blocks | None, data: View, prior: PriorView) -> Array:
        """Return the same price for every entry."""
        return jnp.full_like(prior.weight, 1) * self.cost

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Hard threshold."""
        return hard_threshold(v, step, self.price(params, data, prior))

    formula = property(lambda self: "η ‖θ‖₀")


def l0(cost: float) -> L0:
    """Price of every edge: R(theta) = cost #{j: theta_j != 0}.

    Not convex: solvers reach a stationary point, of which there may be many.

    Parameters
    ----------
    cost
        eta >= 0, in units of the loss per edge.

    References
    ----------
    Blumensath and Davies, J. Fourier Anal. Appl. 14 (2008) 629, doi:10.1007/s00041-008-9035-z.
    """
    return L0(check_number("cost", cost))
