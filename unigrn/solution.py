"""Solution: fitted blocks and certificates of every target, before they become a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.exact import Proof
from unigrn.network import Network
from unigrn.planner import Plan
from unigrn.predicted import PredictiveCheck
from unigrn.status import FAILED, Status

if TYPE_CHECKING:
    import pandas as pd


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
        Nuisance parameters by name, without padding: one number a target, (groups, targets); one an
        edge, (groups, regulators, targets); of a method that couples the targets, one array a
        group with the axes that the spec declares; of several starts those of the lowest
        objective. `block` labels them by name.
    targets
        Numbers of every target, (groups, targets): ``objective``, and ``loss`` or ``heldout`` where
        an axis of the spec asks for them.
    status, residual, iterations
        Certificate, (groups, targets): `Status`, the residual of the whole problem relative to the
        gradient at theta = 0 (`unigrn.solvers.optimality`), of blocks with a guide the nats that
        one entry could still gain (`unigrn.solvers.gradient`), and steps taken. The worst of
        the spec's fits speaks for a target. Of an iteration without an objective the residual is
        the change in its last step, and ``objective`` is not a number.
    location
        theta of a guide, whose read-out the weights are: one array a group, (regulators, targets).
        None where nothing spreads theta.
    history
        Objective of each group after every sweep, (restarts, sweeps), where asked for.
    """

    plan: Plan
    weights: np.ndarray
    statistics: dict[str, np.ndarray]
    nuisance: dict[str, Any]
    status: np.ndarray
    residual: np.ndarray
    iterations: np.ndarray
    history: list[np.ndarray] = field(default_factory=list)
    seed: int = 0
    entries: list[tuple[str, int, str, tuple[str, ...]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    by_entry: dict[str, np.ndarray] = field(default_factory=dict)
    targets: dict[str, np.ndarray] = field(default_factory=dict)
    location: list[np.ndarray] | None = None

    def __repr__(self) -> str:
        ended, counts = np.unique(self.status, return_counts=True)
        said = ", ".join(f"{n:,} {Status(s).message}" for s, n in zip(ended, counts, strict=True))
        return f"Solution({self.plan.spec.name}, {self.plan.solver.name}: {said})"

    @property
    def blocks(self) -> dict[str, Any]:
        """Nuisance parameters by name; those of single edges are 0 where there is no candidate."""
        return self.nuisance | {k: self._dense(v) for k, v in self.by_entry.items()}

    def _dense(self, values: np.ndarray) -> np.ndarray:
        problem = self.plan.problem
        shape = (len(values), len(problem.regulators), len(problem.targets))
        out = np.zeros(shape, values.dtype)
        out[:, problem.candidate, problem.entry_target] = values
        return out

    def block(self, name: str, group: str | None = None) -> pd.DataFrame:
        """Return one block of a group as a table, rows and columns labelled by name.

        Raises
        ------
        ValueError
            No such block or group, or a block of more than two axes.
        """
        import pandas as pd

        blocks = self.blocks | {"theta": self.theta}
        if name not in blocks:
            raise ValueError(f"there is no block {name!r}; the blocks are {', '.join(blocks)}")
        groups = self.plan.data.groups
        if groups is not None and group not in groups:
            raise ValueError(f"there is no group {group!r}; the groups are {', '.join(groups)}")
        number = 0 if groups is None else groups.index(group)
        values = np.asarray(blocks[name][number])
        axes = dict(self.plan.shape.axes).get(name, ("regulators", "targets")[2 - values.ndim :])
        if values.ndim > 2:
            raise ValueError(f"the block {name} has {values.ndim} axes; take Solution.blocks")
        problem = self.plan.problem
        known = {"regulators": problem.regulators, "targets": problem.targets}
        labels = [
            pd.Index(known.get(a, np.arange(n)), name=a)
            for a, n in zip(axes, values.shape, strict=True)
        ]
        if len(labels) < 2:
            return pd.DataFrame(
                {name: np.ravel(values)}, index=labels[0] if labels else pd.RangeIndex(1)
            )
        return pd.DataFrame(values, index=labels[0], columns=labels[1])

    @property
    def theta(self) -> np.ndarray:
        """Dense coefficients, (groups, regulators, targets), 0 where there is no edge.

        NaN where a fit failed, 0 where an ensemble never drew the candidate.
        """
        failed = self.status == Status.NOT_FINITE
        nowhere = np.isnan(self.weights) & ~failed[:, self.plan.problem.entry_target]
        return self._dense(np.where(nowhere, 0, self.weights))

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
                f"{self.plan.problem.targets[t]!r}: {Status(self.status[g, t]).message}; give a "
                "larger max_iterations or tolerance to fit or infer (--param max_iterations=), or "
                "add a ridge"
            )
        return self

    def network(
        self, proof: Proof | None = None, predictive: PredictiveCheck | None = None
    ) -> Network:
        """Turn the solution into a table of edges with names, statistics and provenance.

        The network keeps ``proof``, that of `unigrn.certify.certify`, and ``predictive``, that of
        `unigrn.predictive_check`.
        """
        import pandas as pd

        plan, problem = self.plan, self.plan.problem
        groups = plan.data.groups
        keep = ~np.isnan(self.weights)
        if "score" in self.statistics:
            keep &= ~np.isnan(self.statistics["score"])
        if plan.sparse:
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
        declared = {name: place for place, name in enumerate(plan.spec.notes)}
        for name in sorted(columns, key=lambda name: declared.get(name, len(declared))):
            frame[name] = columns[name][order]
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
            provenance=plan.provenance(self.seed)
            | {"warnings": list(self.warnings)}
            | ({} if predictive is None else {"predictive": predictive.summary()}),
            columns={k: v for k, v in plan.spec.notes.items() if k in frame},
            proof=proof,
            predictive=predictive,
        )
