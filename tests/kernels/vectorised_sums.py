"""Finds vectorised loops that sum and store, in the optimised LLVM code of kernels.

As a program it compiles all kernels of the preset that it is given, and prints what it found as JSON.
"""

import gc
import json
import re
import sys
from typing import Any

import llvmlite.binding as llvm
from numba.core.dispatcher import Dispatcher

_FLOATS = re.compile(r"<\d+ x (float|double)>")
#: A store for each lane in a block of its own, in the middle of a loop.
_CONDITIONAL_STORE = "pred.store"


def vectorised_sums(ir: str) -> tuple[list[str], list[str]]:
    """Names of the blocks that are vectorised sums in optimised LLVM code: (all, those that store)."""
    sums: list[str] = []
    storing: list[str] = []
    for function in llvm.parse_assembly(ir).functions:
        stores_apart = any(_CONDITIONAL_STORE in block.name for block in function.blocks)
        for block in function.blocks:
            instructions = list(block.instructions)
            if "vector.body" in block.name and any(map(_is_sum, instructions)):
                sums.append(block.name)
                if stores_apart or any(map(_is_store, instructions)):
                    storing.append(block.name)
    return sums, storing


def _is_sum(instruction: Any) -> bool:
    return instruction.opcode == "phi" and _FLOATS.fullmatch(str(instruction.type)) is not None


def _is_store(instruction: Any) -> bool:
    masked = ("llvm.masked.store", "llvm.masked.scatter", "llvm.masked.compressstore")
    return instruction.opcode == "store" or (
        instruction.opcode == "call" and any(name in str(instruction) for name in masked)
    )


def optimised_code(dispatcher: Any) -> list[str]:
    """LLVM code of every version of a kernel that this process compiled itself."""
    return [str(dispatcher.inspect_llvm(signature)) for signature in dispatcher.signatures]


def main(preset: str) -> None:
    """Compile everything, without a cache, and look at it."""
    from dials_async.config import load_config
    from dials_async.runtime.warmup import compile_kernels

    compile_kernels(load_config(preset, []), quiet=True)
    n_sums, storing = 0, set()
    for dispatcher in [thing for thing in gc.get_objects() if isinstance(thing, Dispatcher)]:
        kernel = f"{dispatcher.py_func.__module__}.{dispatcher.py_func.__qualname__}"
        for ir in optimised_code(dispatcher):
            sums, unsafe = vectorised_sums(ir)
            n_sums += len(sums)
            storing |= {f"{kernel}: {block}" for block in unsafe}
    print(json.dumps({"sums": n_sums, "storing": sorted(storing)}))


if __name__ == "__main__":
    main(sys.argv[1])
