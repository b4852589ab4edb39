"""Settings and fixtures that every test shares.

Strict by default: JAX refuses silent promotion of dtypes and of ranks, and
pyproject.toml turns warnings into errors.
"""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys

# Before JAX is imported: the suite gives the same numbers beside an accelerator as without one.
# Set the variable yourself to test another platform.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.monitoring
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# Compiling takes most of the suite: XLA is to spare itself what only large systems need. Programs
# of other processes (the command line) are as shipped.
_ASKED = "UNIGRN_TEST_XLA_FLAGS"
if _ASKED not in os.environ:  # the processes of pytest-xdist inherit what the first has asked
    _code = "from unigrn.verify.table import flags; print(flags())"
    os.environ[_ASKED] = subprocess.check_output([sys.executable, "-c", _code], text=True).strip()
with pytest.MonkeyPatch.context() as _patch:
    _patch.setenv("XLA_FLAGS", f"{os.environ[_ASKED]} {os.environ.get('XLA_FLAGS', '')}")
    jax.jit(lambda x: x)(0.0)  # XLA reads the flags once
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# No deadline: the first example of a shape pays for its compilation. In CI the examples are the
# same on every run; elsewhere they are fresh, and a failure prints the line that replays it.
settings.register_profile("unigrn", deadline=None, derandomize=CI, print_blob=True)
settings.load_profile("unigrn")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the recorded fixtures and the real data sets; absent on most machines."""
    named = os.environ.get("UNIGRN_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    if (folder / "fixtures").is_dir():
        return folder
    reason = (
        f"no recorded fixtures: {'UNIGRN_SHARED' if named else '../shared'} is not a folder "
        "that holds 'fixtures'"
    )
    if CI:
        pytest.fail(f"{reason}; CI must not skip these tests")
    pytest.skip(reason)


# Files that take longest come first, so that no process waits at the end for one of them.
SLOW = "checks api catalogue solvers gates equivalent benchmarks claims_2 cli readme splitting"


def pytest_collection_modifyitems(items) -> None:
    """Order tests by how long their file takes; those of one file keep their order."""
    place = {f"test_{name}": i for i, name in enumerate(SLOW.split())}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_terminal_summary(terminalreporter) -> None:
    """Print the gates of proofs/gates.toml, those that fail and those that are open too."""
    reports = [r for some in terminalreporter.stats.values() for r in some]
    said = {
        text for r in reports for key, text in getattr(r, "user_properties", ()) if key == "gate"
    }
    if said:
        terminalreporter.section("gates")
        for text in sorted(said):
            terminalreporter.line(text)


@pytest.fixture
def x64() -> Iterator[None]:
    """Run the test with 64-bit types."""
    with jax.enable_x64(True):
        yield


# JAX's own event around each call of the compiler.
_COMPILED = "/jax/core/compile/backend_compile_duration"
HELD = 300  # programs that a process keeps; each maps about ninety regions, and Linux allows 65,530
FEW, LARGE = 60, 1.1e9  # a process larger than so many bytes drops them sooner, past so few
_held = 0


def _count(event: str, duration: float, **facts: object) -> None:
    global _held
    _held += event == _COMPILED


jax.monitoring.register_event_duration_secs_listener(_count)


@pytest.fixture(autouse=True)
def few_programs() -> Iterator[None]:
    """Drop what was compiled before a process grows large, or runs out of room for more."""
    global _held
    yield
    if _held > HELD or (_held > FEW and _resident() > LARGE):
        jax.clear_caches()
        gc.collect()
        with suppress(OSError, AttributeError):  # give what is free back: glibc only
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        _held = 0


def _resident() -> float:
    """Bytes of memory that the process holds; 0 where the system does not say."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0.0


@dataclass
class Compilations:
    """Names of the functions that XLA compiled inside a block, in order."""

    names: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return len(self.names)

    def of(self, name: str) -> int:
        """How many of them belong to a function whose name contains ``name``."""
        return sum(name in each for each in self.names)


@pytest.fixture
def count_compilations() -> Callable[[], AbstractContextManager[Compilations]]:
    """Count what XLA compiles inside a block.

    ::

        with count_compilations() as compiled:
            solve(x)
        assert compiled.total == 0  # or compiled.of("solve") == 1

    Single operations outside jit (such as ``jnp.zeros``) compile too, and count.
    """

    @contextmanager
    def counting() -> Iterator[Compilations]:
        seen = Compilations()

        def listen(event: str, duration: float, **facts: object) -> None:
            if event == _COMPILED:
                seen.names.append(str(facts.get("fun_name", "")))

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield seen
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)

    return counting
