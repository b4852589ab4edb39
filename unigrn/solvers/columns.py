"""Proximal-point steps of a block whose columns solve least squares, all columns at once.

For one block B (k, c) and `Squares` with design D, weights W and targets T, column c of the step is

    b_c <- (M_c + s_c I)^-1 (D diag(w_c) t_c + s_c b_c),   M_c = D diag(w_c) D' + ridge,

with s_c = weight |M_c|_F. Without weights the columns share one matrix and one factorisation. With
weights the c matrices are never formed: conjugate gradients need D (W o (D'B)) only, two products
for all columns, and converge fast because M_c + s_c I has a condition number of at most
1 + 1 / weight. Memory is that of W.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from unigrn.terms import Array, Squares

CHUNK = 1 << 22  # numbers of a product that is only needed to be summed


def _dot(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def shared_matrix(squares: Squares) -> Array:
    """Return M, (k, k), where all columns have the same weights."""
    rows = squares.design.shape[0]
    gram = squares.scale * _dot(squares.design, squares.design.T)
    ridge = jnp.broadcast_to(jnp.asarray(squares.ridge, gram.dtype), (rows, 1))[:, 0]
    return gram + jnp.diag(ridge)


def slope(squares: Squares, block: Array) -> Array:
    """Return the gradient 2 (M B - D T) in the block, where all columns have the same weights."""
    right = squares.scale * _dot(squares.design, squares.target)
    return 2 * (_dot(shared_matrix(squares), block) - right)


def frobenius(squares: Squares) -> Array:
    """Return |M_c|_F for every column, (c,), or one number where they share it."""
    if squares.design is None:
        raise ValueError("squares without residuals have no matrix")
    if squares.weight is None:
        return jnp.sqrt(jnp.sum(shared_matrix(squares) ** 2))
    design, weight = squares.design, squares.scale * squares.weight
    k = design.shape[0]
    ridge = jnp.broadcast_to(jnp.asarray(squares.ridge, design.dtype), (k, 1))
    own = _dot(design**2, weight)  # diagonals of D diag(w_c) D'
    return jnp.sqrt(_squared_norms(design, weight) + jnp.sum(2 * ridge * own + ridge**2, axis=0))


def _squared_norms(design: Array, weight: Array) -> Array:
    """|D diag(w_c) D'|_F^2 for every column, without forming the matrices."""
    k, r = design.shape
    total = jnp.zeros(weight.shape[1], design.dtype)
    if 2 * r > k * k:

        def row(i, total):
            one = lax.dynamic_slice_in_dim(design, i, 1, 0)
            return total + jnp.sum(_dot(one * design, weight) ** 2, axis=0)

        return lax.fori_loop(0, k, row, total)
    # = sum_ij w_i w_j (d_i . d_j)^2, whose halves above and below the diagonal are equal.
    pieces = max(min(6, r // 64), -(-r * r // CHUNK), 1)
    ends = [round(r * i / pieces) for i in range(pieces + 1)]
    for low, high in zip(ends[:-1], ends[1:], strict=True):
        alike = _dot(design[:, low:high].T, design[:, :high]) ** 2
        twice = np.where(np.arange(high) < low, 2, 1).astype(design.dtype)
        total = total + jnp.sum(
            weight[low:high] * _dot(alike * twice[None, :], weight[:high]), axis=0
        )
    return total


def curvature(squares: Squares, tight: bool) -> Array:
    """Bound the Lipschitz constant of the gradient in the block: 2 |M|, the worst column.

    ``tight`` takes the smaller of the Frobenius norm and the largest row sum, both of which bound
    the largest eigenvalue; otherwise the Frobenius norm.
    """
    if squares.design is None:
        return 2 * jnp.max(jnp.asarray(squares.ridge))
    norm = jnp.max(frobenius(squares))
    if tight and squares.weight is None:
        rows = jnp.sum(jnp.abs(shared_matrix(squares)), axis=1)
        norm = jnp.minimum(norm, jnp.max(rows))
    return 2 * norm


def step(squares: Squares, block: Array, weight: float, most: int | None = None) -> Array:
    """Take the proximal-point step of all columns of ``block`` (k, c); weight 0 minimises.

    ``most`` caps the steps of conjugate gradients, each of which descends.
    """
    design, dtype = squares.design, block.dtype
    ridge = jnp.asarray(squares.ridge, dtype)
    if squares.weight is None:
        matrix = shared_matrix(squares)
        shift = weight * jnp.sqrt(jnp.sum(matrix**2))
        right = squares.scale * _dot(design, squares.target) + shift * block
        # Padding and unused rows leave zeros on the diagonal: their solution is 0.
        diagonal = jnp.diagonal(matrix) + shift
        matrix = matrix + jnp.diag(shift + jnp.where(diagonal > 0, 0, 1))
        return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(matrix), True), right)
    weights = squares.scale * squares.weight
    right = _dot(design, weights * squares.target)
    shift = ridge
    if weight:
        far = weight * frobenius(squares)[None, :]
        right = right + far * block
        shift = far + jnp.broadcast_to(ridge, (block.shape[0], 1))
    transposed = design.T

    def apply(x):
        return _dot(design, weights * _dot(transposed, x)) + shift * x

    tolerance = float(jnp.finfo(dtype).eps) ** 0.83  # 1e-13, or 2e-6 in single precision
    return conjugate_gradients(
        apply, right, block, tolerance, 4 * block.shape[0] + 16 if most is None else most
    )


def conjugate_gradients(apply, right: Array, start: Array, tolerance: float, most: int) -> Array:
    """Solve M_c x_c = b_c for all columns of ``right`` (k, c), M_c positive definite.

    Stops where every residual is below ``tolerance`` times its right-hand side. Each step lowers
    the quadratic, so that stopping early still descends. Source: Hestenes and Stiefel, J. Res.
    Natl. Bur. Stand. 49 (1952) 409, doi:10.6028/jres.049.044.
    """
    enough = (tolerance**2) * jnp.sum(right**2, axis=0)

    def body(state):
        x, residual, ahead, size, count = state
        image = apply(ahead)
        bend = jnp.sum(ahead * image, axis=0)
        go = (size > enough) & (bend > 0)
        length = jnp.where(go, size / jnp.where(go, bend, 1), 0)[None, :]
        x = x + length * ahead
        residual = residual - length * image
        new = jnp.sum(residual**2, axis=0)
        turn = jnp.where(go, new / jnp.where(go, size, 1), 0)[None, :]
        return x, residual, residual + turn * ahead, jnp.where(go, new, 0), count + 1

    def proceed(state):
        return jnp.any(state[3] > enough) & (state[4] < most)

    residual = right - apply(start)
    size = jnp.sum(residual**2, axis=0)
    state = (start, residual, residual, size, jnp.zeros((), jnp.int32))
    return lax.while_loop(proceed, body, state)[0]
