"""Constraints: sets the parameters must lie in. A constraint has no scale; `+` intersects.

Called as a function, a constraint gives the largest violation: 0 where the point is feasible.
"""

from unigrn.constraints.counts import Budget, budget
from unigrn.constraints.intervals import (
    Box,
    Nonnegative,
    NoSelf,
    Sign,
    Support,
    box,
    no_self,
    nonnegative,
    sign,
    support,
)

__all__ = [
    "Box",
    "Budget",
    "NoSelf",
    "Nonnegative",
    "Sign",
    "Support",
    "box",
    "budget",
    "no_self",
    "nonnegative",
    "sign",
    "support",
]
