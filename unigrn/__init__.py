"""unigrn: gene regulatory network inference as declared optimisation problems.

A method is a loss, a regularizer and a constraint; the toolkit plans how to solve it, compiles it
with JAX, maps it over targets, groups and bootstrap samples, and certifies the answer::

    argmin over theta of  loss(X, theta) + regularizer(theta, P)   subject to  theta in C(P)

Everything public is importable from here and loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"


class UnigrnWarning(UserWarning):
    """Something in the input looks wrong for the method, or was left out."""


_HOME = {
    "infer": "api",
    "fit": "api",
    "plan": "planner",
    "solve": "implicit",
    "View": "views",
    "PriorView": "views",
    "Plan": "planner",
    "PlanError": "ladder",
    "Data": "data",
    "Prior": "prior",
    "read_prior": "prior",
    "AlignmentError": "prior",
    "Spec": "spec",
    "Step": "spec",
    "Sweeps": "spec",
    "Minibatch": "spec",
    "Solver": "solvers.solver",
    "Requirement": "solvers.solver",
    "Fit": "solvers.optimality",
    "Over": "replicates",
    "Stage": "stages",
    "activity": "stages",
    "log_counts": "stages",
    "Column": "columns",
    "drop_one": "columns",
    "partial_correlation": "columns",
    "t_statistic": "columns",
    "Solution": "solution",
    "ConvergenceError": "solution",
    "Network": "network",
    "PredictiveCheck": "predicted",
    "predictive_check": "predictive",
    "Blocks": "terms",
    "Term": "terms",
    "Loss": "terms",
    "Regularizer": "terms",
    "Constraint": "terms",
    "pytree": "terms",
    "PriorGain": "worth",
    "prior_gain": "worth",
    "Benchmarked": "protocols",
    "benchmark": "protocols",
    "Calibrated": "worth",
    "edge_probabilities": "worth",
    "PriorStrength": "worth",
    "prior_strength": "worth",
    "along": "views",
    "loss": "losses",
    "least_squares": "losses",
    "fused": "regularizers",
    "dirty": "regularizers",
    "gaussian": "losses",
    "gaussian_evidence": "losses",
    "huber": "losses",
    "quantile": "losses",
    "poisson": "losses",
    "negative_binomial": "losses",
    "logistic": "losses",
    "component_analysis": "losses",
    "marginal_squares": "losses",
    "prior_squares": "losses",
    "subset_bic": "losses",
    "expected_gaussian": "losses",
    "regularizer": "regularizers",
    "ridge": "regularizers",
    "l1": "regularizers",
    "elastic_net": "regularizers",
    "prior_l1": "regularizers",
    "l0": "regularizers",
    "laplacian": "regularizers",
    "minimax_concave": "regularizers",
    "slope": "regularizers",
    "group_lasso": "regularizers",
    "sparse_group": "regularizers",
    "l1_linf": "regularizers",
    "graph_laplacian": "regularizers",
    "pull": "regularizers",
    "squared_hinge": "regularizers",
    "adaptive_l1": "regularizers",
    "prior_elastic_net": "regularizers",
    "nuclear": "regularizers",
    "collaborative": "filtering",
    "collaborative_sketch": "filtering",
    "known_edges": "neighbours",
    "alike": "neighbours",
    "gaussian_prior": "regularizers",
    "kl_gaussian": "regularizers",
    "acyclic": "cycles",
    "acyclicity": "cycles",
    "gaussian_graph": "precision",
    "pair_l1": "regularizers",
    "positive_definite": "precision",
    "support": "constraints",
    "no_self": "constraints",
    "nonnegative": "constraints",
    "sign": "constraints",
    "box": "constraints",
    "budget": "constraints",
    "cardinality": "constraints",
    "rank": "constraints",
    "simplex": "constraints",
    "linear_equality": "constraints",
    "bagging": "ensembles",
    "consensus": "ensembles",
    "folds": "ensembles",
    "jackknife": "ensembles",
    "lioness": "ensembles",
    "over": "ensembles",
    "path": "ensembles",
    "permuted": "ensembles",
    "stability": "ensembles",
    "stars": "ensembles",
}
_MODULES = (
    "columns",
    "datasets",
    "ensembles",
    "evaluate",
    "exchange",
    "methods",
    "plot",
    "progress",
    "protocols",
    "solvers",
    "verify",
)

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]  # of one table, lazily
    "UnigrnWarning",
    "__version__",
    *sorted(_HOME),
]


def __getattr__(name: str) -> Any:
    """Load a public name, or a submodule, on first use."""
    if name in _HOME:
        return getattr(importlib.import_module(f"unigrn.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"unigrn.{name}")
    raise AttributeError(f"module 'unigrn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_MODULES])
