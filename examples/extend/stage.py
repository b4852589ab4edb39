"""A stage: regressors made from the cells before the fit, here the mean of each gene module.

What regulates is then not a measured gene but something made of several. Cells stream through the
stage block by block, so that memory does not grow with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from unigrn import Spec, Stage, least_squares, ridge


@dataclass(frozen=True)
class Modules(Stage):
    """The mean expression of every module; its genes are the module's targets in the prior."""

    least: int = 2  # genes that a module needs

    def _members(self, prior, genes):
        aligned = prior.align(prior.regulators, genes)
        table = aligned.dense() > 0  # (modules, genes)
        keep = table.sum(axis=1) >= self.least
        return prior.regulators[keep], table[keep]

    def regulators(self, prior, genes):
        """Name what the stage makes, sorted."""
        return self._members(prior, genes)[0]

    def prepare(self, prior, genes, statistics):
        """Return a function of a block of cells, (cells, genes) -> (cells, modules)."""
        _, table = self._members(prior, genes)
        share = (table / table.sum(axis=1, keepdims=True)).T
        return lambda values: values @ share.astype(values.dtype)


def modules(prior, alpha: float = 1.0) -> Spec:
    """Ridge of every gene on the means of the prior's modules."""
    return Spec(least_squares(), ridge(alpha), prior=prior, stages=(Modules(),))
