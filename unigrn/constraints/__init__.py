"""Constraints: sets the parameters must lie in. A constraint has no scale; `+` intersects.

Called as a function, a constraint gives the largest violation: 0 where the point is feasible.
"""

from unigrn.constraints.counts import Budget, Cardinality, Rank, budget, cardinality, rank
from unigrn.constraints.equalities import LinearEquality, Simplex, linear_equality, simplex
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
    "Cardinality",
    "LinearEquality",
    "NoSelf",
    "Nonnegative",
    "Rank",
    "Sign",
    "Simplex",
    "Support",
    "box",
    "budget",
    "cardinality",
    "linear_equality",
    "no_self",
    "nonnegative",
    "rank",
    "sign",
    "simplex",
    "support",
]
