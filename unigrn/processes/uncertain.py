"""Independent random numbers, and what sums and products of them have for mean and variance.

A declared process is evaluated at numbers, or at the means and variances of a mean-field guide: the
same lines serve both. Where every operation has closed moments an expected log density needs no
draws; where one has not, `NoMoments` says which.

For independent a and b:  E ab = E a E b,  Var ab = Var a Var b + Var a (E b)^2 + (E a)^2 Var b, and
entry by entry for the sums of a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.terms import Array

SMALL = 1000  # entries: more take the nodes of a quadrature one after the other
NODES = 24  # of the quadrature of a function of one Normal number
LOG_2PI = float(np.log(2 * np.pi))


class NoMoments(ValueError):
    """The moments of an expression are not closed: it can be drawn only."""


class Uncertain:
    """Random numbers known by their means and variances.

    An operation without closed moments gives an `Unknown`, which raises `NoMoments` when a density
    asks for them: other sites keep their closed forms.

    ``names`` are the sites that they depend on; ``apart`` is True where the entries are independent
    of each other.
    """

    __array_ufunc__ = None
    __array_priority__ = 1000
    factors: tuple[Any, Any] | None = None  # of a product, entry by entry

    def __init__(self, mean: Array, variance: Array, names: frozenset[str], apart: bool):
        self._mean, self._variance, self.names, self.apart = mean, variance, names, apart

    mean = property(lambda self: self._mean)
    variance = property(lambda self: self._variance)
    shape = property(lambda self: jnp.shape(self.mean))
    ndim = property(lambda self: len(self.shape))
    T = property(lambda self: Uncertain(self.mean.T, self.variance.T, self.names, self.apart))

    def __getitem__(self, at: Any) -> Uncertain:
        return Uncertain(self.mean[at], self.variance[at], self.names, self.apart and _once(at))

    def __add__(self, other: Any) -> Uncertain:
        if (unknown := _unknown("a sum", self, other)) is not None:
            return unknown
        mean, variance = moments(other)
        return Uncertain(
            self.mean + mean, self.variance + variance, _names(self, other), _apart(self, other)
        )

    def __mul__(self, other: Any) -> Uncertain:
        if (unknown := _unknown("a product", self, other)) is not None:
            return unknown
        (mean, variance), own = moments(other), self.variance
        spread = own * mean**2 + variance * (own + self.mean**2)
        out = Uncertain(self.mean * mean, spread, _names(self, other), _apart(self, other))
        out.factors = (self, other)
        return out

    def __matmul__(self, other: Any) -> Uncertain:
        return _matmul(self, other)

    def __rmatmul__(self, other: Any) -> Uncertain:
        return _matmul(other, self)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def _compared(self, other: Any) -> Uncertain:
        return Unknown("a comparison", _names(self, other))

    __eq__: Any = _compared
    __ne__: Any = _compared
    __lt__ = __le__ = __gt__ = __ge__ = _compared
    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise NoMoments(f"{named(self.names)} is neither true nor false: use draws")

    def __neg__(self) -> Uncertain:
        return self * -1.0

    def __sub__(self, other: Any) -> Uncertain:
        return self + (-other)

    def __rsub__(self, other: Any) -> Uncertain:
        return -self + other

    def __truediv__(self, other: Any) -> Uncertain:
        if isinstance(other, Uncertain):
            return Unknown("a ratio", _names(self, other))
        return self * (1 / other)

    def __rtruediv__(self, other: Any) -> Uncertain:
        return Unknown("a ratio", self.names)

    __radd__, __rmul__ = __add__, __mul__


FUNCTIONS = {"normal": lambda u: u, "exp": jnp.exp, "unit": jax.nn.sigmoid}


class Latent(Uncertain):
    """A function f(u), entry by entry, of u ~ N(loc, sd^2).

    ``kind`` is "normal" (u), "exp" (e^u), both with closed moments, "unit" (1 / (1 + e^-u)) or
    "other": a quadrature.
    """

    def __init__(
        self,
        loc: Array,
        sd: Array,
        name: str,
        kind: str = "normal",
        function: Callable[[Array], Array] | None = None,
    ):
        self.loc, self.sd, self.kind = loc, sd, kind
        self.function = function or FUNCTIONS[kind]
        self.names, self.apart = frozenset({name}), True

    name = property(lambda self: next(iter(self.names)))

    @property
    def mean(self) -> Array:
        """E f(u)."""
        if self.kind == "normal":
            return self.loc
        if self.kind == "exp":
            return jnp.exp(self.loc + 0.5 * self.sd**2)
        return self.expect(lambda f: f)

    @property
    def variance(self) -> Array:
        """Var f(u)."""
        if self.kind == "normal":
            return self.sd**2
        if self.kind == "exp":
            return jnp.exp(2 * self.loc + self.sd**2) * jnp.expm1(self.sd**2)
        mean = self.mean
        return self.expect(lambda f, m: (f - m) ** 2, mean)

    def expect(self, function: Callable[..., Array], *given: Array, plain: bool = False) -> Array:
        """E g(f(u)) by Gauss-Hermite quadrature; E g(u) where ``plain``."""
        own = FUNCTIONS["normal"] if plain else self.function
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        weights = weights / weights.sum()

        @jax.checkpoint  # recomputed for the slope: otherwise every node is kept
        def at(loc, sd, node, weight, *given):
            return weight * function(own(loc + sd * node), *given)

        loc, sd, *rest = jnp.broadcast_arrays(self.loc, self.sd, *given)
        rule = [jnp.asarray(v, loc.dtype) for v in (nodes, weights)]

        if loc.size <= SMALL:  # all nodes at once
            ends = [v[None] for v in (loc, sd)]
            rule = [v.reshape(-1, *(1,) * loc.ndim) for v in rule]
            return jnp.sum(at(*ends, *rule, *(v[None] for v in rest)), axis=0)

        def step(total, rule):
            return total + at(loc, sd, *rule, *rest), None

        return jax.lax.scan(step, jnp.zeros_like(loc), tuple(rule))[0]

    def through(self, function: Callable[[Array], Array], kind: str = "") -> Latent:
        """Return a function of this."""
        own = self.function
        if kind:
            return Latent(self.loc, self.sd, self.name, kind)
        return Latent(self.loc, self.sd, self.name, "other", lambda u: function(own(u)))

    def __getitem__(self, at: Any) -> Latent:
        out = Latent(self.loc[at], self.sd[at], self.name, self.kind, self.function)
        out.apart = self.apart and _once(at)
        return out

    def __pow__(self, power: float) -> Latent:
        if self.kind == "exp":
            return Latent(self.loc * power, self.sd * abs(power), self.name, "exp")
        return self.through(lambda f: f**power)

    @property
    def T(self) -> Latent:
        """The transpose."""
        return Latent(self.loc.T, self.sd.T, self.name, self.kind, self.function)

    def __add__(self, other: Any) -> Uncertain:
        if isinstance(other, Uncertain) or _wider(self, other):
            return super().__add__(other)
        if self.kind == "normal":
            return Latent(self.loc + other, self.sd, self.name)
        if jnp.ndim(other):
            return super().__add__(other)
        return self.through(lambda f: f + other)

    def __mul__(self, other: Any) -> Uncertain:
        if isinstance(other, Uncertain) or _wider(self, other):
            return super().__mul__(other)
        if self.kind == "normal":
            return Latent(self.loc * other, self.sd * jnp.abs(other), self.name)
        if jnp.ndim(other):
            return super().__mul__(other)
        return self.through(lambda f: f * other)

    __radd__, __rmul__ = __add__, __mul__


class Either(Uncertain):
    """One value where a mask is true, another elsewhere; see `where`."""

    def __init__(self, mask: Array, first: Any, second: Any):
        self.mask, self.first, self.second = mask, first, second
        apart = _apart(first, second) and not any(
            _wider(side, mask) for side in (first, second) if isinstance(side, Uncertain)
        )
        self.names, self.apart = _names(first, second), apart

    mean = property(lambda self: self.each(mean))
    variance = property(lambda self: self.each(lambda value: moments(value)[1]))

    def each(self, function: Callable[[Any], Array]) -> Array:
        """Return what a function gives of either, where it counts."""
        return jnp.where(self.mask, function(self.first), function(self.second))


class Unknown(Uncertain):
    """The result of an operation whose moments are not closed."""

    def __init__(self, what: str, names: frozenset[str]):
        self.what, self.names, self.apart = what, names, False

    def _raise(self):
        raise NoMoments(f"{self.what} of expressions in {named(self.names)} has no closed moments")

    mean = property(_raise)
    variance = property(_raise)
    T = property(lambda self: self)
    __bool__ = _raise

    def __getitem__(self, at: Any) -> Uncertain:
        return self


def named(names: frozenset[str]) -> str:
    """Return names of sites as text."""
    return " and ".join(sorted(names))


def moments(value: Any) -> tuple[Array, Array]:
    """Return mean and variance; that of a number is 0."""
    if isinstance(value, Uncertain):
        return value.mean, value.variance
    return value, 0.0


def _names(a: Any, b: Any) -> frozenset[str]:
    return getattr(a, "names", frozenset()) | getattr(b, "names", frozenset())


def _unknown(what: str, a: Any, b: Any, product: bool = False) -> Unknown | None:
    """Return what comes of operands that depend on each other, or None where they do not."""
    sides = [s for s in (a, b) if isinstance(s, Uncertain)]
    for side in sides:
        if isinstance(side, Unknown):
            return Unknown(side.what, _names(a, b))
    if len(sides) == 2 and sides[0].names & sides[1].names:
        return Unknown(f"{what} of two", _names(a, b))
    if product and not all(side.apart for side in sides):
        return Unknown(what, _names(a, b))
    return None


def _once(at: Any) -> bool:
    """Whether an index takes no entry twice."""
    parts = at if isinstance(at, tuple) else (at,)
    return all(part is None or isinstance(part, int | slice | type(...)) for part in parts)


def _wider(a: Uncertain, b: Any) -> bool:
    """Whether an operation with b repeats entries of a."""
    other = b.shape if isinstance(b, Uncertain) else jnp.shape(b)
    return np.broadcast_shapes(a.shape, other) != a.shape


def _apart(a: Uncertain, b: Any) -> bool:
    """Whether the entries of a sum or product are independent: none is used twice."""
    return all(
        s.apart and not _wider(s, o) for s, o in ((a, b), (b, a)) if isinstance(s, Uncertain)
    )


def _matmul(a: Any, b: Any) -> Uncertain:
    if (unknown := _unknown("a matrix product", a, b, product=True)) is not None:
        return unknown
    (mean, spread), (other, more) = moments(a), moments(b)
    variance = 0
    if isinstance(a, Uncertain):
        variance = spread @ (more + other**2)
    if isinstance(b, Uncertain):
        variance = variance + mean**2 @ more
    return Uncertain(mean @ other, variance, _names(a, b), False)


# ------------------------------------------------------------------ functions of a process


def exp(value: Any) -> Any:
    """e^x of numbers, or of a Normal latent."""
    return apply(jnp.exp, value, "exp")


# What joins or moves entries: a function of these is not one entry by entry.
JOINING = (
    "reduce",
    "cum",
    "sort",
    "dot",
    "gather",
    "scatter",
    "rev",
    "transpose",
    "reshape",
    "conv_general",
)


def primitives(function: Callable[..., Any], *at: Any) -> tuple[list[str], set]:
    """Return the names of what a function does to arrays, and the shapes of what it gives."""
    program = jax.make_jaxpr(function)(*at)

    def names(jaxpr):
        for step in jaxpr.eqns:
            inner = [v for v in step.params.values() if hasattr(v, "eqns") or hasattr(v, "jaxpr")]
            for part in inner:
                yield from names(getattr(part, "jaxpr", part))
            yield step.primitive.name

    return list(names(program.jaxpr)), {v.aval.shape for v in program.jaxpr.outvars}


def _entry_by_entry(function: Callable[[Array], Array], value: Latent) -> None:
    """Raise `NoMoments` where a function takes entries together."""
    at = jax.ShapeDtypeStruct(jnp.shape(value.loc), jnp.result_type(value.loc))
    done, shapes = primitives(function, at)
    joined = [n for n in done if n.startswith(JOINING)]
    if joined or shapes != {at.shape}:
        raise NoMoments(
            f"a function of {value.name} that is not entry by entry ({(*joined, 'its shape')[0]}) "
            "has no closed moments"
        )


def sigmoid(value: Any) -> Any:
    """1 / (1 + e^-x) of numbers, or of a latent."""
    return apply(jax.nn.sigmoid, value, "unit")


def apply(function: Callable[[Array], Array], value: Any, kind: str = "") -> Any:
    """Return a smooth function, entry by entry, of numbers or of a latent.

    A quadrature of 24 nodes stands for its mean: a step, or a wave shorter than the spread of the
    latent, it does not see.
    """
    if isinstance(value, Latent):
        if not kind:
            _entry_by_entry(function, value)
        return value.through(function, kind if value.kind == "normal" else "")
    return Unknown("a function", value.names) if isinstance(value, Uncertain) else function(value)


def where(mask: Array, first: Any, second: Any) -> Any:
    """Return one value where ``mask`` is true and another elsewhere, of numbers or latents."""
    if isinstance(first, Uncertain) or isinstance(second, Uncertain):
        return Either(mask, first, second)
    return jnp.where(mask, first, second)


def mean(value: Any) -> Array:
    """E x."""
    return value.mean if isinstance(value, Uncertain) else value


def log(value: Any) -> Array:
    """E log x."""
    if isinstance(value, Either):
        return value.each(log)
    if not isinstance(value, Uncertain):
        return jnp.log(value)
    if not isinstance(value, Latent):
        raise NoMoments(
            f"the logarithm of an expression in {named(value.names)} has no closed mean"
        )
    if value.kind == "exp":
        return value.loc
    if value.kind == "unit":
        return value.expect(jax.nn.log_sigmoid, plain=True)
    return value.expect(jnp.log)


def precision(value: Any) -> Array:
    """E x^-2."""
    if isinstance(value, Either):
        return value.each(precision)
    if not isinstance(value, Uncertain):
        return value**-2
    if not isinstance(value, Latent):
        raise NoMoments(f"x^-2 of an expression in {named(value.names)} has no closed mean")
    if value.kind == "exp":
        return jnp.exp(-2 * value.loc + 2 * value.sd**2)
    return value.expect(lambda f: f**-2)


def independent(a: Any, *others: Any) -> None:
    """Raise `NoMoments` where a depends on a site that one of the others depends on too."""
    for other in others:
        if isinstance(a, Uncertain) and isinstance(other, Uncertain) and a.names & other.names:
            raise NoMoments(
                f"a density in {named(a.names | other.names)}, whose parameters depend on each "
                "other, has no closed mean"
            )


def distance(a: Any, b: Any) -> Array:
    """E (a - b)^2 of independent a and b."""
    if (unknown := _unknown("a distance", a, b)) is not None:
        return unknown.mean
    (first, spread), (second, more) = moments(a), moments(b)
    return (first - second) ** 2 + spread + more
