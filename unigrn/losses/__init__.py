"""Losses: how far the parameters are from the expression data; a family of them a file.

Every loss has an intercept unless told otherwise. For quadratic losses the intercept is eliminated
exactly by weighted centring; for others it is a parameter block of its own.
"""

from unigrn.losses.alone import MarginalSquares, PriorSquares, marginal_squares, prior_squares
from unigrn.losses.bayesian import (
    ExpectedGaussian,
    GaussianEvidence,
    expected_gaussian,
    gaussian_evidence,
)
from unigrn.losses.counts import (
    Logistic,
    NegativeBinomial,
    Poisson,
    logistic,
    negative_binomial,
    poisson,
)
from unigrn.losses.plain import FunctionLoss, loss
from unigrn.losses.robust import Huber, Quantile, huber, quantile
from unigrn.losses.squares import (
    ComponentAnalysis,
    Gaussian,
    LeastSquares,
    component_analysis,
    gaussian,
    least_squares,
)
from unigrn.losses.subsets import SubsetBic, subset_bic

__all__ = [
    "ComponentAnalysis",
    "ExpectedGaussian",
    "FunctionLoss",
    "Gaussian",
    "GaussianEvidence",
    "Huber",
    "LeastSquares",
    "Logistic",
    "MarginalSquares",
    "NegativeBinomial",
    "Poisson",
    "PriorSquares",
    "Quantile",
    "SubsetBic",
    "component_analysis",
    "expected_gaussian",
    "gaussian",
    "gaussian_evidence",
    "huber",
    "least_squares",
    "logistic",
    "loss",
    "marginal_squares",
    "negative_binomial",
    "poisson",
    "prior_squares",
    "quantile",
    "subset_bic",
]
