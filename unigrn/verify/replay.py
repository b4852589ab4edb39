"""Replaying recorded runs of released programs with unigrn's own solvers."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import jax
import numpy as np

from unigrn.check import check_whole
from unigrn.filtering import Collaborative
from unigrn.losses import component_analysis
from unigrn.regularizers import ridge
from unigrn.solvers import palm
from unigrn.spec import Spec, Step, Sweeps
from unigrn.terms import Blocks, PriorView, View


def replay_netrex_cf(npz_path: str | os.PathLike, iterations: int) -> dict[str, np.ndarray]:
    """Run unigrn's PALM from a recorded start and row orders of the released NetREX-CF class.

    Parameters
    ----------
    npz_path
        A recorded run: ``in_*`` the data and hyperparameters, ``it0000_init_*`` the start,
        ``orderKKKK_B`` the columns that each sweep moves.
    iterations
        Number of outer iterations, at most as many as the file has orders for.

    Returns
    -------
    dict
        ``S`` (genes, regulators), ``A`` (regulators, samples), ``X`` (factors, genes) and ``Y``
        (factors, regulators) after that many iterations, and ``objective``, its value after each.
        In double precision.

    Raises
    ------
    ValueError
        The file is no such recording, or has fewer iterations than asked for.
    """
    file = _read(npz_path)
    iterations = check_whole("iterations", iterations)
    orders = {"U": [], "V": []}
    while all(f"order{2 * len(orders['V']) + i:04d}_{b}" in file for i, b in enumerate("XY")):
        k = len(orders["V"])
        orders["U"].append(file[f"order{2 * k:04d}_X"])
        orders["V"].append(file[f"order{2 * k + 1:04d}_Y"])
    recorded = len(orders["V"])
    if iterations > recorded:
        raise ValueError(
            f"{os.fspath(npz_path)!r} records {recorded} iterations, got iterations={iterations}"
        )
    spec = _released(file)
    values = file["in_E"].T.astype(np.float64)
    genes, regulators = file["it0000_init_S"].shape
    ones = np.ones((regulators, genes))
    view = View(y=values, weight=np.ones(len(values)))
    prior = PriorView(ones > 0, ones, ones.astype(np.int32), ones < 0, ones > 0)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        orders = {b: np.stack(o).astype(np.int32) for b, o in orders.items()}
        off = np.float64(-1)
        limits = palm.Limits(off, off, off, np.int32(iterations), np.asarray(True))
        keys = jax.random.split(jax.random.key(0), 1)
        terms, states = palm.begin(spec.shape, spec.terms, view, prior, keys, recorded)
        # Without its start the shape is that of every recording: compiled once a size.
        states = palm.advance(
            spec.replace(start=None).shape,
            terms,
            states,
            view,
            prior,
            keys,
            limits,
            np.int32(iterations),
            orders,
        )
        params = jax.tree.map(lambda v: np.asarray(v[0]), states.params)
        history = np.asarray(states.history[0])[:iterations]
    return {"S": params.theta.T, "A": params.A, "X": params.U, "Y": params.V, "objective": history}


class Recorded:
    """A recorded start; of its own class so that it is told apart inside a compiled function."""

    def __init__(self, blocks: Blocks):
        self.blocks = blocks

    def __call__(self, data: View, prior: PriorView, key: Any, terms: tuple) -> Blocks:
        """Return it."""
        return self.blocks


def _released(file: dict[str, np.ndarray]) -> Spec:
    """Return the released objective and steps with the weights of the file."""
    p, lam = file["in_P_model"].T, file["in_lam"].T
    alpha, beta, eta = (file[f"in_{n}"].T for n in ("alpha", "beta", "eta_model"))
    floor = eta - (1 - p) * lam * alpha * (1 + alpha / beta)
    rho = float(file["in_reg"])
    return Spec(
        loss=component_analysis(),
        regularizer=ridge(float(file["in_lambda_s"]))
        + ridge(float(file["in_lambda_a"]), "A")
        + Collaborative(p, lam * alpha, lam * beta, floor)
        + ridge(rho, "U")
        + ridge(rho, "V"),
        name="netrex_cf",
        start=Recorded(
            Blocks(
                theta=file["it0000_init_S"].T,
                A=file["it0000_init_A"],
                U=file["it0000_init_X"],
                V=file["it0000_init_Y"],
            )
        ),
        sweeps=Sweeps(
            (
                Step("A", weight=0.5),
                Step("theta", "linear", 0.5, "frobenius"),
                Step("U", weight=1.0),
                Step("V", weight=1.0),
            )
        ),
    )


def read_archive(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of a recording, or say that it is none."""
    name = os.fspath(path)
    try:
        file = np.load(name, allow_pickle=False)
        if not hasattr(file, "files"):
            raise ValueError("it holds a single array")
        with file:
            return {k: file[k] for k in file.files}
    except (zipfile.BadZipFile, ValueError, EOFError) as problem:
        raise ValueError(
            f"{name!r} is no recorded run (an .npz file of plain arrays): {problem}"
        ) from None


def _read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    name, every = os.fspath(path), read_archive(path)
    found = {k: v for k, v in every.items() if k.startswith(("in_", "it0000_", "order"))}
    needed = [
        f"in_{n}"
        for n in (
            "E",
            "P_model",
            "lam",
            "alpha",
            "beta",
            "eta_model",
            "reg",
            "lambda_a",
            "lambda_s",
        )
    ]
    needed += [f"it0000_init_{b}" for b in "SAXY"]
    missing = [n for n in needed if n not in found]
    if missing:
        raise ValueError(f"{name!r} is no recorded NetREX-CF run: it lacks {', '.join(missing)}")
    return {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in found.items()}
