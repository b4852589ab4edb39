"""Exact optimality: the gap that is proved is that of rational arithmetic, of the cells' problem.

The originals are Python's fractions, one number after the other, and plain NumPy on the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from unigrn.certify import certify
from unigrn.constraints import box
from unigrn.exact import Proof, prove
from unigrn.losses import gaussian, least_squares
from unigrn.regularizers import elastic_net, l1, ridge
from unigrn.spec import Spec
from unigrn.verify.claims import Claim
from unigrn.verify.claims.common import Search, apart, claimed, fit
from unigrn.verify.instances import described
from unigrn.verify.search import Finding

SOURCES, TARGETS = ("r0", "r1", "r2", "r3"), ("r0", "t0", "t1")


@dataclass(frozen=True)
class Problem:
    """Targets of a few regulators in numbers, and a point and a dual vector for each."""

    seed: int = 0
    unit: float = 1.0  # of the regulators
    ridge: bool = True
    bounded: bool = True

    def __repr__(self) -> str:
        return described(self)

    def proof(self) -> Proof:
        """Return it in the form that is checked: some entries without ridge, bound or price."""
        rng = np.random.default_rng((self.seed, 21))
        n, p = 12, 3
        factor = self.unit * rng.normal(size=(2, 3, 4))
        low = np.where(rng.random((2, n)) < 0.5, -np.inf, -rng.random((2, n)))
        high = np.where(rng.random((2, n)) < 0.5, np.inf, rng.random((2, n)))
        if not self.bounded:
            low, high = low - np.inf, high + np.inf
        theta = np.clip(rng.normal(size=(2, n)) * (rng.random((2, n)) < 0.7), low, high)
        price = 5 * self.unit * rng.random((2, n)) * (rng.random((2, n)) < 0.8)
        return Proof(
            np.array(SOURCES),
            np.array(TARGETS),
            np.array(["a", "b"]),
            np.arange(p + 1) * 4,
            np.tile(np.arange(4), p),
            factor,
            rng.normal(size=(2, 3, p)),
            rng.uniform(0.1, 2, (2, p)),
            price,
            rng.random((2, n)) * (rng.random((2, n)) < 0.7) * self.ridge,
            low,
            high,
            theta,
            theta + rng.choice([0, 0.01]) * rng.normal(size=(2, n)),
            rng.choice([1.0, 0.9, 0.0], (2, p)),
            np.zeros((2, p)),
            np.zeros((2, p)),
        )


def numbers(values: Any) -> list[Fraction]:
    """Return floats as the fractions that they are."""
    return [Fraction(float(v)) for v in values]


def dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    """Return the inner product."""
    return sum((p * q for p, q in zip(a, b, strict=True)), Fraction(0))


def by_fractions(
    proof: Proof, group: int, target: int, slip: str = ""
) -> tuple[Fraction, Fraction | None, Fraction]:
    """Return P(b), the dual bound D(u) or None where it is not finite, and P(0), of one target."""
    stretch = slice(proof.indptr[target], proof.indptr[target + 1])
    f = [numbers(row) for row in proof.factor[group][:, proof.candidate[stretch]]]
    z = numbers(proof.response[group, :, target])
    a, s = (Fraction(float(v[group, target])) for v in (proof.scale, proof.shrink))
    if slip == "dual vector as it is":
        s = Fraction(1)
    b, e, price, square = (
        numbers(getattr(proof, k)[group, stretch]) for k in ("theta", "dual", "l1", "l2")
    )
    rest = [zi - dot(row, b) for zi, row in zip(z, f, strict=True)]
    u = [s * (zi - dot(row, e)) for zi, row in zip(z, f, strict=True)]
    value = a * dot(rest, rest)
    value += sum(p * abs(x) + d * x * x for p, d, x in zip(price, square, b, strict=True))
    bound: Fraction | None = a * (2 * dot(u, z) - dot(u, u))
    for j in range(len(b)):
        v = (1 if slip == "half the slope" else 2) * a * dot([row[j] for row in f], u)
        c, d = Fraction(0) if slip == "prices left out" else price[j], square[j]
        low, high = (float(getattr(proof, k)[group, stretch][j]) for k in ("low", "high"))
        if slip == "bounds left out":
            low, high = -np.inf, np.inf
        points = [Fraction(0), *(Fraction(end) for end in (low, high) if np.isfinite(end))]
        if d:
            points += [(v - c) / (2 * d), (v + c) / (2 * d)]
        elif (v > c and np.isinf(high)) or (v < -c and np.isinf(low)):
            return value, None, a * dot(z, z)
        inside = [x for x in points if low <= x <= high]
        bound = bound - max(v * x - c * abs(x) - d * x * x for x in inside)
    return value, bound, a * dot(z, z)


def _gaps(problem: Problem, slip: str = "") -> list[Finding]:
    """Compare every gap, which may be larger by rounding of its last digit only."""
    proof, found = problem.proof(), []
    gaps, worth = prove(proof)
    for group, target in np.ndindex(*gaps.shape):
        value, bound, empty = by_fractions(proof, group, target, slip)
        got, at_zero = gaps[group, target], worth[group, target]
        if bound is None or np.isinf(got):
            found.append(Finding("finite", float((bound is None) != bool(np.isinf(got)))))
            continue
        over = (Fraction(float(got)) - (value - bound), Fraction(float(at_zero)) - empty)
        sizes = (value - bound, empty)
        for kind, more, size in zip(("gap", "empty network"), over, sizes, strict=True):
            found.append(Finding(kind, np.inf if more < 0 else float(more / (size or 1))))
    return found


def _problems() -> Any:
    from hypothesis import strategies as st

    return st.builds(
        Problem,
        seed=st.integers(0, 2**16),
        unit=st.sampled_from([1.0, 1e-6, 1e6]),
        ridge=st.booleans(),
        bounded=st.booleans(),
    )


def _gap_claim() -> Claim:
    return claimed(
        "exact_optimality.gap",
        "the gap that a network's proof states is that of rational arithmetic, rounded upwards in "
        "its last digit; where no bound is finite, it is infinite",
        ("duality.weak_duality", "duality.certified", "certificate.check_sound"),
        Search("gap in whole numbers = gap in fractions", _gaps, (_problems,), 2.0**-50).slipped,
        {
            "bounds left out": {"slip": "bounds left out"},
            "prices left out": {"slip": "prices left out"},
            "half the slope": {"slip": "half the slope"},
            "a dual vector that is not shrunk": {"slip": "dual vector as it is"},
        },
        covers="that a gap bounds the distance from the optimum, and a checker in Coq; not ours",
    )


# ------------------------------------------------------------------ the problem of the cells

FORMS = {  # loss and penalties: factor of the squares, price of |x|, of x^2, bounds
    "ridge": lambda w, y: (1 / w.sum(), 0.0, 0.3, (-np.inf, np.inf)),
    "lasso": lambda w, y: (0.5 * w.sum() / (w @ y**2), 4.0, 0.0, (-np.inf, np.inf)),
    "elastic net": lambda w, y: (1.0, 5.0, 2.0, (-0.1, 0.2)),
}


def _spec(form: str) -> Spec:
    return {
        "ridge": Spec(least_squares(mean=True), ridge(0.3), scale="both"),
        "lasso": Spec(gaussian(), l1(4.0), scale="both"),
        "elastic net": Spec(least_squares(), elastic_net(5.0, 2.0), box(-0.1, 0.2), scale="both"),
    }[form]


@dataclass(frozen=True)
class Cells:
    """Cells of two groups, and what is fitted to them."""

    seed: int = 0
    form: str = "lasso"
    weighted: bool = False

    def __repr__(self) -> str:
        return described(self)


@lru_cache(maxsize=64)  # the variants ask for the same cells
def _proved(cells: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Proof]:
    """Return values, groups and weights of the cells, and the proof of what is fitted to them."""
    rng = np.random.default_rng((cells.seed, 22))
    group = rng.permutation(np.repeat(["a", "b"], (40, 25)))
    values = 3 + rng.normal(size=(65, 6)) * [1, 2, 0.5, 1, 3, 1]
    values[:, 4] += values[:, 0] - values[:, 1]
    weights = rng.uniform(0.2, 3, 65) if cells.weighted else None
    solution = fit(
        _spec(cells.form), values, SOURCES, TARGETS, np.ones((4, 3)), group.tolist(), weights
    )
    return values, group, weights, certify(solution)


def _stated(cells: Cells, slip: str = "") -> list[Finding]:
    """Compare the problem that a proof states with the rows of the cells, at any point."""
    rng = np.random.default_rng((cells.seed, 23))
    (values, group, weights, proof), found = _proved(cells), []
    unit = values / values.std(axis=0)
    w = np.ones(65) if weights is None or slip == "cells of one weight" else weights
    for g, name in enumerate(proof.groups):
        own = group == (proof.groups[0] if slip == "cells of the other group" else name)
        for t, target in enumerate(proof.targets):
            stretch = slice(proof.indptr[t], proof.indptr[t + 1])
            wide = (values if slip == "genes in their own units" else unit)[own]
            x, y = wide[:, proof.candidate[stretch]], wide[:, [0, 4, 5][TARGETS.index(target)]]
            if slip != "not centred":
                x, y = (v - np.average(v, axis=0, weights=w[own]) for v in (x, y))
            a, price, square, (low, high) = FORMS[cells.form](w[own], y)
            b = np.clip(rng.normal(size=x.shape[1]), low, high)

            def value(x, y, w, b, a=a, price=price, square=square):
                return a * (w @ (y - x @ b) ** 2) + price * abs(b).sum() + square * (b @ b)

            f = proof.factor[g][:, proof.candidate[stretch]]
            stated = [
                proof.scale[g, t] * np.sum((proof.response[g, :, t] - f @ at) ** 2)
                + proof.l1[g, stretch] @ abs(at)
                + proof.l2[g, stretch] @ at**2
                for at in (b, 0 * b)
            ]
            rows = [value(x, y, w[own], at) for at in (b, 0 * b)]
            found.append(apart("objective", stated[0] - stated[1], rows[0] - rows[1], rows[0]))
            ends = np.stack([proof.low[g, stretch], proof.high[g, stretch]], axis=1)
            found.append(Finding("bounds", float((ends != (low, high)).any())))
    return found


def _cells() -> Any:
    from hypothesis import strategies as st

    return st.builds(
        Cells,
        seed=st.integers(0, 2**16),
        form=st.sampled_from(sorted(FORMS)),
        weighted=st.booleans(),
    )


def _problem_claim() -> Claim:
    return claimed(
        "exact_optimality.problem",
        "what a network's proof states in numbers is the objective of its method on the cells",
        (),
        Search("stated problem = rows of the cells", _stated, (_cells,), 1e-9).slipped,
        {
            "cells of one weight": {"slip": "cells of one weight"},
            "cells of the other group": {"slip": "cells of the other group"},
            "genes in their own units": {"slip": "genes in their own units"},
            "not centred": {"slip": "not centred"},
        },
        reason="that a program states the problem of its cells is checked, not proved",
        share=0.3,
    )


CLAIMS = (_gap_claim(), _problem_claim())
