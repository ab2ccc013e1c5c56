"""Scripted traffic lights, weakest first; each decides from the cars that SUMO shows at this moment.

``random``        switches with probability 1/2 each second
``actuated``      SUMO's own: green is kept while cars follow closely (the paper's hand-coded lights)
``max-pressure``  green for the direction with more cars waiting before the light than behind it
                  (Varaiya, 2013), kept for at least 8 s
``sotl``          self-organising lights (Gershenson, 2005; Cools et al., 2013): cars that wait on red sum up,
                  second by second, to a threshold that turns the light, unless a car or two are about to pass
``fixed-time``    each direction is green for the same time, as short as suits the distance between lights
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.traffic.grid_simulation import GridSimulation
from dials_async.domains.traffic.rules import (
    EAST,
    EW_GREEN,
    KEEP,
    LANE_M,
    N_APPROACHES,
    NORTH,
    NS_GREEN,
    SOUTH,
    SWITCH,
    WEST,
)

#: Names, weakest first.
POLICIES = ("random", "actuated", "max-pressure", "sotl", "fixed-time")

#: Seconds of green of ``fixed-time``: the best of 1 to 30 on 2 x 2 and on 5 x 5, by far. With yellow a cycle
#: takes 14 s, about what a car needs from one light to the next: platoons meet green again and again.
FIXED_GREEN_S = 4

#: Shortest green of ``max-pressure``.
PRESSURE_GREEN_S = 8

#: ``sotl``: shortest green, seconds; threshold, cars x seconds (the best of 8 to 25); and the cars near the
#: light, at most so many within so many metres, for which green is kept.
SOTL_GREEN_S = 5
SOTL_THRESHOLD = 16
SOTL_NEAR_CARS = 2
SOTL_NEAR_M = 25.0

#: Approaches that are green in each green phase.
_GREEN = {NS_GREEN: (NORTH, SOUTH), EW_GREEN: (EAST, WEST)}
_OTHER = {NS_GREEN: EW_GREEN, EW_GREEN: NS_GREEN}


class Controller(Protocol):
    """Decides for all lights of a grid."""

    def act(self) -> NDArray[np.uint8]:
        """The actions of this second, [agents]."""
        ...


def make_controller(name: str, simulation: GridSimulation, seed: int) -> Controller:
    """The scripted policy ``name`` for the episode that was just reset. Raises KeyError."""
    if name == "random":
        return Random(simulation, seed)
    makers: dict[str, Callable[[GridSimulation], Controller]] = {
        "fixed-time": FixedTime,
        "actuated": Actuated,
        "max-pressure": MaxPressure,
        "sotl": Sotl,
    }
    return makers[name](simulation)


class Random:
    """Switches with probability 1/2."""

    def __init__(self, simulation: GridSimulation, seed: int) -> None:
        self._n = simulation.n_agents
        self._generator = np.random.default_rng(seed)

    def act(self) -> NDArray[np.uint8]:
        """The actions of this second, [agents]."""
        return self._generator.integers(0, 2, self._n).astype(np.uint8)


class Actuated:
    """Leaves the lights to SUMO."""

    def __init__(self, simulation: GridSimulation) -> None:
        self._n = simulation.n_agents
        simulation.let_sumo_control()

    def act(self) -> NDArray[np.uint8]:
        """Nothing, [agents]."""
        return np.full(self._n, KEEP, dtype=np.uint8)


class _ByLight(ABC):
    """Decides light by light, while it is green."""

    def __init__(self, simulation: GridSimulation) -> None:
        self._simulation = simulation

    def act(self) -> NDArray[np.uint8]:
        """The actions of this second, [agents]."""
        lights = self._simulation.lights
        actions = np.full(self._simulation.n_agents, KEEP, dtype=np.uint8)
        for agent, (phase, seconds) in enumerate(zip(lights.phases, lights.seconds, strict=True)):
            if phase in _GREEN and self._switches(agent, phase, seconds):
                actions[agent] = SWITCH
        return actions

    @abstractmethod
    def _switches(self, agent: int, phase: int, seconds: int) -> bool:
        """Whether the light of ``agent``, green in ``phase`` for ``seconds``, is to switch."""

    def _positions(self, agent: int, approach: int) -> list[float]:
        return self._simulation.reading.positions_on(agent * N_APPROACHES + approach)


class FixedTime(_ByLight):
    """The same green for both directions."""

    def _switches(self, agent: int, phase: int, seconds: int) -> bool:  # noqa: ARG002
        return seconds >= FIXED_GREEN_S


class MaxPressure(_ByLight):
    """Green for the direction with the larger pressure: cars before the light less cars behind it."""

    def _switches(self, agent: int, phase: int, seconds: int) -> bool:
        if seconds < PRESSURE_GREEN_S:
            return False
        beyond = self._simulation.cars_beyond(agent)
        pressure = {
            green: sum(len(self._positions(agent, k)) - beyond[k] for k in approaches)
            for green, approaches in _GREEN.items()
        }
        return pressure[_OTHER[phase]] > pressure[phase]


class Sotl(_ByLight):
    """Self-organising lights."""

    def __init__(self, simulation: GridSimulation) -> None:
        super().__init__(simulation)
        self._waited = [0] * simulation.n_agents

    def _switches(self, agent: int, phase: int, seconds: int) -> bool:
        self._waited[agent] += sum(len(self._positions(agent, k)) for k in _GREEN[_OTHER[phase]])
        near = sum(
            LANE_M - position <= SOTL_NEAR_M
            for approach in _GREEN[phase]
            for position in self._positions(agent, approach)
        )
        if seconds < SOTL_GREEN_S or self._waited[agent] < SOTL_THRESHOLD or 1 <= near <= SOTL_NEAR_CARS:
            return False
        self._waited[agent] = 0
        return True
