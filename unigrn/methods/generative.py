"""Methods whose network is part of a generative process: the loss is a negative ELBO."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri

from unigrn.constraints import no_self, support
from unigrn.losses import expected_gaussian, gaussian
from unigrn.prior import Prior
from unigrn.processes.evidence import measured
from unigrn.processes.posterior import NOTES, TAIL
from unigrn.regularizers import KlGaussian, gaussian_prior, kl_gaussian
from unigrn.spec import Spec
from unigrn.terms import Array, Blocks, PriorView, View

MASKS, FORMS = ("hard", "soft", "data"), ("variational", "map")


def linear_gaussian(
    prior: Prior | None,
    noise_variance: float | None = None,
    on: float = 1.0,
    off: float = 0.01,
    mask: str = "soft",
    form: str = "variational",
    draws: int = 0,
) -> Spec:
    """Linear-Gaussian model of each target with a mean-field posterior.

    y ~ N(theta_0 + x theta, s^2), theta_j ~ N(0, t_j^2), q = prod_j N(theta_j, v_j):
    min  -E_q log p(y | x, theta) + KL(q || p(theta | P))  = -ELBO. A soft prior sets the width
    t_j^2, ``on`` where it names the edge and ``off`` elsewhere; a hard one is the support.
    ``weight`` is the posterior mean, ``variance`` v_j. With correlated regulators the mean is
    exact and v_j is too small, as mean-field variances are.

    Parameters
    ----------
    prior
        Candidate edges.
    noise_variance
        s^2 of every target; None takes each target's own variance in the group.
    on, off
        Prior variance of edges that the prior names, and of the others (soft mask only), in
        squared units of the coefficients.
    mask
        "soft" or "hard"; or "data": theta_j ~ N(0, on) of every edge, and as data of its own
        0 ~ N(theta_j, e), 1 / e = 1 / off - 1 / on, where regulator and target each have an edge in
        the prior, but not this one. There it is the soft prior; of other pairs nothing is known.
    form
        "variational", or "map": the posterior mode, which is a ridge with alpha_j = s^2 / t_j^2.
    draws
        0: the expectation in closed form. R > 0: by R draws at each step, with stochastic
        gradients.

    Notes
    -----
    Take it where the prior is a belief, not a mask: edges off the prior are possible and shrunk
    harder, and every weight has a variance. It expects log-normalised values or log ratios; every
    gene is scaled.

    References
    ----------
    Blei, Kucukelbir and McAuliffe, J. Am. Stat. Assoc. 112 (2017) 859,
    doi:10.1080/01621459.2017.1285773.
    """
    if mask not in MASKS:
        raise ValueError(f"mask must be one of {', '.join(MASKS)}, got {mask!r}")
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    seen = measured(prior) if mask == "data" else None
    if seen is not None and off >= on:
        raise ValueError(f"mask='data' needs off < on, got off={off:g} and on={on:g}")
    spec = Spec(
        loss=gaussian(noise_variance),
        regularizer=gaussian_prior(on, off, seen),
        constraint=support() + no_self() if mask == "hard" else no_self(),
        prior=prior,
        name="linear_gaussian",
        expects=("log",),
        scale="both",
        notes={
            "weight": "posterior mean, in standard deviations of the target per standard "
            "deviation of the regulator"
        },
    )
    if form == "map":
        return spec
    return spec.replace(
        notes=spec.notes | NOTES,
        loss=expected_gaussian(noise_variance, draws),
        regularizer=kl_gaussian(on, off, seen),
        start=Start(),
        columns=posterior,
    )


@dataclass(frozen=True)
class Start:
    """Start at the prior."""

    def __call__(self, data: View, prior: PriorView, key: Array, terms: tuple) -> Blocks:
        """Return mean 0 and the prior's variance."""
        widths = next((t for t in terms if isinstance(t, KlGaussian)), None)
        if widths is None:
            raise ValueError(
                "the start of linear_gaussian needs a term kl_gaussian(...) that is "
                "not multiplied by a number"
            )
        return Blocks(
            theta=jnp.zeros_like(prior.weight), log_variance=jnp.log(widths.variance(prior))
        )


def posterior(params: Blocks, data: View, prior: PriorView) -> dict[str, Array]:
    """Columns of the edge table: those of `unigrn.processes.Posterior`, of Normal weights."""
    variance = jnp.exp(params.log_variance)
    sd = jnp.sqrt(variance)
    score, wide = jnp.abs(params.theta) / sd, -ndtri(TAIL) * sd
    return {
        "variance": variance,
        "sign_probability": ndtr(score),
        "lower": params.theta - wide,
        "upper": params.theta + wide,
        "score": score,
    }
