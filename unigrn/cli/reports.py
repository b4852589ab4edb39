"""The commands that tell what there is and whether it holds, from methods to benchmarks."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unigrn.cli.arguments import (
    TABLES,
    Data,
    Figure,
    Force,
    Groupby,
    Json,
    Layer,
    Names,
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
    defaults,
)
from unigrn.cli.printing import check_figure, check_replaceable, indent, tell, written_files
from unigrn.cli.shell import FAILED, Refusal, app, limit_threads, progress

if TYPE_CHECKING:
    from unigrn.methods import Method


@app.command()
def methods(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A method to explain; all are listed otherwise."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the methods, or explain one.

    Of one: when to take it, what its parameters mean, and the reference.
    """
    from unigrn.methods import get, registry

    chosen = {name: get(name)} if name is not None else registry()
    if as_json:
        rows = [_row(name, method) for name, method in chosen.items()]
        print(json.dumps(rows, indent=2, default=str))
    elif name is not None:
        print("\n".join(_explained(name, chosen[name])).replace("``", ""))
    else:
        for name, method in chosen.items():
            print(name)
            indent(
                [
                    " ".join(method.summary.split()),
                    f"parameters: {defaults(method.parameters)}",
                    f"reference: {method.reference}",
                ]
            )


def _row(name: str, method: Method) -> dict[str, Any]:
    return {
        "name": name,
        "summary": method.summary,
        "formula": method.formula,
        "parameters": dict(method.parameters),
        "meanings": method.meanings,
        "notes": " ".join(method.notes.split()),
        "reference": method.reference,
    }


def _explained(name: str, method: Method) -> list[str]:
    """Give what the docstring of a method says, for a reader of the terminal."""
    lines = [f"{name}: {method.sections['']}"]
    if method.notes:
        lines += ["", "when, and on what values", *_filled(method.notes, "  ")]
    lines += ["", "parameters (--param NAME=VALUE)"]
    for parameter, value in method.parameters.items():
        lines.append(f"  {defaults({parameter: value})}")
        text = method.meanings[parameter] or "not described"
        lines += _filled(text, "      ")
    if "permutations" in method.parameters:
        lines += ["", "for a calibrated fdr, or a finer one: --param permutations=2 (two copies)"]
    if method.reference:
        lines += ["", *_filled(f"reference: {method.reference}")]
    return lines


def _filled(text: str, indented: str = "") -> list[str]:
    """Break prose into lines of a terminal."""
    return textwrap.wrap(text, 80, initial_indent=indented, subsequent_indent=indented)


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Claims, or pages of proofs/README.md, such as proposition_1. Default: all.",
        ),
    ] = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="Examples of each search. Default: 30.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Search for counterexamples to what methods claim to be.

    Every claim is compared with an independent formulation in plain NumPy, and wrong variants of it
    must be refuted. Exits with 1 where a claim fails or a wrong variant passes. The proofs are in
    the repository's folder proofs/.
    """
    from unigrn.backend import cores
    from unigrn.verify.table import verify as check

    with progress():
        rows = check(names or (), examples, seed, processes=min(2, cores()))
    if as_json:
        print(json.dumps([row.to_dict() for row in rows], indent=2, allow_nan=False))
    else:
        print("\n".join(_verdicts(rows)))
    if not all(row.holds for row in rows):
        raise typer.Exit(FAILED)


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
    splits: Annotated[
        int, typer.Option(metavar="N", help="Folds of the cells, twice: an even number >= 4.")
    ] = 10,
    most: Annotated[
        int, typer.Option(metavar="N", help="Targets that are looked at; 0: all.")
    ] = 2000,
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
    for what, path in (("--gold", gold), ("--regulators", regulators), ("--targets", targets)):
        if path is not None:
            check_file(path, what)
            inputs.append(path)
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
                print("\n".join(_filled(line, "  ")))
        return
    own = read_protocol(protocol)
    if show:
        print((protocols().get(protocol) or Path(protocol)).read_text(encoding="utf-8"), end="")
        return
    if output is not None:
        if output == "-":
            raise Refusal("output -: every row goes to a file; for stdout take --json")
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
    written = [*(written_files(output) if output else []), *([figure] if figure else [])]
    if written and not (as_json or quiet):
        print("written")
        indent(written)


@app.command()
def check(
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="A network of infer --certify.")
    ],
    within: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Largest gap of a fit, over the objective without edges. Default: 1e-6.",
        ),
    ] = None,
    part: Annotated[
        bool, typer.Option("--part", help="Edges may be missing, as after a filter.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the proof that a network of infer --certify carries.

    No coefficients can be better by more than the duality gap, which is computed again, in exact
    arithmetic, from NETWORK.proof.npz alone: moments of the cells (sums of products), penalties,
    coefficients. The edges of the table must be those coefficients. Exits with 1 where anything
    differs. The problem that the file states is printed: compare it with the method that you mean.
    Whether it is that of your cells, inferring again tells: the same call gives the same bytes.
    """
    check_file(network, "NETWORK")
    if within is not None and not 0 <= within < float("inf"):
        raise Refusal(f"--within is {within}; needed a finite number >= 0")
    from unigrn.edges import WITHIN, exact_line, exact_problem
    from unigrn.exact import check as checked
    from unigrn.files import read_edges, read_proof

    within = WITHIN if within is None else within
    proof = read_proof(network)
    edges = read_edges(network)
    if "weight" not in edges.columns:
        raise Refusal(f"{network!r} has no column weight; needed the coefficients that were proved")
    gap, wrong = checked(proof, edges, part)
    far = int((~(gap <= within)).sum())
    if far:
        wrong.append(f"{far:,} of {gap.size:,} fits are not within {within:g} of their optimum")
    if as_json:
        worst = float(gap.max(initial=0))
        found = {"fits": gap.size, "within": within, "proved": gap.size - far, "wrong": wrong}
        found["largest_relative_gap"] = worst if worst < float("inf") else None
        found["candidates"] = proof.candidate.size
        found["problem"] = {
            kind: [end if abs(end) < float("inf") else None for end in ends]
            for kind, ends in exact_problem(proof).items()
        }
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        for text in wrong:
            print(f"REFUSED: {text}")
        line = exact_line(proof, gap, within)
        print(line.replace("proved exactly", "what the file states") if wrong else line)
        l1, l2, low, high, scale = (
            " to ".join(f"{end:g}" for end in dict.fromkeys(ends)) or "nothing"
            for ends in exact_problem(proof).values()
        )
        indent(
            [
                f"of the problem stated: squares times {scale}, |theta| times {l1}, theta^2 times "
                f"{l2}, theta from {low} up to {high}; {proof.candidate.size:,} candidates a group"
            ]
        )
    if wrong:
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
