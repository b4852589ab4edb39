"""The benchmarks run; what they time is nobody's promise here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["netrex_cf.py", "--size", "tiny"],
        ["l1_path.py", "--size", "tiny", "--share", "1"],
        ["tree_fused.py", "--size", "tiny"],
        ["known_targets.py", "--also", "tfa_ridge"],
        ["run.py", "--case", "B", "--quick", "--repeats", "1"],
        ["inferelator.py", "--size", "tiny"],
        ["generative.py", "--size", "tiny", "--part", "recovery"],
        ["generative.py", "--size", "tiny", "--part", "masks"],
        ["priors.py", "--part", "coverage", "--size", "tiny"],
    ],
    ids=lambda c: " ".join(c[:1] + c[-1:]),
)
def test_a_benchmark_runs_and_its_contestants_agree(command, tmp_path):
    out = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, str(FOLDER / command[0]), *command[1:], "--json", str(out)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "nan" not in done.stdout.lower(), done.stdout
    assert json.loads(out.read_text())
