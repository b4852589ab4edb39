"""A penalty across groups: neighbours in a lineage have similar networks.

min over theta_1..theta_G of  sum_g |Y_g - X_g theta_g|^2 + ridge |theta_g|^2
+ strength * sum over neighbours (a, b) of |theta_a - theta_b|^2. The targets still separate; of one
target the term sees theta (groups, candidates), in the order of `Data.groups`.
Source: Chasman et al., PLoS Comput. Biol. 12 (2016) e1005013, doi:10.1371/journal.pcbi.1005013.
"""

from __future__ import annotations

import jax.numpy as jnp

from unigrn import Spec, least_squares, no_self, regularizer, ridge


def neighbours_alike(params, data, prior, strength):
    """Squared differences between each group and the next."""
    return strength * jnp.sum((params.theta[1:] - params.theta[:-1]) ** 2)


def lineage(prior, strength: float = 10.0, alpha: float = 1.0) -> Spec:
    """Ridge in every group, pulled towards its neighbours along the order of the groups."""
    alike = regularizer(neighbours_alike, across=True, convex=True, strength=strength)
    return Spec(least_squares(), ridge(alpha) + alike, no_self(), prior=prior)
