"""Claims that category 1 is a limit of category 2: modes of one regression under three priors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from unigrn.constraints import support
from unigrn.losses import least_squares
from unigrn.processes import EDGES, Laplace, Normal, Process, generative, where
from unigrn.regularizers import l1, ridge
from unigrn.spec import Spec
from unigrn.terms import Blocks, pytree
from unigrn.verify.claims import Claim
from unigrn.verify.claims.category_2 import at, drawn, noise
from unigrn.verify.claims.common import Search, claimed, fit
from unigrn.verify.instances import NAMES, REGULATORS, TARGETS, Instance, Point, points
from unigrn.verify.search import Finding, largest

SHAPE = (REGULATORS, TARGETS)
squares = partial(least_squares, intercept=False)  # the processes have none


@pytree
class Regression(Process):
    """y ~ N(x theta, s^2), theta of one distribution."""

    distribution: Any
    noise: Any

    latents = {"theta": EDGES}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        """Visit every site."""
        theta = site("theta", self.distribution)
        site("expression", Normal(data.x @ theta, self.noise), data.y)


@pytree
class Spiked(Process):
    """y ~ N(x (w z), s^2), z ~ N(0, 1): w is the width on the prior, the spike's off it."""

    width: Any
    spike: Any
    noise: Any

    latents = {"theta": EDGES}
    observed = {"expression": ("cells", "targets")}

    def sites(self, site, data, prior):
        """Visit every site; theta is z."""
        z = site("theta", Normal(0.0, 1.0))
        network = where(prior.support, self.width, self.spike) * z
        site("expression", Normal(data.x @ network, self.noise), data.y)


def width(instance: Instance) -> float:
    """Width of the prior: its standard deviation, or the scale of a Laplace distribution."""
    return float(instance.rng(3).uniform(0.5, 2))


def root(instance: Instance) -> float:
    """s: standard deviation of the noise."""
    return float(noise(instance) ** 0.5)


def solved(spec: Spec, instance: Instance) -> np.ndarray:
    """Return the network that a fit gives."""
    values, names = np.c_[instance.x, instance.y], (NAMES[:REGULATORS], NAMES[REGULATORS:])
    known, weights = instance.prior.support, instance.weight
    found = fit(spec, values, *names, known, weights=weights, tolerance=1e-12)
    return found.theta[0]


def constants(instance: Instance, each: float = 0.0) -> float:
    """Return what the densities have beside squares and sizes: ``each`` of every coefficient."""
    cells = TARGETS * instance.weight.sum()
    own = 0.5 * np.log(2 * np.pi) + np.log(root(instance))
    return float(cells * own + REGULATORS * TARGETS * each)


def mode(process: Process) -> Spec:
    """Return the spec of a mode."""
    return generative(process, None, form="map")


def related(instance: Instance, first: Spec, second: Spec, u: Any, v: Any, shift: float) -> Finding:
    """Return how far the first's objective at u is from the second's over 2 s^2 at v, shifted."""
    got, other = (at(spec, instance, Blocks(theta=w))[0] for spec, w in ((first, u), (second, v)))
    want = 0.5 / noise(instance) * other + shift
    return Finding("objective", abs(got - want) / (1 + abs(want)))


def stationary(instance: Instance, slope: Any) -> Finding:
    """Return how far a slope is from 0, relative to that of the squares at 0."""
    size = largest(instance.x.T @ (instance.weight[:, None] * instance.y)) / noise(instance)
    return Finding("minimiser", largest(slope) / (1 + size))


def _gaussian(
    instance: Instance, point: Point, power: float = 2.0, part: float = 1.0, density: bool = True
) -> list[Finding]:
    w, theta = width(instance), point.array(*SHAPE)
    first = mode(Regression(Normal(0.0, w), root(instance)))
    second = Spec(squares(), ridge(part * noise(instance) / w**power))
    each = 0.5 * np.log(2 * np.pi) + np.log(w)
    best = solved(second, instance)
    return [
        related(instance, first, second, theta, theta, constants(instance, each * density)),
        stationary(instance, at(first, instance, Blocks(theta=best))[1].theta),
    ]


def _laplace(
    instance: Instance, point: Point, power: float = 1.0, part: float = 2.0, density: bool = True
) -> list[Finding]:
    """Compare; what the lasso finds has squares whose slopes are at most 1 / b where it is 0."""
    b, theta = width(instance) / instance.weight.sum(), point.array(*SHAPE)
    first = mode(Regression(Laplace(0.0, b), root(instance)))
    second = Spec(squares(), l1(part * noise(instance) / b**power))
    best = solved(second, instance)
    slope = at(first, instance, Blocks(theta=best))[1].theta
    zero = np.maximum(np.abs(slope - 1 / b) - 1 / b, 0)  # the slope that |theta| has at 0 is 1
    beyond = np.where(best == 0, zero, slope)
    each = np.log(2 * b)
    return [
        related(instance, first, second, theta, theta, constants(instance, each * density)),
        stationary(instance, beyond),
    ]


def _spike(
    instance: Instance,
    point: Point,
    spike: float = 0.0,
    power: float = 2.0,
    masked: bool = True,
    density: bool = True,
) -> list[Finding]:
    """Map theta to theta / w on the prior and 0 off it, z to w z: see strong_equivalence."""
    w, on, shape = width(instance), instance.prior.support, SHAPE
    first = mode(Spiked(w, spike, root(instance)))
    second = Spec(squares(), ridge(noise(instance) / w**power), support() if masked else None)
    shift = constants(instance, 0.5 * np.log(2 * np.pi) * density)
    z = point.array(*shape)
    theta = np.where(on, w, spike) * z  # the map back
    feasible = np.where(on | (not masked), theta, 0)
    best = solved(second, instance)
    slope = at(first, instance, Blocks(theta=np.where(on, best / w, 0)))[1].theta
    value = at(first, instance, Blocks(theta=z))[0]
    below = 0.5 / noise(instance) * at(second, instance, Blocks(theta=feasible))[0] + shift
    return [
        related(instance, first, second, np.where(on, feasible / w, 0), feasible, shift),
        Finding("objective", max(below - value, 0) / (1 + abs(below))),
        Finding("feasibility", largest(theta - feasible) / (1 + largest(theta))),
        stationary(instance, slope),
        Finding("minimiser", largest(np.where(on, 0, best)) / (1 + largest(best))),
    ]


def _claim(name: str, says: str, findings: Callable, wrong: dict, **more: Any) -> Claim:
    search = Search(name, findings, (lambda: drawn("one", "full", "mixed"), points), 1e-8)
    return claimed(f"category_2.{name}", says, more.pop("theorem"), search.slipped, wrong, **more)


CLAIMS = (
    _claim(
        "gaussian_prior",
        "the mode of a declared Gaussian process under a Gaussian prior is the ridge of strength "
        "s^2 / w^2",
        _gaussian,
        {
            "the width as a variance": {"power": 1.0},
            "twice the strength": {"part": 2.0},
            "without the prior's constants": {"density": False},
        },
        theorem=("gaussian.map_is_ridge",),
        share=0.5,
    ),
    _claim(
        "laplace_prior",
        "under a Laplace prior of scale b it is the lasso of strength 2 s^2 / b",
        _laplace,
        {
            "the scale inverted": {"power": -1.0},
            "strength s^2 / b": {"part": 1.0},
            "the scale as that of squares": {"power": 2.0},
            "without the prior's constants": {"density": False},
        },
        theorem=("gaussian.map_is_lasso",),
        share=0.5,
    ),
    _claim(
        "spike",
        "with a spike of zero width off the prior it is the ridge on the prior's edges: maps both "
        "ways keep feasibility and bound the objectives",
        _spike,
        {
            "a spike of width 0.1": {"spike": 0.1},
            "no mask": {"masked": False},
            "the width as a variance": {"power": 1.0},
            "without the densities' constants": {"density": False},
        },
        theorem=("frame.equivalent_argmin",),
        covers="that such maps carry minimisers",
        share=0.5,
    ),
)
