"""The commands on a network that was inferred: filter, convert, plot."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from unigrn.cli.arguments import (
    FIGURES,
    OUTPUTS,
    TABLES,
    Force,
    Output,
    Quiet,
    Table,
    check_file,
    check_output,
)
from unigrn.cli.printing import STDOUT, check_replaceable, deliver, indent, to_stdout, written_files
from unigrn.cli.shell import Refusal, app

if TYPE_CHECKING:
    from unigrn.network import Network

File = Annotated[str, typer.Argument(metavar="NETWORK", help="A network that infer wrote.")]
Group = Annotated[str | None, typer.Option(metavar="G", help="This group of cells only.")]
Drawn = Annotated[
    str | None,
    typer.Option(metavar="G", help="This group of cells only. Default: the first is drawn."),
]


@app.command("filter")
def filter_network(
    network: File,
    output: Output,
    top: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Keep the N best edges of each group.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Best by this column: the smallest p, fdr, variance, score_sd, the largest of any "
            "other. Default: score where there is one, else |weight|.",
        ),
    ] = None,
    fdr: Annotated[
        float | None, typer.Option(metavar="X", help="Keep edges with fdr <= X.")
    ] = None,
    p: Annotated[float | None, typer.Option(metavar="X", help="Keep edges with p <= X.")] = None,
    score: Annotated[
        float | None, typer.Option(metavar="X", help="Keep edges with score >= X.")
    ] = None,
    probability: Annotated[
        float | None, typer.Option(metavar="X", help="Keep edges with probability >= X.")
    ] = None,
    group: Group = None,
    source: Annotated[
        list[str] | None, typer.Option(metavar="TF", help="Edges of this regulator. Repeatable.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(metavar="GENE", help="Edges to this gene. Repeatable.")
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Keep the best edges of a network and their genes.

    Example: unigrn filter network.tsv --fdr 0.05 --top 200 -o small.graphml
    """
    _check(network, output, force)
    whole = _read(network, group)
    by = by or ("score" if "score" in whole.edges.columns else "weight")
    kept = whole.filter(
        p, top, by, source, target, fdr=fdr, score=score, probability=probability, connected=True
    )
    deliver(kept, output, quiet)


@app.command()
def convert(
    network: File,
    output: Table,
    to: Annotated[
        str,
        typer.Option(
            metavar="PROGRAM",
            help="cytoscape, pyscenic, decoupler, celloracle, genernib or beeline.",
        ),
    ],
    group: Group = None,
    force: Force = False,
) -> None:
    """Write a network as another program reads it.

    A table with the columns that the program expects.

    Example: unigrn convert network.tsv --to pyscenic --group Treg -o adjacencies.tsv
    """
    _check(network, output, force, TABLES)
    from unigrn import exchange

    whole = _read(network, group)
    if output == STDOUT:
        from unigrn.files import table_bytes

        to_stdout(table_bytes(exchange.convert(whole, to)))
        return
    exchange.write(whole, to, output)
    print("written")
    indent(written_files(output))


@app.command()
def plot(
    network: File,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FIGURE", help="A .png, .pdf or .svg file.")
    ],
    gold: Annotated[
        str | None,
        typer.Option(
            metavar="GOLD",
            help="True edges: draw how well the network finds them, instead of the network.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Edges to draw.")] = 40,
    group: Drawn = None,
    force: Force = False,
) -> None:
    """Draw the strongest edges of a network, or its score.

    With --gold: how well the network finds the true edges.

    Example: unigrn plot network.tsv -o network.png
    """
    _check(network, output, force, FIGURES)
    if gold is not None:
        check_file(gold, "--gold")
    from unigrn.plot import evaluation_figure, network_figure

    whole = _read(network, group)
    try:
        if gold is None:
            network_figure(whole, top, path=output)
        else:
            from unigrn.evaluate import load_gold

            evaluation_figure(whole, load_gold(gold), path=output, name=os.path.basename(network))
    except ImportError as error:
        raise Refusal(str(error)) from error
    print("written")
    indent(written_files(output))


def _check(network: str, output: str, force: bool, suffixes: Sequence[str] = OUTPUTS) -> None:
    """Refuse what can be seen without reading the network."""
    check_file(network, "NETWORK")
    check_output(output, [network], suffixes)
    check_replaceable(output, force)


def _read(path: str, group: str | None) -> Network:
    """Read a network; one without provenance is what its table says."""
    from unigrn.network import Network

    network = Network.read(path)
    return network if group is None else network.subset(group)
