"""The shipped methods as a list: their default hyperparameters, and what they expect."""

from __future__ import annotations

import sys

import anndata
import numpy as np
import pandas as pd
import pytest

from unigrn import UnigrnWarning, infer, methods

CELLORACLE = dict(permutations=0)  # released: alpha 10, bags 20 and features .8 of `get_links`
NETREX_CF = dict(  # the class: p = 100, eta0 = .1, lambda_a, lambda_s, rho = 1; paper: Lambda = 5
    factors=100,
    ridge_activity=1.0,
    ridge_network=1.0,
    sweeps=100,
    tolerance=1e-6,
    runs=1,
    scale="standard",
)
DEFAULTS = {
    "celloracle": dict(
        CELLORACLE, alpha=10.0, bags=20, max_features=0.8, draws="shared", permutations=None
    ),
    # scikit-learn's BayesianRidge at the time: 300 iterations, tol 1e-3, all four priors 1e-6
    "celloracle_bayesian": dict(CELLORACLE, hyperprior=1e-6, tolerance=1e-3, max_iterations=300),
    "masked_lasso": dict(strength=10.0, noise_variance=None),
    "masked_ridge": dict(alpha=0.1),
    "full_ridge": dict(alpha=1.0),
    "elastic_net": dict(penalties=20, smallest=0.01, ridge=0.01, masked=False),
    "tree_fused": dict(tree=None, fusion=0.05, strength=0.05, ridge=0.01),
    "amusr": dict(own=0.05, shared=None, prior_weight=2.0, fallback=True),
    "prior_only": {},
    "correlation": {},
    "partial_correlation": dict(alpha=0.1),
    "tfa_ridge": dict(alpha=1.0, fallback=True),
    # the Inferelator: nS = 10 and both weights 1
    "inferelator_bbsr": dict(candidates=10, weight=1.0, other=1.0, fallback=True),
    # the Inferelator: 20 alphas from .01 to 10 (l = 2 alpha), 20 disjoint subsets, threshold .05
    "inferelator_stars": dict(
        penalties=20,
        largest=20.0,
        smallest=0.02,
        samples=20,
        threshold=0.05,
        disjoint=True,
        fallback=True,
    ),
    "prior_lasso": dict(
        bias=0.5, penalties=20, smallest=0.01, samples=20, threshold=0.05, fallback=True
    ),
    "netrex_cf": dict(
        NETREX_CF,
        evidence=(1.0, 60.0, 90.0),
        strength=5.0,
        boost=9.0,
        floor=0.1,
        per_target=200,
        ridge_factors=1.0,
        steps="safe",
        absolute=None,
        sample=None,
        rank="factors",
    ),
    "netrex_cf_sketch": dict(NETREX_CF, slope=1.0, on=9.0, off=1.0, cost=1.0),
    # the class: mu = 1, kappa = 1, xi = .4, both bounds 1, 1000 sweeps
    "netrex": dict(
        keep=0.8,
        total=1.2,
        kappa=1.0,
        threshold=0.95,
        signed=True,
        ridge_activity=1.0,
        ridge_network=0.4,
        bound_activity=1.0,
        bound_network=1.0,
        sweeps=1000,
        tolerance=1e-6,
        absolute=None,
        scale="range",
    ),
    "poisson_glm": dict(alpha=1.0, strength=0.0, bias=0.5, masked=True),
    # the program: bounds 2 and -10, noise of .001, 4 modes in its example
    "scode": dict(modes=4, lower=-10.0, upper=2.0, noise=1e-3, runs=20),
    "dagma": dict(strength=0.05, bias=0.5, mask=False, scale="standard"),
    "graphical_lasso": dict(strength=0.1, bias=0.5, fusion=0.0, tree=None),
    # the program: lam = .035, gamma = .335, 60 steps of length 1e-5
    "otter": dict(
        interactions=None,
        coexpression=0.035,
        shrinkage=0.335,
        steps="released",
        count=60,
        length=1e-5,
    ),
    # the program with its `lam` or its first weights; it has no runs
    "giraffe": dict(interactions=None, weights=None, unit=True, runs=1),
    # the program: alpha = .1, threshold = .001
    "panda": dict(interactions=None, alpha=0.1, tolerance=1e-3),
    "known_targets": dict(
        together=None,
        strength=(0.1, 0.3, 1.0, 3.0),
        width=1.0,
        even=(0.0, 0.5),
        trust=None,
        layer=None,
        graded=False,
    ),
    # the program's constructor: .01 to .99, 1, 1, 1
    "pmf_grn": dict(
        low=None,
        high=None,
        existence=None,
        strength=1.0,
        activity=1.0,
        noise="gaussian",
        divergence=1.0,
        mask="soft",
        form="variational",
        draws=None,
    ),
    # the program: .01 off the prior, Gamma(.001, .001)
    "bitfam": dict(off=0.01, hyperprior=1e-3, mask="soft"),
    # the notebook: .05, .01, Gamma(4.5, 1), one draw
    "symphony": dict(spread=0.05, bulk=0.01, shape=4.5, covariance="intended", draws=8, seed=0),
    # the program: 1e5 and bounds of 5
    "dictys": dict(steady=1e3, factors=8, bound=5.0, total=None),
    # the page: Gamma(1, 1) of precisions; the program has activity=10, baseline=1
    "tiger": dict(off=0.05, activity=1.0, baseline=10.0, noise=1.0, mask="hard"),
    "linear_gaussian": dict(
        noise_variance=None, on=1.0, off=0.01, mask="soft", form="variational", draws=0
    ),
}


def test_every_method_has_its_defaults_here():
    assert set(DEFAULTS) == set(methods.names())


def test_a_file_beside_the_others_is_a_method(tmp_path, monkeypatch):
    (tmp_path / "one_file.py").write_text(
        "from __future__ import annotations\n"
        "from unigrn import Spec, l1, least_squares\n"
        "def _helper(prior) -> Spec: ...\n"
        "def strength() -> float: ...\n"
        "def lasso_in_one_file(prior, strength: float = 2.0) -> Spec:\n"
        "    return Spec(least_squares(), l1(strength), prior=prior)\n"
    )
    before = methods.names()
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    assert set(methods.names()) == {*before, "lasso_in_one_file"}
    assert methods.get("lasso_in_one_file").parameters == {"strength": 2.0}
    monkeypatch.delitem(sys.modules, "unigrn.methods.one_file")


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_changes_only_on_purpose(name):
    """Another default gives every user other numbers: change it here and in CHANGELOG.md too."""
    assert methods.get(name).parameters == DEFAULTS[name]


def test_what_a_method_says_it_expects_of_values_is_what_it_warns_of():
    """Its Notes, for people, and `Spec.expects`, for the fit."""
    for name in methods.names():
        method = methods.get(name)
        said = "log-normalised" in " ".join(method.notes.split())
        assert ("log" in method.function(None).expects) == said, name


def counted():
    counts = np.random.default_rng(0).poisson(3.0, (30, 4))
    adata = anndata.AnnData(counts.astype(np.float32))
    adata.var_names = ["r", "a", "b", "c"]
    return adata, pd.DataFrame({"source": "r", "target": ["a", "b", "c"]})


@pytest.mark.parametrize("method", ["full_ridge", "tfa_ridge"])  # without stages, and with
def test_raw_counts_where_logarithms_are_expected_are_told(method):
    adata, prior = counted()
    said = f"{method} expects log-normalised expression, but .* whole number: .* raw counts"
    with pytest.warns(UnigrnWarning, match=said):
        infer(adata, prior, method)
    adata.X = np.log1p(adata.X) - 1  # log ratios, say
    infer(adata, prior, method)


def test_terms_that_join_groups_say_where_there_is_one():
    adata, prior = counted()
    adata.X = np.log1p(adata.X)
    with pytest.warns(UnigrnWarning, match="joins groups of cells, and all are in one: name"):
        infer(adata, prior, "tree_fused")
    adata.obs["group"] = ["a", "b"] * 15
    infer(adata, prior, "tree_fused", groupby="group", strength=1e-3)


@pytest.mark.parametrize("name", ["otter", "giraffe", "panda"])
def test_interactions_that_differ_from_their_mirror_images_are_refused(name):
    table = pd.DataFrame(np.eye(3), index=list("abc"), columns=list("abc"))
    methods.get(name).function(None, table)
    table.loc["a", "b"] = 0.5  # one entry of nine
    with pytest.raises(ValueError, match="differ from their mirror images"):
        methods.get(name).function(None, table)
