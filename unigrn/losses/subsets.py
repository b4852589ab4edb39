"""Criteria of which regulators are in use."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma

from unigrn.check import check_number, check_whole
from unigrn.terms import Array, Blocks, Loss, PriorView, View, pytree, static

# Share of its squares below which what others leave of a regulator is nothing: rounding of moments
# would decide its coefficient.
DEPENDENT = 1e-9


@pytree
class SubsetBic(Loss):
    """Expected information criterion of the regulators that are in use; see `subset_bic`."""

    on: Array
    off: Array
    candidates: int = static(default=10)

    separable = "targets"
    weighted = True

    def subsets(self) -> SubsetBic:
        """Return what a subset costs: this loss itself says it."""
        return self

    def shrinkage(self, prior: PriorView) -> Array:
        """Return h_j = (1 + g_j)^(-1/2), g ``on`` where the prior names the edge, else ``off``."""
        return 1 / jnp.sqrt(1 + jnp.where(prior.support, self.on, self.off))

    def criterion(self, rss: Array, shrunk: Array, used: Array, count: Array) -> Array:
        """Return n (ln((RSS + |x (h b)|^2) / 2) - psi(n / 2)) + k ln n."""
        n, tiny = jnp.maximum(count, 1e-30), jnp.finfo(rss.dtype).tiny
        size = jnp.where(rss + shrunk > tiny, (rss + shrunk) / 2, tiny)
        return n * (jnp.log(size) - digamma(n / 2)) + used * jnp.log(n)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on moments; of a whole network the sum over targets."""
        m, theta = data.moments, params.theta
        one = partial(self._of_target, m.gram, m.count)
        if theta.ndim == 2:
            one = jax.vmap(one, (1, 0, 1, 1))
        return jnp.sum(one(m.cross, m.square, theta, self.shrinkage(prior)))

    def _of_target(self, gram, count, cross, square, theta, h) -> Array:
        used = theta != 0
        rss = theta @ gram @ theta - 2 * cross @ theta + square
        # Least squares on the regulators in use: of these alone, not of theta.
        unit = jnp.sqrt(jnp.diagonal(gram))
        unit = jnp.where(used & (unit > 0), 1 / jnp.where(unit > 0, unit, 1), 0)
        inverse = jnp.linalg.pinv(unit[:, None] * gram * unit[None, :], DEPENDENT, hermitian=True)
        u = h * unit * (inverse @ (unit * cross))
        number = jnp.sum(used.astype(theta.dtype))
        return self.criterion(jnp.maximum(rss, 0), u @ gram @ u, number, count)

    formula = property(lambda self: "n (log ½(‖y − θ₀ − xθ‖² + ‖x(h b)‖²) − ψ(n/2)) + ‖θ‖₀ log n")


def subset_bic(candidates: int = 10, on: float = 1.0, off: float = 1.0) -> SubsetBic:
    """Price a subset S of the regulators by its expected Bayesian information criterion, g-prior.

    With S the regulators that theta uses, b least squares on S, and h_j = (1 + g_j)^(-1/2)

        L(theta) = n (ln s - psi(n / 2)) + |S| ln n,   s = (|y - x theta|^2 + |x (h b)|^2) / 2,

    y and x centred: least, given S, at theta = b. Where the regulators of S depend on each other, b
    is the least in units of their spreads; no such subset is taken by the enumeration. The least of
    all subsets of a few candidates is found by enumeration, exactly.

    Parameters
    ----------
    candidates
        Most candidates of a target whose subsets are tried, 1 to 12; where there are more,
        `unigrn.solvers.subsets` says which stay.
    on, off
        g >= 0 of edges that the prior names, and of the others: the larger, the less a coefficient
        costs.

    References
    ----------
    Greenfield, Hafemeister and Bonneau, Bioinformatics 29 (2013) 1060,
    doi:10.1093/bioinformatics/btt099.
    """
    candidates = check_whole("candidates", candidates, low=1)
    if candidates > 12:  # 4,096 subsets
        raise ValueError(
            f"candidates must lie from 1 to 12, got {candidates}: every subset is tried"
        )
    return SubsetBic(check_number("on", on), check_number("off", off), candidates)
