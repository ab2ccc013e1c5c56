"""The local simulator on SUMO itself, the oracle of the compiled one: many rows in one simulation.

Each row is a copy of one intersection that no road connects with the others (``local_network``), so that all
of them advance with one SUMO step.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.traffic.entries import CROWDED_SPEED, POSITION, SPEED, Entries
from dials_async.domains.traffic.grid_simulation import SUMO_OPTIONS
from dials_async.domains.traffic.installation import Installation
from dials_async.domains.traffic.lights import Lights
from dials_async.domains.traffic.line import CAPACITY, EXIT_M
from dials_async.domains.traffic.local_network import Row, local_network_files
from dials_async.domains.traffic.netconvert import CAR_TYPE
from dials_async.domains.traffic.rules import (
    CELL_M,
    CROWDED_CARS,
    LANE_M,
    LIGHT_BITS,
    N_APPROACHES,
    N_CELLS,
    OBSERVATION_BITS,
    SIGNALS,
    SPEED_LIMIT_MPS,
)
from dials_async.kernels.bits import pack

#: Nothing is drawn at random; a fixed seed keeps it so.
_OPTIONS = [*SUMO_OPTIONS, "--seed", "1"]


class Cars(NamedTuple):
    """All cars of all rows; a line is an approach, the way across the junction, and the exit."""

    counts: NDArray[np.int32]  # [rows, approaches]
    positions: NDArray[np.float64]  # [rows, approaches, CAPACITY], m along the line, first car first
    speeds: NDArray[np.float64]  # [rows, approaches, CAPACITY], m/s


class SumoLocalRows:
    """``n_rows`` local simulations, each with its own actions and influence."""

    def __init__(self, api: Any, entries: Entries, sumo: Installation, empty_reward: float = 0.0) -> None:
        """Nothing is started yet.

        Args:
            api: the module ``libsumo``, or ``traci``.
            entries: [rows, approaches, 3], where and how fast cars enter each local simulation.
            sumo: where SUMO is.
            empty_reward: the reward of a step without cars on the approaches.
        """
        self._api, self._sumo, self._empty_reward = api, sumo, empty_reward
        self._entries = entries
        n_rows = len(entries)
        self._rows = [Row(k) for k in range(n_rows)]
        self._files = local_network_files(n_rows, sumo)
        self._started = False
        self._number = 0  # of cars so far: makes their names
        # Lane of a car -> row, approach, where the lane begins on the line.
        self._lanes: dict[str, tuple[int, int, float]] = {}
        self._lights = Lights(n_rows)
        self._cars = _no_cars(n_rows)
        self.dropped = np.zeros(n_rows, dtype=np.int32)
        """Cars of each row that did not fit since the reset."""
        self.inserted = np.zeros((n_rows, N_APPROACHES), dtype=np.uint8)
        """Whether a car came in, in the last step."""

    def reset(self) -> None:
        """Start an episode in each row: empty roads, north-south green."""
        files = ["--net-file", str(self._files.network), "--route-files", str(self._files.demand)]
        if self._started:
            self._api.load([*files, *_OPTIONS])
        else:
            self._api.start([str(self._sumo.binary("sumo")), *files, *_OPTIONS])
            self._started = True
        n_rows = len(self._rows)
        self._lights = Lights(n_rows)
        self._show_lights(range(n_rows))
        self._cars = _no_cars(n_rows)
        self.dropped[:] = 0
        self.inserted[:] = 0
        self._number = 0
        self._lanes = {}
        for row in self._rows:
            for k in range(N_APPROACHES):
                approach, beyond = f"{row.approaches[k]}_0", f"{row.exits[k]}_0"
                ((_, _, _, _, across, *_),) = self._api.lane.getLinks(approach)
                self._lanes[approach] = (row.index, k, 0.0)
                self._lanes[across] = (row.index, k, LANE_M)
                self._lanes[beyond] = (row.index, k, EXIT_M)

    def step(self, actions: NDArray[np.uint8], influence: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Advance by one second under ``actions`` [rows] and ``influence`` [rows, 4]; rewards [rows]."""
        self._show_lights(self._lights.step(actions))
        wanted = self._add(influence)
        self._api.simulationStep()
        departed = set(self._api.simulation.getDepartedIDList())
        self.inserted[:] = 0
        for name, (row, approach) in wanted.items():
            if name in departed:
                self.inserted[row, approach] = 1
            else:
                self._api.vehicle.remove(name)
                self.dropped[row] += 1
        self._read()
        return self._rewards()

    def observe(self) -> NDArray[np.uint8]:
        """Packed observations [rows, bytes]."""
        bits = np.zeros((len(self._rows), OBSERVATION_BITS), dtype=np.uint8)
        counts, positions, _ = self._cars
        for row, phase in enumerate(self._lights.phases):
            for approach in range(N_APPROACHES):
                for position in positions[row, approach, : counts[row, approach]]:
                    cell = int((LANE_M - position) // CELL_M)
                    if position <= LANE_M and cell < N_CELLS:
                        bits[row, approach * N_CELLS + cell] = 1
            bits[row, LIGHT_BITS[phase]] = 1
        return pack(bits)

    def cars(self) -> Cars:
        """Where all cars are and how fast; valid until the next step."""
        return self._cars

    def close(self) -> None:
        """End SUMO."""
        if self._started:
            self._started = False
            self._api.close()

    def _show_lights(self, rows: Any) -> None:
        for row in rows:
            signal = SIGNALS[self._lights.phases[row]]
            self._api.trafficlight.setRedYellowGreenState(self._rows[row].light, signal)

    def _add(self, influence: NDArray[np.uint8]) -> dict[str, tuple[int, int]]:
        """Cars that are to enter in the coming step, by name."""
        wanted = {}
        on_approach = (self._cars.positions <= LANE_M) & _is_car(self._cars)
        n_on_approach = on_approach.sum(axis=2)
        for row, approach in np.argwhere(influence):
            crowded = n_on_approach[row, approach] > CROWDED_CARS
            name = str(self._number)
            self._number += 1
            self._api.vehicle.add(
                name,
                self._rows[row].routes[approach],
                typeID=CAR_TYPE,
                depart="now",
                departPos=str(self._entries[row, approach, POSITION]),
                departSpeed=str(self._entries[row, approach, CROWDED_SPEED if crowded else SPEED]),
            )
            wanted[name] = (int(row), int(approach))
        return wanted

    def _read(self) -> None:
        vehicle = self._api.vehicle
        found: dict[tuple[int, int], list[tuple[float, float]]] = {}
        for name in vehicle.getIDList():
            row, approach, start = self._lanes[vehicle.getLaneID(name)]
            car = (start + vehicle.getLanePosition(name), vehicle.getSpeed(name))
            found.setdefault((row, approach), []).append(car)
        self._cars = _no_cars(len(self._rows))
        for (row, approach), cars in found.items():
            cars.sort(reverse=True)
            n = len(cars)
            self._cars.counts[row, approach] = n
            self._cars.positions[row, approach, :n] = [position for position, _ in cars]
            self._cars.speeds[row, approach, :n] = [speed for _, speed in cars]

    def _rewards(self) -> NDArray[np.float32]:
        on_approach = (self._cars.positions <= LANE_M) & _is_car(self._cars)
        n = on_approach.sum(axis=(1, 2))
        total = np.where(on_approach, self._cars.speeds, 0.0).sum(axis=(1, 2))
        mean = total / np.maximum(n, 1) / SPEED_LIMIT_MPS
        return np.where(n > 0, mean, self._empty_reward).astype(np.float32)


def _no_cars(n_rows: int) -> Cars:
    shape = (n_rows, N_APPROACHES, CAPACITY)
    return Cars(np.zeros(shape[:2], dtype=np.int32), np.zeros(shape), np.zeros(shape))


def _is_car(cars: Cars) -> NDArray[np.bool_]:
    """Which entries of the arrays are cars, [rows, approaches, cars]."""
    result: NDArray[np.bool_] = np.arange(cars.positions.shape[2]) < cars.counts[:, :, None]
    return result
