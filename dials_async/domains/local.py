"""The three functions that a compiled local simulator gives to the fused rollout, chosen by its state's type.

A domain describes the state of its LS as a NamedTuple of arrays ``[agents, envs, ...]`` and registers its
compiled functions for that type with :func:`compiled_local`. The fused rollout calls the three functions
below; Numba resolves them at compile time, so nothing is paid for the indirection, and the machine code
can be cached (a kernel that takes functions as arguments could not be).
"""

from collections.abc import Callable
from typing import Any

from numba.core import types
from numba.extending import overload

_Implementation = Callable[..., Any]
_implementations: dict[str, dict[type, _Implementation]] = {"reset": {}, "observe": {}, "step": {}}


def compiled_local(
    state_type: type, reset: _Implementation, observe: _Implementation, step: _Implementation
) -> None:
    """Register the compiled functions of the LS whose state is the NamedTuple ``state_type``.

    Each must be compiled (``dials_async.kernels.compile.jit_inline``), with these arguments:
    ``reset(state, agent, env, seed)`` starts an episode; ``observe(state, agent, env, row)`` writes the
    packed observation to row [bytes]; ``step(state, agent, env, action, influence)`` advances one step
    under the classes influence [n_sources] and returns the reward.
    """
    for name, function in (("reset", reset), ("observe", observe), ("step", step)):
        _implementations[name][state_type] = function


def _find(name: str, state: Any) -> _Implementation | None:
    if isinstance(state, types.BaseNamedTuple):
        return _implementations[name].get(state.instance_class)
    return None


def local_reset(state: Any, agent: int, env: int, seed: int) -> None:
    """Start a new episode of ``agent`` in ``env`` (only inside kernels)."""
    raise TypeError("local_reset is for kernels only")


def local_observe(state: Any, agent: int, env: int, row: Any) -> None:
    """Write the packed observation to ``row`` [bytes] (only inside kernels)."""
    raise TypeError("local_observe is for kernels only")


def local_step(state: Any, agent: int, env: int, action: int, influence: Any) -> float:
    """Advance one step and return the reward (only inside kernels)."""
    raise TypeError("local_step is for kernels only")


@overload(local_reset, inline="never")
def _overload_reset(state: Any, agent: Any, env: Any, seed: Any) -> _Implementation | None:  # noqa: ARG001
    function = _find("reset", state)
    if function is None:
        return None
    return lambda state, agent, env, seed: function(state, agent, env, seed)


@overload(local_observe, inline="never")
def _overload_observe(state: Any, agent: Any, env: Any, row: Any) -> _Implementation | None:  # noqa: ARG001
    function = _find("observe", state)
    if function is None:
        return None
    return lambda state, agent, env, row: function(state, agent, env, row)


@overload(local_step, inline="never")
def _overload_step(state: Any, agent: Any, env: Any, action: Any, influence: Any) -> _Implementation | None:  # noqa: ARG001
    function = _find("step", state)
    if function is None:
        return None
    return lambda state, agent, env, action, influence: function(state, agent, env, action, influence)
