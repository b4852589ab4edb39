"""TIGER: densities, moments of signed weights, and what a fit finds of a signed network."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import unigrn
from unigrn.methods.tiger import SignedFactors, tiger
from unigrn.processes import Divergence, Likelihood, SignedNormal
from unigrn.terms import Blocks, PriorView, View

pytestmark = pytest.mark.usefixtures("x64")
CELLS, Q, P = 120, 4, 24


def world(seed=0, cells=9, q=3, p=4):
    rng = np.random.default_rng(seed)
    shape = (q, p)
    support, valid = rng.random(shape) < 0.7, np.ones(shape, bool)
    valid[0, 1] = False
    sign = np.where(support, rng.choice([-1, 0, 1], shape), 0).astype(np.int8)
    prior = PriorView(*map(jnp.asarray, (support, 1.0 * support, sign, ~valid, valid)))
    weight = jnp.asarray(rng.integers(0, 3, cells).astype(float))
    x, y = (jnp.asarray(rng.normal(size=(cells, k))) for k in (q, p))
    return View(x=x, y=y, weight=weight), prior


def test_densities_are_those_of_the_formulas():
    data, prior = world()
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(SignedFactors(0.2, 10.0, 1.5, 2.0).centers, data, prior)
    at = {name: rng.gamma(2.0, 1.0, s.shape) for name, s in shapes.items()}
    sign, valid, on = (np.asarray(v) for v in (prior.sign, prior.valid, prior.support))
    at["theta"] = np.where(sign == 0, rng.normal(size=sign.shape), sign * at["theta"])
    at["baseline"] = rng.normal(size=len(at["baseline"]))
    got = SignedFactors(0.2, 10.0, 1.5, 2.0).log_density(
        {n: jnp.asarray(v) for n, v in at.items()}, data, prior
    )
    width = np.where(on, 1, 0.2)
    half = np.where(
        sign == 0,
        stats.norm(0, width).logpdf(at["theta"]),
        stats.halfnorm(0, width).logpdf(np.abs(at["theta"])),
    )
    rows = np.asarray(data.weight)[:, None]
    mean = at["baseline"] + at["activity"] @ np.where(
        valid, at["theta"] / at["precision"] ** 0.5, 0
    )
    want = {
        "theta": half[valid].sum(),
        "precision": stats.gamma(1).logpdf(at["precision"])[valid].sum(),
        "activity": (rows * stats.halfnorm(0, 10).logpdf(at["activity"])).sum(),
        "baseline": stats.norm(0, 1.5).logpdf(at["baseline"]).sum(),
        "noise": stats.gamma(2, scale=1 / 2).logpdf(at["noise"]).sum(),
        "expression": (rows * stats.norm(mean, at["noise"] ** -0.5).logpdf(data.y)).sum(),
    }
    assert set(got) == set(want)
    for name, value in want.items():
        assert float(got[name]) == pytest.approx(value, rel=1e-12), name
    drawn = jax.jit(SignedFactors(0.2, 10.0, 1.5, 2.0).simulate)(jax.random.key(0), data, prior)
    assert (np.sign(drawn["theta"])[valid & (sign != 0)] == sign[valid & (sign != 0)]).all()
    assert (drawn["activity"] > 0).all() and drawn["expression"].shape == data.y.shape


def test_weights_of_both_signs_have_closed_moments_and_draws_of_the_same_mean():
    data, prior = world(2)
    process = SignedFactors(0.2, 1.0, 1.5, 2.0)
    rng, blocks = np.random.default_rng(3), {}
    for name, shape in jax.eval_shape(process.centers, data, prior).items():
        blocks[name] = jnp.asarray(rng.normal(size=shape.shape) / 3)
        blocks[f"log_sd_{name}"] = jnp.asarray(rng.normal(size=shape.shape) / 3 - 1.5)
    params = Blocks(**blocks)
    closed = float(Likelihood(process, site="expression")(params, data, prior))
    drawn = [
        float(Likelihood(process, site="expression", draws=4000, seed=k)(params, data, prior))
        for k in range(6)
    ]
    assert abs(np.mean(drawn) - closed) < 5 * np.std(drawn) / np.sqrt(6)
    names = tuple(process.latents)
    densities = [
        float(Divergence(process, draws=r).expected(names, params, data, prior)) for r in (0, 4000)
    ]
    assert densities[0] == pytest.approx(densities[1], rel=0.02)
    # Values drawn lie on the half-line of their sign.
    one = SignedNormal(0.5, jnp.asarray([[-1, 0, 1]]))
    drawn = np.asarray(one.sample(jax.random.key(0), (5000, 3), jnp.float64))
    assert (drawn[:, 0] < 0).all() and (drawn[:, 2] > 0).all() and (drawn[:, 1] < 0).any()
    for column in (0, 2):
        assert stats.kstest(np.abs(drawn[:, column]) / 0.5, "halfnorm").pvalue > 0.001
    u = one.center()
    np.testing.assert_allclose(one.constrain(u), 0.5 * (2 / np.pi) ** 0.5 * np.array([[-1, 0, 1]]))


def simulated(seed=0, unsigned=0.2):
    """Expression of hidden activities, and a prior of which a tenth is wrong."""
    rng = np.random.default_rng(seed)
    names = [f"r{i}" for i in range(Q)] + [f"t{i:02}" for i in range(P)]
    exists = rng.random((Q, P)) < 0.35
    weights = exists * rng.choice([-1, 1], (Q, P)) * rng.uniform(0.5, 2, (Q, P))
    activity = np.abs(rng.normal(size=(CELLS, Q)))
    values = 3 + activity @ weights + 0.4 * rng.normal(size=(CELLS, P))
    known = exists ^ (rng.random((Q, P)) < 0.15)
    known[0, ~known.any(axis=0)] = True
    sign = np.where(exists, np.sign(weights), rng.choice([-1, 1], (Q, P)))
    sign = np.where(rng.random((Q, P)) < unsigned, 0, sign)
    source, target = np.nonzero(known)
    edges = {
        "source": np.array(names)[source],
        "target": np.array(names[Q:])[target],
        "sign": sign[known].astype(int),
    }
    prior = unigrn.Prior.from_edges(pd.DataFrame(edges))
    measured = np.concatenate([rng.normal(size=(CELLS, Q)), values], axis=1)
    data = unigrn.Data.from_arrays(measured, names, dtype="float64")
    return data, prior, weights, activity, (known, np.where(known, sign, 0)), names[Q:], measured


def precision(score, truth):
    hits = truth.ravel()[np.argsort(-score.ravel(), kind="stable")]
    return (np.cumsum(hits) / np.arange(1, hits.size + 1))[hits].mean()


@pytest.mark.parametrize("mask", ["hard", "soft"])
def test_a_signed_network_is_recovered(mask):
    data, prior, weights, activity, (known, sign), targets, measured = simulated()
    found = unigrn.fit(tiger(prior, mask=mask), data, targets=targets, tolerance=1e-4)
    assert set(found.certificate.status) == {"converged"}
    edges = found.network().edges
    assert len(edges) == (known.sum() if mask == "hard" else known.size)
    theta, exists = found.theta[0], weights != 0
    assert (theta[sign > 0] > 0).all() and (theta[sign < 0] < 0).all()
    table = edges.pivot(index="source", columns="target", values="score")
    score = table.reindex(columns=targets).fillna(0).to_numpy()
    correlated = np.abs(np.corrcoef(measured.T)[:Q, Q:])
    alone = precision(1.0 * known, exists)
    assert precision(score, exists) > alone + 0.05 > precision(correlated, exists) + 0.05
    inferred = np.exp(found.blocks["activity"][0])
    alike = [np.corrcoef(inferred[:, k], activity[:, k])[0, 1] for k in range(Q)]
    assert min(alike) > 0.8, alike
    free = known & (sign == 0) & exists
    assert (np.sign(theta)[free] == np.sign(weights)[free]).mean() > 0.7, "signs that none gave"


@pytest.mark.parametrize(
    "wrong", [{"off": 0.0}, {"activity": -1.0}, {"baseline": 0.0}, {"noise": np.nan}]
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a finite number > 0"):
        tiger(None, **wrong)
