"""Replicates of the data: latents drawn from a guide, then what is observed drawn from them.

Of every replicate only three numbers a target are kept, and log p(latents, data) - log q(latents)
of the draw behind it. Cells may come in blocks where a view is a sum over them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.processes.distributions import Distribution
from unigrn.processes.elbo import log_sd, noise_of
from unigrn.processes.process import Process, entries, function_of, kept, kind
from unigrn.processes.uncertain import LOG_2PI
from unigrn.terms import Array, Blocks, PriorView, View

EXPRESSION = ("cells", "targets")
Numbers = dict[str, Array]


def views_of(process: Process) -> tuple[str, ...]:
    """Return the sites that observe cells by targets."""
    return tuple(name for name, axes in process.observed.items() if tuple(axes) == EXPRESSION)


def drawn(
    process: Process, params: Blocks, noise: Numbers, data: View, prior: PriorView
) -> tuple[Numbers, Array]:
    """Return the latents at standard Normal noise of the guide, and log q of them.

    log q = sum of -noise^2 / 2 - log sd - log(2 pi) / 2 - log |d latent / d u|, over the entries
    that count.
    """
    out: Numbers = {}
    log_q = jnp.zeros((), params.theta.dtype)

    def value(name, distribution):
        nonlocal log_q
        wide = params[log_sd(name)]
        u = params[name] + jnp.exp(wide) * noise[name]
        density = -0.5 * noise[name] ** 2 - wide - 0.5 * LOG_2PI - log_slope(name, distribution, u)
        weight = entries(process.latents[name], data, prior)
        log_q = log_q + jnp.sum(jnp.where(weight > 0, weight * density, 0))
        out[name] = kept(name, function_of(name, distribution)(u), prior)
        return out[name]

    process.log_density(value, data, prior, ("",))
    return out, log_q


def log_slope(name: str, distribution: Distribution, u: Array) -> Array:
    """Return log |d latent / d u|, entry by entry."""
    own = kind(name, distribution)
    if own == "normal":
        return jnp.zeros_like(u)
    if own == "exp":
        return u
    if own == "unit":
        return -jax.nn.softplus(u) - jax.nn.softplus(-u)
    return jnp.log(jnp.abs(jax.jvp(function_of(name, distribution), (u,), (jnp.ones_like(u),))[1]))


def sums(value: Array, center: Array, weight: Array) -> Array:
    """Return sums over cells of 1, x - center, (x - center)^2 and whether x is 0, (4, targets)."""
    apart = jnp.where(weight > 0, value - center[None, :], 0)
    parts = (jnp.ones_like(apart), apart, apart**2, (value == 0).astype(apart.dtype))
    return jnp.stack([jnp.sum(weight * part, axis=0) for part in parts])


def statistics(total: Array, center: Array) -> Array:
    """Return mean, variance and share of zeros from sums, (3, targets)."""
    count, first, second, zeros = total
    mean = first / count
    return jnp.stack([center + mean, jnp.maximum(second / count - mean**2, 0), zeros / count])


def observed(
    process: Process, blocks: Callable[..., Any], prior: PriorView, params: Blocks, data: View
) -> tuple[Numbers, Numbers]:
    """Return the statistics of what was observed, and the means around which sums are taken."""
    names = views_of(process)
    zero = {name: jnp.zeros(data.y.shape[1:], data.y.dtype) for name in names}
    still = {name: jnp.zeros_like(params[name]) for name in process.latents}
    latents, _ = drawn(process, params, still, data, prior)

    def around(center):
        def one(few, own, key):
            seen = process.seen(own, few, prior)
            return {
                name: sums(seen[name][0], center[name], counts(process, name, seen, few, prior))
                for name in names
            }

        return blocks(one, latents, jax.random.key(0))

    def middle(total):
        return jnp.where(total[0] > 0, total[1] / total[0], 0)

    center = {name: middle(total) for name, total in around(zero).items()}
    return {n: statistics(t, center[n]) for n, t in around(center).items()}, center


def counts(process: Process, name: str, seen: Any, data: View, prior: PriorView) -> Array:
    """Return how much every entry of a view counts."""
    weight = entries(process.observed[name], data, prior)
    return weight if seen[name][1] is None else jnp.where(seen[name][1], weight, 0)


def replicated(
    process: Process,
    params: Blocks,
    data: View,
    prior: PriorView,
    keys: Array,
    blocks: Callable[..., Any],
    center: Numbers,
) -> tuple[Numbers, Array]:
    """Return the statistics of one replicate a key, (draws, 3, targets), and log ratios (draws,).

    ``blocks(function, latents, key)`` sums what a function (cells, their latents, key) gives.
    """
    names, every = tuple(center), tuple(process.latents)
    by_cells = tuple(n for n, axes in process.observed.items() if "cells" in axes)
    once = (*every, *(n for n in process.observed if n not in by_cells))
    shapes = {name: params[name] for name in every}

    def one(key):
        of_guide, of_data = jax.random.split(key)
        noise = {name: v[0] for name, v in noise_of(of_guide, 1, shapes).items()}
        latents, log_q = drawn(process, params, noise, data, prior)
        density = process.log_density(latents, data, prior, once)

        def part(few, own, key):
            seen = process.seen(own, few, prior)
            made = process.simulate(key, few, prior, own)
            totals = {
                name: sums(made[name], center[name], counts(process, name, seen, few, prior))
                for name in names
            }
            found = process.log_density(own, few, prior, by_cells)
            return totals, sum(found.values(), jnp.zeros_like(log_q))

        totals, likelihood = blocks(part, latents, of_data)
        ratio = sum(density.values(), likelihood) - log_q
        return {name: statistics(t, center[name]) for name, t in totals.items()}, ratio

    return jax.lax.map(one, keys)
