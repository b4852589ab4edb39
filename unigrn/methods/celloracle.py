"""CellOracle: regression of each target on the regulators its prior names, in each group."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.check import listed
from unigrn.constraints import no_self, support
from unigrn.edges import codes, group_codes
from unigrn.ensembles import bagging
from unigrn.losses import gaussian_evidence, least_squares
from unigrn.prior import Prior
from unigrn.regularizers import ridge
from unigrn.spec import Spec

if TYPE_CHECKING:
    import pandas as pd

    from unigrn.network import Network

UNCALIBRATED = (
    "uncalibrated: dispersion over bags, as the released program writes it; it shrinks "
    "as bags grow, whatever the evidence"
)
FDR = (
    "share of the edges at least as strong that targets related to none of their candidates "
    "would give; it does not tell a regulator from one correlated with it"
)


def celloracle(
    prior: Prior | None,
    alpha: float = 10.0,
    bags: int = 20,
    max_features: float = 0.8,
    draws: str = "shared",
    permutations: int = 0,
) -> Spec:
    """CellOracle: bagged ridge on the prior's support, with the released bag statistics.

    For target g in a group, and bag b with cell counts w and drawn candidates F:
    min sum_i w_i (y_i - theta_0 - x_iF theta)^2 + alpha |theta|^2, x divided by its standard
    deviation over all cells (no centring), y in its own units, alpha not scaled by the number of
    cells. ``weight`` is the mean over the bags that drew the edge.

    Parameters
    ----------
    prior
        Base GRN: candidate regulators of each target.
    alpha
        Ridge strength.
    bags
        Number of bootstrap samples.
    max_features
        Share of the candidates in each bag.
    draws
        "shared" (one bootstrap of the cells a bag, fast) or "released" (that program's own index
        streams, whatever the seed).
    permutations
        Number of permuted copies of every target; with 1 or more, the column ``fdr`` says which
        share of the edges at least as strong (|weight| over the target's standard deviation in the
        group) permuted targets would give. It is calibrated for targets related to none of their
        candidates; it does not tell a regulator from one correlated with it. Cells are permuted
        within stretches of 1,024 cells of the group.

    References
    ----------
    Kamimoto et al., Nature 614 (2023) 742, doi:10.1038/s41586-022-05688-9.
    """
    spec = Spec(
        loss=least_squares(),
        regularizer=ridge(alpha),
        constraint=support() + no_self(),
        prior=prior,
        name="celloracle",
        scale="regulators",
        notes={
            "weight": "mean coefficient over the bags that drew the regulator, in units of the "
            "target per standard deviation of the regulator",
            "bags_drawn": "number of bags that drew the regulator",
            "p": UNCALIBRATED,
            "fdr": FDR,
        },
        expects=("log", "imputed"),
        permutations=permutations,
    )
    return bagging(spec, bags=bags, max_features=max_features, draws=draws)


def celloracle_bayesian(
    prior: Prior | None,
    hyperprior: float = 1e-6,
    tolerance: float = 1e-3,
    max_iterations: int = 300,
    permutations: int = 0,
) -> Spec:
    """CellOracle's Bayesian ridge: evidence maximisation on the prior's support.

    y ~ N(theta_0 + x theta, 1/a), theta ~ N(0, 1/l), a and l by their fixed point with the
    released stopping rule (sum of absolute changes of theta below ``tolerance``).
    ``variance`` is the posterior variance, p = 2 Phi(-|weight| / sqrt(variance)).

    Parameters
    ----------
    prior
        Base GRN: candidate regulators of each target.
    hyperprior
        Shape and rate of the Gamma priors on a and l.
    tolerance
        Absolute stopping tolerance, in units of theta.
    max_iterations
        Cap on the updates.
    permutations
        Number of permuted copies of every target, for the column ``fdr``; see `celloracle`.

    References
    ----------
    Kamimoto et al., Nature 614 (2023) 742, doi:10.1038/s41586-022-05688-9; MacKay, Neural Comput.
    4 (1992) 415, doi:10.1162/neco.1992.4.3.415.
    """
    return Spec(
        loss=gaussian_evidence(hyperprior, tolerance, max_iterations),
        constraint=support() + no_self(),
        prior=prior,
        name="celloracle_bayesian",
        scale="regulators",
        readout=posterior_p,
        notes={
            "weight": "posterior mean, in units of the target per standard deviation of the "
            "regulator",
            "variance": "posterior variance given the fitted precisions",
            "p": "two-sided posterior tail probability; unreliable where cells do not exceed "
            "regulators",
            "fdr": FDR,
        },
        expects=("log", "imputed"),
        permutations=permutations,
    )


def posterior_p(columns: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return p = 2 Phi(-|mean| / sqrt(variance)), from double precision."""
    from scipy.special import ndtr

    mean, variance = (np.asarray(columns[k], np.float64) for k in ("weight", "variance"))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(mean) / np.sqrt(variance)
    return {"p": 2 * ndtr(-z)}


def filter_links(
    network: Network,
    p: float = 0.001,
    top: int = 2000,
    by: str = "weight",
    sources: Iterable[str] | None = None,
    targets: Iterable[str] | None = None,
) -> Network:
    """Keep the strongest edges, as the released `filter_links` does; see `Network.filter`.

    References
    ----------
    Kamimoto et al., Nature 614 (2023) 742, doi:10.1038/s41586-022-05688-9.
    """
    return network.filter(p=p, top=top, by=by, sources=sources, targets=targets)


def to_celloracle(network: Network) -> dict[str, pd.DataFrame]:
    """Give the link tables of CellOracle, one per group.

    Returns
    -------
    dict of group -> DataFrame
        Rows sorted by target, then source. `celloracle`: source, target, coef_mean, coef_abs,
        p, -logp, where -logp = -log10(p) and an undefined p counts as 1 there. For
        `celloracle_bayesian`: coef_variance before p, and -logp = -ln(p). The released program
        differs in the base just so. The one table of a network without groups is "all".

    Raises
    ------
    ValueError
        For any other method.

    References
    ----------
    Kamimoto et al., Nature 614 (2023), doi:10.1038/s41586-022-05688-9
    """
    import pandas as pd

    method = network.provenance.get("method")
    statistics = {"celloracle": ["p"], "celloracle_bayesian": ["variance", "p"]}.get(method)
    if statistics is None:
        raise ValueError(
            f"method {method or 'network'} has no CellOracle form; only celloracle and "
            "celloracle_bayesian have"
        )
    lacking = [name for name in statistics if name not in network.edges.columns]
    if lacking:
        raise ValueError(
            f"the edges of method {method} lack {listed(lacking)}; "
            f"there are {listed(network.edges.columns)}"
        )
    source = codes(network.edges["source"], network.regulators)
    order = np.lexsort((source, codes(network.edges["target"], network.targets)))
    group = group_codes(network.edges, network.groups)[order]
    table = network.edges.iloc[order]
    weight, p = table["weight"].to_numpy(), table["p"].to_numpy(np.float64)
    links = pd.DataFrame(
        {
            "source": table["source"].to_numpy(),
            "target": table["target"].to_numpy(),
            "coef_mean": weight,
            "coef_abs": np.abs(weight),
        }
    )
    if method == "celloracle_bayesian":
        links["coef_variance"] = table["variance"].to_numpy()
    links["p"] = p
    with np.errstate(divide="ignore"):  # p underflows to 0, and -logp is then inf
        if method == "celloracle":
            links["-logp"] = -np.log10(np.where(np.isnan(p), 1.0, p))
        else:
            links["-logp"] = -np.log(p)
    return {
        name: links[group == number].reset_index(drop=True)
        for number, name in enumerate(network.groups or ("all",))
    }
