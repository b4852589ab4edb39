"""Laplacians: neighbours in a graph are regulated alike."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.terms import Array, Blocks, PriorView, Regularizer, View, pytree, static


@pytree
class Laplacian(Regularizer):
    """kappa sum over pairs of targets; see `laplacian`."""

    strength: Array
    threshold: Array
    signed: bool = static(default=True)
    matrix: Array = None  # worked out by `prepare`

    separable = None
    convex = True

    def prepare(self, data: View, prior: PriorView) -> Laplacian:
        """Work out the Laplacian of the targets, (p, p)."""
        if self.matrix is not None:
            return self
        weight = jnp.ones_like(data.y[:, 0]) if data.weight is None else data.weight
        weight = weight[:, None]
        centred = data.y - jnp.sum(weight * data.y, axis=0, keepdims=True) / jnp.sum(weight)
        centred = centred * jnp.sqrt(weight)
        length = jnp.sqrt(jnp.sum(centred**2, axis=0, keepdims=True))
        size = jnp.sqrt(jnp.sum(weight * data.y**2, axis=0, keepdims=True))
        flat = length <= 1e3 * jnp.finfo(data.y.dtype).eps * size  # a constant target has no kin
        unit = jnp.where(flat, 0, centred / jnp.where(flat, 1, length))
        alike = unit.T @ unit
        kin = jnp.abs(alike) > self.threshold
        kin = kin & jnp.logical_not(jnp.eye(kin.shape[0], dtype=bool))
        pull = jnp.where(kin, alike if self.signed else jnp.abs(alike), 0)
        matrix = jnp.diag(jnp.sum(jnp.abs(pull), axis=0)) - pull
        return Laplacian(self.strength, self.threshold, self.signed, matrix)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        matrix = self.prepare(data, prior).matrix
        return self.strength * jnp.sum(params.theta * (params.theta @ matrix))

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Twice kappa times the largest row sum, which bounds the largest eigenvalue."""
        matrix = self.prepare(data, prior).matrix
        return 2 * self.strength * jnp.max(jnp.sum(jnp.abs(matrix), axis=1))

    formula = property(
        lambda self: (
            "κ Σ |w_gh| ‖θ_g − sign(w_gh) θ_h‖²" if self.signed else "κ Σ w_gh ‖θ_g − θ_h‖²"
        )
    )


def laplacian(strength: float, threshold: float = 0.95, signed: bool = True) -> Laplacian:
    """Targets that are expressed alike are regulated alike.

    R(theta) = kappa tr(theta L theta') = kappa sum_{g < h} |w_gh| |theta_g - sign(w_gh) theta_h|^2
    over pairs of targets, w_gh their correlation where |w_gh| > threshold, else 0; L = D - W with
    D_g = sum_h |w_gh|. With ``signed=False`` w is |correlation|. Either L is positive semidefinite;
    with signed w and D_g = sum_h w_gh it would not be.

    Parameters
    ----------
    strength
        kappa >= 0.
    threshold
        Between 0 and 1.
    signed
        Whether targets of opposite expression are pulled to opposite coefficients, or to the same.

    References
    ----------
    Wang et al., Nat. Commun. 9 (2018) 4061 (NetREX); Kunegis et al., SIAM SDM (2010) 559,
    doi:10.1137/1.9781611972801.49 (signed Laplacian).
    """
    threshold = check_number("threshold", threshold)
    if threshold > 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold:g}")
    return Laplacian(check_number("strength", strength), threshold, bool(signed))
