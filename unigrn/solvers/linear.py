"""Many small symmetric positive definite systems at once, taken from few large Gram matrices.

A regression on moments, one target and one bag at a time, is the system

    (G[s][I, I] + diag(ridge)) x = H[s][I, t]

with ``I`` the candidate regulators of target ``t`` in bag ``s``. There are tens of thousands of
them and each is small, so a library call per system spends its time on overhead. Here the systems
lie along the last, contiguous axis of every array: each arithmetic step of one factorisation is
one vectorised loop over the systems of a tile.

On CPU the factorisation is a left-looking blocked Cholesky whose loop bounds are data, so one
compiled program serves every size up to the padded one. On GPU and TPU the library's batched
Cholesky is used.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = [
    "Solved",
    "cholesky_batch_last",
    "solve_gathered",
    "solve_spd",
    "solve_spd_batch_last",
]

# Measured on two cores with 512-bit vectors: larger blocks compile longer and run no faster.
BLOCK = 4
ROWS = 16
TILE = 64


class Solved(NamedTuple):
    """Solutions of many systems.

    Attributes
    ----------
    x : jax.Array
        Solutions; 0 in every padded entry and in every dropped unknown.
    ok : jax.Array
        One boolean per system. False where a pivot was at most ``eps * k`` times the diagonal
        entry it started from (a candidate that the earlier ones determine to rounding), or where
        the system holds a value that is not finite. A dependent unknown is then dropped: its
        coefficient is 0 and the others solve the system without it. A system with values that
        are not finite has the solution 0.
    residual : jax.Array or None
        ``max_i |A x - b|_i / max_i (|A| |x| + |b|)_i``, one per system, where asked for.
    """

    x: jax.Array
    ok: jax.Array
    residual: jax.Array | None = None


def _starts(start):
    return [jnp.asarray(i, jnp.int32) for i in start]


def _slice(x, start, size):
    return lax.dynamic_slice(x, _starts(start), size, allow_negative_indices=False)


def _update(x, part, start):
    start = _starts(start)
    return lax.dynamic_update_slice(x, part, start, allow_negative_indices=False)


def _loop(start, stop, step, body, state):
    """``for i in range(start, stop, step): state = body(i, state)`` with bounds that are data."""
    start = jnp.asarray(start, jnp.int32)
    stop = jnp.asarray(stop, jnp.int32)
    return lax.while_loop(
        lambda s: s[0] < stop, lambda s: (s[0] + step, body(s[0], s[1])), (start, state)
    )[1]


def _inverse_factor(block, floor):
    """Inverse of the Cholesky factor of (B, B, n) blocks, and which systems had good pivots."""
    left, scales, ok = [], [], True
    for c in range(BLOCK):
        pivot = block[0, 0]
        good = pivot > floor[c]
        ok = good & ok
        scale = jnp.where(good, lax.rsqrt(jnp.where(good, pivot, 1)), 0)
        left.append(block[0] * scale)
        scales.append(scale)
        block = block[1:, 1:] - left[c][1:, None] * left[c][None, 1:]
    rows = []
    for c in range(BLOCK):
        row = np.eye(BLOCK, dtype=scale.dtype)[c][:, None]
        for d in range(c):
            row = row - left[d][c - d] * rows[d]
        rows.append(row * scales[c])
    return jnp.stack(rows), ok


def _factor_tile(lower, inverse, panel, right, columns):
    """Factor one tile and carry the right-hand sides forward: ``right`` becomes inv(L) right.

    lower (k + ROWS, rows, n) workspace [column, row], inverse (k / B + 1, B, B, n) workspace,
    panel(o, r) -> (B, ROWS, n) the matrix in columns o.. and rows r.., right (k + ROWS, R, n),
    columns the number of unknowns, a multiple of B that may differ from call to call.

    Left-looking: columns o..o+B are read, reduced by all columns before them and scaled by the
    inverse of their own diagonal block, so that a matrix entry is read once, when it is needed.
    """
    n, many = lower.shape[-1], right.shape[1]
    tiny = jnp.finfo(lower.dtype).eps * (lower.shape[0] - ROWS)

    def reduced(lower, o, r, c):
        # One dynamic slice per row: a slice that serves several terms is emitted as a function
        # whose start index is loaded again for every element, and the loop is then not vectorised.
        def inner(d, c):
            for e in range(BLOCK):
                left = _slice(lower, (d + e, o, 0), (1, BLOCK, n))[0]
                down = _slice(lower, (d + e, r, 0), (1, ROWS, n))[0]
                c = c - left[:, None] * down[None]
            return c

        return _loop(0, o, BLOCK, inner, c)

    def column(o, state):
        lower, inverse, right, ok = state
        first = panel(o, o)
        floor = [first[e, e] * tiny for e in range(BLOCK)]
        c = reduced(lower, o, o, first)
        w, good = _inverse_factor(c[:, :BLOCK], floor)
        z = sum(
            w[:, d][:, None] * _slice(right, (o + d, 0, 0), (1, many, n)) for d in range(BLOCK)
        )

        def store(lower, right, c, r, skip):
            part = sum(w[:, d][:, None] * c[d][None] for d in range(BLOCK))
            lower = _update(lower, part, (o, r, 0))
            part = part[:, skip:]
            shift = sum(part[d][:, None] * z[d][None] for d in range(BLOCK))
            old = _slice(right, (r + skip, 0, 0), shift.shape)
            return lower, _update(right, old - shift, (r + skip, 0, 0))

        inverse = _update(inverse, w[None], (o // BLOCK, 0, 0, 0))
        right = _update(right, z, (o, 0, 0))
        lower, right = store(lower, right, c, o, BLOCK)
        lower, right = _loop(
            o + ROWS,
            columns,
            ROWS,
            lambda r, s: store(s[0], s[1], reduced(s[0], o, r, panel(o, r)), r, 0),
            (lower, right),
        )
        return lower, inverse, right, ok & good

    return _loop(0, columns, BLOCK, column, (lower, inverse, right, jnp.ones((n,), bool)))


def _backward_tile(lower, inverse, right, columns):
    """Solve L' x = right in place, from the last block to the first."""
    n, many = right.shape[-1], right.shape[1]

    def block(t, right):
        o = columns - BLOCK - t
        x = sum(
            _slice(inverse, (o // BLOCK, r, 0, 0), (1, 1, BLOCK, n))[0, 0][:, None]
            * _slice(right, (o + r, 0, 0), (1, many, n))
            for r in range(BLOCK)
        )
        right = _update(right, x, (o, 0, 0))

        def chunk(i, right):
            shift = sum(
                _slice(lower, (i, o + r, 0), (ROWS, 1, n)) * x[r][None] for r in range(BLOCK)
            )
            above = (i + jnp.arange(ROWS) < o)[:, None, None]
            old = _slice(right, (i, 0, 0), shift.shape)
            return _update(right, old - jnp.where(above, shift, 0), (i, 0, 0))

        return _loop(0, o, ROWS, chunk, right)

    return _loop(0, columns, BLOCK, block, right)


def _round_up(value, step):
    return -(-value // step) * step


def _workspace(size, n, dtype):
    return (
        # An odd number of rows keeps successive columns out of the same cache sets.
        jnp.zeros((size + ROWS, (size + ROWS) | 1, n), dtype),
        jnp.zeros((size // BLOCK + 1, BLOCK, BLOCK, n), dtype),
    )


def _matrix_panel(a):
    """Panel reader of a whole matrix (k, k, n), padded by the identity below."""
    size, n = a.shape[0], a.shape[-1]
    whole = _round_up(size, BLOCK)
    beyond = whole - size
    a = jnp.pad(a, ((0, beyond), (0, beyond + ROWS), (0, 0)))
    if beyond:
        extra = jnp.arange(size, whole)
        a = a.at[extra, extra].set(1)
    return (lambda o, r: _slice(a, (o, r, 0), (BLOCK, ROWS, n))), whole


@jax.jit
def solve_spd_batch_last(a, b):
    """Solve symmetric positive definite systems that lie along the last axis.

    Parameters
    ----------
    a : jax.Array
        (k, k, n) matrices; only the lower triangle ``a[j, i], i >= j`` of each is read.
    b : jax.Array
        (k, n) or (k, R, n) right-hand sides.

    Returns
    -------
    Solved
        ``x`` shaped like ``b``, ``ok`` (n,).
    """
    right = b if b.ndim == 3 else b[:, None]
    size, n = a.shape[0], a.shape[-1]
    panel, whole = _matrix_panel(a)
    right = jnp.pad(right, ((0, whole - size + ROWS), (0, 0), (0, 0)))
    lower, inverse = _workspace(whole, n, a.dtype)
    lower, inverse, right, ok = _factor_tile(lower, inverse, panel, right, whole)
    x = _backward_tile(lower, inverse, right, whole)[:size]
    x, ok = _finite(x, ok, (0, 1))
    return Solved(x if b.ndim == 3 else x[:, 0], ok)


@jax.jit
def cholesky_batch_last(a):
    """Lower Cholesky factors of matrices that lie along the last axis: ``A = L L'``.

    Parameters
    ----------
    a : jax.Array
        (k, k, n) symmetric positive definite matrices.

    Returns
    -------
    jax.Array
        (k, k, n) factors, ``L[i, j]`` row i and column j, zero above the diagonal. A dependent
        column (see `Solved`) is zero.
    """
    size, n = a.shape[0], a.shape[-1]
    panel, whole = _matrix_panel(a)
    lower, inverse = _workspace(whole, n, a.dtype)
    right = jnp.zeros((whole + ROWS, 1, n), a.dtype)
    lower = _factor_tile(lower, inverse, panel, right, whole)[0]
    lower = jnp.swapaxes(lower[:size, :size], 0, 1)
    return jnp.where(jnp.tril(jnp.ones((size, size), bool))[:, :, None], lower, 0)


def _finite(x, ok, axes):
    """Systems with values that are not finite: solution 0 and not ok."""
    fine = jnp.all(jnp.isfinite(x), axis=axes)
    return jnp.where(jnp.expand_dims(fine, axes), x, 0), ok & fine


@partial(jax.jit, static_argnames=("tile",))
def _gathered_batch_last(gram, cross, index, valid, system, target, ridge, tile):
    count, size = index.shape
    systems, q = gram.shape[:2]
    wide, whole = q + 1, _round_up(size, BLOCK)
    tile = min(tile, count)
    if max(systems * wide * wide, cross.size) >= 2**31:
        raise ValueError(
            f"gram {gram.shape} and cross {cross.shape} exceed 32-bit positions; "
            "solve fewer groups or bags at a time"
        )
    # An update in place copies rows; a pad asks at every element whether it is inside.
    gram = _update(jnp.zeros((systems, wide, wide), gram.dtype), gram, (0, 0, 0)).reshape(-1)
    moments = cross.reshape(-1)
    ridge = jnp.asarray(ridge, gram.dtype)

    def solve_tile(t, state):
        lower, inverse, x, ok = state
        begin = jnp.minimum(t * tile, count - tile)  # the last tile overlaps the one before

        def here(per_system):
            return _slice(per_system, (begin,), (tile,))

        def lay(per_entry, fill):
            part = _slice(per_entry, (begin, 0), (tile, size)).T
            return jnp.pad(part, ((0, whole + ROWS - size), (0, 0)), constant_values=fill)

        # A padded unknown has a zero row in the padded Gram matrix and 1 on the diagonal.
        held, which = lay(valid, False), here(system)
        at = jnp.where(held, lay(index, q), q)
        extra = jnp.where(held, lay(ridge, 1) if ridge.ndim == 2 else ridge, 1)
        start = which * (wide * wide)
        b = read(moments, (which * q + jnp.where(held, at, 0)) * cross.shape[2] + here(target))
        b = jnp.where(held, b, 0)[:, None]
        last = jnp.max(jnp.where(held, jnp.arange(1, whole + ROWS + 1)[:, None], 0))

        def panel(o, r):
            down = _slice(at, (r, 0), (ROWS, tile))
            across = start + _slice(at, (o, 0), (BLOCK, tile)) * wide
            same = (o + jnp.arange(BLOCK))[:, None] == (r + jnp.arange(ROWS))[None]
            more = _slice(extra, (o, 0), (BLOCK, tile))
            more = jnp.where(same[:, :, None], more[:, None], 0)
            return read(gram, across[:, None] + down[None]) + more

        last = _round_up(last, BLOCK)
        lower, inverse, b, good = _factor_tile(lower, inverse, panel, b, last)
        b = _backward_tile(lower, inverse, b, last)
        # Rows beyond the last unknown of a tile hold what an earlier tile left in the workspace.
        b = jnp.where(held, b[:, 0], 0)[:size]
        fine = jnp.all(jnp.isfinite(b), axis=0)
        b = jnp.where(fine, b, 0).T
        return lower, inverse, _update(x, b, (begin, 0)), _update(ok, good & fine, (begin,))

    def read(flat, position):
        return flat.at[position].get(mode="promise_in_bounds")

    lower, inverse = _workspace(whole, tile, gram.dtype)
    x, ok = jnp.zeros((count, size), gram.dtype), jnp.zeros((count,), bool)
    *_, x, ok = _loop(0, -(-count // tile), 1, solve_tile, (lower, inverse, x, ok))
    return Solved(x, ok)


@jax.jit
def _gathered_library(gram, cross, index, valid, system, target, ridge):
    held = jnp.where(valid, index, 0)
    both = valid[:, :, None] & valid[:, None, :]
    a = jnp.where(both, gram[system[:, None, None], held[:, :, None], held[:, None, :]], 0)
    ridge = jnp.where(valid, jnp.broadcast_to(ridge, valid.shape), 1).astype(gram.dtype)
    a = a + ridge[:, :, None] * jnp.eye(index.shape[1], dtype=gram.dtype)
    b = jnp.where(valid, cross[system[:, None], held, target[:, None]], 0)
    return _library(a, b)


def _library(a, b):
    """Batched library Cholesky; the systems it fails on are solved again, dropping unknowns."""
    size = a.shape[-1]
    right = b if b.ndim == 3 else b[:, :, None]
    lower = jnp.linalg.cholesky(a)
    pivot = jnp.square(jnp.diagonal(lower, axis1=1, axis2=2))
    floor = jnp.diagonal(a, axis1=1, axis2=2) * (jnp.finfo(a.dtype).eps * size)
    ok = jnp.all(pivot > floor, axis=1)

    def direct(_):
        return jax.scipy.linalg.cho_solve((lower, True), right)

    def dropping(_):
        x = solve_spd_batch_last(jnp.moveaxis(a, 0, 2), jnp.moveaxis(right, 0, 2)).x
        return jnp.where(ok[:, None, None], direct(None), jnp.moveaxis(x, 2, 0))

    x = lax.cond(jnp.all(ok), direct, dropping, None)
    x, ok = _finite(x, ok, (1, 2))
    return Solved(x if b.ndim == 3 else x[:, :, 0], ok)


def solve_gathered(gram, cross, index, valid, system, target, ridge, *, tile=TILE):
    """Solve ``(G[s][I, I] + diag(ridge)) x = H[s][I, t]`` for many (s, I, t) at once.

    Parameters
    ----------
    gram : jax.Array
        (S, q, q) symmetric Gram matrices G, one per group and bag.
    cross : jax.Array
        (S, q, p) cross moments H of the regulators with the targets.
    index : jax.Array
        (N, k) int32 positions 0..q-1 of the candidates of each system, anything where not valid.
    valid : jax.Array
        (N, k) bool, or (N,) int: how many leading entries of ``index`` count.
    system, target : jax.Array
        (N,) int32, which Gram matrix and which column of ``cross``. Systems of like size and of
        the same ``system`` side by side make the work smaller.
    ridge : jax.Array or float
        Added to the diagonal: a scalar, (k,) or (N, k), at least 0.
    tile : int
        How many systems are solved side by side on CPU.

    Returns
    -------
    Solved
        ``x`` (N, k), 0 where not valid, and ``ok`` (N,).
    """
    gram, cross, valid = jnp.asarray(gram), jnp.asarray(cross), jnp.asarray(valid)
    index, system, target = (jnp.asarray(x, jnp.int32) for x in (index, system, target))
    if valid.ndim == 1:
        valid = jnp.arange(index.shape[1]) < valid[:, None]
    if jax.default_backend() == "cpu":
        return _gathered_batch_last(gram, cross, index, valid, system, target, ridge, tile)
    return _gathered_library(gram, cross, index, valid, system, target, ridge)


def solve_spd(a, b, *, limit=128):
    """Solve symmetric positive definite systems ``a[n] x[n] = b[n]``.

    Parameters
    ----------
    a : jax.Array
        (N, k, k) matrices.
    b : jax.Array
        (N, k) or (N, k, R) right-hand sides.
    limit : int
        On CPU, systems with more unknowns than this go to the library's Cholesky.

    Returns
    -------
    Solved
        ``x`` shaped like ``b``, ``ok`` (N,).
    """
    if jax.default_backend() != "cpu" or a.shape[-1] > limit:
        return jax.jit(_library)(a, b)
    solved = solve_spd_batch_last(jnp.moveaxis(a, 0, -1), jnp.moveaxis(b, 0, -1))
    return Solved(jnp.moveaxis(solved.x, -1, 0), solved.ok)
