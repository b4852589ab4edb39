"""Progress of long work: solvers report, whoever listens shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]

_listener: ContextVar[Listener | None] = ContextVar("unigrn_progress", default=None)


def report(stage: str, done: int, total: int) -> None:
    """Say that ``done`` of ``total`` steps of ``stage`` are finished; a total of 0 is not known."""
    listener = _listener.get()
    if listener is not None:
        listener(stage, done, total)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Send every `report` inside the block to ``listener(stage, done, total)``; None to nobody."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
