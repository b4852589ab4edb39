"""The gates of proofs/gates.toml: which pass, fail, or are open; `make gates` prints them."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unigrn.verify.table import EXAMPLES, Row, verify

FILE = Path(__file__).resolve().parents[1] / "proofs" / "gates.toml"


@dataclass(frozen=True)
class Gate:
    """One gate; ``open`` says why it does not pass yet."""

    claim: str
    tolerance: float
    examples: int
    open: str = ""

    def failing(self, row: Row | None) -> str:
        """Say why it does not pass; empty where it does."""
        if row is None:
            return "there is no such claim"
        report, survived = row.report, [n for n, r in row.variants.items() if not r.refuted]
        if not report.holds:
            return f"the claim fails: {report.reason or str(report).splitlines()[0]}"
        if survived:
            return f"not refuted: {', '.join(survived)}"
        if not report.deviation <= report.tolerance <= self.tolerance:
            return f"a tolerance of {report.tolerance:g}, and the gate has {self.tolerance:g}"
        few = row.claim.kind != "counterexample" and report.examples < self.examples
        return f"{report.examples} examples, and the gate has {self.examples}" if few else ""


def gates(path: Path = FILE) -> list[Gate]:
    """Read the gates; whatever is no gate is an error."""
    found: dict[str, Any] = tomllib.loads(path.read_text())
    return [Gate(**entry) for entry in found["gate"]]


def judged(some: Iterable[Gate], rows: Iterable[Row]) -> list[tuple[Gate, str, str]]:
    """Give every gate with PASS, OPEN or FAIL, and what there is to say."""
    by_name = {row.claim.name: row for row in rows}
    out = []
    for gate in some:
        why = gate.failing(by_name.pop(gate.claim, None))
        if gate.open and not why:
            out.append((gate, "FAIL", f"it is open ({gate.open}), and passes: close it"))
        elif gate.open:
            out.append((gate, "OPEN", f"{gate.open}; {why}"))
        else:
            out.append((gate, "FAIL" if why else "PASS", why))
    return out + [(Gate(name, 0, 0), "FAIL", "the claim has no gate") for name in by_name]


def lines(found: Iterable[tuple[Gate, str, str]]) -> list[str]:
    """Give the table, and what it comes to."""
    found = list(found)
    width = max(len(gate.claim) for gate, *_ in found)
    out = [
        f"{word}  {gate.claim:{width}s}  {gate.tolerance:7.0e}  {why}" for gate, word, why in found
    ]
    words = [word for _, word, _ in found]
    return [*out, f"gates: {', '.join(f'{words.count(w)} {w}' for w in ('PASS', 'FAIL', 'OPEN'))}"]


if __name__ == "__main__":
    judgement = judged(gates(), verify(examples=EXAMPLES, processes=2))
    print("\n".join(line.rstrip() for line in lines(judgement)))
    sys.exit(any(word == "FAIL" for _, word, _ in judgement))
