"""The process around one SUMO simulation: requests on standard input, replies on standard output.

libsumo allows one simulation in a process, and a simulator that crashes takes its process along: so every
simulation lives in one of these, and ``processes`` keeps them. A request is ``{"op": name, ...}``. The first
one says what to simulate. End of input ends the process.
"""

import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dials_async.domains.traffic.grid_simulation import GridSimulation
from dials_async.domains.traffic.installation import find_sumo
from dials_async.domains.traffic.messages import Message, read_message, write_message
from dials_async.domains.traffic.network import Grid, network_files
from dials_async.domains.traffic.rules import N_APPROACHES
from dials_async.domains.traffic.scripted import Controller, make_controller
from dials_async.domains.traffic.sumo_link import SumoLink
from dials_async.errors import SimulatorError

#: Seconds between looks whether the process that started this one is still there.
PARENT_CHECK_S = 1.0

#: Objects between searches for cycles. Steps leave none; a search every 700 took a twentieth of a step.
RARELY = 100_000

#: Lines of our code that are told of an unexpected error.
TRACE_LINES = 3


class GridServer:
    """Serves the episodes of a whole grid."""

    def __init__(self, setup: Message) -> None:
        sumo = find_sumo(setup["sumo_version"])
        side = setup["side"]
        self._link = SumoLink(sumo, setup["interface"], setup["gui"], setup["address"])
        self._simulation = GridSimulation(
            self._link, Grid(side), network_files(side, sumo), setup["empty_reward"], setup["tenth_cell"]
        )
        self._controller: Controller | None = None

    def reset(self, request: Message) -> Message:
        """Start the episode of ``seed``."""
        self._simulation.reset(request["seed"])
        self._controller = None
        return self._state()

    def script(self, request: Message) -> Message:
        """From now on ``act`` gives the actions of the scripted policy ``name``."""
        self._controller = make_controller(request["name"], self._simulation, request["seed"])
        return {}

    def act(self, _request: Message) -> Message:
        """The actions of the scripted policy."""
        if self._controller is None:
            raise SimulatorError("no scripted policy was chosen")
        return {"actions": self._controller.act().astype(np.uint8).tobytes()}

    def step(self, request: Message) -> Message:
        """Advance by one step."""
        self._simulation.step(np.frombuffer(request["actions"], dtype=np.uint8))
        return self._state()

    def snapshot(self, _request: Message) -> Message:
        """What a drawing shows."""
        cars, phases = self._simulation.snapshot()
        return {"cars": [list(car) for car in cars], "phases": phases}

    def why_lost(self, error: Exception) -> str | None:
        """What became of SUMO, if ``error`` says that it is gone; else None."""
        return self._link.why_lost(error)

    def close(self) -> None:
        """End SUMO."""
        self._link.close()

    def _state(self) -> Message:
        s = self._simulation
        return {
            "observations": s.observations,
            "rewards": np.array(s.rewards, dtype=np.float32).tobytes(),
            "influence": s.influence,
        }


class RowsServer:
    """Serves many local simulations side by side."""

    def __init__(self, setup: Message) -> None:
        # Imported here: it brings Numba, half a second that the processes of a GS need not wait.
        from dials_async.domains.traffic.sumo_local import SumoLocalRows

        sumo = find_sumo(setup["sumo_version"])
        entries = np.frombuffer(setup["entries"]).reshape(-1, N_APPROACHES, 3)
        self._rows = SumoLocalRows(SumoLink(sumo).api, entries, sumo, setup["empty_reward"])

    def why_lost(self, error: Exception) -> str | None:  # noqa: ARG002
        """Nothing: this SUMO is in this process, and ends with it."""
        return None

    def close(self) -> None:
        """End SUMO."""
        self._rows.close()

    def reset(self, _request: Message) -> Message:
        """Start episodes in all rows."""
        self._rows.reset()
        return {"observations": self._rows.observe().tobytes()}

    def step(self, request: Message) -> Message:
        """Advance all rows by one step."""
        actions = np.frombuffer(request["actions"], dtype=np.uint8)
        influence = np.frombuffer(request["influence"], dtype=np.uint8).reshape(-1, N_APPROACHES)
        rewards = self._rows.step(actions, influence)
        return {"observations": self._rows.observe().tobytes(), "rewards": rewards.tobytes()}


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until their end.

    What trying again would not mend is an answer, too: an "error". A SUMO that is gone ends the process
    (SystemExit): another one may come further.
    """
    setup = read_message(requests)
    if setup is None:
        return
    server: GridServer | RowsServer | None = None
    try:
        server = GridServer(setup) if setup["kind"] == "grid" else RowsServer(setup)
        write_message(replies, {"pid": os.getpid()})
        gc.freeze()  # what is here now stays
        gc.set_threshold(RARELY)
        while (request := read_message(requests)) is not None:
            answer: Callable[[Message], Message] = getattr(server, request["op"])
            write_message(replies, answer(request))
    except SimulatorError as error:
        write_message(replies, {"error": str(error)})
    except Exception as error:
        lost = server.why_lost(error) if server is not None else None
        if lost is not None:
            raise SystemExit(lost) from None  # the last line of standard error: the one above repeats it
        write_message(replies, {"error": f"the simulator failed: {_in_one_line(error)}", "unexpected": True})
    finally:
        if server is not None:
            server.close()


def _in_one_line(error: Exception) -> str:
    """The error and the last lines of our code that led to it, innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-TRACE_LINES:]
    where = ", ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__}: {' '.join(str(error).split())} (at {where})"


def _end_with(parent: int) -> None:
    """End this process and its SUMO once ``parent`` is gone, even while a SUMO behind TraCI hangs.

    A libsumo that never came back would keep this thread from running; its steps take milliseconds.
    """
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    """Serve on the standard streams; what SUMO prints goes to standard error."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
