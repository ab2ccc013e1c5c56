"""The connection to one SUMO: libsumo in this process, or TraCI over a socket. Both speak the same API.

libsumo is three to four times faster; TraCI can watch (sumo-gui) and reach a SUMO on another machine.
Cars are read by plain getters with libsumo and by subscriptions with TraCI: each is the fastest way there.
"""

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

from dials_async.domains.traffic.installation import Installation
from dials_async.domains.traffic.sumo_server import (
    SumoEndedError,
    SumoServer,
    forget_connection,
    start_server,
)
from dials_async.errors import SimulatorError

#: Attempts to reach a SUMO at an address, one second apart.
CONNECT_ATTEMPTS = 3

#: sumo-gui begins by itself, and shows ten seconds in one.
GUI_OPTIONS = ["--start", "--quit-on-end", "--delay", "100"]


class Reading(NamedTuple):
    """The cars on all lanes that are watched, lane by lane: flat lists, since many short ones take long."""

    ids: list[Sequence[str]]
    """Of the cars on each lane."""
    ends: list[int]
    """Of each lane in the lists below: lane k has the entries ``ends[k - 1]`` (or 0) to ``ends[k] - 1``."""
    positions_m: list[float]
    """Of the front bumpers, from the start of the lane."""
    speeds_mps: list[float]

    def positions_on(self, lane: int) -> list[float]:
        """Those of the cars on one lane."""
        return self.positions_m[self.ends[lane - 1] if lane else 0 : self.ends[lane]]


class SumoLink:
    """One SUMO simulation; only one at a time can exist in a process."""

    def __init__(
        self, sumo: Installation, interface: str = "libsumo", gui: bool = False, address: str = ""
    ) -> None:
        """Nothing is started yet.

        Args:
            sumo: where SUMO is.
            interface: "libsumo" or "traci".
            gui: watch in sumo-gui ("traci" only).
            address: "host:port" of a SUMO that was started with --remote-port ("traci" only); it must see the
                same files under the same paths.
        """
        self._sumo, self._gui, self._address = sumo, gui, address
        self.subscribes = interface == "traci"
        self._started = False
        self._server: SumoServer | None = None
        self._lanes: dict[str, int] = {}
        # Imported here: without SUMO all of the package but this works.
        try:
            if interface == "traci":
                import traci as api
            else:
                import libsumo as api
        except ImportError as error:
            raise SimulatorError(
                f"SUMO's package {interface} cannot be used: {error}; run 'make sumo'"
            ) from None
        self.api: Any = api

    def load(self, options: list[str]) -> None:
        """Begin a simulation with SUMO's command line ``options``.

        Raises SimulatorError if SUMO does not start.
        """
        if self._gui:
            self.close()  # a window that is told to load waits for its user
        if self._started:
            self.api.load(options)
        elif self._address:
            self._connect(options)
        else:
            program = self._sumo.binary("sumo-gui" if self._gui else "sumo")
            command = [str(program), *(GUI_OPTIONS if self._gui else []), *options]
            if self.subscribes:
                self._server = start_server(self.api, command, self._sumo.environment())
            else:
                self.api.start(command)
        self._started = True

    def _connect(self, options: list[str]) -> None:
        host, _, port = self._address.rpartition(":")
        try:
            self.api.init(port=int(port), host=host, numRetries=CONNECT_ATTEMPTS)
        except (OSError, self.api.exceptions.FatalTraCIError) as error:
            raise SimulatorError(f"no SUMO answers at {self._address}: {error}") from None
        self.api.load(options)

    def step(self) -> None:
        """Simulate one second."""
        self.api.simulationStep()

    def watch(self, lanes: Sequence[str]) -> Reading:
        """Prepare :meth:`read` of ``lanes`` in the simulation that was just loaded; the empty lanes."""
        self._lanes = {lane: k for k, lane in enumerate(lanes)}
        if self.subscribes:
            self.api.simulation.subscribe([self.api.constants.VAR_DEPARTED_VEHICLES_IDS])
        return _reading([() for _ in lanes], [], [])

    def read(self) -> Reading:
        """The cars on the lanes that are watched, after a step (before the first: ``watch``)."""
        return self._read_subscribed() if self.subscribes else self._read_plain()

    def _read_plain(self) -> Reading:
        on_lane, position, speed = (
            self.api.lane.getLastStepVehicleIDs,
            self.api.vehicle.getLanePosition,
            self.api.vehicle.getSpeed,
        )
        ids = [on_lane(lane) for lane in self._lanes]
        cars = list(chain.from_iterable(ids))
        return _reading(ids, [position(car) for car in cars], [speed(car) for car in cars])

    def _read_subscribed(self) -> Reading:
        api, names = self.api, self.api.constants
        departed = api.simulation.getSubscriptionResults()[names.VAR_DEPARTED_VEHICLES_IDS]
        for vehicle in departed:
            api.vehicle.subscribe(vehicle, [names.VAR_LANE_ID, names.VAR_LANEPOSITION, names.VAR_SPEED])
        found: list[list[tuple[float, float, str]]] = [[] for _ in self._lanes]
        for vehicle, values in api.vehicle.getAllSubscriptionResults().items():
            lane = self._lanes.get(values[names.VAR_LANE_ID])
            if lane is not None:
                found[lane].append((values[names.VAR_LANEPOSITION], values[names.VAR_SPEED], vehicle))
        lanes = [sorted(cars) for cars in found]
        cars = list(chain.from_iterable(lanes))
        return _reading([[c[2] for c in lane] for lane in lanes], [c[0] for c in cars], [c[1] for c in cars])

    def close(self) -> None:
        """End the simulation; twice is allowed."""
        if self._started:
            self._started = False
            fatal = self.api.exceptions.FatalTraCIError
            try:
                self.api.close()
            except (self.api.TraCIException, fatal, OSError):  # it is gone already
                if self.subscribes:
                    forget_connection(self.api)
        self._end_server()

    def _end_server(self) -> str:
        """The last words of the SUMO that was started here, if there is one."""
        server, self._server = self._server, None
        return "" if server is None else server.end()

    def why_lost(self, error: Exception) -> str | None:
        """What became of a SUMO behind its socket, if ``error`` says that it is gone; else None.

        What may be left of it is ended.
        """
        if isinstance(error, SumoEndedError):
            return str(error)
        lost = self.subscribes and isinstance(error, (ConnectionError, self.api.exceptions.FatalTraCIError))
        if not lost:
            return None
        return f"{error} {self._end_server()}".rstrip()


def _reading(ids: list[Sequence[str]], positions_m: list[float], speeds_mps: list[float]) -> Reading:
    return Reading(ids, list(accumulate(map(len, ids))), positions_m, speeds_mps)
