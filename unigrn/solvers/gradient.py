"""L-BFGS with backtracking, for any differentiable objective.

One evaluation an iteration: a step that does not lower the objective enough is shortened and tried
again, so that a batch of fits moves in step. The steps are accepted by Armijo's rule or, where
rounding hides the decrease, by its form in the slopes.

Where blocks m are the means of Normal numbers u and blocks l the logarithms of their deviations
(the capability ``guided``), the objective is F = E f(u) - c l, and the slopes in l are curvatures
in m (Price's theorem)::

    d^2 F / dm^2 = (c + dF / dl) / s^2,   s = e^l,        d^2 F / dl^2 = 2 c where dF / dl = 0.

Where such blocks are points and have no l, or a problem has further blocks than coefficients and
intercepts, curvatures h are the diagonal of the Hessian, as `unigrn.solvers.levels`
estimates it every PERIOD steps.

The diagonal of the inverse of these, signs aside, stands for the first inverse Hessian of every
step, scaled by the newest pair; no entry moves further than BOUND at once. Without it steps of
activities, edges and spreads, whose curvatures differ by many powers of 10, share one length.

They are the measure of such entries, too: the residual is how much F would fall by moving one entry
alone to where its slope d ends by its curvature h, d^2 / 2h, in nats; a mean is then sqrt(2 nats)
of its deviations from there. That needs no gradient elsewhere to compare with, which in a factor
model is that of the noise, and so large that relative to it any spread would pass. Entries that
move together are further off: of PMF-GRN tenths of a deviation at 1e-6 nats, hundredths at 1e-9.
Blocks without a guide are judged by the relative slope, and where there are several that of
slopes over h^(1/2), too, in which units of blocks have no say.
Sources: Liu and Nocedal, Math. Program. 45 (1989) 503, doi:10.1007/BF01589116; Hager and Zhang,
SIAM J. Optim. 16 (2005) 170, doi:10.1137/030601880; Price, IRE Trans. Inf. Theory 4 (1958) 69,
doi:10.1109/TIT.1958.1057444; Khan and Rue, J. Mach. Learn. Res. 24 (2023) 281, arXiv:2107.04562
(slopes of a Normal guide as curvatures).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from unigrn.solvers import levels, optimality
from unigrn.solvers.optimality import Fit, Options
from unigrn.status import Status
from unigrn.terms import Array, Blocks, PriorView, View

MEMORY = 10  # pairs of steps and turns that are kept
PATIENCE = 200  # steps that lower neither the objective nor the slopes, before rounding is blamed
LONG = 1000  # the same of guided entries, whose nats fall where the objective shows rounding only
LEAST = 0.3  # of the curvature c / s^2 of a settled entry, that of a flat or bent one counts as
PERIOD = 50  # steps between estimates of curvatures
BOUND = (3.0, 1.0, 0.5)  # of a step: in deviations, in a mean if that is more; in their logarithms

Guided = dict[str, tuple[str | None, Array]]


def guides(terms: Any, view: View, prior: PriorView) -> Guided:
    """Return block of log deviations, if any, and how much entropy counts, by block of means."""
    found = [t.guided(view, prior) for t in terms.terms if t.guided is not None]
    return {mean: pair for own in found for mean, pair in own.items()}


def curvatures(guided: Guided, params: Blocks, slopes: Blocks, probed: Blocks) -> Blocks:
    """Return the curvature of every entry by slopes in log deviations, else as probed."""
    out = dict(probed)
    for mean, (log_sd, count) in guided.items():
        if log_sd is None:
            continue
        settled = jnp.where(count > 0, count, 1)
        bend = jnp.maximum(jnp.abs(count + slopes[log_sd]), LEAST * settled)
        out[mean] = bend * jnp.exp(-2 * params[log_sd])
        out[log_sd] = 2 * jnp.maximum(bend, settled)
    return Blocks(**out)


def judged(guided: Guided) -> list[str]:
    """Return the names of the blocks of a guide."""
    return sorted({n for mean, (log_sd, _) in guided.items() for n in (mean, log_sd) if n})


def nats(guided: Guided, slopes: Blocks, bend: Blocks) -> Array:
    """Return the most that the objective would fall by moving one guided entry alone."""
    own = [(slopes[n], jnp.where(bend[n] > 0, bend[n], 1)) for n in judged(guided)]
    return optimality.largest([slope**2 / (2 * h) for slope, h in own])


def unguided(guided: Guided, slopes: Blocks) -> Blocks:
    """Put the slopes of guided blocks to 0."""
    return slopes.replace(**{n: jnp.zeros_like(slopes[n]) for n in judged(guided)})


def bounds(guided: Guided, params: Blocks, probed: Blocks) -> Blocks:
    """Return how far every entry may move in one step."""
    out = {name: jnp.full_like(v, jnp.inf) for name, v in params.items()}
    sds, least, logs = BOUND
    for mean, (log_sd, _) in guided.items():
        if log_sd is None:
            own = jnp.where(probed[mean] > 0, probed[mean], 1) ** -0.5
        else:
            own = jnp.exp(params[log_sd])
            out[log_sd] = jnp.full_like(own, logs)
        out[mean] = jnp.maximum(sds * own, least)
    return Blocks(**out)


def direction(
    g: Array, moves: Array, turns: Array, weight: Array, inverse: Array | None = None
) -> Array:
    """Return -H g by the two-loop recursion; row i of the memory counts where weight_i > 0.

    ``inverse`` is the diagonal that H is of no pairs, 1 where it is None.
    """
    rows = range(MEMORY)  # oldest first
    shares = [jnp.zeros(())] * MEMORY
    out = g
    for i in reversed(rows):
        shares[i] = weight[i] * jnp.sum(moves[i] * out)
        out = out - shares[i] * turns[i]
    newest = jnp.sum(turns[-1] ** 2 if inverse is None else inverse * turns[-1] ** 2)
    out = out if inverse is None else inverse * out
    out = out * jnp.where(weight[-1] > 0, 1 / jnp.maximum(weight[-1] * newest, 1e-37), 1)
    for i in rows:
        out = out + (shares[i] - weight[i] * jnp.sum(turns[i] * out)) * moves[i]
    return -out


def solve(terms: Any, view: View, prior: PriorView, options: Options) -> Fit:
    """Solve one fit, or one whole network, from its start."""
    obj = optimality.objective(terms)
    start = optimality.masked(terms.start(view, prior), prior)
    dtype, tolerance = start.theta.dtype, options.tolerance
    eps, tiny = jnp.finfo(dtype).eps, jnp.finfo(dtype).tiny
    # Moved are coefficients of regulators of equal spread and an intercept of centred ones.
    means = optimality.shear(start, view, {})
    even = optimality.units(start, view, means is not None)
    spread = even.steps
    shift = 0 if means is None else means @ start.theta
    begin = start.replace(theta=start.theta * spread)
    if means is not None:
        begin = begin.replace(intercept=start.intercept + shift)
    z0, unravel = ravel_pytree(begin)
    slope = optimality.slope(obj, view, prior)
    guided = guides(terms, view, prior)
    points = [mean for mean, (log_sd, _) in guided.items() if log_sd is None]
    scaled: Guided = guided
    if not guided and levels.uneven(begin):
        points = list(begin)
        scaled = {n: (None, jnp.ones(())) for n in points}
    patience = LONG if guided else PATIENCE
    whole = sizes = optimality.scale(slope, start, tolerance, even)

    def relative(params):
        return unguided(guided, slope(params))

    if guided:
        sizes = optimality.scale(relative, start, tolerance, even)

    def natural(z):
        params = unravel(z)
        params = optimality.masked(params.replace(theta=params.theta / spread), prior)
        if means is None:
            return params
        return params.replace(intercept=params.intercept - means @ params.theta)

    def evaluate(z):
        value, g = jax.value_and_grad(lambda z: obj.smooth(natural(z), view, prior))(z)
        return value.astype(dtype), g

    def probe(z, key):
        """Return the curvatures of points, 0 elsewhere, and slopes at theta = 0 and the others."""
        still = g0
        if scaled and not guided:
            params = unravel(z).replace(theta=jnp.zeros_like(start.theta))
            if means is not None:
                params = params.replace(intercept=natural(z).intercept)
            still = evaluate(ravel_pytree(params)[0])[1]
        if not points:
            return jnp.zeros_like(z), still

        def turned(params):
            return unravel(evaluate(ravel_pytree(params)[0])[1])

        return ravel_pytree(levels.diagonal(turned, unravel(z), points, key))[0], still

    def residual_at(z, g, sizes, own):
        """Return the residual of the parameters themselves, from the slope in what is moved."""
        plain = unravel(g)
        if means is not None:
            tilt = jnp.multiply.outer(means, plain.intercept)
            plain = plain.replace(theta=plain.theta + tilt / spread)
        plain = plain.replace(theta=plain.theta * spread)
        if not guided:
            out = optimality.relative(plain, sizes, even)
            if not scaled:
                return out
            now, first, bend, still = (unravel(v) for v in (g, g0, *own))
            return jnp.maximum(out, levels.relative(now, now, still, first, bend))
        rest = optimality.relative(unguided(guided, plain), sizes, even)
        bend = curvatures(guided, natural(z), plain, unravel(own[0]))
        return jnp.maximum(rest, nats(guided, plain, bend))

    f0, g0 = evaluate(z0)
    reach = (
        jnp.sqrt(eps)
        * (1 + jnp.max(jnp.abs(z0), initial=0))
        / jnp.maximum(jnp.max(jnp.abs(g0), initial=0), tiny)
    )
    bend = jnp.linalg.norm(evaluate(z0 - reach * g0)[1] - g0) / jnp.maximum(
        reach * jnp.linalg.norm(g0), tiny
    )
    bend = jnp.where(jnp.isfinite(bend) & (bend > 0), bend, 1).astype(dtype)
    zeros = jnp.zeros((MEMORY, z0.shape[0]), dtype)

    def inverse(z, g, own):
        """Return the inverses of known curvatures, and of that along the first gradient."""
        if not scaled:
            return None
        known = ravel_pytree(curvatures(scaled, unravel(z), unravel(g), unravel(own[0])))[0]
        return 1 / jnp.where(known > 0, known, bend)

    def bounded(ahead, z, own):
        if not guided:
            return ahead
        most = ravel_pytree(bounds(guided, unravel(z), unravel(own[0])))[0]
        return jnp.clip(ahead, -most, most)

    def steepest(z, g, own):
        steps = inverse(z, g, own)
        return -g / bend if steps is None else bounded(-steps * g, z, own)

    def body(sizes, own, state):
        z, f, g, (moves, turns, weight), ahead, length, (_, least, lowest, idle), count = state
        new = z + length * ahead
        value, g_new = evaluate(new)
        down, now = jnp.sum(g * ahead), jnp.sum(g_new * ahead)
        armijo = value <= f + 1e-4 * length * down
        flat = (value <= f + 16 * eps * jnp.abs(f)) & (now <= 0.98 * jnp.abs(down))
        accept = jnp.isfinite(value) & jnp.all(jnp.isfinite(g_new)) & (armijo | flat)
        move, turn = new - z, g_new - g
        curved = jnp.sum(move * turn)
        rounding = jnp.linalg.norm(move) * jnp.linalg.norm(turn)
        if points:  # lengths of blocks in unlike units cannot be added
            rounding = jnp.sum(jnp.abs(move * turn))
        if obj.monotone:  # otherwise the step left the domain in which f is what it says
            noise = (
                64
                * eps
                * jnp.linalg.norm(move)
                * (jnp.linalg.norm(g) + jnp.linalg.norm(g_new) + jnp.max(sizes))
            )
            accept = accept & (curved >= -noise)
        good = accept & (curved > 10 * eps * rounding)

        def push(memory, row):
            return jnp.where(good, jnp.concatenate([memory[1:], row[None]]), memory)

        memory = (
            push(moves, move),
            push(turns, turn),
            push(weight, 1 / jnp.where(good, curved, 1)),
        )
        following = bounded(direction(g_new, *memory, inverse(new, g_new, own)), new, own)
        downhill = jnp.sum(following * g_new) < 0
        following = jnp.where(downhill, following, steepest(new, g_new, own))
        # The minimum of the parabola through both values and the slope, within limits.
        rise = value - f - length * down
        share = jnp.where(rise > 0, -0.5 * length * down / jnp.where(rise > 0, rise, 1), 0.1)
        share = jnp.clip(jnp.where(jnp.isfinite(share), share, 0.1), 0.1, 0.5)
        # A step that keeps failing is tried along the gradient, then given up.
        short = ~accept & (length < 1e-9)
        memory = jax.tree.map(lambda m: jnp.where(short, 0, m), memory)
        plain = steepest(z, g, own)
        over = short & (jnp.max(jnp.abs(ahead - plain)) <= 0)
        z, f, g = (jnp.where(accept, a, b) for a, b in ((new, z), (value, f), (g_new, g)))
        size = residual_at(z, g, sizes, own).astype(dtype)
        better = (size < 0.95 * least) | (f < lowest - 16 * eps * jnp.abs(lowest))
        watch = (
            size,
            jnp.where(better, jnp.minimum(size, least), least),
            jnp.where(better, f, lowest),
            jnp.where(over, patience, jnp.where(better, 0, idle + 1)),
        )
        ahead = jnp.where(accept, following, jnp.where(short, plain, ahead))
        length = jnp.where(accept | short, 1, share * length).astype(dtype)
        return z, f, g, memory, ahead, length, watch, count + 1

    def proceed(state):
        *_, (size, _, _, idle), count = state
        return (size > tolerance) & (count < options.most) & (idle < patience)

    zero = jnp.zeros((), jnp.int32)
    memory = (zeros, zeros, jnp.zeros(MEMORY, dtype))

    def attempt(state, sizes):
        z, f, g, *state, own, _, count = state
        watch = (residual_at(z, g, sizes, own).astype(dtype), far, f, zero)
        state = (z, f, g, *state, watch, count)
        if not points:
            state = jax.lax.while_loop(proceed, partial(body, sizes, own), state)
        else:

            def stretch(carry):
                state, own = carry
                end = state[-1] + PERIOD
                state = jax.lax.while_loop(
                    lambda s: proceed(s) & (s[-1] < end), partial(body, sizes, own), state
                )
                z, f, g, *state, (_, *watch), count = state
                own = probe(z, jax.random.fold_in(jax.random.key(0), count))
                watch = (residual_at(z, g, sizes, own).astype(dtype), *watch)
                return (z, f, g, *state, watch, count), own

            state, own = jax.lax.while_loop(lambda c: proceed(c[0]), stretch, (state, own))
        *state, (size, *_), count = state
        return (*state, own, size, count)

    def asked(state, sizes):
        return optimality.nearby(relative, natural(state[0]), start, sizes, even)

    one, far = jnp.ones((), dtype), jnp.asarray(jnp.inf, dtype)
    own = probe(z0, jax.random.key(0))
    state = (z0, f0, g0, memory, steepest(z0, g0, own), one, own, far, zero)
    z, *_, residual, count = optimality.in_rounds(attempt, asked, state, sizes, options)
    params = natural(z)
    stopped = jnp.where(count < options.most, Status.STALLED, Status.MAX_ITERATIONS)
    value = obj.total(params, view, prior)
    residual = jnp.where(jnp.isfinite(value), residual, jnp.nan).astype(dtype)
    status = optimality.ended(params, residual, tolerance, stopped)
    status = optimality.with_kinks(terms, slope, params, whole, options, status)
    status = optimality.off_minimum(obj, params, whole, options, view, prior, status)
    return Fit(params, status, residual, count, value)
