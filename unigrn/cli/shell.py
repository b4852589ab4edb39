"""Around the commands: exit codes, one line for an error or a warning, a progress bar."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import sysconfig
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
import typer.core

FAILED, BAD_INPUT, DEFECT, INTERRUPTED, PIPE_CLOSED, TERMINATED = 1, 2, 70, 130, 141, 143
THREADS = (  # NPROC is XLA's
    "NPROC",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
EARLY = 30.0  # seconds in which a run that reads says nothing
LONGEST = 285  # characters of a message, so that its line has 300 at most
# Of typer's exceptions only the leaves are public. The second parent of this one is, in every
# release, the one whose message is meant for the user.
_UsageError = typer.BadParameter.__mro__[2]
assert hasattr(_UsageError, "format_message")


class Refusal(ValueError):
    """Bad usage or input that the command line found by itself."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end: everything is tidied up as for an interrupt."""


class _Commands(typer.core.TyperGroup):
    """The group of commands, which says what a misspelt one was meant to be."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise Refusal(
                f"no command {args[0]!r}{meant(args[0], list(self.commands))}; "
                f"the commands are {', '.join(self.commands)}"
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    # Plain text: it can be searched and piped, and rich need not be loaded for it.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 100},
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; by default those of the process.

    Returns
    -------
    int
        See the package's list of exit codes.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = os.environ.get("UNIGRN_DEBUG", "0") not in {"", "0"}
    if "--debug" in arguments:  # wherever it stands: it is typed after the fact
        arguments = [argument for argument in arguments if argument != "--debug"]
        debug = True
    command = typer.main.get_command(app)
    for stream in (sys.stdout, sys.stderr):
        # A letter that the terminal lacks is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = 0
        try:
            with (
                _terminating(),
                _warnings_as_lines(debug),
                command.make_context("unigrn", arguments) as context,
            ):
                command.invoke(context)
        except typer.Exit as stop:
            code = stop.exit_code
        if sys.stdout is not None:  # it is None where the caller closed it
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except Terminated:
        say("terminated")
        return TERMINATED
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return INTERRUPTED
    except Exception as problem:
        if debug:
            traceback.print_exc()
        message, code = _explain(problem, any(":" in argument for argument in arguments))
        say(f"error: {shortened(message)}")
        if isinstance(problem, OSError):
            _drop_output()
        return code


def _drop_output() -> None:
    """Send what stdout still holds nowhere: Python tries once more to write it at exit."""
    with suppress(OSError, ValueError, AttributeError):  # a stand-in for stdout has no number
        number = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def say(text: str) -> None:
    """Print one line on stderr."""
    print("unigrn:", " ".join(text.split()), file=sys.stderr)


def _explain(problem: Exception, foreign: bool) -> tuple[str, int]:
    """One line for an exception, and the exit code; foreign: a method of the user's own ran."""
    if isinstance(problem, _UsageError):
        return _usage(problem), BAD_INPUT
    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror and problem.filename is not None:
        text = f"{problem.filename}: {problem.strerror}"
    if isinstance(problem, MemoryError) or text.startswith("RESOURCE_EXHAUSTED"):
        return "out of memory; give fewer cells, genes, targets, bags or factors", BAD_INPUT
    # What the package itself raises, and the errors that stand for bad values and files.
    ours = type(problem).__module__.partition(".")[0] == "unigrn"
    if ours or isinstance(problem, ValueError | OSError):
        return text or type(problem).__name__, BAD_INPUT
    if os.environ.get("JAX_PLATFORMS"):
        from unigrn.backend import check_device

        try:
            check_device()
        except ValueError as error:
            return str(error), BAD_INPUT
    if foreign and (place := _outside(problem)):
        return f"{place} raised {type(problem).__name__}: {text}", BAD_INPUT
    what = f"unexpected {type(problem).__name__}"
    if package := _package(problem):
        if sys.flags.optimize > 1:
            return (
                f"the package {package} fails where Python runs without docstrings (-OO, "
                f"PYTHONOPTIMIZE={sys.flags.optimize}): {type(problem).__name__}; unset it, or use "
                "-O (PYTHONOPTIMIZE=1)"
            ), BAD_INPUT
        what += f" in the package {package}"
    return (
        f"{what}: {shortened(text, 120)}; this is a defect of unigrn: "
        "please report it with the traceback that --debug shows"
    ), DEFECT


def shortened(text: str, most: int = LONGEST) -> str:
    """Give a message of at most so many characters: its head, and its end with the advice."""
    text = " ".join(text.split())
    head = most * 5 // 8
    return text if len(text) <= most else f"{text[:head]} ... {text[head + 5 - most :]}"


def _package(problem: Exception) -> str:
    """Name the installed package in which an exception arose; empty where it is our own."""
    frames = traceback.extract_tb(problem.__traceback__)
    for name in ("purelib", "platlib"):
        home = Path(sysconfig.get_path(name))
        if frames and Path(frames[-1].filename).is_relative_to(home):
            package = Path(frames[-1].filename).relative_to(home).parts[0].removesuffix(".py")
            return "" if package == "unigrn" else package
    return ""


def _outside(problem: Exception) -> str:
    """Say where a method of the user's own raised, if one did."""
    installed = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    ours = str(Path(__file__).parents[1])
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if Path(f.filename).is_file()]
    own = [f for f in frames if not f.filename.startswith((ours, *installed))]
    return f"{own[-1].filename}, line {own[-1].lineno}, in {own[-1].name}," if own else ""


def _usage(problem: Any) -> str:
    """Return the message of a usage error, with what was probably meant."""
    context: Any = getattr(problem, "ctx", None)
    path = context.command_path if context is not None else "unigrn"
    misspelt = getattr(problem, "option_name", None)
    if misspelt and context is not None and hasattr(problem, "possibilities"):
        known = [name for p in context.command.params for name in (*p.opts, *p.secondary_opts)]
        message = f"no option {misspelt}{meant(misspelt, [*known, '--help'])}"
    else:
        message = problem.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
    return f"{message}; see {path} --help"


def meant(name: str, known: Sequence[str]) -> str:
    """Return " (did you mean X?)" where something known is close, else nothing."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


@contextmanager
def _warnings_as_lines(debug: bool) -> Iterator[None]:
    """Print unigrn's own warnings one line each, once; others only when debugging."""
    from unigrn import UnigrnWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default" if debug else "ignore")
        warnings.simplefilter("always", UnigrnWarning)
        try:
            yield
        finally:
            lines = {}  # a dictionary keeps the order
            for one in caught:
                own = issubclass(one.category, UnigrnWarning)
                lines[f"{'' if own else f'{one.category.__name__}: '}{one.message}"] = None
            for line in lines:
                say(f"warning: {line}")


@contextmanager
def _terminating() -> Iterator[None]:
    """Make SIGTERM an exception, as SIGINT is, so that half-written files are removed."""

    def end(*_: Any) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread: whoever started it sees to signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def limit_threads(threads: int | None) -> None:
    """Use at most so many cores, with the same answer; to be called before JAX and BLAS load.

    Where a process cannot be kept to some cores (macOS, Windows), the number of XLA's threads is
    what limits them, and the last digits of the answer follow it.
    """
    if threads is None:
        return
    names = THREADS
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        # Not the first ones: another job beside this one would take them too.
        os.sched_setaffinity(0, random.sample(allowed, min(threads, len(allowed))))
        names = tuple(name for name in THREADS if name != "NPROC")
    for name in names:
        os.environ[name] = str(threads)


@contextmanager
def progress(verbose: bool = False, quiet: bool = False) -> Iterator[None]:
    """Show the progress of long work on stderr: a bar on a terminal, lines elsewhere."""
    from unigrn.progress import listening

    if quiet:
        yield
    elif verbose or sys.stderr is None or not sys.stderr.isatty():
        with listening(_lines(1.0 if verbose else 60.0, verbose)):
            yield
    else:
        with _bar() as show, listening(show):
            yield


def _lines(pause: float, starts: bool) -> Callable[[str, int, int], None]:
    """Give a listener that prints lines, the first at once, then one in ``pause`` seconds."""
    last = -pause
    start = time.monotonic()
    # The first report of each stage: what came before it has compiling in it, and says nothing.
    began: dict[str, tuple[float, int]] = {}

    def show(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        begin, first = began.setdefault(stage, (now, done)) if total else (now, done)
        soon = now - last < pause
        # What is read may still be refused, and that is one line unless it takes long.
        early = len(began) == 1 and now - start < EARLY
        if (soon and done != total) if starts else (not total or soon or early):
            return
        last = now
        text = f"{stage}: {done:,} of {total:,}" if total else stage
        left = (now - begin) / (done - first) * (total - done) if first < done < total else 0.0
        if left >= 5 and now - begin >= 5:
            text += (
                f", about {left:.0f} s left" if left < 90 else f", about {left / 60:.0f} min left"
            )
        say(text)

    return show


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """Give a listener that draws a bar for each stage."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Left

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Elapsed(),
        Left(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total or None)
            bar.update(tasks[stage], completed=done, total=total or None)

        yield show
