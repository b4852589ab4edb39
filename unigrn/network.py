"""The result of an inference: a table of edges, how good each fit is, and where it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn import files
from unigrn.check import counted, listed
from unigrn.edges import (
    checked_certificate,
    checked_edges,
    checked_names,
    checked_proof,
    codes,
    edge_score,
    exact_line,
    exact_table,
    failed,
    filtered,
    group_codes,
    numbers,
    of_one_group,
    ordered,
    summarize,
)
from unigrn.exact import Proof, relative
from unigrn.files import h5ad, read_edges
from unigrn.files.document import RESERVED, Parts, layout, plain
from unigrn.files.h5ad import varp_key
from unigrn.predicted import PredictiveCheck
from unigrn.prior import AlignmentReport

if TYPE_CHECKING:
    import os

    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

__all__ = ["Network", "edge_score", "plain", "read_edges", "varp_key"]

FDR_ADVICE = (
    "not asked for; permutations=2 (--param permutations=2) gives a calibrated one to cut edges by"
)
_NOTES = {
    "group": "group of cells",
    "source": "regulator",
    "target": "gene that it drives",
    "weight": "estimated effect of the regulator on the target",
    "p": "as the method writes it, uncalibrated",
    "fdr": "share of the edges at least as strong that permuted targets would give",
    "score": "edges rank by it, the largest first",
    "variance": "posterior variance of the weight",
    "bags_drawn": "number of bags that drew the regulator",
    "frequency": "share of the fits that selected the edge",
}


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
    proof : Proof, or None
        What `certificate_exact` rests on, where it was asked for (`unigrn.exact`).
    predictive : PredictiveCheck, or None
        Replicates beside the data, where asked for; of a file its summary is in `provenance` alone.

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
    Network(2 edges, 2 regulators x 1 target)
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
    certificate: pd.DataFrame | Any = None  # None becomes a table without rows
    alignment: AlignmentReport | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    proof: Proof | None = None
    predictive: PredictiveCheck | None = None

    def __post_init__(self) -> None:
        """Check the parts and bring them into one form."""
        set_ = object.__setattr__
        set_(self, "regulators", checked_names(self.regulators, "regulators"))
        set_(self, "targets", checked_names(self.targets, "targets"))
        if self.groups is not None:
            if isinstance(self.groups, str):
                raise ValueError(f"groups is {self.groups!r}; needed a sequence of names or None")
            checked_names(groups := tuple(self.groups), "groups")
            set_(self, "groups", tuple(map(str, groups)))
        set_(self, "edges", checked_edges(self.edges, self.regulators, self.targets, self.groups))
        set_(self, "certificate", checked_certificate(self.certificate, self.targets, self.groups))
        set_(self, "proof", checked_proof(self.proof, self.edges, self.groups))
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

    @property
    def certificate_exact(self) -> pd.DataFrame | None:
        """One row per [group,] target: what was proved; None without a proof (`certify=True`).

        `gap`: the objective is at most so far above the infimum, in units of the loss;
        `relative_gap`: the same relative to the objective of the empty network, explained part.
        Both are exact but for rounding upwards, infinite where no bound is finite.
        """
        return None if self.proof is None else exact_table(self.proof, self.groups is not None)

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
                f"no column {value!r} in the edges; there are {listed(self.edges.columns)}"
            )
        table = self._of_group(group)
        values = table[value].to_numpy()
        if value == "weight":
            dense = np.zeros((self.regulators.size, self.targets.size), values.dtype)
        else:
            values = numbers(table[value], value)
            dense = np.full((self.regulators.size, self.targets.size), np.nan, values.dtype)
        at = codes(table["source"], self.regulators), codes(table["target"], self.targets)
        dense[at] = values
        return pd.DataFrame(dense, self.regulators.astype(object), self.targets.astype(object))

    def rank(self) -> pd.DataFrame:
        """Give the edges in order: by group, then by `edge_score`, the largest first.

        Ties are in the order of (source, target), so that the order does not depend on that of
        the rows.
        """
        names = self.regulators, self.targets, self.groups
        return ordered(self.edges, edge_score(self.edges), *names)

    def subset(self, group: str) -> Network:
        """Give the network of one group; its table keeps the column `group`.

        Raises
        ------
        ValueError
            Where there are no groups, or not this one.
        """
        if self.groups is None:
            raise ValueError(f"no group {group!r}: the cells of this network were not grouped")
        table, rows = self._of_group(group), of_one_group(self.certificate, group)
        check = self.predictive and self.predictive.subset(group)
        parts: dict[str, Any] = {"certificate": rows, "predictive": check}
        return dataclasses.replace(self, edges=table, groups=(group,), **parts)

    def filter(
        self,
        p: float | None = None,
        top: int | None = None,
        by: str = "weight",
        sources: Iterable[str] | None = None,
        targets: Iterable[str] | None = None,
        *,
        fdr: float | None = None,
        score: float | None = None,
        probability: float | None = None,
        connected: bool = False,
    ) -> Network:
        """Keep the strongest edges; all of them by default.

        In this order: keep the listed sources, then the listed targets; keep what meets every
        threshold; sort by `by` and keep the first `top` of each group. Ties are decided by
        (source, target).

        Parameters
        ----------
        p, fdr : float in [0, 1], optional
            Keep edges whose value is at most this; one that is undefined is dropped. None: skip.
        top : int >= 0, optional
            Edges per group. None: keep all.
        by : str
            "weight" sorts by |weight|. Of other columns of numbers the best come first, NaN last:
            the smallest of p, fdr and what measures spread (`unigrn.edges.SMALLEST`), the largest
            of any other.
        sources : names, optional
            Names that the network does not have are ignored.
        targets : names, optional
            Likewise.
        score, probability : float, optional
            Keep edges whose value is at least this.
        connected : bool
            Keep only the regulators and targets that still have an edge. Otherwise they stay as
            they were, and only .graphml leaves out the genes without an edge.

        Returns
        -------
        Network
            Its edges in the order of the filter; `provenance["filters"]` has one more entry.

        Raises
        ------
        ValueError
            Where a threshold is given for a column that the method does not give, a list names
            nothing that the network has, or a value is out of its range.
        """
        thresholds = {"p": p, "fdr": fdr, "score": score, "probability": probability}
        named = {"source": (sources, self.regulators), "target": (targets, self.targets)}
        table, step = filtered(self.edges, self.groups, named, thresholds, by, top, self._method())
        filters = [*self.provenance.get("filters", []), step]
        parts: dict[str, Any] = {"provenance": {**self.provenance, "filters": filters}}
        if connected:
            parts["regulators"] = np.unique(table["source"].to_numpy(dtype=str))
            parts["targets"] = np.unique(table["target"].to_numpy(dtype=str))
            rows = self.certificate["target"].isin(list(parts["targets"])).to_numpy(bool)
            parts["certificate"] = self.certificate[rows]
        return dataclasses.replace(self, edges=table, **parts)

    def certificate_summary(self) -> dict[str, Any]:
        """Count the certificate's rows.

        Returns
        -------
        dict
            `rows`, `counts` (status -> rows), `worst_residual` (largest defined one, or None),
            `worst` (where it is), and `by_group` (the same per group) where grouped.
        """
        return summarize(self.certificate, self.groups)

    def not_converged(self) -> pd.DataFrame:
        """Give the rows of the certificate whose fit is not what the method asks for.

        Those are the rows with any other status than the good ones of `unigrn.status.Status`.
        """
        return failed(self.certificate)

    def undefined_p(self) -> int:
        """Count the edges whose p is undefined; 0 where the method gives no p."""
        return int(self.edges["p"].isna().sum()) if "p" in self.edges.columns else 0

    def summary(self) -> list[str]:
        """Give a few lines for a reader: sizes, p, certificate, warnings."""
        lines = [f"{self._method()}: {self._sizes()}"]
        if "p" in self.edges.columns:
            lines.append(f"p: {self.undefined_p()} undefined; {self.columns['p']}")
            known = self.provenance.get("hyperparameters") or {}
            if "permutations" in known and "fdr" not in self.edges.columns:
                lines.append(f"fdr: {FDR_ADVICE}")
        shown, count = "none", self.certificate_summary()
        if count["rows"]:
            shown = ", ".join(f"{n} {status}" for status, n in count["counts"].items())
            if count["worst_residual"] is not None:
                place = " / ".join(count["worst"].values())
                shown += f"; worst residual {count['worst_residual']:.2g} ({place})"
        lines.append(f"certificate: {shown}")
        if self.proof is not None:
            lines.append(exact_line(self.proof, relative(self.proof.gap, self.proof.worth)))
        lines += self.predictive.lines() if self.predictive else []
        warnings = self.provenance.get("warnings") or []
        warnings = [warnings] if isinstance(warnings, str) else warnings
        return lines + [f"warning: {text}" for text in warnings]

    def __str__(self) -> str:
        """Give the summary, and what of the prior was met."""
        met = self.alignment.lines() if self.alignment else ()
        return "\n".join([*self.summary(), *list(met)[:1]])

    def __repr__(self) -> str:
        """Give the sizes and the method."""
        method = self.provenance.get("method")
        return f"Network({self._sizes(' x ')}{f', {method}' if method else ''})"

    def write(self, path: str | os.PathLike) -> None:
        """Write the network; the suffix decides the format.

        `.tsv`, `.txt`, `.csv` (optionally `.gz`): a plain table, its first line the header,
        undefined values empty, and `path + ".meta.json"` with the provenance. `.parquet`,
        `.graphml`, `.h5ad`: one file that holds both. `.sif`, for Cytoscape, and `.gmt`, gene sets
        of the regulators: without numbers, not to be read back. `unigrn.files` describes the
        layouts. The same network gives the same bytes. The old file stays whole until the new one
        is complete.

        Raises
        ------
        ValueError
            Where the suffix is another, or the format cannot hold a name.
        unigrn.files.WriteError
            A ValueError: where the file cannot be written.
        """
        files.write(self.parts(), path)

    @classmethod
    def read(cls, path: str | os.PathLike) -> Network:
        """Read a network that `write` has written, or an `.h5ad` with `to_anndata` inside.

        Raises
        ------
        ValueError
            Where the file is absent, is no network of this project, or its `.meta.json` is missing
            or belongs to another table; `read_edges` reads the bare table.
        """
        return cls(**files.read_network(path))

    def to_anndata(self, adata: AnnData) -> AnnData:
        """Put the network into `adata`, in place.

        `adata.uns["unigrn"]` gets `edges` and `certificate` (DataFrames, names as categories) and
        `provenance` (JSON text). `adata.varp["unigrn_weight"]`, or one `varp_key(group)` per group,
        gets the weights as a sparse genes x genes matrix, sources in rows, targets in columns.

        Parameters
        ----------
        adata : AnnData
            Edges of genes that it lacks stand in `uns` only.

        Returns
        -------
        AnnData
            The same object.

        Raises
        ------
        ValueError
            Where `adata` has no gene of the network, or a name twice.

        Warns
        -----
        UnigrnWarning
            Where `adata` lacks genes of the network.
        """
        h5ad.fill(adata, self.parts())
        return adata

    def parts(self) -> Parts:
        """Give what a file holds: the tables, the names and the document."""
        tables = (self.edges, self.certificate, self.regulators, self.targets, self.groups)
        return Parts(*tables, self.document(), self.proof)

    def document(self) -> dict[str, Any]:
        """Give what the files say beside the edges, as plain values for JSON."""
        alignment = None
        if self.alignment is not None:
            alignment = plain(self.alignment.to_dict()) | {"lines": list(self.alignment.lines())}
        return {
            **self.provenance,
            "alignment": alignment,
            "certificates": plain(self.certificate_summary())
            | {"not_converged": [plain(row) for row in self.not_converged().to_dict("records")]},
            "columns": dict(self.columns),
            "network": layout(
                self.edges, self.certificate, self.regulators, self.targets, self.groups
            ),
            "undefined_p": self.undefined_p(),
        }

    def genes(self) -> np.ndarray:
        """Give the names of all regulators and targets, sorted."""
        return np.union1d(self.regulators, self.targets)

    def sparse(self, genes: np.ndarray) -> dict[str | None, csr_matrix]:
        """Give the weights as genes x genes, sources in rows, per group (None: not grouped)."""
        return h5ad.sparse(self.edges, self.groups, genes)

    def _method(self) -> str:
        return str(self.provenance.get("method", "network"))

    def _sizes(self, between: str = ", ") -> str:
        groups = "" if self.groups is None else f"{counted(len(self.groups), 'group')}, "
        genes = counted(self.regulators.size, "regulator"), counted(self.targets.size, "target")
        return f"{counted(len(self.edges), 'edge')}, {groups}{between.join(genes)}"

    def _of_group(self, group: str | None) -> Any:
        """Give the edges of one group."""
        if self.groups is None:
            if group is not None:
                raise ValueError(f"no group {group!r}: the cells of this network were not grouped")
            return self.edges
        if group is None and len(self.groups) == 1:
            group = self.groups[0]
        if group is None:
            raise ValueError(f"which group? needed one of {listed(self.groups, 20)}")
        if group not in self.groups:
            raise ValueError(f"no group {group!r}; there are {listed(self.groups, 20)}")
        return self.edges[group_codes(self.edges, self.groups) == self.groups.index(group)]
