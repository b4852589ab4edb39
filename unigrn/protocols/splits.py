"""What a case of a protocol becomes: files to fit, and what the fits are scored by."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.api import read_expression
from unigrn.data import Data
from unigrn.datasets import simulate
from unigrn.evaluate import load_gold
from unigrn.evaluate.baselines import pearson
from unigrn.evaluate.gold import universe_of
from unigrn.files import read_edges
from unigrn.names import read_names
from unigrn.prior import read_prior
from unigrn.protocols.declared import Case, Hidden

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Split:
    """One fit of every method: what it is given, and what it is scored by.

    ``prior`` (source, target, weight[, sign]) or None; ``gold`` as `unigrn.evaluate` takes it,
    with ``targets`` those that are scored; ``wanted`` those that are fitted.
    """

    case: Case
    name: str
    seed: int
    prior: pd.DataFrame | None
    gold: pd.DataFrame
    targets: np.ndarray
    regulators: np.ndarray
    expression: str | None = None
    data: Data | None = field(default=None, repr=False)

    @property
    def wanted(self) -> np.ndarray:
        """Targets of the fit: those that are scored, and those of the prior."""
        named = () if self.prior is None else np.array(self.prior["target"], dtype=str)
        every = np.union1d(self.targets, named)
        return every if self.data is None else np.intersect1d(every, self.data.genes)

    def permuted(self) -> Split:
        """Return the split with the prior's targets permuted: regulators keep their numbers."""
        assert self.prior is not None
        names = np.unique(np.array(self.prior["target"], dtype=str))
        rng = np.random.default_rng((self.seed, 7))
        other = dict(zip(names, rng.permutation(names), strict=True))
        prior = self.prior.assign(target=[other[t] for t in self.prior["target"].astype(str)])
        return dataclasses.replace(self, prior=prior)


def splits(case: Case, folder: Path, scratch: Path) -> Iterator[Split]:
    """Read the files of a case, and give its splits one after the other.

    Raises
    ------
    ValueError
        A file is not there, or the hidden targets leave no prior edge or no true edge.
    """
    if case.simulate is not None:
        for seed in case.seeds:
            yield _simulated(case, seed, scratch)
        return

    def file(name: str, what: str) -> str:
        path = folder / name
        if not path.exists():
            raise ValueError(
                f"set {case.name!r}: {what} {str(path)!r} is not there; the files of a protocol "
                "are looked for in the folder of --data"
            )
        return str(path)

    gold: Any = load_gold(file(case.gold or "", "gold"))
    expression = None if case.expression is None else file(case.expression, "expression")
    data = None
    if expression is not None:
        data = read_expression(expression, case.layer, case.groupby, "float32", None, False, None)
    prior: Any = None
    if case.prior == "gold":
        prior = _positives(gold)[["source", "target"]].assign(weight=1.0)
    elif case.prior is not None:
        prior = read_prior(file(case.prior, "prior")).edges
    if case.regulators is not None:
        regulators = np.unique(read_names(file(case.regulators, "regulators"), "regulators"))
    else:
        regulators = np.unique(np.array((gold if prior is None else prior)["source"], dtype=str))
    scored = np.unique(np.array(gold["target"], dtype=str))
    if case.targets is not None:
        listed = read_names(file(case.targets, "targets"), "targets")
        scored = np.intersect1d(scored, listed)
    common = {"case": case, "regulators": regulators, "expression": expression, "data": data}
    for name, seed, hidden, away in _hidden(case.hidden, scored, data, file):
        known = prior
        if prior is not None and case.hidden is not None:
            known = prior[~prior["target"].astype(str).isin(list(away))]
            if known.empty:
                raise ValueError(f"set {case.name!r}, split {name}: no prior edge is left")
        table = _universe(case, gold, regulators, hidden)
        # BEELINE's nodes are targets too, where none are hidden.
        nodes = case.pairs == "nodes" and case.hidden is None
        targets = np.unique(table["target"].astype(str)) if nodes else hidden
        if not np.isin(_positives(table)["target"].astype(str), targets).any():
            raise ValueError(f"set {case.name!r}, split {name}: no true edge is scored")
        yield Split(name=name, seed=seed, prior=known, gold=table, targets=targets, **common)


def _positives(gold: Any) -> Any:
    return gold if "label" not in gold else gold[gold["label"] == 1]


def _hidden(
    hidden: Hidden | None, scored: np.ndarray, data: Data | None, file: Any
) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    """Yield name, seed, targets that are scored, and targets whose prior edges are taken away."""
    import pandas as pd

    if hidden is None:
        yield "all", 0, scored, scored[:0]
    elif hidden.table is not None:
        table = pd.read_csv(file(hidden.table, "table of folds"), sep="\t", dtype=str)
        for column in ("target", str(hidden.column)):
            if column not in table:
                raise ValueError(
                    f"{hidden.table!r} has the columns {', '.join(table)}; needed {column}"
                )
        fold: Any = table.set_index("target")[hidden.column]
        for own in map(str, hidden.folds or sorted(fold.dropna().unique())):
            away = fold.index[fold == own].to_numpy(str)
            yield f"{hidden.column} {own}", 0, np.intersect1d(scored, away), away
    elif hidden.genes is not None:
        every = read_names(file(hidden.genes, "genes"), "genes")
        measured = scored if data is None else data.genes
        for seed in hidden.seeds:
            order = list(range(len(every)))
            np.random.RandomState(seed).shuffle(order)
            away = np.array([every[i] for i in order[hidden.shown :]])
            yield f"seed {seed}", seed, np.intersect1d(away, measured), away
    else:
        part = np.random.default_rng(hidden.seed).permutation(np.arange(scored.size) % hidden.parts)
        for own in range(hidden.parts):
            yield f"part {own}", hidden.seed, scored[part == own], scored[part == own]


def _universe(
    case: Case, gold: pd.DataFrame, regulators: np.ndarray, targets: np.ndarray
) -> pd.DataFrame:
    """Return the gold, or its universe as labelled pairs, targets that are not scored included."""
    import pandas as pd

    known: Any
    table: Any

    if case.pairs == "gold":
        return gold
    targets = np.union1d(targets, gold["target"].astype(str))
    if case.pairs == "nodes":
        regulators = np.unique(_positives(gold)["source"].astype(str))
        targets = np.union1d(targets, regulators)
    every = pd.MultiIndex.from_product([regulators, targets], names=["source", "target"])
    known = pd.MultiIndex.from_frame(_positives(gold)[["source", "target"]].astype(str))
    table = every.to_frame(index=False).assign(label=every.isin(known).astype(np.int8))
    return table if case.pairs == "all" else table[table["source"] != table["target"]]


def _simulated(case: Case, seed: int, scratch: Path) -> Split:
    """Simulate cells, and write them where a fit reads them."""
    arguments: dict[str, Any] = dict(case.simulate or {})
    share = arguments.pop("hidden_regulators", 0.0)
    if not 0 <= share < 1:
        raise ValueError(f"set {case.name!r}: hidden_regulators is {share}; needed [0, 1)")
    try:
        made = simulate(**arguments, seed=seed)
    except TypeError as error:
        raise ValueError(f"set {case.name!r}: simulate: {error}") from None
    adata = made.to_anndata()
    rng = np.random.default_rng((seed, 8))
    away = rng.permutation(made.regulators)[: round(share * len(made.regulators))]
    seen = ~np.isin(made.genes, away)
    adata = adata[:, seen].copy()
    path = scratch / "data.h5ad"
    adata.write_h5ad(path)
    case = dataclasses.replace(case, layer=case.layer or "normalized")
    genes, regulators = made.genes[seen].astype(str), np.setdiff1d(made.regulators, away)

    def kept(table: Any) -> Any:
        return table[~table["source"].isin(away) & ~table["target"].isin(away)]

    gold = kept(made.truth)[["source", "target"]].drop_duplicates().astype(str)
    universe = dataclasses.replace(case, pairs="regulators")
    data = read_expression(str(path), case.layer, case.groupby, "float32", None, False, None)
    return Split(
        case,
        f"seed {seed}",
        seed,
        kept(made.prior).reset_index(drop=True),
        _universe(universe, gold, regulators.astype(str), genes),
        genes,
        regulators.astype(str),
        str(path),
        data,
    )


def degrees(split: Split) -> pd.DataFrame:
    """Score every pair by the number of its regulator's prior edges, of others' targets too."""
    import pandas as pd

    assert split.prior is not None
    counts = split.prior["source"].astype(str).value_counts()
    every: Any = pd.MultiIndex.from_product(
        [counts.index.astype(str), split.targets], names=["source", "target"]
    ).to_frame(index=False)
    every = every[every["source"] != every["target"]]
    return every.assign(score=counts.loc[every["source"]].to_numpy(float))


def correlations(split: Split) -> pd.DataFrame:
    """Score measured pairs of the universe by the size of their correlation, as evaluate does."""
    import pandas as pd

    universe = universe_of(load_gold(split.gold), split.targets, [])
    row, col, size = pearson(split.data, universe, [])
    names = {"source": universe.regulators[row], "target": universe.targets[col]}
    return pd.DataFrame(names | {"score": size})


def others(split: Split, folder: Path) -> dict[str, pd.DataFrame]:
    """Read the networks that other programs made."""
    return {name: read_edges(folder / path) for name, path in split.case.scores.items()}
