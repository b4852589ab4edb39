"""From a process to a spec: its terms, where to start, and what is read off the fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.check import check_number, check_whole
from unigrn.constraints import no_self, support
from unigrn.losses.counts import COUNTS
from unigrn.prior import Prior
from unigrn.processes.elbo import Divergence, Likelihood, log_sd, share_of
from unigrn.processes.evidence import Evident
from unigrn.processes.handed import Handed, from_numpyro
from unigrn.processes.posterior import NOTES, Posterior
from unigrn.processes.process import Process
from unigrn.spec import Spec
from unigrn.terms import Array, Blocks, PriorView, View

FORMS, MASKS = ("variational", "map"), ("soft", "hard", "data")
SPREAD, JITTER = 0.1, 0.05  # of the guide at the start, and of where it starts


@dataclass(frozen=True)
class Start:
    """Start where the process expects its latents, a little apart from each other."""

    def __call__(self, data: View, prior: PriorView, key: Array, terms: tuple) -> Blocks:
        """Return locations, and spreads where there is a guide."""
        share, blocks = share_of(terms), {}
        for i, (name, center) in enumerate(share.process.centers(data, prior).items()):
            own = jax.random.fold_in(jax.random.key(0) if key is None else key, i)
            apart = jax.random.normal(own, jnp.shape(center), center.dtype)
            blocks[name] = center + JITTER * apart
            if name in share.spread:
                blocks[log_sd(name)] = jnp.full_like(center, jnp.log(SPREAD))
        return Blocks(**blocks)


def generative(
    process: Process | Callable,
    prior: Prior | None,
    form: str = "variational",
    mask: str = "soft",
    draws: int = 0,
    fresh: bool = False,
    divergence: float | None = None,
    seed: int = 0,
    self_edges: bool = False,
    **fields: Any,
) -> Spec:
    """Return the spec of a generative process: its negative ELBO, or its negative log joint.

    Parameters
    ----------
    process
        What generated the data; see `Process`. Or a numpyro model, a function (data, prior), as it
        is: see `from_numpyro`; it has no closed moments.
    prior
        Edges, as the process reads them.
    form
        "variational": a mean-field guide, whose means are ``theta`` and the blocks named like the
        latents, with ``log_sd_*`` their spreads. "map": the mode of the joint density, with
        respect to the latents as the process declares them.
    mask
        "hard" keeps ``theta`` on the prior's support as well; "soft" leaves the prior to the
        process; "data" as well, which must be `Evident`: one that has the prior as a view.
    draws
        0: expectations in closed form, which the process must have. R > 0: the mean over R draws.
    fresh
        Draw anew at every step (stochastic gradients) rather than the same at all of them.
    divergence
        Factor of the divergence; None, or 1, for an ELBO.
    seed
        Of draws that stay the same.
    self_edges
        Whether a gene may regulate itself.
    **fields
        Further fields of `Spec`: name, scale, stages, minibatch, notes, ...

    Raises
    ------
    ValueError
        A process without a latent ``theta`` over regulators and targets; a form or mask that does
        not exist.
    """
    if not isinstance(process, Process):
        if not callable(process):
            raise TypeError(
                "a process is a unigrn Process or a numpyro model, a function (data, prior); got "
                f"{type(process).__name__}"
            )
        process = from_numpyro(process, layers=() if prior is None else tuple(prior.layers))
    name = type(process).__name__
    if tuple(process.latents.get("theta", ())) != ("regulators", "targets"):
        raise ValueError(
            f"the process {name} needs a latent theta over regulators and targets, got the latents "
            f"{', '.join(process.latents) or 'none'}"
        )
    if not process.observed:
        raise ValueError(f"the process {name} observes nothing: name its views in observed")
    for what, value, known in (("form", form, FORMS), ("mask", mask, MASKS)):
        if value not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}")
    if (mask == "data") != isinstance(process, Evident):
        raise ValueError(
            f"mask='data' and a process with a view of the prior (unigrn.processes.Evident) go "
            f"together, got mask={mask!r} and the process {name}"
        )
    draws = check_whole("draws", draws)
    if isinstance(process, Handed) and form == "variational" and not draws:
        raise ValueError(
            f"the numpyro model {name} has no closed moments: give draws=8, say, or form='map'"
        )
    if fresh and not draws:
        raise ValueError("fresh=True draws at every step: say how many with draws=1 or more")
    if draws and not fresh and fields.get("minibatch") is not None:
        raise ValueError("draws of minibatches are new ones at every step: give fresh=True")
    how = {"form": form, "draws": draws, "fresh": bool(fresh), "seed": check_whole("seed", seed)}
    views = [Likelihood(process, site=site, **how) for site in process.observed]
    spread = Divergence(process, **how)
    if divergence is not None:
        spread = check_number("divergence", divergence, strict=True) * spread
    sets = [*([support()] if mask == "hard" else []), *([] if self_edges else [no_self()])]
    notes = (NOTES if form == "variational" else {}) | dict(fields.pop("notes", {}))
    if process.outcome == COUNTS:
        fields = {"expects": ("counts",), **fields}
    return Spec(
        loss=sum(views[1:], views[0]),
        regularizer=spread,
        constraint=sum(sets[1:], sets[0]) if sets else None,
        prior=prior,
        start=Start(),
        columns=Posterior(),
        notes=notes,
        **{"name": name.lower(), **fields},
    )
