"""The regression by which sources are judged: targets on all regulators, wider along the prior.

With noise s^2 of a target, and edges j to it,

    y ~ N(theta_0 + x theta, s^2),   theta_j ~ N(0, s^2 (off + sum over sources of c_source P_j)),

where P_j is 1 where the source has the edge. Integrated over theta, and over s^2 with the density
1 / s^2, the predictive density of hidden cells is closed. One decomposition of
the regulators' moments serves all targets: what differs between them is a system of their own
prior edges,

    K = X_S' A^-1 X_S + D^-1,   A = 1 + off X X',   D = diag(c),

and the regulator that is the target itself leaves by a change of rank one.
Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from unigrn.worth.folds import Fold

STEP = 8  # systems are padded to multiples of it
CHUNK = 1 << 18  # entries of the systems that are solved at once


@dataclass(frozen=True)
class Base:
    """What all targets share, at one variance ``off``.

    ``m`` X' A^-1 X and ``z`` the same of the hidden cells' residuals of X, (regulators,
    regulators); ``b`` X' A^-1 y and ``h``, (regulators, targets); ``square`` y' A^-1 y and ``rest``
    the squares of hidden residuals, (targets,); ``lever`` the mean variance of a hidden cell's
    mean.
    """

    off: float
    m: np.ndarray
    z: np.ndarray
    b: np.ndarray
    h: np.ndarray
    square: np.ndarray
    rest: np.ndarray
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
        self.known: dict[float, tuple[np.ndarray, np.ndarray]] = {}

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
                off * float(np.sum(half * hidden.gram)) / hidden.count,
            )
        return self.bases[off]

    def alone(self, off: float) -> tuple[np.ndarray, ...]:
        """Return what leaving out the target itself changes: gain, squares, rest, spread.

        (targets,) each; the gain is off / (1 - off m_tt) of a target t that is a regulator, else 0.
        """
        base, at = self.base(off), np.maximum(self.own, 0)
        m, z = base.m[at, at], base.z[at, at]
        b, h = (v[at, np.arange(len(at))] for v in (base.b, base.h))
        itself = self.own >= 0
        gain = np.where(itself, off / np.maximum(1 - off * m, 1e-12), 0)
        square = base.square + gain * b**2
        rest = base.rest + 2 * gain * b * h + (gain * b) ** 2 * z
        return gain, square, rest, -gain * z

    def without(self, off: float) -> np.ndarray:
        """Return bits of every target where no source has an edge to it."""
        _, square, rest, spread = self.alone(off)
        return self._bits(off, square, rest, spread)

    def _bits(self, off: float, square: Any, rest: Any, spread: Any) -> np.ndarray:
        """Return bits per hidden cell: mean log2 density, Normal with the predictive variance.

        The variance is that of the Student distribution of a hidden cell, its lever the mean of
        all of them.
        """
        fitted, hidden = self.fold.fitted.count, self.fold.hidden.count
        lever = 1 + 1 / fitted + self.base(off).lever + spread / hidden
        variance = square / (fitted - 3) * lever
        return -0.5 * (np.log(2 * np.pi * variance) + rest / (hidden * variance)) / np.log(2)

    def with_edges(self, off: float, edges: Edges, price: np.ndarray) -> np.ndarray:
        """Return bits of every target.

        Parameters
        ----------
        off
            Variance of every coefficient, in units of the noise.
        edges
            Edges of the sources, target by target.
        price
            Variance that an edge adds, by the code of the sources that have it.
        """
        _, square, rest, spread = (v.copy() for v in self.alone(off))
        for part in edges.parts(price):
            at = part.target
            system = self._system(off, part, price)
            moved, along = self._hidden(off, part, system)
            alpha = system.alpha
            square[at] -= np.einsum("ti,ti->t", system.right, alpha)
            through = np.einsum("tij,tj->ti", moved, alpha)
            rest[at] += np.einsum("ti,ti->t", through - 2 * along, alpha)
            spread[at] += np.einsum("tij,tij->t", system.inverse, moved)
        return self._bits(off, square, rest, spread)

    def weights(self, off: float, edges: Edges, price: np.ndarray) -> np.ndarray:
        """Return the means of the coefficients, (regulators, targets), of scaled genes."""
        base = self.base(off)
        gain, *_ = self.alone(off)
        more = np.zeros_like(base.b)
        itself = np.flatnonzero(self.own >= 0)
        more[self.own[itself], itself] = -gain[itself] * base.b[self.own[itself], itself]
        for part in edges.parts(price):
            system, at = self._system(off, part, price), part.target
            here, some = part.code > 0, self.own[at] >= 0
            target = np.broadcast_to(at[:, None], here.shape)[here]
            more[part.regulators[here], target] = system.alpha[here]
            moved = np.einsum("ti,ti->t", system.itself, system.alpha)
            more[self.own[at[some]], at[some]] += (gain[at] * moved)[some]
        return off * (base.b - base.m @ more) + more

    def _system(self, off: float, part: Part, price: np.ndarray) -> System:
        """Solve the systems of some targets."""
        base, at, s = self.base(off), part.target, part.regulators
        gain, live = self.alone(off)[0][at], part.code > 0
        own = np.maximum(self.own[at], 0)
        itself = np.where(live, base.m[s, own[:, None]], 0).astype(np.float32)
        k = self.single(off)[0][s[:, :, None], s[:, None, :]]
        k *= live[:, :, None] & live[:, None, :]
        which = np.flatnonzero(gain)
        k[which] += (gain[which, None] * itself[which])[:, :, None] * itself[which, None, :]
        i = np.arange(s.shape[1])
        k[:, i, i] += np.where(live, 1 / np.where(live, price[part.code], 1), 1)
        right = np.where(live, base.b[s, at[:, None]], 0)
        right += (gain * base.b[own, at])[:, None] * itself
        inverse = np.linalg.inv(k)
        alpha = np.einsum("tij,tj->ti", inverse, right)
        return System(inverse, right, alpha, itself)

    def _hidden(self, off: float, part: Part, system: System) -> tuple[np.ndarray, np.ndarray]:
        """Return by what hidden residuals move: Z'Z, and Z' times those without prior edges."""
        base, at, s = self.base(off), part.target, part.regulators
        gain, live = self.alone(off)[0][at], part.code > 0
        own = np.maximum(self.own[at], 0)
        moved = self.single(off)[1][s[:, :, None], s[:, None, :]]
        moved *= live[:, :, None] & live[:, None, :]
        along = np.where(live, base.h[s, at[:, None]], 0)
        which = np.flatnonzero(gain)  # the column of the target itself moves too
        if which.size:
            by, own, at = gain[which], own[which], at[which]
            itself, z = system.itself[which], base.z[own, own]
            z_itself = np.where(live[which], base.z[s[which], own[:, None]], 0)
            cross = by[:, None, None] * itself[:, :, None] * z_itself[:, None, :]
            square = (by**2 * z)[:, None, None] * itself[:, :, None] * itself[:, None, :]
            moved[which] += cross + np.swapaxes(cross, 1, 2) + square
            along[which] += (by * base.h[own, at])[:, None] * itself
            along[which] += (by * base.b[own, at])[:, None] * (
                z_itself + (by * z)[:, None] * itself
            )
        return moved, along

    def single(self, off: float) -> tuple[np.ndarray, np.ndarray]:
        """Return m and z in single precision: systems of prior edges are many and small."""
        if off not in self.known:
            base = self.base(off)
            self.known[off] = base.m.astype(np.float32), base.z.astype(np.float32)
        return self.known[off]


class System(NamedTuple):
    """Systems of prior edges of some targets: (targets, size, size), (targets, size) thrice."""

    inverse: np.ndarray
    right: np.ndarray
    alpha: np.ndarray
    itself: np.ndarray


# ------------------------------------------------------------------ systems of prior edges


@dataclass(frozen=True)
class Part:
    """Targets with about as many edges: padded lists of regulators, and codes of their sources.

    ``target`` (targets,), ``regulators`` and ``code`` (targets, size), 0 where padded.
    """

    target: np.ndarray
    regulators: np.ndarray
    code: np.ndarray


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
        sizes = np.minimum(-(-number // STEP) * STEP, len(live))
        order = np.argsort(~live, axis=0, kind="stable").T
        out = []
        for size in np.unique(sizes[sizes > 0]).tolist():
            some = np.flatnonzero(sizes == size)
            rows = max(CHUNK // size**2, 8)
            for first in range(0, len(some), rows):
                target = some[first : first + rows]
                regulators = order[target, :size]
                here = live[regulators, target[:, None]]
                code = np.where(here, self.code[regulators, target[:, None]], 0)
                out.append(Part(target, np.where(here, regulators, 0), code))
        return out
