"""Gaussian prior densities of theta, and the divergence from one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.terms import (
    Array,
    Blocks,
    PriorView,
    Quadratic,
    Regularizer,
    Spread,
    Squares,
    View,
    pytree,
)


class _Widths(Regularizer):
    """A Gaussian prior on theta, wider where the prior has evidence."""

    on: Array
    off: Array
    measured: Any

    needs_prior = True

    def variance(self, prior: PriorView) -> Array:
        """Return t_j^2: ``on`` where the prior names the edge, or did not look, else ``off``."""
        wide = prior.support
        if self.measured is not None:
            wide = wide | ~self.measured(prior)
        return jnp.where(wide, self.on, self.off).astype(prior.weight.dtype)


@pytree
class GaussianPrior(_Widths):
    """Negative log density of a Gaussian prior; see `gaussian_prior`."""

    on: Array
    off: Array
    measured: Any = None

    separable = "entries"
    convex = True
    kink = False
    linear = ("theta",)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate at real entries."""
        t2 = self.variance(prior)
        each = 0.5 * params.theta**2 / t2 + 0.5 * jnp.log(2 * math.pi * t2)
        return jnp.sum(jnp.where(prior.valid, each, 0))

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return the diagonal 1 / (2 t^2)."""
        t2 = self.variance(prior)
        constant = jnp.sum(jnp.where(prior.valid, 0.5 * jnp.log(2 * math.pi * t2), 0))
        return Quadratic(None, 0.5 / t2, constant)

    def squares(self, block: str, params: Blocks, data: View, prior: PriorView) -> Squares:
        """Residuals theta / t with the target 0, weighted entry by entry."""
        t2 = self.variance(prior)
        unit = jnp.eye(t2.shape[0], dtype=t2.dtype)
        # Padding has no weight: it would lengthen the norms that set the steps.
        return Squares(unit, jnp.zeros_like(t2), jnp.where(prior.valid, 0.5 / t2, 0))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Return v / (1 + t / t_j^2)."""
        return v / (1 + step / self.variance(prior))

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Return the largest 1 / t^2."""
        return 1 / jnp.minimum(self.on, self.off)

    formula = property(lambda self: "Σⱼ θⱼ² / 2t²(Pⱼ) + ½ log 2πt²(Pⱼ)")


def gaussian_prior(
    on: float = 1.0, off: float = 0.01, measured: Callable[[PriorView], Array] | None = None
) -> GaussianPrior:
    """Negative log density of theta_j ~ N(0, t_j^2), wider where the prior names the edge.

    R(theta) = sum_j theta_j^2 / (2 t_j^2) + log(2 pi t_j^2) / 2.

    Parameters
    ----------
    on, off
        t^2 > 0 of edges that the prior names and of those it does not.
    measured
        Which entries the prior looked at, a function of the prior as a term sees it, such as
        `unigrn.processes.measured`: others have t^2 = on. None: it looked at all.
    """
    on, off = (check_number(n, v, strict=True) for n, v in (("on", on), ("off", off)))
    return GaussianPrior(on, off, measured)


@pytree
class KlGaussian(_Widths):
    """Kullback-Leibler divergence to a Gaussian prior; see `kl_gaussian`."""

    on: Array
    off: Array
    measured: Any = None

    blocks = ("log_variance", "theta")
    separable = "targets"

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate at real entries."""
        t2, s = self.variance(prior), params.log_variance
        each = 0.5 * ((jnp.exp(s) + params.theta**2) / t2 - 1 - s + jnp.log(t2))
        return jnp.sum(jnp.where(prior.valid, each, 0))

    def spread(self, data: View, prior: PriorView) -> Spread:
        """Return 1 / (2 t^2) of squares and of variances, and a half of every log variance."""
        t2 = self.variance(prior)
        constant = jnp.sum(jnp.where(prior.valid, 0.5 * jnp.log(t2) - 0.5, 0))
        live = jnp.where(prior.valid, 0.5, 0).astype(t2.dtype)
        return Spread(Quadratic(None, 0.5 / t2, constant), live / t2, live)

    formula = property(lambda self: "KL(N(θ, v) ‖ N(0, t²(P)))")


def kl_gaussian(
    on: float = 1.0, off: float = 0.01, measured: Callable[[PriorView], Array] | None = None
) -> KlGaussian:
    """Divergence of the mean-field posterior N(theta_j, v_j) from the prior N(0, t_j^2).

    KL = sum_j [(v_j + theta_j^2) / t_j^2 - 1 - log(v_j / t_j^2)] / 2: the second half of a negative
    ELBO. Parameters as in `gaussian_prior`.
    """
    on, off = (check_number(n, v, strict=True) for n, v in (("on", on), ("off", off)))
    return KlGaussian(on, off, measured)
