"""Scoring a network against a gold standard, beside the baselines that it has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.check import listed
from unigrn.evaluate.baselines import edges_of_prior, pearson, permuted, prior_alone, prior_ranking
from unigrn.evaluate.comparison import differences, verdict
from unigrn.evaluate.errors import error_types
from unigrn.evaluate.gold import ABSENT, POSITIVE, Universe, read_gold, read_targets, universe_of
from unigrn.evaluate.metrics import (
    METRICS,
    Ranking,
    best,
    curve_of,
    early_precision_beeline,
    metrics_of,
    precision_by_regulator,
    rank,
    ranks_above_unlisted,
)
from unigrn.evaluate.ranked import RankedEdges, read_ranked

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from unigrn.network import Network
    from unigrn.prior import Prior


@dataclass(frozen=True)
class Evaluation:
    """What a network scores on a gold standard, and what the baselines score there.

    Parameters
    ----------
    metrics
        ``auprc``, ``auprc_ratio``, ``epr``, ``auroc``, ``macro_auroc``, ``n_universe`` and
        ``n_positive``, as :func:`evaluate` defines them; None where undefined. Of all groups
        together where the network has groups.
    baselines
        Name of the baseline -> the same metrics on the same universe. ``permuted targets`` holds
        means, and in addition ``permutations`` and ``sd`` (metric -> standard deviation).
    groups
        Group -> its metrics; empty without groups.
    sign_accuracy
        Share of the found signed positives whose weight has the gold's sign; None where the gold
        or the network has no signs, or no signed positive is found.
    n_signed
        Number of edges behind ``sign_accuracy``.
    edges
        Counts: ``listed`` (rows of the network), ``in_universe`` (distinct pairs of them in the
        universe), ``outside`` (rows outside of it), ``found`` (positives among the listed pairs).
    prior_overlap
        With a prior: ``positives`` and ``negatives`` (share of the universe's that are in the
        prior), and ``scored_targets`` (prior edges into the scored targets); None without.
    differences
        Baseline -> the network's ``auprc`` less the baseline's, with a 95 % interval (``low``,
        ``high``) over bootstrap ``resamples`` of targets or regulators (``over``). Empty where
        every ranking scores the same.
    notes
        What was counted on the way, one sentence each; the leak check among them, and whether the
        network ranks true edges better than the baselines.
    warnings
        Reasons not to take the scores at face value.
    curves
        ``network``, and of the baselines those that are one ranking, -> precision and recall at
        every threshold, (n,) each: the steps whose area is ``auprc``. Not part of `to_dict`.
    by_regulator
        The same names -> average precision among the pairs of each regulator, a Series; regulators
        all or none of whose pairs are true are left out. Not part of `to_dict`.
    epr_beeline
        The same names -> early precision over prevalence as BEELINE counts ties: all pairs that
        score at least as much as the kth listed one. None where none is listed. Not part of
        `to_dict`.
    errors
        The same names -> what the strongest pairs are, as many as there are true ones: shares
        ``found`` and ``missed`` of these, and false pairs that are ``reversed``, ``indirect`` (a
        path of two or three true edges) or else ``spurious``. Not part of `to_dict`.
    """

    metrics: dict[str, float | int | None]
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, dict[str, float | int | None]] = field(default_factory=dict)
    sign_accuracy: float | None = None
    n_signed: int = 0
    edges: dict[str, int] = field(default_factory=dict)
    prior_overlap: dict[str, float | int | None] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    differences: dict[str, dict[str, float | int | str]] = field(default_factory=dict)
    curves: dict[str, tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict, repr=False, compare=False
    )
    by_regulator: dict[str, pd.Series] = field(default_factory=dict, repr=False, compare=False)
    epr_beeline: dict[str, float | None] = field(default_factory=dict, repr=False, compare=False)
    errors: dict[str, dict[str, float]] = field(default_factory=dict, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything as one object that JSON can hold: undefined values are None, never NaN.

        Returns
        -------
        dict
            The seven metrics at the top level, then ``sign_accuracy``, ``n_signed``, ``edges``,
            ``prior_overlap``, ``baselines``, ``differences``, ``groups``, ``notes`` and
            ``warnings``.
        """
        return {
            **self.metrics,
            "sign_accuracy": self.sign_accuracy,
            "n_signed": self.n_signed,
            "edges": dict(self.edges),
            "prior_overlap": None if self.prior_overlap is None else dict(self.prior_overlap),
            "baselines": {name: dict(row) for name, row in self.baselines.items()},
            "differences": {name: dict(row) for name, row in self.differences.items()},
            "groups": {name: dict(row) for name, row in self.groups.items()},
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def table(self) -> list[str]:
        """Lines of an aligned table: the network, the baselines, then one row per group.

        Returns
        -------
        list of str
            A header and one line per row; undefined values are ``-``.
        """
        columns = METRICS[:5]
        rows: list[tuple[str, Mapping[str, Any]]] = [("network", self.metrics)]
        for name, row in self.baselines.items():
            if "sd" in row:
                rows.append((f"{name} (mean of {row['permutations']})", row))
                rows.append(("  sd", row["sd"]))
            else:
                rows.append((name, row))
        rows += [(f"group {name}", row) for name, row in self.groups.items()]
        cells = [["", *columns]]
        cells += [[name, *(_number(row.get(c), c) for c in columns)] for name, row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return [
            "  ".join(
                text.ljust(width) if place == 0 else text.rjust(width)
                for place, (text, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]

    def __str__(self) -> str:
        """Return the table, the notes and the warnings, as the terminal shows them."""
        lines = [*self.table(), "", *self.notes]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])


def _number(value: float | int | None, column: str) -> str:
    if value is None:
        return "-"
    if column == "auprc":
        return f"{value:.4f}"
    return f"{value:.2f}" if column in ("auprc_ratio", "epr") else f"{value:.3f}"


def evaluate(
    edges: Network | pd.DataFrame | str | Path,
    gold: str | Path | pd.DataFrame,
    prior: Prior | pd.DataFrame | Mapping | str | Path | Sequence | None = None,
    targets: str | Path | pd.DataFrame | Iterable[str] | None = None,
    expression: AnnData | pd.DataFrame | tuple | str | Path | None = None,
    group: str | None = None,
    permutations: int = 20,
    seed: int = 0,
    score: str | None = None,
) -> Evaluation:
    """Score a network against a gold standard, beside the baselines that it has to beat.

    The universe is the gold's rows where it has a ``label`` column. Otherwise it is every gold TF
    with every gold target, self-edges left out. Pairs that the network does not list share one
    last score, below all listed ones (a listed weight of 0 included); equal scores are one
    threshold. Over the universe, with k positives:

    - ``auprc``: sum over thresholds of (recall gained) x precision, which is scikit-learn's
      ``average_precision_score``; ``auprc_ratio`` = auprc / prevalence;
    - ``epr``: precision among the first k pairs, ties in expectation, / prevalence;
    - ``auroc``: ties count 1/2; ``macro_auroc``: mean AUROC of single TFs, over those with 5 or
      more positives and a negative;
    - ``n_universe``, ``n_positive``: how many pairs, how many of them positive.

    Parameters
    ----------
    edges
        Network, edge table, or the path of one: columns ``source`` (or ``tf``), ``target``, and
        ``score`` or ``weight``, or the names of `unigrn.edgelists.SYNONYMS`; optionally ``group``.
        Ranked by ``score`` where there is one, else by the absolute weight. Of a pair listed twice
        the higher score counts; an edge whose score is undefined counts as unlisted.
    gold
        What :func:`load_gold` takes.
    prior
        Prior, edge table, dict target -> TFs, path or list of paths: adds the baseline ``prior
        alone``, scored by the weight (absolute, summed over layers), and the leak check.
    targets
        Names, a table with a column ``target``, or a file of either: scores these targets only.
        All TFs of the gold stay candidates, those without a positive among these targets too.
    expression
        AnnData, ``.h5ad`` path, DataFrame or (matrix, gene names), observations x genes: adds the
        baseline ``|Pearson|`` between regulator and target over all observations. Pairs with a
        constant or unmeasured gene, and of a gene with itself, are unlisted.
    group
        Score this group of a grouped network alone.
    permutations
        Number of random permutations of the target names, at least 1, for the baseline ``permuted
        targets``: the network's own scores, each moved to another target of the universe with its
        regulator kept. What they score above chance comes from the regulators.
    seed
        Seed of the permutations and of the resamples behind ``differences``.
    score
        Column to rank edges by instead, the largest first: weights and coefficients by their
        size, ``p``, ``fdr``, ``variance``, ``rank`` and the like the least first.

    Returns
    -------
    Evaluation
        Metrics, baselines, one row per group, notes and warnings. For a network with groups the
        metrics are those of the sum over groups of each pair's mid-rank among all pairs of the
        group (scales of different groups do not compare, ranks do); a pair that a group does not
        list has the mid-rank of the unlisted there.

    Raises
    ------
    ValueError
        When a table lacks a column or holds a value of the wrong kind, when the network and the
        gold share no regulator or no target name, when the universe holds no positive, or when no
        edge has a defined score.

    Notes
    -----
    Held-out protocol: hide all edges of some targets from the prior (whole operons or families
    together: mates leak), infer with the rest, and score with `targets` = the hidden ones. The
    universe is then all gold TFs x the hidden targets of the gold, and ``prior alone`` is at
    chance exactly, as no pair of it is listed.

    ``|Pearson|`` takes all gold TFs as regulators, no list of candidates; ``prior alone`` ranks by
    the size of the weight: an evidence score of -3 is stronger than one of 2.

    References
    ----------
    Marbach et al. 2012, Wisdom of crowds for robust gene network inference,
    doi:10.1038/nmeth.2016. Pratapa et al. 2020 (BEELINE; EPR), doi:10.1038/s41592-019-0690-6.

    Examples
    --------
    >>> import pandas as pd
    >>> gold = pd.DataFrame({"tf": ["A", "B"], "target": ["x", "y"]})
    >>> network = pd.DataFrame({"source": ["A", "B"], "target": ["x", "x"], "weight": [-2.0, 1.0]})
    >>> found = evaluate(network, gold).metrics
    >>> found["n_universe"], found["n_positive"], found["auprc"], found["auroc"]
    (4, 2, 0.75, 0.625)
    """
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; at least 1 is needed.")
    notes: list[str] = []
    warnings: list[str] = []
    network, read_notes = read_ranked(edges, group, score)
    table, gold_notes = read_gold(gold)
    _require_shared_names(network, table)
    wanted = None if targets is None else read_targets(targets)
    universe = universe_of(table, wanted, notes)
    q, p = universe.state.shape
    n_positive = int((universe.state == POSITIVE).sum())
    n_universe = int((universe.state != ABSENT).sum())
    kind = "labelled rows of the gold" if "label" in table else "gold TFs x gold targets"
    notes.insert(
        0,
        f"universe: {n_universe:,} pairs of {q:,} TFs and {p:,} targets ({kind}), {n_positive:,} "
        f"positive, prevalence {n_positive / n_universe:.4g}",
    )
    if not (n_universe - n_positive):
        warnings.append("the universe holds no negative pair: every ranking scores the same")
    notes += read_notes + gold_notes

    # The network's pairs in the grid of the universe's names, one per group and pair.
    row, col = universe.locate(network.source, network.target)
    defined = ~np.isnan(network.score)
    if not defined.any():
        raise ValueError("No edge of the network has a defined score; there is nothing to rank.")
    if not defined.all():
        notes.append(
            f"network: {int((~defined).sum()):,} edges have no defined score and count as unlisted"
        )
    grid = (row >= 0) & (col >= 0) & defined
    inside = grid.copy()
    inside[grid] = universe.state[row[grid], col[grid]] != ABSENT
    outside = int(row.size - inside.sum())
    code = network.group[grid].astype(np.int64) * (q * p) + row[grid].astype(np.int64) * p
    code, values = best(code + col[grid], network.score[grid])
    repeated = int(grid.sum()) - code.size
    if repeated:
        notes.append(f"network: {repeated:,} edges repeat a pair; its higher score counts")
    of, cell = np.divmod(code, q * p)
    groups: dict[str, dict[str, float | int | None]] = {}
    if network.groups:
        total = np.zeros(code.size)
        for g, name in enumerate(network.groups):
            rows = of == g
            ranking = rank(cell[rows] // p, cell[rows] % p, values[rows])
            groups[name] = metrics_of(ranking, universe)
            total[rows] = ranks_above_unlisted(values[rows], q * p)
        cell, back = np.unique(cell, return_inverse=True)
        values = np.bincount(back, weights=total, minlength=cell.size)
        notes.append(
            f"groups: {len(network.groups)}; the network's row ranks pairs by the sum of their "
            "ranks within the groups"
        )
    ranking = rank(cell // p, cell % p, values)
    state = universe.state[ranking.row, ranking.col]
    counts = {
        "listed": int(row.size),
        "in_universe": int((state != ABSENT).sum()),
        "outside": outside,
        "found": int((state == POSITIVE).sum()),
    }
    notes.append(
        f"network: {counts['listed']:,} edges, {outside:,} of them outside of the universe; it "
        f"lists {counts['in_universe']:,} of the universe's pairs and {counts['found']:,} of its "
        "positives"
    )
    if not counts["in_universe"]:
        warnings.append("the network lists no pair of the universe: its scores are those of chance")

    baselines: dict[str, dict[str, Any]] = {}
    overlap, others = None, {}
    single: dict[str, Ranking] = {"network": ranking}
    if prior is not None:
        known = edges_of_prior(prior)
        others["prior alone"] = single["prior alone"] = prior_ranking(known, universe)
        baselines["prior alone"], overlap = prior_alone(
            known, others["prior alone"], universe, wanted is not None, notes, warnings
        )
    if expression is not None:
        single["|Pearson|"] = rank(*pearson(expression, universe, notes))
        baselines["|Pearson|"] = metrics_of(single["|Pearson|"], universe)
    baselines["permuted targets"] = permuted(ranking, universe, permutations, seed)
    sign_accuracy, n_signed = _sign_accuracy(network, row, col, grid, universe)
    if n_signed:
        notes.append(f"signs: {sign_accuracy:.3f} of {n_signed:,} found signed positives agree")
    gaps = {}
    if n_universe > n_positive and counts["in_universe"]:
        gaps = differences(ranking, others, universe, seed)
        notes += filter(None, [verdict(gaps)])
    return Evaluation(
        metrics_of(ranking, universe),
        baselines,
        groups,
        sign_accuracy,
        n_signed,
        counts,
        overlap,
        tuple(notes),
        tuple(warnings),
        gaps,
        {name: curve_of(own, universe) for name, own in single.items()},
        {name: _by_regulator(own, universe) for name, own in single.items()},
        {name: early_precision_beeline(own, universe) for name, own in single.items()},
        {name: error_types(own, universe) for name, own in single.items()},
    )


def _by_regulator(ranking: Ranking, universe: Universe) -> pd.Series:
    import pandas as pd

    found = pd.Series(precision_by_regulator(ranking, universe), index=universe.regulators)
    return found.dropna()


def _require_shared_names(network: RankedEdges, gold: pd.DataFrame) -> None:
    """Refuse a network whose regulators or targets have no name in common with the gold's."""
    for what, ours, theirs in (
        ("regulator", network.source, gold["source"].to_numpy()),
        ("target", network.target, gold["target"].to_numpy()),
    ):
        ours, theirs = np.unique(ours.astype(str)), np.unique(theirs.astype(str))
        if np.intersect1d(ours, theirs, assume_unique=True).size:
            continue
        folded = np.intersect1d(np.strings.upper(ours), np.strings.upper(theirs))
        raise ValueError(
            f"The network and the gold standard share no {what} name: the network has "
            f"{listed(ours, 3)}, the gold {listed(theirs, 3)}. "
            + (
                f"They differ in case only for {folded.size} names; write both alike."
                if folded.size
                else "Map both to the same identifiers."
            )
        )


def _sign_accuracy(
    network: RankedEdges, row: np.ndarray, col: np.ndarray, grid: np.ndarray, universe: Universe
) -> tuple[float | None, int]:
    """Share of the found signed positives whose weight (summed over groups) has their sign."""
    # Weights of which none is negative are sizes: they say nothing of the sign.
    if universe.sign is None or network.weight is None or not (network.weight < 0).any():
        return None, 0
    used = grid & np.isfinite(network.weight)
    cell, back = np.unique(
        row[used].astype(np.int64) * universe.targets.size + col[used], return_inverse=True
    )
    weight = np.bincount(back, weights=network.weight[used], minlength=cell.size)
    truth = universe.sign.ravel()[cell].astype(np.float64)
    truth[universe.state.ravel()[cell] != POSITIVE] = 0.0
    signed = (truth != 0) & (weight != 0)
    if not signed.any():
        return None, 0
    return float(np.mean(np.sign(weight[signed]) == truth[signed])), int(signed.sum())
