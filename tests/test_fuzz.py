"""Mutated inputs end in a result or in one line, whatever they are; see `tests.fuzz`."""

from __future__ import annotations

import fuzz
import pytest


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return fuzz.Bench(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("block", range(30))
def test_mutated_inputs_are_fitted_or_refused(bench, block):
    found = {seed: fuzz.outcome(bench, seed) for seed in range(10 * block, 10 * block + 10)}
    assert not {s: v for s, v in found.items() if v[1] not in ("done", "refused")}
