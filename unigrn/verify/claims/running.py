"""A run is its parts: groups, members of every axis and passes, one fit after the other.

The original is plain NumPy and knows of no blocks, batches, sums or compiled programs. An axis is a
list of tasks and a rule that joins what they found; axes nest by recursion, and each leaf solves
one target of one group at a time. Of the method it shares what makes draws reproducible: the seeds
of the streams, and the padded lengths that some are drawn for.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np

import unigrn as u
from unigrn.api import fit
from unigrn.data import Data
from unigrn.methods.celloracle import ReleasedBags
from unigrn.planner import Plan, plan
from unigrn.spec import Spec
from unigrn.verify import originals
from unigrn.verify.claims import Claim
from unigrn.verify.claims.common import Search, apart, claimed, defined, placed, prior_of
from unigrn.verify.instances import described
from unigrn.verify.search import Finding

LONG = (4300, 60, 17)  # cells of the groups: more than one stretch of draws and of permutations
SMALL = (60, 62, 50)  # where the fit is iterative: sizes that one program serves
UNITS, MEANS = (1.0, 3.0, 0.5), (2.0, -1.0, 7.0)  # of the groups
SCALES = (None, "regulators", "both", "standard")
SOURCES, TARGETS = tuple(f"r{i}" for i in range(5)), ("r0", "r1", "t0", "t1", "t2")
GENES = tuple(dict.fromkeys((*SOURCES, *TARGETS)))
KNOWN = np.array(  # regulators x targets, self-edges among them: shapes that compile once
    [[1, 1, 1, 0, 1], [1, 1, 0, 0, 1], [1, 0, 1, 1, 1], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1]]
)
OWN = np.array([[s != t for t in TARGETS] for s in SOURCES])
BOOTSTRAP, PERMUTED = 4096, 1024  # cells whose draws, and whose order, have a stream of their own
SHARE, ALPHA, PART = 0.6, 2.0, 2  # regulators of a bag, ridge, targets of a pass
BAGS, COPIES, SAMPLES, PARTS = 3, 2, 3, 3
JUDGING = 5  # parts of the targets that choose for one another
RIDGES = (0.5, 30.0, 400.0)  # of a path
FINE = tuple(1.5**i for i in range(12))  # of one on which fewer targets choose otherwise
PRICE, DELTA, ALIKE = 30.0, 0.8, 20.0  # of a lasso, Huber's, of groups that are to be alike


@dataclass(frozen=True)
class Run:
    """A small data set of three groups, and how it is fitted: a kind of `KINDS`."""

    seed: int = 0
    kind: str = "bags"
    scale: str | None = None
    intercept: bool = True
    weighted: bool = False

    def __repr__(self) -> str:
        return described(self)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Cells of each group."""
        return LONG if self.kind == "bags" else SMALL

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Values (cells, genes), group of each cell, and weights, of which some are 0, or None."""
        rng = np.random.default_rng((self.seed, 8))
        group = rng.permutation(np.repeat(np.arange(len(self.sizes)), self.sizes))
        mixing = rng.normal(size=(len(GENES), len(GENES))) / 2 + np.eye(len(GENES))
        values = rng.normal(size=(len(group), len(GENES))) @ mixing
        values = values * np.array(UNITS)[group, None] + np.array(MEANS)[group, None]
        weights = rng.uniform(0.2, 3, len(group)) * (rng.random(len(group)) < 0.9)
        return values, group, weights if self.weighted else None


# ------------------------------------------------------------------ one fit


@dataclass(frozen=True)
class Task:
    """The cells of one group as one fit sees them: x (cells, regulators), y (cells, targets)."""

    run: Run
    group: int
    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray  # of the cells in the data
    times: np.ndarray  # how often each is taken, (cells, targets)
    kept: np.ndarray  # candidates, (regulators, targets)
    deviation: np.ndarray  # of the targets in this group
    alpha: float = ALPHA
    price: float = 0.0
    held: np.ndarray | None = None  # cells on which the fit is judged
    slip: str = ""


Found = dict[str, np.ndarray]  # by edge (regulators, targets), or by target


def _sums(task: Task, t: int, own: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, ...]:
    """Gram matrix, its right-hand side and the squares of one target."""
    w = times if task.slip == "weights left out" else times * task.weight
    a, y = task.x[:, own], task.y[:, t]
    if task.run.intercept:
        a, y = a - w @ a / w.sum(), y - w @ y / w.sum()
    return (a.T * w) @ a, (a.T * w) @ y, w @ y**2


def _lasso(gram: np.ndarray, right: np.ndarray, alpha: float, price: float) -> np.ndarray:
    """Minimise theta' G theta - 2 c' theta + price |theta|_1 + alpha |theta|^2, one by one."""
    theta = np.zeros(len(right))
    for _ in range(2000):
        before = theta.copy()
        for j in range(len(theta)):
            v = 2 * (right[j] - gram[j] @ theta + gram[j, j] * theta[j])
            theta[j] = np.sign(v) * max(abs(v) - price, 0) / (2 * (gram[j, j] + alpha))
        if np.abs(theta - before).max(initial=0) <= 1e-15 * np.abs(theta).max(initial=0):
            break
    return theta


def _robust(task: Task, t: int, own: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Minimise Huber's loss and a ridge by reweighted squares: theta, intercept, objective."""
    a, y = np.c_[np.ones(len(task.y)), task.x[:, own]], task.y[:, t]
    w, price = task.weight * task.times[:, t], np.diag([0.0, *np.full(own.sum(), ALPHA)])
    if task.slip == "weights left out":
        w = task.times[:, t]
    b = np.zeros(a.shape[1])
    for _ in range(3000):
        size, before = np.abs(y - a @ b), b
        near = w if task.slip == "squares" else w * np.minimum(1, DELTA / np.maximum(size, DELTA))
        b = np.linalg.solve((a.T * near) @ a + price, (a.T * near) @ y)
        if np.abs(b - before).max() <= 1e-14 * np.abs(b).max():
            break
    size = np.abs(y - a @ b)
    loss = w @ np.where(size <= DELTA, size**2, 2 * DELTA * size - DELTA**2)
    return b[1:], b[0], loss + b @ price @ b


def _fitted(task: Task) -> Found:
    """Fit every target by itself."""
    q, p = task.kept.shape
    out = {"weight": np.full((q, p), np.nan)}
    out |= {name: np.full(p, np.nan) for name in ("objective", "loss", "heldout", "intercept")}
    for t in range(p):
        own = task.kept[:, t]
        if task.run.kind == "rows":
            found = _robust(task, t, own)
            out["weight"][own, t], out["intercept"][t], out["objective"][t] = found
            continue
        gram, right, square = _sums(task, t, own, task.times[:, t])
        if task.price:
            theta = _lasso(gram, right, task.alpha, task.price)
        else:
            theta = np.linalg.solve(gram + task.alpha * np.eye(own.sum()), right)
        loss = theta @ gram @ theta - 2 * right @ theta + square
        out["weight"][own, t], out["loss"][t] = theta, loss
        paid = task.price * np.abs(theta).sum() + task.alpha * theta @ theta
        out["objective"][t] = loss + paid
        if task.held is not None and task.held.any():
            gram, right, square = _sums(task, t, own, task.held)
            out["heldout"][t] = theta @ gram @ theta - 2 * right @ theta + square
    return out


# ------------------------------------------------------------------ axes


@dataclass(frozen=True)
class Axis:
    """One axis: how a spec gets it, its tasks, and what becomes of what they found."""

    of_spec: Callable[[Spec], Spec]
    tasks: Callable[[Task], list[Task]]
    joined: Callable[[Task, list[Found]], Found]


def _mean(task: Task, found: list[Found]) -> Found:
    return {k: np.mean([f[k] for f in found], axis=0) for k in found[0]}


def _nested(axes: tuple[Axis, ...], task: Task) -> Found:
    """Fit over axes, the outermost last."""
    if not axes:
        return _fitted(task)
    *inner, outer = axes
    return outer.joined(task, [_nested(tuple(inner), one) for one in outer.tasks(task)])


def _counts(task: Task) -> np.ndarray:
    """How often each bag draws each cell: as many as there are, stretch by stretch, (bags, n)."""
    n, group = len(task.x), 0 if task.slip == "one stream for all groups" else task.group
    sizes = [min(BOOTSTRAP, n - first) for first in range(0, n, BOOTSTRAP)]
    stream = np.random.default_rng((0, 0, group, 0))
    totals = stream.multinomial(n, np.array(sizes) / n, size=BAGS)
    parts = []
    for block, size in enumerate(sizes):
        again = task.slip == "one stream for all stretches"
        stream = np.random.default_rng((0, 0, group, 1, 0 if again else block))
        drawn = [stream.integers(0, size, total) for total in totals[:, block]]
        parts.append(np.stack([np.bincount(d, minlength=size) for d in drawn]))
    return np.concatenate(parts, axis=1)


def _bags(task: Task, released: bool = False) -> list[Task]:
    """Draw cells and candidates; the released streams ask how many candidates there are."""
    n, counts = len(task.x), None if released else _counts(task)
    out = []
    for b in range(BAGS):
        kept, times = np.zeros(task.kept.shape, bool), np.empty(task.times.shape)
        for t, column in enumerate(task.kept.T):
            own = np.flatnonzero(column)
            if counts is None:
                taken, rows = originals.released_bag_indices(n, len(own), BAGS, SHARE)
                times[:, t] = np.bincount(rows[b], minlength=n)
            else:
                draw = np.random.default_rng((0, 1, len(own))).random((BAGS, len(own)))
                taken = np.argsort(draw, axis=1)[:, : max(1, int(SHARE * len(own)))]
                times[:, t] = counts[b]
            kept[own[taken[b]], t] = True
        out.append(replace(task, kept=kept, times=task.times * times))
    return out


def _bagged(task: Task, found: list[Found]) -> Found:
    weight = np.array([f["weight"] for f in found])
    drawn = (~np.isnan(weight)).sum(axis=0)
    mean = np.nansum(weight, axis=0) / np.maximum(drawn, 1)
    return _mean(task, found) | {
        "weight": np.where(drawn > 0, mean, np.nan),
        "bags_drawn": np.where(task.kept, drawn, np.nan),
    }


def _orders(task: Task) -> list[Task]:
    """Return the targets as they are, then with cells in other orders, stretch by stretch."""
    out, n = [task], len(task.x)
    for copy in range(1, 1 + COPIES):
        places = []
        for first in range(0, n, PERMUTED):
            member = 1 if task.slip == "one permutation" else copy
            stream = np.random.default_rng((0, 2, task.group, first, member))
            places.append(first + stream.permutation(min(PERMUTED, n - first)))
        order = np.arange(n) if task.slip == "no permutation" else np.concatenate(places)
        out.append(replace(task, y=task.y[order]))
    return out


def _discovered(task: Task, found: list[Found]) -> Found:
    """Count false discovery rates, for each edge the least over the thresholds below it."""
    edge = ~np.isnan(found[0]["weight"])
    real, *null = (np.abs(f["weight"] / task.deviation)[edge] for f in found)
    copies = 1 if task.slip == "rates of all copies together" else len(null)
    pool = np.concatenate(null)
    raw = np.array([(1 + (pool >= s).sum()) / copies / (real >= s).sum() for s in real])
    fdr = np.full(edge.shape, np.nan)
    fdr[edge] = [min(1.0, raw[real <= s].min()) for s in real]
    return found[0] | {"fdr": fdr}


def _taken(task: Task, cells: list[np.ndarray], held: bool = False) -> list[Task]:
    """Tasks on some of the cells; ``held`` judges each on the others."""
    return [
        replace(task, times=task.times * own[:, None], held=(1.0 - own if held else task.held))
        for own in cells
    ]


def _subsets(task: Task) -> list[Task]:
    n, cells = len(task.x), []
    for sample in range(SAMPLES):
        group = () if task.slip == "one stream for all groups" else (task.group,)
        order = np.random.default_rng((0, 3, *group, sample)).permutation(n)
        cells.append(np.isin(np.arange(n), order[: int(SHARE * n)]) * 1.0)
    return _taken(task, cells)


def _often(task: Task, found: list[Found]) -> Found:
    on = [np.where(task.kept, f["weight"] != 0, np.nan) for f in found]
    return _mean(task, found) | {"frequency": np.mean(on, axis=0)}


def _parts(task: Task, stream: int) -> list[np.ndarray]:
    """Return all cells, then all but one part at a time."""
    rng = np.random.default_rng((0, stream, task.group))
    part = rng.permutation(np.arange(len(task.x)) % PARTS)
    return [np.where(part != k, 1.0, 0.0) for k in range(-1, PARTS)]


def _held_out(task: Task, found: list[Found]) -> Found:
    total = np.sum([f["heldout"] for f in found[1:]], axis=0)
    kept = _mean(task, found) if task.slip == "mean weights" else found[0]
    return kept | {"heldout": total / (PARTS if task.slip == "mean" else 1)}


def _erring(task: Task, found: list[Found]) -> Found:
    parts = np.array([f["weight"] for f in found[1:]])
    factor = 1 if task.slip == "spread of the parts" else PARTS - 1
    error = np.sqrt(factor * ((parts - parts.mean(axis=0)) ** 2).mean(axis=0))
    return found[0] | {"standard_error": error}


def _chosen(task: Task, found: list[Found], rule: str, by: str) -> Found:
    """Take for every target the ridge whose score, or that of the other parts, is least."""
    if rule == "heldout":
        score = np.array([f["heldout"] for f in found])
        score = score if by == "target" else len(task.x) * np.log(score)
    else:
        n = (task.times * (task.weight > 0)[:, None]).sum(axis=0)
        k = np.array([(np.nan_to_num(f["weight"]) != 0).sum(axis=0) for f in found])
        many = 0.5 if task.slip == "half the price of many candidates" else 1.0
        rss = np.array([f["loss"] for f in found])
        score = n * np.log(rss / n) + k * (np.log(n) + many * np.log(task.kept.sum(axis=0)))
    every, judged = np.arange(score.shape[1]), score
    if by == "hidden":
        part = np.random.default_rng((6, len(every))).permutation(every % JUDGING)
        own = task.slip != "chosen by all targets"
        judged = np.stack([score[:, (part != p) | (not own)].sum(axis=1) for p in part], axis=1)
    best = judged.argmin(axis=0)
    out = {k: np.array([f[k] for f in found]) for k in found[0]}
    out = {k: v[best, ..., every].T if v.ndim == 3 else v[best, every] for k, v in out.items()}
    alpha = np.where(task.kept, np.array(_ridges(by))[best], np.nan)
    return out | {"alpha": alpha, "score": score[best, every]}


def _ridges(by: str) -> tuple[float, ...]:
    return RIDGES if by == "target" else FINE


def _path(rule: str, by: str = "target") -> Axis:
    return Axis(
        lambda spec: u.path(spec, "Ridge.alpha", _ridges(by), choose=rule, by=by),
        lambda task: [replace(task, alpha=alpha) for alpha in _ridges(by)],
        lambda task, found: _chosen(task, found, rule, by),
    )


COPIED = Axis(lambda spec: u.permuted(spec, COPIES), _orders, _discovered)
LEFT_OUT = Axis(
    lambda spec: u.jackknife(spec, PARTS), lambda task: _taken(task, _parts(task, 5)), _erring
)
JUDGED = Axis(
    lambda spec: u.folds(spec, PARTS),
    lambda task: _taken(task, _parts(task, 4), held=True),
    _held_out,
)
KINDS: dict[str, tuple[Axis, ...]] = {
    "bags": (Axis(lambda spec: u.bagging(spec, BAGS, SHARE), _bags, _bagged), COPIED),
    "released bags": (
        Axis(
            lambda spec: u.ensembles.over(spec, ReleasedBags(BAGS, SHARE)),
            lambda task: _bags(task, released=True),
            _bagged,
        ),
        COPIED,
    ),
    "folds": (JUDGED, _path("heldout")),
    "hidden": (JUDGED, _path("heldout", "hidden")),
    "path": (_path("ebic"), LEFT_OUT),
    "subsamples": (
        Axis(lambda spec: u.stability(spec, SAMPLES, SHARE), _subsets, _often),
        LEFT_OUT,
    ),
    "rows": (COPIED,),
    "together": (),
}


# ------------------------------------------------------------------ a run, shipped and by hand


class _InParts(Plan):
    """A plan whose passes over the cells take few targets each."""

    def width(self) -> int:
        """Targets of a pass."""
        return PART


def _alike(params: Any, data: Any, prior: Any, strength: Any) -> Any:
    middle = jnp.mean(params.theta, axis=0, keepdims=True)
    return strength * jnp.sum((params.theta - middle) ** 2)


def _spec(run: Run) -> Spec:
    """State a kind of run."""
    priced = u.ridge(ALPHA)
    if run.kind == "subsamples":
        priced = priced + u.l1(PRICE)
    if run.kind == "together":
        priced = priced + u.regularizer(_alike, across=True, convex=True, strength=ALIKE)
    spec = Spec(
        u.huber(DELTA) if run.kind == "rows" else u.least_squares(intercept=run.intercept),
        priced,
        u.support() + u.no_self(),
        prior=prior_of(KNOWN, SOURCES, TARGETS),
        scale=run.scale,
    )
    for axis in KINDS[run.kind]:
        spec = axis.of_spec(spec)
    return spec


@functools.lru_cache(maxsize=128)  # the variants ask for the same runs
def _shipped(run: Run) -> Found:
    """Columns of the edge table (groups, regulators, targets) and numbers of the targets."""
    values, group, weights = run.data()
    own: Any = weights
    data = Data.from_arrays(
        values, GENES, groups=[f"g{g}" for g in group], dtype="float64", weights=own
    )
    whole = plan(_spec(run), data, regulators=SOURCES, targets=TARGETS, tolerance=1e-13)
    found = fit(_InParts(**{f.name: getattr(whole, f.name) for f in dataclasses.fields(Plan)}))
    columns = {"weight": found.weights, **found.statistics}
    return (
        {k: placed(found, v, SOURCES, TARGETS, np.nan) for k, v in columns.items()}
        | {k: np.asarray(v) for k, v in found.targets.items()}
        | {k: np.asarray(v) for k, v in found.nuisance.items()}
    )


def _tasks(run: Run, slip: str) -> list[Task]:
    """Return the cells of every group, in the units of the run."""
    values, group, weights = run.data()
    column = {gene: i for i, gene in enumerate(GENES)}
    sources, targets = ([column[name] for name in names] for names in (SOURCES, TARGETS))
    ones = np.ones(len(GENES))
    unit = {"regulators": (1 / values.std(0), ones), None: (ones, ones)}.get(
        run.scale, (1 / values.std(0),) * 2
    )
    out = []
    for g in range(len(run.sizes)):
        rows = np.flatnonzero(group == g)
        one = group == (0 if slip == "centred by the first group" else g)
        mean = values[one].mean(0) if run.scale == "standard" else 0 * ones
        x, y = ((values[rows] - mean) * factor for factor in unit)
        spread = values[group == 0 if slip == "units of the first group" else rows].std(0)
        out.append(
            Task(
                run,
                g,
                x[:, sources],
                y[:, targets],
                np.ones(len(rows)) if weights is None else weights[rows],
                np.ones((len(rows), len(targets))),
                (KNOWN > 0) & OWN,
                spread[targets],
                price=PRICE if run.kind == "subsamples" else 0.0,
                slip=slip,
            )
        )
    return out


def _together(tasks: list[Task]) -> list[Found]:
    """Fit all groups at once: one linear system for each target."""
    q, p = tasks[0].kept.shape
    weight, m = np.full((len(tasks), q, p), np.nan), len(tasks)
    for t in range(p):
        own = tasks[0].kept[:, t]
        sums = [_sums(task, t, own, task.times[:, t]) for task in tasks]
        k = int(own.sum())
        system = np.kron(np.eye(m) - 1 / m, ALIKE * np.eye(k)) + ALPHA * np.eye(m * k)
        if tasks[0].slip == "groups apart":
            system = ALPHA * np.eye(m * k)
        for g, (gram, _, _) in enumerate(sums):
            system[g * k : (g + 1) * k, g * k : (g + 1) * k] += gram
        right = np.concatenate([s[1] for s in sums])
        weight[:, own, t] = np.linalg.solve(system, right).reshape(m, k)
    return [{"weight": w} for w in weight]


def _compared(run: Run, slip: str = "") -> list[Finding]:
    found, tasks = _shipped(run), _tasks(run, slip)
    if run.kind == "together":
        parts = _together(tasks)
    else:
        parts = [_nested(KINDS[run.kind], task) for task in tasks]
    out = []
    for name in sorted(parts[0].keys() & found.keys()):
        want = np.array([part[name] for part in parts])
        if not np.isnan(want).all():
            out.append(apart(f"{name} of {run.kind}", *defined(found[name], want)))
    return out


def _every(run: Run, kinds: tuple[str, ...], **slip: Any) -> list[Finding]:
    """Compare centred and in other units, one of them with weighted cells; of a slip as it is."""
    if slip:
        return _compared(run, **slip)
    out = []
    for j, kind in enumerate(kinds):
        rng = np.random.default_rng((run.seed, j))
        scale, weighted = SCALES[rng.integers(3)], bool(rng.integers(2))
        intercept = kind != "bags" or scale != "regulators"
        out += _compared(Run(run.seed, kind, scale, intercept, weighted))
        out += _compared(Run(run.seed, kind, "standard", True, not weighted))
    return out


def _seeds(**fixed: Any) -> Any:
    from hypothesis import strategies as st

    return st.builds(Run, seed=st.integers(0, 2**16), **{k: st.just(v) for k, v in fixed.items()})


def _run_claim(
    name: str, statement: str, kinds: tuple[str, ...], slips: dict[str, tuple[str, dict]]
) -> Claim:
    def check(slip: str = "", at: Mapping[str, Any] = MappingProxyType({})) -> Search:
        own = {"slip": slip} if slip else {}
        return Search(
            "a run = its fits", partial(_every, kinds=kinds, **own), (partial(_seeds, **at),), 1e-8
        )

    return claimed(
        name,
        statement,
        (),
        check,
        {wrong: {"slip": slip, "at": at} for wrong, (slip, at) in slips.items()},
        reason="that a run keeps its books is checked, not proved",
        share=0.1,
    )


CLAIMS = (
    _run_claim(
        "methods.run",
        "a run over groups, weighted cells, bags, permuted copies and several passes, on moments "
        "or rows, is its fits taken one by one, fdr and all",
        ("bags", "released bags", "rows"),
        {
            "one stream of draws for all groups": ("one stream for all groups", {}),
            "one stream of draws for all stretches": ("one stream for all stretches", {}),
            "weights of cells left out of the bags": ("weights left out", {"weighted": True}),
            "weights of cells left out of released bags": (
                "weights left out",
                {"weighted": True, "kind": "released bags"},
            ),
            "copies that share their permutation": ("one permutation", {}),
            "copies that are not permuted": ("no permutation", {}),
            "rates not divided by the copies": ("rates of all copies together", {}),
            "rates in units of the first group": ("units of the first group", {}),
            "centred by the mean of the first group": (
                "centred by the first group",
                {"scale": "standard", "intercept": False, "kind": "rows"},
            ),
            "squares in place of huber": ("squares", {"kind": "rows"}),
        },
    ),
    _run_claim(
        "methods.axes",
        "a run over a path, folds, subsamples and left-out blocks, one within the other, or over "
        "all groups at once, is its fits taken one by one, and targets choose for hidden ones",
        ("folds", "hidden", "path", "subsamples", "together"),
        {
            "one stream of subsamples for all groups": (
                "one stream for all groups",
                {"kind": "subsamples"},
            ),
            "weights of cells left out": ("weights left out", {"kind": "folds", "weighted": True}),
            "held-out loss averaged over the parts": ("mean", {"kind": "folds"}),
            "weights averaged over the parts": ("mean weights", {"kind": "folds"}),
            "a target that chooses for itself too": ("chosen by all targets", {"kind": "hidden"}),
            "the spread of the parts for the jackknife's error": (
                "spread of the parts",
                {"kind": "path"},
            ),
            "half the price of many candidates": (
                "half the price of many candidates",
                {"kind": "path"},
            ),
            "groups fitted by themselves": ("groups apart", {"kind": "together"}),
        },
    ),
)
