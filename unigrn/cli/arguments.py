"""The arguments of the commands, and the checks of them that need no data."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from unigrn.cli.shell import Refusal, meant

# The suffixes that Network.write knows; kept here so that a wrong one is refused before the fit.
TABLES = (".tsv", ".tsv.gz", ".txt", ".csv", ".csv.gz")
OUTPUTS = (*TABLES, ".parquet", ".graphml", ".h5ad", ".sif", ".gmt")
FIGURES = (".png", ".pdf", ".svg")
REPLICATES = 400  # of --predictive

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Expression: an .h5ad file, a .zarr store, or one modality as FILE.h5mu/NAME.",
    ),
]
Priors = Annotated[
    list[str] | None,
    typer.Option(
        "--prior",
        metavar="[NAME=]PRIOR",
        help="Prior edges: .tsv, .csv (also .gz) or .parquet with columns source,target[,weight"
        "[,sign]] or tf,target[,score], or a base GRN table. Repeat for several sources. Not "
        "needed by a method that takes all pairs (full_ridge): give --regulators there.",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME",
        help="One of those that unigrn methods lists, or one of your own: package.module:function "
        "or path/to/file.py:function.",
    ),
]
Groupby = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column of obs: one network for each of its values."),
]
Layer = Annotated[str | None, typer.Option(metavar="NAME", help="Layer to use instead of X.")]
Names = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column of var with the names of the genes.")
]
Raw = Annotated[bool, typer.Option("--raw", help="Take values and genes from .raw.")]
Extra = Annotated[
    list[str] | None,
    typer.Option(
        "--extra",
        metavar="[NAME=]COLUMN",
        help="A column of obs with one number a cell that the method asks for by NAME, such as "
        "pseudotime=dpt_pseudotime, or an array varp/KEY (genes by genes) or uns/KEY. Repeat for "
        "several.",
    ),
]
Regulators = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Regulators to consider: one name per line. Default: the prior's that are measured, "
        "or every gene where there is no prior.",
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
        help="A parameter of the method, such as alpha=10, or of its solver: tolerance, "
        "max_iterations. Repeat for several.",
    ),
]
Over = Annotated[
    list[str] | None,
    typer.Option(
        "--over",
        metavar='"WAY [KEY=VALUE]..."',
        help="Fit the method in this way: lioness, stability, jackknife, bagging, permuted, "
        'consensus, or one with values, such as "stars parameter=L1.strength values=[0.1,0.2]". '
        "Repeat, the innermost first.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
Dtype = Annotated[str, typer.Option(metavar="float32|float64", help="Precision of the fit.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Replace an output that unigrn did not write; go on where memory looks too small.",
    ),
]
Certify = Annotated[
    bool,
    typer.Option(
        "--certify",
        help="Prove how far each fit is from its optimum (OUT.proof.npz; unigrn check). For ridge "
        "and lasso methods.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Use at most so many cores. Default: those allowed."),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Say on stderr what is being done.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print warnings and errors only.")]
Output = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="Where to write: .tsv, .txt, .csv (also .gz), .parquet, .graphml, .h5ad, .sif, .gmt; "
        "- for a table on stdout.",
    ),
]
Table = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="Where to write: .tsv, .txt or .csv (also .gz); - for a table on stdout.",
    ),
]
Figure = Annotated[
    str | None,
    typer.Option("--figure", metavar="FIGURE", help="Draw it too: a .png, .pdf or .svg file."),
]
Predictive = Annotated[
    str | None,
    typer.Option(
        "--predictive",
        metavar="FILE",
        help="Compare the data with 400 replicates from the guide of a generative method: a table "
        "(.tsv, .txt, .csv, also .gz) or a figure (.png, .pdf, .svg).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def check_file(path: str, what: str) -> None:
    """Refuse a path that is not a readable file."""
    if not os.path.exists(path):
        raise Refusal(f"{what} {path!r} does not exist")
    if os.path.isdir(path):
        raise Refusal(f"{what} {path!r} is a folder; a file is needed")
    if not os.access(path, os.R_OK):
        raise Refusal(f"{what} {path!r} cannot be read: permission denied")


def check_expression(path: str) -> None:
    """Refuse what is no file of expression, by its first bytes: cheaper than opening it."""
    folder, name = os.path.split(path)
    if folder.lower().endswith(".h5mu") and name:  # one modality of several
        path = folder
    if os.path.isdir(path):
        return  # a store, or said with what is in it
    check_file(path, "DATA")
    with open(path, "rb") as file:
        signature = file.read(8)
    if signature != b"\x89HDF\r\n\x1a\n":
        raise Refusal(
            f"DATA {path!r} is not an .h5ad (HDF5) file; read yours with anndata and write it "
            "with write_h5ad"
        )


def check_priors(priors: Sequence[str]) -> list[str]:
    """Check that they exist, and return their paths, which may be given as NAME=PATH."""
    paths = []
    for item in priors:
        name, equals, path = item.partition("=")
        # As read_prior does: an existing path is a path, whatever it holds.
        named = equals and not os.path.exists(item) and not any(c in name for c in "/\\")
        if named and not (name.strip() and path.strip()):
            raise Refusal(f"prior {item!r} lacks a name or a path; write NAME=PATH or PATH")
        paths.append(path if named else item)
        check_file(paths[-1], "prior")
    return paths


def check_output(
    path: str, inputs: Sequence[str | None], suffixes: Sequence[str] = OUTPUTS
) -> None:
    """Refuse an output that could not be written, before the work rather than after."""
    if path == "-":
        return
    if not path.lower().endswith(tuple(suffixes)):
        raise Refusal(f"output {path!r} has no known suffix; choose one of {', '.join(suffixes)}")
    if os.path.isdir(path):
        raise Refusal(f"output {path!r} is a folder; give the name of a file")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise Refusal(f"the folder {folder!r} of output {path!r} does not exist; make it first")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise Refusal(f"output {path!r} cannot be written: permission denied")
    for given in inputs:
        if given and os.path.exists(path) and os.path.samefile(given, path):
            raise Refusal(f"output {path!r} is also an input; give another name")


def _extra(pairs: Sequence[str]) -> dict[str, str]:
    """Return the columns of obs by the names that a method asks for."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, _, column = pair.partition("=")
        if not name or pair.endswith("="):
            raise Refusal(f"--extra {pair!r} is not [NAME=]COLUMN, such as pseudotime=dpt")
        if name in found:
            raise Refusal(f"--extra {name} is given twice")
        found[name] = column or name
    return found


def _names(path: str | None, what: str, columns: Sequence[str]) -> list[str] | None:
    """Names of a file, or None where none was given."""
    from unigrn.names import read_names

    return None if path is None else read_names(path, what, columns)


def _parameters(pairs: Sequence[str], method: str) -> dict[str, Any]:
    """Values of ``--param``, checked against those the method has.

    A value is JSON where it parses as such, otherwise text.
    """
    from unigrn.methods import OPTIONS, get

    known: Mapping[str, Any] = get(method).parameters
    options = {name: 0 for name in OPTIONS if name not in known}
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key, text = key.strip(), text.strip()
        if not equals or not key or not text:
            raise Refusal(f"--param {pair!r} is not KEY=VALUE, such as alpha=10")
        if key in found:
            raise Refusal(f"--param {key} is given twice")
        if key not in known and key not in options:
            own = {
                "seed",
                "dtype",
                "groupby",
                "layer",
                "names",
                "raw",
                "extra",
                "regulators",
                "targets",
                "prior",
            }
            hint = f"write --{key}" if key in own else f"it has {defaults(known)}"
            raise Refusal(f"{method} has no parameter {key!r}{meant(key, list(known))}; {hint}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        except (ValueError, RecursionError):
            raise Refusal(
                f"--param {key} is a number of {len(text):,} digits, or nested as deep; needed a "
                f"value such as {_shown(known.get(key))}"
            ) from None
        default = known.get(key)
        if default is inspect.Parameter.empty:
            default = None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(default, str):
            value = text  # a name stays one, also where it reads as a number
        elif isinstance(default, bool):
            if not isinstance(value, bool):
                raise Refusal(f"--param {key} is {text!r}; needed true or false")
        elif isinstance(default, int | float) and not number:
            raise Refusal(f"--param {key} is {text!r}; needed a number, such as {default}")
        found[key] = value
    return found


def _over(texts: Sequence[str]) -> list[Any]:
    """Return the transformations of ``--over``, their arguments checked by name."""
    import functools

    from unigrn import ensembles
    from unigrn.check import called

    ways = {n: f for n, f in vars(ensembles).items() if n != "over" and _of_a_spec(f)}
    found = []
    for text in texts:
        name, pairs = called(text, "--over")
        if name not in ways:
            raise Refusal(
                f"--over has no way {name!r}{meant(name, list(ways))}; it has {', '.join(ways)}"
            )
        takes = dict(list(inspect.signature(ways[name]).parameters.items())[1:])
        given: dict[str, Any] = {}
        for key, value in pairs.items():
            if key not in takes:
                raise Refusal(
                    f"--over {name} has no {key!r}{meant(key, list(takes))}; it takes "
                    f"{', '.join(f'{k}=VALUE' for k in takes) or 'nothing'}"
                )
            try:
                given[key] = json.loads(value)
            except json.JSONDecodeError:
                given[key] = value
        missing = [k for k, p in takes.items() if p.default is p.empty and k not in given]
        if missing:
            raise Refusal(f"--over {name} needs {missing[0]}=VALUE")
        found.append(functools.partial(ways[name], **given))
    return found


def _of_a_spec(function: Any) -> bool:
    """Say whether a function makes a spec of a spec."""
    kinds = getattr(function, "__annotations__", {})
    return kinds.get("return") == "Spec" and kinds.get("spec") == "Spec"


def defaults(parameters: Mapping[str, Any]) -> str:
    """Return the parameters of a method with their values, in one line."""
    if not parameters:
        return "no parameters"
    return ", ".join(f"{name}={_shown(value)}" for name, value in parameters.items())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def infer_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `unigrn.infer`, having checked what needs no data, cheapest first.

    ``given`` holds those of the command, by their names there.
    """
    dtype, prior = given["dtype"], given["prior"]
    if dtype not in {"float32", "float64"}:
        raise Refusal(f"--dtype is {dtype!r}; needed float32 or float64")
    check_expression(given["data"])
    inputs = [given["data"], *check_priors(prior or ())]
    for what in ("regulators", "targets"):
        if given[what] is not None:
            check_file(given[what], f"--{what}")
            inputs.append(given[what])
    if "output" in given:
        check_output(given["output"], inputs)
    hyperparameters = _parameters(given["param"] or (), given["method"])
    kept = ["method", "groupby", "layer", "names", "raw", "seed", "dtype"]
    if given.get("certify"):
        kept.append("certify")
        if given["output"] == "-" or given["output"].lower().endswith((".sif", ".gmt")):
            raise Refusal(
                f"--certify writes a proof beside the network, and {given['output']} has no place "
                "for it; choose .tsv, .csv, .parquet, .graphml or .h5ad"
            )
    predictive = {"predictive": REPLICATES} if given.get("predictive") is not None else {}
    return {
        **{name: given[name] for name in kept},
        **predictive,
        "adata": given["data"],
        "extra": _extra(given["extra"] or ()),
        "over": _over(given["over"] or ()),
        "prior": list(prior) if prior else None,
        "regulators": _names(
            given["regulators"], "regulators", ("source", "tf", "regulator", "target")
        ),
        "targets": _names(given["targets"], "targets", ("target",)),
        **hyperparameters,
    }
