"""Splitting: convex terms that no rule joins, against duals and conditions worked out in NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import unigrn as u
from unigrn import Data, PlanError, Prior, Spec
from unigrn.ladder import select
from unigrn.methods.amusr import amusr
from unigrn.methods.tree_fused import tree_fused
from unigrn.regularizers import Dirty
from unigrn.status import Status
from unigrn.verify import check_spec
from unigrn.verify.claims.lineages import _dual
from unigrn.verify.claims.shared import _nearest

pytestmark = pytest.mark.usefixtures("x64")

GROUPS = ("a", "b", "c", "d")
SIZES = (30, 4, 60, 25)
REGULATORS = [f"r{j}" for j in range(5)]
TARGETS = [f"t{t}" for t in range(3)]
TREE = [("b", "a"), ("c", "a", 2.0), ("d", "c")]


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(4), SIZES)
    x = rng.normal(size=(len(group), 5)) + rng.normal(size=(len(group), 1))
    y = x @ rng.normal(size=(5, 3)) + 2 * rng.normal(size=(len(group), 3))
    return x, y, group


def data_of(cells, grouped=True):
    x, y, group = cells
    groups = [GROUPS[g] for g in group] if grouped else None
    return Data.from_arrays(np.c_[x, y], REGULATORS + TARGETS, groups=groups, dtype="float64")


def fitted(cells, spec, grouped=True, **options):
    plan = u.plan(spec, data_of(cells, grouped), REGULATORS, TARGETS, **options)
    return u.fit(plan)


def matrices(cells, target, many=4):
    """Gram matrix of all groups, block by block, and products with the target."""
    x, y, group = cells
    hess, right = np.zeros((5 * many, 5 * many)), np.zeros(5 * many)
    for g in range(many):
        rows = group == g if many > 1 else group >= 0
        dx, dy = (v[rows] - v[rows].mean(0) for v in (x, y[:, target]))
        part = slice(5 * g, 5 * g + 5)
        hess[part, part], right[part] = dx.T @ dx, dx.T @ dy
    return hess, right


PAIRS = {
    "a tree": TREE,
    "a circle": [*TREE, ("d", "b", 0.3)],
    "two pieces": [("a", "b"), ("c", "d")],
    "all": None,
}


@pytest.mark.parametrize("pairs", PAIRS)
def test_fused_fits_are_those_of_the_dual(cells, pairs):
    rows = PAIRS[pairs] or [(p, q) for i, p in enumerate(GROUPS) for q in GROUPS[i + 1 :]]
    matrix = np.zeros((len(rows), 4))
    for line, (p, q, *_) in zip(matrix, rows, strict=True):
        line[GROUPS.index(p)], line[GROUPS.index(q)] = 1, -1
    worth = np.array([row[2] if len(row) > 2 else 1.0 for row in rows])
    lines = np.concatenate([np.eye(20), np.kron(matrix, np.eye(5))])
    for price, fusion in ((4.0, 6.0), (0.0, 6.0), (4.0, 0.0), (1.0, 1e5)):
        penalty = u.l1(price) + u.ridge(0.5) + u.fused(fusion, PAIRS[pairs])
        found = fitted(cells, Spec(u.least_squares(), penalty))
        assert found.plan.solver.name == "splitting across groups"
        assert (found.status == Status.CONVERGED).all()
        prices = np.r_[np.full(20, price), np.repeat(fusion * worth, 5)]
        for t in range(3):
            hess, right = matrices(cells, t)
            hess = hess + 0.5 * np.eye(20)

            def value(v, h=hess, r=right, p=prices):
                return v @ h @ v - 2 * r @ v + p @ np.abs(lines @ v)

            want = _dual(hess, right, lines, prices)
            theta = found.theta[:, :, t].ravel()
            np.testing.assert_allclose(theta, want, atol=1e-7 * np.abs(want).max())
            assert value(theta) <= value(want) + 1e-9 * (1 + abs(value(want)))


def test_without_fusion_every_group_is_fitted_by_itself(cells):
    alone = Spec(u.least_squares(mean=True), u.l1(0.1) + u.ridge(0.01), scale="both")
    joined = alone.replace(regularizer=alone.regularizer + u.fused(0.0, TREE))
    want, found = (fitted(cells, spec) for spec in (alone, joined))
    assert want.plan.solver.name == "active sets on moments"
    np.testing.assert_allclose(found.theta, want.theta, atol=1e-7)


def test_far_fused_groups_share_one_network(cells):
    found = fitted(cells, Spec(u.least_squares(), u.ridge(0.5) + u.fused(1e6, TREE)))
    assert (found.theta == found.theta[:1]).all()  # to the last bit
    for t in range(3):
        hess, right = matrices(cells, t)
        pooled = sum(hess[5 * g : 5 * g + 5, 5 * g : 5 * g + 5] for g in range(4))
        want = np.linalg.solve(pooled + 2 * np.eye(5), right.reshape(4, 5).sum(0))
        np.testing.assert_allclose(found.theta[0, :, t], want, rtol=1e-7)


def test_one_group_is_a_lasso(cells):
    spec = Spec(u.least_squares(), u.l1(9.0))
    want = fitted(cells, spec, grouped=False)
    found = fitted(cells, spec.replace(regularizer=u.l1(9.0) + u.fused(3.0)), grouped=False)
    np.testing.assert_allclose(found.theta, want.theta, atol=1e-7)


def test_order_of_names_and_of_the_tree_is_irrelevant(cells):
    spec = Spec(u.least_squares(), u.l1(4.0) + u.fused(6.0, TREE))
    turned = [(q, p, *w) for p, q, *w in reversed(TREE)]
    other = spec.replace(regularizer=u.l1(4.0) + u.fused(6.0, turned))
    np.testing.assert_allclose(fitted(cells, other).theta, fitted(cells, spec).theta, atol=1e-8)


def test_masks_and_bounds_hold_in_every_group(cells):
    known = {"t0": ["r0", "r1", "r4"], "t1": ["r2"], "t2": REGULATORS}
    spec = Spec(
        u.least_squares(),
        u.l1(1.0) + u.fused(5.0, TREE),
        u.support() + u.box(-0.2, 0.4),
        prior=Prior.from_dict(known),
    )
    found = fitted(cells, spec)
    assert (found.status == Status.CONVERGED).all()
    assert found.theta.min() >= -0.2 and found.theta.max() <= 0.4
    for t, name in enumerate(TARGETS):
        off = [j for j, r in enumerate(REGULATORS) if r not in known[name]]
        assert (found.theta[:, off, t] == 0).all() and found.theta[:, :, t].any()
    # The conditions of the optimum, for r2 alone: slopes are paid for, or at a bound.
    theta, (hess, right) = found.theta[:, 2, 1], matrices(cells, 1)
    place = [5 * g + 2 for g in range(4)]
    near = np.linspace(-0.2, 0.4, 13)
    grid = np.stack(np.meshgrid(*[near] * 4, indexing="ij")).reshape(4, -1)

    def value(v):
        out = np.einsum("gn,g,gn->n", v, np.diag(hess)[place], v) - 2 * right[place] @ v
        out = out + np.abs(v).sum(0)
        for p, q, *w in TREE:
            worth = 5 * (w[0] if w else 1)
            out = out + worth * np.abs(v[GROUPS.index(p)] - v[GROUPS.index(q)])
        return out

    assert value(theta[:, None])[0] <= value(grid).min() + 1e-9


# Convex terms of one group that no rule joins.
APART = {
    "groups and bounds": (
        u.group_lasso(8.0, {"g": REGULATORS[:3], "h": REGULATORS[3:]}),
        u.box(0, 0.3),
    ),
    "sorted and groups": (
        u.slope(6.0) + u.group_lasso(8.0, {"g": REGULATORS[:3], "h": REGULATORS[3:]}),
        None,
    ),
    "L1 and shares": (u.l1(3.0) + u.ridge(1.0), u.simplex(0.7) + u.box(0.0, 0.3)),
    "groups and an equation": (
        u.group_lasso(8.0, {"g": REGULATORS[:3], "h": REGULATORS[3:]}),
        u.linear_equality(dict.fromkeys(REGULATORS, 1.0), 0.5),
    ),
}


@pytest.mark.parametrize("name", APART)
def test_terms_without_a_joint_prox_are_split(cells, name):
    penalty, within = APART[name]
    spec = Spec(u.least_squares(), penalty, within)
    found = fitted(cells, spec, grouped=False)
    assert found.plan.solver.name == "splitting on moments"
    assert (found.status == Status.CONVERGED).all() and found.residual.max() <= 1e-9
    rng = np.random.default_rng(0)
    for t in range(3):
        hess, right = matrices(cells, t, many=1)
        theta = found.theta[0, :, t]

        def value(v, h=hess, r=right):
            out = np.einsum("nj,jk,nk->n", v, h, v) - 2 * v @ r
            if name.startswith("L1"):
                return out + 3 * np.abs(v).sum(1) + (v**2).sum(1)
            norms = np.sqrt(3) * np.linalg.norm(v[:, :3], axis=1)
            out = out + 8 * (norms + np.sqrt(2) * np.linalg.norm(v[:, 3:], axis=1))
            if name.startswith("sorted"):
                from scipy.stats import norm

                rates = norm.ppf(1 - np.arange(1, 6) * 0.1 / 10)
                out = out + 6 * (rates / rates[0]) @ -np.sort(-np.abs(v), axis=1).T
            return out

        def inside(v):
            if name == "groups and bounds":
                return np.clip(v, 0, 0.3)
            if name.startswith("L1"):  # moves that keep the sum, where the bounds let them
                v = v - v.mean(1, keepdims=True) + 0.14
                return v[((v >= 0) & (v <= 0.3)).all(1)]
            if name == "groups and an equation":
                return v - v.mean(1, keepdims=True) + 0.1
            return v

        near = np.concatenate([theta + s * rng.normal(size=(4000, 5)) for s in (1e-4, 1e-2, 0.3)])
        near = inside(near)
        assert len(near) > 100
        assert value(theta[None])[0] <= value(near).min() + 1e-7 * (1 + abs(value(theta[None])[0]))
        assert np.abs(inside(theta[None]) - theta).max(initial=0) < 1e-6


def test_sets_without_a_common_point_are_said_to_have_none(cells):
    spec = Spec(u.least_squares(), None, u.simplex(2.0) + u.box(0.0, 0.3))
    found = fitted(cells, spec, grouped=False, max_iterations=400)
    assert set(found.status.ravel().tolist()) <= {Status.INFEASIBLE, Status.MAX_ITERATIONS}


def test_what_is_not_convex_is_not_split():
    for spec in (
        Spec(u.least_squares(), u.l0(1.0) + u.fused(1.0)),
        Spec(u.least_squares(), u.minimax_concave(1.0) + u.fused(1.0)),
        Spec(u.least_squares(), u.fused(1.0), u.cardinality(2)),
        Spec(u.huber(), u.l1(1.0) + u.fused(1.0)),
    ):
        with pytest.raises(PlanError):
            select(spec)


def test_too_few_steps_are_said(cells):
    spec = Spec(u.least_squares(), u.l1(4.0) + u.fused(6.0, TREE))
    found = fitted(cells, spec, max_iterations=10)
    assert (found.status == Status.MAX_ITERATIONS).all() and (found.residual > 1e-9).all()


@pytest.mark.parametrize(
    ("tree", "grouped", "words"),
    [
        ({"b": "a", "c": "x", "d": "a", "x": "a"}, True, "'x', which is no group"),
        ({"b": "a", "c": "a"}, True, "no value for 1 cell groups, e.g. d"),
        ({"b": "a"}, False, "the data has none"),
        ([("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")], True, "no circle"),
        ({"b": "a", "c": "d"}, True, "in one piece"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused(cells, tree, grouped, words):
    prior = Prior.from_dict({t: REGULATORS for t in TARGETS})
    with pytest.raises(ValueError, match=words):
        fitted(cells, tree_fused(prior, tree), grouped)


def shared_atoms(own, shared, many=4, positive=False):
    """Vectors of one regulator over the groups whose priced sums the dirty model is least over."""
    alone = [(row, own) for row in np.eye(many)]
    corners = itertools.product([0.0, 1.0] if positive else [-1.0, 1.0], repeat=many)
    together = [(np.array(row), shared) for row in corners if any(row)]
    return [*alone, *((-row, price) for row, price in alone if not positive), *together]


@pytest.mark.parametrize("positive", [False, True])
def test_shared_and_own_parts_are_those_of_the_least_distance(cells, positive):
    bounds = u.nonnegative() if positive else None
    for own, shared in ((4.0, 8.0), (4.0, 3.0), (1.0, 20.0), (2.0, 5.0)):
        penalty = u.dirty(own, shared) + u.ridge(0.5)
        found = fitted(cells, Spec(u.least_squares(), penalty, bounds))
        assert found.plan.solver.name == "splitting across groups"
        assert (found.status == Status.CONVERGED).all()
        atoms = [
            (np.kron(row, np.arange(5) == j), price)
            for j in range(5)
            for row, price in shared_atoms(own, shared, positive=positive)
        ]
        rows, prices = (np.array(v) for v in zip(*atoms, strict=True))
        for t in range(3):
            hess, right = matrices(cells, t)
            want = _nearest(2 * (hess + 0.5 * np.eye(20)), 2 * right, rows, prices)
            theta = found.theta[:, :, t].ravel()
            np.testing.assert_allclose(theta, want, atol=1e-6 * np.abs(want).max())
            assert (theta[np.abs(want) < 1e-9] == 0).all()  # exactly


def test_prices_at_the_ends_share_all_or_nothing(cells):
    loss = 0.5 * u.least_squares(mean=True)
    lasso, alone, several = (
        fitted(cells, Spec(loss, penalty, scale="both"))
        for penalty in (u.l1(0.1), u.dirty(0.1, 0.4), u.dirty(0.1, 0.1))
    )
    np.testing.assert_allclose(alone.theta, lasso.theta, atol=1e-7)
    size = np.abs(several.theta)
    # A largest coefficient alone has a price: more than one group is at it.
    assert ((size > size.max(axis=0) - 1e-7).sum(axis=0) > 1).all()
    assert np.abs(several.theta - lasso.theta).max() > 0.05
    one, same = (
        fitted(cells, Spec(loss, penalty, scale="both"), grouped=False)
        for penalty in (u.dirty(0.1), u.l1(0.1))
    )
    np.testing.assert_allclose(one.theta, same.theta, atol=1e-7)


def test_a_shared_price_that_is_not_given_is_the_root_of_the_groups(cells):
    loss = 0.5 * u.least_squares(mean=True)
    given, found = (fitted(cells, Spec(loss, u.dirty(0.1, price))) for price in (0.2, None))
    np.testing.assert_allclose(found.theta, given.theta, atol=1e-9)


def test_steps_along_the_prox_end_where_splitting_does(cells):
    spec = Spec(0.5 * u.least_squares(mean=True), u.dirty(0.1), scale="both")
    found, other = (
        fitted(cells, spec, solver=name)
        for name in ("splitting across groups", "proximal gradient across groups")
    )
    assert (other.status == Status.CONVERGED).all()
    np.testing.assert_allclose(other.theta, found.theta, atol=1e-7)
    np.testing.assert_array_equal(other.theta == 0, found.theta == 0)


def test_units_that_differ_by_group_are_no_trouble(cells):
    x, y, group = cells
    x, y = x.copy(), y.copy()
    x[group == 1, 2] *= 1e-3
    x[:, 3] *= 1e-3
    y[group == 2] *= 1e-3
    found = fitted((x, y, group), Spec(u.least_squares(), u.dirty(0.0, 0.0)))
    assert (found.status == Status.CONVERGED).all()
    for g in (0, 2, 3):  # the second group has fewer cells than regulators
        rows = group == g
        dx, dy = (v[rows] - v[rows].mean(0) for v in (x, y))
        want = np.linalg.lstsq(dx, dy, rcond=None)[0]
        np.testing.assert_allclose(found.theta[g], want, atol=1e-6 * np.abs(want).max())


def test_a_prox_across_groups_that_is_not_that_of_the_term_is_refused():
    class Twice(Dirty):
        def prox(self, v, step, data, prior, params=None):
            return super().prox(v, 2 * step, data, prior, params)

    wrong = u.pytree(Twice)(0.5, 0.7, 2.0)
    report = check_spec(Spec(u.least_squares(), wrong), examples=5)
    assert not report and "prox" in str(report)
    assert check_spec(Spec(u.least_squares(), u.dirty(0.5, 0.7)), examples=5)


def test_a_penalty_across_groups_without_prox_or_lines_is_not_split():
    class Odd(u.Regularizer):
        across = convex = True
        separable = "entries"

        def absolute(self, data, prior):
            return 1.0 + 0 * prior.weight

        def __call__(self, params, data, prior):
            return abs(params.theta).sum()

    refused = select(Spec(u.least_squares(), u.pytree(Odd)())).refused
    (lacking,) = (why for rung, why in refused if rung.name == "splitting across groups")
    assert any("neither lines nor a prox" in line for line in lacking)


@pytest.mark.slow
def test_amusr_keeps_what_its_terms_promise():
    report = check_spec("amusr", examples=5)
    assert report, str(report)


def test_amusr_shares_more_the_cheaper_it_is(cells):
    prior = Prior.from_dict({t: REGULATORS[i : i + 2] for i, t in enumerate(TARGETS)})
    spread = []
    for shared in (0.04, 0.1, 0.2):
        found = fitted(cells, amusr(prior, 0.05, shared))
        assert (found.status == Status.CONVERGED).all()
        spread.append(np.ptp(np.abs(found.theta), axis=0).sum())
    assert spread[0] < spread[1] < spread[2]


@pytest.mark.slow
@pytest.mark.parametrize("tree", [None, {"b": "a", "c": "a"}])
def test_the_method_keeps_what_its_terms_promise(tree):
    report = check_spec("tree_fused", examples=5, tree=tree)
    assert report, str(report)
