"""Expression files: contradictions are refused, other kinds are named, nothing outside is read."""

from __future__ import annotations

import subprocess
import sys
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from unigrn import Data

CELLS, GENES = 12, 5
X = np.random.default_rng(0).poisson(1.0, (CELLS, GENES)).astype(np.float32)
NAMES = [f"g{i}" for i in range(GENES)]


def adata(matrix=X):
    whole = anndata.AnnData(
        matrix.copy(),
        obs=pd.DataFrame({"kind": list("ab") * 6}, index=[f"c{i}" for i in range(CELLS)]),
        var=pd.DataFrame({"symbol": [n.upper() for n in NAMES]}, index=NAMES),
    )
    whole.layers["L"] = matrix.copy()
    return whole


BASES = {"dense": X, "csr": scipy.sparse.csr_matrix(X), "csc": scipy.sparse.csc_matrix(X)}


@pytest.fixture(params=list(BASES))
def base(request, tmp_path):
    path = tmp_path / f"{request.param}.h5ad"
    adata(BASES[request.param]).write_h5ad(path)
    return path


def written(tmp_path, kind, change):
    """Write a file, and change it."""
    path = tmp_path / "changed.h5ad"
    adata(BASES[kind]).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def put(key, **options):
    """Exchange a dataset, its attributes kept."""

    def change(file):
        kept = dict(file[key].attrs)
        del file[key]
        new = file.create_dataset(key, **options)
        for name, value in kept.items():
            new.attrs[name] = value

    return change


def entry(key, place, value):
    def change(file):
        file[key][place] = value

    return change


def limits(function):
    def change(file):
        put("X/indptr", data=function(file["X/indptr"][()].astype("i8")))(file)

    return change


def at(place, value):
    def function(p):
        p[place] = value
        return p

    return function


def attribute(key, name, value):
    def change(file):
        file[key].attrs[name] = value

    return change


def removed(key):
    def change(file):
        del file[key]

    return change


def linked(key, link):
    def change(file):
        del file[key]
        file[key] = link

    return change


def values(data):
    return np.concatenate([b.values for b in data.blocks(np.arange(len(data.genes)))])


def test_whole_files_are_read(base):
    for layer in (None, "L"):
        assert (values(Data.from_anndata(base, layer)) == X).all()


SPARSE = [
    (entry("X/indices", 3, -1), "X/indices has -1; needed numbers from 0"),
    (entry("X/indices", 3, 10**6), "X/indices has 1000000"),
    (limits(at(0, 3)), "X/indptr runs from 3"),
    (limits(at(2, 10**6)), "X/indptr decreases"),
    (limits(at(2, -5)), "X/indptr decreases"),
    (limits(lambda p: p[:-1]), "X/indptr has the length"),
    (limits(lambda p: np.r_[p, p[-1]]), "X/indptr has the length"),
    (limits(lambda p: np.r_[p[:-1], p[-1] - 2]), "X/indptr runs from 0"),
    (limits(lambda p: p * 0), "X/indptr runs from 0 to 0"),
    (limits(lambda p: p.astype(float)), "X/indptr holds float64; needed whole numbers"),
    (put("X/data", data=np.ones(3, "f4")), "X has 3 values"),
    (put("X/data", data=np.ones((3, 1), "f4")), "X/data is no list"),
    (removed("X/indices"), "X lacks its indices"),
    (attribute("X", "shape", [CELLS + 5, GENES]), "X/indptr has the length|X has 17 rows"),
    (attribute("X", "shape", [2**40, GENES]), "X/indptr has the length|X has 1,099"),
    (attribute("X", "shape", "12x5"), "no shape of two whole numbers"),
    (attribute("X", "encoding-type", "garbage"), "kind 'garbage'"),
]


@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.parametrize("change, says", SPARSE)
def test_sparse_matrices_that_contradict_themselves_are_refused(tmp_path, kind, change, says):
    path = written(tmp_path, kind, change)
    with pytest.raises(ValueError, match=says) as caught:
        Data.from_anndata(path)
    assert "changed.h5ad: " in str(caught.value) and len(str(caught.value)) < 300
    assert (values(Data.from_anndata(path, "L")) == X).all()  # what is not asked for may be so


@pytest.mark.parametrize(
    "change, says",
    [
        (put("X", data=X[:-2]), "X has 10 rows, and obs has 12"),
        (put("X", data=X[:, :-1]), "X has 4 columns, and var has 5"),
        (put("X", data=X.ravel()), "needed cells x genes"),
        (put("X", data=X.astype("c8")), "complex numbers; needed real numbers"),
        (put("X", data=X.astype("S4")), "text; needed real numbers"),
        (put("X", shape=X.shape, dtype=h5py.ref_dtype), "needed real numbers"),
        (put("X", shape=(10**9, GENES), dtype="f4", chunks=(1000, GENES)), "declares 19 GiB"),
        (removed("X"), "it has no X; name one of its layers: 'L'"),
        (removed("var"), "lacks var"),
        (linked("X", h5py.SoftLink("/X")), "leads nowhere"),
        (linked("X", h5py.SoftLink("/nope")), "leads nowhere"),
    ],
)
def test_dense_matrices_that_do_not_fit_are_refused(tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        Data.from_anndata(written(tmp_path, "dense", change))


def test_nothing_outside_of_the_file_is_read(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["X"] = X
    (tmp_path / "bytes").write_bytes(X.tobytes())
    layout = h5py.VirtualLayout(X.shape, "f4")
    layout[:] = h5py.VirtualSource(str(secret), "X", X.shape)

    def virtual(file):
        del file["X"]
        file.create_virtual_dataset("X", layout)

    for change in (
        linked("X", h5py.ExternalLink(str(secret), "/X")),
        put("X", shape=X.shape, dtype="f4", external=[(str(tmp_path / "bytes"), 0, X.nbytes)]),
        virtual,
        lambda file: file["uns"].__setitem__("x", h5py.ExternalLink(str(secret), "/X")),
    ):
        with pytest.raises(ValueError, match="another file; copy what it holds into it"):
            Data.from_anndata(written(tmp_path, "dense", change))


@pytest.mark.parametrize("kind", ["dense", "csr", "csc"])
@pytest.mark.parametrize("dtype", [">f4", ">f8", "f2", "i2", "?"])
def test_numbers_of_any_kind_are_read(tmp_path, kind, dtype):
    key = "X" if kind == "dense" else "X/data"

    def change(file):
        put(key, data=file[key][()].astype(dtype))(file)

    path = written(tmp_path, kind, change)
    assert (values(Data.from_anndata(path)) == X.astype(dtype).astype("f4")).all()


def test_sparse_matrices_in_memory_are_checked_too():
    bad = scipy.sparse.csr_matrix(X)
    bad.indices[2] = 10**6
    with pytest.raises(ValueError, match="indices has 1000000"):
        Data.from_arrays(bad, NAMES)


def groups_of(*names):
    def write(path):
        with h5py.File(path, "w") as file:
            for name in names:
                file.create_group(name)

    return write


@pytest.mark.parametrize(
    "name, write, says",
    [
        ("a.h5", groups_of("matrix/barcodes"), "a 10x Genomics matrix.*read_10x_h5"),
        ("a.loom", groups_of("row_attrs", "col_attrs"), "a loom file.*read_loom"),
        ("a.h5Seurat", groups_of("assays/RNA", "meta.data"), "a Seurat object.*Convert"),
        ("a.h5ad", groups_of(), "lacks obs and var"),
        ("a.h5ad", lambda path: path.write_text("x,y\n"), "not an h5ad .HDF5. file"),
        ("a", lambda path: path.mkdir(), "is a folder"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path, name, write, says):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=says):
        Data.from_anndata(tmp_path / name)


def test_a_folder_of_cellranger_is_named(tmp_path):
    (tmp_path / "matrix.mtx.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="read_10x_mtx"):
        Data.from_anndata(tmp_path)


HOLDING = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); input()"


def test_an_open_file_is_not_called_damaged(base):
    holder = [sys.executable, "-c", HOLDING, str(base)]
    with subprocess.Popen(
        holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "open\n"
        with pytest.raises(ValueError, match="open in another program"):
            Data.from_anndata(base)
        other.communicate("\n")


def test_modalities_of_an_h5mu_file(tmp_path):
    path = tmp_path / "multi.h5mu"
    with h5py.File(path, "w") as file:
        for name in ("rna", "atac"):
            anndata.io.write_elem(
                file.require_group("mod"), name, adata(X if name == "rna" else 2 * X)
            )
    assert (values(Data.from_anndata(path)) == X).all()
    assert (values(Data.from_anndata(path / "atac")) == 2 * X).all()
    with pytest.raises(ValueError, match="its modalities are: 'atac', 'rna'"):
        Data.from_anndata(path / "adt")
    with h5py.File(path, "r+") as file:
        file.move("mod/rna", "mod/adt")
    with pytest.raises(ValueError, match="give one as multi.h5mu/NAME, of: 'adt', 'atac'"):
        Data.from_anndata(path)


def test_zarr_stores_are_read(tmp_path):
    pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which format anndata will write by default
        adata().write_zarr(tmp_path / "a.zarr")
    data = Data.from_anndata(tmp_path / "a.zarr", groupby="kind")
    assert (
        np.concatenate([b.values for b in data.blocks(np.arange(GENES))]) == np.r_[X[::2], X[1::2]]
    ).all()


def test_names_in_a_column_and_raw(base):
    assert Data.from_anndata(base, names="symbol").genes.tolist() == [n.upper() for n in NAMES]
    with pytest.raises(ValueError, match="no var column 'symbols' for names.*'symbol'"):
        Data.from_anndata(base, names="symbols")
    whole = adata()
    part = whole[:, :2].copy()
    with pytest.raises(ValueError, match="has no .raw"):
        Data.from_anndata(part, raw=True)
    part.raw = whole
    path = base.with_name("part.h5ad")
    part.write_h5ad(path)
    for given in (part, path):
        data = Data.from_anndata(given, raw=True, names="symbol")
        assert data.genes.tolist() == [n.upper() for n in NAMES]
        assert (values(data) == X).all()
    with pytest.raises(ValueError, match="raw has no layers"):
        Data.from_anndata(part, layer="L", raw=True)


def test_group_names_keep_their_letters_beside_a_missing_one():
    whole = adata()
    for labels in (
        pd.Categorical([None, *["T cell", "Treg", "NK"] * 4][:CELLS]),
        pd.Series([None, *["T cell", "Treg", "NK"] * 4][:CELLS], dtype="string").array,
    ):
        whole.obs["type"] = labels
        data = Data.from_anndata(whole, groupby="type")
        assert data.groups == ("NK", "T cell", "Treg")
        assert data.group_sizes.tolist() == [3, 4, 4]
