"""Linear Gaussian data with known coefficients, whole or in blocks of cells."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from unigrn.check import check_between, check_index, check_range
from unigrn.names import numbered_names

if TYPE_CHECKING:
    import anndata
    import pandas as pd

BLOCK = 4096  # rows of a stream that share one seed
_CHUNK = 512  # rows made at once; always made whole, so that a row never depends on the request


@dataclass(frozen=True)
class Stream:
    """Linear Gaussian data that are made as they are read. Made by `stream`.

    Attributes
    ----------
    cells
        Number of rows that can be read.
    regulators, targets
        Names, (q,) and (p,).
    coefficients
        B, (q, p) float32, zero off the true edges.
    indptr, index
        Candidates of target j: index[indptr[j]:indptr[j + 1]], positions of regulators, ascending.
    noise
        Standard deviation of the noise, where the signal's is 1.
    seed
        Seed of the rows and of the coefficients.
    """

    cells: int
    regulators: np.ndarray
    targets: np.ndarray
    coefficients: np.ndarray = field(repr=False)
    indptr: np.ndarray = field(repr=False)
    index: np.ndarray = field(repr=False)
    noise: float
    seed: int
    own: float = field(repr=False)
    loadings: np.ndarray = field(repr=False)

    @property
    def genes(self) -> np.ndarray:
        """Names of the columns of a block: regulators, then targets."""
        return np.concatenate([self.regulators, self.targets])

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return self.cells, len(self.regulators) + len(self.targets)

    @property
    def prior(self) -> pd.DataFrame:
        """Candidates of every target: source, target, weight 1."""
        target = np.repeat(np.arange(len(self.targets)), np.diff(self.indptr))
        return _edges(self, self.index, target, np.ones(len(target)))

    @property
    def truth(self) -> pd.DataFrame:
        """True edges: source, target, weight (the coefficient)."""
        target, source = np.nonzero(self.coefficients.T)
        return _edges(self, source, target, self.coefficients[source, target].astype(np.float64))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return rows start to stop, (stop - start, q + p) float32.

        Every row is a pure function of the seed and its place: reading in any blocks, in any
        order, gives the same bytes. Reads of whole blocks of 4096 rows are the fastest.

        Raises
        ------
        ValueError
            Unless 0 <= start <= stop <= cells.
        """
        start, stop = operator.index(start), operator.index(stop)
        if not 0 <= start <= stop <= self.cells:
            raise ValueError(
                f"start is {start} and stop is {stop}; needed 0 <= start <= stop <= {self.cells}"
            )
        q = len(self.regulators)
        rows = np.empty((stop - start, self.shape[1]), dtype=np.float32)
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            rng = np.random.default_rng(np.random.SeedSequence((self.seed, block)))
            for first in range(block * BLOCK, min((block + 1) * BLOCK, stop), _CHUNK):
                shared = rng.standard_normal((_CHUNK, len(self.loadings)), dtype=np.float32)
                drawn = rng.standard_normal((_CHUNK, self.shape[1]), dtype=np.float32)
                low, high = max(start, first), min(stop, first + _CHUNK)
                if low >= high:
                    continue
                drawn[:, :q] *= np.float32(self.own)
                drawn[:, :q] += shared @ self.loadings
                drawn[:, q:] *= np.float32(self.noise)
                drawn[:, q:] += drawn[:, :q] @ self.coefficients
                rows[low - start : high - start] = drawn[low - first : high - first]
        return rows


@dataclass(frozen=True)
class Linear:
    """Linear Gaussian data with known coefficients. Made by `linear`.

    Attributes
    ----------
    X
        Regulators, (n, q) float32.
    Y
        Targets, (n, p) float32.
    regulators, targets
        Names, (q,) and (p,).
    coefficients
        B, (q, p) float32, zero off the true edges.
    indptr, index
        Candidates of target j: index[indptr[j]:indptr[j + 1]], positions of regulators, ascending.
    noise
        Standard deviation of the noise, where the signal's is 1.
    """

    X: np.ndarray = field(repr=False)
    Y: np.ndarray = field(repr=False)
    regulators: np.ndarray
    targets: np.ndarray
    coefficients: np.ndarray = field(repr=False)
    indptr: np.ndarray = field(repr=False)
    index: np.ndarray = field(repr=False)
    noise: float

    genes = Stream.genes
    prior = Stream.prior
    truth = Stream.truth

    def to_anndata(self) -> anndata.AnnData:
        """Return AnnData whose X is regulators, then targets; var "is_regulator"."""
        import anndata
        import pandas as pd

        var = pd.DataFrame(
            {"is_regulator": np.arange(len(self.genes)) < len(self.regulators)},
            index=pd.Index(self.genes.astype(object)),
        )
        obs = pd.DataFrame(index=pd.Index(numbered_names("cell", len(self.X)).astype(object)))
        return anndata.AnnData(X=np.concatenate([self.X, self.Y], axis=1), obs=obs, var=var)


def linear(
    cells: int = 1000,
    regulators: int = 30,
    targets: int = 100,
    candidates: int | tuple[int, int] = (5, 15),
    noise: float = 1.0,
    seed: int = 0,
    *,
    active: int = 4,
    correlation: float = 0.3,
) -> Linear:
    """Draw linear Gaussian data with known coefficients.

        Y = X B + noise E,    X, E standard normal,    Var(X B) = 1 for every target

    so that the share of a target's variance that its regulators explain is 1 / (1 + noise^2).
    Regulators share a few hidden factors, which make up the share `correlation` of their
    variance. The data are the first rows of `stream` with the same arguments.

    Parameters
    ----------
    cells, regulators, targets
        Sizes n, q and p.
    candidates
        Candidates per target, a number or the fewest and the most; the true regulators are
        among them.
    noise
        Standard deviation of the noise.
    seed
        Seed of rows and coefficients.
    active
        True regulators per target, or all candidates where these are fewer.
    correlation
        Share of the regulators' variance that comes from shared factors, below 1.

    Returns
    -------
    Linear

    Raises
    ------
    ValueError
        Where an argument makes no sense.

    Examples
    --------
    >>> data = linear(50, regulators=6, targets=4, candidates=(2, 5), active=2)
    >>> data.X.shape, data.Y.shape, len(data.truth)
    ((50, 6), (50, 4), 8)
    """
    source = stream(
        cells, regulators, targets, candidates, noise, seed, active=active, correlation=correlation
    )
    rows = source.read(0, source.cells)
    q = len(source.regulators)
    return Linear(
        X=np.ascontiguousarray(rows[:, :q]),
        Y=np.ascontiguousarray(rows[:, q:]),
        regulators=source.regulators,
        targets=source.targets,
        coefficients=source.coefficients,
        indptr=source.indptr,
        index=source.index,
        noise=source.noise,
    )


def stream(
    cells: int = 1_000_000,
    regulators: int = 30,
    targets: int = 100,
    candidates: int | tuple[int, int] = (5, 15),
    noise: float = 1.0,
    seed: int = 0,
    *,
    active: int = 4,
    correlation: float = 0.3,
) -> Stream:
    """Return linear Gaussian data that are made block by block as they are read.

    The model and the arguments are those of `linear`. Rows come in blocks of 4096, each from the
    seed sequence (seed, block), so a million cells can be streamed without being held.

    Returns
    -------
    Stream
        Its `read(start, stop)` returns (stop - start, regulators + targets) float32.

    Raises
    ------
    ValueError
        Where an argument makes no sense.

    Examples
    --------
    >>> data = stream(1_000_000, regulators=6, targets=4, candidates=(2, 5))
    >>> data.shape, data.read(999_990, 1_000_000).shape
    ((1000000, 10), (10, 10))
    """
    cells = check_index("cells", cells, 1)
    q = check_index("regulators", regulators, 1)
    p = check_index("targets", targets, 1)
    seed = check_index("seed", seed, 0)
    active = check_index("active", active, 1)
    if isinstance(candidates, int | np.integer):
        candidates = (candidates, candidates)
    fewest, most = check_range("candidates", candidates, whole=True)
    if not 1 <= fewest <= most <= q:
        raise ValueError(
            f"candidates is ({fewest}, {most}); needed 1 <= fewest <= most <= regulators = {q}"
        )
    check_between("noise", noise, 0.0, math.inf, open_end=True)
    check_between("correlation", correlation, 0.0, 1.0, open_end=True)

    # Named apart from the rows' seeds, (seed, block), by its length.
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0, 0)))
    rank = np.argsort(rng.random((p, q), dtype=np.float32), axis=1, kind="stable")
    rank = np.argsort(rank, axis=1, kind="stable")
    count = rng.integers(fewest, most, size=p, endpoint=True)
    candidate = rank < count[:, None]
    true = candidate & (rank < active)
    size = rng.uniform(0.5, 1.5, (p, q)) * np.where(rng.random((p, q)) < 0.5, -1.0, 1.0)
    coefficients = np.where(true, size, 0.0).T

    loadings = rng.standard_normal((min(5, q), q))
    loadings *= math.sqrt(correlation) / np.sqrt((loadings**2).sum(axis=0))
    variance = (1 - correlation) * (coefficients**2).sum(axis=0)
    variance += ((loadings @ coefficients) ** 2).sum(axis=0)
    target, index = np.nonzero(candidate)
    return Stream(
        cells=cells,
        regulators=numbered_names("TF", q),
        targets=numbered_names("gene", p),
        coefficients=(coefficients / np.sqrt(variance)).astype(np.float32),
        indptr=np.concatenate([[0], np.cumsum(np.bincount(target, minlength=p))]).astype(np.int64),
        index=index.astype(np.int32),
        noise=float(noise),
        seed=seed,
        own=math.sqrt(1 - correlation),
        loadings=loadings.astype(np.float32),
    )


def _edges(
    data: Stream | Linear, source: np.ndarray, target: np.ndarray, weight: np.ndarray
) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "source": data.regulators[source].astype(object),
            "target": data.targets[target].astype(object),
            "weight": weight,
        }
    )
