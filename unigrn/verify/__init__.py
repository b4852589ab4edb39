"""Verification: equivalences of formulations, checks of a declared method, and the originals.

`equivalent` searches for a counterexample to an equivalence, `check_spec` checks a method that
somebody declares, `verify` goes through every claim of the project. The original formulations are
plain NumPy, in `originals` and `originals_netrex`.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "equivalent": "equivalence",
    "Equivalence": "equivalence",
    "Formulation": "formulations",
    "Report": "search",
    "Instance": "instances",
    "Point": "instances",
    "check_spec": "checks",
    "pmf_grn_log_joint": "densities",
    "replay_netrex_cf": "replay",
    "symphony_log_joint": "symphony",
    "verify": "table",
}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]  # of one table, lazily


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name in _HOME:
        return getattr(importlib.import_module(f"unigrn.verify.{_HOME[name]}"), name)
    raise AttributeError(f"module 'unigrn.verify' has no attribute {name!r}")
