"""Lasso on the prior's support in every group of cells, fused along a tree of the groups."""

from __future__ import annotations

from typing import Any

from unigrn.constraints import no_self, support
from unigrn.losses import least_squares
from unigrn.prior import Prior
from unigrn.regularizers import fused, l1
from unigrn.regularizers import ridge as squares
from unigrn.spec import Spec


def tree_fused(
    prior: Prior | None,
    tree: Any = None,
    fusion: float = 0.05,
    strength: float = 0.05,
    ridge: float = 0.01,
) -> Spec:
    """One network a group of cells, the same along a lineage but where the cells say otherwise.

    min over theta_1..theta_G of sum_g (1/n_g) sum_i (y_i - theta_0g - x_i theta_g)^2
    + strength |theta_g|_1 + ridge |theta_g|^2, + fusion sum over edges (a, b) of the tree of
    |theta_a - theta_b|_1, supp theta_g in supp P, i over the n_g cells of a group. Genes are
    divided by their standard deviation over all cells.

    Parameters
    ----------
    tree
        Parent of every group but the root, ``{"child": "parent"}`` (``--param
        'tree={"child": "parent"}'``), or a list of [group, group, weight]; None joins all pairs of
        groups.
    fusion
        Price of a difference between neighbours: at 0 every group is fitted by itself, from some
        value on all groups share one network.
    strength
        L1 penalty relative to the number of cells: the larger, the fewer edges.
    ridge
        Squared penalty relative to the number of cells: regulators that are expressed alike share
        an edge's weight.

    Notes
    -----
    Take it for cell types or stages of one lineage: groups of few cells borrow from their
    neighbours, and an edge that changes along the lineage shows where. It expects log-normalised
    values; every gene is scaled. Groups count alike, however many cells they have.

    References
    ----------
    Tibshirani, Saunders, Rosset, Zhu and Knight, J. R. Stat. Soc. B 67 (2005) 91,
    doi:10.1111/j.1467-9868.2005.00490.x (the fused lasso); Zhang et al., Nat. Commun. 14 (2023)
    3064, doi:10.1038/s41467-023-38637-9 (networks along a lineage, by other means).
    """
    return Spec(
        loss=least_squares(mean=True),
        regularizer=l1(strength) + squares(ridge) + fused(fusion, tree, tree=tree is not None),
        constraint=support() + no_self(),
        prior=prior,
        name="tree_fused",
        expects=("log",),
        scale="both",
        notes={
            "weight": "coefficient in the group, in standard deviations of the target per "
            "standard deviation of the regulator"
        },
    )
