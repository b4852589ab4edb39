"""The process of Symphony as its notebook has it, at recorded values of its latents.

A reconstruction from the published notebook; the paper's own equations were not at hand. Cells of
cluster k have mean mu_k and covariance Delta_k (F_k A_k)(F_k A_k)' Delta_k / g0, with A_k of
Bartlett's decomposition and F_k from the network, (R_k + R_k')^2 = Psi_k' Psi_k. What the comments
of the notebook mean has F_k = Psi_k'; what it computes has F_k = Psi_k, with the signs that a QR
decomposition happens to give, or with a positive diagonal.
Source: the notebook of Burdziak, Azizi, Prabhakaran and Pe'er, arXiv:1902.08138.
"""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.processes import Distribution, Gamma, Normal, Process
from unigrn.processes.uncertain import LOG_2PI
from unigrn.terms import PriorView, View, pytree, static
from unigrn.verify.densities import setting_of
from unigrn.verify.replay import read_archive

SPREAD, BULK = 0.05, 0.01  # of a network around its accessibility, of the bulk around its mean
MODES = ("released_np_qr", "released_posdiag", "transposed")


@pytree
class Clusters(Distribution):
    """Cells of every cluster, N(mean_k, factor_k factor_k'), by their sums.

    -(N log det 2 pi Sigma + tr Sigma^-1 [S + N (xbar - m)(xbar - m)']) / 2 of each cluster.
    """

    mean: Any
    factor: Any
    sums: Any

    def log_prob(self, value: Any) -> Any:
        """Return the log density of the cells of every cluster, (clusters,)."""

        def one(mean, factor, count, center, scatter):
            apart = center - mean
            total = scatter + count * jnp.outer(apart, apart)
            # The factor is a product: its triangular form by QR, without forming Sigma.
            root = jnp.linalg.qr(factor.T, mode="r").T
            half = jax.scipy.linalg.solve_triangular(root, total, lower=True)
            quadratic = jnp.trace(jax.scipy.linalg.solve_triangular(root, half.T, lower=True))
            log_det = 2 * jnp.sum(jnp.log(jnp.abs(jnp.diagonal(root))))
            return -0.5 * (count * (LOG_2PI * len(mean) + log_det) + quadratic)

        return jax.vmap(one)(self.mean, self.factor, *self.sums)


@pytree
class Regulation(Process):
    """Networks of clusters of cells, from paired bulk accessibility and expression."""

    sums: Any  # count, mean and centred scatter of the cells of every cluster
    peak: Any  # of every pair of genes
    sign: Any  # of every pair of genes, 0 where no peak applies
    mode: str = static(default="transposed")

    latents = {
        "mu": ("clusters", "genes"),
        "p": ("clusters", "peaks"),
        "R": ("clusters", "sources", "genes"),
        "nij": ("clusters", "pairs"),
        "ci": ("clusters", "genes"),
        "delta": ("clusters", "genes"),
    }
    observed = {"C": ("peaks", "replicates"), "X": ("clusters",)}

    def sites(self, site, data, prior):
        """Visit every site."""
        counts, means, _ = self.sums
        genes = means.shape[1]
        free = 1.0 + genes
        mu = site("mu", Normal(means, 1.0))
        p = site("p", Gamma(4.5, 1.0))
        network = site("R", Normal(self.sign[None] * p[:, self.peak], SPREAD))
        normal = site("nij", Normal(0.0, 1.0))
        chi = site("ci", Gamma((free - jnp.arange(1.0 * genes)[None]) / 2, 0.5))
        delta = site("delta", Normal(-4.0, 100.0))
        share = counts / jnp.sum(counts)
        site("C", Normal((share @ p)[:, None], BULK), data.extra["C"])
        factor = jax.vmap(self.factor)(network, normal, chi, delta) / jnp.sqrt(free)
        site("X", Clusters(mu, factor, self.sums), data.y)

    def factor(self, network, normal, chi, delta):
        """Return Delta F A of one cluster."""
        genes = len(chi)
        psi = jnp.linalg.qr(network + network.T, mode="r")
        if self.mode != "released_np_qr":
            diagonal = jnp.diagonal(psi)
            psi = jnp.where(diagonal < 0, -1.0, 1.0)[:, None] * psi
        folded = jnp.concatenate([normal, normal[genes:][::-1]]).reshape(genes, genes)
        bartlett = jnp.triu(folded, 1).T + jnp.diag(jnp.sqrt(chi))
        root = psi.T if self.mode == "transposed" else psi
        return jnp.exp(delta)[:, None] * (root @ bartlett)


def symphony_log_joint(npz_path: str | os.PathLike, setting: str) -> dict[str, float]:
    """Evaluate the log density of every site of Symphony at recorded values of its latents.

    Parameters
    ----------
    npz_path
        A recording: ``SETTING/in/*`` the inputs X (cells, genes), z (cluster of every cell), g
        (peak of every pair of genes), M_signed and C (peaks, replicates); ``SETTING/latent/*`` the
        values of mu, p, R, nij, ci and delta, clusters first.
    setting
        Which of its settings: ``s0`` and so on.

    Returns
    -------
    dict
        By site: ``mu``, ``p``, ``R``, ``nij``, ``ci``, ``delta``, ``C``, and ``X_MODE`` with the
        modes ``released_np_qr``, ``released_posdiag`` and ``transposed`` of the covariance. In
        double precision.

    Raises
    ------
    ValueError
        The file is no such recording, or has no such setting.
    """
    own = setting_of(read_archive(npz_path), npz_path, setting, ("in/X", "in/z", "latent/R"))
    with jax.enable_x64(True):
        values = {k: jnp.asarray(v) for k, v in own.items()}
        x, z, clusters = values["in/X"], values["in/z"], len(own["latent/R"])
        parts = [x[z == k] for k in range(clusters)]
        means = jnp.stack([part.mean(axis=0) for part in parts])
        apart = [part - part.mean(axis=0, keepdims=True) for part in parts]
        scatter = jnp.stack([part.T @ part for part in apart])
        sums = jnp.asarray([1.0 * len(part) for part in parts]), means, scatter
        latent = {k.removeprefix("latent/"): v for k, v in values.items() if "latent/" in k}
        ones = jnp.ones((1, 1), bool)
        prior = PriorView(ones, jnp.ones((1, 1)), ones.astype(jnp.int8), ~ones, ones)
        data = View(y=x, extra={"C": values["in/C"]})
        out: dict[str, float] = {}
        for mode in MODES:
            process = Regulation(sums, values["in/g"], values["in/M_signed"].astype(float), mode)
            found = process.log_density(latent, data, prior)
            out |= {(f"X_{mode}" if k == "X" else k): float(v) for k, v in found.items()}
    return out
