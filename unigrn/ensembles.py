"""Transformations of a spec: each gives it one more axis over which it is fitted.

They compose from the inside out: ``permuted(bagging(spec), 10)`` fits the bags of the targets and
of ten permuted copies, and reduces the bags first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from unigrn.check import check_number, check_whole
from unigrn.leftout import Lioness
from unigrn.losses import LeastSquares
from unigrn.replicates import (
    BY,
    RULES,
    Bagging,
    Folds,
    Jackknife,
    Over,
    Path,
    Permutations,
    Starts,
    Subsamples,
    heldout_likelihood,
)
from unigrn.selection import Stars, Subsets, penalties
from unigrn.spec import Spec
from unigrn.terms import parts

BELIEFS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # what edges of a prior cost, relative to others
AUTO = "auto"


def over(spec: Spec, axis: Over) -> Spec:
    """Fit a spec over one more axis, outside of those that it has."""
    return spec.replace(over=(*spec.over, axis))


def bagging(spec: Spec, bags: int = 20, max_features: float = 0.8) -> Spec:
    """Fit a spec on bootstrap samples of the cells and random subsets of the regulators.

    Each bag draws as many cells as the group has, with replacement, and for each target
    max(1, floor(max_features x candidates)) of its candidates. One bootstrap of the cells serves
    all targets. The edge's weight is the mean over the bags that drew it, ``bags_drawn`` their
    number; columns of the spec's own are means over these bags too. A regulator that no bag drew
    has no edge.

    Parameters
    ----------
    spec
        Any spec whose loss has moments or uses cell weights.
    bags
        Number of bags, >= 1.
    max_features
        Share of a target's candidates in each bag, in (0, 1].

    References
    ----------
    Breiman, Mach. Learn. 24 (1996) 123, doi:10.1007/BF00058655.
    """
    return over(spec, Bagging(*bag_arguments(bags, max_features)))


def bag_arguments(bags: Any, max_features: Any) -> tuple[int, float]:
    """Check what bags are made from."""
    bags = check_whole("bags", bags, low=1)
    max_features = check_number("max_features", max_features, strict=True)
    if max_features > 1:
        raise ValueError(f"max_features must lie in (0, 1], got {max_features:g}")
    return bags, max_features


def permuted(spec: Spec, copies: int = 10) -> Spec:
    """Fit permuted copies of every target beside it; they give the column ``fdr``.

    ``fdr`` says which share of the edges at least as strong (|weight| over the target's standard
    deviation in the group) permuted targets would give. 0 copies leave the spec as it is.
    """
    copies = check_whole("permutations", copies)
    return over(spec, Permutations(copies)) if copies else spec


def consensus(spec: Spec, runs: int = 10, best: bool = False) -> Spec:
    """Fit a method that starts at random from several starts, and join what they find.

    Columns of the edge table are means over the starts; ``score_sd`` is the standard deviation of
    the score, ``frequency`` the share of the starts that have the edge. With ``best`` they are
    those of the start with the lowest objective; the certificate is that of the worst start all
    the same. For a method whose start draws from a key.
    """
    runs = check_whole("runs", runs, low=1)
    return over(spec, Starts(runs, bool(best))) if runs > 1 else spec


def path(
    spec: Spec,
    parameter: str,
    values: Sequence[float],
    choose: str | Callable[..., Any] | None = "ebic",
    by: str = "target",
) -> Spec:
    """Fit a spec at several values of one hyperparameter, and choose one for every target.

    Parameters
    ----------
    spec
        Any spec.
    parameter
        Name of the hyperparameter as `Spec.hyperparameters` has it: "L1.strength"; "L1[2].strength"
        of the second of several terms of a class; "function.name" of a plain function.
    values
        Its values.
    choose
        "ebic", "heldout" (with `folds` inside), a function (`unigrn.replicates.Found`) -> scores
        (values, targets) of which the least is taken, or None: a column for every value.
    by
        "target": each target for itself. "network": one value for all targets of a group, of the
        least sum of scores. "hidden": each of five parts of the targets takes the value of the
        least sum over the other parts, so that no target is judged by what it chose. There
        ``choose="heldout"`` means the log likelihood: of squares -2 log p = n log(held-out squares)
        + const, of other losses the loss. Scores of all values are in `Solution.targets`.

    References
    ----------
    Friedman, Hastie and Tibshirani, J. Stat. Softw. 33 (2010) 1, doi:10.18637/jss.v033.i01.
    """
    values = tuple(check_number(parameter, v) for v in values)
    if not values:
        raise ValueError("path() needs at least one value, got none")
    if isinstance(choose, str) and choose not in RULES:
        raise ValueError(f"choose must be one of {', '.join(RULES)}, got {choose!r}")
    if by not in BY:
        raise ValueError(f"by must be one of {', '.join(BY)}, got {by!r}")
    if by != "target" and choose is None:
        raise ValueError(
            f"by={by!r} says who chooses, and choose=None chooses nothing; give a rule"
        )
    if any(isinstance(o, Path) and o.parameter == parameter for o in spec.over):
        raise ValueError(f"path() got {parameter} twice; one path gives it its values")
    losses = parts(spec.loss)
    squares = [isinstance(getattr(t, "term", t), LeastSquares) for t in losses] == [True]
    if choose == "ebic" and not squares:
        raise ValueError(
            "choose='ebic' is made for the residual sum of squares; the loss is "
            f"{' + '.join(t.formula for t in losses)}: put folds inside and choose 'heldout'"
        )
    rule = RULES[choose] if isinstance(choose, str) else choose
    if choose == "heldout" and by != "target" and squares:
        rule = heldout_likelihood
    axis = Path(parameter, values, rule, by)
    axis.terms(spec.terms)  # an unknown name is said here
    return over(spec, axis)


def stability(spec: Spec, samples: int = 50, share: float = 0.5) -> Spec:
    """Fit a spec on random subsets of the cells: ``frequency`` says how often an edge is chosen.

    References
    ----------
    Meinshausen and Buehlmann, J. R. Stat. Soc. B 72 (2010) 417,
    doi:10.1111/j.1467-9868.2010.00740.x.
    """
    share = check_number("share", share, strict=True)
    if share > 1:
        raise ValueError(f"share must lie in (0, 1], got {share:g}")
    return over(spec, Subsamples(check_whole("samples", samples, low=1), share))


def stars(
    spec: Spec,
    parameter: str,
    values: Sequence[float],
    samples: int = 20,
    cells: int | None = None,
    threshold: float = 0.05,
    by: str = "target",
    disjoint: bool = False,
) -> Spec:
    """Choose a penalty by stability: the least one at which subsets of the cells agree on edges.

    With f the share of the subsets in which an edge is chosen, a penalty l has the instability
    D(l) = mean over candidate edges of 2 f (1 - f), and D'(l) = max of D over all penalties of the
    path that are at least l. The least l with D'(l) <= ``threshold`` is taken; where there is none
    there is no edge, as at a penalty without bound. ``weight`` is the fit to all cells at l,
    ``frequency`` f there, and further columns are l under the name of the parameter and D'(l),
    ``instability``. `Solution.targets` has both as ``penalty`` and ``instability``.

    The cells of a subset of b of n cells count n / b times each, so that l weighs alike beside a
    loss that is a sum over cells. Weights of cells multiply these; a cell of weight 0 is drawn too.
    Groups are drawn from and judged one by one, with draws of their own. A group of fewer than 3
    cells has no subset of 2 and gets no edge. The certificate is the worst of the fits at l, at
    larger penalties, and at the next smaller one, which was not stable: others change nothing.

    Parameters
    ----------
    spec
        Any spec that is fitted once, with a regularizer that chooses edges (it has a kink at 0).
    parameter
        Name of a number of that regularizer, as in `path`: the larger, the fewer edges.
    values
        Its values, in any order.
    samples
        Number of subsets, >= 2.
    cells
        Cells of a subset, >= 2 and fewer than any group has; None takes
        b = floor(10 sqrt(n)) of n > 144 cells and floor(0.8 n) of fewer.
    threshold
        Largest instability, at least 0 and less than 0.5, which no edge exceeds.
    by
        "target": D is the mean over the candidates of each target, which gets its own penalty;
        "network": over all candidate edges of a group of cells, whose targets share one.
    disjoint
        Subsets without a cell in common, of floor(n / samples) cells each.

    Raises
    ------
    ValueError
        The spec is fitted over an axis already, couples groups of cells, couples targets (with
        ``by="target"``), has no such parameter or columns; or a number is out of its range.

    References
    ----------
    Liu, Roeder and Wasserman, NIPS 23 (2010) 1432, arXiv:1006.3316; subsets that are disjoint:
    Castro et al., PLoS Comput. Biol. 15 (2019) e1006591, doi:10.1371/journal.pcbi.1006591.
    """
    known = penalties(spec.terms)
    if parameter not in known:
        raise ValueError(
            f"stars() got the penalty {parameter!r}; numbers of regularizers that choose edges "
            f"are: {', '.join(known) or 'none, as no regularizer of the spec has a kink at 0'}"
        )
    if spec.over:
        raise ValueError(
            f"stars() takes a spec that is fitted once, got one over {spec.over[-1].name}: put "
            "stars inside, such as permuted(stars(spec, ...))"
        )
    if by not in ("target", "network"):
        raise ValueError(f"by must be target or network, got {by!r}")
    if spec.across:
        raise ValueError(
            "stars() chooses a penalty for every group, and "
            f"{next(t for t in spec.terms if t.across).formula} couples the groups"
        )
    if by == "target" and not spec.separable:
        coupled = next(t for t in spec.terms if t.separable is None)
        raise ValueError(
            f"stars() by target chooses a penalty for each, and {coupled.formula} couples the "
            'targets: take by="network"'
        )
    if spec.columns:
        raise ValueError("stars() reads weight and frequency, and the spec has columns of its own")
    penalty = sorted({check_number(parameter, v) for v in values}, reverse=True)
    if not penalty:
        raise ValueError("stars() needs at least one value, got none")
    threshold = check_number("threshold", threshold)
    if not threshold < 0.5:
        raise ValueError(
            f"threshold must be at least 0 and less than 0.5, got {threshold:g}: 2 f (1 - f) "
            "exceeds 0.5 at no penalty"
        )
    if cells is not None:
        cells = check_whole("cells", cells, low=2)
        if disjoint:
            raise ValueError(
                f"stars() got cells={cells} and disjoint=True, whose subsets have n / samples "
                "cells; give one of them"
            )
    subsets = Subsets(check_whole("samples", samples, low=2), cells, bool(disjoint))
    axis = Stars(parameter, tuple(penalty), None, by, subsets, threshold)
    axis.terms(spec.terms)  # a penalty that deletes candidates is said here
    notes = {
        "frequency": "share of the subsets of cells in which the edge is chosen",
        parameter.rpartition(".")[2]: f"{parameter} chosen by stability, for each {by}",
        "instability": f"of the {by}'s edges at that penalty, 0 to 0.5",
    }
    spec = spec.replace(notes=notes | dict(spec.notes))
    return over(over(spec, subsets), axis)


def folds(spec: Spec, parts: int = 5) -> Spec:
    """Fit a spec to all cells, and judge it on every part of them, left out once.

    Weights are those of all cells. ``heldout`` of `Solution.targets` is the sum over the parts of
    the loss on a part's cells, of the fit to the others. Put a `path` around it to choose a
    hyperparameter.
    """
    if any(isinstance(o, Folds) for o in spec.over):
        raise ValueError("folds() got a spec that has folds; each cell is held out once already")
    return over(spec, Folds(check_whole("parts", parts, low=2)))


def belief(bias: float | str) -> tuple[Any, bool]:
    """Return the bias that a term is made with, and whether `believed` is to choose it."""
    return (0.5, True) if bias == AUTO else (bias, False)


def believed(spec: Spec, parameter: str, values: Sequence[float] = BELIEFS) -> Spec:
    """Choose how far a prior is believed, by cells that the fits did not see.

    ``parameter`` is what edges of the prior cost relative to others: 1 is no prior, 0 edges that
    are free. Five parts of the cells are left out in turn; each of five parts of the targets takes
    the value at which the cells left out of the other targets are most likely, so that no target
    has a say in its own (a method that couples the targets: one value for all). Weights are of the
    fit to all cells at that value; the edge table has a column of it, `Solution.targets` the scores
    of all values, and the report their means. Other hyperparameters stay: where all edges cost too
    much, cheaper ones help whichever they are, as a fit with a permuted prior shows.
    """
    by = "hidden" if spec.separable else "network"
    return path(folds(spec), parameter, values, "heldout", by)


def jackknife(spec: Spec, blocks: int = 10) -> Spec:
    """Fit a spec to all cells and leave out one block of them at a time: ``standard_error``.

    References
    ----------
    Efron and Stein, Ann. Stat. 9 (1981) 586, doi:10.1214/aos/1176345462.
    """
    return over(spec, Jackknife(check_whole("blocks", blocks, low=2)))


def lioness(spec: Spec) -> Spec:
    """Give every unit of cells a network of its own by leaving it out (LIONESS).

    With W of all cells, W_-s of all but those of unit s, and n_s of N cells in it (their weights,
    where they have any), W_s = (N / n_s) (W - W_-s) + W_-s, entry by entry of ``weight``, and of
    ``score`` where the method has one; other columns are left out. The units are the groups of the
    data; cells without a group count in all fits. Data without groups make every cell a unit, at
    most 1,000. Genes are scaled once, by all cells, as the spec says (`Spec.scale`): W_-s is no fit
    to rescaled data. The network of a unit is no fit: its status is the worse of the two fits it is
    made of, and an error of theirs counts N / n_s times, which is why they are made in double
    precision and to a residual that much smaller.

    Parameters
    ----------
    spec
        Any spec that draws nothing at random: N / n_s times the difference of two draws is noise.

    References
    ----------
    Kuijjer, Tung, Yuan, Quackenbush and Glass, iScience 14 (2019) 226,
    doi:10.1016/j.isci.2019.03.021.
    """
    return over(spec, Lioness())
