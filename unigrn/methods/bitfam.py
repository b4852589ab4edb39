"""BITFAM: expression as factor activities between 0 and 1 times weights the prior makes wide."""

from __future__ import annotations

from typing import Any

from unigrn.check import check_number
from unigrn.prior import Prior
from unigrn.processes import EDGES, Beta, Gamma, Normal, Process, generative, where
from unigrn.spec import Spec
from unigrn.terms import pytree


@pytree
class BetaFactors(Process):
    """x ~ N(z theta, 1 / t), theta as wide as its factor on the prior, narrow off it."""

    off: Any
    hyperprior: Any

    latents = {
        "theta": EDGES,
        "activity": ("cells", "regulators"),
        "precision": ("regulators",),
        "noise": (),
    }
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        """Visit every site."""
        precision = site("precision", Gamma(self.hyperprior, self.hyperprior))
        width = where(prior.support, (precision**-0.5)[:, None], self.off)
        theta = site("theta", Normal(0.0, width))
        activity = site("activity", Beta(0.5, 0.5))
        noise = site("noise", Gamma(1.0, 1.0))
        site("expression", Normal(activity @ theta, noise**-0.5), data.y)


def bitfam(
    prior: Prior | None, off: float = 0.01, hyperprior: float = 1e-3, mask: str = "soft"
) -> Spec:
    """BITFAM: a factor model whose weights are wide where the prior names the edge.

    Cells n, regulators k, targets m; z activities, theta weights::

        x_nm ~ N(sum_k z_nk theta_km, 1 / t),   z_nk ~ Beta(1/2, 1/2),   t ~ Gamma(1, 1)
        theta_km ~ N(0, 1 / a_k) on the prior, N(0, off^2) off it,   a_k ~ Gamma(h, h)

    and theta, by a mean-field guide (Normal for weights, log-Normal for precisions, logit-Normal
    for activities), minimises the negative ELBO, without noise in it. ``weight`` is the posterior
    mean, ``variance`` its variance under the guide, ``score`` |weight| over the root of it.

    Parameters
    ----------
    prior
        Known edges; their weights are not read.
    off
        Standard deviation of weights off the prior, in units of the values.
    hyperprior
        h, shape and rate of the precision of each factor.
    mask
        "soft": as above. "hard": weights off the prior are 0.

    Notes
    -----
    Take it for activities of factors in single cells, beside their networks. It expects
    log-normalised values, not centred: activities are positive. The published program finds its
    guide by stochastic gradients, which its page says may not converge; here the objective is
    the same, its expectations are closed or quadratures, and a fit says whether it ended at a
    stationary point. The objective is not convex.

    References
    ----------
    Gao, Dai and Rehman, Genome Res. 31 (2021) 1296, doi:10.1101/gr.265595.120.
    """
    off = check_number("off", off, strict=True)
    process = BetaFactors(off, check_number("hyperprior", hyperprior, strict=True))
    return generative(
        process,
        prior,
        mask=mask,
        name="bitfam",
        expects=("log",),
        notes={"weight": "posterior mean, in units of the target at full activity"},
    )
