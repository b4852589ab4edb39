"""Verification as a feature: the search for counterexamples, the table of claims, the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import unigrn
from unigrn import Blocks, Spec, cli, l0, l1, least_squares, ridge, support
from unigrn.methods.celloracle import celloracle
from unigrn.verify import Equivalence, Formulation, Instance, Point, equivalent, table
from unigrn.verify import claims as registry
from unigrn.verify.claims import Claim, Variant
from unigrn.verify.search import Report

ROOT = Path(__file__).resolve().parent.parent
HEADINGS = (
    "Statement",
    "Setting",
    "Maps",
    "Proof",
    "Where it fails and why",
    "Test",
    "Coq theorem",
)
CLAIMS = list(registry.claims().values())


# ------------------------------------------------------------------ the list of claims


def theorems() -> dict[str, Path]:
    out = {}
    for folder in ("coq", "coq_real"):
        text = (ROOT / "proofs" / folder / "assumptions.v").read_text()
        for name in re.findall(r"^Print Assumptions ([\w.]+)\.$", text, re.M):
            assert name not in out, f"two theorems are called {name}"
            out[name] = ROOT / "proofs" / folder / f"{name.partition('.')[0]}.v"
    return out


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.name)
def test_a_claim_has_its_page_theorem_check_and_variants(claim):
    page = ROOT / "proofs" / f"{claim.page}.md"
    assert page.is_file(), f"{claim.name} has no page {page.name}"
    headings = re.findall(r"^## (.*)$", page.read_text(), re.M)
    assert [h for h in headings if h in HEADINGS] == list(HEADINGS)
    assert f"unigrn verify {claim.page}" in page.read_text()
    if claim.theorem:
        assert set(claim.theorem) <= set(theorems())
    else:
        assert len(claim.reason) > 20, f"{claim.name} has neither a theorem nor a reason"
    assert len(claim.variants) >= 3
    assert len({v.name for v in claim.variants}) == len(claim.variants)
    assert claim.statement and "\n" not in claim.statement and "|" not in claim.statement


def test_every_page_has_a_claim_and_every_theorem_a_file():
    pages = {p.stem for p in (ROOT / "proofs").glob("*.md")} - {"README"}
    assert pages == {c.page for c in CLAIMS}
    for name, file in theorems().items():
        theorem = name.partition(".")[2]
        assert re.search(rf"^ *Theorem {theorem}\b", file.read_text(), re.M), name
    for file in (ROOT / "proofs").glob("coq*/*.v"):
        assert not re.search(r"\b(Admitted|Axiom|admit)\b", file.read_text()), file.name


def test_every_method_is_the_subject_of_a_claim():
    own = {
        "celloracle": "proposition_1.bags",
        "celloracle_bayesian": "proposition_1.bayesian",
        "masked_lasso": "proposition_1.lasso",
        "prior_only": "methods.baselines",
        "correlation": "methods.baselines",
        "partial_correlation": "methods.baselines",
    }
    by_name = {c.name: c for c in CLAIMS}
    for method in unigrn.methods.names():
        claim = by_name[own.get(method, f"methods.{method}")]
        assert method in f"{claim.name} {claim.statement}"


def test_the_readme_has_the_table_of_claims():
    readme = (ROOT / "proofs" / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- claims -->\n(.*?)\n?<!-- /claims -->", readme, re.S)
    assert found and found[1] == table.markdown(), (
        "proofs/README.md: put unigrn.verify.table.markdown() between its claims comments"
    )


# ------------------------------------------------------------------ the search


def test_equal_formulations_are_equal_and_the_report_says_how_much_was_compared():
    report = equivalent(
        Spec(least_squares(), ridge(3.0), name="a"),
        Spec(0.5 * least_squares(), 0.5 * ridge(3.0), name="b"),
        scale=0.5,
    )
    assert report and report.holds and report.examples == 100
    assert set(report.worst) == {"objective", "gradient", "prox"}
    assert report.deviation < 1e-12
    assert "a = b: holds on 100 examples (seed 0)" in str(report)


@pytest.mark.parametrize(
    ("second", "options", "kind"),
    [
        (Spec(least_squares(), ridge(2.0)), {}, "objective"),
        (Spec(least_squares(intercept=False), ridge(1.0)), {}, "objective"),
        (Spec(least_squares(mean=True), ridge(1.0)), {}, "objective"),
        (Spec(least_squares(), ridge(1.0)), {"kinds": ("feasibility",)}, "feasibility"),
        (
            Spec(least_squares(), 1e-6 * ridge(1.0) + 0.999999 * ridge(1.0)),
            {"tolerance": 1e-12},
            None,
        ),
    ],
)
def test_differences_are_found(second, options, kind):
    first = Spec(least_squares(), ridge(1.0), support())
    report = equivalent(first, second, **options)
    if kind is None:
        # The same numbers, but the other is free off the support.
        assert report.reason.startswith("feasibility")
        return
    assert not report
    assert report.reason.startswith((kind, "feasibility"))
    assert f"{report.counterexample[0]!r}" in str(report)


def test_a_counterexample_is_small_and_can_be_pasted():
    report = equivalent(
        Spec(least_squares(), ridge(1.0), support()),
        Spec(least_squares(), ridge(1.0)),
        kinds=("feasibility",),
    )
    instance, point = report.counterexample
    assert repr(instance) == "Instance()" and repr(point) == "Point(outside=True)"
    again = eval(repr(point), {"Point": Point})
    assert again == point and np.array_equal(again.theta(Instance()), point.theta(instance))


def hard(strict):
    def prox(instance, u, step):
        kept = np.abs(u.theta) > 1 if strict else np.abs(u.theta) >= 1
        return Blocks(theta=np.where(kept, u.theta, 0))

    return Formulation(
        lambda i, u: float(np.sum(u.theta != 0)),
        prox=prox,
        variables=lambda i, p: p.blocks(i),
        name="strict" if strict else "loose",
    )


def test_a_difference_at_ties_alone_is_found():
    # The two thresholds differ only where |theta| is exactly 1.
    report = equivalent(hard(True), hard(False))
    assert not report and report.reason.startswith("prox")
    instance, point = report.counterexample
    assert point.whole and (np.abs(point.theta(instance)) == 1).any()
    assert equivalent(hard(True), hard(True))


def mean_penalty(guarded):
    def penalty(params, data, prior):
        named = jnp.sum(prior.support.astype(params.theta.dtype))
        total = jnp.sum(jnp.where(prior.support, params.theta**2, 0))
        return total / (jnp.maximum(named, 1) if guarded else named)

    return Spec(least_squares(), unigrn.regularizer(penalty, coupled=True))


def test_a_difference_on_empty_supports_alone_is_found():
    report = equivalent(mean_penalty(True), mean_penalty(False))
    assert not report and report.counterexample[0].support == "empty"
    assert report.deviation == np.inf  # not a number counts as infinitely far


def test_the_same_seed_searches_the_same_examples():
    specs = Spec(least_squares(), l1(1.0)), Spec(least_squares(), l1(1.0) + l0(1e-12))
    assert str(equivalent(*specs, seed=4)) == str(equivalent(*specs, seed=4))


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (("minimiser",), "no example compared anything"),
        (("objective", "iterates"), "no example compared iterates"),
    ],
)
def test_what_was_not_compared_is_not_shown(kinds, words):
    report = equivalent(
        Spec(least_squares(), ridge(1.0)),
        Spec(least_squares(), ridge(1.0)),
        kinds=kinds,
        examples=5,
    )
    assert not report and not report.refuted
    assert "NOT SHOWN" in str(report) and words in str(report)


def test_formulations_that_are_never_feasible_are_not_shown_to_be_the_same():
    never = Formulation(
        lambda i, u: 0.0, violation=lambda i, u: 1.0, variables=lambda i, p: p.blocks(i)
    )
    assert "no example compared anything" in str(equivalent(never, never, examples=5))


def test_one_that_minimises_a_block_away_is_strongly_equivalent():
    # p(theta, b) = |theta|^2 + (b - sum theta)^2 and q(theta) = |theta|^2.
    joint = Formulation(
        lambda i, u: np.sum(u["t"] ** 2) + (u["b"] - u["t"].sum()) ** 2,
        variables=lambda i, p: {"t": p.array(3), "b": p.array(1, salt=1)[0]},
        name="joint",
    )
    reduced = Formulation(
        lambda i, v: np.sum(v**2), variables=lambda i, p: p.array(3), name="reduced"
    )
    maps = dict(to=lambda i, u: u["t"], back=lambda i, v: {"t": v, "b": v.sum()})
    assert equivalent(joint, reduced, **maps, relation="strong")
    assert not equivalent(joint, reduced, **maps)  # not equal away from the inner minimum
    wrong = dict(maps, back=lambda i, v: {"t": v, "b": 0.0})
    assert not equivalent(joint, reduced, **wrong, relation="strong")


def test_minimisers_and_iterates_are_compared():
    def least(shift, size=2):
        return Formulation(
            lambda i, u: float(np.sum((u - 1) ** 2)),
            variables=lambda i, p: p.array(size),
            minimiser=lambda i: np.ones(size) + shift,
            iterates=lambda i, n: np.full(size, 0.5**n),
        )

    assert equivalent(least(0), least(0)).counts.keys() == {"objective", "minimiser", "iterates"}
    assert equivalent(least(0), least(1e-3)).reason.startswith("minimiser")
    slow = Formulation(
        least(0).objective, iterates=lambda i, n: np.full(2, 0.4**n), variables=least(0).variables
    )
    assert equivalent(least(0), slow).reason.startswith("iterates")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: equivalent(s, "ridge"), TypeError, "joins Specs or Formulations, got str"),
        (lambda s: equivalent(s, s, kinds=("values",)), ValueError, "kinds are .* got 'values'"),
        (lambda s: equivalent(s, s, relation="near"), ValueError, "equal or strong, got 'near'"),
        (lambda s: equivalent(s, s, scale=-1.0), ValueError, "scale must be > 0.*got -1.0"),
        (lambda s: equivalent(s, s, scale=lambda i: 0.0), ValueError, "scale must be > 0.*got 0.0"),
        (
            lambda s: equivalent(s, s.replace(scale="both")),
            TypeError,
            r"differ in the units of the genes \(scale: None and both\)",
        ),
        (
            lambda s: equivalent(s.replace(scale="both"), hard(True)),
            TypeError,
            "scale: both and None",
        ),
        (
            lambda s: equivalent(celloracle(None), celloracle(None, bags=2)),
            TypeError,
            "differ in what it is fitted over",
        ),
        (
            lambda s: equivalent(s, s, examples=0),
            ValueError,
            "examples must be a whole number >= 1",
        ),
        (
            lambda s: equivalent(s, unigrn.methods.get("netrex_cf").function(None)),
            TypeError,
            "netrex_cf has the block A beside theta",
        ),
        (
            lambda s: equivalent(Equivalence(hard(True), hard(True)), s),
            TypeError,
            "both formulations in it",
        ),
        (lambda s: table.verify(["proposition_9"]), ValueError, "no claim 'proposition_9'"),
    ],
)
def test_wrong_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call(Spec(least_squares(), ridge(1.0)))


# ------------------------------------------------------------------ the command


def run(*arguments, capsys):
    code = cli.main(["verify", *arguments])
    return code, capsys.readouterr()


def test_the_command_prints_a_table_and_json(capsys):
    code, out = run("support_is_deletion", "--examples", "5", capsys=capsys)
    assert code == 0 and "all claims hold, every variant refuted" in out.out
    code, out = run("support_is_deletion", "--examples", "5", "--json", capsys=capsys)
    (row,) = json.loads(out.out)
    assert code == 0 and row["holds"] is True and row["claim"] == "support_is_deletion"
    assert row["worst"] <= row["tolerance"] and row["examples"] == 5 and row["kind"]
    assert all(v == {"name": v["name"], "refuted": True} for v in row["false_variants"])
    assert len(row["false_variants"]) >= 3


def outcome(holds):
    return lambda examples, seed: Report(
        "x",
        holds,
        1e-9,
        examples,
        seed,
        {"objective": 0.0},
        {"objective": 1},
        None if holds else (Instance(),),
        "why",
    )


@pytest.mark.parametrize(
    ("holds", "refuted", "words"),
    [
        (True, True, "1 claims, 1 wrong variants: all claims hold"),
        (False, True, "why; the smallest counterexample"),
        (True, False, "the wrong variant 'twin' was not refuted"),
    ],
)
def test_exit_code_1_where_a_claim_fails_or_a_variant_survives(
    holds, refuted, words, capsys, monkeypatch
):
    claim = Claim(
        "x.y",
        "is x",
        "equivalence",
        (),
        outcome(holds),
        (Variant("twin", outcome(not refuted)),),
        "made up",
    )
    monkeypatch.setattr(table, "claims", lambda: {"x.y": claim})
    code, out = run("x", capsys=capsys)
    assert code == (0 if holds and refuted else 1) and words in out.out
    code, out = run("--json", capsys=capsys)
    assert json.loads(out.out)[0]["holds"] is (holds and refuted)


def test_an_unknown_claim_is_one_line_and_exit_code_2(capsys):
    code, out = run("suport_is_deletion", capsys=capsys)
    assert code == 2 and out.out == ""
    assert out.err.count("\n") == 1 and "did you mean support_is_deletion?" in out.err
    code, out = run("nosuch", capsys=capsys)
    pages = {claim.page for claim in table.claims().values()}
    assert code == 2 and pages <= set(re.split("[ ,\n]+", out.err))  # none is cut away


def test_a_counterexample_says_where_its_names_are():
    told = str(equivalent(Spec(least_squares(), ridge(1.0)), Spec(least_squares(), ridge(2.0))))
    lines = [line.strip() for line in told.splitlines()]
    at = lines.index("from unigrn.verify import Instance, Point")
    names = {}
    exec(lines[at], names)
    instance, point = (eval(line, names) for line in lines[at + 1 : at + 3])
    assert isinstance(instance, Instance) and isinstance(point, names["Point"])


def failing(kind):
    """Checks that end in every way in which a check can fail."""
    worst = {
        "nan": np.nan,
        "inf": np.float32(np.inf),
        "int64": np.int64(3),
        "float32": np.float32(0.5),
    }

    def check(examples, seed):
        if kind == "raises":
            raise ValueError("two\nlines")
        if kind == "stops":
            raise AssertionError
        told: dict[str, Any] = {"holds": np.bool_(False), "worst": {"objective": worst[kind]}}
        told["examples"] = np.int64(examples) if kind == "int64" else examples
        return Report("x", tolerance=1e-9, seed=seed, **told)

    return check


@pytest.mark.parametrize("kind", ["nan", "inf", "int64", "float32", "raises", "stops"])
def test_json_survives_every_failure(kind, capsys, monkeypatch):
    claim = Claim(
        "x.y",
        "is x",
        "equivalence",
        (),
        failing(kind),
        (Variant("twin", failing(kind)),),
        "made up",
    )
    monkeypatch.setattr(table, "claims", lambda: {"x.y": claim})
    code, out = run("--json", capsys=capsys)
    (row,) = json.loads(out.out)
    assert code == 1 and row["holds"] is False and isinstance(row["examples"], int)
    raised = kind in ("raises", "stops")
    assert row["false_variants"] == [{"name": "twin", "refuted": not raised}]
    assert row["worst"] == {"int64": 3.0, "float32": 0.5}.get(kind, 0.0 if raised else None)
    code, out = run(capsys=capsys)
    assert code == 1 and "FAILED" in out.out
    if raised:
        error = {"raises": "ValueError: two", "stops": "AssertionError"}[kind]
        assert f"the check stopped: {error}" in out.out and "Traceback" not in out.out


def test_the_rows_do_not_depend_on_the_number_of_processes():
    names = ("l0_prox", "proposition_1.draws")
    one, two = (table.verify(names, 5, 1, processes=n) for n in (1, 2))
    assert [row.to_dict() for row in one] == [row.to_dict() for row in two]
    assert [row.claim.name for row in two] == list(names)
