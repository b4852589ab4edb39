"""The commands: each checks its arguments, calls the Python API and prints what came of it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unigrn.cli.arguments import (
    Data,
    Dtype,
    Groupby,
    Json,
    Layer,
    Method,
    Params,
    Priors,
    Regulators,
    Seed,
    Targets,
    check_expression,
    check_file,
    check_priors,
    defaults,
    infer_arguments,
)
from unigrn.cli.shell import FAILED, Refusal, app, meant, progress, say

if TYPE_CHECKING:
    from unigrn.datasets import Simulation
    from unigrn.network import Network


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
    with progress():
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
    request = infer_arguments(
        data, prior, method, groupby, layer, regulators, targets, param, seed, dtype, output
    )
    from unigrn.api import infer as infer_network

    with progress():
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
    request = infer_arguments(
        data, prior, method, groupby, layer, regulators, targets, param, seed, dtype
    )
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
                f"parameters: {defaults(method.parameters)}",
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

    with progress():
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
            f"{row.claim.name}: the wrong variant {name!r} was not refuted by {report.examples} "
            "examples (a few can miss it: give --examples 30 or more)"
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
    score: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Rank edges by this column; of p, fdr, variance and rank the least first. "
            "Default: score, else the size of the weight.",
        ),
    ] = None,
    as_json: Json = False,
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
    elif layer is not None:
        raise Refusal("--layer names a layer of the file given with --expression; give both")
    with progress():
        scores = _evaluate(network, gold, prior, targets, expression, layer, score)
    for text in scores.warnings:
        say(f"warning: {text}")
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
    score: str | None = None,
) -> Any:
    from unigrn.evaluate import evaluate as evaluation

    values: Any = expression
    if expression is not None and layer is not None:
        import anndata

        data = anndata.read_h5ad(expression)
        if layer not in data.layers:
            raise Refusal(
                f"{expression!r} has no layer {layer!r}{meant(layer, list(data.layers))}; "
                f"its layers are {', '.join(sorted(data.layers)) or 'none'}"
            )
        values = (data.layers[layer], data.var_names)
    return evaluation(
        network, gold, prior=prior or None, targets=targets, expression=values, score=score
    )


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
