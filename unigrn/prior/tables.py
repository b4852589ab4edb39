"""Reading priors from files: edge tables and matrices, one layer each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from unigrn import edgelists, tables
from unigrn.check import listed
from unigrn.prior import evidence
from unigrn.prior.prior import Prior


def read_prior(source: str | os.PathLike | Iterable[str | os.PathLike]) -> Prior:
    """Read a prior from one file, or from several as one layer each.

    Parameters
    ----------
    source : path, "NAME=PATH", or a list of them
        Files `.tsv`, `.csv`, `.txt`, `.sif` or `.gmt` (all also with `.gz`) or `.parquet`. Columns
        as in `Prior.from_edges`; or three without a header, the third a number or a sign in words;
        or a base GRN table or matrix as in `Prior.from_base_grn`. NAME names the layer;
        by default the file's name without its suffixes. A text that is the path of an existing
        file is a path, whatever "=" it holds. Names are read as text: a gene may be called "NA".

    Returns
    -------
    Prior

    Raises
    ------
    ValueError
        For a missing or unreadable file, another suffix, other columns, no rows, two layers of
        one name, and whatever `from_edges` and `from_base_grn` refuse. The message names the file.
    """
    if isinstance(source, str | os.PathLike):
        source = [source]
    source = list(source)
    if not source:
        raise ValueError("no prior file given; name at least one")
    named = [_name_and_path(item) for item in source]
    seen: dict[str, Path] = {}
    for name, path in named:
        if name in seen:
            raise ValueError(
                f"two prior layers are named {name!r} ({seen[name]} and {path}); "
                "give each its own name as NAME=PATH"
            )
        seen[name] = path
    priors = [_read(name, path) for name, path in named]
    return priors[0] if len(priors) == 1 else Prior.combine(priors)


def _name_and_path(item: str | os.PathLike) -> tuple[str, Path]:
    path, name = Path(item), None
    if isinstance(item, str) and "=" in item and not path.exists():
        before, _, after = item.partition("=")
        if not re.search(r"[/\\]", before):  # else the "=" belongs to a folder or file name
            name, path = before.strip(), Path(after)
            if not name or not after.strip():
                raise ValueError(f"prior {item!r} lacks a name or a path; write NAME=PATH or PATH")
    return name or _format(path)[0], path


def _format(path: Path) -> tuple[str, str]:
    """Name without suffixes, and the suffix that says the format."""
    suffix = edgelists.suffix_of(path)
    name = path.name[: -len(suffix)] if suffix else ""
    if not suffix or not name:
        raise ValueError(
            f"{_label(path)} has the wrong suffix; needs .tsv, .csv, .txt, .sif, .gmt (also .gz) "
            "or .parquet"
        )
    return name, suffix


def _label(path: Path) -> str:
    """Name the file in a message, the end of its path where that is long."""
    text = str(path)
    return f"prior {listed([text if len(text) <= 80 else '...' + text[-77:]], most=1, size=80)}"


def _read(name: str, path: Path) -> Prior:
    label = _label(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(f"{label} {what}; give the path of a prior file")
    suffix = _format(path)[1]
    try:
        table = edgelists.read(path)
    except tables.EmptyError:
        raise ValueError(f"{label}: is empty; needs {evidence.FORMS}") from None
    except tables.TableError as error:
        raise ValueError(f"{label} cannot be read as {suffix}: {error}; write it anew") from None
    return Prior.of(name, evidence.of_table(table, name, label))
