"""The regression by which sources are judged: targets on all regulators, wider along the prior.

With noise s^2 of a target, and edges j to it,

    y ~ N(theta_0 + x theta, s^2),   theta_j ~ N(0, s^2 (off + sum over sources of c_source P_j)),

where P_j is 1 where the source has the edge. Integrated over theta, and over s^2 with the density
1 / s^2, the evidence and the predictive density of hidden cells are closed. One decomposition of
the regulators' moments serves all targets: what differs between them is a system of their own
prior edges,

    K = X_S' A^-1 X_S + D^-1,   A = 1 + off X X',   D = diag(c),

and the regulator that is the target itself leaves by a change of rank one.
Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.worth.folds import Fold

SIZES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
CHUNK = 1 << 18  # entries of the systems that are solved at once


@dataclass(frozen=True)
class Base:
    """What all targets share, at one variance ``off``.

    ``m`` X' A^-1 X and ``z`` the same of the hidden cells' residuals of X, (regulators,
    regulators); ``b`` X' A^-1 y and ``h``, (regulators, targets); ``square`` y' A^-1 y and ``rest``
    the squares of hidden residuals, (targets,); ``log_det`` of A; ``lever`` the mean variance of a
    hidden cell's mean.
    """

    off: float
    m: np.ndarray
    z: np.ndarray
    b: np.ndarray
    h: np.ndarray
    square: np.ndarray
    rest: np.ndarray
    log_det: float
    lever: float


class Regression:
    """The regression on one fold of cells, for any variance ``off``.

    Parameters
    ----------
    fold
        Moments.
    own
        (targets,) position of the target among the regulators, or -1.
    """

    def __init__(self, fold: Fold, own: np.ndarray):
        self.fold, self.own = fold, own
        self.values, self.vectors = np.linalg.eigh(fold.fitted.gram)
        self.values = np.maximum(self.values, 0)
        self.turned = self.vectors.T @ fold.fitted.cross
        self.bases: dict[float, Base] = {}
        self.known: dict[float, tuple[Any, ...]] = {}

    def base(self, off: float) -> Base:
        """Return what all targets share."""
        if off not in self.bases:
            fitted, hidden, u = self.fold.fitted, self.fold.hidden, self.vectors
            shrink = 1 / (1 + off * self.values)
            half = (u * shrink) @ u.T
            b = u @ (shrink[:, None] * self.turned)
            through = hidden.gram @ b
            self.bases[off] = Base(
                off,
                (u * (self.values * shrink)) @ u.T,
                half @ hidden.gram @ half,
                b,
                half @ (hidden.cross - off * through),
                fitted.square - off * shrink @ self.turned**2,
                hidden.square
                - 2 * off * np.einsum("jt,jt->t", b, hidden.cross)
                + off**2 * np.einsum("jt,jt->t", b, through),
                float(np.sum(np.log1p(off * self.values))),
                off * float(np.sum(half * hidden.gram)) / hidden.count,
            )
        return self.bases[off]

    def alone(self, off: float) -> tuple[np.ndarray, ...]:
        """Return what leaving out the target itself changes: gain, squares, rest, log det, spread.

        (targets,) each; with a = off / (1 - off m_tt) of a target t that is a regulator, else 0.
        """
        base, at = self.base(off), np.maximum(self.own, 0)
        m, z = base.m[at, at], base.z[at, at]
        b, h = (v[at, np.arange(len(at))] for v in (base.b, base.h))
        itself = self.own >= 0
        gain = np.where(itself, off / np.maximum(1 - off * m, 1e-12), 0)
        square = base.square + gain * b**2
        rest = base.rest + 2 * gain * b * h + (gain * b) ** 2 * z
        log_det = base.log_det - np.where(
            itself & (off > 0), np.log(np.maximum(gain, 1e-300) / off), 0
        )
        return gain, square, rest, log_det, -gain * z

    def without(self, off: float) -> tuple[np.ndarray, np.ndarray]:
        """Return evidence and bits of every target where no source has an edge to it."""
        _, *rest = self.alone(off)
        return judged(np, *self._sizes(off), *rest)

    def _sizes(self, off: float) -> tuple[float, float, float]:
        return self.fold.fitted.count, self.fold.hidden.count, self.base(off).lever

    def with_edges(self, off: float, edges: Edges, price: np.ndarray) -> tuple[Any, Any]:
        """Return evidence and bits of every target.

        Parameters
        ----------
        off
            Variance of every coefficient, in units of the noise.
        edges
            Edges of the sources, target by target.
        price
            Variance that an edge adds, by the code of the sources that have it.
        """
        evidence, bits = self.without(off)
        shared = (*self.shared(off), jnp.asarray(price, jnp.float32))
        sizes = jnp.asarray(self._sizes(off), jnp.float32)
        for part in edges.parts(price):
            found = _judge(*part.arrays, *shared, sizes)
            evidence[part.target], bits[part.target] = (
                np.asarray(v, float)[: len(part.target)] for v in found
            )
        return evidence, bits

    def weights(self, off: float, edges: Edges, price: np.ndarray) -> np.ndarray:
        """Return the means of the coefficients, (regulators, targets), of scaled genes."""
        base = self.base(off)
        gain, *_ = self.alone(off)
        more = np.zeros_like(base.b)
        itself = np.flatnonzero(self.own >= 0)
        at = self.own[itself]
        more[at, itself] = -gain[itself] * base.b[at, itself]
        shared = (*self.shared(off), jnp.asarray(price, jnp.float32))
        for part in edges.parts(price):
            alpha, own = (
                np.asarray(v, float)[: len(part.target)] for v in _solve(*part.arrays, *shared)
            )
            target = part.target
            regulators = np.asarray(part.arrays[1])[: len(target)]
            np.add.at(more, (regulators, np.broadcast_to(target[:, None], alpha.shape)), alpha)
            some = self.own[target] >= 0
            more[self.own[target[some]], target[some]] = own[some]
        return off * (base.b - base.m @ more) + more

    def shared(self, off: float) -> tuple[Any, ...]:
        """Return what every system of prior edges reads, in single precision on the device."""
        base = self.base(off)
        own = (base.m, base.z, base.b.T, base.h.T, *self.alone(off))
        if off not in self.known:
            self.known[off] = (*(jnp.asarray(v, jnp.float32) for v in own), jnp.asarray(self.own))
        return self.known[off]


def judged(xp: Any, fitted, hidden, lever, square, rest, log_det, spread) -> tuple[Any, Any]:
    """Return the evidence of fitted cells, and bits per hidden cell.

    Both in log densities, less what no fit changes; hidden cells by a Normal density with the
    variance of the predictive Student distribution, the same for all of them.
    """
    freedom = fitted - 1
    evidence = -0.5 * log_det - 0.5 * freedom * xp.log(square / freedom)
    variance = square / (freedom - 2) * (1 + 1 / fitted + lever + spread / hidden)
    bits = -0.5 * (xp.log(2 * np.pi * variance) + rest / (hidden * variance)) / np.log(2)
    return evidence, bits


# ------------------------------------------------------------------ systems of prior edges


@dataclass(frozen=True)
class Part:
    """Targets with about as many edges: padded lists of regulators, and codes of their sources."""

    target: np.ndarray
    arrays: tuple[Any, ...]  # (targets,), (targets, size), (targets, size)


class Edges:
    """Edges of several sources, target by target.

    Parameters
    ----------
    code
        (regulators, targets) which sources have the edge: bit s for source s.
    """

    def __init__(self, code: np.ndarray):
        self.code = code
        self.known: dict[tuple[int, ...], list[Part]] = {}

    def parts(self, price: np.ndarray) -> list[Part]:
        """Return the targets that have edges with a price, by their number of such edges."""
        used = tuple(np.flatnonzero(price > 0).tolist())
        if used not in self.known:
            self.known[used] = self._parts(np.isin(self.code, used))
        return self.known[used]

    def _parts(self, live: np.ndarray) -> list[Part]:
        number = live.sum(axis=0)
        sizes = [s for s in SIZES if s < len(live)] + [len(live)]
        out, low = [], 0
        for size in sizes:
            some = np.flatnonzero((number > low) & (number <= size))
            rows = min(max(CHUNK // size**2, 8), 2048)  # a fixed shape for each size
            for first in range(0, len(some), rows):
                out.append(self._part(some[first : first + rows], live, size, rows))
            low = size
        return out

    def _part(self, target: np.ndarray, live: np.ndarray, size: int, rows: int) -> Part:
        order = np.argsort(~live[:, target], axis=0, kind="stable")[:size].T
        here = np.take_along_axis(live[:, target].T, order, axis=1)
        own = np.take_along_axis(self.code[:, target].T, order, axis=1)
        lists = (target, np.where(here, order, 0), np.where(here, own, 0))
        padded = (np.pad(v, [(0, rows - len(v))] + [(0, 0)] * (v.ndim - 1)) for v in lists)
        return Part(target, tuple(jnp.asarray(v, jnp.int32) for v in padded))


def _system(t, s, kind, m, z, b, h, gain, square, rest, log_det, spread, own, price):
    """Return a target's system by its factor, right side and what the target itself changes."""
    live = kind > 0
    variance = jnp.where(live, price[kind], 1)
    at = jnp.maximum(own[t], 0)
    both = live[:, None] & live[None, :]
    itself = jnp.where(live, m[s, at], 0)
    k = jnp.where(both, m[s[:, None], s[None, :]], 0)
    k = k + gain[t] * jnp.outer(itself, itself) + jnp.diag(1 / variance)
    right = jnp.where(live, b[t, s], 0) + gain[t] * b[t, at] * itself
    lower = jnp.linalg.cholesky(k)
    # The inverse of the factor serves the solution and the trace of what is hidden.
    inverse = jax.scipy.linalg.solve_triangular(lower, jnp.eye(len(s), dtype=k.dtype), lower=True)
    alpha = inverse.T @ (inverse @ right)
    return live, both, at, itself, variance, lower, inverse, right, alpha


def _judge_one(t, s, kind, sizes, *shared):
    m, z, b, h, gain, square, rest, log_det, spread, *_ = shared
    live, both, at, itself, variance, lower, inverse, right, alpha = _system(t, s, kind, *shared)
    # Hidden residuals move by Z alpha, and by the column of the target itself.
    z_itself = jnp.where(live, z[s, at], 0)
    cross = gain[t] * jnp.outer(itself, z_itself)
    moved = jnp.where(both, z[s[:, None], s[None, :]], 0) + cross + cross.T
    moved = moved + gain[t] ** 2 * z[at, at] * jnp.outer(itself, itself)
    along = jnp.where(live, h[t, s], 0) + gain[t] * itself * h[t, at]
    along = along + gain[t] * b[t, at] * (z_itself + gain[t] * z[at, at] * itself)
    squares = rest[t] - 2 * along @ alpha + alpha @ moved @ alpha
    wider = jnp.sum((inverse @ moved) * inverse)
    turned = 2 * jnp.sum(jnp.log(jnp.diagonal(lower))) + jnp.sum(jnp.log(variance))
    quad = square[t] - right @ alpha
    fitted, hidden, lever = sizes
    return judged(jnp, fitted, hidden, lever, quad, squares, log_det[t] + turned, spread[t] + wider)


def _solve_one(t, s, kind, *shared):
    b, gain = shared[2], shared[4]
    live, _, at, itself, *_, alpha = _system(t, s, kind, *shared)
    return jnp.where(live, alpha, 0), -gain[t] * (b[t, at] - itself @ alpha)


@jax.jit
def _judge(target, regulators, code, *rest):
    """Evaluate `judged` for targets with prior edges; see the module."""
    *shared, sizes = rest
    return jax.vmap(lambda t, s, kind: _judge_one(t, s, kind, sizes, *shared))(
        target, regulators, code
    )


@jax.jit
def _solve(target, regulators, code, *shared):
    """Return the coefficients that prior edges add, and that of the target itself."""
    return jax.vmap(lambda t, s, kind: _solve_one(t, s, kind, *shared))(target, regulators, code)
