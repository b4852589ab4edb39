"""NetREX-CF, its sketch and NetREX against independent NumPy originals and recorded runs.

T1 to T11 number the checks of the method's page. The originals take genes x regulators; unigrn's
theta is regulators x targets. Shapes are few, since each compiles; examples share a compiled call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import unigrn
from unigrn import Data, Prior, Spec, Step, component_analysis, laplacian, planner, ridge
from unigrn.backend import over_starts
from unigrn.constraints import Box, Budget
from unigrn.filtering import Collaborative, collaborative
from unigrn.kernels import Symmetric, largest, places
from unigrn.methods.netrex import Ranks, netrex
from unigrn.methods.netrex import Start as NetrexStart
from unigrn.methods.netrex_cf import (
    Start,
    balanced,
    drop_one,
    netrex_cf,
    netrex_cf_sketch,
    positive_activity,
    row_normalised,
)
from unigrn.replicates import Starts
from unigrn.run import coupled, finish
from unigrn.run.state import Grid
from unigrn.solvers import columns, palm
from unigrn.spec import Shape, Slots
from unigrn.status import WORST, Status
from unigrn.terms import AXES, Blocks, PriorView, Squares, View, joint
from unigrn.verify import originals_netrex as o
from unigrn.verify import replay_netrex_cf

HERE = Path(__file__).parent / "fixtures" / "netrex_cf" / "all_rows_60x20x30.npz"
LIMIT, RULE, DONE, SPENT, STALL = (Status(s).message for s in (2, 1, 0, 9, 11))
N, M, L, Q, COUNT = 7, 5, 6, 3, 300  # genes, regulators, samples, factors, examples
HYPER = dict(
    evidence=(0.8, 2.0, 3.0),
    strength=0.7,
    boost=4.0,
    floor=0.05,
    ridge_activity=0.7,
    ridge_network=1.3,
    ridge_factors=0.9,
)
SAFE, RELEASED = (netrex_cf(None, Q, steps=s, **HYPER) for s in ("safe", "released"))


@pytest.fixture(autouse=True, scope="module")
def settings_of_this_file():
    """Double precision; and one BLAS thread, since further ones only wait for each other."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), jax.enable_x64(True):
        yield


# ------------------------------------------------------------------ both sides of an instance


class Case(NamedTuple):
    problem: o.NetrexCF
    state: o.NetrexCFState
    layers: np.ndarray  # (layers, genes, regulators)
    x: np.ndarray  # (samples, regulators)


def confidence_of(layers, multipliers):
    """C, one entry at a time; with fewer layers than multipliers the last of these count."""
    known = ([multipliers[0]] * len(layers) + list(multipliers))[-len(layers) :]
    C = np.zeros(layers.shape[1:])
    for i, j in np.ndindex(C.shape):
        named = [layer[i, j] / layer.max() for layer in layers if layer[i, j] > 0]
        C[i, j] = known[len(named) - 1] * sum(named) if named else 0
    return C


def case_of(seed, shape=(N, M, L, Q), layers=3):
    """By turns a full, an empty and two sparse networks, with empty rows and columns."""
    (n, m, samples, q), r = shape, np.random.default_rng(seed)
    P = r.uniform(0.2, 2.0, size=(layers, n, m)) * (r.random((layers, n, m)) < 0.4)
    P[:, 0, 0] = [2.0] * layers
    S = r.normal(size=(n, m)) * (r.random((n, m)) < 0.5)
    E = [0.3, 1.0, 3.0][seed % 3] * (S @ r.normal(size=(m, samples)) + r.normal(size=(n, samples)))
    Z = r.random((n, m)) < [0.5, 1.0, 0.0, 0.3][seed % 4]
    if seed % 4 != 1:
        Z[r.integers(n)] = False
        Z[:, r.integers(m)] &= seed % 3 > 0
    state = o.NetrexCFState(
        r.normal(size=(n, m)) * Z,
        r.normal(size=(m, samples)),
        0.7 * r.normal(size=(q, n)),
        0.7 * r.normal(size=(q, m)),
    )
    C = confidence_of(P, HYPER["evidence"])
    return Case(problem_of(E, C, HYPER), state, P, r.normal(size=(samples, m)))


def problem_of(E, C, hyper, keep=200):
    """The original with the weights of `unigrn.collaborative`."""
    beta = np.where(C > 0, hyper["boost"] * C, C.max() - 1)
    return o.netrex_cf_problem(
        E,
        C,
        hyper["strength"],
        None,
        beta,
        hyper["floor"],
        hyper["ridge_activity"],
        hyper["ridge_network"],
        hyper["ridge_factors"],
        keep,
    )


def blocks_of(state):
    return Blocks(theta=state.S.T, A=state.A, U=state.X, V=state.Y)


def state_of(params):
    return o.NetrexCFState(*(np.asarray(v) for v in (params.theta.T, params.A, params.U, params.V)))


def sides(case, pad=(0, 0, 0)):
    """Blocks, data and prior as unigrn sees them; ``pad`` more regulators, targets, cells."""
    q, p, c = ((0, k) for k in pad)
    fill = np.pad
    b = blocks_of(case.state)
    params = Blocks(
        theta=fill(b.theta, (q, p)),
        A=fill(b.A, (q, c)),
        U=fill(b.U, ((0, 0), p)),
        V=fill(b.V, ((0, 0), q)),
    )
    view = View(
        None, fill(case.x, (c, q)), fill(case.problem.E.T, (c, p)), fill(np.ones(len(case.x)), c)
    )
    layers = {f"l{k}": fill(v.T, (q, p)) for k, v in enumerate(case.layers)}
    weight = sum(layers.values())
    valid = fill(np.ones(case.state.S.T.shape), (q, p)) > 0
    return (
        params,
        view,
        PriorView(weight > 0, weight, np.zeros(weight.shape, np.int32), weight < 0, valid, layers),
    )


def stack(items):
    return jax.tree.map(lambda *v: np.stack(v), *items)


def pick(tree, i):
    return jax.tree.map(lambda v: np.asarray(v[i]), tree)


def plain_spec(problem, start=None, steps=RELEASED.sweeps):
    """The objective of a problem with weights of its own."""
    filtering = Collaborative(
        problem.P.T, (problem.lam * problem.alpha).T, (problem.lam * problem.beta).T, problem.eta0
    )
    return Spec(
        component_analysis(),
        ridge(problem.lambda_s)
        + ridge(problem.lambda_a, "A")
        + filtering
        + ridge(problem.rho, "U")
        + ridge(problem.rho, "V"),
        start=start,
        sweeps=steps,
    )


@partial(jax.jit, static_argnames=("shape",))
def each_step(shape, terms, params, view, prior):
    """Blocks and objective at the start and after each step of a sweep, example by example."""

    def one(params, view, prior):
        ready = tuple(t.prepare(view, prior) for t in terms)
        found = [params]
        for step in shape.steps:
            alone = Slots(Shape(shape.counts, (step,)), ready)
            found.append(palm.sweep(alone, found[-1], view, prior, {}))
        return found, [palm.objective(Slots(shape, ready), p, view, prior) for p in found]

    return jax.vmap(one)(params, view, prior)


@partial(jax.jit, static_argnames=("shape",))
def sweeps(shape, terms, params, view, prior, count):
    """Many sweeps, example by example."""

    def one(params, view, prior):
        spec = Slots(shape, tuple(t.prepare(view, prior) for t in terms))
        params = jax.lax.fori_loop(
            0, count, lambda _, p: palm.sweep(spec, p, view, prior, {}), params
        )
        return params, palm.objective(spec, params, view, prior)

    return jax.vmap(one)(params, view, prior)


def relative(got, want):
    return np.abs(got - want).max() / np.abs(want).max()


def safe_mu(B):
    """Inverse step of the safe network step, B = AA' + ridge."""
    return 1.01 * 2 * min(np.linalg.norm(B), np.abs(B).sum(axis=1).max())


def network_matrix(problem, state):
    return state.A @ state.A.T + problem.lambda_s * np.eye(len(state.A))


@pytest.fixture(scope="module")
def cases():
    return [case_of(seed) for seed in range(COUNT)]


@pytest.fixture(scope="module")
def batch(cases):
    return stack([sides(c) for c in cases])


@pytest.fixture(scope="module", params=["safe", "released"])
def stepped(request, batch):
    """Spec, blocks and objectives after each step."""
    spec = SAFE if request.param == "safe" else RELEASED
    return spec, *each_step(spec.shape, spec.terms, *batch)


# ------------------------------------------------------------------ T1 to T4: the functions


def test_t1_objective_is_its_definition_and_its_completed_square(cases, batch):
    ours = jax.jit(jax.vmap(SAFE.objective))(*batch)
    for case, value in zip(cases, np.asarray(ours), strict=True):
        assert_allclose(value, o.netrex_cf_objective(case.problem, case.state), rtol=1e-12)
        assert_allclose(value, o.netrex_cf_completed_square(case.problem, case.state), rtol=1e-12)
    edges = np.array([np.count_nonzero(c.state.S) for c in cases])
    assert edges.min() == 0 and edges.max() == N * M


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_t1_multipliers_of_evidence_count_from_the_last(layers):
    case = case_of(3, layers=layers)
    assert len(np.unique((case.layers > 0).sum(axis=0))) == layers + 1
    value = SAFE.objective(*sides(case))
    assert_allclose(value, o.netrex_cf_objective(case.problem, case.state), rtol=1e-12)


def test_t1_prior_edges_beyond_the_cut_are_no_prior_unless_as_released():
    """The original keeps their weights, with P = 0; by default they are as any edge off it."""
    case = case_of(5)
    C = confidence_of(case.layers, HYPER["evidence"])
    cut = np.where(o._largest(C, 2), C, 0)
    assert np.count_nonzero(cut) < np.count_nonzero(C)
    values = []
    for steps, p in (
        ("safe", problem_of(case.problem.E, cut, HYPER)),
        ("released", problem_of(case.problem.E, C, HYPER, keep=2)),
    ):
        spec = netrex_cf(None, Q, per_target=2, steps=steps, **HYPER)
        values.append(o.netrex_cf_objective(p, case.state))
        assert_allclose(spec.objective(*sides(case)), values[-1], rtol=1e-12)
    assert abs(values[1] - values[0]) > 0.01 * values[0]


def test_t1_sketch_is_its_original_and_not_that_of_absolute_values(cases, batch):
    numbers = dict(a=0.8, a1=2.5, a2=0.6, kappa=0.7, lam=1.3, eta=0.4)
    spec = netrex_cf_sketch(None, Q, 0.8, 2.5, 0.6, 0.4, 0.7, 1.3)
    ours = jax.jit(jax.vmap(spec.objective))(*batch)
    for case, value in zip(cases[:120], np.asarray(ours), strict=False):
        args = (case.problem.E, case.layers, *case.state)
        assert_allclose(value, o.netrex_cf_sketch_objective(*args, **numbers), rtol=1e-12)
        wrong = o.netrex_cf_sketch_objective(*args, **numbers, absolute=True)
        assert not case.state.S.any() or abs(value - wrong) > 1e-6 * value


def test_t1_sketch_is_the_released_form_for_the_constants_of_the_dictionary(batch):
    """Lambda = 5, a1 = 9, a2 = max(C) - 1, a binary prior: the filters are equal up to eta."""
    params, view, prior = batch
    on = (prior.weight > 0) * 1.0
    prior = PriorView(on > 0, on, prior.sign, prior.self_edge, prior.valid, {"one": on})
    specs = (
        netrex_cf(None, Q, evidence=(4.0,), strength=5.0, floor=0.2, ridge_factors=0.0),
        netrex_cf_sketch(None, Q, slope=3.0, on=9.0, off=3.0, cost=0.0),
        netrex_cf_sketch(None, Q, slope=3.0, on=9.0, off=2.0, cost=0.0),
        Spec(component_analysis(), ridge(1.0) + ridge(1.0, "A")),
    )
    F, sketch, wrong, rest = jax.jit(jax.vmap(lambda *a: [s.objective(*a) for s in specs]))(
        params, view, prior
    )
    eta = 0.2 + (1 - on) * 5 * (1 + 1 / 3)
    paid = np.sum(eta * (params.theta != 0), axis=(1, 2))
    assert_allclose(F, rest + 5 * (sketch - rest) + paid, rtol=1e-12)
    assert np.abs(wrong - sketch).max() > 1


def test_t2_an_infinitesimal_edge_costs_its_price(cases, batch):
    filtering = collaborative(*(HYPER[k] for k in ("evidence", "strength", "boost", "floor")))

    def jumps(params, view, prior):
        term = filtering.prepare(view, prior)
        at = jnp.arange(N * M, dtype=jnp.int32)

        def one(k, value):
            theta = params.theta.reshape(-1).at[k].set(value).reshape(M, N)
            return term(params.replace(theta=theta), view, prior)

        on, off = (jax.vmap(partial(one, value=v))(at) for v in (1e-30, 0.0))
        return (on - off).reshape(M, N), jnp.max(on), term.price(params, view, prior)

    found = jax.jit(jax.vmap(jumps))(*batch)
    for case, jump, size, price in zip(cases, *map(np.asarray, found), strict=True):
        h = o.netrex_cf_price(case.problem, case.state.X.T @ case.state.Y).T
        assert_allclose(price, h, rtol=1e-12)
        assert_allclose(jump, h, rtol=0, atol=1e-12 * (1 + size))
        assert h.min() >= HYPER["floor"]


def test_t3_gradients_are_the_closed_forms_and_central_differences(cases, batch):
    gradients = jax.jit(jax.vmap(jax.grad(SAFE.objective)))(*batch)
    for i, case in enumerate(cases):
        want = blocks_of(o.netrex_cf_gradients(case.problem, case.state))
        for name in want:
            assert_allclose(gradients[name][i], want[name], rtol=1e-10, atol=1e-9)

    def shifted(params, view, prior, name, step):
        """Objective with each entry of a block moved in turn."""
        old = params[name]
        moved = (old.reshape(1, -1) + step * jnp.eye(old.size)).reshape(-1, *old.shape)
        return jax.vmap(lambda b: SAFE.objective(params.replace(**{name: b}), view, prior))(moved)

    value = jax.jit(shifted, static_argnames=("name",))
    for i, name in product((0, 1, 4), ("theta", "A", "U", "V")):
        here, gradient = pick(batch, i), pick(gradients[name], i).ravel()
        numeric = (value(*here, name, 1e-4) - value(*here, name, -1e-4)) / 2e-4
        # Off the support the smooth part has a gradient, F has none.
        on = here[0].theta.ravel() != 0 if name == "theta" else np.ones(gradient.size, bool)
        assert_allclose(numeric[on], gradient[on], rtol=1e-6, atol=1e-6 * np.abs(gradient).max())


@pytest.mark.parametrize(
    "spec", [SAFE, netrex_cf_sketch(None, Q, 0.8, 2.5, 0.6, 0.1)], ids=["netrex_cf", "sketch"]
)
def test_t4_prox_of_the_network_is_the_cheaper_candidate(batch, spec):
    """The sketch has prices below 0: there every entry but 0 stays."""
    params, view, prior = batch
    v = 3 * np.random.default_rng(0).normal(size=(COUNT, M, N))
    v[:, 0, :] = 0
    step = np.geomspace(1e-3, 3, COUNT)
    terms = palm.kinks(spec, "theta")

    def both(v, step, params, view, prior):
        price = sum(t.price(params, view, prior) for t in terms)
        return joint(terms, ()).prox(v, step, view, prior, params), price

    got, price = map(np.asarray, jax.jit(jax.vmap(both))(v, step, params, view, prior))
    scale = 2 * step[:, None, None]
    keep = (price < v**2 / scale) & (v != 0)
    assert_array_equal(got, np.where(keep, v, 0))
    assert 0.05 < keep.mean() < 0.95
    assert (price.min() < -0.1) == (spec is not SAFE)
    cost = np.where(got != 0, price, 0) + (got - v) ** 2 / scale
    for u in (0.0 * v, v, v / 2, -v, 0.9 * v):
        other = np.where(u != 0, price, 0) + (u - v) ** 2 / scale
        assert np.all((cost <= other + 1e-12 * (1 + np.abs(other))) | (v == 0))


def test_t4_a_tie_goes_to_zero():
    filtering = Collaborative(*(np.ones((1, 3)) for _ in range(3)), np.full((1, 3), 2.0))
    params = Blocks(theta=np.zeros((1, 3)), U=np.ones((1, 3)), V=np.ones((1, 1)))  # R = 1: h = 2
    v = np.array([[1.0, np.nextafter(1, 2), -1.0]])
    got = filtering.prox(v, 0.25, None, None, params)
    assert_array_equal(np.asarray(got) != 0, [[False, True, False]])


def project_all(U, prior, keep, add, bound):
    def one(u, support, keep, add, bound):
        zero = jnp.zeros_like(bound)
        sets = (
            Box(-bound, bound),
            Budget(keep, zero, zero, "prior"),
            Budget(add, zero, zero, "new"),
        )
        full = jnp.ones(u.shape)
        view = PriorView(support, full, None, None, full > 0)
        return joint((), sets).prox(u, 1.0, None, view)

    return np.asarray(jax.jit(jax.vmap(one))(U, prior, keep, add, bound))


def test_t4_projection_is_the_nearest_feasible_matrix():
    """Budgets from 0 to more than there are entries; boxes that most entries leave, or none."""
    r = np.random.default_rng(0)
    U, prior = r.normal(size=(400, 3, 3)), r.random((400, 3, 3)) < 0.5
    keep, add = (r.choice([0.0, 1, 2, 3, 5, 30], size=400) for _ in range(2))
    bound = r.choice([0.3, 1.0, 10.0], size=400)
    got = project_all(U, prior, keep, add, bound)
    for k in range(400):
        want = o.netrex_project_exhaustive(U[k], prior[k], int(keep[k]), int(add[k]), bound[k])
        assert_allclose(got[k], want, atol=1e-15)
    assert any(not g.any() for g in got[(keep == 0) & (add == 0)])
    tied = np.round(2 * U) / 2  # of ties, the first
    got = project_all(tied, prior, keep, add, bound)
    for k in range(400):
        want = o.netrex_project(tied[k], prior[k], int(keep[k]), int(add[k]), bound[k])
        assert_array_equal(got[k], want)


# ------------------------------------------------------------------ T5 to T7: the steps


def test_t5_each_block_is_that_of_the_original_from_the_same_state(cases, stepped):
    spec, found, _ = stepped
    for i, case in enumerate(cases):
        p, states = case.problem, [state_of(pick(f, i)) for f in found]
        assert relative(states[1].A, o.netrex_cf_a_step(p, states[0])) < 1e-12
        B = network_matrix(p, states[1])
        want = o.netrex_cf_s_step(p, states[1], safe_mu(B) if spec is SAFE else None)
        assert_array_equal(states[2].S != 0, want != 0)
        assert_allclose(states[2].S, want, rtol=1e-12, atol=1e-12 * np.abs(want).max(initial=0))
        assert relative(states[3].X, o.netrex_cf_x_step(p, states[2])) < 1e-10
        assert relative(states[4].Y, o.netrex_cf_y_step(p, states[3])) < 1e-10
    edges = [np.count_nonzero(found[2].theta[i]) for i in range(COUNT)]
    assert min(edges) == 0 and max(edges) > N * M / 2


def test_t5_padding_changes_nothing(cases, stepped):
    spec, found, values = stepped
    padded = stack([sides(c, (3, 2, 4)) for c in cases])
    wide, wide_values = each_step(spec.shape, spec.terms, *padded)
    assert_allclose(wide_values, values, rtol=1e-12)
    for ours, want in zip(wide, found, strict=True):
        for name in want:
            rows, columns = want[name].shape[1:]
            got = np.asarray(ours[name])
            close = 1e-12 if name in ("theta", "A") else 1e-10
            assert_allclose(got[:, :rows, :columns], want[name], rtol=close, atol=close)
            assert not got[:, rows:].any() and not got[:, :, columns:].any()


def test_t5_factor_steps_of_the_sketch_are_those_of_the_dictionary(cases, batch):
    """C, B and Omega of the sketch as alpha, P and beta of the original, without a ridge."""
    spec = netrex_cf_sketch(None, Q, slope=0.8, on=2.5, off=0.6)
    found, _ = each_step(spec.shape, spec.terms, *batch)
    for i, case in enumerate(cases):
        total = case.layers.sum(axis=0)
        C, B = 1 + 0.8 * total, (total > 0) * 1.0
        p = case.problem._replace(
            P=B, lam=np.ones_like(C), alpha=C, rho=0.0, beta=2.5 * C * B + 0.6 * (1 - B)
        )
        states = [state_of(pick(f, i)) for f in found]
        assert relative(states[3].X, o.netrex_cf_x_step(p, states[2])) < 1e-10
        assert relative(states[4].Y, o.netrex_cf_y_step(p, states[3])) < 1e-10


def test_t5_entries_that_a_constraint_deletes_stay_0(batch, stepped):
    """As without these entries: no price, no weight in the filter, no edge."""
    spec = stepped[0]
    params, view, prior = batch
    gone = np.random.default_rng(0).random(prior.valid.shape) < 0.3
    layers = {name: np.where(gone, 0, v) for name, v in prior.layers.items()}
    args = (
        params.replace(theta=np.where(gone, 0, params.theta)),
        view,
        PriorView(
            prior.support & ~gone, sum(layers.values()), prior.sign, prior.self_edge, ~gone, layers
        ),
    )
    found, values = each_step(spec.shape, spec.terms, *args)
    assert not np.asarray(found[2].theta)[gone].any()
    C = np.array([confidence_of(np.array([v[0].T for v in layers.values()]), HYPER["evidence"])])
    p = problem_of(view.y[0].T, C[0], HYPER)
    p = p._replace(lam=np.where(gone[0].T, 0, p.lam), eta=np.where(gone[0].T, 0, p.eta))
    assert_allclose(values[4][0], o.netrex_cf_objective(p, state_of(pick(found[4], 0))), rtol=1e-12)
    assert relative(found[3].U[0], o.netrex_cf_x_step(p, state_of(pick(found[2], 0)))) < 1e-10


@pytest.mark.parametrize(("factors", "rows"), [(4, 9), (6, 200), (30, 200), (30, 50)])
@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_t5_weighted_columns_are_those_of_direct_solves(factors, rows, weight, monkeypatch):
    """The norms of the matrices, which are never formed, take another way for each size."""
    if rows == 50:
        monkeypatch.setattr(columns, "CHUNK", 400)
    r = np.random.default_rng(0)
    D, B, T = (r.normal(size=s) for s in ((factors, rows), (factors, 3), (rows, 3)))
    W = r.uniform(0, 5, size=(rows, 3))
    squares = Squares(D, T, W, 0.6, 0.9)
    got = np.asarray(columns.step(squares, B, weight))
    for c in range(3):
        H = 0.6 * (D * W[:, c]) @ D.T + 0.9 * np.eye(factors)
        assert_allclose(columns.frobenius(squares)[c], np.linalg.norm(H), rtol=1e-12)
        shift = weight * np.linalg.norm(H)
        right = 0.6 * D @ (W[:, c] * T[:, c]) + shift * B[:, c]
        want = np.linalg.solve(H + shift * np.eye(factors), right)
        assert relative(got[:, c], want) < 1e-10


def test_t5_a_sample_takes_other_real_columns_in_each_sweep():
    valid = np.ones((7, 12), bool)
    valid[4:], valid[:, 9:] = False, False
    prior = PriorView(valid, valid * 1.0, None, None, valid)
    steps = Step("A"), Step("U", sample=3), Step("V", sample=2)
    axes = tuple((b, AXES[b]) for b in "AUV")
    slots = Slots(Shape((0, 0, 0), steps, axes=axes), ())
    draw = jax.jit(jax.vmap(partial(palm._draw, slots, prior), (0, None)))
    first, second = (draw(jax.random.split(jax.random.key(0), 200), np.int32(k)) for k in (0, 1))
    for name, most, size in (("U", 9, 3), ("V", 4, 2)):
        for chosen in np.asarray(first[name]):
            assert len(set(chosen)) == size and chosen.max() < most
        share = np.bincount(np.asarray(first[name]).ravel(), minlength=most) / 200
        assert_allclose(share, size / most, atol=0.15)
        assert np.mean(np.asarray(first[name]) != np.asarray(second[name])) > 0.5
    assert set(first) == {"U", "V"}


def recorded_side(path):
    """A recorded run: spec without start, states at its start, view, prior, orders."""
    r = o.read_recorded(path)
    m, n = r.start.S.T.shape
    ones = np.ones((m, n))
    params = jax.tree.map(lambda v: v[None], blocks_of(r.start))
    zero = np.zeros(1, np.int32)
    states = palm.State(
        params,
        np.zeros(1),
        np.full(1, np.inf),
        zero,
        zero > 0,
        np.ones(1),
        np.full((1, len(r.orders)), np.nan),
    )
    view = View(None, None, r.problem.E.T, np.ones(r.problem.E.shape[1]))
    prior = PriorView(ones > 0, ones, ones.astype(np.int32), ones < 0, ones > 0)
    orders = {
        b: np.stack([order[k] for order in r.orders]).astype(np.int32) for k, b in enumerate("UV")
    }
    return r, states, view, prior, orders


def limits_of(relative=-1.0, absolute=-1.0, tolerance=-1.0, most=9, declared=True):
    """When sweeps end; below 0 a rule is off."""
    numbers = map(np.float64, (relative, absolute, tolerance))
    return palm.Limits(*numbers, np.int32(most), np.asarray(declared))


def replayed(r, spec, states, view, prior, orders):
    """Blocks after each kept iteration, in one compiled program."""
    keys, limits = jax.random.split(jax.random.key(0), 1), limits_of(most=len(r.orders))
    states, out = jax.tree.map(jnp.array, states), {}
    for k in sorted({k for k, _ in r.blocks}):
        states = palm.advance(
            spec.shape, spec.terms, states, view, prior, keys, limits, np.int32(k), orders
        )
        out[k] = state_of(pick(states.params, 0))
    return out, np.asarray(states.history[0])


def check_record(path, last):
    r, *rest = recorded_side(path)
    out, history = replayed(r, plain_spec(r.problem), *rest)
    assert set(out) >= {1, 2, 3, 10, 50}
    for (k, name), block in r.blocks.items():
        assert relative(getattr(out[k], name), block) < 1e-10, (k, name)
        if name == "S":
            assert_array_equal(out[k].S != 0, block != 0)
    assert_allclose(history, r.objective[4::4], rtol=1e-10)
    assert relative(out[max(out)].X.T @ out[max(out)].Y, r.R) < 1e-10
    found = replay_netrex_cf(path, last)
    assert_allclose(found["objective"], r.objective[4 : 4 * last + 1 : 4], rtol=1e-10)
    for name in "SAXY":
        assert relative(found[name], r.blocks[last, name]) < 1e-10
    assert_array_equal(found["S"] != 0, r.blocks[last, "S"] != 0)


def test_t6_every_recorded_block_is_replayed():
    check_record(HERE, 10)


def test_t6_every_recorded_block_of_the_subsampled_run_is_replayed(shared):
    check_record(shared / "fixtures" / "netrex_cf" / "subsampled_120x40x50.npz", 50)


def test_t6_wrong_twins_do_not_replay():
    r, *rest = recorded_side(HERE)
    kept = {key: block for key, block in r.blocks.items() if key[0] < 4}
    r = r._replace(blocks=kept)
    steps = {s.block: s for s in RELEASED.sweeps.steps}

    B = network_matrix(r.problem, r.start._replace(A=r.blocks[1, "A"]))
    spectral = 0.5 * np.linalg.norm(B, 2) / np.linalg.norm(B)

    def change(**other):
        own = tuple(other.get(b, s) for b, s in steps.items())
        return plain_spec(r.problem, steps=unigrn.Sweeps(own))

    twins = {
        "no twin": plain_spec(r.problem),
        "doubled ridge on A": plain_spec(r.problem._replace(lambda_a=2.0)),
        "doubled ridge on S": plain_spec(r.problem._replace(lambda_s=2.0)),
        "doubled ridge on X and Y": plain_spec(r.problem._replace(rho=2.0)),
        "spectral norm in S, of the first sweep": change(
            theta=Step("theta", "linear", spectral, "frobenius")
        ),
    }
    for name, spec in twins.items():
        out, _ = replayed(r, spec, *rest)
        worst = max(relative(getattr(out[k], b), v) for (k, b), v in kept.items())
        assert (worst > 1e-5) == (name != "no twin"), name


@pytest.fixture
def files(tmp_path):
    with np.load(HERE) as file:
        data = dict(file)
    first = ("order0000_X", "order0001_Y")
    few = {k: v for k, v in data.items() if not k.startswith("order") or k in first}
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "array.npy", np.ones(3))
    np.savez(tmp_path / "objects.npz", in_E=np.array([{}], dtype=object))
    np.savez(tmp_path / "lacks.npz", **{k: v for k, v in data.items() if k != "in_lam"})
    np.savez(tmp_path / "few.npz", **few)
    np.savez(tmp_path / "half.npz", **{k: v for k, v in few.items() if k != first[0]})
    return tmp_path


@pytest.mark.parametrize(
    ("name", "iterations", "message"),
    [
        ("text.npz", 1, "no recorded run"),
        ("objects.npz", 1, "no recorded run"),
        ("lacks.npz", 1, "lacks in_lam"),
        ("few.npz", 2, "records 1 iterations, got iterations=2"),
        ("few.npz", -1, "iterations must be"),
        ("few.npz", 1.5, "iterations must be"),
        ("array.npy", 1, "record"),
        ("half.npz", 1, "record"),
    ],
)
def test_t6_replay_says_what_is_wrong_with_a_file(files, name, iterations, message):
    with pytest.raises(ValueError, match=message):
        replay_netrex_cf(files / name, iterations)


def test_t7_point_steps_lower_the_objective_by_what_they_move(cases, stepped):
    _, found, values = stepped
    values = np.asarray(values)
    for i, case in enumerate(cases):
        states = [state_of(pick(f, i)) for f in found]
        G = states[0].S.T @ states[0].S + case.problem.lambda_a * np.eye(M)
        W, _ = o.netrex_cf_weights(case.problem, states[2].S != 0)
        eye = case.problem.rho * np.eye(Q)
        of_x, of_y = (
            2 * np.array([np.linalg.norm((D * w) @ D.T + eye) for w in weights])
            for D, weights in ((states[2].Y, W), (states[3].X, W.T))
        )
        for k, name, mu in ((0, "A", np.linalg.norm(G)), (2, "X", of_x), (3, "Y", of_y)):
            moved = getattr(states[k + 1], name) - getattr(states[k], name)
            fall = values[k, i] - values[k + 1, i]
            assert fall >= 0.5 * np.sum(mu * moved**2) - 1e-12 * values[k, i]
            assert fall > 0


def test_t7_the_safe_step_never_raises_the_objective_and_the_released_one_does(stepped):
    spec, _, values = stepped
    values = np.asarray(values)
    rise = values[2] - values[1]
    if spec is SAFE:
        assert np.all(rise <= 1e-12 * values[1])
    assert (rise < -1e-3 * values[1]).sum() > 200  # and it is no null step


@pytest.mark.parametrize("spec", [SAFE, RELEASED], ids=["safe", "released"])
def test_t7_with_one_regulator_the_released_step_rises_by_the_price(spec):
    pairs = [o.netrex_cf_ascent_example(seed=seed) for seed in range(60)]
    steps = (next(s for s in spec.sweeps.steps if s.block == "theta"),)

    def one(pair):
        case = Case(*pair, np.zeros((1, 5, 1)), np.zeros((8, 1)))
        return plain_spec(pair[0], steps=unigrn.Sweeps(steps)), *sides(case)

    specs, *args = zip(*map(one, pairs), strict=True)
    shape, terms = specs[0].shape, stack([s.terms for s in specs])
    found, values = jax.vmap(
        lambda t, *a: each_step(shape, t, *jax.tree.map(lambda v: v[None], a))
    )(terms, *map(stack, args))
    rise = np.asarray(values[1] - values[0])[:, 0]
    if spec is SAFE:
        assert np.all(rise <= 1e-12)
        return
    price = [o.netrex_cf_price(p, s.X.T @ s.Y).sum() for p, s in pairs]
    assert_allclose(rise, price, rtol=1e-9)
    assert np.all(np.asarray(found[1].theta) != 0)


# ------------------------------------------------------------------ T8 to T11: the theory


def exact(problem_spec, *blocks):
    """The spec with steps that minimise these blocks in turn."""
    return problem_spec.replace(sweeps=unigrn.Sweeps(tuple(Step(b, weight=0) for b in blocks)))


def test_t8_activities_are_eliminated(cases, batch):
    spec = exact(SAFE, "A")
    fit = Spec(component_analysis(), ridge(HYPER["ridge_activity"], "A"))

    def least(theta, params, view, prior):
        slots = Slots(spec.shape, tuple(t.prepare(view, prior) for t in spec.terms))
        params = palm.sweep(slots, params.replace(theta=theta), view, prior, {})
        return fit.objective(params, view, prior)

    both = jax.jit(partial(over_starts, jax.value_and_grad(least)))(batch[0].theta, *batch)
    for case, value, gradient in zip(cases, *map(np.asarray, both), strict=True):
        args = case.problem.E, case.state.S, case.problem.lambda_a
        assert_allclose(value, o.l_data(*args)[0], rtol=1e-12)
        assert_allclose(value, o.l_data_trace(*args), rtol=1e-11)
        assert_allclose(gradient.T, o.l_data_gradient(*args), atol=1e-10 * (1 + value))


def test_t8_enough_factors_attain_the_nuclear_norm():
    made = [case_of(seed, (N, M, L, M)) for seed in range(8)]
    spec = exact(SAFE, "U", "V")
    args = stack([sides(c) for c in made])
    params, _ = sweeps(spec.shape, spec.terms, *args, 3000)
    for i, case in enumerate(made):
        state = state_of(pick(params, i))
        W, T = o.netrex_cf_weights(case.problem, state.S != 0)
        R, value, _ = o.nuclear_norm_minimum(W, T, case.problem.rho)
        found = o.weighted_als_objective(W, T, state.X, state.Y, case.problem.rho)
        assert_allclose(found, value, rtol=1e-7)
        assert_allclose(state.X.T @ state.Y, R, atol=1e-4)


@pytest.mark.parametrize("few", [False, True])
def test_t8_a_full_network_has_its_closed_form(few):
    """No steps are declared: all terms are squares in both blocks."""
    spec = Spec(component_analysis(), ridge(1.3) + ridge(0.7, "A"))
    args = []
    for seed in range(12):
        params, view, prior = sides(case_of(4 * seed + 1, (N, 3 if few else 6, L, Q)))
        args.append((Blocks(theta=params.theta, A=params.A), view, prior))
    params, values = sweeps(spec.shape, spec.terms, *stack(args), 4000)
    want = [o.full_support_minimum(a[1].y.T, len(a[0].theta), 0.7, 1.3) for a in args]
    assert_allclose(values, want, rtol=1e-8)


@pytest.fixture(scope="module")
def tiny():
    """Two genes, three regulators, two factors, and every support tried."""
    r = np.random.default_rng(11)
    C = r.choice([0.0, 0.4, 2.0, 3.0], size=(2, 3))
    C[0, 0] = 2.5
    E = 3 * (r.normal(size=(2, 3)) @ r.normal(size=(3, 4)) + 0.3 * r.normal(size=(2, 4)))
    p = problem_of(E, C, HYPER)
    return p, o.netrex_cf_brute_force(p, 2, restarts=4)


def tiny_sides(p, brute, seed=0):
    r = np.random.default_rng(seed)
    blank = np.zeros((1, 2, 3))
    return stack(
        [
            sides(
                Case(
                    p,
                    o.NetrexCFState(
                        Z * r.normal(size=Z.shape),
                        r.normal(size=(3, 4)),
                        r.normal(size=(2, 2)),
                        r.normal(size=(2, 3)),
                    ),
                    blank,
                    np.zeros((4, 3)),
                )
            )
            for Z in brute.supports
        ]
    )


def test_t8_the_price_of_a_support_grows_with_it(tiny):
    p, brute = tiny
    spec = exact(plain_spec(p), "U", "V")
    params, values = sweeps(spec.shape, spec.terms, *tiny_sides(p, brute), 2000)
    phi = [
        o.weighted_als_objective(*o.netrex_cf_weights(p, Z), params.U[i], params.V[i], p.rho)
        + np.sum(p.eta * Z)
        for i, Z in enumerate(brute.supports)
    ]
    assert_allclose(phi, brute.phi, rtol=1e-8)
    for Z, value in zip(brute.supports, phi, strict=True):
        larger = (brute.supports | Z == brute.supports).all(axis=(1, 2))
        assert np.all(np.array(phi)[larger] >= value - 1e-8)


def test_t10_the_best_of_many_starts_is_the_global_minimum(tiny):
    p, brute = tiny
    spec = plain_spec(p, steps=SAFE.sweeps)
    starts = [tiny_sides(p, brute, seed) for seed in range(5)]
    args = jax.tree.map(lambda *v: np.concatenate(v), *starts)
    params, values = sweeps(spec.shape, spec.terms, *args, 3000)
    best = int(np.argmin(values))
    assert np.all(values >= brute.value * (1 - 1e-9))
    assert_allclose(values[best], brute.value, rtol=1e-6)
    assert_array_equal(params.theta[best].T != 0, brute.state.S != 0)
    assert len(np.unique(np.round(values, 4))) > 5  # and not every start finds it
    assert 0 < np.count_nonzero(brute.state.S) < 6


@pytest.mark.parametrize("spec", [SAFE, RELEASED], ids=["safe", "released"])
def test_t9_a_converged_run_stands_still_for_both_implementations(spec):
    """U and V are rebalanced at times, which keeps V'U and only speeds their drift."""
    made = [case_of(seed, (10, 6, 8, 4)) for seed in (3, 4, 6, 7)]
    params, view, prior = stack([sides(c) for c in made])
    # Not by vmap: batched LAPACK calls side by side may hang on CPU; see `backend.over_starts`.
    rebalance = jax.jit(partial(over_starts, lambda u, v: balanced(u, v)))
    for _ in range(15):
        params, _ = sweeps(spec.shape, spec.terms, params, view, prior, 200)
        u, v = rebalance(params.U, params.V)
        assert_allclose(np.swapaxes(v, 1, 2) @ u, np.swapaxes(params.V, 1, 2) @ params.U, atol=1e-9)
        params = params.replace(U=u, V=v)
    again, _ = sweeps(spec.shape, spec.terms, params, view, prior, 1)
    assert_array_equal(again.theta != 0, params.theta != 0)
    for i, case in enumerate(made):
        state, new = state_of(pick(params, i)), state_of(pick(again, i))
        for got, want in (
            (new.S, state.S),
            (new.A, state.A),
            (new.X.T @ new.Y, state.X.T @ state.Y),
        ):
            assert np.abs(got - want).max() < 1e-8 * (1 + np.abs(want).max())
        mu = safe_mu(network_matrix(case.problem, state)) if spec is SAFE else None
        residual = o.netrex_cf_residual(case.problem, state, mu)
        assert max(residual[:3]) < 1e-8 and residual.flips == 0
        assert o.netrex_cf_balance(case.problem, state).max() < 1e-10
    assert 0 < np.count_nonzero(params.theta) < params.theta.size


def test_t9_the_certificate_is_the_residual_of_the_whole_problem(cases, batch):
    """A stop by a small change of the objective is named after the rule, never converged."""
    _, view, prior = pick(batch, 3)
    params = pick(batch[0], np.array([3, 7, 11, 15]))
    at, scale = np.zeros(4), np.array([1.0, 2.0, 4.0, 8.0])
    spec = RELEASED
    terms = tuple(t.prepare(view, prior) for t in spec.terms)

    def ended(done, **limits):
        states = palm.State(
            params, at, at, at.astype(np.int32), np.full(4, done), scale, np.zeros((4, 0))
        )
        found = palm.finish(spec.shape, terms, states, view, prior, limits_of(**limits))
        return found, {Status(s).message for s in found.status.tolist()}

    for done, limits, word in (
        (True, dict(relative=100.0, tolerance=1e-12), RULE),
        (True, dict(relative=100.0, tolerance=1e-12, declared=False), STALL),
        (False, dict(relative=100.0, tolerance=1e-12), LIMIT),
        (True, dict(relative=1e-12, tolerance=1e9), DONE),
        (False, dict(relative=1e-12, tolerance=1e9), DONE),
    ):
        found, said = ended(done, **limits)
        assert said == {word}
    sizes = np.asarray(found.residual) * scale
    smooth = jax.jit(jax.grad(spec.objective))
    for i in range(4):
        here = pick(params, i)
        state = state_of(here)
        slopes = blocks_of(o.netrex_cf_gradients(cases[3].problem, state))
        price = o.netrex_cf_price(cases[3].problem, state.X.T @ state.Y).T

        def apart(block, price=price, slopes=slopes, here=here):
            """As `unigrn.solvers.optimality` has it; ridges of factors are met by their prox."""
            ridges = {"A": HYPER["ridge_activity"], "U": 0.9, "V": 0.9}
            B = np.asarray(here[block])
            d = 2 * ridges.get(block, 0.0)

            def slope(v):
                # Without the prices, which have no gradient, and the ridge of the prox.
                g = smooth(here.replace(**{block: v}), view, prior)[block]
                return np.asarray(g) - d * v

            g = slope(B)
            assert_allclose(g, slopes[block] - d * B, rtol=1e-9, atol=1e-8)
            reach = np.sqrt(np.finfo(float).eps) * (1 + np.abs(B).max()) / np.abs(g).max()
            turn = slope(B - reach * g) - g
            bend = np.sqrt(np.sum(turn**2) / np.sum((reach * g) ** 2))
            v = B - g / bend
            if block == "theta":
                new = np.where(price < v**2 * bend / 2, v, 0)
            else:
                new = v / (1 + d / bend)
            return np.abs(B - new).max() * bend

        assert_allclose(sizes[i], max(map(apart, ("theta", "A", "U", "V"))), rtol=1e-6)


def test_t11_signs_and_rotations_change_nothing_but_scales_do(batch):
    params, view, prior = batch
    r = np.random.default_rng(0)
    sign = r.choice([-1.0, 1.0], size=(COUNT, M, 1))
    turn = np.linalg.qr(r.normal(size=(COUNT, Q, Q)))[0]
    F = jax.jit(jax.vmap(SAFE.objective))
    value = F(params, view, prior)
    same = Blocks(
        theta=sign * params.theta, A=sign * params.A, U=turn @ params.U, V=turn @ params.V
    )
    assert_allclose(F(same, view, prior), value, rtol=1e-12)
    for other in (
        params.replace(theta=3 * params.theta, A=params.A / 3),
        params.replace(U=1.5 * params.U, V=1.5 * params.V),
    ):
        assert np.all(np.abs(F(other, view, prior) - value) > 1e-6 * value)


def test_t11_the_gauge_keeps_the_objective_and_correlates_positively(cases):
    flat = [c._replace(x=np.where(np.arange(M) < 2, 2.0, c.x)) for c in cases[:100]]
    args = stack([sides(c, (3, 2, 4)) for c in flat])
    args[0].theta[:50, 0] -= 10 * (args[0].theta[:50, 0] != 0)
    both = jax.jit(jax.vmap(SAFE.gauge))(*args)
    assert SAFE.gauge is positive_activity
    F = jax.jit(jax.vmap(SAFE.objective))
    assert_allclose(F(both, *args[1:]), F(*args), rtol=1e-12)
    for i, case in enumerate(flat):
        A, S = np.asarray(both.A[i, :M, :L]), np.asarray(both.theta[i, :M, :N])
        along = np.sum(A * (case.x - case.x.mean(axis=0)).T, axis=1)
        assert np.all(along[2:] > 0) and np.all(S[:2].sum(axis=1) >= 0)
        assert_allclose(np.abs(A), np.abs(case.state.A))
        assert_allclose(S.T @ A, args[0].theta[i, :M, :N].T @ args[0].A[i, :M, :L], atol=1e-12)
    assert (np.sign(both.A) != np.sign(args[0].A))[:, 2:M, :L].any()


# ------------------------------------------------------------------ start and read-out


def test_the_start_factorises_the_prior_and_takes_its_support_from_it():
    """With enough factors and sweeps, step 1 is a convex problem."""
    case = case_of(7, (9, 6, 8, 7))
    params, view, prior = sides(case, (2, 3, 4))
    spec = netrex_cf(None, 7, **HYPER | dict(evidence=(3.0, 9.0, 20.0)))
    C = confidence_of(case.layers, (3.0, 9.0, 20.0))
    start = Start(7, sweeps=3000, rows=2, columns=3)
    terms = tuple(t.prepare(view, prior) for t in spec.terms)
    found = jax.jit(lambda key: start(view, prior, key, terms))(jax.random.key(5))
    for name, block in found.items():
        rows, columns = blocks_of(case.state)[name].shape
        assert np.abs(block[rows:]).max(initial=0) < 1e-12
        assert np.abs(block[:, columns:]).max(initial=0) < 1e-12
    U, V = np.asarray(found.U)[:, :9], np.asarray(found.V)[:, :6]
    kept = o._largest(C, 2) & (C > 0)
    W = np.where(kept, 10 * HYPER["strength"] * C, 1.0)
    _, value, _ = o.nuclear_norm_minimum(W, kept * 1.0, 0.1, 1e-9)
    assert_allclose(o.weighted_als_objective(W, kept * 1.0, U, V, 0.1), value, rtol=1e-5)
    assert_allclose(U @ U.T, V @ V.T, atol=1e-9)
    E, R = case.problem.E, U.T @ V
    Z = o.netrex_cf_start(E, U, V, 2, 3, alternations=1).S != 0
    drawn = jax.random.normal(jax.random.fold_in(jax.random.key(5), 1), params.theta.shape)
    S = np.where(Z, R + 0.1 * np.asarray(drawn)[:6, :9].T, 0)
    for _ in range(20):
        A = np.linalg.solve(S.T @ S + 0.1 * np.eye(6), S.T @ E)
        S = o._ridge_on_support(E, A, Z, 0.1)
    assert_array_equal(found.theta[:6, :9].T != 0, Z)
    assert 0.2 < Z.mean() < 0.9
    assert relative(found.theta[:6, :9].T, S) < 1e-3 and relative(found.A[:, :8][:6], A) < 1e-3


def test_scores_are_rows_divided_by_their_sum_where_that_means_something():
    r = np.random.default_rng(0)
    R = r.normal(size=(6, 60)) + np.linspace(-1, 2, 60)
    R[:, :3] = 0
    valid = np.ones((8, 64))
    valid[6:], valid[:, 60:] = 0, 0
    prior = PriorView(None, None, None, None, valid > 0)
    got = np.asarray(
        row_normalised(jnp.asarray(np.pad(R, ((0, 2), (0, 4)), constant_values=7.0)), prior)
    )
    assert not got[6:].any() and not got[:, 60:].any() and not got[:, :3].any()
    assert np.abs(got).max() <= 2
    total = R.sum(axis=0)
    fair = total >= 0.5 * np.abs(R).sum(axis=0)
    state = o.NetrexCFState(None, None, R, np.eye(6))
    assert_allclose(got[:6, :60][:, fair], o.netrex_cf_score(state).T[:, fair])
    assert 10 < fair.sum() < 50
    for k in range(3, 60):
        assert_array_equal(np.argsort(got[:6, k]), np.argsort(R[:, k]))


def explained(case, view, real, draws, share):
    """Confidence of every edge in each draw of `drop_one`, (draws, regulators, genes)."""
    E, (S, A, _, _), out = case.problem.E, case.state, []
    for key in jax.random.split(view.key, draws):
        u = np.asarray(jax.random.uniform(key, (len(real),)))
        cells = np.floor(u * real.sum()).astype(int)[: max(int(share * real.sum()), 1)]
        out.append(o.netrex_confidence_naive(E[:, cells], S, A[:, cells], refit=False).T)
    return np.array(out)


def scattered(case, seed):
    """Cells that count between others, whose values are nonsense; padded in all directions."""
    params, view, prior = sides(case, (1, 2, 3))
    real = np.arange(15) % 5 != 2
    y, A = np.full((15, 10), 9.0), np.full((6, 15), 9.0)
    y[np.ix_(real, np.arange(8))], A[:5, real] = case.problem.E.T, case.state.A
    return params.replace(A=A), View(None, view.x, y, real * 1.0, jax.random.key(seed)), prior, real


@pytest.mark.parametrize("share", [0.5, 1.0, 0.01])
def test_confidence_is_that_of_dropping_each_edge(share):
    case = case_of(4, (8, 5, 12, 3))
    params, view, _, real = scattered(case, 3)
    got = np.asarray(jax.jit(drop_one, static_argnums=(2, 3))(params, view, 4, share))
    want = explained(case, view, real, 4, share).mean(axis=0)
    assert_allclose(got[:5, :8], want, rtol=1e-9, atol=1e-12)
    assert not got[5:].any() and not got[:, 8:].any()
    assert 0.1 < got.max() <= 1 and not got[params.theta == 0].any()


def test_ranks_are_the_mean_of_the_ranks_of_the_draws():
    case = case_of(0, (8, 5, 12, 3))
    params, view, prior, real = scattered(case, 1)
    found = jax.jit(Ranks())(params, view, prior)
    edge = params.theta != 0
    want = explained(case, view, real, 20, 1.0)[:, edge[:5, :8]]
    order = np.argsort(np.argsort(-want, axis=1, kind="stable"), axis=1)
    assert_allclose(found["score"][edge], 1 - order.mean(axis=0) / (edge.sum() - 1))
    assert_allclose(found["confidence"][edge], want.mean(axis=0))
    assert np.isnan(found["score"][~edge]).all() and 3 < edge.sum() < 30


def test_the_best_rank_is_1():
    params, view, prior, _ = scattered(case_of(0, (8, 5, 12, 3)), 1)
    one = np.zeros(params.theta.shape)
    one[2, 3] = 1.0
    score = np.asarray(jax.jit(Ranks())(params.replace(theta=one), view, prior)["score"])
    assert np.nanmax(score) == 1


def test_edges_rank_by_factors_or_by_confidence_as_asked():
    params, view, prior, _ = scattered(case_of(4, (8, 5, 12, 3)), 3)
    found = {
        r: jax.jit(netrex_cf(None, rank=r).columns[0])(params, view, prior)
        for r in ("factors", "confidence")
    }
    want = row_normalised(params.V.T @ params.U, prior)
    assert_allclose(found["factors"]["score"], want)
    assert_allclose(found["confidence"]["score"], found["factors"]["confidence"])
    assert_allclose(found["factors"]["confidence"], drop_one(params, view, 20, 0.5))
    with pytest.raises(ValueError, match="rank must be one of"):
        netrex_cf(None, rank="weight")


# ------------------------------------------------------------------ NetREX


NETREX = dict(
    kappa=0.3,
    threshold=0.4,
    ridge_activity=0.8,
    ridge_network=0.6,
    bound_network=0.7,
    bound_activity=0.9,
    keep=0.75,
    total=1.25,
)


def netrex_case(seed, signed, sample=12):
    """A problem of the original, with as many prior edges as their shares round alike."""
    r = np.random.default_rng(seed)
    S = r.normal(size=(N, M)) * (r.random((N, M)) < 0.5)
    E = S @ r.normal(size=(M, sample)) + 0.3 * r.normal(size=(N, sample))
    E[1] = (-1) ** seed * E[0] + 0.2 * r.normal(size=sample)
    known = np.zeros(N * M, bool)
    known[r.permutation(N * M)[:16]] = True
    L = o.netrex_laplacian(E, 0.4, "signed" if signed else "unsigned")
    p = o.netrex_problem(E, known.reshape(N, M), L, 12, 8, 0.3, 0.8, 0.6, 0.7, 0.9)
    return p, r.normal(size=(N, M)) * (r.random((N, M)) < 0.6), r.normal(size=(M, sample))


def netrex_sides(p, S, A, pad=(0, 0, 0)):
    blank = np.zeros((2, len(p.E)))
    case = Case(
        p,
        o.NetrexCFState(S, A, blank, blank[:, :1] + np.zeros((2, M))),
        p.prior[None] * 1.0,
        np.zeros((p.E.shape[1], M)),
    )
    params, view, prior = sides(case, pad)
    return Blocks(theta=params.theta, A=params.A), view, prior


@pytest.mark.parametrize("signed", [True, False])
def test_netrex_objective_is_that_of_the_original(signed):
    spec = netrex(None, signed=signed, **NETREX)
    made = [netrex_case(seed, signed) for seed in range(100)]
    for pad in ((0, 0, 0), (2, 3, 4)):
        ours = jax.jit(jax.vmap(spec.objective))(*stack([netrex_sides(*c, pad) for c in made]))
        assert_allclose(ours, [o.netrex_objective(*c) for c in made], rtol=1e-12)
    assert any((c[0].laplacian > 0.1)[~np.eye(N, dtype=bool)].any() for c in made) == signed


def test_netrex_constant_targets_have_no_kin():
    y = np.random.default_rng(0).normal(size=(37, 5))
    y[:, 1], y[:, 3] = 0.1, 0.7  # their means round, the same way for every cell
    y[:, 4] = 2 * y[:, 0]
    matrix = laplacian(1.0, 0.5).prepare(View(None, None, y, np.ones(37)), None).matrix
    want = np.zeros((5, 5))
    want[np.ix_([0, 4], [0, 4])] = [[1, -1], [-1, 1]]
    assert_allclose(matrix, want, atol=1e-12)


def test_netrex_start_is_two_ridge_fits_in_the_set():
    p, S, A = netrex_case(0, True)
    params, view, prior = netrex_sides(p, S, A, (2, 3, 4))
    got = jax.jit(partial(NetrexStart(), terms=netrex(None, **NETREX).terms))(view, prior, None)
    known = p.prior * 1.0
    A = np.clip(np.linalg.solve(known.T @ known + np.eye(M), known.T @ p.E), -0.9, 0.9)
    S = np.linalg.solve(A @ A.T + np.eye(M), A @ p.E.T).T
    assert_allclose(got.A[:M, :12], A, atol=1e-12)
    assert_allclose(got.theta[:M, :N].T, o.netrex_project(S, p.prior, 12, 8, 0.7), atol=1e-12)


def test_netrex_steps_are_those_of_the_original_feasible_and_descend():
    spec = netrex(None, **NETREX)
    made = [netrex_case(seed, True) for seed in range(40)]
    args = stack([netrex_sides(*c) for c in made])
    args = jax.tree.map(lambda v: np.array(v), args)
    begin = jax.jit(jax.vmap(partial(NetrexStart(), terms=spec.terms), (0, 0, None)))
    params, last = begin(args[1], args[2], None), None
    for _ in range(8):
        found, values = each_step(spec.shape, spec.terms, params, *args[1:])
        values = np.asarray(values)
        assert np.all(np.diff(values, axis=0) <= 1e-12 * (1 + values[:-1]))
        assert last is None or np.array_equal(values[0], last)
        params, last = found[-1], values[-1]
        for i, (p, _, _) in enumerate(made):
            (S0, A), (S, _), (_, new) = (
                (np.asarray(f.theta[i].T), np.asarray(f.A[i])) for f in found
            )
            gram, graph = A @ A.T + 1.2 * np.eye(M), np.abs(p.laplacian).sum(axis=1).max()
            size = min(np.linalg.norm(gram), np.abs(gram).sum(axis=1).max())
            want = o.netrex_s_step(p, S0, A, curvature=1.01 * (size + 2 * 0.3 * graph))
            assert_array_equal(S != 0, want != 0)
            assert_allclose(S, want, atol=1e-12)
            gram = S.T @ S
            d = 1.01 * min(np.linalg.norm(gram), np.abs(gram).sum(axis=1).max())
            V = A - S.T @ (S @ A - p.E) / d
            assert_allclose(new, np.clip(V / (1 + 2 * 0.8 / d), -0.9, 0.9), atol=1e-12)
            assert o.netrex_feasible(p, S, new)
            assert np.count_nonzero(S[p.prior]) == 12 and np.count_nonzero(S[~p.prior]) <= 8
    assert (np.abs(params.theta) == 0.7).any() and (np.abs(params.A) == 0.9).any()
    params, view, prior = args  # entries that a constraint deletes take no part of a budget
    gone = np.random.default_rng(0).random(prior.valid.shape) < 0.2
    prior = PriorView(prior.support, prior.weight, prior.sign, prior.self_edge, ~gone, {})
    theta = np.asarray(each_step(spec.shape, spec.terms, params, view, prior)[0][1].theta)
    assert not theta[gone].any()
    for edge, known in zip(theta != 0, prior.support & ~gone, strict=True):
        want = o.netrex_budgets(known.sum(), 0.75, 1.25)
        assert (np.sum(edge & known), np.sum(edge & ~known)) == want


def test_netrex_budgets_are_those_of_the_original():
    """K_add = round(total |P|) - round(keep |P|): the network has round(total |P|) edges."""
    for (keep, total), size in product([(0.7, 1.0), (0.8, 1.2), (0.9, 1.8)], range(1, 41)):
        known = (np.arange(60) < size).reshape(6, 10)
        prior = PriorView(known, known * 1.0, None, None, known | True)
        got = [
            int(t.budget(prior)[1]) for t in netrex(None, keep, total).terms if t.budget is not None
        ]
        assert tuple(got) == o.netrex_budgets(size, keep, total), (keep, total, size)


# ------------------------------------------------------------------ whole runs

NAMES = [f"r{j}" for j in range(9)] + [f"g{i:02d}" for i in range(16)]
CELLS, FACTORS = 37, 4


def expression(seed=0, cells=CELLS):
    """The network is the same for every seed; r8 has prior edges to genes not measured only."""
    r, W = np.random.default_rng(seed), np.random.default_rng(0).normal(size=(9, 16))
    x = r.normal(size=(cells, 9))
    return np.c_[x, x @ np.where(TRUE, W, 0) + 0.5 * r.normal(size=(cells, 16))]


TRUE = np.random.default_rng(1).random((9, 16)) < 0.3


def tables():
    """Three sources of evidence; g15 and all regulators are targets of none."""
    out = []
    for k in range(3):
        r = np.random.default_rng([7, k])
        named = np.where(TRUE, r.random(TRUE.shape) < 0.7, r.random(TRUE.shape) < 0.1)
        named[8], named[:, 15], named[0, 0] = False, False, True
        pairs = [(f"r{j}", f"g{i:02d}") for j, i in np.argwhere(named)] + [("r8", "unmeasured")]
        table = pd.DataFrame(pairs, columns=["source", "target"])
        out.append(table.assign(weight=r.uniform(0.3, 3.0, len(table))))
    return out


PRIOR = Prior.combine([Prior.from_edges(t, name=f"t{k}") for k, t in enumerate(tables())])
SPEC = netrex_cf(PRIOR, FACTORS)


def data_of(values, names=NAMES, dtype="float64", **more):
    return Data.from_arrays(values, names, dtype=dtype, **more)


def fit(spec=SPEC, values=None, seed=0, **options):
    return unigrn.fit(spec, data_of(expression() if values is None else values), seed, **options)


def words(solution):
    return set(solution.certificate["status"])


def all_finite(solution):
    held = (
        solution.weights,
        solution.residual,
        *solution.statistics.values(),
        *(b for group in solution.blocks.values() for b in group),
    )
    edges = solution.network().edges
    assert not edges.isna().any(axis=None) and len(edges) == np.count_nonzero(solution.weights)
    return all(np.isfinite(v).all() for v in held)


@pytest.fixture(scope="module")
def base():
    return fit()


@dataclass(frozen=True)
class Waves:
    """A start that any program can form: sines of the position."""

    factors: int

    def __call__(self, data: View, prior: PriorView, key: Any, terms: tuple) -> Blocks:
        q, p = (jnp.any(prior.valid, axis).astype(float) for axis in (1, 0))
        return waves(q, p, data.weight, jnp.ones(self.factors), jnp)


def waves(q, p, c, f, np=np):
    def wave(k, rows, columns):
        i, j = np.arange(1.0 * len(rows)), np.arange(1.0 * len(columns))
        return np.sin(1 + k + 1.3 * i[:, None] + 2.1 * j[None]) * rows[:, None] * columns[None]

    return Blocks(theta=wave(0, q, p), A=wave(1, q, c), U=wave(2, f, p), V=wave(3, f, q))


def test_a_run_is_that_of_the_original_from_the_same_start():
    """From tables with names to scores; 9 x 25 x 37 are padded to 9 x 26 x 40."""
    spec = netrex_cf(PRIOR, FACTORS, steps="released", scale=None, sweeps=30, tolerance=0.0)
    spec = spec.replace(start=Waves(FACTORS))
    found = fit(spec, history=True)
    targets, sources = sorted(NAMES), sorted(NAMES[:9])
    layers = np.array(
        [
            t.pivot(index="target", columns="source", values="weight")
            .reindex(index=targets, columns=sources)
            .fillna(0.0)
            for t in tables()
        ]
    )
    values = pd.DataFrame(expression(), columns=NAMES)
    hyper = dict(
        strength=5.0, boost=9.0, floor=0.1, ridge_activity=1.0, ridge_network=1.0, ridge_factors=1.0
    )
    p = problem_of(values[targets].to_numpy().T, confidence_of(layers, (1.0, 60.0, 90.0)), hyper)
    start = state_of(waves(*map(np.ones, (9, 25, CELLS, FACTORS))))
    states = o.netrex_cf_run(p, start, iterations=30)
    objective = np.array([o.netrex_cf_objective(p, s) for s in states[1:]])
    assert_allclose(found.history[0][0], objective, rtol=1e-10)
    S, A, U, V = states[-1]
    x = values[sources].to_numpy()
    sign = np.sign(np.sum(A * (x - x.mean(axis=0)).T, axis=1))
    assert_array_equal(found.theta[0].T != 0, S != 0)
    assert 9 < np.count_nonzero(S) < 200 and (sign < 0).any()
    R = U.T @ V
    entry = (found.plan.problem.entry_target, found.plan.problem.candidate)
    table = {name: np.zeros(S.shape) for name in ("affinity", "score")}
    for name, values in table.items():
        values[entry] = found.statistics[name][0]
    for got, want in (
        (found.theta[0].T, S * sign),
        (found.blocks["A"][0], A * sign[:, None]),
        (found.blocks["U"][0], U),
        (found.blocks["V"][0], V),
        (table["affinity"], R),
    ):
        assert relative(got, want) < 1e-9
    total, size = R.sum(axis=1), np.abs(R).sum(axis=1)
    total = np.where(total >= size / 2, total, size)
    assert_allclose(table["score"], R / total[:, None], rtol=1e-7, atol=1e-9)

    stop = 1.5 * -np.diff(objective)[20]  # the absolute rule, on request
    found = fit(spec.replace(sweeps=unigrn.Sweeps(spec.steps, 30, None, stop)), history=True)
    few = len(o.netrex_cf_run(p, start, iterations=30, tolerance=stop)) - 1
    assert 1 < few < 30 and found.history[0].shape == (1, few) and words(found) == {RULE}


def test_the_plan_says_which_steps_may_rise_and_when_it_stops():
    data = data_of(expression())
    text = {
        s: unigrn.plan(netrex_cf(PRIOR, steps=s, absolute=0.25), data).explain()
        for s in ("safe", "released")
    }
    assert "theta: linearised" in text["safe"] and "less than 0.25" in text["safe"]
    assert [s for s, t in text.items() if "not a valid PALM step" in t] == ["released"]


def test_the_plan_of_a_fixed_number_of_sweeps_reads_well():
    spec = SPEC.replace(sweeps=unigrn.Sweeps(SPEC.steps, 50, None))
    text = unigrn.plan(spec, data_of(expression())).explain()
    assert "stops after 50 sweeps" in text and "objective stops" not in text


def test_same_call_same_answer_and_the_order_of_genes_is_irrelevant(base):
    again = unigrn.infer(data_of(expression()), PRIOR, "netrex_cf", factors=FACTORS)
    pd.testing.assert_frame_equal(again.edges, base.network().edges, check_exact=True)
    order = np.random.default_rng(0).permutation(25)
    mixed = unigrn.fit(SPEC, data_of(expression()[:, order], np.array(NAMES)[order]))
    pd.testing.assert_frame_equal(mixed.network().edges, again.edges, check_exact=True)
    assert relative(fit(seed=1).statistics["score"], base.statistics["score"]) > 1e-3


def test_no_weight_of_the_table_is_minus_zero(base):
    """Turning the sign of an activity makes -0.0 of the entries that are 0."""
    assert np.signbit(base.weights[base.weights == 0]).any()
    edges = base.network().edges
    for name in ("weight", "score", "affinity", "confidence"):
        assert not np.signbit(edges[name][edges[name] == 0]).any()


def test_genes_without_prior_edges_score_0_and_nothing_is_undefined(base):
    """The released program divides 0 by 0 there."""
    assert all_finite(base) and words(base) == {SPENT}
    edges, problem = base.network().edges, base.plan.problem
    none = np.isin(problem.targets[problem.entry_target], ["g15", *NAMES[:9]])
    assert none.sum() == 90 and not base.weights[0, none].any()
    assert not any(base.statistics[name][0, none].any() for name in ("score", "confidence"))
    # A regulator without targets takes part.
    assert (problem.regulators[problem.candidate] == "r8").sum() == 25
    assert (edges["weight"] != 0).all() and 0 < len(edges) < 225  # the table lists edges only
    known = pd.concat(tables())[["source", "target"]].drop_duplicates()
    assert len(edges.head(30).merge(known)) > 20 and edges["score"].is_monotonic_decreasing


def test_constant_genes_and_cells_leave_nothing_undefined():
    values = expression()
    values[5], values[6], values[:, 3], values[:, 12] = 0.0, 2.0, 1.5, 0.0  # 12 is g03
    found = fit(values=values)
    assert all_finite(found)
    assert not found.network().edges.query("target == 'g03'")["weight"].any()


@pytest.mark.parametrize("spec", [SPEC, netrex(PRIOR)], ids=["netrex_cf", "netrex"])
def test_status_says_how_a_run_ended(spec):
    short = fit(spec, max_iterations=3)
    assert words(short) == {LIMIT} and set(short.iterations[0]) == {3}
    with pytest.raises(unigrn.ConvergenceError, match="iteration limit"):
        short.require_converged()
    assert words(fit(spec.replace(sweeps=unigrn.Sweeps(spec.steps, 3)))) == {SPENT}
    # The sweeps' own rule is a small change of the objective, and says so; the residual of the
    # whole problem stands beside it, and converged is only what is within the tolerance.
    rule = spec.replace(sweeps=unigrn.Sweeps(spec.steps, 20_000, 1e-5))
    loose = fit(rule)
    assert words(loose) == {RULE} and loose.residual.min() > 1e-9 and loose.converged.all()
    assert 3 < loose.iterations.max() < 20_000
    size = float(loose.residual.max())
    assert words(fit(rule, tolerance=1.01 * size)) == {DONE}
    assert words(fit(rule, tolerance=0.99 * size)) == {RULE}
    assert_array_equal(fit(rule, tolerance=1.01 * size).weights, loose.weights)


def test_sweeps_that_are_not_declared_end_by_the_residual_or_say_that_they_stand_still():
    """A stop by a small change of the objective is never called converged."""

    def start(data, prior, key, terms):
        some = Waves(FACTORS)(data, prior, key, terms)
        return Blocks(theta=some.theta, A=some.A)

    spec = Spec(component_analysis(), ridge(1.0) + ridge(1.0, "A"), prior=PRIOR, start=start)
    found = fit(spec, max_iterations=20_000, tolerance=0.0)
    assert found.plan.solver.name == "PALM over blocks of the whole network"
    assert words(found) == {STALL} and not found.converged.any()
    with pytest.raises(unigrn.ConvergenceError, match="no step lowers the objective"):
        found.require_converged()
    size = float(found.residual.max())
    assert 0 < size < 1e-3
    # Above 0 a tolerance is judged with a step that it resolves: the residual is a little more.
    assert words(fit(spec, max_iterations=20_000, tolerance=1.5 * size)) == {DONE}


def test_groups_are_fitted_apart():
    values = np.concatenate([expression(0), expression(5, 39)])
    order = np.random.default_rng(0).permutation(len(values))
    labels = np.repeat(["a", "b"], [CELLS, 39])
    data = data_of(values[order], groups=labels[order])
    spec = netrex_cf(PRIOR, FACTORS, scale=None)
    both = unigrn.fit(spec, data)
    own = fit(spec, values[order][labels[order] == "a"])
    assert_allclose(both.weights[0], own.weights[0], rtol=1e-9, atol=1e-12)
    assert np.abs(both.weights[1] - both.weights[0]).max() > 0.1
    assert [b.shape for b in both.blocks["A"]] == [(9, CELLS), (9, 39)]
    edges = np.count_nonzero(both.weights, axis=1).tolist()
    assert both.network().edges.groupby("group").size().tolist() == edges


@pytest.mark.parametrize("spec", [SPEC, netrex(PRIOR, sweeps=30)], ids=["netrex_cf", "netrex"])
def test_every_group_is_centred_on_its_own(spec):
    """A gene that is silent in one group, as a marker of another is, gets no edge there."""
    values = np.concatenate([expression(0), expression(5, 39) + 3.0])
    labels = np.repeat(["a", "b"], [CELLS, 39])
    silent = NAMES.index("g12")
    values[labels == "a", silent] = 0.0
    found = unigrn.fit(spec, data_of(values, groups=labels), 1)
    for a in found.blocks["A"]:
        assert np.abs(a.mean(axis=1)).max() < (1e-9 if spec is SPEC else 0.3)
    status = found.certificate.set_index(["group", "target"])["status"]
    assert status["a", "g12"] == "target is constant" != status["b", "g12"]
    edges = found.network().edges.query("target == 'g12'").set_index("group")
    assert not edges["weight"].get("a", pd.Series(0.0)).any() and edges["weight"].loc["b"].any()


def test_the_worst_start_speaks_for_all():
    """Of several members' certificates; what the number of sweeps ends is told apart before."""
    limit, failed, done, rule, spent = (
        Status[n]
        for n in ("MAX_ITERATIONS", "NOT_FINITE", "CONVERGED", "RELEASED_RULE", "OWN_LIMIT")
    )
    assert WORST.index(failed) < WORST.index(limit) < WORST.index(spent) < WORST.index(rule)
    assert WORST.index(rule) < WORST.index(done)

    class Held:
        """The part of a run's state that certificates are about."""

        def __init__(self, seen, most=100):
            self.grid = Grid((Starts(len(seen)),))
            self.spec, self.plan = SPEC, SimpleNamespace(max_iterations=most)
            self.status, self.residual, self.iterations = (np.zeros((1, 1)) for _ in range(3))
            numbers = {
                "status": np.array(seen, np.int32)[:, None],
                "residual": np.arange(len(seen))[:, None] * 1.0,
                "iterations": np.arange(len(seen))[:, None],
            }
            finish.certify(self, 0, numbers, {}, np.array([True]))

    for seen, said in (
        ((limit, failed, done), failed),
        ((done, rule), rule),
        ((done,), done),
        ((rule, spent, done), spent),
        ((spent, limit), limit),
    ):
        found = Held(seen, most=99)
        assert found.status[0, 0] == said
        assert found.residual[0, 0] == found.iterations[0, 0] == len(seen) - 1
    assert SPEC.sweeps.most == 100
    assert Held((limit, done)).status[0, 0] == spent


def test_a_target_without_prior_starts_empty_and_ties_go_to_the_first():
    """The row rule takes no more entries than a target has that are not 0."""
    r = np.random.default_rng(0)
    on = (r.random((12, 40)) < 0.5) & (np.arange(40) < 25)
    prior = PriorView(
        *(
            jnp.asarray(v)
            for v in (
                on,
                on * 1.0,
                np.zeros(on.shape, np.int32),
                np.zeros(on.shape, bool),
                np.ones(on.shape, bool),
            )
        ),
        {"a": jnp.asarray(on * 1.0)},
    )
    view = View(None, None, jnp.asarray(r.normal(size=(20, 40))), jnp.ones(20))
    terms = (collaborative().prepare(view, prior),)
    start = Start(4, rows=5, columns=7)
    found = jax.jit(lambda key: start(view, prior, key, terms))(jax.random.key(0))
    u, v = jax.jit(lambda key: start.factorise(terms[0], prior, key))(jax.random.key(0))
    R = np.asarray(v.T @ u).T  # near ties are told apart by its rounding
    assert_allclose(found.U.T @ found.V, R, atol=1e-14)
    assert not np.delete(R, np.s_[:25], axis=0).any()  # no factor where there is no prior
    assert_array_equal(
        np.asarray(found.theta.T != 0),
        o._largest(R.T, 7).T | (o._largest(R, 5) & (np.arange(40) < 25)[:, None]),
    )


def test_terms_and_steps_that_cannot_be_met_are_told():
    data = data_of(expression())
    for keep in (-0.1, 1.1):
        with pytest.raises(ValueError, match="keep must lie between 0 and 1"):
            netrex(PRIOR, keep=keep, total=2.0)
    with pytest.raises(ValueError, match="not multiplied by a number"):
        unigrn.fit(SPEC.replace(regularizer=2.0 * SPEC.regularizer), data)
    steps = tuple(Step("A", weight=0.5, sample=5) if s.block == "A" else s for s in SPEC.steps)
    with pytest.raises(unigrn.PlanError, match="no columns of targets or regulators to sample"):
        unigrn.plan(SPEC.replace(sweeps=unigrn.Sweeps(steps, 5)), data)


def test_consensus_of_three_starts_is_that_of_three_single_runs(base, monkeypatch):
    spec = unigrn.consensus(SPEC, 3)
    together = fit(spec)
    seen, objectives, read_off = [], [], coupled.read_off

    def spy(shape, terms, params, view, prior, keys, held):
        objectives.append(float(spec.objective(pick(params, 0), view, prior)))
        found = read_off(shape, terms, params, view, prior, keys, held)
        seen.append((found[1], found[0]))
        return found

    monkeypatch.setattr(coupled, "read_off", spy)
    monkeypatch.setattr(planner, "MEMORY", 1)  # one start at a time
    apart = fit(spec)
    problem = together.plan.problem
    where = (problem.candidate, problem.entry_target)
    found = {
        name: np.array([np.asarray(c[name])[0][where] for c, _ in seen])
        for name in ("score", "affinity", "confidence")
    }
    found["weight"] = np.array([np.asarray(b.theta)[0][where] for _, b in seen])
    assert all(v.shape == (3, 225) for v in found.values())
    score = found["score"]
    want = {name: v.mean(axis=0) for name, v in found.items() if name != "weight"}
    want |= {
        "score_sd": np.sqrt(np.sum((score - score.mean(axis=0)) ** 2, axis=0) / 2),
        "frequency": (found["weight"] != 0).sum(axis=0) / 3,
    }
    for solution, close in ((apart, 1e-12), (together, 1e-6)):
        assert set(solution.statistics) == set(want)
        assert_allclose(solution.targets["objective"][0], np.mean(objectives), rtol=1e-9)
        for name, values in want.items():
            assert_allclose(solution.statistics[name][0], values, atol=close, err_msg=name)
        assert_allclose(solution.weights[0], found["weight"].mean(axis=0), atol=close)
    assert_array_equal(score[0], base.statistics["score"][0])
    best = seen[int(np.argmin(objectives))][1]
    assert_allclose(together.blocks["A"][0], best.A[0][:, :CELLS], atol=1e-6)
    assert (want["score_sd"] > 1e-3).any() and (want["frequency"] % 1 > 0).any()
    assert all_finite(together)


def test_a_sample_of_columns_moves_in_each_sweep(base):
    few = netrex_cf(PRIOR, FACTORS, sample=4)
    start, one, other = (fit(few, max_iterations=k, seed=0).blocks for k in (0, 1, 1))
    whole = fit(SPEC, max_iterations=1).blocks
    moved = {b: np.any(one[b][0] != start[b][0], axis=0) for b in "UV"}
    alive = np.any(whole["U"][0] != 0, axis=0)  # genes without prior edges stay at 0
    assert moved["V"].sum() == 4 and 0 < moved["U"].sum() <= 4 < alive.sum()
    assert_allclose(one["U"][0][:, moved["U"]], whole["U"][0][:, moved["U"]], atol=1e-9)
    for name in "UV":
        assert_array_equal(one[name][0], other[name][0])
    found = fit(few)
    assert all_finite(found)
    assert np.any(found.blocks["U"][0] != start["U"][0], axis=0)[alive].all()


def test_netrex_kinship_of_targets_with_zeros_is_their_correlation():
    """Most of single-cell expression is 0: a zero cell is no reason for having no kin."""
    y = np.random.default_rng(1).poisson(1.0, size=(37, 6)) * 1.0
    y[:, 2] = y[:, 0] + (y[:, 2] > 1)
    assert (y == 0).any(axis=0).all()
    matrix = laplacian(1.0, 0.3).prepare(View(None, None, y, np.ones(37)), None).matrix
    pull = np.corrcoef(y.T) * ~np.eye(6, dtype=bool)
    pull *= np.abs(pull) > 0.3
    assert np.count_nonzero(pull) > 0
    assert_allclose(matrix, np.diag(np.abs(pull).sum(axis=0)) - pull, atol=1e-12)


def test_precision_of_the_data_and_the_order_of_cells_change_no_edge():
    """Rounding alone led to other networks where sweeps worked in single precision."""
    values = expression().astype(np.float32)
    spec = netrex_cf(PRIOR, FACTORS)
    turned = values[np.random.default_rng(2).permutation(len(values))]
    one, *others = (
        unigrn.fit(spec, Data.from_arrays(v, NAMES, dtype=dtype))
        for v, dtype in ((values, "float64"), (values, "float32"), (turned, "float32"))
    )
    for other in others:
        assert_array_equal(other.weights != 0, one.weights != 0)
        assert_allclose(other.weights, one.weights, atol=1e-5 * np.abs(one.weights).max())


def test_one_binary_layer_and_more_factors_than_genes():
    prior = Prior.from_dict({"g00": ["r0", "r1"], "g01": ["r1"], "g02": ["r0", "r1"]})
    found = fit(netrex_cf(prior, 40))
    assert all_finite(found)
    named = found.network().edges.head(5)[["target", "source"]].itertuples(index=False, name=None)
    assert set(named) == {("g00", "r0"), ("g00", "r1"), ("g01", "r1"), ("g02", "r0"), ("g02", "r1")}
    with pytest.raises(ValueError, match="confidence above 1; raise evidence"):
        fit(netrex_cf(prior, evidence=(1,)))


def test_the_sketch_and_one_cell_leave_nothing_undefined():
    """Start and read-out, which see the cells, are those of `netrex_cf`."""
    assert all_finite(fit(netrex_cf_sketch(PRIOR, FACTORS, scale=None), expression(0, 1)))


@pytest.mark.parametrize("method", [netrex_cf, netrex])
def test_what_does_not_apply_is_refused(method):
    data = data_of(expression())
    with pytest.raises(unigrn.PlanError, match="permuted copies differ: permuted copies of all ce"):
        unigrn.plan(unigrn.permuted(method(PRIOR), 2), data)
    with pytest.raises(unigrn.PlanError, match="no draws of candidates: bagging draws candidates"):
        unigrn.plan(unigrn.bagging(method(PRIOR)), data)
    with pytest.raises(unigrn.PlanError, match="does not use cell weights, which the data has"):
        unigrn.plan(method(PRIOR), data_of(expression(), weights=np.ones(CELLS)))
    with pytest.raises(ValueError, match="needs a prior"):
        unigrn.plan(method(None), data)


def test_netrex_runs_within_its_budgets():
    """From none to more than there are entries; r8, without prior edges, starts at 0 and stays."""
    size = len(PRIOR.align(NAMES[:9], NAMES).index)
    for keep, total, on, off in (
        (0, 0, 0, 0),
        (0, 1e6, 0, 200 - size),
        (1, 1, size, 0),
        (1, 1e6, size, 200 - size),
        (0.5, 1.0, round(size / 2), size - round(size / 2)),
    ):
        found = fit(netrex(PRIOR, keep, total))
        support, edge = found.plan.problem.prior.support, found.weights[0] != 0
        assert (np.count_nonzero(edge & support), np.count_nonzero(edge & ~support)) == (on, off)
        edges = found.network().edges
        assert len(edges) == on + off and not edges.isna().any(axis=None)
        assert edges["score"].between(0, 1 + 1e-12).all()
        assert edges["confidence"].between(0, 1).all()
        assert np.abs(found.theta).max() <= 1 and np.abs(found.blocks["A"][0]).max() <= 1
    again = fit(netrex(PRIOR, keep, total)).network().edges
    pd.testing.assert_frame_equal(again, edges, check_exact=True)
    values = expression()
    values[4], values[:, 12] = 0.0, 3.0
    found = fit(netrex(PRIOR, 1, 1e6), values)
    edges = found.network().edges
    assert not edges.isna().any(axis=None) and len(edges) == 8 * 24
    assert "g03" not in set(edges["target"])


def test_other_numbers_and_other_data_of_like_size_compile_nothing(count_compilations):
    base = fit()  # its programs may have been dropped since another test
    other = netrex_cf(
        PRIOR, FACTORS, (2.0, 5.0, 9.0), 2.0, 4.0, 0.3, 200, 2.0, 3.0, 0.5, "safe", 60, 1e-4, 0.1
    )
    with count_compilations() as compiled:
        found = fit(other, expression(3, 39), seed=5)
    assert not [
        n for n in ("prepared", "started", "advance", "finish", "read_off") if compiled.of(n)
    ]
    assert np.abs(found.weights - base.weights).max() > 0.1


def test_places_among_edges_are_those_of_a_stable_sort_at_either_length():
    """A list of an eighth of the entries is sorted where it holds them, else all."""
    r = np.random.default_rng(0)
    place = jax.jit(places)
    for density in (0.0, 0.05, 0.3, 1.0):
        values, mask = np.round(r.random((12, 40)), 1), r.random((12, 40)) < density
        order = np.flatnonzero(mask)[np.argsort(-values[mask], kind="stable")]
        want = np.zeros(mask.size, int)
        want[order] = np.arange(len(order))
        assert_array_equal(place(values, mask).reshape(-1), want)


def test_the_largest_entries_are_those_of_a_stable_sort():
    """Ties, zeros, infinities, tiny numbers, and neighbours that only their low bits tell apart."""
    r, chosen = np.random.default_rng(1), jax.jit(largest)
    v = r.random((9, 30))
    tiny = np.finfo(np.float32).tiny
    cases = (
        v,
        np.round(v, 1),
        v * (v < 0.2),
        0 * v,
        1 + 1e-14 * v,
        np.where(v < 0.2, np.inf, tiny),
        10.0 ** r.integers(-30, 30, v.shape),
    )
    for size in cases:
        for dtype in (np.float64, np.float32):
            got = size.astype(dtype)
            for count in (0, 1, 17, v.size - 1, v.size, v.size + 9):
                want = np.zeros(v.size, bool)
                want[np.argsort(-got.reshape(-1), kind="stable")[:count]] = True
                want &= got.reshape(-1) > 0
                assert_array_equal(chosen(got, np.int32(count)).reshape(-1), want)


def test_a_list_of_no_entries_but_the_diagonal():
    theta = np.arange(6.0).reshape(2, 3)
    for diagonal in ([1.0, 0.0, 2.0], [0.0, 0.0, 0.0]):
        listed = Symmetric.of(np.diag(diagonal))
        assert listed is not None
        assert_allclose(jnp.asarray(theta) @ listed, theta @ np.diag(diagonal))


def test_a_laplacian_of_few_entries_is_listed_and_is_the_same_term():
    """Value, slope, its directional derivative and the bound on its curvature; many stay dense."""
    r = np.random.default_rng(2)
    y = r.normal(size=(30, 60))
    y[:, 1:4] = y[:, :1] + 0.1 * r.normal(size=(30, 3))
    y[:, 9] = -y[:, 8] + 0.1 * r.normal(size=30)
    view = View(None, None, y, np.ones(30))
    dense = laplacian(0.7, 0.9).prepare(view, None)
    listed = (2.0 * laplacian(0.7, 0.9)).prepare(view, None).compact()
    matrix, few = np.asarray(dense.matrix), listed.term.matrix
    assert int(few.count) == np.count_nonzero(matrix) - 6 == 14 and few.row.shape == (16,)
    theta, way = r.normal(size=(2, 5, 60))

    def seen(term):
        f = lambda v: term(Blocks(theta=v), view, None)  # noqa: E731
        slope, turn = jax.jvp(jax.grad(f), (theta,), (way,))
        return f(theta), slope, turn, term.lipschitz(view, None)

    want = (
        1.4 * np.sum(theta * (theta @ matrix)),
        2.8 * theta @ matrix,
        2.8 * way @ matrix,
        2.8 * np.abs(matrix).sum(axis=1).max(),
    )
    for term in (listed, 2.0 * dense):
        for ours, theirs in zip(jax.jit(seen)(term), want, strict=True):
            assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    many = laplacian(0.7, 0.01).prepare(view, None)
    assert many.compact() is many


def test_the_slope_beside_the_objective_and_that_by_the_matrix_are_the_gradient(cases, batch):
    """What a sweep of NetREX starts with, and its step of the activities."""
    params, view, prior = pick(batch, 5)
    params = Blocks(theta=params.theta, A=params.A)
    spec = netrex(None)
    slots = Slots(spec.shape, tuple(t.prepare(view, prior) for t in spec.terms))
    theta, A = np.asarray(params.theta), np.asarray(params.A)
    residual = view.y - A.T @ theta
    L = np.asarray(slots.terms[1].matrix)
    value, steep = palm.ahead(slots, params, view, prior)
    assert_allclose(value, palm.objective(slots, params, view, prior), rtol=1e-12)
    assert_allclose(steep, -A @ residual + 2 * theta @ L + 0.8 * theta, rtol=1e-10, atol=1e-12)
    squares = Squares(theta, view.y.T, None, 0.5, 0.3)
    want = -theta @ residual.T + 0.6 * A
    assert_allclose(columns.slope(squares, A), want, rtol=1e-10, atol=1e-12)


def test_scores_are_divided_by_a_sum_that_means_something():
    """By the target's sum where that is half the sum of sizes or more, else by the latter."""
    ranked = np.array(
        [[3.0, 2.0, 3.0, -2.0, 0.0, 1.0], [1.0, -1.0, -1.0, -1.0, 0.0, 5.0]], np.float32
    )
    valid = np.ones(ranked.shape, bool)
    valid[1, 5] = False
    none = np.zeros(ranked.shape, np.float32)
    prior = unigrn.PriorView(valid, none, none.astype(np.int32), none > 0, valid)
    want = [[0.75, 2 / 3, 1.5, -2 / 3, 0, 1], [0.25, -1 / 3, -0.5, -1 / 3, 0, 0]]
    np.testing.assert_allclose(row_normalised(ranked, prior), want, rtol=1e-6)
