"""What sources of prior edges are worth: on yeast stress data, and whether the intervals hold.

    python examples/benchmarks/priors.py --data DATASETS            # yeast_stress, four sources
    python examples/benchmarks/priors.py --part coverage            # simulations of known worth
    python examples/benchmarks/priors.py --part coverage --size tiny --json out.json

``yeast``: two motif priors, knock-outs and YEASTRACT, and YEASTRACT with permuted targets as a
fifth source whose worth is 0; all subsets, 20 strengths, ten splits. ``coverage``: simulated
networks with a good, a fair and a worthless source. The known worth of a source is the mean Shapley
value over many more simulations than those whose intervals are counted, that of the worthless 0. A
simulation is ordered rightly where the good source is worth more than the fair one, and that more
than the worthless. Figures are printed, never asserted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pandas as pd

import unigrn

SIZES = {  # cells, regulators, targets, simulations that are judged, and in all
    "full": (120, 20, 200, 40, 240),
    "small": (100, 15, 100, 20, 60),
    "tiny": (60, 8, 40, 2, 4),
}
YEAST = {
    "motif": "prior.tsv.gz",
    "motif Roy": "prior_motif_roy.tsv.gz",
    "knock-out": "prior_ko_roy.tsv.gz",
    "YEASTRACT": "prior_yeastract2019.tsv.gz",
}
SOURCES = {"good": (0.8, 0.02), "fair": (0.5, 0.08), "none": (0.1, 0.1)}  # of edges, of others


def simulated(seed: int, cells: int, q: int, p: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Draw expression of a linear network, and sources that hold shares of its edges and others."""
    rng = np.random.default_rng(seed)
    tfs, genes = [f"r{i:02}" for i in range(q)], [f"t{i:03}" for i in range(p)]
    exists = rng.random((q, p)) < 0.1
    x = rng.normal(size=(cells, q))
    y = x @ (exists * rng.normal(size=(q, p)) * 0.5) + rng.normal(size=(cells, p))
    priors = {}
    for name, (right, wrong) in SOURCES.items():
        i, j = np.nonzero(rng.random((q, p)) < np.where(exists, right, wrong))
        priors[name] = pd.DataFrame({"source": np.array(tfs)[i], "target": np.array(genes)[j]})
    return pd.DataFrame(np.c_[x, y], columns=tfs + genes), priors


def coverage(cells: int, q: int, p: int, judged: int, whole: int) -> dict[str, Any]:
    """Count intervals that hold the known worth, and simulations whose sources are ordered."""
    found = []
    for seed in range(whole):
        table, priors = simulated(seed, cells, q, p)
        gain = unigrn.prior_gain(table, priors, seed=seed).shapley.set_index("source")
        found.append(gain.loc[list(SOURCES), ["bits", "lower", "upper"]].to_numpy())
    values = np.stack(found)
    known = values[:, :, 0].mean(axis=0)
    known[list(SOURCES).index("none")] = 0  # its edges are random
    bits, lower, upper = np.moveaxis(values[:judged], 2, 0)
    inside = (lower <= known) & (known <= upper)
    return {
        "known worth, bits": dict(zip(SOURCES, known.tolist(), strict=True)),
        "ordered rightly": float((np.diff(bits, axis=1) <= 0).all(axis=1).mean()),
        "90 % intervals that hold it": dict(
            zip(SOURCES, inside.mean(axis=0).tolist(), strict=True)
        ),
        "of all simulations": dict(
            zip(
                SOURCES,
                ((values[:, :, 1] <= known) & (known <= values[:, :, 2])).mean(axis=0).tolist(),
                strict=True,
            )
        ),
        "simulations": [judged, whole],
    }


def yeast(folder: Path, most: int | None) -> dict[str, Any]:
    """Measure the sources of yeast edges, beside a permuted one."""
    data = unigrn.Data.from_anndata(folder / "expression.h5ad")
    priors: dict[str, Any] = {
        n: unigrn.Prior.from_edges(read(folder / f)) for n, f in YEAST.items()
    }
    table = read(folder / YEAST["YEASTRACT"])
    names = table["target"].unique()
    other = dict(zip(names, np.random.default_rng(0).permutation(names), strict=True))
    mixed = unigrn.Prior.from_edges(table.assign(target=table["target"].map(other)))
    out = {}
    runs = [
        (label, given, by)
        for label, given in (
            ("four sources", priors),
            ("and permuted", priors | {"permuted": mixed}),
        )
        for by in ("expression", "activity")
    ]
    for sources, given, by in runs:
        label = f"{sources}, by {by}"
        start = time.perf_counter(), time.process_time()
        gain = unigrn.prior_gain(data, given, by=by, most=most)
        seconds = time.perf_counter() - start[0], time.process_time() - start[1]
        print(f"\n{label}: {seconds[0]:.1f} s, {seconds[1]:.1f} CPU s")
        print("\n".join(gain.table()), flush=True)
        out[label] = gain.to_dict() | {"seconds": seconds}
    return out


def read(path: Path) -> pd.DataFrame:
    """Read edges as source and target."""
    table = pd.read_csv(path, sep="\t")
    return table[["tf", "target"]].rename(columns={"tf": "source"})


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=("yeast", "coverage"), action="append")
    parser.add_argument("--size", default="full", choices=sorted(SIZES))
    parser.add_argument("--data", type=Path, help="folder of data sets")
    parser.add_argument("--most", type=int, default=2000, help="targets; 0: all")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    out: dict[str, Any] = {}
    for part in given.part or (["yeast"] if given.data else ["coverage"]):
        if part == "yeast":
            if given.data is None:
                parser.error("the part yeast needs --data")
            out[part] = yeast(given.data / "yeast_stress", given.most or None)
            continue
        out[part] = coverage(*SIZES[given.size])
        for what, value in out[part].items():
            print(f"{what}: {value}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
