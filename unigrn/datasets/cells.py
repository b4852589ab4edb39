"""Single-cell counts from the kinetics of a known regulatory network.

Over 450 lines: one model of kinetics, whose parameters, simulation and sampling share their state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrn.check import check_between, check_index, check_range
from unigrn.names import numbered_names

if TYPE_CHECKING:
    import anndata
    import pandas as pd

_CELLS_AT_ONCE = 256  # cells integrated at once: their state stays in the processor's cache
_STEP = 0.1  # Euler-Maruyama step; transcripts live about 1, proteins 2
_LEAK = 0.02  # transcription of a promoter that is off, as a share of the maximum
_HALF = 0.45  # occupancy is one half where a regulator's protein is at this share of its maximum


@dataclass(frozen=True)
class Simulation:
    """Simulated single-cell data and the network that made them.

    Attributes
    ----------
    genes
        Names, (p,). The first q are the regulators.
    regulators
        Names, (q,).
    groups
        Group of every cell, (n,), as strings.
    counts
        Captured transcripts, (n, p) int32: what a sequencer would report.
    normalized
        log(1 + 10,000 counts / total counts of the cell), (n, p) float32.
    imputed
        `normalized` averaged over each cell's nearest neighbours, (n, p) float32.
    components
        Principal components of `normalized`, (n, at most 20) float32.
    true_expression
        Transcripts in the cell before capture, (n, p) float32.
    truth
        Table group, source, target, weight: one row per group and edge. `weight` is the change
        of the promoter's log odds at full occupancy; its sign is that of the regulation.
    prior
        Table source, target, weight: noisy prior evidence, see `simulate`.
    knockout
        Regulators that were silenced.
    """

    genes: np.ndarray
    regulators: np.ndarray
    groups: np.ndarray
    counts: np.ndarray = field(repr=False)
    normalized: np.ndarray = field(repr=False)
    imputed: np.ndarray = field(repr=False)
    components: np.ndarray = field(repr=False)
    true_expression: np.ndarray = field(repr=False)
    truth: pd.DataFrame = field(repr=False)
    prior: pd.DataFrame = field(repr=False)
    knockout: tuple[str, ...] = ()

    def to_anndata(self) -> anndata.AnnData:
        """Return the data as AnnData, as a study would find them.

        Returns
        -------
        anndata.AnnData
            X and layers "counts" (CSR), "normalized" (CSR), "imputed" (dense);
            obs "group" (categorical); var "is_regulator"; obsm "X_pca".
        """
        import anndata
        import pandas as pd
        from scipy import sparse

        width = len(str(len(self.groups)))
        cells = [f"cell{i + 1:0{width}d}" for i in range(len(self.groups))]
        obs = pd.DataFrame({"group": pd.Categorical(self.groups)}, index=pd.Index(cells))
        var = pd.DataFrame(
            {"is_regulator": np.arange(len(self.genes)) < len(self.regulators)},
            index=pd.Index(self.genes.astype(object)),
        )
        counts = sparse.csr_matrix(self.counts.astype(np.float32))
        layers = {
            "counts": counts.copy(),
            "normalized": sparse.csr_matrix(self.normalized),
            "imputed": self.imputed.copy(),
        }
        obsm: Any = {"X_pca": self.components.copy()}
        return anndata.AnnData(X=counts, obs=obs, var=var, layers=layers, obsm=obsm)

    def gold(self, group: str | None = None) -> pd.DataFrame:
        """Return the prior's edges, each labelled true or false: an honest gold standard.

        A method that is given the prior as candidates can only rank the prior's edges. Ranked
        among all pairs of genes it would be praised for what the prior knew already.

        Parameters
        ----------
        group
            Label by the network of this group; by default an edge is true if it is in any group.

        Returns
        -------
        pandas.DataFrame
            source, target, label (1 true, 0 false), in the order of `prior`.

        Raises
        ------
        ValueError
            Where there is no such group.
        """
        truth = self.truth
        if group is not None:
            known = np.unique(self.groups).tolist()
            if group not in known:
                raise ValueError(f"group is {group!r}; needed one of {', '.join(known)}")
            truth = truth[truth["group"] == group]
        gold: Any = self.prior[["source", "target"]].copy()
        size = len(self.genes)
        wanted = _codes(self.genes, gold["source"]) * size + _codes(self.genes, gold["target"])
        found = _codes(self.genes, truth["source"]) * size + _codes(self.genes, truth["target"])
        gold["label"] = np.isin(wanted, found).astype(np.int64)
        return gold

    def correlations(self, layer: str = "imputed", group: str | None = None) -> pd.DataFrame:
        """Return Pearson's correlation of the prior's edges: the baseline to beat.

        Parameters
        ----------
        layer
            "counts", "normalized", "imputed" or "true_expression".
        group
            Use the cells of this group; by default every group in turn.

        Returns
        -------
        pandas.DataFrame
            group, source, target, weight; 0 where a gene does not vary.

        Raises
        ------
        ValueError
            Where there is no such layer or group.
        """
        import pandas as pd

        layers = ("counts", "normalized", "imputed", "true_expression")
        if layer not in layers:
            raise ValueError(f"layer is {layer!r}; needed one of {', '.join(layers)}")
        known = np.unique(self.groups).tolist()
        if group is not None and group not in known:
            raise ValueError(f"group is {group!r}; needed one of {', '.join(known)}")
        source = _codes(self.genes, self.prior["source"])
        target = _codes(self.genes, self.prior["target"])
        tables = []
        for name in known if group is None else [group]:
            values = getattr(self, layer)[self.groups == name].astype(np.float64)
            values -= values.mean(axis=0)
            length = np.sqrt((values**2).sum(axis=0))
            values /= np.where(length > 0, length, 1.0)
            weight = (values[:, : len(self.regulators)].T @ values)[source, target]
            table = self.prior[["source", "target"]].assign(group=name, weight=weight)
            tables.append(table[["group", "source", "target", "weight"]])
        return pd.concat(tables, ignore_index=True)


def simulate(
    cells: int = 1200,
    regulators: int = 40,
    genes: int = 400,
    groups: int = 3,
    *,
    parents: tuple[int, int] = (2, 6),
    repressors: float = 0.3,
    rewired: float = 0.2,
    feedback: float = 0.05,
    strength: tuple[float, float] = (1.5, 4.0),
    hill: float = 2.0,
    extrinsic: float = 0.5,
    intrinsic: float = 1.0,
    steps: int = 100,
    depth: float = 0.9,
    dispersion: float = 0.1,
    dropout: float = 0.1,
    neighbours: int | None = None,
    prior_false: float = 3.0,
    prior_missing: float = 0.2,
    prior_auroc: float = 0.6,
    knockout: str | Iterable[str] = (),
    seed: int = 0,
) -> Simulation:
    """Simulate single-cell counts from the kinetics of a known regulatory network.

    **Network.** A core network shared by the groups, in which every group swaps a share of the
    edges for edges of its own. A quarter of the regulators are masters that nothing regulates.
    The others regulate each other in a random order, apart from a few edges that feed back.
    Regulators differ in their number of targets as r^-0.6 of their rank r.

    **Kinetics.** For gene g in a cell, with transcripts m and the regulators' proteins z,

        h_r    = z_r^n / (K_r^n + z_r^n)                                  occupancy (Hill)
        on_g   = 1 / (1 + exp(-b_g - sum_r w_rg h_r))                     promoter is on
        dm_g   = (v_g e_g (leak + (1 - leak) on_g) - d_g m_g) dt + noise
        dz_r   = (m_r - z_r) / 2 dt

    Every regulator thus multiplies the odds of an active promoter by exp(w_rg h_r). The noise is
    that of the chemical Langevin equation (Gillespie 2000, doi:10.1063/1.481811),
    sqrt(production + decay) dW, by Euler-Maruyama from where the cell comes to rest without noise.
    Masters are driven by a level of their group and a factor of the cell; e is the extrinsic
    noise of gene and cell.

    **Capture.** The transcripts of a cell are sampled to a log-normal library size with negative
    binomial noise, and entries drop out with a probability logistic in log expression.

    **Prior.** The edges of the truth (over all groups) without a share of missing ones, and false
    edges drawn so that regulators and targets have about as many in proportion as true ones: the
    number of candidates says little about which are true (exactly nothing cannot be had, as a hub
    has few genes left that it does not regulate). The prior's weights say as much as
    `prior_auroc`. Score a method among the prior's edges (`gold`), against
    the prior's own weights and against plain correlation (`correlations`): a network that
    repeats its prior has learnt nothing.

    Parameters
    ----------
    cells, regulators, genes, groups
        Sizes: n cells, q regulators among p genes, and the number of groups of cells.
    parents
        Fewest and most regulators of a target in one group; fewer where there are no more, as
        early in the cascade.
    repressors
        Share of regulators that mostly repress; one edge in ten goes against its regulator's habit.
    rewired
        Share of the edges that each group swaps for its own.
    feedback
        Share of the regulators whose regulators may come from anywhere in the order.
    strength
        Range of the size of w, in log odds at full occupancy.
    hill
        Hill coefficient n, at most 10.
    extrinsic
        Standard deviation of log e for regulators; half of it for other genes.
    intrinsic
        Factor of the Langevin noise: 1 as derived, 0 for none.
    steps
        Number of Euler steps, each about a tenth of the lifetime of a transcript.
    depth
        Captured transcripts per gene and cell, on average before dropout.
    dispersion
        Overdispersion f of the capture: variance = mean + f mean^2.
    dropout
        Share of the entries that drop out, on average over entries; many are zero already.
    neighbours
        Cells averaged for `imputed`, the cell itself among them; by default 2.5 % of the cells,
        at least 10. Neighbours are found among all cells by principal components. Averaging
        removes sampling noise and inflates correlations of false and of true edges alike.
    prior_false
        False edges in the prior per true edge in the prior.
    prior_missing
        Share of the true edges that the prior lacks.
    prior_auroc
        Chance that a true edge of the prior has a larger weight than a false one, 0.5 to 1.
    knockout
        Regulators that are never transcribed, such as "TF07". Network, prior and the random
        numbers of the kinetics stay: `true_expression` changes only downstream.
    seed
        Seed of NumPy's default generator.

    Returns
    -------
    Simulation

    Raises
    ------
    ValueError
        Where an argument makes no sense; the message says which and what is needed.

    Examples
    --------
    >>> data = simulate(cells=60, regulators=8, genes=20, groups=2, parents=(1, 2), prior_false=2)
    >>> data.counts.shape, list(data.truth)
    ((60, 20), ['group', 'source', 'target', 'weight'])
    """
    cells = check_index("cells", cells, 2)
    regulators = check_index("regulators", regulators, 2)
    genes = check_index("genes", genes, 2)
    groups = check_index("groups", groups, 1)
    steps = check_index("steps", steps, 1)
    seed = check_index("seed", seed, 0)
    fewest, most = check_range("parents", parents, whole=True)
    weakest, strongest = check_range("strength", strength)
    if regulators > genes:
        raise ValueError(
            f"regulators is {regulators} and genes is {genes}; regulators are genes, "
            f"so needed at most {genes}"
        )
    if groups > cells:
        raise ValueError(f"groups is {groups} and cells is {cells}; needed a cell in every group")
    if not 1 <= fewest < regulators:
        raise ValueError(
            f"parents is ({fewest}, {most}); needed 1 <= fewest < regulators = {regulators}"
        )
    for name, value in (("repressors", repressors), ("rewired", rewired), ("feedback", feedback)):
        check_between(name, value, 0.0, 1.0)
    check_between("dropout", dropout, 0.0, 1.0, open_end=True)
    check_between("prior_missing", prior_missing, 0.0, 1.0, open_end=True)
    check_between("prior_auroc", prior_auroc, 0.5, 1.0, open_end=True)
    for name, value in (
        ("extrinsic", extrinsic),
        ("intrinsic", intrinsic),
        ("dispersion", dispersion),
        ("prior_false", prior_false),
    ):
        check_between(name, value, 0.0, math.inf, open_end=True)
    for name, value in (("hill", hill), ("depth", depth), ("strength", weakest)):
        check_between(name, value, 0.0, math.inf, open_end=True)
        if value == 0:
            raise ValueError(f"{name} is 0; needed a positive number")
    check_between("hill", hill, 0.0, 10.0)
    if neighbours is None:
        neighbours = min(cells, max(10, round(0.025 * cells)))
    neighbours = check_index("neighbours", neighbours, 1)
    if neighbours > cells:
        raise ValueError(f"neighbours is {neighbours}; needed at most the {cells} cells")

    names = numbered_names("TF", regulators)
    gene_names = np.concatenate([names, numbered_names("gene", genes - regulators)])
    silenced = tuple(sorted({knockout} if isinstance(knockout, str) else set(knockout)))
    unknown = [name for name in silenced if name not in names]
    if unknown:
        raise ValueError(
            f"knockout names {unknown[0]!r}; needed regulators, {names[0]} to {names[-1]}"
        )
    silent = np.flatnonzero(np.isin(names, silenced))

    # One generator per stage, so that one stage's arguments do not disturb the others.
    for_network, for_cells, for_noise, for_capture, for_prior = np.random.default_rng(seed).spawn(5)
    weights, master = _network(
        for_network,
        (groups, regulators, genes),
        (fewest, most),
        (weakest, strongest),
        repressors,
        rewired,
        feedback,
    )
    member = for_cells.permutation(np.arange(cells) % groups)
    expression = _kinetics(
        for_cells, for_noise, weights, master, member, hill, extrinsic, intrinsic, steps, silent
    )
    counts = _capture(for_capture, expression, depth, dispersion, dropout)
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    normalized = np.log1p(counts * (1e4 / total)).astype(np.float32)
    components = _components(normalized, 20)
    truth, prior = _tables(
        for_prior, weights, names, gene_names, prior_false, prior_missing, prior_auroc
    )
    return Simulation(
        genes=gene_names,
        regulators=names,
        groups=numbered_names("group_", groups)[member],
        counts=counts,
        normalized=normalized,
        imputed=_average_neighbours(normalized, components, neighbours),
        components=components,
        true_expression=expression,
        truth=truth,
        prior=prior,
        knockout=silenced,
    )


def _network(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    parents: tuple[int, int],
    strength: tuple[float, float],
    repressors: float,
    rewired: float,
    feedback: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw signed weights, (groups, q, p), and which regulators are masters, (q,)."""
    groups, q, p = shape
    order = rng.permutation(q)  # place of every regulator in the cascade
    master = order < max(1, round(q / 4))
    popularity = -0.6 * np.log1p(rng.permutation(q))

    allowed = np.ones((q, p), dtype=bool)
    allowed[:, :q] = (order[:, None] < order[None, :]) | (rng.random(q) < feedback)
    allowed[:, :q][:, master] = False
    np.fill_diagonal(allowed, False)

    sizes = np.arange(parents[0], parents[1] + 1)
    wanted = rng.choice(sizes, size=p, p=(1 / sizes) / (1 / sizes).sum())
    core = _draw(rng, popularity, allowed, wanted)

    represses = rng.permutation(q) < round(repressors * q)
    negative = represses[:, None] ^ (rng.random((q, p)) < 0.1)
    weight = np.where(negative, -1.0, 1.0) * rng.uniform(*strength, size=(q, p))

    free = allowed & ~core
    # Only genes with enough other regulators to swap all of theirs.
    source, target = np.nonzero(core & (free.sum(axis=0) >= core.sum(axis=0)))
    networks = []
    for _ in range(groups):
        swapped = rng.permutation(len(source))[: round(rewired * core.sum())]
        edges = core.copy()
        edges[source[swapped], target[swapped]] = False
        edges |= _draw(rng, popularity, free, np.bincount(target[swapped], minlength=p))
        networks.append(np.where(edges, weight, 0.0))
    return np.stack(networks).astype(np.float32), master


def _draw(
    rng: np.random.Generator, log_weight: np.ndarray, allowed: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Draw wanted[j] allowed rows for every column j, weighted and without replacement."""
    key = np.where(allowed, log_weight[:, None] + rng.gumbel(size=allowed.shape), -np.inf)
    rank = np.argsort(np.argsort(-key, axis=0, kind="stable"), axis=0, kind="stable")
    return (rank < wanted) & allowed


def _kinetics(
    for_cells: np.random.Generator,
    for_noise: np.random.Generator,
    weights: np.ndarray,
    master: np.ndarray,
    member: np.ndarray,
    hill: float,
    extrinsic: float,
    intrinsic: float,
    steps: int,
    silent: np.ndarray,
) -> np.ndarray:
    """Integrate the chemical Langevin equation; return transcripts, (n, p) float32."""
    groups, q, p = weights.shape
    n = len(member)
    maximum = 40 * np.exp(for_cells.normal(0.0, 1.0, p))
    decay = for_cells.uniform(0.7, 1.4, p).astype(np.float32)
    speed = (maximum * decay).astype(np.float32)
    half = (_HALF * maximum[:q]).astype(np.float32)
    # Centred so that a promoter whose regulators are half bound is on a little less than half.
    bias = (for_cells.normal(-0.4, 0.4, p) - 0.5 * weights.sum(axis=1)).astype(np.float32)

    level = for_cells.normal(0.0, 1.2, (groups, master.sum()))
    drive = level[member] + for_cells.normal(0.0, 1.0, (n, master.sum()))
    driver = (1 / (1 + np.exp(-drive))).astype(np.float32)
    spread = np.where(np.arange(p) < q, extrinsic, extrinsic / 2)
    factor = for_cells.standard_normal((n, p), dtype=np.float32) * spread.astype(np.float32)
    factor = np.exp(factor, out=factor)

    def transcription(
        protein: np.ndarray, group: int, top: np.ndarray, drive: np.ndarray, first: int
    ) -> np.ndarray:
        """Rate of transcription of the first genes."""
        bound = np.minimum(protein / half, 1e3) ** np.float32(hill)
        bound /= 1 + bound
        rate = bound @ weights[group][:, :first]
        rate += bias[group, :first]
        np.negative(rate, out=rate)
        np.minimum(rate, 80, out=rate)  # beyond, exp overflows and the promoter is off anyway
        np.exp(rate, out=rate)
        rate += 1
        np.divide(np.float32(1 - _LEAK), rate, out=rate)
        rate[:, :q][:, master] = drive
        rate += np.float32(_LEAK)
        rate *= top[:, :first]
        return rate

    expression = np.empty((n, p), dtype=np.float32)
    root = np.float32(intrinsic * math.sqrt(_STEP))
    step = np.float32(_STEP)
    for group in range(groups):
        mine = np.flatnonzero(member == group)
        for first in range(0, len(mine), _CELLS_AT_ONCE):
            here = mine[first : first + _CELLS_AT_ONCE]
            top = speed * factor[here]
            top[:, silent] = 0
            drive = driver[here]

            # The regulators come to rest without noise first, which is cheap: they are few.
            protein = np.float32(_HALF) * (top / decay)[:, :q]
            state = protein.copy()
            for _ in range(2 * steps):
                made = transcription(protein, group, top, drive, q)
                state += step * (made - decay[:q] * state)
                protein += (step / 2) * (state - protein)

            state = transcription(protein, group, top, drive, p) / decay
            noise = np.empty_like(state)
            for _ in range(steps):
                made = transcription(protein, group, top, drive, p)
                gone = decay * state
                for_noise.standard_normal(dtype=np.float32, out=noise)
                noise *= root
                noise *= np.sqrt(made + gone)
                made -= gone
                made *= step
                state += made
                state += noise
                np.maximum(state, 0, out=state)
                protein += (step / 2) * (state[:, :q] - protein)
            expression[here] = state
    return expression


def _capture(
    rng: np.random.Generator,
    expression: np.ndarray,
    depth: float,
    dispersion: float,
    dropout: float,
) -> np.ndarray:
    """Sample captured transcripts, (n, p) int32."""
    n, p = expression.shape
    library = depth * p * np.exp(rng.normal(-0.06, 0.35, (n, 1)))
    mean = expression * (library / np.maximum(expression.sum(axis=1, keepdims=True), 1e-9))
    rate = mean
    if dispersion > 0:
        rate = mean * (rng.standard_gamma(1 / dispersion, (n, p)) * dispersion)
    counts = rng.poisson(rate).astype(np.int32)
    if dropout > 0:
        log_mean = np.log(np.maximum(mean, 1e-3))
        sample = log_mean.ravel()[:: max(1, n * p // 20_000)]
        low, high = -50.0, 50.0  # bisect for the midpoint that gives the share asked for
        for _ in range(40):
            middle = (low + high) / 2
            share = (1 / (1 + np.exp(sample - middle))).mean()
            low, high = (middle, high) if share < dropout else (low, middle)
        counts[rng.random((n, p)) < 1 / (1 + np.exp(log_mean - middle))] = 0
    return counts


def _components(values: np.ndarray, most: int) -> np.ndarray:
    """Return the leading principal components of the rows, signs fixed, (n, <= most) float32."""
    centred = values - values.mean(axis=0)
    n, p = centred.shape
    small = centred.T @ centred if p <= n else centred @ centred.T
    value, vector = np.linalg.eigh(small.astype(np.float64))
    keep = np.arange(len(value))[::-1][: min(most, n - 1, p)]
    scores = centred @ vector[:, keep] if p <= n else vector[:, keep] * np.sqrt(value[keep].clip(0))
    largest = scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])]
    return (scores * np.where(largest < 0, -1.0, 1.0)).astype(np.float32)


def _average_neighbours(values: np.ndarray, components: np.ndarray, count: int) -> np.ndarray:
    """Average every row with its nearest rows in the space of the components."""
    square = (components**2).sum(axis=1)
    smooth = np.empty_like(values)
    for first in range(0, len(values), _CELLS_AT_ONCE):
        here = slice(first, first + _CELLS_AT_ONCE)
        # |a - b|^2 without |a|^2, the same for the whole row.
        far = square - 2 * (components[here] @ components.T)
        near = np.argpartition(far, count - 1, axis=1)[:, :count]
        total = np.zeros_like(values[here])
        for column in np.sort(near, axis=1).T:
            total += values[column]
        smooth[here] = total / count
    return smooth


def _tables(
    rng: np.random.Generator,
    weights: np.ndarray,
    regulators: np.ndarray,
    genes: np.ndarray,
    prior_false: float,
    prior_missing: float,
    prior_auroc: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the truth and a prior that lacks true edges and holds false ones."""
    import pandas as pd

    groups, q, p = weights.shape
    group, source, target = np.nonzero(weights)
    truth = pd.DataFrame(
        {
            "group": numbered_names("group_", groups)[group].astype(object),
            "source": regulators[source].astype(object),
            "target": genes[target].astype(object),
            "weight": weights[group, source, target].astype(np.float64),
        }
    )

    true = (weights != 0).any(axis=0)
    source, target = np.nonzero(true)
    kept = np.sort(rng.permutation(len(source))[round(prior_missing * len(source)) :])
    source, target = source[kept], target[kept]
    possible = ~true
    np.fill_diagonal(possible, False)
    count = round(prior_false * len(kept))
    if count > possible.sum():
        raise ValueError(
            f"prior_false is {prior_false:g}, which asks for {count} false edges; only "
            f"{possible.sum()} pairs are not true, so needed at most "
            f"{possible.sum() / len(kept):.2f}"
        )
    # As popular as true edges, on both sides, so that degrees do not give the truth away.
    log_weight = np.log(true.sum(axis=1) + 0.5)[:, None] + np.log(true.sum(axis=0) + 0.5)
    key = np.where(possible, log_weight + rng.gumbel(size=(q, p)), -np.inf)
    false = np.argsort(-key, axis=None, kind="stable")[:count]
    source = np.concatenate([source, false // p])
    target = np.concatenate([target, false % p])

    # Two normal distributions a distance sqrt(2) probit(AUROC) apart, squashed into (0, 1).
    apart = math.sqrt(2) * NormalDist().inv_cdf(prior_auroc)
    signal = rng.standard_normal(len(source)) + np.where(
        np.arange(len(source)) < len(kept), apart / 2, -apart / 2
    )
    order = np.lexsort((source, target))
    prior = pd.DataFrame(
        {
            "source": regulators[source[order]].astype(object),
            "target": genes[target[order]].astype(object),
            "weight": 1 / (1 + np.exp(-1.7 * signal[order])),
        }
    )
    return truth, prior


def _codes(names: np.ndarray, values: Iterable[str]) -> np.ndarray:
    """Return the position of every value among names."""
    order = np.argsort(names)
    return order[np.searchsorted(names, np.asarray(values, dtype=str), sorter=order)]
