"""What is in examples/extend, as it stands, against a computation of its own for each."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Lasso, PoissonRegressor

import unigrn
from unigrn import Data, Prior

FOLDER = Path(__file__).parents[1] / "examples" / "extend"
FILES = sorted(path.name for path in FOLDER.glob("*.py"))
REGULATORS = [f"{letter}{i}" for letter in "ab" for i in range(3)]
TARGETS = [f"y{i}" for i in range(4)]


def example(name):
    spec = importlib.util.spec_from_file_location(f"extend_{name[:-3]}", FOLDER / name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6))
    y = x @ (rng.normal(size=(6, 4)) * (rng.random((6, 4)) < 0.6)) + 0.5 * rng.normal(size=(80, 4))
    # One target lacks three regulators; the names of the prior are in no order.
    prior = Prior.from_dict(
        {"y0": ["b2", "a0", "b1"], **{t: REGULATORS[::-1] for t in TARGETS[1:]}}
    )
    return x, y, prior


def data_of(x, y, **more):
    return Data.from_arrays(np.c_[x, y], REGULATORS + TARGETS, dtype="float64", **more)


def centred(x, y):
    return x - x.mean(0), y - y.mean(0)


def fitted(spec, data, **options):
    return unigrn.fit(spec, data, regulators=REGULATORS, targets=TARGETS, **options)


def converged(solution):
    return set(solution.certificate["status"]) == {"converged"}


def test_every_file_is_tested_and_uses_public_names_only():
    text = Path(__file__).read_text()
    for name in FILES:
        assert f'example("{name}")' in text, name
        lines = (FOLDER / name).read_text().splitlines()
        assert not [line for line in lines if "from unigrn." in line or "import unigrn." in line]


def test_term(drawn):
    x, y, prior = drawn
    module = example("term.py")
    own = {name: name[0] for name in REGULATORS}
    lasso = module.group_lasso(30.0, own)
    spec = unigrn.Spec(unigrn.least_squares(), lasso, unigrn.support(), prior=prior)
    solution = fitted(spec, data_of(x, y))
    assert converged(solution)
    a, c = centred(x, y)
    allowed = np.ones((6, 4), bool)
    allowed[:, 0] = [n in ("b2", "a0", "b1") for n in REGULATORS]
    theta, bound = np.zeros((6, 4)), 2 * np.linalg.eigvalsh(a.T @ a)[-1]
    for _ in range(4000):
        v = np.where(allowed, theta - 2 * a.T @ (a @ theta - c) / bound, 0)
        for rows in (slice(0, 3), slice(3, 6)):
            length = np.maximum(np.linalg.norm(v[rows], axis=0), 1e-300)
            v[rows] *= np.maximum(1 - 30.0 / bound / length, 0)
        theta = v
    np.testing.assert_allclose(solution.theta[0], theta, atol=1e-7)
    assert converged(fitted(module.grouped(prior), data_of(x, y)))


def test_coupled(drawn):
    x, y, prior = drawn
    module = example("coupled.py")
    solution = fitted(module.factored(prior), data_of(x, y))
    assert converged(solution)
    assert solution.blocks["Programs"][0].shape == (2, 4)
    assert solution.block("Use").columns.tolist() == REGULATORS
    a, c = centred(x, y)
    theta, z = solution.theta[0], solution.blocks["Use"][0].T @ solution.blocks["Programs"][0]
    best = np.linalg.solve(a.T @ a + 10 * np.eye(6), a.T @ c + 10 * z)
    np.testing.assert_allclose(theta, best, atol=1e-6)


def test_solver(drawn):
    x, y, prior = drawn
    module = example("solver.py")
    solution = fitted(module.lasso(prior), data_of(x, y), solver=module.COORDINATES)
    assert solution.plan.solver.name == "coordinate descent"
    assert converged(solution)
    a, c = centred(x, y)
    for j in range(4):
        want = Lasso(5.0 / (2 * len(x)), tol=1e-12, fit_intercept=False).fit(a, c[:, j]).coef_
        np.testing.assert_allclose(solution.theta[0][:, j], want, atol=1e-6)
    # Stopped early it is not certified, whatever it says itself.
    early = fitted(module.lasso(prior), data_of(x, y), solver=module.COORDINATES, max_iterations=1)
    assert not early.converged.all()
    with pytest.raises(unigrn.PlanError, match="coordinate descent does not take"):
        fitted(unigrn.Spec(unigrn.huber()), data_of(x, y), solver=module.COORDINATES)


def test_over(drawn):
    x, y, prior = drawn
    module = example("over.py")
    solution = fitted(module.resampled(prior, 2.0, 7), data_of(x, y), seed=3)
    rows = module.PoissonBootstrap(7).cells(80, 0, 3, None)(0, 80)
    members = []
    for w in rows:
        a = x - w @ x / w.sum()
        c = y - w @ y / w.sum()
        members.append(np.linalg.solve(a.T * w @ a + 2 * np.eye(6), a.T * w @ c))
    np.testing.assert_allclose(solution.theta[0], np.median(members, axis=0), atol=1e-8)
    assert "interquartile" in solution.network().edges.columns


def test_stage(drawn):
    x, y, _ = drawn
    module = example("stage.py")
    prior = Prior.from_dict({"a0": ["M"], "a1": ["M"], "b0": ["N"], "b1": ["N", "M"], "b2": ["O"]})
    solution = unigrn.fit(module.modules(prior, 2.0), data_of(x, y), targets=TARGETS)
    assert solution.plan.problem.regulators.tolist() == ["M", "N"]  # O has one gene only
    means = np.c_[x[:, [0, 1, 4]].mean(1), x[:, [3, 4]].mean(1)]
    a, c = centred(means, y)
    want = np.linalg.solve(a.T @ a + 2 * np.eye(2), a.T @ c)
    np.testing.assert_allclose(solution.theta[0], want, atol=1e-8)


def test_activity_of_factors_is_a_stage_of_ours(drawn):
    x, y, _ = drawn
    edges = pd.DataFrame(
        {
            "source": ["F", "F", "G"],
            "target": ["a0", "a1", "b0"],
            "weight": [1.0, 2.0, 1.0],
            "sign": [1, -1, 1],
        }
    )
    prior = Prior.from_edges(edges)
    spec = unigrn.Spec(
        unigrn.least_squares(), unigrn.ridge(1.0), prior=prior, stages=unigrn.activity()
    )
    solution = unigrn.fit(spec, data_of(x, y), targets=TARGETS)
    p = np.zeros((2, 10))
    p[0, :2], p[1, 3] = [1, -2], 1
    a, c = centred(np.c_[x, y] @ np.linalg.pinv(p), y)
    want = np.linalg.solve(a.T @ a + np.eye(2), a.T @ c)
    np.testing.assert_allclose(solution.theta[0], want, atol=1e-8)


def test_across(drawn):
    x, y, prior = drawn
    module = example("across.py")
    groups = np.repeat(["early", "late", "middle"], [20, 25, 35])
    solution = fitted(module.lineage(prior, 7.0), data_of(x, y, groups=groups))
    assert converged(solution)
    left, right = np.zeros((18, 18)), np.zeros((18, 4))
    for i, name in enumerate(sorted(set(groups))):
        a, c = centred(x[groups == name], y[groups == name])
        left[6 * i : 6 * i + 6, 6 * i : 6 * i + 6] = a.T @ a + np.eye(6)
        right[6 * i : 6 * i + 6] = a.T @ c
    d = np.array([[1, -1, 0], [0, 1, -1]])
    want = np.linalg.solve(left + 7 * np.kron(d.T @ d, np.eye(6)), right).reshape(3, 6, 4)
    np.testing.assert_allclose(solution.theta, want, atol=1e-7)


def test_external():
    module = example("external.py")
    rng = np.random.default_rng(1)
    x, depth = 0.5 * rng.normal(size=(300, 6)), rng.uniform(0.5, 3, 300)
    y = rng.poisson(depth[:, None] * np.exp(0.5 + x @ rng.normal(size=(6, 4)) * 0.5)).astype(float)
    groups = np.where(rng.random(300) < 0.4, "one", "two")
    data = data_of(x, y, groups=groups).with_extra(depth=depth)
    solution = fitted(module.counts(None, 2.0), data)
    assert converged(solution)
    for g, name in enumerate(("one", "two")):
        own = groups == name
        for j in range(4):
            # scikit-learn: mean deviance / 2 by exposure, + alpha / 2 |theta|^2.
            total = depth[own].sum()
            want = PoissonRegressor(alpha=4.0 / total, tol=1e-10, max_iter=1000).fit(
                x[own], y[own, j] / depth[own], sample_weight=depth[own]
            )
            np.testing.assert_allclose(solution.theta[g][:, j], want.coef_, atol=1e-5)
            assert abs(solution.blocks["intercept"][g, j] - want.intercept_) < 1e-5
    few = fitted(module.few_at_a_time(None, 2.0), data)
    assert set(few.certificate["status"]) == {"stationary within the noise of its gradient"}
    assert np.abs(few.theta - solution.theta).max() < 0.05
    with pytest.raises(ValueError, match="depth has shape"):
        data.with_extra(depth=depth[1:])


def test_columns(drawn):
    x, y, prior = drawn
    module = example("columns.py")
    solution = fitted(module.ranked(prior), data_of(x, y))
    a, c = centred(x, y)
    theta = np.linalg.solve(a.T @ a + np.eye(6), a.T @ c)
    rss = ((c - a @ theta) ** 2).sum(0)
    edges = solution.network().edges.set_index(["source", "target"])["explained"]
    for i, source in enumerate(REGULATORS):
        without = theta.copy()
        without[i] = 0
        want = (((c - a @ without) ** 2).sum(0) - rss) / (c**2).sum(0)
        for j, target in enumerate(TARGETS):
            assert abs(edges[source, target] - want[j]) < 1e-9


def test_a_method_of_ones_own_on_the_command_line(drawn, tmp_path):
    import anndata

    x, y, prior = drawn
    table = anndata.AnnData(np.c_[x, y].astype(np.float32))
    table.var_names = REGULATORS + TARGETS
    table.write_h5ad(tmp_path / "data.h5ad")
    lines = [f"{s}\t{t}" for t in TARGETS for s in REGULATORS]
    (tmp_path / "prior.tsv").write_text("source\ttarget\n" + "\n".join(lines) + "\n")

    def ran(method, *more):
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "unigrn",
                "infer",
                "data.h5ad",
                "--prior",
                "prior.tsv",
                "--method",
                method,
                "-o",
                "out.tsv",
                *more,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    own = f"{FOLDER / 'columns.py'}:ranked"
    done = ran(own, "--param", "alpha=3", "--param", "max_iterations=9")
    assert done.returncode == 0, done.stderr
    assert "explained" in (tmp_path / "out.tsv").read_text().splitlines()[0]
    (tmp_path / "mine.py").write_text("def broken(prior):\n    return 3\n\ndef other(prior): ...\n")
    for method, words in [
        (f"{FOLDER / 'columns.py'}:rankd", "has no function 'rankd' (did you mean ranked?)"),
        ("nowhere.py:f", "there is no file"),
        ("no_such_module:f", "cannot be imported"),
        ("mine.py:broken", "returns int; a method returns a Spec"),
        (own, "no parameter 'alhpa'"),
    ]:
        done = ran(method, *(["--param", "alhpa=1"] if method == own else []))
        assert done.returncode == 2 and words in done.stderr, (method, done.stderr)
        assert len(done.stderr.splitlines()) == 1


def test_ways_are_a_question_to_the_ladder():
    lasso = unigrn.Spec(unigrn.least_squares(), unigrn.l1(1.0))
    ways = lasso.ways()
    assert ways["bags"].solver == ways["path"].solver == "active sets on moments"
    assert "need a start that draws" in ways["random starts"].why
    assert "minibatches are for" in ways["minibatches"].why or ways["minibatches"].solver is None
    assert 'path(spec, "L1.strength", [...])' in str(ways)
    from unigrn.methods.netrex_cf import netrex_cf

    coupled = netrex_cf(None).ways()
    assert coupled["random starts"].solver.startswith("PALM")
    assert coupled["permuted copies"].solver is None
    assert "does not use cell weights" in coupled["bags"].why or coupled["bags"].solver is None


def test_two_axes_that_draw_candidates_are_refused():
    spec = unigrn.Spec(unigrn.least_squares(), unigrn.ridge(1.0))
    with pytest.raises(ValueError, match="both draw candidates"):
        unigrn.bagging(unigrn.bagging(spec))


def test_arrays_follow_their_regulators_by_name(drawn):
    x, y, prior = drawn
    weight = pd.Series(np.arange(1.0, 7), index=REGULATORS)

    def penalty(params, data, prior, w):
        return jnp.sum((w if w.ndim == params.theta.ndim else w[:, None]) * params.theta**2)

    def theta(w, **names):
        spec = unigrn.Spec(
            unigrn.least_squares(), unigrn.regularizer(penalty, w=w), unigrn.support(), prior=prior
        )
        return unigrn.fit(spec, data_of(x, y), **names).theta[0]

    want = theta(weight)
    np.testing.assert_array_equal(want, theta(weight[::-1]))
    named = unigrn.along(weight.to_numpy(), "regulators", names=REGULATORS)
    np.testing.assert_array_equal(want, theta(named))
    np.testing.assert_array_equal(want, theta(weight.to_numpy()))  # one order only can be meant
    a, c = centred(x[:, [0, 4, 5]], y[:, :1])
    own = np.linalg.solve(a.T @ a + np.diag([1.0, 5, 6]), a.T @ c)[:, 0]
    np.testing.assert_allclose(want[[0, 4, 5], 0], own, atol=1e-7)
    for wrong, words in [
        (weight[:4], "without a value"),
        (weight.to_numpy()[:5], "length 5 is that of neither"),
        (unigrn.along(weight.to_numpy()[:5], "regulators"), "has length 5"),
    ]:
        with pytest.raises(ValueError, match=words):
            theta(wrong)
    with pytest.raises(ValueError, match="sorted by name"):
        theta(weight.to_numpy(), regulators=REGULATORS[::-1])
    with pytest.raises(TypeError, match="did you mean the option coupled"):
        unigrn.regularizer(penalty, copuled=True)
