"""What a guide says of every edge: moments, the probability of its sign, an interval.

The sign of a product of independent factors follows from theirs, so that P(weight > 0) is exact
however close to 0 or 1. Quantiles are those of the weight at the points of a lattice, one
coordinate for each latent that it is made of: all edges take the same points, which serves what is
said of one edge at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.columns import Column
from unigrn.processes.elbo import draw, guide, share_of
from unigrn.processes.process import kept
from unigrn.processes.uncertain import JOINING, Either, Latent, Uncertain, moments, primitives
from unigrn.terms import Array, Blocks, PriorView, View

TAIL = 0.025  # outside an interval, on either side
NOTES = {
    "variance": "variance of the weight under the mean-field guide",
    "probability_variance": "variance of the probability under the mean-field guide",
    "sign_probability": "probability that the weight has its sign, under the mean-field guide",
    "lower": "quantile 0.025 of the weight under the mean-field guide",
    "upper": "quantile 0.975 of the weight under the mean-field guide",
    "score": "|weight| over the root of its variance",
}
POINTS = 256  # of the lattice
INSIDE = int(np.ceil(TAIL * POINTS)) + 1  # smallest and largest values that are kept


def lattice(axes: int) -> np.ndarray:
    """Return standard Normal points (POINTS, axes) whose every axis has the even quantiles."""
    from scipy.special import ndtri

    # The root of x^axes = x + 1 gives the shifts that leave the least gaps: the golden ratio of
    # two axes. Ranks make the quantiles of each axis even.
    root = 2.0
    for _ in range(50):
        root = (1 + root) ** (1 / max(axes, 1))
    at = np.arange(POINTS)
    shifts = [at / POINTS, *((at * root**-a) % 1 for a in range(1, axes))]
    ranks = np.array([np.argsort(np.argsort(s)) for s in shifts[:axes]]).reshape(axes, POINTS)
    return ndtri((ranks.T + 0.5) / POINTS)


def signs(value: Any) -> tuple[Array, Array] | None:
    """Return P(x > 0) and P(x < 0), or None where what x is made of does not say."""
    if not isinstance(value, Uncertain):
        return _sure(value)
    if isinstance(value, Either):
        both = [signs(value.first), signs(value.second)]
        if both[0] is None or both[1] is None:
            return None
        first, second = (jnp.where(value.mask, a, b) for a, b in zip(*both, strict=True))
        return first, second
    if isinstance(value, Latent):
        return _signs(value)
    if value.factors is None:
        return None
    first, second = map(signs, value.factors)
    if first is None or second is None:
        return None
    (up, down), (more, less) = first, second
    return up * more + down * less, up * less + down * more


def _sure(number: Array) -> tuple[Array, Array]:
    sign = jnp.sign(1.0 * number)
    return jnp.maximum(sign, 0), jnp.maximum(-sign, 0)


def _signs(value: Latent) -> tuple[Array, Array]:
    """Return the probabilities of both signs of a function of one Normal number."""
    if value.kind in ("exp", "unit"):
        return jnp.ones_like(value.loc), jnp.zeros_like(value.loc)
    if value.kind != "normal":  # a step is beyond a quadrature: even quantiles see it
        at = jnp.asarray(lattice(1)[:, 0], value.loc.dtype)
        found = jax.lax.map(lambda z: value.function(value.loc + value.sd * z), at)
        both = (found > 0, found < 0)
        up, down = (jnp.mean(side, axis=0, dtype=at.dtype) for side in both)
        return up, down
    sure = value.sd == 0
    ratio = value.loc / jnp.where(sure, 1, value.sd)
    up, down = (jax.scipy.stats.norm.cdf(side) for side in (ratio, -ratio))
    one, other = _sure(value.loc)
    return jnp.where(sure, one, up), jnp.where(sure, other, down)


def interval(weight: Callable[[Array], Array], points: Array) -> tuple[Array, Array]:
    """Return the quantiles `TAIL` and 1 - `TAIL` of a function of standard Normal numbers.

    Only the values beyond them are kept, (INSIDE, ...) at either end.
    """
    shape = jax.eval_shape(weight, points[0])

    def step(ends: Array, z: Array) -> tuple[Array, None]:
        value = weight(z)
        value = jnp.stack([value, -value])
        rows = []
        for row in ends:  # in order: what is larger moves on
            rows.append(jnp.minimum(row, value))
            value = jnp.maximum(row, value)
        return jnp.stack(rows), None

    start = jnp.full((INSIDE, 2, *shape.shape), jnp.inf, shape.dtype)
    ends, _ = jax.lax.scan(step, start, points)
    at = TAIL * POINTS - 0.5  # the i-th smallest is the quantile (i + 1/2) / POINTS
    low = int(at)
    found = ends[low] + (at - low) * (ends[low + 1] - ends[low])
    return found[0], -found[1]


@dataclass(frozen=True)
class Posterior(Column):
    """What the guide says of every edge.

    ``weight`` is the mean, ``variance`` the variance; ``sign_probability`` the probability that the
    weight has the sign of its mean; ``lower`` and ``upper`` the quantiles at 0.025 and 0.975, to
    0.007 of probability; ``probability``, where the process has one, that of the edge; ``score``
    the probability, else |weight| over its standard deviation. A mode has no spread: weight and
    score alone. Where latents depend on each other the spreads of a mean-field guide, and with
    them its intervals, are too narrow. Signs and intervals are left out where an edge is made of
    several entries of a latent.
    """

    def __call__(
        self, params: Blocks, data: View, prior: PriorView, terms: Any
    ) -> dict[str, Array]:
        """Read the edges of the process off the guide; see `Process.edges`."""
        share = share_of(terms.terms)
        process = share.process

        def latents(given: Callable[..., Any]) -> dict[str, Any]:
            own: dict[str, Any] = {}

            def value(name, distribution):
                own[name] = kept(name, given(name, distribution), prior)
                return own[name]

            process.log_density(value, data, prior, ("",))
            return own

        out, found = {}, process.edges(latents(guide(params, share.spread)))
        for name, of in found.items():
            mean, variance = moments(of)
            out[name] = mean
            if isinstance(of, Uncertain) and name in ("weight", "probability"):
                out["variance" if name == "weight" else f"{name}_variance"] = variance
        if isinstance(weight := found["weight"], Uncertain):
            if (sides := signs(weight)) is not None:
                out["sign_probability"] = jnp.where(out["weight"] < 0, sides[1], sides[0])
            names = tuple(sorted(weight.names))
            at = jnp.asarray(lattice(len(names)).astype(params.theta.dtype))

            def drawn(z: Array) -> dict[str, Array]:
                return latents(draw(params, names, dict(zip(names, z, strict=True))))

            # Points that all edges share serve where an edge is made of one entry of each latent.
            done, _ = primitives(lambda own: process.edges(own)["weight"], drawn(at[0]))
            if not any(p.startswith(JOINING) for p in done):
                own = interval(lambda z: process.edges(drawn(z))["weight"], at)
                out["lower"], out["upper"] = own
        if "score" not in out:
            score = jnp.abs(out["weight"])
            spread = out.get("variance")
            out["score"] = out.get("probability", score if spread is None else score / spread**0.5)
        return out
