"""Claims about whole shipped methods, with every hyperparameter as it is where none is given.

Each is run by plan and solver, on named genes, and compared with a NumPy twin of all it does:
units, start, steps, stopping rule and columns of the edge table.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.methods import get
from unigrn.moments import padded
from unigrn.terms import Blocks
from unigrn.verify import originals_netrex as o
from unigrn.verify.claims import Claim
from unigrn.verify.claims.category_2 import drawn, solved
from unigrn.verify.claims.common import Search, apart, claimed, fit, placed
from unigrn.verify.claims.networks import (
    FACTORS,
    SKETCH,
    Network,
    blocks,
    confidence,
    network_matrix,
    networks,
    on_host,
    problem,
    released,
    safe_mu,
    sketched,
    stages,
    state_of,
    swept,
)
from unigrn.verify.instances import Instance, Point, instances, points
from unigrn.verify.search import Finding

if TYPE_CHECKING:
    from unigrn.solution import Solution
    from unigrn.spec import Spec

NO_THEOREM = "what a program does from units to table: a definition, no theorem"


def column(solution: Any, name: str) -> np.ndarray:
    """Return one column of the edge table, (regulators, targets), 0 where there is no row."""
    return placed(solution, solution.statistics[name])[0]


def divided(values: np.ndarray, ddof: int = 0) -> np.ndarray:
    """Divide every gene by its standard deviation over all cells; constant ones are left."""
    some = np.ptp(values, axis=0) > 1e-9 * np.abs(values).max(axis=0)
    return values / np.where(some, values.std(axis=0, ddof=ddof), 1)


# ------------------------------------------------------------------ methods.masked_ridge and full


def genes(instance: Instance) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Every gene is a target, regulators too, and the prior names edges to themselves."""
    values = np.c_[instance.x, instance.y]
    q = instance.x.shape[1]
    own = np.eye(values.shape[1], q)
    # As many regulators of each target beside itself: few sizes of system, few programs.
    count = np.full((len(own), 1), {"mixed": 2, "full": q, "one": 1, "empty": 0}[instance.support])
    count[-1] = max(count[-1], 1)  # a prior without a single edge is refused
    order = np.argsort(instance.rng(3).random(own.shape) - 2 * own, axis=1).argsort(axis=1)
    known = order < count + own.sum(axis=1, keepdims=True)
    names = [f"r{j}" for j in range(instance.x.shape[1])]
    return known, names + [f"t{j}" for j in range(instance.y.shape[1])], values


def _ridge_twin(
    instance: Instance,
    alpha: float,
    masked: bool,
    per_cell: bool = True,
    ddof: int = 0,
    own: bool = False,
    unit: bool = True,
) -> np.ndarray:
    known, _, values = genes(instance)
    if unit:
        values = divided(values, ddof)
    w = instance.weight / (instance.weight.sum() if per_cell else 1)
    values = values - w @ values / w.sum()
    regulators, out = known.shape[1], np.zeros(known.shape[::-1])
    for t in range(len(known)):
        kept = known[t].copy() if masked else np.ones(regulators, bool)
        if t < regulators and not own:
            kept[t] = False
        x = values[:, :regulators][:, kept]
        if kept.any():
            out[kept, t] = np.linalg.solve(
                (x.T * w) @ x + alpha * np.eye(kept.sum()), (x.T * w) @ values[:, t]
            )
    return out


def _ridge(instance: Instance, method: str, **change: Any) -> list[Finding]:
    known, names, values = genes(instance)
    sources = names[: known.shape[1]]
    found = fit(
        get(method).function(None), values, sources, names, known.T, weights=instance.weight
    )
    return [apart("minimiser", found.theta[0], _ridge_twin(instance, **change))]


def few_cells():
    """Return the strategy of instances with few cells."""
    from hypothesis import strategies as st

    return instances(
        offset=st.sampled_from([0.0, 2.0]), weights=st.sampled_from(["ones", "counts"])
    )


def _ridge_claim(method: str, statement: str, masked: bool, alpha: float) -> Claim:
    return claimed(
        f"methods.{method}",
        statement,
        (
            "celloracle.proposition_1_ridge",
            "celloracle.scaling_is_a_penalty",
            "celloracle.self_edges_are_support",
        ),
        Search(
            method, partial(_ridge, method=method, masked=masked, alpha=alpha), (few_cells,), 1e-8
        ).slipped,
        {
            "alpha not relative to the number of cells": {"per_cell": False},
            "sample standard deviations": {"ddof": 1},
            "genes in their own units": {"unit": False},
            "edges of genes to themselves": {"own": True},
            "the other mask": {"masked": not masked},
        },
        covers="the ridge, and the units of the regulators",
        share=0.5,
    )


# ------------------------------------------------------------------ methods.linear_gaussian


def _posterior(
    instance: Instance, marginal: bool = False, on: float = 1.0, off: float = 0.01, ddof: int = 0
) -> list[Finding]:
    x, y = divided(instance.x), divided(instance.y)
    w = instance.weight
    x, y = (v - w @ v / w.sum() for v in (x, y))
    known = instance.prior.support
    found = solved(get("linear_gaussian").function(None), instance)
    mean, spread = np.zeros(known.shape), np.zeros(known.shape)
    for t in range(known.shape[1]):
        s2 = w @ y[:, t] ** 2 / (w.sum() - ddof)
        precision = (x.T * w) @ x / s2 + np.diag(1 / np.where(known[:, t], on, off))
        mean[:, t] = np.linalg.solve(precision, (x.T * w) @ y[:, t] / s2)
        spread[:, t] = np.diag(np.linalg.inv(precision)) if marginal else 1 / np.diag(precision)
    score = np.abs(mean) / np.sqrt(spread)
    return [
        apart("minimiser", found.theta[0], mean),
        apart("minimiser", np.sqrt(column(found, "variance")), np.sqrt(spread)),
        apart("minimiser", column(found, "score"), score),
    ]


def _posterior_claim() -> Claim:
    return claimed(
        "methods.linear_gaussian",
        "the fit is the posterior: its mean, and the variances of the best mean-field one",
        (),
        Search(
            "linear_gaussian", _posterior, (lambda: drawn("mixed", "full", "one"),), 1e-5
        ).slipped,
        {
            "marginal variances": {"marginal": True},
            "the prior's widths exchanged": {"on": 0.01, "off": 1.0},
            "widths as standard deviations": {"off": 1e-4},
            "sample variance of the target": {"ddof": 1},
        },
        reason=NO_THEOREM,
        share=0.3,
    )


# ------------------------------------------------------------------ network component analysis


def _measured(network: Network, spec: Spec, *others: Network) -> Solution:
    """Fit a spec to regulators and targets as named genes; each network is a group of cells."""
    groups = (network, *others)
    return fit(
        spec,
        np.concatenate([np.c_[one.view.x, one.E.T] for one in groups]),
        [f"r{j:03d}" for j in range(network.regulators)],
        [f"t{j:03d}" for j in range(network.targets)],
        network.evidence.transpose(0, 2, 1),
        groups=[f"g{g}" for g, one in enumerate(groups) for _ in one.view.x] if others else None,
        history=True,
    )


def _key(group: int = 0, start: int = 0) -> Any:
    """Return the random key of a start in a group."""
    key = jax.random.fold_in(jax.random.key(0), group)
    return jax.random.fold_in(key, np.uint32(start))


def _drawn_cells(cells: int, draws: int, share: float, key: Any = None) -> list[np.ndarray]:
    """Cells of every bootstrap that an explained share is averaged over."""
    uniform = [
        np.asarray(jax.random.uniform(k, (padded(cells),), np.float64))
        for k in jax.random.split(_key() if key is None else key, draws)
    ]
    count = max(int(share * cells), 1)
    return [np.minimum((u * cells).astype(int), cells - 1)[:count] for u in uniform]


def _explained(
    E: np.ndarray, S: np.ndarray, A: np.ndarray, draws: int, share: float, key: Any = None
) -> np.ndarray:
    """Share of the residual that each edge saves, one row a bootstrap, (draws, n, m)."""
    return np.array(
        [
            o.netrex_confidence(E[:, c], S, A[:, c], False)
            for c in _drawn_cells(E.shape[1], draws, share, key)
        ]
    )


def _near_ties(E: np.ndarray, S: np.ndarray, A: np.ndarray, draws: int) -> bool:
    """Say whether rounding decides the order of the edges in a bootstrap."""
    edge = S != 0
    for c in _drawn_cells(E.shape[1], draws, 1.0):
        r = E[:, c] - S @ A[:, c]
        without = np.sum((r[:, None] + S[..., None] * A[None][..., c]) ** 2, axis=2)[edge]
        full = np.broadcast_to(np.sum(r**2, axis=1)[:, None], S.shape)[edge]
        saved = 1 - full / np.where(without > 0, without, 1)
        saved = np.sort(np.append(saved[saved > -1e-9], 0))
        if np.any(np.diff(saved) < 1e-9) or np.any(without < 1e-9):
            return True
    return False


def _signs(A: np.ndarray, S: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return 1 or -1 for each regulator, so that activity and expression correlate positively."""
    along = np.sum(A * (x - x.mean(axis=0)).T, axis=1)
    return np.where(np.where(along == 0, S.sum(axis=0), along) < 0, -1.0, 1.0)


# ------------------------------------------------------------------ methods.netrex


def _alike(network: Network) -> Network:
    """Make targets opposite kin, in half also alike, and no two regulators share all targets.

    Those that do start alike, stay alike, and rounding decides which of them keeps an edge.
    """
    E = network.E.copy()
    noise = 0.05 * network.scale * network.rng(6).normal(size=(2, E.shape[1]))
    E[1] = -E[0] + noise[0]
    if network.seed % 2:
        E[2] = E[0] + noise[1]
    out = replace(network)
    some = 1 + network.rng(7).permutation(2**network.targets - 1)[: network.regulators]
    known = (some[None, :] >> np.arange(network.targets)[:, None]) % 2
    out.__dict__.update(E=E, evidence=known[None] * 1.0)
    return out


def _netrex_settings(network: Network) -> dict[str, float]:
    if network.shipped:
        return {}
    return {
        "kappa": 0.3,
        "threshold": 0.8,
        "ridge_activity": 0.7,
        "ridge_network": 0.6,
        "bound_activity": 0.8,
        "bound_network": 0.5,
        "keep": 0.6,
        "total": 1.1,
    }


NETREX = {
    "kappa": 1.0,
    "threshold": 0.95,
    "ridge_activity": 1.0,
    "ridge_network": 0.4,
    "bound_activity": 1.0,
    "bound_network": 1.0,
    "keep": 0.8,
    "total": 1.2,
}


def _ranged(values: np.ndarray) -> np.ndarray:
    low, high = values.min(axis=0), values.max(axis=0)
    return (2 * values - low - high) / (high - low)


def _safe(gram: np.ndarray, more: float = 0.0) -> float:
    """1.01 times a bound of the largest eigenvalue."""
    return 1.01 * (float(min(np.linalg.norm(gram), np.abs(gram).sum(axis=1).max())) + more)


def _netrex_twin(
    network: Network,
    sweeps: int,
    kind: str = "signed",
    on_top: bool = False,
    released_step: bool = False,
    activities_first: bool = False,
    unit: Callable = _ranged,
) -> dict[str, Any]:
    """Do all that the method does: units, Laplacian, budgets, start, sweeps until they stop."""
    k = NETREX | _netrex_settings(network)
    E, x = unit(network.E.T).T, unit(network.view.x)
    known = np.asarray((network.evidence > 0).any(axis=0))
    keep, add = o.netrex_budgets(int(known.sum()), k["keep"], k["total"])
    add += keep * on_top
    p = o.netrex_problem(
        E,
        known,
        o.netrex_laplacian(E, k["threshold"], kind),
        keep,
        add,
        k["kappa"],
        k["ridge_activity"],
        k["ridge_network"],
        k["bound_network"],
        k["bound_activity"],
    )
    S0, eye = known * 1.0, np.eye(known.shape[1])
    A = np.clip(np.linalg.solve(S0.T @ S0 + eye, S0.T @ E), -p.bound_a, p.bound_a)
    S = np.linalg.solve(A @ A.T + eye, A @ E.T).T
    S = o.netrex_project(S, known, keep, add, p.bound_s)
    graph = 2 * k["kappa"] * np.abs(p.laplacian).sum(axis=1).max()
    history, starting = [o.netrex_objective(p, S, A)], (S, A)

    def network_step(S, A):
        bound = _safe(A @ A.T + 2 * p.xi * np.eye(len(A)), graph)
        return o.netrex_s_step(p, S, A, curvature=None if released_step else bound)

    def activity_step(S, A):
        d = max(_safe(S.T @ S), np.finfo(float).tiny)
        V = A - S.T @ (S @ A - E) / d
        return np.clip(V / (1 + 2 * p.mu / d), -p.bound_a, p.bound_a)

    for _ in range(sweeps):
        if activities_first:
            A = activity_step(S, A)
            S = network_step(S, A)
        else:
            S = network_step(S, A)
            A = activity_step(S, A)
        history.append(o.netrex_objective(p, S, A))
        if abs(history[-1] - history[-2]) <= 1e-6 * (1 + abs(history[-1])):
            break
    sign = _signs(A, S, x)
    explained = _explained(E, S, A, 20, 1.0).transpose(0, 2, 1)
    edge = S.T != 0
    rank = np.argsort(np.argsort(-explained[:, edge], axis=1, kind="stable"), axis=1)
    score = None if _near_ties(E, S, A, 20) else np.zeros(edge.shape)
    if score is not None:
        score[edge] = 1 - rank.mean(axis=0) / max(edge.sum() - 1, 1)
    return {
        "history": np.array(history[1:]),
        "S": S * sign,
        "A": A * sign[:, None],
        "score": score,
        "confidence": np.where(edge, explained.mean(axis=0), 0),
        "feasible": o.netrex_feasible(p, S, A) and o.netrex_feasible(p, *starting),
    }


def _netrex(network: Network, **change: Any) -> list[Finding]:
    network = _alike(network)
    found = _measured(network, get("netrex").function(None, **_netrex_settings(network)))
    want = _netrex_twin(network, 1000, **change)
    history = found.history[0][0]
    if len(history) != len(want["history"]):
        return [Finding("iterates", float("inf"))]
    theta = found.theta[0]
    known = (network.evidence > 0).any(axis=0).T
    rise = np.diff(history) / (1 + np.abs(history[:-1]))
    budgets = o.netrex_budgets(
        int(known.sum()), *((NETREX | _netrex_settings(network))[n] for n in ("keep", "total"))
    )
    over = max(
        np.count_nonzero(theta[known]) - budgets[0], np.count_nonzero(theta[~known]) - budgets[1], 0
    )
    out = [
        apart("objective", history, want["history"]),
        apart("iterates", theta, want["S"].T),
        apart("iterates", found.blocks["A"][0], want["A"]),
        Finding("objective", max(float(rise.max(initial=0)), 0)),
        Finding("feasibility", float(over)),
    ]
    for name in ("score", "confidence"):
        if want[name] is not None:
            out.append(apart("iterates", np.where(theta != 0, column(found, name), 0), want[name]))
    return out


def _netrex_claim() -> Claim:
    return claimed(
        "methods.netrex",
        "the fit is projected alternating descent in the released constraints, from units to ranks",
        (),
        Search(
            "netrex", _netrex, (lambda: networks(layers=1, scale=1.0, named="mixed"),), 1e-8
        ).slipped,
        {
            "the Laplacian of signed weights without absolute degrees": {"kind": "released"},
            "kin of opposite expression pulled to the same": {"kind": "unsigned"},
            "the released length of the network step": {"released_step": True},
            "new edges counted on top of the total": {"on_top": True},
            "activities before the network": {"activities_first": True},
            "genes divided by their standard deviation": {"unit": divided},
        },
        reason=NO_THEOREM,
        share=0.4,
    )


# ------------------------------------------------------------------ methods.netrex_cf_start


def _prior_factors(
    network: Network, sweeps: int = 20, rows: int = 100, ridge: float = 0.1, confident: float = 10.0
) -> tuple[np.ndarray, np.ndarray]:
    """Alternating least squares of the prior; the first V is the method's own."""
    c = confidence(network.evidence, network.constants["evidence"])
    kept = (c > 0) & o._largest(c, rows)
    W = np.where(kept, confident * network.constants["strength"] * c, 1.0)
    T, q = kept * 1.0, network.regulators
    Y = np.asarray(jax.random.normal(_key(), (FACTORS, q), np.float64)) / np.sqrt(FACTORS)
    X, eye = np.zeros((FACTORS, network.targets)), ridge * np.eye(FACTORS)

    def solved(Y, W, T):
        gram = (Y * W[:, None, :]) @ Y.T + eye
        return np.linalg.solve(gram, ((W * T) @ Y.T)[..., None])[..., 0].T

    for _ in range(sweeps):
        X = solved(Y, W, T)
        Y = solved(X, W.T, T.T)
    return X, Y


def _kept(R: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Rank entries that are not 0 in each row, and all in each column."""
    return (o._largest(R, rows) & (R != 0)) | o._largest(R.T, columns).T


@partial(jax.jit, static_argnames=("shape",))
def _started(shape, terms, view, prior, key):
    ready = tuple(t.prepare(view, prior) for t in terms)
    return shape.start(view, prior, key, ready)


def _start(
    network: Network,
    rows: int = 100,
    columns: int = 500,
    ridge: float = 0.1,
    rounds: int = 20,
    masked: bool = True,
    spread: float = 0.1,
    **change: Any,
) -> list[Finding]:
    spec = released(network)
    if network.regulators <= 10:  # where 100 and 500 are all there are
        start: Any = spec.start
        spec = spec.replace(start=replace(start, rows=2, columns=1))
        rows, columns = rows - 98, columns - 499
    found = on_host(_started, spec, network.view, network.prior, _key())
    X, Y = _prior_factors(network, rows=rows, ridge=ridge, **change)
    R, got = X.T @ Y, found.U.T @ found.V
    support = _kept(R, rows, columns)
    # A regulator that nothing names has V'U = 0, no activity, and stays 0 on its support.
    differ = ((found.theta.T != 0) != support) & ((found.theta.T != 0) | (R != 0))
    out = [
        apart("iterates", got, R),
        apart("iterates", found.U @ found.U.T, found.V @ found.V.T),
        Finding("feasibility", float(np.sum(differ))),
    ]
    if network.regulators > 10:
        return out

    def regressed(A):
        every = support if masked else np.ones_like(support)
        return np.where(support, o._ridge_on_support(network.E, A, every, ridge), 0)

    def alternated(S):
        for _ in range(rounds):
            A = np.linalg.solve(S.T @ S + ridge * np.eye(len(S.T)), S.T @ network.E)
            S = regressed(A)
        return S, A

    # The numbers added to V'U are the method's own, as the first V is.
    drawn = jax.random.normal(jax.random.fold_in(_key(), 1), found.theta.shape, np.float64)
    first = np.where(support, R + spread * np.asarray(drawn).T, 0)
    S, A = alternated(first)
    best = regressed(found.A)
    rough = [apart("iterates", found.theta.T @ found.A, best @ found.A)]
    near, _ = alternated(first * (1 + 1e-7 * np.cos(7 * np.arange(R.size)).reshape(R.shape)))
    if apart("iterates", near, S).deviation < 1e-5:  # else rounding decides where it ends
        rough += [apart("iterates", found.theta.T, S), apart("iterates", found.A, A)]
    # To the accuracy of the method's conjugate gradients: 1e-3.
    return out + [Finding(f.kind, 1e-4 * f.deviation) for f in rough]


def _starts():
    from hypothesis import strategies as st

    return st.one_of(
        networks(layers=3, scale=1.0),
        networks(layers=3, scale=1.0, regulators=105, targets=505, named="mixed", shipped=True),
        networks(layers=3, scale=1.0),
    )


def _start_claim() -> Claim:
    return claimed(
        "methods.netrex_cf_start",
        "the start factorises the prior, takes its support from the factors, and fits on it",
        (),
        Search("start", _start, (_starts,), 1e-7).slipped,
        {
            "the ridge of the method in place of 0.1": {"ridge": 1.0},
            "prior edges weighted by C alone": {"confident": 1.0},
            "one sweep fewer": {"sweeps": 19},
            "99 and 499 entries": {"rows": 99, "columns": 499},
            "a fit on all regulators, cut to the support": {"masked": False},
            "half the random numbers": {"spread": 0.05},
        },
        reason=NO_THEOREM,
        share=0.5,
    )


# ------------------------------------------------------------------ methods.netrex_cf


def _standardised(values: np.ndarray, over: np.ndarray, ddof: int = 0) -> np.ndarray:
    """Centre within the group, and divide by the deviation over all cells."""
    some = np.ptp(over, axis=0) > 1e-9 * np.abs(over).max(axis=0)
    return (values - values.mean(axis=0)) / np.where(some, over.std(axis=0, ddof=ddof), 1)


def _row_score(R: np.ndarray) -> np.ndarray:
    """Divide by the row's sum where that is at least half the sum of |R|, else by the latter."""
    total, size = R.sum(axis=1, keepdims=True), np.abs(R).sum(axis=1, keepdims=True)
    total = np.where(total >= size / 2, total, size)
    return R / np.where(total > 0, total, 1)


def _by_size(R: np.ndarray) -> np.ndarray:
    size = np.abs(R).sum(axis=1, keepdims=True)
    return R / np.where(size == 0, 1, size)


@dataclass(frozen=True)
class Waves:
    """A start that any program can form: sines of the position, and 1 for prior edges in V'U.

    Of the key it draws one number, from which the sines begin.
    """

    def __call__(self, data: Any, prior: Any, key: Any, terms: tuple) -> Blocks:
        """Return the blocks, 0 at padding."""
        known = (prior.support & prior.valid).astype(data.y.dtype)
        q, p = (jnp.any(prior.valid, axis=k).astype(data.y.dtype) for k in (1, 0))
        return waves(known, q, p, data.weight, jax.random.uniform(key, (), data.y.dtype))


def waves(known: Any, q: Any, p: Any, cells: Any, begin: Any) -> Blocks:
    """Blocks for regulators, targets and cells that are marked with 1; V'U is 1 on the prior."""

    def wave(k, rows, columns):
        i, j = np.arange(1.0 * len(rows)), np.arange(1.0 * len(columns))
        angle = begin + k + 1.3 * i[:, None] + 2.1 * j[None]
        return jnp.sin(angle) * rows[:, None] * columns[None]

    return Blocks(
        theta=wave(0, q, p),
        A=wave(1, q, cells),
        U=np.eye(FACTORS, len(p)) * p[None],
        V=(known + (1 - known) * wave(2, q, p)).T[:FACTORS],
    )


STARTS = 2


def _columns(count: int, step: int, size: int, sample: int | None, key: Any) -> np.ndarray | None:
    """Return the columns that a step of a sweep moves: those of the smallest drawn numbers."""
    if sample is None:
        return None
    own = jax.random.fold_in(jax.random.fold_in(key, count), step)
    return np.argsort(np.asarray(jax.random.uniform(own, (padded(size),)))[:size])[:sample]


def _descended(
    p: o.NetrexCF, start: o.NetrexCFState, key: Any, sample: int | None, same: bool, **how: Any
) -> tuple[o.NetrexCFState, np.ndarray]:
    """Sweep until the objective changes by less than one in a million; the objectives too."""
    state, values = start, [o.netrex_cf_objective(p, start)]
    for count in range(100 if sample is None else 12):
        sizes = (2, len(state.S)), (3, len(state.A))
        moved = tuple(_columns(0 if same else count, i, n, sample, key) for i, n in sizes)
        state = swept(p, state, columns=moved, **how)
        values.append(o.netrex_cf_objective(p, state))
        if abs(values[-1] - values[-2]) <= 1e-6 * (1 + values[-1]):
            break
    return state, np.array(values[1:])


def _method(
    network: Network,
    sample: int | None,
    mu: Any = safe_mu,
    order: str = "ASXY",
    unit: Any = _standardised,
    score: Any = _row_score,
    share: float = 0.5,
    same_columns: bool = False,
    same_key: bool = False,
    last: bool = False,
    ddof: int = 1,
) -> list[Finding]:
    """Fit two groups from waves: its own start, from which rounding can decide, has a claim."""
    few = {} if sample is None else {"sample": sample, "sweeps": 12}
    spec = get("netrex_cf").function(None, FACTORS, runs=STARTS, **few, **network.settings)
    groups = (network, replace(network, seed=network.seed + 1))
    found = _measured(network, spec.replace(start=Waves()), groups[1])
    genes = [np.c_[one.view.x, one.E.T] for one in groups]
    known = network.prior.support * 1.0
    ones_q, ones_p, cells = (np.ones(k) for k in (*known.shape, len(genes[0])))
    mixed = network.rng(9).normal(0.4, 1.0, known.T.shape)  # rows of either sign: seldom in a fit
    rule = jax.jit(importlib.import_module("unigrn.methods.netrex_cf").row_normalised)
    out = [apart("score", np.asarray(rule(mixed.T, network.prior)), score(mixed).T)]
    for g, values in enumerate(genes):
        x, y = np.split(unit(values, np.concatenate(genes)), [len(known)], axis=1)
        p = problem(network)._replace(E=y.T)
        runs: list[dict[str, Any]] = []
        for k in range(STARTS):
            key = _key(0 if same_key else g, k)
            begin = np.asarray(jax.random.uniform(key, (), np.float64))
            start = state_of(
                network, jax.tree.map(np.asarray, waves(known, ones_q, ones_p, cells, begin))
            )
            state, history = _descended(p, start, key, sample, same_columns, order=order, mu=mu)
            sign, R = _signs(state.A, state.S, x), state.X.T @ state.Y
            explained = _explained(p.E, state.S, state.A, 20, share, key).mean(axis=0)
            runs.append(
                {
                    "weight": (state.S * sign).T,
                    "affinity": R.T,
                    "score": score(R).T,
                    "confidence": explained.T,
                    "A": state.A * sign[:, None],
                    "history": history,
                }
            )
            met = found.history[g][k]
            rise = np.diff(met[~np.isnan(met)]) / (1 + history[0])
            out.append(Finding("descent", max(float(rise.max(initial=0)), 0)))
            if np.count_nonzero(~np.isnan(met)) != len(history):
                return [Finding("history", float("inf"))]
            out.append(apart("history", met[: len(history)], history))
        every = {c: np.array([r[c] for r in runs]) for c in runs[0] if c != "history"}
        want = {c: v.mean(axis=0) for c, v in every.items() if c != "A"}
        want["score_sd"] = every["score"].std(axis=0, ddof=ddof)
        want["frequency"] = (every["weight"] != 0).mean(axis=0)
        got = {"weight": found.weights, **found.statistics}
        out += [apart(c, placed(found, got[c])[g], v) for c, v in want.items()]
        ends = np.array([r["history"][-1] for r in runs])
        gaps = np.diff(np.sort(ends))[:1]
        if gaps > 1e-6 * (1 + ends.min()):  # else rounding decides which start is best
            best = ends.argmax() if last else ends.argmin()
            out.append(apart("blocks", found.blocks["A"][g], every["A"][best]))
    return out


def _samples():
    from hypothesis import strategies as st

    return st.sampled_from([2, None])


def _method_claim() -> Claim:
    return claimed(
        "methods.netrex_cf",
        "the fit is PALM with valid steps on the released objective, from units to scores, over "
        "groups, starts and drawn columns",
        (),
        Search("netrex_cf", _method, (lambda: networks(layers=3), _samples), 1e-8).slipped,
        {
            "half the Frobenius norm": {"mu": np.linalg.norm},
            "regulators' factors before the targets'": {"order": "ASYX"},
            "sample standard deviations": {"unit": partial(_standardised, ddof=1)},
            "scores divided by the sum of |R| throughout": {"score": _by_size},
            "bootstraps of all cells": {"share": 1.0},
            "the same columns in every sweep": {"same_columns": True},
            "one random key for all groups": {"same_key": True},
            "the worst of the starts": {"last": True},
            "spread of the score with the denominator n": {"ddof": 0},
        },
        reason=NO_THEOREM,
        share=0.2,
    )


# ------------------------------------------------------------------ methods.netrex_cf_sketch


def _cheaper(p: o.NetrexCF, state: o.NetrexCFState, mu: Callable) -> np.ndarray:
    """Network step for any eta: a price may be below 0, where every entry but 0 stays."""
    step, R = mu(network_matrix(p, state)), state.X.T @ state.Y
    moved = state.S - o.netrex_cf_gradients(p, state).S / step
    price = p.lam * ((p.alpha + p.beta) * (1 - R) ** 2 - p.alpha * (p.P - R) ** 2) + p.eta
    return np.where(moved**2 > 2 * price / step, moved, 0)


def _sketch_sweeps(
    network: Network,
    point: Point,
    factors: str = "XY",
    mu: Any = safe_mu,
    ridge: float = 0.0,
    **change: float,
) -> list[Finding]:
    """Sweep by the released algorithm, with the sketch's weights in place of the released ones."""
    k, total = SKETCH | network.sketch | change, network.evidence.sum(axis=0)
    C, B = 1 + k["slope"] * total, (total > 0) * 1.0
    p = problem(network)._replace(
        P=B,
        lam=np.ones_like(C),
        alpha=C,
        beta=k["on"] * C * B + k["off"] * (1 - B),
        eta=np.full_like(C, k["cost"]),
        lambda_a=k["ridge_activity"],
        lambda_s=k["ridge_network"],
        rho=ridge,
    )
    u = blocks(network, point)
    found, _ = stages(sketched(network), u, network.view, network.prior, 2)
    state, out = state_of(network, u), []
    for count in (1, 2):
        state = swept(p, state, "A")
        state = swept(p, state._replace(S=_cheaper(p, state, mu)), factors)
        got = state_of(network, found[4 * count])
        out += [apart("iterates", a, b) for a, b in zip(got, state, strict=True)]
    return out


def _sketch_claim() -> Claim:
    return claimed(
        "methods.netrex_cf_sketch",
        "a sweep is the released one with valid steps, the sketch's weights and no ridge on the "
        "factors",
        (),
        # Factors that are whole numbers may all be 0, where nothing makes the systems regular.
        Search(
            "netrex_cf_sketch", _sketch_sweeps, (networks, lambda: points(whole=False)), 1e-8
        ).slipped,
        {
            "a ridge on the factors": {"ridge": 0.1},
            "half the Frobenius norm": {"mu": np.linalg.norm},
            "regulators' factors before the targets'": {"factors": "YX"},
            "twice the weight off the prior": {"off": 2.0},
        },
        reason=NO_THEOREM,
    )


CLAIMS = (
    _ridge_claim(
        "masked_ridge",
        "the fit is a ridge on the prior's edges, in units of standard "
        "deviations, with alpha relative to the number of cells",
        True,
        0.1,
    ),
    _ridge_claim(
        "full_ridge", "the fit is that ridge on all regulators but the gene itself", False, 1.0
    ),
    _netrex_claim(),
    _method_claim(),
    _start_claim(),
    _sketch_claim(),
    _posterior_claim(),
)
