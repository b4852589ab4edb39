"""Claims about generative methods: negative ELBOs by their formulas, quadratures written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np
from scipy.special import gammaln

from unigrn.methods import get
from unigrn.methods.pmf_grn import GaussianFactors
from unigrn.processes import EDGES, Flat, Normal, generative
from unigrn.spec import Slots
from unigrn.terms import Blocks, PriorView, View, pytree
from unigrn.verify.claims.common import Search, apart, claimed, evaluated
from unigrn.verify.claims.methods import NO_THEOREM
from unigrn.verify.instances import Example
from unigrn.verify.search import Finding

REGULATORS, TARGETS, NODES = 3, 4, 80


@dataclass(frozen=True, repr=False)
class Hidden(Example):
    """Expression of few cells, a prior, and a guide of every latent.

    Parameters
    ----------
    seed
        Of the random numbers.
    cells
        Number of cells.
    weighted
        Cells have weights, one of them 0.
    released
        The published hyperparameters, or drawn ones.
    """

    seed: int = 0
    cells: int = 5
    weighted: bool = False
    released: bool = False

    @property
    def hyper(self) -> dict[str, float]:
        """Hyperparameters of the method."""
        if self.released:
            known = {"low": 0.0005, "high": 0.9995, "existence": 2.0, "strength": 1.0}
            return {**known, "activity": 5.0, "divergence": 10.0}
        rng = self.rng(1)
        low, high = rng.uniform(0.01, 0.2), rng.uniform(0.8, 0.99)
        names = ("existence", "strength", "activity", "divergence")
        return {"low": low, "high": high} | dict(zip(names, rng.uniform(0.5, 3, 4), strict=True))

    off = property(lambda self: 0.01 if self.released else 0.2, doc="Width off the prior.")
    shape = property(lambda self: 1e-3 if self.released else 2.0, doc="Of precisions.")

    @property
    def weight(self) -> np.ndarray:
        """Weights of the cells."""
        weight = self.rng(2).uniform(0.5, 2, self.cells)
        weight[0] = 0
        return weight if self.weighted else np.ones(self.cells)

    @property
    def expression(self) -> np.ndarray:
        """Values, (cells, targets)."""
        return self.rng(3).gamma(2.0, 1.0, (self.cells, TARGETS))

    @property
    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights and candidates, (regulators, targets)."""
        rng, shape = self.rng(4), (REGULATORS, TARGETS)
        weight = np.where(rng.random(shape) < 0.5, rng.choice([0.4, 1.0], shape), 0.0)
        valid = np.ones(shape, bool)
        valid[0, 0] = False
        return weight, valid

    @property
    def guide(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Location and spread of every latent."""
        rng, shapes = self.rng(5), _shapes(self.cells)
        return {n: (rng.normal(0, 0.7, s), rng.uniform(0.05, 0.8, s)) for n, s in shapes.items()}

    @property
    def activities(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Guide of a model with a precision of every regulator in place of existence and depth."""
        kept = {n: v for n, v in self.guide.items() if n not in ("edge", "depth")}
        rng = self.rng(6)
        return kept | {
            "precision": (rng.normal(0, 0.7, REGULATORS), rng.uniform(0.05, 0.8, REGULATORS))
        }

    @property
    def signs(self) -> np.ndarray:
        """Signs of edges, 0 where none is known, (regulators, targets)."""
        drawn = self.rng(7).choice([-1, 0, 1], (REGULATORS, TARGETS))
        return np.where(self.prior[0] > 0, drawn, 0).astype(np.int8)

    @property
    def signed(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Guide of a model with a precision of every edge, a baseline and a noise of targets."""
        rng, guide = self.rng(8), self.guide
        shapes = {"baseline": (TARGETS,), "noise": (TARGETS,), "precision": (REGULATORS, TARGETS)}
        own = {n: (rng.normal(0, 0.7, s), rng.uniform(0.05, 0.8, s)) for n, s in shapes.items()}
        return {"activity": guide["activity"], "theta": guide["theta"]} | own

    @property
    def widths(self) -> dict[str, float]:
        """Hyperparameters of that model."""
        if self.released:
            return {"off": 0.05, "activity": 10.0, "baseline": 1.0, "noise": 1.0}
        names = ("off", "activity", "baseline", "noise")
        return dict(zip(names, self.rng(9).uniform(0.3, 3, 4), strict=True))


def _shapes(cells: int) -> dict[str, tuple[int, ...]]:
    edges = (REGULATORS, TARGETS)
    return {
        "activity": (cells, REGULATORS),
        "depth": (cells,),
        "edge": edges,
        "noise": (),
        "theta": edges,
    }


def _hidden():
    from hypothesis import strategies as st

    return st.builds(
        Hidden,
        seed=st.integers(0, 2**16),
        cells=st.sampled_from([5, 1]),
        weighted=st.booleans(),
        released=st.booleans(),
    )


def _mean(function: Any, location: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """E f(u), u ~ N(location, spread^2), by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite.hermgauss(NODES)
    at = np.asarray(location)[..., None] + np.sqrt(2) * np.asarray(spread)[..., None] * nodes
    return function(at) @ weights / np.sqrt(np.pi)


def _sigmoid(u: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-u))


def _divergence(guide: tuple, center: Any, width: Any) -> np.ndarray:
    location, spread = guide
    ratio = (spread**2 + (location - center) ** 2) / (2 * width**2)
    return np.log(width / spread) + ratio - 0.5


def pmf_grn(
    example: Hidden,
    existing: bool = True,
    floor: float = 0.001,
    deep: bool = True,
    clipped: bool = True,
    factor: bool = True,
    every: bool = False,
    wide: float = 3.0,
    counted: bool = True,
) -> dict[str, Any]:
    """Return the negative ELBO and the columns from the published formulas."""
    hyper, guide, weight = example.hyper, example.guide, example.weight
    y, (known, valid) = example.expression, example.prior
    low, high = (hyper["low"], hyper["high"]) if clipped else (1e-9, 1 - 1e-9)
    odds = np.log(np.clip(known, low, high) / (1 - np.clip(known, low, high)))
    m, s = guide["activity"]
    u, u2 = np.exp(m + s**2 / 2), np.exp(2 * m + 2 * s**2)
    a, d = (_mean(_sigmoid, *guide[n]) for n in ("edge", "depth"))
    a2, d2 = (_mean(lambda t: _sigmoid(t) ** 2, *guide[n]) for n in ("edge", "depth"))
    a2, d2 = a2 if existing else a**2, d2 if deep else d**2
    b = np.where(valid, guide["theta"][0], 0)
    b2 = np.where(valid, guide["theta"][0] ** 2 + guide["theta"][1] ** 2, 0)
    first = u @ (a * b)
    second = first**2 + u2 @ (a2 * b2) - u**2 @ (a * b) ** 2
    squares = y**2 - 2 * y * d[:, None] * first + d2[:, None] * second
    precision = _mean(lambda t: (np.exp(t) + floor) ** -2, *guide["noise"])
    log_noise = _mean(lambda t: np.log(np.exp(t) + floor), *guide["noise"])
    cost = 0.5 * precision * squares + log_noise + 0.5 * np.log(2 * np.pi)
    kept = valid | every
    apart = _divergence(guide["edge"], odds, hyper["existence"])[kept].sum()
    apart += _divergence(guide["theta"], 0, hyper["strength"])[kept].sum()
    rows = _divergence(guide["activity"], 0, hyper["activity"]).sum(axis=1)
    rows = rows + _divergence(guide["depth"], 0, wide)
    apart += weight @ rows if counted else rows.sum()
    apart += _divergence(guide["noise"], 0, 1.0)
    return {
        "objective": weight @ cost.sum(axis=1) + (hyper["divergence"] if factor else 1) * apart,
        "weight": a * b,
        "probability": a,
        "probability_variance": a2 - a**2,
        "variance": a2 * b2 - (a * b) ** 2,
    }


def posed(example: Hidden, guide: str = "guide") -> tuple[View, PriorView, Blocks]:
    """Return the data, the prior and a guide as a term sees them."""
    known, valid = example.prior
    prior = PriorView(known > 0, known, example.signs, ~valid, valid)
    none = np.zeros((example.cells, REGULATORS))
    view = View(x=none, y=example.expression, weight=example.weight)
    blocks = {}
    for name, (location, spread) in getattr(example, guide).items():
        blocks |= {name: location, f"log_sd_{name}": np.log(spread)}
    return view, prior, Blocks(**jax.tree.map(np.asarray, blocks))


def bitfam(
    example: Hidden,
    spread: bool = True,
    narrow: bool = True,
    turned: bool = True,
    logarithm: float = 0.5,
    flat: bool = False,
) -> dict[str, Any]:
    """Return the negative ELBO and the columns of BITFAM from its formulas."""
    y, weight, (known, valid), guide = (
        example.expression,
        example.weight,
        example.prior,
        example.activities,
    )
    m, s = (np.where(valid, v, 0) for v in guide["theta"])
    z = _mean(_sigmoid, *guide["activity"])
    z2 = _mean(lambda t: _sigmoid(t) ** 2, *guide["activity"]) if spread else z**2
    squares = (y - z @ m) ** 2 + z2 @ (m**2 + s**2) - z**2 @ m**2
    noise, log_noise = _log_normal(guide["noise"])
    cost = weight @ (0.5 * noise * squares - 0.5 * log_noise + 0.5 * np.log(2 * np.pi)).sum(axis=1)
    rate, log_rate = _log_normal(guide["precision"])
    on = (known > 0) | (not narrow)
    size = np.where(on, rate[:, None], 1 / example.off**2)
    log_size = np.where(on, log_rate[:, None], -2 * np.log(example.off))
    h = example.shape
    prior = (logarithm * log_size - 0.5 * size * (m**2 + s**2) - 0.5 * np.log(2 * np.pi))[
        valid
    ].sum()
    prior += (h * np.log(h) - gammaln(h) + (h - 1) * log_rate - h * rate).sum() - noise
    logs = _mean(lambda t: -np.logaddexp(0, t) - np.logaddexp(0, -t), *guide["activity"])
    prior += weight @ ((0 if flat else -0.5 * logs - np.log(np.pi)) + 0 * logs).sum(axis=1)
    entropy = _entropy(s[valid]).sum()
    slope = guide["precision"][0].sum() + guide["noise"][0] if turned else 0
    entropy += _entropy(guide["precision"][1]).sum() + _entropy(guide["noise"][1]) + slope
    entropy += weight @ (_entropy(guide["activity"][1]) + logs).sum(axis=1)
    return {"objective": cost - prior - entropy, "weight": m, "variance": s**2}


def tiger(
    example: Hidden,
    signed: bool = True,
    half: bool = True,
    tails: bool = True,
    spread: bool = True,
    narrow: bool = True,
    based: bool = True,
    every: bool = False,
    counted: bool = True,
) -> dict[str, Any]:
    """Return the negative ELBO and the columns of TIGER from its formulas."""
    y, weight, (known, valid), guide = (
        example.expression,
        example.weight,
        example.prior,
        example.signed,
    )
    hyper, kept, rows = example.widths, valid | every, weight if counted else np.ones(len(weight))
    m, s = guide["theta"]
    sign = example.signs * signed
    log = sign != 0  # e^u and -e^u in place of u
    first = np.where(log, sign * np.exp(m + s**2 / 2), m)
    square = np.where(log, np.exp(2 * m + 2 * s**2), m**2 + s**2)
    p, q = guide["precision"]
    inverse, root = np.exp(-p + q**2 / 2), np.exp(-p / 2 + q**2 / 8)
    inverse = inverse if tails else root**2
    w, w2 = np.where(valid, first * root, 0), np.where(valid, square * inverse, 0)
    z, log_z = _log_normal(guide["activity"])
    z2 = np.exp(2 * log_z + 2 * guide["activity"][1] ** 2) if spread else z**2
    b, c = guide["baseline"]
    squares = (y - b - z @ w) ** 2 + z2 @ w2 - z**2 @ w**2 + c**2
    noise, log_noise = _log_normal(guide["noise"])
    cost = weight @ (0.5 * noise * squares - 0.5 * log_noise + 0.5 * np.log(2 * np.pi)).sum(axis=1)

    def normal(square, width):
        return -0.5 * square / width**2 - np.log(width) - 0.5 * np.log(2 * np.pi)

    width = np.where((known > 0) | (not narrow), 1, hyper["off"])
    h, two = hyper["noise"], np.log(2)
    prior = (normal(square, width) + np.where(log & half, two, 0))[kept].sum()
    prior -= np.exp(p + q**2 / 2)[kept].sum()
    prior += rows @ (normal(z2, hyper["activity"]) + two * half).sum(axis=1)
    prior += normal(b**2 + c**2, hyper["baseline"]).sum() if based else 0
    prior += (h * np.log(h) - gammaln(h) + (h - 1) * log_noise - h * noise).sum()
    entropy = (_entropy(s) + np.where(log, m, 0) + _entropy(q) + p)[kept].sum()
    entropy += rows @ (_entropy(guide["activity"][1]) + log_z).sum(axis=1)
    entropy += (_entropy(c) * based + _entropy(guide["noise"][1]) + log_noise).sum()
    return {"objective": cost - prior - entropy, "weight": w, "variance": w2 - w**2}


def _tiger(example: Hidden, **change: Any) -> list[Finding]:
    got = shipped(example, "tiger", example.widths, "signed")
    want = tiger(example, **change)
    assert set(got) == set(want)
    return [apart(name, got[name], want[name], unit=1e-6) for name in want]


def _log_normal(guide: tuple) -> tuple[Any, Any]:
    """Mean of e^u, and of u."""
    location, spread = guide
    return np.exp(location + spread**2 / 2), location


def _entropy(spread: Any) -> Any:
    return np.log(spread) + 0.5 * np.log(2 * np.pi * np.e)


def _bitfam(example: Hidden, **change: Any) -> list[Finding]:
    given = {"off": example.off, "hyperprior": example.shape}
    got = shipped(example, "bitfam", given, "activities")
    want = bitfam(example, **change)
    assert set(got) == set(want)
    return [apart(name, got[name], want[name], unit=1e-6) for name in want]


def shipped(example: Hidden, name: str, hyper: dict[str, float], guide: str) -> dict[str, Any]:
    """Return the same of a shipped spec."""
    spec = get(name).function(None, **hyper)
    view, prior, params = posed(example, guide)
    value, _ = evaluated(spec, params, view, prior)
    columns = spec.columns[0](params, view, prior, Slots(spec.shape, spec.terms))
    for name in ("score", "sign_probability", "lower", "upper"):  # those of tests/test_posterior.py
        columns.pop(name)
    return {"objective": value, **jax.tree.map(np.asarray, columns)}


def _pmf_grn(example: Hidden, **change: Any) -> list[Finding]:
    got = shipped(example, "pmf_grn", example.hyper, "guide")
    want = pmf_grn(example, **change)
    assert set(got) == set(want)
    return [apart(name, got[name], want[name], unit=1e-6) for name in want]


@pytree
class SoftData(GaussianFactors):
    """PMF-GRN with a flat prior of existence, and the prior's log odds as data of their own."""

    observed: ClassVar[dict[str, tuple[str, ...]]] = {**GaussianFactors.observed, "evidence": EDGES}

    def sites(self, site, data, prior):
        """Visit every site."""

        def turned(name, distribution, *observed):
            if name != "edge":
                return site(name, distribution, *observed)
            edge = site("edge", Flat())
            site("evidence", Normal(edge, self.existence), data.extra["evidence"])
            return edge

        super().sites(turned, data, prior)


def _soft_data(example: Hidden, half: bool = False, **change: Any) -> list[Finding]:
    hyper = {n: v for n, v in example.hyper.items() if n != "divergence"}
    spec = generative(SoftData(**hyper), None)
    view, prior, params = posed(example)
    known = np.clip(prior.weight, hyper["low"], hyper["high"])
    evidence = np.log(known / (1 - known)) / (2 if half else 1)
    value, _ = evaluated(spec, params, view.replace(extra={"evidence": evidence}), prior)
    want = pmf_grn(example, **{"factor": False} | change)["objective"]
    return [apart("objective", value, want)]


CLAIMS = (
    claimed(
        "category_2.soft_data",
        "a Gaussian prior of existence around the prior's log odds is the same as a flat one, with "
        "these as data of their own",
        (),
        Search("soft prior = soft data", _soft_data, (_hidden,), 1e-8).slipped,
        {
            "the log odds halved as data": {"half": True},
            "the prior's weights not kept from 0 and 1": {"clipped": False},
            "edges that are no candidates counted": {"every": True},
        },
        reason="one line: (z - m)^2 is symmetric",
        share=0.3,
    ),
    claimed(
        "methods.pmf_grn",
        "the objective is the negative ELBO of the published factor model, each expectation in "
        "closed form or by a quadrature, and columns are moments of the guide",
        (),
        Search("pmf_grn", _pmf_grn, (_hidden,), 1e-8).slipped,
        {
            "existence without a variance": {"existing": False},
            "noise without its floor": {"floor": 0.0},
            "depth without a variance": {"deep": False},
            "the prior's weights not kept from 0 and 1": {"clipped": False},
            "the factor of the divergence left out": {"factor": False},
            "edges that are no candidates counted": {"every": True},
            "latents of a cell counted without its weight": {"counted": False},
            "another width of the depths": {"wide": 1.0},
        },
        reason=NO_THEOREM,
        share=0.3,
    ),
    claimed(
        "methods.bitfam",
        "the objective is the negative ELBO of the published factor model with activities between "
        "0 and 1, and columns are moments of the guide",
        (),
        Search("bitfam", _bitfam, (_hidden,), 1e-8).slipped,
        {
            "activities without a variance": {"spread": False},
            "weights off the prior as wide as on it": {"narrow": False},
            "precisions without the slope of their logarithm": {"turned": False},
            "the width's logarithm counted twice": {"logarithm": 1.0},
            "uniform activities": {"flat": True},
        },
        reason=NO_THEOREM,
        share=0.3,
    ),
    claimed(
        "methods.tiger",
        "the objective is the negative ELBO of the published factor model with activities above 0 "
        "and weights on the half-line of a known sign, and columns are moments of the guide",
        (),
        Search("tiger", _tiger, (_hidden,), 1e-8).slipped,
        {
            "signs not read": {"signed": False},
            "half-lines with the density of whole ones": {"half": False},
            "weights whose width has no variance": {"tails": False},
            "activities without a variance": {"spread": False},
            "weights off the prior as wide as on it": {"narrow": False},
            "a baseline without a price": {"based": False},
            "edges that are no candidates counted": {"every": True},
            "latents of a cell counted without its weight": {"counted": False},
        },
        reason=NO_THEOREM,
        share=0.3,
    ),
)
