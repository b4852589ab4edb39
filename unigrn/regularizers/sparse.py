"""Penalties that ask for few edges: a price, a concave penalty, one by the order of sizes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from unigrn.check import check_number
from unigrn.kernels import falling
from unigrn.terms import (
    Array,
    Blocks,
    PriorView,
    Regularizer,
    View,
    hard_threshold,
    pytree,
    soft_threshold,
)


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


@pytree
class MinimaxConcave(Regularizer):
    """The minimax concave penalty; see `minimax_concave`."""

    strength: Array
    bend: Array

    separable = "entries"

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        size = jnp.minimum(jnp.abs(params.theta), self.bend * self.strength)
        return jnp.sum(self.strength * size - size**2 / (2 * self.bend))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Firm threshold; from a step as long as the bend on, hard threshold."""
        lam, gamma, size = self.strength, self.bend, jnp.abs(v)
        short = step < gamma
        slope = jnp.where(short, 1 - step / gamma, 1)
        firm = jnp.where(size <= gamma * lam, soft_threshold(v, step * lam) / slope, v)
        hard = jnp.where(size > lam * jnp.sqrt(step * gamma), v, 0)
        return jnp.where(short, firm, hard)

    formula = property(lambda self: "Σⱼ MCP(θⱼ; λ, γ)")


def minimax_concave(strength: float, bend: float = 3.0) -> MinimaxConcave:
    """Minimax concave penalty (MCP): L1 at 0, flat beyond, so that large edges are not shrunk.

    R(theta) = sum_j lambda |theta_j| - theta_j^2 / (2 gamma) where |theta_j| <= gamma lambda, else
    gamma lambda^2 / 2. Its prox at a step t < gamma is the firm threshold

        soft(v, t lambda) / (1 - t / gamma) where |v| <= gamma lambda, else v,

    and for t >= gamma v where |v| > lambda sqrt(t gamma), else 0. Not convex: solvers reach a
    stationary point, of which there may be many.

    Parameters
    ----------
    strength
        lambda >= 0, in units of the loss per unit of theta.
    bend
        gamma > 0, in squared units of theta per unit of the loss: where 1 / gamma is below the
        least curvature of the loss, loss and penalty together are convex.

    References
    ----------
    Zhang, Ann. Stat. 38 (2010) 894, doi:10.1214/09-AOS729.
    """
    bend = check_number("bend", bend, strict=True)
    return MinimaxConcave(check_number("strength", strength), bend)


@pytree
class Slope(Regularizer):
    """Sorted L1 norm of each target; see `slope`."""

    strength: Array
    rate: Array

    separable = "targets"
    convex = True

    def _weights(self, prior: PriorView) -> Array:
        """Return lambda_1 >= lambda_2 >= ... of every target, 0 beyond its candidates."""
        valid = prior.valid
        dtype = prior.weight.dtype
        count = jnp.maximum(jnp.sum(valid.astype(dtype), axis=0, keepdims=True), 1)
        rank = jnp.arange(1, valid.shape[0] + 1, dtype=dtype)
        rank = jnp.broadcast_to(rank.reshape((-1,) + (1,) * (valid.ndim - 1)), valid.shape)
        top = ndtri(1 - self.rate / (2 * count))
        share = ndtri(1 - jnp.minimum(rank / count, 1) * self.rate / 2) / top
        return jnp.where(rank <= count, self.strength * share, 0).astype(dtype)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return jnp.sum(self._weights(prior) * -jnp.sort(-jnp.abs(params.theta), axis=0))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Sort the sizes, take the weights off, pool what rises, put negative means to 0."""
        order = jnp.argsort(-jnp.abs(v), axis=0)
        z = jnp.take_along_axis(jnp.abs(v), order, axis=0) - step * self._weights(prior)
        pooled = falling(z) if v.ndim == 1 else jax.vmap(falling, 1, 1)(z)
        back = jnp.take_along_axis(pooled, jnp.argsort(order, axis=0), axis=0)
        return jnp.sign(v) * jnp.maximum(back, 0)

    formula = property(lambda self: "Σₖ λₖ |θ|₍ₖ₎")


def slope(strength: float, rate: float = 0.1) -> Slope:
    """Sorted L1 norm (SLOPE): the larger a coefficient among its target's, the dearer.

    R(theta) = sum over targets of sum_k lambda_k |theta|_(k), |theta|_(1) >= |theta|_(2) >= ...,
    with the weights of Benjamini and Hochberg, of which the largest is ``strength``::

        lambda_k = strength Phi^-1(1 - k q / 2n) / Phi^-1(1 - q / 2n),

    n the number of the target's candidates. Candidates that are alike get like coefficients. The
    prox sorts, takes the weights off and pools adjacent violators.

    Parameters
    ----------
    strength
        lambda_1 >= 0, in units of the loss per unit of theta.
    rate
        q, between 0 and 1, both excluded: the rate of false discoveries that it aims at where the
        regulators are orthogonal.

    References
    ----------
    Bogdan et al., Ann. Appl. Stat. 9 (2015) 1103, doi:10.1214/15-AOAS842.
    """
    rate = check_number("rate", rate, strict=True)
    if not rate < 1:
        raise ValueError(f"rate must lie between 0 and 1, got {rate:g}")
    return Slope(check_number("strength", strength), rate)
