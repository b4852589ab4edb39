"""Penalties that follow the prior's evidence, entry by entry."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.terms import Array, Blocks, PriorView, Regularizer, View, pytree, soft_threshold, static


@pytree
class PriorL1(Regularizer):
    """L1 whose weight falls with the prior's evidence; see `prior_l1`."""

    strength: Array
    bias: Array
    layer: str | None = static(default=None)

    needs_prior = True
    separable = "entries"
    convex = True

    def absolute(self, data: View, prior: PriorView) -> Array:
        """Return strength (1 - (1 - bias) min(weight, 1))."""
        weight = prior.weight if self.layer is None else prior.layers[self.layer]
        return self.strength * (1 - (1 - self.bias) * jnp.minimum(weight, 1))

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return jnp.sum(self.absolute(data, prior) * jnp.abs(params.theta))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Soft threshold, entry by entry."""
        return soft_threshold(v, step * self.absolute(data, prior))

    formula = property(lambda self: "λ Σⱼ (1 − (1 − b) min(Pⱼ, 1)) |θⱼ|")


def prior_l1(strength: float, bias: float = 0.5, layer: str | None = None) -> PriorL1:
    """L1 that is cheaper where the prior has evidence.

    R(theta) = strength sum_j (1 - (1 - bias) min(P_j, 1)) |theta_j|, P the prior's weight: full
    price without evidence, ``bias`` times the price at weight 1 or more.

    Parameters
    ----------
    strength
        lambda >= 0.
    bias
        Between 0 (prior edges are free) and 1 (the prior is ignored).
    layer
        Name of one layer of evidence; None takes the sum over layers.

    References
    ----------
    Studham et al., Bioinformatics 30 (2014) i130, doi:10.1093/bioinformatics/btu285; Miraldi et
    al., Genome Res. 29 (2019) 449, doi:10.1101/gr.238253.118.
    """
    strength, bias = check_number("strength", strength), check_number("bias", bias)
    if bias > 1:
        raise ValueError(f"bias must lie between 0 and 1, got {bias:g}")
    return PriorL1(strength, bias, layer)
