"""Losses of Bayesian models: an evidence, an expected likelihood."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.check import check_number, check_whole
from unigrn.losses.rows import cell_weights, centred_squares
from unigrn.losses.squares import Gaussian
from unigrn.terms import Array, Blocks, Loss, PriorView, Spread, View, pytree, static


@pytree
class GaussianEvidence(Loss):
    """Negative log evidence of a Gaussian linear model; see `gaussian_evidence`."""

    hyperprior: Array
    tolerance: Array
    max_iterations: int = static(default=300)

    blocks = ("noise_precision", "theta", "weight_precision")
    separable = "targets"
    weighted = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate the joint objective in (theta, a, l)."""
        m, a, lam, h = (
            data.moments,
            params.noise_precision,
            params.weight_precision,
            self.hyperprior,
        )
        theta = params.theta
        rss = theta @ m.gram @ theta - 2 * m.cross @ theta + m.square
        k = jnp.sum(prior.valid.astype(theta.dtype))
        e = jnp.maximum(jnp.linalg.eigvalsh(m.gram), 0)
        # Padded entries have eigenvalue 0 and would add log l each.
        logdet = jnp.sum(jnp.log(a * e + lam)) - (e.shape[0] - k) * jnp.log(lam)
        return (
            a * rss
            + lam * theta @ theta
            + logdet
            - m.count * jnp.log(a)
            - k * jnp.log(lam)
            + 2 * h * (a + lam)
            - 2 * h * (jnp.log(a) + jnp.log(lam))
        )

    def evidence(self) -> tuple[Array, Array, int]:
        """Return the hyperprior, the stopping tolerance and the cap on iterations."""
        return self.hyperprior, self.tolerance, self.max_iterations

    @property
    def formula(self) -> str:
        """The loss as text."""
        return "a ‖y − θ₀ − xθ‖² + l ‖θ‖² + log|a x'x + l I| − n log a − k log l + hyperpriors"


def gaussian_evidence(
    hyperprior: float = 1e-6, tolerance: float = 1e-3, max_iterations: int = 300
) -> GaussianEvidence:
    """Type-II likelihood of a Gaussian linear model with a common prior on the coefficients.

    y ~ N(theta_0 + x theta, 1/a), theta ~ N(0, 1/l), a and l ~ Gamma(h, h). The loss is twice the
    negative log posterior of (theta, a, l) plus the log-determinant that integrates theta out::

        J = a |y - x theta|^2 + l |theta|^2 + log det(a x'x + l I) - n log a - k log l
            + 2h (a + l) - 2h (log a + log l)

    so that min over theta of J is twice the negative log evidence. Its stationarity conditions in
    a and l are the fixed-point updates of evidence maximisation, a solver of its own.
    Sources: MacKay, Neural Comput. 4 (1992) 415, doi:10.1162/neco.1992.4.3.415; Tipping, J. Mach.
    Learn. Res. 1 (2001) 211.

    Parameters
    ----------
    hyperprior
        h > 0, shape and rate of both Gamma priors: it keeps the noise precision of an exact fit or
        a constant target finite.
    tolerance
        Stop when sum |theta_new - theta_old| falls below it (an absolute test, in units of theta).
    max_iterations
        Cap on the number of updates.
    """
    hyperprior = check_number("hyperprior", hyperprior, strict=True)
    tolerance = check_number("tolerance", tolerance)
    return GaussianEvidence(
        hyperprior, tolerance, check_whole("max_iterations", max_iterations, low=1)
    )


@pytree
class ExpectedGaussian(Loss):
    """Expected Gaussian negative log-likelihood; see `expected_gaussian`."""

    variance: Array | None = None
    draws: int = static(default=0)

    blocks = ("log_variance", "theta")
    separable = "targets"
    weighted = True
    noisy = property(lambda self: True if self.draws else None)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate exactly, on moments or rows, or by draws of theta on rows."""
        if data.moments is not None and not self.draws:
            found = self._spread(data, prior)
            mean = found.quadratic.value(params.theta, data.moments)
            spread = jnp.where(prior.valid, jnp.exp(params.log_variance), 0)
            return mean + jnp.sum(found.rate * spread)
        weight = cell_weights(data)
        variance, count = Gaussian(self.variance).of_rows(data)
        constant = 0.5 * count * jnp.log(2 * math.pi * variance)
        spread = jnp.where(prior.valid, jnp.exp(params.log_variance), 0)
        if not self.draws:
            mean = weight @ data.x / count
            gram = weight @ (data.x - mean[None, :]) ** 2  # its diagonal
            squares, _ = centred_squares(data, data.x @ params.theta, True)
            own = gram if spread.ndim == 1 else gram[:, None]
            squares = squares + jnp.sum(own * spread, axis=0)
        else:
            noise = jax.random.normal(data.key, (self.draws, *spread.shape), spread.dtype)
            theta = params.theta[None] + jnp.sqrt(spread)[None] * noise
            drawn = jax.vmap(lambda t: centred_squares(data, data.x @ t, True)[0])(theta)
            squares = jnp.mean(drawn, axis=0)
        return jnp.sum(squares / (2 * variance) + constant)

    @property
    def spread(self) -> Any:
        """The quadratic of theta and the price G_jj / 2 s^2 of every variance; None with draws."""
        return None if self.draws else self._spread

    def _spread(self, data: View, prior: PriorView) -> Spread:
        mean, m = Gaussian(self.variance).quadratic(data, prior), data.moments
        own = jnp.diagonal(m.gram) if m.own is None else m.own
        return Spread(mean, mean.scale * own, jnp.zeros_like(own))

    @property
    def formula(self) -> str:
        """The loss as text."""
        return "E_q Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)² / 2s² + ½ W log 2πs²"


def expected_gaussian(variance: float | None = None, draws: int = 0) -> ExpectedGaussian:
    """Negative expected log-likelihood of Gaussian noise under a mean-field posterior.

    L = -E_q log N(y; theta_0 + x theta, s^2) with q = prod_j N(theta_j, v_j): the first half of a
    negative ELBO. The parameters are the posterior means ``theta`` and the block ``log_variance``,
    log v_j. On centred data (theta_0 has a flat prior) it is, with the moments G of x,

        (|y - x theta|^2 + sum_j v_j G_jj) / (2 s^2) + (W / 2) log(2 pi s^2).

    Parameters
    ----------
    variance
        s^2 > 0, in squared units of the target; None takes each target's own weighted variance.
    draws
        0 evaluates the expectation exactly; R > 0 by R draws theta + sqrt(v) e, e ~ N(0, 1), fresh
        at every step: the form for likelihoods that have no closed expectation.

    References
    ----------
    Blei, Kucukelbir and McAuliffe, J. Am. Stat. Assoc. 112 (2017) 859,
    doi:10.1080/01621459.2017.1285773; Kingma and Welling, ICLR (2014), arXiv:1312.6114.
    """
    if variance is not None:
        variance = check_number("variance", variance, strict=True)
    return ExpectedGaussian(variance, check_whole("draws", draws))
