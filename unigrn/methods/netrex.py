"""NetREX: network component analysis under a budget of edges on and off the prior."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from unigrn.constraints import box, budget
from unigrn.kernels import places
from unigrn.losses import component_analysis
from unigrn.methods.netrex_cf import drop_one, positive_activity
from unigrn.prior import Prior
from unigrn.regularizers import laplacian, ridge
from unigrn.solvers import columns
from unigrn.spec import Spec, Step, Sweeps
from unigrn.terms import Array, Blocks, PriorView, Squares, View, joint


def netrex(
    prior: Prior | None,
    keep: float = 0.8,
    total: float = 1.2,
    kappa: float = 1.0,
    threshold: float = 0.95,
    signed: bool = True,
    ridge_activity: float = 1.0,
    ridge_network: float = 0.4,
    bound_activity: float = 1.0,
    bound_network: float = 1.0,
    sweeps: int = 1000,
    tolerance: float = 1e-6,
    absolute: float | None = None,
    scale: str | None = "range",
) -> Spec:
    """NetREX: network component analysis with budgets of edges kept and added.

    min over theta, A of  1/2 |Y - A'theta|^2 + kappa tr(theta L theta') + mu |A|^2 + xi |theta|^2
    subject to |A| <= M, |theta| <= C entrywise, at most round(keep |P|) edges on the prior and at
    most round(total |P|) - round(keep |P|) off it. L is the Laplacian of the targets' correlations
    beyond a threshold, positive semidefinite (the released form can be indefinite). Not convex; all
    steps descend.
    Edges rank by how much each explains, over 20 bootstraps of the cells.

    Parameters
    ----------
    prior
        Candidate edges.
    keep
        Share of the prior's edges that may stay.
    total
        Number of edges of the network, relative to the prior's.
    kappa, threshold, signed
        Strength of the Laplacian, the |correlation| above which targets are kin, and whether
        targets of opposite expression are pulled to opposite coefficients.
    ridge_activity, ridge_network
        mu and xi: how strongly activities and coefficients are shrunk.
    bound_activity, bound_network
        M and C: the largest |activity| and |coefficient|.
    sweeps, tolerance, absolute
        At most so many sweeps; stop at a relative, or at an absolute change of the objective.
    scale
        "range": every gene within -1 to 1, which the bounds are made for: the middle of its values
        in a group of cells is 0, half its range over all cells 1. "standard": centred within each
        group and divided by its standard deviation. None: expression as it is.

    Notes
    -----
    Take it for bulk data with a prior of which part is wrong and part is missing: edges leave and
    enter within budgets. It expects log-normalised values or log ratios of many conditions. Whole
    genomes take long; not convex.

    References
    ----------
    Wang et al., Nat. Commun. 9 (2018) 4061.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep must lie between 0 and 1, got {keep!r}")
    if total < keep:
        raise ValueError(f"total must be at least keep = {keep:g}, got {total!r}")
    return Spec(
        loss=0.5 * component_analysis(),
        regularizer=laplacian(kappa, threshold, signed)
        + ridge(ridge_network)
        + ridge(ridge_activity, "A"),
        constraint=box(-bound_network, bound_network)
        + box(-bound_activity, bound_activity, "A")
        + budget(share=keep, within="prior")
        + budget(share=total, less=keep, within="new"),
        prior=prior,
        name="netrex",
        expects=("log",),
        scale=scale,
        start=Start(),
        sweeps=Sweeps(
            (Step("theta", "linear", 1.01), Step("A", "linear", 1.01)), sweeps, tolerance, absolute
        ),
        gauge=positive_activity,
        columns=Ranks(),
        notes={
            "weight": "coefficient of the regulator's hidden activity, signed so that activity "
            "and expression of the regulator correlate positively",
            "score": "mean over 20 bootstraps of the cells of the edge's rank by 1 - RSS / RSS "
            "without it; 1 is best, 0 worst",
            "confidence": "max(0, 1 - RSS / RSS without the edge), mean over the bootstraps",
        },
    )


@dataclass(frozen=True)
class Start:
    """Activities given the prior as network, the network given these, brought into its set."""

    ridge: float = 1.0

    def __call__(self, data: View, prior: PriorView, key: Array, terms: tuple) -> Blocks:
        """Return the blocks."""
        known = (prior.support & prior.valid).astype(data.y.dtype)
        sets = [t for t in terms if t.kind == "constraint" and t.allows is None]

        def nearest(block, value):
            own = tuple(t for t in sets if t.block == block)
            return joint((), own).prox(value, 1.0, None, prior) if own else value

        def fit(design, target):
            zero = jnp.zeros((design.shape[0], target.shape[1]), target.dtype)
            return columns.step(Squares(design, target, None, 1.0, self.ridge), zero, 0.0)

        a = nearest("A", fit(known, data.y.T))
        theta = jnp.where(prior.valid, fit(a, data.y), 0)
        return Blocks(theta=nearest("theta", theta), A=a)


@dataclass(frozen=True)
class Ranks:
    """Columns of the edge table: score, confidence; undefined where there is no edge."""

    draws: int = 20

    def __call__(self, params: Blocks, data: View, prior: PriorView) -> dict[str, Array]:
        """Return them."""
        edge = params.theta != 0
        dtype = params.theta.dtype
        last = jnp.maximum(jnp.sum(edge, dtype=jnp.int32) - 1, 1).astype(dtype)

        def read(explained):
            return explained, places(explained, edge).astype(dtype)

        explained, rank = drop_one(params, data, self.draws, 1.0, read)
        return {
            "score": jnp.where(edge, 1 - rank / last, jnp.nan),
            "confidence": jnp.where(edge, explained, jnp.nan),
        }
