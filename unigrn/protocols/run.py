"""Run methods and baselines over the sets of a protocol, and score them alike."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unigrn import progress
from unigrn.check import called, meant
from unigrn.evaluate import REGRESSION, Evaluation, evaluate, regression_metrics
from unigrn.methods import OPTIONS, get
from unigrn.network import Network
from unigrn.protocols.declared import Case, Protocol, read_protocol
from unigrn.protocols.peers import PEERS, missing
from unigrn.protocols.process import Usage, measured
from unigrn.protocols.report import PERMUTED, Benchmarked, assembled
from unigrn.protocols.splits import Split, correlations, degrees, others, splits

if TYPE_CHECKING:
    import pandas as pd

PERMUTATIONS = 20
WHOLE = "all"  # network of the row of a set that could not be read


def benchmark(
    protocol: str | os.PathLike | Protocol,
    methods: Sequence[str] | None = None,
    *,
    data: str | os.PathLike | None = None,
    sets: Sequence[str] | None = None,
    null: bool = True,
    limit: float | None = None,
    threads: int | None = None,
    seed: int = 0,
) -> Benchmarked:
    """Run methods over the sets of a protocol, beside what they have to beat.

    Every fit is ``unigrn infer`` in a fresh process, from files to a file, so that its seconds
    (start and compilation included) and its memory are its own; a fit that fails, or a set that
    cannot be read, is a row that says why. All networks, baselines among them, are scored by
    `unigrn.evaluate` on one universe, and by `unigrn.evaluate.regression_metrics` where the
    protocol asks for it. The baselines: the prior alone, |Pearson|, the number of prior edges of a
    pair's regulator, each network on permuted target names (``permuted``), and, with ``null``, each
    method fitted to the prior with permuted targets in the first split, where that makes a
    difference.

    Parameters
    ----------
    protocol
        Name of a protocol of unigrn (`unigrn.protocols.protocols`), the path of a TOML file, or a
        `Protocol`.
    methods
        Names of methods, each with parameters if need be, as "celloracle bags=5"; functions as
        "file.py:function"; the peers "grnboost2" and "genie3" where their packages are installed.
        By default those of the protocol.
    data
        Folder of the protocol's files; by default that of the protocol's own file, or the present.
    sets
        Names of the sets that are run; by default all.
    null
        Whether methods are fitted to a permuted prior too.
    limit
        Seconds that a fit may take, at most; by default no limit.
    threads
        Cores of a fit; by default those allowed.
    seed
        Of the fits and of permutations, beside the seeds of splits.

    Returns
    -------
    Benchmarked
        One row per set, network and split; means; tests regulator by regulator.

    Raises
    ------
    ValueError
        No such protocol, set or method; no set can be read; nothing to run.
    """
    own = protocol if isinstance(protocol, Protocol) else read_protocol(os.fspath(protocol))
    folder = _folder(protocol, data)
    names = list(own.methods if methods is None else methods)
    calls = {name: _call(name) for name in names}
    known = [case.name for case in own.cases]
    wrong = [name for name in sets or () if name not in known]
    if wrong:
        raise ValueError(f"no set {wrong[0]!r} in {own.name}; its sets are {', '.join(known)}")
    cases = [case for case in own.cases if sets is None or case.name in sets]
    if not names and not any(case.scores for case in cases):
        raise ValueError(f"protocol {own.name!r} names no method; give at least one")
    rows: list[dict[str, Any]] = []
    for at, case in enumerate(cases):
        progress.report("sets", at, len(cases))
        try:
            rows += _case(own, case, calls, folder, null, limit, threads, seed)
        except ValueError as error:
            if len(cases) == 1:
                raise
            blank = {"set": case.name, "sweep": case.sweep, "split": "", "network": WHOLE}
            rows.append(blank | {"problem": str(error)})
    if all(row["network"] == WHOLE for row in rows):
        raise ValueError(f"no set of {own.name} can be read; {rows[0]['problem']}")
    progress.report("sets", len(cases), len(cases))
    return assembled(own, rows, {"seed": seed, "methods": names, "sets": [c.name for c in cases]})


def _case(
    protocol: Protocol,
    case: Case,
    calls: Mapping[str, tuple[str, list[str]]],
    folder: Path,
    null: bool,
    limit: float | None,
    threads: int | None,
    seed: int,
) -> list[dict[str, Any]]:
    """Fit and score every network of every split of a set."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for number, split in enumerate(splits(case, folder, place)):
            fitted = calls if split.expression is not None else {}
            first = null and not number
            rows += _rows(protocol, split, fitted, folder, place, first, limit, threads, seed)
    return rows


def _folder(protocol: Any, data: str | os.PathLike | None) -> Path:
    if data is not None:
        folder = Path(data)
        if not folder.is_dir():
            raise ValueError(
                f"data {str(folder)!r} is no folder; name that of the protocol's files"
            )
        return folder
    path = None if isinstance(protocol, Protocol) else Path(os.fspath(protocol))
    return path.parent if path is not None and path.is_file() else Path()


def _call(text: str) -> tuple[str, list[str]]:
    """Take a method and its parameters apart, and refuse what is not there."""
    name, given = called(text, "method")
    if name in PEERS:
        if given:
            raise ValueError(f"the peer {name!r} takes no parameters, got {', '.join(given)}")
        return name, []
    known = [*get(name).parameters, *OPTIONS]
    for key in given:
        if key not in known:
            raise ValueError(
                f"method {text!r}: {name} has no parameter {key!r}{meant(key, known)}; it has "
                f"{', '.join(known)}"
            )
    return name, [word for k, v in given.items() for word in ("--param", f"{k}={v}")]


def _rows(
    protocol: Protocol,
    split: Split,
    calls: Mapping[str, tuple[str, list[str]]],
    folder: Path,
    scratch: Path,
    null: bool,
    limit: float | None,
    threads: int | None,
    seed: int,
) -> list[dict[str, Any]]:
    """Fit and score every network of a split."""
    networks: dict[str, Any] = {}
    took: dict[str, Usage] = {}
    wanted = [(name, split, call) for name, call in calls.items()]
    if null and split.prior is not None:
        wanted += [(name + PERMUTED, split.permuted(), call) for name, call in calls.items()]
    for number, (label, own, call) in enumerate(wanted):
        progress.report(f"{split.case.name}, {split.name}", number, len(wanted))
        plain = label.removesuffix(PERMUTED)
        if label != plain and plain not in networks:
            continue
        out = scratch / f"network{number}.parquet"
        usage = _fit(own, call, scratch, out, limit, threads, seed + split.seed)
        if label != plain and not usage.problem and _same(networks[plain], out):
            continue
        took[label] = usage
        if not usage.problem:
            networks[label] = out
    networks |= others(split, folder)
    if split.prior is not None:
        prior = split.prior.assign(score=split.prior["weight"].abs())
        networks["prior alone"] = prior[["source", "target", "score"]]
        networks["regulator degree"] = degrees(split)
    if split.data is not None:
        networks["|Pearson|"] = correlations(split)
    explained = None
    if set(protocol.metrics) & set(REGRESSION) and split.data is not None:
        explained = _explained(networks, split, seed)
    rows = []
    for label in [*took, *(name for name in networks if name not in took)]:
        usage = took.get(label)
        row: dict[str, Any] = {
            "set": split.case.name,
            "sweep": split.case.sweep,
            "split": split.name,
            "network": label,
            "problem": "" if usage is None else usage.problem,
            "seconds": None if usage is None else usage.seconds,
            "cpu_seconds": None if usage is None else usage.cpu_seconds,
            "mib": None if usage is None else usage.mib,
        }
        if label in networks:
            row |= _scored(networks[label], split, seed)
            if explained is not None and label in explained.index:
                row |= explained.loc[label].to_dict()
        rows.append(row)
    return rows


def _same(first: Path, second: Path) -> bool:
    """Say whether two networks have the same edges: the method took nothing from the prior."""
    return _read(first)[0].equals(_read(second)[0])


def _fit(
    split: Split,
    call: tuple[str, list[str]],
    scratch: Path,
    out: Path,
    limit: float | None,
    threads: int | None,
    seed: int,
) -> Usage:
    """Write what a fit is given, and run it."""
    name, parameters = call
    files = {"regulators": split.regulators, "targets": split.wanted}
    for what, names in files.items():
        (scratch / f"{what}.txt").write_text("".join(f"{n}\n" for n in names))
    paths = [str(scratch / f"{what}.txt") for what in files]
    layer = [] if split.case.layer is None else ["--layer", split.case.layer]
    if name in PEERS:
        if lacks := missing(name):
            return Usage(0.0, problem=f"{lacks} is not installed")
        given = [name, str(split.expression), *paths, str(out), *layer, "--seed", str(seed)]
        return measured("unigrn.protocols.peers", given, limit)
    given = ["infer", str(split.expression), "--method", name, *parameters, *layer]
    given += ["--regulators", paths[0], "--targets", paths[1], "--seed", str(seed), "--quiet"]
    if split.prior is not None:
        prior = scratch / "prior.tsv"
        split.prior.to_csv(prior, sep="\t", index=False)
        given += ["--prior", str(prior)]
    if split.case.groupby is not None:
        given += ["--groupby", split.case.groupby]
    for key, column in split.case.extra.items():
        given += ["--extra", f"{key}={column}"]
    if threads is not None:
        given += ["--threads", str(threads)]
    return measured("unigrn", [*given, "-o", str(out)], limit)


def _scored(network: Any, split: Split, seed: int) -> dict[str, Any]:
    """Score one network on the universe of its split."""
    table: Any = network
    converged = None
    if isinstance(network, Path):
        table, converged = _read(network)
    try:
        found: Evaluation = evaluate(
            table, split.gold, targets=split.targets, permutations=PERMUTATIONS, seed=seed
        )
    except ValueError as error:
        return {"problem": str(error)}
    return {
        **{k: v for k, v in found.metrics.items()},
        "epr_beeline": found.epr_beeline["network"],
        "permuted": found.baselines["permuted targets"]["auprc_ratio"],
        "listed": found.edges["in_universe"],
        "converged": converged,
        **found.errors["network"],
        "by_regulator": found.by_regulator["network"],
    }


def _read(path: Path) -> tuple[pd.DataFrame, float | None]:
    """Read a network, and the share of its fits that converged."""
    import pandas as pd

    try:
        network = Network.read(path)
    except ValueError:  # a peer's table
        return pd.read_parquet(path), None
    total = len(network.certificate)
    return network.edges, 1 - len(network.not_converged()) / total if total else None


def _explained(networks: Mapping[str, Any], split: Split, seed: int) -> pd.DataFrame:
    """Score all networks by what their regulators explain, those of a permuted prior aside."""
    tables = {n: _read(t)[0] if isinstance(t, Path) else t for n, t in networks.items()}
    usual = {n: t for n, t in tables.items() if not n.endswith(PERMUTED)}
    return regression_metrics(usual, split.data, split.regulators, seed=seed)
