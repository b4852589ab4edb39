"""Reading the recorded links, and comparing a table of links with them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

KEY = ["group", "source", "target"]


class RecordedCase(NamedTuple):
    """One recorded case: what the released program was given, and what it gave."""

    expression: np.ndarray  # (cells, genes) float64
    genes: np.ndarray  # (genes,) str
    groups: np.ndarray  # (cells,) str
    prior: dict[str, list[str]]  # target -> candidate regulators
    alpha: float
    bags: int
    bagging: pd.DataFrame  # group, source, target, weight, p
    bayesian: pd.DataFrame  # the same and variance


def read_recorded(path: Path) -> pd.DataFrame:
    """Recorded links in the column names of this project."""
    names = {"cluster": "group", "coef_mean": "weight", "coef_variance": "variance"}
    table = pd.read_csv(path, sep="\t", keep_default_na=True, dtype={"cluster": str})
    return table.rename(columns=names)


def read_case(shared: Path, name: str) -> RecordedCase:
    """Recorded case ``name`` ("edge_cases" or "three_clusters") of the released program."""
    import json

    import anndata

    folder = shared / "fixtures" / "celloracle" / name
    adata = anndata.read_h5ad(folder / "expression.h5ad")
    edges = pd.read_csv(folder / "prior.tsv", sep="\t")
    meta = json.loads((folder / "meta.json").read_text())
    return RecordedCase(
        expression=np.asarray(adata.X, dtype=np.float64),
        genes=np.asarray(adata.var_names, dtype=str),
        groups=np.asarray(adata.obs["cluster"], dtype=str),
        prior={t: list(s) for t, s in edges.groupby("target")["source"]},
        alpha=float(meta["alpha"]),
        bags=int(meta["bags"]),
        bagging=read_recorded(folder / "links_bagging_ridge.tsv.gz"),
        bayesian=read_recorded(folder / "links_bayesian_ridge.tsv.gz"),
    )


def more_cells_than_regulators(table: pd.DataFrame, groups: np.ndarray) -> pd.DataFrame:
    """Rows of targets with fewer regulators than their group has cells."""
    cells = pd.Series(np.asarray(groups, dtype=str)).value_counts()
    regulators = table.groupby(["group", "target"])["source"].transform("size")
    return table[table["group"].map(cells).to_numpy() > regulators.to_numpy()]


def _top(table: pd.DataFrame, number: int, p: float) -> tuple[set[tuple], pd.Series]:
    """The ``number`` heaviest edges of each group with p at most ``p``, and the last weight."""
    kept = table[table["p"] <= p]
    kept = kept.assign(size=kept["weight"].abs()).sort_values("size", ascending=False)
    kept = kept.groupby("group", sort=False).head(number)
    return set(kept[KEY].itertuples(index=False, name=None)), kept.groupby("group")["size"].min()


def compare_links(
    ours: pd.DataFrame,
    recorded: pd.DataFrame,
    top: tuple[int, ...] = (2000, 10000),
    p_cut: float = 1e-3,
    noise: float = 1e-9,
    tie: float = 1e-6,
) -> dict[str, float]:
    """Figures of agreement between two tables of links; smaller is better in all of them.

    Both have columns group, source, target, weight, p. Weights are compared in units of the
    largest recorded |weight| of the same group and target. The released program works in float32,
    so a regulator or target that is constant in the group shows up as rounding noise, below
    ``noise`` in those units: such edges are counted apart, and asked to be as small in ``ours``.

    Returns
    -------
    dict with

    - ``edges``: edges in both tables;
    - ``missing``, ``extra``: edges only recorded, only in ``ours``;
    - ``weight``, ``weight_median``: largest and median difference of the weights of the other
      edges;
    - ``noise_edges``, ``noise_weight``: number of edges recorded as rounding noise or as zero, and
      the largest of our weights there, in units of the largest recorded |weight| at all;
    - ``log10_p``: largest difference of log10 p where both are defined and the recorded |weight|
      exceeds 1e-3 of the target's largest; ``log10_p_median`` is the median there;
    - ``p_undefined``: edges, noise aside, where just one of the two has a p;
    - ``decisions``: edges, noise aside, on different sides of p <= ``p_cut``;
    - ``top_K`` for each K in ``top``: edges in one but not in the other of the two sets of K
      heaviest edges per group with p <= ``p_cut``, edges aside whose weight is within ``tie``
      (relative to the largest recorded) of the last one in.
    """
    for name, table in (("ours", ours), ("recorded", recorded)):
        lacking = {*KEY, "weight", "p"} - set(table.columns)
        if lacking:
            raise ValueError(f"{name} lacks the columns {sorted(lacking)}")
        if table.duplicated(KEY).any():
            raise ValueError(f"{name} lists an edge twice")
    both = recorded[[*KEY, "weight", "p"]].merge(
        ours[[*KEY, "weight", "p"]].astype({"group": str}),
        on=KEY,
        how="outer",
        suffixes=("_recorded", "_ours"),
        indicator=True,
    )
    figures: dict[str, float] = {
        "edges": int((both["_merge"] == "both").sum()),
        "missing": int((both["_merge"] == "left_only").sum()),
        "extra": int((both["_merge"] == "right_only").sum()),
    }
    both = both[both["_merge"] == "both"]
    theirs, mine = both["weight_recorded"].to_numpy(), both["weight_ours"].to_numpy()
    if np.isnan(mine).any() or np.isnan(theirs).any():
        raise ValueError("a weight is undefined; needed a number for every edge")
    overall = np.max(np.abs(theirs), initial=np.finfo(float).tiny)
    scale = np.abs(both["weight_recorded"]).groupby([both["group"], both["target"]])
    scale = scale.transform("max").to_numpy()
    # A whole target of noise has a scale of noise, so it is told by the largest weight at all.
    real = np.abs(theirs) > noise * np.where(scale > noise * overall, scale, overall)
    unit = np.where(scale > noise * overall, scale, overall)
    difference = np.abs(mine - theirs) / unit
    figures["weight"] = float(np.max(difference[real], initial=0.0))
    figures["weight_median"] = float(np.median(difference[real])) if real.any() else 0.0
    figures["noise_edges"] = int((~real).sum())
    figures["noise_weight"] = float(np.max(np.abs(mine[~real]), initial=0.0) / overall)

    p_theirs, p_mine = both["p_recorded"].to_numpy(), both["p_ours"].to_numpy()
    undefined = np.isnan(p_theirs) != np.isnan(p_mine)
    figures["p_undefined"] = int((undefined & real).sum())
    strong = real & (np.abs(theirs) > 1e-3 * unit) & ~np.isnan(p_theirs) & ~np.isnan(p_mine)
    floor = 1e-300  # below it, p underflows to 0 in one and not in the other
    gap = np.abs(
        np.log10(np.maximum(p_theirs[strong], floor)) - np.log10(np.maximum(p_mine[strong], floor))
    )
    figures["log10_p"] = float(np.max(gap, initial=0.0))
    figures["log10_p_median"] = float(np.median(gap)) if gap.size else 0.0
    figures["decisions"] = int((real & ((p_theirs <= p_cut) != (p_mine <= p_cut))).sum())

    size = dict(zip(both[KEY].itertuples(index=False, name=None), np.abs(theirs), strict=True))
    for number in top:
        want, last = _top(recorded, number, p_cut)
        have, _ = _top(ours.astype({"group": str}), number, p_cut)
        figures[f"top_{number}"] = sum(
            bool(abs(size.get(edge, np.inf) - last.get(edge[0], -np.inf)) > tie * overall)
            for edge in want ^ have
        )
    return figures
