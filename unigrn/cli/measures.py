"""The commands that measure: what priors are worth, and which method is best."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from unigrn.cli.arguments import (
    TABLES,
    Data,
    Figure,
    Force,
    Groupby,
    Json,
    Layer,
    Method,
    Names,
    Params,
    Quiet,
    Raw,
    Regulators,
    Seed,
    Targets,
    Threads,
    check_expression,
    check_file,
    check_output,
    check_priors,
    infer_arguments,
)
from unigrn.cli.printing import check_figure, check_replaceable, indent, tell, written_files
from unigrn.cli.shell import Refusal, app, limit_threads, progress

Splits = Annotated[
    int, typer.Option(metavar="N", help="Folds of the cells, twice: an even number >= 4.")
]
Most = Annotated[int, typer.Option(metavar="N", help="Targets that are looked at; 0: all.")]


def _lists(*given: tuple[str, str | None]) -> list[str]:
    """Check the files that were given, and return their paths."""
    paths = []
    for what, path in given:
        if path is not None:
            check_file(path, what)
            paths.append(path)
    return paths


@app.command()
def priors(
    data: Data,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            "--prior",
            metavar="NAME=PRIOR",
            help="A source of prior edges, as infer takes them. Repeat: at least two sources.",
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="expression|activity",
            help="Regulators by their own expression, or by activities that other genes tell.",
        ),
    ] = "expression",
    gold: Annotated[
        str | None,
        typer.Option(
            metavar="GOLD", help="True edges, as evaluate takes them: score each subset's network."
        ),
    ] = None,
    splits: Splits = 10,
    most: Most = 2000,
    groupby: Groupby = None,
    layer: Layer = None,
    names: Names = None,
    raw: Raw = False,
    regulators: Regulators = None,
    targets: Targets = None,
    seed: Seed = 0,
    as_json: Json = False,
    figure: Figure = None,
    force: Force = False,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Say what each source of prior edges is worth, on targets that nothing else saw.

    Every subset of the sources is fitted with strengths chosen on half of the targets, and judged
    on hidden cells of the other half, in bits over the same sources with permuted targets. Beside
    it: how well expression, and the other sources, predict the hidden edges of each source.

    Example: unigrn priors data.h5ad --prior motif=motif.tsv --prior binding=chip.tsv
    """
    limit_threads(threads)
    check_expression(data)
    inputs = [data, *check_priors(prior or ())]
    inputs += _lists(("--gold", gold), ("--regulators", regulators), ("--targets", targets))
    check_figure(figure, inputs, force)
    from unigrn.prior import read_prior
    from unigrn.worth import prior_gain

    with progress(quiet=quiet):
        whole = read_prior(prior) if prior else None
        found = prior_gain(
            data,
            {} if whole is None else {name: whole.only(name) for name in whole.layers},
            by=by,
            splits=splits,
            gold=gold,
            regulators=regulators,
            targets=targets,
            groupby=groupby,
            layer=layer,
            names=names,
            raw=raw,
            most=most or None,
            seed=seed,
        )
    tell(found, as_json)
    if figure is not None:
        from unigrn.plot import worth_figure

        worth_figure(found, figure)


@app.command()
def strength(
    data: Data,
    prior: Annotated[
        str, typer.Option("--prior", metavar="PRIOR", help="Prior edges, as infer takes them.")
    ],
    splits: Splits = 10,
    most: Most = 2000,
    groupby: Groupby = None,
    layer: Layer = None,
    names: Names = None,
    raw: Raw = False,
    regulators: Regulators = None,
    targets: Targets = None,
    seed: Seed = 0,
    as_json: Json = False,
    figure: Figure = None,
    force: Force = False,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Choose how strongly to believe a prior, between none of it and a hard mask.

    Chosen by hidden cells, and judged on targets that did not choose. The last line is the call of
    infer that believes it so.

    Example: unigrn strength data.h5ad --prior prior.tsv --figure strength.png
    """
    limit_threads(threads)
    check_expression(data)
    inputs = [data, *check_priors([prior])]
    inputs += _lists(("--regulators", regulators), ("--targets", targets))
    check_figure(figure, inputs, force)
    from unigrn.worth import prior_strength

    with progress(quiet=quiet):
        found = prior_strength(
            data,
            prior,
            splits=splits,
            regulators=regulators,
            targets=targets,
            groupby=groupby,
            layer=layer,
            names=names,
            raw=raw,
            most=most or None,
            seed=seed,
        )
    tell(found, as_json)
    if figure is not None:
        from unigrn.plot import strength_figure

        strength_figure(found, figure)


@app.command()
def calibrate(
    context: typer.Context,
    data: Data,
    prior: Annotated[
        str, typer.Option("--prior", metavar="PRIOR", help="Prior edges, as infer takes them.")
    ],
    method: Method,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="Write all pairs, as a network of infer's formats.",
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(metavar="N", help="Parts of the targets, each hidden once: 2 or more.")
    ] = 5,
    share_listed: Annotated[
        float,
        typer.Option(
            "--share-listed",
            metavar="SHARE",
            help="Share of the true edges that the prior lists. 1: probabilities of being listed.",
        ),
    ] = 1.0,
    layer: Layer = None,
    names: Names = None,
    raw: Raw = False,
    regulators: Regulators = None,
    targets: Targets = None,
    param: Params = None,
    seed: Seed = 0,
    as_json: Json = False,
    figure: Figure = None,
    force: Force = False,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Say how probable every edge is, learnt on prior edges that were hidden from the method.

    Prior edges of one part of the targets after the other are hidden, the method scores them, and
    how often such scores are edges of the prior becomes a probability; beside it the table of how
    reliable these are. The method has to score pairs that the prior does not name.

    Example: unigrn calibrate data.h5ad --prior prior.tsv --method full_ridge -o edges.tsv
    """
    limit_threads(threads)
    absent = dict.fromkeys(("extra", "over", "groupby"))
    given = {**context.params, **absent, "prior": [prior], "dtype": "float32"}
    request = infer_arguments(_without(given, *(["output"] if output is None else [])))
    if output is not None:
        _check_file_of_rows(output)
        check_replaceable(output, force)
    check_figure(figure, [data, prior, output], force)
    from unigrn.worth import edge_probabilities

    with progress(quiet=quiet):
        found = edge_probabilities(
            **_without(request, "dtype", *absent), folds=folds, share_listed=share_listed
        )
    tell(found, as_json)
    if output is not None:
        found.network.write(output)
    if figure is not None:
        from unigrn.plot import reliability_figure

        reliability_figure(found, figure)
    _say_written(output, figure, as_json or quiet)


def _check_file_of_rows(output: str) -> None:
    if output == "-":
        raise Refusal("output -: every row goes to a file; for stdout take --json")


def _without(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


def _say_written(output: str | None, figure: str | None, silent: bool) -> None:
    written = [*(written_files(output) if output else []), *([figure] if figure else [])]
    if written and not silent:
        print("written")
        indent(written)


@app.command()
def benchmark(
    protocol: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROTOCOL]",
            help="A protocol of unigrn, or a .toml file of your own; all are listed otherwise.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Folder of the protocol's files. Default: that of PROTOCOL, or the present one.",
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar='"NAME [KEY=VALUE]..."',
            help="What is run, as infer takes it, or the peers grnboost2 and genie3. May be "
            "repeated. Default: the methods of the protocol.",
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME", help="Run this set only. May be repeated."),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null/--no-null", help="Fit to permuted priors too.")
    ] = True,
    limit: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="Stop a fit that takes longer.")
    ] = None,
    seed: Seed = 0,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="OUT", help="Write every row too: .tsv, .txt or .csv (.gz)."
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the protocol's file, to start your own from.")
    ] = False,
    as_json: Json = False,
    figure: Figure = None,
    force: Force = False,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Score methods on the sets of a protocol, beside what they have to beat.

    Every fit is unigrn infer in a fresh process: its seconds and memory are its own. Beside the
    methods stand the prior alone, plain correlation, the degrees of the regulators, and permuted
    targets; regulators are compared in pairs.

    Example: unigrn benchmark real --data datasets --figure benchmark.png
    """
    from unigrn.protocols import protocols, read_protocol

    if protocol is None:
        for name in protocols():
            own = read_protocol(name)
            print(name)
            swept = dict.fromkeys(case.sweep[0] for case in own.cases if case.sweep)
            sets = [case.name for case in own.cases if not case.sweep]
            lines = [f"sets: {'; '.join(sets)}"] if sets else []
            lines += [f"sweeps: {'; '.join(swept)}"] if swept else []
            for line in [own.about, *lines]:
                print(textwrap.fill(line, 80, initial_indent="  ", subsequent_indent="  "))
        return
    own = read_protocol(protocol)
    if show:
        print((protocols().get(protocol) or Path(protocol)).read_text(encoding="utf-8"), end="")
        return
    if output is not None:
        _check_file_of_rows(output)
        check_output(output, [], TABLES)
        check_replaceable(output, force)
    check_figure(figure, [output], force)
    from unigrn.protocols import benchmark as run

    folder = data if data is not None else str(Path(protocol).parent)
    with progress(quiet=quiet):
        found = run(
            own, method, data=folder, sets=sets, null=null, limit=limit, threads=threads, seed=seed
        )
    tell(found, as_json)
    if output is not None:
        from unigrn.files import write_table

        write_table(found.rows(), output, found.document())
    if figure is not None:
        from unigrn.plot import benchmark_figure

        benchmark_figure(found, figure)
    _say_written(output, figure, as_json or quiet)
