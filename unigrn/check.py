"""Checks of arguments: a value of the right kind, or one line that says what is wrong."""

from __future__ import annotations

import math
from typing import Any


def check_number(name: str, value: Any, *, low: float = 0.0, strict: bool = False) -> float:
    """Return ``value`` as a float, or say what is wrong with it."""
    bound = f"a finite number {'>' if strict else '>='} {low:g}"
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {bound}, got {value!r}") from None
    if not math.isfinite(number) or number < low or (strict and number == low):
        raise ValueError(f"{name} must be {bound}, got {value!r}")
    return number


def check_whole(name: str, value: Any, *, low: int = 0) -> int:
    """Return ``value`` as an int, or say what is wrong with it."""
    number = check_number(name, value, low=-math.inf)
    if isinstance(value, bool) or number != int(number) or number < low:
        raise ValueError(f"{name} must be a whole number >= {low}, got {value!r}")
    return int(number)
