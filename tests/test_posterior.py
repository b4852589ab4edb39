"""What a guide says of every edge, against draws of the guide and closed quantiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import unigrn
from unigrn.processes import (
    EDGES,
    Gamma,
    Laplace,
    Normal,
    Posterior,
    Process,
    SignedNormal,
    generative,
    sigmoid,
)
from unigrn.processes.elbo import draw, log_sd
from unigrn.processes.process import kept
from unigrn.terms import Blocks, PriorView, View, pytree

pytestmark = pytest.mark.usefixtures("x64")
Q, P, DRAWS = 3, 5, 200_000
COLUMNS = {"weight", "variance", "sign_probability", "lower", "upper", "score"}


class Some(Process):
    """Latents beside theta, and a network that is made of them."""

    latents = {"theta": EDGES, "other": EDGES}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        theta, other = (site(name, kind) for name, kind in self.kinds(prior).items())
        site("expression", Normal(0.0, 1.0), data.y)

    def kinds(self, prior):
        return {"theta": Normal(0.0, 1.0), "other": Normal(0.0, 1.0)}


@pytree
class Plain(Some):
    """theta."""


@pytree
class Existing(Some):
    """sigmoid(other) theta."""

    def edges(self, values):
        return {"weight": sigmoid(values["other"]) * values["theta"]}


@pytree
class Signed(Some):
    """theta / sqrt(other), theta on the half-line of a known sign."""

    def kinds(self, prior):
        return {"theta": SignedNormal(1.0, prior.sign), "other": Gamma(2.0, 2.0)}

    def edges(self, values):
        return {"weight": values["theta"] * values["other"] ** -0.5}


@pytree
class Both(Some):
    """theta times other, both of either sign, and -2."""

    def kinds(self, prior):
        return {"theta": Normal(0.0, 1.0), "other": Laplace(0.0, 1.0)}

    def edges(self, values):
        return {"weight": -2.0 * (values["theta"] * values["other"])}


def world():
    sign = jnp.asarray(np.random.default_rng(1).choice([-1, 0, 1], (Q, P)), jnp.int8)
    valid = jnp.ones((Q, P), bool).at[1, 2].set(False)
    prior = PriorView(valid, jnp.ones((Q, P)), sign, ~valid, valid)
    return View(x=jnp.zeros((4, Q)), y=jnp.zeros((4, P))), prior


def guided(seed=0):
    rng = np.random.default_rng(seed)
    blocks = {}
    for name in ("theta", "other"):
        blocks[name] = jnp.asarray(rng.normal(size=(Q, P)))
        blocks[log_sd(name)] = jnp.asarray(rng.uniform(-2.5, 0.3, (Q, P)))
    return Blocks(**blocks)


def read(process, params, form="variational"):
    spec = generative(process, None, form=form)
    terms = type("Terms", (), {"terms": spec.terms})
    return Posterior()(params, *world(), terms)


@pytest.mark.parametrize("process", [Plain(), Existing(), Signed(), Both()])
def test_columns_are_those_of_draws_of_the_guide(process):
    params, (data, prior) = guided(), world()
    found = read(process, params)
    assert set(found) == COLUMNS
    rng = np.random.default_rng(2)
    noise = {n: jnp.asarray(rng.normal(size=(DRAWS, Q, P))) for n in process.latents}

    def at(noise):
        own, some = {}, draw(params, tuple(process.latents), noise)

        def value(name, distribution):
            own[name] = kept(name, some(name, distribution), prior)
            return own[name]

        process.log_density(value, data, prior, ("",))
        return process.edges(own)["weight"]

    drawn = np.asarray(jax.lax.map(at, noise, batch_size=1000))
    valid = np.asarray(prior.valid)
    below = (drawn < np.asarray(found["lower"])).mean(0)[valid]
    above = (drawn > np.asarray(found["upper"])).mean(0)[valid]
    np.testing.assert_allclose([below, above], 0.025, atol=0.009)
    side = np.where(np.asarray(found["weight"]) < 0, drawn < 0, drawn > 0).mean(0)
    np.testing.assert_allclose(found["sign_probability"], side, atol=0.006)
    # An edge that is no candidate is 0 for sure.
    assert all(np.asarray(found[n])[~valid] == 0 for n in ("weight", "variance", "lower", "upper"))


def test_the_sign_of_a_product_of_normal_numbers_is_exact_in_the_tails():
    params = guided()
    params = params.replace(theta=jnp.full((Q, P), 6.0), log_sd_theta=jnp.zeros((Q, P)))
    found = read(Existing(), params)
    valid = np.asarray(world()[1].valid)
    np.testing.assert_allclose(
        1 - np.asarray(found["sign_probability"])[valid], stats.norm.sf(6), rtol=1e-6
    )


def test_quantiles_of_one_normal_number_are_those_of_its_distribution():
    params, valid = guided(), np.asarray(world()[1].valid)
    found, sd = read(Plain(), params), np.exp(params.log_sd_theta)
    for name, at in (("lower", 0.025), ("upper", 0.975)):
        wanted = stats.norm(params.theta, sd).ppf(at)
        np.testing.assert_allclose(((found[name] - wanted) / sd)[valid], 0, atol=2e-3)


@pytree
class Mixed(Some):
    """theta mixed over targets: an entry is made of many."""

    def edges(self, values):
        return {"weight": values["theta"] @ jnp.ones((P, P))}


def test_what_shared_points_would_get_wrong_is_left_out():
    """Points that all entries of a latent share are no draws of a sum of them."""
    assert set(read(Mixed(), guided())) == COLUMNS - {"sign_probability", "lower", "upper"}


def test_a_mode_has_no_spread():
    params = Blocks(theta=jnp.ones((Q, P)), other=jnp.ones((Q, P)))
    assert set(read(Existing(), params, form="map")) == {"weight", "score"}


def test_quantiles_of_linear_gaussian_are_those_of_its_normal_guide():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = x @ [1.0, 0.0, -0.7] + rng.normal(size=60)
    data = unigrn.Data.from_arrays(np.c_[x, y], ["a", "b", "c", "y"], dtype="float64")
    prior = unigrn.Prior.from_dict({"y": ["a", "b", "c"]})
    edges = unigrn.infer(data, prior, "linear_gaussian", targets=["y"]).edges
    guide = stats.norm(edges["weight"], np.sqrt(edges["variance"]))
    np.testing.assert_allclose(edges["lower"], guide.ppf(0.025), rtol=1e-9)
    np.testing.assert_allclose(edges["upper"], guide.ppf(0.975), rtol=1e-9)
    expected = np.maximum(guide.cdf(0), guide.sf(0))
    np.testing.assert_allclose(edges["sign_probability"], expected, rtol=1e-9)
