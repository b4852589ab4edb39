"""Ridge, L1 and their sum."""

from __future__ import annotations

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.regularizers.priced import Priced
from unigrn.terms import (
    Array,
    Blocks,
    PriorView,
    Quadratic,
    Regularizer,
    Squares,
    Term,
    View,
    pytree,
    real_rows,
    static,
)


@pytree
class Ridge(Regularizer):
    """alpha |B|^2 of one block; see `ridge`."""

    alpha: Array
    block: str = static(default="theta")

    convex = True
    kink = False
    entrywise = True
    blocks = property(lambda self: (self.block,))
    linear = property(lambda self: (self.block,))
    separable = property(lambda self: "entries" if self.block == "theta" else None)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return self.alpha * jnp.sum(params[self.block] ** 2)

    @property
    def quadratic(self):
        """In theta: the diagonal alpha."""
        return self._quadratic if self.block == "theta" else None

    def _quadratic(self, data: View, prior: PriorView) -> Quadratic:
        weight = prior.weight
        zero = jnp.zeros((), weight.dtype)
        return Quadratic(None, jnp.full_like(weight, 1) * self.alpha, zero)

    def squares(self, block: str, params: Blocks, data: View, prior: PriorView) -> Squares:
        """Return no residuals, only the ridge."""
        return Squares(ridge=self.alpha * real_rows(self.block, prior))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Return v / (1 + 2 t alpha)."""
        return v / (1 + 2 * step * self.alpha)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Return 2 alpha."""
        return 2 * self.alpha

    @property
    def formula(self) -> str:
        """The penalty as text."""
        return f"α ‖{'θ' if self.block == 'theta' else self.block}‖²"


def ridge(alpha: float, block: str = "theta") -> Ridge:
    """Squared norm of the coefficients: R(theta) = alpha sum_j theta_j^2.

    Parameters
    ----------
    alpha
        Strength >= 0, in units of the loss per squared unit of theta.
    block
        Name of the parameter block it is about, such as the activities "A".

    References
    ----------
    Hoerl and Kennard, Technometrics 12 (1970) 55, doi:10.1080/00401706.1970.10488634.
    """
    return Ridge(check_number("alpha", alpha), str(block))


@pytree
class L1(Priced):
    """strength |theta|_1; see `l1`."""

    strength: Array

    def absolute(self, data: View, prior: PriorView) -> Array:
        """Return the same weight for every entry."""
        return jnp.full_like(prior.weight, 1) * self.strength

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


def elastic_net(l1_strength: float, ridge_strength: float) -> Term:
    """L1 plus ridge: R(theta) = l1_strength |theta|_1 + ridge_strength |theta|^2.

    References
    ----------
    Zou and Hastie, J. R. Stat. Soc. B 67 (2005) 301, doi:10.1111/j.1467-9868.2005.00503.x.
    """
    return l1(l1_strength) + ridge(ridge_strength)
