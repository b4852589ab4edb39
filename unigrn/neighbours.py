"""Learning from known edges: the edges that the prior names as data, targets alike by expression.

The loss counts only targets with a known edge; the regularizer carries what they show over to all
others, along a kernel of expression profiles. Each says in the table of capabilities what the
closed form shared by all regulators (`unigrn.solvers.representer`) asks for.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from unigrn.check import check_number
from unigrn.terms import (
    Along,
    Array,
    Blocks,
    Kernel,
    Loss,
    Observed,
    PriorView,
    Regularizer,
    Squares,
    View,
    pytree,
    static,
)
from unigrn.views import along

OWN = 1e-4  # share of the kernel that a target has for itself: it bounds the condition number
SAMPLE = 512  # targets whose distances give the median


@pytree
class KnownEdges(Loss):
    """Squares of what theta misses of the known edges; see `known_edges`."""

    together: Any = None  # (targets,) whole numbers
    layer: str | None = static(default=None)
    graded: bool = static(default=False)

    separable = "targets"
    convex = True
    needs_prior = True
    linear = ("theta",)

    def _values(self, prior: PriorView) -> Array:
        weight = prior.weight if self.layer is None else prior.layers[self.layer]
        values = weight if self.graded else (weight > 0).astype(weight.dtype)
        return jnp.where(prior.valid, values, 0)

    def _counted(self, prior: PriorView) -> Array:
        """1 where a target has a known edge, else 0: (targets,), or a number for one target."""
        values = self._values(prior)
        return jnp.any(values > 0, axis=0).astype(values.dtype)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on one target or on the whole network."""
        apart = jnp.where(prior.valid, params.theta - self._values(prior), 0)
        return jnp.sum(self._counted(prior) * jnp.sum(apart**2, axis=0))

    def squares(self, block: str, params: Blocks, data: View, prior: PriorView) -> Squares:
        """Residuals theta - P, weighted by target."""
        values = self._values(prior)
        unit = jnp.eye(values.shape[0], dtype=values.dtype)
        return Squares(unit, values, jnp.where(prior.valid, self._counted(prior)[None], 0))

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Return 2."""
        return jnp.full((), 2, prior.weight.dtype)

    def observed(self, data: View, prior: PriorView) -> Observed:
        """Return P, which targets count, and which of them are left out together."""
        return Observed(self._values(prior), self._counted(prior), self.together)

    formula = property(lambda self: "Σ over targets with a known edge ‖Pₜ − θₜ‖²")


def known_edges(
    *, layer: str | None = None, graded: bool = False, together: Any = None
) -> KnownEdges:
    """The prior's edges as observations of theta; targets without an edge are not observed.

    L(theta) = sum over targets t with an edge in the prior of  sum_j (P_jt - theta_jt)^2, over all
    regulators j: of a target that the prior names, what it does not name counts as absent.

    Parameters
    ----------
    layer
        The source of evidence whose edges are known; None takes them all.
    graded
        P is the evidence itself rather than 1 for every edge.
    together
        Group of every target (a Series by name, or an array): targets of one group, such as the
        genes of an operon, are left out together wherever a fit is judged by what it was not
        shown. None: every target is a group of its own.

    Raises
    ------
    ValueError
        ``together`` that is no Series and no array of one axis.
    """
    if together is not None and not isinstance(together, Along):
        names = list(map(str, together.index)) if hasattr(together, "index") else None
        codes = np.unique(np.asarray(together).astype(str), return_inverse=True)[1]
        if codes.ndim != 1:
            raise ValueError(
                f"together needs one group for every target, got an array of shape {codes.shape}"
            )
        together = along(codes.astype(np.int32), "targets", names=names)
    return KnownEdges(together, layer, bool(graded))


@pytree
class Alike(Regularizer):
    """strength tr(theta K^-1 theta'), K a kernel of expression profiles; see `alike`."""

    strength: Any
    width: Any

    separable = None
    convex = True

    def _distances(self, data: View) -> tuple[Array, Array]:
        """Return 1 - correlation of all pairs of targets, and which targets are none (padding)."""
        y = data.y
        weight = jnp.ones_like(y[:, 0]) if data.weight is None else data.weight
        weight = weight[:, None]
        centred = y - jnp.sum(weight * y, axis=0, keepdims=True) / jnp.sum(weight)
        centred = centred * jnp.sqrt(weight)
        length = jnp.sqrt(jnp.sum(centred**2, axis=0, keepdims=True))
        size = jnp.sqrt(jnp.sum(weight * y**2, axis=0, keepdims=True))
        flat = length <= 1e3 * jnp.finfo(y.dtype).eps * size
        return jnp.where(flat, 0, centred / jnp.where(flat, 1, length)), flat[0]

    def kernel(self, data: View, prior: PriorView, rows: Array | None = None) -> Kernel:
        """Return K for every width, some of its rows or all."""
        unit, flat = self._distances(data)
        count = unit.shape[1]
        own = jnp.arange(count, dtype=jnp.int32)
        rows = own if rows is None else rows
        few = own[:: -(-count // SAMPLE)]
        pairs = jnp.maximum(1 - unit[:, few].T @ unit[:, few], 0)
        apart = ~(flat[few][:, None] | flat[few][None, :]) & (few[:, None] < few[None, :])
        middle = jnp.nanmedian(jnp.where(apart, pairs, jnp.nan))
        middle = jnp.where(middle > 0, middle, 1)
        distance = jnp.maximum(1 - unit[:, rows].T @ unit, 0)
        same = rows[:, None] == own[None, :]
        distance = jnp.where(same, 0, distance)
        widths = jnp.atleast_1d(jnp.asarray(self.width, unit.dtype))
        near = jnp.exp(-distance[None] / (widths[:, None, None] * middle))
        # A constant or padded target is like no other.
        alone = (flat[rows][:, None] | flat[None, :]) & ~same
        near = jnp.where(alone[None], 0, near)
        matrix = (1 - OWN) * near + OWN * same[None].astype(unit.dtype)
        strengths = jnp.atleast_1d(jnp.asarray(self.strength, unit.dtype))
        return Kernel(matrix, strengths, widths)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network, by a factorisation of K."""
        if jnp.size(self.strength) != 1 or jnp.size(self.width) != 1:
            raise TypeError(
                "several strengths or widths are no number: the closed form for kernels chooses "
                "among them; give one of each"
            )
        found = self.kernel(data, prior)
        lower = jnp.linalg.cholesky(found.matrix[0])
        half = solve_triangular(lower, params.theta.T, lower=True)
        return found.strengths[0] * jnp.sum(half**2)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Twice the strength over the least eigenvalue that K can have."""
        return 2 * jnp.max(jnp.asarray(self.strength, prior.weight.dtype)) / OWN

    formula = property(lambda self: "λ tr(θ K⁻¹ θᵀ)")


def alike(strength: Any = 0.1, width: Any = 1.0) -> Alike:
    """Targets of similar expression have similar regulators.

    R(theta) = lambda tr(theta K^-1 theta') with the kernel over expression profiles of all targets

        K_gh = (1 - e) exp(-(1 - r_gh) / (width m)) + e [g = h],   e = 1e-4,

    r the correlation over cells, weighted where the cells are, and m the median of 1 - r over pairs
    of targets (of at most 512, evenly spaced). Since 2 (1 - r) is a squared distance, K is positive
    definite. It says that every row of theta is a smooth function of expression: the prior of a
    Gaussian process. A constant target is like no other.

    Parameters
    ----------
    strength
        lambda > 0: how far an observed edge is trusted, and how much a prediction shrinks.
    width
        Number > 0, relative to m. Of several strengths or widths the solver takes the pair that
        predicts the observed targets best when they are left out.

    References
    ----------
    Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press (2006), section 2.2;
    Mordelet and Vert, Bioinformatics 24 (2008) i76, doi:10.1093/bioinformatics/btn273 (regulons
    learnt from known targets).
    """
    return Alike(_positive("strength", strength), _positive("width", width))


def _positive(name: str, value: Any) -> Any:
    if not isinstance(value, list | tuple | np.ndarray):
        return check_number(name, value, strict=True)
    if not len(value):
        raise ValueError(f"{name} needs at least one number, got none")
    return along(np.array([check_number(name, v, strict=True) for v in value]))
