"""Norms of groups of coefficients: regulators by name, or the targets of a regulator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.check import check_number, listed
from unigrn.kernels import onto_l1_ball
from unigrn.terms import (
    Along,
    Array,
    Blocks,
    PriorView,
    Regularizer,
    View,
    along,
    pytree,
    soft_threshold,
    static,
)


class _Grouped(Regularizer):
    """A norm of each group of a target's coefficients, times the root of its candidates."""

    group: Array
    codes: Array
    count: int

    separable = "targets"
    convex = True

    def _sums(self, values: Array) -> Array:
        """Sum within every group, (groups, ...)."""
        return jax.ops.segment_sum(values, self._places, num_segments=self.count)

    @property
    def _places(self) -> Array:
        """The groups as whole numbers; as a leaf they are floats, which JAX differentiates."""
        return jnp.asarray(self.codes).astype(jnp.int32)

    def _roots(self, prior: PriorView) -> Array:
        """Return sqrt(n_g), n_g the candidates of the target in the group."""
        return jnp.sqrt(self._sums(prior.valid.astype(prior.weight.dtype)))

    def _norm(self, theta: Array, prior: PriorView) -> Array:
        return self.group * jnp.sum(self._roots(prior) * jnp.sqrt(self._sums(theta**2)))

    def _shrink(self, v: Array, step: Array, prior: PriorView) -> Array:
        """Shorten every group by step lambda sqrt(n_g), at most to 0."""
        size, cut = jnp.sqrt(self._sums(v**2)), step * self.group * self._roots(prior)
        share = jnp.where(size > cut, 1 - cut / jnp.where(size > 0, size, 1), 0)
        return v * share[self._places]


@pytree
class GroupLasso(_Grouped):
    """Sum of norms of groups of regulators; see `group_lasso`."""

    group: Array
    codes: Array
    count: int = static(default=1)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return self._norm(params.theta, prior)

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Shrink every group."""
        return self._shrink(v, step, prior)

    formula = property(lambda self: "λ Σ_g √n_g ‖θ_g‖")


@pytree
class SparseGroup(_Grouped):
    """L1 norm and norms of groups of regulators; see `sparse_group`."""

    entry: Array
    group: Array
    codes: Array
    count: int = static(default=1)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return self.entry * jnp.sum(jnp.abs(params.theta)) + self._norm(params.theta, prior)

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Soft threshold, then shrink every group."""
        return self._shrink(soft_threshold(v, step * self.entry), step, prior)

    formula = property(lambda self: "λ₁ ‖θ‖₁ + λ₂ Σ_g √n_g ‖θ_g‖")


def _coded(groups: Any) -> tuple[Along, int]:
    """Return the group of every named regulator as a number, and how many groups there are."""
    if isinstance(groups, Mapping):
        pairs = [(str(r), str(g)) for g, members in groups.items() for r in _members(g, members)]
    elif hasattr(groups, "index") and hasattr(groups, "to_numpy"):
        pairs = [(str(r), str(g)) for r, g in zip(groups.index, groups.to_numpy(), strict=True)]
    else:
        raise ValueError(
            "groups are a dictionary {group: [regulators]}, or a Series of group by regulator, got "
            f"{type(groups).__name__}"
        )
    names = [r for r, _ in pairs]
    twice = sorted({r for r in names if names.count(r) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(
            f"a regulator is in one group, got several for {listed(twice, 3)}: norms of groups "
            "that overlap have no joint prox; put each regulator into one"
        )
    if not pairs:
        raise ValueError("groups need at least one regulator, got none")
    found = list(dict.fromkeys(g for _, g in pairs))
    place = {g: i for i, g in enumerate(found)}
    codes = np.array([place[g] for _, g in pairs], np.float64)
    return along(codes, "regulators", names=names), len(found)


def _members(group: Any, members: Any) -> list[Any]:
    if isinstance(members, str) or not np.iterable(members):
        raise ValueError(f"group {group!r} needs a list of regulators, got {members!r}")
    return list(members)


def group_lasso(strength: float, groups: Any) -> GroupLasso:
    """Sum of norms of groups of regulators: a target takes a group as a whole or not at all.

    R(theta) = strength sum over targets and groups g of sqrt(n_g) |theta_g|, n_g the number of the
    target's candidates in the group (after a mask has deleted some).

    Parameters
    ----------
    strength
        lambda >= 0, in units of the loss per unit of theta.
    groups
        ``{group: [regulators]}``, or a Series of the group by regulator. Every regulator of the
        problem needs one group: one of its own makes it an L1 penalty.

    Raises
    ------
    ValueError
        A regulator in several groups; regulators of the problem in none (when it is bound).

    References
    ----------
    Yuan and Lin, J. R. Stat. Soc. B 68 (2006) 49, doi:10.1111/j.1467-9868.2005.00532.x.
    """
    return GroupLasso(check_number("strength", strength), *_coded(groups))


def sparse_group(l1_strength: float, group_strength: float, groups: Any) -> SparseGroup:
    """L1 norm and norms of groups together: few groups, and few regulators within each.

    R(theta) = l1_strength sum_j |theta_j| + group_strength sum_g sqrt(n_g) |theta_g|, with groups
    and n_g as in `group_lasso`. The prox is exact: the soft threshold, then that of the groups.

    References
    ----------
    Simon, Friedman, Hastie and Tibshirani, J. Comput. Graph. Stat. 22 (2013) 231,
    doi:10.1080/10618600.2012.681250.
    """
    return SparseGroup(
        check_number("l1_strength", l1_strength),
        check_number("group_strength", group_strength),
        *_coded(groups),
    )


@pytree
class L1Linf(Regularizer):
    """Largest coefficient of every regulator, summed; see `l1_linf`."""

    strength: Array

    separable = None
    convex = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        return self.strength * jnp.sum(jnp.max(jnp.abs(params.theta), axis=1, initial=0))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Take off each row what its projection onto an L1 ball is."""
        return v - onto_l1_ball(v.T, step * self.strength).T

    formula = property(lambda self: "λ Σⱼ max_g |θ_jg|")


def l1_linf(strength: float) -> L1Linf:
    """Largest coefficient of every regulator, summed: few regulators in the whole network.

    R(theta) = strength sum_j max over targets g of |theta_jg|. A regulator that acts on one target
    may act on all others up to that size for nothing. It couples the targets.

    Parameters
    ----------
    strength
        lambda >= 0, in units of the loss per unit of theta.

    References
    ----------
    Turlach, Venables and Wright, Technometrics 47 (2005) 349, doi:10.1198/004017005000000139.
    """
    return L1Linf(check_number("strength", strength))
