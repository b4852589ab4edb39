"""All groups of cells at once: theta (groups, candidates) of one target, coupled by some terms.

A term that is declared ``across`` sees the coefficients of all groups; every other term is summed
over the groups, each with its own data. To the solver it is one more fit with a wider theta: for
networks whose targets are coupled too, all blocks of all groups, groups first.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.solvers import batching, gradient, proximal
from unigrn.solvers.batching import Members
from unigrn.solvers.optimality import Fit, Options
from unigrn.spec import Shape, Slots
from unigrn.terms import Array, Blocks, Moments, PriorView, Term, View, pytree


@pytree
class EachGroup(Term):
    """A term summed over groups; what acts entry by entry does so on all of them."""

    term: Term

    kind = property(lambda self: self.term.kind)
    formula = property(lambda self: f"Σ over groups {self.term.formula}")
    separable = property(lambda self: self.term.separable)
    convex = property(lambda self: self.term.convex)
    kink = property(lambda self: self.term.kink)
    absolute = property(lambda self: self.term.absolute)
    price = property(lambda self: self.term.price)
    interval = property(lambda self: self.term.interval)
    allows = property(lambda self: self.term.allows)
    budget = property(lambda self: self.term.budget)
    within = property(lambda self: self.term.within)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Add the values of the groups."""
        return jnp.sum(jax.vmap(self.term)(params, data, prior))

    @property
    def guided(self):
        """Give the counts of every group."""
        inner = self.term.guided

        def of_groups(data, prior):
            names = {}

            def counts(data, prior):
                found = inner(data, prior)
                names.update({mean: log_sd for mean, (log_sd, _) in found.items()})
                return {mean: count for mean, (_, count) in found.items()}

            many = jax.vmap(counts)(data, prior)
            return {mean: (names[mean], count) for mean, count in many.items()}

        return inner and of_groups

    @property
    def prox(self):
        """Apply the prox to each group."""
        inner = self.term.prox
        return inner and (
            lambda v, step, data, prior, params=None: jax.vmap(
                lambda one, t, d, p: inner(one, t, d, p, None)
            )(
                v,
                jnp.broadcast_to(step, v.shape[:1] if jnp.ndim(step) == 0 else v.shape),
                data,
                prior,
            )
        )

    @property
    def project(self):
        """Project each group."""
        inner = self.term.project
        return inner and (lambda v, prior: jax.vmap(inner)(v, prior))


@pytree
class Prepared(EachGroup):
    """The same, of a term that was prepared for every group: its arrays have groups first."""

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Add the values of the groups."""

        def value(term, params, data, prior):
            return term(params, data, prior)

        return jnp.sum(jax.vmap(value)(self.term, params, data, prior))


@pytree
class ByTarget(EachGroup):
    """A term of all groups that separates over targets, summed over these."""

    formula = property(lambda self: f"Σ over targets {self.term.formula}")

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Add the values of the targets."""

        def value(theta, prior):
            return self.term(Blocks(theta=theta), View(), prior)

        return jnp.sum(jax.vmap(value, in_axes=2)(params.theta, prior))


def lifted(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Sum over groups what does not see all of them."""
    return tuple(t if t.across else EachGroup(t) for t in terms)


def solve(shape: Shape, terms: tuple, moments: Moments, members: Members, options: Options) -> Fit:
    """Solve a batch of fits; the systems of the moments are those of group after group."""
    tasks = members.tasks
    assert tasks.offset is not None
    index, _, prior = batching.positions(tasks, members.entries)
    systems, targets = batching.grid(tasks)
    place = systems[:, None] + tasks.offset[None, :]
    where = batching.by_fit(tasks, index)
    count = tasks.offset.shape[0]

    def one(view: View, prior: PriorView, variant: Array, place: Array, target: Array) -> Fit:
        index = view.regulators
        sums = Moments(
            gram=moments.gram[place][:, index[:, None], index[None, :]],
            cross=moments.cross[place][:, index, target],
            square=moments.square[place, target],
            count=moments.count[place],
            mean_x=moments.mean_x[place][:, index],
            mean_y=moments.mean_y[place, target],
        )
        slots = batching.terms_of(shape, terms, members.varied, variant, view)
        each = Slots(shape, lifted(slots.terms))
        stacked = prior.map(lambda v: jnp.broadcast_to(v, (count, *v.shape)))
        return proximal.solve(each, View(sums), stacked, options)

    arguments: tuple[Any, ...] = (where, prior, batching.variants(tasks), place, targets)
    return jax.vmap(one)(*arguments)


def first(terms: Any) -> Any:
    """Take what all groups have in common: arrays of a term across groups are the same in each."""
    return jax.tree.map(lambda v: v[0], terms)


def posed(slots: Slots, views: View, prior: PriorView) -> tuple[Slots, PriorView]:
    """Return whole networks of all groups as one problem; terms and views have groups first."""
    count = len(views.x)

    def begun(terms, view):
        ready = tuple(t if t.across else t.prepare(view, prior) for t in terms)
        return ready, Slots(slots.shape, ready).start(view, prior)

    ready, start = jax.vmap(begun)(slots.terms, views)

    def joined(term):
        if not term.across:
            return Prepared(term)
        one = first(term)
        return one if one.separable is None else ByTarget(one)

    terms = tuple(joined(term) for term in ready)
    shape = dataclasses.replace(slots.shape, start=lambda *_: start)
    return Slots(shape, terms), prior.map(lambda v: jnp.broadcast_to(v, (count, *v.shape)))


def networks(slots: Slots, views: View, prior: PriorView, options: Options) -> Fit:
    """Solve whole networks of all groups by gradients; terms and views have groups first."""
    joined, stacked = posed(slots, views, prior)
    return gradient.solve(joined, views, stacked, options)
