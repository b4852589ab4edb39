"""Every claim holds, every false variant of it is refuted, and every gate passes or is open."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gates import Gate, gates, judged, lines

from unigrn.verify.claims import (
    activities,
    claims,
    counted,
    covariances,
    factors,
    frame,
    lineages,
    moving,
    networks,
    optimality,
    proposition_1,
    regulons,
    running,
    shared,
    steady,
    stepping,
)
from unigrn.verify.instances import Instance, Point
from unigrn.verify.table import EXAMPLES, verify

EXAMPLE = (
    Instance,
    Point,
    networks.Network,
    optimality.Cells,
    optimality.Problem,
    running.Run,
    stepping.Drawn,
    stepping.Ended,
    stepping.Stream,
    activities.Factors,
    counted.Counted,
    factors.Hidden,
    covariances.Groups,
    steady.Steady,
    lineages.Lineage,
    moving.Moving,
    regulons.Regulons,
    shared.Tasks,
)
GATES = {gate.claim: gate for gate in gates()}


@pytest.fixture(scope="module")
def rows():
    return {row.claim.name: row for row in verify(examples=EXAMPLES, processes=2)}


def test_every_claim_has_one_gate():
    assert len(gates()) == len(GATES)
    assert set(claims()) <= set(GATES)


@pytest.mark.parametrize("name", GATES)
def test_a_gate_passes_or_is_open(name, rows, record_property):
    ((gate, word, why),) = judged([GATES[name]], [rows[name]] if name in rows else [])
    record_property("gate", lines([(gate, word, why)])[0].rstrip())
    assert word != "FAIL", why


@pytest.mark.parametrize("name", claims())
def test_a_counterexample_is_shown(name, rows):
    for wrong, report in rows[name].variants.items():
        assert report.refuted, wrong
        assert report.deviation > report.tolerance or report.counterexample is None
        for item in report.counterexample or ():
            assert repr(item) in str(report)
            if not isinstance(item, str):  # ready to be pasted
                assert eval(repr(item), {cls.__name__: cls for cls in EXAMPLE}) == item


@pytest.mark.parametrize("claim", [*frame.CLAIMS, *proposition_1.CLAIMS], ids=lambda c: c.name)
def test_what_refutes_a_variant_does_not_refute_the_claim(claim, rows):
    for variant in claim.variants:
        example = rows[claim.name].variants[variant.name].counterexample
        if example is None:  # formulations that are the same do not part
            assert claim.kind == "counterexample"
            continue
        wrong = max(f.deviation for f in variant.check.at(*example))
        right = max(f.deviation for f in claim.check.at(*example))
        assert not wrong <= variant.check.tolerance and right <= claim.check.tolerance


def test_a_gate_fails_where_a_claim_is_looser_or_fails_and_an_open_one_where_it_passes(rows):
    gate, row = GATES["l0_prox"], rows["l0_prox"]

    def word(gate, row):
        return judged([gate], [row] if row else [])[0][1]

    assert word(gate, row) == "PASS"
    assert word(replace(gate, tolerance=1e-12), row) == "FAIL"
    assert word(replace(gate, examples=1000), row) == "FAIL"
    assert word(gate, replace(row, report=replace(row.report, holds=False))) == "FAIL"
    survived = {name: replace(r, holds=True) for name, r in row.variants.items()}
    assert word(gate, replace(row, variants=survived)) == "FAIL"
    assert word(gate, None) == "FAIL"
    assert word(replace(gate, open="not yet"), None) == "OPEN"
    assert word(replace(gate, open="not yet"), row) == "FAIL"
    assert judged([], [row])[0][1:] == ("FAIL", "the claim has no gate")
    assert "1 PASS, 0 FAIL, 1 OPEN" in lines([(gate, "PASS", ""), (gate, "OPEN", "x")])[-1]
    with pytest.raises(TypeError):
        Gate(**{"claim": "a", "tolerence": 1.0})  # pyright: ignore[reportArgumentType, reportCallIssue]
