"""What a check of a method says: results, a report, and how a check ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


class SpecError(AssertionError):
    """A spec does not keep what it promises; the message lists the failures."""


class Fault(Exception):
    """A check failed: what was found, with numbers, and what to change."""


class Skip(Exception):
    """A check could not be made, and why."""


class Absent(Exception):
    """A check does not concern this term."""


@dataclass(frozen=True)
class Result:
    """What became of one check: its name, what it looked at, its outcome and message."""

    name: str
    about: str
    outcome: str  # "passed", "skipped" or "failed"
    message: str = ""

    passed = property(lambda self: self.outcome == "passed")
    skipped = property(lambda self: self.outcome == "skipped")
    failed = property(lambda self: self.outcome == "failed")


@dataclass(frozen=True)
class CheckReport:
    """Results of all checks; true where one passed and none failed, prints as a table."""

    name: str
    results: tuple[Result, ...]
    examples: int
    seed: int

    @property
    def failures(self) -> tuple[Result, ...]:
        """The results that failed."""
        return tuple(r for r in self.results if r.failed)

    def __bool__(self) -> bool:
        return not self.failures and any(r.passed for r in self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __str__(self) -> str:
        failed = len(self.failures)
        verdict = f"{failed} FAILED" if failed else "passed" if self else "NOTHING CHECKED"
        lines = [
            f"{self.name}: {verdict} "
            f"({len(self.results)} checks, {self.examples} examples, seed {self.seed})"
        ]
        for name in dict.fromkeys(r.name for r in self.results):
            own = [r for r in self.results if r.name == name]
            counts = [
                f"{n} {o}"
                for o in ("passed", "skipped", "failed")
                if (n := sum(r.outcome == o for r in own))
            ]
            notes = dict.fromkeys(r.message for r in own if not r.failed and r.message)
            lines.append(
                f"  {name:14s} {', '.join(counts)}" + (f" ({'; '.join(notes)})" if notes else "")
            )
        lines += [f"  FAILED {r.name}: {r.message}" for r in self.failures]
        return "\n".join(lines)

    def raise_(self) -> CheckReport:
        """Return self, or raise `SpecError` with all failures, or where nothing was checked."""
        if self.failures:
            raise SpecError(
                "\n".join(
                    [
                        f"{self.name}: {len(self.failures)} checks failed",
                        *(f"{r.name}: {r.message}" for r in self.failures),
                    ]
                )
            )
        if not self:
            raise SpecError(f"{self.name}: no check passed or failed, so nothing is shown")
        return self
