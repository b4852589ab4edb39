"""Containers: files with expression, told apart by what they hold, checked, and opened.

The parts of an h5ad file refer to each other: an index beyond the columns, or row limits that run
backwards, are read as other numbers, or end the process inside a compiled library. So the layout of
what is asked for is checked before anything is read from it, block by block. A file must not reach
outside of itself either: links and datasets that read other files are refused.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.check import listed

if TYPE_CHECKING:
    import anndata

HDF5 = b"\x89HDF\r\n\x1a\n"
STEP = 1 << 22  # indices that are checked at a time
MOST = 1 << 30  # bytes that nothing in a file vouches for
TIMES = 2000  # bytes that one stored byte can stand for; gzip makes at most 1,032 of one

# What other HDF5 files hold, and how theirs becomes an h5ad file.
OTHERS = (
    ("row_attrs", "a loom file", "anndata.io.read_loom(path)"),
    ("assays", "a Seurat object", 'SeuratDisk::Convert(path, dest = "h5ad") in R'),
    ("matrix/indptr", "a 10x Genomics matrix", "scanpy.read_10x_h5(path)"),
    ("matrix/barcodes", "a 10x Genomics matrix", "scanpy.read_10x_h5(path)"),
)


def open_expression(
    path: str | os.PathLike, layer: str | None = None, raw: bool = False
) -> anndata.AnnData:
    """Open a file with expression, its layout checked.

    Parameters
    ----------
    path
        An ``.h5ad`` file, opened backed; a ``.zarr`` folder, read whole (needs the extra ``zarr``);
        or one modality of an ``.h5mu`` file, ``file.h5mu/rna``, whose name may be left out where
        there is one, or one called rna.
    layer, raw
        Which matrix will be read: a layer, the one in ``.raw``, or X.

    Raises
    ------
    ValueError
        Where there is no such file, or it is of another kind, holds no such matrix, contradicts
        itself, or reads other files.
    """
    place, modality = _split(Path(path))
    if place.is_dir():
        return _zarr(place)
    if not place.exists():
        raise ValueError(f"there is no file {place}")
    try:
        with open(place, "rb") as handle:
            magic = handle.read(len(HDF5))
    except OSError as error:
        raise ValueError(f"{place} cannot be read: {error.strerror}") from None
    if magic != HDF5:
        raise ValueError(f"{place} is not an h5ad (HDF5) file; write one with adata.write_h5ad()")
    import anndata
    import h5py

    with _told(place), h5py.File(place, "r") as file:
        _closed(file)
        name = _modality(file, place, modality)
        root: Any = file if name is None else file[f"mod/{name}"]
        _other_kind(root)
        check_layout(root, layer, raw)
        if name is not None:
            whole: Any = anndata.io.read_elem(root)
            return whole
    with _told(place):
        return anndata.read_h5ad(place, backed="r")


def _split(path: Path) -> tuple[Path, str | None]:
    """Take the modality off the path of an h5mu file."""
    if path.parent.suffix.lower() == ".h5mu" and path.parent.is_file():
        return path.parent, path.name
    return path, None


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one line why a file cannot be read; h5py and anndata raise many kinds of errors."""
    try:
        yield
    except LayoutError as error:
        raise ValueError(f"{path}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        locked = isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.EACCES)
        if locked or "already open" in reason:
            raise ValueError(
                f"{path} is open in another program, or its file system has no locks: close it "
                "there, or set HDF5_USE_FILE_LOCKING=FALSE"
            ) from error
        raise ValueError(
            f"{path} is damaged or not an AnnData file ({reason[:160]}); copy or write it again"
        ) from error


class LayoutError(ValueError):
    """What is wrong with the layout of a file; the name of the file is added where it is known."""


# What a file is


def _other_kind(root: Any) -> None:
    for key, what, how in OTHERS:
        if "obs" not in root and key in root:
            raise LayoutError(f"it is {what}, not an h5ad file; make one of it by {how}")
    lacking = [name for name in ("obs", "var") if name not in root]
    if lacking:
        held = listed(root, 5)
        raise LayoutError(
            f"it is no AnnData file: it lacks {' and '.join(lacking)}, and has {held}"
        )


def _modality(file: Any, path: Path, asked: str | None) -> str | None:
    """Return the name of the modality to read, None for a file without modalities."""
    if "mod" not in file or "X" in file:
        if asked is not None:
            raise LayoutError(f"it has no modality {asked!r}: it is no MuData file")
        return None
    names = list(file["mod"])
    chosen = asked or ("rna" if "rna" in names else names[0] if len(names) == 1 else None)
    if chosen not in names:
        got = "no modality" if chosen is None else f"no modality {chosen!r}"
        raise LayoutError(
            f"{got} is named; give one as {path.name}/NAME, of: {listed(names, 12)}"
            if chosen is None
            else f"it has {got}; its modalities are: {listed(names, 12)}"
        )
    return chosen


def _zarr(path: Path) -> anndata.AnnData:
    if not any((path / name).exists() for name in (".zgroup", ".zattrs", "zarr.json")):
        mtx = [p.name for p in path.glob("matrix.mtx*")]
        if mtx:
            raise ValueError(
                f"{path} is a folder with {mtx[0]}; make an h5ad file of it by "
                "scanpy.read_10x_mtx(path).write_h5ad(...)"
            )
        raise ValueError(f"{path} is a folder; give an .h5ad file, or a .zarr store")
    try:
        import zarr  # noqa: F401  # anndata reads it by this
    except ImportError:
        raise ValueError(
            f"{path} is a zarr store, for which zarr is needed: pip install 'unigrn[zarr]'"
        ) from None
    import anndata

    with _told(path):
        return anndata.read_zarr(path)


# What is in it


def _closed(file: Any) -> None:
    """Refuse links and datasets that read other files, anywhere in the file."""
    import h5py

    low: Any = h5py  # of what is used here it declares no types
    seen, waiting = set(), [("", file)]
    while waiting:
        place, group = waiting.pop()
        for name in group:
            here = f"{place}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise LayoutError(f"{here} is a link to another file; copy what it holds into it")
            if isinstance(link, h5py.SoftLink):
                continue  # where it leads is seen there, or nowhere
            item = group[name]
            address = low.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append((here, item))
            elif isinstance(item, h5py.Dataset) and (
                item.external
                or (item.is_virtual and any(s.file_name != "." for s in item.virtual_sources()))
            ):
                raise LayoutError(f"{here} is stored in another file; copy what it holds into it")


def check_layout(root: Any, layer: str | None = None, raw: bool = False) -> None:
    """Check that the matrix that is asked for agrees with the file's cells and genes, and itself.

    Parameters
    ----------
    root
        h5py group of an AnnData object.
    layer, raw
        As in `open_expression`.

    Raises
    ------
    LayoutError
        What contradicts what.
    """
    layers = [name for name in root["layers"]] if "layers" in root else []
    if raw:
        place = "raw/X"
        if place not in root:
            raise LayoutError("it has no .raw; leave it out to use X")
    elif layer is not None:
        place = f"layers/{layer}"
        if layer not in layers:
            return  # said where the layers of any object are looked up
    else:
        place = "X"
        if "X" not in list(root):
            raise LayoutError(f"it has no X; name one of its layers: {listed(layers, 12)}")
    matrix = _at(root, place)
    var = "raw/var" if raw else "var"
    sizes = [_length(root, axis) for axis in ("obs", var)]
    shape = _checked(matrix, place)
    for axis, got, needed in zip(("obs", var), shape, sizes, strict=True):
        if needed is not None and got != needed:
            what = "rows" if axis == "obs" else "columns"
            raise LayoutError(f"{place} has {got:,} {what}, and {axis} has {needed:,}")


def _at(root: Any, place: str) -> Any:
    try:
        return root[place]
    except (KeyError, OSError, RuntimeError):
        raise LayoutError(f"{place} is a link that leads nowhere") from None


def _length(root: Any, axis: str) -> int | None:
    """Count the cells or genes of a file; None where its form is of another time."""
    if axis not in root:
        raise LayoutError(f"it has no {axis}")
    table = _at(root, axis)
    if not hasattr(table, "keys"):
        return table.shape[0] if table.shape else None
    index = table.attrs.get("_index")
    if not isinstance(index, str) or index not in table:
        return None
    item = _at(table, index)
    item = item["values"] if hasattr(item, "keys") and "values" in item else item
    return item.shape[0] if getattr(item, "ndim", 0) == 1 else None


def _checked(matrix: Any, place: str) -> tuple[int, int]:
    """Check a matrix as far as it refers to itself, and return its shape."""
    if not hasattr(matrix, "keys"):
        if matrix.shape is None or len(matrix.shape) != 2:
            raise LayoutError(f"{place} has the shape {matrix.shape}; needed cells x genes")
        _numeric(matrix, place)
        _stored(matrix, place)
        return tuple(matrix.shape)
    kind = _text(matrix.attrs.get("encoding-type", matrix.attrs.get("h5sparse_format", "")))
    kind = kind.removesuffix("_matrix")
    if kind not in ("csr", "csc"):
        raise LayoutError(f"{place} is of the kind {kind!r}; needed a dense, csr or csc matrix")
    shape = matrix.attrs.get("shape", matrix.attrs.get("h5sparse_shape"))
    shape = np.asarray(() if shape is None else shape)
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or (shape < 0).any():
        raise LayoutError(f"{place} has no shape of two whole numbers")
    parts = {}
    for name in ("data", "indices", "indptr"):
        if name not in matrix:
            raise LayoutError(f"{place} lacks its {name}")
        parts[name] = part = _at(matrix, name)
        if getattr(part, "ndim", None) != 1:
            raise LayoutError(f"{place}/{name} is no list of numbers")
        _stored(part, f"{place}/{name}")
        if name != "data" and part.dtype.kind not in "iu":
            raise LayoutError(f"{place}/{name} holds {part.dtype}; needed whole numbers")
    _numeric(parts["data"], f"{place}/data")
    rows, columns = (int(n) for n in shape)
    major, minor = (rows, columns) if kind == "csr" else (columns, rows)
    if len(parts["data"]) != len(parts["indices"]):
        raise LayoutError(
            f"{place} has {len(parts['data']):,} values for {len(parts['indices']):,} indices"
        )
    if len(parts["indptr"]) != major + 1:
        raise LayoutError(
            f"{place}/indptr has the length {len(parts['indptr']):,}; needed {major + 1:,}"
        )
    steps = (
        parts["indices"][start : start + STEP] for start in range(0, len(parts["indices"]), STEP)
    )
    check_sparse(parts["indptr"][:], len(parts["indices"]), steps, minor, place)
    return rows, columns


def check_sparse(
    indptr: np.ndarray, count: int, indices: Iterable[np.ndarray], minor: int, place: str
) -> None:
    """Check that a compressed matrix keeps to its limits.

    Parameters
    ----------
    indptr
        (major + 1,) where each row, or column, begins and ends.
    count
        Number of values.
    indices
        Their places along the other axis, in blocks.
    minor
        Length of that axis.
    place
        What to call the matrix.
    """
    if len(indptr) and (indptr[0] != 0 or indptr[-1] != count):
        raise LayoutError(
            f"{place}/indptr runs from {indptr[0]} to {indptr[-1]}, and there are {count:,} values"
        )
    if (indptr[1:] < indptr[:-1]).any():
        raise LayoutError(f"{place}/indptr decreases; it must say where each row ends, in order")
    for block in indices:
        low, high = int(block.min(initial=0)), int(block.max(initial=0))
        if low < 0 or high >= minor and len(block):
            wrong = low if low < 0 else high
            raise LayoutError(f"{place}/indices has {wrong}; needed numbers from 0 to {minor - 1}")


def _numeric(values: Any, place: str) -> None:
    import h5py

    if values.dtype.kind not in "fiub" or h5py.check_ref_dtype(values.dtype) is not None:
        raise LayoutError(f"{place} holds {_kind(values.dtype)}; needed real numbers")


def _kind(dtype: np.dtype) -> str:
    names = {"c": "complex numbers", "S": "text", "O": "text", "U": "text", "V": "records"}
    return names.get(dtype.kind, str(dtype))


def _stored(values: Any, place: str) -> None:
    """Refuse a dataset that declares far more than is stored."""
    declared = values.size * values.dtype.itemsize
    if declared > MOST and declared > TIMES * values.id.get_storage_size():
        raise LayoutError(
            f"{place} declares {declared / 2**30:,.0f} GiB, of which the file holds "
            f"{values.id.get_storage_size():,} bytes"
        )


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def native(matrix: Any) -> Any:
    """Return a sparse matrix in numbers that SciPy computes with: in this machine's byte order.

    Dense rows are converted as they are read.
    """
    dtype = np.dtype(getattr(matrix, "dtype", None) or np.float32)
    if not hasattr(matrix, "indptr") and not hasattr(matrix, "to_memory"):
        return matrix
    if dtype.isnative and dtype != np.float16:
        return matrix
    kind = np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")
    if not hasattr(matrix, "to_memory"):
        return matrix.astype(kind)
    import scipy.sparse

    build = scipy.sparse.csr_matrix if matrix.format == "csr" else scipy.sparse.csc_matrix
    parts = [np.asarray(matrix.group[name][:]) for name in ("data", "indices", "indptr")]
    parts = [parts[0].astype(kind), *(p.astype(p.dtype.newbyteorder("=")) for p in parts[1:])]
    return build(tuple(parts), shape=matrix.shape)


def numbers_of(column: str, values: Any, used: np.ndarray) -> np.ndarray:
    """Return the numbers of a column of obs; those of cells that are not used may be missing."""
    if getattr(values.dtype, "kind", "O") not in "fiub":
        raise ValueError(f"obs column {column!r} must hold numbers, got {values.dtype}")
    out = values.to_numpy(dtype=np.float64)
    lacking = int((used & ~np.isfinite(out)).sum())
    if lacking:
        raise ValueError(
            f"obs column {column!r} has no finite number for {lacking:,} of {int(used.sum()):,} "
            "cells; leave these cells out, or give them no group"
        )
    return np.where(used, out, 0.0)


PLACES = ("varp", "uns")  # of AnnData, where arrays of genes and others are


def array_of(adata: Any, place: str) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Return the array ``varp/KEY`` or ``uns/KEY``, and its axes; None of another place."""
    where, _, key = place.partition("/")
    if where not in PLACES or place in adata.obs.columns:
        return None
    held = getattr(adata, where)
    if key not in held:
        raise ValueError(
            f"there is no {where} key {key!r}; the keys are: {', '.join(map(str, held)) or 'none'}"
        )
    values = held[key]
    values = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{place} must hold numbers, got {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError(f"{place} holds numbers that are not finite; fill them in")
    if where == "varp":
        return values, ("regulators", "targets")
    return values, tuple(f"{key}_{i}" for i in range(values.ndim))
