"""`unigrn.solve`: a spec solved inside JAX, with derivatives at the certified optimum.

A point z is optimal where F(z) = z - prox_{t g}(z - t grad f(z)) = 0. With J = dF/dz, the implicit
function theorem gives dz = -J^-1 (dF/da) da for everything a that the terms read: hyperparameters,
data, prior. No iteration is differentiated, so that neither memory nor the derivative depends on
how many there were.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from unigrn.check import check_number, check_whole
from unigrn.ladder import LADDER, PlanError, select
from unigrn.moments import dot as _dot
from unigrn.probes import Profile
from unigrn.solvers import batching, closed_form, gradient, optimality, proximal
from unigrn.solvers.optimality import Fit, Options
from unigrn.solvers.solver import Solver
from unigrn.spec import Shape, Slots, Spec
from unigrn.status import Status
from unigrn.terms import Array, Blocks, Moments, PriorView, View, local, parts

MOST = 4096  # unknowns of a fit whose derivatives are asked for: the system is dense
# What is done around a fit, and has no meaning inside one.
AROUND = ("scale", "stages", "over", "gauge", "columns", "minibatch", "sweeps")


def solve(
    spec: Spec,
    data: View,
    prior: PriorView | None = None,
    *,
    solver: Solver | str | None = None,
    tolerance: float | None = None,
    max_iterations: int = 5000,
) -> Fit:
    """Solve the terms of a spec on arrays, inside ``jax.jit``, ``jax.vmap`` and ``jax.grad``.

    theta = argmin loss(theta; data) + regularizer(theta; prior) subject to the constraint, for one
    target (y of shape (cells,)), for all targets of a separable spec (y (cells, targets)), or for
    the whole network of one that couples them. Hyperparameters, data and prior may be traced:
    build the spec inside the function that is transformed.

    Derivatives are those of the optimum, by implicit differentiation, not of the iterations:
    exact where the optimum moves smoothly, one of the two one-sided ones where a coefficient is
    about to enter or to leave. They are nan, and not a number that means nothing, where the status
    is not ``Status.CONVERGED`` or where the optimum is not unique.

    Parameters
    ----------
    spec
        Terms in three slots, and a start where the terms need one. What is done around a fit
        (scale, stages, over, sweeps, gauge, columns, minibatches) is refused: the arrays are taken
        as they are.
    data
        ``View(x=..., y=...)``, with ``weight`` (cells,) and ``extra`` where terms use them, or
        ``View(moments)`` for terms that moments do for.
    prior
        `PriorView` shaped like theta; None: every entry is a candidate, and nothing is known.
    solver
        One of the ladder by name, or a `Solver` of your own that maps over fits.
    tolerance
        As in `unigrn.plan`: 1e-9 in double and 1e-6 in single precision by default.
    max_iterations
        Cap of iterative solvers.

    Returns
    -------
    Fit
        ``params`` (`Blocks`; targets last), ``status`` (`unigrn.status.Status` as int32),
        ``residual``, ``iterations``, ``value`` (the objective). For all targets of a separable
        spec each has targets as its last axis. Only ``params`` and ``value`` have derivatives.

    Raises
    ------
    PlanError
        No solver of one fit takes the spec; or derivatives of more than 4,096 unknowns at once.

    References
    ----------
    Blondel et al., Efficient and modular implicit differentiation, NeurIPS 2022, arXiv:2105.15183;
    Bertrand et al., J. Mach. Learn. Res. 23 (2022) 149 (derivatives of the lasso).

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from unigrn import Spec, View, least_squares, ridge, solve
    >>> x, y = jnp.array([[-1.0], [1.0]]), jnp.array([-1.0, 1.0])
    >>> def theta(alpha):
    ...     return solve(Spec(least_squares(), ridge(alpha)), View(x=x, y=y)).params.theta[0]
    >>> print(theta(2.0), jax.grad(theta)(2.0))  # 2 / (2 + alpha) and -2 / (2 + alpha)^2
    0.5 -0.125
    """
    _check(spec, data)
    prior = _candidates(spec, data, prior)
    dtype = prior.weight.dtype
    if tolerance is None:
        tolerance = 1e-9 if dtype == jnp.float64 else 1e-6
    options = Options(
        jnp.asarray(check_number("tolerance", tolerance), dtype),
        jnp.asarray(check_whole("max_iterations", max_iterations), jnp.int32),
    )
    chosen = _chosen(spec, data, prior, solver)
    if chosen.reads == "moments":
        sums = moments(data.x, data.y, data.weight) if data.moments is None else data.moments
        data = View(sums, key=data.key, extra=data.extra)
    elif data.x is None:
        raise PlanError(f"{chosen.name} reads cells: give View(x=..., y=...), got moments only")

    def one(y: Any, prior: PriorView) -> Fit:
        if chosen.reads != "moments":
            view = data.replace(y=y)
        else:
            view = data.replace(moments=dataclasses.replace(data.moments, **y))
        return _one(chosen, spec.shape, local(spec.terms, View()), view, prior, options)

    y, axes = data.y, 1
    if chosen.reads == "moments":
        y = {name: getattr(data.moments, name) for name in ("cross", "square", "mean_y")}
        axes = {"cross": 1, "square": 0, "mean_y": 0}
    if prior.weight.ndim == 1 or not spec.separable:
        return one(y, prior)
    return jax.vmap(one, in_axes=(axes, 1), out_axes=-1)(y, prior)


def _check(spec: Any, data: Any) -> None:
    """Refuse what has no meaning for arrays as they are."""
    if not isinstance(spec, Spec):
        raise TypeError(f"solve needs a Spec, got {type(spec).__name__}")
    if not isinstance(data, View):
        raise TypeError(
            f"solve needs View(x=..., y=...), got {type(data).__name__}; unigrn.fit takes a Data"
        )
    if declared := [name for name in AROUND if getattr(spec, name)]:
        raise PlanError(
            f"solve takes arrays as they are, and {spec.name!r} declares {', '.join(declared)}: "
            "take these out by spec.replace(...), or use unigrn.fit"
        )
    if data.moments is None and (data.x is None or data.y is None):
        raise ValueError("solve needs View(x=..., y=...) or View(moments), got neither")
    if data.moments is None and jnp.shape(data.x)[:1] != jnp.shape(data.y)[:1]:
        raise ValueError(
            f"x and y have the cells as their first axis, got shapes {jnp.shape(data.x)} and "
            f"{jnp.shape(data.y)}"
        )


def _candidates(spec: Spec, data: View, prior: PriorView | None) -> PriorView:
    """Return the prior, an empty one if there is none, without what the constraint deletes."""
    if data.moments is None:
        shape, dtype = (*jnp.shape(data.x)[1:], *jnp.shape(data.y)[1:]), data.x.dtype
    else:
        shape, dtype = jnp.shape(data.moments.cross), data.moments.cross.dtype
    if prior is None:
        if needs := [t for t in spec.terms if t.needs_prior]:
            raise ValueError(
                f"the {needs[0].kind} {needs[0].formula} needs a prior: give a PriorView"
            )
        none = jnp.zeros(shape, bool)
        prior = PriorView(none, jnp.zeros(shape, dtype), none.astype(jnp.int32), none, ~none)
    if jnp.shape(prior.weight) != shape:
        raise ValueError(f"the prior is shaped like theta, {shape}, got {jnp.shape(prior.weight)}")
    if not spec.separable and len(shape) == 1:
        raise ValueError(
            f"{spec.name!r} couples the targets: give y as (cells, targets), got one target"
        )
    keep = prior.valid
    for term in parts(spec.constraint):
        if term.allows is not None:
            keep = keep & term.allows(prior)
    return dataclasses.replace(
        prior.map(lambda v: jnp.where(keep, v, jnp.zeros((), jnp.asarray(v).dtype))), valid=keep
    )


def moments(x: Array, y: Array, weight: Array | None = None) -> Moments:
    """Weighted, centred sums over the cells: x (cells, regulators), y (cells,) or more targets."""
    weight = jnp.ones(x.shape[0], x.dtype) if weight is None else weight
    assert weight is not None
    count = jnp.sum(weight)
    mean_x, mean_y = weight @ x / count, weight @ y / count
    dx, dy = x - mean_x[None], y - mean_y[None]
    wide = (dx * weight[:, None]).T
    return Moments(_dot(wide, dx), _dot(wide, dy), weight @ dy**2, count, mean_x, mean_y)


def _chosen(spec: Spec, data: View, prior: PriorView, solver: Solver | str | None) -> Solver:
    """Choose the solver by shapes alone: hyperparameters that are traced stand for any number."""

    def plain(leaf):
        return np.ones(leaf.shape, leaf.dtype) if isinstance(leaf, Tracer) else leaf

    slots = {
        s: jax.tree.map(plain, getattr(spec, s)) for s in ("loss", "regularizer", "constraint")
    }
    known = spec.replace(**slots)
    extra = jax.tree.map(lambda v: jax.ShapeDtypeStruct(jnp.shape(v), v.dtype), data.extra)
    shape = prior.weight.shape
    sizes: dict[str, int] = dict(zip(("regulators", "targets"), shape, strict=False))  # pyright: ignore
    if data.x is not None:
        sizes["cells"] = data.x.shape[0]
    with jax.ensure_compile_time_eval():
        profile = Profile(known, local(known.terms, View()), extra, sizes, data.weight is not None)
        return select(profile, solver, RUNGS).solver


def _one(
    solver: Solver, shape: Shape, terms: tuple, data: View, prior: PriorView, options: Options
) -> Fit:
    """Solve one fit, and give its parameters the derivatives of the optimum."""
    leaves, tree = jax.tree.flatten((terms, data, prior, options))
    leaves = [jnp.asarray(v) for v in leaves]
    real = [jnp.issubdtype(v.dtype, jnp.floating) for v in leaves]
    dtype = prior.weight.dtype
    leaves = [v.astype(dtype) if r else v for v, r in zip(leaves, real, strict=True)]

    def slots(leaves):
        terms, view, prior, _ = jax.tree.unflatten(tree, leaves)
        return Slots(shape, tuple(t.prepare(view, prior) for t in terms)), view, prior

    @jax.custom_jvp
    def optimum(*leaves):
        # Nothing that JAX traces may be closed over: it all comes with the leaves.
        options = jax.tree.unflatten(tree, leaves)[-1]
        return batching.certified(solver, *slots(leaves), options)

    @optimum.defjvp
    def derivative(leaves, tangents):
        fit = optimum(*leaves)
        z, unravel = ravel_pytree(fit.params)
        if z.size > MOST:
            raise PlanError(
                f"derivatives of {z.size:,} unknowns at once need a matrix of that size; at most "
                f"{MOST:,}: solve fewer regulators, or a separable spec"
            )
        length = jax.lax.stop_gradient(_length(*slots(leaves), fit.params))

        def off(z, some):
            mixed = iter(some)
            own = [next(mixed) if r else v for v, r in zip(leaves, real, strict=True)]
            return z - ravel_pytree(_moved(*slots(own), unravel(z), length))[0]

        given = [v for v, r in zip(leaves, real, strict=True) if r]
        along = [v for v, r in zip(tangents, real, strict=True) if r]
        turned = jax.jvp(lambda some: off(z, some), (given,), (along,))[1]
        matrix = jax.jacfwd(off)(z, given)
        inverse = jnp.linalg.inv(matrix)
        spread = jnp.max(jnp.sum(jnp.abs(matrix), 1)) * jnp.max(jnp.sum(jnp.abs(inverse), 1))
        known = (fit.status == Status.CONVERGED) & (spread * z.size * jnp.finfo(z.dtype).eps < 0.01)
        # A factor, and not a choice: the transpose of a choice would be 0 and not nan.
        trust = jax.lax.stop_gradient(jnp.where(known, 1, jnp.nan).astype(z.dtype))
        still = jax.tree.map(_still, fit)
        return fit, dataclasses.replace(still, params=unravel(-trust * (inverse @ turned)))

    fit = optimum(*leaves)
    own, view, prior = slots(leaves)
    value = optimality.objective(own).total(fit.params, view, prior)
    return dataclasses.replace(fit, value=value)


def _moved(terms: Slots, view: View, prior: PriorView, params: Blocks, length: Array) -> Blocks:
    """One proximal gradient step, which leaves an optimum where it is."""
    objective = optimality.objective(terms)
    slope = optimality.slope(objective, view, prior)(params)
    ahead = jax.tree.map(lambda v, g: v - length * g, params, slope)
    steps = jax.tree.map(lambda v: length, params)
    return optimality.masked(objective.prox(ahead, steps, view, prior), prior)


def _length(terms: Slots, view: View, prior: PriorView, params: Blocks) -> Array:
    """One over the curvature of the smooth part at a point, along its slope at 0."""
    slope = optimality.slope(optimality.objective(terms), view, prior)
    way = slope(jax.tree.map(jnp.zeros_like, params))
    turn = jax.jvp(slope, (params,), (way,))[1]
    steep, bend = optimality.dot(way, way), optimality.dot(turn, turn)
    some = (steep > 0) & (bend > 0)
    return jnp.where(some, jnp.sqrt(steep / jnp.where(some, bend, 1)), 1)


def _still(v: Array) -> Any:
    """Return a tangent of 0."""
    if jnp.issubdtype(v.dtype, jnp.floating):
        return jnp.zeros_like(v)
    return np.zeros(v.shape, jax.dtypes.float0)


def _exact(terms: Slots, view: View, prior: PriorView, options: Options) -> Fit:
    """Solve (s G + D + M) theta = s c + l for one fit."""
    m = view.moments
    q = terms.loss.quadratic(view, prior)
    if terms.regularizer is not None:
        q = q + terms.regularizer.quadratic(view, prior)
    both = prior.valid[:, None] & prior.valid[None, :]
    scale = jnp.zeros_like(m.count) if q.scale is None else q.scale
    matrix = scale * m.gram if q.matrix is None else scale * m.gram + q.matrix
    matrix = jnp.where(both, matrix, 0) + jnp.diag(jnp.where(prior.valid, q.diagonal, 1))
    right = scale * m.cross if q.linear is None else scale * m.cross + q.linear
    right = jnp.where(prior.valid, right, 0)
    factor = jnp.linalg.cholesky(matrix)
    theta = jax.scipy.linalg.cho_solve((factor, True), right)
    pivots, eps = jnp.diagonal(factor) ** 2, jnp.finfo(theta.dtype).eps
    regular = jnp.all(pivots > theta.size * eps * jnp.diagonal(matrix))  # nan: not regular
    apart = jnp.max(jnp.abs(matrix @ theta - right))
    size = jnp.maximum(jnp.max(jnp.abs(right)), jnp.finfo(theta.dtype).tiny)
    residual = jnp.where(regular, apart / size, jnp.inf)
    status = jnp.where(residual <= options.tolerance, Status.CONVERGED, Status.INACCURATE)
    status = jnp.where(regular, status, Status.SINGULAR).astype(jnp.int32)
    theta = jnp.where(regular, theta, 0)
    value = q.value(theta, m)
    return Fit(Blocks(theta=theta), status, residual, jnp.ones_like(status), value)


# Solvers of one fit whose answer is a point where F(z) = 0.
RUNGS = tuple(
    dataclasses.replace(rung, batch=None, solve=_exact) if rung.batch is closed_form.solve else rung
    for rung in LADDER
    if rung.batch is closed_form.solve or rung.solve in (proximal.solve, gradient.solve)
)
