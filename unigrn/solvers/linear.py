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

Over 450 lines: one factorisation with its two triangular solves, each written for the layout of the
other.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = ["Solved", "cholesky_batch_last", "solve_gathered", "solve_spd", "solve_spd_batch_last"]

# Measured on two cores with 512-bit vectors: larger blocks compile longer and run no faster.
BLOCK = 4
ROWS = 16
TILE = 64
LIMIT = 128


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
        ``max_i |A x - b|_i / max_i (|A| |x| + |b|)_i``, one per system, where asked for;
        infinite for a system with values that are not finite.
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
        # 0 drops a dependent unknown; an undefined pivot goes on, to be told from that at the end.
        scale = jnp.where(good, lax.rsqrt(pivot), jnp.where(jnp.isnan(pivot), pivot, 0))
        left.append(block[0] * scale[None])
        scales.append(scale)
        block = block[1:, 1:] - left[c][1:, None] * left[c][None, 1:]
    rows = []
    for c in range(BLOCK):
        row = np.eye(BLOCK, dtype=scale.dtype)[c][:, None]
        for d in range(c):
            row = row - left[d][c - d][None] * rows[d]
        rows.append(row * scales[c][None])
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
        z: Any = sum(
            w[:, d][:, None] * _slice(right, (o + d, 0, 0), (1, many, n)) for d in range(BLOCK)
        )

        def store(lower, right, c, r, skip):
            part: Any = sum(w[:, d][:, None] * c[d][None] for d in range(BLOCK))
            lower = _update(lower, part, (o, r, 0))
            part = part[:, skip:]
            shift: Any = sum(part[d][:, None] * z[d][None] for d in range(BLOCK))
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
        x: Any = sum(
            _slice(inverse, (o // BLOCK, r, 0, 0), (1, 1, BLOCK, n))[0, 0][:, None]
            * _slice(right, (o + r, 0, 0), (1, many, n))
            for r in range(BLOCK)
        )
        right = _update(right, x, (o, 0, 0))

        def chunk(i, right):
            shift: Any = sum(
                _slice(lower, (i, o + r, 0), (ROWS, 1, n)) * x[r][None] for r in range(BLOCK)
            )
            above = (i + _count(ROWS) < o)[:, None, None]
            old = _slice(right, (i, 0, 0), shift.shape)
            return _update(right, old - jnp.where(above, shift, 0), (i, 0, 0))

        return _loop(0, o, ROWS, chunk, right)

    return _loop(0, columns, BLOCK, block, right)


def _round_up(value, step):
    return -(-value // step) * step


def _count(n):
    return jnp.arange(n, dtype=jnp.int32)


def _read(flat, position):
    return flat.at[position].get(mode="promise_in_bounds")


def _workspace(size, n, dtype):
    return (
        # An odd number of rows keeps successive columns out of the same cache sets.
        jnp.zeros((size + ROWS, (size + ROWS) | 1, n), dtype),
        jnp.zeros((size // BLOCK + 1, BLOCK, BLOCK, n), dtype),
    )


def _matrix_panel(a):
    """Panel reader of whole matrices (k, k, n), continued by the identity, and its size."""
    size, n = a.shape[0], a.shape[-1]
    whole = _round_up(size, BLOCK)
    a = jnp.pad(a, ((0, whole - size), (0, whole - size + ROWS), (0, 0)))
    if whole > size:
        beyond = np.zeros(a.shape[:2] + (1,), bool)
        beyond[np.arange(size, whole), np.arange(size, whole)] = True
        a = jnp.where(beyond, 1, a)
    return (lambda o, r: _slice(a, (o, r, 0), (BLOCK, ROWS, n))), whole


def _over_tiles(count, size, many, dtype, tile, open_tile, residual=False):
    """Solve ``count`` systems, ``tile`` at a time, with one workspace for all.

    open_tile(begin) -> (panel, right (whole + ROWS, R, tile), columns, held (size, tile) or None)
    """
    whole, tile = _round_up(size, BLOCK), min(tile, count)

    def solve_tile(t, state):
        lower, inverse, out = state
        begin = jnp.minimum(t * tile, count - tile)  # the last tile overlaps the one before
        panel, b, columns, held = open_tile(begin, tile)
        lower, inverse, x, ok = _factor_tile(lower, inverse, panel, b, columns)
        x = _backward_tile(lower, inverse, x, columns)
        if held is not None:
            # Rows past the tile's last unknown hold what an earlier tile left in the workspace.
            x = jnp.where(held[:, None], x, 0)
        fine = jnp.all(jnp.isfinite(x[:size]), axis=(0, 1))
        x = jnp.where(fine[None, None], x, 0)
        new = [x[:size].transpose(2, 0, 1), ok & fine]
        if residual:
            new.append(_residual_tile(panel, b, x, columns))
        out = [
            _update(o, n.astype(o.dtype), (begin,) + (0,) * (o.ndim - 1))
            for o, n in zip(out, new, strict=True)
        ]
        return lower, inverse, out

    out = [jnp.zeros((count, size, many), dtype), jnp.zeros((count,), bool)]
    if residual:
        out.append(jnp.zeros((count,), dtype))
    state = (*_workspace(whole, tile, dtype), out)
    return Solved(*_loop(0, -(-count // tile), 1, solve_tile, state)[2])


def _residual_tile(panel, b, x, columns):
    """``max |A x - b| / max (|A| |x| + |b|)`` per system, reading every matrix once more."""

    def column(o, state):
        def chunk(r, state):
            p = panel(o, r)
            new = []
            for total, f in zip(state, (lambda v: v, jnp.abs), strict=True):
                old = _slice(total, (r, 0, 0), (ROWS,) + total.shape[1:])
                for e in range(BLOCK):
                    at = _slice(x, (o + e, 0, 0), (1,) + x.shape[1:])
                    old = old + f(p[e][:, None] * at)
                new.append(_update(total, old, (r, 0, 0)))
            return tuple(new)

        return _loop(0, columns, ROWS, chunk, state)

    rows = (_count(b.shape[0]) < columns)[:, None, None]
    off, scale = _loop(0, columns, BLOCK, column, (-b, jnp.abs(b)))
    off, scale = (jnp.max(jnp.where(rows, v, 0), axis=(0, 1)) for v in (jnp.abs(off), scale))
    return _relative(off, scale)


def _relative(off, scale):
    ratio = off / jnp.where(scale > 0, scale, 1)
    return jnp.where(jnp.isfinite(ratio), ratio, jnp.inf)


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
    return jnp.where(np.tril(np.ones((size, size), bool))[:, :, None], lower, 0)


@jax.jit
def solve_spd_batch_last(a, b):
    """Solve symmetric positive definite systems that lie along the last axis, as one tile.

    Parameters
    ----------
    a : jax.Array
        (k, k, n) symmetric matrices.
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
    solved = _over_tiles(
        n, size, right.shape[1], a.dtype, n, lambda begin, tile: (panel, right, whole, None)
    )
    x = solved.x.transpose(1, 2, 0)
    return Solved(x if b.ndim == 3 else x[:, 0], solved.ok)


@partial(jax.jit, static_argnames=("tile",))
def _spd_batch_last(a, b, tile):
    count, size, many = b.shape
    whole = _round_up(size, BLOCK)

    def open_tile(begin, tile):
        panel, _ = _matrix_panel(_slice(a, (begin, 0, 0), (tile, size, size)).transpose(1, 2, 0))
        right = _slice(b, (begin, 0, 0), (tile, size, many)).transpose(1, 2, 0)
        return panel, jnp.pad(right, ((0, whole - size + ROWS), (0, 0), (0, 0))), whole, None

    return _over_tiles(count, size, many, a.dtype, tile, open_tile)


@partial(jax.jit, static_argnames=("tile", "residual"))
def _gathered_batch_last(gram, cross, index, valid, system, target, ridge, tile, residual=False):
    count, size = index.shape
    q, given = gram.shape[1], cross.ndim == 2
    wide, beyond = q + 1, _round_up(size, BLOCK) + ROWS - size
    # An update in place copies rows; a pad asks at every element whether it is inside.
    gram = _update(jnp.zeros((gram.shape[0], wide, wide), gram.dtype), gram, (0, 0, 0)).reshape(-1)
    moments, ridge = cross.reshape(-1), jnp.asarray(ridge, gram.dtype)

    def open_tile(begin, tile):
        def here(per_system):
            return _slice(per_system, (begin,), (tile,))

        def lay(per_entry, fill):
            # (systems, entries) -> (entries, systems)
            if per_entry.ndim == 2:
                per_entry = _slice(per_entry, (begin, 0), (tile, size)).T
            elif per_entry.ndim == 1:
                per_entry = per_entry[:, None]
            else:
                return per_entry
            return jnp.pad(per_entry, ((0, beyond), (0, 0)), constant_values=fill)

        rows = _count(size + beyond)[:, None]
        held = lay(valid, False) if valid.ndim == 2 else rows < here(valid)[None]
        # A padded unknown has a zero row in the padded Gram matrix and 1 on the diagonal.
        at = jnp.where(held, lay(index, q), q)
        extra = jnp.where(held, lay(ridge, 1), 1)
        which = here(system)
        start = which[None] * (wide * wide)
        if given:
            b = lay(cross, 0)
        else:
            row = which[None] * q + jnp.where(held, at, 0)
            b = _read(moments, row * cross.shape[2] + here(target)[None])
        columns = _round_up(jnp.max(jnp.where(held, rows + 1, 0)), BLOCK)

        def panel(o, r):
            down = _slice(at, (r, 0), (ROWS, tile))
            across = start + _slice(at, (o, 0), (BLOCK, tile)) * wide
            same = (o + _count(BLOCK))[:, None] == (r + _count(ROWS))[None]
            more = _slice(extra, (o, 0), (BLOCK, tile))
            more = jnp.where(same[:, :, None], more[:, None], 0)
            return _read(gram, across[:, None] + down[None]) + more

        return panel, jnp.where(held, b, 0)[:, None], columns, held

    return _over_tiles(count, size, 1, gram.dtype, tile, open_tile, residual)


def _library(a, b):
    """Batched library Cholesky; the systems it fails on are solved again, dropping unknowns."""
    lower = jnp.linalg.cholesky(a)
    pivot = jnp.square(jnp.diagonal(lower, axis1=1, axis2=2))
    floor = jnp.diagonal(a, axis1=1, axis2=2) * (jnp.finfo(a.dtype).eps * a.shape[-1])
    ok = jnp.all(pivot > floor, axis=1)

    def direct(_):
        return jax.scipy.linalg.cho_solve((lower, True), b)

    def dropping(_):
        x = solve_spd_batch_last(a.transpose(1, 2, 0), b.transpose(1, 2, 0)).x
        return jnp.where(ok[:, None, None], direct(None), x.transpose(2, 0, 1))

    x = lax.cond(jnp.all(ok), direct, dropping, None)
    fine = jnp.all(jnp.isfinite(x), axis=(1, 2))
    return Solved(jnp.where(fine[:, None, None], x, 0), ok & fine)


_spd_library = jax.jit(_library)


@partial(jax.jit, static_argnames=("residual",))
def _gathered_library(gram, cross, index, valid, system, target, ridge, residual=False):
    if valid.ndim == 1:
        valid = _count(index.shape[1])[None] < valid[:, None]
    held = jnp.where(valid, index, 0)
    both = valid[:, :, None] & valid[:, None, :]
    a = jnp.where(both, gram[system[:, None, None], held[:, :, None], held[:, None, :]], 0)
    ridge = jnp.broadcast_to(jnp.asarray(ridge, gram.dtype), valid.shape)
    ridge = jnp.where(valid, ridge, 1)
    a = a + ridge[:, :, None] * jnp.eye(index.shape[1], dtype=gram.dtype)[None]
    b = cross if cross.ndim == 2 else cross[system[:, None], held, target[:, None]]
    b = jnp.where(valid, b, 0)[:, :, None]
    solved = _library(a, b)
    if not residual:
        return solved
    exact = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    off = jnp.max(jnp.abs(exact(a, solved.x) - b), axis=(1, 2))
    scale = jnp.max(exact(jnp.abs(a), jnp.abs(solved.x)) + jnp.abs(b), axis=(1, 2))
    return solved._replace(residual=_relative(off, scale))


def solve_gathered(gram, cross, index, valid, system, target, ridge, *, tile=TILE, residual=False):
    """Solve ``(G[s][I, I] + diag(ridge)) x = H[s][I, t]`` for many (s, I, t) at once.

    Parameters
    ----------
    gram : array
        (S, q, q) symmetric Gram matrices G, one per group and bag.
    cross : array
        (S, q, p) cross moments H of the regulators with the targets, or (N, k) right-hand sides.
    index : array
        (N, k) int32 positions 0..q-1 of the candidates of each system, anything where not valid.
    valid : array
        (N, k) bool, or (N,) int32: how many leading entries of ``index`` count.
    system, target : array
        (N,) int32, which Gram matrix and which column of ``cross``. The work is least when the
        systems are sorted by (system, number of candidates): a tile then reads one Gram matrix,
        and stops at the largest of sizes that are nearly equal.
    ridge : array or float
        Added to the diagonal: a scalar, (k,) or (N, k), at least 0.
    tile : int
        How many systems are solved side by side on CPU.
    residual : bool
        Whether to return the residual of every system (reads the matrices once more).

    Returns
    -------
    Solved
        ``x`` (N, k), 0 where not valid; ``ok`` (N,); ``residual`` (N,) or None.

    Raises
    ------
    ValueError
        Where shapes disagree, or a position does not fit 32 bits.
    """
    _check_gathered(gram, cross, index, valid, system, target, ridge)
    arguments = (gram, cross, index, valid, system, target, ridge)
    solve = _gathered_batch_last if jax.default_backend() == "cpu" else _gathered_library
    tiled = {"tile": tile} if jax.default_backend() == "cpu" else {}
    solved = solve(*arguments, residual=residual, **tiled)
    return solved._replace(x=solved.x[:, :, 0])


def _check_gathered(gram, cross, index, valid, system, target, ridge):
    """Raise ValueError where the shapes do not fit together."""
    shape = {
        "gram": np.shape(gram),
        "cross": np.shape(cross),
        "index": np.shape(index),
        "valid": np.shape(valid),
        "system": np.shape(system),
        "target": np.shape(target),
        "ridge": np.shape(ridge),
    }
    got = ", ".join(f"{name} {value}" for name, value in shape.items())
    if len(shape["gram"]) != 3 or len(shape["cross"]) not in (2, 3) or len(shape["index"]) != 2:
        raise ValueError(f"need gram (S, q, q), cross (S, q, p) and index (N, k); got {got}")
    (systems, q, _), (count, size) = shape["gram"], shape["index"]
    right = shape["cross"] if len(shape["cross"]) == 2 else None
    fits = (
        shape["gram"][2] == q
        and (right == (count, size) if right else shape["cross"][:2] == (systems, q))
        and shape["valid"] in ((count, size), (count,))
        and shape["system"] == shape["target"] == (count,)
        and shape["ridge"] in ((), (size,), (count, size))
    )
    if not fits:
        raise ValueError(
            "need gram (S, q, q), cross (S, q, p), index (N, k), valid (N, k) or (N,), system and "
            f"target (N,), ridge (), (k,) or (N, k); got {got}"
        )
    if max(systems * (q + 1) ** 2, systems * q * (1 if right else shape["cross"][-1])) >= 2**31:
        raise ValueError(
            f"positions in gram {shape['gram']} and cross {shape['cross']} exceed 32 bits; "
            "solve fewer groups or bags at a time"
        )


def solve_spd(a, b, *, tile=TILE, limit=LIMIT):
    """Solve symmetric positive definite systems ``a[n] x[n] = b[n]``.

    Parameters
    ----------
    a : jax.Array
        (N, k, k) matrices.
    b : jax.Array
        (N, k) or (N, k, R) right-hand sides.
    tile : int
        How many systems are solved side by side on CPU.
    limit : int
        On CPU, systems with more unknowns than this go to the library's Cholesky.

    Returns
    -------
    Solved
        ``x`` shaped like ``b``, ``ok`` (N,).

    Raises
    ------
    ValueError
        Where shapes disagree.
    """
    shape, right = np.shape(a), np.shape(b)
    if len(shape) != 3 or shape[1] != shape[2] or right[:2] != shape[:2] or len(right) > 3:
        raise ValueError(f"need a (N, k, k) and b (N, k) or (N, k, R); got a {shape} and b {right}")
    columns = b if len(right) == 3 else b[:, :, None]
    if jax.default_backend() == "cpu" and 0 < shape[1] <= limit:
        solved = _spd_batch_last(a, columns, tile=tile)
    else:
        solved = _spd_library(a, columns)
    return solved if len(right) == 3 else solved._replace(x=solved.x[:, :, 0])
