"""Names meet the data: which regulators and targets enter a fit, and what was lost on the way."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from unigrn import UnigrnWarning
from unigrn.check import counted, cut, shown
from unigrn.prior.prior import Prior, places, texts

_EXAMPLES = 5  # names shown per line of a report
_LEAST_OVERLAP = 0.05  # below this share, prior and data speak different vocabularies
_WORTH_A_HINT = 0.05  # extra share of names that another spelling must bring
_FEW_EDGES = 0.2  # a hint on names says so where no more of the prior's edges are usable
_VERSION = re.compile(r"\.\d+$")
_MARKS = re.compile(r"[-._]")
_LEADING_X = re.compile(r"^X(?=[\d._-])")
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_DATE = re.compile(
    rf"(?:\d{{1,2}}-(?:{'|'.join(_MONTHS)})|(?:{'|'.join(_MONTHS)})-\d{{1,2}})", re.I
)
# Genes that spreadsheets take for dates: MARCH1 and MARC1, SEPT2, DEC1, OCT4 and their new names.
_GENE_OF_DATE = re.compile(r"(MAR|SEP|DEC|OCT|NOV|APR|FEB)(?:CHF?|C|TIN|T)?-?(\d{1,2})", re.I)
_ENSEMBL = re.compile(r"ENS[A-Z]{0,4}G\d{6,}")


class AlignmentError(ValueError):
    """The names of the prior, or the names asked for, are not those of the measured genes."""


@dataclass(frozen=True)
class Entry:
    """One finding about names or edges.

    Attributes
    ----------
    kind : str
        A stable short name, see `resolve`.
    count : int
        How many names, edges or notes it is about.
    message : str
        The finding in one line.
    examples : tuple of str
        A few of the names or edges.
    """

    kind: str
    count: int
    message: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Message and examples."""
        if not self.examples:
            return self.message
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.message} ({', '.join(map(shown, self.examples))}{more})"


# Kinds of entries whose figures the summary's line has too.
_SUMMED = ("regulators measured", "targets measured", "edges used")


@dataclass(frozen=True)
class AlignmentReport:
    """What became of the prior's names and edges, the summary first.

    Examples
    --------
    >>> report = AlignmentReport().add("constant genes", 2, "2 genes are constant", ["A", "B"])
    >>> print(report)
    2 genes are constant (A, B)
    """

    entries: tuple[Entry, ...] = ()

    def add(
        self, kind: str, count: int, message: str, examples: Iterable[str] = ()
    ) -> AlignmentReport:
        """Return a report with one more entry; at most five examples are kept."""
        few = tuple(str(example) for _, example in zip(range(_EXAMPLES), examples, strict=False))
        return AlignmentReport((*self.entries, Entry(kind, int(count), message, few)))

    def count(self, kind: str) -> int:
        """Sum of the counts of one kind; 0 where there is no such entry."""
        return sum(entry.count for entry in self.entries if entry.kind == kind)

    def lines(self) -> list[str]:
        """One line per entry, without those that count nothing or that the summary has said."""
        in_summary = _SUMMED if any(entry.kind == "summary" for entry in self.entries) else ()
        return [
            str(entry)
            for entry in self.entries
            if entry.kind == "summary" or (entry.count > 0 and entry.kind not in in_summary)
        ]

    def to_dict(self) -> dict:
        """Return every entry, also those that count nothing, in plain types for JSON."""
        return {
            "entries": [
                {
                    "kind": entry.kind,
                    "count": entry.count,
                    "message": entry.message,
                    "examples": list(entry.examples),
                }
                for entry in self.entries
            ]
        }

    def __str__(self) -> str:
        """Return the lines as one text."""
        return "\n".join(self.lines())


def resolve(
    prior: Prior,
    genes: Sequence[str] | np.ndarray,
    regulators: Sequence[str] | np.ndarray | None = None,
    targets: Sequence[str] | np.ndarray | None = None,
    hard_mask: bool = True,
    self_edges: bool = False,
) -> tuple[np.ndarray, np.ndarray, AlignmentReport]:
    """Decide which regulators and targets enter a fit, and say what was lost on the way.

    The kinds of the report's entries, in order: "summary"; "regulators measured", "regulators
    not measured"; the same two for targets; "genes without prior edge" (as its target);
    where names were asked for, "requested regulators not measured", "requested regulators without
    prior edge", "requested targets not measured"; with a hard mask "target without candidates";
    "edges used", "edges dropped: source not measured", "edges dropped: target not measured",
    "edges dropped: self-edge", "edges dropped: not requested" (an edge counts under the first that
    applies, over distinct pairs, so that the five add up to `prior.n_edges`); "hint", each also a
    `UnigrnWarning`: names that would match otherwise, dates for names, swapped columns; "note" for
    each of the prior's own notes.

    Parameters
    ----------
    prior : Prior
    genes : (g,) names
        The measured genes, each once.
    regulators : names, optional
        Default: the prior's regulators that are measured.
    targets : names, optional
        Default: with a hard mask the prior's targets that are measured, otherwise every gene.
    hard_mask : bool
        Whether the method allows only the prior's edges.
    self_edges : bool
        Whether the method allows a gene to regulate itself; otherwise such edges are dropped.

    Returns
    -------
    regulators : (q,) str, sorted
    targets : (p,) str, sorted
    report : AlignmentReport

    Raises
    ------
    AlignmentError
        When no regulator of the prior is measured; with a hard mask, no target; when fewer than
        5 % of the prior's names are measured and these are fewer than 5 % of the genes; or when
        nothing that was asked for is measured. The message shows names of both sides and says
        whether letter case, version suffixes, R's dots for hyphens, blanks, Ensembl identifiers
        against symbols, dates, or swapped columns explain it.
    """
    genes = np.unique(texts(genes, "genes"))
    if not len(genes):
        raise ValueError("no measured gene given; the data need at least one named gene")
    sources_in, targets_in = np.isin(prior.regulators, genes), np.isin(prior.targets, genes)
    names = np.union1d(prior.regulators, prior.targets)
    _check_overlap(prior, names, genes, sources_in, targets_in, hard_mask)

    asked_regulators = None if regulators is None else _requested(regulators, "regulators")
    asked_targets = None if targets is None else _requested(targets, "targets")
    default_targets = prior.targets[targets_in] if hard_mask else genes
    chosen_regulators = _chosen(asked_regulators, prior.regulators[sources_in], genes, "regulators")
    chosen_targets = _chosen(asked_targets, default_targets, genes, "targets")

    edges = prior.union()
    lost_source, lost_target = ~sources_in[edges.source], ~targets_in[edges.target]
    self_edge = places(prior.regulators, prior.targets)[edges.source] == edges.target
    self_edge &= not self_edges
    asked = np.isin(prior.regulators, chosen_regulators)[edges.source]
    asked &= np.isin(prior.targets, chosen_targets)[edges.target]
    fate = np.select([lost_source, lost_target, self_edge, ~asked], [1, 2, 3, 4], default=0)
    used = fate == 0

    report = AlignmentReport().add(
        "summary",
        used.sum(),
        f"prior: {sources_in.sum():,} of {counted(len(sources_in), 'regulator')} and "
        f"{targets_in.sum():,} of {counted(len(targets_in), 'target')} are measured; "
        f"{used.sum():,} of {counted(len(used), 'edge')} usable",
    )
    for what, known, measured in (
        ("regulators", prior.regulators, sources_in),
        ("targets", prior.targets, targets_in),
    ):
        whole = f"{what} in the prior"
        report = _add(
            report, f"{what} measured", known[measured], known, whole, "measured", show=False
        )
        report = _add(
            report, f"{what} not measured", known[~measured], known, whole, "not measured"
        )
    untouched = genes[~np.isin(genes, prior.targets)]
    kind, text = "genes without prior edge", "the target of no prior edge"
    report = _add(report, kind, untouched, genes, "measured genes", text)
    if asked_regulators is not None:
        whole = "requested regulators"
        missing = asked_regulators[~np.isin(asked_regulators, genes)]
        kind = f"{whole} not measured"
        report = _add(report, kind, missing, asked_regulators, whole, "not measured")
        unknown = chosen_regulators[~np.isin(chosen_regulators, prior.regulators)]
        kind, text = f"{whole} without prior edge", "the source of no prior edge"
        report = _add(report, kind, unknown, asked_regulators, whole, text)
    if asked_targets is not None:
        missing = asked_targets[~np.isin(asked_targets, genes)]
        whole = "requested targets"
        kind = f"{whole} not measured"
        report = _add(report, kind, missing, asked_targets, whole, "not measured")
    if hard_mask:
        reached = prior.targets[np.bincount(edges.target[used], minlength=len(prior.targets)) > 0]
        alone = chosen_targets[~np.isin(chosen_targets, reached)]
        whole = "targets" if asked_targets is None else "requested targets"
        text = "without a candidate regulator in the prior, so no edge can be found"
        report = _add(report, "target without candidates", alone, chosen_targets, whole, text)
    for code, kind in enumerate(
        (
            "edges used",
            "edges dropped: source not measured",
            "edges dropped: target not measured",
            "edges dropped: self-edge",
            "edges dropped: not requested",
        )
    ):
        which = np.flatnonzero(fate == code)
        pairs = [
            f"{prior.regulators[edges.source[i]]} -> {prior.targets[edges.target[i]]}"
            for i in which[: _EXAMPLES if code else 0]
        ]
        text = f"{counted(len(which), 'prior edge')} {kind.removeprefix('edges ')}"
        report = report.add(kind, len(which), text, pairs)
    if spelling := _other_spelling(names, genes):
        gain, text, examples = spelling
        message = f"a further {gain:,} of {counted(len(names), 'name')} in the prior {text}"
        if used.sum() < _FEW_EDGES * len(used):
            message += f"; usable now: {used.sum():,} of {counted(len(used), 'prior edge')}"
        report = report.add("hint", gain, message, examples)
    if dates := _dates(names, genes):
        report = report.add("hint", len(dates), _DATES.format(counted(len(dates), "name")), dates)
    if _looks_swapped(prior):
        report = report.add("hint", 1, _swapped(prior))
    for entry in report.entries:
        if entry.kind == "hint":
            warnings.warn(str(entry), UnigrnWarning, stacklevel=2)
    for note in prior.notes:
        report = report.add("note", 1, note)
    return chosen_regulators, chosen_targets, report


def _check_overlap(
    prior: Prior,
    names: np.ndarray,
    genes: np.ndarray,
    sources_in: np.ndarray,
    targets_in: np.ndarray,
    hard_mask: bool,
) -> None:
    shared = int(np.isin(names, genes).sum())
    share = max(shared / len(names), shared / len(genes))
    if sources_in.any() and (targets_in.any() or not hard_mask) and share >= _LEAST_OVERLAP:
        return
    if not sources_in.any():
        foreign, kind = prior.regulators, "regulator"
    elif not targets_in.any() and hard_mask:
        foreign, kind = prior.targets, "target"
    else:
        foreign, kind = names, ""
    problem = f"no {kind} of the prior is measured" if kind else "the prior hardly fits the data"
    advice = _advice(foreign, genes, "prior")
    if _looks_swapped(prior):
        advice += f"; {_swapped(prior)}"
    raise AlignmentError(
        f"{problem}: {sources_in.sum():,} of {counted(len(sources_in), 'regulator')} and "
        f"{targets_in.sum():,} of {counted(len(targets_in), 'target')} are among the "
        f"{counted(len(genes), 'gene')}; {advice}"
    )


def _requested(names: Sequence[str] | np.ndarray, what: str) -> np.ndarray:
    names = np.unique(texts(names, what))
    if not len(names):
        raise ValueError(f"the list of requested {what} is empty; name some, or leave it out")
    return names


def _chosen(
    asked: np.ndarray | None, default: np.ndarray, genes: np.ndarray, what: str
) -> np.ndarray:
    if asked is None:
        return default
    measured = asked[np.isin(asked, genes)]
    if not len(measured):
        raise AlignmentError(
            f"none of the {len(asked):,} requested {what} is among the "
            f"{counted(len(genes), 'gene')} of the data; {_advice(asked, genes, 'requested')}"
        )
    return measured


def _add(
    report: AlignmentReport,
    kind: str,
    names: np.ndarray,
    among: np.ndarray,
    whole: str,
    what: str,
    show: bool = True,
) -> AlignmentReport:
    verb = "is" if len(names) == 1 else "are"
    message = f"{len(names):,} of {len(among):,} {whole} {verb} {what}"
    return report.add(kind, len(names), message, names[:_EXAMPLES] if show else ())


def _advice(names: np.ndarray, genes: np.ndarray, whose: str) -> str:
    """Both vocabularies by example, and what would explain that they differ."""
    spelling = _other_spelling(names, genes)
    # Long names beside a hint leave room for one of each side.
    long = spelling and max(map(len, [*names[:3], *genes[:3]])) > 12
    most = 1 if long else 3
    some, others = (", ".join(_plain(name, 18) for name in side[:most]) for side in (names, genes))
    text = f"{whose} names: {some}; gene names: {others}"
    ours, theirs = _share_of_ensembl(names), _share_of_ensembl(genes)
    if spelling:
        gain, how, examples = spelling
        example = shown(" ".join(examples[:1]), 40)
        return f"{text}; {gain:,} of {len(names):,} {whose} names {how} ({example})"
    if dates := _dates(names, genes):
        return f"{text}; {_DATES.format(f'{len(dates):,}')} ({dates[0]})"
    if max(ours, theirs) >= 0.5 and min(ours, theirs) <= 0.1:
        side = (f"the {whose} names", "the gene names")
        ensembl, symbols = side if ours > theirs else side[::-1]
        return f"{text}; {ensembl} look like Ensembl identifiers, {symbols} do not: translate one"
    return text + ": use one species, annotation and kind of name for both"


def _share_of_ensembl(names: np.ndarray) -> float:
    return float(np.mean([_ENSEMBL.match(name) is not None for name in names]))


def _other_spelling(
    names: np.ndarray, genes: np.ndarray
) -> tuple[int, str, tuple[str, ...]] | None:
    """Names that would match under another spelling, if they are worth a word."""
    exact = np.isin(names, genes)
    if 1 - exact.mean() < _WORTH_A_HINT:
        return None  # nearly all match as they are
    genes_exact = int(np.isin(genes, names).sum())
    best, best_gain = None, 0.0
    for how, change in _CHANGES:
        ours, theirs = _respelled(names, change), _respelled(genes, change)
        new = np.isin(ours, theirs[theirs != ""]) & ~exact
        matched = max(int(np.isin(theirs, ours[ours != ""]).sum()) - genes_exact, 0)
        gain = max(new.sum() / len(names), matched / len(genes))
        if gain >= best_gain + _WORTH_A_HINT:
            examples = []
            for i in np.flatnonzero(new)[:_EXAMPLES]:
                match = genes[np.argmax(theirs == ours[i])]
                examples.append(f"{_plain(str(names[i]))} / {_plain(str(match))}")
            best, best_gain = (int(new.sum()), how, tuple(examples)), gain
    return best


def _made_by_r(name: str) -> str:
    """Give what R's make.names leaves of a name, and no more."""
    return _MARKS.sub(".", _LEADING_X.sub("", name))


# Other spellings, the plainest first: a later one must explain more.
_CHANGES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("would match without the blanks around them", str.strip),
    ("would match if letter case were ignored", str.casefold),
    ("would match without version suffixes", lambda name: _VERSION.sub("", name)),
    (
        "would match without version suffixes and letter case",
        lambda name: _VERSION.sub("", name).casefold(),
    ),
    ("would match if R's changes (- . _ and a leading X) did not count", _made_by_r),
    (
        "would match if R's changes (- . _ X), blanks and letter case did not count",
        lambda name: _made_by_r(name.strip()).casefold(),
    ),
)
_DATES = "{} look like dates that a spreadsheet made of gene names, such as 1-Mar of MARCH1"


def _plain(name: str, most: int = 40) -> str:
    """Give a name for a message, in quotes where blanks stand around it."""
    return shown(name, most) if name == name.strip() else repr(cut(str(name), most))


def _dates(names: np.ndarray, genes: np.ndarray) -> list[str]:
    """Names of one side that are dates where the other has the genes that these may have been."""
    found = []
    for ours, theirs in ((names, genes), (genes, names)):
        dates = [str(name) for name in ours if _DATE.fullmatch(name) and name not in theirs]
        if dates and any(_GENE_OF_DATE.fullmatch(name) for name in theirs):
            found += dates
    return found


def _respelled(names: np.ndarray, change: Callable[[str], str]) -> np.ndarray:
    """Names after a change; empty where that makes two names one.

    In some annotations the digits after the dot tell genes apart, so stripping them proves nothing.
    """
    changed = np.array([change(name) for name in names], dtype=str)
    _, inverse, counts = np.unique(changed, return_inverse=True, return_counts=True)
    return np.where(counts[inverse] == 1, changed, "")


def _looks_swapped(prior: Prior) -> bool:
    # In every organism few genes regulate many; the reverse is a table read the wrong way round.
    # Of a few names alone nobody can tell.
    return len(prior.regulators) >= 20 and len(prior.regulators) > 3 * len(prior.targets)


def _swapped(prior: Prior) -> str:
    return (
        f"the prior has {counted(len(prior.regulators), 'regulator')} for "
        f"{counted(len(prior.targets), 'target')}: its source and target columns look swapped "
        "(a dictionary is {target: regulators})"
    )
