"""Poisson regression of counts, with the size of every cell as an offset."""

from __future__ import annotations

from unigrn.constraints import no_self, support
from unigrn.ensembles import belief, believed
from unigrn.losses import poisson
from unigrn.prior import Prior
from unigrn.regularizers import prior_l1, ridge
from unigrn.spec import Spec
from unigrn.stages import log_counts


def poisson_glm(
    prior: Prior | None,
    alpha: float = 1.0,
    strength: float = 0.0,
    bias: float | str = 0.5,
    masked: bool = True,
) -> Spec:
    """Poisson regression of a target's counts on the logarithms of its regulators.

    min sum_i [mu_i - c_i log mu_i] + alpha |theta|^2 + strength sum_j (1 - (1 - bias) min(P_j, 1))
    |theta_j|, log mu_i = log s_i + theta_0 + x_i theta, over the target's counts c_i. x_ij is
    log(1 + 10^4 c_ij / t_i), divided by its standard deviation over all cells, with t_i the total
    of cell i and s_i that over the mean total. The intercept theta_0 is free.

    Parameters
    ----------
    prior
        Edges: the candidates, or those that are cheaper.
    alpha
        Ridge, > 0: a normal distribution of theta of variance 1 / (2 alpha), which keeps theta
        finite and unique where counts are few. Not relative to the number of cells.
    strength
        L1 penalty, 0 for none.
    bias
        Between 0 (edges of the prior have no L1 penalty) and 1 (they have the full one). "auto":
        chosen by cells that the fits of other targets did not see (`unigrn.ensembles.believed`);
        needs ``strength`` > 0 and ``masked=False``.
    masked
        Whether only the prior's edges are candidates; otherwise every regulator but the gene
        itself is one.

    Notes
    -----
    Take it for single cells whose counts are too few for logarithms: zeros are likely values here,
    and deep cells weigh more. It expects raw counts of all genes and refuses anything else: choose
    genes by the lists of regulators and targets, so that totals stay totals, or bring sizes of the
    cells (``Data.with_extra(library=...)``). Counts that vary more than Poisson's make edges look
    better founded than they are. A target without counts has no edge.

    References
    ----------
    McCullagh and Nelder, Generalized Linear Models (1989), doi:10.1201/9780203753736; Townes et
    al., Genome Biol. 20 (2019) 295, doi:10.1186/s13059-019-1861-6.
    """
    penalty = ridge(alpha)
    if alpha <= 0:
        raise ValueError(f"alpha must be > 0, so that every target has a minimum, got {alpha:g}")
    given, auto = belief(bias)
    if auto and (masked or not strength):
        raise ValueError(
            f"bias='auto' chooses how much cheaper edges of the prior are than others: needed "
            f"strength > 0 and masked=False, got {strength:g} and {masked}"
        )
    spec = Spec(
        loss=poisson("library"),
        regularizer=prior_l1(strength, given) + penalty if strength else penalty,
        constraint=support() + no_self() if masked else no_self(),
        prior=prior,
        name="poisson_glm",
        scale="regulators",
        stages=(log_counts(every=not masked),),
        notes={
            "weight": "change of the logarithm of the target's mean per standard deviation of the "
            "regulator's normalised logarithm"
        },
    )
    return believed(spec, "PriorL1.bias") if auto else spec
