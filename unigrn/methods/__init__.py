"""Methods: one short file each, a pure function ``(prior, **hyper) -> Spec``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from unigrn.check import meant
from unigrn.spec import Spec

# name: module of this package that holds a function of that name
_HOME = {
    "celloracle": "celloracle",
    "celloracle_bayesian": "celloracle",
    "masked_lasso": "masked",
    "masked_ridge": "masked",
    "full_ridge": "masked",
    "netrex_cf": "netrex_cf",
    "netrex_cf_sketch": "netrex_cf",
    "netrex": "netrex",
    "linear_gaussian": "generative",
}


@dataclass(frozen=True)
class Method:
    """A method: its function, and what its docstring and signature say."""

    name: str
    function: Callable[..., Spec]

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return inspect.getdoc(self.function).splitlines()[0]

    @property
    def reference(self) -> str:
        """Everything under References in the docstring, as one line."""
        text = inspect.getdoc(self.function)
        return " ".join(text.partition("References\n----------\n")[2].split())

    @property
    def parameters(self) -> dict[str, Any]:
        """Hyperparameters and their defaults."""
        items = list(inspect.signature(self.function).parameters.values())[1:]
        return {p.name: p.default for p in items}

    @property
    def formula(self) -> str:
        """The spec as mathematics, with default hyperparameters."""
        return str(self.function(None))


def registry() -> dict[str, Method]:
    """All methods by name."""
    out = {}
    for name, module in _HOME.items():
        function = getattr(importlib.import_module(f"unigrn.methods.{module}"), name)
        out[name] = Method(name, function)
    return out


def names() -> tuple[str, ...]:
    """Names of all methods, without importing them."""
    return tuple(_HOME)


def get(name: str) -> Method:
    """Return a method by name; an unknown name is an error that lists the known ones."""
    if name not in _HOME:
        raise ValueError(
            f"there is no method {name!r}{meant(name, _HOME)}; the methods are: {', '.join(_HOME)}"
        )
    return registry()[name]


def bind(
    method: str | Spec | Callable[..., Spec], hyper: dict[str, Any]
) -> tuple[Callable[[Any], Spec] | None, dict[str, Any]]:
    """Check hyperparameters and return ``prior -> Spec`` and all of them with defaults.

    A `Spec` has its hyperparameters in it: the function is None then.
    """
    if isinstance(method, Spec):
        if hyper:
            raise ValueError(
                f"a Spec has its hyperparameters in its terms, got "
                f"{', '.join(sorted(hyper))}; give the method's function instead"
            )
        return None, {}
    if isinstance(method, str):
        method = get(method).function
    if not callable(method):
        raise TypeError(
            "method is a name, a function (prior, **hyper) -> Spec or a Spec, got "
            f"{type(method).__name__}"
        )
    known = list(inspect.signature(method).parameters.values())[1:]
    free = any(p.kind is p.VAR_KEYWORD for p in known)
    defaults = {p.name: p.default for p in known if p.kind is not p.VAR_KEYWORD}
    unknown = [k for k in sorted(hyper) if k not in defaults and not free]
    if unknown:
        shown = ", ".join(f"{k}={v!r}" for k, v in defaults.items()) or "none"
        raise ValueError(
            f"{getattr(method, '__name__', 'the method')} has no parameter "
            f"{unknown[0]!r}; its parameters are: {shown}"
        )
    missing = [k for k, v in defaults.items() if v is inspect.Parameter.empty and k not in hyper]
    if missing:
        raise ValueError(f"{getattr(method, '__name__', 'the method')} needs {missing[0]!r}")
    return partial(method, **hyper), {**defaults, **hyper}
