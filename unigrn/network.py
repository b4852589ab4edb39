"""The result of an inference: a table of edges, how good each fit is, and where it came from."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import os

    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from unigrn.prior import AlignmentReport

# Keys that the file layout adds beside the provenance (see unigrn.io).
RESERVED = ("alignment", "certificates", "columns", "network", "undefined_p")

_NOTES = {
    "group": "group of cells",
    "source": "regulator",
    "target": "gene that it drives",
    "weight": "estimated effect of the regulator on the target",
    "p": "as the method writes it, uncalibrated",
    "score": "edges rank by it, the largest first",
    "variance": "posterior variance of the weight",
    "bags_drawn": "number of bags that drew the regulator",
    "frequency": "share of the fits that selected the edge",
}


def edge_score(edges: pd.DataFrame) -> np.ndarray:
    """Give what edges rank by: `score` where there is such a column, else |weight|.

    Parameters
    ----------
    edges : DataFrame with a column `score` or `weight`
        Any table of edges, such as `Network.edges` or what `unigrn.network.read_edges` returns.

    Returns
    -------
    (e,) float array
        The largest first is the ranking; NaN ranks last.

    Raises
    ------
    ValueError
        Where there is neither column, or it does not hold numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> edge_score(pd.DataFrame({"source": ["A", "B"], "target": ["C", "C"], "weight": [-2.0, 1]}))
    array([2., 1.])
    """
    for name in ("score", "weight"):
        if name in edges.columns:
            values = _numbers(edges[name], name)
            return np.abs(values) if name == "weight" else values
    raise ValueError(
        f"cannot rank edges with the columns {_listed(edges.columns)}; needed 'score' or 'weight'"
    )


def read_edges(path: str | os.PathLike) -> pd.DataFrame:
    """Read the edge table of any network file, also one that another program wrote.

    Parameters
    ----------
    path : path
        `.tsv`, `.csv` (optionally `.gz`), `.parquet`, `.graphml` or `.h5ad`. Regulators are in a
        column `source` (or `tf`, `TF`, `regulator`), genes in `target`, groups, where there are
        some, in `group`; `weight` and `score` are numbers.

    Returns
    -------
    DataFrame
        Columns [group,] source, target, [weight, score,] then the others. Names are strings
        whatever they look like ("NA", "1"); an undefined number is NaN.

    Raises
    ------
    ValueError
        Where the file is absent, is no such table, or lacks the names of an edge.
    """
    from unigrn import io

    return io.read_edges(path)


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A gene regulatory network, with its certificate and provenance.

    Attributes
    ----------
    edges : DataFrame
        One row per edge: [group,] source, target, weight, then the method's statistics (p, score,
        variance, ...). Names are strings, `weight` keeps the precision of the fit, undefined
        statistics are NaN. It is the network's own table: copy it before you edit it.
    regulators : (q,) str array, sorted
        Regulators of the inference, those without an edge included.
    targets : (p,) str array, sorted
        Targets of the inference, those without an edge included.
    groups : tuple of str, or None
        Groups of cells, each with a network of its own; None where the cells were not grouped.
    certificate : DataFrame
        One row per [group,] target: status (text), residual (distance from the optimum), iterations
        and whatever else the solver says. A network read from .tsv, .csv or .graphml has the rows
        that did not converge; `certificate_summary` still counts all.
    alignment : AlignmentReport or None
        What became of the names of the prior.
    provenance : dict
        Method, hyperparameters, seed, versions, data: plain values, as JSON holds them.
    columns : dict
        What each column of `edges` means, in one line.

    Raises
    ------
    ValueError
        On construction: where a name is undefined, unknown or given twice, an edge is given twice,
        or a weight is not finite.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"source": ["A", "B"], "target": ["C", "C"], "weight": [0.5, -2.0]})
    >>> network = Network(table, regulators=["A", "B"], targets=["C"])
    >>> network
    Network(2 edges, 2 regulators x 1 targets)
    >>> network.matrix()
         C
    A  0.5
    B -2.0
    >>> list(network.rank()["source"])
    ['B', 'A']
    """

    edges: pd.DataFrame
    regulators: np.ndarray
    targets: np.ndarray
    groups: tuple[str, ...] | None = None
    certificate: pd.DataFrame | None = None
    alignment: AlignmentReport | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the parts and bring them into one form."""
        set_ = object.__setattr__
        set_(self, "regulators", _names(self.regulators, "regulators"))
        set_(self, "targets", _names(self.targets, "targets"))
        if self.groups is not None:
            given = list(self.groups) if not isinstance(self.groups, str) else None
            if given is None:
                raise ValueError(f"groups is {self.groups!r}; needed a sequence of names or None")
            _names(given, "groups")
            set_(self, "groups", tuple(str(name) for name in given))
        set_(self, "edges", _checked_edges(self.edges, self.regulators, self.targets, self.groups))
        set_(self, "certificate", _checked_certificate(self.certificate, self.targets, self.groups))
        provenance = plain(dict(self.provenance))
        taken = [name for name in RESERVED if name in provenance]
        if taken:
            raise ValueError(
                f"provenance has the key {taken[0]!r}, which the files use for something else; "
                f"rename it (all such keys: {', '.join(RESERVED)})"
            )
        set_(self, "provenance", provenance)
        notes = {**_NOTES, **self.columns}
        notes = {name: str(notes[name]) for name in self.edges.columns if name in notes}
        set_(self, "columns", notes)

    # What it holds

    def matrix(self, group: str | None = None, value: str = "weight") -> pd.DataFrame:
        """Give a column of the edges as a matrix.

        Parameters
        ----------
        group : str, optional
            Needed where there are several groups.
        value : str
            A column of numbers, such as "weight" or "p".

        Returns
        -------
        (q, p) DataFrame, regulators x targets
            Where there is no edge: 0 for the weight, NaN for any other column.

        Raises
        ------
        ValueError
            Where the group or the column is unknown, or the group is missing.
        """
        import pandas as pd

        if value not in self.edges.columns:
            raise ValueError(
                f"no column {value!r} in the edges; there are {_listed(self.edges.columns)}"
            )
        table = self._of_group(group)
        values = table[value].to_numpy()
        if value == "weight":
            dense = np.zeros((self.regulators.size, self.targets.size), values.dtype)
        else:
            values = _numbers(table[value], value)
            dense = np.full((self.regulators.size, self.targets.size), np.nan, values.dtype)
        dense[_codes(table["source"], self.regulators), _codes(table["target"], self.targets)] = (
            values
        )
        index, columns = self.regulators.astype(object), self.targets.astype(object)
        return pd.DataFrame(dense, index=index, columns=columns)

    def rank(self) -> pd.DataFrame:
        """Give the edges in order: by group, then by `edge_score`, the largest first.

        Ties are in the order of (source, target), so that the order does not depend on that of
        the rows.
        """
        return self._ordered(self.edges, edge_score(self.edges))

    def subset(self, group: str) -> Network:
        """Give the network of one group; its table keeps the column `group`.

        Raises
        ------
        ValueError
            Where there are no groups, or not this one.
        """
        if self.groups is None:
            raise ValueError(f"no group {group!r}: the cells of this network were not grouped")
        table = self._of_group(group)
        rows = self.certificate[(self.certificate["group"] == group).to_numpy()]
        whole = self.certificate.attrs.get("summary")
        rows.attrs = {"summary": _of_one_group(whole, group)} if whole else {}
        return dataclasses.replace(self, edges=table, groups=(group,), certificate=rows)

    def filter(
        self,
        p: float | None = 0.001,
        top: int | None = 2000,
        by: str = "weight",
        sources: Iterable[str] | None = None,
        targets: Iterable[str] | None = None,
    ) -> Network:
        """Keep the strongest edges, by the steps of CellOracle's `filter_links`.

        In this order: keep the listed sources, then the listed targets; keep p <= `p`; sort by
        `by` and keep the first `top` of each group. Ties are decided by (source, target).

        Parameters
        ----------
        p : float in [0, 1], optional
            Threshold; an edge whose p is undefined is dropped. None: skip the step.
        top : int >= 0, optional
            Edges per group. None: keep all.
        by : str
            "weight" sorts by |weight|; any other column of numbers sorts the largest first, NaN
            last.
        sources : names, optional
            Names that the network does not have are ignored.
        targets : names, optional
            Likewise.

        Returns
        -------
        Network
            Its edges in the order of the filter; regulators and targets stay as they were, and
            `provenance["filters"]` has one more entry.

        Raises
        ------
        ValueError
            Where `p` is given and the method has no p, a list names nothing that the network has,
            or a value is out of its range.

        References
        ----------
        Kamimoto et al., Nature 614 (2023), doi:10.1038/s41586-022-05688-9
        """
        table = self.edges
        used = {}
        for column, wanted, known in (
            ("source", sources, self.regulators),
            ("target", targets, self.targets),
        ):
            if wanted is None:
                continue
            if isinstance(wanted, str):
                raise ValueError(f"{column}s is the text {wanted!r}; needed a list: [{wanted!r}]")
            used[column] = sorted({str(name) for name in wanted})
            chosen = np.isin(known, np.array(used[column], dtype=str))
            if not chosen.any():
                raise ValueError(
                    f"none of the {len(used[column])} names in {column}s is in the network "
                    f"({_listed(used[column])}); it has {_listed(known)}"
                )
            table = table[chosen[_codes(table[column], known)]]
        if p is not None:
            if "p" not in table.columns:
                raise ValueError(
                    f"method {self._method()} gives no p, and p={p:g} asks for it; "
                    "pass p=None to keep all, and rank by weight or score"
                )
            if not 0 <= p <= 1:
                raise ValueError(f"p is {p!r}; needed a threshold from 0 to 1, or None")
            table = table[table["p"].to_numpy() <= p]
        if by == "p":
            raise ValueError("by is 'p'; edges are kept largest first, so sort by weight or score")
        if by not in table.columns:
            raise ValueError(f"by is {by!r}; needed one of {_listed(self.edges.columns)}")
        keys = _numbers(table[by], by)
        table = self._ordered(table, np.abs(keys) if by == "weight" else keys)
        if top is not None:
            if isinstance(top, bool) or not isinstance(top, int | np.integer) or top < 0:
                raise ValueError(f"top is {top!r}; needed a whole number of edges, or None")
            codes = self._group_codes(table)
            start = np.searchsorted(codes, codes)  # first row of the group: the table is sorted
            table = table[np.arange(codes.size) - start < top]
        step = {"p": p, "top": top, "by": by}
        step |= {f"{column}s": names for column, names in used.items()}
        before = list(self.provenance.get("filters", []))
        return dataclasses.replace(
            self, edges=table, provenance={**self.provenance, "filters": [*before, step]}
        )

    def to_celloracle(self) -> dict[str, pd.DataFrame]:
        """Give the link tables of CellOracle, one per group.

        Returns
        -------
        dict of group -> DataFrame
            Rows sorted by target, then source. `celloracle`: source, target, coef_mean, coef_abs,
            p, -logp, where -logp = -log10(p) and an undefined p counts as 1 there. For
            `celloracle_bayesian`: coef_variance before p, and -logp = -ln(p). The released program
            differs in the base just so. The one table of a network without groups is "all".

        Raises
        ------
        ValueError
            For any other method.

        References
        ----------
        Kamimoto et al., Nature 614 (2023), doi:10.1038/s41586-022-05688-9
        """
        import pandas as pd

        method = self.provenance.get("method")
        statistics = {"celloracle": ["p"], "celloracle_bayesian": ["variance", "p"]}.get(method)
        if statistics is None:
            raise ValueError(
                f"method {self._method()} has no CellOracle form; only celloracle and "
                "celloracle_bayesian have"
            )
        lacking = [name for name in statistics if name not in self.edges.columns]
        if lacking:
            raise ValueError(
                f"the edges of method {method} lack {_listed(lacking)}; "
                f"there are {_listed(self.edges.columns)}"
            )
        source = _codes(self.edges["source"], self.regulators)
        order = np.lexsort((source, _codes(self.edges["target"], self.targets)))
        codes = self._group_codes(self.edges)[order]
        table = self.edges.iloc[order]
        weight, p = table["weight"].to_numpy(), table["p"].to_numpy(np.float64)
        links = pd.DataFrame(
            {
                "source": table["source"].to_numpy(),
                "target": table["target"].to_numpy(),
                "coef_mean": weight,
                "coef_abs": np.abs(weight),
            }
        )
        if method == "celloracle_bayesian":
            links["coef_variance"] = table["variance"].to_numpy()
        links["p"] = p
        with np.errstate(divide="ignore"):  # p underflows to 0, and -logp is then inf
            if method == "celloracle":
                links["-logp"] = -np.log10(np.where(np.isnan(p), 1.0, p))
            else:
                links["-logp"] = -np.log(p)
        return {
            name: links[codes == number].reset_index(drop=True)
            for number, name in enumerate(self.groups or ("all",))
        }

    def certificate_summary(self) -> dict[str, Any]:
        """Count the certificate's rows.

        Returns
        -------
        dict
            `rows`, `counts` (status -> rows), `worst_residual` (largest defined one, or None),
            `worst` (where it is), and `by_group` (the same per group) where grouped.
        """
        whole = self.certificate.attrs.get("summary")
        if whole:
            return copy.deepcopy(whole)
        summary = _counted(self.certificate)
        if self.groups is not None:
            parts = dict(list(self.certificate.groupby("group", sort=True)))
            none = self.certificate.iloc[:0]
            summary["by_group"] = {name: _counted(parts.get(name, none)) for name in self.groups}
        return summary

    def not_converged(self) -> pd.DataFrame:
        """Give the rows of the certificate whose fit is not what the method asks for.

        Those are the rows with any other status than the good ones of `unigrn.status.Status`.
        """
        from unigrn.status import FAILED, Status

        good = [status.message for status in Status if status not in FAILED]
        reached = self.certificate["status"].isin(good).to_numpy(bool)
        return self.certificate[~reached].reset_index(drop=True)

    def undefined_p(self) -> int:
        """Count the edges whose p is undefined; 0 where the method gives no p."""
        return int(self.edges["p"].isna().sum()) if "p" in self.edges.columns else 0

    def summary(self) -> list[str]:
        """Give a few lines for a reader: sizes, p, certificate, warnings."""
        lines = [f"{self._method()}: {self._sizes()}"]
        if "p" in self.edges.columns:
            lines.append(f"p: {self.undefined_p()} undefined; {self.columns['p']}")
        count = self.certificate_summary()
        if count["rows"]:
            shown = ", ".join(f"{n} {status}" for status, n in count["counts"].items())
            if count["worst_residual"] is not None:
                place = " / ".join(count["worst"].values())
                shown += f"; worst residual {count['worst_residual']:.2g} ({place})"
            lines.append(f"certificate: {shown}")
        else:
            lines.append("certificate: none")
        warnings = self.provenance.get("warnings") or []
        warnings = [warnings] if isinstance(warnings, str) else warnings
        return lines + [f"warning: {text}" for text in warnings]

    def __str__(self) -> str:
        """Give the summary."""
        return "\n".join(self.summary())

    def __repr__(self) -> str:
        """Give the sizes and the method."""
        method = self.provenance.get("method")
        return f"Network({self._sizes(' x ')}{f', {method}' if method else ''})"

    # Files and AnnData

    def write(self, path: str | os.PathLike) -> None:
        """Write the network; the suffix decides the format.

        `.tsv`, `.csv` (optionally `.gz`): a plain table, its first line the header, undefined
        values empty, and `path + ".meta.json"` with the provenance. `.parquet`, `.graphml`,
        `.h5ad`: one file that holds both. `unigrn.io` describes the layouts. The same network
        gives the same bytes. The old file stays whole until the new one is complete.

        Raises
        ------
        ValueError
            Where the suffix is another, or the format cannot hold a name.
        unigrn.io.WriteError
            A ValueError: where the file cannot be written.
        """
        from unigrn import io

        io.write(self, path)

    @classmethod
    def read(cls, path: str | os.PathLike) -> Network:
        """Read a network that `write` has written, or an `.h5ad` with `to_anndata` inside.

        Raises
        ------
        ValueError
            Where the file is absent, is no network of this project, or its `.meta.json` is missing
            or belongs to another table; `read_edges` reads the bare table.
        """
        from unigrn import io

        return cls(**io.read_network(path))

    def to_anndata(self, adata: AnnData) -> AnnData:
        """Put the network into `adata`, in place.

        `adata.uns["unigrn"]` gets `edges` and `certificate` (DataFrames, names as categories) and
        `provenance` (JSON text). `adata.varp["unigrn_weight"]`, or one `varp_key(group)` per group,
        gets the weights as a sparse genes x genes matrix, sources in rows, targets in columns.

        Parameters
        ----------
        adata : AnnData
            Its variables include every regulator and target.

        Returns
        -------
        AnnData
            The same object.

        Raises
        ------
        ValueError
            Where a gene is missing from `adata` or named twice there.
        """
        import pandas as pd

        from unigrn import io

        if not adata.var_names.is_unique:
            double = adata.var_names[adata.var_names.duplicated()]
            raise ValueError(
                f"adata names {_listed(np.unique(double.astype(str)))} twice; make its names "
                "unique first (adata.var_names_make_unique())"
            )
        genes = pd.Index(adata.var_names, dtype=object)
        needed = self.genes()
        missing = needed[genes.get_indexer(needed.astype(object)) < 0]
        if missing.size:
            raise ValueError(
                f"adata lacks {missing.size} of the network's {needed.size} genes "
                f"({_listed(missing)}); needed all regulators and targets among its variables"
            )
        weights = self.sparse(genes.to_numpy())
        adata.uns["unigrn"] = io.uns_entry(self)
        # Those of an earlier network with other groups would tell another story than uns.
        for key in [key for key in adata.varp if key.startswith(varp_key(None))]:
            del adata.varp[key]
        for group, matrix in weights.items():
            adata.varp[varp_key(group)] = matrix
        return adata

    def genes(self) -> np.ndarray:
        """Give the names of all regulators and targets, sorted."""
        return np.union1d(self.regulators, self.targets)

    def sparse(self, genes: np.ndarray) -> dict[str | None, csr_matrix]:
        """Give the weights as genes x genes, sources in rows, per group (None: not grouped)."""
        from scipy.sparse import csr_matrix

        codes = self._group_codes(self.edges)
        order = np.argsort(codes, kind="stable")
        weight = self.edges["weight"].to_numpy()[order]
        source = _codes(self.edges["source"], genes)[order]
        target = _codes(self.edges["target"], genes)[order]
        names = self.groups if self.groups is not None else (None,)
        cuts = np.searchsorted(codes[order], np.arange(len(names) + 1))
        return {
            name: csr_matrix((weight[a:b], (source[a:b], target[a:b])), (len(genes), len(genes)))
            for name, a, b in zip(names, cuts[:-1], cuts[1:], strict=True)
        }

    # Helpers

    def _method(self) -> str:
        return str(self.provenance.get("method", "network"))

    def _sizes(self, between: str = " regulators, ") -> str:
        groups = "" if self.groups is None else f"{len(self.groups)} groups, "
        first, last = f"{self.regulators.size}", f"{self.targets.size} targets"
        if between == " x ":
            first += " regulators"
        return f"{len(self.edges)} edges, {groups}{first}{between}{last}"

    def _group_codes(self, table: pd.DataFrame) -> np.ndarray:
        """Give the position of each row's group in `groups`; 0 where not grouped."""
        if self.groups is None:
            return np.zeros(len(table), np.intp)
        return _codes(table["group"], self.groups)

    def _of_group(self, group: str | None) -> pd.DataFrame:
        """Give the edges of one group."""
        if self.groups is None:
            if group is not None:
                raise ValueError(f"no group {group!r}: the cells of this network were not grouped")
            return self.edges
        if group is None and len(self.groups) == 1:
            group = self.groups[0]
        if group is None:
            raise ValueError(f"which group? needed one of {_listed(self.groups, 20)}")
        if group not in self.groups:
            raise ValueError(f"no group {group!r}; there are {_listed(self.groups, 20)}")
        return self.edges[self._group_codes(self.edges) == self.groups.index(group)]

    def _ordered(self, table: pd.DataFrame, score: np.ndarray) -> pd.DataFrame:
        """Sort by group, then score downwards, then source and target."""
        order = np.lexsort(
            (
                _codes(table["target"], self.targets),
                _codes(table["source"], self.regulators),
                -score,
                self._group_codes(table),
            )
        )
        return table.iloc[order].reset_index(drop=True)


def varp_key(group: str | None) -> str:
    """Give the key of a group's weights in `adata.varp`.

    "/" separates levels in an .h5ad file, so it is written as %2F there, and "%" as %25.

    Examples
    --------
    >>> varp_key(None), varp_key("CD4 T"), varp_key("HSC/MPP")
    ('unigrn_weight', 'unigrn_weight_CD4 T', 'unigrn_weight_HSC%2FMPP')
    """
    if group is None:
        return "unigrn_weight"
    return "unigrn_weight_" + group.replace("%", "%25").replace("/", "%2F")


def plain(value: Any) -> Any:
    """Give what JSON can hold and gives back unchanged.

    NaN becomes None and an infinite number the text "inf" or "-inf", which float() reads; a
    function becomes its name; any other object the name of its type, never an address in memory.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.floating):
        value = float(str(value))  # the shortest decimal: 0.1 for a float32 0.1
    if isinstance(value, float):
        if value != value:
            return None
        return value if abs(value) != float("inf") else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind == "f":
            return plain(array[()] if array.ndim == 0 else list(array))
        if array.dtype.kind in "biuUO":
            return plain(array.tolist())
    if hasattr(value, "__fspath__"):
        return str(value)
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    return f"{getattr(value, '__module__', type(value).__module__)}.{name}"


def _listed(names: Iterable[str], most: int = 10) -> str:
    """Give names for a message, in quotes, at most `most` of them."""
    names = [str(name) for name in names]
    shown = ", ".join(repr(name) for name in names[:most])
    return (shown or "none") + (f" and {len(names) - most} more" if len(names) > most else "")


def _names(given: Iterable[str], what: str) -> np.ndarray:
    """Give checked, sorted names."""
    names = given.tolist() if isinstance(given, np.ndarray) else list(given)
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"{what} hold {name!r} ({type(name).__name__}); needed names that are text and "
                "not empty"
            )
    joined = "".join(names)
    if "\0" in joined:
        bad = next(name for name in names if "\0" in name)
        raise ValueError(f"{what} hold {bad!r}; a NUL character fits into no table: rename it")
    try:
        joined.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} hold the character {joined[error.start]!r}, which is not valid Unicode; "
            "rename that name"
        ) from None
    array = np.unique(np.array(names, dtype=str))
    if array.size != len(names):
        known, counts = np.unique(np.array(names, dtype=str), return_counts=True)
        raise ValueError(f"{what} hold {_listed(known[counts > 1])} more than once; needed once")
    array.flags.writeable = False
    return array


def _codes(values: pd.Series, names: Iterable[str]) -> np.ndarray:
    """Give the position of each value among `names`, -1 where it is none of them."""
    import pandas as pd

    index = pd.Index(np.asarray(names, dtype=object), dtype=object)
    if isinstance(values.dtype, pd.CategoricalDtype):
        known = index.get_indexer(pd.Index(values.cat.categories, dtype=object))
        return np.append(known, -1)[values.cat.codes.to_numpy()]
    return index.get_indexer(pd.Index(values.to_numpy(dtype=object), dtype=object))


def _numbers(column: pd.Series, name: str) -> np.ndarray:
    """Give a column of numbers as floats of its own precision."""
    import pandas as pd

    values = column.to_numpy()
    if values.dtype.kind == "f":
        return values
    numeric = pd.api.types.is_numeric_dtype(column.dtype) and column.dtype.kind != "c"
    if values.dtype.kind in "biu" or numeric:
        return column.to_numpy(np.float64, na_value=np.nan)
    raise ValueError(f"column {name!r} holds {column.dtype}; needed numbers")


def _column(column: pd.Series, name: str) -> np.ndarray:
    """Give a statistic as a NumPy array of numbers or booleans, or as objects: text and None."""
    import pandas as pd

    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        column = column.astype(dtype.categories.dtype)
        dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        if dtype.kind == "f" and dtype.itemsize not in (4, 8):
            return column.to_numpy(np.float32 if dtype.itemsize < 4 else np.float64)
        return column.to_numpy(dtype.newbyteorder("="))
    if pd.api.types.is_bool_dtype(dtype) and not column.hasnans:
        return column.to_numpy(bool)
    if pd.api.types.is_numeric_dtype(dtype) and dtype.kind != "c":
        return column.to_numpy(np.float64, na_value=np.nan)
    values = column.to_numpy(dtype=object)
    missing = pd.isna(values)
    if pd.api.types.infer_dtype(values, skipna=True) not in ("string", "empty"):
        raise ValueError(
            f"column {name!r} holds {dtype}; needed numbers, booleans or text in one column"
        )
    # Files leave an undefined value empty, so an empty text is an undefined one.
    return np.where(missing | (values == ""), None, values)


def _table(columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Build a DataFrame that keeps text as objects."""
    import pandas as pd

    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=object) if values.dtype == object else values
            for name, values in columns.items()
        }
    )


def _check_columns(table: pd.DataFrame, needed: Iterable[str], what: str) -> None:
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"{what} is a {type(table).__name__}; needed a pandas DataFrame")
    if not table.columns.is_unique:
        raise ValueError(f"{what} has two columns of one name: {_listed(table.columns)}")
    for name in table.columns:
        if not isinstance(name, str) or not name.isprintable() or name in ("", "_index"):
            raise ValueError(f"{what} has a column named {name!r}; needed a plain word")
        if "/" in name:
            raise ValueError(f"{what} has a column {name!r}; h5ad has no '/' in names: rename it")
    lacking = [name for name in needed if name not in table.columns]
    if lacking:
        raise ValueError(
            f"{what} lacks the column {_listed(lacking)}; there are {_listed(table.columns)}"
        )


def _known(table: pd.DataFrame, column: str, names: Iterable[str], what: str) -> np.ndarray:
    """Give the codes of a column of names, all of which must be among `names`."""
    codes = _codes(table[column], names)
    if (codes < 0).any():
        row = int(np.flatnonzero(codes < 0)[0])
        listed = {"source": "regulators", "target": "targets", "group": "groups"}[column]
        raise ValueError(
            f"{what} has {int((codes < 0).sum())} rows whose {column} is not among the network's "
            f"{listed} (row {row}: {table[column].iloc[row]!r}); needed names from there, as text"
        )
    return codes


def _checked_edges(
    edges: pd.DataFrame, regulators: np.ndarray, targets: np.ndarray, groups: tuple[str, ...] | None
) -> pd.DataFrame:
    """Give the edges with their names checked and their columns in order."""
    import pandas as pd

    keys = {"group": groups} if groups is not None else {}
    keys |= {"source": regulators, "target": targets}
    _check_columns(edges, [*keys, "weight"], "edges")
    if groups is None and "group" in edges.columns:
        raise ValueError("edges has a column 'group'; needed the names of the groups in groups")
    columns, place = {}, np.zeros(len(edges), np.int64)
    for column, names in keys.items():
        codes = _known(edges, column, names, "edges")
        columns[column] = np.asarray(names, dtype=object)[codes]
        place = place * max(len(names), 1) + codes
    double = pd.Series(place).duplicated().to_numpy()
    if double.any():
        edge = edges.iloc[int(np.flatnonzero(double)[0])]
        raise ValueError(
            f"edges has {int(double.sum())} rows of an edge that came before, such as "
            f"{' -> '.join(repr(str(edge[name])) for name in keys)}; needed one row per edge"
        )
    weight = _column(edges["weight"], "weight")
    if weight.dtype.kind != "f":
        weight = _numbers(edges["weight"], "weight")
    if not np.isfinite(weight).all():
        row = int(np.flatnonzero(~np.isfinite(weight))[0])
        raise ValueError(
            f"edges has {int((~np.isfinite(weight)).sum())} weights that are not finite (row {row}:"
            f" {columns['source'][row]!r} -> {columns['target'][row]!r} is {weight[row]}); drop "
            "those edges and let the certificate say why"
        )
    columns["weight"] = weight
    for name in edges.columns:
        if name not in columns:
            columns[name] = _column(edges[name], name)
    if "p" in columns and columns["p"].dtype.kind != "f":
        columns["p"] = _numbers(edges["p"], "p")
    return _table(columns)


def _checked_certificate(
    certificate: pd.DataFrame | None, targets: np.ndarray, groups: tuple[str, ...] | None
) -> pd.DataFrame:
    """Give the certificate with its names checked and its columns in order."""
    keys = {"group": groups} if groups is not None else {}
    keys |= {"target": targets}
    if certificate is None:
        columns = {name: np.empty(0, object) for name in (*keys, "status")}
        columns |= {"residual": np.empty(0), "iterations": np.empty(0, np.int64)}
        return _table(columns)
    _check_columns(certificate, [*keys, "status"], "certificate")
    columns = {
        column: np.asarray(names, dtype=object)[_known(certificate, column, names, "certificate")]
        for column, names in keys.items()
    }
    for name in certificate.columns:
        if name not in columns:
            columns[name] = _column(certificate[name], name)
    status = columns["status"]
    if status.dtype != object or any(value is None for value in status):
        raise ValueError("certificate has a status that is no text; needed one for every row")
    if "residual" in columns:
        columns["residual"] = _numbers(certificate["residual"], "residual")
    table = _table(columns)
    if certificate.attrs.get("summary"):
        table.attrs["summary"] = certificate.attrs["summary"]
    return table


def _counted(rows: pd.DataFrame) -> dict[str, Any]:
    """Count the statuses of some rows of a certificate, and find the largest residual."""
    counts = rows["status"].value_counts()
    summary: dict[str, Any] = {
        "rows": len(rows),
        "counts": {name: int(counts[name]) for name in sorted(counts.index)},
        "worst_residual": None,
        "worst": None,
    }
    residual = rows["residual"].to_numpy() if "residual" in rows.columns else np.empty(0)
    if residual.size and not np.isnan(residual).all():
        row = int(np.nanargmax(residual))
        summary["worst_residual"] = float(str(residual[row]))
        where = [name for name in ("group", "target") if name in rows.columns]
        summary["worst"] = {name: rows[name].iloc[row] for name in where}
    return summary


def _of_one_group(summary: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Give the part of a summary that counts one group."""
    part = dict(summary["by_group"][group])
    return {**part, "by_group": {group: dict(part)}}
