"""Learning from known edges: the closed form, what is left out, the evidence, and its nesting."""

from __future__ import annotations

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import unigrn
from unigrn import Spec
from unigrn.methods import known_targets as module
from unigrn.methods.known_targets import Evidence, known_targets
from unigrn.neighbours import alike, known_edges
from unigrn.solvers import representer

LADDER = "gradient (L-BFGS) on the whole network"
OPEN = {"strength": (0.1, 1.0), "width": (0.5, 1.0), "even": (0.0, 0.5)}


class World:
    """Genes of which some have known regulators, as arrays and as data."""

    def __init__(self, seed=0, regulators=4, targets=26, cells=15, noise=1.0, groups=None):
        rng = np.random.default_rng(seed)
        self.genes = np.array([f"g{i:03d}" for i in range(targets)])
        self.network = rng.random((regulators, targets)) < 0.35
        self.network[range(regulators), range(regulators)] = False
        activity = rng.normal(size=(cells, regulators))
        self.y = activity @ self.network + noise * rng.normal(size=(cells, targets))
        self.seen = np.zeros(targets, bool)
        self.seen[regulators : 2 * targets // 3] = True
        self.known = self.network & self.seen
        self.weight = rng.integers(1, 4, cells).astype(float)
        self.groups = groups

    def prior(self, known=None):
        known = self.known if known is None else known
        rows = [(self.genes[j], self.genes[t]) for j, t in np.argwhere(known)]
        return unigrn.Prior.from_edges(pd.DataFrame(rows, columns=["source", "target"]))

    def data(self, dtype="float64", weighted=False):
        return unigrn.Data.from_arrays(
            self.y,
            list(self.genes),
            dtype=dtype,
            groups=self.groups,
            weights=self.weight if weighted else None,
        )

    def fit(self, spec, **options):
        weighted = options.pop("weighted", False)
        return unigrn.fit(spec, self.data(weighted=weighted), **options)


@pytest.fixture
def world():
    return World()


def kernel(y, weight, width, even):
    """K from its definition."""
    y = (y - weight @ y / weight.sum()) * np.sqrt(weight)[:, None]
    u, s, v = np.linalg.svd(y / np.linalg.norm(y, axis=0), full_matrices=False)
    s, v = s[s > 1e-6 * s[0]], v[s > 1e-6 * s[0]]
    y = s[:, None] ** (1 - even) * v
    y /= np.linalg.norm(y, axis=0)
    apart = 1 - y.T @ y
    middle = np.median(apart[np.triu_indices(len(apart), 1)])
    out = (1 - 1e-4) * np.exp(-apart / (width * middle))
    np.fill_diagonal(out, 1)
    return out


def fitted(k, known, strength, without=()):
    """Theta from the targets with a known edge, some of them left out."""
    shown = np.setdiff1d(np.flatnonzero(known.any(axis=0)), without)
    system = k[np.ix_(shown, shown)] + strength * np.eye(len(shown))
    return known[:, shown] @ np.linalg.solve(system, k[shown])


def places(world, solution):
    problem = solution.plan.problem
    assert list(problem.targets) == list(world.genes)
    return np.searchsorted(world.genes, problem.regulators)


# --------------------------------------------------------------------------- closed form


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("width", "even"), [(1.0, 0.0), (0.5, 0.5), (2.0, 1.0)])
def test_theta_is_the_closed_form(world, weighted, width, even):
    spec = Spec(known_edges(), alike(0.3, width, even), prior=world.prior())
    solution = world.fit(spec, weighted=weighted)
    weight = world.weight if weighted else np.ones(len(world.y))
    k, rows = kernel(world.y, weight, width, even), places(world, solution)
    np.testing.assert_allclose(solution.theta[0], fitted(k, world.known[rows], 0.3), atol=1e-9)
    assert solution.converged.all() and solution.residual.max() < 1e-10
    np.testing.assert_allclose(solution.blocks["kernel"][0], [width, even])


def test_more_cells_than_genes_and_fewer_give_one_kernel(world):
    long = World(cells=60)
    spec = Spec(known_edges(), alike(0.3, 1.0, 0.5), prior=long.prior())
    solution = long.fit(spec)
    k = kernel(long.y, np.ones(60), 1.0, 0.5)
    want = fitted(k, long.known[places(long, solution)], 0.3)
    np.testing.assert_allclose(solution.theta[0], want, atol=1e-9)


def test_another_solver_finds_the_same_optimum(world):
    spec = Spec(known_edges(), 2.0 * alike(0.15, 1.0, 0.5), prior=world.prior())
    exact = world.fit(spec)
    plan = unigrn.plan(spec, world.data(), solver=LADDER, max_iterations=50000)
    from unigrn.run import run

    other = run(plan)
    assert other.converged.all()
    np.testing.assert_allclose(other.theta, exact.theta, atol=1e-6)
    np.testing.assert_allclose(other.targets["objective"], exact.targets["objective"], rtol=1e-8)


def test_a_scaled_loss_is_a_smaller_strength(world):
    one = world.fit(Spec(4.0 * known_edges(), alike(1.2), prior=world.prior()))
    two = world.fit(Spec(known_edges(), alike(0.3), prior=world.prior()))
    np.testing.assert_allclose(one.theta, two.theta, atol=1e-10)


def test_groups_of_cells_have_networks_of_their_own():
    labels = np.repeat(["a", "b"], [9, 12])
    world = World(cells=21, groups=labels)
    solution = world.fit(Spec(known_edges(), alike(0.3), prior=world.prior()))
    for number, name in enumerate("ab"):
        y = world.y[labels == name]
        want = fitted(kernel(y, np.ones(len(y)), 1, 0), world.known[places(world, solution)], 0.3)
        np.testing.assert_allclose(solution.theta[number], want, atol=1e-9)


def test_a_wrong_point_is_not_certified(world, monkeypatch):
    """The residual is of the problem, not of the arithmetic that found the point."""
    system = representer.system

    def off(*arguments):
        dual, out = system(*arguments)
        return 1.001 * dual, out

    monkeypatch.setattr(representer, "system", off)
    solution = world.fit(Spec(known_edges(), alike(0.3), prior=world.prior()))
    assert not solution.converged.any() and solution.residual.min() > 1e-4


# --------------------------------------------------------------------------- leaving out


@pytest.mark.parametrize("together", [False, True])
def test_left_out_predictions_are_those_of_refits(world, together):
    groups = pd.Series(np.arange(26) // 3, index=world.genes) if together else None
    spec = Spec(known_edges(together=groups), alike(0.3, 1.0, 0.5), prior=world.prior())
    solution = world.fit(spec)
    left_out, part = solution.blocks["left_out"][0], np.asarray(solution.blocks["part"][0])
    shown = world.known.any(axis=0)
    assert np.array_equal(part >= 0, shown)
    if together:  # no group is split
        assert all(len(set(part[shown & (groups == g)])) <= 1 for g in set(groups))
    k, known = kernel(world.y, np.ones(15), 1.0, 0.5), world.known[places(world, solution)]
    for number in range(part.max() + 1):
        own = np.flatnonzero(part == number)
        want = fitted(k, known, 0.3, own)[:, own]
        np.testing.assert_allclose(left_out[:, own], want, atol=1e-9)
    np.testing.assert_allclose(left_out[:, ~shown], solution.theta[0][:, ~shown], atol=1e-12)


def test_with_few_known_targets_each_is_left_out_alone():
    world = World(targets=12)
    solution = world.fit(Spec(known_edges(), alike(0.3), prior=world.prior()))
    part = np.asarray(solution.blocks["part"][0])
    shown = np.flatnonzero(part >= 0)
    assert len(set(part[shown])) == len(shown) > 1
    k, known = kernel(world.y, np.ones(15), 1, 0), world.known[places(world, solution)]
    inverse = np.linalg.inv(k[np.ix_(shown, shown)] + 0.3 * np.eye(len(shown)))
    textbook = known[:, shown] - known[:, shown] @ inverse / np.diag(inverse)
    np.testing.assert_allclose(solution.blocks["left_out"][0][:, shown], textbook, atol=1e-9)


def test_strength_and_kernel_are_those_that_rank_known_edges_best(world):
    solution = world.fit(Spec(known_edges(), alike(**OPEN), prior=world.prior()))
    part = np.asarray(solution.blocks["part"][0])
    known, shown = world.known[places(world, solution)], part >= 0
    best = {}
    for width in OPEN["width"]:
        for even in OPEN["even"]:
            k = kernel(world.y, np.ones(15), width, even)
            for strength in OPEN["strength"]:
                out = np.zeros(known.shape)
                for number in range(part.max() + 1):
                    own = part == number
                    out[:, own] = fitted(k, known, strength, np.flatnonzero(own))[:, own]
                found = unigrn.evaluate.ranking_metrics(
                    known[:, shown].ravel(), out[:, shown].ravel()
                )
                best[strength, width, even] = found["auprc"]
    chosen = (float(solution.blocks["strength"][0]), *map(float, solution.blocks["kernel"][0]))
    assert best[chosen] == pytest.approx(max(best.values()), abs=1e-12)
    assert len(set(np.round(list(best.values()), 6))) > 1


def test_padding_is_not_ranked():
    """Of scores below the 0 of a padded regulator the order stays what it is without."""
    scores, values = np.array([[0.5, -0.2], [-0.1, -0.4]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    real = np.ones((2, 2), bool)
    longer = [np.pad(v, [(0, 3), (0, 1)]) for v in (scores, values, real)]
    want = unigrn.evaluate.ranking_metrics(values.ravel(), scores.ravel())["auprc"]
    assert float(representer.precision(scores, values, real)) == pytest.approx(want, rel=1e-6)
    assert float(representer.precision(*longer)) == pytest.approx(want, rel=1e-6)


# --------------------------------------------------------------------------- refusals


def test_what_it_cannot_do_is_refused_with_the_reason(world):
    spec = Spec(known_edges(), alike(0.3), prior=world.prior())
    for changed, why in (
        (spec.replace(constraint=unigrn.no_self()), "fills every entry"),
        (unigrn.bagging(spec), "draws candidates"),
        (unigrn.folds(spec), "reads no cells"),
        (unigrn.permuted(spec), "unchanged"),
        (spec.replace(regularizer=unigrn.ridge(1.0)), "no kernel"),
    ):
        with pytest.raises(unigrn.PlanError, match=why):
            unigrn.plan(changed, world.data(), solver="closed form for kernels")
    with pytest.raises(unigrn.PlanError, match="chooses among them"):
        several = spec.replace(regularizer=alike([0.1, 1.0]))
        unigrn.plan(several, world.data(), solver=LADDER)


def test_without_a_known_target_or_a_second_group_it_says_so(world):
    spec = Spec(known_edges(), alike(0.3), prior=world.prior())
    with pytest.raises(ValueError, match="no target has a known edge"):
        world.fit(spec, targets=list(world.genes[20:]))
    one = pd.Series("same", index=world.genes)
    with pytest.raises(ValueError, match="one group of them"):
        world.fit(Spec(known_edges(together=one), alike([0.1, 1.0]), prior=world.prior()))


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: alike(0.0), "strength"),
        (lambda: alike([]), "at least one"),
        (lambda: alike(1.0, -1.0), "width"),
        (lambda: alike(1.0, 1.0, 1.5), "between 0 and 1"),
        (lambda: known_edges(together=np.ones((2, 2))), "one group for every target"),
    ],
)
def test_wrong_arguments(call, why):
    with pytest.raises(ValueError, match=why):
        call()


# --------------------------------------------------------------------------- evidence


def standard(values):
    return (values - values.mean(axis=0)) / values.std(axis=0)


def explained_without(y, known, own):
    """Drop-one variance of the activities that all targets but some make."""
    p = np.where(own[None, :], 0, known).astype(float)
    a = np.linalg.solve(p @ p.T + np.eye(len(p)), p @ y.T)
    unit, n = np.eye(len(p)), len(y)
    rest = ((y - a.T @ np.linalg.solve(a @ a.T + 0.01 * n * unit, a @ y)) ** 2).sum(axis=0)
    out = []
    for j in range(len(p)):  # an infinite penalty on b_j fixes it at 0
        others = [i for i in range(len(p)) if i != j]
        b = np.linalg.solve((a @ a.T + 0.01 * n * unit)[np.ix_(others, others)], a[others] @ y)
        full = np.linalg.solve(a @ a.T + 0.01 * n * unit, a @ y)

        def penalised(rows, b):
            return ((y - a[rows].T @ b) ** 2).sum(axis=0) + 0.01 * n * (b**2).sum(axis=0)

        out.append(penalised(others, b) - penalised(list(range(len(p))), full))
    return np.array(out) / (rest + np.array(out))


def test_columns_are_what_they_say(world):
    solution = world.fit(known_targets(world.prior(), **OPEN))
    rows, part = places(world, solution), np.asarray(solution.blocks["part"][0])
    problem = solution.plan.problem

    def table(name):
        out = np.full((len(rows), len(world.genes)), np.nan)
        out[problem.candidate, problem.entry_target] = solution.statistics[name][0]
        return out

    own_gene = world.genes[rows][:, None] == world.genes[None, :]
    y, known = standard(world.y), world.known[rows]
    explained = explained_without(y, known, np.zeros(len(part), bool))
    for number in range(part.max() + 1):
        own = part == number
        explained[:, own] = explained_without(y, known, own)[:, own]
    for name in ("score", "regulon", "explained", "context"):
        assert np.array_equal(np.isnan(table(name)), own_gene)
    near = ~own_gene
    np.testing.assert_allclose(table("explained")[near], explained[near], rtol=1e-6, atol=1e-9)
    left_out = np.asarray(solution.blocks["left_out"][0])
    np.testing.assert_allclose(table("regulon")[near], left_out[near], atol=1e-12)
    size = np.abs(y[:, rows].T @ y / len(y))
    z = []
    for axis in (0, 1):
        m = np.ma.array(size, mask=own_gene)
        z.append(
            np.maximum((m - m.mean(axis=axis, keepdims=True)) / m.std(axis=axis, keepdims=True), 0)
        )
    context = np.sqrt(z[0] ** 2 + z[1] ** 2).filled(0)
    np.testing.assert_allclose(table("context")[near], context[near], rtol=1e-6, atol=1e-9)

    # The weights, by a minimiser of another kind.
    features = [left_out, np.log(np.clip(left_out, 1e-3, 1)), np.sqrt(explained)]
    features += [np.log(explained + 1e-4), context]
    shown = near & (part >= 0)[None, :]
    f = np.array([(v - v[shown].mean()) / v[shown].std() for v in map(np.asarray, features)])
    f, label = np.concatenate([f, np.ones((1, *near.shape))]), known[shown]

    def cost(b):
        odds = b @ f[:, shown]
        return np.sum(np.logaddexp(0, odds) - label * odds) + 0.5 * b[:-1] @ b[:-1]

    b = minimize(cost, np.zeros(len(f)), method="BFGS", options={"gtol": 1e-9}).x
    want = 1 / (1 + np.exp(-np.einsum("k,kqp->qp", b, f)))
    np.testing.assert_allclose(table("score")[near], want[near], rtol=2e-4)


def test_known_edges_are_scored_by_other_evidence_unless_the_prior_is_a_noisy_list(world):
    prior = world.prior()
    plain, noisy = (world.fit(known_targets(prior, trust=t, **OPEN)) for t in (None, 1.0))
    more = world.fit(known_targets(prior, trust=2.5, **OPEN))
    known = world.known[places(world, plain)]
    problem = plain.plan.problem
    at = known[problem.candidate, problem.entry_target]
    odds = [
        np.log(s.statistics["score"][0]) - np.log1p(-s.statistics["score"][0])
        for s in (noisy, more)
    ]
    real = ~np.isnan(odds[0])
    np.testing.assert_allclose((odds[1] - odds[0])[real], np.where(at, 1.5, 0)[real], atol=1e-6)
    assert not np.allclose(odds[0][real], np.log(plain.statistics["score"][0][real]))


@pytest.mark.parametrize("constant", [np.log(1e-3), 0.1, 0.0])
def test_evidence_that_does_not_vary_where_edges_are_known_has_no_say(constant):
    rng = np.random.default_rng(0)
    features, shown = rng.normal(size=(2, 3, 49)), np.arange(49) < 46
    features[1][:, shown] = constant
    shown = np.broadcast_to(shown, (3, 49))
    edges = 1.0 * (rng.random((3, 49)) < 0.4)
    features, edges = jnp.asarray(features), jnp.asarray(edges)
    odds = np.asarray(module.logistic(features, edges, shown))
    np.testing.assert_allclose(odds, module.logistic(features[:1], edges, shown), atol=1e-4)
    assert np.ptp(odds) > 0.01


def test_another_solver_without_left_out_predictions_is_refused(world):
    spec = known_targets(world.prior(), strength=0.3, even=0.0)
    with pytest.raises(ValueError, match="closed form for kernels"):
        unigrn.fit(spec, world.data(), solver=LADDER, max_iterations=5)


# --------------------------------------------------------------------------- nesting


def sees_own(world, columns, part_of=7):
    """Which columns of a target and its part change with the target's own known edges.

    Strength and kernel are fixed: they are two numbers chosen by all targets at once.
    """
    fits = []
    flipped = world.known.copy()
    first = world.fit(known_targets(world.prior(), strength=0.3, even=0.5).replace(columns=columns))
    own = np.asarray(first.blocks["part"][0]) == part_of
    rows = places(world, first)
    for known in (world.known, flipped):
        if known is flipped:  # other edges of the same targets, and at least one
            for t in np.flatnonzero(own):
                flipped[rows, t] = ~world.known[rows, t]
                flipped[rows[0], t] |= not flipped[rows, t].any()
        spec = known_targets(world.prior(known), strength=0.3, even=0.5)
        fits.append(world.fit(spec.replace(columns=columns)))
    assert not np.array_equal(flipped, world.known) and own.any()
    here = own[first.plan.problem.entry_target]
    a, b = (f.statistics for f in fits)
    return {
        n for n in a if not np.allclose(a[n][0][here], b[n][0][here], atol=1e-9, equal_nan=True)
    }


def test_no_evidence_of_a_target_sees_its_own_edges(world):
    assert sees_own(world, Evidence()) & {"regulon", "explained", "context"} == set()


class Fitted(Evidence):
    """A leak: the prediction of theta with the target's own edges in it."""

    def __call__(self, params, data, prior):
        return super().__call__(params.replace(left_out=params.theta), data, prior)


class Whole(Evidence):
    """A leak: activities that the target helped to make."""

    def __call__(self, params, data, prior):
        found = module.without_own

        def own(edges, y, count, part):
            return found(edges, y, count, 0 * part - 1)

        module.without_own = own
        try:
            return super().__call__(params, data, prior)
        finally:
            module.without_own = found


@pytest.mark.parametrize(("leak", "column"), [(Fitted(), "regulon"), (Whole(), "explained")])
def test_a_leak_planted_in_the_nesting_is_caught(world, leak, column):
    assert column in sees_own(world, leak)


def test_nothing_is_found_where_there_is_nothing():
    """Random edges are scored by chance where they are known, and far above it with a leak."""
    rng = np.random.default_rng(3)
    world = World(seed=5, targets=120, cells=12)
    world.known = (rng.random(world.known.shape) < 0.3) & world.seen
    found = {}
    for columns in (Evidence(), Fitted()):
        solution = world.fit(
            known_targets(world.prior(), strength=0.1, even=0.0).replace(columns=columns)
        )
        problem, rows = solution.plan.problem, places(world, solution)
        label = world.known[rows][problem.candidate, problem.entry_target]
        shown = world.known.any(axis=0)[problem.entry_target]
        score = solution.statistics["score"][0]
        keep = shown & ~np.isnan(score)
        found[type(columns).__name__] = unigrn.evaluate.ranking_metrics(label[keep], score[keep])
    assert found["Evidence"]["auroc"] < 0.65
    assert found["Fitted"]["auroc"] > 0.9


def test_hidden_regulon_members_are_found():
    """Regulators whose own genes say nothing: their known targets do."""
    world = World(seed=1, regulators=5, targets=160, cells=40, noise=0.7)
    solution = world.fit(known_targets(world.prior()))
    problem, rows = solution.plan.problem, places(world, solution)
    score, hidden = solution.statistics["score"][0], ~world.seen[problem.entry_target]
    label = world.network[rows][problem.candidate, problem.entry_target]
    keep = hidden & ~np.isnan(score)
    assert unigrn.evaluate.ranking_metrics(label[keep], score[keep])["auroc"] > 0.85


# --------------------------------------------------------------------------- real data


@pytest.mark.slow
def test_bsubtilis_with_operons_kept_together():
    folder = os.environ.get("UNIGRN_SHARED")
    if not folder or not (Path(folder) / "datasets" / "bsubtilis").is_dir():
        pytest.skip("needs the bsubtilis data set: set UNIGRN_SHARED to a folder with datasets/")
    import anndata

    folder = Path(folder) / "datasets" / "bsubtilis"
    gold = pd.read_csv(folder / "gold.tsv", sep="\t")
    table = pd.read_csv(folder / "target_folds.tsv", sep="\t").set_index("target")
    targets = np.unique(gold["target"])
    held = table.index[table["fold_operon"] == 0]
    prior = unigrn.Prior.from_edges(gold[~gold["target"].isin(held)])
    data = unigrn.Data.from_anndata(anndata.read_h5ad(folder / "expression.h5ad"))
    spec = known_targets(prior, together=table["operon"].loc[targets].astype(str))
    solution = unigrn.fit(spec, data, targets=list(targets)).require_converged()
    problem = solution.plan.problem
    tfs, hidden = np.unique(gold["tf"]), np.isin(targets, held)
    truth = (
        pd.crosstab(gold["tf"], gold["target"]).reindex(index=tfs, columns=targets).to_numpy() > 0
    )
    real = (tfs[:, None] != targets[None, :]) & hidden[None, :]
    least = {"regulon": 0.54, "score": 0.57, "explained": 0.3}
    for name, bound in least.items():
        scores = np.full(truth.shape, -1.0)
        values = np.nan_to_num(solution.statistics[name][0], nan=-1.0)
        scores[
            np.searchsorted(tfs, problem.regulators)[problem.candidate], problem.entry_target
        ] = values
        found = unigrn.evaluate.ranking_metrics(truth[real], scores[real])
        assert found["auprc"] > bound, (name, found["auprc"])
