"""Aims: the numbers in two specs, and the instances and points that are made to meet them.

Where a function changes at a number, a difference hides beyond it: at `jnp.where(w > 300, ...)` in
what the program computes, at `if data.x.shape[0] > 100` in what Python decides while it is traced.
The first are literals of the traced program; the second are constants of the bytecode.
"""

from __future__ import annotations

import dis
import functools
import math
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from unigrn.backend import programs_within
from unigrn.spec import Spec
from unigrn.terms import Blocks, Scaled, outside, parts
from unigrn.verify.formulations import projected
from unigrn.verify.instances import SHAPES, TARGETS, Instance, Point

CONSTANTS = 8  # of a spec that examples are aimed at
SMALLEST, LARGEST = 1e-12, 1e12  # of them
COUNTS, MOST = 3, 2000  # numbers that sizes are aimed at, and the largest
TOGETHER = 200  # at most so many regulators, targets and cells at once
LIBRARIES = ("jax", "jaxlib", "numpy", "scipy", "unigrn", "builtins")

Shape = tuple[int, int, int]


def constants(spec: Any) -> tuple[float, ...]:
    """Numbers that a spec compares with or multiplies by, where a difference may hide.

    They are the literals of its traced objective and constraint, without 0, 1 and 2, as many as
    `CONSTANTS`: the smallest and the largest.
    """
    if not isinstance(spec, Spec):
        return ()
    prior, view = Instance().prior, Instance().rows()

    def both(params, view, prior):
        sets = parts(spec.constraint)
        return (
            spec.objective(params, view, prior),
            spec.violation(params, view, prior),
            projected(sets, params.theta, view, prior),
        )

    try:
        program = jax.make_jaxpr(both)(Blocks(theta=prior.weight), view, prior)
    except Exception:  # it takes other shapes; what is wrong with it is said where it is compared
        return ()
    known = {abs(v) for v in _literals(program.jaxpr, program.consts)}
    return _ends([v for v in known if SMALLEST <= v <= LARGEST and v not in (1.0, 2.0)], CONSTANTS)


def _ends(values: Iterable[Any], most: int) -> tuple[Any, ...]:
    """Give the values in order, and of more than ``most`` the smallest and the largest."""
    known = sorted(values)
    low = most // 2
    return tuple(known if len(known) <= most else known[:low] + known[len(known) - most + low :])


def _literals(program: Any, consts: Any) -> Iterator[float]:
    """Give the numbers in a traced program, and in those within it."""
    for value in consts:
        if np.size(value) <= CONSTANTS and np.asarray(value).dtype.kind in "fiu":
            yield from map(float, np.ravel(value))
    for step in program.eqns:
        for taken in step.invars:
            value = getattr(taken, "val", None)
            if value is not None and np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiu":
                yield float(value)
        for within in programs_within(step):
            yield from _literals(within, ())


def counts(spec: Any) -> set[int]:
    """Whole numbers above 2 in the functions of a spec that are not ours, and in what they call."""
    if not isinstance(spec, Spec):
        return set()
    seen: dict[int, Any] = {}
    found: set[float] = set()
    for term in filter(outside, spec.terms):
        inner = term.term if isinstance(term, Scaled) else term
        found.update(_written(inner, seen))
    return {int(v) for v in found if math.isfinite(v) and v == int(v) and 2 < v}


def _written(item: Any, seen: dict[int, Any]) -> Iterator[float]:
    """Give the numbers that stand in a value, a function, or a class, and in what it refers to."""
    if isinstance(item, bool | np.bool_) or id(item) in seen:
        return
    if isinstance(item, int | float | np.number) and not isinstance(item, np.complexfloating):
        yield abs(float(item))
        return
    seen[id(item)] = item
    inner: list[Any] = []
    if isinstance(item, types.CodeType):
        inner = [
            step.argval
            for step in dis.get_instructions(item)
            if step.opcode in dis.hasconst or step.opname == "LOAD_SMALL_INT"
        ]
    elif isinstance(item, tuple | list | set | frozenset) and len(item) <= CONSTANTS:
        inner = list(item)
    elif isinstance(item, dict) and len(item) <= CONSTANTS:
        inner = list(item.values())
    elif isinstance(item, np.ndarray | jax.Array):
        inner = (
            [] if item.size > CONSTANTS or item.dtype.kind not in "fiu" else item.ravel().tolist()
        )
    elif _is_library(item):
        return
    elif isinstance(item, types.FunctionType):
        cells = [c.cell_contents for c in item.__closure__ or () if _is_filled(c)]
        inner = [item.__code__, *cells, *_named(item.__code__, item.__globals__)]
        inner += [item.__defaults__, item.__kwdefaults__]
    elif isinstance(item, types.ModuleType | property | staticmethod | classmethod):
        inner = [getattr(item, name, None) for name in ("fget", "__func__")]
    elif isinstance(item, type):
        inner = [v for c in item.__mro__ if not _is_library(c) for v in vars(c).values()]
        inner = [v for v in inner if isinstance(v, types.FunctionType | property | int | float)]
    elif isinstance(item, functools.partial):
        inner = [item.func, item.args, item.keywords]
    elif isinstance(item, types.MethodType):
        inner = [item.__func__, item.__self__]
    elif item is not None and not isinstance(item, str | bytes | types.BuiltinFunctionType):
        # A wrapped function, or an object with a class of its own.
        inner = [getattr(item, "__wrapped__", None), type(item), getattr(item, "__dict__", None)]
    for value in inner:
        yield from _written(value, seen)


def _named(code: types.CodeType, names: dict[str, Any]) -> Iterator[Any]:
    """Give what a function's code, and code nested in it, names of the module's globals."""
    for name in code.co_names:
        value = names.get(name)
        if isinstance(value, types.ModuleType):
            if value.__name__.split(".")[0] not in LIBRARIES:
                yield from (vars(value).get(other) for other in code.co_names)
        else:
            yield value
    for within in code.co_consts:
        if isinstance(within, types.CodeType):
            yield from _named(within, names)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a name that is not yet bound
        return False


def _is_library(item: Any) -> bool:
    """Whether a function or a class, or that of an object, comes with a library."""
    if not isinstance(item, types.FunctionType | type):
        return False
    return str(getattr(item, "__module__", "")).split(".")[0] in LIBRARIES


def sizes_near(numbers: Iterable[float], known: Sequence[Shape] = ()) -> tuple[list[Shape], str]:
    """Give sizes at whole numbers, and one below and above, beside those known; and what is left.

    One number: regulators and cells together, and targets. More: all three together, up to a size.
    """
    own = {int(c) for c in numbers}
    met = _ends([c for c in own if c <= MOST], COUNTS)
    out = []
    for c in met:
        for i in (-1, 0, 1):
            if len(met) > 1 and c <= TOGETHER:
                out.append((c + i, c + (i + 2) % 3 - 1, c - i))
            else:
                out += [(c + i, TARGETS, c - i), (SHAPES[0][0], c + i, SHAPES[0][2])]
    left = ", ".join(map(str, sorted(own.difference(met))[:COUNTS]))
    return [s for s in dict.fromkeys(out) if s not in known], left


def between(numbers: Sequence[float]) -> list[float]:
    """Give the numbers, and those halfway between neighbours."""
    known = sorted({*numbers})
    return sorted({*known, *((a + b) / 2 for a, b in zip(known, known[1:], strict=False))})


def aimed(
    numbers: Sequence[float], plain: Shape, sizes: Sequence[Shape], **fixed: Any
) -> Iterator[tuple[Instance, Point]]:
    """Give instances and points at numbers, and at sizes.

    Priors, sums of the cells' weights, weights, expression and coefficients are of each number
    and of those halfway between neighbours; some coefficients are exactly the number.
    """

    def at(shape, **more):
        three = dict(zip(("regulators", "targets", "cells"), shape, strict=True))
        return Instance(support="full", **three | fixed | more)

    yield from ((at(shape), Point(seed=1)) for shape in sizes)
    for value in between(numbers):
        yield at(plain, trust=value), Point(seed=1, size=value)
        if "weights" not in fixed:
            yield at(plain, mass=1.01 * value / plain[2], scale=value), Point(seed=2)
            yield at(plain, mass=1.01 * value), Point(seed=3)
    for value in {0.5, 1.0, 2.0, *numbers}:
        yield at(plain), Point(seed=4, exact=value)


def told(shapes: Sequence[Shape], numbers: Sequence[float], left: str) -> Iterator[str]:
    """Say at what sizes and numbers two specs were compared, and near which they were not."""

    def listed(values):
        *most, last = map(str, sorted(set(values)))
        return f"{', '.join(most)} or {last}" if most else last

    regulators, targets, cells = map(listed, zip(*shapes, strict=True))
    low, high = min([1e-6, *numbers]), max([1e6, *numbers])
    yield (
        f"compared only at {regulators} regulators; {targets} targets; {cells} cells; "
        f"coefficients of about {low:.0e} to {high:.0e}"
    )
    if left:
        yield f"not compared: sizes of networks near {left}, which stand in a function"
