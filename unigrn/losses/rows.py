"""What losses share on rows: weights of cells, squares, curvature."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.terms import Array, View


def cell_weights(data: View) -> Array:
    """Weights of the cells, 1 where there are none."""
    return jnp.ones(data.x.shape[0], data.x.dtype) if data.weight is None else data.weight


def centred_squares(data: View, fitted: Array, intercept: bool) -> tuple[Array, Array]:
    """Weighted sum of squared residuals of each target, and the total weight."""
    weight = cell_weights(data)
    residual = data.y - fitted
    column = weight if residual.ndim == 1 else weight[:, None]
    count = jnp.sum(weight)
    if intercept:
        mean = jnp.sum(column * residual, axis=0, keepdims=True) / count
        residual = residual - mean
    return jnp.sum(column * residual**2, axis=0), count


def curvature(data: View) -> Array:
    """Bound the largest eigenvalue of X' W X, with a column of ones, by its trace norm."""
    weight = cell_weights(data)
    return largest_eigenvalue((data.x * weight[:, None]).T @ data.x) + jnp.sum(weight)


def largest_eigenvalue(gram: Array) -> Array:
    """Bound the largest eigenvalue of a positive semidefinite matrix by two of its norms."""
    return jnp.minimum(jnp.max(jnp.sum(jnp.abs(gram), axis=1)), jnp.sqrt(jnp.sum(gram**2)))
