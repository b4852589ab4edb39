"""Exact optimality of convex targets: the duality gap of reported coefficients, without rounding.

For every target, moments in factored form (F, z), as a regression of r rows would have them::

    P(x) = a |z - F x|^2 + sum_j l_j |x_j| + d_j x_j^2,   low_j <= x_j <= high_j,  low <= 0 <= high

For any u, here u = s (z - F e), and v = 2 a F'u, no feasible x has a P(x) below

    D(u) = a (2 u'z - u'u) - sum_j max_{low_j <= x <= high_j} (v_j x - l_j |x| - d_j x^2)

and P(b) - D(u) bounds how far coefficients b are from the best ones. Floats are rational: all is
computed in whole numbers times powers of two, the one division rounded upwards. Proved in
proofs/coq/duality.v; this module needs NumPy alone and shares nothing with what fits.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from math import inf, nextafter
from typing import Any

import numpy as np

LIMB = 18  # bits: sums of products of limbs stay whole below 2^53
GUARD = 256  # bits that a quotient keeps
MEMBERS = 1 << 18  # numbers of one step


@dataclass(frozen=True)
class Exact:
    """An array of numbers n 2^e, ``n`` whole numbers of any size."""

    n: np.ndarray
    e: int = 0

    @staticmethod
    def of(values: Any) -> Exact:
        """Take finite floats as the rational numbers they are."""
        fraction, power = np.frexp(np.asarray(values, np.float64))
        whole = np.ldexp(fraction, 53).astype(np.int64)
        low = np.where(whole != 0, whole & -whole, 1)  # the power of 2 that divides it
        free = np.log2(low.astype(np.float64)).astype(np.int64)
        power = np.where(whole != 0, power + free - 53, 0).astype(np.int64)
        least = int(power.min(initial=0))
        return Exact((whole >> free).astype(object) << (power - least).astype(object), least)

    def at(self, e: int) -> np.ndarray:
        """Return the whole numbers for a smaller or equal exponent."""
        return self.n << (self.e - e)

    def __add__(self, other: Exact) -> Exact:
        return Exact(self.at(e := min(self.e, other.e)) + other.at(e), e)

    def __sub__(self, other: Exact) -> Exact:
        return self + Exact(-other.n, other.e)

    def __mul__(self, other: Exact) -> Exact:
        return Exact(self.n * other.n, self.e + other.e)

    def __matmul__(self, other: Exact) -> Exact:
        """Multiply matrices limb by limb: double precision holds each sum of products exactly."""
        out = np.zeros((self.n.shape[0], other.n.shape[1]), object)
        a, b = _limbs(self.n), _limbs(other.n)
        most = (1 << (53 - 2 * LIMB)) // max(min(len(a), len(b)), 1)  # terms of such a sum
        for start in range(0, self.n.shape[1], most):
            part = slice(start, start + most)
            for level in range(len(a) + len(b) - 1):
                pairs = range(max(0, level - len(b) + 1), min(level, len(a) - 1) + 1)
                total = sum(a[i][:, part] @ b[level - i][part] for i in pairs)
                out = out + (np.asarray(total, np.int64).astype(object) << (LIMB * level))
        return Exact(out, self.e + other.e)

    def sum(self) -> Exact:
        """Add up the rows of every column."""
        return Exact(self.n.sum(axis=0, initial=0), self.e)

    def over(self, other: Exact) -> Exact:
        """Divide what is >= 0 by what is > 0, rounded upwards; 0 where the divisor is 0."""
        top = np.where(other.n > 0, self.n << GUARD, 0)
        return Exact(-(-top // np.maximum(other.n, 1)), self.e - other.e - GUARD)

    def upwards(self) -> np.ndarray:
        """Return floats that are no smaller."""
        over, n = 1 << max(-self.e, 0), self.at(min(self.e, 0))
        most = over.bit_length() + 1022  # bits: beyond lies what no float holds
        up = [inf if v.bit_length() > most else nextafter(v / over, inf) for v in n]
        return np.where(n == 0, 0.0, up)


def _limbs(n: Any) -> list[np.ndarray]:
    """Split whole numbers into floats of `LIMB` bits, the lowest first, each with its sign."""
    sign, rest, out = np.where(n < 0, -1.0, 1.0), abs(n), []
    while (rest != 0).any():
        out.append(sign * (rest & ((1 << LIMB) - 1)).astype(np.float64))
        rest = rest >> LIMB
    return out


@dataclass(frozen=True, eq=False)
class Proof:
    """The problems of all targets, the coefficients reported, and what proves them good."""

    regulators: np.ndarray  # (q,) names
    targets: np.ndarray  # (p,) names
    groups: np.ndarray  # (g,) names; one empty name where cells were not grouped
    indptr: np.ndarray  # (p + 1,) where the entries of each target begin
    candidate: np.ndarray  # (entries,) its regulators
    factor: np.ndarray  # (g, r, q) F
    response: np.ndarray  # (g, r, p) z
    scale: np.ndarray  # (g, p) a
    l1: np.ndarray  # (g, entries)
    l2: np.ndarray  # (g, entries)
    low: np.ndarray  # (g, entries)
    high: np.ndarray  # (g, entries)
    theta: np.ndarray  # (g, entries) b
    dual: np.ndarray  # (g, entries) e
    shrink: np.ndarray  # (g, p) s
    gap: np.ndarray  # (g, p) P(b) - D(u), as recorded
    worth: np.ndarray  # (g, p) P(0), what gaps are relative to

    @staticmethod
    def read(content: bytes) -> Proof:
        """Read the .npz of a proof; a ValueError says what is wrong with anything else."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return Proof(**{f.name: arrays[f.name] for f in fields(Proof)}).check_form()
        except Exception as error:  # what another program made may fail in any way
            raise ValueError(f"it is no proof of a network ({error})") from None

    def check_form(self) -> Proof:
        """Return it, but refuse arrays that do not fit together, or hold what no proof may hold."""
        g, p, n, q = (v.size for v in (self.groups, self.targets, self.candidate, self.regulators))
        r = self.factor.shape[1] if self.factor.ndim == 3 else -1
        names = {"regulators": (q,), "targets": (p,), "groups": (g,)}
        shapes = {"factor": (g, r, q), "response": (g, r, p)}
        shapes |= dict.fromkeys(("scale", "shrink", "gap", "worth"), (g, p))
        shapes |= dict.fromkeys(("l1", "l2", "low", "high", "theta", "dual"), (g, n))
        places = {"indptr": (p + 1,), "candidate": (n,)}
        for kind, size, some in (("U", (), names), ("i", (), places), ("f", (4, 8), shapes)):
            for k, shape in some.items():
                v = getattr(self, k)
                if v.shape != shape or v.dtype.kind != kind or (size and v.itemsize not in size):
                    raise ValueError(f"its arrays are not those of one problem: {k}")
        wrong = [k for k in names if len(np.unique(getattr(self, k))) < getattr(self, k).size]
        finite = ("factor", "response", "scale", "l1", "l2", "shrink")
        wrong += [k for k in finite if not np.isfinite(getattr(self, k)).all()]
        wrong += [k for k in ("scale", "l1", "l2", "high") if not (getattr(self, k) >= 0).all()]
        wrong += ["low"] * (not (self.low <= 0).all())
        sizes = np.diff(self.indptr)
        if wrong or self.indptr[0] != 0 or (sizes < 0).any() or sizes.sum() != n:
            raise ValueError(f"its arrays are out of range: {(*wrong, 'indptr')[0]}")
        place = np.repeat(np.arange(p), sizes) * q + self.candidate
        if ((self.candidate < 0) | (self.candidate >= q)).any() or len(np.unique(place)) < n:
            raise ValueError("its arrays are out of range: candidate")
        return self


def relative(gap: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """Return gaps relative to the objective of the empty network; infinite without a bound."""
    inside = (gap > 0) & (worth > 0) & np.isfinite(gap + worth)
    return np.divide(gap, worth, out=np.where(gap > 0, inf, 0.0), where=inside)


def prove(proof: Proof) -> tuple[np.ndarray, np.ndarray]:
    """Return the gap of every target and P(0), (g, p), rounded upwards; infinite: no bound."""
    g, p = proof.scale.shape
    gap, worth = np.full((g, p), np.inf), np.full((g, p), np.inf)
    step = max(1, MEMBERS // max(1, len(proof.regulators)))
    for group in range(g):
        factor = Exact.of(proof.factor[group])
        for start in range(0, p, step):
            part = slice(start, min(start + step, p))
            gap[group, part], worth[group, part] = _part(proof, group, factor, part)
    return gap, worth


def _part(proof: Proof, group: int, factor: Exact, part: slice) -> tuple[np.ndarray, np.ndarray]:
    first, last = proof.indptr[part.start], proof.indptr[part.stop]
    q, count = len(proof.regulators), part.stop - part.start
    sizes = np.diff(proof.indptr[part.start : part.stop + 1])
    place = proof.candidate[first:last], np.repeat(np.arange(count), sizes)

    def dense(values: np.ndarray) -> np.ndarray:
        out = np.zeros((q, count))
        out[place] = values[group, first:last]
        return out

    b, e, low, high = (dense(getattr(proof, k)) for k in ("theta", "dual", "low", "high"))
    known = (np.isfinite(b) & np.isfinite(e) & (low <= b) & (b <= high)).all(axis=0)
    b, e = np.where(known, b, 0), np.where(known, e, 0)
    x, l1, l2 = Exact.of(b), Exact.of(dense(proof.l1)), Exact.of(dense(proof.l2))
    z, a = Exact.of(proof.response[group][:, part]), Exact.of(proof.scale[group, part])
    rest, s = z - factor @ x, Exact.of(proof.shrink[group, part])
    u = s * (rest if np.array_equal(b, e) else z - factor @ Exact.of(e))
    v = Exact.of(2.0) * a * (Exact(factor.n.T, factor.e) @ u)
    cost, bounded = Exact(np.zeros((q, count), object)), known
    for way, limit in ((v, high), (Exact(-v.n, v.e), -low)):
        # The largest w t - d t^2 over 0 <= t <= limit.
        open_ = np.isinf(limit)
        w, top = way - l1, Exact.of(np.where(open_, 0, limit))
        w = Exact(np.maximum(w.n, 0), w.e)
        bounded = bounded & ~(open_ & (w.n > 0) & (l2.n == 0)).any(axis=0)
        beyond = ~open_ & ((w - Exact.of(2.0) * l2 * top).n >= 0)
        inner, edge = (w * w).over(Exact.of(4.0) * l2), w * top - l2 * top * top
        least = min(inner.e, edge.e)
        cost = cost + Exact(np.where(beyond, edge.at(least), inner.at(least)), least)
    penalty = l1 * Exact(abs(x.n), x.e) + l2 * x * x + cost
    fit = (rest * rest + u * u - Exact.of(2.0) * u * z).sum()
    gap = (a * fit + penalty.sum()).upwards()
    return np.where(bounded, gap, np.inf), (a * (z * z).sum()).upwards()


def check(proof: Proof, edges: Any, part: bool = False) -> tuple[np.ndarray, list[str]]:
    """Prove again how good a network is: the relative gap of every target, and what is wrong.

    Of the proof its problem is trusted (moments, penalties, bounds, candidates), nothing else.
    """
    gap, worth = prove(proof)
    wrong = differences(proof, edges, part) + [
        (int((~(gap <= proof.gap)).sum()), "gaps are larger than recorded, or have no bound"),
        (int((worth != proof.worth).sum()), "objectives of the empty network are not as recorded"),
    ]
    return relative(gap, worth), [f"{count:,} {text}" for count, text in wrong if count]


def differences(proof: Proof, edges: Any, part: bool = False) -> list[tuple[int, str]]:
    """Count how edges ([group,] source, target, weight) are not a proof's, or no ``part`` of it."""
    q, sizes = len(proof.regulators), np.diff(proof.indptr)
    known = np.append(np.repeat(np.arange(len(sizes)), sizes) * q + proof.candidate, -1)
    columns, named = {}, {"source": proof.regulators, "target": proof.targets}
    for column, names in (named | ({"group": proof.groups} if "group" in edges else {})).items():
        number = {name: i for i, name in enumerate(names.tolist())}
        columns[column] = np.array([number.get(str(v), -1) for v in edges[column]], np.int64)
    group = columns.get("group", np.zeros(len(edges), np.int64))
    place, order = columns["target"] * q + columns["source"], np.argsort(known)
    entry = order[np.searchsorted(known, place, sorter=order).clip(0, len(known) - 1)]
    good = (np.minimum.reduce([group, *columns.values()]) >= 0) & (known[entry] == place)
    group, entry = group[good], entry[good]
    weight = np.asarray(edges["weight"], np.float64).astype(proof.theta.dtype)[good]
    listed = np.zeros(proof.theta.shape, bool)
    listed[group, entry] = True
    lacking = ((np.nan_to_num(proof.theta) != 0) & ~listed).sum() * (not part)
    return [
        (len(edges) * ("group" not in edges) * (len(proof.groups) > 1), "edges are of no group"),
        (int((~good).sum()), "edges of the table are no candidates of the fit"),
        (int(good.sum() - listed.sum()), "edges stand twice"),
        (int((proof.theta[group, entry] != weight).sum()), "weights are not those proved"),
        (int(lacking), "edges of the fit are missing in the table (a filtered table?)"),
    ]
