"""From the theorems to the code: values of the shipped objectives, as goals for Coq.

    python proofs/instances.py instances.v [--slip slipped.v] [--seed N]

Draws small problems, evaluates the objective of a shipped method on them in double precision, and
writes one goal each: the objective of the theorems (proofs/coq/computed.v), at the same numbers, is
that value, in every ordered field. The numbers are whole or have a denominator that is a power of
2, and so are the sums and means of them, so that nothing is rounded; a rounded value would not be
proved. Normalising constants (log 2 pi s^2) are no part of a theorem: they are the value of the
same objective at data and coefficients of 0, and are taken off. With them come certificates of
small networks as `unigrn infer --certify` computes them, which the checker of certificate.v must
accept. ``--slip`` writes the same values 1 too large, as goals of which none may be proved, and
coefficients beside the certified ones, which the checker must reject.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import numpy as np

from unigrn.api import fit
from unigrn.certify import certify
from unigrn.constraints import box, nonnegative
from unigrn.data import Data
from unigrn.exact import Proof
from unigrn.filtering import EvidenceFiltering
from unigrn.losses import gaussian, least_squares
from unigrn.methods import get
from unigrn.regularizers import elastic_net, l1, ridge
from unigrn.spec import Spec
from unigrn.terms import Blocks, PriorView, View

EACH = 15  # instances of a statement
HEAD = """(* Written by instances.py. *)
From Coq Require Import ZArith QArith.
From mathcomp Require Import all_ssreflect all_algebra.
From unigrn Require Import numbers computed certificate.
Open Scope Q_scope.
"""


# ------------------------------------------------------------------ numbers as Coq reads them


def exact(value: float) -> Fraction:
    """Return a number as a fraction; its denominator is small where nothing was rounded."""
    out = Fraction(float(value))
    if out.denominator > 2**24:
        raise ValueError(f"{value!r} was rounded: draw other numbers")
    return out


def read(value: Any) -> str:
    """Write a number, a truth value, or nested sequences of them."""
    if isinstance(value, np.ndarray | list | tuple):
        return "[:: " + "; ".join(read(v) for v in value) + "]" if len(value) else "[::]"
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    number = value if isinstance(value, Fraction) else exact(value)
    return f"{number.numerator}#{number.denominator}"


def term(value: Any) -> str:
    """Write an argument: sizes (int) as they are, lists of them, and numbers in brackets."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and value and isinstance(value[0], int):
        return "[:: " + "; ".join(map(str, value)) + "]%N"
    return f"({read(value)})"


# ------------------------------------------------------------------ problems


class Draws:
    """Random numbers of one instance."""

    def __init__(self, seed: int, salt: int):
        self.rng = np.random.default_rng((seed, salt))

    def size(self, most: int, least: int = 1) -> int:
        """Draw a size."""
        return int(self.rng.integers(least, most + 1))

    def whole(self, *shape: int, low: int = -3, high: int = 3) -> np.ndarray:
        """Draw whole numbers."""
        return self.rng.integers(low, high + 1, shape).astype(np.float64)

    def halves(self, *shape: int) -> np.ndarray:
        """Draw multiples of 1/2, some of them 0."""
        return self.whole(*shape) * self.rng.integers(0, 2, shape) / 2

    def positive(self, high: int = 4) -> float:
        """Draw a multiple of 1/4 above 0."""
        return float(self.rng.integers(1, 4 * high + 1)) / 4

    def named(self, *shape: int) -> np.ndarray:
        """Draw which edges the prior names."""
        return self.rng.random(shape) < 0.6

    def rows(self, cells: int) -> np.ndarray:
        """Draw 4 or 8 rows with replacement: means over a power of 2 are exact."""
        return self.rng.integers(0, cells, int(self.rng.choice([4, 8])))


def prior_of(weight: np.ndarray, layers: np.ndarray | None = None) -> PriorView:
    """Return a prior by its weights, (regulators, targets), as a term sees it."""
    several = {} if layers is None else {f"layer{k}": v for k, v in enumerate(layers)}
    return PriorView(
        weight > 0, weight, np.zeros(weight.shape, np.int32), weight < 0, weight >= 0, several
    )


def value(spec: Spec, params: Blocks, view: View, prior: PriorView) -> float:
    """Evaluate the objective of a spec."""
    return float(spec.objective(params, view, prior))


def without_constant(spec: Spec, params: Blocks, view: View, prior: PriorView) -> Fraction:
    """Evaluate it, less its value at data and coefficients of 0; the logarithms cancel."""
    zero = jax.tree.map(np.zeros_like, params)
    rest = value(spec, params, view, prior) - value(spec, zero, view.replace(y=0 * view.y), prior)
    out = Fraction(round(rest * 2**16), 2**16)
    if abs(float(out) - rest) > 1e-9:
        raise ValueError(f"{rest!r} is no multiple of 2^-16: draw other numbers")
    return out


# ------------------------------------------------------------------ statements
# Each yields the statement's name in computed.v, its arguments, and the value.


def ridges(seed: int, method: str) -> Iterator[tuple]:
    """Draw weighted ridges: celloracle without bags, and the two plain ones of an average cell."""
    for k in range(EACH):
        d = Draws(seed, k)
        n, q, p = d.size(4, 2), d.size(3), d.size(2)
        x, y, theta = d.whole(n, q), d.whole(n, p), d.halves(q, p)
        named = d.named(q, p)
        weight = np.bincount(d.rows(n), minlength=n).astype(np.float64)
        total, alpha = weight.sum(), d.positive()
        if method != "full_ridge":
            theta = np.where(named, theta, 0)
        spec = get(method).function(None, alpha).replace(over=())
        found = exact(
            value(spec, Blocks(theta=theta), View(None, x, y, weight), prior_of(1.0 * named))
        )
        if method != "celloracle":  # the mean over the cells, and alpha relative to it
            found, alpha = found * exact(total), alpha * total
        yield "ridge", (n, q, p, x, y, alpha, np.tile(weight, (p, 1)), theta), found


def bags(seed: int) -> Iterator[tuple]:
    """Draw bags: the method on the counts and drawn regulators alone, Coq on the drawn rows."""
    for k in range(EACH):
        d = Draws(seed, 100 + k)
        n, q, p = d.size(4, 2), d.size(3, 2), d.size(2)
        x, y = d.whole(n, q), d.whole(n, p)
        drawn = np.sort(d.rng.permutation(q)[: d.size(q)])
        theta, kept = np.zeros((q, p)), d.halves(len(drawn), p)
        theta[drawn] = kept
        rows, alpha = d.rows(n), d.positive()
        view = View(None, x[:, drawn], y, np.bincount(rows, minlength=n).astype(np.float64))
        spec = get("celloracle").function(None, alpha).replace(over=())
        found = exact(value(spec, Blocks(theta=kept), view, prior_of(np.ones(kept.shape))))
        # Rows are numbered below n by their remainder: n - 1 is what makes the type.
        yield ("bag", (n - 1, q, p, len(rows), x, y, alpha, [int(r) for r in rows], theta), found)


def lassos(seed: int) -> Iterator[tuple]:
    """Draw masked lassos with a noise variance that is given."""
    for k in range(EACH):
        d = Draws(seed, 200 + k)
        n, q, p = int(d.rng.choice([2, 4])), d.size(3), d.size(2)
        x, y, named = d.whole(n, q), d.whole(n, p), d.named(q, p)
        theta = np.where(named, d.halves(q, p), 0)
        strength, noise = d.positive(), float(2.0 ** d.rng.integers(-2, 3))
        spec = get("masked_lasso").function(None, strength, noise)
        view = View(None, x, y, np.ones(n))
        found = without_constant(spec, Blocks(theta=theta), view, prior_of(1.0 * named))
        yield "lasso", (n, q, p, x, y, np.full(p, noise), strength, theta), found


def modes(seed: int) -> Iterator[tuple]:
    """Draw posterior modes of linear_gaussian, one target each: minus the log joint density."""
    for k in range(EACH):
        d = Draws(seed, 300 + k)
        n, q = d.size(4, 2), d.size(3)
        x, y, named, theta = d.whole(n, q), d.whole(n, 1), d.named(q, 1), d.halves(q, 1)
        weight = np.bincount(d.rows(n), minlength=n).astype(np.float64)
        noise, on, off = (float(2.0 ** d.rng.integers(*r)) for r in ((-2, 3), (0, 3), (-3, 0)))
        spec = get("linear_gaussian").function(None, noise, on**2, off**2, form="map")
        found = without_constant(
            spec, Blocks(theta=theta), View(None, x, y, weight), prior_of(1.0 * named)
        )
        widths = np.where(named.T, on, off)
        yield "mode", (n, q, x, y, weight[None], noise, widths, theta), found


def _coupled(d: Draws) -> tuple[tuple[int, ...], Blocks, View]:
    """Draw sizes (genes, regulators, samples, features), blocks, and expression."""
    n, m, samples, features = d.size(3), d.size(3), d.size(2), d.size(2)
    theta, a = d.whole(m, n, low=-2, high=2), d.whole(m, samples, low=-2, high=2)
    theta *= d.rng.integers(0, 2, theta.shape)
    blocks = Blocks(theta=theta, A=a, U=d.halves(features, n), V=d.halves(features, m))
    view = View(None, np.zeros((samples, m)), d.whole(samples, n), np.ones(samples))
    return (n, m, samples, features), blocks, view


def _state(u: Blocks) -> tuple:
    """Return the blocks in the orientation of the theorems: S is theta transposed."""
    return u.theta.T, u.A, u.U, u.V


def _layers(d: Draws, genes: int, regulators: int) -> np.ndarray:
    """Draw one to three layers of evidence, (layers, genes, regulators); all name one edge."""
    shape = d.size(3), genes, regulators
    out = d.named(*shape) * d.rng.integers(1, 3, shape) * 1.0
    out[:, 0, 0] = 2
    return out


def _evidence(d: Draws, layers: int) -> list[float]:
    """Draw multipliers, now and then one more than layers, under which max(C) - 1 is 1 to 8."""
    power = d.rng.choice([1, 3]) if layers == 3 else d.rng.integers(0, 4)
    last = (2.0**power + 1) / layers
    return [0.125, 0.25, 0.5][: layers - 1 + d.size(1, 0)] + [last]


def _filtered(d: Draws, layers: np.ndarray) -> tuple[Spec, tuple]:
    """Draw hyperparameters: the spec, and evidence, strength, boost, ridges and floor."""
    evidence = _evidence(d, len(layers))
    strength, boost, floor = d.positive(2), d.positive(9), d.positive(2)
    la, ls, rho = d.positive(2), d.positive(2), d.positive(2)
    spec = get("netrex_cf").function(
        None, 1, tuple(evidence), strength, boost, floor, 200, la, ls, rho
    )
    return spec, (evidence, strength, boost, la, ls, rho, floor)


def _known(layers: np.ndarray) -> PriorView:
    return prior_of(layers.sum(axis=0).T, layers.transpose(0, 2, 1))


def released(seed: int) -> Iterator[tuple]:
    """Draw NetREX-CF problems, with the weights from the layers of evidence."""
    for k in range(EACH):
        d = Draws(seed, 400 + k)
        sizes, u, view = _coupled(d)
        layers = _layers(d, *sizes[:2])
        spec, numbers = _filtered(d, layers)
        found = exact(value(spec, u, view, _known(layers)))
        arguments = (*sizes, len(layers), view.y.T, layers, *numbers, *_state(u))
        yield "released", arguments, found


def prices(seed: int) -> Iterator[tuple]:
    """Draw prices of all edges at any R, added up with weights: the completed square."""
    for k in range(EACH):
        d = Draws(seed, 500 + k)
        n, m = d.size(3), d.size(3)
        layers, R, weight = _layers(d, n, m), d.halves(n, m), d.whole(n, m)
        spec, (evidence, strength, boost, *_, floor) = _filtered(d, layers)
        filtering = next(t for t in spec.terms if isinstance(t, EvidenceFiltering))
        u = Blocks(theta=np.zeros((m, n)), U=np.eye(n), V=R)
        got = filtering.price(u, View(), _known(layers))
        found = exact(float(np.sum(weight * np.asarray(got).T)))
        arguments = (n, m, len(layers), layers, evidence, strength, boost, floor, R, weight)
        yield "prices", arguments, found


def sketched(seed: int) -> Iterator[tuple]:
    """Draw NetREX-CF problems in the form of the literature."""
    for k in range(EACH):
        d = Draws(seed, 600 + k)
        sizes, u, view = _coupled(d)
        n, m = sizes[:2]
        weight = d.named(n, m) * d.rng.integers(1, 4, (n, m)) * 1.0
        # What an edge off the prior is charged for divides by the weight off it.
        slope, on, off = d.positive(), d.positive(9), float(2.0 ** d.rng.integers(-1, 3))
        cost, kappa, ridge = d.positive(2), d.positive(2), d.positive(2)
        spec = get("netrex_cf_sketch").function(None, 1, slope, on, off, cost, kappa, ridge)
        found = exact(value(spec, u, view, prior_of(weight.T)))
        arguments = (*sizes, view.y.T, weight, slope, on, off, kappa, ridge, cost, *_state(u))
        yield "sketched", arguments, found


def statements(seed: int) -> Iterator[tuple]:
    """Draw all instances."""
    for k, method in enumerate(("celloracle", "masked_ridge", "full_ridge")):
        yield from ridges(1000 * seed + k, method)
    for draw in (bags, lassos, modes, released, prices, sketched):
        yield from draw(seed)


def certified() -> Iterator[tuple[Proof, int]]:
    """Fit small networks of every form that is certified; give proofs and targets of theirs."""
    forms = (
        Spec(least_squares(mean=True), ridge(0.5)),
        Spec(gaussian(), l1(1.0)),
        Spec(least_squares(), elastic_net(3.0, 1.0), nonnegative()),
        Spec(least_squares(), l1(0.5), box(-0.1, 0.2)),
        Spec(least_squares(intercept=False), l1(2.0)),
    )
    for k, spec in enumerate(forms):
        values = np.random.default_rng((7, k)).normal(size=(12, 5))
        values[:, 3] += values[:, 0]
        for dtype in ("float64", "float32"):
            data = Data.from_arrays(values, list("abcxy"), dtype=dtype)
            proof = certify(fit(spec, data, regulators=list("abc"), targets=list("xy")))
            yield from ((proof, target) for target in range(2))


def acceptance(proof: Proof, target: int, slip: bool) -> str:
    """Write that the checker accepts a certificate; with ``slip`` that it rejects one beside it."""
    stretch = slice(proof.indptr[target], proof.indptr[target + 1])
    theta, dual, price, square, low, high = (
        getattr(proof, name)[0, stretch].astype(np.float64)
        for name in ("theta", "dual", "l1", "l2", "low", "high")
    )
    if slip:  # within its bounds, and worse
        theta = np.where(theta == 0, np.minimum(0.05, high), theta * 0.96875)

    def number(value: float) -> str:
        return read(Fraction(float(value)))

    def row(values: np.ndarray) -> str:
        return f"[:: {'; '.join(map(number, values))}]"

    def ends(values: np.ndarray) -> str:
        some = (f"Some ({number(v)})" if np.isfinite(v) else "None" for v in values)
        return f"[:: {'; '.join(some)}]"

    rows = "; ".join(map(row, proof.factor[0][:, proof.candidate[stretch]]))
    parts = [f"[:: {rows}]", row(proof.response[0, :, target]), row(theta), row(dual)]
    parts += [f"({number(proof.scale[0, target])})", row(price), row(square), ends(low), ends(high)]
    parts += ["[::]"] * 5 + [f"({number(v[0, target])})" for v in (proof.shrink, proof.gap)]
    stated = f"check (Certificate {' '.join(parts)}) = {str(not slip).lower()}"
    return f"Goal {stated}.\nProof. by vm_compute. Qed.\n"


def goal(name: str, arguments: tuple, found: Fraction, slip: bool) -> str:
    """Write a goal with its proof; with ``slip`` 1 too large, and that the proof fails."""
    left = " ".join([f"{name}_at R", *map(term, arguments)])
    proof = f"move=> R; evaluate ({name}_computed {' '.join('_' * (len(arguments) + 1))})."
    ended = f"Fail {proof} Abort." if slip else f"{proof} Qed."
    return f"Goal forall R, {left} = of_Q R ({read(found + slip)}).\nProof. {ended}\n"


def main() -> None:
    """Write the goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="of the goals")
    parser.add_argument("--slip", type=Path, help="file of the same goals with values 1 too large")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    options = parser.parse_args()
    with jax.enable_x64(True):
        found = list(statements(options.seed))
    proofs = list(certified())
    for file, slip in ((options.file, False), (options.slip, True)):
        if file is not None:
            goals = [goal(*s, slip=slip) for s in found]
            goals += [acceptance(*p, slip=slip) for p in proofs]
            file.write_text(HEAD + "".join(goals))


if __name__ == "__main__":
    main()
