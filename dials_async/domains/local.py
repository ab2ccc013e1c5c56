"""The functions that a compiled local simulator gives to the fused rollout, chosen by its state's type.

A domain describes the state of its LS as a NamedTuple of arrays ``[rows, ...]``, one row for each episode of
each agent, and registers its compiled functions for that type with :func:`compiled_local`. The fused rollout
calls the three functions below. Numba resolves them at compile time: the indirection costs nothing, and the
machine code can be cached (a kernel that takes functions as arguments could not be).
"""

from collections.abc import Callable
from typing import Any

from numba.core import types
from numba.extending import overload

from dials_async.kernels.compile import LEAF_OPTIONS

#: Any: Numba's stubs know only some of its options.
_OPTIONS: Any = LEAF_OPTIONS

_Implementation = Callable[..., Any]
_implementations: dict[str, dict[type, _Implementation]] = {"reset": {}, "observe": {}, "step": {}}


def compiled_local(
    state_type: type, reset: _Implementation, observe: _Implementation, step: _Implementation
) -> None:
    """Register the compiled functions of the LS whose state is the NamedTuple ``state_type``.

    Each must be compiled with ``dials_async.kernels.compile.jit_leaf``, with these arguments:
    ``reset(state, row, seed)`` starts an episode; ``observe(state, row, out)`` writes the
    packed observation to out [bytes]; ``step(state, row, action, influence)`` advances one step
    under the classes influence [n_sources] and returns the reward.
    """
    for name, function in (("reset", reset), ("observe", observe), ("step", step)):
        _implementations[name][state_type] = function


def is_compiled_local(state_type: type) -> bool:
    """Whether functions are registered for ``state_type``."""
    return state_type in _implementations["step"]


def _find(name: str, state: Any) -> _Implementation | None:
    if isinstance(state, types.BaseNamedTuple):
        return _implementations[name].get(state.instance_class)  # type: ignore[attr-defined]  # of every named tuple type
    return None


def local_reset(state: Any, row: int, seed: int) -> None:  # noqa: ARG001
    """Start a new episode in ``row`` (only inside kernels)."""
    raise TypeError("local_reset is for kernels only")


def local_observe(state: Any, row: int, out: Any) -> None:  # noqa: ARG001
    """Write the packed observation to ``out`` [bytes] (only inside kernels)."""
    raise TypeError("local_observe is for kernels only")


def local_step(state: Any, row: int, action: int, influence: Any) -> float:  # noqa: ARG001
    """Advance one step and return the reward (only inside kernels)."""
    raise TypeError("local_step is for kernels only")


# Numba wants the signatures below equal to those of the lambdas: without annotations.
@overload(local_reset, jit_options=_OPTIONS)
def _overload_reset(state, row, seed):  # type: ignore[no-untyped-def]  # noqa: ARG001
    function = _find("reset", state)
    return None if function is None else lambda state, row, seed: function(state, row, seed)  # noqa: PLW0108


@overload(local_observe, jit_options=_OPTIONS)
def _overload_observe(state, row, out):  # type: ignore[no-untyped-def]  # noqa: ARG001
    function = _find("observe", state)
    return None if function is None else lambda state, row, out: function(state, row, out)  # noqa: PLW0108


@overload(local_step, jit_options=_OPTIONS)
def _overload_step(state, row, action, influence):  # type: ignore[no-untyped-def]  # noqa: ARG001
    function = _find("step", state)
    if function is None:
        return None
    return lambda state, row, action, influence: function(state, row, action, influence)  # noqa: PLW0108
