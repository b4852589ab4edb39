"""Inferelator's lasso on the activities of transcription factors, chosen by stability."""

from __future__ import annotations

import numpy as np

from unigrn.check import check_number, check_whole
from unigrn.constraints import no_self
from unigrn.ensembles import stars
from unigrn.losses import least_squares
from unigrn.prior import Prior
from unigrn.regularizers import l1
from unigrn.spec import Spec
from unigrn.stages import activity


def inferelator_stars(
    prior: Prior | None,
    penalties: int = 20,
    largest: float = 20.0,
    smallest: float = 0.02,
    samples: int = 20,
    threshold: float = 0.05,
    disjoint: bool = True,
    fallback: bool = True,
) -> Spec:
    """Lasso of every gene on the activities of all factors; its strength is chosen by StARS.

    Activities are made as in `tfa_ridge`, divided by their standard deviations over all cells,
    genes likewise; min (1/n) sum_i (y_i - theta_0 - a_i theta)^2 + l |theta|_1 over every factor
    but the target itself. Of ``penalties`` values of l in equal ratios each target takes the least
    at which subsets of the cells agree on its edges (`unigrn.stars`): ``frequency`` is the share of
    the subsets that have the edge, ``strength`` the l taken.

    Parameters
    ----------
    prior
        Edges that the activities are made from.
    penalties, largest, smallest
        Number of values of l, >= 1, the first and the last of them. The Inferelator's are 20 from
        10 to 0.01 in terms of l / 2.
    samples
        Number of subsets of the cells, >= 2.
    threshold
        Largest instability, the mean of 2 f (1 - f) over a target's candidates: at least 0, less
        than 0.5.
    disjoint
        As in the Inferelator, subsets without a cell in common, of floor(n / samples) cells each:
        20 subsets ask for 40 cells a group at least. False draws the larger ones of StARS.
    fallback
        Whether a factor without a target in the prior regulates by its expression.

    Notes
    -----
    Take it for the Inferelator's sparse network; where the prior names targets of most factors
    `prior_lasso` uses it twice. It expects log-normalised values or log ratios, and cells by the
    hundred: a subset is a twentieth of them. What differs from the released program:
    subsets are centred by themselves; cells that no subset takes are left out; l = 0 is not tried;
    where no l is stable there is no edge, where that program takes the largest; coefficients are
    those of the lasso, where it fits least squares again on the factors chosen and ranks by what
    leaving out each of them costs.

    References
    ----------
    Castro, de Veaux, Miraldi and Bonneau, PLoS Comput. Biol. 15 (2019) e1006591,
    doi:10.1371/journal.pcbi.1006591; Skok Gibbs et al., Bioinformatics 38 (2022) 2519,
    doi:10.1093/bioinformatics/btac117; Liu, Roeder and Wasserman, NIPS 23 (2010) 1432,
    arXiv:1006.3316.
    """
    largest = check_number("largest", largest, strict=True)
    smallest = check_number("smallest", smallest, strict=True)
    if smallest > largest:
        raise ValueError(f"smallest must be at most largest, {largest:g}, got {smallest:g}")
    count = check_whole("penalties", penalties, low=1)
    fixed = Spec(
        loss=least_squares(mean=True),
        regularizer=l1(1.0),
        constraint=no_self(),
        prior=prior,
        name="inferelator_stars",
        expects=("log",),
        scale="both",
        stages=(activity(fallback=fallback),),
        notes={
            "weight": "coefficient, in standard deviations of the target per standard deviation "
            "of the factor's activity"
        },
    )
    values = np.geomspace(largest, smallest, count).tolist()
    return stars(
        fixed, "L1.strength", values, samples, threshold=threshold, disjoint=bool(disjoint)
    )
