"""Symphony as reconstructed: densities of its sites, and what they depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from unigrn.verify import symphony_log_joint
from unigrn.verify.symphony import MODES, Clusters, Regulation

pytestmark = pytest.mark.usefixtures("x64")


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


def world(seed=0, genes=5):
    rng = np.random.default_rng(seed)
    scatter = np.stack([np.cov(rng.normal(size=(genes, 40))) * 40 for _ in range(2)])
    sums = (
        jnp.asarray([40.0, 40.0]),
        jnp.asarray(rng.normal(size=(2, genes))),
        jnp.asarray(scatter),
    )
    peak = jnp.asarray(rng.integers(0, 7, (genes, genes)))
    sign = jnp.asarray(rng.integers(-1, 2, (genes, genes)).astype(float))
    network = jnp.asarray(rng.normal(size=(genes, genes)))
    normal = jnp.asarray(rng.normal(size=genes * (genes + 1) // 2))
    chi = jnp.asarray(rng.gamma(2.0, 2.0, genes))
    return sums, peak, sign, network, normal, chi, jnp.zeros(genes)


@pytest.mark.parametrize("mode", MODES[1:])
def test_cells_do_not_see_the_direction_or_the_sign_of_a_network(mode):
    """The covariance depends on |R + R'| alone: what orients edges is the prior."""
    sums, peak, sign, network, *rest = world()
    factor = Regulation(sums, peak, sign, mode).factor
    want = factor(network, *rest)
    for other in (network.T, -network):
        np.testing.assert_allclose(factor(other, *rest), want, rtol=1e-9, atol=1e-12)


def test_the_intended_covariance_has_the_squared_network_as_its_mean():
    sums, peak, sign, network, *_ = world()
    genes, draws = len(network), 40_000
    rng = np.random.default_rng(1)
    normal = rng.normal(size=(draws, genes * (genes + 1) // 2))
    chi = rng.chisquare(genes + 1 - np.arange(genes), (draws, genes))
    means = {}
    for mode in MODES[1:]:
        factor = jax.vmap(Regulation(sums, peak, sign, mode).factor, (None, 0, 0, None))
        found = np.asarray(factor(network, jnp.asarray(normal), jnp.asarray(chi), jnp.zeros(genes)))
        means[mode] = np.einsum("nij,nkj->ik", found, found) / draws / (genes + 1)
    whole = np.asarray(network + network.T)
    size = np.abs(whole @ whole).max()
    assert np.abs(means["transposed"] - whole @ whole).max() < 0.03 * size
    assert np.abs(means["released_posdiag"] - whole @ whole).max() > 0.3 * size


def test_cells_by_their_sums_are_cells_one_by_one():
    rng = np.random.default_rng(2)
    cells, root = rng.normal(size=(30, 4)), rng.normal(size=(4, 4))
    center = cells.mean(axis=0)
    sums = (np.array([30.0]), center[None], ((cells - center).T @ (cells - center))[None])
    mean = rng.normal(size=4)
    got = Clusters(mean[None], root[None], tuple(map(jnp.asarray, sums))).log_prob(None)
    want = stats.multivariate_normal(mean, root @ root.T).logpdf(cells).sum()
    assert float(got[0]) == pytest.approx(want, rel=1e-10)


def test_a_setting_that_is_not_there_is_named(tmp_path):
    np.savez(tmp_path / "x.npz", **{"s0/latent/R": np.ones((1, 2, 2))})
    with pytest.raises(ValueError, match="no setting 's1' with in/X.*it has s0"):
        symphony_log_joint(tmp_path / "x.npz", "s1")
