"""Sets on sums of a target's coefficients: the simplex, linear equalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.check import check_number
from unigrn.kernels import onto_simplex
from unigrn.terms import Along, Array, Blocks, Constraint, PriorView, View, along, pytree


def _live(prior: PriorView) -> Array:
    """Whether a target has candidates."""
    return jnp.any(prior.valid, axis=0)


@pytree
class Simplex(Constraint):
    """theta >= 0 that sums to a total; see `simplex`."""

    total: Array

    separable = "targets"
    convex = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return the largest distance from 0 of what is below, or from the total."""
        theta = jnp.where(prior.valid, params.theta, 0)
        apart = jnp.abs(jnp.sum(theta, axis=0) - self.total)
        noise = 8 * theta.shape[0] * jnp.finfo(theta.dtype).eps
        sums = jnp.where(apart > noise * (jnp.sum(jnp.abs(theta), axis=0) + self.total), apart, 0)
        below = jnp.max(jnp.maximum(-theta, 0), initial=0)
        stray = jnp.max(jnp.abs(params.theta - theta), initial=0)
        most = jnp.max(jnp.where(_live(prior), sums, 0), initial=0)
        return jnp.maximum(jnp.maximum(below, stray), most)

    def project(self, v: Array, prior: PriorView) -> Array:
        """Project every target's candidates, by sorting."""
        return onto_simplex(jnp.where(prior.valid, v, -jnp.inf), self.total)

    formula = property(lambda self: "θ_g ≥ 0, Σⱼ θ_jg = c")


def simplex(total: float = 1.0) -> Simplex:
    """Coefficients of every target are >= 0 and sum to a total: shares of its regulation.

    theta_jg >= 0 and sum over the candidates j of theta_jg = total, for every target g that has
    candidates. It is solved on the candidates that a mask leaves.

    Parameters
    ----------
    total
        Number > 0, in units of theta.

    References
    ----------
    Held, Wolfe and Crowder, Math. Program. 6 (1974) 62, doi:10.1007/BF01580223.
    """
    return Simplex(check_number("total", total, strict=True))


@pytree
class LinearEquality(Constraint):
    """Linear equations of every target's coefficients; see `linear_equality`."""

    coefficients: Array
    value: Array

    separable = "targets"
    convex = True

    def _units(self, prior: PriorView) -> tuple[Array, Array, Array]:
        """Return equations of length 1, their values, and what is left of those without entries."""
        dtype = prior.weight.dtype
        rows = jnp.asarray(self.coefficients, dtype) * prior.valid.astype(dtype)[None, :]
        value = jnp.asarray(self.value, dtype)
        length = jnp.sqrt(jnp.sum(rows**2, axis=1))
        some = length > 0
        unit = jnp.where(some, length, 1)
        return rows / unit[:, None], jnp.where(some, value / unit, 0), jnp.where(some, 0, value)

    def _apart(self, theta: Array, prior: PriorView) -> Array:
        rows, value, left = self._units(prior)
        apart = jnp.abs(rows @ theta - value)
        noise = 32 * theta.shape[0] * jnp.finfo(theta.dtype).eps
        size = jnp.abs(rows) @ jnp.abs(theta) + jnp.abs(value)
        apart = jnp.maximum(jnp.where(apart > noise * size, apart, 0), jnp.abs(left))
        stray = jnp.max(jnp.where(prior.valid, 0, jnp.abs(theta)), initial=0)
        return jnp.maximum(jnp.max(jnp.where(_live(prior), apart, 0), initial=0), stray)

    def _nearest(self, v: Array, prior: PriorView) -> Array:
        rows, value, _ = self._units(prior)
        v = jnp.where(prior.valid, v, 0)
        inverse = jnp.linalg.pinv(rows)
        u = v - inverse @ (rows @ v - value)
        return u - inverse @ (rows @ u - value)  # once more: rounding of large v

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return the largest distance from the plane of an equation."""
        if params.theta.ndim == 1:
            return self._apart(params.theta, prior)
        return jnp.max(jax.vmap(self._apart, 1)(params.theta, prior), initial=0)

    def project(self, v: Array, prior: PriorView) -> Array:
        """Project every target's candidates."""
        if v.ndim == 1:
            return self._nearest(v, prior)
        return jax.vmap(self._nearest, 1, 1)(v, prior)

    formula = property(lambda self: "Aθ_g = b")


def linear_equality(coefficients: Any, value: Any = 0.0) -> LinearEquality:
    """Linear equations that every target's coefficients meet: A theta_g = b.

    The entries of A that belong to no candidate of the target are left out (they have theta = 0).
    Equations without a common solution are found: such a fit ends "outside the constraint".

    Parameters
    ----------
    coefficients
        One equation: a dictionary or Series of its coefficients by regulator. Several: a DataFrame,
        equations x regulators. Regulators that it lacks have the coefficient 0. Or a
        `unigrn.along` array with the axes ("equations", "regulators").
    value
        b, one number for all equations, or one each; in units of theta times A.

    Raises
    ------
    ValueError
        Coefficients without names, values that are not finite, or another number of values than of
        equations; names of none of the regulators of the problem (when it is bound).

    Examples
    --------
    >>> linear_equality({"a": 1.0, "b": -1.0}).formula
    'Aθ_g = b'

    References
    ----------
    James, Paulson and Rusmevichientong, J. Am. Stat. Assoc. 115 (2020) 107,
    doi:10.1080/01621459.2018.1473777 (penalized regression under linear equalities).
    """
    if isinstance(coefficients, Mapping):
        names, rows = list(coefficients), np.array([list(coefficients.values())], float)
    elif hasattr(coefficients, "columns"):
        names, rows = list(coefficients.columns), coefficients.to_numpy(float)
    elif hasattr(coefficients, "index") and hasattr(coefficients, "to_numpy"):
        names, rows = list(coefficients.index), coefficients.to_numpy(float)[None, :]
    elif isinstance(coefficients, Along):
        names, rows = None, np.asarray(coefficients.values, float)
    else:
        raise ValueError(
            "coefficients are a dictionary or a Series by regulator, or a DataFrame of equations x "
            f"regulators, got {type(coefficients).__name__}"
        )
    if not rows.size or rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(
            f"coefficients must be finite numbers, at least one, got an array of {rows.shape}"
        )
    values = np.asarray(value, float)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != len(rows)):
        raise ValueError(f"value needs one number, or {len(rows)}, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"value must be finite, got {value!r}")
    if names is not None:
        names = list(map(str, names))
        coefficients = along(rows, "equations", "regulators", names=names, fill=0.0)
    return LinearEquality(coefficients, along(np.broadcast_to(values, len(rows)).copy()))
