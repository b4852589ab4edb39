"""Claims of the frame and of Proposition 1: they hold, and what is wrong is refuted."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from unigrn import Blocks, bootstrap, gaussian, least_squares, no_self, replicates, support
from unigrn.methods import celloracle as released
from unigrn.methods import masked
from unigrn.verify.claims import frame, proposition_1
from unigrn.verify.instances import Instance

EXAMPLES = 25
CLAIMS = {c.name: c for c in (*frame.CLAIMS, *proposition_1.CLAIMS)}
PARTING = "proposition_1.sketch_and_release_part"


def count(claim):
    return max(2, round(EXAMPLES * claim.share))


def test_the_claims_are_those_of_their_pages():
    assert list(CLAIMS) == [
        "strong_equivalence",
        "targets_separate",
        "centring_is_an_intercept",
        "bootstrap_is_a_weighting",
        "support_is_deletion",
        "partial_minimisation",
        "l0_prox",
        "proposition_1.lasso",
        "proposition_1.ridge",
        "proposition_1.bags",
        "proposition_1.draws",
        "proposition_1.bayesian",
        "bayesian_ridge",
        PARTING,
    ]


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda c: c.name)
def test_a_claim_holds_on_other_draws(claim):
    report = claim.check(count(claim), 1)  # those of seed 0: tests/test_gates.py
    assert report.holds, str(report)
    assert report.worst and report.deviation <= report.tolerance
    if claim.kind != "counterexample":
        assert report.examples >= count(claim) and report.counterexample is None


@pytest.mark.parametrize(
    "name, kinds",
    [
        ("targets_separate", ("objective", "gradient", "feasibility", "minimiser")),
        ("centring_is_an_intercept", ("objective", "feasibility", "minimiser")),
        ("bootstrap_is_a_weighting", ("objective", "feasibility", "minimiser")),
        ("support_is_deletion", ("objective", "feasibility", "minimiser")),
        ("partial_minimisation", ("objective", "minimiser")),
        ("l0_prox", ("objective", "minimiser", "prox")),
        ("proposition_1.lasso", ("objective", "prox", "feasibility", "minimiser", "gradient")),
        ("proposition_1.ridge", ("objective", "gradient", "feasibility", "minimiser")),
        ("proposition_1.bags", ("feasibility", "minimiser", "statistics")),
        ("proposition_1.draws", ("feasibility", "statistics")),
        ("proposition_1.bayesian", ("feasibility", "minimiser", "statistics")),
        ("bayesian_ridge", ("objective", "gradient", "minimiser", "statistics")),
    ],
)
def test_a_claim_compares_what_it_should(name, kinds):
    claim = CLAIMS[name]
    report = claim.check(count(claim), 2)
    for kind in kinds:
        assert report.counts[kind] >= count(claim) / 4, (kind, report.counts)


# ------------------------------------------------------------------ constants of the methods


def both(monkeypatch, change):
    """Change what the two CellOracle functions return."""
    for name in ("celloracle", "celloracle_bayesian"):
        function = getattr(released, name)
        monkeypatch.setattr(released, name, partial(_changed, function, change))


def _changed(function, change, *args, **hyper):
    return change(function(*args, **hyper))


def bagged(monkeypatch, **changes):
    monkeypatch.setattr(
        released,
        "celloracle",
        partial(
            _changed,
            released.celloracle,
            lambda spec: spec.replace(over=tuple(_released(o, changes) for o in spec.over)),
        ),
    )


def _released(axis, changes):
    """Change the draws of the released program; the shared draws follow the seed instead."""
    return replace(axis, **changes) if isinstance(axis, released.ReleasedBags) else axis


def hyper(monkeypatch, function, **changes):
    monkeypatch.setattr(released, function, partial(getattr(released, function), **changes))


def one_sided(params, data, prior):
    found = TWO_SIDED(params, data, prior)
    return {**found, "p": found["p"] / 2}


TWO_SIDED = released.posterior


def rounded_up(monkeypatch):
    """Draw the share of the regulators rounded up."""
    own = released.released_draws

    def draws(cells, candidates, bags, max_features, random_state):
        share = min(1.0, (np.ceil(max_features * candidates) + 1e-9) / candidates)
        return own(cells, candidates, bags, share, random_state)

    monkeypatch.setattr(released, "released_draws", draws)
    monkeypatch.setattr(
        replicates.Bagging,
        "sizes",
        lambda self, candidates: np.maximum(
            1, np.ceil(self.max_features * np.asarray(candidates)).astype(np.int64)
        ),
    )


def population(monkeypatch):
    """Variance over the bags with the denominator m."""
    own = released.bag_statistics
    monkeypatch.setattr(
        released,
        "bag_statistics",
        lambda mean, variance, bags_drawn: own(
            mean, variance * (bags_drawn - 1) / bags_drawn, bags_drawn
        ),
    )


def sketched(monkeypatch, **changes):
    monkeypatch.setattr(
        masked,
        "masked_lasso",
        partial(_changed, masked.masked_lasso, lambda spec: spec.replace(**changes)),
    )


RIDGE = {"proposition_1.ridge", "proposition_1.bags", PARTING}
BAGS, LASSO = {"proposition_1.bags"}, {"proposition_1.lasso", PARTING}
BAYES, EVIDENCE = {"proposition_1.bayesian"}, {"proposition_1.bayesian", "bayesian_ridge"}

# What is changed, and every claim that sees it.
MUTATIONS = {
    "alpha 10 -> 11": (lambda m: hyper(m, "celloracle", alpha=11.0), RIDGE),
    "max_features 0.8 -> 0.7": (lambda m: hyper(m, "celloracle", max_features=0.7), BAGS),
    "max_features rounded up": (rounded_up, BAGS),
    "bags 20 -> 19": (lambda m: hyper(m, "celloracle", bags=19), BAGS),
    "random_state 123 -> 124": (lambda m: bagged(m, random_state=124), BAGS),
    "variance over bags with m": (population, BAGS),
    "scale regulators -> both": (
        lambda m: both(m, lambda s: s.replace(scale="both")),
        RIDGE | EVIDENCE,
    ),
    "no scale": (lambda m: both(m, lambda s: s.replace(scale=None)), RIDGE | EVIDENCE),
    "no support": (lambda m: both(m, lambda s: s.replace(constraint=no_self())), RIDGE | BAYES),
    "a self-edge": (lambda m: both(m, lambda s: s.replace(constraint=support())), RIDGE | EVIDENCE),
    "no intercept": (
        lambda m: m.setattr(
            released,
            "celloracle",
            partial(
                _changed,
                released.celloracle,
                lambda s: s.replace(loss=least_squares(intercept=False)),
            ),
        ),
        RIDGE,
    ),
    "hyperprior 1e-6 -> 1e-2": (
        lambda m: hyper(m, "celloracle_bayesian", hyperprior=1e-2),
        EVIDENCE,
    ),
    "tolerance 1e-3 -> 1e-2": (lambda m: hyper(m, "celloracle_bayesian", tolerance=1e-2), BAYES),
    "at most 3 updates": (lambda m: hyper(m, "celloracle_bayesian", max_iterations=3), BAYES),
    "one-sided posterior p": (lambda m: m.setattr(released, "posterior", one_sided), BAYES),
    "lasso: targets in their units": (lambda m: sketched(m, scale="regulators"), LASSO),
    "lasso: one noise variance": (lambda m: sketched(m, loss=gaussian(1.0)), LASSO),
    "lasso: no support": (lambda m: sketched(m, constraint=no_self()), LASSO),
    "lasso: a self-edge": (lambda m: sketched(m, constraint=support()), LASSO),
}
SEEING = (
    "proposition_1.lasso",
    "proposition_1.ridge",
    "proposition_1.bags",
    "proposition_1.bayesian",
    "bayesian_ridge",
    PARTING,
)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_constant_of_a_shipped_method_is_seen(name, monkeypatch):
    change, expected = MUTATIONS[name]
    change(monkeypatch)
    seen = set()
    for claim in SEEING:
        report = CLAIMS[claim].check(5, 0)
        if not report.holds:
            seen.add(claim)
    assert seen == expected


def first_half(self, block):
    rng = np.random.default_rng((*self.entropy, 1, block))
    size, totals = int(self.sizes[block]), self.totals[:, block]
    return np.stack(
        [np.bincount(rng.integers(0, -(-size // 2), t), minlength=size) for t in totals]
    )


def last_is_rare(self, candidates, seed):
    k = int(self.sizes(np.array([candidates]))[0])
    rng = np.random.default_rng(seed)
    key = rng.random((self.bags, candidates))
    key[:, -1] += 0.3
    return np.argsort(key, axis=1)[:, :k]


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        (lambda m: m.setattr(bootstrap, "BLOCK", 4), True),  # several stretches of cells
        (lambda m: m.setattr(replicates.Bootstrap, "_stretch", first_half), False),
        (lambda m: m.setattr(replicates.Bagging, "candidates", last_is_rare), False),
    ],
    ids=["short stretches", "cells of the first half", "a regulator that is seldom drawn"],
)
def test_other_ways_of_drawing_are_seen(change, holds, monkeypatch):
    change(monkeypatch)
    assert CLAIMS["proposition_1.draws"].check(10, 0).holds == holds


# ------------------------------------------------------------------ examples of the pages


def test_the_counterexample_of_the_page_leaked_support():
    """One cell twice mirrored is the page's x1 = x2 = y = 1 without an intercept."""
    from unigrn import Data, Prior, Spec, fit, ridge

    data = Data.from_arrays(np.array([[1.0, 1.0, 1.0]]), ["x1", "x2", "y"], dtype="float64")
    prior = Prior.from_dict({"y": ["x1"]})
    spec = Spec(least_squares(intercept=False), ridge(1.0), support(), prior)
    names = {"regulators": ["x1", "x2"], "targets": ["y"]}
    np.testing.assert_allclose(fit(spec, data, **names).theta[0, :, 0], [1 / 2, 0])
    free = spec.replace(constraint=None)
    np.testing.assert_allclose(fit(free, data, **names).theta[0, :, 0], [1 / 3, 1 / 3])


def test_the_instance_where_sketch_and_release_part_says_so():
    report = CLAIMS[PARTING].check(30, 0)
    text = str(report)
    assert "holds" in text and "minimiser differs by" in text and "Instance(" in text
    instance, point = report.counterexample
    (finding,) = CLAIMS[PARTING].check.looking.at(instance, point)
    assert finding.deviation > 1e-3


def test_formulations_of_proposition_1_cover_its_terms(x64):
    """A point off the support, or with the self-edge, is infeasible; one on it is not."""
    form = proposition_1.shipped(released.celloracle(None).replace(over=()))
    instance = Instance(cells=24)
    table = proposition_1.tabled(instance)
    assert table.support[0, 0] and not table.own[0, 0]

    def off(theta):
        return form.violation(instance, Blocks(theta=theta))

    theta = np.zeros((2, 4, 4))
    theta[:, table.own] = 1
    assert off(theta) == 0
    theta[1, 0, 0] = 0.5
    assert off(theta) == 0.5
    theta[1, 0, 0], theta[0, ~table.support] = 0, -2
    assert off(theta) == 2


def test_the_claims_load_neither_hypothesis_nor_a_device():
    code = (
        "import sys, unigrn.verify.claims.frame, unigrn.verify.claims.proposition_1\n"
        "from jax._src import xla_bridge\n"
        "assert 'hypothesis' not in sys.modules\n"
        "assert not xla_bridge.backends_are_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ.copy())
