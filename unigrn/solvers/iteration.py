"""An iteration that minimises nothing: a map of the blocks, applied until it comes to rest.

There is no objective, so no certificate of an optimum either. What is said is what is known: by how
much the last step changed the blocks, in the map's own measure (the residual), and whether that is
the tolerance that the method declares ("fixed point"). The value of the fit is not a number.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from unigrn.solvers import optimality
from unigrn.solvers.optimality import Fit, Options
from unigrn.status import Status
from unigrn.terms import PriorView, View


def solve(terms: Any, view: View, prior: PriorView, options: Options) -> Fit:
    """Apply the map of the loss from the start, at most ``options.most`` times."""
    declared = terms.loss.iterates
    start = optimality.masked(terms.start(view, prior), prior)
    dtype = start.theta.dtype

    def body(state):
        params, _, count = state
        params, change = declared.step(params, count, view, prior)
        return optimality.masked(params, prior), jnp.asarray(change, dtype), count + 1

    def proceed(state):
        return (state[1] > declared.tolerance) & (state[2] < options.most)

    first = (start, jnp.asarray(jnp.inf, dtype), jnp.zeros((), jnp.int32))
    params, change, count = jax.lax.while_loop(proceed, body, first)
    tolerance = jnp.asarray(declared.tolerance, dtype)
    status = optimality.ended(params, change, tolerance)
    status = jnp.where(status == Status.CONVERGED, Status.FIXED_POINT, status).astype(jnp.int32)
    return Fit(params, status, change, count, jnp.asarray(jnp.nan, dtype))
