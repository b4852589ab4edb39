"""Which source of prior edges to believe, and what to make of it: yeast under stress.

    python examples/priors/yeast.py --data DATASETS --out FOLDER

1. What each of three sources is worth for predicting hidden cells of hidden targets.
2. How probable edges are, learnt on prior edges that the fit did not see.
3. Which method makes most of which source, on targets that no prior names.

DATASETS/yeast_stress holds expression.h5ad, gold.tsv, the sources and target_folds.tsv. Figures go
to FOLDER; README.md beside this file tells what they show.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pandas as pd

import unigrn
from unigrn.plot import benchmark_figure, reliability_figure, worth_figure
from unigrn.protocols import Case, Hidden, Protocol

SOURCES = {
    "motif": "prior.tsv.gz",
    "knock-out": "prior_ko_roy.tsv.gz",
    "YEASTRACT": "prior_yeastract2019.tsv.gz",
}
METHODS = ("tfa_ridge", "known_targets", "linear_gaussian")


def read(path: Path) -> pd.DataFrame:
    """Read edges as source and target; their scores are not comparable between sources."""
    table = pd.read_csv(path, sep="\t")
    return table[["tf", "target"]].rename(columns={"tf": "source"})


def main(arguments: list[str] | None = None) -> None:
    """Run the three steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    parser.add_argument("--most", type=int, default=2000, help="targets of the first step")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="of the third step")
    given = parser.parse_args(arguments)
    folder = given.data / "yeast_stress"
    given.out.mkdir(parents=True, exist_ok=True)
    data = unigrn.Data.from_anndata(folder / "expression.h5ad")
    priors = {name: read(folder / file) for name, file in SOURCES.items()}

    gain = unigrn.prior_gain(data, priors, by="activity", most=given.most)
    print("\n".join([*gain.table(), *gain.notes]), flush=True)
    worth_figure(gain, given.out / "worth.png")

    believed = gain.shapley.sort_values("bits")["source"].iloc[-1]
    found = unigrn.edge_probabilities(data, priors[believed], "full_ridge")
    print(f"\nprobabilities of edges like those of {believed}")
    print("\n".join(found.notes), flush=True)
    reliability_figure(found, given.out / "reliability.png")

    cases = tuple(
        Case(
            f"prior: {name}",
            "yeast_stress/expression.h5ad",
            "yeast_stress/gold.tsv",
            f"yeast_stress/{file}",
            hidden=Hidden(table="yeast_stress/target_folds.tsv", column="fold", folds=(0,)),
        )
        for name, file in SOURCES.items()
    )
    protocol = Protocol("yeast priors", cases, about="targets of fold 0 hidden from each source")
    tried = unigrn.benchmark(protocol, given.methods, data=given.data)
    print("\n" + "\n".join([*tried.table(), *tried.notes, *tried.warnings]), flush=True)
    benchmark_figure(tried, given.out / "benchmark.png")


if __name__ == "__main__":
    main()
