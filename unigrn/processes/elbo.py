"""From a process to a spec: the losses of its views, the divergence of its guide, where to start.

For a process p(X, Y, latents | P) with views X, Y, ... and a mean-field guide q, Normal in u with
latent = u, e^u or 1 / (1 + e^-u) by its support,

    -ELBO = sum over views of - E_q log p(view | latents)  +  KL(q || p(latents | P)).

The views are the losses of the spec, one term each, and the divergence is its regularizer. Where
the moments of q are closed there is no noise in it; otherwise the expectations are means over
draws, the same at every step or fresh ones.
Sources: Blei, Kucukelbir and McAuliffe, J. Am. Stat. Assoc. 112 (2017) 859,
doi:10.1080/01621459.2017.1285773; Giordano, Ingram and Broderick, J. Mach. Learn. Res. 25 (2024)
1 (the same draws at every step), arXiv:2304.05527.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.check import check_number, check_whole
from unigrn.columns import Column
from unigrn.constraints import no_self, support
from unigrn.prior import Prior
from unigrn.processes.distributions import Distribution
from unigrn.processes.handed import Handed, from_numpyro
from unigrn.processes.process import Process, entries, function_of, kept, kind
from unigrn.processes.uncertain import LOG_2PI, Latent, NoMoments, Uncertain, Unknown, moments
from unigrn.spec import Spec
from unigrn.terms import Array, Blocks, Loss, PriorView, Regularizer, Term, View, pytree, static

FORMS, MASKS = ("variational", "map"), ("soft", "hard")
SPREAD, JITTER = 0.1, 0.05  # of the guide at the start, and of where it starts


def log_sd(name: str) -> str:
    """Return the name of the block that holds the logarithm of a latent's spread."""
    return f"log_sd_{name}"


# ------------------------------------------------------------------ what stands for the latents


def guide(params: Blocks, spread: tuple[str, ...]) -> Callable[[str, Distribution], Any]:
    """Every latent by the moments of the guide, those without spread at their location."""

    def value(name, distribution):
        if name not in spread:
            return function_of(name, distribution)(params[name])
        loc, sd, own = params[name], jnp.exp(params[log_sd(name)]), kind(name, distribution)
        if own == "other":
            return distribution.latent(loc, sd, name)
        return Latent(loc, sd, name, own)

    return value


def draw(
    params: Blocks, spread: tuple[str, ...], noise: dict[str, Array]
) -> Callable[[str, Distribution], Array]:
    """Every latent at a draw of the guide."""

    def value(name, distribution):
        u = params[name]
        if name in spread:
            u = u + jnp.exp(params[log_sd(name)]) * noise[name]
        return function_of(name, distribution)(u)

    return value


def noise_of(key: Array, draws: int, shapes: dict[str, Any]) -> dict[str, Array]:
    """Draw standard Normal noise for every latent, a stream each."""
    return {
        name: jax.random.normal(jax.random.fold_in(key, i), (draws, *shape.shape), shape.dtype)
        for i, (name, shape) in enumerate(shapes.items())
    }


# ------------------------------------------------------------------ terms


@pytree
class Share(Term):
    """One share of a negative ELBO, or of a negative log joint density."""

    process: Any
    noise: Any = None  # by latent, worked out by `prepare`
    form: str = static(default="variational")
    draws: int = static(default=0)
    fresh: bool = static(default=False)
    seed: int = static(default=0)
    site: str = static(default="")

    separable = None
    weighted = True
    square = property(lambda self: self.process.square)
    ordered = property(lambda self: self.process.ordered)
    noisy = property(lambda self: True if self.fresh else None)

    @property
    def blocks(self) -> tuple[str, ...]:
        """Locations of every latent, and with a guide the logarithms of its spreads."""
        return tuple(sorted((*self.process.latents, *map(log_sd, self.spread))))

    @property
    def spread(self) -> tuple[str, ...]:
        """Latents that the guide spreads."""
        return tuple(self.process.latents) if self.form == "variational" else ()

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Axes of the blocks: those of their sites."""
        own = {n: a for n, a in self.process.latents.items() if n != "theta"}
        return own | {log_sd(n): self.process.latents[n] for n in self.spread}

    def prepare(self, data: View, prior: PriorView) -> Any:
        """Draw the noise that stays the same at every step."""
        if not self.draws or self.fresh or self.noise is not None:
            return self
        shapes = jax.eval_shape(self.process.centers, data, prior)
        shapes = {n: shapes[n] for n in self.spread}
        noise = noise_of(jax.random.key(self.seed), self.draws, shapes)
        return dataclasses.replace(self, noise=noise)

    def expected(
        self, sites: tuple[str, ...], params: Blocks, data: View, prior: PriorView
    ) -> Array:
        """Return E_q of the log densities of some sites, summed, or their sum at a point."""

        def total(values):
            try:
                found = self.process.log_density(values, data, prior, sites)
            except TypeError as error:
                if not any(kind.__name__ in str(error) for kind in (Latent, Uncertain, Unknown)):
                    raise
                raise NoMoments(
                    "a function of jax.numpy has no closed moments: use exp, sigmoid and apply of "
                    "unigrn.processes, or draws"
                ) from error
            return sum(found.values(), jnp.zeros((), params.theta.dtype))

        if not self.draws or self.form == "map":
            return total(guide(params, self.spread))
        noise = self.noise
        if self.fresh:
            noise = noise_of(data.key, self.draws, {n: params[n] for n in self.spread})
        elif noise is None:
            noise = self.prepare(data, prior).noise
        return jnp.mean(jax.lax.map(lambda noise: total(draw(params, self.spread, noise)), noise))


@pytree
class Likelihood(Share, Loss):
    """- E_q log p(observed | latents), of one view; see `generative`."""

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        return -self.expected((self.site,), params, data, prior)

    outcome = property(lambda self: self.process.outcome)

    @property
    def formula(self) -> str:
        """The loss as text."""
        latents = ", ".join("θ" if n == "theta" else n for n in self.process.latents)
        density = f"log p({self.site} | {latents})"
        return f"−{density}" if self.form == "map" else f"−E_q {density}"


@pytree
class Divergence(Share, Regularizer):
    """KL(q || p(latents | P)), or - log p(latents | P) of a point; see `generative`."""

    needs_prior = property(lambda self: self.process.needs_prior)

    def check(self, prior: PriorView) -> None:
        """Ask the process."""
        self.process.check(prior)

    @property
    def guided(self) -> Any:
        """Locations, log spreads, if any, and how often an entry's entropy counts."""
        return lambda data, prior: {
            name: (log_sd(name) if name in self.spread else None, entries(axes, data, prior))
            for name, axes in self.process.latents.items()
        }

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network: in closed form where every site has one."""
        names = tuple(self.process.latents)
        closed = dataclasses.replace(self, draws=0)
        try:
            density = closed.expected(names, params, data, prior)
        except NoMoments:
            if not self.draws:
                raise
            density = self.expected(names, params, data, prior)
        return -density - self.entropy(params, data, prior)

    def entropy(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return the entropy of q: log sd + log(2 pi e) / 2 + E log |d latent / d u|, summed."""
        slopes: dict[str, Any] = {}

        def value(name, distribution):
            if name in self.spread:
                u = Latent(params[name], jnp.exp(params[log_sd(name)]), name)
                slopes[name] = {
                    "normal": lambda: 0.0,
                    "exp": lambda: u.loc,
                    "unit": lambda: u.expect(lambda u: -jax.nn.softplus(u) - jax.nn.softplus(-u)),
                    "other": lambda: distribution.slope(u.loc, u.sd),
                }[kind(name, distribution)]()
            return guide(params, self.spread)(name, distribution)

        out = jnp.zeros((), params.theta.dtype)
        if not self.spread:
            return out
        self.process.log_density(value, data, prior, ("",))
        for name in self.spread:
            weight = entries(self.process.latents[name], data, prior)
            own = params[log_sd(name)] + 0.5 * (LOG_2PI + 1) + slopes[name]
            out = out + jnp.sum(jnp.where(weight > 0, weight * own, 0))
        return out

    @property
    def formula(self) -> str:
        """The regularizer as text."""
        latents = ", ".join("θ" if n == "theta" else n for n in self.process.latents)
        return f"−log p({latents})" if self.form == "map" else f"KL(q ‖ p({latents}))"


def share_of(terms: Any) -> Share:
    """Return one of the terms that are of a generative process."""
    for term in terms:
        if isinstance(own := getattr(term, "term", term), Share):
            return own
    raise ValueError(
        "none of the terms is of a generative process: use unigrn.processes.generative(...)"
    )


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


@dataclass(frozen=True)
class Posterior(Column):
    """Weight, variance, probability and score of every edge under the guide."""

    def __call__(
        self, params: Blocks, data: View, prior: PriorView, terms: Any
    ) -> dict[str, Array]:
        """Read the edges of the process off the guide; see `Process.edges`."""
        share = share_of(terms.terms)
        process = share.process
        values: dict[str, Any] = {}

        def value(name, distribution):
            values[name] = kept(name, guide(params, share.spread)(name, distribution), prior)
            return values[name]

        process.log_density(value, data, prior, ("",))
        out = {}
        for name, of in process.edges(values).items():
            mean, variance = moments(of)
            out[name] = mean
            if isinstance(of, Uncertain) and name in ("weight", "probability"):
                out["variance" if name == "weight" else f"{name}_variance"] = variance
        if "score" not in out:
            score = jnp.abs(out["weight"])
            spread = out.get("variance")
            out["score"] = out.get("probability", score if spread is None else score / spread**0.5)
        return out


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
        process.
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
    return Spec(
        loss=sum(views[1:], views[0]),
        regularizer=spread,
        constraint=sum(sets[1:], sets[0]) if sets else None,
        prior=prior,
        start=Start(),
        columns=Posterior(),
        **{"name": name.lower(), **fields},
    )
