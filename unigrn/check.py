"""Checks of arguments: a value of the right kind, or one line that says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable
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


def listed(names: Iterable[Any], most: int = 10) -> str:
    """Give names for a message, in quotes, at most ``most`` of them."""
    names = [str(name) for name in names]
    shown = ", ".join(repr(name) for name in names[:most])
    return (shown or "none") + (f" and {len(names) - most} more" if len(names) > most else "")


def counted(number: int, noun: str) -> str:
    """Give a number and its noun, in the plural where that is due."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def meant(name: str, known: Iterable[str]) -> str:
    """Give " (did you mean X?)" where something known is close, else nothing."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
