"""BITFAM: what a fit finds of weights and activities."""

import numpy as np
import pytest

import unigrn
from unigrn.methods.bitfam import bitfam

pytestmark = pytest.mark.usefixtures("x64")
CELLS, Q, P = 120, 4, 24


def simulated(seed=0):
    rng = np.random.default_rng(seed)
    names = [f"r{i}" for i in range(Q)] + [f"t{i:02}" for i in range(P)]
    exists = rng.random((Q, P)) < 0.3
    weights, activity = exists * rng.normal(0, 2, (Q, P)), rng.beta(0.5, 0.5, (CELLS, Q))
    values = activity @ weights + 0.4 * rng.normal(size=(CELLS, P))
    known = exists ^ (rng.random((Q, P)) < 0.1)
    known[0, ~known.any(axis=0)] = True
    prior = unigrn.Prior.from_dict(
        {t: [names[i] for i in np.flatnonzero(known[:, j])] for j, t in enumerate(names[Q:])}
    )
    measured = np.concatenate([rng.normal(size=(CELLS, Q)), values], axis=1)
    data = unigrn.Data.from_arrays(measured, names, dtype="float64")
    return data, prior, weights, activity, known, names[Q:]


@pytest.mark.parametrize("mask", ["soft", "hard"])
def test_weights_and_activities_are_recovered(mask):
    data, prior, weights, activity, known, targets = simulated()
    found = unigrn.fit(bitfam(prior, mask=mask), data, targets=targets, tolerance=1e-4)
    assert set(found.certificate.status) == {"converged"}
    edges = found.network().edges
    assert len(edges) == (known.sum() if mask == "hard" else known.size)
    assert np.corrcoef(found.theta[0].ravel(), weights.ravel())[0, 1] > 0.85
    inferred = 1 / (1 + np.exp(-found.blocks["activity"][0]))
    alike = [np.corrcoef(inferred[:, k], activity[:, k])[0, 1] for k in range(Q)]
    assert np.median(alike) > 0.8, alike  # a factor of few targets leaves little trace
    if mask == "soft":  # narrow off the prior
        assert np.abs(found.theta[0][~known]).max() < 0.5 * np.abs(found.theta[0][known]).max()


@pytest.mark.parametrize("wrong", [{"off": 0.0}, {"hyperprior": -1.0}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a finite number > 0"):
        bitfam(None, **wrong)
