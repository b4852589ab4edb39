"""Claims about methods that let network, interactions and coexpression speak to each other.

Each runs through plan and solver on named genes, in double precision, beside NumPy that shares
nothing with it.
"""

from __future__ import annotations

import numpy as np

from unigrn.methods import get
from unigrn.terms import Blocks, PriorView
from unigrn.verify.claims.common import Search, apart, claimed, evaluated, fit, placed
from unigrn.verify.claims.whole import NO_THEOREM
from unigrn.verify.instances import Instance, instances
from unigrn.verify.search import Finding
from unigrn.views import along


def _cells():
    from hypothesis import strategies as st

    return instances(
        offset=st.sampled_from([0.0, 2.0]),
        weights=st.sampled_from(["ones", "counts"]),
        cells=st.just(8),
    )


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


CLAIMS = (_explained_claim(),)
