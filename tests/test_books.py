"""What a run says of its fits beside their weights: which members count, and the worst of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import unigrn
from unigrn import Data, Spec, least_squares, ridge
from unigrn.replicates import Permutations, Starts
from unigrn.run.finish import certify
from unigrn.run.state import Grid, State
from unigrn.status import Status


def test_the_worst_member_that_counts_speaks_for_a_target():
    # Members: two starts of the targets as they are, then two of their permuted copy.
    state = SimpleNamespace(
        grid=Grid((Permutations(1), Starts(2))),
        spec=SimpleNamespace(sweeps=None),
        status=np.full((1, 3), Status.NO_CANDIDATES, np.int32),
        residual=np.full((1, 3), np.nan),
        iterations=np.zeros((1, 3), np.int64),
    )
    good, late, bad = Status.CONVERGED, Status.MAX_ITERATIONS, Status.NOT_FINITE
    numbers = {  # nothing of the target without candidates is kept
        "status": np.array([[good, bad, late], [good] * 3, [bad] * 3, [good, bad, bad]]),
        "residual": np.array([[1.0, 8.0, 6.0], [3.0, 8.0, 4.0], [9.0] * 3, [9.0] * 3]),
        "iterations": np.array([[2, 8, 7], [5, 8, 3], [9] * 3, [9] * 3]),
    }
    certify(state, 0, numbers, {}, np.array([True, False, True]))  # pyright: ignore
    assert state.status.tolist() == [[good, Status.NO_CANDIDATES, late]]
    np.testing.assert_array_equal(state.residual, [[3, np.nan, 6]])
    assert state.iterations.tolist() == [[5, 0, 7]]


def test_a_target_that_is_never_fitted_took_no_iteration():
    values = np.random.default_rng(0).normal(size=(20, 3))
    plan = unigrn.plan(
        Spec(least_squares(), ridge(1.0)), Data.from_arrays(values, list("abc")), regulators=["a"]
    )
    assert not State(plan, 0).iterations.any()


def line(network, words):
    """The one line of the report with these words."""
    (found,) = [text for text in network.alignment.lines() if words in text]
    return found


def cells(groups=None, seed=0):
    """Four regulators, of which d is constant, drive y; z is constant, and w is noise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(60, 7))
    values[:, 3], values[:, 5] = 2.0, -1.0
    values[:, 4] = values[:, 0] - values[:, 1] + 0.1 * values[:, 4]
    return Data.from_arrays(values, list("abcdyzw"), groups=groups)


GENES = {"regulators": list("abcd"), "targets": list("wyz")}


def test_edges_that_every_subset_of_the_cells_found_are_counted():
    spec = unigrn.stability(Spec(least_squares(), unigrn.l1(8.0)), samples=10)
    network = unigrn.infer(cells(), None, spec, **GENES)
    every, listed = (network.edges["frequency"] == 1).sum(), len(network.edges)
    assert 2 <= every < listed
    assert line(network, "found every time").endswith(
        f"{every} of {listed} edges were found every time (frequency 1)"
    )


def test_edges_above_permuted_targets_are_counted_by_group():
    groups = np.repeat(["one", "two"], 30)
    spec = unigrn.permuted(Spec(least_squares(), ridge(1.0)), 20)
    network = unigrn.infer(cells(groups), None, spec, **GENES)
    above = network.edges[network.edges["fdr"] <= 0.05].groupby("group").size()
    told = line(network, "above permuted targets")
    counted = int(network.edges["fdr"].notna().sum())
    assert f"{above.sum()} of {counted} edges stand above" in told and above.sum() > 1
    assert f"(one {above.get('one', 0)}, two {above.get('two', 0)})" in told


def test_what_is_constant_is_counted_and_named():
    network = unigrn.infer(cells(), None, Spec(least_squares(), ridge(1.0)), **GENES)
    assert "1 regulator is constant: coefficients there are 0" in line(network, "1 regulator")
    assert "d" in line(network, "1 regulator") and "z" in line(network, "1 target")
    groups = ["most"] * 59 + ["lone"]
    network = unigrn.infer(cells(groups), None, Spec(least_squares(), ridge(1.0)), **GENES)
    assert "one cell only in group lone" in line(network, "one cell only")
    assert (network.edges.loc[network.edges["group"] == "lone", "weight"] == 0).all()


def test_edges_that_no_bag_drew_are_counted_and_left_out():
    spec = unigrn.bagging(Spec(least_squares(), ridge(1.0)), bags=2, max_features=0.3)
    network = unigrn.infer(cells(), None, spec, **GENES)
    missing = 4 * 3 - len(network.edges)
    assert missing >= 6  # two bags draw one candidate each
    assert f"{missing} candidate edges were drawn in no bag" in line(network, "no bag")
    assert (network.edges["bags_drawn"] >= 1).all()


def test_a_p_that_rests_on_few_cells_is_called_small():
    few = Data.from_arrays(np.random.default_rng(1).normal(size=(12, 3)), list("abc"))
    with pytest.warns(unigrn.UnigrnWarning, match="the 12 cells are too few for the p of 1 of 1"):
        unigrn.infer(
            few, unigrn.Prior.from_dict({"c": ["a", "b"]}), "celloracle", bags=5, targets=["c"]
        )
