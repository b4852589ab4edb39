"""Penalties that follow the prior's evidence, or a first estimate, entry by entry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.check import check_number, listed
from unigrn.regularizers.priced import Priced, linear_share
from unigrn.regularizers.towards import coefficients
from unigrn.terms import (
    Array,
    Blocks,
    PriorView,
    Quadratic,
    Regularizer,
    Term,
    View,
    pytree,
    static,
)


@pytree
class PriorL1(Priced):
    """L1 whose weight falls with the prior's evidence; see `prior_l1`."""

    strength: Array
    bias: Array
    layer: str | None = static(default=None)

    needs_prior = True

    def absolute(self, data: View, prior: PriorView) -> Array:
        """Return strength (1 - (1 - bias) min(weight, 1))."""
        return self.strength * linear_share(_weight(prior, self.layer), self.bias)

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
    return PriorL1(*_prices(strength, bias), layer)


def _prices(strength: float, bias: float) -> tuple[float, float]:
    """Check a full price, and the share of it that edges with evidence pay."""
    strength, bias = check_number("strength", strength), check_number("bias", bias)
    if bias > 1:
        raise ValueError(f"bias must lie between 0 and 1, got {bias:g}")
    return strength, bias


@pytree
class PairL1(Priced):
    """L1 of pairs of genes; see `pair_l1`."""

    strength: Array
    bias: Array
    layer: str | None = static(default=None)

    square = True
    separable = None
    entrywise = True

    def absolute(self, data: View, prior: PriorView) -> Array:
        """Return strength (1 - (1 - bias) min(evidence, 1)), 0 on the diagonal."""
        weight = _weight(prior, self.layer)
        price = self.strength * linear_share(jnp.maximum(weight, weight.T), self.bias)
        return jnp.where(prior.self_edge, 0, price)

    formula = property(lambda self: "λ Σ_{i≠j} (1 − (1 − b) min(max(Pᵢⱼ, Pⱼᵢ), 1)) |θᵢⱼ|")


def pair_l1(strength: float, bias: float = 0.5, layer: str | None = None) -> PairL1:
    """L1 off the diagonal, cheaper where the prior has evidence in either direction.

    R(theta) = strength sum_{i != j} (1 - (1 - bias) min(max(P_ij, P_ji), 1)) |theta_ij|, P the
    prior's weight, theta (p, p). Without a prior it is the plain L1 off the diagonal.

    Parameters
    ----------
    strength
        lambda >= 0, in units of the loss per unit of theta.
    bias
        Between 0 (prior edges are free) and 1 (the prior is ignored).
    layer
        Name of one layer of evidence; None takes the sum over layers.

    References
    ----------
    Li and Jackson, G3 5 (2015) 1075, doi:10.1534/g3.115.018127 (weighted by a prior); Friedman,
    Hastie and Tibshirani, Biostatistics 9 (2008) 432, doi:10.1093/biostatistics/kxm045.
    """
    return PairL1(*_prices(strength, bias), layer)


@pytree
class AdaptiveL1(Priced):
    """L1 with weights from a first estimate; see `adaptive_l1`."""

    strength: Array
    first: Array
    power: Array
    floor: Array

    def absolute(self, data: View, prior: PriorView) -> Array:
        """Return strength / (|first| + floor)^power."""
        first = jnp.asarray(self.first, prior.weight.dtype)
        size = jnp.broadcast_to(jnp.abs(first), prior.weight.shape) + self.floor
        return self.strength * size**-self.power

    formula = property(lambda self: "λ Σⱼ |θⱼ| / (|Nⱼ| + ε)^γ")


def adaptive_l1(strength: float, first: Any, power: float = 1.0, floor: float = 1e-3) -> AdaptiveL1:
    """L1 that is cheaper where a first estimate is large (adaptive lasso).

    R(theta) = strength sum_j |theta_j| / (|N_j| + floor)^power, N a network of its own, of a
    ridge regression on the same data, say.

    Parameters
    ----------
    strength
        lambda >= 0.
    first
        N, as `unigrn.pull` takes a network; edges that it lacks have N_j = 0.
    power
        gamma > 0.
    floor
        epsilon > 0, in units of theta: the price of an edge that N lacks is
        strength / floor^power.

    References
    ----------
    Zou, J. Am. Stat. Assoc. 101 (2006) 1418, doi:10.1198/016214506000000735.
    """
    return AdaptiveL1(
        check_number("strength", strength),
        coefficients(first),
        check_number("power", power, strict=True),
        check_number("floor", floor, strict=True),
    )


def _weight(prior: PriorView, layer: str | None) -> Array:
    """Return the evidence of one layer, or of all together."""
    return prior.weight if layer is None else prior.layers[layer]


@pytree
class LinearShare:
    """Share of the full price of an edge: 1 without evidence, b at weight 1 and more."""

    bias: Array
    layer: str | None = static(default=None)

    formula = "1 − (1 − b) min(Pⱼ, 1)"
    layers = property(lambda self: () if self.layer is None else (self.layer,))

    def __call__(self, prior: PriorView) -> Array:
        """Return the share of every edge."""
        return linear_share(_weight(prior, self.layer), self.bias)


@pytree
class LogShare:
    """Share of the full price of an edge: the weight is read as a probability."""

    floor: Array
    layer: str | None = static(default=None)

    formula = "log max(min(Pⱼ, 1), ε) / log ε"
    layers = property(lambda self: () if self.layer is None else (self.layer,))

    def __call__(self, prior: PriorView) -> Array:
        """Return the share of every edge."""
        weight = _weight(prior, self.layer)
        return jnp.log(jnp.clip(weight, self.floor, 1)) / jnp.log(self.floor)


@pytree
class LogisticShare:
    """Share of the full price of an edge: a logistic function of the evidence of several layers."""

    slopes: dict[str, Array]
    offset: Array

    formula = "1 / (1 + exp(Σₖ aₖ Pₖⱼ − c))"
    layers = property(lambda self: tuple(self.slopes))

    def __call__(self, prior: PriorView) -> Array:
        """Return the share of every edge."""
        score = sum(a * prior.layers[name] for name, a in self.slopes.items())
        return jax.nn.sigmoid(self.offset - score)


class _Shared(Regularizer):
    """A penalty whose strength is a share that follows the evidence."""

    strength: Array
    share: Any

    needs_prior = True
    separable = "entries"
    convex = True

    layers = property(lambda self: self.share.layers)

    def _price(self, prior: PriorView) -> Array:
        return self.strength * self.share(prior)

    def check(self, prior: PriorView) -> None:
        """Refuse layers that the prior does not have."""
        lacking = [name for name in self.layers if name not in prior.layers]
        if lacking:
            raise ValueError(
                f"{self.formula} asks for the prior layers {listed(lacking)}, got "
                f"{listed(prior.layers)}"
            )


@pytree
class SharedL1(_Shared):
    """L1 whose weights follow the evidence; see `prior_elastic_net`."""

    strength: Array
    share: Any
    contrary: Array | None = None

    absolute = property(lambda self: self._absolute if self.contrary is None else None)

    def _absolute(self, data: View, prior: PriorView) -> Array:
        return self._price(prior)

    def _sides(self, prior: PriorView) -> tuple[Array, Array]:
        """Prices of a unit above 0, and below."""
        price = self._price(prior)
        if self.contrary is None:
            return price, price
        more = self.strength * self.contrary
        return price + jnp.where(prior.sign < 0, more, 0), price + jnp.where(
            prior.sign > 0, more, 0
        )

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        (above, below), theta = self._sides(prior), params.theta
        return jnp.sum(above * jnp.maximum(theta, 0) + below * jnp.maximum(-theta, 0))

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Soft threshold, with a threshold of its own on each side."""
        above, below = self._sides(prior)
        return jnp.maximum(v - step * above, 0) - jnp.maximum(-v - step * below, 0)

    @property
    def formula(self) -> str:
        """The penalty as text."""
        against = "" if self.contrary is None else " + λd Σⱼ max(0, −sⱼθⱼ)"
        return f"λ Σⱼ [{self.share.formula}] |θⱼ|{against}"


@pytree
class SharedRidge(_Shared):
    """Ridge whose weights follow the evidence; see `prior_elastic_net`."""

    strength: Array
    share: Any

    kink = False

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate."""
        return jnp.sum(self._price(prior) * params.theta**2)

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return the prices as a diagonal."""
        zero = jnp.zeros((), prior.weight.dtype)
        return Quadratic(None, self._price(prior), zero)

    def prox(
        self, v: Array, step: Array, data: View, prior: PriorView, params: Blocks | None = None
    ) -> Array:
        """Return v / (1 + 2 t c)."""
        return v / (1 + 2 * step * self._price(prior))

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Return twice the largest price of a candidate."""
        return 2 * jnp.max(jnp.where(prior.valid, self._price(prior), 0), initial=0)

    formula = property(lambda self: f"α Σⱼ [{self.share.formula}] θⱼ²")


MAPPINGS = ("linear", "log", "logistic")


def prior_elastic_net(
    l1_strength: float,
    ridge_strength: float = 0.0,
    mapping: str = "linear",
    *,
    bias: float = 0.5,
    floor: float = 1e-3,
    slopes: Mapping[str, float] | None = None,
    offset: float = 0.0,
    layer: str | None = None,
    contrary: float | None = None,
) -> Term:
    """Elastic net that is cheaper where the prior has evidence, by a mapping of choice.

    R(theta) = l1_strength sum_j c_j |theta_j| + ridge_strength sum_j c_j theta_j^2, with the price
    of an edge c_j by its weight P_j in the prior:

    - "linear": c = 1 - (1 - bias) min(P, 1), as in `prior_l1`;
    - "log": c = log(max(min(P, 1), floor)) / log(floor): the weight is a probability, its negative
      logarithm the price, in units of that of an edge without evidence;
    - "logistic": c = 1 / (1 + exp(sum_k a_k P_k - offset)) of the weights P_k in several layers, as
      a logistic regression on known edges gives them: the probability that there is no edge.

    With ``contrary`` d, a coefficient on the other side than the prior's sign s costs more:
    l1_strength d sum_j max(0, -s_j theta_j).

    Parameters
    ----------
    l1_strength, ridge_strength
        >= 0, in units of the loss per unit and per squared unit of theta.
    mapping
        "linear", "log" or "logistic".
    bias
        Of "linear", between 0 (edges of weight 1 are free) and 1.
    floor
        Of "log", between 0 and 1, both excluded: the probability of an edge without evidence.
    slopes
        Of "logistic": ``{layer: a_k}``.
    offset
        Of "logistic": an edge without evidence costs 1 / (1 + exp(-offset)).
    layer
        Of "linear" and "log": one layer of evidence; None takes the sum over layers.
    contrary
        d >= 0; None asks for no side.

    References
    ----------
    Greenfield, Hafemeister and Bonneau, Bioinformatics 29 (2013) 1060,
    doi:10.1093/bioinformatics/btt099; Studham et al., Bioinformatics 30 (2014) i130,
    doi:10.1093/bioinformatics/btu285.
    """
    share: Any
    if mapping == "linear":
        bias = check_number("bias", bias)
        if bias > 1:
            raise ValueError(f"bias must lie between 0 and 1, got {bias:g}")
        share = LinearShare(bias, layer)
    elif mapping == "log":
        floor = check_number("floor", floor, strict=True)
        if not floor < 1:
            raise ValueError(f"floor must lie between 0 and 1, got {floor:g}")
        share = LogShare(floor, layer)
    elif mapping == "logistic":
        if not isinstance(slopes, Mapping) or not slopes:
            raise ValueError(
                "the mapping 'logistic' needs slopes={layer: number} for at least one layer of the "
                f"prior, got {slopes!r}"
            )
        low = -math.inf
        share = LogisticShare(
            {str(k): check_number(f"slopes[{k!r}]", v, low=low) for k, v in slopes.items()},
            check_number("offset", offset, low=low),
        )
    else:
        raise ValueError(f"mapping must be one of {', '.join(MAPPINGS)}, got {mapping!r}")
    if contrary is not None:
        contrary = check_number("contrary", contrary)
    ridge_strength = check_number("ridge_strength", ridge_strength)
    lasso = SharedL1(check_number("l1_strength", l1_strength), share, contrary)
    return lasso + SharedRidge(ridge_strength, share) if ridge_strength else lasso
