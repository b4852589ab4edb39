"""Equivalences: two formulations, the maps between them, and a search for where they part.

An `Equivalence` of p(u) and q(v) is a pair of maps ``to`` and ``back`` that keep feasibility, and
an affine relation of the objectives with scale > 0: q(to u) = scale p(u) + shift for every feasible
u (relation "equal"), or, for a formulation that minimises part of the variables away, the two
inequalities q(to u) <= scale p(u) + shift and scale p(back v) + shift <= q(v) (relation "strong").
Either sends minimisers to minimisers: see proofs/strong_equivalence.md. `equivalent` looks for a
counterexample over instances that Hypothesis draws, and shrinks what it finds.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from unigrn.check import check_whole
from unigrn.spec import Spec
from unigrn.terms import Blocks, joint, parts
from unigrn.verify.instances import Instance, Point

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

KINDS = ("feasibility", "objective", "gradient", "prox", "minimiser", "iterates")


@dataclass(frozen=True)
class Formulation:
    """One way of stating a problem, as functions of an instance and of its variables.

    Only ``objective`` is needed; what is None is not compared.

    Attributes
    ----------
    objective
        (instance, u) -> number.
    violation
        (instance, u) -> number, 0 where u is feasible.
    variables
        (instance, point) -> u: variables at a drawn point.
    gradient
        (instance, u) -> like u: where the objective is smooth.
    prox
        (instance, u, step) -> like u: of the terms with a kink and the constraint.
    minimiser
        (instance) -> u: the unique minimiser, or None where this instance has none.
    iterates
        (instance, steps) -> u: where the released algorithm is the definition.
    """

    objective: Callable[[Any, Any], float]
    violation: Callable[[Any, Any], float] | None = None
    variables: Callable[[Any, Point], Any] | None = None
    gradient: Callable[[Any, Any], Any] | None = None
    prox: Callable[[Any, Any, float], Any] | None = None
    minimiser: Callable[[Any], Any] | None = None
    iterates: Callable[[Any, int], Any] | None = None
    name: str = "formulation"


def _same(instance: Instance, u: Any) -> Any:
    return u


@dataclass(frozen=True)
class Equivalence:
    """Two formulations and the maps that join them; see the module's first lines.

    ``data`` maps an instance of the first formulation to one of the second. ``scale`` > 0 and
    ``shift`` are numbers or functions of the instance, ``tolerance`` is relative to 1 + the size of
    what is compared.
    """

    first: Formulation
    second: Formulation
    to: Callable[[Any, Any], Any] = _same
    back: Callable[[Any, Any], Any] = _same
    data: Callable[[Any], Any] = lambda instance: instance
    scale: float | Callable[[Any], float] = 1.0
    shift: float | Callable[[Any], float] = 0.0
    relation: str = "equal"
    tolerance: float = 1e-9
    steps: int = 5

    def compare(self, instance: Instance, point: Point, kinds: tuple[str, ...]) -> list[Finding]:
        """Return every deviation at one instance and point."""
        there = self.data(instance)
        scale = self.scale(instance) if callable(self.scale) else self.scale
        shift = self.shift(instance) if callable(self.shift) else self.shift
        if not scale > 0:
            raise ValueError(
                "scale must be > 0, or minimisers of one formulation are none of the "
                f"other; got {scale!r}"
            )
        p, q = self.first, self.second
        out: list[Finding] = []

        def note(kind, deviation, size=0.0):
            if kind in kinds:
                out.append(Finding(kind, float(deviation) / (1 + abs(float(size)))))

        def lies_in(f, at, w):
            return f.violation is None or float(f.violation(at, w)) <= 0

        if p.variables is None:
            raise TypeError(
                "the first formulation needs variables, (instance, point) -> u; got None"
            )
        u = p.variables(instance, point)
        if lies_in(p, instance, u):
            v = self.to(instance, u)
            if q.violation is not None:
                note("feasibility", q.violation(there, v), largest(v))
            below, above = float(q.objective(there, v)), float(p.objective(instance, u))
            above = scale * above + shift
            gap = below - above
            note("objective", abs(gap) if self.relation == "equal" else max(gap, 0), above)
            if p.gradient is not None and q.gradient is not None:
                here, other = p.gradient(instance, u), q.gradient(there, v)
                ahead = p.variables(instance, _elsewhere(point))
                ahead = jax.tree.map(np.subtract, ahead, u)
                image = jax.tree.map(
                    np.subtract, self.to(instance, jax.tree.map(np.add, u, ahead)), v
                )
                slopes = [dot(g, d) for g, d in ((here, ahead), (other, image))]
                size = dot(jax.tree.map(np.abs, here), jax.tree.map(np.abs, ahead))
                note("gradient", abs(scale * slopes[0] - slopes[1]), scale * size)
            if p.prox is not None and q.prox is not None:
                step = 0.5 / instance.strength
                one, two = p.prox(instance, u, step), q.prox(there, v, step / scale)
                mapped = self.to(instance, one)
                note("prox", largest(jax.tree.map(np.subtract, mapped, two)), largest(two))
        if q.variables is not None:
            v = q.variables(there, point)
            if lies_in(q, there, v):
                u = self.back(instance, v)
                if p.violation is not None:
                    note("feasibility", p.violation(instance, u), largest(u))
                above = float(q.objective(there, v))
                gap = scale * float(p.objective(instance, u)) + shift - above
                note("objective", abs(gap) if self.relation == "equal" else max(gap, 0), above)
        if "minimiser" in kinds and p.minimiser is not None and q.minimiser is not None:
            u, v = p.minimiser(instance), q.minimiser(there)
            if u is not None and v is not None:
                for f, at, best, other in (
                    (q, there, v, self.to(instance, u)),
                    (p, instance, u, self.back(instance, v)),
                ):
                    least, found = float(f.objective(at, best)), float(f.objective(at, other))
                    note("minimiser", abs(found - least), least)
                    if f.violation is not None:
                        note("feasibility", f.violation(at, other), largest(other))
        if "iterates" in kinds and p.iterates is not None and q.iterates is not None:
            u, v = p.iterates(instance, self.steps), q.iterates(there, self.steps)
            mapped = self.to(instance, u)
            note("iterates", largest(jax.tree.map(np.subtract, mapped, v)), largest(v))
        return out


@dataclass(frozen=True)
class Finding:
    """One comparison: its kind and deviation, relative to the scale of what was compared."""

    kind: str
    deviation: float


@dataclass(frozen=True)
class Report:
    """What a search found; it prints as a table, and with the counterexample where there is one."""

    name: str
    holds: bool
    tolerance: float
    examples: int
    seed: int
    worst: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    counterexample: tuple[Any, ...] | None = None
    reason: str = ""
    missing: tuple[str, ...] = ()  # what was to be compared and never was

    @property
    def deviation(self) -> float:
        """The largest deviation seen, of any kind."""
        return max(self.worst.values(), default=0.0)

    @property
    def refuted(self) -> bool:
        """True where it fails; what was not compared is neither shown nor refuted."""
        return not self.holds and not self.missing

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "REFUTED" if self.refuted else "NOT SHOWN"
        lines = [f"{self.name}: {verdict} on {self.examples} examples (seed {self.seed})"]
        kinds = sorted(self.worst, key=lambda k: (*KINDS, k).index(k))  # a check's own kinds last
        lines += [
            f"  {kind:12s} worst {self.worst[kind]:.1e} of {self.tolerance:.0e}, "
            f"{self.counts[kind]} comparisons"
            for kind in kinds
        ]
        if self.counterexample is not None:
            lines.append(f"  {self.reason}; the smallest counterexample:")
            lines += [f"    {item!r}" for item in self.counterexample]
        elif self.reason:
            lines.append(f"  {self.reason}")
        if self.missing:
            lines.append(f"  no example compared {', '.join(self.missing)}")
        return "\n".join(lines)


def largest(tree: Any) -> float:
    """Largest absolute number in a tree of arrays; infinite where one is not a number."""
    sizes = [float(np.max(np.abs(v), initial=0)) for v in map(np.asarray, jax.tree.leaves(tree))]
    size = max(sizes, default=0.0)
    return size if np.isfinite(sizes).all() else float("inf")


def dot(a: Any, b: Any) -> float:
    """Inner product of two trees of arrays."""
    return float(
        sum(
            np.sum(np.asarray(x) * np.asarray(y))
            for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        )
    )


def _elsewhere(point: Point) -> Point:
    return Point(point.seed + 1, point.zeros, point.whole, point.outside, point.size)


def search(
    name: str,
    check: Callable[..., list[Finding]],
    drawn_from: tuple[SearchStrategy, ...],
    tolerance: float,
    examples: int,
    seed: int,
    needed: tuple[str, ...] = (),
) -> Report:
    """Look for an example at which ``check`` finds a deviation above the tolerance.

    A deviation that is not a number counts as infinite. The same seed draws the same examples,
    as long as neither Hypothesis nor the source (which it takes constants from) changes.
    Where nothing was compared, or one of the ``needed`` kinds was not, nothing is shown.
    """
    from hypothesis import HealthCheck, Phase, given, settings, strategies
    from hypothesis import seed as fixed_seed

    _keep_out_of_the_way()

    worst: dict[str, float] = {}
    counts: dict[str, int] = {}
    failed: list[tuple[Any, ...]] = []
    reasons: list[str] = []
    drawn = 0

    @fixed_seed(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]  # stub
        report_multiple_bugs=False,
    )
    @given(strategies.tuples(*drawn_from))
    def run(drawings):
        nonlocal drawn
        drawn += not failed
        for finding in check(*drawings):
            deviation = np.inf if np.isnan(finding.deviation) else finding.deviation
            worst[finding.kind] = max(worst.get(finding.kind, 0.0), deviation)
            if not failed:
                counts[finding.kind] = counts.get(finding.kind, 0) + 1
            if deviation > tolerance:
                failed.append(drawings)
                reasons.append(
                    f"{finding.kind} differs by {deviation:.1e}, more than {tolerance:.0e}"
                )
                raise _Parted(reasons[-1])

    try:
        run()
    except _Parted:
        return Report(name, False, tolerance, drawn, seed, worst, counts, failed[-1], reasons[-1])
    missing = tuple(k for k in needed if k not in counts) if counts else ("anything",)
    return Report(name, not missing, tolerance, drawn, seed, worst, counts, missing=missing)


@functools.cache
def _keep_out_of_the_way() -> None:
    """Let Hypothesis keep its files elsewhere than in the user's folder, unless that is said."""
    if "HYPOTHESIS_STORAGE_DIRECTORY" not in os.environ and "pytest" not in sys.modules:
        place = tempfile.TemporaryDirectory(prefix="unigrn-")
        atexit.register(place.cleanup)
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = place.name


class _Parted(AssertionError):
    """Raised inside a search, for Hypothesis to shrink."""


def equivalent(
    first: Any,
    second: Any = None,
    *,
    to: Callable[[Instance, Any], Any] = _same,
    back: Callable[[Instance, Any], Any] = _same,
    data: Callable[[Instance], Instance] | None = None,
    scale: float | Callable[[Instance], float] = 1.0,
    shift: float | Callable[[Instance], float] = 0.0,
    relation: str = "equal",
    kinds: tuple[str, ...] = KINDS,
    instances: SearchStrategy | None = None,
    points: SearchStrategy | None = None,
    examples: int = 100,
    seed: int = 0,
    tolerance: float = 1e-9,
    name: str | None = None,
) -> Report:
    """Say whether two formulations are the same problem, or show where they part.

    Parameters
    ----------
    first, second
        Each a `Spec` or a `Formulation`; or one `Equivalence` as ``first`` alone. Of a spec the
        problem is compared: loss, regularizer and constraint on the rows as they are. Solver,
        statistics and permutations are no part of it.
    to, back
        Maps of the variables, (instance, u) -> v and (instance, v) -> u; by default the same.
    data
        Map of the instances; by default the same.
    scale, shift
        The affine relation of the objectives: second = scale x first + shift.
    relation
        "equal", or "strong" where one formulation minimises part of the variables away.
    kinds
        What is compared: feasibility, objective, gradient, prox, minimiser, iterates. By default
        as far as both have it; what is asked for and never compared is not shown to hold. A spec
        offers neither minimiser nor iterates: state its fit as a `Formulation`.
    instances, points
        Hypothesis strategies; by default `unigrn.verify.instances`, which aim at empty and full
        supports, zero and repeated regulators, one cell, more regulators than cells, huge and tiny
        scales, exact zeros and ties.
    examples, seed
        How many examples, and which.
    tolerance
        Relative to 1 + the size of what is compared.

    Returns
    -------
    Report
        True in a condition where no difference was found. Otherwise it prints the smallest
        counterexample, ready to be pasted, or that nothing was compared.

    Raises
    ------
    TypeError
        What is neither a Spec nor a Formulation; a spec with blocks beside theta; specs whose
        problems differ before they are stated, in the units of the genes or in bags.
    ValueError
        Unknown kinds or relation, a scale that is not > 0.

    Examples
    --------
    >>> from unigrn import Spec, least_squares, ridge
    >>> from unigrn.verify import equivalent
    >>> half = Spec(0.5 * least_squares(), 0.5 * ridge(3.0))
    >>> bool(equivalent(Spec(least_squares(), ridge(3.0)), half, scale=0.5, examples=20))
    True
    """
    import unigrn.verify.instances as draw

    if isinstance(first, Equivalence):
        if second is not None:
            raise TypeError("an Equivalence has both formulations in it, got a second one")
        joined = first
    else:
        one, two = formulation(first), formulation(second)
        _same_before(first, second)
        joined = Equivalence(
            one,
            two,
            to,
            back,
            data or (lambda instance: instance),
            scale,
            shift,
            relation,
            tolerance,
        )
    unknown = [k for k in kinds if k not in KINDS]
    if unknown:
        raise ValueError(f"kinds are {', '.join(KINDS)}; got {unknown[0]!r}")
    if joined.relation not in ("equal", "strong"):
        raise ValueError(f"relation must be equal or strong, got {joined.relation!r}")
    examples = check_whole("examples", examples, low=1)
    if name is None:
        name = f"{joined.first.name} = {joined.second.name}"
    with jax.enable_x64(True):
        return search(
            name,
            lambda i, p: joined.compare(i, p, kinds),
            (
                instances if instances is not None else draw.instances(),
                points if points is not None else draw.points(),
            ),
            joined.tolerance,
            examples,
            check_whole("seed", seed),
            () if kinds == KINDS else tuple(kinds),
        )


def _same_before(first: Any, second: Any) -> None:
    """Refuse specs that change the data in different ways before the problem is stated."""
    before = (("scale", "the units of the genes", "None"), ("over", "what it is fitted over", "()"))
    for name, what, empty in before:
        own = [
            str(getattr(s, name) or None) if isinstance(s, Spec) else "None"
            for s in (first, second)
        ]
        if own[0] != own[1]:
            raise TypeError(
                f"the formulations differ in {what} ({name}: {own[0]} and {own[1]}), "
                "which is done before the problem is stated; compare "
                f"spec.replace({name}={empty}), or state the whole as a Formulation"
            )


def formulation(problem: Any) -> Formulation:
    """Return a formulation as it is, and that of a spec: of all targets together, on rows."""
    if isinstance(problem, Formulation):
        return problem
    if not isinstance(problem, Spec):
        raise TypeError(f"an equivalence joins Specs or Formulations, got {type(problem).__name__}")
    named = [n for n, v in problem.hyperparameters.items() if isinstance(v, np.ndarray) and v.ndim]
    if named:
        raise TypeError(
            f"{problem.name} has {named[0]}, an array that follows the names of one data set, and "
            "examples have names of their own: state it as a Formulation, or give a number"
        )
    extra = [b for b in problem.blocks if b != "theta"]
    if extra:
        raise TypeError(
            f"{problem.name} has the block {extra[0]} beside theta: state it as a "
            "Formulation, whose variables say how blocks are drawn"
        )
    return of_spec(problem)


def of_spec(spec: Spec) -> Formulation:
    """State a spec in theta alone as a formulation; values come from its own terms."""
    smooth = not any(t.kink for t in spec.terms)
    kinks = tuple(t for t in parts(spec.regularizer) if t.kink)
    pieces = joint(kinks, parts(spec.constraint))  # deletions included: rows are whole here

    @jax.jit
    def value(params, view, prior):
        return spec.objective(params, view, prior)

    @jax.jit
    def distance(params, view, prior):
        return spec.violation(params, view, prior)

    slope = jax.jit(jax.grad(lambda params, view, prior: spec.objective(params, view, prior)))
    prox = jax.jit(lambda v, step, view, prior: pieces.prox(v, step, view, prior))

    def at(function, instance, u):
        return jax.tree.map(np.asarray, function(u, instance.rows(), instance.prior))

    def proximal(instance, u, step):
        moved = prox(u.theta, step, instance.rows(), instance.prior)
        return Blocks(theta=np.asarray(moved))

    return Formulation(
        objective=partial(at, value),
        violation=partial(at, distance) if spec.constraint is not None else None,
        variables=lambda instance, point: point.blocks(instance),
        gradient=partial(at, slope) if smooth else None,
        prox=proximal if pieces.prox is not None else None,
        minimiser=None,
        name=spec.name,
    )
