"""What a benchmark found: one row per set, network and split, their means, and paired tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.files.document import plain
from unigrn.protocols.declared import METRICS, Protocol

if TYPE_CHECKING:
    import pandas as pd

BASELINES = ("prior alone", "regulator degree", "|Pearson|")
FEWEST = 6  # regulators of a paired test: fewer cannot reach 5 %
SHORT = {
    "auprc_ratio": "ratio",
    "epr_beeline": "epr beeline",
    "macro_auroc": "macro",
    "cpu_seconds": "CPU s",
    "seconds": "s",
    "mib": "MiB",
}
COSTS = ("seconds", "cpu_seconds", "mib")
PERMUTED = ", permuted prior"  # what follows the name of a method that was given one


@dataclass(frozen=True)
class Benchmarked:
    """What `benchmark` found.

    Attributes
    ----------
    protocol
        What was run.
    results : DataFrame
        One row per ``set``, ``split`` and ``network``: the metrics, ``permuted`` (the network on
        permuted target names, auprc over chance), ``converged`` (share of the fits), ``seconds``,
        ``cpu_seconds`` and ``mib`` of its process, and ``problem`` where there is none.
    means : DataFrame
        One row per set and network: means over its splits, ``sd`` that of ``auprc_ratio``,
        ``splits`` their number.
    tests : DataFrame
        Average precision regulator by regulator, each its mean over the splits: ``network`` beside
        ``other`` (a baseline, or the set's best network), regulators where it is ``better``,
        ``worse``; ``median`` of the differences; ``p`` of Wilcoxon's signed-rank test, and
        ``p_holm``, Holm's, over the tests of a set.
    settings
        Seed, methods and sets.
    notes, warnings
        What is to be known beside the numbers.
    """

    protocol: Protocol
    results: pd.DataFrame
    means: pd.DataFrame
    tests: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def table(self) -> list[str]:
        """Return the report as lines of text: a table for each set, then the tests."""
        head = f"{self.protocol.name}: {self.protocol.about}".rstrip(": ")
        lines = [head] if not self.protocol.reference else [head, self.protocol.reference]
        columns = [*self.protocol.metrics, "permuted", *COSTS]
        means, results = _untyped(self.means), _untyped(self.results)
        swept = means["sweep"].notna()
        for what, own in self.curves("auprc_ratio").items():
            text = own.to_string(float_format=_number, na_rep="-", index_names=False)
            lines += ["", f"auprc over chance by {what}"]
            lines += [f"  {line}".rstrip() for line in text.splitlines()]
        for name, own in means[~swept].groupby("set", sort=False):
            several = int(own["splits"].max())
            lines += ["", f"{name}" + (f" ({several} splits)" if several > 1 else "")]
            shown = own.set_index("network")[[c for c in columns if own[c].notna().any()]]
            text = shown.rename(columns=SHORT).to_string(
                float_format=_number, na_rep="-", index_names=False
            )
            lines += [f"  {line}".rstrip() for line in text.splitlines()]
        if len(self.tests) and not swept.any():
            lines += ["", "average precision regulator by regulator, Wilcoxon's signed-rank test: "
                      "beside the best network and the best baseline"]  # fmt: skip
            text = self._told().to_string(index=False, float_format=lambda v: f"{v:.3g}")
            lines += [f"  {line}".rstrip() for line in text.splitlines()]
        failed = results[results["problem"] != ""]
        if len(failed):
            lines += ["", "without a network"]
            for row in failed.drop_duplicates(["set", "network", "problem"]).itertuples():
                lines.append(f"  {row.set}, {row.network}: {row.problem}")
        return lines

    def _told(self) -> pd.DataFrame:
        """Return the tests beside the best network of each set and its best baseline."""
        means, tests = _untyped(self.means), _untyped(self.tests)
        best = means[means["network"].isin(BASELINES)].groupby("set", sort=False).first()["network"]
        base = tests["set"].map(best)
        return tests[(tests["other"] == base) | ~tests["other"].isin(BASELINES)]

    def rows(self) -> pd.DataFrame:
        """Return ``results`` as a plain table: of a sweep its name and value."""
        sweep = _untyped(self.results)["sweep"]
        out: Any = self.results.drop(columns="sweep")
        if sweep.notna().any():
            out.insert(1, "sweep", [s[0] if s else "" for s in sweep])
            out.insert(2, "value", [s[1] if s else math.nan for s in sweep])
        return out

    def document(self) -> dict[str, Any]:
        """Return what a file says beside the rows."""
        from unigrn import __version__

        told = {"notes": list(self.notes), "warnings": list(self.warnings)}
        return {"protocol": self.protocol.name, "unigrn": __version__, **self.settings, **told}

    def curves(self, metric: str) -> dict[str, pd.DataFrame]:
        """Return, for every sweep, a metric of each network (rows) at each value (columns)."""
        means = _untyped(self.means)
        own = means[means["sweep"].notna()]
        whole = own.assign(what=[s[0] for s in own["sweep"]], value=[s[1] for s in own["sweep"]])
        out = {}
        for what, part in whole.groupby("what", sort=False):
            table = part.pivot_table(metric, "network", "value", sort=False)
            out[str(what)] = table.sort_index(axis=1).rename_axis(columns=None)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, for JSON; NaN is None."""
        tables = {"results": self.results, "means": self.means, "tests": self.tests}
        rows = {n: plain(t.to_dict("records")) for n, t in tables.items()}
        told = {"notes": list(self.notes), "warnings": list(self.warnings)}
        return {"protocol": self.protocol.name, **rows, **told, "settings": self.settings}


def assembled(
    protocol: Protocol, rows: Sequence[dict[str, Any]], settings: dict[str, Any]
) -> Benchmarked:
    """Make the report of all rows."""
    import pandas as pd

    by_regulator = [
        (row["set"], row["network"], row.pop("by_regulator"))
        for row in rows
        if "by_regulator" in row
    ]
    results: Any = pd.DataFrame(rows)
    numbers = [*METRICS, "n_universe", "n_positive", "permuted", "listed", "converged", *COSTS]
    results = results.reindex(columns=[*results.columns, *(n for n in numbers if n not in results)])
    results[numbers] = results[numbers].astype(float)
    means = _means(results, numbers)
    return Benchmarked(
        protocol,
        results,
        means,
        _tests(means, by_regulator),
        settings,
        _notes(protocol, means),
        _warnings(results, means),
    )


def _means(results: Any, numbers: list[str]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for (name, network), own in results.groupby(["set", "network"], sort=False):
        good = own[own["problem"] == ""]
        row = {"set": name, "sweep": own["sweep"].iloc[0], "network": network}
        row |= {"splits": len(good)} | good[numbers].mean().to_dict()
        rows.append(row | {"sd": good["auprc_ratio"].std(ddof=1) if len(good) > 1 else math.nan})
    table: Any = pd.DataFrame(rows)
    table = table[table["splits"] > 0]
    # The best first, set by set; then those of a permuted prior, then baselines.
    base = 2 * table["network"].isin(BASELINES) + table["network"].str.endswith(PERMUTED)
    order: Any = pd.DataFrame(
        {"set": pd.factorize(table["set"])[0], "base": base, "ratio": -table["auprc_ratio"]}
    )
    return table.loc[order.sort_values(["set", "base", "ratio"]).index].reset_index(drop=True)


def _tests(means: Any, by_regulator: list[tuple[str, str, Any]]) -> pd.DataFrame:
    """Compare every network with the baselines and the best, over regulators."""
    import pandas as pd
    from scipy.stats import wilcoxon

    columns = ["set", "network", "other", "regulators", "better", "worse", "median", "p", "p_holm"]
    rows = []
    for name, own in means.groupby("set", sort=False):
        precision: dict[str, Any] = {}
        for network in own["network"]:
            parts = [s for n, k, s in by_regulator if (n, k) == (name, network)]
            precision[network] = pd.concat(parts, axis=1).mean(axis=1)
        usual = [n for n in own["network"] if n not in BASELINES and not n.endswith(PERMUTED)]
        found = []
        for network in usual:
            others = [b for b in (*usual[:1], *BASELINES) if b in precision and b != network]
            for other in others:
                apart = (precision[network] - precision[other]).dropna().to_numpy()
                if len(apart) < FEWEST:
                    continue
                test: Any = wilcoxon(apart) if np.any(apart) else None
                p = 1.0 if test is None else float(test.pvalue)
                counts = len(apart), int((apart > 0).sum()), int((apart < 0).sum())
                found.append([name, network, other, *counts, float(np.median(apart)), p])
        rows += [[*row, p] for row, p in zip(found, holm([r[-1] for r in found]), strict=True)]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def holm(p: Sequence[float]) -> np.ndarray:
    """Return Holm's adjusted p: Scand. J. Stat. 6 (1979) 65."""
    own = np.asarray(p, float)
    order = np.argsort(own, kind="stable")
    steps = own[order] * np.arange(own.size, 0, -1)
    out = np.empty(own.size)
    out[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return out


def _notes(protocol: Protocol, means: Any) -> tuple[str, ...]:
    notes = ["permuted: auprc over chance of the network on permuted target names, mean of 20"]
    if "regulator degree" in set(means["network"]):
        notes.append("regulator degree: pairs by the number of prior edges of their regulator")
    if means["seconds"].notna().any():
        notes.append("s, CPU s, MiB: of the whole process, from files to a file, compilation and "
                     "start included")  # fmt: skip
    if "epr_beeline" in protocol.metrics:
        notes.append("epr beeline: all pairs that tie with the kth listed one are taken; epr: in "
                     "expectation over ties")  # fmt: skip
    if set(protocol.metrics) & {"r_precision", "r_recall"}:
        notes.append(
            "r_precision, r_recall: as many regulators of a gene as the first and third quartile "
            "of the networks of the set have; the fits saw the same cells"
        )
    return tuple(notes)


def _warnings(results: Any, means: Any) -> tuple[str, ...]:
    """Say what did not converge, what beats no baseline, and where the prior is worth nothing."""
    out = []
    for row in means.itertuples():
        if row.converged < 1:
            out.append(f"{row.set}, {row.network}: {row.converged:.1%} of the fits converged")
    for (name, split), own in results.groupby(["set", "split"], sort=False):
        ratio = own.set_index("network")["auprc_ratio"]
        out += [
            f"{name}, {split}: {network} does as well with the targets of its prior permuted "
            f"(auprc over chance {ratio[network]:.2f}, {ratio[network + PERMUTED]:.2f})"
            for network in ratio.index
            if ratio[network] <= ratio.get(network + PERMUTED, math.inf) < math.inf
        ]
    for name, own in means.groupby("set", sort=False):
        known = own.set_index("network")["auprc_ratio"]
        best = known[[n for n in known.index if n not in BASELINES and not n.endswith(PERMUTED)]]
        base = known.reindex(BASELINES).dropna()
        if len(best) and len(base) and best.max() <= base.max():
            out.append(
                f"{name}: no network beats {base.idxmax()} (auprc over chance {best.max():.2f}, "
                f"{base.max():.2f})"
            )
    return tuple(out)


def _untyped(table: pd.DataFrame) -> Any:
    """Return a table as it is: what is taken from one is a table or a column, says pandas."""
    return table


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
