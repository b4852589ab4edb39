"""Columns: numbers of the edge table, as pure functions of what was fitted.

explained_j = (RSS without edge j - RSS) / total sum of squares, nothing fitted again: without the
edge the residual is r + theta_j x_j. From moments, so at no cost in cells.
Source: Skok Gibbs et al., Bioinformatics 38 (2022) 2519, doi:10.1093/bioinformatics/btac117.
"""

from __future__ import annotations

import jax.numpy as jnp

from unigrn import Spec, least_squares, no_self, ridge


def explained(params, data, prior):
    """Give a dict of columns, each shaped like theta."""
    m, theta = data.moments, params.theta
    left = m.cross - m.gram @ theta  # x'r, for every candidate
    more = 2 * theta * left + theta**2 * jnp.diagonal(m.gram)
    return {"explained": more / jnp.where(m.square > 0, m.square, 1)}


def ranked(prior, alpha: float = 1.0) -> Spec:
    """Ridge, with what each edge explains beside its weight."""
    return Spec(least_squares(), ridge(alpha), no_self(), prior=prior, columns=explained)
