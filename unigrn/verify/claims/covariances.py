"""Claims about networks behind covariances: the objective of all groups, by its formulas."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from scipy.special import gammaln

from unigrn.api import fit
from unigrn.data import Data
from unigrn.methods import get
from unigrn.solvers.across import posed
from unigrn.solvers.optimality import Fit, objective
from unigrn.solvers.solver import Solver
from unigrn.spec import Slots
from unigrn.terms import Blocks, PriorView, View
from unigrn.verify.claims.common import Search, apart, claimed
from unigrn.verify.claims.methods import NO_THEOREM
from unigrn.verify.instances import Example
from unigrn.verify.search import Finding
from unigrn.views import along

GENES = tuple("abcd")
PEAKS, REPLICATES, DRAWS = 3, 2, 2
SIZES = (9, 6)
SPREADS = ("theta", "accessibility", "mean", "normal", "chi", "scale")  # as they are drawn


@dataclass(frozen=True, repr=False)
class Groups(Example):
    """Two groups of cells with one bulk, a signed prior, and which covariance is meant.

    Parameters
    ----------
    seed
        Of the random numbers.
    weighted
        Cells have weights, one of them 0.
    released
        The covariance of the released notebook.
    """

    seed: int = 0
    weighted: bool = False
    released: bool = False

    @property
    def hyper(self) -> dict[str, Any]:
        """Hyperparameters of the method."""
        names = ("spread", "bulk", "shape")
        numbers = dict(zip(names, self.rng(1).uniform(0.5, 3, 3), strict=True))
        covariance = "released" if self.released else "intended"
        return {**numbers, "covariance": covariance, "draws": DRAWS}

    @property
    def cells(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Values and weights of every group."""
        rng, out = self.rng(2), []
        for size in SIZES:
            weight = rng.uniform(0.5, 2, size) if self.weighted else np.ones(size)
            weight[0] *= not self.weighted
            out.append((rng.normal(1, 2, (size, len(GENES))), weight))
        return out

    @property
    def prior(self) -> np.ndarray:
        """Signs of edges, 0 where there is none, 0.5 where the sign is not known."""
        signs = self.rng(3).choice([-1.0, 0.0, 0.5, 1.0], (len(GENES),) * 2)
        signs[0, 1], signs[1, 0] = 0.5, -1
        return signs

    @property
    def bulk(self) -> tuple[np.ndarray, np.ndarray]:
        """Accessibility (peaks, replicates), and the peak of every pair of genes."""
        rng = self.rng(4)
        return rng.gamma(4, 1, (PEAKS, REPLICATES)), rng.integers(0, PEAKS, (len(GENES),) * 2)


def _still(slots: Slots, views: View, prior: PriorView, options: Any) -> Fit:
    """Stand in for a solver: go some way from the start, and evaluate there."""
    joined, stacked = posed(slots, views, prior)
    blocks = {}
    for i, (name, block) in enumerate(joined.start(views, stacked).items()):
        own = jax.random.fold_in(views.key[0], i)
        blocks[name] = block + 0.5 * jax.random.normal(own, block.shape, block.dtype)
    params = Blocks(**blocks)
    zero = jnp.zeros((), jnp.int32)
    value = objective(joined).total(params, views, stacked)
    return Fit(params, zero, jnp.zeros_like(value), zero, value)


STILL = Solver("a point away from the start", "networks", None, batch=_still)


@functools.lru_cache(maxsize=64)  # the variants ask for the same fits
def _shipped(example: Groups) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Return the objective at a drawn point, and the point, block by block."""
    import pandas as pd

    from unigrn.prior import Prior

    signs, (bulk, peak) = example.prior, example.bulk
    source, target = np.nonzero(signs)
    sign = signs[source, target]
    edges = pd.DataFrame(
        {
            "source": np.array(GENES)[source],
            "target": np.array(GENES)[target],
            "weight": 1.0,
            "sign": np.where(np.abs(sign) == 1, sign, 0).astype(int),
        }
    )
    values = np.concatenate([x for x, _ in example.cells])
    weights: Any = np.concatenate([w for _, w in example.cells]) if example.weighted else None
    groups = [f"g{k}" for k, size in enumerate(SIZES) for _ in range(size)]
    data = Data.from_arrays(values, GENES, groups=groups, dtype="float64", weights=weights)
    data = data.with_extra(
        bulk=along(bulk, "peaks", "replicates"),
        peak=along(peak, "regulators", "targets", names=(GENES, GENES)),
    )
    spec = get("symphony").function(Prior.from_edges(edges), **example.hyper)
    found = fit(spec, data, solver=STILL)
    blocks = [{n: np.asarray(v[k]) for n, v in found.blocks.items()} for k in range(len(SIZES))]
    problem = found.plan.problem
    for k, block in enumerate(blocks):
        block["theta"] = np.zeros((len(GENES),) * 2)
        block["theta"][problem.candidate, problem.entry_target] = found.weights[k]
    return np.asarray(found.targets["objective"]), blocks


def symphony(
    example: Groups,
    blocks: list[dict[str, np.ndarray]],
    turned: bool = False,
    even: bool = False,
    spread: bool = True,
    known: bool = False,
    slope: bool = True,
    weighted: bool = True,
    degrees: bool = True,
    sure: bool = True,
    single: bool = False,
) -> float:
    """Return the negative ELBO of all groups from its formulas."""
    hyper, (bulk, peak), genes = example.hyper, example.bulk, len(GENES)
    cells = [(x, w if weighted else np.ones_like(w)) for x, w in example.cells]
    counts = np.array([w.sum() for _, w in cells])
    share = np.full(len(SIZES), 1 / len(SIZES)) if even else counts / counts.sum()
    total, mixed, noisy = 0.0, np.zeros(PEAKS), np.zeros(PEAKS)
    for k, ((x, w), block) in enumerate(zip(cells, blocks, strict=True)):
        loc = {n: block[n] for n in SPREADS}
        sd = {n: np.exp(block[f"log_sd_{n}"]) for n in SPREADS}
        center = w @ x / w.sum()
        scatter = (x - center).T @ (w[:, None] * (x - center))
        sign = np.where(example.prior == 0.5, 1 if known else np.sign(scatter), example.prior)
        first = np.exp(loc["accessibility"] + sd["accessibility"] ** 2 / 2)
        second = first**2 * np.expm1(sd["accessibility"] ** 2) * spread
        off = (loc["theta"] - sign * first[peak]) ** 2 + sign**2 * second[peak]
        off = off + sd["theta"] ** 2 * sure
        total += np.sum(off) / (2 * hyper["spread"] ** 2)
        total += np.sum(np.log(hyper["spread"] / sd["theta"]) - 0.5)
        for name, mean, width in (("mean", center, 1.0), ("normal", 0.0, 1.0), ("scale", -4, 100)):
            ratio = (sd[name] ** 2 + (loc[name] - mean) ** 2) / (2 * width**2)
            total += np.sum(np.log(width / sd[name]) + ratio - 0.5)
        free = genes + 1 - np.arange(genes) * degrees
        for name, a, b in (("accessibility", hyper["shape"], 1.0), ("chi", free / 2, 0.5)):
            expected = np.exp(loc[name] + sd[name] ** 2 / 2)
            density = a * np.log(b) - gammaln(a) + (a - 1) * loc[name] - b * expected
            entropy = np.log(sd[name]) + 0.5 * np.log(2 * np.pi * np.e) + loc[name] * slope
            total -= np.sum(density + entropy)
        mixed, noisy = mixed + share[k] * first, noisy + share[k] ** 2 * second
        likelihood = [_likelihood(example, x, w, loc, sd, draw, turned) for draw in range(DRAWS)]
        total -= likelihood[0] if single else np.mean(likelihood)
    width = hyper["bulk"]
    rest = (np.sum((bulk - mixed[:, None]) ** 2) + REPLICATES * noisy.sum()) / (2 * width**2)
    return total + rest + bulk.size * np.log(width * np.sqrt(2 * np.pi))


def _likelihood(example, x, w, loc, sd, draw: int, turned: bool) -> float:
    """Return log N(x; mu, Sigma) of weighted cells, cell by cell, at one draw of the guide."""
    key, at, genes = jax.random.key(0), {}, len(GENES)
    for i, name in enumerate(SPREADS):
        own = jax.random.fold_in(key, i)
        noise = jax.random.normal(own, (DRAWS, *loc[name].shape), loc[name].dtype)
        at[name] = loc[name] + sd[name] * np.asarray(noise)[draw]
    whole = at["theta"] + at["theta"].T
    square = whole @ whole
    lower = np.linalg.cholesky(square)
    root = lower.T if example.released != turned else lower
    upper = np.zeros((genes, genes))
    flat = np.concatenate([at["normal"], at["normal"][genes:][::-1]])
    for i in range(genes):
        for j in range(i + 1, genes):
            upper[i, j] = flat[i * genes + j]
    drawn = upper.T + np.diag(np.exp(at["chi"] / 2))
    factor = np.diag(np.exp(at["scale"])) @ root @ drawn / np.sqrt(genes + 1)
    cells = stats.multivariate_normal(at["mean"], factor @ factor.T, allow_singular=True)
    return float(w @ cells.logpdf(x))


def _compared(example: Groups, **change: Any) -> list[Finding]:
    found, blocks = _shipped(example)
    want = symphony(example, blocks, **change)
    return [apart("objective", found, np.full_like(found, want))]


def _groups(**fixed: Any):
    from hypothesis import strategies as st

    flags = {name: st.booleans() for name in ("weighted", "released")}
    fixed = {name: st.just(value) for name, value in fixed.items()}
    return st.builds(Groups, seed=st.integers(0, 2**16), **flags | fixed)


def _check(at: dict[str, Any] | None = None, **change: Any) -> Search:
    check = Search("symphony", _compared, (functools.partial(_groups, **at or {}),), 1e-8)
    return check.slipped(**change) if change else check


CLAIMS = (
    claimed(
        "methods.symphony",
        "the objective of all groups at once is the negative ELBO of the published process, the "
        "bulk a mixture of the groups, and cells at draws of the guide",
        (),
        _check,
        {
            "the other covariance": {"turned": True},
            "groups of equal shares in the bulk": {"even": True},
            "accessibility without a variance": {"spread": False},
            "edges of unknown sign positive": {"known": True},
            "logarithms without their slope": {"slope": False},
            "weights of cells ignored": {"weighted": False, "at": {"weighted": True}},
            "the degrees of freedom of the first gene for all": {"degrees": False},
            "edges without a variance": {"sure": False},
            "one draw of the guide": {"single": True},
        },
        reason=NO_THEOREM,
        share=0.1,
    ),
)
