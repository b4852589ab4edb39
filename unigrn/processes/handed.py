"""A numpyro model as a process: its sample statements are the sites, its distributions theirs.

What a model is, numpyro says: log densities, masks and scales of its distributions, supports and
the transforms to them, plates. What a process is stays as it is: cells count by their weights,
theta is 0 where it is no candidate, the guide is a mean-field Normal on free numbers.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from unigrn.losses.counts import COUNTS
from unigrn.processes.distributions import Distribution
from unigrn.processes.process import SIZED, Process
from unigrn.processes.uncertain import Latent, NoMoments, Uncertain
from unigrn.terms import Array, PriorView, View, pytree

EXAMPLES = ((5, 3, 4), (8, 6, 7))  # cells, regulators and targets: what changes along is an axis
KNOWN = {"Real": "real", "Positive": "positive", "UnitInterval": "unit"}  # as in `Distribution`


class Refused(ValueError):
    """What a model does that a process cannot."""


def library() -> Any:
    """Return numpyro, or say how to get it."""
    try:
        import numpyro
        import numpyro.distributions
    except ImportError as error:
        raise ImportError(
            "a plain function is a numpyro model, and numpyro is not installed: "
            "pip install unigrn[generative]"
        ) from error
    return numpyro


class Entries(Distribution):
    """A distribution of numpyro; ``closed`` is False where parameters come from a guide's means."""

    def __init__(self, name: str, fn: Any, scale: Any, closed: bool, plates: Any = ()):
        self.name, self.scale, self.closed = name, scale, closed
        self.plates = {plate.dim - len(fn.event_shape): plate.name for plate in plates}
        self.own, self.mask = entries_of(fn)
        constraint = self.own.support
        while hasattr(constraint, "base_constraint"):
            constraint = constraint.base_constraint
        self.constraint = constraint
        self.support = KNOWN.get(type(constraint).__name__.strip("_"), "other")

    def log_prob(self, value: Any) -> Array:
        """Return the log density of every entry, masked and scaled as the model says."""
        if isinstance(value, Uncertain) or not self.closed:
            raise NoMoments(
                f"the site {self.name} of a numpyro model has no closed moments: give draws=8, say"
            )
        if self.mask is None:
            out = self.own.log_prob(value)
        else:  # what is left out may be no number
            value = jnp.where(self.mask, value, self.own.support.feasible_like(value))
            out = jnp.where(self.mask, self.own.log_prob(value), 0)
        out = out if self.scale is None else self.scale * out
        own = jnp.result_type(value)
        # Constants of numpyro may be wider.
        return out.astype(own) if jnp.issubdtype(own, jnp.floating) else out

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw entries."""
        try:
            return self.own.expand(shape).sample(key).astype(dtype)
        except NotImplementedError as error:
            raise ValueError(
                f"the site {self.name}, of {plain(self.own)}, cannot be drawn from: give its values"
            ) from error

    def center(self) -> Array:
        """Return u of the mean, 0 where that is not finite or not known."""
        try:
            u = self.transform().inv(self.own.mean)
        except NotImplementedError:
            return jnp.zeros(self.own.batch_shape)
        return jnp.where(jnp.isfinite(u), u, 0)

    def transform(self) -> Any:
        """Return numpyro's transform of free numbers to the support."""
        return library().distributions.transforms.biject_to(self.constraint)

    def constrain(self, u: Array) -> Array:
        """Return values of the support."""
        return self.transform()(u).astype(u.dtype)

    def slope(self, loc: Array, sd: Array) -> Array:
        """Return E log |d value / d u|, by a quadrature."""
        transform = self.transform()

        def log(u):
            return transform.log_abs_det_jacobian(u, transform(u))

        return Latent(loc, sd, self.name).expect(log).astype(loc.dtype)


def entries_of(fn: Any) -> tuple[Any, Any]:
    """Return the distribution of single entries below ``to_event``, and the mask of them.

    None where the mask is True.
    """
    d = library().distributions
    if isinstance(fn, d.Independent):
        return entries_of(fn.base_dist)
    if isinstance(fn, d.MaskedDistribution):
        own, mask = entries_of(fn.base_dist)
        if fn._mask is True:
            return own, mask
        new = jnp.asarray(fn._mask)
        new = new.reshape(new.shape + (1,) * (len(own.batch_shape) - len(fn.batch_shape)))
        return own, new if mask is None else mask & new
    return fn, None


@contextlib.contextmanager
def usual():
    """Let arrays of other types and ranks meet, as models of numpyro expect."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def visit(model: Callable, site: Callable, data: View, prior: PriorView) -> None:
    """Run a model; its sample statements call ``site(name, distribution[, observed])``."""
    numpyro = library()
    closed = True

    class Visit(numpyro.primitives.Messenger):
        def process_message(self, msg):
            nonlocal closed
            name, msg["stop"] = msg.get("name"), True  # what is outside of this run is another's
            if msg["type"] == "param":
                raise Refused(
                    f"the model {named(model)} has the parameter {name!r} without a distribution: "
                    "make it a sample site"
                )
            if msg["type"] == "plate" and msg["args"][0] != (msg["args"][1] or msg["args"][0]):
                raise Refused(
                    f"the plate {name!r} takes a part of its entries: leave that to "
                    "unigrn.Minibatch"
                )
            if msg["type"] != "sample":
                return
            fn = msg["fn"]
            if drawn := msg["kwargs"].pop("sample_shape", ()):
                fn = fn.expand((*drawn, *fn.batch_shape))
            own = Entries(name, fn, msg["scale"], closed, msg["cond_indep_stack"])
            if msg["is_observed"]:
                site(name, own, msg["value"])
                return
            value = site(name, own)
            if isinstance(value, Uncertain):  # what follows is evaluated, and has no density
                closed, value = False, value.mean
            msg["value"] = value

    with usual(), Visit():
        model(data, prior)


def plain(fn: Any) -> str:
    """Return the name of a distribution."""
    while hasattr(fn, "base_dist") and type(fn).__name__ != "TransformedDistribution":
        fn = fn.base_dist
    return type(fn).__name__


def named(model: Callable) -> str:
    """Return the name of a model."""
    return getattr(model, "__name__", type(model).__name__)


@dataclass(frozen=True)
class Seen:
    """A site as a run of the model shows it."""

    shape: tuple[int, ...]
    observed: bool
    counts: bool
    plates: Mapping[int, str]
    joined: int  # how many of its last axes have one density


def looked(
    model: Callable, data: View, prior: PriorView, extra: Mapping | None = None
) -> dict[str, Seen]:
    """Return every site of a model, from shapes alone."""
    out: dict[str, Seen] = {}

    def site(name, own, observed=None):
        fn = own.own
        shape: Any = fn.batch_shape + fn.event_shape
        discrete = own.constraint.is_discrete
        if observed is not None:
            shape = jnp.broadcast_shapes(shape, jnp.shape(observed))
        elif discrete or own.constraint.event_dim or fn.event_shape:
            what = "counts or classes" if discrete else "entries that depend on each other"
            raise Refused(
                f"the latent {name!r} of {named(model)} has {what} ({plain(fn)}), and a "
                "guide is Normal entry by entry: sum it out, or make it of independent numbers"
            )
        elif own.mask is not None:
            raise Refused(
                f"the latent {name!r} of {named(model)} is masked, and a guide has an entry for "
                "each: mask what is observed"
            )
        plates = {k: v for k, v in own.plates.items() if -k <= len(shape)}
        out[name] = Seen(shape, observed is not None, discrete, plates, len(fn.event_shape))
        return own.constrain(jnp.zeros(shape, data.y.dtype)) if observed is None else observed

    def run(data, prior):
        visit(model, site, data if extra is None else data.replace(extra=extra), prior)

    jax.eval_shape(run, data, prior)
    return out


class Extra(dict):
    """External data of an example: a number of every cell, under any name."""

    def __init__(self, cells: int):
        self.cells = cells

    def __missing__(self, name: str) -> Array:
        return jnp.ones(self.cells)


def all_edges(regulators: int, targets: int, layers: tuple[str, ...] = ()) -> PriorView:
    """Return a prior that names every edge, for its shapes."""
    weight = jnp.ones((regulators, targets))
    yes = jnp.ones(weight.shape, bool)
    return PriorView(yes, weight, yes.astype(jnp.int32), ~yes, yes, dict.fromkeys(layers, weight))


def axes_of(model: Callable, name: str, first: Seen, second: Seen) -> tuple[str, ...]:
    """Return the axes of a site from its shapes on two examples."""
    if len(first.shape) != len(second.shape):
        raise Refused(f"the site {name!r} of {named(model)} has axes that come and go with sizes")
    known = dict(zip(zip(*EXAMPLES, strict=True), SIZED, strict=True))
    out = []
    for k, pair in enumerate(zip(first.shape, second.shape, strict=True)):
        plate = first.plates.get(k - len(first.shape))
        if pair not in known and plate in SIZED:
            raise Refused(
                f"the plate {plate!r} of {named(model)} has {pair[0]} entries where the data have "
                f"{dict(zip(SIZED, EXAMPLES[0], strict=True))[plate]}: take its size from data"
            )
        out.append(known.get(pair, plate or f"axis {k} of {name}"))
    apart = len(out) - first.joined
    if "cells" in out[apart:]:
        raise Refused(
            f"the site {name!r} of {named(model)} has one density for all cells, and cells have "
            "weights: give each a density of its own"
        )
    return tuple(out[:apart])


class Handed(Process):
    """A process whose sites are those of a numpyro model; see `from_numpyro`."""

    model: ClassVar[Any]
    read: ClassVar[Any] = None
    layers: ClassVar[tuple[str, ...]] = ()

    def sites(self, site, data, prior):
        """Run the model."""
        visit(type(self).model, site, data, prior)

    def edges(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was given for edges, by default theta."""
        read = type(self).read
        return {"weight": values["theta"]} if read is None else read(values)

    def sizes(self, data: View) -> dict[str, int]:
        """Return lengths of the model's own axes at this size of the data."""
        own = {**self.latents, **self.observed}
        if not {a for axes in own.values() for a in axes} - set(SIZED):
            return {}
        prior = all_edges(data.x.shape[1], data.y.shape[1], self.layers)
        seen = looked(type(self).model, data, prior)
        return {a: s for n, axes in own.items() for a, s in zip(axes, seen[n].shape, strict=False)}


@functools.lru_cache(maxsize=64)
def from_numpyro(
    model: Callable, edges: Callable | None = None, layers: tuple[str, ...] = ()
) -> Process:
    """Return the process that a numpyro model declares.

    Parameters
    ----------
    model
        A function (data, prior) with `numpyro.sample` statements, one of them ``theta`` over
        regulators and targets; ``data.x`` and ``data.y`` are cells by regulators and targets,
        ``prior.weight`` and ``prior.support`` like theta. It is run on two small examples to see
        which sizes change: these are the axes "cells", "regulators" and "targets" of its sites;
        others are called like their plate. `to_event`, masks and scales count as numpyro has them;
        ImproperUniform is a density of 1.
    edges
        {name of latent: value} -> {"weight": ..., "probability": ...}: see `Process.edges`; by
        default the weight is theta.
    layers
        Names of the layers of the prior that the model reads.

    Raises
    ------
    ValueError
        Latents that are counts or classes, or whose entries have one density together; cells that
        have one; parameters without a distribution; plates that are subsampled; a model that does
        not run on the examples.
    """
    try:
        inspect.signature(model).bind(None, None)
    except TypeError as error:
        raise ValueError(
            f"a numpyro model is a function (data, prior), got {named(model)}"
            f"{inspect.signature(model)}"
        ) from error
    runs = []
    for cells, regulators, targets in EXAMPLES:
        shapes = (cells, regulators), (cells, targets), (cells,)
        data = View(**dict(zip(("x", "y", "weight"), map(jnp.zeros, shapes), strict=True)))
        try:
            prior = all_edges(regulators, targets, layers)
            runs.append(looked(model, data, prior, Extra(cells)))
        except Refused as error:
            raise ValueError(str(error)) from None
        except ImportError:
            raise
        except Exception as error:  # a model from outside may raise anything
            raise ValueError(
                f"the model {named(model)} does not run on {cells} cells, {regulators} regulators "
                f"and {targets} targets, as it should on any: {error}"
            ) from error
    first, second = runs
    axes = {name: axes_of(model, name, first[name], second[name]) for name in first}
    views = {name for name in first if first[name].observed}
    whole = [first[name].counts for name in views if axes[name] == ("cells", "targets")]
    own = {
        "latents": {n: a for n, a in axes.items() if n not in views},
        "observed": {n: a for n, a in axes.items() if n in views},
        "outcome": COUNTS if whole and all(whole) else None,
        "model": staticmethod(model),
        "read": edges and staticmethod(edges),
        "layers": layers,
        "__module__": getattr(model, "__module__", __name__),
        "__doc__": model.__doc__,
    }
    return pytree(type(named(model), (Handed,), own))()
