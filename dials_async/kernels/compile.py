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
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import njit

from dials_async.cache import cache_folder
from dials_async.kernels.parts import PartCompiler
from dials_async.kernels.processor import check_processor

F = TypeVar("F", bound=Callable[..., object])

check_processor()

#: A number inside a kernel, where float32, float64 and integers mix in ways that annotations cannot say.
Scalar = Any

#: How many cache folders of earlier versions of the source are kept.
_KEPT_FOLDERS = 4


#: Parts of the package whose source can reach a kernel: functions, constants, types of arguments.
SOURCES = ("kernels", "networks", "domains", "rollout", "learning", "influence", "groups.py", "cache.py")


def _source_hash() -> str:
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(str(root).encode())
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] in SOURCES:
            digest.update(str(name).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _remove_old_folders(newest: Path) -> None:
    folders = sorted(newest.parent.glob("kernels-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[_KEPT_FOLDERS:]:
        if folder != newest:
            shutil.rmtree(folder, ignore_errors=True)


#: Folder of the compiled kernels of exactly this source.
CACHE_FOLDER = cache_folder() / f"kernels-{_source_hash()}"

if "NUMBA_CACHE_DIR" not in os.environ:
    numba.config.CACHE_DIR = str(CACHE_FOLDER)  # type: ignore[attr-defined]  # made at run time
    if not CACHE_FOLDER.exists() and CACHE_FOLDER.parent.exists():
        _remove_old_folders(CACHE_FOLDER)


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
    compiled: F = njit(cache=True, **_KERNEL_OPTIONS)(function)
    return compiled


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
