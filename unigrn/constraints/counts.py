"""Sets of few edges: in the whole network, of each target, or of low rank."""

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


@pytree
class Cardinality(Constraint):
    """At most so many regulators a target; see `cardinality`."""

    count: Array

    separable = "targets"
    within = "all"

    def budget(self, prior: PriorView) -> tuple[Array, Array]:
        """Return all entries, and the largest number of them for each target."""
        count = jnp.asarray(self.count, prior.weight.dtype)
        return prior.valid, jnp.broadcast_to(count, prior.valid.shape[1:])

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return by how many regulators the worst target exceeds its number."""
        mask, count = self.budget(prior)
        used = jnp.sum((mask & (params.theta != 0)).astype(params.theta.dtype), axis=0)
        return jnp.max(jnp.maximum(used - count, 0), initial=0)

    def project(self, v: Array, prior: PriorView) -> Array:
        """Keep the largest entries of each target; of ties, the first."""
        return spend(v, v, [self.budget(prior)])

    formula = property(lambda self: "‖θ_g‖₀ ≤ K for every g")


def cardinality(count: int) -> Cardinality:
    """At most K regulators for every target.

    Not convex. The projection is exact: it keeps the K entries of largest size of each target, and
    beside a box, an L1 norm or a ridge those that are worth most.

    Parameters
    ----------
    count
        K, a whole number >= 0.

    References
    ----------
    Blumensath and Davies, Appl. Comput. Harmon. Anal. 27 (2009) 265,
    doi:10.1016/j.acha.2009.04.002.
    """
    return Cardinality(float(check_whole("count", count)))


@pytree
class Rank(Constraint):
    """A network of low rank; see `rank`."""

    count: Array

    separable = None

    def _beyond(self, sizes: Array) -> Array:
        return jnp.arange(sizes.shape[0], dtype=sizes.dtype) >= self.count

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return the largest singular value beyond the K-th; what rounding leaves is none."""
        sizes = jnp.linalg.svd(params.theta, compute_uv=False)
        noise = 8 * max(params.theta.shape) * jnp.finfo(sizes.dtype).eps
        over = jnp.where(self._beyond(sizes), sizes, 0)
        return jnp.max(jnp.where(over > noise * jnp.max(sizes, initial=0), over, 0), initial=0)

    def project(self, v: Array, prior: PriorView) -> Array:
        """Keep the K largest singular values."""
        left, sizes, right = jnp.linalg.svd(v, full_matrices=False)
        kept = jnp.where(self._beyond(sizes), 0, sizes)
        return (left * kept[None, :]) @ right

    formula = property(lambda self: "rank θ ≤ K")


def rank(count: int) -> Rank:
    """Bound the rank of the network by K: regulators act through K programmes.

    theta = sum of K products of a vector of regulators and one of targets. Not convex; it couples
    the targets. The projection is exact (Eckart and Young, Psychometrika 1 (1936) 211,
    doi:10.1007/BF02288367), and it fills what a mask deletes: no rule joins it with one, so that
    beside `support` or `no_self` it is refused.

    Parameters
    ----------
    count
        K, a whole number >= 1.
    """
    return Rank(float(check_whole("count", count, low=1)))
