"""How strongly to believe one prior: chosen on some targets, judged on others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.files.document import plain
from unigrn.worth.choice import OFF, STRENGTHS, Choice
from unigrn.worth.gain import MOST, judged
from unigrn.worth.intervals import interval

if TYPE_CHECKING:
    import pandas as pd

MASK = 1e-9  # variance off the prior that stands for none at all


@dataclass(frozen=True)
class PriorStrength:
    """What `prior_strength` found.

    Attributes
    ----------
    on, off
        Prior variance of the coefficients of edges that the prior names, and of all others, in
        units of the target's variance, genes at variance 1: what `unigrn.methods.generative` takes
        as ``linear_gaussian(on=, off=)``.
    judged : DataFrame
        One row per way of believing: ``chosen`` (by targets that do not judge), ``no prior``,
        ``hard mask`` (its variance chosen likewise), ``permuted prior`` (chosen likewise), and of
        single strengths the ``best fixed`` and the ``worst fixed``, found on what judges: ``bits``
        per hidden cell and target over no prior, with an interval ``lower``, ``upper``.
    curve : DataFrame
        ``strength`` (on - off, off that of no prior) and ``bits`` over no prior, ``lower``,
        ``upper``; 0 is no prior.
    notes, warnings
        What is to be known beside the numbers.
    settings
        Seed, splits, numbers of targets and regulators.
    """

    on: float
    off: float
    judged: pd.DataFrame
    curve: pd.DataFrame
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, float]:
        """Hyperparameters of linear_gaussian."""
        return {"on": self.on, "off": self.off}

    def table(self) -> list[str]:
        """Return the report as lines of text."""
        text: dict[str, Any] = {"index": False, "float_format": _number}
        lines = ["bits per hidden cell and target over no prior"]
        lines += self.judged.to_string(**text).splitlines()
        lines += ["", "by strength", *self.curve.to_string(**text).splitlines()]
        given = " ".join(f"--param {k}={v:.6g}" for k, v in self.parameters.items())
        return [*lines, "", f"unigrn infer ... --method linear_gaussian {given}"]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, for JSON; NaN is None."""
        tables = {"judged": self.judged, "curve": self.curve}
        rows = {n: plain(t.to_dict("records")) for n, t in tables.items()}
        told = {"notes": list(self.notes), "warnings": list(self.warnings)}
        return {**self.parameters, **rows, **told, "settings": self.settings}


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}"


class _Pooled:
    """Bits at any setting, the mean over the folds of cells."""

    def __init__(self, judges: list[Any]):
        self.tables, self.sources = [judge.table for judge in judges], 1

    def at(self, setting: Any) -> np.ndarray:
        return np.mean([table.at(setting) for table in self.tables], axis=0)


def prior_strength(
    adata: Any,
    prior: Any,
    *,
    splits: int = 10,
    regulators: Iterable[str] | str | os.PathLike | None = None,
    targets: Iterable[str] | str | os.PathLike | None = None,
    groupby: str | None = None,
    layer: str | None = None,
    names: str | None = None,
    raw: bool = False,
    most: int | None = MOST,
    level: float = 0.9,
    seed: int = 0,
) -> PriorStrength:
    """Choose how strongly a prior is believed, between none of it and a hard mask.

    The regression is that of `prior_gain`, with variances off of all coefficients and off + c of
    those that the prior names. The variances returned are those that hidden cells of all targets
    prefer (c = 0 unless the gain exceeds its standard error). What that is worth is judged apart:
    in every split half of the targets choose off and c, and hidden cells of the other half judge::

        bits = mean of log2 p(y | x, chosen) - log2 p(y | x, no prior)

    Parameters
    ----------
    adata, regulators, targets, groupby, layer, names, raw
        As in `prior_gain`.
    prior
        As in `unigrn.infer`; weights and signs are not read.
    splits, most, level, seed
        As in `prior_gain`.

    Returns
    -------
    PriorStrength
        ``unigrn.infer(adata, prior, "linear_gaussian", **found.parameters)`` fits with it.

    Raises
    ------
    ValueError
        As `prior_gain`, but for the number of sources.
    """
    given = {"regulators": regulators, "targets": targets, "groupby": groupby, "layer": layer}
    given |= {"names": names, "raw": raw}
    known, judges, odd = judged(
        adata, {"prior": prior}, "expression", splits, most, level, seed, least=1, **given
    )
    pooled: Any = _Pooled(judges)
    place, strength = Choice(pooled, np.arange(len(known.targets))).setting((0,))
    settings = {"splits": splits, "seed": seed, "level": level}
    settings |= {"targets": len(known.targets), "regulators": len(known.regulators)}
    notes = (
        "chosen, hard mask, permuted prior: by targets that do not judge; best and worst fixed: "
        "one strength for all, by the targets that judge",
        f"intervals: {level:.0%}, over targets and folds of cells",
    )
    found = _rows(judges, level)
    return PriorStrength(
        float(OFF[place] + STRENGTHS[strength]),
        float(OFF[place]),
        *found,
        notes,
        tuple(odd),
        settings,
    )


def _rows(judges: list[Any], level: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    columns = ["bits", "lower", "upper"]
    path = np.stack([judge.path[0] for judge in judges])  # (folds, strengths, targets)
    curve = pd.DataFrame(
        [[s, *interval(path[:, i], level)] for i, s in enumerate(STRENGTHS)],
        columns=pd.Index(["strength", *columns]),
    )
    means = path.mean(axis=(0, 2))
    none = np.zeros_like(path[:, 0])
    ways = {
        "chosen": np.stack([judge.bits["real", (0,)] for judge in judges]),
        "no prior": none,
        "hard mask": np.stack([_masked(judge) for judge in judges]),
        "permuted prior": np.stack([judge.bits["null", (0,)] for judge in judges]),
        "best fixed": path[:, int(np.argmax(means))],
        "worst fixed": path[:, int(np.argmin(means))],
    }
    table = pd.DataFrame(
        [[name, *interval(bits, level)] for name, bits in ways.items()],
        columns=pd.Index(["belief", *columns]),
    )
    return table, curve


def _masked(judge: Any) -> np.ndarray:
    """Return bits over no prior where other pairs have no coefficient, by half of the targets."""
    table, out = judge.table, np.zeros(len(judge.known.targets))
    prices = [np.array([0.0, c]) for c in STRENGTHS[1:]]
    bits = np.stack([table.regression.with_edges(MASK, table.edges, price) for price in prices])
    for choosing, judging in (judge.halves, judge.halves[::-1]):
        none = table.at(Choice(table, choosing).setting(()))
        best = int(np.argmax(bits[:, choosing].mean(axis=1)))
        out[judging] = (bits[best] - none)[judging]
    return out
