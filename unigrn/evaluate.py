"""Score a network against a gold standard, beside the baselines that it has to beat.

The universe is the set of pairs (regulator, target) that the gold speaks about: its labelled
rows, or gold TFs x gold targets without self-edges. A network lists some of these pairs with a
score; all pairs that it does not list share one last score, and equal scores are one threshold.

Three baselines stand beside every network, because a high score alone says little: the prior
alone (a network that only repeats its prior scores the same), ``|Pearson|`` (no model at all) and
the network's own scores on permuted target names (what the numbers of edges per regulator give).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.names import read_names

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from unigrn.network import Network
    from unigrn.prior import Prior

METRICS = ("auprc", "auprc_ratio", "epr", "auroc", "macro_auroc", "n_universe", "n_positive")
"""Names of the metrics, in the order in which they are reported."""

MACRO_POSITIVES = 5
"""Positives that a TF needs for its AUROC to enter ``macro_auroc``."""

BLOCK = 20_000_000
"""Values of an expression matrix that are dense at one time."""

# The score measures the prior when most positives are in it and hardly any negative is.
LEAK_SHARE = 0.5
LEAK_ENRICHMENT = 20.0

_SOURCE = ("source", "tf")
_ABSENT, _NEGATIVE, _POSITIVE = 0, 1, 2
_UNDEFINED = ("", "NA", "NaN", "nan", "None", "null")


# ---------------------------------------------------------------------------------------------
# Results


@dataclass(frozen=True)
class Evaluation:
    """What a network scores on a gold standard, and what the baselines score there.

    Parameters
    ----------
    metrics
        ``auprc``, ``auprc_ratio``, ``epr``, ``auroc``, ``macro_auroc``, ``n_universe`` and
        ``n_positive``, as :func:`evaluate` defines them; None where undefined. Of all groups
        together where the network has groups.
    baselines
        Name of the baseline -> the same metrics on the same universe. ``permuted targets`` holds
        means, and in addition ``permutations`` and ``sd`` (metric -> standard deviation).
    groups
        Group -> its metrics; empty without groups.
    sign_accuracy
        Share of the found signed positives whose weight has the gold's sign; None where the gold
        or the network has no signs, or no signed positive is found.
    n_signed
        Number of edges behind ``sign_accuracy``.
    edges
        Counts: ``listed`` (rows of the network), ``in_universe`` (distinct pairs of them in the
        universe), ``outside`` (rows outside of it), ``found`` (positives among the listed pairs).
    prior_overlap
        With a prior: ``positives`` and ``negatives`` (share of the universe's that are in the
        prior), and ``scored_targets`` (prior edges into the scored targets); None without.
    notes
        What was counted on the way, one sentence each; the leak check among them.
    warnings
        Reasons not to take the scores at face value.
    """

    metrics: dict[str, float | int | None]
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, dict[str, float | int | None]] = field(default_factory=dict)
    sign_accuracy: float | None = None
    n_signed: int = 0
    edges: dict[str, int] = field(default_factory=dict)
    prior_overlap: dict[str, float | int | None] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything as one object that JSON can hold: undefined values are None, never NaN.

        Returns
        -------
        dict
            The seven metrics at the top level, then ``sign_accuracy``, ``n_signed``, ``edges``,
            ``prior_overlap``, ``baselines``, ``groups``, ``notes`` and ``warnings``.
        """
        return {
            **self.metrics,
            "sign_accuracy": self.sign_accuracy,
            "n_signed": self.n_signed,
            "edges": dict(self.edges),
            "prior_overlap": None if self.prior_overlap is None else dict(self.prior_overlap),
            "baselines": {name: dict(row) for name, row in self.baselines.items()},
            "groups": {name: dict(row) for name, row in self.groups.items()},
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def table(self) -> list[str]:
        """Lines of an aligned table: the network, the baselines, then one row per group.

        Returns
        -------
        list of str
            A header and one line per row; undefined values are ``-``.
        """
        columns = METRICS[:5]
        rows: list[tuple[str, Mapping[str, Any]]] = [("network", self.metrics)]
        for name, row in self.baselines.items():
            if "sd" in row:
                rows.append((f"{name} (mean of {row['permutations']})", row))
                rows.append(("  sd", row["sd"]))
            else:
                rows.append((name, row))
        rows += [(f"group {name}", row) for name, row in self.groups.items()]
        cells = [["", *columns]]
        cells += [[name, *(_number(row.get(c), c) for c in columns)] for name, row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return [
            "  ".join(
                text.ljust(width) if place == 0 else text.rjust(width)
                for place, (text, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]

    def __str__(self) -> str:
        """Return the table, the notes and the warnings, as the terminal shows them."""
        lines = [*self.table(), "", *self.notes]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])


def _number(value: float | int | None, column: str) -> str:
    if value is None:
        return "-"
    if column == "auprc":
        return f"{value:.4f}"
    return f"{value:.2f}" if column in ("auprc_ratio", "epr") else f"{value:.3f}"


# ---------------------------------------------------------------------------------------------
# Reading


def load_gold(gold: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read a gold standard.

    Parameters
    ----------
    gold
        A table, or the path of one (``.tsv``, ``.txt``, ``.csv``, also ``.gz``; ``.parquet``),
        with columns ``tf`` or ``source``, ``target``, and optionally ``label`` (0 or 1) and
        ``sign`` (1 or +, -1 or -, 0 or empty where unknown). Names are taken as they are written:
        "NA" is a name. Other columns are ignored.

    Returns
    -------
    DataFrame
        ``source``, ``target``, and where given ``label`` (int8) and ``sign`` (int8). Rows are in
        the order of the input; repeated rows stay.

    Raises
    ------
    ValueError
        When a column is missing, a label or sign is none of the above, a pair is labelled both 0
        and 1, a name is empty, or there is no positive.

    Examples
    --------
    >>> import pandas as pd
    >>> load_gold(pd.DataFrame({"tf": ["NA", "B"], "target": ["C", "D"], "sign": ["+", "-"]}))
      source target  sign
    0     NA      C     1
    1      B      D    -1
    """
    import pandas as pd

    table = _table(gold, "gold standard")
    source = next((c for c in _SOURCE if c in table.columns), None)
    if source is None or "target" not in table.columns:
        raise ValueError(
            f"The gold standard has the columns {_list(table.columns)}; it needs 'tf' (or "
            "'source') and 'target', and may have 'label' and 'sign'. Name them in its first line."
        )
    out = pd.DataFrame(
        {
            "source": _names(table[source], "gold standard", source),
            "target": _names(table["target"], "gold standard", "target"),
        }
    )
    if "label" in table.columns:
        label = _floats(table["label"], "gold standard", "label")
        wrong = ~np.isin(label, (0.0, 1.0))
        if wrong.any():
            raise ValueError(
                f"The gold standard has {wrong.sum()} rows whose label is neither 0 nor 1, such as "
                f"{str(table['label'].iloc[int(np.argmax(wrong))])!r}; write 1 for an edge and 0 "
                "for a pair without one."
            )
        out["label"] = label.astype(np.int8)
        both = out.drop_duplicates().duplicated(["source", "target"]).to_numpy()
        if both.any():
            pair = out.drop_duplicates()[both].iloc[0]
            raise ValueError(
                f"The gold standard labels {both.sum()} pairs both 0 and 1, such as "
                f"{pair['source']} -> {pair['target']}; keep one row of each."
            )
    if "sign" in table.columns:
        out["sign"] = _signs(table["sign"])
    if not len(out) or ("label" in out and not out["label"].any()):
        raise ValueError(
            f"The gold standard holds no positive edge ({len(out)} rows"
            f"{', every label 0' if len(out) else ''}); there is nothing to score against."
        )
    return out


def _table(source: str | Path | pd.DataFrame, what: str) -> pd.DataFrame:
    """Table of strings from a path, or the DataFrame itself."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return source
    path = _existing(source, what)
    name = path.name.lower().removesuffix(".gz")
    try:
        if name.endswith((".tsv", ".txt", ".csv")):
            return pd.read_csv(
                path,
                sep="," if name.endswith(".csv") else "\t",
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
            )
        if name.endswith(".parquet"):
            return pd.read_parquet(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"Cannot read the {what} {path}: {error}") from error
    raise ValueError(
        f"Cannot tell the format of the {what} {path}; name it .tsv, .csv (optionally .gz) "
        "or .parquet."
    )


def _existing(source: str | Path, what: str) -> Path:
    if not isinstance(source, (str, Path)):
        raise ValueError(
            f"The {what} is a {type(source).__name__}; a path or a pandas DataFrame is needed."
        )
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"The {what} {path} is not a file; check the path.")
    return path


def _names(column: pd.Series, what: str, label: str) -> np.ndarray:
    """Names as a string array; an absent or empty name is an error."""
    missing = column.isna().to_numpy()
    names = column.astype(str).to_numpy(dtype=object)
    empty = missing | (names == "")
    if empty.any():
        raise ValueError(
            f"The {what} has {empty.sum()} rows with an empty '{label}', the first at row "
            f"{int(np.argmax(empty)) + 1}; give every row a name or leave it out."
        )
    return names


def _floats(column: pd.Series, what: str, label: str) -> np.ndarray:
    """Numbers as float64; undefined values become NaN, anything else is an error."""
    import pandas as pd

    if column.dtype == bool or pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    blank = column.isna() | column.isin(_UNDEFINED)
    value = pd.to_numeric(column.where(~blank), errors="coerce")
    wrong = (value.isna() & ~blank).to_numpy()
    if wrong.any():
        raise ValueError(
            f"The {what} has {wrong.sum()} rows whose '{label}' is not a number, such as "
            f"{str(column.iloc[int(np.argmax(wrong))])!r}."
        )
    return value.to_numpy(dtype=np.float64, na_value=np.nan)


def _signs(column: pd.Series) -> np.ndarray:
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column):
        column = column.replace({"+": "1", "-": "-1"})
    value = np.nan_to_num(_floats(column, "gold standard", "sign"), nan=0.0)
    wrong = ~np.isin(value, (-1.0, 0.0, 1.0))
    if wrong.any():
        raise ValueError(
            f"The gold standard has {wrong.sum()} rows whose sign is none of 1, -1, 0, such as "
            f"{str(column.iloc[int(np.argmax(wrong))])!r}."
        )
    return value.astype(np.int8)


def _read_targets(targets: str | Path | pd.DataFrame | Iterable[str]) -> np.ndarray:
    """Distinct target names, sorted; from a list, a table or a file."""
    import pandas as pd

    if isinstance(targets, pd.DataFrame):
        if "target" not in targets.columns:
            raise ValueError(
                f"The table of targets has the columns {_list(targets.columns)}; it needs 'target'."
            )
        names = _names(targets["target"], "table of targets", "target")
    elif isinstance(targets, (str, Path)):
        names = np.asarray(read_names(targets, "targets"), dtype=object)
    else:
        names = np.asarray([str(name) for name in targets], dtype=object)
    names = np.unique(names.astype(str))
    if not names.size:
        raise ValueError("The list of targets is empty; name at least one, or leave it out.")
    return names


@dataclass(frozen=True)
class _Edges:
    """A network's rows: names, score and weight (NaN where undefined), group code."""

    source: np.ndarray
    target: np.ndarray
    score: np.ndarray
    weight: np.ndarray | None
    group: np.ndarray
    groups: tuple[str, ...]


def _read_edges(edges: Network | pd.DataFrame | str | Path, group: str | None) -> _Edges:
    import pandas as pd

    from unigrn.network import edge_score, read_edges

    if isinstance(edges, pd.DataFrame):
        table = edges
    elif isinstance(edges, (str, Path)):
        table = read_edges(edges)
    elif hasattr(edges, "edges"):
        table = edges.edges
    else:
        raise ValueError(
            f"The network is a {type(edges).__name__}; a Network, an edge table or a path is "
            "needed."
        )
    source = next((c for c in _SOURCE if c in table.columns), None)
    if source is None or "target" not in table.columns:
        raise ValueError(
            f"The network has the columns {_list(table.columns)}; it needs 'source' (or 'tf'), "
            "'target', and 'score' or 'weight'."
        )
    names: tuple[str, ...] = ()
    code = np.zeros(len(table), dtype=np.int64)
    if "group" in table.columns:
        values, code = np.unique(
            _names(table["group"], "network", "group").astype(str), return_inverse=True
        )
        names = tuple(map(str, values))
    if group is not None:
        if str(group) not in names:
            raise ValueError(
                f"The network has no group {str(group)!r}; "
                + (f"its groups are {_list(names)}." if names else "it has no groups.")
            )
        table = table[code == names.index(str(group))]
        code, names = np.zeros(len(table), dtype=np.int64), ()
    weight = _floats(table["weight"], "network", "weight") if "weight" in table.columns else None
    score = np.asarray(edge_score(table), dtype=np.float64)
    if not len(table):
        raise ValueError("The network has no edge; there is nothing to score.")
    return _Edges(
        _names(table[source], "network", source),
        _names(table["target"], "network", "target"),
        score,
        weight,
        code,
        names,
    )


def _read_prior(prior: Any) -> pd.DataFrame:
    """Edges of a prior (source, target, weight), one row per layer and pair."""
    import pandas as pd

    from unigrn.prior import Prior, read_prior

    if isinstance(prior, pd.DataFrame):
        prior = Prior.from_edges(prior)
    elif isinstance(prior, Mapping):
        prior = Prior.from_dict(prior)
    elif not hasattr(prior, "edges"):
        prior = read_prior(prior)
    return prior.edges


# ---------------------------------------------------------------------------------------------
# The universe


@dataclass(frozen=True)
class _Universe:
    """The pairs that are scored: regulators x targets, one byte per pair.

    ``state`` (q, p) is 0 for a pair outside of the universe, 1 for a negative, 2 for a positive;
    ``sign`` (q, p) is the gold's sign or None. 30 million pairs take 30 MB.
    """

    regulators: np.ndarray
    targets: np.ndarray
    state: np.ndarray
    sign: np.ndarray | None

    def locate(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of named pairs, -1 where the name is unknown."""
        import pandas as pd

        row = pd.Index(self.regulators, dtype=object).get_indexer(pd.Index(source, dtype=object))
        col = pd.Index(self.targets, dtype=object).get_indexer(pd.Index(target, dtype=object))
        return row, col


def _universe(gold: pd.DataFrame, targets: np.ndarray | None, notes: list[str]) -> _Universe:
    """Universe of a gold standard, over the given targets only where some are given."""
    source = gold["source"].to_numpy(dtype=object)
    target = gold["target"].to_numpy(dtype=object)
    # Before any restriction: a gold TF stays a candidate of the held-out targets.
    regulators = np.unique(source.astype(str)).astype(object)
    genes = np.unique(target.astype(str)).astype(object)
    if targets is not None:
        kept = np.intersect1d(genes.astype(str), targets).astype(object)
        if not kept.size:
            raise ValueError(
                f"None of the {targets.size} listed targets (such as {_list(targets)}) is a target "
                f"of the gold standard (such as {_list(genes)}); check the names."
            )
        notes.append(
            f"targets: {kept.size} of the gold's {genes.size} are scored"
            + (
                f"; {targets.size - kept.size} of the listed {targets.size} are not in the gold"
                if kept.size < targets.size
                else ""
            )
        )
        genes = kept
    labelled = "label" in gold.columns
    universe = _Universe(
        regulators,
        genes,
        np.full((regulators.size, genes.size), _ABSENT if labelled else _NEGATIVE, np.uint8),
        np.zeros((regulators.size, genes.size), np.int8) if "sign" in gold.columns else None,
    )
    row, col = universe.locate(source, target)
    inside = col >= 0
    row, col = row[inside], col[inside]
    if labelled:
        universe.state[row, col] = _NEGATIVE + gold["label"].to_numpy()[inside]
    else:
        universe.state[row, col] = _POSITIVE
        own = universe.locate(regulators, regulators)[1]
        selves = np.flatnonzero(own >= 0)
        loops = int((universe.state[selves, own[selves]] == _POSITIVE).sum())
        universe.state[selves, own[selves]] = _ABSENT
        if loops:
            notes.append(f"gold: {loops} self-edges are left out")
    if universe.sign is not None:
        sign = gold["sign"].to_numpy()[inside]
        seen = np.zeros((2, *universe.sign.shape), bool)
        seen[0, row[sign > 0], col[sign > 0]] = True
        seen[1, row[sign < 0], col[sign < 0]] = True
        # A pair with both signs has none.
        np.subtract(seen[0], seen[1], out=universe.sign, dtype=np.int8)
    if not (universe.state == _POSITIVE).any():
        raise ValueError(
            "The universe holds no positive edge"
            + (" among the listed targets" if targets is not None else " besides self-edges")
            + "; there is nothing to score against."
        )
    return universe


# ---------------------------------------------------------------------------------------------
# Metrics


@dataclass(frozen=True)
class _Ranking:
    """Listed pairs from the best to the worst, with the bounds of their ties.

    Permuting target names changes neither, so that one sort serves all permutations.

    ``row``, ``col`` (n,): the pairs; ``start``: where each tie begins. ``by_row`` (n,): the same
    order, regulators one after another; ``row_start``, ``row_of``: ties within regulators.
    """

    row: np.ndarray
    col: np.ndarray
    start: np.ndarray
    by_row: np.ndarray
    row_start: np.ndarray
    row_of: np.ndarray


def _rank(row: np.ndarray, col: np.ndarray, score: np.ndarray) -> _Ranking:
    order = np.argsort(-score, kind="stable").astype(_small(score.size), copy=False)
    score, row, col = score[order], row[order], col[order]
    by_row = np.argsort(row, kind="stable").astype(_small(score.size), copy=False)
    start = _starts(score)
    tie = np.zeros(score.size, _small(score.size))
    tie[start[1:]] = 1
    tie = np.cumsum(tie, dtype=tie.dtype)[by_row]
    rows = row[by_row]
    changed = np.ones(score.size, bool)
    changed[1:] = (rows[1:] != rows[:-1]) | (tie[1:] != tie[:-1])
    row_start = np.flatnonzero(changed)
    return _Ranking(row, col, start, by_row, row_start, rows[row_start])


def _small(largest: int) -> type[np.signedinteger]:
    return np.int32 if largest < np.iinfo(np.int32).max else np.int64


def _starts(values: np.ndarray) -> np.ndarray:
    """Positions at which a new value begins in a sorted array."""
    new = np.ones(values.size, bool)
    new[1:] = values[1:] != values[:-1]  # not a difference: infinite scores tie too
    return np.flatnonzero(new)


def _count(flags: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Count the True flags of each tie."""
    if not start.size:
        return np.zeros(0, np.int64)
    return np.add.reduceat(flags, start, dtype=np.int64)


def _metrics(
    ranking: _Ranking, universe: _Universe, permutation: np.ndarray | None = None
) -> dict[str, float | int | None]:
    """Compute the seven metrics of a ranking; `permutation` (p,) renames its targets."""
    state = universe.state
    col = ranking.col if permutation is None else permutation[ranking.col]
    hit = state[ranking.row, col]
    positive, listed = hit == _POSITIVE, hit != _ABSENT
    positives = (state == _POSITIVE).sum(axis=1, dtype=np.int64)
    totals = (state != _ABSENT).sum(axis=1, dtype=np.int64)
    found, seen = _count(positive, ranking.start), _count(listed, ranking.start)
    values = _threshold_metrics(found, seen, int(positives.sum()), int(totals.sum()))
    values["macro_auroc"] = _macro_auroc(
        ranking.row_of,
        _count(positive[ranking.by_row], ranking.row_start),
        _count(listed[ranking.by_row], ranking.row_start),
        positives,
        totals,
    )
    return {name: values[name] for name in METRICS}


def _threshold_metrics(
    found: np.ndarray, seen: np.ndarray, positives: int, total: int
) -> dict[str, float | int | None]:
    """Metrics from positives and pairs per tie, best first; what is unlisted is one last tie."""
    found = np.append(found, positives - found.sum())
    seen = np.append(seen, total - seen.sum())
    found, seen = found[seen > 0], seen[seen > 0]
    true, ranked = np.cumsum(found), np.cumsum(seen)
    negatives = total - positives
    prevalence = positives / total
    auprc = float(np.sum(found / positives * (true / ranked)))
    # The tie that straddles rank k gives its share: the expectation over random orders.
    at = int(np.searchsorted(ranked, positives))
    before, above = (int(true[at - 1]), int(ranked[at - 1])) if at else (0, 0)
    top = before + (positives - above) * int(found[at]) / int(seen[at])
    auroc = None
    if negatives:
        auroc = float(np.sum((seen - found) * (true - found / 2)) / (positives * negatives))
    return {
        "auprc": auprc,
        "auprc_ratio": auprc / prevalence,
        "epr": top / positives / prevalence,
        "auroc": auroc,
        "n_universe": total,
        "n_positive": positives,
    }


def _macro_auroc(
    row: np.ndarray, found: np.ndarray, seen: np.ndarray, positives: np.ndarray, totals: np.ndarray
) -> float | None:
    """Mean AUROC over regulators with enough positives; ties are ordered within regulators."""
    q = positives.size
    listed_found = np.zeros(q, np.int64)
    listed_seen = np.zeros(q, np.int64)
    np.add.at(listed_found, row, found)
    np.add.at(listed_seen, row, seen)
    # Positives above each tie, within its regulator.
    true = np.cumsum(found) - (np.cumsum(listed_found) - listed_found)[row]
    wins = np.bincount(row, weights=(seen - found) * (true - found / 2), minlength=q)
    rest_found = positives - listed_found
    rest_seen = totals - listed_seen
    wins = wins + (rest_seen - rest_found) * (listed_found + rest_found / 2)
    negatives = totals - positives
    usable = (positives >= MACRO_POSITIVES) & (negatives > 0)
    if not usable.any():
        return None
    return float(np.mean(wins[usable] / (positives[usable] * negatives[usable])))


def ranking_metrics(label: np.ndarray, score: np.ndarray) -> dict[str, float | int | None]:
    """Metrics of one list of scored pairs, every pair listed.

    With the pairs ordered from the highest score down, equal scores being one threshold n that
    adds the recall R_n - R_{n-1} at precision P_n:

        auprc = sum over n of (R_n - R_{n-1}) P_n          (scikit-learn's average precision)
        auroc = P(score of a positive > of a negative) + P(equal) / 2
        epr   = precision among the first k / prevalence   (k = number of positives; a tie across
                rank k counts with the share of it that random order puts above)

    Parameters
    ----------
    label
        (n,) 0 or 1, or bool.
    score
        (n,) higher is better; may be infinite, not NaN.

    Returns
    -------
    dict
        ``auprc``, ``auprc_ratio``, ``epr``, ``auroc`` (None without a negative), ``n_universe``
        and ``n_positive``.

    Raises
    ------
    ValueError
        When shapes differ, a score is NaN or there is no positive.

    Examples
    --------
    >>> metrics = ranking_metrics([1, 0, 1, 0], [3.0, 2.0, 2.0, 1.0])
    >>> round(metrics["auprc"], 4), metrics["epr"], metrics["auroc"]
    (0.8333, 1.5, 0.875)
    """
    label, score = np.asarray(label).astype(bool), np.asarray(score, dtype=np.float64)
    if label.ndim != 1 or label.shape != score.shape:
        raise ValueError(
            f"Labels have the shape {label.shape} and scores {score.shape}; give one of each per "
            "pair."
        )
    if np.isnan(score).any():
        raise ValueError(f"{int(np.isnan(score).sum())} scores are NaN; leave these pairs out.")
    if not label.any():
        raise ValueError("No label is positive; there is nothing to score against.")
    order = np.argsort(-score, kind="stable")
    start = _starts(score[order])
    seen = np.diff(np.append(start, score.size))
    return _threshold_metrics(_count(label[order], start), seen, int(label.sum()), label.size)


# ---------------------------------------------------------------------------------------------
# Scores of the network and of the baselines


def _best(cell: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct cells with the highest of their scores, cells ascending."""
    order = np.lexsort((-score, cell))
    cell, score = cell[order], score[order]
    first = _starts(cell)
    return cell[first], score[first]


def _ranks_above_unlisted(score: np.ndarray, grid: int) -> np.ndarray:
    """Mid-rank of each listed score in the whole grid, less the mid-rank of what is unlisted."""
    order = np.argsort(score, kind="stable")
    start = _starts(score[order])
    end = np.append(start[1:], score.size)
    rank = np.empty(score.size)
    rank[order] = np.repeat((start + end + 1) / 2, end - start)
    return rank + (grid - score.size - 1) / 2


def _pearson(
    expression: Any, universe: _Universe, notes: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and |correlation| of the measured pairs of the universe."""
    matrix, names = _expression(expression)
    import pandas as pd

    index = pd.Index(names, dtype=object)
    if not index.is_unique:
        twice = index[index.duplicated()]
        raise ValueError(
            f"{twice.nunique()} genes of the expression matrix occur more than once, such as "
            f"{_list(twice)}; make the names unique."
        )
    genes = np.union1d(universe.regulators.astype(str), universe.targets.astype(str))
    place = index.get_indexer(pd.Index(genes.astype(object), dtype=object))
    genes, place = genes[place >= 0], place[place >= 0]
    if not genes.size:
        raise ValueError(
            f"The expression matrix and the gold standard share no gene name: one has "
            f"{_list(names)}, the other {_list(universe.targets)}."
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
            f"values, such as {_list(genes[~np.isfinite(mean)])}; impute or drop them."
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
    usable &= universe.state[np.ix_(row[left], col[right])] != _ABSENT
    unmeasured = universe.regulators.size - left.size, universe.targets.size - right.size
    if any(unmeasured):
        notes.append(
            f"|Pearson|: {unmeasured[0]} of {universe.regulators.size} regulators and "
            f"{unmeasured[1]} of {universe.targets.size} targets of the universe are not measured; "
            "their pairs share the last score"
        )
    narrow = _small(usable.size)
    return (
        np.broadcast_to(row[left].astype(narrow)[:, None], usable.shape)[usable],
        np.broadcast_to(col[right].astype(narrow)[None, :], usable.shape)[usable],
        np.abs(product[usable]),
    )


def _expression(expression: Any) -> tuple[Any, np.ndarray]:
    """Matrix (observations x genes, dense or sparse) and gene names."""
    import pandas as pd

    if isinstance(expression, (str, Path)):
        path = _existing(expression, "expression file")
        if not path.name.endswith(".h5ad"):
            raise ValueError(f"The expression file {path} is not .h5ad; read it into an AnnData.")
        import anndata

        expression = anndata.read_h5ad(path)
    if isinstance(expression, pd.DataFrame):
        return expression.to_numpy(), expression.columns.astype(str).to_numpy(dtype=object)
    if isinstance(expression, tuple) and len(expression) == 2:
        matrix, names = expression
        matrix = matrix.tocsr() if hasattr(matrix, "tocsr") else np.asarray(matrix)
        names = np.asarray([str(name) for name in names], dtype=object)
    elif hasattr(expression, "var_names") and hasattr(expression, "X"):
        matrix, names = expression.X, expression.var_names.astype(str).to_numpy(dtype=object)
        matrix = matrix.tocsr() if hasattr(matrix, "tocsr") else matrix
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


# ---------------------------------------------------------------------------------------------
# The evaluation


def evaluate(
    edges: Network | pd.DataFrame | str | Path,
    gold: str | Path | pd.DataFrame,
    prior: Prior | pd.DataFrame | Mapping | str | Path | Sequence | None = None,
    targets: str | Path | pd.DataFrame | Iterable[str] | None = None,
    expression: AnnData | pd.DataFrame | tuple | str | Path | None = None,
    group: str | None = None,
    permutations: int = 20,
    seed: int = 0,
) -> Evaluation:
    """Score a network against a gold standard, beside the baselines that it has to beat.

    The universe is the gold's rows where it has a ``label`` column. Otherwise it is every gold TF
    with every gold target, self-edges left out. Pairs that the network does not list share one
    last score, below all listed ones (a listed weight of 0 included); equal scores are one
    threshold. Over the universe, with k positives:

    - ``auprc``: sum over thresholds of (recall gained) x precision, which is scikit-learn's
      ``average_precision_score``; ``auprc_ratio`` = auprc / prevalence;
    - ``epr``: precision among the first k pairs, ties in expectation, / prevalence;
    - ``auroc``: ties count 1/2; ``macro_auroc``: mean AUROC of single TFs, over those with 5 or
      more positives and a negative;
    - ``n_universe``, ``n_positive``: how many pairs, how many of them positive.

    Parameters
    ----------
    edges
        Network, edge table, or the path of one: columns ``source`` (or ``tf``), ``target``, and
        ``score`` or ``weight``; optionally ``group``. Ranked by ``score`` where there is one, else
        by the absolute weight. Of a pair listed twice the higher score counts; an edge whose
        score is undefined counts as unlisted.
    gold
        What :func:`load_gold` takes.
    prior
        Prior, edge table, dict target -> TFs, path or list of paths: adds the baseline ``prior
        alone``, scored by the weight (absolute, summed over layers), and the leak check.
    targets
        Names, a table with a column ``target``, or a file of either: scores these targets only.
        All TFs of the gold stay candidates, those without a positive among these targets too.
    expression
        AnnData, ``.h5ad`` path, DataFrame or (matrix, gene names), observations x genes: adds the
        baseline ``|Pearson|`` between regulator and target over all observations. Pairs with a
        constant or unmeasured gene are unlisted.
    group
        Score this group of a grouped network alone.
    permutations
        Number of random permutations of the target names, at least 1, for the baseline ``permuted
        targets``: the network's own scores, each moved to another target of the universe with its
        regulator kept. What they score above chance comes from the regulators.
    seed
        Seed of the permutations.

    Returns
    -------
    Evaluation
        Metrics, baselines, one row per group, notes and warnings. For a network with groups the
        metrics are those of the sum over groups of each pair's mid-rank among all pairs of the
        group (scales of different groups do not compare, ranks do); a pair that a group does not
        list has the mid-rank of the unlisted there.

    Raises
    ------
    ValueError
        When a table lacks a column or holds a value of the wrong kind, when the network and the
        gold share no regulator or no target name, when the universe holds no positive, or when no
        edge has a defined score.

    Notes
    -----
    Held-out protocol: hide all edges of some targets from the prior (whole operons or families
    together: mates leak), infer with the rest, and score with `targets` = the hidden ones. The
    universe is then all gold TFs x the hidden targets of the gold, and ``prior alone`` is at
    chance exactly, as no pair of it is listed.

    ``|Pearson|`` takes all gold TFs as regulators, no list of candidates; ``prior alone`` ranks by
    the size of the weight: an evidence score of -3 is stronger than one of 2.

    References
    ----------
    Marbach et al. 2012, Wisdom of crowds for robust gene network inference,
    doi:10.1038/nmeth.2016. Pratapa et al. 2020 (BEELINE; EPR), doi:10.1038/s41592-019-0690-6.

    Examples
    --------
    >>> import pandas as pd
    >>> gold = pd.DataFrame({"tf": ["A", "B"], "target": ["x", "y"]})
    >>> network = pd.DataFrame({"source": ["A", "B"], "target": ["x", "x"], "weight": [-2.0, 1.0]})
    >>> found = evaluate(network, gold).metrics
    >>> found["n_universe"], found["n_positive"], found["auprc"], found["auroc"]
    (4, 2, 0.75, 0.625)
    """
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; at least 1 is needed.")
    notes: list[str] = []
    warnings: list[str] = []
    network = _read_edges(edges, group)
    table = load_gold(gold)
    _require_shared_names(network, table)
    wanted = None if targets is None else _read_targets(targets)
    universe = _universe(table, wanted, notes)
    q, p = universe.state.shape
    n_positive = int((universe.state == _POSITIVE).sum())
    n_universe = int((universe.state != _ABSENT).sum())
    kind = "labelled rows of the gold" if "label" in table else "gold TFs x gold targets"
    notes.insert(
        0,
        f"universe: {n_universe:,} pairs of {q:,} TFs and {p:,} targets ({kind}), {n_positive:,} "
        f"positive, prevalence {n_positive / n_universe:.4g}",
    )
    if not (n_universe - n_positive):
        warnings.append("the universe holds no negative pair: every ranking scores the same")

    # The network's pairs in the grid of the universe's names, one per group and pair.
    row, col = universe.locate(network.source, network.target)
    defined = ~np.isnan(network.score)
    if not defined.any():
        raise ValueError("No edge of the network has a defined score; there is nothing to rank.")
    if not defined.all():
        notes.append(
            f"network: {int((~defined).sum()):,} edges have no defined score and count as unlisted"
        )
    grid = (row >= 0) & (col >= 0) & defined
    inside = grid.copy()
    inside[grid] = universe.state[row[grid], col[grid]] != _ABSENT
    outside = int(row.size - inside.sum())
    code = network.group[grid].astype(np.int64) * (q * p) + row[grid].astype(np.int64) * p
    code, score = _best(code + col[grid], network.score[grid])
    repeated = int(grid.sum()) - code.size
    if repeated:
        notes.append(f"network: {repeated:,} edges repeat a pair; its higher score counts")
    of, cell = np.divmod(code, q * p)
    groups: dict[str, dict[str, float | int | None]] = {}
    if network.groups:
        total = np.zeros(code.size)
        for g, name in enumerate(network.groups):
            mine = of == g
            ranking = _rank(cell[mine] // p, cell[mine] % p, score[mine])
            groups[name] = _metrics(ranking, universe)
            total[mine] = _ranks_above_unlisted(score[mine], q * p)
        cell, back = np.unique(cell, return_inverse=True)
        score = np.bincount(back, weights=total, minlength=cell.size)
        notes.append(
            f"groups: {len(network.groups)}; the network's row ranks pairs by the sum of their "
            "ranks within the groups"
        )
    ranking = _rank(cell // p, cell % p, score)
    listed = universe.state[ranking.row, ranking.col]
    counts = {
        "listed": int(row.size),
        "in_universe": int((listed != _ABSENT).sum()),
        "outside": outside,
        "found": int((listed == _POSITIVE).sum()),
    }
    notes.append(
        f"network: {counts['listed']:,} edges, {outside:,} of them outside of the universe; it "
        f"lists {counts['in_universe']:,} of the universe's pairs and {counts['found']:,} of its "
        "positives"
    )
    if not counts["in_universe"]:
        warnings.append("the network lists no pair of the universe: its scores are those of chance")

    baselines: dict[str, dict[str, Any]] = {}
    overlap = None
    if prior is not None:
        known = _read_prior(prior)
        baselines["prior alone"], overlap = _prior_alone(
            known, universe, wanted is not None, notes, warnings
        )
    if expression is not None:
        baselines["|Pearson|"] = _metrics(_rank(*_pearson(expression, universe, notes)), universe)
    baselines["permuted targets"] = _permuted(ranking, universe, permutations, seed)
    sign_accuracy, n_signed = _sign_accuracy(network, row, col, grid, universe)
    if n_signed:
        notes.append(f"signs: {sign_accuracy:.3f} of {n_signed:,} found signed positives agree")
    return Evaluation(
        _metrics(ranking, universe),
        baselines,
        groups,
        sign_accuracy,
        n_signed,
        counts,
        overlap,
        tuple(notes),
        tuple(warnings),
    )


def _require_shared_names(network: _Edges, gold: pd.DataFrame) -> None:
    """Refuse a network whose regulators or targets have no name in common with the gold's."""
    for what, ours, theirs in (
        ("regulator", network.source, gold["source"].to_numpy()),
        ("target", network.target, gold["target"].to_numpy()),
    ):
        ours, theirs = np.unique(ours.astype(str)), np.unique(theirs.astype(str))
        if np.intersect1d(ours, theirs, assume_unique=True).size:
            continue
        folded = np.intersect1d(np.strings.upper(ours), np.strings.upper(theirs))
        raise ValueError(
            f"The network and the gold standard share no {what} name: the network has "
            f"{_list(ours)}, the gold {_list(theirs)}. "
            + (
                f"They differ in case only for {folded.size} names; write both alike."
                if folded.size
                else "Map both to the same identifiers."
            )
        )


def _prior_alone(
    known: pd.DataFrame, universe: _Universe, held_out: bool, notes: list[str], warnings: list[str]
) -> tuple[dict[str, Any], dict[str, float | int | None]]:
    """Metrics of the prior's own weights, and the leak check."""
    q, p = universe.state.shape
    row, col = universe.locate(
        known["source"].to_numpy(dtype=object), known["target"].to_numpy(dtype=object)
    )
    weight = known["weight"].to_numpy(dtype=np.float64)
    grid = (row >= 0) & (col >= 0)
    cell, back = np.unique(row[grid].astype(np.int64) * p + col[grid], return_inverse=True)
    summed = np.bincount(back, weights=np.abs(weight[grid]), minlength=cell.size)
    ranking = _rank(cell // p, cell % p, summed)
    metrics = _metrics(ranking, universe)
    state = universe.state.ravel()[cell]
    positives, negatives = int((state == _POSITIVE).sum()), int((state == _NEGATIVE).sum())
    n_positive = int(metrics["n_positive"])
    n_negative = int(metrics["n_universe"]) - n_positive
    share = positives / n_positive
    other = negatives / n_negative if n_negative else None
    into = int((col >= 0).sum())
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


def _permuted(
    ranking: _Ranking, universe: _Universe, permutations: int, seed: int
) -> dict[str, Any]:
    """Mean and standard deviation of the metrics over permutations of the target names."""
    random = np.random.default_rng(seed)
    runs = [
        _metrics(ranking, universe, random.permutation(universe.targets.size))
        for _ in range(permutations)
    ]
    out: dict[str, Any] = dict(runs[0])
    sd: dict[str, float | None] = {}
    for name in METRICS[:5]:
        # Whether a metric is defined depends on the universe alone, so on no permutation.
        values = [run[name] for run in runs if run[name] is not None]
        out[name] = float(np.mean(values)) if values else None
        sd[name] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {**out, "permutations": permutations, "sd": sd}


def _sign_accuracy(
    network: _Edges, row: np.ndarray, col: np.ndarray, grid: np.ndarray, universe: _Universe
) -> tuple[float | None, int]:
    """Share of the found signed positives whose weight (summed over groups) has their sign."""
    if universe.sign is None or network.weight is None:
        return None, 0
    used = grid & np.isfinite(network.weight)
    cell, back = np.unique(
        row[used].astype(np.int64) * universe.targets.size + col[used], return_inverse=True
    )
    weight = np.bincount(back, weights=network.weight[used], minlength=cell.size)
    truth = universe.sign.ravel()[cell].astype(np.float64)
    truth[universe.state.ravel()[cell] != _POSITIVE] = 0.0
    signed = (truth != 0) & (weight != 0)
    if not signed.any():
        return None, 0
    return float(np.mean(np.sign(weight[signed]) == truth[signed])), int(signed.sum())


def _list(names: Iterable[Any], most: int = 3) -> str:
    """Return the first few names, for a message."""
    names = [repr(str(name)) for name in names]
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") if names else "none"
