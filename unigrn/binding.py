"""Binding: arrays of a spec put into the order of the problem, or refused.

An array among the hyperparameters, or beside the expression, says what it is about by names or by
declared axes (`unigrn.along`). Without either it is taken only where nothing can be misread: its
lengths fit one choice of axes, and every order that its author can have had in mind is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.check import listed, meant
from unigrn.moments import padded
from unigrn.replicates import named
from unigrn.views import GROUPS, LABELLED, NAMED, UNKNOWN, Along


@dataclass(frozen=True)
class Names:
    """Names of a problem, and the orders in which arrays without names may be meant."""

    regulators: np.ndarray
    targets: np.ndarray
    orders: dict[str, list[list[str]]]
    cells: int
    coupled: bool
    groups: np.ndarray | None = None  # None: the cells are not grouped

    def size(self, axis: str) -> int | None:
        """Length of an axis, None for one that is kept whole."""
        if axis == "cells":
            return self.cells
        if axis == GROUPS:
            return 1 if self.groups is None else len(self.groups)
        return len(getattr(self, axis)) if axis in NAMED else None

    def along(self, axis: str) -> np.ndarray:
        """Names along one of the axes that have some."""
        found = self.groups if axis == GROUPS else getattr(self, axis)
        assert found is not None  # groups: refused before
        return found

    def same(self, axis: str) -> bool:
        """Whether all orders that can be meant are that of the problem."""
        return all(list(order) == list(getattr(self, axis)) for order in self.orders[axis])


def names_of(
    data: Any,
    regulators: np.ndarray,
    targets: np.ndarray,
    asked: Mapping[str, Sequence[str] | np.ndarray | None],
    coupled: bool,
) -> Names:
    """Collect the names of a problem; ``asked`` holds the lists that the user gave."""
    orders = {}
    for axis, chosen in (("regulators", regulators), ("targets", targets)):
        known = set(chosen.tolist())
        given = asked[axis]
        lists = [data.genes.tolist(), *([list(given)] if given is not None else [])]
        orders[axis] = [[str(n) for n in order if str(n) in known] for order in lists]
        orders[axis] = [order for order in orders[axis] if len(order) == len(chosen)]
    groups = None if data.groups is None else np.asarray(data.groups, object)
    return Names(regulators, targets, orders, data.cells, coupled, groups)


def bind(terms: tuple, names: Names) -> tuple:
    """Return the terms with every array in the order of the problem, its axes named."""

    def bound(path, leaf):
        label = f"{named(terms, path)}"
        if isinstance(leaf, Along):
            return _placed(leaf, names, label)
        if getattr(leaf, "ndim", 0) and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return _placed(Along(leaf, _guess(leaf, names, label)), names, label)
        return leaf

    return jax.tree_util.tree_map_with_path(
        bound, terms, is_leaf=lambda leaf: isinstance(leaf, Along)
    )


def bind_extra(extra: dict[str, Along], names: Names) -> dict[str, Along]:
    """Return external arrays in the order of the problem."""
    return {name: _placed(value, names, name) for name, value in extra.items()}


def _advice(label: str, shape: tuple[int, ...]) -> str:
    axes = ", ".join(['"regulators"'] * len(shape))
    short = label.rpartition(".")[2]
    return (
        f"say what its axes are: unigrn.along({short}, {axes}, names=...), or "
        f"unigrn.along({short}) for an array that is kept whole"
    )


def _guess(leaf: Any, names: Names, label: str) -> tuple[str, ...]:
    """Say which axes an array without names has, or why nobody can tell."""
    shape = tuple(leaf.shape)
    sizes = {axis: names.size(axis) for axis in (*NAMED, "cells")}
    axes = []
    for place, length in enumerate(shape):
        fits = [axis for axis, size in sizes.items() if size == length]
        same = names.coupled and np.array_equal(names.regulators, names.targets)
        if set(fits) == set(NAMED) and same:
            fits = [NAMED[min(place, 1)]]
        if set(fits) == set(NAMED) and len(shape) == 2:
            fits = [NAMED[place]]
        if len(fits) != 1:
            found = (
                " or the ".join(f"{sizes[a]} {a}" for a in fits)
                if fits
                else (
                    f"neither the {sizes['regulators']} regulators nor the {sizes['targets']} "
                    f"targets nor the {sizes['cells']} cells"
                )
            )
            what = "may be" if fits else "is"
            raise ValueError(
                f"{label} is an array of shape {shape}: its length {length} {what} that of "
                f"{'the ' if fits else ''}{found}; {_advice(label, shape)}"
            )
        axes.append(fits[0])
    for axis in axes:
        if axis in NAMED and not names.same(axis):
            raise ValueError(
                f"{label} is an array of shape {shape} without names, and the {axis} are sorted by "
                f"name here but not in the data or as asked for; {_advice(label, shape)}"
            )
    return tuple(axes)


def _placed(leaf: Along, names: Names, label: str) -> Along:
    """Put one array into the order of the problem."""
    axes, values, lists = leaf.axes, np.asarray(leaf.values), list(leaf.names)
    if axes and axes[0] == UNKNOWN[0]:
        axes = tuple(_by_names(labels, names, label) for labels in lists)
    shape = tuple(values.shape)
    for place, axis in enumerate(axes):
        size = names.size(axis)
        if size is None:
            continue
        if axis in LABELLED and lists:
            labels = lists.pop(0)
            if axis == GROUPS:
                _known_groups(labels, names, label)
            if len(labels) != shape[place]:
                raise ValueError(f"{label} has {len(labels)} names for {shape[place]} {axis}")
            at = {name: i for i, name in enumerate(labels)}
            wanted = names.along(axis).tolist()
            lacking = [n for n in wanted if n not in at]
            if lacking and leaf.fill is not None and len(lacking) < len(wanted):
                width = [(0, int(k == place)) for k in range(values.ndim)]
                values = np.pad(values, width, constant_values=leaf.fill)
            elif lacking:
                raise ValueError(
                    f"{label} has no value for {len(lacking)} {axis}, e.g. "
                    f"{', '.join(lacking[:3])}; give one for every one of them"
                )
            values = np.take(values, [at.get(n, -1) for n in wanted], axis=place)
        elif shape[place] != size:
            raise ValueError(
                f"{label} has length {shape[place]} along its {axis} axis, and there are {size}; "
                "give one value for each, in their order, or names=..."
            )
        elif axis in NAMED and not names.same(axis):
            raise ValueError(
                f"{label} has no names, and the {axis} are sorted by name here but not in the data "
                f"or as asked for; {_advice(label, shape)}"
            )
    return Along(values, axes)


def _known_groups(labels: Sequence[str], names: Names, label: str) -> None:
    """Refuse names that are no groups of the data: nobody else would miss them."""
    if names.groups is None:
        raise ValueError(
            f"{label} names groups of cells, {listed(labels, 3)}, and the data has none; give them "
            "(groupby=, --groupby COLUMN)"
        )
    known = names.groups.tolist()
    if lacking := [name for name in labels if name not in known]:
        raise ValueError(
            f"{label} names {lacking[0]!r}, which is no group of the data"
            f"{meant(lacking[0], known)}; the groups are {listed(known)}"
        )


def _by_names(labels: Sequence[str], names: Names, label: str) -> str:
    """Say which axis a list of names is about."""
    fits = [a for a in NAMED if set(getattr(names, a).tolist()) <= set(labels)]
    if len(fits) == 1 or (len(fits) == 2 and names.coupled):
        return fits[0]
    if fits:
        raise ValueError(
            f"the names of {label} fit regulators and targets; say which by "
            f'unigrn.along({label.rpartition(".")[2]}, "regulators")'
        )
    lacking = sorted(set(names.regulators.tolist()) - set(labels))[:3]
    raise ValueError(
        f"the names of {label} are those of neither all regulators nor all targets "
        f"(without a value: {', '.join(lacking)}, ...); give one for every one"
    )


def at_entries(tree: Any, regulator: np.ndarray, target: np.ndarray) -> Any:
    """Give bound terms the values of their arrays at single edges, (E,), by place."""
    place = {"regulators": regulator, "targets": target}

    def entry(leaf):
        if not isinstance(leaf, Along):
            return leaf
        return leaf.values[tuple(place.get(axis, slice(None)) for axis in leaf.axes)]

    return jax.tree.map(entry, tree, is_leaf=lambda leaf: isinstance(leaf, Along))


def laid(tree: Any, sizes: dict[str, int], cells: np.ndarray | None, rows: int, dtype: str) -> Any:
    """Pad bound arrays to the sizes of a compiled call, and take the cells of a group."""

    def lay(leaf):
        if not isinstance(leaf, Along):
            return leaf
        values = leaf.values
        for place, axis in enumerate(leaf.axes):
            if axis == "cells":
                if cells is None:
                    continue
                values, size = np.take(values, cells, axis=place), rows
            elif axis in sizes:
                size = sizes[axis]
            else:
                continue
            width = [(0, 0)] * values.ndim
            width[place] = (0, size - values.shape[place])
            values = np.pad(values, width)
        kind = dtype if np.issubdtype(values.dtype, np.floating) else values.dtype
        return Along(values.astype(kind), leaf.axes)

    return jax.tree.map(lay, tree, is_leaf=lambda leaf: isinstance(leaf, Along))


def places(count: int) -> int:
    """Length of an axis in a compiled call: one of few sizes, with an empty place at the end."""
    return padded(count + 1)
