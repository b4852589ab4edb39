"""The mutation score: what is changed, and that a change which matters is killed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import mutants
import mutations
import planted
import pytest

SOURCE = '''
"""A text: 1 + 1."""
from x import y

def formula(self):
    return f"{1 + 1}"

def f(a: int, b, low=0.5):
    """Add 1 + 1."""
    check_number("a", a, low=2)
    if a < 0:
        raise ValueError("1 + 1")
    %s
'''


@pytest.mark.parametrize(
    "line, changed",
    [
        ("c = a + b", ["a - b"]),
        ("c = a ** 3", ["a * 3", "4"]),
        ("c = not a", ["a"]),
        ("c = a <= b < 2", ["a < b < 2", "a <= b <= 2", "3"]),
        ("c = a and b", ["a or b"]),
        ("c = np.sum(a, axis=0)", ["np.mean(a, axis=0)", "axis=1"]),
        ("c = np.sqrt(a.T)", ["a.T", "a"]),
        ("c = a[b:]", ["b - 1:"]),
        ("c += a", ["c -= a", "pass"]),
        ("c[a] = b", ["pass"]),
        ("a.append(b)", ["pass"]),
        ("return jnp.exp(a)", ["return 0 * jnp.exp(a)", "a"]),
        ("c = f(a, b)", ["f(b, a)"]),
        ("c = jnp.where(a, b, c)", ["jnp.where(a, c, b)"]),
        ("c = a if b else 1e-6", ["not b", "0.001"]),
        ("c = [a for a in b if a]", ["not a"]),
        ("c = isinstance(a, f(1)) + 'text'", []),
    ],
)
def test_what_is_changed(line, changed):
    made = mutations.sites(ast.parse(SOURCE % line))
    assert [ast.unparse(new) for _, _, new in made] == ["1.5", *changed]


def test_a_larger_sample_has_the_smaller_and_every_module_its_share():
    small, large = mutants.sample(100, 3), mutants.sample(400, 3)
    assert large[:100] == small and len({m.key for m in large}) == 400
    assert {m.module for m in large} >= {
        "unigrn.terms",
        "unigrn.run.finish",
        "unigrn.methods.netrex",
    }
    assert all(m.module == "unigrn.terms" for m in mutants.sample(9, 3, "unigrn.terms"))


# A process of its own: one that has computed with JAX cannot be forked.
TRIAL = """
import mutants
mutants.CACHE = mutants.Path({folder!r})
mutants.ready()
changes = mutants.mutants("unigrn.regularizers.sparse")
(wrong,) = [m for m in changes if {before!r} == m.before and {after!r} == m.after]
names = ["claim l0_prox", "tests/test_mutants.py::test_what_runs"]
evidence = {{n: (1.0, {{}}) for n in names}}
for subject in (None, wrong):
    print(mutants.trial(subject, names, evidence))
"""


def test_what_runs():
    """Nothing: a test for the trial below to run."""


def test_an_unchanged_package_passes_and_a_known_mutant_is_killed(tmp_path):
    whole = "jnp.full_like(prior.weight, 1)"
    script = TRIAL.format(
        folder=str(tmp_path), before=f"{whole} * self.cost", after=f"{whole} / self.cost"
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=here, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.splitlines() == ["('survived', '')", "('claim', 'claim l0_prox: fails')"], (
        done.stderr
    )


@pytest.mark.parametrize(
    "change", planted.PLANTED + planted.FURTHER, ids=lambda change: change.name
)
def test_what_is_planted_stands_where_it_is_planted(change):
    text = (planted.ROOT / "unigrn" / change.file).read_text()
    assert text.count(change.old) == 1 and change.old != change.new
    ast.parse(text.replace(change.old, change.new))
