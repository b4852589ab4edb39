"""Lasso on the activities of factors, cheaper along the prior, its strength by stability."""

from __future__ import annotations

import numpy as np

from unigrn.check import check_number, check_whole
from unigrn.constraints import no_self
from unigrn.ensembles import stars
from unigrn.losses import least_squares
from unigrn.prior import Prior
from unigrn.regularizers import prior_l1
from unigrn.spec import Spec
from unigrn.stages import activity


def prior_lasso(
    prior: Prior | None,
    bias: float = 0.5,
    penalties: int = 20,
    smallest: float = 0.01,
    samples: int = 20,
    threshold: float = 0.05,
    fallback: bool = True,
) -> Spec:
    """Lasso of every gene on activities, cheaper along the prior; its strength is chosen by StARS.

    Activities are made as in `tfa_ridge`, divided by their standard deviations over all cells,
    genes likewise; min (1/n) sum_i (y_i - theta_0 - a_i theta)^2 + l sum_j (1 - (1 - bias)
    min(P_j, 1)) |theta_j| over every factor but the target itself. l falls in equal ratios from
    2 / bias, at which a target of its usual spread has no edge. Of these each target takes the
    least at which subsets of the cells agree on its edges (`unigrn.stars`): ``frequency`` is the
    share of the subsets that have the edge, ``strength`` the l taken.

    Parameters
    ----------
    prior
        Edges that the activities are made from, and that are cheaper.
    bias
        Price of an edge of weight 1 or more in the prior, relative to others: between 0 (free) and
        1 (the prior has no say beyond the activities). The path starts at 20 where it is below 0.1.
    penalties
        Number of values of l, >= 1.
    smallest
        The last l over the first, in (0, 1].
    samples
        Number of subsets of the cells, >= 2.
    threshold
        Largest instability, the mean of 2 f (1 - f) over a target's candidates: at least 0, less
        than 0.5. A smaller one leaves fewer edges.
    fallback
        Whether a factor without a target in the prior regulates by its expression.

    Notes
    -----
    Take it for a sparse network from bulk data or many conditions, with a prior that names some
    targets of most factors. It expects log-normalised values or log ratios, and tens of cells a
    group at least. Edges rank by |weight|; ``frequency`` says how far to trust that an edge is
    there, and ranks less well, since many edges are found every time. An edge of the prior helps to
    make the activity that then explains it, and is cheaper: only edges of targets that the prior
    does not name are judged by evidence of their own.

    References
    ----------
    Miraldi et al., Genome Res. 29 (2019) 449, doi:10.1101/gr.238253.118; Liu, Roeder and
    Wasserman, NIPS 23 (2010) 1432, arXiv:1006.3316.
    """
    smallest = check_number("smallest", smallest, strict=True)
    if smallest > 1:
        raise ValueError(f"smallest must lie in (0, 1], got {smallest:g}")
    count = check_whole("penalties", penalties, low=1)
    fixed = Spec(
        loss=least_squares(mean=True),
        regularizer=prior_l1(1.0, bias),
        constraint=no_self(),
        prior=prior,
        name="prior_lasso",
        expects=("log",),
        scale="both",
        stages=(activity(fallback=fallback),),
        notes={
            "weight": "coefficient, in standard deviations of the target per standard deviation "
            "of the factor's activity"
        },
    )
    values = 2 / max(bias, 0.1) * np.geomspace(1, smallest, count)
    return stars(fixed, "PriorL1.strength", values.tolist(), samples, threshold=threshold)
