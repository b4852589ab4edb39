"""Squares: least squares, a Gaussian likelihood, network component analysis."""

from __future__ import annotations

import math

import jax.numpy as jnp

from unigrn.check import check_number
from unigrn.losses.rows import cell_weights, centred_squares, curvature, largest_eigenvalue
from unigrn.terms import Array, Blocks, Loss, PriorView, Quadratic, Squares, View, pytree, static


@pytree
class LeastSquares(Loss):
    """Weighted residual sum of squares; see `least_squares`."""

    intercept: bool = static(default=True)
    mean: bool = static(default=False)

    separable = "targets"
    convex = True
    weighted = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on moments where they are at hand, otherwise on rows."""
        if data.moments is not None:
            return self.quadratic(data, prior).value(params.theta, data.moments)
        squares, count = centred_squares(data, data.x @ params.theta, self.intercept)
        rss = jnp.sum(squares)
        return rss / count if self.mean else rss

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return scale 1 (or 1 / W) of the moments; without intercept, uncentred."""
        m = data.moments
        zero = jnp.zeros_like(m.cross)
        one = jnp.ones_like(m.count)
        out = Quadratic(one, zero, jnp.zeros_like(m.count))
        if not self.intercept:
            if m.mean_y.ndim:
                raise TypeError(
                    "a loss without intercept has no moments for a whole network; "
                    "it is solved target by target"
                )
            outer = m.count * m.mean_x[:, None] * m.mean_x[None, :]
            out = Quadratic(one, zero, m.count * m.mean_y**2, m.count * m.mean_y * m.mean_x, outer)
        return out.times(1 / jnp.maximum(m.count, 1e-30)) if self.mean else out

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Twice the curvature of the squares."""
        if data.moments is not None:
            q = self.quadratic(data, prior)
            matrix = q.scale * data.moments.gram
            return 2 * largest_eigenvalue(matrix if q.matrix is None else matrix + q.matrix)
        total = 2 * curvature(data)
        return total / jnp.sum(cell_weights(data)) if self.mean else total

    @property
    def formula(self) -> str:
        """The loss as text."""
        inner = "Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)²" if self.intercept else "Σᵢ wᵢ (yᵢ − xᵢθ)²"
        return f"{inner} / Σᵢ wᵢ" if self.mean else inner


def least_squares(*, intercept: bool = True, mean: bool = False) -> LeastSquares:
    """Residual sum of squares, without a factor 1/2.

    L(theta) = min over theta_0 of  sum_i w_i (y_i - theta_0 - x_i theta)^2,
    divided by sum_i w_i with ``mean=True``. The weights are 1 unless the data or a bootstrap bring
    their own. It offers its moments, so it can be solved after one pass over the cells.

    Parameters
    ----------
    intercept
        Fit theta_0 (eliminated by weighted centring); without it the line passes the origin.
    mean
        Divide by the total weight, so that a penalty does not depend on the number of cells.

    Examples
    --------
    >>> print(least_squares().formula)
    Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)²
    """
    return LeastSquares(bool(intercept), bool(mean))


@pytree
class Gaussian(Loss):
    """Gaussian negative log-likelihood; see `gaussian`."""

    variance: Array | None = None

    separable = "targets"
    convex = True
    weighted = True

    def _variance(self, square: Array, count: Array) -> Array:
        if self.variance is not None:
            return jnp.ones_like(square) * self.variance
        # A constant target has variance 0; any positive number serves, its coefficients are 0.
        return jnp.where(square > 0, square / jnp.maximum(count, 1e-30), 1)

    def of_rows(self, data: View) -> tuple[Array, Array]:
        """Return the noise variance of each target, and the total weight."""
        square, count = centred_squares(data, jnp.zeros_like(data.y), True)
        # What rounding of the mean leaves of a constant target is no variance.
        noise = 32 * jnp.finfo(data.y.dtype).eps * jnp.max(jnp.abs(data.y), axis=0)
        return self._variance(jnp.where(square > count * noise**2, square, 0), count), count

    def _constant(self, variance: Array, count: Array) -> Array:
        return 0.5 * count * jnp.log(2 * math.pi * variance)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on moments where they are at hand, otherwise on rows."""
        if data.moments is not None:
            return self.quadratic(data, prior).value(params.theta, data.moments)
        variance, count = self.of_rows(data)
        squares, _ = centred_squares(data, data.x @ params.theta, True)
        return jnp.sum(squares / (2 * variance) + self._constant(variance, count))

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return 1 / (2 s^2) of the moments."""
        m = data.moments
        if m.mean_y.ndim:
            raise TypeError("a noise variance per target is solved target by target")
        variance = self._variance(m.square, m.count)
        return Quadratic(
            1 / (2 * variance), jnp.zeros_like(m.mean_x), self._constant(variance, m.count)
        )

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Curvature over the noise variance."""
        if data.moments is not None:
            variance = self._variance(data.moments.square, data.moments.count)
            return largest_eigenvalue(data.moments.gram) / jnp.min(variance)
        return curvature(data) / jnp.min(self.of_rows(data)[0])

    @property
    def formula(self) -> str:
        """The loss as text."""
        return "Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)² / 2s² + ½ W log 2πs²"


def gaussian(variance: float | None = None) -> Gaussian:
    """Negative log-likelihood of Gaussian noise with a given variance per target.

    L(theta) = min over theta_0 of  sum_i w_i (y_i - theta_0 - x_i theta)^2 / (2 s^2)
    + (W / 2) log(2 pi s^2).

    Parameters
    ----------
    variance
        s^2 > 0, in squared units of the target; None takes each target's own weighted variance
        (within the group), which makes a penalty on theta free of the target's units.
    """
    if variance is not None:
        variance = check_number("variance", variance, strict=True)
    return Gaussian(variance)


@pytree
class ComponentAnalysis(Loss):
    """Squares of what network and activities do not explain; see `component_analysis`."""

    blocks = ("A", "theta")
    linear = ("A", "theta")
    separable = None

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        return jnp.sum((data.y - params.A.T @ params.theta) ** 2)

    def squares(self, block: str, params: Blocks, data: View, prior: PriorView) -> Squares:
        """Linear in theta given the activities, and in the activities given theta."""
        if block == "theta":
            return Squares(params.A, data.y)
        return Squares(params.theta, data.y.T)

    formula = property(lambda self: "‖Y − Aᵀθ‖²")


def component_analysis() -> ComponentAnalysis:
    """Network component analysis: expression as hidden activities of regulators, times the network.

    L(theta, A) = |Y - A' theta|^2 with expression Y (cells, targets), activities A (regulators,
    cells) and theta (regulators, targets). It does not use the regulators' own expression. The sign
    of a regulator's activity is free: (theta_j, A_j) and (-theta_j, -A_j) fit alike.

    References
    ----------
    Liao et al., PNAS 100 (2003) 15522, doi:10.1073/pnas.2136632100.
    """
    return ComponentAnalysis()
