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
        return Squares(unit, values, jnp.where(prior.valid, self._counted(prior)[None, :], 0))

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
    """Take the prior's edges as observations of theta; targets without one are not observed.

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
    even: Any = 0.0

    separable = None
    convex = True

    def _profiles(self, data: View, even: Array) -> tuple[Array, Array]:
        """Return profiles of length 1, (directions, targets), and which targets have none."""
        y = data.y
        weight = jnp.ones_like(y[:, 0]) if data.weight is None else data.weight
        weight = weight[:, None]
        centred = y - jnp.sum(weight * y, axis=0, keepdims=True) / jnp.sum(weight)
        unit, flat = _unit(centred * jnp.sqrt(weight), jnp.sum(weight * y**2, axis=0))
        # The singular values s of the profiles become s^(1 - even), from the smaller product.
        wide = unit.shape[0] < unit.shape[1]
        value, turn = jnp.linalg.eigh(unit @ unit.T if wide else unit.T @ unit)
        kept = value > 1e3 * jnp.finfo(y.dtype).eps * jnp.max(value, initial=0)
        safe = jnp.where(kept, value, 1)
        power = (0 if wide else 1) - even
        profiles = (turn * jnp.where(kept, safe ** (power / 2), 0)[None, :]).T
        profiles, lost = _unit(profiles @ unit if wide else profiles, jnp.ones_like(unit[0]))
        return jnp.where(flat[None, :], 0, profiles), flat | lost

    def kernel(self, data: View, prior: PriorView, rows: Any = None, kind: Any = 0) -> Kernel:
        """Return K for one pair of width and even, some of its rows or all."""
        several = [jnp.atleast_1d(jnp.asarray(v, data.y.dtype)) for v in (self.width, self.even)]
        widths, evens = (v.reshape(-1) for v in jnp.meshgrid(*several, indexing="ij"))
        unit, flat = self._profiles(data, evens[kind])
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
        near = jnp.exp(-jnp.where(same, 0, distance) / (widths[kind] * middle))
        # A constant or padded target is like no other.
        near = jnp.where((flat[rows][:, None] | flat[None, :]) & ~same, 0, near)
        matrix = (1 - OWN) * near + OWN * same.astype(unit.dtype)
        strengths = jnp.atleast_1d(jnp.asarray(self.strength, unit.dtype))
        return Kernel(matrix, strengths, jnp.stack([widths, evens], axis=1))

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network, by a factorisation of K."""
        if any(jnp.size(v) != 1 for v in (self.strength, self.width, self.even)):
            raise TypeError(
                "several strengths, widths or evens are no number: the closed form for kernels "
                "chooses among them; give one of each"
            )
        found = self.kernel(data, prior)
        lower = jnp.linalg.cholesky(found.matrix)
        half = solve_triangular(lower, params.theta.T, lower=True)
        return found.strengths[0] * jnp.sum(half**2)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Twice the strength over the least eigenvalue that K can have."""
        return 2 * jnp.max(jnp.asarray(self.strength, prior.weight.dtype)) / OWN

    formula = property(lambda self: "λ tr(θ K⁻¹ θᵀ)")


def _unit(values: Array, square: Array) -> tuple[Array, Array]:
    """Give columns length 1, or 0 where rounding of ``square`` is all they are, and say which."""
    length = jnp.sqrt(jnp.sum(values**2, axis=0))
    flat = length <= 1e3 * jnp.finfo(values.dtype).eps * jnp.sqrt(square)
    safe = jnp.where(flat, 1, length)
    return jnp.where(flat[None, :], 0, values / safe[None, :]), flat


def alike(strength: Any = 0.1, width: Any = 1.0, even: Any = 0.0) -> Alike:
    """Targets of similar expression have similar regulators.

    R(theta) = lambda tr(theta K^-1 theta') with the kernel over expression profiles of all targets

        K_gh = (1 - e) exp(-(1 - r_gh) / (width m)) + e [g = h],   e = 1e-4,

    r the correlation over cells, weighted where the cells are, and m the median of 1 - r over pairs
    of targets (of at most 512, evenly spaced). Since 2 (1 - r) is a squared distance, K is positive
    definite. Profiles are those of the targets, centred and of length 1; with ``even`` = a their
    singular values s are replaced by s^(1 - a) and r is the cosine of what results: conditions that
    most genes follow count for less. It says that every row of theta is a smooth function of
    expression, as the prior of a Gaussian process does. A constant target is like no other.

    Parameters
    ----------
    strength
        lambda > 0: how far an observed edge is trusted, and how much a prediction shrinks.
    width
        Number > 0, relative to m.
    even
        a, from 0 (profiles as they are) to 1 (every direction counts alike).
        Each may be a list: the solver then takes what predicts the observed targets best when they
        are left out, and gives it in the blocks ``strength`` and ``kernel`` (width, even).

    Raises
    ------
    ValueError
        A number out of its range, or an empty list.

    References
    ----------
    Rasmussen and Williams, Gaussian Processes for Machine Learning, MIT Press (2006), section 2.2;
    Mordelet and Vert, Bioinformatics 24 (2008) i76, doi:10.1093/bioinformatics/btn273 (regulons
    learnt from known targets).
    """
    given = {"strength": strength, "width": width, "even": even}
    checked = {name: _numbers(name, v, strict=name != "even") for name, v in given.items()}
    if np.max(getattr(checked["even"], "values", checked["even"])) > 1:
        raise ValueError(f"even must lie between 0 and 1, got {even}")
    return Alike(**checked)


def _numbers(name: str, value: Any, strict: bool) -> Any:
    """Check a number, or each of a list, which is then kept whole."""
    if not isinstance(value, list | tuple | np.ndarray):
        return check_number(name, value, strict=strict)
    if not len(value):
        raise ValueError(f"{name} needs at least one number, got none")
    return along(np.array([check_number(name, v, strict=strict) for v in value]))
