"""Defaults of public terms: a specification written without them keeps its meaning."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest

import unigrn
from unigrn.terms import Term

HOMES = (
    *("losses", "regularizers", "constraints", "ensembles", "filtering", "neighbours"),
    *("precision", "cycles", "stages", "columns"),
)
DEFAULTS = {
    "activity": {"ridge": 0.0, "fallback": False},
    "acyclicity": {"form": "log det", "level": 1.0},
    "adaptive_l1": {"power": 1.0, "floor": 0.001},
    "alike": {"strength": 0.1, "width": 1.0, "even": 0.0},
    "bagging": {"bags": 20, "max_features": 0.8},
    "box": {"block": "theta"},
    "budget": {"count": 0, "share": 0.0, "within": "all", "less": 0.0},
    "collaborative": {
        "evidence": (1.0, 60.0, 90.0),
        "strength": 5.0,
        "boost": 9.0,
        "floor": 1e-07,
        "per_target": 200,
        "released": False,
    },
    "collaborative_sketch": {"slope": 1.0, "on": 9.0, "off": 1.0},
    "consensus": {"runs": 10, "best": False},
    "dirty": {"shared": None, "prior_weight": 1.0},
    "drop_one": {"name": "drop_one"},
    "expected_gaussian": {"variance": None, "draws": 0},
    "folds": {"parts": 5},
    "fused": {"pairs": None, "tree": False},
    "gaussian": {"variance": None},
    "gaussian_evidence": {"hyperprior": 1e-06, "tolerance": 0.001, "max_iterations": 300},
    "gaussian_prior": {"on": 1.0, "off": 0.01, "measured": None},
    "graph_laplacian": {"over": "targets"},
    "huber": {"delta": 1.0},
    "jackknife": {"blocks": 10},
    "kl_gaussian": {"on": 1.0, "off": 0.01, "measured": None},
    "known_edges": {"layer": None, "graded": False, "together": None},
    "laplacian": {"threshold": 0.95, "signed": True},
    "least_squares": {"intercept": True, "mean": False},
    "linear_equality": {"value": 0.0},
    "log_counts": {"every": False},
    "logistic": {"threshold": None},
    "loss": {
        "coupled": False,
        "weighted": False,
        "convex": False,
        "noisy": False,
        "blocks": ("theta",),
    },
    "minimax_concave": {"bend": 3.0},
    "negative_binomial": {"dispersion": 1.0, "size": None},
    "pair_l1": {"bias": 0.5, "layer": None},
    "partial_correlation": {"name": "partial"},
    "path": {"choose": "ebic", "by": "target"},
    "permuted": {"copies": 10},
    "poisson": {"size": None},
    "positive_definite": {"floor": 0.0},
    "prior_elastic_net": {
        "ridge_strength": 0.0,
        "mapping": "linear",
        "bias": 0.5,
        "floor": 0.001,
        "slopes": None,
        "offset": 0.0,
        "layer": None,
        "contrary": None,
    },
    "prior_l1": {"bias": 0.5, "layer": None},
    "pull": {"absolute": False},
    "quantile": {"level": 0.5, "width": 0.1},
    "regularizer": {
        "coupled": False,
        "convex": False,
        "noisy": False,
        "across": False,
        "blocks": ("theta",),
    },
    "ridge": {"block": "theta"},
    "simplex": {"total": 1.0},
    "slope": {"rate": 0.1},
    "squared_hinge": {"margin": 0.0},
    "stability": {"samples": 50, "share": 0.5},
    "stars": {"samples": 20, "cells": None, "threshold": 0.05, "by": "target", "disjoint": False},
    "subset_bic": {"candidates": 10, "on": 1.0, "off": 1.0},
    "support": {"layer": None},
    "t_statistic": {"name": "t"},
}

SAID = {  # of classes of terms, by themselves: what solvers rely on
    "convex": (
        "Alike Dirty Fused Gaussian GaussianGraph GaussianPrior _Graph _Grouped Huber "
        "_Interval KnownEdges L1Linf Laplacian LeastSquares LinearEquality Logistic "
        "MarginalSquares NegativeBinomial Nuclear Poisson PositiveDefinite Priced "
        "PriorSquares Quantile Ridge _Shared Simplex Slope SquaredHinge _Towards"
    ),
    "square": (
        "Acyclic Acyclicity Counts GaussianGraph Latents Modes PairL1 PositiveDefinite SteadyState"
    ),
    "weighted": (
        "Bulk Counts ExpectedGaussian Explained Gaussian GaussianEvidence GaussianGraph Huber "
        "LeastSquares Logistic MarginalSquares Matching Messages Modes NegativeBinomial "
        "Poisson PriorSquares Quantile Share SubsetBic"
    ),
    "across": ("Bulk Dirty Fused"),
    "needs prior": (
        "Explained _FromPrior KnownEdges Matching Messages PriorL1 PriorSquares _Shared Sign "
        "SquaredHinge Support _Widths"
    ),
    "couples targets": (
        "Acyclic Acyclicity Alike Budget Bulk Collaborative ComponentAnalysis Counts "
        "Explained _FromPrior GaussianGraph L1Linf Laplacian Latents Matching Messages Modes "
        "Nuclear PairL1 PositiveDefinite Rank Share SteadyState TargetGraph"
    ),
    "target by target": (
        "Cardinality Dirty ExpectedGaussian Fused Gaussian GaussianEvidence _Grouped Huber "
        "KlGaussian KnownEdges LeastSquares LinearEquality Logistic MarginalSquares "
        "NegativeBinomial Poisson Quantile RegulatorGraph Simplex Slope SubsetBic"
    ),
    "entry by entry": (
        "GaussianPrior _Interval L0 MinimaxConcave Priced PriorSquares _Shared SquaredHinge "
        "_Towards"
    ),
}


def functions():
    homes = unigrn._HOME
    found = {n: getattr(unigrn, n) for n, home in homes.items() if home in HOMES}
    return {n: f for n, f in found.items() if inspect.isfunction(f)}


@pytest.mark.parametrize("name", sorted(functions()))
def test_a_default_changes_only_with_the_changelog(name):
    parameters = inspect.signature(functions()[name]).parameters.values()
    found = {p.name: p.default for p in parameters if p.default is not p.empty}
    assert found == DEFAULTS.get(name, {})


def classes(base=Term):
    for one in base.__subclasses__():
        yield one
        yield from classes(one)


def test_what_terms_say_of_themselves_changes_on_purpose():
    """A claim that a term makes is tried by `check_spec`; one that it stops making is seen here."""
    for name in HOMES[:8]:
        importlib.import_module(f"unigrn.{name}")
    for name in unigrn.methods.names():
        unigrn.methods.get(name)
    found = {kind: set() for kind in SAID}
    separable = {
        None: "couples targets",
        "targets": "target by target",
        "entries": "entry by entry",
    }
    for one in set(classes()):
        home = one.__module__
        if not home.startswith("unigrn.") or home.startswith(("unigrn.terms", "unigrn.verify")):
            continue
        said = {k for k in SAID if vars(one).get(k.replace(" ", "_")) is True}
        if "separable" in vars(one) and not isinstance(vars(one)["separable"], property):
            said.add(separable[vars(one)["separable"]])
        for kind in said:
            found[kind].add(one.__name__)
    assert found == {kind: set(names.split()) for kind, names in SAID.items()}


def test_a_target_without_candidates_is_on_the_simplex():
    # Its sum is 0 whatever is done: it is not counted as far from the total.
    valid = np.array([[False, True], [False, True]])
    none = np.zeros((2, 2))
    prior = unigrn.PriorView(valid, 1.0 * valid, none.astype(np.int8), none > 0, valid)
    constraint = unigrn.simplex(1.0)

    def apart(*shares):
        theta = np.stack([np.zeros(2), shares], axis=1)
        return float(constraint(unigrn.Blocks(theta=theta), unigrn.View(), prior))

    assert apart(0.25, 0.75) == 0
    assert apart(0.25, 0.5) == pytest.approx(0.25)
    assert apart(-0.5, 1.5) == pytest.approx(0.5)
