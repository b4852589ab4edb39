"""What each source of prior edges is worth, on targets that neither fits nor choices saw."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn import progress
from unigrn.api import names_of, read_expression
from unigrn.backend import cores, one_blas_thread
from unigrn.check import check_whole
from unigrn.evaluate import LEAK_ENRICHMENT, LEAK_SHARE
from unigrn.files.document import plain
from unigrn.run.finish import suspicions
from unigrn.worth.activities import activities, turned
from unigrn.worth.choice import OFF, STRENGTHS
from unigrn.worth.folds import Dealt
from unigrn.worth.intervals import Subset, interval, sampled, shapley
from unigrn.worth.judge import WHOLE, Judge
from unigrn.worth.sources import LEAST_TARGETS, Sources

if TYPE_CHECKING:
    import pandas as pd

MOST = 2000  # targets that are looked at
BY = ("expression", "activity")
AGREEMENT = {
    "expression": "from expression, and from expression and the other sources",
    "activity": "from activities (the source's edges to the targets that build them), and from the "
    "other sources' edges too",
}
METRICS = ("auprc", "auprc_ratio", "epr", "auroc")


@dataclass(frozen=True)
class PriorGain:
    """What `prior_gain` found.

    Attributes
    ----------
    sources
        Names of the sources.
    worth : DataFrame
        One row per subset of the sources: ``sources``, ``bits`` per hidden cell and target over the
        same sources with permuted targets, with an interval ``lower``, ``upper``; ``over_none`` and
        ``permuted_over_none``, of the subset and of its permutation over no prior at all; the
        median ``strength`` of each source that was chosen, and ``off``.
    shapley : DataFrame
        One row per source: its Shapley value ``bits``, ``lower``, ``upper``; ``edges``; and what
        expression, and expression with the other sources, say of its hidden edges: ``agreement``
        in bits per edge over chance, with its interval, ``agreement_others``, and ``auprc_ratio``,
        ``auprc_ratio_others``, ``auprc_ratio_permuted``.
    curve : DataFrame
        Of each source alone: ``strength``, ``bits`` over no prior.
    gold : DataFrame or None
        Of each subset: AUPRC, its ratio to chance and AUROC of the judged targets' gold edges.
    notes, warnings
        What is to be known beside the numbers.
    settings
        Seed, folds, numbers of cells, targets and regulators.
    """

    sources: tuple[str, ...]
    worth: pd.DataFrame
    shapley: pd.DataFrame
    curve: pd.DataFrame
    gold: pd.DataFrame | None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def table(self) -> list[str]:
        """Return the report as lines of text."""
        text = {"index": False, "float_format": lambda v: f"{v:.4f}", "na_rep": "-"}
        lines = ["worth of each source (Shapley value, bits per hidden cell and target)"]
        lines += self.shapley.to_string(**text).splitlines()
        lines += ["", "every subset, over the same sources with permuted targets"]
        lines += self.worth.to_string(**text).splitlines()
        if self.gold is not None:
            lines += ["", "gold edges of judged targets"]
            lines += self.gold.to_string(**text).splitlines()
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, for JSON; NaN is None."""
        tables = {"worth": self.worth, "shapley": self.shapley, "curve": self.curve}
        if self.gold is not None:
            tables["gold"] = self.gold
        rows = {n: plain(t.to_dict("records")) for n, t in tables.items()}
        told = {"notes": list(self.notes), "warnings": list(self.warnings)}
        return {"sources": list(self.sources), **rows, **told, "settings": self.settings}


def prior_gain(
    adata: Any,
    priors: Mapping[str, Any],
    *,
    by: str = "expression",
    splits: int = 10,
    gold: Any = None,
    regulators: Iterable[str] | str | os.PathLike | None = None,
    targets: Iterable[str] | str | os.PathLike | None = None,
    groupby: str | None = None,
    layer: str | None = None,
    names: str | None = None,
    raw: bool = False,
    most: int | None = MOST,
    level: float = 0.9,
    seed: int = 0,
) -> PriorGain:
    """Measure what sources of prior edges are worth, alone, together, and each beside the others.

    Each target t is regressed on all regulators, with coefficients that a source's edges widen::

        y_t ~ N(theta_0 + x theta, s_t^2),  theta_j ~ N(0, s_t^2 (off + sum_s c_s P^s_jt))

    A split holds back a fold of the cells, and half of the targets. The other half chooses off and
    the strengths c for every subset of the sources, by the log density of the hidden cells;
    then the half that was held back judges::

        bits(T) = mean over its targets and hidden cells of
                  log2 p(y | x, fit with T) - log2 p(y | x, fit with T of permuted targets)

    The permuted sources keep the number of edges of each regulator, and choose strengths of their
    own. Nothing is chosen on what judges. Shapley values share out bits(all) among the sources.

    Parameters
    ----------
    adata
        As in `unigrn.infer`, values as the regression is to take them: log-normalised, or log
        ratios. Cells are centred within their groups.
    priors
        Sources by name, each as `unigrn.infer` takes a prior. Weights and signs are not read.
    by
        "expression": x is the regulators' own. "activity": x is what other genes say of them. Half
        of the targets build activities Z, of each source its own, from its edges P to them, Y = Z P
        by ridge; the others choose and judge, in turn. All subsets have all activities: they
        differ in the edges to the targets that choose and judge.
    splits
        Even number >= 4: splits / 2 folds of the cells, with each half of the targets in turn.
    gold
        True edges (source, target), as `unigrn.evaluate` takes them: how well each subset's network
        ranks those of judged targets.
    regulators, targets
        Names to keep, or a file of them; by default those that any source names.
    groupby, layer, names, raw
        As in `unigrn.infer`.
    most
        Targets that are looked at, drawn at random where there are more; None: all.
    level
        Of the intervals, over targets and folds of cells.
    seed
        Of folds, halves, permutations, and targets that are drawn.

    Raises
    ------
    ValueError
        Fewer than two sources; two with the same edges; a source without an edge between the given
        regulators and targets; too few cells or targets.

    Notes
    -----
    The worth is that for predicting expression: a source may be right and worth nothing by the
    regulators' own expression, where messenger RNA of factors does not show their activity; then
    look by activity. Up to six sources all subsets are looked at, beyond that those of random
    orders.
    """
    if by not in BY:
        raise ValueError(f"by must be one of {', '.join(BY)}, got {by!r}")
    given = {"regulators": regulators, "targets": targets, "groupby": groupby, "layer": layer}
    given |= {"names": names, "raw": raw, "gold": gold}
    known, judges, odd = judged(adata, priors, by, splits, most, level, seed, **given)
    settings = {"by": by, "seed": seed, "splits": splits, "level": level}
    return _report(known, judges, level, settings, odd)


def judged(
    adata: Any,
    priors: Mapping[str, Any],
    by: str,
    splits: int,
    most: int | None,
    level: float,
    seed: int,
    *,
    regulators: Any,
    targets: Any,
    groupby: str | None,
    layer: str | None,
    names: str | None,
    raw: bool,
    gold: Any = None,
    least: int = 2,
) -> tuple[Sources, list[Judge], list[str]]:
    """Read the sources and the cells, and judge every fold; with what looks odd of the values."""
    check_whole("splits", splits, low=4)
    if splits % 2:
        raise ValueError(f"splits must be even, each fold of cells has two of them; got {splits}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    data = read_expression(adata, layer, groupby, "float32", names, raw, None)
    known = Sources.of(
        data, priors, names_of(regulators, "regulators"), names_of(targets, "targets"), least
    )
    rng = np.random.default_rng(seed)
    if most is not None and len(known.targets) > check_whole("most", most, low=2 * LEAST_TARGETS):
        known = known.some(np.sort(rng.choice(len(known.targets), most, replace=False)))
    known.check(data, splits // 2)
    known = known.judged_by(gold)
    progress.report("moments", 0, splits // 2)
    names_read = known.targets if by == "activity" else np.union1d(known.regulators, known.targets)
    dealt = Dealt.of(data, names_read, splits // 2, seed)
    odd = suspicions("the regression", ("log",), dealt.overall, len(names_read))
    varies = np.isin(known.targets, names_read[dealt.varying()])
    if not varies.all():
        known = known.some(np.flatnonzero(varies))
        known.check(data, splits // 2)
    seeds = np.random.SeedSequence(seed).spawn(splits // 2)
    if by == "expression":
        held = dealt.folds(known.regulators, known.targets)
        judges = [Judge(known, fold, s) for fold, s in zip(held, seeds, strict=True)]
    else:
        builders = np.sort(rng.permutation(len(known.targets))[: len(known.targets) // 2])
        turn, on = activities(known, builders)
        held = dealt.folds(known.targets[builders], on.targets)
        judges = [Judge(on, turned(f, turn), s) for f, s in zip(held, seeds, strict=True)]
    with one_blas_thread(), ThreadPoolExecutor(cores()) as pool:
        for done, _ in enumerate(pool.map(lambda judge: judge.run(), judges)):
            progress.report("folds of cells", done + 1, len(judges))
    return known, judges, odd


# ------------------------------------------------------------------ the report


def _report(
    known: Sources, judges: Sequence[Judge], level: float, settings: dict[str, Any], odd: list[str]
) -> PriorGain:
    import pandas as pd

    looked = judges[0].looked_at() if len(known.names) <= WHOLE else None
    every = looked or sorted(
        set.intersection(*({s for k, s in j.bits if k == "real"} for j in judges)),
        key=lambda s: (len(s), s),
    )

    def of(kind: str, subset: Subset) -> np.ndarray:
        return np.stack([j.bits[kind, subset] for j in judges])

    rows = []
    for subset in every:
        if not subset:
            continue
        real, null = of("real", subset), of("null", subset)
        mean, low, high = interval(real - null, level)
        chosen = [s for j in judges for s in j.settings[subset]]
        row: dict[str, Any] = {
            "sources": " + ".join(known.names[s] for s in subset),
            "bits": mean,
            "lower": low,
            "upper": high,
            "over_none": float(real.mean()),
            "permuted_over_none": float(null.mean()),
            "off": float(np.median([OFF[s[0]] for s in chosen])),
        }
        for s, name in enumerate(known.names):
            used = [STRENGTHS[c[s + 1]] for c in chosen]
            row[f"strength {name}"] = float(np.median(used)) if s in subset else math.nan
        rows.append(row)
    by_judge = []
    for j in judges:
        value = {s: j.bits["real", s] - j.bits["null", s] for s in j.looked_at()}
        by_judge.append(
            shapley(value, j.count)
            if j.count <= WHOLE
            else sampled(value.__getitem__, j.count, j.orders)
        )
    sources = []
    for s, name in enumerate(known.names):
        mean, low, high = interval(np.stack([v[s] for v in by_judge]), level)

        def agreed(what: str, s: int = s) -> np.ndarray:
            return np.array([v for j in judges for v in j.agreement[s, what]])

        from_expression = agreed("expression bits")
        sources.append(
            {
                "source": name,
                "edges": int((known.code >> s & 1).sum()),
                "bits": mean,
                "lower": low,
                "upper": high,
                "agreement": float(from_expression.mean()),
                "agreement_sd": float(from_expression.std(ddof=1)),
                "agreement_others": float(agreed("others bits").mean()),
                "auprc_ratio": float(agreed("expression ratio").mean()),
                "auprc_ratio_others": float(agreed("others ratio").mean()),
                "auprc_ratio_permuted": float(agreed("expression permuted").mean()),
            }
        )
    path = np.stack([j.path for j in judges]).mean(axis=(0, 3))
    curve = [
        {"source": name, "strength": STRENGTHS[i], "bits": float(path[s, i])}
        for s, name in enumerate(known.names)
        for i in range(len(STRENGTHS))
    ]
    gold, told = None, list(odd)
    if known.gold is not None:
        scored = []
        for subset in every:
            own = [m for j in judges for m in j.gold[subset]]
            row = {"sources": " + ".join(known.names[s] for s in subset) or "none"}
            scored.append(row | {n: float(np.mean([m[n] for m in own])) for n in METRICS})
        gold, true = pd.DataFrame(scored), known.gold == 1
        for s, name in enumerate(known.names):
            inside = (known.code >> s & 1).astype(bool)
            share, other = inside[true].mean(), inside[known.gold == 0].mean()
            if share > LEAK_SHARE and share > LEAK_ENRICHMENT * other:
                told.append(
                    f"{name} holds {share:.0%} of the gold's edges and {other:.2%} of its other "
                    "pairs: what is gained with it on this gold measures the source alone"
                )
    settings |= {"targets": len(known.targets), "regulators": len(known.regulators)}
    notes = (
        "bits: mean log2 density of hidden cells of hidden targets, over that of permuted sources",
        "agreement: bits per hidden edge over chance, the regulator's own share of the targets; "
        + AGREEMENT[settings["by"]],
        f"intervals: {level:.0%}, over targets and folds of cells; targets that depend on each "
        "other beyond their cells make them too narrow",
    )
    return PriorGain(
        known.names,
        pd.DataFrame(rows),
        pd.DataFrame(sources),
        pd.DataFrame(curve),
        gold,
        notes,
        tuple(told),
        settings,
    )
