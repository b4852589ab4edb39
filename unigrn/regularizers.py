"""Regularizers: what is preferred of the parameters, given the prior.

Over 450 lines: a penalty and its public function stand side by side, docstrings included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from unigrn.check import check_hyper, check_number
from unigrn.kernels import Symmetric, energy
from unigrn.terms import (
    Array,
    Blocks,
    PriorView,
    Quadratic,
    Regularizer,
    Squares,
    Term,
    View,
    hard_threshold,
    number,
    of_kind,
    pytree,
    real_rows,
    soft_threshold,
    static,
)
from unigrn.views import numbers


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

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
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


def elastic_net(l1_strength: float, ridge_strength: float) -> Term:
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

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
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
class L0(Regularizer):
    """cost times the number of edges; see `l0`."""

    cost: Array

    separable = "entries"

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return jnp.sum(jnp.where(params.theta != 0, self.price(params, data, prior), 0))

    def price(self, params: Blocks | None, data: View, prior: PriorView) -> Array:
        """Return the same price for every entry."""
        return jnp.full_like(prior.weight, 1) * self.cost

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Hard threshold."""
        return hard_threshold(v, step, self.price(params, data, prior))

    formula = property(lambda self: "η ‖θ‖₀")


def l0(cost: float) -> L0:
    """Price of every edge: R(theta) = cost #{j: theta_j != 0}.

    Not convex: solvers reach a stationary point, of which there may be many.

    Parameters
    ----------
    cost
        eta >= 0, in units of the loss per edge.

    References
    ----------
    Blumensath and Davies, J. Fourier Anal. Appl. 14 (2008) 629, doi:10.1007/s00041-008-9035-z.
    """
    return L0(check_number("cost", cost))


@pytree
class Laplacian(Regularizer):
    """kappa sum over pairs of targets; see `laplacian`."""

    strength: Array
    threshold: Array
    signed: bool = static(default=True)
    matrix: Any = None  # worked out by `prepare`, listed by `compact`
    reach: Array = None  # its largest sum of sizes in a row

    separable = None
    convex = True

    def prepare(self, data: View, prior: PriorView) -> Laplacian:
        """Work out the Laplacian of the targets, (p, p)."""
        if self.matrix is not None:
            return self
        weight = jnp.ones_like(data.y[:, 0]) if data.weight is None else data.weight
        weight = weight[:, None]
        centred = data.y - jnp.sum(weight * data.y, axis=0, keepdims=True) / jnp.sum(weight)
        centred = centred * jnp.sqrt(weight)
        length = jnp.sqrt(jnp.sum(centred**2, axis=0, keepdims=True))
        size = jnp.sqrt(jnp.sum(weight * data.y**2, axis=0, keepdims=True))
        flat = length <= 1e3 * jnp.finfo(data.y.dtype).eps * size  # a constant target has no kin
        unit = jnp.where(flat, 0, centred / jnp.where(flat, 1, length))
        alike = unit.T @ unit
        kin = jnp.abs(alike) > self.threshold
        kin = kin & jnp.logical_not(jnp.eye(kin.shape[0], dtype=bool))
        pull = jnp.where(kin, alike if self.signed else jnp.abs(alike), 0)
        matrix = jnp.diag(jnp.sum(jnp.abs(pull), axis=0)) - pull
        reach = jnp.max(jnp.sum(jnp.abs(matrix), axis=1))
        return Laplacian(self.strength, self.threshold, self.signed, matrix, reach)

    def compact(self) -> Laplacian:
        """List the entries of the matrix, where they are few."""
        listed = Symmetric.of(np.asarray(self.matrix))
        return self if listed is None else replace(self, matrix=listed)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        return self.strength * energy(params.theta, self.prepare(data, prior).matrix)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Twice kappa times the largest row sum, which bounds the largest eigenvalue."""
        return 2 * self.strength * self.prepare(data, prior).reach

    formula = property(
        lambda self: (
            "κ Σ |w_gh| ‖θ_g − sign(w_gh) θ_h‖²" if self.signed else "κ Σ w_gh ‖θ_g − θ_h‖²"
        )
    )


def laplacian(strength: float, threshold: float = 0.95, signed: bool = True) -> Laplacian:
    """Targets that are expressed alike are regulated alike.

    R(theta) = kappa tr(theta L theta') = kappa sum_{g < h} |w_gh| |theta_g - sign(w_gh) theta_h|^2
    over pairs of targets, w_gh their correlation where |w_gh| > threshold, else 0; L = D - W with
    D_g = sum_h |w_gh|. With ``signed=False`` w is |correlation|. Either L is positive semidefinite;
    with signed w and D_g = sum_h w_gh it would not be.

    Parameters
    ----------
    strength
        kappa >= 0.
    threshold
        Between 0 and 1.
    signed
        Whether targets of opposite expression are pulled to opposite coefficients, or to the same.

    References
    ----------
    Wang et al., Nat. Commun. 9 (2018) 4061 (NetREX); Kunegis et al., SIAM SDM (2010) 559,
    doi:10.1137/1.9781611972801.49 (signed Laplacian).
    """
    threshold = check_number("threshold", threshold)
    if threshold > 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold:g}")
    return Laplacian(check_number("strength", strength), threshold, bool(signed))


class _Widths(Regularizer):
    """A Gaussian prior on theta, wider where the prior has evidence."""

    on: Array
    off: Array

    needs_prior = True

    def variance(self, prior: PriorView) -> Array:
        """Return t_j^2: ``on`` where the prior names the edge, ``off`` elsewhere."""
        return jnp.where(prior.support, self.on, self.off).astype(prior.weight.dtype)


@pytree
class GaussianPrior(_Widths):
    """Negative log density of a Gaussian prior; see `gaussian_prior`."""

    on: Array
    off: Array

    separable = "entries"
    convex = True
    kink = False
    linear = ("theta",)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate at real entries."""
        t2 = self.variance(prior)
        each = 0.5 * params.theta**2 / t2 + 0.5 * jnp.log(2 * math.pi * t2)
        return jnp.sum(jnp.where(prior.valid, each, 0))

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return the diagonal 1 / (2 t^2)."""
        t2 = self.variance(prior)
        constant = jnp.sum(jnp.where(prior.valid, 0.5 * jnp.log(2 * math.pi * t2), 0))
        return Quadratic(None, 0.5 / t2, constant)

    def squares(self, block: str, params: Blocks, data: View, prior: PriorView) -> Squares:
        """Residuals theta / t with the target 0, weighted entry by entry."""
        t2 = self.variance(prior)
        unit = jnp.eye(t2.shape[0], dtype=t2.dtype)
        # Padding has no weight: it would lengthen the norms that set the steps.
        return Squares(unit, jnp.zeros_like(t2), jnp.where(prior.valid, 0.5 / t2, 0))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Return v / (1 + t / t_j^2)."""
        return v / (1 + step / self.variance(prior))

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Return the largest 1 / t^2."""
        return 1 / jnp.minimum(self.on, self.off)

    formula = property(lambda self: "Σⱼ θⱼ² / 2t²(Pⱼ) + ½ log 2πt²(Pⱼ)")


def gaussian_prior(on: float = 1.0, off: float = 0.01) -> GaussianPrior:
    """Negative log density of theta_j ~ N(0, t_j^2), wider where the prior names the edge.

    R(theta) = sum_j theta_j^2 / (2 t_j^2) + log(2 pi t_j^2) / 2.

    Parameters
    ----------
    on, off
        t^2 > 0 of edges that the prior names and of those it does not.
    """
    return GaussianPrior(check_number("on", on, strict=True), check_number("off", off, strict=True))


@pytree
class KlGaussian(_Widths):
    """Kullback-Leibler divergence to a Gaussian prior; see `kl_gaussian`."""

    on: Array
    off: Array

    blocks = ("log_variance", "theta")
    separable = "targets"

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate at real entries."""
        t2, s = self.variance(prior), params.log_variance
        each = 0.5 * ((jnp.exp(s) + params.theta**2) / t2 - 1 - s + jnp.log(t2))
        return jnp.sum(jnp.where(prior.valid, each, 0))

    formula = property(lambda self: "KL(N(θ, v) ‖ N(0, t²(P)))")


def kl_gaussian(on: float = 1.0, off: float = 0.01) -> KlGaussian:
    """Divergence of the mean-field posterior N(theta_j, v_j) from the prior N(0, t_j^2).

    KL = sum_j [(v_j + theta_j^2) / t_j^2 - 1 - log(v_j / t_j^2)] / 2: the second half of a negative
    ELBO. Parameters as in `gaussian_prior`.
    """
    return KlGaussian(check_number("on", on, strict=True), check_number("off", off, strict=True))


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
