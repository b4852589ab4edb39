"""PMF-GRN: expression as activities times a network whose edges exist with a probability."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn import UnigrnWarning
from unigrn.check import check_number, check_whole
from unigrn.losses.counts import COUNTS
from unigrn.prior import Prior
from unigrn.processes import (
    EDGES,
    Evident,
    Normal,
    Poisson,
    Process,
    exp,
    generative,
    measured,
    sigmoid,
)
from unigrn.spec import Spec
from unigrn.terms import pytree

PROBABLE = 1 + 1e-6  # a sum of shares may round to a little more than 1
FLOOR = 0.001  # of the standard deviation of the noise
BASE = 3.0  # standard deviation of log odds that nothing is known of
ACTIVITY, DEPTH = ("cells", "regulators"), ("cells",)


def logit(weight: Any, low: Any, high: Any) -> Any:
    """Return the log odds of prior weights, kept between two probabilities."""
    return jax.scipy.special.logit(jnp.clip(weight, low, high))


class Existing(Process):
    """A process whose prior weights are probabilities that an edge exists."""

    def check(self, prior: Any) -> None:
        """Warn where a weight is no probability."""
        most = float(np.max(np.asarray(prior.weight), initial=0))
        if most > PROBABLE:
            warnings.warn(
                "pmf_grn takes weights of the prior as probabilities that an edge exists, and the "
                f"largest is {most:g}: all from 1 on count alike; divide them by the largest, or "
                "give probabilities",
                UnigrnWarning,
                stacklevel=2,
            )


@pytree
class GaussianFactors(Existing):
    """W ~ N(d_n (U V)_nm, (s + 0.001)^2), V = A B; see `pmf_grn`."""

    low: Any
    high: Any
    existence: Any
    strength: Any
    activity: Any
    center: Any = 0.0  # of log activities

    latents = {"edge": EDGES, "theta": EDGES, "activity": ACTIVITY, "depth": DEPTH, "noise": ()}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        """Visit every site; edge, activity, depth and noise are logits and logarithms."""
        edge = site("edge", Normal(logit(prior.weight, self.low, self.high), self.existence))
        strength = site("theta", Normal(0.0, self.strength))
        activity = site("activity", self.activities())
        depth = site("depth", Normal(0.0, 3.0))
        noise = site("noise", Normal(0.0, 1.0))
        network = sigmoid(edge) * strength
        mean = sigmoid(depth)[:, None] * (self.transform(activity) @ network)
        site("expression", Normal(mean, exp(noise) + FLOOR), data.y)

    def activities(self):
        """Return the distribution of log activities."""
        return Normal(self.center, self.activity)

    def transform(self, activity):
        """Return activities from their logarithms."""
        return exp(activity)

    def edges(self, values):
        """Return V = A B, and A."""
        probability = sigmoid(values["edge"])
        return {"weight": probability * values["theta"], "probability": probability}


@pytree
class PoissonFactors(Existing):
    """W ~ Poisson(d_n (U V)_nm + 1e-6), 0 < V < 1; see `pmf_grn`."""

    low: Any
    high: Any
    existence: Any
    activity: Any
    center: Any = 0.0

    latents = {"theta": EDGES, "activity": ACTIVITY, "depth": DEPTH}
    observed = {"expression": ("cells", "targets")}
    outcome = COUNTS

    def sites(self, site, data, prior):
        """Visit every site; theta is a logit."""
        theta = site("theta", Normal(logit(prior.weight, self.low, self.high), self.existence))
        activity = site("activity", Normal(self.center, self.activity))
        depth = site("depth", Normal(0.0, 3.0))
        network = sigmoid(theta) * prior.valid.astype(data.y.dtype)
        rate = sigmoid(depth)[:, None] * (exp(activity) @ network)
        site("expression", Poisson(rate + 1e-6), data.y)

    def edges(self, values):
        """Return V, which is its own probability."""
        probability = sigmoid(values["theta"])
        return {"weight": probability, "probability": probability}


class LogOdds(Evident):
    """Log odds of existence that are wide for every pair, and those of the prior as data."""

    measured: Any

    def base(self, belief, prior):
        """Return N(0, 3^2)."""
        return Normal(0.0, BASE)

    def evidence(self, belief, prior):
        """Return the log odds of the prior's weights."""
        return belief.mean, belief.sd, self.measured(prior)


@pytree
class MeasuredFactors(LogOdds, GaussianFactors):
    """The Gaussian process with the prior as data; see `pmf_grn`."""

    measured: Any = None

    uncertain = "edge"


@pytree
class MeasuredCounts(LogOdds, PoissonFactors):
    """The Poisson process with the prior as data; see `pmf_grn`."""

    measured: Any = None

    uncertain = "theta"


def pmf_grn(
    prior: Prior | None,
    low: float | None = None,
    high: float | None = None,
    existence: float | None = None,
    strength: float = 1.0,
    activity: float = 1.0,
    noise: str = "gaussian",
    divergence: float = 1.0,
    mask: str = "soft",
    form: str = "variational",
    draws: int | None = None,
) -> Spec:
    """PMF-GRN: probabilistic matrix factorisation of expression, with edges that may not exist.

    Cells n, regulators k, targets m; d_n the depth of a cell, U activities, V = A B the network::

        logit A_km ~ N(logit clip(P_km, low, high), existence^2),   B_km ~ N(0, strength^2)
        log U_nk ~ N(0, activity^2),   logit d_n ~ N(0, 3^2),   log s ~ N(0, 1)
        W_nm ~ N(d_n sum_k U_nk A_km B_km, (s + 0.001)^2)

    and theta, by a mean-field guide, minimises the negative ELBO. All its expectations are closed,
    or quadratures of one Normal number, so that no noise is in it. ``weight`` is E V,
    ``probability`` E A, by which edges rank; ``variance`` and ``probability_variance`` are those of
    the guide. The expression of a regulator itself is not read.

    Parameters
    ----------
    prior
        Edges; a weight is the probability that the edge exists before expression is seen: from
        1 on all count alike, with a warning.
    low, high
        Bounds of that probability, by default 0.01 and 0.99, of counts 0.1 and 0.9; the published
        runs on yeast have 0.0005 and 0.9995.
    existence
        Standard deviation of its log odds: how much expression may change it; by default 1, of
        counts 3. The published runs have 2.
    strength
        Standard deviation of B, in units of the values.
    activity
        Standard deviation of log activities. The published runs have 5.
    noise
        "gaussian", or "poisson" of counts: W ~ Poisson(d_n sum_k U_nk V_km + 1e-6) with
        logit V as logit A above; values below 0 are refused.
    divergence
        Factor of KL(q || p): 1 is the ELBO. The published runs have 10.
    mask
        "soft": the prior is a belief. "hard": edges that it does not name do not exist. "data": a
        view of its own, logit clip(P_km, low, high) ~ N(logit A_km, existence^2), of the pairs
        whose regulator and target each have an edge in it, beside logit A_km ~ N(0, 3^2): of other
        pairs nothing is known.
    form
        "variational", or "map": the mode of the joint density.
    draws
        Draws of the guide, the same at every step, where the expectation has no closed form: by
        default 8 of counts, 0 (closed) otherwise.

    Notes
    -----
    Take it for the probability of an edge with a variance beside it, from a prior that is a belief.
    It expects values as measured, not centred: activities and depths are positive. The objective is
    not convex: a fit ends at a stationary point. An activity times a column of the network is the
    same as half of it times twice the column, up to the prior: compare ``probability``, not
    weights, between regulators.

    References
    ----------
    Skok Gibbs, Mahmood, Bonneau and Cho, Genome Biol. 25 (2024) 88,
    doi:10.1186/s13059-024-03226-6.
    """
    counts = noise == "poisson"
    if noise not in ("gaussian", "poisson"):
        raise ValueError(f"noise must be gaussian or poisson, got {noise!r}")
    usual = {"low": 0.1, "high": 0.9} if counts else {"low": 0.01, "high": 0.99}
    given = {"low": low, "high": high}
    low, high = (
        float(check_number(n, usual[n] if v is None else v, strict=True)) for n, v in given.items()
    )
    if not low < high < 1:
        raise ValueError(f"0 < low < high < 1 is needed, got low={low:g} and high={high:g}")
    existence = (1.0, 3.0)[counts] if existence is None else existence
    widths = {"existence": existence, "strength": strength, "activity": activity}
    widths = {name: check_number(name, value, strict=True) for name, value in widths.items()}
    if counts:
        widths.pop("strength")
    if draws is not None:
        draws = check_whole("draws", draws, low=int(counts))
    if draws is None:
        draws = 8 if counts and form == "variational" else 0
    kinds: list[Any] = [GaussianFactors, PoissonFactors]
    data = {}
    if mask == "data":
        kinds, data = [MeasuredFactors, MeasuredCounts], {"measured": measured(prior)}
    return generative(
        kinds[counts](low, high, **widths, **data),
        prior,
        form,
        mask,
        draws=draws if form == "variational" else 0,
        divergence=divergence,
        name="pmf_grn",
        notes={
            "weight": "posterior mean of existence times strength, in units of the target per unit "
            "of activity",
            "probability": "posterior mean of the probability that the edge exists",
            "score": "the probability",
        },
    )
