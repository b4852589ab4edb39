"""Regularizers: what is preferred of the parameters, given the prior."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.check import check_hyper, check_number, check_whole
from unigrn.losses import of_kind
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
    largest,
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
        return Quadratic(zero, jnp.full_like(weight, 1) * self.alpha, zero)

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

    def price(self, params: Blocks, data: View, prior: PriorView) -> Array:
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
    matrix: Array | None = None

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
        return Laplacian(self.strength, self.threshold, self.signed, matrix)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        matrix = self.prepare(data, prior).matrix
        return self.strength * jnp.sum(params.theta * (params.theta @ matrix))

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Twice kappa times the largest row sum, which bounds the largest eigenvalue."""
        matrix = self.prepare(data, prior).matrix
        return 2 * self.strength * jnp.max(jnp.sum(jnp.abs(matrix), axis=1))

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


@pytree
class Collaborative(Regularizer):
    """Collaborative filtering of the support with weights given entry by entry.

    With Z = 1[theta != 0], T = Z + (1 - Z) P and R = V'U, all (regulators, targets)::

        sum (c + b Z) (T - R)^2 + sum eta Z
            = sum c (P - R)^2 + sum Z h(R),    h(R) = floor + b (R - r)^2,

    r = 1 + (1 - P) c / b and eta = floor + (1 - P) c (1 + c / b). The price h of an edge depends
    on the factors; with floor > 0 it is positive, and the objective lower semicontinuous.
    """

    preference: Array  # P, 0 or 1
    confidence: Array  # c >= 0
    gain: Array  # b > 0 (0 at padding)
    floor: Array

    blocks = ("U", "V", "theta")
    linear = ("U", "V")
    separable = None

    def _ratio(self) -> Array:
        safe = jnp.where(self.gain > 0, self.gain, 1)
        return jnp.where(self.gain > 0, (1 - self.preference) * self.confidence / safe, 0)

    def _weights(self, params: Blocks) -> tuple[Array, Array]:
        on = params.theta != 0
        weight = self.confidence + jnp.where(on, self.gain, 0)
        return weight, jnp.where(on, 1, self.preference)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        weight, target = self._weights(params)
        eta = self.floor + (1 - self.preference) * self.confidence * (1 + self._ratio())
        fit = jnp.sum(weight * (target - params.V.T @ params.U) ** 2)
        return fit + jnp.sum(jnp.where(params.theta != 0, eta, 0))

    def price(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return h(R)."""
        return self.floor + self.gain * (params.V.T @ params.U - 1 - self._ratio()) ** 2

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Hard threshold at the price that the factors set."""
        return hard_threshold(v, step, self.price(params, data, prior))

    def squares(self, block: str, params: Blocks, data: View, prior: PriorView) -> Squares:
        """Return the weighted squares in the factors of the targets or of the regulators."""
        weight, target = self._weights(params)
        if block == "U":
            return Squares(params.V, target, weight)
        return Squares(params.U, target.T, weight.T)

    formula = property(lambda self: "Σ (c + bZ)(Z + (1−Z)P − VᵀU)² + ηZ")


class _FromPrior(Regularizer):
    """Collaborative filtering whose weights follow from the prior's layers."""

    needs_prior = True
    blocks = Collaborative.blocks
    linear = Collaborative.linear
    separable = None
    formula = Collaborative.formula

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate with the weights worked out."""
        return self.prepare(data, prior)(params, data, prior)

    def price(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Return the price with the weights worked out."""
        return self.prepare(data, prior).price(params, data, prior)

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Hard threshold with the weights worked out."""
        return self.prepare(data, prior).prox(v, step, data, prior, params)

    def squares(self, block: str, params: Blocks, data: View, prior: PriorView) -> Squares:
        """Return the squares with the weights worked out."""
        return self.prepare(data, prior).squares(block, params, data, prior)


@pytree
class EvidenceFiltering(_FromPrior):
    """Collaborative filtering weighted by counted evidence; see `collaborative`."""

    weights: tuple[Array, ...]
    strength: Array
    boost: Array
    floor: Array
    per_target: int = static(default=200)
    released: bool = static(default=False)

    def confidence(self, prior: PriorView) -> Array:
        """Return C: the multiplier of the number of layers, times the summed weights."""
        layers = list(prior.layers.values()) or [prior.weight]
        count = sum((v > 0).astype(jnp.int32) for v in layers)
        total = 0.0
        for v in layers:
            top = jnp.max(v, initial=0)
            total = total + v / jnp.where(top > 0, top, 1)
        known, most = len(self.weights), len(layers)
        factor = jnp.zeros_like(prior.weight)
        for k in range(1, most + 1):
            weight = self.weights[min(max(known - most + k - 1, 0), known - 1)]
            factor = jnp.where(count == k, weight, factor)
        return factor * total

    def check(self, prior: PriorView) -> None:
        """Refuse weights under which a missing edge is trusted as much as any prior edge."""
        top = float(jnp.max(self.confidence(prior), initial=0))
        if not top > 1:
            raise ValueError(
                f"the largest confidence in a prior edge is {top:g}, and a missing edge has 1: the "
                "collaborative filter needs a confidence above 1; raise evidence (the multiplier "
                f"of an edge by the number of its sources, got {[float(w) for w in self.weights]})"
            )

    def prepare(self, data: View, prior: PriorView) -> Collaborative:
        """Work out P, c, b and the floor of the price."""
        c = jnp.where(prior.valid, self.confidence(prior), 0)
        on = c > 0
        if c.shape[0] > self.per_target:
            on = on & jax.vmap(partial(largest, count=self.per_target), 1, 1)(c)
        weighted = c > 0 if self.released else on
        dtype = prior.weight.dtype
        valid = prior.valid.astype(dtype) * self.strength
        confidence = valid * jnp.where(weighted, c, 1)
        gain = valid * jnp.where(weighted, self.boost * c, jnp.max(c) - 1)
        return Collaborative(on.astype(dtype), confidence, gain, jnp.asarray(self.floor, dtype))


def collaborative(
    evidence: tuple[float, ...] = (1.0, 60.0, 90.0),
    strength: float = 5.0,
    boost: float = 9.0,
    floor: float = 1e-7,
    per_target: int = 200,
    released: bool = False,
) -> EvidenceFiltering:
    """Collaborative filtering of the network's support, weighted by the evidence for each edge.

    With the confidence C of an edge = the multiplier of the number of layers that name it, times
    the sum of their weights (each layer scaled to at most 1), P = 1[C > 0], Z = 1[theta != 0]::

        sum Lambda (a + b Z) (Z + (1 - Z) P - V'U)^2 + sum eta Z
        a = C on the prior, 1 off it;  b = boost C on the prior, max(C) - 1 off it
        eta = floor on the prior, floor + Lambda a (1 + a / b) off it.

    Parameters
    ----------
    evidence
        Multipliers of an edge named by one, two, ... layers. With fewer layers than multipliers
        the last ones count: one layer alone has the largest. With more layers the last multiplier
        is that of an edge named by all of them, and the first holds for all that have none.
    strength
        Lambda > 0.
    boost
        How much more an edge of the prior is trusted once theta has it, > 0.
    floor
        Least price of an edge, > 0: without it the infimum need not be attained.
    per_target
        Prior edges kept for each target, those of largest C; of ties, the first. The others count
        as edges that no layer names.
    released
        They keep a and b of their C with P = 0, as in the released program: the more evidence,
        the more is paid for them.

    References
    ----------
    Wang et al., Commun. Biol. 5 (2022) 1282 (NetREX-CF); Hu, Koren and Volinsky, IEEE ICDM (2008)
    263, doi:10.1109/ICDM.2008.22.
    """
    if isinstance(evidence, str) or not np.iterable(evidence):
        evidence = (evidence,)
    weights = tuple(check_number("evidence", e, strict=True) for e in evidence)
    if not weights:
        raise ValueError("evidence needs at least one multiplier, got none")
    return EvidenceFiltering(
        weights,
        check_number("strength", strength, strict=True),
        check_number("boost", boost, strict=True),
        check_number("floor", floor, strict=True),
        check_whole("per_target", per_target, low=1),
        bool(released),
    )


@pytree
class SketchFiltering(_FromPrior):
    """Collaborative filtering as the literature sketches it; see `collaborative_sketch`."""

    slope: Array
    on: Array
    off: Array

    def prepare(self, data: View, prior: PriorView) -> Collaborative:
        """Work out P, c, b, and the floor that leaves no price of its own."""
        known = (prior.weight > 0) & prior.valid
        dtype = prior.weight.dtype
        valid = prior.valid.astype(dtype)
        c = valid * (1 + self.slope * prior.weight)
        b = valid * jnp.where(known, self.on * c, self.off)
        p = known.astype(dtype)
        return Collaborative(p, c, b, -(1 - p) * c * (1 + c / jnp.where(b > 0, b, 1)))


def collaborative_sketch(slope: float = 1.0, on: float = 9.0, off: float = 1.0) -> SketchFiltering:
    """Collaborative filtering of the support in the form in which the literature sketches it.

    sum Omega (M - V'U)^2 with C = 1 + slope sum_k P_k, B = 1[sum_k P_k > 0], Z = 1[theta != 0],
    Omega = on C Z B + off Z (1 - B) + C and M = Z + (1 - Z) B. No price of its own, so that an
    edge off the prior can pay: the infimum need not be attained.

    Parameters
    ----------
    slope
        a >= 0, confidence by unit of prior weight.
    on, off
        a1 > 0 and a2 > 0, extra confidence in edges of theta on and off the prior.
    """
    return SketchFiltering(
        check_number("slope", slope),
        check_number("on", on, strict=True),
        check_number("off", off, strict=True),
    )


class _Widths(Regularizer):
    """A Gaussian prior on theta, wider where the prior has evidence."""

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
        return Quadratic(jnp.zeros((), t2.dtype), 0.5 / t2, constant)

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
        return self.function(params, data, prior, **self.hyper)


def regularizer(
    function: Callable[..., Array],
    *,
    coupled: bool = False,
    convex: bool = False,
    noisy: bool = False,
    across: bool = False,
    blocks: tuple[str, ...] = ("theta",),
    **hyper: Any,
) -> Regularizer:
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
