"""Checks of arguments: a value of the right kind, or one line that says what is wrong."""

from __future__ import annotations

import difflib
import inspect
import math
import operator
import shlex
from collections.abc import Callable, Iterable
from typing import Any


def check_number(name: str, value: Any, *, low: float = 0.0, strict: bool = False) -> float:
    """Return ``value`` as a float, or say what is wrong with it."""
    bound = f"a finite number {'>' if strict else '>='} {low:g}"
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        if getattr(getattr(value, "aval", None), "shape", None) == ():
            return value  # pyright: ignore[reportReturnType]  # traced: it stands for any number
        raise ValueError(f"{name} must be {bound}, got {value!r}") from None
    if not math.isfinite(number) or number < low or (strict and number == low):
        raise ValueError(f"{name} must be {bound}, got {value!r}")
    return number


def check_whole(name: str, value: Any, *, low: int = 0) -> int:
    """Return ``value`` as an int, or say what is wrong with it."""
    try:
        number = check_number(name, value, low=-math.inf)
        if not isinstance(value, bool) and number == int(number) >= low:
            return int(number)
    except ValueError:
        pass
    raise ValueError(f"{name} must be a whole number >= {low}, got {value!r}") from None


def shown(name: str, most: int = 40) -> str:
    """Give a name for a message: cut where it is long, what does not print escaped."""
    name = cut(name, most)
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def cut(text: str, most: int) -> str:
    """Give a text, or its beginning where it is longer than ``most``."""
    return text if len(text) <= most else text[: most - 3] + "..."


def listed(names: Iterable[Any], most: int = 10, size: int = 40) -> str:
    """Give names for a message, in quotes: at most ``most``, each cut to ``size`` characters."""
    names = [str(name) for name in names]
    text = ", ".join(repr(cut(name, size)) for name in names[:most])
    return (text or "none") + (f" and {len(names) - most} more" if len(names) > most else "")


def counted(number: int, noun: str) -> str:
    """Give a number and its noun, in the plural where that is due."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def meant(name: str, known: Iterable[str]) -> str:
    """Give " (did you mean X?)" where something known is close, else nothing."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def called(text: str, what: str) -> tuple[str, dict[str, str]]:
    """Take "NAME [KEY=VALUE]..." apart, as a shell would."""
    try:
        name, *pairs = shlex.split(text) or [""]
    except ValueError as error:
        raise ValueError(f"{what} {text!r} cannot be read: {error}") from None
    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"{what} {text!r}: {pair!r} is not KEY=VALUE, such as alpha=10")
        if key in given:
            raise ValueError(f"{what} {text!r}: {key} is given twice")
        given[key] = value
    return name, given


def check_index(name: str, value: Any, least: int) -> int:
    """Return ``value`` as an int where it is one by type, or say what is wrong with it."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}; needed a whole number, {least} or more") from None
    if number < least:
        raise ValueError(f"{name} is {number}; needed {least} or more")
    return number


def check_between(name: str, value: float, low: float, high: float, open_end: bool = False) -> None:
    """Refuse a number outside ``low`` to ``high``, or at the end where that is open."""
    if not (low <= value < high or (value == high and not open_end)):
        span = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
        below = f", below {high:g}" if open_end and high != math.inf else ""
        raise ValueError(f"{name} is {value}; needed a number {span}{below}")


def check_range(name: str, value: tuple, whole: bool = False) -> tuple:
    """Return the two ends of a range, or say what is wrong with them."""
    try:
        low, high = value
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}; needed two numbers, low and high") from None
    if whole:
        low, high = check_index(name, low, 0), check_index(name, high, 0)
    if not low <= high or high == math.inf:
        raise ValueError(f"{name} is ({low}, {high}); needed low <= high, both finite")
    return low, high


def check_hyper(
    function: Callable[..., Any], hyper: dict[str, Any], options: tuple[str, ...]
) -> None:
    """Raise TypeError where a function takes no argument of a hyperparameter's name."""
    try:
        known = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin: it says itself what it does not take
        return
    names = [p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    label = getattr(function, "__name__", type(function).__name__)
    for name in hyper:
        near = difflib.get_close_matches(name, options, n=1, cutoff=0.75)
        free = any(p.kind is p.VAR_KEYWORD for p in known) and not near
        if name in names[3:] or free or (name in names and name not in names[:3]):
            continue
        meant = (
            f"did you mean the option {near[0]}?"
            if near
            else (
                f"its hyperparameters are: {', '.join(names[3:]) or 'none'}; the options are: "
                f"{', '.join(options)}"
            )
        )
        raise TypeError(f"{label} takes no argument {name!r}: {meant}")
    needed = [
        p.name
        for p in known[3:]
        if p.default is p.empty
        and p.name not in hyper
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if needed:
        raise TypeError(f"{label} needs the hyperparameter {needed[0]!r}: pass {needed[0]}=number")
