"""Programs of others, run on the same files: boosted trees and random forests, without a prior.

python -m unigrn.protocols.peers NAME DATA REGULATORS TARGETS OUT [--layer LAYER] [--seed SEED]
"""

from __future__ import annotations

import argparse
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.data import Data
from unigrn.evaluate.baselines import expression_of
from unigrn.names import read_names

if TYPE_CHECKING:
    import pandas as pd

PEERS = {"grnboost2": "rustscenic", "genie3": "sklearn"}
"""Name of a peer -> the package that it needs (extra ``benchmark``)."""


def missing(peer: str) -> str:
    """Return the package that a peer lacks, or nothing."""
    return "" if importlib.util.find_spec(PEERS[peer]) else PEERS[peer]


def grnboost2(table: pd.DataFrame, tfs: list[str], targets: list[str], seed: int) -> pd.DataFrame:
    """Boosted trees of each target on all regulators, by rustscenic."""
    from rustscenic.grn import infer  # pyright: ignore[reportMissingImports]

    found: Any = infer(table, tfs, seed=seed, verbose=False)
    found.columns = ["source", "target", "score"]
    return found[found["target"].isin(targets)]


def genie3(table: pd.DataFrame, tfs: list[str], targets: list[str], seed: int) -> pd.DataFrame:
    """Random forests of each target on all regulators: 1,000 trees, the root of them a split."""
    import pandas as pd
    from sklearn.ensemble import RandomForestRegressor

    values = table.to_numpy()
    spread = values.std(axis=0)
    standard = pd.DataFrame(
        (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1), columns=table.columns
    )
    parts = []
    for target in targets:
        others = [tf for tf in tfs if tf != target]
        options: Any = {"max_features": "sqrt", "random_state": seed, "n_jobs": -1}
        forest: Any = RandomForestRegressor(1000, **options)
        fit = forest.fit(standard[others].to_numpy(), standard[target])
        parts.append(
            pd.DataFrame({"source": others, "target": target, "score": fit.feature_importances_})
        )
    return pd.concat(parts, ignore_index=True)


def main() -> None:
    """Run the peer of the arguments."""
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("name", "data", "regulators", "targets", "out"):
        parser.add_argument(name)
    parser.add_argument("--layer")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data = Data.from_anndata(given.data, given.layer)
    matrix, genes = expression_of(data)
    place = pd.Index(genes, dtype=object)
    tfs, targets = (
        [n for n in read_names(path, what) if n in place]
        for path, what in ((given.regulators, "regulators"), (given.targets, "targets"))
    )
    names = sorted({*tfs, *targets})
    columns = place.get_indexer(pd.Index(names, dtype=object))
    values = matrix[:, columns]
    values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    table = pd.DataFrame(np.asarray(values, np.float64), columns=pd.Index(names))
    run = {"grnboost2": grnboost2, "genie3": genie3}[given.name]
    run(table, tfs, targets, given.seed).to_parquet(given.out)


if __name__ == "__main__":
    main()
