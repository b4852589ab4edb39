"""Where terms are evaluated: instances, points, and a term on them, in few compiled shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.ladder import PlanError, select
from unigrn.spec import Slots, Spec
from unigrn.terms import AXES, Blocks, PriorView, Term, View
from unigrn.verify.checks.report import Fault, Skip
from unigrn.verify.instances import CELLS, REGULATORS, TARGETS, Instance

POINTS = 16  # at which a term is evaluated on each instance, in one compiled call
FACTORS = 2
TIGHT, LOOSE = 1e-9, 1e-7  # relative to 1 + the size of what is compared
ODD = (
    *({"columns": c} for c in ("zero", "repeated", "constant", "nearly repeated")),
    {"constant_target": True},
    {"constant_target": True, "offset": 10.0},
    {"columns": "zero", "constant_target": True, "support": "empty"},
    {"support": "full", "scale": 1e3},
    {"support": "empty", "scale": 1e-3},
    {"support": "one", "whole": True},
    {"whole": True, "weights": "some zero", "scale": 1e3},
    {"offset": 10.0, "scale": 1e-3, "weights": "some zero"},
)

jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@partial(jit, static_argnames=("slopes",))
def look(term, points, view, prior, slopes):
    """Values (N, R) at R points of each of N instances, and their gradients where asked for."""

    def one(point, view, prior):
        def value(p):
            return term(p, view, prior)

        return jax.value_and_grad(value)(point) if slopes else (value(point), None)

    over_points = jax.vmap(one, (0, None, None))
    return jax.vmap(over_points)(points, view, prior)


@partial(jit, static_argnames=("name", "others"))
def offer(term, name, view, prior, params, values, step, others):
    """Return a capability on every instance; ``values`` are R arguments of those that take any."""

    def one(view, prior, params, values):
        offer = getattr(term, name)
        if name == "prox":
            more = (params,) if others else ()
            return jax.vmap(lambda v: offer(v, step, view, prior, *more))(values)
        if name == "project":
            return jax.vmap(lambda v: offer(v, prior))(values)
        if name in ("interval", "allows", "budget"):
            return offer(prior)
        return offer(params, view, prior) if name == "price" else offer(view, prior)

    return jax.vmap(one)(view, prior, params, values)


@partial(jit, static_argnames=("block",))
def sum_of_squares(term, block, params, values, view, prior):
    """Values of a term's `Squares` in one block at R points of each instance."""

    def one(params, values, view, prior):
        squares = term.squares(block, params, view, prior)
        return jax.vmap(squares.value)(values)

    return jax.vmap(one)(params, values, view, prior)


def _host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def _stack(trees: list) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


class World:
    """Instances of one shape, and points, as arrays: of the whole network, or of one target."""

    def __init__(
        self,
        spec: Spec,
        instances: list[Instance],
        seed: int,
        shapes: dict[str, Any],
        coupled: bool,
    ):
        self.instances, self.shapes, self.coupled = instances, shapes, coupled
        self.rng = np.random.default_rng((seed, 7))
        self.count, self.cells = len(instances), instances[0].cells
        self.prior = _stack([prior_of(i, n, spec) for n, i in enumerate(instances)])
        weighted = coupled or spec.loss.weighted
        self.keys, self.fresh = jax.random.split(jax.random.key(seed), (2, self.count))
        x, y, w = (np.stack([getattr(i, n) for i in instances]) for n in ("x", "y", "weight"))
        self.view = View(None, x, y, w if weighted else None, self.keys)
        self.points = self.draw(POINTS)

    def draw(self, many: int) -> Blocks:
        """Points (N, R, ...): the first plain, the second 0 in theta, others with exact zeros."""
        shape = (self.count, many, REGULATORS, TARGETS)
        size = self.rng.choice([0.3, 1.0, 3.0], (self.count, many, 1, 1))
        # In huge units smaller coefficients, so that exponentials of fitted values stay finite.
        size = size / np.array([max(i.scale, 1) for i in self.instances])[:, None, None, None]
        theta = size * self.rng.normal(size=shape)
        theta[:, 2:] *= self.rng.random(shape)[:, 2:] > self.rng.choice(
            [0, 0.5], (self.count, many - 2, 1, 1)
        )
        theta[:, 1] = 0
        return Blocks(theta=theta, **{b: make(self, many) for b, make in self.shapes.items()})

    def of(self, target: int) -> tuple[Blocks, View, PriorView]:
        """Return points, rows and prior of one target."""
        view = dataclasses.replace(self.view, y=self.view.y[..., target])
        return (
            jax.tree.map(lambda v: v[..., target], self.points),
            view,
            jax.tree.map(lambda v: v[..., target], self.prior),
        )

    @cached_property
    def plain(self) -> np.ndarray:
        """Instances on which two ways of computing the same agree to rounding."""
        return np.array(
            [
                not i.constant_target and i.weights != "some zero" and i.cells > 1 and not i.whole
                for i in self.instances
            ]
        )


def prior_of(instance: Instance, number: int, spec: Spec) -> PriorView:
    """Give the prior of an instance, with the layers that the spec asks for and some self-edges."""
    v = instance.prior
    named = [
        *(getattr(t, "layer", None) for t in spec.terms),
        *(() if spec.prior is None else spec.prior.layers),
    ]
    names = [n for n in dict.fromkeys(named) if n] or list(v.layers)
    layers = {n: v.weight * (0.25, 0.75)[i % 2] for i, n in enumerate(names)}
    own = np.zeros_like(v.support)
    if number % 3 == 1:
        own[0, 0] = own[2, 1] = True
    return dataclasses.replace(v, weight=sum(layers.values()), self_edge=own, layers=layers)


def instances_for(spec: Spec, examples: int, seed: int) -> tuple[list[Instance], str]:
    """Draw instances and add the odd ones, without those that a term's own check refuses."""
    rng = np.random.default_rng((seed, 3))
    weights = ("ones", "counts") if spec.loss.weighted else ("ones",)
    drawn = [
        Instance(
            seed=1000 * seed + i,
            weights=str(rng.choice(weights)) if i else "ones",
            support=str(rng.choice(("mixed", "full", "one"))) if i else "mixed",
            offset=float(rng.choice([0.0, 1.0])) if i else 0.0,
        )
        for i in range(examples)
    ]
    odd = [Instance(seed=1000 * seed + examples + i, **f) for i, f in enumerate(ODD)]
    if not spec.loss.weighted:
        odd = [dataclasses.replace(i, weights="ones") for i in odd]
    kept, why = [], "the instances drawn"
    for number, instance in enumerate(drawn + odd):
        try:
            for term in spec.terms:
                term.check(prior_of(instance, number, spec))
            kept.append(instance)
        except ValueError as error:
            why = str(error)
    return kept, why


def shapes_of(spec: Spec, coupled: bool) -> tuple[dict[str, Callable], dict[str, str]]:
    """How each nuisance block is drawn, (N, R, *axes of the network), and what is unknown."""
    blocks = [b for b in spec.blocks if b != "theta"]
    evidence = any(t.evidence is not None for t in spec.terms)
    sizes = {"regulators": REGULATORS, "targets": TARGETS, "factors": FACTORS}
    draws, unknown, start = {}, {}, None
    if spec.start is not None and (coupled or not set(blocks) <= set(AXES)):
        try:
            start = _host(started(spec, coupled, None if set(blocks) <= set(AXES) else 0))
        except Exception as error:  # whatever a start of the user's raises is told
            unknown = {b: f"its start fails: {first_line(error)}" for b in blocks}
    for b in blocks:
        if evidence:
            draws[b] = lambda w, r: np.exp(w.rng.normal(size=(w.count, r, TARGETS)))
        elif b in AXES:
            if coupled and start is not None and b in start and "factors" in AXES[b]:
                sizes["factors"] = start[b].shape[0]

            def draw(w, r, axes=AXES[b]):
                return 0.7 * w.rng.normal(
                    size=(w.count, r, *({**sizes, "cells": w.cells}[a] for a in axes))
                )

            draws[b] = draw
        elif start is not None and b in start:

            def near(w, r, value=start[b]):
                shape = value.shape if coupled else (*value.shape, TARGETS)
                shape = tuple(w.cells if n == CELLS[0] else n for n in shape)
                noise = 0.4 * w.rng.normal(size=(w.count, r, *shape))
                middle = np.median(value)
                return middle * np.exp(noise) if middle > 0 else middle + noise

            draws[b] = near
        else:
            unknown.setdefault(b, "it has no start")
    return draws, unknown


def started(spec: Spec, coupled: bool, run: int | None = 0) -> Blocks:
    """Call the declared start on one instance; zeros of its shapes where ``run`` is None."""
    instance = Instance(support="full")
    x, y, prior = instance.x, instance.y, prior_of(instance, 0, spec)
    if not coupled:
        y, prior = y[:, 0], jax.tree.map(lambda v: v[:, 0], prior)
    weight = instance.weight if coupled or spec.loss.weighted else None

    def call(terms, view, prior, key):
        own = dataclasses.replace(view, key=key)
        ready = tuple(t.prepare(own, prior) for t in terms) if coupled else terms
        return Slots(spec.shape, ready).start(own, prior)

    arguments = (spec.terms, View(x=x, y=y, weight=weight), prior, jax.random.key(0))
    if run is None:
        return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), jax.eval_shape(call, *arguments))
    return jit(call)(*arguments)


class Case:
    """One term of a spec on the worlds; evaluations that several checks share are kept."""

    def __init__(
        self,
        term: Term,
        spec: Spec,
        world: World,
        single: World,
        pads: bool,
        unknown: dict[str, str],
    ):
        self.term, self.spec, self.world, self.single = term, spec, world, single
        self.pads, self.unknown, self.coupled = pads, unknown, world.coupled
        self.name = f"{term.kind} {term.formula}"
        self.rng = np.random.default_rng(11)
        self.broken = ""  # why nothing more can be asked of it
        self.bare = False  # True where JAX has no gradient of it

    @property
    def smooth(self) -> bool:
        """True where the gradient is used."""
        return self.term.kind != "constraint" and not (
            self.term.kink and set(self.term.blocks) <= {self.term.block}
        )

    def form(self, world: World, target: int = 0) -> tuple[Blocks, View, PriorView]:
        """Points, data and prior as the solver would give them."""
        if self.coupled:
            return world.points, world.view, world.prior
        points, view, prior = world.of(target)
        if self.term.evidence is not None:
            view = moments_of(world, target)
        return points, view, prior

    def at(self, points=None, view=None, prior=None, slopes=False):
        """Values (N, R) at points of the main world, or values and gradients."""
        own = self.form(self.world)
        given = (points, view, prior)
        # With gradients throughout, so that the shape compiles once.
        values, turn = look(
            self.term,
            *(a if g is None else g for a, g in zip(own, given, strict=True)),
            slopes or (self.smooth and not self.bare),
        )
        return (np.asarray(values), _host(turn)) if slopes else np.asarray(values)

    @cached_property
    def values(self) -> np.ndarray:
        """Values at the points of the main world."""
        return self.at()

    def offer(self, name: str, values: Any = None, step: float = 1.0, view: View | None = None):
        """Return a capability on every instance."""
        points, own, prior = self.form(self.world)
        params = jax.tree.map(lambda v: v[:, 0], points)
        values = np.zeros(self.world.count) if values is None else values
        return _host(
            offer(
                self.term,
                name,
                own if view is None else view,
                prior,
                params,
                values,
                step,
                self.coupled,
            )
        )

    @property
    def network(self) -> np.ndarray:
        """Values on the whole network."""
        world = self.world
        try:
            return np.asarray(look(self.term, world.points, world.view, world.prior, False)[0])
        except Exception as error:  # a user's function may be made for one target only
            raise Skip(
                "works on one target only, which is enough unless it is joined with a "
                f"term that couples targets ({first_line(error)})"
            ) from error


def moments_of(world: World, target: int | None) -> View:
    """Return the moments of one target, or of the whole network for None."""
    out = []
    for i in world.instances:
        each = [i.moments(t).moments for t in (range(TARGETS) if target is None else (target,))]
        stacked = (
            {}
            if target is not None
            else {
                f: np.stack([getattr(m, f) for m in each], -1)
                for f in ("cross", "square", "mean_y")
            }
        )
        out.append(dataclasses.replace(each[0], **stacked))
    return View(_stack(out), key=world.keys)


def first_line(error: BaseException) -> str:
    """Name and first line of an exception."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".strip()


def _apart(got: np.ndarray, want: np.ndarray, within: float) -> tuple | None:
    """Index of the largest relative difference of (N, ...) arrays, or None where all agree."""
    got, want = np.asarray(got), np.asarray(want)
    size = 1 + np.max(np.abs(np.where(np.isfinite(want), want, 0)).reshape(len(want), -1), 1)
    gap = np.abs(got - want) / size.reshape(-1, *[1] * (got.ndim - 1))
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    gap = np.where(same, 0, np.where(np.isnan(gap), np.inf, gap))
    where = np.unravel_index(np.argmax(gap), gap.shape)
    return where if gap[where] > within else None


def agree(case: Case, got, want, message: str, within: float = LOOSE, rows=None) -> None:
    """Raise a fault with both numbers where two arrays differ."""
    rows = case.world.plain if rows is None else rows
    where = _apart(got[rows], want[rows], within)
    if where is not None:
        raise Fault(
            message.format(
                term=case.name, a=f"{want[rows][where]:.6g}", b=f"{got[rows][where]:.6g}"
            )
        )


def refute(case: Case, excess: np.ndarray, message: str, **shown: np.ndarray) -> None:
    """Raise a fault at the largest excess above 0, with the numbers there."""
    if (excess > 0).any():
        at = np.unravel_index(np.nanargmax(excess), excess.shape)
        raise Fault(
            message.format(
                term=case.name,
                **{k: f"{np.broadcast_to(v, excess.shape)[at]:.6g}" for k, v in shown.items()},
            )
        )


def lengths(array: np.ndarray) -> np.ndarray:
    """Euclidean lengths, (N, R)."""
    return np.sqrt(sum_all(array**2))


def sum_all(array: np.ndarray) -> np.ndarray:
    """Sum over all axes but the first two."""
    return array.reshape(*array.shape[:2], -1).sum(2)


def still(case: Case) -> Blocks:
    """Return the first point of each instance, as often as there are points."""
    return jax.tree.map(lambda v: np.repeat(v[:, :1], POINTS, 1), case.form(case.world)[0])


def one_point(case: Case, number: int = 0, point: int = 0, to: Callable = jnp.asarray) -> Any:
    """Return the arguments of the term at one point of one instance."""
    points, view, prior = case.form(case.world)
    return jax.tree.map(
        to,
        (
            jax.tree.map(lambda v: v[number, point], points),
            *jax.tree.map(lambda v: v[number], (view, prior)),
        ),
    )


def transform(case: Case, how: dict[str, Callable]) -> tuple[Blocks, View, PriorView]:
    """Apply ``how[axis](array, number of the axis)`` to all that has the axis."""
    points, view, prior = case.form(case.world)
    edge = ("regulators", "targets") if case.coupled else ("regulators",)
    sizes = {REGULATORS: "regulators", TARGETS: "targets", case.world.cells: "cells"}

    def along(array, axes, lead=1):
        for number, axis in enumerate(axes):
            if axis in how and array is not None:
                array = how[axis](array, lead + number)
        return array

    def named(block, value):
        if block in AXES:
            return [a for a in AXES[block] if case.coupled or a != "targets"]
        return [sizes.get(n) for n in value.shape[2:]]

    points = Blocks(**{b: along(v, named(b, v), 2) for b, v in points.items()})
    prior = jax.tree.map(lambda v: along(v, edge), prior)
    m = view.moments
    if m is not None:
        target = edge[1:]
        m = dataclasses.replace(
            m,
            gram=along(m.gram, ("regulators",) * 2),
            mean_x=along(m.mean_x, edge[:1]),
            cross=along(m.cross, edge),
            square=along(m.square, target),
            mean_y=along(m.mean_y, target),
        )
    view = View(
        m,
        along(view.x, ("cells", "regulators")),
        along(view.y, ("cells", *edge[1:])),
        along(view.weight, ("cells",)),
        view.key,
    )
    return points, view, prior


def pad_by(width: int) -> Callable:
    """Return a function that pads an axis with zeros."""

    def pad(array, axis):
        return np.pad(array, [(0, width if a == axis else 0) for a in range(array.ndim)])

    return pad


def rung_name(spec: Spec) -> str:
    """Name of the solver that takes the method, or "" where none does."""
    try:
        return select(spec).solver.name
    except PlanError:
        return ""
