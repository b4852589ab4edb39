from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests import more_originals as more
from unigrn.verify import originals_netrex as o

HERE = Path(__file__).parent / "fixtures" / "netrex_cf"
SEEDS = st.integers(0, 2**32 - 1)
SHAPES = [(7, 5, 6, 3), (4, 6, 3, 2), (6, 1, 4, 2), (1, 4, 5, 1)]  # genes, TFs, samples, features


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    """Many small systems: further threads only wait for each other on a busy machine."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


def problem_of(shape, seed=0, scale=1.0, **changes):
    """Network times activity plus noise; a prior with three levels of evidence; uneven numbers."""
    n, m, samples, _ = shape
    r = np.random.default_rng(seed)
    C = r.choice([0.0, 0.4, 3.0, 20.0], p=[0.5, 0.2, 0.2, 0.1], size=(n, m))
    C *= r.uniform(0.7, 1.3, size=(n, m))
    C[0, 0] = 2.5  # so that max(C) > 1 always
    S = r.normal(size=(n, m)) * (r.random((n, m)) < 0.5)
    E = scale * (S @ r.normal(size=(m, samples)) + 0.3 * r.normal(size=(n, samples)))
    numbers = dict(lambda_a=0.7, lambda_s=1.3, rho=0.9, eta0=0.01) | changes
    return o.netrex_cf_problem(E, C, lam=r.uniform(0.5, 3.0, size=(n, m)), **numbers)


def state_of(shape, seed=0, density=None):
    """Random blocks; by turns a full and an empty network, empty rows and empty columns."""
    n, m, samples, q = shape
    r = np.random.default_rng([seed, 1])
    density = [0.5, 1.0, 0.0, 0.3][seed % 4] if density is None else density
    Z = r.random((n, m)) < density
    if density < 1:
        Z[r.integers(n)] = False
        Z[:, r.integers(m)] &= seed % 3 > 0
    S = r.normal(size=(n, m)) * Z
    blocks = (r.normal(size=(m, samples)), r.normal(size=(q, n)), r.normal(size=(q, m)))
    return o.NetrexCFState(S, *blocks)


def naive_objective(p, s):
    """F, one entry at a time."""
    (n, m), total = s.S.shape, 0.0
    for i in range(n):
        total += sum((p.E[i, k] - s.S[i] @ s.A[:, k]) ** 2 for k in range(p.E.shape[1]))
        for j in range(m):
            R = s.X[:, i] @ s.Y[:, j]
            weight = p.lam[i, j] * p.alpha[i, j]
            target = p.P[i, j]
            if s.S[i, j] != 0:
                weight += p.lam[i, j] * p.beta[i, j]
                target = 1.0
                total += p.lambda_s * s.S[i, j] ** 2 + p.eta[i, j]
            total += weight * (target - R) ** 2
    return total + p.lambda_a * np.sum(s.A**2) + p.rho * (np.sum(s.X**2) + np.sum(s.Y**2))


def finite_difference(f, x, step=1e-6):
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        d = np.zeros(x.shape)
        d[index] = step
        gradient[index] = (f(x + d) - f(x - d)) / (2 * step)
    return gradient


# ------------------------------------------------------------------ recorded runs


def relative(got, recorded):
    return np.abs(got - recorded).max() / np.abs(recorded).max()


def check_replay(path):
    r = o.read_recorded(path)
    states = o.netrex_cf_run(r.problem, r.start, r.orders)
    assert {k for k, _ in r.blocks} >= {1, 2, 3, 10, 50}
    for (k, name), block in r.blocks.items():
        got = getattr(states[k], name)
        assert relative(got, block) < 1e-10, (k, name)
        if name == "S":
            assert_array_equal(got != 0, block != 0)
    each = [states[0]]
    for after in states[1:]:
        for name in "ASXY":
            each.append(each[-1]._replace(**{name: getattr(after, name)}))
    values = [o.netrex_cf_objective(r.problem, s) for s in each]
    assert_allclose(values, r.objective, rtol=1e-10)
    assert np.all(np.diff(values) < 1e-9 * values[0])  # an observation, not a theorem, for S
    assert_array_equal([np.count_nonzero(s.S) for s in each], r.support)
    assert relative(states[-1].X.T @ states[-1].Y, r.R) < 1e-10
    assert relative(o.netrex_cf_score(states[-1]), r.score) < 1e-10


def test_every_recorded_block_is_replayed():
    check_replay(HERE / "all_rows_60x20x30.npz")


def test_every_recorded_block_of_the_subsampled_run_is_replayed(shared):
    check_replay(shared / "fixtures" / "netrex_cf" / "subsampled_120x40x50.npz")


@pytest.mark.parametrize("name", ["lambda_a", "lambda_s", "rho", "lam", "alpha", "beta"])
def test_one_changed_number_breaks_the_replay(name):
    r = o.read_recorded(HERE / "all_rows_60x20x30.npz")
    wrong = r.problem._replace(**{name: 1.01 * getattr(r.problem, name)})
    states = o.netrex_cf_run(wrong, r.start, r.orders, iterations=3)
    assert max(relative(getattr(states[k], b), v) for (k, b), v in r.blocks.items() if k < 4) > 1e-5


def test_recorded_inputs_follow_from_the_confidence():
    r = o.read_recorded(HERE / "all_rows_60x20x30.npz")
    built = o.netrex_cf_problem(r.problem.E, r.C)
    for name in o.NetrexCF._fields:
        assert_allclose(getattr(built, name), getattr(r.problem, name), rtol=1e-14, err_msg=name)


def test_recorded_start_ends_with_a_ridge_fit_of_the_network():
    """Its strength is 0.1 and not lambda_s; the activity is half a step older."""
    r = o.read_recorded(HERE / "all_rows_60x20x30.npz")
    E, S, A = r.problem.E, r.start.S, r.start.A
    eye = np.eye(len(A))
    assert_allclose(S, E @ A.T @ np.linalg.inv(A @ A.T + 0.1 * eye), rtol=0, atol=1e-12)
    assert relative(np.linalg.solve(S.T @ S + 0.1 * eye, S.T @ E), A) > 1e-3


# ------------------------------------------------------------------ building the problem


def test_prior_keeps_the_largest_of_each_row_and_the_cut_ones_keep_their_weights():
    C = np.array([[3.0, 5.0, 0.0, 3.0], [0.0, 0.0, 0.5, 0.0]])
    p = o.netrex_cf_problem(np.zeros((2, 3)), C, lam=2.0, eta0=0.1, keep=2)
    assert_array_equal(p.P, [[1, 1, 0, 0], [0, 0, 1, 0]])
    assert_allclose(p.alpha, [[3, 5, 1, 3], [1, 1, 0.5, 1]])
    assert_allclose(p.beta, [[27, 45, 4, 27], [4, 4, 4.5, 4]])
    off = 0.1 + 2 * 1 * (1 + 1 / 4)
    cut = 0.1 + 2 * 3 * (1 + 3 / 27)
    assert_allclose(p.eta, [[0.1, 0.1, off, cut], [off, off, 0.1, off]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(C=np.array([[1.0, 0.0], [0.5, 1.0]])), r"max\(C\) > 1"),
        (dict(C=np.array([[-1.0, 2.0], [0.0, 1.0]])), "C >= 0"),
        (dict(C=np.array([[np.nan, 2.0], [0.0, 1.0]])), "NaN"),
        (dict(C=np.ones((3, 2))), "shape"),
        (dict(beta=np.zeros((2, 2))), "off the prior"),
        (dict(beta=-np.ones((2, 2))), "beta >= 0"),
        (dict(alpha=-np.ones((2, 2))), "alpha >= 0"),
        (dict(lambda_a=0.0), "lambda_a"),
        (dict(rho=-1.0), "rho"),
        (dict(eta0=0.0), "eta0"),
    ],
)
def test_bad_problems_are_refused(arguments, message):
    good = dict(E=np.ones((2, 3)), C=np.array([[2.0, 0.0], [0.0, 1.0]]))
    o.netrex_cf_problem(**good)
    with pytest.raises(ValueError, match=message):
        o.netrex_cf_problem(**(good | arguments))


def test_a_binary_prior_is_fine_with_ones_own_beta():
    C = np.eye(2)
    p = o.netrex_cf_problem(np.ones((2, 3)), C, alpha=np.ones((2, 2)), beta=9 * np.ones((2, 2)))
    assert np.isfinite(p.eta).all()


def test_blocks_of_the_wrong_shape_are_refused():
    p, s = problem_of(SHAPES[0]), state_of(SHAPES[0])
    o.netrex_cf_state(p, *s)
    for name in "SAXY":
        wrong = s._replace(**{name: getattr(s, name).T})
        with pytest.raises(ValueError, match="shape"):
            o.netrex_cf_state(p, *wrong)


# ------------------------------------------------------------------ objective, price, gradients


@pytest.mark.parametrize("shape", SHAPES)
def test_both_forms_of_the_objective_are_the_naive_sum(shape):
    for seed in range(30):
        p, s = problem_of(shape, seed), state_of(shape, seed)
        value = naive_objective(p, s)
        assert_allclose(o.netrex_cf_objective(p, s), value, rtol=1e-12)
        assert_allclose(o.netrex_cf_completed_square(p, s), value, rtol=1e-12)


def test_another_price_off_the_prior_breaks_the_second_form():
    p, s = problem_of(SHAPES[0]), state_of(SHAPES[0], density=1.0)
    for eta in (p.eta0 + p.lam * p.alpha * (p.P == 0), np.full(p.P.shape, p.eta0)):
        wrong = p._replace(eta=eta)
        gap = o.netrex_cf_objective(wrong, s) - o.netrex_cf_completed_square(wrong, s)
        assert gap < -0.1


@given(SEEDS)
@settings(max_examples=40)
def test_an_infinitesimal_edge_costs_its_price(seed):
    shape = SHAPES[seed % 2]
    p, s = problem_of(shape, seed), state_of(shape, seed)
    p = p._replace(E=np.zeros_like(p.E), lambda_s=0.0)
    h = o.netrex_cf_price(p, s.X.T @ s.Y)
    for i, j in np.ndindex(s.S.shape):
        on, off = s.S.copy(), s.S.copy()
        on[i, j], off[i, j] = 1e-30, 0.0
        on, off = (o.netrex_cf_objective(p, s._replace(S=S, A=0 * s.A)) for S in (on, off))
        assert abs(on - off - h[i, j]) < 1e-12 * (1 + abs(off) + h[i, j])


def test_price_is_least_where_its_square_vanishes():
    p = problem_of(SHAPES[0])
    r = 1 + (1 - p.P) * p.alpha / p.beta
    h = o.netrex_cf_price(p, r)
    assert_allclose(h, p.eta0)
    for other in (r - 0.1, r + 0.1):
        assert np.all(o.netrex_cf_price(p, other) > h)


@pytest.mark.parametrize("shape", SHAPES)
def test_block_gradients_are_those_of_finite_differences(shape):
    p, s = problem_of(shape), state_of(shape, density=0.5)
    gradients = o.netrex_cf_gradients(p, s)
    Z = s.S != 0
    for name in "SAXY":
        analytic = getattr(gradients, name)
        numeric = finite_difference(
            lambda v, name=name: o.netrex_cf_objective(p, s._replace(**{name: v})), getattr(s, name)
        )
        if name == "S":  # off the support F jumps
            analytic, numeric = analytic[Z], numeric[Z]
        assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-6 * np.abs(gradients.S).max())


# ------------------------------------------------------------------ block steps


def frobenius_of_features(p, s):
    """||H + rho I||_F of every gene, one at a time."""
    W, _ = o.netrex_cf_weights(p, s.S != 0)
    return np.array(
        [np.linalg.norm((s.Y * w) @ s.Y.T + p.rho * np.eye(len(s.Y)), "fro") for w in W]
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_proximal_steps_are_stationary_and_lower_the_objective_enough(shape):
    for seed in range(4):
        p, s = problem_of(shape, seed), state_of(shape, seed)
        value = o.netrex_cf_objective(p, s)
        G = s.S.T @ s.S + p.lambda_a * np.eye(len(s.A))
        flipped_p = p._replace(**{k: getattr(p, k).T for k in ("P", "lam", "alpha", "beta", "eta")})
        flipped_s = s._replace(S=s.S.T, X=s.Y, Y=s.X)
        for name, step, mu in (
            ("A", o.netrex_cf_a_step, np.linalg.norm(G)),
            ("X", o.netrex_cf_x_step, 2 * frobenius_of_features(p, s)),
            ("Y", o.netrex_cf_y_step, 2 * frobenius_of_features(flipped_p, flipped_s)),
        ):
            after = s._replace(**{name: step(p, s)})
            moved = getattr(after, name) - getattr(s, name)
            gradient = getattr(o.netrex_cf_gradients(p, after), name)
            assert_allclose(gradient + mu * moved, 0, atol=1e-10 * (1 + np.abs(mu).max()))
            fall = value - o.netrex_cf_objective(p, after)
            assert fall >= 0.5 * np.sum(mu * moved**2) - 1e-10 * value


def test_only_the_chosen_features_move_and_their_order_is_irrelevant():
    p, s = problem_of(SHAPES[0]), state_of(SHAPES[0])
    X, Y = o.netrex_cf_x_step(p, s), o.netrex_cf_y_step(p, s)
    some_x, some_y = o.netrex_cf_x_step(p, s, [5, 0]), o.netrex_cf_y_step(p, s, [3])
    assert_allclose(some_x[:, [0, 5]], X[:, [0, 5]], rtol=1e-13)
    assert_array_equal(some_x[:, [1, 2, 3, 4, 6]], s.X[:, [1, 2, 3, 4, 6]])
    assert_allclose(some_y[:, 3], Y[:, 3], rtol=1e-13)
    assert_array_equal(some_y[:, [0, 1, 2, 4]], s.Y[:, [0, 1, 2, 4]])


@pytest.mark.parametrize("given_mu", [None, 7.5])
def test_network_step_is_the_cheaper_of_two_candidates(given_mu):
    for seed in range(20):
        p, s = problem_of(SHAPES[0], seed, scale=3.0), state_of(SHAPES[0], seed)
        B = s.A @ s.A.T + p.lambda_s * np.eye(len(s.A))
        mu = np.sqrt(np.sum(B**2)) if given_mu is None else given_mu
        U = s.S - o.netrex_cf_gradients(p, s).S / mu
        h = o.netrex_cf_price(p, s.X.T @ s.Y)
        cheaper = np.where(h < mu / 2 * U**2, U, 0.0)
        assert_array_equal(cheaper != 0, (got := o.netrex_cf_s_step(p, s, given_mu)) != 0)
        assert_allclose(got, cheaper, rtol=1e-12, atol=1e-12)


def test_a_tie_in_the_network_step_goes_to_zero():
    """Here mu = 4, U = S / 2, h = 2: the threshold is exactly 1."""
    p = o.netrex_cf_problem(
        np.zeros((1, 2)), np.array([[2.0, 2.0]]), 1.0, beta=np.full((1, 2), 1.5), eta0=0.5
    )
    S = np.array([[2.0, 2.0 * (1 + 1e-15)]])
    s = o.netrex_cf_state(p, S, np.zeros((2, 2)), np.zeros((1, 1)), np.zeros((1, 2)))
    assert_array_equal(o.netrex_cf_s_step(p, s, mu=4.0) != 0, [[False, True]])


@given(SEEDS)
@settings(max_examples=60)
def test_network_step_descends_with_the_spectral_step(seed):
    shape = SHAPES[seed % 4]
    p, s = problem_of(shape, seed, scale=3.0), state_of(shape, seed)
    mu = 2 * np.linalg.norm(s.A @ s.A.T + p.lambda_s * np.eye(len(s.A)), 2)
    value = o.netrex_cf_objective(p, s)
    after = s._replace(S=o.netrex_cf_s_step(p, s, mu))
    assert o.netrex_cf_objective(p, after) <= value * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_released_network_step_can_ascend_and_oscillate(seed):
    p, s = o.netrex_cf_ascent_example(genes=3 + seed, seed=seed)
    value = o.netrex_cf_objective(p, s)
    up = s._replace(S=o.netrex_cf_s_step(p, s))
    B = np.sum(s.A**2) + p.lambda_s
    assert_allclose(up.S, 2 * p.E @ s.A.T / B, rtol=1e-12)
    assert (up.S != 0).all()
    price = o.netrex_cf_price(p, s.X.T @ s.Y).sum()
    assert_allclose(o.netrex_cf_objective(p, up) - value, price, rtol=1e-10)
    again = o.netrex_cf_s_step(p, up)
    assert_allclose(again, 0, atol=1e-10)
    safe = s._replace(S=o.netrex_cf_s_step(p, s, mu=2 * B))
    assert o.netrex_cf_objective(p, safe) <= value


def test_run_stops_at_its_tolerance_and_needs_a_length():
    p, s = problem_of(SHAPES[0]), state_of(SHAPES[0])
    states = o.netrex_cf_run(p, s, iterations=500, tolerance=1.0)
    values = [o.netrex_cf_objective(p, each) for each in states]
    falls = np.abs(np.diff(values))
    assert len(states) < 501
    assert falls[-1] < 1.0
    assert (falls[:-1] >= 1.0).all()
    with pytest.raises(ValueError, match="neither"):
        o.netrex_cf_run(p, s)
    with pytest.raises(ValueError, match="1 orders for 2"):
        o.netrex_cf_run(p, s, [([0], [0])], iterations=2)


def test_score_divides_rows_and_leaves_rows_that_sum_to_zero():
    Y = np.array([[1.0, 3.0], [0.0, 0.0]])
    s = o.NetrexCFState(None, None, np.array([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), Y)
    assert_allclose(o.netrex_cf_score(s), [[0.25, 0.75], [0, 0], [0.25, 0.75]])


# ------------------------------------------------------------------ start


def test_start_is_that_of_loops():
    r = np.random.default_rng(4)
    n, m, rows, columns = 9, 6, 2, 3
    E, X, Y = r.normal(size=(n, 8)), r.normal(size=(3, n)), r.normal(size=(3, m))
    X[:, 4] = 0  # a gene whose R is zero gets no edge for its own sake
    R = X.T @ Y
    support = np.zeros((n, m), dtype=bool)
    for i in range(n):
        for j in sorted(range(m), key=lambda j: -R[i, j])[: min(rows, np.count_nonzero(R[i]))]:
            support[i, j] = True
    for j in range(m):
        for i in sorted(range(n), key=lambda i: -R[i, j])[:columns]:
            support[i, j] = True
    assert len(np.unique(support.T, axis=0)) == m  # else rounding decides the outcome
    S = support.astype(float)
    for _ in range(20):
        A = np.linalg.inv(S.T @ S + 0.1 * np.eye(m)) @ S.T @ E
        S = np.zeros((n, m))
        for i in range(n):
            J = np.flatnonzero(support[i])
            S[i, J] = E[i] @ A[J].T @ np.linalg.inv(A[J] @ A[J].T + 0.1 * np.eye(len(J)))
    got = o.netrex_cf_start(E, X, Y, rows, columns)
    assert_array_equal(got.S != 0, support)
    assert_allclose(got.S, S, rtol=1e-8, atol=1e-10)
    assert_allclose(got.A, A, rtol=1e-8, atol=1e-10)


def test_a_start_with_full_support_has_rank_one_until_rounding_grows():
    r = np.random.default_rng(0)
    E, X, Y = r.normal(size=(8, 6)) + 1, r.normal(size=(2, 8)), r.normal(size=(2, 4))
    S = o.netrex_cf_start(E, X, Y, alternations=2).S
    s = np.linalg.svd(S, compute_uv=False)
    assert s[1] < 1e-9 * s[0]


def test_weights_of_the_starting_factorisation():
    W, T = more.netrex_cf_als_weights(np.array([[0.1, 0.0, 3.0, 2.0], [0, 0, 0, 0.5]]), rows=2)
    assert_allclose(W, [[1, 1, 150, 100], [1, 1, 1, 25]])
    assert_array_equal(T, [[0, 0, 1, 1], [0, 0, 0, 1]])


# ------------------------------------------------------------------ exact pieces


@pytest.mark.parametrize("shape", SHAPES)
def test_data_term_two_ways_and_its_gradient(shape):
    p, s = problem_of(shape), state_of(shape, density=1.0)
    value, A = o.l_data(p.E, s.S, p.lambda_a)
    direct = np.sum((p.E - s.S @ A) ** 2) + p.lambda_a * np.sum(A**2)
    assert_allclose(value, direct, rtol=1e-12)
    assert_allclose(o.l_data_trace(p.E, s.S, p.lambda_a), direct, rtol=1e-12)
    r = np.random.default_rng(0)
    for _ in range(10):
        other = A + 1e-2 * r.normal(size=A.shape)
        assert np.sum((p.E - s.S @ other) ** 2) + p.lambda_a * np.sum(other**2) > direct
    numeric = finite_difference(lambda S: o.l_data_trace(p.E, S, p.lambda_a), s.S)
    assert_allclose(o.l_data_gradient(p.E, s.S, p.lambda_a), numeric, rtol=1e-6, atol=1e-6)


def test_balanced_factors_attain_the_nuclear_norm():
    r = np.random.default_rng(0)
    for q in (2, 3, 7):
        X, Y = r.normal(size=(2, 6)), r.normal(size=(2, 4))
        R = X.T @ Y
        U, V = o.balanced_factors(R, q)
        assert U.shape == (q, 6) and V.shape == (q, 4)
        assert_allclose(U.T @ V, R, atol=1e-12)
        assert_allclose(U @ U.T, V @ V.T, atol=1e-12)
        assert_allclose(np.sum(U**2) + np.sum(V**2), 2 * np.linalg.norm(R, "nuc"))
        assert np.sum(X**2) + np.sum(Y**2) > 2 * np.linalg.norm(R, "nuc")


def test_features_of_a_support_solve_the_convex_problem_where_enough_of_them():
    p = problem_of((9, 6, 4, 6), seed=2)
    Z = state_of((9, 6, 4, 6), density=0.4).S != 0
    W, T = o.netrex_cf_weights(p, Z)
    R, value, gap = o.nuclear_norm_minimum(W, T, p.rho)
    assert_allclose(np.sum(W * (T - R) ** 2) + 2 * p.rho * np.linalg.norm(R, "nuc"), value)
    assert -1e-10 < gap <= 1e-12 * (1 + value)
    for tolerance in (1.0, 0.1, 1e-3):  # stopped early, the bracket still holds the minimum
        _, early, gap = o.nuclear_norm_minimum(W, T, p.rho, tolerance)
        assert gap > 1e-6 and early - gap <= value + 1e-9 and value <= early + 1e-9
    price = p.eta[Z].sum()
    rank = np.linalg.matrix_rank(R, tol=1e-6)
    for q in (6, 8):
        phi, X, Y = o.netrex_cf_phi(p, Z, q)
        assert_allclose(phi, value + price, rtol=1e-10)
        assert_allclose(X.T @ Y, R, atol=1e-5)
        assert_allclose(X @ X.T, Y @ Y.T, atol=1e-8)
    assert rank > 2
    phi, X, Y = o.netrex_cf_phi(p, Z, 2, restarts=10)
    assert phi > value + price + 0.1  # too few features: a lower bound only
    h = o.netrex_cf_price(p, X.T @ Y)
    implicit = o.weighted_als_objective(p.lam * p.alpha, p.P, X, Y, p.rho)
    assert_allclose(phi, implicit + h[Z].sum(), rtol=1e-12)
    s = o.NetrexCFState(Z * 1.0, np.zeros((6, 4)), X, Y)
    gradients = o.netrex_cf_gradients(p, s)
    assert_allclose(gradients.X, 0, atol=1e-5)
    assert_allclose(gradients.Y, 0, atol=1e-5)


def test_few_features_suffice_where_the_convex_optimum_has_low_rank():
    p = problem_of((9, 6, 4, 6), seed=2, rho=25.0)
    Z = np.zeros((9, 6), dtype=bool)
    R, value, _ = o.nuclear_norm_minimum(*o.netrex_cf_weights(p, Z), p.rho)
    rank = np.linalg.matrix_rank(R, tol=1e-6)
    assert 1 <= rank < 5
    assert_allclose(o.netrex_cf_phi(p, Z, rank, restarts=10)[0], value, rtol=1e-9)


def test_nuclear_norm_problem_says_when_it_did_not_converge():
    with pytest.raises(RuntimeError, match="duality gap"):
        o.nuclear_norm_minimum(np.ones((4, 4)), np.eye(4), 0.1, tolerance=-1.0, iterations=5)


@pytest.mark.parametrize(("n", "m", "samples"), [(5, 4, 3), (4, 6, 9), (8, 3, 7), (6, 1, 5)])
def test_full_support_has_its_closed_form(n, m, samples):
    """The last two have fewer regulators than min(n, samples)."""
    for seed, scale in enumerate((0.5, 1.0, 3.0)):
        E = scale * np.random.default_rng(seed).normal(size=(n, samples))
        value, S, A = o.restricted_minimum(E, np.ones((n, m)), 0.7, 1.3)
        assert_allclose(value, o.full_support_minimum(E, m, 0.7, 1.3), rtol=1e-8)
        total = np.sum((E - S @ A) ** 2) + 0.7 * np.sum(A**2) + 1.3 * np.sum(S**2)
        assert_allclose(total, value, rtol=1e-12)


def test_fit_on_a_support_is_that_of_a_quasi_newton_method():
    from scipy.optimize import minimize

    r = np.random.default_rng(5)
    E, Z = 3 * r.normal(size=(5, 6)), r.random((5, 4)) < 0.5

    def reduced(v):
        S = np.zeros(Z.shape)
        S[Z] = v
        gradient = o.l_data_gradient(E, S, 0.7) + 2 * 1.3 * S
        return o.l_data(E, S, 0.7)[0] + 1.3 * np.sum(v**2), gradient[Z]

    best = min(
        minimize(reduced, r.normal(size=Z.sum()), jac=True, method="L-BFGS-B", tol=1e-14).fun
        for _ in range(10)
    )
    value, S, _ = o.restricted_minimum(E, Z, 0.7, 1.3, restarts=10)
    assert not S[~Z].any()
    assert_allclose(value, best, rtol=1e-7)


@pytest.fixture(scope="module")
def tiny():
    """Two genes, three regulators, two features, and every support tried."""
    p = problem_of((2, 3, 4, 2), seed=11, scale=3.0)
    return p, o.netrex_cf_brute_force(p, 2, restarts=4)


def test_price_of_a_support_grows_with_it(tiny):
    p, brute = tiny
    narrow = np.array([o.netrex_cf_phi(p, Z, 1, restarts=8)[0] for Z in brute.supports])
    for phi in (brute.phi, narrow):
        for Z, value in zip(brute.supports, phi, strict=True):
            larger = (brute.supports | Z == brute.supports).all(axis=(1, 2))
            assert np.all(phi[larger] >= value - 1e-8)
    assert np.all(narrow >= brute.phi - 1e-8)


def test_reduced_objective_is_the_infimum_over_the_other_blocks(tiny):
    p, brute = tiny
    r = np.random.default_rng(0)
    for k in (5, 21, 63):
        S = brute.supports[k] * r.normal(size=(2, 3))
        data, A = o.l_data(p.E, S, p.lambda_a)
        phi, X, Y = o.netrex_cf_phi(p, S != 0, 2)
        reduced = data + p.lambda_s * np.sum(S**2) + phi
        assert_allclose(o.netrex_cf_objective(p, o.NetrexCFState(S, A, X, Y)), reduced, rtol=1e-12)
        for size in (1e-3, 1e-1, 1.0):
            near = (v + size * r.normal(size=v.shape) for v in (A, X, Y))
            assert o.netrex_cf_objective(p, o.NetrexCFState(S, *near)) > reduced


def test_brute_force_is_the_best_that_the_block_method_finds(tiny):
    p, brute = tiny
    value, r = brute.value, np.random.default_rng(0)
    assert_allclose(o.netrex_cf_objective(p, brute.state), value, rtol=1e-12)
    assert brute.values.min() == value
    assert 0 < np.count_nonzero(brute.state.S) < 6
    assert np.sort(brute.values)[1] > value + 1e-3  # so that the support is unique
    ends = []
    for Z in brute.supports:
        S, A = Z * r.normal(size=(2, 3)), r.normal(size=(3, 4))
        start = o.NetrexCFState(S, A, *o.netrex_cf_phi(p, Z, 2, restarts=1, sweeps=50)[1:])
        end = o.netrex_cf_run(p, start, iterations=150)[-1]
        ends.append((o.netrex_cf_objective(p, end), end))
    assert min(v for v, _ in ends) >= value - 1e-9 * value
    best, end = min(ends, key=lambda pair: pair[0])
    assert_allclose(best, value, rtol=1e-6)
    assert_array_equal(end.S != 0, brute.state.S != 0)
    residual = o.netrex_cf_residual(p, brute.state)
    assert max(residual[:3]) < 1e-6 and residual.flips == 0


def test_brute_force_refuses_more_than_ten_edges():
    with pytest.raises(ValueError, match="at most 10"):
        o.netrex_cf_brute_force(problem_of((4, 3, 4, 2)), 2)


# ------------------------------------------------------------------ certificates, invariances


@pytest.fixture(scope="module")
def converged():
    """A run until the map stands still; X and Y are rebalanced, which only speeds their drift."""
    shape = (10, 6, 8, 4)
    p, s = problem_of(shape, seed=1, scale=4.0), state_of(shape, seed=1)
    for _ in range(40):
        s = o.netrex_cf_run(p, s, iterations=100)[-1]
        X, Y = o.balanced_factors(s.X.T @ s.Y, 4)
        s = s._replace(X=X, Y=Y)
        if max(o.netrex_cf_residual(p, s)) < 1e-13:
            break
    return p, s


def test_converged_run_stands_still_and_is_balanced(converged):
    p, s = converged
    residual = o.netrex_cf_residual(p, s)
    assert max(residual[:3]) < 1e-8 and residual.flips == 0
    assert 0 < np.count_nonzero(s.S) < s.S.size
    a, b = o.netrex_cf_run(p, s, iterations=1)
    fall = o.netrex_cf_objective(p, a) - o.netrex_cf_objective(p, b)
    assert abs(fall) < 1e-10 * (1 + abs(o.netrex_cf_objective(p, a)))
    assert o.netrex_cf_balance(p, s).max() < 1e-8
    gradients = o.netrex_cf_gradients(p, s)
    on = s.S != 0
    scale = np.abs(p.E).max() * np.abs(s.A).max()
    for part in (gradients.S[on], gradients.A, gradients.X, gradients.Y):
        assert np.abs(part).max() < 1e-7 * (1 + scale)


def test_fixed_points_stay_fixed_for_a_larger_mu(converged):
    """|gradient| <= sqrt(2 h mu) off the support and |S| > sqrt(2 h / mu) on it only relax."""
    p, s = converged
    mu = np.linalg.norm(s.A @ s.A.T + p.lambda_s * np.eye(len(s.A)))
    for factor in (1, 2, 4):
        assert o.netrex_cf_residual(p, s, mu * factor).flips == 0
    assert o.netrex_cf_residual(p, s, mu / 50).flips > 0


def test_residual_and_balance_see_a_disturbed_state(converged):
    p, s = converged
    assert o.netrex_cf_residual(p, s._replace(S=1.01 * s.S)).S > 1e-4
    assert o.netrex_cf_residual(p, s._replace(X=1.01 * s.X)).R > 1e-4
    assert o.netrex_cf_balance(p, s._replace(S=1.01 * s.S)).max() > 5e-3
    wrong = p._replace(lambda_a=1.02 * p.lambda_a)
    assert o.netrex_cf_balance(wrong, s).max() > 5e-3
    empty = s._replace(S=0 * s.S, A=0 * s.A)
    assert_array_equal(o.netrex_cf_balance(p, empty), np.zeros(6))


@given(SEEDS)
@settings(max_examples=40)
def test_objective_does_not_see_signs_of_regulators_nor_rotations_of_features(seed):
    shape = SHAPES[seed % 4]
    p, s = problem_of(shape, seed), state_of(shape, seed, density=0.8)
    r = np.random.default_rng(seed)
    value = o.netrex_cf_objective(p, s)
    signs = r.choice([-1.0, 1.0], size=shape[1])
    Q, _ = np.linalg.qr(r.normal(size=(shape[3], shape[3])))
    same = more.netrex_cf_rotate(more.netrex_cf_rescale(s, signs), Q)
    assert_allclose(o.netrex_cf_objective(p, same), value, rtol=1e-12)
    scaled = more.netrex_cf_rescale(s, np.full(shape[1], 3.0))
    assert_allclose(scaled.S @ scaled.A, s.S @ s.A, atol=1e-12)
    assert abs(o.netrex_cf_objective(p, scaled) - value) > 1e-6 * value
    assert abs(o.netrex_cf_objective(p, more.netrex_cf_rotate(s, 1.5 * Q)) - value) > 1e-6 * value


# ------------------------------------------------------------------ the literature's sketch


@given(SEEDS)
@settings(max_examples=40)
def test_sketch_with_indicator_is_the_released_objective(seed):
    shape = SHAPES[seed % 2]
    r = np.random.default_rng(seed)
    s = state_of(shape, seed, density=0.6)
    layers = r.choice([0.0, 0.0, 0.5, 2.0], size=(3, *s.S.shape))
    a, a1, a2, kappa, lam = r.uniform(0.5, 3.0, size=5)
    eta = r.uniform(0.1, 2.0, size=s.S.shape)
    E = r.normal(size=(shape[0], shape[2]))
    C, B = 1 + a * layers.sum(axis=0), (layers.sum(axis=0) > 0) * 1.0
    beta = a1 * C * B + a2 * (1 - B)
    p = o.NetrexCF(E, B, np.ones_like(C), C, beta, eta, kappa, lam, 0.0, 0.1)
    numbers = (a, a1, a2, kappa, lam, eta)
    value = o.netrex_cf_sketch_objective(E, layers, *s, *numbers)
    assert_allclose(value, naive_objective(p, s), rtol=1e-12)
    summed = o.netrex_cf_sketch_objective(E, layers.sum(axis=0), *s, *numbers)
    assert_allclose(summed, value, rtol=1e-13)
    # The absolute value is another function, except where it is 0 or 1.
    other = o.netrex_cf_sketch_objective(E, layers, *s, *numbers, absolute=True)
    assert not s.S.any() or abs(other - value) > 1e-6 * value
    s = s._replace(S=np.sign(s.S))
    both = [
        o.netrex_cf_sketch_objective(E, layers, *s, *numbers, absolute=k) for k in (False, True)
    ]
    assert_allclose(both[0], both[1], rtol=1e-13)


# ------------------------------------------------------------------ NetREX (2018)


def netrex_of(seed=0, n=8, m=4, samples=9, keep=7, add=3, threshold=0.3, **changes):
    r = np.random.default_rng(seed)
    S = r.normal(size=(n, m)) * (r.random((n, m)) < 0.5)
    E = S @ r.normal(size=(m, samples)) + 0.3 * r.normal(size=(n, samples))
    prior = r.random((n, m)) < 0.5
    L = o.netrex_laplacian(E, threshold)
    return o.netrex_problem(E, prior, L, keep, add, **changes)


def test_netrex_objective_is_the_naive_sum():
    p = netrex_of(kappa=0.3, mu=0.8, xi=0.6)
    r = np.random.default_rng(1)
    S, A = r.normal(size=(8, 4)), r.normal(size=(4, 9))
    total = sum(0.5 * (p.E[i, k] - S[i] @ A[:, k]) ** 2 for i in range(8) for k in range(9))
    total += 0.3 * sum(S[:, j] @ p.laplacian @ S[:, j] for j in range(4))
    total += 0.8 * sum(a**2 for a in A.ravel()) + 0.6 * sum(s**2 for s in S.ravel())
    assert_allclose(o.netrex_objective(p, S, A), total, rtol=1e-12)


def test_laplacians_have_their_quadratic_forms():
    E = np.random.default_rng(0).normal(size=(6, 5))
    W = np.corrcoef(E)
    edges = [(i, j) for i in range(6) for j in range(i) if abs(W[i, j]) > 0.3]
    assert any(W[e] < 0 for e in edges) and any(W[e] > 0 for e in edges) and len(edges) < 15
    x = np.random.default_rng(1).normal(size=6)
    forms = {
        "unsigned": sum(abs(W[e]) * (x[e[0]] - x[e[1]]) ** 2 for e in edges),
        "signed": sum(abs(W[e]) * (x[e[0]] - np.sign(W[e]) * x[e[1]]) ** 2 for e in edges),
        "released": sum(W[e] * (x[e[0]] - x[e[1]]) ** 2 for e in edges),
    }
    for kind, form in forms.items():
        L = o.netrex_laplacian(E, 0.3, kind)
        assert_allclose(x @ L @ x, form, rtol=1e-12)
        assert_array_equal(L, L.T)
        assert (np.linalg.eigvalsh(L)[0] > -1e-12) == (kind != "released")
    assert not o.netrex_laplacian(E, 1.0).any()


def test_bad_netrex_input_is_refused():
    E = np.random.default_rng(0).normal(size=(3, 5))
    L, prior = np.zeros((3, 3)), np.ones((3, 2))
    with pytest.raises(ValueError, match="do not vary"):
        o.netrex_laplacian(np.vstack([E, np.ones(5)]), 0.5)
    with pytest.raises(ValueError, match="kind="):
        o.netrex_laplacian(E, 0.5, "other")
    with pytest.raises(ValueError, match="asymmetric"):
        o.netrex_problem(E, prior, np.triu(np.ones((3, 3))), 1, 1)
    with pytest.raises(ValueError, match="budgets"):
        o.netrex_problem(E, prior, L, -1, 1)
    with pytest.raises(ValueError, match="shape"):
        o.netrex_problem(E, prior[:2], L, 1, 1)
    with pytest.raises(ValueError, match="ranking="):
        o.netrex_project(np.ones((2, 2)), np.ones((2, 2), dtype=bool), 1, 1, 1.0, "other")
    with pytest.raises(ValueError, match="at most 10"):
        o.netrex_project_exhaustive(np.ones((4, 3)), np.ones((4, 3), dtype=bool), 1, 1, 1.0)


def test_budgets_are_shares_of_the_prior():
    assert o.netrex_budgets(16, 0.6, 1.2) == (10, 9)
    assert o.netrex_budgets(16, 1.0, 1.0) == (16, 0)
    with pytest.raises(ValueError, match="keep_share"):
        o.netrex_budgets(16, 0.8, 0.5)


@given(SEEDS, st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.3, 1.0, 10.0]))
@settings(max_examples=100)
def test_projection_is_the_nearest_feasible_matrix(seed, keep, add, bound):
    r = np.random.default_rng(seed)
    U, prior = r.normal(size=(3, 3)), r.random((3, 3)) < 0.5
    got = o.netrex_project(U, prior, keep, add, bound)
    assert_allclose(got, o.netrex_project_exhaustive(U, prior, keep, add, bound))
    released = o.netrex_project(U, prior, keep, add, bound, "released")
    outside = np.abs(U) > bound
    if outside[prior].sum() <= keep and outside[~prior].sum() <= add:
        assert_array_equal(released, got)
    assert np.sum((released - U) ** 2) >= np.sum((got - U) ** 2) - 1e-12
    for S in (got, released):
        assert np.count_nonzero(S[prior]) <= keep and np.count_nonzero(S[~prior]) <= add
        assert np.abs(S).max() <= bound


def test_released_ranking_misses_the_nearest_one_where_entries_saturate():
    U, on = np.array([[1.5, -3.0, 0.2]]), np.ones((1, 3), dtype=bool)
    assert_array_equal(o.netrex_project(U, on, 1, 0, 1.0), [[0, -1, 0]])
    assert_array_equal(o.netrex_project(U, on, 1, 0, 1.0, "released"), [[1, 0, 0]])


def test_ties_of_the_projection_go_to_the_lower_position_and_no_budget_keeps_nothing():
    U = np.array([[0.5, -0.5], [0.5, 0.5]])
    prior = np.array([[False, True], [True, False]])
    assert_array_equal(o.netrex_project(U, prior, 1, 1, 1.0), [[0.5, -0.5], [0, 0]])
    assert_array_equal(o.netrex_project(U, prior, 0, 1, 1.0), [[0.5, 0], [0, 0]])
    assert not o.netrex_project(U, prior, 0, 0, 1.0).any()


def test_netrex_start_solves_its_two_systems():
    from scipy.linalg import solve_sylvester

    for bound in (1.0, 100.0):
        p = netrex_of(2, kappa=0.5, mu=0.8, xi=0.6, bound_s=bound, bound_a=bound)
        S, A = more.netrex_start(p)
        S0 = p.prior.astype(float)
        raw = np.linalg.inv(S0.T @ S0 + 0.8 * np.eye(4)) @ S0.T @ p.E
        assert_allclose(A, np.clip(raw, -bound, bound), atol=1e-12)
        left = 2 * 0.5 * p.laplacian + 2 * 0.6 * np.eye(8)
        raw = solve_sylvester(left, A @ A.T, p.E @ A.T)
        assert_allclose(S, np.clip(raw, -bound, bound), atol=1e-10)
        assert not o.netrex_feasible(p, S, A)  # dense: the budgets come with the first step
        if bound > 1:  # S minimises the objective, given A
            free = finite_difference(lambda v, p=p, A=A: o.netrex_objective(p, v, A), S)
            assert_allclose(free, 0, atol=1e-5)
    singular = p._replace(laplacian=-0.6 / 0.5 * np.eye(8) + 0 * p.laplacian, E=0 * p.E)
    with pytest.raises(ValueError, match="not unique"):
        more.netrex_start(singular)


def test_netrex_steps_are_proximal_gradient_steps():
    p = netrex_of(3, keep=40, add=40, kappa=0.5, mu=0.8, xi=0.6, bound_s=50.0, bound_a=0.5)
    r = np.random.default_rng(0)
    S, A = r.normal(size=(8, 4)), r.normal(size=(4, 9))
    c = np.sqrt(np.sum((A @ A.T) ** 2)) + 2 * 0.5 * np.sqrt(np.sum(p.laplacian**2))
    gradient = finite_difference(lambda v: o.netrex_objective(p, v, A), S)
    assert_allclose(o.netrex_s_step(p, S, A), S - gradient / c, atol=1e-6)
    assert_allclose(o.netrex_s_step(p, S, A, curvature=2 * c), S - gradient / (2 * c), atol=1e-6)
    # A: entrywise the least of d/2 (a - V)^2 + mu a^2 on the box, over a grid.
    d = np.sqrt(np.sum((S @ S.T) ** 2))
    smooth = finite_difference(lambda v: 0.5 * np.sum((p.E - S @ v) ** 2), A)
    grid = np.linspace(-0.5, 0.5, 10001)
    cost = d / 2 * (grid - (A - smooth / d)[..., None]) ** 2 + 0.8 * grid**2
    got = more.netrex_a_step(p, S, A)
    assert_allclose(got, grid[cost.argmin(axis=-1)], atol=6e-5)
    assert (np.abs(got) == 0.5).any() and (np.abs(got) < 0.5).any()
    assert_array_equal(more.netrex_a_step(p, 0 * S, A), 0 * A)


@pytest.mark.parametrize("seed", range(4))
def test_netrex_descends_within_its_budgets(seed):
    p = netrex_of(seed, kappa=0.5)
    S, A = more.netrex_start(p)
    S = o.netrex_project(S, p.prior, p.keep, p.add, p.bound_s)
    value = o.netrex_objective(p, S, A)
    for _ in range(100):
        gram, L = np.linalg.norm(A @ A.T, 2), np.linalg.norm(p.laplacian, 2)
        for step in ("S", "A"):
            if step == "S":
                S = o.netrex_s_step(p, S, A, curvature=gram + 2 * p.kappa * L + 2 * p.xi)
            else:
                A = more.netrex_a_step(p, S, A)
            assert o.netrex_feasible(p, S, A)
            value, old = o.netrex_objective(p, S, A), value
            assert value <= old * (1 + 1e-12)


@pytest.mark.parametrize("ranking", ["exact", "released"])
def test_netrex_run_ends_at_a_fixed_point(ranking):
    p = netrex_of(1)
    S, A, history = more.netrex_run(p, *more.netrex_start(p), iterations=5000, ranking=ranking)
    assert 2 < len(history) < 5001
    assert_allclose(history[-1], o.netrex_objective(p, S, A), rtol=1e-14)
    assert np.all(np.diff(history[1:]) <= 1e-10)
    assert o.netrex_feasible(p, S, A)
    assert np.count_nonzero(S[p.prior]) == p.keep and np.count_nonzero(S[~p.prior]) == p.add
    again = o.netrex_s_step(p, S, A, ranking)
    assert_array_equal(again != 0, S != 0)
    assert_allclose(again, S, atol=1e-4)
    assert_allclose(more.netrex_a_step(p, S, A), A, atol=1e-4)


@pytest.mark.parametrize("refit", [True, False])
def test_confidence_is_that_of_dropping_each_edge(refit):
    r = np.random.default_rng(4)
    S = r.normal(size=(10, 5)) * (r.random((10, 5)) < 0.6)
    S[3] = 0
    A = r.normal(size=(5, 12))
    E = S @ A + r.normal(size=(10, 12))
    S += 0.5 * (S != 0) * r.normal(size=S.shape)  # no least-squares fit
    got = o.netrex_confidence(E, S, A, refit)
    assert_allclose(got, o.netrex_confidence_naive(E, S, A, refit), rtol=1e-9, atol=1e-12)
    assert not got[S == 0].any() and (got < 1).all() and got.max() > 0.3
    assert (got >= 0).all()
    assert (got[S != 0] > 0).all() == refit  # without a fit an edge may do harm: 0
    scaled = o.netrex_confidence(E, 3 * S, A, refit)
    assert np.allclose(scaled, got) == refit


def test_confidence_refuses_dependent_activities():
    A = np.ones((2, 5))
    with pytest.raises(ValueError, match="linearly dependent"):
        o.netrex_confidence(np.ones((1, 5)), np.ones((1, 2)), A)
    assert np.isfinite(o.netrex_confidence(np.ones((1, 5)), np.ones((1, 2)), A, False)).all()
