"""Probabilities of edges, learnt on prior edges that were hidden from the fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn import progress
from unigrn.api import infer, names_of, prior_of, read_expression
from unigrn.check import check_whole, listed
from unigrn.data import Data
from unigrn.edges import edge_score
from unigrn.evaluate import ranking_metrics
from unigrn.files.document import plain
from unigrn.methods import bind
from unigrn.network import Network
from unigrn.prior import Prior
from unigrn.spec import Spec
from unigrn.worth.agreement import bits_per_edge, calibrated, ranks
from unigrn.worth.sources import places

if TYPE_CHECKING:
    import os

    import pandas as pd

BINS = 10  # of the reliability table
SHOWN = 10  # edges of the report
LEAST_TARGETS, LEAST_EDGES = 40, 40
LITTLE = 0.01  # bits an edge
LITTLE_SAID = (
    "the method's scores say little of hidden prior edges ({:.3f} bits an edge): probabilities are "
    "hardly more than the regulators' shares of the targets"
)
MEANINGS = {
    "weight": "weight in the fit that did not see the target's prior edges",
    "score": "the probability",
    "probability": "probability of the edge, learnt on hidden prior edges",
    "chance": "the same from the regulator's share of the targets alone",
    "known": "1 where the prior lists the edge",
}
NO_EDGE = (
    "the method gives hidden targets no edge: it scores only pairs that the prior names; take one "
    "that scores the others too, such as full_ridge, linear_gaussian or known_targets"
)


@dataclass(frozen=True)
class Calibrated:
    """Edges with probabilities, and how reliable these are.

    Attributes
    ----------
    edges : DataFrame
        ``source``, ``target``, ``probability``, ``chance`` (the regulator's own share of targets),
        ``score`` of the fit that did not see the target's prior edges, ``known`` (whether the prior
        lists the edge); the most probable first.
    network : Network
        The same, to be written, filtered (``filter(probability=0.5)``) and drawn: ``weight`` is
        that of the fit that did not see the target's prior edges, ``score`` the probability.
    reliability : DataFrame
        Pairs in ten bins of probability: ``pairs``, ``probability`` (mean), ``listed`` (share that
        the prior lists), ``lower``, ``upper`` (90 % Wilson interval of it).
    bits : float
        Gain in log2 probability of hidden prior edges over chance, per edge.
    auprc_ratio : float
        Of hidden prior edges.
    notes, warnings
        What is to be known beside the numbers.
    settings
        Method, folds, seed and share of true edges that the prior is taken to list.
    """

    edges: pd.DataFrame
    network: Network
    reliability: pd.DataFrame
    bits: float
    auprc_ratio: float
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def table(self) -> list[str]:
        """Return the report as lines of text."""
        text: dict[str, Any] = {"index": False, "float_format": lambda v: f"{v:.4g}"}
        best = self.edges.drop(columns="score").head(SHOWN)
        lines = [f"bits per hidden prior edge over chance: {self.bits:.3f}"]
        lines += [f"AUPRC of hidden prior edges over chance: {self.auprc_ratio:.2f}", ""]
        lines += ["pairs by probability", *self.reliability.to_string(**text).splitlines(), ""]
        return [*lines, "most probable", *best.to_string(**text).splitlines()]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, for JSON; without the edges."""
        rows = plain(self.reliability.to_dict("records"))
        told = {"notes": list(self.notes), "warnings": list(self.warnings)}
        found = {"bits": plain(self.bits), "auprc_ratio": plain(self.auprc_ratio)}
        return {**found, "reliability": rows, **told, "settings": self.settings}


def edge_probabilities(
    adata: Any,
    prior: Any,
    method: str | Spec | Callable[..., Spec],
    *,
    folds: int = 5,
    share_listed: float = 1.0,
    regulators: Iterable[str] | str | os.PathLike | None = None,
    targets: Iterable[str] | str | os.PathLike | None = None,
    layer: str | None = None,
    names: str | None = None,
    raw: bool = False,
    seed: int = 0,
    **hyperparameters: Any,
) -> Calibrated:
    """Turn the scores of a method into probabilities that an edge exists.

    Targets are dealt to folds; the method is fitted without the prior edges of a fold's targets,
    and scores all their pairs. With u the place of a score among those of its regulator, between 0
    and 1, and c_j the share of targets that the prior lists for regulator j,

        P(edge j -> t) = sigmoid(logit c_j + log h(u_jt)) / share_listed,

    where the lift h does not fall and is learnt, for each fold, on the other folds' hidden edges. A
    prior lists some of the true edges only: where which it lists does not depend on the score,
    P(listed) = share_listed P(true).

    Parameters
    ----------
    adata, prior, method, layer, names, raw, regulators, targets
        As in `unigrn.infer`; one group of cells. The method must score pairs that the prior does
        not name.
    folds
        Of the targets, 2 or more.
    share_listed
        Share of the true edges that the prior lists: 1 where a probability is that of being listed.
    seed
        Of the folds, and of the method.
    **hyperparameters
        As in `unigrn.infer`.

    Raises
    ------
    ValueError
        Fewer than 40 targets or 40 prior edges between genes of the data; a method that gives
        hidden targets no edge.

    References
    ----------
    Elkan and Noto, KDD (2008) 213, doi:10.1145/1401890.1401920.
    """
    import pandas as pd

    check_whole("folds", folds, low=2)
    if not 0 < share_listed <= 1:
        raise ValueError(f"share_listed must be above 0 and at most 1, got {share_listed}")
    data = read_expression(adata, layer, None, "float32", names, raw, None)
    if data.groups is not None:
        raise ValueError(
            "edge_probabilities takes one group of cells, and the data has "
            f"{len(data.groups)}: {listed(data.groups, 3)}; give the cells of one"
        )
    known = prior_of(prior)
    if known is None:
        raise ValueError(
            "edge_probabilities learns on prior edges, and there are none: give a prior"
        )
    rows = _measured(data, known.regulators, names_of(regulators, "regulators"))
    columns = _measured(data, known.targets, names_of(targets, "targets"))
    label, valid = _table(known, rows, columns)
    if len(columns) < max(LEAST_TARGETS, folds) or label.sum() < LEAST_EDGES:
        raise ValueError(
            f"{len(columns)} targets with {int(label.sum())} prior edges are measured; needed at "
            f"least {LEAST_TARGETS} and {LEAST_EDGES} to hide some of them"
        )
    part = np.random.default_rng(seed).permutation(len(columns)) % folds
    score, weight = np.full(label.shape, np.nan), np.zeros(label.shape)
    fitted: Any = None
    for fold in range(folds):
        progress.report("folds of targets", fold, folds)
        hidden = part == fold
        own = _without(known, columns[hidden])
        wanted = columns[hidden] if _apart(method, own, hyperparameters) else columns
        try:
            fitted = infer(
                data,
                own,
                method,
                regulators=list(rows),
                targets=list(wanted),
                seed=seed,
                **hyperparameters,
            )
        except ValueError as error:
            if "no target has a candidate" not in str(error):
                raise
            raise ValueError(NO_EDGE) from None
        edges = fitted.edges
        score[:, hidden] = _spread(edges, edge_score(edges), rows, columns)[:, hidden]
        weight[:, hidden] = np.nan_to_num(_spread(edges, edges["weight"], rows, columns)[:, hidden])
    if np.isnan(score).all():
        raise ValueError(NO_EDGE)
    last = np.nanmin(score) - 1
    score = np.where(np.isnan(score), last, score)
    rank = ranks(score)
    probability, chance, bits = np.zeros(label.shape), np.zeros(label.shape), []
    for fold in range(folds):
        here, other = part == fold, part != fold
        learnt = calibrated(rank[:, other], label[:, other], valid[:, other])
        probability[:, here] = learnt.probability(rank[:, here])
        chance[:, here] = learnt.chance[:, None]
        bits.append(bits_per_edge(learnt, rank[:, here], label[:, here], valid[:, here]))
    found = ranking_metrics(label[valid], probability[valid])
    reliability = _reliability(probability[valid], label[valid])
    i, j = np.nonzero(valid)
    edges = pd.DataFrame(
        {
            "source": rows[i],
            "target": columns[j],
            "probability": np.minimum(probability[i, j] / share_listed, 1.0),
            "chance": np.minimum(chance[i, j] / share_listed, 1.0),
            "score": np.where(score[i, j] > last, score[i, j], np.nan),
            "known": label[i, j],
            "weight": weight[i, j],
        }
    ).sort_values(["probability", "score"], ascending=False, kind="stable", ignore_index=True)
    what = "being listed by the prior" if share_listed == 1 else "existing"
    notes = (
        f"probability: of {what}, learnt on prior edges that the fit did not see",
        "chance: the same from the regulator's share of the targets alone",
    )
    settings = {"folds": folds, "share_listed": share_listed, "seed": seed}
    gain, ratio = float(np.mean(bits)), float(found["auprc_ratio"] or 0)
    odd = () if gain > LITTLE else (LITTLE_SAID.format(gain),)
    told = {"bits": gain, "auprc_ratio": ratio, "reliability": reliability.to_dict("records")}
    network = Network(
        edges[["source", "target", "weight"]].assign(
            score=edges["probability"],
            **{name: edges[name] for name in ("probability", "chance")},
            known=edges["known"].astype(np.int8),
        ),
        rows,
        columns,
        provenance={
            **{name: value for name, value in fitted.provenance.items() if name != "solver"},
            "calibrated": plain({**settings, **told}),
            "warnings": list(odd),
        },
        columns=MEANINGS,
    )
    return Calibrated(
        edges.drop(columns="weight"), network, reliability, gain, ratio, notes, odd, settings
    )


def _measured(data: Data, known: np.ndarray, given: list[str] | None) -> np.ndarray:
    """Return the names that are genes of the data, sorted."""
    wanted = known if given is None else np.array(given, dtype=str)
    return np.intersect1d(wanted.astype(str), data.genes)


def _table(prior: Prior, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which pairs the prior lists, and which are of two genes."""
    edges = prior.union()
    i = places(prior.regulators[edges.source].astype(str), rows)
    j = places(prior.targets[edges.target].astype(str), columns)
    label = np.zeros((len(rows), len(columns)), bool)
    here = (i >= 0) & (j >= 0)
    label[i[here], j[here]] = True
    valid = rows[:, None] != columns[None, :]
    return label & valid, valid


def _without(prior: Prior, targets: np.ndarray) -> Prior:
    """Leave out all edges to some targets."""
    gone = np.isin(prior.targets.astype(str), targets)

    def cut(layer):
        kept = ~gone[layer.target]
        return replace(layer, **{n: v[kept] for n, v in vars(layer).items()})

    return replace(prior, layers={name: cut(layer) for name, layer in prior.layers.items()})


def _apart(method: Any, prior: Prior, hyper: dict[str, Any]) -> bool:
    """Whether targets can be fitted without the others."""
    build, _, _ = bind(method, hyper)
    spec = method if build is None else build(prior)
    return bool(spec.separable and not spec.stages)


def _spread(edges: pd.DataFrame, values: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return numbers of all pairs, NaN where a network does not list them."""
    i = places(edges["source"].to_numpy(str), rows)
    j = places(edges["target"].to_numpy(str), columns)
    out = np.full((len(rows), len(columns)), np.nan)
    here = (i >= 0) & (j >= 0)
    out[i[here], j[here]] = np.asarray(values, float)[here]
    return out


def _reliability(probability: np.ndarray, label: np.ndarray) -> pd.DataFrame:
    """Return pairs by their probability, in bins of as many expected edges each."""
    import pandas as pd

    order = np.argsort(probability, kind="stable")
    due = np.cumsum(probability[order])
    at = np.minimum((due / due[-1] * BINS).astype(int), BINS - 1)
    number = np.bincount(at, minlength=BINS).astype(float)
    kept = number > 0
    number = number[kept]
    seen = np.bincount(at, label[order], BINS)[kept] / number
    z = 1.6448536  # 90 %
    middle = (seen + z**2 / (2 * number)) / (1 + z**2 / number)
    wide = z * np.sqrt(seen * (1 - seen) / number + z**2 / (4 * number**2)) / (1 + z**2 / number)
    return pd.DataFrame(
        {
            "pairs": number.astype(int),
            "probability": np.bincount(at, probability[order], BINS)[kept] / number,
            "listed": seen,
            "lower": middle - wide,
            "upper": middle + wide,
        }
    )
