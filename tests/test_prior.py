"""Prior evidence: forms read, errors refused, names resolved, arrays aligned."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unigrn import UnigrnWarning
from unigrn.prior import AlignmentError, AlignmentReport, Prior, read_prior, resolve

TRICKY = ["NA", "nan", "null", "None", "1", "1-Mar", "1e5", "é", "a b", 'q"q', "x,y", "5'-ND", "-"]


def table(*rows, columns=("source", "target", "weight", "sign")):
    return pd.DataFrame(rows, columns=list(columns[: len(rows[0])]))


def edges_of(prior):
    """Edges as a set of tuples, to compare without regard to order."""
    return set(prior.edges.itertuples(index=False, name=None))


def pairs_of(prior):
    return set(zip(prior.edges["source"], prior.edges["target"], strict=True))


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# --- building ---------------------------------------------------------------------------------


def test_from_edges_sorts_names_and_edges():
    prior = Prior.from_edges(table(("b", "Y", 2.0), ("a", "Y", 1.0), ("b", "X", 3.0)), name="motif")
    assert prior.regulators.tolist() == ["a", "b"]
    assert prior.targets.tolist() == ["X", "Y"]
    layer = prior.layers["motif"]
    assert layer.source.tolist() == [1, 0, 1]
    assert layer.target.tolist() == [0, 1, 1]
    assert layer.weight.tolist() == [3.0, 1.0, 2.0]
    assert (layer.source.dtype, layer.target.dtype) == (np.int32, np.int32)
    assert (layer.weight.dtype, layer.sign.dtype) == (np.float64, np.int8)
    assert prior.notes == ()
    assert repr(prior) == "Prior(2 regulators, 2 targets, 3 edges; layers: motif)"


@pytest.mark.parametrize(
    "columns",
    [("source", "target", "weight"), ("tf", "target", "score"), ("TF", "Target", "Weight"),
     ("Source", "TARGET", "SCORE")],
)  # fmt: skip
def test_from_edges_knows_its_columns(columns):
    prior = Prior.from_edges(table(("a", "X", 2), columns=columns))
    assert edges_of(prior) == {("prior", "a", "X", 2.0, 0)}


def test_from_edges_without_weight_gives_one():
    assert edges_of(Prior.from_edges(table(("a", "X")))) == {("prior", "a", "X", 1.0, 0)}


def test_negative_weights_make_signs_only_where_there_are_any():
    signed = Prior.from_edges(table(("a", "X", -2.0), ("b", "X", 3.0)))
    assert edges_of(signed) == {("prior", "a", "X", 2.0, -1), ("prior", "b", "X", 3.0, 1)}
    assert any("signs taken from the weights (1 are negative)" in note for note in signed.notes)
    unsigned = Prior.from_edges(table(("a", "X", 2.0), ("b", "X", 3.0)))
    assert set(unsigned.edges["sign"]) == {0}


@pytest.mark.parametrize(
    ("written", "sign"),
    [("+", 1), ("-", -1), ("+1", 1), ("-1", -1), ("1.0", 1), ("0", 0), (1, 1), (-1.0, -1), (0, 0)],
)
def test_sign_column(written, sign):
    prior = Prior.from_edges(table(("a", "X", 1.0, written)))
    assert prior.edges["sign"].tolist() == [sign]


@pytest.mark.parametrize("written", ["up", "2", 2, 0.5, "", None, "++"])
def test_other_signs_are_refused(written):
    with pytest.raises(ValueError, match=r"sign in data row 2 is .* write -1, 0 or 1") as error:
        Prior.from_edges(table(("b", "X", 1.0, 1), ("a", "X", 1.0, written)))
    one_line(error)


def test_negative_weight_must_not_contradict_its_sign():
    prior = Prior.from_edges(table(("a", "X", -2.0, -1)))
    assert edges_of(prior) == {("prior", "a", "X", 2.0, -1)}
    with pytest.raises(ValueError, match="data row 1 has weight -2 but sign 1"):
        Prior.from_edges(table(("a", "X", -2.0, 1)))


def test_duplicates_keep_the_largest_weight_and_are_noted():
    rows = [("a", "X", 1.0, 1), ("a", "X", 3.0, 1), ("a", "X", 2.0, 0), ("b", "X", 1.0, 1)]
    prior = Prior.from_edges(table(*rows), name="m")
    assert edges_of(prior) == {("m", "a", "X", 3.0, 1), ("m", "b", "X", 1.0, 1)}
    assert prior.notes == ("m: 2 duplicate rows merged, the largest weight of a pair kept",)


def test_conflicting_signs_become_unknown():
    prior = Prior.from_edges(table(("a", "X", 1.0, 1), ("a", "X", 3.0, -1)))
    assert edges_of(prior) == {("prior", "a", "X", 3.0, 0)}
    assert any("1 pair with conflicting signs" in note for note in prior.notes)


def test_zero_weights_are_no_edges_and_their_names_go():
    prior = Prior.from_edges(table(("a", "X", 0.0), ("b", "Y", 1.0)), name="m")
    assert (prior.regulators.tolist(), prior.targets.tolist()) == (["b"], ["Y"])
    assert prior.notes == ("m: 1 row of weight 0 dropped",)
    with pytest.raises(ValueError, match="every weight is 0"):
        Prior.from_edges(table(("a", "X", 0.0)))


def test_other_columns_are_ignored_and_noted_but_not_an_index():
    frame = table(("a", "X", 1.0)).assign(group="g", p=0.1, **{"Unnamed: 0": 7})
    prior = Prior.from_edges(frame)
    assert prior.notes == ("prior: 2 other columns ignored (group, p)",)


def test_self_edges_stay():
    assert pairs_of(Prior.from_edges(table(("a", "a"), ("a", "b")))) == {("a", "a"), ("a", "b")}


def test_names_may_be_categories_or_whole_numbers():
    frame = pd.DataFrame({"source": pd.Categorical(["b", "a"], ["b", "zz", "a"]), "target": [7, 8]})
    assert pairs_of(Prior.from_edges(frame)) == {("b", "7"), ("a", "8")}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table(("a", "X"), columns=("up", "down")), "found columns 'up', 'down'; needs source"),
        (table(("a", "X"), columns=("source", "weight")), "found columns 'source', 'weight'"),
        (table(("a", "X"), columns=("source", "aim")), "found columns 'source', 'aim'"),
        (table(("a", "b", "X"), columns=("TF", "tf", "gene")), "column 'tf' occurs 2 times"),
        (table(("a", "X")).iloc[:0], "has no rows"),
        (table(("a", "X"), ("b", "  ")), "the target name in data row 2 is empty"),
        (table(("a", "X"), (None, "X")), "the source name in data row 2 is empty"),
        (table(("a", "X"), (np.nan, "X")), "the source name in data row 2 is empty"),
        (table((1.5, "X")), "source 1.5 is float, names must be text"),
        (table(("a", "X", 1.0), ("b", "X", np.nan)), "the weight in data row 2 is nan (1 such"),
        (table(("a", "X", 1.0), ("b", "X", np.inf)), "the weight in data row 2 is inf"),
        (table(("a", "X", "1"), ("b", "X", "high")), "the weight in data row 2 is 'high'"),
        (table(("a", "X", 1, 2), columns=("source", "target", "weight", "Weight")),
         "column 'weight' occurs 2 times"),
        ({"a": ["X"]}, "needs a pandas DataFrame, got dict; use from_dict"),
    ],
)  # fmt: skip
def test_from_edges_refuses(frame, message):
    with pytest.raises(ValueError) as error:
        Prior.from_edges(frame)
    assert message in one_line(error)


def test_from_dict():
    prior = Prior.from_dict({"X": ["b", "a", "a"], "Y": {"b"}, "Z": ()}, name="base")
    assert pairs_of(prior) == {("a", "X"), ("b", "X"), ("b", "Y")}
    assert prior.notes == (
        "base: 1 target without a regulator left out",
        "base: 1 duplicate row merged, the largest weight of a pair kept",
    )


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ({"X": "GATA1"}, "target 'X' needs a list of regulators, got 'GATA1'"),
        ({"X": 3}, "target 'X' needs a list"),
        ({"X": []}, "has no edge"),
        ({}, "has no edge"),
        ({"X": [""]}, "name in data row 1 is empty"),
        ([("X", ["a"])], "needs a dictionary"),
    ],
)
def test_from_dict_refuses(candidates, message):
    with pytest.raises(ValueError) as error:
        Prior.from_dict(candidates)
    assert message in one_line(error)


def base_grn(dtype=float):
    frame = pd.DataFrame(
        {
            "peak_id": ["chr1_1_2", "chr1_5_6", "chr2_1_2", "chr3_1_2"],
            "gene_short_name": ["X", "X", "Y", "Z"],
            "NA": [1, 0, 1, 0],
            "b": [0, 1, 0, 0],
            "unused": [0, 0, 0, 0],
        }
    )
    return frame.astype({"NA": dtype, "b": dtype, "unused": dtype})


@pytest.mark.parametrize("dtype", [float, int, bool, "float32", "int8"])
def test_from_base_grn_is_an_or_over_peaks(dtype):
    prior = Prior.from_base_grn(base_grn(dtype), name="base")
    assert edges_of(prior) == {
        ("base", "NA", "X", 1.0, 0),
        ("base", "NA", "Y", 1.0, 0),
        ("base", "b", "X", 1.0, 0),
    }
    assert prior.notes == ("base: 1 TF and 1 gene without a 1 left out",)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (base_grn().assign(b=[0, np.inf, 0, 0]), "column 'b' holds inf"),
        (base_grn().assign(b=[0, np.nan, 0, 0]), "column 'b' holds"),
        (base_grn().assign(b=["yes", "no", "no", "no"]), "column 'b' holds 'yes' in data row 1"),
        (base_grn().assign(b=["0", "?", "0", "1"]), "column 'b' holds '?' in data row 2"),
        (base_grn().assign(NA=0, b=0), "every TF column is 0"),
        (base_grn().iloc[:0], "has no rows"),
        (base_grn()[["peak_id", "gene_short_name"]], "has no TF column"),
        (base_grn().drop(columns="gene_short_name"), "found columns 'peak_id', 'NA'"),
        (base_grn().assign(gene_short_name=["X", "", "Y", "Z"]), "name in data row 2 is empty"),
    ],
)
def test_from_base_grn_refuses(frame, message):
    with pytest.raises(ValueError) as error:
        Prior.from_base_grn(frame)
    assert message in one_line(error)


def test_combine_keeps_every_layer():
    a = Prior.from_edges(table(("a", "X", 1.0, 1), ("c", "Y", 2.0, 1)), name="motif")
    b = Prior.from_edges(
        table(("b", "X", 5.0, 0), ("a", "X", 4.0, -1), ("a", "A", 1.0, 0)), name="chip"
    )
    both = Prior.combine([a, b])
    assert list(both.layers) == ["motif", "chip"]
    assert edges_of(both) == edges_of(a) | edges_of(b)
    assert both.n_edges == 4
    union = both.union()
    at = (union.source == 0) & (union.target == both.targets.tolist().index("X"))
    assert (union.weight[at], union.sign[at]) == (5.0, 0)  # 1 + 4; +1 against -1
    assert both.support().sum() == 4
    with pytest.raises(ValueError, match="two prior layers are named 'motif'"):
        Prior.combine([a, a])
    with pytest.raises(ValueError, match="at least one prior"):
        Prior.combine([])


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_layer_names_are_text(name):
    with pytest.raises(ValueError, match="name of a prior layer"):
        Prior.from_edges(table(("a", "X")), name=name)


def test_a_base_grn_of_counts_with_other_columns():
    frame = base_grn(int).assign(b=[0, 3, 0, 0], chrom="chr1", start=7, gene_id="E1")
    prior = Prior.from_base_grn(frame, name="base")
    assert edges_of(prior) == edges_of(Prior.from_base_grn(base_grn(), name="base"))
    assert prior.notes == (
        "base: 3 other columns ignored (chrom, start, gene_id)",
        "base: numbers other than 0 count as 1",
        "base: 1 TF and 1 gene without a 1 left out",
    )


# What other programs write: columns, a row, the edge that it is, and what is said.
FOREIGN = [
    (["TF", "target", "importance"], ["a", "X", 2.5], ("a", "X", 2.5, 0),
     "read weight from importance"),
    (["source", "confidence", "target", "mor"], ["a", "A", "X", -0.5], ("a", "X", 0.5, -1),
     "read weight from mor"),
    (["source", "target", "mor"], ["a", "X", 1], ("a", "X", 1.0, 1), "signs taken from"),
    (["source", "target", "coef_mean", "coef_abs", "p", "-logp"], ["a", "X", -3, 3, 0.1, 1],
     ("a", "X", 3.0, -1), "3 other columns ignored (coef_abs, p, -logp)"),
    (["Gene1", "Gene2", "EdgeWeight"], ["a", "X", 4], ("a", "X", 4.0, 0),
     "read source from Gene1, target from Gene2, weight from EdgeWeight"),
    (["Gene1", "Gene2", "Type"], ["a", "X", "-"], ("a", "X", 1.0, -1), "sign from Type"),
    (["TF", "Target", "Mode", "PMID"], ["a", "X", "Activation", "7"], ("a", "X", 1.0, 1),
     "read sign from Mode"),
    (["source", "target", "source_genesymbol", "target_genesymbol", "type"],
     ["P1", "P2", "a", "X", "transcriptional"], ("a", "X", 1.0, 0),
     "source from source_genesymbol, not from source, target from target_genesymbol, not from"),
    (["source", "target", "source_genesymbol"], ["a", "X", "P1"], ("a", "X", 1.0, 0),
     "1 other column ignored (source_genesymbol)"),
    (["source", "target", "weight", "mor"], ["a", "X", 2, -1], ("a", "X", 2.0, 0),
     "weight from weight, not from mor"),
    (["TF", "Gene"], ["a", "X"], ("a", "X", 1.0, 0), "read target from Gene"),
    (["regulator", "gene"], ["a", "X"], ("a", "X", 1.0, 0), "read source from regulator"),
    (["Regulator", "Target"], ["a", "X"], ("a", "X", 1.0, 0), "read source from Regulator"),
    (["from", "to"], ["a", "X"], ("a", "X", 1.0, 0), "read source from from, target from to"),
    (["TF", "TG"], ["a", "X"], ("a", "X", 1.0, 0), "read target from TG"),
    (["tf_name", "gene_short_name"], ["a", "X"], ("a", "X", 1.0, 0), "read source from tf_name"),
    (["tf", "gene", "motif", "force"], ["a", "X", 0, 2.5], ("a", "X", 2.5, 0),
     "1 other column ignored (motif)"),
    (["source", "target", "is_stimulation", "is_inhibition"], ["a", "X", False, True],
     ("a", "X", 1.0, -1), "sign from is_stimulation_inhibition"),
    (["source", "target", "is_stimulation", "is_inhibition"], ["a", "X", 1, 1],
     ("a", "X", 1.0, 0), "sign from is_stimulation_inhibition"),
    (["source", "target", "is_stimulation", "is_inhibition", "consensus_stimulation",
      "consensus_inhibition"], ["a", "X", True, True, True, False], ("a", "X", 1.0, 1),
     "sign from consensus_stimulation_inhibition"),
    (["source", "target", "is_stimulation", "is_inhibition"], ["a", "X", "high", "low"],
     ("a", "X", 1.0, 0), "2 other columns ignored (is_stimulation, is_inhibition)"),
    (["TF", "Target", "Mode"], ["a", "X", "?"], ("a", "X", 1.0, 0), "read sign from Mode"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "row", "edge", "note"), FOREIGN)
@pytest.mark.parametrize("suffix", [None, ".csv", ".txt", ".parquet"])
def test_tables_of_other_programs(tmp_path, columns, row, edge, note, suffix):
    frame = pd.DataFrame([row], columns=columns)
    if suffix is None:
        prior = Prior.from_edges(frame)
    else:
        prior = read_prior(f"prior={write(frame, tmp_path / f'p{suffix}')}")
    assert edges_of(prior) == {("prior", *edge)}
    assert note in " ".join(prior.notes)
    assert Prior.from_base_grn(frame).notes == Prior.from_edges(frame).notes


@pytest.mark.parametrize(
    ("name", "content", "edges"),
    [
        ("m.tsv", "a\tX\t1\nb\tY\t0.5\n", {("a", "X", 1.0, 0), ("b", "Y", 0.5, 0)}),
        ("m.txt.gz", "a\tX\t1\nb\tY\t0\n", {("a", "X", 1.0, 0)}),
        ("m.csv", "a,X,-1\n", {("a", "X", 1.0, -1)}),
        ("t.tsv", "a\tX\tRepression\t1;2\na\tY\tUnknown\t3\n",
         {("a", "X", 1.0, -1), ("a", "Y", 1.0, 0)}),
        ("s.sif", "a activates X Y\nlonely\nb represses X\n",
         {("a", "X", 1.0, 1), ("a", "Y", 1.0, 1), ("b", "X", 1.0, -1)}),
        ("s.sif.gz", "a b\tpp\tX\n", {("a b", "X", 1.0, 0)}),
        ("s.sif", "a\tactivates in CD4 T\tX\nb\trepresses in x in y\tX\n",
         {("a", "X", 1.0, 1), ("b", "X", 1.0, -1)}),
        ("r.gmt", "a in CD4\ttargets of a, group CD4\tX\na in b\ttargets of a in b\tY\n",
         {("a", "X", 1.0, 0), ("a in b", "Y", 1.0, 0)}),
        ("r.gmt", "a(+)\tmotif\tX\tY\nb\t\tX\t\n",
         {("a", "X", 1.0, 1), ("a", "Y", 1.0, 1), ("b", "X", 1.0, 0)}),
        ("w.tsv", "target\ta\tb\nX\t1\t0\nY\t-2\t0.5\n",
         {("a", "X", 1.0, 1), ("a", "Y", 2.0, -1), ("b", "Y", 0.5, 1)}),
        ("w.csv", "tf,X,Y\na,1,0\nb,0,1\n", {("a", "X", 1.0, 0), ("b", "Y", 1.0, 0)}),
        ("w.csv", "tf,TG,X,Y,Z,V,W\na,1,0,0,0,0,0\nb,0,0,0,0,0,3\n",
         {("a", "TG", 1.0, 0), ("b", "W", 3.0, 0)}),
        ("b.csv", "gene_short_name,tf_name,a,b\nX,x,True,False\n", {("a", "X", 1.0, 0)}),
    ],
)  # fmt: skip
def test_files_without_a_header_and_matrices(tmp_path, name, content, edges):
    data = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert {row[1:] for row in edges_of(read_prior(tmp_path / name))} == edges


def test_a_table_without_a_header_is_noted(tmp_path):
    (tmp_path / "m.tsv").write_text("a\tX\t1\n")
    (note,) = read_prior(tmp_path / "m.tsv").notes
    assert note == "m: read source from column 1, target from column 2, weight from column 3"


def test_negative_forces_are_no_signs():
    frame = pd.DataFrame({"tf": ["a", "b"], "gene": ["X", "X"], "force": [2.0, -1.5]})
    with pytest.raises(ValueError, match="1 row of negative force.*keep the rows above"):
        Prior.from_edges(frame)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.tsv", "\ta\tb\tc\nX\t1\t0\t0\n", "call the first column target where its rows"),
        ("s.sif", "a\tX\n", "line 1 has two fields; needed source, relation, target"),
        ("s.sif", "\n", "is empty"),
        ("r.gmt", "a\tX\n", "line 1 names no gene"),
        ("p.tsv", "source\ttarget\na\t" + "x" * 2000 + "\n", "has 2,000 characters, names may"),
        ("p.tsv", "source\ttarget\t" + "w" * 9000 + "\x1b\na\n", "cannot be read"),
        ("p.csv", "q\x1b[31m,r\na,b\n", r"columns 'q\x1b[31m', 'r'"),
        ("p.csv", '"q' + "q," * 9000 + "\n", "cannot be read|found columns"),
    ],
)
def test_errors_are_short_and_print(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError) as error:
        read_prior(tmp_path / name)
    assert any(part in one_line(error) for part in message.split("|"))
    assert len(str(error.value)) <= 300 and str(error.value).isprintable()


# --- reading ----------------------------------------------------------------------------------


def write(frame, path):
    path = Path(path)
    if path.name.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t" if ".tsv" in path.name else ",", index=False)
    return path


SUFFIXES = [".tsv", ".csv", ".tsv.gz", ".csv.gz", ".parquet", ".TSV"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_form_reads_what_was_written(tmp_path, suffix):
    rng = np.random.default_rng(0)
    n = len(TRICKY)
    frame = pd.DataFrame(
        {
            "source": TRICKY,
            "target": [TRICKY[i] for i in rng.permutation(n)],
            "weight": rng.random(n) + 1e-300,
            "sign": rng.integers(-1, 2, n),
        }
    )
    path = tmp_path / f"my.prior{suffix}"
    if suffix == ".TSV":
        frame.to_csv(path, sep="\t", index=False)
    else:
        write(frame, path)
    prior = read_prior(path)
    assert list(prior.layers) == ["my.prior"]
    assert edges_of(prior) == {
        ("my.prior", *row) for row in frame.itertuples(index=False, name=None)
    }  # weights bit for bit
    assert prior.notes == ()
    again = read_prior(
        write(prior.edges.drop(columns="layer"), tmp_path / f"again{suffix.lower()}")
    )
    assert {row[1:] for row in edges_of(again)} == {row[1:] for row in edges_of(prior)}


@pytest.mark.parametrize("suffix", SUFFIXES[:-1])
@pytest.mark.parametrize("dtype", [float, int])
def test_base_grn_files(tmp_path, suffix, dtype):
    path = write(base_grn(dtype), tmp_path / f"base{suffix}")
    assert edges_of(read_prior(path)) == edges_of(Prior.from_base_grn(base_grn(), name="base"))


def test_base_grn_with_a_written_index_and_tricky_names(tmp_path):
    frame = pd.DataFrame({"gene_short_name": TRICKY})
    for i, name in enumerate(TRICKY):
        frame[name] = np.eye(len(TRICKY), dtype=int)[i]
    frame.to_csv(tmp_path / "base.csv")  # the index becomes an unnamed first column
    assert pairs_of(read_prior(tmp_path / "base.csv")) == {(name, name) for name in TRICKY}


def test_edge_table_with_a_written_index(tmp_path):
    table(("a", "X", 2.0)).to_csv(tmp_path / "p.csv")
    prior = read_prior(tmp_path / "p.csv")
    assert edges_of(prior) == {("p", "a", "X", 2.0, 0)}
    assert prior.notes == ()


def test_doubled_tf_columns_are_joined(tmp_path):
    (tmp_path / "base.csv").write_text("gene_short_name,a,a\nX,1,0\nY,0,1\n")
    assert pairs_of(read_prior(tmp_path / "base.csv")) == {("a", "X"), ("a", "Y")}


def test_bad_base_grn_file_names_the_column(tmp_path):
    (tmp_path / "base.csv").write_text("gene_short_name,a,note\nX,1,0\nY,0,high\n")
    with pytest.raises(ValueError, match=r"base\.csv': column 'note' holds 'high' in data row 2"):
        read_prior(tmp_path / "base.csv")
    (tmp_path / "base.csv").write_text("gene_short_name,a\nX,1\nY,\n")
    with pytest.raises(ValueError, match="column 'a' holds '' in data row 2"):
        read_prior(tmp_path / "base.csv")


def test_byte_order_mark_blank_lines_and_spaces(tmp_path):
    text = "\ufeffsource,target,weight\r\n a , X ,2\r\n\r\nb,X, 3\r\n"
    (tmp_path / "p.csv").write_bytes(text.encode())
    assert edges_of(read_prior(tmp_path / "p.csv")) == {
        ("p", "a", "X", 2.0, 0),
        ("p", "b", "X", 3.0, 0),
    }


def test_names_and_paths(tmp_path):
    one = write(table(("a", "X")), tmp_path / "one.tsv")
    odd = write(table(("b", "X")), tmp_path / "k=v.tsv")
    assert list(read_prior(f"motif={one}").layers) == ["motif"]
    assert list(read_prior(str(odd)).layers) == ["k=v"]
    assert list(read_prior(f"chip={odd}").layers) == ["chip"]
    both = read_prior([one, f"chip={odd}"])
    assert list(both.layers) == ["one", "chip"]
    assert pairs_of(both) == {("a", "X"), ("b", "X")}
    with pytest.raises(ValueError, match="two prior layers are named 'one'.*NAME=PATH"):
        read_prior([one, one])


def test_parquet_in_a_folder_named_like_a_partition(tmp_path):
    (tmp_path / "target=T").mkdir()
    path = write(table(("a", "X")), tmp_path / "target=T" / "p.parquet")
    assert pairs_of(read_prior(path)) == {("a", "X")}


def test_notes_carry_the_layer(tmp_path):
    one = write(table(("a", "X", 1), ("b", "X", 0)), tmp_path / "one.tsv")
    two = write(table(("a", "X", 1), ("a", "X", 2)), tmp_path / "two.tsv")
    notes = read_prior([one, two]).notes
    assert [note.split(":")[0] for note in notes] == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.tsv", b"", "is empty; needs source,target"),
        ("p.tsv", b"\n\n", "is empty"),
        ("p.tsv", b"source\ttarget\n", "has no rows"),
        ("p.csv", b"gene_short_name,a\n", "has no rows"),
        ("p.tsv", b"GATA1\tKLF1\n", "found columns 'GATA1', 'KLF1'"),
        ("p.tsv", b"source,target\na,X\n", "separated by commas"),
        ("p.csv", b"source\ttarget\na\tX\n", "separated by tabs"),
        ("p.csv", b"source;target\na;X\n", "separated by semicolons"),
        ("p.csv", b"source,target\n1,a,X\n", "the header has 2 columns, the rows have 3"),
        ("p.csv", b"source,target\na,X\na,X,Y\n", "cannot be read as .csv"),
        ("p.csv", b"source,target,weight\na,X,1\nb,X\n", "the weight in data row 2 is"),
        ("p.csv", b"source,target,weight\na,X,\n", "the weight in data row 1 is ''"),
        ("p.csv", b"source,target,weight\na,X,nan\n", "the weight in data row 1 is 'nan'"),
        ("p.csv", b"source,target,weight\na,X,1\na,Y,inf\n", "the weight in data row 2 is 'inf'"),
        ("p.csv", b"source,target\na,X\n,X\n", "the source name in data row 2 is empty"),
        ("p.csv", b"source,target\n\xff\xfe,X\n", "cannot be read as .csv"),
        ("p.tsv.gz", b"source\ttarget\na\tX\n", "cannot be read as .tsv.gz"),
        (
            "p.tsv.gz",
            gzip.compress(b"source\ttarget\na\tX\n" * 99, mtime=0)[:-20],
            "cannot be read as",
        ),
        ("p.parquet", b"source\ttarget\n", "cannot be read as .parquet"),
        ("p.pkl", b"x", "wrong suffix; needs .tsv, .csv, .txt, .sif, .gmt (also"),
        ("p", b"x", "wrong suffix"),
    ],
)
def test_files_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_prior(tmp_path / name)
    text = one_line(error)
    assert message in text
    assert name in text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.tsv", "'absent.tsv' does not exist"),
        ("motif=absent.tsv", "'absent.tsv' does not exist"),
        ("a/k=v/absent.tsv", "absent.tsv' does not exist"),
        ("=absent.tsv", "lacks a name or a path"),
        ("motif=", "lacks a name or a path"),
        ([], "no prior file given"),
    ],
)
def test_paths_refused(source, message):
    with pytest.raises(ValueError) as error:
        read_prior(source)
    assert message in one_line(error)


def test_a_folder_is_no_prior(tmp_path):
    (tmp_path / "p.tsv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        read_prior(tmp_path / "p.tsv")


# --- aligning ---------------------------------------------------------------------------------

names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=4
).filter(lambda name: name == name.strip() and name)
few = st.sampled_from(["a", "b", "c", "A", "é", "NA"])
weights = st.floats(1e-3, 1e3)
rows_of = st.lists(
    st.tuples(few, few, weights, st.sampled_from([-1, 0, 1])), min_size=1, max_size=25
)


@given(st.dictionaries(st.tuples(names, names), st.tuples(weights, st.sampled_from([-1, 0, 1])),
                       min_size=1, max_size=12))  # fmt: skip
def test_edges_of_distinct_pairs_come_back(pairs):
    rows = [(*pair, *value) for pair, value in pairs.items()]
    prior = Prior.from_edges(table(*rows), name="m")
    assert edges_of(prior) == {("m", *row) for row in rows}
    assert prior.n_edges == len(prior.edges) == len(rows)
    again = Prior.from_edges(prior.edges, name="m")
    pd.testing.assert_frame_equal(again.edges, prior.edges)


@given(rows_of)
def test_duplicates_by_the_naive_rule(rows):
    prior = Prior.from_edges(table(*rows))
    expected = {}
    for source, target, weight, sign in rows:
        largest, signs = expected.get((source, target), (0.0, set()))
        expected[source, target] = max(largest, weight), signs | {sign}
    assert {(s, t): (w, g) for _, s, t, w, g in edges_of(prior)} == {
        pair: (weight, 0 if {1, -1} <= signs else sum(signs))
        for pair, (weight, signs) in expected.items()
    }
    order = list(zip(prior.edges["target"], prior.edges["source"], strict=True))
    assert order == sorted(order)


@given(rows_of, st.randoms())
def test_order_of_rows_does_not_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    one, two = Prior.from_edges(table(*rows)), Prior.from_edges(table(*shuffled))
    pd.testing.assert_frame_equal(one.edges, two.edges)
    assert one.notes == two.notes


@given(
    st.lists(rows_of, min_size=1, max_size=3),
    st.permutations(["a", "b", "c", "A", "é", "NA", "absent"]),
    st.permutations(["a", "b", "c", "A", "é", "NA", "absent", "zz"]),
    st.integers(0, 7),
    st.integers(0, 8),
)
def test_align_is_the_naive_loop(layers, regulators, targets, q, p):
    regulators, targets = regulators[:q], targets[:p]
    prior = Prior.combine(
        Prior.from_edges(table(*rows), name=f"layer{i}") for i, rows in enumerate(layers)
    )
    aligned = prior.align(regulators, targets)
    dense = {name: np.zeros((q, p)) for name in prior.layers}
    signs = {}
    for layer, source, target, weight, sign in edges_of(prior):
        if source in regulators and target in targets:
            at = regulators.index(source), targets.index(target)
            dense[layer][at] = weight
            signs.setdefault(at, set()).add(sign)
    expected_sign = np.zeros((q, p))
    for at, found in signs.items():
        expected_sign[at] = 0 if {1, -1} <= found else sum(found)
    np.testing.assert_array_equal(aligned.dense(), sum(dense.values()))
    np.testing.assert_array_equal(aligned.dense(aligned.sign), expected_sign)
    for name, values in dense.items():
        np.testing.assert_array_equal(aligned.dense(aligned.layers[name]), values)
    support = np.zeros((q, p), bool)
    support[tuple(np.array(list(signs), int).reshape(-1, 2).T)] = True
    np.testing.assert_array_equal(aligned.support(), support)
    # The form: compressed by target, ascending within each, every stored edge real.
    assert aligned.indptr.shape == (p + 1,)
    assert (aligned.indptr[0], aligned.indptr[-1]) == (0, len(aligned.index) if p else 0)
    for j in range(p):
        assert np.all(np.diff(aligned.index[aligned.indptr[j] : aligned.indptr[j + 1]]) > 0)
    assert np.all(aligned.weight > 0)
    kinds = [aligned.indptr.dtype, aligned.index.dtype, aligned.weight.dtype, aligned.sign.dtype]
    assert kinds == [np.int64, np.int32, np.float64, np.int8]


def test_align_counts_codes_beyond_32_bits():
    """Positions multiply to more than 2^31."""
    q, p = 70_000, 70_000
    regulators = np.char.add("r", np.arange(q).astype(str))
    targets = np.char.add("t", np.arange(p).astype(str))
    prior = Prior.from_edges(
        table((regulators[-1], targets[-1], 2.0), (regulators[0], targets[-1], 1.0))
    )
    aligned = prior.align(regulators, targets)
    assert aligned.index.tolist() == [0, q - 1]
    assert aligned.indptr[[0, p - 1, p]].tolist() == [0, 0, 2]


def test_align_refuses_a_name_given_twice():
    prior = Prior.from_edges(table(("a", "X")))
    with pytest.raises(ValueError, match="targets must be unique.*'X'"):
        prior.align(["a"], ["X", "Y", "X"])
    with pytest.raises(ValueError, match="regulators must be a list of names"):
        prior.align("a", ["X"])


# --- resolving --------------------------------------------------------------------------------

FATES = [
    "edges used",
    "edges dropped: source not measured",
    "edges dropped: target not measured",
    "edges dropped: self-edge",
    "edges dropped: not requested",
]


def example():
    return Prior.from_edges(
        table(("a", "X"), ("b", "X"), ("gone", "Y"), ("a", "Gone"), ("a", "a"), ("b", "Y"))
    )


def test_resolve_with_a_hard_mask():
    regulators, targets, report = resolve(example(), ["b", "a", "X", "Y", "Z"])
    assert regulators.tolist() == ["a", "b"]
    assert targets.tolist() == ["X", "Y", "a"]
    assert report.lines() == [
        "prior: 2 of 3 regulators and 3 of 4 targets are measured; 3 of 6 edges usable",
        "1 of 3 regulators in the prior is not measured (gone)",
        "1 of 4 targets in the prior is not measured (Gone)",
        "2 of 5 measured genes are the target of no prior edge (Z, b)",
        "1 of 3 targets is without a candidate regulator in the prior, so no edge can be found (a)",
        "1 prior edge dropped: source not measured (gone -> Y)",
        "1 prior edge dropped: target not measured (a -> Gone)",
        "1 prior edge dropped: self-edge (a -> a)",
    ]
    assert str(report) == "\n".join(report.lines())


def test_resolve_without_a_mask_takes_every_gene():
    regulators, targets, report = resolve(example(), ["b", "a", "X", "Y", "Z"], hard_mask=False)
    assert regulators.tolist() == ["a", "b"]
    assert targets.tolist() == ["X", "Y", "Z", "a", "b"]
    assert report.count("target without candidates") == 0


def test_resolve_what_was_asked_for():
    regulators, targets, report = resolve(
        example(), ["a", "b", "X", "Y", "Z"], ["b", "Z", "nobody"], ["X", "Z", "nowhere", "never"]
    )
    assert regulators.tolist() == ["Z", "b"]
    assert targets.tolist() == ["X", "Z"]
    entries = {entry.kind: entry for entry in report.entries}
    assert entries["requested regulators not measured"].examples == ("nobody",)
    assert entries["requested regulators without prior edge"].examples == ("Z",)
    assert entries["requested targets not measured"].examples == ("never", "nowhere")
    assert entries["target without candidates"].examples == ("Z",)
    assert entries["edges used"].count == 1  # b -> X
    assert entries["edges dropped: not requested"].examples == ("a -> X", "b -> Y")


genes_of = st.sets(st.sampled_from(["a", "b", "c", "A", "é", "NA", "other"]), min_size=1)


@pytest.mark.filterwarnings("ignore::unigrn.UnigrnWarning")  # of hints on names
@given(rows_of, genes_of, st.none() | genes_of, st.none() | genes_of, st.booleans(), st.booleans())
def test_every_edge_has_one_fate(rows, genes, regulators, targets, hard_mask, self_edges):
    prior = Prior.combine(
        [Prior.from_edges(table(*rows), name="a"), Prior.from_edges(table(*rows[:1]), name="b")]
    )
    try:
        chosen, reached, report = resolve(
            prior,
            sorted(genes),
            regulators and sorted(regulators),
            targets and sorted(targets),
            hard_mask,
            self_edges,
        )
    except AlignmentError as error:
        assert "\n" not in str(error)
        return
    assert sum(report.count(kind) for kind in FATES) == prior.n_edges
    aligned = prior.align(chosen, reached)
    loops = (chosen[aligned.index] == reached[aligned.target]).sum()
    assert report.count("edges used") == len(aligned.index) - (0 if self_edges else loops)
    assert report.count("summary") == report.count("edges used")
    for what, own in (("regulators", prior.regulators), ("targets", prior.targets)):
        assert report.count(f"{what} measured") == len(set(own) & genes)
        assert report.count(f"{what} not measured") == len(set(own) - genes)
    assert chosen.tolist() == sorted(set(regulators or prior.regulators) & genes)
    default = set(prior.targets) if hard_mask else genes
    assert reached.tolist() == sorted(set(targets or default) & genes)


def test_notes_come_last_and_the_report_is_plain_data():
    prior = Prior.from_edges(table(("a", "X", 1), ("a", "X", 2)), name="m")
    report = resolve(prior, ["a", "X"])[2]
    assert report.entries[-1].kind == "note"
    assert report.lines()[-1] == prior.notes[0]
    more = report.add("constant genes", 7, "7 genes are constant", (f"g{i}" for i in range(7)))
    assert more.lines()[-1] == "7 genes are constant (g0, g1, g2, g3, g4, ...)"
    assert len(report.entries) + 1 == len(more.entries)
    plain = json.loads(json.dumps(more.to_dict()))
    assert plain["entries"][0]["kind"] == "summary"
    assert plain["entries"][-1] == {
        "kind": "constant genes",
        "count": 7,
        "message": "7 genes are constant",
        "examples": ["g0", "g1", "g2", "g3", "g4"],
    }
    assert AlignmentReport().lines() == []


def wide(regulators, targets):
    return Prior.from_dict({target: regulators for target in targets})


SYMBOLS = [f"GENE{chr(65 + i)}{chr(65 + j)}" for i in range(10) for j in range(10)]
ENSEMBL = [f"ENSG{i:011d}" for i in range(100)]


@pytest.mark.parametrize(
    ("prior_names", "genes", "message"),
    [
        (SYMBOLS, [name.title() for name in SYMBOLS],
         r"5 of 5 prior names would match if letter case were ignored \(GENEAA / Geneaa"),
        (ENSEMBL, [f"{name}.7" for name in ENSEMBL], "would match without version suffixes"),
        ([f"{name}.4" for name in ENSEMBL], [f"{name}.7" for name in ENSEMBL],
         "would match without version suffixes"),
        ([f"{name}.4" for name in ENSEMBL], [name.lower() for name in ENSEMBL],
         "without version suffixes and letter case"),
        (ENSEMBL, SYMBOLS, "the prior names look like Ensembl identifiers, the gene names do not"),
        (SYMBOLS, ENSEMBL, "the gene names look like Ensembl identifiers, the prior names do not"),
        (SYMBOLS, [f"other{i}" for i in range(50)], "use one species, annotation"),
    ],
)  # fmt: skip
def test_foreign_vocabularies_are_explained(prior_names, genes, message):
    with pytest.raises(AlignmentError, match=message) as error:
        resolve(wide(prior_names[:5], prior_names[5:]), genes)
    text = one_line(error)
    assert text.startswith("no regulator of the prior is measured: 0 of 5 regulators and 0 of 95")
    shown = 1 if "would match" in text and len(genes[0]) > 12 else 3
    for name in [*sorted(prior_names)[:shown], *sorted(genes)[:shown]]:
        assert name in text
    assert len(text) <= 300


def test_overlap_is_judged_by_the_larger_share():
    genome = wide(["r0", "r1"], [f"g{i}" for i in range(4000)])
    panel = ["r0", *(f"g{i}" for i in range(20))]
    assert len(resolve(genome, panel)[1]) == 20  # a small panel, all of it in the prior
    small = wide(["r0"], ["g0", "g1"])
    atlas = ["r0", "g0", *(f"x{i}" for i in range(4000))]
    assert len(resolve(small, atlas)[1]) == 1  # a small prior, most of it measured
    strangers = ["r0", "g0", *(f"x{i}" for i in range(4000))]
    with pytest.raises(AlignmentError, match="the prior hardly fits the data: 1 of 2 regulators"):
        resolve(genome, strangers)


def test_a_hard_mask_needs_a_measured_target():
    prior = wide(["a"], ["X", "Y"])
    with pytest.raises(AlignmentError, match="no target of the prior is measured"):
        resolve(prior, ["a", "b"])
    assert resolve(prior, ["a", "b"], hard_mask=False)[1].tolist() == ["a", "b"]


def test_swapped_columns_are_noticed():
    swapped = wide([f"g{i}" for i in range(60)], ["TF1", "TF2"])
    genes = ["TF1", "TF2", *(f"g{i}" for i in range(60))]
    with pytest.warns(UnigrnWarning, match="source and target columns look swapped"):
        report = resolve(swapped, genes)[2]
    hints = [entry.message for entry in report.entries if entry.kind == "hint"]
    assert hints == [
        "the prior has 60 regulators for 2 targets: its source and target columns look swapped "
        "(a dictionary is {target: regulators})"
    ]
    assert not resolve(wide([f"g{i}" for i in range(15)], ["TF1", "TF2"]), genes)[2].count("hint")
    assert not resolve(wide(["g1", "g2"], ["TF1", "TF2"]), genes)[2].count("hint")
    with pytest.raises(AlignmentError, match="columns look swapped"):
        resolve(swapped, ["TF1", "TF2"])


def test_partial_overlap_gives_a_hint():
    prior = wide(SYMBOLS[:10], SYMBOLS[10:])
    genes = [name if i % 4 else name.lower() for i, name in enumerate(SYMBOLS)]
    with pytest.warns(UnigrnWarning, match="a further 25 of 100 names"):
        report = resolve(prior, genes)[2]
    (hint,) = [entry for entry in report.entries if entry.kind == "hint"]
    assert (hint.count, hint.examples[0]) == (25, "GENEAA / geneaa")
    assert (
        "a further 25 of 100 names in the prior would match if letter case were ignored"
        in hint.message
    )
    nearly = [SYMBOLS[0].lower(), *SYMBOLS[1:]]  # one in a hundred is not worth a word
    assert resolve(prior, nearly)[2].count("hint") == 0
    hardly = [name.lower() if i > 10 else name for i, name in enumerate(SYMBOLS)]
    with pytest.warns(UnigrnWarning, match="usable now: 10 of 900 prior edges"):
        resolve(prior, hardly)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda name: name.replace("-", "."), "and a leading X. did not count"),
        (lambda name: "X" + name.replace("-", "."), "and a leading X. did not count"),
        (lambda name: name.replace("-", "_"), "and a leading X. did not count"),
        (lambda name: f" {name}", "without the blanks around them"),
        (lambda name: name.replace("-", ".").lower(), "blanks and letter case did not count"),
    ],
)
@pytest.mark.parametrize("half", [False, True])
def test_names_that_another_program_changed(change, words, half):
    written = [f"{i}HLA-{i}" for i in range(40)]
    genes = [name if half and i % 2 else change(name) for i, name in enumerate(written)]
    prior = wide(written[:4], written[4:])
    if half:
        with pytest.warns(UnigrnWarning, match=words):
            report = resolve(prior, genes)[2]
        assert report.count("hint") == 20
    else:
        with pytest.raises(AlignmentError, match=words) as error:
            resolve(prior, genes)
        assert len(one_line(error)) <= 300


def test_dates_that_were_genes():
    names = [f"g{i}" for i in range(40)]
    prior = wide(["g0", "g1"], [*names[2:], "1-Sep", "2-Mar"])
    with pytest.warns(UnigrnWarning, match=r"2 names look like dates .*\(1-Sep, 2-Mar\)"):
        resolve(prior, [*names, "SEPT1", "MARCH2"])
    assert resolve(prior, names)[2].count("hint") == 0  # no such gene is measured
    assert resolve(prior, [*names, "1-Sep", "2-Mar", "SEPT1"])[2].count("hint") == 0


def test_names_that_do_not_print_are_escaped_where_they_are_shown():
    prior = wide(["a"], ["X", "b\x1b[31m", "c" * 500])
    lines = resolve(prior, ["a", "X"])[2].lines()
    assert all(line.isprintable() and len(line) < 300 for line in lines)
    assert any("b\\x1b[31m" in line for line in lines)


def test_digits_after_a_dot_may_tell_genes_apart():
    prior = wide(["Y74C9A.2"], [f"Y74C9A.{i}" for i in range(3, 50)])
    report = resolve(prior, [f"Y74C9A.{i}" for i in (2, *range(20, 60))])[2]
    assert report.count("hint") == 0


def test_requests_that_cannot_be_met():
    genes = ["a", "b", "X", "Y"]
    with pytest.raises(AlignmentError, match="none of the 2 requested regulators") as error:
        resolve(example(), genes, regulators=["A", "B"])
    assert "letter case" in one_line(error)
    with pytest.raises(AlignmentError, match="none of the 1 requested targets"):
        resolve(example(), genes, targets=["nowhere"])
    with pytest.raises(ValueError, match="list of requested targets is empty"):
        resolve(example(), genes, targets=[])
    with pytest.raises(ValueError, match="must be a list of names, got the single text 'a'"):
        resolve(example(), genes, regulators="a")
    with pytest.raises(ValueError, match="no measured gene"):
        resolve(example(), [])


def test_importing_stays_light():
    program = (
        "import sys, unigrn.prior\n"
        "print([name for name in ('pandas', 'pyarrow', 'anndata') if name in sys.modules])"
    )
    assert run_python(program) == "[]\n"


def run_python(program, **env):
    env["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_results_do_not_depend_on_the_hash_seed():
    program = (
        "from unigrn.prior import Prior, resolve\n"
        "names = [f'g{i}' for i in range(40)]\n"
        "prior = Prior.from_dict({name: set(names[:9]) for name in names})\n"
        "print(prior.edges.to_csv(), resolve(prior, set(names[5:]))[2].to_dict())"
    )
    outputs = {run_python(program, PYTHONHASHSEED=seed) for seed in ("1", "2")}
    assert len(outputs) == 1


# --- recorded data ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "edges", "used", "missing"),
    [("three_clusters", 9492, 9310, "ABSENT"), ("edge_cases", 218, 193, "ABSENT")],
)
def test_recorded_celloracle_priors(shared, name, edges, used, missing):
    import anndata

    folder = shared / "fixtures" / "celloracle" / name
    prior = read_prior(folder / "prior.tsv")
    assert prior.n_edges == edges
    genes = anndata.read_h5ad(folder / "expression.h5ad").var_names
    regulators, targets, report = resolve(prior, genes)
    assert len(regulators) == len(prior.regulators) - 1
    assert len(targets) == len(prior.targets) - 1
    assert report.count("edges used") == used
    assert sum(report.count(kind) for kind in FATES) == edges
    examples = {entry.kind: entry.examples for entry in report.entries}
    assert examples["regulators not measured"] == (missing,)
    assert examples["targets not measured"] == ("NOTMEASURED",)


@pytest.mark.parametrize(
    ("path", "regulators", "targets", "edges"),
    [
        ("bsubtilis/prior.tsv.gz", 153, 1530, 5100),
        ("bsubtilis/prior_randomsplit.tsv.gz", 153, 1487, 4922),
        ("hesc_scode_tf100/prior.tsv.gz", 47, 78, 173),
        ("mdc_beeline/prior_tfbs_human.tsv.gz", 63, 545, 1533),
        ("thp1_tf45/prior.tsv.gz", 28, 36, 74),
        ("yeast_stress/prior.tsv.gz", 136, 5176, 66118),
        ("yeast_stress/prior_ko_roy.tsv.gz", 268, 6015, 105315),
        ("yeast_stress/prior_motif_roy.tsv.gz", 197, 5509, 187250),
        ("yeast_stress/prior_yeastract2019.tsv.gz", 150, 3803, 11185),
    ],
)
def test_priors_of_the_data_sets(shared, path, regulators, targets, edges):
    prior = read_prior(shared / "datasets" / path)
    sizes = (len(prior.regulators), len(prior.targets), prior.n_edges)
    assert sizes == (regulators, targets, edges)  # as the data sets' own tables say


def test_signed_yeast_prior(shared):
    prior = read_prior(shared / "datasets" / "yeast_stress" / "prior.tsv.gz")
    assert (prior.edges["sign"] == -1).sum() == 17507
    assert (prior.edges["sign"] == 1).sum() == 66118 - 17507
