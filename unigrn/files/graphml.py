"""GraphML: nodes are genes, edges have the columns as attributes, the graph has the document."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn import tables
from unigrn.files.delimited import content, joined, slices, texts
from unigrn.files.document import Parts, parsed, to_json

if TYPE_CHECKING:
    import pandas as pd

_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
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
    bad = FORBIDDEN.search(text)
    if bad:
        raise ValueError(
            f"the name {text!r} holds the character {bad.group()!r}, which GraphML cannot; rename "
            "it or write .tsv, .csv, .parquet or .h5ad"
        )
    return text.translate(_MARKUP)


def _graphml_type(dtype: Any) -> str:
    if dtype.kind == "f":
        return "float" if dtype.itemsize == 4 else "double"
    if dtype.kind in "iu":
        return "int" if dtype.itemsize < 4 or dtype == np.int32 else "long"
    return "boolean" if dtype.kind == "b" else "string"


def rendered(parts: Parts) -> Iterator[bytes]:
    """Give the bytes of a file."""
    import pyarrow as pa
    import pyarrow.compute as pc

    compute: Any = pc  # its functions are made as it loads
    edges = parts.edges
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
    head.append(f'<data key="g0">{_xml(to_json(parts.document))}</data>')
    yield ("\n".join(head) + "\n").encode()

    genes = parts.genes
    if parts.document.get("filters"):  # what a filter left bare is in the document only
        genes = np.union1d(edges["source"].to_numpy(str), edges["target"].to_numpy(str))
    shown = pa.array([_xml(name) for name in genes.tolist()], pa.string())
    kinds = [
        pa.array(np.isin(genes, known)).cast(pa.string())
        for known in (parts.regulators, parts.targets)
    ]
    yield content(
        joined(
            [
                *('<node id="', shown, '"><data key="n0">', shown),
                *('</data><data key="n1">', kinds[0], '</data><data key="n2">', kinds[1]),
                "</data></node>\n",
            ]
        )
    )

    ends = [texts(edges[name], _xml) for name in ("source", "target")]
    columns = [texts(edges[name], _xml) for name in attributes]
    for rows in slices(len(edges)):
        pieces = ['<edge source="', ends[0](rows), '" target="', ends[1](rows), '">']
        for number, (name, column) in enumerate(zip(attributes, columns, strict=True)):
            text = column(rows)
            if edges[name].dtype.kind == "f":  # an infinite number, as XML Schema spells it
                text = compute.replace_substring(text, "inf", "INF")
            # Null in, null out: an undefined value has no element.
            pieces.append(
                compute.binary_join_element_wise(f'<data key="e{number}">', text, "</data>", "")
            )
        yield content(joined([*pieces, "</edge>\n"]))
    yield b"</graph>\n</graphml>\n"


def read(path: str | os.PathLike) -> tuple[pd.DataFrame, dict[str, Any] | None, None]:
    """Read edges and the document; other programs' files have no document."""
    import xml.parsers.expat

    import pyarrow as pa

    data = tables.content(path)
    keys: dict[str, tuple[str, str, str]] = {}  # key -> name, type, what it belongs to
    names: dict[str, str] = {}  # node -> name, where it is not the node's id
    ends: tuple[list[str], list[str]] = ([], [])
    values: dict[str, tuple[list[int], list[str]]] = {}  # key -> rows, texts
    graph: dict[str, str] = {}
    owner: str | None = None
    node, key = "", None
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
                raise tables.TableError("it has undirected edges; needed directed ones")
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
                raise tables.TableError("it is undirected; needed a directed graph")

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
        raise tables.TableError("it declares entities; needed plain GraphML")

    parser = xml.parsers.expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except KeyError as error:
        raise tables.TableError(f"an element lacks the attribute {error}") from None
    except (xml.parsers.expat.ExpatError, LookupError, ValueError) as error:
        raise tables.TableError(f"it is no valid XML ({error})") from None

    columns = {
        name: np.array([names.get(node, node) for node in nodes], dtype=object)
        for name, nodes in zip(("source", "target"), ends, strict=True)
    }
    number = len(ends[0])
    for key, (name, kind, owner) in keys.items():
        if (key in values or owner == "edge") and name not in ("source", "target"):
            rows, texts = values.get(key, ([], []))
            columns[name] = _graphml_column(np.array(rows, np.int64), texts, kind, number, pa)
    about = parsed(graph["unigrn"], "the graph") if "unigrn" in graph else None
    return tables.build(columns), about, None


def _graphml_column(rows: np.ndarray, texts: list[str], kind: str, number: int, pa: Any) -> Any:
    """Give one attribute of all edges; where it is absent, NaN or None."""
    dtypes = {"float": "float32", "double": "float64", "int": "int64", "long": "int64"}
    dtypes["boolean"] = "bool"
    if kind not in dtypes:
        column = np.full(number, None, object)
        column[rows] = texts
        return column
    dtype = np.dtype(dtypes[kind])
    values = pa.array(texts, pa.string()).cast(pa.from_numpy_dtype(dtype)).to_numpy(False)
    if len(rows) == number and (rows == np.arange(number)).all():
        return values.astype(dtype)
    column = np.full(number, np.nan, dtype if dtype.kind == "f" else np.float64)
    column[rows] = values
    return column
