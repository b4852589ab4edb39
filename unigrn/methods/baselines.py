"""Baselines that every other method has to beat: the prior alone, correlation, partial correlation.

No more than a spec each, so that they are scored, bagged and permuted like any other method.
"""

from __future__ import annotations

import jax.numpy as jnp

from unigrn import columns
from unigrn.constraints import no_self, support
from unigrn.losses import least_squares, marginal_squares, prior_squares
from unigrn.prior import Prior
from unigrn.regularizers import ridge
from unigrn.spec import Spec
from unigrn.terms import Array, Blocks, PriorView, View


def prior_only(prior: Prior | None) -> Spec:
    """Give the prior as it is: no value of any cell enters.

    min |theta - P|^2 on the prior's support, P its signed weights, summed over its layers.

    Parameters
    ----------
    prior
        Edges, with weight and sign.

    Notes
    -----
    Take it as the line that a method with a prior has to beat: one that does not has added nothing.
    It expects nothing of the values, and is the same in every group.

    References
    ----------
    None: a definition.
    """
    return Spec(
        loss=prior_squares(),
        constraint=support() + no_self(),
        prior=prior,
        name="prior_only",
        notes={"weight": "weight of the prior, with its sign"},
    )


def correlation(prior: Prior | None) -> Spec:
    """Pearson correlation of every gene with every regulator.

    min sum_j sum_i (y_i - theta_0j - x_ij theta_j)^2, one simple regression a pair, genes divided
    by their standard deviations over all cells: in one group of cells theta is Pearson's r.
    ``score`` is |r| within the group.

    Parameters
    ----------
    prior
        Its measured sources are the default regulators.

    Notes
    -----
    Take it as the line that a method with expression has to beat. It expects log-normalised values
    or log ratios, has no direction and tells no regulator from one correlated with it.

    References
    ----------
    Butte and Kohane, Pac. Symp. Biocomput. 5 (2000) 418, doi:10.1142/9789814447331_0040.
    """
    return Spec(
        loss=marginal_squares(),
        constraint=no_self(),
        prior=prior,
        name="correlation",
        expects=("log",),
        scale="both",
        columns=(pearson,),
        notes={
            "weight": "simple regression coefficient in standard deviations over all cells: in one "
            "group Pearson's correlation",
            "score": "|Pearson correlation| within the group",
        },
    )


def pearson(params: Blocks, data: View, prior: PriorView) -> dict[str, Array]:
    """Return |c_j| / sqrt(G_jj s), at most 1; 0 of constant genes."""
    m = data.moments
    size = jnp.sqrt(jnp.diagonal(m.gram) * m.square)
    r = jnp.where(size > 0, jnp.abs(m.cross) / jnp.where(size > 0, size, 1), 0)
    return {"score": jnp.minimum(r, 1)}


def partial_correlation(prior: Prior | None, alpha: float = 0.1) -> Spec:
    """Partial correlation of every gene with a regulator given all the other regulators.

    Of the joint covariance of a target and its candidates, in units of standard deviations and with
    alpha on the regulators' diagonal, K its inverse: ``partial`` = -K_jy / sqrt(K_jj K_yy), by one
    ridge a target, min (1/n) sum_i (y_i - theta_0 - x_i theta)^2 + alpha |theta|^2. ``score`` is
    its size.

    Parameters
    ----------
    prior
        Its measured sources are the default regulators.
    alpha
        Ridge strength relative to the number of cells; at 0 it is the plain partial correlation,
        which needs more cells than regulators.

    Notes
    -----
    Take it as the line that a regression on all regulators has to beat. It expects log-normalised
    values or log ratios. Given are the regulators alone, not all genes.

    References
    ----------
    Schaefer and Strimmer, Stat. Appl. Genet. Mol. Biol. 4 (2005) 32, doi:10.2202/1544-6115.1175.
    """
    return Spec(
        loss=least_squares(mean=True),
        regularizer=ridge(alpha),
        constraint=no_self(),
        prior=prior,
        name="partial_correlation",
        expects=("log",),
        scale="both",
        columns=(columns.partial_correlation(), columns.Size(columns.partial_correlation("score"))),
        notes={
            "weight": "ridge coefficient, in standard deviations of the target per standard "
            "deviation of the regulator",
            "partial": "partial correlation given the other regulators",
            "score": "its size",
        },
    )
