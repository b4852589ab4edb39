"""The commands that tell what there is and whether it holds: methods, verify, check."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unigrn.cli.arguments import Json, Seed, check_file, defaults
from unigrn.cli.printing import indent
from unigrn.cli.shell import FAILED, Refusal, app, progress

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
