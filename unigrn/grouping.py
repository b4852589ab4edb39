"""Labels and weights of cells, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrn.check import listed


def grouping(groups: Any, cells: int) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    """Return the names of the groups, the place of every cell's, -1 without, and empty ones."""
    import pandas as pd

    series = pd.Series(groups).reset_index(drop=True)
    if len(series) != cells:
        raise ValueError(f"got {len(series)} group labels for {cells} cells")
    missing = series.isna().to_numpy()
    if missing.all():
        raise ValueError("no cell has a group; give a label for at least one cell")
    places, values = pd.factorize(series[~missing])
    names, codes = np.unique(np.array([str(v) for v in values]), return_inverse=True)
    full = np.full(cells, -1, np.int32)
    full[~missing] = codes[places]
    known = getattr(series.dtype, "categories", None)
    empty = [] if known is None else sorted({str(c) for c in known} - set(names.tolist()))
    return tuple(names.tolist()), full, empty


def weighted(
    weights: Any, cells: int, names: tuple[str, ...] | None, codes: np.ndarray | None
) -> np.ndarray:
    """Return the weights of cells, of which every group needs one above 0."""
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (cells,):
        raise ValueError(f"got {weights.shape} weights for {cells} cells")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError("weights must be finite, >= 0 and not all 0")
    if names is not None and codes is not None:
        total = np.bincount(codes[codes >= 0], weights[codes >= 0], len(names))
        none = [name for name, sum_ in zip(names, total, strict=True) if sum_ == 0]
        if none:
            raise ValueError(
                f"weights must not be all 0 in a group, as in {listed(none)}: leave the labels of "
                "its cells out, or weigh one"
            )
    return weights
