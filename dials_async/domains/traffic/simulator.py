"""The global simulator of the traffic grid: SUMO processes, one for each episode that is stepped."""

from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.base import GlobalStep
from dials_async.domains.traffic.entries import Entries
from dials_async.domains.traffic.messages import Message
from dials_async.domains.traffic.processes import POOL, Setup, SimulatorProcess
from dials_async.domains.traffic.rules import N_SOURCES, OBSERVATION_BITS
from dials_async.domains.traffic.snapshot import Car, Snapshot
from dials_async.errors import SimulatorError
from dials_async.kernels.bits import packed_size


class TrafficGlobal:
    """``n_envs`` episodes of a grid, each in a SUMO of its own (``domains.base.GlobalSimulator``)."""

    def __init__(self, setup: Setup, n_envs: int) -> None:
        """Take the processes. Raises SimulatorError."""
        if setup.address and n_envs > 1:
            raise SimulatorError(f"the SUMO at {setup.address} simulates one episode at a time, not {n_envs}")
        self.n_envs = n_envs
        self._setup = setup
        self._n_agents = setup.side**2
        self._processes: list[SimulatorProcess] = []
        try:
            for _ in range(n_envs):
                self._processes.append(POOL.take(setup))
        except SimulatorError:
            self.close()
            raise
        self._observations = np.zeros((self._n_agents, n_envs, packed_size(OBSERVATION_BITS)), dtype=np.uint8)

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Start new episodes; ``seeds`` [envs]."""
        for env, (process, seed) in enumerate(zip(self._processes, seeds, strict=True)):
            self._take(env, process.begin({"op": "reset", "seed": int(seed)}))

    def observe(self) -> NDArray[np.uint8]:
        """Packed observations of all agents, [agents, envs, 5], valid until the next step."""
        return self._observations

    def step(self, actions: NDArray[np.uint8]) -> GlobalStep:
        """Advance by one second; ``actions`` [agents, envs]. Raises SimulatorError if SUMO keeps crashing."""
        for env, process in enumerate(self._processes):
            process.send({"op": "step", "actions": np.ascontiguousarray(actions[:, env]).tobytes()})
        rewards = np.empty((self._n_agents, self.n_envs), dtype=np.float32)
        influence = np.empty((self._n_agents, self.n_envs, N_SOURCES), dtype=np.uint8)
        for env, process in enumerate(self._processes):
            reply = process.receive()
            self._take(env, reply)
            rewards[:, env] = np.frombuffer(reply["rewards"], dtype=np.float32)
            influence[:, env] = np.frombuffer(reply["influence"], dtype=np.uint8).reshape(-1, N_SOURCES)
        return GlobalStep(rewards, influence)

    def _take(self, env: int, reply: Message) -> None:
        packed = np.frombuffer(reply["observations"], dtype=np.uint8)
        self._observations[:, env] = packed.reshape(self._n_agents, -1)

    def follow(self, name: str, seeds: NDArray[np.uint64]) -> None:
        """Let the scripted policy ``name`` decide in the episodes that were just reset; ``seeds`` [envs]."""
        for process, seed in zip(self._processes, seeds, strict=True):
            process.call({"op": "script", "name": name, "seed": int(seed)})

    def scripted_actions(self) -> NDArray[np.uint8]:
        """What the scripted policy does in the next step, [agents, envs]."""
        replies = [process.call({"op": "act"}) for process in self._processes]
        return np.stack([np.frombuffer(reply["actions"], dtype=np.uint8) for reply in replies], axis=1)

    def snapshot(self, env: int = 0) -> Snapshot:
        """Cars and lights of one episode, to be drawn."""
        reply = self._processes[env].call({"op": "snapshot"})
        return Snapshot([Car(*car) for car in reply["cars"]], reply["phases"])

    def process_ids(self) -> list[int]:
        """Of the processes that simulate, [envs]."""
        return [process.pid for process in self._processes]

    def close(self) -> None:
        """Give the processes back; twice is allowed."""
        processes, self._processes = self._processes, []
        for process in processes:
            POOL.give_back(process, self._setup)

    def __enter__(self) -> "TrafficGlobal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TrafficScripted:
    """A scripted policy for all lights (``domains.base.ScriptedPolicy``); it decides beside SUMO."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seeds: NDArray[np.uint64] | None = None

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Start new episodes; ``seeds`` [envs]."""
        self._seeds = seeds

    def act(self, simulator: TrafficGlobal) -> NDArray[np.uint8]:
        """Actions of all lights, [agents, envs]."""
        if self._seeds is not None:
            simulator.follow(self._name, self._seeds)
            self._seeds = None
        return simulator.scripted_actions()


class SumoLocal:
    """The regions of some agents in one SUMO process (``domains.base.LocalSimulator``): the LS's oracle."""

    def __init__(self, entries: Entries, n_envs: int, setup: Setup) -> None:
        """Take the process; ``entries`` [agents, approaches, 3]; ``setup`` is that of the GS.

        Raises SimulatorError.
        """
        self._shape = (len(entries), n_envs)
        self._setup = Setup(
            kind="rows",
            sumo_version=setup.sumo_version,
            entries=np.repeat(entries, n_envs, axis=0).tobytes(),
            empty_reward=setup.empty_reward,
        )
        self._process: SimulatorProcess | None = POOL.take(self._setup)
        self._observations = np.zeros((*self._shape, packed_size(OBSERVATION_BITS)), dtype=np.uint8)

    def reset(self, seeds: NDArray[np.uint64]) -> None:  # noqa: ARG002  # nothing is drawn at random in the LS
        """Start new episodes; ``seeds`` [agents, envs]."""
        self._take(self._running.begin({"op": "reset"}))

    def observe(self) -> NDArray[np.uint8]:
        """Packed observations, [agents, envs, 5], valid until the next step."""
        return self._observations

    def step(self, actions: NDArray[np.uint8], influence: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Advance by one second; rewards [agents, envs]."""
        request = {
            "op": "step",
            "actions": np.ascontiguousarray(actions).tobytes(),
            "influence": np.ascontiguousarray(influence).tobytes(),
        }
        reply = self._running.call(request)
        self._take(reply)
        return np.frombuffer(reply["rewards"], dtype=np.float32).reshape(self._shape)

    @property
    def _running(self) -> SimulatorProcess:
        if self._process is None:
            raise ValueError("the simulator is closed")
        return self._process

    def _take(self, reply: Message) -> None:
        packed = np.frombuffer(reply["observations"], dtype=np.uint8)
        self._observations[:] = packed.reshape(self._observations.shape)

    def close(self) -> None:
        """Give the process back; twice is allowed."""
        if self._process is not None:
            POOL.give_back(self._process, self._setup)
            self._process = None
