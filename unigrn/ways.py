"""Ways of fitting: which of them a spec admits, and why it does not admit the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unigrn.ensembles import (
    bagging,
    consensus,
    folds,
    jackknife,
    lioness,
    path,
    permuted,
    stability,
    stars,
)
from unigrn.ladder import PlanError, select
from unigrn.selection import penalties
from unigrn.spec import Minibatch, Spec


@dataclass(frozen=True)
class Way:
    """One way of fitting a spec: the solver that takes it, or what stands in the way."""

    name: str
    call: str
    solver: str | None
    why: str = ""

    def __str__(self) -> str:
        how = self.solver if self.solver is not None else f"no: {self.why}"
        return f"{self.name:<18} {self.call:<32} {how}"


@dataclass(frozen=True)
class Ways:
    """The ways of a spec, in the order of the table."""

    spec: str
    rows: tuple[Way, ...]

    def __getitem__(self, name: str) -> Way:
        return next(row for row in self.rows if row.name == name)

    def __str__(self) -> str:
        return "\n".join([self.spec, *(f"  {row}" for row in self.rows)])

    __repr__ = __str__


def _numbers(spec: Spec) -> list[str]:
    of_terms = spec.replace(over=(), stages=()).hyperparameters
    return [n for n, value in of_terms.items() if "." in n and isinstance(value, float)]


def _path(spec: Spec) -> Spec:
    names = _numbers(spec)
    if not names:
        raise ValueError("it has no hyperparameter that is a number")
    return path(spec, names[0], (0.5, 1.0), choose=None)


def _stars(spec: Spec) -> Spec:
    by = "target" if spec.separable else "network"
    return stars(spec, next(iter(penalties(spec.terms)), "PENALTY"), (0.5, 1.0), by=by)


def ways(spec: Spec) -> Ways:
    """Try every transformation of a spec on the ladder."""
    first = next(iter(_numbers(spec)), "PARAMETER")
    penalty = next(iter(penalties(spec.terms)), "PENALTY")
    table: tuple[tuple[str, str, Callable[[Spec], Spec]], ...] = (
        ("one optimum", "spec", lambda s: s),
        ("bags", "bagging(spec)", bagging),
        ("permuted copies", "permuted(spec)", permuted),
        ("random starts", "consensus(spec)", consensus),
        ("path", f'path(spec, "{first}", [...])', _path),
        ("stability", "stability(spec)", stability),
        ("stable penalty", f'stars(spec, "{penalty}", [...])', _stars),
        ("held-out cells", "folds(spec)", folds),
        ("standard errors", "jackknife(spec)", jackknife),
        ("networks of units", "lioness(spec)", lioness),
        ("minibatches", "spec.replace(minibatch=...)", lambda s: s.replace(minibatch=Minibatch())),
    )
    rows = []
    for name, call, change in table:
        try:
            rows.append(Way(name, call, select(change(spec)).solver.name))
        except PlanError as error:
            rows.append(Way(name, call, None, error.why))
        except (TypeError, ValueError) as error:
            rows.append(Way(name, call, None, str(error)))
    return Ways(str(spec), tuple(rows))
