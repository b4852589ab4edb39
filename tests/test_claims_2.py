"""Claims about terms, NetREX-CF, the ELBO, methods and runs: they hold, and they can fail.

Each is searched with two seeds, each false variant is refuted, and a table of mutants, in which
one constant of a shipped method is another, says which claim notices it.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest
from threadpoolctl import threadpool_limits

import unigrn.methods.generative
import unigrn.methods.masked
import unigrn.methods.netrex
import unigrn.methods.netrex_cf
from unigrn.verify.claims import Claim, category_2, methods, proposition_2, running, stepping, terms

MODULES = (terms, proposition_2, category_2, methods, running, stepping)
CLAIMS = {c.name: c for module in MODULES for c in module.CLAIMS}
THEOREMS = sorted((Path(__file__).parent.parent / "proofs").glob("coq*/assumptions.v"))
EXAMPLES = 25


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """One BLAS thread: on systems as small as these further ones only wait for each other."""
    with threadpool_limits(1, user_api="blas"):
        yield


def count(claim: Claim) -> int:
    return max(2, round(EXAMPLES * claim.share))


@pytest.mark.parametrize("name", CLAIMS)
def test_the_claim_holds_on_other_draws(name):
    report = CLAIMS[name].check(count(CLAIMS[name]), 1)  # those of seed 0: tests/test_gates.py
    assert report.holds, str(report)
    if CLAIMS[name].kind == "equivalence":
        assert report.examples > 1 and report.counterexample is None
        assert report.deviation <= report.tolerance < 1e-4


def test_the_same_seed_finds_the_same_counterexample_and_shows_it():
    check = CLAIMS["proposition_2.sketch_and_release_part"].check
    first, again = check(10, 3), check(10, 3)
    assert first.holds and first.counterexample == again.counterexample
    _, _, shown = str(first).partition("the smallest counterexample:\n")
    assert shown.startswith("    from unigrn.verify import Point\n    Network(")


def test_every_claim_says_what_holds_it():
    lists = "".join(file.read_text() for file in THEOREMS)
    known = set(re.findall(r"^Print Assumptions (\S+)\.$", lists, re.MULTILINE))
    assert len(known) > 40
    for claim in CLAIMS.values():
        assert set(claim.theorem) <= known, claim.name
        assert bool(claim.theorem) != bool(claim.reason), claim.name
        assert len({v.name for v in claim.variants}) == len(claim.variants) >= 3
        assert "\n" not in claim.statement and 0 < claim.share <= 1


# ------------------------------------------------------------------ mutants

CF, NETREX = unigrn.methods.netrex_cf, unigrn.methods.netrex
GENERATIVE, MASKED = unigrn.methods.generative, unigrn.methods.masked
METHOD = "per_target: int = 200,\n    "
SKETCH = "cost: float = 1.0,\n    "
MUTANTS = [
    # defaults of netrex_cf
    (CF, "(1.0, 60.0, 90.0)", "(2.0, 60.0, 90.0)", "proposition_2.weights"),
    (CF, "(1.0, 60.0, 90.0)", "(1.0, 61.0, 90.0)", "proposition_2.weights"),
    (CF, "(1.0, 60.0, 90.0)", "(1.0, 60.0, 91.0)", "proposition_2.weights"),
    (CF, "strength: float = 5.0", "strength: float = 4.0", "proposition_2.released"),
    (CF, "boost: float = 9.0", "boost: float = 10.0", "proposition_2.released"),
    (CF, "floor: float = 0.1", "floor: float = 1e-7", "completed_square"),
    (CF, "per_target: int = 200", "per_target: int = 199", "proposition_2.weights"),
    (
        CF,
        METHOD + "ridge_activity: float = 1.0",
        METHOD + "ridge_activity: float = 1.1",
        "proposition_2.released",
    ),
    (
        CF,
        "ridge_network: float = 1.0,\n    ridge_f",
        "ridge_network: float = 1.1,\n    ridge_f",
        "proposition_2.released",
    ),
    (CF, "ridge_factors: float = 1.0", "ridge_factors: float = 1.1", "proposition_2.released"),
    (CF, 'steps: str = "safe"', 'steps: str = "released"', "methods.netrex_cf"),
    (
        CF,
        "sweeps: int = 100,\n    tolerance: float = 1e-6,\n    absolute",
        "sweeps: int = 20,\n    tolerance: float = 1e-6,\n    absolute",
        "methods.netrex_cf",
    ),
    (
        CF,
        "tolerance: float = 1e-6,\n    absolute",
        "tolerance: float = 1e-5,\n    absolute",
        "methods.netrex_cf",
    ),
    (
        CF,
        'rank: str = "factors",\n    scale: str | None = "standard"',
        'rank: str = "factors",\n    scale: str | None = "both"',
        "methods.netrex_cf",
    ),
    # its steps
    (
        CF,
        'Step("A", weight=0.5),\n                network',
        'Step("A", weight=0.6),\n                network',
        "proposition_2.iterates",
    ),
    (
        CF,
        'Step("theta", "linear", 0.5, "frobenius")',
        'Step("theta", "linear", 1.0, "frobenius")',
        "proposition_2.descent",
    ),
    (
        CF,
        'Step("theta", "linear", 1.01, "safe")',
        'Step("theta", "linear", 0.6, "safe")',
        "proposition_2.descent",
    ),
    (CF, 'Step("U", weight=1.0, sample', 'Step("U", weight=0.5, sample', "proposition_2.iterates"),
    (CF, 'Step("V", weight=1.0, sample', 'Step("V", weight=0.5, sample', "proposition_2.iterates"),
    # its start
    (CF, "sweeps: int = 20\n", "sweeps: int = 21\n", "methods.netrex_cf_start"),
    (CF, "rows: int = 100", "rows: int = 101", "methods.netrex_cf_start"),
    (CF, "columns: int = 500", "columns: int = 501", "methods.netrex_cf_start"),
    (CF, "ridge: float = 0.1", "ridge: float = 0.2", "methods.netrex_cf_start"),
    (CF, "rounds: int = 20", "rounds: int = 2", "methods.netrex_cf_start"),
    (CF, "10 * filtering.confidence", "50 * filtering.confidence", "methods.netrex_cf_start"),
    # its scores
    (CF, "draws: int = 20", "draws: int = 10", "methods.netrex_cf"),
    (CF, "self.draws, 0.5)", "self.draws, 1.0)", "methods.netrex_cf"),
    (CF, "total >= 0.5 * size", "total >= 0.9 * size", "methods.netrex_cf"),
    # the sketch
    (CF, "slope: float = 1.0", "slope: float = 2.0", "proposition_2.sketched"),
    (CF, "on: float = 9.0", "on: float = 10.0", "proposition_2.sketched"),
    (CF, "off: float = 1.0", "off: float = 2.0", "proposition_2.sketched"),
    (CF, "cost: float = 1.0", "cost: float = 0.0", "proposition_2.sketched"),
    (
        CF,
        SKETCH + "ridge_activity: float = 1.0",
        SKETCH + "ridge_activity: float = 1.1",
        "proposition_2.sketched",
    ),
    (
        CF,
        SKETCH + "ridge_activity: float = 1.0,\n    ridge_network: float = 1.0",
        SKETCH + "ridge_activity: float = 1.0,\n    ridge_network: float = 1.1",
        "proposition_2.sketched",
    ),
    (
        CF,
        'Step("U", weight=1.0),\n                Step("V", weight=1.0),',
        'Step("U", weight=1.0),\n                Step("V", weight=0.5),',
        "methods.netrex_cf_sketch",
    ),
    (CF, 'steps == "released")', "False)", "proposition_2.weights"),
    # netrex
    (NETREX, "keep: float = 0.8", "keep: float = 0.6", "methods.netrex"),
    (NETREX, "total: float = 1.2", "total: float = 1.5", "methods.netrex"),
    (NETREX, "kappa: float = 1.0", "kappa: float = 1.1", "methods.netrex"),
    (NETREX, "threshold: float = 0.95", "threshold: float = 0.1", "methods.netrex"),
    (NETREX, "signed: bool = True", "signed: bool = False", "methods.netrex"),
    (NETREX, "ridge_activity: float = 1.0", "ridge_activity: float = 1.1", "methods.netrex"),
    (NETREX, "ridge_network: float = 0.4", "ridge_network: float = 0.5", "methods.netrex"),
    (NETREX, "bound_activity: float = 1.0", "bound_activity: float = 0.2", "methods.netrex"),
    (NETREX, "bound_network: float = 1.0", "bound_network: float = 0.2", "methods.netrex"),
    (NETREX, "tolerance: float = 1e-6", "tolerance: float = 1e-5", "methods.netrex"),
    (NETREX, 'scale: str | None = "range"', 'scale: str | None = "standard"', "methods.netrex"),
    (NETREX, "0.5 * component_analysis()", "1.0 * component_analysis()", "methods.netrex"),
    (NETREX, "    ridge: float = 1.0", "    ridge: float = 2.0", "methods.netrex"),
    (NETREX, "draws: int = 20", "draws: int = 10", "methods.netrex"),
    (NETREX, "self.draws, 1.0, read", "self.draws, 0.5, read", "methods.netrex"),
    # the others
    (MASKED, "alpha: float = 0.1", "alpha: float = 0.2", "methods.masked_ridge"),
    (MASKED, "alpha: float = 1.0", "alpha: float = 2.0", "methods.full_ridge"),
    (MASKED, "constraint=no_self()", "constraint=None", "methods.full_ridge"),
    (MASKED, "least_squares(mean=True)", "least_squares()", "methods.masked_ridge"),
    (GENERATIVE, "on: float = 1.0", "on: float = 2.0", "category_2.elbo"),
    (GENERATIVE, "off: float = 0.01", "off: float = 0.02", "category_2.map"),
    (GENERATIVE, 'mask: str = "soft"', 'mask: str = "hard"', "methods.linear_gaussian"),
    (GENERATIVE, "sd = jnp.sqrt(variance)", "sd = variance", "methods.linear_gaussian"),
]


def mutate(monkeypatch: pytest.MonkeyPatch, module: ModuleType, old: str, new: str) -> None:
    """Exchange a piece of text in one function or class of a module."""
    source = inspect.getsource(module)
    assert source.count(old) == 1, old
    line = source[: source.index(old)].count("\n") + 1
    node = next(n for n in ast.parse(source).body if n.lineno <= line <= n.end_lineno)
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    start, end = (sum(map(len, source.splitlines(True)[:k])) for k in (first - 1, node.end_lineno))
    text, made = source[start:end].replace(old, new), {}
    assert text != source[start:end]
    exec(
        compile("from __future__ import annotations\n" + text, module.__file__, "exec"),
        vars(module),
        made,
    )
    monkeypatch.setattr(module, node.name, made[node.name])


def rows():
    """Mutants with names; those that compile a whole method again are slow."""
    for module, old, new, name in MUTANTS:
        marks = [pytest.mark.slow] if name.startswith("methods.netrex_cf") else []
        yield pytest.param(
            module,
            old,
            new,
            name,
            marks=marks,
            id=f"{module.__name__.split('.')[-1]}: {new.split(chr(10))[-1].strip()}",
        )


@pytest.mark.parametrize(("module", "old", "new", "name"), list(rows()))
def test_another_constant_is_noticed(monkeypatch, module, old, new, name):
    mutate(monkeypatch, module, old, new)
    report = CLAIMS[name].check(count(CLAIMS[name]), 0)
    assert not report.holds, str(report)
