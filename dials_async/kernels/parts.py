"""How parts of kernels are compiled: to LLVM code, which is optimised in the kernels that it is linked into.

Numba optimises every function and makes machine code of it before it is linked into its caller, where all
of it is done again: for our parts, which nobody else calls, that was half of the time. This is a pipeline of
Numba (``pipeline_class`` of ``numba.njit``) in which a function's library stops at its LLVM code.

A part has no environment of its own in the process that compiles it: it must not print, nor raise an error
with a value from run time.
"""

import ctypes
from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]  # compiled
from numba.core import ir, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

#: Address of a function that sets TypeError and returns no object: what Python calls in place of a part.
_REFUSAL = ctypes.cast(ctypes.pythonapi.PyErr_BadArgument, ctypes.c_void_p).value


class _PartLibrary(JITCodeLibrary):
    """LLVM code of a function and of what it calls, to be linked into others."""

    def _optimize_final_module(self) -> None:
        """Whole loops at once, in which LLVM sees most; of what calls other parts the cheap half only.

        That half inlines, so that reference counts which cancel out are found early.
        """
        if not any(isinstance(library, _PartLibrary) for library in self._linking_libraries):
            super()._optimize_final_module()
            return
        passes, builder = self._codegen._module_pass_manager(
            loop_vectorize=False, slp_vectorize=False, opt=self._codegen._opt_level, cost="cheap"
        )
        passes.run(self._final_module, builder)

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:  # noqa: ARG002
        """Of no function: there is no machine code."""
        return 0


@register_pass(mutates_CFG=True, analysis_only=False)  # type: ignore[untyped-decorator]
class _PartLowering(NativeLowering):
    _name = "dials_part_lowering"

    def run_pass(self, state: Any) -> bool:
        """Lower to LLVM code, and let other functions call it. Raises TypeError if it slices an array."""
        if not state.flags.nrt:
            _check_slices_nothing(state)
        state.library = _PartLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        compiles, state.flags.no_compile = state.flags.no_compile, True
        done = bool(super().run_pass(state))
        state.flags.no_compile = compiles
        result = state["cr"]
        descriptor, library = result.fndesc, state.library
        # What stands for the function in the tables of its callers; from Python calling it is a TypeError.
        name = descriptor.qualname.rpartition(".")[2]
        key = _dynfunc.make_function(descriptor.lookup_module(), name, "", _REFUSAL, result.env, (library,))
        state.targetctx.insert_user_function(key, descriptor, [library])
        state["cr"] = result._replace(cfunc=key)
        return done


def _check_slices_nothing(state: Any) -> None:
    """Without reference counts nobody keeps the memory of a slice; Numba refuses to make arrays only."""
    for block in state.func_ir.blocks.values():
        for line in block.find_insts(ir.Assign):
            value = line.value
            if isinstance(value, ir.Expr) and value.op in ("getitem", "static_getitem"):
                kinds = (state.typemap[value.value.name], state.typemap[line.target.name])
                if all(isinstance(kind, types.Array) for kind in kinds):
                    raise TypeError(f"{state.func_id.func_qualname}, {line.loc}: slices an array")


class PartCompiler(CompilerBase):
    """Numba's own pipeline, but for the last step."""

    def define_pipelines(self) -> list[Any]:
        """The passes, in their order."""
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        found = [kind for kind, _ in pipeline.passes].count(NativeLowering)
        if found != 1:
            raise TypeError(f"Numba's pipeline lowers {found} times, not once: another version is needed")
        pipeline.passes = [
            (_PartLowering, text) if kind is NativeLowering else (kind, text)
            for kind, text in pipeline.passes
        ]
        pipeline._finalized = False
        pipeline.finalize()
        return [pipeline]
