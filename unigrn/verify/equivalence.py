"""Equivalences: two formulations, the maps between them, and a search for where they part.

An `Equivalence` of p(u) and q(v) is a pair of maps ``to`` and ``back`` that keep feasibility, and
an affine relation of the objectives with scale > 0: q(to u) = scale p(u) + shift for every feasible
u (relation "equal"), or, for a formulation that minimises part of the variables away, the two
inequalities q(to u) <= scale p(u) + shift and scale p(back v) + shift <= q(v) (relation "strong").
Either sends minimisers to minimisers: see proofs/strong_equivalence.md. `equivalent` looks for a
counterexample over instances that Hypothesis draws, and shrinks what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from unigrn.check import check_number, check_whole, counted
from unigrn.spec import Spec
from unigrn.terms import outside
from unigrn.verify.aims import Shape, aimed, constants, counts, sizes_near, told
from unigrn.verify.formulations import Formulation, formulation, of_spec, takes
from unigrn.verify.instances import TARGETS, Instance, Point
from unigrn.verify.search import KINDS, Finding, Report, dot, largest, search

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["Equivalence", "Formulation", "equivalent", "of_spec"]
ROUNDING = 1e-3  # of the tolerance, relative to the size of what an objective sums
TINY = 1e-6  # how far a point is from a set is relative to this + the size of the point


def _same(instance: Instance, u: Any) -> Any:
    return u


def _itself(instance: Instance) -> Instance:
    return instance


class _Values(NamedTuple):
    """Objectives of both at u and v: ``above`` is 1 where u was drawn, -1 where v was."""

    above: int
    u: Any
    v: Any
    first: np.ndarray
    second: np.ndarray
    size: Any
    trivial: bool


@dataclass(frozen=True)
class Equivalence:
    """Two formulations and the maps that join them; see the module's first lines.

    ``data`` maps an instance of the first formulation to one of the second. ``scale`` > 0 and
    ``shift`` are numbers or functions of the instance; None where any will do: they are then found
    from values at several points of the instance, for each part of the objectives. ``tolerance`` is
    relative to 1 + the size of what is compared.
    """

    first: Formulation
    second: Formulation
    to: Callable[[Any, Any], Any] = _same
    back: Callable[[Any, Any], Any] = _same
    data: Callable[[Any], Any] = _itself
    scale: float | Callable[[Any], float] | None = 1.0
    shift: float | Callable[[Any], float] | None = 0.0
    relation: str = "equal"
    tolerance: float = 1e-9
    steps: int = 5

    def compare(self, instance: Instance, point: Point, kinds: tuple[str, ...]) -> list[Finding]:
        """Return every deviation at one instance and point."""
        there = self.data(instance)
        scale = self.scale(instance) if callable(self.scale) else self.scale
        shift = self.shift(instance) if callable(self.shift) else self.shift
        if scale is not None and not scale > 0:
            raise ValueError(
                "scale must be > 0, or minimisers of one formulation are none of the "
                f"other; got {scale!r}"
            )
        p, q = self.first, self.second
        if p.variables is None:
            raise TypeError(
                "the first formulation needs variables, (instance, point) -> u; got None"
            )
        out: list[Finding] = []

        def note(kind, deviation, size=0.0, trivial=False):
            if kind in kinds:
                least = TINY if kind == "feasibility" else 1.0
                out.append(Finding(kind, float(deviation) / (least + abs(float(size))), trivial))

        found = None in (scale, shift)
        values = [
            value
            for at in ([point, *point.others()] if found else [point])
            for value in self._met(instance, there, at, note)
        ]
        met = values[0] if values else None
        if found and met and p.padded is not None and q.padded is not None:
            first, second = p.padded(instance, met.u), q.padded(there, met.v)
            if first is not None and second is not None:
                values.append(met._replace(first=first, second=second))
        factor, exact, deviations = self._related(values, scale, shift)
        for deviation, v in zip(deviations, values, strict=True):
            if deviation is not None:
                note("objective", deviation, trivial=v.trivial)
        scale = float(factor[0])
        if exact and np.ptp(factor) <= self.tolerance * scale and met and met.above > 0:
            self._slopes(instance, there, point, (met.u, met.v), scale, note, kinds)
        if "minimiser" in kinds and p.minimiser is not None and q.minimiser is not None:
            u, v = p.minimiser(instance), q.minimiser(there)
            if u is not None and v is not None:
                for f, at, best, other in (
                    (q, there, v, self.to(instance, u)),
                    (p, instance, u, self.back(instance, v)),
                ):
                    least, other_value = (float(np.sum(f.objective(at, w))) for w in (best, other))
                    note("minimiser", abs(other_value - least), least)
                    if f.violation is not None:
                        note("feasibility", f.violation(at, other), largest(other))
        if "iterates" in kinds and p.iterates is not None and q.iterates is not None:
            u, v = p.iterates(instance, self.steps), q.iterates(there, self.steps)
            mapped = self.to(instance, u)
            note("iterates", largest(jax.tree.map(np.subtract, mapped, v)), largest(v))
        return out

    def _met(self, instance, there, point, note) -> Iterator[_Values]:
        """Give the objectives at the drawn u and at the drawn v, where they are feasible."""
        p, q = self.first, self.second
        sides = [(1, p, instance, q, there, self.to)]
        if q.variables is not None:
            sides.append((-1, q, there, p, instance, self.back))
        for above, own, here, other, elsewhere, carry in sides:
            assert own.variables is not None
            w = own.variables(here, point)
            value = _value(own, here, w)
            if value is None:
                continue
            image = carry(instance, w)
            trivial = largest(w) == 0
            if other.violation is not None:
                note("feasibility", other.violation(elsewhere, image), largest(image), trivial)
            values = value, np.asarray(other.objective(elsewhere, image), float)
            size = 0.0
            if own.size is not None and other.size is not None:
                size = np.maximum(own.size(here, w), other.size(elsewhere, image))
            (u, v), (first, second) = (w, image)[::above], values[::above]
            yield _Values(above, u, v, first, second, size, trivial and largest(image) == 0)

    def _slopes(self, instance, there, point, images, scale, note, kinds) -> None:
        """Compare gradients and proxes at a point that is feasible in both."""
        (p, q), (u, v) = (self.first, self.second), images
        if "gradient" in kinds and p.gradient and q.gradient and p.variables is not None:
            here, other = p.gradient(instance, u), q.gradient(there, v)
            ahead = p.variables(instance, _elsewhere(point))
            ahead = jax.tree.map(np.subtract, ahead, u)
            image = jax.tree.map(np.subtract, self.to(instance, jax.tree.map(np.add, u, ahead)), v)
            slopes = [dot(g, d) for g, d in ((here, ahead), (other, image))]
            size = dot(jax.tree.map(np.abs, here), jax.tree.map(np.abs, ahead))
            gap = abs(scale * slopes[0] - slopes[1])
            # Gradients that are derived are a matter of convention at a kink: values decide.
            derived = p.kinks is not None and q.kinks is not None
            if gap <= self.tolerance * (1 + scale * size) or not (
                derived and self._rise_alike(instance, there, (u, ahead), (v, image), scale, gap)
            ):
                note("gradient", gap, scale * size, largest(u) == 0)
        if "prox" in kinds and p.prox is not None and q.prox is not None:
            step = 0.5 / instance.strength
            one, two = p.prox(instance, u, step), q.prox(there, v, step / scale)
            mapped = self.to(instance, one)
            gap = largest(jax.tree.map(np.subtract, mapped, two))
            if p.kinks is None or q.kinks is None:
                note("prox", gap, largest(two))
                return
            images = ((u, v), (one, mapped), (self.back(instance, two), two))
            kinks = [
                (scale * float(p.kinks(instance, a)), float(q.kinks(there, b))) for a, b in images
            ]
            apart = [a - b for a, b in kinks]
            # Terms that are split otherwise have another prox, whose values are compared above.
            if np.ptp(apart) <= self.tolerance * (1 + np.max(np.abs(kinks))):
                ends = [step / scale * kinks[i][1] + _square(images[i][1], v) / 2 for i in (1, 2)]
                tie = abs(ends[0] - ends[1]) <= 1e-12 * max(ends) and gap**2 > 1e-11 * max(ends)
                note("prox", 0.0 if tie else gap, largest(two))

    def _rise_alike(self, instance, there, first, second, scale, gap) -> bool:
        """Whether both objectives change alike, where their slopes differ by ``gap``."""
        for step in (1e-3, -1e-3):
            changes = []
            for f, at, (w, ahead) in ((self.first, instance, first), (self.second, there, second)):
                moved = jax.tree.map(lambda a, b, step=step: a + step * b, w, ahead)
                changes.append(np.sum(f.objective(at, moved)) - np.sum(f.objective(at, w)))
            if abs(scale * changes[0] - changes[1]) > 0.1 * abs(step) * gap:
                return False
        return True

    @np.errstate(invalid="ignore")  # infinite values are compared as such
    def _related(self, values, scale, shift) -> tuple[np.ndarray, bool, list[float | None]]:
        """Give the scale, whether it is exact, and how far each point is from the relation.

        None stands for a point that defines it.

        Parts of the objectives have a scale and a shift of their own where both have the parts.
        """
        if not values:
            return np.ones(1), False, []
        shapes = {v.first.shape for v in values} | {v.second.shape for v in values}
        parted = shift is None and len(shapes) == 1
        one, two, size = (
            np.array([np.atleast_1d(a if parted else np.sum(a)) for a in column])
            for column in (
                [v.first for v in values],
                [v.second for v in values],
                [v.size for v in values],
            )
        )
        factor = np.full(one.shape[1], 1.0 if scale is None else float(scale))
        constant = np.full(one.shape[1], 0.0 if shift is None else float(shift))
        defining: set[int] = set()
        exact, known = True, np.ones(one.shape[1], bool)
        finite = np.flatnonzero(np.isfinite(one).all(1) & np.isfinite(two).all(1))
        if None in (scale, shift) and len(finite):
            columns = np.arange(one.shape[1])
            anchor = finite[np.argmin((np.abs(one) + np.abs(two))[finite], axis=0)]
            defining.add(int(anchor[0]))
            low, high = one[anchor, columns], two[anchor, columns]
            if scale is None:
                far = finite[np.argmax(np.abs(one - low)[finite], axis=0)]
                defining.add(int(far[0]))
                rise, other = one[far, columns] - low, two[far, columns] - high
                noise = 1e-12 * (np.abs(one[far, columns]) + np.abs(low))
                noise = noise + 1e-13 * np.broadcast_to(size, one.shape)[far, columns]
                exact = bool(np.all(noise <= 0.1 * self.tolerance * np.abs(rise)))
                known = np.abs(rise) > 100 * noise
                factor = np.where(known, other / np.where(rise == 0, 1, rise), 1.0)
                # One that is flat to rounding tells nothing, but of one that clearly rises.
                flat = np.abs(rise) <= 1e-15 * np.abs(low)
                factor[flat & (np.abs(other) > 1e-2 * (1 + np.abs(high)))] = np.nan
            if shift is None:
                constant = high - factor * low
        gap = two - (factor * one + constant)
        if self.relation == "strong":
            gap = np.maximum(gap * np.array([v.above for v in values])[:, None], 0)
        whole = np.maximum(np.abs(two), np.abs(factor * one + constant))
        whole = whole + ROUNDING * np.maximum(factor, 1) * size
        far_off = np.where(factor > 0, np.abs(gap) / (1 + whole), np.inf)
        told = known | ~(factor > 0) | ~np.isfinite(gap)
        deviations = [
            float(np.max(row, where=heard, initial=0))
            if heard.any() and i not in defining
            else None
            for i, (row, heard) in enumerate(zip(far_off, told, strict=True))
        ]
        return factor, exact, deviations


def _value(f: Formulation, at: Any, w: Any) -> np.ndarray | None:
    """Objective at a point; None where that is not feasible, or the objective is infinite."""
    most = 1e-12 * (1e-3 + largest(w))
    if f.violation is not None and not float(f.violation(at, w)) <= most:
        return None
    value = np.asarray(f.objective(at, w), float)
    return None if np.isposinf(np.sum(value)) else value


def _square(a: Any, b: Any) -> float:
    """Squared distance of two trees of arrays."""
    return sum(float(np.sum(d**2)) for d in jax.tree.leaves(jax.tree.map(np.subtract, a, b)))


def _elsewhere(point: Point) -> Point:
    return Point(point.seed + 1, point.zeros, point.whole, point.outside, point.size)


def equivalent(
    first: Any,
    second: Any = None,
    *,
    to: Callable[[Instance, Any], Any] = _same,
    back: Callable[[Instance, Any], Any] = _same,
    data: Callable[[Instance], Instance] | None = None,
    scale: float | Callable[[Instance], float] | None = None,
    shift: float | Callable[[Instance], float] | None = None,
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
        The affine relation of the objectives: second = scale x first + shift. None: any positive
        factor and any constant of the instance, and of each target where targets are separable.
    relation
        "equal", or "strong" where one formulation minimises part of the variables away: both then
        need variables, and scale and shift are 1 and 0 where they are None.
    kinds
        What is compared: feasibility, objective, gradient, prox, minimiser, iterates. By default
        as far as both have it; what is asked for and never compared is not shown to hold. A spec
        offers neither minimiser nor iterates: state its fit as a `Formulation`. Gradients are not
        compared at a kink, nor proxes of different terms: values are.
    instances, points
        Hypothesis strategies; by default `unigrn.verify.instances`, which aim at empty and full
        supports, zero and repeated regulators, one cell, more regulators than cells, huge and tiny
        scales, exact zeros and ties. Where both are specs, also at what
        `unigrn.verify.instances.wide` has, and at the numbers in the specs. Points of a spec are
        projected onto its constraint.
    examples, seed
        How many examples, and which.
    tolerance
        Relative to 1 + the size of what is compared.

    Returns
    -------
    Report
        True in a condition where no difference was found. Otherwise it prints the smallest
        counterexample, ready to be pasted, or that nothing was compared but theta = 0. Its notes
        say at what sizes and coefficients two specs were compared, among them whole numbers that
        stand in their functions, and name what of a spec is no part of the problem.

    Raises
    ------
    TypeError
        What is neither a Spec nor a Formulation; a spec with blocks beside theta; specs whose
        problems differ before they are stated, in the units of the genes, stages or bags; a strong
        relation without variables on both sides.
    ValueError
        Unknown kinds or relation, a scale that is not > 0, a tolerance outside 0 to 1.

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
        if relation == "strong":
            if two.variables is None or one.variables is None:
                raise TypeError(
                    "a strong relation needs variables of both formulations; "
                    f"{(two if one.variables else one).name} has none"
                )
            scale, shift = 1.0 if scale is None else scale, 0.0 if shift is None else shift
        joined = Equivalence(one, two, to, back, data or _itself, scale, shift, relation, tolerance)
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds or ())
    unknown = [k for k in kinds if k not in KINDS]
    if unknown or not kinds:
        got = repr(unknown[0]) if unknown else "none"
        raise ValueError(f"kinds are {', '.join(KINDS)}; got {got}")
    _check(joined, instances, points)
    if joined.relation not in ("equal", "strong"):
        raise ValueError(f"relation must be equal or strong, got {joined.relation!r}")
    examples = check_whole("examples", examples, low=1)
    if name is None:
        name = f"{joined.first.name} = {joined.second.name}"
    specs, left_out = [s for s in (first, second) if isinstance(s, Spec)], 0
    reach: list[str] = []
    needed = ("objective",) if kinds == KINDS else tuple(kinds)
    with jax.enable_x64(True):
        near = sorted({c for spec in specs for c in constants(spec)})
        if points is None:
            points = draw.wide_points(near) if len(specs) == 2 else draw.points()

        values = tuple(k for k in kinds if k in ("feasibility", "objective"))
        written: list[Shape] = []  # sizes whose only examples are aimed; values tell there

        def found(drawn: SearchStrategy, further: Any = ()) -> Report:
            return search(
                name,
                lambda i, p: joined.compare(i, p, values if i.shape in written else kinds),
                (drawn, points),
                joined.tolerance,
                examples,
                check_whole("seed", seed),
                needed,
                aimed=further,
            )

        if instances is not None or len(specs) < 2:
            report = found(draw.instances() if instances is None else instances)
        else:
            all_shapes = draw.shapes_near(near)
            written, left = sizes_near((c for s in specs for c in counts(s)), all_shapes)
            shapes, sizes = (
                [s for s in known if all(takes(spec, s) for spec in specs)]
                for known in (all_shapes, written)
            )
            left_out = len({*all_shapes, *written} - {*shapes, *sizes})
            shapes = shapes or all_shapes[:1]  # where the error is raised
            some, weights, what = _granted(joined, specs, shapes)
            own = [s for s in sizes if s[1] in {t for _, t, _ in some}] if what else sizes
            report = found(draw.wide(near, some, **weights), aimed(near, some[0], own, **weights))
            if what and report.holds:
                beyond = found(draw.wide(near, shapes), aimed(near, shapes[0], sizes))
                report = replace(beyond, beyond=what) if beyond.refuted else report
            reach = [*told([*shapes, *sizes], near, left)]
    return replace(report, notes=tuple(_notes(joined, specs, left_out, reach)))


def _check(joined: Equivalence, instances: Any, points: Any) -> None:
    """Refuse what is no formulation, map, number or strategy before anything is drawn."""
    for f in (joined.first, joined.second):
        if not isinstance(f, Formulation):
            raise TypeError(f"an Equivalence joins Formulations, got {type(f).__name__}")
    for name in ("to", "back", "data"):
        if not callable(given := getattr(joined, name)):
            raise TypeError(f"{name} must be a function, got {type(given).__name__}")
    for name in ("scale", "shift"):
        given = getattr(joined, name)
        if given is not None and not callable(given):
            check_number(name, given, low=-np.inf)
    if not check_number("tolerance", joined.tolerance, strict=True) < 1:
        raise ValueError(f"tolerance must be < 1, or everything holds; got {joined.tolerance!r}")
    for name, given in (("instances", instances), ("points", points)):
        if given is not None and not hasattr(given, "example"):
            raise TypeError(f"{name} must be a Hypothesis strategy, got {type(given).__name__}")


def _granted(
    joined: Equivalence, specs: list[Spec], shapes: list[Shape]
) -> tuple[list[Shape], dict[str, str], str]:
    """Give the shapes and weights that the formulations may take for granted, and in words.

    A difference beyond that is told, and is no refutation.
    """
    weights, words = {}, []
    maps = (joined.scale, joined.shift, joined.to, joined.back, joined.data)
    if any(callable(g) and g not in (_same, _itself) for g in maps) or any(
        outside(t) and t.separable is None for spec in specs for t in spec.terms
    ):
        shapes = [s for s in shapes if s[1] == TARGETS] or shapes
        words.append(f"{TARGETS} targets, for which a function or a map may be written")
    if any(spec.scale in ("standard", "range") for spec in specs):
        weights["weights"] = "ones"
        words.append(f"cells of weight 1 (scale {specs[0].scale!r} centres by the plain mean)")
    return shapes, weights, " and ".join(words)


def _notes(
    joined: Equivalence, specs: list[Spec], left_out: int, reach: list[str]
) -> Iterator[str]:
    """Say up to what objectives are compared, and what of specs is not."""
    if joined.scale is None:
        yield "objectives are compared up to a positive factor and a constant of the instance"
    yield from reach
    if left_out:
        yield f"not compared: {counted(left_out, 'size')} of networks that a term does not take"
    fields = ("start", "stages", "minibatch", "sweeps", "over", "gauge", "columns")
    if aside := [name for name in fields if any(getattr(spec, name) for spec in specs)]:
        yield f"not compared, being no part of the problem: {', '.join(aside)}"


def _same_before(first: Any, second: Any) -> None:
    """Refuse specs that change the data in different ways before the problem is stated."""
    before = (
        ("scale", "the units of the genes", "None"),
        ("stages", "what the cells go through", "()"),
        ("over", "what it is fitted over", "()"),
    )
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
