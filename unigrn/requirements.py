"""Requirements: what solvers ask of a spec, each with what the spec lacks, in words.

A function takes a `Profile` and returns a line for everything that is lacking. Over 450 lines: one
list of what can be asked, for the ladder to name.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from unigrn.probes import Profile
from unigrn.replicates import Over
from unigrn.solvers import optimality, palm
from unigrn.solvers.solver import Requirement
from unigrn.terms import AXES, Moments, View, joint, parts

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
    if restarts := _one_start(profile):
        return restarts
    return [] if spec.start is None else ["a start is not used: the answer is exact"]


def _one_start(profile: Profile) -> list[str]:
    restarts = any(over.starts for over in profile.spec.over)
    return ["every start gives the same exact answer"] if restarts else []


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


def _unscaled(profile: Profile) -> list[str]:
    bound = [t for t in parts(profile.spec.loss) if t.outcome is not None]
    if bound and profile.spec.scale not in (None, "regulators"):
        return [
            f"scale {profile.spec.scale!r} changes the targets, and {bound[0].formula} takes them "
            'as they are (scale="regulators" leaves them)'
        ]
    return []


def _rows_do(profile: Profile) -> list[str]:
    return _unscaled(profile) + [
        f"{t.kind} {t.formula} reads moments"
        for t in profile.spec.terms
        if profile.reading(t).moments
    ]


def _quiet(profile: Profile) -> list[str]:
    return [f"{t.kind} {t.formula} draws noise" for t in profile.spec.terms if profile.noisy(t)]


def _objective(profile: Profile) -> list[str]:
    return [
        f"{t.kind} {t.formula} is a map without one"
        for t in profile.spec.terms
        if t.iterates is not None
    ]


def iterates(profile: Profile) -> list[str]:
    """Ask for one map alone, and for nothing around the fit that judges it by an objective."""
    spec = profile.spec
    if spec.loss.iterates is None:
        return [f"loss {spec.loss.formula} is no map of the blocks"]
    out = [f"{t.kind} {t.formula} beside a map, which minimises nothing" for t in spec.terms[1:]]
    for over in spec.over:
        if over.loss or type(over).held is not Over.held:
            out.append(f"{over.name} judges by the loss, and a map has none")
        elif over.starts:
            out.append(f"{over.name}: without an objective none of them is better")
    return out + [f"its step fails: {r.error}" for r in profile.readings if r.error]


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
        if step.kind == "adam":
            out.append(f"a step of Adam in {b} is no step of a sweep over blocks")
            continue
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


def adam_steps(profile: Profile) -> list[str]:
    """Ask for sweeps of one Adam step in the only block, and for their number alone to end them."""
    spec = profile.spec
    if spec.sweeps is None or [s.kind for s in spec.steps] != ["adam"]:
        return ["no single step of Adam is declared"]
    out = [f"there is also the block {b}" for b in spec.blocks if b != spec.steps[0].block]
    rules = (spec.sweeps.relative, spec.sweeps.absolute)
    return out + ["steps of Adam end by their number"] * any(r is not None for r in rules)


def without_cycles(profile: Profile) -> list[str]:
    """Ask for one set, that of acyclic networks, and moments of the whole network."""
    spec = profile.spec
    sets = [t for t in parts(spec.constraint) if t.allows is None]
    out = [f"constraint {t.formula} is not that of acyclic networks" for t in sets if not t.acyclic]
    out += [] if any(t.acyclic for t in sets) else ["no constraint asks for an acyclic network"]
    size = jax.ShapeDtypeStruct
    for t in parts(spec.loss):
        if t.quadratic is None:
            out.append(f"loss {t.formula} has no quadratic")
            continue
        try:
            kind = jnp.zeros(()).dtype
            square, row, one = (size(shape, kind) for shape in ((3, 3), (3,), ()))
            view = View(Moments(square, square, row, one, row, row))
            jax.eval_shape(lambda view, t=t: t.quadratic(view, None), view)
        except TypeError as error:
            out.append(f"loss {t.formula}: {error}")
    return out


def free_prox(profile: Profile) -> list[str]:
    """Ask for a joint prox of the penalties, whatever the constraint."""
    why = optimality.objective(profile.spec.replace(constraint=None)).why
    return [why] if why else []


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
    held = [o for o in profile.spec.over if type(o).held is not Over.held]
    idle = [
        f"loss {t.formula} reads no cells, by which {held[0].name} judges"
        for t in parts(profile.spec.loss)
        if held and not profile.reading(t).rows and not profile.reading(t).moments
        if t.quadratic is None and t.evidence is None
    ]
    if idle or not (weighted or profile.weighted_cells):
        return idle
    return [
        f"loss {t.formula} does not use cell weights, which "
        + (f"{weighted[0].name} needs" if weighted else "the data has")
        for t in parts(profile.spec.loss)
        if not t.weighted and not profile.reading(t).weight and profile.reading(t).rows
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


def lines_and_bounds(profile: Profile) -> list[str]:
    """Ask for |theta_j| and theta_j^2 with weights, intervals, and moments around the mean."""
    spec = profile.spec
    out = []
    for term in parts(spec.loss):
        if term.intercept is False:
            out.append(f"loss {term.formula} has no intercept")
    for term in parts(spec.loss) + parts(spec.regularizer):
        own = None if term.quadratic is None else profile.quadratic(term)
        if own is not None and own.matrix is not None:
            out.append(f"{term.kind} {term.formula} has a matrix of its own in its quadratic")
        if own is not None and own.scale is None and term.kind == "loss":
            out.append(f"loss {term.formula} does without the matrix of the moments")
    for term in parts(spec.regularizer):
        known = term.absolute is not None or term.quadratic is not None
        if not known or not term.entrywise or term.convex is not True:
            out.append(f"regularizer {term.formula} is no sum of weighted |theta| and theta^2")
    for term in parts(spec.constraint):
        if term.allows is None and term.interval is None:
            out.append(f"constraint {term.formula} is no interval")
    return out


def splits(profile: Profile) -> list[str]:
    """Ask for convex terms, each with a prox, a projection or lines, or a quadratic."""
    spec, out = profile.spec, []
    for term in spec.terms:
        if term.kind == "constraint" and term.allows is not None:
            continue
        if term.convex is not True:
            out.append(f"{term.kind} {term.formula} is not convex")
        if term.kind == "loss":
            continue
        ways = (term.quadratic, term.lines, term.prox, term.project, term.interval)
        if all(way is None for way in ways) and not term.entrywise:
            what = "projection" if term.kind == "constraint" else "prox"
            out.append(f"{term.kind} {term.formula} has no {what}")
        elif term.across and term.lines is None and term.prox is None:
            out.append(f"{term.kind} {term.formula} has neither lines nor a prox")
    return out


def chooses_subsets(profile: Profile) -> list[str]:
    """Ask for a criterion of subsets that stands alone."""
    spec = profile.spec
    terms = parts(spec.loss) + parts(spec.regularizer)
    others = [t for t in terms if t.subsets is None]
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


def couples_targets(profile: Profile) -> list[str]:
    """Ask for a term that couples the targets."""
    return ["every term separates over targets"] if profile.spec.separable else []


def coupled_prices(profile: Profile) -> list[str]:
    """Ask for sums of |theta|, and convex terms of all groups that have lines or a prox."""
    out = []
    for term in parts(profile.spec.regularizer):
        if not term.across and term.absolute is None:
            out.append(f"regularizer {term.formula} has no absolute")
        elif term.across and (term.convex is not True or (term.lines or term.prox) is None):
            out.append(f"regularizer {term.formula} is not convex with lines or a prox")
    return out


def fitted_once(profile: Profile) -> list[str]:
    """Ask for no axis, and no gauge."""
    spec = profile.spec
    out = [f"{o.name} is an axis of fits of one group" for o in spec.over]
    return out + (["a gauge is of one group"] if spec.gauge is not None else [])


def plain_reading(profile: Profile) -> list[str]:
    """Ask for nothing to be read off but the weight, and for no cells held out."""
    spec = profile.spec
    held = [o.name for o in spec.over if type(o).held is not Over.held or o.loss]
    out = ["columns and a gauge see one group at a time"] if spec.columns or spec.gauge else []
    return out + [f"{name} judges the fit of one group at a time" for name in held]


def _observed_beside_kernel(profile: Profile) -> list[str]:
    spec, out = profile.spec, []
    if spec.loss.observed is None:
        out.append(f"loss {spec.loss.formula} has no observed columns")
    if spec.regularizer is None or spec.regularizer.kernel is None:
        what = "no regularizer" if spec.regularizer is None else spec.regularizer.formula
        out.append(f"{what} has no kernel over targets")
    return out


def _unconstrained(profile: Profile) -> list[str]:
    if profile.spec.constraint is None:
        return []
    return [f"constraint {profile.spec.constraint.formula}: the closed form fills every entry"]


UNCONSTRAINED = Requirement("no constraint", _unconstrained)
KNOWN = Requirement("one loss of observed columns, one kernel", _observed_beside_kernel)
ALONE = Requirement("groups are fitted one by one", _alone)
SEPARATES = Requirement("separates over targets", _separates)
ONLY_THETA = Requirement("only the block theta", _only_theta)
MOMENTS_DO = Requirement("moments suffice", _moments_do)
ROWS_DO = Requirement("no term needs moments", _rows_do)
STARTED = Requirement("every block has a start", _started)
UNSTARTED = Requirement("no start", _unstarted)
OBJECTIVE = Requirement("there is an objective", _objective)
ONE_START = Requirement("one start", _one_start)
QUIET = Requirement("nothing draws noise", _quiet)
WHOLE = Requirement("all cells at every step", _whole_batches)
DELETES = Requirement(
    "the constraint only removes regulators", partial(each, "allows", ("constraint",))
)
PROX = Requirement("regularizer and constraint have a joint prox", _joint_prox)
SPLITS = Requirement("convex terms, each with a prox or a projection", splits)
SMOOTH = Requirement("every regularizer is differentiable", _smooth)
FREE = Requirement("the constraint only removes regulators", _free)
WEIGHTS = Requirement("weights of cells are used", _bags_rows)
LISTS = Requirement("no draws of candidates", _no_candidates)
SHARED = Requirement("draws do not depend on the number of candidates", _not_by_candidates)
SWEEPLESS = Requirement("no sweeps are declared", _no_sweeps)
TRACED = Requirement("every term takes the shapes of the problem", _traceable)
STEADY = Requirement("plain terms are continuous", _steady)
KEEPS = Requirement("every prox keeps deleted entries at 0", _keeps_deleted)
