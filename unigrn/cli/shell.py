"""Around the commands: exit codes, one line for an error or a warning, a progress bar."""

from __future__ import annotations

import io
import os
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
import typer.core

FAILED, BAD_INPUT, DEFECT, INTERRUPTED, PIPE_CLOSED = 1, 2, 70, 130, 141
# Of typer's exceptions only the leaves are public. The second parent of this one is, in every
# release, the one whose message is meant for the user.
_UsageError = typer.BadParameter.__mro__[2]
assert hasattr(_UsageError, "format_message")


class Refusal(ValueError):
    """Bad usage or input that the command line found by itself."""


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
            with _warnings_as_lines(debug), command.make_context("unigrn", arguments) as context:
                command.invoke(context)
        except typer.Exit as stop:
            code = stop.exit_code
        if sys.stdout is not None:  # it is None where the caller closed it
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return INTERRUPTED
    except Exception as problem:
        if debug:
            traceback.print_exc()
        message, code = _explain(problem)
        say(f"error: {message}")
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


def _explain(problem: Exception) -> tuple[str, int]:
    """One line for an exception, and the exit code."""
    if isinstance(problem, _UsageError):
        return _usage(problem), BAD_INPUT
    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror and problem.filename is not None:
        text = f"{problem.filename}: {problem.strerror}"
    # What the package itself raises, and the errors that stand for bad values and files.
    ours = type(problem).__module__.partition(".")[0] == "unigrn"
    if ours or isinstance(problem, ValueError | OSError):
        return text or type(problem).__name__, BAD_INPUT
    if place := _outside(problem):
        return f"{place} raised {type(problem).__name__}: {text}", BAD_INPUT
    if isinstance(problem, MemoryError):
        return "out of memory; give fewer cells, genes or targets", DEFECT
    return (
        f"unexpected {type(problem).__name__}: {text}; this is a defect of unigrn: "
        "please report it with the traceback that --debug shows"
    ), DEFECT


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
def progress() -> Iterator[None]:
    """Show the progress of long work on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    from unigrn.progress import listening

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Elapsed(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        with listening(show):
            yield
