"""Dictys: counts of cells in the steady state of linear stochastic dynamics of their genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.check import check_number, check_whole
from unigrn.constraints import no_self, support
from unigrn.losses.counts import COUNTS
from unigrn.losses.rows import cell_weights, weighted_sum
from unigrn.prior import Prior
from unigrn.processes import Binomial
from unigrn.processes.uncertain import Latent
from unigrn.spec import Spec
from unigrn.terms import Along, Array, Blocks, Loss, PriorView, Regularizer, View, pytree, static

CELLS, GENES = ("cells", "targets"), ("targets",)
GUIDE = {"latent": CELLS, "log_sd_latent": CELLS}
FLOOR = 0.01  # of d: variances that go to 0 would have no minimum
COVARIANCE = {"loading": ("targets", "factors"), "noise": GENES}


def counted(data: View) -> Array:
    """Return which genes have a count: others are padding, or say nothing, (genes,)."""
    return jnp.any((data.y > 0) & (cell_weights(data) > 0)[:, None], axis=0)


def covariance(params: Blocks, data: View) -> tuple[Array, Array]:
    """Return the diagonal d and the factors L of Sigma = diag d + L L', 1 and 0 without counts."""
    seen = counted(data)
    noise = jnp.where(seen, FLOOR + params.noise**2, 1)
    return noise, jnp.where(seen[:, None], params.loading, 0)


def network(theta: Array, bound: Any) -> Array:
    """Return N, (regulators, targets), within its bounds."""
    return bound * jnp.tanh(theta / bound)


@pytree
class Counts(Loss):
    """- E_q log Binomial(y; n, x); see `dictys`."""

    total: str | None = static(default=None)
    seen: Any = None  # genes with counts in all cells, worked out by `prepare`

    blocks, axes = tuple(GUIDE), GUIDE
    separable = None
    square = weighted = True
    outcome = COUNTS
    formula = property(lambda self: "−E_q log Binomial(y; n, x)")

    def check_extra(self, extra: dict[str, Along]) -> None:
        """Raise where totals are no counts."""
        if self.total not in extra:
            return
        values = np.asarray(extra[self.total].values)
        wrong = values[(values < 1) | (values != np.rint(values))]
        if wrong.size:
            raise ValueError(
                f"{self.total} holds {wrong.flat[0]:g}, and the total of a cell is a whole number "
                ">= 1"
            )

    def prepare(self, data: View, prior: PriorView) -> Counts:
        """Find the genes with counts."""
        return Counts(self.total, counted(data)) if self.seen is None else self

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network, in closed form but for a quadrature of log(1 + e^x)."""
        seen = self.prepare(data, prior).seen
        total = jnp.sum(data.y, axis=1) if self.total is None else data.extra[self.total]
        latent = Latent(params.latent, jnp.exp(params.log_sd_latent), "latent")
        density = Binomial(jnp.asarray(total, data.y.dtype)[:, None], latent).log_prob(data.y)
        return -weighted_sum(data, jnp.where(seen[None, :], density, 0))


@pytree
class Latents(Regularizer):
    """KL(q(x) || N(mean, Sigma)), cell by cell; see `dictys`."""

    blocks = (*GUIDE, *COVARIANCE, "mean")
    axes = GUIDE | COVARIANCE | {"mean": GENES}
    separable = None
    square = True
    formula = property(lambda self: "KL(q(x) ‖ N(μ, Σ))")

    @property
    def guided(self) -> Any:
        """Latents have spreads; what all cells share are points."""

        def blocks(data, prior):
            count = cell_weights(data)[:, None] * counted(data)[None, :].astype(data.y.dtype)
            points = (*COVARIANCE, "mean", "theta")
            one = jnp.ones((), data.y.dtype)
            return {"latent": ("log_sd_latent", count)} | {name: (None, one) for name in points}

        return blocks

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        seen = counted(data)[None, :]
        (noise, loading), log_sd = covariance(params, data), params.log_sd_latent
        apart = jnp.where(seen, params.latent - params.mean[None, :], 0)
        spread = jnp.where(seen, jnp.exp(2 * log_sd), 0)
        scaled = loading / noise[:, None]  # Sigma^-1 = 1/d - (L/d) K^-1 (L/d)', K = I + L' L/d
        core = jnp.linalg.cholesky(
            jnp.eye(loading.shape[1], dtype=noise.dtype) + loading.T @ scaled
        )
        half = jax.scipy.linalg.solve_triangular(core, scaled.T, lower=True)
        inverse = 1 / noise - jnp.sum(half**2, axis=0)
        squares = jnp.sum(apart**2 / noise[None, :], axis=1) - jnp.sum(
            (apart @ half.T) ** 2, axis=1
        )
        log_det = jnp.sum(jnp.log(noise)) + 2 * jnp.sum(jnp.log(jnp.diagonal(core)))
        own = jnp.sum(jnp.where(seen, spread * inverse[None, :] - 2 * log_sd - 1, 0), axis=1)
        return 0.5 * weighted_sum(data, squares + log_det + own)


@pytree
class SteadyState(Regularizer):
    """s n / (4 p) |M + M' - Sigma_0|^2, M = (I - N) Sigma, Sigma_0 diagonal; see `dictys`."""

    strength: Any
    bound: Any

    blocks = (*COVARIANCE, "theta")
    axes = COVARIANCE
    separable = None
    square = True
    formula = property(lambda self: "s n/4p ‖(I−N)Σ + Σ(I−N)ᵀ − Σ₀‖²")

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network, at the best diagonal >= 0."""
        noise, loading = covariance(params, data)
        sigma = jnp.diag(noise) + loading @ loading.T
        moved = sigma - network(params.theta, self.bound).T @ sigma
        both = moved + moved.T
        own = jnp.diagonal(both)
        off = jnp.sum((both - jnp.diag(own)) ** 2) + jnp.sum(jnp.minimum(own, 0) ** 2)
        genes = jnp.sum(counted(data).astype(noise.dtype))
        return self.strength * jnp.sum(cell_weights(data)) / (4 * jnp.maximum(genes, 1)) * off


@dataclass(frozen=True)
class Start:
    """Shares of the counts with a pseudocount, small factors and an empty network."""

    factors: int
    total: str | None

    def __call__(self, data: View, prior: PriorView, key: Array, terms: tuple) -> Blocks:
        """Return the blocks."""
        y, dtype, genes = data.y, data.y.dtype, data.y.shape[1]
        total = jnp.sum(y, axis=1) if self.total is None else data.extra[self.total]
        total, weight = jnp.asarray(total, dtype), cell_weights(data)
        share = (weight @ y + 0.5) / (weight @ total + 1)
        own = (y + share[None, :]) / (total + 1)[:, None]
        key = jax.random.key(0) if key is None else key
        return Blocks(
            theta=jnp.zeros_like(prior.weight),
            latent=jax.scipy.special.logit(jnp.clip(own, 1e-6, 1 - 1e-6)),
            log_sd_latent=-0.5 * jnp.log1p(y),
            mean=jax.scipy.special.logit(jnp.clip(share, 1e-6, 1 - 1e-6)),
            loading=0.1 * jax.random.normal(key, (genes, self.factors), dtype),
            noise=jnp.full(genes, 0.6, dtype),
        )


@dataclass(frozen=True)
class Effects:
    """N as the weight, and its size in standard deviations of the latents."""

    bound: float

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> dict[str, Array]:
        """Return the columns."""
        noise, loading = covariance(params, data)
        sd = jnp.sqrt(noise + jnp.sum(loading**2, axis=1))
        weight = network(params.theta, self.bound)
        return {"weight": weight, "score": jnp.abs(weight) * sd[:, None] / sd[None, :]}


def dictys(
    prior: Prior | None,
    steady: float = 1e3,
    factors: int = 8,
    bound: float = 5.0,
    total: str | None = None,
) -> Spec:
    """Dictys: a network of log-scale dynamics whose steady state the counts are drawn from.

    Cells c of n, genes g of p; x the latent expression of a cell, y its counts, t_c their total::

        y_gc ~ Binomial(t_c, 1 / (1 + e^-x_gc)),   x_c ~ N(mu, Sigma),   Sigma = diag d + L L'
        dx = -(I - N) (x - mu) dt + noise:   M + M' = Sigma_0,   M = (I - N) Sigma

    min over N on the prior's edges, |N| <= bound, mu, d > 0.01, L and a mean-field Normal q(x) of
    sum_c [-E_q log p(y_c | x_c) + KL(q(x_c) || N(mu, Sigma))] + (s n / 4 p) |M + M' - Sigma_0|^2,
    Frobenius norm, with the diagonal Sigma_0 >= 0 at its best.

    Parameters
    ----------
    prior
        Edges from regulator to target, such as binding found by footprints; their weights are not
        read.
    steady
        s > 0: how closely the covariance is that of the steady state. The published program has
        1e5, with which descent is slow and ends in poorer minima.
    factors
        Columns of L.
    bound
        Largest |N|, in units of the genes' decay rate. 5 as published.
    total
        Name of the cells' totals t_c, which the data bring: ``data.with_extra(total=...)``. None
        takes the counts of the cell in the genes of the network.

    Notes
    -----
    Take it for counts of single cells of one kind beside a prior of binding sites, where feedback
    is plausible: cycles are allowed. It expects raw counts, and regulators that are genes of the
    network themselves. It is declared from equations, not from the program: expectations are
    closed or quadratures in place of draws and decaying steps of Adam, so that a fit says whether
    it ended at a stationary point; covariates and the indirect effects (I - N)^-1 are left out.
    What Sigma_0 is in the program, and its number of factors, were not at hand; here Sigma_0 is
    free and diagonal: the noise of every gene is its own. The steady state alone does not tell the
    direction of an edge: the edges that the prior lacks do. The objective is not convex. A cell of
    fewer counts in total than in a gene makes it infinite.

    References
    ----------
    Wang, Trasanidis, Wu, Dong, Hu, Bauer and Pinello, Nat. Methods 20 (2023) 1368,
    doi:10.1038/s41592-023-01971-3.
    """
    if total is not None and not isinstance(total, str):
        raise ValueError(
            "total is the name of the cells' totals, which the data bring by "
            f"data.with_extra(name=...), got {type(total).__name__}"
        )
    bound = check_number("bound", bound, strict=True)
    return Spec(
        loss=Counts(total),
        regularizer=Latents() + SteadyState(check_number("steady", steady, strict=True), bound),
        constraint=support() + no_self(),
        prior=prior,
        name="dictys",
        expects=("counts",),
        start=Start(check_whole("factors", factors, low=1), total),
        columns=Effects(bound),
        notes={
            "weight": "change of the target's log expression per unit of the regulator's and decay "
            "time",
            "score": "|weight| times the ratio of standard deviations, regulator to target",
        },
    )
