"""Print the oldest release of each dependency that pyproject.toml admits: constraints for pip."""

from __future__ import annotations

import tomllib
from pathlib import Path


def pins(project: dict) -> list[str]:
    """Return ``name==bound`` for each requirement ``name>=bound`` of what the tests install."""
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["test"], *extras["plot"], *extras["generative"]]
    found = {}
    for requirement in needed:
        name, bound = requirement.split(">=")
        found[name.split("[")[0]] = bound
    return [f"{name}=={bound}" for name, bound in sorted(found.items())]


if __name__ == "__main__":
    with (Path(__file__).resolve().parent.parent / "pyproject.toml").open("rb") as file:
        print("\n".join(pins(tomllib.load(file)["project"])))
