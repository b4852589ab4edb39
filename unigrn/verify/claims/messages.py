"""Claims about methods that let network, interactions and coexpression speak to each other.

Each runs through plan and solver on named genes, in double precision, beside NumPy that shares
nothing with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrn.methods import get
from unigrn.status import Status
from unigrn.terms import Blocks, PriorView
from unigrn.verify.claims.common import Search, apart, claimed, evaluated, fit, placed
from unigrn.verify.claims.whole import NO_THEOREM
from unigrn.verify.instances import Instance, instances
from unigrn.verify.search import Finding
from unigrn.views import along

MOST = 300  # steps of an iteration


def _cells(**fixed: Any):
    from hypothesis import strategies as st

    return instances(
        offset=st.sampled_from([0.0, 2.0]),
        weights=st.sampled_from(["ones", "counts"]),
        cells=st.just(8),
        **fixed,
    )


def _with_edges():
    from hypothesis import strategies as st

    return _cells(support=st.sampled_from(["mixed", "full", "one"]))


def _known(instance: Instance) -> tuple[tuple[list[str], list[str]], np.ndarray, np.ndarray]:
    """Names, the prior with an edge at least, and interactions, (regulators, regulators)."""
    weight = np.array(instance.prior.weight)
    weight[0, 0] = max(weight[0, 0], 1)
    q, p = weight.shape
    root = (instance.seed % 3) * instance.rng(31).normal(size=(q, q))
    names = [f"r{j}" for j in range(q)], [f"t{j}" for j in range(p)]
    return names, weight, np.eye(q) + root @ root.T / q


def _correlations(y: np.ndarray, w: np.ndarray, correlated: bool = True) -> np.ndarray:
    """Weighted correlations of the columns; a constant one has none, with itself neither."""
    y = y - w @ y / w.sum()
    C = (y.T * w) @ y / w.sum()
    some = np.sqrt(np.diag(C)) > 1e-10 * np.abs(y).max(initial=1e-300)
    C = np.where(np.outer(some, some), C, 0)
    root = np.sqrt(np.where(some, np.diag(C), 1))
    return C / np.outer(root, root) if correlated else C


# ------------------------------------------------------------------ methods.giraffe


def _explained(
    instance: Instance,
    signed: bool = False,
    correlated: bool = True,
    exchanged: bool = False,
    anew: bool = False,
    even: bool = False,
    free: bool = False,
) -> list[Finding]:
    names, weight, known = _known(instance)
    spec = get("giraffe").function(None, along(known, "regulators", "regulators", names=names[0]))
    values, w = np.c_[instance.x, instance.y], instance.weight
    found = fit(spec, values, *names, weight, weights=w, tolerance=1e-10, max_iterations=30000)
    y = instance.y / np.sqrt((w @ instance.y**2).sum())
    C = _correlations(instance.y, w, correlated)
    P, C = known / np.trace(known), C / max(np.trace(C), 1e-300)
    omega = np.ones_like(w) if even else w

    def look(theta, A):
        """Return the five terms, and their gradients."""
        rest, gram = y - A.T @ theta, (A * omega) @ A.T - (0 if free else P)
        rows, columns = theta @ theta.T - P, theta.T @ theta - C
        terms = [w @ rest**2, rows**2, columns**2, gram**2, theta**2]
        in_theta = [-2 * (A * w) @ rest, 4 * rows @ theta, 4 * theta @ columns, 0, 2 * theta]
        in_a = [-2 * theta @ (rest.T * w), 0, 0, 4 * gram @ (A * omega), 0]
        return [term.sum() for term in terms], in_theta, in_a

    start = weight / np.linalg.norm(weight)
    alike = np.broadcast_to(np.where(w > 0, 1 / np.sqrt(len(P) * w.sum()), 0), (len(P), len(w)))
    theta, A = found.theta[0], found.blocks["A"][0]
    first = np.delete(look(theta, A)[0] if anew else look(start, alike)[0], 3)
    held = [*(1 - first[:3] / first.sum()), 1, 1]

    def total(terms, weights=held):
        weights = np.asarray(weights)[[0, 2, 1, 3, 4] if exchanged else slice(None)]
        return sum(v * term for v, term in zip(weights, terms, strict=True))

    # Value and gradient at a point of no meaning, by weights that are given.
    rng = instance.rng(33)
    at, given = (rng.normal(size=theta.shape), rng.random(A.shape)), tuple(rng.uniform(0.1, 2, 5))
    plain = get("giraffe").function(None, known, given)
    value, slope = evaluated(plain, Blocks(theta=at[0], A=at[1]), instance.rows(), _view(weight))
    terms, *slopes = look(*at)
    ended, in_theta, in_a = (total(part) for part in look(theta, A))
    down = np.where((A > 0) | signed, in_a, np.minimum(in_a, 0))
    return [
        apart("objective", value, total(terms, given)),
        apart("gradient", (slope.theta, slope.A), tuple(total(s, given) for s in slopes)),
        apart("objective of the fit", np.nanmax(found.targets["objective"]), ended),
        apart("stationary", (in_theta, down), (0 * theta, 0 * A)),
        Finding("activity below 0", float(max(-A.min(), 0))),
        Finding("converged", 0.0 if found.converged.all() else np.inf),
        apart("score", placed(found, found.statistics["score"])[0], theta),
    ]


def _view(weight: np.ndarray) -> PriorView:
    some = weight > 0
    return PriorView(some, weight, some.astype(np.int32), ~np.ones_like(some), np.ones_like(some))


def _explained_claim():
    return claimed(
        "methods.giraffe",
        "the fit is a stationary point of the five weighted terms with activities of 0 or more, "
        "value and gradient included",
        (),
        Search("giraffe", _explained, (_cells,), 1e-7).slipped,
        {
            "activities of either sign": {"signed": True},
            "covariance in place of correlation": {"correlated": False},
            "the weights of both matches exchanged": {"exchanged": True},
            "weights of the end, not of the start": {"anew": True},
            "activities of all cells alike matched": {"even": True},
            "activities that match nothing": {"free": True},
        },
        reason=NO_THEOREM,
        share=0.5,
    )


# ------------------------------------------------------------------ methods.panda


def _z(x: np.ndarray, by_column_alone: bool = False) -> np.ndarray:
    """Sum of z scores by column and by row over sqrt 2; those over all where one is undefined."""
    every, out = (x - x.mean()) / x.std(), np.zeros(x.shape)
    for i, j in np.ndindex(*x.shape):
        for line in (x[:, j], x[:, j] if by_column_alone else x[i]):
            flat = np.ptp(line) <= 1e-12 * np.abs(line).max()
            out[i, j] += every[i, j] if flat else (x[i, j] - line.mean()) / line.std()
    return out / np.sqrt(2)


def _similarity(x: np.ndarray, y: np.ndarray, cosine: bool) -> np.ndarray:
    """Similarity of every row of x and every column of y."""
    out = np.zeros((len(x), y.shape[1]))
    for i, j in np.ndindex(*out.shape):
        product, sizes = x[i] @ y[:, j], (x[i] @ x[i], y[:, j] @ y[:, j])
        own = np.prod(sizes) if cosine else sum(sizes) - abs(product)
        out[i, j] = product / np.sqrt(own) if own > 0 else 0
    return out


def _passed(
    instance: Instance,
    cosine: bool = False,
    plain: bool = False,
    growing: bool = True,
    before: bool = False,
    half: bool = True,
    late: bool = False,
    by_column_alone: bool = False,
) -> list[Finding]:
    names, weight, known = _known(instance)
    # Of no two entries alike, or rounding may decide between them; some targets have no edge.
    weight = np.where(weight > 0, instance.rng(35).uniform(0.5, 2, weight.shape), 0)
    weight[:, 1] *= instance.seed % 3 > 0
    weight[0, 0] = 3
    alpha = (0.1, instance.rng(34).uniform(0.05, 0.4))[instance.seed % 2]
    spec = get("panda").function(
        None, along(known, "regulators", "regulators", names=names[0]), alpha
    )
    values = np.c_[instance.x, instance.y]
    found = fit(spec, values, *names, weight, weights=instance.weight, max_iterations=MOST)
    C = _correlations(instance.y, instance.weight)
    np.fill_diagonal(C, 1)
    W, P, C = (_z(x, by_column_alone) for x in (weight, known, C))
    change, count = np.inf, 0

    def between(x):
        """Similarity of the rows of x, with the diagonal that slows the messages."""
        out = _similarity(x, x.T, cosine)
        for i in range(0 if plain else len(x)):
            rest = np.delete(out[:, i], i)
            out[i, i] = rest.std() * len(x) * np.exp(2 * alpha * count * growing)
        return out

    while change > 1e-3 and count < MOST:
        said = _similarity(P, W, cosine), _similarity(W, C, cosine)
        said = (said[0] + said[1]) / 2 if half else said[0]
        change, old = np.abs(W - said).mean(), W
        if late and change <= 1e-3:
            break
        W = (1 - alpha) * W + alpha * said
        from_w = old if before else W
        P = (1 - alpha) * P + alpha * between(from_w)
        C = (1 - alpha) * C + alpha * between(from_w.T)
        count += 1
    status = Status.FIXED_POINT if change <= 1e-3 else Status.MAX_ITERATIONS
    return [
        apart("network", found.theta[0], W),
        apart("interactions", found.blocks["interactions"][0], P),
        apart("coexpression", found.blocks["coexpression"][0], C),
        apart("change", found.residual[0], np.full(found.residual[0].shape, change)),
        Finding("steps", float(np.abs(found.iterations - count).max())),
        Finding("status", 0.0 if (found.status == status).all() else np.inf),
        apart("score", placed(found, found.statistics["score"])[0], found.theta[0]),
    ]


def _passed_claim():
    return claimed(
        "methods.panda",
        "the fit is the published iteration, step by step to its rest, and is called a fixed point",
        (),
        Search("panda", _passed, (_with_edges,), 1e-8).slipped,
        {
            "the cosine in place of the similarity": {"cosine": True},
            "no diagonal of its own": {"plain": True},
            "a diagonal that does not grow": {"growing": False},
            "interactions and coexpression from the network before the step": {"before": True},
            "no word of coexpression": {"half": False},
            "rest before the last step": {"late": True},
            "z scores by column alone": {"by_column_alone": True},
        },
        reason=NO_THEOREM,
        share=0.5,
    )


CLAIMS = (_explained_claim(), _passed_claim())
