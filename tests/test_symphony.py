"""Symphony as reconstructed: densities of its sites, what they depend on, and fits of groups."""

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import unigrn
from unigrn import along
from unigrn.methods.symphony import Bulk, Cells, Regulation, bartlett, sums, symphony
from unigrn.processes import Normal
from unigrn.processes.uncertain import Latent
from unigrn.terms import Blocks, View
from unigrn.verify import symphony_log_joint

pytestmark = pytest.mark.usefixtures("x64")
COVARIANCES = ("intended", "released")


@pytest.fixture(scope="module")
def recorded(shared):
    path = shared / "fixtures" / "symphony" / "log_joint_reconstruction.npz"
    with np.load(path) as file:
        return path, {name: file[name] for name in file.files}


@pytest.mark.parametrize("setting", ["s0", "s1", "s2", "s3", "s4"])
def test_log_densities_are_those_of_the_reference(recorded, setting):
    path, file = recorded
    got = symphony_log_joint(path, setting)
    want = {k.split("/")[-1]: float(v) for k, v in file.items() if k.startswith(f"{setting}/logp/")}
    assert set(got) == set(want)
    for name, value in want.items():
        assert got[name] == pytest.approx(value, rel=1e-8 if name[:2] == "X_" else 1e-10), name


def drawn(seed=0, genes=5):
    """Network, Bartlett's variables and scales of one group."""
    rng = np.random.default_rng(seed)
    network = rng.normal(size=(genes, genes))
    normal = rng.normal(size=genes * (genes + 1) // 2)
    chi = rng.chisquare(genes + 1 - np.arange(genes))
    return tuple(map(jnp.asarray, (network, normal, chi, np.zeros(genes))))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_cells_do_not_see_the_direction_or_the_sign_of_a_network(covariance):
    """The covariance depends on |R + R'| alone: what orients edges is the prior."""
    network, *rest = drawn()
    mean = jnp.zeros(len(network))
    want = Cells(mean, network, *rest, covariance).factor()
    for other in (network.T, -network):
        got = Cells(mean, other, *rest, covariance).factor()
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_the_root_of_the_squared_network_is_a_root():
    network, normal, chi, scale = drawn()
    mean, genes = jnp.zeros(5), 5
    whole = np.asarray(network + network.T) @ np.asarray(network + network.T)
    one = (network, 0 * normal, 0 * chi + 1, scale)
    root = np.asarray(Cells(mean, *one, "intended").factor()) * np.sqrt(genes + 1)
    np.testing.assert_allclose(root @ root.T, whole, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(root, np.linalg.cholesky(whole), rtol=1e-9, atol=1e-9)
    other = np.asarray(Cells(mean, *one, "released").factor()) * np.sqrt(genes + 1)
    np.testing.assert_allclose(other.T @ other, whole, rtol=1e-9, atol=1e-9)
    assert np.abs(other @ other.T - whole).max() > 0.3 * np.abs(whole).max()


def test_the_intended_covariance_has_the_squared_network_as_its_mean():
    network, *_ = drawn()
    genes, draws = len(network), 40_000
    rng = np.random.default_rng(1)
    normal = jnp.asarray(rng.normal(size=(draws, genes * (genes + 1) // 2)))
    chi = jnp.asarray(rng.chisquare(genes + 1 - np.arange(genes), (draws, genes)))
    whole, means = np.asarray(network + network.T), {}
    for covariance in COVARIANCES:

        def factor(normal, chi, covariance=covariance):
            zero = jnp.zeros(genes)
            return Cells(zero, network, normal, chi, zero, covariance).factor()

        found = np.asarray(jax.jit(jax.vmap(factor))(normal, chi))
        means[covariance] = np.einsum("nij,nkj->ik", found, found) / draws
    size = np.abs(whole @ whole).max()
    assert np.abs(means["intended"] - whole @ whole).max() < 0.03 * size
    assert np.abs(means["released"] - whole @ whole).max() > 0.3 * size


def test_bartletts_variables_have_the_density_of_a_wishart_matrix():
    """A change of variables: S = A A', |dS / dA| = 2^D prod A_ii^(D - i), i from 0."""
    genes = 4
    _, normal, chi, _ = drawn(3, genes)
    lower = np.asarray(bartlett(normal, chi))
    at = np.tril_indices(genes, -1)
    density = stats.norm.logpdf(lower[at]).sum()
    free = genes + 1 - np.arange(genes)
    diagonal = np.diag(lower)
    density += (stats.chi2(free).logpdf(diagonal**2) + np.log(2 * diagonal)).sum()
    density -= genes * np.log(2) + ((genes - np.arange(genes)) * np.log(diagonal)).sum()
    want = stats.wishart(genes + 1, np.eye(genes)).logpdf(lower @ lower.T)
    assert density == pytest.approx(want, rel=1e-9)


def test_cells_by_their_sums_are_cells_one_by_one():
    rng = np.random.default_rng(2)
    cells, weight = rng.normal(size=(30, 5)), rng.integers(0, 3, 30).astype(float)
    mean = rng.normal(size=5)
    given = Cells(jnp.asarray(mean), *drawn(4))
    factor = np.asarray(given.factor())
    want = weight @ stats.multivariate_normal(mean, factor @ factor.T).logpdf(cells)
    got = given.log_prob(sums(jnp.asarray(cells), jnp.asarray(weight)))
    assert float(got) == pytest.approx(want, rel=1e-10)


def test_expectations_in_closed_form_are_means_of_draws():
    """E log p(R | p) and E log p(C | p) of log-normal accessibility, within 5 standard errors."""
    rng = np.random.default_rng(5)
    loc, sd = rng.normal(1, 0.3, (2, 6)), rng.uniform(0.1, 0.5, (2, 6))
    draws = np.exp(loc + sd * rng.normal(size=(20_000, 2, 6)))
    network, sign = rng.normal(size=(2, 6)), rng.integers(-1, 2, (2, 6)).astype(float)
    latent = Latent(jnp.asarray(loc), jnp.asarray(sd), "accessibility", "exp")
    got = float(jnp.sum(Normal(jnp.asarray(sign) * latent, 0.3).log_prob(jnp.asarray(network))))
    each = stats.norm(sign * draws, 0.3).logpdf(network).sum(axis=(1, 2))
    assert abs(got - each.mean()) < 5 * each.std() / len(each) ** 0.5
    bulk, share = rng.gamma(4, 1, (6, 3)), np.array([0.7, 0.3])
    view = View(
        weight=jnp.asarray([[7.0], [3.0]]), extra={"bulk": jnp.asarray(np.stack([bulk, bulk]))}
    )
    blocks = Blocks(theta=None, accessibility=jnp.asarray(loc), log_sd_accessibility=jnp.log(sd))
    got = -float(Bulk(0.5)(blocks, view, None))
    mixed = np.einsum("k,nki->ni", share, draws)[:, :, None]
    each = stats.norm(mixed, 0.5).logpdf(bulk).sum(axis=(1, 2))
    assert abs(got - each.mean()) < 5 * each.std() / len(each) ** 0.5


# --- fits -----------------------------------------------------------------------------------------

SIZES, GENES, PEAKS = (300, 200, 100), 6, 8


def simulated(seed=0):
    """Cells of three groups from the process, and their networks."""
    rng = np.random.default_rng(seed)
    names, share = [f"g{i}" for i in range(GENES)], np.array(SIZES) / sum(SIZES)
    accessible = rng.gamma(4.5, 1, (3, PEAKS))
    sign = (rng.random((GENES, GENES)) < 0.4) * rng.choice([-1, 1], (GENES, GENES))
    np.fill_diagonal(sign, 1)
    peak = rng.integers(0, PEAKS, (GENES, GENES))
    cells, networks = [], []
    for k, size in enumerate(SIZES):
        network = sign * accessible[k][peak] + 0.05 * rng.normal(size=sign.shape)
        numbers = drawn(10 * seed + k, GENES)[1:3]
        scale = jnp.asarray(rng.normal(-2, 0.3, GENES))
        given = Cells(jnp.zeros(GENES), jnp.asarray(network), *numbers, scale)
        noise = rng.normal(size=(size, GENES))
        cells.append(rng.normal(size=GENES) + noise @ np.asarray(given.factor()).T)
        networks.append(network)
    source, target = np.nonzero(sign)
    edges = pd.DataFrame(
        {
            "source": np.array(names)[source],
            "target": np.array(names)[target],
            "sign": sign[source, target],
        }
    )
    bulk = (share @ accessible)[:, None] + 0.01 * rng.normal(size=(PEAKS, 3))
    groups = np.repeat(["a", "b", "c"], SIZES)
    return np.concatenate(cells), groups, names, edges, bulk, peak, networks, share


def test_networks_and_the_accessibility_of_groups_come_back_from_one_bulk():
    values, groups, names, edges, bulk, peak, networks, share = simulated()
    data = unigrn.Data.from_arrays(values, names, groups=groups, dtype="float64").with_extra(
        bulk=along(bulk, "peaks", "replicates"),
        peak=along(peak, "regulators", "targets", names=(names, names)),
    )
    spec = symphony(unigrn.Prior.from_edges(edges))
    found = unigrn.fit(spec, data, tolerance=1e-4, max_iterations=3000)
    problem = found.plan.problem
    where = problem.candidate, problem.entry_target
    assert found.plan.solver.name == "gradient (L-BFGS) on all networks at once"
    for weights, network in zip(found.weights, networks, strict=True):
        assert np.corrcoef(weights, network[where])[0, 1] > 0.9
    blocks = found.blocks
    mean = np.exp(
        np.stack(blocks["accessibility"]) + np.exp(2 * np.stack(blocks["log_sd_accessibility"])) / 2
    )
    np.testing.assert_allclose(share @ mean, bulk.mean(axis=1), atol=0.05)
    # All groups are one problem: every one of its targets has the same objective.
    assert len(np.unique(np.asarray(found.targets["objective"]))) == 1


def test_arrays_of_genes_and_others_come_from_anndata(tmp_path):
    values, groups, names, edges, bulk, peak, *_ = simulated()
    adata = anndata.AnnData(
        values.astype(np.float32),
        obs=pd.DataFrame({"type": groups}, index=[f"c{i}" for i in range(len(values))]),
        var=pd.DataFrame(index=names),
        varp={"peak": peak.astype(float)},
        uns={"bulk": bulk},
    )
    adata.write_h5ad(tmp_path / "data.h5ad")
    more = {"bulk": "uns/bulk", "peak": "varp/peak", "depth": "depth"}
    adata.obs["depth"] = 1.0
    for given in (tmp_path / "data.h5ad", adata):
        own = more if given is adata else {n: more[n] for n in ("bulk", "peak")}
        data = unigrn.Data.from_anndata(given, groupby="type", extra=own)
        assert data.extra["peak"].axes == ("regulators", "targets")
        np.testing.assert_array_equal(data.extra["peak"].values, peak)
        np.testing.assert_array_equal(data.extra["bulk"].values, bulk)
    assert data.extra["depth"].axes == ("cells",)
    with pytest.raises(ValueError, match="there is no varp key 'peaks'; the keys are: peak"):
        unigrn.Data.from_anndata(adata, extra={"peak": "varp/peaks"})
    adata.uns["bulk"] = np.where(bulk > bulk.max() - 1e-9, np.nan, bulk)
    with pytest.raises(ValueError, match="uns/bulk holds numbers that are not finite"):
        unigrn.Data.from_anndata(adata, extra=more)
    spec = symphony(unigrn.Prior.from_edges(edges))
    for wrong, words in ((8, "peak holds 8, and the rows of bulk are 0 to 7"), (0.5, "holds 0.5")):
        odd = along(np.full_like(1.0 * peak, wrong), "regulators", "targets", names=(names, names))
        with pytest.raises(ValueError, match=words):
            unigrn.plan(spec, data.with_extra(peak=odd))
    with pytest.raises(ValueError, match=r"bulk is \(peaks, replicates\), got an array of shape"):
        unigrn.plan(spec, data.with_extra(bulk=along(bulk[:, 0], "peaks")))
    with pytest.raises(unigrn.PlanError, match="give the array: --extra NAME=COLUMN"):
        unigrn.plan(spec, unigrn.Data.from_anndata(adata, groupby="type"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"covariance": "other"}, "covariance must be one of intended, released, got 'other'"),
        ({"spread": 0}, "spread"),
        ({"draws": 0}, "draws"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        symphony(None, **wrong)


def test_sums_of_cells_are_not_drawn():
    with pytest.raises(ValueError, match="sums of cells, which are not drawn"):
        Cells(jnp.zeros(5), *drawn()).sample(jax.random.key(0), (), float)
    assert Regulation(0.05, 4.5).covariance == "intended"


def test_a_setting_that_is_not_there_is_named(tmp_path):
    np.savez(tmp_path / "x.npz", **{"s0/latent/R": np.ones((1, 2, 2))})
    with pytest.raises(ValueError, match="no setting 's1' with in/X.*it has s0"):
        symphony_log_joint(tmp_path / "x.npz", "s1")
