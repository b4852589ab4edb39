"""check_spec: shipped methods pass, planted faults are each odd but right terms pass."""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unigrn import (
    Blocks,
    Data,
    Spec,
    along,
    box,
    budget,
    component_analysis,
    expected_gaussian,
    huber,
    l0,
    l1,
    laplacian,
    least_squares,
    methods,
    no_self,
    nonnegative,
    prior_l1,
    ridge,
    sign,
    support,
)
from unigrn.losses import loss
from unigrn.methods.generative import Start
from unigrn.neighbours import Alike, KnownEdges
from unigrn.regularizers import Fused, KlGaussian, regularizer
from unigrn.terms import (
    Constraint,
    Lines,
    Loss,
    Quadratic,
    Regularizer,
    Spread,
    Squares,
    pytree,
    static,
)
from unigrn.verify import check_spec
from unigrn.verify.checks import SPEC_CHECKS, TERM_CHECKS, CheckReport, Result, SpecError

README = Path(__file__).resolve().parent.parent / "README.md"
FEW = 6  # examples: the faults are not subtle


# Of a list of strengths a term has no value: a solver chooses among them.
CHOSEN = {
    "known_targets": functools.partial(
        methods.get("known_targets").function, strength=1.0, even=0.5
    )
}


def timed(cells=20, genes=6):
    """Data with what the method asks for beside the expression."""
    rng = np.random.default_rng(0)
    names = [f"g{i}" for i in range(genes)]
    data = Data.from_arrays(rng.normal(size=(cells, genes)), names)
    return data.with_extra(pseudotime=rng.random(cells))


def beside_bulk(cells=20, genes=4):
    """Data with bulk accessibility of three peaks, and the peak of every pair of genes."""
    rng = np.random.default_rng(0)
    names = [f"g{i}" for i in range(genes)]
    data = Data.from_arrays(rng.normal(size=(cells, genes)), names)
    peak = rng.integers(0, 3, (genes, genes))
    return data.with_extra(
        bulk=along(rng.gamma(4, 1, (3, 2)), "peaks", "replicates"),
        peak=along(peak, "regulators", "targets", names=(names, names)),
    )


BESIDE = {"scode": timed, "symphony": beside_bulk}


@pytest.mark.parametrize("name", methods.names())
def test_shipped_methods_pass(name):
    report = check_spec(CHOSEN.get(name, name), data=BESIDE.get(name, lambda: None)())
    assert report, report
    assert {"value", "purity", "padding", "planned", "solved"} <= {r.name for r in report}
    # A map has no value and no gradient: it is solved, and what it is of.
    asked = ("solved", "blocks") if name == "panda" else ("value", "gradient", "solved")
    assert not any(r.skipped for r in report if r.name in asked)


# --- Faults ----------------------------------------------------------------------------------


def squared(params, data, prior, strength):
    return strength * jnp.sum(params.theta**2)


class Penalty(Regularizer):
    """|theta|^2, for terms with one wrong claim."""

    separable = "entries"

    def __call__(self, params, data, prior):
        return jnp.sum(params.theta**2)


class Positive(Constraint):
    """theta >= 0, likewise."""

    separable = "entries"
    convex = True

    def __call__(self, params, data, prior):
        return jnp.max(jnp.maximum(-params.theta, 0))

    def project(self, v, prior):
        return jnp.maximum(v, 0)


COUNTER = [0.0]


def impure(params, data, prior):
    COUNTER[0] += 1
    return squared(params, data, prior, 1.0) + COUNTER[0]


def at_random(params, data, prior):
    return jnp.sum(params.theta**2) * np.random.default_rng().random()


def mean(params, data, prior):
    return jnp.mean(params.theta**2)


def decides(params, data, prior):
    return jnp.sum(params.theta**2) if jnp.sum(params.theta) > 0 else jnp.sum(params.theta) * 0


def with_numpy(params, data, prior):
    return np.sum(np.asarray(params.theta) ** 2)


def with_float(params, data, prior):
    return jnp.sum(params.theta**2) * float(jnp.sum(prior.weight))


def selects(params, data, prior):
    return jnp.sum(params.theta[prior.support] ** 2)


def stopped(params, data, prior):
    return jnp.sum(params.theta * jax.lax.stop_gradient(params.theta))


@jax.custom_jvp
def wrongly_bent(theta):
    return jnp.sum(theta**2)


@wrongly_bent.defjvp
def _(primals, tangents):
    return wrongly_bent(*primals), jnp.sum(primals[0] * tangents[0])


def custom(params, data, prior):
    return wrongly_bent(params.theta)


def traced(params, data, prior):
    factor = 2.0 if isinstance(params.theta, jax.core.Tracer) else 1.0
    return factor * jnp.sum(params.theta**2)


def many(params, data, prior):
    return params.theta**2


def nothing(params, data, prior):
    return None


def counts(params, data, prior):
    return jnp.sum((params.theta > 0).astype(jnp.int32))


def narrow(params, data, prior):
    return jnp.sum(params.theta.astype(jnp.float32) ** 2)


def wide(params, data, prior):
    return jnp.sum(params.theta**2 * jnp.ones(params.theta.shape))


def rooted(params, data, prior):
    return jnp.sqrt(jnp.sum(params.theta**2))


def coupling(params, data, prior):
    return jnp.sum(params.theta) ** 2


def bent(params, data, prior):
    return jnp.sum(jnp.log1p(params.theta**2))


def by_row(params, data, prior):
    return params.theta[0] ** 2 if params.theta.ndim == 1 else jnp.sum(params.theta[0] ** 2)


def fixed_size(params, data, prior):
    return jnp.sum(params.theta**2 * jnp.arange(4.0).astype(params.theta.dtype))


def with_intercept(params, data, prior):
    return jnp.sum(params.theta**2) + jnp.sum(params.intercept**2)


def with_matrix(params, data, prior):
    return jnp.sum((params.theta.T @ params.theta) ** 2) + jnp.sum(params.theta[:, 0])


def residual(params, data):
    return data.y - data.x @ params.theta


def over_scale(params, data, prior):
    centred = data.y - jnp.mean(data.y, axis=0, keepdims=data.y.ndim > 1)
    return jnp.sum(residual(params, data) ** 2) / jnp.sum(centred**2)


def first_cell(params, data, prior):
    return jnp.sum(residual(params, data)[0] ** 2)


def steps_between_cells(params, data, prior):
    return jnp.sum(jnp.diff(residual(params, data), axis=0) ** 2)


def plain_squares(params, data, prior):
    return jnp.sum(residual(params, data) ** 2)


def weighs(params, data, prior):
    r = residual(params, data) ** 2
    return jnp.sum(data.weight * r if r.ndim == 1 else data.weight[:, None] * r)


def noise(params, data, prior):
    jolt = jax.random.normal(data.key, params.theta.shape, params.theta.dtype)
    return jnp.sum((params.theta + 0.1 * jolt) ** 2)


def minibatch(params, data, prior):
    keep = jax.random.bernoulli(data.key, 0.5, data.y.shape)
    return jnp.sum(jnp.where(keep, residual(params, data) ** 2, 0))


class OwnMean(Penalty):
    """A term of unigrn's own, whose lists are padded whatever it does."""

    def __call__(self, params, data, prior):
        return jnp.mean(params.theta**2)


OwnMean.__module__ = "unigrn.planted"
OwnMean = pytree(OwnMean)
OwnMean.__module__ = "unigrn.planted"


def absolute_sum(params, data, prior):
    return 20.0 * jnp.sum(jnp.abs(params.theta))


def weighs_entries(params, data, prior, w):
    return jnp.sum(w * params.theta**2)


@pytree
class Filling(Penalty):
    """Its prox moves entries that are no candidates away from 0."""

    kink = True

    def prox(self, v, step, data, prior, params=None):
        return jnp.where(prior.support, v / (1 + 2 * step), 1.0)


@pytree
class WrongAbsoluteToo(Regularizer):
    """Its prox is right, and the weights from which the joint prox is made are not."""

    separable = "entries"
    convex = True

    def __call__(self, params, data, prior):
        return jnp.sum(jnp.abs(params.theta))

    def absolute(self, data, prior):
        return jnp.full_like(prior.weight, 0.5)

    def prox(self, v, step, data, prior, params=None):
        return jnp.sign(v) * jnp.maximum(jnp.abs(v) - step, 0)


@pytree
class WrongProx(Penalty):
    kink = True

    def prox(self, v, step, data, prior, params=None):
        return v / (1 + step)  # forgets the 2 of the derivative


@pytree
class SmallLipschitz(Penalty):
    def lipschitz(self, data, prior):
        return jnp.ones_like(prior.weight[..., 0]).sum() / prior.weight[..., 0].size


@pytree
class WrongQuadratic(Penalty):
    def quadratic(self, data, prior):
        zero = jnp.zeros_like(prior.weight)
        return Quadratic(jnp.zeros((), zero.dtype), zero + 0.5, jnp.zeros((), zero.dtype))


@pytree
class WrongSpread(KlGaussian):
    def spread(self, data, prior):
        found = super().spread(data, prior)
        return Spread(found.quadratic, found.rate, 2 * found.count)


@pytree
class Both(Penalty):
    def __call__(self, params, data, prior):
        return jnp.sum(jnp.sum(params.theta, axis=0) ** 2)


@pytree
class WrongAbsolute(Regularizer):
    separable = "entries"

    def __call__(self, params, data, prior):
        return jnp.sum(jnp.abs(params.theta))

    def absolute(self, data, prior):
        return 2 * jnp.ones_like(prior.weight)


@pytree
class WrongPrice(Regularizer):
    separable = "entries"

    def __call__(self, params, data, prior):
        return jnp.sum((params.theta != 0).astype(params.theta.dtype))

    def price(self, params, data, prior):
        return jnp.full_like(prior.weight, 0.5)

    def prox(self, v, step, data, prior, params=None):
        return jnp.where(jnp.abs(v) > jnp.sqrt(2 * step), v, 0)


@pytree
class WrongSquares(Loss):
    blocks = ("A", "theta")
    linear = ("A", "theta")

    def __call__(self, params, data, prior):
        return jnp.sum((data.y - params.A.T @ params.theta) ** 2)

    def squares(self, block, params, data, prior):
        if block == "theta":
            return Squares(params.A, 2 * data.y)
        return Squares(params.theta, data.y.T)


@pytree
class Drifting(Positive):
    def project(self, v, prior):
        return jnp.where(v > 0, v / 2, 0)


@pytree
class Elsewhere(Positive):
    def project(self, v, prior):
        return v - 1


@pytree
class Reflecting(Positive):
    """Convex for the checks that need no distance: feasible, idempotent, expansive."""

    def project(self, v, prior):
        return jnp.where(v < 0, -5 * v, v)


@pytree
class Thick(Constraint):
    """Not convex, and its exact projection expands: at least 1 away from 0."""

    separable = "entries"
    convex = True

    def __call__(self, params, data, prior):
        own = jnp.where(prior.valid, jnp.maximum(1 - jnp.abs(params.theta), 0), 0)
        return jnp.max(own)

    def project(self, v, prior):
        return jnp.where(jnp.abs(v) < 1, jnp.where(v < 0, -1.0, 1.0), v)


@pytree
class Bare(Constraint):
    """A set with no projection."""

    separable = "entries"

    def __call__(self, params, data, prior):
        return jnp.max(jnp.maximum(-params.theta, 0))


@pytree
class Doubled(Penalty):
    strength: Any = 1.0

    def __call__(self, params, data, prior):
        return self.strength * jnp.sum(params.theta**2)

    def prepare(self, data, prior):
        return Doubled(2 * self.strength)


@pytree
class TwiceKnown(KnownEdges):
    def __call__(self, params, data, prior):
        return 2 * KnownEdges.__call__(self, params, data, prior)


@pytree
class TwiceAlike(Alike):
    def __call__(self, params, data, prior):
        return 2 * Alike.__call__(self, params, data, prior)


@pytree
class Runaway(Penalty):
    kink = True

    def prox(self, v, step, data, prior, params=None):
        return v + 1


@pytree
class ZeroOutside(Positive):
    def __call__(self, params, data, prior):
        return 0 * jnp.sum(params.theta)


@pytree
class Negative(Positive):
    def __call__(self, params, data, prior):
        return jnp.max(-params.theta)


@pytree
class WrongInterval(Positive):
    def interval(self, prior):
        return -jnp.ones_like(prior.weight), jnp.full_like(prior.weight, jnp.inf)


@pytree
class WrongMask(Constraint):
    separable = "entries"

    def __call__(self, params, data, prior):
        return jnp.max(jnp.abs(jnp.where(prior.support, 0, params.theta)))

    def allows(self, prior):
        return prior.weight > 0.5


@pytree
class WrongBudget(Constraint):
    def __call__(self, params, data, prior):
        return jnp.maximum(jnp.sum((params.theta != 0).astype(params.theta.dtype)) - 2, 0)

    def budget(self, prior):
        return prior.valid, 3


@pytree
class Static(Penalty):
    strength: float = static(default=2.0)


@dataclasses.dataclass(frozen=True)
class NoPytree(Penalty):
    strength: float = 2.0


@functools.partial(jax.tree_util.register_dataclass, data_fields=("strength",), meta_fields=())
@dataclasses.dataclass(frozen=True)
class Registered(Penalty):
    strength: float = 2.0


@functools.partial(jax.tree_util.register_dataclass, data_fields=("strength",), meta_fields=())
@dataclasses.dataclass(frozen=True)
class Checking(Penalty):
    strength: float = 2.0

    def __post_init__(self):
        if self.strength <= 0:
            raise ValueError("strength")


@pytree
class Named(Penalty):
    layer: Any = "motif"


@pytree
class Quiet(Loss):
    separable = "targets"
    noisy = True

    def __call__(self, params, data, prior):
        return plain_squares(params, data, prior)


@pytree
class OwnBlock(Loss):
    blocks = ("rate", "theta")
    separable = "targets"

    def __call__(self, params, data, prior):
        return plain_squares(params, data, prior) + jnp.sum((params.rate - 1) ** 2)


def closure(strength):
    return lambda params, data, prior: strength * jnp.sum(params.theta**2)


def start_of(**shapes):
    def start(data, prior, key, terms):
        return Blocks(
            theta=jnp.zeros_like(prior.weight),
            **{b: jnp.ones(s, prior.weight.dtype) for b, s in shapes.items()},
        )

    return start


def penalised(term, **more):
    return Spec(least_squares(), term, **more)


def limited(term):
    return Spec(least_squares(), None, term)


@pytree
class HalfLines(Fused):
    def lines(self, data, prior):
        return super().lines(data, prior).times(0.5)

    def __call__(self, params, data, prior):
        return 2 * super().__call__(params, data, prior)


@pytree
class SummedLines(Fused):
    def lines(self, data, prior):
        found = super().lines(data, prior)
        return Lines(jnp.abs(found.matrix), found.price)


class Planted(NamedTuple):
    fault: str
    spec: Any
    check: str
    words: str


def inner_method(prior, strength: float = 2.0):
    return penalised(regularizer(lambda p, d, pr: strength * jnp.sum(p.theta**2)))


def bending_method(prior, strength: float = 2.0):
    return penalised(Static(strength=strength))


FAULTS = (
    Planted("counts its calls", penalised(regularizer(impure)), "purity", "not pure"),
    Planted("draws of its own", penalised(regularizer(at_random)), "purity", "data.key"),
    Planted(
        "mean over entries in unigrn",
        penalised(OwnMean()),
        "padding",
        "instead of taking their mean",
    ),
    Planted("a kink", penalised(regularizer(absolute_sum)), "kinks", "give it a prox"),
    Planted(
        "a kink is not solved",
        Spec(loss(plain_squares), regularizer(absolute_sum)),
        "solved",
        "not solved by",
    ),
    Planted("prox fills", penalised(Filling()), "prox", "does not minimise"),
    Planted(
        "array of no length that fits",
        penalised(regularizer(weighs_entries, w=np.ones((2, 3, 4)))),
        "instances",
        "suits the arrays",
    ),
    Planted(
        "wrong joint prox",
        Spec(least_squares(), WrongAbsoluteToo() + ridge(1.0), nonnegative()),
        "absolute",
        "sum c |theta|",
    ),
    Planted("Python if", penalised(regularizer(decides)), "value", "jnp.where"),
    Planted("NumPy on tracers", penalised(regularizer(with_numpy)), "value", "calls NumPy"),
    Planted("float of a tracer", penalised(regularizer(with_float)), "value", "Python number"),
    Planted("shape by data", penalised(regularizer(selects)), "value", "depends on the data"),
    Planted("stop_gradient", penalised(regularizer(stopped)), "gradient", "stop_gradient"),
    Planted("custom_jvp", penalised(regularizer(custom)), "gradient", "not its slope"),
    Planted(
        "another value when traced", penalised(regularizer(traced)), "compilation", "when compiled"
    ),
    Planted("prepare changes it", penalised(Doubled()), "compilation", "after prepare()"),
    Planted("no scalar", penalised(regularizer(many)), "value", "of shape (4,)"),
    Planted("returns None", penalised(regularizer(nothing)), "value", "returns None"),
    Planted("whole number", penalised(regularizer(counts)), "value", "has no gradient"),
    Planted("cast to float32", penalised(regularizer(narrow)), "value", "gives float32"),
    Planted("promotes to float64", penalised(regularizer(wide)), "value", "make constants by"),
    Planted("NaN slope at 0", penalised(regularizer(rooted)), "finite", "theta = 0"),
    Planted("NaN on a constant gene", Spec(loss(over_scale)), "finite", "constant target"),
    Planted("couples targets", penalised(regularizer(coupling)), "separable", "targets separate"),
    Planted("couples entries", penalised(Both()), "separable", "sum over entries"),
    Planted("not convex", Spec(loss(bent, convex=True)), "convex", "the chord is"),
    Planted(
        "ignores weights",
        Spec(loss(plain_squares, weighted=True)),
        "weighted",
        "cells of weight 2 and 0",
    ),
    Planted("weights without saying so", Spec(loss(weighs)), "value", "declare weighted=True"),
    Planted("noisy for no reason", Spec(Quiet()), "noisy", "data.key changes nothing"),
    Planted(
        "order of regulators",
        penalised(regularizer(by_row)),
        "permutation",
        "order of the regulators",
    ),
    Planted("order of cells", Spec(loss(steps_between_cells)), "permutation", "order of the cells"),
    Planted("the first cell", Spec(loss(first_cell)), "permutation", "order of the cells"),
    Planted("one size", penalised(regularizer(fixed_size)), "padding", "one size only"),
    Planted(
        "whole network in one target",
        penalised(regularizer(with_matrix)),
        "value",
        "declare coupled=True",
    ),
    Planted(
        "block not declared",
        Spec(huber(), regularizer(with_intercept)),
        "blocks",
        "does not declare",
    ),
    Planted("wrong prox", penalised(WrongProx()), "prox", "factor of the step"),
    Planted("small lipschitz", penalised(SmallLipschitz()), "lipschitz", "gives 1, but"),
    Planted("wrong quadratic", penalised(WrongQuadratic()), "quadratic", "constant included"),
    Planted(
        "wrong spread",
        Spec(expected_gaussian(), WrongSpread(1.0, 0.1), start=Start()),
        "spread",
        "the spread of",
    ),
    Planted("wrong absolute", penalised(WrongAbsolute()), "absolute", "sum c |theta|"),
    Planted("lines of half the price", penalised(HalfLines(1.0)), "lines", "differences cost"),
    Planted("lines of sums", penalised(SummedLines(1.0)), "lines", "1 at one group, -1 at another"),
    Planted("wrong price", penalised(WrongPrice()), "price", "the edges cost"),
    Planted(
        "wrong squares",
        Spec(WrongSquares(), ridge(1.0) + ridge(1.0, "A"), start=start_of(A=(4, 8))),
        "squares",
        "squares of",
    ),
    Planted("not idempotent", limited(Drifting()), "project", "not idempotent"),
    Planted("infeasible projection", limited(Elsewhere()), "project", "not feasible"),
    Planted("not nearest", limited(Reflecting()), "project", "not the nearest"),
    Planted("expansive", limited(Thick()), "project", "expands"),
    Planted("0 outside", limited(ZeroOutside()), "feasible", "positive off the set"),
    Planted("negative inside", limited(Negative()), "feasible", "is a distance"),
    Planted("wrong interval", limited(WrongInterval()), "interval", "its interval allows"),
    Planted("wrong mask", limited(WrongMask()), "allows", "its mask (allows) forbids"),
    Planted("wrong budget", limited(WrongBudget()), "budget", "its budget allows"),
    Planted("static number", penalised(Static()), "hyperparameters", "strength = 2.0 is static"),
    Planted(
        "number in a closure",
        penalised(regularizer(closure(2.0))),
        "hyperparameters",
        "strength = 2.0 is baked",
    ),
    Planted(
        "number in a partial",
        penalised(regularizer(functools.partial(squared, strength=2.0))),
        "hyperparameters",
        "strength = 2.0 is baked",
    ),
    Planted("no pytree", penalised(NoPytree()), "hyperparameters", "is no pytree"),
    Planted(
        "structure of another class",
        penalised(Registered()),
        "hyperparameters",
        "any dataclass with like fields",
    ),
    Planted("checks on rebuilding", penalised(Checking()), "hyperparameters", "__post_init__"),
    Planted("text as a number", penalised(Named()), "hyperparameters", "no number"),
    Planted("function made anew", inner_method, "retrace", "anew on every call"),
    Planted("structure by hyperparameter", bending_method, "retrace", "another value of strength"),
    Planted("missing start", Spec(OwnBlock()), "blocks", "rate has no start"),
    Planted(
        "missing start of A", Spec(component_analysis(), ridge(1.0)), "blocks", "A has no start"
    ),
    Planted("start lacks a block", Spec(OwnBlock(), start=start_of()), "blocks", "lacks the block"),
    Planted(
        "start of an unknown block",
        Spec(OwnBlock(), start=start_of(rate=(), more=())),
        "blocks",
        "no term declares",
    ),
    Planted(
        "start of another shape",
        Spec(component_analysis(), ridge(1.0), start=start_of(A=(8, 4))),
        "blocks",
        "gives A the shape (8, 4)",
    ),
    Planted("known edges count twice", Spec(TwiceKnown()), "observed", "says that the squares are"),
    Planted("kernel of half the price", penalised(TwiceAlike(0.5, 1.0)), "kernel", "tr(theta K^-1"),
    Planted("solution worse than the start", penalised(Runaway()), "solved", "is not solved by"),
    Planted(
        "no solver",
        penalised(l1(1.0) + regularizer(bent), constraint=Bare()),
        "planned",
        "no solver takes",
    ),
)


@pytest.mark.parametrize("planted", FAULTS, ids=lambda planted: planted.fault)
def test_planted_faults_are_caught_with_their_own_message(planted):
    report = check_spec(planted.spec, examples=FEW, only=("value", planted.check))
    messages = [r.message for r in report if r.failed and r.name == planted.check]
    assert any(planted.words in m for m in messages), report
    assert not report and planted.words in str(report)
    with pytest.raises(SpecError, match="checks failed"):
        report.raise_()


def test_there_is_a_fault_for_every_check():
    checks = {check.__name__ for check in (*TERM_CHECKS, *SPEC_CHECKS)}
    assert checks | {"instances"} == {planted.check for planted in FAULTS}


def test_messages_name_the_term_and_its_numbers():
    report = check_spec(penalised(OwnMean()), examples=FEW, only=("value", "padding"))
    (failure,) = report.failures
    assert failure.message.startswith("regularizer OwnMean changes when padded entries are added (")
    assert isinstance(report.raise_, object) and "1 FAILED" in str(report)


# --- No false alarms -------------------------------------------------------------------------


def absolute_error(params, data, prior):
    size = jnp.abs(residual(params, data) - params.intercept)
    return jnp.sum(data.weight * size if size.ndim == 1 else data.weight[:, None] * size)


def one_target_only(params, data, prior):
    return jnp.sum(data.weight * jnp.log1p(residual(params, data) ** 2))


def counts_of_molecules(params, data, prior):
    fitted = data.x @ params.theta
    return jnp.sum(jnp.exp(fitted) - data.y * fitted)


def unused(params, data, prior):
    return 0.0


def alike(params, data, prior, strength):
    return strength * jnp.sum(jnp.sum(params.theta, axis=1) ** 2)


@pytree
class GroupNorm(Regularizer):
    """The norm of a target's coefficients: a prox, entries do not separate."""

    strength: Any

    separable = "targets"
    convex = True

    def __call__(self, params, data, prior):
        return self.strength * jnp.sum(jnp.sqrt(jnp.sum(params.theta**2, axis=0)))

    def prox(self, v, step, data, prior, params=None):
        size = jnp.sqrt(jnp.sum(v**2, axis=0, keepdims=True))
        return v * jnp.maximum(1 - step * self.strength / jnp.maximum(size, 1e-30), 0)


@pytree
class Ball(Constraint):
    """At most length 1 for each target: a projection, no interval."""

    separable = "targets"
    convex = True

    def __call__(self, params, data, prior):
        return jnp.maximum(jnp.max(jnp.sqrt(jnp.sum(params.theta**2, axis=0))) - 1, 0)

    def project(self, v, prior):
        return v / jnp.maximum(jnp.sqrt(jnp.sum(v**2, axis=0, keepdims=True)), 1)


@pytree
class Minibatch(Loss):
    separable = "targets"
    noisy = True

    def __call__(self, params, data, prior):
        return minibatch(params, data, prior)


@pytree
class Exactly(Penalty):
    """A quadratic with every part, and bounds that are as small as can be."""

    centre: Any

    convex = True
    separable = "entries"

    def __call__(self, params, data, prior):
        gap = jnp.where(prior.valid, params.theta - self.centre * prior.weight, 0)
        return 3.0 * jnp.sum(gap**2)

    def quadratic(self, data, prior):
        pull = 3 * self.centre * prior.weight
        return Quadratic(
            jnp.zeros((), pull.dtype),
            jnp.full_like(pull, 3),
            jnp.sum(pull * self.centre * prior.weight),
            pull,
        )

    def lipschitz(self, data, prior):
        return jnp.asarray(6.0, prior.weight.dtype)


def rate_start(data, prior, key, terms):
    return Blocks(theta=jnp.zeros_like(prior.weight), rate=jnp.full((), 0.5, prior.weight.dtype))


def activity_start(data, prior, key, terms):
    cells = data.y.shape[0]
    return Blocks(theta=prior.weight, A=jnp.ones((prior.weight.shape[0], cells), data.y.dtype))


RIGHT = {
    "absolute error": Spec(
        loss(absolute_error, weighted=True, convex=True, blocks=("intercept", "theta"))
    ),
    "one target only": Spec(loss(one_target_only, weighted=True), ridge(1.0)),
    "exponential": Spec(loss(counts_of_molecules, convex=True), ridge(1.0)),
    "a constant": penalised(regularizer(unused)),
    "coupled function": penalised(regularizer(alike, coupled=True, strength=2.0)),
    "group norm": penalised(GroupNorm(0.5)),
    "ball": limited(Ball()),
    "minibatch": Spec(Minibatch()),
    "a block of its own": Spec(OwnBlock(), start=rate_start),
    "quadratic with every part": penalised(Exactly(0.5)),
    "scaled sums": Spec(
        2 * huber(0.7) + 0.5 * least_squares(),
        0 * ridge(1.0) + 3 * l1(0.1),
        support("chip") + sign() + box(-1, 2),
    ),
    "no intercept": Spec(
        least_squares(intercept=False, mean=True),
        prior_l1(1e6, 0.0, "chip"),
        nonnegative() + no_self(),
    ),
    "price and network": Spec(
        component_analysis(),
        l0(0.3) + laplacian(1.0, 0.1) + ridge(1.0) + ridge(1e-8, "A"),
        box(-1, 1, "A"),
        start=activity_start,
    ),
    "budget": Spec(least_squares(), ridge(1.0), budget(5)),
    "noisy ELBO": methods.get("linear_gaussian").function(None, draws=2),
}


# Solvers compile longest and have tests of their own: some of these are solved, all are planned.
CHEAP = tuple(
    check.__name__ for check in (*TERM_CHECKS, *SPEC_CHECKS) if check.__name__ != "solved"
)
SOLVED = ("coupled function", "group norm", "quadratic with every part", "price and network")


@pytest.mark.parametrize("name", RIGHT)
def test_right_but_unusual_methods_pass(name):
    report = check_spec(RIGHT[name], examples=FEW, only=None if name in SOLVED else CHEAP)
    assert report, report


def acyclic(params, data, prior):
    return jnp.trace(jax.scipy.linalg.expm(params.theta**2))


def minus_logdet(params, data, prior):
    x = data.x - jnp.mean(data.x, 0, keepdims=True)
    covariance = x.T @ x / x.shape[0]
    return -jnp.linalg.slogdet(params.theta)[1] + jnp.sum(params.theta * covariance)


def start_at_one(data, prior, key, terms):
    return Blocks(theta=jnp.eye(prior.weight.shape[0], dtype=prior.weight.dtype))


def smooth_over_graph(params, data, prior, L):
    return jnp.sum(params.theta * (L @ params.theta))


def logs(params, data, prior):
    return jnp.sum((params.theta - 2) ** 2 - 0.01 * jnp.log(params.theta))


def start_inside(data, prior, key, terms):
    return Blocks(theta=jnp.full_like(prior.weight, 2.0))


def poisson(params, data, prior):
    eta = params.intercept + data.x @ params.theta
    return jnp.sum(jnp.exp(eta) - data.y * eta)


def steep(params, data, prior):
    return jnp.sum(jnp.exp(8 * data.x @ params.theta) - data.y * (data.x @ params.theta))


def mean_of_target(params, data, prior):
    return jnp.sum(jnp.mean(params.theta**2, axis=0))


def by_depth(params, data, prior):
    return jnp.sum(residual(params, data) ** 2 / data.extra["depth"])


NAMED_EIGHT = [f"tf{i}" for i in range(8)]
NEW_SHAPES = {
    "acyclic": (penalised(regularizer(acyclic, coupled=True), constraint=no_self()), ""),
    "log determinant": (
        Spec(loss(minus_logdet, coupled=True), ridge(0.05), start=start_at_one),
        "",
    ),
    "graph over 8": (penalised(regularizer(smooth_over_graph, coupled=True, L=np.eye(8))), ""),
    "weights of 16 by position": (
        penalised(regularizer(weighs_entries, w=np.arange(1.0, 17) ** 2)),
        "",
    ),
    "weights of 8 by name": (
        penalised(
            regularizer(weighs_entries, w=along(np.arange(1.0, 9), "regulators", names=NAMED_EIGHT))
        ),
        "",
    ),
    "weights, whole network": (
        penalised(
            regularizer(
                weighs_entries, coupled=True, w=along(np.ones((4, 3)), "regulators", "targets")
            )
        ),
        "",
    ),
    "Poisson": (Spec(loss(poisson, blocks=("theta", "intercept"), convex=True), ridge(1.0)), ""),
    "steep exponential": (Spec(loss(steep, convex=True), ridge(1.0)), ""),
    "start outside 0": (Spec(loss(plain_squares), regularizer(logs), start=start_inside), ""),
    "noise found by tracing": (Spec(loss(noise)), "found by tracing"),
    "mean over candidates": (penalised(regularizer(mean_of_target)), "lists of their own length"),
}


@pytest.mark.parametrize("name", NEW_SHAPES)
def test_methods_of_other_shapes_pass(name):
    spec, words = NEW_SHAPES[name]
    report = check_spec(spec, examples=FEW, only=CHEAP)
    assert report, report
    assert words in str(report)


def test_shapes_and_external_arrays_are_those_of_the_data():
    rng = np.random.default_rng(0)
    data = Data.from_arrays(rng.normal(size=(12, 5)), [f"g{i}" for i in range(5)])
    data = data.with_extra(depth=rng.uniform(1, 2, 12))
    report = check_spec(Spec(loss(by_depth), ridge(1.0)), examples=FEW, only=CHEAP, data=data)
    assert report, report
    many = Data.from_arrays(np.zeros((3, 60)), [f"g{i}" for i in range(60)])
    with pytest.raises(ValueError, match="give fewer genes"):
        check_spec(Spec(loss(plain_squares)), data=many)


@pytest.mark.parametrize("name", ["graph over 8", "weights of 8 by name"])
def test_methods_with_arrays_are_solved(name):
    report = check_spec(NEW_SHAPES[name][0], examples=FEW, only=("value", "solved"))
    assert report and "converged" in str(report), report


def declared_in_the_readme():
    code = next(
        b
        for b in re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.S)
        if "def robust_ridge" in b
    )
    kept = [
        n
        for n in ast.parse(code).body
        if isinstance(n, ast.ImportFrom | ast.Import | ast.FunctionDef)
    ]
    names: dict[str, Any] = {}
    exec("import unigrn", names)
    exec(compile(ast.Module(kept, []), "README.md", "exec"), names)
    return [
        names[n.name]
        for n in kept
        if n.__class__ is ast.FunctionDef and n.args.args[0].arg == "prior"
    ]


def test_methods_of_the_readme_pass():
    found = declared_in_the_readme()
    assert len(found) == 2
    for method in found:
        report = check_spec(method, examples=FEW, only=CHEAP)
        assert report and report.name == method.__name__, report


# --- The report ------------------------------------------------------------------------------


def test_report_iterates_and_prints():
    spec = penalised(l1(0.5), name="lasso")
    with jax.enable_x64(False):
        report = check_spec(spec, examples=FEW, seed=3)
        assert jnp.ones(1).dtype == np.float32  # JAX's settings are left as they were
    assert report and not report.failures and report.raise_() is report
    assert len(report) == len(list(report))
    assert all(isinstance(r, Result) and r.passed != r.skipped for r in report)
    text = str(report)
    assert text.startswith("lasso: passed (") and "active sets on moments" in text
    assert {r.about for r in report} == {spec.loss.formula, spec.regularizer.formula, "lasso"} or {
        r.about for r in report
    } == {f"loss {spec.loss.formula}", f"regularizer {spec.regularizer.formula}", "lasso"}
    assert str(check_spec(spec, examples=FEW, seed=3)) == text
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.name = "other"


def test_hyperparameters_are_passed_on():
    assert check_spec("masked_lasso", FEW, only=("planned",), strength=1.0)
    with pytest.raises(ValueError, match="no parameter 'strenght'"):
        check_spec("masked_lasso", strenght=1.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("celoracle", "no method 'celoracle'"),
        (3, "a Spec, got int"),
        (lambda prior: least_squares(), "returns a Spec"),
    ],
)
def test_what_is_no_method_is_refused(given, words):
    with pytest.raises((ValueError, TypeError), match=words):
        check_spec(given)


def test_terms_that_refuse_the_instances_are_told():
    @pytree
    class Refusing(Penalty):
        def check(self, prior):
            raise ValueError("no prior suits")

    report = check_spec(penalised(Refusing()), examples=FEW)
    assert "no prior suits" in report.failures[0].message
    assert isinstance(report, CheckReport)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: check_spec(s, only=("valeu",)), ValueError, "no check 'valeu'.*mean value"),
        (lambda s: check_spec(s, only="speed"), ValueError, "there is no check 'speed'"),
        (lambda s: check_spec(s, data=3), TypeError, "data must be Data, got int"),
        (lambda s: check_spec(s.regularizer), TypeError, "got Ridge, a term: put it into a Spec"),
        (lambda s: check_spec(s, "a"), ValueError, "examples must be a whole number >= 3, got 'a'"),
    ],
)
def test_odd_arguments_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(Spec(least_squares(), ridge(1.0)))


def test_nothing_checked_is_nothing_passed():
    report = check_spec(Spec(least_squares(), ridge(1.0)), examples=3, only=())
    assert not report and "NOTHING CHECKED" in str(report)
    with pytest.raises(SpecError, match="nothing is shown"):
        report.raise_()
