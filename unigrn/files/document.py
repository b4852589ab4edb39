"""The document of a network: what its files say beside the edges, as plain values for JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn import tables
from unigrn.exact import Proof
from unigrn.prior import AlignmentReport

if TYPE_CHECKING:
    import pandas as pd

# Keys beside those of the provenance.
RESERVED = ("alignment", "certificates", "columns", "network", "proof_sha256", "undefined_p")
LAYOUT = 1


@dataclass(frozen=True, eq=False)
class Parts:
    """What the files of a network hold.

    Attributes
    ----------
    edges, certificate : DataFrame
        As `unigrn.Network` has them.
    regulators, targets : str arrays, sorted
        Those without an edge included.
    groups : tuple of str, or None
        Groups of cells.
    document : dict
        Everything else.
    proof : Proof, or None
        What proves how far the coefficients are from the optimum.
    """

    edges: pd.DataFrame
    certificate: pd.DataFrame
    regulators: np.ndarray
    targets: np.ndarray
    groups: tuple[str, ...] | None
    document: dict[str, Any]
    proof: Proof | None = None

    @property
    def genes(self) -> np.ndarray:
        """Names of all regulators and targets, sorted."""
        return np.union1d(self.regulators, self.targets)


def plain(value: Any) -> Any:
    """Give what JSON can hold and gives back unchanged.

    NaN becomes None and an infinite number the text "inf" or "-inf", which float() reads; a
    function becomes its name; any other object the name of its type, never an address in memory.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.floating):
        value = float(str(value))  # the shortest decimal: 0.1 for a float32 0.1
    if isinstance(value, float):
        if value != value:
            return None
        return value if abs(value) != float("inf") else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind == "f":
            return plain(array[()] if array.ndim == 0 else list(array))
        if array.dtype.kind in "biuUO":
            return plain(array.tolist())
    if hasattr(value, "__fspath__"):
        return str(value)
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    return f"{getattr(value, '__module__', type(value).__module__)}.{name}"


def layout(
    edges: pd.DataFrame,
    certificate: pd.DataFrame,
    regulators: np.ndarray,
    targets: np.ndarray,
    groups: Iterable[str] | None,
) -> dict[str, Any]:
    """Give what reading back needs: types of the columns, and names that no edge mentions."""
    import pandas as pd

    unused = {}
    for name, known, column in (
        ("regulators_without_edges", regulators, "source"),
        ("targets_without_edges", targets, "target"),
    ):
        used: Any = pd.unique(edges[column])
        unused[name] = known[~np.isin(known, used.astype(str))].tolist()
    return {
        "layout": LAYOUT,
        "groups": None if groups is None else list(groups),
        "types": _types(edges),
        "certificate_types": _types(certificate),
        **unused,
    }


def _types(table: pd.DataFrame) -> list[list[str]]:
    """Give name and type of each column, "text" for objects; pairs, as JSON's keys are sorted."""
    return [
        [name, "text" if dtype.kind == "O" else dtype.name] for name, dtype in table.dtypes.items()
    ]


def to_json(value: Any) -> str:
    """Give JSON on one line."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def readable(value: Mapping[str, Any]) -> bytes:
    """Give JSON with one key per block, what only the reader needs on one line."""
    blocks = []
    for name, item in sorted(value.items()):
        indent = None if name == "network" else 2
        text = json.dumps(item, sort_keys=True, allow_nan=False, indent=indent)
        blocks.append(f"  {json.dumps(name)}: " + text.replace("\n", "\n  "))
    return ("{\n" + ",\n".join(blocks) + "\n}\n").encode()


def parsed(text: bytes | str, where: str) -> dict[str, Any]:
    """Read a document."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{where!r} holds no valid JSON ({error}); write it again") from None
    if not isinstance(value, dict) or not isinstance(value.get("network"), dict):
        raise ValueError(f"{where!r} does not describe a network; write it again")
    return value


def restored(
    table: pd.DataFrame, about: dict[str, Any], certificate: pd.DataFrame | None
) -> dict[str, Any]:
    """Give the parts that a document and the tables describe, as keywords of `unigrn.Network`."""
    import pandas as pd

    described = about["network"]
    if described["layout"] != LAYOUT:
        raise ValueError(f"layout {described['layout']} is of another version of unigrn")
    names = {
        column: [*pd.unique(table[column]), *described[f"{what}_without_edges"]]
        for column, what in (("source", "regulators"), ("target", "targets"))
    }
    counted, types = about["certificates"], dict(described["certificate_types"])
    if certificate is None:
        certificate = _rows(counted["not_converged"], types)
    certificate = _typed(certificate, types)
    if counted["rows"] != len(certificate):
        summary = {key: value for key, value in counted.items() if key != "not_converged"}
        for part in (summary, *summary.get("by_group", {}).values()):
            if part["worst_residual"] is not None:
                part["worst_residual"] = float(part["worst_residual"])
        certificate.attrs["summary"] = summary
    alignment = None
    if about["alignment"] is not None:
        alignment = AlignmentReport()
        for entry in about["alignment"]["entries"]:
            alignment = alignment.add(
                entry["kind"], entry["count"], entry["message"], entry["examples"]
            )
    return {
        "edges": _typed(table, dict(described["types"])),
        "regulators": names["source"],
        "targets": names["target"],
        "groups": None if described["groups"] is None else tuple(described["groups"]),
        "certificate": certificate,
        "alignment": alignment,
        "provenance": {key: value for key, value in about.items() if key not in RESERVED},
        "columns": about["columns"],
    }


def _rows(rows: list[dict[str, Any]], types: Mapping[str, str]) -> pd.DataFrame:
    """Build a table from rows as `plain` gives them."""
    columns = {}
    for name, kind in types.items():
        values = [row[name] for row in rows]
        if kind.startswith("float"):  # None is undefined, "inf" is infinite
            values = [np.nan if value is None else float(value) for value in values]
        columns[name] = np.array(values, dtype=object if kind == "text" else kind)
    return tables.build(columns)


def _typed(table: pd.DataFrame, types: Mapping[str, str]) -> pd.DataFrame:
    """Give the columns their types again."""
    columns = {}
    for name, kind in types.items():
        columns[name] = table[name].to_numpy().astype(object if kind == "text" else kind)
    return tables.build(columns)
