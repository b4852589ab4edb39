"""Graphical lasso: partial correlations of genes, sparser where the prior is silent."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.ensembles import belief, believed
from unigrn.precision import gaussian_graph, positive_definite
from unigrn.prior import Prior
from unigrn.regularizers import fused, pair_l1
from unigrn.spec import Spec
from unigrn.terms import Array, Blocks, PriorView, View


def graphical_lasso(
    prior: Prior | None,
    strength: float = 0.1,
    bias: float | str = 0.5,
    fusion: float = 0.0,
    tree: Any = None,
) -> Spec:
    """Graphical lasso, its penalty cheaper where the prior names a pair of genes.

    min over theta symmetric positive definite of
    -log det theta + tr(S theta) + strength sum_{i != j} (1 - (1 - bias) P_ij) |theta_ij|, with S
    the correlation of the genes (of a group of cells: their covariance there, in units of their
    standard deviations over all cells) and P_ij the larger of the prior's weights of (i, j) and (j,
    i), at most 1. Regulators are the targets, all genes by default: an edge says that two genes go
    together given all others, and stands in the table in both directions.

    Parameters
    ----------
    prior
        Pairs of genes whose penalty is reduced; None for the plain graphical lasso.
    strength
        lambda: pairs whose partial covariance stays below have no edge.
    bias
        Between 0 (pairs of the prior are free) and 1 (the prior is ignored). "auto": chosen
        by cells that the fits did not see (`unigrn.ensembles.believed`); needs ``fusion=0``.
    fusion
        Price of a difference between the networks of two groups of cells, which are then fitted at
        once: + fusion sum over pairs (a, b) of groups of sum_ij |theta_a,ij - theta_b,ij|, the
        diagonal included (the fused graphical lasso). 0: every group by itself.
    tree
        With ``fusion``: parent of every group but the root, ``{"child": "parent"}``, or a list of
        [group, group, weight]; None joins all pairs of groups.

    Notes
    -----
    Take it for tens to a few thousand genes, to tell direct from indirect association; it gives no
    direction. It expects log-normalised values; every gene is scaled. Convex, with a duality gap as
    certificate; genes that do not vary have no edges. Memory and time grow with the square and the
    cube of the number of genes: give the genes of interest as targets. Groups that are fused count
    alike, however many cells they have, and a gene that does not vary in one of them has no edges
    in any.

    References
    ----------
    Friedman, Hastie and Tibshirani, Biostatistics 9 (2008) 432, doi:10.1093/biostatistics/kxm045;
    Li and Jackson, G3 5 (2015) 1075, doi:10.1534/g3.115.018127 (weighted by a prior); Danaher, Wang
    and Witten, J. R. Stat. Soc. B 76 (2014) 373, doi:10.1111/rssb.12033 (fused over groups).
    """
    apart = check_number("fusion", fusion) == 0
    if apart and tree is not None:
        raise ValueError("tree joins groups by fusion > 0, got fusion=0; give both or neither")
    given, auto = belief(bias)
    if auto and not (apart and prior is not None):
        raise ValueError(
            f"bias='auto' chooses how cheap pairs of the prior are, group by group; got "
            f"fusion={fusion:g} and {'no' if prior is None else 'a'} prior: needed 0 and a prior"
        )
    penalty = pair_l1(strength, given)
    spec = Spec(
        loss=gaussian_graph(),
        regularizer=penalty if apart else penalty + fused(fusion, tree, tree=tree is not None),
        constraint=positive_definite(),
        prior=prior,
        name="graphical_lasso",
        expects=("log",),
        scale="standard",
        start=identity,
        columns=partial_correlation,
        notes={
            "weight": "entry of the precision matrix of standardised genes",
            "partial_correlation": "correlation of both genes given all others, -1 to 1",
            "score": "|partial correlation|",
        },
    )
    return believed(spec, "PairL1.bias") if auto else spec


def identity(data: View, prior: PriorView, key: Array, terms: tuple) -> Blocks:
    """Return the precision matrix of independent genes of variance 1."""
    return Blocks(theta=jnp.where(prior.self_edge & prior.valid, 1.0, 0.0).astype(data.x.dtype))


def partial_correlation(params: Blocks, data: View, prior: PriorView) -> dict[str, Array]:
    """Return -theta_ij / sqrt(theta_ii theta_jj), and its size as score; NaN on the diagonal."""
    theta = params.theta
    root = jnp.sqrt(jnp.diagonal(theta))
    scale = root[:, None] * root[None, :]
    found = -theta / jnp.where(scale > 0, scale, 1)
    found = jnp.where(prior.self_edge, jnp.nan, found)
    return {"partial_correlation": found, "score": jnp.abs(found)}
