"""Files of a network: their layouts, one module each.

Layouts
-------
`.tsv`, `.csv`, both also with `.gz`, and `.txt`, which is `.tsv`
    Header, then one line per edge. UTF-8, lines end in a line feed. A field is in double quotes
    only where it must be: where it holds the separator, a quote or a line break. A text that a
    spreadsheet would run (it begins with =, +, - or @ and is no number) has an apostrophe before
    it, which reading takes away. Undefined values
    are empty; a number is the shortest decimal that gives back the same float32 or float64.
    `FILE.meta.json` holds the document below and the SHA-256 of the table.
`.parquet`
    Columns as they are, undefined values null. The schema's metadata has the document under
    `unigrn` and the whole certificate, an Arrow stream, under `unigrn.certificate`.
`.graphml`
    Nodes are genes (`id` and `name`, and whether each is a `regulator` or a `target`). One directed
    edge per row, with `group` and the numbers as attributes, an undefined one left out. The
    graph's attribute `unigrn` is the document.
`.h5ad`
    An AnnData without observations whose variables are all genes of the network, with `uns` and
    `varp` as `Network.to_anndata` fills them; `uns["unigrn"]["provenance"]` is the document.

`.sif`
    To be written only: source, "activates" or "represses", target; see `unigrn.files.sif`.
`.gmt`
    To be written only: a gene set per regulator, its targets; see `unigrn.files.gmt`. Beside both,
    `FILE.meta.json` is as beside a table.

Beside a network that was certified exactly stands `FILE.proof.npz`; see `unigrn.files.proof`.

The document is JSON: the keys of the provenance (method, hyperparameters, seed, versions, ...),
and `alignment`; `certificates` (counts per status, the worst residual, and the rows that did not
converge); `columns` (their meaning); `undefined_p` (the number of such edges); `network` (what
reading back needs: the types of the columns, and the names that no edge mentions); `proof_sha256`
(of the proof beside the file, where there is one).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn import edgelists, tables
from unigrn.check import listed
from unigrn.exact import Proof
from unigrn.files import delimited, gmt, graphml, h5ad, parquet, proof, sif
from unigrn.files.atomic import WriteError, write_whole
from unigrn.files.document import Parts, parsed, readable, restored
from unigrn.prior import Prior
from unigrn.prior.evidence import of_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SUFFIXES",
    "WRITTEN",
    "Parts",
    "WriteError",
    "is_own",
    "matrix_edges",
    "read_edges",
    "read_network",
    "read_proof",
    "suffix_of",
    "table_bytes",
    "write",
    "write_table",
]

SUFFIXES = (".tsv", ".tsv.gz", ".txt", ".csv", ".csv.gz", ".parquet", ".graphml", ".h5ad")
_LISTS = {".sif": sif, ".gmt": gmt}
WRITTEN = (*SUFFIXES, *_LISTS)  # the last have no numbers to read

_FORMATS = {".parquet": parquet, ".graphml": graphml, ".h5ad": h5ad}


def write(parts: Parts, path: str | os.PathLike) -> None:
    """Write a network; see `unigrn.Network.write`."""
    suffix, text = suffix_of(path, WRITTEN), os.fspath(path)
    more = []
    if parts.proof is not None and suffix not in _LISTS:
        content, digest = proof.rendered(parts.proof)
        parts = dataclasses.replace(parts, document={**parts.document, "proof_sha256": digest})
        more.append((proof.beside(path), lambda _: [content]))
    if suffix in _FORMATS:
        write_whole([(text, lambda _: _FORMATS[suffix].rendered(parts)), *more])
    elif suffix in _LISTS:
        _write_with_meta(text, lambda: _LISTS[suffix].rendered(parts.edges), parts.document)
    else:
        _write_with_meta(text, _lines(parts.edges, suffix), parts.document, more)
    if not more:
        proof.remove(path)


def write_table(table: pd.DataFrame, path: str | os.PathLike, document: Mapping[str, Any]) -> None:
    """Write a table as `.tsv`, `.txt` or `.csv` (also `.gz`), and the document beside it.

    Raises
    ------
    ValueError
        For another suffix, or where the file cannot be written (`WriteError`).
    """
    suffix = suffix_of(path, [s for s in SUFFIXES if s not in _FORMATS])
    _write_with_meta(os.fspath(path), _lines(table, suffix), document)


def _lines(table: pd.DataFrame, suffix: str) -> Callable[[], Iterable[bytes]]:
    def lines() -> Iterator[bytes]:
        plain = table_bytes(table, "," if suffix.startswith(".csv") else "\t")
        return delimited.gzipped(plain) if suffix.endswith(".gz") else plain

    return lines


def table_bytes(table: pd.DataFrame, separator: str = "\t") -> Iterator[bytes]:
    """Give the bytes of a plain table, piece by piece."""
    return delimited.rendered(table, separator)


def _write_with_meta(
    path: str,
    table: Callable[[], Iterable[bytes]],
    document: Mapping[str, Any],
    more: Sequence[tuple[str, Any]] = (),
) -> None:
    def meta(digests: list[str]) -> Iterator[bytes]:
        yield readable({**document, "table_sha256": digests[0]})

    write_whole([(path, lambda _: table()), (path + ".meta.json", meta), *more])


def is_own(path: str | os.PathLike) -> bool:
    """Whether a file is a network, or a table made of one, as it was written here.

    Of a table that is gone its `FILE.meta.json` is asked alone. False for one that was changed
    since, and for an `.h5ad` with cells: to replace it would lose what is not ours.
    """
    name = os.fspath(path)
    suffix = next((s for s in _FORMATS if name.lower().endswith(s)), None)
    try:
        if suffix == ".h5ad":
            return h5ad.is_bare(name)
        if suffix is not None:
            return _read(name, None)[1] is not None
        with open(name + ".meta.json", "rb") as file:
            about = json.load(file)
        known = about["table_sha256"]
        return not os.path.exists(name) or known == hashlib.sha256(tables.content(name)).hexdigest()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def suffix_of(path: str | os.PathLike, known: Iterable[str] = SUFFIXES) -> str:
    """Give the suffix of a network file.

    Raises
    ------
    ValueError
        Where it is none of those known.

    Examples
    --------
    >>> suffix_of("run.1/edges.tsv.gz")
    '.tsv.gz'
    """
    name = os.path.basename(os.fspath(path)).lower()
    for suffix in sorted(known, key=len, reverse=True):
        if name.endswith(suffix):
            return suffix
    raise ValueError(f"{os.fspath(path)!r} has no known suffix; needed one of {', '.join(known)}")


def read_edges(path: str | os.PathLike) -> pd.DataFrame:
    """Read the edge table of any network file, also one that another program wrote.

    Parameters
    ----------
    path : path
        `.tsv`, `.csv`, `.txt`, `.sif`, `.gmt` (all optionally `.gz`), `.parquet`, `.graphml` or
        `.h5ad`. Regulators and genes are in columns that `unigrn.edgelists.SYNONYMS` names,
        groups, where there are some, in `group`; `weight` and `score` are numbers. A matrix of
        genes and TFs becomes its edges.

    Returns
    -------
    DataFrame
        Columns [group,] source, target, [weight, score,] then the others. Names are strings
        whatever they look like ("NA", "1"); an undefined number is NaN.

    Raises
    ------
    ValueError
        Where the file is absent, is no such table, or lacks the names of an edge.
    """
    if (edgelists.suffix_of(path) or ".parquet") == ".parquet":
        table, _, _ = _read(path, None)
    else:
        try:
            table = delimited.read(path, [])
        except tables.TableError as error:
            raise ValueError(f"cannot read {os.fspath(path)!r} as a table: {error}") from None
    label = repr(os.fspath(path))
    if not table.columns.is_unique:
        raise ValueError(f"cannot read {label}: it has a column twice: {listed(table.columns)}")
    if edgelists.matrix_of(table):
        return matrix_edges(table, label)
    at, _ = edgelists.columns_of(table, label, ("source", "target"))
    if len(at) < 2:
        raise edgelists.no_columns(table.columns, label, "source and target (or tf and target)")
    # A column of that name which is not read (an accession number) stands aside.
    new = [f"{name} (other)" if name in at else name for name in table.columns]
    for name, place in at.items():
        new[place] = name
    table = table.set_axis(new, axis=1)
    columns = {}
    for name in ("group", "source", "target"):
        if name in table.columns:
            columns[name] = _names(table[name], name, path)
    for name in ("weight", "score", "p"):
        if name in table.columns:
            columns[name], wrong = tables.numbers(table[name])
            if wrong.any():
                raise ValueError(
                    f"{os.fspath(path)!r} has {table[name].iloc[int(np.argmax(wrong))]!r} in the "
                    f"column {name}; needed numbers"
                )
    order = [name for name in columns if name != "p"]
    order += [name for name in table.columns if name not in order]
    return tables.build({name: columns.get(name, table[name].to_numpy()) for name in order})


def matrix_edges(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """Give the edges of a matrix of genes and TFs: source, target and signed weight."""
    edges = Prior.of("matrix", of_table(table, "matrix", label)).edges
    weight = edges["weight"].to_numpy() * np.where(edges["sign"].to_numpy() < 0, -1.0, 1.0)
    return tables.build(
        {name: edges[name].to_numpy() for name in ("source", "target")} | {"weight": weight}
    )


def read_network(path: str | os.PathLike) -> dict[str, Any]:
    """Read the parts of a network, as keywords of `Network`."""
    about = None
    suffix = suffix_of(path)
    if suffix not in _FORMATS:
        about = _read_meta(path)
    table, about, certificate = _read(path, about)
    if about is None:
        raise ValueError(
            f"{os.fspath(path)!r} does not say how it was inferred; needed a file that "
            "Network.write wrote. read_edges reads the table alone"
        )
    if "converted_to" in about:
        raise ValueError(
            f"{os.fspath(path)!r} is a table that was made for {about['converted_to']}; give the "
            "network that it was made of"
        )
    try:
        found = restored(table, about, certificate)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{os.fspath(path)!r} describes its network in a way that does not fit its edges "
            f"({type(error).__name__}: {error}); write it again, or use read_edges for the table "
            "alone"
        ) from error
    if "proof_sha256" in about and os.path.exists(proof.beside(path)):
        found["proof"] = proof.read(path, about["proof_sha256"])
    return found


def read_proof(path: str | os.PathLike) -> Proof:
    """Read the proof beside a network file.

    Raises
    ------
    ValueError
        Where there is none, or it is not the one that was written with the network.
    """
    if suffix_of(path, WRITTEN) in _FORMATS:
        about = _read(path, None)[1] or {}
    else:
        name = os.fspath(path) + ".meta.json"
        about = parsed(tables.content(name), name) if os.path.exists(name) else {}
    return proof.read(path, about.get("proof_sha256"))


def _names(column: tables.Column, name: str, path: str | os.PathLike) -> np.ndarray:
    distinct, codes = tables.names(column, f"{os.fspath(path)!r}: {name}")
    if (empty := codes < 0).any():
        raise ValueError(
            f"{os.fspath(path)!r} has {int(empty.sum())} rows without a {name}, the first is "
            f"row {int(np.argmax(empty)) + 1}; name them or remove them"
        )
    return distinct.astype(object)[codes]


def _read_meta(path: str | os.PathLike) -> dict[str, Any]:
    """Read the document beside a table, and check that it belongs to it."""
    name = os.fspath(path) + ".meta.json"
    try:
        data = tables.content(path)
        if not os.path.exists(name):
            raise ValueError(
                f"{os.fspath(path)!r} has no {os.path.basename(name)!r} beside it; needed both for "
                "a network. read_edges reads the table alone"
            )
        about = parsed(tables.content(name), name)
    except tables.TableError as error:
        raise ValueError(
            f"cannot read the network {os.fspath(path)!r}: {error}; choose another file"
        ) from None
    if about.get("table_sha256") != hashlib.sha256(data).hexdigest():
        raise ValueError(
            f"{name!r} belongs to another version of {os.path.basename(os.fspath(path))!r}; "
            "write the network again, or use read_edges for the table alone"
        )
    return {key: value for key, value in about.items() if key != "table_sha256"}


def _read(
    path: str | os.PathLike, about: dict[str, Any] | None
) -> tuple[pd.DataFrame, dict[str, Any] | None, pd.DataFrame | None]:
    """Read the table, the document and the certificate, as far as the file has them."""
    suffix = suffix_of(path)
    try:
        with tables.reasons():
            if suffix in _FORMATS:
                table, about, certificate = _FORMATS[suffix].read(path)
            else:
                types = about["network"].get("types") if about else []
                table, certificate = delimited.read(path, types), None
            if not table.columns.is_unique:
                raise tables.TableError(f"it has a column twice: {listed(table.columns)}")
    except tables.TableError as error:
        raise ValueError(f"cannot read {os.fspath(path)!r} as a {suffix} table: {error}") from None
    return table, about, certificate
