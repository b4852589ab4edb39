"""Pairs that several edge tables list, group by group, and which of them are true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from unigrn.edges import edge_score
from unigrn.tables import Column

if TYPE_CHECKING:
    import pandas as pd


def judge(
    tables: Mapping[str, pd.DataFrame], truth: pd.DataFrame, groups: Sequence[str | None]
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Say for every pair that a table lists with which score, and whether it is true.

    Parameters
    ----------
    tables
        Name -> table [group,] source, target, weight[, score].
    truth
        Table [group,] source, target[, weight] of true edges; or with a column label of 0 and 1,
        whose rows are the judged pairs.
    groups
        Groups to judge; None where there are none. A table without groups holds for all.

    Returns
    -------
    pairs : DataFrame
        group, source, target, true, weight (of the first table), and strength where the truth has
        weights; sorted within groups, without self-edges. What is not listed has 0.
    scores : dict of str to (n,) float array
        Of each table; what it does not list shares its last place.
    """
    import pandas as pd

    first = next(iter(tables))
    parts, scores = [], {name: [] for name in tables}
    for group in groups:
        within = {name: in_group(table, group) for name, table in tables.items()}
        gold = in_group(truth, group)
        universe = [gold] if "label" in truth else list(within.values())
        rows: Any = pd.concat([table[["source", "target"]].astype(str) for table in universe])
        pairs: Any = pd.MultiIndex.from_frame(rows)
        pairs = pairs.unique().sort_values()
        pairs = pairs[pairs.get_level_values("source") != pairs.get_level_values("target")]
        true = true_edges(gold)
        part = pairs.to_frame(index=False).assign(
            group=group,
            true=pairs.isin(_index(true)),
            weight=_values(pairs, within[first], within[first]["weight"]),
        )
        if "weight" in truth:
            part["strength"] = _values(pairs, true, true["weight"])
        parts.append(part)
        for name, table in within.items():
            listed = defined_score(table)
            last = min(listed.min(initial=0.0), 0.0)
            scores[name].append(_values(pairs, table, listed, absent=last))
    judged = pd.concat(parts, ignore_index=True)
    return judged, {name: np.concatenate(values) for name, values in scores.items()}


def in_group(edges: pd.DataFrame, group: str | None) -> pd.DataFrame:
    """Rows of one group; all where the table has no groups."""
    if group is None or "group" not in edges:
        return edges
    return cast("pd.DataFrame", edges[edges["group"].to_numpy(str) == group])


def true_edges(truth: pd.DataFrame) -> pd.DataFrame:
    """Rows that are true, by the label where there is one."""
    if "label" not in truth:
        return truth
    return cast("pd.DataFrame", truth[truth["label"].to_numpy(float) > 0])


def defined_score(edges: pd.DataFrame) -> np.ndarray:
    """Give what edges rank by, 0 where it is undefined."""
    return np.nan_to_num(edge_score(edges).astype(float), nan=0.0)


def _index(table: pd.DataFrame) -> pd.MultiIndex:
    import pandas as pd

    ends: Any = table[["source", "target"]].astype(str)
    return pd.MultiIndex.from_frame(ends)


def _values(
    pairs: pd.MultiIndex, table: pd.DataFrame, values: Column | np.ndarray, absent: float = 0.0
) -> np.ndarray:
    """Value of every pair, the first where the table repeats it; `absent` where it has none."""
    import pandas as pd

    listed: Any = pd.Series(np.asarray(values, dtype=float), index=_index(table))
    of_pair = listed[~listed.index.duplicated()].reindex(pairs).to_numpy()
    return np.where(np.isfinite(of_pair), of_pair, absent)
