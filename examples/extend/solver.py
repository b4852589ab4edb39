"""A solver of one's own: cyclic coordinate descent for the lasso, on moments.

For sum of squares + sum_j c_j |theta_j| the minimum over one coordinate is a soft threshold. The
solver returns no status: unigrn then certifies the point by the residual of the whole problem, so
that a slip in here shows as "not converged".
Source: Friedman, Hastie and Tibshirani, J. Stat. Softw. 33 (2010) 1, doi:10.18637/jss.v033.i01.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unigrn import Blocks, Fit, Requirement, Solver, Spec, l1, least_squares, no_self


def descend(terms, view, prior, options) -> Fit:
    """Sweep over the coordinates until none moves."""
    m = view.moments
    price = terms.regularizer.absolute(view, prior)  # c_j: a capability of l1 and its like
    diagonal = jnp.diagonal(m.gram)
    safe = jnp.where(diagonal > 0, diagonal, 1)

    def coordinate(j, theta):
        slope = m.cross[j] - m.gram[j] @ theta + diagonal[j] * theta[j]
        best = jnp.sign(slope) * jnp.maximum(jnp.abs(slope) - price[j] / 2, 0) / safe[j]
        return theta.at[j].set(jnp.where(prior.valid[j], best, 0))

    def sweep(state):
        theta, _, count = state
        new = jax.lax.fori_loop(0, theta.shape[0], coordinate, theta)
        return new, jnp.max(jnp.abs(new - theta)), count + 1

    def going(state):
        theta, moved, count = state
        return (moved > 1e-3 * options.tolerance * jnp.max(jnp.abs(theta))) & (count < options.most)

    zero = jnp.zeros_like(prior.weight)
    start = (zero, jnp.full_like(zero[0], jnp.inf), jnp.zeros((), jnp.int32))
    theta, _, count = jax.lax.while_loop(going, sweep, start)
    value = terms.loss(Blocks(theta=theta), view, prior) + jnp.sum(price * jnp.abs(theta))
    return Fit(Blocks(theta=theta), None, None, count, value)


def lacking(profile) -> list[str]:
    """Say what a spec lacks for this solver; an empty list if nothing."""
    spec = profile.spec
    if not spec.separable or spec.blocks != ("theta",):
        return ["it solves target by target, in theta alone"]
    if spec.loss.quadratic is None or spec.regularizer is None or spec.regularizer.absolute is None:
        return ["the loss is a sum of squares, the regularizer a weighted sum of |theta|"]
    return []


COORDINATES = Solver("coordinate descent", "moments", descend, (Requirement("a lasso", lacking),))


def lasso(prior, strength: float = 5.0) -> Spec:
    """Give it something to solve: unigrn.fit(lasso(prior), data, solver=COORDINATES)."""
    return Spec(least_squares(), l1(strength), no_self(), prior=prior)
