"""Acyclic networks of genes by genes: the set, and smooth measures of how far a network is from it.

Theta (p, p) is read as edges from regulators to targets, its regulators the targets themselves in
the same order.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.terms import Array, Blocks, Constraint, PriorView, Regularizer, View, pytree, static


def closure(size: Array) -> Array:
    """Return for every pair of genes the largest t so that a path of entries >= t leads there.

    Of a matrix (p, p) of sizes >= 0; 0 where no path of positive entries leads from i to j.
    """

    def through(k, best):
        return jnp.maximum(best, jnp.minimum(best[:, k][:, None], best[k][None, :]))

    count = jnp.asarray(size.shape[0], jnp.int32)
    return jax.lax.fori_loop(jnp.zeros((), jnp.int32), count, through, size)


@pytree
class Acyclic(Constraint):
    """No directed cycle; see `acyclic`."""

    square = True
    separable = None
    acyclic = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return the largest t so that entries of at least t in size form a cycle; else 0."""
        theta = params.theta
        if theta.shape[0] != theta.shape[1]:
            raise ValueError(f"an acyclic network is one of genes by genes, got {theta.shape}")
        return jnp.max(jnp.diagonal(closure(jnp.abs(theta))), initial=0)

    formula = property(lambda self: "θ has no cycle")


def acyclic() -> Acyclic:
    """Networks of genes by genes without directed cycles, self-edges included.

    Its value is the largest t so that entries with |theta_ij| >= t form a cycle: the distance from
    the set in the largest entry, and 0 without any rounding just where there is no cycle. Not
    convex, without a projection.
    """
    return Acyclic()


@pytree
class Acyclicity(Regularizer):
    """Strength times h(theta); see `acyclicity`."""

    strength: Array
    level: Array
    form: str = static(default="log det")

    square = True
    separable = None

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network; NaN outside the domain of the log det."""
        squares = jnp.asarray(params.theta) ** 2
        eye = jnp.eye(squares.shape[0], dtype=squares.dtype)
        if self.form == "trace":
            powers = jax.scipy.linalg.expm(squares)
            return self.strength * (jnp.trace(powers) - squares.shape[0])
        matrix = self.level * eye - squares
        value = jnp.linalg.slogdet(eye - squares / self.level)[1]
        # The spectral radius is below the level just where the inverse has no entry below 0.
        inverse = jax.lax.stop_gradient(jnp.linalg.inv(matrix))
        within = jnp.all(inverse >= -8 * jnp.finfo(squares.dtype).eps * jnp.max(jnp.abs(inverse)))
        return -self.strength * value * jnp.where(within, 1, jnp.nan)

    @property
    def formula(self) -> str:
        """The measure as text."""
        return "ρ (tr exp(θ∘θ) − p)" if self.form == "trace" else "ρ (p log s − log det(sI − θ∘θ))"


def acyclicity(strength: float, form: str = "log det", level: float = 1.0) -> Acyclicity:
    """Smooth measure of cycles: 0 just where the network of genes by genes has none.

    R(theta) = strength h(theta), with
    h = -log det(s I - theta o theta) + p log s, o entrywise ("log det"), defined where the spectral
    radius of theta o theta is below s, NaN elsewhere; or
    h = tr exp(theta o theta) - p ("trace"). Not convex. As a penalty it makes cycles weak; the
    constraint `acyclic` excludes them.

    Parameters
    ----------
    strength
        rho >= 0, in units of the loss.
    form
        "log det" or "trace".
    level
        s > 0.

    References
    ----------
    Bello, Aragam and Ravikumar, NeurIPS 35 (2022) 8226, arXiv:2209.08037 (log det); Zheng, Aragam,
    Ravikumar and Xing, NeurIPS 31 (2018) 9472, arXiv:1803.01422 (trace).
    """
    if form not in ("log det", "trace"):
        raise ValueError(f"form must be 'log det' or 'trace', got {form!r}")
    level = check_number("level", level, strict=True)
    return Acyclicity(check_number("strength", strength), level, form)
