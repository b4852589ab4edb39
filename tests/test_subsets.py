"""Which candidates stay where more are named than subsets can be tried of, against a loop."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma

import unigrn as u
from unigrn.solvers.subsets import screened
from unigrn.terms import Moments

pytestmark = pytest.mark.usefixtures("x64")

CELLS, Q, COUNT = 60, 14, 3


def drawn(seed):
    """Correlated regulators, one twice, one that does not vary, two that are no candidates."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(CELLS, Q)) + 0.7 * rng.normal(size=(CELLS, 1))
    x[:, 5], x[:, 9] = 2 * x[:, 4], 1.0
    y = x @ (rng.normal(size=Q) * (rng.random(Q) < 0.5)) + rng.normal(size=CELLS)
    support = rng.random(Q) < 0.4
    support[4], valid = True, np.ones(Q, bool)
    valid[[2, 11]] = False
    return x - x.mean(axis=0), y - y.mean(), support & valid, valid


def by_loops(x, y, support, valid, on, off):
    """Sum for every candidate of the pool the criterion of it alone and of all its pairs."""
    varies = np.sum(x**2, axis=0) > 1e-12
    size = np.abs(x.T @ y) / np.sqrt(np.where(varies, np.sum(x**2, axis=0), 1) * (y @ y))
    others = [j for j in np.argsort(-size) if valid[j] and varies[j] and not support[j]]
    pool = [j for j in range(Q) if support[j] and varies[j]] + others[:COUNT]
    h = 1 / np.sqrt(1 + np.where(support, on, off))

    def criterion(subset):
        own = x[:, subset]
        if np.linalg.matrix_rank(own) < len(subset):  # as the first alone, and one more to pay for
            return criterion(subset[:1]) + np.log(CELLS)
        b = np.linalg.lstsq(own, y, rcond=None)[0]
        expected = np.sum((y - own @ b) ** 2) + np.sum((own @ (h[subset] * b)) ** 2)
        return CELLS * (np.log(expected / 2) - digamma(CELLS / 2)) + len(subset) * np.log(CELLS)

    total = {j: criterion([j]) for j in pool}
    for j, other in itertools.permutations(pool, 2):
        total[j] += criterion([j, other])
    return pool, sorted(total, key=lambda j: total[j])


@pytest.mark.parametrize("seed", range(12))
def test_the_candidates_of_the_best_small_subsets_stay(seed):
    x, y, support, valid = drawn(seed)
    on, off = 5.0, 0.5
    none = np.zeros(Q)
    prior = u.PriorView(
        *map(jnp.asarray, (support, 1.0 * support, none.astype(np.int32), none > 0, valid))
    )
    sums = Moments(*map(jnp.asarray, (x.T @ x, x.T @ y, y @ y, 1.0 * CELLS, none, 0.0)))
    place, real = screened(u.subset_bic(COUNT, on, off).subsets(), sums, prior, COUNT)
    pool, best = by_loops(x, y, support, valid, on, off)
    assert len(pool) > COUNT and real.all() and len(place) == COUNT
    assert set(np.asarray(place).tolist()) == set(best[:COUNT])


def test_few_candidates_all_stay():
    x, y, support, valid = drawn(0)
    few = slice(3, 6)
    prior = u.PriorView(
        *map(jnp.asarray, (support[few], 1.0 * support[few], np.zeros(3, np.int32))),
        *map(jnp.asarray, (np.zeros(3, bool), valid[few])),
    )
    x = x[:, few]
    sums = Moments(*map(jnp.asarray, (x.T @ x, x.T @ y, y @ y, 1.0 * CELLS, np.zeros(3), 0.0)))
    place, real = screened(u.subset_bic(COUNT).subsets(), sums, prior, COUNT)
    assert sorted(np.asarray(place)[np.asarray(real)].tolist()) == [0, 1, 2]
