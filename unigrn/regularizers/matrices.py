"""Penalties of the network as a matrix."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.terms import Array, Blocks, PriorView, Regularizer, View, pytree


@pytree
class Nuclear(Regularizer):
    """Sum of the singular values of theta; see `nuclear`."""

    strength: Array

    separable = None
    convex = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        return self.strength * jnp.sum(jnp.linalg.svd(params.theta, compute_uv=False))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Soft threshold of the singular values."""
        left, size, right = jnp.linalg.svd(v, full_matrices=False)
        return (left * jnp.maximum(size - step * self.strength, 0)[None, :]) @ right

    formula = property(lambda self: "λ ‖θ‖_*")


def nuclear(strength: float) -> Nuclear:
    """Sum of the singular values: a network of low rank, few programmes that regulators drive.

    R(theta) = strength sum_k sigma_k(theta). It couples the targets. Its prox fills what a mask
    deletes, so that no rule joins it with one: beside `support` or `no_self` it is refused.

    Parameters
    ----------
    strength
        lambda >= 0, in units of the loss per unit of theta.

    References
    ----------
    Cai, Candes and Shen, SIAM J. Optim. 20 (2010) 1956, doi:10.1137/080738970.
    """
    return Nuclear(check_number("strength", strength))
