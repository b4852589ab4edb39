"""Tracing: what the terms of a spec read, found out rather than guessed.

Every term is traced with the shapes of the problem, without a number being computed: what its value
does not depend on, it does not read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from unigrn.spec import Shape, Slots, Spec
from unigrn.terms import (
    AXES,
    Along,
    Array,
    Blocks,
    Moments,
    NotANumber,
    PriorView,
    Quadratic,
    Term,
    View,
    local,
    number,
    parts,
)

CELLS, CANDIDATES, TARGETS, FACTORS = 7, 5, 3, 2


@dataclass(frozen=True)
class Reading:
    """What one term reads; ``error`` says why it could not be traced."""

    rows: bool = False
    x: bool = False
    moments: bool = False
    weight: bool = False
    noise: bool = False
    error: str = ""


@dataclass(frozen=True, eq=False)
class Traced:
    """A spec, its bound terms, and what tracing finds out about them."""

    spec: Spec
    terms: tuple[Term, ...]
    extra: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    weighted_cells: bool = False

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """What every term reads, in the order of the terms."""
        return tuple(self._read(term) for term in self.terms)

    def reading(self, term: Term) -> Reading:
        """Return what one of the terms reads."""
        place = next((i for i, t in enumerate(self.spec.terms) if t is term), None)
        return Reading() if place is None else self.readings[place]

    @property
    def weighted(self) -> bool:
        """Whether every loss uses the weights of the cells."""
        return all(t.weighted or self.reading(t).weight for t in parts(self.spec.loss))

    def noisy(self, term: Term) -> bool:
        """Whether a term draws noise."""
        return bool(term.noisy or self.reading(term).noise)

    @cached_property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Axes of every block: declared, else traced from the start at two sizes."""
        known = {"theta": AXES["theta"], **self.spec.axes}
        rest = [b for b in self.spec.blocks if b not in known]
        if rest and self.spec.start is not None:
            known |= self._traced_axes(rest)
        return known | {b: AXES[b] for b in rest if b not in known and b in AXES}

    @property
    def shape(self) -> Shape:
        """What a compiled program depends on."""
        return self.spec.shaped({b: a for b, a in self.axes.items() if b in self.spec.blocks})

    # ------------------------------------------------------------------ worlds of shapes

    def world(self, candidates: int, targets: int, cells: int, moments: bool = False) -> Any:
        """Return abstract arguments of a term: view and prior, of one target or of the network."""
        coupled = not self.spec.separable
        tail = (targets,) if coupled else ()
        dtype = jnp.zeros(()).dtype

        def array(*shape, kind: Any = dtype):
            return jax.ShapeDtypeStruct(shape, kind)

        edge = (candidates, *tail)
        layers = {} if self.spec.prior is None else self.spec.prior.layers
        mask = array(*edge, kind=bool)
        prior = PriorView(
            mask,
            array(*edge),
            array(*edge, kind=jnp.int32),
            mask,
            mask,
            {name: array(*edge) for name in layers},
        )
        view = View(
            x=array(cells, candidates),
            y=array(cells, *tail),
            weight=array(cells),
            key=jax.eval_shape(lambda: jax.random.key(0)),
            extra=jax.tree.map(lambda v: v, self.extra),
            regulators=None if coupled else array(candidates, kind=jnp.int32),
            target=None if coupled else array(kind=jnp.int32),
        )
        return view, prior

    def blocks_of(self, view: View, prior: PriorView, terms: tuple) -> dict[str, Any]:
        """Abstract blocks of the spec for the given arguments."""
        spec = self.spec
        if spec.start is not None:
            bare = Shape(spec.shape.counts, start=spec.start)

            def start(v, p):
                ready = tuple(t.prepare(v, p) for t in local(terms, v))
                return Slots(bare, ready).start(v, p)

            found = jax.eval_shape(start, view, prior)
            return dict(found)
        tail = prior.weight.shape[1:]
        sizes = {
            "regulators": prior.weight.shape[0],
            "targets": tail[0] if tail else None,
            "cells": view.y.shape[0],
        }
        out = {}
        for name in spec.blocks:
            axes = spec.axes.get(name, AXES.get(name, AXES["theta"]))
            shape = [sizes.get(a, FACTORS) for a in axes if a != "targets" or tail]
            out[name] = jax.ShapeDtypeStruct(tuple(shape), prior.weight.dtype)
        return out

    def _traced_axes(self, names: list[str]) -> dict[str, tuple[str, ...]]:
        """Find which sizes of the problem the shape of each block follows."""
        coupled, shapes = not self.spec.separable, []
        sizes = ((11, 13, 17), (19, 23, 29))
        for q, p, n in sizes:
            view, prior = self.world(q, p, n)
            try:
                shapes.append(self.blocks_of(view, prior, self.terms))
            except Exception:  # arrays of fixed size, say: the axes have to be declared
                return {}
        out = {}
        for name in names:
            if name not in shapes[0] or shapes[0][name].ndim != shapes[1][name].ndim:
                continue
            axes = []
            for pair in zip(shapes[0][name].shape, shapes[1][name].shape, strict=True):
                found = [
                    a
                    for i, a in enumerate(("regulators", "targets", "cells"))
                    if pair == (sizes[0][i], sizes[1][i])
                ]
                axes.append(found[0] if found else f"{name}_{len(axes)}")
            out[name] = tuple(axes) + (() if coupled else ("targets",))
        return out

    # ------------------------------------------------------------------ reading

    @cached_property
    def _arguments(self) -> tuple[View, PriorView, Blocks | None, str]:
        """Abstract arguments of a term at the sizes of the problem, and what the start raised."""
        q = self.sizes.get("regulators", CANDIDATES)
        square = any(term.square for term in self.terms)
        p, n = self.sizes.get("targets", q if square else TARGETS), self.sizes.get("cells", CELLS)
        view, prior = self.world(min(q, CANDIDATES) if self.spec.separable else q, p, n)
        try:
            return view, prior, Blocks(**self.blocks_of(view, prior, self.terms)), ""
        except Exception as error:  # a function of somebody else's may raise anything
            hint = advice(error, False)
            return view, prior, None, first_line(error) + (f"; {hint}" if hint else "")

    @property
    def unstarted(self) -> str:
        """What the start raises on the shapes of the problem; empty where it gives blocks."""
        return self._arguments[3]

    def _read(self, term: Term) -> Reading:
        if term.kind == "constraint" or term.across:
            return Reading()
        if term.evidence is not None:
            return Reading(moments=True)
        view, prior, params, _ = self._arguments
        if params is None:
            return Reading(rows=True)

        def value(params, view, prior):
            own = local((term,), view)[0]
            if own.iterates is not None:
                return self._iterated(own, params, view, prior)
            return number(own(params, view.replace(extra=local(view.extra, view)), prior))

        try:
            used = _used(value, params, view, prior)
        except Exception as error:
            if self._on_moments(value, params, view, prior):
                return Reading(moments=True)
            return Reading(rows=True, error=_called(error, view, params))
        sums = term.quadratic is not None or term.spread is not None
        rows = bool(used & {"x", "y", "weight", "cells"}) and not sums
        return Reading(rows, "x" in used, False, "weight" in used, "key" in used)

    def _iterated(self, term: Term, params: Blocks, view: View, prior: PriorView) -> Array:
        """Add up what one step of a map gives from the start: a fit depends on nothing else."""
        if self.spec.start is not None:
            bare = Shape(self.spec.shape.counts, start=self.spec.start)
            params = Slots(bare, local(self.terms, view)).start(view, prior)
        moved, change = term.iterates.step(params, jnp.zeros((), jnp.int32), view, prior)
        return number(change) + sum(jnp.sum(v) for v in jax.tree.leaves(moved))

    @cached_property
    def draws_start(self) -> bool:
        """Whether where a fit starts is drawn at random."""
        view, prior, params, _ = self._arguments
        if self.spec.start is None or params is None:
            return False
        bare = Shape(self.spec.shape.counts, start=self.spec.start)

        def begun(params, view, prior):
            ready = tuple(t.prepare(view, prior) for t in local(self.terms, view))
            return sum(jnp.sum(v) for v in jax.tree.leaves(Slots(bare, ready).start(view, prior)))

        return "key" in _used(begun, params, view, prior)

    def _on_moments(self, value: Callable, params: Blocks, view: View, prior: PriorView) -> bool:
        try:
            jax.eval_shape(value, params, _summed(view, prior), prior)
        except Exception:
            return False
        return True

    def quadratic(self, term: Term) -> Quadratic | None:
        """Return shapes of the quadratic that a term is of one target's theta; None without one."""
        view, prior = self._arguments[:2]
        try:

            def shown(view, prior):
                return local((term,), view)[0].quadratic(view, prior)

            return jax.eval_shape(shown, _summed(view, prior), prior)
        except Exception:  # it has none, or one of somebody else's that fails
            return None


def _summed(view: View, prior: PriorView) -> View:
    """Give the abstract view of moments in place of rows."""
    q, tail = prior.weight.shape[0], view.y.shape[1:]

    def array(*shape):
        return jax.ShapeDtypeStruct(shape, prior.weight.dtype)

    sums = Moments(array(q, q), array(q, *tail), array(*tail), array(), array(q), array(*tail))
    return View(sums, regulators=view.regulators, target=view.target)


def _used(value: Callable, params: Blocks, view: View, prior: PriorView) -> set[str]:
    """Names of the fields of a view that a function's value depends on."""
    program = jax.make_jaxpr(value)(params, view, prior)
    used = partial_eval.dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))[1]
    paths = jax.tree_util.tree_flatten_with_path((params, view, prior))[0]
    out = set()
    for (path, _), flag in zip(paths, used, strict=True):
        if flag and path[0].idx == 1:
            out.add(path[1].name)
            if path[1].name == "extra":
                out.add("cells")
    return out


def _called(error: Exception, view: View, params: Blocks) -> str:
    """Say what a term raised, what it was called with, and what may help."""
    x, y, theta = view.x.shape, view.y.shape, params.theta.shape
    what = "one target" if len(theta) == 1 else "the whole network"
    told = f"{first_line(error)} (called for {what}: theta {theta}, x {x}, y {y})"
    return f"{told}; {hint}" if (hint := advice(error, len(theta) == 1)) else told


# What stops JAX from tracing a function, and what helps; of several kinds the first counts.
_TRACES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (
        jax.errors.TracerBoolConversionError,
        "it decides by Python's if, and, or, max on a value that JAX traces: use jnp.where or "
        "jnp.maximum",
    ),
    (
        jax.errors.TracerArrayConversionError,
        "it calls NumPy on a value that JAX traces: use jax.numpy",
    ),
    (
        jax.errors.NonConcreteBooleanIndexError,
        "the shape of an array in it depends on the data, as in theta[mask]: use "
        "jnp.where(mask, theta, 0)",
    ),
    (
        (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError),
        "it turns a value that JAX traces into a Python number, or into a shape: use jax.numpy "
        "throughout, and float() nowhere",
    ),
    (
        KeyError,
        "give the array: --extra NAME=COLUMN, in Python extra={name: column} or "
        "data.with_extra(name=...)",
    ),
    ((AttributeError, NotANumber), ""),
)


def advice(error: Exception, alone: bool) -> str:
    """Say what helps where a term raised an error, called for one target or the whole network."""
    for kinds, text in _TRACES:
        if isinstance(error, kinds):
            return text
    return "if it needs all targets at once, declare coupled=True" if alone else ""


def implied_sizes(terms: tuple[Term, ...]) -> dict[str, int]:
    """Sizes that a problem must have for the arrays of unbound terms to fit it."""
    leaves = jax.tree.leaves(terms, is_leaf=lambda leaf: isinstance(leaf, Along))
    arrays = [leaf for leaf in leaves if isinstance(leaf, Along)]
    return {a: n for leaf in arrays for a, n in zip(leaf.axes, leaf.values.shape, strict=True)}


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
