"""A plain function as a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unigrn.check import check_hyper
from unigrn.terms import Array, Blocks, Loss, PriorView, Term, View, number, of_kind, pytree, static
from unigrn.views import numbers


@pytree
class FunctionLoss(Loss):
    """A plain function as a loss; see `loss`."""

    function: Callable = static()
    hyper: dict[str, Array]
    couples_targets: bool = static(default=False)
    uses_weight: bool = static(default=False)
    is_convex: bool = static(default=False)
    draws_noise: bool = static(default=False)
    blocks: tuple[str, ...] = static(default=("theta",))

    separable = property(lambda self: None if self.couples_targets else "targets")
    weighted = property(lambda self: True if self.uses_weight else None)
    convex = property(lambda self: True if self.is_convex else None)
    noisy = property(lambda self: True if self.draws_noise else None)
    formula = property(lambda self: f"{getattr(self.function, '__name__', 'loss')}(θ, data)")

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Call the function."""
        return number(self.function(params, data, prior, **self.hyper))


def loss(
    function: Callable[..., Array],
    *,
    coupled: bool = False,
    weighted: bool = False,
    convex: bool = False,
    noisy: bool = False,
    blocks: tuple[str, ...] = ("theta",),
    **hyper: Any,
) -> Term:
    """Turn any differentiable ``function(params, data, prior, **hyper)`` into a loss.

    A plain function given to `Spec` is wrapped so by itself; call this to pass hyperparameters or
    to say more. Nothing needs to be declared.

    Parameters
    ----------
    function
        Returns a scalar from ``params.theta``, ``data.x``, ``data.y`` (shapes: see `unigrn.terms`).
    coupled
        True where the function needs the whole network at once.
    weighted
        True where it uses ``data.weight``; found out by tracing where it is not said.
    convex
        True where it is convex in theta: momentum is then safe.
    noisy
        True where it draws noise from ``data.key``; found out by tracing where it is not said.
    blocks
        Names of the parameter blocks it uses: ``theta``, and ``intercept`` for one number a target.
    **hyper
        Numbers passed on to the function, or arrays whose axes have names (`unigrn.along`);
        changing one does not recompile.

    Raises
    ------
    TypeError
        For a hyperparameter that the function does not take, such as a misspelt option.

    Examples
    --------
    >>> absolute = loss(lambda params, data, prior: abs(data.y - data.x @ params.theta).sum())
    >>> absolute.separable
    'targets'
    """
    if isinstance(function, Term):
        return of_kind(function, "loss")
    if not callable(function):
        raise TypeError(
            f"a loss is a term or a function (params, data, prior) -> number, got "
            f"{type(function).__name__}"
        )
    check_hyper(function, hyper, ("coupled", "weighted", "convex", "noisy", "blocks"))
    flags = (bool(coupled), bool(weighted), bool(convex), bool(noisy))
    return FunctionLoss(function, numbers(hyper), *flags, tuple(sorted(blocks)))
