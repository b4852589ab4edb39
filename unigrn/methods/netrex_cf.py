"""NetREX-CF: network component analysis whose edges a collaborative filter of the prior prices."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from unigrn.check import check_whole
from unigrn.ensembles import consensus
from unigrn.filtering import Collaborative, collaborative, collaborative_sketch
from unigrn.losses import component_analysis
from unigrn.prior import Prior
from unigrn.regularizers import l0, ridge
from unigrn.solvers import columns
from unigrn.spec import Spec, Step, Sweeps
from unigrn.terms import Array, Blocks, PriorView, Squares, View

STEPS = ("safe", "released")
RANKS = ("factors", "confidence")
MOST_FACTORS = 1000  # or as many as there are regulators or targets
NOTES = {
    "weight": "coefficient of the regulator's hidden activity, signed so that activity and "
    "expression of the regulator correlate positively",
    "score": "edges rank by it: R = V'U divided by its sum over the target's regulators, or the "
    "confidence, as asked for",
    "affinity": "R = V'U, near 1 where the filter is sure of the edge and near 0 elsewhere",
    "confidence": "max(0, 1 - RSS / RSS without the edge), mean over 20 half-size bootstraps of "
    "the cells; another order of the cells draws others and moves it by some hundredths",
    "score_sd": "standard deviation of the score over starts",
    "frequency": "share of the starts that have the edge",
}


def netrex_cf(
    prior: Prior | None,
    factors: int = 100,
    evidence: tuple[float, ...] = (1.0, 60.0, 90.0),
    strength: float = 5.0,
    boost: float = 9.0,
    floor: float = 0.1,
    per_target: int = 200,
    ridge_activity: float = 1.0,
    ridge_network: float = 1.0,
    ridge_factors: float = 1.0,
    steps: str = "safe",
    sweeps: int = 100,
    tolerance: float = 1e-6,
    absolute: float | None = None,
    sample: int | None = None,
    runs: int = 1,
    rank: str = "factors",
    scale: str | None = "standard",
) -> Spec:
    """NetREX-CF: network component analysis with edges priced by collaborative filtering.

    min over theta, A, U, V of  |Y - A'theta|^2 + a |A|^2 + s |theta|^2 + rho (|U|^2 + |V|^2)
    + sum Lambda (alpha + beta Z)(Z + (1 - Z) P - V'U)^2 + sum eta Z,  Z = 1[theta != 0].
    The weights follow from the prior's layers: see `unigrn.collaborative`. Not convex: what is
    found depends on the start. Edges rank by V'U, row-normalised, or by how much they explain.

    Parameters
    ----------
    prior
        One or more layers of evidence; the number that names an edge sets its confidence.
    factors
        Number of latent factors of the prior. 10 do for a few hundred genes, and are faster.
    evidence
        Multipliers of edges named by one, two, ... layers (the last ones, with fewer layers).
    strength
        Lambda, weight of the collaborative filter: larger, and the network keeps to the prior more.
    boost
        beta = boost x confidence on the prior.
    floor
        Least price of an edge.
    per_target
        Prior edges kept for each target; the others count as edges off the prior.
    ridge_activity, ridge_network, ridge_factors
        a, s and rho, >= 0: how strongly activities, coefficients and factors are shrunk. At 0 the
        least value need not be attained, or not by finite blocks.
    steps
        "safe": no step raises the objective. "released": the released step of theta, half as
        careful, which may; and prior edges beyond ``per_target`` keep the weight of their evidence,
        with P = 0, as in the released program.
    sweeps, tolerance, absolute
        At most so many sweeps; stop at a relative change of the objective, or (the released rule,
        with 1) at an absolute one.
    sample
        Columns of U and of V that move in a sweep, drawn at random; None for all (the released
        default is 100).
    runs
        Number of random starts; their consensus is returned.
    rank
        What ``score`` is: "factors" (V'U divided by its sum over the target's regulators, as
        released: it ranks the prior, adjusted by the network) or "confidence" (what each edge
        explains of the expression).
    scale
        "standard": every gene centred within each group of cells and divided by its standard
        deviation over all of them. None: expression as it is, as the released program takes it;
        its means then fill the first activities.

    Notes
    -----
    Take it for bulk data or many conditions with several sources of evidence, where activities of
    the regulators differ from their expression. It expects log-normalised values or log ratios.
    Give ``runs=3`` or more: what is found depends on the start, and ``score_sd`` says how far.
    "ended after the method's own number of sweeps" is its released rule, not a failure.

    References
    ----------
    Wang et al., Commun. Biol. 5 (2022) 1282; Bolte, Sabach and Teboulle, Math. Program. 146 (2014)
    459, doi:10.1007/s10107-013-0701-9.
    """
    if steps not in STEPS:
        raise ValueError(f"steps must be one of {', '.join(STEPS)}, got {steps!r}")
    if rank not in RANKS:
        raise ValueError(f"rank must be one of {', '.join(RANKS)}, got {rank!r}")
    if sample is not None:
        sample = check_whole("sample", sample, low=1)
    # Half the Frobenius bound is not a valid step length.
    network = (
        Step("theta", "linear", 1.01, "safe")
        if steps == "safe"
        else Step("theta", "linear", 0.5, "frobenius")
    )
    spec = Spec(
        loss=component_analysis(),
        regularizer=ridge(ridge_network)
        + ridge(ridge_activity, "A")
        + collaborative(evidence, strength, boost, floor, per_target, steps == "released")
        + ridge(ridge_factors, "U")
        + ridge(ridge_factors, "V"),
        prior=prior,
        name="netrex_cf",
        expects=("log",),
        scale=scale,
        start=Start(check_whole("factors", factors, low=1)),
        sweeps=Sweeps(
            (
                Step("A", weight=0.5),
                network,
                Step("U", weight=1.0, sample=sample),
                Step("V", weight=1.0, sample=sample),
            ),
            sweeps,
            tolerance,
            absolute,
        ),
        gauge=positive_activity,
        columns=Scores(rank),
        notes=NOTES,
    )
    return consensus(spec, runs)


def netrex_cf_sketch(
    prior: Prior | None,
    factors: int = 100,
    slope: float = 1.0,
    on: float = 9.0,
    off: float = 1.0,
    cost: float = 1.0,
    ridge_activity: float = 1.0,
    ridge_network: float = 1.0,
    sweeps: int = 100,
    tolerance: float = 1e-6,
    runs: int = 1,
    scale: str | None = "standard",
) -> Spec:
    """NetREX-CF as the literature sketches it: one price for all edges, no ridge on the factors.

    min over theta, A, U, V of  |Y - A'theta|^2 + kappa |A|^2 + lambda |theta|^2 + eta |theta|_0
    + sum Omega (M - V'U)^2,  C = 1 + a sum_k P_k, B = 1[sum_k P_k > 0], Z = 1[theta != 0],
    Omega = a1 C Z B + a2 Z (1 - B) + C,  M = Z + (1 - Z) B. The infimum need not be attained: the
    factors are free to grow, and an edge off the prior can have a negative price. For comparison
    with `netrex_cf`, not for use.

    Parameters
    ----------
    prior
        One or more layers of evidence.
    factors
        Number of latent factors of the prior. 10 do for a few hundred genes, and are faster.
    slope, on, off
        a, a1 and a2: weights of the evidence, of edges on and off the prior; see
        `unigrn.collaborative_sketch`.
    cost
        eta, price of an edge.
    ridge_activity, ridge_network
        kappa and lambda: how strongly activities and coefficients are shrunk.
    sweeps, tolerance, runs, scale
        As in `netrex_cf`.

    Notes
    -----
    Take it to compare with `netrex_cf` only. It expects log-normalised values or log ratios.

    References
    ----------
    Wang et al., Commun. Biol. 5 (2022) 1282.
    """
    spec = Spec(
        loss=component_analysis(),
        regularizer=ridge(ridge_network)
        + ridge(ridge_activity, "A")
        + l0(cost)
        + collaborative_sketch(slope, on, off),
        prior=prior,
        name="netrex_cf_sketch",
        expects=("log",),
        scale=scale,
        start=Start(check_whole("factors", factors, low=1)),
        sweeps=Sweeps(
            (
                Step("A", weight=0.5),
                Step("theta", "linear", 1.01),
                Step("U", weight=1.0),
                Step("V", weight=1.0),
            ),
            sweeps,
            tolerance,
        ),
        gauge=positive_activity,
        columns=Scores(),
        notes=NOTES,
    )
    return consensus(spec, runs)


@dataclass(frozen=True)
class Start:
    """Where NetREX-CF starts: factors of the prior, the support they rank first, activities.

    1. U and V by alternating least squares: min sum c (P - V'U)^2 + 0.1 (|U|^2 + |V|^2), c = 10
       times the confidence on the prior's ``rows`` surest edges of each target, 1 elsewhere; from a
       random V, then brought to equal size (which leaves V'U as it is).
    2. theta is V'U, plus ``spread`` times standard normal numbers, on the ``rows`` largest entries
       of V'U of each target (no more than are not 0) and the ``columns`` largest of each regulator;
       of ties, the first. (Regulators with the same targets, and V'U with few factors, lack ranks
       that step 3 would fill with rounding. The released start, 1 there, lacks them too.)
    3. ``rounds`` times, A given theta and theta given A on that support, each with a ridge of 0.1.
    """

    factors: int
    sweeps: int = 20
    rows: int = 100
    columns: int = 500
    rounds: int = 20
    ridge: float = 0.1
    spread: float = 0.1

    def __call__(self, data: View, prior: PriorView, key: Array, terms: tuple) -> Blocks:
        """Return the blocks."""
        filtering = next((t for t in terms if isinstance(t, Collaborative)), None)
        if filtering is None:
            raise ValueError(
                "the start of netrex_cf needs a term collaborative(...) that is not "
                "multiplied by a number: give it another strength instead"
            )
        most = max(MOST_FACTORS, *prior.valid.shape)
        if self.factors > most:
            raise ValueError(
                f"factors is {self.factors:,}; needed {most:,} at most: more than there are "
                "regulators or targets say nothing new"
            )
        u, v = self.factorise(filtering, prior, key)
        # Before they are balanced, which leaves rounding where V'U is 0.
        ranked = jnp.where(prior.valid, v.T @ u, -jnp.inf)
        ranks = jnp.count_nonzero(jnp.where(prior.valid, ranked, 0), axis=0)
        support = _top(ranked, jnp.minimum(self.rows, ranks)[None, :], 0)
        support = (support | _top(ranked, self.columns, 1)) & prior.valid
        drawn = jax.random.normal(jax.random.fold_in(key, 1), ranked.shape, ranked.dtype)
        first = jnp.where(support, ranked + self.spread * drawn, 0)
        theta, a = self.components(data.y, first, support)
        u, v = balanced(u, v)
        return Blocks(theta=theta, A=a, U=u, V=v)

    def factorise(self, filtering: Collaborative, prior: PriorView, key: Array):
        """Step 1: U (factors, targets) and V (factors, regulators)."""
        known = (filtering.preference > 0) & prior.valid
        known = known & _top(jnp.where(known, filtering.confidence, -jnp.inf), self.rows, 0)
        wanted = known.astype(prior.weight.dtype)
        weight = jnp.where(prior.valid, jnp.where(known, 10 * filtering.confidence, 1), 0)
        q, p = wanted.shape
        dtype = wanted.dtype
        v = jax.random.normal(key, (self.factors, q), dtype) / jnp.sqrt(
            jnp.asarray(self.factors, dtype)
        )
        u = jnp.zeros((self.factors, p), dtype)

        def solve(design, target, weight, block):
            squares = Squares(design, target, weight, 1.0, self.ridge)
            some = jnp.any(target > 0, axis=0)[None, :]  # else exactly 0: ties stay ties
            return jnp.where(some, columns.step(squares, block, 0.0, most=12), 0)

        def body(_, factors):
            u, v = factors
            u = solve(v, wanted, weight, u)
            return u, solve(u, wanted.T, weight.T, v)

        return jax.lax.fori_loop(0, self.sweeps, body, (u, v))

    def components(self, y: Array, theta: Array, support: Array):
        """Step 3: theta on its support, and the activities it gives."""
        mask = support.astype(y.dtype)

        def body(_, state):
            theta, _ = state
            a = columns.step(
                Squares(theta, y.T, None, 1.0, self.ridge),
                jnp.zeros((theta.shape[0], y.shape[0]), y.dtype),
                0.0,
            )
            gram, right = a @ a.T, mask * (a @ y)

            def apply(x):
                return mask * (gram @ x) + self.ridge * x

            return columns.conjugate_gradients(apply, right, theta, 1e-6, 30), a

        a = jnp.zeros((mask.shape[0], y.shape[0]), y.dtype)
        return jax.lax.fori_loop(0, self.rounds, body, (theta, a))


def balanced(u: Array, v: Array) -> tuple[Array, Array]:
    """Return factors of the same V'U with U U' = V V', which have the least |U|^2 + |V|^2."""
    qu, ru = jnp.linalg.qr(u.T)
    qv, rv = jnp.linalg.qr(v.T)
    left, size, right = jnp.linalg.svd(rv @ ru.T, full_matrices=False)
    root = jnp.sqrt(size)[:, None]
    missing = u.shape[0] - size.shape[0]  # more factors than rows or columns: the others are 0
    return (
        jnp.pad(root * (qu @ right.T).T, ((0, missing), (0, 0))),
        jnp.pad(root * (qv @ left).T, ((0, missing), (0, 0))),
    )


def _top(values: Array, count: Array, axis: int) -> Array:
    """Mark the ``count`` largest values along an axis; of ties, the first."""
    order = jnp.argsort(-values, axis=axis, stable=True)
    return jnp.argsort(order, axis=axis, stable=True) < count


def positive_activity(params: Blocks, data: View, prior: PriorView) -> Blocks:
    """Choose the sign of each activity so that it correlates positively with the expression.

    Where it does not correlate, the coefficients of the regulator sum to a number >= 0.
    """
    weight = data.weight[:, None]
    centred = data.x - jnp.sum(weight * data.x, axis=0, keepdims=True) / jnp.sum(weight)
    along = jnp.sum(params.A * (weight * centred).T, axis=1)
    along = jnp.where(along == 0, jnp.sum(params.theta, axis=1), along)
    sign = jnp.where(along < 0, -1, 1).astype(params.theta.dtype)[:, None]
    return params.replace(theta=sign * params.theta, A=sign * params.A)


@dataclass(frozen=True)
class Scores:
    """Columns of the edge table: score, affinity, confidence."""

    rank: str = "factors"
    draws: int = 20

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> dict[str, Array]:
        """Return them."""
        affinity = params.V.T @ params.U
        confidence = drop_one(params, data, self.draws, 0.5)
        score = confidence if self.rank == "confidence" else row_normalised(affinity, prior)
        return {"score": score, "affinity": affinity, "confidence": confidence}


def row_normalised(ranked: Array, prior: PriorView) -> Array:
    """Divide R by its sum over the regulators of each target, where that sum means something.

    The sum counts where it is at least half the sum of |R|, otherwise the latter is the divisor:
    the order of a target's regulators stays, and |score| <= 2. Where R is 0 throughout, the score
    is 0.
    """
    ranked = jnp.where(prior.valid, ranked, 0)
    total = jnp.sum(ranked, axis=0, keepdims=True)
    size = jnp.sum(jnp.abs(ranked), axis=0, keepdims=True)
    total = jnp.where(total >= 0.5 * size, total, size)
    return jnp.where(total > 0, ranked / jnp.where(total > 0, total, 1), 0)


def drop_one(params: Blocks, data: View, draws: int, share: float, read=lambda v: v) -> Array:
    """How much each edge explains: mean over draws of max(0, 1 - RSS / RSS without it).

    Every draw takes share x cells with replacement; ``read`` is applied to what it gives,
    (regulators, targets), before the mean. Nothing is fitted again: without the edge the residual
    of the target is r + theta_j A_j.
    """
    real = data.weight > 0
    cells = real.shape[0]
    count = jnp.sum(real, dtype=jnp.int32)
    place = jnp.argsort(jnp.logical_not(real))  # real cells first
    residual = data.y - params.A.T @ params.theta
    theta, a = params.theta, params.A
    dtype = theta.dtype
    wanted = jnp.maximum(jnp.floor(share * count.astype(dtype)).astype(jnp.int32), 1)

    def one(key):
        drawn = jnp.floor(jax.random.uniform(key, (cells,), dtype) * count.astype(dtype))
        drawn = jnp.minimum(drawn.astype(jnp.int32), count - 1)
        taken = (jnp.arange(cells, dtype=jnp.int32) < wanted).astype(dtype)
        weight = jnp.zeros(cells, dtype).at[place[drawn]].add(taken)
        rss = weight @ residual**2
        cross = (a * weight[None, :]) @ residual
        without = rss[None, :] + 2 * theta * cross + theta**2 * ((a**2) @ weight)[:, None]
        kept = jnp.where(without > 0, rss[None, :] / jnp.where(without > 0, without, 1), 1)
        return read(jnp.maximum(1 - kept, 0))

    keys = jax.random.split(data.key, draws)
    shape = jax.eval_shape(one, keys[0])
    zero = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), shape)

    def add(i, total):
        return jax.tree.map(lambda t, v: t + v / draws, total, one(keys[i]))

    return jax.lax.fori_loop(0, draws, add, zero)
