"""The prior as data: pairs that were looked at, and a view that observes one latent of them.

A soft prior p(z | P) is a belief about every pair. As data it is a view of its own beside that of
expression, P(X, Y | z) = P(X | z) P(Y | z), and says nothing of pairs that it did not measure: a
gene that no source has looked at is then unknown, not without regulators. Where all pairs are
measured and the base is flat both are the same (`unigrn verify category_2.soft_data`).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from unigrn.prior import Prior
from unigrn.processes.distributions import Distribution, Normal
from unigrn.processes.process import Process
from unigrn.terms import Array, PriorView, along, pytree


@pytree
class Measured:
    """Pairs that a prior looked at: of regulators and targets that each have an edge in it."""

    regulators: Any
    targets: Any

    def __call__(self, prior: PriorView) -> Array:
        """Return which entries of theta these are."""
        rows = self.regulators > 0
        if prior.valid.ndim > 1:
            rows = rows[:, None] & (self.targets > 0)[None, :]
        else:
            rows = rows & (self.targets > 0)
        return rows & prior.valid


def measured(prior: Prior | None) -> Measured:
    """Return the pairs that a prior looked at.

    Raises
    ------
    ValueError
        No prior, or one without an edge.
    """
    known = None if prior is None else prior.union()
    if prior is None or known is None or not len(known.source):
        raise ValueError("mask='data' takes the prior as data, and there is none: give a prior")
    own = {
        "regulators": prior.regulators[np.unique(known.source)],
        "targets": prior.targets[np.unique(known.target)],
    }
    return Measured(
        **{
            axis: along(np.ones(len(n)), axis, names=list(map(str, n)), fill=0.0)
            for axis, n in own.items()
        }
    )


class Evident(Process):
    """A mixin: what a process believes of one latent becomes a base, and a view of what is known.

    ``uncertain`` names the latent, `base` gives its distribution before anything is known, and
    `evidence` what was measured of it, with which error, and where; the view is the observed site
    "evidence".
    """

    uncertain: ClassVar[str]

    def __init_subclass__(cls, **more: Any):
        if "uncertain" in vars(cls):
            cls.observed = {**cls.observed, "evidence": cls.latents[cls.uncertain]}
        super().__init_subclass__(**more)

    def base(self, belief: Any, prior: PriorView) -> Distribution:
        """Return the distribution of the latent before anything is known."""
        raise TypeError(f"{type(self).__name__} has no base: define base(belief, prior)")

    def evidence(self, belief: Any, prior: PriorView) -> tuple[Any, Any, Array]:
        """Return values, their standard deviation, and where they were measured."""
        raise TypeError(f"{type(self).__name__} has no evidence: define evidence(belief, prior)")

    def sites(self, site, data, prior):
        """Visit every site."""

        def turned(name, distribution, *observed, **where):
            if name != self.uncertain:
                return site(name, distribution, *observed, **where)
            value = site(name, self.base(distribution, prior))
            known, error, at = self.evidence(distribution, prior)
            site("evidence", Normal(value, error), known, where=at)
            return value

        super().sites(turned, data, prior)
