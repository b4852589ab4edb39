"""The measure of every certificate, piece by piece, against its definition in NumPy."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import unigrn as u
from unigrn.solvers import gradient as stepping
from unigrn.solvers import levels, optimality
from unigrn.solvers.optimality import Objective, Options, Units
from unigrn.spec import Shape, Slots
from unigrn.status import Status
from unigrn.terms import Blocks, Moments

pytestmark = pytest.mark.usefixtures("x64")

CELLS, Q = 30, 4
OPTIONS = Options(jnp.asarray(1e-6), jnp.asarray(100, jnp.int32))


def prior_of(valid=(True,) * Q):
    none = np.zeros(len(valid), bool)
    arrays = (none, 1.0 * none, none.astype(np.int32), none, np.array(valid))
    return u.PriorView(*map(jnp.asarray, arrays))


def rows(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(CELLS, Q)) * [1.0, 10.0, 0.01, 1.0] + [0.0, 5.0, 0.0, 1.0]
    return x, x @ [1.0, 0.1, 50.0, 0.0] + rng.normal(size=CELLS), rng.uniform(0.5, 2, CELLS)


def plain(smooth, monotone=False, guarded=False):
    """An objective without a prox."""

    def value(params, data, prior):
        return smooth(params)

    return Objective(value, {}, value, monotone, guarded)


# ------------------------------------------------------------------ units and scales


def test_slopes_are_measured_as_they_are_and_in_even_units():
    even = Units(jnp.array([1.0, 0.01, 0.5]), jnp.asarray(4.0))
    slope = Blocks(theta=jnp.array([1.0, -0.2, 3.0]), intercept=jnp.asarray(0.5))
    np.testing.assert_allclose(even.sizes(slope), [3.0, 20.0])
    steep = slope.replace(intercept=jnp.asarray(-9.0))
    np.testing.assert_allclose(even.sizes(steep), [36.0, 36.0])
    assert even.steps is even.theta
    network = Units(jnp.full((3, 2), 0.5), jnp.ones(()))
    np.testing.assert_array_equal(network.steps, np.ones((3, 2)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("small", [1.0, 1e-5])
def test_units_are_roots_of_sums_of_squares(weighted, centred, small):
    x, y, w = rows()
    x = small * x
    x[:, 3] = 0.0  # a regulator that does not vary has no unit
    w = w if weighted else np.ones(CELLS)
    view = u.View(x=jnp.asarray(x), y=jnp.asarray(y), weight=jnp.asarray(w) if weighted else None)
    found = optimality.units(Blocks(theta=jnp.zeros(Q)), view, centred)
    square = w @ (x - centred * (w @ x / w.sum())) ** 2
    want = np.where(square > 0, np.sqrt(square / square.max()), 1)
    np.testing.assert_allclose(found.theta, want, rtol=1e-12)
    np.testing.assert_allclose(found.intercept, np.sqrt(square.max() / w.sum()), rtol=1e-12)
    # A whole network has them by rows.
    whole = optimality.units(Blocks(theta=jnp.zeros((Q, 2))), view, centred)
    np.testing.assert_allclose(whole.theta, np.stack([want, want], axis=1), rtol=1e-12)


def test_units_of_moments_are_roots_of_the_diagonal():
    gram = np.diag([4.0, 1.0, 0.0, 16.0]) + 0.1
    sums = Moments(*map(jnp.asarray, (gram, np.ones(Q), 1.0, 9.0, np.zeros(Q), 0.0)))
    found = optimality.units(Blocks(theta=jnp.zeros(Q)), u.View(sums))
    np.testing.assert_allclose(found.theta, np.sqrt(np.diag(gram) / 16.1), rtol=1e-12)
    assert float(found.intercept) == 1.0
    tiny = optimality.units(
        Blocks(theta=jnp.zeros(2)),
        u.View(Moments(*map(jnp.asarray, (np.diag([1.0, 1e-40]), np.ones(2), 1.0, 9.0, 0.0, 0.0)))),
    )
    np.testing.assert_allclose(tiny.theta, [1.0, 1e-15])  # below are the units of nothing


def test_residuals_are_relative_to_the_slope_at_no_network():
    even, target = Units(jnp.ones(3), jnp.ones(())), jnp.array([1.0, -4.0, 2.0])

    def gradient(at):
        return at.replace(theta=at.theta - target)

    def measured(start, tolerance=1e-6):
        return optimality.scale(gradient, Blocks(theta=start), jnp.asarray(tolerance), even)

    np.testing.assert_allclose(measured(jnp.zeros(3)), [4, 4])
    np.testing.assert_allclose(measured(jnp.array([9.0, 0.0, 0.0])), [4, 4])
    # Nothing to do at 0: the start serves.
    still = optimality.scale(lambda at: at, Blocks(theta=jnp.full(3, 7.0)), jnp.asarray(1e-6), even)
    np.testing.assert_allclose(still, [7, 7])
    # Rounding of a steep start is not asked to be undercut.
    steep = measured(jnp.full(3, 1e15))
    np.testing.assert_allclose(steep, 32 * np.finfo(float).eps / 1e-6 * 1e15, rtol=1e-6)
    # Undefined at 0: likewise the start.
    undefined = optimality.scale(
        lambda at: at.replace(theta=1 / at.theta), Blocks(theta=jnp.full(3, 0.5)), 1e-6, even
    )
    np.testing.assert_allclose(undefined, [2, 2])


def test_a_slope_at_no_network_that_is_far_steeper_than_here_does_not_count():
    even = Units(jnp.ones(2), jnp.ones(()))

    def nearby(gradient, at, sizes):
        start = Blocks(theta=jnp.zeros(2))
        return np.asarray(optimality.nearby(gradient, Blocks(theta=at), start, sizes, even))

    at, sizes = jnp.array([8.0, 16.0]), jnp.array([20.0, 20.0])
    line = nearby(lambda b: b.replace(theta=b.theta - 20.0), at, sizes)
    np.testing.assert_array_equal(line, sizes)  # a quadratic: its slope at 0 is 20
    bent = nearby(lambda b: b.replace(theta=2.0 + 0 * b.theta), at, sizes)
    np.testing.assert_array_equal(bent, [2, 2])  # flat around the point: 2, not 20
    nearly = nearby(lambda b: b.replace(theta=11.0 + 0 * b.theta), at, sizes)
    np.testing.assert_array_equal(nearly, sizes)  # more than half as much

    def eighth(b):
        """The line through the slopes at the point and an eighth of the way to 0."""
        return b.replace(theta=jnp.where(b.theta == at, 3.0, 2.5))

    np.testing.assert_allclose(nearby(eighth, at, sizes), [1, 1])  # |3 + 8 (2.5 - 3)|


# ------------------------------------------------------------------ the residual


def test_the_curvature_along_a_slope_is_that_of_a_quadratic():
    bends = jnp.array([2.0, 5.0, 0.5])
    for at in ([1.0, 1.0, 1.0], [0.0, 3.0, 0.0], [1e6, 0.0, 1.0]):
        point = Blocks(theta=jnp.array(at))

        def gradient(b):
            return b.replace(theta=bends * b.theta)

        g = gradient(point)
        want = np.sqrt(np.sum((bends * g.theta) ** 2) / np.sum(g.theta**2))
        found = optimality.curvature(gradient, point, g)
        np.testing.assert_allclose(found, want, rtol=1e-4)


def test_what_is_flat_far_away_has_the_curvature_of_nearby():
    """A steep slope asks for a long probe, beyond what bends."""

    def bends_nearby(b):
        return b.replace(theta=1e6 + jnp.clip(b.theta, -1e-6, 1e-6))

    point = Blocks(theta=jnp.zeros(1))
    found = optimality.curvature(bends_nearby, point, bends_nearby(point))
    np.testing.assert_allclose(found, 1.0, rtol=0.1)


@pytest.mark.parametrize("slope", [lambda v: 0 * v + 3.0, lambda v: 0 * v])
def test_where_nothing_bends_the_curvature_is_1(slope):
    point = Blocks(theta=jnp.array([1.0, 2.0]))

    def flat(b):
        return b.replace(theta=slope(b.theta))

    assert float(optimality.curvature(flat, point, flat(point))) == 1.0


def test_a_curvature_that_rounding_would_hide_is_cut():
    at = Blocks(theta=jnp.array([-2.0, 1.0]))
    for bound, size, tolerance in ((1.0, 1.0, 1e-6), (1e20, 1.0, 1e-6), (1e20, 5.0, 1e-3)):
        most = tolerance / np.finfo(float).eps / 4 * size / 2.0
        found = optimality.resolved(jnp.asarray(bound), at, jnp.asarray(size), tolerance)
        np.testing.assert_allclose(found, min(bound, most))


@pytest.mark.parametrize("at", [[0.0] * Q, [0.5, 0.0, 3.0, -1.0], [1.0, 0.1, 50.0, 0.0]])
def test_the_residual_is_the_distance_from_the_prox_step(at):
    """Of a lasso within a box: |b - clip(soft(b - g / L, price / L))| L over the slope at 0."""
    x, y, w = rows()
    price, low, high = 3.0, -0.75, 40.0
    terms = Slots(
        Shape((1, 1, 1), start=None, axes=()),
        (u.least_squares(intercept=False), u.l1(price), u.box(low, high)),
    )
    view, b = u.View(x=jnp.asarray(x), y=jnp.asarray(y), weight=jnp.asarray(w)), np.array(at)
    start = Blocks(theta=jnp.zeros(Q))
    status, found = optimality.certify(
        terms, Blocks(theta=jnp.asarray(b)), start, view, prior_of(), OPTIONS
    )

    def slope(b):
        return -2 * x.T @ (w * (y - x @ b))

    g, zero = slope(b), slope(0 * b)
    bend = np.linalg.norm(2 * x.T @ (w * (x @ g))) / np.linalg.norm(g)
    if b.any():
        bend = min(bend, 1e-6 / np.finfo(float).eps / 4 * np.abs(zero).max() / np.abs(b).max())
    moved = b - g / bend
    after = np.clip(np.sign(moved) * np.maximum(np.abs(moved) - price / bend, 0), low, high)
    spread = w @ x**2
    even = np.sqrt(spread / spread.max())
    apart = np.abs(b - after) * bend
    want = max(apart.max() / np.abs(zero).max(), (apart / even).max() / (np.abs(zero) / even).max())
    np.testing.assert_allclose(found, want, rtol=1e-3)
    outside = b.min() < low - 1e-6 * np.abs(b).max() or b.max() > high + 1e-6 * np.abs(b).max()
    assert int(status) == (Status.INFEASIBLE if outside else Status.MAX_ITERATIONS)


def test_every_block_with_a_set_or_a_kink_has_its_prox():
    def blocks(*terms):
        counts = [sum(t.kind == k for t in terms) for k in ("loss", "regularizer", "constraint")]
        obj = optimality.objective(Slots(Shape(tuple(counts)), terms))
        return set(obj.joints), obj.convex

    analysis = u.component_analysis()
    assert blocks(u.least_squares(), u.ridge(1.0)) == (set(), True)
    assert blocks(analysis, u.ridge(1.0, "A"), u.box(-1, 1, "A")) == ({"A"}, True)
    assert blocks(analysis, u.l1(1.0), u.box(-1, 1, "A")) == ({"A", "theta"}, True)
    assert blocks(u.least_squares(), u.l1(1.0), u.support()) == ({"theta"}, True)
    assert blocks(u.least_squares(), u.l0(1.0), u.support()) == ({"theta"}, False)
    assert blocks(u.least_squares(), u.ridge(1.0), u.no_self()) == (set(), True)


def test_how_a_fit_ended_is_read_off_its_residual():
    def ended(theta, residual, **more):
        return int(
            optimality.ended(Blocks(theta=jnp.array(theta)), jnp.asarray(residual), 0.1, **more)
        )

    assert ended([1.0], 0.1) == Status.CONVERGED
    assert ended([1.0], 0.11) == Status.MAX_ITERATIONS
    assert ended([1.0], 0.11, otherwise=Status.STALLED) == Status.STALLED
    assert ended([1.0, np.inf], 0.0) == ended([np.nan], 0.0) == Status.NOT_FINITE
    assert ended([1.0], np.nan) == Status.NOT_FINITE


def test_solving_goes_on_while_the_point_asks_for_more():
    def attempt(state, sizes):
        tried, _, steps = state
        return tried + 1, jnp.asarray(0.0), steps + 5

    def run(asked, most=100, reached=0.0):
        def measure(state, sizes):
            return jnp.asarray(asked)[jnp.minimum(state[0] - 1, len(asked) - 1)]

        def own(state, sizes):
            tried, _, steps = attempt(state, sizes)
            return tried, jnp.asarray(reached), steps

        first = (jnp.asarray(0), jnp.asarray(0.0), jnp.asarray(0))
        options = Options(jnp.asarray(1e-6), jnp.asarray(most))
        tried, out, steps = optimality.in_rounds(own, measure, first, jnp.asarray(8.0), options)
        return int(tried), float(out), int(steps)

    assert run([8.0]) == (1, 0.0, 5)  # asks no more
    assert run([4.0, 2.0, 2.0]) == (3, 0.0, 15)
    assert run([4.0, 2.0], reached=1.0) == (1, 1.0, 5)  # has not reached what was asked first
    assert run([4.0 / 2**i for i in range(20)]) == (8, np.inf, 40)  # at most so many rounds
    assert run([4.0, 2.0, 1.0, 1.0], most=8) == (2, np.inf, 10)  # no steps are left

    def of_one(state, sizes):
        return jnp.array([8.0, 4.0])  # in one of the two units

    options = Options(jnp.asarray(1e-6), jnp.asarray(100))
    first = (jnp.asarray(0), jnp.asarray(0.0), jnp.asarray(0))
    out = optimality.in_rounds(attempt, of_one, first, jnp.array([8.0, 8.0]), options)
    assert [float(v) for v in out] == [2.0, 0.0, 10.0]


# ------------------------------------------------------------------ what a small slope may hide


@pytest.mark.parametrize(
    ("value", "saddle"),
    [
        (lambda v: jnp.sum(v**2), False),
        (lambda v: -(jnp.sum(v) ** 2), True),  # lower along (1, 1, 1, 1)
        (lambda v: -((v[0] - v[1] + v[2] - v[3]) ** 2), True),  # along (1, -1, 1, -1)
        (lambda v: -((v[0] + v[1] - v[2] - v[3]) ** 2), True),  # along (1, 1, -1, -1)
        (lambda v: -(jnp.sum(v) ** 3), True),  # on one side only
        (lambda v: jnp.sum(v) ** 3, True),
    ],
)
def test_a_stationary_point_with_lower_neighbours_is_a_saddle(value, saddle):
    def asked(status=Status.CONVERGED, **more):
        obj = plain(lambda b: value(b.theta), **({"guarded": True} | more))
        at = Blocks(theta=jnp.zeros(Q))
        options = Options(jnp.asarray(1e-12), jnp.asarray(1))
        return int(
            optimality.off_minimum(
                obj, at, jnp.ones(2), options, None, prior_of(), jnp.asarray(int(status))
            )
        )

    assert asked() == (Status.SADDLE if saddle else Status.CONVERGED)
    # Known to be convex, or ours, or not certified in the first place: not asked.
    assert asked(monotone=True) == asked(guarded=False) == Status.CONVERGED
    assert asked(Status.MAX_ITERATIONS) == Status.MAX_ITERATIONS


def test_what_the_tolerance_leaves_is_no_saddle():
    """A slope within the tolerance lowers neighbours by reach times count times slope."""
    slope = 0.9e-3
    obj = plain(lambda b: slope * jnp.sum(b.theta), guarded=True)
    at = Blocks(theta=jnp.zeros(Q))
    for tolerance, want in ((1e-3, Status.CONVERGED), (1e-4, Status.SADDLE)):
        options = Options(jnp.asarray(tolerance), jnp.asarray(1))
        found = optimality.off_minimum(
            obj, at, jnp.ones(2), options, None, prior_of(), jnp.asarray(0)
        )
        assert int(found) == want


@pytest.mark.parametrize(
    ("slope", "kink"),
    [
        (lambda v: v, False),
        (lambda v: jnp.sign(v), True),
        (lambda v: 1e-3 * jnp.sign(v), True),
        (lambda v: 50 * jnp.sign(v), True),
        (lambda v: jnp.arctan(10 * v), False),  # steep, and smooth
        (lambda v: 1e-9 * jnp.sign(v), False),  # below what was asked for
        (lambda v: jnp.where(v[0] * v[1] > 0, 1.0, 0.0) * jnp.sign(v), True),
        (lambda v: jnp.where(v[0] * v[1] < 0, 1.0, 0.0) * jnp.sign(v), True),  # odd signs only
    ],
)
def test_a_jump_of_the_slope_is_a_kink(slope, kink):
    own = SimpleNamespace(terms=(u.loss(lambda params, data, prior: 0.0),))
    at = Blocks(theta=jnp.zeros(Q))

    def asked(terms, status):
        found = optimality.with_kinks(
            terms,
            lambda b: b.replace(theta=slope(b.theta)),
            at,
            jnp.ones(2),
            OPTIONS,
            jnp.asarray(int(status)),
        )
        return int(found)

    assert asked(own, Status.CONVERGED) == (Status.KINK if kink else Status.CONVERGED)
    assert asked(own, Status.NOT_FINITE) == Status.NOT_FINITE
    shipped = SimpleNamespace(terms=(u.least_squares(),))
    assert asked(shipped, Status.CONVERGED) == Status.CONVERGED


def test_leaving_a_set_is_told_from_rounding():
    view = u.View(x=jnp.zeros((2, Q)), y=jnp.zeros(2))
    terms = Slots(Shape((1, 0, 1), start=None, axes=()), (u.least_squares(), u.box(-1.0, 1.0)))

    def asked(theta, status=Status.CONVERGED, terms=terms):
        at = Blocks(theta=jnp.array(theta))
        return int(optimality.within_sets(terms, at, view, prior_of(), jnp.asarray(int(status))))

    assert asked([1.0, -1.0, 0.5, 0.0]) == asked([1.0 + 1e-7, 0, 0, 0]) == Status.CONVERGED
    assert asked([1.0 + 1e-5, 0, 0, 0]) == asked([0, 0, 0, -1.1]) == Status.INFEASIBLE
    assert asked([2.0, 0, 0, 0], Status.NOT_FINITE) == Status.NOT_FINITE
    mask = Slots(Shape((1, 0, 1), start=None, axes=()), (u.least_squares(), u.support()))
    assert asked([2.0, 0, 0, 0], terms=mask) == Status.CONVERGED  # deletion has met it


def test_the_slope_of_a_function_that_is_undefined_is_undefined():
    def logarithm(params):
        return jnp.sum(jnp.log(params.theta))

    at, view = Blocks(theta=jnp.array([1.0, -2.0, 4.0, 1.0])), None
    seen = optimality.slope(plain(logarithm, guarded=True), view, prior_of())(at)
    assert np.isnan(seen.theta).all()
    ours = optimality.slope(plain(logarithm), view, prior_of((True, True, False, True)))(at)
    np.testing.assert_allclose(ours.theta, [1.0, -0.5, 0.0, 1.0])
    with jax.enable_x64(True):
        assert float(optimality.largest({"a": jnp.array([1.0, -3.0]), "b": jnp.zeros(0)})) == 3.0


# ------------------------------------------------------------------ blocks in units of their own

BENDS = {"theta": 4.0, "A": 100.0, "W": 0.25}
TARGET = {"theta": [3.0, -1.0], "A": [0.5, 0.2], "W": [8.0, 0.0]}


def bowl(b):
    """The gradient of sum over blocks of h / 2 |b - target|^2."""
    return b.replace(**{n: BENDS[n] * (b[n] - jnp.array(TARGET[n])) for n in b})


def point(*values):
    return Blocks(**{n: jnp.array(v, float) for n, v in zip(BENDS, values, strict=True)})


def test_every_block_has_the_root_mean_square_of_its_curvatures():
    at = point([1.0, 1.0], [0.0, 0.0], [5.0, 2.0])
    found = levels.curvatures(bowl, at)
    np.testing.assert_allclose([found[n] for n in BENDS], list(BENDS.values()), rtol=1e-12)

    def uneven(b):
        return bowl(b).replace(A=jnp.array([3.0, 4.0]) * b["A"], W=0 * b["W"])

    found = levels.curvatures(uneven, at)
    np.testing.assert_allclose(found["A"], np.sqrt((9 + 16) / 2), rtol=1e-12)
    np.testing.assert_allclose(found["W"], 4.0, rtol=1e-12)  # none of its own: the largest
    flat = levels.curvatures(lambda b: jax.tree.map(jnp.zeros_like, b), at)
    assert [float(v) for v in flat.values()] == [1.0, 1.0, 1.0]


def test_curvatures_see_no_other_block_and_no_less_than_their_error():
    """Entries of one block that bend together: within the error of four draws, never 0."""

    def twisted(b):
        mixed = jnp.array([[0.0, 2.0], [2.0, 0.0]]) @ b["A"]
        return b.replace(theta=b.theta + 1e6 * b["A"], A=mixed + 1e6 * b.theta)

    at = Blocks(theta=jnp.zeros(2), A=jnp.ones(2))
    own = levels.diagonal(twisted, at, ["theta", "A"], jax.random.key(0))
    np.testing.assert_allclose(own["theta"], [1, 1], rtol=1e-12)
    assert (np.asarray(own["A"]) >= 2 / np.sqrt(levels.PROBES) - 1e-12).all()
    assert (np.asarray(own["A"]) <= 2 + 1e-12).all()
    some = levels.diagonal(twisted, at, ["A"], jax.random.key(0))
    np.testing.assert_array_equal(some["theta"], [0, 0])


def test_what_is_off_is_judged_over_roots_of_curvatures():
    bends = {n: jnp.asarray(h) for n, h in BENDS.items()}
    apart, begin = point([1.0, 0.0], [20.0, 0.0], [0.0, -3.0]), point([9.0, 0], [0, 0], [0, 0.0])
    still = point([0.0, 8.0], [10.0, 0.0], [1.0, 1.0])
    want = max(1 / 2, 20 / 10, 3 / 0.5) / max(8 / 2, 10 / 10, 1 / 0.5)
    np.testing.assert_allclose(levels.relative(apart, apart, still, begin, bends), want)
    # Slopes at theta = 0 that are those of the point, or undefined: the start's.
    start = want * 4 / (9 / 2)
    np.testing.assert_allclose(levels.relative(apart, still, still, begin, bends), start)
    undefined = still.replace(A=jnp.array([jnp.nan, 0.0]))
    np.testing.assert_allclose(levels.relative(apart, apart, undefined, begin, bends), start)


@pytest.mark.parametrize("price", [0.0, 5.0])
def test_a_smaller_residual_is_asked_for_where_a_block_is_off_in_its_own_units(price):
    at, start = point([2.5, -1.0], [0.5, 0.3], [8.0, 0.0]), point([0, 0], [1, 1], [1, 1])
    tolerance, sizes = 0.01, jnp.array([100.0, 50.0])
    terms = Slots(Shape((1, 1, 0)), (u.least_squares(), u.l1(price)))
    obj = plain(lambda b: 0.0)
    if price:
        joints = optimality.objective(terms).joints
        obj = Objective(obj.smooth, joints, obj.total)
    view, two = u.View(x=jnp.zeros((2, 2)), y=jnp.zeros(2)), prior_of((True, True))

    def asked(at, tolerance=tolerance):
        out = levels.asked(
            obj, bowl, at, start, sizes, jnp.asarray(1.0), jnp.asarray(tolerance), view, two
        )
        return np.asarray(out)

    g, still = bowl(at), bowl(at.replace(theta=jnp.zeros(2)))
    apart = {n: np.asarray(g[n]) for n in BENDS}
    if price:
        h = BENDS["theta"]
        moved = np.asarray(at.theta) - apart["theta"] / h
        after = np.sign(moved) * np.maximum(np.abs(moved) - price / h, 0)
        apart["theta"] = (np.asarray(at.theta) - after) * h

    def size(some):
        return max(np.abs(np.asarray(some[n])).max() / np.sqrt(h) for n, h in BENDS.items())

    off = size(apart) / size(still)
    assert tolerance < off < 1e3
    np.testing.assert_allclose(asked(at), sizes * np.clip(0.5 * tolerance / off, 1e-4, 1))
    np.testing.assert_array_equal(asked(at, tolerance=1.01 * off), sizes)
    # Blocks without units of their own are never asked.
    lone = Blocks(theta=at.theta, intercept=jnp.zeros(()))
    np.testing.assert_array_equal(asked(lone), sizes)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("kept", [0, 1, 3, stepping.MEMORY])
def test_a_step_of_limited_memory_is_that_of_the_dense_updates(kept, diagonal):
    """H = V' H V + s s' / s'y with V = I - y s' / s'y, oldest pair first, from s'y / y'Dy D."""
    rng = np.random.default_rng(kept)
    n, memory = 6, stepping.MEMORY
    bend = rng.normal(size=(n, n))
    bend = bend @ bend.T + np.eye(n)
    moves = rng.normal(size=(memory, n))
    turns = moves @ bend
    weight = np.where(np.arange(memory) >= memory - kept, 1 / np.sum(moves * turns, axis=1), 0)
    own, g = rng.uniform(0.5, 2, n) if diagonal else np.ones(n), rng.normal(size=n)
    h = np.diag(own)
    if kept:
        s, y = moves[-1], turns[-1]
        h = h * (s @ y) / (y @ (own * y))
    for i in range(memory - kept, memory):
        s, y = moves[i], turns[i]
        v = np.eye(n) - np.outer(y, s) / (s @ y)
        h = v.T @ h @ v + np.outer(s, s) / (s @ y)
    given = map(jnp.asarray, (g, moves, turns, weight))
    found = stepping.direction(*given, jnp.asarray(own) if diagonal else None)
    np.testing.assert_allclose(found, -h @ g, rtol=1e-9, atol=1e-12)
