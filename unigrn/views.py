"""Views: parameters, data and prior as a term sees them, and arrays whose axes have names.

A term sees one target where the method separates over targets, and the whole network otherwise;
the table in `unigrn.terms` has the shapes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

Array = Any
_C = TypeVar("_C")

# Axes of blocks that many methods share; a spec declares those of its own (`Spec.blocks`).
AXES: dict[str, tuple[str, ...]] = {
    "theta": ("regulators", "targets"),
    "intercept": ("targets",),
    "log_variance": ("regulators", "targets"),
    "A": ("regulators", "cells"),
    "U": ("factors", "targets"),
    "V": ("factors", "regulators"),
}


def static(**kwargs: Any) -> Any:
    """Declare a dataclass field that is part of the compiled program, not an array leaf."""
    return field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(field, static))
def pytree(cls: type[_C]) -> type[_C]:
    """Make ``cls`` a frozen dataclass that JAX can trace; its hyperparameters are array leaves.

    Not by ``jax.tree_util.register_dataclass``: in JAX 0.10 the structures of two dataclasses with
    like fields compare equal whatever their class, so that a compiled function could be reused for
    another term.
    """
    cls = dataclass(frozen=True)(cls)
    fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]  # a dataclass by now
    leaves = tuple(f.name for f in fields if not f.metadata.get("static"))
    fixed = tuple(f.name for f in fields if f.metadata.get("static"))

    def flatten(term):
        return [getattr(term, n) for n in leaves], tuple(getattr(term, n) for n in fixed)

    def flatten_with_keys(term):
        children, aux = flatten(term)
        return [
            (jax.tree_util.GetAttrKey(n), c) for n, c in zip(leaves, children, strict=True)
        ], aux

    def unflatten(aux, children):
        term = object.__new__(cls)
        for name, value in (*zip(fixed, aux, strict=True), *zip(leaves, children, strict=True)):
            object.__setattr__(term, name, value)
        return term

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


@jax.tree_util.register_pytree_with_keys_class
class Blocks(Mapping):
    """Named parameter blocks: ``theta`` always, and the nuisance blocks a method declares.

    >>> params = Blocks(theta=[1.0, 0.0], intercept=0.5)
    >>> params.theta, sorted(params)
    ([1.0, 0.0], ['intercept', 'theta'])
    """

    def __init__(self, **blocks: Array):
        self.__dict__["_blocks"] = dict(sorted(blocks.items()))

    def __getattr__(self, name: str) -> Array:
        blocks = self.__dict__.get("_blocks", {})
        if name not in blocks:
            raise AttributeError(
                f"there is no parameter block {name!r}; the blocks are {', '.join(blocks)}"
            )
        return blocks[name]

    def __reduce__(self):
        return _blocks, (dict(self._blocks),)

    def __setattr__(self, name: str, value: Array) -> None:
        raise AttributeError("Blocks are immutable: use replace(name=value)")

    def __getitem__(self, name: str) -> Array:
        return self._blocks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def __repr__(self) -> str:
        return "Blocks(" + ", ".join(f"{k}={v!r}" for k, v in self._blocks.items()) + ")"

    def replace(self, **blocks: Array) -> Blocks:
        """Return these blocks with some of them exchanged."""
        return Blocks(**{**self._blocks, **blocks})

    def tree_flatten_with_keys(self):
        """Flatten for JAX, in the order of the names."""
        keys = tuple(self._blocks)
        return [(jax.tree_util.GetAttrKey(k), self._blocks[k]) for k in keys], keys

    @classmethod
    def tree_unflatten(cls, keys, children):
        """Rebuild from JAX's leaves."""
        return cls(**dict(zip(keys, children, strict=True)))


def _blocks(blocks: dict[str, Array]) -> Blocks:
    return Blocks(**blocks)


@pytree
class Moments:
    """Sufficient statistics of a Gaussian loss: weighted, centred sums over cells.

    With weights w, W = sum w, weighted means m_x and m_y:
    ``gram`` = sum w (x - m_x)(x - m_x)', ``cross`` = sum w (x - m_x)(y - m_y),
    ``square`` = sum w (y - m_y)^2, ``count`` = W. Where no Gram matrix is formed ``gram`` is None
    and ``own`` is its diagonal; otherwise ``own`` is None.
    """

    gram: Array
    cross: Array
    square: Array
    count: Array
    mean_x: Array
    mean_y: Array
    own: Array = None


@pytree
class View:
    """The data as a term sees it: moments, or rows, or both; a key where noise is drawn.

    ``moments`` are `Moments`. ``extra`` holds external arrays by name (`unigrn.Data.with_extra`),
    cut like everything else.
    ``regulators`` and ``target`` are the positions of a fit's candidates and of its target, None
    for a whole network. What a term has not asked for may be None.
    """

    moments: Any = None
    x: Array = None
    y: Array = None
    weight: Array = None
    key: Array = None
    extra: dict[str, Array] = field(default_factory=dict)
    regulators: Array = None
    target: Array = None

    def replace(self, **changes: Any) -> View:
        """Return this view with some fields exchanged."""
        return dataclasses.replace(self, **changes)


@pytree
class PriorView:
    """The prior as a term sees it, entry by entry of ``theta``.

    ``support`` is True where the prior names the edge, ``weight`` its evidence (summed over
    layers, 0 where there is none), ``sign`` -1, 0 or +1, ``self_edge`` True where regulator and
    target are the same gene, ``valid`` False at padding, ``layers`` the evidence by source.
    """

    support: Array
    weight: Array
    sign: Array
    self_edge: Array
    valid: Array
    layers: dict[str, Array] = field(default_factory=dict)

    def map(self, function: Any) -> PriorView:
        """Apply a function to every array."""
        return jax.tree.map(function, self)


@pytree
class Along:
    """An array whose axes are named; see `along`."""

    values: Array
    axes: tuple[str, ...] = static(default=())
    names: tuple[Any, ...] = static(default=())
    fill: float | None = static(default=None)


def along(values: Any, *axes: str, names: Any = None, fill: float | None = None) -> Along:
    """Say what the axes of an array are, so that it follows its regulators, targets or cells.

    A hyperparameter that is an array goes through deletion, sorting and padding with what it is
    about: the term sees the entries of its own candidates, of its own target, of the cells at hand.

    Parameters
    ----------
    values
        Array, pandas Series or DataFrame (the index, and columns, are then the names).
    *axes
        One word for each axis: "regulators", "targets", "cells", "cell groups" (of terms that see
        all of them), or a word of your own for an axis that is kept whole ("factors", "knots").
        None at all: an array that is kept whole.
    names
        Names along the regulators, targets and cell groups axes: one list, or one for each of them.
        Without them the order is that of `Data.genes`, taken only where no other order can be
        meant, or of `Data.groups`.
    fill
        Value of regulators, targets and cell groups that the names lack; without it they are
        refused.

    Raises
    ------
    ValueError
        Another number of axes than the array has.

    Examples
    --------
    >>> along([1.0, 2.0], "regulators", names=["a", "b"]).axes
    ('regulators',)
    """
    if names is None and hasattr(values, "index") and hasattr(values, "to_numpy"):
        labels = [values.index, *([values.columns] if hasattr(values, "columns") else [])]
        names = [list(map(str, label)) for label in labels]
        if axes:
            names = [n for n, a in zip(names, axes, strict=False) if a in LABELLED]
        values = values.to_numpy()
    array = values if hasattr(values, "ndim") else np.asarray(values)
    if axes and len(axes) != array.ndim:
        raise ValueError(
            f"along() got {len(axes)} axes ({', '.join(axes)}) for an array of shape "
            f"{tuple(array.shape)}; name one axis for each dimension"
        )
    named = sum(a in LABELLED for a in axes)
    if names is None:
        labels = ()
    elif len(names) and not isinstance(names[0], str):
        labels = tuple(tuple(map(str, n)) for n in names)
    else:
        labels = (tuple(map(str, names)),) * max(named, 1)
    if labels and axes and len(labels) != named:
        raise ValueError(f"along() got {len(labels)} lists of names for {named} named axes")
    axes = axes or (UNKNOWN if labels else (WHOLE,)) * array.ndim
    return Along(array, tuple(axes), labels, fill)


def numbers(hyper: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyperparameters as numbers and arrays, or say which is neither.

    Tables and series keep their names; dictionaries may nest.
    """
    out = {}
    for name, value in hyper.items():
        if isinstance(value, Mapping):
            value = numbers(value)
        elif isinstance(value, list | tuple):
            value = np.asarray(value)
        elif hasattr(value, "index") and hasattr(value, "to_numpy"):
            value = along(value)
        plain = isinstance(value, dict | Along | float | int | complex) or hasattr(value, "dtype")
        kind = getattr(value, "dtype", np.dtype(float))
        if not plain or (isinstance(kind, np.dtype) and kind.kind not in "fiubc"):
            raise TypeError(
                f"the hyperparameter {name} must be a number or an array of numbers, got "
                f"{type(value).__name__}; bind anything else into the function "
                "(functools.partial)"
            )
        out[name] = value
    return out


NAMED = ("regulators", "targets")
GROUPS = "cell groups"
LABELLED = (*NAMED, GROUPS)  # axes along which an array may have names
WHOLE, UNKNOWN = "whole", ("unknown",)


def local(tree: Any, view: View) -> Any:
    """Give every term of a fit the entries of its arrays that are its own.

    Arrays of regulators and targets hold one empty place at their end, for padding.
    """

    def cut(leaf):
        if not isinstance(leaf, Along):
            return leaf
        values = leaf.values
        if view.regulators is None:
            return values
        axis = 0
        for name in leaf.axes:
            if name == "regulators":
                values = jnp.take(values, view.regulators, axis=axis)
            elif name == "targets":
                values = jnp.take(values, view.target, axis=axis)
                continue  # one target: its axis is gone
            axis += 1
        return values

    return jax.tree.map(cut, tree, is_leaf=lambda leaf: isinstance(leaf, Along))
