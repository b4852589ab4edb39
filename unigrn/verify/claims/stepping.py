"""How a fit steps, sums and ends: drawn gradients, single precision, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import unigrn as u
from unigrn.data import Data
from unigrn.methods.generative import Start
from unigrn.moments import GroupSums
from unigrn.solvers.optimality import Fit
from unigrn.solvers.solver import Solver
from unigrn.status import Status
from unigrn.terms import Blocks
from unigrn.verify.claims import Claim
from unigrn.verify.claims.common import Search, apart, claimed, placed, prior_of
from unigrn.verify.claims.running import GENES, KNOWN, OWN, SOURCES, TARGETS
from unigrn.verify.instances import described
from unigrn.verify.search import Finding

# ------------------------------------------------------------------ methods.stochastic

SIZES, BATCH, EPOCHS, STEPS = (60, 50), 8, 3, 25  # cells of groups, of a draw; passes; steps
ALPHA, DELTA, ON, OFF, DRAWS = 2.0, 0.8, 1.0, 0.05, 2
PLACES = 8  # padded number of candidates, for which noise is drawn


@dataclass(frozen=True)
class Drawn:
    """Two groups of weighted cells, some of weight 0, and what is drawn: cells or noise."""

    seed: int = 0
    what: str = "cells"

    def __repr__(self) -> str:
        return described(self)

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values (cells, genes), group and weight of each cell."""
        rng = np.random.default_rng((self.seed, 12))
        group = rng.permutation(np.repeat(np.arange(len(SIZES)), SIZES))
        values = rng.normal(size=(len(group), len(GENES))) @ rng.normal(size=(len(GENES),) * 2)
        weight = rng.uniform(0.2, 3, len(group)) * (rng.random(len(group)) < 0.8)
        return values, group, weight


def _stepped(run: Drawn) -> dict[str, np.ndarray]:
    """Fit through plan and solver."""
    values, group, weight = run.data()
    spec = u.Spec(
        u.huber(DELTA),
        u.ridge(ALPHA),
        u.support() + u.no_self(),
        prior=prior_of(KNOWN, SOURCES, TARGETS),
        minibatch=u.Minibatch(BATCH, EPOCHS),
    )
    if run.what == "noise":
        spec = spec.replace(
            loss=u.expected_gaussian(draws=DRAWS),
            regularizer=u.kl_gaussian(ON, OFF),
            minibatch=None,
            start=Start(),
        )
    own: Any = weight
    data = Data.from_arrays(
        values, GENES, groups=[f"g{g}" for g in group], weights=own, dtype="float64"
    )
    found = u.fit(spec, data, regulators=SOURCES, targets=TARGETS, max_iterations=STEPS)
    out = {"weight": placed(found, found.weights, SOURCES, TARGETS), "steps": found.iterations}
    return out | {k: np.asarray(v) for k, v in found.blocks.items()}


def _adam(slope: Any, start: np.ndarray, most: int, late: bool = True) -> np.ndarray:
    """Adam with a step that falls along a cosine; the mean of the last half of the steps."""
    b, m, v, path = start, 0.0 * start, 0.0 * start, []
    for k in range(most):
        g = slope(b, k)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        step = 0.05 * (1 + np.cos(np.pi * k / most)) / 2
        b = b - step * (m / (1 - 0.9 ** (k + 1))) / (np.sqrt(v / (1 - 0.99 ** (k + 1))) + 1e-8)
        path.append(b)
    return np.mean(path[most // 2 :] if late else path, axis=0)


def _cells_slope(x: np.ndarray, y: np.ndarray, w: np.ndarray, walk: Any, slip: str) -> Any:
    """Return the slope in (theta, intercept) on cells drawn among those that count."""
    real = np.flatnonzero(w > 0)
    pool = np.arange(len(w)) if slip == "cells of weight 0 too" else real

    def slope(b, k):
        pick, _ = jax.random.split(jax.random.fold_in(walk, 0 if slip == "the same draws" else k))
        place = jax.random.randint(pick, (BATCH,), 0, np.int32(len(pool)))
        few = pool[np.asarray(place)]
        r = np.clip(y[few] - x[few] @ b[:-1] - b[-1], -DELTA, DELTA)
        pulled = -2 * (1.0 if slip == "not times the cells" else len(real) / BATCH) * w[few] * r
        return np.append(x[few].T @ pulled + 2 * ALPHA * b[:-1], pulled.sum())

    return slope


def _noise_slope(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, named: np.ndarray, walk: Any, slip: str
) -> Any:
    """Return the slope in (theta, log variance) of a sampled negative ELBO."""
    q, t2 = x.shape[1], np.where(named, ON, OFF)
    x, y = x - w @ x / w.sum(), y - w @ y / w.sum()
    s2 = w @ y**2 / w.sum()

    def slope(b, k):
        key = jax.random.fold_in(walk, 0 if slip == "the same draws" else k)
        e = np.asarray(jax.random.normal(key, (DRAWS, PLACES), np.float64))[:, :q]
        theta, spread = b[:q], np.exp(b[q:] / 2)
        own = [-(x.T @ (w * (y - x @ (theta + spread * one)))) / s2 for one in e]
        of_theta = np.mean(own, axis=0) + theta / t2
        of_spread = np.mean([g * spread * one / 2 for g, one in zip(own, e, strict=True)], axis=0)
        return np.append(of_theta, of_spread + (spread**2 / t2 - 1) / 2)

    return slope


def _by_hand(run: Drawn, slip: str = "") -> dict[str, np.ndarray]:
    """Give the same, step by step."""
    values, group, weight = run.data()
    column = {gene: i for i, gene in enumerate(GENES)}
    shape, kept = (len(SIZES), len(SOURCES), len(TARGETS)), (KNOWN > 0) & OWN
    out = {name: np.zeros(shape) for name in ("weight", "log_variance")}
    out |= {"intercept": np.zeros(shape[::2]), "steps": np.zeros(shape[::2])}
    for g in range(len(SIZES)):
        rows = group == g
        w = weight[rows]
        key = jax.random.fold_in(jax.random.key(0), 0 if slip == "one key for all groups" else g)
        for t, name in enumerate(TARGETS):
            x = values[rows][:, [column[s] for s in np.array(SOURCES)[kept[:, t]]]]
            y, q = values[rows, column[name]], kept[:, t].sum()
            own = jax.random.fold_in(jax.random.fold_in(key, 0), 0 if "targets" in slip else t)
            walk, _ = jax.random.split(own)
            late = slip != "mean of all steps"
            if run.what == "cells":
                most = int(np.ceil(EPOCHS * (w > 0).sum() / BATCH))
                b = _adam(_cells_slope(x, y, w, walk, slip), np.zeros(q + 1), most, late)
                out["intercept"][g, t] = b[-1]
            else:
                most, named = STEPS, np.ones(q, bool)
                start = np.append(np.zeros(q), np.log(np.where(named, ON, OFF)))
                b = _adam(_noise_slope(x, y, w, named, walk, slip), start, most, late)
                out["log_variance"][g, kept[:, t], t] = b[q:]
            out["weight"][g, kept[:, t], t], out["steps"][g, t] = b[:q], most
    return out


def _walked(run: Drawn, slip: str = "") -> list[Finding]:
    got, want = _stepped(run), _by_hand(run, slip)
    return [apart(f"{name} by {run.what}", got[name], want[name]) for name in want if name in got]


def _draws(**fixed: Any) -> Any:
    from hypothesis import strategies as st

    what = {"what": st.sampled_from(["cells", "noise"])} | {k: st.just(v) for k, v in fixed.items()}
    return st.builds(Drawn, seed=st.integers(0, 2**16), **what)


def _stochastic_claim() -> Claim:
    noise = {"what": "noise"}

    def check(slip: str = "", at: dict[str, str] | None = None) -> Search:
        return Search(
            "steps = Adam on the same draws",
            partial(_walked, slip=slip),
            (partial(_draws, **(at or {})),),
            1e-8,
        )

    return claimed(
        "methods.stochastic",
        "a stochastic fit is Adam on fresh draws at every step, of cells that count or of noise, "
        "each target and group with draws of its own",
        (),
        check,
        {
            "the same cells at every step": {"slip": "the same draws"},
            "the same noise at every step": {"slip": "the same draws", "at": noise},
            "one random key for all targets": {"slip": "one key for all targets", "at": noise},
            "one random key for all groups": {"slip": "one key for all groups"},
            "cells of weight 0 among the draws": {"slip": "cells of weight 0 too"},
            "the loss of few cells not made that of all": {"slip": "not times the cells"},
            "the mean of all steps": {"slip": "mean of all steps"},
        },
        reason="that a program steps as it says is checked, not proved",
        share=0.3,
    )


# ------------------------------------------------------------------ methods.sums

BLOCKS, CELLS, HEAVY = 500, 32, 1.6e6  # small blocks after a heavy one, which takes their digits


@dataclass(frozen=True)
class Stream:
    """Cells that come block by block: a heavy block, then many whose sums are below its digits."""

    seed: int = 0
    offset: float = 0.0

    def __repr__(self) -> str:
        return described(self)

    def blocks(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Regulators, targets and weights of two systems, block by block."""
        rng = np.random.default_rng((self.seed, 13))
        out = []
        for k in range(1 + BLOCKS):
            n = 1024 if k == 0 else CELLS
            x = self.offset + rng.normal(size=(n, 3))
            y = self.offset + x[:, :2] + rng.normal(size=(n, 2))
            weight = rng.integers(1, 4, (2, n)) * (HEAVY if k == 0 else 1.0)
            out.append((x, y, weight))
        return out


def _in_single(stream: Stream) -> dict[str, np.ndarray]:
    sums = GroupSums(8, 8, "float32")
    for x, y, weight in stream.blocks():
        sums.add(x, y, weight)
    m = sums.finish(np.array([1.0, 2.0, 0.5]), np.array([1.0, 3.0]))
    return {
        "gram": np.asarray(m.gram)[:, :3, :3],
        "cross": np.asarray(m.cross)[:, :3, :2],
        "square": np.asarray(m.square)[:, :2],
        "count": np.asarray(m.count),
        "mean": np.asarray(m.mean_x)[:, :3],
    }


def _in_double(stream: Stream, slip: str = "") -> dict[str, np.ndarray]:
    """All cells at once; slips are sums as single precision would have them."""
    parts = list(zip(*stream.blocks(), strict=True))
    if slip == "some blocks left out":
        parts = [p[: 1 - BLOCKS] for p in parts]
    x, y = (np.concatenate(v) for v in parts[:2])
    weight = np.concatenate(parts[2], axis=1)
    if slip == "the other system":
        weight = weight[::-1]
    x, y = x * [1.0, 2.0, 0.5], y * [1.0, 3.0]
    if slip == "the pivot for the mean":
        x = x - x[:1024].mean(0)
    out: dict[str, list] = {name: [] for name in ("gram", "cross", "square", "count", "mean")}
    for w in weight:
        count = w.sum()
        if slip == "not compensated":  # what is below the digits of the first block is lost
            w, count = np.where(w < HEAVY, 0.0, w), w[:1024].sum()
        mean = w @ x / w.sum()
        a, b = x - mean, y - w @ y / w.sum()
        if slip == "not centred":
            a = x
        for name, v in zip(out, ((a.T * w) @ a, (a.T * w) @ b, w @ b**2, count, mean), strict=True):
            out[name].append(v)
    return {name: np.array(v) for name, v in out.items()}


def _added(stream: Stream, slip: str = "") -> list[Finding]:
    got, want = _in_single(stream), _in_double(stream, slip)
    return [apart(name, got[name], want[name], unit=1e-30) for name in want]


def _streams() -> Any:
    from hypothesis import strategies as st

    return st.builds(Stream, seed=st.integers(0, 2**16), offset=st.sampled_from([0.0, 5.0, 300.0]))


def _sums_claim() -> Claim:
    return claimed(
        "methods.sums",
        "sums over cells in single precision are those of double precision, however many blocks "
        "they come in and however large the means are",
        (),
        Search("sums in single precision = in double", _added, (_streams,), 4e-6).slipped,
        {
            "sums without compensation": {"slip": "not compensated"},
            "sums that are not centred": {"slip": "not centred"},
            "means about the pivot": {"slip": "the pivot for the mean"},
            "weights of the other system": {"slip": "the other system"},
            "some blocks left out": {"slip": "some blocks left out"},
        },
        reason="accuracy of a program is measured, not proved",
        share=0.1,
    )


# ------------------------------------------------------------------ methods.certificates


@dataclass(frozen=True)
class Ended:
    """Fits of a path that end with a residual each, above or below what is asked for."""

    seed: int = 0

    def __repr__(self) -> str:
        return described(self)

    @property
    def residuals(self) -> np.ndarray:
        """One for each fit; some say that they did not converge."""
        return np.random.default_rng((self.seed, 14)).uniform(0.1, 2.0, 4)


def _ends(terms: Any, view: Any, prior: Any, options: Any) -> Fit:
    """Stand in for a solver: the ridge of a fit is the residual that it ends with."""
    alpha = terms.regularizer.alpha
    status = jnp.where(alpha > 1, Status.MAX_ITERATIONS, Status.CONVERGED).astype(jnp.int32)
    steps = (1000 * alpha).astype(jnp.int32)
    return Fit(Blocks(theta=jnp.zeros_like(prior.weight)), status, alpha, steps, 0 * alpha)


def _told(ended: Ended, speaks: Any = np.max) -> list[Finding]:
    """Compare the certificate of a target with the worst of its fits."""
    values, _, _ = Drawn(ended.seed).data()
    spec = u.Spec(u.least_squares(), u.ridge(1.0), u.support() + u.no_self())
    spec = spec.replace(prior=prior_of(KNOWN, SOURCES, TARGETS))
    spec = u.path(spec, "Ridge.alpha", tuple(ended.residuals), choose=None)
    data = Data.from_arrays(values, GENES, dtype="float64")
    own = Solver("stand-in", "moments", _ends)
    found = u.fit(spec, data, regulators=SOURCES, targets=TARGETS, solver=own)
    worst = np.full(found.residual.shape, float(speaks(ended.residuals)))
    status = np.where(worst > 1, Status.MAX_ITERATIONS, Status.CONVERGED)
    return [
        apart("residual", found.residual, worst),
        apart("status", found.status * 1.0, status * 1.0),
        apart("steps", found.iterations * 1.0, np.floor(1000 * worst)),
    ]


def _ended() -> Any:
    from hypothesis import strategies as st

    return st.builds(Ended, seed=st.integers(0, 2**16))


def _certificates_claim() -> Claim:
    return claimed(
        "methods.certificates",
        "of the fits of a target the worst speaks: its status, residual and number of steps",
        (),
        Search("certificate = the worst of the fits", _told, (_ended,)).slipped,
        {
            "the best speaks": {"speaks": np.min},
            "the mean speaks": {"speaks": np.mean},
            "the first speaks": {"speaks": lambda values: values[0]},
        },
        reason="which of several numbers is told is checked, not proved",
        share=0.2,
    )


CLAIMS = (_stochastic_claim(), _sums_claim(), _certificates_claim())
