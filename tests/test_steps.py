"""Work of the solvers in steps: a known problem takes as many as were counted when it was written.

Certified points are the same whichever way they were found, so that a step of the wrong length, a
restart that is lost or a set that moves by one coefficient at a time is seen here only. Counts are
sums over targets, in double precision; versions of JAX round differently, hence the tolerance.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import unigrn
from unigrn import (
    Data,
    Spec,
    acyclic,
    box,
    budget,
    elastic_net,
    fused,
    gaussian_evidence,
    gaussian_graph,
    huber,
    l1,
    least_squares,
    no_self,
    nonnegative,
    pair_l1,
    positive_definite,
    ridge,
    slope,
)

CELLS, REGULATORS, TARGETS = 200, 12, 20
TOLERANCE = 0.15  # of the counts: what another version of JAX may change


def norm(params, data, prior):
    """The length of a target's coefficients, smooth at 0."""
    return 30.0 * jnp.sum(jnp.sqrt(1e-6 + jnp.sum(params.theta**2)))


def world(spread: int, groups: int, whole: bool):
    """Cells whose regulators are alike, in units of 10^-spread to 10^spread; or these alone.

    Groups have units of their own, too.
    """
    rng = np.random.default_rng(0)
    cells = CELLS * groups
    alike = rng.normal(size=(cells, 3)) @ rng.normal(size=(3, REGULATORS))
    x = alike + rng.normal(size=(cells, REGULATORS))
    units = np.logspace(-spread, spread, REGULATORS)
    effect = rng.normal(size=(REGULATORS, TARGETS)) * (rng.random((REGULATORS, TARGETS)) < 0.4)
    y = x @ effect + rng.normal(size=(cells, TARGETS))
    x, y = (v * np.repeat([1.0, 4.0, 0.5][:groups], CELLS)[:, None] for v in (x, y))
    regulators = [f"r{j}" for j in range(REGULATORS)]
    targets = [f"y{t}" for t in range(TARGETS)]
    named = np.repeat([f"k{g}" for g in range(groups)], CELLS) if groups > 1 else None
    if whole:
        values, genes, among = x * units, regulators, regulators
    else:
        values, genes, among = np.c_[x * units, y], regulators + targets, targets
    data = Data.from_arrays(values, genes, groups=named, dtype="float64")
    return data, {"regulators": regulators, "targets": among}


ACROSS = unigrn.regularizer(
    lambda params, data, prior: jnp.sum(jnp.diff(params.theta, axis=0) ** 2),
    across=True,
    convex=True,
)
SMOOTH = unigrn.regularizer(norm, convex=True)
PRICES, DEFINITE = pair_l1(0.1), positive_definite()
SETS, SPLIT = "active sets on moments", "splitting on moments"
WHOLE = "proximal gradient on the whole network"
NEWTON = "proximal Newton on a precision matrix"
GRAPHS = "splitting of precision matrices across groups"
PATH = "central path to an acyclic network"
COUNTED = {  # what: specification, units of regulators as powers of 10, groups, solver, steps
    "lasso": (Spec(least_squares(), l1(40.0)), 1, 1, SETS, 299),
    "signs": (Spec(least_squares(), ridge(1.0), nonnegative()), 1, 1, SETS, 49),
    "box": (Spec(least_squares(), elastic_net(40.0, 5.0), box(-0.5, 0.5)), 1, 1, SETS, 148),
    "norm": (Spec(least_squares(), SMOOTH + l1(20.0)), 1, 1, "proximal gradient on moments", 1835),
    "budget": (Spec(least_squares(), ridge(1.0), budget(4)), 1, 1, WHOLE, 2340),
    "slope": (Spec(least_squares(), slope(40.0) + ridge(1.0), box(-1, 1)), 1, 1, SPLIT, 3250),
    "huber": (Spec(huber(), ridge(1.0)), 1, 1, "gradient (L-BFGS)", 1351),
    "huber l1": (Spec(huber(), l1(20.0)), 0, 1, "proximal gradient on rows", 15079),
    "evidence": (Spec(gaussian_evidence()), 1, 1, "evidence maximisation", 123),
    "fused": (
        Spec(least_squares(), l1(20.0) + fused(20.0)),
        1,
        3,
        "splitting across groups",
        20550,
    ),
    "alike": (Spec(least_squares(), 20.0 * ACROSS), 0, 3, "proximal gradient across groups", 36480),
    "precision": (Spec(gaussian_graph(), PRICES, DEFINITE), 0, 1, NEWTON, 10248),
    "precisions": (Spec(gaussian_graph(), PRICES + fused(0.1), DEFINITE), 0, 3, GRAPHS, 36360),
    "acyclic": (Spec(least_squares(), l1(20.0), no_self() + acyclic()), 0, 1, PATH, 6228),
}


@pytest.mark.parametrize("what", COUNTED)
def test_a_known_problem_takes_the_steps_that_were_counted(what):
    spec, spread, groups, solver, counted = COUNTED[what]
    data, genes = world(spread, groups, whole=solver in (NEWTON, GRAPHS, PATH))
    found = unigrn.fit(spec, data, 0, **genes)
    assert found.plan.solver.name == solver
    assert set(found.certificate["status"]) <= {"converged", "stopped by the method's own rule"}
    steps = int(found.certificate["iterations"].sum())
    assert abs(steps - counted) <= TOLERANCE * counted, f"{steps} steps"
