"""Tracing: what the terms of a spec read, found out rather than guessed.

Every term is traced with the shapes of the problem, without a number being computed: what its value
does not depend on, it does not read. Terms from outside of unigrn are also evaluated on a few small
numbers: whether padding changes them, whether their gradients on two sides of theta = 0 disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from unigrn.spec import Shape, Slots, Spec
from unigrn.terms import AXES, Blocks, Moments, PriorView, Term, View, local, outside, parts

CELLS, CANDIDATES, TARGETS, FACTORS = 7, 5, 3, 2
LENGTHS = (0.0, 1e-3, 1.0, 1e3)  # of the points at which a prox or a projection is tried


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
class Profile:
    """A spec, its bound terms, and what is known of them."""

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
        p, n = self.sizes.get("targets", TARGETS), self.sizes.get("cells", CELLS)
        view, prior = self.world(min(q, CANDIDATES) if self.spec.separable else q, p, n)
        try:
            return view, prior, Blocks(**self.blocks_of(view, prior, self.terms)), ""
        except Exception as error:  # a function of somebody else's may raise anything
            return view, prior, None, first_line(error)

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
            return local((term,), view)[0](
                params, view.replace(extra=local(view.extra, view)), prior
            )

        try:
            used = _used(value, params, view, prior)
        except Exception as error:
            if self._on_moments(value, params, view, prior):
                return Reading(moments=True)
            return Reading(rows=True, error=first_line(error))
        rows = bool(used & {"x", "y", "weight", "cells"}) and term.quadratic is None
        return Reading(rows, "x" in used, False, "weight" in used, "key" in used)

    def _on_moments(self, value: Callable, params: Blocks, view: View, prior: PriorView) -> bool:
        q = prior.weight.shape[0]

        def array(*shape):
            return jax.ShapeDtypeStruct(shape, prior.weight.dtype)

        tail = view.y.shape[1:]
        sums = Moments(array(q, q), array(q, *tail), array(*tail), array(), array(q), array(*tail))
        try:
            jax.eval_shape(
                value, params, View(sums, regulators=view.regulators, target=view.target), prior
            )
        except Exception:
            return False
        return True

    # ------------------------------------------------------------------ small numbers

    @cached_property
    def padding(self) -> str:
        """Which term from outside padding changes, in words; empty where none."""
        for term in self.terms:
            if outside(term) and not self._padded_alike(term):
                return f"{term.kind} {term.formula}"
        return ""

    @cached_property
    def filling(self) -> str:
        """Which prox or projection fills entries that are no candidates; empty where none does."""
        for term in self.terms:
            if outside(term) and (term.prox or term.project) and not self._keeps_zeros(term):
                return f"{term.kind} {term.formula}"
        return ""

    @property
    def _plain(self) -> list[Term]:
        found = [t for t in self.terms if outside(t) and t.prox is None and not t.across]
        return [t for t in found if t.kind != "constraint"]

    @cached_property
    def kinks(self) -> tuple[str, ...]:
        """Plain terms whose gradients on the two sides of theta = 0 disagree, in words."""
        return tuple(
            f"{t.kind} {t.formula} has a kink at theta = 0 (its gradients on the two sides "
            "disagree), which gradients cannot settle in: give it a prox"
            for t in self._plain
            if self._kinked(t)
        )

    @cached_property
    def jumps(self) -> tuple[str, ...]:
        """Plain terms that jump, or move while their gradient is 0, in words."""
        return tuple(
            f"{t.kind} {t.formula} {how}: give it a prox, or a smooth form"
            for t in self._plain
            for how in [self._jump(t)]
            if how
        )

    def _small(self, q: int, n: int, pad_q: int = 0, pad_n: int = 0, pad_p: int = 0):
        """Random arguments of a small problem, with padding at the ends."""
        rng = np.random.default_rng(0)
        coupled = not self.spec.separable
        tail, wide = ((TARGETS,), ((0, pad_p),)) if coupled else ((), ())
        dtype = jnp.zeros(()).dtype

        def cells(a):
            return jnp.asarray(np.pad(a, ((0, pad_n), *wide)[: a.ndim]), a.dtype)

        def edges(a):
            return jnp.asarray(np.pad(a, ((0, pad_q), *wide)))

        x, y = rng.normal(size=(n, q)).astype(dtype), rng.normal(size=(n, *tail)).astype(dtype)
        weight = rng.uniform(0.5, 2, (q, *tail)).astype(dtype)
        on = rng.random((q, *tail)) < 0.7
        layers = {} if self.spec.prior is None else self.spec.prior.layers
        prior = PriorView(
            edges(on),
            edges(weight * on),
            edges(np.where(on, 1, 0).astype(np.int32)),
            edges(np.zeros_like(on)),
            edges(np.ones_like(on)),
            {name: edges(weight * on) for name in layers},
        )
        where = (
            None
            if coupled
            else jnp.pad(
                jnp.arange(q, dtype=jnp.int32) % max(self.sizes.get("regulators", q), 1), (0, pad_q)
            )
        )
        view = View(
            x=jnp.pad(jnp.asarray(x), ((0, pad_n), (0, pad_q))),
            y=cells(y),
            weight=cells(np.ones(n, dtype)),
            key=jax.random.key(0),
            regulators=where,
            target=None if coupled else jnp.zeros((), jnp.int32),
        )
        theta = edges(rng.normal(size=(q, *tail)).astype(dtype))
        blocks = {}
        for name in self.spec.blocks:
            axes = [
                a
                for a in self.axes.get(name, ("regulators", "targets"))
                if coupled or a != "targets"
            ]
            sizes = {"regulators": (q, pad_q), "targets": (TARGETS, pad_p), "cells": (n, pad_n)}
            pairs = [sizes.get(a, (FACTORS, 0)) for a in axes]
            values = np.zeros([a + b for a, b in pairs], dtype)
            values[tuple(slice(a) for a, _ in pairs)] = rng.normal(size=[a for a, _ in pairs])
            blocks[name] = jnp.asarray(values)
        return Blocks(**{**blocks, "theta": theta}), view, prior

    def _padded_alike(self, term: Term) -> bool:
        def look(params, view, prior):
            t = local((term,), view)[0]
            if term.across:
                params, prior = (
                    jax.tree.map(lambda v: jnp.stack([v, 2 * v]), params),
                    prior.map(lambda v: jnp.stack([v, v])),
                )
            out = {}
            if term.kind != "constraint":
                out["value"] = t(params, view, prior)
                slope = jax.grad(lambda b: t(b, view, prior))(params).theta
                # Of padding the slope is cut away, whatever it is.
                slope = slope.T if term.across else slope
                own = (
                    (CANDIDATES, TARGETS) if slope.ndim == 2 and not term.across else (CANDIDATES,)
                )
                out["slope"] = slope[tuple(map(slice, own))]
            # A set may fill its entries only where a point is small, or large, for it.
            for length in LENGTHS:
                theta = length * params.theta
                if t.prox is not None and t.block == "theta" and not term.across:
                    out[f"prox {length}"] = t.prox(theta, 0.5, view, prior, params)
                if t.project is not None and t.block == "theta":
                    out[f"project {length}"] = t.project(theta, prior)
            return out

        small, large = self._small(CANDIDATES, CELLS), self._small(CANDIDATES, CELLS, 3, 4, 2)
        try:
            plain, wide = jax.jit(look)(*small), jax.jit(look)(*large)
        except Exception:  # a size of its own: it is given arrays of exactly that size
            return False
        for name, value in plain.items():
            value, other = np.asarray(value), np.asarray(wide[name])
            own = tuple(map(slice, value.shape))
            rest = other.copy()
            rest[own] = 0
            if value.ndim and rest.any():
                return False
            size = np.abs(value[np.isfinite(value)]).max(initial=0)
            if not np.allclose(value, other[own], 1e-4, 1e-4 * size, name == "slope"):
                return False
        return True

    def _keeps_zeros(self, term: Term) -> bool:
        if term.block != "theta" or term.across:
            return True
        params, view, prior = self._small(CANDIDATES, CELLS)
        flat = np.arange(prior.weight.size).reshape(prior.weight.shape) % 3 != 1
        prior = PriorView(
            prior.support & flat,
            prior.weight * flat,
            prior.sign * flat,
            prior.self_edge,
            prior.valid & flat,
            {k: v * flat for k, v in prior.layers.items()},
        )
        try:
            own = local((term,), view)[0]
            for length in LENGTHS:
                theta = length * params.theta * flat
                moved = (
                    own.project(theta, prior)
                    if own.prox is None
                    else own.prox(theta, 0.5, view, prior, params.replace(theta=theta))
                )
                if (np.asarray(moved)[~flat] != 0).any():
                    return False
        except Exception:
            return False
        return True

    def _kinked(self, term: Term) -> bool:
        params, view, prior = self._small(CANDIDATES, CELLS)

        def slope(length):
            point = params.replace(theta=length * jnp.sign(params.theta))
            value, g = jax.value_and_grad(lambda b: local((term,), view)[0](b, view, prior))(point)
            return jnp.where(jnp.isfinite(value), g.theta, jnp.nan)

        try:
            ends = [np.asarray(jax.jit(slope)(s)) for s in (1e-3, -1e-3, 1e-5, -1e-5)]
        except Exception:
            return False
        far, near = (np.abs(a - b).max() for a, b in (ends[:2], ends[2:]))
        return bool(near > 0.5 * far and near > 1e-3 * (1e-6 + max(np.abs(e).max() for e in ends)))

    def _jump(self, term: Term) -> str:
        params, view, prior = self._small(CANDIDATES, CELLS)

        def look(params, view, prior):
            def value(theta):
                at = params.replace(theta=theta)
                return jnp.asarray(local((term,), view)[0](at, view, prior)).astype(theta.dtype)

            still, way = value(0 * params.theta), jnp.sign(params.theta)
            rises = [value(e * way) - still for e in (1e-2, -1e-2, 1e-4, -1e-4)]
            far = [value(e * params.theta) - still for e in LENGTHS]
            slopes = [jax.grad(value)(e * params.theta) for e in LENGTHS]
            return jnp.stack(rises), jnp.stack(far), jnp.stack(slopes)

        try:
            rises, far, slopes = map(np.asarray, jax.jit(look)(params, view, prior))
        except Exception:  # said by what traces it
            return ""
        size = np.abs(np.r_[far[np.isfinite(far)], rises]).max()
        # A root falls tenfold from one point to the other, and a kink a hundredfold.
        if (np.abs(rises[2:]) > np.maximum(0.5 * np.abs(rises[:2]), 1e-4 * size)).any():
            return "jumps at theta = 0"
        flat = not slopes.any() and np.ptp(far) > 0
        return "moves in steps, with a gradient of 0 between them" if flat else ""


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


def first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
