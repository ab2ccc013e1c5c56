"""How kernels are compiled: Numba's settings, and where the machine code is cached.

Numba reuses cached machine code when the *caller's* file is unchanged, even if a function that it calls
in another file was edited. A stale kernel would be silently wrong, so the cache folder is named after a
hash of all source that can reach a kernel: another source, another folder
(``dials_async.cache`` says where).

Every floating-point operation is done as it is written and in the order in which it is written, so that every
processor computes the same bits: no reassociation (a sum would be rounded by the width of the processor's
vectors) and no contraction (a product and a sum would be fused where the processor can). A sum that has to be
fast has explicit lanes (``dials_async.kernels.rows``), a fused operation is written as one
(``dials_async.kernels.arithmetic.fma``), and what libm would do is done by ``dials_async.kernels.functions``.
What LLVM vectorises by itself are loops whose steps do not depend on each other: that changes nothing.
``tests/kernels`` read the optimised code of all kernels and hold this.
"""

import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import njit

from dials_async.cache import DOMAINS
from dials_async.kernels.machine_code import KernelCache, usable_folder
from dials_async.kernels.parts import PartCompiler
from dials_async.kernels.processor import check_processor

F = TypeVar("F", bound=Callable[..., object])

check_processor()

#: A number inside a kernel, where float32, float64 and integers mix in ways that annotations cannot say.
Scalar = Any

#: Parts of the package whose source can reach a kernel: functions, constants, types of arguments.
SOURCES = ("kernels", "networks", "domains", "rollout", "learning", "influence", "groups.py", "cache.py")


def _sources() -> Iterator[tuple[str, Path]]:
    """Names and files of all source that can reach a kernel: ours, and of packages that ship a domain."""
    root = Path(__file__).resolve().parent.parent
    yield from (
        (str(path), path) for path in _python_files(root) if path.relative_to(root).parts[0] in SOURCES
    )
    for package in sorted({entry.module.partition(".")[0] for entry in entry_points(group=DOMAINS)}):
        found = importlib.util.find_spec(package) if package != root.name else None
        if found is not None:
            for place in found.submodule_search_locations or filter(None, [found.origin]):
                yield from ((str(path), path) for path in _python_files(Path(place)))


def _python_files(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place] if place.is_file() else []


def _source_hash() -> str:
    digest = hashlib.sha256()
    for name, path in _sources():
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


#: Folder of the compiled kernels of exactly this source.
CACHE_FOLDER = usable_folder(f"kernels-{_source_hash()}")

if "NUMBA_CACHE_DIR" not in os.environ:
    numba.config.CACHE_DIR = str(CACHE_FOLDER)  # type: ignore[attr-defined]  # made at run time


#: Options of every kernel. nogil: threads run kernels at the same time. error_model "numpy": without the
#: checks for division by zero loops vectorise. fastmath would give other bits elsewhere.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}

#: Options of kernels: without the code by which C would call them.
_KERNEL_OPTIONS: dict[str, Any] = {**_OPTIONS, "no_cfunc_wrapper": True}

#: Options of large parts of kernels: without the code by which Python would call them either, which for a
#: network's workspace is longer than the function.
_PART_OPTIONS: dict[str, Any] = {
    **_KERNEL_OPTIONS,
    "no_cpython_wrapper": True,
    "pipeline_class": PartCompiler,
}

#: Without reference counting, for functions that neither make nor slice arrays. Numba counts the references
#: of every array of a NamedTuple that is passed on, atomically, and LLVM cannot cancel all of it: in the step
#: of the warehouse's LS that was two thirds of the time.
_NO_ARRAYS: dict[str, Any] = {"_nrt": False}

#: Options of small functions that are called from kernels. Inlining lets LLVM cancel the reference counts
#: of array arguments, which otherwise cost more than the functions do (7 x on an observation).
INLINE_OPTIONS: dict[str, Any] = {**_KERNEL_OPTIONS, "forceinline": True}

#: And of small ones that neither make nor slice arrays.
LEAF_OPTIONS: dict[str, Any] = {**INLINE_OPTIONS, **_NO_ARRAYS}


def jit(function: F) -> F:
    """Compile ``function`` as a kernel: called from Python, compiled once per machine and source version."""
    compiled: Any = njit(**_KERNEL_OPTIONS)(function)
    compiled._cache = KernelCache(function)
    return compiled  # type: ignore[no-any-return]


def jit_part(function: F) -> F:
    """Compile ``function`` as a large part of kernels, which alone can call it.

    It neither makes nor slices arrays (``_NO_ARRAYS``): the kernel that calls it does.
    """
    compiled: F = njit(**_PART_OPTIONS, **_NO_ARRAYS)(function)
    return compiled


def jit_part_with_arrays(function: F) -> F:
    """Like :func:`jit_part`, for functions that make or slice arrays."""
    compiled: F = njit(**_PART_OPTIONS)(function)
    return compiled


def jit_inline(function: F) -> F:
    """Compile ``function`` as a small part of kernels, inlined into its callers."""
    compiled: F = njit(**INLINE_OPTIONS)(function)
    return compiled


def jit_leaf(function: F) -> F:
    """Like :func:`jit_inline`, for functions that neither make nor slice arrays (``LEAF_OPTIONS``)."""
    compiled: F = njit(**LEAF_OPTIONS)(function)
    return compiled
