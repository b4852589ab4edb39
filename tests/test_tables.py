"""The reader of tables, and the parsers of their columns."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from unigrn import tables
from unigrn.names import read_names


def rows(path, **options):
    table = tables.read(path, **options)
    return [table.column_names, *map(list, zip(*(c.to_pylist() for c in table.columns)))]  # noqa: B905


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a,b\n1,x\n", [["a", "b"], ["1", "x"]]),
        (b"a,b", [["a", "b"]]),
        (b"\r\na,b\r\n\r\nNA,\r\n", [["a", "b"], ["NA", ""]]),
        (b'\xef\xbb\xbf"a\nx",b\n"1,\n2",3', [["a\nx", "b"], ["1,\n2", "3"]]),
        (b"a,a\n1,2\n", [["a", "a"], ["1", "2"]]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_text_is_read_as_it_is_written(tmp_path, data, expected, packed):
    path = tmp_path / ("x.csv.gz" if packed else "x.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    assert rows(path) == expected


def test_the_separator_is_that_of_the_suffix_or_of_the_caller(tmp_path):
    for name, separator in (("x.tsv", None), ("x.txt", None), ("x.csv", "\t")):
        (tmp_path / name).write_text("a\tb\n1,\t2\n")
        assert rows(tmp_path / name, separator=separator) == [["a", "b"], ["1,", "2"]]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.csv", b"", "empty"),
        ("x.csv", b"a,b\n1,2\n\n3\n", "the b in data row 2 is missing"),
        ("x.csv", b"a,b\n1,2\n3,4,5\n", "header has 2 columns, the rows have 3, as data row 2"),
        ("x.csv", b"a,b\n\xff,2\n", "not text in UTF-8"),
        ("x.csv.gz", b"a,b\n1,2\n", "[Nn]ot a gzipped file"),
        ("x.parquet", b"PAR1", "."),
    ],
)
def test_what_is_no_table_has_a_reason_of_one_line(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(tables.TableError, match=message) as error:
        tables.read(tmp_path / name)
    assert "\n" not in str(error.value)
    with pytest.raises(tables.TableError, match="No such file"):
        tables.read(tmp_path / "absent" / name)


def test_an_unnamed_index_is_no_column(tmp_path):
    table = pd.DataFrame({"a": [1, 2]}, index=[3, 7])
    table.to_parquet(tmp_path / "x.parquet")
    assert list(tables.frame(tables.read(tmp_path / "x.parquet")).columns) == ["a"]


@pytest.mark.parametrize("kind", [object, "category"])
def test_numbers_and_signs(kind):
    column = pd.Series([" 1e3", "NA", None, "0.1", "many", "+"], dtype=kind)
    values, wrong = tables.numbers(column)
    np.testing.assert_array_equal(values, [1000, np.nan, np.nan, 0.1, np.nan, np.nan])
    assert wrong.tolist() == [False] * 4 + [True] * 2
    values, wrong = tables.signs(pd.Series(["+", "-1", "", "2", "1.0", " - "], dtype=kind))
    np.testing.assert_array_equal(values, [1, -1, np.nan, 2, 1, -1])
    assert wrong.tolist() == [False, False, False, True, False, False]
    assert tables.numbers(pd.Series([1, 2], dtype=np.float32))[0].dtype == np.float32


def test_names_are_text_or_whole_numbers():
    names, codes = tables.names(pd.Series(["b", "", None, " a", "b", 7], dtype=object), "x")
    assert names.tolist() == [" a", "7", "b"]
    assert codes.tolist() == [2, -1, -1, 0, 2, 1]
    assert tables.names(pd.Series([" a", " "]), "x", strip=True)[0].tolist() == ["a"]
    for value in (1.5, True, ("a",)):
        with pytest.raises(ValueError, match="x .* names must be text"):
            tables.names(pd.Series([value], dtype=object), "x")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (' b\n"a"\n\nb\n', ["b", "a"]),
        ("target\nb\na\n", ["b", "a"]),
        ("fold\ttarget\n0\t b\n1\t\n2\ta\n", ["b", "a"]),
        ("fold,target\n0,b\n", ["b"]),
    ],
)
def test_lists_of_names(tmp_path, data, expected):
    (tmp_path / "x.txt").write_text(data)
    assert read_names(tmp_path / "x.txt") == expected


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "'=1", "''-x", "-1e"])
def test_formulas_do_not_run_and_come_back(text):
    kept = tables.guarded(text)
    assert kept[0] == "'"
    assert tables.unguarded(kept) == text


@pytest.mark.parametrize("text", ["", "-", "-1", "+2.5e3", "'", "'a", "5'-ND", "a=b", "NA"])
def test_what_is_no_formula_stays(text):
    assert tables.guarded(text) == text == tables.unguarded(text)


@pytest.mark.parametrize(
    ("name", "head", "piece", "message"),
    [
        ("x.tsv.gz", b"a\tb\n", b"\n" * 2**20, "unpacks to more than 128 MiB"),
        ("x.tsv.gz", b"a\tb\n1\t", b"x" * 2**20, "line of more than 16 MiB"),
        ("x.tsv.gz", b"", b"\0" * 2**20, "line of more than 16 MiB"),
        ("x.tsv.gz", b"a\tb\n", b"1\t2\n" * 2**18, "unpacks to more than 128 MiB"),
    ],
)
def test_what_unpacks_to_far_more_is_refused_early(tmp_path, name, head, piece, message):
    import tracemalloc

    with gzip.open(tmp_path / name, "wb", compresslevel=9) as file:
        file.write(head)
        for _ in range(140):
            file.write(piece)
    tracemalloc.start()
    try:
        with pytest.raises(tables.TableError, match=message):
            tables.read(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()


def test_long_lines_and_names_are_refused(tmp_path):
    (tmp_path / "x.txt").write_text("a\n" + "b" * 5000 + "\n")
    with pytest.raises(ValueError, match="a line of more than 2,000 characters"):
        read_names(tmp_path / "x.txt")
    (tmp_path / "x.tsv").write_text("a\tb\n1\t" + "b" * 2**24 + "\n")
    with pytest.raises(tables.TableError, match="a line of more than 16 MiB"):
        tables.read(tmp_path / "x.tsv")
    with pytest.raises(ValueError, match="has 1,001 characters, names may have 1,000") as error:
        tables.names(pd.Series(["x" * 1001]), "the name")
    assert len(str(error.value)) < 300


def test_broken_parquet_is_no_table(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    pd.DataFrame({"a": [f"name{i}" for i in range(99)]}).to_parquet(path)
    data = path.read_bytes()
    path.write_bytes(b"none" + data[4:])
    with pytest.raises(tables.TableError, match="does not begin as a parquet file"):
        tables.read(path)
    for place in range(4, len(data), 7):
        flipped = bytearray(data)
        flipped[place] ^= 0x55
        path.write_bytes(flipped)
        try:
            tables.load(path)
        except tables.TableError as error:
            assert len(str(error)) <= 200 and "\n" not in str(error)
    pq.write_table(pa.table({"a": [[1], [2]]}), path)
    with pytest.raises(tables.TableError, match="column 'a' holds list.*one value a row"):
        tables.read(path)


@pytest.mark.parametrize("suffix", [".tsv", ".csv.gz"])
def test_names_of_a_network_that_are_formulas_are_written_harmless(tmp_path, suffix):
    from unigrn import Network
    from unigrn.files import read_edges

    edges = pd.DataFrame(
        {"source": ["=cmd()", "-1"], "target": ["@x", "'+y"], "weight": [1.0, 2.0]}
    )
    network = Network(edges, regulators=["-1", "=cmd()"], targets=["'+y", "@x"])
    path = tmp_path / f"n{suffix}"
    network.write(path)
    text = tables.text(path)
    assert all(name in text for name in ("'=cmd()", "'@x", "''+y"))
    for table in (Network.read(path).edges, read_edges(path)):
        assert set(table["source"]) == {"=cmd()", "-1"}
        assert set(table["target"]) == {"@x", "'+y"}


def test_a_table_of_very_many_columns_is_refused(tmp_path):
    (tmp_path / "x.tsv").write_text("\t".join(f"c{i}" for i in range(300_000)) + "\n")
    with pytest.raises(tables.TableError, match="300,000 columns; needed 100,000 at most"):
        tables.read(tmp_path / "x.tsv")
