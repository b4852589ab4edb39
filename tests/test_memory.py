"""The memory that a plan states is within a factor of two of what a run takes, of every kind.

Each run has a process of its own: its peak, above what the process held when it had its data and
had fitted something small.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, resource, sys
import numpy as np, unigrn
from unigrn import *

def peak():
    if os.path.exists("/proc/self/status"):  # where getrusage counts what the parent held, too
        with open("/proc/self/status") as lines:
            return 1024 * next(int(l.split()[1]) for l in lines if l.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )

def data(cells, genes, groups=1):
    values = np.random.default_rng(0).normal(size=(cells, genes)).astype(np.float32)
    names = [f"g{{i:04d}}" for i in range(genes)]
    labels = [f"c{{i % groups}}" for i in range(cells)] if groups > 1 else None
    return Data.from_arrays(values, names, groups=labels)

spec, held, regulators = {case}
small = Data.from_arrays(np.random.default_rng(1).normal(size=(20, 4)), list("abcd"))
unigrn.fit(Spec(least_squares(), ridge(1.0)), small).network()
plan = unigrn.plan(spec, held, regulators=held.genes[:regulators].tolist())
said, before = sum(plan.memory().values()), peak()
unigrn.fit(plan).network().edges
print(said / 1e6, (peak() - before) / 1e6)
"""
CASES = {
    "closed form, results": "Spec(least_squares(), ridge(1.0), no_self()), data(600, 1500, 8), 200",
    "bags": "bagging(Spec(least_squares(), ridge(1.0), no_self())), data(2000, 800), 150",
    "active sets on moments": "Spec(least_squares(), l1(30.0), no_self()), data(2000, 600), 150",
    "gradient on rows": "Spec(huber(1.0), ridge(1.0), no_self()), data(5000, 200), 40",
    "whole network": (
        "Spec(least_squares(), laplacian(1.0, 0.1) + ridge(1.0), no_self()), data(2000, 600), 150"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_memory_is_what_the_plan_says(name):
    code = SCRIPT.format(case=CASES[name])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, measured = map(float, done.stdout.split())
    assert measured / 2 <= said <= 2 * measured, f"said {said:.0f} MB, took {measured:.0f} MB"
