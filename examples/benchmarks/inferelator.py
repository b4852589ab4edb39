"""Score methods by the Inferelator's protocol of hidden genes, ten seeds.

    python examples/benchmarks/inferelator.py --data FOLDER [--method NAME ...] [--json FILE]

For every seed a fifth of the gold standard's genes is drawn; their edges are hidden from the prior,
which is the gold standard of the others. Average precision over hidden genes that are measured x
all factors, self-edges scored 0. Genes of one operon are spread over both sides, which makes the
task easier than it looks: for a split that keeps them together take `unigrn evaluate --targets`.

FOLDER has expression.h5ad (conditions x genes), inferelator_gold_genes.txt, inferelator_tfs.txt and
inferelator_gold.tsv (tf, target): Bacillus subtilis of Arrieta-Ortiz et al., Mol. Syst. Biol. 11
(2015) 839, as the Inferelator's repository has it. Without --data it is datasets/bsubtilis of
$UNIGRN_SHARED; with --size tiny, simulated. Figures are printed, never asserted here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # runs from a checkout too, where unigrn is not installed

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

import unigrn  # noqa: E402
from unigrn.methods import get  # noqa: E402

SEEDS = tuple(range(42, 52))
# name of the row -> method and hyperparameters
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "tfa_ridge": ("tfa_ridge", {}),
    "tfa_ridge, factors of the prior only": ("tfa_ridge", {"fallback": False}),
    "inferelator_bbsr": ("inferelator_bbsr", {}),
    "inferelator_stars": ("inferelator_stars", {}),
    "prior_lasso": ("prior_lasso", {}),
    "partial_correlation": ("partial_correlation", {}),
    "correlation": ("correlation", {}),
}
# Average precision recorded of the Inferelator 0.6.4 at seed 42, and its seconds.
RECORDED = {"Inferelator, StARS-LASSO": (0.315, 1491), "Inferelator, BBSR": (0.230, 1589)}


class Protocol(NamedTuple):
    """Expression, and the gold standard in the order that the seeds shuffle."""

    data: unigrn.Data
    genes: list[str]
    factors: list[str]
    gold: pd.DataFrame


def measured(folder: Path, dtype: str) -> Protocol:
    """Read the files of the protocol."""
    import anndata

    def lines(name):
        return (folder / name).read_text().split()

    return Protocol(
        unigrn.Data.from_anndata(anndata.read_h5ad(folder / "expression.h5ad"), dtype=dtype),
        lines("inferelator_gold_genes.txt"),
        lines("inferelator_tfs.txt"),
        pd.read_csv(folder / "inferelator_gold.tsv", sep="\t"),
    )


def simulated(dtype: str) -> Protocol:
    """Draw genes that follow hidden activities of eight factors: small, and all is known."""
    rng = np.random.default_rng(0)
    factors, genes = [f"f{i}" for i in range(8)], [f"g{i:03d}" for i in range(120)]
    network = rng.normal(size=(8, 120)) * (rng.random((8, 120)) < 0.15)
    activity = rng.normal(size=(60, 8))
    values = activity @ network + 0.5 * rng.normal(size=(60, 120)) + 6
    values = np.c_[values, rng.normal(size=(60, 8)) + 6]  # factors' own genes say nothing
    source, target = np.nonzero(network)
    gold = pd.DataFrame({"tf": np.array(factors)[source], "target": np.array(genes)[target]})
    data = unigrn.Data.from_arrays(values, [*genes, *factors], dtype=dtype)
    return Protocol(data, [*genes, *factors], factors, gold)


def split(genes: list[str], seed: int) -> tuple[list[str], list[str]]:
    """Return the genes whose edges are known, four fifths, and the hidden ones."""
    order = list(range(len(genes)))
    np.random.RandomState(seed).shuffle(order)
    known = int(0.8 * len(genes))
    return [genes[i] for i in order[:known]], [genes[i] for i in order[known:]]


def average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    """Sum over thresholds of the gain in recall times precision; ties are one threshold."""
    order = np.argsort(-score, kind="stable")
    true, last = np.cumsum(truth[order]), np.append(np.diff(score[order]) != 0, True)
    true, ranked = true[last], np.flatnonzero(last) + 1
    return float(np.sum(np.diff(true, prepend=0) * true / ranked) / true[-1])


def judge(protocol: Protocol, seed: int, method: str, hyper: dict[str, Any]) -> dict[str, Any]:
    """Fit a method without the hidden edges; score it on them."""
    known, hidden = split(protocol.genes, seed)
    gold, factors = protocol.gold, protocol.factors
    targets = [g for g in hidden if g in set(protocol.data.genes.tolist())]
    began = time.process_time()
    prior = unigrn.Prior.from_edges(gold[gold["target"].isin(known)])
    spec = get(method).function(prior, **hyper)
    found = unigrn.fit(spec, protocol.data, regulators=factors, targets=targets)
    seconds = time.process_time() - began
    score = found.statistics["score"] if "score" in found.statistics else np.abs(found.weights)
    problem = found.plan.problem
    row, column = ({name: i for i, name in enumerate(names)} for names in (factors, targets))
    scores, truth = np.zeros((len(factors), len(targets))), np.zeros((len(factors), len(targets)))
    at = [row[r] for r in problem.regulators[problem.candidate]]
    scores[at, [column[t] for t in problem.targets[problem.entry_target]]] = score[0]
    for factor, target in zip(gold["tf"], gold["target"], strict=True):
        if target in column:
            truth[row[factor], column[target]] = 1
    for factor in set(row) & set(column):
        scores[row[factor], column[factor]] = 0
    return {
        "seed": seed,
        "aupr": average_precision(truth.ravel(), scores.ravel()),
        "chance": float(truth.mean()),
        "targets": len(targets),
        "factors": len(problem.regulators),
        "cpu_s": seconds,
        "converged": bool(found.converged.all()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Judge the methods asked for and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--size", choices=["full", "tiny"], default="full")
    parser.add_argument("--method", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    folder = given.data
    if given.size == "full" and folder is None:
        shared = os.environ.get("UNIGRN_SHARED")
        if shared is None:
            parser.error("give --data FOLDER with the files of the protocol, or --size tiny")
        folder = Path(shared) / "datasets" / "bsubtilis"
    protocol = simulated(given.dtype) if folder is None else measured(folder, given.dtype)
    seeds = given.seeds if given.size == "full" else given.seeds[:2]
    results = {}
    for name in given.method:
        method, hyper = ROWS[name]
        rows = [judge(protocol, seed, method, hyper) for seed in seeds]
        results[name] = rows
        scores, seconds = ([row[key] for row in rows] for key in ("aupr", "cpu_s"))
        print(
            f"{name:38s} AUPR {np.mean(scores):.3f}, sd {np.std(scores):.3f}, first {scores[0]:.3f}"
            f" (chance {rows[0]['chance']:.4f}); {np.median(seconds):.1f} CPU s a seed",
            flush=True,
        )
    if folder is not None:
        for name, (score, seconds) in RECORDED.items():
            print(f"{name:38s} AUPR {score:.3f} at seed 42, as recorded; {seconds} s a seed")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
