"""Claims about networks in a steady state: the objective by dense matrices and masses of counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy import stats

from unigrn.methods import get
from unigrn.terms import Blocks, PriorView, View
from unigrn.verify.claims.common import Search, apart, claimed, evaluated
from unigrn.verify.claims.methods import NO_THEOREM
from unigrn.verify.instances import Example
from unigrn.verify.search import Finding

GENES, FACTORS, NODES = 4, 2, 80


@dataclass(frozen=True, repr=False)
class Steady(Example):
    """Counts of few cells, a mask of genes by genes, and a point.

    Parameters
    ----------
    seed
        Of the random numbers.
    weighted
        Cells have weights, one of them 0.
    totals
        Cells have totals of their own; else those of the genes.
    silent
        One gene has no count.
    """

    seed: int = 0
    weighted: bool = False
    totals: bool = False
    silent: bool = False

    @property
    def hyper(self) -> dict[str, Any]:
        """Hyperparameters of the method."""
        steady, bound = self.rng(1).uniform(0.5, 3, 2)
        total = "total" if self.totals else None
        return {"steady": steady, "bound": bound, "factors": FACTORS, "total": total}

    @property
    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts (cells, genes) and totals of the cells."""
        rng = self.rng(2)
        counts = rng.poisson(rng.gamma(1, 6, GENES), (5, GENES)).astype(float)
        counts[0] += 1
        counts[:, 1] *= not self.silent
        return counts, counts.sum(axis=1) + rng.integers(0, 90, 5) * self.totals

    @property
    def weight(self) -> np.ndarray:
        """Weights of the cells."""
        weight = self.rng(3).uniform(0.5, 2, 5)
        weight[1] = 0
        return weight if self.weighted else np.ones(5)

    @property
    def mask(self) -> np.ndarray:
        """Candidates, (regulators, targets)."""
        mask = self.rng(4).random((GENES, GENES)) < 0.6
        mask[0, 2] = True
        return mask & ~np.eye(GENES, dtype=bool)

    @property
    def point(self) -> dict[str, np.ndarray]:
        """Blocks."""
        rng = self.rng(5)
        return {
            "latent": rng.normal(-1, 1, (5, GENES)),
            "loading": rng.normal(0, 0.7, (GENES, FACTORS)),
            "noise": rng.normal(0, 0.7, GENES),
            "log_sd_latent": rng.uniform(-3, -0.5, (5, GENES)),
            "mean": rng.normal(-1, 1, GENES),
            "theta": np.where(self.mask, rng.normal(0, 1.5, (GENES, GENES)), 0),
        }


def _examples():
    from hypothesis import strategies as st

    flags = {name: st.booleans() for name in ("weighted", "totals", "silent")}
    return st.builds(Steady, seed=st.integers(0, 2**16), **flags)


def dictys(
    example: Steady,
    spread: bool = True,
    correlated: bool = True,
    turned: bool = False,
    free: bool = True,
    bounded: bool = True,
    weighted: bool = True,
    shared: bool = True,
) -> dict[str, Any]:
    """Return objective and columns from the formulas, over the genes with counts."""
    hyper, point, (y, total) = example.hyper, example.point, example.counts
    weight = example.weight if weighted else np.ones(len(y))
    seen = np.any(y[weight > 0] > 0, axis=0)
    nodes, at = np.polynomial.hermite.hermgauss(NODES)
    m, s = point["latent"][:, seen], np.exp(point["log_sd_latent"][:, seen])
    x = m[..., None] + np.sqrt(2) * s[..., None] * nodes * spread
    share = 1 / (1 + np.exp(-x))
    mass = stats.binom.logpmf(y[:, seen, None], total[:, None, None], share)
    cost = -(mass @ at / np.sqrt(np.pi)).sum(axis=1)
    noise, loading = 0.01 + point["noise"] ** 2, point["loading"]
    whole = np.where(seen[:, None] & seen, loading @ loading.T, 0) * correlated
    whole += np.diag(np.where(seen, noise, 1))
    sigma = whole[np.ix_(seen, seen)]
    apart_, inverse = m - point["mean"][seen], np.linalg.inv(sigma)
    own = np.einsum("ci,ij,cj->c", apart_, inverse, apart_) + s**2 @ np.diag(inverse)
    cost += 0.5 * (own + np.linalg.slogdet(sigma)[1] - np.log(s**2).sum(axis=1) - seen.sum())
    bound = hyper["bound"]
    n = bound * np.tanh(point["theta"] / bound) if bounded else point["theta"]
    n = np.where(example.mask, n, 0)
    moved = (np.eye(GENES) - (n if turned else n.T)) @ whole
    rest = moved + moved.T
    sd = np.sqrt(np.diag(whole))
    if free:
        rest = rest - np.diag(np.maximum(np.diag(rest), 0))
    price = hyper["steady"] * weight.sum() / (4 * (seen.sum() if shared else 1))
    return {
        "objective": weight @ cost + price * np.sum(rest**2),
        "weight": n,
        "score": np.abs(n) * sd[:, None] / sd[None, :],
    }


def _compared(example: Steady, **change: Any) -> list[Finding]:
    spec, mask, (y, total) = (
        get("dictys").function(None, **example.hyper),
        example.mask,
        example.counts,
    )
    none = np.zeros((GENES, GENES))
    prior = PriorView(mask, 1.0 * mask, none.astype(np.int8), np.eye(GENES, dtype=bool), mask)
    view = View(x=y, y=y, weight=example.weight, extra={"total": total})
    params = Blocks(**example.point)
    value, _ = evaluated(spec, params, view, prior)
    columns = spec.columns[0](params, view, prior)
    got = {"objective": value} | jax.tree.map(np.asarray, columns)
    want = dictys(example, **change)
    assert set(got) == set(want)
    return [apart(name, got[name], want[name], unit=1e-6) for name in want]


CLAIMS = (
    claimed(
        "methods.dictys",
        "the objective is the negative ELBO of counts over correlated latents, plus the squares by "
        "which their covariance is not that of the steady state, and columns are the network",
        (),
        Search("dictys", _compared, (_examples,), 1e-8).slipped,
        {
            "latents without a variance in the counts": {"spread": False},
            "latents without correlations": {"correlated": False},
            "regulators and targets exchanged": {"turned": True},
            "dynamics without noise": {"free": False},
            "weights without bounds": {"bounded": False},
            "weights of cells ignored": {"weighted": False},
            "a price that does not share out over the genes": {"shared": False},
        },
        reason=NO_THEOREM,
        share=0.3,
    ),
)
