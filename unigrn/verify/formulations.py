"""Formulations: a way of stating a problem, and how a spec states it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.joint import joint
from unigrn.spec import Spec
from unigrn.terms import Blocks, PriorView, Term, View, outside, parts
from unigrn.verify.instances import CELLS, REGULATORS, SHAPES, Instance, Point

SWEEPS = 200  # of alternating projections, where no rule gives the joint one
# Compiled fast: each program runs a few hundred times on small arrays.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@dataclass(frozen=True)
class Formulation:
    """One way of stating a problem, as functions of an instance and of its variables.

    Only ``objective`` is needed; what is None is not compared.

    Attributes
    ----------
    objective
        (instance, u) -> number, or one number per part where the parts have no variable in
        common; infinite where u is not feasible.
    violation
        (instance, u) -> number, 0 where u is feasible.
    variables
        (instance, point) -> u: variables at a drawn point, feasible where that can be had.
    gradient
        (instance, u) -> like u: where the objective is smooth.
    prox
        (instance, u, step) -> like u: of the terms with a kink and the constraint.
    minimiser
        (instance) -> u: the unique minimiser, or None where this instance has none.
    iterates
        (instance, steps) -> u: where the released algorithm is the definition.
    kinks
        (instance, u) -> number: the terms that ``prox`` is of. Two that differ in them are not
        compared by prox, and of two proxes that differ both are right where they tie.
    padded
        (instance, u) -> like the objective: its value with places of padding beside the entries;
        None where that is not asked.
    size
        (instance, u) -> like the objective: of what it sums; rounding is relative to it.
    """

    objective: Callable[[Any, Any], Any]
    violation: Callable[[Any, Any], float] | None = None
    variables: Callable[[Any, Point], Any] | None = None
    gradient: Callable[[Any, Any], Any] | None = None
    prox: Callable[[Any, Any, float], Any] | None = None
    minimiser: Callable[[Any], Any] | None = None
    iterates: Callable[[Any, int], Any] | None = None
    name: str = "formulation"
    kinks: Callable[[Any, Any], float] | None = None
    padded: Callable[[Any, Any], Any] | None = None
    size: Callable[[Any, Any], Any] | None = None


def formulation(problem: Any) -> Formulation:
    """Return a formulation as it is, and that of a spec: of all targets together, on rows."""
    if isinstance(problem, Formulation):
        return problem
    if not isinstance(problem, Spec):
        raise TypeError(
            f"an equivalence joins Specs or Formulations, got {type(problem).__name__}; "
            "of a method give the Spec that it returns"
        )
    if problem.loss.iterates is not None:
        raise TypeError(
            f"{problem.name} is an iteration without an objective: there is no problem to compare; "
            "state it as a Formulation with its iterates"
        )
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
    """State a spec in theta alone as a formulation; values come from its own terms.

    The objective has one number per target where targets are separable, as in a fit. Drawn points
    are projected onto the constraint.
    """
    smooth = not any(t.kink for t in spec.terms)
    kinks = tuple(t for t in parts(spec.regularizer) if t.kink)
    pieces = joint(kinks, parts(spec.constraint))  # deletions included: rows are whole here
    separable = spec.separable and takes(spec, (REGULATORS, 1, CELLS[0]))

    promised = separable and any(outside(t) for t in spec.terms)

    def by_target(params, view, prior):
        if separable:
            return _by_target(spec.objective, params, view, prior)
        return spec.objective(params, view, prior)

    def value(params, view, prior):
        out = by_target(params, view, prior)
        if not promised:
            return out
        # A function that says it separates is asked for the whole network too.
        whole, total = spec.objective(params, view, prior), jnp.sum(out)
        room = 1e-9 * (1 + jnp.sum(jnp.abs(out)))
        alike = (whole == total) | (jnp.abs(whole - total) <= room)
        return out + jnp.where(alike, 0.0, (whole - total) / out.size)

    # One program for all that is asked of a point: programs cost more than what they compute.
    @jit
    def looked(params, view, prior):
        out = {"value": value(params, view, prior)}
        out["penalty"] = sum((t(params, view, prior) for t in kinks), jnp.zeros(()))
        out["distance"] = spec.violation(params, view, prior)
        if smooth:
            out["slope"] = jax.grad(lambda u: jnp.sum(by_target(u, view, prior)))(params)
        return out

    prox = jit(lambda v, step, view, prior: pieces.prox(v, step, view, prior))
    project = jit(partial(projected, parts(spec.constraint)))
    last: list[Any] = [None, None, None]  # the point looked at last, and what was seen

    def stated(instance):
        return _scaled(instance.rows(), spec.scale), instance.prior

    def at(name, instance, u):
        if last[0] is not instance or last[1] is not u:
            last[:] = instance, u, jax.tree.map(np.asarray, looked(u, *stated(instance)))
        return last[2][name]

    longer = jit(value)

    def padded(instance, u):
        if instance.shape != SHAPES[0]:
            return None  # one size tells, and every size is a program
        view, prior = instance.padded()
        theta = np.pad(u.theta, ((0, prior.weight.shape[0] - len(u.theta)), (0, 0)))
        return np.asarray(longer(Blocks(theta=theta), _scaled(view, spec.scale), prior))

    def proximal(instance, u, step):
        return Blocks(theta=np.asarray(prox(u.theta, step, *stated(instance))))

    def drawn(instance, point):
        if spec.constraint is None:
            return Blocks(theta=point.theta(instance))
        return Blocks(theta=np.asarray(project(point.theta(instance), *stated(instance))))

    def size(instance, u):
        view, _ = stated(instance)
        fit = np.abs(view.x) @ np.abs(u.theta)
        summed = view.weight @ (fit**2 + np.abs(view.y) ** 2)
        return summed if separable else np.sum(summed)

    return Formulation(
        objective=partial(at, "value"),
        violation=partial(at, "distance") if spec.constraint is not None else None,
        variables=drawn,
        gradient=partial(at, "slope") if smooth else None,
        prox=proximal if pieces.prox is not None else None,
        name=spec.name,
        kinks=partial(at, "penalty"),
        padded=padded if takes(spec, SHAPES[0], padded=True) else None,
        size=size,
    )


def takes(spec: Spec, shape: tuple[int, int, int], padded: bool = False) -> bool:
    """Whether a spec can be evaluated at numbers of regulators, targets and cells."""
    instance = Instance(**dict(zip(("regulators", "targets", "cells"), shape, strict=True)))
    view, prior = instance.padded() if padded else (instance.rows(), instance.prior)

    def both(params, view, prior):
        return spec.objective(params, view, prior), spec.violation(params, view, prior)

    try:
        jax.eval_shape(both, Blocks(theta=prior.weight), view, prior)
    except Exception:  # a function from outside may raise anything
        return False
    return True


def _by_target(objective: Any, params: Blocks, view: View, prior: PriorView) -> Any:
    """Give the objective of every target, each a network of its own."""

    def one(theta, y, prior):
        prior = jax.tree.map(lambda a: a[:, None], prior)
        return objective(Blocks(theta=theta[:, None]), view.replace(y=y[:, None]), prior)

    return jax.vmap(one, 1)(params.theta, jnp.asarray(view.y), jax.tree.map(jnp.asarray, prior))


def projected(sets: tuple[Term, ...], v: Any, view: View, prior: PriorView) -> Any:
    """Project onto all sets: by their joint rule, else by one after the other, as far as known."""
    rule = joint((), sets).prox
    if rule is not None:
        return rule(v, 1.0, view, prior)
    known = [found for s in sets if (found := joint((), (s,)).prox) is not None]
    if not known:
        return v

    def sweep(_, v):
        for own in known:
            v = own(v, 1.0, view, prior)
        return v

    return jax.lax.fori_loop(0, SWEEPS, sweep, v)


def _scaled(view: View, scale: str | None) -> View:
    """Bring the genes into the units of a spec, as a fit to one group of cells does."""
    if scale is None:
        return view

    def moved(values):
        low, high = values.min(0), values.max(0)
        middle, spread = (low + high) / 2, (high - low) / 2
        if scale != "range":
            middle, spread = values.mean(0), values.std(0)
        middle = middle if scale in ("standard", "range") else np.zeros_like(middle)
        return (values - middle) / np.where(high > low, spread, 1)

    return view.replace(x=moved(view.x), y=view.y if scale == "regulators" else moved(view.y))
