"""Numbers that terms and solvers share: thresholds, the largest entries, quadratics, squares."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from unigrn.views import Array, Moments, pytree


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


def spend(v: Array, kept: Array, budgets: list[tuple[Array, Array]]) -> Array:
    """Put to 0 all but the K entries of each mask whose loss would cost most; see `budget`."""
    gain = kept * (2 * v - kept)  # = v^2 - (v - kept)^2, without cancellation
    for mask, count in budgets:
        chosen = largest(jnp.where(mask, gain, 0), count)
        kept = jnp.where(mask & jnp.logical_not(chosen), 0, kept)
    return kept


def largest(size: Array, count: Array) -> Array:
    """Return a mask of the ``count`` largest entries of sizes >= 0; of ties, the first.

    The threshold is found by bisection over the bit patterns of the floats, which order as they
    do: one pass over the entries a bit, no sort. Entries of size 0 are never chosen.
    """
    bits = jnp.finfo(size.dtype).bits
    whole = {32: jnp.int32, 64: jnp.int64}[bits]
    # Behind a barrier: worked out anew for each use, the sizes could be rounded differently.
    code = jax.lax.optimization_barrier(jax.lax.bitcast_convert_type(jnp.maximum(size, 0), whole))
    count = jnp.asarray(count).astype(jnp.int32)

    def narrow(_, between):
        # At most `count` entries lie above `high`, more than that above `low` (or low is 0).
        low, high = between
        middle = low + (high - low) // 2
        few = jnp.sum(code > middle, dtype=jnp.int32) <= count
        return jnp.where(few, low, middle), jnp.where(few, middle, high)

    top = jnp.max(code, initial=0)
    zero = jnp.zeros((), whole)
    _, threshold = jax.lax.fori_loop(0, bits, narrow, (zero, top))
    above = code > threshold
    tied = (code == threshold) & (code > 0)
    left = count - jnp.sum(above, dtype=jnp.int32)
    place = jnp.cumsum(tied.reshape(-1), dtype=jnp.int32).reshape(tied.shape)
    # Counted once more: whatever rounding did to the sizes above, no more than `count` are taken.
    rank = jnp.cumsum((above | (tied & (place <= left))).reshape(-1), dtype=jnp.int32)
    new = rank > jnp.concatenate([jnp.zeros((1,), jnp.int32), rank[:-1]])
    return (new & (rank <= count)).reshape(size.shape)


def soft_threshold(v: Array, amount: Array) -> Array:
    """sign(v) max(|v| - amount, 0): the prox of amount |theta|."""
    return jnp.sign(v) * jnp.maximum(jnp.abs(v) - amount, 0)


def hard_threshold(v: Array, step: Array, price: Array) -> Array:
    """Return v where |v| > sqrt(2 step price), else 0: the prox of price 1[u != 0].

    The tie goes to 0. At a price below 0 every v but 0 is kept; at v = 0 the minimum is then not
    attained, because any small u is better than 0.
    """
    return jnp.where(jnp.abs(v) > jnp.sqrt(2 * step * jnp.maximum(price, 0)), v, 0)
