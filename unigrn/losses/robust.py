"""Losses that large residuals move little."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.losses.rows import curvature, fitted, weighted_sum
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
        r = jnp.abs(data.y - fitted(params, data))
        inner = jnp.minimum(r, self.delta)
        value = inner * (2 * r - inner)
        return weighted_sum(data, value)

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


@pytree
class Quantile(Loss):
    """Smoothed quantile loss; see `quantile`."""

    level: Array
    width: Array

    blocks = ("intercept", "theta")
    separable = "targets"
    convex = True
    weighted = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on rows."""
        r = data.y - fitted(params, data)
        near = jnp.clip(r / self.width, self.level - 1, self.level)  # the slope
        return weighted_sum(data, near * r - 0.5 * self.width * near**2)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Return the curvature of X' W X over h: the slope of rho turns by at most 1 / h."""
        return curvature(data) / self.width

    formula = property(lambda self: "Σᵢ wᵢ ρ_τ,h(yᵢ − θ₀ − xᵢθ)")


def quantile(level: float = 0.5, width: float = 0.1) -> Quantile:
    """Quantile regression, its kink rounded over a width: coefficients of the level-th quantile.

    L(theta, theta_0) = sum_i w_i rho(y_i - theta_0 - x_i theta), rho the Moreau envelope with
    parameter h = ``width`` of the check function max(tau r, (tau - 1) r)::

        rho(r) = max over tau - 1 <= s <= tau of  s r - h s^2 / 2,

    which is r^2 / (2h) for h (tau - 1) <= r <= h tau and a line beyond. It lies below the check
    function by at most h max(tau, 1 - tau)^2 / 2 a cell, so that its minimum is that close to the
    exact one. The kinked function itself has no prox in theta and no gradient: no solver takes it,
    and a width of 0 is refused. Needs rows: it has no moments.

    Parameters
    ----------
    level
        tau, between 0 and 1, both excluded; 0.5 is the median.
    width
        h > 0, in units of the target.

    References
    ----------
    Koenker and Bassett, Econometrica 46 (1978) 33, doi:10.2307/1913643; Zheng, Int. J. Mach.
    Learn. Cybern. 2 (2011) 191, doi:10.1007/s13042-011-0031-2 (smoothing).
    """
    level = check_number("level", level, strict=True)
    if not level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level:g}")
    return Quantile(level, check_number("width", width, strict=True))
