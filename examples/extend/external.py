"""External data and minibatches: counts with a library size for every cell.

y_i ~ Poisson(depth_i exp(theta_0 + x_i theta)). The depths are no gene: they come with the data,
``data.with_extra(depth=...)``, and a term finds those of the cells at hand in ``data.extra``, of a
group, a bag or a batch alike. With minibatches a step reads a few hundred cells only.
"""

from __future__ import annotations

import jax.numpy as jnp

from unigrn import Minibatch, Spec, loss, ridge


def poisson(params, data, prior):
    """Negative log-likelihood, without what does not depend on the parameters."""
    rate = params.intercept + data.x @ params.theta + jnp.log(data.extra["depth"])
    return jnp.sum(jnp.exp(rate) - data.y * rate)


LOSS = loss(poisson, blocks=("theta", "intercept"), convex=True)


def counts(prior, alpha: float = 1.0) -> Spec:
    """Poisson regression by all cells: solved and certified."""
    return Spec(LOSS, ridge(alpha), prior=prior)


def few_at_a_time(prior, alpha: float = 1.0, size: int = 128, epochs: int = 200) -> Spec:
    """Do the same by minibatches; the certificate then says how near chance allows to look."""
    return Spec(LOSS, ridge(alpha), prior=prior, minibatch=Minibatch(size, epochs))
