"""Tables of edges and of certificates: their ranking, their checks, one form of their columns."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn import tables
from unigrn.check import listed
from unigrn.exact import Proof, differences, relative
from unigrn.status import FAILED, Status

if TYPE_CHECKING:
    import pandas as pd


SMALLEST = ("p", "q", "fdr", "variance", "score_sd")  # of these the smallest are the best

WITHIN = 1e-6  # relative gap up to which a fit counts as proved optimal


def edge_score(edges: pd.DataFrame) -> np.ndarray:
    """Give what edges rank by: `score` where there is such a column, else |weight|.

    Parameters
    ----------
    edges : DataFrame with a column `score` or `weight`
        Any table of edges, such as `Network.edges` or what `unigrn.files.read_edges` returns.

    Returns
    -------
    (e,) float array
        The largest first is the ranking; NaN ranks last.

    Raises
    ------
    ValueError
        Where there is neither column, or it does not hold numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> edge_score(pd.DataFrame({"source": ["A", "B"], "target": ["C", "C"], "weight": [-2.0, 1]}))
    array([2., 1.])
    """
    for name in ("score", "weight"):
        if name in edges.columns:
            values = numbers(edges[name], name)
            return np.abs(values) if name == "weight" else values
    raise ValueError(
        f"cannot rank edges with the columns {listed(edges.columns)}; needed 'score' or 'weight'"
    )


def ordered(
    edges: pd.DataFrame,
    score: np.ndarray,
    regulators: np.ndarray,
    targets: np.ndarray,
    groups: tuple[str, ...] | None,
) -> pd.DataFrame:
    """Sort edges by group, then score downwards (NaN last), then source and target.

    Parameters
    ----------
    edges : DataFrame of e rows
    score : (e,) float array
    regulators, targets, groups
        As `unigrn.Network` has them.
    """
    order = np.lexsort(
        (
            codes(edges["target"], targets),
            codes(edges["source"], regulators),
            -score,
            group_codes(edges, groups),
        )
    )
    return edges.iloc[order].reset_index(drop=True)


def filtered(
    edges: pd.DataFrame,
    groups: tuple[str, ...] | None,
    named: Mapping[str, tuple[Iterable[str] | None, np.ndarray]],
    thresholds: Mapping[str, float | None],
    by: str,
    top: int | None,
    method: str,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Keep some edges, best first, and say how; see `unigrn.Network.filter`.

    Parameters
    ----------
    edges : DataFrame
    groups : tuple of str, or None
    named : dict
        "source" and "target" to the names to keep (None: all) and all that there are.
    thresholds : dict
        Column to its threshold, or None.
    by, top
        Column to sort by, and number of edges per group.
    method : str
        For messages.

    Raises
    ------
    ValueError
        See `unigrn.Network.filter`.
    """
    table: Any = edges
    step: dict[str, Any] = {"p": thresholds.get("p"), "top": top, "by": by}
    for column, (wanted, known) in named.items():
        if wanted is None:
            continue
        if isinstance(wanted, str):
            raise ValueError(f"{column}s is the text {wanted!r}; needed a list: [{wanted!r}]")
        names = step[f"{column}s"] = sorted({str(name) for name in wanted})
        chosen = np.isin(known, np.array(names, dtype=str))
        if not chosen.any():
            raise ValueError(
                f"none of the {len(names)} names in {column}s is in the network "
                f"({listed(names)}); it has {listed(known)}"
            )
        table = table[chosen[codes(table[column], known)]]
    for column, bound in thresholds.items():
        if bound is None:
            continue
        step[column] = bound
        if column not in edges.columns:
            ask = "where infer's method has them, permutations=2 gives it; or " * (column == "fdr")
            raise ValueError(
                f"method {method} gives no {column}, and {column}={bound!r} asks for it; "
                f"{ask}leave it out ({column}=None); there are {listed(edges.columns)}"
            )
        smallest = column in SMALLEST
        if isinstance(bound, bool) or not (0 <= bound <= 1 if smallest else np.isfinite(bound)):
            needed = "from 0 to 1" if smallest else "that is finite"
            raise ValueError(f"{column} is {bound!r}; needed a threshold {needed}, or None")
        values = numbers(table[column], column)
        table = table[values <= bound if smallest else values >= bound]
    if by not in table.columns:
        raise ValueError(f"by is {by!r}; needed one of {listed(edges.columns)}")
    keys = numbers(table[by], by)
    keys = np.abs(keys) if by == "weight" else -keys if by in SMALLEST else keys
    table = ordered(table, keys, named["source"][1], named["target"][1], groups)
    if top is not None:
        if isinstance(top, bool) or not isinstance(top, int | np.integer) or top < 0:
            raise ValueError(f"top is {top!r}; needed a whole number of edges, or None")
        code = group_codes(table, groups)
        start = np.searchsorted(code, code)  # first row of the group: the table is sorted
        table = table[np.arange(code.size) - start < top]
    return table, step


def checked_names(given: Iterable[str], what: str) -> np.ndarray:
    """Give checked, sorted names."""
    names = given.tolist() if isinstance(given, np.ndarray) else list(given)
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"{what} hold {name!r} ({type(name).__name__}); needed names that are text and "
                "not empty"
            )
    joined = "".join(names)
    if "\0" in joined:
        bad = next(name for name in names if "\0" in name)
        raise ValueError(f"{what} hold {bad!r}; a NUL character fits into no table: rename it")
    try:
        joined.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} hold the character {joined[error.start]!r}, which is not valid Unicode; "
            "rename that name"
        ) from None
    array = np.unique(np.array(names, dtype=str))
    if array.size != len(names):
        known, counts = np.unique(np.array(names, dtype=str), return_counts=True)
        raise ValueError(f"{what} hold {listed(known[counts > 1])} more than once; needed once")
    array.flags.writeable = False
    return array


def codes(values: tables.Column, names: Iterable[str]) -> np.ndarray:
    """Give the position of each value among `names`, -1 where it is none of them."""
    import pandas as pd

    index = pd.Index(np.asarray(names, dtype=object), dtype=object)
    if isinstance(values.dtype, pd.CategoricalDtype):
        known = index.get_indexer(pd.Index(values.cat.categories, dtype=object))
        return np.append(known, -1)[values.cat.codes.to_numpy()]
    return index.get_indexer(pd.Index(values.to_numpy(dtype=object), dtype=object))


def group_codes(table: pd.DataFrame, groups: tuple[str, ...] | None) -> np.ndarray:
    """Give the position of each row's group in `groups`; 0 where not grouped."""
    if groups is None:
        return np.zeros(len(table), np.intp)
    return codes(table["group"], groups)


def numbers(column: tables.Column, name: str) -> np.ndarray:
    """Give a column of numbers as floats of its own precision."""
    if not tables.is_number(column):
        raise ValueError(f"column {name!r} holds {column.dtype}; needed numbers")
    return tables.numbers(column)[0]


def _column(column: tables.Column, name: str) -> np.ndarray:
    """Give a statistic as a NumPy array of numbers or booleans, or as objects: text and None."""
    import pandas as pd

    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        column = column.astype(dtype.categories.dtype)
        dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        if dtype.kind == "f" and dtype.itemsize not in (4, 8):
            return column.to_numpy(np.float32 if dtype.itemsize < 4 else np.float64)
        return column.to_numpy(dtype.newbyteorder("="))
    if pd.api.types.is_bool_dtype(dtype) and not column.hasnans:
        return column.to_numpy(bool)
    if pd.api.types.is_numeric_dtype(dtype) and dtype.kind != "c":
        return column.to_numpy(np.float64, na_value=np.nan)
    values = column.to_numpy(dtype=object)
    missing = pd.isna(values)
    if pd.api.types.infer_dtype(values, skipna=True) not in ("string", "empty"):
        raise ValueError(
            f"column {name!r} holds {dtype}; needed numbers, booleans or text in one column"
        )
    # Files leave an undefined value empty, so an empty text is an undefined one.
    undefined: Any = None
    return np.where(missing | (values == ""), undefined, values)


def _check_columns(table: pd.DataFrame, needed: Iterable[str], what: str) -> None:
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"{what} is a {type(table).__name__}; needed a pandas DataFrame")
    if not table.columns.is_unique:
        raise ValueError(f"{what} has two columns of one name: {listed(table.columns)}")
    for name in table.columns:
        if not isinstance(name, str) or not name.isprintable() or name in ("", "_index"):
            raise ValueError(f"{what} has a column named {name!r}; needed a plain word")
        if "/" in name:
            raise ValueError(f"{what} has a column {name!r}; h5ad has no '/' in names: rename it")
    lacking = [name for name in needed if name not in table.columns]
    if lacking:
        raise ValueError(
            f"{what} lacks the column {listed(lacking)}; there are {listed(table.columns)}"
        )


def _known(table: pd.DataFrame, column: str, names: Iterable[str], what: str) -> np.ndarray:
    """Give the codes of a column of names, all of which must be among `names`."""
    places = codes(table[column], names)
    if (places < 0).any():
        row = int(np.flatnonzero(places < 0)[0])
        listed = {"source": "regulators", "target": "targets", "group": "groups"}[column]
        raise ValueError(
            f"{what} has {int((places < 0).sum())} rows whose {column} is not among the network's "
            f"{listed} (row {row}: {table[column].iloc[row]!r}); needed names from there, as text"
        )
    return places


def checked_edges(
    edges: pd.DataFrame, regulators: np.ndarray, targets: np.ndarray, groups: tuple[str, ...] | None
) -> pd.DataFrame:
    """Give the edges with their names checked and their columns in order."""
    import pandas as pd

    keys = {"group": groups} if groups is not None else {}
    keys |= {"source": regulators, "target": targets}
    _check_columns(edges, [*keys, "weight"], "edges")
    if groups is None and "group" in edges.columns:
        raise ValueError("edges has a column 'group'; needed the names of the groups in groups")
    columns, place = {}, np.zeros(len(edges), np.int64)
    for column, names in keys.items():
        code = _known(edges, column, names, "edges")
        columns[column] = np.asarray(names, dtype=object)[code]
        place = place * max(len(names), 1) + code
    double = pd.Series(place).duplicated().to_numpy()
    if double.any():
        edge = edges.iloc[int(np.flatnonzero(double)[0])]
        raise ValueError(
            f"edges has {int(double.sum())} rows of an edge that came before, such as "
            f"{' -> '.join(repr(str(edge[name])) for name in keys)}; needed one row per edge"
        )
    weight = _column(edges["weight"], "weight")
    if weight.dtype.kind != "f":
        weight = numbers(edges["weight"], "weight")
    if not np.isfinite(weight).all():
        row = int(np.flatnonzero(~np.isfinite(weight))[0])
        raise ValueError(
            f"edges has {int((~np.isfinite(weight)).sum())} weights that are not finite (row {row}:"
            f" {columns['source'][row]!r} -> {columns['target'][row]!r} is {weight[row]}); drop "
            "those edges and let the certificate say why"
        )
    columns["weight"] = weight
    for name in edges.columns:
        if name not in columns:
            columns[name] = _column(edges[name], name)
    if "p" in columns and columns["p"].dtype.kind != "f":
        columns["p"] = numbers(edges["p"], "p")
    return tables.build(columns)


def checked_certificate(
    certificate: pd.DataFrame | None, targets: np.ndarray, groups: tuple[str, ...] | None
) -> pd.DataFrame:
    """Give the certificate with its names checked and its columns in order."""
    keys = {"group": groups} if groups is not None else {}
    keys |= {"target": targets}
    if certificate is None:
        columns = {name: np.empty(0, object) for name in (*keys, "status")}
        columns |= {"residual": np.empty(0), "iterations": np.empty(0, np.int64)}
        return tables.build(columns)
    _check_columns(certificate, [*keys, "status"], "certificate")
    columns = {
        column: np.asarray(names, dtype=object)[_known(certificate, column, names, "certificate")]
        for column, names in keys.items()
    }
    for name in certificate.columns:
        if name not in columns:
            columns[name] = _column(certificate[name], name)
    status = columns["status"]
    if status.dtype != object or any(value is None for value in status):
        raise ValueError("certificate has a status that is no text; needed one for every row")
    if "residual" in columns:
        columns["residual"] = numbers(certificate["residual"], "residual")
    table = tables.build(columns)
    if certificate.attrs.get("summary"):
        table.attrs["summary"] = certificate.attrs["summary"]
    return table


def summarize(certificate: pd.DataFrame, groups: tuple[str, ...] | None) -> dict[str, Any]:
    """Count the rows of a certificate; see `unigrn.Network.certificate_summary`."""
    whole = certificate.attrs.get("summary")
    if whole:
        return copy.deepcopy(whole)
    summary = _count_statuses(certificate)
    if groups is not None:
        parts: dict[Any, pd.DataFrame] = dict(list(certificate.groupby("group", sort=True)))
        none = certificate.head(0)
        summary["by_group"] = {name: _count_statuses(parts.get(name, none)) for name in groups}
    return summary


def failed(certificate: pd.DataFrame) -> pd.DataFrame:
    """Give the rows with any other status than the good ones of `unigrn.status.Status`."""
    good = [status.message for status in Status if status not in FAILED]
    reached = certificate["status"].isin(good).to_numpy(bool)
    rows: Any = certificate[~reached]
    return rows.reset_index(drop=True)


def _count_statuses(rows: pd.DataFrame) -> dict[str, Any]:
    """Count the statuses of some rows of a certificate, and find the largest residual."""
    counts = rows["status"].value_counts()
    summary: dict[str, Any] = {
        "rows": len(rows),
        "counts": {name: int(counts[name]) for name in sorted(counts.index)},
        "worst_residual": None,
        "worst": None,
    }
    residual = rows["residual"].to_numpy() if "residual" in rows.columns else np.empty(0)
    if residual.size and not np.isnan(residual).all():
        row = int(np.nanargmax(residual))
        summary["worst_residual"] = float(str(residual[row]))
        where = [name for name in ("group", "target") if name in rows.columns]
        summary["worst"] = {name: rows[name].iloc[row] for name in where}
    return summary


def of_one_group(certificate: pd.DataFrame, group: str) -> pd.DataFrame:
    """Give the rows of one group, and the part of the summary that counts it."""
    rows: Any = certificate[(certificate["group"] == group).to_numpy()]
    whole = certificate.attrs.get("summary")
    part = dict(whole["by_group"][group]) if whole else {}
    rows.attrs = {"summary": {**part, "by_group": {group: dict(part)}}} if whole else {}
    return rows


def checked_proof(proof: Proof | None, edges: pd.DataFrame, groups: Any) -> Proof | None:
    """Return what a proof says of these groups of cells; refuse one of other coefficients.

    Raises
    ------
    ValueError
        Where the edges are not coefficients that were proved, or it lacks a group.
    """
    if proof is None:
        return None
    known, names = proof.groups.tolist(), list(groups or [""])
    wrong = [f"it has no group {name!r}" for name in names if name not in known]
    if not wrong and names != known:
        places = [known.index(name) for name in names]
        whole = ("regulators", "targets", "indptr", "candidate")  # of all groups
        parts = {f.name: getattr(proof, f.name) for f in dataclasses.fields(proof)}
        taken = {name: v[places] for name, v in parts.items() if name not in whole}
        proof = dataclasses.replace(proof, **taken)
    wrong += [f"{n:,} {text}" for n, text in differences(proof, edges, part=True) if n]
    if wrong:
        raise ValueError(
            f"the proof is not one of these edges ({wrong[0]}); leave it out (proof=None), or "
            "infer them again with certify=True (--certify)"
        )
    return proof


def exact_table(proof: Proof, grouped: bool) -> pd.DataFrame:
    """Give the gaps that were proved as a table; see `unigrn.Network.certificate_exact`."""
    import pandas as pd

    g, p = proof.gap.shape
    table: dict[str, Any] = {}
    if grouped:
        table["group"] = np.repeat(proof.groups.astype(object), p)
    table["target"] = np.tile(proof.targets.astype(object), g)
    table["gap"] = proof.gap.ravel()
    table["relative_gap"] = relative(proof.gap, proof.worth).ravel()
    return pd.DataFrame(table)


def exact_problem(proof: Proof) -> dict[str, list[float]]:
    """Give the least and the largest number of each kind in the problem that a proof is of."""
    kinds = ("l1", "l2", "low", "high", "scale")
    spans = {k: (v.min(), v.max()) if (v := getattr(proof, k)).size else () for k in kinds}
    return {k: [float(end) for end in ends] for k, ends in spans.items()}


def exact_line(proof: Proof, gap: np.ndarray, within: float = WITHIN) -> str:
    """Say how many fits are proved to be optimal, and where the largest relative gap is."""
    group, target = np.unravel_index(np.argmax(gap), gap.shape) if gap.size else (0, 0)
    where = " / ".join(n for n in (proof.groups[group], proof.targets[target]) if n)
    return (
        f"proved exactly: {int((gap <= within).sum()):,} of {gap.size:,} fits within {within:g} of "
        f"their optimum; largest relative gap {gap[group, target]:.2g} ({where})"
    )
