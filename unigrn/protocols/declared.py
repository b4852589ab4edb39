"""A protocol of a benchmark, declared as data: sets, what is hidden, the universe, the metrics."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unigrn.check import listed, meant
from unigrn.evaluate import METRICS as RANKING
from unigrn.evaluate import REGRESSION
from unigrn.evaluate.errors import ERRORS

PAIRS = ("gold", "nodes", "regulators", "all")
DEFAULT = RANKING[:5]
METRICS = (*DEFAULT, "epr_beeline", *REGRESSION, *ERRORS)
SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class Hidden:
    """Which targets the prior does not name, and are scored; one of three ways.

    Parameters
    ----------
    table, column, folds
        File with a column ``target``, its column of folds, and the folds that are hidden one after
        the other; by default all of them.
    genes, shown, seeds
        File with a gene a line: for each seed they are shuffled by NumPy's legacy
        ``RandomState(seed).shuffle`` and the first ``shown`` keep their prior edges.
    parts, seed
        Number of parts that the gold's targets are dealt to at random.
    """

    table: str | None = None
    column: str | None = None
    folds: tuple[int | str, ...] = ()
    genes: str | None = None
    shown: int = 0
    seeds: tuple[int, ...] = ()
    parts: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Case:
    """One set of a protocol.

    Parameters
    ----------
    name
        What the report calls it.
    expression
        File as `unigrn.infer` takes it; None where ``scores`` alone are compared.
    gold
        File as `unigrn.evaluate` takes it.
    prior
        File as `unigrn.infer` takes it; "gold": the gold's edges to targets that are not hidden;
        None: no prior.
    regulators
        File of names, a line each; by default those of the prior, or of the gold without one.
    pairs
        The universe: "gold" (TFs of the gold x its targets; its labelled rows where it has labels),
        "nodes" (TFs of the gold x all its genes, as in BEELINE), "regulators" (all of
        ``regulators`` x the scored targets) or "all" (these, and self-pairs, which no method lists,
        as the gold has them). Self-pairs are left out otherwise.
    layer, groupby
        As in `unigrn.infer`.
    extra
        The same: columns of cells by the name that a method asks for.
    hidden
        Which targets are hidden; by default none, and all of the gold are scored.
    targets
        File of the targets that are scored; by default all of the gold.
    scores
        Name -> file of a network that another program made.
    simulate
        Arguments of `unigrn.datasets.simulate`, in place of files, with ``hidden_regulators``: the
        share of the regulators that are not measured. ``seeds`` are those of its repeats.
    seeds
        Of the repeats of a simulation.
    sweep
        Name of what is varied in a simulation, and its value here.
    """

    name: str
    expression: str | None = None
    gold: str | None = None
    prior: str | None = None
    regulators: str | None = None
    pairs: str = "gold"
    layer: str | None = None
    groupby: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    hidden: Hidden | None = None
    targets: str | None = None
    scores: Mapping[str, str] = field(default_factory=dict)
    simulate: Mapping[str, Any] | None = None
    seeds: tuple[int, ...] = (0,)
    sweep: tuple[str, float] | None = None


@dataclass(frozen=True)
class Protocol:
    """Sets, methods and metrics of a benchmark.

    Parameters
    ----------
    name, about, reference
        What the report says of it.
    cases
        The sets.
    methods
        What is run where nothing else is asked for.
    metrics
        Columns of the table, of `METRICS`.
    """

    name: str
    cases: tuple[Case, ...]
    methods: tuple[str, ...] = ()
    metrics: tuple[str, ...] = DEFAULT
    about: str = ""
    reference: str = ""

    def __post_init__(self):
        names = [case.name for case in self.cases]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"protocol {self.name!r} has the sets {listed(names)}; needed one or more, each "
                "with a name of its own"
            )


def protocols() -> dict[str, Path]:
    """Return the protocols that come with unigrn, and their files."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def read_protocol(source: str | Path) -> Protocol:
    """Read a protocol: the name of a shipped one, or a TOML file.

    The file has a table ``[protocol]`` and an array of tables ``[[set]]``, whose keys are the
    attributes of `Protocol` and `Case` (``hidden`` a table of those of `Hidden`), and an array
    ``[[sweep]]`` for simulations: ``name``, ``argument`` of the simulation, its ``values``.

    Raises
    ------
    ValueError
        No such protocol; no TOML; a key or value that is not known.
    """
    known = protocols()
    path = known.get(str(source), Path(source))
    if not path.is_file():
        raise ValueError(
            f"no protocol {str(source)!r}{meant(str(source), list(known))}; those of unigrn are "
            f"{', '.join(known)}, and a file of one ends in .toml"
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"protocol {str(path)!r} is no TOML: {error}") from None
    _known(table, ("protocol", "set", "sweep"), f"protocol {str(path)!r}")
    head = {"name": path.stem, **_table(table.get("protocol", {}), "[protocol]")}
    cases = [_case(own, f"[[set]] {i + 1}") for i, own in enumerate(_list(table, "set"))]
    if sweeps := _list(table, "sweep"):
        cases = [one for base in cases for one in _swept(base, sweeps)]
    names = [f.name for f in dataclasses.fields(Protocol) if f.name != "cases"]
    _known(head, names, "[protocol]")
    for what in ("methods", "metrics"):
        if what in head:
            head[what] = tuple(_list(head, what))
    unknown = [m for m in head.get("metrics", ()) if m not in METRICS]
    if unknown:
        raise ValueError(
            f"protocol {head['name']!r} asks for the metric {unknown[0]!r}; those there are: "
            f"{', '.join(METRICS)}"
        )
    return Protocol(cases=tuple(cases), **head)


def _case(table: Any, where: str) -> Case:
    given = dict(_table(table, where))
    if not isinstance(given.get("name"), str):
        raise ValueError(f"{where} has no name; write name = ...")
    where = f"set {given['name']!r}"
    _known(given, [f.name for f in dataclasses.fields(Case) if f.name != "sweep"], where)
    if given.get("pairs", "gold") not in PAIRS:
        raise ValueError(f"{where}: pairs is {given['pairs']!r}; one of {', '.join(PAIRS)}")
    if "hidden" in given:
        own: dict[str, Any] = dict(_table(given["hidden"], f"{where}: hidden"))
        _known(own, [f.name for f in dataclasses.fields(Hidden)], f"{where}: hidden")
        ways = [w for w in ("table", "genes", "parts") if own.get(w)]
        if len(ways) != 1:
            raise ValueError(
                f"{where}: hidden has {', '.join(own) or 'nothing'}; needed table and column, "
                "genes with shown and seeds, or parts"
            )
        if ways == ["table"] and "column" not in own:
            raise ValueError(f"{where}: hidden.table needs the column of its folds; write column")
        if ways == ["genes"] and not (own.get("shown") and own.get("seeds")):
            raise ValueError(f"{where}: hidden.genes needs shown and seeds")
        own = {k: tuple(v) if isinstance(v, list) else v for k, v in own.items()}
        given["hidden"] = Hidden(**own)
    if "simulate" in given:
        _table(given["simulate"], f"{where}: simulate")
        files = [k for k in ("expression", "gold", "prior", "hidden") if k in given]
        if files:
            raise ValueError(f"{where} has simulate and {files[0]}; give one of them")
    elif "gold" not in given:
        raise ValueError(f"{where} has no gold; name the file of its true edges")
    elif not ("expression" in given or given.get("scores")):
        raise ValueError(f"{where} has neither expression nor scores: nothing can be compared")
    if "seeds" in given:
        given["seeds"] = tuple(_list(given, "seeds"))
    return Case(**given)


def _swept(base: Case, sweeps: list[Any]) -> list[Case]:
    """Return one case for every value of every sweep."""
    out = []
    if base.simulate is None:
        raise ValueError(f"set {base.name!r} is swept and has no simulate; only those can be")
    for sweep in sweeps:
        own = _table(sweep, "[[sweep]]")
        _known(own, ("name", "argument", "values"), "[[sweep]]")
        missing = [k for k in ("name", "argument", "values") if k not in own]
        if missing:
            raise ValueError(f"[[sweep]] lacks {missing[0]}; needed name, argument and values")
        for value in _list(own, "values"):
            out.append(
                dataclasses.replace(
                    base,
                    name=f"{base.name}, {own['name']} {value:g}",
                    simulate={**base.simulate, own["argument"]: value},
                    sweep=(own["name"], value),
                )
            )
    return out


def _known(table: Mapping[str, Any], names: Any, where: str) -> None:
    for key in table:
        if key not in names:
            raise ValueError(
                f"{where} has the key {key!r}{meant(key, list(names))}; those known are: "
                f"{', '.join(names)}"
            )


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {value!r}; a table is needed")
    return value


def _list(table: Mapping[str, Any], key: str) -> list[Any]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise ValueError(f"{key} is {value!r}; a list is needed")
    return value
