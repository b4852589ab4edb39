"""The command line: checks arguments, calls the Python API, prints what came of it.

No method lives here. Importing this module loads typer and nothing heavier, so that ``--help`` and
every mistake that can be seen without the data answer at once; JAX, pandas and anndata are imported
when a command needs them.

Exit codes: 0 success; 1 a verification that failed; 2 bad usage or bad input, with one line on
stderr; 70 a defect of unigrn itself; 130 interrupted; 141 the reader of stdout went away.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from unigrn.datasets import Simulation
    from unigrn.network import Network

FAILED, BAD_INPUT, DEFECT, INTERRUPTED, PIPE_CLOSED = 1, 2, 70, 130, 141
# The suffixes that Network.write knows; kept here so that a wrong one is refused before the fit.
OUTPUTS = (".tsv", ".tsv.gz", ".csv", ".csv.gz", ".parquet", ".graphml", ".h5ad")
# Of typer's exceptions only the leaves are public. The second parent of this one is, in every
# release, the one whose message is meant for the user.
_UsageError = typer.BadParameter.__mro__[2]
assert hasattr(_UsageError, "format_message")


class _Refusal(ValueError):
    """Bad usage or input that the command line found by itself."""


class _Commands(typer.core.TyperGroup):
    """The group of commands, which says what a misspelt one was meant to be."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise _Refusal(
                f"no command {args[0]!r}{_meant(args[0], list(self.commands))}; "
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
        See the module's list of exit codes.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = os.environ.get("UNIGRN_DEBUG", "0") not in {"", "0"}
    if "--debug" in arguments:  # wherever it stands: it is typed after the fact
        arguments = [argument for argument in arguments if argument != "--debug"]
        debug = True
    command = typer.main.get_command(app)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a letter that the terminal lacks is no reason to fail
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
        _say("interrupted")
        return INTERRUPTED
    except Exception as problem:
        if debug:
            import traceback

            traceback.print_exc()
        message, code = _explain(problem)
        _say(f"error: {message}")
        if isinstance(problem, OSError):
            _drop_output()
        return code


def _drop_output() -> None:
    """Send what stdout still holds nowhere: Python tries once more to write it at exit."""
    with suppress(OSError, ValueError, AttributeError):  # a stand-in for stdout has no number
        number = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _say(text: str) -> None:
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
    if isinstance(problem, MemoryError):
        return "out of memory; give fewer cells, genes or targets", DEFECT
    return (
        f"unexpected {type(problem).__name__}: {text}; this is a defect of unigrn: "
        "please report it with the traceback that --debug shows"
    ), DEFECT


def _usage(problem: Any) -> str:
    """Return the message of a usage error, with what was probably meant."""
    context = getattr(problem, "ctx", None)
    path = context.command_path if context is not None else "unigrn"
    misspelt = getattr(problem, "option_name", None)
    if misspelt and hasattr(problem, "possibilities"):
        known = [name for p in context.command.params for name in (*p.opts, *p.secondary_opts)]
        message = f"no option {misspelt}{_meant(misspelt, [*known, '--help'])}"
    else:
        message = problem.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
    return f"{message}; see {path} --help"


def _meant(name: str, known: Sequence[str]) -> str:
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
                _say(f"warning: {line}")


@contextmanager
def _progress() -> Iterator[None]:
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


# --- arguments ------------------------------------------------------------------------------------

Data = Annotated[str, typer.Argument(metavar="DATA", help="Expression: an .h5ad file.")]
Priors = Annotated[
    list[str],
    typer.Option(
        "--prior",
        metavar="[NAME=]PRIOR",
        help="Prior edges: .tsv, .csv (also .gz) or .parquet with columns source,target[,weight"
        "[,sign]] or tf,target[,score], or a base GRN table. Repeat for several sources.",
    ),
]
Method = Annotated[
    str, typer.Option("--method", metavar="NAME", help="One of those that unigrn methods lists.")
]
Groupby = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column of obs: one network for each of its values."),
]
Layer = Annotated[str | None, typer.Option(metavar="NAME", help="Layer to use instead of X.")]
Regulators = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Regulators to consider: one name per line. Default: the prior's that are measured.",
    ),
]
Targets = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Targets: one name per line, or a table with a target column. Default: the prior's "
        "that are measured, or every gene where the method does not need prior edges.",
    ),
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="KEY=VALUE",
        help="A parameter of the method, such as alpha=10. Repeat for several.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
Dtype = Annotated[str, typer.Option(metavar="float32|float64", help="Precision of the fit.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def _version(wanted: bool) -> None:
    if wanted:
        from unigrn import __version__

        print(f"unigrn {__version__}")
        raise typer.Exit


@app.callback(epilog="Start with: unigrn demo", invoke_without_command=True)
def _program(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; also UNIGRN_DEBUG=1.")
    ] = False,
) -> None:
    """Infer gene regulatory networks from expression and prior evidence."""
    if context.invoked_subcommand is None:
        raise _Refusal(
            f"no command given; the commands are {', '.join(context.command.commands)}; "
            "see unigrn --help"
        )


def _file(path: str, what: str) -> None:
    """Refuse a path that is not a readable file."""
    if not os.path.exists(path):
        raise _Refusal(f"{what} {path!r} does not exist")
    if os.path.isdir(path):
        raise _Refusal(f"{what} {path!r} is a folder; a file is needed")
    if not os.access(path, os.R_OK):
        raise _Refusal(f"{what} {path!r} cannot be read: permission denied")


def _expression_file(path: str) -> None:
    """Refuse what is not an HDF5 file, by its first bytes: cheaper than opening it."""
    _file(path, "DATA")
    with open(path, "rb") as file:
        signature = file.read(8)
    if signature != b"\x89HDF\r\n\x1a\n":
        raise _Refusal(
            f"DATA {path!r} is not an .h5ad (HDF5) file; read yours with anndata and write it "
            "with write_h5ad"
        )


def _prior_files(priors: Sequence[str]) -> list[str]:
    """Check that they exist, and return their paths, which may be given as NAME=PATH."""
    paths = []
    for item in priors:
        name, equals, path = item.partition("=")
        # As read_prior does: an existing path is a path, whatever it holds.
        named = equals and not os.path.exists(item) and not any(c in name for c in "/\\")
        if named and not (name.strip() and path.strip()):
            raise _Refusal(f"prior {item!r} lacks a name or a path; write NAME=PATH or PATH")
        paths.append(path if named else item)
        _file(paths[-1], "prior")
    return paths


def _output_file(path: str, inputs: Sequence[str | None]) -> None:
    """Refuse an output that could not be written, before the work rather than after."""
    if not path.lower().endswith(OUTPUTS):
        raise _Refusal(f"output {path!r} has no known suffix; choose one of {', '.join(OUTPUTS)}")
    if os.path.isdir(path):
        raise _Refusal(f"output {path!r} is a folder; give the name of a file")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise _Refusal(f"the folder {folder!r} of output {path!r} does not exist; make it first")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise _Refusal(f"output {path!r} cannot be written: permission denied")
    for given in inputs:
        if given and os.path.exists(path) and os.path.samefile(given, path):
            raise _Refusal(f"output {path!r} is also an input; give another name")


def _names(path: str | None, what: str, columns: Sequence[str]) -> list[str] | None:
    """Names of a file, or None where none was given."""
    from unigrn.names import read_names

    return None if path is None else read_names(path, what, columns)


def _parameters(pairs: Sequence[str], method: str) -> dict[str, Any]:
    """Values of ``--param``, checked against those the method has.

    A value is JSON where it parses as such, otherwise text.
    """
    known: Mapping[str, Any] = _registered(method).parameters
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key, text = key.strip(), text.strip()
        if not equals or not key or not text:
            raise _Refusal(f"--param {pair!r} is not KEY=VALUE, such as alpha=10")
        if key in found:
            raise _Refusal(f"--param {key} is given twice")
        if key not in known:
            own = {"seed", "dtype", "groupby", "layer", "regulators", "targets", "prior"}
            hint = f"write --{key}" if key in own else f"it has {_defaults(known)}"
            raise _Refusal(f"{method} has no parameter {key!r}{_meant(key, list(known))}; {hint}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        default = known[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(default, str):
            value = text  # a name stays one, also where it reads as a number
        elif isinstance(default, bool):
            if not isinstance(value, bool):
                raise _Refusal(f"--param {key} is {text!r}; needed true or false")
        elif isinstance(default, int | float) and not number:
            raise _Refusal(f"--param {key} is {text!r}; needed a number, such as {default}")
        found[key] = value
    return found


def _registered(method: str) -> Any:
    from unigrn.methods import registry

    methods = registry()
    if method not in methods:
        raise _Refusal(
            f"no method {method!r}{_meant(method, list(methods))}; "
            f"the methods are {', '.join(methods)}"
        )
    return methods[method]


def _defaults(parameters: Mapping[str, Any]) -> str:
    if not parameters:
        return "no parameters"
    return ", ".join(f"{name}={_shown(value)}" for name, value in parameters.items())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _request(
    data: str,
    prior: Sequence[str],
    method: str,
    groupby: str | None,
    layer: str | None,
    regulators: str | None,
    targets: str | None,
    param: Sequence[str] | None,
    seed: int,
    dtype: str,
    output: str | None = None,
) -> dict[str, Any]:
    """Return the arguments of `unigrn.infer`, having checked what needs no data, cheapest first."""
    if dtype not in {"float32", "float64"}:
        raise _Refusal(f"--dtype is {dtype!r}; needed float32 or float64")
    _expression_file(data)
    prior_files = _prior_files(prior)
    for path, what in ((regulators, "--regulators"), (targets, "--targets")):
        if path is not None:
            _file(path, what)
    if output is not None:
        _output_file(output, [data, regulators, targets, *prior_files])
    hyperparameters = _parameters(param or (), method)
    return {
        "adata": data,
        "prior": list(prior),
        "method": method,
        "groupby": groupby,
        "layer": layer,
        "regulators": _names(regulators, "regulators", ("source", "tf", "regulator", "target")),
        "targets": _names(targets, "targets", ("target",)),
        "seed": seed,
        "dtype": dtype,
        **hyperparameters,
    }


# --- commands -------------------------------------------------------------------------------------


@app.command()
def demo(
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder to write to.")] = "demo-output",
    seed: Seed = 0,
) -> None:
    """Simulate cells with a known network, infer and score it.

    Writes the data, the prior, the inferred network and figures to DIR, and prints the commands
    that do the same step by step.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise _Refusal(f"--out {out!r} is a file; give the name of a folder")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise _Refusal(f"--out {out!r} cannot be written: permission denied")

    from unigrn.api import infer as infer_network
    from unigrn.datasets import simulate

    names = ("data.h5ad", "prior.tsv", "gold.tsv", "network.tsv", "network.parquet")
    data, prior, gold, network_tsv, network_parquet = (str(folder / name) for name in names)

    # Seconds on a laptop, and still enough edges for the scores to mean something.
    simulation = simulate(cells=900, regulators=30, genes=300, seed=seed)
    simulation.to_anndata().write_h5ad(data)
    for table, path in ((simulation.prior, prior), (simulation.gold(), gold)):
        table.to_csv(path, sep="\t", index=False)
    cells, genes = simulation.counts.shape
    truth = simulation.truth[["source", "target"]].drop_duplicates()
    print(
        f"simulated: {cells:,} cells in {len(set(simulation.groups.tolist()))} groups, "
        f"{genes:,} genes, {len(simulation.regulators):,} regulators, {len(truth):,} true edges"
    )
    true = int(simulation.gold()["label"].sum())
    print(f"prior: {len(simulation.prior):,} edges, {true:,} of them true")
    with _progress():
        network = infer_network(
            data, prior, "celloracle", groupby="group", layer="imputed", seed=seed
        )
        scores = _evaluate(network, gold, [prior], None, data, "imputed")
    _summarize(network)
    network.write(network_tsv)
    network.write(network_parquet)
    written = [data, prior, gold, *_written(network_tsv), network_parquet]
    print("scores among the edges of the prior, true where any group has the edge")
    _indent(scores.table())
    written += _figures(network, simulation, folder)
    print("written")
    _indent(written)
    print("the same, step by step")
    first = f"--method celloracle --groupby group --layer imputed --seed {seed}".split()
    commands = (
        ["unigrn", "infer", data, "--prior", prior, *first, "-o", network_tsv],
        ["unigrn", "evaluate", network_tsv, "--gold", gold, "--prior", prior]
        + ["--expression", data, "--layer", "imputed"],
    )
    _indent([shlex.join(command) for command in commands])


@app.command()
def infer(
    data: Data,
    prior: Priors,
    method: Method,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Where to write the network: .tsv, .csv (also .gz), .parquet, .graphml, .h5ad.",
        ),
    ],
    groupby: Groupby = None,
    layer: Layer = None,
    regulators: Regulators = None,
    targets: Targets = None,
    param: Params = None,
    seed: Seed = 0,
    dtype: Dtype = "float32",
) -> None:
    """Infer a network from expression and prior evidence.

    Example: unigrn infer data.h5ad --prior prior.tsv --method celloracle --groupby cluster -o
    network.tsv
    """
    request = _request(
        data, prior, method, groupby, layer, regulators, targets, param, seed, dtype, output
    )
    from unigrn.api import infer as infer_network

    with _progress():
        network = infer_network(**request)
    network.write(output)
    _summarize(network)
    print("written")
    _indent(_written(output))


@app.command()
def explain(
    data: Data,
    prior: Priors,
    method: Method,
    groupby: Groupby = None,
    layer: Layer = None,
    regulators: Regulators = None,
    targets: Targets = None,
    param: Params = None,
    seed: Seed = 0,
    dtype: Dtype = "float32",
) -> None:
    """Say how infer would solve a request, and why.

    Takes the arguments of infer, without -o, and solves nothing.
    """
    request = _request(data, prior, method, groupby, layer, regulators, targets, param, seed, dtype)
    from unigrn.api import explain as explain_request

    print(explain_request(**request))


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods with their parameters and references."""
    from unigrn.methods import registry

    listed = registry()
    if as_json:
        print(
            json.dumps(
                [
                    {
                        "name": name,
                        "summary": method.summary,
                        "formula": method.formula,
                        "parameters": dict(method.parameters),
                        "reference": method.reference,
                    }
                    for name, method in listed.items()
                ],
                indent=2,
                default=str,
            )
        )
        return
    for name, method in listed.items():
        print(name)
        _indent(
            [
                " ".join(method.summary.split()),
                f"parameters: {_defaults(method.parameters)}",
                f"reference: {' '.join(method.reference.split())}",
            ]
        )


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Claims to check; all where none is named."),
    ] = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="Examples of each search. Default: 30.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Check that methods are what they claim to be: a search for counterexamples.

    Every claim is compared with an independent formulation in plain NumPy, and wrong variants of it
    must be refuted. Exits with 1 where a claim fails or a wrong variant passes. The proofs are in
    the repository's folder proofs/.
    """
    from unigrn.verify.table import verify as check

    with _progress():
        rows = check(names or (), examples, seed)
    if as_json:
        print(json.dumps([row.to_dict() for row in rows], indent=2, allow_nan=False))
    else:
        print("\n".join(_verdicts(rows)))
    if not all(row.holds for row in rows):
        raise typer.Exit(FAILED)


def _verdicts(rows: Sequence[Any]) -> list[str]:
    """One line for each claim, and what is to be said of those that failed."""
    width = max(len("claim"), *(len(row.claim.name) for row in rows))
    heads = f"{'evidence':14s}  examples    worst  tolerance  variants refuted"
    lines = [f"{'claim':{width}s}  {heads}"]
    for row in rows:
        refuted = sum(report.refuted for report in row.variants.values())
        lines.append(
            f"{row.claim.name:{width}s}  {row.claim.kind:14s}  {row.report.examples:8d}  "
            f"{row.report.deviation:7.0e}  {row.report.tolerance:9.0e}  {refuted} of "
            f"{len(row.variants)}" + ("" if row.holds else "  FAILED")
        )
    for row in rows:
        if not row.report.holds:
            lines += ["", str(row.report)]
        lines += [
            f"{row.claim.name}: the wrong variant {name!r} was not refuted"
            for name, report in row.variants.items()
            if not report.refuted
        ]
    failed = sum(not row.holds for row in rows)
    lines += [
        "",
        f"{len(rows)} claims, {sum(len(row.variants) for row in rows)} wrong variants: "
        + (f"{failed} claims FAILED" if failed else "all claims hold, every variant refuted"),
    ]
    return lines


@app.command()
def evaluate(
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="A network that infer wrote, or an edge table.")
    ],
    gold: Annotated[
        str,
        typer.Option(
            metavar="GOLD",
            help="True edges: tf,target[,sign]. With a label column (1 or 0) its rows are the "
            "universe; otherwise all pairs of its TFs and its targets are.",
        ),
    ],
    prior: Annotated[
        list[str] | None,
        typer.Option(
            "--prior", metavar="[NAME=]PRIOR", help="Score the prior alone too. May be repeated."
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Score these targets only: one name per line, or a table with a target column.",
        ),
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Score |Pearson| of this .h5ad file's genes too."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Layer of DATA to use instead of X.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a network against a gold standard.

    Beside the network stand the prior alone (--prior), plain correlation (--expression), and the
    network's own scores on permuted targets.
    """
    _file(network, "NETWORK")
    _file(gold, "--gold")
    _prior_files(prior or ())
    if targets is not None:
        _file(targets, "--targets")
    if expression is not None:
        _expression_file(expression)
    elif layer is not None:
        raise _Refusal("--layer names a layer of the file given with --expression; give both")
    with _progress():
        scores = _evaluate(network, gold, prior, targets, expression, layer)
    for text in scores.warnings:
        _say(f"warning: {text}")
    if as_json:
        print(json.dumps(scores.to_dict(), indent=2, allow_nan=False))
    else:
        print("\n".join([*scores.table(), "", *scores.notes]))


def _evaluate(
    network: Network | str,
    gold: str,
    prior: Sequence[str] | None,
    targets: str | None,
    expression: str | None,
    layer: str | None,
) -> Any:
    from unigrn.evaluate import evaluate as score

    values: Any = expression
    if expression is not None and layer is not None:
        import anndata

        data = anndata.read_h5ad(expression)
        if layer not in data.layers:
            raise _Refusal(
                f"{expression!r} has no layer {layer!r}{_meant(layer, list(data.layers))}; "
                f"its layers are {', '.join(sorted(data.layers)) or 'none'}"
            )
        values = (data.layers[layer], data.var_names)
    return score(network, gold, prior=prior or None, targets=targets, expression=values)


def _written(output: str) -> list[str]:
    """Return the files that writing a network to ``output`` makes."""
    beside = f"{output}.meta.json"
    plain_table = output.lower().endswith((".tsv", ".csv", ".gz"))
    return [output, beside] if plain_table else [output]


def _figures(network: Network, simulation: Simulation, folder: Path) -> list[str]:
    """Draw the demonstration's figures, as far as what draws them is there; return their paths."""
    from unigrn.plot import evaluation_figure, network_figure

    baselines = {"prior alone": simulation.prior, "|Pearson|": simulation.correlations()}

    def draw_scores(path: str) -> None:
        evaluation_figure(network.edges, simulation.truth, baselines, path, name="celloracle")

    def draw_network(path: str) -> None:
        network_figure(network.edges, truth=simulation.truth, path=path)

    drawn = []
    for name, draw in (("scores.png", draw_scores), ("network.png", draw_network)):
        path = str(folder / name)
        try:
            draw(path)
        except ImportError as missing:
            print(f"no {name}: {missing}")
        else:
            drawn.append(path)
    return drawn


def _summarize(network: Network) -> None:
    """Print what was inferred, how optimal it is, and what became of the prior's names."""
    # Warnings stand on stderr already.
    lines = [line for line in network.summary() if not line.startswith("warning: ")]
    print("\n".join(lines))
    if network.alignment is not None:
        print("names")
        _indent(network.alignment.lines())


def _indent(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"  {line}".rstrip())
