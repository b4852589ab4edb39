"""Claims about a negative ELBO as loss and regularizer: the linear-Gaussian model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.methods import get
from unigrn.spec import Spec
from unigrn.terms import Blocks
from unigrn.verify.claims import Claim
from unigrn.verify.claims.common import Search, claimed, evaluated, fit, joining
from unigrn.verify.equivalence import Equivalence
from unigrn.verify.formulations import Formulation
from unigrn.verify.instances import (
    NAMES,
    REGULATORS,
    SUPPORTS,
    TARGETS,
    Instance,
    Point,
    instances,
    points,
)
from unigrn.verify.search import Finding, largest

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from unigrn.solution import Solution

NODES = 5  # of Gauss-Hermite quadrature: exact up to degree 9
ON, OFF = 1.0, 0.01  # prior variances of the method where none is given


def settings(instance: Instance) -> dict[str, float]:
    """Return the hyperparameters given to the method: none, or drawn ones."""
    if instance.strength == 1:
        return {}
    rng = instance.rng(1)
    noise = instance.scale**2 * rng.uniform(0.3, 3)
    return {"noise_variance": noise, "on": rng.uniform(0.5, 2), "off": rng.uniform(0.02, 0.2)}


def noise_of(instance: Instance) -> np.ndarray:
    """s^2 of every target: as given, or its own weighted variance."""
    given = settings(instance).get("noise_variance")
    y, w = centred(instance.y, instance), instance.weight
    return w @ y**2 / w.sum() if given is None else np.full(TARGETS, given)


def widths_of(instance: Instance) -> np.ndarray:
    """t^2 of every edge: wider where the prior names it."""
    k = settings(instance)
    return np.where(instance.prior.support, k.get("on", ON), k.get("off", OFF))


def solved(spec: Spec, instance: Instance) -> Solution:
    """Fit a spec to an instance, with its prior in one layer."""
    values, named = np.c_[instance.x, instance.y], instance.prior.support
    sources, targets = NAMES[:REGULATORS], NAMES[REGULATORS:]
    return fit(spec, values, sources, targets, named, weights=instance.weight)


def centred(values: np.ndarray, instance: Instance) -> np.ndarray:
    """Take the weighted mean out of every column."""
    w = instance.weight
    return values - w @ values / w.sum()


def model(instance: Instance, **options: Any) -> Spec:
    """Return the shipped method without a change of units."""
    built = get("linear_gaussian").function(None, **settings(instance), **options)
    return built.replace(scale=None)


def drawn(*supports: str) -> SearchStrategy[Instance]:
    """Draw instances of several cells whose targets vary."""
    from hypothesis import strategies as st

    return instances(
        cells=8,
        constant_target=False,
        whole=False,
        support=st.sampled_from(supports or SUPPORTS),
        offset=st.sampled_from([0.0, 2.0]),
        weights=st.sampled_from(["ones", "counts"]),
    )


def at(spec: Spec, instance: Instance, u: Blocks) -> tuple[float, Blocks]:
    """Value of a spec and its gradient."""
    return evaluated(spec, u, instance.rows(), instance.prior)


# ------------------------------------------------------------------ category_2.elbo


def posterior(instance: Instance, point: Point) -> Blocks:
    """Draw means and log variances; variances from 1e-3 to 1e3, whatever the point's size."""
    spread = replace(point, zeros=0.0, size=1.0, whole=False).array(REGULATORS, TARGETS, salt=1)
    return Blocks(theta=point.array(REGULATORS, TARGETS), log_variance=2 * spread)


def elbo_by_quadrature(
    instance: Instance,
    u: Blocks,
    kl_weight: float = 1.0,
    entropy: float = 1.0,
    deviation: bool = False,
    log: float = 1.0,
) -> float:
    """-E_q [log p(y | theta) + log p(theta) - log q(theta)] over a grid of Gauss-Hermite nodes."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(NODES)
    z = np.array(list(product(nodes, repeat=REGULATORS)))
    mass = np.prod(list(product(mass / mass.sum(), repeat=REGULATORS)), axis=1)
    x, y, w = centred(instance.x, instance), centred(instance.y, instance), instance.weight
    noise, t2 = noise_of(instance), widths_of(instance)
    t2, total = (t2**2 if deviation else t2), 0.0
    for j in range(TARGETS):
        v = np.exp(u.log_variance[:, j])
        theta = u.theta[:, j] + z * np.sqrt(v)
        squares = (y[:, j] - theta @ x.T) ** 2 @ w
        fit = -0.5 * squares / noise[j] - 0.5 * w.sum() * np.log(2 * np.pi * noise[j])
        prior = -0.5 * theta**2 / t2[:, j] - 0.5 * log * np.log(2 * np.pi * t2[:, j])
        own = -0.5 * z**2 - 0.5 * log * np.log(2 * np.pi * v)
        total -= mass @ (fit + kl_weight * (prior - entropy * own).sum(axis=1))
    return float(total)


def elbo_slope(instance: Instance, u: Blocks) -> Blocks:
    """Gradient in closed form."""
    x, y, w = centred(instance.x, instance), centred(instance.y, instance), instance.weight
    noise, t2, v = noise_of(instance), widths_of(instance), np.exp(u.log_variance)
    theta = -(x.T * w) @ (y - x @ u.theta) / noise + u.theta / t2
    return Blocks(theta=theta, log_variance=0.5 * v * ((w @ x**2)[:, None] / noise + 1 / t2) - 0.5)


def _elbo_claim() -> Claim:
    first = Formulation(
        lambda i, u: at(model(i), i, u)[0],
        variables=posterior,
        gradient=lambda i, u: at(model(i), i, u)[1],
        name="linear_gaussian",
    )

    def twin(**change):
        second = Formulation(
            partial(elbo_by_quadrature, **change),
            variables=posterior,
            gradient=elbo_slope,
            name="-ELBO by quadrature",
        )
        return joining(Equivalence(first, second, tolerance=1e-8), drawn, points)

    return claimed(
        "category_2.elbo",
        "the loss and the regularizer of linear_gaussian add up to minus the ELBO",
        (),
        twin,
        {
            "a KL weight of 10": {"kl_weight": 10.0},
            "a point mass for q: no entropy": {"entropy": 0.0},
            "KL without its logarithms": {"log": 0.0},
            "prior widths read as standard deviations": {"deviation": True},
        },
        reason="expectations need integration over the reals, which rests on axioms",
    )


# ------------------------------------------------------------------ category_2.evidence


def orthogonal(instance: Instance) -> Instance:
    """Return the same instance with weights 1 and orthogonal centred regulators."""
    out = replace(instance, weights="ones", columns="plain")
    x = out.x - out.x.mean(axis=0)
    out.__dict__["x"] = np.linalg.qr(x)[0] * np.sqrt(len(x)) * instance.scale
    return out


def log_evidence(instance: Instance, power: float = 1.0, share: float = 1.0) -> float:
    """Log p(y) of all targets, centred: y ~ N(0, s^2 I + x diag(t^2) x')."""
    x, y = instance.x, instance.y - instance.y.mean(axis=0)
    noise, t2, total = noise_of(instance), widths_of(instance) ** power, 0.0
    for j in range(TARGETS):
        cover = noise[j] * np.eye(len(y)) + share * (x * t2[:, j]) @ x.T
        total -= 0.5 * (
            y[:, j] @ np.linalg.solve(cover, y[:, j]) + np.linalg.slogdet(2 * np.pi * cover)[1]
        )
    return total


def _evidence(
    instance: Instance,
    point: Point,
    turn: Callable[[Instance], Instance] = orthogonal,
    **change: float,
) -> list[Finding]:
    own = turn(instance)
    x, y = centred(own.x, own), centred(own.y, own)
    noise, t2 = noise_of(own), widths_of(own)
    means, variances = [], []
    for j in range(TARGETS):
        precision = x.T @ x / noise[j] + np.diag(1 / t2[:, j])
        means.append(np.linalg.solve(precision, x.T @ y[:, j] / noise[j]))
        variances.append(1 / np.diag(precision))
    best = Blocks(theta=np.array(means).T, log_variance=np.log(np.array(variances).T))
    value, slope = at(model(own), own, best)
    want, size = -log_evidence(own, **change), largest(y**2 / noise) * len(y)
    other = at(model(own), own, posterior(own, point))[0]
    return [
        Finding("minimiser", abs(value - want) / (1 + abs(want))),
        Finding("gradient", largest(slope) / (1 + size + largest(best.theta))),
        Finding("minimiser", max(want - other, 0) / (1 + abs(want))),
    ]


def _correlated(instance: Instance) -> Instance:
    return replace(instance, weights="ones", columns="nearly repeated")


def _evidence_claim() -> Claim:
    return claimed(
        "category_2.evidence",
        "with orthogonal regulators the least value is minus the log evidence, and no value is "
        "below",
        (),
        Search("evidence", _evidence, (drawn, points), 1e-8).slipped,
        {
            "correlated regulators too": {"turn": _correlated},
            "prior widths read as standard deviations": {"power": 2.0},
            "half the prior variance": {"share": 0.5},
        },
        reason="the evidence is an integral over the reals, which rests on axioms",
    )


# ------------------------------------------------------------------ category_2.map


def noise(instance: Instance) -> float:
    """One noise variance for all targets."""
    return instance.scale**2 * instance.rng(2).uniform(0.3, 3)


def mode(instance: Instance) -> Spec:
    """Return the shipped posterior mode, with one noise variance."""
    k = {n: v for n, v in settings(instance).items() if n != "noise_variance"}
    built = get("linear_gaussian").function(None, noise(instance), form="map", **k)
    return built.replace(scale=None)


def ridge_strength(instance: Instance, power: float = 1.0) -> np.ndarray:
    """alpha_j = s^2 / t_j^2."""
    return noise(instance) / widths_of(instance) ** power


def _ridge(instance: Instance, u: Blocks, strength: Callable) -> float:
    r = centred(instance.y - instance.x @ u.theta, instance)
    return float(instance.weight @ (r**2).sum(axis=1) + np.sum(strength(instance) * u.theta**2))


def _ridge_slope(instance: Instance, u: Blocks, strength: Callable) -> Blocks:
    r = centred(instance.y - instance.x @ u.theta, instance) * instance.weight[:, None]
    return Blocks(theta=2 * (strength(instance) * u.theta - instance.x.T @ r))


def _ridge_best(instance: Instance, strength: Callable) -> Blocks:
    x, y, w = centred(instance.x, instance), centred(instance.y, instance), instance.weight
    alpha, gram = strength(instance), (x.T * w) @ x
    return Blocks(
        theta=np.stack(
            [
                np.linalg.solve(gram + np.diag(alpha[:, j]), (x.T * w) @ y[:, j])
                for j in range(TARGETS)
            ],
            axis=1,
        )
    )


def _mode_fit(instance: Instance) -> Blocks | None:
    if instance.support == "empty":  # a plan wants a prior with edges
        return None
    return Blocks(theta=solved(mode(instance), instance).theta[0])


def _map_shift(instance: Instance) -> float:
    """Return what the densities have beside their squares."""
    s2, t2 = noise(instance), widths_of(instance)
    return 0.5 * TARGETS * instance.weight.sum() * np.log(2 * np.pi * s2) + 0.5 * float(
        np.log(2 * np.pi * t2).sum()
    )


def _map_claim() -> Claim:
    def spread(instance, point):
        return Blocks(theta=point.array(REGULATORS, TARGETS))

    second = Formulation(
        lambda i, u: at(mode(i), i, u)[0],
        variables=spread,
        gradient=lambda i, u: at(mode(i), i, u)[1],
        minimiser=_mode_fit,
        name="posterior mode",
    )

    def twin(strength=ridge_strength, scale=lambda i: 0.5 / noise(i), shift=_map_shift):
        first = Formulation(
            partial(_ridge, strength=strength),
            variables=spread,
            gradient=partial(_ridge_slope, strength=strength),
            minimiser=partial(_ridge_best, strength=strength),
            name="ridge",
        )
        return joining(
            Equivalence(first, second, scale=scale, shift=shift, tolerance=1e-8), drawn, points
        )

    return claimed(
        "category_2.map",
        "the posterior mode is a ridge with alpha = s^2 / t^2 at each edge, values up to scale and "
        "shift",
        ("gaussian.mode_given_prior", "gaussian.map_is_ridge", "gaussian.map_is_ridge_each"),
        twin,
        {
            "alpha = s^2 / t^4: widths as standard deviations": {
                "strength": partial(ridge_strength, power=2.0)
            },
            "alpha = 2 s^2 / t^2": {"strength": lambda i: 2 * ridge_strength(i)},
            "without 1 / (2 s^2)": {"scale": 1.0},
            "without the densities' constants": {"shift": 0.0},
        },
    )


# ------------------------------------------------------------------ category_2.soft_and_hard


def _limit(
    instance: Instance, narrow: float = 1e-10, swap: bool = False, on: float = 1.0
) -> list[Finding]:
    """Fit with a narrow soft prior; the hard one is a ridge on its edges, in closed form.

    Genes in standard deviations. Off the prior the slope of the fit is theta / t^2, so that
    |theta_j| <= t^2 |x_j| |y| / s^2.
    """
    build, s2 = get("linear_gaussian").function, 0.6
    widths = (narrow, 1.0) if swap else (1.0, narrow)
    soft = solved(build(None, s2, *widths, form="map"), instance).theta[0]
    x, y = (
        centred(v, instance) / np.where(np.ptp(v, axis=0) > 0, v.std(axis=0), 1)
        for v in (instance.x, instance.y)
    )
    w, hard = instance.weight, np.zeros(soft.shape)
    for t, own in enumerate(instance.prior.support.T):
        gram = (x[:, own].T * w) @ x[:, own] + s2 / on * np.eye(own.sum())
        hard[own, t] = np.linalg.solve(gram, (x[:, own].T * w) @ y[:, t])
    most = narrow / s2 * np.outer(*(np.sqrt(w @ v**2) for v in (x, y)))
    beyond = np.where(instance.prior.support, 0, np.abs(soft) - most)
    return [
        Finding("minimiser", largest(soft - hard) / (1 + largest(hard))),
        Finding("feasibility", max(float(beyond.max()), 0)),
    ]


def _limit_claim() -> Claim:
    return claimed(
        "category_2.soft_and_hard",
        "where the soft prior is narrow off the prior's edges, its mode is that of the hard one",
        (),
        Search("soft and hard", _limit, (lambda: drawn("one", "full"),), 1e-6).slipped,
        {
            "at the default width": {"narrow": 0.01},
            "narrow on the prior's edges": {"swap": True},
            "the hard one with half the variance on its edges": {"on": 0.5},
        },
        reason="a limit, not an equality",
        share=0.5,
    )


CLAIMS = (_elbo_claim(), _evidence_claim(), _map_claim(), _limit_claim())
