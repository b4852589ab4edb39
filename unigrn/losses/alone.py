"""Losses in which candidates do not meet: simple regressions, distance to the prior."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.losses.rows import cell_weights
from unigrn.terms import Array, Blocks, Loss, PriorView, Quadratic, View, pytree


@pytree
class MarginalSquares(Loss):
    """One regression for every candidate alone; see `marginal_squares`."""

    separable = "targets"
    convex = True
    weighted = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on moments where they are at hand, otherwise on rows."""
        if data.moments is not None:
            return self.quadratic(data, prior).value(params.theta, data.moments)
        weight, theta = cell_weights(data), params.theta
        x, y = (v - (weight @ v / jnp.sum(weight))[None] for v in (data.x, data.y))
        own, square = weight @ x**2, weight @ y**2
        if theta.ndim == 2:
            own, square = own[:, None], square[None]
        column = weight if y.ndim == 1 else weight[:, None]
        squares = square + own * theta**2 - 2 * theta * (x.T @ (column * y))
        return jnp.sum(jnp.where(prior.valid, squares, 0))

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return the diagonal of the moments: candidates do not meet."""
        m = data.moments
        own = m.own if m.gram is None else jnp.diagonal(m.gram)
        own = jnp.broadcast_to(own if m.cross.ndim == 1 else own[:, None], m.cross.shape)
        square = m.square if m.cross.ndim == 1 else m.square[None]
        constant = jnp.sum(jnp.where(prior.valid, square, 0))
        return Quadratic(None, jnp.where(prior.valid, own, 0), constant, m.cross)

    formula = property(lambda self: "Σⱼ Σᵢ wᵢ (yᵢ − θ₀ⱼ − xᵢⱼ θⱼ)²")


def marginal_squares() -> MarginalSquares:
    """Residual sum of squares of one regression for every candidate on its own.

    L(theta) = sum_j min over theta_0j of sum_i w_i (y_i - theta_0j - x_ij theta_j)^2: the least is
    at the simple regression coefficients, whatever the other candidates. Of the moments it needs
    the diagonal only.

    Examples
    --------
    >>> print(marginal_squares().formula)
    Σⱼ Σᵢ wᵢ (yᵢ − θ₀ⱼ − xᵢⱼ θⱼ)²
    """
    return MarginalSquares()


@pytree
class PriorSquares(Loss):
    """Distance to the prior's weights; see `prior_squares`."""

    separable = "entries"
    convex = True
    weighted = True  # weights of cells change nothing
    needs_prior = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Add up squared distances."""
        return jnp.sum(jnp.where(prior.valid, (params.theta - _signed(prior)) ** 2, 0))

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return (theta - P)^2, entry by entry."""
        mean = jnp.where(prior.valid, _signed(prior), 0)
        one = prior.valid.astype(mean.dtype)
        return Quadratic(None, one, jnp.sum(mean**2), mean)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Twice the curvature 1."""
        return 2 * jnp.ones((), prior.weight.dtype)

    formula = property(lambda self: "‖θ − P‖²")


def _signed(prior: PriorView) -> Array:
    return prior.weight * jnp.where(prior.sign == 0, 1, prior.sign).astype(prior.weight.dtype)


def prior_squares() -> PriorSquares:
    """Squared distance of theta to the prior's signed weights; no cell enters.

    L(theta) = sum_j (theta_j - P_j)^2, P the prior's weight with its sign (plus where it has none).
    """
    return PriorSquares()
