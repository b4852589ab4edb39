"""Problem: a spec and data joined by name. Candidate lists, prior values, batches of fixed shape.

Constraints that only remove regulators (the prior's support, no self-edge) are applied here, by
deletion: what is off the support is never formed. The inverse, entries back to names, is
`Solution.network`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from unigrn.binding import at_entries, bind, bind_extra, names_of
from unigrn.data import Data
from unigrn.moments import padded
from unigrn.prior import AlignmentReport, Prior, resolve
from unigrn.spec import Spec
from unigrn.terms import Along, PriorView, Term, along, parts, pytree

# Padded numbers of regulators in a fit. A factorisation whose loops end at the true size needs few
# buckets; solvers that work on the whole padded matrix need more.
COARSE = (128, 512)
FINE = (8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def bucket(size: int, sizes: tuple[int, ...] = FINE) -> int:
    """Round a number of regulators up to one of a few sizes."""
    if not sizes:
        return max(int(size), 1)
    last = sizes[-1]
    return next((s for s in sizes if s >= size), -(-size // last) * last)


@pytree
class Entries:
    """Candidate edges of all targets end to end, and one empty entry for padding."""

    candidate: np.ndarray  # (entries + pad,) regulator
    prior: PriorView  # leaves (entries + pad,)


@pytree
class Tasks:
    """A grid of fits: M members of the spec's axes by T targets."""

    target: np.ndarray  # (M, T) column of the responses
    number: np.ndarray  # (T,) target
    start: np.ndarray  # (T,) first entry of the target
    row: np.ndarray  # (M, T) row of the table of positions
    table: np.ndarray  # (rows, k) positions within the target's candidates, -1 for none
    system: np.ndarray  # (M,) weights of the cells
    variant: np.ndarray  # (M,) hyperparameters
    held: np.ndarray | None = None  # (M,) weights of the cells on which a member is judged
    offset: np.ndarray | None = None  # (groups,) first system of each, for fits across groups
    inverse: np.ndarray | None = None  # (rows, K) where a candidate stands in its row, -1: nowhere
    chains: np.ndarray | None = None  # (C, J) members that differ in hyperparameters alone

    def at(self, members: Any) -> Tasks:
        """Return the grid of some members, by number."""
        names = ("target", "row", "system", "variant") + ("held",) * (self.held is not None)
        return replace(self, **{name: getattr(self, name)[members] for name in names})

    def of(self, members: Any, columns: Any) -> Tasks:
        """Return the grid of some members by some of its targets, by place."""
        part = self.at(members)
        return replace(
            part,
            target=part.target[:, columns],
            row=part.row[:, columns],
            number=part.number[columns],
            start=part.start[columns],
        )


@dataclass(frozen=True, eq=False)
class Problem:
    """Names, candidates and prior values of one inference, on the host."""

    regulators: np.ndarray
    targets: np.ndarray
    indptr: np.ndarray
    candidate: np.ndarray
    entry_target: np.ndarray
    prior: PriorView
    report: AlignmentReport
    dropped: dict[str, int]
    terms: tuple[Any, ...] = ()  # those of the spec, their arrays in the order of the problem
    extra: Any = None  # external arrays, likewise

    @property
    def sizes(self) -> np.ndarray:
        """Number of candidates of each target."""
        return np.diff(self.indptr)

    def entries(self, dtype: str) -> Entries:
        """Candidate arrays padded for the device; the last entry is the empty one."""
        count = len(self.candidate)
        length = padded(count + 1)

        def pad(values, fill, kind):
            out = np.full(length, fill, kind)
            out[:count] = values
            return out

        view = self.prior.map(lambda v: pad(v, 0, device_kind(v, dtype)))
        return Entries(pad(self.candidate, len(self.regulators), np.int32), view)


def device_kind(values: np.ndarray, dtype: str) -> Any:
    """Dtype of prior values on the device: numbers in the precision of the fit, signs, masks."""
    return {"f": dtype, "i": np.int32, "b": bool}[values.dtype.kind]


def build(
    spec: Spec,
    data: Data,
    regulators: Sequence[str] | np.ndarray | None = None,
    targets: Sequence[str] | np.ndarray | None = None,
) -> Problem:
    """Join a spec and data: resolve names, list every target's candidates, gather the prior."""
    _check_layers(spec)
    masks = [t for t in parts(spec.constraint) if t.allows is not None]
    asked = {"regulators": regulators, "targets": targets}
    made = [stage.regulators(spec.prior, data.genes) for stage in spec.stages]
    if any(term.square for term in spec.terms):
        regulators = targets = _genes(spec, data, regulators, targets)
    if any(stage.fallback for stage in spec.stages):
        made.append(data.genes)
    if spec.prior is None:
        needs = [t for t in spec.terms if t.needs_prior]
        if needs:
            raise ValueError(
                f"the {needs[0].kind} {needs[0].formula} needs a prior: give Spec(prior=...)"
            )
        regulators, targets, report = _without_prior(data, regulators, targets, made)
    else:
        regulators, targets, report = resolve(
            spec.prior,
            np.union1d(data.genes, np.concatenate(made)) if made else data.genes,
            regulators=regulators,
            targets=targets,
            hard_mask=spec.hard_mask,
            self_edges=_keeps_self_edges(spec.prior, masks),
        )
        if made:  # what a stage makes can regulate; what is measured can be a target
            regulators, report = _made(spec, data, regulators, report)
            targets = targets[np.isin(targets, data.genes)]
    q, p = len(regulators), len(targets)
    if spec.hard_mask:
        assert spec.prior is not None
        aligned = spec.prior.align(regulators, targets)
        candidate = aligned.index.astype(np.int64)
        target = np.repeat(np.arange(p), np.diff(aligned.indptr))
        view = PriorView(
            np.ones(len(candidate), bool),
            aligned.weight,
            aligned.sign,
            regulators[candidate] == targets[target],
            np.ones(len(candidate), bool),
            dict(aligned.layers),
        )
    else:
        candidate = np.tile(np.arange(q), p)
        target = np.repeat(np.arange(p), q)
        view = _dense_view(spec, regulators, targets)
    names = names_of(data, regulators, targets, asked, not spec.separable)
    terms = bind(spec.terms, names)
    keep = np.ones(len(candidate), bool)
    dropped = {}
    for term in terms:
        if term.allows is None:
            continue
        allowed = np.asarray(at_entries(term, candidate, target).allows(view))
        dropped[type(term).__name__] = int((keep & ~allowed).sum())
        keep &= allowed
    candidate, target = candidate[keep], target[keep]
    view = view.map(lambda v: v[keep])
    indptr = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=p))])
    if not len(candidate):
        assert spec.constraint is not None
        raise ValueError(
            "no target has a candidate regulator once the constraint "
            f"{spec.constraint.formula} is applied; give a prior with other edges"
        )
    return Problem(
        regulators,
        targets,
        indptr,
        candidate,
        target,
        view,
        report,
        dropped,
        terms,
        bind_extra(brought(spec, data), names),
    )


def brought(spec: Spec, data: Data) -> dict[str, Along]:
    """Return external arrays, and what the stages say of each cell where the data do not."""
    extra = dict(data.extra)
    for stage in spec.stages:
        for name, values in stage.of_cells(data).items():
            extra.setdefault(name, along(values, "cells"))
    return extra


def _genes(spec: Spec, data: Data, regulators: Any, targets: Any) -> Any:
    """Return the genes of a network of genes by genes: those asked for, else all of them."""
    term = next(t for t in spec.terms if t.square)
    if spec.stages:
        raise ValueError(
            f"the {term.kind} {term.formula} takes regulators that are the targets themselves, and "
            "a stage makes others; leave stages out"
        )
    asked = [sorted(set(map(str, names))) for names in (regulators, targets) if names is not None]
    if len(asked) == 2 and asked[0] != asked[1]:
        raise ValueError(
            f"the {term.kind} {term.formula} takes regulators that are the targets themselves, got "
            f"{len(asked[0])} regulators and {len(asked[1])} other targets; give one list of genes"
        )
    return asked[0] if asked else data.genes


def _made(
    spec: Spec, data: Data, regulators: np.ndarray, report: AlignmentReport
) -> tuple[np.ndarray, AlignmentReport]:
    """Keep the regulators that a stage makes, or falls back on, and say which it does not make."""
    known = np.concatenate([stage.regulators(spec.prior, data.genes) for stage in spec.stages])
    without = regulators[~np.isin(regulators, known)]
    falls = any(stage.fallback for stage in spec.stages)
    count = f"{len(without):,} of {len(regulators):,} regulators"
    if len(without):
        names = tuple(without[:5].tolist())
        if falls:
            text = f"{count} are made by no stage: their expression stands in"
            return regulators, report.add("regulators by expression", len(without), text, names)
        text = f"{count} are made by no stage, and left out"
        report = report.add("regulators not made", len(without), text, names)
    if len(without) == len(regulators):
        raise ValueError(
            f"the stages make none of the {len(regulators):,} regulators, e.g. "
            f"{', '.join(regulators[:3])}; needed factors with a measured target in the prior: "
            "activity(fallback=True) takes the expression of the others"
        )
    return regulators[np.isin(regulators, known)], report


def _keeps_self_edges(prior: Prior, masks: list[Term]) -> bool:
    """Whether a gene of the prior may regulate itself: asked of every mask, for one such edge."""
    one, yes = np.ones(1), np.ones(1, bool)
    edge = PriorView(yes, one, np.ones(1, np.int8), yes, yes, dict.fromkeys(prior.layers, one))
    plain = [t for t in masks if not any(np.ndim(leaf) for leaf in jax.tree.leaves(t))]
    return all(np.asarray(term.allows(edge)).all() for term in plain)


def _check_layers(spec: Spec) -> None:
    for term in spec.terms:
        layer = getattr(term, "layer", None)
        if layer is None:
            continue
        known = {} if spec.prior is None else spec.prior.layers
        if layer not in known:
            raise ValueError(
                f"{term.formula} asks for the prior layer {layer!r}; the layers are: "
                f"{', '.join(known) or 'none'}"
            )


def _without_prior(
    data: Data, regulators, targets, made
) -> tuple[np.ndarray, np.ndarray, AlignmentReport]:
    report = AlignmentReport(())
    chosen = []
    for what, names in (("regulators", regulators), ("targets", targets)):
        known = np.unique(np.concatenate(made)) if made and what == "regulators" else data.genes
        if names is None:
            chosen.append(np.sort(known))
            continue
        names = np.unique(np.asarray([str(n) for n in names], dtype=str))
        found = np.isin(names, known)
        if not found.any():
            raise ValueError(
                f"none of the {len(names)} requested {what} is measured; requested: "
                f"{', '.join(names[:3])}; measured: {', '.join(data.genes[:3])}"
            )
        if not found.all():
            report = report.add(
                f"{what} not measured",
                int((~found).sum()),
                f"{(~found).sum()} of {len(names)} requested {what} are not measured",
                tuple(names[~found][:5].tolist()),
            )
        chosen.append(names[found])
    return chosen[0], chosen[1], report


def _dense_view(spec: Spec, regulators: np.ndarray, targets: np.ndarray) -> PriorView:
    """Every regulator is a candidate of every target; the prior is a value, 0 where silent."""
    q, p = len(regulators), len(targets)
    shape = (p, q)
    weight, sign = np.zeros(shape), np.zeros(shape, np.int8)
    layers = {}
    if spec.prior is not None:
        aligned = spec.prior.align(regulators, targets)
        rows = np.repeat(np.arange(p), np.diff(aligned.indptr))
        weight[rows, aligned.index] = aligned.weight
        sign[rows, aligned.index] = aligned.sign
        for name, values in aligned.layers.items():
            layers[name] = np.zeros(shape)
            layers[name][rows, aligned.index] = values
    self_edge = targets[:, None] == regulators[None, :]
    flat = {name: v.ravel() for name, v in layers.items()}
    return PriorView(
        (weight > 0).ravel(),
        weight.ravel(),
        sign.ravel(),
        self_edge.ravel(),
        np.ones(p * q, bool),
        flat,
    )


@dataclass(frozen=True, eq=False)
class Batch:
    """Targets whose fits have the same padded size ``k``."""

    k: int
    targets: np.ndarray
    sizes: np.ndarray  # number of candidates that enter a fit, for each of them


def batches(
    problem: Problem, fit_sizes: np.ndarray, sizes: tuple[int, ...] = FINE
) -> Iterator[Batch]:
    """Sort targets with candidates into buckets of padded size."""
    size = np.array([bucket(s, sizes) for s in range(int(fit_sizes.max()) + 1)])[fit_sizes]
    live = problem.sizes > 0
    for k in np.unique(size[live]):
        chosen = np.flatnonzero(live & (size == k))
        # Within a coarse bucket the matrices are as wide as the fine one of the largest fit.
        width = bucket(int(fit_sizes[chosen].max()), sizes and FINE)
        yield Batch(width, chosen, fit_sizes[chosen])


def chunk_size(total: int, most: float) -> int:
    """Choose how many targets go into one compiled call: one of few sizes, at most ``most``."""
    size = 16
    while size < total and (step := 4 if size < 256 else 2) * size <= most:
        size *= step
    return size
