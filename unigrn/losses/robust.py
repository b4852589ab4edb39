"""Losses that large residuals move little."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.losses.rows import cell_weights, curvature
from unigrn.terms import Array, Blocks, Loss, PriorView, View, pytree


@pytree
class Huber(Loss):
    """Huber's robust loss; see `huber`."""

    delta: Array

    blocks = ("intercept", "theta")
    separable = "targets"
    convex = True
    weighted = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on rows."""
        weight = cell_weights(data)
        fitted = data.x @ params.theta
        r = jnp.abs(data.y - fitted - jnp.broadcast_to(params.intercept, fitted.shape))
        inner = jnp.minimum(r, self.delta)
        value = inner * (2 * r - inner)
        return jnp.sum(weight * value if value.ndim == 1 else weight[:, None] * value)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """As for least squares: the curvature is at most 2 X' W X, intercept included."""
        return 2 * curvature(data)

    @property
    def formula(self) -> str:
        """The loss as text."""
        return "Σᵢ wᵢ huber_δ(yᵢ − θ₀ − xᵢθ)"


def huber(delta: float = 1.0) -> Huber:
    """Huber's robust loss: quadratic near 0, linear beyond ``delta``.

    L(theta, theta_0) = sum_i w_i h(y_i - theta_0 - x_i theta), h(r) = r^2 for |r| <= delta, else
    2 delta |r| - delta^2. Needs rows: it has no moments. Source: Huber, Ann. Math. Statist. 35
    (1964) 73, doi:10.1214/aoms/1177703732.

    Parameters
    ----------
    delta
        Where it turns linear, in units of the target, > 0.
    """
    return Huber(check_number("delta", delta, strict=True))
