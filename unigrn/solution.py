"""Solution: fitted blocks and certificates of every target, before they become a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.status import FAILED, Status

if TYPE_CHECKING:
    import pandas as pd

    from unigrn.network import Network
    from unigrn.planner import Plan


class ConvergenceError(RuntimeError):
    """Some targets did not converge; raised by `Solution.require_converged` only."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What a plan found.

    Attributes
    ----------
    weights
        theta, (groups, entries): one row per group, one column per candidate edge, in the order of
        ``plan.problem``; NaN where an ensemble never drew the edge.
    statistics
        More columns of the edge table, each (groups, entries).
    blocks
        Nuisance parameters: one number a target, (groups, targets), or, of a method that couples
        the targets, one array a group with the axes of `unigrn.terms.AXES`; of several restarts
        those of the lowest objective.
    status, residual, iterations
        Certificate, (groups, targets): `Status`, distance from optimality relative to the gradient
        at 0 (of a method in several blocks, how far one more sweep moves them), and steps taken. An
        ensemble reports its worst member.
    history
        Objective of each group after every sweep, (restarts, sweeps), where asked for.
    """

    plan: Plan
    weights: np.ndarray
    statistics: dict[str, np.ndarray]
    blocks: dict[str, Any]
    status: np.ndarray
    residual: np.ndarray
    iterations: np.ndarray
    history: list[np.ndarray] = field(default_factory=list)
    seed: int = 0
    entries: list[tuple[str, int, str, tuple[str, ...]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def theta(self) -> np.ndarray:
        """Dense coefficients, (groups, regulators, targets), 0 where there is no edge.

        NaN where a fit failed, 0 where an ensemble never drew the candidate.
        """
        problem = self.plan.problem
        out = np.zeros(
            (len(self.weights), len(problem.regulators), len(problem.targets)), self.weights.dtype
        )
        failed = self.status == Status.NOT_FINITE
        values = np.where(
            np.isnan(self.weights) & ~failed[:, problem.entry_target], 0, self.weights
        )
        out[:, problem.candidate, problem.entry_target] = values
        return out

    @property
    def certificate(self) -> pd.DataFrame:
        """One row per group and target: candidates, status, residual, iterations."""
        import pandas as pd

        problem, groups = self.plan.problem, self.plan.data.groups
        g, p = self.status.shape
        table: dict[str, Any] = {}
        if groups is not None:
            table["group"] = np.repeat(np.array(groups, dtype=object), p)
        table["target"] = np.tile(problem.targets.astype(object), g)
        table["candidates"] = np.tile(np.diff(problem.indptr), g)
        words = np.array([s.message for s in Status], dtype=object)
        table["status"] = words[self.status.ravel()]
        table["residual"] = self.residual.ravel()
        table["iterations"] = self.iterations.ravel()
        return pd.DataFrame(table)

    @property
    def converged(self) -> np.ndarray:
        """True where the fit is what the method asks for, (groups, targets)."""
        return ~np.isin(self.status, FAILED)

    def require_converged(self) -> Solution:
        """Return self, or raise `ConvergenceError` naming targets that did not converge."""
        bad = np.argwhere(~self.converged)
        if len(bad):
            g, t = bad[0]
            raise ConvergenceError(
                f"{len(bad)} of {self.status.size} fits did not converge, e.g. target "
                f"{self.plan.problem.targets[t]!r}: {Status(self.status[g, t]).message}; raise "
                "max_iterations, add a ridge, or loosen the tolerance"
            )
        return self

    def network(self) -> Network:
        """Turn the solution into a table of edges with names, statistics and provenance."""
        import pandas as pd

        from unigrn.network import Network

        plan, problem = self.plan, self.plan.problem
        groups = plan.data.groups
        keep = ~np.isnan(self.weights)
        if "score" in self.statistics:
            keep &= ~np.isnan(self.statistics["score"])
        elif plan.sparse:
            keep &= self.weights != 0
        group, entry = np.nonzero(keep)
        # Adding 0 leaves no -0.0 in a table.
        columns = {name: v[group, entry] + v.dtype.type(0) for name, v in self.statistics.items()}
        weight = self.weights[group, entry] + self.weights.dtype.type(0)
        rank = columns["score"] if "score" in columns else np.abs(weight)
        source, target = problem.candidate[entry], problem.entry_target[entry]
        order = np.lexsort((source, target, -rank, group))
        frame: dict[str, Any] = {}
        if groups is not None:
            frame["group"] = pd.Categorical.from_codes(group[order], list(groups)).astype(object)
        frame["source"] = problem.regulators.astype(object)[source[order]]
        frame["target"] = problem.targets.astype(object)[target[order]]
        frame["weight"] = weight[order]
        for name, values in columns.items():
            frame[name] = values[order]
        report = problem.report
        for item in self.entries:
            report = report.add(*item)
        return Network(
            edges=pd.DataFrame(frame),
            regulators=problem.regulators,
            targets=problem.targets,
            groups=groups,
            certificate=self.certificate,
            alignment=report,
            provenance=plan.provenance(self.seed) | {"warnings": list(self.warnings)},
            columns={k: v for k, v in plan.spec.notes.items() if k in frame},
        )
