"""SCODE: what it recovers, and what it says of times from which nothing follows."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import unigrn as u
from unigrn.replicates import Starts

pytestmark = pytest.mark.usefixtures("x64")

RATES = np.array([-4.0, -1.0, 1.5])
GENES = [f"g{i}" for i in range(5)]
TIME = np.linspace(3.0, 9.0, 40)
W = np.random.default_rng(0).normal(size=(5, 3))
VALUES = np.exp(np.outer((TIME - 3) / 6, RATES)) @ W.T


def fit(values=VALUES, time=TIME, dtype="float64", groups=None, weights=None, **hyper):
    data = u.Data.from_arrays(values, GENES, dtype=dtype, groups=groups, weights=weights)
    data = data if time is None else data.with_extra(pseudotime=time)
    return u.fit(u.methods.get("scode").function(None, **{"modes": 3, "runs": 4} | hyper), data)


def status(found):
    return set(found.certificate["status"])


def test_dynamics_without_noise_are_found():
    found = fit(noise=1e-5)
    assert status(found) == {"converged"}
    assert np.abs(np.sort(found.blocks["rates"][0]) - RATES).max() <= 1e-3
    want = (W * RATES) @ np.linalg.pinv(W)
    assert np.abs(found.theta[0] - want.T).max() <= 1e-2 * np.abs(want).max()
    # Its flow is the path: A moves every state by the slope of the path.
    path = np.exp(np.outer((TIME - 3) / 6, RATES))
    slope = (path * RATES) @ W.T
    assert np.abs(VALUES @ found.theta[0] - slope).max() <= 1e-3 * np.abs(slope).max()


def cost(values, rates, ridge=1e-6 / 3):
    """Return W (genes, modes) and the cost of rates, by least squares."""
    z = np.exp(np.outer((TIME - 3) / 6, rates))
    tall = np.r_[z, np.sqrt(ridge * len(z)) * np.eye(len(rates))]
    right = np.r_[values, np.zeros((len(rates), values.shape[1]))]
    w = np.linalg.lstsq(tall, right, rcond=None)[0]
    return w.T, np.sum((right - tall @ w) ** 2)


def test_the_best_start_is_taken_and_single_precision_does():
    noisy = VALUES + 0.3 * np.random.default_rng(1).normal(size=VALUES.shape)
    found, single = fit(noisy, runs=8), fit(noisy, dtype="float32", runs=8)
    rates, size = found.blocks["rates"][0], np.abs(found.theta).max()
    w, least = cost(noisy, rates)
    assert np.abs(found.theta[0] - ((w * rates) @ np.linalg.pinv(w)).T).max() <= 1e-8 * size
    assert np.abs(single.theta - found.theta).max() <= 1e-3 * size
    first = cost(noisy, fit(noisy, runs=1).blocks["rates"][0])[1]  # the first of the eight
    assert least <= first * (1 + 1e-9)
    # On noise alone starts end in several minima: one of them is taken, not their mean.
    wild = np.random.default_rng(2).normal(size=VALUES.shape)
    found = fit(wild, runs=8)
    means = u.fit(
        u.methods.get("scode").function(None, modes=3, runs=1).replace(over=(Starts(8),)),
        u.Data.from_arrays(wild, GENES, dtype="float64").with_extra(pseudotime=TIME),
    )
    rates, size = found.blocks["rates"][0], np.abs(found.theta).max()
    w, _ = cost(wild, rates)
    assert np.abs(found.theta[0] - ((w * rates) @ np.linalg.pinv(w)).T).max() <= 1e-6 * size
    assert np.abs(means.theta - found.theta).max() > 1e-3 * size


@pytest.mark.parametrize("time", [np.zeros(40), np.full(40, np.nan)])
def test_times_from_which_nothing_follows_give_no_network(time):
    found = fit(time=time)
    assert status(found) == {"failed: not finite"} and np.isnan(found.theta).all()


def test_one_cell_gives_no_network():
    found = fit(VALUES[:1], TIME[:1])
    assert status(found) <= {"failed: not finite", "target is constant"}
    assert not np.nan_to_num(found.theta).any()


def test_without_a_pseudotime_it_is_asked_for():
    with pytest.raises(u.PlanError, match=r"pseudotime.*with_extra"):
        fit(time=None)


def test_a_pseudotime_that_does_not_pass_fails_and_blames_no_penalty():
    with pytest.warns(u.UnigrnWarning, match="did not converge") as told:
        data = u.Data.from_arrays(VALUES, GENES, dtype="float64")
        network = u.infer(data.with_extra(pseudotime=0 * TIME + 2), None, "scode", runs=2)
    assert set(network.certificate["status"]) == {"failed: not finite"} and not len(network.edges)
    assert not any("penalties" in str(one.message) for one in told)


def test_fewer_cells_than_genes_and_constant_genes_end_in_numbers():
    values = VALUES[::10].copy()
    values[:, 2], values[:, 3] = 0, 1.0
    found = fit(values, TIME[::10], modes=2)
    assert np.isfinite(found.theta).all() and np.isfinite(found.residual).all()
    # A gene that is 0 in every cell neither acts nor is acted on.
    assert not found.theta[0][2].any() and not found.theta[0][:, 2].any()


def test_groups_have_times_of_their_own_and_weights_repeat_cells():
    groups = ["a", "b"] * 20
    both = fit(groups=groups)
    alone = fit(VALUES[1::2], TIME[1::2])
    assert np.abs(both.theta[1] - alone.theta[0]).max() <= 1e-4 * np.abs(alone.theta).max()
    twice = fit(np.r_[VALUES, VALUES[:9]], np.r_[TIME, TIME[:9]])
    weighted = fit(weights=np.r_[np.full(9, 2.0), np.ones(31)])
    assert np.abs(twice.theta - weighted.theta).max() <= 1e-4 * np.abs(twice.theta).max()


@pytest.mark.parametrize(
    ("hyper", "said"),
    [
        ({"noise": 0.0}, "noise"),
        ({"modes": 0}, "modes"),
        ({"runs": 0}, "runs"),
        ({"lower": 1.0}, "box"),
    ],
)
def test_wrong_hyperparameters_are_refused(hyper, said):
    with pytest.raises(ValueError, match=said):
        u.methods.get("scode").function(None, **hyper)


@pytest.fixture
def cells():
    obs = pd.DataFrame({"dpt": TIME, "lineage": ["a", "b"] * 20, "word": ["x"] * 40})
    obs.index = obs.index.map(str)
    return anndata.AnnData(VALUES, obs=obs, var=pd.DataFrame(index=GENES))


def test_the_pseudotime_comes_from_a_column_of_obs(cells, tmp_path):
    want = fit(runs=2, dtype="float32").theta[0]
    network = u.infer(cells, None, "scode", extra={"pseudotime": "dpt"}, modes=3, runs=2)
    assert np.abs(network.matrix(None).to_numpy() - want).max() <= 1e-6
    assert network.provenance["data"]["extra"] == {"pseudotime": "dpt"}
    cells.write_h5ad(tmp_path / "cells.h5ad")
    out = tmp_path / "network.tsv"
    argv = ["infer", str(tmp_path / "cells.h5ad"), "--method", "scode", "-o", str(out), "--param"]
    from unigrn.cli import main

    argv += ["modes=3", "--param", "runs=2"]
    assert main(argv) == 2  # without a pseudotime
    assert main([*argv, "--extra", "pseudotime=dpt"]) == 0
    table = pd.read_csv(out, sep="\t").pivot(index="source", columns="target", values="weight")
    assert np.abs(table.to_numpy() - want).max() <= 1e-5


def test_a_column_without_a_number_for_some_cell_is_refused(cells):
    cells.obs.loc["3", "dpt"] = np.nan

    def infer(column="dpt", **more):
        return u.infer(cells, None, "scode", extra={"pseudotime": column}, runs=1, **more)

    with pytest.raises(ValueError, match="'dpt' has no finite number for 1 of 40 cells"):
        infer()
    with pytest.raises(ValueError, match="'word' must hold numbers"):
        infer("word")
    with pytest.raises(ValueError, match=r"no obs column 'age'.*the columns are"):
        infer("age")
    with pytest.raises(ValueError, match=r"extra names columns of obs.*with_extra"):
        u.infer(cells.to_df(), None, "scode", extra={"pseudotime": "dpt"})
    cells.obs.loc["3", "lineage"] = np.nan  # of no group, it needs no number
    assert infer(groupby="lineage", modes=3).groups == ("a", "b")
