"""The functions that a compiled local simulator gives to the fused rollout, chosen by its state's type.

A domain describes the state of its LS as a NamedTuple of arrays ``[rows, ...]``, one row for each episode of
each agent, and registers its compiled functions for that type with :func:`compiled_local`. The fused rollout
calls the three functions below. Numba resolves them at compile time: the indirection costs nothing, and the
machine code can be cached (a kernel that takes functions as arguments could not be).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload
from numpy.typing import NDArray

from dials_async.domains.base import LocalSimulator
from dials_async.kernels.compile import LEAF_OPTIONS, jit

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


@jit
def _reset_all(state: Any, seeds: NDArray[np.uint64]) -> None:
    for row in range(seeds.shape[0]):
        local_reset(state, row, seeds[row])


@jit
def _observe_all(state: Any, out: NDArray[np.uint8]) -> None:
    for row in range(out.shape[0]):
        local_observe(state, row, out[row])


@jit
def _step_all(
    state: Any,
    actions: NDArray[np.uint8],  # [rows]
    influence: NDArray[np.uint8],  # [rows, n_sources]
    rewards: NDArray[np.float32],  # [rows], out
) -> None:
    for row in range(actions.shape[0]):
        rewards[row] = local_step(state, row, actions[row], influence[row])


class CompiledLocal(LocalSimulator):
    """A compiled LS that is stepped from Python: what the fused rollout does in one kernel, step by step."""

    def __init__(self, state: Any, n_agents: int, n_envs: int, observation_bytes: int) -> None:
        """``state`` is one that functions were registered for, of ``n_agents`` x ``n_envs`` rows."""
        self.state = state
        self._shape = (n_agents, n_envs)
        self._packed = np.zeros((n_agents * n_envs, observation_bytes), dtype=np.uint8)

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Start new episodes; ``seeds`` [agents, envs]."""
        _reset_all(self.state, seeds.reshape(-1))

    def observe(self) -> NDArray[np.uint8]:
        """Packed observations, [agents, envs, bytes], valid until the next call."""
        _observe_all(self.state, self._packed)
        return self._packed.reshape(*self._shape, -1)

    def step(self, actions: NDArray[np.uint8], influence: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Advance under ``actions`` [agents, envs] and ``influence`` [agents, envs, n_sources].

        Returns rewards [agents, envs].
        """
        rewards = np.zeros(self._shape, dtype=np.float32)
        _step_all(self.state, *by_row(actions, influence), rewards.reshape(-1))
        return rewards


def by_row(
    actions: NDArray[np.uint8], influence: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Actions [rows] and influence [rows, n_sources] of [agents, envs, ...], as kernels take them."""
    classes = np.ascontiguousarray(influence)
    return np.ascontiguousarray(actions).reshape(-1), classes.reshape(-1, classes.shape[-1])
