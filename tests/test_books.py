"""What a run says of its fits beside their weights: which members count, and the worst of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

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
