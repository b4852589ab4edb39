"""Regularizers: what is preferred of the parameters, given the prior."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from unigrn.losses import check_number, of_kind
from unigrn.terms import (
    Array,
    Blocks,
    PriorView,
    Quadratic,
    Regularizer,
    Term,
    View,
    pytree,
    soft_threshold,
    static,
)


@pytree
class Ridge(Regularizer):
    """alpha |theta|^2; see `ridge`."""

    alpha: Array

    separable = "entries"
    convex = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return self.alpha * jnp.sum(params.theta**2)

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return the diagonal alpha."""
        weight = prior.weight
        zero = jnp.zeros((), weight.dtype)
        return Quadratic(zero, jnp.full_like(weight, 1) * self.alpha, zero)

    def prox(self, v: Array, step: Array, data: View, prior: PriorView) -> Array:
        """Return v / (1 + 2 t alpha)."""
        return v / (1 + 2 * step * self.alpha)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Return 2 alpha."""
        return 2 * self.alpha

    formula = property(lambda self: "α ‖θ‖²")


def ridge(alpha: float) -> Ridge:
    """Squared norm of the coefficients: R(theta) = alpha sum_j theta_j^2.

    Parameters
    ----------
    alpha
        Strength >= 0, in units of the loss per squared unit of theta.

    References
    ----------
    Hoerl and Kennard, Technometrics 12 (1970) 55, doi:10.1080/00401706.1970.10488634.
    """
    return Ridge(check_number("alpha", alpha))


@pytree
class L1(Regularizer):
    """strength |theta|_1; see `l1`."""

    strength: Array

    separable = "entries"
    convex = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return jnp.sum(self.absolute(data, prior) * jnp.abs(params.theta))

    def absolute(self, data: View, prior: PriorView) -> Array:
        """Return the same weight for every entry."""
        return jnp.full_like(prior.weight, 1) * self.strength

    def prox(self, v: Array, step: Array, data: View, prior: PriorView) -> Array:
        """Soft threshold."""
        return soft_threshold(v, step * self.absolute(data, prior))

    formula = property(lambda self: "λ ‖θ‖₁")


def l1(strength: float) -> L1:
    """Sum of absolute coefficients: R(theta) = strength sum_j |theta_j|.

    Parameters
    ----------
    strength
        lambda >= 0, in units of the loss per unit of theta.

    References
    ----------
    Tibshirani, J. R. Stat. Soc. B 58 (1996) 267, doi:10.1111/j.2517-6161.1996.tb02080.x.
    """
    return L1(check_number("strength", strength))


def elastic_net(l1_strength: float, ridge_strength: float) -> Regularizer:
    """L1 plus ridge: R(theta) = l1_strength |theta|_1 + ridge_strength |theta|^2.

    References
    ----------
    Zou and Hastie, J. R. Stat. Soc. B 67 (2005) 301, doi:10.1111/j.1467-9868.2005.00503.x.
    """
    return l1(l1_strength) + ridge(ridge_strength)


@pytree
class PriorL1(Regularizer):
    """L1 whose weight falls with the prior's evidence; see `prior_l1`."""

    strength: Array
    bias: Array
    layer: str | None = static(default=None)

    needs_prior = True
    separable = "entries"
    convex = True

    def absolute(self, data: View, prior: PriorView) -> Array:
        """Return strength (1 - (1 - bias) min(weight, 1))."""
        weight = prior.weight if self.layer is None else prior.layers[self.layer]
        return self.strength * (1 - (1 - self.bias) * jnp.minimum(weight, 1))

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return jnp.sum(self.absolute(data, prior) * jnp.abs(params.theta))

    def prox(self, v: Array, step: Array, data: View, prior: PriorView) -> Array:
        """Soft threshold, entry by entry."""
        return soft_threshold(v, step * self.absolute(data, prior))

    formula = property(lambda self: "λ Σⱼ (1 − (1 − b) min(Pⱼ, 1)) |θⱼ|")


def prior_l1(strength: float, bias: float = 0.5, layer: str | None = None) -> PriorL1:
    """L1 that is cheaper where the prior has evidence.

    R(theta) = strength sum_j (1 - (1 - bias) min(P_j, 1)) |theta_j|, P the prior's weight: full
    price without evidence, ``bias`` times the price at weight 1 or more.

    Parameters
    ----------
    strength
        lambda >= 0.
    bias
        Between 0 (prior edges are free) and 1 (the prior is ignored).
    layer
        Name of one layer of evidence; None takes the sum over layers.

    References
    ----------
    Studham et al., Bioinformatics 30 (2014) i130, doi:10.1093/bioinformatics/btu285; Miraldi et
    al., Genome Res. 29 (2019) 449, doi:10.1101/gr.238253.118.
    """
    strength, bias = check_number("strength", strength), check_number("bias", bias)
    if bias > 1:
        raise ValueError(f"bias must lie between 0 and 1, got {bias:g}")
    return PriorL1(strength, bias, layer)


@pytree
class FunctionRegularizer(Regularizer):
    """A plain function as a regularizer; see `regularizer`."""

    function: Callable = static()
    hyper: dict[str, Array]
    couples_targets: bool = static(default=False)

    separable = property(lambda self: None if self.couples_targets else "targets")
    formula = property(lambda self: f"{getattr(self.function, '__name__', 'penalty')}(θ, P)")

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Call the function."""
        return self.function(params, data, prior, **self.hyper)


def regularizer(
    function: Callable[..., Array], *, coupled: bool = False, **hyper: float
) -> Regularizer:
    """Turn any differentiable ``function(params, data, prior, **hyper)`` into a regularizer."""
    if isinstance(function, Term):
        return of_kind(function, "regularizer")
    if not callable(function):
        raise TypeError("a regularizer is a term or a function (params, data, prior) -> number, "
                        f"got {type(function).__name__}")
    return FunctionRegularizer(function, hyper, bool(coupled))
