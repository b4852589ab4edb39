"""GMT, gene sets for enrichment: a line per regulator, a description, its targets; no numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from unigrn.files.delimited import unquoted

if TYPE_CHECKING:
    import pandas as pd


def rendered(edges: pd.DataFrame) -> Iterator[bytes]:
    """Give the lines; the sets of several groups are named "REGULATOR in GROUP".

    Targets whose weight is 0 are left out. The order of the table is kept.

    Raises
    ------
    ValueError
        Where a name holds a tab or a line break, or two sets would have one name.
    """
    plain = unquoted(".gmt")
    kept: Any = edges[edges["weight"] != 0]
    keys = ["group", "source"] if "group" in edges.columns else ["source"]
    sets = kept.groupby(keys, sort=False, observed=True)["target"]
    written = set()
    for key, targets in sets:
        *group, regulator = (plain(name) for name in key)
        name, of = " in ".join([regulator, *group]), ", group ".join([regulator, *group])
        if name in written:
            raise ValueError(f"two gene sets would be named {name!r}: write one group at a time")
        written.add(name)
        line = [name, f"targets of {of}", *map(plain, targets)]
        yield ("\t".join(line) + "\n").encode()
