"""Elastic net on all regulators, its strength chosen for every target along a path."""

from __future__ import annotations

import numpy as np

from unigrn.check import check_number, check_whole
from unigrn.constraints import no_self, support
from unigrn.ensembles import path
from unigrn.losses import least_squares
from unigrn.prior import Prior
from unigrn.regularizers import l1
from unigrn.regularizers import ridge as squares
from unigrn.spec import Spec


def elastic_net(
    prior: Prior | None,
    penalties: int = 20,
    smallest: float = 0.01,
    ridge: float = 0.01,
    masked: bool = False,
) -> Spec:
    """Elastic net whose L1 strength is chosen for every target by the extended BIC.

    min (1/n) sum_i (y_i - theta_0 - x_i theta)^2 + l |theta|_1 + ridge |theta|^2 for l from 2, at
    which a target of its usual spread has no edge, down to 2 smallest in equal ratios; of them the
    one with the least n log(RSS / n) + k log n + k log q, with k edges of q candidates. Genes are
    divided by their standard deviation over all cells.

    Parameters
    ----------
    penalties
        Number of values of l, >= 1.
    smallest
        The last over the first, in (0, 1].
    ridge
        Squared penalty relative to the number of cells: regulators that are expressed alike share
        an edge's weight; 0 is the lasso.
    masked
        Whether only the prior's edges are candidates; otherwise every regulator but the gene itself
        is one, and the prior gives the default regulators alone.

    Notes
    -----
    Take it for sparse networks whose density nobody wants to choose, with more cells than a target
    has edges. It expects log-normalised values or log ratios; every gene is scaled. The extended
    BIC takes cells as independent: neighbours in a smoothed layer are not, and it then keeps too
    many edges.

    References
    ----------
    Zou and Hastie, J. R. Stat. Soc. B 67 (2005) 301, doi:10.1111/j.1467-9868.2005.00503.x; Chen
    and Chen, Biometrika 95 (2008) 759, doi:10.1093/biomet/asn034.
    """
    smallest = check_number("smallest", smallest, strict=True)
    if smallest > 1:
        raise ValueError(f"smallest must lie in (0, 1], got {smallest:g}")
    count = check_whole("penalties", penalties, low=1)
    fixed = Spec(
        loss=least_squares(mean=True),
        regularizer=l1(2.0) + squares(ridge),
        constraint=support() + no_self() if masked else no_self(),
        prior=prior,
        name="elastic_net",
        expects=("log",),
        scale="both",
        notes={
            "weight": "coefficient, in standard deviations of the target per standard "
            "deviation of the regulator",
            "strength": "L1 strength chosen for the target by the extended BIC",
        },
    )
    values = (2 * np.geomspace(1, smallest, count)).tolist()
    return path(fixed, "L1.strength", values, choose="ebic")
