"""Probes: a few small numbers through terms from outside, where tracing alone cannot tell.

Whether padding changes a term, whether its prox fills what was deleted, whether its gradients on
two sides of theta = 0 disagree, whether it jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.terms import Blocks, PriorView, Term, View, local, outside
from unigrn.tracing import CANDIDATES, CELLS, FACTORS, TARGETS, Traced

LENGTHS = (0.0, 1e-3, 1.0, 1e3)  # of the points at which a prox or a projection is tried


@dataclass(frozen=True, eq=False)
class Profile(Traced):
    """All that is known of a spec and its bound terms: traced, and tried on small numbers."""

    @cached_property
    def padding(self) -> str:
        """Which term padding changes, in words: an ordered one, or one from outside that shows."""
        for term in self.terms:
            if term.ordered or (outside(term) and not self._padded_alike(term)):
                return f"{term.kind} {term.formula}"
        return ""

    @cached_property
    def filling(self) -> str:
        """Which prox or projection fills entries that are no candidates; empty where none does."""
        for term in self.terms:
            asked = outside(term) or term.separable is None
            if asked and (term.prox or term.project) and not self._keeps_zeros(term):
                return f"{term.kind} {term.formula}"
        return ""

    @property
    def _plain(self) -> list[Term]:
        found = [t for t in self.terms if outside(t) and t.prox is None and not t.across]
        return [t for t in found if t.kind != "constraint"]

    @cached_property
    def kinks(self) -> tuple[str, ...]:
        """Plain terms whose gradients on the two sides of theta = 0 disagree, in words."""
        return tuple(
            f"{t.kind} {t.formula} has a kink at theta = 0 (its gradients on the two sides "
            "disagree), which gradients cannot settle in: give it a prox"
            for t in self._plain
            if self._kinked(t)
        )

    @cached_property
    def jumps(self) -> tuple[str, ...]:
        """Plain terms that jump, or move while their gradient is 0, in words."""
        return tuple(
            f"{t.kind} {t.formula} {how}: give it a prox, or a smooth form"
            for t in self._plain
            for how in [self._jump(t)]
            if how
        )

    def _small(self, q: int, n: int, pad_q: int = 0, pad_n: int = 0, pad_p: int = 0):
        """Random arguments of a small problem, with padding at the ends."""
        rng = np.random.default_rng(0)
        coupled = not self.spec.separable
        tail, wide = ((TARGETS,), ((0, pad_p),)) if coupled else ((), ())
        dtype = jnp.zeros(()).dtype

        def cells(a):
            return jnp.asarray(np.pad(a, ((0, pad_n), *wide)[: a.ndim]), a.dtype)

        def edges(a):
            return jnp.asarray(np.pad(a, ((0, pad_q), *wide)))

        x, y = rng.normal(size=(n, q)).astype(dtype), rng.normal(size=(n, *tail)).astype(dtype)
        weight = rng.uniform(0.5, 2, (q, *tail)).astype(dtype)
        on = rng.random((q, *tail)) < 0.7
        layers = {} if self.spec.prior is None else self.spec.prior.layers
        prior = PriorView(
            edges(on),
            edges(weight * on),
            edges(np.where(on, 1, 0).astype(np.int32)),
            edges(np.zeros_like(on)),
            edges(np.ones_like(on)),
            {name: edges(weight * on) for name in layers},
        )
        where = (
            None
            if coupled
            else jnp.pad(
                jnp.arange(q, dtype=jnp.int32) % max(self.sizes.get("regulators", q), 1),
                (0, pad_q),
                constant_values=self.sizes.get("regulators", 0),  # the empty place of arrays
            )
        )
        view = View(
            x=jnp.pad(jnp.asarray(x), ((0, pad_n), (0, pad_q))),
            y=cells(y),
            weight=cells(np.ones(n, dtype)),
            key=jax.random.key(0),
            regulators=where,
            target=None if coupled else jnp.zeros((), jnp.int32),
        )
        theta = edges(rng.normal(size=(q, *tail)).astype(dtype))
        blocks = {}
        for name in self.spec.blocks:
            axes = [
                a
                for a in self.axes.get(name, ("regulators", "targets"))
                if coupled or a != "targets"
            ]
            sizes = {"regulators": (q, pad_q), "targets": (TARGETS, pad_p), "cells": (n, pad_n)}
            pairs = [sizes.get(a, (FACTORS, 0)) for a in axes]
            # Not 0 at padding: a start may be anything there, and what has a slope would move.
            values = np.full([a + b for a, b in pairs], 0.7, dtype)
            values[tuple(slice(a) for a, _ in pairs)] = rng.normal(size=[a for a, _ in pairs])
            blocks[name] = jnp.asarray(values)
        return Blocks(**{**blocks, "theta": theta}), view, prior

    def _padded_alike(self, term: Term) -> bool:
        def look(params, view, prior):
            t = local((term,), view)[0]
            if term.across:
                params, prior = (
                    jax.tree.map(lambda v: jnp.stack([v, 2 * v]), params),
                    prior.map(lambda v: jnp.stack([v, v])),
                )
            out = {}
            if term.kind != "constraint":
                out["value"] = t(params, view, prior)
                slopes = jax.grad(lambda b: t(b, view, prior))(params)
                out |= {f"slope in {b}": slopes[b] for b in slopes if b != "theta"}
                # Of padding the slope in theta is cut away, whatever it is.
                slope = slopes.theta
                slope = slope.T if term.across else slope
                own = (
                    (CANDIDATES, TARGETS) if slope.ndim == 2 and not term.across else (CANDIDATES,)
                )
                out["slope"] = slope[tuple(map(slice, own))]
            # A set may fill its entries only where a point is small, or large, for it.
            for length in LENGTHS:
                theta = length * params.theta
                if t.prox is not None and t.block == "theta" and not term.across:
                    out[f"prox {length}"] = t.prox(theta, 0.5, view, prior, params)
                if t.project is not None and t.block == "theta":
                    out[f"project {length}"] = t.project(theta, prior)
            return out

        small, large = self._small(CANDIDATES, CELLS), self._small(CANDIDATES, CELLS, 3, 4, 2)
        try:
            plain, wide = jax.jit(look)(*small), jax.jit(look)(*large)
        except Exception:  # a size of its own: it is given arrays of exactly that size
            return False
        for name, value in plain.items():
            value, other = np.asarray(value), np.asarray(wide[name])
            own = tuple(map(slice, value.shape))
            rest = other.copy()
            rest[own] = 0
            if value.ndim and rest.any():
                return False
            size = np.abs(value[np.isfinite(value)]).max(initial=0)
            if not np.allclose(value, other[own], 1e-4, 1e-4 * size, name[:5] == "slope"):
                return False
        return True

    def _keeps_zeros(self, term: Term) -> bool:
        if term.block != "theta" or term.across:
            return True
        params, view, prior = self._small(CANDIDATES, CELLS)
        flat = (
            np.arange(prior.weight.size).reshape(prior.weight.shape) % 4 != 1
        )  # no whole row or column
        prior = prior.map(lambda v: jnp.where(flat, v, jnp.zeros_like(v)))
        try:
            own = local((term,), view)[0]
            for length in LENGTHS:
                theta = jnp.where(flat, length * params.theta, 0)
                moved = (
                    own.project(theta, prior)
                    if own.prox is None
                    else own.prox(theta, 0.5, view, prior, params.replace(theta=theta))
                )
                if (np.asarray(moved)[~flat] != 0).any():
                    return False
        except Exception:
            return False
        return True

    def _kinked(self, term: Term) -> bool:
        params, view, prior = self._small(CANDIDATES, CELLS)

        def slope(length):
            point = params.replace(theta=length * jnp.sign(params.theta))
            value, g = jax.value_and_grad(lambda b: local((term,), view)[0](b, view, prior))(point)
            return jnp.where(jnp.isfinite(value), g.theta, jnp.nan)

        try:
            ends = [np.asarray(jax.jit(slope)(s)) for s in (1e-3, -1e-3, 1e-5, -1e-5)]
        except Exception:
            return False
        far, near = (np.abs(a - b).max() for a, b in (ends[:2], ends[2:]))
        return bool(near > 0.5 * far and near > 1e-3 * (1e-6 + max(np.abs(e).max() for e in ends)))

    def _jump(self, term: Term) -> str:
        params, view, prior = self._small(CANDIDATES, CELLS)

        def look(params, view, prior):
            def value(theta):
                at = params.replace(theta=theta)
                return jnp.asarray(local((term,), view)[0](at, view, prior)).astype(theta.dtype)

            still, way = value(0 * params.theta), jnp.sign(params.theta)
            rises = [value(e * way) - still for e in (1e-2, -1e-2, 1e-4, -1e-4)]
            far = [value(e * params.theta) - still for e in LENGTHS]
            slopes = [jax.grad(value)(e * params.theta) for e in LENGTHS]
            return jnp.stack(rises), jnp.stack(far), jnp.stack(slopes)

        try:
            rises, far, slopes = map(np.asarray, jax.jit(look)(params, view, prior))
        except Exception:  # said by what traces it
            return ""
        size = np.abs(np.r_[far[np.isfinite(far)], rises]).max()
        # A root falls tenfold from one point to the other, and a kink a hundredfold.
        if (np.abs(rises[2:]) > np.maximum(0.5 * np.abs(rises[:2]), 1e-4 * size)).any():
            return "jumps at theta = 0"
        flat = not slopes.any() and np.ptp(far) > 0
        return "moves in steps, with a gradient of 0 between them" if flat else ""
