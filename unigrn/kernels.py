"""Numbers that terms and solvers share: thresholds, the largest entries, quadratics, squares.

Over 450 lines: what capabilities give is declared in one place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from unigrn.views import Array, Moments, pytree

DENSE = 100  # a product with a dense matrix is as fast as with a list of 1 / DENSE of its entries


@pytree
class Quadratic:
    """A quadratic function of ``theta``, split into what the data and the terms contribute.

    q(theta) = scale (theta' G theta - 2 c' theta + s) + sum_j diagonal_j theta_j^2
    + theta' M theta - 2 linear' theta + constant, with the moments G = ``gram``, c = ``cross``,
    s = ``square``. ``scale``, ``matrix`` (M) and ``linear`` are None where they vanish.
    """

    scale: Array  # or None
    diagonal: Array
    constant: Array
    linear: Array | None = None
    matrix: Array | None = None

    def __add__(self, other: Quadratic) -> Quadratic:
        def join(a, b):
            return b if a is None else a if b is None else a + b

        return Quadratic(
            *(join(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))
        )

    def times(self, factor: Array) -> Quadratic:
        """Return this quadratic multiplied by a number."""
        return jax.tree.map(lambda a: a * factor, self)

    def value(self, theta: Array, moments: Moments | None) -> Array:
        """Evaluate at ``theta``."""
        out = jnp.sum(self.diagonal * theta * theta) + self.constant
        if moments is not None and self.scale is not None:
            fit = (
                jnp.sum(theta * (moments.gram @ theta))
                - 2 * jnp.sum(moments.cross * theta)
                + jnp.sum(moments.square)
            )
            out = out + self.scale * fit
        if self.matrix is not None:
            out = out + jnp.sum(theta * (self.matrix @ theta))
        if self.linear is not None:
            out = out - 2 * jnp.sum(self.linear * theta)
        return out


@pytree
class Spread:
    """A quadratic of means theta, and what their variances v_j = e^(log_variance_j) cost.

    f(theta, v) = quadratic(theta) + sum_j rate_j v_j - count_j log v_j, rate and count (k,).
    """

    quadratic: Quadratic
    rate: Array
    count: Array

    def __add__(self, other: Spread) -> Spread:
        rate, count = self.rate + other.rate, self.count + other.count
        return Spread(self.quadratic + other.quadratic, rate, count)

    def times(self, factor: Array) -> Spread:
        """Return this function multiplied by a number."""
        return Spread(self.quadratic.times(factor), self.rate * factor, self.count * factor)

    def cost(self, log_variance: Array) -> Array:
        """Return what the variances cost."""
        return jnp.sum(self.rate * jnp.exp(log_variance) - self.count * log_variance)


@pytree
class Squares:
    """A term as squares of residuals that are linear in one block B, (k, c).

    f(B) = scale sum_rc W_rc (T_rc - (D'B)_rc)^2 + sum_k ridge_k |B_k|^2 + what has no B,
    with design D (k, r), target T (r, c) and weight W (r, c), None for 1. ``ridge`` is a number or
    (k, 1). Without a design (None) there is only the ridge.
    """

    design: Array = None
    target: Array = None
    weight: Array = None
    scale: Array | float = 1.0
    ridge: Array | float = 0.0

    def times(self, factor: Array) -> Squares:
        """Return these squares multiplied by a number."""
        return Squares(
            self.design, self.target, self.weight, self.scale * factor, self.ridge * factor
        )

    def __add__(self, other: Squares) -> Squares:
        ridge = self.ridge + other.ridge
        if self.design is None or other.design is None:
            one = other if self.design is None else self
            return Squares(one.design, one.target, one.weight, one.scale, ridge)
        # Rows of both, one under the other.
        roots = [jnp.sqrt(jnp.asarray(s.scale, s.design.dtype)) for s in (self, other)]
        design, target = (
            jnp.concatenate(
                [r * getattr(s, n) for r, s in zip(roots, (self, other), strict=True)], axis=a
            )
            for n, a in (("design", 1), ("target", 0))
        )
        weight = None
        if self.weight is not None or other.weight is not None:
            weight = jnp.concatenate(
                [jnp.ones_like(s.target) if s.weight is None else s.weight for s in (self, other)]
            )
        return Squares(design, target, weight, 1.0, ridge)

    def value(self, block: Array) -> Array:
        """Evaluate at B, up to what does not depend on it."""
        out = jnp.sum(self.ridge * block**2)
        if self.design is None:
            return out
        residual = (self.target - self.design.T @ block) ** 2
        return out + self.scale * jnp.sum(
            residual if self.weight is None else self.weight * residual
        )


@pytree
class Lines:
    """A term as sum over rows e and candidates j of price_e |(K theta)_ej|, theta (groups, k).

    A row of ``matrix`` K (rows, groups) is 1 at one group, -1 at another and 0 elsewhere, the same
    for every target; ``price`` (rows,) is >= 0.
    """

    matrix: Array
    price: Array

    def times(self, factor: Array) -> Lines:
        """Return the term multiplied by a number."""
        return Lines(self.matrix, self.price * factor)


@pytree
class Symmetric:
    """A symmetric matrix L of few entries: its diagonal, and the ``count`` others in a list.

    The list is longer than that by padding, so that matrices of like size are compiled once.
    """

    diagonal: Array
    row: Array
    column: Array
    value: Array
    count: Array

    @staticmethod
    def of(matrix: np.ndarray) -> Symmetric | None:
        """Return a matrix (p, p) by its entries, on the host; None where it has too many."""
        row, column = np.nonzero(matrix)
        apart = row != column
        row, column = row[apart], column[apart]
        if len(row) * DENSE > matrix.size:
            return None
        step = 1 << max(int(len(row)).bit_length() - 3, 3)
        pad = (0, -len(row) % step if len(row) else step)  # never an empty list
        return Symmetric(
            np.diagonal(matrix).copy(),
            np.pad(row.astype(np.int32), pad),
            np.pad(column.astype(np.int32), pad),
            np.pad(matrix[row, column], pad),
            np.int32(len(row)),
        )

    __array_ufunc__ = None

    def __rmatmul__(self, theta: Array) -> Array:
        """Return theta L, (q, p)."""
        columns = theta.T  # one under the other
        diagonal, row, column, value = (
            jnp.asarray(v) for v in (self.diagonal, self.row, self.column, self.value)
        )

        def add(k, out):
            return out.at[row[k]].add(value[k] * columns[column[k]])

        start = diagonal[:, None] * columns
        return jax.lax.fori_loop(0, self.count, add, start).T


@jax.custom_jvp
def energy(theta: Array, matrix: Array | Symmetric) -> Array:
    """Return tr(theta L theta') for a symmetric L; its slope, 2 theta L, shares the product."""
    return jnp.sum(theta * (theta @ matrix))


@partial(energy.defjvp, symbolic_zeros=True)
def _energy_slope(primals, tangents):
    theta, matrix = primals
    image = theta @ matrix
    slope = jnp.zeros_like(theta[0, 0])
    if not isinstance(tangents[0], SymbolicZero):
        slope = slope + 2 * jnp.sum(image * tangents[0])
    if not isinstance(matrix, Symmetric) and not isinstance(tangents[1], SymbolicZero):
        slope = slope + jnp.sum(theta * (theta @ tangents[1]))
    return jnp.sum(theta * image), slope


@pytree
class LogDet:
    """-weight log det theta + tr(matrix theta) of the genes in ``live``, (p,) of truth values.

    Theta enters by its symmetric part; rows and columns of other genes do not. NaN where the
    matrix is not positive definite.
    """

    weight: Array
    matrix: Array
    live: Array

    def times(self, factor: Array) -> LogDet:
        """Return this function multiplied by a number."""
        return LogDet(self.weight * factor, self.matrix * factor, self.live)

    def __add__(self, other: LogDet) -> LogDet:
        live = self.live & other.live
        return LogDet(self.weight + other.weight, self.matrix + other.matrix, live)

    def whole(self, theta: Array) -> Array:
        """Return the symmetric part of theta, with rows of the identity for other genes."""
        both = self.live[:, None] & self.live[None, :]
        even = jnp.where(both, (theta + theta.T) / 2, 0)
        return even + jnp.diag(jnp.where(self.live, 0, 1).astype(theta.dtype))

    def value(self, theta: Array) -> Array:
        """Evaluate at theta, (p, p)."""
        whole = self.whole(theta)
        root = jnp.diagonal(jnp.linalg.cholesky(whole))
        both = self.live[:, None] & self.live[None, :]
        linear = jnp.sum(jnp.where(both, self.matrix * whole, 0))
        return linear - 2 * self.weight * jnp.sum(jnp.log(root))


def spend(v: Array, kept: Array, budgets: list[tuple[Array, Array]]) -> Array:
    """Put to 0 all but the K entries of each mask whose loss would cost most; see `budget`."""
    gain = kept * (2 * v - kept)  # = v^2 - (v - kept)^2, without cancellation

    def one(kept, budget):
        mask, count = budget
        chosen = largest(jnp.where(mask, gain, 0), count)
        return jnp.where(mask & jnp.logical_not(chosen), 0, kept), None

    # One after the other in a loop: compiled once.
    masks, counts = (jnp.stack(v) for v in zip(*budgets, strict=True))
    return jax.lax.scan(one, kept, (masks, counts))[0]


def largest(size: Array, count: Array) -> Array:
    """Return a mask of the ``count`` largest entries of sizes >= 0; of ties, the first.

    The threshold is found by bisection over the bit patterns of the floats, which order as they
    do: one pass over the entries a bit, no sort, until exactly ``count`` entries lie above. Double
    precision starts with the upper half of the bits, which nearly always tells them apart. Entries
    of size 0 are never chosen. With a count for each column (targets,) it is so within every
    column.
    """
    if jnp.ndim(count):
        return jax.vmap(largest, (1, 0), 1)(size, count)
    bits = jnp.finfo(size.dtype).bits
    whole = {32: jnp.int32, 64: jnp.int64}[bits]
    # Behind a barrier: worked out anew for each use, the sizes could be rounded differently.
    code = jax.lax.optimization_barrier(jax.lax.bitcast_convert_type(jnp.maximum(size, 0), whole))
    count = jnp.asarray(count).astype(jnp.int32)

    def number(mask):
        columns = jnp.sum(mask, axis=0, dtype=jnp.int32)  # first: faster on CPU
        return jnp.sum(columns, dtype=jnp.int32)

    def bisected(code, low, high, above):
        # At most `count` entries, `above`, lie above `high`, more than that above `low`.
        def narrow(state):
            low, high, above = state
            middle = low + (high - low) // 2
            more = number(code > middle)
            few = more <= count
            return tuple(
                jnp.where(few, a, b) for a, b in ((low, middle), (middle, high), (more, above))
            )

        def proceed(state):
            return (state[1] - state[0] > 1) & (state[2] != count)

        return jax.lax.while_loop(proceed, narrow, (low, high, above))

    zero = jnp.zeros((), whole)
    least = number(code > 0)
    all_fit = least <= count
    upper = code if bits == 32 else jax.lax.optimization_barrier((code >> 32).astype(jnp.int32))
    top = jnp.where(all_fit, 0, jnp.max(upper, initial=0))
    above = jnp.where(all_fit, least, 0)
    low, high, above = bisected(upper, jnp.full_like(top, -1), top, above)
    if bits == 64:
        low, high = (((v.astype(whole) + 1) << 32) - 1 for v in (low, high))
        low, high = jnp.maximum(low, zero), jnp.where(all_fit, zero, high)
        # The upper bits' largest is that of entries as well: none lie above it.
        _, high, _ = bisected(code, low, high, above)
    chosen = code > high
    # Counted once more: whatever rounding did to the sizes above, no more than `count` are taken.
    sure = number(chosen)
    sure = (sure == count) | (all_fit & (sure <= count))

    def first(code):
        above, tied = code > high, (code == high) & (code > 0)
        left = count - number(above)
        place = jnp.cumsum(tied.reshape(-1), dtype=jnp.int32).reshape(tied.shape)
        rank = jnp.cumsum((above | (tied & (place <= left))).reshape(-1), dtype=jnp.int32)
        new = rank > jnp.concatenate([jnp.zeros((1,), jnp.int32), rank[:-1]])
        return (new & (rank <= count)).reshape(code.shape)

    return jax.lax.cond(sure, lambda code: code > high, first, code)


def places(values: Array, mask: Array) -> Array:
    """Return the place of each entry of a mask among them, largest first; 0 outside it.

    What is sorted is a list of the mask's entries, short where they are few.
    """
    size, shape = mask.size, mask.shape
    room = max(size >> 3, 1)
    mask, values = mask.reshape(-1), values.reshape(-1)
    entry = jnp.cumsum(mask, dtype=jnp.int32)  # from 1

    def of(room):
        def ranked(values):
            where = jnp.where(mask, entry - 1, room)
            listed = jnp.full(room, -jnp.inf, values.dtype).at[where].set(values, mode="drop")
            order = jnp.argsort(-listed)  # a stable sort: of ties, the first entry
            number = jnp.arange(room, dtype=jnp.int32)
            return jnp.zeros(room, jnp.int32).at[order].set(number)[where]

        return ranked

    found = jax.lax.cond(entry[-1] <= room, of(room), of(size), values)
    return jnp.where(mask, found, 0).reshape(shape)


def onto_simplex(v: Array, total: Array) -> Array:
    """Project columns onto {u >= 0, sum u = total}, entries of -inf kept at 0.

    By sorting: u = max(v - c, 0), c the mean of the k largest entries less total / k, for the
    largest k whose k-th entry is above it. Source: Held, Wolfe and Crowder, Math. Program. 6 (1974)
    62, doi:10.1007/BF01580223.
    """
    falling = -jnp.sort(-v, axis=0)
    known = jnp.isfinite(falling)
    rank = jnp.arange(1, v.shape[0] + 1, dtype=v.dtype).reshape((-1,) + (1,) * (v.ndim - 1))
    cut = (jnp.cumsum(jnp.where(known, falling, 0), axis=0) - total) / rank
    last = jnp.sum(known & (falling > cut), axis=0, keepdims=True)
    cut = jnp.take_along_axis(cut, jnp.maximum(last - 1, 0), axis=0)
    return jnp.where(jnp.isfinite(v), jnp.maximum(v - cut, 0), 0)


def onto_l1_ball(v: Array, radius: Array) -> Array:
    """Project columns onto {sum |u| <= radius}."""
    inside = jnp.sum(jnp.abs(v), axis=0, keepdims=True) <= radius
    return jnp.where(inside, v, jnp.sign(v) * onto_simplex(jnp.abs(v), radius))


def falling(z: Array) -> Array:
    """Return the nearest sequence (k,) that never rises, by pooling adjacent violators.

    A stack of blocks with falling means: an entry is pushed, or the two last blocks are pooled, 2 k
    moves at most whatever the values, so that many sequences are pooled at once. Source: Barlow,
    Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions (1972).
    """
    k = z.shape[0]
    places = jnp.arange(k, dtype=jnp.int32)

    def move(_, state):
        total, size, top, following = state  # the blocks are 0..top - 1
        last, before = jnp.maximum(top - 1, 0), jnp.maximum(top - 2, 0)
        pool = (top > 1) & (total[last] * size[before] > total[before] * size[last])
        push = jnp.logical_not(pool) & (following < k)
        at = jnp.where(pool, before, jnp.where(push, jnp.minimum(top, k - 1), k))
        new = z[jnp.minimum(following, k - 1)]
        sums = jnp.where(pool, total[before] + total[last], new)
        sizes = jnp.where(pool, size[before] + size[last], 1).astype(z.dtype)
        here = places == at
        return (
            jnp.where(here, sums, total),
            jnp.where(here, sizes, size),
            top + push.astype(jnp.int32) - pool.astype(jnp.int32),
            following + push.astype(jnp.int32),
        )

    zero = jnp.zeros((), jnp.int32)
    start = (jnp.zeros_like(z), jnp.ones_like(z), zero, zero)
    total, size, top, _ = jax.lax.fori_loop(0, 2 * k, move, start)
    ends = jnp.cumsum(jnp.where(places < top, size, 0)).astype(jnp.int32)
    block = jnp.minimum(jnp.searchsorted(ends, places, side="right"), k - 1)
    return (total / size)[block]


def soft_threshold(v: Array, amount: Array) -> Array:
    """sign(v) max(|v| - amount, 0): the prox of amount |theta|."""
    return jnp.sign(v) * jnp.maximum(jnp.abs(v) - amount, 0)


def hard_threshold(v: Array, step: Array, price: Array) -> Array:
    """Return v where |v| > sqrt(2 step price), else 0: the prox of price 1[u != 0].

    The tie goes to 0. At a price below 0 every v but 0 is kept; at v = 0 the minimum is then not
    attained, because any small u is better than 0.
    """
    return jnp.where(jnp.abs(v) > jnp.sqrt(2 * step * jnp.maximum(price, 0)), v, 0)


@pytree
class Observed:
    """A term as squares of what theta misses of known columns.

    f(theta) = sum_t weight_t |theta_t - values_t|^2 with values (regulators, targets) and weight
    (targets,), 0 where a target is not observed. Targets of one ``group`` (targets,), whole
    numbers, are left out together; None: each by itself.
    """

    values: Array
    weight: Array
    group: Array | None = None

    def times(self, factor: Array) -> Observed:
        """Return the term multiplied by a number."""
        return Observed(self.values, self.weight * factor, self.group)


@pytree
class Kernel:
    """A term as strength tr(theta K^-1 theta'): some rows of a positive definite K over targets.

    ``matrix`` (rows, targets) for one of several kinds of K, whose ``settings`` are (kinds, m), and
    ``strengths`` (s,): where there is more than one of either, a solver is to choose.
    """

    matrix: Array
    strengths: Array
    settings: Array

    def times(self, factor: Array) -> Kernel:
        """Return the term multiplied by a number."""
        return Kernel(self.matrix, self.strengths * factor, self.settings)


@dataclasses.dataclass(frozen=True)
class Iterates:
    """A map of the blocks, applied until it comes to rest; no objective is behind it.

    ``step(params, number, data, prior)`` returns the blocks after step ``number`` (from 0) and by
    how much it changed them, one number; at ``tolerance`` or less that was the last step.
    """

    step: Callable[..., tuple[Any, Array]]
    tolerance: Array
