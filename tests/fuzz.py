"""Mutated files and arguments through the command line, drawn from a seed.

``python tests/fuzz.py 2000`` runs so many and prints the classes and their outcomes. An outcome is
"done" (exit 0, and the output reads back finite), "refused" (exit 2, one line, no output), or what
is wrong. A matrix that contradicts itself, by SciPy's own full check, has to be refused.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse

from unigrn import cli
from unigrn.network import Network

CELLS, GENES = 40, 12
NAMES = [f"TF{i}" if i < 4 else f"g{i}" for i in range(GENES)]
ODD = 'nan|-1|0|1e308|1e999|inf|TF0|é|\x1b[31m|=1+1|a,b|"|NA|0x10|1_000| |[[[[|{}|true|null|1.5.2'
ODD = ["", "x" * 3000, "9" * 50, *ODD.split("|")]
KINDS = ("array", "attribute", "delete", "flip", "link", "prior", "gold", "names", "argument")


class Bench:
    """Whole files, from which every case starts."""

    def __init__(self, folder: Path):
        rng = np.random.default_rng(0)
        x = np.where(rng.random((CELLS, GENES)) < 0.5, rng.gamma(2, 1, (CELLS, GENES)), 0)
        x = x.astype(np.float32)
        forms = {"dense": x, "csr": scipy.sparse.csr_matrix(x), "csc": scipy.sparse.csc_matrix(x)}
        obs = pd.DataFrame(
            {"type": pd.Categorical(rng.choice(["a", "b"], CELLS))},
            index=[f"c{i}" for i in range(CELLS)],
        )
        self.folder, self.files = folder, {}
        for name, values in forms.items():
            path = folder / f"{name}.h5ad"
            anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=NAMES)).write_h5ad(path)
            self.files[name] = path.read_bytes()
        pairs = [(s, t) for s in NAMES[:4] for t in NAMES if s != t and rng.random() < 0.7]
        self.prior = "source\ttarget\tweight\n" + "".join(
            f"{s}\t{t}\t{rng.random() + 0.1:.3f}\n" for s, t in pairs
        )
        self.gold = "source\ttarget\tlabel\n" + "".join(
            f"{s}\t{t}\t{i % 3 == 0:d}\n" for i, (s, t) in enumerate(pairs)
        )
        self.names = "".join(f"{name}\n" for name in NAMES)

    def case(self, seed: int) -> tuple[str, list[str], bool | None, Path]:
        """Write the files of one case: its kind, its arguments, whether it must be refused."""
        r = random.Random(seed)
        kind = KINDS[seed % len(KINDS)]
        data, prior, out = (self.folder / n for n in ("data.h5ad", "prior.tsv", "out.tsv"))
        data.write_bytes(self.files[r.choice(["dense", "csr", "csc"])])
        prior.write_text(self.prior)
        argv = ["infer", str(data), "--prior", str(prior), "--method", "masked_ridge"]
        argv += ["-o", str(out)] + (["--groupby", "type"] if r.random() < 0.5 else [])
        must = None
        if kind in ("array", "attribute", "delete", "link"):
            with h5py.File(data, "r+") as file, contextlib.suppress(Exception):
                _HDF5[kind](file, r)
            must = contradictory(data)
        elif kind == "flip":
            data.write_bytes(flipped(data.read_bytes(), r))
        elif kind == "prior":
            prior = self.folder / f"prior{r.choice(['.tsv', '.csv', '.tsv.gz', '.txt'])}"
            prior.write_bytes(mangled(self.prior, r, prior.suffix))
            argv[3] = str(prior)
        elif kind == "names":
            file = self.folder / "names.txt"
            file.write_bytes(mangled(self.names, r, ".txt"))
            argv += [r.choice(["--targets", "--regulators"]), str(file)]
        elif kind == "gold":
            gold, network = self.folder / "gold.tsv", self.folder / "network.tsv"
            first, second = (gold, network) if r.random() < 0.5 else (network, gold)
            first.write_bytes(mangled(self.gold, r, ".tsv"))
            second.write_text(self.gold.replace("label", "weight"))
            argv = ["evaluate", str(network), "--gold", str(gold)]
            argv += ["--prior", str(prior)] if r.random() < 0.3 else []
        else:
            argv[5] = r.choice(["masked_ridge", "celloracle", "masked_lasso", "full_ridge"])
            name = r.choice(
                ["alpha", "strength", "bags", "max_features", "tolerance", "layer", "x"]
            )
            argv += r.choice(
                [["--param", f"{name}={r.choice(ODD)}"], ["--layer", r.choice(ODD)],
                 ["--groupby", r.choice(ODD)], ["--names", r.choice(ODD)], ["--raw"],
                 ["--dtype", r.choice(ODD)], ["--seed", r.choice(ODD)], [r.choice(ODD)]]
            )  # fmt: skip
        return kind, argv, must, out


def _dataset(file, r):
    found: list[str] = []
    file.visititems(lambda n, v: found.append(n) if isinstance(v, h5py.Dataset) else None)
    near = [n for n in found if n.startswith("X")]
    return r.choice(near if r.random() < 0.8 and near else found)


def _array(file, r):
    name = _dataset(file, r)
    values = file[name][()]
    change = r.randrange(6)
    if change == 0 and values.ndim:
        place = tuple(r.randrange(max(n, 1)) for n in values.shape)
        values[place] = r.choice([-1, 0, 2**31 - 1, CELLS, GENES])
    elif change == 1:
        values = values[: -r.randint(1, 3)]
    elif change == 2:
        values = np.concatenate([values, values[:2]])
    elif change == 3:
        values = values.astype(r.choice(["f8", "i8", "u1", "c8", "S5", ">f4", "f2"]))
    elif change == 4:
        values = values[::-1]
    else:
        values = values[..., None]
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = values
    for key, value in attributes.items():
        file[name].attrs[key] = value


def _attribute(file, r):
    keys = ["/"]
    file.visit(keys.append)
    found = [(k, a) for k in keys for a in file[k].attrs]
    key, name = r.choice(found)
    if r.random() < 0.3:
        del file[key].attrs[name]
    else:
        values = [7, "garbage", [CELLS, GENES], [GENES, CELLS], [-1, 2], [2**40, 2], 1.5, b"\xff"]
        file[key].attrs[name] = r.choice(values)


def _delete(file, r):
    keys: list[str] = []
    file.visit(keys.append)
    del file[r.choice(keys)]


def _link(file, r):
    keys: list[str] = []
    file.visit(keys.append)
    key = r.choice(["X", r.choice(keys)])
    del file[key]
    file[key] = r.choice(
        [h5py.SoftLink("/nowhere"), h5py.SoftLink(f"/{key}"), h5py.ExternalLink("else.h5", "/X")]
    )


_HDF5 = {"array": _array, "attribute": _attribute, "delete": _delete, "link": _link}


def contradictory(path: Path) -> bool | None:
    """Whether the matrix of a file contradicts itself or its names; None where nobody can say."""
    try:
        with h5py.File(path, "r") as file:
            x = file["X"]
            if isinstance(x, h5py.Group):
                parts = tuple(x[n][()] for n in ("data", "indices", "indptr"))
                form = {
                    "csr_matrix": scipy.sparse.csr_matrix,
                    "csc_matrix": scipy.sparse.csc_matrix,
                }
                matrix = form[x.attrs["encoding-type"]](parts, shape=tuple(x.attrs["shape"]))
                matrix.check_format(full_check=True)
                shape, dtype = matrix.shape, parts[0].dtype
            else:
                shape, dtype = x.shape, x.dtype
            sizes = tuple(file[a][file[a].attrs["_index"]].shape[0] for a in ("obs", "var"))
    except Exception:  # it has no such matrix
        return True
    return True if shape != sizes or dtype.kind not in "fiub" else None


def flipped(data: bytes, r: random.Random) -> bytes:
    """Change a few bits, or cut the end off."""
    if r.random() < 0.2:
        return data[: int(len(data) * r.random())]
    out = bytearray(data)
    for _ in range(r.choice([1, 3, 30])):
        out[r.randrange(len(out))] ^= 1 << r.randrange(8)
    return bytes(out)


def mangled(text: str, r: random.Random, suffix: str) -> bytes:
    """Change fields, rows, the header, the separator or the encoding of a table."""
    rows = [line.split("\t") for line in text.splitlines()]
    for _ in range(r.randint(1, 3)):
        change, row = r.randrange(7), r.randrange(len(rows))
        if change < 3 and rows[row]:
            rows[row][r.randrange(len(rows[row]))] = r.choice(ODD)
        elif change == 3:
            rows[row] = rows[row][:-1] if r.random() < 0.5 else [*rows[row], "more"]
        elif change == 4:
            rows.insert(row, rows[r.randrange(len(rows))])
        elif change == 5 and len(rows) > 1:
            del rows[row]
        else:
            rows[0] = r.choice([["TF", "Gene", "importance"], ["a", "b", "c"], rows[0][::-1], [""]])
    separator = r.choice(["\t"] * 6 + [",", ";", " "])
    if suffix == ".csv":
        separator = ","
    text = r.choice(["\n"] * 6 + ["\r\n", "\r"]).join(separator.join(row) for row in rows) + "\n"
    data = text.encode(r.choice(["utf-8"] * 8 + ["utf-16", "utf-8-sig"]), "replace")
    if suffix == ".gz":
        data = gzip.compress(data)
        data = data[: -r.randint(1, 20)] if r.random() < 0.3 else data
    return flipped(data, r) if r.random() < 0.2 else data


def outcome(bench: Bench, seed: int) -> tuple[str, str]:
    """Run one case: its kind, and "done", "refused" or what is wrong."""
    kind, argv, must, out = bench.case(seed)
    out.unlink(missing_ok=True)
    out.with_name(out.name + ".meta.json").unlink(missing_ok=True)
    said, printed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = cli.main(argv)
    lines = [line for line in said.getvalue().splitlines() if "warning: " not in line]
    if code == 0:
        if must:
            return kind, "accepted what contradicts itself"
        if argv[0] == "infer":
            weights = Network.read(out).edges["weight"].to_numpy()
            if not np.isfinite(weights).all():
                return kind, "not finite"
        return kind, "done"
    if code != 2:
        return kind, f"exit {code}: {lines}"
    if len(lines) != 1 or not lines[0].startswith("unigrn: error: ") or len(lines[0]) > 320:
        return kind, f"not one short line: {lines}"
    return (kind, "an output was left") if out.exists() else (kind, "refused")


def main(count: int, start: int = 0) -> int:
    """Run so many cases and print what came of each kind."""
    seen: Counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for seed in range(start, start + count):
            kind, what = outcome(bench, seed)
            seen[kind, what if what in ("done", "refused") else "WRONG"] += 1
            if what not in ("done", "refused"):
                print(seed, kind, what, bench.case(seed)[1], flush=True)
    for (kind, what), number in sorted(seen.items()):
        print(f"{kind:10} {what:8} {number:5}")
    return sum(number for (_, what), number in seen.items() if what == "WRONG")


if __name__ == "__main__":
    sys.exit(main(*(int(text) for text in sys.argv[1:])) > 0)
