"""Spec: a method as terms in three slots, and what is done around the fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from unigrn.check import check_number, check_whole
from unigrn.losses import loss as as_loss
from unigrn.regularizers import regularizer as as_regularizer
from unigrn.terms import Array, Blocks, Constraint, Loss, PriorView, Regularizer, View, parts

if TYPE_CHECKING:
    from unigrn.ensembles import Bagging
    from unigrn.prior import Prior

SCALES = (None, "regulators", "both", "standard", "range")


@dataclass(frozen=True)
class Step:
    """How one block is updated in a sweep; see `unigrn.solvers.palm`.

    Parameters
    ----------
    block
        Name of the block.
    kind
        "point" (proximal point; every term is squares in the block) or "linear" (linearised; the
        other terms enter by their prox and projection).
    weight
        Of a point step, the proximal weight relative to the Frobenius norm of the block's matrix;
        0 minimises the block exactly. Of a linear step, the inverse step length relative to the
        bound on the Lipschitz constant: a valid PALM step needs at least 1.
    bound
        Bound of a linear step: "safe" (the smallest of two norms) or "frobenius".
    sample
        Number of columns that move in a sweep, drawn at random; None for all.
    """

    block: str
    kind: str = "point"
    weight: float = 0.5
    bound: str = "safe"
    sample: int | None = None

    def __post_init__(self):
        if self.kind not in ("point", "linear"):
            raise ValueError(f"a step is point or linear, got {self.kind!r}")
        if self.bound not in ("safe", "frobenius"):
            raise ValueError(f"bound must be safe or frobenius, got {self.bound!r}")
        object.__setattr__(
            self, "weight", check_number("weight", self.weight, strict=self.kind == "linear")
        )
        if self.sample is not None:
            object.__setattr__(self, "sample", check_whole("sample", self.sample, low=1))

    @property
    def descends(self) -> bool:
        """True where no step can raise the objective."""
        return self.kind == "point" or self.weight >= 1

    def __str__(self) -> str:
        some = "" if self.sample is None else f", {self.sample} columns a sweep"
        if self.kind == "point":
            return f"{self.block}: proximal point, weight {self.weight:g}{some}"
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
class Shape:
    """What of a spec is part of the compiled program rather than data."""

    counts: tuple[int, int, int]
    steps: tuple[Step, ...] = ()
    start: Callable[..., Blocks] | None = None


class Slots:
    """The three slots of a spec, rebuilt inside a compiled function from traced terms."""

    def __init__(self, shape: Shape, terms: tuple):
        ends = [sum(shape.counts[: i + 1]) for i in range(3)]
        slots = [terms[b - n : b] for b, n in zip(ends, shape.counts, strict=True)]
        self.loss, self.regularizer, self.constraint = (
            sum(s[1:], s[0]) if s else None for s in slots
        )
        self.blocks = tuple(sorted({"theta", *(b for t in terms for b in t.blocks)}))
        self.terms = terms
        self.steps, self._start = shape.steps, shape.start

    def start(self, view: View, prior: PriorView, key: Array | None = None) -> Blocks:
        """Return where a solver starts: theta 0, unless the spec says otherwise."""
        if self._start is not None:
            return self._start(view, prior, key, self.terms)
        blocks = {"theta": jnp.zeros_like(prior.weight)}
        if "intercept" in self.blocks:
            targets = () if view.y is None else view.y.shape[1:]
            blocks["intercept"] = jnp.zeros(targets, prior.weight.dtype)
        return Blocks(**blocks)


@dataclass(frozen=True, eq=False)
class Spec:
    """argmin over theta of  loss(X, theta) + regularizer(theta, P)  subject to  theta in C(P).

    Parameters
    ----------
    loss
        A `Loss`, or any differentiable function ``(params, data, prior) -> number``.
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
        left as they are, or 0 where centred.
    ensemble
        A transformation that fits the spec many times, such as `unigrn.bagging`.
    permutations
        Number of permuted copies of every target that are fitted beside it; they give the column
        ``fdr``. 0 for none.
    readout
        Function of the fitted blocks, one entry per edge, that adds statistics to the edge table;
        see `unigrn.solution`.
    start
        Function (data, prior, key, terms) -> `Blocks`: where a solver starts; needed for blocks
        beyond ``theta`` and ``intercept``. A frozen dataclass with ``__call__`` does not recompile.
    sweeps
        For methods with several blocks: the order and kind of their updates.
    restarts
        Random starts that are fitted side by side; see `unigrn.consensus`.
    gauge
        Function (params, data, prior) -> params with the same objective: fixes what the objective
        leaves free, such as signs, before anything is read off.
    scores
        Function (params, data, prior) -> columns of the edge table, each shaped like theta.
    notes
        One line for each column that needs a word.
    expects
        What the method takes for granted of the values: "log" scale, "imputed".

    Examples
    --------
    >>> from unigrn import least_squares, ridge, support, no_self
    >>> print(Spec(least_squares(), ridge(10.0), support() + no_self()))
    argmin_θ  Σᵢ wᵢ (yᵢ − θ₀ − xᵢθ)²  +  α ‖θ‖²   s.t.  supp θ ⊆ supp P ∩ θ_gg = 0
    """

    loss: Any
    regularizer: Any = None
    constraint: Constraint | None = None
    prior: Prior | None = None
    name: str = "spec"
    scale: str | None = None
    ensemble: Bagging | None = None
    permutations: int = 0
    readout: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    start: Callable[..., Blocks] | None = None
    sweeps: Sweeps | None = None
    restarts: int = 1
    gauge: Callable[..., Blocks] | None = None
    scores: Callable[..., dict[str, Array]] | None = None
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
        object.__setattr__(self, "permutations", check_whole("permutations", self.permutations))
        object.__setattr__(self, "restarts", check_whole("restarts", self.restarts, low=1))
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
        slots = (self.loss, self.regularizer, self.constraint)
        return Shape(tuple(len(parts(s)) for s in slots), self.steps, self.start)

    @property
    def separable(self) -> bool:
        """True where the problem splits into one for each target."""
        return all(t.separable is not None for t in self.terms)

    @property
    def hard_mask(self) -> bool:
        """True where the constraint keeps theta on the prior's support."""
        from unigrn.constraints import Support

        return any(isinstance(t, Support) for t in parts(self.constraint))

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Numbers of the terms and of the ensemble, by name."""
        out: dict[str, Any] = {"scale": self.scale, "permutations": self.permutations}
        if self.sweeps is not None:
            out["sweeps"] = {
                "steps": [str(s) for s in self.steps],
                "most": self.sweeps.most,
                "relative": self.sweeps.relative,
                "absolute": self.sweeps.absolute,
            }
        if self.restarts > 1:
            out["restarts"] = self.restarts
        for term in self.terms:
            name = type(term).__name__
            while hasattr(term, "factor"):
                out[f"{name}.factor"], term = term.factor, term.term
                name = f"{name}.{type(term).__name__}"
            for item in dataclasses.fields(term):
                value = getattr(term, item.name)
                if not callable(value):
                    out[f"{name}.{item.name}"] = value
        if self.ensemble is not None:
            out |= {f"ensemble.{k}": v for k, v in dataclasses.asdict(self.ensemble).items()}
        return out

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
        if self.regularizer is not None:
            text += f"  +  {self.regularizer.formula}"
        if self.constraint is not None:
            text += f"   s.t.  {self.constraint.formula}"
        return text if self.ensemble is None else f"{self.ensemble.formula} of  {text}"
