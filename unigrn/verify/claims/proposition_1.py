"""Claims of Proposition 1: the CellOracle regression, sketched and released, and Bayesian ridge.

The shipped methods run through plan and solver on two groups of cells, with a regulator that is a
target too and that its own prior names. The originals are those of `unigrn.verify.originals`. Every
example asks the shipped methods anew, so that a constant that changed there is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from unigrn.methods import celloracle as released
from unigrn.methods import masked
from unigrn.spec import Spec
from unigrn.terms import Blocks, PriorView, View, joint, parts
from unigrn.verify import originals
from unigrn.verify.claims import Claim
from unigrn.verify.claims.common import (
    Parting,
    Search,
    apart,
    claimed,
    defined,
    evaluated,
    fit,
    placed,
)
from unigrn.verify.equivalence import Equivalence
from unigrn.verify.formulations import Formulation
from unigrn.verify.instances import Instance, Point, instances, points
from unigrn.verify.search import KINDS, Finding, largest

NAMES = ["r0", "r1", "r2", "r3", "t0", "t1", "t2"]
SOURCES, AIMS = NAMES[:4], ["r0", "t0", "t1", "t2"]  # r0 is a regulator and a target
GROUPS = ("a", "b")
# Theorems about regulators divided by their scales, and about edges of a gene to itself.
UNITS = ("celloracle.scaling_is_a_penalty", "celloracle.self_edges_are_support")
# Candidates of each target. Few enough in all that one compiled program serves every instance.
SIZES = {"mixed": (2, 3, 1, 1), "full": (3, 4, 0, 0), "one": (1, 1, 1, 1), "empty": (2, 0, 0, 0)}


@dataclass(frozen=True)
class Table:
    """The cells of an instance in two groups, and a prior in which r0 names itself.

    Attributes
    ----------
    expression
        (cells, genes), in the order of `NAMES`.
    group, count
        (cells,): the group of a cell, and how often it was drawn.
    support, self_edge
        (regulators, targets): edges of the prior, and the one of r0 to itself.
    """

    expression: np.ndarray
    group: np.ndarray
    count: np.ndarray
    support: np.ndarray
    self_edge: np.ndarray

    @property
    def own(self) -> np.ndarray:
        """Edges that are candidates, (regulators, targets)."""
        return self.support & ~self.self_edge

    @property
    def kept(self) -> list[np.ndarray]:
        """Candidates of each target."""
        return [np.flatnonzero(column) for column in self.own.T]

    @property
    def view(self) -> PriorView:
        """The prior as a term sees it."""
        weight = self.support.astype(float)
        return PriorView(
            self.support,
            weight,
            np.zeros(weight.shape, np.int32),
            self.self_edge,
            np.ones_like(self.support),
            {"prior": weight},
        )

    def cells(
        self, scale: str | None, drawn: bool = False, by_group: bool = False, ddof: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Regulators and targets of each group in units of ``scale``, and counts of the cells.

        ``drawn`` repeats the cells as they were drawn. The last two options are slips.
        """
        at = [NAMES.index(t) for t in AIMS]
        for g in GROUPS:
            rows = np.flatnonzero(self.group == g)
            units = originals.global_scale(self.expression[rows] if by_group else self.expression)
            units = units * np.sqrt(len(self.group) / (len(self.group) - ddof))
            if drawn:
                rows = np.repeat(rows, self.count[rows].astype(int))
            x, y = self.expression[rows][:, :4], self.expression[rows][:, at]
            yield (
                x if scale is None else x / units[:4],
                y / units[at] if scale == "both" else y,
                np.ones(len(rows)) if drawn else self.count[rows],
            )


@lru_cache(maxsize=512)
def tabled(instance: Instance) -> Table:
    """Read an instance as a table of cells in two groups."""
    rng = instance.rng(11)
    group = np.where(rng.permutation(instance.cells) % 2 == 0, *GROUPS)
    count = np.ones(instance.cells)
    if instance.weights != "ones":
        for g in GROUPS:
            rows = np.flatnonzero(group == g)
            count[rows] = np.bincount(rng.integers(0, len(rows), len(rows)), minlength=len(rows))
    support, self_edge = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    for t, size in enumerate(SIZES[instance.support]):
        first = 0 if t else 1  # beside itself, r0 has three regulators
        support[first + rng.permutation(4 - first)[:size], t] = True
    support[0, 0] = self_edge[0, 0] = True
    return Table(np.c_[instance.x, instance.y], group, count, support, self_edge)


def solved(spec: Spec, instance: Instance) -> dict[str, np.ndarray]:
    """Fit a spec through plan and solver.

    Columns of the edge table are (groups, regulators, targets), NaN where there is no edge; blocks
    and the certificate are (groups, targets).
    """
    table = tabled(instance)
    solution = fit(
        spec,
        table.expression,
        SOURCES,
        AIMS,
        table.support,
        groups=table.group,
        weights=None if instance.weights == "ones" else table.count,
    )
    columns = {"weight": solution.weights, **solution.statistics}
    out = {n: placed(solution, v, SOURCES, AIMS, np.nan) for n, v in columns.items()}
    at = [AIMS.index(t) for t in solution.plan.problem.targets]
    by_target = {name: v for name, v in solution.blocks.items() if name not in solution.by_entry}
    for name, values in {**by_target, "residual": solution.residual}.items():
        out[name] = np.full((len(GROUPS), 4), np.nan)
        out[name][:, at] = values
    return out


def _drawn(**fixed: Any) -> Callable[[], Any]:
    """Draw instances of 12 cells a group and more; a tuple offers a choice."""

    def strategy():
        from hypothesis import strategies as st

        return instances(
            **{
                k: st.sampled_from(v) if isinstance(v, tuple) else v
                for k, v in {"cells": (24, 32), **fixed}.items()
            }
        )

    return strategy


def _far(instance: Instance, found: np.ndarray, wanted: np.ndarray) -> Finding:
    """Compare coefficients, in the units of the instance."""
    return apart("minimiser", *defined(found, wanted), unit=instance.scale)


def _logs_apart(found: np.ndarray, wanted: np.ndarray) -> Finding:
    """Largest difference of the logarithms of two p, infinite where one alone is undefined."""
    a, b = defined(*(np.log(np.maximum(v, 1e-300)) for v in (found, wanted)))
    return Finding("statistics", largest((a - b) / (1 + np.abs(b))))


# ------------------------------------------------------------------ formulations in theta


def shipped(spec: Spec) -> Formulation:
    """State a spec on both groups: its terms on rows in its units, its fit by plan and solver."""
    pieces = joint(tuple(t for t in parts(spec.regularizer) if t.kink), parts(spec.constraint))

    def each(instance, u):
        table = tabled(instance)
        for g, (x, y, w) in enumerate(table.cells(spec.scale)):
            yield Blocks(theta=u.theta[g]), View(x=x, y=y, weight=w), table.view

    def objective(instance, u):
        return sum(evaluated(spec, *one)[0] for one in each(instance, u))

    def violation(instance, u):
        return max(float(spec.violation(*one)) for one in each(instance, u))

    def gradient(instance, u):
        return Blocks(theta=np.stack([evaluated(spec, *one)[1].theta for one in each(instance, u)]))

    def prox(instance, u, step):
        return Blocks(
            theta=np.stack(
                [
                    pieces.prox(params.theta, step, view, prior)
                    for params, view, prior in each(instance, u)
                ]
            )
        )

    def variables(instance, point):
        theta = point.array(len(GROUPS), 4, 4)
        return Blocks(theta=theta if point.outside else np.where(tabled(instance).own, theta, 0))

    def minimiser(instance):
        return Blocks(theta=np.nan_to_num(solved(spec, instance)["weight"]))

    kinks = any(t.kink for t in spec.terms)
    return Formulation(
        objective,
        violation,
        variables,
        None if kinks else gradient,
        prox if kinks else None,
        minimiser,
        name=spec.name,
    )


def on_kept(instance: Instance, scale: str | None, **slip: Any):
    """Columns and response of each group and target: the kept regulators on the drawn cells."""
    table = tabled(instance)
    return [
        (x[:, own], y[:, t])
        for x, y, _ in table.cells(scale, drawn=True, **slip)
        for t, own in enumerate(table.kept)
    ]


def restrict(instance: Instance, u: Blocks) -> list[np.ndarray]:
    """Coefficients of each group and target on its candidates."""
    kept = tabled(instance).kept
    return [np.asarray(theta)[own, t] for theta in u.theta for t, own in enumerate(kept)]


def embed(instance: Instance, parts: list[np.ndarray], leak: str = "") -> Blocks:
    """Put zeros off the candidates."""
    table = tabled(instance)
    theta = np.zeros((len(GROUPS), 4, 4))
    for i, (own, b) in enumerate(zip(table.kept * len(GROUPS), parts, strict=True)):
        theta[i // 4, own, i % 4] = b
    if leak:
        theta[:, table.self_edge if leak == "self" else ~table.support] = 1e-3
    return Blocks(theta=theta)


def original(
    name: str,
    scale: str,
    value: Callable[..., float],
    fit: Callable[..., np.ndarray],
    gradient: Callable[..., np.ndarray] | None = None,
    price: float | None = None,
    **slip: Any,
) -> Formulation:
    """State a regression target by target, on its own columns.

    ``value`` and ``gradient`` are functions (X, y, b), ``fit`` (X, y); ``price`` is that of a
    lasso, whose prox is the soft threshold.
    """

    def objective(instance, parts):
        return sum(
            value(*xy, b) for xy, b in zip(on_kept(instance, scale, **slip), parts, strict=True)
        )

    def slopes(instance, parts):
        assert gradient is not None
        return [
            gradient(*xy, b) for xy, b in zip(on_kept(instance, scale, **slip), parts, strict=True)
        ]

    def prox(instance, parts, step):
        return [np.sign(b) * np.maximum(np.abs(b) - step * price, 0) for b in parts]

    def variables(instance, point):
        return restrict(instance, Blocks(theta=point.array(len(GROUPS), 4, 4)))

    return Formulation(
        objective,
        None,
        variables,
        slopes if gradient else None,
        None if price is None else prox,
        lambda i: [fit(*xy) for xy in on_kept(i, scale, **slip)],
        name=name,
    )


# ------------------------------------------------------------------ proposition_1.lasso

LAMBDA = 1.0


def _sketch() -> Spec:
    return masked.masked_lasso(None, LAMBDA)


def _variance(y: np.ndarray, ddof: int = 0) -> float:
    """Variance of a target in its group; 1 for a constant one, whose coefficients are 0."""
    return 1.0 if np.ptp(y) == 0 else float(y.var(ddof=ddof))


def _lasso_value(x, y, b, strength, ddof, squared, intercept):
    s2 = _variance(y, ddof)
    if intercept:
        fit = originals.lasso_objective(x, y, b, 0.0, s2)
    else:
        fit = np.sum((y - x @ b) ** 2) / (2 * s2)
    paid = strength * np.sum(b**2 if squared else np.abs(b))
    return fit + paid + len(y) / 2 * np.log(2 * np.pi * s2)


def _lasso(
    instance: Instance,
    point: Point,
    leak: str = "",
    strength: float = LAMBDA,
    ddof: int = 0,
    squared: bool = False,
    intercept: bool = True,
    scale: str = "both",
    cut: bool = False,
) -> list[Finding]:
    """Compare the two formulations, and check the shipped minimiser's optimality conditions."""
    spec = _sketch()
    first = shipped(spec)
    if cut:
        free = shipped(spec.replace(constraint=None)).minimiser
        assert free is not None
        first = replace(
            first, minimiser=lambda i: Blocks(theta=np.where(tabled(i).own, free(i).theta, 0))
        )
    second = original(
        "lasso of each target",
        scale,
        partial(_lasso_value, strength=strength, ddof=ddof, squared=squared, intercept=intercept),
        lambda x, y: originals.masked_lasso(x, y, strength, _variance(y, ddof), 1e-11),
        price=strength,
    )
    joined = Equivalence(first, second, restrict, partial(embed, leak=leak))
    assert first.minimiser is not None
    found = first.minimiser(instance)
    # The likelihood of a target without variance is not defined; its coefficients are.
    kinds = tuple(k for k in KINDS if k != "objective" or not instance.constant_target)
    out = replace(joined, first=replace(first, minimiser=lambda i: found)).compare(
        instance, point, kinds
    )
    for (x, y), b in zip(on_kept(instance, "both"), restrict(instance, found), strict=True):
        s2 = _variance(y)
        off = originals.lasso_kkt_violation(x, y, b, LAMBDA, s2)
        steep = originals.lasso_kkt_violation(x, y, np.zeros_like(b), 0.0, s2)
        out.append(Finding("gradient", off / (1 + steep)))
    return out


def _lasso_claim() -> Claim:
    return claimed(
        "proposition_1.lasso",
        "the sketched regression, masked_lasso, is one lasso a target on the kept regulators",
        ("celloracle.proposition_1_lasso", "celloracle.masked_regression_instance", *UNITS),
        # Descent by coordinates, the original's solver, crawls along columns that nearly agree.
        Search(
            "masked lasso = lasso of each target",
            _lasso,
            (_drawn(columns=("plain", "zero", "repeated", "constant")), points),
            1e-7,
        ).slipped,
        {
            "a leaked support entry": {"leak": "support"},
            "a self-edge let in": {"leak": "self"},
            "the mask applied after the fit": {"cut": True},
            "a doubled penalty": {"strength": 2 * LAMBDA},
            "sample in place of population variance": {"ddof": 1},
            "squares in place of absolute values": {"squared": True},
            "targets in their own units": {"scale": "regulators"},
            "an intercept left out": {"intercept": False},
        },
    )


# ------------------------------------------------------------------ proposition_1.ridge

ALPHA = 10.0  # of the released program


def _ridge(
    instance: Instance,
    point: Point,
    leak: str = "",
    alpha: float = ALPHA,
    times_n: bool = False,
    intercept: bool = True,
    scale: str = "regulators",
    **slip: Any,
) -> list[Finding]:
    """CellOracle without its bags against the closed form; with counts, one bag of it."""

    def price(x):
        return alpha * (len(x) if times_n else 1)

    def value(x, y, b):
        r = y - x @ b
        return np.sum((r - r.mean() * intercept) ** 2) + price(x) * b @ b

    def fit(x, y):
        if intercept:
            return originals.ridge(x, y, price(x))
        return np.linalg.solve(x.T @ x + price(x) * np.eye(x.shape[1]), x.T @ y)

    def gradient(x, y, b):
        r = y - x @ b
        return -2 * x.T @ (r - r.mean() * intercept) + 2 * price(x) * b

    first = shipped(released.celloracle(None).replace(over=()))
    second = original("ridge of each target", scale, value, fit, gradient, **slip)
    assert first.minimiser is not None and second.minimiser is not None
    found, wanted = first.minimiser(instance), second.minimiser(instance)
    first = replace(first, minimiser=lambda i: found)
    second = replace(second, minimiser=lambda i: wanted)
    out = Equivalence(first, second, restrict, partial(embed, leak=leak)).compare(
        instance, point, KINDS
    )
    # The minimiser is unique: the coefficients themselves agree.
    out.append(_far(instance, found.theta, embed(instance, wanted).theta))
    return out


def _ridge_claim() -> Claim:
    return claimed(
        "proposition_1.ridge",
        "celloracle without its bags is the closed form of ridge on the kept regulators",
        (
            "celloracle.proposition_1_ridge",
            "celloracle.proposition_1_bag",
            "celloracle.bag_is_weighted_ridge",
            *UNITS,
        ),
        Search(
            "celloracle without bags = ridge of each target", _ridge, (_drawn(), points), 1e-7
        ).slipped,
        {
            "a leaked support entry": {"leak": "support"},
            "a self-edge let in": {"leak": "self"},
            "a doubled penalty": {"alpha": 2 * ALPHA},
            "alpha times the number of cells": {"times_n": True},
            "an intercept left out": {"intercept": False},
            "targets scaled too": {"scale": "both"},
            "scaled by the group's deviation": {"by_group": True},
            "sample in place of population deviation": {"ddof": 1},
        },
    )


# ------------------------------------------------------------------ proposition_1.bags

BAGS, SHARE = 20, 0.8  # of the released program


def _bag_fit(x: np.ndarray, y: np.ndarray, count: np.ndarray, alpha: float, intercept: bool):
    """Ridge of one bag: weighted by the counts, about weighted means."""
    middle = count / count.sum() if intercept else 0 * count
    if intercept:  # centring first changes nothing but rounding: a constant is exactly 0
        x, y = (np.where(np.ptp(v, axis=0) == 0, 0, v - v.mean(axis=0)) for v in (x, y))
    a, t = x - middle @ x, y - middle @ y
    return np.linalg.solve((a.T * count) @ a + alpha * np.eye(x.shape[1]), (a.T * count) @ t)


def _bags(
    instance: Instance,
    draws: str,
    alpha: float = ALPHA,
    up: bool = False,
    replacement: bool = True,
    intercept: bool = True,
    zero_filled: bool = False,
    ddof: int = 1,
    features_first: bool = True,
    **slip: Any,
) -> dict[str, np.ndarray]:
    """Weight, p and bags_drawn, (groups, regulators, targets), with the slip asked for."""
    from scipy.special import stdtr

    table = tabled(instance)
    out = {k: np.full((len(GROUPS), 4, 4), np.nan) for k in ("weight", "p", "bags_drawn")}
    ensemble = released.celloracle(None).over[0]
    for g, (x, y, _) in enumerate(table.cells("regulators", **slip)):
        n = len(x)
        for t, own in enumerate(table.kept):
            k = len(own)
            if not k:
                continue
            if draws == "shared":
                features = ensemble.candidates(k, 0)
                counts = ensemble.cells(n, g, 0, k)(0, n)
            else:
                share = min(1.0, np.ceil(SHARE * k) / k) if up else SHARE
                features, rows = originals.released_bag_indices(n, k, BAGS, share)
                if not features_first:  # rows from the stream of one regulator, which draws none
                    rows = originals.released_bag_indices(n, 1, BAGS)[1]
                counts = np.stack([np.bincount(r, minlength=n) for r in rows])
            if not replacement:
                counts = np.ones_like(counts)
            found = np.full((len(counts), k), np.nan)
            for b, (f, w) in enumerate(zip(features, counts, strict=True)):
                found[b, f] = _bag_fit(x[:, own[f]], y[:, t], w, alpha, intercept)
            mean, p, m = originals.celloracle_statistics(found)
            if zero_filled:
                mean = np.nansum(found, axis=0) / len(found)
            if ddof == 0:
                spread = np.nanvar(found, axis=0)
                with np.errstate(divide="ignore", invalid="ignore"):
                    p = 2 * stdtr(np.maximum(m - 1, 1), -np.abs(mean) / np.sqrt(spread / m))
            out["weight"][g, own, t] = mean
            out["p"][g, own, t] = p
            out["bags_drawn"][g, own, t] = m
    return out


def _bagged(instance: Instance, point: Point, tails: int = 2, **slip: Any) -> list[Finding]:
    """Compare the released streams, and the shared draws that the shipped ensemble made."""
    out = []
    for draws in ("released", "shared"):
        found = solved(released.celloracle(None, draws=draws), instance)
        wanted = _bags(instance, draws, **slip)
        seen = [np.isfinite(a["weight"]) for a in (found, wanted)]
        out += [
            Finding("feasibility", float(np.count_nonzero(seen[0] != seen[1]))),
            _far(instance, found["weight"], wanted["weight"]),
            _logs_apart(found["p"], wanted["p"] * tails / 2),
            Finding(
                "statistics",
                largest(
                    np.where(seen[0], found["bags_drawn"], 0)
                    - np.where(seen[1], wanted["bags_drawn"], 0)
                ),
            ),
        ]
    return out


def _bags_claim() -> Claim:
    return claimed(
        "proposition_1.bags",
        "celloracle's weight, p and bags_drawn are those of the released bags of ridge fits, "
        "given what a bag draws",
        (
            "celloracle.released_weight_of_draws",
            "celloracle.proposition_1_bagged",
            "celloracle.proposition_1_bag",
            "celloracle.zero_filled_bags",
        ),
        Search(
            "celloracle = bagged ridge as released",
            _bagged,
            (_drawn(weights="ones", support=("mixed", "full")), points),
            1e-8,
        ).slipped,
        {
            "zero-filled bags": {"zero_filled": True},
            "population in place of sample variance over bags": {"ddof": 0},
            "sampling without replacement": {"replacement": False},
            "share of the regulators rounded up": {"up": True},
            "rows drawn before the regulators": {"features_first": False},
            "a doubled penalty": {"alpha": 2 * ALPHA},
            "an intercept left out": {"intercept": False},
            "scaled by the group's deviation": {"by_group": True},
            "a one-sided p": {"tails": 1},
        },
        share=0.2,
        covers="the weight, not p",
    )


# ------------------------------------------------------------------ proposition_1.draws

DRAWN, SIGMAS = 4000, 7.0  # bags, and standard errors that are chance


def _beyond(samples: np.ndarray, mean: np.ndarray, second: np.ndarray) -> float:
    """How far means and second moments of samples (bags, k) are off, in sds beyond `SIGMAS`."""
    bags, square = len(samples), samples**2
    found = samples.T @ samples / bags
    errors = [np.sqrt(np.diag(second) - mean**2), np.sqrt(square.T @ square / bags - found**2)]
    gaps = [samples.mean(axis=0) - mean, found - second]
    worst = [
        np.abs(gap) / (error / np.sqrt(bags) + 1e-9)
        for gap, error in zip(gaps, errors, strict=True)
    ]
    return max(0.0, *(float(w.max(initial=0)) - SIGMAS for w in worst))


def _distribution(
    instance: Instance,
    point: Point,
    replacement: bool = True,
    poisson: bool = False,
    share: float = SHARE,
    up: bool = False,
    twice: bool = False,
) -> list[Finding]:
    """Compare the default draws with multinomial counts and uniform subsets, by their moments."""
    rng, eye = instance.rng(5), np.eye
    n, k = int(rng.integers(1, 25)), int(rng.integers(1, 9))
    ensemble = replace(released.celloracle(None).over[0], bags=DRAWN)
    counts = ensemble.cells(n, 0, instance.seed, k)(0, n)
    taken = np.zeros((DRAWN, k))
    np.add.at(taken, (np.arange(DRAWN)[:, None], ensemble.candidates(k, instance.seed)), 1.0)
    spread = eye(n) - (0 if poisson else 1 / n)
    size = max(1, int(np.ceil(share * k) if up else share * k))
    rate = size / k
    pair = rate**2 if twice else rate * (size - 1) / max(k - 1, 1)
    return [
        Finding("feasibility", largest(counts.sum(axis=1) - n)),
        Finding("feasibility", largest(taken.sum(axis=1) - size)),
        Finding(
            "statistics", _beyond(counts - 1.0, np.zeros(n), spread if replacement else 0 * spread)
        ),
        Finding("statistics", _beyond(taken, np.full(k, rate), pair + (rate - pair) * eye(k))),
    ]


def _draws_claim() -> Claim:
    return claimed(
        "proposition_1.draws",
        "celloracle's default draws have the moments of the released ones: cells with replacement, "
        "as many as there are, and uniform subsets of the candidates",
        (),
        Search(
            "the default draws = the released ones in distribution", _distribution, tolerance=1e-8
        ).slipped,
        {
            "cells without replacement": {"replacement": False},
            "every cell by itself (Poisson)": {"poisson": True},
            "share of the regulators rounded up": {"up": True},
            "a share of 0.7": {"share": 0.7},
            "regulators with replacement": {"twice": True},
        },
        reason="a program that draws numbers: there is a definition, no theorem",
    )


# ------------------------------------------------------------------ proposition_1.bayesian


def _residual_left(x: np.ndarray, y: np.ndarray, b: np.ndarray) -> bool:
    """Whether a fit leaves a residual; the noise of one that does not is a matter of rounding."""
    yc, xc = y - y.mean(), x - x.mean(axis=0)
    return bool(np.ptp(y) > 0 and np.sum((yc - xc @ b) ** 2) > 1e-6 * np.sum(yc**2))


def _bayesian(
    instance: Instance,
    point: Point,
    tails: int = 2,
    noise: bool = True,
    scale: str = "regulators",
    by_group: bool = False,
    ddof: int = 0,
    **options: Any,
) -> list[Finding]:
    """Posterior mean, variance and p of every edge against the original's."""
    found, table = solved(released.celloracle_bayesian(None), instance), tabled(instance)
    wanted = {k: np.full((len(GROUPS), 4, 4), np.nan) for k in ("weight", "variance", "p")}
    xy = on_kept(instance, scale, by_group=by_group, ddof=ddof)
    for i, (x, y) in enumerate(xy):
        own = table.kept[i % 4]
        if not len(own):
            continue
        fit = originals.bayesian_ridge(x, y, **options)
        spread = fit.variance * (1 if noise else fit.noise_precision)
        for name, values in (
            ("weight", fit.coefficients),
            ("variance", spread),
            ("p", fit.p * tails / 2),
        ):
            wanted[name][i // 4, own, i % 4] = values
        if not _residual_left(x, y, fit.coefficients):
            for name in ("variance", "p"):
                found[name][i // 4, own, i % 4] = wanted[name][i // 4, own, i % 4]
    seen = [np.isfinite(a["weight"]) for a in (found, wanted)]
    ratio = np.where(seen[1], np.nan_to_num(found["variance"]) / wanted["variance"] - 1, 0)
    return [
        Finding("feasibility", float(np.count_nonzero(seen[0] != seen[1]))),
        _far(instance, found["weight"], wanted["weight"]),
        Finding("statistics", largest(ratio)),
        _logs_apart(found["p"], wanted["p"]),
    ]


def _bayesian_claim() -> Claim:
    return claimed(
        "proposition_1.bayesian",
        "celloracle_bayesian's weight, variance and p are those of the released Bayesian ridge",
        ("gaussian.bayesian_ridge_theta", "gaussian.mackay_lam", "gaussian.mackay_a"),
        Search(
            "celloracle_bayesian = evidence maximisation as released",
            _bayesian,
            (_drawn(), points),
            1e-7,
        ).slipped,
        {
            "the hyperprior left out": {"hyperprior": 0.0},
            "posterior variance without the noise": {"noise": False},
            "stopped ten times earlier": {"tolerance": 1e-2},
            "a one-sided p": {"tails": 1},
            "targets scaled too": {"scale": "both"},
            "scaled by the group's deviation": {"by_group": True},
            "sample in place of population deviation": {"ddof": 1},
        },
        covers="the algebra at given precisions",
    )


# ------------------------------------------------------------------ bayesian_ridge

HYPERPRIOR = 1e-6  # of the released program


def _candidates(instance: Instance) -> tuple[np.ndarray, View, PriorView]:
    """Candidates of one target, its moments with zeros at the others as at padding, its prior."""
    target = instance.seed % instance.y.shape[1]
    prior, m = instance.column(target), instance.moments(target).moments
    on = prior.support.astype(float)
    m = replace(m, gram=m.gram * on[:, None] * on, cross=m.cross * on, mean_x=m.mean_x * on)
    return np.flatnonzero(prior.support), View(m), replace(prior, valid=prior.support)


def _target(instance: Instance) -> tuple[np.ndarray, np.ndarray]:
    """Kept regulators and response of that target."""
    target = instance.seed % instance.y.shape[1]
    return instance.x[:, instance.prior.support[:, target]], instance.y[:, target]


def _evidence(h: float, degrees: int, determinant: bool) -> Equivalence:
    """Join the shipped loss in (theta, a, l), on padded moments, to the original on rows."""
    spec = released.celloracle_bayesian(None)

    def drawn(instance, point):
        own, _, _ = _candidates(instance)
        a, lam = np.exp(point.rng(5).uniform(-3, 3, 2)) / [instance.scale**2, 1]
        return _blocks(point.array(4)[own], a, lam)

    def wide(instance, u):
        own, _, _ = _candidates(instance)
        theta = np.zeros(4)
        theta[own] = u.theta
        return u.replace(theta=theta)

    def objective(instance, u):
        _, view, prior = _candidates(instance)
        return evaluated(spec, wide(instance, u), view, prior)[0]

    def gradient(instance, u):
        own, view, prior = _candidates(instance)
        _, found = evaluated(spec, wide(instance, u), view, prior)
        return found.replace(theta=found.theta[own])

    def value(instance, u):
        (x, y), a, lam = _target(instance), float(u.noise_precision), float(u.weight_precision)
        out = originals.evidence_objective(x, y, u.theta, a, lam, h) + degrees * np.log(a)
        return out if determinant else out - np.sum(np.log(a * _eigenvalues(x) + lam))

    def slopes(instance, u):
        (x, y), a, lam = _target(instance), float(u.noise_precision), float(u.weight_precision)
        db, da, dl = originals.evidence_gradient(x, y, u.theta, a, lam, h)
        if not determinant:
            e = _eigenvalues(x)
            da, dl = da - np.sum(e / (a * e + lam)), dl - np.sum(1 / (a * e + lam))
        return _blocks(db, da + degrees / a, dl)

    return Equivalence(
        Formulation(objective, None, drawn, gradient, name="gaussian evidence"),
        Formulation(value, None, drawn, slopes, name="evidence, written out"),
    )


def _blocks(theta: np.ndarray, a: float, lam: float) -> Blocks:
    return Blocks(theta=theta, noise_precision=np.asarray(a), weight_precision=np.asarray(lam))


def _eigenvalues(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(axis=0)
    return np.linalg.eigvalsh(x.T @ x)


def _stationary(
    instance: Instance,
    point: Point,
    h: float = HYPERPRIOR,
    degrees: int = 0,
    determinant: bool = True,
    relative: bool = True,
) -> list[Finding]:
    """Check the three statements of the page at one point, and the shipped fixed point."""
    joined = _evidence(h, degrees, determinant)
    out = joined.compare(instance, point, KINDS)
    # 2. For given (a, l) ridge of strength l / a is the minimiser in theta.
    x, y = _target(instance)
    first = joined.first
    assert first.variables is not None and first.gradient is not None
    u = first.variables(instance, point)
    a, lam = float(u.noise_precision), float(u.weight_precision)
    best = u.replace(theta=originals.ridge(x, y, lam / a if relative else lam))
    value = first.objective(instance, best)
    out.append(
        Finding("minimiser", max(value - first.objective(instance, u), 0) / (1 + abs(value)))
    )
    found = first.gradient(instance, best)
    steep = first.gradient(instance, best.replace(theta=np.zeros_like(best.theta)))
    out.append(Finding("gradient", largest(found.theta) / (1 + largest(steep.theta))))
    # 3. There, a dJ/da and l dJ/dl are the two equations of the fixed point.
    r, e = y - y.mean() - (x - x.mean(axis=0)) @ best.theta, _eigenvalues(x)
    gamma = np.sum(a * e / (lam + a * e))
    for got, left, right in (
        (a * found.noise_precision, a * (r @ r + 2 * h), len(y) - degrees - gamma + 2 * h),
        (lam * found.weight_precision, lam * (best.theta @ best.theta + 2 * h), gamma + 2 * h),
    ):
        out.append(Finding("gradient", abs(got - left + right) / (left + right)))
    return out + _fixed_points(instance, h, degrees, determinant)


def _fixed_points(instance: Instance, h: float, degrees: int, determinant: bool) -> list[Finding]:
    """Run the shipped solver on: where its updates stand still, J is stationary in (a, l)."""
    out = []
    found = solved(released.celloracle_bayesian(None, tolerance=0.0), instance)
    for i, (x, y) in enumerate(on_kept(instance, "regulators")):
        g, t = divmod(i, 4)
        a, lam, moved = (
            found[k][g, t] for k in ("noise_precision", "weight_precision", "residual")
        )
        own = tabled(instance).kept[t]
        b, spread = (found[k][g, own, t] for k in ("weight", "variance"))
        if not len(own) or not moved < 0.1 or not _residual_left(x, y, b):
            continue
        wanted = originals.ridge(x, y, lam / a)
        out.append(Finding("minimiser", largest(b - wanted) / (instance.scale + largest(wanted))))
        xc = x - x.mean(axis=0)
        inverse = np.linalg.inv(a * xc.T @ xc + lam * np.eye(len(own)))
        out.append(Finding("statistics", largest(spread / np.diag(inverse) - 1)))
        _, da, dl = originals.evidence_gradient(x, y, b, a, lam, h)
        e = _eigenvalues(x)
        if not determinant:
            da, dl = da - np.sum(e / (a * e + lam)), dl - np.sum(1 / (a * e + lam))
        gamma = np.sum(a * e / (lam + a * e))
        for off in (a * (da + degrees / a) / (len(y) - gamma), lam * dl / (gamma + 2 * h)):
            out.append(Finding("gradient", max(abs(off) - 1.2 * moved, 0)))
    return out


def _evidence_claim() -> Claim:
    return claimed(
        "bayesian_ridge",
        "celloracle_bayesian's objective in (theta, a, l) is stationary where its updates stand",
        ("gaussian.bayesian_ridge_theta", "gaussian.mackay_lam", "gaussian.mackay_a"),
        Search(
            "evidence maximisation = stationarity of one objective",
            _stationary,
            (_drawn(weights="ones", support="full"), points),
            1e-8,
        ).slipped,
        {
            "the hyperprior left out": {"h": 0.0},
            "the log-determinant left out": {"determinant": False},
            "the intercept integrated out": {"degrees": 1},
            "ridge of strength l in place of l / a": {"relative": False},
        },
        covers="the algebra at given precisions",
    )


# ------------------------------------------------------------------ sketch and release part
# All coefficients in units of the target per standard deviation of the regulator.


def _units(instance: Instance) -> np.ndarray:
    return originals.global_scale(tabled(instance).expression)[[NAMES.index(t) for t in AIMS]]


def _sketched(instance: Instance, factor: float = 1.0) -> np.ndarray:
    """Minimiser of the lasso, whose objective may be multiplied by a number."""
    spec = _sketch()
    spec = spec.replace(loss=factor * spec.loss, regularizer=factor * spec.regularizer)
    return np.nan_to_num(solved(spec, instance)["weight"]) * _units(instance)


def _released(instance: Instance) -> np.ndarray:
    """Minimiser of the released ridge, on all cells."""
    spec = released.celloracle(None).replace(over=())
    return np.nan_to_num(solved(spec, instance)["weight"])


def _written_out(instance: Instance) -> np.ndarray:
    """Solve the same in closed form."""
    return embed(
        instance, [originals.ridge(x, y, ALPHA) for x, y in on_kept(instance, "regulators")]
    ).theta


def _per_cell(instance: Instance) -> np.ndarray:
    """Fit masked_ridge: squares and strength divided by the cells of a group."""
    spec = masked.masked_ridge(None, ALPHA / (instance.cells / len(GROUPS)))
    return np.nan_to_num(solved(spec.replace(scale="regulators"), instance)["weight"])


def _part(instance: Instance, point: Point, first: Any = None, second: Any = None) -> list[Finding]:
    """How far the lasso's minimiser is from that of the released ridge, and of every ridge.

    Where a coefficient is 0 the gradient of a ridge is that of the squares, whatever its strength.
    With two minimisers given, how far these are from each other.
    """
    if first is not None:
        return [_far(instance, first(instance), second(instance))]
    sketched, steep = _sketched(instance), 0.0
    for (x, y), b in zip(
        on_kept(instance, "regulators"), restrict(instance, Blocks(theta=sketched)), strict=True
    ):
        if (b != 0).any():
            slopes = originals.ridge_gradient(x, y, b, 0.0)
            steep = max(steep, largest(np.where(b == 0, slopes, 0)))
    gap = _far(instance, sketched, _released(instance)).deviation
    return [Finding("minimiser", min(gap, steep / instance.scale))]


def _optimal(instance: Instance, point: Point) -> float:
    """Certify both minimisers by their own conditions, in the originals' arithmetic."""
    theta, out = _sketched(instance) / _units(instance), 0.0
    for (x, y), b in zip(
        on_kept(instance, "both"), restrict(instance, Blocks(theta=theta)), strict=True
    ):
        s2 = _variance(y)
        steep = originals.lasso_kkt_violation(x, y, np.zeros_like(b), 0.0, s2)
        out = max(out, originals.lasso_kkt_violation(x, y, b, LAMBDA, s2) / (1 + steep))
    for (x, y), b in zip(
        on_kept(instance, "regulators"),
        restrict(instance, Blocks(theta=_released(instance))),
        strict=True,
    ):
        steep = largest(originals.ridge_gradient(x, y, np.zeros_like(b), ALPHA))
        out = max(out, largest(originals.ridge_gradient(x, y, b, ALPHA)) / (1 + steep))
    return out


def _parting_claim() -> Claim:
    return claimed(
        "proposition_1.sketch_and_release_part",
        "masked_lasso and celloracle are different methods: an instance with different minimisers",
        ("celloracle.sketch_and_release_part",),
        Parting(
            Search(
                "the sketched lasso and the released ridge part",
                _part,
                # Where regulators nearly repeat, one method alone has many minimisers to the eye.
                (_drawn(weights="ones", columns=("plain", "zero", "repeated", "constant")), points),
                1e-6,
            ),
            _optimal,
        ).slipped,
        {
            "ridge by plan against ridge in closed form": {
                "first": _released,
                "second": _written_out,
            },
            "ridge with everything divided by the cells": {"first": _released, "second": _per_cell},
            "lasso with everything doubled": {
                "first": _sketched,
                "second": partial(_sketched, factor=2.0),
            },
        },
        "counterexample",
        covers="one instance, without bags",
    )


CLAIMS = (
    _lasso_claim(),
    _ridge_claim(),
    _bags_claim(),
    _draws_claim(),
    _bayesian_claim(),
    _evidence_claim(),
    _parting_claim(),
)
