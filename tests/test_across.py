"""Whole networks of all groups as one problem, by gradients."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import unigrn
from unigrn import Spec, no_self, regularizer

SIZES, Q, P, ALIKE = (40, 25, 12), 3, 4, 2.0
GENES = [f"g{i}" for i in range(Q + P)]


def squares(params, data, prior):
    """Weighted squares of a group, averaged over its cells."""
    off = data.y - data.x @ params.theta
    return jnp.sum(data.weight[:, None] * off**2) / jnp.sum(data.weight)


def products(params, data, prior):
    return 0.1 * jnp.sum((params.theta @ params.theta.T) ** 2)


def alike(params, data, prior):
    """Deviations of the groups; of one target (groups, candidates)."""
    assert params.theta.ndim == 2
    apart = params.theta - jnp.mean(params.theta, axis=0, keepdims=True)
    return ALIKE * jnp.sum(jnp.sqrt(0.01 + jnp.sum(apart**2, axis=1)))


@unigrn.pytree
class Shares(unigrn.Loss):
    """(sum of groups of share * theta - 1)^2: a loss of all groups, shares by their weights."""

    across = True
    weighted = True

    def __call__(self, params, data, prior):
        assert data.x.ndim == 3 and prior.weight.ndim == 3
        share = jnp.sum(data.weight, axis=1) / jnp.sum(data.weight)
        mixed = jnp.sum(share[:, None, None] * params.theta, axis=0)
        return jnp.sum(jnp.where(prior.valid[0], (mixed - 1) ** 2, 0))


def drawn(seed=0):
    rng = np.random.default_rng(seed)
    n = sum(SIZES)
    x, weight = rng.normal(size=(n, Q)), rng.uniform(0.5, 2, n)
    y = x @ rng.normal(size=(Q, P)) + rng.normal(size=(n, P))
    group = np.repeat(np.arange(len(SIZES)), SIZES)
    order = rng.permutation(n)  # cells of a group do not stand together
    return np.c_[x, y][order], weight[order], group[order]


def test_networks_that_are_coupled_twice_are_those_of_scipy():
    values, weight, group = drawn()
    data = unigrn.Data.from_arrays(
        values, GENES, groups=[f"k{g}" for g in group], weights=weight, dtype="float64"
    )
    spec = Spec(
        unigrn.loss(squares, coupled=True, weighted=True) + Shares(),
        regularizer(products, coupled=True) + regularizer(alike, across=True, convex=True),
        no_self(),
    )
    found = unigrn.fit(spec, data, regulators=GENES[:Q], targets=GENES[Q:])
    assert found.plan.solver.name == "gradient (L-BFGS) on all networks at once"
    assert set(found.certificate.status) == {"converged"}

    def cost(theta):
        theta, total = theta.reshape(len(SIZES), Q, P), 0.0
        for k in range(len(SIZES)):
            x, y, w = values[group == k, :Q], values[group == k, Q:], weight[group == k]
            total += w @ np.sum((y - x @ theta[k]) ** 2, axis=1) / w.sum()
            total += 0.1 * np.sum((theta[k] @ theta[k].T) ** 2)
        apart = theta - theta.mean(axis=0)
        total += ALIKE * np.sqrt(0.01 + np.sum(apart**2, axis=1)).sum()
        share = np.bincount(group, weight) / weight.sum()
        return total + np.sum((np.einsum("k,kij->ij", share, theta) - 1) ** 2)

    theta = np.zeros((len(SIZES), Q, P))
    problem = found.plan.problem
    for k, own in enumerate(found.weights):
        theta[k, problem.candidate, problem.entry_target] = own
    want = optimize.minimize(cost, theta.ravel(), tol=1e-12)
    assert cost(theta.ravel()) == pytest.approx(want.fun, rel=1e-9)
    np.testing.assert_allclose(theta.ravel(), want.x, atol=1e-5)
    objective = np.asarray(found.targets["objective"])
    np.testing.assert_allclose(objective, cost(theta.ravel()), rtol=1e-9)
    # The loss that is told of a group is that of its own cells.
    own = [
        weight[group == k]
        @ np.sum((values[group == k, Q:] - values[group == k, :Q] @ theta[k]) ** 2, axis=1)
        / weight[group == k].sum()
        for k in range(len(SIZES))
    ]
    np.testing.assert_allclose(np.asarray(found.targets["loss"])[:, 0], own, rtol=1e-9)


def by_cell(params, data, prior, own):
    return jnp.sum(own[:, None] * (data.y - data.x @ params.theta) ** 2)


def spread(params, data, prior):
    return ALIKE * jnp.sum((params.theta - jnp.mean(params.theta, axis=0, keepdims=True)) ** 2)


def test_arrays_of_cells_that_a_term_holds_are_those_of_each_group():
    values, weight, group = drawn()
    data = unigrn.Data.from_arrays(values, GENES, groups=[f"k{g}" for g in group], dtype="float64")
    held = unigrn.along(weight, "cells")
    spec = Spec(
        unigrn.loss(by_cell, coupled=True, own=held),
        regularizer(spread, across=True, convex=True),
        no_self(),
    )
    found = unigrn.fit(spec, data, regulators=GENES[:Q], targets=GENES[Q:])
    m = len(SIZES)
    system, right = ALIKE * np.kron(np.eye(m) - 1 / m, np.eye(Q)), []
    for k in range(m):
        x, y, w = values[group == k, :Q], values[group == k, Q:], weight[group == k]
        system[k * Q : (k + 1) * Q, k * Q : (k + 1) * Q] += x.T @ (w[:, None] * x)
        right.append(x.T @ (w[:, None] * y))
    want = np.linalg.solve(system, np.concatenate(right)).reshape(m, Q, P)
    problem = found.plan.problem
    np.testing.assert_allclose(
        found.weights, want[:, problem.candidate, problem.entry_target], atol=1e-7
    )
    both = regularizer(held_by_all, across=True, own=held)
    with pytest.raises(ValueError, match="couples the groups and holds an array along cells"):
        unigrn.plan(Spec(spec.loss, both, no_self()), data)


def held_by_all(params, data, prior, own):
    return jnp.sum(own) * jnp.sum(params.theta**2)


def test_what_has_a_kink_or_several_fits_is_refused_with_its_reason():
    values, weight, group = drawn()
    data = unigrn.Data.from_arrays(values, GENES, groups=[f"k{g}" for g in group])
    loss = unigrn.loss(squares, coupled=True)
    with pytest.raises(unigrn.PlanError, match="all networks at once") as told:
        unigrn.plan(Spec(loss, unigrn.fused(1.0), no_self()), data)
    lacking = told.value.ladder["gradient (L-BFGS) on all networks at once"]
    assert any("every regularizer is differentiable" in line for line in lacking)
    bagged = unigrn.bagging(Spec(loss, regularizer(alike, across=True, convex=True), no_self()))
    with pytest.raises(unigrn.PlanError) as told:
        unigrn.plan(bagged, data)
    lacking = told.value.ladder["gradient (L-BFGS) on all networks at once"]
    assert any("fitted once" in line for line in lacking)
