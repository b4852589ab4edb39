"""The dirty model of groups of cells: an edge that groups share, and what each has beside it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.terms import Array, Blocks, PriorView, Regularizer, View, pytree


@pytree
class Dirty(Regularizer):
    """What groups share and what each has of its own, at the least price; see `dirty`."""

    own: Array
    shared: Any = None
    prior_weight: Array = 1.0

    across = True
    separable = "targets"
    convex = True

    def _prices(self, prior: PriorView) -> tuple[Array, Array]:
        """Return the price of a group's own part, (groups, candidates), and that of the largest."""
        valid, groups = prior.valid, prior.valid.shape[0]
        relative = jnp.where(prior.support, 1 / jnp.asarray(self.prior_weight), 1)
        relative = jnp.where(valid, relative, 0).astype(prior.weight.dtype)
        many = jnp.maximum(jnp.sum(valid, axis=1, keepdims=True), 1).astype(relative.dtype)
        mean = jnp.sum(relative, axis=1, keepdims=True) / many
        shared = self.own * groups**0.5 if self.shared is None else self.shared
        return self.own * relative / jnp.where(mean > 0, mean, 1), shared

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the coefficients of all groups, (groups, candidates)."""
        price, shared = self._prices(prior)
        size = jnp.abs(params.theta)
        order = jnp.argsort(-size, axis=0)
        size, price = (jnp.take_along_axis(v, order, axis=0) for v in (size, price))
        # Least over the size of the shared part, which is 0 or that of one of the groups.
        beyond = jnp.cumsum(price * size, axis=0) - jnp.cumsum(price, axis=0) * size
        alone = jnp.sum(price * size, axis=0)
        return jnp.sum(jnp.minimum(alone, jnp.min(beyond + shared * size, axis=0)))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Take off what is nearest to v of all u with |u_g| <= t a_g and sum |u_g| <= t b.

        The nearest is min(max(|v_g| - c, 0), t a_g), c >= 0 where these sum to t b, or 0 where they
        sum to less.
        """
        price, shared = self._prices(prior)
        size, most, total = jnp.abs(v), step * price, step * shared
        # The sum over groups is linear between the corners |v_g| and |v_g| - t a_g of c.
        corner = jnp.concatenate([size, size - most])
        turn = jnp.concatenate([jnp.ones_like(size), -jnp.ones_like(size)])
        order = jnp.argsort(-corner, axis=0)
        corner, turn = (jnp.take_along_axis(a, order, axis=0) for a in (corner, turn))
        slope = jnp.cumsum(turn, axis=0)  # groups that grow as c falls, below each corner
        rise = slope[:-1] * (corner[:-1] - corner[1:])
        height = jnp.concatenate([jnp.zeros_like(size[:1]), jnp.cumsum(rise, axis=0)])
        last = jnp.sum(height <= total, axis=0, keepdims=True) - 1
        at, there, steep = (jnp.take_along_axis(a, last, axis=0) for a in (corner, height, slope))
        cut = at - (total - there) / jnp.maximum(steep, 1)
        full = jnp.sum(jnp.minimum(size, most), axis=0, keepdims=True) <= total
        cut = jnp.where(full, 0, jnp.maximum(cut, 0))
        return jnp.sign(v) * jnp.minimum(size, jnp.maximum(cut, size - most))

    formula = property(lambda self: "min_{B+S=θ} λ_S Σ φⱼ |S_gj| + λ_B Σⱼ max_g |B_gj|")


def dirty(own: float, shared: float | None = None, prior_weight: float = 1.0) -> Dirty:
    """Split every group's network into a part that the groups share and one of its own.

    R(theta) = min over B + S = theta of own sum_gj phi_j |S_gj| + shared sum_j max_g |B_gj|, theta
    (groups, regulators) of a target. phi is 1 / prior_weight at edges of the prior and 1 at others,
    divided by its mean over the target's candidates. The targets separate, the groups do not: they
    are fitted at once. A regulator pays once in B for all groups, up to its largest coefficient
    there, and in S for each.

    At a price a = own phi_j of S and b of B the least is reached at B_gj = theta_gj cut to [-m, m],
    m the (k + 1)-th largest of |theta_gj| over the groups, k the whole part of b / a: R is a times
    the sum of the k largest of them and b - a k times the next. Where b <= a the largest alone
    counts, where b >= a times the number of groups R is the L1 norm. Its prox is exact, by sorting.

    Parameters
    ----------
    own
        lambda_S >= 0, in units of the loss per unit of theta.
    shared
        lambda_B >= 0, likewise; None: ``own`` times the root of the number of groups. Between
        ``own`` and ``own`` times that number it matters.
    prior_weight
        Number > 0: how many times cheaper an own part on an edge of the prior is.

    Examples
    --------
    >>> print(dirty(1.0, 1.5).formula)
    min_{B+S=θ} λ_S Σ φⱼ |S_gj| + λ_B Σⱼ max_g |B_gj|

    References
    ----------
    Jalali, Ravikumar, Sanghavi and Ruan, NIPS 23 (2010) 964; Castro et al., PLoS Comput. Biol. 15
    (2019) e1006591, doi:10.1371/journal.pcbi.1006591 (weighted by a prior).
    """
    return Dirty(
        check_number("own", own),
        None if shared is None else check_number("shared", shared),
        check_number("prior_weight", prior_weight, strict=True),
    )
