"""The prior as data: a view of its own, the soft prior where it looked, nothing elsewhere."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import unigrn
from unigrn.methods.generative import linear_gaussian
from unigrn.methods.pmf_grn import GaussianFactors, MeasuredFactors, pmf_grn
from unigrn.methods.tiger import tiger
from unigrn.processes import generative, measured
from unigrn.terms import PriorView, View

Q, P, CELLS = 3, 8, 40
NAMES = [f"r{i}" for i in range(Q)] + [f"t{i}" for i in range(P)]
KNOWN = np.zeros((Q, P), bool)
KNOWN[0, :3] = KNOWN[1, 2:4] = True  # r2, and t4 to t7, were not looked at
LOOKED = KNOWN.any(axis=1)[:, None] & KNOWN.any(axis=0)[None, :]


def prior_of(known):
    i, j = np.nonzero(known)
    table = {"source": np.array(NAMES[:Q])[i], "target": np.array(NAMES[Q:])[j]}
    return unigrn.Prior.from_edges(pd.DataFrame(table | {"weight": 0.8}))


VALUES = np.abs(np.random.default_rng(0).normal(size=(CELLS, Q + P)))


@pytest.fixture(scope="module")
def data():
    return unigrn.Data.from_arrays(VALUES, NAMES, dtype="float64")


def fit(spec, data, **options):
    options = {"regulators": NAMES[:Q], "targets": NAMES[Q:], "tolerance": 1e-8} | options
    return unigrn.fit(spec, data, max_iterations=5000, **options).require_converged()


def seen():
    """Data and prior as terms of a whole network see them, with a process that has the view."""
    rng = np.random.default_rng(1)
    weight, yes = jnp.asarray(0.8 * KNOWN), jnp.ones((Q, P), bool)
    prior = PriorView(weight > 0, weight, (weight > 0).astype(jnp.int8), ~yes, yes)
    return View(x=jnp.zeros((4, Q)), y=jnp.asarray(rng.normal(size=(4, P)))), prior


def placed(own):
    """What binding to names makes of the pairs that were looked at."""
    rows, columns = (KNOWN.any(axis=1 - a).astype(float) for a in (0, 1))
    assert set(own.regulators.names[0]) == {"r0", "r1"} and len(own.targets.names[0]) == 4
    return type(own)(jnp.asarray(rows), jnp.asarray(columns))


@pytest.mark.usefixtures("x64")
def test_the_view_has_the_log_odds_of_pairs_that_were_looked_at():
    view, prior = seen()
    own = placed(measured(prior_of(KNOWN)))
    assert (np.asarray(own(prior)) == LOOKED).all()
    process = MeasuredFactors(0.1, 0.9, 1.5, 1.0, 1.0, measured=own)
    values = process.simulate(jax.random.key(0), view, prior)
    assert values["evidence"].shape == (Q, P)
    latents = {name: values[name] for name in process.latents}
    found = process.log_density(latents, view, prior)
    edge = np.asarray(values["edge"])
    odds = np.log(0.8 / 0.2) * KNOWN + np.log(0.1 / 0.9) * ~KNOWN
    want = stats.norm(edge, 1.5).logpdf(odds)[LOOKED].sum()
    assert found["evidence"] == pytest.approx(want, rel=1e-12)
    assert found["edge"] == pytest.approx(stats.norm(0, 3).logpdf(edge).sum(), rel=1e-12)
    soft = GaussianFactors(0.1, 0.9, 1.5, 1.0, 1.0).log_density(latents, view, prior)
    alike = set(found) - {"evidence", "edge"}
    assert alike == set(soft) - {"edge"}
    for name in alike:
        assert found[name] == soft[name], name


@pytest.mark.usefixtures("x64")
def test_zeros_off_the_prior_are_data_of_signed_weights():
    view, prior = seen()
    spec = tiger(prior_of(KNOWN), off=0.2, mask="data")
    share = next(t for t in spec.terms if getattr(t, "site", "") == "evidence")
    process = dataclasses.replace(share.process, measured=placed(share.process.measured))
    drawn = process.simulate(jax.random.key(0), view, prior)
    found = process.log_density({n: drawn[n] for n in process.latents}, view, prior)
    theta = np.asarray(drawn["theta"])
    assert found["evidence"] == pytest.approx(
        stats.norm(theta, 0.2).logpdf(0)[LOOKED & ~KNOWN].sum(), rel=1e-12
    )
    width = stats.norm(0, 1).logpdf(theta) + np.log(2) * KNOWN
    assert found["theta"] == pytest.approx(width.sum(), rel=1e-12)
    assert "log p(evidence |" in share.formula


@pytest.mark.parametrize("form", ["variational", "map"])
def test_a_linear_model_has_the_soft_prior_where_it_looked(data, form):
    """Soft on the pairs that were looked at, and as wide as edges on the others."""
    got = fit(linear_gaussian(prior_of(KNOWN), mask="data", form=form), data).theta[0]
    # The soft prior of edges wherever none was looked at is the same density.
    same = fit(linear_gaussian(prior_of(KNOWN | ~LOOKED), form=form), data).theta[0]
    np.testing.assert_allclose(got, same, rtol=1e-9, atol=1e-12)
    soft = fit(linear_gaussian(prior_of(KNOWN), form=form), data).theta[0]
    assert np.abs(got - soft)[~LOOKED].max() > 0.01
    # Where everything was looked at, data and belief are one.
    every = KNOWN.copy()
    every[0], every[:, 0] = True, True
    both = [
        fit(linear_gaussian(prior_of(every), mask=m, form=form), data).theta[0]
        for m in ("soft", "data")
    ]
    np.testing.assert_allclose(*both, rtol=1e-12)


@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_edges_that_none_looked_at_are_unknown(data, noise):
    """Their probability is that of the base, a half before expression, not the prior's least."""
    if noise == "poisson":
        counts = np.round(3 * VALUES)
        data = unigrn.Data.from_arrays(counts, NAMES, dtype="float64")
    more = {"tolerance": 1e-4}
    specs = (
        pmf_grn(prior_of(KNOWN), low=0.01, high=0.99, noise=noise, mask=m) for m in ("soft", "data")
    )
    tables = [fit(s, data, **more).network().edges for s in specs]
    soft, own = (
        t.pivot(index="source", columns="target", values="probability").to_numpy() for t in tables
    )
    assert own[~LOOKED].mean() > soft[~LOOKED].mean() + 0.1
    assert own[LOOKED & ~KNOWN].max() < own[~LOOKED].max()


@pytest.mark.parametrize("method", [linear_gaussian, pmf_grn, tiger])
def test_there_must_be_a_prior_to_be_data(method):
    with pytest.raises(ValueError, match="mask='data' takes the prior as data.*give a prior"):
        method(None, mask="data")
    with pytest.raises(ValueError, match="mask must be one of .*data.*, got 'belief'"):
        method(None, mask="belief")


def test_what_cannot_be_data_is_refused():
    with pytest.raises(ValueError, match=r"needs off < on, got off=1 and on=1"):
        linear_gaussian(prior_of(KNOWN), off=1.0, mask="data")
    process = GaussianFactors(0.1, 0.9, 1.5, 1.0, 1.0)
    with pytest.raises(ValueError, match="go together, got mask='data' and the process Gaussian"):
        generative(process, None, mask="data")
    with pytest.raises(ValueError, match="go together, got mask='soft' and the process Measured"):
        generative(MeasuredFactors(0.1, 0.9, 1.5, 1.0, 1.0), None)
