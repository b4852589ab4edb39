"""Predictive checks: closed distributions, planted misfit, importance ratios of known guides."""

from dataclasses import replace
from functools import cache

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import unigrn
from unigrn import Data, Minibatch, PlanError, Prior, plot, pytree
from unigrn import predictive as computed
from unigrn.methods import get
from unigrn.predicted import PredictiveCheck, compared, limit_of_k, pareto_k
from unigrn.processes import (
    EDGES,
    Beta,
    Gamma,
    Normal,
    Poisson,
    Process,
    SignedNormal,
    exp,
    generative,
)
from unigrn.processes.elbo import log_sd
from unigrn.processes.replicates import drawn
from unigrn.solution import Solution
from unigrn.terms import Blocks, PriorView, View

Q, P, N = 2, 40, 80
REGULATORS, TARGETS = [f"r{i}" for i in range(Q)], [f"t{i:02d}" for i in range(P)]
WIDTH, NOISE = 0.8, 0.5


@pytree
class Regression(Process):
    """y ~ N(x theta, s^2), theta ~ N(0, width^2)."""

    width: float
    noise: float

    latents = {"theta": EDGES}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        theta = site("theta", Normal(0.0, self.width))
        site("expression", Normal(data.x @ theta, self.noise), data.y)


@pytree
class Doubled(Regression):
    """Weights are 2 theta."""

    def edges(self, values):
        return {"weight": 2.0 * values["theta"]}


@pytree
class Counts(Process):
    """y ~ Poisson(x e^theta)."""

    latents = {"theta": EDGES}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        theta = site("theta", Normal(0.0, 1.0))
        rate = data.x @ (exp(theta) * prior.valid.astype(data.y.dtype))
        site("expression", Poisson(rate + 1e-6), data.y)


def prior_of(names=TARGETS):
    return Prior.from_dict({name: REGULATORS for name in names})


def data_of(x, y, **more):
    return Data.from_arrays(np.c_[x, y], [*REGULATORS, *TARGETS], dtype="float64", **more)


def plain(seed=0, noise=NOISE):
    """Orthogonal regulators, so that a mean-field guide is the posterior, and y of the process."""
    rng = np.random.default_rng(seed)
    x = np.linalg.qr(rng.normal(size=(N, Q)))[0] * np.sqrt(N)
    return x, x @ rng.normal(0, WIDTH, (Q, P)) + noise * rng.normal(size=(N, P))


@cache
def plan_of(process):
    return unigrn.plan(generative(process, prior_of(), draws=1), data_of(*plain()), targets=TARGETS)


LINEAR = Regression(WIDTH, NOISE)


def guided(data, process=LINEAR, **blocks):
    """A solution whose guide is given, so that nothing needs to be fitted."""
    plan = replace(plan_of(process), data=data)
    none = np.zeros((1, P))
    names = {**blocks, **{log_sd(name): none for name in blocks if log_sd(name) not in blocks}}
    held = {name: [np.asarray(values)] for name, values in names.items()}
    location = held.pop("theta")
    return Solution(
        plan, none, {}, held, none.astype(int), none, none.astype(int), location=location
    )


def exact(x, y, factor=1.0, **more):
    """The conjugate posterior as a guide, or one of another spread."""
    precision = (x**2).sum(0)[:, None] / NOISE**2 + 1 / WIDTH**2 + np.zeros((1, P))
    spread = -0.5 * np.log(precision) + np.log(factor)
    theta = x.T @ y / NOISE**2 / precision
    return guided(data_of(x, y, **more), theta=theta, log_sd_theta=spread)


def test_replicates_have_the_closed_distribution_whatever_the_weights():
    x, y = plain()
    weights = np.random.default_rng(3).integers(0, 3, N).astype(float)
    solution = exact(x, y, weights=weights)
    table = unigrn.predictive_check(solution, draws=3000).table
    share = weights / weights.sum()
    np.testing.assert_allclose(table["mean"], share @ y, rtol=1e-12)
    np.testing.assert_allclose(table["variance"], share @ (y - share @ y) ** 2, rtol=1e-12)
    theta, sd = solution.location[0], np.exp(solution.nuisance["log_sd_theta"][0])
    center = share @ x
    wide = np.sqrt(center**2 @ sd**2 + NOISE**2 * (share**2).sum())
    apart = (table["mean_predicted"] - center @ theta) / wide
    assert abs(apart).max() < 5 / np.sqrt(3000)
    for end, at in (("lower", -1.96), ("upper", 1.96)):
        np.testing.assert_allclose((table[f"mean_{end}"] - center @ theta) / wide, at, atol=0.25)
    p = stats.norm.sf(share @ y, center @ theta, wide)
    np.testing.assert_allclose(table["mean_p"], p, atol=0.05)
    # The variance: that of x theta, and the noise less what its own mean takes.
    moved = x - center
    cloud = np.einsum("c,cq,cr->qr", share, moved, moved)
    second = np.einsum("qp,qr,rp->p", theta, cloud, theta) + np.diag(cloud) @ sd**2
    second = second + NOISE**2 * (1 - (share**2).sum())
    np.testing.assert_allclose(table["variance_predicted"], second, rtol=0.02)


def test_p_of_the_process_itself_are_spread_evenly_and_of_doubled_variance_are_not():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(N, Q)), NOISE * rng.normal(size=(N, P))
    # A guide that has seen no data: p are uniform.
    blind = {"theta": np.zeros((Q, P)), "log_sd_theta": np.full((Q, P), -8.0)}
    check = unigrn.predictive_check(guided(data_of(x, y), **blind), draws=200)
    for name in ("mean", "variance"):
        assert stats.kstest(check.table[f"{name}_p"], "uniform").pvalue > 0.05
        assert 0 < check.outside(name).mean() < 0.15
    assert not check.outside("zeros").any() and (check.table["zeros_p"] == 0.5).all()

    wrong = np.arange(P) % 2 == 0
    y[:, wrong] *= 2**0.5
    check = unigrn.predictive_check(guided(data_of(x, y), **blind), draws=200)
    outside = check.outside("variance")
    assert outside[wrong].mean() > 0.9 and outside[~wrong].mean() < 0.2
    assert (check.table["variance_p"][outside & wrong] < 0.025).all()
    assert f"variance {outside.sum()}" in check.lines()[0]


def test_p_of_data_that_were_fitted_are_nearer_to_a_half():
    x, y = plain()
    check = unigrn.predictive_check(exact(x, y), draws=200)
    assert abs(check.table["mean_p"] - 0.5).max() < 0.5
    assert 0 < check.table["variance_p"].std() < 0.29  # that of uniform numbers


def test_extra_zeros_of_counts_are_seen_and_zeros_of_numbers_are_said():
    rng = np.random.default_rng(5)
    x, theta = rng.gamma(2.0, size=(N, Q)), 0.5 * rng.normal(size=(Q, P))
    y = rng.poisson(x @ np.exp(theta)).astype(float)
    wrong = np.arange(P) < 10
    y[:, wrong] *= rng.random((N, 10)) < 0.7
    counts = guided(
        data_of(x, y), Counts(), theta=theta, log_sd_theta=np.full((Q, P), np.log(0.05))
    )
    check = unigrn.predictive_check(counts, draws=100)
    outside, p = check.outside("zeros"), check.table["zeros_p"]
    assert outside[wrong].mean() > 0.9 and (p[outside & wrong] < 0.03).all()
    assert outside[~wrong].mean() < 0.2 and check.table["zeros_p"][~wrong].std() > 0.2
    assert (check.table["zeros_predicted"] > 0).mean() > 0.9
    assert not any("none to offer" in line for line in check.lines())

    x, y = plain()
    y[::4, 3] = 0
    check = unigrn.predictive_check(exact(x, y), draws=200)
    row = check.table.iloc[3]
    assert row["zeros"] == 0.25 and row["zeros_upper"] == row["zeros_p"] == 0
    assert "up to 25 % of the cells have none of a target, and no draw has a zero" in str(check)


def test_k_of_the_posterior_is_0_and_of_guides_half_as_wide_is_bad():
    x, y = plain()
    found = {}
    for factor in (1.0, 0.5, 1.05):
        check = unigrn.predictive_check(exact(x, y, factor), draws=400)
        found[factor] = check.guide["pareto_k"][0]
        assert ("do not trust its spreads" in str(check)) == (factor == 0.5)
        assert ("close to the posterior" in str(check)) == (factor != 0.5)
        assert check.guide["latents"][0] == Q * P
    assert found[1.0] == 0.0  # ratios are alike but for rounding
    assert found[0.5] > 0.75  # 1 - 1/4 in one direction alone
    assert 0 < abs(found[1.05]) < 0.5
    assert limit_of_k(400) == pytest.approx(1 - 1 / np.log10(400))
    assert limit_of_k(10**6) == 0.7


@pytest.mark.parametrize("k", [-0.4, 0.2, 0.6, 1.1])
def test_k_is_that_of_a_generalised_pareto_tail(k):
    """Beside scipy's maximum likelihood, and the truth."""
    rng = np.random.default_rng(2)
    ours, theirs = [], []
    for _ in range(15):
        tail = np.sort(stats.genpareto(k).rvs(190, random_state=rng))
        # The tail of 4,000: 190 largest ratios, the others below it.
        logs = np.log(np.r_[tail + 1, np.linspace(0.5, 1, 3810)])
        ours.append((pareto_k(rng.permutation(logs)) * 200 - 5) / 190)  # less the draw to 1/2
        theirs.append(stats.genpareto.fit(tail, floc=0)[0])
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.05)
    assert np.mean(ours) == pytest.approx(k, abs=0.1)


def test_k_where_ratios_are_alike_few_or_none():
    assert pareto_k(np.full(100, -3e5)) == 0.0
    assert pareto_k(np.r_[np.zeros(99), 5000.0]) == np.inf
    assert np.isnan(pareto_k(np.r_[np.zeros(99), np.nan]))
    assert pareto_k(np.log(np.arange(1, 101))) < 0.1  # bounded
    with pytest.raises(ValueError, match="25 draws or more, got 24"):
        pareto_k(np.zeros(24))


@pytree
class Kinds(Process):
    """A latent of every support."""

    latents = {"theta": EDGES, "above": EDGES, "between": EDGES}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        site("theta", SignedNormal(1.0, prior.sign))
        site("above", Gamma(2.0, 2.0))
        site("between", Beta(2.0, 2.0))
        site("expression", Normal(0.0, 1.0), data.y)


def test_the_density_of_a_guide_is_that_of_its_transformed_numbers(x64):
    rng = np.random.default_rng(1)
    sign = np.array([[1, 0, -1], [0, 1, 1]])
    valid = np.ones((2, 3), bool)
    valid[1, 2] = False
    off = jnp.asarray(~valid)
    prior = PriorView(~off, jnp.ones((2, 3)), jnp.asarray(sign, jnp.int8), off, jnp.asarray(valid))
    data = View(x=jnp.zeros((4, 2)), y=jnp.zeros((4, 3)))
    at, wide, noise = ({n: rng.normal(size=(2, 3)) for n in Kinds.latents} for _ in range(3))
    blocks = {**at, **{log_sd(n): v for n, v in wide.items()}}
    params = Blocks(**{n: jnp.asarray(v) for n, v in blocks.items()})
    latents, log_q = drawn(
        Kinds(), params, {n: jnp.asarray(v) for n, v in noise.items()}, data, prior
    )
    sd = {n: np.exp(v) for n, v in wide.items()}
    theta = np.asarray(latents["theta"])
    assert (np.sign(theta[valid & (sign != 0)]) == sign[valid & (sign != 0)]).all()
    known = np.where(sign != 0, np.abs(np.where(valid, theta, 1)), 1)
    one = np.where(
        sign == 0,
        stats.norm.logpdf(theta, at["theta"], sd["theta"]),
        stats.lognorm.logpdf(known, sd["theta"], scale=np.exp(at["theta"])),
    )
    two = stats.lognorm.logpdf(latents["above"], sd["above"], scale=np.exp(at["above"]))
    b = np.asarray(latents["between"])
    three = stats.norm.logpdf(np.log(b / (1 - b)), at["between"], sd["between"])
    three = three - np.log(b * (1 - b))
    assert float(log_q) == pytest.approx((one + two + three)[valid].sum(), rel=1e-10)


@pytree
class Holes(Process):
    """Cells with a latent each, and values that are not observed."""

    latents = {"theta": EDGES, "level": ("cells",)}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        theta = site("theta", Normal(0.0, WIDTH))
        level = site("level", Normal(0.0, 0.3))
        mean = data.x @ theta + level[:, None]
        site("expression", Normal(mean, NOISE), data.y, where=data.y < 2)


def holes(**more):
    x, y = plain(4)
    theta, level = x.T @ y / N, np.zeros(N)
    blocks = {"log_sd_theta": np.full((Q, P), -2.0), "log_sd_level": np.full(N, -1.5)}
    return y, guided(data_of(x, y, **more), Holes(), theta=theta, level=level, **blocks)


def test_blocks_of_cells_change_nothing_and_what_is_not_observed_is_left_out(monkeypatch):
    y, solution = holes()
    whole = unigrn.predictive_check(solution, draws=40)
    monkeypatch.setattr(computed, "BLOCK", 32)
    by_blocks = with_spec(solution, minibatch=Minibatch(16, 1))
    parts = unigrn.predictive_check(by_blocks, draws=40)
    # The same draws of the guide, and the same ratios; replicates have noise of their own.
    assert np.isfinite(whole.guide["pareto_k"]).all()
    np.testing.assert_allclose(parts.guide["pareto_k"], whole.guide["pareto_k"], rtol=1e-6)
    seen = np.ma.masked_array(y, y >= 2)
    assert seen.mask.any()
    for check in (whole, parts):
        np.testing.assert_allclose(check.table["mean"], seen.mean(axis=0), rtol=1e-10)
        np.testing.assert_allclose(check.table["variance"], seen.var(axis=0), rtol=1e-10)
    apart = parts.table["mean_predicted"] - whole.table["mean_predicted"]
    assert 0 < abs(apart).max() < 0.1


def test_cells_of_weight_0_are_no_cells_and_other_weights_leave_k_out():
    half = np.arange(N) % 2
    y, solution = holes(weights=half.astype(float))
    check = unigrn.predictive_check(solution, draws=40)
    seen = np.ma.masked_array(y, y >= 2)[half == 1]
    np.testing.assert_allclose(check.table["mean"], seen.mean(axis=0), rtol=1e-10)
    assert check.guide["latents"][0] == Q * P + N // 2
    assert np.isfinite(check.guide["pareto_k"]).all()
    check = unigrn.predictive_check(holes(weights=1.0 + half)[1], draws=40)
    assert np.isnan(check.guide["pareto_k"]).all()
    assert "k is left out: cells have weights, and latents of their own (level)" in str(check)
    assert "undefined" in check.quality()


def test_groups_have_rows_and_guides_of_their_own_and_a_figure():
    x, y = plain(6)
    y[N // 2 :] = np.exp(3 + y[N // 2 :] / 2)
    groups = np.repeat(["a", "b"], N // 2)
    spec = generative(Doubled(5.0, 3.0), prior_of(), name="mine")
    ask = (data_of(x, y, groups=groups), None, spec)
    network = unigrn.infer(*ask, targets=TARGETS, predictive=60)
    check = network.predictive
    assert check.table["group"].tolist() == ["a"] * P + ["b"] * P
    assert check.table["target"].tolist() == TARGETS * 2
    np.testing.assert_allclose(check.table["mean"][P:], y[N // 2 :].mean(axis=0), rtol=1e-6)
    assert check.outside("mean")[P:].all()  # 20 and more, where x theta is about 0
    assert network.provenance["predictive"] == check.summary()
    assert set(check.lines()) <= set(network.summary())
    one = network.subset("b").predictive
    assert one.table["group"].unique().tolist() == ["b"] and len(one.guide) == 1
    assert network.filter(top=3).predictive is check
    assert "in 2 groups" in str(check) and "groups" not in one.lines()[0]
    with pytest.raises(ValueError, match="no group 'c'; there are a, b"):
        check.subset("c")

    # Where theta stands is no weight, and is kept apart.
    found = unigrn.fit(spec, ask[0], targets=TARGETS)
    np.testing.assert_allclose(2 * np.stack(found.location), found.theta, rtol=1e-6)
    assert set(found.blocks) == {"log_sd_theta"}
    ridge = get("masked_ridge").function(prior_of())
    assert unigrn.fit(ridge, ask[0], targets=TARGETS).location is None

    figure = plot.predictive_figure(check)
    panels = {axes.get_label(): axes for axes in figure.axes}
    assert set(panels) == {"mean", "variance", "zeros"}
    labels = [text.get_text() for text in panels["mean"].get_legend().get_texts()]
    assert labels[-1] == f"outside: {check.outside('mean').sum()} of {2 * P}"
    drawn_at = np.concatenate([line.get_xdata() for line in panels["mean"].lines[1:]])
    assert sorted(drawn_at) == sorted(check.table["mean"])
    assert figure.get_supxlabel() == check.quality()
    assert len(panels["zeros"].lines[1].get_xdata()) == 2 * P
    few = plot.predictive_figure(check, group="a").axes[0]
    assert sum(len(line.get_xdata()) for line in few.lines[1:]) == P
    with pytest.raises(TypeError, match="draws a PredictiveCheck, got Network"):
        plot.predictive_figure(network)


def with_spec(solution, **changes):
    plan = solution.plan
    return replace(solution, plan=replace(plan, spec=plan.spec.replace(**changes)))


def test_zeros_of_centred_values_are_none(tmp_path):
    check = unigrn.predictive_check(with_spec(exact(*plain()), scale="standard"), draws=40)
    assert check.table.filter(like="zeros").isna().all(axis=None)
    np.testing.assert_allclose(check.table["mean"], 0, atol=1e-12)
    assert check.summary()["outside"]["zeros"] == 0
    figure = plot.predictive_figure(check, tmp_path / "a.svg")
    assert "centred" in figure.axes[2].texts[0].get_text()
    assert "unigrn" in (tmp_path / "a.svg").read_text()


def test_mid_p_counts_half_of_what_is_equal():
    drawn_ = np.array([[0.0, 2.0], [1.0, 3.0], [1.0, np.nan], [2.0, 4.0]])
    found = compared(np.array([1.0, 1.0]), drawn_)
    assert found["p"][0] == 0.5 and np.isnan(found["p"][1])
    assert found["predicted"][0] == 1.0


def test_the_same_call_gives_the_same_numbers():
    solution = exact(*plain())
    first, again, other = (
        unigrn.predictive_check(solution, draws=40, seed=seed).table for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first["mean_predicted"], other["mean_predicted"], rtol=1e-6)


def test_what_has_no_guide_is_refused_before_the_fit(monkeypatch):
    data = data_of(*plain())
    spec = generative(Regression(WIDTH, NOISE), prior_of())

    def no_fit(*_):
        raise AssertionError("it was fitted")

    monkeypatch.setattr("unigrn.api.run", no_fit)
    for asked, says in (
        (get("linear_gaussian").function(prior_of()), "not declared as a generative process"),
        (get("masked_ridge").function(prior_of()), "not declared as a generative process"),
        (generative(Regression(1.0, 1.0), prior_of(), form="map"), r"mode \(form='map'\)"),
        (unigrn.consensus(spec, 3), "belong to the guide of none"),
    ):
        with pytest.raises(PlanError, match=f"has no predictive check: .*{says}"):
            unigrn.infer(data, None, asked, targets=TARGETS, predictive=50)
    with pytest.raises(ValueError, match="predictive must be a whole number >= 40, got 10"):
        unigrn.infer(data, None, spec, predictive=10)


def test_what_observes_sums_of_cells_is_refused():
    genes = [*REGULATORS, *TARGETS[:4]]
    rng = np.random.default_rng(0)
    data = Data.from_arrays(rng.normal(size=(20, 6)), genes, dtype="float64")
    data = data.with_extra(
        bulk=unigrn.along(rng.normal(size=(3, 2)), "peaks", "replicates"),
        peak=unigrn.along(np.zeros((6, 6)), "regulators", "targets", names=genes),
    )
    with pytest.raises(PlanError, match=r"observes no cells by targets, but expression \(sums\)"):
        computed.check_predictable(
            unigrn.plan(get("symphony").function(prior_of(TARGETS[:4])), data)
        )


def test_bad_input_is_told():
    solution = exact(*plain())
    with pytest.raises(ValueError, match="draws must be a whole number >= 40, got 39"):
        unigrn.predictive_check(solution, draws=39)
    with pytest.raises(TypeError, match="takes what unigrn.fit returned, got Network"):
        unigrn.predictive_check(
            unigrn.Network(
                pd.DataFrame({"source": ["a"], "target": ["b"], "weight": [1.0]}), ["a"], ["b"]
            )
        )
    broken = replace(solution, nuisance={"log_sd_theta": [np.full((Q, P), np.nan)]})
    with pytest.raises(ValueError, match="log_sd_theta that are not finite"):
        unigrn.predictive_check(broken)
    check = PredictiveCheck(pd.DataFrame(), pd.DataFrame(), 40)
    with pytest.raises(ValueError, match="one of mean, variance, zeros, got 'median'"):
        check.outside("median")


def test_terms_beside_the_process_leave_k_out():
    solution = exact(*plain())
    both = solution.plan.spec.regularizer + unigrn.ridge(0.1)
    check = unigrn.predictive_check(with_spec(solution, regularizer=both), draws=40)
    assert np.isnan(check.guide["pareto_k"]).all()
    assert "has 1 term beside its process" in check.notes[0]
