"""The hostile catalogue, and the traps that it was drawn up for one by one; see catalogue.py.

``UNIGRN_CATALOGUE=3000`` judges as many combinations instead of 300.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("cvxpy", reason="cvxpy is the oracle of the catalogue")

import catalogue as c

import unigrn

COUNT = int(os.environ.get("UNIGRN_CATALOGUE", "300"))


@pytest.fixture(scope="module")
def reports():
    found = c.run(COUNT)
    print("\n" + c.summary(found))
    return found


def listed(reports, verdict):
    own = [r for r in reports if r.verdict == verdict]
    head = f"{len(own)} of {len(reports)} are {verdict}; tests/catalogue.py --only N repeats one\n"
    return head + "\n".join(str(r) for r in own[:12])


@pytest.mark.slow
@pytest.mark.parametrize("verdict", ["WRONG", "crash"])
def test_no_combination_is(reports, verdict):
    assert all(r.verdict != verdict for r in reports), listed(reports, verdict)


@pytest.mark.slow
def test_the_oracle_has_an_answer(reports):
    # It may leave some open, and be beaten by a little, but the catalogue is not one of excuses.
    print("\n" + c.summary(reports))
    assert sum(r.verdict == "unchecked" for r in reports) <= 0.03 * len(reports)
    assert sum(r.beaten for r in reports) <= 0.03 * len(reports)
    assert sum(r.verdict == "right" for r in reports) >= 0.1 * len(reports)


# ----------------------------------------------------------------------------------- the judge


def ridge_at(move, status="converged", **sets):
    """A ridge with its minimiser moved, as if it had been fitted."""
    rng = np.random.default_rng(0)
    world = c.make_world(rng, (24, 5, 3), "plain", "full")
    pieces = c.assemble(0, world, ("squared", ["ridge"], list(sets)), rng)
    pieces.regularizer[0] = exact(world, "ridge", 5.0)
    T, b, _ = c.solve(pieces.costs, [s for s in pieces.constraint if s.convex], pieces.world)
    states = np.full(3, status, object)
    return c._judge(pieces, T + move, b, states).verdict


def test_the_judge_sees_what_is_wrong():
    assert ridge_at(0.0) == "right"
    assert ridge_at(0.0, "stopped by the method's own rule") == "honest"
    assert ridge_at(1e-2) == "WRONG"
    assert ridge_at(1e-2, "not converged: iteration limit") == "honest"
    assert ridge_at(np.nan) == "crash"
    assert ridge_at(0.0, Simplex=True) == "right"
    assert ridge_at(1e-4, Simplex=True) == "WRONG"
    assert ridge_at(0.0, TopK=True) == "WRONG"  # more entries than it allows


@pytest.mark.parametrize(
    "name",
    ["squared", "logistic", "logcosh", "poisson", "huber", "quantile", "logistic of a threshold"],
)
def test_the_oracle_is_stationary(name):
    rng = np.random.default_rng(1)
    world = c.make_world(rng, (24, 5, 3), "plain", "none")
    loss = c.losses(rng, world)[name]
    ridge = exact(world, "ridge", 5.0)
    T, b, _ = c.solve([*loss, ridge], [], world)
    gradient = sum(piece.gradient(T, b, world) for piece in loss) + 10.0 * T
    assert np.abs(gradient).max() < 1e-5 * np.abs(loss[0].gradient(0 * T, b, world)).max()


def test_value_and_expression_are_the_same_function():
    import cvxpy as cp

    rng = np.random.default_rng(2)
    world = c.make_world(rng, (14, 7, 4), "plain", "partial")
    world = dataclasses.replace(world, allowed=world.support)
    size = (3.0, 5.0)
    pieces = [p for many in c.losses(rng, world).values() for p in many]
    pieces += [p for p in c.regularizers(rng, world, size).values() if p.convex]
    for reading in ("full", "masked", "compact"):
        w = dataclasses.replace(world, reading=reading)
        T = np.where(w.allowed, rng.normal(size=w.allowed.shape), 0)
        b = rng.normal(size=w.allowed.shape[1])
        for piece in pieces:
            expression = piece.cvx(T, b, w)
            if getattr(piece, "free", None) == "own":
                problem = cp.Problem(cp.Minimize(expression))
                value = problem.solve(solver=cp.CLARABEL)
            else:
                value = cp.Constant(expression).value if np.isscalar(expression) else None
                value = expression.value if value is None else value
            np.testing.assert_allclose(
                piece.value(T, b, w).sum(), value, rtol=1e-7, atol=1e-9, err_msg=str(piece)
            )


# ----------------------------------------------------------------------------------- the traps


class Steady:
    """Draws that are always the same: 1 where there is a choice, else the first."""

    def choice(self, values, size=None, p=None):
        return 1.0 if p is not None else values[0] if size is None else np.ones(size)

    def random(self, size=None):
        return 0.0 if size is None else np.zeros(size)

    def normal(self, size):
        return np.ones(size)


def exact(world, name, strength):
    """One regularizer of a given strength."""
    return c.regularizers(Steady(), world, (strength, strength))[name]


def trap(loss, names, sets, strength=8.0, shape=(24, 5, 3), flavour="plain", kind="partial"):
    """The report on one combination, with one strength for all its regularizers."""
    rng = np.random.default_rng(3)
    world = c.make_world(rng, shape, flavour, kind)
    combination = c.assemble(0, world, (loss, names, sets), rng)
    combination.regularizer[:] = [exact(world, n, strength) for n in names]
    return c.judge(combination)


def accepted(report):
    assert report.verdict not in ("WRONG", "crash", "unchecked"), str(report)


@pytest.mark.parametrize("loss", ["ls", "huber", "squared"])
@pytest.mark.parametrize("name", ["Group", "SparseGroup", "Largest", "Pairs", "Nuclear"])
def test_prox_beside_support(loss, name):
    accepted(trap(loss, [name], ["support"]))


@pytest.mark.parametrize(
    ("name", "constraint"),
    [
        ("Group", "nonnegative"),
        ("Group", "box"),
        ("l1", "Simplex"),
        ("l1", "Ball"),
        ("l1", "SumTo"),
        ("Nuclear", "nonnegative"),
        ("RowLargest", "Simplex"),
        ("Largest", "Ball"),
    ],
)
def test_prox_and_projection_that_do_not_join(name, constraint):
    accepted(trap("ls", [name], [constraint]))


@pytest.mark.parametrize("names", [["Group", "l1"], ["Nuclear", "ridge"], ["RowLargest", "Group"]])
def test_proxes_that_do_not_add(names):
    accepted(trap("ls", names, []))


@pytest.mark.parametrize("loss", ["ls", "huber"])
@pytest.mark.parametrize("constraint", ["Simplex", "NaiveSimplex", "SumTo"])
def test_projection_on_candidate_lists_of_different_lengths(loss, constraint):
    accepted(trap(loss, [], [constraint, "support"]))
    accepted(trap(loss, [], [constraint]))  # 5 regulators are padded too


def test_constraints_that_contradict_each_other():
    rng = np.random.default_rng(4)
    world = c.make_world(rng, (24, 5, 3), "plain", "none")
    spec = unigrn.Spec(
        unigrn.least_squares(), unigrn.ridge(1.0), unigrn.box(0.0, 0.1) + c.SumTo(5.0)
    )
    try:
        solution = unigrn.fit(spec, world.data, regulators=world.regulators, targets=world.targets)
    except (unigrn.PlanError, ValueError):
        return
    assert "converged" not in set(solution.certificate["status"])


@pytest.mark.parametrize("loss", [unigrn.least_squares, unigrn.huber])
def test_mean_over_padded_candidates(loss):
    """A mean instead of a sum: over the 5 regulators that there are, or refused."""
    rng = np.random.default_rng(5)
    world = c.make_world(rng, (24, 5, 3), "plain", "none")
    delta, strength = 1.0, 60.0
    spec = unigrn.Spec(
        loss() if loss is unigrn.least_squares else loss(delta),
        unigrn.regularizer(c.mean_ridge, strength=strength),
    )
    kind = "ls" if loss is unigrn.least_squares else "huber"
    own = c.losses(Steady(), world)[kind]
    combination = c.Combination(0, world, own, [exact(world, "ridge", strength / 5)], [])
    try:
        solution = unigrn.fit(spec, world.data, regulators=world.regulators, targets=world.targets)
    except (unigrn.PlanError, ValueError, TypeError):
        return
    accepted(c._judge(combination, *c.read(solution, world)))


@pytest.mark.parametrize("loss", ["ls", "huber", "squared weighted", "squared"])
def test_rows_of_padding_do_not_reach_a_term_that_reads_the_expression(loss):
    accepted(trap(loss, ["variance_ridge"], []))


def test_columns_of_padding_do_not_reach_a_term_that_averages_targets():
    for sets in ([], ["support"]):
        accepted(trap("ls", ["pull"], sets))


@pytest.mark.parametrize("name", ["plain_abs", "kinked_fused"])
def test_kinks_of_plain_functions(name):
    for strength in (2.0, 20.0):
        accepted(trap("ls", [name], [], strength=strength))


def test_a_constant_regulator_and_the_intercept_that_is_reported():
    accepted(trap("squared", [], ["SumTo"], flavour="constant regulator", kind="none"))
    accepted(trap("huber", ["smooth_fused"], [], flavour="constant regulator", kind="none"))


def test_names_do_not_matter_to_the_reader():
    """Regulators and targets are found by name, whatever order a solution has them in."""
    world = c.make_world(np.random.default_rng(6), (24, 5, 3), "plain", "none")
    edges = pd.DataFrame(
        {"source": world.regulators[1:3], "target": [world.targets[-1]] * 2, "weight": 1.0}
    )
    spec = unigrn.Spec(
        unigrn.least_squares(),
        unigrn.ridge(1.0),
        unigrn.support(),
        prior=unigrn.Prior.from_edges(edges),
    )
    T, _, status = c.read(unigrn.fit(spec, world.data, targets=world.targets), world)
    assert (np.argwhere(T) == [[1, 2], [2, 2]]).all()
    assert status[-1] == "converged"
