"""Looks at the optimised code of kernels for what could give other bits on another processor.

As a program it compiles the kernels of the presets that it is given, without running them, so that the
processor (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES) need not be this one, and prints what it found as JSON.
"""

import gc
import json
import re
import sys
from collections.abc import Iterable
from typing import Any

import llvmlite.binding as llvm
from numba.core.dispatcher import Dispatcher

from dials_async.config import load_config
from dials_async.runtime.compiling import find_kernels

#: Leave to reorder, fuse or approximate.
_FLAGS = re.compile(
    r"\b(?:fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b (?:<\d+ x )?(?:float|double|half)\b"
)

#: Sums over the lanes of a vector, in whatever order.
_REDUCTION = re.compile(r"llvm\.vector\.reduce\.f(?:add|mul)")

#: What kernels may call: exact operations of the processor, and Numba's runtime.
_EXACT = re.compile(
    r"llvm\.(?:fma|sqrt|fabs|floor|ceil|trunc|copysign|minnum|maxnum|minimum|maximum|masked|cttz|ctlz|ctpop|bswap"
    r"|fsh[lr]|abs|[su](?:min|max)|[su](?:add|sub|mul)|mem(?:set|cpy|move)|lifetime|assume|expect|stack(?:save|restore)"
    r"|experimental\.(?:noalias|constrained)|vector\.reduce\.(?:add|mul|and|or|xor|[su](?:min|max)|f(?:min|max))"
    r"|x86\.atomic|prefetch|is\.constant|objectsize|trap|dbg|vector\.(?:insert|extract|interleave|deinterleave)|x86\.avx512\.mask)"
)
_RUNTIME = re.compile(
    r"(?:NRT_|_?Py|numba_(?!xx|ez_|gemm)|_ZN|_dynfunc|\.const|\.numba|cfunc\.|mem(?:set|cpy|move)$)"
)

#: Where machine code names a function.
_SYMBOL = re.compile(
    r"^\s*(?:callq?|jmpq?)\s+\*?([A-Za-z_][\w.$]*)|movabsq?\s+\$([A-Za-z_][\w.$]*)", re.MULTILINE
)


def suspicions(ir: str, assembly: str) -> list[str]:
    """What is in the optimised code of a kernel that should not be there."""
    found = [f"flags: {line.strip()}" for line in ir.splitlines() if _FLAGS.search(line) and " = " in line]
    found += [f"reordered sum: {name}" for name in sorted(set(_REDUCTION.findall(ir)))]
    for function in llvm.parse_assembly(ir).functions:
        name = function.name
        if function.is_declaration and not (_EXACT.match(name) or _RUNTIME.match(name)):
            found.append(f"calls {name}")
    symbols = {first or second for first, second in _SYMBOL.findall(assembly)}
    found += [f"calls {name}" for name in sorted(symbols) if not _RUNTIME.match(name)]
    return found


def look_at(dispatchers: Iterable[Any]) -> dict[str, Any]:
    """Suspicions of all versions that this process compiled, and how often wide registers occur."""
    result: dict[str, Any] = {"kernels": 0, "suspicions": [], "ymm": 0, "zmm": 0}
    for dispatcher in dispatchers:
        name = f"{dispatcher.py_func.__module__}.{dispatcher.py_func.__qualname__}"
        for signature in dispatcher.signatures:
            if not dispatcher.overloads[signature].library.get_llvm_str():
                continue
            assembly = dispatcher.inspect_asm(signature)
            result["kernels"] += 1
            result["ymm"] += assembly.count("%ymm")
            result["zmm"] += assembly.count("%zmm")
            found = suspicions(str(dispatcher.inspect_llvm(signature)), assembly)
            result["suspicions"] += [f"{name}: {what}" for what in found]
    return result


def kernels_of(presets: list[str]) -> list[Any]:
    """All kernels that runs of ``presets`` call ("name,setting,..."), and their parts; compiled, not run."""
    found = []
    for preset in presets:
        name, *settings = preset.split(",")
        found += find_kernels(load_config(name, settings))
    for kernel in found:  # none before all are found: what is compiled is run when it is called
        kernel.compile()
    return [
        thing
        for thing in gc.get_objects()
        if isinstance(thing, Dispatcher) and thing.py_func.__module__.startswith("dials_async.")
    ]


if __name__ == "__main__":
    print(json.dumps(look_at(kernels_of(sys.argv[1:]))))
