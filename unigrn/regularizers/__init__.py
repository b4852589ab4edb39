"""Regularizers: what is preferred of the parameters, given the prior; a family of them a file."""

from unigrn.regularizers.densities import GaussianPrior, KlGaussian, gaussian_prior, kl_gaussian
from unigrn.regularizers.evidence import PriorL1, prior_l1
from unigrn.regularizers.graphs import Laplacian, laplacian
from unigrn.regularizers.plain import FunctionRegularizer, regularizer
from unigrn.regularizers.shrinkage import L1, Ridge, elastic_net, l1, ridge
from unigrn.regularizers.sparse import L0, l0

__all__ = [
    "L0",
    "L1",
    "FunctionRegularizer",
    "GaussianPrior",
    "KlGaussian",
    "Laplacian",
    "PriorL1",
    "Ridge",
    "elastic_net",
    "gaussian_prior",
    "kl_gaussian",
    "l0",
    "l1",
    "laplacian",
    "prior_l1",
    "regularizer",
    "ridge",
]
