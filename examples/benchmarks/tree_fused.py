"""Time networks of all groups of cells, fused along a lineage tree, and bound their error.

    python examples/benchmarks/tree_fused.py [--size tiny|small|full] [--dtype ...] [--json FILE]

Regulators share factors (cells of a tissue do). The root's targets follow a tenth of the
regulators; from a group to each of its children one edge in a hundred comes or goes. Every edge
may differ: no target has its candidates cut down. unigrn is timed from the cells to the weights of
all groups, its certificates included. Afterwards the duality gap of every target is computed in
NumPy from the coefficients alone, relative to the objective of the empty network: a dual point is
made from the slopes of the groups, with what flows along the tree clipped to its price. Nothing
here asserts a time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # runs from a checkout too, where unigrn is not installed

import numpy as np  # noqa: E402

import unigrn  # noqa: E402

# groups, targets, regulators, cells of a group
SIZES = {"tiny": (4, 8, 6, 40), "small": (12, 100, 40, 100), "full": (50, 500, 100, 200)}
STRENGTH, FUSION = 0.05, 0.1


def simulate(groups: int, targets: int, regulators: int, cells: int, seed: int = 0):
    """Draw a tree, and cells whose edges change along it; all genes of deviation 1."""
    rng = np.random.default_rng(seed)
    parent = [-1, *(int(rng.integers(0, i)) for i in range(1, groups))]
    shape = (regulators, targets)
    theta = np.zeros((groups, *shape))
    theta[0] = np.where(rng.random(shape) < 0.1, rng.normal(size=shape), 0)
    for child, of in enumerate(parent[1:], 1):
        switched = np.where(theta[of] != 0, 0, rng.normal(size=shape))
        theta[child] = np.where(rng.random(shape) < 0.01, switched, theta[of])
    blocks = []
    for own in theta:
        x = 0.4 * rng.normal(size=(cells, 15)) @ rng.normal(size=(15, regulators))
        x += rng.normal(size=x.shape)
        y = x @ own
        y += (y.std(axis=0) + 0.1) * rng.normal(size=y.shape)
        blocks.append(np.c_[x, y])
    values = np.concatenate(blocks)
    return parent, values / values.std(axis=0)


def gaps(theta, values, parent, cells: int) -> np.ndarray:
    """Return the relative duality gap of every target; theta (groups, regulators, targets).

    With residuals r_g and slopes s_g = 2 X_g' r_g / n, the objective is nowhere below
    sum_g (2 c r_g y_g - c^2 r_g^2) / n where the slopes c s_g can be paid for: each group pays up
    to STRENGTH itself and sends up to FUSION along every edge of the tree. The largest such c <= 1
    is bisected.
    """
    groups, q, _ = theta.shape
    x = values[:, :q].reshape(groups, cells, q)
    y = values[:, q:].reshape(groups, cells, -1)
    x, y = (v - v.mean(axis=1, keepdims=True) for v in (x, y))
    rest = y - np.einsum("gnq,gqp->gnp", x, theta)
    slope = 2 * np.einsum("gnq,gnp->gqp", x, rest) / cells
    value = (rest**2).sum(axis=(0, 1)) / cells + STRENGTH * np.abs(theta).sum(axis=(0, 1))
    for child, of in enumerate(parent[1:], 1):
        value += FUSION * np.abs(theta[child] - theta[of]).sum(axis=0)
    share, far = np.zeros(y.shape[2]), np.ones(y.shape[2])
    share[paid(slope, parent)] = 1
    for _ in range(45):
        middle = (share + far) / 2
        fine = paid(middle * slope, parent)
        share, far = np.where(fine, middle, share), np.where(fine, far, middle)
    bound = 2 * share * (rest * y).sum(axis=(0, 1)) - share**2 * (rest**2).sum(axis=(0, 1))
    return (value - bound / cells) / ((y**2).sum(axis=(0, 1)) / cells)


def paid(slope, parent) -> np.ndarray:
    """Whether the slopes of every target, (groups, regulators, targets), can be paid for.

    From the leaves to the root: what may be sent to the parent is an interval.
    """
    low, high = slope - STRENGTH, slope + STRENGTH
    fine = np.ones(slope.shape[1:], bool)
    for child in range(len(parent) - 1, 0, -1):  # children have larger numbers than their parents
        least, most = np.maximum(low[child], -FUSION), np.minimum(high[child], FUSION)
        fine &= least <= most
        low[parent[child]] += least
        high[parent[child]] += most
    return (fine & (low[0] <= 0) & (high[0] >= 0)).all(axis=0)


def main() -> int:
    """Fit, cold and warm, and bound the error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    groups, p, q, cells = SIZES[given.size]
    parent, values = simulate(groups, p, q, cells)
    labels = [f"g{i:02d}" for i in range(groups)]
    tree = {labels[child]: labels[of] for child, of in enumerate(parent) if child}
    names = [f"r{j:03d}" for j in range(q)] + [f"t{t:03d}" for t in range(p)]
    of_cell = np.repeat(labels, cells)
    data = unigrn.Data.from_arrays(values, names, groups=of_cell, dtype=given.dtype)
    penalty = unigrn.l1(STRENGTH) + unigrn.fused(FUSION, tree, tree=True)
    spec = unigrn.Spec(unigrn.least_squares(mean=True), penalty)
    print(f"{groups} groups of {cells} cells x {p} targets x {q} regulators", flush=True)
    print(f"load before the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    rows = []
    for call in ("cold", "warm"):
        wall, cpu = time.perf_counter(), time.process_time()
        found = unigrn.fit(spec, data, regulators=names[:q], targets=names[q:])
        spent = time.perf_counter() - wall, time.process_time() - cpu
        theta = found.theta.astype(np.float64)
        gap = gaps(theta, values, parent, cells)
        row = {
            "call": call,
            "wall_s": spent[0],
            "cpu_s": spent[1],
            "gap": float(gap.max()),
            "residual": float(found.residual.max()),
            "converged": int((found.status == 0).sum()),
            "fits": int(found.status.size),
            "steps": int(found.iterations.max()),
            "edges": float((theta != 0).mean()),
            "changes": float(np.mean([theta[c] != theta[o] for c, o in enumerate(parent) if c])),
            "solver": found.plan.solver.name,
        }
        rows.append(row)
        print(
            f"{call}: {spent[0]:.1f} s, CPU {spent[1]:.1f} s, {row['converged']:,} of "
            f"{row['fits']:,} converged in at most {row['steps']} steps; largest duality gap "
            f"{row['gap']:.1e}, largest residual {row['residual']:.1e}; {row['edges']:.1%} of the "
            f"coefficients are not 0, {row['changes']:.2%} differ from the parent's",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
