"""Claims about the frame itself: equivalence, separation, centring, weighting, deletion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from unigrn.constraints import budget, support
from unigrn.losses import component_analysis, least_squares
from unigrn.losses import loss as as_loss
from unigrn.methods.celloracle import ReleasedBags
from unigrn.regularizers import L0, L1, Ridge, laplacian, ridge
from unigrn.solvers import columns
from unigrn.spec import Spec
from unigrn.terms import Blocks, PriorView, joint
from unigrn.verify import originals
from unigrn.verify.claims import Claim
from unigrn.verify.claims.common import Search, claimed, evaluated, fit, joining
from unigrn.verify.equivalence import Equivalence
from unigrn.verify.formulations import Formulation, formulation, jit
from unigrn.verify.instances import NAMES, REGULATORS, TARGETS, Instance, Point, instances, points
from unigrn.verify.search import KINDS, Finding

SOURCES, AIMS = NAMES[:REGULATORS], NAMES[REGULATORS:]


MASKED = Spec(least_squares(), ridge(2.0), support(), name="masked ridge")
NETWORK = formulation(MASKED)  # compiled on first use, once for all claims


def _masked_fit(instance: Instance, cut: bool = False) -> Blocks:
    """Fit the masked ridge through plan and solver.

    What the prior leaves out goes to copies of the targets, which makes 12 edges of every prior:
    one compiled program serves all instances.
    """
    aims = [*AIMS, *(f"copy of {t}" for t in AIMS)]
    solution = fit(
        MASKED.replace(constraint=None) if cut else MASKED,
        np.c_[instance.x, instance.y, instance.y],
        SOURCES,
        aims,
        np.c_[instance.prior.support, ~instance.prior.support],
        weights=instance.weight,
    )
    theta = solution.theta[0][:, np.isin(solution.plan.problem.targets, AIMS)]
    if cut:  # fitted with all regulators, then those off the support dropped
        theta = np.where(instance.prior.support, theta, 0)
    return Blocks(theta=theta)


def _off_support(instance: Instance, u: Blocks) -> float:
    return float(np.abs(u.theta[~instance.prior.support]).max(initial=0))


# ------------------------------------------------------------------ strong_equivalence


@dataclass(frozen=True)
class _Finite:
    """A problem over a few numbered points: their values, and which are feasible."""

    values: np.ndarray
    feasible: np.ndarray

    @property
    def least(self) -> float:
        return float(self.values[self.feasible].min())

    @property
    def minimisers(self) -> np.ndarray:
        return np.flatnonzero(self.feasible & (self.values == self.least))


@dataclass(frozen=True)
class _Link:
    """A second problem, the maps between the numbered points, and the affine relation."""

    problem: _Finite
    to: np.ndarray
    back: np.ndarray
    scale: float
    shift: float


def _numbers(instance: Instance, rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.integers(-3, 4, size).astype(float) if instance.whole else rng.normal(size=size)


def _first_problem(instance: Instance, rng: np.random.Generator) -> _Finite:
    feasible = rng.random(5) < 0.6
    feasible[0] = True
    return _Finite(_numbers(instance, rng, 5), feasible)


def _linked(instance: Instance, rng: np.random.Generator, p: _Finite, slip: str = "") -> _Link:
    """Draw a problem that is strongly equivalent to ``p``, but for the slip.

    Every pair of finite problems with maps that satisfy the four conditions can be drawn.
    """
    scale = float(rng.choice([0.5, 1, 2])) * (-1 if slip == "decreasing" else 1)
    shift = float(rng.integers(-2, 3))
    values = scale * p.values + shift
    size = 6
    inside = np.flatnonzero(p.feasible)
    feasible = rng.random(size) < 0.6
    feasible[0] = True
    best = inside[np.argmin(values[inside])]
    back = rng.choice(len(values) if slip == "back leaves" else inside, size)
    back[0] = best
    slack = np.where(rng.random(size) < 0.5, 0, np.abs(_numbers(instance, rng, size)))
    slack[0] = 0
    other = values[back] + slack
    # Off the feasible set anything goes, lower values too: feasibility must matter.
    other = np.where(feasible, other, other - rng.integers(0, 3, size))
    if slip == "back holds at one point":
        other[1:] = _numbers(instance, rng, size - 1)
    to = np.empty(len(values), int)
    for x in range(len(values)):
        low = other <= values[x] if slip != "to is higher" else np.ones(size, bool)
        allowed = np.flatnonzero(low if slip == "to leaves" else low & feasible)
        to[x] = rng.choice(allowed) if len(allowed) else rng.integers(size)
    return _Link(_Finite(other, feasible), to, back, scale, shift)


def _hypotheses(p: _Finite, link: _Link) -> list[Finding]:
    """Feasibility of both maps and both inequalities, at every point, by `Equivalence`."""

    def problem(q: _Finite) -> Formulation:
        return Formulation(
            lambda _, k: float(q.values[k]),
            lambda _, k: float(not q.feasible[k]),
            lambda _, point: point.seed % len(q.values),
        )

    joined = Equivalence(
        problem(p),
        problem(link.problem),
        lambda _, k: int(link.to[k]),
        lambda _, k: int(link.back[k]),
        scale=link.scale,
        shift=link.shift,
        relation="strong",
    )
    return [f for k in range(30) for f in joined.compare(Instance(), Point(seed=k), KINDS)]


def _carried(p: _Finite, q: _Finite, to: np.ndarray) -> list[Finding]:
    """Whether a map sends every minimiser of p to a minimiser of q."""
    out = []
    for image in to[p.minimisers]:
        out.append(Finding("feasibility", float(not q.feasible[image])))
        out.append(Finding("minimiser", float(abs(q.values[image] - q.least))))
    return out


def _strongly(instance: Instance, point: Point, slip: str | None = None) -> list[Finding]:
    """Two links of a chain and their composition; with a slip only what should follow.

    A slip shows in few chains of so few points: there are ten of them in an example.
    """
    chains = np.random.default_rng((instance.seed, point.seed, 6)).spawn(10)
    return [f for rng in chains for f in _chained(instance, rng, slip)]


def _chained(instance: Instance, rng: np.random.Generator, slip: str | None) -> list[Finding]:
    p = _first_problem(instance, rng)
    one = _linked(instance, rng, p, slip or "")
    two = _linked(instance, rng, one.problem)
    out = [] if slip else _hypotheses(p, one) + _hypotheses(one.problem, two)
    ends = [
        (p, one.problem, one.to, one.back),
        (one.problem, two.problem, two.to, two.back),
        (p, two.problem, two.to[one.to], one.back[two.back]),
    ]
    for a, b, to, back in ends:
        out += _carried(a, b, to) + _carried(b, a, back)
    if not slip:
        for a, link in ((p, one), (one.problem, two)):
            out.append(
                Finding("objective", abs(link.scale * a.least + link.shift - link.problem.least))
            )
    return out


def _strong_claim() -> Claim:
    return claimed(
        "strong_equivalence",
        "maps that keep feasibility and two inequalities carry minimisers, both ways and composed",
        (
            "frame.equivalent_argmin",
            "frame.equivalent_lower",
            "frame.equivalent_sym",
            "frame.equivalent_trans",
            "frame.argmin_affine",
        ),
        Search("maps with both inequalities carry minimisers", _strongly, tolerance=1e-12).slipped,
        {
            "one inequality only: the image may be worse": {"slip": "to is higher"},
            "the inequality back holds at one point only": {"slip": "back holds at one point"},
            "the map leaves the feasible set": {"slip": "to leaves"},
            "the map back leaves the feasible set": {"slip": "back leaves"},
            "a decreasing scale": {"slip": "decreasing"},
        },
        "brute force",
    )


# ------------------------------------------------------------------ targets_separate


def _alone(
    instance: Instance, parts: list[np.ndarray], alpha: float = 2.0, expressed: bool = False
) -> float:
    """Weighted squares of every target by itself, with an intercept and a ridge, added up."""
    total = 0.0
    for t, b in enumerate(parts):
        r, w = instance.y[:, t] - instance.x @ b, instance.weight
        if expressed:  # on the cells that express it
            w = w * (instance.y[:, t] > 0)
        r = r - w @ r / w.sum() if w.any() else 0 * r
        total += w @ r**2 + alpha * b @ b
    return float(total)


def _slopes(instance: Instance, parts: list[np.ndarray]) -> list[np.ndarray]:
    out, w = [], instance.weight
    for t, b in enumerate(parts):
        r = instance.y[:, t] - instance.x @ b
        out.append(4 * b - 2 * instance.x.T @ (w * (r - w @ r / w.sum())))
    return out


def _parts(**changes: Any) -> Formulation:
    """Every target by itself, in NumPy."""

    def worst(instance, parts):
        return max(
            np.abs(b[~instance.prior.support[:, t]]).max(initial=0) for t, b in enumerate(parts)
        )

    return replace(
        Formulation(
            _alone,
            worst,
            lambda i, point: list(point.theta(i).T),
            _slopes,
            minimiser=lambda i: list(_one_system(i).theta.T),
            name="masked ridge of each target",
        ),
        **changes,
    )


def _one_system(instance: Instance) -> Blocks:
    """Minimise over the whole network as one linear system in all entries of the support."""
    w, x, y = instance.weight, instance.x, instance.y
    x, y = x - w @ x / w.sum(), y - w @ y / w.sum()
    on = instance.prior.support.T.ravel()
    gram = np.kron(np.eye(TARGETS), (x.T * w) @ x)[np.ix_(on, on)]
    out = np.zeros(on.size)
    out[on] = np.linalg.solve(gram + 2.0 * np.eye(on.sum()), ((x.T * w) @ y).T.ravel()[on])
    return Blocks(theta=out.reshape(TARGETS, REGULATORS).T)


def _separation_claim() -> Claim:
    whole = replace(NETWORK, minimiser=_masked_fit, name="masked ridge of the network")
    joined = Equivalence(
        whole,
        _parts(),
        lambda i, u: list(np.asarray(u.theta).T),
        lambda i, parts: Blocks(theta=np.stack(parts, axis=1)),
        tolerance=1e-8,
    )
    tied = formulation(MASKED.replace(regularizer=ridge(2.0) + laplacian(1.0, threshold=0.0)))
    few = formulation(Spec(least_squares(), ridge(2.0), budget(3), name="budget of the network"))
    bare = {"gradient": None, "minimiser": None}
    each = _parts(
        violation=lambda i, parts: max(max(np.count_nonzero(b) - 3, 0) for b in parts), **bare
    )
    shared = _parts(objective=partial(_alone, alpha=2.0 / TARGETS), **bare)
    expressed = _parts(objective=partial(_alone, expressed=True), **bare)
    return claimed(
        "targets_separate",
        "a network is optimal if and only if every target is",
        ("separation.targets_separate", "separation.parts_separate", "separation.columns_separate"),
        lambda **parts: joining(replace(joined, **parts)),
        {
            "targets of like expression are tied": {"first": replace(tied, gradient=None)},
            "a budget of edges for the network, given to each target": {
                "first": replace(few, gradient=None),
                "second": each,
            },
            "the penalty divided among the targets": {"second": shared},
            "each target on the cells that express it": {"second": expressed},
        },
    )


# ------------------------------------------------------------------ centring_is_an_intercept


def _with_intercept(instance: Instance, u: Blocks, penalised: bool = False) -> float:
    """Weighted squares with every intercept written out, and the ridge on theta."""
    residual = instance.y - u.intercept - instance.x @ u.theta
    paid = 2.0 * np.sum(u.theta**2) + (2.0 * np.sum(u.intercept**2) if penalised else 0)
    return float(np.sum(instance.weight[:, None] * residual**2) + paid)


def _intercept_fit(instance: Instance, penalised: bool = False) -> Blocks:
    """Solve the normal equations with a column of ones, target by target."""
    theta, intercept = np.zeros((REGULATORS, TARGETS)), np.zeros(TARGETS)
    for t, own in enumerate(_kept(instance)):
        x = np.c_[instance.x[:, own], np.ones(instance.cells)]
        price = np.diag(np.r_[np.full(len(own), 2.0), 2.0 if penalised else 0.0])
        xw = x.T * instance.weight
        b = np.linalg.solve(xw @ x + price, xw @ instance.y[:, t])
        theta[own, t], intercept[t] = b[:-1], b[-1]
    return Blocks(theta=theta, intercept=intercept)


def _restore(instance: Instance, v: Blocks, weighted: bool = True) -> Blocks:
    w = instance.weight if weighted else np.ones(instance.cells)
    middle = w @ (instance.y - instance.x @ np.asarray(v.theta)) / w.sum()
    return Blocks(theta=np.asarray(v.theta), intercept=middle)


def _plain_means(instance: Instance, v: Blocks) -> float:
    """Weigh the squares, but take them about means that are not weighted."""
    r = instance.y - instance.x @ v.theta
    r = r - r.mean(axis=0)
    return float(np.sum(instance.weight[:, None] * r**2) + 2.0 * np.sum(v.theta**2))


def _any_or_best_intercept(instance: Instance, point: Point) -> Blocks:
    """Draw an intercept, or take the best: elsewhere much is below the objective."""
    best = _restore(instance, Blocks(theta=point.theta(instance)))
    if instance.rng(6).random() < 0.8:
        return best
    return best.replace(intercept=point.array(TARGETS, salt=1))


def _centring() -> Equivalence:
    explicit = Formulation(
        _with_intercept,
        _off_support,
        _any_or_best_intercept,
        minimiser=_intercept_fit,
        name="ridge with an intercept",
    )
    centred = replace(NETWORK, minimiser=_masked_fit, name="centred ridge", gradient=None)
    # Small: the square of a mean of 10,000 is added and taken away again.
    return Equivalence(
        explicit,
        centred,
        lambda i, u: Blocks(theta=u.theta),
        _restore,
        relation="strong",
        tolerance=1e-7,
    )


def _centring_claim() -> Claim:
    joined = _centring()
    plain = Formulation(_plain_means, _off_support, lambda i, p: p.blocks(i), name="plain means")
    none = replace(
        formulation(MASKED.replace(loss=least_squares(intercept=False))),
        gradient=None,
        name="no intercept",
    )
    paid = replace(
        joined.first,
        objective=partial(_with_intercept, penalised=True),
        minimiser=partial(_intercept_fit, penalised=True),
    )
    return claimed(
        "centring_is_an_intercept",
        "weighted centring eliminates the intercept",
        (
            "centring.with_intercept_square",
            "centring.centring_is_an_intercept",
            "centring.centring_equivalent",
        ),
        lambda **parts: joining(replace(joined, **parts)),
        {
            "centred by means without the weights": {"second": plain},
            "the intercept restored without the weights": {
                "back": partial(_restore, weighted=False)
            },
            "no intercept at all": {"second": none},
            "a penalised intercept": {"first": paid},
        },
    )


# ------------------------------------------------------------------ bootstrap_is_a_weighting


class _Altered(Instance):
    """The same instance, but for some of its arrays."""

    def __init__(self, instance: Instance, **arrays: Any):
        super().__init__(**{f.name: getattr(instance, f.name) for f in fields(instance)})
        self.__dict__.update({**instance.__dict__, **arrays})


def _drawn_rows(instance: Instance) -> np.ndarray:
    """Cells that the released program draws in one bag, by the independent original."""
    return originals.released_bag_indices(
        instance.cells, REGULATORS, 1, random_state=instance.seed
    )[1][0]


def _counted(instance: Instance, slip: str = "") -> Instance:
    """Weights of the cells: how often the shipped code says that each is drawn."""
    drawing = ReleasedBags(1, 0.8, random_state=instance.seed)
    fewer = REGULATORS - 2 if slip == "other candidates" else REGULATORS
    counts = drawing.cells(instance.cells, 0, 0, fewer)(0, instance.cells)[0].astype(float)
    if slip == "indicator":
        counts = np.minimum(counts, 1)
    elif slip == "sum one":
        counts = counts / counts.sum()
    elif slip == "without replacement":
        counts = np.ones_like(counts)
    return _Altered(instance, weight=counts)


def _on_rows(instance: Instance, u: Blocks) -> float:
    """Squares over the drawn rows, one by one, and the ridge."""
    total, rows = 2.0 * np.sum(u.theta**2), _drawn_rows(instance)
    fitted_values = instance.x @ u.theta
    middle = np.mean([instance.y[i] - fitted_values[i] for i in rows], axis=0)
    for i in rows:
        total += np.sum((instance.y[i] - fitted_values[i] - middle) ** 2)
    return float(total)


def _rows_fit(instance: Instance) -> Blocks:
    rows, theta = _drawn_rows(instance), np.zeros((REGULATORS, TARGETS))
    for t, own in enumerate(_kept(instance)):
        theta[own, t] = originals.ridge(instance.x[np.ix_(rows, own)], instance.y[rows, t], 2.0)
    return Blocks(theta=theta)


def _bootstrap_claim() -> Claim:
    def check(slip: str = "") -> Search:
        rows = Formulation(
            _on_rows,
            _off_support,
            lambda i, p: p.blocks(i),
            minimiser=_rows_fit,
            name="ridge on drawn rows",
        )
        counts = replace(
            NETWORK, minimiser=_masked_fit, gradient=None, name="ridge weighted by counts"
        )
        return joining(
            Equivalence(rows, counts, data=partial(_counted, slip=slip), tolerance=1e-8),
            lambda: instances(weights="ones"),
            points,
        )

    return claimed(
        "bootstrap_is_a_weighting",
        "a fit to rows drawn with replacement is a fit weighted by how often each is drawn",
        (
            "bootstrap.bootstrap_is_a_weighting",
            "bootstrap.drawn_total",
            "bootstrap.bootstrap_argmin",
        ),
        check,
        {
            "drawn or not, in place of counts": {"slip": "indicator"},
            "weights rescaled to sum one": {"slip": "sum one"},
            "drawn without replacement": {"slip": "without replacement"},
            "rows drawn for another number of candidates": {"slip": "other candidates"},
        },
    )


# ------------------------------------------------------------------ support_is_deletion


def _kept(instance: Instance) -> list[np.ndarray]:
    return [np.flatnonzero(column) for column in instance.prior.support.T]


def _deleted_objective(instance: Instance, b: list[np.ndarray], alpha: float = 2.0) -> float:
    """Weighted ridge of each target on its own columns, with an intercept."""
    total, w = 0.0, instance.weight
    for t, (own, coefficients) in enumerate(zip(_kept(instance), b, strict=True)):
        residual = instance.y[:, t] - instance.x[:, own] @ coefficients
        residual = residual - w @ residual / w.sum()
        total += w @ residual**2 + alpha * coefficients @ coefficients
    return total


def _deleted_minimiser(instance: Instance, alpha: float = 2.0) -> list[np.ndarray]:
    w, out = instance.weight, []
    for t, own in enumerate(_kept(instance)):
        x, y = instance.x[:, own], instance.y[:, t]
        x, y = x - w @ x / w.sum(), y - w @ y / w.sum()
        out.append(np.linalg.solve((x.T * w) @ x + alpha * np.eye(len(own)), (x.T * w) @ y))
    return out


def _restrict(instance: Instance, u: Blocks) -> list[np.ndarray]:
    return [np.asarray(u.theta)[own, t] for t, own in enumerate(_kept(instance))]


def _embed(instance: Instance, b: list[np.ndarray], leak: bool = False) -> Blocks:
    theta = np.zeros((REGULATORS, TARGETS))
    for t, (own, coefficients) in enumerate(zip(_kept(instance), b, strict=True)):
        theta[own, t] = coefficients
    if leak:
        theta[0, ~instance.prior.support[0]] = 1e-3
    return Blocks(theta=theta)


def _deletion_claim() -> Claim:
    masked = replace(NETWORK, minimiser=_masked_fit)
    deleted = Formulation(
        _deleted_objective,
        variables=lambda i, p: _restrict(i, Blocks(theta=p.array(REGULATORS, TARGETS))),
        minimiser=_deleted_minimiser,
        name="ridge on the kept regulators",
    )
    joined = Equivalence(masked, deleted, _restrict, _embed, tolerance=1e-8)
    doubled = replace(deleted, objective=partial(_deleted_objective, alpha=4.0))
    cut = replace(masked, minimiser=partial(_masked_fit, cut=True))
    return claimed(
        "support_is_deletion",
        "a hard mask is solved by deleting the regulators that it forbids",
        ("support.support_is_deletion", "support.masked_regression_is_deletion"),
        lambda **parts: joining(replace(joined, **parts)),
        {
            "a leaked support entry": {"back": partial(_embed, leak=True)},
            "the mask applied after the fit": {"first": cut},
            "a doubled penalty": {"second": doubled},
        },
    )


# ------------------------------------------------------------------ partial_minimisation

PRICE, RIDGE = 0.5, 1.0  # of the activities and of the network


def _shadow(params: Blocks, data: Any, prior: Any) -> Any:
    """Another nuisance block, which does not meet the activities."""
    return ((params.theta - params.B) ** 2).sum() + (params.B**2).sum()


def _meeting(params: Blocks, data: Any, prior: Any) -> Any:
    """Add a term in which the two nuisance blocks meet."""
    return _shadow(params, data, prior) + (params.A.sum() - params.B.sum() - 1) ** 2


def _blocks_spec(second: Callable[..., Any]) -> Spec:
    extra = as_loss(second, coupled=True, weighted=True, blocks=("A", "B", "theta"))
    return Spec(component_analysis() + extra, ridge(PRICE, "A") + ridge(RIDGE))


def _reduced(instance: Instance, theta: np.ndarray, slip: str = "") -> float:
    """Return price tr E'(SS' + price I)^-1 E, and what the second block leaves."""
    s, e = theta.T, instance.y.T
    inverse = np.linalg.solve(s @ s.T + PRICE * np.eye(TARGETS), e)
    fit = (1.0 if slip == "no factor" else PRICE) * np.sum(e * inverse)
    if slip == "residual only":  # the ridge on the activities forgotten
        fit = np.sum((e - s @ (s.T @ inverse)) ** 2)
    return float(fit + (RIDGE + 0.5) * np.sum(theta**2))


def _inner(instance: Instance, theta: np.ndarray, spec: Spec, slip: str = "") -> Blocks:
    """Activities by the shipped exact step of a block, and the second block in closed form."""
    params = Blocks(A=np.zeros((REGULATORS, instance.cells)), B=theta / 2, theta=theta)
    data, prior = instance.rows(), instance.prior
    paid = ridge(2 * PRICE if slip == "doubled" else PRICE, "A")
    squares = component_analysis().squares("A", params, data, prior) + paid.squares(
        "A", params, data, prior
    )
    found = np.asarray(columns.step(squares, params.A, 0.5 if slip == "one step" else 0.0))
    return params.replace(A=found)


def _joint_minimiser(instance: Instance) -> Blocks:
    """Global minimiser by the singular values of the expression: each is soft-thresholded."""
    u, size, v = np.linalg.svd(instance.y.T, full_matrices=False)
    paid = RIDGE + 0.5
    kept = np.maximum(size - np.sqrt(PRICE * paid), 0)
    s = u * np.sqrt(kept * np.sqrt(PRICE / paid))
    a = np.sqrt(kept * np.sqrt(paid / PRICE))[:, None] * v
    theta, activities = np.zeros((REGULATORS, TARGETS)), np.zeros((REGULATORS, instance.cells))
    theta[: s.shape[1]], activities[: len(a)] = s.T, a
    return Blocks(A=activities, B=theta / 2, theta=theta)


def _reduced_minimiser(instance: Instance) -> np.ndarray:
    """Minimise the reduced form over SS', which has the same eigenvectors as EE'."""
    size, u = np.linalg.eigh(instance.y.T @ instance.y)
    size = np.sqrt(np.maximum(size, 0))
    gain = np.maximum(size * np.sqrt(PRICE / (RIDGE + 0.5)) - PRICE, 0)
    theta = np.zeros((REGULATORS, TARGETS))
    theta[:TARGETS] = (u * np.sqrt(gain)).T
    return theta


def _blocks_claim() -> Claim:
    def check(slip: str = "", second: Callable[..., Any] = _shadow) -> Search:
        spec = _blocks_spec(second)
        joint = Formulation(
            lambda i, u: evaluated(spec, u, i.rows(), i.prior)[0],
            variables=lambda i, p: Blocks(
                A=p.array(REGULATORS, i.cells, salt=1),
                B=p.array(REGULATORS, TARGETS, salt=2),
                theta=p.array(REGULATORS, TARGETS),
            ),
            minimiser=_joint_minimiser,
            name="network, activities and a second block",
        )
        reduced = Formulation(
            partial(_reduced, slip=slip),
            variables=lambda i, p: p.array(REGULATORS, TARGETS),
            minimiser=_reduced_minimiser,
            name="network alone",
        )
        return joining(
            Equivalence(
                joint,
                reduced,
                lambda i, u: np.asarray(u.theta),
                partial(_inner, spec=spec, slip=slip),
                relation="strong",
                tolerance=1e-8,
            ),
            lambda: instances(weights="ones", support="mixed"),
            points,
        )

    return claimed(
        "partial_minimisation",
        "nuisance blocks that do not meet are minimised away one by one; activities in closed form",
        (
            "blocks.partial_minimisation",
            "blocks.partial_equivalent",
            "ridge.activities_argmin",
            "ridge.reconstruction_at_activities",
            "ridge.reconstruction_is_min",
        ),
        check,
        {
            "the two nuisance blocks meet in a term": {"second": _meeting},
            "activities of a doubled ridge": {"slip": "doubled"},
            "one damped step in place of the minimum": {"slip": "one step"},
            "the factor before the reduced value left out": {"slip": "no factor"},
            "the ridge on the activities forgotten": {"slip": "residual only"},
        },
    )


# ------------------------------------------------------------------ l0_prox

ENTRIES = 8


@jit
def _joint_prox(cost, absolute, square, v, step, prior):
    """Prox of the shipped terms: of the price alone, or beside a lasso and a ridge."""
    alone = joint((L0(cost),), ()).prox(v, step, None, prior)
    return alone, joint((L0(cost), L1(absolute), Ridge(square)), ()).prox(v, step, None, prior)


def _shipped_prox(
    v: np.ndarray, step: float, price: np.ndarray, absolute: float, square: float
) -> tuple[np.ndarray, np.ndarray]:
    on = np.ones(ENTRIES, bool)
    prior = PriorView(on, np.ones(ENTRIES), np.zeros(ENTRIES, np.int32), ~on, on)
    alone, beside = _joint_prox(
        price, np.float64(absolute), np.float64(square), v, np.float64(step), prior
    )
    return np.asarray(alone), np.asarray(beside)


def _drawn_prices(instance: Instance, point: Point):
    """Values, step and prices: of whole points a third are exact ties; some prices negative."""
    v = point.array(ENTRIES)
    rng = point.rng(3)
    step = float(instance.rng(3).choice([0.125, 0.5, 2.0]))
    price = np.abs(rng.normal(size=ENTRIES)) * point.size**2
    if point.whole:  # powers of two times whole numbers: no rounding, so that ties are ties
        v = np.rint(2 * replace(point, size=1.0).array(ENTRIES)) / 4
        price = np.rint(4 * rng.random(ENTRIES))
    tied = rng.random(ENTRIES) < 1 / 3
    price = np.where(tied, v**2 / (2 * step), price)
    negative = (rng.random(ENTRIES) < 0.25) & (v != 0)
    return v, step, np.where(negative, -1 - price, price)


def _thresholded(
    instance: Instance, point: Point, prox: Callable[..., Any] = _shipped_prox
) -> list[Finding]:
    """Compare at a point, and at one of whole numbers, which has ties."""
    return [
        f
        for whole in (False, True)
        for f in _thresholded_at(instance, replace(point, whole=whole), prox)
    ]


def _thresholded_at(instance: Instance, point: Point, prox: Callable[..., Any]) -> list[Finding]:
    v, step, price = _drawn_prices(instance, point)
    absolute, square = (0.25, 1 / (2 * step)) if instance.whole else (0.3 * point.size, 0.7)
    out = []
    for got, c, d in zip(
        prox(v, step, price, absolute, square), (0.0, absolute), (0.0, square), strict=True
    ):

        def value(u, c=c, d=d):
            return (
                (u - v) ** 2 / (2 * step) + c * np.abs(u) + d * u**2 + price * (np.asarray(u) != 0)
            )

        best = np.sign(v) * np.maximum(np.abs(v) - step * c, 0) / (1 + 2 * step * d)
        at_zero, kept = value(np.zeros(ENTRIES)), value(best)
        # A negative price has no minimiser where the best nonzero point is 0 itself.
        defined = (price >= 0) | (best != 0)
        wanted = np.where(kept < at_zero, best, 0)
        size = np.abs(at_zero) + np.abs(price)
        least = np.minimum(at_zero, kept)
        gap = np.where(defined, np.abs(value(got) - least) / (1 + size), 0)
        grid = np.linspace(-2, 2, 41)[:, None] * (np.abs(v) + 0.1)
        beaten = np.where(defined, np.maximum(least - value(grid), 0) / (1 + size), 0)
        out += [Finding("objective", gap.max()), Finding("minimiser", beaten.max())]
        if point.whole and (c == 0 or instance.whole):  # exact numbers: ties go to 0
            out.append(Finding("prox", np.abs(np.where(defined, got - wanted, 0)).max()))
    return out


def _slipped_prox(v, step, price, absolute, square, slip: str = ""):
    """Both proxes in NumPy, with one slip."""
    out = []
    for c, d in ((0.0, 0.0), (absolute, square)):
        best = np.sign(v) * np.maximum(np.abs(v) - step * c, 0) / (1 + 2 * step * d)
        room = best**2 * (1 + 2 * step * d)  # what keeping the entry is worth, times 2 step
        paid = 2 * step * (np.abs(price) if slip == "absolute" else price)
        if slip == "soft":
            out.append(np.sign(best) * np.maximum(np.abs(best) - step * np.maximum(price, 0), 0))
            continue
        if slip == "half":
            paid = paid / 2
        if slip == "not a number":
            paid = np.where(price < 0, np.inf, paid)
        keep = (
            np.sqrt(room) > np.maximum(paid, 0)
            if slip == "no root"
            else (room >= paid if slip == "tie" else room > paid)
        )
        out.append(np.where(keep, best, 0))
    return out


def _prox_claim() -> Claim:
    def check(slip: str = "") -> Search:
        prox = partial(_slipped_prox, slip=slip) if slip else _shipped_prox
        return Search(
            "hard threshold = the better of two candidates", partial(_thresholded, prox=prox)
        )

    return claimed(
        "l0_prox",
        "the prox of an entrywise l0 price keeps an entry or puts it to 0, whichever is better",
        (
            "hard_threshold.hard_threshold",
            "hard_threshold.hard_threshold_strict",
            "hard_threshold.hard_threshold_tie",
            "hard_threshold.hard_threshold_prox",
        ),
        check,
        {
            "an absolute value in place of the indicator": {"slip": "soft"},
            "threshold without the factor two": {"slip": "half"},
            "the absolute value against the square": {"slip": "no root"},
            "a tie is kept": {"slip": "tie"},
            "a negative price taken as positive": {"slip": "absolute"},
            "a negative price compared with NaN": {"slip": "not a number"},
        },
        "brute force",
    )


CLAIMS = (
    _strong_claim(),
    _separation_claim(),
    _centring_claim(),
    _bootstrap_claim(),
    _deletion_claim(),
    _blocks_claim(),
    _prox_claim(),
)
