"""What people try first in Python, and the checks of the machine below."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import unigrn
from unigrn import backend

GENES = [f"G{i}" for i in range(8)]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    values = random.gamma(2.0, size=(40, 8))
    values[:, 3:] += values[:, :3] @ random.uniform(size=(3, 5))
    return pd.DataFrame(values, columns=GENES, index=[f"cell{i}" for i in range(40)])


@pytest.fixture(scope="module")
def prior():
    pairs = [(s, t) for s in GENES[:3] for t in GENES[3:]]
    return pd.DataFrame(pairs, columns=["source", "target"])


def test_a_table_of_cells_and_genes_is_data(table, prior):
    import anndata

    one = unigrn.infer(table, prior, "masked_ridge")
    other = unigrn.infer(anndata.AnnData(table), prior, "masked_ridge")
    pd.testing.assert_frame_equal(one.edges, other.edges)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t.T.reset_index(drop=True).T, {}, r"column 0; needed cells x genes.*\.T"),
        (lambda t: t.assign(kind="a"), {}, "'kind'.*numbers only"),
        (lambda t: t, {"groupby": "kind"}, "give AnnData"),
        (lambda t: pd.concat([t, t[["G0"]]], axis=1), {}, "G0"),
    ],
)
def test_a_table_that_is_none_of_cells_and_genes_is_refused(table, prior, change, options, message):
    with pytest.raises(ValueError, match=message):
        unigrn.infer(change(table), prior, "masked_ridge", **options)


def test_no_prior_is_one_where_the_method_needs_none(table):
    network = unigrn.infer(table, None, "full_ridge", regulators=GENES[:2])
    assert network.regulators.tolist() == GENES[:2]
    for method in ("celloracle", "netrex_cf", "linear_gaussian"):
        with pytest.raises(ValueError, match=f"method {method} needs prior.*give a prior"):
            unigrn.infer(table, None, method)


def test_evaluate_is_a_call_and_a_module(table, prior):
    network = unigrn.infer(table, prior, "masked_ridge")
    gold = prior.assign(label=np.arange(len(prior)) % 2)
    scores = unigrn.evaluate(network, gold)
    assert scores.to_dict() == unigrn.evaluate.evaluate(network, gold).to_dict()
    assert unigrn.evaluate.METRICS


def test_a_plan_too_large_for_the_machine_is_refused(table, prior, monkeypatch):
    with pytest.raises(ValueError, match=r"needs about .* GB of memory.*bags.*force=True"):
        unigrn.infer(table, prior, "celloracle", bags=10**9)
    monkeypatch.setattr("unigrn.planner.free_memory", lambda: None)  # not known: go on
    assert len(unigrn.infer(table, prior, "celloracle", bags=2).edges)


def test_the_memory_of_the_machine_is_known_where_the_system_says_it():
    free = backend.free_memory()
    assert free is None or free > 1e6


def test_the_limit_of_the_process_counts():
    resource = pytest.importorskip("resource")
    if jax.default_backend() != "cpu":
        pytest.skip("memory is that of the GPU")
    before = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("the system does not show what a process takes")
    pages = int(statm.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + (1 << 28), before[1]))
    try:
        free = backend.free_memory()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert free is not None and free <= 1 << 28


def test_the_largest_array_of_a_program_is_found_in_its_loops():
    def program(x):
        return jax.lax.fori_loop(0, 3, lambda _, y: jnp.outer(y, y).sum(0), x)

    closed = jax.make_jaxpr(program)(jnp.ones(100, jnp.float32))
    assert backend.largest_array(closed.jaxpr) == 100 * 100 * 4


@pytest.mark.parametrize(("value", "want"), [("1", 1), ("", None), ("0", None), ("x", None)])
def test_cores_follow_what_was_asked_for(monkeypatch, value, want):
    monkeypatch.setattr(backend, "_ASKED", "")
    allowed = backend.cores()
    monkeypatch.setattr(backend, "_ASKED", value)
    assert backend.cores() == (want or allowed)
    monkeypatch.setattr(backend, "_ASKED", "100000")
    assert backend.cores() == allowed


@pytest.fixture
def renamed():
    """Genes under other names: the prior's in a column of var."""
    rng = np.random.default_rng(0)
    names = ["TF1", "TF2", "g1", "g2", "g3", "g4"]
    var = pd.DataFrame({"symbol": names}, index=[f"ENSG{i:011d}" for i in range(6)])
    return anndata.AnnData(rng.normal(5, 1, (40, 6)).astype("f4"), var=var), {
        g: ["TF1", "TF2"] for g in names[2:]
    }


def test_names_that_stand_in_a_column_are_pointed_out_and_taken(renamed):
    adata, prior = renamed
    with pytest.raises(unigrn.prior.AlignmentError, match="--names symbol.*names='symbol'"):
        unigrn.infer(adata, prior, "masked_ridge")
    network = unigrn.infer(adata, prior, "masked_ridge", names="symbol")
    assert network.targets.tolist() == ["g1", "g2", "g3", "g4"]
    adata.var_names = ["TF1", "TF2", "g1", "g2", "x", "y"]
    with pytest.warns(unigrn.UnigrnWarning, match="4 of 6 names.*6 would be with --names symbol"):
        unigrn.infer(adata, prior, "masked_ridge")


def test_genes_of_raw_are_pointed_out_and_taken(renamed):
    whole, prior = renamed
    whole.var_names = whole.var["symbol"].tolist()
    del whole.var["symbol"]
    part = whole[:, :3].copy()
    part.raw = whole
    with pytest.warns(unigrn.UnigrnWarning, match=r"with --raw \(in Python raw=True\)"):
        assert len(unigrn.infer(part, prior, "masked_ridge").targets) == 1
    best = unigrn.infer(whole, prior, "masked_ridge")
    pd.testing.assert_frame_equal(
        unigrn.infer(part, prior, "masked_ridge", raw=True).edges, best.edges
    )


@pytest.mark.parametrize("asked", [{"names": "symbol"}, {"raw": True}])
def test_data_and_tables_have_no_columns_to_take_names_from(renamed, asked):
    adata, prior = renamed
    for given in (adata.to_df(), unigrn.Data.from_anndata(adata)):
        with pytest.raises(ValueError, match="layer, groupby, names and raw belong to AnnData"):
            unigrn.infer(given, prior, "masked_ridge", **asked)


# --- cores ----------------------------------------------------------------------------------------

EVERY_METHOD = """
import hashlib, warnings
warnings.simplefilter("ignore")
import numpy as np, pandas as pd, unigrn
from unigrn import methods
from unigrn.backend import cores
print(cores())
rng = np.random.default_rng(0)
tfs = rng.normal(size=(1200, 30))
values = np.c_[tfs, tfs @ rng.normal(size=(30, 170)) + rng.normal(size=(1200, 170))]
names = [f"g{i}" for i in range(200)]
edges = [(s, t, rng.random()) for s in names[:30] for t in names[30:] if rng.random() < 0.2]
prior = unigrn.Prior.from_edges(pd.DataFrame(edges, columns=["source", "target", "weight"]))
frame = pd.DataFrame((values - values.min()).astype("f4"), columns=names)
# One of methods that differ in settings alone, of factor models, and of maps.
alike = {"netrex_cf_sketch", "elastic_net", "masked_ridge", "bitfam", "tiger", "otter"}
alike |= {"celloracle_bayesian", "prior_lasso", "prior_only", "partial_correlation"}
more = {"netrex_cf": {"factors": 10, "sweeps": 3}, "linear_gaussian": {"max_iterations": 3},
        "giraffe": {"max_iterations": 20}, "pmf_grn": {"max_iterations": 5},
        "symphony": {"max_iterations": 5, "draws": 2}, "netrex": {"sweeps": 5},
        "dictys": {"max_iterations": 5},
        "dagma": {"regulators": names[:24], "targets": names[:24]}}
for name in sorted(set(methods.names()) - alike):
    given = frame.round() if name == "poisson_glm" else frame
    if name == "scode":
        few = frame.iloc[:, :8]
        given = unigrn.Data.from_arrays(few.to_numpy(), few.columns)
        given = given.with_extra(pseudotime=few.iloc[:, 0])
    if name == "dictys":
        given = frame.iloc[:, 20:40].round()
    if name == "symphony":
        few = frame.iloc[:, 20:40]
        given = unigrn.Data.from_arrays(few.to_numpy(), few.columns)
        peak = np.arange(400).reshape(20, 20) % 5
        peak = unigrn.along(peak, "regulators", "targets", names=(few.columns, few.columns))
        given = given.with_extra(peak=peak, bulk=unigrn.along(np.ones((5, 2)), "peaks", "bulks"))
    known = None if name == "scode" else prior
    network = unigrn.infer(given, known, name, **more.get(name, {}))
    print(name, hashlib.sha256(network.edges.to_csv().encode()).hexdigest())
"""


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores, and a system that keeps a process to one",
)
def test_one_core_and_many_give_the_same_bytes_by_every_kind_of_method():
    """XLA splits sums among its threads: their number must not follow the cores."""
    printed = []
    for many in (1, None):
        keep = f"import os; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{many}])\n"
        environment = {k: v for k, v in os.environ.items() if k != "NPROC"}
        done = subprocess.run(
            [sys.executable, "-c", keep + EVERY_METHOD],
            env={**environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=1500,
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.splitlines())
    assert printed[0][0] == "1" and int(printed[1][0]) > 1
    assert printed[0][1:] == printed[1][1:] and len(printed[0]) > 8


@pytest.mark.parametrize("method", ["masked_lasso", "netrex_cf"])
@pytest.mark.parametrize("cells", [1, 30])
def test_a_network_without_edges_says_so(method, cells, prior):
    values = pd.DataFrame(np.full((cells, 8), 3.5), columns=GENES)
    with pytest.warns(unigrn.UnigrnWarning, match="no edge: every coefficient is 0.*constant"):
        network = unigrn.infer(values, prior, method)
    assert network.edges.empty and len(network.certificate)
