"""What holds for the repository as a whole, whatever its modules do."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import unigrn

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "unigrn"
MODULES = sorted(PACKAGE.rglob("*.py"))
MODULE_NAMES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in MODULES
    if path.name != "__main__.py"
]


def run_python(code: str) -> str:
    """Output of ``code`` in a fresh interpreter, with the package of this tree."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def repository_files() -> list[Path]:
    """Files under version control or about to be; every file where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout.decode()
        names = [ROOT / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        hidden = {".git", ".venv", ".hypothesis", ".pytest_cache", ".ruff_cache", "__pycache__"}
        names = [p for p in ROOT.rglob("*") if not hidden & set(p.relative_to(ROOT).parts)]
    return sorted(p for p in names if p.is_file())


def text_of(path: Path) -> str:
    """The text of a file, empty for a binary one."""
    data = path.read_bytes()
    return "" if b"\0" in data else data.decode("utf-8", errors="replace")


@pytest.mark.parametrize("module", ["unigrn", "unigrn.cli"])
def test_import_is_light(module: str) -> None:
    heavy = ["jax", "pandas", "pyarrow", "anndata", "scipy", "hypothesis"]
    heavy += ["matplotlib", "networkx", "rich", "optax"]
    if module == "unigrn":
        heavy.append("typer")
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(run_python(code))
    assert [name for name in heavy if name in loaded] == []


def test_import_changes_no_setting_of_jax() -> None:
    code = f"""
import importlib, json, jax
before = dict(jax.config.values)
for name in {MODULE_NAMES!r}:
    importlib.import_module(name)
after = dict(jax.config.values)
print(json.dumps(sorted(key for key in before | after if before.get(key) != after.get(key))))
"""
    assert json.loads(run_python(code)) == []


def test_every_public_name_loads() -> None:
    for name in unigrn.__all__:
        assert getattr(unigrn, name) is not None


def test_public_names_stay_what_they_are() -> None:
    # The import system sets an attribute of the package to each submodule that is imported: a
    # public name that is also a module would change its meaning on the way.
    code = f"""
import importlib, types, unigrn
for name in {MODULE_NAMES!r}:
    importlib.import_module(name)
for name in unigrn.__all__:
    assert not isinstance(getattr(unigrn, name), types.ModuleType), name
"""
    run_python(code)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_file_names_paths_of_a_machine() -> None:
    # Put together here, so that this file does not match itself.
    folders = ["work", "root", "tmp", "home", "Users", "opt/pypi"]
    pattern = re.compile(r"(?<![\w.~}])/(?:" + "|".join(folders) + ")" + r"/\w")
    assert pattern.search("a '/" + "tmp/x'")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in repository_files()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_nothing_is_unpickled() -> None:
    # A network or a prior that comes from elsewhere must not be able to run code.
    pattern = re.compile(r"\b(?:pickle|joblib|dill)\.loads?\b|allow_pickle\s*=\s*True|read_pickle")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_no_file_is_large() -> None:
    large = [p.relative_to(ROOT) for p in repository_files() if p.stat().st_size > 1_000_000]
    assert large == []


def test_version_is_the_newest_entry_of_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = re.findall(r"^## \[?(\d+\.\d+\.\d+[^\]\s]*)\]?", text, flags=re.MULTILINE)
    assert entries, "CHANGELOG.md has no entry such as '## [0.1.0] - 2026-01-31'"
    assert unigrn.__version__ == entries[0]


def test_every_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in tomllib.loads(text)["project"]["dependencies"]:
        line = next(line for line in text.splitlines() if f'"{requirement}"' in line)
        assert re.search(r"#\s*\w+", line), f"{requirement} has no comment"
