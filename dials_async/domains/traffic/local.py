"""The local simulator of one traffic light: four lines of cars, compiled, in agreement with SUMO 1.28.

Cars enter where the influence says so and leave over free exits; nothing is drawn at random.
``validate`` compares it with SUMO itself.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.local import CompiledLocal, compiled_local
from dials_async.domains.traffic.entries import CROWDED_SPEED, POSITION, SPEED, Entries
from dials_async.domains.traffic.line import CAPACITY, cars_beyond, insert, move
from dials_async.domains.traffic.rules import (
    CELL_M,
    CROWDED_CARS,
    EAST,
    EW_GREEN,
    EW_YELLOW,
    LANE_M,
    LIGHT_BITS,
    N_APPROACHES,
    N_CELLS,
    NS_GREEN,
    NS_YELLOW,
    OBSERVATION_BITS,
    SPEED_LIMIT_MPS,
    SWITCH,
    YELLOW_S,
)
from dials_async.kernels.bits import packed_size, set_bit
from dials_async.kernels.compile import Scalar, jit_leaf

_N_PHASES = 4
_LIGHT_BIT = tuple(LIGHT_BITS[phase] for phase in range(_N_PHASES))
_N_BYTES = packed_size(OBSERVATION_BITS)


class TrafficLocalState(NamedTuple):
    """State of intersections, one a row: ``envs`` episodes of the first agent, then of the second, ..."""

    phases: NDArray[np.uint8]  # [rows], of the light
    yellow_steps: NDArray[np.uint8]  # [rows], steps that are left of yellow, this one included
    n_cars: NDArray[np.int32]  # [rows, approaches]
    positions: NDArray[np.float64]  # [rows, approaches, CAPACITY], m along the line, first car first
    speeds: NDArray[np.float64]  # [rows, approaches, CAPACITY], m/s
    dropped: NDArray[np.int32]  # [rows], cars of this episode that did not fit
    entries: NDArray[np.float64]  # [rows, approaches, 3], as in ``entries``
    empty_reward: NDArray[np.float64]  # [1], of a step without cars on the approaches


def make_local_state(entries: Entries, n_envs: int, empty_reward: float) -> TrafficLocalState:
    """Arrays for ``n_envs`` episodes of each agent, as after a reset; ``entries`` [agents, approaches, 3]."""
    n_rows = len(entries) * n_envs
    return TrafficLocalState(
        phases=np.full(n_rows, NS_GREEN, dtype=np.uint8),
        yellow_steps=np.zeros(n_rows, dtype=np.uint8),
        n_cars=np.zeros((n_rows, N_APPROACHES), dtype=np.int32),
        positions=np.zeros((n_rows, N_APPROACHES, CAPACITY)),
        speeds=np.zeros((n_rows, N_APPROACHES, CAPACITY)),
        dropped=np.zeros(n_rows, dtype=np.int32),
        entries=np.repeat(entries, n_envs, axis=0),
        empty_reward=np.array([empty_reward]),
    )


@jit_leaf
def reset(state: TrafficLocalState, row: int, seed: int) -> None:  # noqa: ARG001
    """Empty roads, green for north and south; nothing depends on the seed."""
    state.phases[row] = NS_GREEN
    state.yellow_steps[row] = 0
    state.dropped[row] = 0
    for line in range(N_APPROACHES):
        state.n_cars[row, line] = 0


@jit_leaf
def observe(state: TrafficLocalState, row: int, out: NDArray[np.uint8]) -> None:
    """Write the packed observation to ``out`` [bytes]: occupied cells of the approaches, then the light."""
    for k in range(_N_BYTES):
        out[k] = 0
    for line in range(N_APPROACHES):
        n = state.n_cars[row, line]
        for k in range(cars_beyond(state.positions, row, line, n, LANE_M), n):
            cell = int((LANE_M - state.positions[row, line, k]) / CELL_M)
            if cell < N_CELLS:
                set_bit(out, line * N_CELLS + cell)
    set_bit(out, _LIGHT_BIT[state.phases[row]])


@jit_leaf
def _switch_light(state: TrafficLocalState, row: int, action: int) -> int:
    """Advance the light by one step, under ``action`` if it is green; returns the phase of this step."""
    phase = int(state.phases[row])
    if phase in (NS_YELLOW, EW_YELLOW):
        state.yellow_steps[row] -= 1
        if state.yellow_steps[row] == 0:
            phase = (phase + 1) % _N_PHASES
    elif action == SWITCH:
        phase += 1
        state.yellow_steps[row] = YELLOW_S
    state.phases[row] = phase
    return phase


@jit_leaf
def step(state: TrafficLocalState, row: int, action: int, influence: NDArray[np.uint8]) -> Scalar:
    """Advance by one second; a car enters each line whose ``influence`` [4] is 1. Returns the reward."""
    phase = _switch_light(state, row, action)
    total_speed = 0.0
    n_on_approaches = 0
    for line in range(N_APPROACHES):
        is_green = phase == (EW_GREEN if line >= EAST else NS_GREEN)
        n = state.n_cars[row, line]
        across = cars_beyond(state.positions, row, line, n, LANE_M)
        on_approach = n - across
        n = move(state.positions, state.speeds, row, line, n, across, is_green)
        if influence[line] == 1:
            before = n
            speed = state.entries[row, line, CROWDED_SPEED if on_approach > CROWDED_CARS else SPEED]
            n = insert(state.positions, state.speeds, row, line, n, state.entries[row, line, POSITION], speed)
            state.dropped[row] += 1 + before - n
        state.n_cars[row, line] = n
        k = n - 1
        while k >= 0 and state.positions[row, line, k] <= LANE_M:
            total_speed += state.speeds[row, line, k]
            n_on_approaches += 1
            k -= 1
    if n_on_approaches == 0:
        return state.empty_reward[0]
    return total_speed / n_on_approaches / SPEED_LIMIT_MPS


compiled_local(TrafficLocalState, reset, observe, step)


class TrafficLocal(CompiledLocal):
    """The vectorised LS of some agents."""

    def __init__(self, entries: Entries, n_envs: int, empty_reward: float = 0.0) -> None:
        """``entries`` [agents, approaches, 3]: where and how fast cars enter."""
        super().__init__(make_local_state(entries, n_envs, empty_reward), len(entries), n_envs, _N_BYTES)

    @property
    def dropped(self) -> NDArray[np.int32]:
        """Cars that did not fit since the reset, [agents, envs]."""
        dropped: NDArray[np.int32] = self.state.dropped
        return dropped.reshape(self._shape)
