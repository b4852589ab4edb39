"""A coupled method with blocks of its own: the network is nearly a product of two factors.

min over theta, Programs, Use of  |Y - X theta|^2 + pull |theta - Use' Programs|^2
+ ridge (|Programs|^2 + |Use|^2),  Programs (factors, targets), Use (factors, regulators).
The blocks have names that unigrn has never heard of; their axes are traced from the start.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from unigrn import Blocks, Spec, least_squares, regularizer


def near_product(params, data, prior, pull, ridge):
    """Pull theta to the product, keep the factors small."""
    apart = jnp.where(prior.valid, params.theta - params.Use.T @ params.Programs, 0)
    size = jnp.sum(params.Programs**2) + jnp.sum(params.Use**2)
    return pull * jnp.sum(apart**2) + ridge * size


@dataclass(frozen=True)  # a frozen dataclass: the same start again does not recompile
class Start:
    """Draw the factors; theta starts at 0."""

    factors: int

    def __call__(self, data, prior, key, terms):
        """Return the blocks; what is padded or deleted stays 0 in theta by itself."""
        keys = jax.random.split(key)
        q, p = prior.weight.shape
        kind = prior.weight.dtype
        return Blocks(
            theta=jnp.zeros_like(prior.weight),
            Programs=0.1 * jax.random.normal(keys[0], (self.factors, p), kind),
            Use=0.1 * jax.random.normal(keys[1], (self.factors, q), kind),
        )


def factored(prior, factors: int = 2, pull: float = 10.0, ridge: float = 1.0) -> Spec:
    """Least squares with a network near a product of two factors."""
    term = regularizer(
        near_product, coupled=True, blocks=("theta", "Programs", "Use"), pull=pull, ridge=ridge
    )
    return Spec(least_squares(), term, prior=prior, start=Start(int(factors)))
