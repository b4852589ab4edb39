"""DAGMA: a directed acyclic network of genes by genes, cheaper along the prior's edges."""

from __future__ import annotations

from unigrn.constraints import no_self, support
from unigrn.cycles import acyclic
from unigrn.ensembles import belief, believed
from unigrn.losses import least_squares
from unigrn.prior import Prior
from unigrn.regularizers import l1, prior_l1
from unigrn.spec import Spec


def dagma(
    prior: Prior | None,
    strength: float = 0.05,
    bias: float | str = 0.5,
    mask: bool = False,
    scale: str | None = "standard",
) -> Spec:
    """Linear structural equations without directed cycles, by the central path of DAGMA.

    min over theta (p, p) without cycles of  sum_i |x_i - x_i theta|^2 / (2 n)
    + strength sum_ij (1 - (1 - bias) min(P_ij, 1)) |theta_ij|, of centred genes; regulators are
    the targets, all genes by default. The path runs through -log det(sI - theta o theta) and ends
    in an order of the genes, in which the fit is then optimal.

    Parameters
    ----------
    prior
        Directed edges whose penalty is reduced; None for one penalty.
    strength
        lambda: edges whose slope at 0 stays below are left out.
    bias
        Between 0 (edges of the prior are free) and 1 (the prior is ignored). "auto": chosen
        by cells that the fits did not see (`unigrn.ensembles.believed`); 31 fits.
    mask
        Whether edges that the prior does not name are forbidden.
    scale
        "standard": genes divided by their standard deviation. None: in their own units, as
        published; directions then follow the genes' variances.

    Notes
    -----
    Take it for tens to hundreds of genes of one kind of cells where a cascade without feedback is
    plausible; it expects log-normalised values. Real networks have feedback. Directions rest on
    noise of like variance in the units taken: in standardised genes they are weak, in raw ones they
    may be those of the units (Reisach et al., NeurIPS 34 (2021) 27772). Not convex: the fit is
    certified as a local minimum among acyclic networks; the published program thresholds the
    weights instead.

    References
    ----------
    Bello, Aragam and Ravikumar, NeurIPS 35 (2022) 8226, arXiv:2209.08037; Wei, Gao and Yu, NeurIPS
    33 (2020) 3895, arXiv:2010.09133 (what a local minimum is).
    """
    if mask and prior is None:
        raise ValueError("mask=True takes the prior's edges alone, and there is no prior; give one")
    given, auto = belief(bias)
    if auto and prior is None:
        raise ValueError("bias='auto' chooses how cheap edges of the prior are; give a prior")
    spec = Spec(
        loss=0.5 * least_squares(mean=True),
        regularizer=l1(strength) if prior is None else prior_l1(strength, given),
        constraint=no_self() + acyclic() + support() if mask else no_self() + acyclic(),
        prior=prior,
        name="dagma",
        expects=("log",),
        scale=scale,
        notes={
            "weight": "coefficient, in units of the target per unit of the regulator (standard "
            "deviations where scaled); edges have no directed cycle"
        },
    )
    return believed(spec, "PriorL1.bias") if auto else spec
