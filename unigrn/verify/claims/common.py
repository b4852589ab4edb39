"""What the claims share: a search, twins with a slip, a fit, a value with its gradient, a gap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from unigrn.spec import Spec
from unigrn.terms import Blocks, PriorView, View
from unigrn.verify.claims import Claim, Variant
from unigrn.verify.equivalence import Equivalence
from unigrn.verify.formulations import jit
from unigrn.verify.instances import instances, points
from unigrn.verify.search import KINDS, Finding, Report, largest, search

if TYPE_CHECKING:
    from unigrn.prior import Prior
    from unigrn.solution import Solution

# ------------------------------------------------------------------ searches


@dataclass(frozen=True)
class Search:
    """A check of a claim: called with (examples, seed) it looks for a counterexample.

    Attributes
    ----------
    name
        What the report is about.
    findings
        (*example, **slip) -> deviations at one example; ``at`` calls it in double precision.
    drawn
        What an example is drawn from: functions that return a strategy (Hypothesis is only loaded
        for a search).
    tolerance
        Largest deviation that is no counterexample.
    shrink
        Whether a counterexample is made as small as it can be.
    """

    name: str
    findings: Callable[..., list[Finding]]
    drawn: tuple[Callable[[], Any], ...] = (instances, points)
    tolerance: float = 1e-9
    shrink: bool = True

    def at(self, *example: Any) -> list[Finding]:
        """Evaluate one example, such as a counterexample that was printed."""
        with jax.enable_x64(True):
            return self.findings(*example)

    def slipped(self, **slip: Any) -> Search:
        """Return the same search, for a twin with a slip."""
        return replace(self, findings=partial(self.findings, **slip))

    def __call__(self, examples: int, seed: int) -> Report:
        """Search; the same seed draws the same examples."""
        drawn = tuple(strategy() for strategy in self.drawn)
        return search(self.name, self.at, drawn, self.tolerance, examples, seed, shrink=self.shrink)


@dataclass(frozen=True)
class Parting:
    """A check that holds where a search finds a difference, and shows where.

    ``certified`` (*example) says how far what is compared there is from what it should be.
    """

    looking: Search
    certified: Callable[..., float] | None = None

    def slipped(self, **slip: Any) -> Parting:
        """Return the same check, of formulations that do not part."""
        return replace(self, looking=self.looking.slipped(**slip))

    def __call__(self, examples: int, seed: int) -> Report:
        """Find an example, and certify both sides there."""
        report = self.looking(examples, seed)
        if not report.refuted:
            return replace(report, holds=False, reason="no instance tells them apart")
        if self.certified is None:
            return replace(report, holds=True)
        assert report.counterexample is not None
        with jax.enable_x64(True):
            off = self.certified(*report.counterexample)
        return replace(
            report, holds=off <= report.tolerance, worst={"gradient": off}, counts={"gradient": 1}
        )


def joining(joined: Equivalence, *drawn: Callable[[], Any]) -> Search:
    """Return the search for where an equivalence parts; by default over instances and points."""
    return Search(
        f"{joined.first.name} = {joined.second.name}",
        lambda instance, point: joined.compare(instance, point, KINDS),
        drawn or (instances, points),
        joined.tolerance,
    )


def _brief(check: Any) -> Any:
    return replace(check, shrink=False) if isinstance(check, Search) else check


def claimed(
    name: str,
    statement: str,
    theorem: tuple[str, ...],
    twin: Callable[..., Callable[[int, int], Report]],
    slips: Mapping[str, Mapping[str, Any]],
    kind: str = "equivalence",
    **more: Any,
) -> Claim:
    """Return a claim whose check is ``twin()``, and whose variants are ``twin(**slip)``.

    That a variant is refuted is all that is asked: its counterexample is not made small.
    """
    variants = tuple(Variant(wrong, _brief(twin(**slip))) for wrong, slip in slips.items())
    return Claim(name, statement, kind, theorem, twin(), variants, **more)


# ------------------------------------------------------------------ fits and values


def prior_of(layers: np.ndarray, sources: Sequence[str], targets: Sequence[str]) -> Prior | None:
    """Return layers of weights, ([layers,] regulators, targets), as a prior; None of none."""
    import pandas as pd

    from unigrn.prior import Prior

    made = []
    for k, layer in enumerate(np.reshape(layers, (-1, len(sources), len(targets)))):
        target, source = np.nonzero(layer.T)
        if len(source):
            edges = pd.DataFrame(
                {
                    "source": np.array(sources)[source],
                    "target": np.array(targets)[target],
                    "weight": 1.0 * layer[source, target],
                }
            )
            made.append(Prior.from_edges(edges, name=f"layer{k}"))
    return Prior.combine(made) if made else None


def fit(
    spec: Spec,
    values: np.ndarray,
    sources: Sequence[str],
    targets: Sequence[str],
    known: np.ndarray,
    groups: Iterable[str] | None = None,
    weights: np.ndarray | None = None,
    **options: Any,
) -> Solution:
    """Fit a spec through plan and solver, in double precision.

    Columns of ``values`` (cells, genes) are the regulators, then the targets that are none.
    ``known`` holds the prior's weights, ([layers,] regulators, targets).
    """
    import unigrn

    data = unigrn.Data.from_arrays(
        values,
        list(dict.fromkeys([*sources, *targets])),
        groups=groups,
        dtype="float64",
        weights=weights,
    )
    spec = spec.replace(prior=prior_of(known, sources, targets))
    return unigrn.fit(spec, data, regulators=sources, targets=targets, **options)


def placed(
    solution: Solution,
    values: np.ndarray,
    sources: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    missing: float = 0.0,
) -> np.ndarray:
    """Return a column of the edge table, (groups, regulators, targets)."""
    problem = solution.plan.problem
    row = {r: k for k, r in enumerate(problem.regulators if sources is None else sources)}
    column = {t: k for k, t in enumerate(problem.targets if targets is None else targets)}
    out = np.full((len(values), len(row), len(column)), missing)
    source = [row[r] for r in problem.regulators[problem.candidate]]
    out[:, source, [column[t] for t in problem.targets[problem.entry_target]]] = values
    return out


@jit
def _evaluated(terms, params, view, prior):
    return jax.value_and_grad(lambda u: sum(t(u, view, prior) for t in terms))(params)


def evaluated(
    spec: Spec, params: Blocks, view: View, prior: PriorView | None
) -> tuple[float, Blocks]:
    """Value and gradient of a spec; its terms are arguments: other numbers do not recompile."""
    terms = tuple(t for t in (spec.loss, spec.regularizer) if t is not None)
    value, slope = _evaluated(terms, params, view, prior)
    return float(value), jax.tree.map(np.asarray, slope)


# ------------------------------------------------------------------ gaps


def apart(kind: str, got: Any, want: Any, size: float = 0.0, unit: float = 1.0) -> Finding:
    """Return the largest difference of two trees of arrays, relative to what is compared."""
    gap = largest(jax.tree.map(np.subtract, got, want))
    return Finding(kind, gap / (unit + max(largest(want), abs(size))))


def defined(got: np.ndarray, want: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both with 0 where both are undefined; where one alone is, it stays so."""
    neither = np.isnan(got) & np.isnan(want)
    return np.where(neither, 0, got), np.where(neither, 0, want)
