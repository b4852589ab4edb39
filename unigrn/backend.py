"""The machine below: precision, cores, and what XLA's CPU backend does with LAPACK."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from threadpoolctl import threadpool_limits

_CONFIG: Any = jax.config  # its settings are attributes that JAX adds as it loads

# XLA's CPU backend splits the sums of a product among its threads, so that their number changes the
# last bits of an answer. It is the same on every machine, if nobody chose another (NPROC) and JAX
# was not in use before. NPROC is read when JAX starts.
SPLIT = 4
_ASKED = os.environ.get("NPROC", "")
os.environ["NPROC"] = _ASKED or str(SPLIT)

# It also splits loops over large arrays, by the root of the number of cores whatever NPROC says,
# and where a loop ends some bits are others: programs of fits are compiled without that pass.
UNSPLIT = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}

ROOM = 0.5  # share of the regions of memory that a process may map, kept for compiled programs

# What XLA's CPU backend leaves to LAPACK.
LAPACK = {
    "cholesky",
    "eig",
    "eigh",
    "geqrf",
    "hessenberg",
    "householder_product",
    "lu",
    "qr",
    "schur",
    "svd",
    "triangular_solve",
    "tridiagonal",
    "tridiagonal_solve",
}


def cores() -> int:
    """Count the cores to use: those that the process may, or as many as NPROC said at the start."""
    own = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if own else os.cpu_count() or 1
    return min(allowed, int(_ASKED)) if _ASKED.isdecimal() and int(_ASKED) else allowed


def check_device() -> None:
    """Refuse where JAX is told to use a device that this machine does not offer.

    Raises
    ------
    ValueError
        Where JAX_PLATFORMS names one that JAX cannot start.
    """
    asked = os.environ.get("JAX_PLATFORMS", "")
    if not asked:
        return
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"JAX_PLATFORMS asks for {asked}, this machine offers cpu only as far as JAX can see; "
            'unset it, or install JAX for that device, such as pip install "jax[cuda12]"'
        ) from error


def free_memory() -> int | None:
    """Bytes that this process may still take; None where that is not known.

    On a GPU what JAX may take there; else what is available, within the limits of the process
    (ulimit -v) and of its control group (containers, batch systems).
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        limit = (device.memory_stats() or {}).get("bytes_limit")
        return None if limit is None else int(limit)
    bounds = []
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/meminfo") as file:
        facts = dict(line.split(":") for line in file)
        bounds.append(1024 * int(facts["MemAvailable"].split()[0]))
    with contextlib.suppress(OSError, ValueError):
        limit, used = (
            int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current")
        )
        bounds.append(limit - used)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            bounds.append(limit - pages * resource.getpagesize())
    return max(0, min(bounds)) if bounds else None


def largest_array(program: Any) -> int:
    """Bytes of the largest array that a program (a jaxpr) makes on its way, in loops too."""
    most = 0
    for step in program.eqns:
        for made in step.outvars:
            shape = getattr(made.aval, "shape", ())
            most = max(most, math.prod(shape) * getattr(made.aval.dtype, "itemsize", 8))
        for inner in programs_within(step):
            most = max(most, largest_array(inner))
    return most


def side_by_side(calls: list[Callable[[], Any]], dtype: str) -> list[Any]:
    """Run compiled calls, on CPU one a core.

    XLA's CPU backend runs the small steps of a loop on one core; calls from other threads take the
    other cores. The first call goes ahead, so that each shape is compiled once.
    """
    many = cores()
    if jax.default_backend() != "cpu":
        return [call() for call in calls]
    promotion = _CONFIG.jax_numpy_dtype_promotion

    def one(call):
        # JAX keeps its settings by thread.
        with precision(dtype), jax.numpy_dtype_promotion(promotion):
            return jax.block_until_ready(call())

    # What is not waited for would go on where the threads are many again.
    with one_blas_thread():
        if len(calls) < 2 or many < 2:
            return [jax.block_until_ready(call()) for call in calls]
        first = jax.block_until_ready(calls[0]())
        with ThreadPoolExecutor(many) as pool:
            return [first, *pool.map(one, calls[1:])]


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS and LAPACK to one thread.

    Their threads would only wait for each other, on systems as small as those of targets, and for
    those of compiled programs; and the last bits of sums would depend on the cores. JAX calls
    SciPy's, and loads them when a program first needs them: no limit reaches what is not loaded.
    """
    for library in ("cython_blas", "cython_lapack"):
        importlib.import_module(f"scipy.linalg.{library}")
    with threadpool_limits(1, "blas"):
        yield


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Run JAX in double precision where asked for, and leave its settings as they were.

    Products take all bits of their factors: some accelerators would round float32 to 10 bits, which
    no stopping rule here allows for. A precision that the user set stands.
    """
    with contextlib.ExitStack() as settings:
        if dtype == "float64":
            settings.enter_context(jax.enable_x64(True))
        if _CONFIG.jax_default_matmul_precision is None:
            settings.enter_context(jax.default_matmul_precision("highest"))
        yield


def make_room() -> None:
    """Drop compiled programs before there is no room for more.

    XLA maps every program it compiles into memory, some hundred regions for each new declaration;
    at Linux's limit (vm.max_map_count, 65,530 by default) its compiler dies without a message.
    What is dropped is compiled again where it is needed again.
    """
    try:
        with open("/proc/sys/vm/max_map_count") as limit, open("/proc/self/maps") as regions:
            full = sum(1 for _ in regions) > ROOM * int(limit.read())
    except (OSError, ValueError):  # not Linux, or not shown there
        return
    if full:
        jax.clear_caches()


def over_fits(solve: Any, *arguments: Any) -> Any:
    """Map a solver of one fit over the batch.

    On CPU a solver with LAPACK work is mapped fit after fit. LAPACK work on a whole batch is spread
    over the very threads that run it, and where all of them wait, they wait for ever (jaxlib 0.10).
    """
    if jax.default_backend() == "cpu":
        one = jax.tree.map(lambda v: jax.eval_shape(lambda a: a[0], v), arguments)
        if uses_lapack(jax.make_jaxpr(solve)(*one).jaxpr):
            return jax.lax.map(lambda each: solve(*each), arguments)
    return jax.vmap(solve)(*arguments)


def uses_lapack(program: Any) -> bool:
    """Whether a program (a jaxpr) calls LAPACK, in loops and branches too."""
    for step in program.eqns:
        if step.primitive.name in LAPACK:
            return True
        if any(uses_lapack(inner) for inner in programs_within(step)):
            return True
    return False


def programs_within(step: Any) -> Iterator[Any]:
    """Give the programs inside a step: of loops, of branches."""
    for value in jax.tree.leaves(
        tuple(step.params.values()), is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")
    ):
        inner = getattr(value, "jaxpr", value)
        if hasattr(inner, "eqns"):
            yield inner


def over_starts(solve: Any, *arguments: Any) -> Any:
    """Map a function over restarts: on CPU one after the other, as fits with LAPACK work are."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda each: solve(*each), arguments)
    return jax.vmap(solve)(*arguments)
