"""Time one sweep of NetREX-CF in unigrn beside plain NumPy, from the same state.

    python examples/benchmarks/netrex_cf.py [--size small medium large] [--json FILE]

A sweep updates activities, network and both factor matrices of a simulated problem, all rows, with
the released step rules. The peer is `unigrn.verify.originals_netrex`: one dense direct solve a row.
Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # runs from a checkout too, where unigrn is not installed

import jax  # noqa: E402
import numpy as np  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

from unigrn.methods.netrex_cf import netrex_cf  # noqa: E402
from unigrn.solvers import palm  # noqa: E402
from unigrn.terms import Blocks, PriorView, View  # noqa: E402
from unigrn.verify import originals_netrex as original  # noqa: E402

# targets, regulators, cells, factors, sweeps timed, density of the prior, whether NumPy runs too
SIZES = {
    "tiny": (60, 20, 30, 10, 2, 0.2, False),  # what the tests run
    "small": (500, 100, 100, 50, 50, 0.10, True),
    "medium": (2000, 300, 200, 50, 10, 0.05, True),
    "large": (7000, 460, 400, 150, 3, 0.03, False),
}
# Seconds per outer iteration of the released class on one thread, as recorded for these sizes.
RELEASED = {"small": 0.26, "medium": 4.8}


def simulate(targets, regulators, cells, factors, density, seed=0):
    """Draw evidence, expression that follows a sparse network, and a state to sweep from."""
    rng = np.random.default_rng(seed)
    shape = (regulators, targets)
    evidence = np.where(rng.random(shape) < density, rng.uniform(0.2, 1, shape), 0)
    theta = np.where(evidence > 0, rng.normal(size=shape), 0) * (rng.random(shape) < 0.7)
    a = rng.normal(size=(regulators, cells))
    y = a.T @ theta + 0.3 * rng.normal(size=(cells, targets))
    start = Blocks(
        theta=theta,
        A=a,
        U=0.1 * rng.normal(size=(factors, targets)),
        V=0.1 * rng.normal(size=(factors, regulators)),
    )
    return evidence, y, start


def peak() -> float:
    """Largest resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def gigaflops(targets, regulators, cells, factors, steps) -> float:
    """Multiply-adds that a sweep needs, as 1e9 operations: products only.

    ``steps`` counts the conjugate gradient steps of U and of V; each is two products, and one more
    each makes the right-hand side. Norms: the cheaper of their two forms.
    """
    n, m, k = targets, regulators, factors
    norms = sum(min(1.2 * r * r * c + r * r * k, 2 * k * k * r * c) for r, c in ((m, n), (n, m)))
    factor = (4 * steps + 2 * 2) * k * n * m + norms
    expression = 2 * n * m * cells * 4 + 2 * m * m * (n + 2 * cells)
    return (factor + expression + 3 * 2 * k * n * m) / 1e9


def rate(dtype) -> float:
    """Measured product rate of this machine, in GFLOP/s."""
    with jax.enable_x64(dtype == "float64"):
        a = jax.numpy.ones((2000, 2000), dtype)
        product = jax.jit(lambda x: x @ x)
        product(a).block_until_ready()
        began = time.perf_counter()
        for _ in range(3):
            product(a).block_until_ready()
        return 3 * 16.0 / (time.perf_counter() - began)


def unigrn(size, dtype, steps):
    """Return seconds of the first call and per warm sweep, and the state after the sweeps."""
    n, m, cells, k, sweeps, density, _ = SIZES[size]
    evidence, y, start = simulate(n, m, cells, k, density)
    ones = np.ones_like(evidence, dtype)
    prior = PriorView(
        evidence > 0,
        evidence.astype(dtype),
        ones.astype(np.int32),
        ones < 0,
        ones > 0,
        {"prior": evidence.astype(dtype)},
    )
    spec = netrex_cf(None, factors=k, evidence=(3.0,), steps=steps).replace(
        start=lambda *_: jax.tree.map(lambda v: v.astype(dtype), start)
    )
    view = View(x=y[:, :m].astype(dtype), y=y.astype(dtype), weight=np.ones(cells, dtype))
    with jax.enable_x64(dtype == "float64"), threadpool_limits(1, "blas"):
        keys = jax.random.split(jax.random.key(0), 1)
        off = np.asarray(-1, dtype)
        limits = palm.Limits(off, off, off, np.int32(10**6), np.asarray(True))

        def run(until):
            terms, states = palm.begin(spec.shape, spec.terms, view, prior, keys)
            jax.block_until_ready(states)
            began = time.perf_counter()
            states = palm.advance(
                spec.shape, terms, states, view, prior, keys, limits, np.int32(until)
            )
            jax.block_until_ready(states)
            return time.perf_counter() - began, states

        cold, _ = run(1)
        warm = min(run(sweeps)[0] for _ in range(3)) / sweeps
        state = jax.tree.map(lambda v: np.asarray(v[0]), run(sweeps)[1].params)
    return cold, warm, state


def plain(size):
    """Return seconds per sweep of the NumPy original and its state after the sweeps."""
    n, m, cells, k, sweeps, density, _ = SIZES[size]
    evidence, y, start = simulate(n, m, cells, k, density)
    c = 3.0 * evidence / evidence.max()
    problem = original.netrex_cf_problem(y.T, c.T, eta0=0.1)
    state = original.netrex_cf_state(problem, start.theta.T, start.A, start.U, start.V)
    began = time.perf_counter()
    states = original.netrex_cf_run(problem, state, iterations=sweeps)
    return (time.perf_counter() - began) / sweeps, states[-1]


def main(arguments: list[str] | None = None) -> int:
    """Time the sizes asked for and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs="+", choices=list(SIZES), default=["small", "medium"])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    results = []
    for size in given.size:
        n, m, cells, k, sweeps, _, beside = SIZES[size]
        print(f"\n{size}: {n} targets, {m} regulators, {cells} cells, {k} factors; {sweeps} sweeps")
        reference = plain(size) if beside else None
        for dtype in ("float32", "float64"):
            fast = rate(dtype)
            for steps in ("safe", "released"):
                cold, warm, state = unigrn(size, dtype, steps)
                row = {
                    "size": size,
                    "dtype": dtype,
                    "steps": steps,
                    "first_call_s": cold,
                    "sweep_s": warm,
                    "peak_GB": peak(),
                }
                row["bound_s"] = gigaflops(n, m, cells, k, 5 if dtype == "float32" else 11) / fast
                text = (
                    f"  unigrn {dtype} {steps:8s} first call {cold:6.2f} s, sweep "
                    f"{1e3 * warm:8.2f} ms, {warm / row['bound_s']:.1f} x its products at "
                    f"{fast:.0f} GFLOP/s"
                )
                if size in RELEASED:
                    row["released_over_unigrn"] = RELEASED[size] / warm
                    text += f"; released {RELEASED[size] / warm:.0f} x slower"
                if reference is not None:
                    row["numpy_over_unigrn"] = reference[0] / warm
                    text += f", NumPy {reference[0] / warm:.0f} x"
                    if steps == "released":
                        theirs = reference[1]
                        row["difference"] = max(
                            float(np.abs(a - b).max() / np.abs(b).max())
                            for a, b in (
                                (state.theta.T, theirs.S),
                                (state.A, theirs.A),
                                (state.U.T @ state.V, theirs.X.T @ theirs.Y),
                            )
                        )
                        text += f"; largest difference {row['difference']:.1e}"
                print(text, flush=True)
                results.append(row)
        if reference is not None:
            print(f"  NumPy float64 released: {1e3 * reference[0]:.1f} ms a sweep")
    print(f"\npeak memory of this process: {peak():.2f} GB")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
