"""Fused groups of cells: where two of them are joined, their networks are alike or the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from unigrn.check import check_number, listed
from unigrn.terms import Along, Array, Blocks, Lines, PriorView, Regularizer, View, along, pytree


@pytree
class Fused(Regularizer):
    """Absolute differences between groups; see `fused`."""

    strength: Array
    pairs: Any = None  # (pairs, groups) of 1 and -1; None: all pairs
    weights: Any = None  # (pairs,)

    across = True
    separable = "targets"
    convex = True

    def lines(self, data: View, prior: PriorView) -> Lines:
        """Return a row for every pair, 1 at one group and -1 at the other."""
        dtype, groups = prior.weight.dtype, prior.weight.shape[0]
        matrix, weights = self.pairs, self.weights
        if matrix is None:
            first, second = np.triu_indices(groups, 1)
            eye = np.eye(groups)
            matrix = eye[first] - eye[second]
        if weights is None:
            weights = np.ones(matrix.shape[0])
        return Lines(jnp.asarray(matrix, dtype), self.strength * jnp.asarray(weights, dtype))

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the coefficients of all groups, (groups, candidates)."""
        found = self.lines(data, prior)
        apart = jnp.abs(jnp.tensordot(found.matrix, params.theta, 1, precision="highest"))
        return jnp.sum(found.price * jnp.sum(apart, axis=tuple(range(1, apart.ndim))))

    formula = property(lambda self: "λ Σ_ab w_ab ‖θ_a − θ_b‖₁")


def fused(strength: float, pairs: Any = None, tree: bool = False) -> Fused:
    """Give joined groups of cells the same coefficients, unless the cells say otherwise.

    R(theta) = strength sum over pairs {a, b} of w_ab sum_j |theta_aj - theta_bj|, theta_a the
    coefficients of a target in group a. The targets separate, the groups do not: they are fitted at
    once. At strength 0 every group stands for itself; from some strength on, groups that pairs
    connect share one network. Units of theta are those that the scale of the spec gives all groups.

    Parameters
    ----------
    strength
        lambda >= 0, in units of the loss per unit of theta.
    pairs
        Groups that are joined, by name: ``{child: parent}``, a table whose first columns are two
        names and, where there is a third, a weight > 0 (else 1), or a list of such tuples. The
        order of the two means nothing. Groups in no pair stand for themselves. None: all pairs of
        groups, with weight 1.
    tree
        Whether the pairs have to be one tree of all groups: a lineage.

    Raises
    ------
    ValueError
        Pairs given twice or of a group with itself; weights that are not finite and > 0; a tree
        with a circle or in several pieces; names that are no groups of the data, data without
        groups, or groups that the tree lacks (when it is bound).

    Examples
    --------
    >>> print(fused(2.0, {"b": "a", "c": "a"}).formula)
    λ Σ_ab w_ab ‖θ_a − θ_b‖₁

    References
    ----------
    Tibshirani, Saunders, Rosset, Zhu and Knight, J. R. Stat. Soc. B 67 (2005) 91,
    doi:10.1111/j.1467-9868.2005.00490.x; Danaher, Wang and Witten, J. R. Stat. Soc. B 76 (2014)
    373, doi:10.1111/rssb.12033 (over groups of samples).
    """
    strength = check_number("strength", strength)
    if pairs is None:
        return Fused(strength)
    rows = joined(pairs)
    if tree:
        check_tree(rows)
    matrix, weights = incidence(rows, None if tree else 0.0)
    return Fused(strength, matrix, along(weights))


def joined(pairs: Any) -> list[tuple[str, str, float]]:
    """Return pairs of groups by name with their weights, or say what is wrong with them."""
    if isinstance(pairs, Mapping):
        pairs = list(pairs.items())
    table = hasattr(pairs, "itertuples")
    rows: list[Any] | None = list(pairs.itertuples(index=False)) if table else None
    if rows is None and not isinstance(pairs, str) and np.iterable(pairs):
        rows = [row if np.iterable(row) and not isinstance(row, str) else () for row in pairs]
    if not rows or any(not 2 <= len(tuple(row)) <= 3 for row in rows):
        raise ValueError(
            "pairs of groups are {child: parent}, a table or a list of tuples, of two names and "
            f"perhaps a weight, got {type(pairs).__name__}"
            + ("" if rows is None else f" with {len(rows)} such rows")
        )
    out, known = [], set()
    for row in rows:
        a, b, *rest = row
        if odd := [name for name in (a, b) if np.ndim(name)]:
            raise ValueError(f"a pair of groups is two names, got {odd[0]!r} for one of them")
        a, b = str(a), str(b)
        weight = check_number("weight of a pair", rest[0], strict=True) if rest else 1.0
        if a == b or frozenset((a, b)) in known:
            what = "a group and itself" if a == b else "a pair that was given before"
            raise ValueError(f"a pair joins two groups once, got {a} - {b}: {what}")
        known.add(frozenset((a, b)))
        out.append((a, b, weight))
    return out


def check_tree(rows: list[tuple[str, str, float]]) -> None:
    """Raise ValueError where pairs of groups are no tree, with the pair or the groups at fault."""
    piece = {name: {name} for a, b, _ in rows for name in (a, b)}
    for a, b, _ in rows:
        if piece[a] is piece[b]:
            raise ValueError(
                f"a tree has no circle, got {a} - {b}, which others connect too; leave one pair "
                "of the circle out, or take pairs that are no tree (fused)"
            )
        union = piece[a] | piece[b]
        piece.update(dict.fromkeys(union, union))
    first = piece[rows[0][0]]
    if rest := sorted(piece.keys() - first):
        raise ValueError(
            f"a tree is in one piece, got {listed(sorted(first), 3)} apart from "
            f"{listed(rest, 3)}; give the pair that connects them"
        )


def incidence(
    rows: list[tuple[str, str, float]], fill: float | None = 0.0
) -> tuple[Along, np.ndarray]:
    """Return a row of 1 and -1 for every pair, over the groups by name, and the weights.

    Groups in no pair are filled in, or with None refused when the rows are bound.
    """
    names = sorted({name for a, b, _ in rows for name in (a, b)})
    place = {name: i for i, name in enumerate(names)}
    matrix = np.zeros((len(rows), len(names)))
    for row, (a, b, _) in zip(matrix, rows, strict=True):
        row[place[a]], row[place[b]] = 1, -1
    named = along(matrix, "pairs", "cell groups", names=names, fill=fill)
    return named, np.array([weight for *_, weight in rows])
