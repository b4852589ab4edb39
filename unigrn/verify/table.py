"""The verification table: every claim checked, every false variant refuted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from unigrn import progress
from unigrn.check import check_whole
from unigrn.verify.claims import Claim, claims
from unigrn.verify.search import Report

EXAMPLES = 30


@dataclass(frozen=True)
class Row:
    """What became of one claim."""

    claim: Claim
    report: Report
    variants: dict[str, Report]

    @property
    def holds(self) -> bool:
        """True where no counterexample was found, and every false variant was refuted."""
        return self.report.holds and all(r.refuted for r in self.variants.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        worst = self.report.deviation
        return {
            "claim": self.claim.name,
            "statement": self.claim.statement,
            "kind": self.claim.kind,
            "page": f"proofs/{self.claim.page}.md",
            "theorem": list(self.claim.theorem),
            "theorem_covers": self.claim.covers or ("all" if self.claim.theorem else None),
            "examples": self.report.examples,
            "worst": worst if worst < float("inf") else None,
            "tolerance": self.report.tolerance,
            "seed": self.report.seed,
            "holds": self.holds,
            "false_variants": [
                {"name": name, "refuted": report.refuted} for name, report in self.variants.items()
            ],
            "counterexample": None if self.report.holds else str(self.report),
        }


def chosen(names: Iterable[str]) -> list[Claim]:
    """Claims by name; the name of a page stands for all its parts."""
    known = claims()
    out = []
    for name in names:
        own = [c for c in known.values() if name in (c.name, c.page)]
        if not own:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"there is no claim {name!r}{hint}; the claims are: {', '.join(known)}"
            )
        out += [c for c in own if c not in out]
    return out or list(known.values())


def verify(names: Iterable[str] = (), examples: int | None = None, seed: int = 0) -> list[Row]:
    """Check claims and refute their false variants.

    Parameters
    ----------
    names
        Claims, or pages that stand for their claims; all where none is given.
    examples
        Examples of each search, by default 30. Slow claims take a share of them.
    seed
        The same seed draws the same examples.
    """
    examples = EXAMPLES if examples is None else check_whole("examples", examples, low=1)
    seed = check_whole("seed", seed)
    some, rows = chosen(names), []
    for i, claim in enumerate(some):
        count = max(2, round(examples * claim.share))
        with progress.listening(None):  # the fits within a claim are no news
            variants = {v.name: v.check(count, seed) for v in claim.variants}
            rows.append(Row(claim, claim.check(count, seed), variants))
        progress.report("claims", i + 1, len(some))
    return rows


def markdown() -> str:
    """Return the claims as the table that stands in README.md."""
    lines = ["| claim | in one line | evidence | wrong variants | proof |", "|---|---|---|---|---|"]
    for claim in claims().values():
        proof = f"[page]({claim.page}.md)" + (", Coq" if claim.theorem else "")
        proof += f" ({claim.covers})" if claim.covers else ""
        cells = (f"`{claim.name}`", claim.statement, claim.kind, str(len(claim.variants)), proof)
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)
