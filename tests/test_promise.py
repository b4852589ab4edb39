"""Declared methods that an adversary saw certified on a wrong answer: right now, or refused.

Each has an answer that shares no code with the package: scipy, linear algebra, or the fit that the
words of the method stand for.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import unigrn
from unigrn import Constraint, Data, Spec, pytree, regularizer
from unigrn.probes import Profile
from unigrn.status import Status

NAMES = list("abc")


def data(seed=0, cells=60, dtype="float64", truth=(1.0, -0.5, 0.3)):
    """Three regulators and one target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(cells, 3))
    y = x @ np.array(truth) + rng.normal(size=cells)
    return Data.from_arrays(np.c_[x, y], [*NAMES, "y"], dtype=dtype), x, y


def fit(spec, given, **options):
    """Fit the one target."""
    return unigrn.fit(spec, given, regulators=NAMES, targets=["y"], **options)


@pytest.mark.parametrize(
    ("groups", "weights", "says"),
    [
        (["A"] * 30 + ["B"] * 30, [1.0] * 30 + [0.0] * 30, "not be all 0 in a group, as in 'B'"),
        (None, [0.0] * 60, "not all 0"),
        (None, [-1.0] * 60, ">= 0"),
        (None, [1.0] * 59, r"\(59,\) weights for 60 cells"),
    ],
)
def test_a_group_without_cells_that_count_is_refused(groups, weights, says):
    """Its coefficients of 0 were said to be converged."""
    values = np.random.default_rng(0).normal(size=(60, 4))
    with pytest.raises(ValueError, match=says):
        Data.from_arrays(values, [*NAMES, "y"], groups=groups, weights=weights)


def test_cells_without_a_group_may_have_no_weight():
    values = np.random.default_rng(0).normal(size=(60, 4))
    groups, weights = ["A"] * 30 + [None] * 30, [1.0] * 30 + [0.0] * 30
    given = Data.from_arrays(values, [*NAMES, "y"], groups=groups, weights=weights)
    assert given.groups == ("A",)


# ------------------------------------------------------------ what a residual is relative to


def poisson(params, data, prior):
    """Counts beside a library size, one number a cell."""
    rate = params.intercept + data.x @ params.theta + jnp.log(data.extra["depth"])
    return jnp.sum(jnp.exp(rate) - data.y * rate)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("depth", [1e2, 1e6, 1e8])
def test_a_gradient_at_zero_of_another_size_certifies_nothing(depth, dtype):
    """At theta = 0 the slope is as large as the depth; at the optimum it is that of counts."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    sizes = depth * rng.uniform(0.5, 2, 200)
    y = rng.poisson(sizes * np.exp(np.log(2 / depth) + x @ [0.5, -0.3, 0.2])).astype(float)
    given = Data.from_arrays(np.c_[x, y], [*NAMES, "y"], dtype=dtype).with_extra(depth=sizes)

    def value(p):
        rate = p[0] + x @ p[1:] + np.log(sizes)
        return np.sum(np.exp(rate) - y * rate) + p[1:] @ p[1:]

    best = scipy.optimize.minimize(value, np.r_[np.log(2 / depth), 0, 0, 0], method="BFGS")
    term = unigrn.loss(poisson, blocks=("theta", "intercept"), convex=True)
    found = fit(Spec(term, unigrn.ridge(1.0)), given)
    assert found.certificate.status[0] == "converged"
    got = np.r_[found.blocks["intercept"].ravel(), found.theta[0].ravel()].astype(float)
    assert value(got) <= best.fun + (1e-3 if dtype == "float32" else 1e-6) * (1 + abs(best.fun))


def divergence(params, data, prior, floor):
    """Poisson with the identity link: steep without bound towards theta = 0."""
    rate = data.x @ params.theta + floor
    return jnp.sum(rate - data.y * jnp.log(rate))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("floor", [1e-3, 1e-8])
def test_a_slope_without_bound_at_zero_certifies_nothing(floor, dtype):
    rng = np.random.default_rng(0)
    x = rng.gamma(2.0, 1.0, size=(200, 3))
    y = rng.poisson(x @ [1.0, 0.2, 2.0]).astype(float)

    def value(p):
        return np.sum(x @ p + floor - y * np.log(x @ p + floor))

    best = scipy.optimize.minimize(value, np.ones(3), method="L-BFGS-B", bounds=[(0, None)] * 3)
    given = Data.from_arrays(np.c_[x, y], [*NAMES, "y"], dtype=dtype)
    term = unigrn.loss(divergence, convex=True, floor=floor)
    found = fit(Spec(term, None, unigrn.nonnegative()), given)
    assert found.certificate.status[0] == "converged"
    assert value(found.theta[0].ravel().astype(float)) <= best.fun + 1e-5 * abs(best.fun)


@pytest.mark.parametrize("unit", [1.0, 1e-5, 1e-6])
def test_a_regulator_in_small_units_is_fitted_in_single_precision(unit):
    _, x, y = data(truth=(1.0, 0.5, 1.0))
    given = Data.from_arrays(np.c_[x * [1, 1, unit], y], [*NAMES, "y"])
    found = fit(Spec(unigrn.least_squares(), None, unigrn.nonnegative()), given)
    want, _ = scipy.optimize.nnls(x - x.mean(0), y - y.mean())
    assert found.converged.all()
    np.testing.assert_allclose(found.theta[0].ravel() * [1, 1, unit], want, rtol=1e-3)


@pytest.mark.parametrize("unit", [1.0, 1e-5, 1e-6])
def test_a_regulator_in_small_units_is_not_left_out_of_a_whole_network_unsaid(unit):
    """A budget of every edge is least squares; its projection takes one step for all entries."""
    _, x, y = data(truth=(1.0, 0.5, 1.0))
    given = Data.from_arrays(np.c_[x * [1, 1, unit], y], [*NAMES, "y"])
    found = fit(Spec(unigrn.least_squares(), None, unigrn.budget(100)), given)
    want = np.linalg.lstsq(x - x.mean(0), y - y.mean(), rcond=None)[0]
    near = np.allclose(found.theta[0].ravel() * [1, 1, unit], want, rtol=1e-3)
    assert near or not found.converged.any()
    assert near or unit < 1


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e-3, 1e-6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("price", [unigrn.ridge, unigrn.l1], ids=["ridge", "l1"])
def test_the_unit_of_the_data_certifies_nothing_that_is_not_solved(price, dtype, unit):
    """An intercept has the unit of the data, theta none: their slopes are not of one size."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3)) + 3
    y = x @ rng.normal(size=3) + rng.normal(size=50)

    def value(p):
        r = np.abs(y - p[0] - x @ p[1:])
        inner = np.minimum(r, 1)
        paid = np.sum(p[1:] ** 2) if price is unigrn.ridge else np.sum(np.abs(p[1:]))
        return np.sum(inner * (2 * r - inner)) + paid

    options = {"xatol": 1e-10, "fatol": 1e-10, "maxiter": 20000, "maxfev": 20000}
    best = scipy.optimize.minimize(value, np.zeros(4), method="Nelder-Mead", options=options)
    given = Data.from_arrays(np.c_[x, y] * unit, [*NAMES, "y"], dtype=dtype)
    found = fit(Spec(unigrn.huber(unit), price(unit**2)), given)
    got = np.r_[found.blocks["intercept"].ravel() / unit, found.theta[0].ravel()].astype(float)
    assert not found.converged.all() or value(got) <= best.fun * (1 + 1e-3)
    if unit == 1:
        assert found.converged.all()


# ------------------------------------------------------------ padding


def mean_square(params, data, prior, strength):
    """A mean, which padding would change."""
    return strength * jnp.mean(params.theta**2)


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e-6, 1e6])
def test_the_unit_of_the_objective_does_not_hide_what_padding_changes(unit):
    given, x, y = data()
    xc, yc = x - x.mean(0), y - y.mean()
    want = np.linalg.solve(xc.T @ xc + 100 / 3 * np.eye(3), xc.T @ yc)
    price = regularizer(mean_square, convex=True, strength=100 * unit)
    found = fit(Spec(unit * unigrn.least_squares(), price), given)
    np.testing.assert_allclose(found.theta[0].ravel(), want, rtol=1e-5)


def root(params, data, prior):
    """A root of a sum that is 0 for regulators without a sign: its slope there is undefined."""
    return jnp.sqrt(jnp.sum(jnp.where(prior.sign < 0, params.theta, 0) ** 2))


def test_a_slope_that_is_undefined_with_and_without_padding_is_alike():
    spec = Spec(unigrn.least_squares(), regularizer(root))
    assert Profile(spec, spec.terms).padding == ""


def minus_log_det(params, data, prior):
    """A precision matrix, whose rows and columns are alike; its domain does not hold 0."""
    x = data.x - jnp.mean(data.x, axis=0, keepdims=True)
    fitted = jnp.sum(params.theta * (x.T @ x / x.shape[0]))
    return fitted - 2 * jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(params.theta))))


def identity(data, prior, key, terms):
    """A start inside of the domain."""
    return unigrn.Blocks(theta=jnp.eye(prior.weight.shape[0], dtype=prior.weight.dtype))


def test_a_symmetric_network_is_moved_in_its_own_units():
    """Steps that even out the spreads of the rows would set rows apart from columns."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6)) @ rng.normal(size=(6, 6)) * [1, 0.02, 2, 0.1, 0.5, 0.3] + 1
    given = Data.from_arrays(x, list("abcdef"), dtype="float64")
    term = unigrn.loss(minus_log_det, coupled=True, convex=True)
    spec = Spec(term, unigrn.ridge(0.05), start=identity)
    found = unigrn.fit(spec, given, max_iterations=200)  # 72 are enough; apart it takes 380
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    want = vectors @ np.diag((np.sqrt(values**2 + 0.4) - values) / 0.2) @ vectors.T
    assert found.converged.all()
    np.testing.assert_allclose(found.theta[0], want, atol=1e-6)


# ------------------------------------------------------------ intercepts and sets


def on_intercept(params, data, prior, strength):
    """A price on the intercept."""
    return strength * jnp.sum(params.intercept**2)


def test_a_constant_regulator_stays_where_the_intercept_has_a_price():
    _, x, _ = data()
    x[:, 0] = 1
    y = 5 + x @ [0, 1.0, -0.5]
    given = Data.from_arrays(np.c_[x, y], [*NAMES, "y"], dtype="float64")
    price = regularizer(on_intercept, convex=True, blocks=("theta", "intercept"), strength=1e3)
    found = fit(Spec(unigrn.huber(1e3), unigrn.ridge(0.1) + price), given)
    wide = np.c_[np.ones(60), x]  # r^2, where no residual reaches delta
    scale = found.targets["objective"].item()

    def value(p):
        r = y - wide @ p
        return np.sum(r**2) + 0.1 * np.sum(p[1:] ** 2) + 1e3 * p[0] ** 2

    best = scipy.optimize.minimize(value, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(scale, best.fun, rtol=1e-6)
    np.testing.assert_allclose(found.theta[0].ravel(), best.x[1:], atol=1e-5)


@pytree
class Within(Constraint):
    """An interval, as somebody else may write it."""

    low: float
    high: float
    separable = "entries"
    convex = True
    formula = "low <= theta <= high"

    def __call__(self, params, data, prior):
        return jnp.max(jnp.abs(params.theta - self.project(params.theta, prior)), initial=0)

    def project(self, v, prior):
        return jnp.where(prior.valid, jnp.clip(v, self.low, self.high), 0)

    def interval(self, prior):
        on = prior.valid.astype(prior.weight.dtype)
        return on * self.low, on * self.high


@pytest.mark.parametrize(
    "sets",
    [
        unigrn.nonnegative() + Within(-2.0, -1.0),
        Within(2.0, 3.0) + unigrn.box(-1, 1),
        unigrn.box(-1, 1) + Within(2.0, 3.0),
        Within(2.0, 1.0),
        Within(1.0, 2.0) + unigrn.budget(2),
    ],
    ids=str,
)
def test_sets_without_a_common_point_are_no_success(sets):
    found = fit(Spec(unigrn.least_squares(), None, sets), data()[0])
    assert found.status.item() == Status.INFEASIBLE
    assert not found.converged.any()


def test_sets_with_one_common_point_are_solved():
    found = fit(Spec(unigrn.least_squares(), None, Within(1.0, 2.0) + unigrn.box(-1, 1)), data()[0])
    assert found.converged.all()
    np.testing.assert_allclose(found.theta[0].ravel(), 1.0)


# ------------------------------------------------------------ jumps


def count(params, data, prior, strength):
    """The number of edges, as a plain function."""
    return strength * jnp.sum((params.theta != 0).astype(params.theta.dtype))


def whole_count(params, data, prior):
    """The same, an integer."""
    return jnp.sum(params.theta != 0)


def rounded(params, data, prior):
    """Steps everywhere."""
    return jnp.sum(jnp.round(4 * params.theta))


def beyond(params, data, prior):
    """A step at 0.1."""
    return jnp.sum((jnp.abs(params.theta) > 0.1).astype(params.theta.dtype))


@pytest.mark.parametrize(
    ("term", "says"),
    [
        (regularizer(count, strength=2.0), "jumps at theta = 0"),
        (regularizer(whole_count), "jumps at theta = 0|has no gradient"),
        (regularizer(rounded), "moves in steps"),
        (regularizer(beyond), "moves in steps"),
    ],
)
@pytest.mark.parametrize(
    "loss", [unigrn.least_squares(), unigrn.huber(1.0)], ids=["squared", "huber"]
)
def test_a_plain_function_that_jumps_is_refused(term, says, loss):
    with pytest.raises(unigrn.PlanError, match=says):
        fit(Spec(loss, term), data()[0])


def half_norm(params, data, prior):
    """Steep at 0, but no jump."""
    return jnp.sum(jnp.sqrt(jnp.abs(params.theta) + 1e-3))


def hinge(params, data, prior):
    """Flat on one side."""
    return jnp.sum(jnp.maximum(params.theta - 0.5, 0) ** 2)


@pytest.mark.parametrize("function", [half_norm, hinge, mean_square], ids=lambda f: f.__name__)
def test_a_steep_or_half_flat_function_does_not_jump(function):
    hyper = {"strength": 1.0} if function is mean_square else {}
    spec = Spec(unigrn.least_squares(), regularizer(function, **hyper))
    assert Profile(spec, spec.terms).jumps == ()


# ------------------------------------------------------------ minibatches


def test_minibatches_of_a_mean_are_judged_by_all_cells():
    """The mean of a minibatch is not its share of the sum: the regularizer is too weak by n/m."""
    spec = Spec(unigrn.least_squares(mean=True), unigrn.ridge(1.0))
    found = fit(spec.replace(minibatch=unigrn.Minibatch(8, 60)), data()[0])
    assert not found.converged.any()


def test_a_residual_that_is_no_number_is_no_noise():
    """One cell beside its own intercept has no slope at all."""
    spec = Spec(unigrn.least_squares(), unigrn.ridge(0.1), minibatch=unigrn.Minibatch(1, 1))
    assert not fit(spec, data(truth=(10.0, 10.0, 0.0))[0]).converged.any()


# ------------------------------------------------------------ axes


@pytree
class Sure(Constraint):
    """Edges of a prior weight of at least ``least`` only."""

    least: float
    separable = "entries"
    convex = True
    needs_prior = True
    formula = "theta = 0 where P < least"

    def __call__(self, params, data, prior):
        off = jnp.where(self.allows(prior), 0, params.theta)
        return jnp.max(jnp.abs(off), initial=0)

    def project(self, v, prior):
        return jnp.where(self.allows(prior), v, 0)

    def allows(self, prior):
        return prior.weight >= self.least


def test_a_path_over_what_deletes_is_refused():
    with pytest.raises(ValueError, match=r"Sure\.least.*deleted once, for all values alike"):
        unigrn.path(Spec(unigrn.least_squares(), None, Sure(0.1)), "Sure.least", [0.1, 0.4])


def test_two_paths_over_one_hyperparameter_are_refused():
    inner = unigrn.path(Spec(unigrn.least_squares(), unigrn.l1(1.0)), "L1.strength", [1.0, 2.0])
    with pytest.raises(ValueError, match=r"path\(\) got L1\.strength twice"):
        unigrn.path(inner, "L1.strength", [3.0])


@pytest.mark.parametrize("loss", [unigrn.gaussian(), unigrn.huber(1.0)], ids=["gaussian", "huber"])
def test_ebic_is_for_the_residual_sum_of_squares(loss):
    with pytest.raises(ValueError, match="made for the residual sum of squares"):
        unigrn.path(Spec(loss, unigrn.l1(1.0)), "L1.strength", [1.0, 2.0])


@pytest.mark.parametrize("seed", range(4))
def test_ebic_counts_the_cells_that_a_fit_has(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 6))
    y = x @ [1.0, -0.6, 0.4, 0.2, 0, 0] + rng.normal(size=60)
    names = [*"abcdef", "y"]
    kept = np.arange(60) < 20
    values = [0.5, 2.0, 6.0, 12.0, 25.0]
    spec = unigrn.path(Spec(unigrn.least_squares(), unigrn.l1(1.0)), "L1.strength", values)
    chosen = []
    for rows, weight in ((slice(None), kept * 1.0), (kept, None)):
        given = Data.from_arrays(np.c_[x, y][rows], names, dtype="float64", weights=weight)
        found = unigrn.fit(spec, given, regulators=names[:6], targets=["y"])
        chosen.append(found.statistics["strength"].ravel()[0])
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize(
    "spec",
    [
        Spec(unigrn.least_squares(), unigrn.ridge(1.0) + unigrn.laplacian(1.0, 0.1)),
        Spec(unigrn.least_squares(), None, unigrn.budget(4)),
    ],
    ids=["laplacian", "budget"],
)
def test_stability_of_a_whole_network_is_the_mean_of_its_subsamples(spec):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    given = Data.from_arrays(np.c_[x, y], [*NAMES, "y", "z"], dtype="float64")
    kw = {"regulators": NAMES, "targets": ["y", "z"]}
    found = unigrn.fit(unigrn.stability(spec, 3, share=0.5), given, **kw)
    weights = []
    for sample in range(3):
        rows = np.random.default_rng((0, 3, 0, sample)).permutation(60)[:30]
        alone = Data.from_arrays(np.c_[x, y][np.sort(rows)], [*NAMES, "y", "z"], dtype="float64")
        weights.append(unigrn.fit(spec, alone, **kw).theta[0])
    np.testing.assert_allclose(found.theta[0], np.mean(weights, axis=0), atol=1e-6)
    frequency = np.mean([w != 0 for w in weights], axis=0)
    np.testing.assert_allclose(
        np.asarray(found.statistics["frequency"]).ravel(), frequency.T.ravel()
    )


# ------------------------------------------------------------ room for programs


def test_programs_are_dropped_before_memory_has_no_regions_left(monkeypatch):
    dropped = []
    monkeypatch.setattr(jax, "clear_caches", lambda: dropped.append(1))
    spec, given = Spec(unigrn.least_squares(), unigrn.ridge(1.0)), data()[0]
    fit(spec, given)
    assert not dropped
    monkeypatch.setattr(unigrn.backend, "ROOM", 0.0)
    fit(spec, given)
    assert dropped


# ------------------------------------------------------------ names, arrays and words


def weighted_squares(params, data, prior, scale):
    """Squares of coefficients in units of their own."""
    return jnp.sum((params.theta / scale) ** 2)


def twice(params, data, prior, c):
    """A ridge."""
    return c * jnp.sum(params.theta**2)


def test_terms_of_one_class_have_names_of_their_own():
    given, x, y = data()
    spec = Spec(
        unigrn.least_squares(),
        unigrn.l1(1.0)
        + unigrn.ridge(0.5)
        + unigrn.l1(2.0)
        + regularizer(twice, convex=True, c=3.0),
    )
    told = spec.hyperparameters
    assert (told["L1[1].strength"], told["L1[2].strength"], told["twice.c"]) == (1.0, 2.0, 3.0)
    assert "L1.strength" not in told
    with pytest.raises(ValueError, match=r"those of the spec are: L1\[1\].strength"):
        unigrn.path(spec, "L1.strength", [1.0])
    found = fit(unigrn.path(spec, "L1[2].strength", [2.0, 20.0], choose=None), given)
    alone = fit(
        spec.replace(regularizer=spec.terms[1] + spec.terms[2] + unigrn.l1(20.0) + spec.terms[4]),
        given,
    )
    assert found.statistics["weight[2]"].ravel() == pytest.approx(
        fit(spec, given).theta[0, :, 0], abs=1e-7
    )
    assert found.statistics["weight[20]"].ravel() == pytest.approx(alone.theta[0, :, 0], abs=1e-7)
    ways = spec.ways()
    assert ways["path"].call == 'path(spec, "L1[1].strength", [...])' and not ways["path"].why
    only = Spec(unigrn.least_squares(), regularizer(twice, c=3.0))
    assert only.ways()["path"].call == 'path(spec, "twice.c", [...])'


def test_weights_that_divide_are_not_padded():
    given, x, y = data()
    weights = np.array([0.5, 1.0, 2.0])
    term = regularizer(
        weighted_squares, convex=True, scale=unigrn.along(weights, "regulators", names=NAMES)
    )
    found = fit(Spec(unigrn.least_squares(), term), given)
    x, y = x - x.mean(0), y - y.mean()
    best = np.linalg.solve(x.T @ x + np.diag(weights**-2.0), x.T @ y)
    assert found.status.item() == Status.CONVERGED
    assert found.theta[0, :, 0] == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_ways_take_arrays_of_any_length(size):
    def pull(params, data, prior, to):
        return jnp.sum(jnp.sum(params.theta * to[None, :], axis=0) ** 2)

    names = [f"g{i}" for i in range(size)]
    term = regularizer(
        pull, coupled=True, convex=True, to=unigrn.along(np.ones(size), "targets", names=names)
    )
    assert not Spec(unigrn.least_squares(), term).ways()["one optimum"].why


def test_a_convex_function_on_a_domain_without_zero_is_solved():
    def barrier(params, data, prior, mu):
        return -mu * jnp.sum(jnp.log(params.theta))

    def start(data, prior, key, terms):
        return unigrn.Blocks(theta=jnp.ones_like(prior.weight))

    given, x, y = data()
    spec = Spec(unigrn.least_squares(), regularizer(barrier, convex=True, mu=1.0), start=start)
    x, y = x - x.mean(0), y - y.mean()
    best = scipy.optimize.minimize(
        lambda t: ((y - x @ np.exp(t)) ** 2).sum() - t.sum(), np.zeros(3), method="BFGS", tol=1e-9
    )
    for solver in (None, "proximal gradient on rows", "gradient (L-BFGS)"):
        found = fit(spec, given, solver=solver)
        assert found.status.item() == Status.CONVERGED
        assert found.theta[0, :, 0] == pytest.approx(np.exp(best.x), rel=1e-4)


def wells(params, data, prior):
    """Minima at 1 and -1, a maximum at 0."""
    return jnp.sum((params.theta**2 - 1) ** 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["gradient (L-BFGS)", "proximal gradient on rows"])
def test_a_start_at_a_maximum_is_not_converged(solver, dtype):
    given, *_ = data(dtype=dtype)

    def start(data, prior, key, terms):
        return unigrn.Blocks(theta=jnp.full_like(prior.weight, 0.3))

    spec = Spec(unigrn.loss(wells))
    found = fit(spec, given, solver=solver)
    assert found.status.item() == Status.SADDLE
    found = fit(spec.replace(start=start), given, solver=solver)
    assert found.status.item() == Status.CONVERGED
    assert np.abs(found.theta) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("named", [True, False])
def test_a_mask_of_ones_own_deletes(named):
    @pytree
    class Mask(Constraint):
        mask: object
        separable = "entries"
        convex = True
        formula = "own mask"

        def __call__(self, params, data, prior):
            return jnp.max(jnp.abs(jnp.where(self.mask, 0, params.theta)), initial=0)

        def project(self, v, prior):
            return jnp.where(self.mask, v, 0)

        def allows(self, prior):
            return jnp.asarray(self.mask)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    on = np.array([[1, 0], [1, 1], [0, 1]], bool)
    mask = unigrn.along(on, "regulators", "targets", names=[NAMES, ["y", "z"]]) if named else on
    given = Data.from_arrays(np.c_[x, y], [*NAMES, "y", "z"], dtype="float64")
    found = unigrn.fit(
        Spec(unigrn.least_squares(), None, Mask(mask)), given, regulators=NAMES, targets=["y", "z"]
    )
    x, y = x - x.mean(0), y - y.mean(0)
    for t in range(2):
        best = np.linalg.lstsq(x[:, on[:, t]], y[:, t], rcond=None)[0]
        assert found.theta[0, on[:, t], t] == pytest.approx(best, rel=1e-8)
        assert not found.theta[0, ~on[:, t], t].any()


def alike(params, data, prior, c):
    """Groups are pulled together."""
    return c * jnp.sum((params.theta[1:] - params.theta[:-1]) ** 2)


@pytest.mark.parametrize(
    "around", [lambda s: unigrn.folds(s, 3), lambda s: unigrn.path(s, "alike.c", [1.0, 2.0])]
)
def test_what_is_judged_group_by_group_is_refused_across_groups(around):
    spec = Spec(unigrn.least_squares(), regularizer(alike, across=True, convex=True, c=8.0))
    with pytest.raises(unigrn.PlanError, match="judges the fit of one group at a time"):
        fit(around(spec), data()[0])


def branches(params, data, prior):
    """Python's own if."""
    return jnp.sum(params.theta) if jnp.sum(params.theta) > 0 else 0.0


def by_numpy(params, data, prior):
    """Not traced."""
    return np.sum(np.asarray(params.theta) ** 2)


def coupled(params, data, prior):
    """Needs every target."""
    return jnp.sum((params.theta[:, 1:] - params.theta[:, :-1]) ** 2)


@pytest.mark.parametrize(
    "term, says",
    [
        (branches, "Python's if.*use jnp.where"),
        (by_numpy, "calls NumPy.*use jax.numpy"),
        (coupled, "coupled=True"),
        (lambda p, d, pr: p.theta**2, "returns an array of shape.*take jnp.sum"),
        (lambda p, d, pr: None, "returns None"),
        (lambda p, d, pr: 1, "returns int32, which has no gradient|returns int64"),
        (lambda p, d, pr: jnp.sum(p.omega), "no parameter block 'omega'"),
    ],
)
@pytest.mark.parametrize("slot", ["loss", "regularizer"])
def test_a_term_that_cannot_be_evaluated_says_why(term, says, slot):
    spec = (
        Spec(unigrn.loss(term))
        if slot == "loss"
        else Spec(unigrn.least_squares(), regularizer(term))
    )
    with pytest.raises(unigrn.PlanError, match=f"cannot be evaluated.*({says})") as caught:
        fit(spec, data()[0])
    assert "\n" not in str(caught.value) and "nearest" not in str(caught.value)


@pytest.mark.parametrize(
    "start, says",
    [
        (lambda d, p, k, t: {"theta": p.weight}, "returns Blocks.theta=....*got dict"),
        (lambda d, p, k, t: unigrn.Blocks(theta=jnp.zeros(7)), "theta of shape .7,."),
        (lambda d, p, k, t: unigrn.Blocks(mu=p.weight), "got Blocks of mu"),
    ],
)
def test_a_start_that_is_none_says_why(start, says):
    spec = Spec(unigrn.least_squares(), unigrn.l1(1.0), start=start)
    with pytest.raises(ValueError, match=says):
        fit(spec, data()[0])


def test_a_start_of_whole_numbers_is_a_start():
    def start(data, prior, key, terms):
        return unigrn.Blocks(theta=jnp.ones(prior.weight.shape, int))

    spec = Spec(unigrn.least_squares(), unigrn.l1(1.0))
    found, best = fit(spec.replace(start=start), data()[0]), fit(spec, data()[0])
    assert found.theta == pytest.approx(best.theta, abs=1e-7)


def test_arrays_of_one_data_set_are_not_compared_on_others():
    term = regularizer(weighted_squares, scale=unigrn.along(np.ones(3), "regulators", names=NAMES))
    spec = Spec(unigrn.least_squares(), term)
    with pytest.raises(TypeError, match="follows the names of one data set"):
        unigrn.verify.equivalent(spec, spec)


@pytest.mark.parametrize("solver", [None, "proximal gradient on moments"])
def test_converged_holds_for_regulators_of_very_unlike_units(solver):
    """Ten decades between regulators: single precision tells them apart, and so does a residual."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 6))
    y = z @ rng.normal(size=(6, 5)) + 0.3 * rng.normal(size=(200, 5))
    names = [f"R{i}" for i in range(6)] + [f"T{i}" for i in range(5)]
    data = unigrn.Data.from_arrays(np.c_[z * np.logspace(0, -10, 6), y], names)
    spec = unigrn.Spec(unigrn.least_squares(), unigrn.l1(1e-9))
    plan = unigrn.plan(spec, data, names[:6], names[6:], solver=solver)
    found = unigrn.fit(spec, data, regulators=names[:6], targets=names[6:], solver=solver)
    assert plan.solver.name in ("active sets on moments", "proximal gradient on moments")
    assert set(found.certificate["status"]) == {"converged"}
    ours = np.asarray(found.theta[0], float) * np.logspace(0, -10, 6)[:, None]
    centred = z - z.mean(0)
    least = np.linalg.lstsq(centred, y - y.mean(0), rcond=None)[0]  # the penalty is next to nothing
    np.testing.assert_allclose(ours, least, atol=0.03)


def test_padding_of_a_block_of_ones_own_is_not_free():
    """A shift summed over the regulators, each of them with a price: more would share it."""

    def squares(params, data, prior):
        apart = data.y - data.x @ params.theta - jnp.sum(params.shift)
        cells = jnp.ones_like(apart[:, 0]) if data.weight is None else data.weight
        real = jnp.any(prior.valid, axis=0)[None]  # padded targets and cells are left out by hand
        fit = jnp.sum(jnp.where(real, cells[:, None] * apart**2, 0))
        return fit + jnp.sum(params.theta**2) + jnp.sum(params.shift**2)

    def start(data, prior, key, terms):
        theta = jnp.zeros_like(prior.weight)
        return unigrn.Blocks(theta=theta, shift=theta[:, 0])

    rng = np.random.default_rng(0)
    x, q, p = rng.normal(size=(30, 3)), 3, 2
    y = x @ rng.normal(size=(q, p)) + 2 + rng.normal(size=(30, p))
    names = ["r0", "r1", "r2", "t0", "t1"]
    data = unigrn.Data.from_arrays(np.c_[x, y], names, dtype="float64")
    spec = Spec(
        unigrn.loss(squares, blocks=("shift", "theta"), coupled=True),
        start=start,
        axes={"shift": ("regulators",)},
    )
    found = unigrn.fit(spec, data, regulators=names[:3], targets=names[3:], tolerance=1e-10)
    design = np.hstack([np.kron(np.eye(p), x), np.ones((p * 30, 1))])
    price = np.diag(np.r_[np.ones(p * q), 1 / q])  # three equal parts of a sum
    want = np.linalg.solve(design.T @ design + price, design.T @ y.T.reshape(-1))
    assert found.converged.all()
    np.testing.assert_allclose(found.blocks["shift"][0].sum(), want[-1], rtol=1e-6)
    np.testing.assert_allclose(found.theta[0], want[:-1].reshape(p, q).T, atol=1e-6)


def factor_model(unit, kinked, far=1.0):
    """|Y - A' theta|^2 + u^2 |A|^2 + |theta / u|^2, or 4 |theta / u|_1: u is a unit and no more."""

    def activities(params, data, prior):
        return unit**2 * jnp.sum(params.A**2)

    def start(data, prior, key, terms):
        keys = jax.random.split(jax.random.key(1))
        size = {"A": (data.x.shape[1], data.x.shape[0]), "theta": prior.weight.shape}
        own = {
            n: jax.random.normal(k, s, data.y.dtype)
            for k, (n, s) in zip(keys, size.items(), strict=True)
        }
        theta = jnp.where(prior.valid, far * unit * own["theta"], 0)
        return unigrn.Blocks(A=far * own["A"] / unit, theta=theta)

    price = unigrn.l1(4 / unit) if kinked else unigrn.ridge(1 / unit**2)
    return Spec(
        unigrn.component_analysis(),
        price + regularizer(activities, blocks=("A",), coupled=True),
        start=start,
        axes={"A": ("regulators", "cells")},
    )


@pytest.mark.parametrize(
    ("solver", "kinked", "far"),
    [
        ("gradient (L-BFGS) on the whole network", False, 1.0),
        ("gradient (L-BFGS) on the whole network", False, 1e5),
        ("proximal gradient on the whole network", True, 1.0),
        ("proximal gradient on the whole network", True, 1e3),
        (None, True, 1.0),
        (None, True, 1e3),
    ],
)
def test_units_of_blocks_certify_nothing(solver, kinked, far):
    """In small units of theta, or far from home, fits stopped by the slope in theta alone."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.normal(size=(60, 8))
    names = [*"abc", *"stuvwxyz"]
    given = Data.from_arrays(np.c_[rng.normal(size=(60, 3)), y], names, dtype="float64")
    steps, words = [], set()
    for unit in (1.0, 30.0, 1e-3, 1e-6):
        found = unigrn.fit(
            factor_model(unit, kinked, far),
            given,
            regulators=names[:3],
            targets=names[3:],
            solver=solver,
            tolerance=1e-6,
            max_iterations=4000,
        )
        words |= set(found.certificate.status)
        steps.append(found.iterations.max())
        if (found.status != Status.CONVERGED).any():
            assert unit != 1 or far != 1
            continue
        theta, a = found.theta[0] / unit, found.blocks["A"][0] * unit
        slope = 2 * a @ (a.T @ theta - y)
        apart = slope + (4 * np.sign(theta) if kinked else 2 * theta)
        apart = np.where((theta == 0) & kinked, np.maximum(np.abs(slope) - 4, 0), apart)
        other = 2 * theta @ (a.T @ theta - y).T + 2 * a
        size = np.abs(2 * a @ y).max()
        assert max(np.abs(apart).max(), np.abs(other).max()) < 1e-5 * size, unit
    if not kinked:
        assert words == {"converged"} and max(steps) < 300
