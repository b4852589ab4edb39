"""Methods in which network, interactions and coexpression speak to each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import unigrn
from unigrn import Data, Prior
from unigrn.methods import get
from unigrn.verify import check_spec

FACTORS, TARGETS = ["a", "b", "c"], [f"t{k}" for k in range(6)]
KNOWN = np.random.default_rng(0).random((3, 6)) < 0.5


def prior_of_known():
    i, j = np.nonzero(KNOWN)
    table = {"source": [FACTORS[k] for k in i], "target": [TARGETS[k] for k in j]}
    return Prior.from_edges(pd.DataFrame(table))


def expression(cells=20, seed=0):
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(size=(cells, 3)))
    return np.c_[values, values @ (KNOWN * rng.normal(size=(3, 6))) + 3 + rng.random((cells, 6))]


def data_of(values, dtype="float64", **more):
    return Data.from_arrays(values, [*FACTORS, *TARGETS], dtype=dtype, **more)


INTERACTIONS = pd.DataFrame(np.eye(3) + 0.5, index=FACTORS, columns=FACTORS)


# ------------------------------------------------------------------ GIRAFFE


def cost(theta, A, values, P, weights, unit):
    """The five terms of the formula, one cell and one pair at a time."""
    y = values[:, 3:] / (np.linalg.norm(values[:, 3:]) if unit else 1)
    P, C = P / np.trace(P), np.corrcoef(values[:, 3:].T) / 6
    terms = [
        sum(((y[c] - theta.T @ A[:, c]) ** 2).sum() for c in range(len(y))),
        sum((theta[i] @ theta[j] - P[i, j]) ** 2 for i in range(3) for j in range(3)),
        sum((theta[:, i] @ theta[:, j] - C[i, j]) ** 2 for i in range(6) for j in range(6)),
        sum((A[i] @ A[j] - P[i, j]) ** 2 for i in range(3) for j in range(3)),
        (theta**2).sum(),
    ]
    return np.dot(weights, terms)


@pytest.mark.parametrize("unit", [True, False])
def test_giraffe_ends_where_no_small_move_lowers_the_formula(unit):
    values, weights = expression(), (1.0, 0.4, 0.3, 2.0, 0.1)
    table = INTERACTIONS.loc[FACTORS[::-1], FACTORS[::-1]] if unit else None
    spec = get("giraffe").function(prior_of_known(), table, weights, unit)
    found = unigrn.fit(spec, data_of(values), targets=TARGETS, max_iterations=30000)
    assert found.converged.all() and "proximal gradient" in found.plan.solver.name
    theta, A = found.theta[0], found.blocks["A"][0]
    given = (values, INTERACTIONS.to_numpy() if unit else np.eye(3), weights, unit)
    here = cost(theta, A, *given)
    assert found.targets["objective"][0, 0] == pytest.approx(here)
    assert (A >= 0).all() and (A == 0).any() == unit
    rng = np.random.default_rng(1)
    for step in 1e-4 * rng.choice([-1, 1], (20, theta.size + A.size)):
        move = step[: theta.size].reshape(theta.shape), step[theta.size :].reshape(A.shape)
        near = cost(theta + move[0], np.maximum(A + move[1], 0), *given)
        assert near > here - 1e-9 * (1 + here)


def test_giraffe_in_single_precision_and_the_best_of_its_starts():
    values = expression()
    ends = [
        unigrn.fit(
            get("giraffe").function(prior_of_known(), runs=runs), data_of(values, dtype), seed=3
        )
        for runs, dtype in ((1, "float64"), (1, "float32"), (4, "float64"))
    ]
    assert all(f.converged.all() for f in ends)
    np.testing.assert_allclose(ends[1].theta, ends[0].theta, atol=1e-4)
    assert ends[2].targets["objective"].max() <= ends[0].targets["objective"].max() + 1e-9


def test_a_fit_cut_short_is_not_called_converged():
    found = unigrn.fit(
        get("giraffe").function(prior_of_known()), data_of(expression()), max_iterations=5
    )
    assert not found.converged.any()


def test_giraffe_passes_the_checks():
    assert check_spec(get("giraffe").function(prior_of_known()), examples=6)


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"weights": (1, 2, 3)}, "five numbers"),
        ({"weights": (1, 1, -1, 1, 1)}, "weights.2."),
        ({"weights": 2.0}, "five numbers"),
        ({"runs": 0}, "runs"),
    ],
)
def test_wrong_settings_of_giraffe_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        get("giraffe").function(None, **wrong)
