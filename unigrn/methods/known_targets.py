"""Learning from known targets: edges of genes that the prior does not name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.neighbours import alike, known_edges
from unigrn.prior import Prior
from unigrn.spec import Spec
from unigrn.terms import Array, Blocks, PriorView, View

STRENGTHS, EVENS = (0.1, 0.3, 1.0, 3.0), (0.0, 0.5)


def known_targets(
    prior: Prior | None,
    together: Any = None,
    strength: float | Sequence[float] = STRENGTHS,
    width: float | Sequence[float] = 1.0,
    even: float | Sequence[float] = EVENS,
    trust: float | None = None,
    layer: str | None = None,
    graded: bool = False,
) -> Spec:
    """Find more members of known regulons: a target is regulated like targets that behave alike.

    min over theta of  sum over targets t with a known edge |P_t - theta_t|^2
    + lambda tr(theta K^-1 theta'),  K_gh = exp(-(1 - r_gh) / (width m)) a kernel over expression
    profiles of all targets (`alike`): one closed form for all regulators. lambda and the kernel are
    those that rank the known edges best when their targets are left out. The score adds what
    expression says of each edge, weighted by a logistic regression on the targets with known edges,
    each seen only through fits from which it was left out::

        logit score = b0 + b1 k + b2 log k + b3 sqrt(v) + b4 log v + b5 c

    k the prediction of theta without the target, v the variance of the target that the activity of
    the regulator explains (drop-one, the activity made without the target), c the context
    likelihood of their correlation.

    Parameters
    ----------
    prior
        Known edges.
    together
        Group of every target, a Series by name: genes of one operon, say, which are left out
        together where choices and weights are judged. Without it genes of one operon speak for each
        other, and the kernel is trusted more than it deserves for targets that have no such mate.
    strength, width, even
        lambda, the width of the kernel, and how far conditions that most genes follow count for
        less in the correlation (0 to 1): numbers, or several to choose from.
    trust
        None takes the prior's edges as true, and scores them by other evidence only. A number takes
        the prior as a noisy list, such as motifs: score = sigma(log odds - log share of targets
        that the list gives the regulator + trust P), so that regulators with long lists gain
        nothing by them, and an edge of the list gains ``trust`` (1 is a fair start).
    layer
        The source of evidence whose edges are known; None takes them all.
    graded
        Take the evidence itself, rather than 1, for an edge.

    Notes
    -----
    Take it where many edges are known and most targets are not: it finds members of known regulons.
    It needs known edges, at least a few for a regulator, finds no regulon that the prior does not
    have, and says nothing of signs or of cause: genes that behave alike score alike. It expects
    expression on any scale; correlations take care of units. Where targets were hidden at random,
    genes of one operon make this easy: judge it with operons kept together. Cell weights are used,
    groups of cells are fitted one by one; bags that draw candidates are refused.

    References
    ----------
    Mordelet and Vert, Bioinformatics 24 (2008) i76, doi:10.1093/bioinformatics/btn273 (regulons
    from known targets); Arrieta-Ortiz et al., Mol. Syst. Biol. 11 (2015) 839,
    doi:10.15252/msb.20156236 (activities); Faith et al., PLoS Biol. 5 (2007) e8,
    doi:10.1371/journal.pbio.0050008 (context likelihood).
    """
    return Spec(
        loss=known_edges(layer=layer, graded=graded, together=together),
        regularizer=alike(strength, width, even),
        prior=prior,
        name="known_targets",
        columns=Evidence(
            layer, bool(graded), None if trust is None else check_number("trust", trust)
        ),
        notes={
            "weight": "theta: prediction of the edge, the target's own known edges included",
            "score": "how probable the evidence of the row makes the edge, the target's own known "
            "edges left out (with trust: beside the regulator's share, plus trust where known)",
            "regulon": "prediction of theta by other targets only",
            "explained": "variance of the target that the regulator's activity explains, the "
            "activity made of other targets only",
            "context": "context likelihood of the correlation with the regulator's expression",
        },
    )


@dataclass(frozen=True)
class Evidence:
    """Columns of the edge table: score, regulon, explained, context; see `known_targets`."""

    layer: str | None = None
    graded: bool = False
    trust: float | None = None

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> dict[str, Array]:
        """Return them; undefined at a regulator's edge to its own gene."""
        if "part" not in params:
            raise ValueError(
                "the score needs predictions without the target, which the closed form for kernels "
                "gives: leave solver out, or take columns=()"
            )
        seen = known_edges(layer=self.layer, graded=self.graded).observed(data, prior)
        real = prior.valid & ~prior.self_edge
        values = jnp.where(real, seen.values, 0)
        weight = jnp.ones_like(data.y[:, 0]) if data.weight is None else data.weight
        x, y = standardised(data.x, weight), standardised(data.y, weight)
        explained, known = without_own(values, y, jnp.sum(weight), params.part)
        context = likelihood(x.T @ y / jnp.sum(weight), real)
        regulon = jnp.nan_to_num(params.left_out)
        features = jnp.stack(
            [
                regulon,
                jnp.log(jnp.clip(regulon, 1e-3, 1)),
                jnp.sqrt(explained),
                jnp.log(explained + 1e-4),
                context,
            ]
        )
        shown = real & (params.part >= 0)[None, :]
        odds = logistic(features, (values > 0).astype(values.dtype), shown)
        if self.trust is not None:
            total = jnp.sum((params.part >= 0).astype(known.dtype))
            odds = (
                odds
                - jnp.log((known + 1) / (total + 2))
                + self.trust * (values > 0).astype(odds.dtype)
            )
        columns = {
            "score": jax.nn.sigmoid(odds),
            "regulon": regulon,
            "explained": explained,
            "context": context,
        }
        return {name: jnp.where(real, column, jnp.nan) for name, column in columns.items()}


def standardised(values: Array, weight: Array) -> Array:
    """Centre and scale columns (cells, c), rows times the root of their weight; 0 if constant."""
    weight = weight[:, None]
    total = jnp.sum(weight)
    size = jnp.sum(weight * values**2, axis=0, keepdims=True) / total
    values = values - jnp.sum(weight * values, axis=0, keepdims=True) / total
    square = jnp.sum(weight * values**2, axis=0, keepdims=True) / total
    flat = square <= 1e6 * jnp.finfo(values.dtype).eps ** 2 * size
    return jnp.sqrt(weight) * jnp.where(flat, 0, values / jnp.sqrt(jnp.where(flat, 1, square)))


def drop_one(edges: Array, y: Array, count: Array) -> Array:
    """Return what each regulator's activity explains of each target beside all others, 0 to 1.

    A = (P P' + I)^-1 P Y', b = H A Y with H = (A A' + 0.01 n I)^-1, and d / (RSS + d) with
    d = b^2 / H_jj.
    """
    unit = jnp.eye(edges.shape[0], dtype=y.dtype)
    activity = jnp.linalg.solve(edges @ edges.T + unit, edges @ y.T)
    inverse = jnp.linalg.inv(activity @ activity.T + 0.01 * count * unit)
    b = inverse @ (activity @ y)
    rest = jnp.sum((y - activity.T @ b) ** 2, axis=0, keepdims=True)
    drop = b**2 / jnp.diagonal(inverse)[:, None]
    return drop / jnp.maximum(rest + drop, jnp.finfo(y.dtype).tiny)


def without_own(edges: Array, y: Array, count: Array, part: Array) -> tuple[Array, Array]:
    """Return `drop_one`, and the known targets of each regulator, without a target's own part.

    Both (regulators, targets); a part holds the targets that are left out together, -1 none.
    """

    def fill(number, found):
        own = (part == number)[None, :]
        rest = jnp.where(own, 0, edges)
        known = jnp.sum(rest > 0, axis=1, keepdims=True).astype(y.dtype)
        return jnp.where(own, drop_one(rest, y, count), found[0]), jnp.where(own, known, found[1])

    known = jnp.sum(edges > 0, axis=1, keepdims=True).astype(y.dtype)
    first = drop_one(edges, y, count), jnp.broadcast_to(known, edges.shape)
    return jax.lax.fori_loop(0, jnp.max(part) + 1, fill, first)


def likelihood(correlation: Array, real: Array) -> Array:
    """Context likelihood of |correlation|: the root of both positive z scores' squares.

    One among the regulators of the target, the other among the targets of the regulator.
    """
    size = jnp.where(real, jnp.abs(correlation), 0)

    def z(axis):
        count = jnp.maximum(jnp.sum(real.astype(size.dtype), axis=axis, keepdims=True), 1)
        mean = jnp.sum(size, axis=axis, keepdims=True) / count
        apart = jnp.where(real, size - mean, 0)
        spread = jnp.sqrt(jnp.sum(apart**2, axis=axis, keepdims=True) / count)
        return jnp.maximum(apart, 0) / jnp.where(spread > 0, spread, 1)

    return jnp.sqrt(z(0) ** 2 + z(1) ** 2)


def logistic(features: Array, edges: Array, shown: Array, ridge: float = 1.0) -> Array:
    """Return log odds at every entry, by weights learnt where ``shown``.

    min over b of  -log likelihood + ridge / 2 |b|^2 with 1e-6 in place of ridge for the intercept,
    the features (k, q, p) standardised over the shown entries, those constant there without a say;
    Newton steps, none longer than 3.
    """
    on = shown.astype(features.dtype)
    count = jnp.maximum(jnp.sum(on), 1)
    over = on[None, :, :]
    mean = jnp.sum(features * over, axis=(1, 2), keepdims=True) / count
    spread = jnp.sqrt(jnp.sum((features - mean) ** 2 * over, axis=(1, 2), keepdims=True) / count)
    # What rounding of the mean leaves of a constant is no spread.
    varies = spread > 1e3 * jnp.finfo(features.dtype).eps * jnp.abs(mean)
    design = jnp.where(varies, (features - mean) / jnp.where(varies, spread, 1), 0)
    design = jnp.concatenate([design, jnp.ones_like(design[:1])])
    penalty = jnp.full(len(design), ridge, design.dtype).at[-1].set(1e-6)

    def step(_, b):
        share = jax.nn.sigmoid(jnp.einsum("k,kqp->qp", b, design))
        slope = jnp.einsum("kqp,qp->k", design, (edges - share) * on) - penalty * b
        bend = jnp.einsum("kqp,lqp->kl", design * (share * (1 - share) * on)[None], design)
        move = jnp.linalg.solve(bend + jnp.diag(penalty), slope)
        return b + move * jnp.minimum(1, 3 / jnp.maximum(jnp.max(jnp.abs(move)), 1e-30))

    share = jnp.clip(jnp.sum(edges * on) / count, 1e-6, 1 - 1e-6)
    start = jnp.zeros(len(design), design.dtype).at[-1].set(jnp.log(share / (1 - share)))
    return jnp.einsum("k,kqp->qp", jax.lax.fori_loop(0, 30, step, start), design)
