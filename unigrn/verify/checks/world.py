"""Where terms are evaluated: instances, points, and a term on them, in few compiled shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.binding import Names, bind, bind_extra, laid, names_of
from unigrn.ladder import PlanError, select
from unigrn.probes import Profile
from unigrn.spec import Slots, Spec
from unigrn.terms import AXES, Along, Blocks, PriorView, Term, View, local, pytree, static
from unigrn.tracing import first_line
from unigrn.verify.checks.report import Fault, Skip
from unigrn.verify.instances import CELLS, REGULATORS, TARGETS, Instance
from unigrn.views import GROUPS, LABELLED, NAMED

POINTS = 16  # at which a term is evaluated on each instance, in one compiled call
FACTORS = 2
TIGHT, LOOSE = 1e-9, 1e-7  # relative to 1 + the size of what is compared
ODD: tuple[dict[str, Any], ...] = (
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


def home(term: Term, view: View) -> tuple[Term, View]:
    """Give a term, and external arrays, the entries of the target at hand."""
    own = local((term,), view)[0]
    if term.across:
        own = AllGroups(own, len(group_names((term,))))
    return own, view.replace(extra=local(view.extra, view))


@pytree
class AllGroups(Term):
    """A term across groups at the blocks of one: every group has a multiple of its own.

    A loss sees the data of all groups, here the same.
    """

    term: Term
    groups: int = static(default=2)

    kind = property(lambda self: self.term.kind)

    def _stacked(self, tree: Any, factors: Any = None) -> Any:
        def stack(v):
            many = jnp.broadcast_to(v, (self.groups, *jnp.shape(v)))
            if factors is None:
                return many
            return many * factors.reshape(-1, *[1] * jnp.ndim(v)).astype(many.dtype)

        return jax.tree.map(stack, tree)

    def stacked(self, theta: Any) -> Any:
        """Coefficients of all groups."""
        return self._stacked(theta, jnp.cos(jnp.arange(self.groups)))

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Any:
        """Evaluate at the coefficients of all groups, which those of one are made into."""
        one = jnp.ndim(params.theta) == jnp.ndim(prior.weight)
        if self.term.kind == "loss":
            blocks = self.stacked(params) if one else params
            return self.term(blocks, self._stacked(data), self._stacked(prior))
        theta = self.stacked(params.theta) if one else params.theta
        return self.term(Blocks(theta=theta), data, self._stacked(prior))

    @property
    def prox(self):
        """That of the term, at coefficients of all groups."""
        inner = self.term.prox
        return inner and (
            lambda v, step, data, prior, params=None: inner(v, step, data, self._stacked(prior))
        )

    @property
    def lines(self):
        """Differences between groups, where the term has them."""
        inner = self.term.lines
        return inner and (lambda data, prior: inner(data, self._stacked(prior)))


def group_names(terms: Any) -> tuple[str, ...]:
    """Names of the groups that arrays of terms are about, two where none are named."""
    for leaf in jax.tree.leaves(terms, is_leaf=_along):
        if _along(leaf) and GROUPS in leaf.axes:
            place = [a for a in leaf.axes if a in LABELLED].index(GROUPS)
            if leaf.names:
                return tuple(leaf.names[place])
            size = leaf.values.shape[leaf.axes.index(GROUPS)]
            return tuple(f"g{i}" for i in range(size))
    return ("g0", "g1")


@partial(jit, static_argnames=("slopes",))
def look(term, points, view, prior, slopes):
    """Values (N, R) at R points of each of N instances, and their gradients where asked for."""

    def one(point, view, prior):
        own, data = home(term, view)

        def value(p):
            return own(p, data, prior)

        return jax.value_and_grad(value)(point) if slopes else (value(point), None)

    over_points = jax.vmap(one, (0, None, None))
    return jax.vmap(over_points)(points, view, prior)


@partial(jit, static_argnames=("name", "others"))
def offer(term, name, view, prior, params, values, step, others):
    """Return a capability on every instance; ``values`` are R arguments of those that take any."""

    def one(view, prior, params, values):
        own, view = home(term, view)
        offer = getattr(own, name)
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
        own, view = home(term, view)
        squares = own.squares(block, params, view, prior)
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
        fitted: Fitted,
    ):
        self.instances, self.shapes, self.coupled = instances, shapes, coupled
        self.fitted, self.regulators, self.targets = fitted, fitted.regulators, fitted.targets
        self.rng = np.random.default_rng((seed, 7))
        self.count, self.cells = len(instances), instances[0].cells
        self.prior = _stack([prior_of(i, n, spec) for n, i in enumerate(instances)])
        weighted = coupled or uses_weights(spec)
        self.keys, self.fresh = jax.random.split(jax.random.key(seed), (2, self.count))
        x, y, w = (np.stack([getattr(i, n) for i in instances]) for n in ("x", "y", "weight"))
        y = _within(y, spec.loss.outcome)
        x = y if fitted.square else x
        extra = jax.tree.map(
            lambda leaf: Along(np.repeat(leaf.values[None], self.count, 0), leaf.axes),
            fitted.extra_of(self.cells),
            is_leaf=lambda leaf: isinstance(leaf, Along),
        )
        self.view = View(None, x, y, w if weighted else None, self.keys, extra)
        self.points = self.draw(POINTS)

    def draw(self, many: int) -> Blocks:
        """Points (N, R, ...): the first plain, the second 0 in theta, others with exact zeros."""
        shape = (self.count, many, self.regulators, self.targets)
        size = self.rng.choice([0.3, 1.0, 3.0], (self.count, many, 1, 1))
        # In huge units smaller coefficients, so that exponentials of fitted values stay finite.
        size = size / np.array([max(i.scale, 1) for i in self.instances])[:, None, None, None]
        theta = size * self.rng.normal(size=shape)
        theta[:, 2:] *= self.rng.random(shape)[:, 2:] > self.rng.choice(
            [0, 0.5], (self.count, many - 2, 1, 1)
        )
        theta[:, 1] = 0
        theta = theta + self.fitted.centre
        return Blocks(theta=theta, **{b: make(self, many) for b, make in self.shapes.items()})

    def of(self, target: int) -> tuple[Blocks, View, PriorView]:
        """Return points, rows and prior of one target."""
        view = dataclasses.replace(self.view, y=self.view.y[..., target])
        if self.fitted.arrays:
            view = view.replace(
                regulators=np.tile(np.arange(self.regulators, dtype=np.int32), (self.count, 1)),
                target=np.full(self.count, target, np.int32),
            )
        return (
            Blocks(
                **{
                    name: block[..., target] if block.ndim > 2 else block
                    for name, block in self.points.items()
                }
            ),
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


def _within(y: np.ndarray, outcome: tuple[float, float] | None) -> np.ndarray:
    """Move expression to where a loss is defined: whole numbers of a count, shares of a bound."""
    if outcome is None:
        return y
    low, high = outcome
    if np.isfinite(high):
        return low + (high - low) / (1 + np.exp(-y / (1 + np.abs(y).max())))
    return low + np.rint(np.minimum(np.abs(y), 50))


def prior_of(instance: Instance, number: int, spec: Spec) -> PriorView:
    """Give the prior of an instance, with the layers that the spec asks for and some self-edges."""
    v = instance.prior
    named = [
        *(getattr(t, "layer", None) for t in spec.terms),
        *(n for t in spec.terms for n in getattr(getattr(t, "term", t), "layers", ())),
        *(() if spec.prior is None else spec.prior.layers),
    ]
    names = [n for n in dict.fromkeys(named) if n] or list(v.layers)
    layers = {n: v.weight * (0.25, 0.75)[i % 2] for i, n in enumerate(names)}
    own = np.zeros_like(v.support)
    if instance.square:
        own = np.eye(len(own), dtype=bool)
    elif number % 3 == 1:
        own[0, 0] = own[2, 1] = True
    return dataclasses.replace(v, weight=sum(layers.values()), self_edge=own, layers=layers)


def uses_weights(spec: Spec) -> bool:
    """Whether the loss says that it uses the weights of cells."""
    return bool(spec.loss.weighted)


@dataclass(frozen=True, eq=False)
class Fitted:
    """Sizes of the instances, and the terms with their arrays in the order of such an instance."""

    regulators: int
    targets: int
    cells: int
    square: bool
    terms: tuple[Term, ...]
    extra: dict[str, Along] = dataclasses.field(default_factory=dict)
    centre: Any = 0.0

    @property
    def names(self) -> list[str]:
        """Names of the regulators, and of targets that are none."""
        own = [f"r{i:03d}" for i in range(self.regulators)]
        return own if self.square else own + [f"t{i:03d}" for i in range(self.targets)]

    @property
    def arrays(self) -> bool:
        """Whether any term or external array has axes."""
        leaves = jax.tree.leaves((self.terms, self.extra), is_leaf=_along)
        return any(map(_along, leaves))

    def extra_of(self, cells: int) -> dict[str, Along]:
        """External arrays, of the first cells."""
        return {
            k: Along(
                np.take(v.values, np.arange(cells), axis=v.axes.index("cells"))
                if "cells" in v.axes
                else v.values,
                v.axes,
            )
            for k, v in self.extra.items()
        }


def _along(leaf: Any) -> bool:
    return isinstance(leaf, Along)


def fitted_to(spec: Spec, coupled: bool, data: Any = None) -> Fitted:
    """Find sizes that suit the arrays and the shapes of the terms, and bind the arrays to them.

    Sizes are those of the data where given; otherwise the first of few that works: the usual ones,
    those of the arrays along regulators and targets, and square networks for coupled terms.
    """
    if data is not None:
        return _fitted_to_data(spec, coupled, data)
    lengths, names = [], {}
    for leaf in jax.tree.leaves(spec.terms, is_leaf=_along):
        shape = tuple(np.shape(leaf.values if _along(leaf) else leaf))
        if _along(leaf) and set(leaf.axes).isdisjoint((*NAMED, "cells", "unknown")):
            continue  # as long whatever the genes are
        lengths += list(shape)
        if _along(leaf):
            labels = list(leaf.names)
            for axis in leaf.axes:
                if labels and axis in ("regulators", "targets", "unknown"):
                    names.setdefault(axis, labels.pop(0))
    lengths = list(dict.fromkeys(n for n in lengths if n > 0))
    usual = [(REGULATORS, TARGETS, False)]
    tried = [(n, TARGETS if n != TARGETS else 2, False) for n in lengths]
    tried += [(a, b, False) for a in lengths for b in lengths if a != b]
    tried += [(REGULATORS if n != REGULATORS else 5, n, False) for n in lengths]
    square = [(n, n, True) for n in (*lengths, REGULATORS)] if coupled else []
    if any(term.square for term in spec.terms):
        usual = tried = []
    cells = next((n for n in range(CELLS[0], 99) if n not in lengths), CELLS[0])
    cells = cells if lengths else CELLS[0]
    first, kept = None, None
    for q, p, same in (tried if lengths else usual) + square + (usual if lengths else []):
        own = [f"r{i:03d}" for i in range(q)]
        others = own if same else [f"t{i:03d}" for i in range(p)]
        for axis, default in (("regulators", own), ("targets", others), ("unknown", own)):
            labels = names.get(axis)
            if labels and len(labels) == len(default):
                own, others = (
                    (own, list(labels))
                    if axis == "targets" and not same
                    else (list(labels), others)
                )
                others = own if same else others
        orders: dict[str, Any] = {"regulators": [], "targets": []}
        groups = np.array(group_names(spec.terms), object) if spec.across else None
        where = Names(np.array(own), np.array(others), orders, cells, coupled, groups)
        try:
            terms = _empty_place(bind(spec.terms, where), q, p, coupled)
        except ValueError as error:
            first = first or error
            continue
        found = Fitted(q, p, cells, same, terms, _brought(spec, cells))
        kept = kept or found
        if _evaluates(spec, found, coupled):
            return found
    if kept is None:
        raise Fault(f"no small instance suits the arrays of the terms: {first}; give data=...")
    return kept


def _brought(spec: Spec, cells: int) -> dict[str, Along]:
    """Sizes of cells in place of those that the stages bring."""
    names = [name for stage in spec.stages for name in stage.brings]
    return {name: Along(np.linspace(0.5, 2, cells), ("cells",)) for name in names}


def _empty_place(tree: Any, q: int, p: int, coupled: bool) -> Any:
    sizes = {} if coupled else {"regulators": q + 1, "targets": p + 1}
    return laid(tree, sizes, None, 0, "float64")


def _fitted_to_data(spec: Spec, coupled: bool, data: Any) -> Fitted:
    from unigrn.problem import brought, build

    if spec.prior is None and any(t.needs_prior for t in spec.terms):
        spec = spec.replace(prior=_every_edge(data.genes[:MOST_EDGES]))
    problem = build(spec, data)
    q, p = len(problem.regulators), len(problem.targets)
    cells = min(int(data.group_sizes[0]), MOST_CELLS)
    if q * p > MOST_EDGES:
        raise ValueError(
            f"check_spec evaluates terms on many copies of the problem: {q} regulators x {p} "
            f"targets are more than {MOST_EDGES:,} edges; give fewer genes (Data.select)"
        )
    where = names_of(
        data, problem.regulators, problem.targets, {"regulators": None, "targets": None}, coupled
    )
    same = q == p and bool((problem.regulators == problem.targets).all())
    terms, extra = laid(
        (bind(spec.terms, where), bind_extra(brought(spec, data), where)),
        {} if coupled else {"regulators": q + 1, "targets": p + 1},
        np.arange(cells),
        cells,
        "float64",
    )
    return Fitted(q, p, cells, same, terms, extra)


MOST_CELLS, MOST_EDGES = 24, 2000


def _every_edge(genes: Sequence[str]) -> Any:
    """Return a prior of every gene by every other, of no more genes than can be evaluated."""
    import pandas as pd

    from unigrn.prior import Prior

    few = list(genes)[: math.isqrt(MOST_EDGES) + 1]
    pairs = [(a, b) for a in few for b in few if a != b]
    source, target = zip(*pairs, strict=True) if pairs else ((), ())
    return Prior.from_edges(pd.DataFrame({"source": source, "target": target}))


def _evaluates(spec: Spec, fitted: Fitted, coupled: bool) -> bool:
    """Whether every term takes the shapes; a term that fails whatever the shapes takes none."""
    instance = Instance(
        support="full",
        cells=fitted.cells,
        regulators=fitted.regulators,
        targets=fitted.targets,
        square=fitted.square,
    )
    prior = prior_of(instance, 0, spec)
    theta = np.ones((fitted.regulators, fitted.targets))
    for term, bound in zip(spec.terms, fitted.terms, strict=True):
        if set(term.blocks) - {"theta", "intercept"} or term.evidence is not None:
            continue
        view = View(
            None,
            instance.x,
            instance.y,
            np.ones(fitted.cells),
            jax.random.key(0),
            regulators=None if coupled else np.arange(fitted.regulators),
            target=None if coupled else np.zeros((), np.int32),
        )
        points, own = Blocks(theta=theta, intercept=theta[0]), prior
        if not coupled:
            view = view.replace(y=view.y[:, 0])
            points, own = jax.tree.map(lambda v: v[..., 0], (points, own))
        try:
            jax.eval_shape(lambda t, *a: home(t, a[1])[0](*a), bound, points, view, own)
        except Exception:
            return False
    return True


def instances_for(
    spec: Spec, examples: int, seed: int, fitted: Fitted | None = None
) -> tuple[list[Instance], str]:
    """Draw instances and add the odd ones, without those that a term's own check refuses."""
    rng = np.random.default_rng((seed, 3))
    weights = ("ones", "counts") if spec.loss.weighted else ("ones",)
    shape: dict[str, Any] = (
        {}
        if fitted is None
        else {
            "regulators": fitted.regulators,
            "targets": fitted.targets,
            "cells": fitted.cells,
            "square": fitted.square,
        }
    )
    drawn = [
        Instance(
            **shape,
            seed=1000 * seed + i,
            weights=str(rng.choice(weights)) if i else "ones",
            support=str(rng.choice(("mixed", "full", "one"))) if i else "mixed",
            offset=float(rng.choice([0.0, 1.0])) if i else 0.0,
        )
        for i in range(examples)
    ]
    odd = [Instance(seed=1000 * seed + examples + i, **shape, **f) for i, f in enumerate(ODD)]
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


def shapes_of(
    spec: Spec, coupled: bool, fitted: Fitted | None = None
) -> tuple[dict[str, Callable], dict[str, str]]:
    """How each nuisance block is drawn, (N, R, *axes of the network), and what is unknown."""
    blocks = [b for b in spec.blocks if b != "theta"]
    evidence = any(t.evidence is not None for t in spec.terms)
    fitted = fitted or usual(spec)
    sizes = {"regulators": fitted.regulators, "targets": fitted.targets, "factors": FACTORS}
    draws, unknown, start = {}, {}, None
    if spec.start is not None and (coupled or not set(blocks) <= set(AXES)):
        try:
            start = _host(started(spec, coupled, fitted, None if set(blocks) <= set(AXES) else 0))
        except Exception as error:  # whatever a start of the user's raises is told
            unknown = {b: f"its start fails: {first_line(error)}" for b in blocks}
    for b in blocks:
        if evidence:
            draws[b] = lambda w, r: np.exp(w.rng.normal(size=(w.count, r, w.targets)))
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
                shape = value.shape if coupled else (*value.shape, w.targets)
                shape = tuple(w.cells if n == w.fitted.cells else n for n in shape)
                noise = 0.4 * w.rng.normal(size=(w.count, r, *shape))
                middle = np.median(value)
                return middle * np.exp(noise) if middle > 0 else middle + noise

            draws[b] = near
        else:
            unknown.setdefault(b, "it has no start")
    return draws, unknown


def usual(spec: Spec) -> Fitted:
    """Instances of the usual sizes, for terms that bring no arrays."""
    return Fitted(REGULATORS, TARGETS, CELLS[0], False, spec.terms)


def started(spec: Spec, coupled: bool, fitted: Fitted, run: int | None = 0) -> Blocks:
    """Call the declared start on one instance; zeros of its shapes where ``run`` is None."""
    instance = Instance(
        support="full",
        cells=fitted.cells,
        regulators=fitted.regulators,
        targets=fitted.targets,
        square=fitted.square,
    )
    y, prior = _within(instance.y, spec.loss.outcome), prior_of(instance, 0, spec)
    x = y if fitted.square else instance.x
    if not coupled:
        y, prior = y[:, 0], jax.tree.map(lambda v: v[:, 0], prior)
    weight = instance.weight if coupled or spec.loss.weighted else None

    def call(terms, view, prior, key):
        own = dataclasses.replace(view, key=key)
        own = own.replace(extra=local(own.extra, own))
        terms = local(terms, own)
        ready = tuple(t.prepare(own, prior) for t in terms) if coupled else terms
        return Slots(spec.shape, ready).start(own, prior)

    view = View(x=x, y=y, weight=weight, extra=fitted.extra)
    if not coupled:
        view = view.replace(regulators=np.arange(len(prior.weight)), target=np.zeros((), np.int32))
    arguments = (fitted.terms, view, prior, jax.random.key(0))
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
        bound: Term | None = None,
        profile: Profile | None = None,
    ):
        self.bound = term if bound is None else bound
        self.profile = Profile(spec, spec.terms) if profile is None else profile
        self.near = False  # points were drawn nearer to the start, for values to be finite
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
        if self.on_moments:
            view = moments_of(world, target)
        return points, view, prior

    @cached_property
    def on_moments(self) -> bool:
        """Whether the term is worked out on moments of one target, and on nothing else."""
        return self.term.evidence is not None or self.profile.reading(self.term).moments

    @cached_property
    def noisy(self) -> bool:
        """Whether the term draws noise: said, or found by tracing."""
        return bool(self.term.noisy or self.profile.noisy(self.term))

    def direct(self, points, view, prior):
        """Call the term itself, uncompiled."""
        own, data = home(self.bound, view)
        return own(points, data, prior)

    def at(self, points=None, view=None, prior=None, bound=None) -> np.ndarray:
        """Values (N, R) at points of the main world."""
        own = self.form(self.world)
        given = (points, view, prior)
        # With gradients throughout, so that the shape compiles once.
        values, _ = look(
            self.bound if bound is None else bound,
            *(a if g is None else g for a, g in zip(own, given, strict=True)),
            self.smooth and not self.bare,
        )
        return np.asarray(values)

    def slopes(self, points: Blocks | None = None) -> tuple[np.ndarray, Any]:
        """Values (N, R) at points of the main world, and gradients."""
        own, view, prior = self.form(self.world)
        values, turn = look(self.bound, own if points is None else points, view, prior, True)
        return np.asarray(values), _host(turn)

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
                self.bound,
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
            return np.asarray(look(self.bound, world.points, world.view, world.prior, False)[0])
        except Exception as error:  # a user's function may be made for one target only
            raise Skip(
                "works on one target only, which is enough unless it is joined with a "
                f"term that couples targets ({first_line(error)})"
            ) from error


def moments_of(world: World, target: int | None) -> View:
    """Return the moments of one target, or of the whole network for None."""
    out = []
    for i in world.instances:
        each = [
            i.moments(t).moments for t in (range(world.targets) if target is None else (target,))
        ]
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
    world = case.world
    sizes = {world.regulators: "regulators", world.targets: "targets", world.cells: "cells"}

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
        jax.tree.map(lambda v: Along(along(v.values, v.axes), v.axes), view.extra, is_leaf=_along),
        _placed(view.regulators, how, world.regulators),
        view.target,
    )
    return points, view, prior


def _placed(places: Any, how: dict[str, Callable], empty: int) -> Any:
    """Move the places of a target's candidates; those of padding are the empty one."""
    if places is None or "regulators" not in how:
        return places
    return np.where((moved := how["regulators"](places + 1, 1)) == 0, empty, moved - 1)


def arrays_moved(case: Case, how: dict[str, Callable]) -> Term:
    """Apply a transformation to a term's own arrays, in a whole network."""
    if not case.coupled:
        return case.bound

    def move(leaf):
        if not _along(leaf):
            return leaf
        values = leaf.values
        for number, axis in enumerate(leaf.axes):
            values = how[axis](values, number) if axis in how else values
        return Along(values, leaf.axes)

    return jax.tree.map(move, case.bound, is_leaf=_along)


def pad_by(width: int) -> Callable:
    """Return a function that pads an axis with zeros."""

    def pad(array, axis):
        return np.pad(array, [(0, width if a == axis else 0) for a in range(array.ndim)])

    return pad


def centred(spec: Spec, coupled: bool, fitted: Fitted) -> Fitted:
    """Draw points around the start, where that is not theta = 0."""
    if spec.start is None:
        return fitted
    try:
        theta = np.asarray(started(spec, coupled, fitted).theta)
    except Exception:  # told by the check of blocks
        return fitted
    theta = theta if coupled else theta[:, None]
    return dataclasses.replace(fitted, centre=theta) if np.isfinite(theta).all() else fitted


def approach(cases: list[Case]) -> None:
    """Move the points of an instance nearer to the start until all costs are finite there."""
    for attempt in range(4):
        for world in {id(w): w for c in cases for w in (c.world, c.single)}.values():
            wrong = np.zeros(world.count, bool)
            for case in cases:
                if case.term.kind == "constraint":
                    continue
                try:
                    values = np.asarray(look(case.bound, *case.form(world), case.smooth)[0])
                except Exception:  # told by the check of the value
                    return
                if values.shape == (world.count, POINTS) and attempt < 3:
                    bad = ~np.isfinite(values).all(1)
                    case.near = case.near or bool(bad.any())
                    wrong |= bad
            if wrong.any():
                size = np.where(wrong, 0.1, 1.0).reshape(-1, 1, 1, 1)
                middle = world.fitted.centre
                moved = {"theta": middle + size * (world.points.theta - middle)}
                if "intercept" in world.points:
                    moved["intercept"] = size[..., 0] * world.points.intercept
                world.points = world.points.replace(**moved)


def profiled(spec: Spec, fitted: Fitted) -> Profile:
    """Trace a method on the instances; the prior has the layers that its terms ask for."""
    sizes = {n: getattr(fitted, n) for n in ("regulators", "targets", "cells")}
    terms, extra = fitted.terms, fitted.extra
    if not spec.separable:
        terms, extra = local((terms, extra), View())
    return Profile(with_layers(spec), terms, extra, sizes)


def with_layers(spec: Spec) -> Spec:
    """Give a method without a prior one with the layers that its terms ask for."""
    if spec.prior is not None:
        return spec
    from unigrn.prior import Prior

    names = [t.layer for t in spec.terms if isinstance(getattr(t, "layer", None), str)]
    names = list(dict.fromkeys(names)) or ["motif", "chip"]
    edges = pd_edges("r000", "t000")
    return spec.replace(prior=Prior.combine([Prior.from_edges(edges, name=n) for n in names]))


def pd_edges(source: str, target: str) -> Any:
    """One edge as a table."""
    import pandas as pd

    return pd.DataFrame({"source": [source], "target": [target], "weight": [1.0]})


def with_terms(spec: Spec, fitted: Fitted) -> Spec:
    """Put terms with bound arrays into the slots of a spec, without their empty places."""
    sizes = {"regulators": fitted.regulators, "targets": fitted.targets}

    def cut(leaf):
        if not _along(leaf):
            return leaf
        values = leaf.values
        for place, axis in enumerate(leaf.axes):
            if axis in sizes:
                values = np.take(values, np.arange(sizes[axis]), axis=place)
        return Along(values, leaf.axes)

    terms = jax.tree.map(cut, fitted.terms, is_leaf=_along)
    ready = Slots(spec.shape, terms)
    return spec.replace(loss=ready.loss, regularizer=ready.regularizer, constraint=ready.constraint)


def rung_name(spec: Spec) -> str:
    """Name of the solver that takes the method, or "" where none does."""
    try:
        return select(with_layers(spec)).solver.name
    except PlanError:
        return ""
