"""Gold standards, and the universe of pairs that one speaks about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unigrn import edgelists, tables
from unigrn.check import counted, listed, shown
from unigrn.files import matrix_edges
from unigrn.names import read_names

if TYPE_CHECKING:
    import pandas as pd

ABSENT, NEGATIVE, POSITIVE = 0, 1, 2


def load_gold(gold: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read a gold standard.

    Parameters
    ----------
    gold
        A table, or the path of one (``.tsv``, ``.txt``, ``.csv``, ``.sif``, ``.gmt``, also
        ``.gz``; ``.parquet``), with columns ``tf`` or ``source``, ``target``, and optionally
        ``label`` (0 or 1) and ``sign`` (1 or +, -1 or -, 0 or empty where unknown, or in words);
        or with the names of `unigrn.edgelists.SYNONYMS`, such as ``Gene1,Gene2``; or what else
        `unigrn.read_prior` takes. A weight of 0 is no edge, and where all weights are 0 or 1 they
        are labels. Names are taken as they are written: "NA" is a name. Other columns are ignored.

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
    return read_gold(gold)[0]


def read_gold(gold: str | Path | pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Read a gold standard as `load_gold` does, with notes on what was read from which column."""
    import pandas as pd

    table = _table(gold)
    if edgelists.matrix_of(table):
        table = matrix_edges(table, "The gold standard")
    table = edgelists.with_signs(table)
    at, found = edge_columns(
        table, "gold standard", "'tf' (or 'source') and 'target', and may have 'label' and 'sign'"
    )
    notes = list(found)
    if "weight" in at and "label" not in at:
        weight, wrong = tables.numbers(table.iloc[:, at["weight"]])
        if not wrong.any() and (weight == 0).any():
            if np.isin(weight, (0, 1)).all():
                at["label"] = at["weight"]
                notes.append(f"labels are the 0 and 1 of {shown(str(table.columns[at['weight']]))}")
            else:
                table = table[weight != 0]
                notes.append(f"{counted(int((weight == 0).sum()), 'row')} of weight 0 dropped")
    out = pd.DataFrame(
        {
            name: names(table.iloc[:, at[name]], "gold standard", str(table.columns[at[name]]))
            for name in ("source", "target")
        }
    )
    if "label" in at:
        label = floats(table.iloc[:, at["label"]], "gold standard", "label")
        wrong = ~np.isin(label, (0.0, 1.0))
        if wrong.any():
            raise ValueError(
                f"The gold standard has {wrong.sum()} rows whose label is neither 0 nor 1, such as "
                f"{listed([table.iloc[int(np.argmax(wrong)), at['label']]])}; write 1 for an edge "
                "and 0 for a pair without one."
            )
        out["label"] = label.astype(np.int8)
        both = out.drop_duplicates().duplicated(["source", "target"]).to_numpy()
        if both.any():
            pair = out.drop_duplicates()[both].iloc[0]
            raise ValueError(
                f"The gold standard labels {both.sum()} pairs both 0 and 1, such as "
                f"{shown(pair['source'])} -> {shown(pair['target'])}; keep one row of each."
            )
    if "sign" in at:
        out["sign"] = _signs(table.iloc[:, at["sign"]])
    elif "weight" in at and "label" not in at:
        weight = tables.numbers(table.iloc[:, at["weight"]])[0]
        edgelists.check_forces(table.columns[at["weight"]], weight, "The gold standard")
        if (weight < 0).any():
            out["sign"] = np.sign(np.nan_to_num(weight)).astype(np.int8)
            notes.append("signs taken from the weights")
    if not len(out) or ("label" in out and not out["label"].to_numpy().any()):
        raise ValueError(
            f"The gold standard holds no positive edge ({len(out)} rows"
            f"{', every label 0' if len(out) else ''}); there is nothing to score against."
        )
    return out, [f"gold: {note}" for note in notes]


def _table(gold: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Table of strings from a path, or the DataFrame itself."""
    import pandas as pd

    if isinstance(gold, pd.DataFrame):
        return gold
    path = existing(gold, "gold standard")
    if edgelists.suffix_of(path) is None:
        raise ValueError(
            f"Cannot tell the format of the gold standard {path}; name it .tsv, .csv, .txt, .sif, "
            ".gmt (optionally .gz) or .parquet."
        )
    try:
        return edgelists.read(path)
    except tables.TableError as error:
        raise ValueError(f"Cannot read the gold standard {path}: {error}") from None


def existing(source: str | Path, what: str) -> Path:
    """Give the path of a file that exists."""
    if not isinstance(source, (str, Path)):
        raise ValueError(
            f"The {what} is a {type(source).__name__}; a path or a pandas DataFrame is needed."
        )
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"The {what} {path} is not a file; check the path.")
    return path


def edge_columns(table: pd.DataFrame, what: str, needs: str) -> edgelists.Columns:
    """Find the columns of an edge table, having checked that both ends are there."""
    columns = edgelists.columns_of(table, f"The {what}")
    if not {"source", "target"} <= columns.at.keys():
        raise edgelists.no_columns(table.columns, f"The {what}", needs)
    return columns


def names(column: tables.Column, what: str, label: str) -> np.ndarray:
    """Names as objects; an absent or empty name is an error."""
    distinct, codes = tables.names(column, f"The {what}: {label}")
    if (empty := codes < 0).any():
        raise ValueError(
            f"The {what} has {empty.sum()} rows with an empty '{label}', the first at row "
            f"{int(np.argmax(empty)) + 1}; give every row a name or leave it out."
        )
    return distinct.astype(object)[codes]


def floats(column: tables.Column, what: str, label: str) -> np.ndarray:
    """Numbers as float64; undefined values become NaN, anything else is an error."""
    values, wrong = tables.numbers(column)
    if wrong.any():
        raise ValueError(
            f"The {what} has {wrong.sum()} rows whose '{label}' is not a number, such as "
            f"{listed([column.iloc[int(np.argmax(wrong))]])}."
        )
    return values.astype(np.float64, copy=False)


def _signs(column: tables.Column) -> np.ndarray:
    values, wrong = tables.signs(column)
    if wrong.any():
        raise ValueError(
            f"The gold standard has {wrong.sum()} rows whose sign is none of 1, -1, 0, such as "
            f"{listed([column.iloc[int(np.argmax(wrong))]])}."
        )
    return np.nan_to_num(values).astype(np.int8)


def read_targets(targets: str | Path | pd.DataFrame | Iterable[str]) -> np.ndarray:
    """Distinct target names, sorted; from a list, a table or a file."""
    import pandas as pd

    if isinstance(targets, pd.DataFrame):
        if "target" not in targets.columns:
            raise ValueError(
                f"The table of targets has the columns {listed(targets.columns)}; it needs "
                "'target'."
            )
        wanted = names(targets["target"], "table of targets", "target")
    elif isinstance(targets, (str, Path)):
        wanted = np.asarray(read_names(targets, "targets"), dtype=object)
    else:
        wanted = np.asarray([str(name) for name in targets], dtype=object)
    wanted = np.unique(wanted.astype(str))
    if not wanted.size:
        raise ValueError("The list of targets is empty; name at least one, or leave it out.")
    return wanted


@dataclass(frozen=True)
class Universe:
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


def universe_of(gold: pd.DataFrame, targets: np.ndarray | None, notes: list[str]) -> Universe:
    """Universe of a gold standard, over the given targets only where some are given."""
    source = gold["source"].to_numpy(dtype=object)
    target = gold["target"].to_numpy(dtype=object)
    # Before any restriction: a gold TF stays a candidate of the held-out targets.
    regulators = np.unique(source.astype(str)).astype(object)
    genes = np.unique(target.astype(str)).astype(object)
    if targets is not None:
        scored = np.intersect1d(genes.astype(str), targets).astype(object)
        if not scored.size:
            raise ValueError(
                f"None of the {targets.size} listed targets (such as {listed(targets, 3)}) is a "
                f"target of the gold standard (such as {listed(genes, 3)}); check the names."
            )
        notes.append(
            f"targets: {scored.size} of the gold's {genes.size} are scored"
            + (
                f"; {targets.size - scored.size} of the listed {targets.size} are not in the gold"
                if scored.size < targets.size
                else ""
            )
        )
        genes = scored
    labelled = "label" in gold.columns
    universe = Universe(
        regulators,
        genes,
        np.full((regulators.size, genes.size), ABSENT if labelled else NEGATIVE, np.uint8),
        np.zeros((regulators.size, genes.size), np.int8) if "sign" in gold.columns else None,
    )
    row, col = universe.locate(source, target)
    inside = col >= 0
    row, col = row[inside], col[inside]
    if labelled:
        universe.state[row, col] = NEGATIVE + gold["label"].to_numpy()[inside]
    else:
        universe.state[row, col] = POSITIVE
        column = universe.locate(regulators, regulators)[1]
        selves = np.flatnonzero(column >= 0)
        loops = int((universe.state[selves, column[selves]] == POSITIVE).sum())
        universe.state[selves, column[selves]] = ABSENT
        if loops:
            notes.append(f"gold: {loops} self-edges are left out")
    if universe.sign is not None:
        sign = gold["sign"].to_numpy()[inside]
        seen = np.zeros((2, *universe.sign.shape), bool)
        seen[0, row[sign > 0], col[sign > 0]] = True
        seen[1, row[sign < 0], col[sign < 0]] = True
        # A pair with both signs has none.
        np.subtract(seen[0], seen[1], out=universe.sign, dtype=np.int8)
        if both := int((seen[0] & seen[1]).sum()):
            notes.append(f"gold: {counted(both, 'pair')} with conflicting signs have none")
    if not (universe.state == POSITIVE).any():
        raise ValueError(
            "The universe holds no positive edge"
            + (" among the listed targets" if targets is not None else " besides self-edges")
            + "; there is nothing to score against."
        )
    return universe
