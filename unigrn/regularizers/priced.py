"""What penalties share that are a price of every |theta_j|."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.terms import Array, Blocks, PriorView, Regularizer, View, soft_threshold


class Priced(Regularizer):
    """sum_j c_j |theta_j|, with the prices c of `absolute`."""

    separable = "entries"
    convex = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return jnp.sum(self.absolute(data, prior) * jnp.abs(params.theta))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Soft threshold, entry by entry."""
        return soft_threshold(v, step * self.absolute(data, prior))


def linear_share(weight: Array, bias: Array) -> Array:
    """Share of the full price: 1 without evidence, ``bias`` at weight 1 and more."""
    return 1 - (1 - bias) * jnp.minimum(weight, 1)
