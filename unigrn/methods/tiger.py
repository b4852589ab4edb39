"""TIGER: expression as activities above 0 times weights whose signs the prior may know."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.prior import Prior
from unigrn.processes import (
    EDGES,
    Evident,
    Gamma,
    HalfNormal,
    Normal,
    Process,
    SignedNormal,
    generative,
    measured,
    where,
)
from unigrn.spec import Spec
from unigrn.terms import pytree


@pytree
class SignedFactors(Process):
    """x ~ N(b + z W, 1 / t), W = theta / sqrt(a), theta of the prior's sign where it has one."""

    off: Any
    activity: Any
    baseline: Any
    noise: Any

    latents = {
        "theta": EDGES,
        "precision": EDGES,
        "activity": ("cells", "regulators"),
        "baseline": ("targets",),
        "noise": ("targets",),
    }
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        """Visit every site."""
        theta = site("theta", SignedNormal(where(prior.support, 1.0, self.off), prior.sign))
        precision = site("precision", Gamma(1.0, 1.0))
        activity = site("activity", HalfNormal(self.activity))
        baseline = site("baseline", Normal(0.0, self.baseline))
        noise = site("noise", Gamma(self.noise, self.noise))
        mean = baseline[None] + activity @ (theta * precision**-0.5)
        site("expression", Normal(mean, (noise**-0.5)[None]), data.y)

    def edges(self, values):
        """Return W."""
        return {"weight": values["theta"] * values["precision"] ** -0.5}


@pytree
class MeasuredFactors(Evident, SignedFactors):
    """The same with the prior as data: weights of 0, with an error, where it has no edge."""

    measured: Any = None

    uncertain = "theta"

    def base(self, belief, prior):
        """Return the width of edges, for all."""
        return SignedNormal(1.0, prior.sign)

    def evidence(self, belief, prior):
        """Return 0 where both ends were looked at and the prior has no edge."""
        return jnp.zeros_like(prior.weight), self.off, self.measured(prior) & ~prior.support


def tiger(
    prior: Prior | None,
    off: float = 0.05,
    activity: float = 1.0,
    baseline: float = 10.0,
    noise: float = 1.0,
    mask: str = "hard",
) -> Spec:
    """TIGER: activities of factors, and a network whose signs the prior may know.

    Cells n, regulators k, targets m; z activities, W the network::

        x_nm ~ N(b_m + sum_k z_nk W_km, 1 / t_m),   W_km = theta_km / sqrt(a_km)
        theta_km ~ N(0, w_km^2), above 0 where the prior says +, below 0 where it says -
        a_km ~ Gamma(1, 1),   z_nk ~ N(0, activity^2) above 0
        b_m ~ N(0, baseline^2),   t_m ~ Gamma(noise, noise)

    so that weights of width w have the tails of a Student distribution; w is 1 on the prior and
    ``off`` elsewhere. theta minimises the negative ELBO of a mean-field guide (Normal, log-Normal
    where the sign is known), all of it in closed form. ``weight`` is the posterior mean of W,
    ``variance`` that of W under the guide, ``score`` |weight| over its root.

    Parameters
    ----------
    prior
        Edges, with a sign where it is known; their weights are not read.
    off
        Width of weights off the prior relative to those on it, where the mask is soft.
    activity
        Width of activities. The published program has 10.
    baseline
        Width of the baseline of each target, in units of the values. The published program has 1.
    noise
        Shape and rate of the precision of each target.
    mask
        "hard": edges that the prior does not name do not exist. "soft": they are ``off`` as wide,
        of either sign. "data": all are 1 wide, and 0 ~ N(theta_km, off^2) is data of its own where
        regulator and target each have an edge in the prior, but not this one: of other pairs
        nothing is known.

    Notes
    -----
    Take it for activities of factors from a prior that says which edges activate and which repress.
    It expects log-normalised values. Give edges whose sign you doubt without one; the published
    program takes a sign away where a partial correlation contradicts it, and multiplies weights by
    the mean activity of their regulator: between regulators compare ``score``, which no change of
    their units moves. The published guide is found by stochastic gradients; here the expectations
    are closed, and a fit says whether it ended at a stationary point. The objective is not convex.
    There is no ``form="map"``: the density is largest where weights of known sign are 0.

    References
    ----------
    Chen and Padi, npj Syst. Biol. Appl. 10 (2024) 58, doi:10.1038/s41540-024-00386-w.
    """
    widths = {"off": off, "activity": activity, "baseline": baseline, "noise": noise}
    checked = {name: check_number(name, value, strict=True) for name, value in widths.items()}
    data = {"measured": measured(prior)} if mask == "data" else {}
    return generative(
        (MeasuredFactors if data else SignedFactors)(**checked, **data),
        prior,
        mask=mask,
        name="tiger",
        expects=("log",),
        notes={"weight": "posterior mean, in units of the target per unit of activity"},
    )
