"""Split an objective into a smooth part and a part that has a prox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from unigrn.terms import Array, Blocks, PriorView, View, joint_prox, parts


@dataclass(frozen=True)
class Split:
    """smooth(params) + prox part; ``prox`` is None where no rule gives one, and ``why`` says so."""

    smooth: Callable[[Blocks, View, PriorView], Array]
    prox: Callable[[Array, Array, View, PriorView], Array] | None
    why: str = ""
    accelerate: bool = True  # momentum needs a convex prox part


def split(loss: Any, regularizer: Any, constraint: Any) -> Split:
    """Put differentiable terms into the smooth part, the others into the prox.

    The prox of a sum over entries followed by clipping to an interval is exact, because a convex
    function of one number is minimised over an interval by clipping its minimiser.
    """
    kinks = tuple(t for t in parts(regularizer) if t.kink)
    smooth_terms = parts(loss) + tuple(t for t in parts(regularizer) if not t.kink)
    priced = any(t.price is not None for t in kinks)

    def smooth(params, data, prior):
        return sum(t(params, data, prior) for t in smooth_terms)

    kink_prox = joint_prox(kinks) if kinks else (lambda v, step, data, prior: v)
    if kink_prox is None:
        return Split(
            smooth, None, "no rule gives the joint prox of " + " + ".join(t.formula for t in kinks)
        )
    if constraint is None:
        return Split(smooth, kink_prox, accelerate=not priced)
    if constraint.project is None:
        return Split(smooth, None, f"{constraint.formula} has no projection")
    deletes = constraint.allows is not None
    joins = constraint.interval is not None and (deletes or not priced)
    if kinks and (any(t.separable != "entries" for t in kinks) or not joins):
        return Split(
            smooth,
            None,
            "no rule joins the prox of "
            f"{' + '.join(t.formula for t in kinks)} and {constraint.formula}",
        )

    def prox(v, step, data, prior):
        return constraint.project(kink_prox(v, step, data, prior), prior)

    return Split(smooth, prox, accelerate=not priced and constraint.convex is True)


def stationarity(
    theta: Array,
    gradient: Array,
    step: Array,
    at_zero: Array,
    prox: Any,
    data: View,
    prior: PriorView,
) -> Array:
    """Distance from optimality: |theta - prox(theta - t g)|_inf / t, relative to |grad(0)|_inf."""
    moved = prox(theta - step * gradient, step, data, prior)
    size = jnp.max(jnp.where(prior.valid, jnp.abs(theta - moved), 0), initial=0) / step
    return size / jnp.maximum(at_zero, jnp.finfo(theta.dtype).tiny)
