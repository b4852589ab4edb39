"""Losses: how far the parameters are from the expression data.

Every loss has an intercept unless told otherwise. For quadratic losses the intercept is eliminated
exactly by weighted centring; for others it is a parameter block of its own.

Over 450 lines: a loss and its public function stand side by side, docstrings included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma

from unigrn.check import check_hyper, check_number, check_whole
from unigrn.terms import (
    Array,
    Blocks,
    Loss,
    PriorView,
    Quadratic,
    Squares,
    Term,
    View,
    number,
    of_kind,
    pytree,
    static,
)
from unigrn.views import numbers


def _weight(data: View) -> Array:
    return jnp.ones(data.x.shape[0], data.x.dtype) if data.weight is None else data.weight


def _squares(data: View, fitted: Array, intercept: bool) -> tuple[Array, Array]:
    """Weighted sum of squared residuals of each target, and the total weight."""
    weight = _weight(data)
    residual = data.y - fitted
    column = weight if residual.ndim == 1 else weight[:, None]
    count = jnp.sum(weight)
    if intercept:
        mean = jnp.sum(column * residual, axis=0, keepdims=True) / count
        residual = residual - mean
    return jnp.sum(column * residual**2, axis=0), count


def _curvature(data: View) -> Array:
    """Bound the largest eigenvalue of X' W X, with a column of ones, by its trace norm."""
    weight = _weight(data)
    return _largest_eigenvalue((data.x * weight[:, None]).T @ data.x) + jnp.sum(weight)


def _largest_eigenvalue(gram: Array) -> Array:
    """Bound the largest eigenvalue of a positive semidefinite matrix by two of its norms."""
    return jnp.minimum(jnp.max(jnp.sum(jnp.abs(gram), axis=1)), jnp.sqrt(jnp.sum(gram**2)))


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
        squares, count = _squares(data, data.x @ params.theta, self.intercept)
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
            return 2 * _largest_eigenvalue(matrix if q.matrix is None else matrix + q.matrix)
        total = 2 * _curvature(data)
        return total / jnp.sum(_weight(data)) if self.mean else total

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
        square, count = _squares(data, jnp.zeros_like(data.y), True)
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
        squares, _ = _squares(data, data.x @ params.theta, True)
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
            return _largest_eigenvalue(data.moments.gram) / jnp.min(variance)
        return _curvature(data) / jnp.min(self.of_rows(data)[0])

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
class MarginalSquares(Loss):
    """One regression for every candidate alone; see `marginal_squares`."""

    separable = "targets"
    convex = True
    weighted = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on moments where they are at hand, otherwise on rows."""
        if data.moments is not None:
            return self.quadratic(data, prior).value(params.theta, data.moments)
        weight, theta = _weight(data), params.theta
        x, y = (v - (weight @ v / jnp.sum(weight))[None] for v in (data.x, data.y))
        own, square = weight @ x**2, weight @ y**2
        if theta.ndim == 2:
            own, square = own[:, None], square[None]
        column = weight if y.ndim == 1 else weight[:, None]
        squares = square + own * theta**2 - 2 * theta * (x.T @ (column * y))
        return jnp.sum(jnp.where(prior.valid, squares, 0))

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return the diagonal of the moments: candidates do not meet."""
        m = data.moments
        own = m.own if m.gram is None else jnp.diagonal(m.gram)
        own = jnp.broadcast_to(own if m.cross.ndim == 1 else own[:, None], m.cross.shape)
        square = m.square if m.cross.ndim == 1 else m.square[None]
        constant = jnp.sum(jnp.where(prior.valid, square, 0))
        return Quadratic(None, jnp.where(prior.valid, own, 0), constant, m.cross)

    formula = property(lambda self: "Σⱼ Σᵢ wᵢ (yᵢ − θ₀ⱼ − xᵢⱼ θⱼ)²")


def marginal_squares() -> MarginalSquares:
    """Residual sum of squares of one regression for every candidate on its own.

    L(theta) = sum_j min over theta_0j of sum_i w_i (y_i - theta_0j - x_ij theta_j)^2: the least is
    at the simple regression coefficients, whatever the other candidates. Of the moments it needs
    the diagonal only.

    Examples
    --------
    >>> print(marginal_squares().formula)
    Σⱼ Σᵢ wᵢ (yᵢ − θ₀ⱼ − xᵢⱼ θⱼ)²
    """
    return MarginalSquares()


# Share of its squares below which what others leave of a regulator is nothing: rounding of moments
# would decide its coefficient.
DEPENDENT = 1e-9


@pytree
class SubsetBic(Loss):
    """Expected information criterion of the regulators that are in use; see `subset_bic`."""

    on: Array
    off: Array
    candidates: int = static(default=10)

    separable = "targets"
    weighted = True

    def shrinkage(self, prior: PriorView) -> Array:
        """Return h_j = (1 + g_j)^(-1/2), g ``on`` where the prior names the edge, else ``off``."""
        return 1 / jnp.sqrt(1 + jnp.where(prior.support, self.on, self.off))

    def criterion(self, rss: Array, shrunk: Array, used: Array, count: Array) -> Array:
        """Return n (ln((RSS + |x (h b)|^2) / 2) - psi(n / 2)) + k ln n."""
        n, tiny = jnp.maximum(count, 1e-30), jnp.finfo(rss.dtype).tiny
        size = jnp.where(rss + shrunk > tiny, (rss + shrunk) / 2, tiny)
        return n * (jnp.log(size) - digamma(n / 2)) + used * jnp.log(n)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on moments; of a whole network the sum over targets."""
        m, theta = data.moments, params.theta
        one = partial(self._of_target, m.gram, m.count)
        if theta.ndim == 2:
            one = jax.vmap(one, (1, 0, 1, 1))
        return jnp.sum(one(m.cross, m.square, theta, self.shrinkage(prior)))

    def _of_target(self, gram, count, cross, square, theta, h) -> Array:
        used = theta != 0
        rss = theta @ gram @ theta - 2 * cross @ theta + square
        # Least squares on the regulators in use: of these alone, not of theta.
        unit = jnp.sqrt(jnp.diagonal(gram))
        unit = jnp.where(used & (unit > 0), 1 / jnp.where(unit > 0, unit, 1), 0)
        inverse = jnp.linalg.pinv(unit[:, None] * gram * unit[None, :], DEPENDENT, hermitian=True)
        u = h * unit * (inverse @ (unit * cross))
        number = jnp.sum(used.astype(theta.dtype))
        return self.criterion(jnp.maximum(rss, 0), u @ gram @ u, number, count)

    formula = property(lambda self: "n (log ½(‖y − θ₀ − xθ‖² + ‖x(h b)‖²) − ψ(n/2)) + ‖θ‖₀ log n")


def subset_bic(candidates: int = 10, on: float = 1.0, off: float = 1.0) -> SubsetBic:
    """Price a subset S of the regulators by its expected Bayesian information criterion, g-prior.

    With S the regulators that theta uses, b least squares on S, and h_j = (1 + g_j)^(-1/2)

        L(theta) = n (ln s - psi(n / 2)) + |S| ln n,   s = (|y - x theta|^2 + |x (h b)|^2) / 2,

    y and x centred: least, given S, at theta = b. The least of all subsets of a few candidates is
    found by enumeration, exactly.

    Parameters
    ----------
    candidates
        Most candidates of a target whose subsets are tried, 1 to 12; where there are more,
        `unigrn.solvers.subsets` says which stay.
    on, off
        g >= 0 of edges that the prior names, and of the others: the larger, the less a coefficient
        costs.

    References
    ----------
    Greenfield, Hafemeister and Bonneau, Bioinformatics 29 (2013) 1060,
    doi:10.1093/bioinformatics/btt099.
    """
    candidates = check_whole("candidates", candidates, low=1)
    if candidates > 12:  # 4,096 subsets
        raise ValueError(
            f"candidates must lie from 1 to 12, got {candidates}: every subset is tried"
        )
    return SubsetBic(check_number("on", on), check_number("off", off), candidates)


@pytree
class PriorSquares(Loss):
    """Distance to the prior's weights; see `prior_squares`."""

    separable = "entries"
    convex = True
    weighted = True  # weights of cells change nothing
    needs_prior = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Add up squared distances."""
        return jnp.sum(jnp.where(prior.valid, (params.theta - _signed(prior)) ** 2, 0))

    def quadratic(self, data: View, prior: PriorView) -> Quadratic:
        """Return (theta - P)^2, entry by entry."""
        mean = jnp.where(prior.valid, _signed(prior), 0)
        one = prior.valid.astype(mean.dtype)
        return Quadratic(None, one, jnp.sum(mean**2), mean)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """Twice the curvature 1."""
        return 2 * jnp.ones((), prior.weight.dtype)

    formula = property(lambda self: "‖θ − P‖²")


def _signed(prior: PriorView) -> Array:
    return prior.weight * jnp.where(prior.sign == 0, 1, prior.sign).astype(prior.weight.dtype)


def prior_squares() -> PriorSquares:
    """Squared distance of theta to the prior's signed weights; no cell enters.

    L(theta) = sum_j (theta_j - P_j)^2, P the prior's weight with its sign (plus where it has none).
    """
    return PriorSquares()


@pytree
class Huber(Loss):
    """Huber's robust loss; see `huber`."""

    delta: Array

    blocks = ("intercept", "theta")
    separable = "targets"
    convex = True
    weighted = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on rows."""
        weight = _weight(data)
        fitted = data.x @ params.theta
        r = jnp.abs(data.y - fitted - jnp.broadcast_to(params.intercept, fitted.shape))
        inner = jnp.minimum(r, self.delta)
        value = inner * (2 * r - inner)
        return jnp.sum(weight * value if value.ndim == 1 else weight[:, None] * value)

    def lipschitz(self, data: View, prior: PriorView) -> Array:
        """As for least squares: the curvature is at most 2 X' W X, intercept included."""
        return 2 * _curvature(data)

    @property
    def formula(self) -> str:
        """The loss as text."""
        return "Σᵢ wᵢ huber_δ(yᵢ − θ₀ − xᵢθ)"


def huber(delta: float = 1.0) -> Huber:
    """Huber's robust loss: quadratic near 0, linear beyond ``delta``.

    L(theta, theta_0) = sum_i w_i h(y_i - theta_0 - x_i theta), h(r) = r^2 for |r| <= delta, else
    2 delta |r| - delta^2. Needs rows: it has no moments. Source: Huber, Ann. Math. Statist. 35
    (1964) 73, doi:10.1214/aoms/1177703732.

    Parameters
    ----------
    delta
        Where it turns linear, in units of the target, > 0.
    """
    return Huber(check_number("delta", delta, strict=True))


@pytree
class GaussianEvidence(Loss):
    """Negative log evidence of a Gaussian linear model; see `gaussian_evidence`."""

    hyperprior: Array
    tolerance: Array
    max_iterations: int = static(default=300)

    blocks = ("noise_precision", "theta", "weight_precision")
    separable = "targets"
    weighted = True

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate the joint objective in (theta, a, l)."""
        m, a, lam, h = (
            data.moments,
            params.noise_precision,
            params.weight_precision,
            self.hyperprior,
        )
        theta = params.theta
        rss = theta @ m.gram @ theta - 2 * m.cross @ theta + m.square
        k = jnp.sum(prior.valid.astype(theta.dtype))
        e = jnp.maximum(jnp.linalg.eigvalsh(m.gram), 0)
        # Padded entries have eigenvalue 0 and would add log l each.
        logdet = jnp.sum(jnp.log(a * e + lam)) - (e.shape[0] - k) * jnp.log(lam)
        return (
            a * rss
            + lam * theta @ theta
            + logdet
            - m.count * jnp.log(a)
            - k * jnp.log(lam)
            + 2 * h * (a + lam)
            - 2 * h * (jnp.log(a) + jnp.log(lam))
        )

    def evidence(self) -> tuple[Array, Array, int]:
        """Return the hyperprior, the stopping tolerance and the cap on iterations."""
        return self.hyperprior, self.tolerance, self.max_iterations

    @property
    def formula(self) -> str:
        """The loss as text."""
        return "a ‖y − θ₀ − xθ‖² + l ‖θ‖² + log|a x'x + l I| − n log a − k log l + hyperpriors"


def gaussian_evidence(
    hyperprior: float = 1e-6, tolerance: float = 1e-3, max_iterations: int = 300
) -> GaussianEvidence:
    """Type-II likelihood of a Gaussian linear model with a common prior on the coefficients.

    y ~ N(theta_0 + x theta, 1/a), theta ~ N(0, 1/l), a and l ~ Gamma(h, h). The loss is twice the
    negative log posterior of (theta, a, l) plus the log-determinant that integrates theta out::

        J = a |y - x theta|^2 + l |theta|^2 + log det(a x'x + l I) - n log a - k log l
            + 2h (a + l) - 2h (log a + log l)

    so that min over theta of J is twice the negative log evidence. Its stationarity conditions in
    a and l are the fixed-point updates of evidence maximisation, a solver of its own.
    Sources: MacKay, Neural Comput. 4 (1992) 415, doi:10.1162/neco.1992.4.3.415; Tipping, J. Mach.
    Learn. Res. 1 (2001) 211.

    Parameters
    ----------
    hyperprior
        h > 0, shape and rate of both Gamma priors: it keeps the noise precision of an exact fit or
        a constant target finite.
    tolerance
        Stop when sum |theta_new - theta_old| falls below it (an absolute test, in units of theta).
    max_iterations
        Cap on the number of updates.
    """
    hyperprior = check_number("hyperprior", hyperprior, strict=True)
    tolerance = check_number("tolerance", tolerance)
    return GaussianEvidence(
        hyperprior, tolerance, check_whole("max_iterations", max_iterations, low=1)
    )


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


@pytree
class ExpectedGaussian(Loss):
    """Expected Gaussian negative log-likelihood; see `expected_gaussian`."""

    variance: Array | None = None
    draws: int = static(default=0)

    blocks = ("log_variance", "theta")
    separable = "targets"
    weighted = True
    noisy = property(lambda self: True if self.draws else None)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on rows: exactly, or by draws of theta."""
        weight = _weight(data)
        variance, count = Gaussian(self.variance).of_rows(data)
        constant = 0.5 * count * jnp.log(2 * math.pi * variance)
        spread = jnp.where(prior.valid, jnp.exp(params.log_variance), 0)
        if not self.draws:
            mean = weight @ data.x / count
            gram = weight @ (data.x - mean[None, :]) ** 2  # its diagonal
            squares, _ = _squares(data, data.x @ params.theta, True)
            own = gram if spread.ndim == 1 else gram[:, None]
            squares = squares + jnp.sum(own * spread, axis=0)
        else:
            noise = jax.random.normal(data.key, (self.draws, *spread.shape), spread.dtype)
            theta = params.theta[None] + jnp.sqrt(spread)[None] * noise
            drawn = jax.vmap(lambda t: _squares(data, data.x @ t, True)[0])(theta)
            squares = jnp.mean(drawn, axis=0)
        return jnp.sum(squares / (2 * variance) + constant)

    @property
    def formula(self) -> str:
        """The loss as text."""
        return "E_q Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)² / 2s² + ½ W log 2πs²"


def expected_gaussian(variance: float | None = None, draws: int = 0) -> ExpectedGaussian:
    """Negative expected log-likelihood of Gaussian noise under a mean-field posterior.

    L = -E_q log N(y; theta_0 + x theta, s^2) with q = prod_j N(theta_j, v_j): the first half of a
    negative ELBO. The parameters are the posterior means ``theta`` and the block ``log_variance``,
    log v_j. On centred data (theta_0 has a flat prior) it is, with the moments G of x,

        (|y - x theta|^2 + sum_j v_j G_jj) / (2 s^2) + (W / 2) log(2 pi s^2).

    Parameters
    ----------
    variance
        s^2 > 0, in squared units of the target; None takes each target's own weighted variance.
    draws
        0 evaluates the expectation exactly; R > 0 by R draws theta + sqrt(v) e, e ~ N(0, 1), fresh
        at every step: the form for likelihoods that have no closed expectation.

    References
    ----------
    Blei, Kucukelbir and McAuliffe, J. Am. Stat. Assoc. 112 (2017) 859,
    doi:10.1080/01621459.2017.1285773; Kingma and Welling, ICLR (2014), arXiv:1312.6114.
    """
    if variance is not None:
        variance = check_number("variance", variance, strict=True)
    return ExpectedGaussian(variance, check_whole("draws", draws))


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
