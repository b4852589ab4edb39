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

Nuisance blocks have the axes of `AXES`: activities ``A`` (regulators, cells), latent factors ``U``
(factors, targets) and ``V`` (factors, regulators), one ``intercept`` a target.

Candidate lists are padded to a few fixed lengths: a padded entry has zero data, zero prior and
``theta`` 0. A term should therefore be a sum over entries, not a mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

Array = Any

AXES: dict[str, tuple[str, ...]] = {
    "theta": ("regulators", "targets"),
    "intercept": ("targets",),
    "log_variance": ("regulators", "targets"),
    "A": ("regulators", "cells"),
    "U": ("factors", "targets"),
    "V": ("factors", "regulators"),
}


def static(**kwargs: Any) -> Any:
    """Declare a dataclass field that is part of the compiled program, not an array leaf."""
    return field(metadata={"static": True}, **kwargs)


def pytree(cls: type) -> type:
    """Make ``cls`` a frozen dataclass that JAX can trace; its hyperparameters are array leaves.

    Not by ``jax.tree_util.register_dataclass``: in JAX 0.10 the structures of two dataclasses with
    like fields compare equal whatever their class, so that a compiled function could be reused for
    another term.
    """
    cls = dataclass(frozen=True)(cls)
    fields = dataclasses.fields(cls)
    leaves = tuple(f.name for f in fields if not f.metadata.get("static"))
    fixed = tuple(f.name for f in fields if f.metadata.get("static"))

    def flatten(term):
        return [getattr(term, n) for n in leaves], tuple(getattr(term, n) for n in fixed)

    def flatten_with_keys(term):
        children, aux = flatten(term)
        return [
            (jax.tree_util.GetAttrKey(n), c) for n, c in zip(leaves, children, strict=True)
        ], aux

    def unflatten(aux, children):
        term = object.__new__(cls)
        for name, value in (*zip(fixed, aux, strict=True), *zip(leaves, children, strict=True)):
            object.__setattr__(term, name, value)
        return term

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


@jax.tree_util.register_pytree_with_keys_class
class Blocks(Mapping):
    """Named parameter blocks: ``theta`` always, and the nuisance blocks a method declares.

    >>> params = Blocks(theta=[1.0, 0.0], intercept=0.5)
    >>> params.theta, sorted(params)
    ([1.0, 0.0], ['intercept', 'theta'])
    """

    def __init__(self, **blocks: Array):
        self.__dict__["_blocks"] = dict(sorted(blocks.items()))

    def __getattr__(self, name: str) -> Array:
        blocks = self.__dict__.get("_blocks", {})
        if name not in blocks:
            raise AttributeError(
                f"there is no parameter block {name!r}; the blocks are {', '.join(blocks)}"
            )
        return blocks[name]

    def __reduce__(self):
        return _blocks, (dict(self._blocks),)

    def __setattr__(self, name: str, value: Array) -> None:
        raise AttributeError("Blocks are immutable: use replace(name=value)")

    def __getitem__(self, name: str) -> Array:
        return self._blocks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def __repr__(self) -> str:
        return "Blocks(" + ", ".join(f"{k}={v!r}" for k, v in self._blocks.items()) + ")"

    def replace(self, **blocks: Array) -> Blocks:
        """Return these blocks with some of them exchanged."""
        return Blocks(**{**self._blocks, **blocks})

    def tree_flatten_with_keys(self):
        """Flatten for JAX, in the order of the names."""
        keys = tuple(self._blocks)
        return [(jax.tree_util.GetAttrKey(k), self._blocks[k]) for k in keys], keys

    @classmethod
    def tree_unflatten(cls, keys, children):
        """Rebuild from JAX's leaves."""
        return cls(**dict(zip(keys, children, strict=True)))


def _blocks(blocks: dict[str, Array]) -> Blocks:
    return Blocks(**blocks)


@pytree
class Moments:
    """Sufficient statistics of a Gaussian loss: weighted, centred sums over cells.

    With weights w, W = sum w, weighted means m_x and m_y:
    ``gram`` = sum w (x - m_x)(x - m_x)', ``cross`` = sum w (x - m_x)(y - m_y),
    ``square`` = sum w (y - m_y)^2, ``count`` = W.
    """

    gram: Array
    cross: Array
    square: Array
    count: Array
    mean_x: Array
    mean_y: Array


@pytree
class View:
    """The data as a term sees it: moments, or rows, or both; a key where noise is drawn."""

    moments: Moments | None = None
    x: Array | None = None
    y: Array | None = None
    weight: Array | None = None
    key: Array | None = None


@pytree
class PriorView:
    """The prior as a term sees it, entry by entry of ``theta``.

    ``support`` is True where the prior names the edge, ``weight`` its evidence (summed over
    layers, 0 where there is none), ``sign`` -1, 0 or +1, ``self_edge`` True where regulator and
    target are the same gene, ``valid`` False at padding, ``layers`` the evidence by source.
    """

    support: Array
    weight: Array
    sign: Array
    self_edge: Array
    valid: Array
    layers: dict[str, Array] = field(default_factory=dict)


@pytree
class Quadratic:
    """A quadratic function of ``theta``, split into what the data and the terms contribute.

    q(theta) = scale (theta' G theta - 2 c' theta + s) + sum_j diagonal_j theta_j^2
    + theta' M theta - 2 linear' theta + constant, with the moments G = ``gram``, c = ``cross``,
    s = ``square``. ``matrix`` (M) and ``linear`` are None where they vanish.
    """

    scale: Array
    diagonal: Array
    constant: Array
    linear: Array | None = None
    matrix: Array | None = None

    def __add__(self, other: Quadratic) -> Quadratic:
        def join(a, b):
            return b if a is None else a if b is None else a + b

        return Quadratic(
            *(join(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))
        )

    def times(self, factor: Array) -> Quadratic:
        """Return this quadratic multiplied by a number."""
        return jax.tree.map(lambda a: a * factor, self)

    def value(self, theta: Array, moments: Moments | None) -> Array:
        """Evaluate at ``theta``."""
        out = jnp.sum(self.diagonal * theta * theta) + self.constant
        if moments is not None:
            fit = (
                jnp.sum(theta * (moments.gram @ theta))
                - 2 * jnp.sum(moments.cross * theta)
                + jnp.sum(moments.square)
            )
            out = out + self.scale * fit
        if self.matrix is not None:
            out = out + jnp.sum(theta * (self.matrix @ theta))
        if self.linear is not None:
            out = out - 2 * jnp.sum(self.linear * theta)
        return out


@pytree
class Squares:
    """A term as squares of residuals that are linear in one block B, (k, c).

    f(B) = scale sum_rc W_rc (T_rc - (D'B)_rc)^2 + sum_k ridge_k |B_k|^2 + what has no B,
    with design D (k, r), target T (r, c) and weight W (r, c), None for 1. ``ridge`` is a number or
    (k, 1). Without a design there is only the ridge.
    """

    design: Array | None = None
    target: Array | None = None
    weight: Array | None = None
    scale: Array | float = 1.0
    ridge: Array | float = 0.0

    def times(self, factor: Array) -> Squares:
        """Return these squares multiplied by a number."""
        return Squares(
            self.design, self.target, self.weight, self.scale * factor, self.ridge * factor
        )

    def __add__(self, other: Squares) -> Squares:
        ridge = self.ridge + other.ridge
        if self.design is None or other.design is None:
            one = other if self.design is None else self
            return Squares(one.design, one.target, one.weight, one.scale, ridge)
        # Rows of both, one under the other.
        roots = [jnp.sqrt(jnp.asarray(s.scale, s.design.dtype)) for s in (self, other)]
        design, target = (
            jnp.concatenate(
                [r * getattr(s, n) for r, s in zip(roots, (self, other), strict=True)], axis=a
            )
            for n, a in (("design", 1), ("target", 0))
        )
        weight = None
        if self.weight is not None or other.weight is not None:
            weight = jnp.concatenate(
                [jnp.ones_like(s.target) if s.weight is None else s.weight for s in (self, other)]
            )
        return Squares(design, target, weight, 1.0, ridge)

    def value(self, block: Array) -> Array:
        """Evaluate at B, up to what does not depend on it."""
        out = jnp.sum(self.ridge * block**2)
        if self.design is None:
            return out
        residual = (self.target - self.design.T @ block) ** 2
        return out + self.scale * jnp.sum(
            residual if self.weight is None else self.weight * residual
        )


class Term:
    """A pure function of (params, data, prior), and what a solver may ask of it.

    Capabilities are values, or None where the term does not offer them:

    ``quadratic``  function (data, prior) -> `Quadratic`: the term, exactly, as a function of theta.
    ``absolute``   function (data, prior) -> weights c >= 0: the term is sum_j c_j |theta_j|.
    ``interval``   function (prior) -> (lower, upper): the constraint is lower <= theta <= upper.
    ``allows``     function (prior) -> mask: the constraint is theta = 0 outside the mask.
    ``price``      function (params, data, prior) -> prices h, which may depend on other blocks:
                   at theta the term is sum_j h_j 1[theta_j != 0] more than at theta = 0.
    ``budget``     function (prior) -> (mask, K): the constraint is at most K entries that are not
                   0 within the mask. ``within`` says what the mask takes, "all", "prior" or "new";
                   two budgets share no entry where one is about the prior and one about the rest.
    ``evidence``   function () -> settings: a Gaussian evidence, maximised by its own fixed point.
    ``squares``    function (block, params, data, prior) -> `Squares`: for the blocks in ``linear``
                   the term, up to a constant, as squares of residuals linear in that block.
    ``prox``       function (v, step, data, prior, params) -> argmin_u  term(u) + |u - v|^2 /
                   (2 step), in the block ``block`` and given the others.
    ``project``    function (v, prior) -> the nearest feasible point.
    ``lipschitz``  function (data, prior) -> a bound L with |grad(u) - grad(v)| <= L |u - v|.
    ``separable``  "entries" (a sum over entries of theta), "targets" (a sum over targets) or None
                   (the targets are coupled).
    ``bijector``   function (z, prior) -> theta: a smooth map from all of R^k onto the interior of
                   the feasible set.
    ``convex``     True where the term is convex in theta.
    ``weighted``   True where a loss uses ``data.weight``.
    ``noisy``      True where a loss draws noise from ``data.key``.

    ``blocks`` names every parameter block that the term uses, ``block`` the one that ``prox``,
    ``project`` and ``lipschitz`` are about. ``needs_prior`` is True for a term that means nothing
    without a prior. ``prepare(data, prior)`` returns the term with what no parameter changes
    worked out once.
    """

    kind: ClassVar[str] = "term"
    __array_ufunc__ = None  # an array on the left leaves the product to this class
    blocks: tuple[str, ...] = ("theta",)
    block: str = "theta"
    linear: tuple[str, ...] = ()
    quadratic = None
    absolute = None
    price = None
    budget = None
    squares = None
    interval = None
    allows = None
    evidence = None
    prox = None
    project = None
    lipschitz = None
    bijector = None
    separable: ClassVar[str | None] = None
    convex: ClassVar[bool | None] = None
    weighted: ClassVar[bool | None] = None
    noisy: ClassVar[bool | None] = None
    needs_prior: ClassVar[bool] = False

    @property
    def kink(self) -> bool:
        """True where the term has a prox but no gradient everywhere."""
        return self.prox is not None and self.quadratic is None

    def prepare(self, data: View, prior: PriorView) -> Term:
        """Return the term with what no parameter changes worked out."""
        return self

    def check(self, prior: PriorView) -> None:
        """Raise ValueError where the prior does not suit the term; called on the host."""

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate the term."""
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


def capabilities() -> tuple[str, ...]:
    """Names of everything a term may offer."""
    return (
        "quadratic",
        "absolute",
        "price",
        "interval",
        "allows",
        "budget",
        "evidence",
        "squares",
        "prox",
        "project",
        "lipschitz",
        "separable",
        "bijector",
        "convex",
        "weighted",
        "noisy",
    )


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
    if not isinstance(factor, jax.core.Tracer):
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


def _all(values: list) -> bool:
    return all(v is not None for v in values)


@pytree
class Scaled(Term):
    """factor * term; every capability follows by rule."""

    factor: Array
    term: Term

    kind = property(lambda self: self.term.kind)
    blocks = property(lambda self: self.term.blocks)
    separable = property(lambda self: self.term.separable)
    convex = property(lambda self: self.term.convex)
    weighted = property(lambda self: self.term.weighted)
    noisy = property(lambda self: self.term.noisy)
    block = property(lambda self: self.term.block)
    linear = property(lambda self: self.term.linear)
    kink = property(lambda self: self.term.kink)
    needs_prior = property(lambda self: self.term.needs_prior)
    layer = property(lambda self: getattr(self.term, "layer", None))
    formula = property(lambda self: f"{_number(self.factor)} {_bracket(self.term.formula)}")

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Multiply the value."""
        return self.factor * self.term(params, data, prior)

    @property
    def quadratic(self):
        """Scale every part of the quadratic."""
        inner = self.term.quadratic
        return inner and (lambda data, prior: inner(data, prior).times(self.factor))

    @property
    def absolute(self):
        """Scale the weights of |theta|."""
        inner = self.term.absolute
        return inner and (lambda data, prior: self.factor * inner(data, prior))

    def prepare(self, data: View, prior: PriorView) -> Term:
        """Prepare the term."""
        return Scaled(self.factor, self.term.prepare(data, prior))

    def check(self, prior: PriorView) -> None:
        """Check the term."""
        self.term.check(prior)

    @property
    def price(self):
        """Scale the prices."""
        inner = self.term.price
        return inner and (lambda params, data, prior: self.factor * inner(params, data, prior))

    @property
    def squares(self):
        """Scale the squares."""
        inner = self.term.squares
        return inner and (
            lambda block, params, data, prior: inner(block, params, data, prior).times(self.factor)
        )

    @property
    def prox(self):
        """prox_{t (c f)} = prox_{(t c) f}."""
        inner = self.term.prox
        return inner and (
            lambda v, step, data, prior, params=None: inner(
                v, step * self.factor, data, prior, params
            )
        )

    @property
    def lipschitz(self):
        """The constant scales with the term."""
        inner = self.term.lipschitz
        return inner and (lambda data, prior: self.factor * inner(data, prior))


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

    @property
    def blocks(self):
        """Every block that a summand uses."""
        return tuple(sorted({b for t in self.terms for b in t.blocks}))

    @property
    def separable(self):
        """As separable as the least separable summand."""
        kinds = [t.separable for t in self.terms]
        return None if None in kinds else "targets" if "targets" in kinds else "entries"

    @property
    def convex(self):
        """Convex where every summand is."""
        return True if all(t.convex for t in self.terms) else None

    @property
    def weighted(self):
        """Uses the weights where every summand does."""
        return True if all(t.weighted for t in self.terms) else None

    @property
    def noisy(self):
        """Draws noise where any summand does."""
        return True if any(t.noisy for t in self.terms) else None

    @property
    def linear(self):
        """Blocks in which every summand that uses them is linear."""
        return tuple(
            b for b in self.blocks if all(b in t.linear for t in self.terms if b in t.blocks)
        )

    @property
    def squares(self):
        """Squares add."""
        if not self.linear:
            return None

        def joined(block, params, data, prior):
            own = [t.squares(block, params, data, prior) for t in self.terms if block in t.blocks]
            return sum(own[1:], own[0])

        return joined

    @property
    def price(self):
        """Prices add."""
        inner = [t.price for t in self.terms]
        if not _all(inner):
            return None
        return lambda params, data, prior: sum(f(params, data, prior) for f in inner)

    def prepare(self, data: View, prior: PriorView) -> Term:
        """Prepare every summand."""
        return Sum(tuple(t.prepare(data, prior) for t in self.terms))

    def check(self, prior: PriorView) -> None:
        """Check every summand."""
        for term in self.terms:
            term.check(prior)

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Add the values; of constraints, take the largest violation."""
        values = [t(params, data, prior) for t in self.terms]
        return jnp.max(jnp.stack(values)) if self.kind == "constraint" else sum(values)

    @property
    def quadratic(self):
        """Quadratics add."""
        inner = [t.quadratic for t in self.terms]
        if not _all(inner):
            return None

        def total(data, prior):
            out = inner[0](data, prior)
            for q in inner[1:]:
                out = out + q(data, prior)
            return out

        return total

    @property
    def absolute(self):
        """Weights of |theta| add."""
        inner = [t.absolute for t in self.terms]
        return (lambda data, prior: sum(f(data, prior) for f in inner)) if _all(inner) else None

    @property
    def prox(self):
        """Diagonal quadratics and weights of |theta| have a joint prox; other sums have none."""
        if self.kind != "regularizer":
            return None
        return joint_prox(self.terms)

    @property
    def interval(self):
        """Intervals intersect."""
        inner = [t.interval for t in self.terms]
        if not _all(inner):
            return None

        def bounds(prior):
            low, high = inner[0](prior)
            for f in inner[1:]:
                lo, hi = f(prior)
                low, high = jnp.maximum(low, lo), jnp.minimum(high, hi)
            return low, high

        return bounds

    @property
    def allows(self):
        """Masks intersect."""
        inner = [t.allows for t in self.terms]

        def mask(prior):
            out = inner[0](prior)
            for f in inner[1:]:
                out = out & f(prior)
            return out

        return mask if _all(inner) else None

    @property
    def project(self):
        """Intersected intervals are clipped to; budgets on other entries join them."""
        return joint_project(self.terms)

    @property
    def bijector(self):
        """Follows from the interval."""
        return interval_bijector(self.interval)

    @property
    def lipschitz(self):
        """Constants add."""
        inner = [t.lipschitz for t in self.terms]
        return (lambda data, prior: sum(f(data, prior) for f in inner)) if _all(inner) else None


def joint_project(terms: tuple[Term, ...]):
    """Return the projection onto an intersection of intervals and budgets, or None.

    An entry that is kept goes to clip(v), one that is not to 0, which every interval must hold:
    keeping it lowers the squared distance by v^2 - (v - clip(v))^2, so a budget of K keeps the K
    largest of these. Exact where no entry falls under two budgets. A single term brings its own.
    """
    if len(terms) == 1:
        return terms[0].project
    budgets = tuple(t for t in terms if t.budget is not None)
    inner = tuple(t for t in terms if t.budget is None)
    where = [t.within for t in budgets]
    if (
        any(t.interval is None for t in inner)
        or (len(where) > 1 and "all" in where)
        or len(set(where)) < len(where)
    ):
        return None

    def project(v, prior):
        kept = v
        for t in inner:
            kept = jnp.clip(kept, *t.interval(prior))
        return spend(v, kept, [t.budget(prior) for t in budgets])

    return project


def spend(v: Array, kept: Array, budgets: list[tuple[Array, Array]]) -> Array:
    """Put to 0 all but the K entries of each mask whose loss would cost most; see `budget`."""
    gain = kept * (2 * v - kept)  # = v^2 - (v - kept)^2, without cancellation
    for mask, count in budgets:
        chosen = largest(jnp.where(mask, gain, 0), count)
        kept = jnp.where(mask & jnp.logical_not(chosen), 0, kept)
    return kept


def largest(size: Array, count: Array) -> Array:
    """Return a mask of the ``count`` largest entries of sizes >= 0; of ties, the first.

    The threshold is found by bisection over the bit patterns of the floats, which order as they
    do: one pass over the entries a bit, no sort. Entries of size 0 are never chosen.
    """
    bits = jnp.finfo(size.dtype).bits
    whole = {32: jnp.int32, 64: jnp.int64}[bits]
    # Behind a barrier: worked out anew for each use, the sizes could be rounded differently.
    code = jax.lax.optimization_barrier(jax.lax.bitcast_convert_type(jnp.maximum(size, 0), whole))
    count = jnp.asarray(count).astype(jnp.int32)

    def narrow(_, between):
        # At most `count` entries lie above `high`, more than that above `low` (or low is 0).
        low, high = between
        middle = low + (high - low) // 2
        few = jnp.sum(code > middle, dtype=jnp.int32) <= count
        return jnp.where(few, low, middle), jnp.where(few, middle, high)

    top = jnp.max(code, initial=0)
    zero = jnp.zeros((), whole)
    _, threshold = jax.lax.fori_loop(0, bits, narrow, (zero, top))
    above = code > threshold
    tied = (code == threshold) & (code > 0)
    left = count - jnp.sum(above, dtype=jnp.int32)
    place = jnp.cumsum(tied.reshape(-1), dtype=jnp.int32).reshape(tied.shape)
    # Counted once more: whatever rounding did to the sizes above, no more than `count` are taken.
    rank = jnp.cumsum((above | (tied & (place <= left))).reshape(-1), dtype=jnp.int32)
    new = rank > jnp.concatenate([jnp.zeros((1,), jnp.int32), rank[:-1]])
    return (new & (rank <= count)).reshape(size.shape)


def soft_threshold(v: Array, amount: Array) -> Array:
    """sign(v) max(|v| - amount, 0): the prox of amount |theta|."""
    return jnp.sign(v) * jnp.maximum(jnp.abs(v) - amount, 0)


def hard_threshold(v: Array, step: Array, price: Array) -> Array:
    """Return v where |v| > sqrt(2 step price), else 0: the prox of price 1[u != 0].

    The tie goes to 0. At a price below 0 every v but 0 is kept; at v = 0 the minimum is then not
    attained, because any small u is better than 0.
    """
    return jnp.where(jnp.abs(v) > jnp.sqrt(2 * step * jnp.maximum(price, 0)), v, 0)


def joint_prox(terms: tuple[Term, ...]):
    """Return the prox of a sum of regularizers, or None where no rule gives it.

    For sum_j c_j |u_j| + d_j u_j^2 - 2 l_j u_j it is soft(v + 2 t l, t c) / (1 + 2 t d); a price h
    on u_j != 0 keeps this only where it is better than 0 by more than h. A single term brings its
    own.
    """
    if len(terms) == 1:
        return terms[0].prox
    priced = tuple(t for t in terms if t.price is not None)
    absolute = tuple(t for t in terms if t.absolute is not None)
    quadratic = tuple(t for t in terms if t.quadratic is not None)
    known = [
        t.price is not None or t.absolute is not None or t.quadratic is not None for t in terms
    ]
    # A price given the other blocks is a sum over entries whatever couples those.
    if not all(known) or any(t.separable != "entries" for t in absolute + quadratic):
        return None
    if len(priced) == len(terms):
        return lambda v, step, data, prior, params=None: hard_threshold(
            v, step, sum(t.price(params, data, prior) for t in priced)
        )

    def prox(v, step, data, prior, params=None):
        amount = sum((t.absolute(data, prior) for t in absolute), jnp.zeros_like(v))
        shrink, shift = jnp.zeros_like(v), jnp.zeros_like(v)
        for t in quadratic:
            q = t.quadratic(data, prior)
            shrink = shrink + q.diagonal
            shift = shift if q.linear is None else shift + q.linear
        best = soft_threshold(v + 2 * step * shift, step * amount) / (1 + 2 * step * shrink)
        if not priced:
            return best
        price = sum(t.price(params, data, prior) for t in priced)
        cost = (
            amount * jnp.abs(best)
            + shrink * best**2
            - 2 * shift * best
            + (best**2 - 2 * best * v) / (2 * step)
        )
        return jnp.where(-cost > price, best, 0)

    return prox


def interval_bijector(interval):
    """Return a smooth map from R^k onto the interior of an interval, entry by entry."""
    if interval is None:
        return None

    def forward(z, prior):
        low, high = (jnp.broadcast_to(b, z.shape).astype(z.dtype) for b in interval(prior))
        below, above = jnp.isfinite(low), jnp.isfinite(high)
        lo, hi = jnp.where(below, low, 0), jnp.where(above, high, 0)
        both = lo + (hi - lo) * jax.nn.sigmoid(z)
        return jnp.where(
            below & above,
            both,
            jnp.where(below, lo + jax.nn.softplus(z), jnp.where(above, hi - jax.nn.softplus(z), z)),
        )

    return forward


def _number(value: Any) -> str:
    return "c" if isinstance(value, jax.core.Tracer) else f"{float(value):g}"


def _bracket(text: str) -> str:
    return f"({text})" if " + " in text else text
