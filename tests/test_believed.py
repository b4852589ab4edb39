"""bias="auto": how far a prior is believed, chosen by cells that the fits did not see."""

from __future__ import annotations

import networkx
import numpy as np
import pandas as pd
import pytest

import unigrn
from unigrn.ensembles import BELIEFS, believed
from unigrn.methods.dagma import dagma
from unigrn.methods.graphical_lasso import graphical_lasso
from unigrn.methods.poisson_glm import poisson_glm

Q, P, CELLS = 10, 30, 150
TFS, GENES = [f"t{i}" for i in range(Q)], [f"g{i}" for i in range(P)]


@pytest.fixture(scope="module")
def world():
    """Logarithms, counts of their exponentials, the true edges, and edges to permuted targets."""
    rng = np.random.default_rng(0)
    there = rng.random((Q, P)) < 0.2
    x = rng.normal(size=(CELLS, Q))
    y = x @ (there * rng.normal(size=(Q, P))) * 0.5 + rng.normal(size=(CELLS, P))
    values = pd.DataFrame(np.c_[x, y], columns=TFS + GENES)
    counts = pd.DataFrame(rng.poisson(np.exp(values)), columns=values.columns)
    i, j = np.nonzero(there)
    right = pd.DataFrame({"source": np.array(TFS)[i], "target": np.array(GENES)[j]})
    wrong = right.assign(target=rng.permutation(right["target"])).drop_duplicates()
    return values, counts, right, wrong


def told(network):
    return next(line for line in network.alignment.lines() if "mean score by value" in line)


def test_counts_tell_a_right_prior_from_a_wrong_one(world):
    _, counts, right, wrong = world
    chosen = {}
    for name, prior in (("right", right), ("wrong", wrong)):
        network = unigrn.infer(
            counts, prior, "poisson_glm", bias="auto", strength=20.0, masked=False, targets=GENES
        )
        assert set(network.certificate["status"]) == {"converged"}
        by_target = network.edges.groupby("target")["bias"].nunique()
        assert (by_target == 1).all()
        chosen[name] = set(network.edges["bias"])
        assert "5 parts of the targets by the others" in told(network)
    assert max(chosen["right"]) < 1 and chosen["wrong"] == {1.0}


def test_a_precision_matrix_takes_one_value_and_is_that_fit(world):
    values, _, right, _ = world
    genes = TFS + GENES[:8]
    given = {"targets": genes, "strength": 0.2}
    network = unigrn.infer(values, right, "graphical_lasso", bias="auto", **given)
    (bias,) = set(network.edges["bias"])
    alone = unigrn.infer(values, right, "graphical_lasso", bias=bias, **given)
    pd.testing.assert_series_equal(network.edges["weight"], alone.edges["weight"], rtol=1e-4)
    assert "one for all targets" in told(network)


def test_folds_of_a_network_without_cycles_have_none(world):
    """A mean over the parts could have one."""
    values, _, _, _ = world
    spec = unigrn.folds(dagma(None, strength=0.02), 3)
    network = unigrn.infer(values, None, spec, targets=TFS + GENES[:3])
    graph = networkx.DiGraph(network.edges[["source", "target"]].to_numpy().tolist())
    assert networkx.is_directed_acyclic_graph(graph) and graph.number_of_edges() > 20


def test_a_spec_of_ones_own_is_believed_likewise(world):
    values, _, right, _ = world
    prior = unigrn.Prior.from_edges(right)
    spec = unigrn.Spec(
        unigrn.least_squares(), unigrn.prior_l1(60.0, 0.5), unigrn.no_self(), prior=prior
    )
    found = unigrn.infer(values, None, believed(spec, "PriorL1.bias"), targets=GENES)
    assert set(found.edges["bias"]) <= set(BELIEFS) - {1.0}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: poisson_glm(p, bias="auto"), "needed strength > 0 and masked=False, got 0"),
        (lambda p: graphical_lasso(None, bias="auto"), "needed 0 and a prior"),
        (lambda p: graphical_lasso(p, bias="auto", fusion=1.0), "got fusion=1 and a prior"),
        (lambda p: dagma(None, bias="auto"), "give a prior"),
        (lambda p: dagma(p, bias="much"), "bias"),
    ],
)
def test_where_there_is_nothing_to_choose_it_is_said(world, build, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        build(unigrn.Prior.from_edges(world[2]))
    assert "\n" not in str(caught.value)
