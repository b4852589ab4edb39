"""`unigrn.solve` inside JAX: values as of `unigrn.fit`, derivatives as of finite differences."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import unigrn as u
from unigrn.implicit import moments
from unigrn.status import Status

CELLS, Q, P = 40, 6, 3


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(CELLS, Q)) * rng.uniform(0.5, 3, Q) + 1
    theta = rng.normal(size=(Q, P)) * (rng.random((Q, P)) < 0.6)
    y = x @ theta + 0.3 * rng.normal(size=(CELLS, P)) + 2
    return jnp.asarray(x), jnp.asarray(y)


def prior_of(seed=1, shape=(Q,)):
    rng = np.random.default_rng(seed)
    on = rng.random(shape) < 0.7
    weight = rng.uniform(0.2, 1, shape) * on
    sign = rng.integers(-1, 2, shape).astype(np.int32)
    return u.PriorView(*map(jnp.asarray, (on, weight, sign, np.zeros(shape, bool), on | True)))


with jax.enable_x64(True):
    X, Y = arrays()
ONE = u.View(x=X, y=Y[:, 0])


def squared_hinge_free(params, data, prior, knee=1.0):
    """A smooth loss of a user's own: pseudo-Huber."""
    rest = data.y - params.intercept - data.x @ params.theta
    return jnp.sum(knee**2 * (jnp.sqrt(1 + (rest / knee) ** 2) - 1))


# What is solved as a function of one number, at which value, and the solver that it is for.
CASES = {
    "ridge": (lambda a: u.Spec(u.least_squares(), u.ridge(a)), 2.0),
    "no intercept": (lambda a: u.Spec(u.least_squares(intercept=False), u.ridge(a)), 2.0),
    "lasso": (lambda a: u.Spec(u.least_squares(), u.l1(a)), 20.0),
    "elastic net": (lambda a: u.Spec(u.least_squares(), u.elastic_net(a, 3.0)), 9.0),
    "box": (lambda a: u.Spec(u.least_squares(), u.ridge(a), u.box(-0.4, 0.4)), 2.0),
    "sign": (lambda a: u.Spec(u.least_squares(), u.l1(a), u.sign()), 5.0),
    "mask": (lambda a: u.Spec(u.least_squares(), u.ridge(a), u.support()), 2.0),
    "huber": (lambda a: u.Spec(u.huber(0.5), u.ridge(a)), 1.0),
    "own function": (lambda a: u.Spec(u.loss(squared_hinge_free, knee=a), u.ridge(0.1)), 0.6),
}


def theta_of(make, data=ONE, prior=None, **options):
    return lambda a: u.solve(make(a), data, prior, tolerance=1e-12, **options).params.theta


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_of_finite_differences(name):
    make, at = CASES[name]
    prior = prior_of()
    step = 1e-5 * at
    if name == "own function":  # its block has no start unless it is called an intercept
        make = lambda a: u.Spec(  # noqa: E731
            u.loss(squared_hinge_free, knee=a, blocks=("theta", "intercept")), u.ridge(0.1)
        )
    solve = jax.jit(lambda a: u.solve(make(a), ONE, prior, tolerance=1e-11))
    fit = solve(at)
    assert fit.status == Status.CONVERGED, Status(int(fit.status)).message
    moved = (solve(at + step).params.theta - solve(at - step).params.theta) / (2 * step)
    forward = jax.jacfwd(lambda a: solve(a).params.theta)(at)
    along = jax.vjp(lambda a: solve(a).params.theta, at)[1](jnp.ones(Q))[0]
    size = np.abs(moved).max()
    assert size > 1e-4, "the case does not move"
    np.testing.assert_allclose(forward, moved, rtol=1e-4, atol=1e-5 * size)
    np.testing.assert_allclose(along, forward.sum(), rtol=1e-9, atol=1e-10 * size)


def test_the_objective_has_the_derivative_of_the_envelope():
    make, at = CASES["elastic net"]
    value = jax.jit(lambda a: u.solve(make(a), ONE, tolerance=1e-12).value)
    step = 1e-4
    moved = (value(at + step) - value(at - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(value)(at), moved, rtol=1e-6)
    np.testing.assert_allclose(
        jax.grad(value)(at), np.abs(theta_of(make)(at)).sum(), rtol=1e-6
    )  # of a |theta|_1


def test_second_derivatives_of_ridge():
    x = np.asarray(X - X.mean(0)[None])
    g, c = jnp.asarray(x.T @ x), jnp.asarray(x.T @ np.asarray(Y[:, 0]))
    plain = lambda a: jnp.linalg.solve(g + a * jnp.eye(Q), c).sum()  # noqa: E731
    ours = lambda a: theta_of(CASES["ridge"][0])(a).sum()  # noqa: E731
    np.testing.assert_allclose(jax.hessian(ours)(2.0), jax.hessian(plain)(2.0), rtol=1e-6)


@pytest.mark.parametrize("name", ["ridge", "lasso", "huber"])
def test_derivatives_in_the_data(name):
    make, at = CASES[name]
    along = jnp.asarray(np.random.default_rng(3).normal(size=X.shape))

    @jax.jit
    def theta(s):
        view = u.View(x=X + s * along, y=Y[:, 0] * (1 + s), weight=1 + s * along[:, 0] ** 2)
        return u.solve(make(at), view, prior_of(), tolerance=1e-11).params.theta

    moved = (theta(1e-5) - theta(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.jacfwd(theta)(0.0), moved, rtol=1e-4, atol=1e-6)


def test_derivatives_in_the_weights_of_the_prior():
    spec = u.Spec(u.least_squares(), u.prior_l1(30.0))
    known = prior_of()

    @jax.jit
    def theta(weight):
        prior = dataclasses.replace(known, weight=weight)
        return u.solve(spec, ONE, prior, tolerance=1e-12).params.theta

    jac = jax.jacrev(theta)(known.weight)
    for j in range(Q):
        way = 1e-5 * jnp.eye(Q)[j]
        moved = (theta(known.weight + way) - theta(known.weight - way)) / 2e-5
        if known.support[j]:
            np.testing.assert_allclose(jac[:, j], moved, rtol=1e-4, atol=1e-7)


def test_hyperparameters_and_data_map():
    make, _ = CASES["lasso"]
    strengths = jnp.array([1.0, 20.0, 300.0])
    together = jax.vmap(theta_of(make))(strengths)
    one = jax.jit(theta_of(make))
    alone = jnp.stack([one(a) for a in strengths])
    np.testing.assert_allclose(together, alone, rtol=1e-7, atol=1e-9)
    some = jnp.stack([X, 2 * X + 1])
    by_data = jax.vmap(lambda x: u.solve(make(20.0), u.View(x=x, y=Y[:, 0])).params.theta)(some)
    again = u.solve(make(20.0), u.View(x=some[1], y=Y[:, 0])).params.theta
    np.testing.assert_allclose(by_data[1], again, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["ridge", "lasso", "huber"])
def test_all_targets_are_those_of_fit(name):
    make, at = CASES[name]
    fit = jax.jit(lambda a: u.solve(make(a), u.View(x=X, y=Y)))(at)
    assert fit.params.theta.shape == (Q, P) and fit.status.shape == (P,)
    assert (np.asarray(fit.status) == Status.CONVERGED).all()
    sources, targets = [f"r{i}" for i in range(Q)], [f"t{i}" for i in range(P)]
    data = u.Data.from_arrays(np.hstack([X, Y]), sources + targets, dtype="float64")
    plan = u.plan(make(at), data, sources, targets)
    found = u.fit(make(at), data, regulators=sources, targets=targets).theta[0]
    assert list(plan.problem.regulators) == sources
    np.testing.assert_allclose(fit.params.theta, found, rtol=1e-6, atol=1e-8)


def test_moments_do_where_the_terms_take_them():
    m = moments(X, Y[:, 0])
    given = u.solve(CASES["lasso"][0](20.0), u.View(m)).params.theta
    np.testing.assert_allclose(given, theta_of(CASES["lasso"][0])(20.0), rtol=1e-7, atol=1e-9)
    with pytest.raises(u.PlanError, match="reads cells"):
        u.solve(CASES["huber"][0](1.0), u.View(m))


def test_a_coupled_network():
    prior = prior_of(shape=(Q, P))
    spec = lambda a: u.Spec(  # noqa: E731
        u.least_squares(), u.ridge(1.0) + u.laplacian(a, threshold=0.1)
    )
    solve = jax.jit(lambda a: u.solve(spec(a), u.View(x=X, y=Y, weight=jnp.ones(CELLS)), prior))
    fit = solve(4.0)
    assert fit.status == Status.CONVERGED
    moved = (solve(4.001).params.theta - solve(3.999).params.theta) / 2e-3
    np.testing.assert_allclose(
        jax.jacfwd(lambda a: solve(a).params.theta)(4.0), moved, rtol=1e-3, atol=1e-6
    )


def test_no_derivative_where_the_point_is_not_certified():
    make, at = CASES["lasso"]
    early = lambda a: u.solve(make(a), ONE, tolerance=1e-12, max_iterations=2)  # noqa: E731
    assert early(at).status == Status.MAX_ITERATIONS
    for jacobian in (jax.jacfwd, jax.jacrev):
        assert np.isnan(jacobian(lambda a: early(a).params.theta)(at)).all()


def test_no_derivative_where_the_optimum_is_not_unique():
    twice = u.View(x=jnp.concatenate([X, X[:, :1]], axis=1), y=Y[:, 0])
    fit = lambda a: u.solve(u.Spec(u.least_squares(), u.l1(a)), twice)  # noqa: E731
    assert fit(1.0).status == Status.CONVERGED
    assert np.isnan(jax.jacfwd(lambda a: fit(a).params.theta)(1.0)).all()
    ridge = u.solve(u.Spec(u.least_squares(), u.ridge(0.0)), twice)
    assert ridge.status == Status.SINGULAR


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (lambda: u.Spec(u.least_squares(), u.ridge(1.0), scale="both"), "scale"),
        (lambda: u.bagging(u.Spec(u.least_squares(), u.ridge(1.0))), "over"),
        (lambda: u.Spec(u.expected_gaussian(draws=2)), "noise"),
        (lambda: u.Spec(u.gaussian_evidence()), "no solver takes"),
        (lambda: u.Spec(u.least_squares(), u.laplacian(1.0)), "couples the targets"),
        (lambda: u.Spec(u.least_squares(), u.l1(1.0), u.support()), "needs a prior"),
    ],
)
def test_what_is_refused(spec, says):
    with pytest.raises((u.PlanError, ValueError), match=says):
        u.solve(spec(), ONE)


def test_arguments_of_another_kind():
    spec = u.Spec(u.least_squares(), u.ridge(1.0))
    with pytest.raises(TypeError, match="needs a Spec"):
        u.solve(u.least_squares(), ONE)
    with pytest.raises(TypeError, match="takes a Data"):
        u.solve(spec, X)
    with pytest.raises(ValueError, match="cells as their first axis"):
        u.solve(spec, u.View(x=X, y=Y[1:, 0]))
    with pytest.raises(ValueError, match="shaped like theta"):
        u.solve(spec, ONE, prior_of(shape=(Q + 1,)))
    with pytest.raises(u.PlanError, match="at most 4,096"):
        wide = u.View(x=jnp.ones((3, 5000)), y=jnp.ones(3))
        jax.grad(lambda a: u.solve(u.Spec(u.huber(), u.ridge(a)), wide).params.theta[0])(1.0)
