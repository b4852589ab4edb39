"""PMF-GRN: recorded densities, losses and gradients of the released model, and what a fit finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import unigrn
from unigrn import UnigrnWarning
from unigrn.methods.pmf_grn import GaussianFactors, PoissonFactors, pmf_grn
from unigrn.processes import Divergence, Likelihood
from unigrn.solvers import gradient
from unigrn.solvers.optimality import Options
from unigrn.spec import Slots
from unigrn.status import Status
from unigrn.terms import Blocks, PriorView, View
from unigrn.verify import pmf_grn_log_joint

SETTINGS = ("s0", "s1", "s2", "p0")


@pytest.fixture(scope="module")
def recorded(shared):
    path = shared / "fixtures" / "pmf_grn" / "log_joint.npz"
    with np.load(path) as file:
        return path, {name: file[name] for name in file.files}


@pytest.mark.parametrize("setting", SETTINGS)
def test_log_densities_are_those_of_the_released_model(recorded, setting):
    path, file = recorded
    got = pmf_grn_log_joint(path, setting)
    names = {k.split("/")[-1] for k in file if k.startswith(f"{setting}/model_logp_unscaled/")}
    assert set(got) == names
    for name in names:
        assert got[name] == pytest.approx(
            float(file[f"{setting}/model_logp_unscaled/{name}"]), rel=1e-12
        ), name


def test_options_of_the_released_model_are_evaluated(tmp_path):
    """Cut activities, held out entries and truncated activities, by SciPy from the formulas."""
    rng = np.random.default_rng(0)
    n, m, k = 6, 5, 3
    own = {
        "in/W": rng.gamma(2.0, 1.0, (n, m)),
        "in/V_prior_hparams": rng.random((m, k)),
        "in/U_prior_hparams": rng.normal(size=(n, k)),
        "in/mask": rng.random((n, m)) < 0.8,
        "in/i": np.array([4, 1, 2]),
        "latent/A": rng.random((m, k)),
        "latent/B": rng.normal(size=(m, k)),
        "latent/U": rng.lognormal(size=(3, k)),
        "latent/seq_depth": rng.random((3, 1)),
        "latent/obs_std": np.array([0.7]),
        "hp/prior_mean_log_U": np.nan,
        "hp/prior_std_log_U": 5.0,
        "hp/prior_std_logit_A": 2.0,
        "hp/prior_std_B": 1.5,
        "hp/min_prior_hparam": 0.1,
        "hp/max_prior_hparam": 0.8,
        "hp/U_max": 1.1,
        "hp/use_mask": 1.0,
        "hp/truncate_U": 1.0,
    }
    path = tmp_path / "recorded.npz"
    np.savez(path, **{f"x/{name}": value for name, value in own.items()})
    got = pmf_grn_log_joint(path, "x")
    i, u, d = own["in/i"], own["latent/U"], own["latent/seq_depth"]
    mean = d * (np.minimum(u, 1.1) @ (own["latent/A"] * own["latent/B"]).T)
    held = own["in/mask"][i]
    ends = [(end - own["in/U_prior_hparams"][i]) / 5 for end in (-51, 11)]
    want = {
        "obs": stats.norm(held * mean, 0.701).logpdf(held * own["in/W"][i]).sum(),
        "U": stats.truncnorm(*ends, own["in/U_prior_hparams"][i], 5).logpdf(np.log(u)).sum()
        - np.log(u).sum(),
        "obs_std": stats.lognorm(1.0).logpdf(0.7),
        "B": stats.norm(0, 1.5).logpdf(own["latent/B"]).sum(),
    }
    for name, value in want.items():
        assert got[name] == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("wrong", ["missing.npz", "text.npz", "other.npz"])
def test_a_file_that_is_no_recording_is_refused(tmp_path, wrong):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    with pytest.raises((ValueError, OSError), match="no such|No such|no recorded run|no setting"):
        pmf_grn_log_joint(tmp_path / wrong, "s0")


# ------------------------------------------------------------------ the released objective


def interval(low, high, x):
    return low + (high - low) / (1 + jnp.exp(-x))


def constrained(file, setting):
    """Guide parameters from the released program's unconstrained ones: the page's table."""
    maximum = {name: float(file[f"{setting}/hp/{name}"]) for name in ("guide_max_std_log_U",)}
    center = float(file.get(f"{setting}/hp/guide_max_mean_log_U", np.nan))

    def turn(name, x):
        if name == "U_means":
            return x if np.isnan(center) else center - jnp.exp(x)
        bounds = {
            "U_stds": (0.001, maximum["guide_max_std_log_U"]),
            "seq_depth_means": (-5, 5),
            "seq_depth_stds": (0.001, 5),
            "A_means": (-10, 10),
        }
        if name in bounds:
            return interval(*bounds[name], x)
        return 0.001 + jnp.exp(x) if "std" in name and name != "obs_std_mean" else x

    return turn


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("setting", ["s0", "s1", "s2"])
def test_the_loss_at_given_noise_and_its_gradient_are_those_recorded(recorded, setting):
    _, file = recorded
    own = {k.removeprefix(f"{setting}/"): v for k, v in file.items() if k.startswith(f"{setting}/")}
    turn = constrained(file, setting)
    cells = own["in/i"]
    hyper = {k.removeprefix("hp/"): float(v) for k, v in own.items() if k.startswith("hp/")}
    center = hyper["prior_mean_log_U"]
    center = own["in/U_prior_hparams"][cells] if np.isnan(center) else center
    process = GaussianFactors(
        hyper["min_prior_hparam"],
        hyper["max_prior_hparam"],
        hyper["prior_std_logit_A"],
        hyper["prior_std_B"],
        hyper["prior_std_log_U"],
        center,
    )
    weight = jnp.asarray(own["in/V_prior_hparams"].T)
    yes = jnp.ones(weight.shape, bool)
    prior = PriorView(weight > 0, weight, jnp.zeros(weight.shape, jnp.int8), ~yes, yes)
    data = View(x=jnp.zeros((len(cells), len(weight))), y=jnp.asarray(own["in/W"][cells]))
    sites = {"U": "activity", "seq_depth": "depth", "A": "edge", "B": "theta", "obs_std": "noise"}
    sizes = len(own["in/W"]), len(weight)

    def spread(name):
        return "obs_std_std" if name == "obs_std" else f"{name}_stds"

    def location(name):
        return "obs_std_mean" if name == "obs_std" else f"{name}_means"

    def loss(free):
        at, log_q = {}, {}
        for name, site in sites.items():
            m, s = (turn(n, free[n]) for n in (location(name), spread(name)))
            if name in ("U", "seq_depth") and len(m) != len(cells):
                m, s = m[cells], s[cells]
            u = m + s * own[f"eps/{name}"]
            log_q[site] = jnp.sum(jax.scipy.stats.norm.logpdf(u, m, s))
            u = u.T if name in "AB" else u
            at[site] = u.reshape(()) if name == "obs_std" else u[:, 0] if name == "seq_depth" else u
        density = process.log_density(at, data, prior)
        batch, beta = sizes[0] / len(cells), hyper["annealing_factor"]
        total = batch * density["expression"]
        for site in sites.values():
            factor = batch if site in ("activity", "depth") else 1.0
            total += beta * factor * (density[site] - log_q[site])
        return -total / (sizes[0] * sizes[1])

    free = {
        n: jnp.asarray(own[f"q_unconstrained/{n}"])
        for name in sites
        for n in (location(name), spread(name))
    }
    for name, value in free.items():
        np.testing.assert_allclose(turn(name, value), own[f"q_constrained/{name}"], atol=1e-12)
    value, slope = jax.value_and_grad(loss)(free)
    assert float(value) == pytest.approx(float(own["loss"]), rel=1e-12)
    for name, got in slope.items():
        want = own[f"grad_unconstrained/{name}"]
        assert np.abs(got - want).max() <= 1e-9 * np.abs(want).max(), name


@pytest.mark.usefixtures("x64")
def test_the_closed_elbo_is_the_recorded_quadrature(recorded):
    _, file = recorded
    own = {k.removeprefix("e0/"): v for k, v in file.items() if k.startswith("e0/")}
    names = {"U": "activity", "seq_depth": "depth", "A": "edge", "B": "theta"}
    blocks = {}
    for name, site in names.items():
        for kind, block in (("means", site), ("stds", f"log_sd_{site}")):
            value = jnp.asarray(own[f"q_constrained/{name}_{kind}"])
            value = value.T if name in "AB" else value[:, 0] if name == "seq_depth" else value
            blocks[block] = value if kind == "means" else jnp.log(value)
    blocks["noise"] = jnp.asarray(own["q_constrained/obs_std_mean"][0])
    blocks["log_sd_noise"] = jnp.log(own["q_constrained/obs_std_std"][0])
    weight = jnp.asarray(own["in/V_prior_hparams"].T)
    yes = jnp.ones(weight.shape, bool)
    prior = PriorView(weight > 0, weight, jnp.zeros(weight.shape, jnp.int8), ~yes, yes)
    data = View(x=jnp.zeros((30, 5)), y=jnp.asarray(own["in/W"]))
    process, params = GaussianFactors(0.0005, 0.9995, 2.0, 1.0, 5.0), Blocks(**blocks)
    loss = Likelihood(process, site="expression")(params, data, prior)
    assert -float(loss) == pytest.approx(float(own["expected_loglik_quadrature"]), rel=1e-9)
    divergence = Divergence(process)(params, data, prior)
    want = sum(float(v) for k, v in own.items() if k.startswith("kl_closed/"))
    assert float(divergence) == pytest.approx(want, rel=1e-12)
    # The drawn loss has the same mean.
    drawn = [
        float(Likelihood(process, site="expression", draws=300, seed=k)(params, data, prior))
        for k in range(6)
    ]
    assert abs(np.mean(drawn) - loss) < 5 * np.std(drawn) / np.sqrt(6)


# ------------------------------------------------------------------ what a fit finds


def simulated(seed=0, cells=200, q=6, p=30, wrong=0.1, noise="gaussian"):
    """Expression of the method's own process, and a prior of which a tenth is wrong."""
    rng = np.random.default_rng(seed)
    names = [f"r{i}" for i in range(q)] + [f"t{i:02}" for i in range(p)]
    exists = rng.random((q, p)) < 0.25
    known = exists ^ (rng.random((q, p)) < wrong)
    known[0, ~known.any(axis=0)] = True
    prior = unigrn.Prior.from_dict(
        {t: [names[i] for i in np.flatnonzero(known[:, j])] for j, t in enumerate(names[q:])}
    )
    network = exists * (rng.normal(size=(q, p)) if noise == "gaussian" else 1.0)
    view = View(x=jnp.zeros((cells, q)), y=jnp.zeros((cells, p)))
    yes = jnp.ones((q, p), bool)
    all_ = PriorView(yes, jnp.full((q, p), 0.5), yes.astype(jnp.int8), ~yes, yes)
    given = {"theta": jnp.asarray(network), "edge": jnp.where(exists, 30.0, -30.0)}
    process = GaussianFactors(0.01, 0.99, 1.0, 1.0, 0.7)
    if noise == "poisson":
        process, given = PoissonFactors(0.1, 0.9, 3.0, 0.7), {"theta": given["edge"] / 10}
    else:
        given["noise"] = jnp.asarray(-1.0)
    drawn = process.simulate(jax.random.key(seed), view, all_, given)
    values = np.concatenate([rng.normal(size=(cells, q)), drawn["expression"]], axis=1)
    data = unigrn.Data.from_arrays(values, names, dtype="float64")
    return data, prior, exists, known, names[q:]


def precision(score, truth):
    order = np.argsort(-score.ravel(), kind="stable")
    hits = truth.ravel()[order]
    return (np.cumsum(hits) / np.arange(1, hits.size + 1))[hits].mean()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_a_network_is_recovered_better_than_the_prior_has_it(noise):
    data, prior, exists, known, targets = simulated(noise=noise)
    found = unigrn.fit(pmf_grn(prior, noise=noise), data, targets=targets, tolerance=1e-5)
    assert set(found.certificate.status) == {"converged"}
    # By one length for all entries it took 2,752 steps with Gaussian noise, 168 with counts.
    assert found.certificate.iterations.max() < 600
    edges = found.network().edges
    score = edges.pivot(index="source", columns="target", values="score").to_numpy()
    assert ((score > 0) & (score < 1)).all()
    alone = precision(known.astype(float), exists)
    assert precision(score, exists) > alone + 0.03
    off = exists & ~known
    assert score[off].mean() > score[~exists & ~known].mean() + 0.1
    assert {"probability", "probability_variance", "variance"} <= set(edges)


@pytest.mark.usefixtures("x64")
def test_what_is_called_converged_is_within_deviations_of_the_optimum():
    data, prior, *_, targets = simulated()
    spec, fits = pmf_grn(prior), []
    for tolerance in (1e-13, 1e-6):
        fits.append(unigrn.fit(spec, data, targets=targets, tolerance=tolerance))
        assert set(fits[-1].certificate.status) == {"converged"}
        assert fits[-1].residual.max() <= tolerance
    best, found = (f.blocks | {"theta": f.theta} for f in fits)
    for name in ("theta", "edge", "activity", "depth", "noise"):
        log_sd = best[f"log_sd_{name}"][0]
        apart = np.abs(found[name][0] - best[name][0]) / np.exp(log_sd)
        assert apart.max() < 0.3, name  # of entries that move together; one alone .0015
        np.testing.assert_allclose(found[f"log_sd_{name}"][0], log_sd, atol=0.03, err_msg=name)


@pytest.mark.usefixtures("x64")
def test_one_entry_that_is_off_is_seen_however_steep_the_noise():
    """A tenth of a deviation or a spread is little beside the slope of the noise at theta = 0."""
    rng = np.random.default_rng(0)
    weight, y = rng.random((3, 40)), 30 * np.exp(rng.normal(size=(50, 3))) @ rng.random((3, 40))
    yes = jnp.ones((3, 40), bool)
    prior = PriorView(yes, jnp.asarray(weight), yes.astype(jnp.int8), ~yes, yes)
    view, spec = View(x=jnp.zeros((50, 3)), y=jnp.asarray(y), key=jax.random.key(0)), pmf_grn(None)

    @jax.jit
    def looked_at(start, most):
        own = spec.replace(start=lambda *_: start, constraint=None)
        return gradient.solve(
            Slots(own.shape, own.terms), view, prior, Options(jnp.asarray(1e-6), most)
        )

    first = Slots(spec.shape, spec.terms).start(view, prior)
    best = looked_at(first, jnp.int32(5000)).params
    assert looked_at(best, jnp.int32(0)).status == Status.CONVERGED
    for name, apart in {
        "log_sd_theta": 0.1,
        "theta": 0.1 * jnp.exp(best["log_sd_theta"]),
        "log_sd_activity": 0.1,
        "activity": 0.1 * jnp.exp(best["log_sd_activity"]),
        "log_sd_noise": 0.1,
    }.items():
        moved = best[name].ravel()[0] + jnp.ravel(apart)[0]
        off = best.replace(**{name: best[name].ravel().at[0].set(moved).reshape(best[name].shape)})
        fit = looked_at(off, jnp.int32(0))
        assert fit.status != Status.CONVERGED and fit.residual > 1e-3, name


@pytest.mark.usefixtures("x64")
def test_a_mode_that_is_called_converged_is_one():
    """By slopes relative to that of the noise edges were off by 3 at 1e-6, after 4,000 steps."""
    data, prior, *_, targets = simulated()
    spec, fits = pmf_grn(prior, form="map"), []
    for tolerance in (1e-13, 1e-6):
        fits.append(unigrn.fit(spec, data, targets=targets, tolerance=tolerance))
        assert set(fits[-1].certificate.status) == {"converged"}
        assert fits[-1].iterations.max() < 1500
    assert fits[0].block("noise").shape == (1, 1)  # one number for the whole network
    best, found = (f.blocks | {"theta": f.theta} for f in fits)
    for name in ("theta", "edge", "activity", "depth", "noise"):
        np.testing.assert_allclose(found[name][0], best[name][0], atol=0.05, err_msg=name)


@pytest.mark.usefixtures("x64")
def test_a_hard_mask_keeps_other_edges_out_and_a_mode_has_no_variance():
    data, prior, _, known, targets = simulated()
    found = unigrn.fit(pmf_grn(prior, mask="hard", form="map"), data, targets=targets)
    edges = found.network().edges
    assert len(edges) == known.sum() and "variance" not in edges


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"noise": "normal"}, "noise must be gaussian or poisson"),
        ({"low": 0.5, "high": 0.4}, "0 < low < high < 1 is needed, got low=0.5 and high=0.4"),
        ({"existence": 0.0}, "existence"),
        ({"noise": "poisson", "draws": 0}, "draws"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        pmf_grn(None, **wrong)


@pytest.mark.usefixtures("x64")
def test_counts_below_0_are_refused():
    names = ["r", "a", "b"]
    values = np.random.default_rng(0).poisson(3.0, (20, 3)).astype(float)
    values[0, -1] = -1
    data = unigrn.Data.from_arrays(values, names, dtype="float64")
    prior = unigrn.Prior.from_dict({"a": ["r"], "b": ["r"]})
    with pytest.raises(ValueError, match="needs the expression of targets >= 0, got -1"):
        unigrn.fit(pmf_grn(prior, noise="poisson"), data, targets=["a", "b"])


def test_fractions_are_no_counts():
    """For a process whose only view counts, its own or one of numpyro's: Poisson densities of
    fractions are numbers, and mean nothing."""
    values = np.random.default_rng(0).poisson(3.0, (20, 3)) + 0.5
    data = unigrn.Data.from_arrays(values, ["r", "a", "b"], dtype="float64")
    prior = unigrn.Prior.from_dict({"a": ["r"], "b": ["r"]})
    said = "pmf_grn needs counts, whole numbers, got fractions .* for .a., .b.; name the layer"
    with pytest.raises(ValueError, match=said):
        unigrn.fit(pmf_grn(prior, noise="poisson"), data, targets=["a", "b"])


def test_weights_of_a_prior_that_are_no_probabilities_are_told():
    names = ["r", "a", "b"]
    data = unigrn.Data.from_arrays(np.random.default_rng(0).random((20, 3)), names)
    table = pd.DataFrame({"source": "r", "target": ["a", "b"], "weight": [0.5, 3.5]})
    with pytest.warns(UnigrnWarning, match="the largest is 3.5: all from 1 on count alike"):
        unigrn.plan(pmf_grn(unigrn.Prior.from_edges(table)), data, targets=["a", "b"])
    half = table.assign(weight=table.weight / 3.5)
    assert unigrn.plan(pmf_grn(unigrn.Prior.from_edges(half)), data, targets=["a", "b"])
