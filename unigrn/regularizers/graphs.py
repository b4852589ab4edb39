"""Laplacians: neighbours in a graph are regulated alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from unigrn.check import check_number
from unigrn.kernels import Symmetric, energy
from unigrn.terms import (
    Along,
    Array,
    Blocks,
    PriorView,
    Quadratic,
    Regularizer,
    View,
    along,
    pytree,
    static,
)


@pytree
class Laplacian(Regularizer):
    """kappa sum over pairs of targets; see `laplacian`."""

    strength: Array
    threshold: Array
    signed: bool = static(default=True)
    matrix: Any = None  # worked out by `prepare`, listed by `compact`
    reach: Array = None  # its largest sum of sizes in a row

    separable = None
    convex = True

    def prepare(self, data: View, prior: PriorView) -> Laplacian:
        """Work out the Laplacian of the targets, (p, p)."""
        if self.matrix is not None:
            return self
        weight = jnp.ones_like(data.y[:, 0]) if data.weight is None else data.weight
        weight = weight[:, None]
        centred = data.y - jnp.sum(weight * data.y, axis=0, keepdims=True) / jnp.sum(weight)
        centred = centred * jnp.sqrt(weight)
        length = jnp.sqrt(jnp.sum(centred**2, axis=0, keepdims=True))
        size = jnp.sqrt(jnp.sum(weight * data.y**2, axis=0, keepdims=True))
        flat = length <= 1e3 * jnp.finfo(data.y.dtype).eps * size  # a constant target has no kin
        unit = jnp.where(flat, 0, centred / jnp.where(flat, 1, length))
        alike = unit.T @ unit
        kin = jnp.abs(alike) > self.threshold
        kin = kin & jnp.logical_not(jnp.eye(kin.shape[0], dtype=bool))
        pull = jnp.where(kin, alike if self.signed else jnp.abs(alike), 0)
        matrix = jnp.diag(jnp.sum(jnp.abs(pull), axis=0)) - pull
        reach = jnp.max(jnp.sum(jnp.abs(matrix), axis=1))
        return Laplacian(self.strength, self.threshold, self.signed, matrix, reach)

    def compact(self) -> Laplacian:
        """List the entries of the matrix, where they are few."""
        listed = Symmetric.of(np.asarray(self.matrix))
        return self if listed is None else replace(self, matrix=listed)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        return self.strength * energy(params.theta, self.prepare(data, prior).matrix)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Twice kappa times the largest row sum, which bounds the largest eigenvalue."""
        return 2 * self.strength * self.prepare(data, prior).reach

    formula = property(
        lambda self: (
            "κ Σ |w_gh| ‖θ_g − sign(w_gh) θ_h‖²" if self.signed else "κ Σ w_gh ‖θ_g − θ_h‖²"
        )
    )


def laplacian(strength: float, threshold: float = 0.95, signed: bool = True) -> Laplacian:
    """Targets that are expressed alike are regulated alike.

    R(theta) = kappa tr(theta L theta') = kappa sum_{g < h} |w_gh| |theta_g - sign(w_gh) theta_h|^2
    over pairs of targets, w_gh their correlation where |w_gh| > threshold, else 0; L = D - W with
    D_g = sum_h |w_gh|. With ``signed=False`` w is |correlation|. Either L is positive semidefinite;
    with signed w and D_g = sum_h w_gh it would not be.

    Parameters
    ----------
    strength
        kappa >= 0.
    threshold
        Between 0 and 1.
    signed
        Whether targets of opposite expression are pulled to opposite coefficients, or to the same.

    References
    ----------
    Wang et al., Nat. Commun. 9 (2018) 4061 (NetREX); Kunegis et al., SIAM SDM (2010) 559,
    doi:10.1137/1.9781611972801.49 (signed Laplacian).
    """
    threshold = check_number("threshold", threshold)
    if threshold > 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold:g}")
    return Laplacian(check_number("strength", strength), threshold, bool(signed))


class _Graph(Regularizer):
    """Squared differences along the edges of a named graph, where both ends are candidates."""

    strength: Array
    adjacency: Array

    convex = True

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Four times lambda the largest degree: D and W have no larger eigenvalue."""
        return 4 * self.strength * jnp.max(jnp.sum(jnp.abs(self.adjacency), axis=0), initial=0)


@pytree
class RegulatorGraph(_Graph):
    """Neighbours among the regulators act alike; see `graph_laplacian`."""

    strength: Array
    adjacency: Array

    separable = "targets"

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return the degrees among the candidates as a diagonal, less the graph."""
        weight = self.strength * jnp.asarray(self.adjacency, prior.weight.dtype)
        degrees = jnp.abs(weight) @ prior.valid.astype(weight.dtype)
        zero = jnp.zeros((), weight.dtype)
        return Quadratic(None, degrees, zero, matrix=-weight)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return self.quadratic(data, prior).value(params.theta, None)

    formula = property(lambda self: "κ Σ |a_jk| ‖θ_j − sign(a_jk) θ_k‖²")


@pytree
class TargetGraph(_Graph):
    """Neighbours among the targets are regulated alike; see `graph_laplacian`."""

    strength: Array
    adjacency: Array

    separable = None

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        theta, weight = params.theta, jnp.asarray(self.adjacency, params.theta.dtype)
        degrees = prior.valid.astype(theta.dtype) @ jnp.abs(weight)
        return self.strength * jnp.sum(theta * (degrees * theta - theta @ weight))

    formula = property(lambda self: "κ Σ |a_gh| ‖θ_g − sign(a_gh) θ_h‖²")


def graph_laplacian(
    strength: float, graph: Any, over: str = "targets"
) -> TargetGraph | RegulatorGraph:
    """Neighbours in a given graph have like coefficients: of targets, or of regulators.

    R(theta) = strength sum over edges {g, h} of |a_gh| |theta_g - sign(a_gh) theta_h|^2, theta_g
    the coefficients of a target (or, over regulators, of a regulator). A negative weight a pulls to
    opposite coefficients. A pair counts where both are candidates; genes that the graph lacks have
    no neighbours. Over regulators the targets separate and it is a quadratic, solved in closed
    form; over targets it couples them. The graph is held as a matrix, genes x genes.

    Parameters
    ----------
    strength
        kappa >= 0.
    graph
        Edges of the graph: a table whose first columns are two names and, where there is a third, a
        weight (else 1), or a list of such tuples. The order of the two means nothing.
    over
        "targets" or "regulators".

    Raises
    ------
    ValueError
        Pairs given twice or of one gene with itself; weights that are not finite; a graph of none
        of the genes of the problem (when it is bound).

    References
    ----------
    Li and Li, Bioinformatics 24 (2008) 1175, doi:10.1093/bioinformatics/btn081.
    """
    if over not in ("targets", "regulators"):
        raise ValueError(f"over must be targets or regulators, got {over!r}")
    kind = TargetGraph if over == "targets" else RegulatorGraph
    return kind(check_number("strength", strength), _adjacency(graph, over))


def _adjacency(graph: Any, axis: str) -> Along:
    """Return a symmetric matrix of weights, 0 where there is no edge."""
    table = hasattr(graph, "itertuples")
    rows: list[tuple[Any, ...]] | None = list(graph.itertuples(index=False)) if table else None
    if rows is None and not isinstance(graph, str) and np.iterable(graph):
        rows = [tuple(row) if np.iterable(row) else () for row in graph]
    if not rows or any(len(row) < 2 for row in rows):
        raise ValueError(
            "a graph is a table, or a list of tuples, of two names and perhaps a weight, got "
            f"{type(graph).__name__}" + ("" if rows is None else f" with {len(rows)} such rows")
        )
    ends = [(str(row[0]), str(row[1])) for row in rows]  # pyright: ignore[reportGeneralTypeIssues]
    weights = [_finite(row[2]) if len(row) > 2 else 1.0 for row in rows]
    names = sorted({name for pair in ends for name in pair})
    place = {name: i for i, name in enumerate(names)}
    matrix, known = np.zeros((len(names), len(names))), set()
    for (a, b), weight in zip(ends, weights, strict=True):
        i, j = place[a], place[b]
        if i == j or frozenset((i, j)) in known:
            what = "a gene and itself" if i == j else "a pair that was given before"
            raise ValueError(f"an edge of the graph joins two genes once, got {a} - {b}: {what}")
        known.add(frozenset((i, j)))
        matrix[i, j] = matrix[j, i] = weight
    return along(matrix, axis, axis, names=[names, names], fill=0.0)


def _finite(weight: Any) -> float:
    return check_number("weight of the graph", weight, low=-np.inf)
