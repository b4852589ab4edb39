"""Running a plan: read the cells once, solve batch by batch, put the pieces together.

Work goes group by group. For each group a job gives every system (a bag, or the group itself) its
cell weights, and every response (a target, or a permuted copy of one) its column; `_solve` fits all
responses in all systems, bucket by bucket, in compiled calls of few shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn import progress
from unigrn.backend import side_by_side
from unigrn.data import Block, aligned
from unigrn.ensembles import bag_statistics, dispersion
from unigrn.moments import GeneStatistics, GroupSums, gather, padded, padded_rows
from unigrn.problem import Entries, Tasks, bucket, chunk_size
from unigrn.solution import Solution
from unigrn.spec import Slots
from unigrn.status import FAILED, Status
from unigrn.terms import AXES, Array, PriorView, View, parts, pytree

if TYPE_CHECKING:
    from unigrn.planner import Plan

STRETCH = 1024  # cells of a group within which a copy of the targets is permuted


def run(plan: Plan, seed: int) -> Solution:
    """Run a plan and return its solution; precision is the caller's."""
    return _Run(plan, seed).solution()


@pytree
class Outcome:
    """What one compiled call gives back: T targets with up to K candidates."""

    by_entry: dict[str, Array]  # (T, K)
    by_target: dict[str, Array]  # (T,)
    status: Array
    residual: Array
    iterations: Array


@partial(jax.jit, static_argnames=("solve", "slots"))
def _fit(solve, slots, terms, source, tasks: Tasks, entries: Entries, options) -> Outcome:
    """One compiled call: terms and data are arguments, so new numbers do not recompile."""
    fit = solve(Slots(slots, terms), source, tasks, entries, options)

    def by_system(values):
        return values.reshape(*tasks.row.shape, *values.shape[1:])

    theta = by_system(fit.theta)
    if tasks.inverse is None:
        by_entry = {"weight": theta[0], **{k: by_system(v)[0] for k, v in fit.by_entry.items()}}
    else:
        # From the candidates of each bag to all candidates of the target.
        place = tasks.inverse[tasks.row]
        values = jnp.take_along_axis(theta, jnp.maximum(place, 0), axis=2)
        by_entry = dispersion(values, place >= 0)
    return Outcome(
        by_entry,
        {} if tasks.inverse is not None else {k: by_system(v)[0] for k, v in fit.by_target.items()},
        *(jnp.max(by_system(v), axis=0) for v in (fit.status, fit.residual, fit.iterations)),
    )


@partial(jax.jit, static_argnames=("gauge", "scores"))
def _read_off(gauge, scores, params, view: View, prior: PriorView, keys):
    """Blocks of every restart in their gauge, and columns of the edge table."""

    def one(params, key):
        own = View(view.moments, view.x, view.y, view.weight, key)
        params = params if gauge is None else gauge(params, own, prior)
        return params, {} if scores is None else scores(params, own, prior)

    return jax.vmap(one)(params, keys)


class _Run:
    """One execution of a plan: results on the host, filled group by group."""

    def __init__(self, plan: Plan, seed: int):
        self.plan, self.seed = plan, seed
        self.spec, self.data, self.problem = plan.spec, plan.data, plan.problem
        self.groups = len(self.data.group_sizes)
        self.copies = 1 + self.spec.permutations
        targets, entries = len(self.problem.targets), len(self.problem.candidate)
        self.dtype = dtype = plan.dtype
        # Statistics of every copy of the targets, (copies, entries), for each group.
        self.found: list[dict[str, np.ndarray]] = [{} for _ in range(self.groups)]
        self.weights = np.zeros((self.groups, entries), self.data.dtype)
        self.statistics: dict[str, np.ndarray] = {}
        self.blocks: dict[str, np.ndarray] = {}
        self.status = np.full((self.groups, targets), Status.NO_CANDIDATES, np.int32)
        self.residual = np.full((self.groups, targets), np.nan)
        self.iterations = np.zeros((self.groups, targets), np.int64)
        self.entries = self.problem.entries(dtype)
        self.slots = self.spec.shape
        self.options = (np.asarray(plan.tolerance, dtype), np.int32(plan.max_iterations))
        self.history: list[np.ndarray] = []
        self.genes = np.union1d(self.problem.regulators, self.problem.targets)
        self.columns = self.data.columns(self.genes)
        self.x = np.searchsorted(self.genes, self.problem.regulators)
        self.y = np.searchsorted(self.genes, self.problem.targets)

    def solution(self) -> Solution:
        """Read, solve, and put together."""
        reads = self.plan.rung.reads
        if reads == "network":
            self._network()
        elif reads == "rows":
            self._rows()
        elif self.spec.ensemble is not None and self.spec.ensemble.draws == "released":
            self._released()
        else:
            self._moments()
        lines, suspicions = self._remarks()
        return Solution(
            self.plan,
            self.weights,
            self.statistics,
            self.blocks,
            self.status,
            self.residual,
            self.iterations,
            self.history,
            self.seed,
            lines,
            suspicions,
        )

    # ---------------------------------------------------------------- reading

    def _read(self, feed: Callable[[Block], None]) -> None:
        """Read every block once and look at what the genes hold."""
        done = 0

        def fed(block: Block) -> None:
            nonlocal done
            feed(block)
            done += len(block.values)
            progress.report("reading cells", done, self.data.cells)

        blocks = self.data.blocks(self.columns)
        if self.copies > 1:
            blocks = aligned(blocks, self.data.group_sizes, STRETCH)
        overall, by_group = gather(blocks, fed, len(self.genes), self.groups)
        if overall.bad is not None:
            names = self.genes[overall.bad]
            raise ValueError(
                f"{len(names)} genes hold NaN or infinite values, e.g. "
                f"{', '.join(names[:3])}; remove or impute them first"
            )
        self.overall, self.by_group = overall, by_group

    def _scales(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors that regulators and targets are multiplied by."""
        one_x, one_y = np.ones(len(self.x)), np.ones(len(self.y))
        if self.spec.scale is None:
            return one_x, one_y
        if self.spec.scale == "range":
            reach = (self.overall.maximum - self.overall.minimum).astype(np.float64)
            factor = 2 / np.where(self.overall.constant, 2, reach)
        else:
            factor = 1 / self.overall.deviation
        return factor[self.x], one_y if self.spec.scale == "regulators" else factor[self.y]

    def _middles(self, group: int) -> np.ndarray:
        """Return what is taken from every gene of a group before it is scaled."""
        own = self.by_group[group]
        if self.spec.scale == "standard":
            return own.mean
        if self.spec.scale == "range":
            return (own.maximum.astype(np.float64) + own.minimum) / 2
        return np.zeros(len(self.genes))

    def _key(self, group: int) -> Array:
        return jax.random.fold_in(jax.random.key(self.seed), group)

    def _responses(self, block: Block, part: np.ndarray) -> np.ndarray:
        """Targets of a block, and their permuted copies: (cells, copies x targets).

        A copy permutes the cells within stretches of the group, the same way for all targets.
        """
        own = block.values[:, self.y[part]]
        if self.copies == 1:
            return own
        copies = [own]
        for copy in range(1, self.copies):
            order = []
            for start in range(0, len(own), STRETCH):
                rng = np.random.default_rng((self.seed, 2, block.group, block.start + start, copy))
                order.append(start + rng.permutation(min(STRETCH, len(own) - start)))
            copies.append(own[np.concatenate(order)])
        return np.concatenate(copies, axis=1)

    def _weights(self, group: int) -> Callable[[int, int], np.ndarray]:
        """Weights of the cells at positions start..stop-1 of a group, (systems, cells)."""
        own = None
        if self.data.weights is not None:
            own = self.data.weights[self.data.positions(group)]
        if self.spec.ensemble is None:
            if own is None:
                return lambda start, stop: np.ones((1, stop - start), self.dtype)
            return lambda start, stop: own[None, start:stop]
        cells = int(self.data.group_sizes[group])
        counts = self.spec.ensemble.counts(cells, group, self.seed)
        if own is None:
            return counts.read
        return lambda start, stop: counts.read(start, stop) * own[None, start:stop]

    def _moments(self) -> None:
        """One pass over the cells for the moments of all groups, then no cell is needed."""
        dtype, count = self.dtype, len(self.y)
        q = padded(len(self.x) + 1)
        width = self.plan.width()
        passes = [np.arange(a, min(a + width, count)) for a in range(0, count, width)]
        for number, part in enumerate(passes):
            sums = [
                GroupSums(q, padded(len(part) * self.copies), dtype) for _ in range(self.groups)
            ]
            weights = [self._weights(g) for g in range(self.groups)]

            def feed(block: Block, sums=sums, weights=weights, part=part) -> None:
                weight = weights[block.group](block.start, block.start + len(block.values))
                sums[block.group].add(block.values[:, self.x], self._responses(block, part), weight)

            self._read(feed)
            scale_x, scale_y = self._scales()
            for g in range(self.groups):
                moments = sums[g].finish(scale_x, np.tile(scale_y[part], self.copies))
                sums[g] = None
                self._solve(g, moments, part)
                if number == len(passes) - 1:
                    self._finish_group(g)
                progress.report("fitting groups", g + 1, self.groups)

    def _released(self) -> None:
        """Bags of the released program: cell weights depend on the number of candidates."""
        held: list[list[Block]] = [[] for _ in range(self.groups)]
        self._read(lambda block: held[block.group].append(block))
        scale_x, scale_y = self._scales()
        q = padded(len(self.x) + 1)
        sizes = np.unique(self.problem.sizes[self.problem.sizes > 0])
        for g in range(self.groups):
            cells = int(self.data.group_sizes[g])
            own = None if self.data.weights is None else self.data.weights[self.data.positions(g)]
            for i, candidates in enumerate(sizes):
                part = np.flatnonzero(self.problem.sizes == candidates)
                weight = self.spec.ensemble.released_counts(cells, int(candidates))
                weight = weight if own is None else weight * own
                sums = GroupSums(q, chunk_size(len(part) * self.copies, np.inf), self.dtype)
                for block in held[g]:
                    stop = block.start + len(block.values)
                    sums.add(
                        block.values[:, self.x],
                        self._responses(block, part),
                        weight[:, block.start : stop],
                    )
                moments = sums.finish(scale_x, np.tile(scale_y[part], self.copies))
                self._solve(g, moments, part)
                progress.report("fitting", g * len(sizes) + i + 1, self.groups * len(sizes))
            self._finish_group(g)

    def _held_rows(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """All rows of each group: (cells, regulators) and (cells, responses), scaled."""
        held: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(self.groups)]
        part = np.arange(len(self.y))
        self._read(lambda b: held[b.group].append((b.values[:, self.x], self._responses(b, part))))
        scale_x, scale_y = self._scales()
        scale_y = np.tile(scale_y, self.copies)
        out = []
        for g, rows in enumerate(held):
            middles = self._middles(g)
            ends = ((middles[self.x], scale_x), (np.tile(middles[self.y], self.copies), scale_y))
            wide = tuple(
                np.empty((sum(len(r[0]) for r in rows), len(s)), self.dtype) for _, s in ends
            )
            start = 0
            while rows:  # block by block in double precision, and each is let go
                block = rows.pop(0)
                now = slice(start, start + len(block[0]))
                for whole, values, (middle, factor) in zip(wide, block, ends, strict=True):
                    whole[now] = (values - middle) * factor
                start = now.stop
            out.append(wide)
        return out

    def _rows(self) -> None:
        """Solve on rows: for losses that have no moments."""
        dtype = self.dtype
        for g, (x, y) in enumerate(self._held_rows()):
            rows, weight = len(x), None
            if self.spec.loss.weighted:
                # Rows of weight 0 bring the number of cells to one of few sizes.
                rows = padded_rows(len(x))
                own = self._weights(g)(0, len(x))
                weight = np.zeros((own.shape[0], rows), dtype)
                weight[:, : len(x)] = own
            wide = np.zeros((rows, padded(x.shape[1] + 1)), dtype)
            # With an intercept a constant regulator is taken out, as the moments do.
            flat = self.by_group[g].constant[self.x] & ("intercept" in self.spec.blocks)
            wide[: len(x), : x.shape[1]] = np.where(flat, 0, x)
            tall = np.zeros((rows, padded(y.shape[1])), dtype)
            tall[: len(y), : y.shape[1]] = y
            self._solve(g, (wide, tall, weight), np.arange(len(self.y)))
            self._finish_group(g)
            progress.report("fitting groups", g + 1, self.groups)

    def _network(self) -> None:
        """Solve the whole network of a group as one problem."""
        problem, dtype, plan = self.problem, self.dtype, self.plan
        p, size = len(problem.targets), plan.widths(0)[:2]
        where = (problem.candidate, problem.entry_target)

        def dense(values, kind):
            out = np.zeros(size, kind)
            out[where] = values
            return out

        v = problem.prior
        prior = PriorView(
            dense(v.support, bool),
            dense(v.weight, dtype),
            dense(v.sign, np.int32),
            dense(v.self_edge, bool),
            dense(True, bool),
            {k: dense(layer, dtype) for k, layer in v.layers.items()},
        )
        for g, (x, y) in enumerate(self._held_rows()):
            cells = plan.widths(len(x))[2]

            def lay(values, width, cells=cells):
                out = np.zeros((cells, width), dtype)
                out[: len(values), : values.shape[1]] = values
                return out

            weight = lay(self._weights(g)(0, len(x))[0][:, None], 1)[:, 0]
            for copy in range(self.copies):
                own = y[:, copy * p : (copy + 1) * p]
                view = View(None, lay(x, size[0]), lay(own, size[1]), weight)
                self._network_fit(g, copy, view, prior, where, len(x))
            self._finish_group(g)
            progress.report("fitting groups", g + 1, self.groups)

    def _network_fit(self, g: int, copy: int, view: View, prior: PriorView, where, cells) -> None:
        """Fit one group (or one permuted copy of it) from every start, and keep what it gave."""
        plan, spec, problem = self.plan, self.spec, self.problem
        keys = jax.vmap(partial(jax.random.fold_in, self._key(g)))(
            np.arange(spec.restarts, dtype=np.uint32)
        )
        absolute = -1.0 if plan.absolute is None else plan.absolute
        options = (*self.options, np.asarray(absolute, self.dtype))
        length = padded(plan.max_iterations) if plan.history else 0
        found, some = [], plan.together()
        for first in range(0, spec.restarts, some):
            own = keys[first : first + some]
            fit = plan.rung.solve(
                self.slots,
                spec.terms,
                view,
                prior,
                own,
                options,
                length,
                lambda done, most: progress.report("sweeps of one network", done, most),
            )
            params, columns = _read_off(spec.gauge, spec.scores, fit.params, view, prior, own)
            found.append(
                (
                    fit,
                    {"weight": params.theta, **columns},
                    {b: np.asarray(params[b]) for b in params if b != "theta"},
                )
            )
        edges = {
            name: np.concatenate([np.asarray(c[name])[:, where[0], where[1]] for _, c, _ in found])
            for name in found[0][1]
        }
        shape = (self.copies, len(problem.candidate))
        columns = edges if spec.restarts == 1 else consensus(edges)
        for name, values in columns.items():
            _kept(self.found[g], name, shape)[copy] = values[0]
        if copy:
            return
        value, status, residual, iterations, history = (
            np.concatenate([np.asarray(getattr(fit, n)) for fit, _, _ in found])
            for n in ("value", "status", "residual", "iterations", "history")
        )
        if spec.sweeps is not None and plan.max_iterations == spec.sweeps.most:
            # The number of sweeps is part of the method.
            status = np.where(status == Status.MAX_ITERATIONS, Status.OWN_LIMIT, status)
        best = int(np.argmin(np.where(np.isnan(value), np.inf, value)))
        live = problem.sizes > 0
        self.status[g, live] = worst(status)
        self.residual[g, live] = residual.max()
        self.iterations[g, live] = iterations.max()
        if plan.history:
            self.history.append(history[:, : iterations.max()])
        real = {"regulators": len(self.x), "targets": len(self.y), "cells": cells}
        for name in found[0][2]:
            block = np.concatenate([b[name] for _, _, b in found])[best]
            axes = AXES.get(name, ("",) * block.ndim)
            block = block[tuple(slice(real.get(a)) for a in axes)]
            self.blocks.setdefault(name, []).append(block)

    # ---------------------------------------------------------------- solving

    def _tables(self, k: int, sizes: np.ndarray):
        """Positions of the candidates that enter a fit, for each number of candidates.

        Returns the table (rows, k), its inverse (rows, K) or None, and the first row of each size.
        """
        ensemble = self.spec.ensemble
        kinds = np.unique(sizes)
        if ensemble is None:
            rows = [np.arange(size)[None, :] for size in kinds]
        else:
            rows = [np.sort(ensemble.features(int(size), self.seed), axis=1) for size in kinds]
        first = np.concatenate([[1], 1 + np.cumsum([len(own) for own in rows])])
        table = np.full((padded(first[-1]), k), -1, np.int32)
        for begin, own in zip(first, rows, strict=False):
            table[begin : begin + len(own), : own.shape[1]] = own
        inverse = None
        if ensemble is not None:
            inverse = np.full((len(table), bucket(int(kinds[-1]))), -1, np.int32)
            row, place = np.nonzero(table >= 0)
            inverse[row, table[row, place]] = place
        return table, inverse, first[np.searchsorted(kinds, sizes)]

    def _solve(self, group: int, source: Any, part: np.ndarray) -> None:
        """Fit the targets ``part``, whose responses are the columns of ``source``."""
        plan, problem = self.plan, self.problem
        column = np.full(len(problem.targets), -1)
        column[part] = np.arange(len(part))
        calls, options = [], (*self.options, self._key(group))
        for batch in plan.batches():
            chosen = batch.targets[column[batch.targets] >= 0]
            if not len(chosen):
                continue
            # Fits of like size side by side: padding within a compiled call costs little.
            chosen = np.repeat(
                chosen[np.argsort(problem.sizes[chosen], kind="stable")], self.copies
            )
            copy = np.tile(np.arange(self.copies), len(chosen) // self.copies)
            table, inverse, first = self._tables(batch.k, problem.sizes[chosen])
            step = plan.chunk(batch, len(chosen))
            for start in range(0, len(chosen), step):
                now = slice(start, start + step)
                own = chosen[now]
                tasks = self._tasks(
                    own, column[own] + copy[now] * len(part), first[now], table, inverse, step
                )
                calls.append(
                    (
                        own,
                        copy[now],
                        partial(
                            _fit,
                            plan.rung.solve,
                            self.slots,
                            self.spec.terms,
                            source,
                            tasks,
                            self.entries,
                            options,
                        ),
                    )
                )
        outcomes = side_by_side([call for _, _, call in calls], self.dtype)
        for (own, own_copy, _), outcome in zip(calls, outcomes, strict=True):
            self._store(group, own, own_copy, outcome)

    def _tasks(self, own, columns, first, table, inverse, step: int) -> Tasks:
        systems, count = self.plan.bags, len(own)
        row = np.zeros((systems, step), np.int32)
        row[:, :count] = first[None, :]
        if inverse is not None:
            row[:, :count] += np.arange(systems)[:, None]
        target, start = np.zeros(step, np.int32), np.zeros(step, np.int32)
        target[:count] = columns
        start[:count] = self.problem.indptr[own]
        return Tasks(target, start, row, table, inverse)

    def _store(self, group: int, own, copy, outcome: Outcome) -> None:
        """Put what a compiled call gave back to its entries."""
        problem, real = self.problem, copy == 0
        sizes = problem.sizes[own]
        for name, values in outcome.by_entry.items():
            values = np.asarray(values)
            held = np.arange(values.shape[1])[None, :] < sizes[:, None]
            entry = (problem.indptr[own][:, None] + np.arange(values.shape[1]))[held]
            out = _kept(
                self.found[group], name, (self.copies, len(problem.candidate)), values.dtype
            )
            out[np.repeat(copy, sizes), entry] = values[: len(own)][held]
        mine = own[real]
        for name, values in outcome.by_target.items():
            _kept(self.blocks, name, self.status.shape)[group, mine] = np.asarray(values)[
                : len(own)
            ][real]
        for name in ("status", "residual", "iterations"):
            values = np.asarray(getattr(outcome, name))
            getattr(self, name)[group, mine] = values[: len(own)][real]

    # -------------------------------------------------------------- finishing

    def _finish_group(self, group: int) -> None:
        """Turn the coefficients of a group into weights and statistics."""
        problem = self.problem
        status = self.status[group]
        found, self.found[group] = self.found[group], {}
        if self.spec.ensemble is not None:
            found = bag_statistics(**found)
        weights = found.pop("weight")
        # What is not finite is no edge; the certificate says so.
        failed = (status == Status.NOT_FINITE)[problem.entry_target]
        self.weights[group] = np.where(failed, np.nan, weights[0])
        used = np.bincount(problem.entry_target, np.nan_to_num(weights[0]) != 0, len(self.y)) > 0
        constant = self.by_group[group].constant[self.y] & ~used
        status[constant & (status != Status.NO_CANDIDATES) & (status != Status.NOT_FINITE)] = (
            Status.CONSTANT_TARGET
        )
        columns = {name: values[0] for name, values in found.items()}
        if self.spec.readout is not None:
            columns |= self.spec.readout({"weight": self.weights[group], **columns})
            columns = {name: values for name, values in columns.items() if values is not None}
        if self.spec.permutations:
            sizes = np.abs(weights) / self.by_group[group].deviation[self.y][problem.entry_target]
            columns["fdr"] = false_discovery_rate(sizes[0], sizes[1:])
        for name, values in columns.items():
            _kept(self.statistics, name, self.weights.shape, values.dtype)[group] = values

    def _remarks(self) -> tuple[list, list[str]]:
        """Lines for the report: what is constant, undefined, small or not converged."""
        lines: list[tuple[str, int, str, tuple[str, ...]]] = []
        data, problem = self.data, self.problem
        names = [None] if data.groups is None else list(data.groups)

        def say(kind: str, count: int, message: str, examples: Any = ()) -> None:
            if count:
                lines.append((kind, int(count), message, tuple(str(e) for e in examples[:5])))

        intercept = "intercept" in self.spec.blocks or all(
            getattr(t, "intercept", True) for t in parts(self.spec.loss) if t.quadratic is not None
        )
        intercept = intercept and not any(
            t.quadratic is None and t.evidence is None and "intercept" not in t.blocks
            for t in parts(self.spec.loss)
        )
        for group in data.origin.get("empty_groups", []):
            say("group empty", 1, f"group {group} has no cell: no edges")
        without = data.origin.get("cells_without_group", 0)
        say("cells without group", without, f"{without:,} cells have no group and are left out")
        for g, group in enumerate(names):
            where = "" if group is None else f" in group {group}"
            if data.group_sizes[g] == 1:
                say(
                    "group with one cell",
                    1,
                    f"one cell only{where}: every coefficient is 0 and p is undefined",
                )
            else:
                for what, columns, label in (
                    ("regulator", self.x, problem.regulators),
                    ("target", self.y, problem.targets),
                ):
                    flat = self.by_group[g].constant[columns]
                    count = int(flat.sum())
                    say(
                        f"constant {what}s",
                        count,
                        f"{count:,} {what}{'s are' if count > 1 else ' is'} constant{where}"
                        + (": coefficients there are 0" if intercept else ""),
                        label[flat],
                    )
            for code in FAILED:
                hit = self.status[g] == code
                say(
                    f"fits {code.name.lower()}",
                    hit.sum(),
                    f"{int(hit.sum()):,} targets{where}: {code.message}",
                    problem.targets[hit],
                )
        if "p" in self.statistics:
            shown = ~np.isnan(self.weights)
            undefined = int((np.isnan(self.statistics["p"]) & shown).sum())
            say(
                "p undefined",
                undefined,
                f"{undefined:,} of {int(shown.sum()):,} edges have no defined p: left empty",
            )
        if self.spec.ensemble is not None:
            never = int((self.statistics["bags_drawn"][0] == 0).sum())
            say(
                "edges never drawn",
                never,
                f"{never:,} candidate edges were drawn in no bag: left out",
            )
        return lines, suspicions(self.spec, self.overall, len(self.genes))


# How starts ended, the worst first.
_WORST = (
    Status.NOT_FINITE,
    Status.SINGULAR,
    Status.MAX_ITERATIONS,
    Status.INACCURATE,
    Status.OWN_LIMIT,
    Status.RELEASED_RULE,
    Status.WITHIN_NOISE,
    Status.CONVERGED,
)


def worst(status: np.ndarray) -> int:
    """Return the status that speaks for all starts."""
    return next(s for s in _WORST if (status == s).any())


def consensus(edges: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Join the starts: means of all columns, the spread of ``score``, how often an edge is there.

    Each column is (starts, entries) and becomes (1, entries).
    """
    out = {
        name: values.mean(axis=0, keepdims=True, dtype=np.float64) for name, values in edges.items()
    }
    if "score" in edges:
        out["score_sd"] = edges["score"].std(axis=0, ddof=1, keepdims=True, dtype=np.float64)
    out["frequency"] = (edges["weight"] != 0).mean(axis=0, keepdims=True)
    return out


def _kept(
    table: dict[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: Any = np.float64
) -> np.ndarray:
    """Return the named array, made on first use and filled with what is undefined."""
    if name not in table:
        whole = np.issubdtype(dtype, np.integer)
        table[name] = np.zeros(shape, dtype) if whole else np.full(shape, np.nan, dtype)
    return table[name]


def false_discovery_rate(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Share of false edges among those at least as strong, from permuted copies.

    fdr(t) = min over s <= t of  (1 + #{null >= s}) / R  /  #{observed >= s}, at most 1, with R
    copies. Source: Storey and Tibshirani, PNAS 100 (2003) 9440, doi:10.1073/pnas.1530509100; the
    added 1 as in Barber and Candes, Ann. Stat. 43 (2015) 2055, doi:10.1214/15-AOS1337.

    Parameters
    ----------
    observed
        (entries,) sizes of the edges.
    null
        (R, entries) sizes of the same edges to permuted targets.
    """
    defined = ~np.isnan(observed)
    order = np.argsort(-observed[defined], kind="stable")
    sizes = observed[defined][order]
    pool = np.sort(null[:, defined].ravel())
    above = len(pool) - np.searchsorted(pool, sizes, side="left")
    # Ties share the number of edges at least as strong.
    rank = np.searchsorted(-sizes, -sizes, side="right")
    rate = np.minimum((1 + above) / len(null) / rank, 1)
    rate = np.minimum.accumulate(rate[::-1])[::-1]
    out = np.full(len(observed), np.nan)
    out[np.flatnonzero(defined)[order]] = rate
    return out


def suspicions(spec: Any, seen: GeneStatistics, genes: int) -> list[str]:
    """Say what looks wrong for the method in the values that were read."""
    zeros = 1 - seen.nonzero / (seen.cells * genes)
    low, high = float(seen.minimum.min()), float(seen.maximum.max())
    out = []
    counts = not seen.fractional and low >= 0 and high > 1
    if "log" in spec.expects and counts:
        out.append(
            f"{spec.name} expects log-normalised, imputed expression, but every value is "
            "a whole number: these look like raw counts; name the normalised or imputed "
            "layer by layer= (--layer)"
        )
    elif "log" in spec.expects and low >= 0 and high > 100:
        out.append(
            f"{spec.name} expects log-scale expression, but values reach {high:,.0f}: "
            "this looks unlogged; take log1p of normalised counts"
        )
    if "imputed" in spec.expects and zeros > 0.5:
        out.append(
            f"{100 * zeros:.0f} % of the values are zero: far sparser than the imputed "
            f"layer that {spec.name} was made for; name the layer after "
            "k-nearest-neighbour smoothing by layer= (--layer)"
        )
    return out
