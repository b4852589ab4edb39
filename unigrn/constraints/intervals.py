"""Sets that bound every entry by itself."""

from __future__ import annotations

import math

import jax.numpy as jnp

from unigrn.terms import Array, Blocks, Constraint, PriorView, View, pytree, static


class _Interval(Constraint):
    """A constraint that bounds every entry from below and above."""

    separable = "entries"
    convex = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return the largest distance of an entry from its interval."""
        return jnp.max(jnp.abs(params.theta - self.project(params.theta, prior)), initial=0)

    def project(self, v: Array, prior: PriorView) -> Array:
        """Clip to the interval."""
        return jnp.clip(v, *self.interval(prior))


@pytree
class Support(_Interval):
    """theta = 0 off the prior; see `support`."""

    layer: str | None = static(default=None)

    needs_prior = True
    on_prior = True

    def allows(self, prior: PriorView) -> Array:
        """Return the prior's support."""
        return prior.support if self.layer is None else prior.layers[self.layer] > 0

    def interval(self, prior: PriorView) -> tuple[Array, Array]:
        """Everything on the support, nothing off it."""
        bound = jnp.where(self.allows(prior), jnp.inf, 0).astype(prior.weight.dtype)
        return -bound, bound

    formula = property(lambda self: "supp θ ⊆ supp P")


def support(layer: str | None = None) -> Support:
    """Hard mask: theta_j = 0 unless the prior (or one of its layers) names the edge.

    It is solved by deletion: regulators off the support are never formed.
    """
    return Support(layer)


@pytree
class NoSelf(_Interval):
    """No self-regulation; see `no_self`."""

    def allows(self, prior: PriorView) -> Array:
        """Return everything but the gene itself."""
        return jnp.logical_not(prior.self_edge)

    def interval(self, prior: PriorView) -> tuple[Array, Array]:
        """Everything but the gene itself."""
        bound = jnp.where(prior.self_edge, 0, jnp.inf).astype(prior.weight.dtype)
        return -bound, bound

    formula = property(lambda self: "θ_gg = 0")


def no_self() -> NoSelf:
    """No gene explains itself: theta = 0 where regulator and target are the same gene."""
    return NoSelf()


@pytree
class Nonnegative(_Interval):
    """theta >= 0; see `nonnegative`."""

    def interval(self, prior: PriorView) -> tuple[Array, Array]:
        """From 0 to infinity."""
        return jnp.zeros_like(prior.weight), jnp.full_like(prior.weight, jnp.inf)

    formula = property(lambda self: "θ ≥ 0")


def nonnegative() -> Nonnegative:
    """Activation only: theta_j >= 0."""
    return Nonnegative()


@pytree
class Sign(_Interval):
    """Signs follow the prior; see `sign`."""

    needs_prior = True

    def interval(self, prior: PriorView) -> tuple[Array, Array]:
        """Return a half line where the prior has a sign."""
        dtype = prior.weight.dtype
        low = jnp.where(prior.sign > 0, 0, -jnp.inf).astype(dtype)
        high = jnp.where(prior.sign < 0, 0, jnp.inf).astype(dtype)
        return low, high

    formula = property(lambda self: "sign θ = sign P")


def sign() -> Sign:
    """Signs agree with the prior: theta_j >= 0 where its sign is +1, <= 0 where -1, else free."""
    return Sign()


@pytree
class Box(_Interval):
    """lower <= B <= upper for one block; see `box`."""

    lower: Array
    upper: Array
    block: str = static(default="theta")

    blocks = property(lambda self: (self.block,))
    separable = property(lambda self: "entries" if self.block == "theta" else None)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return the largest distance of an entry from its interval."""
        v = params[self.block]
        return jnp.max(jnp.abs(v - self.project(v, prior)), initial=0)

    def project(self, v: Array, prior: PriorView) -> Array:
        """Clip to the interval."""
        return jnp.clip(v, self.lower, self.upper)

    entrywise = True

    def interval(self, prior: PriorView) -> tuple[Array, Array]:
        """Return the same bounds for every entry."""
        one = jnp.ones((), prior.weight.dtype)
        return one * self.lower, one * self.upper

    @property
    def formula(self) -> str:
        """The bounds as text."""
        name = "θ" if self.block == "theta" else self.block
        if hasattr(self.lower, "aval"):
            return f"l ≤ {name} ≤ u"
        return f"{float(self.lower):g} ≤ {name} ≤ {float(self.upper):g}"


def box(lower: float, upper: float, block: str = "theta") -> Box:
    """Bounds on every coefficient: lower <= theta_j <= upper.

    The interval must hold 0, because regulators that a constraint deletes have theta = 0.

    Parameters
    ----------
    lower, upper
        Numbers lower <= 0 <= upper.
    block
        Name of the parameter block it is about, such as the activities "A".
    """
    try:
        low, high = float(lower), float(upper)
    except (TypeError, ValueError):
        low = high = math.nan
    if not low <= 0 <= high:
        raise ValueError(f"a box needs numbers lower <= 0 <= upper, got [{lower!r}, {upper!r}]")
    return Box(low, high, str(block))
