"""What unigrn writes, read by the programs it is written for; each test needs one of them.

They are not among the test dependencies, being large: `pip install decoupler igraph scanpy gseapy
pyscenic` has them.
"""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pandas as pd
import pytest

from unigrn import Network, exchange

GENES = ["TF1", "TF2", "g1", "g2", "g3", "g4", "g5", "g6"]
# What other packages say of themselves and of each other as they load is not ours.
pytestmark = pytest.mark.filterwarnings("default")


def needs(name: str):
    """Import a package, or skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)
        return importlib.import_module(name)


def build(groups: bool = False) -> Network:
    """Make a network of two regulators and their targets, in two groups or none."""
    rows = [
        (group, source, target, (1 if source == "TF1" else -1) * (place + 1.5 + shift))
        for shift, group in enumerate(["a", "b & c"] if groups else [None])
        for source, targets in (("TF1", GENES[2:7]), ("TF2", GENES[3:]))
        for place, target in enumerate(targets)
    ]
    edges = pd.DataFrame(rows, columns=["group", "source", "target", "weight"])
    edges["weight"] = edges["weight"].astype(np.float32)
    edges["score"] = edges["weight"].abs()
    if not groups:
        return Network(edges.drop(columns="group"), GENES[:2], GENES[2:])
    return Network(edges, GENES[:2], GENES[2:], ("a", "b & c"))


def test_decoupler_scores_regulators_by_the_table(tmp_path):
    decoupler = needs("decoupler")
    exchange.write(build(), "decoupler", tmp_path / "x.csv")
    net = pd.read_csv(tmp_path / "x.csv")
    values = np.array([[0, 0, 5, 6, 7, 8, 9, 1], [0, 0, 1, 1, 1, 1, 9, 9.0]])
    values = pd.DataFrame(values, index=["s1", "s2"], columns=GENES)
    scores, _ = decoupler.mt.ulm(values, net, tmin=3)
    assert set(scores.columns) == {"TF1", "TF2"}
    assert scores.loc["s1", "TF1"] > scores.loc["s2", "TF1"]


@pytest.mark.parametrize("groups", [False, True])
def test_igraph_and_networkx_read_the_graph(groups, tmp_path):
    igraph, networkx = needs("igraph"), needs("networkx")
    network = build(groups)
    network.write(tmp_path / "x.graphml")
    graph = igraph.Graph.Read_GraphML(str(tmp_path / "x.graphml"))
    other = networkx.read_graphml(tmp_path / "x.graphml")
    assert graph.is_directed() and graph.ecount() == len(network.edges)
    assert other.number_of_edges() == len(network.edges)
    names = graph.vs["name"]
    assert sorted(names) == sorted(GENES)
    keys = ["source", "target", "weight", *(["group"] if groups else [])]
    found = {
        (
            names[e.source],
            names[e.target],
            np.float32(e["weight"]),
            *([e["group"]] if groups else []),
        )
        for e in graph.es
    }
    assert found == set(network.edges[keys].itertuples(index=False, name=None))


@pytest.mark.parametrize("groups", [False, True])
def test_scanpy_reads_and_subsets_an_object_with_a_network(groups, tmp_path):
    scanpy = needs("scanpy")
    import anndata

    network = build(groups)
    values = np.random.default_rng(0).poisson(3, (20, 8)).astype("f4")
    adata = anndata.AnnData(values, var=pd.DataFrame(index=GENES))
    network.to_anndata(adata)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = scanpy.read_h5ad(tmp_path / "x.h5ad")
    scanpy.pp.log1p(back)
    few = back[:, ["TF1", "g2", "g5"]].copy()
    for key in adata.varp:
        whole = pd.DataFrame(adata.varp[key].toarray(), GENES, GENES)
        inner = whole.loc[few.var_names, few.var_names]
        np.testing.assert_array_equal(few.varp[key].toarray(), inner)
        assert np.count_nonzero(inner) == 2
    assert len(few.uns["unigrn"]["edges"]) == len(network.edges)


def test_gseapy_reads_the_gene_sets(tmp_path):
    gseapy = needs("gseapy")
    build().write(tmp_path / "x.gmt")
    sets = gseapy.parser.read_gmt(str(tmp_path / "x.gmt"))
    assert {name: set(genes) for name, genes in sets.items()} == {
        "TF1": set(GENES[2:7]),
        "TF2": set(GENES[3:]),
    }


def test_pyscenic_makes_modules_of_the_adjacencies(tmp_path):
    needs("pyscenic")
    utils = needs("pyscenic.utils")
    exchange.write(build(), "pyscenic", tmp_path / "x.tsv")
    adjacencies = pd.read_csv(tmp_path / "x.tsv", sep="\t")
    random = np.random.default_rng(0)
    values = pd.DataFrame(random.gamma(2.0, size=(30, 8)), columns=GENES)
    values[GENES[2:]] += 9 * values[["TF1"]].to_numpy() + 9 * values[["TF2"]].to_numpy()
    modules = utils.modules_from_adjacencies(
        adjacencies, values, min_genes=2, keep_only_activating=False
    )
    assert {m.transcription_factor for m in modules} == {"TF1", "TF2"}
    for source in ("TF1", "TF2"):  # targets that correlate with it are in its modules
        found = set().union(*(m.genes for m in modules if m.transcription_factor == source))
        assert found == {source, *adjacencies.loc[adjacencies["TF"] == source, "target"]}
