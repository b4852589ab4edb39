"""Sets of few edges."""

from __future__ import annotations

import jax.numpy as jnp
from jax.core import Tracer

from unigrn.check import check_number, check_whole
from unigrn.terms import Array, Blocks, Constraint, PriorView, View, pytree, spend, static


@pytree
class Budget(Constraint):
    """At most so many edges; see `budget`."""

    count: Array
    share: Array
    less: Array = 0.0
    within: str = static(default="all")

    separable = None

    @property
    def needs_prior(self) -> bool:
        """True where the number of edges, or their place, is the prior's."""
        if isinstance(self.share, Tracer):
            return self.within != "all"
        return self.within != "all" or bool(self.share)

    def budget(self, prior: PriorView) -> tuple[Array, Array]:
        """Return the entries that the budget is about, and their largest number."""
        mask = {
            "all": prior.valid,
            "prior": prior.valid & prior.support,
            "new": prior.valid & jnp.logical_not(prior.support),
        }[self.within]
        edges = jnp.sum((prior.valid & prior.support).astype(prior.weight.dtype))
        return mask, self.count + jnp.round(self.share * edges) - jnp.round(self.less * edges)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return by how many edges the budget is exceeded."""
        mask, count = self.budget(prior)
        dtype = params.theta.dtype
        return jnp.maximum(jnp.sum((mask & (params.theta != 0)).astype(dtype)) - count, 0)

    def project(self, v: Array, prior: PriorView) -> Array:
        """Keep the largest entries; of ties, the first."""
        return spend(v, v, [self.budget(prior)])

    @property
    def formula(self) -> str:
        """The budget as text."""
        where = {"all": "θ", "prior": "P∘θ", "new": "(1−P)∘θ"}[self.within]
        if hasattr(self.count, "aval"):
            return f"‖{where}‖₀ ≤ K"
        most = [f"{self.count:g}"] * (self.count > 0) + [f"{self.share:g} |P|"] * (self.share > 0)
        less = f" − {self.less:g} |P|" if self.less else ""
        return f"‖{where}‖₀ ≤ {' + '.join(most) or 0}{less}"


def budget(count: int = 0, share: float = 0.0, within: str = "all", *, less: float = 0.0) -> Budget:
    """At most K edges in the whole network, on the prior, or off it.

    K = count + round(share |P|) - round(less |P|), with |P| the number of prior edges among the
    candidates. Not convex. The projection is exact: it keeps the entries of largest size, and
    beside a box those that are worth most.

    Parameters
    ----------
    count
        Whole number >= 0. More than there are entries allows all.
    share
        Number >= 0, relative to the prior's edges.
    within
        "all", "prior" (edges that the prior names) or "new" (edges it does not name).
    less
        At most ``share``: what another budget takes of it, rounded on its own.

    References
    ----------
    Wang et al., Nat. Commun. 9 (2018) 4061 (NetREX).
    """
    share, less = check_number("share", share), check_number("less", less)
    if less > share:
        raise ValueError(f"less must be at most share = {share:g}, got {less:g}")
    if within not in ("all", "prior", "new"):
        raise ValueError(f"within must be all, prior or new, got {within!r}")
    return Budget(float(check_whole("count", count)), share, less, within)
