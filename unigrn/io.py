"""File layouts of a network, and writing that never leaves half a file.

Layouts
-------
`.tsv`, `.csv`, and both with `.gz`
    Header, then one line per edge. UTF-8, lines end in a line feed. A field is in double quotes
    only where it must be: where it holds the separator, a quote or a line break. Undefined values
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

The document is JSON: the keys of the provenance (method, hyperparameters, seed, versions, ...),
and `alignment`; `certificates` (counts per status, the worst residual, and the rows that did not
converge); `columns` (their meaning); `undefined_p` (the number of such edges); `network` (what
reading back needs: the types of the columns, and the names that no edge mentions).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.network import RESERVED, Network, _listed, _table, plain

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SUFFIXES = (".tsv", ".tsv.gz", ".csv", ".csv.gz", ".parquet", ".graphml", ".h5ad")

_LAYOUT = 1
_ROWS = 65536  # rows that are rendered at a time: bounds the memory of the text formats
_SYNONYMS = {"source": ("Source", "tf", "TF", "regulator", "Regulator"), "target": ("Target",)}


class WriteError(ValueError):
    """A file could not be written; what was there before is whole."""


# Writing


def write(network: Network, path: str | os.PathLike) -> None:
    """Write a network; see `Network.write`."""
    suffix = suffix_of(path)
    text = os.fspath(path)
    if suffix in (".parquet", ".graphml", ".h5ad"):
        chunks = {".parquet": _parquet, ".graphml": _graphml, ".h5ad": _h5ad}[suffix]
        write_whole([(text, lambda _: chunks(network))])
        return

    def table(_: list[str]) -> Iterator[bytes]:
        lines = _delimited(network.edges, "," if suffix.startswith(".csv") else "\t")
        return _gzipped(lines) if suffix.endswith(".gz") else lines

    def meta(digests: list[str]) -> Iterator[bytes]:
        yield _readable(document(network) | {"table_sha256": digests[0]})

    write_whole([(text, table), (text + ".meta.json", meta)])


def suffix_of(path: str | os.PathLike) -> str:
    """Give the suffix of a network file.

    Raises
    ------
    ValueError
        Where it is none of `SUFFIXES`.

    Examples
    --------
    >>> suffix_of("run.1/edges.tsv.gz")
    '.tsv.gz'
    """
    name = os.path.basename(os.fspath(path)).lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return suffix
    raise ValueError(
        f"{os.fspath(path)!r} has no known suffix; needed one of {', '.join(SUFFIXES)}"
    )


def write_whole(files: list[tuple[str, Callable[[list[str]], Iterable[bytes]]]]) -> None:
    """Write files so that each is either the old one or the complete new one.

    Every file is written beside its place and brought to the disk; only when all are complete do
    they replace the old ones, one after the other.

    Parameters
    ----------
    files : list of (path, contents)
        `contents` is called with the SHA-256 of the files before it, and gives the bytes in pieces.

    Raises
    ------
    WriteError
        On any failure of the operating system. Nothing is left behind on this or any other
        exception, and a KeyboardInterrupt stays one.
    """
    places, digests, current = [], [], files[0][0]
    try:
        for current, contents in files:
            target = _destination(current)
            # Long names leave no room for a suffix, so the name does not contain the old one. It
            # is noted before the file exists: an interrupt in between must find it.
            temporary = os.path.join(os.path.dirname(target), f".unigrn-{secrets.token_hex(8)}.tmp")
            places.append((current, temporary, target))
            digests.append(_write_new(temporary, target, contents(digests)))
        # A crash between two of these leaves a new table beside the old FILE.meta.json. Reading
        # notices, because the latter holds the digest of the table that it belongs to.
        for place in places:
            current = place[0]
            os.replace(*place[1:])
        for folder in sorted({os.path.dirname(target) for _, _, target in places}):
            _sync_folder(folder)
    except OSError as error:
        raise WriteError(_reason(current, error)) from error
    finally:
        for _, temporary, _ in places:
            with suppress(OSError):  # replaced, or never made
                os.unlink(temporary)


def _destination(path: str) -> str:
    """Give the real file behind a path, if a plain `open` could write it."""
    target = os.path.realpath(path)
    if not os.path.lexists(target):
        return target
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.path.isfile(target):
        # Replacing a device or a pipe would remove it.
        raise OSError(errno.EINVAL, "it is not a regular file")
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file there is read-only")
    return target


def _open_new(path: str) -> int:
    """Open a file that must not exist, with the permissions that `open` gives."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)


def _write_new(path: str, old: str, contents: Iterable[bytes]) -> str:
    """Write a new file to the disk, with the permissions of `old` where that exists."""
    digest = hashlib.sha256()
    with os.fdopen(_open_new(path), "wb") as file:
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.stat(old).st_mode)
            with suppress(OSError, AttributeError):  # not every file system has permissions
                os.fchmod(file.fileno(), mode)
        for piece in contents:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sync_folder(folder: str) -> None:
    """Bring new names to the disk where the system has a way to."""
    with suppress(OSError, AttributeError):
        descriptor = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(path: str, error: OSError) -> str:
    """Give one line: which file, why, what to do."""
    advice = "choose another path"
    if error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None)):
        advice = "free some space or write to another disk"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "write to a folder where you may, or change the permissions"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        advice = f"create the folder {os.path.dirname(os.path.abspath(path))!r} first"
    why = " ".join(str(error.strerror or error).split())
    return f"cannot write {path!r}: {why}; {advice}"


# The document


def document(network: Network) -> dict[str, Any]:
    """Give what the files say about a network beside its edges, as plain values for JSON."""
    import pandas as pd

    edges, failed = network.edges, network.not_converged()
    unused = {
        name: known[~np.isin(known, pd.unique(edges[column]).astype(str))].tolist()
        for name, known, column in (
            ("regulators_without_edges", network.regulators, "source"),
            ("targets_without_edges", network.targets, "target"),
        )
    }
    alignment = None
    if network.alignment is not None:
        alignment = plain(network.alignment.to_dict()) | {"lines": list(network.alignment.lines())}
    return {
        **network.provenance,
        "alignment": alignment,
        "certificates": plain(network.certificate_summary())
        | {"not_converged": [plain(row) for row in failed.to_dict("records")]},
        "columns": dict(network.columns),
        "network": {
            "layout": _LAYOUT,
            "groups": None if network.groups is None else list(network.groups),
            "types": _types(edges),
            "certificate_types": _types(network.certificate),
            **unused,
        },
        "undefined_p": network.undefined_p(),
    }


def _types(table: pd.DataFrame) -> list[list[str]]:
    """Give name and type of each column, "text" for objects; pairs, as JSON's keys are sorted."""
    return [
        [name, "text" if dtype.kind == "O" else dtype.name] for name, dtype in table.dtypes.items()
    ]


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _readable(value: Mapping[str, Any]) -> bytes:
    """Give JSON with one key per block, what only the reader needs on one line."""
    blocks = []
    for name, item in sorted(value.items()):
        indent = None if name == "network" else 2
        text = json.dumps(item, sort_keys=True, allow_nan=False, indent=indent)
        blocks.append(f"  {json.dumps(name)}: " + text.replace("\n", "\n  "))
    return ("{\n" + ",\n".join(blocks) + "\n}\n").encode()


# Text tables


def _texts(column: pd.Series, escape: Callable[[str], str]) -> Callable[[slice], pa.Array]:
    """Give a function that renders rows of a column as text, undefined values as null."""
    import pandas as pd
    import pyarrow as pa

    if column.dtype == object:
        codes, names = pd.factorize(column)
        known = pa.array([escape(name) for name in names], pa.string())
        return lambda rows: known.take(pa.array(codes[rows], mask=codes[rows] < 0))
    values = column.to_numpy()
    return lambda rows: pa.array(values[rows], from_pandas=True).cast(pa.string())


def _joined(pieces: list, between: str = "") -> pa.Array:
    """Concatenate columns of text row by row, null as nothing."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(
        *pieces, between, null_handling="replace", null_replacement=""
    )


def _content(texts: pa.Array) -> bytes:
    """Give the rows of a column of text one after the other."""
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return b""
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return bytes(memoryview(data)[ends[0] : ends[-1]])


def _slices(rows: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, rows, _ROWS))


def _delimited(edges: pd.DataFrame, separator: str) -> Iterator[bytes]:
    """Give the header and the lines of a table."""

    def quoted(text: str) -> str:
        if any(mark in text for mark in (separator, '"', "\n", "\r")):
            return '"' + text.replace('"', '""') + '"'
        return text

    columns = [_texts(edges[name], quoted) for name in edges.columns]
    yield (separator.join(map(quoted, edges.columns)) + "\n").encode()
    for rows in _slices(len(edges)):
        line = _joined([column(rows) for column in columns], separator)
        yield _content(_joined([line, ""], "\n"))


def _gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Compress; the header holds neither a time nor a name."""
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


# Parquet


def _arrow(table: pd.DataFrame) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            name: pa.array(
                table[name].to_numpy(),
                type=pa.string() if table[name].dtype == object else None,
                from_pandas=True,
            )
            for name in table.columns
        }
    )


def _parquet(network: Network) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.BufferOutputStream()
    certificate = _arrow(network.certificate)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(rows, certificate.schema, options=options) as stream:
        stream.write_table(certificate)
    metadata = {
        b"unigrn": _json(document(network)).encode(),
        b"unigrn.certificate": rows.getvalue().to_pybytes(),
    }
    file = pa.BufferOutputStream()
    table = _arrow(network.edges).replace_schema_metadata(metadata)
    # Numbers of a fit hardly repeat: a dictionary of them costs time and saves nothing.
    texts = [
        name for name in table.column_names if pa.types.is_string(table.schema.field(name).type)
    ]
    pq.write_table(table, file, compression="snappy", use_dictionary=texts)
    yield file.getvalue()


# GraphML

_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MARKUP = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
        "'": "&apos;",
        # A parser turns these into blanks or line feeds unless they are references.
        "\n": "&#10;",
        "\r": "&#13;",
        "\t": "&#9;",
    }
)


def _xml(text: str) -> str:
    bad = _FORBIDDEN.search(text)
    if bad:
        raise ValueError(
            f"the name {text!r} holds the character {bad.group()!r}, which GraphML cannot; rename "
            "it or write .tsv, .csv, .parquet or .h5ad"
        )
    return text.translate(_MARKUP)


def _graphml_type(dtype: np.dtype) -> str:
    if dtype.kind == "f":
        return "float" if dtype.itemsize == 4 else "double"
    if dtype.kind in "iu":
        return "int" if dtype.itemsize < 4 or dtype == np.int32 else "long"
    return "boolean" if dtype.kind == "b" else "string"


def _graphml(network: Network) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.compute as pc

    edges = network.edges
    attributes = [name for name in edges.columns if name not in ("source", "target")]
    keys = [("graph", "g0", "unigrn", "string"), ("node", "n0", "name", "string")]
    keys += [("node", "n1", "regulator", "boolean"), ("node", "n2", "target", "boolean")]
    keys += [
        ("edge", f"e{number}", name, _graphml_type(edges[name].dtype))
        for number, name in enumerate(attributes)
    ]
    head = ['<?xml version="1.0" encoding="UTF-8"?>', f'<graphml xmlns="{_NAMESPACE}">']
    head += [
        f'<key id="{key}" for="{owner}" attr.name="{_xml(name)}" attr.type="{kind}"/>'
        for owner, key, name, kind in keys
    ]
    head.append('<graph id="G" edgedefault="directed">')
    head.append(f'<data key="g0">{_xml(_json(document(network)))}</data>')
    yield ("\n".join(head) + "\n").encode()

    genes = network.genes()
    shown = pa.array([_xml(name) for name in genes.tolist()], pa.string())
    kinds = [
        pa.array(np.isin(genes, known)).cast(pa.string())
        for known in (network.regulators, network.targets)
    ]
    yield _content(
        _joined(
            [
                *('<node id="', shown, '"><data key="n0">', shown),
                *('</data><data key="n1">', kinds[0], '</data><data key="n2">', kinds[1]),
                "</data></node>\n",
            ]
        )
    )

    ends = [_texts(edges[name], _xml) for name in ("source", "target")]
    columns = [_texts(edges[name], _xml) for name in attributes]
    for rows in _slices(len(edges)):
        pieces = ['<edge source="', ends[0](rows), '" target="', ends[1](rows), '">']
        for number, (name, column) in enumerate(zip(attributes, columns, strict=True)):
            text = column(rows)
            if edges[name].dtype.kind == "f":  # an infinite number, as XML Schema spells it
                text = pc.replace_substring(text, "inf", "INF")
            # Null in, null out: an undefined value has no element.
            pieces.append(
                pc.binary_join_element_wise(f'<data key="e{number}">', text, "</data>", "")
            )
        yield _content(_joined([*pieces, "</edge>\n"]))
    yield b"</graph>\n</graphml>\n"


# AnnData


def uns_entry(network: Network) -> dict[str, Any]:
    """Give what `adata.uns["unigrn"]` holds: edges, certificate, and provenance as JSON."""
    return {
        "edges": _with_categories(network.edges, network),
        "certificate": _with_categories(network.certificate, network),
        "provenance": _json(document(network)),
    }


def _with_categories(table: pd.DataFrame, network: Network) -> pd.DataFrame:
    """Turn text into categories, which .h5ad holds as numbers and with undefined values."""
    import pandas as pd

    known = {"group": network.groups, "source": network.regulators, "target": network.targets}
    columns = {}
    for name in table.columns:
        columns[name] = table[name].to_numpy()
        if table[name].dtype == object:
            values = known.get(name)
            if values is None:
                values = sorted(value for value in pd.unique(table[name]) if value is not None)
            index = pd.Index(np.asarray(values, dtype=object), dtype=object)
            columns[name] = pd.Categorical.from_codes(index.get_indexer(table[name]), index)
    return pd.DataFrame(columns)


def _h5ad(network: Network) -> Iterator[bytes]:
    import anndata
    import h5py
    import pandas as pd
    from anndata.io import write_elem

    genes = pd.Index(network.genes().astype(object), dtype=object)
    adata = anndata.AnnData(
        obs=pd.DataFrame(index=pd.Index([], dtype=object)), var=pd.DataFrame(index=genes)
    )
    network.to_anndata(adata)
    # Made in memory: on a full disk the HDF5 library would fail late, at the closing of the file.
    with h5py.File("unigrn", "w", driver="core", backing_store=False, block_size=1 << 22) as file:
        write_elem(file, "/", adata)
        file.flush()
        yield file.id.get_file_image()


# Reading


def read_edges(path: str | os.PathLike) -> pd.DataFrame:
    """Read an edge table; see `unigrn.network.read_edges`."""
    table, _, _ = _read(path, None)
    rename = {}
    for name, others in _SYNONYMS.items():
        found = [other for other in (name, *others) if other in table.columns]
        if not found:
            raise ValueError(
                f"{os.fspath(path)!r} has the columns {_listed(table.columns)}; needed source and "
                "target (or tf and target)"
            )
        rename[found[0]] = name
    table = table.rename(columns=rename)
    if not table.columns.is_unique:
        raise ValueError(f"{os.fspath(path)!r} has a column twice: {_listed(table.columns)}")
    columns = {}
    for name in ("group", "source", "target"):
        if name in table.columns:
            columns[name] = _name_column(table[name], name, path)
    for name in ("weight", "score", "p"):
        if name in table.columns:
            values = table[name].to_numpy()
            if values.dtype.kind not in "biuf":
                shown = next((value for value in values if value is not None), None)
                if shown is not None:
                    raise ValueError(
                        f"{os.fspath(path)!r} has {shown!r} in the column {name}; needed numbers"
                    )
                values = np.full(len(values), np.nan)
            columns[name] = values if values.dtype.kind == "f" else values.astype(np.float64)
    order = [name for name in columns if name != "p"]
    order += [name for name in table.columns if name not in order]
    return _table({name: columns.get(name, table[name].to_numpy()) for name in order})


def read_network(path: str | os.PathLike) -> dict[str, Any]:
    """Read the parts of a network, as keywords of `Network`."""
    about = None
    suffix = suffix_of(path)
    if suffix.startswith((".tsv", ".csv")):
        about = _read_meta(path)
    table, about, certificate = _read(path, about)
    if about is None:
        raise ValueError(
            f"{os.fspath(path)!r} does not say how it was inferred; needed a file that "
            "Network.write wrote. read_edges reads the table alone"
        )
    try:
        return _restored(table, about, certificate)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{os.fspath(path)!r} describes its network in a way that does not fit its edges "
            f"({type(error).__name__}: {error}); write it again, or use read_edges for the table "
            "alone"
        ) from error


def _read_meta(path: str | os.PathLike) -> dict[str, Any]:
    """Read the document beside a table, and check that it belongs to it."""
    name = os.fspath(path) + ".meta.json"
    data = _bytes(path)
    if not os.path.exists(name):
        raise ValueError(
            f"{os.fspath(path)!r} has no {os.path.basename(name)!r} beside it; needed both for a "
            "network. read_edges reads the table alone"
        )
    about = _parsed(_bytes(name), name)
    if about.get("table_sha256") != hashlib.sha256(data).hexdigest():
        raise ValueError(
            f"{name!r} belongs to another version of {os.path.basename(os.fspath(path))!r}; "
            "write the network again, or use read_edges for the table alone"
        )
    return {key: value for key, value in about.items() if key != "table_sha256"}


def _parsed(text: bytes | str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{where!r} holds no valid JSON ({error}); write it again") from None
    if not isinstance(value, dict) or not isinstance(value.get("network"), dict):
        raise ValueError(f"{where!r} does not describe a network; write it again")
    return value


def _restored(
    table: pd.DataFrame, about: dict[str, Any], certificate: pd.DataFrame | None
) -> dict[str, Any]:
    import pandas as pd

    from unigrn.prior import AlignmentReport

    layout = about["network"]
    if layout["layout"] != _LAYOUT:
        raise ValueError(f"layout {layout['layout']} is of another version of unigrn")
    names = {
        column: [*pd.unique(table[column]), *layout[f"{what}_without_edges"]]
        for column, what in (("source", "regulators"), ("target", "targets"))
    }
    counted, types = about["certificates"], dict(layout["certificate_types"])
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
        "edges": _typed(table, dict(layout["types"])),
        "regulators": names["source"],
        "targets": names["target"],
        "groups": None if layout["groups"] is None else tuple(layout["groups"]),
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
    return _table(columns)


def _typed(table: pd.DataFrame, types: Mapping[str, str]) -> pd.DataFrame:
    """Give the columns their types again."""
    columns = {}
    for name, kind in types.items():
        columns[name] = table[name].to_numpy().astype(object if kind == "text" else kind)
    return _table(columns)


def _name_column(column: pd.Series, name: str, path: str | os.PathLike) -> np.ndarray:
    """Give a column of names as text; a whole number counts as a name."""
    values = column.to_numpy()
    if values.dtype.kind in "iu":
        values = np.array([str(value) for value in values.tolist()], dtype=object)
    if values.dtype != object:
        raise ValueError(
            f"{os.fspath(path)!r} has numbers in the column {name}; needed names as text"
        )
    empty = (values == None) | (values == "")  # noqa: E711 (elementwise)
    if empty.any():
        raise ValueError(
            f"{os.fspath(path)!r} has {int(empty.sum())} rows without a {name}, the first is "
            f"row {int(np.flatnonzero(empty)[0]) + 1}; name them or remove them"
        )
    return values


def _bytes(path: str | os.PathLike) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(
            f"cannot read {os.fspath(path)!r}: {error.strerror}; needed a file of a network"
        ) from None


def _read(
    path: str | os.PathLike, about: dict[str, Any] | None
) -> tuple[pd.DataFrame, dict[str, Any] | None, pd.DataFrame | None]:
    """Read the table, the document and the certificate, as far as the file has them."""
    import pyarrow as pa

    suffix = suffix_of(path)
    try:
        if suffix == ".parquet":
            return _read_parquet(path)
        if suffix == ".graphml":
            return *_read_graphml(_bytes(path)), None
        if suffix == ".h5ad":
            return _read_h5ad(path)
        types = about["network"].get("types") if about else []
        separator = "," if suffix.startswith(".csv") else "\t"
        return _read_delimited(_bytes(path), separator, types), about, None
    except pa.ArrowException as error:
        why = " ".join(str(error).split())
    except (OSError, EOFError, zlib.error) as error:
        why = " ".join(str(error).split()) or type(error).__name__
    except _NotATable as error:
        why = str(error)
    raise ValueError(f"cannot read {os.fspath(path)!r} as a {suffix} table: {why}")


class _NotATable(Exception):
    """What is wrong with the contents of a file; the caller adds its name."""


def _read_delimited(data: bytes, separator: str, types: Iterable[list[str]]) -> pd.DataFrame:
    import gzip

    import pyarrow as pa
    import pyarrow.csv

    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if not data.strip():
        raise _NotATable("it is empty; needed a header")
    texts = ("group", "source", "target", *_SYNONYMS["source"], *_SYNONYMS["target"])
    kinds = {name: pa.string() for name in texts}
    kinds |= {name: pa.float64() for name in ("weight", "score", "p")}
    try:
        kinds |= {
            name: pa.string() if kind == "text" else pa.from_numpy_dtype(kind)
            for name, kind in types
        }
    except (TypeError, ValueError, pa.ArrowException):
        raise _NotATable(f"its .meta.json gives the columns the types {types!r:.60}") from None
    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        # One thread and one block order: the same file gives the same table.
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=kinds, strings_can_be_null=False),
    )
    return _frame(table, empty_is_undefined=True)


def _frame(table: pa.Table, empty_is_undefined: bool = False) -> pd.DataFrame:
    """Turn an Arrow table into numbers, and text as objects with None where undefined."""
    import pyarrow as pa

    if len(set(table.column_names)) < len(table.column_names):
        raise _NotATable(f"it has a column twice: {_listed(table.column_names)}")
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if pa.types.is_null(kind):
            columns[name] = np.full(len(column), np.nan)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            columns[name] = column.to_numpy()
        elif pa.types.is_boolean(kind):
            columns[name] = column.to_numpy()
        else:
            coded = column.cast(pa.string()).combine_chunks()
            if isinstance(coded, pa.ChunkedArray):  # no chunk at all
                coded = pa.array([], pa.string())
            coded = coded.dictionary_encode()
            names = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
            if empty_is_undefined and name not in ("source", "target", "group"):
                names[names == ""] = None
            columns[name] = names[coded.indices.fill_null(len(names) - 1).to_numpy()]
    return _table(columns)


def _read_parquet(
    path: str | os.PathLike,
) -> tuple[pd.DataFrame, dict[str, Any] | None, pd.DataFrame | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(_bytes(path)))
    metadata = table.schema.metadata or {}
    about = certificate = None
    if b"unigrn" in metadata and b"unigrn.certificate" in metadata:
        about = _parsed(metadata[b"unigrn"], os.fspath(path))
        with pa.ipc.open_stream(metadata[b"unigrn.certificate"]) as stream:
            certificate = _frame(stream.read_all())
    return _frame(table), about, certificate


def _read_h5ad(
    path: str | os.PathLike,
) -> tuple[pd.DataFrame, dict[str, Any] | None, pd.DataFrame | None]:
    import h5py
    import pandas as pd
    from anndata.io import read_elem

    if not os.path.isfile(path):
        _bytes(path)  # says why
        raise _NotATable("it is no file")
    with h5py.File(path, "r") as file:
        if "uns/unigrn/edges" not in file:
            raise _NotATable("uns has no 'unigrn' with edges, as Network.to_anndata puts there")
        try:
            entry = read_elem(file["uns/unigrn"])
        except Exception as error:  # anndata has one of its own for each way a file can be wrong
            raise _NotATable(f"uns['unigrn'] does not read ({type(error).__name__})") from error
    if not all(
        isinstance(entry.get(name), pd.DataFrame | None) for name in ("edges", "certificate")
    ):
        raise _NotATable("uns['unigrn'] holds something else than tables")
    about = _parsed(entry["provenance"], os.fspath(path)) if "provenance" in entry else None
    certificate = entry.get("certificate")
    if certificate is not None:
        certificate = _without_categories(certificate)
    return _without_categories(entry["edges"]), about, certificate


def _without_categories(table: pd.DataFrame) -> pd.DataFrame:
    """Turn categories into text, None where undefined."""
    import pandas as pd

    columns = {}
    for name in table.columns:
        values = table[name]
        if isinstance(values.dtype, pd.CategoricalDtype):
            names = np.array([*values.cat.categories, None], dtype=object)
            columns[name] = names[values.cat.codes.to_numpy()]
        else:
            columns[name] = values.to_numpy()
    return _table(columns)


def _read_graphml(data: bytes) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Read edges and the document; other programs' files have no document."""
    import xml.parsers.expat

    import pyarrow as pa

    keys: dict[str, tuple[str, str, str]] = {}  # key -> name, type, what it belongs to
    names: dict[str, str] = {}  # node -> name, where it is not the node's id
    ends: tuple[list[str], list[str]] = ([], [])
    values: dict[str, tuple[list[int], list[str]]] = {}  # key -> rows, texts
    graph: dict[str, str] = {}
    owner = node = key = None
    text: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal owner, node, key
        tag = tag.rpartition("}")[2]
        if tag == "data":
            key = attributes["key"]
            text.clear()
        elif tag == "edge":
            owner = "edge"
            if attributes.get("directed") == "false":
                raise _NotATable("it has undirected edges; needed directed ones")
            ends[0].append(attributes["source"])
            ends[1].append(attributes["target"])
        elif tag == "node":
            owner, node = "node", attributes["id"]
        elif tag == "key":
            name = attributes.get("attr.name", attributes["id"])
            kind = attributes.get("attr.type", "string")
            keys[attributes["id"]] = (name, kind, attributes.get("for", "all"))
        elif tag == "graph":
            owner = "graph"
            if attributes.get("edgedefault") == "undirected":
                raise _NotATable("it is undirected; needed a directed graph")

    def end(tag: str) -> None:
        nonlocal owner, key
        tag = tag.rpartition("}")[2]
        if tag == "data" and key is not None:
            value = "".join(text)
            if owner == "edge":
                rows, texts = values.setdefault(key, ([], []))
                rows.append(len(ends[0]) - 1)
                texts.append(value)
            elif owner == "node" and keys.get(key, ("",))[0] == "name":
                names[node] = value
            elif owner == "graph":
                graph[keys.get(key, (key,))[0]] = value
            key = None
        elif tag in ("node", "edge"):
            owner = "graph"

    def refuse(*_: Any) -> None:
        raise _NotATable("it declares entities; needed plain GraphML")

    parser = xml.parsers.expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except KeyError as error:
        raise _NotATable(f"an element lacks the attribute {error}") from None
    except (xml.parsers.expat.ExpatError, LookupError, ValueError) as error:
        raise _NotATable(f"it is no valid XML ({error})") from None

    columns = {
        name: np.array([names.get(one, one) for one in each], dtype=object)
        for name, each in zip(("source", "target"), ends, strict=True)
    }
    number = len(ends[0])
    for key, (name, kind, owner) in keys.items():
        if (key in values or owner == "edge") and name not in ("source", "target"):
            rows, texts = values.get(key, ([], []))
            columns[name] = _graphml_column(np.array(rows, np.int64), texts, kind, number, pa)
    about = _parsed(graph["unigrn"], "the graph") if "unigrn" in graph else None
    return _table(columns), about


def _graphml_column(rows: np.ndarray, texts: list[str], kind: str, number: int, pa: Any) -> Any:
    """Give one attribute of all edges; where it is absent, NaN or None."""
    dtypes = {"float": "float32", "double": "float64", "int": "int64", "long": "int64"}
    dtypes["boolean"] = "bool"
    if kind not in dtypes:
        column = np.full(number, None, object)
        column[rows] = texts
        return column
    dtype = np.dtype(dtypes[kind])
    found = pa.array(texts, pa.string()).cast(pa.from_numpy_dtype(dtype)).to_numpy(False)
    if len(rows) == number and (rows == np.arange(number)).all():
        return found.astype(dtype)
    column = np.full(number, np.nan, dtype if dtype.kind == "f" else np.float64)
    column[rows] = found
    return column
