"""A new term: group lasso, whose groups of regulators are given by name.

R(theta) = strength * sum over groups of |theta_group|, for one target theta (candidates,), for a
network (candidates, targets). It has a kink, so it brings its prox; then any solver that takes a
prox can take it, and its certificate is that of the whole problem.
Source: Yuan and Lin, J. R. Stat. Soc. B 68 (2006) 49, doi:10.1111/j.1467-9868.2005.00532.x.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from unigrn import Regularizer, Spec, along, least_squares, no_self, pytree


@pytree  # its fields are arrays of the compiled program: new numbers do not recompile it
class GroupLasso(Regularizer):
    """strength * sum over groups of the length of theta in the group."""

    strength: float
    member: Any  # (regulators, groups), 0 or 1: unigrn gives a fit the rows of its own candidates

    separable = "targets"  # a sum over targets: each can be solved by itself
    convex = True  # so solvers may accelerate
    formula = "λ Σ ‖θ_group‖"

    def _lengths(self, theta):
        return jnp.sqrt(self.member.T @ theta**2)  # (groups,) or (groups, targets)

    def __call__(self, params, data, prior):
        """Evaluate."""
        return self.strength * jnp.sum(self._lengths(params.theta))

    def prox(self, v, step, data, prior, params=None):
        """Shorten every group by step * strength, to 0 at most."""
        length = self._lengths(v)
        keep = jnp.maximum(1 - step * self.strength / jnp.where(length > 0, length, jnp.inf), 0)
        return v * (self.member @ keep)


def group_lasso(strength: float, group_of: dict[str, str]) -> GroupLasso:
    """Build it from the group of every regulator, by name."""
    groups = sorted(set(group_of.values()))
    member = np.array([[float(g == own) for g in groups] for own in group_of.values()])
    # Named: the rows follow their regulators through sorting, deletion and padding.
    return GroupLasso(strength, along(member, "regulators", "groups", names=list(group_of)))


def grouped(prior, strength: float = 5.0) -> Spec:
    """Least squares with a group lasso; the groups are the regulators' first letters."""
    groups = {name: name[0] for name in prior.regulators.tolist()}
    return Spec(least_squares(), group_lasso(strength, groups), no_self(), prior=prior)
