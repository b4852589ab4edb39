"""Methods: one short file each, a pure function ``(prior, **hyper) -> Spec``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from unigrn.check import meant
from unigrn.spec import Spec
from unigrn.terms import Term

OPTIONS = ("tolerance", "max_iterations", "solver")  # of a plan, for any method


@dataclass(frozen=True)
class Method:
    """A method: its function, and what its docstring and signature say."""

    name: str
    function: Callable[..., Spec]

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.function) or self.name).splitlines()[0]

    @property
    def sections(self) -> dict[str, str]:
        """Text of the docstring by its headings; what stands before the first is under ""."""
        found, name = {"": ""}, ""
        lines = (inspect.getdoc(self.function) or "").splitlines()
        for line, below in zip(lines, [*lines[1:], ""], strict=True):
            if below and not below.strip("-") and len(below) == len(line):
                name = line
            elif line.strip("-") or not line:
                found[name] = found.get(name, "") + line + "\n"
        return {name: text.strip("\n") for name, text in found.items()}

    @property
    def reference(self) -> str:
        """Everything under References in the docstring, as one line."""
        return " ".join(self.sections.get("References", "").split())

    @property
    def notes(self) -> str:
        """When to take the method and what it expects of the values: Notes of the docstring."""
        return self.sections.get("Notes", "")

    @property
    def meanings(self) -> dict[str, str]:
        """What each hyperparameter means, in one line; parameters described together share it."""
        found: dict[str, str] = {}
        names: list[str] = []
        for line in self.sections.get("Parameters", "").splitlines():
            if line and not line[0].isspace():
                names = [name.strip() for name in line.partition(" : ")[0].split(",")]
            else:
                found |= {name: f"{found.get(name, '')} {line.strip()}".strip() for name in names}
        return {name: found.get(name, "") for name in self.parameters}

    @property
    def parameters(self) -> dict[str, Any]:
        """Hyperparameters and their defaults."""
        items = list(inspect.signature(self.function).parameters.values())[1:]
        return {
            p.name: p.default for p in items if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }

    @property
    def formula(self) -> str:
        """The spec as mathematics, with default hyperparameters."""
        return str(self.function(None))


def registry() -> dict[str, Method]:
    """All methods by name: the public functions, in the modules here, that return a `Spec`."""
    modules = [importlib.import_module(f"{__name__}.{m.name}") for m in iter_modules(__path__)]
    return {
        name: Method(name, f)
        for module in modules
        for name, f in vars(module).items()
        if inspect.isfunction(f) and f.__module__ == module.__name__ and not name.startswith("_")
        if f.__annotations__.get("return") == "Spec"
    }


def names() -> tuple[str, ...]:
    """Names of all methods."""
    return tuple(registry())


def get(name: str) -> Method:
    """Return a method by name; an unknown name is an error that lists the known ones.

    ``package.module:function`` and ``path/to/file.py:function`` name one of your own.
    """
    known = registry()
    if name in known:
        return known[name]
    place, colon, function = name.rpartition(":")
    if colon:
        return Method(function, _outside(place, function))
    raise ValueError(
        f"no method {name!r}{meant(name, known)}; the methods are {', '.join(known)}; one of your "
        "own is package.module:function or path/to/file.py:function"
    )


def _outside(place: str, function: str) -> Callable[..., Spec]:
    """Import a function from a module, or from a file that is run as one."""
    try:
        if place.endswith(".py"):
            path = Path(place)
            if not path.is_file():
                raise ValueError(f"there is no file {place!r} to take the method {function} from")
            found = importlib.util.spec_from_file_location(f"method_{path.stem}", path)
            if found is None or found.loader is None:
                raise ValueError(f"{place!r} cannot be loaded as a Python file")
            module = importlib.util.module_from_spec(found)
            sys.modules[module.__name__] = module  # so that its classes and functions can pickle
            found.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except ImportError as error:
        raise ValueError(
            f"the module {place!r} of the method {function} cannot be imported: {error}; install "
            "it, or name its file: path/to/file.py:function"
        ) from error
    except (SyntaxError, NameError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{place!r} fails while it is loaded: {type(error).__name__}: {error}"
        ) from error
    if not callable(getattr(module, function, None)):
        public = [n for n in vars(module) if callable(getattr(module, n)) and n[0] != "_"]
        raise ValueError(f"{place!r} has no function {function!r}{meant(function, public)}")
    return getattr(module, function)


def bind(
    method: str | Spec | Callable[..., Spec], hyper: dict[str, Any]
) -> tuple[Callable[[Any], Spec] | None, dict[str, Any], dict[str, Any]]:
    """Check hyperparameters; return ``prior -> Spec``, all of them with defaults, plan options.

    A `Spec` has its hyperparameters in it: the function is None then. What the method has no
    parameter for, and a plan has, is an option of the plan.
    """
    hyper = dict(hyper)
    if isinstance(method, Spec):
        options = {name: hyper.pop(name) for name in OPTIONS if name in hyper}
        if hyper:
            raise ValueError(
                f"a Spec has its hyperparameters in its terms, got "
                f"{', '.join(sorted(hyper))}; give the method's function instead"
            )
        return None, {}, options
    if isinstance(method, str):
        method = get(method).function
    if not callable(method) or isinstance(method, Term):
        raise TypeError(
            "method is a name, a function (prior, **hyper) -> Spec or a Spec, got "
            f"{type(method).__name__}"
            + (", a term: put it into a Spec" if isinstance(method, Term) else "")
        )
    known = list(inspect.signature(method).parameters.values())[1:]
    free = any(p.kind is p.VAR_KEYWORD for p in known)
    defaults = {p.name: p.default for p in known if p.kind is not p.VAR_KEYWORD}
    options = {n: hyper.pop(n) for n in OPTIONS if n in hyper and n not in defaults}
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
    return partial(method, **hyper), {**defaults, **hyper}, options
