"""Original formulations in plain NumPy and SciPy, written from the published formulas.

This module is a second opinion. It shares no code with the JAX specs and solvers, works in
float64, and prefers the formula over speed: what the toolkit computes is checked against what is
computed here. It has three parts: the CellOracle regressions as released, the LASSO that the
literature sketches in their place, and optimality conditions that judge any solver's answer.

Everywhere ``X`` is (n cells, p regulators), ``y`` is (n,) one target, and a subscript c means
that the mean over the cells was removed (an unpenalised intercept does just that).

References
----------
Kamimoto et al., Dissecting cell identity via network inference and in silico gene perturbation,
Nature 614 (2023), doi:10.1038/s41586-022-05688-9.
MacKay, Bayesian interpolation, Neural Computation 4 (1992), doi:10.1162/neco.1992.4.3.415.
Tipping, Sparse Bayesian learning and the relevance vector machine, JMLR 1 (2001) 211-244.
Tibshirani, Regression shrinkage and selection via the lasso, JRSS B 58 (1996),
doi:10.1111/j.2517-6161.1996.tb02080.x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

__all__ = [
    "BayesianRidgeFit",
    "bayesian_ridge",
    "celloracle_bags",
    "celloracle_statistics",
    "elastic_net_kkt_violation",
    "evidence_gradient",
    "evidence_objective",
    "global_scale",
    "grouped_celloracle_links",
    "lasso_kkt_violation",
    "lasso_objective",
    "masked_lasso",
    "nonnegative_kkt_violation",
    "released_bag_indices",
    "ridge",
    "ridge_gradient",
    "weighted_l1_kkt_violation",
]


# ------------------------------------------------------------------ checks at the edge


def _pair(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``X`` (n, p) and ``y`` (n,) as finite float64 arrays, or say what is wrong."""
    X = np.asarray(X, dtype=np.float64)
    y = np.asarray(y, dtype=np.float64)
    if X.ndim != 2 or y.ndim != 1 or X.shape[0] != y.shape[0] or X.shape[0] == 0:
        raise ValueError(
            f"got X of shape {X.shape} and y of shape {y.shape}; needed (n, p) and (n,) with the "
            "same n >= 1: pass cells in rows, and one target"
        )
    if not (np.isfinite(X).all() and np.isfinite(y).all()):
        raise ValueError(
            "got NaN or infinite expression; needed finite values: impute or drop those cells"
        )
    return X, y


def _positive(name: str, value: float, zero: bool = False) -> float:
    value = float(value)
    if not np.isfinite(value) or value < 0 or (value == 0 and not zero):
        need = "a finite number >= 0" if zero else "a finite number > 0"
        raise ValueError(f"got {name}={value!r}; needed {need}: change {name}")
    return value


def _centred(a: np.ndarray) -> np.ndarray:
    """Remove the column means; a constant column becomes exactly zero, not rounding noise."""
    return np.where(a.max(axis=0) == a.min(axis=0), 0.0, a - a.mean(axis=0))


# ------------------------------------------------------------------ bagged ridge, as released


def released_bag_indices(
    n: int, p: int, bags: int, max_features: float = 0.8, random_state: int = 123
) -> tuple[np.ndarray, np.ndarray]:
    """Feature and row draws of the released bagging ensemble.

    With k = max(1, floor(max_features p)) and MT19937 streams,

        seeds = stream(random_state).randint(2^31 - 1, size=bags)
        f_b   = stream(seeds[b]).permutation(p)[:k]      (all p, without a draw, where k = p)
        i_b   = the same stream .randint(0, n, size=n)

    The rows follow the features in one stream, so they depend on p as well as on n: targets with
    different numbers of regulators see different bootstraps of the cells. They depend on neither
    the target nor the group, and a smaller ``bags`` only cuts the list.

    Parameters
    ----------
    n : int
        Number of cells in the group.
    p : int
        Number of regulators of the target.
    bags : int
        Number of bags B.
    max_features : float
        Share of the regulators that each bag sees.
    random_state : int
        The released program uses 123 always.

    Returns
    -------
    features : (B, k) int64 array
        Positions of the regulators drawn, in the order of the draw.
    rows : (B, n) int64 array
        Positions of the cells drawn with replacement.

    Raises
    ------
    ValueError
        For empty sizes, or where k/p lies so near 0 or 1 that the released program switches to
        another sampler.

    References
    ----------
    Kamimoto et al. 2023, doi:10.1038/s41586-022-05688-9.

    Examples
    --------
    >>> features, rows = released_bag_indices(n=50, p=10, bags=20)
    >>> features[0].tolist(), rows[0, :6].tolist()
    ([9, 7, 1, 3, 2, 5, 0, 6], [26, 28, 10, 10, 6, 34])
    """
    if min(n, p, bags) < 1:
        raise ValueError(f"got n={n}, p={p}, bags={bags}; needed at least one of each")
    if not 0 < max_features <= 1:
        raise ValueError(f"got max_features={max_features}; needed a share in (0, 1]")
    k = max(1, int(max_features * p))
    if k < p and not 0.01 < k / p < 0.99:
        raise ValueError(
            f"got max_features={max_features} with {p} regulators, {k} in a bag; the released "
            "sampler is known for shares between 0.01 and 0.99, or all: change max_features"
        )
    seeds = np.random.RandomState(random_state).randint(np.iinfo(np.int32).max, size=bags)
    features = np.empty((bags, k), dtype=np.int64)
    rows = np.empty((bags, n), dtype=np.int64)
    for b, seed in enumerate(seeds):
        stream = np.random.RandomState(seed)
        features[b] = stream.permutation(p)[:k] if k < p else np.arange(p)
        rows[b] = stream.randint(0, n, n)
    return features, rows


def celloracle_bags(
    X: np.ndarray,
    y: np.ndarray,
    alpha: float,
    bags: int,
    max_features: float = 0.8,
    random_state: int = 123,
) -> np.ndarray:
    """Ridge coefficients of one target in each bag.

    With w_b[i] the number of times cell i is drawn, W = diag(w_b), and weighted means removed,

        beta_b = (A' W A + alpha I)^-1 A' W t,
        A = X[:, f_b] - (w_b' X[:, f_b]) / n,   t = y - (w_b' y) / n.

    Parameters
    ----------
    X : (n, p) array
        Scaled expression of the regulators.
    y : (n,) array
        Expression of the target, unscaled.
    alpha : float
        Ridge strength, not multiplied by n.
    bags : int
        Number of bags B.
    max_features, random_state
        As in `released_bag_indices`.

    Returns
    -------
    (B, p) array
        NaN where a bag did not draw the regulator. A regulator or target that is constant over
        the cells gets exact zeros.

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, or alpha <= 0.

    References
    ----------
    Kamimoto et al. 2023, doi:10.1038/s41586-022-05688-9.
    """
    X, y = _pair(X, y)
    alpha = _positive("alpha", alpha)
    n, p = X.shape
    # Centring twice changes nothing but rounding; a constant column is now exactly zero.
    X, y = _centred(X), _centred(y)
    features, rows = released_bag_indices(n, p, bags, max_features, random_state)
    C = np.full((bags, p), np.nan)
    for b in range(bags):
        w = np.bincount(rows[b], minlength=n).astype(np.float64)
        A = X[:, features[b]]
        A = A - (w @ A) / n
        t = y - (w @ y) / n
        gram = A.T @ (w[:, None] * A)
        C[b, features[b]] = np.linalg.solve(gram + alpha * np.eye(len(gram)), A.T @ (w * t))
    return C


def celloracle_statistics(C: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, p value and number of draws of each regulator over the bags.

    With m drawn values of mean c and variance s^2 (divisor m - 1),

        t = c / sqrt(s^2 / m),   p = 2 T(-|t|; m - 1 degrees of freedom).

    The p measures dispersion over bags and shrinks as bags grow; it is no calibrated test.

    Parameters
    ----------
    C : (B, p) array
        Coefficients, NaN where not drawn.

    Returns
    -------
    mean : (p,) array
        Mean over the drawn values; NaN where there is none.
    p : (p,) array
        NaN for fewer than two draws and for identical zeros; 0 for identical nonzero values.
    bags_drawn : (p,) int64 array
        m.

    Raises
    ------
    ValueError
        If ``C`` is not a matrix.

    References
    ----------
    Kamimoto et al. 2023, doi:10.1038/s41586-022-05688-9.
    """
    from scipy.special import stdtr

    C = np.asarray(C, dtype=np.float64)
    if C.ndim != 2:
        raise ValueError(f"got an array of shape {C.shape}; needed (bags, regulators)")
    drawn = ~np.isnan(C)
    m = drawn.sum(axis=0)
    values = np.where(drawn, C, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = values.sum(axis=0) / m
        spread = (np.where(drawn, C - mean, 0.0) ** 2).sum(axis=0) / (m - 1)
        t = mean / np.sqrt(spread / m)
    defined = (m >= 2) & ~np.isnan(t)
    p = np.full(C.shape[1], np.nan)
    p[defined] = 2.0 * stdtr(m[defined] - 1, -np.abs(t[defined]))
    return mean, p, m


def global_scale(expression: np.ndarray) -> np.ndarray:
    """Return the population standard deviation of each gene over all cells, 1 where constant.

    sigma_j^2 = (1/N) sum_i (E_ij - mean_j)^2 over all N cells, not per group. A gene counts as
    constant where sigma_j^2 <= N eps sigma_j^2 + (N mean_j eps)^2, eps the float64 resolution:
    a variance that rounding alone can produce.

    Parameters
    ----------
    expression : (N, G) array
        Expression of all cells.

    Returns
    -------
    (G,) array

    References
    ----------
    Kamimoto et al. 2023, doi:10.1038/s41586-022-05688-9.
    """
    E = np.asarray(expression, dtype=np.float64)
    N, eps = E.shape[0], np.finfo(np.float64).eps
    mean, variance = E.mean(axis=0), E.var(axis=0)
    constant = variance <= N * eps * variance + (N * mean * eps) ** 2
    return np.where(constant, 1.0, np.sqrt(variance))


class _Table(NamedTuple):
    """A checked expression table and the regulator positions of each target that has any."""

    expression: np.ndarray  # (N, G) float64
    scaled: np.ndarray  # (N, G) expression / sigma
    groups: list[tuple[str, np.ndarray]]  # group name, cell positions; sorted by name
    targets: list[tuple[int, np.ndarray]]  # gene position, regulator positions; by target name


def _table(
    expression: np.ndarray,
    genes: Iterable[str],
    prior: Mapping[str, Iterable[str]],
    groups: Iterable | None,
) -> _Table:
    E = np.asarray(expression, dtype=np.float64)
    names = np.asarray(list(genes), dtype=str)
    if E.ndim != 2 or E.shape[1] != len(names) or E.shape[0] == 0:
        raise ValueError(
            f"got expression of shape {E.shape} and {len(names)} gene names; needed cells x genes "
            "with one name per column"
        )
    if not np.isfinite(E).all():
        raise ValueError(
            "got NaN or infinite expression; needed finite values: impute or drop those cells"
        )
    position = {name: j for j, name in enumerate(names.tolist())}
    if len(position) != len(names):
        raise ValueError("got duplicate gene names; needed unique names: rename or merge them")
    labels = np.asarray(["all"] * len(E) if groups is None else [str(g) for g in groups])
    if len(labels) != len(E):
        raise ValueError(f"got {len(labels)} group labels for {len(E)} cells; needed one per cell")
    targets = []
    for target in sorted(t for t in prior if t in position):
        regulators = sorted({r for r in prior[target] if r in position and r != target})
        if regulators:
            targets.append((position[target], np.array([position[r] for r in regulators])))
    cells = [(str(g), np.flatnonzero(labels == g)) for g in np.unique(labels)]
    return _Table(E, E / global_scale(E), cells, targets)


def _frame(names: np.ndarray, parts: list[tuple], columns: list[str]) -> pd.DataFrame:
    """Stack (group, target positions, regulator positions, columns...), sorted by name."""
    import pandas as pd

    if not parts:
        return pd.DataFrame({c: [] for c in ["group", "source", "target", *columns]})
    group, target, source, *values = zip(*parts, strict=True)
    frame = pd.DataFrame(
        {
            "group": np.repeat(group, [len(s) for s in source]),
            "source": names[np.concatenate(source)],
            "target": names[np.concatenate(target)],
            **{c: np.concatenate(v) for c, v in zip(columns, values, strict=True)},
        }
    )
    return frame.sort_values(["group", "target", "source"], ignore_index=True)


def grouped_celloracle_links(
    expression: np.ndarray,
    genes: Iterable[str],
    prior: Mapping[str, Iterable[str]],
    groups: Iterable | None = None,
    alpha: float = 10.0,
    bags: int = 20,
    max_features: float = 0.8,
    random_state: int = 123,
) -> pd.DataFrame:
    """Bagged ridge for every target in every group, targets grouped by number of regulators.

    Regulators are divided by their population standard deviation over all cells, are not centred
    beyond the intercept, and are taken in sorted order of name; targets are neither scaled nor
    centred. A target is fitted on its measured prior regulators, itself excluded; targets without
    any are skipped. See `celloracle_bags` and `celloracle_statistics`.

    Targets with equally many regulators share their bags. For each such number and each bag,

        G = A' W A  (regulators x regulators),   H = A' W T  (regulators x targets),

    are formed once over all measured regulators; a target's system is a gather from G and H, and
    all targets of that number are solved in one batched call: the same numbers as target by
    target, up to rounding.

    Parameters
    ----------
    expression : (N, G) array
        Cells x genes (the imputed layer of the released program).
    genes : sequence of G str
        Unique gene names.
    prior : mapping
        Target to candidate regulators.
    groups : sequence of N labels, optional
        One group of all cells, named "all", where absent.
    alpha, bags, max_features, random_state
        As in `celloracle_bags`.

    Returns
    -------
    DataFrame
        Columns group, source, target, weight, p, bags_drawn; one row per group, target and
        regulator that at least one bag drew; sorted by group, target, source. Constant
        regulators and the regulators of constant targets have weight 0 and undefined p.

    Raises
    ------
    ValueError
        For shapes that do not fit, duplicate names, or values that are not finite.

    References
    ----------
    Kamimoto et al. 2023, doi:10.1038/s41586-022-05688-9.
    """
    alpha = _positive("alpha", alpha)
    names = np.asarray(list(genes), dtype=str)
    table = _table(expression, names, prior, groups)
    by_size: dict[int, list[int]] = {}
    for i, (_, regulators) in enumerate(table.targets):
        by_size.setdefault(len(regulators), []).append(i)
    parts = []
    for group, cells in table.groups:
        n = len(cells)
        scaled = _centred(table.scaled[cells])
        raw = _centred(table.expression[cells])
        for p, members in sorted(by_size.items()):
            target = np.array([table.targets[i][0] for i in members])
            candidates = np.stack([table.targets[i][1] for i in members])  # (m, p) gene positions
            used, local = np.unique(candidates, return_inverse=True)
            local = local.reshape(candidates.shape)
            X, Y = scaled[:, used], raw[:, target]
            features, rows = released_bag_indices(n, p, bags, max_features, random_state)
            C = np.full((bags, len(members), p), np.nan)
            for b, drawn in enumerate(features):
                w = np.bincount(rows[b], minlength=n).astype(np.float64)
                A = X - (w @ X) / n
                WA = w[:, None] * A
                G, H = A.T @ WA, WA.T @ (Y - (w @ Y) / n)
                at = local[:, drawn]  # (m, k)
                left = G[at[:, :, None], at[:, None, :]] + alpha * np.eye(len(drawn))
                right = H[at, np.arange(len(members))[:, None]]
                C[b][:, drawn] = np.linalg.solve(left, right[:, :, None])[:, :, 0]
            mean, pvalue, m = celloracle_statistics(C.reshape(bags, -1))
            seen = m > 0
            parts.append(
                (
                    group,
                    np.repeat(target, p)[seen],
                    candidates.ravel()[seen],
                    mean[seen],
                    pvalue[seen],
                    m[seen],
                )
            )
    return _frame(names, parts, ["weight", "p", "bags_drawn"])


# ------------------------------------------------------------------ Bayesian ridge, as released


class BayesianRidgeFit(NamedTuple):
    """What `bayesian_ridge` returns; the first four fields are the released ones."""

    coefficients: np.ndarray  # (p,)
    variance: np.ndarray  # (p,)
    p: np.ndarray  # (p,)
    iterations: int
    noise_precision: float  # a
    weight_precision: float  # lam
    converged: bool


def bayesian_ridge(
    X: np.ndarray,
    y: np.ndarray,
    variance: str = "full",
    max_iterations: int = 300,
    tolerance: float = 1e-3,
    hyperprior: float = 1e-6,
) -> BayesianRidgeFit:
    """Ridge whose two precisions maximise the evidence, by MacKay's fixed point.

    yc = Xc c + noise of precision a, c of precision lam, both precisions Gamma(h, h) a priori. With
    Xc = U S V' (thin), e = S^2, starting at a = 1 / var(y), lam = 1:

        c     = V diag(S / (e + lam/a)) U' yc,       rss = ||yc - Xc c||^2
        gamma = sum a e / (lam + a e)
        lam   = (gamma + 2h) / (c'c + 2h),         a = (n - gamma + 2h) / (rss + 2h)

    until sum |c - previous c| < tolerance, an absolute test on the coefficients, made after a and
    lam moved. Then c is computed once more. Its posterior variance is the diagonal of
    (a Xc'Xc + lam I)^-1 and p = 2 Phi(-|c| / sd).

    Parameters
    ----------
    X : (n, p) array
        Scaled expression of the regulators.
    y : (n,) array
        Expression of the target, unscaled.
    variance : {"full", "thin"}
        "thin" sums over the min(n, p) singular vectors of the thin SVD only, as scikit-learn did
        before 1.7. It misses 1/lam along directions that no cell shows, where n < p.
    max_iterations : int
        Upper limit of rounds.
    tolerance : float
        Absolute tolerance on the l1 change of the coefficients.
    hyperprior : float
        h, the shape and rate of both Gamma priors.

    Returns
    -------
    BayesianRidgeFit
        Coefficients, variance, p (each (p,)), iterations; then the two precisions, and whether
        the tolerance was met.

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, or an unknown ``variance``.

    References
    ----------
    MacKay 1992, doi:10.1162/neco.1992.4.3.415; Tipping 2001; as used by Kamimoto et al. 2023,
    doi:10.1038/s41586-022-05688-9.
    """
    from scipy.special import ndtr

    if variance not in ("full", "thin"):
        raise ValueError(f"got variance={variance!r}; needed 'full' or 'thin'")
    X, y = _pair(X, y)
    n, width = X.shape
    Xc, yc, h = _centred(X), _centred(y), hyperprior
    U, S, Vt = np.linalg.svd(Xc, full_matrices=False)
    e, Uy = S**2, U.T @ yc
    constant = ~Xc.any(axis=0)  # the SVD leaves rounding noise there

    def weights(a: float, lam: float) -> np.ndarray:
        return np.where(constant, 0.0, Vt.T @ (S / (e + lam / a) * Uy))

    a, lam = 1.0 / (yc.var() + np.finfo(np.float64).eps), 1.0
    previous, converged, iterations = None, False, 0
    while not converged and iterations < max_iterations:
        c = weights(a, lam)
        rss = np.sum((yc - Xc @ c) ** 2)
        gamma = np.sum(a * e / (lam + a * e))
        lam = (gamma + 2 * h) / (np.sum(c**2) + 2 * h)
        a = (n - gamma + 2 * h) / (rss + 2 * h)
        converged = previous is not None and np.sum(np.abs(previous - c)) < tolerance
        previous, iterations = c, iterations + 1
    c = weights(a, lam)
    seen = Vt**2  # (min(n, p), p)
    spread = (1.0 / (a * e + lam)) @ seen
    if variance == "full":
        spread = spread + np.clip(1.0 - seen.sum(axis=0), 0.0, None) / lam
    with np.errstate(divide="ignore", invalid="ignore"):
        # A regulator outside the row space has neither coefficient nor thin variance: p = 1.
        z = np.where(c == 0, 0.0, np.abs(c) / np.sqrt(spread))
    return BayesianRidgeFit(c, spread, 2.0 * ndtr(-z), iterations, a, lam, bool(converged))


# ------------------------------------------------------------------ ridge and LASSO


def ridge(X: np.ndarray, y: np.ndarray, alpha: float) -> np.ndarray:
    """Ridge coefficients with an intercept, (Xc'Xc + alpha I)^-1 Xc' yc.

    Parameters
    ----------
    X : (n, p) array
        Regulators.
    y : (n,) array
        Target.
    alpha : float
        Strength of ||b||^2 beside the sum (not the mean) of squared residuals.

    Returns
    -------
    (p,) array

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, or alpha <= 0.

    Examples
    --------
    >>> ridge([[-1.0], [1.0]], [-1.0, 1.0], alpha=2.0)
    array([0.5])
    """
    X, y = _pair(X, y)
    alpha = _positive("alpha", alpha)
    Xc, yc = _centred(X), _centred(y)
    return np.linalg.solve(Xc.T @ Xc + alpha * np.eye(X.shape[1]), Xc.T @ yc)


def lasso_objective(
    X: np.ndarray, y: np.ndarray, b: np.ndarray, strength: float, noise_variance: float = 1.0
) -> float:
    """||yc - Xc b||^2 / (2 noise_variance) + strength ||b||_1.

    Parameters
    ----------
    X, y, b : arrays (n, p), (n,), (p,)
        Regulators, target, coefficients.
    strength, noise_variance : float
        Both positive.

    Returns
    -------
    float
    """
    X, y = _pair(X, y)
    r = _centred(y) - _centred(X) @ b
    return float(r @ r / (2 * noise_variance) + strength * np.sum(np.abs(b)))


def masked_lasso(
    X: np.ndarray,
    y: np.ndarray,
    strength: float,
    noise_variance: float = 1.0,
    tolerance: float = 1e-12,
    max_sweeps: int = 100_000,
) -> np.ndarray:
    """LASSO on the columns given, by plain coordinate descent.

    Minimises ||yc - Xc b||^2 / (2 s2) + strength ||b||_1. Cycling over j, with r the residual
    without regulator j and q = ||x_j||^2,

        b_j = sign(x_j'r) max(|x_j'r| - s2 strength, 0) / q.

    It stops when the KKT residual is at most ``tolerance`` times the largest |Xc'yc|. The mask is
    the choice of columns: pass the supported regulators only.

    Parameters
    ----------
    X : (n, p) array
        Supported regulators.
    y : (n,) array
        Target.
    strength : float
        Rate of the Laplace prior, >= 0.
    noise_variance : float
        s2 > 0.
    tolerance : float
        Relative KKT residual asked for.
    max_sweeps : int
        Upper limit of cycles.

    Returns
    -------
    (p,) array

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, or strengths out of range.
    RuntimeError
        Where the tolerance is not met in ``max_sweeps``.

    References
    ----------
    Tibshirani 1996, doi:10.1111/j.2517-6161.1996.tb02080.x.
    """
    X, y = _pair(X, y)
    s2 = _positive("noise_variance", noise_variance)
    cut = s2 * _positive("strength", strength, zero=True)
    Xc, yc = _centred(X), _centred(y)
    gram, cross = Xc.T @ Xc, Xc.T @ yc
    p = X.shape[1]
    b = np.zeros(p)
    scale = np.max(np.abs(cross), initial=0.0)
    for _ in range(max_sweeps):
        for j in range(p):
            if gram[j, j] > 0:
                pull = cross[j] - gram[j] @ b + gram[j, j] * b[j]
                b[j] = np.sign(pull) * max(abs(pull) - cut, 0.0) / gram[j, j]
        if _l1_violation(gram @ b - cross, b, np.full(p, cut)) <= tolerance * scale:
            return b
    raise RuntimeError(
        f"coordinate descent did not reach a KKT residual of {tolerance:g} (relative) in "
        f"{max_sweeps} sweeps: raise max_sweeps, strength or tolerance"
    )


# ------------------------------------------------------------------ optimality conditions


def _l1_violation(gradient: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """Distance of 0 from gradient + weights * subdifferential of |b|, largest entry."""
    active = np.abs(gradient + weights * np.sign(b))
    at_zero = np.maximum(np.abs(gradient) - weights, 0.0)
    return float(np.max(np.where(b != 0, active, at_zero), initial=0.0))


def _squared_error_gradient(
    X: np.ndarray, y: np.ndarray, b: np.ndarray, noise_variance: float
) -> np.ndarray:
    X, y = _pair(X, y)
    Xc = _centred(X)
    return -Xc.T @ (_centred(y) - Xc @ np.asarray(b, dtype=np.float64)) / noise_variance


def ridge_gradient(X: np.ndarray, y: np.ndarray, b: np.ndarray, alpha: float) -> np.ndarray:
    """Gradient in b of ||yc - Xc b||^2 + alpha ||b||^2: -2 Xc'(yc - Xc b) + 2 alpha b.

    Parameters
    ----------
    X, y, b : arrays (n, p), (n,), (p,)
        Regulators, target, coefficients.
    alpha : float
        Ridge strength.

    Returns
    -------
    (p,) array
        Zero exactly at the solution.
    """
    return 2.0 * _squared_error_gradient(X, y, b, 1.0) + 2.0 * alpha * np.asarray(b)


def weighted_l1_kkt_violation(
    X: np.ndarray, y: np.ndarray, b: np.ndarray, weights: np.ndarray, noise_variance: float = 1.0
) -> float:
    """How far b is from minimising ||yc - Xc b||^2 / (2 s2) + sum_j weights_j |b_j|.

    With g the gradient of the smooth part, the largest over j of |g_j + weights_j sign(b_j)|
    where b_j != 0, and of max(|g_j| - weights_j, 0) where b_j = 0.

    Parameters
    ----------
    X, y, b : arrays (n, p), (n,), (p,)
        Regulators, target, coefficients.
    weights : (p,) array
        Non-negative price of each regulator.
    noise_variance : float
        s2.

    Returns
    -------
    float
        In units of the gradient; compare with max |Xc'yc| / s2.
    """
    b = np.asarray(b, dtype=np.float64)
    prices = np.broadcast_to(np.asarray(weights, dtype=np.float64), b.shape)
    return _l1_violation(_squared_error_gradient(X, y, b, noise_variance), b, prices)


def lasso_kkt_violation(
    X: np.ndarray, y: np.ndarray, b: np.ndarray, strength: float, noise_variance: float = 1.0
) -> float:
    """`weighted_l1_kkt_violation` with one price, ``strength``, for all regulators.

    Parameters
    ----------
    X, y, b : arrays (n, p), (n,), (p,)
        Regulators, target, coefficients.
    strength, noise_variance : float
        As in `masked_lasso`.

    Returns
    -------
    float
        In units of the gradient; compare with max |Xc'yc| / noise_variance.
    """
    return weighted_l1_kkt_violation(X, y, b, np.full(np.shape(b), strength), noise_variance)


def elastic_net_kkt_violation(
    X: np.ndarray, y: np.ndarray, b: np.ndarray, l1: float, l2: float, noise_variance: float = 1.0
) -> float:
    """How far b is from minimising ||yc - Xc b||^2 / (2 s2) + l1 ||b||_1 + (l2 / 2) ||b||^2.

    Parameters
    ----------
    X, y, b : arrays (n, p), (n,), (p,)
        Regulators, target, coefficients.
    l1, l2 : float
        Strengths; note the half before l2.
    noise_variance : float
        s2.

    Returns
    -------
    float
        In units of the gradient; compare with max |Xc'yc| / s2.
    """
    b = np.asarray(b, dtype=np.float64)
    gradient = _squared_error_gradient(X, y, b, noise_variance) + l2 * b
    return _l1_violation(gradient, b, np.full(b.shape, float(l1)))


def nonnegative_kkt_violation(
    X: np.ndarray,
    y: np.ndarray,
    b: np.ndarray,
    l1: float = 0.0,
    l2: float = 0.0,
    noise_variance: float = 1.0,
) -> float:
    """How far b is from minimising the elastic net objective subject to b >= 0.

    With g the gradient of ||yc - Xc b||^2 / (2 s2) + l1 sum b + (l2 / 2) ||b||^2, the largest over
    j of |g_j| where b_j > 0, and of max(-g_j, 0) where b_j = 0. Infinite where some b_j < 0.

    Parameters
    ----------
    X, y, b : arrays (n, p), (n,), (p,)
        Regulators, target, coefficients.
    l1, l2, noise_variance : float
        As in `elastic_net_kkt_violation`.

    Returns
    -------
    float
        In units of the gradient; compare with max |Xc'yc| / s2.
    """
    b = np.asarray(b, dtype=np.float64)
    if (b < 0).any():
        return float("inf")
    gradient = _squared_error_gradient(X, y, b, noise_variance) + l1 + l2 * b
    at_zero = np.maximum(-gradient, 0.0)
    return float(np.max(np.where(b > 0, np.abs(gradient), at_zero), initial=0.0))


def _evidence_parts(
    X: np.ndarray, y: np.ndarray, b: np.ndarray
) -> tuple[int, int, np.ndarray, np.ndarray, np.ndarray]:
    X, y = _pair(X, y)
    n, p = X.shape
    Xc = _centred(X)
    eigenvalues = np.zeros(p)  # of Xc'Xc, zeros of unseen directions included
    singular = np.linalg.svd(Xc, compute_uv=False)
    eigenvalues[: len(singular)] = singular**2
    return n, p, eigenvalues, Xc, _centred(y) - Xc @ np.asarray(b, dtype=np.float64)


def evidence_objective(
    X: np.ndarray, y: np.ndarray, b: np.ndarray, a: float, lam: float, h: float = 1e-6
) -> float:
    """Twice the negative log evidence, jointly in the coefficients and the two precisions.

        J = a ||yc - Xc b||^2 + lam ||b||^2 + sum_k log(a e_k + lam) - n log a - p log lam
            + 2h (a + lam) - 2h (log a + log lam),

    e_k the p eigenvalues of Xc'Xc. Minimised over b it is the marginal likelihood with Gamma(h, h)
    priors, up to a constant; the fixed points of `bayesian_ridge` are its stationary points.

    Parameters
    ----------
    X, y, b : arrays (n, p), (n,), (p,)
        Regulators, target, coefficients.
    a, lam : float
        Precision of the noise and of the coefficients.
    h : float
        Shape and rate of both Gamma priors.

    Returns
    -------
    float

    References
    ----------
    MacKay 1992, doi:10.1162/neco.1992.4.3.415; Tipping 2001.
    """
    n, p, e, _, r = _evidence_parts(X, y, b)
    fit = a * (r @ r) + lam * np.sum(np.square(b)) + np.sum(np.log(a * e + lam))
    logs = np.log(a) + np.log(lam)
    return float(fit - n * np.log(a) - p * np.log(lam) + 2 * h * (a + lam) - 2 * h * logs)


def evidence_gradient(
    X: np.ndarray, y: np.ndarray, b: np.ndarray, a: float, lam: float, h: float = 1e-6
) -> tuple[np.ndarray, float, float]:
    """Return the derivatives of `evidence_objective` in (b, a, lam).

        dJ/db = -2a Xc'(yc - Xc b) + 2 lam b
        dJ/da = ||yc - Xc b||^2 + sum_k e_k / (a e_k + lam) - n/a + 2h - 2h/a
        dJ/dlam = ||b||^2 + sum_k 1 / (a e_k + lam) - p/lam + 2h - 2h/lam

    Parameters
    ----------
    X, y, b, a, lam, h
        As in `evidence_objective`.

    Returns
    -------
    db : (p,) array
    da, dl : float
        All zero at a fixed point. a da and lam dl are free of units.

    References
    ----------
    MacKay 1992, doi:10.1162/neco.1992.4.3.415; Tipping 2001.
    """
    n, p, e, Xc, r = _evidence_parts(X, y, b)
    b = np.asarray(b, dtype=np.float64)
    db = -2 * a * (Xc.T @ r) + 2 * lam * b
    da = r @ r + np.sum(e / (a * e + lam)) - n / a + 2 * h - 2 * h / a
    dl = b @ b + np.sum(1.0 / (a * e + lam)) - p / lam + 2 * h - 2 * h / lam
    return db, float(da), float(dl)
