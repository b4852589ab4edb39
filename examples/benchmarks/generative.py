"""Generative methods on simulated data: steps, recovery, calibration, ranks, minibatches.

    python examples/benchmarks/generative.py                       # every part, the issue's sizes
    python examples/benchmarks/generative.py --part ranks --size tiny --json out.json

Parts: ``steps`` (L-BFGS on the closed ELBO beside Adam as PMF-GRN's program has it), ``recovery``
(edges of simulated networks by `pmf_grn`, `bitfam`, `tiger` and `linear_gaussian`, each on data of
its own process, beside the prior alone, |Pearson| and a permuted prior), ``masks`` (the prior soft,
hard, and as data, on targets that it knows and on hidden ones), ``ranks`` (simulation-based
calibration of the same three: Talts et al. (2018), arXiv:1804.06788) and ``minibatches`` (memory,
speed, and where they end). Figures are printed and, with --json, written; nothing here asserts a
time.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import unigrn
from unigrn.methods.bitfam import BetaFactors, bitfam
from unigrn.methods.pmf_grn import GaussianFactors, pmf_grn
from unigrn.solvers import gradient, stochastic
from unigrn.solvers.optimality import Options
from unigrn.spec import Minibatch, Slots
from unigrn.terms import PriorView, View

SIZES = {
    "steps": {
        "full": (2000, 50, 500, 3000),
        "small": (400, 20, 100, 20000),
        "tiny": (40, 3, 8, 60),
    },
    "recovery": {"full": (2000, 50, 500), "small": (400, 20, 100), "tiny": (60, 4, 20)},
    "masks": {"full": (2000, 50, 500), "small": (400, 20, 100), "tiny": (60, 4, 20)},
    "ranks": {"full": (200, 40, 2, 6), "small": (100, 40, 2, 6), "tiny": (12, 20, 2, 4)},
    "minibatches": {
        "full": (100_000, 50, 2000, 2048, 1),
        "small": (2000, 10, 100, 256, 300),
        "tiny": (200, 3, 10, 64, 5),
    },
}
TOLERANCE = np.float32(1e-6)
BLOCK = 5000  # cells drawn at once
RATE, DECAYS, CLIP = 0.1, (0.9, 0.99), 1e-4  # Adam as in PMF-GRN's program


def views(y: Any, weight: np.ndarray) -> tuple[View, PriorView]:
    """Return data and prior as terms see them; the regulators' own expression is not read."""
    w, yes = jnp.asarray(weight, jnp.float32), jnp.ones(weight.shape, bool)
    prior = PriorView(w > 0, w, (w > 0).astype(jnp.int8), ~yes, yes)
    x = jnp.zeros((y.shape[0], weight.shape[0]), jnp.float32)
    return View(x=x, y=jnp.asarray(y, jnp.float32), key=jax.random.key(0)), prior


def slots(spec: Any) -> Slots:
    """Return the terms of a spec as a solver takes them."""
    spec = spec.replace(constraint=None)
    return Slots(spec.shape, spec.terms)


def simulated(cells: int, q: int, p: int, seed: int = 0, draw: int = 0) -> SimpleNamespace:
    """Return expression of pmf_grn's process for a sparse network, and a prior with errors.

    A tenth of the edges exists; the prior misses 30 % of them, and 7 % of the others it names.
    """
    rng = np.random.default_rng(seed)
    exists = rng.random((q, p)) < 0.1
    known = exists ^ (rng.random((q, p)) < np.where(exists, 0.3, 0.07))
    given = {
        "theta": jnp.asarray(exists * rng.normal(size=(q, p)), jnp.float32),
        "edge": jnp.where(exists, 30.0, -30.0).astype(jnp.float32),
        "noise": jnp.asarray(0.0, jnp.float32),
    }
    blank, prior = views(np.zeros((cells, p), np.float32), np.full((q, p), 0.5))
    process = GaussianFactors(0.01, 0.99, 1.0, 1.0, 1.0)
    drawn = jax.jit(lambda k: process.simulate(k, blank, prior, given))(jax.random.key(draw))
    return SimpleNamespace(
        y=np.asarray(drawn["expression"]),
        activity=np.asarray(drawn["activity"]),
        exists=exists,
        known=known,
    )


def precision(score: np.ndarray, truth: np.ndarray) -> float:
    """Return the average precision; ties count in expectation over their order."""
    order = np.random.default_rng(0).permutation(score.size)
    order = order[np.argsort(-score.ravel()[order], kind="stable")]
    hits = truth.ravel()[order]
    return float((np.cumsum(hits) / np.arange(1, hits.size + 1))[hits].mean())


@functools.cache
def solver(spec: Any) -> Any:
    """Return L-BFGS for the terms of a spec, compiled once for all caps of its steps."""
    terms = slots(spec)
    return jax.jit(lambda d, p, most: gradient.solve(terms, d, p, Options(TOLERANCE, most)))


def fitted(spec: Any, data: View, prior: PriorView, most: int = 4000) -> tuple[Any, float]:
    """Fit a whole network by L-BFGS; return the fit and its seconds, compilation included."""
    start = time.perf_counter()
    fit = jax.block_until_ready(solver(spec)(data, prior, jnp.asarray(most, jnp.int32)))
    return fit, time.perf_counter() - start


def steps(cells: int, q: int, p: int, most: int) -> dict[str, Any]:
    """L-BFGS beside Adam with the released settings, fresh draws, from the same start.

    Adam sees one draw a step, at rate .1 with betas .9 and .99 and every block's gradient of
    the loss over cells x regulators clipped to length 1e-4; its divergence is in closed form, which
    has less noise than the released program's draws of it.
    """
    world = simulated(cells, q, p)
    data, prior = views(world.y, world.known * 1.0)
    spec = pmf_grn(None)
    fit, seconds = fitted(spec, data, prior)
    terms = slots(spec)
    drawn = [
        type(t)(t.process, site=t.site, draws=1, fresh=True) if t.kind == "loss" else t
        for t in spec.terms
        if t.kind != "constraint"
    ]
    start = terms.start(data, prior)
    adam = optax.scale_by_adam(b1=DECAYS[0], b2=DECAYS[1], eps=1e-8)

    def loss(params, key):
        return sum(t(params, data.replace(key=key), prior) for t in drawn) / (cells * q)

    def step(carry, key):
        params, state = carry
        g = jax.grad(loss)(params, key)
        g = jax.tree.map(lambda v: v * jnp.minimum(1, CLIP / (jnp.linalg.norm(v) + 1e-6)), g)
        moves, state = adam.update(g, state)
        return (jax.tree.map(lambda v, m: v - RATE * m, params, moves), state), None

    @jax.jit
    def epoch(carry, key):
        carry, _ = jax.lax.scan(step, carry, jax.random.split(key, 20))
        return carry, sum(t(carry[0], data, prior) for t in terms.terms)

    carry, trace, begin = (start, adam.init(start)), [], time.perf_counter()
    for i in range(max(most // 20, 1)):
        carry, value = epoch(carry, jax.random.fold_in(jax.random.key(1), i))
        trace.append(float(value))
    spent = time.perf_counter() - begin
    # Where L-BFGS passed the best that Adam found: solved again with fewer steps.
    reached = least = None
    for cap in (10, 20, 40, 60, 80, 120, 160, 240, 320, 480, 640):
        own, _ = fitted(spec, data, prior, cap)
        if float(own.value) <= min(trace):
            reached, least = cap, float(own.value)
            break
    return {
        "L-BFGS: steps, residual, seconds, -ELBO": [
            int(fit.iterations),
            float(fit.residual),
            seconds,
            float(fit.value),
        ],
        "Adam: steps, seconds, lowest -ELBO, at step": [
            20 * len(trace),
            spent,
            min(trace),
            20 * (1 + int(np.argmin(trace))),
        ],
        "L-BFGS steps to Adam's lowest": [reached, least],
    }


def worlds(cells: int, q: int, p: int) -> Iterator[tuple[str, SimpleNamespace]]:
    """Give for each method data of its own process.

    A tenth of the edges exists, the prior misses 30 % of them and names 7 % of the others. The
    values of regulators are what |Pearson| is given: the true activities, or their logarithms.
    """
    world = simulated(cells, q, p)
    exists, known = world.exists, world.known
    rng = np.random.default_rng(2)
    weight = exists * rng.normal(size=(q, p))
    noise = rng.normal(size=(cells, p))
    share = rng.beta(0.5, 0.5, (cells, q))
    above = np.abs(rng.normal(size=(cells, q)))
    mixed = rng.normal(size=(cells, 1)) + rng.normal(size=(cells, q))  # correlated by a half
    own = {
        "pmf_grn": (world.activity, world.y, None),  # weights are known up to those of activities
        "bitfam": (share, share @ weight + noise, weight),
        "tiger": (above, above @ weight + noise, weight),
        "linear_gaussian": (mixed, mixed @ weight + 10 * noise, weight),
    }
    for name, (x, y, true) in own.items():
        yield name, SimpleNamespace(x=x, y=y, exists=exists, known=known, weight=true)


def recovery(cells: int, q: int, p: int) -> dict[str, Any]:
    """Average precision of edges that exist, off the prior too; calibration; intervals.

    Beside prior alone, |Pearson| and a permuted prior. Calibration is that of ``probability``,
    coverage that of the intervals of edges that exist, in units of the values.
    """
    out: dict[str, Any] = {}
    order = np.random.default_rng(1).permutation(p)
    for name, world in worlds(cells, q, p):
        out |= beside(name, world, world.known, world.exists)
        for label, known in ((name, world.known), (f"{name}, permuted", world.known[:, order])):
            # tiger's default is a hard mask, which has no edge off the prior to find.
            how = {"mask": "soft"} if name == "tiger" else {}
            found, fit, seconds = read(name, world, known, **how)
            out[label] = precision(found["score"], world.exists)
            out[f"{label}: edges off the prior"] = precision(
                found["score"][~known], world.exists[~known]
            )
            if "probability" in found:
                out[f"{label}: calibration error"] = calibration(found["probability"], world.exists)
            if world.weight is not None and known is world.known:
                inside = (found["lower"] <= world.weight) & (world.weight <= found["upper"])
                both = world.exists & known, world.exists & ~known
                out[f"{label}: coverage of 95 % intervals on, off the prior"] = [
                    float(inside[some].mean()) for some in both
                ]
            out[f"{label}: steps, residual, seconds"] = [
                int(fit.iterations.max()),
                float(fit.residual.max()),
                seconds,
            ]
    return out


def beside(name: str, world: SimpleNamespace, known: Any, truth: Any, of: Any = slice(None)) -> Any:
    """Return what the prior alone and |Pearson| reach, on some of the targets."""
    x, y = ((v - v.mean(0)) / v.std(0) for v in (world.x, world.y))
    return {
        f"{name}: prior alone": precision(known[:, of] * 1.0, truth[:, of]),
        f"{name}: |Pearson| with true activities": precision(np.abs(x.T @ y)[:, of], truth[:, of]),
    }


def read(name: str, world: SimpleNamespace, known: np.ndarray, **how: Any) -> tuple[Any, Any, Any]:
    """Fit a method; return the columns of its edges as arrays, the fit and its seconds."""
    q, p = known.shape
    names = [f"r{i:03}" for i in range(q)] + [f"t{i:04}" for i in range(p)]
    data = unigrn.Data.from_arrays(np.concatenate([world.x, world.y], axis=1), names)
    i, j = np.nonzero(known)
    table = {"source": np.array(names[:q])[i], "target": np.array(names[q:])[j]}
    spec = unigrn.methods.get(name).function(unigrn.Prior.from_edges(pd.DataFrame(table)), **how)
    start = time.perf_counter()
    fit = unigrn.fit(
        spec.replace(scale=None), data, regulators=names[:q], targets=names[q:], max_iterations=5000
    )
    seconds = time.perf_counter() - start
    edges = fit.network().edges.set_index(["source", "target"])
    edges = edges.reindex(pd.MultiIndex.from_product([names[:q], names[q:]]))
    return {c: edges[c].to_numpy().reshape(q, p) for c in edges.columns}, fit, seconds


def masks(cells: int, q: int, p: int) -> dict[str, Any]:
    """Average precision where the prior knows half of the targets: it soft, hard, or as data.

    Each on data of the method's process (`worlds`), beside prior alone, |Pearson| and a permuted
    prior; of targets that the prior has edges of, and of those that it has not. Edges that a hard
    mask leaves out come last.
    """
    out: dict[str, Any] = {}
    order = np.random.default_rng(1).permutation(p // 2)
    halves = {"targets in the prior": slice(0, p // 2), "hidden": slice(p // 2, p)}
    for name, world in worlds(cells, q, p):
        if name == "bitfam":
            continue
        known = world.known & (np.arange(p) < p // 2)[None, :]
        permuted = np.concatenate([known[:, order], known[:, p // 2 :]], axis=1)
        for half, of in halves.items():
            both = beside(name, world, known, world.exists, of)
            out |= {f"{what}, {half}": value for what, value in both.items()}
        for mask in ("soft", "data", "hard"):
            for label, given in (
                (f"{name}, {mask}", known),
                (f"{name}, {mask}, permuted", permuted),
            ):
                found, fit, _ = read(name, world, given, mask=mask)
                score = np.nan_to_num(found["score"], nan=-1.0)
                for half, of in halves.items():
                    out[f"{label}: {half}"] = precision(score[:, of], world.exists[:, of])
                reached = fit.residual[
                    np.isfinite(fit.residual)
                ]  # targets without candidates: none
                out[f"{label}: steps, residual"] = [int(fit.iterations.max()), float(reached.max())]
    return out


def calibration(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of probabilities from the share of edges that exist, in ten bins."""
    bins = np.clip((found * 10).astype(int), 0, 9)
    return float(
        sum(
            (bins == b).mean() * abs(found[bins == b].mean() - truth[bins == b].mean())
            for b in np.unique(bins)
        )
    )


def ranks(count: int, cells: int, q: int, p: int) -> dict[str, Any]:
    """Kolmogorov-Smirnov p values of the ranks of what was drawn in its posterior.

    Of every simulated data set one entry of each latent counts, so that the ranks are independent.
    Ranks of a Normal guide are values of its distribution function.
    """
    out: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    # linear_gaussian: every target is a data set; its guide is exact where regulators are
    # orthogonal, and too narrow where they correlate.
    for name, mix in (("orthogonal", 0.0), ("correlated", 0.8)):
        x = np.linalg.qr(rng.normal(size=(cells, q + 1)))[0][:, 1:]
        x = np.linalg.qr(x - x.mean(axis=0))[0] * np.sqrt(cells)
        if mix:
            x = np.sqrt(1 - mix) * x + np.sqrt(mix) * x[:, :1]
            x = (x - x.mean(0)) / x.std(0)
        theta = rng.normal(size=(q, count))
        y = x @ theta + rng.normal(size=(cells, count))
        names = [f"r{i}" for i in range(q)] + [f"t{i:04}" for i in range(count)]
        table = unigrn.Data.from_arrays(np.concatenate([x, y], axis=1), names)
        prior = unigrn.Prior.from_dict({t: names[:q] for t in names[q:]})
        spec = unigrn.methods.get("linear_gaussian").function(prior, noise_variance=1.0)
        edges = (
            unigrn.fit(spec.replace(scale=None), table, regulators=names[:q], targets=names[q:])
            .network()
            .edges
        )
        edges = edges[edges["source"] == "r1"].set_index("target").loc[names[q:]]
        place = (theta[1] - edges["weight"]) / np.sqrt(edges["variance"])
        out[f"linear_gaussian, {name} regulators: theta"] = float(
            stats.kstest(stats.norm.cdf(place), "uniform").pvalue
        )
    weight = np.where(rng.random((q, p)) < 0.5, 0.8, 0.2)
    known = np.ones((q, p)) * (np.arange(q)[:, None] == np.arange(p)[None] % q)
    processes = {
        "pmf_grn": (GaussianFactors(0.01, 0.99, 1.0, 1.0, 1.0), pmf_grn(None), weight),
        "bitfam": (BetaFactors(0.5, 2.0), bitfam(None, off=0.5, hyperprior=2.0), known),
    }
    options = Options(jnp.asarray(1e-5, jnp.float32), jnp.asarray(3000, jnp.int32))
    for name, (process, spec, prior_weight) in processes.items():
        blank, prior = views(np.zeros((cells, p), np.float32), prior_weight)
        terms = slots(spec)

        def one(key, process=process, blank=blank, prior=prior, terms=terms):
            drawn = process.simulate(key, blank, prior)
            data = blank.replace(y=drawn["expression"].astype(jnp.float32), key=key)
            fit = gradient.solve(terms, data, prior, options)
            return drawn, fit

        drawn, fit = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(2), count))
        done = np.asarray(fit.status) == 0
        out[f"{name}: converged"] = float(done.mean())
        for latent in process.latents:
            value = np.asarray(drawn[latent], float).reshape(count, -1)[:, 0]
            if name == "bitfam" and latent == "activity":
                value = np.log(value) - np.log1p(-value)
            elif name == "bitfam" and latent in ("precision", "noise"):
                value = np.log(value)
            loc = np.asarray(fit.params[latent], float).reshape(count, -1)[:, 0]
            sd = np.exp(np.asarray(fit.params[f"log_sd_{latent}"], float).reshape(count, -1)[:, 0])
            place = stats.norm.cdf((value - loc) / sd)
            place = place[np.isfinite(place)]
            out[f"{name}: {latent}"] = float(stats.kstest(place, "uniform").pvalue)
    return out


def minibatches(cells: int, q: int, p: int, size: int, epochs: int) -> dict[str, Any]:
    """Peak memory, steps a second, and the -ELBO beside that of L-BFGS where all cells fit it.

    Values are drawn BLOCK cells at a time: whole arrays beside them are the solver's own.
    """
    values = np.empty((cells, p), np.float32)
    for first in range(0, cells, BLOCK):
        part = simulated(min(BLOCK, cells - first), q, p, draw=first)
        values[first : first + BLOCK] = part.y
    data, prior = views(values, part.known * 1.0)
    del values
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    terms = slots(pmf_grn(None).replace(minibatch=Minibatch(size, epochs)))
    options = Options(TOLERANCE, jnp.asarray(1, jnp.int32))
    start = time.perf_counter()
    run = jax.jit(lambda d, p: stochastic.solve(terms, d, p, options)).lower(data, prior).compile()
    compiled = time.perf_counter() - start
    fit = jax.block_until_ready(run(data, prior))
    seconds = time.perf_counter() - start - compiled
    out = {
        "steps, -ELBO, residual": [int(fit.iterations), float(fit.value), float(fit.residual)],
        "seconds to compile, to run": [compiled, seconds],
        # Beside its steps a fit takes CHECKS gradients, and four of all cells.
        "gradients of a minibatch a second": (int(fit.iterations) + stochastic.CHECKS) / seconds,
        "peak memory, before and after, GiB": [
            before,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        ],
    }
    if cells <= BLOCK:
        whole, _ = fitted(pmf_grn(None), data, prior)
        out["all cells by L-BFGS: steps, -ELBO"] = [int(whole.iterations), float(whole.value)]
    return out


PARTS = {
    "steps": steps,
    "recovery": recovery,
    "masks": masks,
    "ranks": ranks,
    "minibatches": minibatches,
}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=sorted(PARTS))
    parser.add_argument("--size", default="full", choices=("full", "small", "tiny"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    out = {}
    for name in given.part or PARTS:
        start = time.process_time()
        out[name] = PARTS[name](*SIZES[name][given.size])
        out[name]["CPU seconds"] = time.process_time() - start
        print(name, "x".join(map(str, SIZES[name][given.size])))
        for what, value in out[name].items():
            shown = value if isinstance(value, list) else [value]
            print(f"  {what}:", *(f"{v:.6g}" if isinstance(v, float) else v for v in shown))
        sys.stdout.flush()
    if given.json:
        given.json.write_text(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
