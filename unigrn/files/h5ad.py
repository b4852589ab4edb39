"""AnnData: a network in `uns` and `varp`, and `.h5ad` files that hold nothing else."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn import UnigrnWarning
from unigrn import edges as edge_tables
from unigrn.check import listed
from unigrn.files.document import Parts, parsed, to_json
from unigrn.tables import TableError, build, content

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix


def varp_key(group: str | None) -> str:
    """Give the key of a group's weights in `adata.varp`.

    "/" separates levels in an .h5ad file, so it is written as %2F there, and "%" as %25.

    Examples
    --------
    >>> varp_key(None), varp_key("CD4 T"), varp_key("HSC/MPP")
    ('unigrn_weight', 'unigrn_weight_CD4 T', 'unigrn_weight_HSC%2FMPP')
    """
    if group is None:
        return "unigrn_weight"
    return "unigrn_weight_" + group.replace("%", "%25").replace("/", "%2F")


def fill(adata: AnnData, parts: Parts) -> None:
    """Put a network into an AnnData object; see `unigrn.Network.to_anndata`."""
    import pandas as pd
    from anndata import ImplicitModificationWarning

    if not adata.var_names.is_unique:
        double = adata.var_names[adata.var_names.duplicated()]
        raise ValueError(
            f"adata names {listed(np.unique(double.astype(str)))} twice; make its names "
            "unique first (adata.var_names_make_unique())"
        )
    genes = pd.Index(adata.var_names, dtype=object)
    needed, edges = parts.genes, parts.edges
    missing = needed[genes.get_indexer(needed.astype(object)) < 0]
    lacks = f"adata lacks {missing.size} of the network's {needed.size} genes ({listed(missing)})"
    if missing.size and missing.size == needed.size:
        raise ValueError(f"{lacks}; needed regulators and targets among its variables")
    if missing.size:
        edges: Any = edges[~(edges["source"].isin(missing) | edges["target"].isin(missing))]
        warnings.warn(
            f"{lacks}: {len(parts.edges) - len(edges):,} of {len(parts.edges):,} edges stand in "
            "uns only, not in varp",
            UnigrnWarning,
            stacklevel=3,
        )
    weights = sparse(edges, parts.groups, genes.to_numpy())
    document = {
        "edges": _with_categories(parts.edges, parts),
        "certificate": _with_categories(parts.certificate, parts),
        "provenance": to_json(parts.document),
    }
    with warnings.catch_warnings():
        # A view of other data becomes data of its own, which is what is asked for.
        warnings.simplefilter("ignore", ImplicitModificationWarning)
        adata.uns["unigrn"] = document
    # Those of an earlier network with other groups would tell another story than uns.
    for key in [key for key in adata.varp if key.startswith(varp_key(None))]:
        del adata.varp[key]
    for group, matrix in weights.items():
        adata.varp[varp_key(group)] = matrix


def sparse(
    edges: pd.DataFrame, groups: tuple[str, ...] | None, genes: np.ndarray
) -> dict[str | None, csr_matrix]:
    """Give the weights as genes x genes, sources in rows, per group (None: not grouped)."""
    from scipy.sparse import csr_matrix

    code = edge_tables.group_codes(edges, groups)
    order = np.argsort(code, kind="stable")
    weight = edges["weight"].to_numpy()[order]
    source = edge_tables.codes(edges["source"], genes)[order]
    target = edge_tables.codes(edges["target"], genes)[order]
    names = groups if groups is not None else (None,)
    cuts = np.searchsorted(code[order], np.arange(len(names) + 1))
    return {
        name: csr_matrix((weight[a:b], (source[a:b], target[a:b])), (len(genes), len(genes)))
        for name, a, b in zip(names, cuts[:-1], cuts[1:], strict=True)
    }


def _with_categories(table: pd.DataFrame, parts: Parts) -> pd.DataFrame:
    """Turn text into categories, which .h5ad holds as numbers and with undefined values."""
    import pandas as pd

    known = {"group": parts.groups, "source": parts.regulators, "target": parts.targets}
    columns = {}
    for name in table.columns:
        columns[name] = table[name].to_numpy()
        if table[name].dtype == object:
            values = known.get(name)
            if values is None:
                texts: Any = pd.unique(table[name])
                values = sorted(value for value in texts if value is not None)
            index = pd.Index(np.asarray(values, dtype=object), dtype=object)
            columns[name] = pd.Categorical.from_codes(index.get_indexer(table[name]), index)
    return pd.DataFrame(columns)


def rendered(parts: Parts) -> Iterator[bytes]:
    """Give the bytes of a file."""
    import anndata
    import h5py
    import pandas as pd
    from anndata.io import write_elem

    genes = pd.Index(parts.genes.astype(object), dtype=object)
    adata = anndata.AnnData(
        obs=pd.DataFrame(index=pd.Index([], dtype=object)), var=pd.DataFrame(index=genes)
    )
    fill(adata, parts)
    # Made in memory: on a full disk the HDF5 library would fail late, at the closing of the file.
    with h5py.File("unigrn", "w", driver="core", backing_store=False, block_size=1 << 22) as file:
        write_elem(file, "/", adata)
        file.flush()
        yield file.id.get_file_image()


def read(
    path: str | os.PathLike,
) -> tuple[pd.DataFrame, dict[str, Any] | None, pd.DataFrame | None]:
    """Read the table, the document and the certificate, as far as the file has them."""
    import h5py
    import pandas as pd
    from anndata.io import read_elem

    if not os.path.isfile(path):
        content(path)  # says why
        raise TableError("it is no file")
    with h5py.File(path, "r") as file:
        if "uns/unigrn/edges" not in file:
            raise TableError("uns has no 'unigrn' with edges, as Network.to_anndata puts there")
        try:
            found: Any = file["uns/unigrn"]
            entry: Any = read_elem(found)
        except Exception as error:  # anndata has one of its own for each way a file can be wrong
            raise TableError(f"uns['unigrn'] does not read ({type(error).__name__})") from error
    if not all(
        isinstance(entry.get(name), pd.DataFrame | None) for name in ("edges", "certificate")
    ):
        raise TableError("uns['unigrn'] holds something else than tables")
    about = parsed(entry["provenance"], os.fspath(path)) if "provenance" in entry else None
    certificate = entry.get("certificate")
    if certificate is not None:
        certificate = _without_categories(certificate)
    return _without_categories(entry["edges"]), about, certificate


def is_bare(path: str) -> bool:
    """Whether a file holds a network and no cells, as `rendered` writes it."""
    import h5py

    with h5py.File(path, "r") as file:
        found: Any = file
        if "uns/unigrn/provenance" not in found or "X" in found:
            return False
        return found["obs"][found["obs"].attrs["_index"]].shape == (0,)


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
    return build(columns)
