"""check_spec: a method keeps what its terms promise.

Every function in `TERM_CHECKS` looks at one term, every one in `SPEC_CHECKS` at the whole method.
A check returns what it has to say, and raises `Fault` (advice), `Skip` (a reason) or `Absent` (it
is about something that the term does not offer). Terms are evaluated on small instances, drawn at
random and chosen for what users fear, all of few shapes, so that each term compiles few times.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.losses import check_whole
from unigrn.planner import PlanError, select
from unigrn.solution import Status
from unigrn.spec import Slots, Spec
from unigrn.terms import AXES, Blocks, PriorView, Scaled, Term, View
from unigrn.verify.instances import CELLS, NAMES, REGULATORS, TARGETS, Instance

FOLLOW = ("make constants by jnp.ones_like(params.theta) or plain Python numbers, and cast by "
          ".astype(params.theta.dtype)")
POINTS = 16  # at which a term is evaluated on each instance, in one compiled call
PAD = 2  # entries and targets of padding; cells are padded by one more
FACTORS = 2
TIGHT, LOOSE = 1e-9, 1e-7  # relative to 1 + the size of what is compared
ODD = (
    *({"columns": c} for c in ("zero", "repeated", "constant", "nearly repeated")),
    {"constant_target": True}, {"constant_target": True, "offset": 10.0},
    {"columns": "zero", "constant_target": True, "support": "empty"},
    {"support": "full", "scale": 1e3}, {"support": "empty", "scale": 1e-3},
    {"support": "one", "whole": True}, {"whole": True, "weights": "some zero", "scale": 1e3},
    {"offset": 10.0, "scale": 1e-3, "weights": "some zero"},
)


class SpecError(AssertionError):
    """A spec does not keep what it promises; the message lists the failures."""


class Fault(Exception):
    """A check failed: what was found, with numbers, and what to change."""


class Skip(Exception):
    """A check could not be made, and why."""


class Absent(Exception):
    """A check does not concern this term."""


@dataclass(frozen=True)
class Result:
    """What became of one check: its name, what it looked at, its outcome and message."""

    name: str
    about: str
    outcome: str  # "passed", "skipped" or "failed"
    message: str = ""

    passed = property(lambda self: self.outcome == "passed")
    skipped = property(lambda self: self.outcome == "skipped")
    failed = property(lambda self: self.outcome == "failed")


@dataclass(frozen=True)
class CheckReport:
    """Results of all checks; true where none failed, prints as a table."""

    name: str
    results: tuple[Result, ...]
    examples: int
    seed: int

    @property
    def failures(self) -> tuple[Result, ...]:
        """The results that failed."""
        return tuple(r for r in self.results if r.failed)

    def __bool__(self) -> bool:
        return not self.failures

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __str__(self) -> str:
        failed = len(self.failures)
        lines = [f"{self.name}: {f'{failed} FAILED' if failed else 'passed'} "
                 f"({len(self.results)} checks, {self.examples} examples, seed {self.seed})"]
        for name in dict.fromkeys(r.name for r in self.results):
            own = [r for r in self.results if r.name == name]
            counts = [f"{n} {o}" for o in ("passed", "skipped", "failed")
                      if (n := sum(r.outcome == o for r in own))]
            notes = dict.fromkeys(r.message for r in own if not r.failed and r.message)
            lines.append(f"  {name:14s} {', '.join(counts)}"
                         + (f" ({'; '.join(notes)})" if notes else ""))
        lines += [f"  FAILED {r.name}: {r.message}" for r in self.failures]
        return "\n".join(lines)

    def raise_(self) -> CheckReport:
        """Return self, or raise `SpecError` with all failures."""
        if self.failures:
            raise SpecError("\n".join([f"{self.name}: {len(self.failures)} checks failed",
                                       *(f"{r.name}: {r.message}" for r in self.failures)]))
        return self


# --------------------------------------------------------------------------------- instances


_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@partial(_jit, static_argnames=("slopes",))
def _look(term, points, view, prior, slopes):
    """Values (N, R) at R points of each of N instances, and their gradients where asked for."""

    def one(point, view, prior):
        def value(p):
            return term(p, view, prior)

        return jax.value_and_grad(value)(point) if slopes else (value(point), None)

    over_points = jax.vmap(one, (0, None, None))
    return jax.vmap(over_points)(points, view, prior)


@partial(_jit, static_argnames=("name", "others"))
def _offer(term, name, view, prior, params, values, step, others):
    """Return a capability on every instance; ``values`` are R arguments of those that take any."""

    def one(view, prior, params, values):
        offer = getattr(term, name)
        if name == "prox":
            more = (params,) if others else ()
            return jax.vmap(lambda v: offer(v, step, view, prior, *more))(values)
        if name in ("project", "bijector"):
            return jax.vmap(lambda v: offer(v, prior))(values)
        if name in ("interval", "allows", "budget"):
            return offer(prior)
        return offer(params, view, prior) if name == "price" else offer(view, prior)

    return jax.vmap(one)(view, prior, params, values)


@partial(_jit, static_argnames=("block",))
def _sum_of_squares(term, block, params, values, view, prior):
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

    def __init__(self, spec: Spec, instances: list[Instance], seed: int, shapes: dict[str, Any],
                 coupled: bool):
        self.instances, self.shapes, self.coupled = instances, shapes, coupled
        self.rng = np.random.default_rng((seed, 7))
        self.count, self.cells = len(instances), instances[0].cells
        self.prior = _stack([_prior(i, n, spec) for n, i in enumerate(instances)])
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
            [0, 0.5], (self.count, many - 2, 1, 1))
        theta[:, 1] = 0
        return Blocks(theta=theta, **{b: make(self, many) for b, make in self.shapes.items()})

    def of(self, target: int) -> tuple[Blocks, View, PriorView]:
        """Return points, rows and prior of one target."""
        view = dataclasses.replace(self.view, y=self.view.y[..., target])
        return (jax.tree.map(lambda v: v[..., target], self.points), view,
                jax.tree.map(lambda v: v[..., target], self.prior))

    @cached_property
    def plain(self) -> np.ndarray:
        """Instances on which two ways of computing the same agree to rounding."""
        return np.array([not i.constant_target and i.weights != "some zero" and i.cells > 1
                         and not i.whole for i in self.instances])


def _prior(instance: Instance, number: int, spec: Spec) -> PriorView:
    """Give the prior of an instance, with the layers that the spec asks for and some self-edges."""
    v = instance.prior
    named = [*(getattr(t, "layer", None) for t in spec.terms),
             *(() if spec.prior is None else spec.prior.layers)]
    names = [n for n in dict.fromkeys(named) if n] or list(v.layers)
    layers = {n: v.weight * (0.25, 0.75)[i % 2] for i, n in enumerate(names)}
    own = np.zeros_like(v.support)
    if number % 3 == 1:
        own[0, 0] = own[2, 1] = True
    return dataclasses.replace(v, weight=sum(layers.values()), self_edge=own, layers=layers)


def _instances(spec: Spec, examples: int, seed: int) -> tuple[list[Instance], str]:
    """Draw instances and add the odd ones, without those that a term's own check refuses."""
    rng = np.random.default_rng((seed, 3))
    weights = ("ones", "counts") if spec.loss.weighted else ("ones",)
    drawn = [Instance(seed=1000 * seed + i, weights=str(rng.choice(weights)) if i else "ones",
                      support=str(rng.choice(("mixed", "full", "one"))) if i else "mixed",
                      offset=float(rng.choice([0.0, 1.0])) if i else 0.0) for i in range(examples)]
    odd = [Instance(seed=1000 * seed + examples + i, **f) for i, f in enumerate(ODD)]
    if not spec.loss.weighted:
        odd = [dataclasses.replace(i, weights="ones") for i in odd]
    kept, why = [], "the instances drawn"
    for number, instance in enumerate(drawn + odd):
        try:
            for term in spec.terms:
                term.check(_prior(instance, number, spec))
            kept.append(instance)
        except ValueError as error:
            why = str(error)
    return kept, why


def _shapes(spec: Spec, coupled: bool) -> tuple[dict[str, Callable], dict[str, str]]:
    """How each nuisance block is drawn, (N, R, *axes of the network), and what is unknown."""
    blocks = [b for b in spec.blocks if b != "theta"]
    evidence = any(t.evidence is not None for t in spec.terms)
    sizes = {"regulators": REGULATORS, "targets": TARGETS, "factors": FACTORS}
    draws, unknown, start = {}, {}, None
    if spec.start is not None and (coupled or not set(blocks) <= set(AXES)):
        try:
            start = _host(started(spec, coupled, None if set(blocks) <= set(AXES) else 0))
        except Exception as error:  # whatever a start of the user's raises is told
            unknown = {b: f"its start fails: {_first_line(error)}" for b in blocks}
    for b in blocks:
        if evidence:
            draws[b] = lambda w, r: np.exp(w.rng.normal(size=(w.count, r, TARGETS)))
        elif b in AXES:
            if coupled and start is not None and b in start and "factors" in AXES[b]:
                sizes["factors"] = start[b].shape[0]

            def draw(w, r, axes=AXES[b]):
                return 0.7 * w.rng.normal(size=(w.count, r, *(
                    {**sizes, "cells": w.cells}[a] for a in axes)))

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
    x, y, prior = instance.x, instance.y, _prior(instance, 0, spec)
    if not coupled:
        y, prior = y[:, 0], jax.tree.map(lambda v: v[:, 0], prior)
    weight = instance.weight if coupled or spec.loss.weighted else None

    def call(terms, view, prior, key):
        own = dataclasses.replace(view, key=key)
        ready = tuple(t.prepare(own, prior) for t in terms) if coupled else terms
        return Slots(spec.shape, ready).start(own, prior, key)

    arguments = (spec.terms, View(None, x, y, weight), prior, jax.random.key(0))
    if run is None:
        return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype),
                            jax.eval_shape(call, *arguments))
    return _jit(call)(*arguments)


# -------------------------------------------------------------------------------------- terms


class Case:
    """One term of a spec on the worlds; evaluations that several checks share are kept."""

    def __init__(self, term: Term, spec: Spec, world: World, single: World, pads: bool,
                 unknown: dict[str, str]):
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
            self.term.kink and set(self.term.blocks) <= {self.term.block})

    def form(self, world: World, target: int = 0) -> tuple[Blocks, View, PriorView]:
        """Points, data and prior as the solver would give them."""
        if self.coupled:
            return world.points, world.view, world.prior
        points, view, prior = world.of(target)
        if self.term.evidence is not None:
            view = _moments(world, target)
        return points, view, prior

    def at(self, points=None, view=None, prior=None, slopes=False):
        """Values (N, R) at points of the main world, or values and gradients."""
        own = self.form(self.world)
        given = (points, view, prior)
        # With gradients throughout, so that the shape compiles once.
        values, turn = _look(self.term, *(a if g is None else g for a, g in zip(
            own, given, strict=True)), slopes or (self.smooth and not self.bare))
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
        return _host(_offer(self.term, name, own if view is None else view, prior, params, values,
                            step, self.coupled))

    @property
    def network(self) -> np.ndarray:
        """Values on the whole network."""
        world = self.world
        try:
            return np.asarray(_look(self.term, world.points, world.view, world.prior, False)[0])
        except Exception as error:  # a user's function may be made for one target only
            raise Skip("works on one target only, which is enough unless it is joined with a "
                       f"term that couples targets ({_first_line(error)})") from error


def _moments(world: World, target: int | None) -> View:
    """Return the moments of one target, or of the whole network for None."""
    out = []
    for i in world.instances:
        each = [i.moments(t).moments for t in (range(TARGETS) if target is None else (target,))]
        stacked = {} if target is not None else {
            f: np.stack([getattr(m, f) for m in each], -1) for f in ("cross", "square", "mean_y")}
        out.append(dataclasses.replace(each[0], **stacked))
    return View(_stack(out), key=world.keys)


def _first_line(error: BaseException) -> str:
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


def _same(case: Case, got, want, message: str, within: float = LOOSE, rows=None) -> None:
    """Raise a fault with both numbers where two arrays differ."""
    rows = case.world.plain if rows is None else rows
    where = _apart(got[rows], want[rows], within)
    if where is not None:
        raise Fault(message.format(term=case.name, a=f"{want[rows][where]:.6g}",
                                   b=f"{got[rows][where]:.6g}"))


def _worst(case: Case, excess: np.ndarray, message: str, **shown: np.ndarray) -> None:
    """Raise a fault at the largest excess above 0, with the numbers there."""
    if (excess > 0).any():
        at = np.unravel_index(np.nanargmax(excess), excess.shape)
        raise Fault(message.format(term=case.name, **{
            k: f"{np.broadcast_to(v, excess.shape)[at]:.6g}" for k, v in shown.items()}))


def _lengths(array: np.ndarray) -> np.ndarray:
    return np.sqrt(_total(array**2))


def _still(case: Case) -> Blocks:
    """Return the first point of each instance, as often as there are points."""
    return jax.tree.map(lambda v: np.repeat(v[:, :1], POINTS, 1), case.form(case.world)[0])


def _move(case: Case, how: dict[str, Callable]) -> tuple[Blocks, View, PriorView]:
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
            m, gram=along(m.gram, ("regulators",) * 2), mean_x=along(m.mean_x, edge[:1]),
            cross=along(m.cross, edge), square=along(m.square, target),
            mean_y=along(m.mean_y, target))
    view = View(m, along(view.x, ("cells", "regulators")),
                along(view.y, ("cells", *edge[1:])), along(view.weight, ("cells",)), view.key)
    return points, view, prior


def _pad(width: int) -> Callable:
    def pad(array, axis):
        return np.pad(array, [(0, width if a == axis else 0) for a in range(array.ndim)])

    return pad


# ------------------------------------------------------------------------------ checks of terms


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
        raise Fault(f"{case.name} has a static field that cannot be hashed ({error}): static "
                    "fields take names and truth values, numbers are array leaves") from error
    if structure == jax.tree.structure(0):
        raise Fault(f"{kind} is no pytree, so JAX cannot take it as an argument: decorate the "
                    "class with unigrn.terms.pytree")
    for path, leaf in jax.tree.leaves_with_path(term):
        if np.asarray(leaf).dtype.kind not in "fiub":
            raise Fault(f"{case.name}: the field {jax.tree_util.keystr(path)} is "
                        f"{type(leaf).__name__}, no number: declare it with unigrn.terms.static()")
    for item in dataclasses.fields(base) if dataclasses.is_dataclass(base) else ():
        value = getattr(base, item.name)
        if item.metadata.get("static") and isinstance(value, float | np.floating | np.ndarray):
            raise Fault(f"{case.name}: the hyperparameter {item.name} = {value!r} is static, so "
                        "another value compiles everything again: declare it as a plain field, "
                        "without static()")
    function = getattr(base, "function", None)
    baked = dict(getattr(function, "keywords", None) or {})
    if inspect.isfunction(function):
        baked |= inspect.getclosurevars(function).nonlocals
    for name, value in baked.items():
        if isinstance(value, float):
            raise Fault(f"{case.name}: the number {name} = {value!r} is baked into the function, "
                        "so another value compiles everything again: make it an argument and pass "
                        f"unigrn.{term.kind}(function, {name}={value!r})")
    try:
        jax.tree.unflatten(structure, [object()] * len(leaves))
        again = jax.tree.unflatten(structure, leaves)
    except Exception as error:  # a check in __post_init__ may raise anything
        raise Fault(f"{kind} cannot be rebuilt by JAX, which puts placeholders into the fields "
                    f"({_first_line(error)}): check arguments in a constructor function, not in "
                    "__post_init__") from error
    if type(again) is not type(term) or jax.tree.structure(again) != structure:
        raise Fault(f"{kind} changes when JAX takes it apart and puts it together again: "
                    "decorate the class with unigrn.terms.pytree")
    if dataclasses.is_dataclass(base):
        _told_apart(base, kind)
    return ""


def _told_apart(base: Term, kind: str) -> None:
    fields = dataclasses.fields(base)
    fixed = tuple(f.name for f in fields if f.metadata.get("static"))
    twin = object.__new__(_twin(tuple(f.name for f in fields if f.name not in fixed), fixed))
    for f in fields:
        object.__setattr__(twin, f.name, getattr(base, f.name))
    if jax.tree.structure(twin) == jax.tree.structure(base):
        raise Fault(f"the structure of {kind} equals that of any dataclass with like fields, so "
                    "one term may run the compiled program of another: decorate the class with "
                    "unigrn.terms.pytree instead of register_dataclass")


@functools.cache
def _twin(leaves: tuple[str, ...], fixed: tuple[str, ...]) -> type:
    """Another class with the same fields, registered in JAX's own way."""
    cls = dataclasses.make_dataclass("Twin", [*leaves, *fixed])
    return jax.tree_util.register_dataclass(cls, data_fields=leaves, meta_fields=fixed)


def _single(case: Case, number: int = 0, point: int = 0, to: Callable = jnp.asarray) -> Any:
    points, view, prior = case.form(case.world)
    return jax.tree.map(to, (jax.tree.map(lambda v: v[number, point], points),
                                      *jax.tree.map(lambda v: v[number], (view, prior))))


def value(case: Case) -> str:
    """Check that it is one real number in the precision of the data, whatever JAX's default."""
    term, blocks = case.term, case.term.blocks
    missing = [b for b in blocks if b in case.unknown]
    if missing:
        case.broken = f"the block {missing[0]} cannot be drawn: {case.unknown[missing[0]]}"
        raise Skip(case.broken)
    given = _single(case, to=lambda v: v)
    for dtype in ("float64", "float32"):
        cast = jax.tree.map(lambda v, d=dtype: np.asarray(v, d) if v.dtype == np.float64 else v,
                            given)
        try:
            seen = jax.eval_shape(lambda t, a: t(*a), term, cast)
        except Exception as error:
            if dtype == "float32":
                raise Fault(f"{case.name} works in float64 and not in float32 "
                            f"({_first_line(error)}): {FOLLOW}") from error
            raise Fault(_advice(case, error, given)) from error
        if not hasattr(seen, "shape"):
            case.broken = "its value is no number"
            raise Fault(f"{case.name} returns {type(seen).__name__}, not one real number")
        if seen.shape != ():
            case.broken = "its value is no scalar"
            raise Fault(f"the value of {case.name} has shape {seen.shape}, not (): a term returns "
                        "one number, usually jnp.sum(...)")
        if not jnp.issubdtype(seen.dtype, jnp.floating):
            case.broken = "its value is not real"
            raise Fault(f"the value of {case.name} is {seen.dtype}, not a real number: return a "
                        f"float of the dtype of params.theta")
        if seen.dtype != dtype and not seen.weak_type:
            raise Fault(f"{case.name} gives {seen.dtype} where data and parameters are {dtype}: "
                        + FOLLOW)
    return ""


def _advice(case: Case, error: Exception, given: tuple) -> str:
    """Say what stops JAX from tracing a term."""
    case.broken = "JAX cannot trace it"
    name, text, errors = case.name, _first_line(error), jax.errors
    if isinstance(error, errors.TracerBoolConversionError):
        return (f"{name} decides by Python's if, and, or, max on a value that JAX traces: use "
                f"jnp.where or jnp.maximum ({text})")
    if isinstance(error, errors.TracerArrayConversionError):
        return f"{name} calls NumPy on a value that JAX traces: use jax.numpy ({text})"
    if isinstance(error, errors.NonConcreteBooleanIndexError):
        return (f"the shape of an array in {name} depends on the data, as in theta[mask]: use "
                f"jnp.where(mask, theta, 0) ({text})")
    if isinstance(error, errors.ConcretizationTypeError | errors.TracerIntegerConversionError):
        return (f"{name} turns a value that JAX traces into a Python number, or into a shape: use "
                f"jax.numpy throughout, and float() nowhere ({text})")
    try:
        view = dataclasses.replace(given[1], weight=jnp.ones(CELLS[0]))
        jax.eval_shape(lambda t, a: t(*a), case.term, (given[0], view, given[2]))
        return (f"{name} uses data.weight, which is None unless the loss says that it is weighted: "
                "declare weighted=True, or allow for None")
    except Exception as second:  # the weights were not the reason
        del second
    where = "the whole network" if case.coupled else "one target (theta has one axis)"
    hint = "" if case.coupled else "; if it needs all targets at once, declare coupled=True"
    return f"{name} cannot be evaluated on {where}: {text}{hint}"


def purity(case: Case) -> str:
    """Check that the same inputs give the same value, and stay as they are."""
    first, second = _single(case), _single(case, 1, 2)
    kept = jax.tree.leaves(first)
    try:
        a = case.term(*first)
        case.term(*second)
        b = case.term(*first)
    except Exception as error:
        raise Fault(f"{case.name} cannot be called directly: {_first_line(error)}") from error
    if not np.array_equal(a, b, equal_nan=True):
        raise Fault(f"{case.name} is not pure: {float(a):.6g}, then {float(b):.6g} for the same "
                    "inputs; use neither global state nor counters, and draw noise from data.key")
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
        raise Fault(_advice(case, error, _single(case))) from error
    direct = np.array([[case.term(*_single(case))], [case.term(*_single(case, 1, 2))]])
    mapped = np.array([[values[0, 0]], [values[1, 2]]])
    _same(case, mapped, direct, "{term} is {a} when called, and {b} when "
          "compiled by jax.jit and mapped by jax.vmap: compute with jax.numpy only, from the "
          "arguments only", 1e-8, slice(None))
    if type(case.term).prepare not in (Term.prepare, Scaled.prepare):
        points, view, prior = _single(case, 1, 2)
        ready = case.term.prepare(view, prior)(points, view, prior)
        _same(case, np.array([[ready]]), mapped[1:], "{term} is {a}, and {b} after prepare(): "
              "prepare may only work out what no parameter changes", 1e-8, slice(None))
    return ""


def gradient(case: Case) -> str:
    """Check that the gradient is the slope of the value, by central differences."""
    if not case.smooth:
        raise Absent
    points, _, _ = case.form(case.world)
    free = [b for b in case.term.blocks if not (case.term.kink and b == case.term.block)]
    base = _still(case)
    way = {b: case.rng.normal(size=base[b].shape) for b in free}
    try:
        values, turn = case.at(base, slopes=True)
    except Exception as error:
        raise Fault(f"{case.name} has no gradient that JAX can compute: {_first_line(error)}; use "
                    "differentiable operations, or offer a prox") from error
    size = 1 + np.abs(values)
    want = sum(np.sum(turn[b] * way[b], tuple(range(2, way[b].ndim))) for b in free)
    wrong, found = np.full(values.shape, np.inf), None
    for h in (1e-4, 1e-6):
        ends = [case.at(base.replace(**{b: base[b] + s * h * way[b] for b in free}))
                for s in (1, -1)]
        rise = (ends[0] - ends[1]) / (2 * h)
        gap = np.abs(rise - want) / (1e-4 * (1 + np.abs(want) + np.abs(rise))
                                     + 1e-14 * size / h)
        found = rise if found is None else np.where(gap < wrong, rise, found)
        wrong = np.fmin(wrong, gap)
    wrong = np.where(case.world.plain[:, None], wrong - 1, -1)
    if np.mean(wrong > 0) > 0.01:  # a kink may lie between two ends, now and then
        _worst(case, wrong, "the gradient of {term} is not its slope: {want} along a direction in "
               f"{', '.join(free)} where differences give {{found}}; look for stop_gradient, a "
               "custom derivative, or a jump that needs a prox", want=want, found=found)
    return ""


def finite(case: Case) -> str:
    """Check that values and gradients are numbers on degenerate data."""
    for world, what in ((case.world, ""), (case.single, "one cell")):
        given = case.form(world)
        values, turn = _look(case.term, *given, case.smooth)
        arrays = {"value": np.asarray(values)}
        if case.smooth:
            arrays |= {f"gradient in {b}": np.asarray(v) for b, v in turn.items()
                       if not (case.term.kink and b == case.term.block)}
        for name, array in arrays.items():
            bad = ~np.isfinite(array.reshape(*array.shape[:2], -1)).all(2)
            if bad.any():
                n, r = np.argwhere(bad)[0]
                at = "theta = 0" if r == 1 else "a point"
                facts = what or _odd(world.instances[n])
                raise Fault(f"the {name} of {case.name} is not finite at {at} on {facts}: guard "
                            "divisions, logarithms and roots by jnp.where, inside and outside; "
                            f"see it by {world.instances[n]!r}")
    return ""


def _odd(instance: Instance) -> str:
    facts = [f"{instance.support} support" if instance.support in ("empty", "full") else "",
             "a constant target" if instance.constant_target else "",
             f"a {instance.columns} regulator" if instance.columns != "plain" else "",
             f"values of size {instance.scale:g}" if instance.scale != 1 else "",
             "cells of weight 0" if instance.weights == "some zero" else ""]
    return " and ".join(f for f in facts if f) or "ordinary data"


def permutation(case: Case) -> str:
    """Check that the order of regulators, targets and cells means nothing."""
    if case.term.noisy:
        raise Skip("noise goes by position")
    values = case.values
    axes = {"regulators": REGULATORS, "cells": CELLS[0]} | (
        {"targets": TARGETS} if case.coupled else {})
    for axis, length in axes.items():
        for order in (np.roll(np.arange(length), 1), np.arange(length)[::-1]):
            moved = _move(case, {axis: lambda v, a, o=order: np.take(v, o, a)})
            _same(case, case.at(*moved), values, "{term} depends on the order of the " + axis
                  + " ({a}, and {b} in another order): let no position in an array mean anything")
    return ""


def padding(case: Case) -> str:
    """Check that padded entries leave the value as it is."""
    if case.term.noisy:
        raise Skip("noise goes by position")
    points, view, prior = _padded(case)
    try:
        wide = case.at(points, view, prior)
    except Exception as error:
        raise Fault(f"{case.name} works for one size only ({_first_line(error)}): hyperparameters "
                    "hold no array over regulators, targets or cells; take these from the prior "
                    "and the data") from error
    got, want = wide, case.values
    if case.coupled:  # a constant for every padded target moves no solution
        got, want = got - got[:, :1], want - want[:, :1]
    _same(case, got, want, "{term} changes when padded entries are added ({a} to {b}): sum over "
          "entries instead of taking their mean, and let an entry with prior 0 and theta 0 cost "
          "nothing (prior.valid is False there)")
    return ""


def _padded(case: Case) -> tuple[Blocks, View, PriorView]:
    """Pad entries and, where the solver does, cells of weight 0."""
    how = {"regulators": _pad(PAD), "targets": _pad(PAD)}
    if case.spec.loss.weighted or case.pads:
        how["cells"] = _pad(PAD + 1)
    return _move(case, how)


def weighted(case: Case) -> str:
    """Check that a cell of weight 2 is the cell twice, one of weight 0 is absent."""
    term = case.term
    if term.kind != "loss" or not term.weighted:
        raise Absent
    if term.evidence is not None or term.noisy:
        raise Skip("weights enter by the moments" if term.evidence is not None else "it is noisy")
    cells = CELLS[0]
    counts = np.array([2, 2, 2] + [1] * (cells - 4) + [0])
    rows = np.repeat(np.arange(cells), counts)  # two more than there are cells
    wide = {"regulators": _pad(PAD), "targets": _pad(PAD)}
    points, view, prior = _move(case, {**wide, "cells": _pad(PAD + 1)})
    x, y = view.x.copy(), view.y.copy()
    x[:, cells - 1], y[:, cells - 1] = 40.0, -70.0
    weight = np.broadcast_to(np.pad(counts, (0, PAD + 1)), view.weight.shape).astype(float)
    once = case.at(points, dataclasses.replace(view, x=x, y=y, weight=weight), prior)
    points, view, prior = _move(case, {
        **wide, "cells": lambda v, a: _pad(1)(np.take(v, rows, a), a)})
    weight = np.broadcast_to(np.pad(np.ones(len(rows)), (0, 1)), view.weight.shape)
    twice = case.at(points, dataclasses.replace(view, weight=weight), prior)
    _same(case, once, twice, "{term} says that it is weighted, but cells of weight 2 and 0 give "
          "{b}, and the same cells taken twice and not at all {a}: multiply each cell's loss by "
          "data.weight")
    return ""


def noisy(case: Case) -> str:
    """Check that it depends on the key if it says so, and only then."""
    values = case.values
    _, view, _ = case.form(case.world)
    other = case.at(view=dataclasses.replace(view, key=case.world.fresh))
    moves = not np.array_equal(values, other, equal_nan=True)
    if moves and not case.term.noisy:
        raise Fault(f"{case.name} draws noise from data.key ({values[0, 0]:.6g} with one key, "
                    f"{other[0, 0]:.6g} with another) without saying so: declare noisy = True, "
                    "which brings it to a stochastic solver")
    if case.term.noisy and not moves:
        raise Fault(f"{case.name} says that it is noisy, but data.key changes nothing: leave noisy "
                    "out, and exact solvers take it")
    if not case.term.noisy:
        raise Absent
    return ""


# ------------------------------------------------------------------- checks of capabilities


def _claims(case: Case, name: str) -> None:
    if getattr(case.term, name) is None:
        raise Absent


def _theta(case: Case) -> np.ndarray:
    return case.form(case.world)[0].theta


def quadratic(case: Case) -> str:
    """Check that the quadratic is the value."""
    _claims(case, "quadratic")
    view, theta = None, _theta(case)
    if case.term.kind == "loss":
        view = _moments(case.world, None if case.coupled else 0)
    try:
        q = case.offer("quadratic", view=view)
    except TypeError as error:
        if case.coupled:
            raise Skip(_first_line(error)) from error
        raise
    m = None if view is None else view.moments
    got = _quadratic_values(q, theta, m)
    _same(case, got, case.values, "the quadratic of {term} gives {b} where the term is {a}: it "
          "must equal the term, constant included")
    if m is not None:
        try:
            by_moments = case.at(view=view)
        except Exception as error:
            if "proximal" in _rung(case.spec):
                raise Fault(f"{case.name} has a quadratic but cannot be evaluated on moments, "
                            f"which its solver does ({_first_line(error)}): return self.quadratic("
                            "data, prior).value(params.theta, data.moments) where data.moments "
                            "is not None") from error
            return ""
        _same(case, by_moments, case.values, "{term} is {a} on rows and {b} on moments")
    return ""


@_jit
def _quadratic_values(q, theta, moments):
    def one(q, theta, moments):
        return jax.vmap(lambda t: q.value(t, moments))(theta)

    return jax.vmap(one)(q, theta, moments)


def _rung(spec: Spec) -> str:
    try:
        return select(spec)[0].name
    except PlanError:
        return ""


def absolute(case: Case) -> str:
    """Check that the term is sum_j c_j |theta_j|."""
    _claims(case, "absolute")
    c = case.offer("absolute")
    if (c < 0).any():
        raise Fault(f"absolute of {case.name} gives the weight {c.min():.6g}: weights are >= 0")
    want = _total(np.abs(_theta(case)) * c[:, None])
    _same(case, want, case.values, "absolute of {term} says sum c |theta| = {b} where the term is "
          "{a}")
    return ""


def _total(array: np.ndarray) -> np.ndarray:
    return array.reshape(*array.shape[:2], -1).sum(2)


def price(case: Case) -> str:
    """Check that at theta the term is the prices of the entries that are not 0 more than at 0."""
    _claims(case, "price")
    h, theta = case.offer("price"), _theta(case)
    values = case.at(_still(case).replace(theta=theta))
    want = _total((theta != 0) * h[:, None])
    _same(case, want, values - values[:, 1:2], "price of {term} says that the edges cost {b} more "
          "than theta = 0, and they cost {a}")
    return ""


def interval(case: Case) -> str:
    """Check that the constraint is lower <= theta <= upper."""
    _claims(case, "interval")
    low, high = case.offer("interval")
    theta, values = _theta(case), case.values
    if low.shape != theta[:, 0].shape or high.shape != low.shape or (low > high).any():
        raise Fault(f"interval of {case.name} must give lower <= upper of the shape of theta, got "
                    f"shapes {low.shape[1:]} and {high.shape[1:]}")
    _member(case, "interval", (low[:, None] <= theta) & (theta <= high[:, None]), values)
    inside = np.clip(theta, low[:, None], high[:, None])
    _member(case, "interval", np.ones_like(inside, bool), _values_at(case, inside))
    return ""


def _values_at(case: Case, values: np.ndarray) -> np.ndarray:
    """Evaluate where the term's block has other values."""
    return case.at(case.form(case.world)[0].replace(**{case.term.block: values}))


def _member(case: Case, name: str, inside: np.ndarray, values: np.ndarray) -> None:
    """Check that the value is 0 just where every entry is inside."""
    inside = inside.reshape(*inside.shape[:2], -1).all(2)
    wrong = np.argwhere(inside != (values == 0))
    if len(wrong):
        n, r = wrong[0]
        if inside[n, r]:
            raise Fault(f"{case.name} is {values[n, r]:.6g} at a point that its {name} allows: it "
                        "must be exactly 0 on the set")
        raise Fault(f"{case.name} is 0 at a point that its {name} forbids: its value is the "
                    "distance from the set, positive outside")


def allows(case: Case) -> str:
    """Check that the constraint is theta = 0 outside the mask."""
    _claims(case, "allows")
    mask = case.offer("allows")
    if mask.dtype != bool:
        raise Fault(f"allows of {case.name} must give a mask of truth values, got {mask.dtype}")
    theta = _theta(case)
    _member(case, "mask (allows)", mask[:, None] | (theta == 0), case.values)
    on = np.where(mask[:, None], theta, 0)
    _member(case, "mask (allows)", np.ones_like(on, bool), _values_at(case, on))
    return ""


def budget(case: Case) -> str:
    """Check that the constraint is at most K entries within the mask."""
    _claims(case, "budget")
    mask, count = case.offer("budget")
    theta = _theta(case)
    few = _total((theta != 0) & mask[:, None]) <= count.reshape(-1, 1)
    _member(case, "budget", few[..., None], case.values)
    return ""


def squares(case: Case) -> str:
    """Check that the term is its squares in each block of ``linear``, up to a constant."""
    term, world = case.term, case.world
    if term.squares is None or not term.linear:
        raise Absent
    if not case.coupled:
        raise Skip("asked for in methods with several blocks only")
    points, view, prior = case.form(world)
    for block in term.linear:
        params = jax.tree.map(lambda v: v[:, 0], points)
        base = _still(case)
        values = case.at(base.replace(**{block: points[block]}))
        got = np.asarray(_sum_of_squares(term, block, params, points[block], view, prior))
        _same(case, got - got[:, :1], values - values[:, :1], "squares of {term} in " + block
              + " change by {b} where the term changes by {a}: they may differ by what does not "
              f"depend on {block} only")
    return ""


def _rivals(case: Case, u: np.ndarray, v: np.ndarray) -> Iterator[np.ndarray]:
    """Points near u, and others that differ from it in one entry, or that tend to v or 0."""
    rng, shape = case.rng, u.shape
    for size in (1e-4, 1e-2, 0.3, 3.0):
        yield u + size * (1 + np.abs(u)) * rng.normal(size=shape)
    lead = (*shape[:2], *[1] * (len(shape) - 2))
    yield u + rng.choice([0.01, 0.1, 0.5, 1.0], lead) * (v - u)
    yield u * rng.choice([0, 0.9, 1.1], lead)
    entries = int(np.prod(shape[2:]))
    for grid in (0.0, 1.0, v, -v, *np.linspace(-2, 2, 6)):
        one = (np.arange(entries) == rng.integers(entries, size=(*shape[:2], 1))).reshape(shape)
        yield np.where(one, grid, u)


def prox(case: Case) -> str:
    """Check that the prox minimises term(u) + |u - v|^2 / (2 step)."""
    _claims(case, "prox")
    block = case.term.block
    points, base = case.form(case.world)[0], _still(case)
    v = points[block]
    v = np.where(case.rng.random(v.shape) < 0.2, np.rint(v), v)
    if case.term.price is not None:  # at a price below 0 and v = 0 no minimum is attained
        v = np.where(v == 0, 0.3, v)
    for step in (0.05, 1.0):
        u = case.offer("prox", v, step)
        if u.shape != v.shape:
            raise Fault(f"prox of {case.name} gives shape {u.shape[2:]}, needed {v.shape[2:]}")

        def cost(w, step=step):
            return case.at(base.replace(**{block: w})) + _total((w - v) ** 2) / (2 * step)

        best = cost(u)
        scale = 1 + np.abs(best)
        for rival in _rivals(case, u, v):
            other = cost(rival)
            better = np.where(case.world.plain[:, None], (best - other) / scale, 0)
            _worst(case, better - LOOSE, f"prox of {{term}} does not minimise term(u) + |u - v|^2 "
                   f"/ (2 step) at step {step:g}: {{best}} where another u gives {{other}}; check "
                   "the factor of the step", best=best, other=other)
        if np.isnan(u).any():
            raise Fault(f"prox of {case.name} is not a number at step {step:g}")
    return ""


def project(case: Case) -> str:
    """Check that the projection is feasible, idempotent, nearest and, if convex, not expansive."""
    _claims(case, "project")
    v = case.form(case.world)[0][case.term.block]
    u = case.offer("project", v)
    size = 1 + _lengths(v)
    left = _values_at(case, u)
    _worst(case, left - TIGHT * size, "project of {term} gives a point that is not feasible: the "
           "term is {left} there, which must be 0", left=left)
    moved = _lengths(case.offer("project", u) - u)
    _worst(case, moved - TIGHT * size, "project of {term} is not idempotent: a second projection "
           "moves the point by {moved}; a feasible point stays where it is", moved=moved)
    distance = _lengths(u - v)
    for rival in itertools.chain(_rivals(case, u, v), _thinned(case, v), (v,)):
        nearer = distance - _lengths(rival - v)
        nearer = np.where(_values_at(case, rival) <= 0, nearer, -1)
        _worst(case, nearer - LOOSE * size, "project of {term} is not the nearest feasible point: "
               "it moves v by {moved}, another feasible point is {nearer} nearer", moved=distance,
               nearer=nearer)
    if case.term.convex:
        for other in (np.roll(v, 1, 1), v + 0.1 * case.rng.normal(size=v.shape)):
            apart, after = _lengths(other - v), _lengths(case.offer("project", other) - u)
            _worst(case, after - apart - TIGHT * (size + apart), "project of {term} expands: "
                   "points {apart} apart are {after} apart afterwards, which a projection onto a "
                   "convex set never does; leave convex out, or mend the projection", apart=apart,
                   after=after)
    return ""


def _thinned(case: Case, v: np.ndarray) -> Iterator[np.ndarray]:
    for keep in (0.3, 0.6, 0.9):
        yield np.where(case.rng.random(v.shape) < keep, v, 0)


def feasible(case: Case) -> str:
    """Check that a constraint is 0 on its set and positive elsewhere."""
    if case.term.kind != "constraint":
        raise Absent
    values = case.values
    if (values < 0).any():
        raise Fault(f"{case.name} is {values.min():.6g} at a point: a constraint is a distance, "
                    "0 where the point is feasible")
    if case.term.project is None:
        if (values > 0).all():
            raise Skip("no feasible point was found")
        return ""
    v = case.form(case.world)[0][case.term.block]
    moved = np.abs(case.offer("project", v) - v)
    moved = moved.reshape(*moved.shape[:2], -1).max(2)
    wrong = (moved > 1e-6) & (values == 0)
    if wrong.any():
        raise Fault(f"{case.name} is 0 at a point that its projection moves by "
                    f"{moved[wrong].max():.6g}: its value must be positive off the set")
    return ""


def lipschitz(case: Case) -> str:
    """Gradients differ by at most L times the distance."""
    _claims(case, "lipschitz")
    block, points = case.term.block, case.form(case.world)[0]
    bound = case.offer("lipschitz").reshape(-1, 1)
    start = case.at(slopes=True)[1][block]
    way = case.rng.normal(size=start.shape)
    axes = [1] * (start.ndim - 2)

    for _ in range(12):  # towards the direction of largest curvature
        way = way / np.maximum(_lengths(way), 1e-300).reshape(*way.shape[:2], *axes)
        turn = case.at(points.replace(**{block: points[block] + way}), slopes=True)[1][block]
        turn = turn - start
        size = _lengths(turn)
        over = size - bound * (1 + LOOSE) - 1e-11 * (1 + _lengths(start))
        _worst(case, np.where(case.world.plain[:, None], over, -1), "lipschitz of {term} gives "
               "{bound}, but gradients in " + block + " differ by {size} times the distance: "
               "return a bound on the largest eigenvalue of the second derivative (|theta|^2 has "
               "2)", bound=bound, size=size)
        way = np.where(size.reshape(*way.shape[:2], *axes) > 0, turn, way)
    return ""


def separable(case: Case) -> str:
    """Check that it is a sum over entries, or over targets, as it says."""
    kind, term = case.term.separable, case.term
    if kind is None:
        raise Absent
    if kind not in ("entries", "targets"):
        raise Fault(f"separable of {case.name} is {kind!r}: it is 'entries', 'targets' or None")
    join = (lambda v: v.max(-1)) if term.kind == "constraint" else (lambda v: v.sum(-1))
    if kind == "entries":
        base = _still(case)
        theta, shape = base.theta, base.theta.shape
        entries = int(np.prod(shape[2:]))
        # One entry alone, of each instance; then all, then none.
        alone = np.arange(entries) == np.arange(POINTS)[:, None]
        alone[entries] = True
        values = case.at(base.replace(
            theta=np.where(alone.reshape(1, POINTS, *shape[2:]), theta, 0)))
        zero = 0 if term.kind == "constraint" else values[:, entries + 1, None]
        _same(case, join(values[:, :entries] - zero)[:, None], values[:, entries, None]
              - (0 if term.kind == "constraint" else zero),
              "{term} says that it is a sum over entries, but changes by {a} where the entries "
              "alone add up to {b}: declare separable = 'targets'")
    if term.noisy:
        return ""
    try:
        whole = case.network
    except Skip as reason:
        if case.coupled:
            raise
        return str(reason)
    if case.coupled and term.kind != "constraint" and not set(term.blocks) <= {
            "theta", "intercept"}:
        return ""
    each = []
    for t in range(TARGETS):
        points, view, prior = case.world.of(t)
        if term.evidence is not None:
            raise Skip("works on moments of one target only")
        each.append(np.asarray(_look(term, points, view, prior, False)[0]))
    _same(case, join(np.stack(each, -1)), whole, "{term} says that targets separate, but on the "
          "whole network it is {b} and target by target {a}: declare separable = None "
          "(coupled=True for a function), or sum over targets")
    return ""


def bijector(case: Case) -> str:
    """Check that all of R^k is mapped onto the interior of the feasible set."""
    _claims(case, "bijector")
    theta = _theta(case)
    z = np.linspace(-40, 40, POINTS).reshape(1, -1, *[1] * (theta.ndim - 2)) + 0 * theta
    u = case.offer("bijector", z)
    left = _values_at(case, u)
    if not np.isfinite(u).all() or (left > TIGHT).any():
        raise Fault(f"bijector of {case.name} leaves the feasible set: the term is "
                    f"{np.nanmax(left):.6g} there, which must be 0")
    if case.term.interval is None:
        return ""
    low, high = case.offer("interval")
    least, most = u.min(1), u.max(1)
    short = np.where(np.isfinite(low), least - low > 1e-6, least > -39) \
        | np.where(np.isfinite(high), high - most > 1e-6, most < 39)
    if short.any():
        n = np.unravel_index(np.argmax(short), short.shape)
        raise Fault(f"bijector of {case.name} does not cover the feasible set: it reaches from "
                    f"{least[n]:.6g} to {most[n]:.6g}, the interval from {low[n]:.6g} to "
                    f"{high[n]:.6g}")
    return ""


def convex(case: Case) -> str:
    """Check that the value between two points is no more than that of the chord."""
    if not case.term.convex:
        raise Absent
    block = case.term.block
    points, base = case.form(case.world)[0], _still(case)
    a = points[block]
    ends = case.at(base.replace(**{block: a}))
    lead = (*a.shape[:2], *[1] * (a.ndim - 2))
    for b in (np.roll(a, 1, 1), 3 * np.roll(a, 5, 1), a + 0.1 * case.rng.normal(size=a.shape)):
        other = case.at(base.replace(**{block: b}))
        t = case.rng.choice([0.5, 0.25, 0.9], ends.shape)
        middle = case.at(base.replace(**{block: t.reshape(lead) * a + (1 - t.reshape(lead)) * b}))
        chord = t * ends + (1 - t) * other
        over = (middle - chord) / (1 + np.abs(ends) + np.abs(other)) - LOOSE
        _worst(case, np.where(case.world.plain[:, None], over, -1), "{term} says that it is convex,"
               " but between two points it is {middle} where the chord is {chord}: leave convex "
               "out", middle=middle, chord=chord)
    return ""


TERM_CHECKS = (hyperparameters, value, purity, compilation, gradient, finite, permutation, padding,
               weighted, noisy, quadratic, absolute, price, interval, allows, budget, squares,
               prox, project, feasible, lipschitz, separable, bijector, convex)


# ------------------------------------------------------------------------ checks of the method


class Whole:
    """A method: its terms as cases, and what planned and solved it."""

    def __init__(self, spec: Spec, build: Callable[..., Spec] | None, cases: list[Case],
                 world: World | None, unknown: dict[str, str]):
        self.spec, self.build, self.cases = spec, build, cases
        self.world, self.unknown = world, unknown

    @cached_property
    def rung(self) -> Any:
        """The rung that takes it, or the `PlanError`."""
        try:
            return select(self.spec)[0]
        except PlanError as error:
            return error

    @property
    def broken(self) -> str:
        """Why the method cannot be solved."""
        return next((f"{c.name}: {c.broken}" for c in self.cases if c.broken), "")


def retrace(whole: Whole) -> str:
    """Check that calling the method with another hyperparameter gives the same structure."""
    if whole.build is None:
        raise Absent

    def structure(**hyper):
        return jax.tree.structure(whole.build(None, **hyper).terms)

    first = structure()
    if structure() != first:
        raise Fault(f"{whole.spec.name} makes its terms anew on every call, so that each call "
                    "compiles again: define its functions at the top level of a module, and pass "
                    "numbers by unigrn.loss(function, name=number)")
    for p in list(inspect.signature(whole.build).parameters.values())[1:]:
        if not isinstance(p.default, float):
            continue
        for factor in (0.9, 1.1):
            try:
                other = structure(**{p.name: p.default * factor})
            except ValueError:
                continue  # out of range
            if other != first:
                raise Fault(f"another value of {p.name} changes the structure of {whole.spec.name},"
                            " so that it compiles again: let it be an array leaf of a term, not a "
                            "static field or a number baked into a function")
            break
    return ""


def blocks(whole: Whole) -> str:
    """Check that every block beyond theta and intercept has a start of the declared shape."""
    spec = whole.spec
    extra = [b for b in spec.blocks if b not in ("theta", "intercept")]
    for case in whole.cases:
        _undeclared(case)
    if not extra and spec.start is None:
        raise Absent
    if any(t.evidence is not None for t in spec.terms):
        return "set by the evidence"
    if spec.start is None:
        raise Fault(f"the block {extra[0]} has no start: give Spec(start=function (data, prior, "
                    "key, terms) -> Blocks(theta=..., ...)) with all of " + ", ".join(spec.blocks))
    coupled = not spec.separable
    try:
        found = started(spec, coupled, None)
    except Exception as error:
        raise Fault(f"the start of {spec.name} fails: {_first_line(error)}") from error
    lacking = [b for b in spec.blocks if b not in found]
    spare = [b for b in found if b not in spec.blocks]
    if lacking or spare:
        raise Fault(f"the start of {spec.name} " + (
            f"lacks the block {lacking[0]}" if lacking else
            f"gives a block {spare[0]} that no term declares in its blocks")
            + f"; the terms' blocks are {', '.join(spec.blocks)}")
    sizes = {"regulators": REGULATORS, "targets": TARGETS, "cells": CELLS[0]}
    for b, value in found.items():
        axes = [a for a in AXES.get(b, ()) if coupled or a != "targets"]
        want = tuple(sizes.get(a) for a in axes)
        if b in AXES and (len(want) != value.ndim or any(
                w not in (None, n) for w, n in zip(want, value.shape, strict=True))):
            raise Fault(f"the start gives {b} the shape {value.shape}, not ({', '.join(axes)}) "
                        f"with {sizes}")
        if value.dtype != np.float64:
            raise Fault(f"the start gives {b} as {value.dtype} where the data are float64: take "
                        "the dtype of prior.weight")
    return ", ".join(found)


def _undeclared(case: Case) -> None:
    if case.broken or case.unknown:
        return
    points, view, prior = _single(case)
    own = Blocks(**{b: v for b, v in points.items() if b in case.term.blocks})
    try:
        jax.eval_shape(lambda t, a: t(*a), case.term, (own, view, prior))
    except (AttributeError, KeyError) as error:
        raise Fault(f"{case.name} uses a block that it does not declare: {_first_line(error)}; "
                    "name all of them in its blocks") from error


def planned(whole: Whole) -> str:
    """Check that some solver takes it."""
    if isinstance(whole.rung, PlanError):
        raise Fault(f"{whole.rung}. Offer what the rung you want lacks")
    return whole.rung.name


def solved(whole: Whole) -> str:
    """Check that the solution is finite, certified, and no worse than the start."""
    import unigrn

    spec, world = whole.spec, whole.world
    if isinstance(whole.rung, PlanError) or whole.broken or whole.unknown or world is None:
        raise Skip(whole.broken or "there is no solver for it")
    data = unigrn.Data.from_arrays(
        np.c_[world.view.x[0], world.view.y[0]], NAMES, dtype="float64")
    plain = spec.replace(prior=_network_prior(world), ensemble=None, permutations=0, scale=None,
                         restarts=1, scores=None, gauge=None, readout=None)
    try:
        fitted = partial(unigrn.fit, plain, data, regulators=NAMES[:REGULATORS],
                         targets=NAMES[REGULATORS:])
        solution, begun = fitted(), fitted(max_iterations=0)
    except Exception as error:  # whatever the terms or the start raise inside the solver
        raise Fault(f"{whole.rung.name} fails on {CELLS[0]} cells: {_first_line(error)}") from error
    theta, live = solution.theta[0], solution.status[0] != Status.NO_CANDIDATES
    if not np.isfinite(theta).all() or (solution.status == Status.NOT_FINITE).any():
        raise Fault(f"the solution by {whole.rung.name} is not finite; the certificate says "
                    f"{solution.certificate.status.unique().tolist()}")
    if not np.isfinite(solution.residual[0][live]).all():
        raise Fault(f"{whole.rung.name} gives no certificate: residual "
                    f"{solution.residual[0][live].tolist()}")
    told = f"residual {solution.residual[0][live].max(initial=0):.0e}"
    if any(c.term.noisy for c in whole.cases):
        return f"{told}; noisy, so not compared"
    _compared(whole, solution, begun)
    return told


def _network_prior(world: World) -> Any:
    """Give the first instance's prior by names."""
    import pandas as pd

    from unigrn.prior import Prior

    view = jax.tree.map(lambda v: v[0], world.prior)
    layers = []
    for name, weight in view.layers.items():
        i, j = np.nonzero(weight)
        if len(i):
            layers.append(Prior.from_edges(pd.DataFrame({
                "source": np.array(NAMES)[i], "target": np.array(NAMES)[REGULATORS + j],
                "weight": weight[i, j], "sign": view.sign[i, j]}), name=name))
    return Prior.combine(layers)


def _compared(whole: Whole, solution: Any, begun: Any) -> None:
    """Compare the objective at the solution with that at the start and around it."""
    world, coupled, rng = whole.world, whole.world.coupled, np.random.default_rng(5)
    extra = [b for b in whole.spec.blocks if b != "theta"]
    if not set(extra) <= set(solution.blocks):
        return  # blocks of one number an edge are read off as statistics
    rows = [Blocks(theta=s.theta[0], **{b: np.asarray(s.blocks[b][0]) for b in extra})
            for s in (solution, begun)]
    theta, known = rows[0].theta, {b: rows[0][b] for b in extra}
    allowed = theta != 0
    for size in np.repeat([1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0, 4.0], 2):
        rows.append(Blocks(theta=theta + size * allowed * rng.normal(size=theta.shape),
                           **{b: v + size * rng.normal(size=v.shape) for b, v in known.items()}))
    points = jax.tree.map(lambda *v: np.repeat(np.stack(v)[None], world.count, 0), *rows)

    def total(kinds):
        out = np.zeros(POINTS)
        for case in whole.cases:
            if case.term.kind not in kinds:
                continue
            if coupled:
                out = out + case.at(points)[0]
                continue
            for t in range(TARGETS):
                _, view, prior = world.of(t)
                view = _moments(world, t) if case.term.evidence is not None else view
                own = jax.tree.map(lambda v, t=t: v[..., t], points)
                out = out + np.asarray(_look(case.term, own, view, prior, False)[0])[0]
        return out

    value, far = total(("loss", "regularizer")), total(("constraint",))
    scale = 1e-6 * (1 + np.abs(value[0]))
    if far[0] > 1e-6 * (1 + np.abs(theta).max()):
        raise Fault(f"the solution violates the constraint by {far[0]:.6g}")
    if far[1] <= 0 and value[0] > value[1] + scale:
        raise Fault(f"the objective at the solution is {value[0]:.6g}, at the start "
                    f"{value[1]:.6g}: look at gradient, prox and lipschitz of the terms")
    if all(c.term.convex for c in whole.cases):
        lower = (far <= 0) & (value < value[0] - scale)
        if lower.any():
            raise Fault(f"the objective at the solution is {value[0]:.6g}, and at a feasible point "
                        f"nearby {value[lower].min():.6g}, though every term says that it is "
                        "convex: look at gradient, prox and lipschitz of the terms")


SPEC_CHECKS = (retrace, blocks, planned, solved)


def check_spec(
    spec: Any, examples: int = 20, seed: int = 0, only: tuple[str, ...] | None = None,
    **hyperparameters: Any,
) -> CheckReport:
    """Check that a declared method keeps what its terms promise.

    Every term is evaluated on small instances, random ones and degenerate ones (empty and full
    supports, zero, constant and repeated regulators, constant targets, one cell, fewer cells than
    regulators, huge and tiny units, exact zeros): it must be pure, compile, map, have the gradient
    it shows, not depend on order or padding, follow the precision of the data, stay finite, and
    every capability it claims must meet its definition (see `unigrn.terms.Term`). The method must
    have starts for its blocks and be planned and solved on a small instance.

    Parameters
    ----------
    spec
        A `Spec`, a function ``(prior, **hyper) -> Spec``, or the name of a method. A prior that
        the spec brings is replaced by those of the instances.
    examples
        Random instances beside the degenerate ones.
    seed
        The same seed gives the same instances.
    only
        Names of checks; the others are left out.
    **hyperparameters
        Passed to a function or a named method.

    Returns
    -------
    CheckReport
        True in a condition where no check failed; prints as a table; ``raise_()`` raises
        `SpecError`.

    Examples
    --------
    >>> from unigrn import Spec, least_squares, ridge
    >>> from unigrn.verify import check_spec
    >>> bool(check_spec(Spec(least_squares(), ridge(1.0)), examples=3))
    True
    """
    from unigrn.methods import bind

    examples, seed = check_whole("examples", examples, low=3), check_whole("seed", seed)
    build, _ = bind(spec, hyperparameters)
    if build is not None:
        method, spec = spec, build(None)
        if not isinstance(spec, Spec):
            raise TypeError(f"a method returns a Spec, got {type(spec).__name__}")
        if spec.name == "spec":
            spec = spec.replace(name=getattr(method, "__name__", "spec"))
    with jax.enable_x64(True):
        results = tuple(_results(spec, build, examples, seed, only))
    return CheckReport(spec.name, results, examples, seed)


def _results(spec, build, examples, seed, only) -> Iterator[Result]:
    chosen = [[c for c in checks if only is None or c.__name__ in only]
              for checks in (TERM_CHECKS, SPEC_CHECKS)]
    coupled = not spec.separable
    pads = "PALM" in _rung(spec)
    instances, why = _instances(spec, examples, seed)
    cases, world, unknown = [], None, {}
    if len(instances) < 3:
        yield Result("instances", spec.name, "failed",
                     f"check of the terms refuses nearly all small instances: {why}")
    else:
        shapes, unknown = _shapes(spec, coupled)
        world = World(spec, instances, seed, shapes, coupled)
        single = World(spec, [dataclasses.replace(i, cells=1) for i in instances], seed, shapes,
                       coupled)
        cases = [Case(t, spec, world, single, pads, unknown) for t in spec.terms]
    for case, check in itertools.product(cases, chosen[0]):
        if case.broken:
            yield Result(check.__name__, case.name, "skipped", case.broken)
        else:
            yield from _made(check, case, case.name)
    whole = Whole(spec, build, cases, world, unknown)
    for check in chosen[1]:
        yield from _made(check, whole, spec.name)


def _made(check: Callable, subject: Any, about: str) -> Iterator[Result]:
    """Make one check."""
    try:
        with np.errstate(all="ignore"):
            message = check(subject)
        yield Result(check.__name__, about, "passed", message)
    except Absent:
        return
    except Skip as reason:
        yield Result(check.__name__, about, "skipped", str(reason))
    except Fault as fault:
        yield Result(check.__name__, about, "failed", str(fault))
    except Exception as error:  # a user's term may raise anything: tell it, and go on
        yield Result(check.__name__, about, "failed",
                     f"{about}: the check of {check.__name__} stops at {_first_line(error)}")
