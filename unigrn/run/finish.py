"""Finishing: axes of members are reduced, coefficients become weights, and what is odd is said."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from unigrn.check import cut
from unigrn.leftout import LeftOut
from unigrn.moments import GeneStatistics
from unigrn.replicates import Found, condensed
from unigrn.run import reading
from unigrn.run.state import State, kept
from unigrn.solution import Solution
from unigrn.status import FAILED, WORST, Status
from unigrn.terms import parts

ADVICE = {
    Status.MAX_ITERATIONS: "; give more (max_iterations=, --param max_iterations=), or loosen the "
    "tolerance (tolerance=, --param tolerance=)",
    Status.SINGULAR: "; add a ridge",
    Status.INACCURATE: "; add a ridge, or take dtype float64",
    Status.STALLED: "; take dtype float64, or loosen the tolerance (tolerance=, "
    "--param tolerance=)",
}


def solution(state: State) -> Solution:
    """Put a run together."""
    blocks: dict[str, Any] = {}
    for name, groups in state.blocks.items():
        separate = not state.plan.solver.whole
        blocks[name] = (
            np.stack(groups) if separate and len({b.shape for b in groups}) == 1 else groups
        )
    location = blocks.pop("theta", None)
    suspicious = (
        suspicions(state.spec.name, state.spec.expects, state.overall, len(state.genes))
        + alone(state)
        + small_groups(state)
        + without_edges(state)
    )
    found = Solution(
        state.plan,
        state.weights,
        state.statistics,
        blocks,
        state.status,
        state.residual,
        state.iterations,
        state.history,
        state.seed,
        remarks(state),
        suspicious,
        state.by_entry,
        state.targets,
        location,
    )
    return leave_one_out(found, state.data) if isinstance(state.data, LeftOut) else found


def leave_one_out(found: Solution, data: LeftOut) -> Solution:
    """Turn fits without each unit, and last to all cells, into networks of the units."""
    share, last = data.share()[:, None], len(found.weights) - 1

    def network(values: np.ndarray) -> np.ndarray:
        rest = values[:last].astype(np.float64)
        return (values[last] - rest) / share + rest

    rank = np.full(max(Status) + 1, len(WORST))
    rank[list(WORST)] = np.arange(len(WORST))
    without, whole = (
        found.status[:last],
        np.broadcast_to(found.status[last], (last, *found.status.shape[1:])),
    )
    worse = np.where(rank[without] <= rank[whole], without, whole)
    return dataclasses.replace(
        found,
        plan=dataclasses.replace(found.plan, data=data.units),
        weights=network(found.weights),
        statistics={k: network(v) for k, v in found.statistics.items() if k == "score"},
        nuisance={},
        status=worse,
        residual=np.fmax(found.residual[:last], found.residual[last]),
        iterations=np.maximum(found.iterations[:last], found.iterations[last]),
        history=[],
        by_entry={},
        targets={},
        location=None,
    )


def finish_group(state: State, group: int) -> None:
    """Turn what the members of a group found into weights, statistics and certificates."""
    problem, grid = state.problem, state.grid
    edges, numbers = state.edges, state.numbers
    state.edges, state.numbers = {}, {}
    live = problem.sizes > 0
    shape = grid.shape[:-1] if state.inner is not None else grid.shape
    if any(o.loss for o in grid.over):
        numbers["cells"] = np.repeat(reading.counted(state, group)[:, None], live.size, axis=1)
    found = Found(
        {name: values.reshape(*shape, -1) for name, values in edges.items()},
        {
            name: values.reshape(*grid.shape, -1)
            for name, values in numbers.items()
            if name in ("objective", "loss", "heldout", "cells")
        },
        problem.entry_target,
        state.by_group[group].deviation[state.y],
        int(state.data.group_sizes[group]),
    )
    found = reduced(state, found)
    found.targets.pop("cells", None)
    certify(state, group, numbers, found.targets, live)
    weight = found.edges["weight"]
    # What is not finite is no edge; the certificate says so.
    status = state.status[group]
    failed = (status == Status.NOT_FINITE)[problem.entry_target]
    state.weights[group] = np.where(failed, np.nan, weight)
    used = np.bincount(problem.entry_target, np.nan_to_num(weight) != 0, len(state.y)) > 0
    constant = state.by_group[group].constant[state.y] & ~used
    keep = (status != Status.NO_CANDIDATES) & (status != Status.NOT_FINITE)
    status[constant & keep] = Status.CONSTANT_TARGET
    if state.level is not None and state.level.any() and "intercept" in state.blocks:
        # Whatever coefficient a constant regulator has, the intercept makes up for it.
        worth = np.nan_to_num(weight) * state.level[problem.candidate]
        state.blocks["intercept"][group] -= np.bincount(problem.entry_target, worth, len(state.y))
    for name, values in found.edges.items():
        if name != "weight":
            kept(state.statistics, name, state.weights.shape, values.dtype)[group] = values
    for name, values in found.targets.items():
        kept(state.targets, name, state.status.shape)[group, live] = values[live]
    if state.best is not None:
        for name, block in state.best[1].items():
            state.blocks.setdefault(name, []).append(block)
        state.best = None
    if state.runs:
        width = max(r.shape[1] for r in state.runs)
        state.history.append(
            np.concatenate(
                [
                    np.pad(r, ((0, 0), (0, width - r.shape[1])), constant_values=np.nan)
                    for r in state.runs
                ]
            )
        )
        state.runs = []


def certify(
    state: State,
    group: int,
    numbers: dict[str, np.ndarray],
    targets: dict[str, np.ndarray],
    live: np.ndarray,
) -> None:
    """Let the worst of the members that count speak for each target."""
    grid = state.grid
    counts = np.repeat(grid.certified[:, None], live.size, axis=1)
    for depth, axis in enumerate(grid.over):
        decisive = axis.decisive(targets)
        # The reduced numbers are those of one member of every outer axis, or say too little.
        lone = all(len(range(o.size)[o.certified]) == 1 for o in grid.over[:depth])
        if decisive is not None and lone:
            counts &= decisive[grid.places()[:, depth]]
    status, iterations = numbers["status"], np.where(counts, numbers["iterations"], 0)
    residual = np.where(counts, numbers["residual"], -np.inf)
    rank = np.full(max(Status) + 1, len(WORST))
    rank[list(WORST)] = np.arange(len(WORST))
    rank = np.where(counts, rank[status], len(WORST) + 1)
    worst = np.take_along_axis(status, np.argmin(rank, axis=0)[None], axis=0)[0]
    sweeps = state.spec.sweeps
    if sweeps is not None and state.plan.max_iterations == sweeps.most:
        # The number of sweeps is part of the method.
        worst = np.where(worst == Status.MAX_ITERATIONS, Status.OWN_LIMIT, worst)
    state.status[group, live] = worst[live]
    state.residual[group, live] = residual.max(axis=0)[live]
    state.iterations[group, live] = iterations.max(axis=0)[live]


def reduced(state: State, found: Found) -> Found:
    """Reduce the axes of members, the innermost first."""
    over = state.grid.over
    for depth in reversed(range(len(over))):
        axis = over[depth]
        in_program = state.inner is not None and depth == len(over) - 1

        def front(table, depth=depth):
            return {name: np.moveaxis(values, depth, 0) for name, values in table.items()}

        edges, targets = found.edges, front(found.targets)
        if not in_program:
            edges = front(edges)
        if axis.compiled is not None:
            targets = {k: v[axis.speaks].mean(axis=0, dtype=np.float64) for k, v in targets.items()}
        if axis.compiled is not None and not in_program:
            edges = condensed(axis, edges, ~np.isnan(edges["weight"]))
            edges = {name: np.asarray(values) for name, values in edges.items()}
        found = axis.reduce(dataclasses.replace(found, edges=edges, targets=targets))
    return found


def remarks(state: State) -> list[tuple[str, int, str, tuple[str, ...]]]:
    """Return lines for the report: what is constant, undefined, small or not converged."""
    lines: list[tuple[str, int, str, tuple[str, ...]]] = []
    data, problem = state.data, state.problem
    names = [None] if data.groups is None else list(data.groups)
    whole = len(names) - 1
    if isinstance(data, LeftOut):
        names = [*(f"of all cells but {name}" for name in names[:-1]), "of all cells"]

    def say(kind: str, count: int, message: str, examples: Any = ()) -> None:
        if count:
            lines.append((kind, int(count), message, tuple(str(e) for e in examples[:5])))

    losses = parts(state.spec.loss)
    intercept = all(
        t.intercept is not False
        and (t.quadratic is not None or t.evidence is not None or "intercept" in t.blocks)
        for t in losses
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
                ("regulator", state.x, problem.regulators),
                ("target", state.y, problem.targets),
            ):
                if isinstance(data, LeftOut) and g < whole:
                    continue
                flat = state.by_group[g].constant[columns]
                count = int(flat.sum())
                say(
                    f"constant {what}s",
                    count,
                    f"{count:,} {what}{'s are' if count > 1 else ' is'} constant{where}"
                    + (": coefficients there are 0" if intercept else ""),
                    label[flat],
                )
        for code in FAILED:
            hit = state.status[g] == code
            say(
                f"fits {code.name.lower()}",
                hit.sum(),
                f"{int(hit.sum()):,} targets{where}: {code.message}{ADVICE.get(code, '')}",
                problem.targets[hit],
            )
    if "p" in state.statistics:
        shown = ~np.isnan(state.weights)
        undefined = int((np.isnan(state.statistics["p"]) & shown).sum())
        say(
            "p undefined",
            undefined,
            f"{undefined:,} of {int(shown.sum()):,} edges have no defined p: left empty",
        )
    if "fdr" in state.statistics:
        rate = state.statistics["fdr"]
        above, counted = (rate <= ABOVE).sum(axis=1), int((~np.isnan(rate)).sum())
        each = [f"{cut(g, 40)} {n:,}" for g, n in zip(data.groups or (), above, strict=False)]
        each = ", ".join(each[:5]) + (f" and {len(each) - 5} more" if len(each) > 5 else "")
        say(
            "edges above permuted targets",
            counted,
            f"{int(above.sum()):,} of {counted:,} edges stand above permuted targets "
            f"(fdr <= {ABOVE:g})" + (f" ({each})" if each else ""),
        )
    if "frequency" in state.statistics and state.plan.sparse:
        listed = np.abs(state.weights) > 0
        every = int((listed & (state.statistics["frequency"] >= 1)).sum())
        say(
            "edges found every time",
            int(listed.sum()),
            f"{every:,} of {int(listed.sum()):,} edges were found every time (frequency 1)",
        )
    for over in state.spec.over:
        for line in over.remarks(state.targets, state.status != Status.NO_CANDIDATES):
            say(*line)
    if "bags_drawn" in state.statistics:
        never = int((state.statistics["bags_drawn"][0] == 0).sum())
        say("edges never drawn", never, f"{never:,} candidate edges were drawn in no bag: left out")
    return lines


def without_edges(state: State) -> list[str]:
    """Say that the table, which lists coefficients that are not 0, has none."""
    weights = state.weights
    if not state.plan.sparse or (np.abs(weights) > 0).any() or np.isnan(weights).all():
        return []
    flat = any(group.constant[state.y].any() for group in state.by_group)
    return [
        "the network has no edge: every coefficient is 0; penalties may be too strong"
        + (", and genes are constant in their group of cells (see the report)" if flat else "")
    ]


ABOVE = 0.05  # fdr up to which an edge counts as above permuted targets
FEW = 20  # cells below which a p over bags or of a posterior says nothing


def small_groups(state: State) -> list[str]:
    """Say where p rests on fewer cells than max(20, candidates of the target)."""
    if "p" not in state.statistics:
        return []
    problem, data = state.problem, state.data
    sizes, cells = problem.sizes, np.asarray(data.group_sizes)
    few = (cells[:, None] < np.maximum(FEW, sizes)[None, :]) & (sizes > 0)[None, :]
    small = np.flatnonzero(few.any(axis=1))
    if not small.size:
        return []
    least = int(small[np.argmin(cells[small])])
    if data.groups is None:
        where = f"the {cells[0]:,} cells are"
    else:
        groups = "group" if small.size == 1 else "groups"
        where = (
            f"{small.size:,} {groups} (such as {str(data.groups[least])[:40]!r}, "
            f"{cells[least]:,} cells) {'is' if small.size == 1 else 'are'}"
        )
    return [
        f"{where} too few for the p of {int(few.sum()):,} of {few.size:,} fits (fewer than "
        f"{FEW} or than the candidates of the target), small as it may look: go by fdr "
        "(permutations=1 or more), or join groups"
    ]


def alone(state: State) -> list[str]:
    """Say where a term joins groups of cells, and there is one."""
    joint = [t for t in state.spec.terms if t.across]
    if not joint or state.groups > 1:
        return []
    return [
        f"{joint[0].kind} {joint[0].formula} joins groups of cells, and all are in one: name "
        "groups by groupby= (--groupby), or take a method for one network"
    ]


def suspicions(name: str, expects: Any, seen: GeneStatistics, genes: int) -> list[str]:
    """Say what looks wrong in the values that were read for what a method expects.

    Of ``genes`` alone, which stand before what stages made of them.
    """
    zeros = 1 - seen.nonzero / (seen.cells * genes)
    low, high = float(seen.minimum[:genes].min()), float(seen.maximum[:genes].max())
    out = []
    counts = not seen.fractional[:genes].any() and low >= 0 and high > 1
    imputed = "imputed" in expects
    if "log" in expects and counts:
        layer = "normalised or imputed layer" if imputed else "normalised layer"
        out.append(
            f"{name} expects log-normalised{', imputed' if imputed else ''} expression, but "
            "every value is a whole number: these look like raw counts; name the "
            f"{layer} by layer= (--layer)"
        )
    elif "log" in expects and low >= 0 and high > 100:
        out.append(
            f"{name} expects log-scale expression, but values reach {high:,.0f}: "
            "this looks unlogged; take log1p of normalised counts"
        )
    elif "positive" in expects and low < 0:
        out.append(
            f"{name} expects log-normalised expression, but values go down to {low:.3g}: "
            "they look scaled, integrated or like log ratios; name a layer (--layer), or take "
            ".raw (--raw)"
        )
    if imputed and zeros > 0.5:
        out.append(
            f"{100 * zeros:.0f} % of the values are zero: far sparser than the imputed "
            f"layer that {name} was made for; name the layer after "
            "k-nearest-neighbour smoothing by layer= (--layer)"
        )
    return out
