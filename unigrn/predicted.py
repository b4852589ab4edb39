"""What draws of a guide predict of the data, beside what was observed; and how good the guide is.

Sources: Meng, Ann. Statist. 22 (1994) 1142, doi:10.1214/aos/1176325622 (posterior predictive p);
Vehtari, Simpson, Gelman, Yao and Gabry, J. Mach. Learn. Res. 25 (2024) 72, arXiv:1507.02646 (k);
Zhang and Stephens, Technometrics 51 (2009) 316, doi:10.1198/tech.2009.08017 (its fit); Yao,
Vehtari, Simpson and Gelman, ICML (2018), arXiv:1802.02538 (k of a guide).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

STATISTICS = ("mean", "variance", "zeros")
TAIL = 0.025  # outside an interval, on either side
FEWEST = 5  # ratios that make a tail


def compared(observed: np.ndarray, drawn: np.ndarray) -> dict[str, np.ndarray]:
    """Compare one statistic with its draws, (draws, ...); undefined where it is.

    ``predicted`` is their mean, ``lower`` and ``upper`` their quantiles 0.025 and 0.975, ``p`` the
    mid-p value P(drawn > observed) + P(drawn = observed) / 2.
    """
    lower, upper = np.quantile(drawn, [TAIL, 1 - TAIL], axis=0)
    above = np.mean(drawn > observed, axis=0) + 0.5 * np.mean(drawn == observed, axis=0)
    p = np.where(np.isfinite(observed) & np.isfinite(drawn).all(axis=0), above, np.nan)
    return {"predicted": drawn.mean(axis=0), "lower": lower, "upper": upper, "p": p}


def pareto_k(log_ratios: Any) -> float:
    """Return the shape k of the tail of importance ratios, from their logarithms.

    The ceil(min(S / 5, 3 sqrt S)) largest of S ratios, less the next largest, are fitted by a
    generalised Pareto distribution, (1 + k x / s)^(-1 - 1/k) / s, as Zhang and Stephens do, and k
    is drawn a little to 1/2, as by ten more ratios. Moments of ratios below 1 / k exist.

    Parameters
    ----------
    log_ratios
        log p - log q of S draws of q, up to a constant.

    Returns
    -------
    float
        0 where all ratios are alike but for rounding; infinite where fewer than five of the tail
        are above 0 beside the largest; not a number where one is none.

    Raises
    ------
    ValueError
        Less than 25 draws.

    Examples
    --------
    >>> import numpy as np
    >>> u = (np.arange(4000) + 0.5) / 4000
    >>> round(pareto_k(-0.5 * np.log(u)), 1)  # ratios u^-k
    0.5
    """
    logs = np.sort(np.asarray(log_ratios, np.float64).ravel())
    if logs.size < 5 * FEWEST:
        raise ValueError(f"k is fitted to the tail of 25 draws or more, got {logs.size}")
    if np.isnan(logs).any() or logs[-1] == np.inf:
        return np.nan
    if logs[-1] - logs[0] <= 1e-12 * (logs.size + np.abs(logs[-1])):
        return 0.0
    count = int(np.ceil(min(logs.size / 5, 3 * np.sqrt(logs.size))))
    ratios = np.exp(logs - logs[-1])
    tail = ratios[-count:] - ratios[-count - 1]
    tail = tail[tail > 0]
    if tail.size < FEWEST:
        return np.inf
    return (tail.size * _shape(tail) + 5) / (tail.size + 10)


def _shape(tail: np.ndarray) -> float:
    """Return k of exceedances in ascending order: a mean over a grid of k / s, by likelihood."""
    size, grid = tail.size, 30 + int(np.sqrt(tail.size))
    quartile = tail[int(size / 4 + 0.5) - 1]
    at = 1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))
    at = 1 / tail[-1] + at / (3 * quartile)  # -k / s
    shape = np.mean(np.log1p(-at[:, None] * tail), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = size * (np.log(-at / shape) - shape - 1)
    log = np.where(np.isnan(log), -np.inf, log)
    weight = np.exp(log - log.max())
    return float(np.mean(np.log1p(-(weight @ at / weight.sum()) * tail)))


def limit_of_k(draws: int) -> float:
    """Return k up to which so many draws suffice: min(1 - 1 / log10 S, 0.7)."""
    return min(1 - 1 / np.log10(draws), 0.7)


@dataclass(frozen=True, eq=False, repr=False)
class PredictiveCheck:
    """What draws of a guide predict of every target, beside what was observed.

    Attributes
    ----------
    table : DataFrame
        One row per [group,] [site,] target. For each of ``mean``, ``variance`` (over cells, by
        their weights) and ``zeros`` (share of the cells): the observed value under that name,
        ``*_predicted`` the mean over draws, ``*_lower`` and ``*_upper`` their quantiles 0.025 and
        0.975, and ``*_p`` the mid-p value P(drawn > observed) + P(drawn = observed) / 2, near 0
        where the data have more of it than the process makes, near 1 where less. Values are as the
        process sees them, scaled where the spec says so. Undefined where nothing was observed, and
        zeros where values are centred.
    guide : DataFrame
        One row per group: ``latents`` (numbers that the guide is over), ``pareto_k`` of all of
        them together, ``limit`` up to which k is good with so many draws.
    draws : int
        Draws of the guide.
    notes : tuple of str
        What there is to say of it.
    """

    table: pd.DataFrame
    guide: pd.DataFrame
    draws: int
    notes: tuple[str, ...] = ()

    def outside(self, statistic: str) -> np.ndarray:
        """Where the observed value is outside its interval, one row each of the table.

        Raises
        ------
        ValueError
            Another statistic than mean, variance and zeros.
        """
        if statistic not in STATISTICS:
            raise ValueError(f"statistic is one of {', '.join(STATISTICS)}, got {statistic!r}")
        value, lower, upper = (
            self.table[name].to_numpy(float)
            for name in (statistic, f"{statistic}_lower", f"{statistic}_upper")
        )
        return (value < lower) | (value > upper)

    def subset(self, group: str) -> PredictiveCheck:
        """Return the check of one group.

        Raises
        ------
        ValueError
            No such group.
        """
        known = [] if "group" not in self.guide else self.guide["group"].tolist()
        if group not in known:
            raise ValueError(f"no group {group!r}; there are {', '.join(known) or 'none'}")
        table, guide = (of[(of["group"] == group).to_numpy()] for of in (self.table, self.guide))
        return dataclasses.replace(self, table=table, guide=guide)

    def summary(self) -> dict[str, Any]:
        """Count the targets outside, by statistic; and give k, as plain values.

        Returns
        -------
        dict
            ``draws``, ``targets``, ``outside`` (statistic -> number of rows), ``pareto_k`` (of
            each group).
        """
        return {
            "draws": self.draws,
            "targets": int(self.table["mean"].notna().sum()),
            "outside": {name: int(self.outside(name).sum()) for name in STATISTICS},
            "pareto_k": self.guide["pareto_k"].tolist(),
        }

    def lines(self) -> list[str]:
        """Give a few lines for a reader."""
        found = self.summary()
        each = ", ".join(f"{name} {n:,}" for name, n in found["outside"].items())
        groups = "" if len(self.guide) == 1 else f" in {len(self.guide):,} groups"
        lines = [
            f"predictive check: outside the 95 % interval of {self.draws:,} replicates, of "
            f"{found['targets']:,} targets{groups}: {each}"
        ]
        zeros = self.table[["zeros", "zeros_upper"]].to_numpy(float)
        if (zeros[:, 0] > 0).any() and not (zeros[:, 1] > 0).any():
            most = 100 * np.nanmax(zeros[:, 0])
            lines.append(
                f"zeros: up to {most:.0f} % of the cells have none of a target, and no draw has a "
                "zero: the process has none to offer"
            )
        return [*lines, self.quality(), *self.notes]

    def quality(self) -> str:
        """Say in one sentence how good the guide is."""
        k, limit = (self.guide[name].to_numpy(float) for name in ("pareto_k", "limit"))
        known, bad = k[np.isfinite(k) | np.isinf(k)], (k > limit).sum()
        if not known.size:
            return "Pareto k of the guide: undefined"
        ends = dict.fromkeys(f"{v:.2f}" for v in (known.min(), known.max()))
        text = f"Pareto k of the guide: {' to '.join(ends)}"
        if not bad:
            return f"{text}, at most {limit[0]:.2f}: close to the posterior"
        where = "" if k.size == 1 else f" in {bad:,} of {k.size:,} groups"
        most = int(self.guide["latents"].max())
        return (
            f"{text}, above {limit[0]:.2f}{where}: the guide of {most:,} latents is no stand-in "
            "for the posterior; do not trust its spreads (variance, sign_probability, lower, upper)"
        )

    def __str__(self) -> str:
        """Give the lines."""
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        """Give the sizes."""
        return f"PredictiveCheck({len(self.table):,} targets, {self.draws:,} draws)"
