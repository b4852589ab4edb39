"""Many small positive definite systems: against NumPy in float64, at every size and layout."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unigrn.solvers import linear

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


def random_spd(rng, count, size):
    """Well-conditioned symmetric positive definite matrices (count, size, size)."""
    x = rng.normal(size=(count, size, 2 * size + 5))
    return x @ x.transpose(0, 2, 1) / x.shape[2]


def relative(got, want):
    return np.abs(np.asarray(got, float) - want).max() / (1e-30 + np.abs(want).max())


def moments(rng, systems, q, p, cells=60):
    x = rng.normal(size=(systems, cells, q))
    return x.transpose(0, 2, 1) @ x, x.transpose(0, 2, 1) @ rng.normal(size=(systems, cells, p))


def gathered_problem(rng, count, size, systems=3, q=40, p=7):
    gram, cross = moments(rng, systems, q, p)
    index = np.argsort(rng.random((count, q)), axis=1)[:, :size].astype(np.int32)
    length = rng.integers(0, size + 1, count).astype(np.int32)
    system = rng.integers(0, systems, count).astype(np.int32)
    target = rng.integers(0, p, count).astype(np.int32)
    return gram, cross, index, length, system, target


def gathered_reference(gram, cross, index, held, system, target, ridge):
    """One `numpy.linalg.solve` per system."""
    out = np.zeros(index.shape)
    for i, row in enumerate(held):
        at = index[i, row]
        matrix = gram[system[i]][np.ix_(at, at)] + np.diag(ridge[i, row])
        out[i, row] = np.linalg.solve(matrix, cross[system[i], at, target[i]])
    return out


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "float64"), (7, "float32"), (96, "float32"), (130, "float64")]
)
def test_solve_spd_agrees_with_numpy(size, dtype):
    rng = np.random.default_rng(size)
    a, b = random_spd(rng, 5, size), rng.normal(size=(5, size, 2))
    want = np.linalg.solve(a, b)
    with jax.enable_x64(dtype == "float64"):
        for limit in (size, 0):  # the batch-last form, then the library's
            system, right = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
            got = linear.solve_spd(system, right, tile=3, limit=limit)
            assert got.x.dtype == dtype
            assert got.ok.all()
            assert relative(got.x, want) < TOLERANCE[dtype]


@pytest.mark.parametrize("size", [5])
def test_batch_last_core(size):
    rng = np.random.default_rng(size)
    a, b = random_spd(rng, 6, size), rng.normal(size=(6, size))
    with jax.enable_x64(True):
        last = jnp.asarray(np.moveaxis(a, 0, -1))
        factor = np.moveaxis(np.asarray(linear.cholesky_batch_last(last)), -1, 0)
        solved = linear.solve_spd_batch_last(last, jnp.asarray(b.T))
    assert np.array_equal(factor, np.tril(factor))
    assert relative(factor @ factor.transpose(0, 2, 1), a) < 1e-13
    assert solved.x.shape == (size, 6)
    assert relative(solved.x.T, np.linalg.solve(a, b[:, :, None])[:, :, 0]) < 1e-10


def check_gathered(problem, valid, mask, ridge, dtype, **options):
    gram, cross, index, _, system, target = problem
    full = np.broadcast_to(ridge, index.shape)
    want = gathered_reference(gram, cross, index, mask, system, target, full)
    never_read = np.where(mask, index, -(10**6))
    with jax.enable_x64(dtype == "float64"):
        got = linear.solve_gathered(
            gram.astype(dtype), cross.astype(dtype), never_read, valid, system, target, ridge,
            **options,
        )  # fmt: skip
    assert got.x.dtype == dtype
    assert got.ok.all()
    assert relative(got.x, want) < TOLERANCE[dtype]
    assert (np.asarray(got.x)[~mask] == 0).all()
    return got


@pytest.mark.parametrize(
    ("count", "size", "tile", "dtype"),
    [
        (1, 9, 64, "float64"),  # one system
        (71, 21, 16, "float32"),  # a last tile that overlaps the one before
        (64, 36, 64, "float32"),
    ],
)
def test_solve_gathered_agrees_with_numpy(count, size, tile, dtype):
    problem = gathered_problem(np.random.default_rng(count), count, size)
    length = problem[3]
    mask = np.arange(size) < length[:, None]
    check_gathered(problem, length, mask, 3.0, dtype, tile=tile)


@pytest.mark.parametrize("per_system", [False, True])
def test_solve_gathered_with_a_scattered_mask_a_ridge_per_entry_and_residuals(per_system):
    rng = np.random.default_rng(8)
    problem = gathered_problem(rng, 30, 14)
    mask = rng.random((30, 14)) < 0.7
    ridge = rng.uniform(0.5, 20, size=(30, 14) if per_system else 14)
    got = check_gathered(problem, mask, mask, ridge, "float64", tile=8, residual=True)
    assert 0 < np.asarray(got.residual).max() < 1e-14


def test_library_form_agrees_with_the_batch_last_form():
    gram, cross, index, length, system, target = gathered_problem(np.random.default_rng(3), 20, 12)
    arguments = (index, jnp.asarray(length), system, target, 2.0)
    with jax.enable_x64(True):
        gram, cross = jnp.asarray(gram), jnp.asarray(cross)
        one = linear.solve_gathered(gram, cross, *arguments, residual=True)
        other = linear._gathered_library(gram, cross, *arguments, residual=True)
    assert relative(other.x[:, :, 0], np.asarray(one.x)) < 1e-12
    assert other.ok.all()
    assert np.asarray(other.residual).max() < 1e-14


def test_inside_jit_and_outside_alike():
    problem = gathered_problem(np.random.default_rng(4), 50, 10)
    gram, cross, *rest = (v.astype("float32") if v.dtype == float else v for v in problem)
    inside = jax.jit(lambda g, c: linear.solve_gathered(g, c, *rest, 1.0, tile=16))(gram, cross)
    outside = linear.solve_gathered(gram, cross, *rest, 1.0, tile=16)
    assert relative(inside.x, np.asarray(outside.x)) < 1e-6


@pytest.mark.parametrize(("limit", "dtype"), [(128, "float32"), (0, "float64")])
def test_dependent_unknown_is_flagged_and_dropped(dtype, limit):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 50, 9))
    x[1, :, 6] = x[1, :, 2]  # a copy of an earlier column
    x[2, :, 0] = 0  # a gene that never varies
    a, y = x.transpose(0, 2, 1) @ x, rng.normal(size=(4, 50))
    b = np.einsum("nci,nc->ni", x, y)
    with jax.enable_x64(dtype == "float64"):
        got = linear.solve_spd(jnp.asarray(a, dtype), jnp.asarray(b, dtype), limit=limit)
    assert got.ok.tolist() == [True, False, False, True]
    assert np.isfinite(got.x).all()
    for i, dropped in ((0, []), (1, [6]), (2, [0]), (3, [])):
        keep = np.setdiff1d(np.arange(9), dropped)
        want = np.zeros(9)
        want[keep] = np.linalg.solve(a[i][np.ix_(keep, keep)], b[i, keep])
        assert relative(got.x[i], want) < TOLERANCE[dtype]


@pytest.mark.parametrize("limit", [128, 0])
def test_values_that_are_not_finite_stay_in_their_system(limit):
    rng = np.random.default_rng(1)
    a, b = random_spd(rng, 4, 9).astype("float32"), rng.normal(size=(4, 9)).astype("float32")
    want = np.linalg.solve(a, b[:, :, None])[:, :, 0]
    a[1, 2, 2] = np.nan
    b[3, 8] = np.inf
    got = linear.solve_spd(jnp.asarray(a), jnp.asarray(b), limit=limit)
    assert got.ok.tolist() == [True, False, True, False]
    assert (np.asarray(got.x)[1::2] == 0).all()
    assert relative(np.asarray(got.x)[::2], want[::2]) < 1e-4


def test_scale_of_an_unknown_does_not_flag_it():
    """Pivots are compared with their own diagonal, so units of a regulator do not matter."""
    rng = np.random.default_rng(2)
    scale = 10.0 ** rng.integers(-4, 5, size=9)
    a = random_spd(rng, 4, 9)
    b = rng.normal(size=(4, 9))
    want = np.linalg.solve(a, b[:, :, None])[:, :, 0]
    a, b = a * scale[:, None] * scale, b * scale
    got = linear.solve_spd(jnp.asarray(a, "float32"), jnp.asarray(b, "float32"))
    assert got.ok.all()
    assert relative(np.asarray(got.x) * scale, want) < 1e-4


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 9]), st.floats(-3, 3))
@settings(max_examples=60)
def test_solution_satisfies_its_system(seed, size, exponent):
    rng = np.random.default_rng(seed)
    a = random_spd(rng, 4, size) * 10.0**exponent
    b = rng.normal(size=(4, size))
    with jax.enable_x64(True):
        got = linear.solve_spd(jnp.asarray(a), jnp.asarray(b))
    off = np.abs(np.einsum("nij,nj->ni", a, got.x) - b)
    scale = np.einsum("nij,nj->ni", np.abs(a), np.abs(got.x)) + np.abs(b)
    assert got.ok.all()
    assert off.max() <= 1e-13 * scale.max()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gram", np.zeros((2, 4, 5))),
        ("cross", np.zeros((2, 5, 3))),
        ("index", np.zeros(6, int)),
        ("valid", np.ones((6, 2), bool)),
        ("system", np.zeros(5, int)),
        ("ridge", np.zeros(6)),
    ],
)
def test_shapes_that_disagree_are_refused(name, value):
    arguments = {
        "gram": np.zeros((2, 4, 4)),
        "cross": np.zeros((2, 4, 3)),
        "index": np.zeros((6, 3), int),
        "valid": np.ones((6, 3), bool),
        "system": np.zeros(6, int),
        "target": np.zeros(6, int),
        "ridge": 1.0,
    }
    with pytest.raises(ValueError, match=name):
        linear.solve_gathered(**(arguments | {name: value}))
    with pytest.raises(ValueError, match="need a"):
        linear.solve_spd(np.zeros((2, 3, 4)), np.zeros((2, 3)))
