"""Stages: what happens to the cells before the fit, block of cells by block of cells.

A stage makes the regressors: a table of their own beside the genes, so that the activity of a
factor and the expression of its gene can both exist, and a regulator need not be measured. Cells
are streamed through it; what it needs to know of all cells comes from one earlier pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from unigrn.check import check_number, listed
from unigrn.data import Data
from unigrn.prior import Prior


class Stage:
    """Makes regressors from expression; subclass it (a frozen dataclass), or use `activity`.

    ``regulators(prior, genes)`` names what it makes, sorted. ``prepare(prior, genes, statistics)``
    returns a function of blocks of cells, (cells, genes) -> (cells, regulators), with
    ``statistics`` None unless ``statistics = True``: then means and deviations of the genes
    (`unigrn.moments.GeneStatistics`) are gathered in a pass of their own. With ``fallback = True``
    a regulator that is asked for, and that no stage makes, is the expression of its gene.
    ``brings`` names numbers of each cell that terms find in ``data.extra``: ``of_cells(data)``
    returns them by name, (cells,) each, read once as the plan is made.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    statistics: bool = False
    fallback: bool = False
    brings: ClassVar[tuple[str, ...]] = ()

    def regulators(self, prior: Prior | None, genes: np.ndarray) -> np.ndarray:
        """Name the regressors, sorted."""
        raise TypeError(f"the stage {type(self).__name__} does not say how this is done")

    def prepare(self, prior: Prior | None, genes: np.ndarray, statistics: Any) -> Any:
        """Return the function that makes them."""
        raise TypeError(f"the stage {type(self).__name__} does not say how this is done")

    def of_cells(self, data: Data) -> dict[str, np.ndarray]:
        """Return the numbers of each cell that it brings, by name."""
        return {}


@dataclass(frozen=True)
class Activity(Stage):
    """Activities of factors by least squares on the prior; see `activity`."""

    ridge: float
    fallback: bool = False

    def regulators(self, prior: Prior | None, genes: np.ndarray) -> np.ndarray:
        """Every source of the prior with a measured target beside itself, measured or not."""
        if prior is None:
            raise ValueError("the activities of factors need a prior: give Spec(prior=...)")
        aligned = prior.align(prior.regulators, genes)
        others = prior.regulators[aligned.index] != genes[aligned.target]
        count = np.bincount(aligned.index[others], minlength=len(prior.regulators))
        return prior.regulators[count > 0]

    def prepare(self, prior: Prior, genes: np.ndarray, statistics: Any) -> Any:
        """Return x -> x P' (P P' + ridge)^-1, with P (factors, genes)."""
        names = self.regulators(prior, genes)
        aligned = prior.align(names, genes)
        edges = aligned.dense(aligned.weight * np.where(aligned.sign == 0, 1, aligned.sign))
        edges[names[:, None] == genes[None, :]] = 0  # a factor's gene says nothing of its activity
        u, s, v = np.linalg.svd(edges, full_matrices=False)
        keep = s > s.max(initial=0) * max(edges.shape) * np.finfo(float).eps
        share = np.where(keep, s / np.where(keep, s**2 + self.ridge, 1), 0)
        readout = (v.T * share) @ u.T

        def activities(values: np.ndarray) -> np.ndarray:
            # In double precision: targets of several factors cancel.
            return (values.astype(np.float64) @ readout).astype(values.dtype)

        return activities


def activity(ridge: float = 0.0, *, fallback: bool = False) -> Activity:
    """Activities of factors in place of their expression, from the targets that the prior names.

    A = argmin |X - A P|^2 + ridge |A|^2 = X P' (P P' + ridge)^-1 over activities A (cells,
    factors), with X (cells, genes) and the signed prior P (factors, genes) without self-edges;
    linear in the cells, so that they stream. Factors need not be measured. `Spec.scale` divides
    activities by their own standard deviations, as it does genes.

    Parameters
    ----------
    ridge
        Number >= 0; 0 takes the pseudo-inverse.
    fallback
        A factor without a measured target in the prior regulates by the expression of its gene;
        without it, it is no candidate. The report of names says how many these are.

    References
    ----------
    Arrieta-Ortiz et al., Mol. Syst. Biol. 11 (2015) 839, doi:10.15252/msb.20156236; Liao et al.,
    PNAS 100 (2003) 15522, doi:10.1073/pnas.2136632100.
    """
    return Activity(check_number("ridge", ridge), bool(fallback))


@dataclass(frozen=True)
class LogCounts(Stage):
    """Logarithms of normalised counts beside the counts themselves; see `log_counts`."""

    every: bool = False

    brings: ClassVar[tuple[str, ...]] = ("library",)

    def regulators(self, prior: Prior | None, genes: np.ndarray) -> np.ndarray:
        """Every measured source of the prior, or every gene."""
        return (
            np.sort(genes)
            if self.every or prior is None
            else prior.regulators[np.isin(prior.regulators, genes)]
        )

    def prepare(self, prior: Prior | None, genes: np.ndarray, statistics: Any) -> Any:
        """Return c -> log(1 + 10^4 c / total), of the regulators."""
        where = np.searchsorted(genes, self.regulators(prior, genes))

        def logarithms(values: np.ndarray) -> np.ndarray:
            total = values.sum(axis=1, keepdims=True, dtype=np.float64)
            share = values[:, where] / np.where(total > 0, total, 1)
            return np.log1p(1e4 * share).astype(values.dtype)

        return logarithms

    def of_cells(self, data: Data) -> dict[str, np.ndarray]:
        """Return every cell's total over all genes, divided by the mean of these, and look.

        Raises
        ------
        ValueError
            Values that are no counts; cells without a single count.
        """
        total, read = np.ones(data.cells), np.zeros(data.cells, bool)
        for block in data.blocks(np.arange(len(data.genes))):
            cells = data.positions(block.group)[block.start : block.start + len(block.values)]
            values = block.values
            wrong = np.isfinite(values) & ((values < 0) | (values != np.rint(values)))
            if wrong.any():
                cell, gene = np.argwhere(wrong)[0]
                raise ValueError(
                    f"needed counts, whole numbers >= 0, got {values[cell, gene]:g} for "
                    f"{data.genes[gene]} in cell {cells[cell] + 1}; name the layer of the raw "
                    "counts (layer=, --layer), or take a method for normalised values"
                )
            total[cells], read[cells] = values.sum(axis=1, dtype=np.float64), True
        if (empty := np.flatnonzero(total == 0)).size:
            raise ValueError(
                f"{empty.size:,} of {data.cells:,} cells have no count at all, e.g. cell "
                f"{listed(empty[:3] + 1)}: their size is 0, and they say nothing; leave them out"
            )
        return {"library": total / total[read].mean()}


def log_counts(*, every: bool = False) -> LogCounts:
    """Take counts as they are for targets, their normalised logarithms for regulators.

    From counts c (cells, genes), the expression: regulator j of cell i is log(1 + 10^4 c_ij /
    t_i), t_i the cell's total over all genes of the data. A term finds t_i over its mean over all
    cells in ``data.extra["library"]``: ``poisson("library")``.

    Parameters
    ----------
    every
        Every gene may regulate; otherwise the prior's sources, where there is a prior.

    Raises
    ------
    ValueError
        As the plan is made: values that are no counts, cells without a count.
    """
    return LogCounts(bool(every))
