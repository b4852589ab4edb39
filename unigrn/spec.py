"""Spec: a method as terms in three slots, and what is done around the fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from unigrn.losses import check_whole
from unigrn.losses import loss as as_loss
from unigrn.regularizers import regularizer as as_regularizer
from unigrn.terms import Array, Blocks, Constraint, Loss, PriorView, Regularizer, View, parts

if TYPE_CHECKING:
    from unigrn.ensembles import Bagging
    from unigrn.prior import Prior

SCALES = (None, "regulators", "both")


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
        targets too. Constant genes are left as they are.
    ensemble
        A transformation that fits the spec many times, such as `unigrn.bagging`.
    permutations
        Number of permuted copies of every target that are fitted beside it; they give the column
        ``fdr``. 0 for none.
    readout
        Function of the fitted blocks, one entry per edge, that adds statistics to the edge table;
        see `unigrn.solution`.
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
    notes: dict[str, str] = dataclasses.field(default_factory=dict)
    expects: tuple[str, ...] = ()

    def __post_init__(self):
        # Spec lives on the host and is never rebuilt by JAX, so it may check itself.
        object.__setattr__(self, "loss", as_loss(self.loss))
        if self.regularizer is not None:
            object.__setattr__(self, "regularizer", as_regularizer(self.regularizer))
        for slot, kind in (("loss", Loss), ("regularizer", Regularizer),
                           ("constraint", Constraint)):
            term = getattr(self, slot)
            if term is not None and getattr(term, "kind", None) != kind.kind:
                got = f"{term.kind} ({term.formula})" if hasattr(term, "kind") else \
                    type(term).__name__
                raise TypeError(f"Spec({slot}=...) takes a {slot}, got a {got}")
        object.__setattr__(self, "permutations",
                           check_whole("permutations", self.permutations))
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
        text = f"argmin_θ  {self.loss.formula}"
        if self.regularizer is not None:
            text += f"  +  {self.regularizer.formula}"
        if self.constraint is not None:
            text += f"   s.t.  {self.constraint.formula}"
        return text if self.ensemble is None else f"{self.ensemble.formula} of  {text}"
