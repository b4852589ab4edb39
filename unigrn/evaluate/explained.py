"""How well a network's regulators predict their targets in hidden cells, without a gold standard.

geneRNIB's metrics ``r_precision``, ``r_recall`` and ``r2_raw``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.check import check_whole, listed
from unigrn.evaluate.baselines import expression_of
from unigrn.evaluate.ranked import read_ranked

if TYPE_CHECKING:
    import pandas as pd

QUANTILES = {"r_precision": 0.25, "r_recall": 0.75}
"""Of the networks' numbers of regulators of a gene, the quantile that each metric takes."""

RAW, FEWEST = "r2_raw", 2  # the third metric; genes need more regulators than these
REGRESSION = (*QUANTILES, RAW)
"""Names of the metrics, in the order in which they are reported."""

BYTES = 1 << 28  # of the systems that are solved at once


def regression_metrics(
    networks: Mapping[str, Any],
    expression: Any,
    regulators: Iterable[str] | None = None,
    *,
    groups: Iterable[Any] | None = None,
    folds: int = 5,
    top: int = 50_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score networks by how well the regulators of a gene predict it in cells left out.

    Genes are divided by their interquartile range. For gene g and network m, the n_g regulators
    with the highest scores enter a ridge regression with intercept (alpha 1), fitted with one
    group of cells left out at a time; R^2_g is the mean of the R^2 in the groups, cut to [0, 1]::

        r_precision = mean over g of R^2_g, n_g the networks' first quartile of regulators of g
        r_recall    = the same, n_g the third quartile
        r2_raw      = mean over the genes with more than 2 regulators in m, of all these

    Regulators beyond those that a network lists are drawn at random, as are ties; genes whose n_g
    is 0 are left out. A network of ``top`` strongest edges is looked at, self-edges left out.

    Parameters
    ----------
    networks
        Name -> what `unigrn.evaluate` takes as a network. The quartiles are over all of them.
    expression
        As in `unigrn.evaluate`.
    regulators
        Names that may regulate; by default those that any network has.
    groups
        (cells,) group of each, such as its cell type; by default ``folds`` random parts.
    folds
        Number of random parts, >= 2.
    top
        Edges of each network, >= 1.
    seed
        Of the parts, and of regulators that are drawn.

    Returns
    -------
    DataFrame
        One row per network: ``r_precision``, ``r_recall``, ``r2_raw``; NaN where no gene counts.

    Raises
    ------
    ValueError
        No network; networks and expression share no regulator or target; fewer than two groups.

    Notes
    -----
    A network that was inferred from these cells chose its regulators by them: give cells that the
    fit did not see where there are any.

    References
    ----------
    geneRNIB, Nourisa et al. 2025, doi:10.1101/2025.02.25.640181.
    """
    import pandas as pd

    if not networks:
        raise ValueError("regression_metrics() got no network; give at least one")
    matrix, names = expression_of(expression)
    values = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the expression holds values that are not finite; impute or drop them")
    index = pd.Index(names, dtype=object)
    tables = {name: read_ranked(network, None, None)[0] for name, network in networks.items()}
    known = np.unique(np.concatenate([t.source.astype(str) for t in tables.values()]))
    allowed = known if regulators is None else np.asarray(sorted(map(str, regulators)))
    tfs = np.flatnonzero(index.isin(allowed.astype(object)))
    rng = np.random.default_rng(seed)
    scores = {}
    for name, table in tables.items():
        row = pd.Index(index[tfs]).get_indexer(pd.Index(table.source.astype(str), dtype=object))
        column = index.get_indexer(pd.Index(table.target.astype(str), dtype=object))
        score = np.where(np.isfinite(table.score), table.score - _least(table.score), 0)
        keep = (row >= 0) & (column >= 0) & (score > 0)
        keep[keep] = tfs[row[keep]] != column[keep]
        if not keep.any():
            raise ValueError(
                f"network {name!r} and the expression share no edge: the network has "
                f"{listed(table.source, 2)} -> {listed(table.target, 2)}, the expression "
                f"{listed(names, 3)}; map both to the same identifiers"
            )
        place = np.flatnonzero(keep)
        place = place[np.argsort(-score[place], kind="stable")][: check_whole("top", top, low=1)]
        scores[name] = np.zeros((tfs.size, index.size))
        np.maximum.at(scores[name], (row[place], column[place]), score[place])
    low, high = np.quantile(values, (0.25, 0.75), axis=0)
    spread = high - low
    values = values / np.where(spread < 10 * np.finfo(float).eps, 1, spread)
    if groups is None:
        parts = rng.integers(check_whole("folds", folds, low=2), size=len(values))
    else:
        parts = pd.factorize(np.asarray(list(groups)))[0]
        if parts.size != len(values):
            raise ValueError(f"groups has {parts.size} entries and there are {len(values)} cells")
    if np.unique(parts).size < 2:
        raise ValueError(f"{len(values)} cells in one group; at least two groups are needed")
    degrees = np.stack([(own > 0).sum(axis=0) for own in scores.values()])
    own = np.isin(np.arange(index.size), tfs).astype(int)
    wanted = {
        metric: np.minimum(np.round(np.quantile(degrees, q, axis=0)).astype(int), tfs.size - own)
        for metric, q in QUANTILES.items()
    }
    rows = []
    for at, score in enumerate(scores.values()):
        order = _ranked(score, tfs, rng)
        counts = wanted | {RAW: np.where(degrees[at] > FEWEST, degrees[at], 0)}
        rows.append({m: _explained(values, parts, tfs, order, n) for m, n in counts.items()})
    return pd.DataFrame(rows, index=pd.Index(list(networks)))


def _least(score: np.ndarray) -> float:
    """Return what to take from scores, so that they are positive: 0 is what is unlisted."""
    least = float(np.nanmin(score, initial=0.0))
    return least - 1e-12 * abs(least) if least < 0 else 0.0


def _ranked(score: np.ndarray, tfs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order the regulators of every gene, (regulators, genes), the gene itself last."""
    score = score.copy()
    score[np.arange(tfs.size), tfs] = -1
    return np.lexsort((rng.random(score.shape), -score), axis=0)


def _explained(
    values: np.ndarray, parts: np.ndarray, tfs: np.ndarray, order: np.ndarray, count: np.ndarray
) -> float:
    """Return the mean R^2 over the genes with regulators."""
    genes = np.flatnonzero(count > 0)
    if not genes.size:
        return float("nan")
    x, y = values[:, tfs], values[:, genes]
    total = np.zeros(genes.size)
    every = np.unique(parts)
    for part in every:
        fitted, hidden = parts != part, parts == part
        center, level = x[fitted].mean(axis=0), y[fitted].mean(axis=0)
        inside = x[fitted] - center
        weights = _ridge(
            inside.T @ inside, inside.T @ (y[fitted] - level), order[:, genes], count[genes]
        )
        rest = y[hidden] - level - (x[hidden] - center) @ weights
        apart = y[hidden] - y[hidden].mean(axis=0)
        residual, spread = (rest**2).sum(axis=0), (apart**2).sum(axis=0)
        constant = np.where(residual == 0, 1.0, 0.0)
        total += np.where(spread > 0, 1 - residual / np.where(spread > 0, spread, 1), constant)
    return float(np.clip(total / every.size, 0, 1).mean())


def _ridge(
    gram: np.ndarray, cross: np.ndarray, order: np.ndarray, count: np.ndarray, alpha: float = 1.0
) -> np.ndarray:
    """Ridge of every gene on the first ``count`` of its order, (regulators, genes).

    Genes of about as many regulators are solved together, each padded by rows of the identity.
    """
    out = np.zeros_like(cross)
    width = 2 ** np.ceil(np.log2(np.maximum(count, 1))).astype(int)
    for size in np.unique(width):
        k = min(int(size), gram.shape[0])
        genes = np.flatnonzero(width == size)
        step = max(1, BYTES // (8 * k * k))
        for some in (genes[i : i + step] for i in range(0, genes.size, step)):
            place = order[:k, some].T
            real = np.arange(k) < count[some, None]
            system = gram[place[:, :, None], place[:, None, :]] * (
                real[:, :, None] & real[:, None, :]
            )
            system[:, np.arange(k), np.arange(k)] += np.where(real, alpha, 1.0)
            right = cross[place, some[:, None]] * real
            found = np.linalg.solve(system, right[:, :, None])[:, :, 0]
            out[place, some[:, None]] = found * real
    return out
