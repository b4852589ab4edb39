"""CellOracle: regression of each target on the regulators its prior names, in each group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from unigrn.check import listed
from unigrn.constraints import no_self, support
from unigrn.edges import codes, group_codes
from unigrn.ensembles import bag_arguments, over, permuted
from unigrn.losses import gaussian_evidence, least_squares
from unigrn.prior import Prior
from unigrn.regularizers import ridge
from unigrn.replicates import Bagging, Found, Reader
from unigrn.spec import Spec
from unigrn.terms import Array, Blocks, PriorView, View

if TYPE_CHECKING:
    import pandas as pd

    from unigrn.network import Network

DRAWS = ("shared", "released")
UNCALIBRATED = (
    "uncalibrated: dispersion over bags, as the released program writes it; it shrinks "
    "as bags grow, whatever the evidence, and looks small with a few cells too: go by fdr"
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
    permutations: int | None = None,
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
        Ridge strength, not scaled by the number of cells: the more cells, the less it shrinks.
        Larger: smaller and more even weights.
    bags
        Number of bootstrap samples. More of them steady the weights and shrink ``p``, and take
        as much more time.
    max_features
        Share of a target's candidates in each bag, above 0 to 1.
    draws
        "shared" (one bootstrap of the cells a bag, fast) or "released" (that program's own index
        streams, whatever the seed).
    permutations
        Number of permuted copies of every target, by default 1, and 0 with ``draws="released"``.
        With 1 or more, the column ``fdr`` says which
        share of the edges at least as strong (|weight| over the target's standard deviation in the
        group) permuted targets would give. It is calibrated for targets related to none of their
        candidates; it does not tell a regulator from one correlated with it. Cells are permuted
        within stretches of 1,024 cells of the group.

    Notes
    -----
    Take it for single cells with a base GRN, one network per cluster (``groupby``): fast, and the
    edges are the candidates of the prior. It expects log-normalised values smoothed over
    neighbouring cells (the imputed layer); counts and values with many zeros are fitted too, and
    warned of. ``p`` is not calibrated; for a calibrated fdr give ``permutations=2`` and cut edges
    by it.

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
        expects=("log", "positive", "imputed"),
    )
    if draws not in DRAWS:
        raise ValueError(f"draws must be one of {', '.join(DRAWS)}, got {draws!r}")
    if permutations is None:
        permutations = int(draws == "shared")
    axis = SharedBags if draws == "shared" else ReleasedBags
    return permuted(over(spec, axis(*bag_arguments(bags, max_features))), permutations)


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

    Notes
    -----
    Take it for CellOracle's other fit: no bags, the ridge strength found from the data, a variance
    for every edge. It expects log-normalised, imputed values as `celloracle` does, and more cells
    in a group than candidates of a target. For a calibrated fdr give ``permutations=2``.

    References
    ----------
    Kamimoto et al., Nature 614 (2023) 742, doi:10.1038/s41586-022-05688-9; MacKay, Neural Comput.
    4 (1992) 415, doi:10.1162/neco.1992.4.3.415.
    """
    spec = Spec(
        loss=gaussian_evidence(hyperprior, tolerance, max_iterations),
        constraint=support() + no_self(),
        prior=prior,
        name="celloracle_bayesian",
        scale="regulators",
        columns=posterior,
        notes={
            "weight": "posterior mean, in units of the target per standard deviation of the "
            "regulator",
            "variance": "posterior variance given the fitted precisions",
            "p": "two-sided posterior tail probability, written whatever the number of cells; "
            "unreliable where cells do not exceed regulators",
            "fdr": FDR,
        },
        expects=("log", "positive", "imputed"),
    )
    return permuted(spec, permutations)


def posterior(params: Blocks, data: View, prior: PriorView) -> dict[str, Array]:
    """Columns of the edge table: posterior variance, and p = 2 Phi(-|mean| / sqrt(variance))."""
    z = jnp.abs(params.theta) / jnp.sqrt(params.variance)
    return {"variance": params.variance, "p": 2 * ndtr(-z)}


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

    method: Any = network.provenance.get("method")
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
    out = {}
    for number, name in enumerate(network.groups or ("all",)):
        rows: Any = links[group == number]
        out[name] = rows.reset_index(drop=True)
    return out


@dataclass(frozen=True)
class SharedBags(Bagging):
    """Bags with the statistics of the released program; one bootstrap of the cells serves all."""

    name = "ensemble"

    def reduce(self, found: Found) -> Found:
        """Edge statistics from the dispersion over bags."""
        return replace(found, edges=bag_statistics(**found.edges))


@dataclass(frozen=True)
class ReleasedBags(SharedBags):
    """Bags by the index streams of the released program (as its authors' code draws them).

    They ignore the seed and depend on the number of candidates.
    """

    draws: str = "released"
    random_state: int = field(default=123, compare=False)

    by_candidates = True

    def candidates(self, count: int, seed: int) -> np.ndarray:
        """Drawn positions; targets with equally many candidates share them."""
        return released_draws(0, count, self.bags, self.max_features, self.random_state)[0]

    def cells(self, count: int, group: int, seed: int, candidates: int | None) -> Reader:
        """How often each bag draws each cell, for targets with so many candidates."""
        _, rows = released_draws(
            count, int(candidates or 0), self.bags, self.max_features, self.random_state
        )
        offset = np.arange(self.bags)[:, None] * count
        flat = np.bincount((rows + offset).ravel(), minlength=self.bags * count)
        drawn = flat.reshape(self.bags, count)
        return lambda start, stop: drawn[:, start:stop]


def released_draws(
    cells: int, candidates: int, bags: int, max_features: float, random_state: int
) -> tuple[np.ndarray, np.ndarray]:
    """Index streams of the released program: features (bags, k) and rows (bags, cells).

    One legacy Mersenne Twister a bag, seeded from ``random_state``; it draws the features first,
    so the rows depend on the number of candidates too. See ``proofs/`` and the method's page.
    """
    seeds = np.random.RandomState(random_state).randint(np.iinfo(np.int32).max, size=bags)
    k = max(1, int(max_features * candidates))
    features = np.empty((bags, k), np.int64)
    rows = np.empty((bags, cells), np.int64)
    for b, seed in enumerate(seeds):
        stream = np.random.RandomState(seed)
        features[b] = stream.permutation(candidates)[:k] if k < candidates else np.arange(k)
        if cells:
            rows[b] = stream.randint(0, cells, cells)
    return features, rows


def bag_statistics(
    mean: np.ndarray, variance: np.ndarray, bags_drawn: np.ndarray
) -> dict[str, np.ndarray]:
    """Edge statistics of the released program from the dispersion over bags.

    With m drawn values of mean c and variance s^2, t = c / sqrt(s^2 / m) and p = 2 T_{m-1}(-|t|).
    p is undefined (NaN) for m = 1 and where all drawn values are 0; it is 0 where they agree on
    another value. It shrinks as bags grow: a measure of dispersion over bags, not a calibrated
    test of the edge. The weight is undefined where no bag drew the edge.
    """
    from scipy.special import stdtr

    m = bags_drawn.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.abs(mean.astype(np.float64)) / np.sqrt(variance / m)
        p = 2 * stdtr(np.maximum(m - 1, 1), -t)
    return {
        "weight": np.where(m > 0, mean, np.nan),
        "p": np.where(m > 1, p, np.nan),
        "bags_drawn": m.astype(np.int64),
    }
