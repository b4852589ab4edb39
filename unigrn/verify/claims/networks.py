"""Network component analysis for claims: problems, drawn, as the originals and as unigrn see them.

The originals are genes x regulators: S is theta', X and Y are U and V, E is the expression
transposed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.filtering import EvidenceFiltering
from unigrn.methods import get
from unigrn.solvers import palm
from unigrn.spec import Shape, Slots, Spec
from unigrn.terms import Blocks, PriorView, View, joint
from unigrn.verify import originals_netrex as o
from unigrn.verify.formulations import Formulation, jit
from unigrn.verify.instances import REGULATORS, TARGETS, Example, Point

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SAMPLES, FACTORS = 6, 3
NAMED = ("mixed", "full", "one")
# What the method is with no hyperparameter given, in numbers of this file's own.
DEFAULTS = {
    "evidence": (1.0, 60.0, 90.0),
    "strength": 5.0,
    "boost": 9.0,
    "floor": 0.1,
    "per_target": 200,
    "ridge_activity": 1.0,
    "ridge_network": 1.0,
    "ridge_factors": 1.0,
}
SKETCH = {
    "slope": 1.0,
    "on": 9.0,
    "off": 1.0,
    "cost": 1.0,
    "ridge_activity": 1.0,
    "ridge_network": 1.0,
}


# ------------------------------------------------------------------ instances


@dataclass(frozen=True, repr=False)
class Network(Example):
    """One coupled problem: expression, layers of evidence and hyperparameters.

    Parameters
    ----------
    seed
        Of the random numbers that fill the arrays.
    layers
        Number of layers of evidence, 3 or 1, of unlike units; all name the first edge.
    named
        Which other edges a layer names: some, all, or none.
    shipped
        Hyperparameters as the method has them when none is given, or drawn ones.
    scale
        Unit of the expression.
    strength
        Inverse unit of the steps of a prox.
    regulators, targets
        Numbers of genes.
    """

    seed: int = 0
    layers: int = 3
    named: str = "mixed"
    shipped: bool = True
    scale: float = 1.0
    strength: float = 1.0
    regulators: int = REGULATORS
    targets: int = TARGETS

    @cached_property
    def evidence(self) -> np.ndarray:
        """Layers of the prior, (layers, targets, regulators)."""
        rng = self.rng(1)
        shape = (self.layers, self.targets, self.regulators)
        share = {"mixed": 0.4, "full": 1.0, "one": 0.0}[self.named]
        out = np.where(rng.random(shape) < share, rng.uniform(0.2, 1.9, shape), 0)
        out[:, 0, 0] = 2.0
        return out * np.array([1.0, 3.0, 0.5])[: self.layers, None, None]

    @cached_property
    def E(self) -> np.ndarray:  # noqa: N802
        """Expression, (targets, samples)."""
        rng = self.rng(2)
        S = rng.normal(size=(self.targets, self.regulators))
        noise = rng.normal(size=(self.targets, SAMPLES))
        return self.scale * (S @ rng.normal(size=(self.regulators, SAMPLES)) + noise)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Hyperparameters given to the method."""
        if self.shipped:
            return {}
        rng = self.rng(3)
        ridges = rng.uniform(0.4, 2.0, 3)
        return {
            "evidence": tuple(np.cumsum(rng.uniform(0.3, 2.0, 3)) + [0, 1, 1]),
            "strength": rng.uniform(0.5, 2),
            "boost": rng.uniform(1, 5),
            "floor": rng.choice([0.5, 2.0]),
            "ridge_activity": ridges[0],
            "ridge_network": ridges[1],
            "ridge_factors": ridges[2],
        }

    @property
    def constants(self) -> dict[str, Any]:
        """All hyperparameters."""
        return DEFAULTS | self.settings

    @cached_property
    def sketch(self) -> dict[str, float]:
        """Hyperparameters given to the sketched method."""
        if self.shipped:
            return {}
        return dict(zip(SKETCH, self.rng(4).uniform(0.3, 3.0, len(SKETCH)), strict=True))

    @cached_property
    def view(self) -> View:
        """The data as unigrn sees them."""
        x = self.rng(5).normal(size=(SAMPLES, self.regulators))
        return View(None, x, self.E.T, np.ones(SAMPLES))

    @cached_property
    def prior(self) -> PriorView:
        """The prior as unigrn sees it."""
        layers = {f"layer{k}": v.T for k, v in enumerate(self.evidence)}
        weight = self.evidence.sum(axis=0).T
        return PriorView(
            weight > 0, weight, np.zeros(weight.shape, np.int32), weight < 0, weight >= 0, layers
        )


def networks(**fixed: Any) -> SearchStrategy[Network]:
    """Draw instances; what is given by name is fixed."""
    from hypothesis import strategies as st

    drawn = {
        "seed": st.integers(0, 2**16),
        "layers": st.sampled_from([3, 1]),
        "named": st.sampled_from(NAMED),
        "shipped": st.booleans(),
        "scale": st.sampled_from([1.0, 0.1, 30.0]),
        "strength": st.sampled_from([1.0, 0.01, 100.0]),
    }
    return st.builds(Network, **drawn | {k: st.just(v) for k, v in fixed.items()})


def blocks(network: Network, point: Point) -> Blocks:
    """Blocks of any support; only the network has exact zeros."""
    full, q = replace(point, zeros=0.0), network.regulators
    return Blocks(
        theta=point.array(q, TARGETS),
        A=full.array(q, SAMPLES, salt=1),
        U=full.array(FACTORS, TARGETS, salt=2),
        V=full.array(FACTORS, q, salt=3),
    )


def state_of(network: Network | None, u: Blocks) -> o.NetrexCFState:
    """Return unigrn's blocks as the original's."""
    return o.NetrexCFState(*(np.asarray(v) for v in (u.theta.T, u.A, u.U, u.V)))


def blocks_of(network: Network | None, state: o.NetrexCFState) -> Blocks:
    """Return the original's blocks as unigrn's."""
    return Blocks(theta=state.S.T, A=state.A, U=state.X, V=state.Y)


def confidence(evidence: np.ndarray, multipliers: tuple[float, ...]) -> np.ndarray:
    """C: how many layers name the edge sets a multiplier of the sum of its scaled weights.

    With fewer layers than multipliers the last of these count.
    """
    count = (evidence > 0).sum(axis=0)
    total = (evidence / evidence.max(axis=(1, 2), keepdims=True)).sum(axis=0)
    known = np.array(multipliers)[len(multipliers) - len(evidence) :]
    return np.where(count > 0, known[np.maximum(count, 1) - 1] * total, 0)


def problem(network: Network, c: np.ndarray | None = None) -> o.NetrexCF:
    """Return the original with the weights that the method makes of the layers of evidence."""
    k = network.constants
    if c is None:
        c = confidence(network.evidence, k["evidence"])
    return o.netrex_cf_problem(
        network.E,
        c,
        k["strength"],
        None,
        np.where(c > 0, k["boost"] * c, c.max() - 1),
        k["floor"],
        k["ridge_activity"],
        k["ridge_network"],
        k["ridge_factors"],
        k["per_target"],
    )


# ------------------------------------------------------------------ what is shipped, compiled


@partial(jit, static_argnames=("shape",))
def evaluated(shape, terms, params, view, prior):
    """Objective and its gradient."""

    def value(params):
        ready = tuple(t.prepare(view, prior) for t in terms)
        return palm.objective(Slots(shape, ready), params, view, prior)

    return jax.value_and_grad(value)(params)


@partial(jit, static_argnames=("shape",))
def thresholded(shape, terms, params, step, view, prior):
    """Apply the prox of the network's prices to theta."""
    ready = tuple(t.prepare(view, prior) for t in terms)
    kinks = palm.kinks(Slots(shape, ready), "theta")
    return joint(kinks, ()).prox(params.theta, step, view, prior, params)


@partial(jit, static_argnames=("shape",))
def _step(shape, terms, params, view, prior):
    """Blocks and objective after the one step of the shape."""
    spec = Slots(shape, tuple(t.prepare(view, prior) for t in terms))
    params = palm.sweep(spec, params, view, prior, {})
    return params, palm.objective(spec, params, view, prior)


@jit
def weights_of(term, view, prior):
    """P, weights without and with an edge, and the least price, as a filter prepares them."""
    ready = term.prepare(view, prior)
    return ready.preference, ready.confidence, ready.gain, ready.floor


@jit
def prices_of(term, params, view, prior):
    """Value of the filter, its price of every edge, and what it costs to switch each one on."""
    ready, size = term.prepare(view, prior), params.theta.size

    def at(k, value):
        theta = params.theta.reshape(-1).at[k].set(value).reshape(params.theta.shape)
        return ready(params.replace(theta=theta), view, prior)

    every = jnp.arange(size, dtype=jnp.int32)
    on, off = (jax.vmap(partial(at, value=v))(every) for v in (1e-30, 0.0))
    return (
        ready(params, view, prior),
        ready.price(params, view, prior),
        (on - off).reshape(params.theta.shape),
    )


def on_host(function: Callable, spec: Spec, *args: Any) -> Any:
    """Call a compiled function of a spec; arrays of the host come back."""
    return jax.tree.map(np.asarray, function(spec.shape, spec.terms, *args))


def stages(
    spec: Spec, params: Blocks, view: View, prior: PriorView, sweeps: int = 1
) -> tuple[list[Blocks], np.ndarray]:
    """Blocks and objective at the start and after each step; steps alike share their program."""
    counts = spec.shape.counts
    values = [on_host(evaluated, spec, params, view, prior)[0]]
    found = [params]
    for step in spec.steps * sweeps:
        params, value = jax.tree.map(
            np.asarray, _step(Shape(counts, (step,)), spec.terms, params, view, prior)
        )
        found.append(params)
        values.append(value)
    return found, np.array(values)


def released(network: Network, steps: str = "released") -> Spec:
    """Return the shipped method with this instance's hyperparameters."""
    return get("netrex_cf").function(None, FACTORS, steps=steps, **network.settings)


def sketched(network: Network) -> Spec:
    """Return the sketched method with this instance's hyperparameters."""
    return get("netrex_cf_sketch").function(None, FACTORS, **network.sketch)


def filtering(network: Network, steps: str) -> EvidenceFiltering:
    """Return the collaborative filter of the shipped method."""
    return next(t for t in released(network, steps).terms if isinstance(t, EvidenceFiltering))


def shipped(build: Callable[[Network], Spec], name: str) -> Formulation:
    """Return a shipped method as a formulation in all its blocks."""

    def look(network, u):
        return on_host(evaluated, build(network), u, network.view, network.prior)

    def prox(network, u, step):
        return u.replace(
            theta=on_host(
                thresholded, build(network), u, np.float64(step), network.view, network.prior
            )
        )

    return Formulation(
        lambda n, u: float(look(n, u)[0]),
        variables=blocks,
        gradient=lambda n, u: look(n, u)[1],
        prox=prox,
        name=name,
    )


# ------------------------------------------------------------------ sweeps of the original


def safe_mu(B: np.ndarray) -> float:
    """Inverse step of the safe network step: 1.01 times a bound on twice the largest eigenvalue."""
    return 1.01 * 2 * float(min(np.linalg.norm(B), np.abs(B).sum(axis=1).max()))


def network_matrix(p: o.NetrexCF, state: o.NetrexCFState) -> np.ndarray:
    """B = AA' + lambda_s I of the network step."""
    return state.A @ state.A.T + p.lambda_s * np.eye(len(state.A))


def swept(
    p: o.NetrexCF,
    state: o.NetrexCFState,
    order: str = "ASXY",
    columns: tuple = (None, None),
    mu: Callable[[np.ndarray], float] | None = None,
    bare: bool = False,
) -> o.NetrexCFState:
    """One sweep of the original, block after block; ``bare`` leaves the ridge out of B."""
    for block in order:
        if block == "A":
            new = o.netrex_cf_a_step(p, state)
        elif block == "S":
            own = p._replace(lambda_s=0.0) if bare else p
            new = o.netrex_cf_s_step(own, state, mu and mu(network_matrix(p, state)))
        elif block == "X":
            new = o.netrex_cf_x_step(p, state, columns[0])
        else:
            new = o.netrex_cf_y_step(p, state, columns[1])
        state = state._replace(**{block: new})
    return state


def spectral(B: np.ndarray) -> float:
    """Spectral in place of Frobenius norm."""
    return float(np.linalg.norm(B, 2))
