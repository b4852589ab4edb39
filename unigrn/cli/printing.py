"""What the commands print of a network, and how they deliver it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from unigrn.cli.arguments import FIGURES, TABLES, check_output
from unigrn.cli.shell import Refusal, say

if TYPE_CHECKING:
    from unigrn.evaluate import Evaluation
    from unigrn.network import Network
    from unigrn.protocols import Benchmarked
    from unigrn.worth import Calibrated, PriorGain, PriorStrength

STDOUT = "-"


def written_files(output: str, proved: bool = False) -> list[str]:
    """Return the files that writing a network to ``output`` makes."""
    whole = output.lower().endswith((".parquet", ".graphml", ".h5ad", *FIGURES))
    names = [output] if whole else [output, f"{output}.meta.json"]
    if proved:
        from unigrn.files import proof

        names.append(proof.beside(output))
    return names


def check_replaceable(output: str, force: bool, proved: bool = False) -> None:
    """Refuse an existing output that is not one of ours, unless it is to be replaced."""
    if proved and not force:
        from unigrn.files import proof

        name = proof.beside(output)
        if os.path.exists(name) and not proof.is_own(name):
            raise Refusal(
                f"{name!r} exists, and is no proof that unigrn wrote; give another -o, or --force "
                "to replace it"
            )
    if output == STDOUT and sys.stdout is None:
        raise Refusal("output -: stdout is closed; name a file")
    if output.lower().endswith(FIGURES):
        from unigrn.plot.style import is_own
    else:
        from unigrn.files import is_own

    there = [name for name in written_files(output) if os.path.isfile(name)]
    if output != STDOUT and there and not force and not is_own(output):
        raise Refusal(
            f"output {there[0]!r} exists, and is not as unigrn wrote it; give another name, or "
            "--force to replace it"
        )


def check_figure(figure: str | None, inputs: Sequence[str | None], force: bool) -> None:
    """Refuse a figure that could not be drawn or written, before the work rather than after."""
    if figure is None:
        return
    if figure == STDOUT:
        raise Refusal("--figure -: a figure goes to a file; name a .png, .pdf or .svg")
    check_output(figure, inputs, FIGURES)
    check_replaceable(figure, force)
    from unigrn.plot.style import need

    try:
        need("matplotlib")
    except ImportError as error:
        raise Refusal(str(error)) from error


def check_predictive(
    path: str | None, inputs: Sequence[str | None], outputs: Sequence[str | None], force: bool
) -> None:
    """Refuse a predictive check that could not be written, before the work rather than after."""
    if path is None:
        return
    if path == STDOUT:
        raise Refusal("--predictive -: a check goes to a file; name a .tsv, .csv, .png or .pdf")
    if any(name and os.path.abspath(name) == os.path.abspath(path) for name in outputs):
        raise Refusal(f"--predictive {path!r} is also another output; give another name")
    check_output(path, inputs, (*TABLES, *FIGURES))
    if path.lower().endswith(FIGURES):
        check_figure(path, inputs, force)
    else:
        check_replaceable(path, force)


def write_predictive(network: Network, path: str) -> None:
    """Draw a predictive check, or write its table."""
    check = network.predictive
    assert check is not None
    if path.lower().endswith(FIGURES):
        from unigrn.plot import predictive_figure

        predictive_figure(check, path)
        return
    from unigrn.files import write_table

    write_table(check.table, path, network.document())


def deliver(
    network: Network,
    output: str,
    quiet: bool = False,
    figure: str | None = None,
    predictive: str | None = None,
) -> None:
    """Write a network, to stdout where asked for, draw it, and print what it is on the other."""
    piped = output == STDOUT
    if piped:
        from unigrn.files import table_bytes

        to_stdout(table_bytes(network.edges))
    else:
        network.write(output)
    written = [] if piped else written_files(output, network.proof is not None)
    with contextlib.redirect_stdout(sys.stderr if piped else sys.stdout):
        if not quiet:
            summarize(network)
        if figure is not None:
            from unigrn.plot import fit_figure

            fit_figure(network, figure)
            written.append(figure)
        if predictive is not None:
            write_predictive(network, predictive)
            written += written_files(predictive)
        if not quiet and written:
            print("written")
            indent(written)


def tell(
    found: Evaluation | PriorGain | PriorStrength | Calibrated | Benchmarked, as_json: bool
) -> None:
    """Print a report and, on stderr, its warnings."""
    for text in found.warnings:
        say(f"warning: {text}")
    if as_json:
        print(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        print("\n".join([*found.table(), "", *found.notes]))


def to_stdout(pieces: Iterable[bytes]) -> None:
    """Write bytes to stdout, after what was printed."""
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)


def summarize(network: Network) -> None:
    """Print what was inferred, how optimal it is, and what became of the prior's names."""
    # Warnings stand on stderr already.
    lines = [line for line in network.summary() if not line.startswith("warning: ")]
    print("\n".join(lines))
    if network.alignment is not None:
        print("names" + (", before the filter" if network.provenance.get("filters") else ""))
        indent(network.alignment.lines())


def indent(lines: Sequence[str]) -> None:
    """Print lines two blanks in."""
    for line in lines:
        print(f"  {line}".rstrip())
