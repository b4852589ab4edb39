"""NetREX-CF and NetREX (2018) in plain NumPy, written from their formulas.

A second opinion, as in `unigrn.verify.originals`: float64, direct solves, no code shared with the
JAX specs and solvers. "Released" means the authors' program, whose choices are kept even where
theory would choose otherwise; each such place says so.

Symbols, in the orientation of the released program: n genes, m regulators (TFs), l samples,
q latent features; * between arrays is elementwise.

====================  =======  ====================================================================
E                     n x l    expression
S, Z = 1[S != 0]      n x m    signed network and its support
A                     m x l    activity of the regulators
X, Y, R = X'Y         q x n/m  latent features of genes and of regulators; R is n x m
C, P = 1[C != 0]      n x m    confidence of the prior and its support (0/1, float)
lam, alpha, beta      n x m    collaborative-filtering weight lam (alpha + beta Z)
eta                   n x m    price of an edge
lambda_a, lambda_s    scalars  ridge on A, on S
rho, eta0             scalars  ridge on X and Y; eta on the prior
====================  =======  ====================================================================

References
----------
NetREX-CF: Wang et al., Commun Biol 5:1282 (2022), doi:10.1038/s42003-022-04226-7.
NetREX: Wang et al., Nat Commun 9:4061 (2018), doi:10.1038/s41467-018-06382-z.
Proximal alternating linearised minimisation (PALM): Bolte, Sabach and Teboulle, Math Program
146:459 (2014), doi:10.1007/s10107-013-0701-9.
Implicit-feedback factorisation: Hu, Koren and Volinsky, ICDM 2008, doi:10.1109/ICDM.2008.22.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "BruteForce",
    "Netrex",
    "NetrexCF",
    "NetrexCFState",
    "Recorded",
    "Residual",
    "balanced_factors",
    "full_support_minimum",
    "l_data",
    "l_data_gradient",
    "l_data_trace",
    "netrex_budgets",
    "netrex_cf_a_step",
    "netrex_cf_ascent_example",
    "netrex_cf_balance",
    "netrex_cf_brute_force",
    "netrex_cf_completed_square",
    "netrex_cf_gradients",
    "netrex_cf_objective",
    "netrex_cf_phi",
    "netrex_cf_price",
    "netrex_cf_problem",
    "netrex_cf_residual",
    "netrex_cf_run",
    "netrex_cf_s_step",
    "netrex_cf_score",
    "netrex_cf_sketch_objective",
    "netrex_cf_start",
    "netrex_cf_state",
    "netrex_cf_weights",
    "netrex_cf_x_step",
    "netrex_cf_y_step",
    "netrex_confidence",
    "netrex_confidence_naive",
    "netrex_feasible",
    "netrex_laplacian",
    "netrex_objective",
    "netrex_problem",
    "netrex_project",
    "netrex_project_exhaustive",
    "netrex_s_step",
    "nuclear_norm_minimum",
    "read_recorded",
    "restricted_minimum",
    "weighted_als",
    "weighted_als_objective",
]


# ------------------------------------------------------------------ problem and state


class NetrexCF(NamedTuple):
    """Arrays and numbers of the NetREX-CF objective; see the table at the top of the module."""

    E: np.ndarray  # (n, l)
    P: np.ndarray  # (n, m) 0.0 or 1.0
    lam: np.ndarray  # (n, m) >= 0
    alpha: np.ndarray  # (n, m) >= 0
    beta: np.ndarray  # (n, m) >= 0, > 0 off the prior
    eta: np.ndarray  # (n, m)
    lambda_a: float
    lambda_s: float
    rho: float
    eta0: float


class NetrexCFState(NamedTuple):
    """The four blocks S (n, m), A (m, l), X (q, n), Y (q, m)."""

    S: np.ndarray
    A: np.ndarray
    X: np.ndarray
    Y: np.ndarray


def _matrix(name: str, value: np.ndarray, shape: tuple[int | None, int | None]) -> np.ndarray:
    """Return a finite float64 matrix of that shape (None: any size), or say what is wrong."""
    value = np.asarray(value, dtype=np.float64)
    fits = value.ndim == 2 and all(
        want is None or want == got for want, got in zip(shape, value.shape, strict=True)
    )
    if not fits:
        need = " x ".join("any" if s is None else str(s) for s in shape)
        raise ValueError(
            f"got {name} of shape {value.shape}; needed a matrix {need}: genes x regulators for "
            "the network, genes x samples for expression"
        )
    if not np.isfinite(value).all():
        raise ValueError(f"got NaN or infinite values in {name}; needed finite values: remove them")
    return value


def _positive(name: str, value: float, zero: bool = False) -> float:
    value = float(value)
    if not np.isfinite(value) or value < 0 or (value == 0 and not zero):
        sign = ">= 0" if zero else "> 0"
        raise ValueError(f"got {name}={value!r}; needed a finite number {sign}: change {name}")
    return value


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Mask of the ``count`` largest entries of each row; of equal ones the first."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    mask = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(mask, order, True, axis=1)
    return mask


def netrex_cf_problem(
    E: np.ndarray,
    C: np.ndarray,
    lam: float | np.ndarray = 5.0,
    alpha: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    eta0: float = 1e-7,
    lambda_a: float = 1.0,
    lambda_s: float = 1.0,
    rho: float = 1.0,
    keep: int = 200,
) -> NetrexCF:
    """Build P and eta from the confidence of the prior.

    P = 1[C != 0] after keeping the ``keep`` largest C of each gene (of equal ones the first), and

        eta = eta0 on the prior,   eta0 + lam alpha (1 + alpha / beta) off it,

    the least price for which no edge ever costs less than eta0. Entries that the cut drops keep
    the alpha and beta of the uncut C, as released: they have P = 0 and a large weight.

    Parameters
    ----------
    E : (n, l) array
        Expression, used as it is (neither centred nor scaled).
    C : (n, m) array
        Confidence >= 0; 0 is "not in the prior".
    lam : float or (n, m) array
        Multiplier of the collaborative-filtering weights.
    alpha, beta : (n, m) arrays, optional
        By default those of the released notebook: C and 9 C where C > 0, 1 and max(C) - 1 where
        C = 0.
    eta0, lambda_a, lambda_s, rho : float
        Strengths > 0.
    keep : int
        Prior regulators of a gene that count as prior.

    Raises
    ------
    ValueError
        For shapes that do not fit, negative or non-finite values, max(C) <= 1 with the default
        ``beta`` (which is then not positive off the prior), or ``beta`` <= 0 off the prior.
    """
    E = _matrix("E", E, (None, None))
    C = _matrix("C", C, (E.shape[0], None))
    if (C < 0).any():
        raise ValueError(f"got a negative confidence C={C.min()}; needed C >= 0: 0 is no evidence")
    if beta is None and C.max() <= 1:
        raise ValueError(
            f"got max(C)={C.max()}; needed max(C) > 1, for the default beta off the prior is "
            "max(C) - 1 and must be positive: rescale C, or pass beta"
        )
    known = C > 0
    alpha = np.where(known, C, 1.0) if alpha is None else _matrix("alpha", alpha, C.shape)
    beta = np.where(known, 9 * C, C.max() - 1) if beta is None else _matrix("beta", beta, C.shape)
    lam = _matrix("lam", np.broadcast_to(np.asarray(lam, dtype=np.float64), C.shape), C.shape)
    for name, value in (("lam", lam), ("alpha", alpha), ("beta", beta)):
        if (value < 0).any():
            raise ValueError(f"got {name}={value.min()}; needed {name} >= 0 everywhere")
    P = known & _largest(C, keep)
    if (beta[~P] <= 0).any():
        raise ValueError(
            "got beta = 0 off the prior; needed beta > 0 there, or the price of an edge is "
            "infinite: raise beta where C is 0 or cut"
        )
    eta0 = _positive("eta0", eta0)
    ratio = np.divide(alpha, beta, out=np.zeros_like(alpha), where=~P)
    eta = np.where(P, eta0, eta0 + lam * alpha * (1 + ratio))
    ridges = (_positive("lambda_a", lambda_a), _positive("lambda_s", lambda_s))
    return NetrexCF(
        E, P.astype(np.float64), lam, alpha, beta, eta, *ridges, _positive("rho", rho), eta0
    )


def netrex_cf_state(
    problem: NetrexCF, S: np.ndarray, A: np.ndarray, X: np.ndarray, Y: np.ndarray
) -> NetrexCFState:
    """Four blocks as checked float64 arrays; ValueError where a shape does not fit."""
    (n, m), samples = problem.P.shape, problem.E.shape[1]
    X = _matrix("X", X, (None, n))
    return NetrexCFState(
        _matrix("S", S, (n, m)), _matrix("A", A, (m, samples)), X, _matrix("Y", Y, (len(X), m))
    )


# ------------------------------------------------------------------ objective, price, gradients


def _square(a: np.ndarray) -> float:
    return float(np.sum(np.square(a)))


def netrex_cf_weights(problem: NetrexCF, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights lam (alpha + beta Z) and targets T = Z + (1 - Z) P of the factorisation, given Z."""
    Z = np.asarray(Z, dtype=np.float64)
    return problem.lam * (problem.alpha + problem.beta * Z), Z + (1 - Z) * problem.P


def netrex_cf_objective(problem: NetrexCF, state: NetrexCFState) -> float:
    """F(S, A, X, Y) by its definition, without factors 1/2.

    F = ||E - SA||^2 + lambda_a ||A||^2 + lambda_s ||S||^2
        + sum lam (alpha + beta Z) (Z + (1 - Z) P - X'Y)^2 + sum eta Z + rho (||X||^2 + ||Y||^2)

    with Z = 1[S != 0]. The network enters the second line through its support only.
    """
    S, A, X, Y = state
    Z = S != 0
    data = _square(problem.E - S @ A) + problem.lambda_a * _square(A)
    W, T = netrex_cf_weights(problem, Z)
    factorisation = weighted_als_objective(W, T, X, Y, problem.rho)
    return data + problem.lambda_s * _square(S) + factorisation + float(np.sum(problem.eta[Z]))


def netrex_cf_price(problem: NetrexCF, R: np.ndarray) -> np.ndarray:
    """Price of an edge beside its fit: h = eta0 + lam beta (R - r)^2, r = 1 + (1 - P) alpha / beta.

    (n, m) array, never below eta0: so the threshold sqrt(2h / mu) is real and F is lower
    semicontinuous. It is F with S_ij = 0+ minus F with S_ij = 0.
    """
    off = problem.P == 0
    r = 1.0 + np.divide(problem.alpha, problem.beta, out=np.zeros_like(problem.beta), where=off)
    return problem.eta0 + problem.lam * problem.beta * np.square(np.asarray(R) - r)


def netrex_cf_completed_square(problem: NetrexCF, state: NetrexCFState) -> float:
    """F in its second form: implicit-feedback factorisation plus a price for every edge.

    F = ||E - SA||^2 + lambda_a ||A||^2 + lambda_s ||S||^2 + rho (||X||^2 + ||Y||^2)
        + sum lam alpha (P - R)^2 + sum_{S != 0} h(R),   R = X'Y.

    The factorisation is that of Hu, Koren and Volinsky with preference P, confidence lam alpha.
    Equal to `netrex_cf_objective` where eta is that of `netrex_cf_problem`.
    """
    S, A, X, Y = state
    data = _square(problem.E - S @ A) + problem.lambda_a * _square(A)
    implicit = weighted_als_objective(problem.lam * problem.alpha, problem.P, X, Y, problem.rho)
    price = float(np.sum(netrex_cf_price(problem, X.T @ Y)[S != 0]))
    return data + problem.lambda_s * _square(S) + implicit + price


def netrex_cf_gradients(problem: NetrexCF, state: NetrexCFState) -> NetrexCFState:
    """Gradient of F in each block at a fixed support Z.

    S: 2 (S B - E A'), B = AA' + lambda_s I;   A: 2 (G A - S'E), G = S'S + lambda_a I;
    X: 2 (Y (W * (R - T))' + rho X);           Y: 2 (X (W * (R - T)) + rho Y).

    That in S holds for the entries of the support (and, off it, is what the S step uses).
    """
    S, A, X, Y = state
    W, T = netrex_cf_weights(problem, S != 0)
    D = W * (X.T @ Y - T)
    return NetrexCFState(
        2 * ((S @ A - problem.E) @ A.T + problem.lambda_s * S),
        2 * (S.T @ (S @ A - problem.E) + problem.lambda_a * A),
        2 * (Y @ D.T + problem.rho * X),
        2 * (X @ D + problem.rho * Y),
    )


# ------------------------------------------------------------------ block steps and the run


def netrex_cf_a_step(problem: NetrexCF, state: NetrexCFState) -> np.ndarray:
    """Proximal point in A: argmin F + (mu/2) ||A - A0||^2, mu = ||G||_F, G = S'S + lambda_a I.

    (m, l) array (G + (mu/2) I)^-1 (S'E + (mu/2) A0). Lowers F by (mu/2) ||A - A0||^2 or more.
    """
    G = state.S.T @ state.S + problem.lambda_a * np.eye(len(state.A))
    half = np.linalg.norm(G) / 2
    return np.linalg.solve(G + half * np.eye(len(G)), state.S.T @ problem.E + half * state.A)


def netrex_cf_s_step(
    problem: NetrexCF, state: NetrexCFState, mu: float | None = None
) -> np.ndarray:
    """Linearised step in S and a hard threshold; the only linearised block.

    U = S - (2/mu) (S B - E A'),   S <- U where |U| > sqrt(2 h(X'Y) / mu), else 0 (ties too),

    B = AA' + lambda_s I. Released: mu = ||B||_F. F is sure to fall only for mu >= 2 ||B||_2 (the
    Lipschitz constant of the gradient), which the released mu is not where one direction
    dominates B; see `netrex_cf_ascent_example`.
    """
    S, A, X, Y = state
    B = A @ A.T + problem.lambda_s * np.eye(len(A))
    mu = float(np.linalg.norm(B)) if mu is None else _positive("mu", mu)
    U = S - (2.0 / mu) * (S @ B - problem.E @ A.T)
    return np.where(np.abs(U) > np.sqrt(2.0 * netrex_cf_price(problem, X.T @ Y) / mu), U, 0.0)


def _feature_step(
    X: np.ndarray, Y: np.ndarray, W: np.ndarray, T: np.ndarray, rho: float, rows: np.ndarray | None
) -> np.ndarray:
    """Proximal point for the columns ``rows`` of X: x <- (H + (rho + t) I)^-1 (Y D T + t x)."""
    rows = np.arange(X.shape[1]) if rows is None else np.asarray(rows, dtype=np.int64)
    eye = np.eye(len(X))
    H = (Y * W[rows][:, None, :]) @ Y.T + rho * eye
    t = np.linalg.norm(H, axis=(1, 2))
    right = (W[rows] * T[rows]) @ Y.T + t[:, None] * X[:, rows].T
    X = X.copy()
    X[:, rows] = np.linalg.solve(H + t[:, None, None] * eye, right[..., None])[..., 0].T
    return X


def netrex_cf_x_step(
    problem: NetrexCF, state: NetrexCFState, genes: np.ndarray | None = None
) -> np.ndarray:
    """Proximal point in the features of the ``genes`` given (all where absent), by direct solves.

    x_i <- (H + rho I + t I)^-1 (Y D T_i + t x_i),   D = diag(lam_i (alpha_i + beta_i Z_i)),
    H = Y D Y',   t = ||H + rho I||_F.

    (q, n) array. Genes do not see each other. The released program solves by conjugate gradients
    to 1e-6 in single precision.
    """
    W, T = netrex_cf_weights(problem, state.S != 0)
    return _feature_step(state.X, state.Y, W, T, problem.rho, genes)


def netrex_cf_y_step(
    problem: NetrexCF, state: NetrexCFState, tfs: np.ndarray | None = None
) -> np.ndarray:
    """`netrex_cf_x_step` with the roles of genes and regulators exchanged; (q, m) array."""
    W, T = netrex_cf_weights(problem, state.S != 0)
    return _feature_step(state.Y, state.X, W.T, T.T, problem.rho, tfs)


def netrex_cf_run(
    problem: NetrexCF,
    start: NetrexCFState,
    orders: Sequence[tuple[np.ndarray, np.ndarray]] | None = None,
    iterations: int | None = None,
    mu: float | None = None,
    tolerance: float | None = None,
) -> list[NetrexCFState]:
    """Outer iterations A, S, X, Y, each from the newest blocks.

    Parameters
    ----------
    problem, start
        Objective and first state.
    orders : sequence of (genes, tfs), optional
        Whose features move in each iteration (released: 100 random ones of each); all where absent.
    iterations : int, optional
        By default the length of ``orders``.
    mu : float, optional
        Of the S step; released where absent.
    tolerance : float, optional
        Stop where |F_k - F_{k-1}| falls below it (released: 1, absolute).

    Returns
    -------
    list of NetrexCFState
        ``start``, then the state after each outer iteration.

    Raises
    ------
    ValueError
        Without ``orders`` and ``iterations``, or with fewer orders than iterations.
    """
    if iterations is None:
        if orders is None:
            raise ValueError("got neither orders nor iterations; needed one of them")
        iterations = len(orders)
    iterations = int(iterations)
    if orders is not None and len(orders) < iterations:
        raise ValueError(f"got {len(orders)} orders for {iterations} iterations; needed one each")
    state, states = start, [start]
    last = np.inf if tolerance is None else netrex_cf_objective(problem, start)
    for k in range(iterations):
        genes, tfs = (None, None) if orders is None else orders[k]
        state = state._replace(A=netrex_cf_a_step(problem, state))
        state = state._replace(S=netrex_cf_s_step(problem, state, mu))
        state = state._replace(X=netrex_cf_x_step(problem, state, genes))
        state = state._replace(Y=netrex_cf_y_step(problem, state, tfs))
        states.append(state)
        if tolerance is not None:
            value = netrex_cf_objective(problem, state)
            if abs(value - last) < tolerance:
                break
            last = value
    return states


def netrex_cf_score(state: NetrexCFState) -> np.ndarray:
    """Return the released answer, R = X'Y with each gene's row divided by its sum: larger is surer.

    A row that sums to 0 (released: NaN) stays as it is; a negative sum flips the order of its
    row, as released.
    """
    R = state.X.T @ state.Y
    total = R.sum(axis=1, keepdims=True)
    return R / np.where(total == 0, 1.0, total)


class Recorded(NamedTuple):
    """One recorded run of the released class."""

    problem: NetrexCF
    start: NetrexCFState
    orders: list[tuple[np.ndarray, np.ndarray]]  # genes, regulators whose features moved
    blocks: dict[tuple[int, str], np.ndarray]  # (outer iteration >= 1, block name) -> block
    objective: np.ndarray  # (1 + 4 iterations,) after the start and each of A, S, X, Y
    support: np.ndarray  # (1 + 4 iterations,) number of edges, likewise
    C: np.ndarray  # (n, m) confidence from which P and eta were made
    R: np.ndarray  # (n, m) X'Y at the end
    score: np.ndarray  # (n, m) its rows divided by their sums


def read_recorded(path: Path | str) -> Recorded:
    """Read a recorded run (one .npz; see the README beside it)."""
    with np.load(path) as file:
        data = {name: file[name] for name in file.files}
    names = ("E", "P_model", "lam", "alpha", "beta", "eta_model")
    numbers = ("lambda_a", "lambda_s", "reg", "eta0")
    fields: list[Any] = [np.asarray(data[f"in_{k}"], dtype=np.float64) for k in names]
    fields += [float(data[f"in_{k}"]) for k in numbers]
    problem = NetrexCF(*fields)
    start = netrex_cf_state(problem, *(data[f"it0000_init_{b}"] for b in "SAXY"))
    moved = [data[k] for k in sorted(k for k in data if k.startswith("order"))]
    blocks = {}
    for key in sorted(k for k in data if k.startswith("it") and "init" not in k):
        step, _, block = key[2:].split("_")
        blocks[(int(step) + 3) // 4, block] = data[key]
    return Recorded(
        problem,
        start,
        list(zip(moved[::2], moved[1::2], strict=True)),
        blocks,
        *(data[k] for k in ("log_obj", "log_nnz", "in_C", "out_R", "out_score")),
    )


# ------------------------------------------------------------------ the start


def weighted_als_objective(
    W: np.ndarray, T: np.ndarray, X: np.ndarray, Y: np.ndarray, ridge: float
) -> float:
    """Sum W (T - X'Y)^2 + ridge (||X||^2 + ||Y||^2): weighted factorisation (Hu et al. 2008)."""
    return float(np.sum(W * np.square(T - X.T @ Y))) + ridge * (_square(X) + _square(Y))


def netrex_cf_start(
    E: np.ndarray,
    X: np.ndarray,
    Y: np.ndarray,
    rows: int = 100,
    columns: int = 500,
    ridge: float = 0.1,
    alternations: int = 20,
) -> NetrexCFState:
    """First S and A from the features: a support from R = X'Y, then alternating ridge fits.

    The support holds the ``rows`` largest R of each gene (no more than it has nonzeros) and the
    ``columns`` largest of each regulator. From S = 1 there, ``alternations`` times

        A = (S'S + ridge I)^-1 S'E;   S_iJ = E_i A_J' (A_J A_J' + ridge I)^-1 on the support J of i.

    The last A is one half-step older than S. Regulators with the same targets in the support start
    alike and stay alike in exact arithmetic; in floating point their rounding noise grows by
    orders of magnitude each time and decides what they become. So the start is reproducible only
    where all columns of the support differ: not for m <= rows or n <= columns, where it is full.
    Take such a start from a record.
    """
    E = _matrix("E", E, (None, None))
    X = _matrix("X", X, (None, len(E)))
    Y = _matrix("Y", Y, (len(X), None))
    R = X.T @ Y
    in_row = np.argsort(np.argsort(-R, axis=1, kind="stable"), axis=1, kind="stable")
    support = in_row < np.minimum(rows, np.count_nonzero(R, axis=1))[:, None]
    support |= _largest(R.T, columns).T
    S, A = support.astype(np.float64), np.zeros((Y.shape[1], E.shape[1]))
    for _ in range(alternations):
        A = np.linalg.solve(S.T @ S + ridge * np.eye(len(A)), S.T @ E)
        S = _ridge_on_support(E, A, support, ridge)
    return NetrexCFState(S, A, X, Y)


def _ridge_on_support(E: np.ndarray, A: np.ndarray, Z: np.ndarray, ridge: float) -> np.ndarray:
    """Ridge fit of E on A with the support of S in Z; A may be a stack (k, m, l)."""
    Z = np.asarray(Z, dtype=np.float64)
    gram = (A @ np.swapaxes(A, -1, -2))[..., None, :, :] * (Z[:, :, None] * Z[:, None, :])
    right = Z * (E @ np.swapaxes(A, -1, -2))
    return np.linalg.solve(gram + ridge * np.eye(Z.shape[1]), right[..., None])[..., 0]


# ------------------------------------------------------------------ exact pieces of the theory


def l_data(E: np.ndarray, S: np.ndarray, lambda_a: float) -> tuple[float, np.ndarray]:
    """Return L_data = min_A ||E - SA||^2 + lambda_a ||A||^2, and its minimiser (m, l).

    A* = (S'S + lambda_a I)^-1 S'E, value <E, E - S A*>.
    """
    A = np.linalg.solve(S.T @ S + lambda_a * np.eye(S.shape[1]), S.T @ E)
    return float(np.sum(E * (E - S @ A))), A


def l_data_trace(E: np.ndarray, S: np.ndarray, lambda_a: float) -> float:
    """L_data without A: lambda_a tr E'(SS' + lambda_a I)^-1 E."""
    return lambda_a * float(np.sum(E * np.linalg.solve(S @ S.T + lambda_a * np.eye(len(S)), E)))


def l_data_gradient(E: np.ndarray, S: np.ndarray, lambda_a: float) -> np.ndarray:
    """Gradient of L_data in S, by the envelope theorem: -2 (E - S A*) A*'; (n, m)."""
    A = l_data(E, S, lambda_a)[1]
    return -2.0 * (E - S @ A) @ A.T


def balanced_factors(R: np.ndarray, q: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors with X'Y = R and least ||X||^2 + ||Y||^2 = 2 ||R||_*, from the SVD; rank(R) <= q.

    R may be a stack; singular values after the q-th are dropped. XX' = YY' holds.
    """
    U, s, Vt = np.linalg.svd(R, full_matrices=False)
    k = min(q, s.shape[-1])
    root = np.sqrt(s[..., :k])[..., None]
    X, Y = root * np.swapaxes(U, -1, -2)[..., :k, :], root * Vt[..., :k, :]
    pad = [(0, 0)] * (R.ndim - 2) + [(0, q - k), (0, 0)]
    return np.pad(X, pad), np.pad(Y, pad)


def weighted_als(
    W: np.ndarray,
    T: np.ndarray,
    X: np.ndarray,
    Y: np.ndarray,
    ridge: float,
    sweeps: int = 500,
    tolerance: float = 1e-14,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise `weighted_als_objective` by alternating exact solves, balancing after each sweep.

    x_i = (Y D_i Y' + ridge I)^-1 Y D_i T_i, D_i = diag(W_i), then y_j likewise, then
    `balanced_factors`, which keeps X'Y and lowers the ridges. Non-convex for q < min(n, m): what
    is found depends on the start. X (k, q, n) and Y (k, q, m) may be k starts at once.

    Stops after ``sweeps``, or where no entry of X'Y moves by more than ``tolerance`` (1 + max|R|).
    """
    eye = ridge * np.eye(X.shape[-2])

    def solved(Y: np.ndarray, W: np.ndarray, T: np.ndarray) -> np.ndarray:
        H = (Y[..., None, :, :] * W[:, None, :]) @ np.swapaxes(Y, -1, -2)[..., None, :, :]
        right = (W * T) @ np.swapaxes(Y, -1, -2)
        return np.swapaxes(np.linalg.solve(H + eye, right[..., None])[..., 0], -1, -2)

    R = np.swapaxes(X, -1, -2) @ Y
    for _ in range(sweeps):
        X = solved(Y, W, T)
        Y = solved(X, W.T, T.T)
        old, R = R, np.swapaxes(X, -1, -2) @ Y
        X, Y = balanced_factors(R, X.shape[-2])
        if np.abs(R - old).max() <= tolerance * (1 + np.abs(R).max()):
            break
    return X, Y


def netrex_cf_phi(
    problem: NetrexCF, Z: np.ndarray, q: int, restarts: int = 5, seed: int = 0, sweeps: int = 500
) -> tuple[float, np.ndarray, np.ndarray]:
    """Price of a support: Phi_q(Z) = min over X, Y of all terms of F that hold them, plus eta.

    Phi_q(Z) = min sum lam alpha (P - R)^2 + sum Z h(R) + rho (||X||^2 + ||Y||^2),   R = X'Y.

    Returns the best value of ``restarts`` random starts with its X and Y: exact for
    q >= min(n, m) (see `nuclear_norm_minimum`), an upper bound below.
    """
    W, T = netrex_cf_weights(problem, Z)
    n, m = T.shape
    draw = np.random.default_rng(seed)
    X, Y = weighted_als(
        W,
        T,
        draw.normal(size=(restarts, q, n)),
        draw.normal(size=(restarts, q, m)),
        problem.rho,
        sweeps,
    )
    values = [weighted_als_objective(W, T, X[k], Y[k], problem.rho) for k in range(restarts)]
    best = int(np.argmin(values))
    return values[best] + float(np.sum(problem.eta * Z)), X[best], Y[best]


def nuclear_norm_minimum(
    W: np.ndarray, T: np.ndarray, ridge: float, tolerance: float = 1e-12, iterations: int = 20000
) -> tuple[np.ndarray, float, float]:
    """Minimise sum W (T - R)^2 + 2 ridge ||R||_* over all matrices R.

    Equal to the factored problem of `weighted_als_objective` for q >= rank(R), since the least
    ||X||^2 + ||Y||^2 with X'Y = R is 2 ||R||_*; a lower bound of it for every q. Accelerated
    proximal gradient with restarts; the proximal step soft-thresholds singular values.

    Returns
    -------
    R : (n, m) array
    value : float
    gap : float
        value minus a dual value 2 s sum W D T - s^2 sum W D^2 with D = T - R and s so that
        ||2 s W D||_2 <= 2 ridge: the minimum lies in [value - gap, value].

    Raises
    ------
    RuntimeError
        If the gap stays above ``tolerance`` (1 + value).
    """
    step = 0.5 / W.max()
    R = V = np.zeros(T.shape)
    momentum = 1.0
    for k in range(iterations):
        U, s, Vt = np.linalg.svd(V + 2 * step * W * (T - V), full_matrices=False)
        s = np.maximum(s - 2 * ridge * step, 0.0)
        new = (U * s) @ Vt
        if np.sum((V - new) * (new - R)) > 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        V, R, momentum = new + (momentum - 1) / following * (new - R), new, following
        if k % 10:
            continue
        D = T - R
        norm = np.linalg.norm(2 * W * D, 2)
        scale = min(1.0, 2 * ridge / norm) if norm > 0 else 1.0
        value = float(np.sum(W * D**2) + 2 * ridge * np.sum(s))
        gap = value - float(np.sum(W * D * (2 * scale * T - scale**2 * D)))
        if gap <= tolerance * (1 + value):
            return R, value, gap
    raise RuntimeError(
        f"the nuclear-norm problem kept a duality gap of {gap:g} at value {value:g} after "
        f"{iterations} steps: raise iterations or tolerance"
    )


def full_support_minimum(E: np.ndarray, m: int, lambda_a: float, lambda_s: float) -> float:
    """Return the least ||E - SA||^2 + lambda_a ||A||^2 + lambda_s ||S||^2 over all S (n, m) and A.

    Closed form: with t = sqrt(lambda_a lambda_s) and s the singular values of E, the sum over the
    first m of 2 t s - t^2 where s > t and of s^2 where not, plus s^2 for the others.
    """
    s, t = np.linalg.svd(E, compute_uv=False), np.sqrt(lambda_a * lambda_s)
    fitted = (np.arange(len(s)) < m) & (s > t)
    return float(np.sum(np.where(fitted, 2 * t * s - t**2, s**2)))


def restricted_minimum(
    E: np.ndarray,
    Z: np.ndarray,
    lambda_a: float,
    lambda_s: float,
    restarts: int = 5,
    seed: int = 0,
    alternations: int = 2000,
    tolerance: float = 1e-13,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Least ||E - SA||^2 + lambda_a ||A||^2 + lambda_s ||S||^2 over S with support in Z, and A.

    Alternating exact solves from random starts until no start falls by more than ``tolerance``
    (relative); returns the best value with its S and A. Non-convex, so an upper bound in general.
    """
    Z = np.asarray(Z, dtype=np.float64)
    S = Z * np.random.default_rng(seed).normal(size=(restarts, *Z.shape))
    eye = lambda_a * np.eye(Z.shape[1])
    values = np.full(restarts, np.inf)
    for _ in range(alternations):
        St = np.swapaxes(S, 1, 2)
        A = np.linalg.solve(St @ S + eye, St @ E)
        S = _ridge_on_support(E, A, Z, lambda_s)
        old, values = values, np.sum((E - S @ A) ** 2, axis=(1, 2))
        values += lambda_a * np.sum(A**2, axis=(1, 2)) + lambda_s * np.sum(S**2, axis=(1, 2))
        if np.all(old - values <= tolerance * (1 + values)):
            break
    best = int(np.argmin(values))
    return float(values[best]), S[best], A[best]


class BruteForce(NamedTuple):
    """Result of trying every support."""

    value: float  # least F
    state: NetrexCFState  # where it is attained
    values: np.ndarray  # (2^nm,) restricted minimum + Phi_q of each support
    phi: np.ndarray  # (2^nm,) Phi_q alone
    supports: np.ndarray  # (2^nm, n, m) bool


def netrex_cf_brute_force(
    problem: NetrexCF, q: int, restarts: int = 5, seed: int = 0
) -> BruteForce:
    """Global minimum of F over all supports, for at most 10 possible edges.

    min F = min_Z { `restricted_minimum` over S with support in Z + Phi_q(Z) }: S, X and Y meet only
    in the support, and Phi_q grows with it.

    Raises
    ------
    ValueError
        For more than 10 possible edges.
    """
    shape = problem.P.shape
    if problem.P.size > 10:
        raise ValueError(f"got {problem.P.size} possible edges; needed at most 10: cut the case")
    supports = np.array(list(product([False, True], repeat=problem.P.size))).reshape(-1, *shape)
    fits, phis = [], []
    for Z in supports:
        fits.append(
            restricted_minimum(problem.E, Z, problem.lambda_a, problem.lambda_s, restarts, seed)
        )
        phis.append(netrex_cf_phi(problem, Z, q, restarts, seed))
    phi = np.array([value for value, _, _ in phis])
    values = np.array([value for value, _, _ in fits]) + phi
    k = int(np.argmin(values))
    return BruteForce(
        float(values[k]), NetrexCFState(*fits[k][1:], *phis[k][1:]), values, phi, supports
    )


def netrex_cf_ascent_example(
    genes: int = 5, samples: int = 8, seed: int = 0
) -> tuple[NetrexCF, NetrexCFState]:
    """Problem and state at which the released S step raises F, by exactly sum h.

    One regulator, S = 0, so B is a number and mu = B. With s* = e.a / B the step goes to U = 2 s*,
    the mirror image of 0 in the parabola, and keeps it where s*^2 > h / (2B), as built here for
    every gene: the fit does not change and the price h is paid. With A frozen, the next step
    returns to 0.
    """
    draw = np.random.default_rng(seed)
    prior = np.array([[1.5 + k % 2] for k in range(genes)]) * (np.arange(genes) % 3 != 2)[:, None]
    A, X, Y = (draw.normal(size=s) for s in ((1, samples), (2, genes), (2, 1)))
    problem = netrex_cf_problem(np.zeros((genes, samples)), prior)
    B = _square(A) + problem.lambda_s
    target = 1.5 * np.sqrt(netrex_cf_price(problem, X.T @ Y) / (2 * B)) * B  # e.a, in size
    sign = np.where(np.arange(genes) % 2, -1.0, 1.0)[:, None]
    noise = draw.normal(size=(genes, samples))
    noise -= (noise @ A.T) @ A / _square(A)
    problem = problem._replace(E=sign * target @ A / _square(A) + noise)
    return problem, NetrexCFState(np.zeros((genes, 1)), A, X, Y)


# ------------------------------------------------------------------ invariances and certificates


class Residual(NamedTuple):
    """How far one outer iteration moves a state: largest change over 1 + largest entry."""

    S: float
    A: float
    R: float  # of X'Y: X and Y themselves drift along directions that R does not see
    flips: int  # entries that enter or leave the support


def netrex_cf_residual(
    problem: NetrexCF, state: NetrexCFState, mu: float | None = None
) -> Residual:
    """Fixed-point residual of one outer iteration A, S, X, Y with all features moving."""
    after = netrex_cf_run(problem, state, iterations=1, mu=mu)[-1]
    S, A, R = (
        float(np.abs(new - old).max() / (1 + np.abs(old).max()))
        for new, old in (
            (after.S, state.S),
            (after.A, state.A),
            (after.X.T @ after.Y, state.X.T @ state.Y),
        )
    )
    return Residual(S, A, R, int(np.sum((after.S != 0) != (state.S != 0))))


def netrex_cf_balance(problem: NetrexCF, state: NetrexCFState) -> np.ndarray:
    """Break of the balance law lambda_s ||S_:j||^2 = lambda_a ||A_j:||^2, relative, per regulator.

    (m,) array of |difference| / sum, 0 where both vanish. Zero at every stationary point: S and A
    scale against each other at no change of the fit.
    """
    s = problem.lambda_s * np.sum(state.S**2, axis=0)
    a = problem.lambda_a * np.sum(state.A**2, axis=1)
    return np.divide(np.abs(s - a), s + a, out=np.zeros_like(s), where=s + a > 0)


# ------------------------------------------------------------------ the literature's sketch


def netrex_cf_sketch_objective(
    E: np.ndarray,
    prior: np.ndarray,
    S: np.ndarray,
    A: np.ndarray,
    U: np.ndarray,
    V: np.ndarray,
    a: float,
    a1: float,
    a2: float,
    kappa: float,
    lam: float,
    eta: float | np.ndarray,
    absolute: bool = False,
) -> float:
    """Objective as sketched in the literature; |Theta| read as the indicator N = 1[Theta != 0].

    ||E - Theta A||^2 + kappa ||A||^2 + lam ||Theta||^2 + sum eta N + sum Omega (M - U'V)^2,
    C = 1 + a sum_k P^k,   B = 1[sum_k P^k > 0],   M = N + (1 - N) B,
    Omega = a1 C N B + a2 N (1 - B) + C.

    Equals F for S = Theta, X = U, Y = V, rho = 0, lam = 1, P = B, alpha = C,
    beta = a1 C B + a2 (1 - B) and the same eta. Like F it needs more than the sketch says: a ridge
    on U and V (or the minimum may not be attained), and a price of each edge of its own, at least
    C (1 + C / a2) where B = 0 (or F is not lower semicontinuous).

    Parameters
    ----------
    E, S, A, U, V : arrays (n, l), (n, m), (m, l), (q, n), (q, m)
        Expression, Theta, activities, features of genes and of regulators.
    prior : (n, m) or (layers, n, m) array
        Summed prior, or its layers.
    a, a1, a2, kappa, lam : float
        Strengths.
    eta : float or (n, m) array
        Price of an edge.
    absolute : bool
        Read |Theta| as the absolute value, N = |Theta|: a false twin. It meets the other reading
        only where all |Theta| are 0 or 1, and its proximal step is no hard threshold.
    """
    total = np.asarray(prior, dtype=np.float64)
    total = total.sum(axis=0) if total.ndim == 3 else total
    N = np.abs(S) if absolute else (S != 0).astype(np.float64)
    C, B = 1 + a * total, (total > 0).astype(np.float64)
    omega = a1 * C * N * B + a2 * N * (1 - B) + C
    M = N + (1 - N) * B
    data = _square(E - S @ A) + kappa * _square(A) + lam * _square(S) + float(np.sum(eta * N))
    return data + weighted_als_objective(omega, M, U, V, 0.0)


# ------------------------------------------------------------------ NetREX (2018)


class Netrex(NamedTuple):
    """NetREX in its released form: boxes and two budgets of edges."""

    E: np.ndarray  # (n, l)
    prior: np.ndarray  # (n, m) bool, support of the prior network
    laplacian: np.ndarray  # (n, n) symmetric
    keep: int  # most prior edges in S
    add: int  # most other edges in S
    kappa: float
    mu: float
    xi: float
    bound_s: float
    bound_a: float


def netrex_problem(
    E: np.ndarray,
    prior: np.ndarray,
    laplacian: np.ndarray,
    keep: int,
    add: int,
    kappa: float = 1.0,
    mu: float = 1.0,
    xi: float = 0.4,
    bound_s: float = 1.0,
    bound_a: float = 1.0,
) -> Netrex:
    """Check and collect a NetREX problem; defaults of the released Python program.

    minimise 1/2 ||E - SA||^2 + kappa tr(S'LS) + mu ||A||^2 + xi ||S||^2
    subject to |S_ij| <= bound_s, |A_jk| <= bound_a, at most ``keep`` edges of S on the prior and
    ``add`` off it.

    Raises
    ------
    ValueError
        For shapes that do not fit, an asymmetric Laplacian, or negative numbers.
    """
    E = _matrix("E", E, (None, None))
    prior = _matrix("prior", prior, (len(E), None)) != 0
    L = _matrix("laplacian", laplacian, (len(E), len(E)))
    if not np.allclose(L, L.T, rtol=1e-12, atol=1e-12):
        raise ValueError("got an asymmetric Laplacian; needed a symmetric one: average it with L'")
    if min(keep, add) < 0:
        raise ValueError(f"got keep={keep}, add={add}; needed budgets >= 0")
    strengths = [
        _positive(k, v, zero=k == "kappa")
        for k, v in zip(
            ("kappa", "mu", "xi", "bound_s", "bound_a"),
            (kappa, mu, xi, bound_s, bound_a),
            strict=True,
        )
    ]
    return Netrex(E, prior, L, int(keep), int(add), *strengths)


def netrex_budgets(size: int, keep_share: float, total_share: float) -> tuple[int, int]:
    """Edge budgets from the size of the prior: round(q size), round(t size) - round(q size)."""
    keep, total = round(keep_share * size), round(total_share * size)
    if not 0 <= keep <= total:
        raise ValueError(
            f"got {keep} prior edges of {total} in all; needed 0 <= keep_share <= total_share"
        )
    return keep, total - keep


def netrex_laplacian(E: np.ndarray, threshold: float, kind: str = "unsigned") -> np.ndarray:
    """Laplacian of the gene graph whose edges are correlations beyond ``threshold`` in size.

    W_ij = corr(E_i, E_j) where |corr| > threshold and i != j, else 0. ``kind``:

    "unsigned"  diag(sum |W|) - |W|: positive semidefinite, pulls correlated genes together;
    "signed"    diag(sum |W|) - W:   positive semidefinite, pulls S_i to sign(W_ij) S_j;
    "released"  diag(sum W) - W:     as in the released Python program; may be indefinite.

    Raises
    ------
    ValueError
        For a gene that does not vary (its correlation is undefined), or another kind.
    """
    E = _matrix("E", E, (None, None))
    constant = np.flatnonzero(E.max(axis=1) == E.min(axis=1))
    if len(constant):
        raise ValueError(
            f"got {len(constant)} genes that do not vary, the first in row {constant[0]}; needed "
            "varying genes, for their correlation is undefined: drop them"
        )
    W = np.atleast_2d(np.corrcoef(E))
    W = np.where((np.abs(W) > threshold) & ~np.eye(len(W), dtype=bool), (W + W.T) / 2, 0.0)
    if kind == "unsigned":
        return np.diag(np.abs(W).sum(axis=1)) - np.abs(W)
    if kind == "signed":
        return np.diag(np.abs(W).sum(axis=1)) - W
    if kind == "released":
        return np.diag(W.sum(axis=1)) - W
    raise ValueError(f"got kind={kind!r}; needed 'unsigned', 'signed' or 'released'")


def netrex_objective(problem: Netrex, S: np.ndarray, A: np.ndarray) -> float:
    """1/2 ||E - SA||^2 + kappa tr(S'LS) + mu ||A||^2 + xi ||S||^2; the constraints are apart."""
    graph = float(np.sum(S * (problem.laplacian @ S)))
    fit = 0.5 * _square(problem.E - S @ A) + problem.kappa * graph
    return fit + problem.mu * _square(A) + problem.xi * _square(S)


def netrex_feasible(problem: Netrex, S: np.ndarray, A: np.ndarray) -> bool:
    """Whether (S, A) lies in both boxes and S within both budgets."""
    on, off = np.count_nonzero(S[problem.prior]), np.count_nonzero(S[~problem.prior])
    boxes = np.abs(S).max() <= problem.bound_s and np.abs(A).max() <= problem.bound_a
    return bool(boxes and on <= problem.keep and off <= problem.add)


def netrex_project(
    U: np.ndarray, prior: np.ndarray, keep: int, add: int, bound: float, ranking: str = "exact"
) -> np.ndarray:
    """Nearest matrix in the box with at most ``keep`` nonzeros on the prior and ``add`` off it.

    Keep the largest |U| of either part and clip. Ties go to the lower position in row order.
    ``ranking="released"`` ranks by |clip(U)|, which differs only where more entries than the
    budget lie outside the box. A budget of 0 keeps nothing (the released program keeps all).
    """
    if ranking not in ("exact", "released"):
        raise ValueError(f"got ranking={ranking!r}; needed 'exact' or 'released'")
    clipped = np.clip(U, -bound, bound)
    size = np.abs(U if ranking == "exact" else clipped).ravel()
    out = np.zeros(size.shape)
    for part, budget in ((prior, keep), (~prior, add)):
        inside = np.flatnonzero(part.ravel())
        kept = inside[np.argsort(-size[inside], kind="stable")[:budget]]
        out[kept] = clipped.ravel()[kept]
    return out.reshape(U.shape)


def netrex_project_exhaustive(
    U: np.ndarray, prior: np.ndarray, keep: int, add: int, bound: float
) -> np.ndarray:
    """`netrex_project` by trying every allowed support; for at most 10 entries."""
    if U.size > 10:
        raise ValueError(f"got {U.size} entries; needed at most 10: use netrex_project")
    clipped, best, distance = np.clip(U, -bound, bound), np.zeros(U.shape), np.inf
    parts = [np.flatnonzero(part.ravel()) for part in (prior, ~prior)]
    choices = [
        [c for k in range(min(b, len(p)) + 1) for c in combinations(p.tolist(), k)]
        for p, b in zip(parts, (keep, add), strict=True)
    ]
    for on, off in product(*choices):
        S = np.zeros(U.size)
        chosen = list(on + off)
        S[chosen] = clipped.ravel()[chosen]
        if _square(S - U.ravel()) < distance:
            best, distance = S.reshape(U.shape), _square(S - U.ravel())
    return best


def netrex_s_step(
    problem: Netrex,
    S: np.ndarray,
    A: np.ndarray,
    ranking: str = "exact",
    curvature: float | None = None,
) -> np.ndarray:
    """Projected gradient step in S: project(S - (SAA' + 2 kappa LS + 2 xi S - EA') / c).

    Released: c = ||AA'||_F + 2 ||kappa L||_F, which leaves out 2 xi; descent is sure for
    c >= ||AA'||_2 + 2 kappa ||L||_2 + 2 xi. ``ranking`` as in `netrex_project`.
    """
    gram, L = A @ A.T, problem.kappa * problem.laplacian
    released = float(np.linalg.norm(gram) + 2 * np.linalg.norm(L))
    c = _positive("curvature", released if curvature is None else curvature)
    gradient = S @ gram + 2 * L @ S + 2 * problem.xi * S - problem.E @ A.T
    return netrex_project(
        S - gradient / c, problem.prior, problem.keep, problem.add, problem.bound_s, ranking
    )


def netrex_confidence(
    E: np.ndarray, S: np.ndarray, A: np.ndarray, refit: bool = True
) -> np.ndarray:
    """Share of a gene's residual that an edge saves: max(0, 1 - RSS_full / RSS_drop); 0 off S.

    With ``refit`` each gene is refitted by least squares on the activities J of its support, and
    RSS_drop = RSS_full + b_j^2 / [(A_J A_J')^-1]_jj without a second fit. Otherwise S is taken as
    it is, and RSS_drop = ||e_i - S_i A + S_ij A_j||^2, which may be below RSS_full.

    Pass bootstrap samples as columns of E and A and average. (n, m) array.

    Raises
    ------
    ValueError
        With ``refit``, where the activities of a gene's regulators are linearly dependent.
    """
    confidence = np.zeros(S.shape)
    for i in range(len(S)):
        J = np.flatnonzero(S[i])
        if len(J) == 0:
            continue
        A_J, b = A[J], S[i, J]
        if refit:
            if np.linalg.matrix_rank(A_J) < len(J):
                raise ValueError(
                    f"got linearly dependent activities of the {len(J)} regulators of gene {i}; "
                    "needed independent ones: use more samples, or refit=False"
                )
            inverse = np.linalg.inv(A_J @ A_J.T)
            b = inverse @ (A_J @ E[i])
        residual = E[i] - b @ A_J
        full = _square(residual)
        if refit:
            drop = full + b**2 / np.diag(inverse)
        else:
            drop = np.sum((residual + b[:, None] * A_J) ** 2, axis=1)
        ratio = np.divide(full, drop, out=np.ones_like(drop), where=drop > 0)
        confidence[i, J] = np.maximum(0.0, 1.0 - ratio)
    return confidence


def netrex_confidence_naive(
    E: np.ndarray, S: np.ndarray, A: np.ndarray, refit: bool = True
) -> np.ndarray:
    """`netrex_confidence` one edge at a time: drop it, fit again, compare the residuals."""

    def rss(i: int, row: np.ndarray) -> float:
        J = np.flatnonzero(row)
        if refit and len(J):
            row = np.zeros(len(row))
            row[J] = np.linalg.lstsq(A[J].T, E[i], rcond=None)[0]
        return _square(E[i] - row @ A)

    confidence = np.zeros(S.shape)
    for i, j in zip(*np.nonzero(S), strict=True):
        dropped = S[i].copy()
        dropped[j] = 0.0
        full, drop = rss(i, S[i]), rss(i, dropped)
        confidence[i, j] = max(0.0, 1 - full / drop) if drop > 0 else 0.0
    return confidence
