"""Multitask regression on activities: edges that all groups of cells share, and edges of one."""

from __future__ import annotations

from unigrn.constraints import no_self
from unigrn.losses import least_squares
from unigrn.prior import Prior
from unigrn.regularizers import dirty
from unigrn.spec import Spec
from unigrn.stages import activity


def amusr(
    prior: Prior | None,
    own: float = 0.05,
    shared: float | None = None,
    prior_weight: float = 2.0,
    fallback: bool = True,
) -> Spec:
    """Networks of all groups of cells at once: what they share is paid for once.

    Activities A are made as in `tfa_ridge`; activities and genes are divided by their standard
    deviations over all cells. Of each target
    min over B, S of sum_g 1 / (2 n_g) |y_g - theta_0g - A_g (B_g + S_g)|^2
    + own sum_gj phi_j |S_gj| + shared sum_j max_g |B_gj|,
    g over the groups and j over every factor but the target itself.
    phi is 1 / prior_weight on edges of the prior and 1 elsewhere, divided by its mean over the
    target's candidates. ``weight`` is B + S; see `unigrn.dirty` for how it splits.

    Parameters
    ----------
    prior
        Edges that the activities are made from, and whose own parts are cheaper.
    own
        Price lambda_S of what one group has of its own, relative to its number of cells.
    shared
        Price lambda_B of the largest shared coefficient of a factor; None: ``own`` times the root
        of the number of groups. Up to ``own`` a factor acts in all groups or in none, from ``own``
        times the number of groups on every group is fitted by itself.
    prior_weight
        How many times cheaper an own part on an edge of the prior is, > 0; the shared part knows no
        prior.
    fallback
        Whether a factor without a target in the prior regulates by its expression.

    Notes
    -----
    Take it for several data sets, or cell types, that share much of a network, with a prior that
    names some targets of most factors. It expects log-normalised values or log ratios. Groups count
    alike, however many cells they have. The prices are given here: the published program chooses
    both over a grid by an extended Bayesian information criterion, and sets coefficients below 0.1
    to 0 afterwards, which this does not. An edge of the prior helps to make the activity that then
    explains it: only edges of targets that the prior does not name are judged by evidence of their
    own.

    References
    ----------
    Castro, de Veaux, Miraldi and Bonneau, PLoS Comput. Biol. 15 (2019) e1006591,
    doi:10.1371/journal.pcbi.1006591; Jalali, Ravikumar, Sanghavi and Ruan, NIPS 23 (2010) 964 (the
    dirty model).
    """
    return Spec(
        loss=0.5 * least_squares(mean=True),
        regularizer=dirty(own, shared, prior_weight),
        constraint=no_self(),
        prior=prior,
        name="amusr",
        expects=("log",),
        scale="both",
        stages=(activity(fallback=fallback),),
        notes={
            "weight": "coefficient in the group, shared and own part together, in standard "
            "deviations of the target per standard deviation of the factor's activity"
        },
    )
