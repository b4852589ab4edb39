"""Columns: numbers of the edge table, as pure functions of what was fitted.

A column is a function (params, data, prior) -> dict of arrays shaped like theta. One that needs the
terms of the fit too is a `Column`. Those here are of quadratic problems: with the moments G, c, s
of a target, and everything else that is quadratic in theta as D (for a ridge, alpha I),

    F(theta) = theta' G theta - 2 c' theta + s + theta' D theta,      H = (G + D)^-1,

forcing theta_j to 0 and fitting all other coefficients again raises the least F by exactly
theta_j^2 / H_jj, so that nothing is fitted again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from unigrn.moments import dot
from unigrn.terms import Array, Blocks, PriorView, View, parts


@dataclass(frozen=True)
class Column:
    """Columns of the edge table that need the terms of the fit; subclass it (a frozen dataclass).

    ``lacking(spec)`` says in words what a spec lacks for it, None where nothing.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def label(self) -> str:
        """What messages call it."""
        return type(self).__name__

    def lacking(self, spec: Any) -> str | None:
        """Say what the spec lacks."""
        return None

    def __call__(
        self, params: Blocks, data: View, prior: PriorView, terms: Any
    ) -> dict[str, Array]:
        """Give columns by name, each shaped like theta; ``terms`` has the three slots."""
        raise TypeError(f"{type(self).__name__} does not say what its columns are")


def read(
    columns: tuple[Callable[..., dict[str, Array]], ...],
    params: Blocks,
    data: View,
    prior: PriorView,
    terms: Any,
) -> dict[str, Array]:
    """Evaluate the columns of a spec at one fit."""
    out: dict[str, Array] = {}
    for column in columns:
        more = (terms,) if isinstance(column, Column) else ()
        out |= column(params, data, prior, *more)
    return out


@dataclass(frozen=True)
class OfSquares(Column):
    """A statistic of a quadratic problem under a name; see `drop_one`."""

    statistic: Callable[..., Array]
    name: str

    label = property(lambda self: self.name)

    def lacking(self, spec: Any) -> str | None:
        """Ask for squares in theta alone, one target at a time."""
        for term in parts(spec.loss) + parts(spec.regularizer):
            if term.quadratic is None:
                return f"the {term.kind} {term.formula} is not quadratic"
        for term in parts(spec.constraint):
            if term.allows is None:
                return f"the constraint {term.formula} is more than a deletion"
        if not spec.separable:
            return "a term couples the targets"
        return None

    def __call__(
        self, params: Blocks, data: View, prior: PriorView, terms: Any
    ) -> dict[str, Array]:
        """Evaluate at one fit."""
        problem = _quadratic(params, data, prior, terms)
        return {self.name: jnp.where(prior.valid, self.statistic(params.theta, *problem), 0)}


def _quadratic(params: Blocks, data: View, prior: PriorView, terms: Any) -> tuple[Array, ...]:
    """Return G, W with W'W = (G + D)^-1, RSS, theta' D theta and n - 1 (n without intercept)."""
    m, theta = data.moments, params.theta
    q = terms.loss.quadratic(data, prior)
    if q.scale is None:
        raise ValueError(
            f"the loss {terms.loss.formula} has no residuals of one regression on all candidates, "
            "which the column asks for; take least_squares() or gaussian()"
        )
    gram, rss = m.gram, m.square - 2 * dot(m.cross, theta) + dot(theta, dot(m.gram, theta))
    free = m.count - 1
    if any(t.intercept is False for t in parts(terms.loss)):
        # The moments are centred; this loss is not.
        gram = gram + m.count * m.mean_x[:, None] * m.mean_x[None, :]
        rss = rss + m.count * (m.mean_y - dot(m.mean_x, theta)) ** 2
        free = m.count
    if terms.regularizer is not None:
        q = q + terms.regularizer.quadratic(data, prior)
    live = q.scale > 0
    scale = jnp.where(live, q.scale, 1)
    whole = m.gram + jnp.diag(q.diagonal / scale)
    if q.matrix is not None:
        whole = whole + q.matrix / scale
    both = prior.valid[:, None] & prior.valid[None, :]
    whole = jnp.where(both, whole, jnp.eye(theta.shape[0], dtype=theta.dtype))
    lower = jnp.linalg.cholesky(whole)
    # Regulators that others determine have no H: undefined, as the fit is.
    tiny = theta.shape[0] * jnp.finfo(theta.dtype).eps * jnp.diagonal(whole)
    sound = live & jnp.all(jnp.square(jnp.diagonal(lower)) > tiny)
    root = jax.scipy.linalg.solve_triangular(
        lower, jnp.eye(theta.shape[0], dtype=theta.dtype), lower=True
    )
    root = jnp.where(sound, root, jnp.nan)
    price = dot(theta, dot(whole, theta)) - dot(theta, dot(gram, theta))
    return gram, root, jnp.maximum(rss, 0), jnp.maximum(price, 0), free


def _share(more: Array, rest: Array) -> Array:
    total = rest + more
    return jnp.where(total > 0, more / jnp.where(total > 0, total, 1), 0 * more)


def _rise(theta: Array, root: Array) -> Array:
    """Return theta_j^2 / H_jj."""
    return theta**2 / jnp.sum(root**2, axis=0)


def _drop_one(theta, gram, root, rss, price, free) -> Array:
    return _share(_rise(theta, root), rss)


def _partial(theta, gram, root, rss, price, free) -> Array:
    return jnp.sign(theta) * jnp.sqrt(_share(_rise(theta, root), rss + price))


def _t(theta, gram, root, rss, price, free) -> Array:
    hat = dot(root, dot(gram, root.T))  # W G W', with the eigenvalues of the hat matrix
    spread = jnp.sum(root * dot(hat, root), axis=0)  # diagonal of H G H
    left = free - 2 * jnp.trace(hat) + jnp.sum(hat**2)
    known = (left > 0) & (rss > 0) & (spread > 0)
    error = jnp.sqrt(jnp.where(known, rss * spread, 1) / jnp.where(known, left, 1))
    return jnp.where(theta == 0, 0 * spread, jnp.where(known, theta / error, jnp.nan))


def drop_one(name: str = "drop_one") -> Column:
    """Variance that a target owes to one regulator alone, all others fitted again without it.

    (b_j^2 / H_jj) / (RSS + b_j^2 / H_jj), H = (X'X + D)^-1 of centred regulators, b the fitted
    coefficients and RSS their residual sum of squares; in [0, 1]. D is what the regularizer adds:
    alpha I of a ridge. Without one it is 1 - RSS / RSS without j, the squared partial correlation.

    Parameters
    ----------
    name
        Of the column; "score" ranks the edges by it.

    Raises
    ------
    ValueError
        When the spec is planned, where a term is not quadratic in theta, or couples targets.

    References
    ----------
    Skok Gibbs et al., Bioinformatics 38 (2022) 2519, doi:10.1093/bioinformatics/btac117.
    """
    return OfSquares(_drop_one, name)


def t_statistic(name: str = "t") -> Column:
    """Coefficient over its standard error, for ridge too.

    b_j / sqrt(s^2 (H G H)_jj), s^2 = RSS / (n - 1 - tr(2 A - A A)), A = G H; without a regularizer
    the t statistic of ordinary least squares with n - 1 - k degrees of freedom. Undefined (empty)
    where no degree of freedom is left. The ridge's bias is not in it.

    References
    ----------
    Cule, Vineis and De Iorio, BMC Bioinformatics 12 (2011) 372, doi:10.1186/1471-2105-12-372.
    """
    return OfSquares(_t, name)


def partial_correlation(name: str = "partial") -> Column:
    """Correlation of target and regulator given all other candidates, signed.

    -K_jy / sqrt(K_jj K_yy) with K the inverse of the joint matrix [[G + D, c], [c', s]], which is
    sign(b_j) sqrt(r / (F + r)) with r = b_j^2 / H_jj and F the least value of the objective.

    References
    ----------
    Schaefer and Strimmer, Stat. Appl. Genet. Mol. Biol. 4 (2005) 32, doi:10.2202/1544-6115.1175.
    """
    return OfSquares(_partial, name)


@dataclass(frozen=True)
class Size(Column):
    """The absolute values of another column, such as `Size(t_statistic("score"))` to rank by."""

    column: Column

    label = property(lambda self: self.column.label)

    def lacking(self, spec: Any) -> str | None:
        """Ask for what the column asks for."""
        return self.column.lacking(spec)

    def __call__(
        self, params: Blocks, data: View, prior: PriorView, terms: Any
    ) -> dict[str, Array]:
        """Take away the sign."""
        found = self.column(params, data, prior, terms)
        return {name: jnp.abs(values) for name, values in found.items()}
