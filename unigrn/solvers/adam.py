"""Steps of Adam that a method declares, as many as it says: where they end is part of the method.

With g_t the gradient of the objective, l the length and a lag k,

    m_t = .9 m_{t-1} + .1 g_t,   v_t = .999 v_{t-1} + .001 g_t^2,
    theta_t = theta_{t-1} - l (m_t / (1 - .9^{t+k})) / (sqrt(v_t / (1 - .999^{t+k})) + 1e-8).

The certificate is the residual of the whole problem: it says whether the end happens to be
stationary; otherwise the fit ended after the method's own number of steps.
Source: Kingma and Ba, ICLR (2015), arXiv:1412.6980 (k = 0).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from unigrn.solvers import optimality
from unigrn.solvers.optimality import Fit, Options
from unigrn.terms import PriorView, View

FIRST, SECOND, FLOOR = 0.9, 0.999, 1e-8


def solve(terms: Any, view: View, prior: PriorView, options: Options) -> Fit:
    """Take ``options.most`` steps from the start."""
    obj, step = optimality.objective(terms), terms.steps[0]
    slope = optimality.slope(obj, view, prior)
    start = optimality.masked(terms.start(view, prior), prior)
    begin = start[step.block]
    dtype = begin.dtype

    def body(t, state):
        at, mean, square = state
        g = slope(start.replace(**{step.block: at}))[step.block]
        mean = FIRST * mean + (1 - FIRST) * g
        square = SECOND * square + (1 - SECOND) * g**2
        age = (t + 1 + step.late).astype(dtype)
        move = mean / (1 - FIRST**age) / (jnp.sqrt(square / (1 - SECOND**age)) + FLOOR)
        return at - step.weight * move, mean, square

    zero, most = jnp.zeros_like(begin), jnp.asarray(options.most, jnp.int32)
    first = jnp.zeros((), jnp.int32)
    at, *_ = jax.lax.fori_loop(first, most, body, (begin, zero, zero))
    params = optimality.masked(start.replace(**{step.block: at}), prior)
    status, residual = optimality.certify(terms, params, start, view, prior, options)
    return Fit(params, status, residual, most, obj.total(params, view, prior))
