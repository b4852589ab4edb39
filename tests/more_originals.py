"""Further originals in plain NumPy, which tests alone need: whole programs, parts of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from unigrn.verify.originals import (
    _frame,
    _table,
    bayesian_ridge,
    celloracle_bags,
    celloracle_statistics,
    ridge,
)
from unigrn.verify.originals_netrex import (
    Netrex,
    NetrexCFState,
    _largest,
    netrex_objective,
    netrex_s_step,
)


def celloracle_links(
    expression: np.ndarray,
    genes: Iterable[str],
    prior: Mapping[str, Iterable[str]],
    groups: Iterable | None = None,
    alpha: float = 10.0,
    bags: int = 20,
    max_features: float = 0.8,
    random_state: int = 123,
) -> pd.DataFrame:
    """Bagged ridge as in `originals.grouped_celloracle_links`, one target at a time."""
    names = np.asarray(list(genes), dtype=str)
    table = _table(expression, names, prior, groups)
    parts = []
    for group, cells in table.groups:
        for target, regulators in table.targets:
            C = celloracle_bags(
                table.scaled[np.ix_(cells, regulators)],
                table.expression[cells, target],
                alpha,
                bags,
                max_features,
                random_state,
            )
            mean, p, m = celloracle_statistics(C)
            seen = m > 0
            target_of = np.full(seen.sum(), target)
            parts.append((group, target_of, regulators[seen], mean[seen], p[seen], m[seen]))
    return _frame(names, parts, ["weight", "p", "bags_drawn"])


def bayesian_links(
    expression: np.ndarray,
    genes: Iterable[str],
    prior: Mapping[str, Iterable[str]],
    groups: Iterable | None = None,
    variance: str = "full",
) -> pd.DataFrame:
    """Bayesian ridge for every target in every group; data as in `celloracle_links`.

    Parameters
    ----------
    expression, genes, prior, groups
        As in `celloracle_links`.
    variance : {"full", "thin"}
        As in `bayesian_ridge`.

    Returns
    -------
    DataFrame
        Columns group, source, target, weight, variance, p, iterations.

    Raises
    ------
    ValueError
        As `celloracle_links`.

    References
    ----------
    Kamimoto et al. 2023, doi:10.1038/s41586-022-05688-9.
    """
    names = np.asarray(list(genes), dtype=str)
    table = _table(expression, names, prior, groups)
    parts = []
    for group, cells in table.groups:
        for target, regulators in table.targets:
            fit = bayesian_ridge(
                table.scaled[np.ix_(cells, regulators)], table.expression[cells, target], variance
            )
            size = len(regulators)
            parts.append(
                (
                    group,
                    np.full(size, target),
                    regulators,
                    fit.coefficients,
                    fit.variance,
                    fit.p,
                    np.full(size, fit.iterations),
                )
            )
    return _frame(names, parts, ["weight", "variance", "p", "iterations"])


def simulation_ridge(
    expression: np.ndarray,
    genes: Iterable[str],
    prior: Mapping[str, Iterable[str]],
    alpha: float = 1.0,
) -> np.ndarray:
    """Coefficient matrix that the released perturbation simulation propagates.

    One ridge per target on unscaled expression, without bags: B[R(g), g] = `ridge` of gene g on
    its measured prior regulators R(g), itself excluded; zero elsewhere, zero diagonal. Call it on
    the cells of one group for the group's matrix.

    Parameters
    ----------
    expression : (n, G) array
        Cells x genes.
    genes : sequence of G str
        Unique gene names.
    prior : mapping
        Target to candidate regulators.
    alpha : float
        Ridge strength.

    Returns
    -------
    (G, G) array
        Rows are regulators, columns targets.

    Raises
    ------
    ValueError
        As `celloracle_links`.

    References
    ----------
    Kamimoto et al. 2023, doi:10.1038/s41586-022-05688-9.
    """
    table = _table(expression, genes, prior, None)
    E = table.expression
    B = np.zeros((E.shape[1], E.shape[1]))
    for target, regulators in table.targets:
        B[regulators, target] = ridge(E[:, regulators], E[:, target], alpha)
    return B


def netrex_cf_als_weights(C: np.ndarray, rows: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and preference of the factorisation that starts X and Y (ridge 0.1).

    W = 50 C, T = 1 on the ``rows`` largest C of each gene (where C > 0); W = 1, T = 0 elsewhere.
    """
    kept = _largest(C, rows) & (np.asarray(C) > 0)
    return np.where(kept, 50.0 * C, 1.0), kept.astype(np.float64)


def netrex_cf_rescale(state: NetrexCFState, d: np.ndarray) -> NetrexCFState:
    """S diag(d), diag(1/d) A. F does not change for signs d = +-1; it does for other scales."""
    d = np.asarray(d, dtype=np.float64)
    return state._replace(S=state.S * d, A=state.A / d[:, None])


def netrex_cf_rotate(state: NetrexCFState, Q: np.ndarray) -> NetrexCFState:
    """QX, QY; F does not change for an orthogonal Q (q, q)."""
    return state._replace(X=Q @ state.X, Y=Q @ state.Y)


def netrex_start(problem: Netrex) -> tuple[np.ndarray, np.ndarray]:
    """First S and A: A by ridge from the prior support S0, then S from a Sylvester equation.

    A = clip((S0'S0 + mu I)^-1 S0'E),   S = clip(solution of (2 kappa L + 2 xi I) S + S AA' = EA').

    As released: S is dense and breaks the budgets until its first step; the ridge of A is mu
    though the objective would give 2 mu.

    Raises
    ------
    ValueError
        Where an indefinite Laplacian leaves the Sylvester equation without a unique solution.
    """
    S0 = problem.prior.astype(np.float64)
    A = np.linalg.solve(S0.T @ S0 + problem.mu * np.eye(S0.shape[1]), S0.T @ problem.E)
    A = np.clip(A, -problem.bound_a, problem.bound_a)
    left = 2 * problem.kappa * problem.laplacian + 2 * problem.xi * np.eye(len(S0))
    lv, U = np.linalg.eigh(left)
    rv, V = np.linalg.eigh(A @ A.T)
    sums = lv[:, None] + rv
    if np.abs(sums).min() <= 1e-12 * np.abs(sums).max():
        raise ValueError(
            "got a Laplacian for which the first S is not unique; needed 2 kappa L + 2 xi I with "
            "no eigenvalue opposite to those of AA': use an unsigned or signed Laplacian"
        )
    S = U @ ((U.T @ (problem.E @ A.T) @ V) / sums) @ V.T
    return np.clip(S, -problem.bound_s, problem.bound_s), A


def netrex_a_step(problem: Netrex, S: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Proximal gradient step in A: clip(V / (1 + 2 mu / d)), V = A - (S'SA - S'E) / d.

    d = ||SS'||_F. For S = 0 (released: division by zero) the limit d -> 0, A = 0, which is the
    minimiser.
    """
    d = float(np.linalg.norm(S @ S.T))
    if d == 0:
        return np.zeros_like(A)
    V = A - S.T @ (S @ A - problem.E) / d
    return np.clip(V / (1 + 2 * problem.mu / d), -problem.bound_a, problem.bound_a)


def netrex_run(
    problem: Netrex,
    S: np.ndarray,
    A: np.ndarray,
    iterations: int = 1000,
    ranking: str = "exact",
    tolerance: float | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Iterate S step, A step; stop where the objective moves by less than ``tolerance``.

    Released tolerance (the default): 1 for more than 1e5 possible edges, else 1e-10; absolute.

    Returns
    -------
    S, A : arrays (n, m), (m, l)
    history : (k + 1,) array
        Objective at the start and after each iteration. The first step may raise it, since the
        start breaks the budgets.
    """
    if tolerance is None:
        tolerance = 1.0 if S.size > 1e5 else 1e-10
    history = [netrex_objective(problem, S, A)]
    for _ in range(iterations):
        S = netrex_s_step(problem, S, A, ranking)
        A = netrex_a_step(problem, S, A)
        history.append(netrex_objective(problem, S, A))
        if abs(history[-1] - history[-2]) < tolerance:
            break
    return S, A, np.array(history)
