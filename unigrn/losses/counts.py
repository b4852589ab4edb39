"""Losses of counts and of genes that are on or off: Poisson, negative binomial, logistic."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from unigrn.check import check_number
from unigrn.losses.rows import cell_weights, curvature, fitted, weighted_sum
from unigrn.terms import Along, Array, Blocks, Loss, PriorView, View, along, pytree, static

COUNTS = (0.0, math.inf)


def _log_mean(params: Blocks, data: View, size: str | None) -> Array:
    """Return theta_0 + x theta + log s, like y; not a number in a cell without a size."""
    eta = fitted(params, data)
    if size is None:
        return eta
    sizes = jnp.asarray(data.extra[size], eta.dtype)
    known, counts = sizes > 0, cell_weights(data) > 0  # rows of padding have no size, nor weight
    log = jnp.where(known, jnp.log(jnp.where(known, sizes, 1)), jnp.where(counts, jnp.nan, 0))
    return eta + (log if eta.ndim == 1 else log[:, None])


def _sized(size: str | None) -> str:
    return "θ₀ + xᵢθ" if size is None else f"log {size}ᵢ + θ₀ + xᵢθ"


def _check_size(size: Any) -> str | None:
    if size is not None and not isinstance(size, str):
        raise ValueError(
            "size is the name of the sizes of the cells, which the data bring by "
            f"data.with_extra(name=...), got {type(size).__name__}"
        )
    return size


@pytree
class Poisson(Loss):
    """Negative log-likelihood of Poisson counts; see `poisson`."""

    size: str | None = static(default=None)

    blocks = ("intercept", "theta")
    separable = "targets"
    convex = True
    weighted = True
    outcome = COUNTS

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on rows."""
        eta = _log_mean(params, data, self.size)
        return weighted_sum(data, jnp.exp(eta) - data.y * eta + gammaln(data.y + 1))

    formula = property(lambda self: f"−Σᵢ wᵢ log Poisson(yᵢ; exp({_sized(self.size)}))")


def poisson(size: str | None = None) -> Poisson:
    """Negative log-likelihood of Poisson counts with a log link.

    L(theta, theta_0) = sum_i w_i [mu_i - y_i log mu_i + log y_i!],
    log mu_i = log s_i + theta_0 + x_i theta. The targets' expression are counts >= 0 (fractions
    pass, as in quasi-likelihood; a value below 0 is refused). The regulators enter as they are:
    give them as logarithms or as activities (a stage), or exp(x theta) leaves all bounds. Its
    curvature has no bound, so that it offers no lipschitz constant. Needs rows.

    Parameters
    ----------
    size
        Name of the sizes s_i > 0 of the cells (library sizes, say), one number a cell, which the
        data bring: ``data.with_extra(depth=...)`` and ``poisson("depth")``. None takes s_i = 1.

    References
    ----------
    McCullagh and Nelder, Generalized Linear Models (1989), doi:10.1201/9780203753736.
    """
    return Poisson(_check_size(size))


@pytree
class NegativeBinomial(Loss):
    """Negative log-likelihood of negative binomial counts; see `negative_binomial`."""

    dispersion: Array
    size: str | None = static(default=None)

    blocks = ("intercept", "theta")
    separable = "targets"
    convex = True
    weighted = True
    outcome = COUNTS

    def _shape(self, like: Array) -> Array:
        """Return r = 1 / alpha, like y."""
        shape = 1 / jnp.asarray(self.dispersion, like.dtype)
        return jnp.broadcast_to(shape, like.shape)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on rows."""
        r, y = self._shape(data.y), data.y
        eta = _log_mean(params, data, self.size) - jnp.log(r)
        constant = gammaln(r) + gammaln(y + 1) - gammaln(y + r)
        return weighted_sum(data, (y + r) * jax.nn.softplus(eta) - y * eta + constant)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """At most (y + r) / 4 times the curvature of X' W X, intercept included."""
        return 0.25 * jnp.max(data.y + self._shape(data.y)) * curvature(data)

    formula = property(lambda self: f"−Σᵢ wᵢ log NB(yᵢ; exp({_sized(self.size)}), α)")


def negative_binomial(dispersion: Any = 1.0, size: str | None = None) -> NegativeBinomial:
    """Negative log-likelihood of negative binomial counts with a log link and a given dispersion.

    With r = 1 / alpha and log mu_i = log s_i + theta_0 + x_i theta, of mean mu_i and variance
    mu_i + alpha mu_i^2::

        L(theta, theta_0) = sum_i w_i [(y_i + r) log(1 + mu_i / r) - y_i log(mu_i / r)
                                       + log(Gamma(r) Gamma(y_i + 1) / Gamma(y_i + r))].

    Convex in theta for a given alpha, with a curvature of at most (y_i + r) / 4 a cell. What is
    said of `poisson` about counts and regulators holds here too. Needs rows.

    Parameters
    ----------
    dispersion
        alpha > 0: one number, or one for each target (`unigrn.along`, or a Series by target).
    size
        Name of the sizes s_i > 0 of the cells, as in `poisson`.

    References
    ----------
    Robinson and Smyth, Biostatistics 9 (2008) 321, doi:10.1093/biostatistics/kxm030; Hafemeister
    and Satija, Genome Biol. 20 (2019) 296, doi:10.1186/s13059-019-1874-1.
    """
    if not isinstance(dispersion, Along) and hasattr(dispersion, "index"):
        dispersion = along(dispersion, "targets")
    if isinstance(dispersion, Along):
        low = float(jnp.min(jnp.asarray(dispersion.values)))
        check_number("dispersion", low, strict=True)
    else:
        dispersion = check_number("dispersion", dispersion, strict=True)
    return NegativeBinomial(dispersion, _check_size(size))


@pytree
class Logistic(Loss):
    """Negative log-likelihood of a gene being on; see `logistic`."""

    threshold: Array | None = None

    blocks = ("intercept", "theta")
    separable = "targets"
    convex = True
    weighted = True
    outcome = property(lambda self: (0.0, 1.0) if self.threshold is None else None)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on rows."""
        eta, on = fitted(params, data), data.y
        if self.threshold is not None:
            on = (data.y > self.threshold).astype(data.y.dtype)
        return weighted_sum(data, jax.nn.softplus(eta) - on * eta)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Return a quarter of the curvature of X' W X, intercept included."""
        return 0.25 * curvature(data)

    formula = property(
        lambda self: (
            "Σᵢ wᵢ [log(1 + exp ηᵢ) − yᵢ ηᵢ], η = θ₀ + xθ"
            if self.threshold is None
            else "Σᵢ wᵢ [log(1 + exp ηᵢ) − 1(yᵢ > c) ηᵢ], η = θ₀ + xθ"
        )
    )


def logistic(threshold: float | None = None) -> Logistic:
    """Logistic regression of whether a target is on.

    L(theta, theta_0) = sum_i w_i [log(1 + exp eta_i) - b_i eta_i], eta_i = theta_0 + x_i theta,
    b_i = 1 where y_i > ``threshold``, else 0. Where a combination of regulators separates the cells
    there is no minimum without a penalty: coefficients then grow until the slopes pass the
    tolerance. Needs rows.

    Parameters
    ----------
    threshold
        Expression above which a gene is on, in units of the target: 0 asks whether a count was
        seen. None takes y_i itself for b_i, a share between 0 and 1, and refuses other values.

    References
    ----------
    Cox, J. R. Stat. Soc. B 20 (1958) 215, doi:10.1111/j.2517-6161.1958.tb00292.x.
    """
    if threshold is not None:
        threshold = check_number("threshold", threshold, low=-math.inf)
    return Logistic(threshold)
