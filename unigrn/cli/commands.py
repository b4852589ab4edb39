"""The commands: each checks its arguments, calls the Python API and prints what came of it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unigrn.cli.arguments import (
    Certify,
    Data,
    Dtype,
    Extra,
    Figure,
    Force,
    Groupby,
    Json,
    Layer,
    Method,
    Names,
    Output,
    Over,
    Params,
    Predictive,
    Priors,
    Quiet,
    Raw,
    Regulators,
    Seed,
    Targets,
    Threads,
    Verbose,
    check_expression,
    check_file,
    check_priors,
    infer_arguments,
)
from unigrn.cli.printing import (
    check_figure,
    check_predictive,
    check_replaceable,
    deliver,
    indent,
    summarize,
    tell,
    written_files,
)
from unigrn.cli.shell import Refusal, app, limit_threads, progress

if TYPE_CHECKING:
    from unigrn.datasets import Simulation
    from unigrn.network import Network


DEMO = "demo.json"  # the digests of the files that a demo wrote
DEMO_FILES = ("data.h5ad", "prior.tsv", "gold.tsv", "network.tsv", "network.parquet") + (
    "network.tsv.meta.json",
    "scores.png",
    "network.png",
)


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
        group: Any = context.command
        raise Refusal(
            f"no command given; the commands are {', '.join(group.commands)}; see unigrn --help"
        )


@app.command()
def demo(
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder to write to.")] = "demo-output",
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Simulate cells with a known network, infer and score it.

    Writes the data, the prior, the inferred network and figures to DIR, and prints the commands
    that do the same step by step.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise Refusal(f"--out {out!r} is a file; give the name of a folder")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise Refusal(f"--out {out!r} cannot be written: permission denied")
    _check_demo(folder, force)

    from unigrn.api import infer as infer_network
    from unigrn.datasets import simulate

    data, prior, gold, network_tsv, network_parquet = (str(folder / n) for n in DEMO_FILES[:5])

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
    with progress():
        network = infer_network(
            data, prior, "celloracle", groupby="group", layer="imputed", seed=seed
        )
        scores = _evaluate(network, gold, [prior], None, data, "imputed")
    summarize(network)
    network.write(network_tsv)
    network.write(network_parquet)
    written = [data, prior, gold, *written_files(network_tsv), network_parquet]
    print("scores among the edges of the prior, true where any group has the edge")
    indent(scores.table())
    written += _figures(network, simulation, folder)
    digests = {Path(path).name: sha256(Path(path).read_bytes()).hexdigest() for path in written}
    (folder / DEMO).write_text(json.dumps(digests, indent=2) + "\n")
    written.append(str(folder / DEMO))
    print("written")
    indent(written)
    print("the same, step by step")
    first = f"--method celloracle --groupby group --layer imputed --seed {seed}".split()
    commands = (
        ["unigrn", "infer", data, "--prior", prior, *first, "-o", network_tsv],
        ["unigrn", "evaluate", network_tsv, "--gold", gold, "--prior", prior]
        + ["--expression", data, "--layer", "imputed"],
    )
    indent([shlex.join(command) for command in commands])


def _check_demo(folder: Path, force: bool) -> None:
    """Refuse to replace files that no earlier demo wrote, or that were changed since."""
    try:
        known = json.loads((folder / DEMO).read_text())
        known = known if isinstance(known, dict) else {}
    except (OSError, ValueError):
        known = {}
    for name in DEMO_FILES:
        path = folder / name
        if path.exists() and not force:
            whole = path.is_file() and sha256(path.read_bytes()).hexdigest()
            if known.get(name) != whole:
                raise Refusal(
                    f"{str(path)!r} is there and is not as unigrn demo wrote it; give another "
                    "--out, or --force to replace it"
                )


@app.command()
def infer(
    context: typer.Context,
    data: Data,
    method: Method,
    output: Output,
    prior: Priors = None,
    groupby: Groupby = None,
    layer: Layer = None,
    names: Names = None,
    raw: Raw = False,
    extra: Extra = None,
    regulators: Regulators = None,
    targets: Targets = None,
    param: Params = None,
    over: Over = None,
    seed: Seed = 0,
    dtype: Dtype = "float32",
    force: Force = False,
    certify: Certify = False,
    figure: Figure = None,
    predictive: Predictive = None,
    threads: Threads = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Infer a network from expression and prior evidence.

    Example: unigrn infer data.h5ad --prior prior.tsv --method celloracle --groupby cluster -o
    network.tsv
    """
    if verbose and quiet:
        raise Refusal("--verbose and --quiet contradict each other; give one")
    limit_threads(threads)
    request = infer_arguments(context.params)
    check_replaceable(output, force, certify)
    inputs = [data, *check_priors(prior or ()), regulators, targets]
    check_figure(figure, inputs, force)
    check_predictive(predictive, inputs, [output, figure], force)
    from unigrn.api import infer as infer_network

    with progress(verbose, quiet):
        network = infer_network(**request, force=force)
    deliver(network, output, quiet, figure, predictive)


@app.command()
def explain(
    context: typer.Context,
    data: Data,
    method: Method,
    prior: Priors = None,
    groupby: Groupby = None,
    layer: Layer = None,
    names: Names = None,
    raw: Raw = False,
    extra: Extra = None,
    regulators: Regulators = None,
    targets: Targets = None,
    param: Params = None,
    over: Over = None,
    seed: Seed = 0,
    dtype: Dtype = "float32",
) -> None:
    """Say how infer would solve a request, and why.

    Takes the arguments of infer, without -o, and solves nothing.
    """
    request = infer_arguments(context.params)
    from unigrn.api import explain as explain_request

    print(explain_request(**request))


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
    names: Names = None,
    raw: Raw = False,
    score: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Rank edges by this column; of p, fdr, variance and rank the least first. "
            "Default: score, else the size of the weight.",
        ),
    ] = None,
    as_json: Json = False,
    figure: Figure = None,
    force: Force = False,
) -> None:
    """Score a network against a gold standard.

    Beside the network stand the prior alone (--prior), plain correlation (--expression), and the
    network's own scores on permuted targets.
    """
    check_file(network, "NETWORK")
    check_file(gold, "--gold")
    check_priors(prior or ())
    if targets is not None:
        check_file(targets, "--targets")
    if expression is not None:
        check_expression(expression)
    elif layer is not None or names is not None or raw:
        raise Refusal("--layer, --names and --raw are about the file of --expression; give both")
    check_figure(figure, [network, gold, *check_priors(prior or ()), targets, expression], force)
    with progress():
        scores = _evaluate(network, gold, prior, targets, expression, layer, score, names, raw)
    tell(scores, as_json)
    if figure is not None:
        from unigrn.plot import comparison_figure

        comparison_figure(scores, figure, name=os.path.basename(network))


def _evaluate(
    network: Network | str,
    gold: str,
    prior: Sequence[str] | None,
    targets: str | None,
    expression: str | None,
    layer: str | None,
    score: str | None = None,
    names: str | None = None,
    raw: bool = False,
) -> Any:
    from unigrn.evaluate import evaluate as evaluation

    values: Any = None
    if expression is not None:
        from unigrn.data import Data as Expression

        values = Expression.from_anndata(expression, layer, names=names, raw=raw)
    return evaluation(
        network, gold, prior=prior or None, targets=targets, expression=values, score=score
    )


def _figures(network: Network, simulation: Simulation, folder: Path) -> list[str]:
    """Draw the demonstration's figures, as far as what draws them is there; return their paths."""
    from unigrn.plot import evaluation_figure, network_figure

    baselines = {"prior alone": simulation.prior, "|Pearson|": simulation.correlations()}

    def draw_scores(path: str) -> None:
        evaluation_figure(network, simulation.truth, baselines, path, name="celloracle")

    def draw_network(path: str) -> None:
        network_figure(network, truth=simulation.truth, path=path)

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
