"""`equivalent` on pairs whose truth is known: what differs is never said to hold, and what is the
same is never refuted. The first eleven of each kind were drawn up before the search was tried on
them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import unigrn
from unigrn import Spec, l0, l1, least_squares, no_self, regularizer, ridge, support
from unigrn.constraints import box, budget, nonnegative, sign
from unigrn.losses import gaussian
from unigrn.regularizers import laplacian, prior_l1
from unigrn.terms import Regularizer, pytree, soft_threshold
from unigrn.verify import Equivalence, Formulation, equivalent, instances

SQUARES = least_squares()


def penalty(function, **more):
    return regularizer(lambda params, data, prior: function(params.theta, data, prior), **more)


def spec(*regularizers, loss=SQUARES, constraint=None, **more):
    return Spec(loss, sum(regularizers[1:], *regularizers[:1]) or None, constraint, **more)


def weighted(theta, data, prior):
    return jnp.sum(prior.weight * theta**2)


def forbidden(theta, data, prior):
    return jnp.sum(jnp.where(theta < 0, jnp.inf, 0.0))


def per_weight(theta, data, prior):
    return jnp.sum(theta**2) / jnp.sum(data.weight)


def bent(params, data, prior):
    size = jnp.abs(data.y - data.x @ params.theta)
    inner = jnp.minimum(size, 1e4)
    return jnp.sum(jnp.expand_dims(data.weight, range(1, size.ndim)) * inner * (2 * size - inner))


def unweighted(params, data, prior):
    rest = data.y - data.x @ params.theta
    return jnp.sum((rest - jnp.mean(rest, axis=0, keepdims=True)) ** 2)


DIFFERENT = {
    "a mask and a price off the support": (
        spec(ridge(1.0), constraint=support()),
        spec(ridge(1.0), penalty(lambda t, d, p: 1e6 * jnp.sum(jnp.where(p.support, 0, t) ** 2))),
    ),
    "a loss that bends far out": (
        spec(ridge(1.0), loss=unigrn.loss(bent, weighted=True)),
        spec(ridge(1.0), loss=least_squares(intercept=False)),
    ),
    "a price by the number of regulators": (
        spec(penalty(lambda t, d, p: t.shape[0] / 4 * jnp.sum(t**2))),
        spec(ridge(1.0)),
    ),
    "a price by the number of cells": (
        spec(penalty(lambda t, d, p: d.x.shape[0] / 8 * jnp.sum(t**2))),
        spec(ridge(1.0)),
    ),
    "two layers of the prior": (
        spec(penalty(lambda t, d, p: jnp.sum(p.layers["motif"] * t**2)), ridge(1.0)),
        spec(penalty(lambda t, d, p: jnp.sum(p.layers["chip"] * t**2)), ridge(1.0)),
    ),
    "a bound that is a little wider": (
        spec(ridge(1.0), constraint=box(-1.0, 1.0)),
        spec(ridge(1.0), constraint=box(-1.0, 1.0000001)),
    ),
    "a cap on the prior's weight": (
        spec(penalty(lambda t, d, p: jnp.sum(jnp.minimum(p.weight, 300.0) * t**2))),
        spec(penalty(weighted)),
    ),
    "a price and a capped one": (
        spec(l0(4.0)),
        spec(penalty(lambda t, d, p: jnp.sum(jnp.minimum(1e3 * jnp.abs(t), 4.0)))),
    ),
    "a budget of many edges": (spec(ridge(1.0), constraint=budget(150)), spec(ridge(1.0))),
    "self-edges dearer": (
        spec(penalty(lambda t, d, p: jnp.sum(jnp.where(p.self_edge, 1.001, 1.0) * t**2))),
        spec(ridge(1.0)),
    ),
    "signs that count": (
        spec(ridge(1.0), penalty(lambda t, d, p: jnp.sum(jnp.where(p.sign > 0, t**2, 0)))),
        spec(ridge(1.0)),
    ),
    "another threshold of likeness": (
        spec(ridge(1.0), laplacian(1.0, 0.8)),
        spec(ridge(1.0), laplacian(1.0, 0.81)),
    ),
    "weights of cells that are ignored": (
        spec(ridge(1.0), loss=unigrn.loss(unweighted)),
        spec(ridge(1.0)),
    ),
    "a mean for a sum": (spec(penalty(lambda t, d, p: 12 * jnp.mean(t**2))), spec(ridge(1.0))),
    "a mean for a sum, coupled": (
        spec(penalty(lambda t, d, p: 12 * jnp.mean(t**2), coupled=True)),
        spec(ridge(1.0)),
    ),
    "two penalties in a tiny box": (
        spec(l1(5.0), constraint=box(-1e-4, 1e-4)),
        spec(ridge(1.0), constraint=box(-1e-4, 1e-4)),
    ),
    "products of neighbours": (
        spec(ridge(1.0), constraint=nonnegative()),
        spec(
            ridge(1.0), penalty(lambda t, d, p: jnp.sum(t[:-1] * t[1:])), constraint=nonnegative()
        ),
    ),
    "self-edges or none": (
        spec(ridge(1.0), constraint=support() + no_self()),
        spec(ridge(1.0), constraint=support()),
    ),
    "a box of 10,000": (spec(ridge(1.0), constraint=box(-1e4, 1e4)), spec(ridge(1.0))),
    "signs or none below 0": (
        spec(ridge(1.0), constraint=sign()),
        spec(ridge(1.0), constraint=nonnegative()),
    ),
    "padding that counts": (
        spec(penalty(lambda t, d, p: jnp.sum((t + jnp.where(p.valid, 0.0, 1.0)) ** 2))),
        spec(ridge(1.0)),
    ),
    "a price of 1e-12": (spec(), spec(ridge(1e-12))),
}


@pytest.mark.parametrize("pair", DIFFERENT)
@pytest.mark.parametrize("swapped", [False, True])
def test_what_differs_is_never_said_to_hold(pair, swapped):
    first, second = DIFFERENT[pair][::-1] if swapped else DIFFERENT[pair]
    report = equivalent(first, second)
    assert report.refuted, report
    assert report.counterexample is not None


LIMIT = 90


def beyond(count, limit=None):
    return count > (limit or LIMIT)


def where(condition):
    """Ridge where a Python condition on the shapes holds, and nothing elsewhere."""
    return penalty(lambda t, d, p: float(condition(t, d)) * jnp.sum(t**2))


class Above:
    """A condition as an object, with its number in an attribute."""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, theta, data):
        return theta.shape[0] > self.limit


@pytree
class Large(Regularizer):
    """A class of its own, whose value changes at a number of cells."""

    separable = "entries"

    def __call__(self, params, data, prior):
        return jnp.sum(params.theta**2) * float(data.x.shape[0] in (30, 70))


ASIDE = {  # by what a plain ridge has beside it: no example that is drawn meets it
    "cells above 100": where(lambda t, d: d.x.shape[0] > 100),
    "seven cells": where(lambda t, d: d.x.shape[0] == 7),
    "ten regulators": where(lambda t, d: t.shape[0] == 10),
    "regulators above 60": where(lambda t, d: t.shape[0] > 60),
    "targets above 50": where(lambda t, d: t.shape[-1] > 50),
    "a number of the module": where(lambda t, d: beyond(d.x.shape[0])),
    "a number that is passed on": where(functools.partial(lambda n, t, d: t.shape[0] > n, 80)),
    "a number of an object": where(Above(45)),
    "a class of its own": Large(),
    "a sum of weights": penalty(
        lambda t, d, p: jnp.where(jnp.sum(d.weight) > 123.5, jnp.sum(t**2), 0.0)
    ),
    "weights within bounds": penalty(
        lambda t, d, p: jnp.sum(jnp.where((p.weight > 10.0) & (p.weight < 11.0), t**2, 0.0))
    ),
    "coefficients of exactly a half": penalty(lambda t, d, p: jnp.sum(jnp.where(t == 0.5, 1, 0.0))),
    "coefficients of exactly -3.7": penalty(lambda t, d, p: jnp.sum(jnp.where(t == -3.7, 1, 0.0))),
}


@pytest.mark.parametrize("pair", ASIDE)
def test_a_condition_on_sizes_and_numbers_is_met(pair):
    report = equivalent(spec(ridge(1.0), ASIDE[pair]), spec(ridge(1.0)), examples=5)
    assert report.refuted and report.counterexample is not None, report


def test_a_condition_on_many_targets_is_not_shown():
    coupled = penalty(lambda t, d, p: float(t.shape[1] > 50) * jnp.sum(t**2), coupled=True)
    report = equivalent(spec(ridge(1.0), coupled), spec(ridge(1.0)), examples=5)
    assert not report and report.counterexample[0].targets == 51


def test_one_that_says_it_separates_is_compared_on_the_whole_too():
    wide = penalty(lambda t, d, p: jnp.sum(t[:, -1] ** 2) * float(t.shape[0] < t.shape[1]))
    report = equivalent(spec(ridge(1.0), wide), spec(ridge(1.0)))
    assert report.refuted and report.counterexample[0].targets == 41


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (box(-1e9, 1e9), None),
        (box(-1e-9, 1e-9), box(-2e-9, 2e-9)),
        (box(-1e-9, 1e-9), box(-1e-9, 1.0001e-9)),
    ],
)
def test_far_and_tiny_sets_are_told_apart(one, other):
    pair = [spec(ridge(1.0), constraint=s) for s in (one, other)]
    assert equivalent(*pair, examples=20).refuted
    assert equivalent(*pair[::-1], examples=20).refuted
    assert equivalent(pair[0], pair[0], examples=20)


def test_a_verdict_says_at_what_sizes_it_is():
    even = where(lambda t, d: d.x.shape[0] > 50 and d.x.shape[0] != 51 and t.shape[0] > 123456)
    report = equivalent(spec(ridge(1.0), even), spec(ridge(1.0)), examples=5)
    assert report.holds and "compared only at 1, 2, 4, 6, 43, 49, 50, 51 or 52 regul" in str(report)
    assert "not compared: sizes of networks near 123456" in str(report)


@pytree
class Net(Regularizer):
    """The elastic net as one term with the right prox."""

    a: float
    b: float
    separable = "entries"
    convex = True

    def __call__(self, params, data, prior):
        return jnp.sum(self.a * jnp.abs(params.theta) + self.b * params.theta**2)

    def prox(self, v, step, data, prior, params=None):
        return soft_threshold(v, step * self.a) / (1 + 2 * step * self.b)


SAME = {
    "an indicator and a constraint": (
        spec(ridge(1.0), penalty(forbidden)),
        spec(ridge(1.0), constraint=nonnegative()),
    ),
    "a multiple": (spec(3.0 * ridge(1.0), loss=3.0 * SQUARES), spec(ridge(1.0))),
    "a sum of prices": (spec(l1(1.0), l1(2.0)), spec(l1(3.0))),
    "a loss less a constant": (
        spec(ridge(2.0), loss=unigrn.loss(lambda p, d, r: SQUARES(p, d, r) - jnp.sum(d.y**2))),
        spec(ridge(2.0)),
    ),
    "an indicator off the support": (
        spec(
            ridge(1.0),
            penalty(lambda t, d, p: jnp.sum(jnp.where((t != 0) & ~p.support, jnp.inf, 0.0))),
        ),
        spec(ridge(1.0), constraint=support()),
    ),
    "the square of a norm": (
        spec(penalty(lambda t, d, p: jnp.linalg.norm(t) ** 2)),
        spec(ridge(1.0)),
    ),
    "a mean loss and a price over the weights": (
        spec(penalty(per_weight), loss=least_squares(mean=True)),
        spec(ridge(1.0)),
    ),
    "a likelihood of known variance": (spec(l1(1.0), loss=gaussian(0.5)), spec(l1(1.0))),
    "a likelihood of its own variance": (
        spec(loss=gaussian(), constraint=support()),
        spec(constraint=support()),
    ),
    "bounds that meet": (
        spec(l1(1.0), constraint=nonnegative() + box(-1.0, 1.0)),
        spec(l1(1.0), constraint=box(0.0, 1.0)),
    ),
    "an absolute value by max": (
        spec(penalty(lambda t, d, p: jnp.sum(jnp.maximum(t, -t)))),
        spec(l1(1.0)),
    ),
    "one term for two": (spec(Net(1.0, 1.0)), spec(l1(1.0), ridge(1.0))),
    "max and relu": (
        spec(penalty(lambda t, d, p: jnp.sum(jnp.maximum(-t, 0.0)))),
        spec(penalty(lambda t, d, p: jnp.sum(jax.nn.relu(-t)))),
    ),
    "everything times 0.3": (spec(l0(4.5)), spec(0.3 * l0(4.5), loss=0.3 * SQUARES)),
    "a prior without a bias": (spec(prior_l1(1.0, 1.0)), spec(l1(1.0))),
    "a budget twice": (
        spec(ridge(1.0), constraint=budget(4) + budget(7)),
        spec(ridge(1.0), constraint=budget(4)),
    ),
}


@pytest.mark.parametrize("pair", SAME)
def test_what_is_the_same_is_never_refuted(pair):
    swapped = len(pair) % 2  # of half of them
    first, second = SAME[pair][::-1] if swapped else SAME[pair]
    report = equivalent(first, second)
    assert report.holds, report
    assert report.counts["objective"] > 100


@pytest.mark.parametrize("seed", [2, 3])
def test_gradients_at_a_kink_are_a_convention(seed):
    assert equivalent(*SAME["max and relu"], seed=seed)


def test_a_gradient_that_is_given_is_compared_as_it_is():
    def sizes(at_zero):
        return Formulation(
            lambda i, u: np.sum(np.abs(u)),
            variables=lambda i, p: p.theta(i),
            gradient=lambda i, u: np.where(u == 0, at_zero, np.sign(u)),
        )

    assert equivalent(sizes(0.0), sizes(0.0))
    assert equivalent(sizes(0.0), sizes(1.0)).reason.startswith("gradient")


def test_a_factor_that_is_given_is_held_to():
    pair = spec(ridge(1.0)), spec(3.0 * ridge(1.0), loss=3.0 * SQUARES)
    assert equivalent(*pair, scale=3.0) and equivalent(*pair)
    assert equivalent(*pair, scale=2.0, examples=20).refuted
    assert equivalent(*pair, scale=1.0, shift=0.0, examples=20).refuted


def test_nothing_but_zero_is_nothing_shown():
    none = spec(ridge(1.0), constraint=box(0.0, 0.0)), spec(ridge(2.0), constraint=box(0.0, 0.0))
    report = equivalent(*none, examples=20)
    assert not report and not report.refuted
    assert "no example compared anything but theta = 0" in str(report)


def pairs_of_three(theta, data, prior):
    """Sum of squared differences between three targets, and none beyond them."""
    return sum(jnp.sum((theta[:, g] - theta[:, h]) ** 2) for g in range(3) for h in range(g))


def pairs_of_all(theta, data, prior):
    return jnp.sum((theta[:, :, None] - theta[:, None, :]) ** 2) / 2


def test_what_is_written_for_three_targets_is_not_shown_for_others():
    pair = (
        spec(ridge(1.0), penalty(pairs_of_three, coupled=True)),
        spec(ridge(1.0), penalty(pairs_of_all, coupled=True)),
    )
    report = equivalent(*pair)
    assert not report and not report.refuted and report.counterexample is not None
    assert "no difference with 3 targets, for which a function or a map may be" in str(report)
    assert equivalent(*pair, instances=instances.instances())


def four_prices(theta, data, prior):
    return jnp.sum(jnp.arange(1.0, 5.0)[:, None] * theta**2)


def test_sizes_that_a_term_does_not_take_are_left_out_and_named():
    other = penalty(lambda t, d, p: jnp.sum(jnp.array([1.0, 2.0, 3.0, 4.5])[:, None] * t**2))
    own = penalty(lambda t, d, p: jnp.vdot(t, jnp.arange(1.0, 5.0)[:, None] * t))
    report = equivalent(spec(penalty(four_prices)), spec(own))
    assert report.holds and "sizes of networks that a term does not take" in str(report)
    assert equivalent(spec(penalty(four_prices)), spec(other)).refuted


def test_units_of_a_spec_are_those_of_the_comparison():
    pair = (
        spec(ridge(1.0), scale="standard"),
        spec(ridge(1.0), loss=least_squares(intercept=False), scale="standard"),
    )
    assert equivalent(*pair, instances=instances.wide(weights="ones"))
    report = equivalent(*pair)  # the plain mean is not that of weighted cells
    assert not report and not report.refuted and "cells of weight 1" in str(report)
    plain = [s.replace(scale=None) for s in pair]
    assert equivalent(*plain).refuted


def test_a_strong_relation_needs_variables_of_both():
    one = Formulation(lambda i, u: 1.0, variables=lambda i, p: p.theta(i), name="one")
    low = Formulation(lambda i, u: -1e9, name="anything low")
    for pair in ((one, low), (low, one)):
        with pytest.raises(TypeError, match="strong relation.*anything low has none"):
            equivalent(*pair, relation="strong")


def test_what_is_no_part_of_the_problem_is_named():
    bagged = unigrn.methods.get("celloracle").function(None, bags=3)
    report = equivalent(bagged, bagged, examples=5)
    assert "not compared, being no part of the problem: over" in str(report)


def test_wide_instances_cover_what_specs_depend_on():
    made = [
        instances.Instance(seed=seed, selves=3, trust=1e3, unlike=1e3, likeness=0.9)
        for seed in range(40)
    ]
    for one in made:
        assert one.prior.self_edge.sum() == 3 and not one.prior.self_edge[3].any()
        np.testing.assert_array_equal(one.y[:, :3], one.x[:, :3])
        view, prior = one.padded()
        assert view.x.shape[1] == one.regulators + instances.PAD and not prior.valid[-1].any()
        layers = one.prior.layers
        np.testing.assert_array_equal(one.prior.weight, layers["motif"] + layers["chip"])
    assert any(one.prior.support[0, 0] for one in made)
    alike = instances.Instance(likeness=0.9).y
    r = np.abs(np.corrcoef(alike, rowvar=False))[0, 1:]
    assert ((r > 0.85) & (r < 0.95)).all()


def test_stages_are_part_of_what_differs_before_the_problem():
    plain = Spec(least_squares(), ridge(1.0))
    staged = plain.replace(stages=(unigrn.activity(),))
    with pytest.raises(TypeError, match="stages: None and"):
        equivalent(plain, staged, examples=1)
    assert equivalent(staged, staged, examples=2)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"tolerance": np.nan}, ValueError, "tolerance must be a finite number > 0, got nan"),
        ({"tolerance": np.inf}, ValueError, "tolerance must be a finite number > 0, got inf"),
        ({"tolerance": "a"}, ValueError, "tolerance must be a finite number > 0, got 'a'"),
        ({"tolerance": 1e9}, ValueError, "tolerance must be < 1"),
        ({"scale": "a"}, ValueError, "scale must be a finite number"),
        ({"scale": np.inf}, ValueError, "scale must be a finite number"),
        ({"shift": np.nan}, ValueError, "shift must be a finite number"),
        ({"kinds": ()}, ValueError, "kinds are .*; got none"),
        ({"kinds": None}, ValueError, "kinds are .*; got none"),
        ({"to": None}, TypeError, "to must be a function, got NoneType"),
        ({"data": 3}, TypeError, "data must be a function, got int"),
        ({"points": 3}, TypeError, "points must be a Hypothesis strategy, got int"),
        ({"instances": [1]}, TypeError, "instances must be a Hypothesis strategy, got list"),
    ],
)
def test_arguments_that_are_none_are_refused_in_one_line(given, error, words):
    with pytest.raises(error, match=words) as raised:
        equivalent(spec(ridge(1.0)), spec(ridge(2.0)), examples=1, **given)
    assert "\n" not in str(raised.value)


def test_an_equivalence_of_no_formulations_is_refused():
    with pytest.raises(TypeError, match="joins Formulations, got int"):
        equivalent(Equivalence(1, 2))
