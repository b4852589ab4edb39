"""Exact optimality: gaps against rational arithmetic, what is refused, what tampering does."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import io
import json
import shutil
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import unigrn
from unigrn.certify import certify
from unigrn.cli import main
from unigrn.exact import Exact, Proof, check, prove, relative
from unigrn.files import proof as proofs
from unigrn.planner import PlanError
from unigrn.verify.claims.optimality import by_fractions, numbers

SOURCES = [f"r{i}" for i in range(6)]
TARGETS = ["r0", "r1", *(f"t{i}" for i in range(5))]
GENES = [*SOURCES, *TARGETS[2:]]


def cells(seed=0, n=90):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    x[:, 1] = x[:, 0] + 1e-3 * x[:, 1]  # nearly the same regulator twice
    x[:, 2] *= 100
    effect = rng.normal(size=(6, 5)) * (rng.random((6, 5)) < 0.5)
    return np.c_[x, x @ effect + rng.normal(size=(n, 5))] + 5


def data(dtype="float64", groups=False, weighted=False, seed=0):
    values, rng = cells(seed), np.random.default_rng(7)
    return unigrn.Data.from_arrays(
        values,
        GENES,
        groups=rng.choice(["a", "b"], len(values)) if groups else None,
        weights=rng.uniform(0.1, 3, len(values)) if weighted else None,
        dtype=dtype,
    )


def prior():
    rng = np.random.default_rng(3)
    pairs = [(s, t) for s in SOURCES for t in TARGETS if rng.random() < 0.7]
    table = pd.DataFrame(pairs, columns=pd.Index(["source", "target"]))
    return unigrn.Prior.from_edges(
        table.assign(weight=rng.uniform(0.1, 2, len(table)), sign=rng.choice([-1, 1], len(table)))
    )


FORMS = {
    "ridge": (unigrn.least_squares(mean=True), unigrn.ridge(0.1), unigrn.no_self()),
    "lasso": (unigrn.gaussian(), unigrn.l1(4.0), unigrn.support() + unigrn.no_self()),
    "elastic net": (unigrn.least_squares(), unigrn.elastic_net(20.0, 3.0), None),
    "prior's lasso": (unigrn.least_squares(), unigrn.prior_l1(9.0, 0.2), unigrn.no_self()),
    "Gaussian prior": (unigrn.gaussian(2.0), unigrn.gaussian_prior(1.0, 0.01), None),
    "nonnegative": (unigrn.least_squares(), unigrn.l1(5.0), unigrn.nonnegative()),
    "signs": (unigrn.gaussian(), unigrn.ridge(0.5), unigrn.sign()),
    "box": (unigrn.least_squares(), unigrn.l1(2.0), unigrn.box(-0.1, 0.3)),
    "box alone": (unigrn.least_squares(), None, unigrn.box(-0.1, 0.3) + unigrn.support()),
    "no intercept": (unigrn.least_squares(intercept=False), unigrn.l1(5.0), None),
    "twice": (2 * unigrn.least_squares(), unigrn.l1(1.0) + 3 * unigrn.l1(2.0), None),
}


def solved(form, dtype="float64", scale=None, **options):
    loss, penalty, where = FORMS[form]
    spec = unigrn.Spec(loss, penalty, where, prior=prior(), scale=scale, name="own")
    return unigrn.fit(spec, data(dtype, **options), regulators=SOURCES, targets=TARGETS)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_exact_numbers_are_the_floats_and_so_are_their_products(values):
    square = np.array(values).reshape(2, 2)
    exact = Exact.of(square)
    scale = Fraction(2) ** exact.e
    assert [n * scale for n in exact.n.ravel()] == numbers(values)
    product = exact @ exact
    for i in range(2):
        for j in range(2):
            expected = sum(Fraction(square[i, k]) * Fraction(square[k, j]) for k in range(2))
            assert product.n[i, j] * Fraction(2) ** product.e == expected


@pytest.mark.parametrize(
    "form, dtype",
    [*((form, "float64") for form in FORMS), ("lasso", "float32"), ("box", "float32")],
)
def test_the_gap_is_that_of_rational_arithmetic_and_small(form, dtype):
    proof = certify(solved(form, dtype))
    for target in range(len(TARGETS)):
        value, bound, worth = by_fractions(proof, 0, target)
        assert bound is not None and Fraction(proof.gap[0, target]) >= (gap := value - bound) >= 0
        assert Fraction(proof.gap[0, target]) <= gap * (1 + Fraction(1, 2**50)) + Fraction(
            1, 2**900
        )
        assert Fraction(proof.worth[0, target]) >= worth
    gap = relative(proof.gap, proof.worth)
    # Of near twins, in units of 100, single precision leaves a few parts in a million.
    assert gap.max() < (1e-6 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("form", ["ridge", "lasso", "no intercept"])
def test_the_moments_are_those_of_the_cells(form):
    solution = solved(form, groups=True, weighted=True, scale="both")
    proof, values = certify(solution), data(groups=True, weighted=True)
    table, weights = cells(), values.weights
    scaled = table / table.std(axis=0)
    for g, group in enumerate(values.groups):
        own = values.positions(g)
        w, x, y = (
            weights[own],
            scaled[own][:, :6],
            scaled[own][:, [GENES.index(t) for t in TARGETS]],
        )
        if form != "no intercept":
            x, y = (v - np.average(v, axis=0, weights=w) for v in (x, y))
        f, z = proof.factor[g], proof.response[g]
        assert proof.groups[g] == group
        np.testing.assert_allclose(f.T @ f, (x.T * w) @ x, rtol=0, atol=1e-12 * np.sum(f**2))
        np.testing.assert_allclose(f.T @ z, (x.T * w) @ y, rtol=0, atol=1e-9 * np.sum(f**2))


@pytest.mark.parametrize("intercept", [True, False])
def test_passes_over_the_targets_are_one_problem_also_where_a_pass_has_no_candidate(
    intercept, monkeypatch
):
    known = unigrn.Prior.from_dict({t: SOURCES[2:] for t in TARGETS[3:]})
    loss = unigrn.least_squares(intercept=intercept)
    spec = unigrn.Spec(loss, unigrn.l1(5.0), unigrn.support(), prior=known)
    whole = certify(unigrn.fit(spec, data(), regulators=SOURCES, targets=TARGETS))
    monkeypatch.setattr(unigrn.Plan, "width", lambda plan: 2)
    parts = certify(unigrn.fit(spec, data(), regulators=SOURCES, targets=TARGETS))
    assert relative(parts.gap, parts.worth).max() < 1e-9
    np.testing.assert_allclose(parts.gap[0, :2], 0)
    for a, b in ((whole.response, parts.response), (whole.theta, parts.theta)):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(a).max())


def test_no_feasible_point_is_better_than_the_bound_and_a_bad_one_is_seen():
    rng = np.random.default_rng(0)
    for form in ("lasso", "signs", "box"):
        proof = certify(solved(form))
        moved = proof.theta + 0.05 * rng.normal(size=proof.theta.shape)
        moved = np.clip(moved, proof.low, proof.high)
        worse = dataclasses.replace(proof, theta=moved)
        for target in range(len(TARGETS)):
            gained = by_fractions(worse, 0, target)[0] - by_fractions(proof, 0, target)[0]
            assert gained + Fraction(proof.gap[0, target]) >= 0
            assert Fraction(prove(worse)[0][0, target]) >= gained


def test_what_is_outside_its_bounds_or_without_a_finite_bound_has_no_gap():
    proof = certify(solved("nonnegative"))
    assert np.isinf(prove(dataclasses.replace(proof, theta=proof.theta - 1))[0]).any()
    assert np.isinf(prove(dataclasses.replace(proof, shrink=proof.shrink * 2))[0]).any()
    nowhere = np.full_like(proof.theta, np.nan)
    assert np.isinf(prove(dataclasses.replace(proof, theta=nowhere))[0]).all()


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize(
    "spec, why",
    [
        (unigrn.bagging(unigrn.Spec(unigrn.least_squares(), unigrn.ridge(1.0)), 3), "many fits"),
        (unigrn.Spec(unigrn.huber(), unigrn.ridge(1.0)), "rows of cells"),
        (unigrn.Spec(unigrn.least_squares(), unigrn.laplacian(1.0)), "whole network"),
        (unigrn.Spec(unigrn.least_squares(), unigrn.l0(1.0)), "no sum of"),
        (unigrn.Spec(unigrn.gaussian(), unigrn.gaussian_prior(1e-320, 1e-320)), "out of range: l2"),
    ],
)
def test_what_is_no_convex_problem_of_this_kind_is_refused(spec, why):
    with pytest.raises(ValueError, match=why):
        unigrn.infer(data(), prior(), spec, regulators=SOURCES, targets=TARGETS, certify=True)


@unigrn.pytree
class Lying(unigrn.Regularizer):
    """A penalty whose value is not what its capability says."""

    strength: float

    separable = "entries"
    convex = True

    def __call__(self, params, data, prior):
        return 2 * self.strength * abs(params.theta).sum()

    def absolute(self, data, prior):
        return self.strength * (prior.weight * 0 + 1)

    def prox(self, v, step, data, prior, params=None):
        from unigrn.terms import soft_threshold

        return soft_threshold(v, step * self.strength)


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_a_term_whose_values_are_not_those_it_states_is_refused():
    spec = unigrn.Spec(unigrn.least_squares(), Lying(5.0))
    with pytest.raises(PlanError, match="check_spec"):
        unigrn.infer(data(), prior(), spec, regulators=SOURCES, targets=TARGETS, certify=True)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A certified network `n.tsv` of two groups, and what it was inferred from."""
    import anndata

    folder = tmp_path_factory.mktemp("certified")
    values = anndata.AnnData(cells().astype(np.float32), var=pd.DataFrame(index=pd.Index(GENES)))
    values.obs["kind"] = np.random.default_rng(7).choice(["a", "b"], values.n_obs)
    values.write_h5ad(folder / "cells.h5ad")
    prior().edges.to_csv(folder / "prior.tsv", sep="\t", index=False)
    assert inferred(folder, "n.tsv", "--certify") == 0
    return folder


@pytest.fixture
def folder(inputs, tmp_path):
    """A copy of these files, to change."""
    return Path(shutil.copytree(inputs, tmp_path / "copy"))


def inferred(folder, name, *more):
    arguments = ["infer", folder / "cells.h5ad", "--prior", folder / "prior.tsv", "--groupby"]
    arguments += ["kind", "--method", "masked_lasso", "--param", "strength=2", "-o", folder / name]
    return main([str(a) for a in (*arguments, *more)])


def content(path):
    return Path(proofs.beside(path)).read_bytes()


@pytest.mark.parametrize("name", ["m.tsv", "m.csv.gz", "m.parquet", "m.graphml", "m.h5ad"])
def test_every_format_is_written_with_its_proof_and_checked(folder, name, capsys):
    network = unigrn.Network.read(folder / "n.tsv")
    assert "proved exactly: 14 of 14 fits" in str(network)
    network.write(folder / name)
    assert content(folder / name) == content(folder / "n.tsv")
    capsys.readouterr()
    assert main(["check", str(folder / name), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["proved"] == found["fits"] == 14 and found["wrong"] == []
    table = unigrn.Network.read(folder / name).certificate_exact
    assert list(table.columns) == ["group", "target", "gap", "relative_gap"]
    assert len(table) == 14 and (table["relative_gap"] <= 1e-5).all()


def test_a_network_without_a_proof_says_so_and_leaves_none_behind(folder, capsys):
    assert inferred(folder, "n.tsv") == 0
    assert not Path(proofs.beside(folder / "n.tsv")).exists()
    capsys.readouterr()
    assert main(["check", str(folder / "n.tsv")]) == 2
    assert "infer it with --certify" in capsys.readouterr().err
    assert unigrn.Network.read(folder / "n.tsv").certificate_exact is None


def test_a_filtered_network_is_a_part(folder, capsys):
    small = str(folder / "small.tsv")
    assert main(["filter", str(folder / "n.tsv"), "--top", "3", "-o", small]) == 0
    assert main(["check", small]) == 1
    assert "missing in the table" in capsys.readouterr().out
    assert main(["check", small, "--part"]) == 0


def test_a_proof_without_the_record_of_its_run_is_told_from_none(folder, capsys):
    (folder / "n.tsv.meta.json").unlink()
    capsys.readouterr()
    assert main(["check", str(folder / "n.tsv")]) == 2
    told = capsys.readouterr().err
    assert "n.tsv.proof.npz' is there" in told and "has no proof" not in told


def test_what_is_not_a_proof_is_not_replaced(folder, capsys):
    Path(proofs.beside(folder / "n.tsv")).write_text("mine")
    assert inferred(folder, "n.tsv", "--certify") == 2
    assert "no proof that unigrn wrote" in capsys.readouterr().err
    assert content(folder / "n.tsv") == b"mine"
    assert inferred(folder, "n.tsv") == 0
    assert content(folder / "n.tsv") == b"mine"


def test_a_proof_needs_a_place(folder, capsys):
    for out in ("n.gmt", "n.sif"):
        assert inferred(folder, out, "--certify") == 2
        assert "no place" in capsys.readouterr().err


def change_table(edit):
    def tamper(out):
        table = pd.read_csv(out, sep="\t")
        edit(table).to_csv(out, sep="\t", index=False)

    return tamper


def change_proof(edit, known=True):
    """Change a proof; with ``known`` its digest in the network's document as well."""

    def tamper(out):
        with np.load(proofs.beside(out)) as file:
            arrays = dict(file)
        edit(arrays)
        np.savez(proofs.beside(out), **arrays)
        if known:
            meta = Path(out + ".meta.json")
            about = json.loads(meta.read_text())
            about["proof_sha256"] = hashlib.sha256(content(out)).hexdigest()
            meta.write_text(json.dumps(about))

    return tamper


def at(column, value):
    def edit(table):
        table.loc[2, column] = value(table.loc[2, column])
        return table

    return edit


def scaled(name, factor, index=(0,)):
    def edit(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][index] = arrays[name][index] * factor

    return edit


def swap_targets(arrays):
    arrays["targets"] = arrays["targets"][::-1].copy()


def with_objects(arrays):
    arrays["theta"] = arrays["theta"].astype(object)


def with_texts(arrays):
    arrays["gap"] = arrays["gap"].astype(str)


def with_a_number_for_names(arrays):
    arrays["groups"] = np.array(1.0)


def without_penalty(arrays):
    arrays["l1"] = arrays["l1"] * 0.5


def bounded(arrays):
    arrays["high"] = np.full_like(arrays["high"], 1e-9)


def in_half_precision(arrays):
    arrays["theta"] = arrays["theta"].astype(np.half)


def beyond_double(arrays):
    arrays["l1"] = arrays["l1"].astype(np.longdouble) * np.longdouble("1e4000")


TAMPERED = {
    "a coefficient in its last digit": (change_table(at("weight", lambda w: w * (1 + 2e-7))), 1),
    "a sign": (change_table(at("weight", lambda w: -w)), 1),
    "an edge taken out": (change_table(lambda t: t.drop(index=1)), 1),
    "an edge added": (change_table(lambda t: pd.concat([t, t.iloc[:1].assign(source="t0")])), 1),
    "an edge twice": (change_table(lambda t: pd.concat([t, t.iloc[:1]])), 1),
    "a target renamed": (change_table(at("target", lambda name: "nobody")), 1),
    "a moment": (change_proof(scaled("factor", 1.1)), 1),
    "a moment of one target": (change_proof(scaled("response", 1.01, (0, slice(None), 3))), 1),
    "a weaker penalty": (change_proof(without_penalty), 1),
    "a dual vector": (change_proof(scaled("dual", 1.5)), 1),
    "a smaller gap": (change_proof(scaled("gap", 0.5)), 1),
    "targets swapped": (change_proof(swap_targets), 1),
    "bounds that exclude the coefficients": (change_proof(bounded), 1),
    "a larger dual scale": (change_proof(scaled("shrink", 1.5)), 1),
    "not finite": (change_proof(scaled("factor", np.nan)), 2),
    "objects": (change_proof(with_objects), 2),
    "texts for numbers": (change_proof(with_texts), 2),
    "a number for names": (change_proof(with_a_number_for_names), 2),
    "weights taken out": (change_table(lambda t: t.drop(columns="weight")), 2),
    "a proof that the network does not know": (change_proof(lambda arrays: None, False), 2),
    "half precision": (change_proof(in_half_precision), 2),
    "beyond double precision": (change_proof(beyond_double), 2),
    "half a file": (lambda out: _cut(proofs.beside(out)), 2),
}


def _cut(path):
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("kind", TAMPERED)
def test_tampering_is_refused(folder, kind, capsys):
    out = str(folder / "n.tsv")
    tamper, code = TAMPERED[kind]
    tamper(out)
    capsys.readouterr()
    assert main(["check", out]) == code
    said = capsys.readouterr()
    assert "REFUSED" in said.out if code == 1 else len(said.err.splitlines()) == 1


def test_the_checker_stands_alone():
    import unigrn.exact

    source = Path(str(unigrn.exact.__file__)).read_text()
    assert len(source.splitlines()) <= 250
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    assert names <= {"__future__", "dataclasses", "io", "math", "numpy", "typing", "zipfile"}


def test_check_compares_edges_by_name():
    solution = solved("lasso")
    proof = certify(solution)
    network = solution.network(proof)
    gap, wrong = check(proof, network.edges.sample(frac=1, random_state=0))
    assert wrong == [] and gap.shape == (1, len(TARGETS))
    assert isinstance(network.proof, Proof)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("penalty", [unigrn.ridge(1e-12), unigrn.l1(1e-9)])
def test_units_of_regulators_change_no_gap(penalty, dtype):
    rng, units = np.random.default_rng(0), np.logspace(0, -8, 6)
    x = rng.normal(size=(200, 6)) * units
    y = (x / units) @ rng.normal(size=6) + 0.3 * rng.normal(size=200)
    values = unigrn.Data.from_arrays(np.c_[x, y], [*SOURCES, "t"], dtype=dtype)
    spec = unigrn.Spec(unigrn.least_squares(), penalty, name="own")
    proof = certify(unigrn.fit(spec, values, regulators=SOURCES, targets=["t"]))
    assert relative(proof.gap, proof.worth)[0, 0] < 1e-6
    if dtype == "float64":
        centred = x - x.mean(axis=0)
        size = np.sqrt((centred**2).sum(axis=0))
        f = proof.factor[0] / size
        np.testing.assert_allclose(f.T @ f, (centred / size).T @ (centred / size), atol=1e-12)


@pytest.mark.parametrize(
    "name, content",
    [
        ("no archive", lambda whole: _saved(np.save, np.zeros(3))),
        ("a text in it", lambda whole: _with_text(whole)),
        ("encrypted", lambda whole: _encrypted(whole)),
    ],
)
def test_a_file_that_no_reader_likes_is_no_proof(folder, name, content):
    whole = Path(proofs.beside(folder / "n.tsv")).read_bytes()
    with pytest.raises(ValueError, match="no proof of a network"):
        Proof.read(content(whole))


def _saved(save, *arrays, **named):
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


def _encrypted(whole):
    at = whole.index(b"PK\x01\x02") + 8  # flags of the first entry of the directory
    return whole[:at] + bytes([whole[at] | 1]) + whole[at + 1 :]


def _with_text(whole):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"none" if name == "factor.npy" else old.read(name))
    return out.getvalue()


def test_within_is_a_number_that_a_gap_can_miss(folder, capsys):
    for within in ("inf", "nan", "-1"):
        assert main(["check", str(folder / "n.tsv"), "--within", within]) == 2
        assert "needed a finite number >= 0" in capsys.readouterr().err


def test_edges_without_their_group_are_no_part(folder, capsys):
    out = folder / "n.tsv"
    table = pd.read_csv(out, sep="\t")
    table[table["group"] == "a"].drop(columns="group").to_csv(out, sep="\t", index=False)
    assert main(["check", str(out), "--part"]) == 1
    assert "of no group" in capsys.readouterr().out


def test_a_group_of_a_network_has_its_own_proof(folder):
    network = unigrn.Network.read(folder / "n.tsv")
    group = network.subset("b")
    assert len(group.certificate_exact) == 7 and set(group.certificate_exact["group"]) == {"b"}
    assert "7 of 7 fits" in str(group)
    group.write(folder / "b.parquet")
    assert main(["check", str(folder / "b.parquet")]) == 0


def test_a_proof_is_not_shown_beside_other_coefficients(folder):
    network = unigrn.Network.read(folder / "n.tsv")
    edges = network.edges.assign(weight=network.edges["weight"] * np.float32(1.01))
    with pytest.raises(ValueError, match="not one of these edges"):
        dataclasses.replace(network, edges=edges)


def test_the_problem_is_printed(folder, capsys):
    assert main(["check", str(folder / "n.tsv"), "--json"]) == 0
    problem = json.loads(capsys.readouterr().out)["problem"]
    assert problem["l1"] == [2.0, 2.0] and problem["l2"] == [0.0, 0.0]
    assert problem["low"] == problem["high"] == [None, None]
