"""SCODE: linear dynamics of genes along pseudotime, through few modes."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from unigrn.check import check_number, check_whole
from unigrn.constraints import box
from unigrn.ensembles import consensus
from unigrn.prior import Prior
from unigrn.spec import Spec
from unigrn.terms import Array, Blocks, Loss, PriorView, View, pytree, static

TIME = "pseudotime"


def scode(
    prior: Prior | None,
    modes: int = 4,
    lower: float = -10.0,
    upper: float = 2.0,
    noise: float = 1e-3,
    runs: int = 20,
) -> Spec:
    """Linear dynamics dx = A x dt of all genes, reduced to few modes of their own rates.

    min over rates b in [lower, upper] and W (genes, modes) of
    sum_c |x_c - W z_c|^2 + n (noise^2 / 3) |W|^2,  z_cd = exp(b_d t_c), with t the pseudotime of
    the n cells, brought to 0..1 in each group. The network is the smallest A with A W = W diag(b),
    A = W diag(b) W^+: entry (source, target) is A_target,source. No prior enters.

    Parameters
    ----------
    prior
        Not used; it names default regulators, which here are the genes themselves.
    modes
        D: number of modes, fewer than genes.
    lower, upper
        Bounds of the rates, lower <= 0 <= upper, per length of the pseudotime.
    noise
        Half the width of the noise that the published program adds to z; in the mean over it, this
        is the ridge on W. It must be > 0: modes of like rates are else not told apart.
    runs
        Number of random starts, uniform within the bounds; the best is taken.

    Notes
    -----
    Take it for cells in order along one process and tens to a few hundred factors. It expects
    log-normalised values, and the pseudotime, one number a cell in any unit:
    ``extra={"pseudotime": column}``, on the command line ``--extra pseudotime=COLUMN``. The
    published program has no objective of its own: it draws rates at random, keeps those that lower
    the squares, and averages A over repeated runs. What it lowers is the objective here, and every
    start descends to a minimum of it. Not convex: other starts may be better still. Modes of like
    rates make A large: it is known as well as W is conditioned. The weight of a gene on itself is
    its decay.

    References
    ----------
    Matsumoto, Kiryu, Furusawa, Ko, Ko, Gouda, Hayashi and Nikaido, Bioinformatics 33 (2017) 2314,
    doi:10.1093/bioinformatics/btx194.
    """
    noise = check_number("noise", noise, strict=True)
    count = check_whole("modes", modes, low=1)
    spec = Spec(
        loss=Modes(noise**2 / 3, count),
        constraint=box(lower, upper, "rates"),
        prior=prior,
        name="scode",
        expects=("log",),
        start=Uniform(float(lower), float(upper), count),
        gauge=ReadOff(noise**2 / 3),
        notes={
            "weight": "change of the target per unit of the source and length of the pseudotime"
        },
    )
    return consensus(spec, runs, best=True)


def unit_time(data: View) -> tuple[Array, Array]:
    """Return the pseudotime of each cell from 0 to 1, (cells,), and its reach."""
    time = jnp.asarray(data.extra[TIME], data.y.dtype)
    counts = jnp.ones_like(time, bool) if data.weight is None else data.weight > 0
    low = jnp.min(jnp.where(counts, time, jnp.inf))
    reach = jnp.max(jnp.where(counts, time, -jnp.inf)) - low
    return jnp.where(counts, (time - low) / jnp.where(reach > 0, reach, 1), 0), reach


def regressed(rates: Array, data: View, ridge: Array) -> tuple[Array, Array]:
    """Return W' (modes, genes) by ridge given the rates, and the cost at it."""
    weight = jnp.ones_like(data.y[:, 0]) if data.weight is None else data.weight
    root = jnp.sqrt(weight)[:, None]
    z = jnp.exp(unit_time(data)[0][:, None] * rates[None, :])
    price = jnp.sqrt(ridge * jnp.sum(weight))
    # Rows for the ridge: modes of like rates would lose half the digits in products.
    tall = jnp.concatenate([root * z, price * jnp.eye(len(rates), dtype=z.dtype)])
    right = jnp.concatenate([root * data.y, jnp.zeros((len(rates), data.y.shape[1]), z.dtype)])
    q, r = jnp.linalg.qr(tall)
    modes = jax.scipy.linalg.solve_triangular(r, q.T @ right)
    return modes, jnp.sum((right - tall @ modes) ** 2)


@pytree
class Modes(Loss):
    """Squares beside the best combination of exponential modes; see `scode`."""

    ridge: Array
    modes: int = static(default=4)

    blocks = ("rates",)
    block = "rates"
    axes = {"rates": ("modes",)}  # noqa: RUF012
    separable = None
    weighted = True
    square = True
    double = True  # exponentials of like rates are all but dependent

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        return regressed(params.rates, data, jnp.asarray(self.ridge, data.y.dtype))[1]

    formula = property(lambda self: "min_W Σ_c w_c ‖x_c − W exp(b t_c)‖² + ρ ‖W‖²")


@dataclass(frozen=True)
class Uniform:
    """Rates drawn uniformly within the bounds; not a number where no time passes."""

    lower: float
    upper: float
    modes: int

    def __call__(self, data: View, prior: PriorView, key: Array, terms: tuple) -> Blocks:
        """Return the blocks."""
        theta = jnp.zeros_like(prior.weight)
        drawn = jax.random.uniform(key, (self.modes,), theta.dtype, self.lower, self.upper)
        passes = unit_time(data)[1] > 0  # otherwise any rates would do
        return Blocks(theta=theta, rates=jnp.where(passes, drawn, jnp.nan))


@dataclass(frozen=True)
class ReadOff:
    """A = W diag(b) W^+, transposed, which no part of the objective depends on."""

    ridge: float

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Blocks:
        """Return the blocks with theta."""
        modes, _ = regressed(params.rates, data, jnp.asarray(self.ridge, data.y.dtype))
        theta = (jnp.linalg.pinv(modes) * params.rates[None, :]) @ modes
        return params.replace(theta=jnp.where(prior.valid, theta, 0))
