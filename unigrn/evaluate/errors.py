"""What the strongest edges of a ranking are: true, reversed, indirect or spurious."""

from __future__ import annotations

import numpy as np

from unigrn.evaluate.gold import ABSENT, POSITIVE, Universe
from unigrn.evaluate.metrics import Ranking, count

BLOCK = 5_000_000  # pairs whose paths are counted at one time
ERRORS = ("found", "missed", "reversed", "indirect", "spurious")


def error_types(ranking: Ranking, universe: Universe) -> dict[str, float]:
    """Return shares of the k true edges, with the k strongest listed pairs taken for edges.

    ``found`` and ``missed`` add up to 1. A false pair is ``reversed`` where the gold has the edge
    the other way round, else ``indirect`` where a path of two or three true edges leads from the
    regulator to the target, else ``spurious``. Pairs that tie at rank k count with the share of
    them that random order would take. Fewer than k listed pairs are all taken.
    """
    truth = universe.state == POSITIVE
    hit = universe.state[ranking.row, ranking.col]
    listed = hit != ABSENT
    seen, positives = count(listed, ranking.start), int(truth.sum())
    before = np.cumsum(seen) - seen
    share = np.clip((positives - before) / np.maximum(seen, 1), 0, 1)
    length = np.diff(np.append(ranking.start, ranking.row.size))
    taken = np.repeat(share, length) * listed
    true = hit == POSITIVE

    # Regulators that are targets too: edges among them, and what they reach in one or two steps.
    place = universe.locate(universe.regulators, universe.regulators)[1]
    known = place >= 0
    among = np.zeros((place.size, place.size), np.float32)
    among[:, known] = truth[:, place[known]]
    reach = ((among + among @ among) > 0).astype(np.float32)
    back = np.full(universe.targets.size, -1)
    back[place[known]] = np.flatnonzero(known)
    at = np.flatnonzero((taken > 0) & ~true)
    row, col, wrong = ranking.row[at], ranking.col[at], taken[at]
    reverse = (back[col] >= 0) & (among[back[col], row] > 0)
    indirect = np.zeros(at.size, bool)
    step = max(1, BLOCK // place.size)
    for first in range(0, universe.targets.size, step):
        path = reach @ truth[:, first : first + step].astype(np.float32)
        here = np.flatnonzero((col >= first) & (col < first + step))
        indirect[here] = path[row[here], col[here] - first] > 0
    indirect &= ~reverse
    found = float((taken * true).sum() / positives)
    return {
        "found": found,
        "missed": 1 - found,
        "reversed": float(wrong[reverse].sum() / positives),
        "indirect": float(wrong[indirect].sum() / positives),
        "spurious": float(wrong[~reverse & ~indirect].sum() / positives),
    }
