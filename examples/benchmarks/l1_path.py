"""Time lasso paths of all targets in unigrn beside scikit-learn's and adelie's loops over targets.

    python examples/benchmarks/l1_path.py [--size tiny|small|full] [--share 0.1] [--json FILE]

Regulators share fifteen factors (cells of a tissue do); every target follows ten of them, half of
its variance is noise. All contestants get the same penalties, in equal ratios from the largest
slope at 0 of any target to a hundredth of it, and the moments' Gram matrix where they take one;
unigrn is timed from the cells to the weights of every penalty, its certificates included. The peers
are loops over targets on one thread; ``--share`` does so many of the targets and multiplies. Their
tolerances are the loosest powers of ten at which every duality gap is small enough. Gaps are
computed afterwards in double precision for every target and penalty, relative to the objective of
the empty network. Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # runs from a checkout too, where unigrn is not installed

import numpy as np  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

import unigrn  # noqa: E402

# cells, regulators, targets, penalties
SIZES = {"tiny": (60, 12, 20, 8), "small": (300, 100, 256, 20), "full": (1000, 300, 2000, 50)}
GAP = 1e-4
REPEATS = 3


def simulate(cells: int, regulators: int, targets: int, seed: int = 0):
    """Draw correlated regulators and targets that follow ten of them, all of deviation 1."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(cells, 15)) @ (0.4 * rng.normal(size=(15, regulators)))
    x = shared + rng.normal(size=(cells, regulators))
    theta = np.zeros((regulators, targets))
    for column in theta.T:
        column[rng.choice(regulators, 10, replace=False)] = rng.normal(size=10)
    y = x @ theta
    y += y.std(axis=0) * rng.normal(size=y.shape)
    return tuple((v - v.mean(axis=0)) / v.std(axis=0) for v in (x, y))


def gaps(theta: np.ndarray, gram, cross, square, penalty: float) -> np.ndarray:
    """Return relative duality gaps of |y - x theta|^2 / 2 + penalty |theta|_1, target by target."""
    slope = cross - gram @ theta
    explained = (theta * cross).sum(axis=0)
    rest = square - explained - (theta * slope).sum(axis=0)
    value = rest / 2 + penalty * np.abs(theta).sum(axis=0)
    shrink = np.minimum(1, penalty / np.maximum(np.abs(slope).max(axis=0), 1e-300))
    bound = shrink * (square - explained) - shrink**2 * rest / 2
    return (value - bound) / (square / 2)


def with_unigrn(x, y, penalties, dtype: str, tolerance: float | None):
    """Return (theta (penalties, regulators, targets), seconds) by call, the first one cold."""
    q, p = x.shape[1], y.shape[1]
    names = [f"r{j:05d}" for j in range(q)] + [f"t{t:05d}" for t in range(p)]
    data = unigrn.Data.from_arrays(np.c_[x, y], names, dtype=dtype)
    spec = unigrn.Spec(unigrn.least_squares(), unigrn.l1(1.0))
    spec = unigrn.path(spec, "L1.strength", 2 * penalties, choose=None)

    def run():
        found = unigrn.fit(spec, data, regulators=names[:q], targets=names[q:], tolerance=tolerance)
        return found, np.stack(
            [found.statistics[f"weight[{2 * v:g}]"][0].reshape(p, q).T for v in penalties]
        )

    times = []
    for _ in range(1 + REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        found, theta = run()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return theta.astype(np.float64), times, found


def with_sklearn(x, y, gram, cross, penalties, tolerance: float) -> np.ndarray:
    """`sklearn.linear_model.lasso_path` for one target after the other, on a given Gram matrix."""
    from sklearn.linear_model import lasso_path

    n, design, out = len(x), np.asfortranarray(x), []
    for t in range(y.shape[1]):
        xy = np.ascontiguousarray(cross[:, t])
        out.append(
            lasso_path(
                design,
                y[:, t],
                alphas=penalties / n,
                precompute=gram,
                Xy=xy,
                tol=tolerance,
                check_input=False,
            )[1]
        )
    return np.stack(out, axis=-1).transpose(1, 0, 2)


def with_adelie(x, y, gram, cross, penalties, tolerance: float) -> np.ndarray:
    """`adelie.solver.gaussian_cov` for one target after the other, on a given Gram matrix."""
    import adelie  # pyright: ignore[reportMissingImports]

    n, out = len(x), []
    for t in range(y.shape[1]):
        state = adelie.solver.gaussian_cov(
            A=gram / n,
            v=np.ascontiguousarray(cross[:, t]) / n,
            lmda_path=penalties / n,
            early_exit=False,
            tol=tolerance,
            progress_bar=False,
            n_threads=1,
        )
        out.append(state.betas.toarray())
    return np.stack(out, axis=-1)


def rate() -> float:
    """Products per second of large float32 matrices with all threads, in GFLOP/s."""
    a = np.ones((2000, 2000), np.float32)
    best = np.inf
    for _ in range(4):
        start = time.perf_counter()
        _ = a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 2000**3 / best / 1e9


def work(theta: np.ndarray) -> tuple[float, float]:
    """Operations and bytes of one exact solve and one certificate for every fit.

    A product of the Gram matrix with its coefficients (2 q^2) and a factorisation of the k x k
    system of those that are not 0 (k^3 / 3 + 2 k^2); coefficients are written once, in float32.
    """
    k, q = (theta != 0).sum(axis=1).astype(float), theta.shape[1]
    return float((2 * q * q + k**3 / 3 + 2 * k**2).sum()), 4.0 * theta.size


def main() -> int:
    """Run all contestants that are installed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--share", type=float, default=0.1, help="share of targets for the peers")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--tolerance", type=float, help="of unigrn's residual; its default")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cells, q, p, count = SIZES[given.size]
    x, y = simulate(cells, q, p)
    gram, cross, square = x.T @ x, x.T @ y, (y**2).sum(axis=0)
    penalties = np.geomspace(np.abs(cross).max(), 0.01 * np.abs(cross).max(), count)
    print(f"{p:,} targets x {q} regulators, {cells:,} cells, {count} penalties", flush=True)
    print(f"load before the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)

    def worst(theta, targets):
        return max(
            float(gaps(v, gram, cross[:, targets], square[targets], penalty).max())
            for v, penalty in zip(theta, penalties, strict=True)
        )

    theta, times, found = with_unigrn(x, y, penalties, given.dtype, given.tolerance)
    wall, cpu = (float(np.median([t[i] for t in times[1:]])) for i in (0, 1))
    statuses = np.bincount(found.status.ravel(), minlength=1)
    operations, moved = work(theta)
    fast = rate()
    row = {
        "contestant": f"unigrn {given.dtype}",
        "cold_s": times[0][0],
        "wall_s": wall,
        "cpu_s": cpu,
        "gap": worst(theta, np.arange(p)),
        "converged": int(statuses[0]),
        "targets": p,
        "solver": found.plan.solver.name,
        "GFLOP": operations / 1e9,
        "MB": moved / 1e6,
        "bound_s": operations / 1e9 / fast,
    }
    rows = [row]
    print(
        f"unigrn: cold {times[0][0]:.2f} s, warm {wall:.3f} s, CPU {cpu:.3f} s, largest gap "
        f"{row['gap']:.1e}, {statuses[0]:,} of {p:,} targets converged ({row['solver']})\n"
        f"  {row['GFLOP']:.1f} GFLOP and {row['MB']:.0f} MB at least, {row['bound_s']:.3f} s at "
        f"{fast:.0f} GFLOP/s: {wall / row['bound_s']:.1f} times that",
        flush=True,
    )
    some = np.arange(0, p, max(1, round(1 / given.share)))
    peers = {
        "scikit-learn lasso_path": (with_sklearn, 10.0 ** np.arange(-4, -9, -1)),
        "adelie gaussian_cov": (with_adelie, 10.0 ** np.arange(-7, -15, -1)),
    }
    for name, (solve, tolerances) in peers.items():
        try:
            for tolerance in tolerances:
                with threadpool_limits(1), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # gaps are judged below
                    start, begun = time.perf_counter(), time.process_time()
                    other = solve(x, y[:, some], gram, cross[:, some], penalties, tolerance)
                    spent = time.perf_counter() - start, time.process_time() - begun
                if (gap := worst(other, some)) <= GAP:
                    break
        except ImportError:
            print(f"{name}: not installed")
            continue
        factor = p / len(some)
        seconds, theirs = factor * spent[0], factor * spent[1]
        apart = float(np.abs(other - theta[:, :, some]).max())
        rows.append(
            {
                "contestant": name,
                "wall_s": seconds,
                "cpu_s": theirs,
                "tolerance": float(tolerance),
                "gap": gap,
                "share": len(some) / p,
                "over_unigrn": seconds / wall,
                "cpu_over_unigrn": theirs / cpu,
                "difference": apart,
            }
        )
        print(
            f"{name}: {seconds:.2f} s, CPU {theirs:.2f} s (tolerance {tolerance:g}, largest gap "
            f"{gap:.1e}, {len(some):,} targets done): {seconds / wall:.1f} x in wall clock, "
            f"{theirs / cpu:.1f} x in CPU; coefficients differ by at most {apart:.1e}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
