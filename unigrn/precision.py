"""Terms of precision matrices: networks of genes by genes, symmetric and positive definite.

Theta is (p, p), its regulators the targets themselves in the same order: conditional dependence has
no direction. Entry (i, j) is 0 where genes i and j are independent given all others.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from unigrn.check import check_number
from unigrn.terms import Array, Blocks, Constraint, LogDet, Loss, PriorView, View, pytree


def genes_of(prior: PriorView) -> Array:
    """Return which rows of a network of genes by genes are genes and not padding, (p,)."""
    return jnp.diagonal(prior.valid & prior.self_edge)


def check_square(prior: PriorView, formula: str) -> None:
    """Raise ValueError unless every pair of the same genes is a candidate, self-edges included.

    Called on the host: entries of all targets end to end, or a matrix.
    """
    own = prior.self_edge.ravel()
    count = int(own.sum())
    if own.size != count**2 or not own[:: count + 1].all():
        raise ValueError(
            f"{formula} takes all pairs of the same genes, {count} of them regulate themselves and "
            f"{own.size:,} entries are candidates; leave out constraints that delete entries, such "
            "as no_self and support"
        )


@pytree
class GaussianGraph(Loss):
    """Gaussian negative log-likelihood of a precision matrix; see `gaussian_graph`."""

    covariance: Array = None  # worked out by `prepare`

    square = True
    separable = None
    convex = True
    weighted = True

    def check(self, prior: PriorView) -> None:
        """Ask for all pairs of genes."""
        check_square(prior, self.formula)

    def prepare(self, data: View, prior: PriorView) -> GaussianGraph:
        """Work out the covariance of the genes, (p, p), 0 of those that do not vary."""
        if self.covariance is not None:
            return self
        weight = jnp.ones_like(data.x[:, 0]) if data.weight is None else data.weight
        share = (weight / jnp.sum(weight))[:, None]
        centred = data.x - jnp.sum(share * data.x, axis=0, keepdims=True)
        covariance = centred.T @ (share * centred)
        # What rounding of the mean leaves of a constant gene is no variance.
        noise = 32 * jnp.finfo(data.x.dtype).eps * jnp.max(jnp.abs(data.x), axis=0)
        live = jnp.diagonal(covariance) > noise**2
        return GaussianGraph(jnp.where(live[:, None] & live[None, :], covariance, 0))

    def log_det(self, data: View, prior: PriorView) -> LogDet:
        """Return the covariance with weight 1, over the genes that vary."""
        matrix = self.prepare(data, prior).covariance
        live = genes_of(prior) & (jnp.diagonal(matrix) > 0)
        return LogDet(jnp.ones((), matrix.dtype), matrix, live)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network; NaN where it is not positive definite."""
        return self.log_det(data, prior).value(params.theta)

    formula = property(lambda self: "−log det θ + tr(Sθ)")


def gaussian_graph() -> GaussianGraph:
    """Negative log-likelihood of a Gaussian with precision matrix theta, per cell and times 2.

    L(theta) = -log det theta + tr(S theta), theta (p, p) symmetric positive definite, S the
    weighted covariance of the genes (denominator sum of weights), without the constant
    p log(2 pi). Only the symmetric part of theta enters. Genes that do not vary have no part in it.

    Raises
    ------
    ValueError
        Where a constraint deletes entries, so that theta is no whole matrix.

    References
    ----------
    Friedman, Hastie and Tibshirani, Biostatistics 9 (2008) 432, doi:10.1093/biostatistics/kxm045.
    """
    return GaussianGraph()


@pytree
class PositiveDefinite(Constraint):
    """Symmetric, with eigenvalues of at least a floor; see `positive_definite`."""

    floor: Array

    square = True
    separable = None
    convex = True

    @property
    def definite(self) -> bool | None:
        """True where the floor is known to be 0."""
        known = not isinstance(self.floor, Tracer) and not np.ndim(self.floor)
        return True if known and float(self.floor) == 0 else None

    def check(self, prior: PriorView) -> None:
        """Ask for all pairs of genes."""
        check_square(prior, self.formula)

    def _even(self, theta: Array, prior: PriorView) -> tuple[Array, Array]:
        """Return the symmetric part, and which entries are pairs of genes."""
        live = genes_of(prior)
        both = live[:, None] & live[None, :]
        return jnp.where(both, (theta + theta.T) / 2, 0), both

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return the largest asymmetry, or by how much the least eigenvalue is below the floor."""
        even, both = self._even(params.theta, prior)
        odd = jnp.max(jnp.abs(jnp.where(both, params.theta, 0) - even), initial=0)
        padding = jnp.diag(jnp.where(genes_of(prior), 0, self.floor).astype(even.dtype))
        least = jnp.linalg.eigvalsh(even + padding)[0]
        # What rounding makes of an eigenvalue at the floor is no violation.
        eps = jnp.finfo(even.dtype).eps * even.shape[0] * jnp.max(jnp.abs(even), initial=0)
        return jnp.maximum(odd, jnp.where(self.floor - least > 8 * eps, self.floor - least, 0))

    def project(self, v: Array, prior: PriorView) -> Array:
        """Raise the eigenvalues of the symmetric part to the floor."""
        even, both = self._even(v, prior)
        values, vectors = jnp.linalg.eigh(even)
        moved = (vectors * jnp.maximum(values, self.floor)[None, :]) @ vectors.T
        return jnp.where(both, (moved + moved.T) / 2, 0)

    @property
    def formula(self) -> str:
        """The set as text."""
        if hasattr(self.floor, "aval"):
            return "θ = θᵀ ⪰ c I"
        return f"θ = θᵀ ⪰ {f'{float(self.floor):g} I' if self.floor else '0'}"


def positive_definite(floor: float = 0.0) -> PositiveDefinite:
    """Symmetric networks of genes by genes whose eigenvalues are at least ``floor``.

    theta = theta', theta - floor I positive semidefinite. The nearest one has the eigenvectors of
    the symmetric part, with eigenvalues raised to the floor. Beside a log det, which is infinite at
    the border, a floor of 0 asks for nothing more.

    Parameters
    ----------
    floor
        Number >= 0.

    References
    ----------
    Higham, Linear Algebra Appl. 103 (1988) 103, doi:10.1016/0024-3795(88)90223-6.
    """
    return PositiveDefinite(check_number("floor", floor))
