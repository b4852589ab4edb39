from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unigrn.evaluate import evaluate
from unigrn.evaluate.errors import ERRORS


def by_walks(score, truth):
    """The same in loops: names are numbers, regulators the first of them."""
    q, p = truth.shape
    pairs = [(i, j) for i in range(q) for j in range(p) if i != j]
    k = sum(truth[i, j] for i, j in pairs)
    listed = [c for c in pairs if score[c] > 0]
    shares = {}
    for c in listed:
        above = sum(score[d] > score[c] for d in listed)
        tied = sum(score[d] == score[c] for d in listed)
        shares[c] = min(max((k - above) / tied, 0), 1)
    edge = {(i, j) for i, j in pairs if truth[i, j]}

    def reached(i, j):
        two = {b for a, b in edge if a == i}
        three = {b for a, b in edge if a in two}
        return any((m, j) in edge for m in two | three)

    out = dict.fromkeys(ERRORS, 0.0)
    for (i, j), share in shares.items():
        if (i, j) in edge:
            kind = "found"
        elif (j, i) in edge:
            kind = "reversed"
        else:
            kind = "indirect" if reached(i, j) else "spurious"
        out[kind] += share / k
    out["missed"] = 1 - out["found"]
    return out


@settings(max_examples=60)
@given(q=st.integers(2, 5), extra=st.integers(0, 4), seed=st.integers(0, 10_000))
def test_errors_are_those_of_walks(q, extra, seed):
    rng = np.random.default_rng(seed)
    p = q + extra
    truth = rng.random((q, p)) < 0.35
    truth[np.arange(q), np.arange(q)] = False
    # Every regulator and target is named by the gold, so that the universe is all pairs.
    gold = pd.DataFrame(
        [(f"g{i}", f"g{j}", int(truth[i, j])) for i in range(q) for j in range(p) if i != j],
        columns=["tf", "target", "label"],
    )
    score = rng.integers(0, 4, (q, p)).astype(float)
    edges = pd.DataFrame(
        [(f"g{i}", f"g{j}", score[i, j]) for i in range(q) for j in range(p) if score[i, j] > 0],
        columns=["source", "target", "score"],
    )
    if not truth.any() or edges[edges["source"] != edges["target"]].empty:
        return
    found = evaluate(edges, gold).errors["network"]
    assert found == pytest.approx(by_walks(score, truth), abs=1e-12)
    assert found["found"] + found["missed"] == 1


def test_a_chain_read_backwards_and_across():
    gold = pd.DataFrame({"tf": ["a", "b", "c"], "target": ["b", "c", "d"]})
    network = pd.DataFrame(
        {"source": ["b", "a", "a"], "target": ["b", "c", "d"], "score": [3.0, 2.0, 1.0]}
    )
    network.loc[0, "target"] = "a"  # a is no target of the gold: outside of its universe
    found = evaluate(network, gold).errors["network"]
    # Of three true edges none is found; two of the listed pairs are shortcuts along the chain.
    assert found == {
        "found": 0,
        "missed": 1,
        "reversed": 0,
        "indirect": pytest.approx(2 / 3),
        "spurious": 0,
    }
