"""Terms: the pure functions a method is declared from, what they offer, and how they combine.

A term is a function of ``(params, data, prior)``. For a method that separates over targets it sees
one target; for a method that couples targets it sees the whole network. The same code serves both:
only the shapes differ.

======================  ==========================  ======================
argument                one target                  whole network
======================  ==========================  ======================
``params.theta``        (candidates,)               (regulators, targets)
``data.x``              (cells, candidates)         (cells, regulators)
``data.y``              (cells,)                    (cells, targets)
``data.weight``         (cells,)                    (cells,)
``data.moments.gram``   (candidates, candidates)    (regulators, regulators)
``data.moments.cross``  (candidates,)               (regulators, targets)
``prior.weight``        (candidates,)               (regulators, targets)
======================  ==========================  ======================

Nuisance blocks have axes of their own (`Spec.blocks`, or traced from the start): activities ``A``
(regulators, cells), latent factors ``U`` (factors, targets), one ``intercept`` a target.

Candidate lists are padded to a few fixed lengths: a padded entry has zero data, zero prior and
``theta`` 0. A term that would notice (a mean over entries, a set that fills its entries) is
given lists of their own length instead.

Over 450 lines: the table of capabilities and the composites that derive theirs belong together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import jax.numpy as jnp
from jax.core import Tracer

from unigrn.joint import Joint, joint
from unigrn.kernels import (
    Iterates,
    Kernel,
    Lines,
    LogDet,
    Observed,
    Quadratic,
    Spread,
    Squares,
    hard_threshold,
    largest,
    soft_threshold,
    spend,
)
from unigrn.views import (
    AXES,
    Along,
    Array,
    Blocks,
    Moments,
    PriorView,
    View,
    along,
    local,
    pytree,
    static,
)

__all__ = [
    "AXES",
    "CAPABILITIES",
    "Along",
    "Array",
    "Blocks",
    "Capability",
    "Constraint",
    "Joint",
    "Iterates",
    "Kernel",
    "Lines",
    "LogDet",
    "Loss",
    "Moments",
    "NotANumber",
    "Observed",
    "PriorView",
    "Quadratic",
    "Regularizer",
    "Scaled",
    "Spread",
    "Squares",
    "Sum",
    "Term",
    "View",
    "add",
    "along",
    "hard_threshold",
    "joint",
    "labels",
    "largest",
    "of_kind",
    "local",
    "number",
    "outside",
    "parts",
    "pytree",
    "real_rows",
    "scale",
    "soft_threshold",
    "spend",
    "static",
]


class Term:
    """A pure function of (params, data, prior), and what a solver may ask of it.

    Capabilities are values, or None where the term does not offer them; `CAPABILITIES` is their
    one table, from which multiples and sums derive theirs. ``prepare(data, prior)`` returns the
    term with what no parameter changes worked out once, ``compact()`` that in less room.
    """

    kind: Any = "term"  # a text; Any, here and below, because a subclass may give a property
    __array_ufunc__ = None  # an array on the left leaves the product to this class
    blocks: Any = ("theta",)
    block: Any = "theta"
    axes: ClassVar[dict[str, tuple[str, ...]]] = {}
    linear: Any = ()
    quadratic: Any = None
    spread: Any = None
    absolute: Any = None
    lines: Any = None
    price: Any = None
    budget: Any = None
    within: Any = None
    squares: Any = None
    observed: Any = None
    kernel: Any = None
    log_det: Any = None
    definite: Any = None
    acyclic: Any = None
    interval: Any = None
    allows: Any = None
    on_prior: Any = None
    evidence: Any = None
    subsets: Any = None
    iterates: Any = None
    prox: Any = None
    project: Any = None
    lipschitz: Any = None
    separable: Any = None
    square: Any = None
    ordered: Any = None
    across: Any = None
    convex: Any = None
    weighted: Any = None
    noisy: Any = None
    guided: Any = None
    intercept: Any = None
    outcome: Any = None
    layer: Any = None
    double: Any = None
    needs_prior: Any = False
    kink: Any = property(
        lambda self: self.lines is not None or (self.prox is not None and self.quadratic is None),
        doc="True where the term has a prox, or lines, but no gradient everywhere.",
    )
    entrywise: Any = property(
        lambda self: self.separable == "entries",
        doc="True where the term is a sum over the entries of its block.",
    )

    def prepare(self, data: View, prior: PriorView) -> Term:
        """Return the term with what no parameter changes worked out."""
        return self

    def compact(self) -> Term:
        """Return the prepared term in less room where its numbers allow; called on the host."""
        return self

    def check(self, prior: PriorView) -> None:
        """Raise ValueError where the prior does not suit the term; called on the host."""

    def check_extra(self, extra: dict[str, Along]) -> None:
        """Raise ValueError where external data do not suit the term; called on the host."""

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate the term."""
        if self.iterates is not None:
            raise TypeError(f"{self.formula} is a map without an objective: it has no value")
        raise TypeError(f"{type(self).__name__} does not say how it is evaluated")

    @property
    def formula(self) -> str:
        """The term as mathematics, in one line of text."""
        return type(self).__name__

    def __add__(self, other: Any) -> Term:
        return add(self, other)

    def __radd__(self, other: Any) -> Term:
        return self if isinstance(other, int) and other == 0 else add(other, self)

    def __mul__(self, factor: Any) -> Term:
        return scale(factor, self)

    __rmul__ = __mul__


class Loss(Term):
    """How far the parameters are from the data."""

    kind = "loss"


class Regularizer(Term):
    """What is preferred of the parameters, given the prior."""

    kind = "regularizer"


class Constraint(Term):
    """A set the parameters must lie in; its value is the distance from that set."""

    kind = "constraint"


def parts(term: Term | None) -> tuple[Term, ...]:
    """Return the summands of a term, in order."""
    if term is None:
        return ()
    return term.terms if isinstance(term, Sum) else (term,)


def add(a: Any, b: Any) -> Term:
    """Join two terms of the same kind: costs add, constraints intersect."""
    for term in (a, b):
        if not isinstance(term, Term):
            wrap = "unigrn.loss(function) or unigrn.regularizer(function)"
            raise TypeError(
                f"'+' joins terms, got {type(term).__name__}; wrap a plain function by {wrap}"
            )
    if a.kind != b.kind:
        raise TypeError(
            f"'+' joins terms of one kind, got a {a.kind} ({a.formula}) and a {b.kind} "
            f"({b.formula}); give them to Spec(loss=..., regularizer=..., constraint=...)"
        )
    return Sum(parts(a) + parts(b))


def scale(factor: Any, term: Term) -> Term:
    """Multiply a loss or a regularizer by a number >= 0."""
    if isinstance(factor, Term) or not isinstance(term, Term):
        raise TypeError("'*' multiplies a term by a number, not a term by a term")
    if term.kind == "constraint":
        raise TypeError(
            f"a constraint has no scale, got {factor!r} * {term.formula}; "
            "state the set itself, or use a regularizer for a soft preference"
        )
    if not isinstance(factor, Tracer):
        try:
            if isinstance(factor, str | bytes):
                raise TypeError
            number = float(factor)
        except (TypeError, ValueError):
            raise TypeError(f"'*' needs a number, got {type(factor).__name__}") from None
        if not 0 <= number < float("inf"):
            raise ValueError(f"a term is multiplied by a finite number >= 0, got {number:g}")
        factor = number
    if isinstance(term, Sum):
        return Sum(tuple(scale(factor, t) for t in term.terms))
    return Scaled(factor, term)


def real_rows(block: str, prior: PriorView) -> Array | float:
    """1 in the rows of a block that are regulators and not padding, (q, 1), or just 1."""
    if AXES.get(block, ("",))[0] != "regulators" or prior.valid.ndim != 2:
        return 1.0
    return jnp.any(prior.valid, axis=1, keepdims=True).astype(prior.weight.dtype)


@dataclass(frozen=True)
class Capability:
    """What a term may offer: what it means, and how multiples and sums derive theirs."""

    meaning: str
    scaled: Callable[[Scaled, Any], Any] = lambda scaled, inner: inner
    joined: Callable[[Sum, list[Any]], Any] = lambda total, inner: None


def _times(scaled: Scaled, inner: Any) -> Any:
    """Multiply what a function gives by the factor."""
    if inner is None:
        return None

    def product(*arguments):
        value = inner(*arguments)
        return value.times(scaled.factor) if hasattr(value, "times") else scaled.factor * value

    return product


def _shorter(scaled: Scaled, inner: Any) -> Any:
    """Scale the step: prox_{t (c f)} = prox_{(t c) f}."""
    if inner is None:
        return None
    return lambda v, step, data, prior, params=None: inner(
        v, step * scaled.factor, data, prior, params
    )


def _every(join: Callable[[Any, Any], Any]) -> Callable[[Sum, list[Any]], Any]:
    """Join what the functions of all summands give; None where one has none."""

    def joined(total, inner):
        if any(f is None for f in inner):
            return None

        def function(*arguments):
            out = inner[0](*arguments)
            for f in inner[1:]:
                out = join(out, f(*arguments))
            return out

        return function

    return joined


def _plus(a: Any, b: Any) -> Any:
    return a + b


def _intersection(a: Any, b: Any) -> Any:
    return jnp.maximum(a[0], b[0]), jnp.minimum(a[1], b[1])


def _least(total: Sum, inner: list[Any]) -> Any:
    return None if None in inner else "targets" if "targets" in inner else "entries"


def _all_true(total: Sum, inner: list[Any]) -> Any:
    return True if all(inner) else None


def _any_true(total: Sum, inner: list[Any]) -> Any:
    return True if any(inner) else None


def _both(total: Sum, inner: list[Any]) -> Any:
    ends = [pair for pair in inner if pair is not None]
    return (max(e[0] for e in ends), min(e[1] for e in ends)) if ends else None


def _counted(scaled: Scaled, inner: Any) -> Any:
    """Multiply how much the logarithms of deviations count."""
    if inner is None:
        return None
    return lambda data, prior: {
        mean: (log_sd, scaled.factor * count)
        for mean, (log_sd, count) in inner(data, prior).items()
    }


def _guided(total: Sum, inner: list[Any]) -> Any:
    """Join the blocks of summands that have some: another is a mean as well, or a number."""
    own = [f for f in inner if f is not None]
    if not own:
        return None
    return lambda data, prior: {k: v for f in own for k, v in f(data, prior).items()}


def _squares(total: Sum, inner: list[Any]) -> Any:
    if not total.linear:
        return None

    def joined(block, params, data, prior):
        found = [t.squares(block, params, data, prior) for t in total.terms if block in t.blocks]
        return sum(found[1:], found[0])

    return joined


def _joint(name: str) -> Callable[[Sum, list[Any]], Any]:
    """Join the prox of regularizers, or the projection of constraints."""

    def joined(total, inner):
        if len({t.block for t in total.terms}) > 1:
            return None
        if total.kind == "regularizer" and name == "prox":
            return joint(total.terms, ()).prox
        if total.kind == "constraint" and name == "project":
            found = joint((), total.terms).prox
            return found and (lambda v, prior: found(v, 1.0, None, prior))
        return None

    return joined


CAPABILITIES: dict[str, Capability] = {
    "quadratic": Capability(
        "function (data, prior) -> Quadratic: the term, exactly, as a function of theta",
        _times,
        _every(_plus),
    ),
    "spread": Capability(
        "function (data, prior) -> Spread: the term, exactly, as a quadratic of theta and the cost "
        "of the variances in log_variance",
        _times,
        _every(_plus),
    ),
    "absolute": Capability(
        "function (data, prior) -> weights c >= 0: the term is sum_j c_j |theta_j|",
        _times,
        _every(_plus),
    ),
    "lines": Capability(
        "function (data, prior) -> Lines: the term, at theta (groups, candidates), is a sum of "
        "weighted absolute differences between pairs of groups",
        _times,
    ),
    "price": Capability(
        "function (params, data, prior) -> prices h, which may depend on other blocks: at theta "
        "the term is sum_j h_j 1[theta_j != 0] more than at theta = 0",
        _times,
        _every(_plus),
    ),
    "squares": Capability(
        "function (block, params, data, prior) -> Squares: for the blocks in `linear` the term, "
        "up to a constant, as squares of residuals linear in that block",
        _times,
        _squares,
    ),
    "observed": Capability(
        "function (data, prior) -> Observed: the term as squares of theta beside known columns",
        _times,
    ),
    "kernel": Capability(
        "function (data, prior, rows, kind) -> Kernel: the term as strength tr(theta K^-1 theta'), "
        "with the given rows of K, all for None, of one of its kinds; K is positive definite",
        _times,
    ),
    "log_det": Capability(
        "function (data, prior) -> LogDet: the term is b (-log det theta) + tr(S theta), theta the "
        "symmetric positive definite matrix of the genes that vary",
        _times,
        _every(_plus),
    ),
    "definite": Capability(
        "True where the constraint is that theta is symmetric and positive semidefinite, which a "
        "log det meets of its own",
        joined=_all_true,
    ),
    "acyclic": Capability(
        "True where the constraint is that theta, from regulators to targets, has no directed cycle"
    ),
    "interval": Capability(
        "function (prior) -> (lower, upper): the constraint is lower <= theta <= upper",
        joined=lambda total, inner: (
            None if len({t.block for t in total.terms}) > 1 else _every(_intersection)(total, inner)
        ),
    ),
    "allows": Capability(
        "function (prior) -> mask: the constraint is theta = 0 outside the mask; it is met by "
        "deletion, before any solver is asked",
        joined=_every(lambda a, b: a & b),
    ),
    "on_prior": Capability("True where the mask lies within the prior's support", joined=_any_true),
    "budget": Capability(
        "function (prior) -> (mask, K): at most K entries within the mask are not 0, of the whole "
        "network where K is a number, of each target where it is (targets,)"
    ),
    "within": Capability("what the mask of a budget takes: all, prior or new"),
    "evidence": Capability(
        "function () -> settings: a Gaussian evidence, maximised by its own fixed point",
        lambda scaled, inner: None,
    ),
    "subsets": Capability(
        "function () -> what a subset of regulators costs, by `candidates`, `shrinkage(prior)` and "
        "`criterion(rss, shrunk, used, count)` as `unigrn.losses.SubsetBic` has them; the term is "
        "least, given the entries that are not 0, at least squares on these",
        lambda scaled, inner: None,
    ),
    "iterates": Capability(
        "`Iterates`: the loss is no cost but a map of all blocks that is applied until it comes to "
        "rest; it has no value, and nothing is minimised",
        lambda scaled, inner: None,
    ),
    "prox": Capability(
        "function (v, step, data, prior, params) -> argmin_u term(u) + |u - v|^2 / (2 step), in "
        "the block `block` and given the others",
        _shorter,
        _joint("prox"),
    ),
    "project": Capability(
        "function (v, prior) -> the nearest feasible point", joined=_joint("project")
    ),
    "lipschitz": Capability(
        "function (data, prior) -> L with |grad(u) - grad(v)| <= L |u - v|", _times, _every(_plus)
    ),
    "separable": Capability(
        "entries (a sum over entries of theta), targets (a sum over targets) or None (the targets "
        "are coupled)",
        joined=_least,
    ),
    "square": Capability(
        "True where the term takes networks of genes by genes, its regulators the targets "
        "themselves in the same order",
        joined=_any_true,
    ),
    "ordered": Capability(
        "True where places of regulators and targets mean something, as in a triangular factor: "
        "arrays come as long as the problem, without padding",
        joined=_any_true,
    ),
    "entrywise": Capability(
        "True where the term is a sum over the entries of its block", joined=_all_true
    ),
    "across": Capability(
        "True where the term sees the coefficients of all groups, theta (groups, candidates); a "
        "loss all blocks and data of all groups, groups first",
        joined=_any_true,
    ),
    "convex": Capability("True where the term is convex in theta", joined=_all_true),
    "kink": Capability(
        "True where the term has a prox, or lines, but no gradient everywhere", joined=_any_true
    ),
    "weighted": Capability("True where a loss uses data.weight", joined=_all_true),
    "noisy": Capability("True where a loss draws noise from data.key", joined=_any_true),
    "guided": Capability(
        "function (data, prior) -> {block: (block of l, c)}: the block holds means of Normal "
        "numbers and l the logarithms of their deviations; the term is a mean over these numbers "
        "less the sum of c l. Points have None for l. The objective is in nats",
        _counted,
        _guided,
    ),
    "intercept": Capability(
        "False where a quadratic loss has no intercept", joined=lambda total, inner: None
    ),
    "outcome": Capability(
        "(lowest, highest): the values of a target's expression for which a loss is defined",
        joined=_both,
    ),
    "blocks": Capability(
        "names of all parameter blocks that the term uses",
        joined=lambda total, inner: tuple(sorted({b for n in inner for b in n})),
    ),
    "block": Capability(
        "the block that prox, project and lipschitz are about", joined=lambda total, inner: inner[0]
    ),
    "axes": Capability(
        "axes of the blocks that the term brings, by name",
        joined=lambda total, inner: {k: v for n in inner for k, v in n.items()},
    ),
    "linear": Capability(
        "blocks in which the term is squares of linear residuals",
        joined=lambda total, inner: tuple(
            b for b in total.blocks if all(b in t.linear for t in total.terms if b in t.blocks)
        ),
    ),
    "double": Capability(
        "True where single precision does not do: a fit with the term is made in double",
        joined=_any_true,
    ),
    "layer": Capability("the layer of the prior that the term asks for"),
    "needs_prior": Capability(
        "True where the term means nothing without a prior", joined=_any_true
    ),
}


_C = TypeVar("_C", bound=type)


def derived(cls: _C) -> _C:
    """Give a composite the capabilities that follow from its parts by the table."""
    for name, row in CAPABILITIES.items():
        if cls.__name__ == "Scaled":
            get = lambda self, n=name, r=row: r.scaled(self, getattr(self.term, n))  # noqa: E731
        else:
            get = lambda self, n=name, r=row: r.joined(  # noqa: E731
                self, [getattr(t, n) for t in self.terms]
            )
        setattr(cls, name, property(get))
    return cls


@derived
@pytree
class Scaled(Term):
    """factor * term; every capability follows by rule."""

    factor: Array
    term: Term

    kind = property(lambda self: self.term.kind)
    formula = property(lambda self: f"{_number(self.factor)} {_bracket(self.term.formula)}")

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Multiply the value."""
        return self.factor * self.term(params, data, prior)

    def prepare(self, data: View, prior: PriorView) -> Term:
        """Prepare the term."""
        return Scaled(self.factor, self.term.prepare(data, prior))

    def compact(self) -> Term:
        """Compact the term."""
        return Scaled(self.factor, self.term.compact())

    def check(self, prior: PriorView) -> None:
        """Check the term."""
        self.term.check(prior)

    def check_extra(self, extra: dict[str, Along]) -> None:
        """Ask the term."""
        self.term.check_extra(extra)


@derived
@pytree
class Sum(Term):
    """Several terms of one kind; every capability follows by rule."""

    terms: tuple[Term, ...]

    kind = property(lambda self: self.terms[0].kind)
    formula = property(
        lambda self: (" ∩ " if self.kind == "constraint" else " + ").join(
            t.formula for t in self.terms
        )
    )

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Add the values; of constraints, take the largest violation."""
        values = [t(params, data, prior) for t in self.terms]
        return jnp.max(jnp.stack(values)) if self.kind == "constraint" else sum(values)

    def prepare(self, data: View, prior: PriorView) -> Term:
        """Prepare every summand."""
        return Sum(tuple(t.prepare(data, prior) for t in self.terms))

    def compact(self) -> Term:
        """Compact every summand."""
        return Sum(tuple(t.compact() for t in self.terms))

    def check(self, prior: PriorView) -> None:
        """Check every summand."""
        for term in self.terms:
            term.check(prior)

    def check_extra(self, extra: dict[str, Along]) -> None:
        """Ask every term."""
        for term in self.terms:
            term.check_extra(extra)


def outside(term: Term) -> bool:
    """Whether a term is not one of ours, so that what it promises is tried out."""
    inner = term.term if isinstance(term, Scaled) else term
    made = type(getattr(inner, "process", inner))
    return hasattr(inner, "function") or not made.__module__.startswith("unigrn.")


class NotANumber(TypeError):
    """What a term returns in place of a number."""


def number(value: Any) -> Array:
    """Return the value of a term, or say that it is no number."""
    if value is None:
        raise NotANumber("it returns None, and a term is one number: return its value")
    value = jnp.asarray(value)
    if value.ndim:
        raise NotANumber(
            f"it returns an array of shape {value.shape}, and a term is one number: take jnp.sum"
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise NotANumber(
            f"it returns {value.dtype}, which has no gradient, and a term is a real number"
        )
    return value


def labels(terms: tuple[Term, ...]) -> tuple[str, ...]:
    """Names of terms by which their hyperparameters are called.

    A term is called by its class, a plain function by its own name, and where several share one
    by their place among them: ``L1[1]``, ``L1[2]``.
    """
    names = [
        getattr(getattr(term, "function", None), "__name__", type(term).__name__) for term in terms
    ]
    return tuple(
        f"{name}[{names[: i + 1].count(name)}]" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    )


def of_kind(term: Term, kind: str) -> Term:
    """Return a term of the kind asked for, or say which kind it is."""
    if term.kind != kind:
        raise TypeError(
            f"a {kind} is a term or a function (params, data, prior) -> number, got a "
            f"{term.kind} ({term.formula})"
        )
    return term


def _number(value: Any) -> str:
    return "c" if isinstance(value, Tracer) else f"{float(value):g}"


def _bracket(text: str) -> str:
    return f"({text})" if " + " in text else text
