"""Every claim of equivalence that the project makes, with what holds it and its false variants.

A claim names its page under proofs/, its Coq theorems (or the reason for having none), the check
that looks for a counterexample, and wrong twins that the same check must refute.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from unigrn.verify.search import Report

# Modules of this package that hold a tuple CLAIMS, in the order of the table.
_MODULES = (
    "frame",
    "terms",
    "proposition_1",
    "proposition_2",
    "category_2",
    "limits",
    "methods",
    "paths",
    "lineages",
    "shared",
    "whole",
    "messages",
    "activities",
    "counted",
    "factors",
    "covariances",
    "steady",
    "moving",
    "regulons",
    "running",
    "stepping",
    "optimality",
)


@dataclass(frozen=True)
class Variant:
    """A wrong twin of a claim: it must be refuted."""

    name: str
    check: Callable[[int, int], Report]


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes
    ----------
    name
        Its identifier: that of its page, with ``.part`` behind it where a page has several.
    statement
        The claim in one line.
    kind
        What holds it: "equivalence" (random search for a counterexample), "replayed run",
        "brute force", "counterexample" (two forms part, and it shows where).
    theorem
        Coq theorems, as ``file.name``, beside the page; empty only with a ``reason``.
    covers
        What of the claim the theorems are about, where that is not all of it.
    check
        (examples, seed) -> Report.
    variants
        At least three wrong twins, checked in the same way.
    share
        Examples relative to those asked for: less for slow checks.
    """

    name: str
    statement: str
    kind: str
    theorem: tuple[str, ...]
    check: Callable[[int, int], Report]
    variants: tuple[Variant, ...]
    reason: str = ""
    covers: str = ""
    share: float = 1.0

    @property
    def page(self) -> str:
        """File name of its page, without ``.md``."""
        return self.name.partition(".")[0]


def claims() -> dict[str, Claim]:
    """All claims by name, in the order of the table."""
    out: dict[str, Claim] = {}
    for module in _MODULES:
        for claim in importlib.import_module(f"unigrn.verify.claims.{module}").CLAIMS:
            if claim.name in out:
                raise ValueError(f"two claims are called {claim.name!r}")
            out[claim.name] = claim
    return out
