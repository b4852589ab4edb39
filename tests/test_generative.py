"""A generative method in the frame: a negative ELBO as loss and regularizer, and exact results.

y = theta_0 + x theta + noise with a Gaussian prior on theta is conjugate, so posterior and evidence
are known.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import unigrn
from unigrn import Blocks, Data, PlanError, Prior, Spec, fit, least_squares, no_self, ridge
from unigrn.methods.generative import linear_gaussian
from unigrn.status import Status
from unigrn.terms import PriorView, View

CELLS, REGULATORS, TARGETS = 60, 4, 3
NOISE, ON, OFF = 0.7, 0.9, 0.05
NAMES = [f"r{i}" for i in range(REGULATORS)] + [f"t{i}" for i in range(TARGETS)]
EDGES = {"t0": ["r0", "r1"], "t1": ["r2"], "t2": ["r0", "r3"]}


def world(seed=0, orthogonal=True):
    """Centred, standardised columns; the regulators orthogonal where asked for."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(CELLS, REGULATORS))
    x -= x.mean(axis=0)
    if orthogonal:
        x = np.linalg.qr(x)[0] * np.sqrt(CELLS)
    else:
        x[:, 1] += 0.8 * x[:, 0]
        x /= x.std(axis=0)
    y = x @ rng.normal(size=(REGULATORS, TARGETS)) + rng.normal(size=(CELLS, TARGETS))
    y = (y - y.mean(axis=0)) / y.std(axis=0)
    return x, y


def widths(mask):
    named = np.array(
        [[f"r{i}" in EDGES[f"t{j}"] for j in range(TARGETS)] for i in range(REGULATORS)]
    )
    return np.where(named, ON, OFF) if mask == "soft" else np.where(named, ON, 1e-12)


def conjugate(x, y, t2):
    """Exact posterior of one target: mean, covariance, log evidence."""
    precision = x.T @ x / NOISE + np.diag(1 / t2)
    mean = np.linalg.solve(precision, x.T @ y / NOISE)
    cover = NOISE * np.eye(len(y)) + (x * t2) @ x.T
    evidence = -0.5 * (y @ np.linalg.solve(cover, y) + np.linalg.slogdet(2 * np.pi * cover)[1])
    return mean, np.linalg.inv(precision), evidence


def solve(x, y, dtype="float64", seed=0, targets=None, options=None, **hyper):
    data = Data.from_arrays(np.c_[x, y], NAMES, dtype=dtype)
    spec = linear_gaussian(Prior.from_dict(EDGES), noise_variance=NOISE, on=ON, off=OFF, **hyper)
    return fit(
        spec,
        data,
        seed=seed,
        regulators=NAMES[:REGULATORS],
        targets=targets or NAMES[REGULATORS:],
        **(options or {}),
    )


def dense(solution, name):
    """One column of the edge table as (regulators, targets)."""
    problem = solution.plan.problem
    out = np.full((REGULATORS, len(problem.targets)), np.nan)
    out[problem.candidate, problem.entry_target] = solution.statistics[name][0]
    return out


@pytest.mark.parametrize("mask", ["soft", "hard"])
def test_the_posterior_is_the_conjugate_one_where_regulators_are_orthogonal(mask):
    x, y = world()
    solution = solve(x, y, mask=mask)
    assert (solution.status == Status.CONVERGED).all()
    variance, t2 = dense(solution, "variance"), widths(mask)
    for j in range(TARGETS):
        mean, cover, _ = conjugate(x, y[:, j], t2[:, j])
        kept = t2[:, j] > 1e-6
        assert solution.theta[0][:, j] == pytest.approx(mean, abs=1e-7)
        assert np.sqrt(variance[kept, j]) == pytest.approx(np.sqrt(np.diag(cover)[kept]), rel=1e-6)
        assert np.isnan(variance[~kept, j]).all()  # no candidate, no row


def test_with_correlated_regulators_the_mean_is_exact_and_the_variance_conditional():
    x, y = world(1, orthogonal=False)
    solution = solve(x, y)
    variance, t2 = dense(solution, "variance"), widths("soft")
    for j in range(TARGETS):
        mean, cover, _ = conjugate(x, y[:, j], t2[:, j])
        assert solution.theta[0][:, j] == pytest.approx(mean, abs=1e-7)
        conditional = 1 / np.diag(np.linalg.inv(cover))
        assert variance[:, j] == pytest.approx(conditional, rel=1e-6)
        assert (variance[:, j] <= np.diag(cover) * (1 + 1e-6)).all()  # too small, as is known
    assert dense(solution, "score") == pytest.approx(
        np.abs(solution.theta[0]) / np.sqrt(variance), rel=1e-6
    )


def point(x, y, rng):
    shape = (REGULATORS, TARGETS)
    mean, log_variance = rng.normal(size=shape), rng.normal(size=shape)
    t2 = widths("soft")
    ones = np.ones(shape)
    prior = PriorView(t2 == ON, ones, ones.astype(np.int32), ones < 0, ones > 0)
    return Blocks(theta=mean, log_variance=log_variance), View(None, x, y), prior, t2


def test_the_objective_is_the_negative_elbo(x64):
    rng = np.random.default_rng(3)
    x, y = world(2, orthogonal=False)
    spec = linear_gaussian(None, noise_variance=NOISE, on=ON, off=OFF)
    for _ in range(20):
        params, view, prior, t2 = point(x, y, rng)
        mean, v = params.theta, np.exp(params.log_variance)
        expected = ((y - x @ mean) ** 2).sum(axis=0) + (x**2).sum(axis=0) @ v
        loss = (expected / (2 * NOISE) + CELLS / 2 * np.log(2 * np.pi * NOISE)).sum()
        kl = 0.5 * ((v + mean**2) / t2 - 1 - np.log(v / t2)).sum()
        assert float(spec.objective(params, view, prior)) == pytest.approx(loss + kl, rel=1e-12)


def test_at_the_optimum_it_is_the_negative_log_evidence(x64):
    x, y = world()
    spec = linear_gaussian(None, noise_variance=NOISE, on=ON, off=OFF)
    params, view, prior, t2 = point(x, y, np.random.default_rng(0))
    exact = [conjugate(x, y[:, j], t2[:, j]) for j in range(TARGETS)]
    best = params.replace(
        theta=np.stack([m for m, _, _ in exact], axis=1),
        log_variance=np.log(np.stack([np.diag(c) for _, c, _ in exact], axis=1)),
    )
    bound = -sum(e for _, _, e in exact)
    assert float(spec.objective(best, view, prior)) == pytest.approx(bound, rel=1e-10)
    slope = jax.grad(lambda b: spec.objective(b, view, prior))(best)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(slope)) < 1e-9
    # Anywhere else it lies above: the ELBO is a bound.
    for _ in range(20):
        other, *_ = point(x, y, np.random.default_rng(_))
        assert float(spec.objective(other, view, prior)) > bound


def test_drawing_the_noise_has_the_closed_form_as_its_mean(x64):
    x, y = world(4, orthogonal=False)
    exact = linear_gaussian(None, noise_variance=NOISE)
    drawn = linear_gaussian(None, noise_variance=NOISE, draws=2)
    params, view, prior, _ = point(x, y, np.random.default_rng(1))
    keys = jax.random.split(jax.random.key(0), 4000)
    values = np.asarray(
        jax.vmap(lambda k: drawn.loss(params, View(None, x, y, None, k), prior))(keys)
    )
    error = values.std() / np.sqrt(len(values))
    assert error > 0
    assert abs(values.mean() - float(exact.loss(params, view, prior))) < 4 * error
    assert exact.loss.noisy is None and drawn.loss.noisy is True


def test_the_mode_is_a_ridge():
    x, y = world(5, orthogonal=False)
    data = Data.from_arrays(np.c_[x, y], NAMES, dtype="float64")
    names = dict(regulators=NAMES[:REGULATORS], targets=NAMES[REGULATORS:])
    prior = Prior.from_dict(EDGES)
    mode = fit(linear_gaussian(prior, NOISE, ON, ON, form="map"), data, **names)
    same = fit(
        Spec(least_squares(), ridge(NOISE / ON), no_self(), prior, scale="both"), data, **names
    )
    assert mode.theta == pytest.approx(same.theta, abs=1e-8)
    other = fit(
        Spec(least_squares(), ridge(2 * NOISE / ON), no_self(), prior, scale="both"), data, **names
    )
    assert np.abs(mode.theta - other.theta).max() > 1e-4
    # The posterior of a Gaussian has its mode at its mean.
    assert solve(x, y, form="map").theta == pytest.approx(solve(x, y).theta, abs=1e-7)


def test_stochastic_gradients_reach_the_same_posterior():
    x, y = world()
    options = dict(max_iterations=3000)
    solution = solve(x, y, draws=64, options=options)
    assert solution.plan.rung.name == "stochastic gradient (optax Adam)"
    exact = solve(x, y)
    assert np.isin(solution.status, (Status.CONVERGED, Status.WITHIN_NOISE)).all()
    assert solution.theta == pytest.approx(exact.theta, abs=1e-3)
    assert np.sqrt(dense(solution, "variance")) == pytest.approx(
        np.sqrt(dense(exact, "variance")), rel=1e-2
    )
    # Reproducible, and a target's noise does not depend on the others.
    again = solve(x, y, draws=64, options=options)
    assert np.array_equal(solution.theta, again.theta)
    assert not np.array_equal(solution.theta, solve(x, y, draws=64, seed=1, options=options).theta)


def test_too_few_steps_are_said():
    x, y = world()
    solution = solve(x, y, draws=8, options=dict(max_iterations=3))
    assert (solution.status == Status.MAX_ITERATIONS).all()
    assert not solution.converged.any()


def test_a_narrow_soft_prior_is_the_hard_one():
    x, y = world(6, orthogonal=False)
    data = Data.from_arrays(np.c_[x, y], NAMES, dtype="float64")
    prior = Prior.from_dict(EDGES)
    names = dict(regulators=NAMES[:REGULATORS], targets=NAMES[REGULATORS:])
    soft = fit(linear_gaussian(prior, NOISE, ON, 1e-10, form="map"), data, **names).theta
    hard = fit(linear_gaussian(prior, NOISE, ON, mask="hard", form="map"), data, **names).theta
    assert soft == pytest.approx(hard, abs=1e-7)
    assert (hard == 0).sum() == REGULATORS * TARGETS - 5


def test_a_generative_process_that_couples_targets_is_declared_as_functions():
    """A shared factor behind all coefficients: theta = u + own deviation, both with a posterior."""
    x, y = world(7, orthogonal=False)

    def negative_log_joint(params, data, prior):
        residual = data.y - data.x @ params.theta
        spread = params.theta - params.common[:, None]
        return (
            jnp.sum(residual**2) / (2 * NOISE)
            + jnp.sum(spread**2) / (2 * 0.1)
            + jnp.sum(params.common**2) / 2
        )

    def start(data, prior, key, terms):
        return Blocks(
            theta=jnp.zeros_like(prior.weight),
            common=jnp.zeros(prior.weight.shape[0], prior.weight.dtype),
        )

    spec = Spec(
        unigrn.loss(negative_log_joint, coupled=True, blocks=("theta", "common")),
        start=start,
        name="common",
    )
    data = Data.from_arrays(np.c_[x, y], NAMES, dtype="float64")
    names = dict(regulators=NAMES[:REGULATORS], targets=NAMES[REGULATORS:])
    solution = fit(spec, data, tolerance=1e-10, **names)
    assert (solution.status == Status.CONVERGED).all()
    common = solution.blocks["common"][0]
    # Its own optimality: the common part is a shrunken mean, theta a ridge around it.
    assert common == pytest.approx(solution.theta[0].sum(axis=1) / (TARGETS + 0.1), abs=1e-7)
    matrix = x.T @ x / NOISE + np.eye(REGULATORS) / 0.1
    expected = np.linalg.solve(matrix, x.T @ y / NOISE + common[:, None] / 0.1)
    assert solution.theta[0] == pytest.approx(expected, abs=1e-7)
    # Several starts of one problem agree here, as it is convex.
    many = fit(unigrn.consensus(spec, 3), data, tolerance=1e-10, **names)
    assert many.theta == pytest.approx(solution.theta, abs=1e-7)
    assert (many.statistics["frequency"] == 1).all()


@pytest.mark.parametrize(
    ("hyper", "words"),
    [
        (dict(mask="firm"), "mask must be one of hard, soft, data, got 'firm'"),
        (dict(form="mode"), "form must be one of variational, map, got 'mode'"),
        (dict(on=0.0), "on must be a finite number > 0"),
        (dict(off=-1.0), "off must be a finite number > 0"),
        (dict(draws=1.5), "draws must be a whole number"),
        (dict(noise_variance=0.0), "variance must be a finite number > 0"),
    ],
)
def test_wrong_hyperparameters(hyper, words):
    with pytest.raises(ValueError, match=words):
        linear_gaussian(Prior.from_dict(EDGES), **hyper)


def test_a_block_without_a_start_is_refused():
    spec = linear_gaussian(Prior.from_dict(EDGES), draws=2).replace(start=None)
    x, y = world()
    with pytest.raises(PlanError, match="block log_variance, which has no start"):
        unigrn.plan(spec, Data.from_arrays(np.c_[x, y], NAMES))


def test_a_fit_that_rounding_holds_up_ends_and_says_so():
    """In single precision slopes do not reach a tolerance below its rounding."""
    rng = np.random.default_rng(0)
    names = [f"r{i:02d}" for i in range(30)]
    values = rng.normal(size=(400, 30)).astype("f4") + 8
    spec = linear_gaussian(Prior.from_dict({names[0]: names[1:5]}))
    data = Data.from_arrays(values, names)
    found = unigrn.fit(spec, data, solver="gradient (L-BFGS)", tolerance=1e-8)
    assert (found.status == Status.STALLED).all()
    assert found.iterations.max() < 1500 and found.residual.max() < 1e-3
    said = " ".join(line[2] for line in found.entries)
    assert "no step lowers the objective" in said and "float64" in said
    exact = unigrn.fit(spec, Data.from_arrays(values, names, dtype="float64"))
    assert exact.converged.all()
    apart = np.abs(found.weights - exact.weights).max()
    assert apart < 1e-3 * np.abs(exact.weights).max()
