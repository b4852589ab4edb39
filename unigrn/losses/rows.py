"""What losses share on rows: weights of cells, squares, curvature."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.terms import Array, Blocks, View


def cell_weights(data: View) -> Array:
    """Weights of the cells, 1 where there are none."""
    return jnp.ones(data.x.shape[0], data.x.dtype) if data.weight is None else data.weight


def weighted_sum(data: View, value: Array) -> Array:
    """Sum over cells, and targets, of a value for each; a cell of weight 0 counts for nothing."""
    weight = cell_weights(data)
    column = weight if value.ndim == 1 else weight[:, None]
    return jnp.sum(jnp.where(column > 0, column * value, 0))


def fitted(params: Blocks, data: View) -> Array:
    """Return theta_0 + x theta, like y."""
    linear = data.x @ params.theta
    return linear + jnp.broadcast_to(params.intercept, linear.shape)


def centred_squares(data: View, linear: Array, intercept: bool) -> tuple[Array, Array]:
    """Weighted sum of squared residuals of each target, and the total weight."""
    weight = cell_weights(data)
    residual = data.y - linear
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
