"""Generative processes: moments, densities, draws, and the specs that are made from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import unigrn
from unigrn.processes import (
    EDGES,
    Beta,
    Binomial,
    Divergence,
    Gamma,
    HalfNormal,
    Laplace,
    Likelihood,
    NoMoments,
    Normal,
    Poisson,
    Process,
    TruncatedNormal,
    apply,
    exp,
    generative,
    sigmoid,
    where,
)
from unigrn.processes.uncertain import Latent, distance, log, moments, precision
from unigrn.solvers import gradient, stochastic
from unigrn.solvers.optimality import Options
from unigrn.spec import Slots
from unigrn.terms import Blocks, PriorView, View, pytree

pytestmark = pytest.mark.usefixtures("x64")
N, Q, P = 7, 3, 4


def latent(name, shape, seed, kind="normal"):
    rng = np.random.default_rng(seed)
    return Latent(jnp.asarray(rng.normal(size=shape)), jnp.asarray(rng.random(shape)), name, kind)


def sample(value, draws=400_000, seed=0):
    rng = np.random.default_rng(seed)
    loc, sd = np.asarray(value.loc), np.asarray(value.sd)
    u = loc + sd * rng.standard_normal((draws, *value.shape))
    return jnp.asarray(value.function(jnp.asarray(u)))


# ------------------------------------------------------------------ moments


@pytest.mark.parametrize(
    "build",
    [
        lambda a, b: a + b,
        lambda a, b: 2.0 * a - b / 4.0 + 1.0,
        lambda a, b: a * b,
        lambda a, b: exp(a) * sigmoid(b),
        lambda a, b: (1.0 - a) * (exp(b) + 0.5),
        lambda a, b: apply(jnp.tanh, a) * b,
        lambda a, b: exp(a) @ b.T,
        lambda a, b: (jnp.arange(12.0).reshape(4, 3) / 9) @ (a * b),
        lambda a, b: (a * b) @ jnp.linspace(-1, 1, 8).reshape(4, 2),
        lambda a, b: a[:, 0][:, None] * b,
        lambda a, b: where(jnp.arange(4)[None] < 2, a, 0.5 * b) + 1.0,
        lambda a, b: where(jnp.arange(4)[None] < 2, a, -1.0 * exp(a)) @ b.T,
        lambda a, b: exp(a) ** -0.5 * b,
        lambda a, b: sigmoid(a) ** 2.0 - b,
    ],
)
def test_moments_are_those_of_draws(build):
    """Means within 5 standard errors, variances within 3 %."""
    a, b = latent("a", (3, 4), 1), latent("b", (3, 4), 2)
    mean, variance = moments(build(a, b))
    drawn = np.stack(
        [
            np.asarray(
                jax.vmap(build)(
                    jnp.asarray(sample(a, 40_000, k)), jnp.asarray(sample(b, 40_000, k + 50))
                )
            )
            for k in range(5)
        ]
    ).reshape(-1, *mean.shape)
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert np.all(np.abs(drawn.mean(axis=0) - mean) <= 5 * error)
    np.testing.assert_allclose(variance, drawn.var(axis=0), rtol=0.06)


def test_functions_of_one_number_are_exact_or_a_quadrature():
    a = latent("a", (5,), 3)
    drawn = sample(a)
    for kind, value in (("exp", exp(a)), ("other", exp(a) + 0.1), ("unit", sigmoid(a))):
        assert value.kind == kind
        true = sample(value)
        assert np.allclose(log(value), np.log(true).mean(axis=0), atol=0.02)
        if kind != "unit":
            assert np.allclose(precision(value), (true**-2.0).mean(axis=0), rtol=0.2)
    assert np.allclose(distance(a, 0.3), ((drawn - 0.3) ** 2).mean(axis=0), rtol=0.02)
    # The quadrature against the closed form of the same function.
    plain = apply(jnp.exp, a)
    np.testing.assert_allclose(plain.mean, exp(a).mean, rtol=1e-12)
    np.testing.assert_allclose(plain.variance, exp(a).variance, rtol=1e-9)
    np.testing.assert_allclose(log(plain), a.loc, rtol=1e-12)


@pytest.mark.parametrize(
    "build",
    [
        lambda a, b: a * a,
        lambda a, b: (a * b) + a,
        lambda a, b: (a @ b.T) @ b,
        lambda a, b: (a[:, :1] * b) @ b.T,
        lambda a, b: (a[:, :1] + jnp.zeros((3, 4))) @ jnp.ones((4, 2)),
        lambda a, b: a / b,
        lambda a, b: 1.0 / b,
        lambda a, b: exp(a * b),
        lambda a, b: ((a @ b.T) * 2.0)[0] @ jnp.ones((3, 2)),
        lambda a, b: a[:, jnp.asarray([0, 0, 1, 2])] @ b.T,
        lambda a, b: where(jnp.arange(4)[None] < 2, a, b) @ b.T,
        lambda a, b: where(jnp.arange(4)[None] < 2, a[:, :1], b) @ jnp.ones((4, 2)),
    ],
)
def test_what_depends_on_itself_has_no_moments(build):
    """Never a wrong variance: entries that share a latent are not taken for independent."""
    a, b = latent("a", (3, 4), 1), latent("b", (3, 4), 2)
    with pytest.raises(NoMoments, match="has no closed m"):
        moments(build(a, b))


# ------------------------------------------------------------------ distributions


@pytest.mark.parametrize(
    ("ours", "theirs", "at"),
    [
        (Normal(0.3, 1.7), stats.norm(0.3, 1.7), [-2.0, 0.1, 5.0]),
        (Laplace(0.3, 1.7), stats.laplace(0.3, 1.7), [-2.0, 0.3, 5.0]),
        (HalfNormal(1.7), stats.halfnorm(0, 1.7), [0.1, 5.0]),
        (Gamma(4.5, 2.0), stats.gamma(4.5, scale=1 / 2.0), [0.1, 2.0, 9.0]),
        (Beta(0.5, 2.5), stats.beta(0.5, 2.5), [0.01, 0.5, 0.97]),
        (Binomial(20.0, 0.3), stats.binom(20, 1 / (1 + np.exp(-0.3))), [0.0, 11.0, 20.0]),
        (Poisson(3.2), stats.poisson(3.2), [0.0, 2.0, 11.0]),
        (
            TruncatedNormal(0.3, 2.0, -1.0, 2.5),
            stats.truncnorm(-0.65, 1.1, 0.3, 2.0),
            [-0.9, 0.0, 2.4],
        ),
    ],
)
def test_distributions_are_those_of_scipy(ours, theirs, at):
    density = theirs.logpmf if isinstance(ours, Binomial | Poisson) else theirs.logpdf
    np.testing.assert_allclose(ours.log_prob(jnp.asarray(at)), density(at), rtol=1e-12)
    drawn = np.asarray(ours.sample(jax.random.key(0), (20_000,), jnp.float64))
    assert abs(drawn.mean() - theirs.mean()) < 5 * theirs.std() / np.sqrt(20_000)
    assert abs(drawn.std() / theirs.std() - 1) < 0.03


def test_expected_densities_are_means_over_draws():
    value, mean, scale = latent("x", (6,), 4), latent("m", (6,), 5), latent("s", (6,), 6)
    cases = [
        (Normal(mean, exp(scale)), value, lambda m, s: Normal(m, jnp.exp(s))),
        (Normal(mean, exp(scale) + 0.2), value, lambda m, s: Normal(m, jnp.exp(s) + 0.2)),
        (Laplace(0.4, 1.3), value, lambda m, s: Laplace(0.4, 1.3)),
        (Gamma(2.5, exp(mean)), exp(value), lambda m, s: Gamma(2.5, jnp.exp(m))),
        (Beta(0.5, 3.0), sigmoid(value), lambda m, s: Beta(0.5, 3.0)),
        (Poisson(exp(mean)), jnp.arange(6.0), lambda m, s: Poisson(jnp.exp(m))),
    ]
    for expected, at, make in cases:
        got = expected.log_prob(at)
        m, s = jnp.asarray(sample(mean, seed=1)), jnp.asarray(sample(scale, seed=2))
        x = jnp.asarray(sample(at, seed=3)) if isinstance(at, Latent) else at[None]
        drawn = np.asarray(make(m, s).log_prob(x))
        error = drawn.std(axis=0) / np.sqrt(len(drawn))
        assert np.all(np.abs(drawn.mean(axis=0) - got) < 5 * error), type(expected).__name__
    # A latent that is in two places: the product of two means is not the mean of the product.
    for wrong, at in (
        (Normal(mean, exp(mean)), value),
        (Normal(0.0, exp(value)), value),
        (Normal(value, 1.0), value),
        (Gamma(2.0, exp(value)), exp(value)),
        (Laplace(mean, 1.0), value),
        (Laplace(0.0, exp(mean)), value),
        (Laplace(0.0, 1.0), exp(value)),
        (Poisson(exp(mean)), exp(value)),
    ):
        with pytest.raises(NoMoments):
            wrong.log_prob(at)
    with pytest.raises(NoMoments):
        Gamma(exp(mean), 1.0).log_prob(exp(value))
    with pytest.raises(NoMoments):
        TruncatedNormal(0.0, 1.0, -1.0, 1.0).log_prob(value)


# ------------------------------------------------------------------ processes


@pytree
class Factors(Process):
    """y ~ N(z theta, s^2)."""

    width: float

    latents = {"theta": EDGES, "z": ("cells", "regulators"), "noise": ()}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        """Visit every site."""
        theta = site("theta", Normal(0.0, self.width))
        z = site("z", Normal(0.0, 1.0))
        noise = site("noise", Gamma(3.0, 3.0))
        site("expression", Normal(z @ theta, apply(lambda s: s**-0.5, noise)), data.y)


@pytree
class Regression(Process):
    """y ~ N(x theta, s^2), theta ~ N(0, width^2)."""

    width: float
    noise: float

    latents = {"theta": EDGES}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        """Visit every site."""
        theta = site("theta", Normal(0.0, self.width))
        site("expression", Normal(data.x @ theta, self.noise), data.y)


def world(seed=0, weights=False):
    rng = np.random.default_rng(seed)
    shape = (Q, P)
    valid = np.ones(shape, bool)
    valid[0, 1] = False
    prior = PriorView(
        jnp.asarray(rng.random(shape) < 0.5),
        jnp.asarray(rng.random(shape)),
        jnp.zeros(shape, jnp.int8),
        jnp.asarray(~valid),
        jnp.asarray(valid),
    )
    weight = jnp.asarray(rng.integers(0, 3, N).astype(float)) if weights else None
    x, y = (jnp.asarray(rng.normal(size=(N, k))) for k in (Q, P))
    return View(x=x, y=y, weight=weight), prior


def test_a_log_density_counts_cells_by_weight_and_candidates_only():
    data, prior = world(weights=True)
    rng = np.random.default_rng(1)
    at = {"theta": rng.normal(size=(Q, P)), "z": rng.normal(size=(N, Q)), "noise": 2.0}
    at = {name: jnp.asarray(value) for name, value in at.items()}
    got = Factors(1.5).log_density(at, data, prior)
    theta = np.where(prior.valid, at["theta"], 0)
    weight = np.asarray(data.weight)
    assert 0 < (weight == 0).sum() < N
    want = {
        "theta": stats.norm(0, 1.5).logpdf(at["theta"])[np.asarray(prior.valid)].sum(),
        "z": (weight[:, None] * stats.norm.logpdf(at["z"])).sum(),
        "noise": stats.gamma(3, scale=1 / 3).logpdf(2.0),
        "expression": (
            weight[:, None] * stats.norm(at["z"] @ theta, 2.0**-0.5).logpdf(data.y)
        ).sum(),
    }
    assert set(got) == set(want)
    for name, value in want.items():
        assert float(got[name]) == pytest.approx(value, rel=1e-12), name


def guided(process, data, prior, seed=2):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(process.centers, data, prior)
    blocks = {}
    for name, shape in shapes.items():
        blocks[name] = jnp.asarray(rng.normal(size=shape.shape) / 3)
        blocks[f"log_sd_{name}"] = jnp.asarray(rng.normal(size=shape.shape) / 3 - 1)
    return Blocks(**blocks)


def test_a_closed_elbo_is_the_mean_of_drawn_ones():
    data, prior = world(weights=True)
    process = Factors(1.5)
    params = guided(process, data, prior)
    closed = Likelihood(process, site="expression")(params, data, prior)
    values = [
        Likelihood(process, site="expression", draws=4000, seed=k)(params, data, prior)
        for k in range(8)
    ]
    error = np.std(values) / np.sqrt(8)
    assert abs(np.mean(values) - closed) < 5 * error
    # The divergence: entropy by SciPy, expected log densities by draws.
    rng = np.random.default_rng(0)
    u = {
        n: np.asarray(params[n])
        + np.exp(params[f"log_sd_{n}"]) * rng.standard_normal((200_000, *np.shape(params[n])))
        for n in process.latents
    }
    valid, weight = np.asarray(prior.valid), np.asarray(data.weight)
    logp = stats.norm(0, 1.5).logpdf(u["theta"])[:, valid].sum(axis=1)
    logp += (weight[:, None] * stats.norm.logpdf(u["z"])).sum(axis=(1, 2))
    logp += stats.gamma(3, scale=1 / 3).logpdf(np.exp(u["noise"])) + u["noise"]
    spread = {n: np.exp(np.asarray(params[f"log_sd_{n}"])) for n in process.latents}
    entropy = stats.norm(0, spread["theta"]).entropy()[valid].sum()
    entropy += (weight[:, None] * stats.norm(0, spread["z"]).entropy()).sum()
    entropy += stats.norm(0, spread["noise"]).entropy()
    want = -logp.mean() - entropy
    got = float(Divergence(process)(params, data, prior))
    assert abs(got - want) < 5 * logp.std() / np.sqrt(len(logp))


def test_the_slope_of_a_closed_elbo_is_that_of_differences():
    data, prior = world()
    process = Factors(0.7)
    params = guided(process, data, prior)

    def value(params):
        parts = (Likelihood(process, site="expression"), Divergence(process))
        return sum(part(params, data, prior) for part in parts)

    slope = jax.grad(value)(params)
    rng = np.random.default_rng(0)
    way = jax.tree.map(lambda v: jnp.asarray(rng.normal(size=v.shape)), params)
    ends = [value(jax.tree.map(lambda p, w, h=h: p + h * w, params, way)) for h in (1e-5, -1e-5)]
    along = sum(float(jnp.sum(slope[n] * way[n])) for n in params)
    assert along == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-7)


@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_slopes_in_log_deviations_are_curvatures_in_means(factor):
    data, prior = world(weights=True)
    process = Factors(0.7)
    params = guided(process, data, prior)
    likelihood, divergence = Likelihood(process, site="expression"), factor * Divergence(process)

    def value(params):
        return likelihood(params, data, prior) + divergence(params, data, prior)

    named = divergence.guided(data, prior)
    assert set(named) == set(process.latents) and likelihood.guided is None
    assert (2 * likelihood).guided is None
    points = Divergence(process, form="map").guided(data, prior)
    assert {n: log_sd for n, (log_sd, _) in points.items()} == dict.fromkeys(named)
    assert set((divergence + divergence).guided(data, prior)) == set(named)
    none = jax.tree.map(jnp.zeros_like, params)
    got = gradient.curvatures(named, params, jax.jit(jax.grad(value))(params), none)
    bends = jax.jit(jax.hessian(value))(params)
    for name, (log_sd, count) in named.items():
        size = params[name].size
        bend = jnp.diagonal(bends[name][name].reshape(size, size)).reshape(params[name].shape)
        scaled = jnp.abs(bend) * jnp.exp(2 * params[log_sd])
        # A flat entry counts as one of a share of the entropy's curvature.
        floor = gradient.LEAST * jnp.where(count > 0, count, 1)
        want = jnp.maximum(scaled, floor) * jnp.exp(-2 * params[log_sd])
        np.testing.assert_allclose(got[name], want, rtol=1e-8)


@pytree
class Positive(Process):
    """y ~ N(theta summed over regulators, s^2), theta > 0."""

    noise: float

    latents = {"theta": EDGES}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        """Visit every site."""
        theta = site("theta", Gamma(2.0, 3.0))
        mean = jnp.ones((data.y.shape[0], theta.shape[0])) @ theta
        site("expression", Normal(mean, self.noise), data.y)


def test_a_positive_theta_is_0_where_it_is_no_candidate():
    """Not e^0: neither in moments nor in draws."""
    data, prior = world()
    params = guided(Positive(0.5), data, prior)
    closed = Likelihood(Positive(0.5), site="expression")(params, data, prior)
    drawn = [
        float(Likelihood(Positive(0.5), site="expression", draws=3000, seed=k)(params, data, prior))
        for k in range(6)
    ]
    assert abs(np.mean(drawn) - closed) < 5 * np.std(drawn) / np.sqrt(6)
    mean = np.where(prior.valid, np.exp(params.theta + np.exp(2 * params.log_sd_theta) / 2), 0)
    at = {"theta": jnp.asarray(mean)}
    residual = np.asarray(data.y) - mean.sum(axis=0)
    want = stats.norm(0, 0.5).logpdf(residual).sum()
    assert float(Positive(0.5).log_density(at, data, prior)["expression"]) == pytest.approx(want)
    assert np.isfinite(float(Divergence(Positive(0.5))(params, data, prior)))


def test_entries_that_a_site_has_not_are_refused():
    data, prior = world()
    kind = type("Wrong", (Positive,), {})

    def sites(self, site, data, prior):
        theta = site("theta", Normal(jnp.zeros((2, Q, P)), 1.0))
        site("expression", Normal(theta[0, :1], self.noise), data.y)

    kind.sites = sites
    with pytest.raises(ValueError, match=r"site 'theta' of Wrong has entries of shape \(2, 3, 4\)"):
        kind(1.0).log_density({"theta": jnp.zeros((2, Q, P))}, data, prior)


def expression(seed=0, cells=60):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(cells, Q))
    y = x @ rng.normal(size=(Q, P)) + 0.5 * rng.normal(size=(cells, P))
    names = [f"r{i}" for i in range(Q)] + [f"t{i}" for i in range(P)]
    data = unigrn.Data.from_arrays(np.concatenate([x, y], axis=1), names, dtype="float64")
    prior = unigrn.Prior.from_dict({n: names[:Q] for n in names[Q:]})
    return data, prior, x, y


def test_the_guide_of_a_linear_model_is_the_exact_posterior_where_it_can_be():
    """Mean of the conjugate posterior, and 1 over its precision: Bishop (2006), 10.1.2."""
    data, prior, x, y = expression()
    spec = generative(Regression(0.8, 0.5), prior)
    found = unigrn.fit(spec, data, targets=["t0", "t1", "t2", "t3"], tolerance=1e-14)
    precision = x.T @ x / 0.25 + np.eye(Q) / 0.64
    np.testing.assert_allclose(
        found.theta[0], np.linalg.solve(precision, x.T @ y / 0.25), rtol=1e-7
    )
    edges = found.network().edges
    variance = edges.pivot(index="source", columns="target", values="variance").to_numpy()
    np.testing.assert_allclose(
        variance, (1 / np.diag(precision))[:, None] + 0 * variance, rtol=1e-6
    )
    assert set(found.certificate.status) == {"converged"}


def test_the_mode_of_a_linear_model_is_the_ridge():
    data, prior, x, y = expression(1)
    spec = generative(Regression(0.8, 0.5), prior, form="map")
    found = unigrn.fit(spec, data, targets=["t0", "t1", "t2", "t3"], tolerance=1e-16)
    want = np.linalg.solve(x.T @ x + 0.25 / 0.64 * np.eye(Q), x.T @ y)
    np.testing.assert_allclose(found.theta[0], want, rtol=1e-7)


def test_the_mode_under_a_laplace_prior_has_kinks_and_its_guide_has_none():
    """Gradients do not settle in a kink: nothing is called converged there."""

    @pytree
    class Sparse(Regression):
        """Most coefficients are 0 at the mode."""

        def sites(self, site, data, prior):
            """Visit every site."""
            theta = site("theta", Laplace(0.0, self.width))
            site("expression", Normal(data.x @ theta, self.noise), data.y)

    data, prior, *_ = expression(2)
    price, names = 2 * 0.25 / 0.008, [f"t{i}" for i in range(P)]
    lasso = unigrn.Spec(unigrn.least_squares(intercept=False), unigrn.l1(price), prior=prior)
    best = unigrn.fit(lasso, data, targets=names, tolerance=1e-10).theta[0]
    assert 0 < (best == 0).sum() < best.size
    found = unigrn.fit(generative(Sparse(0.008, 0.5), prior, "map"), data, targets=names)
    assert not (found.certificate.status == "converged").any()
    assert "kink" in found.certificate.status.iloc[0]
    np.testing.assert_allclose(found.theta[0], best, atol=0.05)
    found = unigrn.fit(generative(Sparse(0.008, 0.5), prior), data, targets=names, tolerance=1e-6)
    assert set(found.certificate.status) == {"converged"}


def test_what_is_simulated_has_the_declared_distribution():
    data, prior = world()
    drawn = [Factors(1.5).simulate(jax.random.key(k), data, prior) for k in range(300)]
    z = np.stack([d["z"] for d in drawn])
    assert abs(z.mean()) < 0.06 and abs(z.std() - 1) < 0.04
    residual = np.stack(
        [(d["expression"] - d["z"] @ d["theta"]) * d["noise"] ** 0.5 for d in drawn]
    )
    assert stats.kstest(residual.ravel(), "norm").pvalue > 0.001
    assert all(float(d["theta"][0, 1]) == 0 for d in drawn)
    # Sites have streams of their own, and a latent that is given is kept.
    again = Factors(1.5).simulate(jax.random.key(0), data, prior, {"z": drawn[1]["z"]})
    np.testing.assert_array_equal(again["theta"], drawn[0]["theta"])
    np.testing.assert_array_equal(again["z"], drawn[1]["z"])


class Wrong(Factors):
    """A process that visits something else."""


@pytest.mark.parametrize(
    ("sites", "says"),
    [
        (lambda self, site, data, prior: site("other", Normal(0.0, 1.0)), "do not name"),
        (lambda self, site, data, prior: [site("theta", Normal(0.0, 1.0)) for _ in "ab"], "twice"),
        (lambda self, site, data, prior: site("theta", Normal(0.0, 1.0)), "never visits .*'z'"),
        (lambda self, site, data, prior: site("theta", Poisson(1.0)), "support 'counts'"),
    ],
)
def test_a_process_that_does_not_visit_its_sites_is_told(sites, says):
    data, prior, *_ = expression()
    kind = type("Wrong", (Wrong,), {"sites": sites})
    with pytest.raises((ValueError, TypeError), match=says):
        unigrn.fit(generative(kind(1.0), prior), data, targets=["t0"])


def test_what_has_no_network_or_nothing_observed_is_refused():
    _, prior, *_ = expression()
    kind = type("NoNetwork", (Wrong,), {"latents": {"z": ("cells", "regulators")}})
    with pytest.raises(ValueError, match="needs a latent theta over regulators and targets"):
        generative(kind(1.0), prior)
    kind = type("Nothing", (Wrong,), {"observed": {}})
    with pytest.raises(ValueError, match="observes nothing"):
        generative(kind(1.0), prior)
    for wrong, says in (
        ({"form": "mean"}, "form must be one of variational, map"),
        ({"mask": "none"}, "mask must be one of soft, hard"),
        ({"fresh": True}, "say how many with draws"),
        ({"divergence": 0.0}, "divergence"),
    ):
        with pytest.raises(ValueError, match=says):
            generative(Factors(1.0), prior, **wrong)


def test_a_likelihood_without_closed_moments_asks_for_draws():
    @pytree
    class Squared(Regression):
        """y ~ N((x theta)^2, s^2)."""

        def sites(self, site, data, prior):
            """Visit every site."""
            theta = site("theta", Normal(0.0, self.width))
            mean = data.x @ theta
            site("expression", Normal(mean * mean, self.noise), data.y)

    @pytree
    class Sine(Regression):
        """y ~ N(sin x theta, s^2)."""

        def sites(self, site, data, prior):
            """Visit every site."""
            theta = site("theta", Normal(0.0, self.width))
            site("expression", Normal(jnp.sin(theta), self.noise), data.y)

    data, prior, *_ = expression()
    for kind in (Squared, Sine):
        with pytest.raises(ValueError, match="has no closed moments"):
            unigrn.fit(generative(kind(1.0, 0.5), prior), data, targets=["t0"])
    found = unigrn.fit(generative(Squared(1.0, 0.5), prior, draws=4), data, targets=["t0"])
    assert np.isfinite(found.theta).all()


def test_minibatches_end_where_all_cells_do_within_their_noise():
    """Blocks along cells go with their cells; what is left is Adam's noise in the objective."""
    data, prior, _, y = expression(3, cells=150)
    names = [f"t{i}" for i in range(P)]
    spec = generative(Factors(1.0), prior)
    yes = jnp.ones((Q, P), bool)
    seen = PriorView(yes, jnp.ones((Q, P)), yes.astype(jnp.int8), ~yes, yes)
    view = View(x=jnp.zeros((150, Q)), y=jnp.asarray(y))

    def objective(found):
        blocks = {name: jnp.asarray(block[0]) for name, block in found.blocks.items()}
        params = Blocks(theta=jnp.asarray(found.theta[0]), **blocks)
        return float(spec.objective(params, view, seen))

    whole = unigrn.fit(spec, data, targets=names, tolerance=1e-6)
    batch = unigrn.Minibatch(50, 400)
    few = unigrn.fit(spec.replace(minibatch=batch), data, targets=names, tolerance=1e-3)
    assert few.plan.solver.name == "stochastic gradient (optax Adam) on the whole network"
    lowest = objective(whole)
    assert lowest <= objective(few) <= lowest + 0.03 * abs(lowest)
    with pytest.raises(ValueError, match="give fresh=True"):
        generative(Factors(1.0), prior, draws=2, minibatch=batch)


def test_all_cells_are_looked_at_block_by_block(monkeypatch):
    """Two blocks of 16 cells and one of 8 give what all 40 at once do."""
    spec = unigrn.methods.get("bitfam").function(None)
    spec = spec.replace(constraint=None, minibatch=unigrn.Minibatch(20, 1))
    slots, yes = Slots(spec.shape, spec.terms), jnp.ones((2, 3), bool)
    prior = PriorView(yes, yes.astype(float), yes.astype(int), ~yes, yes)
    y = jnp.asarray(np.random.default_rng(0).random((40, 3)))
    view = View(x=jnp.zeros((40, 2)), y=y, key=jax.random.key(0))
    options = Options(jnp.asarray(1e-6), jnp.asarray(1, jnp.int32))
    found = []
    for size in (16, 100):
        monkeypatch.setattr(stochastic, "BLOCK", size)
        fit = jax.jit(lambda v: stochastic.solve(slots, v, prior, options))(view)
        found.append([float(fit.value), float(fit.residual)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10)
    assert found[0][0] == pytest.approx(float(spec.objective(fit.params, view, prior)), rel=1e-10)
    # What any entry could still gain by itself: d^2 / 2h, h by the slope in its log spread.
    slopes, most = jax.grad(lambda b: spec.objective(b, view, prior))(fit.params), 0.0
    for name in ("theta", "activity", "precision", "noise"):
        d, e = (np.asarray(slopes[n]) for n in (name, f"log_sd_{name}"))
        sd, bend = np.exp(fit.params[f"log_sd_{name}"]), np.maximum(np.abs(1 + e), 0.3)
        most = max(most, np.max((d * sd) ** 2 / (2 * bend)))
        most = max(most, np.max(e**2 / (4 * np.maximum(bend, 1))))
    assert found[0][1] == pytest.approx(most, rel=1e-8)


def test_points_of_minibatches_are_judged_by_slopes_relative_to_those_at_0():
    """Without deviations no curvature is known, so that slopes in their own units are no nats."""
    data, prior, *_ = expression(3, cells=150)
    spec = generative(Factors(0.01), prior, form="map", minibatch=unigrn.Minibatch(50, 3))
    found = unigrn.fit(spec, data, targets=[f"t{i}" for i in range(P)])
    assert found.residual.max() < 10


# ------------------------------------------------------------------ what reviewers found


def stated(sites, latents=None, observed=None):
    """Return a process of some sites, of a class of its own."""
    latents = {"theta": EDGES} if latents is None else latents
    observed = observed or {"expression": ("cells", "targets")}
    kind = type("P", (Process,), {"latents": latents, "observed": observed, "sites": sites})
    return pytree(kind)()


def test_padding_is_no_part_of_a_process():
    """A latent of every regulator, summed: those that pad would be free."""

    def sites(self, site, data, prior):
        theta = site("theta", Normal(0.0, 1.0))
        each = site("each", Normal(0.0, 0.1))
        shift = each @ jnp.ones((each.shape[0], 1))
        site("expression", Normal(data.x @ theta + shift[None], 0.5), data.y)

    data, prior, x, y = expression(5)
    spec = generative(stated(sites, {"theta": EDGES, "each": ("regulators",)}), prior, "map")
    found = unigrn.fit(spec, data, targets=[f"t{i}" for i in range(P)], tolerance=1e-16)
    assert "nothing is padded" in found.plan.explain()
    # The same as ridge, with a column for the sum: a shift of variance Q 0.01 for all targets.
    spread = Q * 0.1**2
    inside = [np.kron(np.eye(P), x), np.ones((P * len(x), 1))]
    design, target = np.hstack(inside), y.T.reshape(-1)
    price = np.r_[np.full(P * Q, 0.25), 0.25 / spread]
    want = np.linalg.solve(design.T @ design + np.diag(price), design.T @ target)
    np.testing.assert_allclose(found.theta[0], want[:-1].reshape(P, Q).T, atol=1e-7)
    assert found.blocks["each"][0].sum() == pytest.approx(want[-1], abs=1e-7)


@pytest.mark.parametrize(
    "function",
    [
        jax.nn.softmax,
        lambda u: u - u.mean(0, keepdims=True),
        lambda u: jnp.cumsum(u, axis=0),
        lambda u: u[::-1],
        lambda u: u / jnp.linalg.norm(u),
        lambda u: u @ jnp.ones((4, 4)),
    ],
)
def test_a_function_that_joins_entries_has_no_moments(function):
    with pytest.raises(NoMoments, match="not entry by entry"):
        apply(function, latent("a", (3, 4), 1))
    assert apply(function, jnp.ones((3, 4))).shape == (3, 4)


def test_latents_compare_to_nothing_and_end():
    a = latent("a", (3,), 1)
    assert len(list(a)) == 3
    with pytest.raises(NoMoments, match="a sum of two"):  # entries of one site: not told apart
        moments(sum(a))
    for compared in (a == 0.0, a != 0.0, a > 0.0):
        with pytest.raises(NoMoments, match="a comparison"):
            moments(compared)
        with pytest.raises(NoMoments):
            bool(compared)
    with pytest.raises(NoMoments, match="neither true nor false"):
        bool(a)


def test_what_is_not_observed_may_be_no_number():
    data, prior = world()
    seen = np.ones((N, P), bool)
    seen[0], seen[2, 1] = False, False
    known = np.where(seen, data.y, np.nan)

    def sites(self, site, data, prior):
        theta = site("theta", Normal(0.0, 1.0))
        here = jnp.isnan(jnp.asarray(known))
        site("expression", Normal(data.x @ theta, 0.5), jnp.asarray(known), where=~here)

    params = guided(stated(sites), data, prior)
    term = Likelihood(stated(sites), site="expression", form="map")
    value, slope = jax.value_and_grad(lambda b: term(b, data, prior))(params)
    mean = np.asarray(data.x) @ np.where(prior.valid, params.theta, 0)
    want = -stats.norm(mean, 0.5).logpdf(np.asarray(data.y))[seen].sum()
    assert float(value) == pytest.approx(want, rel=1e-12)
    assert np.isfinite(slope.theta).all()


def test_a_density_that_is_no_number_is_no_fit():
    def sites(self, site, data, prior):
        theta = site("theta", Normal(0.0, 1.0))
        site("expression", Normal(data.x @ theta, -1.0), data.y)

    data, prior, *_ = expression()
    found = unigrn.fit(generative(stated(sites), prior, "map"), data, targets=["t0"])
    assert "not finite" in found.certificate.status.iloc[0]


def test_names_that_are_not_there_are_told():
    data, prior = world()
    for wrong, says in (
        ({"theta": EDGES, "log_sd_theta": ()}, "log_sd_"),
        ({"theta": ("regulators", "target")}, "did you mean targets"),
    ):
        with pytest.raises(ValueError, match=says):
            stated(Factors.sites, wrong)
    with pytest.raises(ValueError, match="no site 'typo'; it has theta"):
        Regression(1.0, 1.0).log_density({"theta": data.y}, data, prior, ("typo",))
    with pytest.raises(ValueError, match="no latent 'expression'"):
        Regression(1.0, 1.0).simulate(jax.random.key(0), data, prior, {"expression": data.y})


def test_axes_of_a_process_have_the_length_that_it_says():
    def sites(self, site, data, prior):
        theta = site("theta", Normal(0.0, 1.0))
        site("peaks", Normal(0.0, 1.0))
        site("expression", Normal(data.x @ theta, 1.0), data.y)

    latents = {"theta": EDGES, "peaks": ("peaks",)}
    data, prior = world()
    with pytest.raises(ValueError, match="along 'peaks': say how long that is"):
        stated(sites, latents).simulate(jax.random.key(0), data, prior)
    kind = type(stated(sites, latents))
    kind.sizes = lambda self, data: {"peaks": 11}
    assert kind().simulate(jax.random.key(0), data, prior)["peaks"].shape == (11,)
