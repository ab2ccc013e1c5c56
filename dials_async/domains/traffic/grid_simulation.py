"""Episodes of the whole grid in SUMO: actions in; observations, rewards and influence of all agents out."""

import math

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.traffic.lights import Lights
from dials_async.domains.traffic.network import ACTUATED, Grid, NetworkFiles
from dials_async.domains.traffic.rules import (
    CELL_M,
    LANE_M,
    LIGHT_BITS,
    N_APPROACHES,
    N_CELLS,
    OBSERVATION_BITS,
    SIGNALS,
    SPEED_LIMIT_MPS,
    STEP_S,
)
from dials_async.domains.traffic.snapshot import Car, Snapshot
from dials_async.domains.traffic.sumo_link import Reading, SumoLink

#: SUMO's options in every simulation. No teleports: a jam stays a jam. Collisions on junctions count, too.
SUMO_OPTIONS = [
    *("--step-length", f"{STEP_S}"),
    *("--time-to-teleport", "-1"),
    *("--collision.check-junctions", "true"),
    *("--no-step-log", "true"),
    *("--no-warnings", "true"),
    *("--duration-log.disable", "true"),
]

#: SUMO takes seeds of 31 bits.
_SEED_BITS = 31


class GridSimulation:
    """Episodes of a grid, one after another; each is a pure function of its seed and actions."""

    def __init__(
        self, link: SumoLink, grid: Grid, files: NetworkFiles, empty_reward: float, tenth_cell: bool
    ) -> None:
        """``tenth_cell`` (parity): u says whether the last 10 m are occupied, not whether a car entered."""
        self._link, self._files = link, files
        self.grid = grid
        self._empty_reward, self._tenth_cell = empty_reward, tenth_cell
        self._light_names = grid.lights
        self._lanes = [f"{edge}_0" for k in range(len(grid.lights)) for edge in grid.approaches(k)]
        self._present: list[set[str]] = []
        self._actuated = False
        self.lights = Lights(0)
        self.readings: list[Reading] = []
        """Of the approaches of all agents: agent k has entries 4 k to 4 k + 3."""
        n = len(self._light_names)
        self.observations = np.zeros((n, OBSERVATION_BITS), dtype=np.uint8)  # [agents, bits]
        self.rewards = np.zeros(n, dtype=np.float32)  # [agents]
        self.influence = np.zeros((n, N_APPROACHES), dtype=np.uint8)  # [agents, sources]

    @property
    def n_agents(self) -> int:
        """Lights of the grid."""
        return len(self._light_names)

    def reset(self, seed: int) -> None:
        """Start the episode of ``seed`` (64 bits): empty roads, north-south green, fresh arrivals.

        A loaded state would be faster to go back to, but SUMO's random numbers would run on from the episode
        before: only loading anew with a seed makes the episode a pure function of it.
        """
        files = self._files
        self._link.load(
            [
                *("--net-file", str(files.network)),
                *("--additional-files", str(files.lights)),
                *("--route-files", str(files.demand)),
                *("--seed", str(seed % (1 << _SEED_BITS))),
                *SUMO_OPTIONS,
            ]
        )
        empty = self._link.watch(self._lanes)
        self._actuated = False
        self.lights = Lights(self.n_agents)
        self._present = [set() for _ in self._lanes]
        for name, phase in zip(self._light_names, self.lights.phases, strict=True):
            self._link.api.trafficlight.setRedYellowGreenState(name, SIGNALS[phase])
        self._take(empty)

    def let_sumo_control(self) -> None:
        """Until the next reset SUMO's actuated control has the lights; actions are ignored."""
        for name in self._light_names:
            self._link.api.trafficlight.setProgram(name, ACTUATED)
        self._actuated = True

    def step(self, actions: NDArray[np.uint8]) -> None:
        """Advance by one second under ``actions`` [agents]."""
        set_signals = self._link.api.trafficlight.setRedYellowGreenState
        if not self._actuated:
            for k in self.lights.step(actions):
                set_signals(self._light_names[k], SIGNALS[self.lights.phases[k]])
        self._link.step()
        self._take(self._link.read())

    def _take(self, readings: list[Reading]) -> None:
        self.readings = readings
        if self._actuated:
            shown = self._link.api.trafficlight.getRedYellowGreenState
            self.lights.phases = [SIGNALS.index(shown(name)) for name in self._light_names]
        self.observations[:] = 0
        for agent in range(self.n_agents):
            bits, speeds = self.observations[agent], []
            for k in range(N_APPROACHES):
                lane = agent * N_APPROACHES + k
                ids, positions, lane_speeds = self.readings[lane]
                speeds += lane_speeds
                last_cell = False
                for position in positions:
                    cell = int((LANE_M - position) // CELL_M)
                    if cell < N_CELLS:
                        bits[k * N_CELLS + cell] = 1
                    else:
                        last_cell = True
                now = set(ids)
                entered = not now <= self._present[lane]
                self.influence[agent, k] = last_cell if self._tenth_cell else entered
                self._present[lane] = now
            bits[LIGHT_BITS[self.lights.phases[agent]]] = 1
            # fsum: the same sum in whatever order the interface lists the cars.
            mean = math.fsum(speeds) / len(speeds) / SPEED_LIMIT_MPS if speeds else self._empty_reward
            self.rewards[agent] = mean

    def cars_beyond(self, agent: int) -> list[int]:
        """Cars on the agent's four exits, in the order of the approaches that lead there."""
        count = self._link.api.lane.getLastStepVehicleNumber
        return [count(f"{edge}_0") for edge in self.grid.exits(agent)]

    def snapshot(self) -> Snapshot:
        """All cars and lights, to be drawn."""
        vehicle = self._link.api.vehicle
        cars = [
            Car(i, x, y, vehicle.getAngle(i), vehicle.getSpeed(i))
            for i in vehicle.getIDList()
            for x, y in (vehicle.getPosition(i),)
        ]
        return Snapshot(cars, list(self.lights.phases))
