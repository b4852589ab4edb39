"""LIONESS: networks of units of cells, each from the fit without it, beside fits one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import unigrn
from unigrn import Data, PlanError, Prior, Spec, huber, l1, least_squares, lioness, ridge
from unigrn.leftout import LeftOut
from unigrn.methods import get

FACTORS, TARGETS = ["a", "b", "c"], [f"t{k}" for k in range(5)]
NAMES = [*FACTORS, *TARGETS]
UNITS = np.array(["u", "v", None, "w", "u", "v"] * 5, object)
WEIGHTS = np.random.default_rng(4).uniform(0.5, 2, 30)


def expression(cells=30, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(cells, 3)) + 2
    return np.c_[values, values @ rng.normal(size=(3, 5)) + rng.normal(size=(cells, 5))]


def prior_of(seed=1):
    on = np.random.default_rng(seed).random((3, 5)) < 0.5
    on[0, 0], on[1, 0] = True, False
    i, j = np.nonzero(on)
    table = {"source": np.array(FACTORS)[i], "target": np.array(TARGETS)[j]}
    return Prior.from_edges(pd.DataFrame(table))


def fit(spec, values, **more):
    options = {k: more.pop(k) for k in ("max_iterations", "tolerance") if k in more}
    data = Data.from_arrays(values, NAMES, dtype="float64", **more)
    return unigrn.fit(spec, data, regulators=FACTORS, targets=TARGETS, **options)


def one_by_one(spec, values, units, weights=None, column="weights", **options):
    """Networks of the units by the formula, from a fit of its own for every subset of cells."""

    def found(keep):
        own = None if weights is None else weights[keep]
        out = fit(spec, values[keep], weights=own, **options)
        return out.weights[0] if column == "weights" else out.statistics[column][0]

    share = np.ones(len(values)) if weights is None else weights
    whole, out = found(np.ones(len(values), bool)), []
    for unit in sorted({u for u in units if u is not None}):
        without = np.array([u != unit for u in units])
        rest, size = found(without), share.sum() / share[~without].sum()
        out.append(size * (whole - rest) + rest)
    return np.array(out)


# A unit of scale holds for all cells, as it does for groups: of these specs none has one.
SPECS = {
    "closed form": Spec(least_squares(), ridge(2.0)),
    "active sets": Spec(least_squares(), l1(3.0)),
    "rows": Spec(huber(1.0), ridge(1.0)),
    "adam": get("otter").function(prior_of()),
    "iteration": get("panda").function(prior_of(), tolerance=1e-2),
    "score": get("panda").function(prior_of(), tolerance=1e-2),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_networks_of_units_are_those_of_the_formula(name, weighted):
    spec, values = SPECS[name], expression()
    weights = WEIGHTS if weighted else None
    exact = {} if name in ("adam", "iteration", "score") else {"tolerance": 1e-12}
    found = fit(lioness(spec), values, groups=UNITS, weights=weights, **exact)
    want = one_by_one(spec, values, UNITS, weights, **exact)
    assert found.plan.data.groups == ("u", "v", "w") and found.converged.all()
    np.testing.assert_allclose(found.weights, want, atol=1e-8 * np.abs(want).max())
    assert np.abs(want[0] - want[1]).max() > 1e-6 * np.abs(want).max()
    if name == "score":
        np.testing.assert_allclose(found.statistics["score"], want, atol=1e-8)


def test_numbers_of_cells_stay_with_their_cells():
    """Sizes that a stage brings, and weights: of each cell, in whatever order it is read."""
    values = np.random.default_rng(0).poisson(np.exp(np.clip(expression() / 3, -1, 2))) * 1.0
    values *= np.random.default_rng(1).integers(1, 9, (30, 1))
    spec = get("poisson_glm").function(prior_of()).replace(scale=None)

    def found(cells, spec=spec, groups=None):
        data = Data.from_arrays(values[cells], NAMES, dtype="float64", groups=groups)
        return unigrn.fit(spec, data, tolerance=None if groups is not None else 1e-11)

    whole, networks = found(np.arange(30)).weights[0], found(np.arange(30), lioness(spec), UNITS)
    assert networks.converged.all()
    for unit, got in zip("uvw", networks.weights, strict=True):
        rest = found(np.flatnonzero(UNITS != unit)).weights[0]
        want = 30 / (UNITS == unit).sum() * (whole - rest) + rest
        np.testing.assert_allclose(got, want, atol=1e-7)


def test_every_cell_is_a_unit_where_there_are_no_groups():
    values = expression(12)
    found = fit(lioness(SPECS["closed form"]), values)
    want = one_by_one(SPECS["closed form"], values, [f"{i:02d}" for i in range(12)])
    np.testing.assert_allclose(found.weights, want, atol=1e-9 * np.abs(want).max())
    assert found.plan.data.groups[:2] == ("cell 00", "cell 01")
    assert set(found.network().edges["group"]) == set(found.plan.data.groups)
    # In single precision too: differences of fits need digits.
    data = Data.from_arrays(values.astype(np.float32), NAMES)
    single = unigrn.fit(lioness(SPECS["closed form"]), data, regulators=FACTORS, targets=TARGETS)
    assert single.weights.dtype == np.float64 and data.dtype == "float32"
    np.testing.assert_allclose(single.weights, want, atol=1e-3 * np.abs(want).max())


def test_a_linear_statistic_comes_back_cell_by_cell():
    """Of a network that is a mean over cells, the network of a unit is the mean over its own."""
    values = expression()
    values -= values.mean(axis=0)
    spec = get("correlation").function(None)
    found = fit(lioness(spec.replace(columns=(), scale=None)), values, groups=UNITS)
    parts = one_by_one(spec.replace(columns=(), scale=None), values, UNITS)
    np.testing.assert_allclose(found.weights, parts, atol=1e-9)


@pytest.mark.parametrize("scale", ["both", "standard", "regulators", "range"])
def test_units_of_genes_are_those_of_all_cells(scale):
    spec = Spec(least_squares(), ridge(2.0), scale=scale)
    values = expression() * np.r_[1, 10, 0.1, np.ones(5)]
    found = fit(lioness(spec), values, groups=UNITS)
    # By hand: the same genes, scaled once, over all cells.
    wide = np.ptp(values, axis=0) / 2 if scale == "range" else values.std(axis=0)
    wide[3:] = 1 if scale == "regulators" else wide[3:]
    want = one_by_one(spec.replace(scale=None), values / wide, UNITS)
    np.testing.assert_allclose(found.weights, want, atol=1e-9 * np.abs(want).max())


@pytest.mark.parametrize("size", [1.0, 1e3, 1e7])
def test_a_gene_that_varies_in_one_unit_costs_no_digits(size):
    values = expression()
    values[:, 1] = np.where(UNITS == "v", size * values[:, 1], 1e-3 * values[:, 1])
    values[:, 2] = np.where(UNITS == "u", values[:, 2], 7.0)  # constant without it
    values[:, 6] = np.where(UNITS == "w", values[:, 6], 0.0)
    found = fit(lioness(SPECS["closed form"]), values, groups=UNITS)
    want = one_by_one(SPECS["closed form"], values, UNITS)
    np.testing.assert_allclose(found.weights, want, atol=1e-7 * np.abs(want).max())
    assert np.isfinite(found.weights).all()


def test_cells_are_read_once_for_moments(monkeypatch):
    seen = []
    blocks = Data.blocks

    def counted(self, *arguments):
        for block in blocks(self, *arguments):
            seen.append(len(block.values))
            yield block

    monkeypatch.setattr(Data, "blocks", counted)
    fit(lioness(SPECS["closed form"]), expression())
    assert sum(seen) == 30


def test_a_unit_is_as_good_as_the_worse_of_its_fits():
    spec = Spec(huber(1.0), ridge(1.0))
    found = fit(lioness(spec), expression(), groups=UNITS, max_iterations=1)
    assert not found.converged.any()
    fine = unigrn.plan(lioness(spec), Data.from_arrays(expression(), NAMES, dtype="float64"))
    assert fine.tolerance == pytest.approx(1e-9 / 30) and isinstance(fine.data, LeftOut)
    assert "leave-one-out networks" in fine.explain()


def test_a_table_says_who_has_a_network(tmp_path):
    found = fit(lioness(SPECS["closed form"]), expression(), groups=UNITS).network()
    assert sorted(set(found.edges["group"])) == ["u", "v", "w"]
    assert found.certificate["group"].nunique() == 3
    assert found.provenance["data"]["groups"] == {"u": 10, "v": 10, "w": 5}
    said = [entry.message for entry in found.alignment.entries]
    assert not any("left out" in line for line in said)
    found.write(tmp_path / "net.tsv")
    assert set(pd.read_csv(tmp_path / "net.tsv", sep="\t")["group"]) == {"u", "v", "w"}


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: lioness(unigrn.bagging(SPECS["closed form"])), "bagging draws at random"),
        (lambda: lioness(unigrn.stability(SPECS["active sets"])), "draws at random"),
        (lambda: lioness(unigrn.folds(SPECS["closed form"])), "draws at random"),
        (lambda: lioness(unigrn.consensus(SPECS["adam"], 3)), "draws at random"),
        (lambda: unigrn.jackknife(lioness(SPECS["closed form"])), "the last transformation"),
        (lambda: lioness(lioness(SPECS["closed form"])), "the last transformation"),
        (lambda: lioness(get("giraffe").function(prior_of())), "draws at random"),
        (lambda: lioness(get("linear_gaussian").function(prior_of(), draws=2)), "at random"),
        (lambda: lioness(get("tree_fused").function(prior_of())), "couples the groups"),
    ],
)
def test_what_lioness_would_make_noise_of_is_refused(make, says):
    with pytest.raises(PlanError, match=says):
        fit(make(), expression(), groups=UNITS)


@pytest.mark.parametrize(
    "groups, weights, cells, says",
    [
        (["u"] * 30, None, 30, "all the weight"),
        (UNITS, np.where(UNITS == "v", 0.0, 1.0), 30, "all 0 in a group, as in 'v'"),
        (None, None, 1001, "at most 1,000"),
    ],
)
def test_units_that_cannot_be_left_out_are_refused(groups, weights, cells, says):
    with pytest.raises(ValueError, match=says):
        fit(lioness(SPECS["closed form"]), expression(cells), groups=groups, weights=weights)


def test_a_path_inside_is_chosen_without_each_unit():
    spec = unigrn.path(Spec(least_squares(), l1(1.0)), "L1.strength", (0.5, 2.0, 8.0))
    found = fit(lioness(spec), expression(), groups=UNITS, tolerance=1e-12)
    want = one_by_one(spec, expression(), UNITS, tolerance=1e-12)
    np.testing.assert_allclose(found.weights, want, atol=1e-8 * np.abs(want).max())
    assert set(found.statistics) == set()
