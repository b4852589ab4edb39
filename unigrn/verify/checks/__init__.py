"""check_spec: a method keeps what its terms promise.

Every function in `TERM_CHECKS` looks at one term, every one in `SPEC_CHECKS` at the whole method.
A check returns what it has to say, and raises `Fault` (advice), `Skip` (a reason) or `Absent` (it
is about something that the term does not offer). Terms are evaluated on small instances, drawn at
random and chosen for what users fear, all of few shapes, so that each term compiles few times.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from unigrn import UnigrnWarning
from unigrn.check import check_whole, meant
from unigrn.data import Data
from unigrn.spec import Spec
from unigrn.tracing import first_line
from unigrn.verify.checks import capabilities, functions, whole
from unigrn.verify.checks.report import Absent, CheckReport, Fault, Result, Skip, SpecError
from unigrn.verify.checks.whole import Whole
from unigrn.verify.checks.world import (
    Case,
    World,
    approach,
    centred,
    fitted_to,
    instances_for,
    profiled,
    rung_name,
    shapes_of,
)

__all__ = ["SPEC_CHECKS", "TERM_CHECKS", "CheckReport", "Result", "SpecError", "check_spec"]

TERM_CHECKS = (*functions.CHECKS, *capabilities.CHECKS)
SPEC_CHECKS = whole.CHECKS


def check_spec(
    spec: Any,
    examples: int = 20,
    seed: int = 0,
    only: tuple[str, ...] | None = None,
    data: Any = None,
    **hyperparameters: Any,
) -> CheckReport:
    """Check that a declared method keeps what its terms promise.

    Every term is evaluated on small instances, random ones and degenerate ones (empty and full
    supports, zero, constant and repeated regulators, constant targets, one cell, fewer cells than
    regulators, huge and tiny units, exact zeros): it must be pure, compile, map, have the gradient
    it shows, not depend on order or padding, follow the precision of the data, stay finite, and
    every capability it claims must meet its definition (see `unigrn.terms.Term`). Values computed
    in two ways are compared where every target varies and no cell has weight 0; elsewhere they
    may differ by a rule of the term's own, and only have to be finite. The method must have starts
    for its blocks and be planned and solved on a small instance.

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
    data
        `Data` whose names, sizes and external arrays the instances take, where the terms need
        them; by default sizes fit the arrays that the terms bring, and couple square networks
        where nothing else can be evaluated.
    **hyperparameters
        Passed to a function or a named method.

    Returns
    -------
    CheckReport
        True in a condition where a check passed and none failed; prints as a table;
        ``raise_()`` raises `SpecError`.

    Raises
    ------
    TypeError
        What is no method, data that are no `Data`.
    ValueError
        Fewer than 3 examples, a check that there is not.

    Examples
    --------
    >>> from unigrn import Spec, least_squares, ridge
    >>> from unigrn.verify import check_spec
    >>> bool(check_spec(Spec(least_squares(), ridge(1.0)), examples=3))
    True
    """
    from unigrn.methods import bind

    examples, seed = check_whole("examples", examples, low=3), check_whole("seed", seed)
    names = ["instances", *(c.__name__ for c in (*TERM_CHECKS, *SPEC_CHECKS))]
    only = (only,) if isinstance(only, str) else only if only is None else tuple(only)
    if unknown := [name for name in only or () if name not in names]:
        raise ValueError(
            f"there is no check {unknown[0]!r}{meant(str(unknown[0]), names)}; "
            f"the checks are: {', '.join(names)}"
        )
    if data is not None and not isinstance(data, Data):
        raise TypeError(f"data must be Data, got {type(data).__name__}")
    build, *_ = bind(spec, hyperparameters)
    if build is not None:
        method, spec = spec, build(None)
        if not isinstance(spec, Spec):
            raise TypeError(f"a method returns a Spec, got {type(spec).__name__}")
        if spec.name == "spec":
            spec = spec.replace(name=getattr(method, "__name__", "spec"))
    with jax.enable_x64(True), warnings.catch_warnings():
        # Priors here are drawn: what a method says of their weights is nobody's concern.
        warnings.simplefilter("ignore", UnigrnWarning)
        results = tuple(_results(spec, build, examples, seed, only, data))
    return CheckReport(spec.name, results, examples, seed)


def _results(spec, build, examples, seed, only, data) -> Iterator[Result]:
    chosen = [
        [c for c in checks if only is None or c.__name__ in only]
        for checks in (TERM_CHECKS, SPEC_CHECKS)
    ]
    coupled = not spec.separable
    pads = "PALM" in rung_name(spec)
    try:
        fitted = fitted_to(spec, coupled, data)
    except Fault as fault:
        yield Result("instances", spec.name, "failed", str(fault))
        return
    fitted = centred(spec, coupled, fitted)
    instances, why = instances_for(spec, examples, seed, fitted)
    cases, world, unknown = [], None, {}
    if len(instances) < 3:
        yield Result(
            "instances",
            spec.name,
            "failed",
            f"check of the terms refuses nearly all small instances: {why}",
        )
    else:
        shapes, unknown = shapes_of(spec, coupled, fitted)
        world = World(spec, instances, seed, shapes, coupled, fitted)
        single = World(
            spec,
            [dataclasses.replace(i, cells=1) for i in instances],
            seed,
            shapes,
            coupled,
            fitted,
        )
        profile = profiled(spec, fitted)
        cases = [
            Case(t, spec, world, single, pads, unknown, b, profile)
            for t, b in zip(spec.terms, fitted.terms, strict=True)
        ]
        approach(cases)
        for case in cases:
            if case.term.iterates is not None:
                case.broken = "it is a map and has no value"
    for case, check in itertools.product(cases, chosen[0]):
        if case.broken:
            yield Result(check.__name__, case.name, "skipped", case.broken)
        else:
            yield from _made(check, case, case.name)
    method = Whole(spec, build, cases, world, unknown, fitted)
    for check in chosen[1]:
        yield from _made(check, method, spec.name)


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
        yield Result(
            check.__name__,
            about,
            "failed",
            f"{about}: the check of {check.__name__} stops at {first_line(error)}",
        )
