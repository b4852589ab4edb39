"""Run a module in a fresh process, and measure what it takes.

    python -m unigrn.protocols.process USAGE.json MODULE ARGUMENTS...

runs ``python -m MODULE ARGUMENTS...`` and writes its seconds and memory to USAGE.json. What a
parent sees of the memory of a child includes its own before the child began; the child knows.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Usage:
    """What a process took: seconds, CPU seconds, MiB at most; and how it ended."""

    seconds: float
    cpu_seconds: float | None = None
    mib: float | None = None
    problem: str = ""


def measured(module: str, arguments: Sequence[str], limit: float | None = None) -> Usage:
    """Run a module in a fresh process; ``limit`` seconds at most."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "usage.json"
        command = [sys.executable, "-m", __name__, str(path), module, *arguments]
        # Where unigrn runs from a checkout that is not installed, the child must find it too.
        found = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(found)}
        began = time.monotonic()
        child = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            _, said = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            return Usage(limit or 0.0, problem=f"stopped after {limit:g} seconds")
        except BaseException:
            child.kill()
            child.communicate()
            raise
        took = time.monotonic() - began
        usage = json.loads(path.read_text()) if path.is_file() else {}
    lines = [line for line in said.splitlines() if line.strip()]
    if child.returncode == 0:
        return Usage(took, **usage)
    errors = [line.partition("error: ")[2] for line in lines if "error: " in line]
    text = (errors or lines or ["nothing was said"])[-1]
    return Usage(took, **usage, problem=text or f"ended with {child.returncode}")


def _most() -> float | None:
    """MiB that this process held at most, where the system says so."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    except OSError:
        pass
    if resource is None:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    """Run the module of the arguments."""
    path, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        usage = {"cpu_seconds": time.process_time(), "mib": _most()}
        Path(path).write_text(json.dumps(usage))


if __name__ == "__main__":
    main()
