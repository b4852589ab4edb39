"""OTTER: a network whose two projections match interactions of regulators and coexpression."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from unigrn.check import check_number, check_whole
from unigrn.prior import Prior
from unigrn.regularizers import ridge
from unigrn.spec import Spec, Step, Sweeps
from unigrn.terms import Array, Blocks, Loss, PriorView, View, pytree
from unigrn.views import along


def otter(
    prior: Prior | None,
    interactions: Any = None,
    coexpression: float = 0.035,
    shrinkage: float = 0.335,
    steps: str = "released",
    count: int = 60,
    length: float = 1e-5,
) -> Spec:
    """OTTER: relaxed graph matching from the prior's network.

    f(theta) = (1 - l) |theta theta' - P|^2 + l |theta' theta - C|^2 + 2 g |theta|^2, Frobenius
    norms: 4 times the published objective. P are the interactions of the regulators and C the
    correlation of the targets, each divided by its trace. The start is the prior's weights divided
    by their norm. Not convex, and the prior enters by the start alone.

    Parameters
    ----------
    prior
        Edges with weights: the start.
    interactions
        Symmetric table of the regulators' interactions by name (a pandas DataFrame), or an array
        with axes (`unigrn.along`); None for the identity.
    coexpression
        l, from 0 (interactions alone) to 1 (coexpression alone).
    shrinkage
        g >= 0: at a large one the only minimum is theta = 0.
    steps
        "released": so many steps of Adam as the published program takes, from the start; they end
        before anything has converged, and how far they go is part of the method. "stationary":
        descend until the gradient is 0.
    count, length
        Number and length of the released steps.

    Notes
    -----
    Take it to refine a motif network by few, small steps towards coexpression; it expects
    log-normalised values. "released" is what was published. "stationary" forgets the prior where it
    can: with g above the largest eigenvalue of (1 - l) P plus l times that of C, theta = 0 is a
    minimum, and a fit that tends to it is not called converged. The released program starts Adam's
    corrections one step late, and so does this.

    References
    ----------
    Weighill, Ben Guebila, Lopes-Ramos, Glass, Quackenbush, Platig and Burkholz, AAAI 35 (2021)
    10263, doi:10.1609/aaai.v35i11.17228.
    """
    if steps not in ("released", "stationary"):
        raise ValueError(f"steps must be released or stationary, got {steps!r}")
    coexpression = check_number("coexpression", coexpression)
    if coexpression > 1:
        raise ValueError(f"coexpression must lie between 0 and 1, got {coexpression:g}")
    interactions = of_names(interactions)
    adam = Sweeps(
        (Step("theta", "adam", length, late=1),), check_whole("count", count, low=1), None, None
    )
    return Spec(
        loss=Matching(coexpression, interactions),
        regularizer=ridge(2 * check_number("shrinkage", shrinkage)),
        prior=prior,
        name="otter",
        expects=("log",),
        start=motif,
        sweeps=adam if steps == "released" else None,
        columns=as_score,
        notes={
            "weight": "entry of the network, in units in which all of the prior's have a sum of "
            "squares of 1",
            "score": "the weight: the larger, the more likely the edge",
        },
    )


def of_names(interactions: Any, positive: bool = True) -> Any:
    """Let a table of interactions follow the names of its rows and columns; pass on all else."""
    if interactions is None or not hasattr(interactions, "columns"):
        return interactions
    names = [list(map(str, side)) for side in (interactions.index, interactions.columns)]
    values, (rows, columns) = interactions.to_numpy(float), names
    wrong = ""
    if sorted(rows) != sorted(columns):
        wrong = "other names along its rows than along its columns"
    elif not np.isfinite(values).all():
        wrong = "entries that are no numbers"
    else:
        place = [columns.index(name) for name in rows]
        if (
            np.abs(values[:, place] - values[:, place].T).max(initial=0)
            > 1e-6 * np.abs(values).max()
        ):
            wrong = "entries that differ from their mirror images"
        elif positive and np.trace(values[:, place]) <= 0:
            wrong = "a trace of 0 or less, by which it is divided"
    if wrong:
        raise ValueError(
            f"interactions needs a symmetric table of regulators, got one with {wrong}; a "
            "regulator interacts with itself: put 1 on the diagonal"
        )
    return along(values, "regulators", "regulators", names=names)


@pytree
class Matching(Loss):
    """(1 - l) |theta theta' - P|^2 + l |theta' theta - C|^2; see `otter`."""

    coexpression: Array
    interactions: Any = None
    wanted: tuple[Array, Array] | None = None  # P and C, worked out by `prepare`

    needs_prior = True
    separable = None
    weighted = True

    def prepare(self, data: View, prior: PriorView) -> Matching:
        """Work out P, (q, q), and C, (p, p), each with a trace of 1."""
        if self.wanted is not None:
            return self
        wanted = known_of(self.interactions, prior), correlations(data)
        return Matching(self.coexpression, self.interactions, tuple(map(_scaled, wanted)))

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> Array:
        """Evaluate on the whole network."""
        wanted = self.prepare(data, prior).wanted
        assert wanted is not None
        theta, share = params.theta, self.coexpression
        rows, columns = theta @ theta.T - wanted[0], theta.T @ theta - wanted[1]
        return (1 - share) * jnp.sum(rows**2) + share * jnp.sum(columns**2)

    formula = property(lambda self: "(1 − l) ‖θθᵀ − P‖² + l ‖θᵀθ − C‖²")


def known_of(interactions: Any, prior: PriorView) -> Array:
    """Return the interactions of the regulators, (q, q), 0 at padding; the identity for None."""
    real = jnp.any(prior.valid, axis=1)
    if interactions is None:
        return jnp.diag(real.astype(prior.weight.dtype))
    return jnp.where(real[:, None] & real[None, :], interactions, 0)


def correlations(data: View) -> Array:
    """Return the correlations of the targets, (p, p); 0 in the row of a constant one."""
    weight = jnp.ones_like(data.y[:, 0]) if data.weight is None else data.weight
    share = (weight / jnp.sum(weight))[:, None]
    centred = data.y - jnp.sum(share * data.y, axis=0, keepdims=True)
    root = jnp.sqrt(jnp.sum(share * centred**2, axis=0, keepdims=True))
    # What rounding of the mean leaves of a constant target is no variance.
    noise = 32 * jnp.finfo(data.y.dtype).eps * jnp.max(jnp.abs(data.y), axis=0, keepdims=True)
    unit = jnp.where(root > noise, centred / jnp.where(root > noise, root, 1), 0)
    return unit.T @ (share * unit)


def _scaled(matrix: Array) -> Array:
    """Divide by the trace; where that is 0 there is nothing to match."""
    trace = jnp.trace(matrix)
    return jnp.where(trace > 0, matrix / jnp.where(trace > 0, trace, 1), 0)


def motif(data: View, prior: PriorView, key: Array, terms: tuple) -> Blocks:
    """Return the prior's weights, in units in which their sum of squares is 1."""
    size = jnp.sqrt(jnp.sum(prior.weight**2))
    return Blocks(theta=prior.weight / jnp.where(size > 0, size, 1))


def as_score(params: Blocks, data: View, prior: PriorView) -> dict[str, Array]:
    """Return the weight as score: edges of a weight below 0 come last."""
    return {"score": params.theta}
