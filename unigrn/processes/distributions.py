"""Distributions of sites: log densities that take numbers, or moments of a guide in their place."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.processes import uncertain
from unigrn.processes.uncertain import LOG_2PI, Latent, NoMoments, Uncertain
from unigrn.terms import Array, pytree

LOG_2 = math.log(2)


class Distribution:
    """A distribution of independent entries.

    ``log_prob(value)`` is the log density of every entry; with moments of a guide in place of
    ``value`` or a parameter, its expectation. ``support`` is "real", "positive" or "unit": the
    guide is Normal on u with value = u, e^u or 1 / (1 + e^-u). With "other" it is
    ``constrain(u)``, entry by entry, and ``slope(loc, sd)`` the mean of its log slope. ``mask`` is
    False at entries that do not count, None where all do.
    """

    support: str = "real"
    mask: Any = None

    def log_prob(self, value: Any) -> Array:
        """Return the log density of every entry."""
        raise TypeError(f"{type(self).__name__} has no log density: define log_prob")

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw entries."""
        raise TypeError(f"{type(self).__name__} cannot be drawn from: define sample")

    def constrain(self, u: Array) -> Array:
        """Return values of the support, where it has no name."""
        raise TypeError(f"{type(self).__name__} has the support {self.support!r}: define constrain")

    def latent(self, loc: Array, sd: Array, name: str) -> Any:
        """Return the moments of ``constrain(u)``, by default those of a quadrature."""
        return Latent(loc, sd, name, "other", self.constrain)

    def slope(self, loc: Array, sd: Array) -> Array:
        """Return E log |d value / d u| of u ~ N(loc, sd^2)."""
        raise TypeError(f"{type(self).__name__} has the support {self.support!r}: define slope")

    def center(self) -> Array:
        """Return u at which a fit starts."""
        raise TypeError(f"{type(self).__name__} has no start, which a latent needs: define center")


@pytree
class Normal(Distribution):
    """N(mean, sd^2): log density -(x - mean)^2 / (2 sd^2) - log sd - log(2 pi) / 2."""

    mean: Any
    sd: Any

    def log_prob(self, value: Any) -> Array:
        """Return the log density of every entry."""
        uncertain.independent(self.sd, value, self.mean)
        squares = uncertain.precision(self.sd) * uncertain.distance(value, self.mean)
        return -0.5 * squares - uncertain.log(self.sd) - 0.5 * LOG_2PI

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw entries."""
        return self.mean + self.sd * jax.random.normal(key, shape, dtype)

    def center(self) -> Array:
        """Return the mean."""
        return uncertain.mean(self.mean)


@pytree
class HalfNormal(Distribution):
    """N(0, sd^2) above 0: log density that of N(0, sd^2), plus log 2."""

    sd: Any

    support = "positive"

    def log_prob(self, value: Any) -> Array:
        """Return the log density of every entry."""
        return Normal(0.0, self.sd).log_prob(value) + LOG_2

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw entries."""
        return self.sd * jnp.abs(jax.random.normal(key, shape, dtype))

    def center(self) -> Array:
        """Return the logarithm of the mean."""
        return jnp.log(uncertain.mean(self.sd) * (2 / jnp.pi) ** 0.5)


@pytree
class SignedNormal(Distribution):
    """N(0, sd^2) on the half-line of a ``sign`` of 1 or -1, and whole where the sign is 0.

    The guide is Normal on u with value = e^u, -e^u or u.
    """

    sd: Any
    sign: Any

    support = "other"

    def log_prob(self, value: Any) -> Array:
        """Return the log density of every entry."""
        return Normal(0.0, self.sd).log_prob(value) + jnp.where(self.sign == 0, 0.0, LOG_2)

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw entries."""
        drawn = jax.random.normal(key, shape, dtype)
        sign = jnp.asarray(self.sign, dtype)
        return self.sd * jnp.where(sign == 0, drawn, sign * jnp.abs(drawn))

    def center(self) -> Array:
        """Return the logarithm of the mean of a half-line, 0 where the sign is."""
        return jnp.where(self.sign == 0, 0.0, jnp.log(self.sd * (2 / jnp.pi) ** 0.5))

    def constrain(self, u: Array) -> Array:
        """Return e^u, -e^u or u."""
        sign = jnp.asarray(self.sign, u.dtype)
        # Not e^u where the sign is 0: its slope, infinite there, would be no number.
        return jnp.where(sign == 0, u, sign * jnp.exp(jnp.where(sign == 0, 0, u)))

    def latent(self, loc: Array, sd: Array, name: str) -> Any:
        """Return its moments, which are closed."""
        sign = jnp.asarray(self.sign, loc.dtype)
        normal, log = (Latent(loc, sd, name, kind) for kind in ("normal", "exp"))
        return uncertain.where(sign == 0, normal, sign * log)

    def slope(self, loc: Array, sd: Array) -> Array:
        """E log |d value / d u|: that of e^u is its location."""
        return jnp.where(self.sign == 0, 0, loc)


def absolute(a: Any, b: Any) -> Array:
    """E |a - b| of numbers, or of a Normal latent and a number.

    With u - b ~ N(d, s^2) it is s sqrt(2 / pi) exp(-d^2 / 2 s^2) + d erf(d / (s sqrt 2)).
    """
    apart = a - b
    if not isinstance(apart, Uncertain):
        return jnp.abs(apart)
    if not isinstance(apart, Latent) or apart.kind != "normal":
        raise NoMoments(
            f"|x| of an expression in {uncertain.named(apart.names)} has no closed mean"
        )
    ratio = apart.loc / apart.sd
    density = jnp.exp(-0.5 * ratio**2) * (2 / jnp.pi) ** 0.5
    return apart.sd * density + apart.loc * jax.lax.erf(ratio * 0.5**0.5)


@pytree
class Laplace(Distribution):
    """Laplace(mean, scale b): log density -|x - mean| / b - log 2 b.

    A mode has kinks at the mean, in which gradients do not settle: take it by `unigrn.l1`, of
    strength 2 s^2 / b beside least squares of noise s. A guide has none.
    """

    mean: Any
    scale: Any

    def log_prob(self, value: Any) -> Array:
        """Return the log density of every entry."""
        if isinstance(self.scale, Uncertain):
            raise NoMoments("a Laplace distribution of uncertain scale has no closed expectation")
        return -absolute(value, self.mean) / self.scale - jnp.log(2 * self.scale)

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw entries."""
        return self.mean + self.scale * jax.random.laplace(key, shape, dtype)

    def center(self) -> Array:
        """Return the mean."""
        return uncertain.mean(self.mean)


@pytree
class Flat(Distribution):
    """Density 1 on all numbers: no prior belief, for latents that data alone inform."""

    def log_prob(self, value: Any) -> Array:
        """Return 0 for every entry."""
        return jnp.zeros_like(uncertain.mean(value))

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Raise: no distribution has this density."""
        raise ValueError("a flat distribution cannot be drawn from: give the values of its latent")

    def center(self) -> Array:
        """Return 0."""
        return jnp.zeros(())


@pytree
class TruncatedNormal(Distribution):
    """N(mean, sd^2) between ``low`` and ``high``."""

    mean: Any
    sd: Any
    low: Any
    high: Any

    def log_prob(self, value: Any) -> Array:
        """Return the log density of every entry."""
        if any(isinstance(v, Uncertain) for v in (value, self.mean, self.sd)):
            raise NoMoments("a truncated Normal distribution has no closed expectation")
        ends = [(end - self.mean) / self.sd for end in (self.low, self.high)]
        return jax.scipy.stats.truncnorm.logpdf(value, *ends, loc=self.mean, scale=self.sd)

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw entries."""
        low, high = ((end - self.mean) / self.sd for end in (self.low, self.high))
        return self.mean + self.sd * jax.random.truncated_normal(key, low, high, shape, dtype)

    def center(self) -> Array:
        """Return the mean of the Normal distribution."""
        return uncertain.mean(self.mean)


@pytree
class Gamma(Distribution):
    """Gamma(shape a, rate b): log density a log b - log Gamma(a) + (a - 1) log x - b x, x > 0."""

    shape: Any
    rate: Any

    support = "positive"

    def log_prob(self, value: Any) -> Array:
        """Return the log density of every entry."""
        a, b = self.shape, self.rate
        if isinstance(a, Uncertain):
            raise NoMoments("a Gamma distribution of uncertain shape has no closed expectation")
        uncertain.independent(b, value)
        start = a * uncertain.log(b) - jax.scipy.special.gammaln(a)
        return start + (a - 1) * uncertain.log(value) - uncertain.mean(b) * uncertain.mean(value)

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw entries."""
        return jax.random.gamma(key, self.shape, shape, dtype) / self.rate

    def center(self) -> Array:
        """Return the logarithm of the mean."""
        return jnp.log(uncertain.mean(self.shape) / uncertain.mean(self.rate))


@pytree
class Beta(Distribution):
    """Beta(a, b): log density (a - 1) log x + (b - 1) log(1 - x) - log B(a, b), 0 < x < 1."""

    a: Any
    b: Any

    support = "unit"

    def log_prob(self, value: Any) -> Array:
        """Return the log density of every entry."""
        for parameter in (self.a, self.b):
            if isinstance(parameter, Uncertain):
                raise NoMoments("a Beta distribution of uncertain shape has no closed expectation")
        if isinstance(value, Latent) and value.kind == "unit":
            logs = tuple(
                value.expect(lambda f, sign=sign: -jax.nn.softplus(-sign * f), plain=True)
                for sign in (1, -1)
            )
        elif isinstance(value, Uncertain):
            raise NoMoments("a Beta distribution of a sum or product has no closed expectation")
        else:
            logs = jnp.log(value), jnp.log1p(-value)
        start = -jax.scipy.special.betaln(jnp.asarray(self.a), jnp.asarray(self.b))
        return start + (self.a - 1) * logs[0] + (self.b - 1) * logs[1]

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw entries."""
        return jax.random.beta(key, self.a, self.b, shape, dtype)

    def center(self) -> Array:
        """Return the logit of the mean."""
        return jnp.log(self.a / self.b)


@pytree
class Poisson(Distribution):
    """Poisson(rate) of counts: log mass x log rate - rate - log x!."""

    rate: Any

    support = "counts"

    def log_prob(self, value: Any) -> Array:
        """Return the log mass of every entry."""
        if isinstance(value, Uncertain):
            raise NoMoments("a Poisson distribution of a latent has no closed expectation")
        start = -jax.scipy.special.gammaln(value + 1)
        return start + value * uncertain.log(self.rate) - uncertain.mean(self.rate)

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw entries."""
        drawn = jax.random.poisson(key, self.rate, shape)
        return drawn.astype(dtype)


@pytree
class Binomial(Distribution):
    """Counts of n, log mass log n! - log k! (n - k)! + k x - n log(1 + e^x), x the ``logit``."""

    number: Any
    logit: Any

    support = "counts"

    def log_prob(self, value: Any) -> Array:
        """Return the log mass of every entry; the mean of log(1 + e^x) is a quadrature."""
        if isinstance(value, Uncertain) or isinstance(self.number, Uncertain):
            raise NoMoments("a Binomial distribution of a latent has no closed expectation")
        ends = (self.number + 1, value + 1, self.number - value + 1)
        whole, some, rest = (jax.scipy.special.gammaln(1.0 * end) for end in ends)
        slope = uncertain.mean(uncertain.apply(jax.nn.softplus, self.logit))
        return whole - some - rest + value * uncertain.mean(self.logit) - self.number * slope

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw entries."""
        share = jax.nn.sigmoid(self.logit)
        return jax.random.binomial(key, self.number, share, shape, dtype)
