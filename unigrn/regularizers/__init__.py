"""Regularizers: what is preferred of the parameters, given the prior; a family of them a file."""

from unigrn.regularizers.densities import GaussianPrior, KlGaussian, gaussian_prior, kl_gaussian
from unigrn.regularizers.dirty import Dirty, dirty
from unigrn.regularizers.evidence import (
    AdaptiveL1,
    PairL1,
    PriorL1,
    SharedL1,
    SharedRidge,
    adaptive_l1,
    pair_l1,
    prior_elastic_net,
    prior_l1,
)
from unigrn.regularizers.fused import Fused, fused
from unigrn.regularizers.graphs import (
    Laplacian,
    RegulatorGraph,
    TargetGraph,
    graph_laplacian,
    laplacian,
)
from unigrn.regularizers.groups import (
    GroupLasso,
    L1Linf,
    SparseGroup,
    group_lasso,
    l1_linf,
    sparse_group,
)
from unigrn.regularizers.matrices import Nuclear, nuclear
from unigrn.regularizers.plain import FunctionRegularizer, regularizer
from unigrn.regularizers.shrinkage import L1, Ridge, elastic_net, l1, ridge
from unigrn.regularizers.sparse import L0, MinimaxConcave, Slope, l0, minimax_concave, slope
from unigrn.regularizers.towards import AbsolutePull, SquaredHinge, SquaredPull, pull, squared_hinge

__all__ = [
    "AbsolutePull",
    "AdaptiveL1",
    "Dirty",
    "FunctionRegularizer",
    "Fused",
    "GaussianPrior",
    "GroupLasso",
    "KlGaussian",
    "L0",
    "L1",
    "L1Linf",
    "Laplacian",
    "MinimaxConcave",
    "Nuclear",
    "PairL1",
    "PriorL1",
    "RegulatorGraph",
    "Ridge",
    "SharedL1",
    "SharedRidge",
    "Slope",
    "SparseGroup",
    "SquaredHinge",
    "SquaredPull",
    "TargetGraph",
    "adaptive_l1",
    "dirty",
    "elastic_net",
    "fused",
    "gaussian_prior",
    "graph_laplacian",
    "group_lasso",
    "kl_gaussian",
    "l0",
    "l1",
    "l1_linf",
    "laplacian",
    "minimax_concave",
    "nuclear",
    "pair_l1",
    "prior_elastic_net",
    "prior_l1",
    "pull",
    "regularizer",
    "ridge",
    "slope",
    "sparse_group",
    "squared_hinge",
]
