"""Status: how a fit ended, in one word and in words."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """How a fit ended; ``.message`` says it in words."""

    CONVERGED = 0
    RELEASED_RULE = 1
    MAX_ITERATIONS = 2
    SINGULAR = 3
    NOT_FINITE = 4
    NO_CANDIDATES = 5
    CONSTANT_TARGET = 6
    INACCURATE = 7
    WITHIN_NOISE = 8
    OWN_LIMIT = 9
    KINK = 10
    STALLED = 11
    INFEASIBLE = 12
    SADDLE = 13
    FIXED_POINT = 14

    @property
    def message(self) -> str:
        """The status in words."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.CONVERGED: "converged",
    Status.RELEASED_RULE: "stopped by the method's own rule",
    Status.MAX_ITERATIONS: "not converged: iteration limit",
    Status.SINGULAR: "singular: coefficients are not unique",
    Status.NOT_FINITE: "failed: not finite",
    Status.NO_CANDIDATES: "no candidate regulators",
    Status.CONSTANT_TARGET: "target is constant",
    Status.INACCURATE: "not accurate: ill-conditioned",
    Status.WITHIN_NOISE: "stationary within the noise of its gradient",
    Status.KINK: "not converged: the gradients on the two sides disagree (a kink: give the term a "
    "prox)",
    Status.STALLED: "not converged: no step lowers the objective any more",
    Status.INFEASIBLE: "failed: outside the constraint (its sets may have no point in common)",
    Status.SADDLE: "not converged: the gradient is 0, and points next to it are lower (a saddle or "
    "a maximum): give another start",
    Status.FIXED_POINT: "fixed point of the method's map, which minimises nothing",
    Status.OWN_LIMIT: "ended after the method's own number of sweeps, before it converged",
}
FAILED = (
    Status.MAX_ITERATIONS,
    Status.SINGULAR,
    Status.NOT_FINITE,
    Status.INACCURATE,
    Status.KINK,
    Status.STALLED,
    Status.INFEASIBLE,
    Status.SADDLE,
)
# How several fits of one target ended, the worst first.
WORST = (
    Status.NOT_FINITE,
    Status.INFEASIBLE,
    Status.SINGULAR,
    Status.KINK,
    Status.SADDLE,
    Status.MAX_ITERATIONS,
    Status.STALLED,
    Status.INACCURATE,
    Status.OWN_LIMIT,
    Status.RELEASED_RULE,
    Status.FIXED_POINT,
    Status.WITHIN_NOISE,
    Status.CONVERGED,
)
