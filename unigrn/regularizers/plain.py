"""A plain function as a regularizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unigrn.check import check_hyper
from unigrn.terms import (
    Array,
    Blocks,
    PriorView,
    Regularizer,
    Term,
    View,
    number,
    of_kind,
    pytree,
    static,
)
from unigrn.views import numbers


@pytree
class FunctionRegularizer(Regularizer):
    """A plain function as a regularizer; see `regularizer`."""

    function: Callable = static()
    hyper: dict[str, Array]
    couples_targets: bool = static(default=False)
    is_convex: bool = static(default=False)
    draws_noise: bool = static(default=False)
    sees_groups: bool = static(default=False)
    blocks: tuple[str, ...] = static(default=("theta",))

    separable = property(lambda self: None if self.couples_targets else "targets")
    convex = property(lambda self: True if self.is_convex else None)
    noisy = property(lambda self: True if self.draws_noise else None)
    across = property(lambda self: True if self.sees_groups else None)
    formula = property(lambda self: f"{getattr(self.function, '__name__', 'penalty')}(θ, P)")

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Call the function."""
        return number(self.function(params, data, prior, **self.hyper))


def regularizer(
    function: Callable[..., Array],
    *,
    coupled: bool = False,
    convex: bool = False,
    noisy: bool = False,
    across: bool = False,
    blocks: tuple[str, ...] = ("theta",),
    **hyper: Any,
) -> Term:
    """Turn any differentiable ``function(params, data, prior, **hyper)`` into a regularizer.

    Parameters as in `unigrn.loss`. With ``across=True`` the function sees the coefficients of all
    groups of cells at once: ``params.theta`` is (groups, candidates), in the order of
    `Data.groups`; the targets still separate.
    """
    if isinstance(function, Term):
        return of_kind(function, "regularizer")
    if not callable(function):
        raise TypeError(
            "a regularizer is a term or a function (params, data, prior) -> number, "
            f"got {type(function).__name__}"
        )
    check_hyper(function, hyper, ("coupled", "convex", "noisy", "across", "blocks"))
    flags = (bool(coupled), bool(convex), bool(noisy), bool(across))
    return FunctionRegularizer(function, numbers(hyper), *flags, tuple(sorted(blocks)))
