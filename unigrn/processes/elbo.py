"""The negative ELBO of a process: the losses of its views, the divergence of its guide.

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
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.processes.distributions import Distribution
from unigrn.processes.process import entries, function_of, kind
from unigrn.processes.uncertain import LOG_2PI, Latent, NoMoments, Uncertain, Unknown
from unigrn.terms import Array, Blocks, Loss, PriorView, Regularizer, Term, View, pytree, static


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
