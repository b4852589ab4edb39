"""From data and a prior to a network, in one call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from unigrn import UnigrnWarning, progress
from unigrn.backend import check_device
from unigrn.certify import certify as proved
from unigrn.certify import check_certifiable
from unigrn.check import check_whole
from unigrn.data import Data
from unigrn.methods import bind
from unigrn.names import read_names
from unigrn.network import Network
from unigrn.planner import Plan, plan
from unigrn.predictive import FEWEST, check_predictable, predictive_check
from unigrn.prior import AlignmentError, Prior, read_prior
from unigrn.run import run
from unigrn.solution import Solution
from unigrn.spec import Spec


def fit(spec: Spec | Plan, data: Data | None = None, seed: int = 0, **options: Any) -> Solution:
    """Plan and solve a spec on data, or run a `unigrn.plan`; options as in `unigrn.plan`.

    Examples
    --------
    >>> import numpy as np, unigrn
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 2))
    >>> data = unigrn.Data.from_arrays(np.c_[x, x @ [1.0, -2.0]], ["a", "b", "y"], dtype="float64")
    >>> spec = unigrn.Spec(unigrn.least_squares(), unigrn.ridge(0.0))
    >>> unigrn.fit(spec, data, regulators=["a", "b"], targets=["y"]).theta[0].round(6).ravel()
    array([ 1., -2.])
    """
    if isinstance(spec, Plan):
        if data is not None or options:
            raise TypeError("a plan has its data and options already: fit(plan, seed=...)")
        return run(spec, seed)
    if not isinstance(data, Data):
        raise TypeError(f"fit needs unigrn.Data, got {type(data).__name__}")
    return run(plan(spec, data, **options), seed)


def infer(
    adata: Any,
    prior: Any,
    method: str | Spec | Callable[..., Spec],
    groupby: str | None = None,
    layer: str | None = None,
    regulators: Iterable[str] | str | os.PathLike | None = None,
    targets: Iterable[str] | str | os.PathLike | None = None,
    seed: int = 0,
    dtype: str = "float32",
    *,
    names: str | None = None,
    raw: bool = False,
    extra: Mapping[str, str] | None = None,
    over: Callable[[Spec], Spec] | Sequence[Callable[[Spec], Spec]] = (),
    force: bool = False,
    certify: bool = False,
    predictive: int = 0,
    **hyperparameters: Any,
) -> Network:
    """Infer a gene regulatory network.

    Parameters
    ----------
    adata
        AnnData (cells x genes), the path of an h5ad file, a DataFrame of numbers (cells x genes,
        its columns the genes), or `unigrn.Data`.
    prior
        None where the method needs none; else `unigrn.Prior`, a DataFrame of edges or a base GRN
        table, a dict {target: regulators}, the path of a prior file, or a list of paths (one layer
        of evidence each).
    method
        Name of a method (`unigrn methods` lists them), a function ``(prior, **hyper) -> Spec``, or
        a `Spec`.
    groupby
        Column of ``adata.obs``: one network for each of its values.
    layer
        Layer with the expression; ``X`` by default.
    regulators, targets
        Names to keep, or a file with one name per line.
    seed
        Whole number >= 0; the same seed gives the same network.
    dtype
        "float32" or "float64"; `unigrn.Data` has its own.
    names
        Column of ``adata.var`` with the names of the genes; its index by default.
    raw
        Take expression and genes from ``adata.raw``.
    extra
        Columns of ``adata.obs`` with one number a cell, by the name that the method asks for:
        ``{"pseudotime": "dpt_pseudotime"}``; or arrays ``varp/KEY``, ``uns/KEY``.
    over
        Transformations of the method's spec, the innermost first: `unigrn.lioness`, or ``lambda
        spec: unigrn.stability(spec, 100)``. `Spec.ways` says which a method admits.
    force
        Go on where the plan needs more memory than there is.
    certify
        Compute the exact duality gap of every target: `Network.certificate_exact`. For methods
        whose fits are convex, such as full_ridge and masked_lasso; the cells are read once more.
    predictive
        Draws of the guide of a generative method, 400 say: its replicates of the data are compared
        with the data, `Network.predictive`; see `unigrn.predictive_check`. 0: none.
    **hyperparameters
        Passed to the method; and, where it has no parameter of that name, ``tolerance``,
        ``max_iterations`` and ``solver`` of `unigrn.plan`.

    Returns
    -------
    Network
        Edges with statistics, certificates, the alignment report and provenance.

    Raises
    ------
    ValueError
        Bad input, in one line that says what was got, what is needed and what to do.
    """
    if check_whole("predictive", predictive):
        check_whole("predictive", predictive, low=FEWEST)
    data = read_expression(adata, layer, groupby, dtype, names, raw, extra)
    prepared = _prepare(data, prior, method, regulators, targets, hyperparameters, over)
    if certify:
        check_certifiable(prepared)
    if predictive:
        check_predictable(prepared)
    if not force:
        prepared.check_memory()
    solution = run(prepared, seed)
    failed = int((~solution.converged).sum())
    for text in solution.warnings:
        warnings.warn(text, UnigrnWarning, stacklevel=2)
    if failed:
        warnings.warn(
            f"{failed:,} of {solution.status.size:,} fits did not converge; "
            "Network.not_converged() lists them, and says why",
            UnigrnWarning,
            stacklevel=2,
        )
    check = predictive_check(solution, predictive, seed) if predictive else None
    return solution.network(proved(solution) if certify else None, check)


def explain(
    adata: Any,
    prior: Any,
    method: str | Spec | Callable[..., Spec],
    groupby: str | None = None,
    layer: str | None = None,
    regulators: Iterable[str] | str | os.PathLike | None = None,
    targets: Iterable[str] | str | os.PathLike | None = None,
    seed: int = 0,
    dtype: str = "float32",
    *,
    names: str | None = None,
    raw: bool = False,
    extra: Mapping[str, str] | None = None,
    over: Callable[[Spec], Spec] | Sequence[Callable[[Spec], Spec]] = (),
    **hyperparameters: Any,
) -> str:
    """Say how `infer` would solve this: the alignment of names, the solver and why, the cost."""
    data = read_expression(adata, layer, groupby, dtype, names, raw, extra)
    prepared = _prepare(data, prior, method, regulators, targets, hyperparameters, over)
    return "\n".join([*prepared.problem.report.lines(), "", prepared.explain()])


def _prepare(data: Data, prior, method, regulators, targets, hyper, over) -> Plan:
    check_device()
    progress.report("planning", 0, 0)
    build, name, options = bind(method, hyper)
    spec = _built(build, prior_of(prior), method) if build is not None else method
    if build is not None and spec.name == "spec":
        own = method.rpartition(":")[2] if isinstance(method, str) else "spec"
        spec = spec.replace(name=getattr(method, "__name__", own))
    if build is None and prior is not None:
        if spec.prior is not None and prior is not spec.prior:
            raise ValueError("the Spec has a prior of its own; pass prior=None, or a Spec without")
        spec = spec.replace(prior=prior_of(prior))
    if spec.prior is None and any(term.needs_prior for term in spec.terms):
        raise ValueError(
            f"method {spec.name} needs prior edges and got none; give a prior: edges with the "
            "columns source, target (--prior FILE), or take a method that needs none (full_ridge)"
        )
    for change in (over,) if callable(over) else over:
        changed = change(spec)
        if not isinstance(changed, Spec):
            raise TypeError(
                f"over takes functions of a Spec that return one, such as unigrn.lioness; one of "
                f"{spec.name} returns {type(changed).__name__}"
            )
        spec = changed
    hint = "" if spec.prior is None else _other_names(data, spec.prior)
    try:
        prepared = plan(
            spec,
            data,
            regulators=names_of(regulators, "regulators"),
            targets=names_of(targets, "targets"),
            hyperparameters=name,
            **options,
        )
    except AlignmentError as error:
        if not hint:
            raise
        raise AlignmentError(f"{hint}; {error}") from None
    if hint:
        warnings.warn(hint, UnigrnWarning, stacklevel=3)
    return prepared


def _other_names(data: Data, prior: Prior) -> str:
    """Say where the genes have names that meet more of the prior than those at hand."""
    wanted = np.union1d(prior.regulators, prior.targets)

    def met(names):
        return int(np.isin(wanted, names).sum())

    now = met(data.genes)
    if not data.other_names:
        return ""
    (argument, value), names = max(data.other_names.items(), key=lambda item: met(item[1]))
    if met(names) < now + max(1, len(wanted) // 10):
        return ""
    # An index is asked for by leaving the option out.
    column = "" if value is True else f" {value}"
    option = f"--{argument}{column}" if value is not None else f"no --{argument}"
    return (
        f"{now:,} of {len(wanted):,} names of the prior are genes of the data; {met(names):,} "
        f"would be with {option} (in Python {argument}={value!r})"
    )


def _built(build: Callable[..., Spec], prior: Prior | None, method: Any) -> Spec:
    """Call the method's function; what goes wrong in one of the user's own is told as theirs."""
    own = isinstance(method, str) and ":" in method
    try:
        spec = build(prior)
    except (AttributeError, KeyError, IndexError, NameError, TypeError) as error:
        if not own:
            raise
        raise ValueError(f"the method {method} fails: {type(error).__name__}: {error}") from error
    if not isinstance(spec, Spec):
        name = method if own else getattr(method, "__name__", "the method")
        raise ValueError(f"{name} returns {type(spec).__name__}; a method returns a Spec")
    return spec


def prior_of(prior: Any) -> Prior | None:
    """Return a prior from whatever `infer` takes as one."""
    if prior is None or isinstance(prior, Prior):
        return prior
    if isinstance(prior, dict):
        return Prior.from_dict(prior)
    if hasattr(prior, "columns"):
        base = "gene_short_name" in prior.columns
        return Prior.from_base_grn(prior) if base else Prior.from_edges(prior)
    if isinstance(prior, list | tuple) and prior and all(isinstance(p, Prior) for p in prior):
        return Prior.combine(prior)
    return read_prior(prior)


def read_expression(
    adata: Any,
    layer: str | None,
    groupby: str | None,
    dtype: str,
    names: str | None,
    raw: bool,
    extra: Mapping[str, str] | None,
) -> Data:
    """Return expression from whatever `infer` takes as such."""
    if extra and (isinstance(adata, Data) or hasattr(adata, "columns")):
        raise ValueError(
            "extra names columns of obs, which only AnnData has; Data bring such numbers by "
            "data.with_extra(name=...)"
        )
    asked = layer is not None or groupby is not None or names is not None or raw
    if isinstance(adata, Data):
        if asked:
            raise ValueError(
                "layer, groupby, names and raw belong to AnnData; a Data object has its matrix, "
                "groups and names already"
            )
        if dtype != adata.dtype and dtype != "float32":
            raise ValueError(
                f"the Data object is {adata.dtype}, {dtype} was asked for; build it "
                f"with dtype={dtype!r}"
            )
        return adata  # it has its own precision
    if hasattr(adata, "columns"):
        if asked:
            raise ValueError(
                "layer, groupby, names and raw belong to AnnData, got a DataFrame; give AnnData, "
                "or the rows and values that are meant"
            )
        return _from_table(adata, dtype)
    return Data.from_anndata(adata, layer, groupby, dtype=dtype, names=names, raw=raw, extra=extra)


def _from_table(table: Any, dtype: str) -> Data:
    """Take a DataFrame of cells x genes."""
    wrong = [name for name in table.columns if not isinstance(name, str)]
    if wrong:
        raise ValueError(
            f"the DataFrame has a column {wrong[0]!r}; needed cells x genes, the genes' names "
            "as columns: turn it with .T where genes are its rows"
        )
    texts = [n for n, kind in table.dtypes.items() if getattr(kind, "kind", "O") not in "fiub"]
    if texts:
        raise ValueError(
            f"the column {texts[0]!r} of the DataFrame holds {table.dtypes[texts[0]]}; needed "
            "numbers only: take cell names as its index, and leave out what is no gene"
        )
    return Data.from_arrays(table.to_numpy(dtype=dtype), list(table.columns), dtype=dtype)


def names_of(names: Any, what: str) -> list[str] | None:
    """Read names given as a list, or as a file with one name per line or a `target` column."""
    if names is None:
        return None
    if isinstance(names, str | os.PathLike):
        columns = ("source", "tf", "regulator", "target") if what == "regulators" else ("target",)
        return read_names(names, what, columns)
    return [str(n) for n in names]
