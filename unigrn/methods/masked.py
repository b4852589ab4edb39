"""Regressions on the prior's support: the lasso of the literature's sketch, and plain ridge."""

from __future__ import annotations

from unigrn.constraints import no_self, support
from unigrn.losses import gaussian, least_squares
from unigrn.prior import Prior
from unigrn.regularizers import l1, ridge
from unigrn.spec import Spec


def masked_lasso(
    prior: Prior | None, strength: float = 10.0, noise_variance: float | None = None
) -> Spec:
    """Lasso on the prior's support with a noise variance per target.

    min sum_i (y_i - theta_0 - x_i theta)^2 / (2 s^2) + strength |theta|_1, supp theta in supp P:
    the form in which CellOracle's regression is often sketched. Genes are divided by their
    standard deviation over all cells.

    Parameters
    ----------
    prior
        Candidate regulators of each target.
    strength
        lambda: the larger, the fewer edges; one vanishes where its slope at 0 stays below.
    noise_variance
        s^2 of every target; None takes each target's own variance in the group.

    Notes
    -----
    Take it for short lists of regulators: weak candidates of the prior get no edge. It expects
    log-normalised values or log ratios; every gene is scaled, so that bulk data will do. Few cells
    and a high ``strength`` leave no edge at all.

    References
    ----------
    Tibshirani, J. R. Stat. Soc. B 58 (1996) 267, doi:10.1111/j.2517-6161.1996.tb02080.x.
    """
    return Spec(
        loss=gaussian(noise_variance),
        regularizer=l1(strength),
        constraint=support() + no_self(),
        prior=prior,
        name="masked_lasso",
        expects=("log",),
        scale="both",
        notes={
            "weight": "coefficient, in standard deviations of the target per standard "
            "deviation of the regulator"
        },
    )


def masked_ridge(prior: Prior | None, alpha: float = 0.1) -> Spec:
    """Ridge on the prior's support, its strength relative to the number of cells.

    min (1/n) sum_i (y_i - theta_0 - x_i theta)^2 + alpha |theta|^2, genes divided by their
    standard deviation over all cells: one exact solve a target, no bags, no p.

    Parameters
    ----------
    prior
        Candidate regulators of each target.
    alpha
        Ridge strength relative to the number of cells: larger, and weights are smaller and more
        even.

    Notes
    -----
    Take it as the fast, plain fit of a prior, on single cells or bulk data, and as what a more
    elaborate method has to beat. It expects log-normalised values or log ratios; every gene is
    scaled.

    References
    ----------
    Hoerl and Kennard, Technometrics 12 (1970) 55, doi:10.1080/00401706.1970.10488634.
    """
    return Spec(
        loss=least_squares(mean=True),
        regularizer=ridge(alpha),
        constraint=support() + no_self(),
        prior=prior,
        name="masked_ridge",
        expects=("log",),
        scale="both",
        notes={
            "weight": "coefficient, in standard deviations of the target per standard "
            "deviation of the regulator"
        },
    )


def full_ridge(prior: Prior | None, alpha: float = 1.0) -> Spec:
    """Ridge on all regulators, whatever the prior says of the edge.

    min (1/n) sum_i (y_i - theta_0 - x_i theta)^2 + alpha |theta|^2 over every regulator but the
    target itself, genes divided by their standard deviation over all cells. The prior only gives
    the default regulators; targets that it does not name get edges too, so this can be scored on
    targets that were hidden from the prior.

    Parameters
    ----------
    prior
        Its measured sources are the default regulators.
    alpha
        Ridge strength relative to the number of cells: larger, and weights are smaller and more
        even.

    Notes
    -----
    Take it without a prior (give the regulators: ``--regulators``), or to find edges that the prior
    lacks. It expects log-normalised values or log ratios; every gene is scaled. The table has an
    edge for every pair: cut it with ``filter(top=...)``.

    References
    ----------
    Hoerl and Kennard, Technometrics 12 (1970) 55, doi:10.1080/00401706.1970.10488634.
    """
    return masked_ridge(prior, alpha).replace(constraint=no_self(), name="full_ridge")
