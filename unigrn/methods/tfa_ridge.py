"""Ridge on the activities of transcription factors, ranked by what each edge alone explains."""

from __future__ import annotations

from unigrn.columns import drop_one
from unigrn.constraints import no_self
from unigrn.losses import least_squares
from unigrn.prior import Prior
from unigrn.regularizers import ridge
from unigrn.spec import Spec
from unigrn.stages import activity


def tfa_ridge(prior: Prior | None, alpha: float = 1.0, fallback: bool = True) -> Spec:
    """Ridge of every gene on the activities of all factors; edges ranked by drop-one variance.

    A = X P' (P P')^-1 (pseudo-inverse; P the signed prior without self-edges) are the activities of
    the factors that have a target in the prior. Activities and genes are divided by their standard
    deviations over all cells; min sum_i (y_i - theta_0 - a_i theta)^2 + alpha |theta|^2 over every
    factor but the target itself. ``score`` is (b_j^2 / H_jj) / (RSS + b_j^2 / H_jj), H = (A'A +
    alpha I)^-1 of the centred activities: what the target's variance owes to this factor alone.

    Parameters
    ----------
    prior
        Edges that the activities are made from.
    alpha
        Ridge strength, not scaled by the number of cells: larger, and weights of factors with like
        activities are shared out more evenly.
    fallback
        Whether a factor without a target in the prior regulates by its expression.

    Notes
    -----
    Take it for bulk data or many conditions with a prior that names some targets of most factors:
    it scores every pair, targets that the prior does not name included. It expects log-normalised
    values or log ratios. An edge of the prior helps to make the activity that then explains it:
    only edges of targets that the prior does not name are judged by evidence of their own. Factors
    with ``fallback`` are less reliable; without it they get no edge.

    References
    ----------
    Arrieta-Ortiz et al., Mol. Syst. Biol. 11 (2015) 839, doi:10.15252/msb.20156236; Skok Gibbs et
    al., Bioinformatics 38 (2022) 2519, doi:10.1093/bioinformatics/btac117.
    """
    return Spec(
        loss=least_squares(),
        regularizer=ridge(alpha),
        constraint=no_self(),
        prior=prior,
        name="tfa_ridge",
        expects=("log",),
        scale="both",
        stages=(activity(fallback=fallback),),
        columns=(drop_one("score"),),
        notes={
            "weight": "coefficient, in standard deviations of the target per standard deviation "
            "of the factor's activity",
            "score": "share of the target's variance that is left unexplained without this factor "
            "and explained with it",
        },
    )
