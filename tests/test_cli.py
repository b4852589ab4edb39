"""The command line: what each command prints and writes, and how every mistake is refused.

Almost all tests call ``main(argv)`` in process; a few start a real process.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import unigrn
from unigrn.cli import OUTPUTS, main

ROOT = Path(__file__).resolve().parent.parent
GENES = [f"G{i:02d}" for i in range(12)]
REGULATORS = GENES[:4]


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in process; arguments may be paths."""

    def call(*argv: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in argv])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


def refused(ran: Ran, *words: str, code: int = 2) -> None:
    """One line on stderr that starts with the program's name, nothing on stdout, no traceback."""
    assert ran.code == code, ran
    lines = ran.err.splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("unigrn: error: ")
    assert "Traceback" not in ran.err
    for word in words:
        assert word in lines[0], f"{word!r} not in {lines[0]!r}"
    assert ran.out == ""


PROGRESS = re.compile(r"unigrn: (reading cells|planning|fitting|sweeps|claims)")


def said(ran: Ran) -> list[str]:
    """Lines on stderr that are not progress."""
    return [line for line in ran.err.splitlines() if not PROGRESS.match(line)]


def succeeded(ran: Ran) -> Ran:
    assert ran.code == 0, ran.err
    return ran


def expression(cells: int = 60, seed: int = 0) -> anndata.AnnData:
    """Twelve genes of which the first four drive the others; groups A and B."""
    random = np.random.default_rng(seed)
    values = random.gamma(2.0, size=(cells, len(GENES))).astype(np.float32)
    values[:, 4:] += values[:, :4] @ random.normal(size=(4, 8)).astype(np.float32) ** 2
    obs = pd.DataFrame(
        {"group": pd.Categorical(np.where(np.arange(cells) % 3, "A", "B"))},
        index=[f"cell{i}" for i in range(cells)],
    )
    data = anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=GENES))
    data.layers["half"] = values / 2
    return data


def edges() -> pd.DataFrame:
    pairs = [(s, t) for t in GENES[4:] for i, s in enumerate(REGULATORS) if (i + int(t[1:])) % 4]
    return pd.DataFrame(pairs, columns=["source", "target"])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of every kind, good and bad. Tests write elsewhere."""
    folder = tmp_path_factory.mktemp("inputs")
    good = expression()
    good.write_h5ad(folder / "data.h5ad")
    prior = edges()
    prior.to_csv(folder / "prior.tsv", sep="\t", index=False)
    prior.assign(label=np.arange(len(prior)) % 2).to_csv(folder / "gold.tsv", sep="\t", index=False)

    def changed(name: str, change: Callable[[anndata.AnnData], anndata.AnnData | None]) -> None:
        data = good.copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # anndata warns of the duplicates that are wanted
            other = change(data)
            data = data if other is None else other
            data.write_h5ad(folder / f"{name}.h5ad")

    def put(value: float) -> Callable[[anndata.AnnData], None]:
        def change(data: anndata.AnnData) -> None:
            data.X[3, 5] = value

        return change

    def duplicate(data: anndata.AnnData) -> None:
        data.var_names = [*GENES[:-1], GENES[0]]

    def rename(data: anndata.AnnData) -> None:
        data.var_names = [f"other{i}" for i in range(len(GENES))]

    def lower(data: anndata.AnnData) -> None:
        data.var_names = [name.lower() for name in GENES]

    def lone_cell(data: anndata.AnnData) -> None:
        data.obs["group"] = pd.Categorical(["lone", *["A", "B"] * 29, "A"])

    def empty_group(data: anndata.AnnData) -> None:
        data.obs["group"] = data.obs["group"].cat.add_categories(["never"])

    def without_group(data: anndata.AnnData) -> None:
        groups = data.obs["group"].astype(object)
        groups.iloc[:5] = None
        data.obs["group"] = pd.Categorical(groups)

    def no_group(data: anndata.AnnData) -> None:
        data.obs["group"] = pd.Categorical([None] * data.n_obs, categories=["A"])

    def numbers(data: anndata.AnnData) -> None:
        data.obs["group"] = np.arange(data.n_obs) % 2

    def constant(data: anndata.AnnData) -> None:
        data.X[:, [0, 5]] = 0.0

    changed("nan", put(np.nan))
    changed("infinite", put(np.inf))
    changed("duplicate", duplicate)
    changed("renamed", rename)
    changed("lower", lower)
    changed("lone_cell", lone_cell)
    changed("empty_group", empty_group)
    changed("without_group", without_group)
    changed("no_group", no_group)
    changed("numbers", numbers)
    changed("constant", constant)
    changed("no_cells", lambda data: data[:0].copy())
    changed("csr", lambda data: anndata.AnnData(sparse.csr_matrix(data.X), data.obs, data.var))
    changed("csc", lambda data: anndata.AnnData(sparse.csc_matrix(data.X), data.obs, data.var))
    changed("float64", lambda data: anndata.AnnData(data.X.astype(float), data.obs, data.var))
    changed(
        "whole", lambda data: anndata.AnnData(np.rint(data.X).astype(np.int64), data.obs, data.var)
    )

    whole = (folder / "data.h5ad").read_bytes()
    (folder / "truncated.h5ad").write_bytes(whole[: len(whole) // 2])
    (folder / "text.h5ad").write_text("this is no HDF5 file\n")
    (folder / "empty.h5ad").write_bytes(b"")
    (folder / "empty.tsv").write_bytes(b"")
    (folder / "a_folder").mkdir()
    import h5py

    with h5py.File(folder / "other.h5ad", "w") as file:
        file["a"] = 1

    (folder / "header.tsv").write_text("source\ttarget\n")
    (folder / "columns.tsv").write_text("a\tb\nG00\tG05\n")
    (folder / "commas.tsv").write_text("source,target\nG00,G05\n")
    (folder / "weights.tsv").write_text("source\ttarget\tweight\nG00\tG05\tmany\n")
    (folder / "prior.xlsx").write_text("source\ttarget\nG00\tG05\n")
    (folder / "swapped.tsv").write_text("source\ttarget\nunmeasured1\tunmeasured2\n")
    prior.to_csv(folder / "prior.csv.gz", index=False)
    prior.to_parquet(folder / "prior.parquet")
    prior.rename(columns={"source": "tf"}).assign(score=1.0).to_csv(
        folder / "scores.csv", index=False
    )
    base = pd.crosstab(prior["target"], prior["source"]).reset_index()
    base = base.rename(columns={"target": "gene_short_name"})
    base.insert(0, "peak_id", [f"chr1_{i}" for i in range(len(base))])
    base.to_parquet(folder / "base.parquet")

    (folder / "regulators.txt").write_text("G00\r\nG02\r\n\r\n")
    (folder / "targets.txt").write_text("G05\nG06\n")
    (folder / "targets.tsv").write_text("fold\ttarget\n0\tG05\n1\tG06\n")
    (folder / "targets.csv.gz").write_bytes(gzip.compress(b"target,fold\nG05,0\nG06,0\n"))
    (folder / "unknown.txt").write_text("nobody\nnowhere\n")
    (folder / "no_target.tsv").write_text("peak\tfold\nG05\t1\n")
    (folder / "blank.txt").write_text("\n\n")
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00G")
    return folder


def infer_argv(folder: Path, out: Path, **changes: object) -> list[object]:
    """Arguments of a small infer; ``changes`` replace options, None leaves one out."""
    options: dict[str, object] = {
        "data": folder / "data.h5ad",
        "prior": folder / "prior.tsv",
        "method": "celloracle",
        "groupby": "group",
        "param": ["bags=3"],
        "o": out / "network.tsv",
    }
    options |= changes
    argv: list[object] = ["infer"]
    if options["data"] is not None:
        argv.append(options.pop("data"))
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                argv += ["-o" if name == "o" else f"--{name}", one]
    return argv


def table(path: Path) -> pd.DataFrame:
    sep = "\t" if ".tsv" in path.name else ","
    return pd.read_csv(path, sep=sep, dtype={"group": str, "source": str, "target": str})


# --- usage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", "demo infer explain evaluate filter convert plot methods verify".split() + [""]
)
def test_help(run: Run, command: str) -> None:
    ran = succeeded(run(*command.split(), "--help"))
    assert ran.out.startswith("Usage: unigrn")
    assert ran.err == ""
    if not command:
        for name in "demo infer explain evaluate filter convert plot methods verify".split():
            assert f"  {name} " in ran.out


def test_version(run: Run) -> None:
    assert succeeded(run("--version")).out == f"unigrn {unigrn.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["no command", "infer", "--help"]),
        (["infr"], ["'infr'", "did you mean infer?"]),
        (["zebra"], ["'zebra'", "demo, infer"]),
        (["--verison"], ["--verison", "did you mean --version?"]),
        (["infer", "x.h5ad", "--pror", "p.tsv"], ["--pror", "did you mean --prior?"]),
        (["infer", "x.h5ad", "--xyzzy"], ["no option --xyzzy", "unigrn infer --help"]),
        (["infer"], ["DATA", "unigrn infer --help"]),
        (["infer", "x.h5ad"], ["--method"]),
        (["infer", "x.h5ad", "--prior"], ["--prior", "requires an argument"]),
        (["infer", "x.h5ad", "y.h5ad", "--prior", "p", "--method", "m", "-o", "o.tsv"], ["y.h5ad"]),
        (["infer", "x.h5ad", "--prior", "p", "--method", "m"], ["-o"]),
        (["explain", "x.h5ad", "--prior", "p"], ["--method"]),
        (["explain", "x.h5ad", "--prior", "p", "--method", "m", "-o", "o.tsv"], ["-o"]),
        (["evaluate", "n.tsv"], ["--gold"]),
        (["methods", "extra"], ["'extra'", "celloracle"]),
        (["methods", "celoracle"], ["did you mean celloracle?"]),
        (["demo", "--seed", "abc"], ["--seed"]),
        (["demo", "--seed", "-1"], ["--seed"]),
        (["demo", "--seed", "4294967296"], ["--seed"]),
    ],
)
def test_bad_usage(run: Run, argv: list[str], words: list[str]) -> None:
    refused(run(*argv), *words)


# --- infer: what is refused -----------------------------------------------------------------------

# name -> (options, words of the message); a text that names a file of `folder` becomes its path.
BAD: dict[str, tuple[dict[str, object], list[str]]] = {
    "no such data": ({"data": "absent.h5ad"}, ["absent.h5ad", "does not exist"]),
    "data is a folder": ({"data": "a_folder"}, ["a_folder", "folder"]),
    "data is text": ({"data": "text.h5ad"}, ["text.h5ad", "h5ad"]),
    "data is a prior": ({"data": "prior.tsv"}, ["prior.tsv", "h5ad"]),
    "data is empty": ({"data": "empty.h5ad"}, ["empty.h5ad"]),
    "data is truncated": ({"data": "truncated.h5ad"}, ["truncated.h5ad"]),
    "data is other HDF5": ({"data": "other.h5ad"}, ["other.h5ad"]),
    "data without cells": ({"data": "no_cells.h5ad", "groupby": None}, ["0 cells"]),
    "NaN": ({"data": "nan.h5ad"}, ["NaN", "G05"]),
    "infinity": ({"data": "infinite.h5ad"}, ["inf", "G05"]),
    "duplicate genes": ({"data": "duplicate.h5ad"}, ["more than once", "G00"]),
    "no overlap": ({"data": "renamed.h5ad"}, ["measured", "G00", "other0"]),
    "other letter case": ({"data": "lower.h5ad"}, ["letter case"]),
    "no group at all": ({"data": "no_group.h5ad"}, ["group"]),
    "no such column": ({"groupby": "grop"}, ["'grop'", "group"]),
    "no such layer": ({"layer": "hafl"}, ["'hafl'", "half"]),
    "no such prior": ({"prior": "absent.tsv"}, ["absent.tsv", "does not exist"]),
    "no such named prior": ({"prior": "chip=absent.tsv"}, ["absent.tsv", "does not exist"]),
    "prior without path": ({"prior": "chip="}, ["chip="]),
    "prior is a folder": ({"prior": "a_folder"}, ["a_folder", "folder"]),
    "prior is empty": ({"prior": "empty.tsv"}, ["empty.tsv", "empty"]),
    "prior without rows": ({"prior": "header.tsv"}, ["header.tsv", "no rows"]),
    "prior with other columns": ({"prior": "columns.tsv"}, ["columns.tsv", "source"]),
    "prior with commas": ({"prior": "commas.tsv"}, ["commas.tsv"]),
    "prior with a word for a weight": ({"prior": "weights.tsv"}, ["weights.tsv", "many"]),
    "prior of unknown kind": ({"prior": "prior.xlsx"}, ["prior.xlsx", ".tsv"]),
    "prior of other genes": ({"prior": "swapped.tsv"}, ["measured", "unmeasured1"]),
    "priors of one name": ({"prior": ["a=prior.tsv", "a=prior.csv.gz"]}, ["'a'"]),
    "no such method": ({"method": "celoracle"}, ["'celoracle'", "did you mean celloracle?"]),
    "no such parameter": ({"param": "alfa=1"}, ["'alfa'", "did you mean alpha?", "alpha=10"]),
    "option as parameter": ({"param": "seed=1"}, ["'seed'", "--seed"]),
    "parameter twice": ({"param": ["alpha=1", "alpha=2"]}, ["alpha", "twice"]),
    "parameter without value": ({"param": "alpha"}, ["'alpha'", "KEY=VALUE"]),
    "parameter with empty value": ({"param": "alpha="}, ["'alpha='", "KEY=VALUE"]),
    "parameter without key": ({"param": "=3"}, ["'=3'", "KEY=VALUE"]),
    "no such way": ({"over": "lionness"}, ["'lionness'", "did you mean lioness?"]),
    "no such argument of a way": ({"over": "stability sample=3"}, ["did you mean samples?"]),
    "a way without its values": ({"over": "path parameter=Ridge.alpha"}, ["needs values="]),
    "a way that is not closed": ({"over": 'stability "'}, ["cannot be read", "quotation"]),
    "word for a number of a way": ({"over": "stability samples=x"}, ["samples", "'x'"]),
    "a way that a method does not admit": (
        {"over": "stars parameter=L1.strength values=[1]"},
        ["stars() got the penalty"],
    ),
    "word for a number": ({"param": "alpha=big"}, ["alpha", "'big'", "number"]),
    "negative alpha": ({"param": "alpha=-1"}, ["alpha", "-1"]),
    "alpha is NaN": ({"param": "alpha=NaN"}, ["alpha"]),
    "alpha is infinite": ({"param": "alpha=Infinity"}, ["alpha"]),
    "alpha is a list": ({"param": "alpha=[1,2]"}, ["alpha"]),
    "alpha is null": ({"param": "alpha=null"}, ["alpha", "number"]),
    "alpha is a flag": ({"param": "alpha=true"}, ["alpha", "number"]),
    "no bags": ({"param": "bags=0"}, ["bags", "0"]),
    "half a bag": ({"param": "bags=2.5"}, ["bags", "2.5"]),
    "no features": ({"param": "max_features=0"}, ["max_features"]),
    "too many features": ({"param": "max_features=1.5"}, ["max_features", "1.5"]),
    "unknown draws": ({"param": "draws=sharde"}, ["draws", "sharde", "released"]),
    "unknown dtype": ({"dtype": "float16"}, ["float16", "float64"]),
    "no such regulators": ({"regulators": "absent.txt"}, ["--regulators", "absent.txt"]),
    "regulators blank": ({"regulators": "blank.txt"}, ["blank.txt", "empty"]),
    "regulators binary": ({"regulators": "binary.txt"}, ["binary.txt"]),
    "regulators unmeasured": ({"regulators": "unknown.txt"}, ["regulators", "nobody"]),
    "no such targets": ({"targets": "absent.txt"}, ["--targets", "absent.txt"]),
    "targets is a folder": ({"targets": "a_folder"}, ["--targets", "a_folder"]),
    "targets without column": ({"targets": "no_target.tsv"}, ["target", "'peak', 'fold'"]),
    "targets unmeasured": ({"targets": "unknown.txt"}, ["targets", "nobody"]),
}


@pytest.mark.parametrize("case", BAD)
def test_infer_refuses(run: Run, folder: Path, tmp_path: Path, case: str) -> None:
    changes, words = BAD[case]

    def located(value: object) -> object:
        name, equals, path = str(value).rpartition("=")
        exists = (folder / path).exists() or "absent" in path
        return f"{name}{equals}{folder / path}" if path and exists else value

    for option in ("data", "prior", "regulators", "targets"):
        if option in changes:
            given = changes[option]
            placed = [located(v) for v in given] if isinstance(given, list) else located(given)
            changes = {**changes, option: placed}
    refused(run(*infer_argv(folder, tmp_path, **changes)), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("network.xlsx", ["network.xlsx", ".parquet"]),
        ("network", [".parquet"]),
        ("absent/network.tsv", ["absent", "does not exist"]),
        ("a_file/network.tsv", ["a_file"]),
        ("a_folder.tsv", ["a_folder.tsv", "folder"]),
    ],
)
def test_infer_refuses_an_output_before_any_work(
    run: Run, folder: Path, tmp_path: Path, monkeypatch, name: str, words: list[str]
) -> None:
    (tmp_path / "a_file").write_text("")
    (tmp_path / "a_folder.tsv").mkdir()
    monkeypatch.setattr("unigrn.api.infer", lambda **_: pytest.fail("the fit was started"))
    refused(run(*infer_argv(folder, tmp_path, o=tmp_path / name)), *words)


def test_infer_does_not_overwrite_its_input(run: Run, folder: Path, tmp_path: Path) -> None:
    data, prior = tmp_path / "data.h5ad", tmp_path / "prior.tsv"
    for source in (data, prior):
        source.write_bytes((folder / source.name).read_bytes())
    before = data.read_bytes(), prior.read_bytes()
    for named in (prior, f"motif={prior}"):
        for out in (data, prior):
            refused(run(*infer_argv(tmp_path, tmp_path, prior=named, o=out)), "also an input")
    assert before == (data.read_bytes(), prior.read_bytes())


def test_infer_replaces_its_own_output(run: Run, folder: Path, tmp_path: Path) -> None:
    argv = infer_argv(folder, tmp_path, prior=f"motif={folder / 'prior.tsv'}")
    for _ in range(2):
        assert run(*argv).code == 0
        first = (tmp_path / "network.tsv").read_bytes()
    assert run(*argv, "--seed", 1).code == 0
    assert (tmp_path / "network.tsv").read_bytes() != first


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere")
def test_infer_refuses_a_folder_it_may_not_write_to(run: Run, folder: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    refused(run(*infer_argv(folder, tmp_path, o=closed / "network.tsv")), "permission denied")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "network.tsv"
    out.symlink_to("/dev/full")
    ran = run(*infer_argv(folder, tmp_path, o=out))
    if ran.code:  # writing beside and renaming replaces the link and is as good
        refused(Ran(ran.code, ran.out, "\n".join(said(ran))), "network.tsv")


# --- infer: what it does --------------------------------------------------------------------------


def test_infer_says_what_it_did(run: Run, folder: Path, tmp_path: Path) -> None:
    ran = succeeded(run(*infer_argv(folder, tmp_path)))
    assert said(ran) == []
    lines = ran.out.splitlines()
    assert lines[0].startswith("celloracle: ")
    assert "4 of 4 regulators and 8 of 8 targets are measured" in ran.out
    assert any(line.startswith("certificate: ") for line in lines)
    assert "uncalibrated" in ran.out
    out = tmp_path / "network.tsv"
    assert lines[-2:] == [f"  {out}", f"  {out}.meta.json"]
    assert {path.name for path in tmp_path.iterdir()} == {"network.tsv", "network.tsv.meta.json"}


def test_infer_writes_the_promised_columns(run: Run, folder: Path, tmp_path: Path) -> None:
    succeeded(run(*infer_argv(folder, tmp_path)))
    text = (tmp_path / "network.tsv").read_text()
    assert text.splitlines()[0].split("\t")[:4] == ["group", "source", "target", "weight"]
    found = table(tmp_path / "network.tsv")
    assert {"p", "bags_drawn"} <= set(found)
    assert set(found["group"]) == {"A", "B"}
    wanted = set(map(tuple, edges().to_numpy()))
    for _, part in found.groupby("group"):
        assert set(map(tuple, part[["source", "target"]].to_numpy())) == wanted
    assert np.isfinite(found["weight"]).all()
    meta = json.loads((tmp_path / "network.tsv.meta.json").read_text())
    assert "celloracle" in json.dumps(meta)
    assert str(folder) not in json.dumps(meta)


@pytest.mark.parametrize("suffix", [suffix for suffix in OUTPUTS if suffix not in (".sif", ".gmt")])
def test_every_output_holds_the_same_network(
    run: Run, folder: Path, tmp_path: Path, suffix: str
) -> None:
    from unigrn.network import read_edges

    assert main([*map(str, infer_argv(folder, tmp_path))]) == 0
    out = tmp_path / f"other{suffix}"
    ran = succeeded(run(*infer_argv(folder, tmp_path, o=out)))
    assert str(out) in ran.out
    for path in ran.out.partition("written\n")[2].split():
        assert Path(path).is_file()
    keys = ["group", "source", "target"]
    want, got = (
        read_edges(path).sort_values(keys, ignore_index=True)[[*keys, "weight"]]
        for path in (tmp_path / "network.tsv", out)
    )
    pd.testing.assert_frame_equal(got, want, check_dtype=False)  # text has no precision


def test_without_groups_there_is_no_group_column(run: Run, folder: Path, tmp_path: Path) -> None:
    succeeded(run(*infer_argv(folder, tmp_path, groupby=None)))
    header = (tmp_path / "network.tsv").read_text().splitlines()[0]
    assert header.split("\t")[:3] == ["source", "target", "weight"]


def test_group_values_are_text(run: Run, folder: Path, tmp_path: Path) -> None:
    succeeded(run(*infer_argv(folder, tmp_path, data=folder / "numbers.h5ad")))
    assert set(table(tmp_path / "network.tsv")["group"]) == {"0", "1"}


def test_the_same_call_gives_the_same_bytes(run: Run, folder: Path, tmp_path: Path) -> None:
    def written(name: str, seed: int) -> bytes:
        out = tmp_path / f"{name}.tsv"
        succeeded(run(*infer_argv(folder, tmp_path, seed=seed, o=out)))
        return out.read_bytes()

    first = written("first", 1)
    assert written("second", 1) == first
    assert written("third", 2) != first


def test_any_method_is_fitted_in_other_ways(run: Run, folder: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"method": "masked_ridge", "param": None}
    ways = ["stability samples=7 share=0.4", "permuted copies=2"]
    succeeded(run(*infer_argv(folder, tmp_path, over=ways, **given)))
    found = table(tmp_path / "network.tsv")
    adata, prior = anndata.read_h5ad(folder / "data.h5ad"), folder / "prior.tsv"
    expected = unigrn.infer(
        adata,
        prior,
        "masked_ridge",
        groupby="group",
        over=[lambda s: unigrn.stability(s, 7, 0.4), lambda s: unigrn.permuted(s, 2)],
    ).edges
    for column in ("weight", "frequency", "fdr"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-5, err_msg=column)
    meta = json.loads((tmp_path / "network.tsv.meta.json").read_text())
    assert "stability over 7 subsamples" in meta["formula"]
    succeeded(run(*infer_argv(folder, tmp_path, over="lioness", **given)))
    alone = unigrn.infer(adata, prior, "masked_ridge", groupby="group", over=unigrn.lioness).edges
    np.testing.assert_allclose(table(tmp_path / "network.tsv")["weight"], alone["weight"])
    with pytest.raises(TypeError, match="one of masked_ridge returns int"):
        unigrn.infer(adata, prior, "masked_ridge", over=lambda spec: 3)
    argv = infer_argv(folder, tmp_path, over="jackknife", o=None, **given)
    assert "jackknife" in succeeded(run("explain", *argv[1:])).out


def test_parameters_reach_the_method(run: Run, folder: Path, tmp_path: Path) -> None:
    def weight(*param: str) -> float:
        succeeded(run(*infer_argv(folder, tmp_path, param=["bags=3", *param])))
        return float(table(tmp_path / "network.tsv")["weight"].abs().sum())

    assert weight("alpha=1e6") < 0.01 * weight("alpha=1")
    meta = (tmp_path / "network.tsv.meta.json").read_text()
    assert '"alpha": 1' in meta
    succeeded(run(*infer_argv(folder, tmp_path, param=["bags=3", "draws=released"])))
    assert "released" in (tmp_path / "network.tsv.meta.json").read_text()


def test_float64(run: Run, folder: Path, tmp_path: Path) -> None:
    single, double = tmp_path / "single.tsv", tmp_path / "double.tsv"
    succeeded(run(*infer_argv(folder, tmp_path, o=single)))
    succeeded(run(*infer_argv(folder, tmp_path, o=double, dtype="float64")))
    a, b = table(single)["weight"].to_numpy(), table(double)["weight"].to_numpy()
    assert not np.array_equal(a, b)
    np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max())
    import jax

    assert not jax.config.jax_enable_x64  # the switch is back where it was


@pytest.mark.parametrize("name", ["csr", "csc", "float64"])
def test_every_kind_of_matrix_gives_the_same(
    run: Run, folder: Path, tmp_path: Path, name: str
) -> None:
    dense, other = tmp_path / "dense.tsv", tmp_path / "other.tsv"
    succeeded(run(*infer_argv(folder, tmp_path, o=dense)))
    succeeded(run(*infer_argv(folder, tmp_path, o=other, data=folder / f"{name}.h5ad")))
    a, b = table(dense), table(other)
    assert a[["group", "source", "target"]].equals(b[["group", "source", "target"]])
    np.testing.assert_allclose(a["weight"], b["weight"], atol=1e-5 * a["weight"].abs().max())


def test_whole_numbers_are_data_too(run: Run, folder: Path, tmp_path: Path) -> None:
    succeeded(run(*infer_argv(folder, tmp_path, data=folder / "whole.h5ad")))


def test_layer_is_used(run: Run, folder: Path, tmp_path: Path) -> None:
    # Half the values: regulators are scaled by their deviation, targets are not.
    whole, half = tmp_path / "whole.tsv", tmp_path / "half.tsv"
    succeeded(run(*infer_argv(folder, tmp_path, o=whole)))
    succeeded(run(*infer_argv(folder, tmp_path, o=half, layer="half")))
    a, b = table(whole)["weight"], table(half)["weight"]
    np.testing.assert_allclose(b, a / 2, atol=1e-5 * a.abs().max())


@pytest.mark.parametrize("name", ["prior.csv.gz", "prior.parquet", "scores.csv", "base.parquet"])
def test_every_kind_of_prior_gives_the_same(
    run: Run, folder: Path, tmp_path: Path, name: str
) -> None:
    first, other = tmp_path / "first.tsv", tmp_path / "other.tsv"
    succeeded(run(*infer_argv(folder, tmp_path, o=first)))
    succeeded(run(*infer_argv(folder, tmp_path, o=other, prior=folder / name)))
    assert first.read_bytes() == other.read_bytes()


def test_several_priors(run: Run, folder: Path, tmp_path: Path) -> None:
    priors = [f"chip={folder / 'prior.tsv'}", folder / "scores.csv"]
    succeeded(run(*infer_argv(folder, tmp_path, prior=priors)))


@pytest.mark.parametrize("name", ["targets.txt", "targets.tsv", "targets.csv.gz"])
def test_targets(run: Run, folder: Path, tmp_path: Path, name: str) -> None:
    succeeded(run(*infer_argv(folder, tmp_path, targets=folder / name)))
    assert set(table(tmp_path / "network.tsv")["target"]) == {"G05", "G06"}


def test_regulators(run: Run, folder: Path, tmp_path: Path) -> None:
    succeeded(run(*infer_argv(folder, tmp_path, regulators=folder / "regulators.txt")))
    assert set(table(tmp_path / "network.tsv")["source"]) == {"G00", "G02"}


def test_regulators_of_a_table(run: Run, folder: Path, tmp_path: Path) -> None:
    # A gold standard has both columns: its regulators are meant.
    named = tmp_path / "gold.tsv"
    named.write_text("tf\ttarget\nG00\tG05\nG02\tG05\n")
    succeeded(run(*infer_argv(folder, tmp_path, regulators=named)))
    assert set(table(tmp_path / "network.tsv")["source"]) == {"G00", "G02"}


def test_some_unmeasured_names_are_reported(run: Run, folder: Path, tmp_path: Path) -> None:
    named = tmp_path / "targets.txt"
    named.write_text("G05\nnobody\n")
    ran = succeeded(run(*infer_argv(folder, tmp_path, targets=named)))
    assert "1 of 2 requested targets is not measured (nobody)" in ran.out


@pytest.mark.parametrize(
    ("name", "groups", "word"),
    [
        ("lone_cell", {"A", "B"}, "lone"),
        ("empty_group", {"A", "B"}, "never"),
        ("without_group", {"A", "B"}, "5 "),
        ("constant", {"A", "B"}, "G00"),
    ],
)
def test_odd_groups_and_genes_are_reported(
    run: Run, folder: Path, tmp_path: Path, name: str, groups: set[str], word: str
) -> None:
    ran = succeeded(run(*infer_argv(folder, tmp_path, data=folder / f"{name}.h5ad")))
    assert word in ran.out + ran.err
    for line in said(ran):
        assert line.startswith("unigrn: warning: ")
    found = table(tmp_path / "network.tsv")
    assert groups <= set(found["group"])
    assert np.isfinite(found["weight"]).all()


@pytest.mark.parametrize("draws", ["released", "shared"])
def test_recorded_edge_cases(run: Run, shared: Path, tmp_path: Path, draws: str) -> None:
    case = shared / "fixtures" / "celloracle" / "edge_cases"
    ran = succeeded(
        run(
            "infer", case / "expression.h5ad", "--prior", case / "prior.tsv",
            "--method", "celloracle", "--groupby", "cluster", "--param", f"draws={draws}",
            "-o", tmp_path / "network.tsv",
        )
    )  # fmt: skip
    assert ran.out.splitlines()[0].startswith("celloracle: ")
    found = table(tmp_path / "network.tsv").set_index(["group", "source", "target"])
    recorded = pd.read_csv(
        case / "links_bagging_ridge.tsv.gz", sep="\t", dtype={"cluster": str}
    ).rename(columns={"cluster": "group"})
    recorded = recorded.set_index(["group", "source", "target"])
    assert set(found.index) == set(recorded.index)
    a, b = found["weight"].sort_index(), recorded["coef_mean"].sort_index()
    if draws == "released":
        scale = b.abs().groupby(level=["group", "target"]).transform("max")
        assert (np.abs(a - b) <= 1e-4 * scale + 1e-12).all()
    else:
        assert np.corrcoef(a, b)[0, 1] > 0.9


def test_warnings_are_lines_on_stderr(run: Run, folder: Path, tmp_path: Path, monkeypatch) -> None:
    from unigrn import api

    true_infer = api.infer

    def warning_infer(**request):
        warnings.warn("the data look\nlike counts", unigrn.UnigrnWarning, stacklevel=2)
        warnings.warn("the data look\nlike counts", unigrn.UnigrnWarning, stacklevel=2)
        warnings.warn("old pandas", FutureWarning, stacklevel=2)
        return true_infer(**request)

    monkeypatch.setattr("unigrn.api.infer", warning_infer)
    ran = succeeded(run(*infer_argv(folder, tmp_path)))
    assert said(ran) == ["unigrn: warning: the data look like counts"]


@pytest.mark.parametrize(
    "broken, problem",
    [("{x}".format, "KeyError"), ("{0.x}".format, "AttributeError"), (None, "TypeError")],
)
def test_a_defect_says_so_and_how_to_report_it(
    run: Run, folder: Path, tmp_path: Path, monkeypatch, broken: object, problem: str
) -> None:
    monkeypatch.setattr("unigrn.api.run", broken)  # called from the package's own line
    ran = run(*infer_argv(folder, tmp_path))
    refused(ran, problem, "--debug", code=70)


def test_a_method_of_the_users_own_has_the_name_of_its_function(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from unigrn import Spec, least_squares, ridge\n"
        "def mild(prior):\n"
        "    return Spec(least_squares(), ridge(1.0), prior=prior)\n"
    )
    ran = succeeded(run(*infer_argv(folder, tmp_path, method=f"{file}:mild", param=None)))
    assert ran.out.startswith("mild: ")


def test_what_a_file_of_the_users_own_raises_is_told_as_theirs(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from unigrn import Spec, least_squares, ridge\n"
        "def column(params, data, prior):\n"
        "    raise RuntimeError('no such thing')\n"
        "def method(prior):\n"
        "    return Spec(least_squares(), ridge(1.0), prior=prior, columns=column)\n"
    )
    ran = run(*infer_argv(folder, tmp_path, method=f"{file}:method", param=None))
    refused(ran, "own.py, line 3, in column", "RuntimeError: no such thing")
    assert "defect" not in ran.err


@pytest.mark.parametrize("how", ["option", "variable"])
def test_debug_shows_the_traceback(
    run: Run, folder: Path, tmp_path: Path, monkeypatch, how: str
) -> None:
    argv = infer_argv(folder, tmp_path, groupby="grop")
    if how == "option":
        argv.append("--debug")
    else:
        monkeypatch.setenv("UNIGRN_DEBUG", "1")
    ran = run(*argv)
    assert ran.code == 2
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1].startswith("unigrn: error: ")


def test_interrupted(run: Run, folder: Path, tmp_path: Path, monkeypatch) -> None:
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr("unigrn.api.infer", interrupted)
    ran = run(*infer_argv(folder, tmp_path))
    assert (ran.code, ran.out, ran.err) == (130, "", "unigrn: interrupted\n")


# --- explain, methods -----------------------------------------------------------------------------


def test_explain(run: Run, folder: Path, tmp_path: Path) -> None:
    argv = infer_argv(folder, tmp_path, o=None)
    argv[0] = "explain"
    ran = succeeded(run(*argv))
    assert "4 of 4 regulators and 8 of 8 targets are measured" in ran.out
    assert "closed form" in ran.out.lower()
    assert ran.err == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "case", ["no such method", "no overlap", "negative alpha", "no such layer"]
)
def test_explain_refuses_what_infer_refuses(
    run: Run, folder: Path, tmp_path: Path, case: str
) -> None:
    changes, words = BAD[case]
    if "data" in changes:
        changes = {"data": folder / str(changes["data"])}
    argv = infer_argv(folder, tmp_path, o=None, **changes)
    argv[0] = "explain"
    refused(run(*argv), *words)


def test_methods(run: Run) -> None:
    listed = json.loads(succeeded(run("methods", "--json")).out)
    by_name = {method["name"]: method for method in listed}
    assert {"celloracle", "celloracle_bayesian", "masked_lasso"} <= set(by_name)
    promised = {"alpha": 10, "bags": 20, "max_features": 0.8, "draws": "shared"}
    assert promised.items() <= by_name["celloracle"]["parameters"].items()
    text = succeeded(run("methods")).out
    for method in listed:
        assert method["summary"] and method["reference"] and method["formula"]
        assert f"\n{method['name']}\n" in f"\n{text}"
    assert "alpha=10, bags=20, max_features=0.8, draws=shared" in text


def test_every_method_runs_with_its_defaults(run: Run, folder: Path, tmp_path: Path) -> None:
    needs = {
        "dictys": ["--layer", "counts"],
        "poisson_glm": ["--layer", "counts"],
        "scode": ["--extra", "pseudotime=time"],
        "symphony": ["--extra", "bulk=uns/bulk", "--extra", "peak=varp/peak"],
    }
    data = expression()
    data.uns["bulk"], data.varp["peak"] = np.ones((2, 3)), np.ones((data.n_vars,) * 2)
    data.layers["counts"], data.obs["time"] = np.rint(data.X), np.linspace(0, 1, len(data))
    data.write_h5ad(tmp_path / "data.h5ad")
    edgeless = set()
    for name in [method["name"] for method in json.loads(run("methods", "--json").out)]:
        out = tmp_path / f"{name}.tsv"
        ask = ["infer", tmp_path / "data.h5ad", "--prior", folder / "prior.tsv", "--method", name]
        succeeded(run(*ask, *needs.get(name, ()), "-o", out))
        found = table(out)["weight"].astype(float)
        assert np.isfinite(found).all()
        edgeless |= set() if len(found) else {name}
    # Of four candidates a single one on which subsets of sixty cells disagree is too many.
    assert edgeless <= {"inferelator_stars", "prior_lasso"}


def coupled_argv(folder: Path, method: str, *params: str) -> list[object]:
    argv: list[object] = [
        "infer",
        folder / "data.h5ad",
        "--prior",
        folder / "prior.tsv",
        "--method",
        method,
    ]
    for param in params:
        argv += ["--param", param]
    return argv


def test_a_coupled_method_takes_its_parameters(run: Run, folder: Path, tmp_path: Path) -> None:
    argv = coupled_argv(
        folder,
        "netrex_cf",
        "evidence=[2, 5]",
        "factors=3",
        "runs=2",
        "sample=2",
        "steps=released",
        "sweeps=4",
        "rank=confidence",
        "scale=standard",
    )
    ran = succeeded(run(*argv, "-o", tmp_path / "network.tsv"))
    assert "ended after the method's own number of sweeps" in ran.out
    found = table(tmp_path / "network.tsv")
    assert {"score", "affinity", "confidence", "score_sd", "frequency"} <= set(found)
    assert found["score"].is_monotonic_decreasing and found["score"].between(0, 1).all()
    told = json.loads((tmp_path / "network.tsv.meta.json").read_text())
    assert told["solver"].startswith("PALM") and told["hyperparameters"]["evidence"] == [2, 5]
    plain = succeeded(run(*["explain", *argv[1:]])).out
    assert "not a valid PALM step" in plain and "2 starts" in plain


@pytest.mark.parametrize(
    ("method", "param", "words"),
    [
        (
            "netrex_cf",
            "evidence=[1]",
            ["largest confidence in a prior edge is 1", "raise evidence"],
        ),
        ("netrex_cf", "evidence=[]", ["at least one multiplier"]),
        ("netrex_cf", "evidence=[-1, 2]", ["evidence must be a finite number > 0"]),
        ("netrex_cf", "factors=0", ["factors must be a whole number >= 1, got 0"]),
        ("netrex_cf", "steps=fast", ["steps must be one of safe, released, got 'fast'"]),
        ("netrex_cf", "rank=weight", ["rank must be one of factors, confidence"]),
        ("netrex_cf", "scale=log", ["scale must be one of"]),
        ("netrex_cf", "sample=0", ["sample must be a whole number >= 1"]),
        ("netrex_cf", "runs=0", ["runs must be a whole number >= 1"]),
        ("netrex_cf", "floor=0", ["floor must be a finite number > 0"]),
        ("netrex", "keep=2", ["keep must lie between 0 and 1, got 2"]),
        ("netrex", "total=0.1", ["total must be at least keep"]),
        ("netrex", "threshold=2", ["threshold must lie between 0 and 1"]),
        ("netrex", "bound_network=-1", ["a box needs numbers lower <= 0 <= upper"]),
        ("linear_gaussian", "mask=firm", ["mask must be one of hard, soft"]),
        ("linear_gaussian", "on=0", ["on must be a finite number > 0"]),
    ],
)
def test_bad_parameters_of_coupled_and_generative_methods(
    run: Run, folder: Path, tmp_path: Path, method: str, param: str, words: list[str]
) -> None:
    refused(run(*coupled_argv(folder, method, param), "-o", tmp_path / "x.tsv"), *words)
    assert list(tmp_path.iterdir()) == []


# --- evaluate -------------------------------------------------------------------------------------


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    (tmp_path / "network.tsv").write_text(
        "source\ttarget\tweight\nA\tx\t-3\nB\tx\t2\nA\ty\t1\nB\ty\t0.5\n"
    )
    (tmp_path / "gold.tsv").write_text("tf\ttarget\tlabel\nA\tx\t1\nB\tx\t0\nA\ty\t1\nB\ty\t0\n")
    (tmp_path / "prior.tsv").write_text("source\ttarget\nA\tx\nB\ty\n")
    (tmp_path / "nothing.tsv").write_text("source\ttarget\tweight\n")
    (tmp_path / "strangers.tsv").write_text("source\ttarget\tweight\nP\tq\t1\n")
    (tmp_path / "broken.tsv").write_text("one\ttwo\nA\tx\n")
    (tmp_path / "targets.txt").write_text("x\n")
    data = anndata.AnnData(
        np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32),
        var=pd.DataFrame(index=list("ABxy")),
        obs=pd.DataFrame(index=[str(i) for i in range(9)]),
    )
    data.layers["other"] = data.X[:, ::-1].copy()
    data.write_h5ad(tmp_path / "data.h5ad")
    return tmp_path


def test_evaluate_json(run: Run, scored: Path) -> None:
    argv = ["evaluate", scored / "network.tsv", "--gold", scored / "gold.tsv", "--json"]
    found = json.loads(succeeded(run(*argv)).out)
    # Ranked A-x (true), B-x, A-y (true), B-y.
    assert found["auprc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["auprc_ratio"] == pytest.approx(found["auprc"] / 0.5)
    assert found["auroc"] == pytest.approx(0.75)
    assert found["epr"] == pytest.approx(1.0)
    assert found["macro_auroc"] is None
    assert (found["n_universe"], found["n_positive"]) == (4, 2)


def test_evaluate_text(run: Run, scored: Path) -> None:
    ran = succeeded(
        run("evaluate", scored / "network.tsv", "--gold", scored / "gold.tsv",
            "--prior", scored / "prior.tsv", "--expression", scored / "data.h5ad")
    )  # fmt: skip
    for row in ("network", "prior alone", "|Pearson|", "permuted targets"):
        assert row in ran.out
    assert "0.8333" in ran.out


def test_evaluate_layer_changes_the_correlation(run: Run, scored: Path) -> None:
    argv = ["evaluate", scored / "network.tsv", "--gold", scored / "gold.tsv", "--json"]
    argv += ["--expression", scored / "data.h5ad"]
    plain = json.loads(succeeded(run(*argv)).out)
    layer = json.loads(succeeded(run(*argv, "--layer", "other")).out)
    assert plain["baselines"]["|Pearson|"] != layer["baselines"]["|Pearson|"]
    assert plain["auprc"] == layer["auprc"]


def test_evaluate_some_targets(run: Run, scored: Path) -> None:
    argv = ["evaluate", scored / "network.tsv", "--gold", scored / "gold.tsv", "--json"]
    found = json.loads(succeeded(run(*argv, "--targets", scored / "targets.txt")).out)
    assert (found["n_universe"], found["n_positive"]) == (2, 1)


@pytest.mark.parametrize(
    ("network", "more", "words"),
    [
        ("absent.tsv", [], ["absent.tsv", "does not exist"]),
        (".", [], ["folder"]),
        ("nothing.tsv", [], ["no edge"]),
        ("strangers.tsv", [], ["share"]),
        ("broken.tsv", [], ["source"]),
        ("network.tsv", ["--gold", "absent.tsv"], ["--gold", "absent.tsv"]),
        ("network.tsv", ["--gold", "broken.tsv"], ["source", "target"]),
        ("network.tsv", ["--prior", "absent.tsv"], ["prior", "absent.tsv"]),
        ("network.tsv", ["--targets", "absent.txt"], ["--targets", "absent.txt"]),
        ("network.tsv", ["--expression", "absent.h5ad"], ["absent.h5ad"]),
        ("network.tsv", ["--expression", "gold.tsv"], ["h5ad"]),
        ("network.tsv", ["--layer", "other"], ["--expression"]),
        ("network.tsv", ["--expression", "data.h5ad", "--layer", "othr"], ["'othr'", "other"]),
    ],
)
def test_evaluate_refuses(
    run: Run, scored: Path, monkeypatch, network: str, more: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(scored)
    gold = [] if "--gold" in more else ["--gold", "gold.tsv"]
    refused(run("evaluate", network, *gold, *more), *words)


# --- demo -----------------------------------------------------------------------------------------


def test_demo(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out" / "demo output"
    ran = succeeded(run("demo", "--out", out))
    listed = ran.out.partition("written\n")[2].partition("the same, step by step\n")[0]
    written = [Path(line.strip()) for line in listed.splitlines()]
    assert sorted(written) == sorted(out.iterdir())
    for name in ("data.h5ad", "prior.tsv", "network.tsv", "network.parquet", "scores.png"):
        assert (out / name).is_file()
    for row in ("network", "prior alone", "|Pearson|", "permuted targets"):
        assert f"\n  {row}" in ran.out

    # It shows what it claims: more than the prior, correlation and chance.
    rows = [line[2:].rsplit(maxsplit=5) for line in ran.out.splitlines() if line.startswith("  ")]
    auprc = {row[0].partition(" (")[0]: row[1] for row in rows if len(row) == 6}
    for beaten in ("prior alone", "|Pearson|", "permuted targets"):
        assert float(auprc["network"]) > float(auprc[beaten])

    # The commands that it prints do what it did.
    network = (out / "network.tsv").read_bytes()
    scores = [line for line in ran.out.splitlines() if line.startswith("  network  ")]
    commands = [shlex.split(line) for line in ran.out.splitlines() if "  unigrn " in line]
    assert [command[1] for command in commands] == ["infer", "evaluate"]
    (out / "network.tsv").unlink()
    succeeded(run(*commands[0][1:]))
    assert (out / "network.tsv").read_bytes() == network
    again = succeeded(run(*commands[1][1:]))
    assert f"  {again.out.splitlines()[1]}" in scores


def test_demo_without_matplotlib(run: Run, tmp_path: Path, monkeypatch) -> None:
    from unigrn.datasets import simulate

    def small(**_) -> object:
        return simulate(60, 8, 20, 2, parents=(1, 2), prior_false=2)

    monkeypatch.setattr("unigrn.datasets.simulate", small)
    for name in [m for m in sys.modules if m.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ran = succeeded(run("demo", "--out", tmp_path))
    assert "pip install" in ran.out
    assert "unigrn[plot]" in ran.out
    assert not list(tmp_path.glob("*.png"))
    assert (tmp_path / "network.tsv").is_file()


def test_demo_refuses_a_file_as_its_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(run("demo", "--out", tmp_path / "file"), "file", "folder")
    refused(run("demo", "--out", tmp_path / "file" / "below"), "file")


# --- real processes -------------------------------------------------------------------------------


def started(*argv: object, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "unigrn", *map(str, argv)], env=environment, **options
    )


def test_a_real_process_succeeds_and_fails(folder: Path, tmp_path: Path) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started(*infer_argv(folder, tmp_path), **pipes) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert said(Ran(0, out, err)) == []
    assert "unigrn: fitting" in err
    assert "celloracle: " in out
    with started(*infer_argv(folder, tmp_path, layer="absent"), **pipes) as process:
        out, err = process.communicate(timeout=120)
    refused(Ran(process.returncode, out, err), "'absent'")


def test_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with started("methods", stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        _, err = process.communicate(timeout=120)
    assert err == ""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_cannot_be_printed_is_one_line() -> None:
    with (
        open("/dev/full", "w") as full,
        started("methods", stdout=full, stderr=subprocess.PIPE, text=True) as process,
    ):
        _, err = process.communicate(timeout=120)
    refused(Ran(process.returncode, "", err), "No space left")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_progress_shows_on_a_terminal_only(folder: Path, tmp_path: Path) -> None:
    import pty

    main_end, terminal = pty.openpty()
    with started(
        *infer_argv(folder, tmp_path), stdout=subprocess.PIPE, stderr=terminal, text=True
    ) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                part = os.read(main_end, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        out = process.communicate(timeout=120)[0]
    os.close(main_end)
    assert process.returncode == 0
    assert "celloracle: " in out
    assert shown.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a Unix thing")
def test_interrupting_a_real_process(folder: Path, tmp_path: Path) -> None:
    # It waits for a pipe that nobody fills, so that the signal always comes in the middle.
    names = tmp_path / "names.txt"
    os.mkfifo(names)
    # Where the tests run in the background, the shell has them and their children ignore it.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        process = started(
            *infer_argv(folder, tmp_path, regulators=names),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        stop = threading.Timer(300, process.kill)
        stop.start()
        writer = None
        for _ in range(600):
            try:
                writer = os.open(names, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:  # it is not reading yet
                time.sleep(0.1)
        assert writer is not None
        process.send_signal(signal.SIGINT)
        # A signal that came between opening and reading is met where reading ends.
        os.close(writer)
        out, err = process.communicate(timeout=120)
        stop.cancel()
    assert (process.returncode, out, err) == (130, "", "unigrn: interrupted\n")


# --- whose files are replaced ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix", [".csv", ".tsv.gz", ".parquet", ".graphml", ".h5ad", ".sif", ".gmt"]
)
def test_an_output_that_is_not_ours_stays(
    run: Run, folder: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"results{suffix}"
    out.write_bytes(b"mine\n")
    refused(run(*infer_argv(folder, tmp_path, o=out)), "not as unigrn wrote it", "--force")
    assert out.read_bytes() == b"mine\n"
    argv = infer_argv(folder, tmp_path, o=out, method="masked_ridge", param=None)
    succeeded(run(*argv, "--force"))
    written = out.read_bytes()
    succeeded(run(*argv))  # that one is ours
    assert out.read_bytes() == written


def test_demo_replaces_its_own_files_only(run: Run, tmp_path: Path, monkeypatch) -> None:
    from unigrn.datasets import simulate

    def small(**_) -> object:
        return simulate(60, 8, 20, 2, parents=(1, 2), prior_false=2)

    monkeypatch.setattr("unigrn.datasets.simulate", small)
    mine = tmp_path / "prior.tsv"
    mine.write_text("my own prior\n")
    refused(run("demo", "--out", tmp_path), "prior.tsv", "--force")
    assert [path.name for path in tmp_path.iterdir()] == ["prior.tsv"]
    assert mine.read_text() == "my own prior\n"
    succeeded(run("demo", "--out", tmp_path, "--force"))
    succeeded(run("demo", "--out", tmp_path))
    mine.write_text(mine.read_text() + "G\tH\n")
    refused(run("demo", "--out", tmp_path), "prior.tsv")


def test_a_table_on_stdout(run: Run, folder: Path, tmp_path: Path) -> None:
    argv = infer_argv(folder, tmp_path, method="masked_ridge", param=None)
    succeeded(run(*argv))
    ran = succeeded(run(*argv[:-1], "-"))
    assert ran.out == (tmp_path / "network.tsv").read_text()
    assert "certificate: " in ran.err


# --- without a prior, from a network on -----------------------------------------------------------


def test_a_prior_is_asked_for_where_a_method_needs_one(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    refused(run(*infer_argv(folder, tmp_path, prior=None)), "celloracle", "give a prior", "--prior")
    argv = infer_argv(folder, tmp_path, prior=None, method="full_ridge", param=None)
    succeeded(run(*argv, "--regulators", folder / "regulators.txt"))
    found = table(tmp_path / "network.tsv")
    assert set(found["source"]) == {"G00", "G02"}
    assert set(found["target"]) == set(GENES)


@pytest.fixture
def inferred(run: Run, folder: Path, tmp_path: Path) -> Path:
    succeeded(run(*infer_argv(folder, tmp_path, param=["bags=3", "permutations=2"])))
    return tmp_path / "network.tsv"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--extra", "pseudotime=group"], "must hold numbers"),
        (["--extra", "pseudotime=nothing"], "there is no obs column 'nothing'"),
        (["--extra", "=group"], "[NAME=]COLUMN"),
        ([], "--extra NAME=COLUMN"),
    ],
)
def test_numbers_of_cells_that_are_missing_or_no_numbers(
    run: Run, folder: Path, tmp_path: Path, extra, words
) -> None:
    ask = ("infer", folder / "data.h5ad", "--prior", folder / "prior.tsv", "--method", "scode")
    refused(run(*ask, *extra, "-o", tmp_path / "n.tsv"), words)
    assert not list(tmp_path.iterdir())


def test_figures_of_infer_and_evaluate(run: Run, folder: Path, tmp_path: Path, monkeypatch) -> None:
    network, figure = tmp_path / "n.tsv", tmp_path / "n.png"
    ask = ("infer", folder / "data.h5ad", "--prior", folder / "prior.tsv", "--method")
    done = run(*ask, "masked_ridge", "-o", network, "--figure", figure)
    assert str(figure) in succeeded(done).out
    assert figure.read_bytes().startswith(b"\x89PNG")
    score = ("evaluate", network, "--gold", folder / "gold.tsv", "--prior", folder / "prior.tsv")
    plain = succeeded(run(*score, "--json")).out
    drawn = succeeded(run(*score, "--json", "--figure", tmp_path / "e.svg"))
    assert drawn.out == plain
    assert b"prior alone" in (tmp_path / "e.svg").read_bytes()

    figure.write_text("mine")
    refused(run(*ask, "masked_ridge", "-o", network, "--figure", figure), "--force")
    assert figure.read_text() == "mine"
    refused(run(*score, "--figure", figure), "--force")
    refused(run(*score, "--figure", "-"), "a figure goes to a file")
    refused(run(*score, "--figure", tmp_path / "e.txt"), ".png")
    network.unlink()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(
        run(*ask, "masked_ridge", "-o", network, "--figure", tmp_path / "x.png"), "unigrn[plot]"
    )
    assert not network.exists()


def test_a_predictive_check_is_a_table_or_a_figure(run: Run, folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from unigrn import pytree\n"
        "from unigrn.processes import EDGES, Normal, Process, generative\n"
        "@pytree\n"
        "class Line(Process):\n"
        "    latents = {'theta': EDGES}\n"
        "    observed = {'expression': ('cells', 'targets')}\n"
        "    def sites(self, site, data, prior):\n"
        "        theta = site('theta', Normal(0.0, 1.0))\n"
        "        site('expression', Normal(data.x @ theta, 1.0), data.y)\n"
        "def line(prior):\n"
        "    return generative(Line(), prior, name='line')\n"
    )
    network, table_, figure = (tmp_path / name for name in ("n.tsv", "c.tsv", "c.svg"))
    ask = ("infer", folder / "data.h5ad", "--prior", folder / "prior.tsv", "-o", network)
    ask = (*ask, "--method", f"{own}:line")
    done = succeeded(run(*ask, "--predictive", table_))
    assert "Pareto k of the guide" in done.out and f"  {table_}" in done.out
    rows = pd.read_csv(table_, sep="\t")
    assert {"target", "mean_p", "variance_upper", "zeros_predicted"} <= set(rows.columns)
    about = json.loads((tmp_path / "n.tsv.meta.json").read_text())["predictive"]
    assert about["draws"] == 400 and about["targets"] == len(rows)
    succeeded(run(*ask, "--predictive", figure, "--quiet"))
    assert b"Variance over cells" in figure.read_bytes()

    table_.write_text("mine")
    refused(run(*ask, "--predictive", table_), "c.tsv", "--force")
    refused(run(*ask, "--predictive", network), "another output")
    refused(run(*ask, "--predictive", "-"), "a check goes to a file")
    refused(run(*ask, "--predictive", tmp_path / "c.txt.xls"), "no known suffix")
    refused(run(*ask[:-1], "masked_ridge", "--predictive", figure), "not declared as a generative")


def test_filter_convert_and_plot(run: Run, folder: Path, inferred: Path) -> None:
    import networkx

    out, whole = inferred.parent / "small.graphml", table(inferred)
    succeeded(run("filter", inferred, "--group", "A", "--top", 3, "-o", out))
    assert networkx.read_graphml(out).number_of_edges() == 3
    best = whole[whole["group"] == "A"].nlargest(3, "fdr")["fdr"].min()
    ran = succeeded(run("filter", inferred, "--by", "fdr", "--top", 3, "--group", "A", "-o", "-"))
    assert pd.read_csv(io.StringIO(ran.out), sep="\t")["fdr"].max() <= best
    ran = succeeded(run("filter", inferred, "--fdr", 0.5, "--source", "G00", "-o", "-", "--quiet"))
    kept = pd.read_csv(io.StringIO(ran.out), sep="\t")
    assert ran.err == "" and set(kept["source"]) <= {"G00"} and (kept["fdr"] <= 0.5).all()
    want = whole[(whole["source"] == "G00") & (whole["fdr"] <= 0.5)]
    assert len(kept) == len(want)

    refused(
        run("convert", inferred, "--to", "beeline", "-o", "-"), "no place for groups", "--group"
    )
    ran = succeeded(run("convert", inferred, "--to", "beeline", "--group", "A", "-o", "-"))
    assert ran.out.splitlines()[0] == "Gene1\tGene2\tEdgeWeight"
    links = inferred.parent / "links.csv"
    for _ in range(2):
        succeeded(run("convert", inferred, "--to", "celloracle", "-o", links))
    assert list(pd.read_csv(links).columns[:4]) == ["cluster", "source", "target", "coef_mean"]

    figure = inferred.parent / "network.png"
    succeeded(run("plot", inferred, "-o", figure))
    assert figure.read_bytes()[:4] == b"\x89PNG"
    figure.write_bytes(b"mine")
    refused(run("plot", inferred, "-o", figure), "--force")
    succeeded(run("plot", inferred, "--gold", folder / "gold.tsv", "-o", figure, "--force"))
    succeeded(run("plot", inferred, "-o", figure))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["filter", "absent.tsv", "-o", "-"], ["does not exist"]),
        (["filter", "NETWORK", "-o", "NETWORK"], ["also an input"]),
        (["filter", "NETWORK", "--p", 2, "-o", "-"], ["p is 2.0", "0 to 1"]),
        (["filter", "NETWORK", "--by", "x", "-o", "-"], ["'x'", "weight"]),
        (["filter", "NETWORK", "--score", 1, "-o", "-"], ["gives no score"]),
        (["filter", "NETWORK", "--group", "Z", "-o", "-"], ["'Z'", "'A'"]),
        (["filter", "NETWORK", "--target", "Z", "-o", "-"], ["none of the 1 names in targets"]),
        (["convert", "NETWORK", "--to", "cytoscap", "-o", "-"], ["did you mean cytoscape?"]),
        (["convert", "NETWORK", "--to", "cytoscape", "-o", "x.graphml"], [".tsv"]),
        (["plot", "NETWORK", "-o", "x.txt"], [".png"]),
    ],
)
def test_what_is_refused_of_a_network(
    run: Run, inferred: Path, monkeypatch, argv: list[object], words: list[str]
) -> None:
    monkeypatch.chdir(inferred.parent)
    refused(run(*[inferred if word == "NETWORK" else word for word in argv]), *words)


# --- what parameters mean, what is said when ------------------------------------------------------


@pytest.mark.parametrize("name", ["celloracle", "netrex_cf", "full_ridge"])
def test_methods_explains_every_parameter(run: Run, name: str) -> None:
    from unigrn.methods import registry

    text = succeeded(run("methods", name)).out
    method = registry()[name]
    for parameter, meaning in method.meanings.items():
        assert f"  {parameter}=" in text and meaning
        plain = meaning.replace("``", "")  # marks of the docstring are none in a terminal
        assert " ".join(plain.split()) in " ".join(text.split())
    text = " ".join(text.split())
    assert "Take it " in text and " expects " in text and "``" not in text
    assert ("permutations=2" in text) == ("permutations" in method.parameters)
    (row,) = json.loads(succeeded(run("methods", name, "--json")).out)
    assert row["meanings"] == method.meanings and row["notes"]


def test_every_method_says_what_its_parameters_mean_and_when_to_take_it() -> None:
    from unigrn.methods import registry

    for name, method in registry().items():
        assert all(method.meanings.values()), name
        notes = " ".join(method.notes.split())
        assert "Take it " in notes and "expects " in notes, name


def test_the_way_to_an_fdr_is_said_where_there_is_none(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    ran = succeeded(run(*infer_argv(folder, tmp_path, param=["bags=3", "permutations=0"])))
    assert "--param permutations=2" in ran.out
    ran = succeeded(run(*infer_argv(folder, tmp_path)))
    assert "edges stand above permuted targets" in ran.out
    ran = succeeded(run(*infer_argv(folder, tmp_path, param=["bags=3", "permutations=2"])))
    assert "--param permutations=2" not in ran.out


def test_verbose_and_quiet(run: Run, folder: Path, tmp_path: Path) -> None:
    argv = infer_argv(folder, tmp_path)
    ran = succeeded(run(*argv, "--quiet"))
    assert (ran.out, ran.err) == ("", "")
    ran = succeeded(run(*argv, "--verbose"))
    assert "unigrn: planning\n" in ran.err and "unigrn: reading cells: " in ran.err
    refused(run(*argv, "--verbose", "--quiet"), "contradict")
    refused(run(*argv, "--threads", 0), "--threads")


def test_progress_is_a_line_a_minute_with_the_time_left(monkeypatch, capsys) -> None:
    from unigrn.cli import shell

    clock = [0.0]
    monkeypatch.setattr(shell.time, "monotonic", lambda: clock[0])
    show = shell._lines(60.0, False)
    show("planning", 0, 0)
    show("reading cells", 60, 60)
    clock[0] = 200.0  # it compiled
    for done in range(1, 13):
        clock[0] += 20.0
        show("fitting", done, 30)
    assert capsys.readouterr().err.splitlines() == [
        "unigrn: fitting: 1 of 30",
        "unigrn: fitting: 4 of 30, about 9 min left",
        "unigrn: fitting: 7 of 30, about 8 min left",
        "unigrn: fitting: 10 of 30, about 7 min left",
    ]


def test_threads_are_limited_before_jax_loads(folder: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from unigrn.cli import main; code = main(sys.argv[1:]);"
        "from unigrn.backend import cores; print(code, cores(), os.environ['OMP_NUM_THREADS'])"
    )
    argv = [*infer_argv(folder, tmp_path), "--threads", 1, "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, argv)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "0 1 1\n", done.stderr


def test_a_file_of_the_users_beside_the_output_is_not_replaced(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    argv = infer_argv(folder, tmp_path)
    beside = tmp_path / "network.tsv.meta.json"
    beside.write_text('{"my": "file"}')
    refused(run(*argv), "network.tsv.meta.json", "--force")
    assert beside.read_text() == '{"my": "file"}' and not (tmp_path / "network.tsv").exists()
    succeeded(run(*argv, "--force"))
    (tmp_path / "network.tsv").unlink()
    succeeded(run(*argv))  # what is ours is replaced


def test_a_closed_stdout_is_refused_before_the_fit(folder: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "unigrn", *map(str, infer_argv(folder, tmp_path)), "-o", "-"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *argv],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2 and "stdout is closed" in done.stderr


# --- what is no defect ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"param": "alpha=" + "9" * 400}, ["alpha", "finite number"]),
        ({"param": "alpha=" + "9" * 5000}, ["alpha", "digits"]),
        ({"param": "alpha=" + "[" * 100_000}, ["alpha", "nested"]),
        ({"method": "x" * 100_000}, ["no method", "module:function"]),
        ({"param": "bags=1e9"}, ["GB", "bags", "--force"]),
        ({"method": "netrex_cf", "param": "factors=1000000"}, ["factors", "1,000 at most"]),
    ],
)
def test_absurd_values_are_refused_in_one_short_line(
    run: Run, folder: Path, tmp_path: Path, changes: dict[str, object], words: list[str]
) -> None:
    ran = run(*infer_argv(folder, tmp_path, **changes))
    refused(ran, *words)
    assert len(ran.err.rstrip("\n")) <= 300
    assert list(tmp_path.iterdir()) == []


def test_memory_is_checked_before_the_fit_and_force_goes_on(
    run: Run, folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("unigrn.planner.free_memory", lambda: 1000)
    argv = infer_argv(folder, tmp_path)
    refused(run(*argv), "0.0 GB are free", "--force")
    assert list(tmp_path.iterdir()) == []
    succeeded(run(*argv, "--force"))


@pytest.mark.parametrize("problem", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 9 GB")])
def test_out_of_memory_says_what_to_do(
    run: Run, folder: Path, tmp_path: Path, monkeypatch, problem: Exception
) -> None:
    def broken(**_):
        raise problem

    monkeypatch.setattr("unigrn.api.infer", broken)
    refused(run(*infer_argv(folder, tmp_path)), "out of memory", "fewer")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("JAX_PLATFORMS", "cuda", ["JAX_PLATFORMS asks for cuda", "jax[cuda12]"]),
        ("PYTHONOPTIMIZE", "2", ["anndata", "PYTHONOPTIMIZE"]),
    ],
)
def test_an_environment_that_cannot_work_is_named(
    folder: Path, tmp_path: Path, variable: str, value: str, words: list[str]
) -> None:
    import jax

    if variable == "JAX_PLATFORMS" and jax.default_backend() != "cpu":
        pytest.skip("there is a GPU")
    done = subprocess.run(
        [sys.executable, "-m", "unigrn", *map(str, infer_argv(folder, tmp_path))],
        env={**os.environ, "PYTHONPATH": str(ROOT), variable: value},
        capture_output=True,
        text=True,
        timeout=300,
    )
    refused(Ran(done.returncode, done.stdout, done.stderr), *words)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a Unix thing")
def test_sigterm_tidies_up_as_an_interrupt_does(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, unigrn.api\n"
        "from unigrn.cli import main\n"
        "from unigrn.files.atomic import write_whole\n"
        "def pieces(_):\n"
        "    yield b'half'\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    yield b'whole'\n"
        "unigrn.api.explain = lambda **_: write_whole([(sys.argv.pop(), pieces)])\n"
        "sys.exit(main(sys.argv[1:-1]))\n"
    )
    (tmp_path / "prior.tsv").write_text("source\ttarget\nA\tB\n")
    expression(9).write_h5ad(tmp_path / "data.h5ad")
    argv = ["explain", "data.h5ad", "--prior", "prior.tsv", "--method", "celloracle", "out.tsv"]
    done = subprocess.run(
        [sys.executable, "-c", code, *argv],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (143, "unigrn: terminated\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.h5ad", "prior.tsv"]
