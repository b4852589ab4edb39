"""Collaborative filtering of a network's support: the regularizers of NetREX-CF."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.check import check_number, check_whole
from unigrn.terms import (
    Array,
    Blocks,
    PriorView,
    Regularizer,
    Squares,
    View,
    hard_threshold,
    largest,
    pytree,
    static,
)


@pytree
class Collaborative(Regularizer):
    """Collaborative filtering of the support with weights given entry by entry.

    With Z = 1[theta != 0], T = Z + (1 - Z) P and R = V'U, all (regulators, targets)::

        sum (c + b Z) (T - R)^2 + sum eta Z
            = sum c (P - R)^2 + sum Z h(R),    h(R) = floor + b (R - r)^2,

    r = 1 + (1 - P) c / b and eta = floor + (1 - P) c (1 + c / b). The price h of an edge depends
    on the factors; with floor > 0 it is positive, and the objective lower semicontinuous.
    """

    preference: Array  # P, 0 or 1
    confidence: Array  # c >= 0
    gain: Array  # b > 0 (0 at padding)
    floor: Array

    blocks = ("U", "V", "theta")
    linear = ("U", "V")
    separable = None

    def _ratio(self) -> Array:
        safe = jnp.where(self.gain > 0, self.gain, 1)
        return jnp.where(self.gain > 0, (1 - self.preference) * self.confidence / safe, 0)

    def _weights(self, params: Blocks) -> tuple[Array, Array]:
        on = params.theta != 0
        weight = self.confidence + jnp.where(on, self.gain, 0)
        return weight, jnp.where(on, 1, self.preference)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        weight, target = self._weights(params)
        eta = self.floor + (1 - self.preference) * self.confidence * (1 + self._ratio())
        fit = jnp.sum(weight * (target - params.V.T @ params.U) ** 2)
        return fit + jnp.sum(jnp.where(params.theta != 0, eta, 0))

    def price(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return h(R)."""
        return self.floor + self.gain * (params.V.T @ params.U - 1 - self._ratio()) ** 2

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Hard threshold at the price that the factors set."""
        assert params is not None
        return hard_threshold(v, step, self.price(params, data, prior))

    def squares(self, block: str, params: Blocks, data: View, prior: PriorView) -> Squares:
        """Return the weighted squares in the factors of the targets or of the regulators."""
        weight, target = self._weights(params)
        if block == "U":
            return Squares(params.V, target, weight)
        return Squares(params.U, target.T, weight.T)

    formula = property(lambda self: "Σ (c + bZ)(Z + (1−Z)P − VᵀU)² + ηZ")


class _FromPrior(Regularizer):
    """Collaborative filtering whose weights follow from the prior's layers."""

    needs_prior = True
    blocks = Collaborative.blocks
    linear = Collaborative.linear
    separable = None
    formula = Collaborative.formula

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate with the weights worked out."""
        return self.prepare(data, prior)(params, data, prior)

    def price(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return the price with the weights worked out."""
        return self.prepare(data, prior).price(params, data, prior)

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Hard threshold with the weights worked out."""
        return self.prepare(data, prior).prox(v, step, data, prior, params)

    def squares(self, block: str, params: Blocks, data: View, prior: PriorView) -> Squares:
        """Return the squares with the weights worked out."""
        return self.prepare(data, prior).squares(block, params, data, prior)


@pytree
class EvidenceFiltering(_FromPrior):
    """Collaborative filtering weighted by counted evidence; see `collaborative`."""

    weights: tuple[Array, ...]
    strength: Array
    boost: Array
    floor: Array
    per_target: int = static(default=200)
    released: bool = static(default=False)

    def confidence(self, prior: PriorView) -> Array:
        """Return C: the multiplier of the number of layers, times the summed weights."""
        layers = list(prior.layers.values()) or [prior.weight]
        count = sum((v > 0).astype(jnp.int32) for v in layers)
        total = 0.0
        for v in layers:
            top = jnp.max(v, initial=0)
            total = total + v / jnp.where(top > 0, top, 1)
        known, most = len(self.weights), len(layers)
        factor = jnp.zeros_like(prior.weight)
        for k in range(1, most + 1):
            weight = self.weights[min(max(known - most + k - 1, 0), known - 1)]
            factor = jnp.where(count == k, weight, factor)
        return factor * total

    def check(self, prior: PriorView) -> None:
        """Refuse weights under which a missing edge is trusted as much as any prior edge."""
        top = float(jnp.max(self.confidence(prior), initial=0))
        if not top > 1:
            raise ValueError(
                f"the largest confidence in a prior edge is {top:g}, and a missing edge has 1: the "
                "collaborative filter needs a confidence above 1; raise evidence (the multiplier "
                f"of an edge by the number of its sources, got {[float(w) for w in self.weights]})"
            )

    def prepare(self, data: View, prior: PriorView) -> Collaborative:
        """Work out P, c, b and the floor of the price."""
        c = jnp.where(prior.valid, self.confidence(prior), 0)
        on = c > 0
        if c.shape[0] > self.per_target:
            on = on & jax.vmap(partial(largest, count=self.per_target), 1, 1)(c)
        weighted = c > 0 if self.released else on
        dtype = prior.weight.dtype
        valid = prior.valid.astype(dtype) * self.strength
        confidence = valid * jnp.where(weighted, c, 1)
        gain = valid * jnp.where(weighted, self.boost * c, jnp.max(c) - 1)
        return Collaborative(on.astype(dtype), confidence, gain, jnp.asarray(self.floor, dtype))


def collaborative(
    evidence: tuple[float, ...] = (1.0, 60.0, 90.0),
    strength: float = 5.0,
    boost: float = 9.0,
    floor: float = 1e-7,
    per_target: int = 200,
    released: bool = False,
) -> EvidenceFiltering:
    """Collaborative filtering of the network's support, weighted by the evidence for each edge.

    With the confidence C of an edge = the multiplier of the number of layers that name it, times
    the sum of their weights (each layer scaled to at most 1), P = 1[C > 0], Z = 1[theta != 0]::

        sum Lambda (a + b Z) (Z + (1 - Z) P - V'U)^2 + sum eta Z
        a = C on the prior, 1 off it;  b = boost C on the prior, max(C) - 1 off it
        eta = floor on the prior, floor + Lambda a (1 + a / b) off it.

    Parameters
    ----------
    evidence
        Multipliers of an edge named by one, two, ... layers. With fewer layers than multipliers
        the last ones count: one layer alone has the largest. With more layers the last multiplier
        is that of an edge named by all of them, and the first holds for all that have none.
    strength
        Lambda > 0.
    boost
        How much more an edge of the prior is trusted once theta has it, > 0.
    floor
        Least price of an edge, > 0: without it the infimum need not be attained.
    per_target
        Prior edges kept for each target, those of largest C; of ties, the first. The others count
        as edges that no layer names.
    released
        They keep a and b of their C with P = 0, as in the released program: the more evidence,
        the more is paid for them.

    References
    ----------
    Wang et al., Commun. Biol. 5 (2022) 1282 (NetREX-CF); Hu, Koren and Volinsky, IEEE ICDM (2008)
    263, doi:10.1109/ICDM.2008.22.
    """
    several = not isinstance(evidence, str) and np.iterable(evidence)
    given: Any = evidence if several else (evidence,)
    weights = tuple(check_number("evidence", e, strict=True) for e in given)
    if not weights:
        raise ValueError("evidence needs at least one multiplier, got none")
    return EvidenceFiltering(
        weights,
        check_number("strength", strength, strict=True),
        check_number("boost", boost, strict=True),
        check_number("floor", floor, strict=True),
        check_whole("per_target", per_target, low=1),
        bool(released),
    )


@pytree
class SketchFiltering(_FromPrior):
    """Collaborative filtering as the literature sketches it; see `collaborative_sketch`."""

    slope: Array
    on: Array
    off: Array

    def prepare(self, data: View, prior: PriorView) -> Collaborative:
        """Work out P, c, b, and the floor that leaves no price of its own."""
        known = (prior.weight > 0) & prior.valid
        dtype = prior.weight.dtype
        valid = prior.valid.astype(dtype)
        c = valid * (1 + self.slope * prior.weight)
        b = valid * jnp.where(known, self.on * c, self.off)
        p = known.astype(dtype)
        return Collaborative(p, c, b, -(1 - p) * c * (1 + c / jnp.where(b > 0, b, 1)))


def collaborative_sketch(slope: float = 1.0, on: float = 9.0, off: float = 1.0) -> SketchFiltering:
    """Collaborative filtering of the support in the form in which the literature sketches it.

    sum Omega (M - V'U)^2 with C = 1 + slope sum_k P_k, B = 1[sum_k P_k > 0], Z = 1[theta != 0],
    Omega = on C Z B + off Z (1 - B) + C and M = Z + (1 - Z) B. No price of its own, so that an
    edge off the prior can pay: the infimum need not be attained.

    Parameters
    ----------
    slope
        a >= 0, confidence by unit of prior weight.
    on, off
        a1 > 0 and a2 > 0, extra confidence in edges of theta on and off the prior.
    """
    return SketchFiltering(
        check_number("slope", slope),
        check_number("on", on, strict=True),
        check_number("off", off, strict=True),
    )
