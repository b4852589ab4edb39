"""Models of numpyro, handed in as they are: densities, ELBOs, modes, and what is refused."""

import builtins

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logit
from scipy import stats
from test_processes import expression

import unigrn
from unigrn.methods.pmf_grn import GaussianFactors, PoissonFactors
from unigrn.processes import (
    EDGES,
    Beta,
    Divergence,
    Gamma,
    Likelihood,
    Normal,
    Process,
    from_numpyro,
    generative,
    sigmoid,
)
from unigrn.terms import Blocks, PriorView, View, pytree
from unigrn.verify import pmf_grn_log_joint, symphony_log_joint

numpyro = pytest.importorskip("numpyro", reason="numpyro is not installed: extra generative")
from numpyro import distributions as dist  # noqa: E402

pytestmark = pytest.mark.usefixtures("x64")
N, Q, P = 9, 3, 4


# ------------------------------------------------------------------ PMF-GRN in numpyro


def constrained(data, prior, low, high, existence, activity, center=0.0):
    """PMF-GRN as published, latents between 0 and 1 or above 0."""
    q, p = prior.weight.shape
    center = jnp.broadcast_to(center, (data.y.shape[0], q))
    odds = logit(jnp.clip(prior.weight, low, high))
    with numpyro.plate("cells", data.y.shape[0], dim=-2):
        depth = numpyro.sample("depth", odds_normal(0.0, 3.0))
        with numpyro.plate("regulators", q, dim=-1):
            u = numpyro.sample("activity", dist.LogNormal(center, activity))
    with numpyro.plate("sources", q, dim=-2), numpyro.plate("targets", p, dim=-1):
        edge = numpyro.sample("edge", odds_normal(odds, existence))
        theta = numpyro.sample("theta", dist.Normal(0, 1))
    noise = numpyro.sample("noise", dist.LogNormal(0, 1))
    mean = depth * (u @ (edge * theta))
    numpyro.sample("expression", dist.Normal(mean, noise + 0.001), obs=data.y)


def odds_normal(center, width):
    return dist.TransformedDistribution(
        dist.Normal(center, width), dist.transforms.SigmoidTransform()
    )


def counted(data, prior, activity, center=0.0):
    """The same of counts; theta is a logit."""
    q, p = prior.weight.shape
    center = jnp.broadcast_to(center, (data.y.shape[0], q))
    odds = logit(jnp.clip(prior.weight, 0.1, 0.9))
    theta = numpyro.sample("theta", dist.Normal(odds, 3.0).to_event(2))
    u = numpyro.sample("activity", dist.Normal(center, activity))
    depth = numpyro.sample(
        "depth", dist.Normal(0, 3).expand([data.y.shape[0]]).to_event(1).mask(True)
    )
    rate = jax.nn.sigmoid(depth)[:, None] * (jnp.exp(u) @ (jax.nn.sigmoid(theta) * prior.valid))
    numpyro.sample("expression", dist.Poisson(rate + 1e-6), obs=data.y)


@pytest.mark.parametrize("setting", ["s1", "p0"])
def test_densities_are_the_recorded_ones(shared, setting):
    path = shared / "fixtures" / "pmf_grn" / "log_joint.npz"
    with np.load(path) as file:
        own = {
            k.removeprefix(f"{setting}/"): jnp.asarray(file[k], file[k].dtype)
            for k in file.files
            if k.startswith(f"{setting}/")
        }
    want = pmf_grn_log_joint(path, setting)
    cells = np.asarray(own["in/i"]) if "in/i" in own else np.arange(len(own["in/W"]))

    def batch(array):
        return array if len(array) == len(cells) else array[cells]

    weight = own["in/V_prior_hparams"].T
    yes = jnp.ones(weight.shape, bool)
    prior = PriorView(weight > 0, weight, yes.astype(jnp.int32), ~yes, yes)
    data = View(x=jnp.zeros((len(cells), len(weight))), y=batch(own["in/W"]).astype(float))
    center = own.get("hp/prior_mean_log_U", jnp.nan)
    center = batch(own["in/U_prior_hparams"]) if np.isnan(center) else center
    at = {"activity": batch(own["latent/U"]), "depth": batch(own["latent/seq_depth"])}
    names = {"activity": "U", "depth": "seq_depth", "expression": "obs"}

    def sized(model, *hyper):
        def closed(data, prior):  # sizes of examples are others: a center that all have
            own = center if data.y.shape == seen else 0.0
            return model(data, prior, *hyper, own)

        seen = data.y.shape
        return from_numpyro(closed)

    spread = float(own["hp/prior_std_log_U"])
    if setting == "p0":
        process, turned = sized(counted, spread), {"theta": "V"}
        at = {"theta": own["latent/V"].T, "activity": jnp.log(at["activity"])}
        at["depth"] = logit(batch(own["latent/seq_depth"])[:, 0])
    else:
        hyper = ("min_prior_hparam", "max_prior_hparam", "prior_std_logit_A")
        process = sized(constrained, *(float(own[f"hp/{n}"]) for n in hyper), spread)
        turned = {"edge": "A", "theta": "B", "noise": "obs_std"}
        at |= {"edge": own["latent/A"].T, "theta": own["latent/B"].T}
        at["noise"] = own["latent/obs_std"].reshape(())
    got = jax.jit(process.log_density)(at, data, prior)
    names |= turned
    assert set(got) == set(names)
    if setting == "p0":  # of the latents as declared: logarithms and odds
        d = batch(own["latent/seq_depth"])
        want["U"] += float(jnp.log(batch(own["latent/U"])).sum())
        want["seq_depth"] += float((jnp.log(d) + jnp.log1p(-d)).sum())
    for site, name in names.items():
        assert float(got[site]) == pytest.approx(want[name], rel=1e-12), site


# ------------------------------------------------------------------ Symphony in numpyro


def test_symphony_has_the_recorded_densities(shared):
    path = shared / "fixtures" / "symphony" / "log_joint_reconstruction.npz"
    with np.load(path) as file:
        own = {k.removeprefix("s0/"): file[k] for k in file.files if k.startswith("s0/")}
    latent = {k.removeprefix("latent/"): v for k, v in own.items() if "latent/" in k}
    x, z = jnp.asarray(own["in/X"]), own["in/z"]
    (clusters, peaks), genes = latent["p"].shape, x.shape[1]
    share = jnp.asarray(np.bincount(z) / len(z))
    means = jnp.stack([x[z == k].mean(axis=0) for k in range(clusters)])

    def symphony(data, prior):
        d = data.y.shape[1]
        here = d == genes  # the examples have other sizes
        center = means if here else jnp.zeros((clusters, d))
        peak = own["in/g"] if here else jnp.zeros((d, d), int)
        sign = own["in/M_signed"] if here else jnp.ones((d, d))
        free = d + 1.0
        mu = numpyro.sample("mu", dist.Normal(center, 1.0).to_event(1))
        p = numpyro.sample("p", dist.Gamma(4.5, 1.0).expand([clusters, peaks]))
        network = numpyro.sample("R", dist.Normal(sign * p[:, peak], 0.05))
        n = numpyro.sample("nij", dist.Normal(0, 1).expand([clusters, d * (d + 1) // 2]))
        chi = dist.Gamma((free - jnp.arange(d)) / 2, 0.5)
        c = numpyro.sample("ci", chi.expand([clusters, d]))
        delta = numpyro.sample("delta", dist.Normal(-4, 100).expand([clusters, d]))
        numpyro.sample("C", dist.Normal((share @ p)[:, None], 0.01), obs=own["in/C"])

        def root(network, n, c, delta):
            upper = jnp.linalg.qr(network + network.T, mode="r")
            upper = jnp.where(jnp.diagonal(upper) < 0, -1.0, 1.0)[:, None] * upper
            folded = jnp.concatenate([n, n[d:][::-1]]).reshape(d, d)
            bartlett = jnp.triu(folded, 1).T + jnp.diag(jnp.sqrt(c))
            return jnp.exp(delta)[:, None] * (upper.T @ bartlett) / jnp.sqrt(free)

        factor = jax.vmap(root)(network, n, c, delta)
        of = data.extra["cluster"].astype(int) - 1
        cells = dist.MultivariateNormal(mu[of], scale_tril=factor[of])
        numpyro.sample("X", cells, obs=data.y)

    process = from_numpyro(symphony)
    assert process.observed["X"] == ("cells",) and process.latents["mu"] == (
        "axis 0 of mu",
        "targets",
    )
    data = View(x=jnp.zeros((len(x), 1)), y=x, extra={"cluster": jnp.asarray(z + 1.0, x.dtype)})
    yes = jnp.ones((1, genes), bool)
    prior = PriorView(yes, yes.astype(float), yes.astype(jnp.int32), ~yes, yes)
    at = {k: jnp.asarray(v) for k, v in latent.items()}
    got, want = process.log_density(at, data, prior), symphony_log_joint(path, "s0")
    for name in (*latent, "C"):
        assert float(got[name]) == pytest.approx(want[name], rel=1e-10), name
    assert float(got["X"]) == pytest.approx(want["X_transposed"], rel=1e-8)


# ------------------------------------------------------------------ the same as a house process


def free(low, high, existence, activity):
    """Return PMF-GRN in free numbers, as the house declares it."""

    def factors(data, prior):
        (n, _), (q, p) = data.y.shape, prior.weight.shape
        odds = logit(jnp.clip(prior.weight, low, high))
        with numpyro.plate("regulators", q, dim=-2), numpyro.plate("targets", p, dim=-1):
            edge = numpyro.sample("edge", dist.Normal(odds, existence))
            theta = numpyro.sample("theta", dist.Normal(0, 1))
        u = numpyro.sample("activity", dist.Normal(0, activity).expand([n, q]).to_event(1))
        depth = numpyro.sample("depth", dist.Normal(0, 3), sample_shape=(n,))
        noise = numpyro.sample("noise", dist.Normal(0, 1))
        mean = jax.nn.sigmoid(depth)[:, None] * (jnp.exp(u) @ (jax.nn.sigmoid(edge) * theta))
        numpyro.sample("expression", dist.Normal(mean, jnp.exp(noise) + 0.001), obs=data.y)

    return factors


def world(seed=0):
    """Cells of which some count twice or not at all, and an edge that is no candidate."""
    rng = np.random.default_rng(seed)
    valid = np.ones((Q, P), bool)
    valid[0, 1] = False
    prior = PriorView(
        jnp.asarray(rng.random((Q, P)) < 0.5),
        jnp.asarray(rng.random((Q, P))),
        jnp.zeros((Q, P), jnp.int32),
        jnp.asarray(~valid),
        jnp.asarray(valid),
    )
    weight = jnp.asarray(rng.integers(0, 3, N).astype(float))
    y = rng.poisson(2.0, size=(N, P)).astype(float)
    return View(x=jnp.asarray(rng.normal(size=(N, Q))), y=jnp.asarray(y), weight=weight), prior


def guided(process, data, prior, seed=2):
    rng = np.random.default_rng(seed)
    blocks = {}
    for name, shape in jax.eval_shape(process.centers, data, prior).items():
        blocks[name] = jnp.asarray(rng.normal(size=shape.shape) / 3)
        blocks[f"log_sd_{name}"] = jnp.asarray(rng.normal(size=shape.shape) / 3 - 1)
    return Blocks(**blocks)


@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_the_elbo_at_the_same_draws_and_its_slope_are_those_of_the_process(noise):
    data, prior = world()
    if noise == "poisson":
        process, model = PoissonFactors(0.1, 0.9, 3.0, 0.7), from_numpyro(poisson)
    else:
        process = GaussianFactors(0.01, 0.99, 1.0, 1.0, 0.7)
        model = from_numpyro(free(0.01, 0.99, 1.0, 0.7))
    assert dict(model.latents) == dict(process.latents) and model.outcome == process.outcome
    for name, value in process.centers(data, prior).items():
        np.testing.assert_allclose(model.centers(data, prior)[name], value, atol=1e-12)
    params = guided(process, data, prior)

    def parts(process, params):
        how = {"draws": 3, "seed": 1}
        spread = Divergence(process, **how)
        density = spread.expected(tuple(process.latents), params, data, prior)
        loss = Likelihood(process, site="expression", **how)(params, data, prior)
        return loss, -density - spread.entropy(params, data, prior)

    both = [
        jax.jit(jax.value_and_grad(lambda p, m=m: sum(parts(m, p))))(params)
        for m in (process, model)
    ]
    assert float(both[1][0]) == pytest.approx(float(both[0][0]), rel=1e-12)
    for name, slope in both[0][1].items():
        np.testing.assert_allclose(both[1][1][name], slope, rtol=1e-9, atol=1e-9)
    # The divergence falls back on the draws by itself.
    got = Divergence(model, draws=3, seed=1)(params, data, prior)
    assert float(got) == pytest.approx(float(parts(model, params)[1]), rel=1e-12)


def poisson(data, prior):
    """Counts with activities around 0."""
    counted(data, prior, 0.7)


def test_weights_and_candidates_count_and_all_else_is_the_density_of_numpyro():
    data, prior = world()
    model = free(0.1, 0.9, 1.0, 0.7)
    process, params = from_numpyro(model), guided(from_numpyro(model), data, prior)
    at = {name: params[name] for name in process.latents}
    yes = jnp.ones((Q, P), bool)
    whole = PriorView(prior.support, prior.weight, prior.sign, ~yes, yes)
    ones = data.replace(weight=None)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        want, _ = numpyro.infer.util.log_density(model, (ones, whole), {}, at)
    got = jax.jit(process.log_density)(at, ones, whole)
    assert float(sum(got.values())) == pytest.approx(float(want), rel=1e-12)
    # A cell that counts twice, or not, and an edge that is no candidate, as in any process.
    house = GaussianFactors(0.1, 0.9, 1.0, 1.0, 0.7).log_density(at, data, prior)
    got = process.log_density(at, data, prior)
    for name, value in house.items():
        assert float(got[name]) == pytest.approx(float(value), rel=1e-12), name


def regression(data, prior):
    """y ~ N(x theta, 0.5^2), theta ~ N(0, 0.8^2)."""
    theta = numpyro.sample("theta", dist.Normal(0, 0.8).expand(prior.weight.shape))
    numpyro.sample("expression", dist.Normal(data.x @ theta, 0.5), obs=data.y)


TARGETS = [f"t{i}" for i in range(P)]


def test_a_model_is_fitted_as_it_is():
    """By fixed draws near the conjugate posterior, by its mode at the ridge."""
    data, prior, x, y = expression()
    precision = x.T @ x / 0.25 + np.eye(Q) / 0.64
    want = np.linalg.solve(precision, x.T @ y / 0.25)
    mode = unigrn.fit(generative(regression, prior, "map"), data, targets=TARGETS, tolerance=1e-14)
    np.testing.assert_allclose(mode.theta[0], want, rtol=1e-6)
    assert mode.plan.spec.name == "regression"
    spec = generative(regression, prior, draws=16)
    found = unigrn.fit(spec, data, targets=TARGETS, tolerance=1e-7)
    assert set(found.certificate.status) == {"converged"}
    np.testing.assert_allclose(found.theta[0], want, atol=0.1)
    edges = found.network().edges
    variance = edges.pivot(index="source", columns="target", values="variance").to_numpy()
    assert np.median(variance / (1 / np.diag(precision))[:, None]) == pytest.approx(1, rel=0.4)
    batch = unigrn.Minibatch(30, 100)
    fresh = generative(regression, prior, draws=1, fresh=True, minibatch=batch)
    found = unigrn.fit(fresh, data, targets=TARGETS, tolerance=1e-3)
    np.testing.assert_allclose(found.theta[0], want, atol=0.2)


def test_the_mode_of_pmf_grn_is_that_of_the_process():
    data, prior, x, y = expression(1)
    house = generative(GaussianFactors(0.01, 0.99, 1.0, 1.0, 0.7), prior, "map")
    model = from_numpyro(
        free(0.01, 0.99, 1.0, 0.7),
        edges=lambda v: {
            "weight": sigmoid(v["edge"]) * v["theta"],
            "probability": sigmoid(v["edge"]),
        },
    )
    found = unigrn.fit(generative(model, prior, "map"), data, targets=TARGETS, tolerance=1e-14)
    assert set(found.certificate.status) == {"converged"}
    # The objective of the process is stationary there, and has the same value.
    yes = jnp.ones((Q, P), bool)
    whole = PriorView(yes, yes.astype(float), yes.astype(jnp.int32), ~yes, yes)
    exists = 1 / (1 + np.exp(-found.blocks["edge"][0]))
    theta = found.theta[0] / exists  # the network is what `edges` says
    at = Blocks(theta=theta, **{n: b[0] for n, b in found.blocks.items()})
    at, view = jax.tree.map(jnp.asarray, at), View(x=jnp.asarray(x), y=jnp.asarray(y))

    @jax.jit
    def both(at):
        return [
            jax.value_and_grad(lambda p, s=s: s.objective(p, view, whole))(at)
            for s in (house, generative(model, prior, "map"))
        ]

    (value, slope), (other, _) = both(at)
    assert float(other) == pytest.approx(float(value), rel=1e-12)
    assert max(float(jnp.abs(v).max()) for v in jax.tree.leaves(slope)) < 1e-5 * abs(value)
    edges = found.network().edges
    table = edges.pivot(index="source", columns="target", values="probability").to_numpy()
    np.testing.assert_allclose(table, exists, rtol=1e-6)
    assert list(edges["score"]) == list(edges["probability"])


# ------------------------------------------------------------------ supports, masks, views


def supports(data, prior):
    """Latents of many supports, and a view that is masked and scaled."""
    theta = numpyro.sample("theta", dist.Laplace(0.0, 1.0).expand(prior.weight.shape))
    width = numpyro.sample("width", dist.Gamma(2.0, 3.0))
    share = numpyro.sample("share", dist.Beta(2.0, 3.0))
    with numpyro.plate("factors", 5):
        angle = numpyro.sample("angle", dist.Uniform(-2.0, 3.0))
    above = numpyro.sample("above", dist.TruncatedNormal(0.0, 1.0, low=0.5))
    each = numpyro.sample("each", dist.ImproperUniform(dist.constraints.real, (5,), ()))
    mean = share * (data.x @ theta) + angle.sum() + above + each.sum()
    seen = jnp.arange(data.y.shape[1]) % 2 == 0
    with numpyro.handlers.mask(mask=seen), numpyro.handlers.scale(scale=0.5):
        numpyro.sample("expression", dist.StudentT(4.0, mean, width), obs=data.y)


@pytree
class Named(Process):
    """Some of them in the house."""

    latents = {"theta": EDGES, "width": (), "share": ()}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        """Visit every site."""
        theta = site("theta", Normal(0.0, 1.0))
        width, share = site("width", Gamma(2.0, 3.0)), site("share", Beta(2.0, 3.0))
        site("expression", Normal(share * (data.x @ theta), width), data.y)


def test_supports_axes_and_masks_are_those_of_the_model():
    data, prior = world()
    process = from_numpyro(supports)
    assert process.latents["angle"] == ("factors",)
    assert process.latents["each"] == ("axis 0 of each",)
    assert process.sizes(data)["factors"] == 5
    params = guided(process, data, prior)
    # E log |d value / d u|, by draws of the transforms of numpyro.
    got = jax.jit(Divergence(process, draws=2).entropy)(params, data, prior)
    rng, want = np.random.default_rng(0), 0.0
    valid = np.asarray(prior.valid)
    fns = {
        "width": dist.constraints.positive,
        "share": dist.constraints.unit_interval,
        "angle": dist.constraints.interval(-2.0, 3.0),
        "above": dist.constraints.greater_than(0.5),
    }
    for name in process.latents:
        loc, spread = np.asarray(params[name]), np.exp(np.asarray(params[f"log_sd_{name}"]))
        own = stats.norm(0, spread).entropy()
        want += own[valid].sum() if name == "theta" else own.sum()
        if name in fns:
            u = jnp.asarray(loc + spread * rng.standard_normal((20_000, *loc.shape)))
            turn = dist.transforms.biject_to(fns[name])
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                slope = turn.log_abs_det_jacobian(u, turn(u))
            want += float(slope.mean(axis=0).sum())
    assert float(got) == pytest.approx(want, abs=0.05)
    # Half of every second target's density; Flat of what is improper.
    at = {n: process_value(fns.get(n), params[n]) for n in process.latents}
    density = jax.jit(process.log_density)(at, data, prior)
    theta = np.where(valid, at["theta"], 0)
    mean = at["share"] * (data.x @ theta) + at["angle"].sum() + at["above"] + at["each"].sum()
    log = stats.t(4.0, np.asarray(mean), float(at["width"])).logpdf(np.asarray(data.y))
    want = 0.5 * (np.asarray(data.weight)[:, None] * log)[:, ::2].sum()
    assert float(density["expression"]) == pytest.approx(want, rel=1e-12)
    assert float(density["each"]) == 0


def test_single_precision_stays_so():
    data, prior = world()
    few = {"float64": jnp.float32}

    def single(tree):
        return jax.tree.map(lambda v: v.astype(few.get(str(v.dtype), v.dtype)), tree)

    process = from_numpyro(supports)
    params = single(guided(process, data, prior))
    for part in (Likelihood(process, site="expression", draws=2), Divergence(process, draws=2)):
        out = jax.eval_shape(part, params, single(data), single(prior))
        assert out.dtype == jnp.float32


def process_value(constraint, u):
    if constraint is None:
        return u
    with jax.numpy_dtype_promotion("standard"):
        return dist.transforms.biject_to(constraint)(u)


def test_what_is_simulated_is_drawn_by_numpyro():
    data, prior = world()
    draw = jax.jit(from_numpyro(regression).simulate)
    drawn = draw(jax.random.key(0), data, prior)
    assert drawn["expression"].shape == (N, P) and float(drawn["theta"][0, 1]) == 0
    many = data.replace(x=jnp.ones((4000, Q)), y=jnp.zeros((4000, P)), weight=None)
    drawn = draw(jax.random.key(0), many, prior)
    residual = drawn["expression"] - many.x @ drawn["theta"]
    assert stats.kstest(np.asarray(residual).ravel() / 0.5, "norm").pvalue > 0.001
    with pytest.raises(ValueError, match="theta, of ImproperUniform, cannot be drawn from"):
        from_numpyro(improper).simulate(jax.random.key(0), data, prior)


def improper(data, prior):
    shape = prior.weight.shape
    theta = numpyro.sample("theta", dist.ImproperUniform(dist.constraints.real, shape, ()))
    expressed(data, theta)


def test_what_is_masked_may_be_no_number():
    data, prior = world()
    seen = np.random.default_rng(0).random((N, P)) < 0.7

    def missing(data, prior):
        theta = numpyro.sample("theta", dist.Normal(0, 1).expand(prior.weight.shape))
        here = ~jnp.isnan(data.y)
        normal = dist.Normal(data.x @ theta, 1.0).mask(here)
        numpyro.sample("expression", normal, obs=data.y)

    data = data.replace(y=jnp.where(seen, data.y, jnp.nan))
    term = Likelihood(from_numpyro(missing), site="expression", form="map")
    at = Blocks(theta=jnp.asarray(np.random.default_rng(1).normal(size=(Q, P))))
    value, slope = jax.jit(jax.value_and_grad(lambda at: term(at, data, prior)))(at)
    mean = np.asarray(data.x) @ np.where(prior.valid, at.theta, 0)
    log = stats.norm(mean, 1).logpdf(np.where(seen, data.y, 0)) * seen
    assert float(value) == pytest.approx(-(np.asarray(data.weight)[:, None] * log).sum(), rel=1e-12)
    assert np.isfinite(slope.theta).all()


# ------------------------------------------------------------------ what is refused


def expressed(data, theta):
    numpyro.sample("expression", dist.Normal(data.x @ theta, 1.0), obs=data.y)


def no_theta(data, prior):
    expressed(data, numpyro.sample("network", dist.Normal(0, 1).expand(prior.weight.shape)))


def turned(data, prior):
    expressed(data, numpyro.sample("theta", dist.Normal(0, 1).expand(prior.weight.T.shape)).T)


def classes(data, prior):
    numpyro.sample("class", dist.Bernoulli(0.5).expand([data.y.shape[0]]))
    regression(data, prior)


def joined(data, prior):
    numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
    regression(data, prior)


def learnt(data, prior):
    numpyro.param("width", 1.0)
    regression(data, prior)


def partly(data, prior):
    with numpyro.plate("genes", 6, subsample_size=3):
        numpyro.sample("shift", dist.Normal(0, 1))
    regression(data, prior)


def all_cells(data, prior):
    theta = numpyro.sample("theta", dist.Normal(0, 1).expand(prior.weight.shape))
    cover = jnp.eye(data.y.shape[0])
    mean = (data.x @ theta).T
    numpyro.sample("expression", dist.MultivariateNormal(mean, cover), obs=data.y.T)


def fixed_size(data, prior):
    with numpyro.plate("cells", 100):
        numpyro.sample("depth", dist.Normal(0, 1))
    regression(data, prior)


def closed_over(data, prior):
    theta = numpyro.sample("theta", dist.Normal(0, 1).expand(prior.weight.shape))
    numpyro.sample("expression", dist.Normal(jnp.ones((60, Q)) @ theta, 1.0), obs=data.y)


def masked(data, prior):
    with numpyro.handlers.mask(mask=prior.support):
        theta = numpyro.sample("theta", dist.Normal(0, 1).expand(prior.weight.shape))
    expressed(data, theta)


def nothing_seen(data, prior):
    numpyro.sample("theta", dist.Normal(0, 1).expand(prior.weight.shape))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (no_theta, "no_theta needs a latent theta over regulators and targets, got .* network"),
        (turned, "turned needs a latent theta over regulators and targets"),
        (classes, "'class' of classes has counts or classes .*Bernoulli"),
        (joined, "'share' of joined has entries that depend on each other .*Dirichlet"),
        (learnt, "learnt has the parameter 'width' without a distribution"),
        (partly, "the plate 'genes' takes a part of its entries"),
        (all_cells, "'expression' of all_cells has one density for all cells"),
        (fixed_size, "the plate 'cells' of fixed_size has 100 entries where the data have 5"),
        (closed_over, "closed_over does not run on 5 cells, 3 regulators and 4 targets"),
        (masked, "'theta' of masked is masked, .* mask what is observed"),
        (nothing_seen, "nothing_seen observes nothing"),
        (lambda data: None, r"a numpyro model is a function \(data, prior\), got <lambda>\(data\)"),
    ],
)
def test_a_model_that_is_no_process_is_told_why(model, says):
    with pytest.raises(ValueError, match=says) as told:
        generative(model, None, "map")
    assert "\n" not in str(told.value).partition(": ")[0]


def test_no_moments_are_closed_and_nothing_else_is_a_process():
    data, prior = world()
    with pytest.raises(ValueError, match="regression has no closed moments: give draws=8"):
        generative(regression, None)
    process = from_numpyro(regression)
    params = guided(process, data, prior)
    for term in (Likelihood(process, site="expression"), Divergence(process)):
        with pytest.raises(ValueError, match="numpyro model has no closed moments"):
            term(params, data, prior)
    with pytest.raises(TypeError, match="a numpyro model, a function .*; got str"):
        generative("regression", None)


def test_without_numpyro_one_line_says_how_to_get_it(monkeypatch):
    own = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "numpyro":
            raise ImportError(name)
        return own(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install unigrn\[generative\]"):
        generative(lambda data, prior: None, None, "map")
