"""The ladder: solvers in order; a plan takes the first whose every requirement holds.

Over 450 lines: the order of the rungs is one list.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from unigrn import leftout
from unigrn.probes import Profile
from unigrn.requirements import (
    ALONE,
    DELETES,
    FREE,
    KEEPS,
    KNOWN,
    LISTS,
    MOMENTS_DO,
    OBJECTIVE,
    ONE_START,
    ONLY_THETA,
    PROX,
    QUIET,
    ROWS_DO,
    SEPARATES,
    SHARED,
    SMOOTH,
    SPLITS,
    STARTED,
    STEADY,
    SWEEPLESS,
    TRACED,
    UNCONSTRAINED,
    UNSTARTED,
    WEIGHTS,
    WHOLE,
    adam_steps,
    chooses_subsets,
    copies_differ,
    coupled_prices,
    couples_groups,
    couples_targets,
    draws_noise,
    each,
    fitted_once,
    free_prox,
    has_evidence,
    iterates,
    lines_and_bounds,
    plain_reading,
    sweeps_help,
    swept,
    without_cycles,
)
from unigrn.solvers import (
    across,
    active_sets,
    adam,
    central_path,
    closed_form,
    evidence,
    gradient,
    graphs,
    iteration,
    newton,
    palm,
    proximal,
    representer,
    splitting,
    stochastic,
    subsets,
)
from unigrn.solvers.solver import Requirement, Solver
from unigrn.spec import Spec
from unigrn.tracing import implied_sizes


class PlanError(ValueError):
    """No solver takes the spec.

    Attributes
    ----------
    why : str
        What the solver lacks that lacks least.
    ladder : dict
        For every solver by name, what it lacks.
    """

    def __init__(self, message: str, why: str = "", ladder: dict[str, list[str]] | None = None):
        super().__init__(message)
        self.why = why or message
        self.ladder = ladder or {}

    def __reduce__(self):
        return type(self), (str(self), self.why, self.ladder)


# What goes before and after the needs of each solver's own.
TARGETS = (ALONE, SEPARATES)
MOMENTS = (*TARGETS, ONLY_THETA, MOMENTS_DO)
ROWS = (WEIGHTS, SHARED, ROWS_DO, SWEEPLESS, TRACED, STEADY)
COPIES = Requirement("permuted copies differ", copies_differ)
NETWORK = (OBJECTIVE, WEIGHTS, LISTS, COPIES, ROWS_DO, SWEEPLESS, TRACED, STEADY)
ALL_CELLS = (QUIET, WHOLE)
EXACT = (DELETES, UNSTARTED, SWEEPLESS, WHOLE)
SQUARES = Requirement("the loss is quadratic", partial(each, "quadratic", ("loss",)))
DRAWN = Requirement("the gradient is drawn", draws_noise)

LADDER = (
    # Exact, one factorisation a fit: a quadratic in theta once constraints have deleted entries.
    Solver(
        "closed form",
        "moments",
        None,
        (
            *MOMENTS,
            Requirement(
                "every term is quadratic", partial(each, "quadratic", ("loss", "regularizer"))
            ),
            *EXACT,
        ),
        batch=closed_form.solve,
    ),
    # Means and variances of a mean-field posterior that do not depend on each other.
    Solver(
        "closed form of means and variances",
        "moments",
        None,
        (
            *TARGETS,
            MOMENTS_DO,
            Requirement("every term is a spread", partial(each, "spread", ("loss", "regularizer"))),
            DELETES,
            ONE_START,
            SWEEPLESS,
            WHOLE,
        ),
        batch=closed_form.spreads,
    ),
    # Hyperparameters of a Gaussian model by their own fixed point, one factorisation a fit.
    Solver(
        "evidence maximisation",
        "moments",
        evidence.solve,
        (*TARGETS, Requirement("the loss is an evidence", has_evidence), *EXACT),
        double=True,  # the residual variance is a small difference of large sums
    ),
    # Weighted |theta| and theta^2, bounds: exact by sets of active coefficients, along a path.
    Solver(
        "active sets on moments",
        "moments",
        None,
        (
            *MOMENTS,
            SQUARES,
            Requirement("weighted |theta| and theta^2, bounds only", lines_and_bounds),
            UNSTARTED,
            SWEEPLESS,
            TRACED,
            STEADY,
            *ALL_CELLS,
        ),
        batch=active_sets.solve,
        in_turn=True,
    ),
    # A criterion of which regulators are in use: every subset of a few candidates is tried.
    Solver(
        "enumeration of subsets",
        "moments",
        subsets.solve,
        (*TARGETS, Requirement("the loss is a criterion of subsets", chooses_subsets), *EXACT),
        double=True,  # subsets are told apart by small differences of large sums
    ),
    # A quadratic loss with a penalty or set that has a prox: cost independent of the cells.
    Solver(
        "proximal gradient on moments",
        "moments",
        proximal.solve,
        (*MOMENTS, SQUARES, PROX, STARTED, SWEEPLESS, TRACED, STEADY, *ALL_CELLS),
    ),
    # Penalties and sets that no rule joins: each takes its prox in turn, with multipliers.
    Solver(
        "splitting on moments",
        "moments",
        None,
        (*MOMENTS, SQUARES, SPLITS, UNSTARTED, SWEEPLESS, TRACED, STEADY, *ALL_CELLS),
        double=True,  # copies settle late, and the certificate takes them apart
        batch=splitting.solve,
        room=splitting.room,
    ),
    # Terms that couple the groups of cells: theta of all groups of one target at once. Splitting is
    # sure of convex ones, whatever the units; what has a gradient alone is left to steps along it.
    Solver(
        "splitting across groups",
        "groups",
        None,
        (
            Requirement("a term couples the groups", couples_groups),
            *MOMENTS[1:],
            SQUARES,
            SPLITS,
            UNSTARTED,
            LISTS,
            SWEEPLESS,
            TRACED,
            STEADY,
            *ALL_CELLS,
            Requirement("edges are read off by their weight", plain_reading),
        ),
        double=True,
        batch=splitting.solve,
        room=splitting.room,
    ),
    Solver(
        "proximal gradient across groups",
        "groups",
        None,
        (
            Requirement("a term couples the groups", couples_groups),
            *MOMENTS[1:],
            SQUARES,
            PROX,
            UNSTARTED,
            LISTS,
            SWEEPLESS,
            *ALL_CELLS,
            Requirement("edges are read off by their weight", plain_reading),
        ),
        batch=across.solve,
    ),
    # Anything differentiable, target by target: rows are needed.
    Solver(
        "gradient (L-BFGS)",
        "rows",
        gradient.solve,
        (*TARGETS, STARTED, SMOOTH, FREE, *ROWS, *ALL_CELLS),
    ),
    # A penalty or set that has a prox beside any smooth loss.
    Solver(
        "proximal gradient on rows",
        "rows",
        proximal.solve,
        (*TARGETS, STARTED, PROX, *ROWS, *ALL_CELLS),
    ),
    # A loss that draws noise, such as a sampled ELBO, or minibatches: only its mean gradient is
    # known.
    Solver(
        "stochastic gradient (optax Adam)",
        "rows",
        stochastic.solve,
        (*TARGETS, DRAWN, STARTED, SMOOTH, DELETES, *ROWS),
    ),
    # Known columns beside a kernel over targets: one factorisation for all regulators.
    Solver(
        "closed form for kernels",
        "network",
        None,
        (
            *(ALONE, KNOWN, UNCONSTRAINED, ONLY_THETA, UNSTARTED, WEIGHTS, LISTS, SWEEPLESS),
            COPIES,
            *ALL_CELLS,
        ),
        double=True,  # a kernel of like profiles is close to singular
        drive=representer.solve,
        brings=representer.BRINGS,
    ),
    # A log det keeps the network positive definite of itself: steps by its second derivative.
    Solver(
        "proximal Newton on a precision matrix",
        "network",
        newton.solve,
        (
            ALONE,
            Requirement("the loss is a log det", partial(each, "log_det", ("loss",))),
            Requirement(
                "penalties are sums of |theta|", partial(each, "absolute", ("regularizer",))
            ),
            Requirement(
                "the constraint is the domain of a log det",
                partial(each, "definite", ("constraint",)),
            ),
            STARTED,
            *NETWORK,
            *ALL_CELLS,
        ),
        double=True,
    ),
    # The same of all groups, whose penalties couple them: each takes its prox in turn.
    Solver(
        "splitting of precision matrices across groups",
        "networks",
        None,
        (
            Requirement("a term couples the groups", couples_groups),
            Requirement("the loss is a log det", partial(each, "log_det", ("loss",))),
            Requirement("penalties are sums of |theta|, or of all groups", coupled_prices),
            Requirement(
                "the constraint is the domain of a log det",
                partial(each, "definite", ("constraint",)),
            ),
            Requirement("fitted once", fitted_once),
            STARTED,
            *NETWORK,
            *ALL_CELLS,
        ),
        double=True,
        batch=graphs.solve,
        room=graphs.room,
    ),
    # Anything differentiable that couples targets and groups: all networks are one problem.
    Solver(
        "gradient (L-BFGS) on all networks at once",
        "networks",
        None,
        (
            Requirement("a term couples the groups", couples_groups),
            Requirement("a term couples the targets", couples_targets),
            Requirement("fitted once", fitted_once),
            STARTED,
            SMOOTH,
            FREE,
            *NETWORK,
            *ALL_CELLS,
        ),
        batch=across.networks,
    ),
    # A log det that is infinite at cycles leads to an order of the genes, a convex problem.
    Solver(
        "central path to an acyclic network",
        "network",
        central_path.solve,
        (
            ALONE,
            ONLY_THETA,
            Requirement("acyclic networks of a quadratic loss", without_cycles),
            Requirement("penalties have a joint prox", free_prox),
            STARTED,
            *NETWORK,
            *ALL_CELLS,
        ),
        double=True,  # cycles that are left are small
    ),
    # So many steps of Adam as a method declares, whether they end near a minimum or not.
    Solver(
        "declared steps of Adam on the whole network",
        "network",
        adam.solve,
        (
            ALONE,
            Requirement("steps of Adam are declared", adam_steps),
            STARTED,
            SMOOTH,
            FREE,
            *(need for need in NETWORK if need is not SWEEPLESS),
            *ALL_CELLS,
        ),
    ),
    # No objective at all: a map of the blocks until it comes to rest, and its own word for that.
    Solver(
        "declared iteration without an objective",
        "network",
        iteration.solve,
        (
            ALONE,
            Requirement("a map of the blocks stands alone", iterates),
            STARTED,
            WEIGHTS,
            LISTS,
            COPIES,
            SWEEPLESS,
            *ALL_CELLS,
        ),
    ),
    # Sweeps of the method's own, or blocks that are exact given the others: each in turn.
    Solver(
        "PALM over blocks of the whole network",
        "network",
        None,
        (
            ALONE,
            Requirement("sweeps are declared, or exact for a block", sweeps_help),
            Requirement("every block has a step, and what the step needs", swept),
            STARTED,
            WEIGHTS,
            LISTS,
            COPIES,
            ROWS_DO,
            KEEPS,
            *ALL_CELLS,
        ),
        double=True,  # alternation without convexity magnifies rounding to other networks
        drive=palm.solve,
    ),
    # Anything differentiable that couples the targets: the whole network is one problem.
    Solver(
        "gradient (L-BFGS) on the whole network",
        "network",
        gradient.solve,
        (ALONE, STARTED, SMOOTH, FREE, *NETWORK, *ALL_CELLS),
    ),
    # Penalties and sets that have a prox, block by block, beside anything differentiable.
    Solver(
        "proximal gradient on the whole network",
        "network",
        proximal.solve,
        (ALONE, STARTED, PROX, KEEPS, *NETWORK, *ALL_CELLS),
    ),
    # Noise or minibatches in a method that couples the targets.
    Solver(
        "stochastic gradient (optax Adam) on the whole network",
        "network",
        stochastic.solve,
        (ALONE, DRAWN, STARTED, SMOOTH, DELETES, *NETWORK),
    ),
)


# What a solver of one kind of term is made for.
MADE_FOR = {
    evidence.solve: "evidence",
    subsets.solve: "subsets",
    newton.solve: "log_det",
    central_path.solve: "acyclic",
    iteration.solve: "iterates",
}


@dataclass(frozen=True)
class Choice:
    """A solver, and why those above it were not taken."""

    solver: Solver
    refused: tuple[tuple[Solver, list[str]], ...]


def select(
    profile: Profile | Spec, solver: Solver | str | None = None, ladder: tuple[Solver, ...] = LADDER
) -> Choice:
    """Return the first solver that takes the spec, or check the one that was asked for."""
    if isinstance(profile, Spec):
        profile = Profile(profile, profile.terms, sizes=implied_sizes(profile.terms))
    spec = profile.spec
    if any(o.leaves_out for o in spec.over):
        drawn = profile.draws_start or any(profile.noisy(t) for t in spec.terms)
        if why := leftout.unsuited(spec, drawn):
            raise PlanError(f"lioness of {spec.name!r} means nothing: {why}", why)
    if solver is not None:
        if isinstance(solver, str):
            known = {s.name: s for s in ladder}
            if solver not in known:
                raise ValueError(
                    f"there is no solver {solver!r}; the solvers are: {', '.join(known)}"
                )
            solver = known[solver]
        if not isinstance(solver, Solver):
            raise TypeError(
                f"solver is a unigrn.Solver or the name of one, got {type(solver).__name__}"
            )
        if lacking := solver.lacking(profile):
            raise PlanError(
                f"{solver.name} does not take {spec.name!r} ({spec}): {'; '.join(lacking)}"
            )
        return Choice(solver, ())
    refused = []
    for rung in ladder:
        lacking = rung.lacking(profile)
        if not lacking:
            return Choice(rung, tuple(refused))
        refused.append((rung, lacking))

    lacks = {rung.name: what for rung, what in refused}
    if not STARTED.lacking(profile) and (faults := TRACED.lacking(profile)):
        why = "; ".join(faults)
        raise PlanError(f"{spec.name!r} ({spec}) cannot be solved: {why}", why, lacks)

    def far(pair):
        """Count what is lacking; then come those that pass by declared sweeps, or that couple."""
        rung, lacking = pair
        passes = bool(spec.sweeps) and rung.drive is None
        # A solver made for something that the spec has not is near in number only.
        kind = MADE_FOR.get(rung.solve)
        apart = spec.across != rung.across or (
            kind is not None and not any(getattr(getattr(t, "term", t), kind) for t in spec.terms)
        )
        apart = apart or (spec.loss.iterates is not None and kind != "iterates")
        return apart, len(lacking), passes, spec.separable and rung.whole

    near, lacking = min(reversed(refused), key=far)  # of equals the last, the most general
    why = "; ".join(lacking)
    raise PlanError(
        f"no solver takes {spec.name!r} ({spec}); nearest is {near.name}; lacking for it: {why} "
        "(the error's .ladder says what each solver lacks)",
        why,
        lacks,
    )
