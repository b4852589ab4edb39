"""Log densities of declared processes at recorded values of their latents."""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logit

from unigrn.methods.pmf_grn import GaussianFactors, PoissonFactors
from unigrn.processes import TruncatedNormal, exp
from unigrn.terms import PriorView, View, pytree
from unigrn.verify.replay import read_archive

BOUNDS = (-51.0, 11.0)  # of log activities, where the released program truncates them


@pytree
class Released(GaussianFactors):
    """The process of PMF-GRN with what the released program has as options.

    Activities are cut at ``most`` after they are drawn; log activities are ``truncated``; expected
    and observed values of entries that ``held`` leaves out are both 0.
    """

    most: Any = None
    truncated: Any = None
    held: Any = None

    def activities(self):
        """Return the distribution of log activities."""
        if self.truncated is None:
            return super().activities()
        return TruncatedNormal(self.center, self.activity, *BOUNDS)

    def transform(self, activity):
        """Return activities from their logarithms."""
        return exp(activity) if self.most is None else jnp.minimum(exp(activity), self.most)

    def sites(self, site, data, prior):
        """Visit every site."""
        if self.held is None:
            return super().sites(site, data, prior)

        def masked(name, distribution, *observed):
            if observed:
                distribution = type(distribution)(distribution.mean * self.held, distribution.sd)
                return site(name, distribution, observed[0] * self.held)
            return site(name, distribution)

        return super().sites(masked, data, prior)


def pmf_grn_log_joint(npz_path: str | os.PathLike, setting: str) -> dict[str, float]:
    """Evaluate the log density of every site of PMF-GRN at recorded values of its latents.

    The densities are those of the latents as the released program declares them: existence A and
    depth between 0 and 1, activities U and the noise above 0, V of counts on the log odds; summed
    over the entries of a site, without the factors of minibatches and annealing.

    Parameters
    ----------
    npz_path
        A recording: ``SETTING/in/*`` the inputs, ``SETTING/hp/*`` the hyperparameters (NaN stands
        for None), ``SETTING/latent/*`` values of every latent.
    setting
        Which of its settings: ``s0`` and so on of the Gaussian model, ``p0`` of that of counts.

    Returns
    -------
    dict
        By site: ``A``, ``B``, ``U``, ``obs_std``, ``seq_depth``, ``obs``; of counts ``V``, ``U``,
        ``seq_depth``, ``obs``. In double precision.

    Raises
    ------
    ValueError
        The file is no such recording, or has no such setting.
    """
    own = setting_of(read_archive(npz_path), npz_path, setting, ("in/W", "latent/U"))

    def hyper(name: str) -> float | None:
        value = np.asarray(own.get(f"hp/{name}", np.nan), float).reshape(-1)
        return None if not len(value) or np.isnan(value[0]) else float(value[0])

    with jax.enable_x64(True):
        return {name: float(value) for name, value in _pmf_grn(own, hyper).items()}


def setting_of(
    file: dict[str, np.ndarray], path: str | os.PathLike, setting: str, needed: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Return the arrays of one setting of a recording, or say which settings it has."""
    own = {k.removeprefix(f"{setting}/"): v for k, v in file.items() if k.startswith(f"{setting}/")}
    if any(name not in own for name in needed):
        known = sorted({k.split("/")[0] for k in file if k.endswith(f"/{needed[-1]}")})
        raise ValueError(
            f"{os.fspath(path)!r} has no setting {setting!r} with {', '.join(needed)}; it has "
            f"{', '.join(known) or 'none'}"
        )
    return own


def _pmf_grn(own: dict[str, np.ndarray], hyper: Any) -> dict[str, Any]:
    values = {k: jnp.asarray(v, float) for k, v in own.items() if k.split("/")[0] != "hp"}
    cells = own.get("in/i", np.arange(len(own["in/W"])))
    weight = values["in/V_prior_hparams"].T
    ones = jnp.ones(weight.shape, bool)
    prior = PriorView(weight > 0, weight, jnp.zeros(weight.shape, jnp.int8), ~ones, ones)
    count = (len(cells), weight.shape[0])

    def batch(array):
        """Cells of the batch: some arrays hold them alone, some all of them."""
        return array if len(array) == len(cells) else array[cells]

    data = View(x=jnp.zeros(count), y=batch(values["in/W"]))
    center = hyper("prior_mean_log_U")
    center = batch(values["in/U_prior_hparams"]) if center is None else center
    latent = {k.removeprefix("latent/"): v for k, v in values.items() if k.startswith("latent/")}
    activity, depth = batch(latent["U"]), batch(latent["seq_depth"])[:, 0]
    at = {"activity": jnp.log(activity), "depth": logit(depth)}
    scale = hyper("prior_std_log_U")
    # The slope of each latent in what the process declares: log for log, odds for odds.
    turns = {"activity": jnp.log(activity), "depth": jnp.log(depth) + jnp.log1p(-depth)}
    names = {"activity": "U", "depth": "seq_depth", "expression": "obs"}
    if "V" in latent:
        process = PoissonFactors(0.1, 0.9, 3.0, scale, center)
        at["theta"] = latent["V"].T
        names["theta"] = "V"
    else:
        process = Released(
            hyper("min_prior_hparam"),
            hyper("max_prior_hparam"),
            hyper("prior_std_logit_A"),
            hyper("prior_std_B"),
            scale,
            center,
            hyper("U_max"),
            hyper("truncate_U") or None,
            batch(values["in/mask"]) if hyper("use_mask") and "in/mask" in values else None,
        )
        noise = latent["obs_std"].reshape(())
        at |= {"edge": logit(latent["A"].T), "theta": latent["B"].T, "noise": jnp.log(noise)}
        turns["edge"] = jnp.log(latent["A"]) + jnp.log1p(-latent["A"])
        turns["noise"] = jnp.log(noise)
        names |= {"edge": "A", "theta": "B", "noise": "obs_std"}
    density = process.log_density(at, data, prior)
    return {
        name: density[site] - (jnp.sum(turns[site]) if site in turns else 0)
        for site, name in names.items()
    }
