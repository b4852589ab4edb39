"""Checks of a method as a whole: it compiles once, starts, is planned, and is solved."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np

from unigrn.ladder import PlanError, select
from unigrn.probes import Profile
from unigrn.spec import Spec
from unigrn.status import FAILED, Status
from unigrn.terms import AXES, Blocks
from unigrn.tracing import first_line
from unigrn.verify.checks.report import Absent, Fault, Skip
from unigrn.verify.checks.world import (
    POINTS,
    Case,
    Fitted,
    World,
    group_names,
    look,
    moments_of,
    one_point,
    profiled,
    started,
    still,
    usual,
    with_terms,
)


class Whole:
    """A method: its terms as cases, and what planned and solved it."""

    def __init__(
        self,
        spec: Spec,
        build: Callable[..., Spec] | None,
        cases: list[Case],
        world: World | None,
        unknown: dict[str, str],
        fitted: Fitted | None = None,
    ):
        self.fitted = usual(spec) if fitted is None else fitted
        self.spec, self.build, self.cases = spec, build, cases
        self.world, self.unknown = world, unknown

    @cached_property
    def profile(self) -> Profile:
        """What tracing finds of the terms on the instances."""
        return profiled(self.spec, self.fitted)

    @cached_property
    def rung(self) -> Any:
        """The rung that takes it, or the `PlanError`."""
        try:
            return select(self.profile).solver
        except PlanError as error:
            return error

    @property
    def broken(self) -> str:
        """Why the method cannot be solved."""
        return next((f"{c.name}: {c.broken}" for c in self.cases if c.broken), "")


def retrace(whole: Whole) -> str:
    """Check that calling the method with another hyperparameter gives the same structure."""
    build = whole.build
    if build is None:
        raise Absent

    def structure(**hyper):
        return jax.tree.structure(build(None, **hyper).terms)

    first = structure()
    if structure() != first:
        raise Fault(
            f"{whole.spec.name} makes its terms anew on every call, so that each call "
            "compiles again: define its functions at the top level of a module, and pass "
            "numbers by unigrn.loss(function, name=number)"
        )
    for p in list(inspect.signature(build).parameters.values())[1:]:
        if not isinstance(p.default, float):
            continue
        for factor in (0.9, 1.1):
            try:
                other = structure(**{p.name: p.default * factor})
            except ValueError:
                continue  # out of range
            if other != first:
                raise Fault(
                    f"another value of {p.name} changes the structure of {whole.spec.name},"
                    " so that it compiles again: let it be an array leaf of a term, not a "
                    "static field or a number baked into a function"
                )
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
        raise Fault(
            f"the block {extra[0]} has no start: give Spec(start=function (data, prior, "
            "key, terms) -> Blocks(theta=..., ...)) with all of " + ", ".join(spec.blocks)
        )
    coupled = not spec.separable
    try:
        found = started(spec, coupled, whole.fitted, None)
    except Exception as error:
        raise Fault(f"the start of {spec.name} fails: {first_line(error)}") from error
    lacking = [b for b in spec.blocks if b not in found]
    spare = [b for b in found if b not in spec.blocks]
    if lacking or spare:
        raise Fault(
            f"the start of {spec.name} "
            + (
                f"lacks the block {lacking[0]}"
                if lacking
                else f"gives a block {spare[0]} that no term declares in its blocks"
            )
            + f"; the terms' blocks are {', '.join(spec.blocks)}"
        )
    sizes = {n: getattr(whole.fitted, n) for n in ("regulators", "targets", "cells")}
    for b, value in found.items():
        axes = [a for a in AXES.get(b, ()) if coupled or a != "targets"]
        want = tuple(sizes.get(a) for a in axes)
        if b in AXES and (
            len(want) != value.ndim
            or any(w not in (None, n) for w, n in zip(want, value.shape, strict=True))
        ):
            raise Fault(
                f"the start gives {b} the shape {value.shape}, not ({', '.join(axes)}) with {sizes}"
            )
    return ", ".join(found)


def _undeclared(case: Case) -> None:
    if case.broken or case.unknown:
        return
    points, view, prior = one_point(case)
    own = Blocks(**{b: v for b, v in points.items() if b in case.term.blocks})
    try:
        jax.eval_shape(lambda p, v, r: case.direct(p, v, r), own, view, prior)
    except (AttributeError, KeyError) as error:
        raise Fault(
            f"{case.name} uses a block that it does not declare: {first_line(error)}; "
            "name all of them in its blocks"
        ) from error


def planned(whole: Whole) -> str:
    """Check that some solver takes it."""
    if isinstance(whole.rung, PlanError):
        raise Fault(f"{whole.rung}. Offer what the rung you want lacks")
    return whole.rung.name


def solved(whole: Whole) -> str:
    """Check that the solution is finite, certified, and no worse than the start."""
    import unigrn

    spec, world = whole.spec, whole.world
    iterates = spec.loss.iterates is not None
    broken = "" if iterates else whole.broken
    if isinstance(whole.rung, PlanError) or broken or whole.unknown or world is None:
        raise Skip(broken or "there is no solver for it")
    names, fitted = world.fitted.names, world.fitted
    values = world.view.x[0] if fitted.square else np.c_[world.view.x[0], world.view.y[0]]
    groups = None
    if spec.across:
        several = group_names(spec.terms)
        groups = [several[i % len(several)] for i in range(len(values))]
    data = unigrn.Data.from_arrays(values, names, groups=groups, dtype="float64")
    data = data.with_extra(**fitted.extra_of(fitted.cells)) if fitted.extra else data
    plain = spec.replace(
        prior=_network_prior(world), over=(), scale=None, columns=(), gauge=None, stages=()
    )
    if fitted.arrays:
        plain = with_terms(plain, fitted)
    try:
        run = partial(
            unigrn.fit,
            plain,
            data,
            regulators=names[: fitted.regulators],
            targets=names if fitted.square else names[fitted.regulators :],
        )
        solution, begun = run(), run(max_iterations=0)
    except Exception as error:  # whatever the terms or the start raise inside the solver
        raise Fault(
            f"{whole.rung.name} fails on {fitted.cells} cells: {first_line(error)}"
        ) from error
    theta, live = solution.theta[0], solution.status[0] != Status.NO_CANDIDATES
    found = sorted({Status(s) for s in solution.status[0][live].tolist()})
    ended = ", ".join(s.message for s in found)
    if not np.isfinite(theta).all() or (solution.status == Status.NOT_FINITE).any():
        raise Fault(
            f"the solution by {whole.rung.name} is not finite; the certificate says "
            f"{solution.certificate.status.unique().tolist()}"
        )
    if not np.isfinite(solution.residual[0][live]).all():
        raise Fault(
            f"{whole.rung.name} gives no certificate: residual "
            f"{solution.residual[0][live].tolist()}; {ended}"
        )
    told = f"residual {solution.residual[0][live].max(initial=0):.0e}; {ended}"
    noisy = any(c.noisy for c in whole.cases)
    if any(s in FAILED for s in found) and not noisy:
        if Status.KINK not in found and (words := _on_counts(run, values, data)):
            return words
        raise Fault(f"{whole.spec.name} is not solved by {whole.rung.name}: {told}")
    if iterates:
        return f"{told}; without an objective, so not compared"
    if noisy:
        return f"{told}; noisy, so not compared"
    if spec.across:
        after, before = (np.asarray(s.targets["objective"][0])[live] for s in (solution, begun))
        if (after > before + 1e-6 * (1 + np.abs(before))).any():
            raise Fault(
                f"the objective at the solution is {after.sum():.6g}, at the start "
                f"{before.sum():.6g}: look at gradient, prox and lines of the terms"
            )
        return told
    _compared(whole, solution, begun)
    return told


def _on_counts(run: Callable, values: np.ndarray, data: Any) -> str:
    """Say how it ends on whole numbers >= 0, on which a loss for counts has its minimum."""
    import unigrn

    counted = unigrn.Data.from_arrays(np.rint(np.abs(values)), data.genes, dtype="float64")
    counted = counted.with_extra(**data.extra) if data.extra else counted
    solution = run.func(run.args[0], counted, **run.keywords)
    live = solution.status[0] != Status.NO_CANDIDATES
    if any(Status(s) in FAILED for s in solution.status[0][live].tolist()):
        return ""
    most = solution.residual[0][live].max(initial=0)
    return f"residual {most:.0e} on counts; on numbers of either sign it does not converge"


def _network_prior(world: World) -> Any:
    """Give the first instance's prior by names."""
    import pandas as pd

    from unigrn.prior import Prior

    view, names = jax.tree.map(lambda v: v[0], world.prior), world.fitted.names
    layers = []
    for name, weight in view.layers.items():
        i, j = np.nonzero(weight)
        if len(i):
            layers.append(
                Prior.from_edges(
                    pd.DataFrame(
                        {
                            "source": np.array(names)[i],
                            "target": np.array(names)[
                                (0 if world.fitted.square else world.regulators) + j
                            ],
                            "weight": weight[i, j],
                            "sign": view.sign[i, j],
                        }
                    ),
                    name=name,
                )
            )
    return Prior.combine(layers)


def _compared(whole: Whole, solution: Any, begun: Any) -> None:
    """Compare the objective at the solution with that at the start and around it."""
    world = whole.world
    assert world is not None
    coupled, rng = world.coupled, np.random.default_rng(5)
    extra = [b for b in whole.spec.blocks if b != "theta"]
    if not set(extra) <= set(solution.blocks):
        return  # blocks of one number an edge are read off as statistics
    rows = [
        Blocks(theta=s.theta[0], **{b: np.asarray(s.blocks[b][0]) for b in extra})
        for s in (solution, begun)
    ]
    theta, known = rows[0].theta, {b: rows[0][b] for b in extra}
    allowed = theta != 0
    for size in np.repeat([1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0, 4.0], 2):
        rows.append(
            Blocks(
                theta=theta + size * allowed * rng.normal(size=theta.shape),
                **{b: v + size * rng.normal(size=v.shape) for b, v in known.items()},
            )
        )
    points = jax.tree.map(lambda *v: np.repeat(np.stack(v)[None], world.count, 0), *rows)

    def total(kinds):
        out = np.zeros(POINTS)
        for case in whole.cases:
            if case.term.kind not in kinds:
                continue
            if coupled:
                out = out + case.at(points)[0]
                continue
            for t in range(world.targets):
                _, view, prior = world.of(t)
                view = moments_of(world, t) if case.on_moments else view
                own = jax.tree.map(lambda v, t=t: v[..., t], points)
                out = out + np.asarray(look(case.bound, own, view, prior, False)[0])[0]
        return out

    value, far = total(("loss", "regularizer")), total(("constraint",))
    scale = 1e-6 * (1 + np.abs(value[0]))
    if far[0] > 1e-6 * (1 + np.abs(theta).max()):
        raise Fault(f"the solution violates the constraint by {far[0]:.6g}")
    if far[1] <= 0 and value[0] > value[1] + scale:
        raise Fault(
            f"the objective at the solution is {value[0]:.6g}, at the start "
            f"{value[1]:.6g}: look at gradient, prox and lipschitz of the terms"
        )
    if all(c.term.convex for c in whole.cases):
        lower = (far <= 0) & (value < value[0] - scale)
        if lower.any():
            raise Fault(
                f"the objective at the solution is {value[0]:.6g}, and at a feasible point "
                f"nearby {value[lower].min():.6g}, though every term says that it is "
                "convex: look at gradient, prox and lipschitz of the terms"
            )


def kinks(whole: Whole) -> str:
    """Check that no plain function has a kink, in which gradients cannot settle."""
    if whole.broken or whole.unknown:
        raise Skip(whole.broken or "a block cannot be drawn")
    found = [text for text in whole.profile.kinks if not _undefined(whole, text)]
    if found:
        raise Fault("; ".join(found))
    return ""


def _undefined(whole: Whole, text: str) -> bool:
    """Whether the term that is meant has no values beside theta = 0."""
    for case in whole.cases:
        if text.startswith(case.name) and case.term.kind != "constraint":
            base = still(case)
            sides = [
                case.at(base.replace(theta=np.full_like(base.theta, s))) for s in (1e-5, -1e-5)
            ]
            return not np.isfinite(sides).all()
    return False


CHECKS = (retrace, blocks, planned, kinks, solved)
