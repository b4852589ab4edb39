"""The process of Symphony at recorded values of its latents; see `unigrn.methods.symphony`."""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp

from unigrn.methods.symphony import Bulk, Regulation
from unigrn.terms import Blocks, PriorView, View
from unigrn.verify.densities import setting_of
from unigrn.verify.replay import read_archive

MODES = {
    "released_np_qr": "released, of any sign",
    "released_posdiag": "released",
    "transposed": "intended",
}
NAMES = {
    "mean": "mu",
    "accessibility": "p",
    "theta": "R",
    "normal": "nij",
    "chi": "ci",
    "scale": "delta",
    "expression": "X",
}


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
        x, z, sign = values["in/X"], values["in/z"], values["in/M_signed"]
        networks = range(len(own["latent/R"]))
        some = sign != 0
        every = jnp.ones_like(some)
        weight = some.astype(x.dtype)
        prior = PriorView(some, weight, sign.astype(jnp.int8), ~every, every)
        extra = {"bulk": values["in/C"], "peak": values["in/g"]}
        out: dict[str, float] = {}
        for mode, covariance in MODES.items():
            process = Regulation(0.05, 4.5, covariance)
            for k in networks:
                latent = {
                    name: values[f"latent/{old}"][k] for name, old in NAMES.items() if old != "X"
                }
                found = process.log_density(
                    latent, View(x=x[z == k], y=x[z == k], extra=extra), prior
                )
                for name, value in found.items():
                    site = f"X_{mode}" if name == "expression" else NAMES[name]
                    if name == "expression" or mode == "transposed":
                        out[site] = out.get(site, 0.0) + float(value)
        counts = jnp.asarray([[jnp.sum(z == k)] for k in networks], x.dtype)
        peaks = values["latent/p"]
        blocks = Blocks(
            theta=values["latent/R"],
            accessibility=jnp.log(peaks),
            log_sd_accessibility=jnp.full_like(peaks, -jnp.inf),
        )
        all_groups = View(weight=counts, extra={"bulk": extra["bulk"][None]})
        out["C"] = -float(Bulk(0.01)(blocks, all_groups, prior))
    return out
