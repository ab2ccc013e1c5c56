"""How kernels are compiled: Numba's settings, and where the machine code is cached.

Numba reuses cached machine code when the *caller's* file is unchanged, even if a function that it calls
in another file was edited. A stale kernel would be silently wrong, so the cache folder is named after a
hash of every source file of the package that holds kernels: another source, another folder
(``dials_async.cache`` says where).

Sums and stores belong in loops of their own. A vectorised loop that reads one array and stores into another
first compares their addresses, and gives way to the plain loop if they might overlap, which may only mean
that they lie close together. A vectorised sum is rounded in another order than a plain one: in such a loop
its last bit would depend on where malloc put the arrays. Loops that only read need no such check.
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

F = TypeVar("F", bound=Callable[..., object])

#: A number inside a kernel, where float32, float64 and integers mix in ways that annotations cannot say.
Scalar = Any

#: Reassociation lets sums vectorise; NaN and infinity keep their meaning, so that health checks see them.
_FASTMATH = {"reassoc", "contract", "nsz"}

#: How many cache folders of earlier versions of the source are kept.
_KEPT_FOLDERS = 4


def _source_hash() -> str:
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(str(root).encode())
    for path in sorted(root.rglob("*.py")):
        source = path.read_bytes()
        # Simulators take their constants from files that hold no kernel.
        if "domains" in path.parts or b"import jit" in source or b"compile" in source[:400]:
            digest.update(path.name.encode() + source)
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
#: checks for division by zero loops vectorise (10 x on tanh).
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": _FASTMATH}

#: Options of small functions that are called from kernels. Inlining lets LLVM cancel the reference counts
#: of array arguments, which otherwise cost more than the functions do (7 x on an observation).
INLINE_OPTIONS: dict[str, Any] = {**_OPTIONS, "forceinline": True}

#: Options of functions that neither make nor slice arrays: without reference counting. Numba counts the
#: references of every array of a NamedTuple that is passed on, atomically, and LLVM cannot cancel all of
#: it: in the step of the warehouse's LS that was two thirds of the time.
LEAF_OPTIONS: dict[str, Any] = {**INLINE_OPTIONS, "_nrt": False}


def jit(function: F) -> F:
    """Compile ``function`` as a kernel: called from Python, compiled once per machine and source version."""
    compiled: F = njit(cache=True, **_OPTIONS)(function)
    return compiled


def jit_part(function: F) -> F:
    """Compile ``function`` as a large part of kernels: called, not inlined, so that it is compiled once."""
    compiled: F = njit(**_OPTIONS)(function)
    return compiled


def jit_inline(function: F) -> F:
    """Compile ``function`` as a small part of kernels, inlined into its callers."""
    compiled: F = njit(**INLINE_OPTIONS)(function)
    return compiled


def jit_leaf(function: F) -> F:
    """Like :func:`jit_inline`, for functions that neither make nor slice arrays (``LEAF_OPTIONS``)."""
    compiled: F = njit(**LEAF_OPTIONS)(function)
    return compiled


def jit_exact_leaf(function: F) -> F:
    """Like :func:`jit_leaf`, but every floating-point operation is done as it is written.

    For arithmetic that must agree with another program to the last bits; it cannot vectorise sums.
    """
    compiled: F = njit(**{**LEAF_OPTIONS, "fastmath": False})(function)
    return compiled
