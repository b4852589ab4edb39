"""Terms: what each claims of itself is checked against its definition, in NumPy.

`CASES` holds an instance of every built-in term, alone, scaled and summed. Each test asks the
instances which of them claim a capability, and checks those; a new class, a new constructor or a
new capability without a place here fails a test of its own.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unigrn
from unigrn import constraints, losses, regularizers
from unigrn.constraints import box, no_self, nonnegative, sign, support
from unigrn.losses import Huber, gaussian, gaussian_evidence, huber, least_squares, loss
from unigrn.regularizers import L1, Ridge, elastic_net, l1, prior_l1, regularizer, ridge
from unigrn.solvers.split import is_kink, split, stationarity
from unigrn.spec import Spec
from unigrn.terms import (
    Blocks,
    Constraint,
    Loss,
    Moments,
    PriorView,
    Quadratic,
    Regularizer,
    Scaled,
    Sum,
    Term,
    View,
    add,
    capabilities,
    parts,
    pytree,
    scale,
)

pytestmark = pytest.mark.usefixtures("x64")

# Three different sizes, so that a transposed array does not pass.
CELLS, CANDIDATES, TARGETS = 7, 4, 3
BATCH = 6  # points in one compiled call
PAD = 3
REPEATED = 10  # cells after repetition by their weights

# The x64 fixture is a switch that stays on for all examples of a test.
# An example is a world with a batch of points; a case is compiled once for all its examples.
EXAMPLES = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


# --- The data ---------------------------------------------------------------------------------


def moments_of(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> Moments:
    """Weighted, centred sums, as `Moments` defines them."""
    count = w.sum()
    mean_x, mean_y = w @ x / count, w @ y / count
    x, y = x - mean_x, y - mean_y
    return Moments((x.T * w) @ x, (x.T * w) @ y, w @ y**2, np.asarray(count), mean_x,
                   np.asarray(mean_y))


class World:
    """Cells, targets, a prior and random numbers, all from one seed."""

    def __init__(self, seed: int, offset: float):
        self.seed, self.offset = seed, offset
        self.rng = rng = np.random.default_rng(seed)
        shared = rng.normal(size=(CELLS, 1)) * rng.choice([0.0, 3.0])
        self.x = rng.normal(size=(CELLS, CANDIDATES)) + shared + offset * rng.normal(
            size=CANDIDATES)
        self.y = (self.x @ rng.normal(size=(CANDIDATES, TARGETS))
                  + rng.normal(size=(CELLS, TARGETS)) + offset * rng.normal(size=TARGETS))
        self.weight = rng.integers(0, 4, CELLS).astype(float)
        self.weight[:3] += 1
        shape = (CANDIDATES, TARGETS)
        evidence = np.where(rng.random(shape) < 0.6, rng.choice([0.3, 1.0, 2.5], shape), 0)
        atac = evidence * rng.choice([0, 0.5, 1], shape)
        self.table = PriorView(
            support=evidence > 0, weight=evidence,
            sign=np.where(evidence > 0, rng.integers(-1, 2, shape), 0).astype(np.int32),
            self_edge=np.arange(CANDIDATES)[:, None] == rng.integers(0, 2 * CANDIDATES, TARGETS),
            valid=np.ones(shape, bool), layers={"atac": atac, "motif": evidence - atac})

    def __repr__(self) -> str:
        return f"World(seed={self.seed}, offset={self.offset})"

    def prior(self, target: int | None = 0) -> PriorView:
        """One target's column of the prior; all of it for None."""
        return self.table if target is None else jax.tree.map(lambda a: a[:, target], self.table)

    def rows(self, target: int | None = 0) -> View:
        return View(None, self.x, self.y if target is None else self.y[:, target], self.weight)

    def moments(self, target: int | None = 0) -> View:
        w, y = self.weight, self.y if target is None else self.y[:, target]
        return View(moments_of(self.x, y, w))

    def view(self, kind: str, target: int | None = 0) -> View:
        return self.rows(target) if kind == "rows" else self.moments(target)

    def theta(self, *shape: int) -> np.ndarray:
        """Coefficients, some of them 0 and some of them whole numbers."""
        out = self.rng.normal(size=shape) * self.rng.choice([0.1, 1.0, 3.0])
        return np.where(self.rng.random(shape) < 0.2, np.rint(out), out)

    def params(self, term: Term, theta: np.ndarray, *tail: int) -> Blocks:
        """Blocks of a batch of points: ``theta`` (B, ...) and what else the term needs."""
        shape = (len(theta), *tail)
        more = {name: self.rng.normal(size=shape) if name == "intercept"
                else np.exp(self.rng.normal(size=shape)) for name in term.blocks if name != "theta"}
        return Blocks(theta=theta, **more)


worlds = st.builds(World, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 30.0]))
entries = st.floats(-4, 4, width=16)
vectors = hnp.arrays(np.float64, CANDIDATES, elements=entries, fill=st.nothing())
steps = st.floats(0.05, 3.0)


# --- The terms and their definitions ----------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """A term, and its definition in NumPy: ``value(theta, rows, prior, blocks)`` for one target.

    ``views`` are the forms of data it takes for one target, ``network`` those it takes for all.
    """

    name: str
    term: Term
    value: Callable[..., float]
    views: tuple[str, ...] = ("rows",)
    network: tuple[str, ...] = ("rows",)
    bounds: Callable[[PriorView], tuple[np.ndarray, np.ndarray]] | None = None


def squares(theta, rows, intercept=True):
    residual = rows.y - rows.x @ theta
    if intercept:
        residual = residual - np.average(residual, weights=rows.weight)
    return rows.weight @ residual**2


def of_least_squares(intercept=True, mean=False):
    def value(theta, rows, prior, blocks):
        return squares(theta, rows, intercept) / (rows.weight.sum() if mean else 1)
    return value


def of_gaussian(variance=None):
    def value(theta, rows, prior, blocks):
        count = rows.weight.sum()
        s2 = squares(0 * theta, rows) / count if variance is None else variance
        return squares(theta, rows) / (2 * s2) + count / 2 * math.log(2 * math.pi * s2)
    return value


def of_huber(delta):
    def value(theta, rows, prior, blocks):
        r = np.abs(rows.y - blocks["intercept"] - rows.x @ theta)
        return rows.weight @ np.where(r <= delta, r**2, 2 * delta * r - delta**2)
    return value


def of_evidence(h):
    def value(theta, rows, prior, blocks):
        a, lam = blocks["noise_precision"], blocks["weight_precision"]
        w, k = rows.weight, int(np.sum(prior.valid))
        x = (rows.x - w @ rows.x / w.sum())[:, prior.valid]
        _, logdet = np.linalg.slogdet(a * (x.T * w) @ x + lam * np.eye(k))
        return (a * squares(theta, rows) + lam * theta @ theta + logdet - w.sum() * np.log(a)
                - k * np.log(lam) + 2 * h * (a + lam) - 2 * h * (np.log(a) + np.log(lam)))
    return value


def smooth_error(params, data, prior, width):
    r = (data.y - data.x @ params.theta) / width
    value = jnp.sqrt(1 + r**2) - 1
    return jnp.sum(data.weight * value if value.ndim == 1 else data.weight[:, None] * value)


def of_smooth_error(theta, rows, prior, blocks):
    return rows.weight @ (np.sqrt(1 + ((rows.y - rows.x @ theta) / 2.0)**2) - 1)


def smooth_price(params, data, prior, strength):
    return strength * jnp.sum((1 + prior.weight) * (jnp.sqrt(1 + params.theta**2) - 1))


def of_smooth_price(theta, rows, prior, blocks):
    return 0.7 * np.sum((1 + prior.weight) * (np.sqrt(1 + theta**2) - 1))


def of_ridge(alpha):
    return lambda theta, rows, prior, blocks: alpha * np.sum(theta**2)


def of_l1(strength):
    return lambda theta, rows, prior, blocks: strength * np.sum(np.abs(theta))


def price(strength, bias, layer=None):
    """Weights of prior_l1: full without evidence, ``bias`` times that from weight 1 on."""
    def weights(prior):
        p = np.minimum(prior.weight if layer is None else prior.layers[layer], 1)
        return strength * ((1 - p) + p * bias)
    return weights


def of_prior_l1(*args):
    return lambda theta, rows, prior, blocks: np.sum(price(*args)(prior) * np.abs(theta))


def times(factor, value):
    return lambda *args: factor * value(*args)


def plus(*values):
    return lambda *args: sum(value(*args) for value in values)


@pytree
class Pull(Regularizer):
    """A ridge towards ``centre``: diagonal and linear parts, and no prox of its own."""

    strength: Any
    centre: Any

    separable = "entries"
    convex = True

    def __call__(self, params, data, prior):
        return self.strength * jnp.sum((params.theta - self.centre)**2)

    def quadratic(self, data, prior):
        one = jnp.ones_like(prior.weight)
        return Quadratic(jnp.zeros(()), one * self.strength,
                         self.strength * self.centre**2 * jnp.sum(one),
                         one * self.strength * self.centre)


def of_pull(strength, centre):
    return lambda theta, rows, prior, blocks: strength * np.sum((theta - centre)**2)


def of_set(bounds):
    def value(theta, rows, prior, blocks):
        low, high = bounds(prior)
        return max(0, np.max(low - theta), np.max(theta - high))
    return value


def only(mask):
    return lambda prior: (np.where(mask(prior), -np.inf, 0), np.where(mask(prior), np.inf, 0))


def between(low, high):
    return lambda prior: (np.full(prior.weight.shape, low), np.full(prior.weight.shape, high))


def signed(prior):
    return np.where(prior.sign > 0, 0, -np.inf), np.where(prior.sign < 0, 0, np.inf)


def meet(*bounds):
    def both(prior):
        low, high = zip(*(b(prior) for b in bounds), strict=True)
        return np.max(low, axis=0), np.min(high, axis=0)
    return both


on_support, on_layer = only(lambda p: p.support), only(lambda p: p.layers["atac"] > 0)
off_self = only(lambda p: ~p.self_edge)


def constraint_case(name: str, term: Term, bounds: Callable) -> Case:
    return Case(name, term, of_set(bounds), bounds=bounds)


BOTH, ROWS, MOMENTS = ("rows", "moments"), ("rows",), ("moments",)

CASES = (
    Case("least_squares", least_squares(), of_least_squares(), BOTH, BOTH),
    Case("least_squares, no intercept", least_squares(intercept=False), of_least_squares(False),
         BOTH, ROWS),
    Case("least_squares, mean", least_squares(mean=True), of_least_squares(mean=True), BOTH, BOTH),
    Case("least_squares, mean, no intercept", least_squares(intercept=False, mean=True),
         of_least_squares(False, True), BOTH, ROWS),
    Case("gaussian, variance given", gaussian(0.4), of_gaussian(0.4), BOTH, ROWS),
    Case("gaussian, variance estimated", gaussian(), of_gaussian(), BOTH, ROWS),
    Case("huber", huber(0.8), of_huber(0.8)),
    Case("huber, wide", huber(1e4), of_huber(1e4)),
    Case("gaussian_evidence", gaussian_evidence(0.3), of_evidence(0.3), MOMENTS, ()),
    Case("function loss", loss(smooth_error, weighted=True, convex=True, width=2.0),
         of_smooth_error),
    Case("0.5 * least_squares", 0.5 * least_squares(), times(0.5, of_least_squares()), BOTH, BOTH),
    Case("0 * gaussian", 0 * gaussian(0.4), times(0, of_gaussian(0.4)), BOTH, ROWS),
    Case("2 * least_squares + gaussian", 2 * least_squares(intercept=False) + gaussian(),
         plus(times(2, of_least_squares(False)), of_gaussian()), BOTH, ROWS),
    Case("0.5 * huber + least_squares", 0.5 * huber(0.8) + least_squares(),
         plus(times(0.5, of_huber(0.8)), of_least_squares())),
    Case("ridge", ridge(0.7), of_ridge(0.7)),
    Case("ridge 0", ridge(0), of_ridge(0)),
    Case("l1", l1(0.6), of_l1(0.6)),
    Case("elastic_net", elastic_net(0.6, 0.3), plus(of_l1(0.6), of_ridge(0.3))),
    Case("prior_l1", prior_l1(0.9, 0.25), of_prior_l1(0.9, 0.25)),
    Case("prior_l1, layer", prior_l1(0.9, 0, "atac"), of_prior_l1(0.9, 0, "atac")),
    Case("function regularizer", regularizer(smooth_price, strength=0.7), of_smooth_price),
    Case("pull", Pull(0.4, 1.5), of_pull(0.4, 1.5)),
    Case("3 * ridge", 3 * ridge(0.7), of_ridge(2.1)),
    Case("0 * l1", 0 * l1(0.6), of_l1(0)),
    Case("2 * prior_l1", prior_l1(0.9) * 2, of_prior_l1(1.8, 0.5)),
    Case("2 * elastic_net", 2 * elastic_net(0.6, 0.3), plus(of_l1(1.2), of_ridge(0.6))),
    Case("ridge + 0.5 * ridge", ridge(0.7) + 0.5 * ridge(1.0), of_ridge(1.2)),
    Case("l1 + pull + prior_l1 + ridge",
         l1(0.2) + Pull(0.4, 1.5) + prior_l1(0.9, 0.25) + 2 * ridge(0.1),
         plus(of_l1(0.2), of_pull(0.4, 1.5), of_prior_l1(0.9, 0.25), of_ridge(0.2))),
    Case("l1 + function", l1(0.6) + regularizer(smooth_price, strength=0.7),
         plus(of_l1(0.6), of_smooth_price)),
    constraint_case("support", support(), on_support),
    constraint_case("support, layer", support("atac"), on_layer),
    constraint_case("no_self", no_self(), off_self),
    constraint_case("nonnegative", nonnegative(), between(0, np.inf)),
    constraint_case("sign", sign(), signed),
    constraint_case("box", box(-0.5, 2), between(-0.5, 2)),
    constraint_case("box from below", box(-0.5, math.inf), between(-0.5, np.inf)),
    constraint_case("box from above", box(-math.inf, 0.25), between(-np.inf, 0.25)),
    constraint_case("box of everything", box(-math.inf, math.inf), between(-np.inf, np.inf)),
    constraint_case("box of 0", box(0, 0), between(0, 0)),
    constraint_case("support + no_self", support() + no_self(), meet(on_support, off_self)),
    constraint_case("support + sign + box", support() + sign() + box(-0.5, 2),
                    meet(on_support, signed, between(-0.5, 2))),
    constraint_case("nonnegative + box", nonnegative() + box(-0.5, 2), between(0, 2)),
)
LOSSES = [case for case in CASES if case.term.kind == "loss"]
SETS = [case for case in CASES if case.term.kind == "constraint"]
NAMED = {case.name: case for case in CASES}


def each(cases) -> Any:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def claimants(capability: str) -> list[Case]:
    return [case for case in CASES if getattr(case.term, capability) is not None]


def claiming(capability: str) -> Any:
    return each(claimants(capability))


def in_views(cases) -> Any:
    pairs = [(case, kind) for case in cases for kind in case.views]
    return pytest.mark.parametrize(("case", "kind"), pairs,
                                   ids=[f"{case.name}-{kind}" for case, kind in pairs])


# --- Compiled once for each structure of a term ------------------------------------------------


def compiled(function: Callable) -> Callable:
    """Compile without optimisation: the programs are small, and there are many of them."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


@compiled
def values(term, params, view, prior):
    return jax.vmap(lambda p: term(p, view, prior))(params)


@compiled
def slopes(term, params, view, prior):
    out = jax.vmap(jax.grad(lambda p: term(p, view, prior)))(params)
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(out)], 1)


@compiled
def seen(term, params, view, prior):
    """Values of a term at a batch of points, and what it offers there; quadratics need moments."""
    out = {"value": jax.vmap(lambda p: term(p, view, prior))(params)}
    for name in ("absolute", "lipschitz", *(("quadratic",) if view.moments is not None else ())):
        if getattr(term, name) is not None:
            out[name] = getattr(term, name)(view, prior)
    for name in ("interval", "allows"):
        if getattr(term, name) is not None:
            out[name] = getattr(term, name)(prior)
    if term.prox is not None:
        out["prox"] = jax.vmap(lambda v: term.prox(v, 0.5, view, prior))(params.theta)
    if term.project is not None:
        out["project"] = jax.vmap(lambda v: term.project(v, prior))(params.theta)
    return out


def defined(case: Case, world: World, params: Blocks, prior: PriorView | None = None) -> np.ndarray:
    """The definition at each point of a batch, for target 0."""
    rows, prior = world.rows(), world.prior() if prior is None else prior
    return np.array([case.value(params.theta[i], rows, prior, {b: params[b][i] for b in params})
                     for i in range(len(params.theta))])


def close(got, want, tolerance=1e-9):
    """Equal, relative to 1 + the size of what is compared."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.all(np.isfinite(got))
    size = 1 + np.max(np.abs(want), initial=0)
    assert np.max(np.abs(got - want), initial=0) <= tolerance * size, (got, want)


# --- Nothing is left out ------------------------------------------------------------------------


def summands(term: Term) -> list[Term]:
    """The term, and every term inside it."""
    inner = getattr(term, "terms", None) or ([term.term] if isinstance(term, Scaled) else [])
    return [term, *(t for each in inner for t in summands(each))]


@pytest.mark.parametrize("module", [losses, regularizers, constraints], ids=lambda m: m.__name__)
def test_every_class_has_an_instance(module):
    classes = {name for name, cls in inspect.getmembers(module, inspect.isclass)
               if issubclass(cls, Term) and cls.__module__ == module.__name__
               and not name.startswith("_")}
    alone = {type(case.term).__name__ for case in CASES}
    assert classes and classes <= alone, sorted(classes - alone)


def test_every_class_that_is_scaled_or_summed_is_reached():
    inside = {type(t).__name__ for case in CASES for t in summands(case.term)[1:]}
    assert {"LeastSquares", "Gaussian", "Huber", "Ridge", "L1", "PriorL1", "Scaled"} <= inside
    assert {"Support", "NoSelf", "Sign", "Nonnegative", "Box"} <= inside


def test_every_capability_is_claimed_and_tested():
    assert set(TESTS) == set(capabilities())
    for name in capabilities():
        assert claimants(name), name
        assert hasattr(Term, name)


def test_every_capability_is_described():
    described = set(re.findall(r"^\s+``(\w+)``", inspect.getdoc(Term), re.MULTILINE))
    described |= set(re.findall(r"^``(\w+)``", inspect.getdoc(Term), re.MULTILINE))
    assert set(capabilities()) <= described


@pytest.mark.parametrize("module", [losses, regularizers, constraints], ids=lambda m: m.__name__)
def test_every_constructor_has_rows_in_the_tables(module):
    functions = {name for name, f in inspect.getmembers(module, inspect.isfunction)
                 if f.__module__ == module.__name__ and name in unigrn.__all__}
    assert functions
    listed = {build.__name__ for build, *_ in RIGHT}
    assert functions <= listed, sorted(functions - listed)
    takes = {name for name in functions if inspect.signature(getattr(module, name)).parameters}
    refused = {build.__name__ for build, *_ in WRONG}
    lenient = {"least_squares", "support"}  # truth values, and a name that only the prior can check
    assert takes - lenient <= refused, sorted(takes - lenient - refused)


# --- Values ------------------------------------------------------------------------------------


PULLS = ("pull", "l1 + pull + prior_l1 + ridge")  # they pull a padded entry away from 0


@in_views(CASES)
@EXAMPLES
@given(world=worlds)
def test_the_value_is_the_definition(case, kind, world):
    params = world.params(case.term, world.theta(BATCH, CANDIDATES))
    got = seen(case.term, params, world.view(kind), world.prior())["value"]
    close(got, defined(case, world, params))


@in_views([case for case in CASES if case.name not in PULLS])
@EXAMPLES
@given(world=worlds)
def test_padding_changes_nothing(case, kind, world):
    term, prior, view = case.term, world.prior(), world.view(kind)
    params = world.params(term, world.theta(BATCH, CANDIDATES))

    def pad(array, axes=(-1,)):
        width = [(0, 0)] * array.ndim
        for axis in axes:
            width[axis] = (0, PAD)
        return np.pad(array, width)

    wide_prior = jax.tree.map(pad, prior)
    assert not wide_prior.valid[-PAD:].any()
    wide = params.replace(theta=pad(params.theta))
    if kind == "rows":
        wide_view = View(None, pad(view.x), view.y, view.weight)
    else:
        m = view.moments
        wide_view = View(Moments(pad(m.gram, (0, 1)), pad(m.cross), m.square, m.count,
                                 pad(m.mean_x), m.mean_y))
    narrow = seen(term, params, view, prior)
    padded = seen(term, wide, wide_view, wide_prior)
    assert set(narrow) == set(padded)
    close(padded["value"], narrow["value"])
    for name in {"prox", "project"} & set(narrow):
        close(padded[name], pad(np.asarray(narrow[name])))  # a padded entry stays 0
    if "absolute" in narrow:
        close(padded["absolute"][:CANDIDATES], narrow["absolute"])
    if "lipschitz" in narrow:
        close(padded["lipschitz"], narrow["lipschitz"])
    if "quadratic" in narrow:
        for name in ("scale", "constant"):
            close(getattr(padded["quadratic"], name), getattr(narrow["quadratic"], name))
        close(padded["quadratic"].diagonal[:CANDIDATES], narrow["quadratic"].diagonal)


@in_views([case for case in CASES if case.name in PULLS])
def test_padding_is_noticed_by_a_term_that_moves_padded_entries(case, kind):
    # The test above can fail: `Pull` is no sum over terms that vanish at theta 0.
    with pytest.raises(AssertionError):
        test_padding_changes_nothing.hypothesis.inner_test(case, kind, World(0, 0.0))


# --- Capabilities --------------------------------------------------------------------------------


def written_out(q: Quadratic, theta: np.ndarray, moments: Moments) -> float:
    """The formula of `Quadratic`, term by term."""
    m = moments
    out = q.scale * (theta @ m.gram @ theta - 2 * m.cross @ theta + m.square) + q.constant
    out += np.sum(np.broadcast_to(q.diagonal, theta.shape) * theta**2)
    if q.matrix is not None:
        out += theta @ np.asarray(q.matrix) @ theta
    if q.linear is not None:
        out -= 2 * np.asarray(q.linear) @ theta
    return out


@claiming("quadratic")
@EXAMPLES
@given(world=worlds)
def test_quadratic(case, world):
    if "moments" not in case.views and case.term.kind == "loss":
        pytest.fail("a loss with a quadratic takes moments")
    view, prior = world.moments(), world.prior()
    theta = world.theta(BATCH, CANDIDATES)
    q = seen(case.term, Blocks(theta=theta), view, prior)["quadratic"]
    want = defined(case, world, Blocks(theta=theta))
    close([written_out(q, each, view.moments) for each in theta], want)
    close(q.value(theta[0], view.moments), want[0])


@claiming("absolute")
@EXAMPLES
@given(world=worlds)
def test_absolute(case, world):
    theta = world.theta(BATCH, CANDIDATES)
    weights = np.asarray(
        seen(case.term, Blocks(theta=theta), world.rows(), world.prior())["absolute"])
    assert weights.shape == (CANDIDATES,) and np.all(weights >= 0)
    close(np.abs(theta) @ weights, defined(case, world, Blocks(theta=theta)))


@claiming("interval")
@EXAMPLES
@given(world=worlds)
def test_interval(case, world):
    prior, theta = world.prior(), world.theta(BATCH, CANDIDATES)
    got = seen(case.term, Blocks(theta=theta), world.rows(), prior)
    low, high = (np.asarray(b) for b in got["interval"])
    np.testing.assert_array_equal(low, case.bounds(prior)[0])
    np.testing.assert_array_equal(high, case.bounds(prior)[1])
    assert np.all(low <= 0) and np.all(high >= 0)
    inside = np.all((low <= theta) & (theta <= high), axis=1)
    np.testing.assert_array_equal(np.asarray(got["value"]) == 0, inside)


@claiming("allows")
@EXAMPLES
@given(world=worlds)
def test_allows(case, world):
    prior = world.prior()
    theta = world.theta(BATCH, CANDIDATES) + 5
    wanted = np.isinf(case.bounds(prior)[0])
    on, off = np.where(wanted, theta, 0), np.where(wanted, 0, theta)
    got = seen(case.term, Blocks(theta=on), world.rows(), prior)
    assert got["allows"].dtype == bool
    np.testing.assert_array_equal(got["allows"], wanted)
    assert not got["value"].any()
    got = seen(case.term, Blocks(theta=off), world.rows(), prior)
    close(got["value"], np.max(np.abs(off), axis=1))


GRID = np.linspace(-4, 4, 81)
NEAR = np.random.default_rng(1).normal(size=(120, CANDIDATES)) * np.repeat(
    10.0 ** np.arange(-4, 2), 20)[:, None]


@compiled
def prox_parts(term, v, step, direction, view, prior):
    def objective(u, v):
        return term(Blocks(theta=u), view, prior) + jnp.sum((u - v)**2) / (2 * step)

    def prox(v):
        return term.prox(v, step, view, prior)

    def envelope(v):
        return objective(prox(v), v)

    u = prox(v)
    one = jnp.eye(CANDIDATES, dtype=bool)[:, None, :]
    single = jnp.where(one, GRID[None, :, None], u[None, None, :]).reshape(-1, CANDIDATES)
    rivals = jnp.concatenate([u[None, :] + NEAR, single, v[None, :]])
    h = 1e-6
    rise = (envelope(v + h * direction) - envelope(v - h * direction)) / (2 * h)
    return (objective(u, v), jax.vmap(lambda r: objective(r, v))(rivals), rise,
            jnp.dot((v - u) / step, direction))


@claiming("prox")
@EXAMPLES
@given(world=worlds, v=vectors, step=steps)
def test_prox(case, world, v, step):
    direction = world.rng.normal(size=CANDIDATES)
    best, rivals, rise, want = prox_parts(case.term, v, step, direction, world.rows(),
                                          world.prior())
    assert best <= np.min(rivals) + 1e-10 * (1 + abs(best))
    assert abs(rise - want) <= 1e-4 * (1 + abs(want))  # the envelope is only once differentiable


@claiming("project")
@EXAMPLES
@given(world=worlds, v=vectors)
def test_project(case, world, v):
    prior = world.prior()
    low, high = case.bounds(prior)
    points = np.vstack([v, world.theta(BATCH - 1, CANDIDATES)])
    def project(points):
        return np.asarray(seen(case.term, Blocks(theta=points), world.rows(), prior)["project"])

    found = project(points)
    np.testing.assert_array_equal(project(found), found)
    assert np.all(low <= found) and np.all(found <= high)
    feasible = np.clip(world.theta(40, CANDIDATES), low, high)
    distance = np.linalg.norm(points - found, axis=1)
    rivals = np.linalg.norm(points[:, None] - feasible[None], axis=2)
    assert np.all(distance[:, None] <= rivals + 1e-12)
    # Obtuse: nothing feasible lies beyond the plane through the projection.
    assert np.all(np.einsum("bk,bfk->bf", points - found, feasible[None] - found[:, None]) <= 1e-9)
    apart = np.linalg.norm(points - points[::-1], axis=1)
    assert np.all(np.linalg.norm(found - found[::-1], axis=1) <= apart + 1e-12)


@in_views(claimants("lipschitz"))
@EXAMPLES
@given(world=worlds)
def test_lipschitz(case, kind, world):
    view, prior, term = world.view(kind), world.prior(), case.term
    a = world.params(term, world.theta(BATCH, CANDIDATES))
    bound = float(seen(term, a, view, prior)["lipschitz"])
    assert np.isfinite(bound) and bound >= 0
    # Along the directions of largest curvature, where a bound that is too small shows.
    w = world.weight[:, None]
    wide = np.hstack([np.ones((CELLS, 1)), world.x])
    steepest = np.linalg.eigh((wide * w).T @ wide)[1][:, -1]
    centred = world.x - np.average(world.x, axis=0, weights=world.weight)
    along = np.linalg.eigh((centred * w).T @ centred)[1][:, -1]
    move = world.rng.normal(size=(BATCH, CANDIDATES + 1))
    move[:2], move[2, 1:] = steepest, along
    move *= world.rng.choice([1e-3, 1.0, 10.0], (BATCH, 1))
    step = {"theta": move[:, 1:]}
    if "intercept" in a:
        step["intercept"] = move[:, 0]
    b = Blocks(**{name: a[name] + step[name] for name in a})
    length = np.sqrt(sum((each.reshape(BATCH, -1)**2).sum(axis=1) for each in step.values()))
    turn = np.linalg.norm(slopes(term, a, view, prior) - slopes(term, b, view, prior), axis=1)
    noise = 1e-9 * (1 + np.max(np.abs(slopes(term, a, view, prior))))
    assert np.all(turn <= bound * length * (1 + 1e-9) + noise)


@claiming("separable")
def test_separable_names_a_known_kind(case):
    assert case.term.separable in ("entries", "targets")


@each([case for case in CASES if case.term.separable == "entries"])
@EXAMPLES
@given(world=worlds)
def test_separable_over_entries(case, world):
    prior, view = world.prior(), world.rows()
    theta = world.theta(CANDIDATES)
    single = np.zeros((BATCH, CANDIDATES))
    single[:CANDIDATES] = np.diag(theta)
    single[CANDIDATES] = theta
    got = np.asarray(seen(case.term, Blocks(theta=single), view, prior)["value"])
    alone, whole, zero = got[:CANDIDATES], got[CANDIDATES], got[CANDIDATES + 1]
    if case.term.kind == "constraint":
        assert zero == 0
        close(whole, np.max(alone))
    else:
        close(whole - zero, np.sum(alone - zero))


NETWORK = [(case, kind) for case in CASES for kind in case.network]


@pytest.mark.parametrize(("case", "kind"), NETWORK, ids=[f"{c.name}-{k}" for c, k in NETWORK])
@EXAMPLES
@given(world=worlds)
def test_separable_over_targets(case, kind, world):
    term = case.term
    params = world.params(term, world.theta(BATCH, CANDIDATES, TARGETS), TARGETS)
    got = values(term, params, world.view(kind, None), world.prior(None))
    each = np.array([
        seen(term, Blocks(**{b: params[b][..., t] for b in params}), world.view(kind, t),
             world.prior(t))["value"] for t in range(TARGETS)])
    close(got, each.max(axis=0) if term.kind == "constraint" else each.sum(axis=0))


@pytest.mark.parametrize("name", ["least_squares, no intercept", "gaussian, variance given",
                                  "gaussian, variance estimated"])
def test_moments_that_belong_to_one_target_refuse_a_network(name):
    world = World(0, 1.0)
    with pytest.raises(TypeError, match="target by target"):
        NAMED[name].term.quadratic(world.moments(None), world.prior(None))


def test_every_loss_that_takes_both_forms_takes_a_network():
    # What is not in `network` is refused above, or is an evidence.
    for case in LOSSES:
        assert case.network or case.term.evidence is not None


@compiled
def maps(term, z, prior):
    forward = term.bijector
    slope = jax.vmap(jax.grad(lambda z: jnp.sum(forward(z, prior))))(z)
    return jax.vmap(lambda each: forward(each, prior))(z), slope


@claiming("bijector")
@EXAMPLES
@given(world=worlds)
def test_bijector(case, world):
    prior = world.prior()
    low, high = case.bounds(prior)
    z = np.linspace(-40, 40, 161)[:, None] * np.ones(CANDIDATES)
    theta, slope = (np.asarray(a) for a in maps(case.term, z, prior))
    assert np.all(np.isfinite(theta)) and np.all(np.isfinite(slope))
    assert np.all((low <= theta) & (theta <= high))
    open_ = low < high
    middle = np.abs(z[:, 0]) <= 20
    assert np.all((low < theta[middle]) & (theta[middle] < high) | ~open_)
    step = np.diff(theta[middle], axis=0)
    assert np.all(np.all(step > 0, axis=0) | np.all(step < 0, axis=0) | ~open_)
    assert np.all(slope[middle] * np.sign(theta[-1] - theta[0]) > 0, where=open_)
    least, most = theta.min(axis=0), theta.max(axis=0)
    assert np.all(np.where(np.isfinite(low), least - low <= 1e-12, least <= -39.0))
    assert np.all(np.where(np.isfinite(high), high - most <= 1e-12, most >= 39.0))
    free = np.isinf(low) & np.isinf(high)
    np.testing.assert_array_equal(theta[:, free], z[:, free])


@in_views(claimants("convex"))
@EXAMPLES
@given(world=worlds, t=st.floats(0, 1))
def test_convex(case, kind, world, t):
    assert case.term.convex is True
    view, prior = world.view(kind), world.prior()
    a = world.params(case.term, world.theta(BATCH, CANDIDATES))
    b = a.replace(theta=world.theta(BATCH, CANDIDATES))
    between_ = a.replace(theta=(1 - t) * a.theta + t * b.theta)
    low, high, middle = (np.asarray(seen(case.term, p, view, prior)["value"])
                         for p in (a, b, between_))
    scale_ = 1 + np.abs(low) + np.abs(high)
    assert np.all(middle <= (1 - t) * low + t * high + 1e-9 * scale_)


UNWEIGHTED = "function loss"  # this function wants weights


@claiming("weighted")
@EXAMPLES
@given(world=worlds)
def test_weighted(case, world):
    # Weights that sum to a fixed number of repeated cells; two cells are left out altogether.
    counts = world.rng.multinomial(REPEATED - CELLS + 2, np.ones(CELLS - 2) / (CELLS - 2)) + 1
    counts = np.concatenate([counts, [0, 0]])
    x, y = world.x.copy(), world.y[:, 0].copy()
    x[-2:], y[-2:] = 1e3, -1e3
    params = world.params(case.term, world.theta(BATCH, CANDIDATES))
    repeated = np.repeat(np.arange(CELLS), counts)
    assert len(repeated) == REPEATED
    prior = world.prior()
    weight, ones = counts.astype(float), np.ones(REPEATED)
    by_weight, by_rows = View(None, x, y, weight), View(None, x[repeated], y[repeated], ones)
    if "rows" not in case.views:
        by_weight = View(moments_of(x, y, weight))
        by_rows = View(moments_of(x[repeated], y[repeated], ones))
    for function in (values, slopes):
        close(function(case.term, params, by_weight, prior),
              function(case.term, params, by_rows, prior), 1e-8)


@each([case for case in claimants("weighted") if "rows" in case.views and case.name != UNWEIGHTED])
@EXAMPLES
@given(world=worlds)
def test_no_weights_are_weights_of_1(case, world):
    params = world.params(case.term, world.theta(BATCH, CANDIDATES))
    rows, prior = world.rows(), world.prior()
    ones = dataclasses.replace(rows, weight=np.ones(CELLS))
    none = dataclasses.replace(rows, weight=None)
    without = seen(case.term, params, none, prior)
    for name, got in seen(case.term, params, ones, prior).items():
        close(without[name], got)


@claiming("evidence")
@EXAMPLES
@given(world=worlds)
def test_evidence(case, world):
    # min over theta of the loss is twice the negative log evidence, from the cells' covariance.
    h, tolerance, most = case.term.evidence()
    assert (h, tolerance, most) == (0.3, 1e-3, 300)
    world.weight[:] = 1
    a, lam = np.exp(world.rng.normal(size=2))
    view, prior = world.moments(), world.prior()
    m = view.moments
    theta = np.linalg.solve(a * m.gram + lam * np.eye(CANDIDATES), a * m.cross)
    params = Blocks(theta=np.tile(theta, (BATCH, 1)), noise_precision=np.full(BATCH, a),
                    weight_precision=np.full(BATCH, lam))
    got = seen(case.term, params, view, prior)["value"][0]
    x, y = world.x - world.x.mean(axis=0), world.y[:, 0] - world.y[:, 0].mean()
    covariance = np.eye(CELLS) / a + x @ x.T / lam
    _, logdet = np.linalg.slogdet(covariance)
    want = y @ np.linalg.solve(covariance, y) + logdet
    want += 2 * h * (a + lam - np.log(a) - np.log(lam))
    close(got, want, 1e-7)
    close(slopes(case.term, params, view, prior)[0][1:1 + CANDIDATES], np.zeros(CANDIDATES), 1e-6)


TESTS = {
    "quadratic": test_quadratic, "absolute": test_absolute, "interval": test_interval,
    "allows": test_allows, "evidence": test_evidence, "prox": test_prox, "project": test_project,
    "lipschitz": test_lipschitz, "separable": test_separable_over_targets,
    "bijector": test_bijector, "convex": test_convex, "weighted": test_weighted,
}


# --- What composites offer, and what they must not ----------------------------------------------


@pytree
class GroupNorm(Regularizer):
    """A penalty on the norm of a target's coefficients: it has a prox, entries do not separate."""

    strength: Any

    separable = "targets"
    convex = True

    def __call__(self, params, data, prior):
        return self.strength * jnp.sqrt(jnp.sum(params.theta**2))

    def prox(self, v, step, data, prior):
        size = jnp.sqrt(jnp.sum(v**2))
        return v * jnp.maximum(1 - step * self.strength / jnp.maximum(size, 1e-30), 0)


@pytree
class Ball(Constraint):
    """Unit ball: it has a projection, no interval."""

    separable = "targets"

    def __call__(self, params, data, prior):
        return jnp.maximum(jnp.sqrt(jnp.sum(params.theta**2)) - 1, 0)

    def project(self, v, prior):
        return v / jnp.maximum(jnp.sqrt(jnp.sum(v**2)), 1)


@pytree
class Odd(Constraint):
    """A set of which nothing is known."""

    def __call__(self, params, data, prior):
        return jnp.abs(jnp.sum(params.theta))


def has(term: Term) -> set[str]:
    return {name for name in capabilities() if getattr(term, name) is not None}


@each([case for case in CASES if isinstance(case.term, Sum)])
def test_a_sum_offers_no_more_than_its_summands(case):
    shared = set.intersection(*(has(t) for t in case.term.terms))
    by_rule = {"prox"} if case.term.prox is not None else set()
    assert has(case.term) <= shared | by_rule | {"project", "bijector"}
    if case.term.kind == "constraint":
        assert {"interval", "project", "bijector"} <= has(case.term)
        assert ("allows" in has(case.term)) == ("allows" in shared)
    else:
        assert not {"interval", "project", "bijector", "allows"} & has(case.term)


@pytest.mark.parametrize("term", [
    elastic_net(1, 1) + GroupNorm(0.5), l1(1) + GroupNorm(0.5), ridge(1) + GroupNorm(0.5),
    l1(1) + regularizer(smooth_price, strength=1.0), GroupNorm(0.5) + GroupNorm(0.5),
], ids=lambda term: term.formula)
def test_a_sum_without_a_rule_has_no_prox(term):
    assert term.prox is None


def test_a_scaled_term_offers_what_the_term_offers():
    for case in CASES:
        if case.term.kind != "constraint" and not isinstance(case.term, Sum):
            assert has(0.5 * case.term) == has(case.term) - {"evidence"}
            assert (0.5 * case.term).blocks == case.term.blocks


def test_sums_of_sets_without_an_interval_have_no_projection():
    for term in (support() + Ball(), Ball() + Ball(), Odd() + nonnegative()):
        assert term.project is None and term.bijector is None and term.interval is None
        assert term.allows is None


def test_a_sum_is_as_separable_as_its_least_separable_summand():
    coupled = regularizer(smooth_price, coupled=True, strength=1.0)
    assert coupled.separable is None
    assert (l1(1) + ridge(1)).separable == "entries"
    assert (l1(1) + GroupNorm(1.0) + ridge(1)).separable == "targets"
    assert (l1(1) + coupled).separable is None
    assert (GroupNorm(1.0) + 2 * coupled).separable is None


def test_a_sum_is_convex_and_weighted_where_every_summand_is():
    plain = loss(smooth_error, width=1.0)
    assert plain.convex is None and plain.weighted is None
    assert (plain + least_squares()).convex is None and (plain + least_squares()).weighted is None
    assert (huber() + least_squares()).convex is True
    assert (huber() + least_squares()).weighted is True
    assert (gaussian_evidence() + least_squares()).convex is None


def test_blocks_of_a_sum_are_those_of_its_summands():
    assert (huber() + least_squares()).blocks == ("intercept", "theta")
    assert (0.5 * huber()).blocks == ("intercept", "theta")
    assert least_squares().blocks == ("theta",)


# --- The joint prox of kinks, diagonal quadratics and an interval --------------------------------


KINDS = [
    # term; weights of |u|; weight of u^2; weight of -2 u
    (l1(0.6), lambda p: 0.6, 0, 0),
    (prior_l1(0.9, 0.25) + l1(0.2), lambda p: price(0.9, 0.25)(p) + 0.2, 0, 0),
    (elastic_net(0.6, 0.3), lambda p: 0.6, 0.3, 0),
    (0.5 * prior_l1(0.9, 0.25, "motif") + ridge(0.2) + 2 * ridge(0.3),
     lambda p: price(0.45, 0.25, "motif")(p), 0.8, 0),
    (l1(0.6) + Pull(0.4, 1.5) + 0.5 * Pull(1.0, -1.0), lambda p: 0.6, 0.9, 0.1),
]
INTERVALS = [None, nonnegative(), box(-0.5, 2), sign() + support(), no_self() + box(-0.25, 9)]


@compiled
def joint(regularizer, constraint, v, step, view, prior):
    """The prox of a whole sum, then the set; and that of a split, which sees only its kinks."""
    u = regularizer.prox(v, step, view, prior)
    found = split(least_squares(), regularizer, constraint)
    return (u if constraint is None else constraint.project(u, prior),
            found.prox(v, step, view, prior))


@pytest.mark.parametrize("constraint", INTERVALS, ids=lambda c: c.formula if c else "anything")
@pytest.mark.parametrize(("term", "amount", "diagonal", "linear"), KINDS,
                         ids=[kind[0].formula for kind in KINDS])
@EXAMPLES
@given(world=worlds, v=vectors, step=steps)
def test_joint_prox_against_a_grid(term, amount, diagonal, linear, constraint, world, v, step):
    view, prior = world.rows(), world.prior()
    everything = (np.full(CANDIDATES, -np.inf), np.full(CANDIDATES, np.inf))
    low, high = everything if constraint is None else (
        np.asarray(b) for b in constraint.interval(prior))
    fraction = np.linspace(0, 1, 4001)[:, None]
    start, stop = np.maximum(low, -8), np.minimum(high, 8)
    grid = start + fraction * (stop - start)
    weights = np.broadcast_to(amount(prior), CANDIDATES)

    def check(found, diagonal, linear):
        def objective(u):
            return (weights * np.abs(u) + diagonal * u**2 - 2 * linear * u
                    + (u - v)**2 / (2 * step))

        found = np.asarray(found)
        assert np.all((low <= found) & (found <= high))
        assert np.all(objective(found) <= objective(grid).min(axis=0) + 1e-12)
        nearest = np.take_along_axis(grid, objective(grid).argmin(axis=0)[None], axis=0)[0]
        assert np.max(np.abs(found - nearest)) <= 16 / 4000

    whole, kinks = joint(term, constraint, v, step, view, prior)
    check(whole, diagonal, linear)
    check(kinks, 0, 0)  # the split leaves the quadratics to the smooth part


# --- The split -----------------------------------------------------------------------------------


def test_split_puts_kinks_into_the_prox_and_the_rest_into_the_smooth_part():
    world = World(3, 1.0)
    params = Blocks(theta=world.theta(CANDIDATES))
    found = split(least_squares(), elastic_net(0.6, 0.3) + prior_l1(0.5), None)
    assert found.prox is not None and not found.trivial
    want = (least_squares() + 0 * least_squares())(params, world.rows(), world.prior())
    want += ridge(0.3)(params, world.rows(), world.prior())
    close(found.smooth(params, world.rows(), world.prior()), want)


def test_a_kink_has_a_prox_and_no_quadratic():
    assert all(is_kink(t) for t in (l1(1), prior_l1(1), 0.5 * l1(1), GroupNorm(1.0)))
    assert not any(is_kink(t) for t in (ridge(1), 2 * ridge(1), Pull(1.0, 0.0),
                                        regularizer(smooth_price, strength=1.0)))


@pytest.mark.parametrize(("penalty", "constraint", "trivial"), [
    (None, None, True), (ridge(1), None, True), (ridge(1), support() + no_self(), True),
    (None, nonnegative(), False), (l1(1), None, False), (l1(1), support(), False),
    (ridge(1), support() + sign(), False),
])
def test_split_is_trivial_where_nothing_is_left_for_the_prox(penalty, constraint, trivial):
    found = split(least_squares(), penalty, constraint)
    assert found.prox is not None and found.trivial is trivial


@pytest.mark.parametrize(("penalty", "constraint", "why"), [
    (l1(1) + GroupNorm(1.0), None, "joint prox of λ ‖θ‖₁ [+] GroupNorm"),
    (GroupNorm(1.0), nonnegative(), "GroupNorm and θ ≥ 0"),
    (l1(1), Ball(), "λ ‖θ‖₁ and Ball"),
    (l1(1), Odd(), "Odd has no projection"),
    (None, support() + Ball(), "Ball has no projection"),
])
def test_split_says_why_there_is_no_prox(penalty, constraint, why):
    found = split(least_squares(), penalty, constraint)
    assert found.prox is None and re.search(why, found.why)


def test_split_takes_a_projection_without_an_interval():
    found = split(least_squares(), ridge(1), Ball())
    v = np.array([3.0, 0, 4.0, 0])
    close(found.prox(v, 0.5, World(0, 0.0).rows(), World(0, 0.0).prior()), v / 5)


def test_stationarity_is_0_at_the_optimum_and_only_there():
    world = World(5, 0.0)
    view, prior = world.moments(), world.prior()
    found = split(least_squares(), l1(2.0), nonnegative())
    slope = jax.jit(jax.grad(lambda theta: found.smooth(Blocks(theta=theta), view, prior)))
    # As many coordinate steps as it takes: an independent, slow solver.
    m, theta = view.moments, np.zeros(CANDIDATES)
    for _ in range(2000):
        for j in range(CANDIDATES):
            rest = m.cross[j] - m.gram[j] @ theta + m.gram[j, j] * theta[j]
            theta[j] = max(rest - 1.0, 0) / m.gram[j, j]
    at_zero = np.max(np.abs(slope(np.zeros(CANDIDATES))))
    for step in (0.01, 0.1):
        def residual(theta, step=step):
            return float(stationarity(theta, slope(theta), step, at_zero, found.prox, view, prior))

        assert residual(theta) < 1e-9
        assert residual(theta + 0.1) > 1e-3
        off = np.where(np.arange(CANDIDATES) == 1, 0.3, 0.0)
        assert residual(theta + off) > 1e-3
    # A padded entry does not count.
    blind = dataclasses.replace(prior, valid=np.zeros(CANDIDATES, bool))
    moved = theta + 0.1
    assert stationarity(moved, slope(moved), 0.1, at_zero, found.prox, view, blind) == 0


# --- The algebra ---------------------------------------------------------------------------------


BY_KIND = {
    "loss": (least_squares(), huber(0.8), 0.5 * gaussian()),
    "regularizer": (ridge(0.7), l1(0.6), 2 * prior_l1(0.9)),
    "constraint": (support(), sign(), box(-0.5, 2)),
}


def at_a_point(term: Term) -> float:
    world = World(11, 1.0)
    theta = np.tile([1.0, -2.0, 0.5, 0.0], (BATCH, 1))
    more = {"intercept": np.full(BATCH, 0.3)} if "intercept" in term.blocks else {}
    return float(values(term, Blocks(theta=theta, **more), world.rows(), world.prior())[0])


@pytest.mark.parametrize("kind", BY_KIND)
def test_plus_is_associative_and_commutes_up_to_value(kind):
    a, b, c = BY_KIND[kind]
    left, right = (a + b) + c, a + (b + c)
    assert left == right
    assert len(parts(left)) == 3 and left.kind == kind
    close(at_a_point(left), at_a_point(right))
    close(at_a_point(c + b + a), at_a_point(left))


@pytest.mark.parametrize("kind", BY_KIND)
def test_sum_works(kind):
    terms = BY_KIND[kind]
    total = sum(terms)
    assert parts(total) == terms and total.kind == kind
    assert sum(terms[:1]) is terms[0]


@pytest.mark.parametrize("kind", ["loss", "regularizer"])
def test_the_value_of_a_sum_is_the_sum_of_values(kind):
    terms = BY_KIND[kind]
    close(at_a_point(sum(terms)), sum(at_a_point(t) for t in terms))


@each([case for case in CASES if case.term.kind != "constraint" and "rows" in case.views])
def test_scaling_by_0_and_1(case):
    term = case.term
    close(at_a_point(1 * term), at_a_point(term))
    assert at_a_point(0 * term) == 0
    close(at_a_point(0.25 * (term * 2)), 0.5 * at_a_point(term))
    assert (3 * term).kind == term.kind
    if isinstance(term, Sum):
        close(at_a_point(3 * term), sum(at_a_point(3 * t) for t in term.terms))


def test_factors_of_any_number_type():
    for half in (0.5, np.float64(0.5), np.float32(0.5), jnp.asarray(0.5), np.asarray(0.5)):
        for term in (half * ridge(0.7), ridge(0.7) * half):
            assert isinstance(term, Scaled)
            close(at_a_point(term), 0.5 * at_a_point(ridge(0.7)))
    close(at_a_point(2 * ridge(0.7)), 2 * at_a_point(ridge(0.7)))


def test_a_factor_may_be_traced():
    world = World(11, 1.0)
    params = Blocks(theta=world.theta(CANDIDATES))

    @jax.jit
    def value(factor):
        return (factor * elastic_net(0.6, 0.3))(params, world.rows(), world.prior())

    close(value(2.0), 2 * float(elastic_net(0.6, 0.3)(params, world.rows(), world.prior())))


@pytest.mark.parametrize("factor", [-1, -1e-300, float("nan"), float("inf"), -float("inf"),
                                    np.float32("nan")])
def test_factors_out_of_range_are_refused(factor):
    for term in (ridge(1), least_squares(), elastic_net(1, 1)):
        with pytest.raises(ValueError, match="finite number >= 0"):
            factor * term
        with pytest.raises(ValueError, match="finite number >= 0"):
            term * factor


@pytest.mark.parametrize("factor", [
    "2", "a", b"2", None, [1.0], (1.0,), {}, 1j, np.array([1.0, 2.0]), np.array([2.0]),
    jnp.array([1.0, 2.0]), ridge(1), least_squares(), max,
], ids=repr)
def test_factors_that_are_no_numbers_are_refused(factor):
    with pytest.raises(TypeError, match="number"):
        factor * ridge(1)
    with pytest.raises(TypeError, match="number"):
        ridge(1) * factor


def test_a_constraint_has_no_scale():
    for term in (support(), box(-1, 2), support() + no_self()):
        for factor in (2, 1, 0, 0.5):
            with pytest.raises(TypeError, match="constraint has no scale.*" + re.escape(
                    term.formula)):
                factor * term
            with pytest.raises(TypeError, match="constraint has no scale"):
                term * factor
    with pytest.raises(TypeError):
        scale(2, "ridge")


KIND_PAIRS = [(a, b) for a in BY_KIND for b in BY_KIND if a != b]


@pytest.mark.parametrize(("first", "second"), KIND_PAIRS)
def test_kinds_do_not_mix(first, second):
    for a, b in zip(BY_KIND[first], BY_KIND[second], strict=True):
        for left, right in ((a, b), (a + a, b), (a, b + b)):
            with pytest.raises(TypeError) as caught:
                left + right
            message = str(caught.value)
            assert first in message and second in message
            assert left.formula in message and right.formula in message
            assert "Spec(" in message
    with pytest.raises(TypeError):
        sum([BY_KIND[first][0], BY_KIND[second][0]])


@pytest.mark.parametrize("other", [1, 2.5, "ridge", None, abs, np.ones(2)],
                         ids=lambda value: type(value).__name__)
def test_only_terms_are_added(other):
    with pytest.raises(TypeError, match=f"joins terms, got {type(other).__name__}"):
        ridge(1) + other
    with pytest.raises(TypeError):
        other + ridge(1)
    with pytest.raises(TypeError, match="joins terms"):
        add(ridge(1), other)


def test_a_function_is_refused_in_a_sum_with_the_way_to_wrap_it():
    with pytest.raises(TypeError, match=r"unigrn\.regularizer\(function\)"):
        ridge(1) + smooth_price


def test_terms_do_not_subtract():
    with pytest.raises(TypeError):
        ridge(1) - ridge(1)
    with pytest.raises(TypeError):
        -ridge(1)


def test_a_bare_term_says_that_it_has_no_value():
    with pytest.raises(TypeError, match="Term does not say how it is evaluated"):
        Term()(Blocks(theta=1.0), View(), None)


def test_parts():
    assert parts(None) == ()
    assert parts(ridge(1)) == (ridge(1),)
    assert [type(t).__name__ for t in parts(2 * elastic_net(1, 1))] == ["Scaled", "Scaled"]


# --- Constructors --------------------------------------------------------------------------------


RIGHT = [
    (least_squares, (), {}), (least_squares, (), {"intercept": False, "mean": True}),
    (gaussian, (), {}), (gaussian, (2,), {}), (gaussian, (1e-8,), {}), (gaussian, (None,), {}),
    (huber, (), {}), (huber, (0.1,), {}), (huber, (np.float32(2),), {}),
    (gaussian_evidence, (), {}), (gaussian_evidence, (0, 0, 1), {}),
    (gaussian_evidence, (1e-6, 1e-3, 50.0), {}),
    (loss, (smooth_error,), {"width": 1.0}), (loss, (least_squares(),), {}),
    (ridge, (0,), {}), (ridge, (10,), {}), (ridge, (np.int64(3),), {}),
    (ridge, (np.ones(()),), {}),
    (l1, (0,), {}), (l1, (1e6,), {}), (elastic_net, (0, 0), {}), (elastic_net, (1, 2), {}),
    (prior_l1, (1,), {}), (prior_l1, (1, 0), {}), (prior_l1, (1, 1), {}),
    (prior_l1, (1, 0.5, "atac"), {}),
    (regularizer, (smooth_price,), {"strength": 1.0}), (regularizer, (ridge(1),), {}),
    (support, (), {}), (support, ("atac",), {}), (no_self, (), {}), (nonnegative, (), {}),
    (sign, (), {}), (box, (-1, 1), {}), (box, (0, 0), {}), (box, (-math.inf, math.inf), {}),
    (box, (0, 5), {}), (box, (-5, 0), {}),
]
WRONG = [
    (gaussian, (0,), "variance"), (gaussian, (-1,), "variance"), (gaussian, ("a",), "variance"),
    (gaussian, (math.nan,), "variance"), (gaussian, (math.inf,), "variance"),
    (huber, (0,), "delta"), (huber, (-1,), "delta"), (huber, (None,), "delta"),
    (huber, (math.inf,), "delta"),
    (gaussian_evidence, (-1,), "hyperprior"), (gaussian_evidence, (1, -1), "tolerance"),
    (gaussian_evidence, (1, math.nan), "tolerance"),
    (gaussian_evidence, (1, 1, 0), "max_iterations"),
    (gaussian_evidence, (1, 1, 2.5), "max_iterations"),
    (gaussian_evidence, (1, 1, -3), "max_iterations"),
    (gaussian_evidence, (1, 1, "a"), "max_iterations"),
    (gaussian_evidence, (1, 1, None), "max_iterations"),
    (gaussian_evidence, (1, 1, math.nan), "max_iterations"),
    (gaussian_evidence, (1, 1, math.inf), "max_iterations"),
    (ridge, (-1,), "alpha"), (ridge, ("a",), "alpha"), (ridge, (None,), "alpha"),
    (ridge, (math.nan,), "alpha"), (ridge, (math.inf,), "alpha"), (ridge, ([1, 2],), "alpha"),
    (ridge, (np.ones(2),), "alpha"),
    (l1, (-0.1,), "strength"), (l1, ("a",), "strength"), (l1, (math.nan,), "strength"),
    (elastic_net, (-1, 1), ""), (elastic_net, (1, -1), ""), (elastic_net, (1, "a"), ""),
    (prior_l1, (-1,), "strength"), (prior_l1, (1, 2), "bias"), (prior_l1, (1, -0.1), "bias"),
    (prior_l1, (1, math.nan), "bias"), (prior_l1, ("a",), "strength"),
    (box, (1, 2), "box"), (box, (-2, -1), "box"), (box, (1, -1), "box"),
    (box, (math.nan, 1), "box"), (box, (-1, math.nan), "box"), (box, ("a", 1), "box"),
    (box, (None, 1), "box"), (box, (-1, [1, 2]), "box"),
    (loss, (3,), TypeError), (loss, ("least_squares",), TypeError), (loss, (None,), TypeError),
    (loss, (ridge(1),), TypeError), (loss, (elastic_net(1, 1),), TypeError),
    (loss, (support(),), TypeError),
    (regularizer, (3,), TypeError), (regularizer, ("ridge",), TypeError),
    (regularizer, (least_squares(),), TypeError), (regularizer, (2 * huber(),), TypeError),
    (regularizer, (nonnegative(),), TypeError),
]


def written(row) -> str:
    build, args = row[:2]
    # No memory addresses: the workers of a parallel run must name the tests alike.
    return f"{build.__name__}{args!r}".partition(" at 0x")[0]


@pytest.mark.parametrize("row", RIGHT, ids=written)
def test_right_arguments(row):
    build, args, more = row
    term = build(*args, **more)
    assert isinstance(term, Term) and term.formula
    kinds = {losses.__name__: "loss", regularizers.__name__: "regularizer",
             constraints.__name__: "constraint"}
    assert term.kind == kinds[build.__module__]


@pytest.mark.parametrize("row", WRONG, ids=written)
def test_wrong_arguments(row):
    build, args, named = row
    error = named if isinstance(named, type) else ValueError
    with pytest.raises(error) as caught:
        build(*args)
    message = str(caught.value)
    assert "got" in message  # what was got, beside what is needed
    if isinstance(named, str):
        assert named in message


def test_a_constructor_gives_back_a_term_of_its_kind():
    for term in (least_squares(), 0.5 * huber(), least_squares() + gaussian()):
        assert loss(term) is term
    for term in (ridge(1), 0.5 * l1(1), elastic_net(1, 1)):
        assert regularizer(term) is term


def test_arguments_become_floats():
    # An integer leaf would compile again for a float.
    for term in (ridge(1), l1(2), prior_l1(1, 0), huber(1), gaussian(1), box(-1, 1),
                 gaussian_evidence(1, 1), 2 * ridge(1), elastic_net(1, 1)):
        leaves = jax.tree.leaves(term)
        assert leaves and all(type(leaf) is float for leaf in leaves)


# --- Spec ----------------------------------------------------------------------------------------


KEPT = [
    (least_squares(), None, None),
    (0.5 * least_squares(), elastic_net(1, 1), support() + no_self()),
    (least_squares() + 2 * huber(), 3 * ridge(1), box(-1, 1)),
    (gaussian(), prior_l1(1) + ridge(1), sign()),
]


@pytest.mark.parametrize("slots", KEPT, ids=lambda slots: slots[0].formula)
def test_spec_keeps_the_terms_it_is_given(slots):
    spec = Spec(*slots)
    assert (spec.loss, spec.regularizer, spec.constraint) == slots
    for got, given_ in zip((spec.loss, spec.regularizer, spec.constraint), slots, strict=True):
        assert got is given_
    assert spec.terms == sum((parts(t) for t in slots), ())
    assert spec.separable is True


WRONG_SLOTS = [
    ("loss", "regularizer", ridge(1)), ("loss", "regularizer", elastic_net(1, 1)),
    ("loss", "regularizer", 2 * l1(1)), ("loss", "constraint", support()),
    ("loss", "constraint", support() + sign()), ("regularizer", "loss", least_squares()),
    ("regularizer", "loss", 0.5 * huber()), ("regularizer", "constraint", no_self()),
    ("constraint", "regularizer", ridge(1)), ("constraint", "loss", least_squares()),
    ("constraint", "function", smooth_price), ("constraint", "str", "support"),
    ("loss", "int", 3), ("loss", "str", "least_squares"), ("loss", "NoneType", None),
    ("regularizer", "float", 0.5), ("regularizer", "str", "ridge"), ("constraint", "bool", True),
]


@pytest.mark.parametrize(("slot", "kind", "term"), WRONG_SLOTS,
                         ids=[f"{slot}={kind}" for slot, kind, _ in WRONG_SLOTS])
def test_spec_refuses_a_term_of_another_kind(slot, kind, term):
    with pytest.raises(TypeError) as caught:
        Spec(**{"loss": least_squares(), slot: term})
    assert slot in str(caught.value) and kind in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [
    ("scale", "targets"), ("scale", True), ("scale", ["regulators"]),
])
def test_spec_refuses_other_settings(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be .*got"):
        Spec(least_squares(), **{name: value})


def test_spec_wraps_plain_functions():
    def fit(params, data, prior):
        return jnp.sum((data.y - data.x @ params.theta)**2)

    def penalty(params, data, prior):
        return jnp.sum(params.theta**4)

    spec = Spec(fit, penalty, nonnegative())
    assert isinstance(spec.loss, Loss) and isinstance(spec.regularizer, Regularizer)
    assert spec.loss.quadratic is None and spec.regularizer.prox is None
    assert spec.separable and spec.blocks == ("theta",)
    assert str(spec) == "argmin_θ  fit(θ, data)  +  penalty(θ, P)   s.t.  θ ≥ 0"
    world = World(2, 1.0)
    theta = world.theta(CANDIDATES)
    got = spec.objective(Blocks(theta=theta), world.rows(), world.prior())
    close(got, np.sum((world.y[:, 0] - world.x @ theta)**2) + np.sum(theta**4))


def test_hyperparameters_of_plain_functions_are_passed_on():
    penalty = regularizer(smooth_price, strength=0.7)
    assert jax.tree.leaves(penalty) == [0.7]
    assert Spec(least_squares(), penalty).regularizer is penalty
    assert loss(smooth_error, coupled=True, width=1.0).separable is None
    assert loss(smooth_error, blocks=("theta", "intercept"), width=1.0).blocks == (
        "intercept", "theta")


@pytest.mark.parametrize(("spec", "text"), [
    (Spec(least_squares()), "argmin_θ  Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)²"),
    (Spec(least_squares(mean=True, intercept=False), l1(1)),
     "argmin_θ  Σᵢ wᵢ (yᵢ − xᵢθ)² / Σᵢ wᵢ  +  λ ‖θ‖₁"),
    (Spec(huber(), ridge(1), box(-1, 2.5)),
     "argmin_θ  Σᵢ wᵢ huber_δ(yᵢ − θ₀ − xᵢθ)  +  α ‖θ‖²   s.t.  -1 ≤ θ ≤ 2.5"),
    (Spec(gaussian(), None, support() + no_self()),
     "argmin_θ  Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)² / 2s² + ½ W log 2πs²   s.t.  supp θ ⊆ supp P ∩ θ_gg = 0"),
], ids=str)
def test_str_of_a_spec_reads_as_mathematics(spec, text):
    assert str(spec) == text


def test_str_of_a_spec_shows_sums_and_factors():
    text = str(Spec(0.5 * least_squares(), 2 * elastic_net(1, 3)))
    assert text == "argmin_θ  0.5 Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)²  +  2 λ ‖θ‖₁ + 2 α ‖θ‖²"
    assert "0.5 (" in str(Spec(0.5 * gaussian()))  # a factor in front of a sum is bracketed


@each(CASES)
def test_formulas_are_one_line_without_addresses(case):
    formula = case.term.formula
    assert formula.strip() == formula and "\n" not in formula
    assert " at 0x" not in formula and "Traced" not in formula


def test_formulas_are_readable_under_a_trace():
    # A message may be written while a term is compiled.
    terms = tuple(case.term for case in CASES)
    seen = []

    def look(terms):
        seen.extend(t.formula for t in terms)
        return 0

    jax.make_jaxpr(look)(terms)
    assert len(seen) == len(CASES) and all(seen)


def test_objective_and_violation():
    world = World(4, 1.0)
    rows, prior = world.rows(), world.prior()
    theta = np.array([-1.5, 0.25, 3.0, 0.0])
    params = Blocks(theta=theta)
    spec = Spec(least_squares(), elastic_net(1, 2), nonnegative() + box(-1, 2))
    close(spec.objective(params, rows, prior),
          squares(theta, rows) + np.abs(theta).sum() + 2 * theta @ theta)
    assert float(spec.violation(params, rows, prior)) == 1.5
    assert float(spec.replace(constraint=None).violation(params, rows, prior)) == 0
    assert float(spec.violation(Blocks(theta=np.abs(theta) / 2), rows, prior)) == 0


def test_hard_mask_is_seen_in_a_sum():
    assert Spec(least_squares(), None, support()).hard_mask
    assert Spec(least_squares(), None, no_self() + support()).hard_mask
    assert not Spec(least_squares(), None, no_self() + sign()).hard_mask
    assert not Spec(least_squares()).hard_mask


# --- Blocks --------------------------------------------------------------------------------------


def test_blocks_are_a_mapping_in_the_order_of_the_names():
    blocks = Blocks(theta=1.0, intercept=2.0)
    assert list(blocks) == ["intercept", "theta"] and len(blocks) == 2
    assert blocks.theta == blocks["theta"] == 1.0
    assert dict(blocks) == {"intercept": 2.0, "theta": 1.0}
    assert "theta" in blocks and "variance" not in blocks
    assert repr(blocks) == "Blocks(intercept=2.0, theta=1.0)"


def test_blocks_are_immutable():
    blocks = Blocks(theta=1.0)
    with pytest.raises(AttributeError, match="immutable"):
        blocks.theta = 2.0
    with pytest.raises(AttributeError, match="immutable"):
        blocks.other = 2.0
    with pytest.raises(TypeError):
        blocks["theta"] = 2.0
    changed = blocks.replace(theta=3.0, intercept=0.0)
    assert (changed.theta, changed.intercept, blocks.theta) == (3.0, 0.0, 1.0)
    assert "intercept" not in blocks


def test_a_missing_block_is_an_attribute_error_that_lists_the_names():
    with pytest.raises(AttributeError, match="'loadings'.*the blocks are intercept, theta"):
        _ = Blocks(theta=1.0, intercept=2.0).loadings
    with pytest.raises(KeyError):
        _ = Blocks(theta=1.0)["loadings"]
    assert not hasattr(Blocks(theta=1.0), "loadings")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy,
                                   lambda b: pickle.loads(pickle.dumps(b))],
                         ids=["copy", "deepcopy", "pickle"])
def test_blocks_can_be_copied(again):
    blocks = Blocks(theta=1.0, intercept=2.0)
    assert dict(again(blocks)) == dict(blocks)


def test_blocks_go_through_jax():
    blocks = Blocks(theta=np.arange(3.0), intercept=np.ones(()))
    leaves, structure = jax.tree.flatten(blocks)
    assert [leaf.shape for leaf in leaves] == [(), (3,)]
    again = jax.tree.unflatten(structure, leaves)
    assert isinstance(again, Blocks) and list(again) == ["intercept", "theta"]
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(blocks)]
    assert names == [".intercept", ".theta"]
    doubled = jax.jit(lambda b: jax.tree.map(lambda a: 2 * a, b))(blocks)
    close(doubled.theta, 2 * blocks.theta)
    slope = jax.grad(lambda b: jnp.sum(b.theta**2) + b.intercept)(blocks)
    close(slope.theta, 2 * blocks.theta)
    assert jax.tree.structure(Blocks(a=1, b=2)) == jax.tree.structure(Blocks(b=2, a=1))
    assert jax.tree.structure(Blocks(a=1)) != jax.tree.structure(Blocks(b=1))


# --- Terms as pytrees ----------------------------------------------------------------------------


def test_terms_go_through_jit_unchanged():
    terms = tuple(case.term for case in CASES)
    through = jax.jit(lambda terms: terms)(terms)
    for before, after in zip(terms, through, strict=True):
        assert type(before) is type(after)
        assert jax.tree.structure(before) == jax.tree.structure(after)
        assert has(before) == has(after)
        assert before.kind == after.kind and before.blocks == after.blocks
        np.testing.assert_array_equal(jax.tree.leaves(before), jax.tree.leaves(after))
        again = jax.tree.unflatten(*reversed(jax.tree.flatten(before)))
        assert again == before


def test_structures_of_different_classes_differ():
    # The key of a compiled program: were two equal, one term would now and then be run as another.
    alone = [case.term for case in CASES if not isinstance(case.term, Sum | Scaled)]
    for wrap in (lambda t: t, lambda t: Scaled(2.0, t), lambda t: Sum((t, t)), lambda t: {"a": t}):
        for a in alone:
            for b in alone:
                same = type(a) is type(b) and (
                    dataclasses.replace(a, **dict.fromkeys(leaf_names(a), 0.0))
                    == dataclasses.replace(b, **dict.fromkeys(leaf_names(b), 0.0)))
                equal = jax.tree.structure(wrap(a)) == jax.tree.structure(wrap(b))
                assert equal is same, (a, b)


def leaf_names(term: Term) -> list[str]:
    """Fields of a term that are numbers, not part of its structure."""
    return [f.name for f in dataclasses.fields(term) if isinstance(getattr(term, f.name), float)]


def test_no_term_runs_the_program_of_another():
    # A program remembers the class that it was traced with.
    @jax.jit
    def traced_as(term):
        names.append(type(term).__name__)
        return len(names) - 1

    names = []
    alone = [case.term for case in CASES if not isinstance(case.term, Sum | Scaled)]
    for term in alone * 2:
        assert names[int(traced_as(term))] == type(term).__name__


def test_terms_are_rebuilt_around_anything():
    # JAX rebuilds terms with tracers and placeholders: construction must check nothing.
    for case in CASES:
        leaves, structure = jax.tree.flatten(case.term)
        jax.tree.unflatten(structure, [object()] * len(leaves))


def test_hyperparameters_are_leaves():
    counts = {
        least_squares(): 0, gaussian(): 0, gaussian(1): 1, huber(): 1, gaussian_evidence(): 2,
        ridge(1): 1, l1(1): 1, elastic_net(1, 1): 2, prior_l1(1): 2, support(): 0, no_self(): 0,
        nonnegative(): 0, sign(): 0, box(-1, 1): 2, 2 * ridge(1): 2, 2 * elastic_net(1, 1): 4,
    }
    for term, count in counts.items():
        assert len(jax.tree.leaves(term)) == count, term


PAIRS = [
    (gaussian(0.5), gaussian(2)), (huber(0.5), huber(3)), (ridge(1), ridge(20)), (l1(1), l1(0)),
    (elastic_net(1, 2), elastic_net(3, 4)), (prior_l1(1, 0.5), prior_l1(2, 0)),
    (0.5 * ridge(1), 3 * ridge(2)), (2 * (l1(1) + ridge(1)), 0 * (l1(2) + ridge(3))),
    (box(-1, 1), box(0, math.inf)), (loss(smooth_error, width=1.0), loss(smooth_error, width=2.0)),
    (gaussian_evidence(0.1, 1e-3), gaussian_evidence(0.2, 1e-5)),
]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[a.formula for a, _ in PAIRS])
def test_changing_a_hyperparameter_does_not_recompile(first, second, count_compilations):
    world = World(1, 1.0)
    params = world.params(first, world.theta(BATCH, CANDIDATES))
    view = world.moments() if first.evidence is not None else world.rows()
    prior = world.prior()
    before = np.asarray(values(first, params, view, prior))
    with count_compilations() as compiled:
        after = np.asarray(values(second, params, view, prior))
    assert compiled.total == 0, compiled.names
    assert not np.array_equal(before, after)


def test_another_structure_compiles(count_compilations):
    # The counter counts: the test above can fail.
    world = World(1, 1.0)
    params = Blocks(theta=world.theta(CANDIDATES))

    @jax.jit
    def fresh(term):
        return term(params, world.rows(), world.prior())

    fresh(ridge(1))
    with count_compilations() as compiled:
        fresh(least_squares(mean=True))
    assert compiled.of("fresh") == 1


def test_a_vector_of_hyperparameters_is_a_mapped_axis():
    world = World(6, 1.0)
    params, rows, prior = Blocks(theta=world.theta(CANDIDATES)), world.rows(), world.prior()
    terms = [0.5 * elastic_net(a, 2.0) + prior_l1(a, 0.5) for a in (0.1, 1.0, 7.0)]
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(leaves), *terms)
    got = jax.vmap(lambda term: term(params, rows, prior))(stacked)
    close(got, [float(term(params, rows, prior)) for term in terms])


def test_hyperparameters_have_gradients():
    world = World(6, 1.0)
    theta = world.theta(CANDIDATES)
    slope = jax.grad(lambda term: term(Blocks(theta=theta), world.rows(), world.prior()))(
        2.0 * Ridge(3.0))
    close(slope.factor, 3.0 * theta @ theta)
    close(slope.term.alpha, 2.0 * theta @ theta)


def test_terms_with_array_leaves_need_no_hash():
    term = jax.tree.map(jnp.asarray, 2 * ridge(1) + l1(1))
    with pytest.raises(TypeError):
        hash(term)
    assert np.isfinite(at_a_point(term))
    assert isinstance(jax.jit(lambda t: t)(term), Sum)


def test_terms_are_frozen():
    for term, name in ((Ridge(1.0), "alpha"), (L1(1.0), "strength"), (Huber(1.0), "delta")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(term, name, 2.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each([case for case in CASES if case.name != "pull"])
def test_the_dtype_is_that_of_the_data(case, dtype):
    # Nothing is computed in another precision than asked for, whatever JAX's default is.
    world = World(8, 1.0)

    def cast(tree):
        return jax.tree.map(lambda a: np.asarray(a, dtype) if a.dtype == np.float64 else a, tree)

    kind = case.views[0]
    params = cast(world.params(case.term, world.theta(BATCH, CANDIDATES)))
    prior = cast(world.prior())
    view = cast(world.view(kind))
    if case.name != UNWEIGHTED:
        view = dataclasses.replace(view, weight=None)
    shapes = [jax.eval_shape(lambda t: t(jax.tree.map(lambda a: a[0], params), view, prior),
                             case.term)]
    for name in ("quadratic", "absolute", "lipschitz"):
        if (offer := getattr(case.term, name)) is not None and case.name not in PULLS:
            data = cast(world.moments()) if name == "quadratic" else view
            shapes += jax.tree.leaves(jax.eval_shape(offer, data, prior))
    if case.term.interval is not None:
        shapes += jax.tree.leaves(jax.eval_shape(case.term.interval, prior))
    # A weak type takes that of what it meets.
    assert {str(s.dtype) for s in shapes if not s.weak_type} <= {dtype}
    assert str(shapes[0].dtype) == dtype
