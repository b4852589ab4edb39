"""Evidence maximisation: theta, noise precision and weight precision of a Gaussian linear model.

With the eigenvalues e of the k x k Gram matrix and r = l / a, every quantity of an iteration is a
sum over eigenvalues; the matrix is factored once::

    theta = V diag(1 / (e + r)) V' c        gamma = sum a e / (l + a e)
    l <- (gamma + 2h) / (theta'theta + 2h)  a <- (n - gamma + 2h) / (rss + 2h)

Stop when sum |theta - theta_old| falls below the tolerance (an absolute test, taken after the
update), then compute theta once more; variance = diag((a G + l I)^-1). The updates are the
stationarity conditions of `unigrn.gaussian_evidence` in a and l.
The residual is a difference of moments: one below the rounding of the target's sum of squares
counts as 0, and the noise precision of an exact fit is then that of the hyperprior.
Source: MacKay, Neural Comput. 4 (1992) 415, doi:10.1162/neco.1992.4.3.415.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from unigrn.solvers.optimality import Fit, Options
from unigrn.spec import Slots
from unigrn.status import Status
from unigrn.terms import Blocks, PriorView, View


def solve(terms: Slots, view: View, prior: PriorView, options: Options) -> Fit:
    """Solve one fit, whose loss is a `unigrn.losses.GaussianEvidence` with a rule of its own."""
    h, tolerance, most = terms.loss.evidence()
    m = view.moments
    dtype = m.gram.dtype
    e, v = jnp.linalg.eigh(m.gram)
    # Below the rounding of the largest one an eigenvalue is 0: a huge noise precision (a constant
    # target, an exact fit) would take its noise for a direction that the data determine.
    e = jnp.where(e > len(e) * jnp.finfo(dtype).eps * jnp.max(e, initial=0), e, 0)
    z = v.T @ m.cross
    floor = len(e) * jnp.finfo(dtype).eps * m.square

    def coefficients(a, lam):
        return z / (e + lam / a)

    def quantities(a, lam):
        c, r = coefficients(a, lam), lam / a
        rss = m.square - jnp.sum(z**2 * (e + 2 * r) / (e + r) ** 2)
        rss = jnp.where(rss > floor, rss, 0)
        return c, rss, jnp.sum(a * e / (lam + a * e))

    def update(a, lam):
        c, rss, gamma = quantities(a, lam)
        new_lam = (gamma + 2 * h) / (jnp.sum(c**2) + 2 * h)
        new_a = (m.count - gamma + 2 * h) / (rss + 2 * h)
        return v @ c, new_a.astype(dtype), new_lam.astype(dtype)

    def proceed(state):
        _, _, _, step, done = state
        return jnp.logical_not(done) & (step < most)

    def body(state):
        old, a, lam, step, _ = state
        theta, a, lam = update(a, lam)
        done = (step > 0) & (jnp.sum(jnp.abs(theta - old)) < tolerance)
        return theta, a, lam, step + 1, done

    first = (1 / (m.square / m.count + 2.220446049250313e-16)).astype(dtype)
    state = (
        jnp.zeros_like(m.cross),
        first,
        jnp.ones((), dtype),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), bool),
    )
    _, a, lam, steps, done = jax.lax.while_loop(proceed, body, state)
    theta = v @ coefficients(a, lam)
    variance = jnp.sum(v**2 / (a * e + lam)[None, :], axis=1)
    _, next_a, next_lam = update(a, lam)
    residual = jnp.maximum(jnp.abs(next_a / a - 1), jnp.abs(next_lam / lam - 1))
    finite = jnp.all(jnp.isfinite(theta)) & jnp.all(jnp.isfinite(variance))
    status = jnp.where(done, Status.RELEASED_RULE, Status.MAX_ITERATIONS)
    status = jnp.where(finite, status, Status.NOT_FINITE)
    params = Blocks(
        theta=jnp.where(prior.valid, theta, 0),
        variance=variance,
        noise_precision=a,
        weight_precision=lam,
    )
    return Fit(params, status.astype(jnp.int32), residual, steps, jnp.zeros((), dtype))
