"""The house flows one way: every module imports lower levels only.

Annotations and imports inside functions count. Lowest first; modules of one level may not import
each other, except within a package.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "unigrn"
LEVELS = [
    ["check", "status", "progress", "backend", "exact"],
    ["containers", "grouping"],
    ["views", "tables"],
    ["edgelists"],
    ["kernels", "names"],
    ["joint"],
    ["terms"],
    ["losses", "regularizers", "filtering", "neighbours", "constraints", "precision", "cycles"],
    ["data", "prior", "bootstrap", "rates"],
    ["moments", "replicates", "stages"],
    ["spec", "binding", "columns", "selection"],
    ["leftout"],
    ["problem", "ensembles", "processes"],
    ["tracing"],
    ["probes"],
    ["solvers"],
    ["requirements"],
    ["ladder"],
    ["planner", "ways", "implicit"],
    ["edges", "predicted"],
    ["files"],
    ["network"],
    ["solution"],
    ["run"],
    ["certify", "predictive"],
    ["methods", "evaluate", "datasets"],
    ["exchange"],
    ["api"],
    ["worth", "protocols"],
    ["plot"],
    ["verify"],
    ["cli"],
]
LEVEL = {name: i for i, names in enumerate(LEVELS) for name in names}
# The package's own front: it names everything and imports nothing before it is asked.
FRONT = {"unigrn", "unigrn.__main__"}


def modules():
    out = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        out[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return out


MODULES = modules()


def imported(name, path):
    """Every module of the package that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively"
            parts = [f"{node.module}.{a.name}" for a in node.names]
            targets = [part if part in MODULES else node.module for part in parts]
        else:
            continue
        for target in targets:
            if target in MODULES and target != name:
                yield target


GRAPH = {name: set(imported(name, path)) for name, path in MODULES.items()}


def top(name):
    return name.split(".")[1]


@pytest.mark.parametrize("name", [n for n in MODULES if n not in FRONT])
def test_a_module_imports_lower_levels_only(name):
    for target in GRAPH[name] - {"unigrn"}:
        if top(target) != top(name):
            assert LEVEL[top(target)] < LEVEL[top(name)], f"{name} imports {target}"


def test_there_is_no_circle():
    # Packages import their parts, and parts their package's front only where it is no circle.
    waiting = {n: {t for t in targets if t not in FRONT} for n, targets in GRAPH.items()}
    while waiting:
        free = [n for n, targets in waiting.items() if not targets & waiting.keys()]
        assert free, f"a circle among {sorted(waiting)}"
        for name in free:
            del waiting[name]


def test_nothing_is_imported_from_the_front_but_its_own():
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "unigrn":
                names = {a.name for a in node.names}
                assert names <= {"UnigrnWarning", "__version__", *LEVEL}, f"{name} imports {names}"


def test_a_file_has_one_reason_to_exist():
    long = {
        n: len(p.read_text().splitlines())
        for n, p in MODULES.items()
        if not n.startswith("unigrn.verify")
    }
    for name, lines in long.items():
        if lines > 450:
            doc = ast.get_docstring(ast.parse(MODULES[name].read_text()))
            assert "Over 450 lines" in doc, f"{name} has {lines} lines and does not say why"
