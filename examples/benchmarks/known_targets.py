"""Score methods on targets that the prior does not name, beside baselines in the same run.

    python examples/benchmarks/known_targets.py                        # simulated regulons
    python examples/benchmarks/known_targets.py --data DATASETS        # bsubtilis, yeast_stress
    python examples/benchmarks/known_targets.py --data DATASETS --case operons --json out.json
    python examples/benchmarks/known_targets.py --data DATASETS --folds 1 --also netrex genie3

Cases: ``operons`` (five folds of B. subtilis targets, operons kept together; the prior is the gold
standard of the other folds), ``genes`` (the hidden genes of the Inferelator's protocol, ``--seeds``
of them), ``motifs`` (yeast, motifs as the prior, no gold edge seen), ``yeast`` (five folds of yeast
targets) and ``simulated``. Nothing is chosen on hidden edges. The prior is
permuted in the first split only. ``--also`` names further methods, at their defaults, and two peers
that see no prior: ``grnboost2`` (rustscenic's, where it is installed) and ``genie3`` (its random
forests, by scikit-learn). Figures are printed, never asserted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # runs from a checkout too, where unigrn is not installed

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from scipy.stats import wilcoxon  # noqa: E402

import unigrn  # noqa: E402
from unigrn.evaluate import ranking_metrics  # noqa: E402
from unigrn.methods import get  # noqa: E402
from unigrn.methods.known_targets import known_targets  # noqa: E402
from unigrn.protocols.peers import PEERS, genie3, grnboost2  # noqa: E402

LEAST = 3  # known targets of a regulator of the simulation, at least


def simulate(seed: int, regulators=8, targets=120, cells=60):
    """Draw regulons whose members share an activity that the regulator's own gene hardly shows."""
    rng = np.random.default_rng(seed)
    tfs = [f"tf{j:03d}" for j in range(regulators)]
    genes = [f"gene{t:03d}" for t in range(targets)]
    network = rng.random((regulators, targets)) < 1.5 / regulators
    network[:, :LEAST] |= rng.random((regulators, LEAST)) < 0.5
    activity = rng.normal(size=(cells, regulators))
    y = activity @ (network * rng.uniform(0.7, 1.5, network.shape)) + rng.normal(
        size=(cells, targets)
    )
    x = 0.2 * activity + rng.normal(size=(cells, regulators))
    gold = pd.DataFrame(
        [(tfs[j], genes[t]) for j, t in np.argwhere(network)], columns=["tf", "target"]
    )
    fold = pd.Series(rng.permutation(targets) % 2, index=genes)
    return np.concatenate([x, y], axis=1), [*tfs, *genes], gold, fold


class Universe:
    """Regulators by targets that are scored, without edges to a regulator's own gene."""

    def __init__(self, gold: pd.DataFrame, tfs, targets):
        self.tfs, self.targets = np.asarray(tfs), np.asarray(targets)
        self.row, self.column = pd.Index(self.tfs), pd.Index(self.targets)
        self.label = self.table(gold.assign(score=1.0), 0.0) > 0
        self.real = self.tfs[:, None] != self.targets[None, :]

    def table(self, edges: pd.DataFrame, rest: float | None = None) -> np.ndarray:
        """Scores of all pairs; unlisted ones share the last."""
        score = edges["score"].to_numpy(float)
        out = np.full(
            (len(self.tfs), len(self.targets)), np.nanmin(score) - 1 if rest is None else rest
        )
        i, j = self.row.get_indexer(edges["tf"]), self.column.get_indexer(edges["target"])
        listed = (i >= 0) & (j >= 0) & np.isfinite(score)
        out[i[listed], j[listed]] = score[listed]
        return out

    def metrics(self, scores: np.ndarray) -> dict[str, Any]:
        """Average precision and its ratio to chance, macro AUROC, precision by regulator."""
        m = self.real
        found = ranking_metrics(self.label[m], scores[m])
        areas, own = [], np.full(len(self.tfs), np.nan)
        for j in range(len(self.tfs)):
            label, score = self.label[j][m[j]], scores[j][m[j]]
            if 0 < label.sum() < label.size:
                one = ranking_metrics(label, score)
                own[j] = one["auprc"]
                if label.sum() >= 5:
                    areas.append(one["auroc"])
        return {
            "auprc": float(found["auprc"]),
            "ratio": float(found["auprc_ratio"]),
            "macro_auroc": float(np.mean(areas)) if areas else None,
            "by_regulator": own,
        }


def columns_of(solution: Any, names: dict[str, str]) -> dict[str, pd.DataFrame]:
    """Return columns of a solution as edges, under other names."""
    problem = solution.plan.problem
    edges = pd.DataFrame(
        {
            "tf": problem.regulators[problem.candidate],
            "target": problem.targets[problem.entry_target],
        }
    )
    known = solution.statistics | {"weight": solution.weights}
    return {label: edges.assign(score=known[name][0]) for name, label in names.items()}


def activity_alone(values, genes, edges, targets) -> pd.DataFrame:
    """Ridge on pseudo-inverse activities (alpha 1, all standardised), drop-one, in NumPy."""
    tfs = np.unique(edges["tf"])
    place = pd.Index(genes)
    p = np.zeros((len(tfs), len(genes)))
    i, j = pd.Index(tfs).get_indexer(edges["tf"]), place.get_indexer(edges["target"])
    keep = (j >= 0) & (edges["tf"] != edges["target"]).to_numpy()
    p[i[keep], j[keep]] = 1
    y = _standard(values)
    p = p[:, (used := p.any(axis=0))]
    a = _standard(np.linalg.lstsq(p.T, y[:, used].T, rcond=None)[0].T)
    h = np.linalg.inv(a.T @ a + np.eye(a.shape[1]))
    y = y[:, place.get_indexer(targets)]
    b = h @ (a.T @ y)
    drop = b**2 / np.diag(h)[:, None]
    score = drop / (((y - a @ b) ** 2).sum(axis=0) + drop)
    return _long(tfs, targets, score)


def pearson(values, genes, tfs, targets) -> pd.DataFrame:
    """Return |correlation| of measured regulators with targets."""
    place, y = pd.Index(genes), _standard(values)
    tfs = [t for t in tfs if t in place]
    size = np.abs(y[:, place.get_indexer(tfs)].T @ y[:, place.get_indexer(targets)]) / len(y)
    return _long(np.asarray(tfs), targets, size)


def _standard(values):
    spread = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)


def _long(tfs, targets, score) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "tf": np.repeat(tfs, len(targets)),
            "target": np.tile(targets, len(tfs)),
            "score": score.ravel(),
        }
    )


def another(name: str, values, genes, edges, hidden, targets) -> pd.DataFrame:
    """Score edges by a shipped method at its defaults, or by a peer without a prior."""
    if name in PEERS:
        place = pd.Index(genes)
        tfs = [t for t in np.unique(edges["tf"]) if t in place]
        both = np.union1d(tfs, hidden)
        table = pd.DataFrame(values[:, place.get_indexer(both)], columns=both)
        run = {"grnboost2": grnboost2, "genie3": genie3}[name]
        return run(table, tfs, hidden, 0).rename(columns={"source": "tf"})
    spec = get(name).function(unigrn.Prior.from_edges(edges))
    data = unigrn.Data.from_arrays(values, genes, dtype="float32")
    wanted = hidden if spec.separable and not spec.stages else targets
    fit = unigrn.fit(spec, data, targets=list(wanted))
    print(f"{name}: {fit.converged.mean():.0%} converged, {fit.iterations.max():,} iterations")
    found = fit.network().edges
    score = found["score"] if "score" in found else found["weight"].abs()
    return found[["source", "target"]].set_axis(["tf", "target"], axis=1).assign(score=score)


def contestants(
    values, genes, edges, universe, targets, together=None, permuted=True, also=(), **options
):
    """Fit everything to one prior; return edges by contestant, seconds, and what was chosen."""
    out, seconds, tfs = {}, {}, universe.tfs

    def timed(name, function):
        began = time.perf_counter(), time.process_time()
        found = function()
        seconds[name] = time.perf_counter() - began[0], time.process_time() - began[1]
        return found

    data = unigrn.Data.from_arrays(values, genes, dtype="float64")

    def ours(known: pd.DataFrame):
        prior = unigrn.Prior.from_edges(known)
        spec = known_targets(prior, together=together, **options)
        return unigrn.fit(spec, data, targets=list(targets)).require_converged()

    own = timed("known_targets", lambda: ours(edges))
    names = {"score": "known_targets", "weight": "kernel alone"}
    if options.get("trust") is not None:
        names["regulon"] = "kernel alone, own edges left out"
    out |= columns_of(own, names)
    if permuted:
        named = np.unique(edges["target"])
        other = dict(zip(named, np.random.default_rng(0).permutation(named), strict=True))
        mixed = edges.assign(target=edges["target"].map(other))
        out |= columns_of(timed("permuted prior", lambda: ours(mixed)), {"score": "permuted prior"})
    out["TF activity"] = timed("TF activity", lambda: activity_alone(values, genes, edges, targets))
    out["|Pearson|"] = timed("|Pearson|", lambda: pearson(values, genes, tfs, targets))
    column = edges["score"] if "score" in edges else pd.Series(1.0, index=edges.index)
    out["prior alone"] = edges.assign(score=np.abs(column))
    for name in also:
        out[name] = timed(
            name, lambda name=name: another(name, values, genes, edges, universe.targets, targets)
        )
    chosen = [float(own.blocks["strength"][0]), *map(float, own.blocks["kernel"][0])]
    return out, seconds, chosen


def compared(rows: list[dict[str, Any]], name="known_targets", other="TF activity"):
    """Compare two contestants regulator by regulator, each its mean over the folds."""
    of = [pd.DataFrame([r["found"][n]["by_regulator"] for r in rows]).mean() for n in (name, other)]
    apart = (of[0] - of[1]).dropna().to_numpy()
    test = wilcoxon(apart, alternative="two-sided").pvalue if np.any(apart) else 1.0
    return {
        "regulators": len(apart),
        "above": int((apart > 0).sum()),
        "below": int((apart < 0).sum()),
        "p": float(test),
    }


def shown(case: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Print one table of means over the folds; return it."""
    print(f"\n{case}: {len(rows)} split{'s' if len(rows) > 1 else ''}", flush=True)
    print(
        f"  {'':34s}{'AP':>7s} {'+-':>6s} {'ratio':>7s} {'macro AUROC':>12s} {'s':>7s} "
        f"{'CPU s':>7s}"
    )
    table = {}
    for name in rows[0]["found"]:
        found = [r["found"][name] for r in rows if name in r["found"]]
        mean = {
            k: float(np.mean([f[k] for f in found]))
            for k in ("auprc", "ratio", "macro_auroc")
            if found[0][k] is not None
        }
        mean["spread"] = float(np.std([f["auprc"] for f in found]))
        times = [r["seconds"].get(name) for r in rows if name in r["found"]]
        wall, cpu = ((sum(t[k] for t in times) if times[0] is not None else None) for k in (0, 1))
        table[name] = mean | {"seconds": wall, "cpu_seconds": cpu}
        area = mean.get("macro_auroc")
        print(
            f"  {name:34s}{mean['auprc']:7.3f} {mean['spread']:6.3f} {mean['ratio']:7.2f} "
            f"{'' if area is None else f'{area:.3f}':>12s} "
            + " ".join("       " if t is None else f"{t:7.1f}" for t in (wall, cpu)),
            flush=True,
        )
    for other in ("TF activity", "kernel alone"):
        pair = compared(rows, other=other)
        table[f"known_targets against {other}"] = pair
        print(
            f"  known_targets above {other} for {pair['above']}, below for {pair['below']} of "
            f"{pair['regulators']} regulators (the others tie), paired Wilcoxon p {pair['p']:.1e}"
        )
    print(f"  strength, width, even: {', '.join(str(r['chosen']) for r in rows)}", flush=True)
    return table


def one(values, genes, edges, universe, **options) -> dict[str, Any]:
    """Run all contestants on one split."""
    targets = options.pop("targets", universe.targets)
    edges_of, seconds, chosen = contestants(values, genes, edges, universe, targets, **options)
    found = {name: universe.metrics(universe.table(e)) for name, e in edges_of.items()}
    return {"found": found, "seconds": seconds, "chosen": chosen}


def of_folds(values, genes, gold, fold, folds, together=None, also=()) -> list[dict[str, Any]]:
    """Hide the targets of each fold from the prior, and score those only."""
    tfs, targets = np.unique(gold["tf"]), np.unique(gold["target"])
    rows = []
    for held in folds:
        hidden = targets[(fold.loc[targets] == held).to_numpy()]
        universe = Universe(gold, tfs, hidden)
        known = gold[~gold["target"].isin(hidden)][["tf", "target"]]
        rows.append(
            one(
                values,
                genes,
                known,
                universe,
                targets=targets,
                together=together,
                permuted=not rows,
                also=also,
            )
        )
    return rows


def read(folder: Path):
    """Read expression, its genes and the gold standard of a data set."""
    import anndata

    data = anndata.read_h5ad(folder / "expression.h5ad")
    gold = pd.read_csv(folder / "gold.tsv", sep="\t")
    return np.asarray(data.X, float), list(data.var_names), gold[gold["tf"] != gold["target"]]


def operons(folder: Path, given) -> list[dict[str, Any]]:
    """Five folds of B. subtilis targets, operons kept together."""
    values, genes, gold = read(folder / "bsubtilis")
    table = pd.read_csv(folder / "bsubtilis" / "target_folds.tsv", sep="\t").set_index("target")
    together = table["operon"].loc[np.unique(gold["target"])].astype(str)
    fold = table["fold_operon"]
    return of_folds(values, genes, gold, fold, range(given.folds), together, given.also)


def hidden_genes(folder: Path, given) -> list[dict[str, Any]]:
    """Hide a fifth of the genes at random, as the Inferelator does; all its regulators count."""
    folder = folder / "bsubtilis"
    values, genes, _ = read(folder)
    every = (folder / "inferelator_gold_genes.txt").read_text().split()
    tfs = (folder / "inferelator_tfs.txt").read_text().split()
    gold = pd.read_csv(folder / "inferelator_gold.tsv", sep="\t")
    gold.columns = ["tf", "target", *gold.columns[2:]]
    rows = []
    for seed in range(42, 42 + given.seeds):
        order = list(range(len(every)))
        np.random.RandomState(seed).shuffle(order)
        shown_genes = {every[i] for i in order[:3912]}
        hidden = [g for g in every if g not in shown_genes and g in set(genes)]
        known = gold[gold["target"].isin(shown_genes)][["tf", "target"]]
        known = known[known["tf"] != known["target"]]
        universe = Universe(gold, tfs, hidden)
        universe.label &= universe.real  # own genes are scored last here, and are no edges
        universe.real |= True
        named = np.unique(known["target"])
        targets = np.union1d(hidden, named[np.isin(named, genes)])
        also = given.also
        rows.append(
            one(values, genes, known, universe, targets=targets, permuted=not rows, also=also)
        )
    return rows


def motifs(folder: Path, given) -> list[dict[str, Any]]:
    """Yeast by a motif prior: no gold edge is seen, only the names of its targets."""
    values, genes, gold = read(folder / "yeast_stress")
    edges = pd.read_csv(folder / "yeast_stress" / "prior.tsv.gz", sep="\t")
    edges = edges[(edges["tf"] != edges["target"]) & edges["target"].isin(gold["target"])]
    universe = Universe(gold, np.unique(gold["tf"]), np.unique(gold["target"]))
    return [one(values, genes, edges, universe, trust=1.0, also=given.also)]


def yeast(folder: Path, given) -> list[dict[str, Any]]:
    """Five folds of yeast targets, the prior the gold standard of the others."""
    values, genes, gold = read(folder / "yeast_stress")
    fold = pd.read_csv(folder / "yeast_stress" / "target_folds.tsv", sep="\t").set_index("target")
    return of_folds(values, genes, gold, fold["fold"], range(given.folds), also=given.also)


def simulated(folder: Any, given) -> list[dict[str, Any]]:
    """Simulate regulons, half of the targets hidden."""
    values, genes, gold, fold = simulate(0)
    return of_folds(values, genes, gold, fold, (0, 1), also=given.also)


CASES = {
    "simulated": simulated,
    "operons": operons,
    "genes": hidden_genes,
    "motifs": motifs,
    "yeast": yeast,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--case", nargs="+", choices=list(CASES))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--also", nargs="*", default=[], help="further methods and peers")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    cases = given.case or (["simulated"] if given.data is None else list(CASES)[1:])
    if given.data is None and cases != ["simulated"]:
        parser.error("--data is needed for all cases but simulated")
    tables = {case: shown(case, CASES[case](given.data, given)) for case in cases}
    if given.json:
        given.json.write_text(json.dumps(tables, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
