"""Episodes of the whole grid in SUMO: actions in; observations, rewards and influence of all agents out."""

import math
from collections.abc import Sequence

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

#: The light's bit of an observation, by its phase.
_SHOWN = [1 << LIGHT_BITS[phase] for phase in range(len(SIGNALS))]

#: Those of the cells of an approach that are in the observation.
_SEEN_CELLS = (1 << N_CELLS) - 1

_OBSERVATION_BYTES = -(-OBSERVATION_BITS // 8)

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
        self._present: list[Sequence[str]] = []
        self._actuated = False
        self._seed = 0
        self.lights = Lights(0)
        self.reading = Reading([], [], [], [])
        """Of the approaches of all agents: agent k has lanes 4 k to 4 k + 3."""
        self.observations = b""
        """Packed bits of all agents, one after another."""
        self.rewards: list[float] = []
        """[agents]"""
        self.influence = b""
        """A byte for each source of each agent."""

    @property
    def n_agents(self) -> int:
        """Lights of the grid."""
        return len(self._light_names)

    def reset(self, seed: int) -> None:
        """Start the episode of ``seed`` (64 bits): empty roads, north-south green, fresh arrivals.

        A loaded state would be faster to go back to, but SUMO's random numbers would run on from the episode
        before: only loading anew with a seed makes the episode a pure function of it.
        """
        self._seed = seed
        self._begin([])

    def let_sumo_control(self) -> None:
        """In the episode that was just reset, SUMO's actuated control has the lights; actions are ignored.

        Only here are its programs loaded: their detectors would take a seventh of SUMO's time in any episode.
        """
        self._begin(["--additional-files", str(self._files.lights)])
        for name in self._light_names:
            self._link.api.trafficlight.setProgram(name, ACTUATED)
        self._actuated = True

    def _begin(self, more_options: list[str]) -> None:
        self._link.load(
            [
                *("--net-file", str(self._files.network)),
                *("--route-files", str(self._files.demand)),
                *("--seed", str(self._seed % (1 << _SEED_BITS))),
                *SUMO_OPTIONS,
                *more_options,
            ]
        )
        empty = self._link.watch(self._lanes)
        self._actuated = False
        self.lights = Lights(self.n_agents)
        self._present = empty.ids
        for name, phase in zip(self._light_names, self.lights.phases, strict=True):
            self._link.api.trafficlight.setRedYellowGreenState(name, SIGNALS[phase])
        self._take(empty)

    def step(self, actions: NDArray[np.uint8]) -> None:
        """Advance by one second under ``actions`` [agents]."""
        set_signals = self._link.api.trafficlight.setRedYellowGreenState
        if not self._actuated:
            for k in self.lights.step(actions):
                set_signals(self._light_names[k], SIGNALS[self.lights.phases[k]])
        self._link.step()
        self._take(self._link.read())

    def _take(self, reading: Reading) -> None:
        self.reading = reading
        if self._actuated:
            shown = self._link.api.trafficlight.getRedYellowGreenState
            self.lights.phases = [SIGNALS.index(shown(name)) for name in self._light_names]
        cells, packed = _occupied_cells(reading), bytearray()
        for agent, phase in enumerate(self.lights.phases):
            lane = agent * N_APPROACHES
            bits = _SHOWN[phase]
            for k in range(N_APPROACHES):
                bits |= (cells[lane + k] & _SEEN_CELLS) << (k * N_CELLS)
            packed += bits.to_bytes(_OBSERVATION_BYTES, "little")
        self.observations = bytes(packed)
        if self._tenth_cell:
            self.influence = bytes([lane >> N_CELLS for lane in cells])
        else:
            self.influence = bytes(
                [
                    # Most lanes have the cars that they had a second ago.
                    now != before and not set(before).issuperset(now)
                    for now, before in zip(reading.ids, self._present, strict=True)
                ]
            )
            self._present = reading.ids
        self.rewards = self._mean_speeds(reading)

    def _mean_speeds(self, reading: Reading) -> list[float]:
        """Of the cars on each agent's approaches, as a share of the speed limit, [agents]."""
        means, start = [], 0
        for end in reading.ends[N_APPROACHES - 1 :: N_APPROACHES]:
            speeds = reading.speeds_mps[start:end]
            # fsum: the same sum in whatever order the interface lists the cars.
            mean = math.fsum(speeds) / len(speeds) / SPEED_LIMIT_MPS if speeds else self._empty_reward
            means.append(mean)
            start = end
        return means

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


def _occupied_cells(reading: Reading) -> list[int]:
    """The cells of 10 m of each lane that hold a car, as bits counted from the stop line."""
    cells, start = [], 0
    for end in reading.ends:
        bits = 0
        for position in reading.positions_m[start:end]:
            bits |= 1 << min(int((LANE_M - position) // CELL_M), N_CELLS)
        cells.append(bits)
        start = end
    return cells
