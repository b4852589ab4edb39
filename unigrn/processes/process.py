"""A generative process: sites declared once, evaluated at numbers, at moments, or drawn.

A process is a frozen dataclass with axes for its sites, and one function that visits them::

    @pytree
    class Factors(Process):
        \"\"\"y ~ N(z theta, s^2), z ~ N(0, 1), theta ~ N(0, width^2), log s ~ N(0, 1).\"\"\"

        width: Array

        latents = {"theta": ("regulators", "targets"), "z": ("cells", "regulators"), "noise": ()}
        observed = {"expression": ("cells", "targets")}

        def sites(self, site, data, prior):
            theta = site("theta", Normal(0.0, self.width))
            z = site("z", Normal(0.0, 1.0))
            noise = site("noise", Normal(0.0, 1.0))
            site("expression", Normal(z @ theta, exp(noise)), data.y)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from unigrn.processes.distributions import Distribution
from unigrn.processes.uncertain import FUNCTIONS, Latent, Uncertain
from unigrn.terms import Array, PriorView, View

EDGES = ("regulators", "targets")
SIZED = ("cells", *EDGES)  # axes whose size the data give
KINDS = {"real": "normal", "positive": "exp", "unit": "unit", "other": "other"}
Site = Callable[..., Any]


class Process:
    """What generated the data, latent numbers first.

    ``latents`` and ``observed`` give every site's axes: "cells", "regulators", "targets", or words
    of a process's own. ``theta`` is a latent over regulators and targets: the network, or what it
    is made of. ``sites(site, data, prior)`` visits each once: ``site(name, distribution)`` returns
    the value of a latent, ``site(name, distribution, values)`` takes what was observed, and
    ``where=`` says which of it, if not all.
    """

    latents: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    observed: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init_subclass__(cls, **more: Any):
        super().__init_subclass__(**more)
        for name, axes in {**cls.latents, **cls.observed}.items():
            if name.startswith("log_sd_"):
                raise ValueError(f"{cls.__name__} has a site {name!r}: log_sd_* are spreads")
            for axis in axes:
                near = difflib.get_close_matches(axis, SIZED, 1, 0.8)
                if axis not in SIZED and near:
                    raise ValueError(
                        f"{cls.__name__} has a site {name!r} along {axis!r}; did you mean "
                        f"{near[0]}?"
                    )

    needs_prior: ClassVar[bool] = True
    square: ClassVar[bool | None] = None  # True where regulators are the targets themselves
    ordered: ClassVar[bool | None] = None  # True where the guide depends on the order of genes
    outcome: ClassVar[Any] = None  # what values of the targets may be: see `Term.outcome`

    def check(self, prior: Any) -> None:
        """Raise ValueError, or warn, where the prior does not suit; called once, on the host."""

    def sites(self, site: Site, data: View, prior: PriorView) -> None:
        """Visit every site."""
        raise TypeError(f"{type(self).__name__} visits no site: define sites(site, data, prior)")

    def edges(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the network and its columns, as expressions in the latents.

        ``weight`` is the network; ``probability``, where there is one, that of an edge.
        """
        return {"weight": values["theta"]}

    def sizes(self, data: View) -> dict[str, int]:
        """Return the lengths of axes of the process's own, from the data as a term sees them."""
        return {}

    def log_density(
        self, values: Any, data: View, prior: PriorView, only: tuple[str, ...] = ()
    ) -> dict[str, Array]:
        """Return the log density of every site at values of the latents, summed over its entries.

        Cells count by their weights, padding and entries that are no candidates not at all. With
        moments of a guide in place of values these are expectations.

        Parameters
        ----------
        values
            Of every latent by name, as the process declares it; or a function (name, distribution)
            that gives them.
        data, prior
            As a term sees them.
        only
            The sites that are asked for: all where none is named.

        Raises
        ------
        ValueError
            A value that is missing; a site that ``latents`` and ``observed`` do not name, or that
            is visited twice or never.
        """
        out: dict[str, Any] = {}
        only = only or (*self.latents, *self.observed)

        def site(name, distribution, observed=None, where=None):
            axes = self._axes(name, observed, out)
            value: Any = observed
            if observed is None:
                value = _value(values, name, distribution)
            elif where is not None:
                value = jnp.where(where, value, 0.5)  # what is left out may be no number
            out[name] = None
            if name in only:
                weight = entries(axes, data, prior)
                density = distribution.log_prob(value)
                self._fits(name, axes, jnp.shape(density), weight.shape)
                if where is not None:
                    density = jnp.where(where, density, 0)
                out[name] = jnp.sum(jnp.where(weight > 0, weight * density, 0))
            return kept(name, value, prior) if observed is None else observed

        self._known(only)
        self.sites(site, data, prior)
        self._all_visited(out)
        return {name: value for name, value in out.items() if value is not None}

    def seen(
        self, values: Any, data: View, prior: PriorView
    ) -> dict[str, tuple[Array, Array | None]]:
        """Return what every view observed, and where it counts (None: everywhere).

        Values of the latents are given as for `log_density`.
        """
        out: dict[str, tuple[Array, Array | None]] = {}

        def site(name, distribution, observed=None, where=None):
            if observed is None:
                return kept(name, _value(values, name, distribution), prior)
            mask = distribution.mask
            counts = where if mask is None else mask if where is None else mask & where
            out[name] = observed, counts
            return observed

        self.sites(site, data, prior)
        return out

    def simulate(self, key: Array, data: View, prior: PriorView, given: Mapping = {}) -> dict:
        """Draw every site, latents and what is observed, in the order of the process.

        Parameters
        ----------
        key
            Of `jax.random`; every site has a stream of its own.
        data
            Its ``x`` and ``y`` give the numbers of cells, regulators and targets; what they hold is
            not read, but where the process itself does so.
        prior
            As a term sees it.
        given
            Values of latents that are not drawn.
        """
        out: dict[str, Array] = {}
        self._known(given, latents=True)

        def site(name, distribution, observed=None, where=None):
            axes = self._axes(name, observed, out)
            if observed is None and name in given:
                value = given[name]
            else:
                own = jax.random.fold_in(key, len(out))
                shape = jnp.shape(distribution.log_prob(jnp.ones((), data.y.dtype)))
                full = jnp.broadcast_shapes(shape, self._shape(axes, data))
                value = distribution.sample(own, full, data.y.dtype)
            out[name] = kept(name, value, prior) if observed is None else value
            return out[name]

        self.sites(site, data, prior)
        self._all_visited(out)
        return out

    def centers(self, data: View, prior: PriorView) -> dict[str, Array]:
        """Return u of every latent where its distribution puts a start, one after the other."""
        out: dict[str, Array] = {}

        def site(name, distribution, observed=None, where=None):
            axes = self._axes(name, observed, out)
            if observed is not None:
                out[name] = observed
                return observed
            function = function_of(name, distribution)
            center = jnp.asarray(distribution.center(), data.y.dtype)
            out[name] = jnp.broadcast_to(center, self._shape(axes, data))
            return kept(name, function(out[name]), prior)

        self.sites(site, data, prior)
        self._all_visited(out)
        return {name: out[name] for name in self.latents}

    def _axes(self, name: str, observed: Any, met: Mapping[str, Any]) -> tuple[str, ...]:
        kind = "latents" if observed is None else "observed"
        known = getattr(self, kind)
        if name not in known:
            raise ValueError(
                f"{type(self).__name__} visits the site {name!r}, which its {kind} do not name; "
                f"they are {', '.join(known) or 'none'}"
            )
        if name in met:
            raise ValueError(f"{type(self).__name__} visits the site {name!r} twice")
        return known[name]

    def _known(self, names: Any, latents: bool = False) -> None:
        known = [*self.latents, *(() if latents else (*self.observed, ""))]
        if unknown := [name for name in names if name not in known]:
            what = "latent" if latents else "site"
            raise ValueError(
                f"{type(self).__name__} has no {what} {unknown[0]!r}; it has "
                f"{', '.join(filter(None, known))}"
            )

    def _fits(self, name: str, axes: tuple[str, ...], shape: tuple, whole: tuple) -> None:
        """Raise where a density has entries that its site has not."""
        pairs = list(zip(shape[::-1], whole[::-1], axes[::-1], strict=False))
        if len(shape) > len(axes) or any(d not in (1, w) for d, w, a in pairs if a in SIZED):
            raise ValueError(
                f"the site {name!r} of {type(self).__name__} has entries of shape {shape}, and its "
                f"axes are {', '.join(axes) or 'none'}, of shape {whole}"
            )

    def _all_visited(self, met: Mapping[str, Any]) -> None:
        if left := [n for n in (*self.latents, *self.observed) if n not in met]:
            raise ValueError(f"{type(self).__name__} never visits the site {left[0]!r}")

    def _shape(self, axes: tuple[str, ...], data: View) -> tuple[int, ...]:
        sizes = {
            "cells": data.y.shape[0],
            "regulators": data.x.shape[1],
            "targets": data.y.shape[1],
        }
        sizes |= self.sizes(data)
        if unknown := [a for a in axes if a not in sizes]:
            raise ValueError(
                f"{type(self).__name__} has a site along {unknown[0]!r}: say how long that is by "
                "a method sizes(data) -> {axis: length}"
            )
        return tuple(sizes[a] for a in axes)


def kind(name: str, distribution: Distribution) -> str:
    """Return how the guide of a latent is made from a Normal number."""
    if distribution.support not in KINDS:
        raise ValueError(
            f"the latent {name} has the support {distribution.support!r}, for which there is no "
            f"guide; a latent is {', '.join(KINDS)}"
        )
    return KINDS[distribution.support]


def function_of(name: str, distribution: Distribution) -> Callable[[Array], Array]:
    """Return the function from u to a latent."""
    own = kind(name, distribution)
    return distribution.constrain if own == "other" else FUNCTIONS[own]


def _value(values: Any, name: str, distribution: Distribution) -> Any:
    if callable(values):
        return values(name, distribution)
    if name not in values:
        raise ValueError(f"no value for the latent {name}; got {', '.join(values) or 'none'}")
    return values[name]


def kept(name: str, value: Any, prior: PriorView) -> Any:
    """Put theta to 0 where it is no candidate."""
    if name != "theta":
        return value
    if isinstance(value, Latent) and value.kind == "normal":
        loc, sd = (jnp.where(prior.valid, v, 0) for v in (value.loc, value.sd))
        return Latent(loc, sd, name)
    if isinstance(value, Uncertain):
        return value * prior.valid.astype(value.mean.dtype)
    return jnp.where(prior.valid, value, 0)


def entries(axes: tuple[str, ...], data: View, prior: PriorView) -> Array:
    """Return how much every entry of a site counts: weights of cells, 0 of padding, else 1."""
    dtype = data.y.dtype
    if axes == EDGES:
        return prior.valid.astype(dtype)
    own = {
        "cells": jnp.ones(data.y.shape[:1], dtype) if data.weight is None else data.weight,
        "regulators": jnp.any(prior.valid, axis=1).astype(dtype),
        "targets": jnp.any(prior.valid, axis=0).astype(dtype),
    }
    out = jnp.ones((), dtype)
    for axis in axes:
        side = own.get(axis, jnp.ones((1,), dtype))
        out = jnp.multiply.outer(out, side)
    return out
