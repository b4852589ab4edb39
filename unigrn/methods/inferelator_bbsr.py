"""Inferelator's Bayesian best subset regression on the activities of transcription factors."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.constraints import no_self
from unigrn.losses import subset_bic
from unigrn.prior import Prior
from unigrn.spec import Spec
from unigrn.stages import activity
from unigrn.terms import Array, Blocks, PriorView, View


def inferelator_bbsr(
    prior: Prior | None,
    candidates: int = 10,
    weight: float = 1.0,
    other: float = 1.0,
    fallback: bool = True,
) -> Spec:
    """Best subset of at most ten factors of every gene, by an information criterion of all subsets.

    Regressors are the activities of factors as in `tfa_ridge`, divided by their standard deviations
    over all cells, genes likewise. Of the candidates of a target (those that the prior names, and
    as many others with the largest |correlation|) the best ``candidates`` stay by the criterion of
    all subsets of one and two. The coefficients are least squares on the subset S with the least
    n (ln s - psi(n / 2)) + |S| ln n, s = (|y - a theta|^2 + |a (h theta)|^2) / 2, h = (1 + g)^-1/2
    (`subset_bic`).
    ``score`` is 1 - RSS / RSS without the factor, the rest of S fitted again.

    Parameters
    ----------
    prior
        Edges that the activities are made from, and candidates.
    candidates
        Candidates whose subsets are all tried, 1 to 12; each one more doubles the work.
    weight, other
        g of edges that the prior names, and of others: a larger one makes an edge cheaper. The
        Inferelator's defaults are 1 and 1.
    fallback
        Whether a factor without a target in the prior regulates by its expression.

    Notes
    -----
    Take it for a short list of regulators for every gene, with the Inferelator's criterion; for a
    ranking of all pairs `tfa_ridge` is better. It expects log-normalised values or log ratios, and
    more cells than candidates. What differs from the released program: others are ranked by
    correlation in place of the context likelihood of mutual information, which depends on which
    genes are fitted together; there are no bootstraps, whose ranks that program sums.

    References
    ----------
    Greenfield, Hafemeister and Bonneau, Bioinformatics 29 (2013) 1060,
    doi:10.1093/bioinformatics/btt099; Arrieta-Ortiz et al., Mol. Syst. Biol. 11 (2015) 839,
    doi:10.15252/msb.20156236.
    """
    return Spec(
        loss=subset_bic(candidates, weight, other),
        constraint=no_self(),
        prior=prior,
        name="inferelator_bbsr",
        expects=("log",),
        scale="both",
        stages=(activity(fallback=fallback),),
        columns=(explained,),
        notes={
            "weight": "least-squares coefficient within the best subset, in standard deviations of "
            "the target per standard deviation of the activity; 0 outside of it",
            "score": "share of the variance that is left without the factor and explained with it",
        },
    )


def explained(params: Blocks, data: View, prior: PriorView) -> dict[str, Array]:
    """Return what the solver found that every edge of the subset explains."""
    return {"score": jnp.where(prior.valid, params.explained, 0)}
