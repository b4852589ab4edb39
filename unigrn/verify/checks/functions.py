"""Checks of a term as a function: pure, compiled, smooth, finite, blind to order and padding."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.terms import Along, Blocks, PriorView, Scaled, Term, View, number, outside
from unigrn.tracing import advice, first_line
from unigrn.verify.checks.report import Absent, Fault, Skip
from unigrn.verify.checks.world import (
    Case,
    agree,
    arrays_moved,
    home,
    look,
    one_point,
    pad_by,
    refute,
    still,
    transform,
)
from unigrn.verify.instances import Instance

FOLLOW = (
    "make constants by jnp.ones_like(params.theta) or plain Python numbers, and cast by "
    ".astype(params.theta.dtype)"
)
PAD = 2  # entries and targets of padding; cells are padded by one more


def hyperparameters(case: Case) -> str:
    """Check that hyperparameters are array leaves: another value compiles nothing."""
    term, base = case.term, case.term
    while isinstance(base, Scaled):
        base = base.term
    kind = type(base).__name__
    leaves, structure = jax.tree.flatten(term)
    try:
        hash(structure)
    except TypeError as error:
        raise Fault(
            f"{case.name} has a static field that cannot be hashed ({error}): static "
            "fields take names and truth values, numbers are array leaves"
        ) from error
    if structure == jax.tree.structure(0):
        raise Fault(
            f"{kind} is no pytree, so JAX cannot take it as an argument: decorate the "
            "class with unigrn.terms.pytree"
        )
    for path, leaf in jax.tree.leaves_with_path(term):
        if np.asarray(leaf).dtype.kind not in "fiub":
            raise Fault(
                f"{case.name}: the field {jax.tree_util.keystr(path)} is "
                f"{type(leaf).__name__}, no number: declare it with unigrn.terms.static()"
            )
    for item in dataclasses.fields(base) if dataclasses.is_dataclass(base) else ():
        value = getattr(base, item.name)
        if item.metadata.get("static") and isinstance(value, float | np.floating | np.ndarray):
            raise Fault(
                f"{case.name}: the hyperparameter {item.name} = {value!r} is static, so "
                "another value compiles everything again: declare it as a plain field, "
                "without static()"
            )
    function = getattr(base, "function", None)
    baked = dict(getattr(function, "keywords", None) or {})
    if inspect.isfunction(function):
        baked |= inspect.getclosurevars(function).nonlocals
    for name, value in baked.items():
        if isinstance(value, float):
            raise Fault(
                f"{case.name}: the number {name} = {value!r} is baked into the function, "
                "so another value compiles everything again: make it an argument and pass "
                f"unigrn.{term.kind}(function, {name}={value!r})"
            )
    try:
        jax.tree.unflatten(structure, [object()] * len(leaves))
        again = jax.tree.unflatten(structure, leaves)
    except Exception as error:  # a check in __post_init__ may raise anything
        raise Fault(
            f"{kind} cannot be rebuilt by JAX, which puts placeholders into the fields "
            f"({first_line(error)}): check arguments in a constructor function, not in "
            "__post_init__"
        ) from error
    if type(again) is not type(term) or jax.tree.structure(again) != structure:
        raise Fault(
            f"{kind} changes when JAX takes it apart and puts it together again: "
            "decorate the class with unigrn.terms.pytree"
        )
    if dataclasses.is_dataclass(base):
        _told_apart(base, kind)
    return ""


def _told_apart(base: Any, kind: str) -> None:
    fields = dataclasses.fields(base)
    fixed = tuple(f.name for f in fields if f.metadata.get("static"))
    twin = object.__new__(_twin(tuple(f.name for f in fields if f.name not in fixed), fixed))
    for f in fields:
        object.__setattr__(twin, f.name, getattr(base, f.name))
    if jax.tree.structure(twin) == jax.tree.structure(base):
        raise Fault(
            f"the structure of {kind} equals that of any dataclass with like fields, so "
            "one term may run the compiled program of another: decorate the class with "
            "unigrn.terms.pytree instead of register_dataclass"
        )


@functools.cache
def _twin(leaves: tuple[str, ...], fixed: tuple[str, ...]) -> type:
    """Another class with the same fields, registered in JAX's own way."""
    cls = dataclasses.make_dataclass("Twin", [*leaves, *fixed])
    return jax.tree_util.register_dataclass(cls, data_fields=leaves, meta_fields=fixed)


def value(case: Case) -> str:
    """Check that it is one real number in the precision of the data, whatever JAX's default."""
    blocks = case.term.blocks
    missing = [b for b in blocks if b in case.unknown]
    if missing:
        case.broken = f"the block {missing[0]} cannot be drawn: {case.unknown[missing[0]]}"
        raise Skip(case.broken)
    given = one_point(case, to=lambda v: v)
    for dtype in ("float64", "float32"):
        cast = jax.tree.map(
            lambda v, d=dtype: np.asarray(v, d) if v.dtype == np.float64 else v, given
        )
        try:
            seen = jax.eval_shape(_called, _cast(case.bound, dtype), cast)
        except Exception as error:
            if dtype == "float32":
                raise Fault(
                    f"{case.name} works in float64 and not in float32 "
                    f"({first_line(error)}): {FOLLOW}"
                ) from error
            raise Fault(_advice(case, error, given)) from error
        if seen.dtype != dtype and not seen.weak_type:
            raise Fault(
                f"{case.name} gives {seen.dtype} where data and parameters are {dtype}: " + FOLLOW
            )
    return ""


def _called(term: Term, given: tuple):
    """Evaluate a term on its arguments, its arrays those of the target at hand."""
    points, view, prior = given
    own, view = home(term, view)
    return number(own(points, view, prior))


def _cast(term: Term, dtype: str) -> Term:
    """Give a term its arrays in a precision, as a plan does."""

    def cast(leaf):
        if not isinstance(leaf, Along):
            return leaf
        floats = np.issubdtype(leaf.values.dtype, np.floating)
        return Along(leaf.values.astype(dtype) if floats else leaf.values, leaf.axes)

    return jax.tree.map(cast, term, is_leaf=lambda leaf: isinstance(leaf, Along))


def _advice(case: Case, error: Exception, given: tuple) -> str:
    """Say what stops JAX from tracing a term."""
    case.broken = "JAX cannot trace it"
    try:
        view = dataclasses.replace(given[1], weight=jnp.ones(case.world.cells))
        jax.eval_shape(_called, case.bound, (given[0], view, given[2]))
        return (
            f"{case.name} uses data.weight, which is None unless the loss says that it is "
            "weighted: declare weighted=True, or allow for None"
        )
    except Exception as second:  # the weights were not the reason
        del second
    where = "the whole network" if case.coupled else "one target (theta has one axis)"
    told = f"{case.name} cannot be evaluated on {where}: {first_line(error)}"
    return f"{told}; {hint}" if (hint := advice(error, not case.coupled)) else told


def purity(case: Case) -> str:
    """Check that the same inputs give the same value, and stay as they are."""
    first, second = one_point(case), one_point(case, 1, 2)
    kept = jax.tree.leaves(first)
    try:
        a = case.direct(*first)
        case.direct(*second)
        b = case.direct(*first)
    except Exception as error:
        raise Fault(f"{case.name} cannot be called directly: {first_line(error)}") from error
    if not np.array_equal(a, b, equal_nan=True):
        raise Fault(
            f"{case.name} is not pure: {float(a):.6g}, then {float(b):.6g} for the same "
            "inputs; use neither global state nor counters, and draw noise from data.key"
        )
    after = jax.tree.leaves(first)
    if len(after) != len(kept) or any(u is not v for u, v in zip(kept, after, strict=True)):
        raise Fault(f"{case.name} changes its inputs: make new arrays instead")
    return ""


def compilation(case: Case) -> str:
    """Check that compiling, mapping and preparing change nothing."""
    try:
        try:
            values = case.values
        except Exception:  # perhaps only the gradient fails, which is told there
            case.bare = True
            values = case.values
    except Exception as error:
        raise Fault(_advice(case, error, one_point(case))) from error
    direct = np.array([[case.direct(*one_point(case))], [case.direct(*one_point(case, 1, 2))]])
    mapped = np.array([[values[0, 0]], [values[1, 2]]])
    agree(
        case,
        mapped,
        direct,
        "{term} is {a} when called, and {b} when "
        "compiled by jax.jit and mapped by jax.vmap: compute with jax.numpy only, from the "
        "arguments only",
        1e-8,
        slice(None),
    )
    if type(case.term).prepare not in (Term.prepare, Scaled.prepare):
        points, view, prior = one_point(case, 1, 2)
        own, view = home(case.bound, view)
        ready = own.prepare(view, prior)(points, view, prior)
        agree(
            case,
            np.array([[ready]]),
            mapped[1:],
            "{term} is {a}, and {b} after prepare(): "
            "prepare may only work out what no parameter changes",
            1e-8,
            slice(None),
        )
    return ""


def gradient(case: Case) -> str:
    """Check that the gradient is the slope of the value, by central differences."""
    if not case.smooth:
        raise Absent
    points, _, _ = case.form(case.world)
    free = [b for b in case.term.blocks if not (case.term.kink and b == case.term.block)]
    base = still(case)
    way = {b: case.rng.normal(size=base[b].shape) for b in free}
    try:
        values, turn = case.slopes(base)
    except Exception as error:
        raise Fault(
            f"{case.name} has no gradient that JAX can compute: {first_line(error)}; use "
            "differentiable operations, or offer a prox"
        ) from error
    size = 1 + np.abs(values)
    want = np.asarray(sum(np.sum(turn[b] * way[b], tuple(range(2, way[b].ndim))) for b in free))
    wrong, found = np.full(values.shape, np.inf), None
    for h in (1e-4, 1e-6):
        ends = [
            case.at(base.replace(**{b: base[b] + s * h * way[b] for b in free})) for s in (1, -1)
        ]
        rise = (ends[0] - ends[1]) / (2 * h)
        gap = np.abs(rise - want) / (1e-4 * (1 + np.abs(want) + np.abs(rise)) + 1e-14 * size / h)
        found = rise if found is None else np.where(gap < wrong, rise, found)
        wrong = np.fmin(wrong, gap)
    assert found is not None
    wrong = np.where(case.world.plain[:, None], wrong - 1, -1)
    if np.mean(wrong > 0) > 0.01:  # a kink may lie between two ends, now and then
        refute(
            case,
            wrong,
            "the gradient of {term} is not its slope: {want} along a direction in "
            f"{', '.join(free)} where differences give {{found}}; look for stop_gradient, a "
            "custom derivative, or a jump that needs a prox",
            want=want,
            found=found,
        )
    return ""


def finite(case: Case) -> str:
    """Check that values and gradients are numbers on degenerate data."""
    for world, what in ((case.world, ""), (case.single, "one cell")):
        given = case.form(world)
        values, turn = look(case.bound, *given, case.smooth)
        arrays = {"value": np.asarray(values)}
        if case.smooth:
            arrays |= {
                f"gradient in {b}": np.asarray(v)
                for b, v in turn.items()
                if not (case.term.kink and b == case.term.block)
            }
        for name, array in arrays.items():
            bad = ~np.isfinite(array.reshape(*array.shape[:2], -1)).all(2)
            if bad.any():
                n, r = np.argwhere(bad)[0]
                at = "theta = 0" if r == 1 else "a point"
                facts = what or _odd(world.instances[n])
                raise Fault(
                    f"the {name} of {case.name} is not finite at {at} on {facts}: guard "
                    "divisions, logarithms and roots by jnp.where, inside and outside; "
                    f"see it by {world.instances[n]!r}"
                )
    if case.near:
        return "far from the start values overflow: points are drawn nearer to it"
    return ""


def _odd(instance: Instance) -> str:
    facts = [
        f"{instance.support} support" if instance.support in ("empty", "full") else "",
        "a constant target" if instance.constant_target else "",
        f"a {instance.columns} regulator" if instance.columns != "plain" else "",
        f"values of size {instance.scale:g}" if instance.scale != 1 else "",
        "cells of weight 0" if instance.weights == "some zero" else "",
    ]
    return " and ".join(f for f in facts if f) or "ordinary data"


def permutation(case: Case) -> str:
    """Check that the order of regulators, targets and cells means nothing."""
    if case.noisy:
        raise Skip("noise goes by position")
    values = case.values
    world = case.world
    axes = {"regulators": world.regulators, "cells": world.cells} | (
        {"targets": world.targets} if case.coupled else {}
    )
    if case.term.ordered:
        axes = {"cells": world.cells}
    if world.fitted.square:
        axes.pop("targets", None)  # the targets are the regulators: both move at once
    for axis, length in axes.items():
        for order in (np.roll(np.arange(length), 1), np.arange(length)[::-1]):
            how = {axis: lambda v, a, o=order: np.take(v, o, a)}
            if world.fitted.square and axis == "regulators":
                how["targets"] = how[axis]
            moved = transform(case, how)
            agree(
                case,
                case.at(*moved, bound=arrays_moved(case, how)),
                values,
                "{term} depends on the order of the "
                + axis
                + " ({a}, and {b} in another order): let no position in an array mean anything",
            )
    return ""


def padding(case: Case) -> str:
    """Check that padded entries leave the value as it is."""
    if case.noisy:
        raise Skip("noise goes by position")
    if case.term.ordered:
        return f"{case.name} is given arrays as long as the problem"
    points, view, prior, bound = _padded(case)
    try:
        wide = case.at(points, view, prior, bound=bound)
    except Exception as error:
        raise Fault(
            f"{case.name} works for one size only ({first_line(error)}): hyperparameters "
            "hold no array over regulators, targets or cells; take these from the prior "
            "and the data"
        ) from error
    got, want = wide, case.values
    if case.coupled:  # a constant for every padded target moves no solution
        got, want = got - got[:, :1], want - want[:, :1]
    try:
        agree(
            case,
            got,
            want,
            "{term} changes when padded entries are added ({a} to {b}): sum over "
            "entries instead of taking their mean, and let an entry with prior 0 and theta 0 cost "
            "nothing (prior.valid is False there)",
        )
    except Fault:
        if not (outside(case.term) and case.profile.padding):
            raise
        return f"padding changes {case.name}: it is given lists of their own length"
    return ""


def _padded(case: Case) -> tuple[Blocks, View, PriorView, Term]:
    """Pad entries and, where the solver does, cells of weight 0."""
    how = {"regulators": pad_by(PAD), "targets": pad_by(PAD)}
    if case.spec.loss.weighted or case.pads:
        how["cells"] = pad_by(PAD + 1)
    return (*transform(case, how), arrays_moved(case, how))


def weighted(case: Case) -> str:
    """Check that a cell of weight 2 is the cell twice, one of weight 0 is absent."""
    term = case.term
    if term.kind != "loss" or not term.weighted:
        raise Absent
    if case.on_moments or term.noisy:
        raise Skip("weights enter by the moments" if case.on_moments else "it is noisy")
    cells = case.world.cells
    counts = np.array([2, 2, 2] + [1] * (cells - 4) + [0])
    rows = np.repeat(np.arange(cells), counts)  # two more than there are cells
    wide = {} if term.ordered else {"regulators": pad_by(PAD), "targets": pad_by(PAD)}
    bound = arrays_moved(case, wide)
    points, view, prior = transform(case, {**wide, "cells": pad_by(PAD + 1)})
    x, y = view.x.copy(), view.y.copy()
    x[:, cells - 1], y[:, cells - 1] = 40.0, -70.0
    weight = np.broadcast_to(np.pad(counts, (0, PAD + 1)), view.weight.shape).astype(float)
    once = case.at(points, dataclasses.replace(view, x=x, y=y, weight=weight), prior, bound=bound)
    points, view, prior = transform(
        case, {**wide, "cells": lambda v, a: pad_by(1)(np.take(v, rows, a), a)}
    )
    weight = np.broadcast_to(np.pad(np.ones(len(rows)), (0, 1)), view.weight.shape)
    twice = case.at(points, dataclasses.replace(view, weight=weight), prior, bound=bound)
    agree(
        case,
        once,
        twice,
        "{term} says that it is weighted, but cells of weight 2 and 0 give "
        "{b}, and the same cells taken twice and not at all {a}: multiply each cell's loss by "
        "data.weight",
    )
    return ""


def noisy(case: Case) -> str:
    """Check that it depends on the key if it says so, and only then."""
    values = case.values
    _, view, _ = case.form(case.world)
    if case.noisy and not case.term.noisy:
        return f"{case.name} draws noise from data.key, found by tracing"
    other = case.at(view=dataclasses.replace(view, key=case.world.fresh))
    moves = not np.array_equal(values, other, equal_nan=True)
    if moves and not case.term.noisy:
        raise Fault(
            f"{case.name} draws noise from data.key ({values[0, 0]:.6g} with one key, "
            f"{other[0, 0]:.6g} with another) without saying so: declare noisy = True, "
            "which brings it to a stochastic solver"
        )
    if case.term.noisy and not moves:
        raise Fault(
            f"{case.name} says that it is noisy, but data.key changes nothing: leave noisy "
            "out, and exact solvers take it"
        )
    if not case.term.noisy:
        raise Absent
    return ""


CHECKS = (
    hyperparameters,
    value,
    purity,
    compilation,
    gradient,
    finite,
    permutation,
    padding,
    weighted,
    noisy,
)
