"""Leave-one-out networks: an axis whose members become groups, and the data as it sees them.

Every unit (a group of cells, or a single one) is left out once; LIONESS reads its network off the
difference. What is read is each unit's own cells, once: the sums over all cells but those of a unit
are the sums over all, less its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from unigrn.data import Data
from unigrn.moments import GeneStatistics, pool
from unigrn.replicates import Found, Over
from unigrn.spec import Spec

MOST = 1000  # cells that are units of their own where no groups are given


@dataclass(frozen=True)
class Lioness(Over):
    """One fit for every unit left out, and one to all cells; see `unigrn.lioness`."""

    leaves_out = True

    size = property(lambda self: 1)
    formula = property(lambda self: "leave-one-out networks")

    def reduce(self, found: Found) -> Found:
        """Keep the fit; networks of units are made of those of several groups."""
        return found.member(0)


@dataclass(frozen=True, eq=False)
class LeftOut(Data):
    """Data whose groups are all cells but those of each unit, and last all cells.

    ``own`` are the same cells, each in the group of its unit, or in the last where it has none.
    Blocks are those of ``own``: every cell is read once.
    """

    own: Data | None = None

    @property
    def units(self) -> Data:
        """The data with the units as groups."""
        assert self.own is not None and self.groups is not None and self.own.codes is not None
        last = len(self.groups) - 1
        codes = np.where(self.own.codes == last, -1, self.own.codes)
        return replace(self.own, groups=self.groups[:-1], codes=codes)

    @property
    def group_sizes(self) -> np.ndarray:
        """Number of cells in each group."""
        assert self.own is not None
        sizes = self.own.group_sizes
        return np.r_[sizes.sum() - sizes[:-1], sizes.sum()]

    def positions(self, group: int) -> np.ndarray:
        """Rows of the cells of one group, in order."""
        assert self.own is not None and self.own.codes is not None and self.groups is not None
        codes = self.own.codes
        return np.flatnonzero((codes != group) | (group == len(self.groups) - 1))

    def blocks(self, columns: np.ndarray, size: int = 4096):
        """Read every cell once, in the group of its unit."""
        assert self.own is not None
        return self.own.blocks(columns, size)

    def share(self) -> np.ndarray:
        """Return the weight of each unit's cells over that of all, (units,)."""
        assert self.own is not None and self.own.codes is not None
        each = np.bincount(self.own.codes, self.weights, minlength=len(self.groups or ()))
        return each[:-1] / each.sum()


def left_out(data: Data) -> LeftOut:
    """Make every group of cells a unit, or every cell where there are none; in double precision.

    Cells without a group count in every fit and have no network.

    Raises
    ------
    ValueError
        Too many cells without groups; a unit that holds all cells, or no weight.
    """
    if data.groups is None or data.codes is None:
        if data.cells > MOST:
            raise ValueError(
                f"lioness gives every cell a network, and there are {data.cells:,}; at most "
                f"{MOST:,}: name the cells or groups that are to have one by groupby, and leave "
                "the others without a value"
            )
        digits = len(str(data.cells - 1))
        units = tuple(f"cell {i:0{digits}d}" for i in range(data.cells))
        codes = np.arange(data.cells)
    else:
        units = data.groups
        codes = np.where(data.codes < 0, len(units), data.codes)
    groups = (*units, "all cells")
    origin = {k: v for k, v in data.origin.items() if k != "cells_without_group"}
    own = replace(data, dtype="float64", groups=groups, codes=codes, origin=origin)
    fields = {name: getattr(own, name) for name in own.__dataclass_fields__}
    out = LeftOut(**fields, own=own)
    share = out.share()
    if (wrong := np.flatnonzero(~((share > 0) & (share < 1)))).size:
        raise ValueError(
            f"lioness leaves out {units[wrong[0]]!r}, which has "
            + ("all the weight of the cells" if share[wrong[0]] > 0 else "no weight")
            + ": give units, each with some of the cells and none with all"
        )
    return out


def unsuited(spec: Spec, drawn: bool) -> str:
    """Say why leaving units out of a spec means nothing; ``drawn`` where it draws at random."""
    *inner, axis = spec.over
    if not axis.leaves_out or any(o.leaves_out for o in inner):
        return "it goes around every other axis, once: make it the last transformation"
    if spec.across:
        return "a term couples the groups of cells, which are left out one by one"
    fixed = {"cells": Over.cells, "held": Over.held, "order": Over.order}
    random = [
        o.name
        for o in inner
        if o.starts or any(getattr(type(o), name) is not own for name, own in fixed.items())
    ]
    if random or drawn or spec.minibatch is not None:
        return f"{', '.join(random) or 'the fit'} draws at random, and what is left is noise"
    return ""


def complements(own: list[GeneStatistics], columns: int) -> list[GeneStatistics]:
    """Return the statistics of all cells but each unit's, and last of all cells."""
    units, rest = own[:-1], own[-1]
    before, after = [GeneStatistics(columns)], [rest]
    for first, last in zip(units, reversed(units), strict=True):
        before.append(pool([before[-1], first], columns))
        after.append(pool([last, after[-1]], columns))
    after.reverse()
    out = [pool([before[i], after[i + 1]], columns) for i in range(len(units))]
    return [*out, after[0]]
