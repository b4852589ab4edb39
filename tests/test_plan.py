"""The plan: which solver a spec gets and why, what a plan says, and how work is cut into calls."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import unigrn
from unigrn import (
    Data,
    PlanError,
    Prior,
    Spec,
    Step,
    Sweeps,
    box,
    budget,
    component_analysis,
    elastic_net,
    expected_gaussian,
    gaussian,
    gaussian_evidence,
    huber,
    kl_gaussian,
    l0,
    l1,
    laplacian,
    least_squares,
    no_self,
    nonnegative,
    planner,
    prior_l1,
    ridge,
    sign,
    support,
)
from unigrn.ladder import LADDER, select
from unigrn.methods.celloracle import celloracle
from unigrn.methods.netrex import netrex
from unigrn.methods.netrex_cf import netrex_cf, netrex_cf_sketch
from unigrn.moments import padded, padded_rows
from unigrn.probes import Profile
from unigrn.problem import COARSE, FINE, bucket, build, chunk_size

NAMES = tuple(rung.name for rung in LADDER)
CLOSED = "closed form"
VARIANCES = "closed form of means and variances"
EVIDENCE = "evidence maximisation"
ACTIVE = "active sets on moments"
MOMENTS = "proximal gradient on moments"
GRADIENT = "gradient (L-BFGS)"
ROWS = "proximal gradient on rows"
NOISY = "stochastic gradient (optax Adam)"
PALM = "PALM over blocks of the whole network"
SMOOTH = "gradient (L-BFGS) on the whole network"
WHOLE = "proximal gradient on the whole network"
NOISY_WHOLE = "stochastic gradient (optax Adam) on the whole network"
KERNELS = "closed form for kernels"


def absolute(params, data, prior):
    return jnp.sum(jnp.abs(data.y - data.x @ params.theta))


def smooth_group(params, data, prior, strength=1.0):
    return strength * jnp.sum(jnp.sqrt(1e-6 + jnp.sum(params.theta**2)))


def coupled_squares(params, data, prior):
    return jnp.sum((data.y - data.x @ params.theta) ** 2)


def alike(params, data, prior):
    return jnp.sum((params.theta - jnp.mean(params.theta, axis=0, keepdims=True)) ** 2)


def zeros(data, prior, key, terms):
    """A plan traces a start for the axes of its blocks; it computes no number."""
    assert isinstance(prior.weight, jax.core.Tracer)
    blank = jnp.zeros_like(prior.weight)
    if blank.ndim == 1:
        return unigrn.Blocks(theta=blank, intercept=jnp.zeros(()), log_variance=blank)
    return unigrn.Blocks(theta=blank, A=jnp.zeros((len(blank), len(data.y)), blank.dtype))


COUPLED = unigrn.loss(absolute, coupled=True)
COUPLING = unigrn.regularizer(smooth_group, coupled=True)
SIMPLE = Prior.from_dict({"y": ["a", "b"], "z": ["a"]})


@unigrn.pytree
class Price(unigrn.Regularizer):
    """A prox that joins with nothing."""

    def __call__(self, params, data, prior):
        return jnp.sum(jnp.sqrt(jnp.sum(params.theta**2, axis=0)))

    def prox(self, v, step, data, prior, params=None):
        return v


def mask():
    return support() + no_self()


# ------------------------------------------------------------------ the ladder

TABLE = [
    (
        Spec(unigrn.gaussian_graph(), unigrn.pair_l1(0.1), unigrn.positive_definite()),
        "proximal Newton on a precision matrix",
    ),
    (Spec(unigrn.subset_bic(), constraint=no_self()), "enumeration of subsets"),
    (
        Spec(least_squares(), l1(0.1), no_self() + unigrn.acyclic()),
        "central path to an acyclic network",
    ),
    (unigrn.methods.get("otter").function(None), "declared steps of Adam on the whole network"),
    (unigrn.methods.get("panda").function(None), "declared iteration without an objective"),
    (
        Spec(least_squares(), unigrn.regularizer(smooth_group, across=True)),
        "proximal gradient across groups",
    ),
    (Spec(least_squares(), l1(1.0) + unigrn.fused(1.0), mask()), "splitting across groups"),
    (
        Spec(
            unigrn.gaussian_graph(),
            unigrn.pair_l1(0.1) + unigrn.fused(1.0),
            unigrn.positive_definite(),
        ),
        "splitting of precision matrices across groups",
    ),
    (
        Spec(
            unigrn.loss(coupled_squares, coupled=True),
            unigrn.regularizer(alike, across=True, convex=True),
        ),
        "gradient (L-BFGS) on all networks at once",
    ),
    (Spec(least_squares(), unigrn.slope(2.0) + ridge(1.0), box(-1, 1)), "splitting on moments"),
    (Spec(least_squares()), CLOSED),
    (Spec(least_squares(), ridge(1.0), mask()), CLOSED),
    (Spec(least_squares(intercept=False, mean=True), ridge(1.0)), CLOSED),
    (Spec(gaussian(), ridge(1.0) + ridge(2.0)), CLOSED),
    (Spec(0.5 * least_squares() + gaussian(2.0), 3 * ridge(1.0)), CLOSED),
    (unigrn.bagging(Spec(least_squares(), ridge(1.0), mask())), CLOSED),
    (Spec(gaussian_evidence(), constraint=mask()), EVIDENCE),
    (Spec(gaussian_evidence()), EVIDENCE),
    (Spec(least_squares(), l1(1.0)), ACTIVE),
    (Spec(least_squares(), ridge(1.0), nonnegative()), ACTIVE),
    (Spec(least_squares(), elastic_net(1.0, 1.0), sign()), ACTIVE),
    (Spec(2 * least_squares(), 0.5 * l1(1.0) + prior_l1(1.0)), ACTIVE),
    (Spec(gaussian(), 2 * elastic_net(1.0, 1.0), mask() + box(-1, 1)), ACTIVE),
    (Spec(least_squares(), smooth_group), MOMENTS),
    (Spec(least_squares(), unigrn.regularizer(smooth_group, strength=2.0) + l1(1.0)), MOMENTS),
    (unigrn.bagging(Spec(least_squares(), l1(1.0))), ACTIVE),
    (Spec(huber()), GRADIENT),
    (Spec(huber(), l1(1.0)), ROWS),
    (Spec(2 * huber() + least_squares(), elastic_net(1.0, 1.0), box(-1, 1)), ROWS),
    (unigrn.bagging(Spec(huber(), ridge(1.0))), GRADIENT),
    (unigrn.bagging(Spec(huber(), l1(1.0))), ROWS),
    (Spec(absolute, l1(1.0)), ROWS),
    (Spec(absolute), GRADIENT),
    (Spec(absolute, ridge(1.0) + unigrn.regularizer(smooth_group), mask()), GRADIENT),
    (Spec(unigrn.loss(absolute, blocks=("theta", "intercept")), None, nonnegative()), ROWS),
    (Spec(absolute, None, support() + box(-1, 2)), ROWS),
    (unigrn.bagging(Spec(unigrn.loss(absolute, weighted=True))), GRADIENT),
    (Spec(expected_gaussian(), kl_gaussian(), support(), start=zeros), VARIANCES),
    (Spec(expected_gaussian(draws=2), kl_gaussian(), support(), start=zeros), NOISY),
    (Spec(least_squares(), l0(1.0), support()), MOMENTS),
    (Spec(least_squares(), ridge(1.0), scale="standard"), CLOSED),
    (Spec(least_squares(intercept=False), ridge(1.0), scale="standard"), GRADIENT),
    (Spec(component_analysis(), ridge(1.0) + ridge(1.0, "A"), start=zeros), PALM),
    (Spec(component_analysis(), l0(1.0) + ridge(1.0, "A"), support(), start=zeros), PALM),
    (Spec(unigrn.known_edges(), 2.0 * unigrn.alike([0.1, 1.0])), KERNELS),
    (
        Spec(
            0.5 * component_analysis(),
            laplacian(1.0),
            box(-1, 1) + budget(3) + box(-1, 1, "A"),
            start=zeros,
        ),
        WHOLE,
    ),
    (
        Spec(
            0.5 * component_analysis(),
            laplacian(1.0),
            box(-1, 1) + budget(3) + box(-1, 1, "A"),
            start=zeros,
            sweeps=Sweeps((Step("theta", "linear", 1.01), Step("A", "linear", 1.01))),
        ),
        PALM,
    ),
    (netrex(None).replace(regularizer=l0(1.0)), PALM),
    (netrex(None).replace(sweeps=None), WHOLE),
    (netrex_cf(None), PALM),
    (netrex_cf(None, steps="released", sample=5, runs=3), PALM),
    (netrex_cf(None).replace(sweeps=None), PALM),
    (netrex_cf_sketch(None), PALM),
    (netrex(None), PALM),
    (Spec(least_squares(), laplacian(1.0) + l1(1.0)), WHOLE),
    (Spec(COUPLED), SMOOTH),
    (Spec(COUPLED, ridge(1.0), mask()), SMOOTH),
    (Spec(least_squares(), COUPLING, nonnegative()), WHOLE),
    (Spec(COUPLED, l1(2.0)), WHOLE),
    (Spec(COUPLED, minibatch=unigrn.Minibatch(8)), NOISY_WHOLE),
    (Spec(absolute, minibatch=unigrn.Minibatch(8)), NOISY),
    (Spec(unigrn.loss(absolute, coupled=True, weighted=True), None, mask()), SMOOTH),
    (unigrn.folds(Spec(unigrn.loss(absolute, coupled=True, weighted=True)), 3), SMOOTH),
    (unigrn.path(Spec(least_squares(), ridge(1.0)), "Ridge.alpha", [1, 2]), CLOSED),
    (unigrn.jackknife(Spec(least_squares(), l1(1.0)), 3), ACTIVE),
    (unigrn.stability(Spec(huber(), l1(1.0)), 3), ROWS),
    (Spec(huber(), COUPLING + ridge(1.0)), SMOOTH),
]


@pytest.mark.parametrize(("spec", "name"), TABLE, ids=[str(s)[:60] for s, _ in TABLE])
def test_a_spec_gets_the_first_rung_that_takes_it(spec, name):
    choice = select(spec)
    rung, refused = choice.solver, choice.refused
    assert rung.name == name
    # Those above lack something, and say what.
    assert [r.name for r, _ in refused] == list(NAMES[: NAMES.index(name)])
    assert all(lacking and all(lacking) for _, lacking in refused)
    assert not rung.lacking(Profile(spec, spec.terms))
    # The solver can be asked for by name, and those above refuse for the reasons they gave.
    assert select(spec, name).solver is rung
    for other, lacking in refused:
        with pytest.raises(PlanError) as caught:
            select(spec, other)
        assert "; ".join(lacking) in str(caught.value)


REFUSED = [
    (
        Spec(COUPLED, l1(2.0) + Price()),
        ["couples the targets", "λ ‖θ‖₁ is not differentiable", "no rule gives the joint prox"],
    ),
    (Spec(gaussian_evidence(), ridge(1.0)), ["α ‖θ‖² has no evidence", "block noise_precision"]),
    (
        Spec(gaussian_evidence(), None, nonnegative()),
        ["θ ≥ 0 has no allows", "block noise_precision"],
    ),
    (Spec(2 * gaussian_evidence()), ["has no evidence"]),
    (unigrn.bagging(Spec(absolute)), ["absolute(θ, data) does not use cell weights"]),
    (unigrn.bagging(Spec(COUPLED)), ["does not use cell weights, which bagging needs"]),
    (
        unigrn.bagging(Spec(unigrn.loss(absolute, coupled=True, weighted=True))),
        ["bagging draws candidates, which a whole network has no"],
    ),
    (unigrn.bagging(netrex_cf(None)), ["bagging draws candidates, which a whole network has no"]),
    (unigrn.folds(netrex_cf(None)), ["does not use cell weights, which folds needs"]),
    (Spec(component_analysis(), start=None), ["there is also the block A, which has no start"]),
    (unigrn.permuted(netrex_cf(None), 2), ["permuted copies of all cells alike"]),
    (netrex(None).replace(regularizer=Price()), ["no rule joins the prox of Price"]),
    (
        Spec(component_analysis(), None, budget(3) + budget(2), start=zeros),
        ["no rule gives the projection onto ‖θ‖₀ ≤ 3 ∩ ‖θ‖₀ ≤ 2"],
    ),
    (
        netrex(None).replace(sweeps=Sweeps((Step("theta", "point"), Step("A", "linear")))),
        ["is no sum of squares in theta"],
    ),
    (netrex(None).replace(sweeps=Sweeps((Step("theta", "linear"),))), ["block A has no step"]),
    (unigrn.consensus(Spec(absolute), 3), ["restarts need a start that draws"]),
    (Spec(expected_gaussian(draws=2), l1(1.0), start=zeros), ["is not differentiable"]),
    (Spec(unigrn.loss(absolute, blocks=("theta", "slope"))), ["there is also the block slope"]),
]


@pytest.mark.parametrize(("spec", "words"), REFUSED, ids=[w[-1] for _, w in REFUSED])
def test_a_refusal_says_the_nearest_solver_and_keeps_the_ladder(spec, words):
    with pytest.raises(PlanError) as caught:
        select(spec)
    text, ladder = str(caught.value), caught.value.ladder
    assert isinstance(caught.value, ValueError)
    assert spec.name in text and str(spec) in text
    assert tuple(ladder) == NAMES and all(ladder.values())
    fewest = min(map(len, ladder.values()))
    nearest = ["; ".join(what) for what in ladder.values() if len(what) == fewest]
    assert caught.value.why in nearest and caught.value.why in text
    assert not spec.sweeps or "no sweeps are declared" not in caught.value.why
    for word in words:
        assert any(word in each for what in ladder.values() for each in what)


def test_a_start_that_raises_is_the_reason():
    def start(key, terms, view, prior):
        raise KeyError("no such layer")

    for loss in (least_squares(), unigrn.loss(absolute)):
        with pytest.raises(PlanError, match="the start fails.*no such layer"):
            select(Spec(loss, l1(1.0), start=start))


def test_every_rung_is_reached_and_described():
    assert {name for _, name in TABLE} == set(NAMES)
    assert len(set(NAMES)) == len(LADDER)
    for rung in LADDER:
        assert rung.reads in ("moments", "groups", "rows", "network", "networks")
        assert len({need.text for need in rung.needs}) == len(rung.needs)


@pytest.mark.parametrize("loss", [least_squares(), unigrn.huber(1.0)], ids=["moments", "rows"])
def test_lists_are_padded_where_no_term_notices(loss):
    """Few shapes, few programs: also beside blocks that do not follow the candidates."""

    def summed(params, data, prior):
        return jnp.sum(params.theta**2)

    def mean(params, data, prior):
        return jnp.mean(params.theta**2)

    genes = [f"g{i:02}" for i in range(24)]
    data = Data.from_arrays(np.random.default_rng(0).normal(size=(30, 24)), genes)
    prior = Prior.from_dict({t: genes[: i + 1] for i, t in enumerate(genes[12:])})
    for function, widths in ((summed, {8, 16}), (mean, set(range(1, 13)))):
        spec = Spec(loss, unigrn.regularizer(function), support(), prior=prior)
        plan = unigrn.plan(spec, data)
        assert {batch.k for batch in plan.batches()} == widths


# ------------------------------------------------------------------ a plan in words


def small(cells=30, dtype="float64", **more):
    values = np.random.default_rng(0).normal(size=(cells, 4))
    return Data.from_arrays(values, ["a", "b", "y", "z"], dtype=dtype, **more)


def test_explain_says_what_why_and_how_much():
    spec = Spec(least_squares(), elastic_net(1.0, 2.0), mask(), SIMPLE, name="mine")
    text = unigrn.plan(spec, small()).explain()
    lines = text.splitlines()
    assert lines[0] == f"mine: {spec}"
    assert f"solver: {ACTIVE}" in lines
    for need in LADDER[NAMES.index(ACTIVE)].needs:
        assert f"  holds: {need.text}" in lines
    assert any(
        line.startswith(
            f"  not {CLOSED}: every term is quadratic: regularizer λ ‖θ‖₁ has no quadratic"
        )
        for line in lines
    )
    assert any(line.startswith(f"  not {EVIDENCE}: ") for line in lines)
    assert "problem: 2 regulators x 2 targets, 3 candidate edges, 30 cells" in lines
    assert "  2 x 8: 1 call of 1 x 16 fits" in lines
    assert any(line.startswith("memory: moments 0 MB") for line in lines)
    assert any(line.startswith("arithmetic: ") and "1 pass over" in line for line in lines)
    assert lines[-1].startswith("device: cpu") and lines[-1].endswith("float64")
    assert "deleted by" not in text


def test_explain_counts_groups_bags_copies_and_deletions():
    groups = ["u", "v", "w"] * 10
    spec = unigrn.permuted(
        unigrn.bagging(Spec(least_squares(), ridge(1.0), no_self(), SIMPLE), bags=7), 9
    )
    plan = unigrn.plan(spec, small(groups=groups))
    lines = plan.explain().splitlines()
    assert any(
        line == "problem: 2 regulators x 4 targets, 6 candidate edges, 30 cells in 3 groups, "
        "bagging of 7, permutations of 10"
        for line in lines
    )
    assert "  deleted by NoSelf: 2 entries" in lines
    # 4 targets, each in 7 bags of itself and of 9 copies, in every group.
    step = plan.chunk(plan.batches()[0], 4)
    k = plan.batches()[0].k
    assert plan.members == 70
    assert f"  4 x {k}: {3 * -(-4 // step)} calls of 70 x {step} fits" in lines
    rows = unigrn.plan(Spec(huber()), small()).explain()
    assert "memory: rows " in rows and "arithmetic" not in rows


def test_no_cell_is_read_for_a_plan():
    def read(start, stop):
        raise AssertionError("a cell was read")

    data = Data.from_blocks(30, ["a", "b", "y", "z"], read)
    assert CLOSED in unigrn.plan(Spec(least_squares(), ridge(1.0)), data).explain()


def test_provenance_tells_how_to_run_it_again():
    data = small(groups=["u"] * 20 + ["v"] * 10)
    plan = unigrn.plan(
        Spec(least_squares(), l1(1.0), name="mine"), data, hyperparameters={"strength": 1.0}
    )
    told = plan.provenance(5)
    assert told["method"] == "mine" and told["formula"] == str(plan.spec)
    assert told["hyperparameters"] == {"strength": 1.0}
    assert (told["seed"], told["dtype"], told["solver"]) == (5, "float64", ACTIVE)
    assert told["tolerance"] == 1e-9
    assert told["data"]["cells"] == 30 and told["data"]["genes"] == 4
    assert told["data"]["groups"] == {"u": 20, "v": 10}
    assert told["versions"]["unigrn"] == unigrn.__version__
    assert told["tolerance"] < unigrn.plan(plan.spec, small(dtype="float32")).tolerance < 1e-4
    assert unigrn.plan(plan.spec, data, tolerance=0.5).provenance(0)["tolerance"] == 0.5
    import json

    json.dumps(told)


# ------------------------------------------------------------------ wrong arguments

WRONG = [
    (lambda: unigrn.plan("celloracle", small()), TypeError, "plan needs a Spec, got str"),
    (
        lambda: unigrn.plan(Spec(absolute), small(weights=np.ones(30))),
        PlanError,
        "weights of cells.*absolute.*does not use cell weights, which the data has",
    ),
    (
        lambda: unigrn.plan(Spec(least_squares(), None, support("chip"), SIMPLE), small()),
        ValueError,
        "layer 'chip'.*the layers are: prior",
    ),
    (
        lambda: unigrn.plan(Spec(least_squares(), prior_l1(1.0, layer="chip")), small()),
        ValueError,
        "layer 'chip'.*none",
    ),
    (
        lambda: unigrn.plan(Spec(least_squares(), None, support()), small()),
        ValueError,
        r"supp θ.*needs a prior: give Spec\(prior=",
    ),
    (
        lambda: unigrn.plan(Spec(least_squares()), small(), targets=["q"]),
        ValueError,
        "none of the 1 requested targets is measured; requested: q",
    ),
    (
        lambda: unigrn.plan(
            Spec(least_squares(), None, mask(), Prior.from_dict({"y": ["y"]})), small()
        ),
        ValueError,
        "no target has a candidate regulator",
    ),
    (lambda: unigrn.fit(Spec(least_squares()), small(), seed=-1), ValueError, "seed.*got -1"),
    (lambda: unigrn.fit(Spec(least_squares()), small(), seed=True), ValueError, "seed"),
    (lambda: Spec(ridge(1.0)), TypeError, "a loss is a term.*got a regularizer"),
    (lambda: Spec(2 * ridge(1.0)), TypeError, "a loss is a term.*got a regularizer"),
    (
        lambda: Spec(least_squares(), least_squares()),
        TypeError,
        "a regularizer is a term.*got a loss",
    ),
    (
        lambda: Spec(least_squares(), support()),
        TypeError,
        "a regularizer is a term.*got a constraint",
    ),
    (lambda: Spec(least_squares(), None, l1(1.0)), TypeError, r"Spec\(constraint=...\)"),
    (lambda: Spec("ridge"), TypeError, "a loss is a term or a function.*str"),
    (lambda: Spec(least_squares(), "ridge"), TypeError, "a regularizer is a term.*str"),
    (lambda: unigrn.permuted(Spec(least_squares()), -1), ValueError, "permutations.*-1"),
    (lambda: unigrn.permuted(Spec(least_squares()), True), ValueError, "permutations.*True"),
    (lambda: Spec(least_squares(), scale="cells"), ValueError, "scale must be one of.*cells"),
    (lambda: unigrn.bagging(Spec(least_squares()), bags=0), ValueError, "bags.*0"),
    (
        lambda: unigrn.bagging(Spec(least_squares()), max_features=1.5),
        ValueError,
        "max_features.*1.5",
    ),
    (lambda: celloracle(SIMPLE, draws="own"), ValueError, "draws.*own"),
    (lambda: unigrn.folds(Spec(least_squares()), 1), ValueError, "parts.*1"),
    (lambda: unigrn.jackknife(Spec(least_squares()), 1), ValueError, "blocks.*1"),
    (lambda: unigrn.stability(Spec(least_squares()), 3, 1.5), ValueError, "share.*1.5"),
    (lambda: unigrn.stability(Spec(least_squares()), 0), ValueError, "samples.*0"),
    (lambda: unigrn.consensus(Spec(least_squares()), 0), ValueError, "runs.*0"),
    (
        lambda: unigrn.path(Spec(least_squares(), ridge(1.0)), "strength", [1.0]),
        ValueError,
        "'strength'; those of the spec are:.*Ridge.alpha",
    ),
    (
        lambda: unigrn.path(Spec(least_squares(), ridge(1.0)), "Ridge.alpha", []),
        ValueError,
        "at least one value",
    ),
    (
        lambda: unigrn.path(Spec(least_squares(), ridge(1.0)), "Ridge.alpha", [1.0], "aic"),
        ValueError,
        "choose must be one of ebic, heldout, got 'aic'",
    ),
    (lambda: Spec(least_squares(), over=(3,)), TypeError, "over=.*Over objects, got int"),
    (
        lambda: unigrn.plan(Spec(least_squares()), small(), solver="newton"),
        ValueError,
        "no solver 'newton'; the solvers are: closed form",
    ),
    (
        lambda: unigrn.plan(Spec(least_squares()), small(), solver=len),
        TypeError,
        "unigrn.Solver or the name of one, got builtin",
    ),
    (
        lambda: unigrn.plan(Spec(least_squares(), l1(1.0)), small(), solver=CLOSED),
        PlanError,
        "closed form does not take 'spec'.*λ ‖θ‖₁ has no quadratic",
    ),
    (
        lambda: unigrn.Solver("mine", "cells", len),
        ValueError,
        "reads one of moments, groups, rows, network, networks, got 'cells'",
    ),
    (lambda: unigrn.Solver("mine", "rows", None), ValueError, "'mine' has no function"),
    (
        lambda: unigrn.fit(unigrn.plan(Spec(least_squares()), small()), small()),
        TypeError,
        "a plan has its data",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG, ids=[w[2][:40] for w in WRONG])
def test_wrong_arguments_say_what_is_needed(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_names_that_are_not_measured_are_told():
    plan = unigrn.plan(Spec(least_squares()), small(), regulators=["a", "b", "q"], targets=["y"])
    assert list(plan.problem.regulators) == ["a", "b"]
    assert any(
        "1 of 3 requested regulators are not measured" in line
        for line in plan.problem.report.lines()
    )


# ------------------------------------------------------------------ candidates


@pytest.mark.parametrize("constraint", [None, support(), budget(2)])
def test_a_self_edge_of_the_prior_is_dropped_only_where_the_method_drops_it(constraint):
    prior = Prior.from_dict({"y": ["b", "y"], "z": ["z", "b"]})
    spec = Spec(
        component_analysis() if constraint is None else least_squares(),
        ridge(1.0),
        constraint,
        prior,
    )
    report = build(spec, small()).report
    assert report.count("edges used") == 4 and report.count("edges dropped: self-edge") == 0


def test_candidates_are_the_constraint_applied():
    prior = Prior.from_dict({"y": ["b", "a", "y", "q"], "z": ["z"], "a": ["z"]})
    problem = unigrn.plan(Spec(least_squares(), None, mask(), prior), small()).problem
    pairs = [
        (str(problem.regulators[c]), str(problem.targets[t]))
        for c, t in zip(problem.candidate, problem.entry_target, strict=True)
    ]
    assert pairs == [("z", "a"), ("a", "y"), ("b", "y")]
    assert problem.dropped == {"Support": 0, "NoSelf": 2}
    assert np.array_equal(
        problem.sizes, np.bincount(problem.entry_target, minlength=len(problem.targets))
    )
    soft = unigrn.plan(Spec(least_squares(), prior_l1(1.0), no_self(), prior), small()).problem
    assert [p.report.count("edges dropped: self-edge") for p in (problem, soft)] == [2, 2]
    for entry in range(len(soft.candidate)):
        source = str(soft.regulators[soft.candidate[entry]])
        target = str(soft.targets[soft.entry_target[entry]])
        named = source in {"y": "ab", "a": "z"}.get(target, "")
        assert source != target
        assert soft.prior.support[entry] == named
        assert (soft.prior.weight[entry] > 0) == named


# ------------------------------------------------------------------ sizes

SIZES = st.integers(1, 200_000)


@given(SIZES, st.sampled_from([COARSE, FINE]))
def test_bucket_is_the_smallest_size_that_holds(size, sizes):
    out = bucket(size, sizes)
    assert out >= size
    if size <= sizes[-1]:
        assert out in sizes
        assert all(s < size for s in sizes if s < out)
    else:
        assert out % sizes[-1] == 0 and out - size < sizes[-1]


@given(SIZES, SIZES)
def test_padding_is_small_monotone_and_idempotent(a, b):
    out = padded(a)
    assert out >= max(a, 8)
    assert out - a <= max(a / 8, 8)
    assert padded(out) == out
    assert padded(min(a, b)) <= padded(max(a, b))


@given(st.integers(4, 20))
def test_padding_takes_eight_sizes_an_octave(octave):
    low = 1 << octave
    step = max(low // 8, 1)
    assert {padded(n) for n in range(low, 2 * low, max(step // 2, 1))} <= {
        low + i * step for i in range(9)
    }


@given(SIZES)
def test_rows_are_padded_to_powers_of_two(rows):
    out = padded_rows(rows)
    assert out >= max(rows, 32) and out & (out - 1) == 0
    assert out == 32 or out < 2 * rows


@given(SIZES, st.floats(0.01, 1e9))
def test_chunks_keep_to_the_limit_and_to_few_sizes(total, most):
    size = chunk_size(total, most)
    assert size >= 16 and size & (size - 1) == 0
    assert size == 16 or size <= most
    assert size == 16 or size < 4 * total
    # It stops for a reason: all is done in one call, or the next size is too large.
    assert size >= total or 2 * size > most or 4 * size > most
    assert size <= chunk_size(2 * total, most)
    assert size <= chunk_size(total, 2 * most)


@pytest.mark.filterwarnings("ignore::unigrn.UnigrnWarning")  # of hints on names
@given(st.lists(st.integers(0, 12), min_size=3, max_size=3).filter(any))
def test_batches_hold_every_target_with_candidates_once(sizes):
    genes = [f"r{j:02d}" for j in range(12)] + ["y0", "y1", "y2"]
    prior = Prior.from_dict({f"y{t}": genes[:n] for t, n in enumerate(sizes) if n})
    data = Data.from_arrays(np.zeros((2, 15)), genes)
    spec = Spec(least_squares(), l1(1.0), support(), prior)
    plan = unigrn.plan(spec, data, solver=MOMENTS)
    batches = plan.batches()
    seen = np.concatenate([b.targets for b in batches])
    assert sorted(seen) == np.flatnonzero(plan.problem.sizes).tolist()
    for batch in batches:
        assert batch.k in FINE
        assert np.array_equal(batch.sizes, plan.problem.sizes[batch.targets])
        assert all(bucket(int(s)) == batch.k for s in batch.sizes)


# ------------------------------------------------------------------ cut into pieces

MANY = 70  # targets: more than the 64 that one pass always takes


@pytest.fixture(scope="module")
def many():
    """Seventy targets with two to four of five regulators, in two groups."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 5))
    y = x @ rng.normal(size=(5, MANY)) + rng.normal(size=(40, MANY))
    genes = [f"r{j}" for j in range(5)] + [f"y{t:02d}" for t in range(MANY)]
    prior = Prior.from_edges(
        pd.DataFrame(
            [
                (f"r{j}", f"y{t:02d}")
                for t in range(MANY)
                for j in rng.permutation(5)[: rng.integers(2, 5)]
            ],
            columns=["source", "target"],
        )
    )
    data = Data.from_arrays(np.c_[x, y], genes, groups=["u", "v"] * 20, dtype="float64")
    return data, prior


def equal(one, other):
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(one.status, other.status)
    assert sorted(one.statistics) == sorted(other.statistics)
    for name, values in one.statistics.items():
        np.testing.assert_allclose(values, other.statistics[name], rtol=1e-9, atol=1e-14)


@pytest.mark.slow
def test_small_pieces_give_the_same_numbers(many, monkeypatch):
    data, prior = many
    spec = unigrn.permuted(
        unigrn.bagging(Spec(least_squares(), ridge(1.0), support(), prior), bags=2), 1
    )
    whole = unigrn.fit(spec, data, 3)
    assert (whole.status == 0).all()
    plan = unigrn.plan(spec, data)
    (batch,) = plan.batches()
    assert plan.chunk(batch, MANY) > 16
    reads = []
    read = Data.blocks
    monkeypatch.setattr(Data, "blocks", lambda *a, **k: reads.append(1) or read(*a, **k))
    monkeypatch.setattr(planner, "CHUNK", 1)
    assert plan.chunk(batch, MANY) == 16
    monkeypatch.setattr(planner, "MEMORY", 1)
    equal(whole, unigrn.fit(spec, data, 3))
    assert len(reads) == 2  # seventy targets in two passes over the cells


@pytest.mark.slow
def test_groups_keep_apart_what_several_passes_find(many, monkeypatch):
    data, prior = many
    spec = Spec(least_squares(), ridge(1.0), support(), prior)
    whole = unigrn.fit(spec, data)
    assert np.abs(whole.weights[0] - whole.weights[1]).max() > 0.1
    monkeypatch.setattr(planner, "MEMORY", 1)
    equal(whole, unigrn.fit(spec, data))


def test_the_footprint_of_a_whole_network_counts_what_terms_and_starts_hold(monkeypatch):
    genes = [f"g{i}" for i in range(1000)]
    data = Data.from_arrays(
        np.random.default_rng(0).normal(size=(20, 1000)), genes, dtype="float64"
    )
    prior = Prior.from_dict({g: genes[:30] for g in genes[30:]})

    def footprint(spec):
        return unigrn.plan(spec, data).footprint

    q, p, item = 30, padded(970), 8
    inputs, terms, each = footprint(netrex(prior))
    alike, less, same = footprint(replace(netrex(prior), regularizer=ridge(1.0) + ridge(1.0, "A")))
    assert inputs == alike and 1.0 <= (terms - less) / (p * p * item) < 1.01  # the Laplacian
    assert each == same >= (12 * q * p + p * p) * item
    few, many = (footprint(netrex_cf(prior, factors))[2] for factors in (10, 110))
    assert many - few == 100 * (q + p) * item  # factors of regulators and of targets
    five = unigrn.plan(netrex_cf(prior, 10, runs=5), data)
    monkeypatch.setattr(planner, "MEMORY", sum(five.footprint[:2]) + 7 * five.footprint[2] // 2)
    assert five.together() == 3
    assert "for 3 starts at a time" in five.explain()
