"""What a network has to beat: its prior alone, plain correlation, its own permuted scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.check import listed
from unigrn.data import Data
from unigrn.evaluate.gold import ABSENT, NEGATIVE, POSITIVE, Universe, existing
from unigrn.evaluate.metrics import METRICS, Ranking, metrics_of, rank, small
from unigrn.prior import Prior, read_prior

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 20_000_000
"""Values of an expression matrix that are dense at one time."""

# The score measures the prior when most positives are in it and hardly any negative is.
LEAK_SHARE = 0.5
LEAK_ENRICHMENT = 20.0


def edges_of_prior(prior: Any) -> pd.DataFrame:
    """Edges of a prior (source, target, weight), one row per layer and pair."""
    import pandas as pd

    if isinstance(prior, pd.DataFrame):
        prior = Prior.from_edges(prior)
    elif isinstance(prior, Mapping):
        prior = Prior.from_dict(prior)
    elif not hasattr(prior, "edges"):
        prior = read_prior(prior)
    return prior.edges


def prior_ranking(known: pd.DataFrame, universe: Universe) -> Ranking:
    """Rank the prior's pairs by the size of their weights, summed over layers."""
    p = universe.targets.size
    row, col = universe.locate(
        known["source"].to_numpy(dtype=object), known["target"].to_numpy(dtype=object)
    )
    weight = known["weight"].to_numpy(dtype=np.float64)
    grid = (row >= 0) & (col >= 0)
    cell, back = np.unique(row[grid].astype(np.int64) * p + col[grid], return_inverse=True)
    summed = np.bincount(back, weights=np.abs(weight[grid]), minlength=cell.size)
    return rank(cell // p, cell % p, summed)


def prior_alone(
    known: pd.DataFrame,
    ranking: Ranking,
    universe: Universe,
    held_out: bool,
    notes: list[str],
    warnings: list[str],
) -> tuple[dict[str, Any], dict[str, float | int | None]]:
    """Metrics of the prior's own weights, and the leak check."""
    metrics = metrics_of(ranking, universe)
    state = universe.state[ranking.row, ranking.col]
    positives, negatives = int((state == POSITIVE).sum()), int((state == NEGATIVE).sum())
    n_positive = int(metrics["n_positive"] or 0)
    n_negative = int(metrics["n_universe"] or 0) - n_positive
    share = positives / n_positive
    other = negatives / n_negative if n_negative else None
    into = int(known["target"].isin(list(universe.targets)).sum())
    overlap = {"positives": share, "negatives": other, "scored_targets": into}
    if not into:
        notes.append("leak check: the prior holds no edge of the scored targets")
        return metrics, overlap
    notes.append(
        f"leak check: the prior holds {positives:,} of the {n_positive:,} positives ({share:.1%}) "
        f"and {negatives:,} of the {n_negative:,} negatives"
        + (f" ({other:.2%})" if other is not None else "")
    )
    if share > LEAK_SHARE and other is not None and share > LEAK_ENRICHMENT * other:
        warnings.append(
            f"the prior holds {share:.0%} of the gold's positives and {other:.2%} of its negatives:"
            " a score on this gold measures the prior, not the method; hide targets from the prior "
            "and score those"
        )
    elif held_out and positives:
        warnings.append(
            f"the prior holds {positives:,} positives of the listed targets: they are not held out"
        )
    return metrics, overlap


def permuted(ranking: Ranking, universe: Universe, permutations: int, seed: int) -> dict[str, Any]:
    """Mean and standard deviation of the metrics over permutations of the target names."""
    random = np.random.default_rng(seed)
    runs = [
        metrics_of(ranking, universe, random.permutation(universe.targets.size))
        for _ in range(permutations)
    ]
    out: dict[str, Any] = dict(runs[0])
    sd: dict[str, float | None] = {}
    for name in METRICS[:5]:
        # Whether a metric is defined depends on the universe alone, so on no permutation.
        values = [value for run in runs if (value := run[name]) is not None]
        out[name] = float(np.mean(values)) if values else None
        sd[name] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {**out, "permutations": permutations, "sd": sd}


def pearson(
    expression: Any, universe: Universe, notes: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and |correlation| of the measured pairs of the universe."""
    matrix, names = expression_of(expression)
    import pandas as pd

    index = pd.Index(names, dtype=object)
    if not index.is_unique:
        twice = index[index.duplicated()]
        raise ValueError(
            f"{twice.nunique()} genes of the expression matrix occur more than once, such as "
            f"{listed(twice, 3)}; make the names unique."
        )
    genes = np.union1d(universe.regulators.astype(str), universe.targets.astype(str))
    place = index.get_indexer(pd.Index(genes.astype(object), dtype=object))
    genes, place = genes[place >= 0], place[place >= 0]
    if not genes.size:
        raise ValueError(
            f"The expression matrix and the gold standard share no gene name: one has "
            f"{listed(names, 3)}, the other {listed(universe.targets, 3)}."
        )
    n = matrix.shape[0]
    if n < 3:
        raise ValueError(f"The expression matrix has {n} observations; Pearson needs at least 3.")
    # Blocks of observations: a sparse matrix of many cells never becomes dense as a whole.
    step = max(1, BLOCK // genes.size)
    blocks = [slice(first, min(first + step, n)) for first in range(0, n, step)]

    def block(rows: slice) -> np.ndarray:
        part = matrix[rows][:, place]
        part = part.toarray() if hasattr(part, "toarray") else part
        return np.asarray(part, dtype=np.float64)

    with np.errstate(invalid="ignore"):  # infinities of both signs; refused below
        mean = np.sum([block(rows).sum(axis=0) for rows in blocks], axis=0) / n
    if not np.isfinite(mean).all():
        raise ValueError(
            f"The expression of {int((~np.isfinite(mean)).sum())} genes holds NaN or infinite "
            f"values, such as {listed(genes[~np.isfinite(mean)], 3)}; impute or drop them."
        )
    row = universe.locate(genes.astype(object), genes.astype(object))[0]
    col = universe.locate(genes.astype(object), genes.astype(object))[1]
    left, right = np.flatnonzero(row >= 0), np.flatnonzero(col >= 0)
    product = np.zeros((left.size, right.size))
    square = np.zeros(genes.size)
    for rows in blocks:
        centred = block(rows) - mean
        square += np.einsum("ng,ng->g", centred, centred)
        product += centred[:, left].T @ centred[:, right]
    # A constant gene correlates with nothing: its pairs stay unlisted. Rounding of the mean
    # leaves a residue, hence the relative bound.
    varies = square > n * (1e-12 * np.abs(mean)) ** 2
    length = np.sqrt(np.where(varies, square, 1.0))
    product /= length[left][:, None]
    product /= length[right][None, :]
    usable = varies[left][:, None] & varies[right][None, :]
    usable &= left[:, None] != right[None, :]  # a gene's correlation with itself says nothing
    usable &= universe.state[np.ix_(row[left], col[right])] != ABSENT
    unmeasured = universe.regulators.size - left.size, universe.targets.size - right.size
    if any(unmeasured):
        notes.append(
            f"|Pearson|: {unmeasured[0]} of {universe.regulators.size} regulators and "
            f"{unmeasured[1]} of {universe.targets.size} targets of the universe are not measured; "
            "their pairs share the last score"
        )
    narrow = small(usable.size)
    return (
        np.broadcast_to(row[left].astype(narrow)[:, None], usable.shape)[usable],
        np.broadcast_to(col[right].astype(narrow)[None, :], usable.shape)[usable],
        np.abs(product[usable]),
    )


def expression_of(expression: Any) -> tuple[Any, np.ndarray]:
    """Matrix (observations x genes, dense or sparse) and gene names."""
    import pandas as pd

    if isinstance(expression, (str, Path)):
        expression = Data.from_anndata(existing(expression, "expression file"))
    if isinstance(expression, Data):
        matrix = expression.matrix
        matrix = matrix.to_memory() if hasattr(matrix, "to_memory") else matrix
        expression = (matrix if hasattr(matrix, "tocsr") else np.asarray(matrix), expression.genes)
    if isinstance(expression, pd.DataFrame):
        return expression.to_numpy(), expression.columns.astype(str).to_numpy(dtype=object)
    matrix: Any
    if hasattr(expression, "var_names") and hasattr(expression, "X"):
        matrix, names = expression.X, expression.var_names.astype(str).to_numpy(dtype=object)
        matrix = matrix.tocsr() if hasattr(matrix, "tocsr") else matrix
    elif isinstance(expression, tuple) and len(expression) == 2:
        matrix, names = expression
        matrix = matrix.tocsr() if hasattr(matrix, "tocsr") else np.asarray(matrix)
        names = np.asarray([str(name) for name in names], dtype=object)
    else:
        raise ValueError(
            f"The expression is a {type(expression).__name__}; an AnnData, the path of an .h5ad "
            "file, a DataFrame, or a pair (matrix, gene names) is needed."
        )
    if matrix is None or matrix.ndim != 2 or matrix.shape[1] != names.size:
        shape = None if matrix is None else matrix.shape
        raise ValueError(
            f"The expression matrix has the shape {shape} and there are {names.size} gene names; "
            "it needs observations x genes."
        )
    return matrix, names
