"""Parquet, the document and the certificate in the metadata of its schema."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from unigrn import tables
from unigrn.files.document import Parts, parsed, to_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


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


def rendered(parts: Parts) -> Iterator[bytes]:
    """Give the bytes of a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.BufferOutputStream()
    certificate = _arrow(parts.certificate)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(rows, certificate.schema, options=options) as stream:
        stream.write_table(certificate)
    metadata = {
        b"unigrn": to_json(parts.document).encode(),
        b"unigrn.certificate": rows.getvalue().to_pybytes(),
    }
    file = pa.BufferOutputStream()
    table = _arrow(parts.edges).replace_schema_metadata(metadata)
    # Numbers of a fit hardly repeat: a dictionary of them costs time and saves nothing.
    texts: Any = [
        name for name in table.column_names if pa.types.is_string(table.schema.field(name).type)
    ]
    pq.write_table(table, file, compression="snappy", use_dictionary=texts)
    yield file.getvalue()


def read(
    path: str | os.PathLike,
) -> tuple[pd.DataFrame, dict[str, Any] | None, pd.DataFrame | None]:
    """Read the table, the document and the certificate, as far as the file has them."""
    import pyarrow as pa

    table = tables.read(path)
    metadata = table.schema.metadata or {}
    about = certificate = None
    if b"unigrn" in metadata and b"unigrn.certificate" in metadata:
        about = parsed(metadata[b"unigrn"], os.fspath(path))
        with pa.ipc.open_stream(metadata[b"unigrn.certificate"]) as stream:
            certificate = tables.frame(stream.read_all())
    return tables.frame(table), about, certificate
