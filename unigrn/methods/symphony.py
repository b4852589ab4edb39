"""Symphony: networks of groups of cells behind the covariances of their genes, and bulk peaks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.check import check_number, check_whole
from unigrn.prior import Prior
from unigrn.processes import EDGES, Distribution, Gamma, Normal, Process, generative
from unigrn.processes.uncertain import LOG_2PI, Latent, NoMoments, Uncertain
from unigrn.spec import Spec
from unigrn.terms import Along, Array, Blocks, Loss, PriorView, View, pytree, static

GENES, PEAKS = ("targets",), ("peaks",)
COVARIANCES = ("intended", "released")


@pytree
class Cells(Distribution):
    """Cells by their sums, x ~ N(mean, Sigma) with Sigma = Delta F A A' F' Delta / (D + 1).

    -(n log det 2 pi Sigma + tr Sigma^-1 [S + n (xbar - m)(xbar - m)']) / 2. F is the root of the
    network's square, A Bartlett's matrix.
    """

    mean: Any  # (genes,)
    network: Any  # (genes, genes)
    normal: Any  # (genes (genes + 1) / 2,)
    chi: Any  # (genes,)
    scale: Any  # (genes,), logarithms
    covariance: str = static(default="intended")

    def factor(self) -> Array:
        """Return Delta F A / (D + 1)^1/2."""
        psi = jnp.linalg.qr(self.network + self.network.T, mode="r")
        if self.covariance != "released, of any sign":
            psi = jnp.where(jnp.diagonal(psi) < 0, -1.0, 1.0).astype(psi.dtype)[:, None] * psi
        root = psi.T if self.covariance == "intended" else psi
        wide = jnp.sqrt(jnp.asarray(1.0 + len(self.chi), psi.dtype))
        return jnp.exp(self.scale)[:, None] * (root @ bartlett(self.normal, self.chi)) / wide

    def log_prob(self, value: Any) -> Array:
        """Return the log density of all cells; ``value`` is their number, mean and scatter."""
        numbers = (self.mean, self.network, self.normal, self.chi, self.scale)
        if any(isinstance(v, Uncertain) for v in numbers):
            raise NoMoments("the likelihood of cells under a covariance has no closed expectation")
        count, center, scatter = value
        apart = center - self.mean
        total = scatter + count * jnp.outer(apart, apart)
        # The factor is a product: its triangular form by QR, without forming Sigma.
        root = jnp.linalg.qr(self.factor().T, mode="r").T
        half = jax.scipy.linalg.solve_triangular(root, total, lower=True)
        quadratic = jnp.trace(jax.scipy.linalg.solve_triangular(root, half.T, lower=True))
        log_det = 2 * jnp.sum(jnp.log(jnp.abs(jnp.diagonal(root))))
        return -0.5 * (count * (LOG_2PI * len(self.mean) + log_det) + quadratic)

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Raise: what is observed are sums of cells."""
        raise ValueError("symphony observes sums of cells, which are not drawn")


def sums(x: Any, weight: Any) -> tuple[Array, Array, Array]:
    """Return number, mean and scatter of cells, by their weights."""
    weight = jnp.ones(len(x), x.dtype) if weight is None else weight
    count = jnp.sum(weight)
    center = weight @ x / count
    apart = x - center[None, :]
    return count, center, apart.T @ (weight[:, None] * apart)


def bartlett(normal: Array, chi: Array) -> Array:
    """Return A of Bartlett's decomposition: A A' ~ Wishart of the identity.

    ``normal`` are rows of an upper triangle as they are folded into a square.
    """
    genes = len(chi)
    folded = jnp.concatenate([normal, normal[genes:][::-1]]).reshape(genes, genes)
    return jnp.triu(folded, 1).T + jnp.diag(jnp.sqrt(chi))


@pytree
class Regulation(Process):
    """Cells of one group; see `symphony`."""

    spread: Any
    shape: Any
    covariance: str = static(default="intended")

    latents = {
        "theta": EDGES,
        "accessibility": PEAKS,
        "mean": GENES,
        "normal": ("pairs",),
        "chi": GENES,
        "scale": GENES,
    }
    observed = {"expression": ()}
    square = ordered = True  # Bartlett's matrix is triangular

    def sizes(self, data):
        """Return the numbers of peaks, and of pairs of genes."""
        genes = data.y.shape[1]
        return {"peaks": len(data.extra["bulk"]), "pairs": genes * (genes + 1) // 2}

    def sites(self, site, data, prior):
        """Visit every site; accessibility and chi are logarithms, scale is one of its own."""
        cells = sums(data.y, data.weight)
        free = 1 + data.y.shape[1] - jnp.arange(data.y.shape[1], dtype=data.y.dtype)
        known = prior.sign.astype(data.y.dtype)
        sign = jnp.where(prior.support, jnp.where(known != 0, known, jnp.sign(cells[2])), 0)
        mean = site("mean", Normal(cells[1], 1.0))
        peaks = site("accessibility", Gamma(self.shape, 1.0))
        network = site(
            "theta", Normal(sign * peaks[data.extra["peak"].astype(jnp.int32)], self.spread)
        )
        normal = site("normal", Normal(0.0, 1.0))
        chi = site("chi", Gamma(free / 2, 0.5))
        scale = site("scale", Normal(-4.0, 100.0))
        site("expression", Cells(mean, network, normal, chi, scale, self.covariance), cells)

    def edges(self, values):
        """Return R."""
        return {"weight": values["theta"]}


@pytree
class Bulk(Loss):
    """- E_q log N(C_is; sum_k pi_k p_ki, sd^2): accessibility of a mixture of all groups."""

    sd: Any

    separable = None
    across = True
    weighted = True
    blocks = ("accessibility", "log_sd_accessibility", "theta")
    axes = {"accessibility": PEAKS, "log_sd_accessibility": PEAKS}
    formula = property(lambda self: "−E_q log p(bulk | accessibility)")

    def check_extra(self, extra: dict[str, Along]) -> None:
        """Raise where a pair of genes has no peak."""
        bulk, peak = (np.asarray(extra[name].values) for name in ("bulk", "peak"))
        if bulk.ndim != 2:
            raise ValueError(f"bulk is (peaks, replicates), got an array of shape {bulk.shape}")
        odd = peak[(peak != np.floor(peak)) | (peak < 0) | (peak >= len(bulk))]
        if odd.size:
            raise ValueError(
                f"peak holds {odd.flat[0]:g}, and the rows of bulk are 0 to {len(bulk) - 1}: every "
                "pair of genes has one, also where the prior has no edge"
            )

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the networks of all groups, groups first."""
        share = jnp.sum(data.weight, axis=1) / jnp.sum(data.weight)
        spread = jnp.exp(params.log_sd_accessibility)
        peaks = Latent(params.accessibility, spread, "accessibility", "exp")
        mixed = Normal((share @ peaks)[:, None], self.sd)
        return -jnp.sum(mixed.log_prob(data.extra["bulk"][0]))


def symphony(
    prior: Prior | None,
    spread: float = 0.05,
    bulk: float = 0.01,
    shape: float = 4.5,
    covariance: str = "intended",
    draws: int = 8,
    seed: int = 0,
) -> Spec:
    """Symphony, a reconstruction: groups of cells with networks, and bulk accessibility of peaks.

    Groups k with n_k cells, pi_k = n_k / n; genes i, j; g_ij the peak by which i regulates j, M_ij
    the sign of the prior's edge, else that of the covariance of i and j in the group, 0 off the
    prior; D genes, g0 = D + 1::

        C_gs ~ N(sum_k pi_k p_kg, bulk^2),   p_kg ~ Gamma(shape, 1)
        R_k,ij ~ N(M_ij p_k,g_ij, spread^2)
        x ~ N(mu_k, Delta_k S_k Delta_k),   mu_k ~ N(mean of the group, 1)
        log Delta_k ~ N(-4, 100^2),   S_k ~ Wishart(g0, (R_k + R_k')^2 / g0)

    The guide is mean-field in R, p, mu, log Delta and Bartlett's variables of S. All groups are one
    problem: they share the bulk. Closed forms throughout, but for the likelihood of the cells, a
    mean over the same ``draws`` of the guide at every step.

    Parameters
    ----------
    prior
        Edges, the support of M; ``sign`` where it is known.
    spread
        Standard deviation of an edge around the accessibility of its peak.
    bulk
        Standard deviation of the bulk around the mean of the groups.
    shape
        Shape of the Gamma distribution of accessibility, its mean.
    covariance
        "intended": S of the network as above. "released": what the released notebook computes,
        (R + R')^2 = Psi' Psi with Psi Psi' in its place, which is another matrix.
    draws
        Draws of the guide, the same at every step.
    seed
        Of the draws.

    Notes
    -----
    Take it for several groups of cells beside bulk accessibility of their mixture. It expects
    log-normalised values, external arrays ``bulk`` (peaks, replicates; the notebook has
    log(count + 1) / 4) and ``peak`` (regulators, targets; the row of ``bulk``), regulators that are
    the targets, and no more than some hundred genes: a step costs D^3 for every draw and group.
    It is written from the notebook, which does not infer the groups, has a point for R and holds
    constants of one application; the paper's own equations were not at hand. Expression sees R
    only through |R + R'|: direction and sign come from the prior and the peaks, and a direct edge
    changes a covariance only beside edges of genes to themselves, which are candidates here. Not
    the model but its guide depends on the order of the genes. The objective is not convex, and a
    small ``bulk`` makes it stiff: give it steps, or a larger tolerance.

    References
    ----------
    Burdziak, Azizi, Prabhakaran and Pe'er (2019), arXiv:1902.08138.
    """
    if covariance not in COVARIANCES:
        raise ValueError(f"covariance must be one of {', '.join(COVARIANCES)}, got {covariance!r}")
    process = Regulation(
        check_number("spread", spread, strict=True),
        check_number("shape", shape, strict=True),
        covariance,
    )
    spec = generative(
        process,
        prior,
        draws=check_whole("draws", draws, low=1),
        seed=seed,
        self_edges=True,
        name="symphony",
        expects=("log",),
        notes={"weight": "posterior mean, in units of accessibility"},
    )
    return spec.replace(loss=spec.loss + Bulk(check_number("bulk", bulk, strict=True)))
