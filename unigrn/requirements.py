"""Requirements: what solvers ask of a spec, each with what the spec lacks, in words.

A function takes a `Profile` and returns a line for everything that is lacking.
"""

from __future__ import annotations

from functools import partial

from unigrn.losses import SubsetBic
from unigrn.probes import Profile
from unigrn.replicates import Over
from unigrn.solvers import optimality, palm
from unigrn.solvers.solver import Requirement
from unigrn.terms import AXES, joint, parts

NUISANCE = ("intercept", "theta")


def each(capability: str, slots: tuple[str, ...], profile: Profile) -> list[str]:
    """Ask every term of some slots for a capability."""
    return [
        f"{t.kind} {t.formula} has no {capability}"
        for slot in slots
        for t in parts(getattr(profile.spec, slot))
        if getattr(t, capability) is None
    ]


def _separates(profile: Profile) -> list[str]:
    return [
        f"{t.kind} {t.formula} couples the targets"
        for t in profile.spec.terms
        if t.separable is None
    ]


def _only_theta(profile: Profile) -> list[str]:
    return [f"there is also the block {b}" for b in profile.spec.blocks if b != "theta"]


def _started(profile: Profile) -> list[str]:
    spec = profile.spec
    if spec.start is not None:
        return []
    if any(over.starts for over in spec.over):
        return ["restarts need a start that draws"]
    return [
        f"there is also the block {b}, which has no start" for b in spec.blocks if b not in NUISANCE
    ]


def _unstarted(profile: Profile) -> list[str]:
    spec = profile.spec
    if any(over.starts for over in spec.over):
        return ["every start gives the same exact answer"]
    return [] if spec.start is None else ["a start is not used: the answer is exact"]


def _no_shift(profile: Profile) -> list[str]:
    loose = [t for t in parts(profile.spec.loss) if t.intercept is False]
    if profile.spec.scale in ("standard", "range") and loose:
        return [
            f"scale {profile.spec.scale!r} centres the genes, and {loose[0].formula} has no "
            "intercept"
        ]
    return []


def _moments_do(profile: Profile) -> list[str]:
    return _no_shift(profile) + [
        f"{t.kind} {t.formula} reads cells"
        for t in profile.spec.terms
        if profile.reading(t).rows and not profile.reading(t).error
    ]


def _rows_do(profile: Profile) -> list[str]:
    return [
        f"{t.kind} {t.formula} reads moments"
        for t in profile.spec.terms
        if profile.reading(t).moments
    ]


def _quiet(profile: Profile) -> list[str]:
    return [f"{t.kind} {t.formula} draws noise" for t in profile.spec.terms if profile.noisy(t)]


def draws_noise(profile: Profile) -> list[str]:
    """Ask for noise, or for minibatches."""
    spec = profile.spec
    if spec.minibatch is not None or any(profile.noisy(t) for t in spec.terms):
        return []
    return ["no loss draws noise, and no minibatch is asked for"]


def _whole_batches(profile: Profile) -> list[str]:
    return [] if profile.spec.minibatch is None else ["minibatches are for stochastic gradients"]


def _no_sweeps(profile: Profile) -> list[str]:
    return [] if profile.spec.sweeps is None else ["the sweeps that the spec declares are not used"]


def sweeps_help(profile: Profile) -> list[str]:
    """Ask for sweeps, or for what makes them worth while."""
    spec = profile.spec
    priced = any(t.price is not None and len(t.blocks) > 1 for t in spec.terms)
    exact = len(spec.blocks) > 1 and any(s.kind == "point" for s in spec.steps)
    if spec.sweeps is not None or priced or exact:
        return []
    return ["no sweeps are declared, and no block has an exact step given the others"]


def swept(profile: Profile) -> list[str]:
    """Ask every step for what it needs of the terms."""
    spec = profile.spec
    out = [f"block {b} has no step" for b in spec.blocks if b not in {s.block for s in spec.steps}]
    for step in spec.steps:
        b = step.block
        axes = spec.axes.get(b, AXES.get(b, ("",)))
        if step.sample is not None and axes[-1] not in ("targets", "regulators"):
            out.append(f"block {b} has no columns of targets or regulators to sample")
        if step.kind == "point":
            out += [
                f"{t.kind} {t.formula} is no sum of squares in {b}"
                for t in spec.terms
                if b in t.blocks and (t.kind == "constraint" or b not in t.linear)
            ]
            continue
        out += [
            f"{t.kind} {t.formula} has neither squares nor a lipschitz constant in {b}"
            for t in palm.smooth_terms(spec, b)
            if b not in t.linear and (t.lipschitz is None or t.block != b)
        ]
        kinks, sets = palm.kinks(spec, b), optimality.proximal_terms(spec, b)[1]
        found = joint(kinks, sets) if kinks or sets else None
        if found is not None and found.prox is None:
            out.append(found.why)
    return out


def _joint_prox(profile: Profile) -> list[str]:
    spec = profile.spec
    priced = [t for t in spec.terms if t.price is not None and len(t.blocks) > 1]
    if priced:
        return [f"the prox of {priced[0].formula} depends on other blocks"]
    why = optimality.objective(spec).why
    return [why] if why else []


def _smooth(profile: Profile) -> list[str]:
    return [
        f"regularizer {t.formula} is not differentiable"
        for t in parts(profile.spec.regularizer)
        if t.kink
    ]


def _free(profile: Profile) -> list[str]:
    return [
        f"constraint {t.formula} is more than a deletion"
        for t in parts(profile.spec.constraint)
        if t.allows is None
    ]


def _bags_rows(profile: Profile) -> list[str]:
    weighted = [o for o in profile.spec.over if type(o).cells is not Over.cells]
    if not weighted and not profile.weighted_cells:
        return []
    return [
        f"loss {t.formula} does not use cell weights, which "
        + (f"{weighted[0].name} needs" if weighted else "the data has")
        for t in parts(profile.spec.loss)
        if not t.weighted and not profile.reading(t).weight
    ]


def _no_candidates(profile: Profile) -> list[str]:
    return [
        f"{o.name} draws candidates, which a whole network has no lists of"
        for o in profile.spec.over
        if type(o).candidates is not Over.candidates or o.by_candidates
    ]


def _not_by_candidates(profile: Profile) -> list[str]:
    return [f"{o.name} is made for moments" for o in profile.spec.over if o.by_candidates]


def copies_differ(profile: Profile) -> list[str]:
    """Ask that permuted copies are another problem."""
    spec = profile.spec
    if not any(type(o).order is not Over.order for o in spec.over):
        return []
    if not any(r.x or r.moments or r.error for r in profile.readings):
        return [
            "permuted copies of all cells alike leave a method without regulators' expression "
            "unchanged"
        ]
    return []


def _keeps_deleted(profile: Profile) -> list[str]:
    if not any(t.allows is not None for t in parts(profile.spec.constraint)):
        return []
    if not profile.filling:
        return []
    return [
        f"{profile.filling} fills entries that the constraint deletes: let it keep theta at 0 "
        "where prior.valid is False"
    ]


def has_evidence(profile: Profile) -> list[str]:
    """Ask for an evidence that stands alone."""
    spec = profile.spec
    terms = parts(spec.loss)
    if len(terms) == 1 and terms[0].evidence is not None and spec.regularizer is None:
        return []
    return [
        f"{t.kind} {t.formula} has no evidence"
        for t in terms + parts(spec.regularizer)
        if t.evidence is None
    ] or ["an evidence loss stands alone"]


def chooses_subsets(profile: Profile) -> list[str]:
    """Ask for a criterion of subsets that stands alone."""
    spec = profile.spec
    terms = parts(spec.loss) + parts(spec.regularizer)
    others = [t for t in terms if not isinstance(t, SubsetBic)]
    if others or len(terms) > 1:
        odd = (others or terms)[0]
        return [f"{odd.kind} {odd.formula} is no criterion of subsets, which stands alone"]
    return []


def _traceable(profile: Profile) -> list[str]:
    if profile.unstarted:
        return [f"the start fails: {profile.unstarted}"]
    return [
        f"{t.kind} {t.formula} cannot be evaluated: {r.error}"
        for t, r in zip(profile.spec.terms, profile.readings, strict=True)
        if r.error
    ]


def _steady(profile: Profile) -> list[str]:
    return list(profile.jumps)


def _alone(profile: Profile) -> list[str]:
    return [f"{t.kind} {t.formula} couples the groups" for t in profile.spec.terms if t.across]


def couples_groups(profile: Profile) -> list[str]:
    """Ask for a term that couples the groups."""
    return [] if profile.spec.across else ["no term couples the groups"]


def plain_reading(profile: Profile) -> list[str]:
    """Ask for nothing to be read off but the weight, and for no cells held out."""
    spec = profile.spec
    held = [o.name for o in spec.over if type(o).held is not Over.held or o.loss]
    out = ["columns and a gauge see one group at a time"] if spec.columns or spec.gauge else []
    return out + [f"{name} judges the fit of one group at a time" for name in held]


ALONE = Requirement("groups are fitted one by one", _alone)
SEPARATES = Requirement("separates over targets", _separates)
ONLY_THETA = Requirement("only the block theta", _only_theta)
MOMENTS_DO = Requirement("moments do", _moments_do)
ROWS_DO = Requirement("no term needs moments", _rows_do)
STARTED = Requirement("every block has a start", _started)
UNSTARTED = Requirement("no start", _unstarted)
QUIET = Requirement("nothing draws noise", _quiet)
WHOLE = Requirement("all cells at every step", _whole_batches)
DELETES = Requirement(
    "the constraint only removes regulators", partial(each, "allows", ("constraint",))
)
PROX = Requirement("regularizer and constraint have a joint prox", _joint_prox)
SMOOTH = Requirement("every regularizer is differentiable", _smooth)
FREE = Requirement("the constraint only removes regulators", _free)
WEIGHTS = Requirement("weights of cells are used", _bags_rows)
LISTS = Requirement("no draws of candidates", _no_candidates)
SHARED = Requirement("draws do not depend on the number of candidates", _not_by_candidates)
SWEEPLESS = Requirement("no sweeps are declared", _no_sweeps)
TRACED = Requirement("every term takes the shapes of the problem", _traceable)
STEADY = Requirement("plain terms are continuous", _steady)
KEEPS = Requirement("every prox keeps deleted entries at 0", _keeps_deleted)
