"""Over: a finite axis over which a spec is fitted, and the rule that reduces it.

Every member of an axis is the same problem with something else in place: other weights of the
cells (bags, subsamples, folds, deleted blocks), other candidates (bags), the cells of the targets
in another order (permuted copies), other hyperparameters (a path), another start. All of it is data
of one compiled program. Axes nest: the first is the innermost, and is reduced first.

Over 450 lines: a class for every axis, which are read side by side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from unigrn.bootstrap import Bootstrap
from unigrn.rates import false_discovery_rate
from unigrn.terms import Array, labels

HIDDEN = 5  # parts of the targets, each of which takes what the others choose
BY = {
    "target": "each target for itself",
    "network": "one for all targets",
    "hidden": f"chosen for each of {HIDDEN} parts of the targets by the others",
}
CHOSEN = "chosen"  # the value of every target, where a path chooses for several
STRETCH = 1024  # cells of a group within which a copy of the targets is permuted

Reader = Callable[[int, int], np.ndarray]  # weights of cells start..stop-1, (size, cells)


@dataclass(frozen=True)
class Found:
    """What the members of one axis found, on the host: the axis of members comes first.

    ``edges`` are columns (members, ..., entries), ``weight`` among them; ``targets`` are numbers of
    each fit (members, ..., targets): ``objective``, and ``loss`` or ``heldout`` where asked for.
    Where the loss was asked for, ``cells`` of them says how many cells each was fitted to.
    ``target`` (entries,) says which target an entry is of, ``deviation`` (targets,) its standard
    deviation in the group, ``cells`` the number of cells of the group.
    """

    edges: dict[str, np.ndarray]
    targets: dict[str, np.ndarray]
    target: np.ndarray
    deviation: np.ndarray
    cells: int

    def mean(self) -> Found:
        """Average every column over the members, in double precision."""

        def averaged(table):
            return {k: np.mean(v, axis=0, dtype=np.float64) for k, v in table.items()}

        return dataclasses.replace(self, edges=averaged(self.edges), targets=averaged(self.targets))

    def member(self, number: int) -> Found:
        """Take one member."""
        return dataclasses.replace(
            self,
            edges={k: v[number] for k, v in self.edges.items()},
            targets={k: v[number] for k, v in self.targets.items()},
        )


@dataclass(frozen=True)
class Over:
    """An axis of ``size`` fits; subclass it (a frozen dataclass), and say what differs.

    A method that returns None leaves that as it is. Class attributes: ``by_candidates`` True where
    `cells` depends on the number of candidates, ``starts`` where every member has a key of its own,
    ``loss`` where `reduce` asks for the loss of each fit, ``certified`` the members whose
    certificates count, ``speaks`` those whose numbers of targets are averaged with ``compiled``,
    ``leaves_out`` where groups of cells are left out and become networks (`unigrn.leftout`).
    """

    # Any, because a subclass may give a property or a method.
    by_candidates: ClassVar[Any] = False
    starts: ClassVar[Any] = False
    loss: ClassVar[Any] = False
    certified: ClassVar[Any] = slice(None)
    speaks: ClassVar[Any] = slice(None)
    compiled: ClassVar[Any] = None
    leaves_out: ClassVar[Any] = False
    name: ClassVar[Any] = property(
        lambda self: type(self).__name__.lower(), doc="The axis in one word, for provenance."
    )

    @property
    def size(self) -> int:
        """Number of members."""
        raise TypeError(f"{type(self).__name__} does not say how many members it has")

    @property
    def formula(self) -> str:
        """What becomes of the fits, as text."""
        return f"{self.name} over {self.size} fits"

    @property
    def settings(self) -> dict[str, Any]:
        """What provenance keeps."""
        return dataclasses.asdict(self)

    def cells(self, count: int, group: int, seed: int, candidates: int | None) -> Any:
        """Weights of the cells of a group."""
        return None

    def held(self, count: int, group: int, seed: int) -> Any:
        """Weights of the cells on which each member is judged: ``heldout`` of targets."""
        return None

    def candidates(self, count: int, seed: int) -> Any:
        """Positions among the candidates of a target that has ``count``, (size, k)."""
        return None

    def sizes(self, counts: np.ndarray) -> np.ndarray:
        """Count the candidates that enter a fit."""
        return counts

    def order(self, member: int, group: int, start: int, count: int, seed: int) -> Any:
        """Order of the cells start..start+count-1 of a group, for the targets only."""
        return None

    def terms(self, terms: tuple) -> Any:
        """Return the terms with other hyperparameters: changed leaves get a leading axis."""
        return None

    def reduce(self, found: Found) -> Found:
        """Reduce the axis of members, in NumPy."""
        return found.mean()

    def decisive(self, targets: dict[str, np.ndarray]) -> Any:
        """Say on which members the reduced numbers of a group rest, (size, targets); None: all."""
        return None

    def remarks(self, targets: dict[str, np.ndarray], fitted: np.ndarray) -> list[tuple]:
        """Lines for the report: kind, count and text, of numbers of (groups, targets)."""
        return []

    # ``compiled(values, drawn)``, where a class has it, reduces inside the compiled program, before
    # `reduce` (whose arrays then have no axis of members): ``values`` and ``drawn`` are
    # (size, targets, candidates), and it returns a dict of (targets, candidates).


@dataclass(frozen=True)
class Bagging(Over):
    """Bootstrap of the cells and subsets of the regulators; see `unigrn.bagging`."""

    bags: int
    max_features: float = dataclasses.field(compare=False)
    draws: str = "shared"

    size = property(lambda self: self.bags)
    formula = property(lambda self: f"mean over {self.bags} bags")

    def sizes(self, counts: np.ndarray) -> np.ndarray:
        """How many of a target's candidates a bag draws: max(1, floor(share x candidates))."""
        drawn = np.maximum(1, (self.max_features * np.asarray(counts)).astype(np.int64))
        return np.where(np.asarray(counts) > 0, drawn, 0)

    def candidates(self, count: int, seed: int) -> np.ndarray:
        """Drawn positions; targets with equally many candidates share them."""
        k = int(self.sizes(np.array([count]))[0])
        rng = np.random.default_rng((seed, 1, count))
        return np.argsort(rng.random((self.bags, count)), axis=1)[:, :k]

    def cells(self, count: int, group: int, seed: int, candidates: int | None) -> Reader:
        """How often each bag draws each cell of a group, as a stream over positions."""
        return Bootstrap(self.bags, count, (seed, 0, group)).read

    def compiled(self, values: Array, drawn: Array) -> dict[str, Array]:
        """Mean, variance and number of the bags that drew an edge."""
        return dispersion(values, drawn)

    def reduce(self, found: Found) -> Found:
        """Name the mean the weight; undefined where no bag drew the edge."""
        drawn = found.edges["bags_drawn"].astype(np.int64)
        edges = {"weight": np.where(drawn > 0, found.edges["mean"], np.nan), "bags_drawn": drawn}
        own = {k: v for k, v in found.edges.items() if k not in ("mean", "variance", *edges)}
        return dataclasses.replace(found, edges=edges | own)


def condensed(axis: Over, edges: dict[str, Array], drawn: Array) -> dict[str, Array]:
    """Reduce columns (members, ...) by ``compiled``; those beside the weight are means.

    A mean is over the members that drew the edge and have the number.
    """

    def mean(values):
        there = drawn & ~jnp.isnan(values)
        count = jnp.sum(there, axis=0)
        total = jnp.sum(jnp.where(there, values, 0), axis=0)
        return jnp.where(count > 0, total / jnp.maximum(count, 1).astype(total.dtype), jnp.nan)

    others = {name: mean(values) for name, values in edges.items() if name != "weight"}
    return axis.compiled(edges["weight"], drawn) | others


def dispersion(values: Array, drawn: Array) -> dict[str, Array]:
    """Mean, variance (denominator m - 1) and number m of the bags that drew an edge.

    Parameters
    ----------
    values
        (bags, targets, candidates), anything where not drawn.
    drawn
        The same shape, True where the bag drew the candidate.
    """
    m = jnp.sum(drawn, axis=0, dtype=values.dtype)
    values = jnp.where(drawn, values, 0)
    mean = jnp.sum(values, axis=0) / jnp.maximum(m, 1)
    deviation = jnp.where(drawn, values - mean[None], 0)
    variance = jnp.sum(deviation**2, axis=0) / jnp.maximum(m - 1, 1)
    # Bags that agree to rounding agree: their mean differs from them by rounding only.
    same = jnp.max(jnp.abs(deviation), axis=0) <= 4 * jnp.finfo(values.dtype).eps * jnp.abs(mean)
    return {"mean": mean, "variance": jnp.where(same, 0, variance), "bags_drawn": m}


@dataclass(frozen=True)
class Permutations(Over):
    """The targets as they are, and copies of them with the cells in another order."""

    copies: int

    size = property(lambda self: 1 + self.copies)
    formula = property(lambda self: f"false discovery rate by permuted copies ({self.copies})")
    certified = slice(0, 1)

    def order(self, member: int, group: int, start: int, count: int, seed: int) -> Any:
        """Permute within stretches of the group, the same way for all targets."""
        if member == 0:
            return None
        places = []
        for first in range(0, count, STRETCH):
            rng = np.random.default_rng((seed, 2, group, start + first, member))
            places.append(first + rng.permutation(min(STRETCH, count - first)))
        return np.concatenate(places)

    def reduce(self, found: Found) -> Found:
        """Keep the targets as they are; the copies give the column ``fdr``."""
        size = np.abs(found.edges["weight"]) / found.deviation[found.target]
        real = found.member(0)
        flat = size.reshape(self.size, -1, size.shape[-1])
        rates = [false_discovery_rate(flat[0, i], flat[1:, i]) for i in range(flat.shape[1])]
        edges = real.edges | {"fdr": np.stack(rates).reshape(size.shape[1:])}
        return dataclasses.replace(real, edges=edges)


@dataclass(frozen=True)
class Starts(Over):
    """Several random starts; see `unigrn.consensus`."""

    runs: int
    best: bool = False
    starts = True

    size = property(lambda self: self.runs)
    formula = property(lambda self: f"{'best' if self.best else 'consensus'} of {self.runs} starts")

    def reduce(self, found: Found) -> Found:
        """Join the starts: means, the spread of ``score``, how often an edge is there.

        Or take the start of the lowest objective, target by target.
        """
        if self.best:
            value = found.targets["objective"]
            chosen = np.argmin(np.where(np.isnan(value), np.inf, value), axis=0)[None]
            entry = chosen[..., found.target]
            return dataclasses.replace(
                found,
                edges={k: np.take_along_axis(v, entry, 0)[0] for k, v in found.edges.items()},
                targets={k: np.take_along_axis(v, chosen, 0)[0] for k, v in found.targets.items()},
            )
        edges = found.mean().edges
        if "score" in edges:
            edges["score_sd"] = found.edges["score"].std(axis=0, ddof=1, dtype=np.float64)
        edges["frequency"] = (found.edges["weight"] != 0).mean(axis=0)
        return dataclasses.replace(found.mean(), edges=edges)


@dataclass(frozen=True)
class Subsamples(Over):
    """Random subsets of the cells; see `unigrn.stability`."""

    samples: int
    share: float = dataclasses.field(compare=False)

    size = property(lambda self: self.samples)
    formula = property(lambda self: f"stability over {self.samples} subsamples")

    def cells(self, count: int, group: int, seed: int, candidates: int | None) -> Reader:
        """1 for the cells that are in, 0 for the others."""
        taken = np.zeros((self.samples, count))
        k = max(1, int(self.share * count))
        for sample in range(self.samples):
            rng = np.random.default_rng((seed, 3, group, sample))
            taken[sample, rng.permutation(count)[:k]] = 1
        return lambda start, stop: taken[:, start:stop]

    def compiled(self, values: Array, drawn: Array) -> dict[str, Array]:
        """Mean weight, and the share of subsamples in which it is not 0."""
        return {
            "weight": jnp.mean(values, axis=0),
            "frequency": jnp.mean((values != 0).astype(values.dtype), axis=0),
        }

    def reduce(self, found: Found) -> Found:
        """Keep what the compiled program averaged."""
        return found


@dataclass(frozen=True)
class Folds(Over):
    """All cells, and all but one part of them at a time; see `unigrn.folds`."""

    parts: int

    size = property(lambda self: 1 + self.parts)
    formula = property(lambda self: f"all cells, judged on {self.parts} parts left out in turn,")

    def _out(self, count: int, group: int, seed: int) -> np.ndarray:
        """Say which cells each member leaves out, (size, cells): the first none."""
        rng = np.random.default_rng((seed, 4, group))
        part = rng.permutation(np.arange(count) % self.parts)
        return part == np.arange(-1, self.parts)[:, None]

    def cells(self, count: int, group: int, seed: int, candidates: int | None) -> Reader:
        """Everything, then everything but each part."""
        out = self._out(count, group, seed)
        return lambda start, stop: (~out[:, start:stop]).astype(float)

    def held(self, count: int, group: int, seed: int) -> Reader:
        """Nothing, then nothing but each part."""
        out = self._out(count, group, seed)
        return lambda start, stop: out[:, start:stop].astype(float)

    def reduce(self, found: Found) -> Found:
        """Keep the fit to all cells; the held-out loss adds up over the parts."""
        whole = found.member(0)
        targets = whole.targets | {"heldout": found.targets["heldout"][1:].sum(axis=0)}
        return dataclasses.replace(whole, targets=targets)


@dataclass(frozen=True)
class Jackknife(Over):
    """All cells, and all but one block of them at a time; see `unigrn.jackknife`."""

    blocks: int

    size = property(lambda self: 1 + self.blocks)
    formula = property(lambda self: f"jackknife over {self.blocks} blocks of cells")
    certified = slice(0, 1)

    def cells(self, count: int, group: int, seed: int, candidates: int | None) -> Reader:
        """Everything, then everything but each block."""
        rng = np.random.default_rng((seed, 5, group))
        part = rng.permutation(np.arange(count) % self.blocks)
        left_out = np.arange(-1, self.blocks)[:, None]
        return lambda start, stop: (part[None, start:stop] != left_out).astype(float)

    def reduce(self, found: Found) -> Found:
        """Keep the fit to all cells, with the jackknife's standard error of its weights."""
        whole, parts = found.member(0), found.edges["weight"][1:].astype(np.float64)
        apart = ((parts - parts.mean(axis=0)) ** 2).sum(axis=0)
        error = np.sqrt(apart * (self.blocks - 1) / self.blocks)
        return dataclasses.replace(whole, edges=whole.edges | {"standard_error": error})


@dataclass(frozen=True, eq=False)
class Path(Over):
    """One hyperparameter at several values; see `unigrn.path`."""

    parameter: str
    values: tuple[float, ...]
    choose: Callable[..., np.ndarray] | None
    by: str

    loss = property(lambda self: self.choose is not None)
    size = property(lambda self: len(self.values))
    short = property(lambda self: self.parameter.rpartition(".")[2])

    @property
    def formula(self) -> str:
        """The path as text."""
        how = "every" if self.choose is None else f"the {self.choose.__name__} choice of the"
        by = "" if self.by == "target" else f" ({BY[self.by]})"
        return f"{how} {self.parameter} of {len(self.values)}{by}"

    @property
    def settings(self) -> dict[str, Any]:
        """Parameter, values and rule."""
        rule = None if self.choose is None else self.choose.__name__
        own = {"parameter": self.parameter, "values": list(self.values), "choose": rule}
        return own | ({} if self.by == "target" else {"by": self.by})

    def terms(self, terms: tuple) -> tuple:
        """Stack the values in the place of the named hyperparameter."""
        flat, structure = jax.tree_util.tree_flatten_with_path(terms)
        names = [named(terms, path) for path, _ in flat]
        hits = [i for i, name in enumerate(names) if name == self.parameter]
        if not hits:
            raise ValueError(
                f"path() got the hyperparameter {self.parameter!r}; those of the spec are: "
                f"{', '.join(names) or 'none'}"
            )
        removes = [terms[flat[i][0][0].idx] for i in hits]
        removes = [t for t in removes if getattr(t, "allows", None) is not None]
        if removes:
            raise ValueError(
                f"path() got {self.parameter}, of the constraint {removes[0].formula}; candidates "
                "are deleted once, for all values alike: fit each value on its own"
            )
        leaves = [
            np.asarray(self.values) if i in hits else leaf for i, (_, leaf) in enumerate(flat)
        ]
        return jax.tree.unflatten(structure, leaves)

    def reduce(self, found: Found) -> Found:
        """Take for every target the value with the least score; without a rule, take them all."""
        values = np.asarray(self.values)
        if self.choose is None:
            edges = {
                f"{name}[{value:g}]": found.edges[name][i]
                for name in found.edges
                for i, value in enumerate(values)
            }
            # The weight of the table is that of the first value.
            edges = {"weight": found.edges["weight"][0], **edges}
            return dataclasses.replace(found.member(0), edges=edges)
        score = np.asarray(self.choose(found))
        best = np.argmin(self.judged(score), axis=0)
        by_edge = best[..., found.target]

        def taken(table, place):
            return {k: np.take_along_axis(v, place[None], axis=0)[0] for k, v in table.items()}

        edges = taken(found.edges, by_edge) | {self.short: values[by_edge]}
        targets = taken(found.targets | {"score": score}, best)
        if self.by != "target":
            targets |= {CHOSEN: values[best]}
            targets |= {f"score[{v:g}]": s for v, s in zip(values, score, strict=True)}
        return dataclasses.replace(found, edges=edges, targets=targets)

    def judged(self, score: np.ndarray) -> np.ndarray:
        """Return what each target chooses by, where ``score`` (values, ..., targets) is its own."""
        bad = np.isnan(score)
        score = np.where(bad, np.inf, score)
        if self.by == "target":
            return score
        count = score.shape[-1]
        speaks = np.where(bad.all(axis=0), 0, score)  # targets without a score have no say
        if self.by == "network":
            return np.broadcast_to(speaks.sum(axis=-1, keepdims=True), score.shape)
        part = np.random.default_rng((6, count)).permutation(np.arange(count) % HIDDEN)
        others = np.stack([speaks[..., part != p].sum(axis=-1) for p in range(HIDDEN)], axis=-1)
        return others[..., part]

    def remarks(self, targets: dict[str, np.ndarray], fitted: np.ndarray) -> list[tuple]:
        """Say which values were chosen, and the curve they were chosen by."""
        if self.by == "target" or CHOSEN not in targets:
            return []
        chosen = targets[CHOSEN][fitted]
        if not np.isin(chosen, self.values).all():  # means over an outer axis
            return []
        taken = [f"{v:g} for {(chosen == v).sum():,}" for v in np.unique(chosen)]
        curve = [(v, targets[f"score[{v:g}]"][fitted]) for v in self.values]
        means = [f"{v:g} {np.nanmean(s):.6g}" for v, s in curve if not np.isnan(s).all()]
        text = f"{self.parameter}: {', '.join(taken)} of {chosen.size:,} fits, {BY[self.by]}"
        return [
            (
                f"chosen {self.short}",
                chosen.size,
                f"{text}; mean score by value: {', '.join(means)}",
            )
        ]


def named(terms: tuple, path: tuple) -> str:
    """Name a leaf of the terms as `Spec.hyperparameters` does."""
    place = path[0].idx
    term, name = terms[place], labels(terms)[place]
    parts = []
    for key in path[1:]:
        step = getattr(key, "name", getattr(key, "key", getattr(key, "idx", None)))
        if step == "term" and hasattr(term, "factor"):
            term = term.term
            name = f"{name}.{labels((term,))[0]}"
        elif step not in ("hyper", "values"):
            parts.append(str(step))
    return ".".join([name, *parts])


def ebic(found: Found, gamma: float = 0.5) -> np.ndarray:
    """Return the extended Bayesian information criterion of least squares, for every fit.

    n log(RSS / n) + k log n + 2 gamma k log q, with k coefficients that are not 0 of q. Source:
    Chen and Chen, Biometrika 95 (2008) 759, doi:10.1093/biomet/asn034.
    """
    n, count = found.targets["cells"], found.targets["loss"].shape[-1]
    used = (found.edges["weight"] != 0).astype(float)
    q = np.maximum(np.bincount(found.target, minlength=count), 1)
    k = np.stack(
        [np.bincount(found.target, row, count) for row in used.reshape(-1, used.shape[-1])]
    ).reshape(*used.shape[:-1], count)
    rss = np.maximum(found.targets["loss"], np.finfo(float).tiny)
    return n * np.log(rss / n) + k * np.log(n) + 2 * gamma * k * np.log(q)


def heldout(found: Found) -> np.ndarray:
    """Loss on the cells that an axis inside of the path held out."""
    if "heldout" not in found.targets:
        raise ValueError(
            "choosing by the held-out loss needs folds inside of the path: "
            "path(folds(spec, 5), ..., choose='heldout')"
        )
    return found.targets["heldout"]


def heldout_likelihood(found: Found) -> np.ndarray:
    """Return n log of the held-out squares: -2 log likelihood, less what is the same for all.

    Of n cells with a Gaussian error whose variance is that of the held-out residuals, so that
    targets of unlike units add up.
    """
    return found.cells * np.log(np.maximum(heldout(found), np.finfo(float).tiny))


RULES = {"ebic": ebic, "heldout": heldout}
