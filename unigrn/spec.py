"""Spec: a method as terms in three slots, and what is done around the fit."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from unigrn.check import check_number, check_whole
from unigrn.losses import loss as as_loss
from unigrn.prior import Prior
from unigrn.regularizers import regularizer as as_regularizer
from unigrn.replicates import Over
from unigrn.stages import Stage
from unigrn.terms import (
    AXES,
    Along,
    Array,
    Blocks,
    Constraint,
    Loss,
    PriorView,
    Regularizer,
    Term,
    View,
    labels,
    parts,
)

SCALES = (None, "regulators", "both", "standard", "range")


@dataclass(frozen=True)
class Step:
    """How one block is updated in a sweep; see `unigrn.solvers.palm`.

    Parameters
    ----------
    block
        Name of the block.
    kind
        "point" (proximal point; every term is squares in the block), "linear" (linearised; the
        other terms enter by their prox and projection) or "adam" (a step of Adam along the gradient
        of the whole objective, alone in its sweep; see `unigrn.solvers.adam`).
    weight
        Of a point step, the proximal weight relative to the Frobenius norm of the block's matrix;
        0 minimises the block exactly. Of a linear step, the inverse step length relative to the
        bound on the Lipschitz constant: a valid PALM step needs at least 1. Of an Adam step, its
        length.
    bound
        Bound of a linear step: "safe" (the smallest of two norms) or "frobenius".
    sample
        Number of columns that move in a sweep, drawn at random; None for all.
    late
        Of Adam steps, by how many steps its correction of the averages lags: 0 as published.
    """

    block: str
    kind: str = "point"
    weight: float = 0.5
    bound: str = "safe"
    sample: int | None = None
    late: int = 0

    def __post_init__(self):
        if self.kind not in ("point", "linear", "adam"):
            raise ValueError(f"a step is point, linear or adam, got {self.kind!r}")
        if self.bound not in ("safe", "frobenius"):
            raise ValueError(f"bound must be safe or frobenius, got {self.bound!r}")
        object.__setattr__(
            self, "weight", check_number("weight", self.weight, strict=self.kind != "point")
        )
        if self.sample is not None:
            object.__setattr__(self, "sample", check_whole("sample", self.sample, low=1))
        object.__setattr__(self, "late", check_whole("late", self.late))

    @property
    def descends(self) -> bool:
        """True where no step can raise the objective."""
        return self.kind == "point" or (self.kind == "linear" and self.weight >= 1)

    def __str__(self) -> str:
        some = "" if self.sample is None else f", {self.sample} columns a sweep"
        if self.kind == "point":
            return f"{self.block}: proximal point, weight {self.weight:g}{some}"
        if self.kind == "adam":
            lag = f", corrections {self.late} late" if self.late else ""
            return f"{self.block}: Adam, length {self.weight:g}{lag}: it may raise the objective"
        valid = "" if self.descends else ", not a valid PALM step: it may raise the objective"
        return (
            f"{self.block}: linearised, step 1 / ({self.weight:g} x {self.bound} bound)"
            f"{some}{valid}"
        )


@dataclass(frozen=True)
class Sweeps:
    """Block coordinate descent: the steps of a sweep, and when to stop.

    Stops after a sweep that changes the objective F by at most ``relative`` (1 + |F|), or by less
    than ``absolute``, or after ``most`` sweeps. None switches a rule off.
    """

    steps: tuple[Step, ...] = ()
    most: int = 100
    relative: float | None = 1e-6
    absolute: float | None = None

    def __post_init__(self):
        object.__setattr__(self, "most", check_whole("sweeps", self.most, low=1))
        for name in ("relative", "absolute"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_number(name, getattr(self, name)))


@dataclass(frozen=True)
class Minibatch:
    """Gradients from ``size`` random cells at a time, for ``epochs`` passes over the cells.

    For a loss that is a sum over cells; it is multiplied by cells / size on every batch.
    """

    size: int = 256
    epochs: int = 100

    def __post_init__(self):
        object.__setattr__(self, "size", check_whole("size", self.size, low=1))
        object.__setattr__(self, "epochs", check_whole("epochs", self.epochs, low=1))


@dataclass(frozen=True)
class Shape:
    """What of a spec is part of the compiled program rather than data."""

    counts: tuple[int, ...]  # of loss, regularizer, constraint
    steps: tuple[Step, ...] = ()
    start: Callable[..., Blocks] | None = None
    axes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    rules: Sweeps | None = None
    columns: tuple[Callable[..., dict[str, Array]], ...] = ()
    gauge: Callable[..., Blocks] | None = None
    minibatch: Minibatch | None = None


class Slots:
    """The three slots of a spec, rebuilt inside a compiled function from traced terms."""

    loss: Any  # a term, or None where a slot is empty
    regularizer: Any
    constraint: Any

    def __init__(self, shape: Shape, terms: tuple):
        ends = [sum(shape.counts[: i + 1]) for i in range(3)]
        slots = [terms[b - n : b] for b, n in zip(ends, shape.counts, strict=True)]
        self.loss, self.regularizer, self.constraint = (
            sum(s[1:], s[0]) if s else None for s in slots
        )
        self.blocks = tuple(sorted({"theta", *(b for t in terms for b in t.blocks)}))
        self.terms = terms
        self.shape = shape
        self.steps, self.axes = shape.steps, dict(shape.axes)

    def start(self, view: View, prior: PriorView) -> Blocks:
        """Return where a solver starts: theta 0, unless the spec says otherwise."""
        if self.shape.start is not None:
            return _started(self.shape.start(view, prior, view.key, self.terms), prior)
        blocks = {"theta": jnp.zeros_like(prior.weight)}
        if "intercept" in self.blocks:
            targets = () if view.y is None else view.y.shape[1:]
            blocks["intercept"] = jnp.zeros(targets, prior.weight.dtype)
        return Blocks(**blocks)


def _started(found: Any, prior: PriorView) -> Blocks:
    """Return what a start gave, in the precision of the fit, or say what it is not."""
    if not isinstance(found, Blocks) or "theta" not in found:
        raise TypeError(
            f"a start returns Blocks(theta=...), got {type(found).__name__}"
            + (f" of {', '.join(found)}" if isinstance(found, Blocks) else "")
        )
    dtype, shape = prior.weight.dtype, prior.weight.shape
    if jnp.shape(found.theta) != shape:
        raise ValueError(
            f"the start gives theta of shape {jnp.shape(found.theta)}, and it has {shape}; "
            "jnp.zeros_like(prior.weight) has the shape that is asked for"
        )
    return jax.tree.map(lambda v: jnp.asarray(v, dtype), found)


@dataclass(frozen=True, eq=False)
class Spec:
    """argmin over theta of  loss(X, theta) + regularizer(theta, P)  subject to  theta in C(P).

    Parameters
    ----------
    loss
        A `Loss`, or any differentiable function ``(params, data, prior) -> number``. A term that
        ``iterates`` stands alone, and makes the method an iteration without an objective.
    regularizer
        A `Regularizer`, such a function, or None.
    constraint
        A `Constraint` or None.
    prior
        The prior P by gene names; needed by terms that use it.
    name
        How the method is called in tables and provenance.
    scale
        None: genes as they are. "regulators": each regulator divided by its standard deviation
        over all cells (population form, no centring), targets in their own units. "both":
        targets too. "standard": both, and centred within each group. "range": the middle of a
        gene's values in the group becomes 0, half its range over all cells 1. Constant genes are
        left as they are, or 0 where centred. Every cell counts once for a scale, whatever its
        weight.
    stages
        What happens to the cells before the fit: `unigrn.stages`, such as the activity of factors.
    start
        Function (data, prior, key, terms) -> `Blocks`: where a solver starts, in the units of the
        parameters; needed for blocks beyond ``theta`` and ``intercept``. A frozen dataclass with
        ``__call__`` does not recompile.
    axes
        Axes of the blocks beyond ``theta``, by name: ``{"Z": ("factors", "cells")}``. Left out,
        they are traced from the start.
    sweeps
        For methods with several blocks: the order and kind of their updates.
    minibatch
        `Minibatch`: gradients from a few random cells at a time.
    over
        Axes over which the spec is fitted, the innermost first: `unigrn.replicates`; made by
        `bagging`, `permuted`, `consensus`, `path`, `stability`, `folds`, `jackknife`.
    gauge
        Function (params, data, prior) -> params with the same objective: fixes what the objective
        leaves free, such as signs, before anything is read off.
    columns
        Function (params, data, prior) -> columns of the edge table, each shaped like theta, or a
        tuple of such functions; those of `unigrn.columns`, such as `drop_one`, see the terms too.
    notes
        One line for each column that needs a word.
    expects
        What the method takes for granted of the values: "log" scale, "positive", "imputed", of
        which a fit warns where they look otherwise; "counts", whole numbers: others are refused.

    Examples
    --------
    >>> from unigrn import least_squares, ridge, support, no_self
    >>> print(Spec(least_squares(), ridge(10.0), support() + no_self()))
    argmin_θ  Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)²  +  α ‖θ‖²   s.t.  supp θ ⊆ supp P ∩ θ_gg = 0
    """

    loss: Any
    regularizer: Any = None
    constraint: Term | None = None
    prior: Prior | None = None
    name: str = "spec"
    scale: str | None = None
    stages: tuple[Stage, ...] = ()
    start: Callable[..., Blocks] | None = None
    axes: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    sweeps: Sweeps | None = None
    minibatch: Minibatch | None = None
    over: tuple[Over, ...] = ()
    gauge: Callable[..., Blocks] | None = None
    columns: Any = ()
    notes: dict[str, str] = dataclasses.field(default_factory=dict)
    expects: tuple[str, ...] = ()

    def __post_init__(self):
        # Spec lives on the host and is never rebuilt by JAX, so it may check itself.
        object.__setattr__(self, "loss", as_loss(self.loss))
        if self.regularizer is not None:
            object.__setattr__(self, "regularizer", as_regularizer(self.regularizer))
        for slot, kind in (
            ("loss", Loss),
            ("regularizer", Regularizer),
            ("constraint", Constraint),
        ):
            term = getattr(self, slot)
            if term is not None and getattr(term, "kind", None) != kind.kind:
                got = (
                    f"{term.kind} ({term.formula})"
                    if hasattr(term, "kind")
                    else type(term).__name__
                )
                raise TypeError(f"Spec({slot}=...) takes a {slot}, got a {got}")
        for name in ("stages", "over", "columns"):
            value = getattr(self, name)
            value = (value,) if not isinstance(value, tuple | list) else tuple(value)
            object.__setattr__(self, name, value)
        for name, kind in (("stages", Stage), ("over", Over)):
            for item in getattr(self, name):
                if not isinstance(item, kind):
                    raise TypeError(
                        f"Spec({name}=...) takes {kind.__name__} objects, got {type(item).__name__}"
                    )
        drawing = [o.name for o in self.over if type(o).candidates is not Over.candidates]
        if len(drawing) > 1:
            raise ValueError(
                f"{' and '.join(drawing)} both draw candidates; one axis of a spec may"
            )
        axes = {name: value for t in self.terms for name, value in t.axes.items()} | {
            name: (value,) if isinstance(value, str) else tuple(value)
            for name, value in self.axes.items()
        }
        object.__setattr__(self, "axes", axes)
        spare = sorted(set(axes) - set(self.blocks))
        if spare:
            raise ValueError(
                f"Spec(axes=...) names the block {spare[0]}, which no term uses; the terms' "
                f"blocks are {', '.join(self.blocks)}"
            )
        if self.scale not in SCALES:
            raise ValueError(f"scale must be one of {SCALES}, got {self.scale!r}")

    @property
    def terms(self) -> tuple[Any, ...]:
        """Every term of the three slots, in order."""
        return parts(self.loss) + parts(self.regularizer) + parts(self.constraint)

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the parameter blocks."""
        return tuple(sorted({"theta", *(b for t in self.terms for b in t.blocks)}))

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of a sweep: as declared, else exact where a block allows it."""
        if self.sweeps is not None and self.sweeps.steps:
            return self.sweeps.steps
        return tuple(
            Step(b, "point", 0.5) if self._all_squares(b) else Step(b, "linear", 1.01)
            for b in sorted(self.blocks, key=lambda b: (b == "theta", b))
        )

    def _all_squares(self, block: str) -> bool:
        own = [t for t in self.terms if block in t.blocks]
        return all(t.kind != "constraint" and block in t.linear for t in own)

    @property
    def shape(self) -> Shape:
        """What a compiled program depends on beside the terms."""
        return self.shaped({})

    def shaped(self, axes: dict[str, tuple[str, ...]]) -> Shape:
        """Return the shape with the axes of blocks that were traced."""
        slots = (self.loss, self.regularizer, self.constraint)
        known = {b: AXES[b] for b in self.blocks if b in AXES} | self.axes | axes
        return Shape(
            tuple(len(parts(s)) for s in slots),
            self.steps,
            self.start,
            tuple(sorted(known.items())),
            self.sweeps,
            self.columns,
            self.gauge,
            self.minibatch,
        )

    @property
    def separable(self) -> bool:
        """True where the problem splits into one for each target."""
        return all(t.separable is not None for t in self.terms)

    @property
    def hard_mask(self) -> bool:
        """True where the constraint keeps theta on the prior's support."""
        return any(t.on_prior for t in parts(self.constraint))

    @property
    def across(self) -> bool:
        """True where a term couples the groups of cells, which are then fitted at once."""
        return any(t.across for t in self.terms)

    @property
    def members(self) -> int:
        """Number of fits of every target in a group."""
        return math.prod(over.size for over in self.over)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Numbers of the terms, and what is done around the fit, by name."""
        out: dict[str, Any] = {"scale": self.scale}
        if self.sweeps is not None:
            out["sweeps"] = {
                "steps": [str(s) for s in self.steps],
                "most": self.sweeps.most,
                "relative": self.sweeps.relative,
                "absolute": self.sweeps.absolute,
            }
        if self.minibatch is not None:
            out["minibatch"] = dataclasses.asdict(self.minibatch)
        for stage in self.stages:
            out[f"stage.{type(stage).__name__}"] = dataclasses.asdict(stage)
        for name, term in zip(labels(self.terms), self.terms, strict=True):
            while hasattr(term, "factor"):
                out[f"{name}.factor"], term = term.factor, term.term
                name = f"{name}.{labels((term,))[0]}"
            held = {item.name: getattr(term, item.name) for item in dataclasses.fields(term)}
            held |= held.pop("hyper", {})  # of a plain function
            for key, value in held.items():
                if not callable(value):
                    out[f"{name}.{key}"] = value.values if isinstance(value, Along) else value
        for over in self.over:
            out |= {f"{over.name}.{k}": v for k, v in over.settings.items()}
        return out

    def ways(self) -> Any:
        """Say in which ways the spec can be fitted, and why not in the others; prints as a table.

        Each row is a transformation of the spec and the solver that would take it. Asked without
        data: sizes, and arrays that follow names, are not known yet.
        """
        # The one late look upwards: the ladder knows the spec, and this is a question to it.
        return importlib.import_module("unigrn.ways").ways(self)

    def objective(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Loss plus regularizer at a point."""
        value = self.loss(params, data, prior)
        return value if self.regularizer is None else value + self.regularizer(params, data, prior)

    def violation(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """How far a point is from the feasible set: 0 where it is feasible."""
        if self.constraint is None:
            return jnp.zeros(())
        return self.constraint(params, data, prior)

    def replace(self, **changes: Any) -> Spec:
        """Return this spec with some fields exchanged."""
        return dataclasses.replace(self, **changes)

    def __str__(self) -> str:
        over = ",".join(("θ", *(b for b in self.blocks if b not in ("theta", "intercept"))))
        text = f"argmin_{over}  {self.loss.formula}"
        if self.loss.iterates is not None:
            text = f"iterate_{over}  {self.loss.formula}   (no objective)"
        if self.regularizer is not None:
            text += f"  +  {self.regularizer.formula}"
        if self.constraint is not None:
            text += f"   s.t.  {self.constraint.formula}"
        for over in self.over:
            text = f"{over.formula} of  {text}"
        return text
